"""HeliosDB Nano for Python: everything of the standard library's sqlite3 module, and more.

    import heliosdb_sqlite as sqlite3

    con = sqlite3.connect("app.db")
    con.execute("create table if not exists language(name, year)")
    con.execute("insert into language values (?, ?)", ("C", 1972))
    con.commit()
    for row in con.execute("select * from language"):
        print(row)
    con.close()

app.db stays a file that every SQLite program reads. connect() takes further keywords (branch, as_of,
conflict_policy, ...): see its help.
"""
from heliosdb_sqlite import _api, dbapi2
from heliosdb_sqlite._api import *

if _api._VERSION >= (3, 12):
    from heliosdb_sqlite._api import _deprecated_names, _deprecated_version, _deprecated_version_info

__version__ = heliosdb_version
__getattr__ = _api._module_getattr("sqlite3" if _api._VERSION < (3, 12) else __name__)
