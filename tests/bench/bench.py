#!/usr/bin/env python3
"""The benchmark: HeliosDB Nano beside stock sqlite3, in one run, through the same Python code.

100,000 users and 200,000 orders, on file and in memory. Every operation runs in alternating pairs (stock, ours,
stock, ours ...); the best of each side counts, the spread is printed, and both sides must give the same result.
For writes on file it also shows how long it takes until app.db equals the database (checkpoint), and the CPU seconds
of all threads on both sides.

  bench.py [--pairs 7] [--only point,join] [--mode file|memory|both] [--scale 1.0] [--json OUT] [--dir DIR]

The last line of each mode is the geometric mean of stock's time over ours: above 1 we are faster.
"""
import argparse
import gc
import hashlib
import json
import math
import os
import random
import resource
import shutil
import sqlite3 as stock
import sys
import tempfile
import time

import heliosdb_sqlite as ours

USERS, ORDERS = 100_000, 200_000
CITIES = ["Aachen", "Bergen", "Cork", "Delft", "Espoo", "Fes", "Ghent", "Haifa", "Izmir", "Jena", "Kyoto", "Lima"]

SCHEMA = """
CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE, age INTEGER, city TEXT, score REAL);
CREATE TABLE orders(id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users(id), amount REAL, status TEXT, day INTEGER);
CREATE INDEX orders_user ON orders(user_id);
CREATE INDEX orders_day ON orders(day);
"""


def make_rows(scale):
    rnd = random.Random(20)
    users = [(i, f"user {i:06d}", f"user{i * 7919 % 1000003}@example.org", rnd.randrange(18, 90), rnd.choice(CITIES),
              round(rnd.random() * 100, 2)) for i in range(1, int(USERS * scale) + 1)]
    orders = [(i, rnd.randrange(1, len(users) + 1), round(rnd.random() * 1000, 2),
               rnd.choice(("new", "paid", "sent", "back")), rnd.randrange(0, 2000)) for i in range(1, int(ORDERS * scale) + 1)]
    return users, orders


class Side:
    """One engine's database of one mode, and what an operation may need of it."""

    def __init__(self, module, name, mode, folder, rows):
        self.module, self.name, self.mode, self.rows = module, name, mode, rows
        self.path = os.path.join(folder, f"{name}.db") if mode == "file" else ":memory:"
        self.conn = None
        self.turn = 0

    def connect(self, path=None):
        conn = self.module.connect(path or self.path, isolation_level=None)
        conn.execute("PRAGMA synchronous=OFF")
        return conn

    def fresh(self, path):
        for suffix in ("", "-journal", "-wal", "-shm"):
            if os.path.exists(path + suffix):
                os.unlink(path + suffix)
        shutil.rmtree(path + "-helios", ignore_errors=True)
        shutil.rmtree(path + "-helios.stale", ignore_errors=True)

    def load(self, conn):
        users, orders = self.rows
        conn.executescript(SCHEMA)
        conn.execute("BEGIN")
        conn.executemany("INSERT INTO users VALUES(?,?,?,?,?,?)", users)
        conn.executemany("INSERT INTO orders VALUES(?,?,?,?,?)", orders)
        conn.execute("COMMIT")

    def open(self):
        if self.mode == "file":
            self.fresh(self.path)
        self.conn = self.connect()
        self.load(self.conn)


def alike(value):
    """Floats to nine digits: since 3.43 SQLite adds up with a compensated sum, its older releases do not."""
    if isinstance(value, float):
        return f"{value:.9g}"
    return [alike(v) for v in value] if isinstance(value, (list, tuple)) else value


def fingerprint(rows):
    return hashlib.md5(repr(alike(rows)).encode()).hexdigest(), len(rows)


# ---- operations: each gets a Side and does its work inside `with clock:`; it returns what must be equal ----
class Clock:
    def __enter__(self):
        gc.collect()
        gc.disable()
        use = resource.getrusage(resource.RUSAGE_SELF)
        self.cpu = -(use.ru_utime + use.ru_stime)
        self.seconds = -time.perf_counter()

    def __exit__(self, *_):
        self.seconds += time.perf_counter()
        use = resource.getrusage(resource.RUSAGE_SELF)
        self.cpu += use.ru_utime + use.ru_stime
        gc.enable()


def query(sql, *parameters):
    def op(side, clock):
        with clock:
            rows = side.conn.execute(sql, parameters).fetchall()
        return fingerprint(rows)
    return op


def many(sql, arguments):
    def op(side, clock):
        values = arguments(len(side.rows[0]), len(side.rows[1]))
        out = []
        execute = side.conn.execute
        with clock:
            for value in values:
                out += execute(sql, value).fetchall()
        return fingerprint(out)
    return op


def load(side, clock):
    path = side.path + ".load" if side.mode == "file" else ":memory:"
    if side.mode == "file":
        side.fresh(path)
    conn = side.connect(path)
    with clock:
        side.load(conn)
    result = conn.execute("SELECT count(*), sum(amount) FROM orders").fetchall()
    conn.close()
    if side.mode == "file":
        side.fresh(path)
    return result


def update(side, clock):
    with clock:
        n = side.conn.execute("UPDATE users SET score = score + 1 WHERE age > 60").rowcount
    return n, side.conn.execute("SELECT count(*), round(sum(score)) FROM users").fetchall()


def delete(side, clock):
    side.turn += 1
    low = side.turn * 1000
    rows = side.conn.execute("SELECT * FROM orders WHERE id BETWEEN ? AND ?", (low, low + 4999)).fetchall()
    with clock:
        n = side.conn.execute("DELETE FROM orders WHERE id BETWEEN ? AND ?", (low, low + 4999)).rowcount
    left = side.conn.execute("SELECT count(*) FROM orders").fetchall()
    side.conn.execute("BEGIN")
    side.conn.executemany("INSERT INTO orders VALUES(?,?,?,?,?)", rows)
    side.conn.execute("COMMIT")
    return n, left


def upsert(side, clock):
    rows = [(i * 37 % len(side.rows[0]) + 1, "x", f"u{i}@x.org", 30, "Cork", 1.0) for i in range(5000)]
    with clock:
        side.conn.execute("BEGIN")
        side.conn.executemany("INSERT INTO users VALUES(?,?,?,?,?,?) ON CONFLICT(id) DO UPDATE SET score = score + 1", rows)
        side.conn.execute("COMMIT")
    return side.conn.execute("SELECT count(*), round(sum(score)) FROM users").fetchall()


def commits(synchronous, n):
    def op(side, clock):
        side.conn.execute(f"PRAGMA synchronous={synchronous}")
        execute = side.conn.execute
        with clock:
            for i in range(n):
                execute("UPDATE users SET score = score + 1 WHERE id = ?", (i * 91 % 5000 + 1,))
        side.conn.execute("PRAGMA synchronous=OFF")
        return side.conn.execute("SELECT round(sum(score)) FROM users").fetchall()
    return op


def connect(side, clock):
    out = []
    with clock:
        for _ in range(50):
            conn = side.module.connect(side.path)
            out.append(conn.execute("SELECT 1").fetchone())
            conn.close()
    return out


def points(n):
    return lambda users, orders: [((i * 7919) % users + 1,) for i in range(n)]


OPERATIONS = [  # name, operation, writes
    ("load", load, True),
    ("point", many("SELECT * FROM users WHERE id = ?", points(5000)), False),
    ("index", many("SELECT id, name FROM users WHERE email = ?",
                   lambda users, orders: [(f"user{(i * 7919 % users + 1) * 7919 % 1000003}@example.org",) for i in range(5000)]), False),
    ("index rows", many("SELECT id, amount FROM orders WHERE user_id = ?", points(3000)), False),
    ("range", many("SELECT id, amount FROM orders WHERE day BETWEEN ? AND ?",
                   lambda users, orders: [(d, d + 2) for d in range(0, 1900, 10)]), False),
    ("rowid range", many("SELECT id, name, score FROM users WHERE id BETWEEN ? AND ?",
                         lambda users, orders: [(i, i + 100) for i in range(1, users - 100, 500)]), False),
    ("scan", query("SELECT count(*), sum(age), max(score) FROM users"), False),
    ("fetch all", query("SELECT * FROM users"), False),
    ("filter", query("SELECT id, name FROM users WHERE age BETWEEN 30 AND 35 AND city = 'Cork' OR name LIKE '%999%'"), False),
    ("group", query("SELECT city, count(*), avg(age), max(score) FROM users GROUP BY city"), False),
    ("group many", query("SELECT user_id, count(*), sum(amount) FROM orders GROUP BY user_id"), False),
    ("top-N", query("SELECT id, amount FROM orders ORDER BY amount DESC, id LIMIT 10"), False),
    ("sort", query("SELECT id FROM orders ORDER BY status, amount, id"), False),
    ("join", query("SELECT u.city, count(*), sum(o.amount) FROM orders o JOIN users u ON u.id = o.user_id WHERE o.status = 'paid' GROUP BY u.city"), False),
    ("join index", query("SELECT u.name, o.amount FROM users u JOIN orders o ON o.user_id = u.id WHERE u.age = 33"), False),
    ("subquery", query("SELECT count(*) FROM users u WHERE EXISTS(SELECT 1 FROM orders o WHERE o.user_id = u.id AND o.amount > 900)"), False),
    ("in subquery", query("SELECT count(*) FROM orders WHERE user_id IN (SELECT id FROM users WHERE age < 25)"), False),
    ("window", query("SELECT user_id, id, sum(amount) OVER (PARTITION BY user_id ORDER BY id) FROM orders WHERE day < 500"), False),
    ("update", update, True),
    ("delete", delete, True),
    ("upsert", upsert, True),
    ("commit", commits("OFF", 1000), True),
    ("commit fsync", commits("FULL", 200), True),
    ("connect", connect, False),
]


def until_mirrored(side):
    start = time.perf_counter()
    side.conn.checkpoint()
    return time.perf_counter() - start


def run_operation(name, op, writes, sides, pairs):
    best, cpu, spread, mirror = {}, {}, {}, None
    for pair in range(pairs):
        results = []
        for side in (sides if pair % 2 == 0 else sides[::-1]):
            clock = Clock()
            results.append((side.name, op(side, clock)))
            spread.setdefault(side.name, []).append(clock.seconds)
            cpu[side.name] = min(cpu.get(side.name, 1e9), clock.cpu)
        if alike(results[0][1]) != alike(results[1][1]):
            raise SystemExit(f"{name}: results differ: {dict(results)}")
    for side in sides:
        best[side.name] = min(spread[side.name])
    if writes and sides[0].mode == "file" and name != "load":
        mirror = until_mirrored(next(s for s in sides if s.name == "ours"))
    return best, cpu, spread, mirror


def run_mode(mode, options, rows):
    folder = tempfile.mkdtemp(prefix="helios-bench-", dir=options.dir)
    sides = [Side(stock, "stock", mode, folder, rows), Side(ours, "ours", mode, folder, rows)]
    figures = []
    try:
        for side in sides:
            side.open()
        print(f"\n{mode}: {len(rows[0])} users, {len(rows[1])} orders, {options.pairs} pairs; ms, best (worst)")
        print(f"{'operation':<13}{'stock':>20}{'ours':>20}{'ratio':>8}{'cpu s stock/ours':>20}{'mirror ms':>11}")
        for name, op, writes in OPERATIONS:
            if options.only and name not in options.only.split(","):
                continue
            if mode == "memory" and name == "commit fsync":
                continue
            best, cpu, spread, mirror = run_operation(name, op, writes, sides, options.pairs)
            ratio = best["stock"] / best["ours"]
            cell = {n: f"{best[n] * 1e3:.2f} ({max(spread[n]) * 1e3:.2f})" for n in best}
            print(f"{name:<13}{cell['stock']:>20}{cell['ours']:>20}{ratio:>8.2f}{cpu['stock']:>10.3f}/{cpu['ours']:.3f}"
                  f"{'' if mirror is None else f'{mirror * 1e3:>15.1f}'}", flush=True)
            figures.append(dict(mode=mode, operation=name, stock=best["stock"], ours=best["ours"], ratio=ratio, cpu_stock=cpu["stock"],
                                cpu_ours=cpu["ours"], mirror=mirror, runs=spread))
        for side in sides:
            side.conn.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if figures:
        mean = math.exp(sum(math.log(f["ratio"]) for f in figures) / len(figures))
        worst = min(figures, key=lambda f: f["ratio"])
        print(f"{mode}: geometric mean {mean:.2f}, worst {worst['operation']} {worst['ratio']:.2f}")
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--only")
    parser.add_argument("--mode", choices=("file", "memory", "both"), default="both")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--json")
    parser.add_argument("--dir")
    options = parser.parse_args()
    print(f"stock sqlite3 {stock.sqlite_version}, HeliosDB Nano ({ours.sqlite_version}), Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    rows = make_rows(options.scale)
    figures = []
    for mode in ("file", "memory") if options.mode == "both" else (options.mode,):
        figures += run_mode(mode, options, rows)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump(figures, f, indent=1)


if __name__ == "__main__":
    main()
