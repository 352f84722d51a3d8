/* statement.c: one compiled SQL statement.
 *
 * A statement belongs to one connection. It is `in_use` from the moment a cursor takes it until it is reset;
 * one that is in use is never handed out again. Close of the connection finalizes all of them; the Python
 * object lives on with a NULL handle.
 */
#include "py/objects.h"

/* What stands before a statement: white space and comments. */
static const char *skip_blanks(const char *p) {
  for (;; p++) {
    switch (*p) {
    case ' ':
    case '\t':
    case '\f':
    case '\n':
    case '\r': continue;
    case '-':
      if (p[1] != '-') return p;
      p += strcspn(p, "\n");
      if (!*p) return p;
      continue;
    case '/':
      if (p[1] != '*') return p;
      p = strstr(p + 2, "*/");
      if (!p) return "";
      p++;
      continue;
    default: return p;
    }
  }
}

static bool is_dml(const char *sql) {
#if PY_AT_LEAST(10)
  sql = skip_blanks(sql);
#else
  sql += strspn(sql, " \r\n\t");
#endif
  return !PyOS_strnicmp(sql, "insert", 6) || !PyOS_strnicmp(sql, "update", 6) || !PyOS_strnicmp(sql, "delete", 6) ||
         !PyOS_strnicmp(sql, "replace", 7);
}

static const char *check_text(connection *c, PyObject *sql, Py_ssize_t *bytes) {
  const char *text = PyUnicode_AsUTF8AndSize(sql, bytes);
  if (!text) return NULL;
  if (*bytes > hdb_limit(c->db, HDB_LIMIT_SQL_LENGTH, -1)) {
    RAISE(c->state, EXC_DATA, "query string is too large");
    return NULL;
  }
  if (strlen(text) != (size_t)*bytes) {
#if PY_AT_LEAST(11)
    RAISE(c->state, EXC_PROGRAMMING, "the query contains a null character");
#else
    PyErr_SetString(PyExc_ValueError, "the query contains a null character");
#endif
    return NULL;
  }
  return text;
}

statement *statement_new(connection *c, PyObject *sql) {
  Py_ssize_t bytes;
  const char *text = check_text(c, sql, &bytes), *tail = NULL;
  if (!text) return NULL;
  hdb_stmt *handle = NULL;
  gil g;
  gil_lend(&g);
  int rc = hdb_prepare(c->db, text, (int)bytes + 1, HDB_PREPARE_PERSISTENT, &handle, &tail);
  gil_take_back(&g);
  if (rc != HDB_OK) {
    errors_raise(c->state, c->db, rc);
    return NULL;
  }
  if (tail && *skip_blanks(tail)) {
    hdb_finalize(handle);
    RAISE(c->state, PY_AT_LEAST(11) ? EXC_PROGRAMMING : EXC_WARNING, "You can only execute one statement at a time.");
    return NULL;
  }
  statement *s = PyObject_New(statement, c->state->statement_type);
  if (!s) {
    hdb_finalize(handle);
    return NULL;
  }
  memset((char *)s + sizeof(PyObject), 0, sizeof *s - sizeof(PyObject));
  s->handle = handle;
  s->owner = c;
  s->text_bytes = bytes;
  s->is_dml = is_dml(text);
  s->readonly = !handle || hdb_stmt_readonly(handle);
  s->parameters = handle ? hdb_bind_parameter_count(handle) : 0;
  LIST_ADD(c->statements, s);
  return s;
}

statement *statement_get(connection *c, PyObject *sql) {
  if (!PyUnicode_CheckExact(sql)) return statement_new(c, sql);
  Py_hash_t hash = PyObject_Hash(sql);
  statement *s = cache_find(&c->cache, sql, hash);
  if (s && !s->in_use) {
    Py_INCREF(s);
    return s;
  }
  bool twice = s != NULL;
  s = statement_new(c, sql);
  if (!s || twice) return s;
  s->hash = hash;
  s->sql = Py_NewRef(sql);
  if (cache_add(&c->cache, s) < 0) Py_CLEAR(s);
  return s;
}

int statement_step(statement *s) {
  if (UNLIKELY(!s->handle)) return HDB_DONE; /* nothing but comments */
  gil g;
  gil_lend(&g);
  int rc = hdb_step(s->handle);
  gil_take_back(&g);
  return rc;
}

int statement_reset(statement *s) {
  s->in_use = false;
  Py_CLEAR(s->bound);
  if (!s->handle) return HDB_OK;
  gil g;
  gil_lend(&g); /* it may end a transaction */
  int rc = hdb_reset(s->handle);
  gil_take_back(&g);
  return rc;
}

void statement_finalize(statement *s) {
  connection *c = s->owner;
  if (!c) return;
  hdb_stmt *handle = s->handle;
  s->handle = NULL;
  s->owner = NULL;
  LIST_REMOVE(c->statements, s);
  if (!handle) return;
  gil g;
  gil_lend(&g);
  hdb_finalize(handle);
  gil_take_back(&g);
}

static void statement_dealloc(PyObject *self) {
  statement *s = (statement *)self;
  PyTypeObject *type = Py_TYPE(self);
  connection *c = s->owner;
  if (c && Py_REFCNT(c) > 0) {
    Py_INCREF(c);
    turn_take(c);
    statement_finalize(s);
    turn_release(c);
    Py_DECREF(c);
  } else {
    statement_finalize(s);
  }
  Py_XDECREF(s->bound);
  Py_XDECREF(s->sql);
  Py_XDECREF(s->description);
  PyMem_Free(s->vectors);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyType_Slot statement_slots[] = {
    {Py_tp_dealloc, statement_dealloc},
    {0, NULL},
};
static PyType_Spec statement_spec = {
    .name = "sqlite3.Statement",
    .basicsize = sizeof(statement),
#if PY_AT_LEAST(10)
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
#else
    .flags = Py_TPFLAGS_DEFAULT,
#endif
    .slots = statement_slots,
};

PyTypeObject *statement_type_make(PyObject *module) {
  PyTypeObject *type = module_make_type(module, &statement_spec);
#if !PY_AT_LEAST(10)
  if (type) type->tp_new = NULL;
#endif
  return type;
}
