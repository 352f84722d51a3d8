"""python -m heliosdb_sqlite COMMAND file: what is done to whole databases.

encrypt, decrypt   in place: the new directory is built beside the old one and takes its place in one step
"""
import argparse
import getpass
import os
import sys
import time

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


COMMANDS = {"encrypt": _encrypt, "decrypt": _decrypt}


def _parser():
    parser = argparse.ArgumentParser(prog="python -m heliosdb_sqlite", description="Tools for HeliosDB databases")
    commands = parser.add_subparsers(dest="command", required=True)
    helps = {"encrypt": "encrypt a database in place", "decrypt": "decrypt a database in place"}
    for name in COMMANDS:
        sub = commands.add_parser(name, help=helps[name], description=helps[name])
        sub.add_argument("filename", help="the database's file")
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
