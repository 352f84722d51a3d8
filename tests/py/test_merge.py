"""Merging: unique values that change places, columns renamed and dropped on one side, merges again and again, and at once."""
import threading

import pytest

import heliosdb_sqlite as sqlite3


@pytest.fixture
def db(tmp_path):
    con = sqlite3.connect(tmp_path / "app.db", isolation_level=None, mirror=False)
    con.execute("create table t(id integer primary key, name text unique, n int)")
    con.executemany("insert into t values(?, ?, ?)", [(i, f"r{i}", i) for i in range(5)])
    con.create_branch("b")
    yield con
    con.close()


def on(con, branch, *statements):
    con.switch_branch(branch)
    for s in statements:
        con.execute(s)
    con.switch_branch("main")


def rows(con, sql="select * from t"):
    return con.execute(sql).fetchall()


def names(con, table="t"):
    return [d[0] for d in con.execute(f"select * from {table}").description]


def test_unique_values_change_places(db):
    on(db, "b", "update t set name = 'x' where id = 1", "update t set name = 'r1' where id = 2", "update t set name = 'r2' where id = 1",
       "insert into t values(9, 'r3', 9) on conflict(name) do update set name = 'moved'", "insert into t values(9, 'r3', 9)")
    db.execute("update t set n = 77 where id = 2")
    assert tuple(db.merge_branch("b"))[:3] == (1, 3, 0)
    assert rows(db) == [(0, "r0", 0), (1, "r2", 1), (2, "r1", 77), (3, "moved", 3), (4, "r4", 4), (9, "r3", 9)]
    assert rows(db, "pragma integrity_check") == [("ok",)]


def test_a_unique_value_taken_on_both_sides_stops_it(db):
    on(db, "b", "update t set name = 'new' where id = 1")
    db.execute("update t set name = 'new' where id = 2")
    before = rows(db)
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE constraint failed: t.name"):
        db.merge_branch("b")
    assert rows(db) == before


def test_a_column_renamed_on_the_branch(db):
    on(db, "b", "alter table t rename column n to m", "update t set m = 100 where id = 1")
    db.execute("update t set name = 'main' where id = 1")
    db.execute("update t set n = 7 where id = 2")
    db.merge_branch("b")
    assert names(db) == ["id", "name", "m"]
    assert rows(db)[1:3] == [(1, "main", 100), (2, "r2", 7)]


def test_a_column_renamed_on_main(db):
    on(db, "b", "update t set n = 100 where id = 1")
    db.execute("alter table t rename column n to m")
    db.execute("update t set m = 8 where id = 2")
    db.merge_branch("b")
    assert names(db) == ["id", "name", "m"]
    assert rows(db)[1:3] == [(1, "r1", 100), (2, "r2", 8)]


def test_a_column_dropped_on_the_branch(db):
    on(db, "b", "alter table t drop column n", "update t set name = 'b' where id = 1")
    db.execute("update t set n = 50 where id = 2")
    db.merge_branch("b")
    assert names(db) == ["id", "name"] and rows(db)[1:3] == [(1, "b"), (2, "r2")]


def test_a_column_dropped_on_main(db):
    on(db, "b", "update t set name = 'b', n = 9 where id = 1")
    db.execute("alter table t drop column n")
    db.merge_branch("b")
    assert names(db) == ["id", "name"] and rows(db)[1] == (1, "b")


def test_what_cannot_be_told_apart_is_not_guessed(db):
    on(db, "b", "update t set n = 9 where id = 1")
    db.execute("alter table t drop column n")
    db.execute("alter table t add column other text")
    with pytest.raises(sqlite3.Error, match="not supported yet: merging a table whose columns were renamed and dropped"):
        db.merge_branch("b")


def test_a_table_renamed_on_the_branch(db):
    on(db, "b", "alter table t rename to u", "update u set n = 5 where id = 1")
    db.execute("update t set n = 6 where id = 2")
    db.merge_branch("b")
    assert rows(db, "select n from u") == [(0,), (5,), (6,), (3,), (4,)]


def test_an_id_of_autoincrement_is_not_given_again_after_a_merge(db):
    db.execute("create table q(id integer primary key autoincrement, v)")
    db.create_branch("c")
    on(db, "c", "insert into q values(50, 1)", "delete from q")
    db.merge_branch("c")
    assert db.execute("insert into q(v) values(2)").lastrowid == 51


def test_both_directions_again_and_again(db):
    for i in range(6):
        on(db, "b", "update t set n = n + 1 where id = 1", f"insert into t values({100 + i}, 'b{i}', {i})")
        db.execute("update t set n = n + 1 where id = 2")
        db.execute(f"insert into t values({200 + i}, 'm{i}', {i})")
        if i % 2 == 0:
            db.merge_branch("b")
        db.merge_branch("main", "b")
    db.merge_branch("b")
    both = rows(db)
    assert both[1:3] == [(1, "r1", 7), (2, "r2", 8)] and len(both) == 17
    db.switch_branch("b")
    assert rows(db) == both


def test_merges_at_once_lose_nothing(db, tmp_path):
    """Eight threads, each with a branch of its own, merge it into main over and over while main is written."""
    threads, rounds, failures = 8, 6, []
    for k in range(threads):
        db.create_branch(f"w{k}")

    def work(k):
        try:
            con = sqlite3.connect(tmp_path / "app.db", isolation_level=None, timeout=30, branch=f"w{k}")
            main = sqlite3.connect(tmp_path / "app.db", isolation_level=None, timeout=30)
            for i in range(rounds):
                con.execute("insert into t(name, n) values(?, ?)", (f"w{k}/{i}", i))
                main.execute("update t set n = n + 1 where id = 0")
                con.merge_branch(f"w{k}", "main")
            con.close()
            main.close()
        except BaseException as e:  # noqa: B902 - shown below
            failures.append(e)

    running = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
    for t in running:
        t.start()
    for t in running:
        t.join()
    assert not failures, failures[0]
    assert rows(db, "select n from t where id = 0") == [(threads * rounds,)]
    assert rows(db, "select count(*), count(distinct id), count(distinct name) from t where name like 'w%'") == [(threads * rounds,) * 3]
    assert rows(db, "pragma integrity_check") == [("ok",)]


def test_a_branch_of_a_time_before_its_parent_takes_nothing_back(db):
    db.execute("update t set n = 1000 where id = 1")
    then = db.last_commit_timestamp
    db.execute("update t set n = 2000 where id = 1")
    db.execute("insert into t values(50, 'fifty', 50)")
    db.create_branch("late")
    db.create_branch("early", from_branch="late", as_of=then)
    assert tuple(db.merge_branch("early"))[:3] == (0, 0, 0)
    assert rows(db, "select n from t where id in (1, 50)") == [(2000,), (50,)]
    on(db, "early", "update t set name = 'early' where id = 1")
    db.merge_branch("early", into="late")
    db.merge_branch("late")
    assert rows(db, "select name, n from t where id in (1, 50)") == [("early", 2000), ("fifty", 50)]


@pytest.mark.parametrize("retention", [None, 0])
def test_main_into_a_branch_again_and_again(db, retention):
    if retention is not None:
        db.execute(f"pragma heliosdb_retention = {retention}")
    for i in range(3):
        db.execute("update t set n = n + 1 where id = 2")
        db.execute("delete from t where id = ?", (i + 3,))
        db.execute("insert into t values(?, ?, 0)", (100 + i, f"new{i}"))
        on(db, "b", f"update t set name = 'b{i}' where id = 2")
        db.merge_branch("main", into="b")
        db.switch_branch("b")
        assert rows(db, "select name, n from t where id = 2") == [(f"b{i}", 3 + i)]
        db.switch_branch("main")
    db.merge_branch("b")
    assert rows(db) == [(0, "r0", 0), (1, "r1", 1), (2, "b2", 5), (100, "new0", 0), (101, "new1", 0), (102, "new2", 0)]
