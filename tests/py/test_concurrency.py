"""Many threads at one database: exact results, under each policy."""
import threading
import time

import pytest

import heliosdb_sqlite as sqlite3

POLICIES = ("last_commit_wins", "first_commit_wins", "serializable")
THREADS, ROUNDS = 8, 25


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.db"


def connect(path, policy="last_commit_wins", **kw):
    con = sqlite3.connect(path, isolation_level=None, timeout=30, conflict_policy=policy, mirror=False, **kw)
    con.execute("pragma foreign_keys = on")
    con.execute("pragma synchronous = normal")
    return con


def make(path, script):
    con = connect(path)
    con.executescript(script)
    return con


def run(path, work, policy="last_commit_wins", threads=THREADS):
    """work(con, number) in every thread at once; what each returned."""
    results, failures, start = [None] * threads, [], threading.Barrier(threads)

    def one(number):
        con = connect(path, policy)
        try:
            start.wait()
            results[number] = work(con, number)
        except BaseException as e:  # noqa: B902 - shown by the test
            failures.append(e)
        finally:
            con.close()

    all_threads = [threading.Thread(target=one, args=(i,)) for i in range(threads)]
    for t in all_threads:
        t.start()
    for t in all_threads:
        t.join()
    if failures:
        raise failures[0]
    return results


def is_locked(e):
    return type(e) is sqlite3.OperationalError and str(e) == "database is locked"


def until_committed(con, work):
    """Runs work in transactions until one commits; how many were lost."""
    lost = 0
    while True:
        con.execute("begin")
        try:
            result = work()
            con.execute("commit")
            return lost, result
        except sqlite3.OperationalError as e:
            assert is_locked(e) and con.in_transaction
            con.execute("rollback")
            lost += 1


def value(con, sql, *args):
    return con.execute(sql, args).fetchone()[0]


@pytest.mark.parametrize("policy", POLICIES)
def test_counters_alone_lose_nothing(path, policy):
    con = make(path, "create table t(id integer primary key, n int); insert into t values(1, 0)")

    def work(c, number):
        for _ in range(ROUNDS * 2):
            c.execute("update t set n = n + 1 where id = 1")

    run(path, work, policy)
    assert value(con, "select n from t") == THREADS * ROUNDS * 2


@pytest.mark.parametrize("policy", POLICIES)
def test_bank(path, policy):
    con = make(path, "create table account(id integer primary key, n int check(n >= 0)); create table moved(id integer primary key autoincrement, a int, b int)")
    con.executemany("insert into account values(?, 1000)", [(i,) for i in range(5)])

    def work(c, number):
        lost = 0
        for i in range(ROUNDS):
            a, b = (i + number) % 5, (i * 3 + number + 1) % 5

            def transfer():
                c.execute("update account set n = n - 1 where id = ?", (a,))
                c.execute("update account set n = n + 1 where id = ?", (b,))
                c.execute("insert into moved(a, b) values(?, ?)", (a, b))

            lost += until_committed(c, transfer)[0]
        return lost

    lost = sum(run(path, work, policy))
    assert value(con, "select sum(n) from account") == 5000
    assert value(con, "select count(*) from moved") == THREADS * ROUNDS
    expected = "select n - 1000 - (select count(*) from moved where b = account.id) + (select count(*) from moved where a = account.id) from account"
    assert set(con.execute(expected)) == {(0,)}
    if policy == "last_commit_wins":
        assert lost == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_read_then_write(path, policy):
    """Read outside of SQL, written back: the default overwrites and never says locked; the others lose none."""
    con = make(path, "create table t(id integer primary key, n int); insert into t values(1, 0)")

    def work(c, number):
        lost = 0
        for _ in range(ROUNDS):
            def once():
                n = value(c, "select n from t where id = 1")
                c.execute("update t set n = ? where id = 1", (n + 1,))
            lost += until_committed(c, once)[0]
        return lost

    lost = sum(run(path, work, policy))
    n = value(con, "select n from t")
    if policy == "last_commit_wins":
        assert lost == 0 and 0 < n <= THREADS * ROUNDS
    else:
        assert n == THREADS * ROUNDS


def test_read_then_write_as_django_does(path):
    """atomic(): BEGIN, a read, an UPDATE by key, an INSERT .. RETURNING into an AUTOINCREMENT table, a child, COMMIT."""
    con = make(path, """
        create table author(id integer not null primary key autoincrement, name varchar(50) not null unique, books integer not null);
        create table book(id integer not null primary key autoincrement, title text not null, author_id bigint not null references author(id) deferrable initially deferred);
        create index book_author on book(author_id); insert into author(name, books) values('a', 0), ('b', 0)""")

    def work(c, number):
        ids = []
        for i in range(ROUNDS):
            c.execute("begin")
            author, books = c.execute("select id, books from author where name = ? limit 21", ("ab"[i % 2],)).fetchone()
            ids += c.execute("insert into book(title, author_id) values(?, ?) returning id", (f"{number}/{i}", author)).fetchall()
            c.execute("update author set books = books + 1 where id = ?", (author,))
            c.execute("savepoint s")
            c.execute("update author set name = name where id = ?", (author,))
            c.execute("release savepoint s")
            c.execute("commit")
        return ids

    ids = sum(run(path, work), [])
    assert len(set(ids)) == len(ids) == THREADS * ROUNDS
    assert sorted(ids) == con.execute("select id from book order by id").fetchall()
    assert value(con, "select sum(books) from author") == THREADS * ROUNDS
    assert con.execute("pragma integrity_check").fetchall() == [("ok",)]


def test_read_then_write_under_immediate(path):
    """Written for SQLite, right as it is: nobody loses, nobody is turned away."""
    con = make(path, "create table t(id integer primary key, n int); insert into t values(1, 0)")

    def work(c, number):
        for _ in range(ROUNDS):
            c.execute("begin immediate")
            n = value(c, "select n from t where id = 1")
            c.execute("update t set n = ? where id = 1", (n + 1,))
            c.execute("commit")

    run(path, work)
    assert value(con, "select n from t") == THREADS * ROUNDS


@pytest.mark.parametrize("policy", POLICIES)
def test_seats_are_sold_once(path, policy):
    con = make(path, "create table seat(id integer primary key, owner int)")
    con.executemany("insert into seat(id) values(?)", [(i,) for i in range(60)])

    def work(c, number):
        mine = []
        for seat in range(60):
            if c.execute("update seat set owner = ? where id = ? and owner is null", (number, seat)).rowcount == 1:
                mine.append(seat)
        return mine

    sold = run(path, work, policy)
    assert sorted(sum(sold, [])) == list(range(60))
    for number, mine in enumerate(sold):
        assert con.execute("select id from seat where owner = ? order by id", (number,)).fetchall() == [(s,) for s in mine]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_job_is_done_once(path, policy):
    con = make(path, "create table job(id integer primary key, state text default 'new'); create index job_state on job(state)")
    con.executemany("insert into job(id) values(?)", [(i,) for i in range(100)])

    def work(c, number):
        mine = []
        while True:
            _, taken = until_committed(c, lambda: c.execute(
                "update job set state = 'taken' where id = (select id from job where state = 'new' order by id limit 1) returning id").fetchall())
            if not taken:
                return mine
            mine += taken

    done = run(path, work, policy)
    assert sorted(sum(done, [])) == [(i,) for i in range(100)]
    assert value(con, "select count(*) from job where state = 'new'") == 0


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("alone", [True, False])
def test_a_unique_value_is_given_once(path, policy, alone):
    con = make(path, "create table u(id integer primary key, name text unique, who int)")

    def work(c, number):
        won = refused = 0
        for i in range(ROUNDS):
            try:
                if not alone:
                    c.execute("begin")
                c.execute("insert into u(name, who) values(?, ?)", (f"n{i}", number))
                if not alone:
                    c.execute("commit")
                won += 1
            except sqlite3.IntegrityError as e:
                assert str(e) == "UNIQUE constraint failed: u.name"
                refused += 1
                if not alone:
                    c.execute("rollback")
        return won, refused

    results = run(path, work, policy)
    assert sum(w for w, _ in results) == ROUNDS and sum(r for _, r in results) == ROUNDS * (THREADS - 1)
    assert value(con, "select count(*) from u") == ROUNDS


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("index", ["", "create index child_p on child(p)"])
def test_no_child_without_a_parent(path, policy, index):
    con = make(path, f"create table parent(id integer primary key); create table child(id integer primary key, p int references parent(id)); {index}")
    con.executemany("insert into parent values(?)", [(i,) for i in range(40)])

    def work(c, number):
        for i in range(40):
            try:
                c.execute("begin")
                if number % 2:
                    c.execute("insert into child(p) values(?)", (i,))
                else:
                    c.execute("delete from parent where id = ?", (i,))
                c.execute("commit")
            except sqlite3.Error as e:
                assert isinstance(e, sqlite3.IntegrityError) or is_locked(e)
                c.execute("rollback")

    run(path, work, policy)
    assert con.execute("pragma foreign_key_check").fetchall() == []
    assert con.execute("pragma integrity_check").fetchall() == [("ok",)]


def test_write_skew_is_caught_by_serializable(path):
    con = make(path, "create table doctor(id integer primary key, on_call int)")
    for _ in range(5):
        con.execute("delete from doctor")
        con.executemany("insert into doctor values(?, 1)", [(i,) for i in range(4)])
        ready = threading.Barrier(4)

        def work(c, number):
            c.execute("begin")
            n = value(c, "select count(*) from doctor where on_call")
            ready.wait()
            try:
                if n > 1:
                    c.execute("update doctor set on_call = 0 where id = ?", (number,))
                c.execute("commit")
                return 1
            except sqlite3.OperationalError as e:
                assert is_locked(e)
                c.execute("rollback")
                return 0

        assert sum(run(path, work, "serializable", 4)) == 1
        assert value(con, "select count(*) from doctor where on_call") == 3


def test_a_commit_repeated_after_a_failure_is_never_believed(path):
    con = make(path, "create table t(id integer primary key, n int); insert into t values(1, 0)")

    def work(c, number):
        done = 0
        for _ in range(ROUNDS):
            c.execute("begin")
            c.execute("update t set n = n + 1 where id = 1")
            for _ in range(3):
                try:
                    c.commit()
                    done += 1
                    break
                except sqlite3.OperationalError as e:
                    assert is_locked(e) and c.in_transaction
                    for attempt in (lambda: c.execute("select 1"), lambda: c.execute("insert into t values(2, 2)"), lambda: c.execute("begin")):
                        with pytest.raises(sqlite3.OperationalError, match="^database is locked$"):
                            attempt()
            else:
                c.rollback()
                assert not c.in_transaction
        return done

    assert value(con, "select n from t") == 0
    done = sum(run(path, work, "first_commit_wins"))
    assert value(con, "select n from t") == done > 0


def test_one_connection_for_a_hundred_threads(path):
    make(path, "create table t(id integer primary key, who int, i int); create table n(n int); insert into n values(0)").close()
    con = connect(path, check_same_thread=False)
    start, failures = threading.Barrier(100), []

    def one(number):
        try:
            start.wait()
            for i in range(10):
                con.execute("insert into t(who, i) values(?, ?)", (number, i))
                con.execute("update n set n = n + 1")
                assert con.execute("select count(*) from t where who = ?", (number,)).fetchone() == (i + 1,)
        except BaseException as e:  # noqa: B902
            failures.append(e)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(100)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures[0]
    assert con.execute("select count(*), count(distinct who * 100 + i) from t").fetchone() == (1000, 1000)
    assert con.execute("select n from n").fetchone() == (1000,)


def test_a_long_reader_costs_writers_nothing(path):
    con = make(path, "create table t(id integer primary key, n int)")
    con.executemany("insert into t values(?, 0)", [(i,) for i in range(200)])

    def writes():
        begun = time.perf_counter()
        for i in range(400):
            con.execute("update t set n = n + 1 where id = ?", (i % 200,))
        return time.perf_counter() - begun

    reader = connect(path)
    without, beside = [], []
    for _ in range(5):  # in turns, and the best of each: the machine may be busy
        without.append(writes())
        reader.execute("begin")
        before = reader.execute("select id, n from t").fetchall()
        beside.append(writes())
        assert reader.execute("select id, n from t").fetchall() == before
        reader.execute("commit")
    assert reader.execute("select sum(n) from t").fetchone() == (4000,)
    assert min(beside) < 3 * min(without)


@pytest.mark.parametrize("table, fine", [("other", True), ("t", False)])
def test_a_cursor_left_open_over_its_own_writes_is_what_keeps_a_transaction_from_running_again(path, table, fine):
    con = make(path, "create table t(id integer primary key, n int); insert into t values(1, 0), (2, 0), (3, 0); create table other(id integer primary key)")
    con.executemany("insert into other values(?)", [(i,) for i in range(50)])
    beside = connect(path)
    con.execute("begin")
    cursor = con.execute(f"select id from {table}")
    first = cursor.fetchone()
    con.execute("update t set n = n + 1 where id = 1")
    beside.execute("update t set n = n + 10 where id = 1")
    beside.execute("insert into other values(50)")
    if fine:
        con.execute("commit")
        assert [first] + cursor.fetchall() == [(i,) for i in range(51)]  # what was not read yet is read as it is now
    else:
        with pytest.raises(sqlite3.OperationalError, match="^database is locked$"):
            con.execute("commit")
        con.execute("rollback")
    assert value(con, "select n from t where id = 1") == (11 if fine else 10)
    beside.close()


def test_statements_of_a_transaction_that_runs_again_are_kept_and_follow_the_schema(path, tmp_path):
    """The programs of the second run stay for the next one: through other texts, a changed table, a branch, DETACH and close."""
    a = make(path, "CREATE TABLE t(id INTEGER PRIMARY KEY, n); INSERT INTO t VALUES(1, 0), (2, 0); CREATE TABLE log(x)")
    b = connect(path)
    aside = tmp_path / "aside.db"
    make(aside, "CREATE TABLE s(n); INSERT INTO s VALUES(0)").close()
    expected = 0

    def overtaken(*texts):
        nonlocal expected
        a.execute("BEGIN")
        for sql in ("UPDATE t SET n = n + ? WHERE id = 1",) + texts:
            a.execute(sql, (10,) if "?" in sql else ())
        b.execute("UPDATE t SET n = n + 1 WHERE id = 1")
        a.execute("COMMIT")
        expected += 11
        assert b.execute("SELECT n FROM t WHERE id = 1").fetchone() == (expected,)

    for i in range(20):
        overtaken(f"INSERT INTO log VALUES('{i % 9}')", "INSERT INTO log VALUES(?)")
    assert b.execute("SELECT count(*), count(DISTINCT x) FROM log").fetchone() == (40, 10)
    b.execute("ALTER TABLE t ADD COLUMN more DEFAULT 'x'")
    b.execute("CREATE TRIGGER counts AFTER UPDATE ON t BEGIN UPDATE t SET more = new.n WHERE id = 2; END")
    overtaken("INSERT INTO log VALUES(?)")
    assert b.execute("SELECT more FROM t WHERE id = 2").fetchone() == (expected,)
    a.execute("ATTACH ? AS aside", (str(aside),))
    overtaken()
    a.execute("DETACH aside")
    overtaken("UPDATE t SET n = n WHERE id = 2")
    a.execute("CREATE BRANCH other")
    a.execute("USE BRANCH other")
    a.execute("UPDATE t SET n = -1 WHERE id = 1")
    a.execute("USE BRANCH main")
    overtaken()
    a.close()
    b.close()
