"""A connection for each request, beside stock sqlite3: default settings, on disk, the same file layout.

usage: requests.py [pairs]
In turns, so that what else the machine does falls on both; the best of each counts, the spread says how quiet it was.
"""
import os
import sqlite3
import sys
import tempfile
import time

import heliosdb_sqlite as helios

PAIRS = max(7, int(sys.argv[1])) if len(sys.argv) > 1 else 15
SCHEMA = """CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, x TEXT, n INTEGER);
CREATE INDEX t_n ON t(n);
CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, mail TEXT);
CREATE VIEW v AS SELECT x, count(*) AS c FROM t GROUP BY x;"""


def read(module, path, times):
    for i in range(times):
        conn = module.connect(path)
        conn.execute("SELECT x FROM t WHERE id = ?", (i % 1000 + 1,)).fetchone()
        conn.close()


def write(module, path, times):
    for i in range(times):
        conn = module.connect(path)
        conn.execute("INSERT INTO t(x, n) VALUES(?, ?)", ("w", i))
        conn.commit()
        conn.close()


def main():
    with tempfile.TemporaryDirectory(prefix="helios-bench-requests-") as folder:
        paths = {sqlite3: os.path.join(folder, "stock.db"), helios: os.path.join(folder, "ours.db")}
        for module, path in paths.items():
            conn = module.connect(path)
            conn.executescript(SCHEMA)
            conn.executemany("INSERT INTO t(x, n) VALUES(?, ?)", ((f"value {i}", i) for i in range(1000)))
            conn.commit()
            conn.close()
        print(f"{PAIRS} pairs, load {os.getloadavg()[0]:.1f}; microseconds a request: best (median, worst)")
        for name, run, times in (("connect, SELECT, close", read, 200), ("connect, INSERT, commit, close", write, 60)):
            took = {sqlite3: [], helios: []}
            for module in took:
                run(module, paths[module], 20)
            for _ in range(PAIRS):
                for module in took:
                    begun = time.perf_counter()
                    run(module, paths[module], times)
                    took[module].append((time.perf_counter() - begun) / times * 1e6)
            shown = ["{:6.0f} ({:.0f}, {:.0f})".format(min(v), sorted(v)[PAIRS // 2], max(v)) for v in took.values()]
            ratios = sorted(b / a for a, b in zip(*took.values()))
            print(f"{name:32} sqlite3 {shown[0]:24} ours {shown[1]:24} best {min(took[helios]) / min(took[sqlite3]):.2f}, "
                  f"median of the pairs {ratios[PAIRS // 2]:.2f}")


main()
