"""What the module has beyond sqlite3's, and what must hold whatever a program does: threads, closing, life times."""
import datetime
import gc
import os
import shutil
import sqlite3 as stock
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import weakref

import heliosdb_sqlite as ours


class SettingsTest(unittest.TestCase):
    def refused(self, error, **keywords):
        with self.assertRaises(error) as caught:
            ours.connect(":memory:", **keywords)
        self.assertIs(type(caught.exception), error, keywords)
        return str(caught.exception)

    def test_defaults_may_be_said(self):
        ours.connect(":memory:", heliosdb_mode="embedded", mode="embedded", server_host="127.0.0.1", server_port=5432,
                     server_user="helios", server_password=None, server_database=None, dsn=None, branch="main",
                     as_of=None, encryption_key=None, passphrase=None, conflict_policy="last_commit_wins",
                     retention=None, mirror=None).close()

    def test_unknown_keywords_and_values_are_refused(self):
        self.assertIn("nosuch", self.refused(TypeError, nosuch=1))
        for keywords in ({"mode": "nosuch"}, {"heliosdb_mode": "Embedded"}, {"conflict_policy": "x"},
                         {"retention": -1}, {"retention": float("nan")}, {"mirror": 1}, {"server_port": 70000},
                         {"encryption_key": "ab"}, {"encryption_key": b"x" * 31}, {"branch": ""}, {"as_of": True},
                         {"encryption_key": b"x" * 32, "passphrase": "y"}, {"mode": "embedded", "heliosdb_mode": "server"}):
            self.refused(ours.ProgrammingError, **keywords)
        for keywords in ({"mode": 1}, {"retention": "x"}, {"server_port": "x"}, {"branch": None}, {"as_of": object()},
                         {"encryption_key": 5}, {"passphrase": b"x"}, {"conflict_policy": None}):
            self.refused(TypeError, **keywords)

    def test_a_word_without_meaning_in_the_mode_is_refused(self):
        for keywords in ({"server_host": "other"}, {"server_port": 0}, {"server_user": "x"}, {"server_password": "x"},
                         {"dsn": "x"}, {"server_database": "x"}, {"mode": "hybrid", "dsn": "x"}, {"mode": "hybrid", "server_database": "x"}):
            self.assertIn("has no meaning", self.refused(ours.ProgrammingError, **keywords))

    def test_keys_are_not_shown(self):
        self.assertNotIn("5ec4e7", self.refused(ours.ProgrammingError, encryption_key="5ec4e7" * 3))

    def test_extensions(self):
        con = ours.connect(":memory:")
        con.enable_load_extension(True)
        with self.assertRaises(ours.NotSupportedError) as caught:
            con.load_extension("./some.so")
        self.assertIn("FTS5", str(caught.exception))
        con.close()

    def test_times_are_text_in_utc(self):
        from heliosdb_sqlite._times import as_text
        zone = datetime.timezone(datetime.timedelta(hours=2))
        self.assertEqual(as_text(datetime.datetime(2024, 1, 2, 3, 4, 5, 6, zone)), "2024-01-02 01:04:05.000006")
        self.assertEqual(as_text(datetime.date(2024, 1, 2)), "2024-01-02")


class NamesTest(unittest.TestCase):
    def run_python(self, code):
        path = os.path.dirname(os.path.dirname(ours.__file__))
        done = subprocess.run([sys.executable, "-c", "import sys; sys.path.insert(0, %r)\n%s" % (path, code)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_install_as_sqlite3(self):
        self.assertEqual(self.run_python("""
import heliosdb_sqlite
heliosdb_sqlite.install_as_sqlite3()
import sqlite3, sqlite3.dbapi2, sqlite3.dump
from sqlite3 import dbapi2
print(sqlite3 is heliosdb_sqlite, dbapi2 is sqlite3.dbapi2, sqlite3.dbapi2.connect is heliosdb_sqlite.connect)
"""), "True True True\n")

    def test_sys_modules_is_enough(self):
        self.assertEqual(self.run_python("""
import heliosdb_sqlite, datetime
sys.modules["sqlite3"] = heliosdb_sqlite
heliosdb_sqlite.register_adapter(datetime.date, lambda d: "mine")
import sqlite3.dbapi2
print(sqlite3.dbapi2.connect(":memory:").execute("select ?", (datetime.date(2020, 1, 1),)).fetchone()[0])
"""), "mine\n")

    def test_exceptions_are_taken_once(self):
        self.assertEqual(self.run_python("""
import heliosdb_sqlite as first
for name in [n for n in sys.modules if n.startswith(("heliosdb_sqlite", "sqlite3", "_sqlite3"))]:
    del sys.modules[name]
sys.modules["_sqlite3"] = sys.modules["sqlite3"] = None
import heliosdb_sqlite as second
print(first is second, first.OperationalError is second.OperationalError)
del sys.modules["_sqlite3"], sys.modules["sqlite3"]
try:
    second.connect(":memory:").execute("nonsense")
except first.OperationalError as e:
    print(e)
"""), "False True\nnear \"nonsense\": syntax error\n")

    def test_what_was_committed_is_in_the_file_when_nobody_closes(self):
        folder = tempfile.mkdtemp(prefix="helios-test-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        path = os.path.join(folder, "a.db")
        self.run_python("""
import heliosdb_sqlite
con = sys.keep = heliosdb_sqlite.connect(%r)
con.execute("create table t(a)")
con.execute("insert into t values(1)")
con.commit()
con.execute("insert into t values(2)")
import os, warnings
warnings.simplefilter("ignore")
""" % path)
        con = stock.connect(path)
        self.assertEqual(con.execute("select a from t").fetchall(), [(1,)])
        con.close()

    def test_the_shell(self):
        path = os.path.dirname(os.path.dirname(ours.__file__))
        environment = dict(os.environ, PYTHONPATH=path)

        def shell(*arguments, **keywords):
            done = subprocess.run([sys.executable, "-m", "heliosdb_sqlite", *arguments], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, universal_newlines=True, env=environment, **keywords)
            return done.returncode, done.stdout, done.stderr
        self.assertEqual(shell(":memory:", "select 1, 'a'"), (0, "(1, 'a')\n", ""))
        code, out, err = shell(":memory:", "sel")
        self.assertEqual((code, out), (1, ""))
        self.assertIn('near "sel": syntax error', err)
        code, out, err = shell(input="select 1\n+ 1;\n.version\nsel;\n")
        self.assertIn("(2,)", out)
        self.assertIn("3.45.0", out)
        self.assertIn("syntax error", err)
        self.assertEqual(shell("--version")[1], "SQLite version 3.45.0\n")


class ThreadsTest(unittest.TestCase):
    def setUp(self):
        self.con = ours.connect(":memory:", check_same_thread=False)
        self.con.execute("create table t(id integer primary key, thread, n)")
        self.con.create_function("plus", 1, lambda x: x + 1)
        self.errors = []
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        self.addCleanup(sys.setswitchinterval, interval)
        self.addCleanup(self.con.close)

    def run_threads(self, count, work):
        def guarded(k):
            try:
                work(k)
            except BaseException as e:
                self.errors.append(repr(e))
        threads = [threading.Thread(target=guarded, args=(k,)) for k in range(count)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(self.errors, [])

    def test_one_connection_many_threads(self):
        ids, rounds = [], 60

        def work(k):
            for i in range(rounds):
                cursor = self.con.execute("insert into t(thread, n) values(?, ?)", (k, i))
                ids.append(cursor.lastrowid)
                self.assertEqual(cursor.rowcount, 1)
                if i % 7 == 0:
                    self.con.commit()
                rows = self.con.execute("select plus(n) from t where thread = ?", (k,)).fetchall()
                self.assertEqual([r[0] for r in rows], list(range(1, i + 2)))
                self.con.executemany("update t set n = n where id = ?", ((j,) for j in range(3)))
        self.run_threads(6, work)
        self.con.commit()
        self.assertEqual(len(set(ids)), 6 * rounds)
        self.assertEqual(self.con.execute("select count(*) from t").fetchone()[0], 6 * rounds)

    def test_one_cursor_many_threads(self):
        cursor = self.con.cursor()

        def work(k):
            for i in range(50):
                cursor.execute("insert into t(thread, n) values(?, ?)", (k, i))
        self.run_threads(4, work)
        self.assertEqual(self.con.execute("select count(*) from t").fetchone()[0], 200)

    def test_an_iterator_that_waits_for_another_thread(self):
        asked, answered = threading.Event(), threading.Event()

        def parameters():
            asked.set()
            self.assertTrue(answered.wait(10))
            yield (1, 2)

        def work(k):
            if k == 0:
                self.con.executemany("insert into t(thread, n) values(?, ?)", parameters())
            else:
                self.assertTrue(asked.wait(10))
                self.con.execute("select 1").fetchall()
                answered.set()
        self.run_threads(2, work)

    def test_closing_under_others(self):
        for _ in range(10):
            con = ours.connect(":memory:", check_same_thread=False)
            con.create_function("plus", 1, lambda x: x + 1)
            started = threading.Barrier(4)

            def work(k):
                started.wait()
                if k == 0:
                    con.close()
                    return
                try:
                    while True:
                        con.execute("select plus(1) union all select 2 union all select 3").fetchall()
                        for _ in con.execute("select 1 union select 2"):
                            pass
                except ours.ProgrammingError as e:
                    self.assertIn("closed", str(e))
            self.run_threads(4, work)


class InterpreterLockTest(unittest.TestCase):
    """Whatever the engine waits for, other threads run."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="helios-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.path = os.path.join(self.folder, "a.db")
        con = ours.connect(self.path)
        con.executescript("create table t(id integer primary key, n); insert into t values(1, 0)")
        con.close()

    def test_while_waiting_for_another_s_turn(self):
        holder = ours.connect(self.path, isolation_level=None, check_same_thread=False)
        holder.execute("begin immediate")
        holder.execute("update t set n = n + 1")
        waiting, done = threading.Event(), []

        def wait():
            con = ours.connect(self.path, isolation_level=None, timeout=20)
            waiting.set()
            con.execute("begin immediate")
            done.append(con.execute("select n from t").fetchone()[0])
            con.execute("commit")
            con.close()
        thread = threading.Thread(target=wait)
        thread.start()
        self.assertTrue(waiting.wait(10))
        for _ in range(20):
            time.sleep(0.005)
        self.assertEqual(done, [])
        holder.execute("commit")
        thread.join(10)
        self.assertEqual(done, [1])
        holder.close()

    def test_while_a_query_runs_long(self):
        con = ours.connect(":memory:", check_same_thread=False)
        ticks, stop = [0], threading.Event()

        def tick():
            while not stop.is_set():
                ticks[0] += 1
                time.sleep(0.001)
        thread = threading.Thread(target=tick)
        thread.start()
        before, started = ticks[0], time.monotonic()
        con.execute("with recursive r(i) as (select 1 union all select i + 1 from r where i < 1000000) "
                    "select count(*) from r").fetchall()
        seconds, seen = time.monotonic() - started, ticks[0] - before
        stop.set()
        thread.join()
        self.assertGreater(seen, min(5, seconds * 100))
        con.close()

    def test_while_many_commit(self):
        def work(k):
            con = ours.connect(self.path, timeout=30, isolation_level=None)
            for _ in range(20):
                con.execute("update t set n = n + 1")
            con.close()
        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        con = ours.connect(self.path)
        self.assertEqual(con.execute("select n from t").fetchone()[0], 80)
        con.close()


class LifeTest(unittest.TestCase):
    def test_closing_in_a_callback(self):
        con = ours.connect(":memory:")
        con.create_function("bye", 0, lambda: con.close())
        with self.assertRaises(ours.ProgrammingError):
            con.execute("select bye() union all select 2").fetchall()
        with self.assertRaises(ours.ProgrammingError):
            con.execute("select 1")

    def test_closing_in_a_converter_and_in_a_factory(self):
        ours.register_converter("closing", lambda b: con.close())
        for use in ("converter", "factory"):
            con = ours.connect(":memory:", detect_types=ours.PARSE_COLNAMES)
            cursor = con.cursor()
            if use == "factory":
                cursor.row_factory = lambda c, row: con.close()
            sql = 'select 1 as "x [closing]"' if use == "converter" else "select 1 union all select 2"
            try:
                cursor.execute(sql).fetchall()
            except ours.ProgrammingError:
                pass
            with self.assertRaises(ours.ProgrammingError):
                con.execute("select 1")

    def test_an_adapter_that_closes_or_shortens(self):
        con = ours.connect(":memory:")

        class Closing:
            def __conform__(self, protocol):
                con.close()
                return 1
        with self.assertRaises(ours.ProgrammingError):
            con.execute("select ?, ?", (Closing(), 2))

        parameters = []

        class Shortening:
            def __conform__(self, protocol):
                parameters.clear()
                return 1
        con = ours.connect(":memory:")
        parameters.extend([Shortening(), 2])
        with self.assertRaises(IndexError):
            con.execute("select ?, ?", parameters)
        con.close()

    def test_cycles_are_collected(self):
        con = ours.connect(":memory:")
        cursor = con.cursor()
        cursor.row_factory = lambda c, row, keep=cursor: row
        con.create_function("f", 0, lambda keep=con: 1)
        con.set_trace_callback(lambda sql, keep=cursor: None)
        gone = weakref.ref(cursor)
        con.close()
        del cursor, con
        gc.collect()
        self.assertIsNone(gone())

    def test_cursors_keep_their_connection(self):
        cursor = ours.connect(":memory:").execute("select 1 union all select 2")
        gc.collect()
        self.assertEqual(cursor.fetchall(), [(1,), (2,)])
        cursor.connection.close()

    def test_many_statements_leave_the_cache(self):
        con = ours.connect(":memory:", cached_statements=10)
        for i in range(200):
            self.assertEqual(con.execute("select %d" % (i % 30)).fetchone()[0], i % 30)
        con.close()

    def test_huge_texts_do_not_fill_the_cache(self):
        con = ours.connect(":memory:")
        for i in range(5):
            text = "select '%s', %d" % ("x" * 500000, i)
            self.assertEqual(con.execute(text).fetchone()[1], i)
        con.close()

    def test_init_again(self):
        con = ours.connect(":memory:")
        con.execute("create table t(a)")
        con.__init__(":memory:")
        with self.assertRaises(ours.OperationalError):
            con.execute("select * from t")
        con.close()

    def test_vectors_bind_as_float32(self):
        import struct
        con = ours.connect(":memory:")
        self.assertEqual(con.execute("select ?", ([1, 2.5],)).fetchone()[0], struct.pack("<2f", 1, 2.5))
        for bad in ([], [1, "x"], [[1]]):
            with self.assertRaises(ours.Error):
                con.execute("select ?", (bad,))
        con.close()


if __name__ == "__main__":
    unittest.main()
