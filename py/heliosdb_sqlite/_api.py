"""Everything of the DB-API module; heliosdb_sqlite and heliosdb_sqlite.dbapi2 show it.

It runs once, under this name, however many names the package gets in sys.modules: registering the default
adapters again would undo a program's own.
"""
import atexit as _atexit
import collections.abc
import datetime
import sys
import time

from heliosdb_sqlite import _heliosdb
from heliosdb_sqlite._heliosdb import *
from heliosdb_sqlite._branches import Branch, MergeResult
from heliosdb_sqlite._server import Server, start_server

_VERSION = sys.version_info[:2]

paramstyle = "qmark"
apilevel = "2.0"
if _VERSION < (3, 11):
    threadsafety = 1

Date = datetime.date
Time = datetime.time
Timestamp = datetime.datetime
Binary = memoryview


def DateFromTicks(ticks):
    return Date(*time.localtime(ticks)[:3])


def TimeFromTicks(ticks):
    return Time(*time.localtime(ticks)[3:6])


def TimestampFromTicks(ticks):
    return Timestamp(*time.localtime(ticks)[:6])


def _numbers(text):
    return tuple(int(part) for part in text.split("."))


sqlite_version_info = _numbers(sqlite_version)
if _VERSION < (3, 12):
    version_info = _numbers(version)
else:
    _deprecated_version = _heliosdb._deprecated_version
    _deprecated_version_info = _numbers(_deprecated_version)
    _deprecated_names = frozenset({"version", "version_info"})

if (3, 10) <= _VERSION < (3, 12):
    def enable_shared_cache(enable):
        import warnings
        warnings.warn("enable_shared_cache is deprecated and will be removed in Python 3.12. "
                      "Shared cache is strongly discouraged by the SQLite 3 documentation. "
                      "If shared cache must be used, open the database in URI mode using"
                      "the cache=shared query parameter.", DeprecationWarning, stacklevel=2)
        return _heliosdb.enable_shared_cache(enable)


def _module_getattr(module):
    """The __getattr__ of a module that shows these names: deprecated ones warn at their user."""
    def __getattr__(name):
        if _VERSION >= (3, 12) and name in _deprecated_names:
            import warnings
            warnings.warn(f"{name} is deprecated and will be removed in Python 3.14", DeprecationWarning,
                          stacklevel=2)
            return globals()[f"_deprecated_{name}"]
        if (3, 10) <= _VERSION < (3, 12) and name == "OptimizedUnicode" and module != "dbapi2":
            import warnings
            warnings.warn("OptimizedUnicode is deprecated and will be removed in Python 3.12. "
                          "Since Python 3.3 it has simply been an alias for 'str'.", DeprecationWarning,
                          stacklevel=2)
            return str
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    return __getattr__


def _register_defaults():
    if _VERSION >= (3, 12):
        def warn(what):
            import warnings
            warnings.warn(f"The default {what} is deprecated as of Python 3.12; see the sqlite3 documentation "
                          "for suggested replacement recipes", DeprecationWarning, stacklevel=3)
    else:
        def warn(what):
            pass

    def adapt_date(value):
        warn("date adapter")
        return value.isoformat()

    def adapt_datetime(value):
        warn("datetime adapter")
        return value.isoformat(" ")

    def convert_date(value):
        warn("date converter")
        return datetime.date(*map(int, value.split(b"-")))

    def convert_timestamp(value):
        warn("timestamp converter")
        day, clock = value.split(b" ")
        clock, *fraction = clock.split(b".")
        microseconds = int(fraction[0][:6].ljust(6, b"0")) if len(fraction) == 1 else 0
        return datetime.datetime(*map(int, day.split(b"-")), *map(int, clock.split(b":")), microseconds)

    def convert_vector(value):
        """A VECTOR column as a list of floats."""
        return list(memoryview(value).cast("f"))

    register_adapter(datetime.date, adapt_date)
    register_adapter(datetime.datetime, adapt_datetime)
    register_converter("date", convert_date)
    register_converter("timestamp", convert_timestamp)
    register_converter("vector", convert_vector)


collections.abc.Sequence.register(Row)
_register_defaults()
_atexit.register(_heliosdb._at_exit)
if "_sqlite3" in sys.modules:
    _heliosdb._beside_sqlite(getattr(sys.modules["_sqlite3"], "__file__", None))


def install_as_sqlite3():
    """Make `import sqlite3` give this package from now on."""
    import heliosdb_sqlite
    from heliosdb_sqlite import dbapi2, dump
    sys.modules["sqlite3"] = heliosdb_sqlite
    sys.modules["sqlite3.dbapi2"] = dbapi2
    sys.modules["sqlite3.dump"] = dump
