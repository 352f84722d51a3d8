"""app.db while the database is open: written in the background, changed by SQLite's own tools, restored, switched off."""
import os
import shutil
import sqlite3 as stock
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import heliosdb_sqlite as helios

NOT_OURS = "name NOT LIKE '\\_heliosdb%' ESCAPE '\\' AND tbl_name NOT LIKE '\\_heliosdb%' ESCAPE '\\'"


class Mirror(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="helios-mirror-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.path = os.path.join(self.folder, "app.db")

    def open(self, script=None, **keywords):
        conn = helios.connect(self.path, isolation_level=None, **keywords)
        self.addCleanup(conn.close)
        if script:
            conn.executescript(script)
        return conn

    def stock(self, sql):
        conn = stock.connect(self.path, isolation_level=None)
        try:
            return conn.execute(sql).fetchall()
        finally:
            conn.close()

    def tool(self, script):
        """What an SQLite tool does: one transaction."""
        conn = stock.connect(self.path, isolation_level=None)
        conn.executescript("BEGIN; " + script + "; COMMIT")
        conn.close()

    def until(self, condition, seconds=10):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            threading.Event().wait(0.02)
        self.fail("did not come about in time")

    def until_mirrored(self, conn, sql):
        wanted = conn.execute(sql).fetchall()

        def same():
            try:
                return self.stock(sql) == wanted
            except stock.OperationalError:
                return False
        self.until(same)

    def look(self, conn):
        conn.checkpoint()

    def log(self, conn):
        return conn.execute("SELECT event, details FROM heliosdb_mirror_log WHERE event <> 'conflict'").fetchall()

    def conflicts(self, conn):
        return conn.execute('SELECT details, "table", key, "column", base, file, database FROM heliosdb_mirror_log WHERE event = \'conflict\'').fetchall()

    def assert_equal_now(self, conn):
        """app.db is sound and holds what we hold, schema texts included."""
        conn.checkpoint()
        self.assertEqual(self.stock("PRAGMA integrity_check"), [("ok",)])
        self.assertEqual(conn.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        for name, sql in conn.execute("SELECT name, sql FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite%'").fetchall():
            quoted = '"' + name.replace('"', '""') + '"'
            ours = sorted(conn.execute(f"SELECT * FROM {quoted}").fetchall(), key=repr)
            self.assertEqual(sorted(self.stock(f"SELECT * FROM {quoted}"), key=repr), ours, name)
        schema = f"SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE {NOT_OURS} ORDER BY 1, 2"
        self.assertEqual(self.stock(schema), conn.execute(schema).fetchall())

    # ---- a connection for each request: app.db is written at each close ----

    REQUESTS = '''
import os, shutil, sqlite3, sys
import heliosdb_sqlite as helios
path = sys.argv[1]
def request(sql):
    conn = helios.connect(path)
    conn.execute(sql)
    conn.commit()
    conn.close()
def stock(sql):
    conn = sqlite3.connect(path, isolation_level=None)
    rows = conn.execute(sql).fetchall()
    conn.close()
    return rows
'''

    def requests(self, script):
        run = subprocess.run([sys.executable, "-c", self.REQUESTS + script, self.path], text=True, capture_output=True,
                             env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, timeout=60)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout

    def test_requests_keep_a_journal_of_zeros_and_leave_none(self):
        self.requests('''
request("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, x UNIQUE)")
request("CREATE TABLE u(id INTEGER PRIMARY KEY, t REFERENCES t)")
journals = set()
for i in range(24):
    request(f"INSERT INTO t(x) VALUES('x{i}')")
    assert i >= 4 or not os.path.exists(path + "-journal")
    if i == 5:
        request("ALTER TABLE u ADD COLUMN y DEFAULT 7")
        assert "7" in stock("SELECT sql FROM sqlite_schema WHERE name = 'u'")[0][0]
        request("INSERT INTO u(t) VALUES(3)")
    if i == 7:
        request("DELETE FROM t WHERE x = 'x1'")
    if i == 23:
        request("UPDATE t SET id = id + 100 WHERE x = 'x2'")
    if i == 3:
        request("PRAGMA user_version = 5")
    if os.path.exists(path + "-journal"):
        with open(path + "-journal", "rb") as f:
            assert f.read(28) == bytes(28)
        journals.add(os.stat(path + "-journal").st_ino)
    assert stock("SELECT count(*) FROM t") == [(i + 1 - (i >= 7),)], i
    assert stock("PRAGMA integrity_check") == [("ok",)]
assert 1 <= len(journals) <= 2, journals
assert stock("SELECT * FROM u") == [(1, 3, 7)] and stock("PRAGMA user_version") == [(5,)]
conn = helios.connect(path)
for sql in ("SELECT * FROM t ORDER BY id", "SELECT * FROM sqlite_sequence", "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE '_heliosdb%' ORDER BY 1, 2"):
    assert conn.execute(sql).fetchall() == stock(sql), (conn.execute(sql).fetchall(), stock(sql))
assert conn.execute("SELECT * FROM heliosdb_mirror_log").fetchall() == []
''')
        self.assertEqual(sorted(os.listdir(self.folder)), ["app.db", "app.db-helios"])

    def test_between_two_requests_a_tool_or_a_copy_is_noticed(self):
        self.requests('''
request("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
request("INSERT INTO t(x) VALUES('first')")
request("INSERT INTO t(x) VALUES('second')")
request("CREATE TABLE warm(x)")
for i in range(12):
    request("INSERT INTO warm VALUES(1)")
shutil.copy(path, path + ".bak")
for i in range(5):
    request(f"INSERT INTO t(x) VALUES('more {i}')")
    stock(f"INSERT INTO t(x) VALUES('tool {i}')")
request("INSERT INTO t(x) VALUES('last')")
assert stock("SELECT count(*) FROM t") == [(13,)], stock("SELECT count(*) FROM t")
before = os.stat(path).st_ino
shutil.copy(path + ".bak", path)
assert os.stat(path).st_ino == before
request("INSERT INTO t(x) VALUES('after')")
assert stock("SELECT x FROM t ORDER BY id") == [("first",), ("second",), ("after",)], stock("SELECT x FROM t")
with open(path, "rb") as f:
    counter = f.read(28)[24:]
with open(path + ".bak", "r+b") as f:  # SQLite's change counter alone would not tell
    for at in (24, 92):
        f.seek(at)
        f.write(counter)
with open(path + ".bak", "rb") as f, open(path, "r+b") as to:
    to.write(f.read())
assert stock("SELECT count(*) FROM t") == [(2,)]
request("INSERT INTO t(x) VALUES('once more')")
assert stock("SELECT x FROM t ORDER BY id") == [("first",), ("second",), ("once more",)], stock("SELECT x FROM t")
request("INSERT INTO t(x) VALUES('more')")
os.rename(path + ".bak", path)
request("INSERT INTO t(x) VALUES('again')")
assert stock("SELECT x FROM t ORDER BY id") == [("first",), ("second",), ("again",)], stock("SELECT x FROM t")
conn = sqlite3.connect(path)
conn.execute("PRAGMA journal_mode = WAL")
conn.execute("INSERT INTO t(x) VALUES('ahead')")
conn.commit()
request("INSERT INTO t(x) VALUES('and on')")
assert conn.execute("SELECT count(*) FROM t").fetchone() == (5,)
conn.close()
request("INSERT INTO t(x) VALUES('end')")
assert stock("SELECT x FROM t ORDER BY id")[2:] == [("again",), ("ahead",), ("and on",), ("end",)]
assert stock("PRAGMA integrity_check") == [("ok",)]
''')

    # ---- in the background ----

    def test_a_second_of_rest_brings_the_file_up_to_date(self):
        conn = self.open("CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES(1, 'a')")
        self.until_mirrored(conn, "SELECT * FROM t")
        for i in range(3):
            conn.execute("INSERT INTO t(x) VALUES(?)", (i,))
        self.until_mirrored(conn, "SELECT * FROM t")

    def test_a_locked_file_delays_nobody_and_is_written_later(self):
        conn = self.open("CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES(1, 'a')")
        conn.checkpoint()
        tool = stock.connect(self.path, isolation_level=None)
        tool.execute("BEGIN EXCLUSIVE")
        conn.execute("INSERT INTO t VALUES(2, 'b')")
        threading.Event().wait(1.3)
        begun = time.monotonic()
        for i in range(200):
            conn.execute("INSERT INTO t(x) VALUES(?)", (i,))
        self.assertLess(time.monotonic() - begun, 1.0)
        tool.execute("ROLLBACK")
        tool.close()
        self.until_mirrored(conn, "SELECT * FROM t")

    def test_a_stock_reader_that_stays_open_sees_each_state_whole(self):
        conn = self.open("CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE TABLE u(id INTEGER PRIMARY KEY, x)")
        conn.execute("INSERT INTO t VALUES(1, 0)")
        conn.execute("INSERT INTO u VALUES(1, 0)")
        conn.checkpoint()
        reader = stock.connect(self.path)
        for n in range(1, 20):
            conn.executescript(f"BEGIN; UPDATE t SET x = {n}; UPDATE u SET x = {n}; COMMIT")
            conn.checkpoint()
            self.assertEqual(reader.execute("SELECT t.x, u.x FROM t, u").fetchall(), [(n, n)])
        reader.close()

    def test_a_long_reader_of_ours_keeps_its_view(self):
        conn = self.open("CREATE TABLE t(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO t SELECT i FROM n")
        reader = self.open()
        rows = reader.execute("SELECT x FROM t")
        first = rows.fetchone()
        conn.execute("DELETE FROM t WHERE x > 10")
        conn.checkpoint()
        self.assertEqual(first + tuple(r[0] for r in rows), tuple(range(1, 5001)))
        self.assertEqual(self.stock("SELECT count(*) FROM t"), [(10,)])

    def test_deleted_right_after_close_nothing_comes_back(self):
        for _ in range(5):
            folder = tempfile.mkdtemp(dir=self.folder)
            conn = helios.connect(os.path.join(folder, "x.db"))
            conn.execute("CREATE TABLE t(x)")
            conn.commit()
            conn.close()
            shutil.rmtree(folder)
            self.assertFalse(os.path.exists(folder))
        threading.Event().wait(1.2)
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_forked_child_writes_no_file_and_finds_no_lock_held(self):
        conn = self.open("CREATE TABLE t(x); INSERT INTO t VALUES(1)")
        for i in range(20):
            conn.execute("INSERT INTO t VALUES(?)", (i,))
            child = os.fork()
            if child == 0:
                other = stock.connect(os.path.join(self.folder, f"child{i}.db"))
                other.execute("CREATE TABLE t(x)")
                other.close()
                os._exit(0)
            self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assert_equal_now(conn)

    # ---- several processes: the owner keeps the file ----

    CHILD = """
import sys, heliosdb_sqlite as helios
conn = helios.connect(sys.argv[1], isolation_level=None)
conn.execute("CREATE TABLE IF NOT EXISTS t(x)")
print("ready", flush=True)
for line in sys.stdin:
    word = line.strip()
    if word == "insert":
        conn.execute("INSERT INTO t VALUES(1)")
    elif word == "checkpoint":
        conn.checkpoint()
    elif word == "close":
        conn.close()
    print(word, flush=True)
"""

    def process(self):
        child = subprocess.Popen([sys.executable, "-c", self.CHILD, self.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                 env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        self.addCleanup(self.end, child)
        self.assertEqual(child.stdout.readline(), "ready\n")
        return child

    def end(self, child):
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()

    def ask(self, child, word):
        child.stdin.write(word + "\n")
        child.stdin.flush()
        self.assertEqual(child.stdout.readline(), word + "\n")

    def until_rows(self, rows):
        self.until(lambda: self.stock("SELECT count(*) FROM sqlite_schema WHERE name = 't'") == [(1,)]
                   and self.stock("SELECT count(*) FROM t") == [(rows,)])

    def test_the_owners_process_writes_what_others_commit(self):
        owner = self.process()
        other = self.process()
        self.ask(other, "insert")
        self.ask(other, "checkpoint")
        self.assertEqual(self.stock("SELECT count(*) FROM t"), [(1,)])
        self.ask(other, "insert")
        self.until_rows(2)
        self.tool("INSERT INTO t VALUES('tool')")
        self.ask(other, "checkpoint")
        self.ask(owner, "checkpoint")
        self.assertEqual(self.stock("SELECT count(*) FROM t"), [(3,)])
        self.ask(owner, "close")  # its process stays, and serves the other
        self.ask(other, "insert")
        self.until_rows(4)
        self.end(owner)
        self.ask(other, "insert")  # takes over
        self.until_rows(5)
        self.ask(other, "insert")
        self.ask(other, "close")
        self.assertEqual(self.stock("SELECT count(*) FROM t"), [(6,)])

    def test_a_forked_child_goes_on_and_its_commits_are_written(self):
        conn = self.open("CREATE TABLE t(x); INSERT INTO t VALUES(1)")
        child = os.fork()
        if child == 0:
            try:
                conn.execute("INSERT INTO t VALUES(2)")
                conn.close()
                os._exit(0)
            finally:
                os._exit(1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(conn.execute("SELECT count(*) FROM t").fetchone(), (2,))
        self.assert_equal_now(conn)

    HEIR = '''
import os, sys
import heliosdb_sqlite as helios
conn = helios.connect(sys.argv[1], isolation_level=None)
conn.execute("CREATE TABLE t(x)")
r, w = os.pipe()
if os.fork():
    os._exit(0)
os.close(w)
os.read(r, 1)  # until the parent is gone
conn.execute("INSERT INTO t VALUES(1)")
print("ready", flush=True)
for line in sys.stdin:
    conn.execute("INSERT INTO t VALUES(2)")
    print("inserted", flush=True)
'''

    def test_a_forked_child_that_took_over_writes_the_file(self):
        child = subprocess.Popen([sys.executable, "-c", self.HEIR, self.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                 env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        self.assertEqual(child.stdout.readline(), "ready\n")
        self.until_rows(1)  # at rest
        child.stdin.write("\n")
        child.stdin.flush()
        self.assertEqual(child.stdout.readline(), "inserted\n")
        child.stdin.close()  # it ends without closing
        self.assertEqual(child.stdout.read(), "")
        child.stdout.close()
        child.wait()
        self.until_rows(2)

    # ---- what a tool changed ----

    TABLE = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b, u UNIQUE); INSERT INTO t VALUES(1, 'a1', 'b1', 1), (2, 'a2', 'b2', 2), (3, 'a3', 'b3', 3)"

    def test_rows_of_a_tool_come_in_while_open(self):
        conn = self.open(self.TABLE)
        conn.checkpoint()
        self.tool("INSERT INTO t VALUES(9, 'new', NULL, 9); UPDATE t SET b = 'tool' WHERE id = 1; DELETE FROM t WHERE id = 3")
        self.look(conn)
        self.assertEqual(conn.execute("SELECT * FROM t").fetchall(), [(1, "a1", "tool", 1), (2, "a2", "b2", 2), (9, "new", None, 9)])
        self.assertEqual(self.log(conn), [("merged", "1 inserted, 1 updated, 1 deleted, 0 conflicts")])
        self.assert_equal_now(conn)

    def test_a_tool_is_noticed_within_a_second_by_the_next_statement(self):
        conn = self.open(self.TABLE)
        conn.checkpoint()
        self.tool("UPDATE t SET b = 'tool' WHERE id = 1")
        self.until(lambda: conn.execute("SELECT b FROM t WHERE id = 1").fetchone() == ("tool",), 1.5)

    def test_columns_of_both_sides_are_kept(self):
        conn = self.open(self.TABLE)
        conn.checkpoint()
        self.tool("UPDATE t SET b = 'tool' WHERE id = 1; INSERT INTO t VALUES(10, 'tool', 'tool', 10)")
        conn.execute("UPDATE t SET a = 'ours' WHERE id = 1")
        conn.execute("INSERT INTO t VALUES(11, 'ours', 'ours', 11)")
        conn.execute("DELETE FROM t WHERE id = 2")
        self.look(conn)
        wanted = [(1, "ours", "tool", 1), (3, "a3", "b3", 3), (10, "tool", "tool", 10), (11, "ours", "ours", 11)]
        self.assertEqual(conn.execute("SELECT * FROM t").fetchall(), wanted)
        self.assertEqual(self.conflicts(conn), [])
        self.assert_equal_now(conn)
        self.assertEqual(self.stock("SELECT * FROM t"), wanted)

    def test_values_that_change_places_meet_no_unique_key(self):
        conn = self.open(self.TABLE)
        conn.checkpoint()
        self.tool("UPDATE t SET u = -u; UPDATE t SET u = CASE id WHEN 1 THEN 2 WHEN 2 THEN 3 ELSE 1 END")
        self.look(conn)
        self.assertEqual(conn.execute("SELECT id, u FROM t ORDER BY id").fetchall(), [(1, 2), (2, 3), (3, 1)])
        self.assertEqual(self.conflicts(conn), [])
        self.assert_equal_now(conn)

    def conflict(self, policy):
        conn = self.open(self.TABLE, conflict_policy=policy)
        conn.checkpoint()
        self.tool("UPDATE t SET a = 'tool', b = 'tool' WHERE id = 1; DELETE FROM t WHERE id = 2; UPDATE t SET a = 'tool' WHERE id = 3; INSERT INTO t VALUES(20, 'tool', 0, 20)")
        conn.execute("UPDATE t SET a = 'ours' WHERE id = 1")
        conn.execute("UPDATE t SET a = 'ours' WHERE id = 2")
        conn.execute("DELETE FROM t WHERE id = 3")
        conn.execute("INSERT INTO t VALUES(30, 'ours', 0, 20)")
        self.look(conn)
        rows = conn.execute("SELECT * FROM t").fetchall()
        self.assert_equal_now(conn)
        return rows, self.conflicts(conn)

    def test_a_conflict_goes_to_the_later_commit_which_is_the_tools(self):
        rows, conflicts = self.conflict("last_commit_wins")
        self.assertEqual(rows, [(1, "tool", "tool", 1), (3, "tool", "b3", 3), (20, "tool", 0, 20)])
        self.assertEqual(conflicts, [("the file's stays", "t", 1, "a", "a1", "tool", "ours"), ("the file's stays", "t", 2, None, "row", "no row", "row"),
                                     ("the file's stays", "t", 3, None, "row", "row", "no row"),
                                     ("the file's stays", "t", 20, None, None, "UNIQUE constraint failed: t.u", None)])

    def test_a_conflict_goes_to_the_first_commit_which_is_ours(self):
        rows, conflicts = self.conflict("first_commit_wins")
        self.assertEqual(rows, [(1, "ours", "tool", 1), (2, "ours", "b2", 2), (30, "ours", 0, 20)])
        self.assertEqual([c[0] for c in conflicts], ["the database's stays"] * 4)

    def test_definitions_of_a_tool_come_in(self):
        conn = self.open(self.TABLE + "; CREATE TABLE gone(x); CREATE VIEW v AS SELECT a FROM t; CREATE TABLE old(x, y); INSERT INTO old VALUES(1, 2); CREATE TABLE kept(x)")
        conn.checkpoint()
        self.tool("CREATE TABLE made(k TEXT PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO made VALUES('k', 1), ('a', 2); CREATE INDEX t_a ON t(a, b DESC);"
                  "DROP TABLE gone; ALTER TABLE t ADD COLUMN late DEFAULT 5; UPDATE t SET late = 6 WHERE id = 2; DROP VIEW v; CREATE VIEW v AS SELECT a, b FROM t;"
                  "CREATE TRIGGER tr AFTER INSERT ON kept BEGIN INSERT INTO kept SELECT 'twice' WHERE new.x = 'once'; END; ALTER TABLE old RENAME TO renamed;"
                  "INSERT INTO renamed VALUES(3, 4); PRAGMA user_version = 9")
        conn.execute("INSERT INTO kept VALUES('here')")
        conn.execute("UPDATE old SET y = 'ours'")
        self.look(conn)
        self.assertEqual(conn.execute("SELECT id, late FROM t").fetchall(), [(1, 5), (2, 6), (3, 5)])
        self.assertEqual(conn.execute("SELECT * FROM renamed").fetchall(), [(1, "ours"), (3, 4)])
        self.assertEqual(conn.execute("SELECT * FROM made").fetchall(), [("a", 2), ("k", 1)])
        self.assertEqual(conn.execute("SELECT * FROM kept").fetchall(), [("here",)])
        self.assertEqual(conn.execute("PRAGMA user_version").fetchone(), (9,))
        self.assertEqual(conn.execute("SELECT name FROM sqlite_schema WHERE name IN ('gone', 'old', 't_a', 'tr')").fetchall(), [("t_a",), ("tr",)])
        self.assertEqual(self.conflicts(conn), [])
        self.assert_equal_now(conn)

    def test_a_table_of_other_columns_is_made_anew(self):
        conn = self.open(self.TABLE + "; CREATE INDEX t_a ON t(a); CREATE TABLE log(x); CREATE TRIGGER tr AFTER DELETE ON t BEGIN INSERT INTO log VALUES(old.id); END")
        conn.checkpoint()
        self.tool("ALTER TABLE t DROP COLUMN b; ALTER TABLE t RENAME COLUMN a TO name")  # both at once: which is which?
        self.look(conn)
        self.assertEqual(conn.execute("SELECT * FROM t").fetchall(), [(1, "a1", 1), (2, "a2", 2), (3, "a3", 3)])
        self.assertEqual(conn.execute("SELECT * FROM log").fetchall(), [])
        self.assert_equal_now(conn)
        conn.execute("DELETE FROM t WHERE id = 1")
        self.assertEqual(conn.execute("SELECT * FROM log").fetchall(), [(1,)])

    def test_columns_that_a_tool_renamed_or_dropped_keep_rows_and_history(self):
        for change, wanted in (("ALTER TABLE t RENAME COLUMN a TO name", [(1, "ours", "tool", 1), (2, "a2", "b2", 2), (3, "a3", "b3", 3)]),
                               ("ALTER TABLE t DROP COLUMN a", [(1, "tool", 1), (2, "b2", 2), (3, "b3", 3)])):
            with self.subTest(change):
                conn = self.open(self.TABLE + "; CREATE INDEX t_b ON t(b)")
                conn.checkpoint()
                before = conn.last_commit_timestamp
                self.tool(change + "; UPDATE t SET b = 'tool' WHERE id = 1")
                conn.execute("UPDATE t SET a = 'ours' WHERE id = 1")
                conn.checkpoint()
                self.assertEqual(conn.execute("SELECT * FROM t").fetchall(), wanted)
                self.assertEqual(conn.execute(f"SELECT a, b FROM t AS OF SCN {before} WHERE id = 1").fetchone(), ("a1", "b1"))
                self.assertEqual(self.log(conn)[-1], ("merged", "0 inserted, 1 updated, 0 deleted, 0 conflicts"))
                self.assert_equal_now(conn)
                conn.close()
                shutil.rmtree(self.path + "-helios")
                os.unlink(self.path)

    def test_a_tool_in_wal_mode(self):
        conn = self.open(self.TABLE)
        conn.checkpoint()
        tool = stock.connect(self.path, isolation_level=None)
        tool.execute("PRAGMA journal_mode = WAL")
        tool.execute("UPDATE t SET a = 'wal' WHERE id = 1")
        conn.execute("UPDATE t SET a = 'ours' WHERE id = 2")
        self.look(conn)
        self.assertEqual(conn.execute("SELECT a FROM t").fetchall(), [("wal",), ("ours",), ("a3",)])
        tool.execute("UPDATE t SET a = 'again' WHERE id = 3")
        conn.execute("UPDATE t SET a = 'ours too' WHERE id = 1")
        self.look(conn)
        self.assertEqual(conn.execute("SELECT a FROM t").fetchall(), [("ours too",), ("ours",), ("again",)])
        tool.close()
        self.assert_equal_now(conn)
        self.assertEqual(self.conflicts(conn), [])

    def test_what_a_tool_changed_while_the_file_lacked_commits(self):
        """A killed process: app.db is behind its directory; then a tool writes; then it is opened."""
        subprocess.run([sys.executable, "-c", f"""
import os, heliosdb_sqlite as helios
conn = helios.connect({self.path!r}, isolation_level=None)
conn.executescript({self.TABLE!r})
conn.checkpoint()
conn.execute("UPDATE t SET a = 'ours' WHERE id = 1")
conn.execute("INSERT INTO t VALUES(50, 'ours', 0, 50)")
os._exit(1)
"""], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        self.assertEqual(self.stock("SELECT count(*) FROM t"), [(3,)])
        self.tool("UPDATE t SET b = 'tool' WHERE id = 1; DELETE FROM t WHERE id = 2")
        for _ in range(2):
            conn = self.open()
            self.assertEqual(conn.execute("SELECT * FROM t").fetchall(), [(1, "ours", "tool", 1), (3, "a3", "b3", 3), (50, "ours", 0, 50)])
            self.assert_equal_now(conn)
            conn.close()

    def test_without_history_a_row_changed_on_both_sides_is_a_conflict(self):
        conn = self.open(self.TABLE, retention=0)
        conn.checkpoint()
        self.tool("UPDATE t SET b = 'tool' WHERE id = 1; UPDATE t SET b = 'tool' WHERE id = 2; DELETE FROM t WHERE id = 3")
        conn.execute("UPDATE t SET a = 'ours' WHERE id = 1")
        conn.execute("INSERT INTO t VALUES(4, 'ours', 0, 4)")
        self.look(conn)
        self.assertEqual(conn.execute("SELECT * FROM t").fetchall(), [(1, "a1", "tool", 1), (2, "a2", "tool", 2), (4, "ours", 0, 4)])
        self.assertEqual([c[1:4] for c in self.conflicts(conn)], [("t", 1, None)])
        self.assert_equal_now(conn)

    def test_what_the_file_cannot_hold_was_not_dropped_by_a_tool(self):
        conn = self.open("CREATE TABLE v(id INTEGER PRIMARY KEY, e VECTOR(2)); INSERT INTO v VALUES(1, '[1,2]'); CREATE INDEX h ON v USING hnsw (e vector_l2_ops);"
                         "CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES('words here'); CREATE VIEW near AS SELECT id FROM v ORDER BY e <-> '[1,1]' LIMIT 1")
        conn.checkpoint()
        self.tool("CREATE TABLE other(x); INSERT INTO v VALUES(2, x'0000803f0000803f')")
        self.look(conn)
        self.assertEqual(conn.execute("SELECT name FROM sqlite_schema WHERE name IN ('h', 'f', 'near', 'other') ORDER BY 1").fetchall(), [("f",), ("h",), ("near",), ("other",)])
        self.assertEqual(conn.execute("SELECT * FROM near").fetchall(), [(2,)])
        self.assertEqual(conn.execute("SELECT * FROM f WHERE f MATCH 'words'").fetchall(), [("words here",)])

    FOREIGN = """
        CREATE TABLE c(id INTEGER PRIMARY KEY, x INT CHECK (x::int > 0), y TEXT DEFAULT (1::text));
        CREATE TABLE g(k TEXT PRIMARY KEY, e VECTOR(2) CHECK (vector_dims(e) = 2), n REAL AS (vector_norm(e)) STORED, m AS (n + 1)) WITHOUT ROWID;
        CREATE INDEX c_x ON c((x::text), (y || 'a')::int); CREATE VIEW cast_view AS SELECT (x + 1)::int::text AS z, id FROM c WHERE (CASE WHEN y THEN x END)::int > 0;
        CREATE VIEW ours_only AS SELECT vector_norm(e) AS n FROM g; CREATE TRIGGER tr AFTER INSERT ON c BEGIN UPDATE c SET y = new.x::text WHERE id = new.id; END;
        INSERT INTO c(x) VALUES(5), (6); INSERT INTO g(k, e) VALUES('k', '[3,4]');
    """

    def test_what_sqlite_cannot_parse_is_written_in_its_words_and_comes_back_in_ours(self):
        conn = self.open(self.FOREIGN)
        schema = conn.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2").fetchall()
        for step in range(4):
            if step == 1:
                conn.execute("INSERT INTO c(x) VALUES(7)")
            if step == 2:
                self.tool("INSERT INTO c(x, y) VALUES(8, 'tool'); UPDATE g SET e = x'0000803f0000803f' WHERE k = 'k'")
            conn.checkpoint()
            self.assertEqual(conn.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2").fetchall(), schema)
            self.assertEqual(self.stock("PRAGMA integrity_check"), [("ok",)])
            self.assertEqual(self.stock("SELECT * FROM c"), conn.execute("SELECT * FROM c").fetchall())
            self.assertEqual(self.stock("SELECT * FROM cast_view"), conn.execute("SELECT * FROM cast_view").fetchall())
            self.assertEqual(self.stock("SELECT k, hex(e), n FROM g"), conn.execute("SELECT k, hex(e), n FROM g").fetchall())
            listed = self.stock("SELECT name, written IS NOT NULL FROM _heliosdb_left_out ORDER BY 1")
            self.assertEqual(listed, [("c", 1), ("c_x", 1), ("cast_view", 1), ("g", 1), ("ours_only", 0), ("tr", 1)])
        self.assertEqual(len(self.stock("SELECT * FROM c")), 4)
        self.assertAlmostEqual(conn.execute("SELECT n FROM g").fetchone()[0], 2 ** 0.5, 5)
        self.assertEqual(self.conflicts(conn), [])
        conn.close()
        shutil.copy(self.path, self.path + ".bak")  # a copy alone, taken in by another database
        other = helios.connect(self.path + ".bak")
        self.assertEqual(other.execute("SELECT name, sql FROM sqlite_schema WHERE name IN ('c', 'g', 'cast_view', 'tr', 'c_x') ORDER BY 1").fetchall(),
                         [(name, sql) for _, name, sql in sorted(schema, key=lambda row: row[1]) if name in ("c", "g", "cast_view", "tr", "c_x")])
        self.assertEqual(other.execute("SELECT k, m FROM g").fetchall(), self.open().execute("SELECT k, m FROM g").fetchall())
        other.close()

    def test_what_was_written_in_other_words_can_be_dropped_by_a_tool(self):
        conn = self.open(self.FOREIGN)
        conn.checkpoint()
        self.tool("DROP TABLE g; DROP VIEW cast_view")
        conn.checkpoint()
        self.assertEqual(conn.execute("SELECT name FROM sqlite_schema WHERE name IN ('g', 'cast_view', 'c')").fetchall(), [("c",)])
        self.assertEqual(self.stock("SELECT count(*) FROM c"), [(2,)])

    def test_a_vacuum_or_a_rolled_back_change_of_a_tool_is_no_change(self):
        conn = self.open(self.TABLE)
        conn.checkpoint()
        tool = stock.connect(self.path, isolation_level=None)
        tool.execute("VACUUM")
        tool.execute("BEGIN")
        tool.execute("DELETE FROM t")
        tool.execute("ROLLBACK")
        tool.close()
        self.look(conn)
        self.assertEqual(conn.execute("SELECT count(*) FROM t").fetchone(), (3,))
        self.assertEqual(self.log(conn), [])
        self.assert_equal_now(conn)

    # ---- restore ----

    def restore(self, retention, while_open):
        conn = self.open(self.TABLE, retention=retention)
        conn.close()
        shutil.copy(self.path, self.path + ".bak")
        conn = self.open()
        conn.execute("DELETE FROM t")
        conn.execute("CREATE TABLE later(x)")
        if while_open:
            conn.checkpoint()
            shutil.copy(self.path + ".bak", self.path)
            self.look(conn)
        else:
            conn.close()
            shutil.copy(self.path + ".bak", self.path)
            conn = self.open()
        self.assertEqual(conn.execute("SELECT count(*) FROM t").fetchone(), (3,))
        self.assertEqual(conn.execute("SELECT name FROM sqlite_schema WHERE name = 'later'").fetchall(), [])
        event, details = self.log(conn)[-1]
        self.assertEqual(event, "restored")
        conn.execute("INSERT INTO t(id, a) VALUES(60, 'after')")
        self.assert_equal_now(conn)
        conn.close()
        conn = self.open()
        self.assertEqual(conn.execute("SELECT count(*) FROM t").fetchone(), (4,))
        return conn, details

    def test_a_copy_put_back_is_a_restore_and_the_past_stays(self):
        for while_open in (False, True):
            with self.subTest(while_open=while_open):
                conn, details = self.restore(86400, while_open)
                scn = int(details.split()[-1])
                self.assertEqual(conn.execute(f"SELECT count(*) FROM t AS OF SCN {scn}").fetchone(), (0,))
                self.assertEqual(conn.execute(f"SELECT count(*) FROM later AS OF SCN {scn}").fetchone(), (0,))
                conn.close()
                shutil.rmtree(self.path + "-helios")
                os.unlink(self.path)

    def test_without_history_the_state_before_a_restore_is_a_branch(self):
        conn, details = self.restore(0, False)
        name = details.split()[-1]
        self.assertTrue(name.startswith("before_restore_"), details)
        conn.switch_branch(name)
        self.assertEqual(conn.execute("SELECT count(*) FROM t").fetchone(), (0,))
        self.assertEqual(conn.execute("SELECT count(*) FROM later").fetchone(), (0,))

    def test_the_same_copy_put_back_twice_restores_twice(self):
        conn = self.open(self.TABLE)
        conn.close()
        shutil.copy(self.path, self.path + ".bak")
        for _ in range(2):
            conn = self.open()
            conn.execute("DELETE FROM t")
            conn.close()
            self.assertEqual(self.stock("SELECT count(*) FROM t"), [(0,)])
            shutil.copy(self.path + ".bak", self.path)
            conn = self.open()
            self.assertEqual(conn.execute("SELECT count(*) FROM t").fetchone(), (3,))
            conn.close()

    def test_another_database_in_its_place_is_taken_in(self):
        conn = self.open(self.TABLE)
        conn.close()
        other = os.path.join(self.folder, "other.db")
        made = stock.connect(other)
        made.executescript("CREATE TABLE foreign_one(x); INSERT INTO foreign_one VALUES(1)")
        made.close()
        os.replace(other, self.path)
        conn = self.open()
        self.assertEqual(conn.execute("SELECT name FROM sqlite_schema").fetchall(), [("foreign_one",)])
        self.assertEqual(self.log(conn)[-1][0], "restored")
        conn.close()
        self.assertEqual(self.stock("SELECT name FROM sqlite_schema"), [("foreign_one",)])  # read only: not written

    def test_a_directory_that_is_older_than_its_file_follows_the_file(self):
        self.elsewhere(self.TABLE)
        shutil.copytree(self.path + "-helios", self.path + "-older")
        self.elsewhere("INSERT INTO t VALUES(70, 'newer', 0, 70)")
        shutil.rmtree(self.path + "-helios")
        os.rename(self.path + "-older", self.path + "-helios")
        conn = self.open()
        self.assertEqual(conn.execute("SELECT a FROM t WHERE id = 70").fetchall(), [("newer",)])
        self.assert_equal_now(conn)

    def elsewhere(self, script):
        """In a process of its own: nothing lingers here."""
        subprocess.run([sys.executable, "-c", "import sys, heliosdb_sqlite as helios; conn = helios.connect(sys.argv[1]); conn.executescript(sys.argv[2]); conn.close()",
                        self.path, script], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})

    # ---- mirror=False ----

    def test_without_a_mirror_the_file_is_a_header(self):
        conn = self.open("CREATE TABLE t(x); INSERT INTO t VALUES('secret')", mirror=False)
        conn.close()
        self.assertEqual(self.stock("SELECT name FROM sqlite_schema"), [("_heliosdb",)])
        with open(self.path, "rb") as f:
            self.assertNotIn(b"secret", f.read())
        conn = self.open()
        self.assertEqual(conn.execute("SELECT * FROM t").fetchall(), [("secret",)])
        conn.execute("INSERT INTO t VALUES(2)")
        conn.close()
        self.assertEqual(self.stock("SELECT name FROM sqlite_schema"), [("_heliosdb",)])
        conn = self.open(mirror=True)
        conn.close()
        self.assertEqual(self.stock("SELECT * FROM t"), [("secret",), (2,)])
        conn = self.open(mirror=False)
        conn.execute("INSERT INTO t VALUES(3)")
        self.assertEqual(self.stock("SELECT name FROM sqlite_schema"), [("_heliosdb",)])
        conn.close()
        conn = self.open(mirror=True)
        self.assert_equal_now(conn)
        self.assertEqual(self.stock("SELECT count(*) FROM t"), [(3,)])

    def test_a_header_put_back_sets_nothing_back(self):
        conn = self.open("CREATE TABLE t(x); INSERT INTO t VALUES(1)", mirror=False)
        conn.close()
        shutil.copy(self.path, self.path + ".bak")
        conn = self.open(mirror=True)
        conn.execute("INSERT INTO t VALUES(2)")
        conn.close()
        shutil.copy(self.path + ".bak", self.path)
        conn = self.open()
        self.assertEqual(conn.execute("SELECT count(*) FROM t").fetchone(), (2,))
        self.assert_equal_now(conn)


if __name__ == "__main__":
    unittest.main()
