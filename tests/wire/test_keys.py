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
