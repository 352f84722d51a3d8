"""ORDER BY distance LIMIT k in every shape of query: each answer is that of exact search ("+ 0" behind the distance), row by row,
and where the plan says so it came from the index. The graph is asked widely enough to be exact here."""
import os
import random
import shutil
import tempfile
import unittest

import heliosdb_sqlite as helios

from test_recall import Clusters, wait_ready

ROWS, DIMENSIONS = 3000, 24
DISTANCES = ("cosine_distance(d.e, ?1)", "l2_distance(d.e, ?1)", "l1_distance(?1, d.e)", "d.e <#> ?1")
# {o}: the distance, with and without the index; {k}: a number
INDEXED = (
    "SELECT id, g FROM d ORDER BY {o} LIMIT {k}",
    "SELECT id FROM d ORDER BY {o} LIMIT {k} OFFSET {k}",
    "SELECT id FROM d ORDER BY {o} LIMIT {k}, {k}",
    "SELECT * FROM d WHERE g IN (1, 4) ORDER BY {o} LIMIT {k}",
    "SELECT id, t FROM d WHERE t LIKE '%7%' AND g < 8 ORDER BY {o} LIMIT {k} OFFSET 3",
    "SELECT d.id, s.name FROM d JOIN s ON s.g = d.g ORDER BY {o} LIMIT {k}",
    "SELECT d.id, s.name FROM d LEFT JOIN s ON s.g = d.g AND s.g > 4 ORDER BY {o} LIMIT {k} OFFSET 2",
    "SELECT d.id, z.id FROM d CROSS JOIN d z ON z.id = d.id + 1 ORDER BY {o} LIMIT {k}",
    "SELECT id FROM d WHERE EXISTS (SELECT 1 FROM s WHERE s.g = d.g AND s.g > 5) ORDER BY {o} LIMIT {k}",
    "SELECT id FROM d WHERE g = (SELECT max(g) FROM s) ORDER BY {o} LIMIT {k}",
    "SELECT count(*), sum(id) FROM (SELECT id FROM d ORDER BY {o} LIMIT {k})",
    "WITH n AS (SELECT id, g FROM d WHERE g > 2 ORDER BY {o} LIMIT {k}) SELECT n.id, s.name FROM n JOIN s ON s.g = n.g ORDER BY n.id",
    "SELECT id FROM s, (SELECT id, g FROM d ORDER BY {o} LIMIT {k}) n WHERE s.g = n.g ORDER BY id",
    "SELECT id FROM w AS d ORDER BY {o} LIMIT {k}",
    "SELECT id, row_number() OVER (ORDER BY id) FROM (SELECT id FROM d ORDER BY {o} LIMIT {k}) ORDER BY id",
    "SELECT id FROM (SELECT id FROM d ORDER BY {o} LIMIT {k}) UNION SELECT id FROM d WHERE id < 3 ORDER BY 1",
)
# read as they always are: the rows are measured, and sorted
SORTED = (
    "SELECT d.id, s.name FROM d JOIN s USING (g) WHERE s.name <> 'n3' ORDER BY {o} LIMIT {k}",  # begins with s
    "SELECT DISTINCT g FROM d ORDER BY {o} LIMIT {k}",
    "SELECT DISTINCT id, g FROM d ORDER BY {o} LIMIT {k} OFFSET 1",
    "SELECT g, min({o}) FROM d GROUP BY g ORDER BY 2 LIMIT {k}",
    "SELECT id FROM d ORDER BY g, {o} LIMIT {k}",
    "SELECT id FROM d ORDER BY {o}",
    "SELECT key FROM keyed AS d ORDER BY {o} LIMIT {k}",
    "SELECT key FROM keyed AS d WHERE g < 3 ORDER BY {o} LIMIT {k} OFFSET 2",
    "SELECT s.g, d.id FROM s LEFT JOIN d ON d.id = s.g ORDER BY {o} LIMIT {k}",
)


class Shapes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp()
        cls.path = os.path.join(cls.directory, "a.db")
        cls.data = Clusters(21, DIMENSIONS)
        cls.conn = cls.connect()
        cls.conn.executescript(f"""
            CREATE TABLE d(id INTEGER PRIMARY KEY, e VECTOR({DIMENSIONS}), g INTEGER, t TEXT);
            CREATE TABLE keyed(key TEXT PRIMARY KEY, e VECTOR({DIMENSIONS}), g INTEGER) WITHOUT ROWID;
            CREATE TABLE s(g INTEGER, name TEXT);
            CREATE VIEW w AS SELECT id, e, g FROM d WHERE g <> 2;
            CREATE INDEX some ON d USING hnsw (e vector_l2_ops) WITH (m = 12) WHERE g > 4;
        """)
        cls.conn.executemany("INSERT INTO s VALUES (?, ?)", [(g, f"n{g}") for g in range(0, 12)])
        cls.conn.execute("BEGIN")
        rows = [(i, cls.data.one(), i * 7 % 10, f"t{i}") for i in range(1, ROWS + 1)]
        cls.conn.executemany("INSERT INTO d VALUES (?, ?, ?, ?)", rows)
        cls.conn.executemany("INSERT INTO keyed VALUES (?, ?, ?)", [(t, e, g) for _, e, g, t in rows[:600]])
        cls.conn.execute("COMMIT")
        cls.filled = cls.conn.last_commit_timestamp
        for distance in DISTANCES:
            cls.conn.execute(f"SELECT id FROM d ORDER BY {distance} LIMIT 1", (cls.data.one(),)).fetchall()
        wait_ready(cls.conn)

    @classmethod
    def connect(cls, **more):
        conn = helios.connect(cls.path, isolation_level=None, timeout=20, **more)
        conn.execute("PRAGMA heliosdb_ef_search = 600")
        return conn

    @classmethod
    def tearDownClass(cls):
        cls.conn.close()
        shutil.rmtree(cls.directory, ignore_errors=True)

    def same(self, conn, sql, distance, k, query=None):
        query = query or self.data.one()
        text = sql.replace("{k}", str(k))
        found = conn.execute(text.replace("{o}", distance), (query,)).fetchall()
        truth = conn.execute(text.replace("{o}", f"({distance}) + 0"), (query,)).fetchall()
        self.assertEqual(found, truth, text)
        return found

    def plan(self, conn, sql, distance):
        return [r[3] for r in conn.execute("EXPLAIN QUERY PLAN " + sql.replace("{k}", "5").replace("{o}", distance), (self.data.one(),))]

    def test_every_shape_that_the_index_serves(self):
        for sql in INDEXED:
            for strategy in ("graph", "auto"):
                self.conn.execute(f"PRAGMA heliosdb_vector_strategy = {strategy}")
                for distance in DISTANCES:
                    for k in (1, 7):
                        self.same(self.conn, sql, distance, k)
            self.assertTrue(any("VECTOR INDEX" in line or "EXACT DISTANCE" in line for line in self.plan(self.conn, sql, DISTANCES[0])), sql)
            self.conn.execute("PRAGMA heliosdb_vector_strategy = auto")

    def test_every_shape_that_is_sorted(self):
        for sql in SORTED:
            for distance in DISTANCES:
                self.same(self.conn, sql, distance, 6)
            self.assertFalse(any("VECTOR INDEX" in line for line in self.plan(self.conn, sql, DISTANCES[0])), sql)

    def test_an_index_of_some_rows(self):
        sql = "SELECT id, g FROM d WHERE g > 4 ORDER BY {o} LIMIT {k}"
        self.conn.execute("PRAGMA heliosdb_vector_strategy = graph")
        self.assertEqual(self.plan(self.conn, sql, DISTANCES[1]), ["SEARCH d USING VECTOR INDEX some (e l2) FILTER IN WALK"])
        self.assertEqual({g > 4 for _, g in self.same(self.conn, sql, DISTANCES[1], 9)}, {True})
        self.same(self.conn, "SELECT id, g FROM d WHERE g < 3 ORDER BY {o} LIMIT {k}", DISTANCES[1], 9)
        self.conn.execute("PRAGMA heliosdb_vector_strategy = auto")
        self.assertIn("WHERE g > 4", self.conn.execute("SELECT sql FROM sqlite_schema WHERE name = 'some'").fetchone()[0])
        with self.assertRaisesRegex(helios.OperationalError, "no such column"):
            self.conn.execute("CREATE INDEX bad ON d USING hnsw (e) WHERE nosuch > 4")
        with self.assertRaisesRegex(helios.NotSupportedError, "not supported yet: USING hnsw on a WITHOUT ROWID table"):
            self.conn.execute("CREATE INDEX bad ON keyed USING hnsw (e)")

    def change(self, conn, seed):
        rnd = random.Random(seed)
        for _ in range(60):
            i = rnd.randrange(1, ROWS + 60)
            dice = rnd.random()
            if dice < 0.3:
                conn.execute("DELETE FROM d WHERE id = ?", (i,))
            elif dice < 0.4:
                conn.execute("UPDATE d SET e = NULL WHERE id = ?", (i,))
            elif dice < 0.6:
                conn.execute("UPDATE d SET g = ?, t = 'x' WHERE id = ?", (rnd.randrange(10), i))
            else:
                conn.execute("INSERT OR REPLACE INTO d VALUES (?, ?, ?, ?)", (i, self.data.one(), i % 10, f"t{i}"))

    def all(self, conn):
        for sql in INDEXED:
            self.same(conn, sql, random.choice(DISTANCES), 5)

    def test_own_rows_savepoints_and_other_views(self):
        other = self.connect()
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM d LIMIT 1").fetchall()
        query = self.data.one()
        before = [self.same(other, sql, DISTANCES[0], 6, query) for sql in INDEXED]
        self.conn.execute("BEGIN")
        self.change(self.conn, 1)
        self.all(self.conn)
        mine = [self.same(self.conn, sql, DISTANCES[0], 6, query) for sql in INDEXED]
        self.conn.execute("SAVEPOINT s")
        self.change(self.conn, 2)
        self.all(self.conn)
        self.conn.execute("ROLLBACK TO s")
        self.assertEqual([self.same(self.conn, sql, DISTANCES[0], 6, query) for sql in INDEXED], mine)
        self.assertEqual([self.same(other, sql, DISTANCES[0], 6, query) for sql in INDEXED], before)
        self.conn.execute("COMMIT")
        wait_ready(self.conn)
        self.assertEqual([self.same(other, sql, DISTANCES[0], 6, query) for sql in INDEXED], before)  # its view stands
        self.assertEqual([self.same(self.conn, sql, DISTANCES[0], 6, query) for sql in INDEXED], mine)
        other.execute("COMMIT")
        self.assertEqual([self.same(other, sql, DISTANCES[0], 6, query) for sql in INDEXED], mine)
        other.close()

    def test_the_past_and_branches(self):
        query = self.data.one()
        then = self.conn.last_commit_timestamp
        past = [sql.replace("FROM d", f"FROM d AS OF SCN {then} AS d", 1) for sql in INDEXED[:6]]
        before = [self.same(self.conn, sql, DISTANCES[0], 6, query) for sql in past]
        self.assertEqual(before, [self.same(self.conn, sql, DISTANCES[0], 6, query) for sql in INDEXED[:6]])
        self.conn.execute("CREATE BRANCH side")
        branch = self.connect(branch="side")
        here = [self.same(branch, sql, DISTANCES[0], 6, query) for sql in INDEXED]
        self.change(self.conn, 5)
        self.assertEqual([self.same(self.conn, sql, DISTANCES[0], 6, query) for sql in past], before)
        self.assertEqual([self.same(branch, sql, DISTANCES[0], 6, query) for sql in INDEXED], here)
        self.change(branch, 6)
        self.all(branch)
        branch.execute("BEGIN")
        self.change(branch, 7)
        self.all(branch)
        branch.execute("ROLLBACK")
        self.all(branch)
        wait_ready(self.conn)
        self.assertEqual([self.same(self.conn, sql, DISTANCES[0], 6, query) for sql in past], before)
        self.all(self.conn)
        branch.close()


if __name__ == "__main__":
    unittest.main()
