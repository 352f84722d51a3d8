"""A database as SQL text: Connection.iterdump().

Every identifier is quoted, since words become keywords with time. Older Pythons print the rows of
sqlite_sequence in place, before 3.11 virtual tables were dumped as if they were tables, and 3.13 switches
foreign keys off where they are violated: each follows its interpreter.
"""
import sys

_VERSION = sys.version_info[:2]


def _name(text):
    return '"' + text.replace('"', '""') + '"'


def _text(value):
    return "'" + value.replace("'", "''") + "'"


def _objects(cursor, kinds, pattern, order):
    sql = f'SELECT "name", "type", "sql" FROM "sqlite_master" WHERE "sql" NOT NULL AND "type" IN ({kinds})'
    if pattern:
        sql += ' AND "name" LIKE ?'
    if order:
        sql += ' ORDER BY "name"'
    return cursor.execute(sql, (pattern,) if pattern else ()).fetchall()


def _rows(cursor, table):
    """One INSERT a row, values in SQL's own writing."""
    columns = [str(row[1]) for row in cursor.execute(f"PRAGMA table_info({_name(table)})").fetchall()]
    values = ", ".join(f"quote({_name(column)})" for column in columns)
    for row in cursor.execute(f"SELECT {values} FROM {_name(table)}"):
        yield f"INSERT INTO {_name(table)} VALUES({','.join(row)});"


def _iterdump(connection, filter=None):
    cursor = connection.cursor()
    cursor.row_factory = None
    if _VERSION >= (3, 13) and cursor.execute("PRAGMA foreign_key_check").fetchall():
        yield "PRAGMA foreign_keys=OFF;"
    yield "BEGIN TRANSACTION;"

    writable_schema = False
    sequence = []
    for name, _, sql in _objects(cursor, "'table'", filter, True):
        if name == "sqlite_sequence":
            lines = ['DELETE FROM "sqlite_sequence";']
            lines.extend(_sequence(cursor))
            if _VERSION >= (3, 10):
                sequence = lines
            else:
                yield from lines
            continue
        if name == "sqlite_stat1":
            yield 'ANALYZE "sqlite_master";'
        elif name.startswith("sqlite_"):
            continue
        elif _VERSION >= (3, 11) and sql.startswith("CREATE VIRTUAL TABLE"):
            if not writable_schema:
                writable_schema = True
                yield "PRAGMA writable_schema=ON;"
            yield ("INSERT INTO sqlite_master(type,name,tbl_name,rootpage,sql)"
                   f"VALUES('table',{_text(name)},{_text(name)},0,{_text(sql)});")
        else:
            yield f"{sql};"
        yield from _rows(cursor, name)

    for _, _, sql in _objects(cursor, "'index', 'trigger', 'view'", filter, False):
        yield f"{sql};"
    if writable_schema:
        yield "PRAGMA writable_schema=OFF;"
    yield from sequence
    yield "COMMIT;"


def _sequence(cursor):
    for name, value in cursor.execute('SELECT * FROM "sqlite_sequence"').fetchall():
        yield f'INSERT INTO "sqlite_sequence" VALUES({_text(name)},{value});'
