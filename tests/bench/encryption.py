#!/usr/bin/env python3
"""What encryption costs: the operations of bench.py on a plain and on an encrypted database, in alternating pairs.

  encryption.py [--pairs 5] [--scale 0.2] [--only point,commit]     median times, encrypted over plain
  encryption.py --count [--scale 0.02] [--only ...]                 instructions of all threads, by callgrind

Counting runs each operation once and four times under valgrind; the difference is three operations without the
start. Both sides have no mirror, since an encrypted database has none. Where the package sqlcipher3 can be imported, the times
of SQLCipher with a key over the same library without one stand beside ours.
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import bench
import heliosdb_sqlite as ours

COUNTED = ("load", "point", "range", "scan", "update", "upsert", "commit")


class Module:
    """heliosdb_sqlite with keywords of connect() set."""

    def __init__(self, **keywords):
        self.keywords = keywords

    def connect(self, path, **keywords):
        return ours.connect(path, **self.keywords, **keywords)


class Cipher:
    """SQLCipher, with a raw key or none."""

    def __init__(self, module, key):
        self.module, self.key = module, key

    def connect(self, path, **keywords):
        conn = self.module.connect(path, **keywords)
        if self.key:
            conn.execute(f"PRAGMA key = \"x'{self.key.hex()}'\"")
        return conn


SIDES = {"plain": Module(mirror=False), "sealed": Module(encryption_key=bytes(range(32)))}


def operations(only):
    return [(name, op) for name, op, _ in bench.OPERATIONS if not only or name in only]


def sides_to_measure(folder, rows):
    modules = dict(SIDES)
    try:
        from sqlcipher3 import dbapi2
    except ImportError:
        pass
    else:
        modules.update({"sqlite": Cipher(dbapi2, None), "sqlcipher": Cipher(dbapi2, bytes(range(32)))})
    return {name: bench.Side(module, name, "file", folder, rows) for name, module in modules.items()}


def measure(options, only):
    rows = bench.make_rows(options.scale)
    with tempfile.TemporaryDirectory(prefix="helios_bench_") as folder:
        sides = sides_to_measure(folder, rows)
        for side in sides.values():
            side.open()
            if hasattr(side.conn, "checkpoint"):
                side.conn.checkpoint()
        ratios, theirs = [], []
        print(f"{'':14} {'plain ms':>9} {'sealed ms':>9} {'ratio':>6}" + ("   SQLCipher / SQLite" if "sqlite" in sides else ""))
        for name, op in operations(only):
            times = {n: [] for n in sides}
            for _ in range(options.pairs):
                results = []
                for n, side in sides.items():
                    clock = bench.Clock()
                    results.append(op(side, clock))
                    times[n].append(clock.seconds * 1000)
                if any(r != results[0] for r in results):
                    raise SystemExit(f"{name}: the results differ")
            plain, sealed = (statistics.median(times[n]) for n in ("plain", "sealed"))
            ratios.append(sealed / plain)
            line = f"{name:14} {plain:9.2f} {sealed:9.2f} {sealed / plain:6.2f}"
            if "sqlite" in sides:
                one, other = (statistics.median(times[n]) for n in ("sqlite", "sqlcipher"))
                theirs.append(other / one)
                line += f"   {other:9.2f} / {one:9.2f} = {other / one:6.2f}"
            print(line, flush=True)
        print(f"geometric mean: {statistics.geometric_mean(ratios):.3f}" + (f", SQLCipher over SQLite {statistics.geometric_mean(theirs):.3f}" if theirs else ""))
        for side in sides.values():
            side.conn.close()


def run(name, times, which, scale):
    folder = tempfile.mkdtemp(prefix="helios_bench_")
    try:
        side = bench.Side(SIDES[which], which, "file", folder, bench.make_rows(scale))
        side.open()
        side.conn.checkpoint()
        op = dict(operations(None))[name]
        for _ in range(times):
            op(side, bench.Clock())
        side.conn.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def instructions(name, times, which, scale):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, __file__, "--run", name, str(times), which,
               "--scale", str(scale)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "0"})
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise SystemExit(done.stderr[-2000:])
    return int(found.group(1))


def count(options, only):
    print(f"{'':14} {'plain M':>9} {'sealed M':>9} {'ratio':>6}")
    for name in only or COUNTED:
        cost = {which: (instructions(name, 4, which, options.scale) - instructions(name, 1, which, options.scale)) / 3e6 for which in SIDES}
        print(f"{name:14} {cost['plain']:9.2f} {cost['sealed']:9.2f} {cost['sealed'] / cost['plain']:6.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--scale", type=float)
    parser.add_argument("--only")
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--run", nargs=3, metavar=("OPERATION", "TIMES", "SIDE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    only = options.only.split(",") if options.only else None
    if options.run:
        run(options.run[0], int(options.run[1]), options.run[2], options.scale)
    elif options.count:
        options.scale = options.scale or 0.02
        count(options, only)
    else:
        options.scale = options.scale or 0.2
        measure(options, only)


if __name__ == "__main__":
    main()
