"""Encrypted databases: nothing readable on the disk, clear errors, other keys, conversion in place, tampering."""
import _sqlite3 as stock
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import unittest

import heliosdb_sqlite as helios

KEY = bytes(range(32))
OTHER = bytes(32)
MARKER = b"MaRkEr"
SETUP = """
CREATE TABLE MaRkErTable(id INTEGER PRIMARY KEY, MaRkErColumn TEXT, n INT);
CREATE INDEX MaRkErIndex ON MaRkErTable(MaRkErColumn);
CREATE TABLE MaRkErKeys(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
CREATE TABLE vectors(id INTEGER PRIMARY KEY, e VECTOR(8));
CREATE VIRTUAL TABLE MaRkErText USING fts5(body);
CREATE VIEW MaRkErView AS SELECT 'MaRkErInView';
"""
VECTOR = [1.2345678, 2.3456789, 3.4567891, 4.567891, 5.678912, 6.789123, 7.891234, 8.912345]


def fill(conn):
    import struct
    conn.executescript(SETUP)
    with conn:
        conn.executemany("INSERT INTO MaRkErTable(MaRkErColumn, n) VALUES(?, ?)", [(f"MaRkErValue{i}", i) for i in range(500)])
        conn.executemany("INSERT INTO MaRkErKeys VALUES(?, ?)", [(f"MaRkErKey{i}", b"MaRkErBlob" * 20) for i in range(200)])
        conn.executemany("INSERT INTO vectors(e) VALUES(?)", [(struct.pack("8f", *VECTOR),)] * 20)
        conn.executemany("INSERT INTO MaRkErText VALUES(?)", [("MaRkErWord and MaRkErOther",)] * 20)
    with conn:
        conn.execute("UPDATE MaRkErTable SET MaRkErColumn = 'MaRkErHistory' || id WHERE id % 3 = 0")
        conn.execute("DELETE FROM MaRkErTable WHERE id % 5 = 0")
    conn.create_branch("MaRkErBranch").connect().close()


def markers():
    import struct
    whole = struct.pack("8f", *VECTOR)
    return [MARKER, MARKER.lower(), MARKER.upper(), whole[:8], whole[8:16], whole[16:24], KEY, KEY.hex().encode()]


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="helios_encryption_")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.path = os.path.join(self.dir, "app.db")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("HELIOSDB_")}
        if os.environ.pop("HELIOSDB_ENCRYPTION_KEY", None):
            self.fail("HELIOSDB_ENCRYPTION_KEY is set")

    def files(self):
        return [os.path.join(d, n) for d, _, names in os.walk(self.dir) for n in names]

    def assert_nothing_readable(self):
        for name in self.files():
            self.assertNotIn(b"MaRkEr", os.fsencode(name))
            with open(name, "rb") as f:
                content = f.read()
            for marker in markers():
                self.assertNotIn(marker, content, name)

    def snapshot(self):
        return {name: open(name, "rb").read() for name in self.files()}

    def refused(self, error, text, path=None, **keywords):
        before = self.snapshot()
        with self.assertRaises(error) as caught:
            helios.connect(path or self.path, **keywords)
        self.assertIs(type(caught.exception), error)
        self.assertIn(text, str(caught.exception))
        self.assertEqual(self.snapshot(), before)

    def python(self, code, *arguments, check=True, **environment):
        package = os.path.dirname(os.path.dirname(helios.__file__))
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True,
                              env={**self.environment, "PYTHONPATH": package, **environment}, timeout=60)
        if check:
            self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def tool(self, *arguments, check=True, **environment):
        return self.python("import sys; from heliosdb_sqlite.__main__ import main; main(sys.argv[1:])", *arguments, check=check, **environment)


class Files(Case):
    def test_no_marker_in_any_byte_of_any_file(self):
        conn = helios.connect(self.path, encryption_key=KEY)
        fill(conn)
        self.assert_nothing_readable()
        conn.checkpoint()
        self.assert_nothing_readable()
        conn.execute("VACUUM INTO ?", (os.path.join(self.dir, "copy.db"),))
        conn.close()
        self.assert_nothing_readable()
        self.assertEqual(os.path.getsize(self.path), 480)
        with self.assertRaisesRegex(stock.DatabaseError, "file is not a database"):
            stock.connect(self.path).execute("SELECT * FROM sqlite_schema")
        copy = helios.connect(os.path.join(self.dir, "copy.db"), encryption_key=KEY)
        self.assertEqual(copy.execute("SELECT count(*) FROM MaRkErTable").fetchone(), (400,))
        copy.close()

    def test_nor_after_a_kill_and_what_was_committed_is_there(self):
        code = """
            import os, signal, sys
            import heliosdb_sqlite as helios
            sys.path.insert(0, sys.argv[2])
            from test_encryption import fill, KEY
            conn = helios.connect(sys.argv[1], encryption_key=KEY)
            fill(conn)
            conn.execute("BEGIN")
            conn.execute("INSERT INTO MaRkErTable(MaRkErColumn) VALUES('MaRkErOpen')")
            os.kill(os.getpid(), signal.SIGKILL)
        """
        done = self.python(code, self.path, os.path.dirname(os.path.abspath(__file__)), check=False)
        self.assertEqual(done.returncode, -signal.SIGKILL, done.stderr)
        self.assert_nothing_readable()
        conn = helios.connect(self.path, encryption_key=KEY)
        self.assertEqual(conn.execute("SELECT count(*) FROM MaRkErTable").fetchone(), (400,))
        self.assertEqual(conn.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        conn.close()

    def test_large_sorts_spill_sealed(self):
        code = """
            import os, sys
            import heliosdb_sqlite as helios
            conn = helios.connect(sys.argv[1], encryption_key="11" * 32)
            conn.execute("PRAGMA cache_size = -100")
            conn.execute("CREATE TABLE t(a)")
            conn.executemany("INSERT INTO t VALUES(?)", (("MaRkEr%d" % (i * 7919 % 1000003) + "x" * 300,) for i in range(60000)))
            conn.commit()
            rows = conn.execute("SELECT a FROM t ORDER BY a")
            next(rows)
            spilled = []
            for fd in os.listdir("/proc/self/fd"):
                try:
                    name = os.readlink("/proc/self/fd/" + fd)
                except OSError:
                    continue
                if "(deleted)" in name and os.environ["TMPDIR"] in name:
                    with open("/proc/self/fd/" + fd, "rb") as f:
                        spilled.append(f.read())
            assert all(b"MaRkEr" not in s for s in spilled)
            print(len(spilled))
        """
        self.python(code, self.path, TMPDIR=self.dir)
        self.assert_nothing_readable()


class Opening(Case):
    def test_wrong_key_and_no_key_are_one_clear_error_and_change_nothing(self):
        conn = helios.connect(self.path, encryption_key=KEY)
        conn.execute("CREATE TABLE t(a)")
        self.refused(helios.DatabaseError, "the key is wrong", encryption_key=OTHER)
        conn.close()
        self.refused(helios.DatabaseError, "file is encrypted", encryption_key=OTHER)
        self.refused(helios.DatabaseError, "file is encrypted", passphrase="no")
        self.refused(helios.DatabaseError, "file is encrypted: encryption_key or passphrase is needed")
        for text in (KEY.hex(), KEY.hex().upper()):
            helios.connect(self.path, encryption_key=text).close()
        helios.connect(self.path, encryption_key=bytearray(KEY)).close()

    def test_a_key_for_a_plain_file_names_the_tool(self):
        conn = helios.connect(self.path)
        conn.execute("CREATE TABLE t(a)")
        conn.close()
        self.refused(helios.OperationalError, "python -m heliosdb_sqlite encrypt", encryption_key=KEY)
        with stock.connect(os.path.join(self.dir, "stock.db")) as other:
            other.execute("CREATE TABLE t(a)")
        other.close()
        self.refused(helios.OperationalError, "python -m heliosdb_sqlite encrypt", os.path.join(self.dir, "stock.db"), passphrase="x")

    def test_the_environment_gives_the_key(self):
        code = """
            import sys, heliosdb_sqlite as helios
            conn = helios.connect(sys.argv[1])
            conn.execute("CREATE TABLE IF NOT EXISTS MaRkEr(a)")
            helios.connect(":memory:").execute("CREATE TABLE t(a)")
            conn.close()
        """
        self.python(code, self.path, HELIOSDB_ENCRYPTION_KEY=KEY.hex())
        self.assert_nothing_readable()
        helios.connect(self.path, encryption_key=KEY).close()
        bad = self.python(code, self.path, HELIOSDB_ENCRYPTION_KEY="zz", check=False)
        self.assertIn("HELIOSDB_ENCRYPTION_KEY must be 32 bytes or 64 hex digits", bad.stderr)

    def test_a_plain_file_in_the_place_of_the_header_is_refused(self):
        conn = helios.connect(self.path, encryption_key=KEY)
        conn.execute("CREATE TABLE t(a)")
        conn.close()
        header = open(self.path, "rb").read()
        os.remove(self.path)
        with stock.connect(self.path) as other:
            other.execute("CREATE TABLE x(a)")
        other.close()
        self.refused(helios.OperationalError, "is not the header of the encrypted database", encryption_key=KEY)
        self.refused(helios.OperationalError, "is not the header of the encrypted database")
        shutil.copy(self.path + "-helios/KEY", self.path)
        self.assertEqual(open(self.path, "rb").read(), header)
        helios.connect(self.path, encryption_key=KEY).close()

    def test_a_header_without_its_directory_or_with_anothers(self):
        for name in ("a.db", "b.db"):
            conn = helios.connect(os.path.join(self.dir, name), encryption_key=KEY)
            conn.execute("CREATE TABLE t(a)")
            conn.close()
        a, b = (os.path.join(self.dir, n) for n in ("a.db", "b.db"))
        shutil.copy(a, os.path.join(self.dir, "alone.db"))
        self.refused(helios.OperationalError, "is missing", os.path.join(self.dir, "alone.db"), encryption_key=KEY)
        shutil.copy(a, b)
        self.refused(helios.OperationalError, "is the header of another encrypted database", b, encryption_key=KEY)

    def test_a_removed_file_begins_a_new_database(self):
        conn = helios.connect(self.path, encryption_key=KEY)
        conn.execute("CREATE TABLE t(a)")
        conn.close()
        os.remove(self.path)
        conn = helios.connect(self.path, encryption_key=OTHER)
        self.assertEqual(conn.execute("SELECT count(*) FROM sqlite_schema").fetchone(), (0,))
        conn.close()
        self.assertTrue(os.path.isdir(self.path + "-helios.stale"))

    def test_read_only_media_are_read(self):
        conn = helios.connect(self.path, encryption_key=KEY)
        conn.execute("CREATE TABLE t AS SELECT 42 a")
        conn.close()
        conn = helios.connect(f"file:{self.path}?mode=ro", uri=True, encryption_key=KEY)
        self.assertEqual(conn.execute("SELECT a FROM t").fetchall(), [(42,)])
        with self.assertRaisesRegex(helios.OperationalError, "readonly"):
            conn.execute("INSERT INTO t VALUES(1)")
        conn.close()
        with self.assertRaisesRegex(helios.OperationalError, "unable to open"):
            helios.connect(f"file:{self.path}2?mode=rw", uri=True, encryption_key=KEY)

    def test_attached_databases_take_the_key_or_their_own(self):
        other, plain = os.path.join(self.dir, "other.db"), os.path.join(self.dir, "plain.db")
        conn = helios.connect(plain)
        conn.execute("CREATE TABLE p AS SELECT 7 a")
        conn.close()
        conn = helios.connect(self.path, encryption_key=KEY)
        conn.execute("ATTACH ? AS o", (other,))
        conn.execute("CREATE TABLE o.MaRkEr(a)")
        conn.execute("INSERT INTO o.MaRkEr VALUES('MaRkEr')")
        conn.execute("ATTACH ? AS p", (plain,))
        self.assertEqual(conn.execute("SELECT a FROM p.p").fetchall(), [(7,)])
        conn.commit()
        conn.close()
        self.assertEqual(os.path.getsize(other), 480)
        self.assert_nothing_readable()
        conn = helios.connect(":memory:")
        with self.assertRaisesRegex(helios.DatabaseError, "file is encrypted"):
            conn.execute("ATTACH ? AS o", (other,))
        conn.execute(f"ATTACH ? AS o KEY '{KEY.hex()}'", (other,))
        self.assertEqual(conn.execute("SELECT a FROM o.MaRkEr").fetchall(), [("MaRkEr",)])
        conn.execute("ATTACH ? AS third KEY 'a passphrase'", (os.path.join(self.dir, "third.db"),))
        conn.execute("CREATE TABLE third.t AS SELECT 'MaRkEr' a")
        conn.close()
        self.assert_nothing_readable()
        helios.connect(os.path.join(self.dir, "third.db"), passphrase="a passphrase").close()


class Keys(Case):
    def test_rekey(self):
        conn = helios.connect(self.path, encryption_key=KEY)
        conn.execute("CREATE TABLE t AS SELECT 1 a")
        conn.rekey(OTHER)
        self.refused(helios.DatabaseError, "the key is wrong", encryption_key=KEY)
        conn.rekey(passphrase="horse")
        conn.close()
        conn = helios.connect(self.path, passphrase="horse")
        self.assertEqual(conn.execute(f"PRAGMA heliosdb_rekey = '{KEY.hex()}'").fetchall(), [("ok",)])
        conn.close()
        conn = helios.connect(self.path, encryption_key=KEY)
        conn.execute("PRAGMA heliosdb_rekey = 'cart'")
        self.assertEqual(conn.execute("SELECT a FROM t").fetchall(), [(1,)])
        with self.assertRaisesRegex(helios.ProgrammingError, "32 bytes or 64 hex digits"):
            conn.rekey("short")
        with self.assertRaises(TypeError):
            conn.rekey()
        conn.close()
        helios.connect(self.path, passphrase="cart").close()
        self.refused(helios.DatabaseError, "the key is wrong", encryption_key=KEY)
        plain = helios.connect(os.path.join(self.dir, "plain.db"))
        with self.assertRaisesRegex(helios.OperationalError, "python -m heliosdb_sqlite encrypt"):
            plain.rekey(KEY)
        plain.close()

    def test_a_rekey_cut_short_leaves_one_of_the_two(self):
        conn = helios.connect(self.path, encryption_key=KEY)
        conn.execute("CREATE TABLE t(a)")
        old = open(self.path, "rb").read()
        conn.rekey(OTHER)
        conn.close()
        with open(self.path + "-helios/KEY", "wb") as f:  # the second of the two files was not reached
            f.write(old)
        helios.connect(self.path, encryption_key=OTHER).close()
        self.assertEqual(open(self.path, "rb").read(), open(self.path + "-helios/KEY", "rb").read())


class Showing(Case):
    def test_statements_with_a_key_are_not_kept(self):
        conn = helios.connect(self.path, encryption_key=KEY, isolation_level=None)
        conn.execute("PRAGMA heliosdb_rekey = 'geheim'")
        conn.execute("ATTACH ? AS other KEY 'geheim'", (os.path.join(self.dir, "other.db"),))
        self.assertEqual(conn.execute("SELECT count(*) FROM heliosdb_stats WHERE name LIKE '%gehei' || 'm%'").fetchone(), (0,))
        self.assertIn("encryption", dict(conn.execute("SELECT name, value FROM heliosdb_info"))["features"])
        with self.assertRaises(helios.ProgrammingError) as caught:
            helios.connect(self.path, encryption_key="geheim")
        self.assertNotIn("geheim", str(caught.exception))
        with self.assertRaisesRegex(helios.OperationalError, "no mirror"):
            helios.connect(self.path, passphrase="geheim", mirror=True)
        conn.close()

    def test_a_server_takes_the_connections_key(self):
        for keywords in ({"encryption_key": KEY}, {"passphrase": "a horse"}):
            path = os.path.join(self.dir, list(keywords)[0])
            conn = helios.connect(path, isolation_level=None, **keywords)
            conn.execute("CREATE TABLE t AS SELECT 5 a")
            with conn.start_server(port=0) as server:
                client = helios.connect(path, mode="server", dsn=server.dsn)
                self.assertEqual(client.execute("SELECT a FROM t").fetchall(), [(5,)])
                client.close()
            conn.close()
            with helios.start_server(path, port=0, **keywords) as server:
                client = helios.connect(path, mode="server", dsn=server.dsn)
                self.assertEqual(client.execute("SELECT a FROM t").fetchall(), [(5,)])
                client.close()
            with self.assertRaisesRegex(helios.OperationalError, "file is encrypted"):
                helios.start_server(path, port=0, passphrase="another")


class Processes(Case):
    def test_a_second_process_has_the_same_key_or_nothing(self):
        conn = helios.connect(self.path, encryption_key=KEY, isolation_level=None)
        conn.execute("CREATE TABLE t AS SELECT 'MaRkEr' a")
        out = self.python("""
            import sys, heliosdb_sqlite as helios
            path, key = sys.argv[1:3]
            for keywords in ({}, {"encryption_key": "00" * 32}, {"passphrase": "MaRkEr"}):
                try:
                    helios.connect(path, **keywords)
                except helios.DatabaseError as error:
                    assert str(error).startswith("file is encrypted"), error
                else:
                    raise SystemExit("opened")
            conn = helios.connect(path, isolation_level=None, encryption_key=key)
            conn.execute("INSERT INTO t VALUES('MaRkEr of the other')")
            conn.execute("VACUUM INTO ?", (path + ".copy",))
            try:
                conn._convert()
            except helios.OperationalError as error:
                assert str(error).startswith("database is locked"), error
            conn.rekey(passphrase="a horse")
            print(len(conn.execute("SELECT * FROM t").fetchall()))
            conn.close()
        """, self.path, KEY.hex()).stdout
        self.assertEqual(out, "2\n")
        self.assertEqual(conn.execute("SELECT count(*) FROM t").fetchone(), (2,))
        self.refused(helios.DatabaseError, "the key is wrong", encryption_key=KEY)
        self.assert_nothing_readable()
        conn.close()
        copy = helios.connect(self.path + ".copy", encryption_key=KEY)
        self.assertEqual(copy.execute("SELECT count(*) FROM t").fetchone(), (2,))
        copy.close()
        helios.connect(self.path, passphrase="a horse").close()


class Converting(Case):
    def fill_plain(self):
        self.python("""
            import sys, heliosdb_sqlite as helios
            sys.path.insert(0, sys.argv[2])
            from test_encryption import fill
            conn = helios.connect(sys.argv[1])
            fill(conn)
            conn.close()
        """, self.path, os.path.dirname(os.path.abspath(__file__)))

    def test_encrypt_and_decrypt_keep_everything(self):
        self.fill_plain()
        before = self.python("""
            import sys, heliosdb_sqlite as helios
            conn = helios.connect(sys.argv[1])
            print(conn.execute("SELECT count(*) FROM heliosdb_transactions").fetchone()[0])
            conn.close()
        """, self.path).stdout.strip()
        self.assertIn("is encrypted", self.tool("encrypt", self.path, HELIOSDB_ENCRYPTION_KEY=KEY.hex()).stdout)
        self.assert_nothing_readable()
        self.assertEqual(sorted(os.listdir(self.dir)), ["app.db", "app.db-helios"])
        self.python("""
            import sys, heliosdb_sqlite as helios
            conn = helios.connect(sys.argv[1], encryption_key=sys.argv[2])
            assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert [b.name for b in conn.branches()] == ["main", "MaRkErBranch"], conn.branches()
            assert conn.execute("SELECT count(*) FROM heliosdb_transactions").fetchone()[0] == int(sys.argv[3])
            conn.execute("INSERT INTO MaRkErTable(MaRkErColumn) VALUES('MaRkErNew')")
            conn.commit()
            conn.close()
        """, self.path, KEY.hex(), before)
        self.tool("decrypt", self.path, HELIOSDB_ENCRYPTION_KEY=KEY.hex())
        with stock.connect(self.path) as other:
            self.assertEqual(other.execute("SELECT count(*) FROM MaRkErTable").fetchone(), (401,))
            self.assertEqual(other.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        other.close()
        conn = helios.connect(self.path)
        self.assertEqual([b.name for b in conn.branches()], ["main", "MaRkErBranch"])
        self.assertEqual(conn.execute("SELECT count(*) FROM MaRkErTable").fetchone(), (401,))
        conn.close()

    def test_a_file_that_only_sqlite_knew(self):
        with stock.connect(self.path) as other:
            other.execute("CREATE TABLE MaRkEr AS SELECT 'MaRkEr' a")
        other.close()
        with open(os.path.join(self.dir, "phrase"), "w") as f:
            f.write("a horse\n")
        self.tool("encrypt", self.path, "--passphrase-file", os.path.join(self.dir, "phrase"))
        self.assert_nothing_readable()
        conn = helios.connect(self.path, passphrase="a horse")
        self.assertEqual(conn.execute("SELECT a FROM MaRkEr").fetchall(), [("MaRkEr",)])
        conn.close()

    def test_killed_at_any_moment_it_is_one_or_the_other(self):
        """Each round converts to what it is not, killed after some part of the time that it takes."""
        self.fill_plain()
        convert = """
            import os, sys, heliosdb_sqlite as helios
            path, key, sealed, share = sys.argv[1], sys.argv[2], sys.argv[3] == "sealed", float(sys.argv[4])
            conn = helios.connect(path, encryption_key=key if sealed else None)
            conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if share:
                import signal
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.setitimer(signal.ITIMER_REAL, share)
            import time
            start = time.perf_counter()
            conn._convert(None if sealed else key)
            print(time.perf_counter() - start)
            conn.close()
        """
        look = """
            import sys, heliosdb_sqlite as helios
            conn = helios.connect(sys.argv[1], encryption_key=sys.argv[2] if sys.argv[3] == "sealed" else None)
            assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            print(conn.execute("SELECT count(*) FROM MaRkErTable").fetchone()[0], [b.name for b in conn.branches()])
            conn.close()
        """
        state, took, killed = "plain", 0.03, 0
        for share in (0, 0.1, 0.3, 0, 0.5, 0.7, 0.85, 0, 0.95, 1.0, 1.05):
            done = self.python(convert, self.path, KEY.hex(), state, str(share * took), check=False)
            if share == 0:
                self.assertEqual(done.returncode, 0, done.stderr)
                took = float(done.stdout)
            killed += done.returncode == -signal.SIGALRM
            self.assertIn(done.returncode, (0, -signal.SIGALRM), done.stderr)
            state = "sealed" if os.path.exists(self.path + "-helios/KEY") else "plain"
            self.assertEqual(self.python(look, self.path, KEY.hex(), state).stdout, "400 ['main', 'MaRkErBranch']\n")
        self.assertGreater(killed, 0)

    def test_not_while_others_have_it(self):
        one, two = helios.connect(self.path), helios.connect(self.path)
        one.execute("CREATE TABLE t(a)")
        with self.assertRaisesRegex(helios.OperationalError, "database is locked"):
            one._convert(KEY)
        two.close()
        one._convert(KEY)
        one.close()
        helios.connect(self.path, encryption_key=KEY).close()

    def test_cut_short_behind_the_turning_point(self):
        """The marker is in the directory and the file beside it is still the old one: in both directions."""
        self.fill_plain()
        old = open(self.path, "rb").read()
        self.tool("encrypt", self.path, HELIOSDB_ENCRYPTION_KEY=KEY.hex())
        header = open(self.path, "rb").read()
        self.python("import os, sys; open(sys.argv[1] + '-helios/CONVERTING', 'w').close(); os.mkdir(sys.argv[1] + '-helios.new')", self.path)
        with open(self.path, "wb") as f:
            f.write(old)
        with self.assertRaisesRegex(helios.DatabaseError, "file is encrypted"):
            helios.connect(self.path)
        self.assertEqual(open(self.path, "rb").read(), header)
        self.assertEqual(sorted(os.listdir(self.dir)), ["app.db", "app.db-helios"])
        self.tool("decrypt", self.path, HELIOSDB_ENCRYPTION_KEY=KEY.hex())
        # and once more to the state right after the directories changed places
        self.tool("encrypt", self.path, HELIOSDB_ENCRYPTION_KEY=KEY.hex())
        header = open(self.path, "rb").read()
        self.python("""
            import sys, heliosdb_sqlite as helios
            conn = helios.connect(sys.argv[1], encryption_key=sys.argv[2])
            conn._convert()
            conn.close()
        """, self.path, KEY.hex())
        self.python("import sys; open(sys.argv[1] + '-helios/CONVERTING', 'w').close()", self.path)
        with open(self.path, "wb") as f:
            f.write(header)
        conn = helios.connect(self.path)
        self.assertEqual(conn.execute("SELECT count(*) FROM MaRkErTable").fetchone(), (400,))
        conn.close()
        with stock.connect(self.path) as other:
            self.assertEqual(other.execute("SELECT count(*) FROM MaRkErTable").fetchone(), (400,))
        other.close()


class Tampering(Case):
    def test_flipped_bits_are_errors_or_right_data(self):
        """A bit of every 61st byte of all files: each time the right rows or an error."""
        code = """
            import os, shutil, sys
            import heliosdb_sqlite as helios
            source, work, key = sys.argv[1:4]
            def rows(path):
                conn = helios.connect(path, encryption_key=key)
                try:
                    return conn.execute("SELECT * FROM t ORDER BY a").fetchall(), conn.execute("SELECT b FROM t ORDER BY b").fetchall()
                finally:
                    conn.close()
            right = None
            errors = tried = 0
            names = [os.path.join(d, n) for d, _, ns in os.walk(source) for n in ns if n not in ("LOCK",)]
            for name in names:
                content = open(name, "rb").read()
                for at in range(0, len(content), 61):
                    folder = os.path.join(work, str(tried))
                    shutil.copytree(source, folder)
                    if right is None:
                        right = rows(os.path.join(folder, "app.db"))
                        shutil.rmtree(folder)
                        shutil.copytree(source, folder)
                    with open(os.path.join(folder, os.path.relpath(name, source)), "r+b") as f:
                        f.seek(at)
                        f.write(bytes([content[at] ^ 1 << at % 8]))
                    tried += 1
                    try:
                        found = rows(os.path.join(folder, "app.db"))
                    except helios.Error:
                        errors += 1
                    else:
                        assert found == right, (name, at, len(found[0]))
                    shutil.rmtree(folder)
            assert errors > tried // 2, (errors, tried)
            print(tried, errors)
        """
        source = os.path.join(self.dir, "source")
        os.mkdir(source)
        self.python("""
            import sys, heliosdb_sqlite as helios
            conn = helios.connect(sys.argv[1], encryption_key=sys.argv[2])
            conn.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
            conn.execute("CREATE INDEX i ON t(b)")
            conn.executemany("INSERT INTO t(b) VALUES(?)", [("row %d" % (i * 37 % 100),) for i in range(100)])
            conn.commit()
            conn.checkpoint()
            conn.executemany("INSERT INTO t(b) VALUES(?)", [("late %d" % i,) for i in range(30)])
            conn.commit()
            conn.close()
        """, os.path.join(source, "app.db"), KEY.hex())
        self.python(code, source, self.dir, KEY.hex())

    def test_no_two_files_have_one_id(self):
        conn = helios.connect(self.path, encryption_key=KEY)
        fill(conn)
        conn.checkpoint()
        conn.execute("INSERT INTO vectors(id) VALUES(99)")
        conn.commit()
        conn.close()
        ids = [open(f, "rb").read(64)[24:40] for f in self.files() if os.path.getsize(f) > 64 and os.path.basename(f) not in ("KEY", "app.db")]
        self.assertGreater(len(ids), 5)
        self.assertEqual(len(ids), len(set(ids)))


if __name__ == "__main__":
    unittest.main()
