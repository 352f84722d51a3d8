"""What clients must not do: the error goes to them, their work is rolled back, memory stays bounded, the others never notice.

HELIOS_WIRE_LONG=1 runs the counts of the promise (ten thousand connects, a thousand idle connections) instead of a tenth.
"""
import os
import pathlib
import random
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from client import BINARY, Client, Gone, ServerError, ServerProcess, message, startup, text

LONG = os.environ.get("HELIOS_WIRE_LONG") == "1"
SEED = int(os.environ.get("HELIOS_SEED", "1"))


class BadInput(unittest.TestCase):
    """All share one server, and at the end of each a bystander's session must still be well."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp()
        cls.server = ServerProcess(os.path.join(cls.directory, "app.db"), "--password", "pw", "--max-connections", "1100").__enter__()
        cls.bystander = cls.server.client(password="pw")
        cls.bystander.query("create table seen(a int primary key); create table t(a int primary key, b text)")
        cls.turn = 0

    @classmethod
    def tearDownClass(cls):
        cls.bystander.close()
        cls.server.__exit__(None, None, None)
        shutil.rmtree(cls.directory, ignore_errors=True)

    def tearDown(self):
        type(self).turn += 1
        self.bystander.query(f"insert into seen values({self.turn})")
        self.assertEqual(self.bystander.query("select count(*) from seen").rows, [(str(self.turn),)])
        self.assertIsNone(self.server.process.poll())

    def client(self, **kw):
        client = self.server.client(**{"password": "pw", **kw})
        self.addCleanup(client.close)
        return client

    def raw(self, data, wait=True, timeout=10):
        """Bytes on a new connection; what came back until it was closed."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout) as s:
            try:
                s.sendall(data)
                if not wait:
                    return b""
                s.shutdown(socket.SHUT_WR)
                answer = b""
                while part := s.recv(65536):
                    answer += part
                return answer
            except (ConnectionResetError, BrokenPipeError):
                return b""

    def refused(self, client, sqlstate):
        """The next answer is an error, and the session ends."""
        with self.assertRaises((ServerError, Gone)) as caught:
            while True:
                client.until_ready()
        if isinstance(caught.exception, ServerError):
            self.assertEqual(caught.exception.sqlstate, sqlstate)
            with self.assertRaises((Gone, ServerError)):
                client.query("select 1")

    # ---- the first message ----
    def test_first_messages_of_wrong_shape(self):
        for data in (b"", b"\0", struct.pack("!i", 0), struct.pack("!i", 7), struct.pack("!i", -1), struct.pack("!i", 2**31 - 1), struct.pack("!i", 10001),
                     struct.pack("!ii", 8, 2 << 16), struct.pack("!ii", 8, 196608), struct.pack("!ii", 9, 196608) + b"x", struct.pack("!ii", 12, 80877103) + b"xxxx",
                     struct.pack("!ii", 8, 80877102), struct.pack("!iii", 12, 80877102, 5), struct.pack("!iiii", 16, 80877102, 12345, 54321),
                     startup({}), startup({"user": ""}), startup({"user": "helios"})[:-1] + b"x", startup({"user": "a" * 9990}), startup({"user": "helios"}, 196608 + 7),
                     startup({"user": "helios", "database": "nosuch"}), startup({"user": "helios", "options": "-c " * 3000}),
                     startup({"user": "helios", "options": "-c =", "DateStyle": "x" * 5000}), struct.pack("!ii", 8, 80877103) + startup({"user": "helios"}),
                     struct.pack("!ii", 8, 80877103) * 3, struct.pack("!ii", 8, 80877104) + struct.pack("!ii", 8, 80877103), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0"):
            answer = self.raw(data)
            self.assertNotIn(b"\0\0\0\x08\0\0\0\0", answer)  # AuthenticationOk
        self.assertIn(b"08P01", self.raw(startup({"user": "helios"}) + message(b"Q", text("select 1"))))
        self.assertIn(b"28000", self.raw(startup({})))

    def test_random_bytes(self):
        rng = random.Random(SEED)
        for i in range(2000 if LONG else 200):
            data = rng.randbytes(rng.choice((1, 4, 8, 20, 100, 5000)))
            if i % 2:
                data = struct.pack("!ii", len(data) + 8, 196608) + data
            self.raw(data, wait=i % 10 == 0)

    # ---- later messages ----
    def test_messages_of_wrong_length(self):
        for kind in b"QPBDECSHXdcfFp\0\xff!":
            for length in (0, 3, -1, -(2**31), 2**31 - 1, 2**30 + 1):
                client = self.client()
                client.raw(bytes([kind]) + struct.pack("!i", length) + b"xxxx")
                self.refused(client, "08P01")

    def test_messages_cut_short_and_stuffed(self):
        bodies = {b"Q": (b"", b"select 1", b"select 1\0x"), b"P": (b"", b"\0", b"\0\0", b"\0select 1\0\0", b"\0select 1\0\0\5", b"\0select 1\0\xff\xff" + b"\0" * 100, b"\0select 1\0\0\0x"),
                  b"B": (b"", b"\0", b"\0\0\0", b"\0\0\0\0\0\1", b"\0\0\0\0\0\1\0\0\0\5ab\0\0", b"\0\0\0\1\0\2\0\0\0\0", b"\0\0\0\0\0\1\xff\xff\xff\xfe\0\0", b"\0\0\0\2\0\0\0\0\0\0\0\0", b"\0\0\xff\xff" + b"\0" * 20,
                         b"\0\0\0\0\0\0\xff\xff\0\0"),
                  b"D": (b"", b"S", b"X\0", b"P", b"S\0x"), b"E": (b"", b"\0", b"\0\0\0\0", b"\0\0\0\0\0x"), b"C": (b"", b"S", b"Z\0", b"P\0x")}
        client = self.client()
        for kind, all_of_kind in bodies.items():
            for body in all_of_kind:
                client.raw(message(kind, body))
                if kind == b"Q":
                    self.refused(client, "08P01")
                    client = self.client()
                    continue
                with self.assertRaises(ServerError) as caught:
                    client.sync()
                self.assertEqual(caught.exception.sqlstate, "08P01")
                self.assertEqual(client.query("select 1").rows, [("1",)])

    def test_messages_out_of_order(self):
        client = self.client()
        for i, send in enumerate((lambda: client.bind(name="nosuch"), lambda: client.run("nosuch"), lambda: client.describe("S", "nosuch"), lambda: client.describe("P", "nosuch"),
                     lambda: client.bind(("x",)), lambda: (client.parse("select $1::int"), client.bind()), lambda: (client.parse("select 1"), client.bind((1,))),
                     lambda: client.parse("select 1; select 2"), lambda: (client.parse("select $1::int"), client.bind(("x",))),
                     lambda: (client.parse("select 1", "a"), client.parse("select 1", "a")),
                     lambda: (client.parse("select $1::int8"), client.bind((b"123",), formats=(1,))))):
            send()
            with self.assertRaises(ServerError, msg=i):
                client.sync()
            self.assertEqual(client.query("select 1").rows, [("1",)])
        client.send(b"F", b"\0\0\0\1")
        with self.assertRaises(ServerError):
            client.until_ready()
        for kind in (b"d", b"c", b"f"):  # COPY messages without a COPY are ignored
            client.send(kind, b"x\0")
            self.assertEqual(client.query("select 1").rows, [("1",)])
        client.send(b"p", b"x\0")
        self.refused(client, "08P01")
        client = self.client()
        for _ in range(100):
            client.send(b"S")
        for _ in range(100):
            client.until_ready()
        for kind in (b"H", b"S", b"H"):
            client.send(kind)
        client.until_ready()

    def test_random_messages_in_a_session(self):
        rng = random.Random(SEED + 1)
        pieces = [b"", b"\0", b"select 1\0", b"insert into t values($1, $2)\0", b"copy t from stdin\0", b"begin\0", b"rollback\0", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\1", b"S\0", b"P\0", b"x" * 300]
        for _ in range(300 if LONG else 40):
            client = self.client()
            try:
                for _ in range(30):
                    client.raw(message(bytes([rng.choice(b"QPBDECSHdcfFQPBDES")]), b"".join(rng.choices(pieces, k=rng.randrange(5)))))
                client.raw(message(b"X"))
                while True:
                    client.receive()
            except (Gone, BrokenPipeError, ConnectionResetError, socket.timeout):
                pass

    # ---- sizes ----
    def test_huge_strings(self):
        client = self.client()
        big = "x" * 20_000_000
        self.assertEqual(client.execute("select length($1::text)", (big,)).rows, [(str(len(big)),)])
        self.assertEqual(client.query(f"select length('{big}')").rows, [(str(len(big)),)])
        for sql in ("select " + "(" * 100_000, "select " + "1+" * 50_000 + "1", "select " + ",".join("1" * 1 for _ in range(5000)), "/*" * 100_000, "'" * 99_999,
                    "select '" + "\\" * 100_000, '"' + "a" * 1_000_000 + '"', "select " + "not " * 100_000 + "1", "case " * 50_000, "begin;" * 1000):
            try:
                client.query(sql)
            except ServerError as error:
                self.assertNotEqual(error.sqlstate, "XX000", sql[:40])
            if client.status != "I":
                client.query("rollback")
        self.assertEqual(client.query("select 1").rows, [("1",)])

    def test_a_long_message_in_small_pieces(self):
        client = self.client()
        body = message(b"Q", text("select length('" + "y" * 3_000_000 + "')"))
        for at in range(0, len(body), 100_000):
            client.raw(body[at:at + 100_000])
        self.assertEqual(client.until_ready().rows, [("3000000",)])
        for byte in message(b"Q", text("select 7")):
            client.raw(bytes([byte]))
        self.assertEqual(client.until_ready().rows, [("7",)])

    def test_input_is_not_piled_up_while_a_statement_runs(self):
        client = self.client(timeout=60)
        before = self.server.rss_kb()
        client.raw(message(b"Q", text("with recursive n(i) as (select 1 union all select i + 1 from n limit 20000000) select count(*) from n")))
        client.sock.settimeout(0.5)
        sent, part = 0, message(b"Q", text("select 1 --" + "x" * 100_000)) * 10
        try:
            while sent < 200_000_000:
                sent += client.sock.send(part)
        except socket.timeout:
            pass
        self.assertLess(sent, 100_000_000)  # the rest waits at the client
        self.assertLess(self.server.rss_kb() - before, 60_000)
        client.abort()

    def test_output_that_nobody_reads_is_not_piled_up(self):
        client = self.client()
        before = self.server.rss_kb()
        client.send(b"Q", text("with recursive n(i) as (select 1 union all select i + 1 from n) select i, 'some text that takes place' from n"))
        for _ in range(5):
            self.bystander.query("select 1")
            time.sleep(0.05)
        self.assertLess(self.server.rss_kb() - before, 30_000)
        client.abort()

    def test_a_million_rows_in_bounded_memory(self):
        client = self.client(timeout=60)
        client.query("select 1")
        before, rows, most = self.server.rss_kb(), 0, 0
        client.send(b"Q", text("with recursive n(i) as (select 1 union all select i + 1 from n limit 1000000) select i, 'row ' || i from n"))
        while True:
            kind, body = client.receive()
            rows += kind == b"D"
            if rows % 100_000 == 0:
                most = max(most, self.server.rss_kb() - before)
            if kind == b"Z":
                break
        self.assertEqual(rows, 1_000_000)
        self.assertLess(most, 20_000)

    def test_a_large_table_streams_past_the_caches(self):
        """The first look at it, and the second: what is read once does not stay in memory."""
        rows = 1_000_000 if LONG else 400_000
        with ServerProcess(os.path.join(self.directory, "large.db"), "--password", "pw") as server, server.client(password="pw", timeout=60) as c:
            c.query(f"create table large as select i as id, i * 7 as a, 'some text of the row with the number ' || i || repeat('.', i % 60) as b from generate_series(1, {rows}) i")
        with ServerProcess(os.path.join(self.directory, "large.db"), "--password", "pw") as server, server.client(password="pw", timeout=60) as c:
            c.query("select count(*) from (select * from large limit 10) x")
            before = server.rss_kb()
            for turn in range(2):
                c.send(b"Q", text("select * from large"))
                seen = most = 0
                while True:
                    kind, body = c.receive()
                    seen += kind == b"D"
                    if seen % 50_000 == 0:
                        most = max(most, server.rss_kb() - before)
                    if kind == b"Z":
                        break
                self.assertEqual(seen, rows)
                self.assertLess(most, 20_000, turn)

    # ---- clients that go ----
    def count(self):
        return int(self.bystander.query("select count(*) from t").rows[0][0])

    def test_a_client_that_vanishes_in_a_transaction(self):
        for how in ("abort", "close", "reset"):
            client = self.client()
            client.query("begin; insert into t values(1, 'gone')")
            if how == "reset":
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close() if how == "close" else client.abort()
        self.assertEqual(self.count(), 0)
        self.bystander.query("insert into t values(1, 'mine')")  # nothing is locked
        self.bystander.query("delete from t")

    def test_a_client_that_vanishes_in_mid_copy(self):
        for whole in (True, False):
            client = self.client()
            client.query("copy t from stdin")
            for i in range(100):
                client.send(b"d", f"{i}\trow {i}\n".encode())
            if not whole:
                client.raw(b"d\0\0\1\0half a message")
            client.abort()
        client = self.client()
        client.query("copy t from stdin")
        client.send(b"d", b"1\tx\n")
        client.send(b"Q", text("select 1"))
        self.refused(client, "08P01")
        client = self.client()
        client.query("copy t from stdin")
        client.send(b"d", b"1\tx\n")
        client.send(b"f", text("changed my mind"))
        with self.assertRaises(ServerError) as caught:
            client.until_ready()
        self.assertEqual(caught.exception.sqlstate, "57014")
        self.assertEqual(self.count(), 0)
        client = self.client()
        client.send(b"Q", text("copy (with recursive n(i) as (select 1 union all select i + 1 from n) select i from n) to stdout"))
        client.receive()
        client.abort()

    def test_a_client_that_vanishes_while_its_query_runs(self):
        for _ in range(5):
            client = self.client()
            client.send(b"Q", text("begin; insert into t values(7, 'x'); with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"))
            client.abort()
        self.comes_to_rest()  # interrupted, all of them
        self.assertEqual(self.count(), 0)

    def comes_to_rest(self):
        until, calm = time.monotonic() + 20, 0
        while calm < 4:
            calm = 0 if self.busy() else calm + 1
            self.assertLess(time.monotonic(), until, "the server is still busy")

    def busy(self):
        """Does the server use the processor?"""
        def ticks():
            fields = pathlib.Path(f"/proc/{self.server.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
            return int(fields[11]) + int(fields[12])
        before = ticks()
        time.sleep(0.1)
        return ticks() - before > 3

    def test_slow_senders_do_not_hold_others_up(self):
        slow = [socket.create_connection(("127.0.0.1", self.server.port)) for _ in range(50)]
        whole = startup({"user": "helios", "database": "app"})
        for i in range(len(whole)):
            for s in slow:
                s.sendall(whole[i:i + 1])
            if i % 10 == 0:
                started = time.monotonic()
                self.bystander.query("select 1")
                self.assertLess(time.monotonic() - started, 2)
        for s in slow:
            self.assertEqual(s.recv(1), b"R")
            s.close()

    # ---- numbers ----
    def test_many_connects_and_disconnects(self):
        n = 10_000 if LONG else 500
        for i in range(n // 4):
            self.client_once()
        before = self.server.rss_kb()
        threads = [threading.Thread(target=lambda: [self.client_once() for _ in range(n // 4)]) for _ in range(3)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertLess(self.server.rss_kb() - before, 20_000)

    def client_once(self):
        with socket.create_connection(("127.0.0.1", self.server.port), 20) as s:
            s.sendall(startup({"user": "helios"}))
            s.recv(100)

    def test_many_idle_connections(self):
        n = 1000 if LONG else 200
        before = self.server.rss_kb()
        clients = []
        try:
            for _ in range(n):
                clients.append(self.server.client(password="pw"))
                clients[-1].query("select 1")
            grown = self.server.rss_kb() - before
            print(f"{n} idle connections: {grown} kB, {grown * 1024 // n} bytes each")
            self.assertLess(grown, 100_000 * n // 1000 + 5000)
            self.comes_to_rest()
        finally:
            for client in clients:
                client.abort()

    def test_too_many_connections(self):
        with ServerProcess(os.path.join(self.directory, "few.db"), "--password", "pw", "--max-connections", "3") as server:
            clients = [server.client(password="pw") for _ in range(3)]
            with self.assertRaises(ServerError) as caught:
                server.client(password="pw")
            self.assertEqual(caught.exception.sqlstate, "53300")
            clients.pop().close()
            until = time.monotonic() + 10
            while time.monotonic() < until:
                try:
                    clients.append(server.client(password="pw"))
                    break
                except ServerError:
                    pass
            self.assertEqual(len(clients), 3)
            [c.close() for c in clients]


class Tls(unittest.TestCase):
    def test_bad_handshakes(self):
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        key, cert = (os.path.join(directory, n) for n in ("key.pem", "cert.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "1", "-subj", "/CN=localhost"],
                       capture_output=True, check=True)
        context = ssl.create_default_context(cafile=cert)
        context.check_hostname = False
        request, rng = struct.pack("!ii", 8, 80877103), random.Random(SEED)
        with ServerProcess(os.path.join(directory, "app.db"), "--password", "pw", "--tls-cert", cert, "--tls-key", key) as server:
            def encrypted():
                s = socket.create_connection(("127.0.0.1", server.port), 10)
                s.sendall(request)
                self.assertEqual(s.recv(1), b"S")
                return s

            def session():
                client = server.client(connect=False)
                client.raw(request)
                self.assertEqual(client.sock.recv(1), b"S")
                client.sock = context.wrap_socket(client.sock)
                client.raw(startup({"user": "helios", "database": "app"}))
                client.password = "pw"
                client.authenticate()
                client.until_ready()
                return client
            with session() as good:
                for i in range(60):
                    with encrypted() as s:
                        s.sendall(rng.choice((b"", b"\x16\x03\x01\xff\xff", b"\x15\x03\x03\0\2\2\0", startup({"user": "helios"}), request)) + rng.randbytes(rng.randrange(300)))
                        if i % 2:
                            try:
                                s.shutdown(socket.SHUT_WR)
                                while s.recv(65536):
                                    pass
                            except OSError:
                                pass
                with session() as cut:  # a record cut off, and one whose tag is wrong
                    raw = cut.sock.detach()
                    with socket.socket(fileno=raw) as s:
                        s.sendall(b"\x17\x03\x03\0\x40" + rng.randbytes(64))
                        s.settimeout(10)
                        try:
                            while s.recv(65536):
                                pass
                        except OSError:
                            pass
                self.assertEqual(good.query("select length('" + "x" * 3_000_000 + "')").rows, [("3000000",)])
                self.assertEqual(len(good.query("with recursive n(i) as (select 1 union all select i + 1 from n limit 100000) select i, 'some text' from n").rows), 100_000)
            with self.assertRaises(ServerError) as caught:  # without TLS it works as well, and a password is still wanted
                server.client(password="wrong")
            self.assertEqual(caught.exception.sqlstate, "28P01")


class Authentication(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.path = os.path.join(self.directory, "app.db")

    def test_no_method_takes_a_wrong_or_empty_password(self):
        for method in ("scram-sha-256", "md5", "password"):
            with self.subTest(method), ServerProcess(self.path, "--auth", method, "--password", "s3cret") as server:
                for user, password in (("helios", None), ("helios", ""), ("helios", "wrong"), ("helios", "S3CRET"), ("nobody", "s3cret"), ("nobody", ""), ("helios ", "s3cret")):
                    with self.assertRaises(ServerError) as caught:
                        server.client(user=user, password=password)
                    self.assertEqual(caught.exception.sqlstate, "28P01")
                for body in (b"", b"\0", b"s3cret", b"md5\0", b"SCRAM-SHA-256\0", b"SCRAM-SHA-256\0\xff\xff\xff\xff", b"SCRAM-SHA-256\0\0\0\0\4n,,n", b"SCRAM-SHA-256\0\0\0\0\x0an,,n=,r=ab", b"x" * 70000):
                    client = server.client(connect=False)
                    client.raw(startup({"user": "helios"}))
                    client.expect(b"R")
                    client.send(b"p", body)
                    with self.assertRaises((ServerError, Gone)):
                        while True:
                            client.expect(b"R")
                            client.send(b"p", b"c=biws,r=ab,p=" + b"A" * 44)
                    client.abort()
                for kind in b"QPBESX":
                    client = server.client(connect=False)
                    client.raw(startup({"user": "helios"}) + message(bytes([kind]), text("select 1")))
                    with self.assertRaises((ServerError, Gone)):
                        client.expect(b"R")
                        client.expect(b"R")
                    client.abort()
                with server.client(password="s3cret") as client:
                    self.assertEqual(client.query("select 1").rows, [("1",)])

    def test_trust_must_be_asked_for_and_is_for_loopback(self):
        with ServerProcess(self.path, "--auth", "trust") as server, server.client(user="anybody") as client:
            self.assertEqual(client.query("select 1").rows, [("1",)])
        refused = subprocess.run([str(BINARY), "--listen", "0.0.0.0", "--auth", "trust", "--port", "0", self.path], capture_output=True, text=True)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("loopback", refused.stderr)

    def test_a_unix_socket_knows_its_peer(self):
        with ServerProcess(self.path, "--socket-dir", self.directory) as server, Client(self.directory, server.port, "me") as client:
            self.assertEqual(client.query("select 1").rows, [("1",)])

    @unittest.skipUnless(os.getuid() == 0, "only root can be somebody else")
    def test_a_unix_socket_refuses_others(self):
        os.chmod(self.directory, 0o755)
        for flags, sqlstate in ((("--auth", "trust"), "28000"), (("--password", "pw"), "28P01")):
            with ServerProcess(self.path, "--socket-dir", self.directory, *flags) as server:
                pid = os.fork()
                if pid == 0:
                    code = 9
                    try:
                        os.setuid(65534)
                        Client(self.directory, server.port, "helios", "wrong")
                        code = 1
                    except ServerError as error:
                        code = 0 if error.sqlstate == sqlstate else 2
                    finally:
                        os._exit(code)
                self.assertEqual(os.waitpid(pid, 0)[1], 0)


if __name__ == "__main__":
    unittest.main()
