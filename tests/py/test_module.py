"""The module against stock sqlite3: the same calls, then the same values, exceptions, texts and warnings.

Each scenario is one expression or a few lines over `m` (the module), `c` (a connection to an empty database with
tables t(a, b) and v(x)) and `cu` (a cursor of it). What it gives, or what it raises, must be equal on both sides.
"""
import datetime
import io
import contextlib
import os
import re
import shutil
import sqlite3 as stock
import sys
import tempfile
import unittest
import warnings

import heliosdb_sqlite as ours

VERSION = sys.version_info[:2]


def errors_of(f):
    try:
        return f()
    except BaseException as e:
        return type(e).__name__, str(e), getattr(e, "sqlite_errorname", None)


class World:
    """One side's module, connection and folder, and what scenarios like to say shortly."""

    def __init__(self, module, folder):
        self.m = module
        self.folder = os.path.join(folder, module.__name__)
        os.makedirs(self.folder, exist_ok=True)
        self.c = self.connect()
        self.c.executescript("create table t(a, b); create table v(x); insert into v values(1),(2),(3);")
        self.cu = self.c.cursor()

    def connect(self, name=":memory:", **keywords):
        return self.m.connect(name if name == ":memory:" else os.path.join(self.folder, name), **keywords)


def scenario(f):
    f.is_scenario = True
    return f


# ---- errors of arguments, of binding, of states ----

CALLS = """
cu.execute()
cu.execute(1)
cu.execute(None)
cu.execute("select 1", (), 3)
cu.execute("select ?", ())
cu.execute("select ?", (1, 2))
cu.execute("select ?", 42)
cu.execute("select ?", {1})
cu.execute("select ?", (object(),))
cu.execute("select :a", {"a": object()})
cu.execute("select :a", {})
cu.execute("select ?", {"a": 1})
cu.execute("select ?", (2 ** 63,))
cu.execute("select ?", (-2 ** 63 - 1,))
cu.execute("select ?", (chr(0xd800),))
cu.execute("select ?, :a, ?", {"a": 1})
cu.execute("select 1" + chr(0))
cu.execute("select 1; select 2")
cu.execute("select 1;;")
cu.execute("select 1; -- x").fetchall()
cu.execute("select 1; /* x").fetchall()
cu.execute("").fetchall()
cu.execute("-- x").fetchall()
cu.execute(";").fetchall()
cu.execute("sel")
cu.execute("select * from nosuch")
cu.execute("select nosuch from t")
cu.execute("select nosuch(1)")
cu.execute("insert into t values(1)")
cu.executemany("create table x(a)", [()]) and None
cu.executemany("select ?", [(1,), (2,)])
cu.executemany("insert into t values(?, ?)", 5)
cu.executemany("insert into t values(?, ?)", [(1, 2), (3,)])
cu.executemany(1, [])
cu.executemany("insert into t values(?, ?)")
cu.executescript(1)
cu.executescript("select 1; sel")
cu.executescript("create table if not exists q(a); insert into q values(1); select * from q") and None
cu.fetchmany("x")
cu.fetchmany(1, 2)
cu.fetchmany(foo=1)
cu.execute("select x from v").fetchmany(-1)
cu.execute("select x from v").fetchmany(0)
cu.execute("select x from v").fetchmany(2)
cu.execute("select x from v").fetchmany(size=2)
cu.setinputsizes((1, 2))
cu.setoutputsize(1, 2)
setattr(cu, "arraysize", "x")
setattr(cu, "arraysize", 2)
setattr(cu, "description", 1)
setattr(cu, "rowcount", 1)
setattr(cu, "lastrowid", 1)
setattr(cu, "connection", 1)
cu.execute("select ?", (True,)).fetchall()
cu.execute("select ?", (b"a",)).fetchall()
cu.execute("select ?", (bytearray(b"a"),)).fetchall()
cu.execute("select ?", (memoryview(b"a"),)).fetchall()
cu.execute("select ?", (memoryview(b"abcd")[::2],))
cu.execute("select ?, typeof(?)", [b"", b""]).fetchall()
cu.execute("select ?", ("a\\0b",)).fetchall()
cu.execute("select ?", (float("nan"),)).fetchall()
cu.execute("select ?, ?", range(2)).fetchall()
cu.execute("select :a, @b, $c", {"a": 1, "b": 2, "c": 3}).fetchall()
cu.execute("select ?2, ?1", (1, 2)).fetchall()
cu.execute("select 1 as x, 2 as [y z], 3").description
cu.execute("insert into t values(1, 2)").description
c.cursor(None)
c.cursor(lambda con: 3)
c.cursor(foo=2)
c.cursor(1, 2)
c()
c(1)
c("select 1", a=2)
type(c("select 1")).__name__
c.create_function("f")
c.create_function("f", -2, len)
c.create_function(1, 1, len)
c.create_function("f", "1", len)
c.create_function("f", 1, None)
c.create_aggregate("f", -5, object)
c.create_collation("x", 3)
c.create_collation(3, len)
c.create_collation("x")
c.create_collation(chr(0xd800), len)
c.create_collation("neu", lambda a, b: 0)
c.set_progress_handler(len)
c.set_progress_handler(None, 0)
c.set_authorizer()
c.set_trace_callback()
c.set_trace_callback(None)
c.execute("select 1").connection is c
c.iterdump(1, 2)
c.backup()
c.backup(1)
c.backup(c)
c.backup(m.connect(":memory:"), progress=3)
c.backup(m.connect(":memory:"), pages="x")
c.backup(m.connect(":memory:"), foo=1)
c.__exit__()
c.interrupt()
c.total_changes
c.in_transaction
c.isolation_level
setattr(c, "isolation_level", "foo")
setattr(c, "isolation_level", 1)
setattr(c, "isolation_level", " immediate")
setattr(c, "isolation_level", "immediate\\0")
delattr(c, "isolation_level")
setattr(c, "in_transaction", 1)
m.connect()
m.connect(3)
m.connect("a\\0b")
m.connect("/nonexistent/x")
m.connect("/")
m.connect(":memory:", timeout="x")
m.connect(":memory:", detect_types="x")
m.connect(":memory:", isolation_level="bogus")
m.connect(":memory:", isolation_level=3)
m.connect(":memory:", cached_statements="x")
m.connect(":memory:", timeout=-1).execute("pragma busy_timeout").fetchall()
m.connect(":memory:", timeout=1.5).execute("pragma busy_timeout").fetchall()
m.connect(":memory:", isolation_level="immediate").isolation_level
m.connect(":memory:", isolation_level=None).isolation_level
m.connect("file:x?mode=ro", uri=True)
m.connect("file:x?mode=bogus", uri=True)
m.Cursor()
m.Cursor(3)
m.Row()
m.Row(1, 2)
m.Row(cu, 2)
m.Row(cu, ())["x"]
m.adapt(object())
m.adapt(2)
m.adapt(2, m.PrepareProtocol, 3)
m.adapt()
m.register_converter(1, 2)
m.register_converter("x")
m.register_adapter(int)
m.complete_statement(1)
m.complete_statement("select 1;")
m.complete_statement("select 1")
m.complete_statement("create trigger a after insert on t begin select 1;")
m.enable_callback_tracebacks("x")
m.Cursor.__new__(m.Cursor).execute("select 1")
m.Connection.__new__(m.Connection).cursor()
m.Connection.__new__(m.Connection).execute("select 1")
m.paramstyle, m.apilevel, m.threadsafety, m.PARSE_DECLTYPES, m.PARSE_COLNAMES
m.DateFromTicks(0), m.TimeFromTicks(86399), m.TimestampFromTicks(0)
m.Binary, m.Date, m.Time, m.Timestamp
""".strip().splitlines()

CALLS_SINCE = {
    (3, 9): """
m.Connection.__new__(m.Connection).close()
m.Connection.__new__(m.Connection).total_changes
m.Cursor.__new__(m.Cursor).close()
m.Cursor.__new__(m.Cursor).fetchall()
""",
    (3, 11): """
m.connect(":memory:", 5.0, 0, "", True, m.Connection, 1, False, 3, 4)
cu.execute("select " + chr(0xd800))
c.create_collation("neu", None)
c.getlimit(m.SQLITE_LIMIT_VARIABLE_NUMBER)
c.getlimit(1111)
c.getlimit("x")
c.setlimit(1111, 1)
(c.setlimit(m.SQLITE_LIMIT_SQL_LENGTH, 20), c.execute("select 1"), c.getlimit(m.SQLITE_LIMIT_SQL_LENGTH)) and None
(c.setlimit(m.SQLITE_LIMIT_SQL_LENGTH, 20), c.execute("select 1                         "))
c.blobopen()
c.blobopen("t", "a", 1)
c.blobopen("nosuch", "a", 1)
c.blobopen("t", "nosuch", 1)
c.blobopen("t", "a", 2 ** 64)
c.blobopen("t", "a", "x")
c.serialize(name="nosuch")
c.deserialize(1)
c.create_window_function("x", -100, object)
c.create_window_function("x", 1)
m.Blob()
""",
    (3, 12): """
m.connect(":memory:", autocommit="x")
m.connect(":memory:", autocommit=5)
m.connect(":memory:", autocommit=True).autocommit
m.connect(":memory:", autocommit=False).in_transaction
c.autocommit
setattr(c, "autocommit", 7)
c.getconfig(5)
c.getconfig(m.SQLITE_DBCONFIG_ENABLE_TRIGGER)
c.setconfig(m.SQLITE_DBCONFIG_ENABLE_FKEY)
c.setconfig()
m.version
m.version_info
""",
    (3, 13): """
list(c.iterdump(filter="v"))
c.create_function(name="f", narg=1, func=len)
c.set_trace_callback(trace_callback=None)
""",
}


def calls():
    yield from CALLS
    for version, text in CALLS_SINCE.items():
        if VERSION >= version:
            yield from text.strip().splitlines()


def call_outcome(module, text, folder):
    world = World(module, folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names = {"m": module, "c": world.c, "cu": world.cu}
        result = errors_of(lambda: eval(text.replace("\\0", "\0"), names))
    result = re.sub(r"0x[0-9a-f]+", "0x", repr(result)).replace("heliosdb_sqlite", "sqlite3")
    notes = [(w.category.__name__, str(w.message)) for w in caught if w.category is not ResourceWarning]
    world.c.close()
    return result, notes


# ---- behaviour ----

@scenario
def transactions_begin_before_changes_only(w):
    out = []
    for sql in ("select 1", "insert into t values(1, 2)", "/* c */ insert into t values(1, 2)", "create table y(a)",
                "update t set a = 2", "replace into t values(1, 3)", "delete from t", "pragma user_version",
                "with q as (select 1) insert into t select 1, 2", "explain insert into t values(1, 2)",
                "savepoint s", "insert into t values(4, 5)"):
        cu = w.c.execute(sql)
        cu.fetchall()
        out.append((sql, w.c.in_transaction, cu.rowcount))
        w.c.commit()
    return out, w.c.total_changes


@scenario
def isolation_levels(w):
    out = []
    for level in ("", "DEFERRED", "deferred", "IMMEDIATE", "EXCLUSIVE", None):
        con = w.connect(isolation_level=level)
        traced = []
        con.execute("create table t(a)")
        con.set_trace_callback(traced.append)
        con.execute("insert into t values(1)")
        out.append((con.isolation_level, con.in_transaction, traced))
        con.isolation_level = None
        out.append((con.in_transaction, con.isolation_level))
        con.close()
    return out


@scenario
def rowcount_and_lastrowid(w):
    cu, out = w.cu, []
    out.append((cu.rowcount, cu.lastrowid))
    cu.execute("insert into t values(1, 2)")
    out.append((cu.rowcount, cu.lastrowid))
    cu.executemany("insert into t values(?, ?)", [(i, i) for i in range(5)])
    out.append((cu.rowcount, cu.lastrowid))
    cu.execute("update t set b = 0 where a > 2")
    out.append((cu.rowcount, cu.lastrowid))
    cu.execute("delete from t")
    out.append((cu.rowcount, cu.lastrowid))
    cu.execute("select * from v")
    out.append((cu.rowcount, cu.lastrowid))
    out.append(errors_of(lambda: cu.execute("insert into nosuch values(1)")))
    out.append((cu.rowcount, cu.lastrowid))
    cu.executescript("insert into t values(7, 7)")
    out.append((cu.rowcount, cu.lastrowid))
    w.c.execute("create unique index u on t(a)")
    out.append(errors_of(lambda: cu.execute("insert into t values(7, 7)")))
    cu.execute("insert or ignore into t values(7, 7)")
    out.append((cu.rowcount, cu.lastrowid))
    cu.execute("insert or replace into t values(7, 8)")
    out.append((cu.rowcount, cu.lastrowid))
    return out


@scenario
def values_come_back_with_their_types(w):
    values = [None, 0, 1, -1, 2 ** 31, 2 ** 63 - 1, -2 ** 63, 0.0, -0.0, 1.5, 1e300, float("inf"), "", "a", "\xe4\u20ac\U0001f600",
              "a\0b", b"", b"a\0b", b"\xff" * 1000, "x" * 100000, True, False]
    return [(repr(w.c.execute("select ?, typeof(?1)", (v,)).fetchone())) for v in values]


@scenario
def text_factories(w):
    out = []
    for factory in (str, bytes, bytearray, lambda b: b.decode("latin-1") + "!"):
        w.c.text_factory = factory
        out.append(repr(w.c.execute("select 'a', 1, x'61', null, ''").fetchone()))
    w.c.text_factory = str
    out.append(errors_of(lambda: w.c.execute("select cast(x'ff41' as text) as name").fetchone()))
    w.c.text_factory = lambda b: 1 / 0
    out.append(errors_of(lambda: w.c.execute("select 'a'").fetchone()))
    return out


@scenario
def rows(w):
    w.c.row_factory = w.m.Row
    row = w.c.execute("select 1 as a, 2 as B, 3 as a, 4 as [\xe4]").fetchone()
    other = w.c.execute("select 1 as a, 2 as B, 3 as a, 4 as [\xe4]").fetchone()
    out = [tuple(row), row.keys(), row["a"], row["A"], row["b"], row["\xe4"], row[-1], row[1:3], len(row), row == other,
           row != other, hash(row) == hash(other), list(row), dict(zip(row.keys(), row)), isinstance(row, w.m.Row)]
    for key in ("x", 9, -9, 1.5, None, "\xc4", 2 ** 100):
        out.append(errors_of(lambda: row[key]))
    out.append(row == (1, 2, 3, 4))
    out.append(errors_of(lambda: row < other))
    import collections.abc
    out.append(isinstance(row, collections.abc.Sequence))
    out.append([x for x in reversed(row)])
    return out


@scenario
def row_factories(w):
    out = []
    w.c.row_factory = lambda cursor, row: [d[0] for d in cursor.description] + list(row)
    out.append(w.c.execute("select x from v").fetchall())
    cu = w.c.cursor()
    cu.row_factory = lambda cursor, row: row[0] * 10
    out.append(cu.execute("select x from v").fetchmany(2))
    out.append(next(cu))
    cu.row_factory = None
    out.append(cu.execute("select x from v").fetchone())
    cu.row_factory = lambda cursor, row: 1 / 0
    out.append(errors_of(lambda: cu.execute("select x from v").fetchall()))
    return out


@scenario
def converters_and_adapters(w):
    m = w.m
    if not hasattr(m, "_tested"):
        m.register_converter("point", lambda b: tuple(map(int, b.split(b";"))))
        m.register_converter("Bool", lambda b: bool(int(b)))
        m.register_converter("bad", lambda b: 1 / 0)
    out = []
    con = w.connect(detect_types=m.PARSE_DECLTYPES | m.PARSE_COLNAMES)
    con.execute("create table p(a point, b BOOL, c number(10, 2), d bad, e timestamp, f date)")

    class Point:
        def __conform__(self, protocol):
            return "1;2" if protocol is m.PrepareProtocol else None

    con.execute("insert into p values(?, ?, ?, null, ?, ?)",
                (Point(), True, 5, datetime.datetime(2020, 1, 2, 3, 4, 5, 60), datetime.date(2021, 2, 3)))
    out.append(con.execute("select * from p").fetchall())
    out.append(con.execute('select a as "x [point]", \'7;8\' as "y [POINT]", 1 as "z [nosuch]", \'\' as "e [point" from p').fetchone())
    out.append(con.execute('select a as "x [point]", 2 as "b[bool]" from p').description)
    con.execute("update p set d = 1")
    cu = con.cursor()
    out.append(errors_of(lambda: cu.execute("select d from p").fetchone()))
    con.execute("update p set e = 'nonsense'")
    out.append(errors_of(lambda: cu.execute("select e from p").fetchone()))

    class Adapted:
        pass

    m.register_adapter(Adapted, lambda o: "adapted")
    out.append(con.execute("select ?", (Adapted(),)).fetchone())

    class Failing:
        def __conform__(self, protocol):
            raise ZeroDivisionError("no")

    out.append(errors_of(lambda: con.execute("select ?", (Failing(),))))
    con.close()
    return out


class Sum:
    def __init__(self):
        self.n = 0

    def step(self, *values):
        self.n += sum(v for v in values if v is not None)

    def inverse(self, *values):
        self.n -= sum(v for v in values if v is not None)

    def value(self):
        return self.n

    def finalize(self):
        return self.n


@scenario
def functions(w):
    c, out = w.c, []
    c.create_function("types", -1, lambda *a: repr(a))
    out.append(c.execute("select types(1, 2.5, 'x', x'00', null), types()").fetchone())
    for name, result in (("i", 5), ("f", 2.5), ("s", "\xe4"), ("b", b"ab"), ("n", None), ("t", True), ("big", 2 ** 63),
                         ("o", object), ("m", memoryview(b"xy"))):
        c.create_function("r_" + name, 0, lambda result=result: result)
        out.append(errors_of(lambda: c.execute("select r_%s(), typeof(r_%s())" % (name, name)).fetchall()))
    c.create_function("fails", 1, lambda x: 1 / x)
    out.append(errors_of(lambda: c.execute("select fails(x - 2) from v").fetchall()))
    out.append(errors_of(lambda: c.execute("select fails(1, 2)")))
    c.create_function("det", 1, lambda x: x, deterministic=True)
    out.append(errors_of(lambda: c.execute("create index di on v(det(x))") and None))
    out.append(errors_of(lambda: c.execute("create index di2 on v(types(x))") and None))
    c.create_function("types", -1, None)
    out.append(errors_of(lambda: c.execute("select types(1)"))[0])
    c.create_aggregate("psum", 1, Sum)
    c.create_aggregate("psum", -1, Sum)
    out.append(c.execute("select psum(x), psum(x, x), (select psum(x) from v where 0) from v").fetchall())
    c.create_function("nested", 1, lambda x: c.execute("select max(x) from v where x < ?", (x,)).fetchone()[0])
    out.append(c.execute("select x, nested(x) from v").fetchall())
    return out


@scenario
def aggregates_that_fail(w):
    c, out = w.c, []
    for name, method in (("init", "__init__"), ("step", "step"), ("final", "finalize")):
        def boom(self, *a):
            raise ZeroDivisionError
        c.create_aggregate("f_" + name, 1, type("Bad", (Sum,), {method: boom}))
        out.append(errors_of(lambda: c.execute("select f_%s(x) from v" % name).fetchall()))
    return out


@scenario
def window_functions(w):
    if VERSION < (3, 11):
        return None
    w.c.create_window_function("wsum", 1, Sum)
    return w.c.execute("select x, wsum(x) over (order by x rows between 1 preceding and current row), "
                       "wsum(x) over () from v").fetchall()


@scenario
def collations(w):
    c, out = w.c, []
    c.create_collation("backwards", lambda a, b: (b > a) - (b < a))
    out.append(c.execute("select x from (select cast(x as text) as x from v) order by x collate backwards").fetchall())
    c.create_collation("broken", lambda a, b: 1 / 0)
    out.append(errors_of(lambda: c.execute("select x from (select cast(x as text) as x from v) order by x collate broken")
                         .fetchall()))
    c.create_collation("backwards", None)
    out.append(errors_of(lambda: c.execute("select x from v order by x collate backwards")))
    return out


@scenario
def authorizers(w):
    c, out = w.c, []
    seen = []

    def authorize(action, a, b, schema, trigger):
        seen.append((action, a, b, schema, trigger))
        return w.m.SQLITE_DENY if b == "b" else w.m.SQLITE_IGNORE if b == "x" else w.m.SQLITE_OK
    c.set_authorizer(authorize)
    out.append(errors_of(lambda: c.execute("select b from t").fetchall()))
    out.append(c.execute("select x from v").fetchall())
    c.set_authorizer(lambda *a: 1 / 0)
    out.append(errors_of(lambda: c.execute("select a from t")))
    c.set_authorizer(lambda *a: "x")
    out.append(errors_of(lambda: c.execute("select a from t")))
    return out, [s for s in seen if s[0] == w.m.SQLITE_READ]


@scenario
def progress_and_interrupt(w):
    c, out, calls = w.c, [], []
    loop = "with recursive r(i) as (select 1 union all select i + 1 from r where i < 100000) select count(*) from r"
    c.set_progress_handler(lambda: calls.append(1), 1000)
    out.append((c.execute(loop).fetchall(), len(calls) > 10))
    c.set_progress_handler(lambda: 1, 100)
    out.append(errors_of(lambda: c.execute(loop).fetchall()))
    c.set_progress_handler(lambda: 1 / 0, 100)
    out.append(errors_of(lambda: c.execute(loop).fetchall()))
    c.set_progress_handler(None, 0)
    c.create_function("stop", 0, lambda: c.interrupt())
    out.append(errors_of(lambda: c.execute(loop.replace("count(*)", "stop(), i")).fetchall()))
    out.append(c.execute("select 1").fetchall())
    return out


@scenario
def traces(w):
    traced = []
    w.c.set_trace_callback(traced.append)
    w.c.execute("insert into t values(?, :b)", (1, "x'y"))
    w.c.execute("select a from t where a = 1 -- comment").fetchall()
    w.c.commit()
    w.c.executescript("select 1; select 2")
    return traced


@scenario
def context_managers(w):
    c, out = w.c, []
    with c as inner:
        out.append(inner is c)
        c.execute("insert into t values(1, 2)")
    out.append(c.in_transaction)
    try:
        with c:
            c.execute("insert into t values(3, 4)")
            raise KeyError("out")
    except KeyError as e:
        out.append(str(e))
    out.append(c.execute("select * from t").fetchall())
    c.execute("pragma foreign_keys = on")
    c.executescript("create table parent(id integer primary key); "
                    "create table child(id references parent deferrable initially deferred)")
    out.append(errors_of(lambda: c.__enter__().execute("insert into child values(5)") and c.__exit__(None, None, None)))
    out.append(c.in_transaction)
    return out


@scenario
def closed_things(w):
    c, cu = w.c, w.cu
    other = w.connect()
    oc = other.cursor()
    oc.close()
    out = [errors_of(lambda: oc.execute("select 1")), errors_of(oc.fetchall), errors_of(oc.close)]
    cu.execute("select x from v")
    c.close()
    for f in (c.commit, c.rollback, c.cursor, lambda: c.execute("select 1"), lambda: c.in_transaction,
              lambda: c.total_changes, cu.fetchone, cu.close, lambda: c.isolation_level, c.interrupt, c.close,
              lambda: list(c.iterdump()), lambda: c("select 1"),
              lambda: c.row_factory, lambda: other.backup(c)):
        out.append(errors_of(f))
    return out


@scenario
def recursive_cursors(w):
    cu, out = w.cu, []
    out.append(errors_of(lambda: cu.executemany("insert into t values(?, ?)", (cu.execute("select 1") for _ in [1]))))
    out.append(errors_of(lambda: cu.executemany("insert into t values(?, ?)", (cu.close() for _ in [1]))))
    out.append(errors_of(lambda: cu.executemany("insert into t values(?, ?)", (cu.fetchone() for _ in [1]))))
    return out


@scenario
def reading_while_writing(w):
    c, out = w.c, []
    reader = c.execute("select x from v order by x")
    out.append(reader.fetchone())
    c.execute("update v set x = x + 10")
    c.commit()
    out.append(errors_of(reader.fetchall))
    reader = c.execute("select x from v order by x")
    out.append(reader.fetchone())
    c.execute("delete from v")
    c.rollback()
    out.append(errors_of(reader.fetchall))
    return out


@scenario
def same_statement_twice_at_once(w):
    a = w.c.execute("select x from v")
    b = w.c.execute("select x from v")
    return [next(a), next(b), next(a), next(b), a.fetchall(), b.fetchall()]


@scenario
def statements_follow_the_schema(w):
    sql = "select * from t"
    out = [w.c.execute(sql).description]
    w.c.execute("alter table t add column c")
    w.c.execute("insert into t values(1, 2, 3)")
    cu = w.c.execute(sql)
    out.append((cu.description, cu.fetchall()))
    w.c.execute("drop table t")
    out.append(errors_of(lambda: w.c.execute(sql)))
    return out


@scenario
def dump(w):
    w.c.executescript("""
        create table "quo""ted"(a integer primary key autoincrement, "b c" text, d blob, e real);
        insert into "quo""ted" values(1, 'it''s', x'00ff', 1.5), (2, null, null, -0.5);
        create index i on t(a); create view w as select 1; create trigger tr after insert on t begin select 1; end;
        insert into t values('\xe4', 1e100);""")
    lines = list(w.c.iterdump())
    copy = w.connect()
    copy.executescript("".join(lines))
    return lines, list(copy.iterdump()) == lines, w.m.connect(":memory:").iterdump().__next__()


@scenario
def backups(w):
    seen = []
    target = w.connect("copy.db")
    w.c.commit()
    w.c.backup(target, pages=1, progress=lambda status, remaining, total: seen.append((status, remaining <= total)))
    rows = target.execute("select * from v").fetchall()
    out = [rows, seen[-1], len(seen) > 0]
    out.append(errors_of(lambda: w.c.backup(target, progress=lambda *a: 1 / 0)))
    out.append(errors_of(lambda: w.c.backup(target, name="nosuch"))[:1 if VERSION < (3, 10) else 3])
    target.close()
    return out


@scenario
def blobs(w):
    if VERSION < (3, 11):
        return None
    w.c.execute("insert into t values(?, ?)", (b"0123456789", "text"))
    out = []
    with w.c.blobopen("t", "a", 1) as blob:
        out += [len(blob), blob.read(3), blob.tell(), blob.read(), blob.read(), blob[0], blob[-1], blob[2:5]]
        blob.seek(2)
        blob.write(b"ab")
        blob[0] = 65
        blob[4:6] = b"xy"
        blob[1:9:4] = b"!?"
        blob.seek(-1, 2)
        blob.seek(-2, 1)
        out.append((blob.tell(), blob.read()))
        for f in (lambda: blob.seek(99), lambda: blob.seek(-1), lambda: blob.seek(0, 5), lambda: blob.write(b"x" * 11),
                  lambda: blob[99], lambda: blob["x"], lambda: blob.__setitem__(0, 256), lambda: blob.__setitem__(0, "x"),
                  lambda: blob.__setitem__(slice(0, 2), b"xyz"), lambda: blob.__delitem__(0),
                  lambda: blob.__delitem__(slice(0, 1)), lambda: blob.read("x"), lambda: blob.seek(2 ** 31)):
            out.append(errors_of(f))
    out.append(errors_of(blob.read))
    out.append(errors_of(lambda: blob.__enter__()))
    out.append(w.c.execute("select a from t").fetchone())
    with w.c.blobopen("t", "a", 1, readonly=True) as blob:
        out.append(errors_of(lambda: blob.write(b"x")))
    blob = w.c.blobopen("t", "a", 1)
    w.c.execute("update t set a = x'00'")
    out.append(errors_of(blob.read))
    blob.close()
    return out


@scenario
def serialized(w):
    if VERSION < (3, 11):
        return None
    w.c.commit()
    data = w.c.serialize()
    other = w.connect()
    other.deserialize(data)
    out = [data[:16], other.execute("select * from v").fetchall()]
    other.execute("insert into v values(9)")
    out.append(other.execute("select count(*) from v").fetchall())
    bad = w.connect()
    out.append(errors_of(lambda: (bad.deserialize(b"\0\1\3" * 400), bad.execute("create table fail(f)"))))
    return out


@scenario
def autocommit(w):
    if VERSION < (3, 12):
        return None
    out, traced = [], []
    con = w.connect(autocommit=False)
    con.set_trace_callback(traced.append)
    con.execute("create table t(a)")
    con.commit()
    con.execute("insert into t values(1)")
    con.rollback()
    out.append((con.in_transaction, con.execute("select * from t").fetchall()))
    with con:
        con.execute("insert into t values(2)")
    con.autocommit = True
    out.append((con.in_transaction, con.autocommit))
    con.commit()
    con.rollback()
    con.autocommit = False
    con.executescript("insert into t values(3)")
    out.append(con.in_transaction)
    con.close()
    return out, traced


@scenario
def warnings_point_at_the_caller(w):
    if VERSION < (3, 12):
        return None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        w.c.execute("select ?", (datetime.date(2020, 1, 1),))
        w.c.execute("select :a", (1,))
        w.m.version
    return [(c.category.__name__, str(c.message), os.path.basename(c.filename)) for c in caught
            if c.category is not ResourceWarning]


@scenario
def threads_are_checked(w):
    import threading
    out = []

    def other():
        for f in (w.c.cursor, w.c.commit, w.cu.fetchone, lambda: w.cu.execute("select 1"), w.c.close,
                  lambda: w.c.create_function("x", 0, len), w.cu.close):
            kind, text, _ = errors_of(f)
            out.append((kind, re.sub(r"\d+", "N", text)))
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    return out


@scenario
def subclasses_are_used(w):
    m, log = w.m, []

    class Cursor(m.Cursor):
        def execute(self, *a):
            log.append(a[0])
            return super().execute(*a)

    class Connection(m.Connection):
        def cursor(self, *a, **k):
            log.append("cursor")
            return super().cursor(Cursor)

    con = m.connect(":memory:", factory=Connection)
    cu = con.execute("select ?", (1,))
    log.append((type(cu).__name__, cu.fetchall()))
    con.executemany("select 1 where 0", []) if VERSION < (3, 11) else None
    con.executescript("select 2")
    con.close()
    return log


@scenario
def callback_tracebacks(w):
    m = w.m
    err = io.StringIO()
    seen = []
    hook = sys.unraisablehook
    sys.unraisablehook = lambda u: seen.append((u.exc_type.__name__, getattr(u.object, "__name__", None)))
    try:
        m.enable_callback_tracebacks(True)
        with contextlib.redirect_stderr(err):
            def broken():
                raise KeyError("x")
            w.c.create_function("broken", 0, broken)
            outcome = errors_of(lambda: w.c.execute("select broken()").fetchall())
    finally:
        m.enable_callback_tracebacks(False)
        sys.unraisablehook = hook
    return outcome, seen, "KeyError" in err.getvalue()


@scenario
def dicts_and_mappings_bind(w):
    import collections
    class Missing(dict):
        def __missing__(self, key):
            return "missing " + key
    return [w.c.execute("select :a, :b", Missing(a=1)).fetchone(),
            errors_of(lambda: w.c.execute("select :a", collections.UserDict(a=2)).fetchone()),
            w.c.execute("select ?", collections.UserList([3])).fetchone(),
            errors_of(lambda: w.c.execute("select :a", collections.UserDict()))]


@scenario
def files_keep_what_was_committed(w):
    con = w.connect("keep.db")
    con.execute("create table k(a)")
    con.execute("insert into k values(1)")
    con.commit()
    con.execute("insert into k values(2)")
    con.close()
    con = w.connect("keep.db")
    out = [con.execute("select * from k").fetchall(), con.total_changes]
    con.close()
    return out


class ModuleTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="helios-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def test_names_are_those_of_the_interpreter(self):
        import importlib
        pairs = [(stock, ours), (stock.dbapi2, ours.dbapi2)]
        pairs += [(getattr(stock, n), getattr(ours, n)) for n in ("Connection", "Cursor", "Row", "PrepareProtocol")]
        if VERSION >= (3, 11):
            pairs.append((stock.Blob, ours.Blob))
        pairs.append((importlib.import_module("_sqlite3"), importlib.import_module("heliosdb_sqlite._sqlite3")))
        for theirs, mine in pairs:
            public = {n for n in dir(theirs) if not n.startswith("_")}
            self.assertEqual(public - set(dir(mine)), set())
            for name in public:
                value = getattr(theirs, name)
                if isinstance(value, (int, tuple)) or name in ("apilevel", "paramstyle"):
                    if not name.startswith("sqlite_version"):
                        self.assertEqual(getattr(mine, name), value, name)
                if VERSION >= (3, 11) and getattr(value, "__text_signature__", None):
                    self.assertEqual(getattr(mine, name).__text_signature__, value.__text_signature__, name)

    def test_exceptions_are_the_standard_library_s(self):
        for name in ("Warning", "Error", "InterfaceError", "DatabaseError", "InternalError", "OperationalError",
                     "ProgrammingError", "IntegrityError", "DataError", "NotSupportedError"):
            self.assertIs(getattr(ours, name), getattr(stock, name))
            self.assertIs(getattr(ours.Connection.__new__(ours.Connection), name), getattr(stock, name))

    def test_the_version_is_that_of_the_dialect(self):
        self.assertEqual(ours.sqlite_version, "3.45.0")
        self.assertEqual(ours.sqlite_version_info, (3, 45, 0))

    def test_a_difference_is_found(self):
        self.assertNotEqual(call_outcome(stock, "1", self.folder), call_outcome(ours, "2", self.folder))


def add_call(number, text):
    def test(self):
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(call_outcome(ours, text, self.folder), call_outcome(stock, text, self.folder), text)
    test.__doc__ = text
    setattr(ModuleTest, f"test_call_{number:03}", test)


def add_scenario(f):
    def test(self):
        outcomes = []
        for module in (stock, ours):
            with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
                if not f.__name__.startswith("warnings"):
                    warnings.simplefilter("ignore")
                world = World(module, self.folder)
                outcomes.append(f(world))
                errors_of(world.c.close)
        self.assertEqual(outcomes[1], outcomes[0])
    test.__doc__ = f.__name__.replace("_", " ")
    setattr(ModuleTest, "test_" + f.__name__, test)


for _number, _text in enumerate(calls()):
    add_call(_number, _text)
for _f in [f for f in list(globals().values()) if getattr(f, "is_scenario", False)]:
    add_scenario(_f)

if __name__ == "__main__":
    unittest.main()
