/* connection_more.c: backup, blobopen, iterdump, serialize, limits, options, and what SQLite has not. */
#include <unistd.h>

#include "py/callbacks.h"

/* ---- backup ---- */

/* Two connections' turns, always in the same order. */
static void take_both(connection *a, connection *b) {
  turn_take(a < b ? a : b);
  turn_take(a < b ? b : a);
}

static void release_both(connection *a, connection *b) {
  turn_release(a);
  turn_release(b);
}

static int call_progress(connection *c, connection *target, hdb_backup *backup, PyObject *progress, int rc) {
  int remaining = hdb_backup_remaining(backup), count = hdb_backup_pagecount(backup);
  int depth = turn_pause(c), target_depth = turn_pause(target);
  PyObject *answer = PyObject_CallFunction(progress, "iii", rc, remaining, count);
  take_both(c, target);
  c->turn.depth = depth;
  target->turn.depth = target_depth;
  if (!answer) return -1;
  Py_DECREF(answer);
  if (!connection_check_open(c) || !connection_check_open(target)) return -1;
  return 0;
}

static int run_backup(connection *c, connection *target, const char *name, int pages, PyObject *progress,
                      double sleep) {
  hdb_backup *backup;
  Py_BEGIN_ALLOW_THREADS
  backup = hdb_backup_init(target->db, "main", c->db, name);
  Py_END_ALLOW_THREADS
  if (!backup) {
#if PY_AT_LEAST(9)
    errors_raise(c->state, target->db, HDB_ERROR);
#else /* the code's own text */
    PyErr_SetString(c->state->exceptions[EXC_OPERATIONAL], hdb_errstr(HDB_ERROR));
#endif
    return -1;
  }
  int rc, called = 0;
  do {
    Py_BEGIN_ALLOW_THREADS
    rc = hdb_backup_step(backup, pages);
    Py_END_ALLOW_THREADS
    if (progress && (called = call_progress(c, target, backup, progress, rc)) < 0) break;
    if ((rc == HDB_BUSY || rc == HDB_LOCKED) && sleep > 0) {
      Py_BEGIN_ALLOW_THREADS
      usleep((useconds_t)(sleep * 1e6));
      Py_END_ALLOW_THREADS
    }
  } while (rc == HDB_OK || rc == HDB_BUSY || rc == HDB_LOCKED);
  Py_BEGIN_ALLOW_THREADS
  rc = hdb_backup_finish(backup);
  Py_END_ALLOW_THREADS
  if (called < 0) return -1;
  if (rc == HDB_OK) return 0;
  errors_raise(c->state, target->db, rc);
  return -1;
}

static const char *const backup_names[] = {"target", "pages", "progress", "name", "sleep"};
static const arguments_spec backup_spec = {"backup", backup_names, 5, 1, 1, "positional ", 8};

/* Of a server's database: fetched as a file first (heliosdb_sqlite/_server.py). */
static PyObject *backup_remote(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  PyObject *module = PyImport_ImportModule("heliosdb_sqlite._server");
  PyObject *function = module ? PyObject_GetAttrString(module, "backup_remote") : NULL, *answer = NULL;
  Py_ssize_t n = PyVectorcall_NARGS((size_t)nargs), all = n + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0);
  PyObject **with_self = function ? PyMem_Malloc((size_t)(all + 1) * sizeof *with_self) : NULL;
  if (with_self) {
    with_self[0] = self;
    for (Py_ssize_t i = 0; i < all; i++) with_self[i + 1] = args[i];
    answer = PyObject_Vectorcall(function, with_self, (size_t)n + 1, kwnames);
    PyMem_Free(with_self);
  } else if (function) {
    PyErr_NoMemory();
  }
  Py_XDECREF(function);
  Py_XDECREF(module);
  return answer;
}

PyObject *connection_backup(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  connection *c = (connection *)self;
  PyObject *v[5];
  int pages = -1;
  double sleep = 0.25;
  const char *name = "main";
  module_state *state = module_state_of(Py_TYPE(self));
  if (!state || arguments_parse(&backup_spec, args, nargs, kwnames, v) < 0) return NULL;
  if (!PyObject_TypeCheck(v[0], state->connection_type)) {
#if PY_AT_LEAST(10)
    arguments_bad("backup", "argument 'target'", "sqlite3.Connection", v[0]);
#else
    PyErr_Format(PyExc_TypeError, "backup() argument 1 must be sqlite3.Connection, not %.50s",
                 Py_TYPE(v[0])->tp_name);
#endif
    return NULL;
  }
  connection *target = (connection *)v[0];
  if (c->db && backend_is_remote(c->db)) return backup_remote(self, args, nargs, kwnames);
  if (target->db && backend_refuses(target, "backup")) return NULL;
  if (v[1] && arguments_int(v[1], &pages) < 0) return NULL;
  if (v[3] && arguments_string("backup", "argument 'name'", v[3], &name) < 0) return NULL;
  if (v[4]) {
    sleep = PyFloat_AsDouble(v[4]);
    if (sleep == -1.0 && PyErr_Occurred()) return NULL;
  }
  if (!connection_check_thread(c) || !connection_check_open(c) || !connection_check_open(target)) return NULL;
  if (target == c) {
    PyErr_SetString(PyExc_ValueError, "target cannot be the same connection instance");
    return NULL;
  }
  PyObject *progress = v[2] && v[2] != Py_None ? v[2] : NULL;
  if (progress && !PyCallable_Check(progress)) {
    PyErr_SetString(PyExc_TypeError, "progress argument must be a callable");
    return NULL;
  }
  take_both(c, target);
  int rc = connection_check_open(c) && connection_check_open(target)
               ? run_backup(c, target, name, pages ? pages : -1, progress, sleep)
               : -1;
  release_both(c, target);
  if (rc < 0) return NULL;
  Py_RETURN_NONE;
}

/* ---- blobs, dump, serialize ---- */

static const char *const blobopen_names[] = {"", "", "", "readonly", "name"};
static const arguments_spec blobopen_spec = {"blobopen", blobopen_names, 5, 3, 3, "positional ", 10};

PyObject *connection_blobopen(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  connection *c = (connection *)self;
  PyObject *v[5];
  const char *table, *column, *name = "main";
  int readonly = 0, overflow;
  if (PyVectorcall_NARGS((size_t)nargs) < 3) {
    PyErr_Format(PyExc_TypeError, "blobopen() takes exactly 3 positional arguments (%zd given)",
                 PyVectorcall_NARGS((size_t)nargs));
    return NULL;
  }
  if (arguments_parse(&blobopen_spec, args, nargs, kwnames, v) < 0 ||
      arguments_string("blobopen", "argument 1", v[0], &table) < 0 ||
      arguments_string("blobopen", "argument 2", v[1], &column) < 0)
    return NULL;
  if (!PyLong_Check(v[2])) {
    PyErr_SetString(PyExc_TypeError, "expected 'int'");
    return NULL;
  }
  long long rowid = PyLong_AsLongLongAndOverflow(v[2], &overflow);
  if (overflow) PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to SQLite INTEGER");
  if (rowid == -1 && PyErr_Occurred()) return NULL;
  if (v[3] && (readonly = PyObject_IsTrue(v[3])) < 0) return NULL;
  if (v[4] && arguments_string("blobopen", "argument 'name'", v[4], &name) < 0) return NULL;
  if (!callback_begin_local(c, "blobopen")) return NULL;
  hdb_blob *handle = NULL;
  int rc;
  Py_BEGIN_ALLOW_THREADS
  rc = hdb_blob_open(c->db, name, table, column, rowid, !readonly, &handle);
  Py_END_ALLOW_THREADS
  blob *b = NULL;
  if (rc != HDB_OK) {
    errors_raise(c->state, c->db, rc);
  } else if (!(b = blob_new(c, handle))) {
    hdb_blob_close(handle);
  }
  callback_end(c);
  return (PyObject *)b;
}

static PyObject *iterdump(connection *c, PyObject *filter) {
  if (!connection_check_open(c)) return NULL;
  PyObject *module = PyImport_ImportModule("heliosdb_sqlite.dump");
  PyObject *dump = module ? PyObject_GetAttrString(module, "_iterdump") : NULL;
  Py_XDECREF(module);
  if (!dump) return NULL;
  PyObject *answer = PyObject_CallFunctionObjArgs(dump, c, filter, NULL);
  Py_DECREF(dump);
  return answer;
}

#if PY_AT_LEAST(13)
static const char *const filter_names[] = {"filter"};
static const arguments_spec iterdump_spec = {"iterdump", filter_names, 1, 0, 0, "positional ", 10};

PyObject *connection_iterdump(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  PyObject *filter;
  if (arguments_parse(&iterdump_spec, args, nargs, kwnames, &filter) < 0) return NULL;
  return iterdump((connection *)self, filter ? filter : Py_None);
}
#else
PyObject *connection_iterdump(PyObject *self, PyObject *unused) { return iterdump((connection *)self, Py_None); }
#endif

static const char *const name_names[] = {"name"};
static const arguments_spec serialize_spec = {"serialize", name_names, 1, 0, 0, "positional ", 10};

PyObject *connection_serialize(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  connection *c = (connection *)self;
  PyObject *v;
  const char *name = "main";
  if (arguments_parse(&serialize_spec, args, nargs, kwnames, &v) < 0) return NULL;
  if (v && arguments_string("serialize", "argument 'name'", v, &name) < 0) return NULL;
  if (!callback_begin_local(c, "serialize")) return NULL;
  int64_t bytes = 0;
  unsigned char *data;
  Py_BEGIN_ALLOW_THREADS
  data = hdb_serialize(c->db, name, &bytes);
  Py_END_ALLOW_THREADS
  PyObject *answer = NULL;
  if (data)
    answer = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)bytes);
  else
    RAISE(c->state, EXC_OPERATIONAL, "unable to serialize '%s'", name);
  hdb_free(data);
  callback_end(c);
  return answer;
}

static const char *const deserialize_names[] = {"", "name"};
static const arguments_spec deserialize_spec = {"deserialize", deserialize_names, 2, 1, 1, "positional ", 10};

PyObject *connection_deserialize(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  connection *c = (connection *)self;
  PyObject *v[2];
  const char *name = "main";
  Py_buffer view;
  if (arguments_parse(&deserialize_spec, args, nargs, kwnames, v) < 0) return NULL;
  if (v[1] && arguments_string("deserialize", "argument 'name'", v[1], &name) < 0) return NULL;
  if (PyUnicode_Check(v[0])) {
    Py_ssize_t bytes;
    const char *text = PyUnicode_AsUTF8AndSize(v[0], &bytes);
    if (!text || PyBuffer_FillInfo(&view, v[0], (void *)text, bytes, 1, 0) < 0) return NULL;
  } else if (PyObject_GetBuffer(v[0], &view, PyBUF_SIMPLE) < 0) {
    return NULL;
  }
  int rc = -1;
  if (callback_begin_local(c, "deserialize")) {
    Py_BEGIN_ALLOW_THREADS
    rc = hdb_deserialize(c->db, name, view.buf, view.len);
    Py_END_ALLOW_THREADS
    if (rc != HDB_OK) errors_raise(c->state, c->db, rc);
    callback_end(c);
  }
  PyBuffer_Release(&view);
  if (rc != HDB_OK) return NULL;
  Py_RETURN_NONE;
}

/* ---- limits and options ---- */

static PyObject *limit(connection *c, int category, int value) {
  if (!connection_check_thread(c) || !connection_check_open(c)) return NULL;
  int former = hdb_limit(c->db, category, value);
  if (former >= 0) return PyLong_FromLong(former);
  RAISE(c->state, EXC_PROGRAMMING, "'category' is out of bounds");
  return NULL;
}

PyObject *connection_setlimit(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  int category, value;
  if (arguments_positional("setlimit", nargs, 2, 2) < 0 || arguments_int(args[0], &category) < 0 ||
      arguments_int(args[1], &value) < 0)
    return NULL;
  return limit((connection *)self, category, value);
}

PyObject *connection_getlimit(PyObject *self, PyObject *category) {
  int n;
  return arguments_int(category, &n) < 0 ? NULL : limit((connection *)self, n, -1);
}

static bool known_option(int option) {
  if (option >= 1002 && option <= 1017) return true;
  PyErr_Format(PyExc_ValueError, "unknown config 'op': %d", option);
  return false;
}

static int config(connection *c, int option, int value, int *now) {
  if (!connection_check_thread(c) || !connection_check_open(c) || !known_option(option)) return -1;
  int rc = hdb_db_config(c->db, option, value, now);
  if (rc == HDB_OK) return 0;
  errors_raise(c->state, c->db, rc);
  return -1;
}

PyObject *connection_setconfig(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  connection *c = (connection *)self;
  int option, value = 1, now = 0;
  if (arguments_positional("setconfig", nargs, 1, 2) < 0 || arguments_int(args[0], &option) < 0) return NULL;
  if (PyVectorcall_NARGS((size_t)nargs) > 1 && (value = PyObject_IsTrue(args[1])) < 0) return NULL;
  if (config(c, option, value, &now) < 0) return NULL;
  if (now != value) {
    RAISE(c->state, EXC_OPERATIONAL, "Unable to set config %d", option);
    return NULL;
  }
  Py_RETURN_NONE;
}

PyObject *connection_getconfig(PyObject *self, PyObject *option) {
  int n, now = 0;
  if (arguments_int(option, &n) < 0 || config((connection *)self, n, -1, &now) < 0) return NULL;
  return PyBool_FromLong(now);
}

/* ---- ours ---- */

PyObject *connection_checkpoint(PyObject *self, PyObject *unused) {
  connection *c = (connection *)self;
  if (!callback_begin(c)) return NULL;
  int rc;
  Py_BEGIN_ALLOW_THREADS
  rc = hdb_checkpoint(c->db);
  Py_END_ALLOW_THREADS
  if (rc != HDB_OK) errors_raise(c->state, c->db, rc);
  callback_end(c);
  if (rc != HDB_OK) return NULL;
  Py_RETURN_NONE;
}

PyObject *connection_enable_load_extension(PyObject *self, PyObject *enable) {
  connection *c = (connection *)self;
  if (!connection_check_thread(c) || !connection_check_open(c)) return NULL;
  int on = PyObject_IsTrue(enable);
  if (on < 0) return NULL;
#if PY_AT_LEAST(10)
  if (PySys_Audit("sqlite3.enable_load_extension", "OO", self, on ? Py_True : Py_False) < 0) return NULL;
#endif
  Py_RETURN_NONE;
}

static const char *const extension_names[] = {"", "entrypoint"};
static const arguments_spec extension_spec = {"load_extension", extension_names, 2, 1, 1, "positional ", 10};

PyObject *connection_load_extension(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  connection *c = (connection *)self;
  PyObject *v[2];
  const char *name;
  if (arguments_parse(&extension_spec, args, nargs, kwnames, v) < 0 ||
      arguments_string("load_extension", "argument 1", v[0], &name) < 0 || !connection_check_thread(c) ||
      !connection_check_open(c))
    return NULL;
#if PY_AT_LEAST(10)
  if (PySys_Audit("sqlite3.load_extension", "Os", self, name) < 0) return NULL;
#endif
  RAISE(c->state, EXC_NOT_SUPPORTED,
        "SQLite's loadable extensions are not supported; built in are: JSON, math functions, FTS3, FTS4, FTS5, "
        "R*Tree, generate_series, vectors");
  return NULL;
}
