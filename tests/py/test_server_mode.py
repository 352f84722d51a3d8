"""heliosdb_mode='server': the same connection and cursor over the wire. What can be done in both modes is done in both and compared."""
import datetime
import decimal
import gc
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import heliosdb_sqlite as helios

VALUES = [0, 1, -1, 2**63 - 1, -2**63, 1.5, -0.0, 0.1, 1e300, 5e-324, float("inf"), float("-inf"), float("nan"), "x", "", "a\0b", "é😀\n",
          b"", b"\0\1\xff", bytearray(b"ab"), memoryview(b"cd"), None, True, "x" * 100_000, b"y" * 300_000]


def outcome(action, *arguments):
    """What a call gave: its value, or its exception's class, code and words."""
    try:
        return repr(action(*arguments))
    except Exception as error:
        return (type(error), str(error), getattr(error, "sqlite_errorcode", None), getattr(error, "sqlite_errorname", None))


class ServerMode(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.path = os.path.join(self.directory, "app.db")
        self.server = helios.start_server(self.path, port=0, password="pw")
        self.addCleanup(self.server.stop)

    def connect(self, **kw):
        con = helios.connect(self.path, mode="server", server_port=self.server.port, server_password="pw", **kw)
        self.addCleanup(con.close)
        return con

    def both(self, **kw):
        """A connection of each mode, to databases that are as empty as each other."""
        local = helios.connect(os.path.join(self.directory, "local.db"), **kw)
        self.addCleanup(local.close)
        return self.connect(**kw), local

    def same(self, connections, action):
        wire, local = (outcome(action, con) for con in connections)
        self.assertEqual(wire, local)
        return wire

    def test_values_keep_their_types(self):
        pair = self.both()
        for con in pair:
            con.execute("create table t(i integer primary key, v)")
            con.executemany("insert into t(v) values(?)", [(v,) for v in VALUES])
            con.commit()
        self.same(pair, lambda c: c.execute("select i, v, typeof(v), length(v) from t").fetchall())
        self.same(pair, lambda c: [c.execute("select ?", (v,)).fetchone() for v in VALUES])
        wire = pair[0]
        self.assertEqual(math.copysign(1, wire.execute("select ?", (-0.0,)).fetchone()[0]), -1)
        self.assertIs(wire.execute("select ?", (float("nan"),)).fetchone()[0], None)
        self.same(pair, lambda c: c.execute("select ?", (2**63,)).fetchone())
        self.same(pair, lambda c: c.execute("select ?", (object(),)).fetchone())
        self.same(pair, lambda c: c.execute("select ?", ("\ud800",)).fetchone())
        for factory in (bytes, bytearray, lambda b: b[:3]):
            for con in pair:
                con.text_factory = factory
            self.same(pair, lambda c: c.execute("select v from t where typeof(v) = 'text'").fetchall())

    def test_errors_are_sqlites(self):
        pair = self.both()
        for con in pair:
            con.execute("pragma foreign_keys")
            con.executescript("create table p(a integer primary key, b unique not null check(b <> 'no')); create table s(x int) strict;"
                              "create table c(r references p(a)); insert into p values(1, 'x');")
        for sql, parameters in (("selec", ()), ("select * from nosuch", ()), ("select nosuch from p", ()), ("insert into p values(1, 'y')", ()),
                                ("insert into p values(2, 'x')", ()), ("insert into p values(2, null)", ()), ("insert into p values(2, 'no')", ()),
                                ("insert into s values('x')", ()), ("select ?, ?", (1,)), ("select :a", {}), ("select :a", (1,)), ("select 1; select 2", ()),
                                ("", ()), ("-- nothing", ()), ("select 'a", ()), ("select abs(-9223372036854775808)", ()),
                                ("select zeroblob(2000000000)", ()), ("commit", ()), ("rollback to x", ()), ("insert into c values(5)", ()),
                                ("select json('{')", ()), ("with recursive n(i) as (select 1 union all select i + 1 from n) select abs(i - 9223372036854775807 - 2) from n limit 3", ())):
            with self.subTest(sql):
                self.same(pair, lambda c: c.execute(sql, parameters).fetchall())
        self.same(pair, lambda c: c.execute("pragma foreign_keys").fetchall())

    def test_an_error_behind_rows_comes_behind_them(self):
        pair = self.both()

        def rows(con):
            found = []
            try:
                for row in con.execute("with recursive n(i) as (select 1 union all select i + 1 from n limit 500) select case when i < 300 then i else abs(-9223372036854775807 - 1) end from n"):
                    found.append(row)
            except helios.OperationalError as error:
                return len(found), str(error)
        self.assertIn("integer overflow", self.same(pair, rows))
        self.same(pair, lambda c: c.execute("select 1").fetchall())

    def test_counts_and_ids(self):
        pair = self.both()

        def story(con):
            told = []
            def tell(cursor):
                told.append((cursor.rowcount, cursor.lastrowid, con.total_changes, con.in_transaction, cursor.description))
            tell(con.execute("create table t(a integer primary key, b)"))
            tell(con.execute("insert into t(b) values(1)"))
            tell(con.executemany("insert into t(b) values(?)", [(i,) for i in range(10)]))
            tell(con.execute("update t set b = b + 1 where a > 5"))
            tell(con.execute("select * from t"))
            tell(con.execute("delete from t where a < 3"))
            con.rollback()
            tell(con.execute("insert into t(a, b) values(100, 1) returning a, b as c"))
            told.append(con.execute("insert into t(b) values(2), (3) returning *").fetchall())
            con.commit()
            tell(con.executescript("insert into t(b) values(7); update t set b = 0;"))
            tell(con.execute("replace into t values(100, 9)"))
            tell(con.execute("insert or ignore into t values(100, 9)"))
            told.append(con.execute("select count(*), sum(b) from t").fetchall())
            con.commit()
            return told
        self.same(pair, story)

    def test_executemany(self):
        for level in ("", None):
            with self.subTest(level):
                pair = self.both(isolation_level=level)

                def story(con):
                    told = []

                    def broken(n):
                        for i in range(n):
                            yield (i, i)
                        raise ZeroDivisionError("the iterator's own")

                    def tell(*arguments):
                        told.append(outcome(lambda: con.executemany(*arguments).rowcount))
                        told.append((con.in_transaction, con.execute("select count(*), sum(b) from t").fetchall()))
                        con.commit()
                    con.execute("drop table if exists t")
                    con.execute("create table t(a integer primary key, b)")
                    tell("insert into t values(?, ?)", ((i, i) for i in range(1300)))
                    tell("update t set b = b + ? where a < ?", [(1, 10), (2, 20), (3, 5000)])
                    tell("insert into t values(:a, :b)", [{"a": 5000, "b": 1}, {"a": 5001, "b": 2}])
                    tell("insert into t values(?, ?)", [(6000, 1), (6001, 1), (3, 1), (6002, 1)])  # the third is there
                    tell("insert into t values(?, ?)", [(7000, 1), (7001,), (7002, 1)])
                    tell("insert into t values(?, ?)", [(8000, 1), (8001, object()), (8002, 1)])
                    tell("insert or ignore into t values(?, ?)", broken(700))
                    tell("delete from t where a = ? returning a", [(1,), (2,)])
                    tell("insert into t values(?, ?)", [])
                    tell("insert into t(b) values(?)", [(bytes(50000),)] * 5)
                    tell("select ?", [(1,)])
                    return told
                self.same(pair, story)

    def test_cursors_interleave(self):
        pair = self.both()

        def story(con):
            con.execute("create table t(a)")
            con.executemany("insert into t values(?)", [(i,) for i in range(1000)])
            one, two = con.execute("select a from t"), con.execute("select -a from t order by a desc")
            rows = [(one.fetchone(), two.fetchone()) for _ in range(300)]
            con.execute("insert into t values(5000)")
            con.commit()
            rows += one.fetchmany(5) + [len(two.fetchall())]
            return rows, one.fetchone(), two.fetchone()
        self.same(pair, story)

    def test_queries_that_are_let_go(self):
        pair = self.both(isolation_level=None)

        def story(con):
            told = []
            con.execute("create table t(a)")
            con.executemany("insert into t values(?)", [(i,) for i in range(1000)])
            cursor = con.execute("select a from t")
            cursor.fetchone()
            for sql in ("drop table t", "vacuum", "pragma journal_mode", "begin", "commit", "detach m"):
                told.append((sql, outcome(lambda: con.execute(sql).fetchall())))
            cursor.close()
            told.append(outcome(lambda: con.execute("drop table t").fetchall()))
            con.execute("create table if not exists t(a integer primary key)")
            told.append(con.execute("insert into t values(1), (2), (3) returning a").fetchone())  # the rest is never asked for
            told.append(con.execute("select count(*) from t").fetchall())
            return told
        self.same(pair, story)

    def test_transactions_in_all_styles(self):
        for level in ("", "IMMEDIATE", "EXCLUSIVE", None):
            with self.subTest(level):
                pair = self.both(isolation_level=level)

                def story(con):
                    told = []
                    con.execute("create table if not exists t(a)")
                    told.append(con.in_transaction)
                    con.execute("insert into t values(1)")
                    told.append(con.in_transaction)
                    con.rollback()
                    told.append(con.execute("select count(*) from t").fetchone())
                    with con:
                        con.execute("insert into t values(2)")
                    try:
                        with con:
                            con.execute("insert into t values(3)")
                            raise ZeroDivisionError
                    except ZeroDivisionError:
                        pass
                    con.execute("begin")
                    con.execute("savepoint s")
                    con.execute("insert into t values(4)")
                    con.execute("rollback to s")
                    con.execute("commit")
                    told.append(con.execute("select a from t").fetchall())
                    con.execute("drop table t")
                    con.commit()
                    return told
                self.same(pair, story)
        if sys.version_info >= (3, 12):
            for autocommit in (True, False):
                pair = self.both(autocommit=autocommit)

                def story(con):
                    con.execute("create table u(a)")
                    con.execute("insert into u values(1)")
                    told = [con.in_transaction]
                    con.rollback()
                    told.append(outcome(lambda: con.execute("select * from u").fetchall()))
                    con.commit()
                    return told
                self.same(pair, story)

    def test_types_converters_and_adapters(self):
        pair = self.both(detect_types=helios.PARSE_DECLTYPES | helios.PARSE_COLNAMES)
        self.addCleanup(helios.converters.pop, "MONEY", None)
        helios.register_converter("money", lambda b: decimal.Decimal(b.decode()))

        class Point:
            def __conform__(self, protocol):
                return "1;2"

        def story(con):
            con.execute("create table t(d date, s timestamp, m money, v vector(2))")
            con.execute("insert into t values(?, ?, ?, ?)", (datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 1, 2, 3, 4), 12, "[1,2.5]"))
            con.execute("insert into t(d, m) values(null, 1.0), (null, 1e100), (null, 2.5), (null, 'NaN')")
            told = con.execute("select * from t").fetchall()
            told += con.execute("select m as 'x [money]', ? from t", (Point(),)).fetchall()
            con.row_factory = helios.Row
            row = con.execute("select d, m as M from t").fetchone()
            told.append((row.keys(), row["m"], row[0], isinstance(row, helios.Row)))
            con.row_factory = lambda cursor, values: {d[0]: v for d, v in zip(cursor.description, values)}
            told.append(con.execute("select 1 as a, 2 as b").fetchone())
            return told
        self.same(pair, story)

    def test_classes_may_be_derived_from(self):
        class Mine(helios.Connection):
            def hello(self):
                return self.execute("select 'hello'").fetchone()[0]

        class Cursor(helios.Cursor):
            def one(self):
                return self.fetchone()[0]

        con = self.connect(factory=Mine)
        self.assertIsInstance(con, helios.Connection)
        self.assertEqual(con.hello(), "hello")
        self.assertEqual(con.cursor(Cursor).execute("select 5").one(), 5)
        self.assertEqual(Cursor(con).execute("select 6").one(), 6)

    def test_what_a_server_cannot_do_names_the_mode(self):
        con = self.connect()
        calls = [lambda: con.create_function("f", 1, abs), lambda: con.create_aggregate("f", 1, list), lambda: con.create_collation("f", None),
                 lambda: con.set_authorizer(None), lambda: con.set_progress_handler(None, 1), lambda: con.set_trace_callback(None),
                 lambda: con.start_server(port=0), lambda: con.switch_to_server(0), lambda: helios.connect(":memory:").backup(con)]
        if sys.version_info >= (3, 11):
            calls += [lambda: con.blobopen("t", "a", 1), lambda: con.serialize(), lambda: con.deserialize(b""), lambda: con.create_window_function("f", 1, None)]
        for call in calls:
            with self.assertRaisesRegex(helios.NotSupportedError, r"\(\) is not supported with heliosdb_mode='server'"):
                call()
        for keyword in ({"as_of": 1}, {"encryption_key": b"x" * 32}, {"passphrase": "x"}, {"retention": 1}, {"mirror": True}, {"conflict_policy": "serializable"}):
            with self.assertRaisesRegex(helios.ProgrammingError, "has no meaning in this heliosdb_mode"):
                self.connect(**keyword)
        self.assertEqual(con.execute("select 1").fetchone(), (1,))

    def test_no_method_reaches_past_the_connection(self):
        con = self.connect()
        con.execute("create table t(a integer primary key, b)")
        con.commit()
        values = [(), (1,), ("x",), ("t", "b", 1), ("x", 1, abs), ("x", 1, None), (b"x" * 32,), (None,), (None, 1), (con,), ("t", "b", [1.0], 3)]
        for name in sorted(set(dir(con)) - set(dir(object)) - {"close"}):
            attribute = getattr(con, name, None)
            if callable(attribute) and not isinstance(attribute, type):
                for arguments in values:
                    outcome(lambda: list(attribute(*arguments)) if name == "iterdump" else attribute(*arguments))  # an error, or not; never the end
        con.rollback()
        with self.assertRaisesRegex(helios.NotSupportedError, r"^rekey\(\) is not supported with heliosdb_mode='server'$"):
            con.rekey(b"x" * 32)
        with self.assertRaises((helios.OperationalError, helios.ProgrammingError)):
            helios.start_server(os.path.join(self.directory, "no", "such"), port=0, encryption_key=con)
        self.assertEqual(con.execute("select 1").fetchone(), (1,))

    def test_dump_and_backup(self):
        con = self.connect()
        con.executescript("create table t(a integer primary key, b text); create index i on t(b); create view v as select b from t;"
                          "create trigger g after insert on t begin select 1; end;")
        con.executemany("insert into t(b) values(?)", [("row %d" % i,) for i in range(3000)])
        con.commit()
        local = helios.connect(self.path)
        self.assertEqual(list(con.iterdump()), list(local.iterdump()))
        copy, seen = helios.connect(":memory:"), []
        con.backup(copy, pages=10, progress=lambda *a: seen.append(a))
        self.assertEqual(list(copy.iterdump()), list(local.iterdump()))
        self.assertEqual((seen[-1][0], seen[-1][1], len(seen) > 2), (101, 0, True))
        file = os.path.join(self.directory, "copy.db")
        target = helios.connect(file)
        con.backup(target=target, name="main")
        target.close()
        stock = subprocess.run([sys.executable, "-c", f"import sqlite3; print(sqlite3.connect({file!r}).execute('select count(*) from t').fetchone())"], capture_output=True, text=True)
        self.assertEqual(stock.stdout, "(3000,)\n")
        for bad in (None, 5):
            with self.assertRaises(TypeError):
                con.backup(bad)

    def test_interrupt(self):
        con = self.connect(check_same_thread=False)
        con.interrupt()  # nothing runs: nothing happens
        self.assertEqual(con.execute("select 1").fetchone(), (1,))
        for delay in (0, 0.001, 0.05):
            timer = threading.Timer(delay, con.interrupt)
            started = []

            def work():
                started.append(1)
                return con.execute("with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n").fetchone()
            thread = threading.Thread(target=lambda: started.append(outcome(work)))
            thread.start()
            while not started:
                pass
            time.sleep(0.01)
            timer.start()
            thread.join(20)
            self.assertEqual(started[-1][:2], (helios.OperationalError, "interrupted"))
            self.assertEqual(con.execute("select 2").fetchone(), (2,))
        cursor = con.execute("with recursive n(i) as (select 1 union all select i + 1 from n) select i from n")
        cursor.fetchone()
        con.interrupt()
        with self.assertRaisesRegex(helios.OperationalError, "interrupted"):
            cursor.fetchone()
        self.assertEqual(con.execute("select 3").fetchone(), (3,))

    def test_threads_share_a_connection(self):
        con = self.connect(check_same_thread=False, isolation_level=None)
        con.execute("create table t(a)")
        errors = []

        def work():
            try:
                for i in range(50):
                    con.execute("insert into t values(?)", (i,))
                    con.execute("select count(*) from t").fetchone()
            except Exception as error:
                errors.append(error)
        threads = [threading.Thread(target=work) for _ in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual((errors, con.execute("select count(*) from t").fetchone()), ([], (200,)))

    def test_a_forked_child_has_a_connection_of_its_own(self):
        con = self.connect()
        con.execute("create table t(a)")
        con.commit()
        cached = con.execute("select count(*) from t")
        self.assertEqual(cached.fetchall(), [(0,)])
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                con.execute("insert into t values(1)")
                con.commit()
                code = 0 if con.execute("select count(*) from t").fetchone() == (1,) else 2
                con.close()
            finally:
                os._exit(code)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        for _ in range(3):
            self.assertEqual(con.execute("select count(*) from t").fetchone(), (1,))
            con.execute("insert into t values(2)")
            con.rollback()

    def test_branches(self):
        con = self.connect()
        con.execute("create table t(a)")
        con.commit()
        branch = con.create_branch("dev")
        dev = branch.connect()
        self.addCleanup(dev.close)
        self.assertEqual((con.branch, dev.branch), ("main", "dev"))
        dev.execute("insert into t values(1)")
        dev.commit()
        self.assertGreater(dev.last_commit_timestamp, 0)
        self.assertEqual(con.execute("select count(*) from t").fetchone(), (0,))
        self.assertEqual(self.connect(branch="dev").execute("select count(*) from t").fetchone(), (1,))
        self.assertEqual(con.merge_branch("dev").inserted, 1)
        con.switch_branch("dev")
        self.assertEqual(con.branch, "dev")
        with self.assertRaisesRegex(helios.OperationalError, "no such branch: nosuch"):
            self.connect(branch="nosuch")

    def test_conflicts_say_where(self):
        wire = self.connect(isolation_level=None)
        local = helios.connect(self.path, isolation_level=None)
        wire.execute("create table t(a integer primary key, b)")
        wire.execute("insert into t values(1, 0)")
        wire.execute("begin")
        wire.execute("update t set b = (select 5) where a = 1 returning b").fetchall()
        local.execute("update t set b = 7, a = 2")
        with self.assertRaises(helios.OperationalError) as caught:
            wire.execute("commit")
        self.assertEqual(str(caught.exception), "database is locked")
        self.assertEqual(caught.exception.conflict_table, "t")
        self.assertTrue(wire.in_transaction)
        wire.rollback()
        self.assertEqual(wire.execute("select * from t").fetchall(), [(2, 7)])

    def test_limits_settings_and_locks(self):
        con = self.connect(timeout=0.1)
        if sys.version_info >= (3, 11):
            before = con.getlimit(helios.SQLITE_LIMIT_SQL_LENGTH)
            self.assertEqual(con.setlimit(helios.SQLITE_LIMIT_SQL_LENGTH, 20), before)
            self.assertEqual(con.getlimit(helios.SQLITE_LIMIT_SQL_LENGTH), 20)
            with self.assertRaises(helios.DataError):
                con.execute("select 'more than twenty bytes'")
            con.setlimit(helios.SQLITE_LIMIT_SQL_LENGTH, before)
        other = self.connect(isolation_level=None)
        other.execute("create table t(a)")
        other.execute("begin immediate")
        with self.assertRaisesRegex(helios.OperationalError, "database is locked"):
            con.execute("begin immediate")
        other.execute("rollback")
        con.checkpoint()

    def test_addresses(self):
        dsn = self.server.dsn
        for keywords in ({"dsn": dsn}, {"dsn": f"host=127.0.0.1 port={self.server.port} user=helios dbname=app", "server_password": "pw"},
                         {"server_port": self.server.port, "server_password": "pw", "server_database": "postgres"}):
            con = helios.connect("app.db" if "dsn" not in keywords else "anything", heliosdb_mode="daemon", **keywords)
            self.assertEqual(con.execute("select 1").fetchone(), (1,))
            con.close()
        for keywords, words in (({"server_password": "wrong"}, "password authentication failed"), ({"server_password": ""}, "password"),
                                ({"server_user": "other"}, "password authentication failed"), ({"server_database": "nosuch"}, 'database "nosuch" does not exist')):
            with self.assertRaisesRegex(helios.OperationalError, words):
                helios.connect("app.db", mode="server", **{"server_port": self.server.port, "server_password": "pw", **keywords})

    def test_the_servers_end_is_an_error(self):
        con = self.connect()
        con.execute("create table t(a)")
        con.execute("insert into t values(1)")
        self.server.stop()
        for _ in range(2):
            with self.assertRaises(helios.OperationalError):
                con.execute("select 1")
        con.close()
        with self.assertRaises(helios.ProgrammingError):
            con.execute("select 1")

    def test_many_statements_are_let_go(self):
        con = self.connect(cached_statements=5)
        for i in range(300):
            self.assertEqual(con.execute(f"select {i}").fetchone(), (i,))
        cursors = [con.execute("select 1 union select 2") for _ in range(50)]
        self.assertEqual({c.fetchone() for c in cursors}, {(1,)})
        del cursors
        gc.collect()
        con.execute("create table t(a)")
        con.execute("drop table t")

    def test_a_changed_schema_is_seen(self):
        one, two = self.connect(), self.connect()
        one.execute("create table t(a)")
        one.execute("insert into t values(1)")
        one.commit()
        self.assertEqual(two.execute("select * from t").fetchall(), [(1,)])
        one.execute("alter table t add column b default 5")
        one.commit()
        cursor = two.execute("select * from t")
        self.assertEqual(([d[0] for d in cursor.description], cursor.fetchall()), (["a", "b"], [(1, 5)]))

    def test_installed_as_sqlite3(self):
        text = ("import heliosdb_sqlite; heliosdb_sqlite.install_as_sqlite3(); import sqlite3, sys\n"
                f"con = sqlite3.connect('app.db', dsn={self.server.dsn!r}, heliosdb_mode='server')\n"
                "assert 'heliosdb_sqlite._wire' in sys.modules\nprint(con.execute('select 42').fetchone())")
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
        self.assertEqual((done.stdout, done.stderr), ("(42,)\n", ""))
        done = subprocess.run([sys.executable, "-c", "import heliosdb_sqlite, sys; heliosdb_sqlite.connect(':memory:'); print('heliosdb_sqlite._wire' in sys.modules)"], capture_output=True, text=True)
        self.assertEqual(done.stdout, "False\n")

    def test_tls(self):
        key, cert = (os.path.join(self.directory, n) for n in ("key.pem", "cert.pem"))
        made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "1", "-subj", "/CN=localhost",
                               "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], capture_output=True)
        self.assertEqual(made.returncode, 0, made.stderr)
        with helios.start_server(self.path, port=0, password="pw", tls_cert=cert, tls_key=key) as server:
            for more in (f" sslmode=verify-full sslrootcert={cert}", " sslmode=require"):
                con = helios.connect("x", mode="server", dsn=f"host=127.0.0.1 port={server.port} user=helios password=pw dbname=app" + more)
                self.assertEqual(con.execute("select length(?)", ("x" * 1_000_000,)).fetchone(), (1_000_000,))
                con.close()
        with self.assertRaisesRegex(helios.OperationalError, "SSL"):
            helios.connect("x", mode="server", dsn=f"{self.server.dsn}?sslmode=require")


if __name__ == "__main__":
    unittest.main()
