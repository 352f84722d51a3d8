/* connection.c: the Connection type: opening, closing, attributes, and the short way to a cursor.
 *
 * close() ends everything that hangs on the connection: blobs, statements, cache, callbacks, then the engine's
 * connection itself. Called from inside one of its own callbacks it only marks the connection: everybody sees
 * it closed from then on, and the engine's part is closed when the running call has returned (turn.c).
 */
#include "kv/base/crypt.h"
#include "py/objects.h"

enum {
  KEY_DATABASE, KEY_TIMEOUT, KEY_DETECT_TYPES, KEY_ISOLATION_LEVEL, KEY_CHECK_SAME_THREAD, KEY_FACTORY,
  KEY_CACHED_STATEMENTS, KEY_URI, KEY_AUTOCOMMIT, KEY_SETTINGS, KEY_COUNT = KEY_SETTINGS + SETTINGS_COUNT
};
#if PY_AT_LEAST(12)
#define AUTOCOMMIT_NAME "autocommit"
#else
#define AUTOCOMMIT_NAME " autocommit" /* nobody can say that */
#endif
static const char *connect_names[KEY_COUNT] = {
    "database", "timeout", "detect_types",      "isolation_level", "check_same_thread",
    "factory",  "cached_statements", "uri", AUTOCOMMIT_NAME};
static const arguments_spec connect_spec = {"Connection", connect_names, KEY_COUNT, 8, 1, "positional ", 11};

#if PY_AT_LEAST(10)
enum { CACHED_STATEMENTS_DEFAULT = 128 };
#else
enum { CACHED_STATEMENTS_DEFAULT = 100 };
#endif

/* ---- checks ---- */

bool connection_check_thread(connection *c) {
  if (LIKELY(c->initialized)) {
    if (!c->check_same_thread || LIKELY(PyThread_get_thread_ident() == c->thread)) return true;
    RAISE(c->state, EXC_PROGRAMMING,
          "SQLite objects created in a thread can only be used in that same thread. The object was created in thread "
          "id %lu and this is thread id %lu.",
          c->thread, PyThread_get_thread_ident());
    return false;
  }
  return connection_check_open(c);
}

bool connection_check_open(connection *c) {
  if (LIKELY(c->initialized && c->db && !c->closing)) return true;
  module_state *state = module_state_of(Py_TYPE(c));
  if (!state) return false;
  RAISE(state, EXC_PROGRAMMING,
        c->initialized ? "Cannot operate on a closed database." : "Base Connection.__init__ not called.");
  return false;
}

static bool check(connection *c) { return connection_check_thread(c) && connection_check_open(c); }

/* ---- closing ---- */

static void release_statements(connection *c, bool all) {
  for (blob *b = c->blobs; b; b = b->next) blob_close_now(b);
  Py_CLEAR(c->begin_statement);
  Py_CLEAR(c->commit_statement);
  cache_clear(&c->cache);
  while (all && c->statements) statement_finalize(c->statements);
}

/* all: also the statements of cursors; else these read on, and the engine closes after them. */
static void close_engine(connection *c, bool all) {
  hdb *db = c->db;
  if (!db) return;
#if PY_AT_LEAST(12)
  PyObject *type = NULL, *value = NULL, *traceback = NULL;
  if (!c->closing) {
    PyErr_Fetch(&type, &value, &traceback);
    if (connection_end_implicit(c) < 0) PyErr_Clear();
    PyErr_Restore(type, value, traceback);
  }
#endif
  LIST_REMOVE(c->state->connections, c);
  release_statements(c, all);
  connection_clear_callbacks(c);
  c->db = NULL;
  c->closing = false;
  Py_BEGIN_ALLOW_THREADS
  if (hdb_close(db) == HDB_BUSY) hdb_close_v2(db);
  Py_END_ALLOW_THREADS
}

void connection_close_now(connection *c) { close_engine(c, true); }

void connection_checkpoint_all(module_state *state) {
  for (connection *c = state->connections, *next; c; c = next) {
    Py_INCREF(c); /* the list may change while the GIL is away */
    if (c->db && !backend_is_remote(c->db) && !c->closing && !c->turn.depth) {
      turn_take(c);
      Py_BEGIN_ALLOW_THREADS
      hdb_checkpoint(c->db);
      Py_END_ALLOW_THREADS
      turn_release(c);
    }
    next = c->db ? c->next : NULL;
    Py_DECREF(c);
  }
}

/* ---- opening ---- */

typedef struct opening {
  PyObject *path; /* bytes */
  double timeout;
  int detect_types, check_same_thread, cached_statements, uri;
#if PY_AT_LEAST(12)
  int autocommit;
#endif
  settings settings;
} opening;

static int truth(PyObject *o, int *out) {
#if PY_AT_LEAST(12)
  *out = PyObject_IsTrue(o);
  return *out < 0 ? -1 : 0;
#else
  return arguments_int(o, out);
#endif
}

static int read_options(module_state *state, PyObject **v, opening *o) {
  o->timeout = 5.0;
  o->check_same_thread = 1;
  o->cached_statements = CACHED_STATEMENTS_DEFAULT;
  if (!PyUnicode_FSConverter(v[KEY_DATABASE], &o->path)) return -1;
  if (v[KEY_TIMEOUT]) {
    o->timeout = PyFloat_AsDouble(v[KEY_TIMEOUT]);
    if (o->timeout == -1.0 && PyErr_Occurred()) return -1;
  }
  if (v[KEY_DETECT_TYPES] && arguments_int(v[KEY_DETECT_TYPES], &o->detect_types) < 0) return -1;
  if (v[KEY_CHECK_SAME_THREAD] && truth(v[KEY_CHECK_SAME_THREAD], &o->check_same_thread) < 0) return -1;
  if (v[KEY_CACHED_STATEMENTS] && arguments_int(v[KEY_CACHED_STATEMENTS], &o->cached_statements) < 0) return -1;
  if (v[KEY_URI]) {
    o->uri = PyObject_IsTrue(v[KEY_URI]);
    if (o->uri < 0) return -1;
  }
#if PY_AT_LEAST(12)
  o->autocommit = AUTOCOMMIT_LEGACY;
  if (v[KEY_AUTOCOMMIT] && connection_autocommit_of(v[KEY_AUTOCOMMIT], &o->autocommit) < 0) return -1;
#endif
  return settings_read(state, PyBytes_AS_STRING(o->path), v + KEY_SETTINGS, &o->settings);
}

static int timeout_ms(double seconds) {
  double ms = seconds * 1000.0;
  return ms >= INT32_MAX ? INT32_MAX : ms > 0 ? (int)ms : 0;
}

static int open_database(connection *c, opening *o) {
  if (o->settings.mode == MODE_SERVER) return backend_connect(c, PyBytes_AS_STRING(o->path), o->timeout, &o->settings);
  int flags = HDB_OPEN_READWRITE | HDB_OPEN_CREATE | (o->uri ? HDB_OPEN_URI : 0);
  if (c->state->shared_cache) flags |= HDB_OPEN_SHAREDCACHE;
  hdb *db = NULL;
  int rc;
  Py_BEGIN_ALLOW_THREADS
  rc = hdb_open_with(PyBytes_AS_STRING(o->path), &db, flags, &o->settings.engine);
  if (rc == HDB_OK) {
    hdb_extended_result_codes(db, 1);
    hdb_busy_timeout(db, timeout_ms(o->timeout));
  }
  Py_END_ALLOW_THREADS
  if (rc == HDB_OK) {
    c->db = db;
    LIST_ADD(c->state->connections, c);
    return 0;
  }
  if (db || rc != HDB_NOMEM)
    errors_raise(c->state, db, rc);
  else
    PyErr_NoMemory();
  hdb_close(db);
  return -1;
}

static int set_up(connection *c, PyObject **v, opening *o) {
  Py_INCREF(Py_None);
  Py_XSETREF(c->row_factory, Py_None);
  Py_INCREF(&PyUnicode_Type);
  Py_XSETREF(c->text_factory, (PyObject *)&PyUnicode_Type);
  c->begin = NULL;
  PyObject *level = v[KEY_ISOLATION_LEVEL] ? Py_NewRef(v[KEY_ISOLATION_LEVEL]) : PyUnicode_FromString("");
  int rc = level ? connection_set_isolation_level((PyObject *)c, level, NULL) : -1;
  Py_XDECREF(level);
  if (rc < 0) return -1;
  c->detect_types = o->detect_types;
  c->check_same_thread = o->check_same_thread;
  c->thread = PyThread_get_thread_ident();
  cache_init(&c->cache, o->cached_statements);
  if (open_database(c, o) < 0) return -1;
  c->initialized = true;
#if PY_AT_LEAST(12)
  c->autocommit = o->autocommit;
  if (o->autocommit == AUTOCOMMIT_OFF) return connection_exec(c, "BEGIN");
#endif
  return 0;
}

#if PY_AT_LEAST(13)
static int warn_positional(const char *function) {
  return PyErr_WarnFormat(PyExc_DeprecationWarning, 1,
                          "Passing more than 1 positional argument to _sqlite3.%s() is deprecated. Parameters "
                          "'timeout', 'detect_types', 'isolation_level', 'check_same_thread', 'factory', "
                          "'cached_statements' and 'uri' will become keyword-only parameters in Python 3.15.",
                          function);
}
#endif

/* sqlite3's own parameters alone are counted in its message. */
static bool too_many_arguments(Py_ssize_t given) {
  const int known = PY_AT_LEAST(12) ? 9 : 8;
  if (given <= known) return false;
  PyErr_Format(PyExc_TypeError, "%s takes at most %d arguments (%zd given)",
               PY_AT_LEAST(11) ? "Connection()" : "function", known, given);
  return true;
}

static int connection_init(PyObject *self, PyObject *args, PyObject *kwargs) {
  connection *c = (connection *)self;
  PyObject *values[KEY_COUNT];
  module_state *state = module_state_of(Py_TYPE(self));
  if (!state) return -1;
#if PY_AT_LEAST(13)
  Py_ssize_t given = PyTuple_GET_SIZE(args);
  if (given > 1 && given <= 8 && warn_positional("Connection") < 0) return -1;
#endif
  if (too_many_arguments(PyTuple_GET_SIZE(args)) || arguments_parse_tuple(&connect_spec, args, kwargs, values) < 0)
    return -1;
  if (PySys_Audit("sqlite3.connect", "O", values[KEY_DATABASE]) < 0) return -1;
  if (c->initialized) { /* a second __init__ opens anew */
    turn_take(c);
    close_engine(c, false);
    c->initialized = false;
    Py_CLEAR(c->again);
    turn_release(c);
  }
  opening o;
  memset(&o, 0, sizeof o);
  c->state = state;
  turn_take(c);
  int rc = read_options(state, values, &o);
  if (rc == 0) rc = set_up(c, values, &o);
  turn_release(c);
  if (rc == 0 && o.settings.mode == MODE_HYBRID && (rc = connection_serve(c, &o.settings)) < 0) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    turn_take(c);
    close_engine(c, true);
    turn_release(c);
    PyErr_Restore(type, value, traceback);
  }
  Py_XDECREF(o.path);
  crypt_wipe(&o.settings, sizeof o.settings); /* keys */
  if (rc < 0) return -1;
#if PY_AT_LEAST(10)
  if (PySys_Audit("sqlite3.connect/handle", "O", self) < 0) return -1;
#endif
  return 0;
}

static PyObject *connection_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  connection *c = (connection *)type->tp_alloc(type, 0);
  if (c) turn_init(&c->turn);
  return (PyObject *)c;
}

static PyObject *connection_close(PyObject *self, PyObject *unused) {
  connection *c = (connection *)self;
  if (!c->initialized) {
    connection_check_open(c);
    return NULL;
  }
  if (!connection_check_thread(c)) return NULL;
  int rc = connection_stop_server(c);
  turn_take(c);
  if (c->turn.depth > 1) {
    if (c->db) c->closing = true;
  } else {
#if PY_AT_LEAST(12)
    if (c->db && connection_end_implicit(c) < 0) rc = -1;
#endif
    connection_close_now(c);
  }
  turn_release(c);
  if (rc < 0) return NULL;
  Py_RETURN_NONE;
}

static int connection_traverse(PyObject *self, visitproc visit, void *arg) {
  connection *c = (connection *)self;
#if PY_AT_LEAST(9)
  Py_VISIT(Py_TYPE(self));
#endif
  Py_VISIT(c->isolation_level);
  Py_VISIT(c->row_factory);
  Py_VISIT(c->text_factory);
  Py_VISIT(c->server);
  Py_VISIT(c->again);
  return connection_traverse_callbacks(c, visit, arg);
}

static int connection_clear(PyObject *self) {
  connection *c = (connection *)self;
  Py_CLEAR(c->isolation_level);
  Py_CLEAR(c->row_factory);
  Py_CLEAR(c->text_factory);
  Py_CLEAR(c->server);
  Py_CLEAR(c->again);
  connection_clear_callbacks(c);
  return 0;
}

#if PY_AT_LEAST(12)
static void connection_finalize(PyObject *self) {
  connection *c = (connection *)self;
  if (!c->db) return;
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
#if PY_AT_LEAST(13)
  if (PyErr_ResourceWarning(self, 1, "unclosed database in %R", self) < 0 &&
      PyErr_ExceptionMatches(PyExc_Warning))
    PyErr_WriteUnraisable(self);
  PyErr_Clear();
#endif
  turn_take(c);
  connection_clear_callbacks(c);
  if (connection_end_implicit(c) < 0) PyErr_WriteUnraisable(self);
  turn_release(c);
  PyErr_Restore(type, value, traceback);
}
#endif

static void connection_dealloc(PyObject *self) {
  connection *c = (connection *)self;
#if PY_AT_LEAST(12)
  if (PyObject_CallFinalizerFromDealloc(self) < 0) return;
#endif
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  connection_clear(self);
  c->turn.depth = 1; /* nobody else can have it */
  c->turn.owner = PyThread_get_thread_ident();
  c->closing = true; /* no rollback by hand */
  connection_close_now(c);
  turn_destroy(&c->turn);
  type->tp_free(self);
  Py_DECREF(type);
}

/* ---- cursors ---- */

static const char *const cursor_names[] = {"factory"};
static const arguments_spec cursor_spec = {"cursor", cursor_names, 1, 1, 0, "", 10};

static PyObject *make_cursor(connection *c, PyObject *factory) {
  PyObject *u;
  if (!factory || factory == (PyObject *)c->state->cursor_type) {
    u = (PyObject *)cursor_new(c);
  } else {
    u = PyObject_CallOneArg(factory, (PyObject *)c);
    if (u && !PyObject_TypeCheck(u, c->state->cursor_type)) {
      PyErr_Format(PyExc_TypeError, "factory must return a cursor, not %.100s", Py_TYPE(u)->tp_name);
      Py_CLEAR(u);
    }
  }
  if (u && c->row_factory && c->row_factory != Py_None) {
    Py_INCREF(c->row_factory);
    Py_XSETREF(((cursor *)u)->row_factory, c->row_factory);
  }
  return u;
}

static PyObject *connection_cursor(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  connection *c = (connection *)self;
  PyObject *factory;
  if (arguments_parse(&cursor_spec, args, nargs, kwnames, &factory) < 0 || !check(c)) return NULL;
  return make_cursor(c, factory);
}

/* Connection.execute and its like. A subclass's own cursor() is asked by interpreters before 3.11. */
static PyObject *with_cursor(connection *c, PyObject *name, PyObject *const *args, Py_ssize_t nargs,
                             METHOD_FAST((*act))) {
  PyObject *u;
  if (PY_AT_LEAST(11) || LIKELY(Py_TYPE(c) == c->state->connection_type))
    u = check(c) ? make_cursor(c, NULL) : NULL;
  else
    u = PyObject_CallMethodNoArgs((PyObject *)c, c->state->name_cursor);
  if (!u) return NULL;
  PyObject *answer = NULL;
  if (LIKELY(Py_TYPE(u) == c->state->cursor_type)) {
    answer = act(u, args, nargs);
  } else {
    PyObject *method = PyObject_GetAttr(u, name);
    if (method) answer = PyObject_Vectorcall(method, args, (size_t)PyVectorcall_NARGS((size_t)nargs), NULL);
    Py_XDECREF(method);
  }
  Py_DECREF(u);
  return answer;
}

static bool is_initialized(connection *c) { return LIKELY(c->initialized) || connection_check_open(c); }

static PyObject *connection_execute(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  connection *c = (connection *)self;
  if (arguments_positional("execute", nargs, 1, 2) < 0 || !is_initialized(c)) return NULL;
  return with_cursor(c, c->state->name_execute, args, nargs, cursor_execute);
}

static PyObject *connection_executemany(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  connection *c = (connection *)self;
  if (arguments_positional("executemany", nargs, 2, 2) < 0 || !is_initialized(c)) return NULL;
  return with_cursor(c, c->state->name_executemany, args, nargs, cursor_executemany);
}

static PyObject *act_script(PyObject *u, PyObject *const *args, Py_ssize_t nargs) {
  return cursor_executescript(u, args[0]);
}

static PyObject *connection_executescript(PyObject *self, PyObject *script) {
  connection *c = (connection *)self;
  if (!is_initialized(c)) return NULL;
  return with_cursor(c, c->state->name_executescript, &script, 1, act_script);
}

/* A statement of its own: never used, but it tells what is wrong with the text. */
static PyObject *connection_call(PyObject *self, PyObject *args, PyObject *kwargs) {
  connection *c = (connection *)self;
  PyObject *sql;
  if (!check(c)) return NULL;
  if (kwargs && PyDict_GET_SIZE(kwargs)) {
    PyErr_SetString(PyExc_TypeError, "sqlite3.Connection() takes no keyword arguments");
    return NULL;
  }
  if (!PyArg_ParseTuple(args, PY_AT_LEAST(9) ? "U" : "O", &sql)) return NULL;
  if (!PyUnicode_Check(sql)) {
    RAISE(c->state, EXC_WARNING, "SQL is of wrong type. Must be string.");
    return NULL;
  }
  turn_take(c);
  PyObject *s = (PyObject *)statement_new(c, sql);
  turn_release(c);
  return s;
}

static PyObject *connection_interrupt(PyObject *self, PyObject *unused) {
  connection *c = (connection *)self;
  if (!connection_check_open(c)) return NULL;
  hdb_interrupt(c->db);
  Py_RETURN_NONE;
}

/* ---- attributes ---- */

static PyObject *get_total_changes(PyObject *self, void *unused) {
  connection *c = (connection *)self;
  return connection_check_open(c) ? PyLong_FromLongLong(hdb_total_changes(c->db)) : NULL;
}

static PyObject *get_in_transaction(PyObject *self, void *unused) {
  connection *c = (connection *)self;
  return connection_check_open(c) ? PyBool_FromLong(!hdb_get_autocommit(c->db)) : NULL;
}

/* For pools: a connection whose server is gone is of no use any more. */
static PyObject *get_lost(PyObject *self, void *unused) {
  connection *c = (connection *)self;
  return PyBool_FromLong(!c->db || backend_is_lost(c->db));
}

static PyObject *get_last_commit_timestamp(PyObject *self, void *unused) {
  connection *c = (connection *)self;
  if (!connection_check_open(c)) return NULL;
  int64_t time = hdb_last_commit_timestamp(c->db);
  if (!time) Py_RETURN_NONE;
  return PyLong_FromLongLong(time);
}

static PyObject *get_exception(PyObject *self, void *which) {
  module_state *state = module_state_of(Py_TYPE(self));
  return state ? Py_NewRef(state->exceptions[(intptr_t)which]) : NULL;
}

#if PY_AT_LEAST(13)
static PyObject *get_text_signature(PyObject *self, void *unused) { return PyUnicode_FromString("(sql, /)"); }
#endif

#define EXCEPTION(name, which) {name, get_exception, NULL, NULL, (void *)(intptr_t)(which)}
static PyObject *get_branch(PyObject *self, void *unused) {
  connection *c = (connection *)self;
  if (!connection_check_open(c)) return NULL;
  return PyUnicode_FromString(hdb_branch(c->db));
}

static PyGetSetDef connection_getset[] = {
    {"isolation_level", connection_get_isolation_level, connection_set_isolation_level, NULL, NULL},
    {"total_changes", get_total_changes, NULL, NULL, NULL},
    {"in_transaction", get_in_transaction, NULL, NULL, NULL},
    {"_lost", get_lost, NULL, NULL, NULL},
#if PY_AT_LEAST(12)
    {"autocommit", connection_get_autocommit, connection_set_autocommit, NULL, NULL},
#endif
    {"branch", get_branch, NULL, "Name of the branch that this connection reads and writes.", NULL},
    {"server", connection_get_server, NULL, "The Server that this connection started (hybrid mode); None: none.", NULL},
    {"last_commit_timestamp", get_last_commit_timestamp, NULL,
     "Time of this connection's last commit, in microseconds since 1970; None before the first.", NULL},
#if PY_AT_LEAST(13)
    {"__text_signature__", get_text_signature, NULL, NULL, NULL},
#endif
    EXCEPTION("Warning", EXC_WARNING),
    EXCEPTION("Error", EXC_ERROR),
    EXCEPTION("InterfaceError", EXC_INTERFACE),
    EXCEPTION("DatabaseError", EXC_DATABASE),
    EXCEPTION("DataError", EXC_DATA),
    EXCEPTION("OperationalError", EXC_OPERATIONAL),
    EXCEPTION("IntegrityError", EXC_INTEGRITY),
    EXCEPTION("InternalError", EXC_INTERNAL),
    EXCEPTION("ProgrammingError", EXC_PROGRAMMING),
    EXCEPTION("NotSupportedError", EXC_NOT_SUPPORTED),
    {NULL},
};

static PyMemberDef connection_members[] = {
    {"row_factory", T_OBJECT, offsetof(connection, row_factory), 0, NULL},
    {"text_factory", T_OBJECT, offsetof(connection, text_factory), 0, NULL},
    {NULL},
};

/* What heliosdb_sqlite/_branches.py does, with the connection before the arguments. */
static PyObject *call_branches(const char *name, PyObject *self, PyObject *args, PyObject *keywords) {
  PyObject *module = PyImport_ImportModule("heliosdb_sqlite._branches");
  PyObject *function = module ? PyObject_GetAttrString(module, name) : NULL;
  Py_XDECREF(module);
  Py_ssize_t n = PyTuple_Size(args);
  PyObject *all = function ? PyTuple_New(n + 1) : NULL, *answer = NULL;
  if (all) {
    Py_INCREF(self);
    PyTuple_SET_ITEM(all, 0, self);
    for (Py_ssize_t i = 0; i < n; i++) {
      PyObject *item = PyTuple_GET_ITEM(args, i);
      Py_INCREF(item);
      PyTuple_SET_ITEM(all, i + 1, item);
    }
    answer = PyObject_Call(function, all, keywords);
  }
  Py_XDECREF(all);
  Py_XDECREF(function);
  return answer;
}

#define BRANCHES_METHOD(name) \
  static PyObject *branches_##name(PyObject *self, PyObject *args, PyObject *keywords) { return call_branches(#name, self, args, keywords); }
BRANCHES_METHOD(create_branch)
BRANCHES_METHOD(branches)
BRANCHES_METHOD(switch_branch)
BRANCHES_METHOD(merge_branch)
BRANCHES_METHOD(drop_branch)
#define BRANCHES(name) (PyCFunction)(void (*)(void))branches_##name, METH_VARARGS | METH_KEYWORDS

#define FAST(f)     (PyCFunction)(void (*)(void))f, METH_FASTCALL
#define KEYWORDS(f) (PyCFunction)(void (*)(void))f, METH_FASTCALL | METH_KEYWORDS
static PyMethodDef methods[] = {
    {"cursor", KEYWORDS(connection_cursor),
     "cursor($self, /, factory=<unrepresentable>)\n--\n\nReturn a cursor for the connection."},
    {"execute", FAST(connection_execute),
     "execute($self, sql, parameters=<unrepresentable>, /)\n--\n\nExecutes an SQL statement."},
    {"executemany", FAST(connection_executemany),
     "executemany($self, sql, parameters, /)\n--\n\nRepeatedly executes an SQL statement."},
    {"executescript", connection_executescript, METH_O,
     "executescript($self, sql_script, /)\n--\n\nExecutes multiple SQL statements at once."},
    {"commit", connection_commit, METH_NOARGS,
     "commit($self, /)\n--\n\nCommit any pending transaction to the database.\n\n"
     "If there is no open transaction, this method is a no-op."},
    {"rollback", connection_rollback, METH_NOARGS,
     "rollback($self, /)\n--\n\nRoll back to the start of any pending transaction.\n\n"
     "If there is no open transaction, this method is a no-op."},
    {"create_branch", BRANCHES(create_branch),
     "create_branch($self, /, name, from_branch=None, as_of=None)\n--\n\nMake a branch of the database."},
    {"branches", BRANCHES(branches), "branches($self, /)\n--\n\nAll branches, main first."},
    {"switch_branch", BRANCHES(switch_branch), "switch_branch($self, /, name)\n--\n\nRead and write another branch from now on."},
    {"merge_branch", BRANCHES(merge_branch),
     "merge_branch($self, /, source, into=None, on_conflict='fail', dry_run=False)\n--\n\nMerge a branch into this connection's or another."},
    {"drop_branch", BRANCHES(drop_branch), "drop_branch($self, /, name)\n--\n\nRemove a branch and what only it has."},
    {"close", connection_close, METH_NOARGS,
     "close($self, /)\n--\n\nClose the database connection.\n\n"
     "Any pending transaction is not committed implicitly."},
    {"create_function", KEYWORDS(connection_create_function),
     "create_function($self, /, name, narg, func, *, deterministic=False)\n--\n\nCreates a new function."},
    {"create_aggregate", KEYWORDS(connection_create_aggregate),
     "create_aggregate($self, /, name, n_arg, aggregate_class)\n--\n\nCreates a new aggregate."},
    {"create_collation", FAST(connection_create_collation),
     "create_collation($self, name, callback, /)\n--\n\nCreates a collation function."},
    {"set_authorizer", KEYWORDS(connection_set_authorizer),
     "set_authorizer($self, /, authorizer_callback)\n--\n\nSet authorizer callback."},
    {"set_progress_handler", KEYWORDS(connection_set_progress_handler),
     "set_progress_handler($self, /, progress_handler, n)\n--\n\nSet progress handler callback.\n\n"
     "  progress_handler\n    A callable that takes no arguments. If it returns non-zero, the running query is\n"
     "    terminated, and an exception is raised.\n  n\n    How many steps lie between two calls."},
    {"set_trace_callback", KEYWORDS(connection_set_trace_callback),
     "set_trace_callback($self, /, trace_callback)\n--\n\n"
     "Set a trace callback called for each SQL statement (passed as unicode)."},
    {"backup", KEYWORDS(connection_backup),
     "backup($self, /, target, *, pages=-1, progress=None, name='main',\n       sleep=0.25)\n--\n\n"
     "Makes a backup of the database."},
    {"interrupt", connection_interrupt, METH_NOARGS,
     "interrupt($self, /)\n--\n\nAbort any pending database operation."},
#if PY_AT_LEAST(13)
    {"iterdump", KEYWORDS(connection_iterdump),
     "iterdump($self, /, *, filter=None)\n--\n\n"
     "Returns iterator to the dump of the database in an SQL text format.\n\n"
     "  filter\n    An optional LIKE pattern for database objects to dump"},
#else
    {"iterdump", connection_iterdump, METH_NOARGS,
     "iterdump($self, /)\n--\n\nReturns iterator to the dump of the database in an SQL text format."},
#endif
#if PY_AT_LEAST(11)
    {"create_window_function", FAST(connection_create_window_function),
     "create_window_function($self, name, num_params, aggregate_class, /)\n--\n\n"
     "Creates or redefines an aggregate window function. Non-standard.\n\n"
     "  name\n    The name of the SQL aggregate window function to be created or redefined.\n"
     "  num_params\n    The number of arguments the step and inverse methods takes.\n"
     "  aggregate_class\n    A class with step(), finalize(), value(), and inverse() methods.\n"
     "    Set to None to clear the window function."},
    {"blobopen", KEYWORDS(connection_blobopen),
     "blobopen($self, table, column, row, /, *, readonly=False, name='main')\n--\n\n"
     "Open and return a BLOB object.\n\n"
     "  table\n    Table name.\n  column\n    Column name.\n  row\n    Row index.\n"
     "  readonly\n    Open the BLOB without write permissions.\n  name\n    Database name."},
    {"serialize", KEYWORDS(connection_serialize),
     "serialize($self, /, *, name='main')\n--\n\nSerialize a database into a byte string.\n\n"
     "  name\n    Which database to serialize.\n\nThe bytes are those of an SQLite file."},
    {"deserialize", KEYWORDS(connection_deserialize),
     "deserialize($self, data, /, *, name='main')\n--\n\nLoad a serialized database.\n\n"
     "  data\n    The serialized database content.\n"
     "  name\n    Which database to reopen with the deserialization."},
    {"setlimit", FAST(connection_setlimit),
     "setlimit($self, category, limit, /)\n--\n\nSet connection run-time limits.\n\n"
     "  category\n    The limit category to be set.\n"
     "  limit\n    The new limit. If the new limit is a negative number, the limit is unchanged.\n\n"
     "The former value is returned."},
    {"getlimit", connection_getlimit, METH_O,
     "getlimit($self, category, /)\n--\n\nGet connection run-time limits.\n\n"
     "  category\n    The limit category to be queried."},
#endif
#if PY_AT_LEAST(12)
    {"getconfig", connection_getconfig, METH_O,
     "getconfig($self, op, /)\n--\n\nQuery a boolean connection configuration option.\n\n"
     "  op\n    The configuration verb; one of the sqlite3.SQLITE_DBCONFIG codes."},
    {"setconfig", FAST(connection_setconfig),
     "setconfig($self, op, enable=True, /)\n--\n\nSet a boolean connection configuration option.\n\n"
     "  op\n    The configuration verb; one of the sqlite3.SQLITE_DBCONFIG codes."},
#endif
    {"enable_load_extension", connection_enable_load_extension, METH_O,
     "enable_load_extension($self, enable, /)\n--\n\nAccepted; see load_extension."},
    {"load_extension", KEYWORDS(connection_load_extension),
     "load_extension($self, name, /, *, entrypoint=None)\n--\n\n"
     "Raises NotSupportedError: SQLite's loadable extensions do not run here."},
    {"execute_vector_search", KEYWORDS(connection_execute_vector_search),
     "execute_vector_search($self, table, column, query_vector, limit=10, metric='cosine')\n--\n\n"
     "The rows nearest to a vector, nearest first: the table's columns, then the distance."},
    {"start_server", (PyCFunction)(void (*)(void))connection_start_server, METH_VARARGS | METH_KEYWORDS,
     "start_server($self, /, host='127.0.0.1', port=5432, *, user='helios', password=None, **keywords)\n--\n\n"
     "Serve this database to clients of the PostgreSQL protocol as well; see heliosdb_sqlite.start_server. The\n"
     "Server is given back, is conn.server, and stops when this connection is closed."},
    {"switch_to_server", (PyCFunction)(void (*)(void))connection_switch_to_server, METH_VARARGS | METH_KEYWORDS,
     "switch_to_server($self, /, port=5432, **keywords)\n--\n\nstart_server() on a port."},
    {"_database_file", connection_database_file, METH_NOARGS, NULL},
    {"_again", connection_again, METH_NOARGS, NULL},
    {"_save", connection_save, METH_VARARGS, NULL},
    {"rekey", KEYWORDS(connection_rekey),
     "rekey($self, /, new_key=None, *, passphrase=None)\n--\n\nGive an encrypted database another key, or another passphrase."},
    {"_convert", KEYWORDS(connection_convert), NULL},
    {"_copy", connection_copy, METH_O, NULL},
    {"checkpoint", connection_checkpoint, METH_NOARGS,
     "checkpoint($self, /)\n--\n\nMake everything durable and bring the SQLite file up to date."},
    {"__enter__", connection_enter, METH_NOARGS,
     "__enter__($self, /)\n--\n\nCalled when the connection is used as a context manager.\n\n"
     "Returns itself as a convenience to the caller."},
    {"__exit__", FAST(connection_exit),
     "__exit__($self, type, value, traceback, /)\n--\n\n"
     "Called when the connection is used as a context manager.\n\n"
     "If there was any exception, a rollback takes place; otherwise we commit."},
    {NULL},
};

static PyType_Slot connection_slots[] = {
    {Py_tp_new, connection_tp_new},
    {Py_tp_init, connection_init},
    {Py_tp_traverse, connection_traverse},
    {Py_tp_clear, connection_clear},
    {Py_tp_dealloc, connection_dealloc},
#if PY_AT_LEAST(12)
    {Py_tp_finalize, connection_finalize},
#endif
    {Py_tp_call, connection_call},
    {Py_tp_methods, methods},
    {Py_tp_members, connection_members},
    {Py_tp_getset, connection_getset},
    {Py_tp_doc, "SQLite database connection object."},
    {0, NULL},
};
static PyType_Spec connection_spec = {
    .name = "sqlite3.Connection",
    .basicsize = sizeof(connection),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = connection_slots,
};

PyTypeObject *connection_type_make(PyObject *module) {
  for (int i = 0; i < SETTINGS_COUNT; i++) connect_names[KEY_SETTINGS + i] = settings_names[i];
  return module_make_type(module, &connection_spec);
}
