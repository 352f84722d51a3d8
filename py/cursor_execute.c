/* cursor_execute.c: execute, executemany, executescript.
 *
 * One run: let go of the former statement, take the new one from the cache, open a transaction if the legacy
 * control wants one, then for each set of parameters bind and step once. A statement that is done is reset at
 * once and free for the next user; one that gave a row stays with the cursor.
 */
#include "py/objects.h"

#define PREFETCH (!PY_AT_LEAST(11)) /* older interpreters convert the first row while executing */

/* Parameters one set after the other. */
typedef struct source {
  PyObject *single;          /* execute: one set, then none */
  PyObject *sequence;        /* executemany over an exact list or tuple */
  PyObject *iterator;        /* executemany over anything else: the user's Python */
  Py_ssize_t position;
} source;

static int source_many(source *from, PyObject *o) {
  memset(from, 0, sizeof *from);
  if (PyList_CheckExact(o) || PyTuple_CheckExact(o)) {
    from->sequence = Py_NewRef(o);
    return 0;
  }
  from->iterator = PyIter_Check(o) ? Py_NewRef(o) : PyObject_GetIter(o);
  return from->iterator ? 0 : -1;
}

static void source_free(source *from) {
  Py_XDECREF(from->single);
  Py_XDECREF(from->sequence);
  Py_XDECREF(from->iterator);
}

/* The next set, a new reference; NULL with or without an exception. */
static PyObject *source_next(source *from, connection *c) {
  if (from->single) {
    PyObject *o = from->single;
    from->single = NULL;
    return o;
  }
  if (from->sequence) {
    Py_ssize_t i = from->position++;
    if (i >= PySequence_Fast_GET_SIZE(from->sequence)) return NULL;
    return Py_NewRef(PySequence_Fast_GET_ITEM(from->sequence, i));
  }
  if (!from->iterator) return NULL;
  int depth = turn_pause(c);
  PyObject *o = PyIter_Next(from->iterator);
  turn_resume(c, depth);
  if (o && !connection_check_open(c)) Py_CLEAR(o);
  return o;
}

static bool wants_begin(connection *c, statement *s) {
#if PY_AT_LEAST(12)
  if (c->autocommit != AUTOCOMMIT_LEGACY) return false;
#endif
  return c->begin && s->is_dml && hdb_get_autocommit(c->db);
}

/* Give the cursor its statement. */
static int start(cursor *u, PyObject *sql, bool many) {
  connection *c = u->connection;
  cursor_drop_statement(u);
  Py_CLEAR(u->next_row);
  u->reset = false;
  if (u->description != Py_None) {
    Py_INCREF(Py_None);
    Py_SETREF(u->description, Py_None);
  }
  statement *s = statement_get(c, sql);
  if (!s) return -1;
  s->in_use = true;
  u->statement = s;
#if PY_AT_LEAST(10)
  u->rowcount = s->is_dml ? 0 : -1;
#else
  u->rowcount = 0;
#endif
#if PY_AT_LEAST(11)
  if (many && s->readonly) {
    RAISE(c->state, EXC_PROGRAMMING, "executemany() can only execute DML statements.");
    return -1;
  }
#endif
  if (wants_begin(c, s)) return connection_begin(c);
  return 0;
}

/* After a step: count, describe, and put a finished statement back to its start. */
static int after_step(cursor *u, int rc, bool many) {
  connection *c = u->connection;
  statement *s = u->statement;
  if (UNLIKELY((rc != HDB_ROW && rc != HDB_DONE) || PyErr_Occurred())) {
    errors_raise(c->state, c->db, rc); /* or what a collation raised */
    return -1;
  }
#if PREFETCH
  if (many && rc == HDB_ROW) {
    RAISE(c->state, EXC_PROGRAMMING, "executemany() can only execute DML statements.");
    return -1;
  }
#else
  while (many && rc == HDB_ROW) rc = statement_step(s); /* RETURNING: nobody will ask for the rows */
  if (UNLIKELY(rc != HDB_ROW && rc != HDB_DONE)) {
    errors_raise(c->state, c->db, rc);
    return -1;
  }
#endif
  if (c->detect_types && cursor_build_converters(u) < 0) return -1;
  if (u->description == Py_None && cursor_set_description(u) < 0) return -1;
  if (rc == HDB_DONE) {
    if (s->is_dml) u->rowcount += (long)hdb_changes(c->db);
    if (s->handle) hdb_reset(s->handle);
    Py_CLEAR(s->bound);
#if !PY_AT_LEAST(11)
    if (!s->is_dml && s->handle) u->rowcount = -1;
  } else if (!s->is_dml) {
    u->rowcount = -1;
#endif
  }
  return rc;
}

/* executemany on a server: the sets go in batches. What the user's iterator raises comes behind the sets before it. */
static int run_many_remote(cursor *u, source *from) {
  connection *c = u->connection;
  statement *s = u->statement;
  PyObject *parameters;
  int64_t changes = 0;
  int rc = HDB_OK, bound = 0;
  gil g;
  while (rc == HDB_OK && bound == 0 && (parameters = source_next(from, c))) {
    bound = statement_bind(s, parameters);
    Py_DECREF(parameters);
    if (bound < 0) break;
    gil_lend(&g);
    rc = backend_remote->many_add(s->handle, &changes);
    gil_take_back(&g);
  }
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  if (rc == HDB_OK && connection_is_open(c) && s->handle) {
    gil_lend(&g);
    rc = backend_remote->many_end(s->handle, &changes);
    gil_take_back(&g);
  }
  if (rc != HDB_OK && !type) errors_raise(c->state, c->db, rc);
  else PyErr_Restore(type, value, traceback);
  if (PyErr_Occurred()) return -1;
  if (s->is_dml) u->rowcount += (long)changes;
  s->in_use = false;
  u->statement = NULL;
  Py_CLEAR(s->bound);
  Py_DECREF(s);
  return 0;
}

static int run_all(cursor *u, PyObject *sql, source *from, bool many) {
  connection *c = u->connection;
  int rc = HDB_DONE;
  if (start(u, sql, many) < 0) return -1;
  statement *s = u->statement;
  if (many && backend_is_remote(s->handle) && !s->readonly && !hdb_column_count(s->handle)) return run_many_remote(u, from);
  PyObject *parameters;
  unsigned sets = 0;
  while ((parameters = source_next(from, c))) {
    int bound = statement_bind(s, parameters);
    Py_DECREF(parameters);
    if (bound < 0) return -1;
    gil_breathe(++sets);
    rc = after_step(u, statement_step(s), many);
    if (rc < 0) return -1;
  }
  if (PyErr_Occurred()) return -1;
  if (!many) {
    u->lastrowid = hdb_last_insert_rowid(c->db);
    u->has_lastrowid = true;
  }
  if (rc == HDB_DONE) { /* already reset */
    s->in_use = false;
    u->statement = NULL;
    Py_DECREF(s);
  } else if (PREFETCH) {
    u->next_row = cursor_build_row(u);
    if (!u->next_row) return -1;
  }
  return 0;
}

static PyObject *run(cursor *u, PyObject *sql, source *from, bool many) {
  if (!cursor_begin_use(u)) return NULL;
  int rc = run_all(u, sql, from, many);
  if (UNLIKELY(rc < 0)) {
    PyObject *type, *value, *traceback; /* letting go may run other code */
    PyErr_Fetch(&type, &value, &traceback);
    cursor_drop_statement(u);
    u->rowcount = -1;
    PyErr_Restore(type, value, traceback);
  }
  cursor_end_use(u);
  return rc < 0 ? NULL : Py_NewRef((PyObject *)u);
}

static int check_sql(const char *function, PyObject *sql) {
  if (LIKELY(PyUnicode_Check(sql))) return 0;
#if PY_AT_LEAST(10)
  return arguments_bad(function, "argument 1", "str", sql);
#elif PY_AT_LEAST(9)
  PyErr_Format(PyExc_TypeError, "argument 1 must be str, not %.50s", sql == Py_None ? "None" : Py_TYPE(sql)->tp_name);
  return -1;
#else
  PyErr_SetString(PyExc_ValueError, "operation parameter must be str");
  return -1;
#endif
}

PyObject *cursor_execute(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  cursor *u = (cursor *)self;
  if (arguments_positional("execute", nargs, 1, 2) < 0 || check_sql("execute", args[0]) < 0) return NULL;
  source from = {0};
  if (nargs > 1)
    from.single = Py_NewRef(args[1]);
  else if (u->connection)
    from.single = Py_NewRef(u->connection->state->empty_tuple);
  PyObject *answer = run(u, args[0], &from, false);
  source_free(&from);
  return answer;
}

PyObject *cursor_executemany(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  if (arguments_positional("executemany", nargs, 2, 2) < 0 || check_sql("executemany", args[0]) < 0) return NULL;
  source from;
  if (!cursor_check((cursor *)self) || source_many(&from, args[1]) < 0) return NULL;
  PyObject *answer = run((cursor *)self, args[0], &from, true);
  source_free(&from);
  return answer;
}

/* All statements of a script, without the GIL. */
static int run_script(hdb *db, const char *script, size_t bytes) {
  int rc = HDB_OK;
  const char *end = script + bytes;
  while (rc == HDB_OK && script < end) {
    hdb_stmt *handle = NULL;
    rc = hdb_prepare(db, script, (int)(end - script) + 1, 0, &handle, &script);
    if (rc != HDB_OK) break;
    if (!handle && script >= end) break;
    do rc = handle ? hdb_step(handle) : HDB_DONE;
    while (rc == HDB_ROW);
    int last = hdb_finalize(handle);
    rc = rc == HDB_DONE ? last : rc;
  }
  return rc;
}

static int check_script(connection *c, PyObject *script, const char **text, Py_ssize_t *bytes) {
  if (!PyUnicode_Check(script)) {
#if PY_AT_LEAST(11)
    PyErr_Format(PyExc_TypeError, "executescript() argument must be str, not %.50s",
                 script == Py_None ? "None" : Py_TYPE(script)->tp_name);
#else
    PyErr_SetString(PyExc_ValueError, "script argument must be unicode.");
#endif
    return -1;
  }
  *text = PyUnicode_AsUTF8AndSize(script, bytes);
  if (!*text) return -1;
#if PY_AT_LEAST(11)
  if (strlen(*text) != (size_t)*bytes) {
    PyErr_SetString(PyExc_ValueError, "embedded null character");
    return -1;
  }
#else
  *bytes = (Py_ssize_t)strlen(*text);
#endif
  if (c && c->db && *bytes > hdb_limit(c->db, HDB_LIMIT_SQL_LENGTH, -1)) {
    RAISE(c->state, EXC_DATA, "query string is too large");
    return -1;
  }
  return 0;
}

PyObject *cursor_executescript(PyObject *self, PyObject *script) {
  cursor *u = (cursor *)self;
  connection *c = u->connection;
  const char *text;
  Py_ssize_t bytes;
#if PY_AT_LEAST(11)
  if (check_script(c, script, &text, &bytes) < 0 || !cursor_begin_use(u)) return NULL;
#else
  if (!cursor_begin_use(u)) return NULL;
  if (check_script(c, script, &text, &bytes) < 0) {
    cursor_end_use(u);
    return NULL;
  }
#endif
  u->reset = false;
  int rc = HDB_OK;
#if PY_AT_LEAST(12)
  bool commits = c->autocommit == AUTOCOMMIT_LEGACY && !hdb_get_autocommit(c->db);
#else
  bool commits = !hdb_get_autocommit(c->db);
#endif
  Py_BEGIN_ALLOW_THREADS
  if (commits) rc = run_script(c->db, "COMMIT", 6);
  if (rc == HDB_OK) rc = run_script(c->db, text, (size_t)bytes);
  Py_END_ALLOW_THREADS
  if (rc != HDB_OK) errors_raise(c->state, c->db, rc);
  cursor_end_use(u);
  return rc == HDB_OK && !PyErr_Occurred() ? Py_NewRef(self) : NULL;
}
