"""Directories of earlier formats, kept in tests/data, are read, checked, written on, and say the same as when they were made."""
import _sqlite3 as stock
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

import heliosdb_sqlite as helios

DATA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data")


class Sample(unittest.TestCase):
    name, key = "format1.zip", None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="helios_format_")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        with zipfile.ZipFile(os.path.join(DATA, self.name)) as z:
            z.extractall(self.dir)
        self.path = os.path.join(self.dir, "app.db")
        with open(os.path.join(self.dir, "loaded-at")) as f:
            self.loaded = int(f.read())

    def connect(self, **keywords):
        return helios.connect(self.path, isolation_level=None, encryption_key=self.key, **keywords)

    def test_it_is_read_as_it_was_written(self):
        conn = self.connect()
        self.assertEqual(conn.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        self.assertEqual(conn.execute("PRAGMA user_version").fetchone(), (7,))
        self.assertEqual(conn.execute("SELECT n FROM v").fetchone(), (395,))
        self.assertEqual(conn.execute("SELECT count(*) FROM t WHERE name LIKE 'changed%'").fetchone(), (120,))
        self.assertEqual(conn.execute("SELECT count(*), sum(x), sum(length(b)) FROM t WHERE id BETWEEN 200 AND 299").fetchone(), (100, 3118.75, 950))
        self.assertEqual(conn.execute("SELECT id FROM t INDEXED BY t_name WHERE name = 'NAME 13' ORDER BY x DESC LIMIT 2").fetchall(), [(313,), (263,)])
        self.assertEqual(conn.execute("SELECT count(*) FROM w WHERE k = 'deleted'").fetchone(), (5,))
        self.assertEqual(conn.execute("SELECT length(v) FROM w WHERE k = 'key 3' AND n = 3").fetchone(), (4500,))
        self.assertEqual(conn.execute("SELECT rowid FROM f WHERE f MATCH 'number AND 7'").fetchall(), [(8,)])
        self.assertEqual(conn.execute("SELECT id FROM d ORDER BY vector_distance(e, '[3,9,1,0]', 'l2') LIMIT 1").fetchone(), (4,))
        conn.close()

    def test_its_past_and_its_branch_are_there(self):
        conn = self.connect()
        past = f"t AS OF SCN {self.loaded}"
        self.assertEqual(conn.execute(f"SELECT count(*), sum(name LIKE 'changed%') FROM {past}").fetchone(), (400, 0))
        self.assertEqual(conn.execute(f"SELECT name FROM {past} AS p WHERE p.id IN (1, 100)").fetchall(), [("Name 1",), ("Name 0",)])
        self.assertEqual(conn.execute("SELECT count(*) FROM heliosdb_transactions WHERE scn > ? AND branch = 'main'", (self.loaded,)).fetchone(), (15,))
        self.assertEqual([b.name for b in conn.branches()], ["main", "side"])
        conn.switch_branch("side")
        self.assertEqual(conn.execute("SELECT id, x FROM t WHERE id IN (1, 1000)").fetchall(), [(1, -1.0), (1000, 0.0)])
        self.assertEqual(conn.execute("SELECT count(*) FROM t").fetchone(), (396,))
        conn.switch_branch("main")
        conn.close()

    def test_it_is_written_on(self):
        conn = self.connect()
        for i in range(30):
            conn.execute("UPDATE t SET x = x + 1, name = ? WHERE id % 10 = ?", (f"later {i}", i % 10))
        conn.execute("INSERT INTO t(name) VALUES('new')")
        self.assertEqual(conn.execute("SELECT max(id) FROM t").fetchone(), (1001,))
        self.assertEqual(conn.merge_branch("side", on_conflict="target_wins").inserted, 1)
        conn.execute("VACUUM")
        conn.close()
        conn = self.connect()
        self.assertEqual(conn.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        self.assertEqual(conn.execute(f"SELECT sum(x) FROM t AS OF SCN {self.loaded}").fetchone(), (10025.0,))
        self.assertEqual(conn.execute("SELECT count(*) FROM t").fetchone(), (397,))
        conn.close()

    def test_the_tool_finds_nothing_wrong(self):
        package = os.path.dirname(os.path.dirname(helios.__file__))
        environment = {**os.environ, "PYTHONPATH": package}
        if self.key:
            environment["HELIOSDB_ENCRYPTION_KEY"] = self.key
        done = subprocess.run([sys.executable, "-m", "heliosdb_sqlite", "check", self.path], capture_output=True, text=True, env=environment)
        self.assertEqual((done.stdout, done.returncode), (f"{self.path}: ok\n", 0), done.stderr)
        if not self.key:
            with stock.connect(self.path) as file:
                self.assertEqual(file.execute("SELECT count(*) FROM t").fetchone(), (395,))
            file.close()


class Sealed(Sample):
    name, key = "format2-sealed.zip", "5e" * 32


if __name__ == "__main__":
    unittest.main()
