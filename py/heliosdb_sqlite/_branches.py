"""Branches of a connection: what Connection.create_branch and its kin do, over the SQL statements."""
from collections import namedtuple

Conflict = namedtuple("Conflict", "table key column base source target")
MergeResult = namedtuple("MergeResult", "inserted updated deleted conflicts")


def _quoted(name):
    if not isinstance(name, str):
        raise TypeError(f"a branch's name is a str, not {type(name).__name__}")
    return '"' + name.replace('"', '""') + '"'


def _rows(con, sql, parameters=()):
    cursor = con.cursor()
    cursor.row_factory = None
    try:
        return cursor.execute(sql, parameters).fetchall()
    finally:
        cursor.close()


class Branch:
    """A branch of a connection's database."""

    def __init__(self, con, name):
        self._con = con
        self.name = name

    def __repr__(self):
        return f"<Branch {self.name!r}>"

    def connect(self, **keywords):
        """A connection of its own on this branch."""
        import heliosdb_sqlite
        again = self._con._again()
        if again is not None:
            return heliosdb_sqlite.connect(branch=self.name, **{**again, **keywords})
        files = [row[2] for row in _rows(self._con, "PRAGMA database_list") if row[1] == "main"]
        if not files or not files[0]:
            raise heliosdb_sqlite.NotSupportedError("a database in memory has one connection: use switch_branch()")
        if keywords.get("encryption_key") is None and keywords.get("passphrase") is None:
            keywords["encryption_key"] = self._con  # the connection's own, which Python does not get to see
        return heliosdb_sqlite.connect(files[0], branch=self.name, **keywords)

    def merge(self, into=None, on_conflict="fail"):
        """Merge it into its parent, or another branch."""
        if into is None:
            parents = _rows(self._con, "SELECT parent FROM heliosdb_branches WHERE name = ?", (self.name,))
            into = parents[0][0] if parents else "main"
        return merge_branch(self._con, self.name, into, on_conflict)

    def diff(self, other):
        """Rows in which the other branch (a name or a Branch) differs: (table, op, key, before, after)."""
        name = other.name if isinstance(other, Branch) else other
        tables = _rows(self._con, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'")
        return [(table, *row) for (table,) in tables
                for row in _rows(self._con, "SELECT op, key, before, after FROM heliosdb_diff(?, ?, ?)", (table, self.name, name))]

    def drop(self):
        drop_branch(self._con, self.name)


def create_branch(con, name, from_branch=None, as_of=None):
    sql = f"CREATE BRANCH {_quoted(name)}"
    sql += f" FROM {_quoted(from_branch)}" if from_branch is not None else ""
    if as_of is None:
        _rows(con, sql)
    else:
        if hasattr(as_of, "isoformat"):
            as_of = as_of.isoformat()
        _rows(con, sql + " AS OF TIMESTAMP ?", (as_of,))
    return Branch(con, name)


def branches(con):
    return [Branch(con, row[0]) for row in _rows(con, "SHOW BRANCHES")]


def drop_branch(con, name):
    _rows(con, f"DROP BRANCH {_quoted(name)}")


def switch_branch(con, name):
    _rows(con, f"USE BRANCH {_quoted(name)}")


def _conflicts(con):
    return [Conflict(*row) for row in _rows(con, "SELECT * FROM heliosdb_conflicts")]


def merge_branch(con, source, into=None, on_conflict="fail", dry_run=False):
    import heliosdb_sqlite
    if on_conflict not in ("fail", "branch_wins", "target_wins"):
        raise heliosdb_sqlite.ProgrammingError(f"on_conflict is 'fail', 'branch_wins' or 'target_wins', not {on_conflict!r}")
    if isinstance(source, Branch):
        source = source.name
    into = con.branch if into is None else into.name if isinstance(into, Branch) else into
    sql = (f"MERGE BRANCH {_quoted(source)} INTO {_quoted(into)} "
           f"WITH (conflict_resolution='{on_conflict}', dry_run={'true' if dry_run else 'false'})")
    try:
        inserted, updated, deleted, _ = _rows(con, sql)[0]
    except heliosdb_sqlite.OperationalError as error:
        error.conflicts = _conflicts(con)
        raise
    return MergeResult(inserted, updated, deleted, _conflicts(con))
