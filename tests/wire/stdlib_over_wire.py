"""CPython's own test_sqlite3, unmodified, with every connect() going to a server (heliosdb_mode='server').

    PYTHONPATH=build/release/python python3 tests/wire/stdlib_over_wire.py [module ...]

What a server refuses by name (callbacks, blobs, serialize, a backup into it) is counted apart; so are the tests that want
SQLite's locks, which snapshots do not have, and those that this harness itself disturbs. Anything else is a failure.
"""
import importlib
import os
import shutil
import sys
import tempfile
import unittest

import heliosdb_sqlite as helios
from heliosdb_sqlite import _api, dbapi2

MODULES = ["dbapi", "types", "factory", "transactions", "regression", "dump", "backup", "hooks", "userfunctions"]
REFUSED = "() is not supported with heliosdb_mode='server'"
LOCKS = {"test_locking", "test_raise_timeout", "test_ctx_mgr_rollback_if_commit_failed"}
HARNESS = {"test_factory_database_arg", "test_error_code_on_exception"}  # Connection() itself; a path that no server can open

helios.install_as_sqlite3()
local_connect = helios.connect
folder = tempfile.mkdtemp()
named, unnamed = {}, []


def server_of(database):
    if database in (":memory:", ""):
        path = os.path.join(folder, f"{len(unnamed)}.db")
        unnamed.append(helios.start_server(path, port=0, password="pw", mirror=False, retention=0))
        return path, unnamed[-1]
    path = os.path.abspath(database)
    if path not in named or not named[path].running:
        named[path] = helios.start_server(path, port=0, password="pw")
    return path, named[path]


def connect(database, *arguments, **keywords):
    if not isinstance(database, (str, os.PathLike)) or keywords.get("uri"):
        return local_connect(database, *arguments, **keywords)
    path, server = server_of(os.fspath(database))
    return local_connect(path, *arguments, heliosdb_mode="server", server_port=server.port, server_password="pw", **keywords)


def main():
    for module in (helios, dbapi2, _api):
        module.connect = connect
    suite = unittest.TestSuite()
    package = "test.test_sqlite3" if importlib.util.find_spec("test.test_sqlite3") else "sqlite3.test"
    for name in sys.argv[1:] or MODULES:
        suite.addTests(unittest.defaultTestLoader.loadTestsFromName(f"{package}.test_{name}" if package.startswith("test.") else f"{package}.{name}"))
    result = unittest.TextTestRunner(verbosity=0, buffer=True, stream=open(os.devnull, "w")).run(suite)
    refused, locks, harness, failed = set(), set(), set(), []
    for test, trace in result.failures + result.errors:
        test = getattr(test, "test_case", test)
        name = test.id().rsplit(".", 1)[1]
        if REFUSED in trace or "trace" in name.lower():
            refused.add(test.id())
        elif name in LOCKS:
            locks.add(test.id())
        elif name in HARNESS:
            harness.add(test.id())
        else:
            failed.append((test.id(), trace))
    for test, trace in failed:
        print(test, trace, sep="\n")
    passed = result.testsRun - len(refused | locks | harness) - len(result.skipped) - len({t for t, _ in failed})
    print(f"test_sqlite3 of Python {sys.version.split()[0]} over the wire: {result.testsRun} run, {passed} passed, {len(result.skipped)} skipped, "
          f"{len(refused)} refused by name, {len(locks)} want locks, {len(harness)} disturbed by the harness, {len(failed)} failed")
    for server in [*unnamed, *named.values()]:
        server.stop()
    shutil.rmtree(folder, ignore_errors=True)
    return bool(failed)


sys.exit(main())
