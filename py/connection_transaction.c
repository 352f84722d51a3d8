/* connection_transaction.c: the three ways to control transactions.
 *
 *   isolation_level '' DEFERRED IMMEDIATE EXCLUSIVE: BEGIN before INSERT, UPDATE, DELETE, REPLACE (legacy)
 *   isolation_level None: the statements decide alone
 *   autocommit True / False (Python 3.12, PEP 249): the engine's autocommit / a transaction is always open
 *
 * A commit that fails leaves its transaction open: commit() may be repeated, rollback() ends it.
 */
#include "py/objects.h"

static const struct {
  const char *level, *begin;
} levels[] = {
    {"", "BEGIN "},
    {"DEFERRED", "BEGIN DEFERRED"},
    {"IMMEDIATE", "BEGIN IMMEDIATE"},
    {"EXCLUSIVE", "BEGIN EXCLUSIVE"},
};

static int raise_now(connection *c, int rc) {
  errors_raise(c->state, c->db, rc);
  return -1;
}

int connection_exec(connection *c, const char *sql) {
  int rc;
  Py_BEGIN_ALLOW_THREADS
  hdb_stmt *handle = NULL;
  rc = hdb_prepare(c->db, sql, -1, 0, &handle, NULL);
  if (rc == HDB_OK) {
    hdb_step(handle);
    rc = hdb_finalize(handle);
  }
  Py_END_ALLOW_THREADS
  return rc == HDB_OK ? 0 : raise_now(c, rc);
}

/* The same with a statement kept for the next time. */
static int exec_kept(connection *c, statement **kept, const char *sql) {
  if (!*kept) {
    PyObject *text = PyUnicode_FromString(sql);
    if (!text) return -1;
    *kept = statement_new(c, text);
    Py_DECREF(text);
    if (!*kept) return -1;
  }
  int rc = statement_step(*kept);
  if (LIKELY(rc == HDB_DONE || rc == HDB_ROW)) {
    hdb_reset((*kept)->handle);
    return 0;
  }
  raise_now(c, rc);
  hdb_reset((*kept)->handle);
  return -1;
}

int connection_begin(connection *c) { return exec_kept(c, &c->begin_statement, c->begin); }

static int commit(connection *c) {
#if PY_AT_LEAST(12)
  if (c->autocommit == AUTOCOMMIT_ON) return 0;
  if (c->autocommit == AUTOCOMMIT_OFF)
    return connection_exec(c, "COMMIT") < 0 ? -1 : connection_exec(c, "BEGIN");
#endif
  if (hdb_get_autocommit(c->db)) return 0;
  return exec_kept(c, &c->commit_statement, "COMMIT");
}

#if !PY_AT_LEAST(11)
/* Older interpreters end all queries at a rollback. */
static void reset_cursors(connection *c) {
  for (cursor *u = c->cursors; u; u = u->next) {
    if (u->statement && u->statement->handle) hdb_reset(u->statement->handle);
    u->reset = true;
  }
}
#endif

static int rollback(connection *c) {
#if PY_AT_LEAST(12)
  if (c->autocommit == AUTOCOMMIT_ON) return 0;
  if (c->autocommit == AUTOCOMMIT_OFF)
    return connection_exec(c, "ROLLBACK") < 0 ? -1 : connection_exec(c, "BEGIN");
#endif
  if (hdb_get_autocommit(c->db)) return 0;
#if !PY_AT_LEAST(11)
  reset_cursors(c);
#endif
  return connection_exec(c, "ROLLBACK");
}

#if PY_AT_LEAST(12)
int connection_end_implicit(connection *c) {
  if (c->autocommit != AUTOCOMMIT_OFF || hdb_get_autocommit(c->db)) return 0;
  return connection_exec(c, "ROLLBACK");
}
#endif

static PyObject *with_turn(PyObject *self, int (*act)(connection *)) {
  connection *c = (connection *)self;
  if (!connection_check_thread(c) || !connection_check_open(c)) return NULL;
  turn_take(c);
  int rc = connection_check_open(c) ? act(c) : -1;
  turn_release(c);
  if (rc < 0) return NULL;
  Py_RETURN_NONE;
}

PyObject *connection_commit(PyObject *self, PyObject *unused) { return with_turn(self, commit); }

PyObject *connection_rollback(PyObject *self, PyObject *unused) { return with_turn(self, rollback); }

PyObject *connection_enter(PyObject *self, PyObject *unused) {
#if PY_AT_LEAST(10)
  if (!connection_check_open((connection *)self)) return NULL;
#endif
  return Py_NewRef(self);
}

#if PY_AT_LEAST(9)
static void chain(PyObject *type, PyObject *value, PyObject *traceback) {
  PyObject *type2, *value2, *traceback2;
  PyErr_Fetch(&type2, &value2, &traceback2);
  PyErr_NormalizeException(&type2, &value2, &traceback2);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (value2 && value) PyException_SetContext(value2, Py_NewRef(value));
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(traceback);
  PyErr_Restore(type2, value2, traceback2);
}
#endif

PyObject *connection_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  if (arguments_positional("__exit__", nargs, 3, 3) < 0) return NULL;
#if PY_AT_LEAST(12)
  if (((connection *)self)->autocommit == AUTOCOMMIT_ON) Py_RETURN_FALSE;
#endif
  bool fine = args[0] == Py_None && args[1] == Py_None && args[2] == Py_None;
  /* a subclass's own commit and rollback were never called from here */
  PyObject *answer = fine ? connection_commit(self, NULL) : connection_rollback(self, NULL);
#if PY_AT_LEAST(9)
  if (!answer && fine) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    answer = connection_rollback(self, NULL);
    if (answer)
      PyErr_Restore(type, value, traceback);
    else
      chain(type, value, traceback);
    Py_CLEAR(answer);
  }
#endif
  if (!answer) return NULL;
  Py_DECREF(answer);
  Py_RETURN_FALSE;
}

/* ---- isolation_level ---- */

PyObject *connection_get_isolation_level(PyObject *self, void *unused) {
  connection *c = (connection *)self;
  if ((PY_AT_LEAST(9) || !c->initialized) && !connection_check_open(c)) return NULL;
  return Py_NewRef(c->isolation_level ? c->isolation_level : Py_None);
}

#if PY_AT_LEAST(11)
static int level_of(PyObject *value) {
  if (!PyUnicode_Check(value)) {
    PyErr_SetString(PyExc_TypeError, "isolation_level must be str or None");
    return -1;
  }
  Py_ssize_t bytes;
  const char *text = PyUnicode_AsUTF8AndSize(value, &bytes);
  if (!text) return -1;
  if (strlen(text) != (size_t)bytes) {
    PyErr_SetString(PyExc_ValueError, "embedded null character");
    return -1;
  }
  for (int i = 0; i < 4; i++) {
    if (!PyOS_stricmp(text, levels[i].level)) return i;
  }
  PyErr_SetString(PyExc_ValueError, "isolation_level string must be '', 'DEFERRED', 'IMMEDIATE', or 'EXCLUSIVE'");
  return -1;
}
#else
static int level_of(PyObject *value) {
  if (!PyUnicode_Check(value)) {
    PyErr_Format(PyExc_TypeError, "isolation_level must be a string or None, not %.100s", Py_TYPE(value)->tp_name);
    return -1;
  }
  Py_ssize_t bytes;
  const char *text = PyUnicode_AsUTF8AndSize(value, &bytes);
  for (int i = 0; text && i < 4; i++) {
    if (!PyOS_stricmp(text, levels[i].level) && strlen(text) == (size_t)bytes) return i;
  }
  if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "invalid value for isolation_level");
  return -1;
}
#endif

int connection_set_isolation_level(PyObject *self, PyObject *value, void *unused) {
  connection *c = (connection *)self;
  if (!value) {
    PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
    return -1;
  }
  const char *begin = NULL;
  PyObject *level = Py_None;
  if (value != Py_None) {
    int i = level_of(value);
    if (i < 0) return -1;
    begin = levels[i].begin;
#if PY_AT_LEAST(11)
    level = PyUnicode_FromString(levels[i].level);
    if (!level) return -1;
    Py_XSETREF(c->isolation_level, level);
    level = NULL;
#else
    level = value;
#endif
  }
  if (level) {
    Py_INCREF(level);
    Py_XSETREF(c->isolation_level, level);
  }
  if (c->begin_statement && begin != c->begin) Py_CLEAR(c->begin_statement);
  c->begin = begin;
  if (value != Py_None || !c->initialized) return 0;
  PyObject *answer = connection_commit(self, NULL); /* leaving the legacy control commits */
  Py_XDECREF(answer);
  return answer ? 0 : -1;
}

/* ---- autocommit ---- */

#if PY_AT_LEAST(12)
int connection_autocommit_of(PyObject *value, int *out) {
  if (value == Py_True) {
    *out = AUTOCOMMIT_ON;
  } else if (value == Py_False) {
    *out = AUTOCOMMIT_OFF;
  } else if (PyLong_Check(value) && PyLong_AsLong(value) == AUTOCOMMIT_LEGACY) {
    *out = AUTOCOMMIT_LEGACY;
  } else {
    if (!PyErr_Occurred())
      PyErr_SetString(PyExc_ValueError,
                      "autocommit must be True, False, or sqlite3.LEGACY_TRANSACTION_CONTROL");
    return -1;
  }
  return 0;
}

PyObject *connection_get_autocommit(PyObject *self, void *unused) {
  connection *c = (connection *)self;
  if (!connection_check_thread(c) || !connection_check_open(c)) return NULL;
  if (c->autocommit == AUTOCOMMIT_LEGACY) return PyLong_FromLong(AUTOCOMMIT_LEGACY);
  return PyBool_FromLong(c->autocommit == AUTOCOMMIT_ON);
}

static int change_autocommit(connection *c, int wanted) {
  if (wanted == c->autocommit) return 0;
  if (wanted == AUTOCOMMIT_ON && !hdb_get_autocommit(c->db) && connection_exec(c, "COMMIT") < 0) return -1;
  if (wanted == AUTOCOMMIT_OFF && hdb_get_autocommit(c->db) && connection_exec(c, "BEGIN") < 0) return -1;
  c->autocommit = wanted;
  return 0;
}

int connection_set_autocommit(PyObject *self, PyObject *value, void *unused) {
  connection *c = (connection *)self;
  int wanted;
  if (!value) {
    PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
    return -1;
  }
  if (!connection_check_thread(c) || !connection_check_open(c)) return -1;
  if (connection_autocommit_of(value, &wanted) < 0) return -1;
  turn_take(c);
  int rc = change_autocommit(c, wanted);
  turn_release(c);
  return rc;
}
#endif
