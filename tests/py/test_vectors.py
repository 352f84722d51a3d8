"""VECTOR(n) columns, vector functions and operators: values, errors, nothing stored on failure."""
import array
import math
import struct
import unittest

import heliosdb_sqlite as helios


def blob(*numbers):
    return struct.pack(f"<{len(numbers)}f", *numbers)


class Vectors(unittest.TestCase):
    def setUp(self):
        self.conn = helios.connect(":memory:")
        self.conn.execute("CREATE TABLE d(id INTEGER PRIMARY KEY, e VECTOR(3), s TEXT)")

    def one(self, sql, *parameters):
        return self.conn.execute(sql, parameters).fetchone()[0]

    def test_every_way_to_bind_stores_the_same(self):
        for value in ("[1, 2.5, -3e0]", blob(1, 2.5, -3), [1, 2.5, -3], (1, 2.5, -3), array.array("f", [1, 2.5, -3]), array.array("d", [1, 2.5, -3])):
            self.conn.execute("INSERT INTO d(e) VALUES (?)", (value,))
        self.assertEqual(self.conn.execute("SELECT count(*), count(DISTINCT e), min(vector_to_text(e)) FROM d").fetchone(), (6, 1, "[1,2.5,-3]"))
        self.conn.execute("INSERT INTO d(e) VALUES (NULL)")
        self.conn.execute("UPDATE d SET e = '[0,0,1]' WHERE id = 1")
        self.assertEqual(self.one("SELECT vector_to_text(e) FROM d WHERE id = 1"), "[0,0,1]")

    def test_a_vector_column_reads_as_a_list_of_floats(self):
        want = [1.0, 2.5, -3.0]
        for value in (want, tuple(want), array.array("d", want), "[1, 2.5, -3]"):
            self.assertEqual(self.conn.execute("INSERT INTO d(e) VALUES (?) RETURNING e, typeof(e), length(e)", (value,)).fetchone(), (want, "blob", 12))
        self.conn.execute("INSERT INTO d(id, e, s) VALUES (9, NULL, 'x')")
        self.conn.row_factory = helios.Row
        row = self.conn.execute("SELECT id, e, s FROM d WHERE id = 1").fetchone()
        self.assertEqual((row["e"], list(row), hash(row.keys()[1])), (want, [1, want, None], hash("e")))
        self.conn.row_factory = None
        self.conn.execute("CREATE VIEW w AS SELECT e AS f, s FROM d")
        for sql, got in (("SELECT f FROM w LIMIT 1", want), ("SELECT e FROM (SELECT * FROM d) LIMIT 1", want), ("SELECT e FROM d WHERE id = 9", None),
                         ("SELECT CAST(e AS BLOB) FROM d LIMIT 1", blob(*want)), ("SELECT quote(e) FROM d LIMIT 1", "X'" + blob(*want).hex().upper() + "'")):
            self.assertEqual(self.one(sql), got, sql)
        self.assertEqual([r[0] for r in self.conn.execute("SELECT e FROM d")], [want] * 4 + [None])
        self.assertEqual(self.conn.execute_vector_search("d", "e", want, limit=1)[0][:2], (1, want))
        self.conn.execute("UPDATE d SET e = ? WHERE id = 9", (self.one("SELECT e FROM d WHERE id = 1"),))
        self.assertEqual(self.one("SELECT count(DISTINCT e) FROM d"), 1)
        copy = helios.connect(":memory:")
        copy.executescript("\n".join(self.conn.iterdump()))
        self.assertEqual(copy.execute("SELECT e FROM d WHERE id = 1").fetchone()[0], want)

    def test_a_converter_gets_the_bytes(self):
        self.addCleanup(helios.register_converter, "vector", helios.converters["VECTOR"])
        helios.register_converter("vector", lambda b: array.array("f", b))
        conn = helios.connect(":memory:", detect_types=helios.PARSE_DECLTYPES)
        conn.execute("CREATE TABLE d(e VECTOR(2))")
        conn.execute("INSERT INTO d VALUES ('[1, 2]')")
        self.assertEqual(conn.execute("SELECT e FROM d").fetchone(), (array.array("f", [1, 2]),))

    def test_a_column_altered_under_a_kept_statement(self):
        self.conn.execute("INSERT INTO d(e) VALUES ('[1,2,3]')")
        read = "SELECT * FROM d"
        self.assertEqual(self.conn.execute(read).fetchall(), [(1, [1, 2, 3], None)])
        self.conn.execute("ALTER TABLE d DROP COLUMN e")
        self.conn.execute("ALTER TABLE d ADD COLUMN b BLOB")
        self.conn.execute("UPDATE d SET b = ?", (blob(1, 2, 3),))
        self.assertEqual(self.conn.execute(read).fetchall(), [(1, None, blob(1, 2, 3))])

    def test_what_is_no_vector_is_refused_and_nothing_is_stored(self):
        for value in ("[1,2]", "[1,2,3,4]", "[1,2,x]", "[]", "", "1,2,3", "[1,2,3] x", "[1,,3]", blob(1, 2), b"abc", 5, 1.5, "[1e39,0,0]", [math.inf, 0, 0], [math.nan, 0, 0]):
            with self.subTest(value):
                with self.assertRaises(helios.IntegrityError):
                    self.conn.execute("INSERT INTO d(e) VALUES (?)", (value,))
        self.assertEqual(self.one("SELECT count(*) FROM d"), 0)

    def test_distances(self):
        a, b = [1.0, 2.0, 3.0], [-1.0, 0.5, 4.0]
        dot = sum(x * y for x, y in zip(a, b))
        cosine = 1 - dot / math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))
        l2, l1 = math.dist(a, b), sum(abs(x - y) for x, y in zip(a, b))
        for sql, want in (("vector_distance(?1, ?2)", cosine), ("vector_distance(?1, ?2, 'L2')", l2), ("vector_distance(?1, ?2, 'euclidean')", l2),
                          ("vector_distance(?1, ?2, 'ip')", -dot), ("vector_distance(?1, ?2, 'manhattan')", l1), ("cosine_distance(?1, ?2)", cosine),
                          ("cosine_similarity(?1, ?2)", 1 - cosine), ("l2_distance(?1, ?2)", l2), ("inner_product(?1, ?2)", dot), ("?1 <-> ?2", l2),
                          ("?1 <=> ?2", cosine), ("?1 <#> ?2", -dot), ("?1 <+> ?2", l1), ("vector_norm(?1) + 0 * ?2", math.sqrt(14))):
            with self.subTest(sql):
                self.assertAlmostEqual(self.conn.execute(f"SELECT {sql}", (a, b if "0 *" not in sql else 1)).fetchone()[0], want, 6)
        self.assertIsNone(self.one("SELECT ? <-> NULL", a))
        self.assertEqual(self.one("SELECT cosine_distance('[0,0]', '[1,0]')"), 1.0)

    def test_a_bad_query_vector_is_an_error_not_null(self):
        self.conn.execute("INSERT INTO d(e) VALUES ('[1,2,3]')")
        for query in ("abc", "[1,2]", b"xyz", 7):
            with self.subTest(query):
                with self.assertRaises(helios.OperationalError):
                    self.conn.execute("SELECT id FROM d ORDER BY e <-> ? LIMIT 1", (query,)).fetchall()

    def test_nearest_first(self):
        import random
        rnd = random.Random(1)
        rows = [[rnd.uniform(-1, 1) for _ in range(3)] for _ in range(200)]
        self.conn.executemany("INSERT INTO d(e, s) VALUES (?, ?)", [(r, str(i % 7)) for i, r in enumerate(rows)])
        query = [0.1, 0.2, 0.3]
        want = sorted(range(200), key=lambda i: math.dist(rows[i], query))
        got = self.conn.execute("SELECT id FROM d ORDER BY e <-> ? LIMIT 10", (query,)).fetchall()
        self.assertEqual([g - 1 for (g,) in got], want[:10])
        got = self.conn.execute("SELECT id FROM d WHERE s = '3' ORDER BY vector_distance(e, ?, 'l2') LIMIT 5 OFFSET 2", (query,)).fetchall()
        self.assertEqual([g - 1 for (g,) in got], [i for i in want if i % 7 == 3][2:7])


if __name__ == "__main__":
    unittest.main()
