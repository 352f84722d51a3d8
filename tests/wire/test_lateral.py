"""LATERAL, WITHIN GROUP, SIMILAR TO, ^, to_char of numbers, names of subqueries' columns: expected values are PostgreSQL 15's."""
import pytest

from client import ServerError, ServerProcess


@pytest.fixture(scope="module")
def c(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("lateral") / "app.db", "--auth", "trust") as s, s.client() as client:
        client.query("""CREATE TABLE t(id int PRIMARY KEY, tags text[], n int); INSERT INTO t VALUES(1, '{a,b}', 2), (2, '{c}', 1), (3, NULL, 0);
            CREATE TABLE x(id int PRIMARY KEY, t int, v text); INSERT INTO x VALUES(1, 1, 'p'), (2, 1, 'q'), (3, 2, 'r'), (4, 1, 's'); CREATE TABLE ve(e vector(3)); INSERT INTO ve VALUES('[1,2,3]')""")
        yield client


def fails(client, sql, state):
    with pytest.raises(ServerError) as e:
        client.query(sql)
    assert e.value.sqlstate == state, e.value


@pytest.mark.parametrize("sql,rows", [
    ("SELECT t.id, l.v FROM t, LATERAL (SELECT v FROM x WHERE x.t = t.id ORDER BY x.id DESC LIMIT 2) l ORDER BY 1, 2", "1 q|1 s|2 r"),
    ("SELECT t.id, l.v FROM t LEFT JOIN LATERAL (SELECT v FROM x WHERE x.t = t.id ORDER BY x.id LIMIT 1) l ON true ORDER BY 1", "1 p|2 r|3 None"),
    ("SELECT t.id, l.c, l.m FROM t CROSS JOIN LATERAL (SELECT count(*) AS c, max(v) FROM x WHERE x.t = t.id) AS l(c, m) ORDER BY 1", "1 3 s|2 1 r|3 0 None"),
    ("SELECT t.id, u FROM t CROSS JOIN LATERAL unnest(t.tags) u ORDER BY 1, 2", "1 a|1 b|2 c"),
    ("SELECT t.id, u.e, u.o FROM t, unnest(t.tags) WITH ORDINALITY AS u(e, o) ORDER BY 1, 3", "1 a 1|1 b 2|2 c 1"),
    ("SELECT t.id, g FROM t, generate_series(1, t.n) g ORDER BY 1, 2", "1 1|1 2|2 1"),
    ("SELECT t.id, k.b FROM t, LATERAL (VALUES (t.id, 'one'), (t.id * 10, 'two')) k(a, b) WHERE k.a > 10 ORDER BY 1", "2 two|3 two"),
    ("SELECT a.id, c.q FROM t a, LATERAL (SELECT a.id + 1 AS p) b, LATERAL (SELECT b.p * 2 AS q) c ORDER BY 1", "1 4|2 6|3 8"),
    ("SELECT t.id, s.sum FROM t JOIN LATERAL (SELECT sum(x.id) FROM x WHERE x.t = t.id) s ON s.sum > 1 ORDER BY 1", "1 7|2 3"),
    ("SELECT (SELECT string_agg(l.v, ',') FROM LATERAL (SELECT v FROM x WHERE x.t = t.id ORDER BY id) l) FROM t ORDER BY id", "p,q,s|r|None"),
    ("SELECT count(*) FROM generate_series(1, 10) a, generate_series(1, a) b", "55"),
    ("SELECT one FROM LATERAL (SELECT 1 AS one) a", "1"),
    ("WITH q AS (SELECT count(*), upper('a') FROM x) SELECT count + 1, upper FROM q", "5 A"),
    ("SELECT s.max FROM (SELECT max(v) FROM x) s", "s"),
    ("SELECT 2^3, 2^3^2, 2*3^2, 10 - 2^2 + 1", "8 64 18 7"),
    ("SELECT e::text, e || '' FROM ve", "[1,2,3] [1,2,3]"),
    ("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY id), percentile_disc(0.5) WITHIN GROUP (ORDER BY v DESC), mode() WITHIN GROUP (ORDER BY t) FROM x", "2.5 r 1"),
    ("SELECT t, percentile_cont(0.25) WITHIN GROUP (ORDER BY id DESC) FILTER (WHERE id > 1) FROM x GROUP BY t ORDER BY t", "1 3.5|2 3"),
    ("SELECT mode() WITHIN GROUP (ORDER BY v) FROM x WHERE false", "None"),
    ("SELECT percentile_disc(1) WITHIN GROUP (ORDER BY decode(b, 'hex')) FROM (VALUES ('0102'), ('ff00')) v(b)", "\\xff00"),
    ("SELECT v FROM x WHERE v SIMILAR TO '(p|q)' ORDER BY v", "p|q"),
    ("SELECT 'abc' SIMILAR TO 'a%', 'abc' SIMILAR TO 'b', 'abc' NOT SIMILAR TO '%(x|y)%', 'abc' SIMILAR TO 'a.c', 'a.c' SIMILAR TO 'a.c', 'a1' SIMILAR TO '[a-z][0-9]'", "t f t f t t"),
    ("SELECT 'abc' ~ 'a', 'a' ILIKE 'B'", "t f")])
def test_queries(c, sql, rows):
    assert "|".join(" ".join(str(v) for v in r) for r in c.query(sql).rows) == rows


def test_lateral_in_views_prepared_statements_and_errors(c):
    c.query("CREATE VIEW lv AS SELECT t.id, l.v, count FROM t CROSS JOIN LATERAL (SELECT v FROM x WHERE x.t = t.id ORDER BY v LIMIT 1) l, (SELECT count(*) FROM x) k")
    r = c.query("SELECT * FROM lv ORDER BY id")
    assert (r.columns, r.types, r.rows) == (["id", "v", "count"], [23, 25, 20], [("1", "p", "4"), ("2", "r", "4")])
    assert c.execute("SELECT l.v FROM t, LATERAL (SELECT v FROM x WHERE x.t = t.id AND v > $1) l ORDER BY 1", ["p"]).rows == [("q",), ("r",), ("s",)]
    fails(c, "SELECT l.v FROM LATERAL (SELECT v FROM x WHERE x.t = t.id) l, t", "42P01")
    fails(c, "SELECT l.v FROM t, (SELECT v FROM x WHERE x.t = t.id) l", "42703")
    fails(c, "SELECT percentile_cont(1.5) WITHIN GROUP (ORDER BY id) FROM x", "22003")
    fails(c, "SELECT rank(1) WITHIN GROUP (ORDER BY id) FROM x", "0A000")
    fails(c, "SELECT v SIMILAR TO 'a!%' ESCAPE '!' FROM x", "0A000")


@pytest.mark.parametrize("number,picture,text", [
    ("12", "999", "  12"), ("-12", "999", " -12"), ("12", "FM999", "12"), ("12", "000", " 012"), ("1234", "9,999", " 1,234"), ("12", "9,999", "    12"), ("0.5", "9.99", "  .50"),
    ("0.5", "0.99", " 0.50"), ("0", "9.99", "  .00"), ("0", "FM9.99", "0."), ("1.5", "FM990.00", "1.50"), ("1.5", "FM990.99", "1.5"), ("0", "999", "   0"), ("0.5", "999", "   1"),
    ("-1234.567", "9,999.99", "-1,234.57"), ("12345", "9,999", " #,###"), ("485", "S999", "+485"), ("-485", "999S", "485-"), ("485", "999MI", "485 "), ("-485", "999PR", "<485>"),
    ("12", "9990999.9", "    0012.0"), ("12", "FM9990999.9", "0012."), ("-0.1", "99.99", "  -.10"), ("0.125", "0.99", " 0.13"), ("1234.5", "FM9G999D00", "1,234.50")])
def test_to_char_of_numbers(c, number, picture, text):
    assert c.query(f"SELECT to_char({number}, '{picture}')").rows == [(text,)]


def test_to_char_with_pictures_that_are_not_there(c):
    for picture in ("9EEEE", "RN", "999TH", "9V9", "PL9"):
        fails(c, f"SELECT to_char(1, '{picture}')", "0A000")
