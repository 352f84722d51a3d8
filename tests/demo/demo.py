#!/usr/bin/env python3
"""The demonstration: two real SQLite databases, opened by HeliosDB Nano, queried, changed, and read again by sqlite3.

  demo.py [--folder DIR] [--rows 200000]

1. proj.db, the registry of coordinate systems that the package pyproj ships: views, triggers, foreign keys,
   WITHOUT ROWID tables.
2. A shop of 200,000 rows made here by the stock sqlite3 module.
Each step runs on a copy with stock sqlite3 as well; the times stand side by side and the answers must be equal.
"""
import argparse
import os
import random
import shutil
import sqlite3 as stock
import sys
import tempfile
import time

import heliosdb_sqlite as helios


def proj_database():
    """The path of pyproj's proj.db, None when pyproj is not installed."""
    try:
        import pyproj
    except ImportError:
        return None
    path = os.path.join(pyproj.datadir.get_data_dir(), "proj.db")
    return path if os.path.exists(path) else None


def make_shop(path, rows):
    rnd = random.Random(7)
    conn = stock.connect(path)
    conn.executescript("""
        CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT, joined TEXT);
        CREATE TABLE product(code TEXT PRIMARY KEY, title TEXT, price NUMERIC CHECK(price >= 0)) WITHOUT ROWID;
        CREATE TABLE sale(id INTEGER PRIMARY KEY AUTOINCREMENT, customer_id INTEGER NOT NULL REFERENCES customer(id),
            product_code TEXT NOT NULL REFERENCES product(code), quantity INTEGER DEFAULT 1, sold TEXT,
            total REAL GENERATED ALWAYS AS (quantity * 1.0) VIRTUAL);
        CREATE INDEX sale_customer ON sale(customer_id);
        CREATE INDEX sale_sold ON sale(sold, product_code) WHERE quantity > 1;
        CREATE VIEW best AS SELECT p.title, sum(s.quantity) AS sold FROM sale s JOIN product p ON p.code = s.product_code
            GROUP BY p.code ORDER BY sold DESC;
        CREATE TABLE audit(what TEXT, at TEXT);
        CREATE TRIGGER sale_gone AFTER DELETE ON sale BEGIN INSERT INTO audit VALUES('sale ' || old.id, old.sold); END;
    """)
    customers, products = max(rows // 20, 10), max(rows // 200, 10)
    conn.executemany("INSERT INTO customer VALUES(?,?,?,?)",
                     ((i, f"Customer {i}", rnd.choice(("Oslo", "Rome", "Lyon", None)), f"20{rnd.randrange(10, 26)}-01-01")
                      for i in range(1, customers + 1)))
    conn.executemany("INSERT INTO product VALUES(?,?,?)", ((f"P{i:05d}", f"Thing {i}", rnd.randrange(1, 10000) / 100) for i in range(products)))
    conn.executemany("INSERT INTO sale(customer_id, product_code, quantity, sold) VALUES(?,?,?,?)",
                     ((rnd.randrange(1, customers + 1), f"P{rnd.randrange(products):05d}", rnd.randrange(1, 6),
                       f"2025-{rnd.randrange(1, 13):02d}-{rnd.randrange(1, 29):02d}") for _ in range(rows - customers - products)))
    conn.commit()
    conn.close()


PROJ_STEPS = [
    ("count the objects", "SELECT type, count(*) FROM sqlite_schema GROUP BY type"),
    ("a view of all systems", "SELECT count(*), min(name), max(name) FROM crs_view"),
    ("a join over the registry", "SELECT c.auth_name, c.code, c.name, d.name FROM geodetic_crs c JOIN geodetic_datum d ON d.auth_name = c.datum_auth_name AND d.code = c.datum_code WHERE c.type = 'geographic 2D' ORDER BY 1, 2 LIMIT 50"),
    ("deprecated ones by authority", "SELECT auth_name, count(*), sum(deprecated) FROM crs_view GROUP BY auth_name ORDER BY 1"),
    ("a lookup by key", "SELECT name FROM geodetic_crs WHERE auth_name = 'EPSG' AND code = '4326'"),
    ("a transaction", ["BEGIN", "UPDATE metadata SET value = 'demo' WHERE key = 'PROJ.VERSION'",
                       "INSERT INTO metadata VALUES('helios', 'was here')", "COMMIT", "SELECT * FROM metadata ORDER BY key"]),
]
SHOP_STEPS = [
    ("count the sales", "SELECT count(*), sum(quantity) FROM sale"),
    ("the best things", "SELECT * FROM best LIMIT 10"),
    ("sales by city", "SELECT c.city, count(*), sum(s.quantity * p.price) FROM sale s JOIN customer c ON c.id = s.customer_id JOIN product p ON p.code = s.product_code GROUP BY c.city"),
    ("customers without a sale", "SELECT count(*) FROM customer c WHERE NOT EXISTS (SELECT 1 FROM sale s WHERE s.customer_id = c.id)"),
    ("running totals", "SELECT id, sum(quantity) OVER (PARTITION BY customer_id ORDER BY id) FROM sale WHERE customer_id < 100"),
    ("a transaction", ["BEGIN", "UPDATE product SET price = price * 1.1 WHERE code < 'P00100'", "DELETE FROM sale WHERE customer_id = 7",
                       "INSERT INTO sale(customer_id, product_code, quantity, sold) VALUES (1, 'P00001', 3, '2026-01-01')", "COMMIT",
                       "SELECT count(*) FROM audit"]),
]


def run_step(conn, step):
    rows = []
    for sql in [step] if isinstance(step, str) else step:
        rows = conn.execute(sql).fetchall()
    return rows


def close_enough(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-9 * max(1.0, abs(a), abs(b))
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(close_enough, a, b))
    return type(a) is type(b) and a == b


def differences(left, right):
    """What differs between two open databases: schema texts and the rows of every table and view. [] when equal."""
    schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE '\\_heliosdb%' ESCAPE '\\' AND tbl_name NOT LIKE '\\_heliosdb%' ESCAPE '\\' ORDER BY type, name"
    a, b = left.execute(schema).fetchall(), right.execute(schema).fetchall()
    found = [] if a == b else [f"schemas differ: {set(a) ^ set(b)}"]
    for kind, name, _, _ in a:
        if kind in ("table", "view"):
            quoted = name.replace('"', '""')
            x, y = (sorted(c.execute(f'SELECT * FROM "{quoted}"').fetchall(), key=repr) for c in (left, right))
            if not close_enough(x, y):
                found.append(f"{kind} {name}: {len(x)} and {len(y)} rows, or other values")
        elif kind == "index":
            # every entry, through the index and past it
            owner = next(t for k, n, t, _ in a if k == "index" and n == name).replace('"', '""')
            quoted = name.replace('"', '""')
            for conn in (left, right):
                try:
                    through = conn.execute(f'SELECT count(*) FROM "{owner}" INDEXED BY "{quoted}"').fetchone()
                except stock.OperationalError:
                    continue  # a partial index, or one that SQLite will not use for this: counted by the check below
                if through != conn.execute(f'SELECT count(*) FROM "{owner}" NOT INDEXED').fetchone():
                    found.append(f"index {name}: {through[0]} entries")
    return found


def tour(title, source, steps, folder, say=print):
    """Runs the steps on two copies of `source`, by us and by stock sqlite3. Returns our copy's path."""
    name = os.path.basename(source)
    mine, theirs = os.path.join(folder, "helios-" + name), os.path.join(folder, "stock-" + name)
    for path in (mine, theirs):
        shutil.copy(source, path)
        os.chmod(path, 0o644)
    say(f"\n{title}: {mine} ({os.path.getsize(mine) / 1e6:.1f} MB)")
    say(f"  {'step':<32}{'sqlite3 ms':>12}{'helios ms':>12}")
    connections, opened = [], []
    for module, path in ((stock, theirs), (helios, mine)):
        start = time.perf_counter()
        conn = module.connect(path, isolation_level=None)
        conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        opened.append(time.perf_counter() - start)
        connections.append(conn)
    say(f"  {'open (the first time: taken in)':<32}{opened[0] * 1e3:>12.2f}{opened[1] * 1e3:>12.2f}")
    before = differences(*connections)
    if before:
        raise SystemExit("differs after opening: " + "; ".join(before))
    for label, step in steps:
        results, times = [], []
        for conn in connections:
            start = time.perf_counter()
            results.append(run_step(conn, step))
            times.append(time.perf_counter() - start)
        if not close_enough(*results):
            raise SystemExit(f"{label}: the answers differ:\n{results[0][:5]}\n{results[1][:5]}")
        say(f"  {label:<32}{times[0] * 1e3:>12.2f}{times[1] * 1e3:>12.2f}   {str(results[1][0])[:60] if results[1] else ''}")
    closed = []
    for conn in connections:
        start = time.perf_counter()
        conn.close()
        closed.append(time.perf_counter() - start)
    say(f"  {'close (app.db is written)':<32}{closed[0] * 1e3:>12.2f}{closed[1] * 1e3:>12.2f}")
    a, b = stock.connect(theirs), stock.connect(mine)
    after = differences(a, b)
    check = b.execute("PRAGMA integrity_check").fetchall()
    a.close()
    b.close()
    if after or check != [("ok",)]:
        raise SystemExit("stock sqlite3 reads something else: " + "; ".join(after) + str(check))
    say(f"  stock sqlite3 reads {os.path.basename(mine)}: every table, view and index equal, integrity_check ok")
    return mine


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder")
    parser.add_argument("--rows", type=int, default=200_000)
    options = parser.parse_args()
    folder = options.folder or tempfile.mkdtemp(prefix="heliosdb-demo-")
    os.makedirs(folder, exist_ok=True)
    print(f"HeliosDB Nano beside sqlite3 {stock.sqlite_version}, Python {sys.version.split()[0]}")
    proj = proj_database()
    if not proj:
        raise SystemExit("pyproj is missing: .venv/bin/python -m pip install pyproj")
    tour("proj.db, a registry of coordinate systems", proj, PROJ_STEPS, folder)
    shop = os.path.join(folder, "shop.db")
    if os.path.exists(shop):
        os.unlink(shop)
    start = time.perf_counter()
    make_shop(shop, options.rows)
    print(f"\nstock sqlite3 made {shop} in {time.perf_counter() - start:.1f} s")
    tour("a shop", shop, SHOP_STEPS, folder)
    print(f"\nThe files are in {folder}")


if __name__ == "__main__":
    main()
