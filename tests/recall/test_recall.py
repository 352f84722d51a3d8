"""Vector search through plain SQL: recall floors against the exact scan, and exactness of what a transaction sees.

The same query with "+ 0" behind its distance is not recognised and stays exact: it is the reference.
"""
import array
import os
import random
import shutil
import tempfile
import threading
import time
import unittest

import heliosdb_sqlite as helios

ROWS, DIMENSIONS, NEAREST = 10_000, 128, 10


class Clusters:
    """Clustered vectors from a seed, cheap in pure Python: a centre plus a slice of a noise tape."""

    def __init__(self, seed, dimensions):
        self.random = random.Random(seed)
        self.dimensions = dimensions
        self.centres = [[self.random.gauss(0, 1) for _ in range(dimensions)] for _ in range(100)]
        self.tape = [self.random.gauss(0, 0.4) for _ in range(50_021)]

    def one(self):
        at = self.random.randrange(len(self.tape) - self.dimensions)
        centre = self.random.choice(self.centres)
        return array.array("f", [a + b for a, b in zip(centre, self.tape[at:at + self.dimensions])])


def wait_ready(conn, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        rows = conn.execute("SELECT state, pending FROM heliosdb_vector_indexes").fetchall()
        if rows and all(row == ("ready", 0) for row in rows):
            return
        time.sleep(0.02)
        conn.execute("SELECT id FROM d ORDER BY e <=> (SELECT e FROM d LIMIT 1) LIMIT 1").fetchall()
    raise AssertionError(f"no index after {seconds} s: {rows}")


def search(conn, query, where="", exact=False, limit=NEAREST, metric="cosine_distance"):
    return conn.execute(f"SELECT id, {metric}(e, ?1) FROM d {where} ORDER BY {metric}(e, ?1){' + 0' if exact else ''} LIMIT {limit}",
                        (query,)).fetchall()


class Floors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.data = Clusters(7, DIMENSIONS)
        cls.conn = helios.connect(":memory:", isolation_level=None)
        cls.conn.execute(f"CREATE TABLE d(id INTEGER PRIMARY KEY, e VECTOR({DIMENSIONS}), g INTEGER)")
        cls.conn.execute("BEGIN")
        cls.conn.executemany("INSERT INTO d VALUES (?, ?, ?)", ((i, cls.data.one(), cls.data.random.randrange(1000)) for i in range(1, ROWS + 1)))
        cls.conn.execute("COMMIT")
        for metric in ("cosine_distance", "l2_distance"):
            search(cls.conn, cls.data.one(), metric=metric)
        wait_ready(cls.conn)

    @classmethod
    def tearDownClass(cls):
        cls.conn.close()

    def recall(self, where="", metric="cosine_distance", searches=25):
        hits = every = 0
        for _ in range(searches):
            query = self.data.one()
            found = search(self.conn, query, where, metric=metric)
            truth = search(self.conn, query, where, exact=True, metric=metric)
            self.assertEqual(len(found), len(truth))
            self.assertEqual([d for _, d in found], sorted(d for _, d in found))
            self.assertEqual(len({i for i, _ in found}), len(found))
            hits += sum(d <= truth[-1][1] for _, d in found)
            every += len(truth)
        return hits / every

    def test_1_unfiltered(self):
        for metric in ("cosine_distance", "l2_distance"):
            self.assertGreaterEqual(self.recall(metric=metric), 0.95, metric)

    def test_2_filtered(self):
        for where in ("WHERE g < 100", "WHERE g < 10", "WHERE g < 1"):
            self.assertGreaterEqual(self.recall(where), 0.95, where)

    def test_3_the_plan_says_so(self):
        plan = lambda sql: ";".join(r[3] for r in self.conn.execute("EXPLAIN QUERY PLAN " + sql, (self.data.one(),)) if " x" in r[3] or " d" in r[3])
        self.assertEqual(plan("SELECT id FROM d ORDER BY e <=> ? LIMIT 5"), "SEARCH d USING VECTOR INDEX (e cosine)")
        self.assertEqual(plan("SELECT id FROM d x WHERE g < 100 ORDER BY l2_distance(e, ?) LIMIT 5"), "SEARCH x USING VECTOR INDEX (e l2) FILTER IN WALK")
        self.assertIn("SEARCH x USING VECTOR INDEX (e cosine) WALK AND CONTINUE", plan("SELECT x.id FROM d x CROSS JOIN d y ON y.id = x.id ORDER BY x.e <=> ? LIMIT 5"))

    def test_3_the_plan_is_what_the_search_then_does(self):
        figures = lambda: self.conn.execute("SELECT walks, scans FROM heliosdb_vector_indexes WHERE metric = 'cosine'").fetchone()
        seen = set()
        for where in ("", "WHERE g < 500", "WHERE g < 20", "WHERE g < 5", "WHERE g < 1", "WHERE g = -1", "WHERE id < 20", "WHERE id > 300", "WHERE id BETWEEN 50 AND 60 AND g < 500"):
            for _ in range(4):
                sql, query = f"SELECT id FROM d {where} ORDER BY e <=> ? LIMIT 10", self.data.one()
                plan = self.conn.execute("EXPLAIN QUERY PLAN " + sql, (query,)).fetchone()[3]
                before = figures()
                self.conn.execute(sql, (query,)).fetchall()
                done = tuple(b - a for a, b in zip(before, figures()))
                wanted = {(1, 0): "SEARCH d USING VECTOR INDEX (e cosine)" + " FILTER IN WALK" * bool(where), (0, 1): "SCAN d BY EXACT DISTANCE (e cosine) FEW ROWS QUALIFY",
                          (0, 0): "SCAN d BY EXACT DISTANCE (e cosine)"}[done]
                self.assertEqual(plan, wanted, where)
                seen.add(plan)
        self.assertEqual(len(seen), 4)
        self.conn.execute("PRAGMA heliosdb_vector_strategy = exact")
        self.assertEqual(self.conn.execute("EXPLAIN QUERY PLAN SELECT id FROM d WHERE g < ? ORDER BY e <=> ? LIMIT 5", (500, self.data.one())).fetchone()[3],
                         "SCAN d BY EXACT DISTANCE (e cosine)")
        self.conn.execute("PRAGMA heliosdb_vector_strategy = auto")
        # what no run can tell beforehand
        for sql, arguments in (("SELECT id FROM d WHERE g < ? ORDER BY e <=> ? LIMIT 5", (3, None)), ("SELECT id FROM d WHERE g < 7 ORDER BY e <=> (SELECT e FROM d LIMIT 1) LIMIT 5", ())):
            self.assertIn("SEARCH d USING VECTOR INDEX (e cosine) FILTER IN WALK OR SCAN", [r[3] for r in self.conn.execute("EXPLAIN QUERY PLAN " + sql, arguments)])

    def test_4_measured_by_sql(self):
        metric, searches, recall, _ = self.conn.execute("SELECT * FROM heliosdb_recall('d', 'e', 10)").fetchone()
        self.assertEqual((metric, searches), ("cosine", 10))
        self.assertGreaterEqual(recall, 0.95)

    def test_5_after_a_third_has_changed(self):
        change = random.Random(3)
        self.conn.execute("BEGIN")
        for i in range(1, ROWS + 1):
            dice = change.random()
            if dice < 0.15:
                self.conn.execute("DELETE FROM d WHERE id = ?", (i,))
            elif dice < 0.30:
                self.conn.execute("UPDATE d SET e = ? WHERE id = ?", (self.data.one(), i))
        self.assertGreaterEqual(self.recall(searches=5), 0.95)  # its own writes, before anybody sees them
        self.conn.execute("COMMIT")
        self.assertGreaterEqual(self.recall(searches=10), 0.95)  # whatever the builder has done
        wait_ready(self.conn)
        self.assertGreaterEqual(self.recall(), 0.95)
        self.assertGreaterEqual(self.recall("WHERE g < 100"), 0.95)


class Targets(unittest.TestCase):
    def test_data_without_any_clusters_meets_the_target_too(self):
        noise = random.Random(2)
        conn = helios.connect(":memory:", isolation_level=None)
        vector = lambda: array.array("f", [noise.gauss(0, 1) for _ in range(48)])
        conn.execute("CREATE TABLE d(id INTEGER PRIMARY KEY, e VECTOR(48))")
        conn.execute("BEGIN")
        conn.executemany("INSERT INTO d VALUES (?, ?)", ((i, vector()) for i in range(5000)))
        conn.execute("COMMIT")
        search(conn, vector())
        wait_ready(conn)
        chosen = []
        for target, floor in ((0.8, 0.75), (0.95, 0.93), (0.99, 0.97)):
            self.assertEqual(conn.execute(f"PRAGMA heliosdb_recall_target = {target}").fetchone(), (target,))
            chosen.append(conn.execute("SELECT ef_search FROM heliosdb_vector_indexes").fetchone()[0])
            queries = [vector() for _ in range(40)]
            found = [{i for i, _ in search(conn, q)} for q in queries]
            truth = [{i for i, _ in search(conn, q, exact=True)} for q in queries]
            self.assertGreaterEqual(sum(len(f & t) for f, t in zip(found, truth)) / 400, floor, target)
        self.assertEqual(chosen, sorted(set(chosen)))
        for bad in ("0", "1", "1.5", "'x'"):
            with self.assertRaises(helios.OperationalError, msg=bad):
                conn.execute(f"PRAGMA heliosdb_recall_target = {bad}")
        conn.execute("PRAGMA heliosdb_ef_search = 33")
        self.assertEqual(conn.execute("SELECT ef_search FROM pg_vector_index_stats").fetchone(), (33,))
        conn.close()


class Views(unittest.TestCase):
    ROWS, DIMENSIONS = 3000, 16

    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.path = os.path.join(self.directory, "a.db")
        self.data = Clusters(11, self.DIMENSIONS)
        self.conn = self.connect()
        self.conn.execute(f"CREATE TABLE d(id INTEGER PRIMARY KEY, e VECTOR({self.DIMENSIONS}), g INTEGER)")
        self.conn.execute("BEGIN")
        self.conn.executemany("INSERT INTO d VALUES (?, ?, ?)", ((i, self.data.one(), i % 10) for i in range(1, self.ROWS + 1)))
        self.conn.execute("COMMIT")
        search(self.conn, self.data.one())
        wait_ready(self.conn)

    def tearDown(self):
        self.conn.close()
        shutil.rmtree(self.directory, ignore_errors=True)  # the engine lingers for a moment

    def connect(self):
        return helios.connect(self.path, isolation_level=None, timeout=20)

    def first(self, conn, query):
        return search(conn, query, limit=1)[0]

    def test_uncommitted_and_rolled_back_rows_are_nobody_elses(self):
        other = self.connect()
        query = self.data.one()
        before = self.first(other, query)
        self.conn.execute("BEGIN")
        self.conn.execute("INSERT INTO d VALUES (900001, ?, 0)", (query,))
        self.assertEqual(self.first(self.conn, query)[0], 900001)
        self.assertEqual(self.first(other, query), before)
        self.conn.execute("SAVEPOINT s")
        self.conn.execute("DELETE FROM d WHERE id = 900001")
        self.assertEqual(self.first(self.conn, query), before)
        self.conn.execute("ROLLBACK TO s")
        self.assertEqual(self.first(self.conn, query)[0], 900001)
        self.conn.execute("ROLLBACK")
        self.assertEqual(self.first(self.conn, query), before)
        other.execute("BEGIN")
        self.assertEqual(self.first(other, query), before)  # its view stands from here
        self.conn.execute("UPDATE d SET e = ? WHERE id = 5", (query,))
        self.conn.execute("DELETE FROM d WHERE id = ?", (before[0] if before[0] != 5 else 6,))
        self.assertEqual(self.first(self.conn, query)[0], 5)
        wait_ready(self.conn)
        self.assertEqual(self.first(other, query), before)
        other.execute("COMMIT")
        self.assertEqual(self.first(other, query)[0], 5)
        other.close()

    def test_rows_without_a_vector_come_first_as_null_does(self):
        self.conn.execute("UPDATE d SET e = NULL WHERE id IN (7, 3000)")
        query = self.data.one()
        for _ in range(2):
            self.assertEqual(search(self.conn, query, limit=4)[:2], [(7, None), (3000, None)])
            self.assertEqual(search(self.conn, query, limit=4), search(self.conn, query, limit=4, exact=True))
            self.assertEqual(search(self.conn, query, "WHERE e IS NOT NULL", limit=4), search(self.conn, query, "WHERE e IS NOT NULL", limit=4, exact=True))
            wait_ready(self.conn)

    def test_the_past_has_its_own_neighbours(self):
        query = self.data.one()
        before = search(self.conn, query)
        self.conn.execute("UPDATE d SET e = ? WHERE id = 1", (query,))
        then = self.conn.last_commit_timestamp - 1
        wait_ready(self.conn)
        self.assertEqual(self.first(self.conn, query)[0], 1)
        past = f"SELECT id, cosine_distance(e, ?1) FROM d AS OF SCN {then} ORDER BY cosine_distance(e, ?1) LIMIT 10"
        self.assertEqual(self.conn.execute(past, (query,)).fetchall(), before)

    def test_a_branch_has_its_own_neighbours(self):
        query = self.data.one()
        before = search(self.conn, query)
        self.conn.execute("CREATE BRANCH b")
        self.conn.execute("UPDATE d SET e = ? WHERE id = 1", (query,))
        wait_ready(self.conn)
        branch = helios.connect(self.path, branch="b", isolation_level=None)
        self.assertEqual(search(branch, query), before)
        branch.execute("UPDATE d SET e = ? WHERE id = 2", (query,))
        branch.execute("DELETE FROM d WHERE id = ?", (before[1][0] if before[1][0] != 2 else before[2][0],))
        self.assertEqual(search(branch, query)[0][0], 2)
        self.assertEqual(search(branch, query), search(branch, query, exact=True))
        branch.execute("CREATE BRANCH c FROM b")
        branch.execute("UPDATE d SET e = NULL WHERE id = 2")
        below = helios.connect(self.path, branch="c", isolation_level=None)
        below.execute("BEGIN")
        below.execute("UPDATE d SET e = ? WHERE id = 3", (query,))
        self.assertEqual([i for i, _ in search(below, query)[:2]], [2, 3])
        self.assertEqual(search(below, query), search(below, query, exact=True))
        self.assertEqual(search(branch, query), search(branch, query, exact=True))
        self.assertEqual(self.first(self.conn, query)[0], 1)
        below.execute("ROLLBACK")
        below.close()
        branch.close()

    def test_huge_and_tiny_elements(self):
        unit = array.array("f", [1.0] * self.DIMENSIONS)
        for i, scale in ((1, 3e38), (2, -3e38), (3, 1e-40), (4, 1e30), (5, 1e-30)):
            self.conn.execute("UPDATE d SET e = ? WHERE id = ?", (array.array("f", [scale] * self.DIMENSIONS), i))
        wait_ready(self.conn)
        for metric in ("cosine_distance", "l2_distance", "negative_inner_product"):
            for query in (unit, array.array("f", [1e38] * self.DIMENSIONS), array.array("f", [1e-42] * self.DIMENSIONS), self.data.one()):
                found, truth = (search(self.conn, query, exact=exact, metric=metric, limit=6) for exact in (False, True))
                self.assertEqual(len(found), 6)
                self.assertLessEqual(len({i for i, _ in truth} - {i for i, _ in found}), 1, (metric, query[0]))

    def test_a_table_emptied_and_filled_again(self):
        self.conn.execute("DELETE FROM d")
        self.assertEqual(search(self.conn, self.data.one()), [])
        self.conn.execute("INSERT INTO d VALUES (1, ?, 1)", (self.data.one(),))
        self.assertEqual(len(search(self.conn, self.data.one())), 1)

    def test_joins_subqueries_offsets_and_bad_queries(self):
        query = self.data.one()
        one = "SELECT d.id FROM d JOIN (SELECT 3 AS g UNION SELECT 4) k ON k.g = d.g ORDER BY l2_distance(d.e, ?)%s LIMIT 7 OFFSET 3"
        self.assertEqual(self.conn.execute(one % "", (query,)).fetchall(), self.conn.execute(one % " + 0", (query,)).fetchall())
        nested = "SELECT count(*), sum(g) FROM (SELECT g FROM d WHERE id > 100 ORDER BY l2_distance(?, e)%s LIMIT 20)"
        self.assertEqual(self.conn.execute(nested % "", (query,)).fetchall(), self.conn.execute(nested % " + 0", (query,)).fetchall())
        with self.assertRaisesRegex(helios.OperationalError, "different vector dimensions 16 and 3"):
            self.conn.execute("SELECT id FROM d ORDER BY e <-> ? LIMIT 3", ([1, 2, 3],)).fetchall()
        self.assertEqual([r[0] for r in self.conn.execute("SELECT id FROM d ORDER BY e <-> NULL LIMIT 3")], [1, 2, 3])

    def test_a_declared_index_and_the_python_call(self):
        self.conn.execute("CREATE INDEX near ON d USING hnsw (e vector_l2_ops) WITH (m = 8, ef_construction = 60)")
        plan = self.conn.execute("EXPLAIN QUERY PLAN SELECT id FROM d ORDER BY e <-> ? LIMIT 5", (self.data.one(),)).fetchone()[3]
        self.assertEqual(plan, "SCAN d BY EXACT DISTANCE (e l2) UNTIL THE INDEX IS BUILT")
        query = self.data.one()
        rows = self.conn.execute_vector_search("d", "e", query, limit=3, metric="l2")
        self.assertEqual([(r[0], r[3]) for r in rows], search(self.conn, query, limit=3, metric="l2_distance"))
        wait_ready(self.conn)
        self.assertIn(("near", "l2", 8, 60), self.conn.execute("SELECT name, metric, m, ef_construction FROM heliosdb_vector_indexes").fetchall())
        plan = self.conn.execute("EXPLAIN QUERY PLAN SELECT id FROM d ORDER BY e <-> ? LIMIT 5", (self.data.one(),)).fetchone()[3]
        self.assertEqual(plan, "SEARCH d USING VECTOR INDEX near (e l2)")
        rows = self.conn.execute_vector_search("d", "e", query, limit=3, metric="l2")
        self.assertEqual([(r[0], r[3]) for r in rows], search(self.conn, query, limit=3, metric="l2_distance", exact=True))
        for bad in ("CREATE INDEX b ON d USING hnsw (g)", "CREATE INDEX b ON d USING hnsw (e no_ops)", "CREATE INDEX b ON d USING hnsw (e) WITH (m = 1)",
                    "CREATE INDEX b ON d USING gin (g)"):
            with self.assertRaises(helios.OperationalError, msg=bad):
                self.conn.execute(bad)
        self.conn.execute("INSERT INTO d VALUES (5000, ?, 1)", (query,))
        self.assertEqual(self.conn.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        self.conn.execute("DROP INDEX near")

    def test_searches_beside_writers(self):
        failures, stop = [], threading.Event()

        def write(seed):
            conn, data = self.connect(), Clusters(seed, self.DIMENSIONS)
            try:
                while not stop.is_set():
                    i = data.random.randrange(1, self.ROWS + 1)
                    dice = data.random.random()
                    if dice < 0.2:
                        conn.execute("DELETE FROM d WHERE id = ?", (i,))
                    else:
                        conn.execute("INSERT OR REPLACE INTO d VALUES (?, ?, ?)", (i, data.one(), i % 10))
            except Exception as e:
                failures.append(e)
            conn.close()

        writers = [threading.Thread(target=write, args=(seed,)) for seed in (1, 2)]
        for w in writers:
            w.start()
        until, hits, every = time.monotonic() + 2.5, 0, 0
        try:
            while time.monotonic() < until:
                where = self.data.random.choice(["", "WHERE g = 3", "WHERE g = 3 AND id % 20 = 3"])
                query = self.data.one()
                self.conn.execute("BEGIN")
                found = search(self.conn, query, where)
                truth = search(self.conn, query, where, exact=True)
                seen = dict(self.conn.execute(f"SELECT id, cosine_distance(e, ?) FROM d {where}", (query,)))
                self.conn.execute("COMMIT")
                self.assertEqual(len(found), len(truth))
                self.assertEqual(len({i for i, _ in found}), len(found))
                for i, distance in found:
                    self.assertEqual(seen[i], distance)
                hits += sum(d <= truth[-1][1] for _, d in found)
                every += len(truth)
        finally:
            stop.set()
            for w in writers:
                w.join()
        self.assertEqual(failures, [])
        self.assertGreaterEqual(hits / every, 0.95)


if __name__ == "__main__":
    unittest.main()
