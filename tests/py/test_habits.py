"""What programs written for sqlite3 do with their files. Each habit is tried with stock sqlite3 and with us."""
import os
import pathlib
import shutil
import sqlite3 as stock
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import heliosdb_sqlite as helios

ENGINES = (stock, helios)


class Habits(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="helios-habits-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def each(self):
        """(module, a folder of its own)"""
        for module in ENGINES:
            with self.subTest(module.__name__):
                folder = os.path.join(self.folder, module.__name__)
                os.mkdir(folder)
                yield module, folder

    def fill(self, module, path, rows=3):
        conn = module.connect(path)
        conn.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x)")
        conn.executemany("INSERT INTO t(x) VALUES(?)", [(i,) for i in range(rows)])
        conn.commit()
        conn.close()

    def count(self, module, path):
        conn = module.connect(path)
        try:
            return conn.execute("SELECT count(*) FROM t").fetchone()[0]
        finally:
            conn.close()

    def python(self, script, *arguments, **keywords):
        return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, **keywords)

    def test_the_folder_is_renamed_between_two_connections(self):
        for module, folder in self.each():
            self.fill(module, os.path.join(folder, "a.db"))
            for _ in range(3):
                os.rename(folder, folder + ".new")
                self.fill(module, os.path.join(folder + ".new", "a.db"))
                os.rename(folder + ".new", folder)
            self.assertEqual(self.count(module, os.path.join(folder, "a.db")), 12)
            self.assertEqual(self.count(stock, os.path.join(folder, "a.db")), 12)

    def test_the_file_is_renamed_with_what_belongs_to_it(self):
        for module, folder in self.each():
            a, b = os.path.join(folder, "a.db"), os.path.join(folder, "b.db")
            self.fill(module, a)
            os.rename(a, b)
            if os.path.exists(a + "-helios"):
                os.rename(a + "-helios", b + "-helios")
            self.fill(module, b)
            self.fill(module, a)  # another database of the old name
            self.assertEqual((self.count(module, b), self.count(module, a)), (6, 3))

    def test_the_file_alone_is_moved(self):
        for module, folder in self.each():
            a, b = os.path.join(folder, "a.db"), os.path.join(folder, "b.db")
            self.fill(module, a)
            os.rename(a, b)
            self.fill(module, a, 1)
            self.assertEqual((self.count(module, b), self.count(module, a)), (3, 1))

    def test_symbolic_and_hard_links(self):
        for module, folder in self.each():
            path, symbolic = os.path.join(folder, "a.db"), os.path.join(folder, "s.db")
            os.symlink("a.db", symbolic)
            os.symlink(folder, folder + ".link")
            self.fill(module, symbolic)
            self.assertTrue(os.path.isfile(path) and os.path.islink(symbolic))
            a, b = module.connect(path), module.connect(os.path.join(folder + ".link", "s.db"))
            a.execute("INSERT INTO t(x) VALUES(1)")
            a.commit()
            self.assertEqual(b.execute("SELECT count(*) FROM t").fetchone(), (4,))
            a.close()
            b.close()
            hard = os.path.join(folder, "h.db")
            os.link(path, hard)
            self.assertEqual(self.count(module, hard), 4)

    def test_the_working_directory_changes(self):
        before = os.getcwd()
        try:
            for module, folder in self.each():
                os.chdir(folder)
                conn = module.connect("a.db")
                conn.execute("CREATE TABLE t(x)")
                conn.execute("INSERT INTO t VALUES(1)")
                conn.commit()
                os.mkdir("deeper")
                os.chdir("deeper")
                other = module.connect("../a.db")
                other.execute("INSERT INTO t VALUES(2)")
                other.commit()
                self.assertEqual(conn.execute("SELECT count(*) FROM t").fetchone(), (2,))
                conn.close()
                other.close()
                self.assertEqual(os.listdir("."), [])
                self.assertEqual(self.count(stock, os.path.join(folder, "a.db")), 2)
        finally:
            os.chdir(before)

    def test_names_as_bytes_paths_and_strings_are_one_file(self):
        for module, folder in self.each():
            path = os.path.join(folder, "ümläut \u2603 " + "x" * 150 + ".db")
            for name in (path, os.fsencode(path), pathlib.Path(path)):
                self.fill(module, name, 1)
            self.assertEqual(self.count(module, path), 3)

    def test_a_temporary_directory_goes_right_after_the_close(self):
        for module, _ in self.each():
            for i in range(12):
                with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                    self.fill(module, os.path.join(folder, "a.db"), 2000 if i % 4 == 0 else 3)
                self.assertFalse(os.path.exists(folder))
        threading.Event().wait(1.1)
        self.assertEqual(sorted(os.listdir(self.folder)), sorted(m.__name__ for m in ENGINES))

    def test_a_temporary_directory_goes_while_it_is_open(self):
        for module, _ in self.each():
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                conn = module.connect(os.path.join(folder, "a.db"))
                conn.execute("CREATE TABLE t(x)")
                conn.commit()
            conn.close()
            self.assertFalse(os.path.exists(folder))

    def test_nobody_closes_before_the_exit(self):
        script = """
import sys, importlib
module = importlib.import_module(sys.argv[1])
conn = module.connect(sys.argv[2])
conn.execute("CREATE TABLE t(x)")
conn.executemany("INSERT INTO t VALUES(?)", [(i,) for i in range(100)])
conn.commit()
conn.execute("INSERT INTO t VALUES('not committed')")
"""
        for module, folder in self.each():
            path = os.path.join(folder, "a.db")
            done = self.python(script, module.__name__, path)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(self.count(stock, path), 100)
            self.assertEqual(self.count(module, path), 100)

    def test_killed_while_open_nothing_that_was_committed_is_lost(self):
        script = """
import os, signal, sys, importlib
conn = importlib.import_module(sys.argv[1]).connect(sys.argv[2])
conn.execute("CREATE TABLE t(x)")
conn.execute("INSERT INTO t VALUES(1)")
conn.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""
        for module, folder in self.each():
            path = os.path.join(folder, "a.db")
            self.python(script, module.__name__, path)
            self.assertEqual(self.count(module, path), 1)

    def test_deleted_and_made_again_under_the_same_name(self):
        for module, folder in self.each():
            path = os.path.join(folder, "a.db")
            for i in range(10):
                self.fill(module, path, i + 1)
                self.assertEqual(self.count(module, path), i + 1)
                os.remove(path)

    def test_the_folder_is_emptied_and_used_again(self):
        for module, folder in self.each():
            for i in range(5):
                self.fill(module, os.path.join(folder, "a.db"), i + 1)
                shutil.rmtree(folder)
                os.mkdir(folder)
            self.fill(module, os.path.join(folder, "a.db"), 7)
            self.assertEqual(self.count(module, os.path.join(folder, "a.db")), 7)

    def test_a_folder_that_may_not_be_written(self):
        if os.geteuid() == 0:
            self.skipTest("root may write everywhere")
        for module, folder in self.each():
            self.fill(module, os.path.join(folder, "a.db"))
            os.chmod(folder, 0o555)
            try:
                self.assertEqual(self.count(module, os.path.join(folder, "a.db")), 3)
                with self.assertRaises(module.OperationalError):
                    self.fill(module, os.path.join(folder, "a.db"))
            finally:
                os.chmod(folder, 0o755)

    def test_a_file_copied_while_nobody_has_it_open(self):
        for module, folder in self.each():
            a, b = os.path.join(folder, "a.db"), os.path.join(folder, "copy", "b.db")
            self.fill(module, a)
            os.mkdir(os.path.dirname(b))
            shutil.copy(a, b)
            self.fill(module, b, 2)
            self.fill(module, a, 1)
            self.assertEqual((self.count(module, a), self.count(module, b)), (4, 5))
            shutil.copyfile(b, a)  # put back over it
            self.assertEqual((self.count(module, a), self.count(stock, b)), (5, 5))
            self.fill(module, a, 1)
            self.assertEqual((self.count(module, a), self.count(stock, a)), (6, 6))

    def test_an_immutable_file_is_read_whatever_lies_beside_it(self):
        for module, folder in self.each():
            path = os.path.join(folder, "a %41?#b.db")
            self.fill(module, path)
            with open(path + "-journal", "wb") as f:
                f.write(b"not a journal")
            conn = module.connect(pathlib.Path(path).as_uri() + "?mode=ro&immutable=1", uri=True)
            self.assertEqual(conn.execute("SELECT count(*) FROM t").fetchone(), (3,))
            with self.assertRaisesRegex(module.OperationalError, "readonly database"):
                conn.execute("INSERT INTO t(x) VALUES(1)")
            conn.close()
            self.assertTrue(os.path.exists(path + "-journal"))

    def test_a_connection_a_request(self):
        """The best of several rounds, taken in turns: the machine may be busy."""
        best = {}
        for module, folder in self.each():
            self.fill(module, os.path.join(folder, "a.db"), 500)
        for _ in range(8):
            for module in ENGINES:
                path = os.path.join(self.folder, module.__name__, "a.db")
                begun = time.perf_counter()
                for i in range(60):
                    conn = module.connect(path)
                    conn.execute("SELECT x FROM t WHERE id = ?", (i + 1,)).fetchone()
                    conn.close()
                best[module] = min(best.get(module, 1e9), time.perf_counter() - begun)
        self.assertLess(best[helios] / best[stock], 1.1)

    # ---- stock sqlite3 beside us, on one file ----

    def test_stock_and_we_in_one_process_and_a_third_lose_neither_lock_nor_change(self):
        path = os.path.join(self.folder, "a.db")
        conn = helios.connect(path, isolation_level=None)
        conn.executescript("CREATE TABLE h(i INTEGER PRIMARY KEY); CREATE TABLE s(i INTEGER PRIMARY KEY); CREATE TABLE p(i INTEGER PRIMARY KEY)")
        conn.checkpoint()
        third = subprocess.Popen([sys.executable, "-c", """
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
written = 0
for line in sys.stdin:
    try:
        conn.execute("BEGIN IMMEDIATE")
        conn.execute("INSERT INTO p DEFAULT VALUES")
        conn.execute("COMMIT")
        written += 1
        print("written", flush=True)
    except sqlite3.OperationalError as error:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        print(error, flush=True)
print(written, flush=True)
""", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def ask():
            third.stdin.write("\n")
            third.stdin.flush()
            return third.stdout.readline().strip()
        held = stock.connect(path, isolation_level=None)
        opened = ours = theirs = 0
        for turn in range(25):
            held.execute("BEGIN IMMEDIATE")
            held.execute("INSERT INTO s DEFAULT VALUES")
            for _ in range(20):
                a, b = helios.connect(path), stock.connect(path)
                b.execute("SELECT count(*) FROM s").fetchone()
                a.execute("SELECT count(*) FROM h").fetchone()
                a.close()
                b.close()
                opened += 2
            self.assertEqual(ask(), "database is locked")
            held.execute("COMMIT")
            theirs += 1
            conn.execute("INSERT INTO h DEFAULT VALUES")
            ours += 1
            self.assertEqual(ask(), "written")
            conn.checkpoint()
        self.assertEqual(opened, 1000)
        held.close()
        third.stdin.close()
        self.assertEqual(third.stdout.readline().strip(), "25")
        third.wait()
        third.stdout.close()
        conn.close()
        for module in ENGINES:
            conn = module.connect(path)
            self.assertEqual(conn.execute("SELECT (SELECT count(*) FROM h), (SELECT count(*) FROM s), (SELECT count(*) FROM p)").fetchone(), (ours, theirs, 25))
            self.assertEqual(conn.execute("PRAGMA integrity_check").fetchone(), ("ok",))
            conn.close()


if __name__ == "__main__":
    unittest.main()
