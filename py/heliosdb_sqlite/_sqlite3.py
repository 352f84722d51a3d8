"""What programs expect of the extension module _sqlite3."""
from heliosdb_sqlite import _heliosdb
from heliosdb_sqlite._heliosdb import *

if hasattr(_heliosdb, "_deprecated_version"):
    from heliosdb_sqlite._heliosdb import _deprecated_version
