"""The command-line shell: python -m heliosdb_sqlite [file [sql]]; and the tools of _tools.py."""
import argparse
import code
import sys

import heliosdb_sqlite as sqlite3
from heliosdb_sqlite import _tools


def _report(error):
    kind = type(error).__name__
    name = getattr(error, "sqlite_errorname", None)
    print(f"{kind} ({name}): {error}" if name else f"{kind}: {error}", file=sys.stderr)


def execute(target, sql, suppress_errors=True):
    """Run one statement on a connection or cursor and print its rows."""
    try:
        for row in target.execute(sql):
            print(row)
    except sqlite3.Error as error:
        _report(error)
        if not suppress_errors:
            sys.exit(1)


class SqliteInteractiveConsole(code.InteractiveConsole):
    """Statements may span lines; lines that begin with a point are the shell's own."""

    def __init__(self, connection):
        super().__init__()
        self._cursor = connection.cursor()

    def runsource(self, source, filename="<input>", symbol="single"):
        if source == ".version":
            print(sqlite3.sqlite_version)
        elif source == ".help":
            print("Enter SQL code and press enter.")
        elif source == ".quit":
            sys.exit(0)
        elif not sqlite3.complete_statement(source):
            return True
        else:
            execute(self._cursor, source)
        return False


def _parser():
    called = "sqlite3" if sys.modules.get("sqlite3") is sqlite3 else "heliosdb_sqlite"
    parser = argparse.ArgumentParser(description="Python sqlite3 CLI", prog=f"python -m {called}")
    parser.add_argument("filename", type=str, default=":memory:", nargs="?",
                        help="SQLite database to open (defaults to ':memory:'). "
                             "A new database is created if the file does not previously exist.")
    parser.add_argument("sql", type=str, nargs="?",
                        help="An SQL query to execute. Any returned rows are printed to stdout.")
    parser.add_argument("-v", "--version", action="version", version=f"SQLite version {sqlite3.sqlite_version}",
                        help="Print underlying SQLite library version")
    return parser


def _interact(connection, filename):
    where = "a transient in-memory database" if filename == ":memory:" else repr(filename)
    sys.ps1 = "sqlite> "
    sys.ps2 = "    ... "
    try:
        import readline  # noqa: F401
    except ImportError:
        pass
    SqliteInteractiveConsole(connection).interact(
        f"sqlite3 shell, running on SQLite version {sqlite3.sqlite_version}\n"
        f"Connected to {where}\n\n"
        "Each command will be run using execute() on the cursor.\n"
        'Type ".help" for more information; type ".quit" or CTRL-D to quit.', exitmsg="")


def main(*arguments):
    given = arguments[0] if arguments else sys.argv[1:]
    if given and given[0] in _tools.COMMANDS:
        sys.exit(_tools.main(given))
    options = _parser().parse_args(*arguments)
    connection = sqlite3.connect(options.filename, isolation_level=None)
    try:
        if options.sql:
            execute(connection, options.sql, suppress_errors=False)
        else:
            _interact(connection, options.filename)
    finally:
        connection.close()
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
