"""Serving a database over the PostgreSQL wire protocol from a thread of this process."""
import atexit
import os
import threading
import weakref

from heliosdb_sqlite import _heliosdb

_running = weakref.WeakSet()
_SLICE_MS = 200  # a waiting main thread looks for signals so often


class Server:
    """A running server: .host, .port, .dsn; stop() and wait(), or a with block."""

    def __init__(self, handle, host, port, user, password, password_file, database, metrics_port):
        self._handle, self._pid = handle, os.getpid()
        self._lock = threading.Lock()
        self.host, self.port, self.user, self.database = host, port, user, database
        self.password_file = password_file
        self.metrics_port = metrics_port if metrics_port >= 0 else None
        import urllib.parse
        secret = f":{urllib.parse.quote(password, safe='')}" if password else ""
        shown = f"[{host}]" if ":" in host else host
        self.dsn = f"postgresql://{urllib.parse.quote(user, safe='')}{secret}@{shown}:{port}/{urllib.parse.quote(database, safe='')}"
        _running.add(self)

    def __repr__(self):
        return f"<heliosdb_sqlite.Server {self.database!r} on {self.host}:{self.port}{'' if self.running else ', stopped'}>"

    @property
    def running(self):
        handle = self._handle
        return handle is not None and self._pid == os.getpid() and not _heliosdb._server_wait(handle, 0)

    def stop(self):
        """Take no new clients, end the others, bring the file up to date; returns when that is done."""
        handle = self._handle
        if handle is not None and self._pid == os.getpid():
            _heliosdb._server_stop(handle)
            self.wait()

    def wait(self, timeout=None):
        """Until it has stopped; False when timeout seconds were not enough."""
        left = None if timeout is None else int(timeout * 1000)
        while self._handle is not None and self._pid == os.getpid():
            part = _SLICE_MS if left is None else min(_SLICE_MS, left)
            if _heliosdb._server_wait(self._handle, part):
                with self._lock:
                    self._handle = None  # frees it, and its password file goes
                break
            if left is not None:
                left -= part
                if left <= 0:
                    return False
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def _stop_all():
    for server in list(_running):
        server.stop()


atexit.register(_stop_all)


def _key(value):
    if value is None or not isinstance(value, str):
        return value
    try:
        return bytes.fromhex(value)
    except ValueError:
        return b""  # refused as no key, without saying it


_CONNECT_KEYWORDS = ("branch", "encryption_key", "passphrase", "conflict_policy", "retention", "mirror", "uri", "password_file",
                     "socket_dir", "max_connections", "statement_timeout", "idle_timeout", "memory_limit", "metrics_port")


def start_server(database, host="127.0.0.1", port=5432, *, user="helios", password=None, auth=None, tls_cert=None, tls_key=None,
                 **connect_keywords):
    """Serve a database from a thread of this process; returns a Server.

    Port 0 is any free one. Without a password a random one is made: it is in .dsn, and in a file of mode 0600 in the
    database's directory. Further keywords: those of connect() that say how the database is opened (branch,
    encryption_key, passphrase, conflict_policy, retention, mirror, uri), and password_file, socket_dir,
    max_connections, statement_timeout and idle_timeout (seconds), memory_limit (MB a statement may take), metrics_port.
    """
    unknown = [name for name in connect_keywords if name not in _CONNECT_KEYWORDS]
    if unknown:
        raise TypeError(f"start_server() got an unexpected keyword argument '{unknown[0]}'")
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
        raise _heliosdb.ProgrammingError(f"invalid value for port: {port!r}")
    given = {name: value for name, value in connect_keywords.items() if value is not None}
    for name in ("statement_timeout", "idle_timeout"):
        if name in given:
            given[name + "_ms"] = int(given.pop(name) * 1000)
    if "memory_limit" in given:
        given["memory_limit_mb"] = int(given.pop("memory_limit")) or -1
    if "mirror" in given:
        given["mirror"] = 1 if given["mirror"] else -1
    key = given.pop("encryption_key", None)
    if key is None and "passphrase" not in given and os.environ.get("HELIOSDB_ENCRYPTION_KEY"):
        key = os.environ["HELIOSDB_ENCRYPTION_KEY"]
    return Server(*_heliosdb._server_start(database, host, port, user=user, password=password, auth=auth, tls_cert=tls_cert,
                                           tls_key=tls_key, encryption_key=_key(key), **given))


def start_for(con, host="127.0.0.1", port=5432, **keywords):
    """Connection.start_server: serve the connection's own database; con.server is the Server."""
    if con.server is not None and con.server.running:
        raise _heliosdb.ProgrammingError(f"this connection's server runs already, on port {con.server.port}")
    keywords.setdefault("branch", con.branch)
    if keywords.get("encryption_key") is None and keywords.get("passphrase") is None:
        keywords["encryption_key"] = con  # its own, when it has one
    server = start_server(con._database_file() or ":memory:", host, port, **keywords)
    _heliosdb._attach_server(con, server)
    return server


def backup_remote(con, target, pages=-1, progress=None, name="main", sleep=0.25):
    """Connection.backup() of a connection to a server: its database comes over as a file, then goes into the target."""
    import heliosdb_sqlite
    import tempfile
    if not isinstance(target, heliosdb_sqlite.Connection):
        raise TypeError("backup() argument 'target' must be sqlite3.Connection")
    if progress is not None and not callable(progress):
        raise TypeError("progress argument must be a callable")
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "copy.db")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            con._save(fd, name)
        finally:
            os.close(fd)
        copy = heliosdb_sqlite.connect(f"file:{path}?immutable=1", uri=True)
        try:
            copy.backup(target, pages=pages, progress=progress, sleep=sleep)
        finally:
            copy.close()
