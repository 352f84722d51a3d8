"""The wire server as a part of the process: start_server(), hybrid connections, both kinds of clients on one database."""
import gc
import os
import pathlib
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "wire"))
from client import Client, Gone, ServerError  # noqa: E402

import heliosdb_sqlite as helios  # noqa: E402


class HybridTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        self.path = os.path.join(directory, "app.db")

    def client(self, server, **kw):
        kw.setdefault("password", self.password_of(server))
        client = Client(server.host, server.port, database="app", **kw)
        self.addCleanup(client.close)
        return client

    @staticmethod
    def password_of(server):
        return re.match(r"postgresql://helios:([^@]*)@127\.0\.0\.1:\d+/app$", server.dsn).group(1)

    def test_local_and_wire_see_each_others_commits(self):
        with helios.connect(self.path) as con, con.start_server(port=0) as server:
            client = self.client(server)
            con.execute("create table t(a integer primary key, b)")
            con.commit()
            for i in range(200):
                con.execute("insert into t values(?, 'local')", (2 * i,))
                con.commit()
                self.assertEqual(client.query("select count(*), max(a) from t").rows, [(str(2 * i + 1), str(2 * i))])
                client.query(f"insert into t values({2 * i + 1}, 'wire')")
                self.assertEqual(con.execute("select count(*), max(a) from t").fetchone(), (2 * i + 2, 2 * i + 1))
        con.close()

    def test_no_password_given_is_a_random_one(self):
        with helios.start_server(self.path, port=0) as server:
            password = self.password_of(server)
            self.assertGreaterEqual(len(password), 20)
            file = pathlib.Path(server.password_file)
            self.assertEqual(file.parent, pathlib.Path(self.path + "-helios"))
            self.assertEqual((file.read_text().strip(), stat.S_IMODE(file.stat().st_mode)), (password, 0o600))
            for wrong in (None, "", "wrong", password[:-1], password + "x"):
                with self.assertRaises(ServerError) as caught:
                    self.client(server, password=wrong)
                self.assertEqual(caught.exception.sqlstate, "28P01")
            with helios.start_server(self.path, port=0) as other:
                self.assertNotEqual(self.password_of(other), password)
            self.assertEqual(self.client(server).query("select 1").rows, [("1",)])
        self.assertFalse(file.exists())

    def test_limits(self):
        with helios.start_server(self.path, port=0, statement_timeout=0.1, max_connections=1, memory_limit=16, metrics_port=0) as server:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/health") as answer:
                self.assertEqual(answer.read(), b"ok\n")
            client = self.client(server)
            for sql, sqlstate in (("with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n", "57014"), ("select repeat('x', 50000000)", "53200")):
                with self.assertRaises(ServerError) as caught:
                    client.query(sql)
                self.assertEqual(caught.exception.sqlstate, sqlstate)
            with self.assertRaises(ServerError) as caught:
                self.client(server)
            self.assertEqual(caught.exception.sqlstate, "53300")

    def test_doors_stay_shut(self):
        for keywords in ({"auth": "trust", "host": "0.0.0.0"}, {"auth": "nosuch"}, {"password": ""}, {"tls_cert": "/nosuch"},
                         {"host": "not an address"}, {"password_file": "/nosuch"}):
            with self.assertRaises(helios.OperationalError, msg=keywords):
                helios.start_server(self.path, port=0, **keywords)
        for keywords in ({"port": -1}, {"port": 65536}, {"port": "5432"}):
            with self.assertRaises(helios.ProgrammingError, msg=keywords):
                helios.start_server(self.path, **keywords)
        with self.assertRaises(TypeError):
            helios.start_server(self.path, nosuch=1)
        with self.assertRaises(helios.OperationalError):
            helios.start_server(":memory:", port=0)

    def test_every_method_refuses_wrong_and_empty_passwords(self):
        for auth in ("scram-sha-256", "md5", "password"):
            with self.subTest(auth), helios.start_server(self.path, port=0, auth=auth, password="s3cret") as server:
                for wrong in ("", "S3cret", "s3cret "):
                    with self.assertRaises(ServerError) as caught:
                        self.client(server, password=wrong)
                    self.assertEqual(caught.exception.sqlstate, "28P01")
                with self.assertRaises(ServerError):
                    self.client(server, password="s3cret", user="other")
                self.assertEqual(self.client(server, password="s3cret").query("select 1").rows, [("1",)])

    def test_hybrid_connection(self):
        con = helios.connect(self.path, heliosdb_mode="hybrid", server_port=0, server_password="pw")
        self.assertTrue(con.server.running)
        self.assertEqual(con.server.dsn, f"postgresql://helios:pw@127.0.0.1:{con.server.port}/app")
        con.execute("create table t(a)")
        con.execute("insert into t values(1)")
        con.commit()
        client = self.client(con.server, password="pw")
        self.assertEqual(client.query("select a from t").rows, [("1",)])
        with self.assertRaises(helios.ProgrammingError):
            con.start_server(port=0)
        server = con.server
        con.close()
        self.assertFalse(server.running)
        with self.assertRaises((Gone, ServerError, OSError)):
            client.query("select 1")
        stock = subprocess.run([sys.executable, "-c", f"import sqlite3; print(sqlite3.connect({self.path!r}).execute('select a from t').fetchall())"],
                               capture_output=True, text=True)
        self.assertEqual(stock.stdout, "[(1,)]\n")

    def test_a_port_in_use_leaves_nothing_open(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with self.assertRaisesRegex(helios.OperationalError, "address already in use"):
                helios.connect(self.path, mode="hybrid", server_port=taken.getsockname()[1])
        helios.connect(self.path).close()

    def test_an_encrypted_database(self):
        key = os.urandom(32)
        con = helios.connect(self.path, encryption_key=key, mode="hybrid", server_port=0)
        con.execute("create table t(a)")
        con.execute("insert into t values('s3cret')")
        con.commit()
        self.assertEqual(self.client(con.server).query("select a from t").rows, [("s3cret",)])
        con.close()
        with helios.start_server(self.path, port=0, encryption_key=key.hex()) as server:
            self.assertEqual(self.client(server).query("select a from t").rows, [("s3cret",)])
        for keywords in ({}, {"encryption_key": os.urandom(32)}, {"passphrase": "x"}):
            with self.assertRaises(helios.OperationalError):
                helios.start_server(self.path, port=0, **keywords)
        for bad in ("zz", b"short"):
            with self.assertRaisesRegex(helios.ProgrammingError, "^encryption_key must be 32 bytes or 64 hex digits$"):
                helios.start_server(self.path, port=0, encryption_key=bad)

    def test_switch_to_server(self):
        con = helios.connect(self.path)
        self.assertIsNone(con.server)
        server = con.switch_to_server(0, password="x")
        self.assertIs(con.server, server)
        self.assertEqual(self.client(server, password="x").query("select 2").rows, [("2",)])
        server.stop()
        server.stop()
        self.assertTrue(server.wait())
        self.assertIn("stopped", repr(server))
        second = con.start_server(port=0, password="x")
        self.assertEqual(self.client(second, password="x").query("select 3").rows, [("3",)])
        con.close()

    def test_the_branch_is_the_connections(self):
        con = helios.connect(self.path)
        con.execute("create table t(a)")
        con.commit()
        con.create_branch("dev")
        con.switch_branch("dev")
        con.execute("insert into t values(1)")
        con.commit()
        with con.start_server(port=0) as server:
            self.assertEqual(self.client(server).query("select count(*) from t").rows, [("1",)])
            client = Client(server.host, server.port, password=self.password_of(server), database="app@main")
            self.assertEqual(client.query("select count(*) from t").rows, [("0",)])
            client.close()
        con.close()

    def test_stopping_ends_idle_clients_at_once_and_running_ones_soon(self):
        server = helios.start_server(self.path, port=0)
        idle, busy = self.client(server), self.client(server)
        busy.send(b"Q", b"with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n\0")
        started = time.monotonic()
        server.stop()
        self.assertLess(time.monotonic() - started, 10)
        for client in (idle, busy):
            with self.assertRaises((ServerError, Gone)) as caught:
                client.until_ready()
            if isinstance(caught.exception, ServerError):
                self.assertEqual(caught.exception.sqlstate, "57P01")
        server = helios.start_server(self.path, port=0)
        clients = [self.client(server) for _ in range(3)]
        started = time.monotonic()
        server.stop()
        self.assertLess(time.monotonic() - started, 1)
        self.assertEqual(len(clients), 3)

    def test_dropped_servers_stop(self):
        server = helios.start_server(self.path, port=0)
        port = server.port
        del server
        gc.collect()
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", port), 1)

    def script(self, text, **kw):
        return subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", text], capture_output=True, text=True, timeout=60, env={**os.environ, "PATH_OF_DB": self.path}, **kw)

    def test_the_interpreter_ends_cleanly_while_serving(self):
        head = "import heliosdb_sqlite as h, os\npath = os.environ['PATH_OF_DB']\n"
        for text in ("s = h.start_server(path, port=0)", "c = h.connect(path, mode='hybrid', server_port=0)\nc.execute('create table if not exists t(a)')",
                     "c = h.connect(path, mode='hybrid', server_port=0)\nimport sys\nsys.exit(0)",
                     "s = h.start_server(path, port=0)\nimport socket\nx = socket.create_connection((s.host, s.port))"):
            done = self.script(head + text)
            self.assertEqual((done.returncode, done.stderr), (0, ""), text)
        self.assertEqual([n for n in os.listdir(self.path + "-helios") if n.startswith("password")], [])

    def test_a_forked_child_is_free_of_the_server(self):
        done = self.script("""
import heliosdb_sqlite as h, os, socket, sys, time
path = os.environ['PATH_OF_DB']
con = h.connect(path, mode='hybrid', server_port=0)
con.execute('create table t(a)'); con.commit()
client = socket.create_connection((con.server.host, con.server.port))
server, (r, w), (r2, w2) = con.server, os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    os.close(w2)
    assert not server.running
    server.stop(); server.wait()
    os.write(w, b'1')
    os.read(r2, 1)     # until the parent has stopped its server
    try:
        socket.create_connection((server.host, server.port), 2)
        code = 3       # the child kept the port open
    except OSError:
        code = 0
    other = h.connect(path + '2')
    other.execute('create table t(a)'); other.commit(); other.close()
    os._exit(code)
os.close(r2)
os.read(r, 1)
assert server.running
server.stop()
client.settimeout(10)
assert client.recv(1) == b''   # closed although the child had a copy
os.close(w2)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if hasattr(os, 'waitstatus_to_exitcode') else os.waitpid(pid, 0)[1]
con.execute('insert into t values(1)'); con.commit()
assert con.execute('select count(*) from t').fetchone() == (1,)
con.close()
sys.exit(code)
""")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_signals_reach_the_program(self):
        done = self.script("""
import heliosdb_sqlite as h, os, signal, threading
s = h.start_server(os.environ['PATH_OF_DB'], port=0)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    s.wait()
except KeyboardInterrupt:
    print('interrupted')
s.stop()
""")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "interrupted\n", ""))

    def test_many_threads_and_wire_clients_count_together(self):
        con = helios.connect(self.path, mode="hybrid", server_port=0)
        con.execute("create table n(n)")
        con.execute("insert into n values(0)")
        con.commit()
        errors = []

        def local():
            try:
                mine = helios.connect(self.path, isolation_level=None, timeout=30)
                for _ in range(100):
                    mine.execute("update n set n = n + 1")
                mine.close()
            except Exception as error:
                errors.append(error)

        def wire():
            try:
                client = Client(con.server.host, con.server.port, password=self.password_of(con.server), database="app")
                for _ in range(100):
                    client.query("update n set n = n + 1")
                client.close()
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=t) for t in (local, wire) * 3]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual(errors, [])
        self.assertEqual(con.execute("select n from n").fetchone(), (600,))
        con.close()


if __name__ == "__main__":
    unittest.main()
