"""UNIQUE keys of CREATE TABLE and ADD COLUMN that can be dropped again, TRUNCATE of tables with keys among them, SET CONSTRAINTS."""
import pytest

from client import ServerError, ServerProcess


@pytest.fixture
def c(tmp_path):
    with ServerProcess(tmp_path / "app.db", "--auth", "trust") as s, s.client() as client:
        yield client


def fails(client, sql, **fields):
    with pytest.raises(ServerError) as e:
        client.query(sql)
    assert {k: e.value.fields.get(k) for k in fields} == fields


def keys(client, table):
    return client.query(f"SELECT conname, contype, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = '{table}'::regclass ORDER BY 2, 1").rows


def test_unique_keys_of_create_table(c):
    c.query('CREATE TABLE t(id serial PRIMARY KEY, email text UNIQUE NOT NULL, a int CONSTRAINT own UNIQUE, b int, "Mixed c" int, UNIQUE (a, b), CONSTRAINT named UNIQUE ("Mixed c"))')
    assert keys(c, "t") == [("t_pkey", "p", "PRIMARY KEY (id)"), ("named", "u", "UNIQUE (Mixed c)"), ("own", "u", "UNIQUE (a)"), ("t_a_b_key", "u", "UNIQUE (a, b)"), ("t_email_key", "u", "UNIQUE (email)")]
    c.query("INSERT INTO t(email, a) VALUES('x', 1)")
    fails(c, "INSERT INTO t(email, a) VALUES('x', 2)", C="23505", M='duplicate key value violates unique constraint "t_email_key"', D="Key (email)=(x) already exists.", n="t_email_key")
    fails(c, "INSERT INTO t(email, a) VALUES('y', 1)", C="23505", n="own")
    assert c.query("INSERT INTO t(email, a) VALUES('x', 9) ON CONFLICT (email) DO UPDATE SET a = excluded.a RETURNING a").rows == [("9",)]
    c.query("CREATE TABLE child(e text REFERENCES t(email)); INSERT INTO child VALUES('x')")
    fails(c, "INSERT INTO child VALUES('nobody')", C="23503")
    c.query("ALTER TABLE t DROP CONSTRAINT own; ALTER TABLE t DROP CONSTRAINT named, DROP CONSTRAINT t_a_b_key")
    assert [k[0] for k in keys(c, "t")] == ["t_pkey", "t_email_key"]
    c.query("INSERT INTO t(email, a) VALUES('y', 9)")
    assert c.query("CREATE TABLE IF NOT EXISTS t(x int UNIQUE)").notices[0]["M"] == 'relation "t" already exists, skipping'
    c.query("CREATE TEMP TABLE tt(a int UNIQUE); INSERT INTO tt VALUES(1)")
    fails(c, "INSERT INTO tt VALUES(1)", C="23505")


def test_a_unique_column_is_added(c):
    c.query("CREATE TABLE t(id int PRIMARY KEY); INSERT INTO t VALUES(1), (2)")
    c.query("ALTER TABLE t ADD COLUMN isbn varchar(9) UNIQUE, ADD COLUMN n int CONSTRAINT n_once UNIQUE")
    assert [k[0] for k in keys(c, "t")] == ["t_pkey", "n_once", "t_isbn_key"]
    c.query("UPDATE t SET isbn = 'a' WHERE id = 1")
    fails(c, "UPDATE t SET isbn = 'a'", C="23505")
    fails(c, "ALTER TABLE t ADD COLUMN one int DEFAULT 1 UNIQUE", C="23505")
    assert c.query("SELECT * FROM t").columns == ["id", "isbn", "n"]
    c.query("ALTER TABLE t DROP COLUMN isbn")
    assert [k[0] for k in keys(c, "t")] == ["t_pkey", "n_once"]


def test_truncate(c):
    c.query("""CREATE TABLE a(id serial PRIMARY KEY); CREATE TABLE b(id int PRIMARY KEY, a int REFERENCES a, up int REFERENCES b); CREATE TABLE k(b int REFERENCES b, n serial);
               INSERT INTO a DEFAULT VALUES; INSERT INTO b VALUES(1, 1, NULL), (2, 1, 1); INSERT INTO k VALUES(2)""")
    fails(c, "TRUNCATE a", C="0A000", M="cannot truncate a table referenced in a foreign key constraint", D='Table "b" references "a".')
    fails(c, "TRUNCATE a, b", C="0A000", D='Table "k" references "b".')
    assert c.query("SELECT count(*) FROM k").rows == [("1",)]
    assert c.query("TRUNCATE TABLE a, b, k CONTINUE IDENTITY").tag == "TRUNCATE TABLE"
    assert c.query("INSERT INTO a DEFAULT VALUES RETURNING id").rows == [("2",)]
    c.query("INSERT INTO b VALUES(1, 2, 1); INSERT INTO k VALUES(1)")
    r = c.query("TRUNCATE a RESTART IDENTITY CASCADE")
    assert [n["M"] for n in r.notices] == ['truncate cascades to table "b"', 'truncate cascades to table "k"']
    assert c.query("INSERT INTO a DEFAULT VALUES RETURNING id").rows == [("1",)]
    assert c.query("INSERT INTO k(b) VALUES(NULL) RETURNING n").rows == [("1",)]
    c.query("BEGIN; TRUNCATE a CASCADE; ROLLBACK")
    assert c.query("SELECT count(*) FROM a").rows == [("1",)]
    fails(c, "TRUNCATE nosuch", C="42P01", M='relation "nosuch" does not exist')
    c.query("CREATE VIEW v AS SELECT 1")
    fails(c, "TRUNCATE v", C="42809")


def test_constraints_made_immediate_are_looked_at(c):
    c.query("CREATE TABLE a(id int PRIMARY KEY); CREATE TABLE b(a int REFERENCES a DEFERRABLE INITIALLY DEFERRED)")
    c.query("BEGIN; INSERT INTO b VALUES(1)")
    fails(c, "SET CONSTRAINTS ALL IMMEDIATE", C="23503")
    c.query("ROLLBACK")
    c.query("BEGIN; INSERT INTO b VALUES(1); INSERT INTO a VALUES(1); SET CONSTRAINTS ALL IMMEDIATE; COMMIT")
    assert c.query("SELECT count(*) FROM b").rows == [("1",)]


def test_generated_always_takes_no_value_unless_it_is_overridden(c):
    c.query("CREATE TABLE t(id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text); CREATE TABLE u(k text, n bigint GENERATED ALWAYS AS IDENTITY); CREATE TABLE d(id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY)")
    words = 'cannot insert a non-DEFAULT value into column "id"'
    for sql in ("INSERT INTO t VALUES(5, 'x')", "INSERT INTO t(v, id) VALUES('x', 5)", "INSERT INTO t SELECT 5, 'x'"):
        fails(c, sql, C="428C9", M=words)
    fails(c, "INSERT INTO u(n) VALUES(1)", C="428C9", M='cannot insert a non-DEFAULT value into column "n"')
    c.query("INSERT INTO t(v) VALUES('a'); INSERT INTO t VALUES(DEFAULT, 'b'); INSERT INTO t(id, v) OVERRIDING SYSTEM VALUE VALUES(9, 'c'); INSERT INTO u(k) VALUES('k'); INSERT INTO d VALUES(4)")
    assert c.query("SELECT id, v FROM t ORDER BY id").rows == [("1", "a"), ("2", "b"), ("9", "c")]
    fails(c, "UPDATE t SET id = 3", C="428C9", M='column "id" can only be updated to DEFAULT')
    c.query("UPDATE t SET v = 'z'")
    c.send(b"Q", b"COPY t FROM STDIN\0")
    c.expect(b"G")
    c.send(b"d", b"20\tcopied\n")
    c.send(b"c")
    assert c.until_ready().tag == "COPY 1"
