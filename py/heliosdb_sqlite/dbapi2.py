"""The DB-API 2.0 names (PEP 249)."""
from heliosdb_sqlite import _api
from heliosdb_sqlite._api import *

if _api._VERSION >= (3, 12):
    from heliosdb_sqlite._api import _deprecated_names, _deprecated_version, _deprecated_version_info

__getattr__ = _api._module_getattr(__name__)
