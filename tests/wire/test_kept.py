"""Statements that a session keeps answer as those that are compiled each time: texts, shapes of texts, schemas that change."""
import struct

import pytest

from client import ServerError, ServerProcess

SCHEMA = """CREATE TABLE t(id int PRIMARY KEY, a int, b bigint, s smallint, txt text, num numeric(8,2), d date, yes bool, f float8);
    INSERT INTO t SELECT i, i % 5, i * 1000, i, 'x' || i, i * 1.5, '2024-01-01'::date + i, i % 2 = 0, i / 2.0 FROM generate_series(1, 40) i;
    CREATE TABLE part(id int, status int, v int);
    INSERT INTO part SELECT i, i % 3, i FROM generate_series(1, 30) i;
    CREATE INDEX part_open ON part(v) WHERE status = 1;
    CREATE VIEW seen AS SELECT id, status FROM part WHERE v > 3"""

# {0} {1}: integers that change from time to time
TEXTS = [
    "SELECT id, a, txt FROM t WHERE id = {0}", "SELECT * FROM t WHERE a = {0} AND id > {1} ORDER BY id", "SELECT a FROM t WHERE t.id <= {0} OR a <> {1} ORDER BY 1, id",
    "SELECT {0}, a + {1} FROM t WHERE id = {0}", "SELECT count(*) FROM t WHERE txt = {0}", "SELECT id FROM t WHERE txt = '{0}'", "SELECT id FROM t WHERE num = {0} ORDER BY id",
    "SELECT id FROM t WHERE num > {0} ORDER BY id LIMIT {1}", "SELECT id FROM t WHERE d = {0}", "SELECT id FROM t WHERE yes = {0}", "SELECT id FROM t WHERE f > {0} ORDER BY id",
    "SELECT id FROM t WHERE s = {0}", "SELECT id FROM t WHERE b = {0}000", "SELECT id FROM t WHERE a + 1 = {0} ORDER BY id DESC", "SELECT id FROM t WHERE id = -{0}",
    "SELECT id FROM t WHERE id IN ({0}, {1}) ORDER BY id", "SELECT id FROM t WHERE id BETWEEN {0} AND {1} ORDER BY id", "SELECT id FROM t WHERE NOT id > {0} AND (a = {1} OR a = 2) ORDER BY id",
    "SELECT a, count(*) FROM t WHERE id > {0} GROUP BY 1 HAVING count(*) > {1} ORDER BY 1", "SELECT id FROM part WHERE status = {0} AND v > {1} ORDER BY id",
    "SELECT * FROM seen WHERE status = {0} ORDER BY id", "SELECT x.id FROM t x WHERE x.a = (SELECT max(status) FROM part WHERE v = {0}) AND x.id < {1} ORDER BY x.id",
    "SELECT id FROM t WHERE nosuch = {0}", "SELECT id FROM t WHERE id = {0} AND nosuch(a) = {1}", "SELECT nosuch FROM t WHERE id = {0}", "SELECT id FROM t WHERE id = {0} AND", "SELECT 1 / a FROM t WHERE a = 0 AND id > {0}",
    "SELECT 'it''s {0}' AS \"q;{0}\", id FROM t WHERE id = {0};", "SELECT id /* {0} */ FROM t WHERE id = {1}", "SELECT id FROM t WHERE id = {0} -- {1}", "SELECT id FROM t WHERE id = {0}::int", "SELECT id FROM t WHERE id = {0}.5",
    "SELECT id FROM t WHERE id = 9999999999{0}", "SELECT id FROM t WHERE a = 1{0} ORDER BY id", "SELECT id FROM t WHERE id = {0} FOR UPDATE", "SELECT id AS limit_ FROM t WHERE id = {0} OFFSET {1}",
    "SELECT CASE WHEN a = {0} THEN 'is' ELSE 'not' END FROM t WHERE id = {1}", "SELECT id FROM t WHERE d > '2024-01-1{1}' AND id = {0}", "SELECT id FROM t WHERE E'a\\'b' = txt AND id = {0}", "SELECT $$a{0}$$ FROM t WHERE id = {1}",
    "UPDATE t SET a = a + {0} WHERE id = {1}", "UPDATE t SET a = a - -{0}, b = {1} WHERE id = {0} RETURNING a, b", "UPDATE t SET s = {0}9999 WHERE id = {1}", "UPDATE t SET txt = {0} WHERE id = {1}",
    "UPDATE t SET d = d + {0} WHERE id = {1} RETURNING d", "UPDATE t SET num = num + {0} WHERE id = {1} RETURNING num", "UPDATE t SET yes = {0} WHERE id = {1}", "UPDATE t SET a = {0} * 2 + a WHERE id = {1} RETURNING a", "UPDATE t SET a = -{0} WHERE id = {1} RETURNING a",
    "UPDATE t SET a = 2147483647 WHERE id = {0}", "UPDATE t SET a = a + 2147483647 WHERE id = {0}", "UPDATE t SET f = f - {0} WHERE id > {1}",
    "DELETE FROM t WHERE id = {0} AND a = {1}", "DELETE FROM t WHERE id > 3{0} RETURNING id",
    "INSERT INTO t(id, a, txt, num, yes, d) VALUES (1{0}{1}, -{0}, 'v', {1}, true, '2024-01-01') RETURNING *", "INSERT INTO t(id, a) VALUES (2{0}{1}, {0}), (3{0}{1}, {1})", "INSERT INTO t(id, txt) VALUES (4{0}{1}, {0})",
    "INSERT INTO t(id, yes) VALUES (5{0}{1}, {0})", "INSERT INTO t(id, a) VALUES ({0}, {1})", "INSERT INTO t(id, s) VALUES (6{0}{1}, {0}00000)", "INSERT INTO t(id, a) VALUES ({0}, {1}) ON CONFLICT (id) DO UPDATE SET a = {1} RETURNING a",
    "INSERT INTO t(id, a) SELECT 7{0}{1}, {0} WHERE {0} = {1}",
]
VALUES = [(1, 2), (3, 4), (2, 1), (4, 4), (1, 3), (2, 1)]


def answer(client, sql):
    try:
        r = client.query(sql)
        return r.columns, r.types, r.rows, r.tags, [n["M"] for n in r.notices]
    except ServerError as e:
        return tuple(sorted((k, v) for k, v in e.fields.items() if k in "SCMDHPt"))


@pytest.fixture()
def server(tmp_path):
    with ServerProcess(tmp_path / "app.db", "--auth", "trust") as s:
        yield s


def test_texts_and_shapes_answer_as_fresh_sessions_do(server):
    """One session says everything, again and again; of each text a fresh one, in a transaction taken back, knows the answer."""
    with server.client() as c:
        c.query(SCHEMA)
        for turn in range(2):
            for sql in TEXTS:
                for a, b in VALUES:
                    said = sql.format(a, b)
                    with server.client() as fresh:
                        fresh.query("BEGIN")
                        wanted = answer(fresh, said)
                    c.query("BEGIN")
                    assert answer(c, said) == wanted, (turn, said)
                    c.query("ROLLBACK")


def test_a_kept_statement_is_used(server):
    with server.client() as c:
        c.query(SCHEMA)
        for i in range(20):
            assert c.query(f"SELECT txt FROM t WHERE id = {i + 1}").rows == [(f"x{i + 1}",)]
        calls = dict(c.query("SELECT name, calls FROM heliosdb_stats WHERE section = 'statement' AND name LIKE 'select txt from t where%'").rows)
        assert calls == {"select txt from t where id = 1": "1", "select txt from t where id = ?1": "19"}


def test_what_a_schema_or_a_setting_changes(server):
    """The same text before and behind a change, by this session and by another, in the simple and the extended protocol."""
    with server.client() as c, server.client() as other:
        c.query("CREATE TABLE t(id int PRIMARY KEY, a int); INSERT INTO t VALUES(1, 10), (2, 20)")
        for who in (c, other):
            for by in (c.query, c.execute):
                for i in (1, 2, 1, 2):
                    assert by(f"SELECT * FROM t WHERE id = {i}").rows == [(str(i), str(i * 10))]
                who.query("ALTER TABLE t ADD COLUMN more text DEFAULT 'm'")
                r = by("SELECT * FROM t WHERE id = 1")
                assert (r.columns, r.types, r.rows) == (["id", "a", "more"], [23, 23, 25], [("1", "10", "m")])
                r = by("SELECT * FROM t WHERE id = 2")
                assert r.rows == [("2", "20", "m")]
                who.query("ALTER TABLE t DROP COLUMN more")
                assert by("SELECT * FROM t WHERE id = 1").columns == ["id", "a"]
                who.query("ALTER TABLE t ALTER COLUMN a TYPE text")
                assert by("SELECT * FROM t WHERE id = 2").types == [23, 25]
                who.query("ALTER TABLE t ALTER COLUMN a TYPE int USING a::int")
                assert by("SELECT * FROM t WHERE id = 2").types == [23, 23]
                who.query("DROP TABLE t")
                for i in (1, 2):
                    with pytest.raises(ServerError) as e:
                        by(f"SELECT * FROM t WHERE id = {i}")
                    assert e.value.sqlstate == "42P01" and e.value.fields["P"] == "15"
                who.query("CREATE TABLE t(id int PRIMARY KEY, a int); INSERT INTO t VALUES(1, 10), (2, 20)")
        for i in (1, 2, 1, 2):
            c.query(f"SELECT 7 / 2 FROM t WHERE id = {i}")
        c.query("SET heliosdb.dialect = sqlite")
        assert c.query("SELECT 7 / 2 AS \"x\" FROM t WHERE id = 1").rows == [("3",)]
        c.query("SET heliosdb.dialect = postgres")
        c.query("CREATE TEMP TABLE t(id int, b text); INSERT INTO t VALUES(1, 'temp')")
        assert c.query("SELECT * FROM t WHERE id = 1").rows == [("1", "temp")]
        assert other.query("SELECT * FROM t WHERE id = 1").rows == [("1", "10")]


def test_a_partial_index_is_still_used(server):
    """status is part of what an index is made for: it must not become a parameter."""
    with server.client() as c:
        c.query(SCHEMA)
        for status in (2, 1):
            for i in (1, 2, 1, 2):
                c.query(f"SELECT id FROM part WHERE status = {status} AND v = {i}")
        calls = c.query("SELECT name FROM heliosdb_stats WHERE section = 'statement' AND name LIKE '%from part where%'").rows
        assert calls and not [n for n, in calls if "?" in n]


def messages(client):
    """Those up to ReadyForQuery."""
    client.send(b"S")
    seen = {}
    while True:
        kind, body = client.receive()
        if kind == b"Z":
            return seen
        seen[kind] = body


def test_prepared_again_under_other_names_and_types(server):
    with server.client() as c:
        c.query("CREATE TABLE t(id int PRIMARY KEY, a int); INSERT INTO t VALUES(1, 10), (2, 20)")
        for name in ("", "one", "two"):
            for types, wanted in (((), 23), ((20,), 20), ((21,), 21), ((), 23)):
                c.parse("SELECT a FROM t WHERE id = $1", name, types)
                c.describe("S", name)
                c.bind(["2"], name=name)
                c.run()
                seen = messages(c)
                assert seen[b"t"] == struct.pack("!hi", 1, wanted) and seen[b"D"][-2:] == b"20", (name, types, seen)
                if name:
                    c.send(b"C", b"S" + name.encode() + b"\0")
                    assert set(messages(c)) == {b"3"}
        c.bind(["1"], name="one")
        assert b"C26000" in messages(c)[b"E"]


def test_many_texts_take_bounded_memory(server):
    with server.client() as c:
        c.query("CREATE TABLE t(id int PRIMARY KEY, a int)")
        def rounds(n):
            for i in range(n):
                for _ in range(3):
                    c.query(f"SELECT {i % 1000} AS c{i % 1000}, a FROM t WHERE id = {i}")
                c.execute(f"SELECT a + {i % 1000} FROM t WHERE id = $1", [i])
        rounds(1000)
        before = server.rss_kb()
        rounds(2000)
        assert server.rss_kb() - before < 4000
