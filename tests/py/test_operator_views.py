"""heliosdb_info, heliosdb_stats and the product's names for the others: what operators ask a database, also over the wire."""
import os
import shutil
import sqlite3 as stock
import tempfile
import threading
import unittest

import heliosdb_sqlite as helios


class OperatorViews(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="helios-views-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.path = os.path.join(self.folder, "app.db")

    def open(self, **keywords):
        conn = helios.connect(self.path, isolation_level=None, **keywords)
        self.addCleanup(conn.close)
        return conn

    def info(self, conn):
        return dict(conn.execute("SELECT name, value FROM heliosdb_info").fetchall())

    def stats(self, conn, section):
        return {row[0]: row[1:] for row in conn.execute("SELECT name, value, calls, rows, total_ms, longest_ms FROM heliosdb_stats WHERE section = ?", (section,))}

    def test_info_says_what_the_database_is(self):
        conn = self.open(retention=3600)
        conn.executescript("CREATE TABLE t(x); INSERT INTO t VALUES(1); PRAGMA user_version = 7")
        info = self.info(conn)
        self.assertEqual(info["sqlite_version"], "3.45.0")
        self.assertEqual(info["file"], os.path.realpath(self.path))
        self.assertEqual((info["user_version"], info["storage"], info["branch"], info["owner"]), (7, "directory", "main", 1))
        self.assertEqual(info["retention_seconds"], 3600.0)
        self.assertEqual(info["schema_version"], conn.execute("PRAGMA schema_version").fetchone()[0])
        self.assertGreaterEqual(info["format_version"], 1)
        self.assertEqual(info["process"], os.getpid())

    def test_info_says_how_the_file_stands(self):
        conn = self.open()
        conn.executescript("CREATE TABLE t(x); INSERT INTO t VALUES(1)")
        self.assertEqual(self.info(conn)["mirror"], "behind")
        conn.checkpoint()
        info = self.info(conn)
        self.assertEqual((info["mirror"], info["mirror_behind_ms"], info["mirror_writes"]), ("current", 0, 1))
        self.assertEqual(info["mirror_time"], info["newest_commit"])
        self.assertEqual(info["file_bytes"], os.path.getsize(self.path))
        tool = stock.connect(self.path, isolation_level=None)
        tool.execute("BEGIN EXCLUSIVE")
        conn.execute("INSERT INTO t VALUES(2)")
        with self.assertRaisesRegex(helios.OperationalError, "database is locked"):
            conn.checkpoint()
        info = self.info(conn)
        self.assertEqual((info["mirror"], info["mirror_trouble"]), ("waiting", "database is locked"))
        tool.close()
        conn.close()
        conn = self.open(mirror=False)
        self.assertEqual(self.info(conn)["mirror"], "off")

    def test_info_of_a_database_in_memory(self):
        conn = helios.connect(":memory:")
        info = self.info(conn)
        self.assertEqual((info["storage"], info["mirror"], info["file"], info["history_from"]), ("memory", "none", None, "none is kept"))

    def test_statements_are_counted_with_their_rows_and_times(self):
        conn = self.open()
        conn.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
        for i in range(20):
            conn.execute("INSERT INTO t VALUES(?, ?)", (i, i))
        for _ in range(3):
            conn.execute("SELECT x FROM t WHERE id < ?", (5,)).fetchall()
        with self.assertRaises(helios.IntegrityError):
            conn.execute("INSERT INTO t VALUES(?, ?)", (1, 1))
        seen = self.stats(conn, "statement")
        self.assertEqual(seen["INSERT INTO t VALUES(?, ?)"][1:3], (21, 0))
        self.assertEqual(seen["SELECT x FROM t WHERE id < ?"][1:3], (3, 15))
        value, calls, rows, total, longest = seen["SELECT x FROM t WHERE id < ?"]
        self.assertTrue(0 < longest <= total < 60000, (total, longest))
        other = self.open()  # another connection sees what is finalized
        conn.close()
        self.assertEqual(self.stats(other, "statement")["SELECT x FROM t WHERE id < ?"][1:3], (3, 15))

    def test_the_texts_that_take_least_time_give_way(self):
        conn = helios.connect(":memory:", cached_statements=0)
        for i in range(1200):
            conn.execute(f"SELECT {i}").fetchall()
        seen = conn.execute("SELECT name, calls FROM heliosdb_stats WHERE section = 'statement'").fetchall()
        self.assertLessEqual(len(seen), 501)
        self.assertGreaterEqual(dict(seen)["(others)"], 700)

    def test_slow_statements_are_written_down(self):
        conn = self.open()
        sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT count(*) FROM n"
        rows = 1000000
        while not self.stats(conn, "slow") and rows < 10**9:
            conn.execute(sql.format(rows)).fetchall()
            rows *= 4
        (name, (at, calls, _, total, _)), = self.stats(conn, "slow").items()
        self.assertTrue(name.startswith("WITH RECURSIVE") and total >= 100 and at.startswith("20"), (name, at, total))

    def test_who_holds_the_writers_turn_and_who_waits(self):
        a, b = self.open(), self.open(timeout=30)
        a.execute("BEGIN IMMEDIATE")
        waiter = threading.Thread(target=self.wait_for_turn)
        waiter.start()
        while self.stats(b, "writer")["waiting in line"][0] == 0:
            threading.Event().wait(0.01)
        held = self.stats(b, "writer")
        self.assertEqual(held["turn held by thread"][0], threading.get_native_id())
        self.assertGreaterEqual(held["turn held for ms"][0], 0)
        a.execute("ROLLBACK")
        waiter.join()
        self.assertEqual(self.stats(b, "writer")["turn held by thread"][0], None)

    def wait_for_turn(self):
        conn = helios.connect(self.path, timeout=30, isolation_level=None)
        conn.execute("BEGIN IMMEDIATE")
        conn.execute("ROLLBACK")
        conn.close()

    def test_the_oldest_snapshot_is_shown(self):
        a, b = self.open(), self.open()
        a.executescript("CREATE TABLE t(x); INSERT INTO t VALUES(1)")
        a.executescript("BEGIN; SELECT * FROM t")
        a.execute("SELECT * FROM t").fetchall()
        before = self.stats(b, "snapshot")["oldest view"][0]
        b.execute("INSERT INTO t VALUES(2)")
        self.assertEqual(self.stats(b, "snapshot")["oldest view"][0], before)
        self.assertGreaterEqual(self.stats(b, "snapshot")["open transactions"][0], 1)
        a.execute("ROLLBACK")
        after = self.stats(b, "snapshot")["oldest view"][0]
        self.assertTrue(after is None or after > before, (before, after))

    def test_the_products_names_are_aliases(self):
        conn = self.open()
        conn.executescript("CREATE TABLE t(x); CREATE BRANCH b")
        for alias, name in (("pg_database_branches", "heliosdb_branches"), ("pg_vector_index_stats", "heliosdb_vector_indexes"), ("pg_snapshots", "heliosdb_transactions")):
            self.assertEqual(conn.execute(f"SELECT * FROM {alias}").fetchall(), conn.execute(f"SELECT * FROM {name}").fetchall())
        self.assertEqual(conn.execute("SELECT pg_database_branches.name FROM pg_database_branches").fetchall(), [("main",), ("b",)])

    def test_over_the_wire(self):
        conn = self.open()
        conn.executescript("CREATE TABLE t(x); CREATE BRANCH b")
        with helios.start_server(self.path, port=0) as server:
            wire = helios.connect("app.db", heliosdb_mode="server", dsn=server.dsn)
            info = self.info(wire)
            self.assertEqual(str(info["process"]), str(os.getpid()))
            self.assertEqual([r[0] for r in wire.execute("SELECT name FROM pg_database_branches").fetchall()], ["main", "b"])
            self.assertTrue(wire.execute("SELECT count(*) FROM heliosdb_stats WHERE section = 'statement'").fetchone()[0] > 0)
            self.assertTrue(wire.execute("SELECT count(*) FROM pg_snapshots").fetchone()[0] > 0)
            wire.close()


if __name__ == "__main__":
    unittest.main()
