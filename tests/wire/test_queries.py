"""PostgreSQL's queries that SQLite's grammar lacks, as the server rewrites them: exact rows, labels, types, tags, errors."""
import shutil
import subprocess

import pytest

from client import ServerError, ServerProcess


@pytest.fixture(scope="module")
def c(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("queries") / "app.db", "--auth", "trust") as s, s.client() as client:
        client.query("""CREATE TABLE e(id int PRIMARY KEY, dept text, sal int, n numeric(10,2), at timestamp);
            INSERT INTO e VALUES(1,'a',10,1.5,'2024-01-02'),(2,'a',30,2.5,'2024-01-03'),(3,'b',20,3.5,null),(4,'b',5,4.5,null),(5,null,7,1,null)""")
        yield client


def fails(client, sql, **fields):
    with pytest.raises(ServerError) as e:
        client.query(sql)
    assert {k: e.value.fields.get(k) for k in fields} == fields


def test_null_sorts_above_every_value(c):
    order = lambda sql: [r[0] for r in c.query(sql).rows]  # noqa: E731
    assert order("SELECT dept FROM e ORDER BY dept, id") == ["a", "a", "b", "b", None]
    assert order("SELECT dept FROM e ORDER BY dept DESC, id") == [None, "b", "b", "a", "a"]
    assert order("SELECT dept FROM e ORDER BY dept NULLS FIRST, id") == [None, "a", "a", "b", "b"]
    assert order("SELECT dept FROM e ORDER BY dept DESC NULLS LAST LIMIT 1") == ["b"]
    c.query("CREATE INDEX e_dept ON e(dept)")
    assert order("SELECT dept FROM e ORDER BY dept LIMIT 5") == ["a", "a", "b", "b", None]
    assert c.query("SELECT array_agg(dept ORDER BY dept DESC), string_agg(id::text, '' ORDER BY dept, id) FROM e").rows == [("{NULL,b,b,a,a}", "12345")]
    assert [r[1] for r in c.query("SELECT id, row_number() OVER (ORDER BY dept DESC, id) FROM e ORDER BY id").rows] == ["4", "5", "2", "3", "1"]
    assert order("SELECT dept FROM e UNION SELECT 'z' ORDER BY 1") == ["a", "b", "z", None]


def test_distinct_on(c):
    r = c.query("SELECT DISTINCT ON (dept) id, dept, sal + 1 FROM e ORDER BY dept, sal DESC")
    assert r.columns == ["id", "dept", "?column?"] and r.types == [23, 25, 23]
    assert r.rows == [("2", "a", "31"), ("3", "b", "21"), ("5", None, "8")]
    assert c.query("SELECT DISTINCT ON (d) dept AS d, id FROM e ORDER BY d NULLS FIRST, 2 DESC OFFSET 1").rows == [("a", "2"), ("b", "4")]
    assert c.query("SELECT DISTINCT ON (dept) * FROM e ORDER BY dept, id LIMIT 1").columns == ["id", "dept", "sal", "n", "at"]
    assert c.query("SELECT sum(id) FROM (SELECT DISTINCT ON (dept) id, dept FROM e ORDER BY dept, id) x").rows == [("9",)]
    assert c.execute("SELECT DISTINCT ON (dept) id FROM e WHERE id > $1 ORDER BY dept, id", [1]).rows == [("2",), ("3",), ("5",)]
    fails(c, "SELECT DISTINCT ON (dept) id FROM e UNION SELECT 1", C="0A000")
    fails(c, "SELECT count(*) FROM (SELECT DISTINCT ON (dept) id + 1 FROM e) x", C="0A000")


def test_create_table_as_keeps_types_and_counts(c):
    assert c.query("CREATE TABLE e2 AS SELECT id, dept, n, at, sal * 2 AS s2, count(*) OVER () FROM e").tag == "SELECT 5"
    assert c.query("SELECT * FROM e2 WHERE id = 1").types == [23, 25, 1700, 1114, 23, 20]
    assert c.query("SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'e2'::regclass ORDER BY attnum").rows == [
        ("id", "integer"), ("dept", "text"), ("n", "numeric(10,2)"), ("at", "timestamp without time zone"), ("s2", "integer"), ("count", "bigint")]
    assert c.query("CREATE TEMP TABLE e3 (a, b) AS SELECT id, dept FROM e WHERE id < 3").tag == "SELECT 2"
    assert c.query("SELECT * FROM e3 ORDER BY a").rows == [("1", "a"), ("2", "a")]
    assert c.query("SELECT id, n INTO e4 FROM e WHERE id > 3").tag == "SELECT 2"
    assert c.query("CREATE TABLE e5 AS SELECT * FROM e WITH NO DATA").tag == "CREATE TABLE AS"
    assert c.query("SELECT count(*) FROM e5").rows == [("0",)]
    r = c.query("CREATE TABLE IF NOT EXISTS e5 AS SELECT 1")
    assert (r.tag, r.notices[0]["M"]) == ("CREATE TABLE AS", 'relation "e5" already exists, skipping')
    fails(c, "CREATE TABLE e5 AS SELECT 1", C="42P07")
    fails(c, "CREATE TABLE e6 AS SELECT 1/0", C="22012")
    fails(c, "SELECT * FROM e6", C="42P01", P="15")


def test_delete_using_and_update_from(c):
    c.query("BEGIN")
    assert c.query("DELETE FROM e USING e4 WHERE e.id = e4.id AND e4.id = 4 RETURNING e.id, e.sal").rows == [("4", "5")]
    assert c.query("DELETE FROM e a USING e4 AS b, e2 WHERE a.id = b.id AND e2.id = b.id").tag == "DELETE 1"
    assert c.query("UPDATE e AS x SET sal = y.s2 FROM e2 y WHERE x.id = y.id AND y.id < 3").tag == "UPDATE 2"
    assert c.query("SELECT id, sal FROM e ORDER BY id").rows == [("1", "20"), ("2", "60"), ("3", "20")]
    c.query("ROLLBACK")


def test_copy_says_where_it_failed_and_ignores_no_option(c):
    def copy(sql, data):
        c.query(sql)
        c.send(b"d", data)
        c.send(b"c")
        return c.until_ready()
    with pytest.raises(ServerError) as e:
        copy("COPY e(id, sal) FROM STDIN", b"10\t5\n11\txx\n")
    assert (e.value.sqlstate, e.value.fields["W"]) == ("22P02", 'COPY e, line 2, column sal: "xx"')
    with pytest.raises(ServerError) as e:
        copy("COPY e(id, sal) FROM STDIN", b"10\t5\t6\n")
    assert (e.value.sqlstate, e.value.fields["W"]) == ("22P04", "COPY e, line 1")
    with pytest.raises(ServerError) as e:
        copy("COPY e(id, sal) FROM STDIN WITH (FORMAT csv, HEADER MATCH)", b"id,salary\n10,5\n")
    assert e.value.fields["M"] == 'column name mismatch in header line field 2: got "salary", expected "sal"'
    assert copy("COPY e(id, sal) FROM STDIN WITH (FORMAT csv, HEADER MATCH)", b'id,"sal"\n10,5\n').tag == "COPY 1"
    fails(c, "COPY e FROM STDIN WHERE id > 3", C="0A000", M="not supported yet: COPY .. WHERE")
    fails(c, "COPY e FROM STDIN (ENCODING 'LATIN1')", C="0A000")
    fails(c, "COPY e FROM STDIN (NOSUCH 1)", C="42601")
    c.query("DELETE FROM e WHERE id = 10")


@pytest.mark.parametrize("condition,found", [
    ("c = 't'", 1), ("c = 'yes'", 1), ("c", 1), ("'f' = c", 0), ("d = '2024-1-5'", 1), ("'2024-1-5' = d", 1), ("d BETWEEN '2024-1-1' AND '2024-12-31'", 1),
    ("d IN ('2024-1-5', '2023-1-1')", 1), ("ts = '2024-01-05'", 1), ("ts >= '2024-01-05' AND ts < '2024-01-05'::date + 1", 1), ("d = ts", 1), ("ts = d", 1),
    ("tz = '2024-01-05 09:00+01:00'", 1), ("u = 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", 1), ("n = '1.50'", 1), ("n IN ('1.50', '2')", 1), ("ch = 'ab'", 1), ("ch = 'ab  '", 1),
    ("tm = '10:00:00'", 1), ("iv = '24:00:00'", 1), ("iv > '2 hours'", 1), ("iv < '1 mon'", 1), ("id = '1'", 1), ("(id, d) = ('1', '2024-1-5')", 1), ("CASE d WHEN '2024-1-5' THEN c END", 1), ("d <> '2024-1-5'", 0)])
def test_a_quoted_literal_takes_the_type_of_the_other_side(c, condition, found):
    c.query("""DROP TABLE IF EXISTS lit CASCADE; CREATE TABLE lit(id int PRIMARY KEY, c bool, d date, ts timestamp, tz timestamptz, u uuid, n numeric(8,2), ch char(4), tm time, iv interval);
        INSERT INTO lit VALUES(1,true,'2024-01-05','2024-01-05 00:00:00','2024-01-05 10:00+02','a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',1.5,'ab','10:00','1 day')""")
    assert c.query(f"SELECT count(*) FROM lit WHERE {condition}").rows == [(str(found),)]
    c.query(f"CREATE OR REPLACE VIEW seen AS SELECT id FROM lit WHERE {condition}")
    assert c.query("SELECT count(*) FROM seen").rows == [(str(found),)]
    assert c.query(f"DELETE FROM lit WHERE {condition}").tag == f"DELETE {found}"


def test_a_quoted_literal_that_is_none_of_the_type_is_an_error(c):
    for sql, words, at in [("SELECT 1 FROM lit WHERE id = 'x'", 'invalid input syntax for type integer: "x"', "30"), ("SELECT 1 FROM lit WHERE d > 'nonsense'", 'invalid input syntax for type date: "nonsense"', "29"),
                           ("SELECT 1 FROM lit WHERE c = 'maybe'", 'invalid input syntax for type boolean: "maybe"', "29"), ("UPDATE lit SET id = 1 WHERE u = 'zz'", 'invalid input syntax for type uuid: "zz"', "33")]:
        fails(c, sql, C="22P02" if "date" not in words else "22007", M=words, P=at)


def test_like_has_a_default_escape(c):
    assert c.query(r"SELECT 'a_b' LIKE 'a\_b', 'axb' LIKE 'a\_b', 'a%b' LIKE 'a\%b', 'axb' LIKE 'a_b', 'a\b' LIKE 'a\\b'").rows == [("t", "f", "t", "t", "t")]
    assert c.execute("SELECT 'axb' LIKE $1", [r"a\_b"]).rows == [("f",)]


def test_intervals_are_computed_and_ordered_by_length(c):
    assert c.query("SELECT 2 * interval '1 day', interval '3 hours' / 2, -interval '1 day', interval '1 month' * 1.5").rows == [("2 days", "01:30:00", "-1 days", "1 mon 15 days")]
    assert [r[0] for r in c.query("SELECT i FROM (VALUES ('1 mon'::interval), ('2 hours'), ('1 day')) v(i) ORDER BY i").rows] == ["02:00:00", "1 day", "1 mon"]
    assert c.query("SELECT sum(i), avg(i) FROM (VALUES ('1 mon'::interval), ('1 day 02:00'), (NULL)) v(i)").rows == [("1 mon 1 day 02:00:00", "15 days 13:00:00")]


def test_arrays(c):
    c.query("DROP TABLE IF EXISTS arr; CREATE TABLE arr(x int[], y text[]); INSERT INTO arr VALUES('{1,2}', '{a,b}')")
    r = c.query("SELECT x || 5, 0 || x, x || array[8, 9], y || 'z'::text, x[1], y[2], array_length(x || 7, 1) FROM arr")
    assert r.rows == [("{1,2,5}", "{0,1,2}", "{1,2,8,9}", "{a,b,z}", "1", "b", "3")]
    assert r.types == [1007, 1007, 1007, 1009, 23, 25, 23] and r.columns[4:6] == ["x", "y"]


def test_dates_in_other_spellings(c):
    spellings = ["20240105", "5 Jan 2024", "January 5, 2024", "1/5/2024", "2024/01/05", "2024-Jan-05", "Jan 5 2024"]
    assert c.query("SELECT " + ", ".join(f"'{s}'::date" for s in spellings)).rows == [("2024-01-05",) * 7]
    assert c.query("SELECT 'tomorrow'::date - 'today'::date, 'today'::date - 'yesterday'::date, extract(year FROM date '2024-02-29'), extract(dow FROM date '2024-02-29')").rows == [("1", "1", "2024", "4")]
    for bad in ("5 Foo 2024", "2024-02-30", ""):
        fails(c, f"SELECT '{bad}'::date", C="22007" if not bad.startswith("2024") else "22008")


def test_numeric_rounds_half_away_from_zero(c):
    assert c.query("SELECT 2.5::int, 3.5::int, (-2.5)::int, 1.49::int").rows == [("3", "4", "-3", "1")]
    fails(c, "SELECT 9223372036854775807 * 2", C="22003")


def test_a_cursor_takes_the_parameters_of_its_declare(c):
    c.query("BEGIN")
    c.execute("DECLARE k CURSOR FOR SELECT id, dept FROM e WHERE id > $1 AND dept = $2 ORDER BY id", [1, "b"])
    c.execute("SELECT $1::int", [99])
    assert c.query("FETCH 10 FROM k").rows == [("3", "b"), ("4", "b")]
    c.parse("DECLARE k2 CURSOR FOR SELECT id FROM e WHERE id = $1", types=[21])  # int2, binary
    c.bind([b"\0\3"], formats=[1])
    c.run()
    c.sync()
    assert c.query("FETCH 10 FROM k2").rows == [("3",)]
    c.query("ROLLBACK")
    with pytest.raises(ServerError) as e:
        c.query("BEGIN; DECLARE k CURSOR FOR SELECT $1::int")
    assert e.value.sqlstate == "42P02"
    c.query("ROLLBACK")


def test_a_million_rows_stream_in_bounded_memory(tmp_path):
    with ServerProcess(tmp_path / "app.db", "--auth", "trust") as server, server.client() as client:
        client.query("CREATE TABLE big(i int PRIMARY KEY, t text); INSERT INTO big SELECT g, 'row number ' || g FROM generate_series(1, 200000) AS g")
        client.query("SELECT count(*) FROM big")
        before = server.rss_kb()

        def drain(end):
            n = 0
            while True:
                kind, _ = client.receive()
                n += kind in (b"D", b"d")
                if kind in end:
                    return n
        client.send(b"Q", b"SELECT * FROM big\0")
        assert drain(b"Z") == 200000
        client.send(b"Q", b"COPY big TO STDOUT\0")
        assert drain(b"Z") == 200000
        client.query("BEGIN")
        client.parse("SELECT * FROM big")
        client.bind()
        total, last = 0, 1
        while last:
            client.run("", 7000)
            client.send(b"H")
            last = drain((b"s", b"C"))
            total += last
        client.sync()
        assert total == 200000 and server.rss_kb() - before < 20_000


def test_functions_that_give_rows_in_a_select_list(c):
    c.query("DROP TABLE IF EXISTS a; CREATE TABLE a(id int, value int, x text[]); INSERT INTO a VALUES(1, 7, '{p,q}'), (2, 8, '{}'), (3, 9, '{r}')")
    assert c.query("SELECT generate_series(1, 3)").rows == [("1",), ("2",), ("3",)]
    r = c.query("SELECT unnest(array[5, 6]) AS u, generate_subscripts(array[5, 6], 1)")
    assert (r.rows, r.columns, r.types) == ([("5", "1"), ("6", "2")], ["u", "generate_subscripts"], [23, 23])
    assert c.query("SELECT id, value, unnest(x) FROM a ORDER BY 1, 3").rows == [("1", "7", "p"), ("1", "7", "q"), ("3", "9", "r")]
    assert c.query("SELECT count(*) FROM (SELECT id, unnest(x) AS v FROM a) s WHERE v = 'r'").rows == [("1",)]
    fails(c, "SELECT unnest(x), count(*) FROM a GROUP BY 1", C="0A000")


@pytest.mark.skipif(not shutil.which("pg_dump"), reason="pg_dump is not there")
def test_pg_dump_reads_the_schema(tmp_path):
    with ServerProcess(tmp_path / "app.db", "--auth", "trust") as server:
        with server.client() as client:
            client.query("""CREATE TABLE p(id serial PRIMARY KEY, a text NOT NULL DEFAULT 'x', b numeric(8,2) CHECK (b > 0)); CREATE INDEX p_b ON p(b);
                CREATE TABLE k(id int PRIMARY KEY, pid int REFERENCES p(id) ON DELETE CASCADE); CREATE VIEW v AS SELECT id FROM p; COMMENT ON TABLE p IS 'words'; INSERT INTO p(a) VALUES('one'), ('two')""")
        dump = subprocess.run(["pg_dump", "-h", "127.0.0.1", "-p", str(server.port), "-U", "helios", "app"], capture_output=True, text=True, timeout=60)
        assert dump.returncode == 0, dump.stderr
        for part in ["CREATE TABLE public.p (", "a text DEFAULT 'x'::text NOT NULL", "b numeric(8,2)", "ADD CONSTRAINT p_pkey PRIMARY KEY (id)", "CREATE INDEX p_b ON public.p USING btree (b)",
                     "ADD CONSTRAINT k_pid_fkey FOREIGN KEY (pid) REFERENCES", "COMMENT ON TABLE public.p IS 'words'", "1\tone\t\\N", "CREATE VIEW public.v AS"]:
            assert part in dump.stdout, part


def test_records_of_expanded_arrays_and_subscripts_of_calls(c):
    """What JDBC's metadata asks."""
    c.query("DROP TABLE IF EXISTS ck, pk; CREATE TABLE pk(x int, y bigint, PRIMARY KEY(x, y)); CREATE TABLE ck(a int, b bigint, FOREIGN KEY(a, b) REFERENCES pk)")
    assert c.query("""SELECT r.name, r.seq FROM (SELECT a.attname AS name, a.attnum, (information_schema._pg_expandarray(i.indkey)).n AS seq, information_schema._pg_expandarray(i.indkey) AS keys
        FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid WHERE i.indrelid = 'pk'::regclass) r WHERE r.attnum = (r.keys).x ORDER BY 2""").rows == [("x", "1"), ("y", "2")]
    assert c.query("""SELECT fa.attname, pa.attname, pos.n, ic.relname FROM pg_constraint con, pg_attribute fa, pg_attribute pa, pg_catalog.generate_series(1, 3) pos(n), pg_class ic
        WHERE con.contype = 'f' AND con.conrelid = 'ck'::regclass AND fa.attrelid = con.conrelid AND fa.attnum = con.conkey[pos.n] AND pa.attrelid = con.confrelid AND pa.attnum = con.confkey[pos.n]
        AND ic.oid = con.conindid ORDER BY 3""").rows == [("a", "x", "1", "pk_pkey"), ("b", "y", "2", "pk_pkey")]
    assert c.query("SELECT (current_schemas(true))[2], current_schemas(true)[1], (array[7, 8])[2]").rows == [("public", "pg_catalog", "8")]
    assert c.query("SELECT '2024-01-05 +00'::date").rows == [("2024-01-05",)]


@pytest.mark.parametrize("expression,expected", [
    ("encode('abc'::bytea, 'hex')", "616263"), ("encode('abcd'::bytea, 'base64')", "YWJjZA=="), ("decode('YWJj', 'base64')", "\\x616263"), ("decode('6162 63', 'hex')", "\\x616263"),
    ("regexp_replace('foobar', 'o+', '0')", "f0bar"), ("regexp_replace('foofoo', 'o', '0', 'g')", "f00f00"), (r"regexp_replace('John Smith', '(\w+) (\w+)', '\2 \1')", "Smith John"),
    ("regexp_replace('abc', '', '-', 'g')", "-a-b-c-"), ("regexp_replace('Abc', 'a', 'x', 'i')", "xbc"), ("regexp_match('foobar', '(o+)(b)')", "{oo,b}"), ("regexp_match('foobar', 'z')", None),
    ("translate('12345', '143', 'ax')", "a2x5"), ("to_hex(-1)", "ffffffff"), ("to_char(timestamp '2024-02-09 03:04:05.678', 'YYYY-MM-DD HH24:MI:SS.MS')", "2024-02-09 03:04:05.678"),
    ("to_char(timestamp '2024-02-09 15:04:05', 'FMDay, FMMonth FMDD HH12:MI PM Q \"Quarter\" DDD D')", "Friday, February 9 03:04 PM 1 Quarter 040 6"),
    ("to_char(date '2024-02-09', 'Day|MONTH|dy')", "Friday   |FEBRUARY |fri"), ("age(timestamp '2024-03-01', timestamp '2024-01-31')", "1 mon 1 day"),
    ("age(date '2020-01-01', date '2024-05-06')", "-4 years -4 mons -5 days"), ("timestamp '2024-01-01 10:00' AT TIME ZONE 'UTC'", "2024-01-01 10:00:00+00"),
    ("timestamptz '2024-01-01 10:00+02' AT TIME ZONE 'utc'", "2024-01-01 08:00:00"), ("(now() AT TIME ZONE 'UTC') IS NOT NULL", "t")])
def test_functions(c, expression, expected):
    assert c.query(f"SELECT {expression}").rows == [(expected,)]


@pytest.mark.parametrize("expression,state", [("decode('6', 'hex')", "22023"), ("regexp_replace('a', '(', 'x')", "2201B"), ("now() AT TIME ZONE 'Mars/Olympus'", "22023")])
def test_functions_refuse(c, expression, state):
    fails(c, f"SELECT {expression}", C=state)


def test_expressions_of_a_thousand_terms(c):
    assert c.execute("SELECT " + " + ".join(f"CAST(${i + 1} AS integer)" for i in range(1000)), [1] * 1000).rows == [("1000",)]
    fails(c, "SELECT " + "+".join(["1"] * 100000), C="54001")


def test_unnest_in_from(c):
    assert c.query("SELECT * FROM unnest(array[5, 6])").rows == [("5",), ("6",)]
    r = c.query("SELECT * FROM unnest(array['a', 'b'], '{1,NULL}'::int[]) AS t(x, y)")
    assert (r.columns, r.rows) == (["x", "y"], [("a", "1"), ("b", None)])
    r = c.query("SELECT * FROM unnest(array['p', 'q']) WITH ORDINALITY AS t(v, n) WHERE n > 1")
    assert (r.columns, r.rows) == (["v", "n"], [("q", "2")])
    assert c.query("SELECT k.v, ARRAY(SELECT u FROM unnest(k.v) WITH ORDINALITY x(u, i) ORDER BY i DESC) FROM (SELECT array[1, 2] AS v) k").rows == [("{1,2}", "{2,1}")]
    c.query("DROP TABLE IF EXISTS many; CREATE TABLE many(id serial PRIMARY KEY, a text, b bool, d timestamptz)")
    assert c.query("INSERT INTO many(a, b, d) SELECT * FROM UNNEST(('{x,y}')::text[], ('{t,f}')::bool[], ('{2024-01-01 10:00+02,NULL}')::timestamptz[]) RETURNING id, a, b, d").rows == [
        ("1", "x", "t", "2024-01-01 08:00:00+00"), ("2", "y", "f", None)]
