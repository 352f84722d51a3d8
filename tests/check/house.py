#!/usr/bin/env python3
"""House rules that a compiler does not hold: who may include whom, banned calls, words that must not appear.

Exit 0 when all hold; else each breach on its own line. It first plants breaches and wants them found.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# folder -> folders whose headers it may include (itself always)
MAY_INCLUDE = {
    "kv/base": set(),
    "kv": {"kv/base"},
    "mvcc": {"kv", "kv/base"},
    "grammar": {"kv/base"},
    "hnsw": {"kv/base"},
    "sql": {"mvcc", "kv/base", "grammar", "hnsw"},
    "py": {"sql", "server", "kv/base"},
    "server": {"sql", "kv/base"},
}
ONLY_HERE = [  # pattern, files that may hold it, why
    (r"\brocksdb_\w+\s*\(", ("kv/rocks.c", "tests/"), "only kv/rocks.c names rocksdb_*"),
    (r"\bsqlite3_(open|prepare|step|exec)\w*\s*\(", ("sql/mirror", "tests/"), "only sql/mirror* uses libsqlite3"),
    (r"\b(setjmp|longjmp)\s*\(", (), "no longjmp"),
    (r"\b(strcpy|strcat|sprintf|gets)\s*\(", ("tests/",), "unbounded string calls"),
]


def folder_of(path):
    return "kv/base" if path.startswith("kv/base/") else path.split("/")[0]


def breaches(path, text):
    folder = folder_of(path)
    if folder in MAY_INCLUDE:
        for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.M):
            other = folder_of(name) if "/" in name else folder
            if other != folder and other in MAY_INCLUDE and other not in MAY_INCLUDE[folder]:
                yield f"{path}: {folder} may not include {name}"
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.S)
    for pattern, where, why in ONLY_HERE:
        if not any(path.startswith(w) for w in where) and re.search(pattern, code):
            yield f"{path}: {why}"


def tracked():
    out = subprocess.run(["git", "ls-files", "*.c", "*.h", "*.cc", "*.y"], cwd=ROOT, capture_output=True, text=True)
    if out.returncode == 0 and out.stdout.strip():
        return out.stdout.split()
    return [os.path.relpath(os.path.join(d, f), ROOT) for d, _, names in os.walk(ROOT)
            if "/build" not in d and "/.venv" not in d for f in names if f.endswith((".c", ".h", ".cc", ".y"))]


def self_test():
    planted = [
        ("kv/x.c", '#include "mvcc/mvcc.h"\n'),
        ("mvcc/x.c", '#include "sql/hdb.h"\n'),
        ("hnsw/x.c", '#include "kv/kv.h"\n'),
        ("mvcc/y.c", "void f(void) { rocksdb_open(0); }\n"),
        ("sql/y.c", "void f(void) { sqlite3_open(0, 0); }\n"),
        ("sql/z.c", "int f(void) { return setjmp(0); }\n"),
    ]
    missed = [path for path, text in planted if not list(breaches(path, text))]
    clean = list(breaches("sql/a.c", '#include "mvcc/mvcc.h"\n/* rocksdb_open() */\n'))
    return [f"self-test: planted breach in {p} was not found" for p in missed] + clean


def main():
    found = self_test()
    files = tracked()
    for path in files:
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            found += breaches(path, f.read())
    for line in found:
        print(line)
    print(f"{len(files)} files, {len(found)} breaches")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
