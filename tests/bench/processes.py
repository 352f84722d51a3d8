"""What a second process pays: the same work in the process that owns the storage and in one that does not.

usage: processes.py [rows]
Prints, for the owner and a client: a point read (repeated; of ever other rows, not in memory; with somebody else
committing all the time), a scan, an aggregate, a commit without and with fsync, opening and closing a connection.
"""
import os
import random
import subprocess
import sys
import tempfile
import threading
import time

import heliosdb_sqlite as helios

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 300000


def best(run, n=1, repeat=3):
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        run()
        times.append((time.perf_counter() - started) / n)
    return min(times)


def measure(path):
    conn = helios.connect(path, isolation_level=None)
    ids = list(range(1, ROWS + 1))
    random.Random(os.getpid()).shuffle(ids)
    out = {}

    def reads(which):
        for i in which:
            conn.execute("SELECT v FROM t WHERE id = ?", (i,)).fetchone()
    out["point read, cold"] = best(lambda: reads(ids[:2000]), 2000, 1) * 1e6
    out["point read, hot"] = best(lambda: reads(ids[:2000]), 2000) * 1e6
    out["scan, a row"] = best(lambda: sum(1 for _ in conn.execute("SELECT * FROM t")), ROWS, 2) * 1e9
    out["sum(), a row"] = best(lambda: conn.execute("SELECT sum(n), max(v) FROM t").fetchone(), ROWS, 3) * 1e9
    out["range of 100"] = best(lambda: [conn.execute("SELECT sum(n) FROM t WHERE id BETWEEN ? AND ?", (i, i + 99)).fetchone() for i in ids[:300]], 300, 1) * 1e6
    conn.execute("PRAGMA synchronous=NORMAL")

    def commits(n):
        for i in ids[:n]:
            conn.execute("UPDATE t SET n = n + 1 WHERE id = ?", (i,))
    out["commit, no fsync"] = best(lambda: commits(500), 500, 2) * 1e6
    conn.execute("PRAGMA synchronous=FULL")
    out["commit, fsync"] = best(lambda: commits(100), 100, 2) * 1e6

    def insert_many():
        conn.execute("BEGIN")
        conn.executemany("INSERT INTO s(v) VALUES(?)", (("w" * 50,) for _ in range(20000)))
        conn.execute("COMMIT")
    out["executemany, a row"] = best(insert_many, 20000, 2) * 1e9
    conn.execute("BEGIN")
    conn.execute("SELECT 1 FROM t").fetchone()
    conn.execute("COMMIT")

    def opens():
        for _ in range(50):
            c = helios.connect(path)
            c.execute("SELECT v FROM t WHERE id = 1").fetchone()
            c.close()
    out["connect, read, close"] = best(opens, 50, 2) * 1e6
    conn.close()
    return out


def main():
    if os.environ.get("HELIOS_BENCH_CLIENT"):
        print(repr(measure(sys.argv[2])))
        return
    folder = tempfile.TemporaryDirectory(prefix="helios-bench-processes-")
    path = os.path.join(folder.name, "app.db")
    conn = helios.connect(path)
    conn.executescript("CREATE TABLE t(id INTEGER PRIMARY KEY, v, n); CREATE TABLE s(id INTEGER PRIMARY KEY, v)")
    conn.executemany("INSERT INTO t(v, n) VALUES(?, ?)", ((f"value {i:08d} " + "x" * 70, i) for i in range(ROWS)))
    conn.commit()
    own = measure(path)
    run = [sys.executable, __file__, str(ROWS), path]
    environment = dict(os.environ, HELIOS_BENCH_CLIENT="1")
    theirs = eval(subprocess.run(run, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)
    stop = threading.Event()

    def disturb():
        c = helios.connect(path, isolation_level=None)
        c.execute("PRAGMA synchronous=OFF")
        while not stop.is_set():
            c.execute("INSERT INTO s(v) VALUES(1)")
            time.sleep(0.0005)
        c.close()
    thread = threading.Thread(target=disturb)
    thread.start()
    busy = eval(subprocess.run(run, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)
    stop.set()
    thread.join()
    print(f"{'':24}{'owner':>12}{'client':>12}{'ratio':>8}{'client, others commit':>24}")
    for name, value in own.items():
        unit = "ns" if name.endswith("a row") else "us"
        print(f"{name:24}{value:9.1f} {unit}{theirs[name]:9.1f} {unit}{theirs[name] / value:8.2f}{busy[name]:21.1f} {unit}")
    conn.close()


main()
