"""What parses but does not run yet says `not supported yet: X`, whole: this list shrinks.

A statement that starts to work fails here, and its line goes."""
import unittest

import heliosdb_sqlite as helios

SETUP = """
CREATE TABLE t(a INTEGER PRIMARY KEY, b, c);
CREATE TABLE w(k TEXT PRIMARY KEY, e VECTOR(2)) WITHOUT ROWID;
CREATE TABLE d(id INTEGER PRIMARY KEY, e VECTOR(2));
CREATE TABLE g(a, v AS (a + 1));
INSERT INTO t VALUES(1, 2, 3);
"""
STATEMENTS = [
    ("UPDATE t SET (b, c) = (SELECT DISTINCT 1, 2)", "assigning a row of a compound or DISTINCT query"),
    ("UPDATE t SET (b, c) = (SELECT * FROM (SELECT 1, 2))", "assigning a row of SELECT *"),
    ("CREATE INDEX i ON w USING hnsw (e vector_l2_ops)", "USING hnsw on a WITHOUT ROWID table"),
    ("CREATE VIRTUAL TABLE f USING fts5(x, content='')", "contentless fts5 tables"),
    ("CREATE VIRTUAL TABLE f USING fts4(x, compress=zip, uncompress=unzip)", "compress= of fts4"),
]
KEYWORDS = []


class NotSupportedYet(unittest.TestCase):
    def test_statements_say_what_is_missing(self):
        for sql, what in STATEMENTS:
            with self.subTest(sql):
                conn = helios.connect(":memory:")
                conn.executescript(SETUP)
                with self.assertRaises(helios.NotSupportedError) as caught:
                    conn.execute(sql)
                self.assertEqual(str(caught.exception), f"not supported yet: {what}")
                self.assertEqual(conn.execute("SELECT * FROM t").fetchall(), [(1, 2, 3)])
                conn.close()

    def test_keywords_say_what_is_missing(self):
        for name, value in KEYWORDS:
            with self.subTest(name):
                with self.assertRaisesRegex(helios.NotSupportedError, "not supported yet: "):
                    helios.connect(":memory:", **{name: value})


if __name__ == "__main__":
    unittest.main()
