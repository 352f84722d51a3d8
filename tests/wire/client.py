"""A PostgreSQL protocol 3.0 client of the standard library alone, and a helios-server to speak with.

    with ServerProcess(tmp_path / "app.db", "--auth", "trust") as server, server.client() as c:
        assert c.query("select 1").rows == [("1",)]

Messages can also be sent by hand: c.send(b"P", ...), c.expect(b"1"), c.until_ready().
"""
import base64
import hashlib
import hmac
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("HELIOS_SERVER", ROOT / "build" / os.environ.get("PRESET", "release") / "server" / "helios-server"))


class ServerError(Exception):
    """An ErrorResponse; .fields by letter: 'S' severity, 'C' SQLSTATE, 'M' message ..."""

    def __init__(self, body):
        self.fields = {part[:1].decode(): part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
        super().__init__(f"{self.fields.get('S')} {self.fields.get('C')}: {self.fields.get('M')}")

    sqlstate = property(lambda self: self.fields.get("C"))


class Gone(Exception):
    """The server closed the connection."""


class Result:
    def __init__(self):
        self.columns, self.types, self.rows, self.tags, self.notices = [], [], [], [], []

    tag = property(lambda self: self.tags[-1] if self.tags else None)


def text(value):
    return value.encode() + b"\0"


def message(kind, body=b""):
    return kind + struct.pack("!i", len(body) + 4) + body


def startup(parameters, version=196608):
    body = struct.pack("!i", version) + b"".join(text(k) + text(v) for k, v in parameters.items()) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


class Client:
    def __init__(self, host="127.0.0.1", port=5432, user="helios", password=None, database=None, timeout=20, connect=True, **parameters):
        self.sock = socket.create_connection((host, port), timeout) if not host.startswith("/") else socket.socket(socket.AF_UNIX)
        if host.startswith("/"):
            self.sock.settimeout(timeout)
            self.sock.connect(f"{host}/.s.PGSQL.{port}")
        else:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.user, self.password = bytearray(), user, password
        self.status, self.parameters, self.key = None, {}, None
        if connect:
            self.raw(startup({"user": user, "database": database or user, **parameters}))
            try:
                self.authenticate()
                self.until_ready()
            except BaseException:
                self.abort()
                raise

    # ---- bytes and messages ----
    def raw(self, data):
        self.sock.sendall(data)

    def send(self, kind, *parts):
        self.raw(message(kind, b"".join(parts)))

    def receive(self):
        """The next message: (kind, body)."""
        while len(self.buffer) < 5 or len(self.buffer) < 1 + struct.unpack_from("!i", self.buffer, 1)[0]:
            try:
                part = self.sock.recv(1 << 16)
            except ConnectionResetError:
                part = b""
            if not part:
                raise Gone(bytes(self.buffer))
            self.buffer += part
        length = struct.unpack_from("!i", self.buffer, 1)[0]
        kind, body = bytes(self.buffer[:1]), bytes(self.buffer[5:1 + length])
        del self.buffer[:1 + length]
        return kind, body

    def expect(self, *kinds):
        kind, body = self.receive()
        if kind == b"E" and b"E" not in kinds:
            raise ServerError(body)
        assert kind in kinds, f"{kind} came, {kinds} expected"
        return kind, body

    def authenticate(self):
        while True:
            kind, body = self.expect(b"R", b"v")
            if kind == b"v":
                continue
            what = struct.unpack_from("!i", body)[0]
            if what == 0:
                return
            if what == 3:
                self.send(b"p", text(self.password or ""))
            elif what == 5:
                inner = hashlib.md5((self.password or "").encode() + self.user.encode()).hexdigest().encode()
                self.send(b"p", text("md5" + hashlib.md5(inner + body[4:8]).hexdigest()))
            else:
                self.scram()

    def start_tls(self):
        """TLS without a check of the certificate; returns it (DER)."""
        import ssl
        self.raw(struct.pack("!ii", 8, 80877103))
        assert self.sock.recv(1) == b"S"
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock)
        return self.sock.getpeercert(binary_form=True)

    def scram(self, mechanism="SCRAM-SHA-256", header="n,,", binding=b""):
        nonce = base64.b64encode(os.urandom(18)).decode()
        bare = f"n=,r={nonce}"
        first = (header + bare).encode()
        self.send(b"p", text(mechanism), struct.pack("!i", len(first)), first)
        server_first = self.expect(b"R")[1][4:].decode()
        parts = dict(p.split("=", 1) for p in server_first.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", (self.password or "").encode(), base64.b64decode(parts["s"]), int(parts["i"]))
        def mac(key, data):
            return hmac.new(key, data, "sha256").digest()
        client_key = mac(salted, b"Client Key")
        without = f"c={base64.b64encode(header.encode() + binding).decode()},r={parts['r']}"
        signed = f"{bare},{server_first},{without}".encode()
        proof = bytes(a ^ b for a, b in zip(client_key, mac(hashlib.sha256(client_key).digest(), signed)))
        self.send(b"p", f"{without},p={base64.b64encode(proof).decode()}".encode())
        final = self.expect(b"R")[1][4:].decode()
        assert final == "v=" + base64.b64encode(mac(mac(salted, b"Server Key"), signed)).decode()

    # ---- queries ----
    def until_ready(self):
        """Everything up to ReadyForQuery; the first error is raised behind it."""
        result, error = Result(), None
        while True:
            kind, body = self.receive()
            if kind == b"Z":
                self.status = body.decode()
                if error:
                    error.result = result
                    raise error
                return result
            if kind == b"T":
                result.columns, result.types, at = [], [], 2
                for _ in range(struct.unpack_from("!h", body)[0]):
                    end = body.index(b"\0", at)
                    result.columns.append(body[at:end].decode())
                    result.types.append(struct.unpack_from("!i", body, end + 7)[0])
                    at = end + 19
            elif kind == b"D":
                row, at = [], 2
                for _ in range(struct.unpack_from("!h", body)[0]):
                    n = struct.unpack_from("!i", body, at)[0]
                    row.append(None if n < 0 else body[at + 4:at + 4 + n])
                    at += 4 + max(n, 0)
                try:
                    result.rows.append(tuple(v if v is None else v.decode() for v in row))
                except UnicodeDecodeError:
                    result.rows.append(tuple(row))
            elif kind == b"C":
                result.tags.append(body[:-1].decode())
            elif kind in (b"I", b"s"):
                result.tags.append({b"I": "", b"s": "suspended"}[kind])
            elif kind == b"E":
                error = error or ServerError(body)
                if error.fields.get("S") == "FATAL":
                    raise error
            elif kind == b"N":
                result.notices.append(ServerError(body).fields)
            elif kind == b"S":
                name, value = body.split(b"\0")[:2]
                self.parameters[name.decode()] = value.decode()
            elif kind == b"K":
                self.key = body
            elif kind in (b"G", b"H"):
                return result

    def query(self, sql):
        self.send(b"Q", text(sql))
        return self.until_ready()

    def parse(self, sql, name="", types=()):
        self.send(b"P", text(name), text(sql), struct.pack(f"!h{len(types)}i", len(types), *types))

    def bind(self, values=(), portal="", name="", formats=(), result_formats=()):
        """Values: None, bytes, or anything whose str() is the text format."""
        body = text(portal) + text(name) + struct.pack(f"!h{len(formats)}h", len(formats), *formats) + struct.pack("!h", len(values))
        for v in values:
            v = v if v is None or isinstance(v, bytes) else str(v).encode()
            body += struct.pack("!i", -1) if v is None else struct.pack("!i", len(v)) + v
        self.send(b"B", body + struct.pack(f"!h{len(result_formats)}h", len(result_formats), *result_formats))

    def describe(self, kind="P", name=""):
        self.send(b"D", kind.encode(), text(name))

    def run(self, portal="", limit=0):
        self.send(b"E", text(portal), struct.pack("!i", limit))

    def sync(self):
        self.send(b"S")
        return self.until_ready()

    def execute(self, sql, values=(), **kw):
        """One statement in the extended protocol."""
        self.parse(sql)
        self.bind(values, **kw)
        self.describe()
        self.run()
        return self.sync()

    def cancel(self):
        host = self.sock.getpeername()
        with socket.create_connection(host[:2], 10) as s:
            s.sendall(struct.pack("!ii", 16, 80877102) + self.key)
            s.recv(1)

    def abort(self):
        """Closes without a word."""
        self.sock.close()

    def close(self):
        try:
            self.send(b"X")
        except OSError:
            pass
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class ServerProcess:
    """helios-server on a free port, stopped by SIGTERM at the end."""

    def __init__(self, path, *flags, expect_exit=0, env=None):
        self.path, self.flags, self.expect_exit, self.env = pathlib.Path(path), flags, expect_exit, env

    def __enter__(self):
        self.process = subprocess.Popen([str(BINARY), "--port", "0", *map(str, self.flags), str(self.path)], stdout=subprocess.PIPE, bufsize=0,
                                        stderr=open(f"{self.path}.log", "ab"), env={**os.environ, **(self.env or {})})
        self.lines = [self.process.stdout.readline().decode()]
        if " on " not in self.lines[0]:
            self.process.wait()
            raise RuntimeError(pathlib.Path(f"{self.path}.log").read_text() or "helios-server did not start")
        self.port = int(self.lines[0].rsplit(":", 1)[1])
        self.password = None
        while select.select([self.process.stdout], [], [], 0)[0]:  # both lines come in one write
            line = self.process.stdout.readline().decode()
            if not line:
                break
            self.lines.append(line)
            if " is in " in line:
                self.password = pathlib.Path(line.strip().rsplit(" is in ", 1)[1]).read_text().strip()
                break
        return self

    def client(self, **kw):
        kw.setdefault("password", self.password)
        return Client(port=self.port, **kw)

    def rss_kb(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def __exit__(self, *error):
        code = self.stop()
        if error[0] is None:
            assert code == self.expect_exit, f"helios-server ended with {code}"
