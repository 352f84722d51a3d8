"""ALTER TABLE's constraints and columns, COMMENT ON, what violations say, and how psql's catalog queries show it."""
import threading

import pytest

from client import ServerError, ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("alter") / "app.db", "--auth", "trust") as s:
        yield s


@pytest.fixture
def c(server):
    with server.client() as client:
        client.query("DROP TABLE IF EXISTS child; DROP TABLE IF EXISTS p")
        client.query("CREATE TABLE p(a int, b int, c text); INSERT INTO p VALUES(1, 1, 'x'), (2, NULL, 'y')")
        yield client


def fails(client, sql, **fields):
    with pytest.raises(ServerError) as e:
        client.query(sql)
    got = e.value.fields
    assert {k: got.get(k) for k in fields} == fields


def test_add_primary_key_and_unique_check_the_rows_and_name_themselves(c):
    fails(c, "ALTER TABLE p ADD PRIMARY KEY (b)", C="23502", M='column "b" of relation "p" contains null values')
    c.query("INSERT INTO p VALUES(2, 3, 'z')")
    fails(c, "ALTER TABLE p ADD PRIMARY KEY (a)", C="23505", M='could not create unique index "p_pkey"')
    c.query("DELETE FROM p WHERE c = 'z'")
    assert c.query("ALTER TABLE p ADD PRIMARY KEY (a)").tag == "ALTER TABLE"
    fails(c, "ALTER TABLE p ADD PRIMARY KEY (b)", C="42P16")
    fails(c, "INSERT INTO p VALUES(2, 5, 'q')", C="23505", M='duplicate key value violates unique constraint "p_pkey"', D="Key (a)=(2) already exists.", t="p", n="p_pkey")
    fails(c, "INSERT INTO p(b) VALUES(5)", C="23502", D="Failing row contains (null, 5, null).", c="a", t="p")
    c.query("ALTER TABLE p ADD CONSTRAINT b_is_unique UNIQUE (b, c)")
    fails(c, "INSERT INTO p VALUES(3, 1, 'x')", C="23505", D="Key (b, c)=(1, x) already exists.", n="b_is_unique")
    rows = c.query("SELECT conname, contype, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'p'::regclass ORDER BY 1").rows
    assert rows == [("b_is_unique", "u", "UNIQUE (b, c)"), ("p_pkey", "p", "PRIMARY KEY (a)")]
    c.query("ALTER TABLE p DROP CONSTRAINT b_is_unique")
    c.query("INSERT INTO p VALUES(3, 1, 'x')")
    fails(c, "ALTER TABLE p DROP CONSTRAINT b_is_unique", C="42704")
    assert c.query("ALTER TABLE p DROP CONSTRAINT IF EXISTS b_is_unique").notices[0]["M"] == 'constraint "b_is_unique" of relation "p" does not exist, skipping'


def test_add_check(c):
    fails(c, "ALTER TABLE p ADD CHECK (a > 1)", C="23514", M='check constraint "p_a_check" of relation "p" is violated by some row')
    c.query("ALTER TABLE p ADD CONSTRAINT positive CHECK (a > 0), ADD CHECK (a < 100), ADD CHECK (b < a + 100)")
    fails(c, "INSERT INTO p VALUES(-1, NULL, 'n')", C="23514", M='new row for relation "p" violates check constraint "positive"', D="Failing row contains (-1, null, n).", n="positive")
    fails(c, "UPDATE p SET a = 100 WHERE a = 1", C="23514", M='new row for relation "p" violates check constraint "p_a_check"')
    fails(c, "UPDATE p SET b = 1000", C="23514", M='new row for relation "p" violates check constraint "p_check"')
    c.query("ALTER TABLE p RENAME CONSTRAINT positive TO above_zero")
    fails(c, "UPDATE p SET a = 0", C="23514", n="above_zero")
    c.query("ALTER TABLE p DROP CONSTRAINT above_zero, DROP CONSTRAINT p_a_check")
    assert c.query("UPDATE p SET a = -5 WHERE a = 1").tag == "UPDATE 1"


def test_foreign_keys(c):
    c.query("ALTER TABLE p ADD PRIMARY KEY (a); CREATE TABLE child(id int PRIMARY KEY, pa int); INSERT INTO child VALUES(1, 1), (2, 7)")
    fails(c, "ALTER TABLE child ADD FOREIGN KEY (pa) REFERENCES p", C="23503", M='insert or update on table "child" violates foreign key constraint "child_pa_fkey"')
    c.query("DELETE FROM child WHERE id = 2; ALTER TABLE child ADD FOREIGN KEY (pa) REFERENCES p")
    fails(c, "INSERT INTO child VALUES(3, 99)", C="23503", M='insert or update on table "child" violates foreign key constraint "child_pa_fkey"',
          D='Key (pa)=(99) is not present in table "p".', t="child", n="child_pa_fkey")
    fails(c, "DELETE FROM p WHERE a = 1", C="23503", M='update or delete on table "p" violates foreign key constraint "child_pa_fkey" on table "child"',
          D='Key (a)=(1) is still referenced from table "child".', t="child")
    assert c.query("SELECT pg_get_constraintdef(oid), confrelid::regclass FROM pg_constraint WHERE contype = 'f'").rows == [("FOREIGN KEY (pa) REFERENCES p(a)", "p")]
    assert c.query("SELECT relname FROM pg_class WHERE relhastriggers ORDER BY 1").rows == [("child",), ("p",)]
    c.query("ALTER TABLE child DROP CONSTRAINT child_pa_fkey; ALTER TABLE child ADD CONSTRAINT to_p FOREIGN KEY (pa) REFERENCES p(a) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED")
    assert c.query("SELECT conname, condeferrable, condeferred, confdeltype FROM pg_constraint WHERE contype = 'f'").rows == [("to_p", "t", "t", "c")]
    c.query("BEGIN; INSERT INTO child VALUES(9, 55)")
    fails(c, "COMMIT", C="23503", D='Key (pa)=(55) is not present in table "p".')
    c.query("DELETE FROM p WHERE a = 1")
    assert c.query("SELECT count(*) FROM child").rows == [("0",)]


def test_alter_column(c):
    c.query("ALTER TABLE p ALTER c SET DEFAULT 'zz', ALTER COLUMN a SET NOT NULL")
    c.query("INSERT INTO p(a) VALUES(3)")
    assert c.query("SELECT c FROM p WHERE a = 3").rows == [("zz",)]
    fails(c, "INSERT INTO p(b) VALUES(3)", C="23502")
    fails(c, "ALTER TABLE p ALTER b SET NOT NULL", C="23502")
    c.query("ALTER TABLE p ALTER c DROP DEFAULT, ALTER a DROP NOT NULL; INSERT INTO p(b) VALUES(77)")
    assert c.query("SELECT a, c FROM p WHERE b = 77").rows == [(None, None)]
    fails(c, "ALTER TABLE p ALTER c TYPE int", C="42804", H='You might need to specify "USING c::integer".')
    c.query("ALTER TABLE p ALTER b TYPE text, ALTER a SET DATA TYPE bigint")
    r = c.query("SELECT a, b FROM p WHERE a = 1")
    assert r.rows == [("1", "1")] and r.types == [20, 25]
    c.query("ALTER TABLE p ALTER b TYPE int USING b::int * 10")
    r = c.query("SELECT b FROM p WHERE a = 1")
    assert r.rows == [("10",)] and r.types == [23]
    fails(c, "ALTER TABLE p ALTER b TYPE int USING c::int", C="22P02")
    assert c.query("SELECT b FROM p WHERE a = 1").rows == [("10",)]
    fails(c, "ALTER TABLE p ALTER nosuch SET NOT NULL", C="42703")
    fails(c, "ALTER TABLE p ENABLE ROW LEVEL SECURITY", C="0A000")
    assert c.query("ALTER TABLE IF EXISTS nosuch ADD CHECK (a > 0)").notices[0]["M"] == 'relation "nosuch" does not exist, skipping'


def test_alter_in_a_transaction_is_undone_with_it(c):
    c.query("BEGIN; ALTER TABLE p ADD CONSTRAINT k CHECK (a < 10), ADD COLUMN d int DEFAULT 4; COMMENT ON TABLE p IS 'no'; ROLLBACK")
    c.query("INSERT INTO p VALUES(50, 1, 'x')")
    assert c.query("SELECT * FROM p WHERE a = 50").columns == ["a", "b", "c"]
    assert c.query("SELECT obj_description('p'::regclass, 'pg_class')").rows == [(None,)]


def test_comments_come_back_whatever_they_hold(c):
    words = "it's 100% /* of; the = 'best' */ \"one\"\n(really) é"
    literal = words.replace("'", "''")
    c.query("CREATE INDEX p_b ON p(b); CREATE OR REPLACE VIEW v AS SELECT a, b FROM p")
    for kind, name in [("TABLE", "p"), ("COLUMN", "p.a"), ("COLUMN", "public.p.c"), ("INDEX", "p_b"), ("VIEW", "v"), ("COLUMN", "v.b")]:
        assert c.query(f"COMMENT ON {kind} {name} IS '{literal}'").tag == "COMMENT"
    c.query("COMMENT ON COLUMN p.c IS NULL")
    rows = c.query("SELECT objoid::regclass, objsubid, description FROM pg_description ORDER BY 1, 2").rows
    assert sorted(rows) == sorted([("p", "0", words), ("p", "1", words), ("p_b", "0", words), ("v", "0", words), ("v", "2", words)])
    assert c.query("SELECT obj_description('p_b'::regclass), col_description('p'::regclass, 1), col_description('p'::regclass, 3)").rows == [(words, words, None)]
    assert c.query("SELECT a, b, c FROM p WHERE a = 1").rows == [("1", "1", "x")]
    assert c.query("SELECT a FROM v WHERE b = 1").rows == [("1",)]
    fails(c, "COMMENT ON TABLE nosuch IS 'x'", C="42P01")
    fails(c, "COMMENT ON COLUMN p.zz IS 'x'", C="42703")
    fails(c, "COMMENT ON VIEW p IS 'x'", C="42809")
    fails(c, "COMMENT ON FUNCTION f() IS 'x'", C="0A000")
    c.query("DROP VIEW v")


def test_sizes_are_estimates_of_what_is_there(c):
    c.query("INSERT INTO p SELECT i, i, repeat('x', 100) FROM generate_series(10, 5000) AS g(i); CREATE INDEX p_c ON p(c)")
    table, total, index, all_ = map(int, c.query("SELECT pg_relation_size('p'), pg_total_relation_size('p'), pg_relation_size('p_c'), pg_database_size(current_database())").rows[0])
    assert 500_000 < table < 1_500_000 and index > 0 and total == table + index and all_ >= total
    fails(c, "SELECT pg_relation_size('nosuch')", C="42P01")


def test_settings_and_roles_are_tables(server):
    with server.client() as c:
        c.query("SET work_mem = '7MB'; PREPARE one(int) AS SELECT $1")
        assert c.query("SELECT setting, source FROM pg_settings WHERE name = 'work_mem'").rows == [("7MB", "session")]
        assert c.query("SELECT rolname, rolsuper FROM pg_roles").rows == [("helios", "t")]
        assert c.query("SELECT name, parameter_types, from_sql FROM pg_prepared_statements").rows == [("one", "{integer}", "t")]
        assert c.query("SELECT pid = pg_backend_pid(), state FROM pg_stat_activity WHERE pid = pg_backend_pid()").rows == [("t", "active")]


def test_transactions_that_insert_without_a_key_all_succeed_side_by_side(server):
    with server.client() as c:
        c.query("DROP TABLE IF EXISTS hot, log; CREATE TABLE hot(id int PRIMARY KEY, n int); INSERT INTO hot VALUES(1, 0); CREATE TABLE log(n int)")

    def work():
        with server.client() as c:
            for _ in range(60):
                c.query("BEGIN")
                c.query("UPDATE hot SET n = n + 1 WHERE id = 1")
                c.query("INSERT INTO log VALUES(1)")
                try:
                    c.query("COMMIT")
                except ServerError as e:
                    errors.append(str(e))

    errors, threads = [], [threading.Thread(target=work) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    with server.client() as c:
        assert (errors, c.query("SELECT n, (SELECT count(*) FROM log) FROM hot").rows) == ([], [("360", "360")])


def test_a_lone_integer_key_added_later_becomes_the_tables_own(c):
    for kind in ("int", "bigint", "smallint"):
        c.query(f"DROP TABLE IF EXISTS k; CREATE TABLE k(id {kind} NOT NULL, v text); INSERT INTO k VALUES(3, 'c'), (1, 'a'), (2, 'b')")
        c.query("ALTER TABLE k ADD CONSTRAINT k_key PRIMARY KEY (id)")
        assert c.query("SELECT type, pk FROM pragma_table_info('k') WHERE name = 'id'").rows == [("INTEGER", "1")]
        assert c.query("SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'k'::regclass").rows == [("k_key", "PRIMARY KEY (id)")]
        full = {"int": "integer"}.get(kind, kind)
        assert c.query("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'k'::regclass AND attname = 'id'").rows == [(full,)]
        assert c.query("SELECT * FROM k ORDER BY id").rows == [("1", "a"), ("2", "b"), ("3", "c")]
        fails(c, "INSERT INTO k VALUES(2, 'x')", C="23505", n="k_key", D="Key (id)=(2) already exists.")
        fails(c, "INSERT INTO k(v) VALUES('x')", C="23502", c="id", D="Failing row contains (null, x).")
    fails(c, "INSERT INTO k VALUES(40000, 'x')", C="22003")
    c.query("DROP TABLE k; CREATE TABLE k(id int, v text); INSERT INTO k VALUES(1, 'a'), (1, 'b')")
    fails(c, "ALTER TABLE k ADD PRIMARY KEY (id)", C="23505")
    assert c.query("SELECT count(*) FROM k").rows == [("2",)]
    fails(c, "CREATE TABLE w(id int PRIMARY KEY, v text); INSERT INTO w(v) VALUES('x')", C="23502", M='null value in column "id" of relation "w" violates not-null constraint')


def test_names_with_quotes_and_capitals(c):
    name = '"it' + "'" + 's a T"'
    c.query(f"""DROP TABLE IF EXISTS {name}; CREATE TABLE {name}(id int, "V'" text); INSERT INTO {name} VALUES(1, 'x')""")
    c.query(f"""ALTER TABLE {name} ADD PRIMARY KEY (id), ADD CONSTRAINT "c'k" CHECK (id > 0), ALTER COLUMN "V'" SET NOT NULL, ALTER "V'" TYPE varchar(9);
        COMMENT ON COLUMN {name}."V'" IS 'words'""")
    fails(c, f"INSERT INTO {name} VALUES(0, 'y')", C="23514", n="c'k")
    fails(c, f"INSERT INTO {name} VALUES(1, 'y')", C="23505")
    assert c.query("SELECT description FROM pg_description WHERE description = 'words'").rows == [("words",)]
    c.query(f"""ALTER TABLE {name} DROP CONSTRAINT "c'k", ALTER "V'" DROP NOT NULL; CREATE TABLE "s'q"(id serial PRIMARY KEY)""")
    assert c.query("""SELECT nextval('"s''q_id_seq"'), setval('"s''q_id_seq"', 7), nextval('"s''q_id_seq"')""").rows == [("1", "7", "8")]
    c.query(f"""DROP TABLE {name}; DROP TABLE "s'q" """)


def test_options_of_create_table_are_refused_by_name_not_ignored(c):
    for sql in ["CREATE TABLE o(id int GENERATED ALWAYS AS IDENTITY (START WITH 100) PRIMARY KEY)", "CREATE TABLE o(id int GENERATED BY DEFAULT AS IDENTITY (INCREMENT BY 5), x int)",
                "CREATE TABLE o(a int REFERENCES p MATCH FULL)", "CREATE TABLE o(LIKE p)", "CREATE TEMP TABLE o(a int) ON COMMIT DROP", "CREATE TABLE o(a int) INHERITS (p)",
                "CREATE TABLE o(a int) PARTITION BY RANGE (a)", "CREATE TABLE o(a int, EXCLUDE USING gist (a WITH =))", "CREATE VIEW o AS SELECT 1 WITH CHECK OPTION",
                "CREATE UNIQUE INDEX o ON p(a) NULLS NOT DISTINCT", "CREATE INDEX o ON p USING gin (c)"]:
        fails(c, sql, C="0A000")
    c.query("CREATE TABLE o(id int GENERATED ALWAYS AS IDENTITY (START WITH 1 INCREMENT BY 1 CACHE 1) PRIMARY KEY, x int) WITH (fillfactor = 70); INSERT INTO o(x) VALUES(5); DROP TABLE o")
