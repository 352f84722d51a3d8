"""Isolation, as data: each .spec beside this file names sessions, their steps and what may come of them under each policy.

    setup                       statements, one a line
    session NAME                its steps, one a line; `-> x` keeps the first value for later steps as :x
    final SQL                   what is there in the end
    show x y                    kept values that belong to the outcome
    POLICY apart: O | O   together: O | O

Every interleaving of the steps is run. An outcome is `a=ok b=locked` (integrity, error), the shown values, and the final
rows. `together`: each of two sessions took its view before the other's commit; `apart`: not so; `any`: all interleavings.
The outcomes that came must be exactly those that are listed. A policy may be said to be `as POLICY`.

Beyond the specs, always: a step that waits for another session's turn goes on when that is over; a commit that met a
conflict meets it again and again, and every other statement too, until ROLLBACK; under `serializable` what the committed
sessions read, and what is there in the end, is what some order of them, one after the other, gives.
"""
import itertools
import pathlib
import re

import pytest

import heliosdb_sqlite as sqlite3

POLICIES = ("last_commit_wins", "first_commit_wins", "serializable")
BUSY, BUSY_SNAPSHOT = 5, 517
number = itertools.count()


class Spec:
    def __init__(self, path):
        self.setup, self.sessions, self.final, self.show, self.expected = [], {}, None, [], {}
        into = None
        for line in path.read_text().splitlines():
            line = line.strip()
            word, _, rest = line.partition(" ")
            if not line or line.startswith("#"):
                continue
            if word == "setup":
                into = self.setup
            elif word == "session":
                into = self.sessions.setdefault(rest.strip(), [])
            elif word == "final":
                self.final = rest.strip()
            elif word == "show":
                self.show = rest.split()
            elif word in POLICIES:
                self.expected[word] = rest.strip()
            else:
                into.append(line)

    def is_all_transactions(self):
        """Each session is one transaction, so that an order of them says all."""
        return all(steps[0].startswith(("begin", "savepoint")) for steps in self.sessions.values())

    def outcomes(self, policy):
        text = self.expected[policy]
        if text.startswith("as "):
            return self.outcomes(text[3:])
        parts = re.split(r"\s*\b(apart|together|any):\s*", text)[1:]
        return {kind: {o.strip() for o in listed.split("|")} for kind, listed in zip(parts[::2], parts[1::2])}


def interleavings(counts):
    """All orders of the sessions' steps, as lists of session names."""
    def go(left):
        if not any(left.values()):
            yield []
            return
        for name in left:
            if left[name]:
                for rest in go({**left, name: left[name] - 1}):
                    yield [name] + rest
    return go(counts)


def is_plain_begin(step):
    return step == "begin"


def turns(steps):
    return len(steps) - sum(map(is_plain_begin, steps))


class Session:
    def __init__(self, name, steps, con):
        self.name, self.steps, self.con = name, steps, con
        self.at, self.outcome, self.kept, self.read = 0, "ok", {}, []
        self.view_at = self.end_at = None

    def step(self, clock):
        """Runs the next step, and BEGIN, which takes no view, with the one behind it; False: it must wait."""
        if is_plain_begin(self.steps[self.at]):
            self.con.execute(self.steps[self.at])
            self.at += 1
        text, _, keep = self.steps[self.at].partition("->")
        values = {k: v for k, v in self.kept.items() if ":" + k in text}
        try:
            cursor = self.con.execute(text, values)
            rows = cursor.fetchall()
        except sqlite3.Error as e:
            code = getattr(e, "sqlite_errorcode", BUSY_SNAPSHOT if "locked" in str(e) else 19)
            if code == BUSY:
                return False
            self.fail(e, code)
            rows = None
        if self.view_at is None:
            self.view_at = clock
        self.at += 1
        if self.outcome == "ok" and rows is not None:
            if cursor.description:
                self.read.append((self.at, sorted(rows, key=repr)))
            else:
                self.read.append((self.at, cursor.rowcount))
            if keep.strip():
                self.kept[keep.strip()] = rows[0][0] if rows else None
        if self.at == len(self.steps):
            self.end_at = clock
        return True

    def fail(self, e, code):
        if code == BUSY_SNAPSHOT:
            assert str(e) == "database is locked"
            self.outcome = "locked"
        else:
            self.outcome = "integrity" if isinstance(e, sqlite3.IntegrityError) else "error"
        if self.con.in_transaction and self.steps[self.at].strip().lower() == "commit":
            for again in ("commit", "select 1", "commit", "begin", "savepoint x"):
                with pytest.raises(sqlite3.OperationalError, match="^database is locked$"):
                    self.con.execute(again)
                assert self.con.in_transaction
        if self.con.in_transaction:
            self.con.execute("rollback")
        self.at = len(self.steps) - 1


def run(spec, policy, order):
    """Returns the sessions and the final rows."""
    name = f"file:iso{next(number)}?mode=memory&cache=shared"
    connect = lambda: sqlite3.connect(name, uri=True, isolation_level=None, timeout=0, conflict_policy=policy)
    main = connect()
    main.execute("pragma foreign_keys = on")
    for statement in spec.setup:
        main.execute(statement)
    sessions = {}
    for n, steps in spec.sessions.items():
        sessions[n] = Session(n, steps, connect())
        sessions[n].con.execute("pragma foreign_keys = on")
    waiting = []
    for clock, n in enumerate(order):
        waiting.append(n)
        moved = True
        while moved:  # whoever can go on does, the first come first
            moved = False
            for w in list(dict.fromkeys(waiting)):
                s = sessions[w]
                if s.at < len(s.steps) and not s.step(clock):
                    continue
                waiting.remove(w)
                moved = True
                break
    assert not waiting, f"{order}: {waiting} wait for ever"
    final = main.execute(spec.final).fetchall()
    assert main.execute("pragma integrity_check").fetchall() == [("ok",)]
    assert main.execute("pragma foreign_key_check").fetchall() == []
    for s in sessions.values():
        s.con.close()
    main.close()
    return sessions, final


def is_together(sessions):
    if len(sessions) != 2:
        return None
    a, b = sessions.values()
    return a.view_at < b.end_at and b.view_at < a.end_at


def text_of(spec, sessions, final):
    parts = [f"{s.name}={s.outcome}" for s in sessions.values()]
    for name in spec.show:
        kept = [s.kept[name] for s in sessions.values() if name in s.kept and s.outcome == "ok"]
        parts += [f"{name}={k}" for k in kept]
    return " ".join(parts + [",".join("/".join(map(str, row)) for row in final)]).strip()


serial = {}


def is_serial(spec, sessions, final):
    """Do the committed ones look like some order of them, one after the other?"""
    committed = [n for n, s in sessions.items() if s.outcome == "ok"]
    for order in itertools.permutations(committed):
        key = (id(spec), order)
        if key not in serial:
            part = Spec.__new__(Spec)  # the same with fewer sessions
            part.setup, part.final, part.show = spec.setup, spec.final, spec.show
            part.sessions = {n: spec.sessions[n] for n in order}
            alone, then = run(part, "serializable", [n for n in order for _ in range(turns(spec.sessions[n]))])
            serial[key] = ({n: s.read for n, s in alone.items()}, then, all(s.outcome == "ok" for s in alone.values()))
        reads, then, fine = serial[key]
        if fine and sorted(then, key=repr) == sorted(final, key=repr) and all(reads[n] == sessions[n].read for n in committed):
            return True
    return False


SPECS = sorted(pathlib.Path(__file__).parent.glob("*.spec"))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_every_interleaving(path, policy):
    spec = Spec(path)
    seen, by = {}, {}
    serial.clear()
    for order in interleavings({n: turns(s) for n, s in spec.sessions.items()}):
        sessions, final = run(spec, policy, order)
        together = is_together(sessions)
        outcome = text_of(spec, sessions, final)
        for kind in ("any", "together" if together else "apart"):
            seen.setdefault(kind, set()).add(outcome)
            by.setdefault((kind, outcome), order)
        if policy == "serializable" and spec.is_all_transactions():
            assert is_serial(spec, sessions, final), f"no order of them gives {outcome} in {''.join(order)}"
    for kind, expected in spec.outcomes(policy).items():
        new = sorted(seen.get(kind, set()) - expected)
        assert not new, f"{kind}: " + "; ".join(f"{o} in {''.join(by[kind, o])}" for o in new)
        assert expected <= seen.get(kind, set()), f"{kind}: never came: {expected - seen.get(kind, set())}"
    assert spec.outcomes(policy)
