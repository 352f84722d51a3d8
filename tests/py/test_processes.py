"""Several processes on one database: what users of SQLite do without thinking about it."""
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import heliosdb_sqlite as helios

LOOP = """
import sys, os, time, traceback
import heliosdb_sqlite as helios
def connect(path, **kw):
    return helios.connect(path, **kw)
for line in sys.stdin:
    try:
        try:
            out = eval(line, globals())
        except SyntaxError:
            exec(line, globals()); out = None
        print("=" + repr(out), flush=True)
    except BaseException as e:
        print("!" + type(e).__name__ + ": " + str(e), flush=True)
"""


class Failed(Exception):
    pass


class Peer:
    """Another process that does what it is told, a line at a time."""

    def __init__(self, path=None, **keywords):
        self.process = subprocess.Popen([sys.executable, "-c", LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        if path:
            arguments = "".join(f", {k}={v!r}" for k, v in keywords.items())
            self(f"conn = connect({path!r}{arguments})")

    def begin(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def end(self):
        line = self.process.stdout.readline().rstrip("\n")
        if line.startswith("="):
            return eval(line[1:]) if line[1:2] != "<" else None
        raise Failed(line[1:] if line else "the process is gone")

    def __call__(self, text):
        self.begin(text)
        return self.end()

    def all(self, sql, *arguments):
        return self(f"conn.execute({sql!r}, {arguments!r}).fetchall()")

    def run(self, sql, *arguments):
        self(f"conn.execute({sql!r}, {arguments!r}).fetchall()")
        self("conn.commit()")

    def kill(self, number=signal.SIGKILL):
        os.kill(self.pid, number)
        if number == signal.SIGKILL:
            self.process.wait()

    def close(self):
        if self.process.poll() is None:
            try:
                self.process.stdin.close()
                self.process.wait(20)
            except (OSError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            try:
                stream.close()
            except OSError:
                pass


class Base(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="helios-processes-")
        self.addCleanup(self.remove_folder)
        self.path = os.path.join(self.folder.name, "app.db")

    def remove_folder(self):
        """The last client's end makes the owner, this process or a peer that is ending, write what is left; it may do so
        while the folder goes, and then stops since the folder is gone."""
        for _ in range(1000):
            shutil.rmtree(self.folder.name, ignore_errors=True)
            if not os.path.exists(self.folder.name):
                break
        self.folder.cleanup()

    def peer(self, *arguments, **keywords):
        p = Peer(*arguments, **keywords)
        self.addCleanup(p.close)
        return p

    def connect(self, **keywords):
        c = helios.connect(self.path, **keywords)
        self.addCleanup(c.close)
        return c


class Together(Base):
    """The first process owns the storage; nobody can tell."""

    def setUp(self):
        super().setUp()
        self.conn = self.connect()
        self.conn.executescript("CREATE TABLE t(id INTEGER PRIMARY KEY, v, UNIQUE(v)); CREATE TABLE n(x)")
        self.conn.executemany("INSERT INTO t(v) VALUES(?)", [(f"v{i}",) for i in range(2000)])
        self.conn.commit()
        self.other = self.peer(self.path)

    def test_each_sees_what_the_other_commits(self):
        o = self.other
        self.assertEqual(o.all("SELECT count(*), min(v), max(id) FROM t"), [(2000, "v0", 2000)])
        o.run("INSERT INTO t(v) VALUES('theirs')")
        self.assertEqual(self.conn.execute("SELECT id FROM t WHERE v='theirs'").fetchall(), [(2001,)])
        self.conn.execute("UPDATE t SET v='ours' WHERE id=2001")
        self.assertEqual(o.all("SELECT v FROM t WHERE id=2001"), [("theirs",)])
        self.conn.commit()
        self.assertEqual(o.all("SELECT v FROM t WHERE id=2001"), [("ours",)])
        self.assertEqual(o.all("SELECT count(*) FROM t"), [(2001,)])
        for k in range(30):  # what one keeps in memory follows what the other writes
            self.conn.execute("UPDATE t SET v=? WHERE id=7", (f"k{k}",))
            self.conn.commit()
            self.assertEqual(o.all("SELECT v FROM t WHERE id=7"), [(f"k{k}",)])
            o.run("UPDATE t SET v=? WHERE id=8", f"l{k}")
            self.assertEqual(self.conn.execute("SELECT v FROM t WHERE id=8").fetchone(), (f"l{k}",))
        o.run("DELETE FROM t WHERE id BETWEEN 100 AND 1899")
        self.assertEqual(self.conn.execute("SELECT count(*), sum(id) FROM t").fetchone()[0], 201)
        self.assertEqual(o.all("SELECT count(*) FROM t WHERE v LIKE 'v%'"), self.conn.execute("SELECT count(*) FROM t WHERE v LIKE 'v%'").fetchall())
        self.conn.execute("DELETE FROM t")
        self.conn.commit()
        self.assertEqual(o.all("SELECT count(*) FROM t"), [(0,)])
        self.assertEqual(o.all("PRAGMA integrity_check"), [("ok",)])

    def test_a_snapshot_stays(self):
        o = self.other
        o("conn.execute('BEGIN')")
        self.assertEqual(o.all("SELECT count(*) FROM t"), [(2000,)])
        self.conn.execute("DELETE FROM t WHERE id > 10")
        self.conn.commit()
        self.assertEqual(o.all("SELECT count(*), max(id) FROM t"), [(2000, 2000)])
        self.assertEqual(o.all("SELECT v FROM t WHERE id = 1500"), [("v1499",)])
        o("conn.rollback()")
        self.assertEqual(o.all("SELECT count(*) FROM t"), [(10,)])

    def test_definitions(self):
        o = self.other
        o.run("CREATE TABLE made(a PRIMARY KEY, b) WITHOUT ROWID")
        self.conn.execute("INSERT INTO made VALUES(1, 2)")
        self.conn.commit()
        o.run("CREATE INDEX made_b ON made(b)")
        self.conn.execute("CREATE VIEW seen AS SELECT b FROM made")
        self.conn.execute("INSERT INTO made VALUES(3, 4)")
        self.conn.commit()
        self.assertEqual(o.all("SELECT b FROM seen ORDER BY b"), [(2,), (4,)])
        self.assertIn("made_b", str(self.conn.execute("EXPLAIN QUERY PLAN SELECT * FROM made WHERE b=4").fetchall()))
        o.run("ALTER TABLE made ADD COLUMN c DEFAULT 9")
        self.assertEqual(self.conn.execute("SELECT c FROM made").fetchall(), [(9,), (9,)])
        o.run("DROP VIEW seen")
        with self.assertRaisesRegex(helios.OperationalError, "no such table: seen"):
            self.conn.execute("SELECT * FROM seen")
        o.run("CREATE TABLE copy AS SELECT * FROM t")
        self.assertEqual(self.conn.execute("SELECT count(*) FROM copy").fetchone(), (2000,))
        o.run("CREATE INDEX copy_v ON copy(v)")
        self.assertEqual(self.conn.execute("SELECT id FROM copy WHERE v='v77'").fetchone(), (78,))
        self.assertEqual(self.conn.execute("PRAGMA integrity_check").fetchall(), [("ok",)])

    def test_constraints_and_conflicts(self):
        o = self.other
        with self.assertRaisesRegex(Failed, "IntegrityError: UNIQUE constraint failed: t.v"):
            o.run("INSERT INTO t(v) VALUES('v5')")
        o("conn.rollback()")
        o("conn.execute('BEGIN')")
        o.all("SELECT * FROM t WHERE id=1")
        o.all("INSERT INTO t(v) VALUES('both')")
        self.conn.execute("INSERT INTO t(v) VALUES('both')")
        self.conn.commit()
        with self.assertRaisesRegex(Failed, "IntegrityError: UNIQUE constraint failed: t.v"):
            o("conn.commit()")
        o("conn.rollback()")
        o("conn.execute('PRAGMA heliosdb_conflict_policy=first_commit_wins')")
        o("conn.execute('BEGIN')")
        o.all("UPDATE t SET v='x' WHERE id=3")
        self.conn.execute("UPDATE t SET v='y' WHERE id=3")
        self.conn.commit()
        with self.assertRaisesRegex(Failed, "^OperationalError: database is locked$"):
            o("conn.commit()")
        with self.assertRaisesRegex(Failed, "^OperationalError: database is locked$"):
            o("conn.commit()")
        o("conn.rollback()")
        self.assertEqual(o.all("SELECT v FROM t WHERE id=3"), [("y",)])

    def test_increments_are_never_lost(self):
        self.conn.execute("INSERT INTO n VALUES(0)")
        self.conn.commit()
        self.other.begin("[ (conn.execute('UPDATE n SET x = x + 1'), conn.commit()) and None for i in range(150) ]")
        for _ in range(150):
            self.conn.execute("UPDATE n SET x = x + 1")
            self.conn.commit()
        self.other.end()
        self.assertEqual(self.conn.execute("SELECT x FROM n").fetchone(), (300,))

    def test_the_writers_turn(self):
        o = self.other
        o("conn.execute('BEGIN IMMEDIATE')")
        self.conn.execute("PRAGMA busy_timeout=50")
        with self.assertRaisesRegex(helios.OperationalError, "^database is locked$"):
            self.conn.execute("BEGIN IMMEDIATE")
        self.conn.execute("INSERT INTO n VALUES(1)")
        with self.assertRaisesRegex(helios.OperationalError, "^database is locked$"):
            self.conn.commit()
        o.all("INSERT INTO n VALUES(2)")
        o("conn.commit()")
        self.conn.commit()
        self.assertEqual(o.all("SELECT x FROM n ORDER BY x"), [(1,), (2,)])
        self.conn.execute("BEGIN EXCLUSIVE")
        o("conn.execute('PRAGMA busy_timeout=50')")
        with self.assertRaisesRegex(Failed, "^OperationalError: database is locked$"):
            o("conn.execute('BEGIN IMMEDIATE')")
        self.conn.rollback()
        o("conn.execute('BEGIN IMMEDIATE')")
        o.kill()  # in the middle of his turn
        self.conn.execute("PRAGMA busy_timeout=5000")
        self.conn.execute("BEGIN IMMEDIATE")
        self.conn.execute("INSERT INTO n VALUES(3)")
        self.conn.commit()

    def test_functions_and_collations_are_each_process_own(self):
        o = self.other
        o("conn.create_function('twice', 1, lambda x: x + x)")
        o("conn.create_collation('backwards', lambda a, b: (a < b) - (a > b))")
        self.assertEqual(o.all("SELECT twice(v) FROM t WHERE id=2"), [("v1v1",)])
        self.assertEqual(o.all("SELECT v FROM t WHERE id < 4 ORDER BY v COLLATE backwards"), [("v2",), ("v1",), ("v0",)])
        o.run("UPDATE t SET v = twice(v) WHERE id = 9")
        self.assertEqual(self.conn.execute("SELECT v FROM t WHERE id=9").fetchone(), ("v8v8",))
        with self.assertRaisesRegex(helios.OperationalError, "no such function: twice"):
            self.conn.execute("SELECT twice(1)")

    def test_the_past_and_branches(self):
        o = self.other
        before = self.conn.last_commit_timestamp
        o.run("UPDATE t SET v='new' WHERE id=5")
        self.assertEqual(o.all(f"SELECT v FROM t AS OF SCN {before} WHERE id=5"), [("v4",)])
        self.assertEqual(self.conn.execute(f"SELECT v FROM t AS OF SCN {before} WHERE id=5").fetchall(), [("v4",)])
        o("b = conn.create_branch('dev')")
        c = helios.connect(self.path, branch="dev")
        c.execute("UPDATE t SET v='on dev' WHERE id=6")
        c.commit()
        self.assertEqual(o("b.connect().execute('SELECT v FROM t WHERE id=6').fetchall()"), [("on dev",)])
        self.assertEqual(o.all("SELECT v FROM t WHERE id=6"), [("v5",)])
        o("d = b.connect()")
        o("d.execute('INSERT INTO t(v) VALUES(?)', ('more',))")
        o("d.commit()")
        self.assertEqual(c.execute("SELECT count(*) FROM t").fetchone(), (2001,))
        c.close()
        o("d.close()")
        self.assertEqual([b for b in self.conn.execute("SELECT name FROM heliosdb_branches ORDER BY 1")], [("dev",), ("main",)])
        self.conn.merge_branch("dev")
        self.assertEqual(o.all("SELECT v FROM t WHERE id=6"), [("on dev",)])

    def test_vectors(self):
        o = self.other
        self.conn.execute("CREATE TABLE d(id INTEGER PRIMARY KEY, v VECTOR(4))")
        self.conn.executemany("INSERT INTO d(v) VALUES(?)", [(f"[{i % 7}, {i % 11}, {i % 13}, {i}]",) for i in range(3000)])
        self.conn.commit()
        nearest = "SELECT id FROM d ORDER BY vector_distance(v, '[0,0,0,0.4]', 'l2') LIMIT 3"
        indexed = "SELECT id FROM d ORDER BY v <-> '[3,4,5,2000]' LIMIT 1"
        for k in range(4):
            want = self.conn.execute(nearest).fetchall()
            self.assertEqual(o.all(nearest), want)
            self.assertEqual(o.all(indexed), self.conn.execute(indexed).fetchall())
            self.conn.execute("DELETE FROM d WHERE id = ?", want[0])
            self.conn.commit()
            o.run("UPDATE d SET v = '[3,4,5,2000]' WHERE id = ?", 50 + k)
            self.assertIn(self.conn.execute(indexed).fetchone()[0], range(50, 51 + k))

    def test_large_values_and_scans_both_ways(self):
        o = self.other
        o.run("CREATE TABLE big(id INTEGER PRIMARY KEY, b)")
        o("conn.executemany('INSERT INTO big VALUES(?, zeroblob(?))', [(i, i * 977 % 40000) for i in range(300)])")
        o("conn.execute('INSERT INTO big VALUES(1000, randomblob(3000000))')")
        o("conn.commit()")
        self.assertEqual(self.conn.execute("SELECT count(*), sum(length(b)) FROM big").fetchall(), o.all("SELECT count(*), sum(length(b)) FROM big"))
        self.assertEqual(o.all("SELECT id FROM big ORDER BY id DESC LIMIT 3"), [(1000,), (299,), (298,)])
        self.assertEqual([r[0] for r in o.all("SELECT id FROM big WHERE id < 300 ORDER BY id DESC")], list(range(299, -1, -1)))
        self.assertEqual([r[0] for r in o.all("SELECT id FROM t ORDER BY id")], list(range(1, 2001)))


class Ends(Base):
    """Owners and clients that go."""

    def test_the_owner_closes(self):
        owner, client = self.peer(self.path), self.peer()
        owner.run("CREATE TABLE t(x)")
        client(f"conn = connect({self.path!r})")
        client("conn.execute('INSERT INTO t VALUES(1)')")  # open while the owner goes
        owner("conn.close()")
        owner.close()
        client("conn.commit()")
        client.run("INSERT INTO t VALUES(2)")
        self.assertEqual(client.all("SELECT x FROM t"), [(1,), (2,)])
        client("conn.close()")
        client.close()
        import sqlite3 as stock
        c = stock.connect(self.path)
        self.assertEqual(c.execute("SELECT x FROM t").fetchall(), [(1,), (2,)])
        c.close()

    def test_the_last_connection_of_all_writes_the_file(self):
        owner = self.peer(self.path)
        owner.run("CREATE TABLE t(x)")
        client = self.peer(self.path)
        owner("conn.close()")  # the storage stays with him for a while
        client.run("INSERT INTO t VALUES(1)")
        client("conn.close()")
        import sqlite3 as stock
        c = stock.connect(self.path)
        self.assertEqual(c.execute("SELECT x FROM t").fetchall(), [(1,)])
        c.close()

    def test_the_owner_is_killed(self):
        owner, reader, writer = self.peer(self.path), self.peer(), self.peer()
        owner.run("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
        owner("conn.executemany('INSERT INTO t(x) VALUES(?)', [(i,) for i in range(5000)])")
        owner("conn.commit()")
        reader(f"conn = connect({self.path!r})")
        writer(f"conn = connect({self.path!r})")
        reader("cur = conn.execute('SELECT id FROM t ORDER BY id')")
        self.assertEqual(len(reader("cur.fetchmany(100)")), 100)
        writer.run("UPDATE t SET x = -1 WHERE id = 4000")
        writer("conn.execute('BEGIN')")
        writer.all("UPDATE t SET x = x + 1 WHERE id = 1")
        owner.kill()
        started = time.monotonic()
        writer("conn.commit()")
        self.assertLess(time.monotonic() - started, 2)
        self.assertEqual(reader("[r[0] for r in cur.fetchall()]"), list(range(101, 5001)))
        writer.run("DELETE FROM t WHERE id = 2")
        self.assertEqual(reader.all("SELECT count(*), min(x) FROM t"), [(4999, -1)])
        self.assertEqual(reader.all("SELECT x FROM t WHERE id=1"), [(1,)])
        writer.kill()  # whichever of them has it now
        reader.run("INSERT INTO t(x) VALUES('more')")
        self.assertEqual(reader.all("SELECT count(*) FROM t"), [(5000,)])
        self.assertEqual(reader.all("PRAGMA integrity_check"), [("ok",)])

    def test_a_transaction_goes_on_as_of_its_view(self):
        owner, a, b = self.peer(self.path), self.peer(), self.peer()
        owner.run("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
        owner.run("INSERT INTO t VALUES(1, 'old'), (2, 'old')")
        a(f"conn = connect({self.path!r})")
        b(f"conn = connect({self.path!r}, conflict_policy='first_commit_wins')")
        b("conn.execute('BEGIN')")
        self.assertEqual(b.all("SELECT x FROM t WHERE id=1"), [("old",)])
        b.all("UPDATE t SET x='mine' WHERE id=2")
        owner.run("UPDATE t SET x='new' WHERE id=1")
        owner.kill()
        a.run("INSERT INTO t VALUES(3, 'after')")
        self.assertEqual(b.all("SELECT id, x FROM t ORDER BY id"), [(1, "old"), (2, "mine")])
        b("conn.commit()")
        self.assertEqual(a.all("SELECT id, x FROM t ORDER BY id"), [(1, "new"), (2, "mine"), (3, "after")])
        # and a conflict with what the dead owner committed is still one
        b("conn.execute('BEGIN')")
        b.all("UPDATE t SET x='again' WHERE id=1")
        a.run("UPDATE t SET x='first' WHERE id=1")
        c = self.peer(self.path)
        a.kill()
        c.run("UPDATE t SET x='c' WHERE id=3")
        with self.assertRaisesRegex(Failed, "^OperationalError: database is locked$"):
            b("conn.commit()")

    def test_an_owner_that_does_not_answer(self):
        owner, client = self.peer(self.path), self.peer()
        owner.run("CREATE TABLE t(x)")
        client(f"conn = connect({self.path!r}, timeout=0.5)")
        client.all("SELECT * FROM t")
        self.stopped(owner)
        try:
            with self.assertRaisesRegex(Failed, rf"OperationalError: database is locked.*\b{owner.pid}\b.*python"):
                client.all("INSERT INTO t VALUES(1)")
                client("conn.commit()")
        finally:
            owner.kill(signal.SIGCONT)
        client("conn.rollback()")
        client.run("INSERT INTO t VALUES(2)")
        self.assertEqual(owner.all("SELECT max(x) FROM t"), [(2,)])

    def stopped(self, owner, wait=True):
        owner.kill(signal.SIGSTOP)
        if wait:
            os.waitpid(owner.pid, os.WUNTRACED)

    def test_a_commit_that_was_given_up_never_comes(self):
        owner, client = self.peer(self.path), self.peer()
        owner.run("CREATE TABLE t(x)")
        client(f"conn = connect({self.path!r}, timeout=0.1)")
        client.all("SELECT * FROM t")
        for how in ("rollback", "rollback", "autocommit", "schema", "repeat", "close"):
            with self.subTest(how):
                sql = "CREATE TABLE u(x)" if how == "schema" else "INSERT INTO t VALUES(1)"
                client(f"conn.isolation_level = {None if how == 'autocommit' else ''!r}")
                if how == "schema":
                    client.all("BEGIN")
                if how != "autocommit":
                    client.all(sql)
                self.stopped(owner)
                try:
                    with self.assertRaisesRegex(Failed, "database is locked"):
                        client.all(sql) if how == "autocommit" else client("conn.commit()")
                    if how in ("rollback", "schema"):
                        client("conn.rollback()")
                    if how == "close":
                        client("conn.close()")
                finally:
                    owner.kill(signal.SIGCONT)
                if how == "repeat":
                    client("conn.commit()")
                if how == "close":
                    client(f"conn = connect({self.path!r})")
                for peer in (client, owner):
                    self.assertEqual(peer.all("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM sqlite_schema)"), [(how in ("repeat", "close"), 1)])
        client.run("CREATE TABLE u(x)")
        self.assertEqual(owner.all("SELECT count(*) FROM u"), [(0,)])

    def test_a_commit_whose_owner_is_stopped_in_the_midst(self):
        """Whenever that is: what commit() and rollback() say is what comes out."""
        owner, client = self.peer(self.path), self.peer()
        owner.run("CREATE TABLE t(x)")
        client(f"conn = connect({self.path!r}, timeout=0.05)")
        rows = 0
        for i in range(8):
            client.all("INSERT INTO t VALUES(1)")
            self.stopped(owner, wait=False)
            try:
                try:
                    client("conn.commit()")
                    rows += 1
                except Failed as error:
                    self.assertRegex(str(error), "database is locked")
                try:
                    client("conn.rollback()")
                except Failed as error:
                    self.assertRegex(str(error), "database is locked")
                    self.assertTrue(client("conn.in_transaction"))
            finally:
                owner.kill(signal.SIGCONT)
            try:
                client("conn.rollback()")
            except Failed as error:
                self.assertRegex(str(error), "has been made")
                rows += 1
            self.assertFalse(client("conn.in_transaction"))
            self.assertEqual(client.all("SELECT count(*) FROM t"), [(rows,)])
            self.assertEqual(owner.all("SELECT count(*) FROM t"), [(rows,)])

    def test_a_client_is_killed(self):
        conn = self.connect()
        conn.executescript("CREATE TABLE t(x)")
        for how in ("BEGIN", "BEGIN IMMEDIATE"):
            client = self.peer(self.path)
            client(f"conn.execute({how!r})")
            client.all("INSERT INTO t VALUES(1)")
            client.kill()
            conn.execute("BEGIN IMMEDIATE")
            conn.execute("INSERT INTO t VALUES(2)")
            conn.commit()
        self.assertEqual(conn.execute("SELECT * FROM t").fetchall(), [(2,), (2,)])


def add(path, times):
    conn = helios.connect(path)
    for _ in range(times):
        conn.execute("UPDATE n SET x = x + 1")
        conn.commit()
        conn.execute("INSERT INTO t(p) VALUES(?)", (os.getpid(),))
        conn.commit()
    conn.close()


def in_child(run):
    """What a forked child says."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reads)
        try:
            text = repr(run())
        except BaseException as e:  # told to the parent
            text = f"{type(e).__name__}: {e}"
        os.write(writes, text.encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as f:
        text = f.read()
    os.waitpid(pid, 0)
    return text


class Encrypted(Base):
    def test_a_second_process_proves_the_key(self):
        conn = self.connect(passphrase="right")
        conn.executescript("CREATE TABLE t(x); INSERT INTO t VALUES(1)")
        other = self.peer(self.path, passphrase="right")
        other.run("INSERT INTO t VALUES(2)")
        self.assertEqual(conn.execute("SELECT count(*) FROM t").fetchone(), (2,))
        for key in ("wrong", None):
            with self.assertRaisesRegex(Failed, "DatabaseError: file is encrypted"):
                self.peer(self.path, passphrase=key).all("SELECT * FROM t")
        conn.close()
        helios.connect(":memory:").close()
        third = self.peer(self.path, passphrase="right")
        self.assertEqual(third.all("SELECT count(*) FROM t"), [(2,)])

    def test_the_owner_of_an_encrypted_database_is_killed(self):
        owner, client = self.peer(self.path, passphrase="k"), self.peer()
        owner.run("CREATE TABLE t(x)")
        client(f"conn = connect({self.path!r}, passphrase='k')")
        client.run("INSERT INTO t VALUES(1)")
        owner.kill()
        client.run("INSERT INTO t VALUES(2)")
        self.assertEqual(client.all("SELECT x FROM t"), [(1,), (2,)])


class Permissions(Base):
    """The file's permissions say who may use the database, and from which process."""

    def test_the_directory_follows_the_file(self):
        for mode, directory in ((0o600, 0o700), (0o644, 0o755), (0o666, 0o777), (0o660, 0o770)):
            with self.subTest(oct(mode)):
                path = os.path.join(self.folder.name, oct(mode))
                open(path, "w").close()
                os.chmod(path, mode)
                helios.connect(path).close()
                self.assertEqual(oct(os.stat(path + "-helios").st_mode & 0o777), oct(directory))

    @unittest.skipUnless(os.geteuid() == 0, "needs a second user")
    def test_another_user(self):
        os.chmod(self.folder.name, 0o777)
        for mode in (0o666, 0o644):
            with self.subTest(oct(mode)):
                self.path = os.path.join(self.folder.name, oct(mode))
                open(self.path, "w").close()
                os.chmod(self.path, mode)
                conn = self.connect()
                conn.executescript("CREATE TABLE t(x); INSERT INTO t VALUES(1)")
                conn.execute("PRAGMA wal_checkpoint")  # app.db is what may be read by all

                def child():
                    os.setuid(65534)
                    c = helios.connect(self.path)
                    rows = c.execute("SELECT x FROM t").fetchall()
                    try:
                        c.execute("INSERT INTO t VALUES(2)")
                        c.commit()
                    except helios.OperationalError as e:
                        return rows, str(e)
                    return rows, "written"
                self.assertEqual(in_child(child), "([(1,)], 'written')" if mode == 0o666 else
                                 "([(1,)], 'attempt to write a readonly database')")
                self.assertEqual(conn.execute("SELECT count(*) FROM t").fetchone(), (2 if mode == 0o666 else 1,))


def unshared(*command):
    """The command in namespaces of its own, as in another container; None where that is not allowed."""
    for flags in (["-n", "-p", "-f"], ["-r", "-n", "-p", "-f"]):
        try:
            if subprocess.run(["unshare", *flags, "true"], stderr=subprocess.DEVNULL, timeout=20).returncode == 0:
                return ["unshare", *flags, *command]
        except OSError:
            pass
    return None


class Containers(Base):
    """Processes that share a folder, but neither a network nor process numbers."""

    def setUp(self):
        super().setUp()
        self.command = unshared(sys.executable, "-c", LOOP)
        if not self.command:
            self.skipTest("no namespaces here")

    def contained(self, path):
        p = Peer.__new__(Peer)
        p.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.addCleanup(p.close)
        p.pid = p.process.pid
        p(f"conn = connect({path!r})")
        return p

    def nothing_is_left(self, path):
        return [n for n in os.listdir(path + "-helios") if "nock" in n.lower()] == []

    def test_they_share_a_database(self):
        path = os.path.join(self.folder.name, "long" * 40, "app.db")
        os.mkdir(os.path.dirname(path))
        a, b = self.contained(path), self.contained(path)
        a.run("CREATE TABLE t(id INTEGER PRIMARY KEY, x UNIQUE)")
        self.assertEqual(a("os.getpid()"), b("os.getpid()"))
        for i in range(20):
            (a, b)[i % 2].run("INSERT INTO t(x) VALUES(?)", i)
            self.assertEqual((b, a)[i % 2].all("SELECT count(*) FROM t"), [(i + 1,)])
        with self.assertRaisesRegex(Failed, "UNIQUE constraint failed: t.x"):
            b.run("INSERT INTO t(x) VALUES(3)")
        b("conn.rollback()")
        a.begin("[conn.execute('UPDATE t SET x = x + 100') and conn.commit() for _ in range(50)]")
        b("[conn.execute('UPDATE t SET x = x + 100') and conn.commit() for _ in range(50)]")
        a.end()
        for peer in (a, b):
            self.assertEqual(peer.all("SELECT min(x), max(x) FROM t"), [(10000, 10019)])
        os.killpg(a.pid, signal.SIGKILL)  # the owner's whole container
        a.process.wait()
        begun = time.monotonic()
        b.run("INSERT INTO t(x) VALUES('after')")
        self.assertLess(time.monotonic() - begun, 5)
        c = self.contained(path)
        self.assertEqual(c.all("SELECT count(*) FROM t"), [(21,)])
        self.assertTrue(self.nothing_is_left(path))

    def test_a_container_and_its_host(self):
        conn = self.connect()
        conn.execute("CREATE TABLE t(x)")
        conn.commit()
        one = self.contained(self.path)
        one.run("INSERT INTO t VALUES(1)")
        self.assertEqual(conn.execute("SELECT x FROM t").fetchall(), [(1,)])
        self.assertTrue(self.nothing_is_left(self.path))
        conn.close()
        one.run("INSERT INTO t VALUES(2)")
        self.assertEqual(one.all("SELECT count(*) FROM t"), [(2,)])


class Forks(Base):
    def setUp(self):
        super().setUp()
        self.conn = self.connect()
        self.conn.executescript("CREATE TABLE n(x); INSERT INTO n VALUES(0); CREATE TABLE t(id INTEGER PRIMARY KEY, p)")

    def test_four_processes_count(self):
        for method in ("fork", "spawn"):
            with self.subTest(method):
                self.conn.executescript("UPDATE n SET x = 0; DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, p)")
                context = multiprocessing.get_context(method)
                workers = [context.Process(target=add, args=(self.path, 25)) for _ in range(4)]
                for w in workers:
                    w.start()
                for w in workers:
                    w.join(60)
                    self.assertEqual(w.exitcode, 0)
                self.assertEqual(self.conn.execute("SELECT x FROM n").fetchone(), (100,))
                self.assertEqual(self.conn.execute("SELECT count(*), count(DISTINCT p), max(id) FROM t").fetchone(), (100, 4, 100))

    def test_an_idle_connection_goes_on_in_the_child(self):
        c = self.conn
        self.assertEqual(c.execute("SELECT x FROM n").fetchall(), [(0,)])

        def child():
            first = c.execute("SELECT x FROM n").fetchall()
            c.execute("UPDATE n SET x = 5")
            c.commit()
            return first, c.execute("SELECT x FROM n").fetchall(), c.in_transaction
        self.assertEqual(in_child(child), "([(0,)], [(5,)], False)")
        self.assertEqual(c.execute("SELECT x FROM n").fetchall(), [(5,)])
        c.execute("UPDATE n SET x = 6")
        c.commit()
        self.assertEqual(in_child(lambda: c.execute("SELECT x FROM n").fetchall()), "[(6,)]")

    def test_an_open_transaction_stays_the_parents(self):
        c = self.conn
        c.execute("UPDATE n SET x = 7")
        self.assertTrue(c.in_transaction)

        def child():
            before = c.in_transaction
            seen = c.execute("SELECT x FROM n").fetchall()
            c.execute("INSERT INTO t(p) VALUES('child')")
            c.commit()
            return before, seen
        self.assertEqual(in_child(child), "(False, [(0,)])")
        self.assertTrue(c.in_transaction)
        c.commit()
        self.assertEqual(c.execute("SELECT x FROM n").fetchall(), [(7,)])
        self.assertEqual(c.execute("SELECT p FROM t").fetchall(), [("child",)])

    def test_the_child_of_a_client(self):
        script = f"""
import os
import heliosdb_sqlite as helios
c = helios.connect({self.path!r})
c.execute("SELECT * FROM n").fetchall()
if os.fork() == 0:
    c.execute("UPDATE n SET x = x + 1")
    c.commit()
    os._exit(0)
os.wait()
c.execute("UPDATE n SET x = x + 1")
c.commit()
print(c.execute("SELECT x FROM n").fetchall())
"""
        out = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, timeout=30)
        self.assertEqual(out.stdout.strip(), "[(2,)]")
        self.assertEqual(self.conn.execute("SELECT x FROM n").fetchall(), [(2,)])

    def test_a_child_ends_as_any_process_does(self):
        script = f"""
import atexit, os, sys
import heliosdb_sqlite as helios
path = {self.path!r} + "3"
c = helios.connect(path)
c.executescript("CREATE TABLE t(x)")
for kind in range(4):
    child = os.fork()
    if child == 0:
        atexit.register(print, "ending", kind)
        if kind == 1:
            c.execute("INSERT INTO t VALUES(1)")
            c.commit()
        if kind == 2:
            d = helios.connect(path)
            d.execute("INSERT INTO t VALUES(2)")
            d.commit()
        if kind == 3 and (grandchild := os.fork()):
            assert os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) == 13
        sys.exit(10 + kind)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
print(c.execute("SELECT x FROM t").fetchall())
"""
        out = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(out.stdout.split("\n"), ["ending 0", "10", "ending 1", "11", "ending 2", "12", "ending 3", "ending 3", "13", "[(1,), (2,)]", ""])
        self.assertEqual(out.stderr, "")

    def test_a_child_that_outlives_the_owner(self):
        script = f"""
import os, sys, time
import heliosdb_sqlite as helios
c = helios.connect({self.path!r} + "2")
c.executescript("CREATE TABLE t(x); INSERT INTO t VALUES(1)")
r, w = os.pipe()
r2, w2 = os.pipe()
if os.fork() == 0:
    os.close(w2)
    os.read(r2, 1)  # until the parent is gone
    c.execute("INSERT INTO t VALUES(2)")
    c.commit()
    print(c.execute("SELECT x FROM t").fetchall(), flush=True)
    os._exit(0)
os._exit(0)
"""
        out = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, timeout=30)
        self.assertEqual(out.stdout.strip(), "[(1,), (2,)]")


if __name__ == "__main__":
    unittest.main()
