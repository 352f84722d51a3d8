"""Queries unlike the data, and data with little in it: recall is held by what was measured of the graph, each time against exact
search. Input that is no vector of finite numbers is refused."""
import array
import math
import random
import unittest

import heliosdb_sqlite as helios

from test_recall import wait_ready

ROWS, DIMENSIONS, NEAREST, SEARCHES = 4000, 64, 10, 25
METRICS = ("cosine_distance", "l2_distance", "negative_inner_product", "l1_distance")
floats = lambda items: array.array("f", items)


class Data:
    """Some kinds of data, and of queries, from a seed."""

    def __init__(self, seed=3):
        self.random = random.Random(seed)
        self.centres = [self.noise(1) for _ in range(100)]

    def noise(self, size):
        return [self.random.gauss(0, size) for _ in range(DIMENSIONS)]

    def around(self, centre, size):
        return floats(a + b for a, b in zip(centre, self.noise(size)))

    def clustered(self, size=0.5):
        return self.around(self.random.choice(self.centres), size)

    def uniform(self):
        return floats(self.random.uniform(-3, 3) for _ in range(DIMENSIONS))

    def far(self):
        return self.around([20] * DIMENSIONS, 1)


class Unlike(unittest.TestCase):
    def fill(self, rows):
        conn = helios.connect(":memory:", isolation_level=None)
        self.addCleanup(conn.close)
        conn.execute(f"CREATE TABLE d(id INTEGER PRIMARY KEY, e VECTOR({DIMENSIONS}), g INTEGER)")
        conn.execute("BEGIN")
        conn.executemany("INSERT INTO d VALUES (?, ?, ?)", ((i, row, i % 10) for i, row in enumerate(rows)))
        conn.execute("COMMIT")
        for metric in METRICS if len(rows) == ROWS else ():
            conn.execute(f"SELECT id FROM d ORDER BY {metric}(e, ?) LIMIT 1", (floats(rows[0]),)).fetchall()
        if len(rows) == ROWS:
            wait_ready(conn)
        return conn

    def recall(self, conn, queries, metric, where=""):
        hits = every = 0
        for query in queries:
            sql = f"SELECT id, {metric}(e, ?1) FROM d {where} ORDER BY {metric}(e, ?1)%s LIMIT {NEAREST}"
            found, truth = (conn.execute(sql % exact, (query,)).fetchall() for exact in ("", " + 0"))
            self.assertEqual(len(found), len(truth))
            self.assertEqual(len({i for i, _ in found}), len(found))
            self.assertEqual([d for _, d in found], sorted(d for _, d in found))
            hits += sum(d <= truth[-1][1] for _, d in found)
            every += len(truth)
        return hits / every

    def test_queries_from_elsewhere(self):
        data = Data()
        for size in (0.5, 0.05):
            conn = self.fill([data.clustered(size) for _ in range(ROWS)])
            for metric in METRICS:
                for kind in ("clustered", "uniform", "far"):
                    queries = [getattr(data, kind)() for _ in range(SEARCHES)]
                    for where in ("", "WHERE g < 3"):
                        # from very far the order is that of the sums of the elements: no graph knows it
                        floor = 0.85 if kind == "far" else 0.95
                        self.assertGreaterEqual(self.recall(conn, queries, metric, where), floor, (size, metric, kind, where))

    def test_equal_vectors(self):
        data = Data()
        distinct = [data.clustered() for _ in range(30)]
        for name, rows in (("all equal", [distinct[0]] * ROWS), ("half of them equal", [distinct[0] if i % 2 else data.clustered() for i in range(ROWS)]),
                           ("thirty", [data.random.choice(distinct) for _ in range(ROWS)]), ("zero", [floats([0] * DIMENSIONS)] * ROWS)):
            conn = self.fill(rows)
            for metric in METRICS:
                for where in ("", "WHERE g = 3"):
                    recall = self.recall(conn, [data.uniform() for _ in range(8)] + [distinct[0], distinct[7], floats([0] * DIMENSIONS)], metric, where)
                    self.assertGreaterEqual(recall, 0.95, (name, metric, where))

    def test_zero_vectors_under_cosine(self):
        data = Data()
        conn = self.fill([floats([0] * DIMENSIONS) if i % 100 == 7 else data.clustered() for i in range(ROWS)])
        zero = floats([0] * DIMENSIONS)
        self.assertEqual(conn.execute("SELECT cosine_distance(e, ?) FROM d WHERE id = 7", (data.uniform(),)).fetchone(), (1.0,))
        self.assertEqual([d for _, d in conn.execute("SELECT id, cosine_distance(e, ?1) FROM d ORDER BY cosine_distance(e, ?1) LIMIT 10", (zero,))], [1.0] * 10)
        self.assertGreaterEqual(self.recall(conn, [data.clustered() for _ in range(SEARCHES)] + [zero], "cosine_distance"), 0.95)

    def test_numbers_that_are_none_are_refused(self):
        data = Data()
        conn = self.fill([data.clustered() for _ in range(30)])
        for bad in (math.nan, math.inf, -math.inf):
            vector = [0.5] * (DIMENSIONS - 1) + [bad]
            for given in (vector, floats(vector), array.array("d", vector), floats(vector).tobytes()):
                with self.assertRaises((helios.DataError, helios.IntegrityError), msg=given):
                    conn.execute("INSERT INTO d VALUES (1000, ?, 1)", (given,))
                with self.assertRaises(helios.Error, msg=given):
                    conn.execute("SELECT id FROM d ORDER BY e <-> ? LIMIT 3", (given,)).fetchall()
        with self.assertRaises((helios.DataError, helios.IntegrityError)):
            conn.execute("INSERT INTO d VALUES (1000, ?, 1)", ([1e39] * DIMENSIONS,))
        self.assertEqual(conn.execute("SELECT count(*) FROM d WHERE id = 1000").fetchone(), (0,))


if __name__ == "__main__":
    unittest.main()
