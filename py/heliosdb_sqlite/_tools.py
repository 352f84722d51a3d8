"""python -m heliosdb_sqlite COMMAND file: what is done to whole databases.

encrypt, decrypt   in place: the new directory is built beside the old one and takes its place in one step
inspect            every stored key and what it means
check              what is stored against itself, indexes against rows, app.db against main as of the time it names
copy               history and branches too, by hard links, while others write; a copy is opened like any database
"""
import argparse
import getpass
import itertools
import os
import re
import struct
import sys
import time
from urllib.request import pathname2url

import heliosdb_sqlite as sqlite3


def _read_key_file(path):
    with open(path, "rb") as f:
        data = f.read(4096)
    return data if len(data) == 32 else data.decode("ascii", "replace").strip()


def _secret(options, new=False):
    """Keywords of connect() for the key that the options name; none given: HELIOSDB_ENCRYPTION_KEY, else asked for."""
    if options.key_file:
        return {"encryption_key": _read_key_file(options.key_file)}
    if options.passphrase_file:
        with open(options.passphrase_file, encoding="utf-8") as f:
            return {"passphrase": f.read().rstrip("\r\n")}
    if os.environ.get("HELIOSDB_ENCRYPTION_KEY"):
        return {"encryption_key": os.environ["HELIOSDB_ENCRYPTION_KEY"]}
    if not (new or options.ask):
        return {}
    text = getpass.getpass("Passphrase: ")
    if not text or (new and getpass.getpass("Again: ") != text):
        raise SystemExit("the passphrases are not the same" if text else "no passphrase")
    return {"passphrase": text}


def _connect(path, **secret):
    """An existing database; the environment's key counts only when the caller took it."""
    if not os.path.exists(path):
        raise SystemExit(f"no such file: {path}")
    kept = os.environ.pop("HELIOSDB_ENCRYPTION_KEY", None)
    until = time.monotonic() + 10
    try:
        while True:
            try:
                return sqlite3.connect(path, isolation_level=None, **secret)
            except sqlite3.OperationalError as error:  # a process that has just closed it keeps it a little while
                if not str(error).startswith("database is locked") or time.monotonic() > until:
                    raise
                time.sleep(0.1)
    finally:
        if kept is not None:
            os.environ["HELIOSDB_ENCRYPTION_KEY"] = kept


def _encrypt(options):
    secret = _secret(options, new=True)
    connection = _connect(options.filename)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        connection._convert(secret.get("encryption_key"), passphrase=secret.get("passphrase"))
    finally:
        connection.close()
    _connect(options.filename, **secret).close()
    print(f"{options.filename} is encrypted")


def _decrypt(options):
    options.ask = True
    connection = _connect(options.filename, **_secret(options))
    try:
        connection._convert()
    finally:
        connection.close()
    _connect(options.filename).close()
    print(f"{options.filename} is decrypted")


def _inspect(options):
    connection = _connect(options.filename, **_secret(options))
    try:
        names = dict(connection.execute("SELECT rootpage, type || ' ' || name FROM sqlite_schema WHERE rootpage > 0"))
        families = [options.family] if options.family else ["meta", "commits", "rows", "index", "versions", "branches", "hnsw"]
        for family in families:
            count = shown = 0
            for (words,) in connection.execute("SELECT words FROM heliosdb_stored(?)", (family,)):
                count += 1
                if options.limit and shown >= options.limit:
                    continue
                shown += 1
                tree = re.match(r"tree (\d+) ", words)
                name = tree and names.get(int(tree.group(1)))
                print(f"{family}: {words.replace(tree.group(0), f'{tree.group(0)}({name}) ', 1) if name else words}")
            print(f"{family}: {count} keys" + (f", {count - shown} of them not shown" if shown < count else ""))
    finally:
        connection.close()


def _quoted(name):
    return '"' + name.replace('"', '""') + '"'


def _mirror_facts(path):
    """What the SQLite file says of itself, read before anything brings it up to date."""
    import _sqlite3 as stock
    file = stock.connect(f"file:{pathname2url(os.path.abspath(path))}?mode=ro", uri=True)
    problems = [f"app.db: {row[0]}" for row in file.execute("PRAGMA integrity_check") if row[0] != "ok"]
    names = {row[0] for row in file.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    time = file.execute("SELECT time FROM _heliosdb").fetchone()[0] if "_heliosdb" in names else 0
    tables = [name for name, in file.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_heliosdb%' "
                                             "ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND sql NOT LIKE 'CREATE VIRTUAL%'")]
    return file, time, tables, problems


def _same(one, other):
    other = tuple(struct.pack(f"<{len(v)}f", *v) if isinstance(v, list) else v for v in other)  # vectors
    return one == other and [type(v) for v in one] == [type(v) for v in other]


def _compare_mirror(connection, file, time, tables):
    """The file's rows beside main's as of the time that it names."""
    problems = []
    for table in tables:
        try:
            theirs = file.execute(f"SELECT * FROM {_quoted(table)}")
            ours = connection.execute(f"SELECT * FROM {_quoted(table)} AS OF SCN {time}")
        except sqlite3.OperationalError as error:
            if "retention" in str(error) or "before" in str(error):
                return [], f"app.db is of {time}, which history does not reach back to: not compared"
            problems.append(f"app.db: table {table}: {error}")
            continue
        for row, (a, b) in enumerate(itertools.zip_longest(theirs, ours), 1):
            if a is None or b is None or not _same(a, b):
                problems.append(f"app.db: row {row} of table {table} is not main's as of {time}")
                break
    return problems, None


def _check(options):
    if not os.path.exists(options.filename):
        raise SystemExit(f"no such file: {options.filename}")
    problems, notes, facts = [], [], None
    secret = _secret(options)
    directory = os.path.isdir(options.filename + "-helios")
    if directory and os.path.getsize(options.filename) and not os.path.exists(options.filename + "-helios/KEY"):
        try:
            facts = _mirror_facts(options.filename)
            problems += facts[3]
        except ImportError:
            notes.append("Python has no sqlite3 of its own: app.db is not looked into")
        except Exception as error:  # the library's own exceptions, whatever they are called
            problems.append(f"app.db: {error}")
    connection = _connect(options.filename, **secret)
    try:
        problems += [row[0] for row in connection.execute("PRAGMA integrity_check(1000000)") if row[0] != "ok"]
        for branch in connection.branches():
            if branch.name != "main":
                connection.switch_branch(branch.name)
                problems += [f"branch {branch.name}: {row[0]}" for row in connection.execute("PRAGMA integrity_check(1000000)") if row[0] != "ok"]
        connection.switch_branch("main")
        for row in connection.execute("SELECT table_name, column_name, damaged, lost_links FROM heliosdb_vector_check"):
            if row[2]:
                problems.append(f"the vector graph of {row[0]}.{row[1]} has {row[2]} damaged nodes")
        if facts and facts[1]:
            found, note = _compare_mirror(connection, *facts[:3])
            problems += found
            notes += [note] if note else []
    finally:
        connection.close()
    for line in notes + problems:
        print(line)
    print(f"{options.filename}: {len(problems)} problem{'' if len(problems) == 1 else 's'}" if problems else f"{options.filename}: ok")
    return 1 if problems else 0


def _copy(options):
    connection = _connect(options.filename, **_secret(options))
    try:
        connection._copy(options.to)
    finally:
        connection.close()
    print(f"{options.to} is a copy of {options.filename}")


COMMANDS = {"encrypt": _encrypt, "decrypt": _decrypt, "inspect": _inspect, "check": _check, "copy": _copy}


def _parser():
    parser = argparse.ArgumentParser(prog="python -m heliosdb_sqlite", description="Tools for HeliosDB databases")
    commands = parser.add_subparsers(dest="command", required=True)
    helps = {"encrypt": "encrypt a database in place", "decrypt": "decrypt a database in place",
             "inspect": "show every stored key and what it means",
             "check": "check groups, history, feed, branches, indexes, vector graphs, and app.db against them",
             "copy": "copy a database with its history and branches, by hard links where possible, while others write"}
    for name in COMMANDS:
        sub = commands.add_parser(name, help=helps[name], description=helps[name])
        sub.add_argument("filename", help="the database's file")
        if name == "copy":
            sub.add_argument("to", help="the copy's file; it must not exist")
        if name == "inspect":
            sub.add_argument("--family", choices=["meta", "commits", "rows", "index", "versions", "branches", "hnsw"])
            sub.add_argument("--limit", type=int, default=0, help="keys of a family that are shown")
        sub.add_argument("--key-file", help="a file of 32 bytes or 64 hex digits")
        sub.add_argument("--passphrase-file", help="a file with the passphrase in its first line")
        sub.set_defaults(ask=False)
    return parser


def main(arguments):
    options = _parser().parse_args(arguments)
    try:
        return COMMANDS[options.command](options) or 0
    except (sqlite3.Error, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
