"""ERASE FROM: rows go with their history, on all branches, and no file keeps their values."""
import os
import sqlite3 as stock
import struct
import subprocess
import sys

import pytest

import heliosdb_sqlite as sqlite

MARKER = "Erika-Mustermann-1957"


def files_with(directory, marker=MARKER):
    found = []
    for where, _, names in os.walk(directory):
        for name in names:
            with open(os.path.join(where, name), "rb") as f:
                if marker.encode() in f.read():
                    found.append(name)
    return found


def now(con):
    return con.execute("SELECT max(scn) FROM heliosdb_transactions").fetchone()[0]


def make(path, rows=300):
    con = sqlite.connect(path, isolation_level=None)
    con.execute("PRAGMA synchronous = OFF")
    con.execute("CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, city TEXT, age INT)")
    con.execute("CREATE INDEX person_name ON person(name)")
    con.execute("CREATE UNIQUE INDEX person_city_name ON person(city, name, id)")
    con.execute("CREATE INDEX person_lower ON person(lower(name)) WHERE age > 3")
    for i in range(1, rows + 1):
        name = f"{MARKER}-{i}" if i % 10 == 0 else f"name {i}"
        con.execute("INSERT INTO person VALUES(?,?,?,?)", (i, name, f"city {i % 7}", i))
    return con


def items(rows):
    return {r[0]: r[1] for r in rows if r[0] != "not reached"}


def test_history_branches_files(tmp_path):
    con = make(str(tmp_path / "a.db"))
    first = now(con)
    before = con.execute("SELECT * FROM person WHERE id % 10").fetchall()
    con.execute("UPDATE person SET age = age + 1")
    con.execute(f"UPDATE person SET name = 'other ' || id WHERE id = 20")
    con.execute("CREATE BRANCH b")
    con.execute("USE BRANCH b")
    con.execute(f"UPDATE person SET city = '{MARKER}' WHERE id = 30")
    con.execute(f"INSERT INTO person VALUES(1000, 'on the branch', 'x', 1)")
    con.execute("USE BRANCH main")
    con.execute("DELETE FROM person WHERE id = 40")  # gone before: not an ERASE's business
    con.execute("INSERT INTO person VALUES(40, 'somebody else', 'y', 4)")
    second = now(con)
    con.execute("DROP INDEX person_lower")
    assert files_with(tmp_path)
    report = con.execute("ERASE FROM person WHERE id % 10 = 0").fetchall()
    assert items(report)["rows"] == 30
    assert items(report)["versions"] > 30
    assert [r for r in report if r[0] == "not reached"]
    assert files_with(tmp_path) == []
    for scn in (first, second, now(con)):
        rows = con.execute(f"SELECT * FROM person AS OF SCN {scn} WHERE id % 10 = 0").fetchall()
        assert rows == []
        assert con.execute(f"SELECT count(*) FROM person AS OF SCN {scn} WHERE name LIKE '{MARKER}%'").fetchone()[0] == 0
        assert con.execute(f"SELECT id FROM person AS OF SCN {scn} WHERE name = '{MARKER}-50'").fetchall() == []
        assert con.execute(f"SELECT id FROM person AS OF SCN {scn} WHERE name = 'name 51'").fetchall() == [(51,)]
    assert con.execute(f"SELECT * FROM person AS OF SCN {first}").fetchall() == before
    assert con.execute("SELECT count(*) FROM person").fetchone()[0] == 270
    assert con.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    con.execute("USE BRANCH b")
    assert con.execute("SELECT id FROM person WHERE id % 10 = 0").fetchall() == [] or \
        con.execute("SELECT id FROM person WHERE id % 10 = 0").fetchall() == [(1000,)]
    assert con.execute("SELECT count(*) FROM person WHERE id < 1000").fetchone()[0] == 270
    assert con.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    con.execute("USE BRANCH main")
    con.close()
    assert files_with(tmp_path) == []
    file = stock.connect(str(tmp_path / "a.db"))
    assert file.execute("SELECT count(*) FROM person").fetchone()[0] == 270
    assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    file.close()
    con = sqlite.connect(str(tmp_path / "a.db"))
    assert con.execute(f"SELECT * FROM person AS OF SCN {first}").fetchall() == before
    con.close()


def test_from_the_mirror(tmp_path):
    """The SQLite file has the rows, and free places with former values, when they are erased."""
    con = make(str(tmp_path / "a.db"))
    con.close()
    con = sqlite.connect(str(tmp_path / "a.db"), isolation_level=None)
    con.execute(f"UPDATE person SET name = '{MARKER} {'x' * 40}' || id WHERE id % 3 = 0")
    con.close()
    con = sqlite.connect(str(tmp_path / "a.db"), isolation_level=None)
    con.execute("UPDATE person SET name = 'short' WHERE id % 3 = 0")
    con.close()
    assert "a.db" in files_with(tmp_path)
    con = sqlite.connect(str(tmp_path / "a.db"), isolation_level=None)
    con.execute("ERASE FROM person WHERE id % 3 = 0 OR id % 10 = 0")
    assert files_with(tmp_path) == []
    con.close()
    assert files_with(tmp_path) == []
    file = stock.connect(str(tmp_path / "a.db"))
    assert file.execute("SELECT count(*) FROM person").fetchone()[0] == 180
    file.close()


def test_without_rowid(tmp_path):
    con = sqlite.connect(str(tmp_path / "a.db"), isolation_level=None)
    con.execute("PRAGMA synchronous = OFF")
    con.execute("CREATE TABLE t(name TEXT, n INT, x TEXT, PRIMARY KEY(name, n DESC)) WITHOUT ROWID")
    con.execute("CREATE INDEX t_x ON t(x)")
    for i in range(400):
        con.execute("INSERT INTO t VALUES(?,?,?)", (f"{MARKER}-{i // 40}" if i % 2 else f"name {i}", i, f"{MARKER}{i}" if i % 2 else "x"))
    con.execute("UPDATE t SET x = x || 'y'")
    scn = now(con)
    con.execute("UPDATE t SET x = x || 'z'")
    want = con.execute(f"SELECT * FROM t AS OF SCN {scn} WHERE n % 2 = 0").fetchall()
    con.execute("ERASE FROM t WHERE name LIKE ?", (MARKER + "%",))
    assert files_with(tmp_path) == []
    assert con.execute(f"SELECT * FROM t AS OF SCN {scn}").fetchall() == want
    assert con.execute(f"SELECT count(*) FROM t AS OF SCN {scn} WHERE x = 'xy'").fetchone()[0] == 200
    assert con.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    con.close()
    assert files_with(tmp_path) == []


def test_other_connections(tmp_path):
    path = str(tmp_path / "a.db")
    con = make(path)
    other = sqlite.connect(path, isolation_level=None)
    other.execute("BEGIN")
    assert other.execute("SELECT count(*) FROM person").fetchone()[0] == 300
    report = con.execute("ERASE FROM person WHERE id % 10 = 0").fetchall()
    assert [r for r in report if r[0] == "not reached" and r[1] == 1]
    assert other.execute("SELECT count(*) FROM person").fetchone()[0] == 300  # its view stays
    other.execute("COMMIT")
    assert other.execute("SELECT count(*) FROM person").fetchone()[0] == 270
    other.close()
    con.close()
    assert files_with(tmp_path) == []


def test_from_another_process(tmp_path):
    path = str(tmp_path / "a.db")
    con = make(path)
    con.execute("CREATE TABLE w(name TEXT PRIMARY KEY, x) WITHOUT ROWID")
    con.execute("CREATE INDEX w_x ON w(x DESC, name)")
    con.execute(f"INSERT INTO w VALUES('{MARKER}', 'x'), ('other', '{MARKER}'), ('third', 'x')")
    con.execute("UPDATE w SET x = x || '!'")
    scn = now(con)
    con.execute("UPDATE w SET x = x || '?'")
    assert con.execute(f"SELECT count(*) FROM w AS OF SCN {scn}").fetchone()[0] == 3  # what is remembered here of the past
    program = f"""
import heliosdb_sqlite as sqlite
con = sqlite.connect({path!r}, isolation_level=None)
print(con.execute("ERASE FROM person WHERE id % 10 = 0").fetchall()[0][1])
print(con.execute("ERASE FROM w WHERE name IN (?, 'other')", ({MARKER!r},)).fetchall()[0][1])
print(con.execute("SELECT count(*) FROM w AS OF SCN {scn}").fetchone()[0])
con.close()
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert out.stdout.split() == ["30", "2", "1"], out.stderr
    assert con.execute(f"SELECT * FROM w AS OF SCN {scn}").fetchall() == [("third", "x!")]
    assert con.execute(f"SELECT name FROM w AS OF SCN {scn} WHERE x = 'x!'").fetchall() == [("third",)]
    assert con.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    con.close()
    assert files_with(tmp_path) == []


def test_foreign_keys_and_triggers():
    con = sqlite.connect(":memory:", isolation_level=None)
    con.execute("PRAGMA foreign_keys = ON")
    con.execute("CREATE TABLE a(id INTEGER PRIMARY KEY, x)")
    con.execute("CREATE TABLE b(a REFERENCES a)")
    con.execute("CREATE TABLE log(x)")
    con.execute("CREATE TRIGGER a_gone AFTER DELETE ON a BEGIN INSERT INTO log VALUES(old.id); DELETE FROM a WHERE id = old.id + 100; END")
    con.execute("INSERT INTO a VALUES(1, 'x'), (2, 'y'), (102, 'z')")
    con.execute("INSERT INTO b VALUES(1)")
    with pytest.raises(sqlite.IntegrityError, match="FOREIGN KEY constraint failed"):
        con.execute("ERASE FROM a WHERE id = 1")
    assert con.execute("SELECT count(*) FROM a").fetchone()[0] == 3
    assert not con.in_transaction
    assert items(con.execute("ERASE FROM a WHERE id = ?", (2,)).fetchall())["rows"] == 1
    assert con.execute("SELECT id FROM a").fetchall() == [(1,)]
    assert con.execute("SELECT x FROM log").fetchall() == [(2,)]
    con.close()


def test_only_what_the_statement_found(tmp_path):
    """Rows that a trigger changed keep their history."""
    con = sqlite.connect(str(tmp_path / "a.db"), isolation_level=None)
    con.execute("CREATE TABLE a(id INTEGER PRIMARY KEY, x)")
    con.execute("CREATE TRIGGER a_gone AFTER DELETE ON a BEGIN UPDATE a SET x = 'changed' WHERE id = 3; END")
    con.execute("INSERT INTO a VALUES(1, 'x'), (2, 'y'), (3, 'z')")
    scn = now(con)
    con.execute("ERASE FROM a WHERE id = 1")
    assert con.execute(f"SELECT * FROM a AS OF SCN {scn}").fetchall() == [(2, "y"), (3, "z")]
    assert con.execute("SELECT * FROM a").fetchall() == [(2, "y"), (3, "changed")]
    con.close()


def test_vectors(tmp_path):
    """A vector goes from the rows and from the stored graph; searches go on."""
    path = str(tmp_path / "a.db")
    con = sqlite.connect(path, isolation_level=None)
    con.execute("PRAGMA synchronous = OFF")
    con.execute("CREATE TABLE v(id INTEGER PRIMARY KEY, e VECTOR(4))")
    con.execute("BEGIN")
    for i in range(3000):
        con.execute("INSERT INTO v VALUES(?,?)", (i, [i % 17, i % 13, i % 11, i + 0.5]))
    con.execute("COMMIT")
    secret = struct.pack("<4f", 77 % 17, 77 % 13, 77 % 11, 77.5)
    nearest = "SELECT id FROM v ORDER BY e <-> '[9,12,0,77.5]' LIMIT 1"
    assert con.execute(nearest).fetchone() == (77,)
    con.close()
    con = sqlite.connect(path, isolation_level=None)
    assert con.execute(nearest).fetchone() == (77,)
    con.execute("ERASE FROM v WHERE id = 77")
    assert con.execute(nearest).fetchone() != (77,)
    con.close()
    for where, _, names in os.walk(tmp_path):
        for name in names:
            with open(os.path.join(where, name), "rb") as f:
                assert secret not in f.read(), name


def test_errors(tmp_path):
    con = sqlite.connect(":memory:", isolation_level=None)
    con.execute("CREATE TABLE a(id INTEGER PRIMARY KEY, x)")
    con.execute("CREATE VIEW v AS SELECT * FROM a")
    with pytest.raises(sqlite.OperationalError, match="no such table: nosuch"):
        con.execute("ERASE FROM nosuch")
    with pytest.raises(sqlite.OperationalError, match="no such column: y"):
        con.execute("ERASE FROM a WHERE y = 1")
    with pytest.raises(sqlite.OperationalError):
        con.execute("ERASE FROM v")
    con.execute("BEGIN")
    with pytest.raises(sqlite.OperationalError, match="cannot erase within a transaction"):
        con.execute("ERASE FROM a")
    con.execute("ROLLBACK")
    con.execute("INSERT INTO a VALUES(1, 1), (2, 2)")
    report = con.execute("-- a comment\n /* and another */ erase from a").fetchall()
    assert items(report)["rows"] == 2
    assert con.execute("SELECT count(*) FROM a").fetchone()[0] == 0
    con.close()
