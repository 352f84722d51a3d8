"""CREATE TYPE .. AS ENUM: labels in declared order, checked wherever they are stored or compared; catalogs; ALTER and DROP TYPE.
Also what came with it: DEFAULT among values, fewer values than columns, DROP COLUMN with its indexes."""
import sqlite3

import pytest

from client import ServerError, ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("enums") / "app.db", "--auth", "trust") as s:
        yield s


@pytest.fixture
def c(server):
    with server.client() as client:
        client.query("BEGIN")
        client.query("""CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE TYPE print_state AS ENUM ('10', '9', 'a, b', 'it''s');
            CREATE TABLE p(id int PRIMARY KEY, m mood NOT NULL DEFAULT 'ok', s print_state, a mood[])""")
        client.query("INSERT INTO p VALUES(1, 'happy', '9', '{sad,happy}'), (2, 'sad', '10', NULL), (3, 'ok', 'it''s', '{}')")
        yield client


def fails(client, sql, *values, **fields):
    client.query("SAVEPOINT f")
    with pytest.raises(ServerError) as e:
        client.execute(sql, values) if values else client.query(sql)
    client.query("ROLLBACK TO f")
    assert {k: e.value.fields.get(k) for k in fields} == fields


def column(client, sql, *values):
    return [r[0] for r in (client.execute(sql, values) if values else client.query(sql)).rows]


def test_order_is_as_declared_not_by_letters(c):
    assert column(c, "SELECT m FROM p ORDER BY m") == column(c, "SELECT m AS x FROM p ORDER BY x") == column(c, "SELECT m FROM p ORDER BY 1") == ["sad", "ok", "happy"]
    assert column(c, "SELECT m FROM p ORDER BY m DESC LIMIT 2") == ["happy", "ok"]
    assert column(c, "SELECT s FROM p ORDER BY s") == ["10", "9", "it's"]
    assert column(c, "SELECT m FROM p WHERE m > 'sad' ORDER BY id") == ["happy", "ok"]
    assert column(c, "SELECT m FROM p WHERE m BETWEEN 'sad' AND 'ok' ORDER BY id") == column(c, "SELECT m FROM p WHERE 'happy' > m ORDER BY id") == ["sad", "ok"]
    assert c.query("SELECT min(m), max(m), array_agg(m ORDER BY m DESC), greatest('ok'::mood, 'sad') FROM p").rows == [("sad", "happy", "{happy,ok,sad}", "ok")]
    assert column(c, "SELECT row_number() OVER (ORDER BY m) FROM p ORDER BY id") == ["3", "1", "2"]
    assert c.query("SELECT m, count(*) FROM p GROUP BY m ORDER BY m").rows == [("sad", "1"), ("ok", "1"), ("happy", "1")]
    assert column(c, "SELECT DISTINCT m FROM p ORDER BY m") == ["sad", "ok", "happy"]
    assert column(c, "SELECT id FROM p WHERE m < $1", "ok") == ["2"]
    assert column(c, "SELECT id FROM p WHERE m = ANY($1::mood[]) ORDER BY id", "{sad,ok}") == ["2", "3"]
    c.query("CREATE INDEX p_m ON p(m)")
    assert column(c, "SELECT id FROM p WHERE m = 'ok'") == ["3"] and column(c, "SELECT m FROM p ORDER BY m") == ["sad", "ok", "happy"]
    fails(c, "SELECT m FROM p UNION SELECT 'ok' ORDER BY 1", C="0A000")


def test_only_labels_are_values(c):
    words = 'invalid input value for enum mood: "angry"'
    fails(c, "INSERT INTO p VALUES(9, 'angry')", C="22P02", M=words)
    fails(c, "UPDATE p SET m = 'angry'", C="22P02", M=words)
    fails(c, "SELECT 'angry'::mood", C="22P02", M=words)
    fails(c, "SELECT * FROM p WHERE m = 'angry'", C="22P02", M=words)
    fails(c, "SELECT * FROM p WHERE m = $1", "angry", C="22P02", M=words)
    fails(c, "INSERT INTO p(id, m) VALUES(9, $1)", "angry", C="22P02", M=words)
    fails(c, "INSERT INTO p VALUES(9, 'ok', NULL, '{sad,angry}')", C="22P02", M=words)
    fails(c, "INSERT INTO p VALUES(9, NULL)", C="23502")
    fails(c, "INSERT INTO p VALUES(9, 'Sad')", C="22P02")
    assert c.query("INSERT INTO p(id) VALUES(4) RETURNING m, s").rows == [("ok", None)]


def test_types_reach_the_client_and_the_catalogs(c):
    oid = int(column(c, "SELECT oid FROM pg_type WHERE typname = 'mood'")[0])
    r = c.query("SELECT m, a, m::text, m::text::mood FROM p WHERE id = 1")
    assert r.types == [oid, oid + 800000000, 25, oid] and r.rows == [("happy", "{sad,happy}", "happy", "happy")]
    assert c.query("SELECT typtype, typcategory, typlen, typarray, typelem FROM pg_type WHERE oid = %d" % oid).rows == [("e", "E", "4", str(oid + 800000000), "0")]
    assert c.query("SELECT typname, typelem FROM pg_type WHERE oid = %d" % (oid + 800000000)).rows == [("_mood", str(oid))]
    assert column(c, "SELECT enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = enumtypid WHERE typname = 'print_state' ORDER BY enumsortorder") == ["10", "9", "a, b", "it's"]
    assert c.query("SELECT 'mood'::regtype, to_regtype('mood')::oid, format_type(%d, NULL), pg_typeof(m) FROM p LIMIT 1" % oid).rows == [("mood", str(oid), "mood", "mood")]
    assert c.query("SELECT data_type, udt_name, column_default FROM information_schema.columns WHERE table_name = 'p' AND column_name = 'm'").rows == [("USER-DEFINED", "mood", "'ok'::mood")]
    assert column(c, "SELECT count(*) FROM pg_class WHERE relname = 'mood'") == ["0"]
    assert c.query("SELECT enum_range(NULL::mood), enum_first(m), enum_last(m) FROM p LIMIT 1").rows == [("{sad,ok,happy}", "sad", "happy")]
    c.parse("SELECT m, a FROM p WHERE m = $1", types=(oid,))
    c.bind(["happy"], result_formats=(1,))
    c.run()
    c.send(b"S")
    c.expect(b"1"), c.expect(b"2")
    row = c.expect(b"D")[1]
    assert row[2:11] == b"\0\0\0\5happy" and (oid).to_bytes(4, "big") in row
    c.until_ready()


def test_alter_type(c):
    c.query("ALTER TYPE mood ADD VALUE 'ecstatic'")
    c.query("ALTER TYPE mood ADD VALUE 'meh' BEFORE 'ok'")
    assert c.query("ALTER TYPE mood ADD VALUE IF NOT EXISTS 'meh'").notices[0]["M"] == 'enum label "meh" already exists, skipping'
    fails(c, "ALTER TYPE mood ADD VALUE 'ok'", C="42710", M='enum label "ok" already exists')
    fails(c, "ALTER TYPE mood ADD VALUE 'x' AFTER 'nope'", C="22023", M='"nope" is not an existing enum label')
    c.query("INSERT INTO p VALUES(6, 'meh'), (7, 'ecstatic')")
    assert column(c, "SELECT m FROM p ORDER BY m") == ["sad", "meh", "ok", "happy", "ecstatic"]
    c.query("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'")
    assert c.query("SELECT m, a FROM p WHERE id < 3 ORDER BY m").rows == [("blue", None), ("happy", "{blue,happy}")]
    fails(c, "SELECT 'sad'::mood", C="22P02")
    fails(c, "ALTER TYPE mood RENAME TO feeling", C="0A000")


def test_create_and_drop_type(c):
    fails(c, "CREATE TYPE mood AS ENUM ('x')", C="42710", M='type "mood" already exists')
    fails(c, "CREATE TYPE x AS ENUM ('a', 'a')", C="23505")
    fails(c, "CREATE TYPE x AS ENUM ('')", C="42602")
    fails(c, "CREATE TYPE x AS (a int)", C="0A000")
    fails(c, "CREATE TABLE x(a nosuch)", C="42704", M='type "nosuch" does not exist')
    fails(c, "DROP TYPE mood", C="2BP01", M="cannot drop type mood because other objects depend on it")
    fails(c, "DROP TYPE nosuch", C="42704", M='type "nosuch" does not exist')
    fails(c, "DROP TABLE mood", C="42P01")
    assert c.query("DROP TYPE IF EXISTS nosuch").notices[0]["M"] == 'type "nosuch" does not exist, skipping'
    c.query("CREATE INDEX p_m ON p(m)")
    assert len(c.query("DROP TYPE mood CASCADE").notices) == 2
    assert c.query("SELECT * FROM p WHERE id = 1").columns == ["id", "s"]
    c.query("SAVEPOINT s; CREATE TYPE gone AS ENUM ('a'); ROLLBACK TO s")
    fails(c, "SELECT 'a'::gone", C="42704")
    c.query("CREATE TYPE mood AS ENUM ('new')")
    assert column(c, "SELECT 'new'::mood") == ["new"]


def test_columns_become_of_a_type(c):
    c.query("ALTER TABLE p ADD COLUMN m2 mood DEFAULT 'sad'; CREATE TABLE q(t text); INSERT INTO q VALUES('ok'), ('sad')")
    assert column(c, "SELECT m2 FROM p") == ["sad"] * 3
    c.query("ALTER TABLE q ALTER COLUMN t TYPE mood USING t::mood")
    assert column(c, "SELECT t FROM q ORDER BY t") == ["sad", "ok"]
    fails(c, "INSERT INTO q VALUES('x')", C="22P02")
    c.query("ALTER TABLE q RENAME COLUMN t TO feeling; CREATE TABLE r AS SELECT id, m FROM p")
    assert column(c, "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attname IN ('feeling', 'm') AND attrelid IN ('q'::regclass, 'r'::regclass)") == ["mood", "mood"]
    assert column(c, "SELECT m FROM r ORDER BY m") == ["sad", "ok", "happy"]
    fails(c, "INSERT INTO r VALUES(1, 'x')", C="22P02")


def test_what_sqlite_sees_is_text(server, tmp_path):
    with ServerProcess(tmp_path / "own.db", "--auth", "trust") as s, s.client() as c:
        c.query("CREATE TYPE print_state AS ENUM ('9', '10'); CREATE TABLE t(id int PRIMARY KEY, s print_state); INSERT INTO t VALUES(1, '10'), (2, '9')")
    with sqlite3.connect(tmp_path / "own.db") as db:
        assert db.execute("SELECT s, typeof(s) FROM t ORDER BY id").fetchall() == [("10", "text"), ("9", "text")]


def test_default_among_values_and_fewer_values(c):
    c.query("CREATE TABLE d(id serial PRIMARY KEY, a int DEFAULT 7, b text DEFAULT 'x' || 'y', f bool DEFAULT true)")
    c.query("INSERT INTO d VALUES(DEFAULT, DEFAULT, 'z'), (DEFAULT, 8, DEFAULT); INSERT INTO d(a, b) VALUES(DEFAULT, 'q'); INSERT INTO d VALUES(10)")
    assert c.query("SELECT id, a, b, f FROM d ORDER BY id").rows == [("1", "7", "z", "t"), ("2", "8", "xy", "t"), ("3", "7", "q", "t"), ("10", "7", "xy", "t")]
    c.query("UPDATE d SET a = DEFAULT, b = DEFAULT, f = NULL WHERE id = 2")
    c.query("INSERT INTO d(id, a) VALUES(10, 1) ON CONFLICT (id) DO UPDATE SET a = DEFAULT, b = excluded.b || '!'")
    assert c.query("SELECT a, b, f FROM d WHERE id IN (2, 10) ORDER BY id").rows == [("7", "xy", None), ("7", "xy!", "t")]
    fails(c, "INSERT INTO d(a, b) VALUES(1)", C="42601")


def test_drop_column_takes_its_indexes_and_keys_along(c):
    c.query("CREATE TABLE a(id int PRIMARY KEY); CREATE TABLE b(id int PRIMARY KEY, x int REFERENCES a, y int, CONSTRAINT k FOREIGN KEY (y) REFERENCES a); CREATE INDEX b_x ON b(x); CREATE INDEX b_yx ON b(y, x)")
    c.query("ALTER TABLE b DROP COLUMN y, ADD COLUMN IF NOT EXISTS x int, ADD COLUMN IF NOT EXISTS z int")
    assert column(c, "SELECT indexname FROM pg_indexes WHERE tablename = 'b' ORDER BY 1") == ["b_pkey", "b_x"]
    assert c.query("ALTER TABLE b DROP COLUMN IF EXISTS y").notices[0]["M"] == 'column "y" of relation "b" does not exist, skipping'
    fails(c, "ALTER TABLE b DROP COLUMN y", C="42703", M='column "y" of relation "b" does not exist')
    c.query("ALTER TABLE b DROP x CASCADE")
    assert c.query("SELECT * FROM b").columns == ["id", "z"]
