"""Time travel: every committed state can be seen again, by name of a time or a transaction."""
import datetime
import math
import time

import pytest

import heliosdb_sqlite as sqlite3

UTC = datetime.timezone.utc


@pytest.fixture
def db(tmp_path):
    con = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    con.execute("create table t(id integer primary key, name text, n int)")
    con.execute("create index t_n on t(n)")
    con.executescript("begin; " + "".join(f"insert into t values({i}, 'row{i}', {i % 7});" for i in range(200)) + "commit")
    yield con
    con.close()


def rows(con, sql, *args):
    return con.execute(sql, args).fetchall()


def change(con, sql, *args):
    con.execute(sql, args)
    return con.last_commit_timestamp


def test_a_bad_delete_is_undone(db):
    before = db.last_commit_timestamp
    change(db, "delete from t where n = 3")
    assert rows(db, "select count(*) from t where n = 3") == [(0,)]
    db.execute("insert into t select * from t as of scn ? where id not in (select id from t)", (before,))
    assert rows(db, "select * from t") == rows(db, "select * from t as of scn ?", before)


def test_every_state_is_seen_again(db):
    states = [(db.last_commit_timestamp, rows(db, "select * from t"))]
    for i in range(30):
        scn = change(db, ("update t set n = n + 1 where id % 30 = ?", "delete from t where id % 31 = ?",
                          "insert into t(name, n) values('new', ?)")[i % 3], i)
        states.append((scn, rows(db, "select * from t")))
    for scn, state in states:
        assert rows(db, "select * from t as of scn ?", scn) == state
        assert rows(db, "select * from t as of transaction ? order by id desc", scn) == state[::-1]
        for n in (0, 3, 9):
            assert rows(db, "select * from t as of scn ? where n = ? order by id", scn, n) == [r for r in state if r[2] == n]
        assert rows(db, "select * from t as of scn ? where id = 31", scn) == [r for r in state if r[0] == 31]
        assert rows(db, "select count(*) from t as of scn ?", scn) == [(len(state),)]


def test_times_are_texts_numbers_and_datetimes(db):
    scn = db.last_commit_timestamp
    change(db, "delete from t")
    moment = datetime.datetime.fromtimestamp(0, UTC) + datetime.timedelta(microseconds=scn)
    naive = moment.replace(tzinfo=None)
    offset = moment.astimezone(datetime.timezone(datetime.timedelta(hours=5, minutes=30)))
    for x in (naive.isoformat(" "), naive.isoformat("T"), moment.isoformat(), offset.isoformat(), moment.isoformat()[:-6] + "Z",
              scn / 1e6 + 1e-6):
        assert rows(db, "select count(*) from t as of timestamp ?", x) == [(200,)], x
    assert rows(db, f"select count(*) from t as of timestamp '{naive.isoformat(' ')}'") == [(200,)]
    assert rows(db, f"select count(*) from t as of scn {scn}") == [(200,)]
    assert rows(db, f"select count(*) from t as of scn ({scn} + 0)") == [(200,)]
    assert rows(db, "select count(*) from t as of scn (select scn from heliosdb_transactions where scn = ?)".replace("(select", "((select") + ")", scn) == [(200,)]
    assert rows(db, "select count(*) from t as of now") == [(0,)]


def test_it_is_per_table_reference(db):
    scn = db.last_commit_timestamp
    change(db, "update t set name = 'x' where id < 10")
    assert rows(db, "select count(*) from t a join t as of scn ? b using(id) where a.name <> b.name", scn) == [(10,)]
    assert rows(db, "select (select count(*) from t as of scn ? where name = 'x'), count(*) from t where name = 'x'", scn) == [(0, 10)]
    assert rows(db, "with o as (select * from t as of scn ?) select count(*) from o where name = 'x'", scn) == [(0,)]
    assert rows(db, "select count(*) from (select * from t as of scn ? where name = 'x')", scn) == [(0,)]
    assert rows(db, "select id from t as of scn ? where name = 'x' union all select id from t where id = 3", scn) == [(3,)]
    assert rows(db, "select name from t as of scn ? as old where old.id = 1", scn) == [("row1",)]


def test_a_view_shows_its_tables_as_of_then(db):
    db.execute("create view v as select n, count(*) c from t group by n")
    scn = db.last_commit_timestamp
    then = rows(db, "select * from v")
    change(db, "delete from t where n = 2")
    assert rows(db, "select * from v as of scn ?", scn) == then
    assert rows(db, "select * from v where n = 2") == []


def test_dropped_tables_and_old_schemas(db):
    first = db.last_commit_timestamp
    db.execute("alter table t add column extra default 9")
    second = db.last_commit_timestamp
    db.execute("alter table t rename column name to label")
    db.execute("alter table t drop column n") if False else None
    third = db.last_commit_timestamp
    db.execute("drop table t")
    assert rows(db, "select * from t as of scn ? where id = 5", first) == [(5, "row5", 5)]
    assert rows(db, "select name, extra from t as of scn ? where id = 5", second) == [("row5", 9)]
    assert rows(db, "select label, extra from t as of scn ? where id = 5", third) == [("row5", 9)]
    with pytest.raises(sqlite3.OperationalError, match="no such column: name"):
        rows(db, "select name from t as of scn ?", third)
    with pytest.raises(sqlite3.OperationalError, match="no such table: t"):
        rows(db, "select * from t")
    assert "extra" not in rows(db, "select sql from sqlite_schema as of scn ? where name = 't'", first)[0][0]
    db.execute("create table t(other)")
    assert rows(db, "select * from t as of scn ? where id = 5", first) == [(5, "row5", 5)]


def test_one_statement_at_times_of_several_schemas(db):
    first = db.last_commit_timestamp
    db.execute("alter table t add column extra default 9")
    second = db.last_commit_timestamp
    for scn, width in ((first, 3), (second, 4), (first, 3)):
        assert len(rows(db, "select * from t as of scn ? where id = 1", scn)[0]) == width


def test_own_writes_have_no_past(db):
    scn = db.last_commit_timestamp
    db.execute("begin")
    db.execute("delete from t")
    assert rows(db, "select count(*) from t as of scn ?", scn) == [(200,)]
    assert rows(db, "select count(*) from t as of now") == [(0,)]
    db.execute("rollback")


def test_errors(db):
    with pytest.raises(sqlite3.OperationalError, match="in the future"):
        rows(db, "select * from t as of timestamp '2999-01-01'")
    with pytest.raises(sqlite3.OperationalError, match="not a time"):
        rows(db, "select * from t as of timestamp 'yesterday'")
    with pytest.raises(sqlite3.OperationalError, match="a time is needed"):
        rows(db, "select * from t as of scn ?", None)
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        rows(db, "select * from t a, t as of scn (a.id) b")
    memory = sqlite3.connect(":memory:")
    memory.execute("create table t(a)")
    with pytest.raises(sqlite3.OperationalError, match="keeps no history"):
        rows(memory, "select * from t as of timestamp '2020-01-01'")


def test_the_retention_waits_for_the_turn(tmp_path):
    con = sqlite3.connect(tmp_path / "a.db", isolation_level=None, timeout=0.05)
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    con.execute("create table t(x)")
    other.execute("begin immediate")
    other.execute("insert into t values(1)")
    with pytest.raises(sqlite3.OperationalError, match="^database is locked$"):
        con.execute("pragma heliosdb_retention = 0")
    con.execute("pragma heliosdb_retention = 3600")  # nothing is switched: nothing to wait for
    with pytest.raises(sqlite3.OperationalError, match="within an immediate transaction"):
        other.execute("pragma heliosdb_retention = 0")
    other.execute("commit")
    con.execute("pragma heliosdb_retention = 0")
    assert rows(con, "pragma heliosdb_retention") == [(0,)]
    assert rows(con, "select x from t") == [(1,)]
    other.execute("insert into t values(2)")
    con.close()
    other.close()


def test_before_the_retention(tmp_path):
    con = sqlite3.connect(tmp_path / "a.db", isolation_level=None, retention=0)
    con.execute("create table t(a)")
    before = con.last_commit_timestamp
    assert rows(con, "pragma heliosdb_retention") == [(0,)]
    con.execute("pragma heliosdb_retention = 3600")
    assert rows(con, "pragma heliosdb_retention") == [(3600,)]
    con.execute("insert into t values(1)")
    scn = con.last_commit_timestamp
    con.execute("insert into t values(2)")
    con.execute("delete from t where a = 1")
    assert rows(con, "select * from t as of scn ?", scn) == [(1,)]
    with pytest.raises(sqlite3.OperationalError, match="before the history that is kept: it reaches from 20"):
        rows(con, "select * from t as of scn ?", before - 1)
    con.execute("pragma heliosdb_retention = 0")
    with pytest.raises(sqlite3.OperationalError, match="keeps no history"):
        rows(con, "select * from t as of scn ?", scn)
    con.execute("pragma heliosdb_retention = inf")
    assert rows(con, "pragma heliosdb_retention") == [(math.inf,)]
    con.close()


def test_versions_between(db):
    first = db.last_commit_timestamp
    second = change(db, "update t set name = 'x' where id = 1")
    third = change(db, "delete from t where id = 1")
    got = rows(db, "select id, name, _version_from, _version_to, _version_op from t versions between ? and ? where id = 1", first, third)
    assert got[0][:2] == (1, "row1") and got[0][3:] == (second, "insert")
    assert got[1] == (1, "x", second, third, "update")
    assert got[2] == (1, "x", third, None, "delete")
    assert rows(db, "select * from t versions between ? and ? v where v.id = 2", first, third) == [(2, "row2", 2)]
    db.execute("alter table t add column extra default 9")
    now = db.last_commit_timestamp
    assert rows(db, "select extra from t versions between ? and ? where id = 2", first, now)[-1] == (9,)


def test_transactions(db):
    scn = change(db, "update t set n = 0 where id < 5")
    got = rows(db, "select scn, committed_at, branch, tables, rows from heliosdb_transactions where scn >= ?", scn)
    assert [(r[0], *r[2:]) for r in got] == [(scn, "main", "t", 5)]
    assert rows(db, "select count(*) from t as of timestamp ?", got[0][1]) == [(200,)]


def test_a_connection_on_the_past(db, tmp_path):
    scn = db.last_commit_timestamp
    change(db, "delete from t")
    db.execute("drop table t")
    moment = datetime.datetime.fromtimestamp(0, UTC) + datetime.timedelta(microseconds=scn)
    for x in (moment, moment.isoformat(), scn):
        old = sqlite3.connect(tmp_path / "app.db", as_of=x)
        assert rows(old, "select count(*) from t") == [(200,)]
        assert rows(old, "select count(*) from t where n = 3") == [(29,)]
        assert [r[1] for r in rows(old, "pragma table_info(t)")] == ["id", "name", "n"]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            old.execute("delete from t")
        old.close()
    with pytest.raises(sqlite3.OperationalError, match="future"):
        sqlite3.connect(tmp_path / "app.db", as_of="2999-01-01")


def test_conflict_policy(db):
    assert rows(db, "pragma heliosdb_conflict_policy") == [("last_commit_wins",)]
    assert rows(db, "pragma heliosdb_conflict_policy = serializable") == [("serializable",)]
    with pytest.raises(sqlite3.OperationalError, match="no such conflict policy: x"):
        db.execute("pragma heliosdb_conflict_policy = x")


def states_agree(con, times, columns="id, x, y"):
    """What VERSIONS tells as current at a time is what AS OF that time shows; operations fit together."""
    told = rows(con, f"select {columns}, _version_from, _version_to, _version_op from t versions between {times[0]} and {times[-1]} order by id, _version_from")
    for scn in times:
        current = sorted(r[:-3] for r in told if r[-1] != "delete" and r[-3] <= scn and (r[-2] is None or scn < r[-2]))
        assert current == rows(con, f"select {columns} from t as of scn {scn} order by id"), scn
    last = {}
    for r in told:
        there = last.get(r[0])
        if there is not None:
            assert r[-3] == there[-2], (there, r)
            assert (r[-1] == "insert") == (there[-1] == "delete")
        last[r[0]] = r
    return told


def test_versions_on_branches(tmp_path):
    random = __import__("random").Random(5)
    con = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    con.execute("pragma synchronous = off")
    con.execute("create table t(id integer primary key, x, y as (x * 2))")
    times = {None: []}

    def work(n):
        for _ in range(n):
            id = random.randrange(12)
            what = random.random()
            if what < 0.5:
                con.execute("insert into t values(?, ?) on conflict do update set x = excluded.x", (id, random.randrange(1000)))
            elif what < 0.8:
                con.execute("delete from t where id = ?", (id,))
            else:
                con.execute("update t set x = x + 1")
            times.setdefault(branch, list(seen)).append(con.last_commit_timestamp)
            seen.append(con.last_commit_timestamp)

    seen, branch = [], "main"
    work(40)
    con.execute("create branch b")
    work(20)
    con.execute("use branch b")
    branch, seen_main, seen = "b", seen, list(seen)
    times["b"] = list(seen)
    work(40)
    con.execute("create branch c")
    work(10)
    con.execute("use branch c")
    branch = "c"
    times["c"] = list(seen)
    work(40)
    for branch in ("main", "b", "c"):
        con.execute(f"use branch {branch}")
        all_times = sorted(set(times[branch]))
        told = states_agree(con, all_times)
        assert {r[-1] for r in told} == {"insert", "update", "delete"}
        assert all(r[2] == (None if r[1] is None else 2 * r[1]) for r in told)
        states_agree(con, all_times[20:60])
        states_agree(con, all_times[-15:])
        states_agree(con, all_times[50:51])
    con.close()


def test_a_time_after_what_the_transaction_sees_is_refused(tmp_path):
    con = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    con.execute("create table t(id integer primary key, x)")
    con.execute("insert into t values(1, 'old')")
    first = con.last_commit_timestamp
    con.execute("begin")
    assert rows(con, "select x from t") == [("old",)]
    now = "select x from t as of timestamp ?"
    later = datetime.datetime.now(datetime.timezone.utc)
    assert rows(con, now, later) == [("old",)]  # nothing was committed in between
    other.execute("create branch b")
    other.execute("use branch b")
    other.execute("update t set x = 'branch'")
    assert rows(con, "select x from t as of scn ?", other.last_commit_timestamp) == [("old",)]
    other.execute("use branch main")
    other.execute("update t set x = 'new'")
    second = other.last_commit_timestamp
    assert rows(con, "select x from t as of scn ?", second - 1) == [("old",)]
    with pytest.raises(sqlite3.OperationalError, match="is after what the open transaction sees"):
        con.execute("select x from t as of scn ?", (second,))
    with pytest.raises(sqlite3.OperationalError, match="is after what the open transaction sees"):
        con.execute(f"select x from t as of scn {second}")
    con.execute(f"create branch c as of scn {second}")  # what a branch sees is no part of the transaction
    assert rows(con, "select x from t as of scn ?", first) == [("old",)]
    assert rows(con, "select x from t") == [("old",)]
    con.execute("commit")
    assert rows(con, "select x from t as of scn ?", second) == [("new",)]
    con.close(), other.close()

