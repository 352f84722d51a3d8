"""The standard library's own exception classes.

heliosdb_sqlite.OperationalError is sqlite3.OperationalError, whatever sys.modules calls "sqlite3" today. So the
classes are taken from the genuine _sqlite3 extension: the one already loaded, else those classes that are still
alive in this process, else the extension found on the interpreter's path. Equal classes of our own are made only
where Python has no sqlite3.
"""
import importlib.machinery
import importlib.util
import sys

NAMES = ("Warning", "Error", "InterfaceError", "DatabaseError", "InternalError", "OperationalError",
         "ProgrammingError", "IntegrityError", "DataError", "NotSupportedError")


def _is_genuine(module):
    spec = getattr(module, "__spec__", None)
    loader = getattr(spec, "loader", None)
    return (getattr(spec, "name", None) == "_sqlite3"
            and (loader is importlib.machinery.BuiltinImporter
                 or isinstance(loader, importlib.machinery.ExtensionFileLoader)))


def _alive():
    """Classes of a genuine module that is in sys.modules no more."""
    found = {}
    pending = list(Exception.__subclasses__())
    while pending:
        cls = pending.pop()
        if cls.__module__ == "sqlite3" and cls.__name__ in NAMES and cls.__qualname__ == cls.__name__:
            found.setdefault(cls.__name__, cls)
            pending.extend(cls.__subclasses__())
    return found if len(found) == len(NAMES) else None


def _load():
    spec = importlib.machinery.BuiltinImporter.find_spec("_sqlite3")
    if spec is None:
        spec = importlib.machinery.PathFinder.find_spec("_sqlite3", sys.path)
    if spec is None or not isinstance(spec.loader, importlib.machinery.ExtensionFileLoader):
        if spec is None or spec.loader is not importlib.machinery.BuiltinImporter:
            return None
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError:
        return None
    sys.modules.setdefault("_sqlite3", module)
    return module


def _make():
    def new(name, base):
        return type(name, (base,), {"__module__": "sqlite3"})
    made = {"Warning": new("Warning", Exception), "Error": new("Error", Exception)}
    made["InterfaceError"] = new("InterfaceError", made["Error"])
    made["DatabaseError"] = new("DatabaseError", made["Error"])
    for name in NAMES:
        if name not in made:
            made[name] = new(name, made["DatabaseError"])
    return made


def exceptions():
    module = sys.modules.get("_sqlite3")
    if not _is_genuine(module):
        found = _alive()
        if found:
            return found
        module = _load()
    if module is None:
        return _make()
    return {name: getattr(module, name) for name in NAMES}
