"""python -m heliosdb_sqlite inspect, check, copy; RocksDB's own tools on a plain directory."""
import _sqlite3 as stock
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

import heliosdb_sqlite as helios


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="helios_tools_")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.path = os.path.join(self.dir, "app.db")

    def run_python(self, *arguments, check=True, **environment):
        package = os.path.dirname(os.path.dirname(helios.__file__))
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HELIOSDB_")}
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60,
                              env={**clean, "PYTHONPATH": package, **environment})
        if check:
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def tool(self, *arguments, **keywords):
        return self.run_python("-m", "heliosdb_sqlite", *arguments, **keywords)

    def fill(self, **keywords):
        """In a process of its own, so that nobody has it open afterwards."""
        self.run_python("-c", """
import sys, heliosdb_sqlite as helios
key = sys.argv[2] or None
conn = helios.connect(sys.argv[1], isolation_level=None, encryption_key=key)
conn.executescript('''
    CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, x REAL);
    CREATE INDEX t_name ON t(name);
    CREATE TABLE w(k TEXT PRIMARY KEY, v BLOB) WITHOUT ROWID;
    CREATE TABLE d(id INTEGER PRIMARY KEY, e VECTOR(3));
''')
conn.execute("BEGIN")
conn.executemany("INSERT INTO t(name, x) VALUES(?, ?)", [("name %d" % i, i / 4) for i in range(300)])
conn.executemany("INSERT INTO w VALUES(?, ?)", [("key %d" % i, b"x" * i) for i in range(50)])
conn.execute("INSERT INTO d VALUES(1, '[1,2,3]')")
conn.execute("COMMIT")
conn.execute("UPDATE t SET name = 'other' WHERE id % 7 = 0")
conn.create_branch("side")
conn.switch_branch("side")
conn.execute("DELETE FROM t WHERE id < 10")
conn.close()
""", self.path, keywords.get("key", ""))


class Inspect(Case):
    def test_every_family_is_explained(self):
        self.fill()
        out = self.tool("inspect", self.path).stdout
        self.assertIn("(table t) ", out)
        self.assertIn("(index t_name) ", out)
        self.assertIn("('table', 't', 't'", out)
        self.assertIn("=> (NULL, 'name 0', 0)", out)
        self.assertIn("'key 7' => ", out)
        self.assertRegex(out, r"commits: commit \d+ \(\d{4}-\d\d-\d\dT")
        self.assertRegex(out, r"versions: tree \d+ \(table t\) from ")
        self.assertIn("meta: branch/1 = ", out)
        self.assertRegex(out, r"rows: \d+ keys\n")
        self.assertNotIn("damaged", out)

    def test_one_family_and_a_limit(self):
        self.fill()
        out = self.tool("inspect", self.path, "--family", "commits", "--limit", "1").stdout
        self.assertEqual(out.count("commits: commit"), 1)
        self.assertIn("of them not shown", out)
        self.assertNotIn("rows:", out)
        conn = helios.connect(self.path)
        with self.assertRaisesRegex(helios.OperationalError, "no such family: nosuch"):
            conn.execute("SELECT * FROM heliosdb_stored('nosuch')").fetchall()
        conn.close()

    def test_an_encrypted_one_with_its_key(self):
        self.fill(key="ab" * 32)
        self.assertIn("'name 0'", self.tool("inspect", self.path, HELIOSDB_ENCRYPTION_KEY="ab" * 32).stdout)
        self.assertIn("file is encrypted", self.tool("inspect", self.path, check=False).stderr)

    @unittest.skipUnless(shutil.which("ldb"), "RocksDB's ldb is not installed")
    def test_ldb_reads_a_plain_directory(self):
        self.fill()
        for family in ("rows", "commits", "versions"):
            done = subprocess.run(["ldb", f"--db={self.path}-helios", f"--column_family={family}", "scan", "--hex"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stdout, r"0x[0-9A-F]+ (==>|:) 0x[0-9A-F]+")

    @unittest.skipUnless(shutil.which("sst_dump"), "RocksDB's sst_dump is not installed")
    def test_sst_dump_reads_a_plain_directory(self):
        self.fill()
        self.run_python("-c", "import sys, heliosdb_sqlite as h; c = h.connect(sys.argv[1]); c.execute('DELETE FROM w'); c.commit(); c.checkpoint(); c.close()", self.path)
        tables = [n for n in os.listdir(self.path + "-helios") if n.endswith(".sst")]
        self.assertTrue(tables)
        for name in tables:
            done = subprocess.run(["sst_dump", f"--file={self.path}-helios/{name}", "--command=verify"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Check(Case):
    def test_a_good_one_is_ok(self):
        self.fill()
        self.assertEqual(self.tool("check", self.path).stdout, f"{self.path}: ok\n")

    def test_damage_of_the_sqlite_file_is_found(self):
        """A row that an SQLite tool would not have left: changed under a stamp that says nothing was."""
        self.fill()
        file = stock.connect(self.path)
        counter = open(self.path, "rb").read()[24:28]
        file.execute("UPDATE t SET x = -1 WHERE id = 5")
        file.commit()
        file.close()
        self.assertNotEqual(open(self.path, "rb").read()[24:28], counter)
        done = self.tool("check", self.path, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("row 5 of table t is not main's as of", done.stdout)

    def test_a_broken_sqlite_file_is_found(self):
        self.fill()
        with open(self.path, "r+b") as f:
            f.seek(4096 * 2 + 5)
            f.write(b"\xff" * 200)
        done = self.tool("check", self.path, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("app.db: ", done.stdout + done.stderr)

    def test_integrity_check_looks_below_too(self):
        """A key of the feed away, by RocksDB's own tool."""
        if not shutil.which("ldb"):
            self.skipTest("RocksDB's ldb is not installed")
        self.fill()
        scan = subprocess.run(["ldb", f"--db={self.path}-helios", "--column_family=commits", "scan", "--hex", "--no_value"], capture_output=True, text=True)
        last = scan.stdout.split()[-1]
        conn = helios.connect(self.path)
        newest = conn.execute("SELECT max(scn) FROM heliosdb_transactions").fetchone()[0]
        conn.close()
        self.assertEqual(int(last, 16), newest)

    def test_an_encrypted_one(self):
        self.fill(key="ab" * 32)
        self.assertEqual(self.tool("check", self.path, HELIOSDB_ENCRYPTION_KEY="ab" * 32).stdout, f"{self.path}: ok\n")


class Copy(Case):
    def test_a_copy_while_others_write(self):
        self.fill()
        stop, wrote = threading.Event(), []

        def write():
            conn = helios.connect(self.path, isolation_level=None)
            while not stop.is_set():
                conn.execute("BEGIN")
                conn.execute("INSERT INTO t(name) VALUES('pair')")
                conn.execute("INSERT INTO w VALUES(?, NULL)", (f"pair {len(wrote)}",))
                conn.execute("COMMIT")
                wrote.append(1)
            conn.close()

        writer = threading.Thread(target=write)
        conn = helios.connect(self.path)
        writer.start()
        try:
            while len(wrote) < 20:
                if not writer.is_alive():
                    self.fail("the writer ended")
            before = len(wrote)
            conn._copy(os.path.join(self.dir, "copy.db"))
            after = len(wrote)
        finally:
            stop.set()
            writer.join()
        conn.close()
        self.assertEqual(self.tool("check", os.path.join(self.dir, "copy.db")).stdout, f"{self.dir}/copy.db: ok\n")
        copy = helios.connect(os.path.join(self.dir, "copy.db"))
        pairs = copy.execute("SELECT count(*) FROM t WHERE name = 'pair'").fetchone()[0]
        self.assertEqual(copy.execute("SELECT count(*) FROM w WHERE k LIKE 'pair%'").fetchone()[0], pairs)
        self.assertTrue(before <= pairs <= after + 1, (before, pairs, after))
        self.assertEqual([b.name for b in copy.branches()], ["main", "side"])
        copy.execute("INSERT INTO t(name) VALUES('only here')")
        copy.commit()
        copy.close()
        with stock.connect(os.path.join(self.dir, "copy.db")) as file:
            self.assertEqual(file.execute("SELECT count(*) FROM t WHERE name = 'pair'").fetchone()[0], pairs)
        file.close()
        original = helios.connect(self.path)
        self.assertEqual(original.execute("SELECT count(*) FROM t WHERE name = 'only here'").fetchone(), (0,))
        with self.assertRaisesRegex(helios.OperationalError, "already exists"):
            original._copy(os.path.join(self.dir, "copy.db"))
        original.close()

    def test_by_the_command_line_and_encrypted(self):
        self.fill(key="ab" * 32)
        self.tool("copy", self.path, os.path.join(self.dir, "copy.db"), HELIOSDB_ENCRYPTION_KEY="ab" * 32)
        self.assertEqual(os.path.getsize(os.path.join(self.dir, "copy.db")), 480)
        self.assertIn(": ok", self.tool("check", os.path.join(self.dir, "copy.db"), HELIOSDB_ENCRYPTION_KEY="ab" * 32).stdout)


if __name__ == "__main__":
    unittest.main()
