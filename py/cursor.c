/* cursor.c: the Cursor type and fetching.
 *
 * After execute the statement stands on the row to be handed out next. next() builds that row and steps once
 * more, so a statement is done, reset and free as soon as its last row was handed out (interpreters before
 * 3.11 build the row ahead as well: errors then show one call earlier, as theirs do).
 */
#include "py/objects.h"

#define PREFETCH (!PY_AT_LEAST(11))

bool cursor_check(cursor *u) {
  if (UNLIKELY(!u->initialized || !u->connection)) {
    module_state *state = module_state_of(Py_TYPE(u));
    if (state) RAISE(state, EXC_PROGRAMMING, "Base Cursor.__init__ not called.");
    return false;
  }
  connection *c = u->connection;
  if (UNLIKELY(u->closed)) {
    RAISE(c->state, EXC_PROGRAMMING, "Cannot operate on a closed cursor.");
    return false;
  }
  if (UNLIKELY(u->locked && (!c->turn.depth || c->turn.owner == PyThread_get_thread_ident()))) {
    RAISE(c->state, EXC_PROGRAMMING, "Recursive use of cursors not allowed.");
    return false;
  }
  return connection_check_thread(c) && connection_check_open(c);
}

bool cursor_begin_use(cursor *u) {
  if (UNLIKELY(!cursor_check(u))) return false;
  connection *c = u->connection;
  bool waits = c->turn.depth != 0;
  turn_take(c);
  if (UNLIKELY(waits && !cursor_check(u))) { /* much may have happened meanwhile */
    turn_release(c);
    return false;
  }
  u->locked = true;
  return true;
}

void cursor_end_use(cursor *u) {
  u->locked = false;
  turn_release(u->connection);
}

void cursor_drop_statement(cursor *u) {
  statement *s = u->statement;
  if (!s) return;
  u->statement = NULL;
  statement_reset(s);
  Py_DECREF(s);
}

/* The statement stands on a row no more: rc says why. */
static int finish(cursor *u, int rc) {
  connection *c = u->connection;
  statement *s = u->statement;
  if (rc == HDB_DONE) {
    if (s->is_dml) u->rowcount = (long)hdb_changes(c->db);
  } else {
    errors_raise(c->state, c->db, rc);
  }
  cursor_drop_statement(u);
  return rc == HDB_DONE ? 0 : -1;
}

/* The row to hand out, with the statement moved on; NULL without exception at the end. */
static PyObject *take_row(cursor *u) {
  PyObject *row;
  statement *s = u->statement;
  if (PREFETCH) {
    row = u->next_row;
    u->next_row = NULL;
    if (!row || !s) return row;
  } else {
    if (!s) return NULL;
    if (UNLIKELY(!s->handle || !hdb_data_count(s->handle))) { /* reset by a rollback */
      cursor_drop_statement(u);
      return NULL;
    }
    row = cursor_build_row(u);
    if (UNLIKELY(!row)) return NULL;
  }
  int rc = statement_step(s);
  if (UNLIKELY(PyErr_Occurred())) rc = HDB_ERROR;
  if (rc == HDB_ROW) {
    if (PREFETCH && !(u->next_row = cursor_build_row(u))) Py_CLEAR(row);
  } else if (finish(u, rc) < 0) {
    Py_CLEAR(row);
  }
  return row;
}

static PyObject *apply_factory(cursor *u, PyObject *row) {
  PyObject *factory = u->row_factory;
  if (LIKELY(factory == Py_None || !factory)) return row;
  connection *c = u->connection;
  PyObject *made;
  if (factory == (PyObject *)c->state->row_type && u->description != Py_None) {
    made = row_new(c->state, u->description, row);
  } else {
    PyObject *args[] = {(PyObject *)u, row};
    bool locked = u->locked;
    u->locked = false;
    int depth = turn_pause(c);
    Py_INCREF(factory);
    made = PyObject_Vectorcall(factory, args, 2, NULL);
    Py_DECREF(factory);
    turn_resume(c, depth);
    u->locked = locked;
  }
  Py_DECREF(row);
  return made;
}

static bool check_reset(cursor *u) {
  if (PREFETCH && u->reset) {
    RAISE(u->connection->state, EXC_INTERFACE,
          "Cursor needed to be reset because of commit/rollback and can no longer be fetched from.");
    return false;
  }
  return true;
}

PyObject *cursor_next(PyObject *self) {
  cursor *u = (cursor *)self;
  if (!cursor_begin_use(u)) return NULL;
  PyObject *row = NULL;
  if (check_reset(u)) row = take_row(u);
  u->locked = false;
  if (row) row = apply_factory(u, row);
  turn_release(u->connection);
  return row;
}

PyObject *cursor_fetchone(PyObject *self, PyObject *unused) {
  PyObject *row = cursor_next(self);
  if (!row && !PyErr_Occurred()) Py_RETURN_NONE;
  return row;
}

/* At most `most` rows, all when it is not positive. */
static PyObject *fetch_list(cursor *u, Py_ssize_t most) {
  PyObject *list = PyList_New(0);
  if (!list) return NULL;
  if (!cursor_begin_use(u)) {
    Py_DECREF(list);
    return NULL;
  }
  bool fine = check_reset(u);
  while (fine && (most <= 0 || PyList_GET_SIZE(list) < most)) {
    PyObject *row = take_row(u);
    if (row) row = apply_factory(u, row);
    if (!row) break;
    fine = PyList_Append(list, row) == 0;
    gil_breathe((unsigned)PyList_GET_SIZE(list));
    Py_DECREF(row);
    if (fine && u->row_factory != Py_None && !connection_check_open(u->connection)) break;
  }
  cursor_end_use(u);
  if (PyErr_Occurred()) Py_CLEAR(list);
  return list;
}

PyObject *cursor_fetchall(PyObject *self, PyObject *unused) { return fetch_list((cursor *)self, 0); }

static const char *const fetchmany_names[] = {"size"};
static const arguments_spec fetchmany_spec = {"fetchmany", fetchmany_names, 1, 1, 0, "", 8};

PyObject *cursor_fetchmany(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  PyObject *value;
  int size = ((cursor *)self)->arraysize;
  if (arguments_parse(&fetchmany_spec, args, nargs, kwnames, &value) < 0) return NULL;
  if (value && arguments_int(value, &size) < 0) return NULL;
  return fetch_list((cursor *)self, size);
}

static PyObject *cursor_close(PyObject *self, PyObject *unused) {
  cursor *u = (cursor *)self;
  if (!u->connection) {
    module_state *state = module_state_of(Py_TYPE(self));
    if (state) RAISE(state, EXC_PROGRAMMING, "Base Cursor.__init__ not called.");
    return NULL;
  }
  connection *c = u->connection;
  if (u->locked) {
    RAISE(c->state, EXC_PROGRAMMING, "Recursive use of cursors not allowed.");
    return NULL;
  }
  if (!connection_check_thread(c) || !connection_check_open(c)) return NULL;
  turn_take(c);
  cursor_drop_statement(u);
  Py_CLEAR(u->next_row);
  u->closed = true;
  turn_release(c);
  Py_RETURN_NONE;
}

static PyObject *cursor_setinputsizes(PyObject *self, PyObject *sizes) { Py_RETURN_NONE; }

static PyObject *cursor_setoutputsize(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
#if PY_AT_LEAST(10)
  if (arguments_positional("setoutputsize", nargs, 1, 2) < 0) return NULL;
#endif
  Py_RETURN_NONE;
}

/* ---- life ---- */

/* The cursor as it is before __init__. */
static void blank(cursor *u) {
  u->rowcount = -1;
  u->arraysize = 1;
  u->description = Py_NewRef(Py_None);
  u->row_factory = Py_NewRef(Py_None);
}

static PyObject *cursor_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  cursor *u = (cursor *)type->tp_alloc(type, 0);
  if (u) blank(u);
  return (PyObject *)u;
}

static void attach(cursor *u, connection *c) {
  u->connection = (connection *)Py_NewRef((PyObject *)c);
  LIST_ADD(c->cursors, u);
  u->initialized = true;
}

static void detach(cursor *u) {
  connection *c = u->connection;
  if (!c) return;
  if (u->statement) {
    turn_take(c);
    cursor_drop_statement(u);
    turn_release(c);
  }
  LIST_REMOVE(c->cursors, u);
  u->connection = NULL;
  Py_DECREF(c);
}

cursor *cursor_new(connection *c) {
  PyTypeObject *type = c->state->cursor_type;
  cursor *u = (cursor *)type->tp_alloc(type, 0);
  if (!u) return NULL;
  blank(u);
  attach(u, c);
  return u;
}

static int cursor_init(PyObject *self, PyObject *args, PyObject *kwargs) {
  cursor *u = (cursor *)self;
  module_state *state = module_state_of(Py_TYPE(self));
  if (!state) return -1;
  if (kwargs && PyDict_GET_SIZE(kwargs) && Py_TYPE(self) == state->cursor_type) {
    PyErr_SetString(PyExc_TypeError, "Cursor() takes no keyword arguments");
    return -1;
  }
  if (arguments_positional("Cursor", PyTuple_GET_SIZE(args), 1, 1) < 0) return -1;
  PyObject *o = PyTuple_GET_ITEM(args, 0);
  if (!PyObject_TypeCheck(o, state->connection_type))
    return arguments_bad("Cursor", "argument 1", "sqlite3.Connection", o);
  connection *c = (connection *)o;
  if (u->locked) {
    RAISE(state, EXC_PROGRAMMING, "Recursive use of cursors not allowed.");
    return -1;
  }
  u->initialized = false;
  detach(u);
  Py_CLEAR(u->next_row);
  Py_INCREF(Py_None);
  Py_XSETREF(u->description, Py_None);
  Py_INCREF(Py_None);
  Py_XSETREF(u->row_factory, Py_None);
  u->has_lastrowid = u->closed = u->reset = false;
  u->arraysize = 1;
  u->rowcount = -1;
  if (!connection_check_thread(c)) return -1;
  attach(u, c);
  return 0;
}

static int cursor_traverse(PyObject *self, visitproc visit, void *arg) {
  cursor *u = (cursor *)self;
#if PY_AT_LEAST(9)
  Py_VISIT(Py_TYPE(self));
#endif
  Py_VISIT(u->connection);
  Py_VISIT(u->description);
  Py_VISIT(u->row_factory);
  Py_VISIT(u->converters);
  Py_VISIT(u->next_row);
  return 0;
}

static int cursor_clear(PyObject *self) {
  cursor *u = (cursor *)self;
  detach(u);
  Py_CLEAR(u->description);
  Py_CLEAR(u->row_factory);
  Py_CLEAR(u->converters);
  Py_CLEAR(u->next_row);
  return 0;
}

static void cursor_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (((cursor *)self)->weakrefs) PyObject_ClearWeakRefs(self);
  cursor_clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyObject *get_lastrowid(PyObject *self, void *unused) {
  cursor *u = (cursor *)self;
  if (!u->has_lastrowid) Py_RETURN_NONE;
  return PyLong_FromLongLong(u->lastrowid);
}

static int set_lastrowid(PyObject *self, PyObject *value, void *unused) {
  PyErr_SetString(PyExc_AttributeError, "readonly attribute");
  return -1;
}

static PyGetSetDef cursor_getset[] = {
    {"lastrowid", get_lastrowid, set_lastrowid, NULL, NULL},
    {NULL},
};

static PyMemberDef cursor_members[] = {
    {"connection", T_OBJECT, offsetof(cursor, connection), READONLY, NULL},
    {"description", T_OBJECT, offsetof(cursor, description), READONLY, NULL},
    {"arraysize", T_INT, offsetof(cursor, arraysize), 0, NULL},
    {"rowcount", T_LONG, offsetof(cursor, rowcount), READONLY, NULL},
    {"row_factory", T_OBJECT, offsetof(cursor, row_factory), 0, NULL},
#if PY_AT_LEAST(9)
    {"__weaklistoffset__", T_PYSSIZET, offsetof(cursor, weakrefs), READONLY, NULL},
#endif
    {NULL},
};

static PyMethodDef cursor_methods[] = {
    {"execute", (PyCFunction)(void (*)(void))cursor_execute, METH_FASTCALL,
     "execute($self, sql, parameters=(), /)\n--\n\nExecutes an SQL statement."},
    {"executemany", (PyCFunction)(void (*)(void))cursor_executemany, METH_FASTCALL,
     "executemany($self, sql, seq_of_parameters, /)\n--\n\nRepeatedly executes an SQL statement."},
    {"executescript", cursor_executescript, METH_O,
     "executescript($self, sql_script, /)\n--\n\nExecutes multiple SQL statements at once."},
    {"fetchone", cursor_fetchone, METH_NOARGS, "fetchone($self, /)\n--\n\nFetches one row from the resultset."},
    {"fetchmany", (PyCFunction)(void (*)(void))cursor_fetchmany, METH_FASTCALL | METH_KEYWORDS,
     "fetchmany($self, /, size=1)\n--\n\nFetches several rows from the resultset.\n\n  size\n"
     "    The default value is set by the Cursor.arraysize attribute."},
    {"fetchall", cursor_fetchall, METH_NOARGS, "fetchall($self, /)\n--\n\nFetches all rows from the resultset."},
    {"close", cursor_close, METH_NOARGS, "close($self, /)\n--\n\nCloses the cursor."},
#if PY_AT_LEAST(10)
    {"setinputsizes", cursor_setinputsizes, METH_O,
     "setinputsizes($self, sizes, /)\n--\n\nRequired by DB-API. Does nothing in sqlite3."},
#else
    {"setinputsizes", cursor_setinputsizes, METH_VARARGS, "Required by DB-API. Does nothing in sqlite3."},
#endif
    {"setoutputsize", (PyCFunction)(void (*)(void))cursor_setoutputsize, METH_FASTCALL,
     "setoutputsize($self, size, column=None, /)\n--\n\nRequired by DB-API. Does nothing in sqlite3."},
    {NULL},
};

static PyType_Slot cursor_slots[] = {
    {Py_tp_new, cursor_tp_new},
    {Py_tp_init, cursor_init},
    {Py_tp_traverse, cursor_traverse},
    {Py_tp_clear, cursor_clear},
    {Py_tp_dealloc, cursor_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, cursor_next},
    {Py_tp_methods, cursor_methods},
    {Py_tp_members, cursor_members},
    {Py_tp_getset, cursor_getset},
    {Py_tp_doc, "SQLite database cursor class."},
    {0, NULL},
};
static PyType_Spec cursor_spec = {
    .name = "sqlite3.Cursor",
    .basicsize = sizeof(cursor),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = cursor_slots,
};

PyTypeObject *cursor_type_make(PyObject *module) {
  PyTypeObject *type = module_make_type(module, &cursor_spec);
#if !PY_AT_LEAST(9)
  if (type) type->tp_weaklistoffset = offsetof(cursor, weakrefs);
#endif
  return type;
}
