"""helios-server as a program: flags, password files, limits, signals, metrics, logs."""
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import stat
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

from client import BINARY, Client, Gone, ServerError, ServerProcess, text

ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"


class Program(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.path = os.path.join(self.directory, "app.db")

    def server(self, *flags, **kw):
        server = ServerProcess(self.path, *flags, **kw)
        server.__enter__()
        self.addCleanup(server.stop)
        return server

    def run_tool(self, *arguments, **kw):
        return subprocess.run([str(BINARY), *arguments], capture_output=True, text=True, timeout=30, **kw)

    def log(self):
        return pathlib.Path(self.path + ".log").read_text()

    def fails(self, sqlstate, call, *arguments):
        with self.assertRaises(ServerError) as caught:
            call(*arguments)
        self.assertEqual(caught.exception.sqlstate, sqlstate)

    # ---- flags ----
    def test_wrong_usage(self):
        for arguments in ((), ("--nosuch", "a.db"), ("a.db", "b.db"), ("--port", "x", "a.db"), ("--port", "70000", "a.db"), ("--port", "-1", "a.db"),
                          ("--log-format", "xml", "a.db"), ("--max-connections", "", "a.db"), ("passwd",), ("passwd", "file"), ("passwd", "file", "a:b")):
            done = self.run_tool(*arguments, cwd=self.directory)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertTrue(done.stderr)
        for arguments in (("--auth", "nosuch", self.path), ("--tls-cert", "/nosuch", self.path), ("--password-file", "/nosuch", self.path), ("--listen", "300.1.1.1", self.path),
                          ("--branch", "nosuch", self.path), ("--socket-dir", "/nosuch", "--port", "0", self.path), (os.path.join(self.directory, "no", "such.db"),)):
            done = self.run_tool(*arguments)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertIn("helios-server: ", done.stderr)
        self.assertEqual(self.run_tool("--help").returncode, 0)
        self.assertIn("helios-server", self.run_tool("--version").stdout)

    def test_password_file(self):
        file = os.path.join(self.directory, "users")
        for user, password, flags in (("ann", "one", ()), ("ben", "two", ("--md5",)), ("ann", "three", ())):
            done = self.run_tool("passwd", *flags, file, user, input=password + "\n")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(stat.S_IMODE(os.stat(file).st_mode), 0o600)
        lines = pathlib.Path(file).read_text().splitlines()
        self.assertEqual([line.split(":")[0] for line in lines], ["ann", "ben"])
        self.assertNotIn("three", "".join(lines))
        self.assertEqual(self.run_tool("passwd", file, "carl", input="\n").returncode, 1)
        server = self.server("--password-file", file)
        with server.client(user="ann", password="three") as client:
            self.assertEqual(client.query("select current_user").rows, [("ann",)])
        for user, password in (("ann", "one"), ("ben", "two"), ("carl", ""), ("helios", "")):  # md5 is no answer to SCRAM
            self.fails("28P01", lambda: server.client(user=user, password=password))
        server.stop()
        server = self.server("--password-file", file, "--auth", "password")
        for user, password in (("ann", "three"), ("ben", "two")):
            server.client(user=user, password=password).close()
        server.stop()
        self.assertEqual(self.run_tool("passwd", "--delete", file, "ann").returncode, 0)
        server = self.server("--password-file", file, "--auth", "md5")
        server.client(user="ben", password="two").close()
        self.fails("28P01", lambda: server.client(user="ann", password="three"))

    def test_database_names(self):
        server = self.server("--password", "pw")
        with server.client(password="pw") as client:
            client.query("create table t(a int)")
            client.query("create branch dev")
            for name in ("app", "helios", "postgres"):
                with server.client(password="pw", database=name + "@dev") as other:
                    other.query("insert into t values(1)")
            self.assertEqual(client.query("select count(*) from t").rows, [("0",)])
        for name in ("nosuch", "app2", "app@nosuch", "app.db", ""):
            if name:
                with self.assertRaises(ServerError, msg=name):
                    server.client(password="pw", database=name)
        self.fails("3D000", lambda: server.client(password="pw", database="nosuch"))
        server.stop()
        server = self.server("--password", "pw", "--branch", "dev")
        with server.client(password="pw") as client:
            self.assertEqual(client.query("select count(*) from t").rows, [("3",)])

    # ---- limits ----
    def test_statement_timeout(self):
        server = self.server("--password", "pw", "--statement-timeout", "100")
        with server.client(password="pw") as client:
            started = time.monotonic()
            self.fails("57014", client.query, ENDLESS)
            self.assertLess(time.monotonic() - started, 5)
            self.assertEqual(client.query("select 1").rows, [("1",)])
            client.query("set statement_timeout = 0")
            self.assertEqual(client.query("select 1").rows, [("1",)])
            client.query("set statement_timeout = '50ms'")
            self.fails("57014", client.query, ENDLESS)

    def test_memory_of_a_statement(self):
        server = self.server("--password", "pw", "--memory-limit", "32")
        with server.client(password="pw") as client:
            before = server.rss_kb()
            for sql in ("select length(string_agg(repeat('x', 1000), ',')) from generate_series(1, 200000)", "select repeat('x', 100000000)",
                        "with recursive n(i) as (select 1 union all select i + 1 from n limit 20000000) select json_group_array(i) from n", "select '" + "y" * 40_000_000 + "'"):
                self.fails("53200", client.query, sql)
                self.assertEqual(client.query("select 1").rows, [("1",)])
            self.assertLess(server.rss_kb() - before, 200_000)
            rows = client.query("with recursive n(i) as (select 1 union all select i + 1 from n limit 300000) select i, 'some text that has a length' from n").rows
            self.assertEqual(len(rows), 300000)  # what streams is not kept
            client.query("create table t(a int, b text)")
            self.assertEqual(client.query("insert into t with recursive n(i) as (select 1 union all select i + 1 from n limit 50000) select i, 'text' from n").tag, "INSERT 0 50000")

    def test_idle_timeout(self):
        server = self.server("--password", "pw", "--idle-timeout", "200")
        client = server.client(password="pw")
        client.query("create table t(a int)")
        client.query("begin; insert into t values(1)")
        self.fails("57P05", client.until_ready)
        with server.client(password="pw") as client:
            self.assertEqual(client.query("select count(*) from t").rows, [("0",)])

    # ---- the end ----
    def test_sigterm(self):
        server = self.server("--password", "pw")
        idle, busy, open_block = (server.client(password="pw") for _ in range(3))
        idle.query("create table t(a int)")
        idle.query("insert into t values(1)")
        open_block.query("begin; insert into t values(2)")
        busy.send(b"Q", text(ENDLESS))
        server.process.send_signal(signal.SIGTERM)
        for client in (idle, busy, open_block):
            with self.assertRaises((ServerError, Gone)) as caught:
                client.until_ready()
            if isinstance(caught.exception, ServerError):
                self.assertEqual(caught.exception.sqlstate, "57P01")
        self.assertEqual(server.process.wait(20), 0)
        self.assertEqual(sqlite3.connect(self.path).execute("select a from t").fetchall(), [(1,)])  # checkpointed: SQLite reads it
        with self.assertRaises(OSError):
            server.client(password="pw")

    def test_sigterm_finishes_what_is_nearly_done(self):
        server = self.server("--password", "pw")
        client = server.client(password="pw")
        client.query("create table t(a int)")
        client.send(b"Q", text("insert into t with recursive n(i) as (select 1 union all select i + 1 from n limit 300000) select i from n"))
        time.sleep(0.05)
        server.process.send_signal(signal.SIGTERM)
        try:
            self.assertEqual(client.until_ready().tag, "INSERT 0 300000")
        except Gone:
            pass
        self.assertEqual(server.process.wait(20), 0)
        self.assertEqual(sqlite3.connect(self.path).execute("select count(*) from t").fetchall(), [(300000,)])

    def test_sigint_and_hosts_of_stopped_clients(self):
        server = self.server("--password", "pw")
        client = server.client(password="pw")
        client.send(b"Q", text("with recursive n(i) as (select 1 union all select i + 1 from n) select i, 'text' from n"))  # nobody reads
        time.sleep(0.2)
        server.process.send_signal(signal.SIGINT)
        self.assertEqual(server.process.wait(20), 0)
        client.abort()

    def test_cancel(self):
        server = self.server("--password", "pw")
        with server.client(password="pw") as client, server.client(password="pw") as other:
            client.send(b"Q", text(ENDLESS))
            other.key = other.key[:4] + b"\0\0\0\0"  # a guessed secret cancels nobody
            other.cancel()
            threading.Timer(0.1, client.cancel).start()
            self.fails("57014", client.until_ready)
            self.assertEqual(client.query("select 1").rows, [("1",)])
            client.cancel()  # nothing runs
            self.assertEqual(client.query("select 2").rows, [("2",)])

    # ---- what is told ----
    def get(self, server, path, method="GET"):
        port = [line for line in server.lines if "metrics on" in line][0].rsplit(":", 1)[1].split("/")[0]
        try:
            with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method), timeout=10) as r:
                return r.status, r.headers["content-type"], r.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["content-type"], error.read().decode()

    def test_metrics_and_health(self):
        server = self.server("--metrics-port", "0")
        with server.client() as client:
            for _ in range(5):
                client.query("select 1")
            with self.assertRaises(ServerError):
                client.query("select nosuch")
            with self.assertRaises(ServerError):
                server.client(password="wrong")
            status, kind, body = self.get(server, "/metrics")
            self.assertEqual((status, kind), (200, "text/plain; version=0.0.4; charset=utf-8"))
            values = {}
            for line in body.splitlines():
                if not line.startswith("#"):
                    name, value = line.split()
                    values[name] = float(value)
                else:
                    self.assertRegex(line, r"^# (HELP helios_\w+ .+|TYPE helios_\w+ (gauge|counter))$")
            self.assertEqual((values["helios_up"], values["helios_connections"], values["helios_authentication_failures_total"]), (1, 1, 1))
            self.assertGreaterEqual(values["helios_statements_total"], 6)
            self.assertGreaterEqual(values["helios_errors_total"], 1)
            for name in ("sent_bytes_total", "received_bytes_total", "statement_seconds_total", "resident_memory_bytes", "uptime_seconds"):
                self.assertGreater(values["helios_" + name], 0, name)
        self.assertEqual(self.get(server, "/health"), (200, "text/plain; charset=utf-8", "ok\n"))
        self.assertEqual(self.get(server, "/health", "HEAD")[2], "")
        self.assertEqual(self.get(server, "/health?verbose")[0], 200)
        self.assertEqual(self.get(server, "/nosuch")[0], 404)
        self.assertEqual(self.get(server, "/metrics", "POST")[0], 405)

    def test_log_is_json_without_values(self):
        server = self.server("--log-format", "json")
        with server.client() as client:
            client.query("create table t(a text)")
            client.query("insert into t values('a s3cret value')")
            with self.assertRaises(ServerError):
                client.query("select * from t where nosuch = 'a s3cret value'")
        self.fails("28P01", lambda: server.client(password="a s3cret value"))
        self.fails("28P01", lambda: server.client(user='quo"te\n\x1b[31m', password="x"))
        server.stop()
        events = [json.loads(line) for line in self.log().splitlines()]
        self.assertEqual([e["event"] for e in events if e["event"] in ("listening", "stopping", "stopped")], ["listening", "stopping", "stopped"])
        self.assertIn("connected", [e["event"] for e in events])
        self.assertEqual([e["user"] for e in events if e["event"] == "authentication failed"], ["helios", 'quo"te\n\x1b[31m'])
        self.assertTrue(all(set(e) >= {"time", "level", "event"} for e in events))
        self.assertNotIn("s3cret", self.log())
        self.assertNotIn(server.password, self.log())

    def test_a_unix_socket(self):
        server = self.server("--socket-dir", self.directory)
        socket_path = pathlib.Path(self.directory, f".s.PGSQL.{server.port}")
        self.assertTrue(socket_path.is_socket())
        with Client(self.directory, server.port, "me") as client:
            self.assertEqual(client.query("select 1").rows, [("1",)])
        server.stop()
        self.assertFalse(socket_path.exists())


if __name__ == "__main__":
    unittest.main()
