"""tests/sql/*.test: every statement runs on stock sqlite3 and on HeliosDB Nano; rows, types, errors and counts must agree.

A file is plain SQL. A line `-- reopen` closes and opens the database (on file); `-- commit` and `-- rollback` are the
connection's calls. Statements that stock's release cannot know are not written there: see tests/py for those.
"""
import glob
import os
import shutil
import sqlite3 as stock
import tempfile
import unittest

import heliosdb_sqlite as ours

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "sql")


def statements(text):
    """(line number, statement or directive) in order."""
    pending, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not pending.strip() and line.startswith("-- ") and line[3:].strip() in ("reopen", "commit", "rollback"):
            yield number, line.strip()
            continue
        if not pending.strip():
            pending, start = "", number
        pending += line + "\n"
        if stock.complete_statement(pending):
            yield start, pending.strip()
            pending = ""
    if pending.strip():
        yield start, pending.strip()


def outcome(module, conn, sql):
    """What a statement gave: rows with their types, or the error; and what it left behind."""
    try:
        if sql == "-- commit":
            conn.commit()
            return "commit"
        if sql == "-- rollback":
            conn.rollback()
            return "rollback"
        cursor = conn.execute(sql)
        rows = [tuple((type(v).__name__, v) for v in row) for row in cursor.fetchall()]
        names = [d[0] for d in cursor.description] if cursor.description else None
        return rows, names, conn.total_changes, conn.in_transaction, conn.execute("SELECT last_insert_rowid(), changes()").fetchone()
    except module.Error as error:
        return type(error).__name__, str(error), conn.in_transaction


def run_file(path, folder=None):
    """Differences, as text; [] when both agree."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    names = [":memory:"] * 2 if folder is None else [os.path.join(folder, n) for n in ("stock.db", "ours.db")]
    modules = (stock, ours)
    conns = [m.connect(n, isolation_level=None) for m, n in zip(modules, names)]
    found = []
    for line, sql in statements(text):
        if sql == "-- reopen":
            for conn in conns:
                conn.close()
            if folder is not None:
                conns = [m.connect(n, isolation_level=None) for m, n in zip(modules, names)]
                continue
            conns = [m.connect(n, isolation_level=None) for m, n in zip(modules, names)]
            break  # in memory nothing is left to compare
        want, got = (outcome(m, c, sql) for m, c in zip(modules, conns))
        if want != got:
            found.append(f"{os.path.basename(path)}:{line}: {sql}\n  sqlite3: {want}\n  helios:  {got}")
    for conn in conns:
        conn.close()
    return found


class SqlFiles(unittest.TestCase):
    maxDiff = None


def add(path):
    name = os.path.basename(path)[:-5]

    def in_memory(self):
        found = run_file(path)
        self.assertFalse(found, "\n" + "\n".join(found[:20]) + f"\n{len(found)} differences")

    def on_file(self):
        folder = tempfile.mkdtemp(prefix="helios-sql-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        found = run_file(path, folder)
        self.assertFalse(found, "\n" + "\n".join(found[:20]) + f"\n{len(found)} differences")

    setattr(SqlFiles, f"test_{name}_in_memory", in_memory)
    setattr(SqlFiles, f"test_{name}_on_file", on_file)


for _path in sorted(glob.glob(os.path.join(FOLDER, "*.test"))):
    add(_path)

if __name__ == "__main__":
    unittest.main()
