"""PostgreSQL's operators on jsonb and arrays, brackets around the sides of UNION, INSERT .. SELECT .. ON CONFLICT, deviations: as PostgreSQL 15 answers."""
import pytest

from client import ServerError, ServerProcess


@pytest.fixture(scope="module")
def c(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("operators") / "app.db", "--auth", "trust") as s, s.client() as client:
        client.query("CREATE TABLE j(id int PRIMARY KEY, d jsonb, tags text[], n int[])")
        client.query("""INSERT INTO j VALUES(1, '{"x":{"y":[1,2,{"z":"q"}]},"a":"b","k":null}', '{p,q}', '{1,2,3}'), (2, '[1,2,"c"]', '{}', '{4}'), (3, '{"a":"c","n":1.0}', NULL, NULL)""")
        yield client


@pytest.mark.parametrize("where,ids", [
    ("d @> '{\"a\":\"b\"}'", "1"), ("d @> '{\"x\":{\"y\":[1]}}'", "1"), ("d @> '{\"x\":{\"y\":1}}'", ""), ("d @> '[2]'", "2"), ("d @> '\"c\"'", "2"), ("d @> '{}'", "1 3"), ("d <@ '{\"a\":\"c\",\"n\":1,\"z\":2}'", "3"),
    ("d ? 'a'", "1 3"), ("d ? 'c'", "2"), ("d ?| array['x', 'n']", "1 3"), ("d ?& array['a', 'n']", "3"), ("d #>> '{x,y,2,z}' = 'q'", "1"), ("d #>> '{x,y,-3}' = '1'", "1"), ("d #> '{k}' IS NULL", "2 3"),
    ("tags @> array['p']", "1"), ("tags @> '{q,p}'", "1"), ("tags @> '{}'", "1 2"), ("tags && array['q', 'z']", "1"), ("n <@ array[1, 2, 3, 4]", "1 2"), ("n && '{3,9}'", "1"), ("d = '{\"n\": 1.0, \"a\":\"c\"}'", "3")])
def test_containment_and_paths(c, where, ids):
    assert " ".join(r[0] for r in c.query(f"SELECT id FROM j WHERE {where} ORDER BY id").rows) == ids


def test_parameters_take_the_other_sides_type(c):
    assert c.execute("SELECT id FROM j WHERE d @> $1", ['{"a": "b"}']).rows == [("1",)]
    assert c.execute("SELECT id FROM j WHERE tags && $1 AND d ? $2 AND d #>> $3 = '2'", ["{q}", "a", "{x,y,1}"]).rows == [("1",)]
    c.parse("SELECT d @> $1, n && $2, d ? $3, d #> $4 FROM j")
    c.describe("S")
    c.send(b"S")
    c.expect(b"1")
    kind, body = c.expect(b"t")
    assert [int.from_bytes(body[2 + 4 * i:6 + 4 * i], "big") for i in range(4)] == [3802, 1007, 25, 1009]
    assert c.until_ready().types == [16, 16, 16, 3802]


def test_json_is_checked_and_jsonb_has_one_text(c):
    for text, jsonb in (('{"b":1,"a":[1,{"z":2}],"b":3}', '{"a": [1, {"z": 2}], "b": 3}'), ("[]", "[]"), (' "x" ', '"x"'), ('{"aa":1,"b":2}', '{"b": 2, "aa": 1}')):
        assert c.query(f"SELECT '{text}'::jsonb, '{text}'::json").rows == [(jsonb, text)]
    for text in ("{bad", "", "{'a':1}", "[1,]", "{a:1}"):
        with pytest.raises(ServerError) as e:
            c.execute("INSERT INTO j(id, d) VALUES(9, $1)", [text])
        assert e.value.sqlstate == "22P02" and e.value.fields["M"] == "invalid input syntax for type json"


@pytest.mark.parametrize("sql,rows", [
    ("(SELECT 1 AS a UNION SELECT 2) UNION ALL (SELECT 3 ORDER BY 1 LIMIT 1) ORDER BY a DESC", "3 2 1"), ("(SELECT id FROM j WHERE id = 1) UNION (SELECT id FROM j WHERE id = 3) ORDER BY 1", "1 3"),
    ("(SELECT 1) INTERSECT (SELECT 1 UNION SELECT 2)", "1"), ("SELECT x FROM ((SELECT 1 AS x) UNION ALL (SELECT 2)) s ORDER BY x", "1 2"), ("(SELECT 5 AS q)", "5"), ("SELECT 1 UNION (SELECT 2 EXCEPT SELECT 2)", "1"),
    ("SELECT id FROM j WHERE id IN ((SELECT 1) UNION (SELECT 2)) ORDER BY 1", "1 2"), ("SELECT (SELECT max(id) FROM j)", "3"), ("SELECT stddev_pop(x) FROM (VALUES (2::float8), (4), (4), (4), (5), (5), (7), (9)) v(x)", "2"),
    ("SELECT var_samp(x) FROM (VALUES (1), (3)) v(x)", "2"), ("SELECT stddev(x) FROM (VALUES (1)) v(x)", "None"), ("SELECT corr(x, -x) FROM (VALUES (1::float8), (3)) v(x)", "-1")])
def test_queries(c, sql, rows):
    assert " ".join(str(r[0]) for r in c.query(sql).rows) == rows


def test_insert_of_a_query_on_conflict(c):
    c.query("CREATE TABLE k(id int PRIMARY KEY, n int)")
    assert c.query("INSERT INTO k(id) SELECT g FROM generate_series(1, 3) g ON CONFLICT (id) DO NOTHING").tag == "INSERT 0 3"
    assert c.query("INSERT INTO k SELECT id, 1 FROM k ON CONFLICT (id) DO UPDATE SET n = 7").tag == "INSERT 0 3"
    assert c.query("INSERT INTO k(id) SELECT * FROM unnest(ARRAY[3, 4]) ON CONFLICT DO NOTHING RETURNING id").rows == [("4",)]
    assert c.query("SELECT sum(n) FROM k").rows == [("21",)]
