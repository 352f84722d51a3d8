"""PRAGMA heliosdb_vector_memory: many graphs in one database, and room for some. Answers are right throughout."""
import os
import shutil
import tempfile
import time
import unittest

import heliosdb_sqlite as helios

from test_recall import Clusters

ROWS, DIMENSIONS, TABLES = 2500, 64, 4


class Memory(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.conn = helios.connect(os.path.join(self.directory, "a.db"), isolation_level=None)
        self.data = Clusters(2, DIMENSIONS)
        for t in range(TABLES):
            self.conn.execute(f"CREATE TABLE t{t}(id INTEGER PRIMARY KEY, e VECTOR({DIMENSIONS}))")
            self.conn.execute("BEGIN")
            self.conn.executemany(f"INSERT INTO t{t} VALUES (?, ?)", ((i, self.data.one()) for i in range(ROWS)))
            self.conn.execute("COMMIT")

    def tearDown(self):
        self.conn.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def search(self, t):
        query = self.data.one()
        sql = f"SELECT id, cosine_distance(e, ?1) FROM t{t} ORDER BY cosine_distance(e, ?1)%s LIMIT 10"
        found, truth = (self.conn.execute(sql % exact, (query,)).fetchall() for exact in ("", " + 0"))
        self.assertEqual(len(found), 10)
        self.assertGreaterEqual(sum(d <= truth[-1][1] for _, d in found), 8)

    def states(self):
        return dict(self.conn.execute("SELECT substr(name, 2, 1) + 0, state FROM heliosdb_vector_indexes"))

    def becomes(self, wanted, asking=()):
        until = time.monotonic() + 30
        while not wanted(self.states()):
            self.assertLess(time.monotonic(), until, self.states())
            for t in asking:
                self.search(t)
            time.sleep(0.01)

    def bytes(self):
        return self.conn.execute("SELECT sum(bytes), max(bytes), min(memory_limit) FROM heliosdb_vector_indexes").fetchone()

    def test_graphs_take_turns(self):
        half = self.conn.execute("PRAGMA heliosdb_vector_memory").fetchone()[0]
        self.assertGreater(half, 1 << 28)
        self.becomes(lambda s: list(s.values()) == ["ready"] * TABLES, range(TABLES))
        all_, one, limit = self.bytes()
        self.assertEqual(limit, half)
        # lowered: those asked least recently go, and nothing is wrong meanwhile
        room = one * 5 // 2
        self.assertEqual(self.conn.execute(f"PRAGMA heliosdb_vector_memory = {room}").fetchone(), (room,))
        self.search(2), self.search(3)
        self.becomes(lambda s: sorted(s.values()) == ["ready", "ready", "stored", "stored"])
        self.assertLessEqual(self.bytes()[0], room)
        # one that left comes back for another when somebody asks, from the store
        gone = [t for t, state in self.states().items() if state == "stored"]
        self.search(gone[0])
        explain = lambda t: self.conn.execute(f"EXPLAIN QUERY PLAN SELECT id FROM t{t} ORDER BY e <=> ? LIMIT 5", (self.data.one(),)).fetchone()[3]
        self.becomes(lambda s: s[gone[0]] == "over limit")
        self.assertEqual(explain(gone[0]), f"SCAN t{gone[0]} BY EXACT DISTANCE (e cosine) NO ROOM UNDER heliosdb_vector_memory")
        self.becomes(lambda s: s[gone[0]] == "ready", [gone[0]])
        self.assertEqual(self.conn.execute(f"SELECT loaded FROM heliosdb_vector_indexes WHERE name LIKE 't{gone[0]}%'").fetchone(), (ROWS,))
        self.assertEqual(explain(gone[0]), f"SEARCH t{gone[0]} USING VECTOR INDEX (e cosine)")
        self.assertLessEqual(self.bytes()[0], room)
        # none fits
        self.conn.execute("PRAGMA heliosdb_vector_memory = 1000")
        self.becomes(lambda s: "ready" not in s.values() and "building" not in s.values(), range(TABLES))
        for t in range(TABLES):
            self.search(t)
        self.conn.execute("PRAGMA heliosdb_vector_memory = 0")
        self.becomes(lambda s: list(s.values()) == ["ready"] * TABLES, range(TABLES))
        for bad in ("-1", "'x'", "1.5"):
            with self.assertRaises(helios.OperationalError, msg=bad):
                self.conn.execute(f"PRAGMA heliosdb_vector_memory = {bad}")

    def test_changes_made_while_it_was_out(self):
        self.becomes(lambda s: s.get(0) == "ready", [0])
        self.conn.execute("PRAGMA heliosdb_vector_memory = 1000")
        self.becomes(lambda s: s[0] in ("stored", "over limit"))
        query = self.data.one()
        self.conn.execute("UPDATE t0 SET e = ? WHERE id = 17", (query,))
        self.conn.execute("DELETE FROM t0 WHERE id = 18")
        self.conn.execute("PRAGMA heliosdb_vector_memory = 0")
        self.becomes(lambda s: s[0] == "ready", [0])
        self.assertEqual(self.conn.execute("SELECT id FROM t0 ORDER BY e <=> ? LIMIT 1", (query,)).fetchone(), (17,))
        self.assertEqual(self.conn.execute("SELECT loaded, vectors FROM heliosdb_vector_indexes WHERE name = 't0.e'").fetchone(), (ROWS - 2, ROWS - 1))


if __name__ == "__main__":
    unittest.main()
