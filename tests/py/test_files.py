"""app.db and its directory: files of every kind taken in, written back, deleted, replaced, damaged."""
import os
import shutil
import sqlite3 as stock
import stat
import tempfile
import unittest

import heliosdb_sqlite as helios

NOT_OURS = "name NOT LIKE '\\_heliosdb%' ESCAPE '\\' AND tbl_name NOT LIKE '\\_heliosdb%' ESCAPE '\\'"


def content(conn):
    """Schema texts and every row of every table, as stock sqlite3 or we see them."""
    schema = conn.execute(f"SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE {NOT_OURS} ORDER BY type, name").fetchall()
    rows = {}
    for kind, name, _, sql in schema:
        if kind in ("table", "view"):
            rows[name] = sorted(conn.execute('SELECT * FROM "' + name.replace('"', '""') + '"').fetchall(), key=repr)
    return schema, rows


class Files(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="helios-files-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.path = os.path.join(self.folder, "app.db")

    def make(self, script, path=None, **keywords):
        conn = stock.connect(path or self.path, **keywords)
        conn.executescript(script)
        conn.commit()
        conn.close()

    def assert_stock_reads(self, wanted, path=None):
        conn = stock.connect(path or self.path)
        self.assertEqual(conn.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        self.assertEqual(content(conn), wanted)
        conn.close()

    def round_trip(self, script):
        """Taken in equal; changed; read by stock equal to what we read; opened again equal."""
        self.make(script)
        before = stock.connect(self.path)
        wanted = content(before)
        before.close()
        conn = helios.connect(self.path)
        self.assertEqual(content(conn), wanted)
        conn.execute("CREATE TABLE added(x, y DEFAULT 5)")
        conn.execute("INSERT INTO added(x) VALUES (1), ('zwei'), (3.5), (x'00ff'), (NULL)")
        for name in wanted[1]:
            if name in ("t", "w"):
                conn.execute(f"DELETE FROM {name} WHERE rowid = 1" if name == "t" else f"DELETE FROM {name} WHERE k = 'b'")
        conn.commit()
        now = content(conn)
        conn.close()
        self.assert_stock_reads(now)
        conn = helios.connect(self.path)
        self.assertEqual(content(conn), now)
        self.assertEqual(conn.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        conn.close()

    TABLES = '''
        CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE, b REAL, c BLOB, d NUMERIC UNIQUE);
        INSERT INTO t VALUES(1, 'x', 1, x'01', 1), (2, 'X', 2.5, NULL, 'two'), (-5, 'ünïcode', 1e300, x'', 3), (9223372036854775807, '', -0.0, zeroblob(5000), 4);
        CREATE INDEX t_a ON t(a, b DESC); CREATE INDEX t_part ON t(b) WHERE b > 1; CREATE INDEX t_expr ON t(length(a));
        CREATE TABLE w(k TEXT PRIMARY KEY, v, n INT) WITHOUT ROWID; INSERT INTO w VALUES('b', 1, 2), ('a', NULL, 3), ('B', 2.5, 4);
        CREATE TABLE g(a INT, b INT AS (a * 2) STORED, c AS (a + b)); INSERT INTO g(a) VALUES(1), (2);
        CREATE TABLE auto(id INTEGER PRIMARY KEY AUTOINCREMENT, x); INSERT INTO auto(x) VALUES(1), (2); DELETE FROM auto WHERE id = 2;
        CREATE TABLE "odd name ""q"""("sel ect" TEXT DEFAULT 'it''s', [b c] INT); INSERT INTO "odd name ""q""" DEFAULT VALUES;
        CREATE TABLE child(id INTEGER PRIMARY KEY, tid REFERENCES t(id) ON DELETE SET NULL); INSERT INTO child VALUES(1, 2);
        CREATE VIEW v AS SELECT a, count(*) AS n FROM t GROUP BY a; CREATE VIEW v2(p, q) AS SELECT k, v FROM w;
        CREATE TABLE log(x); CREATE TRIGGER tr AFTER DELETE ON t BEGIN INSERT INTO log VALUES('gone ' || old.id); END;
        CREATE TABLE rows(rowid TEXT, oid INT); INSERT INTO rows VALUES('r', 1), ('s', 2);
        ALTER TABLE g ADD COLUMN late DEFAULT 'l';
        PRAGMA user_version = 77;
    '''

    def test_every_kind_of_table_goes_in_and_out(self):
        self.round_trip(self.TABLES)

    def test_a_file_in_wal_mode(self):
        self.round_trip("PRAGMA journal_mode = WAL;" + self.TABLES)

    def test_files_in_utf16(self):
        for encoding in ("UTF-16le", "UTF-16be"):
            with self.subTest(encoding):
                self.path = os.path.join(self.folder, encoding)
                self.round_trip(f"PRAGMA encoding = '{encoding}';" + self.TABLES)

    def test_every_page_size(self):
        for size in (512, 1024, 8192, 65536):
            with self.subTest(size):
                self.path = os.path.join(self.folder, f"p{size}")
                self.round_trip(f"PRAGMA page_size = {size};" + self.TABLES)

    def test_sequence_and_version_come_along(self):
        self.make(self.TABLES)
        conn = helios.connect(self.path)
        self.assertEqual(conn.execute("PRAGMA user_version").fetchone(), (77,))
        self.assertEqual(conn.execute("INSERT INTO auto(x) VALUES(9)").lastrowid, 3)
        conn.execute("PRAGMA user_version = 78")
        conn.commit()
        conn.close()
        conn = stock.connect(self.path)
        self.assertEqual(conn.execute("PRAGMA user_version").fetchone(), (78,))
        self.assertEqual(conn.execute("INSERT INTO auto(x) VALUES(9)").lastrowid, 4)
        conn.close()

    def test_changes_go_out_one_by_one_and_by_schema(self):
        conn = helios.connect(self.path, isolation_level=None)
        steps = ["CREATE TABLE a(id INTEGER PRIMARY KEY, x UNIQUE)", "INSERT INTO a VALUES(1, 'p'), (2, 'q'), (3, 'r')",
                 "UPDATE a SET x = x || '!' WHERE id < 3",
                 "DELETE FROM a WHERE id = 2", "CREATE INDEX i ON a(x)", "ALTER TABLE a ADD COLUMN z DEFAULT 4", "INSERT INTO a VALUES(7, 's', 8)",
                 "ALTER TABLE a RENAME TO b", "CREATE VIEW v AS SELECT * FROM b", "DROP INDEX i", "CREATE TABLE a(id INTEGER PRIMARY KEY, x UNIQUE)",
                 "INSERT INTO a VALUES(1, 'other')", "DROP VIEW v", "DROP TABLE b", "DELETE FROM a", "DROP TABLE a", "CREATE TABLE a(id INTEGER PRIMARY KEY, x UNIQUE)",
                 "CREATE TABLE w(a, b, PRIMARY KEY(b, a)) WITHOUT ROWID", "INSERT INTO w VALUES(1, 'x'), (2, 'y')", "UPDATE w SET b = 'z' WHERE a = 1",
                 "DELETE FROM w WHERE a = 2", "ANALYZE", "CREATE TABLE q(i INTEGER PRIMARY KEY AUTOINCREMENT)", "INSERT INTO q DEFAULT VALUES", "DROP TABLE q"]
        for sql in steps:
            conn.execute(sql)
            conn.checkpoint()
            self.assert_stock_reads(content(conn))
        conn.close()

    def test_swapped_unique_values(self):
        conn = helios.connect(self.path, isolation_level=None)
        conn.executescript("CREATE TABLE u(id INTEGER PRIMARY KEY, x UNIQUE); INSERT INTO u VALUES(1, 'a'), (2, 'b'), (3, 'c')")
        conn.checkpoint()
        conn.executescript("BEGIN; UPDATE u SET x = 'tmp' WHERE id = 1; UPDATE u SET x = 'a' WHERE id = 2; UPDATE u SET x = 'b' WHERE id = 1; COMMIT")
        conn.close()
        self.assert_stock_reads(([("index", "sqlite_autoindex_u_1", "u", None), ("table", "u", "u", "CREATE TABLE u(id INTEGER PRIMARY KEY, x UNIQUE)")],
                                 {"u": [(1, "b"), (2, "a"), (3, "c")]}))

    def test_what_a_tool_changed_while_closed_is_taken_in(self):
        self.make(self.TABLES)
        conn = helios.connect(self.path)
        conn.execute("INSERT INTO log VALUES('ours')")
        conn.commit()
        conn.close()
        self.make("INSERT INTO log VALUES('tool'); CREATE TABLE made_by_tool(x); INSERT INTO made_by_tool VALUES(1)")
        conn = helios.connect(self.path)
        self.assertEqual(conn.execute("SELECT * FROM log ORDER BY 1").fetchall(), [("ours",), ("tool",)])
        self.assertEqual(conn.execute("SELECT * FROM made_by_tool").fetchall(), [(1,)])
        conn.close()

    def test_a_copy_put_back_is_a_restore(self):
        conn = helios.connect(self.path)
        conn.executescript("CREATE TABLE t(x); INSERT INTO t VALUES(1)")
        conn.close()
        shutil.copy(self.path, self.path + ".bak")
        conn = helios.connect(self.path)
        conn.execute("UPDATE t SET x = 2")
        conn.commit()
        conn.close()
        shutil.copy(self.path + ".bak", self.path)
        conn = helios.connect(self.path)
        self.assertEqual(conn.execute("SELECT * FROM t").fetchall(), [(1,)])
        conn.close()

    def test_copied_or_moved_alone_it_is_a_plain_database(self):
        conn = helios.connect(self.path)
        conn.executescript("CREATE TABLE t(x); INSERT INTO t VALUES(1)")
        conn.close()
        other = os.path.join(self.folder, "other.db")
        shutil.copy(self.path, other)
        conn = helios.connect(other)
        conn.execute("INSERT INTO t VALUES(2)")
        conn.commit()
        conn.close()
        self.assertEqual(stock.connect(other).execute("SELECT count(*) FROM t").fetchone(), (2,))
        self.assertEqual(stock.connect(self.path).execute("SELECT count(*) FROM t").fetchone(), (1,))

    def test_deleted_after_close_a_new_database_begins(self):
        for _ in range(3):
            conn = helios.connect(self.path)
            conn.execute("CREATE TABLE t(x)")
            conn.close()
            os.unlink(self.path)

    def test_deleted_under_an_open_connection(self):
        for with_directory in (False, True):
            old = helios.connect(self.path)
            old.executescript("CREATE TABLE t(x); INSERT INTO t VALUES(1)")
            os.unlink(self.path)
            if with_directory:
                shutil.rmtree(self.path + "-helios")
            new = helios.connect(self.path)
            self.assertEqual(new.execute("SELECT * FROM sqlite_schema").fetchall(), [])
            self.assertEqual(old.execute("SELECT * FROM t").fetchall(), [(1,)])
            new.execute("CREATE TABLE fresh(x)")
            new.commit()
            old.close()
            new.close()
            conn = stock.connect(self.path)
            self.assertEqual(conn.execute(f"SELECT name FROM sqlite_schema WHERE {NOT_OURS}").fetchall(), [("fresh",)])
            conn.close()
            os.unlink(self.path)

    def test_deleted_before_close_it_stays_deleted(self):
        conn = helios.connect(self.path)
        conn.executescript("CREATE TABLE t(x); INSERT INTO t VALUES(1)")
        os.unlink(self.path)
        conn.close()
        self.assertFalse(os.path.exists(self.path))
        conn = helios.connect(self.path)
        self.assertEqual(conn.execute("SELECT * FROM sqlite_schema").fetchall(), [])
        conn.close()

    def test_emptied_it_is_an_empty_database(self):
        conn = helios.connect(self.path)
        conn.execute("CREATE TABLE t(x)")
        conn.close()
        open(self.path, "w").close()
        conn = helios.connect(self.path)
        self.assertEqual(conn.execute("SELECT * FROM sqlite_schema").fetchall(), [])
        conn.close()

    def test_open_errors_are_sqlites_and_leave_nothing(self):
        cases = [(self.folder, None), (os.path.join(self.folder, "missing", "x.db"), None)]
        junk = os.path.join(self.folder, "junk.db")
        with open(junk, "wb") as f:
            f.write(b"this is not a database, by far" * 40)
        cases.append((junk, b"this"))
        self.make(self.TABLES)
        damaged = os.path.join(self.folder, "damaged.db")
        with open(self.path, "rb") as f:
            data = bytearray(f.read())
        data[100:140] = b"\xff" * 40  # the schema's own page
        with open(damaged, "wb") as f:
            f.write(data)
        cases.append((damaged, None))
        for path, _ in cases:
            with self.subTest(path):
                outcome = []
                for module in (stock, helios):
                    try:
                        conn = module.connect(path)
                        conn.execute("SELECT * FROM sqlite_schema").fetchall()
                        conn.close()
                        outcome.append("opened")
                    except module.Error as error:
                        outcome.append((type(error).__name__, str(error)))
                self.assertNotEqual(outcome[0], "opened")
                self.assertEqual(outcome[0], outcome[1])
                self.assertFalse(os.path.exists(path + "-helios"))
        with open(junk, "rb") as f:
            self.assertTrue(f.read().startswith(b"this is not"))

    def test_a_damaged_directory_is_an_error_and_never_a_fresh_database(self):
        conn = helios.connect(self.path)
        conn.executescript("CREATE TABLE t(x); INSERT INTO t VALUES(1)")
        conn.close()
        directory = self.path + "-helios"
        for victim in ("CURRENT", "MANIFEST"):
            with self.subTest(victim):
                work = os.path.join(self.folder, "copy-" + victim + ".db")
                shutil.copy2(self.path, work)
                shutil.copytree(directory, work + "-helios")
                for name in os.listdir(work + "-helios"):
                    if name.startswith(victim):
                        os.unlink(os.path.join(work + "-helios", name))
                with self.assertRaises(helios.DatabaseError):
                    helios.connect(work).execute("SELECT * FROM t").fetchall()
                self.assertEqual(stock.connect(work).execute("SELECT * FROM t").fetchall(), [(1,)])

    def test_read_only(self):
        self.make(self.TABLES)
        uri = f"file:{self.path}?mode=ro"
        conn = helios.connect(uri, uri=True)
        self.assertEqual(conn.execute("SELECT count(*) FROM t").fetchone(), (4,))
        with self.assertRaisesRegex(helios.OperationalError, "attempt to write a readonly database"):
            conn.execute("DELETE FROM t")
        conn.close()
        self.assertEqual(os.listdir(self.folder), ["app.db"])
        with self.assertRaisesRegex(helios.OperationalError, "unable to open database file"):
            helios.connect(f"file:{self.path}x?mode=rw", uri=True).execute("SELECT 1")

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_a_folder_that_cannot_be_written(self):
        self.make(self.TABLES)
        os.chmod(self.folder, stat.S_IRUSR | stat.S_IXUSR)
        self.addCleanup(os.chmod, self.folder, stat.S_IRWXU)
        conn = helios.connect(self.path)
        self.assertEqual(conn.execute("SELECT count(*) FROM t").fetchone(), (4,))
        conn.close()

    def test_names_of_every_kind(self):
        for name in ("ümläut ☃.db", "space name", "x" * 200, "semi;colon%20.db"):
            for path in (os.path.join(self.folder, name), os.fsencode(os.path.join(self.folder, name))):
                conn = helios.connect(path)
                conn.execute("CREATE TABLE IF NOT EXISTS t(x)")
                conn.close()
            self.assertTrue(os.path.exists(os.path.join(self.folder, name)))

    def test_links_lead_to_one_engine(self):
        os.symlink(self.path, self.path + ".link")
        a, b = helios.connect(self.path), helios.connect(self.path + ".link")
        a.executescript("CREATE TABLE t(x); INSERT INTO t VALUES(1)")
        self.assertEqual(b.execute("SELECT * FROM t").fetchall(), [(1,)])
        a.close()
        b.close()

    def test_serialize_and_deserialize(self):
        self.make(self.TABLES)
        conn = helios.connect(self.path)
        if not hasattr(conn, "serialize"):
            self.skipTest("this interpreter's sqlite3 has no serialize()")
        data = conn.serialize()
        copy = os.path.join(self.folder, "copy.db")
        with open(copy, "wb") as f:
            f.write(data)
        wanted = content(conn)
        self.assert_stock_reads(wanted, copy)
        other = helios.connect(":memory:")
        other.deserialize(data)
        self.assertEqual(content(other), wanted)
        conn.execute("VACUUM INTO ?", (os.path.join(self.folder, "into.db"),))
        self.assert_stock_reads(wanted, os.path.join(self.folder, "into.db"))
        conn.close()


if __name__ == "__main__":
    unittest.main()
