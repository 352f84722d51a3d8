"""Random operations beside writers, each search compared with the exact one in the same view: whatever the index does, no
deleted, rolled back or future row is returned, and always k rows when k qualify.

HELIOS_RECALL_SECONDS lengthens it (make recall); a failing seed is in the message.
"""
import os
import random
import shutil
import tempfile
import threading
import time
import unittest

import heliosdb_sqlite as helios

from test_recall import Clusters, wait_ready

ROWS, DIMENSIONS = 2600, 64
SECONDS = float(os.environ.get("HELIOS_RECALL_SECONDS", "6"))
METRICS = ("cosine_distance", "l2_distance", "negative_inner_product", "l1_distance")
FILTERS = ("", "WHERE g < 5", "WHERE g = 3", "WHERE g = 3 AND h = 1", "WHERE id > 2000", "WHERE e IS NOT NULL", "WHERE g = 3 AND id BETWEEN 100 AND 900")


class Writer(threading.Thread):
    """Changes rows in transactions of all kinds, half of which are rolled back."""

    def __init__(self, path, seed, branch=None):
        super().__init__()
        self.path, self.seed, self.branch, self.stop, self.failure = path, seed, branch, threading.Event(), None

    def run(self):
        rnd, data = random.Random(self.seed), Clusters(self.seed, DIMENSIONS)
        conn = helios.connect(self.path, isolation_level=None, timeout=30, **({"branch": self.branch} if self.branch else {}))
        try:
            while not self.stop.is_set():
                conn.execute("BEGIN")
                for _ in range(rnd.choice((1, 1, 3, 40))):
                    i, dice = rnd.randrange(1, ROWS + 400), rnd.random()
                    if dice < 0.25:
                        conn.execute("DELETE FROM d WHERE id = ?", (i,))
                    elif dice < 0.35:
                        conn.execute("UPDATE d SET e = NULL WHERE id = ?", (i,))
                    elif dice < 0.45:
                        conn.execute("UPDATE d SET g = ? WHERE id = ?", (rnd.randrange(10), i))
                    else:
                        conn.execute("INSERT OR REPLACE INTO d VALUES (?, ?, ?, ?)", (i, data.one(), i % 10, i % 7))
                try:
                    conn.execute(rnd.choice(("COMMIT", "COMMIT", "ROLLBACK")))
                except helios.OperationalError as e:  # a conflict
                    if "locked" not in str(e):
                        raise
                    conn.execute("ROLLBACK")
                time.sleep(rnd.choice((0, 0.001, 0.01)))
        except Exception as e:
            self.failure = e
        conn.close()


class Searches(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.path = os.path.join(self.directory, "a.db")
        self.data = Clusters(1, DIMENSIONS)
        self.conn = helios.connect(self.path, isolation_level=None, timeout=30)
        self.conn.execute("PRAGMA synchronous = OFF")
        self.conn.execute(f"CREATE TABLE d(id INTEGER PRIMARY KEY, e VECTOR({DIMENSIONS}), g INTEGER, h INTEGER)")
        self.conn.execute("BEGIN")
        self.conn.executemany("INSERT INTO d VALUES (?, ?, ?, ?)", ((i, self.data.one(), i % 10, i % 7) for i in range(1, ROWS + 1)))
        self.conn.execute("COMMIT")
        self.filled = self.conn.last_commit_timestamp
        for metric in METRICS:
            self.conn.execute(f"SELECT id FROM d ORDER BY {metric}(e, ?) LIMIT 1", (self.data.one(),)).fetchall()
        wait_ready(self.conn)

    def tearDown(self):
        self.conn.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def compare(self, rnd, conn, source):
        """One search and its exact twin in one view; hits and wanted."""
        metric, where, limit, offset = rnd.choice(METRICS), rnd.choice(FILTERS), rnd.choice((1, 10, 10, 60)), rnd.choice((0, 0, 3))
        conn.execute(f"PRAGMA heliosdb_vector_strategy = {rnd.choice(('auto', 'graph'))}")
        query = self.data.one()
        sql = f"SELECT id, {metric}(e, ?1), g FROM {source} {where} ORDER BY {metric}(e, ?1)%s LIMIT {limit} OFFSET {offset}"
        found, truth = conn.execute(sql % "", (query,)).fetchall(), conn.execute(sql % " + 0", (query,)).fetchall()
        rows = {i: (d, g) for i, d, g in conn.execute(f"SELECT id, {metric}(e, ?), g FROM {source} {where}", (query,))}
        what = (metric, where, limit, offset, source)
        self.assertEqual(len(found), len(truth), what)
        self.assertEqual(len({i for i, _, _ in found}), len(found), what)
        self.assertEqual([r for r in found if rows.get(r[0]) != r[1:]], [], what)
        distances = [-1e300 if d is None else d for _, d, _ in found]
        self.assertEqual(distances, sorted(distances), what)
        if not truth:
            return 0, 0
        last = truth[-1][1]
        return sum(d is None or (last is not None and d <= last) for _, d, _ in found), len(truth)

    def test_beside_writers_on_main_the_past_and_a_branch(self):
        seed = random.randrange(1 << 30)
        rnd = random.Random(seed)
        self.conn.execute("CREATE BRANCH b")
        branch = helios.connect(self.path, isolation_level=None, timeout=30, branch="b")
        writers = [Writer(self.path, seed + 1), Writer(self.path, seed + 2), Writer(self.path, seed + 3, "b")]
        for w in writers:
            w.start()
        hits = every = searches = 0
        until = time.monotonic() + SECONDS
        try:
            with self.subTest(seed=seed):
                while time.monotonic() < until:
                    conn, source = rnd.choice(((self.conn, "d"), (self.conn, "d"), (branch, "d"), (self.conn, "past")))
                    if source == "past":
                        source = f"d AS OF SCN {max(self.filled, int(time.time() * 1e6) - rnd.choice((5000, 50000, 400000)))}"
                    conn.execute("BEGIN")
                    try:
                        if source == "d" and rnd.random() < 0.3:  # its own writes, never committed
                            conn.execute("UPDATE d SET e = ? WHERE id % 50 = ?", (self.data.one(), rnd.randrange(50)))
                            conn.execute("DELETE FROM d WHERE id % 40 = 1")
                        got, wanted = self.compare(rnd, conn, source)
                    finally:
                        conn.execute("ROLLBACK")
                    hits, every, searches = hits + got, every + wanted, searches + 1
        finally:
            for w in writers:
                w.stop.set()
            for w in writers:
                w.join()
            branch.close()
        self.assertEqual([w.failure for w in writers], [None] * 3)
        self.assertGreaterEqual(hits / every, 0.95, f"seed {seed}, {searches} searches")
        self.conn.execute("PRAGMA heliosdb_vector_strategy = auto")
        wait_ready(self.conn)  # and everything pending came in
        self.assertEqual(self.conn.execute("SELECT count(*) FROM heliosdb_vector_indexes WHERE pending <> 0").fetchone(), (0,))


if __name__ == "__main__":
    unittest.main()
