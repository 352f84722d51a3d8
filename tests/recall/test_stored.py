"""The graph on disk: it comes back after closing, after a crash, after damage; what it says is checked against the rows."""
import array
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

import heliosdb_sqlite as helios

from test_recall import Clusters, search, wait_ready

ROWS, DIMENSIONS = 4000, 96


class Stored(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.path = os.path.join(self.directory, "a.db")
        self.data = Clusters(5, DIMENSIONS)

    def tearDown(self):
        shutil.rmtree(self.directory, ignore_errors=True)

    def run_python(self, *pieces, kill=False):
        """In a process of its own: `c` is a connection, `data` makes vectors. With kill it is killed at the word 'now'."""
        head = f"""
            import os, random, sys, time
            sys.path[:0] = {[p for p in sys.path if p]!r}
            import heliosdb_sqlite as helios
            from test_recall import Clusters, search, wait_ready
            data = Clusters(5, {DIMENSIONS})
            c = helios.connect({self.path!r}, isolation_level=None, timeout=20)
        """
        p = subprocess.Popen([sys.executable, "-c", "\n".join(map(textwrap.dedent, (head, *pieces)))], stdout=subprocess.PIPE, text=True)
        out = []
        for line in p.stdout:
            if kill and line.strip() == "now":
                p.send_signal(signal.SIGKILL)
                break
            out.append(line.strip())
        p.stdout.close()
        code = p.wait()
        self.assertEqual(code, -signal.SIGKILL if kill else 0)
        return out

    FILL = f"""
        c.execute("CREATE TABLE d(id INTEGER PRIMARY KEY, e VECTOR({DIMENSIONS}), g INTEGER)")
        c.execute("BEGIN")
        c.executemany("INSERT INTO d VALUES (?, ?, ?)", ((i, data.one(), i % 10) for i in range(1, {ROWS} + 1)))
        c.execute("COMMIT")
        search(c, data.one())
        wait_ready(c)
    """
    LOADED = """
        search(c, data.one())
        wait_ready(c)
        print(c.execute("SELECT vectors, loaded FROM heliosdb_vector_indexes").fetchone())
    """
    RECALL = """
        hits = every = 0
        for _ in range(30):
            q = data.one()
            found, truth = search(c, q), search(c, q, exact=True)
            assert len(found) == len(truth) == 10
            hits += sum(d <= truth[-1][1] for _, d in found)
            every += len(truth)
        print(hits / every)
    """
    CHECK = """
        print(*c.execute("SELECT state, vectors, stored, pending, gone, damaged FROM heliosdb_vector_check").fetchone())
    """

    def test_a_closed_database_comes_back_with_its_graph(self):
        self.run_python(self.FILL, "c.close()")
        check, loaded, recall = self.run_python(self.CHECK, self.LOADED, self.RECALL)
        self.assertEqual(check, f"ok {ROWS} {ROWS} 0 0 0")
        self.assertEqual(loaded, f"({ROWS}, {ROWS})")
        self.assertGreaterEqual(float(recall), 0.95)

    def test_changes_that_were_not_stored_are_found_at_the_next_load(self):
        self.run_python(self.FILL, "c.close()")
        change = f"""
            data = Clusters(6, {DIMENSIONS})
            for i in range(1, 301):
                if i % 3 == 0: c.execute("DELETE FROM d WHERE id = ?", (i,))
                elif i % 3 == 1: c.execute("UPDATE d SET e = ? WHERE id = ?", (data.one(), i))
                else: c.execute("INSERT INTO d VALUES (?, ?, 1)", (10000 + i, data.one()))
        """
        self.run_python(change, "print('now', flush=True); time.sleep(60)", kill=True)
        check, loaded, recall, ghosts = self.run_python(self.CHECK, self.LOADED, self.RECALL, """
            there = {i for i, in c.execute("SELECT id FROM d")}
            print(len({i for _ in range(20) for i, _ in search(c, data.one())} - there))
        """)
        self.assertEqual(check, f"ok {ROWS} {ROWS} 200 100 0")
        self.assertEqual(loaded, f"({ROWS}, {ROWS - 200})")
        self.assertGreaterEqual(float(recall), 0.95)
        self.assertEqual(ghosts, "0")

    def test_killed_while_it_builds(self):
        fill = self.FILL.replace("wait_ready(c)", "print('now', flush=True); time.sleep(60)")
        self.run_python(fill, kill=True)
        _, recall, check = self.run_python(self.LOADED, self.RECALL, f"c.close()\nc = helios.connect({self.path!r})", self.CHECK)
        self.assertGreaterEqual(float(recall), 0.95)
        self.assertEqual(check, f"ok {ROWS} {ROWS} 0 0 0")

    def test_killed_at_any_moment_beside_writers(self):
        self.run_python(self.FILL, "c.close()")
        for round in range(3):
            self.run_python(f"""
                import threading
                rnd = random.Random({round})
                search(c, data.one())
                threading.Timer({0.2 + 0.3 * round}, lambda: print('now', flush=True)).start()
                while True:
                    i = rnd.randrange(1, {ROWS})
                    if rnd.random() < 0.3: c.execute("DELETE FROM d WHERE id = ?", (i,))
                    else: c.execute("INSERT OR REPLACE INTO d VALUES (?, ?, 1)", (i, data.one()))
            """, kill=True)
        loaded, recall, ghosts = self.run_python(self.LOADED, self.RECALL, """
            there = dict(c.execute("SELECT id, e FROM d"))
            print(sum(i not in there for _ in range(50) for i, _ in search(c, data.one())))
        """)
        self.assertGreaterEqual(float(recall), 0.95)
        self.assertEqual(ghosts, "0")

    def test_there_is_an_index_from_the_first_row_on(self):
        conn = helios.connect(self.path, isolation_level=None)
        state = lambda: conn.execute("SELECT metric, state, vectors FROM heliosdb_vector_indexes ORDER BY metric").fetchall()
        conn.execute(f"CREATE TABLE d(id INTEGER PRIMARY KEY, e VECTOR({DIMENSIONS}), g INTEGER)")
        conn.execute("INSERT INTO d VALUES (1, ?, 1)", (self.data.one(),))
        self.assertEqual(state(), [("cosine", "waiting", 0)])
        conn.execute("BEGIN")
        conn.executemany("INSERT INTO d VALUES (?, ?, 1)", ((i, self.data.one()) for i in range(2, 2501)))
        conn.execute("COMMIT")

        def becomes(wanted):
            until = time.monotonic() + 20
            while state() != wanted and time.monotonic() < until:
                time.sleep(0.01)
            self.assertEqual(state(), wanted)
        becomes([("cosine", "ready", 2500)])
        search(conn, self.data.one(), metric="l2_distance")  # nobody ever asked by cosine: that graph goes
        becomes([("l2", "ready", 2500)])
        search(conn, self.data.one())
        wait_ready(conn)
        self.assertEqual([m for m, _, _ in state()], ["cosine", "l2"])
        conn.close()

    def test_reindex_and_clearing(self):
        out = self.run_python(self.FILL, """
            c.execute("REINDEX d")
            wait_ready(c)
        """, self.RECALL, "c.execute('DELETE FROM d')\nc.close()", f"c = helios.connect({self.path!r})",
                              "print(*c.execute('SELECT sum(vectors), sum(damaged) FROM heliosdb_vector_check').fetchone(), search(c, data.one()))")
        self.assertGreaterEqual(float(out[0]), 0.95)
        self.assertIn(out[1], ("None None []", "0 0 []"))


if __name__ == "__main__":
    unittest.main()
