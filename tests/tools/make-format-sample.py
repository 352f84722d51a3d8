#!/usr/bin/env python3
"""Makes a database directory of the format of the heliosdb_sqlite that Python finds, for tests/py/test_format.py.

  make-format-sample.py OUT.zip [--key HEX]

The samples in tests/data were made once, by the versions in their names, and are never made anew: a newer version must go
on reading them.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import zipfile

MAKE = """
import sys, heliosdb_sqlite as helios
keywords = {"encryption_key": sys.argv[2]} if sys.argv[2] else {}
conn = helios.connect(sys.argv[1], isolation_level=None, **keywords)
conn.executescript('''
    CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE, x REAL, b BLOB);
    CREATE INDEX t_name ON t(name, x DESC);
    CREATE TABLE w(k TEXT, n INT, v, PRIMARY KEY(k, n)) WITHOUT ROWID;
    CREATE TABLE d(id INTEGER PRIMARY KEY, e VECTOR(4));
    CREATE VIRTUAL TABLE f USING fts5(body);
    CREATE VIEW v AS SELECT count(*) AS n FROM t;
    CREATE TRIGGER g AFTER DELETE ON t BEGIN INSERT INTO w VALUES('deleted', old.id, old.name); END;
    PRAGMA user_version = 7;
''')
conn.execute("PRAGMA heliosdb_retention = 'inf'")
conn.execute("BEGIN")
conn.executemany("INSERT INTO t VALUES(?, ?, ?, ?)", [(i, "Name %d" % (i % 50), i / 8, bytes([i % 256]) * (i % 20)) for i in range(1, 401)])
conn.executemany("INSERT INTO w VALUES(?, ?, ?)", [("key %d" % (i % 9), i, None if i % 3 else "large" * 900) for i in range(60)])
conn.executemany("INSERT INTO d(e) VALUES(?)", [("[%d,%d,1,0]" % (i, i * i % 17),) for i in range(30)])
conn.executemany("INSERT INTO f VALUES(?)", [("some words and number %d" % i,) for i in range(20)])
conn.execute("COMMIT")
print(conn.last_commit_timestamp)
for i in range(12):
    conn.execute("UPDATE t SET name = 'changed %d' WHERE id %% 40 = ?" % i, (i,))
conn.execute("DELETE FROM t WHERE id BETWEEN 100 AND 104")
conn.create_branch("side")
conn.switch_branch("side")
conn.execute("UPDATE t SET x = -1 WHERE id = 1")
conn.execute("INSERT INTO t VALUES(1000, 'of the branch', 0, NULL)")
conn.close()
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--key", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "app.db")
        first = subprocess.run([sys.executable, "-c", MAKE, path, options.key], check=True, capture_output=True, text=True).stdout.strip()
        with zipfile.ZipFile(options.out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z:
            z.writestr("loaded-at", first)
            for base, _, names in os.walk(folder):
                for name in sorted(names):
                    if name not in ("LOCK", "OWNER"):
                        z.write(os.path.join(base, name), os.path.relpath(os.path.join(base, name), folder))
    print(options.out, os.path.getsize(options.out), "bytes")


if __name__ == "__main__":
    main()
