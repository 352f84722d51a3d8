"""Isolation levels, SELECT .. FOR UPDATE, LOCK TABLE, read-only transactions and settings over the wire."""
import pytest

from client import ServerError, ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("isolation") / "app.db", "--auth", "trust") as s:
        yield s


@pytest.fixture
def pair(server):
    with server.client() as a, server.client() as b:
        a.query("DROP TABLE IF EXISTS acc; CREATE TABLE acc(id int PRIMARY KEY, n int); INSERT INTO acc VALUES(1, 10), (2, 20)")
        yield a, b


def fails(sqlstate, f, *a):
    with pytest.raises(ServerError) as e:
        f(*a)
    assert e.value.sqlstate == sqlstate, str(e.value)
    return e.value.fields


def overlap(pair, begin, first, second):
    """Both transactions read; then b commits its statement, then a; a's outcome: None or the error's fields."""
    a, b = pair
    a.query(begin)
    b.query(begin)
    a.query("SELECT n FROM acc WHERE id = 1")
    b.query("SELECT n FROM acc WHERE id = 2")
    b.query(second)
    assert b.query("COMMIT").tag == "COMMIT"
    a.query(first)
    try:
        a.query("COMMIT")
        return None
    except ServerError as e:
        assert a.status == "I"
        return e.fields


BEGINS = {
    "read committed": ["BEGIN", "BEGIN ISOLATION LEVEL READ COMMITTED", "BEGIN; SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED"],
    "repeatable read": ["BEGIN ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE",
                        "BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "BEGIN; SET LOCAL transaction_isolation = 'repeatable read'"],
    "serializable": ["BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE, NOT DEFERRABLE"],
}


@pytest.mark.parametrize("level,begin", [(k, b) for k, v in BEGINS.items() for b in v])
def test_each_level_answers_a_lost_update_and_write_skew_as_it_should(pair, level, begin):
    same_row = overlap(pair, begin, "UPDATE acc SET n = n + 1 WHERE id = 1", "UPDATE acc SET n = n + 5 WHERE id = 1")
    if level == "read committed":
        assert same_row is None
        assert pair[0].query("SELECT n FROM acc WHERE id = 1").rows == [("16",)]
    else:
        assert same_row["C"] == "40001" and same_row["M"] == "could not serialize access due to concurrent update"
        assert same_row["D"] == 'Conflict on table "acc", key 1.'
    skew = overlap(pair, begin, "UPDATE acc SET n = 0 WHERE id = 2", "UPDATE acc SET n = 0 WHERE id = 1")
    assert (skew["C"] if skew else None) == ("40001" if level == "serializable" else None)


@pytest.mark.parametrize("how", ["SET default_transaction_isolation = 'serializable'", "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
                                 "SELECT set_config('default_transaction_isolation', 'serializable', false)"])
def test_the_sessions_default_level_holds(pair, how):
    for c in pair:
        c.query(how)
        assert c.query("SHOW transaction_isolation").rows == [("serializable",)]
    assert overlap(pair, "BEGIN", "UPDATE acc SET n = 0 WHERE id = 2", "UPDATE acc SET n = 0 WHERE id = 1")["C"] == "40001"
    for c in pair:
        c.query("RESET default_transaction_isolation")
    assert overlap(pair, "BEGIN", "UPDATE acc SET n = 0 WHERE id = 2", "UPDATE acc SET n = 0 WHERE id = 1") is None


def test_the_level_is_of_one_transaction_and_comes_before_its_first_query(server):
    with server.client() as c:
        c.query("BEGIN ISOLATION LEVEL SERIALIZABLE")
        assert c.query("SHOW TRANSACTION ISOLATION LEVEL").rows == [("serializable",)]
        c.query("COMMIT; BEGIN")
        assert c.query("SHOW transaction_isolation").rows == [("read committed",)]
        c.query("SELECT 1")
        fails("25001", c.query, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        c.query("ROLLBACK")
        assert c.query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").notices[0]["C"] == "25P01"
        fails("42601", c.query, "BEGIN ISOLATION LEVEL CHAOS")
        fails("22023", c.query, "SET default_transaction_isolation = 'chaos'")


@pytest.mark.parametrize("clause", ["FOR UPDATE", "FOR NO KEY UPDATE", "FOR SHARE", "FOR KEY SHARE", "FOR UPDATE OF acc NOWAIT", "FOR UPDATE SKIP LOCKED"])
def test_rows_read_for_update_are_validated_at_the_commit(pair, clause):
    a, b = pair
    a.query("BEGIN")
    assert a.query(f"SELECT n FROM acc WHERE id = 1 {clause}").rows == [("10",)]
    b.query("UPDATE acc SET n = 11 WHERE id = 1")
    a.query("UPDATE acc SET n = n + 1 WHERE id = 2")
    assert fails("40001", a.query, "COMMIT")["D"] == 'Conflict on table "acc", key 1.'
    assert a.query("SELECT id, n FROM acc ORDER BY id").rows == [("1", "11"), ("2", "20")]
    a.query("BEGIN")  # another row's change is no conflict
    a.query(f"SELECT n FROM acc WHERE id = 1 {clause}")
    b.query("UPDATE acc SET n = 22 WHERE id = 2")
    a.query("UPDATE acc SET n = n + 1 WHERE id = 1")
    a.query("COMMIT")
    a.query("BEGIN")  # and what is read without the clause does not count
    a.query("SELECT n FROM acc WHERE id = 1")
    b.query("UPDATE acc SET n = 0 WHERE id = 1")
    a.query("UPDATE acc SET n = 0 WHERE id = 2; COMMIT")


def test_for_update_in_the_extended_protocol_and_through_a_cursor(pair):
    a, b = pair
    for read in (lambda: a.execute("SELECT n FROM acc WHERE id = $1 FOR UPDATE", [1]),
                 lambda: a.query("DECLARE c CURSOR FOR SELECT n FROM acc WHERE id = 1 FOR UPDATE; FETCH ALL FROM c")):
        a.query("BEGIN")
        read()
        b.query("UPDATE acc SET n = n + 1 WHERE id = 1")
        a.query("UPDATE acc SET n = 0 WHERE id = 2")
        fails("40001", a.query, "COMMIT")
    fails("25006", a.query, "BEGIN READ ONLY; SELECT n FROM acc FOR UPDATE")
    a.query("ROLLBACK")


def test_lock_table_validates_the_table(pair):
    a, b = pair
    fails("25P01", a.query, "LOCK TABLE acc")
    a.query("BEGIN; LOCK TABLE acc IN SHARE ROW EXCLUSIVE MODE; CREATE TEMP TABLE IF NOT EXISTS seen(x int)")
    b.query("INSERT INTO acc VALUES(3, 30)")
    a.query("UPDATE acc SET n = 0 WHERE id = 1")
    fails("40001", a.query, "COMMIT")
    a.query("BEGIN; LOCK TABLE acc IN ACCESS SHARE MODE")
    b.query("DELETE FROM acc WHERE id = 3")
    a.query("UPDATE acc SET n = 0 WHERE id = 1; COMMIT")
    fails("42P01", a.query, "BEGIN; LOCK TABLE nosuch")
    a.query("ROLLBACK")


def test_read_only_holds_in_blocks_and_as_a_default(pair):
    a, _ = pair
    a.query("BEGIN READ ONLY")
    fails("25006", a.query, "UPDATE acc SET n = 0")
    a.query("ROLLBACK")
    a.query("UPDATE acc SET n = 1 WHERE id = 1")
    a.query("SET default_transaction_read_only = on")
    fails("25006", a.query, "UPDATE acc SET n = 0")
    a.query("BEGIN READ WRITE; UPDATE acc SET n = 2 WHERE id = 1; COMMIT")
    fails("25006", a.query, "DELETE FROM acc")
    a.query("SET default_transaction_read_only = off; UPDATE acc SET n = 3 WHERE id = 1")
    assert a.query("SELECT n FROM acc WHERE id = 1").rows == [("3",)]


def test_what_would_change_answers_is_refused_by_name_not_ignored(server):
    with server.client() as c:
        for sql, state in [("SET bytea_output = escape", "0A000"), ("SET standard_conforming_strings = off", "0A000"), ("SET IntervalStyle = iso_8601", "0A000"),
                           ("SET extra_float_digits = 0", "0A000"), ("SET nosuch_setting = 1", "42704"), ("SET synchronous_commit = maybe", "22023"),
                           ("SET server_version = '9'", "55P02"), ("SET TIME ZONE 'Mars/Olympus'", "22023")]:
            fails(state, c.query, sql)
        for sql in ["SET extra_float_digits = 3", "SET bytea_output = hex", "SET enable_seqscan = off", "SET standard_conforming_strings = on", "SET synchronous_commit = off",
                    "SET work_mem = '64MB'", "SET CONSTRAINTS ALL DEFERRED", "SET my.own = 'x'"]:
            assert c.query(sql).tag == "SET"
        assert c.query("SET LOCAL work_mem = '1MB'").notices[0]["C"] == "25P01"
        assert c.query("SHOW work_mem").rows == [("64MB",)]
        c.query("BEGIN; SET LOCAL work_mem = '2MB'; SET lock_timeout = '3s'")
        assert c.query("SHOW work_mem").rows == [("2MB",)]
        c.query("ROLLBACK")
        assert c.query("SHOW work_mem").rows == [("64MB",)] and c.query("SHOW lock_timeout").rows == [("0",)]


def test_integer_keys_have_their_types_range(server):
    with server.client() as c:
        c.query("DROP TABLE IF EXISTS k4, k2, k8; CREATE TABLE k4(id integer PRIMARY KEY); CREATE TABLE k2(id smallint PRIMARY KEY); CREATE TABLE k8(id bigint PRIMARY KEY)")
        for sql, state in [("INSERT INTO k4 VALUES(2147483648)", "22003"), ("INSERT INTO k2 VALUES(-32769)", "22003"), ("INSERT INTO k4 VALUES(2147483647)", None),
                           ("INSERT INTO k2 VALUES(-32768)", None), ("INSERT INTO k8 VALUES(9223372036854775807)", None), ("UPDATE k4 SET id = 3000000000", "22003"),
                           ("UPDATE k2 SET id = 40000", "22003")]:
            if state:
                fails(state, c.query, sql)
            else:
                c.query(sql)
        assert c.query("SELECT id FROM k4").rows == [("2147483647",)] and c.query("SELECT id FROM k2").rows == [("-32768",)]


def test_a_value_that_its_type_cannot_express_ends_the_query_and_not_the_session(server):
    with server.client() as c:
        c.query("DROP TABLE IF EXISTS wide; CREATE TABLE wide(id bigint PRIMARY KEY, n bigint); INSERT INTO wide VALUES(1, 5), (2, 5000000000)")
        c.query("PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = replace(sql, 'n bigint', 'n smallint') WHERE name = 'wide'; PRAGMA writable_schema=OFF")
        fails("22P02", c.query, "SELECT n FROM wide ORDER BY id")
        fails("22P02", c.execute, "SELECT n FROM wide ORDER BY id")
        assert c.query("SELECT 1").rows == [("1",)] and c.status == "I"
