/* callbacks.c: the life of a callback, and the ones that are set on a connection: authorizer, progress handler,
 * trace, collations.
 *
 * An exception never crosses the engine: the authorizer denies, the progress handler interrupts, trace goes on;
 * enable_callback_tracebacks(True) shows what was raised. A collation that raises says equal, from then on
 * without being asked, and its exception is raised when the engine returns.
 */
#include "py/callbacks.h"

callback *callback_new(connection *c, PyObject *callable) {
  callback *cb = PyMem_RawCalloc(1, sizeof *cb);
  if (!cb) {
    PyErr_NoMemory();
    return NULL;
  }
  cb->callable = Py_NewRef(callable);
  cb->state = c->state;
  cb->owner = c;
  return cb;
}

void callback_free(void *p) {
  callback *cb = p;
  if (!cb) return;
  PyGILState_STATE gil = PyGILState_Ensure();
  Py_XDECREF(cb->callable);
  PyGILState_Release(gil);
  PyMem_RawFree(cb);
}

bool callback_begin_local(connection *c, const char *method) {
  if (!connection_check_thread(c) || !connection_check_open(c) || backend_refuses(c, method)) return false;
  return callback_begin(c);
}

bool callback_begin(connection *c) {
  if (!connection_check_thread(c) || !connection_check_open(c)) return false;
  turn_take(c);
  if (connection_check_open(c)) return true;
  turn_release(c);
  return false;
}

void callback_end(connection *c) { turn_release(c); }

int callback_warn_keywords(const char *function, const char *names, bool several, bool by_keyword) {
#if PY_AT_LEAST(13)
  if (!by_keyword) return 0;
  return PyErr_WarnFormat(PyExc_DeprecationWarning, 1,
                          "Passing keyword argument%s %s to _sqlite3.Connection.%s() is deprecated. Parameter%s %s "
                          "will become positional-only in Python 3.15.",
                          several ? "s" : "", names, function, several ? "s" : "", names);
#else
  return 0;
#endif
}

/* Put a new one into its slot; the engine knows of it already. */
static void replace(callback **slot, callback *with) {
  callback *old = *slot;
  *slot = with;
  callback_free(old);
}

void connection_clear_callbacks(connection *c) {
  if (c->db) {
    if (c->trace) hdb_trace_v2(c->db, HDB_TRACE_STMT, NULL, NULL);
    if (c->progress) hdb_progress_handler(c->db, 0, NULL, NULL);
    if (c->authorizer) hdb_set_authorizer(c->db, NULL, NULL);
  }
  replace(&c->trace, NULL);
  replace(&c->progress, NULL);
  replace(&c->authorizer, NULL);
}

int connection_traverse_callbacks(connection *c, visitproc visit, void *arg) {
  if (c->trace) Py_VISIT(c->trace->callable);
  if (c->progress) Py_VISIT(c->progress->callable);
  if (c->authorizer) Py_VISIT(c->authorizer->callable);
  return 0;
}

/* ---- authorizer ---- */

static int authorizer_answer(callback *cb, PyObject *answer) {
  int verdict = HDB_DENY;
  if (answer && PyLong_Check(answer)) {
    long n = PyLong_AsLong(answer);
    if (n == (int)n && !(n == -1 && PyErr_Occurred())) verdict = (int)n;
    else if (!PyErr_Occurred()) PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to C int");
  }
  if (PyErr_Occurred()) {
    verdict = HDB_DENY;
    errors_in_callback(cb->state, cb->callable);
  }
  return verdict;
}

static int on_authorize(void *p, int action, const char *a, const char *b, const char *schema, const char *trigger) {
  callback *cb = p;
  PyGILState_STATE gil = PyGILState_Ensure();
  PyObject *answer = PyObject_CallFunction(cb->callable, "issss", action, a, b, schema, trigger);
  int verdict = authorizer_answer(cb, answer);
  Py_XDECREF(answer);
  PyGILState_Release(gil);
  return verdict;
}

static const char *const authorizer_names[] = {"authorizer_callback"};
static const arguments_spec authorizer_spec = {"set_authorizer", authorizer_names, 1, 1, 1, "", 8};

PyObject *connection_set_authorizer(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  connection *c = (connection *)self;
  PyObject *callable;
  if (callback_warn_keywords("set_authorizer", "'authorizer_callback'", false,
                             kwnames && PyVectorcall_NARGS((size_t)nargs) < 1) < 0 ||
      arguments_parse(&authorizer_spec, args, nargs, kwnames, &callable) < 0 || !callback_begin_local(c, "set_authorizer"))
    return NULL;
  int rc = HDB_OK;
  callback *cb = NULL;
  bool remove = PY_AT_LEAST(11) && callable == Py_None;
  if (!remove) {
    cb = callback_new(c, callable);
    rc = cb ? hdb_set_authorizer(c->db, on_authorize, cb) : HDB_NOMEM;
  } else {
    rc = hdb_set_authorizer(c->db, NULL, NULL);
  }
  if (rc == HDB_OK) {
    replace(&c->authorizer, cb);
  } else {
    callback_free(cb);
    if (!PyErr_Occurred()) RAISE(c->state, EXC_OPERATIONAL, "Error setting authorizer callback");
  }
  callback_end(c);
  if (rc != HDB_OK) return NULL;
  Py_RETURN_NONE;
}

/* ---- progress ---- */

static int on_progress(void *p) {
  callback *cb = p;
  PyGILState_STATE gil = PyGILState_Ensure();
  PyObject *answer = PyObject_CallNoArgs(cb->callable);
  int stop = answer ? PyObject_IsTrue(answer) : -1;
  if (stop < 0) {
    errors_in_callback(cb->state, cb->callable);
    stop = 1;
  }
  Py_XDECREF(answer);
  PyGILState_Release(gil);
  return stop;
}

static const char *const progress_names[] = {"progress_handler", "n"};
static const arguments_spec progress_spec = {"set_progress_handler", progress_names, 2, 2, 2, "", 8};

PyObject *connection_set_progress_handler(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                          PyObject *kwnames) {
  connection *c = (connection *)self;
  PyObject *v[2];
  int n;
  if (callback_warn_keywords("set_progress_handler", "'progress_handler'", false,
                             kwnames && PyVectorcall_NARGS((size_t)nargs) < 1) < 0 ||
      arguments_parse(&progress_spec, args, nargs, kwnames, v) < 0 || arguments_int(v[1], &n) < 0 ||
      !callback_begin_local(c, "set_progress_handler"))
    return NULL;
  callback *cb = v[0] == Py_None ? NULL : callback_new(c, v[0]);
  bool fine = cb || v[0] == Py_None;
  if (fine) {
    hdb_progress_handler(c->db, cb ? n : 0, cb ? on_progress : NULL, cb);
    replace(&c->progress, cb);
  }
  callback_end(c);
  if (!fine) return NULL;
  Py_RETURN_NONE;
}

/* ---- trace ---- */

static PyObject *traced_text(callback *cb, hdb_stmt *handle, const char *sql) {
  char *expanded = hdb_expanded_sql(handle);
  if (!expanded) {
#if PY_AT_LEAST(11)
    RAISE(cb->state, EXC_DATA, "Expanded SQL string exceeds the maximum string length");
    errors_in_callback(cb->state, cb->callable);
#endif
    return PyUnicode_DecodeUTF8(sql, (Py_ssize_t)strlen(sql), "replace");
  }
  PyObject *text = PyUnicode_DecodeUTF8(expanded, (Py_ssize_t)strlen(expanded), "replace");
  hdb_free(expanded);
  return text;
}

static int on_trace(unsigned event, void *p, void *handle, void *sql) {
  callback *cb = p;
  if (event != HDB_TRACE_STMT) return 0;
  PyGILState_STATE gil = PyGILState_Ensure();
  PyObject *text = traced_text(cb, handle, sql);
  PyObject *answer = text ? PyObject_CallOneArg(cb->callable, text) : NULL;
  if (!answer) errors_in_callback(cb->state, cb->callable);
  Py_XDECREF(text);
  Py_XDECREF(answer);
  PyGILState_Release(gil);
  return 0;
}

static const char *const trace_names[] = {"trace_callback"};
static const arguments_spec trace_spec = {"set_trace_callback", trace_names, 1, 1, 1, "", 8};

PyObject *connection_set_trace_callback(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  connection *c = (connection *)self;
  PyObject *callable;
  if (callback_warn_keywords("set_trace_callback", "'trace_callback'", false,
                             kwnames && PyVectorcall_NARGS((size_t)nargs) < 1) < 0 ||
      arguments_parse(&trace_spec, args, nargs, kwnames, &callable) < 0 || !callback_begin_local(c, "set_trace_callback"))
    return NULL;
  callback *cb = callable == Py_None ? NULL : callback_new(c, callable);
  bool fine = cb || callable == Py_None;
  if (fine) {
    hdb_trace_v2(c->db, HDB_TRACE_STMT, cb ? on_trace : NULL, cb);
    replace(&c->trace, cb);
  }
  callback_end(c);
  if (!fine) return NULL;
  Py_RETURN_NONE;
}

/* ---- collations ---- */

static int compare_texts(callback *cb, int bytes_a, const void *a, int bytes_b, const void *b) {
  PyObject *x = PyUnicode_FromStringAndSize(a, bytes_a), *y = PyUnicode_FromStringAndSize(b, bytes_b);
  PyObject *args[] = {x, y};
  PyObject *answer = x && y ? PyObject_Vectorcall(cb->callable, args, 2, NULL) : NULL;
  int overflow = 0;
  long n = answer ? PyLong_AsLongAndOverflow(answer, &overflow) : 0;
  if (PyErr_Occurred()) n = 0;
  Py_XDECREF(answer);
  Py_XDECREF(x);
  Py_XDECREF(y);
  return overflow ? overflow : (n > 0) - (n < 0);
}

static int on_compare(void *p, int bytes_a, const void *a, int bytes_b, const void *b) {
  PyGILState_STATE gil = PyGILState_Ensure();
  int order = PyErr_Occurred() ? 0 : compare_texts(p, bytes_a, a, bytes_b, b);
  PyGILState_Release(gil);
  return order;
}

#if PY_AT_LEAST(11)
static PyObject *collation_name(connection *c, PyObject *name) { return Py_NewRef(name); }
#else
/* Older interpreters know upper-case ASCII names only. */
static PyObject *collation_name(connection *c, PyObject *name) {
  PyObject *upper = PyObject_CallMethodOneArg((PyObject *)&PyUnicode_Type, c->state->name_upper, name);
  for (Py_ssize_t i = 0; upper && i < PyUnicode_GET_LENGTH(upper); i++) {
    Py_UCS4 ch = PyUnicode_READ_CHAR(upper, i);
    if ((ch >= '0' && ch <= '9') || (ch >= 'A' && ch <= 'Z') || ch == '_') continue;
    RAISE(c->state, EXC_PROGRAMMING, "invalid character in collation name");
    Py_CLEAR(upper);
  }
  return upper;
}
#endif

static int set_collation(connection *c, const char *name, PyObject *callable) {
  if (callable == Py_None) return hdb_create_collation(c->db, name, NULL, NULL, NULL);
  if (!PyCallable_Check(callable)) {
    PyErr_SetString(PyExc_TypeError, "parameter must be callable");
    return -1;
  }
  callback *cb = callback_new(c, callable);
  if (!cb) return -1;
  int rc = hdb_create_collation(c->db, name, cb, on_compare, callback_free);
  if (rc != HDB_OK) callback_free(cb); /* SQLite's one exception: the destructor was not called */
  return rc;
}

PyObject *connection_create_collation(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  connection *c = (connection *)self;
  const char *function = PY_AT_LEAST(10) ? "create_collation" : "create_collation(name, callback)";
  if (arguments_exactly(function, nargs, 2) < 0) return NULL;
  if (!PyUnicode_Check(args[0])) {
#if PY_AT_LEAST(10)
    arguments_bad("create_collation", "argument 1", "str", args[0]);
#else
    PyErr_Format(PyExc_TypeError, "create_collation(name, callback)() argument 1 must be str, not %.50s",
                 args[0] == Py_None ? "None" : Py_TYPE(args[0])->tp_name);
#endif
    return NULL;
  }
  if (!callback_begin_local(c, "create_collation")) return NULL;
  const char *text = NULL;
  PyObject *name = collation_name(c, args[0]);
  int rc = -1;
  if (name && arguments_string("create_collation", "argument 1", name, &text) == 0)
    rc = set_collation(c, text, args[1]);
  if (rc > 0) errors_raise(c->state, c->db, rc);
  Py_XDECREF(name);
  callback_end(c);
  if (rc != HDB_OK) return NULL;
  Py_RETURN_NONE;
}
