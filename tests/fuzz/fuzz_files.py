#!/usr/bin/env python3
"""Damages files and opens them again: an error or right rows, never a crash, never other rows.

    fuzz_files.py [--seconds 60] [--seed N] [--count N] [--build DIR]

Odd seeds flip bits (or cut, or overwrite a page) in an SQLite file that is then taken in: what stock SQLite reads from
the damaged file is the truth.  Even seeds do it to one file of app.db-helios/: the truth is what was written.
"""
import argparse
import glob
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
QUERIES = ["select * from t order by rowid", "select b, count(*) from t group by b order by b", "select a from t where b=3 order by a", "select * from w order by k", "select name, type from sqlite_master where name not like '\\_helios%' escape '\\' order by name"]
SCHEMA = """create table t(a integer primary key, b, c text); create index tb on t(b); create table w(k text primary key, v) without rowid;
create view v as select b, count(*) n from t group by b;
with recursive n(i) as (select 1 union all select i+1 from n where i<400) insert into t select i, i%7, printf('row %d %s', i, hex(zeroblob(i%90))) from n;
insert into w select 'key'||a, c from t where a%3=0;"""


def fill(module, path):
    con = module.connect(path, isolation_level=None)
    con.executescript(SCHEMA)
    con.execute("update t set b=b+1 where a%5=0")
    con.close()


def ask(module, path):
    """[rows or error of each query]"""
    out = []
    try:
        con = module.connect(path, isolation_level=None, timeout=1)
    except module.Error as error:
        return [["error", type(error).__name__, str(error)]]
    for query in QUERIES:
        try:
            out.append([[str(v) if isinstance(v, str) else repr(v) for v in row] for row in con.execute(query)])
        except (module.Error, UnicodeError) as error:
            out.append(["error", type(error).__name__, str(error)])
    try:
        con.execute("insert into t(b,c) values(1,'new')")
        con.execute("pragma integrity_check").fetchall()
    except (module.Error, UnicodeError):
        pass
    con.close()
    return out


def damage(r, path):
    data = bytearray(open(path, "rb").read())
    if not data:
        return False
    how = r.random()
    if how < 0.6:
        for _ in range(r.choice([1, 1, 2, 8, 50])):
            data[r.randrange(min(len(data), r.choice([100, 4096, 1 << 30])))] ^= 1 << r.randrange(8)
    elif how < 0.75:
        del data[r.randrange(len(data)):]
    elif how < 0.9:
        at = r.randrange(len(data))
        data[at:at + r.choice([1, 16, 512])] = bytes(r.randrange(256) for _ in range(min(16, len(data) - at)))
    else:
        at = r.randrange(len(data)) // 512 * 512
        data[at:at + 512] = bytes(len(data[at:at + 512]))
    with open(path, "r+b") as f:
        f.truncate(0)
        f.write(data)
    return True


def child(step, path):
    import heliosdb_sqlite
    if step == "fill":
        fill(heliosdb_sqlite, path)
    else:
        print(json.dumps(ask(heliosdb_sqlite, path)))


def run(environment, step, path):
    try:
        done = subprocess.run([sys.executable, os.path.abspath(__file__), "--child", step, path], env=environment, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return None, "hangs"
    bad = done.returncode != 0 or "runtime error" in done.stderr or "Sanitizer" in done.stderr
    return (json.loads(done.stdout) if done.stdout.startswith("[") else None), (done.stderr[-3000:] or "ended %d" % done.returncode) if bad else None


def one(seed, environment, directory):
    """A finding's text, or None."""
    r = random.Random(seed)
    path = os.path.join(directory, "app.db")
    if seed % 2:
        fill(sqlite3, path)
        damage(r, path)
        copy = os.path.join(directory, "copy.db")
        shutil.copy(path, copy)
        truth = ask(sqlite3, copy)
    else:
        _, bad = run(environment, "fill", path)
        if bad:
            return "filling: " + bad
        copy = os.path.join(directory, "copy.db")
        shutil.copy(path, copy)
        truth = ask(sqlite3, copy)
        files = sorted(f for f in glob.glob(path + "-helios/**", recursive=True) if os.path.isfile(f) and os.path.getsize(f))
        victim = r.choice(files)
        damage(r, victim)
        os.utime(victim)
    got, bad = run(environment, "ask", path)
    name = "SQLite file" if seed % 2 else os.path.relpath(victim, directory)
    if bad:
        return "%s: %s" % (name, bad)
    if len(got) == 1:
        return None     # it would not open
    for query, ours, theirs in zip(QUERIES, got, truth):
        if ours and ours[0] == "error" or ours == theirs or seed % 2 and theirs and theirs[0] == "error":
            continue
        return "%s: %s\n ours  %s\n truth %s" % (name, query, json.dumps(ours)[:400], json.dumps(theirs)[:400])
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--build", default=os.path.join(TOP, "build/asan"))
    parser.add_argument("--child", nargs=2)
    options = parser.parse_args()
    if options.child:
        return child(*options.child)
    environment = dict(os.environ, PYTHONPATH=os.path.join(options.build, "python"))
    if "asan" in os.path.basename(options.build):
        find = lambda name: subprocess.check_output(["gcc", "-print-file-name=" + name], text=True).strip()
        environment.update(LD_PRELOAD=find("libasan.so") + " " + find("libubsan.so"), ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
                           UBSAN_OPTIONS="print_stacktrace=1", PYTHONMALLOC="malloc")
    seed = options.seed if options.seed is not None else int(time.time()) % 1000000 * 10
    end, done, findings = time.monotonic() + options.seconds, 0, 0
    while done < options.count if options.count else time.monotonic() < end:
        directory = tempfile.mkdtemp(prefix="damage")
        text = one(seed, environment, directory)
        shutil.rmtree(directory, ignore_errors=True)
        if text:
            findings += 1
            print("=== seed %d\n%s" % (seed, text), flush=True)
        seed, done = seed + 1, done + 1
    print("fuzz: %d damaged files, %d findings, next seed %d" % (done, findings, seed))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
