/* errors.c: result codes become the standard library's exception classes.
 *
 * From Python 3.11 on an exception carries sqlite_errorcode and sqlite_errorname. A commit that lost against
 * another one (HDB_BUSY_SNAPSHOT) carries conflict_table and conflict_key. The sentence "not supported yet: X"
 * is always a NotSupportedError, whatever code it came with.
 */
#include "py/module.h"

static const char unsupported_prefix[] = "not supported yet";

/* -1: out of memory, which has no class of DB-API's */
static int class_of_code(int code) {
  switch (code & 0xff) {
  case HDB_INTERNAL:
  case HDB_NOTFOUND: return EXC_INTERNAL;
  case HDB_NOMEM: return -1;
  case HDB_ERROR:
  case HDB_PERM:
  case HDB_ABORT:
  case HDB_BUSY:
  case HDB_LOCKED:
  case HDB_READONLY:
  case HDB_INTERRUPT:
  case HDB_IOERR:
  case HDB_FULL:
  case HDB_CANTOPEN:
  case HDB_PROTOCOL:
  case HDB_EMPTY:
  case HDB_SCHEMA: return EXC_OPERATIONAL;
  case HDB_CORRUPT: return EXC_DATABASE;
  case HDB_TOOBIG: return EXC_DATA;
  case HDB_CONSTRAINT:
  case HDB_MISMATCH: return EXC_INTEGRITY;
#if PY_AT_LEAST(11)
  case HDB_MISUSE:
  case HDB_RANGE: return EXC_INTERFACE;
#else
  case HDB_MISUSE: return EXC_PROGRAMMING;
#endif
  default: return EXC_DATABASE;
  }
}

static int set_attribute(PyObject *exception, PyObject *name, PyObject *value) {
  if (!value) return -1;
  int rc = PyObject_SetAttr(exception, name, value);
  Py_DECREF(value);
  return rc;
}

static PyObject *text_or_none(const char *p) {
  if (!p) Py_RETURN_NONE;
  return PyUnicode_DecodeUTF8(p, (Py_ssize_t)strlen(p), "replace");
}

static PyObject *make_exception(module_state *state, int code, const char *message) {
  int which = class_of_code(code);
  if (which < 0) return PyErr_NoMemory();
  if (message && !strncmp(message, unsupported_prefix, sizeof unsupported_prefix - 1)) which = EXC_NOT_SUPPORTED;
  PyObject *text = text_or_none(message ? message : hdb_errstr(code));
  if (!text) return NULL;
  PyObject *exception = PyObject_CallOneArg(state->exceptions[which], text);
  Py_DECREF(text);
  if (!exception) return NULL;
#if PY_AT_LEAST(11)
  const char *name = constants_error_name(code);
  if (set_attribute(exception, state->name_sqlite_errorcode, PyLong_FromLong(code)) < 0 ||
      set_attribute(exception, state->name_sqlite_errorname, PyUnicode_FromString(name ? name : "unknown")) < 0)
    Py_CLEAR(exception);
#endif
  return exception;
}

static void raise_exception(PyObject *exception) {
  if (!exception) return;
  PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
  Py_DECREF(exception);
}

void errors_raise_code(module_state *state, int rc, const char *message) {
  raise_exception(make_exception(state, rc, message));
}

void errors_raise(module_state *state, hdb *db, int rc) {
  if (PyErr_Occurred()) return; /* a callback's own error is the better one */
  int code = db ? hdb_extended_errcode(db) : rc;
  if (code == HDB_OK || code == HDB_ROW || code == HDB_DONE) code = rc;
  PyObject *exception = make_exception(state, code, db ? hdb_errmsg(db) : NULL);
  if (exception && code == HDB_BUSY_SNAPSHOT) {
    const char *table = NULL, *key = NULL;
    hdb_conflict(db, &table, &key);
    if (set_attribute(exception, state->name_conflict_table, text_or_none(table)) < 0 ||
        set_attribute(exception, state->name_conflict_key, text_or_none(key)) < 0)
      Py_CLEAR(exception);
  }
  raise_exception(exception);
}

void errors_in_callback(module_state *state, PyObject *callable) {
  if (!state->callback_tracebacks) {
    PyErr_Clear();
    return;
  }
#if PY_AT_LEAST(11)
  PyErr_WriteUnraisable(callable);
#else
  (void)callable;
  PyErr_Print();
#endif
}
