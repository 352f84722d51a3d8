/* statement_bind.c: Python values become a statement's parameters.
 *
 * Exact int, float, str, bytes, None, bool and bytearray go straight in unless somebody registered an adapter
 * for such a type; everything else is adapted first. A sequence fills the parameters by number, a mapping by
 * name. A list or tuple of numbers is a vector: its float32 bytes.
 *
 * A tuple of at most BIND_AT_ONCE such values is bound in one call without a copy: the statement holds the tuple
 * until it is reset.
 *
 * Adapters are the user's Python: the turn is paused around them, and the statement may be gone afterwards.
 */
#include "py/objects.h"

static bool needs_adapting(module_state *state, PyObject *o) {
  if (state->base_type_adapted) return true;
  PyTypeObject *type = Py_TYPE(o);
  return !(type == &PyLong_Type || type == &PyUnicode_Type || type == &PyFloat_Type || o == Py_None ||
           type == &PyBytes_Type || type == &PyBool_Type || type == &PyByteArray_Type);
}

static PyObject *adapt(connection *c, PyObject *o) {
  int depth = turn_pause(c);
  PyObject *adapted = microprotocols_adapt(c->state, o, (PyObject *)c->state->protocol_type, o);
  turn_resume(c, depth);
  if (adapted && !connection_check_open(c)) Py_CLEAR(adapted);
  return adapted;
}

/* -1 raised; else the engine's code */
static int bind_buffer(hdb_stmt *handle, int index, PyObject *o) {
  Py_buffer view;
  if (PyObject_GetBuffer(o, &view, PyBUF_SIMPLE) < 0) {
#if !PY_AT_LEAST(11)
    PyErr_Clear();
    PyErr_SetString(PyExc_ValueError, "could not convert BLOB to buffer");
#endif
    return -1;
  }
  int rc = hdb_bind_blob(handle, index, view.buf ? view.buf : "", view.len, HDB_TRANSIENT);
  PyBuffer_Release(&view);
  return rc;
}

/* HDB_MISMATCH: not a list or tuple of numbers */
static int bind_vector(hdb_stmt *handle, int index, PyObject *o) {
  if (!PyList_CheckExact(o) && !PyTuple_CheckExact(o)) return HDB_MISMATCH;
  Py_ssize_t count = PySequence_Fast_GET_SIZE(o);
  if (!count) return HDB_MISMATCH;
  float *numbers = PyMem_Malloc((size_t)count * sizeof *numbers);
  if (!numbers) {
    PyErr_NoMemory();
    return -1;
  }
  int rc = HDB_OK;
  for (Py_ssize_t i = 0; i < count && rc == HDB_OK; i++) {
    PyObject *item = PySequence_Fast_GET_ITEM(o, i);
    if (PyFloat_CheckExact(item))
      numbers[i] = (float)PyFloat_AS_DOUBLE(item);
    else if (PyLong_CheckExact(item))
      numbers[i] = (float)PyLong_AsDouble(item);
    else
      rc = HDB_MISMATCH;
  }
  if (PyErr_Occurred())
    rc = -1;
  else if (rc == HDB_OK)
    rc = hdb_bind_blob(handle, index, numbers, (int64_t)count * (int64_t)sizeof *numbers, HDB_TRANSIENT);
  PyMem_Free(numbers);
  return rc;
}

static int bind_int(hdb_stmt *handle, int index, PyObject *o) {
  int overflow;
  long long n = PyLong_AsLongLongAndOverflow(o, &overflow);
  if (UNLIKELY(overflow)) {
    PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to SQLite INTEGER");
    return -1;
  }
  if (UNLIKELY(n == -1 && PyErr_Occurred())) return -1;
  return hdb_bind_int64(handle, index, n);
}

static int bind_text(hdb_stmt *handle, int index, PyObject *o) {
  Py_ssize_t bytes;
  const char *text = PyUnicode_AsUTF8AndSize(o, &bytes);
  return text ? hdb_bind_text(handle, index, text, bytes, HDB_TRANSIENT) : -1;
}

/* -1 raised, HDB_MISMATCH no such type, else the engine's code */
static int bind_value(hdb_stmt *handle, int index, PyObject *o) {
  PyTypeObject *type = Py_TYPE(o);
  if (type == &PyLong_Type) return bind_int(handle, index, o);
  if (type == &PyUnicode_Type) return bind_text(handle, index, o);
  if (o == Py_None) return hdb_bind_null(handle, index);
  if (type == &PyFloat_Type) return hdb_bind_double(handle, index, PyFloat_AS_DOUBLE(o));
  if (PyLong_Check(o)) return bind_int(handle, index, o);
  if (PyFloat_Check(o)) return hdb_bind_double(handle, index, PyFloat_AsDouble(o));
  if (PyUnicode_Check(o)) return bind_text(handle, index, o);
  if (PyObject_CheckBuffer(o)) return bind_buffer(handle, index, o);
  return bind_vector(handle, index, o);
}

static int bind_failed(statement *s, int index, PyObject *o, const char *name, int rc) {
  if (PyErr_Occurred()) return -1;
  connection *c = s->owner;
#if PY_AT_LEAST(11)
  (void)name;
  if (rc == HDB_MISMATCH)
    RAISE(c->state, EXC_PROGRAMMING, "Error binding parameter %d: type '%s' is not supported", index,
          Py_TYPE(o)->tp_name);
  else
    errors_raise(c->state, c->db, rc);
#else
  if (name)
    RAISE(c->state, EXC_INTERFACE, "Error binding parameter :%s - probably unsupported type.", name);
  else
    RAISE(c->state, EXC_INTERFACE, "Error binding parameter %d - probably unsupported type.", index - 1);
#endif
  return -1;
}

/* Takes the reference of o. */
static int bind_one(statement *s, int index, PyObject *o, const char *name) {
  connection *c = s->owner;
  if (UNLIKELY(needs_adapting(c->state, o))) {
    PyObject *adapted = adapt(c, o);
    Py_DECREF(o);
    if (!adapted) return -1;
    o = adapted;
  }
  int rc = bind_value(s->handle, index, o);
  if (UNLIKELY(rc != HDB_OK)) rc = bind_failed(s, index, o, name, rc);
  Py_DECREF(o);
  return rc;
}

#if PY_AT_LEAST(12)
static int warn_named(statement *s, int index) {
  const char *name = hdb_bind_parameter_name(s->handle, index);
  if (!name || (PY_VERSION_HEX >= 0x030c0400 && *name == '?')) return 0;
  return PyErr_WarnFormat(PyExc_DeprecationWarning, 1,
                          "Binding %d ('%s') is a named parameter, but you supplied a sequence which requires "
                          "nameless (qmark) placeholders. Starting with Python 3.14 an sqlite3.ProgrammingError "
                          "will be raised.",
                          index, name);
}
#else
#define warn_named(s, index) 0
#endif

static int bind_sequence(statement *s, PyObject *parameters) {
  Py_ssize_t count = PyTuple_CheckExact(parameters)  ? PyTuple_GET_SIZE(parameters)
                     : PyList_CheckExact(parameters) ? PyList_GET_SIZE(parameters)
                                                     : PySequence_Size(parameters);
  if (count == -1) return -1;
  if (count != s->parameters) {
    RAISE(s->owner->state, EXC_PROGRAMMING,
          "Incorrect number of bindings supplied. The current statement uses %d, and there are %zd supplied.",
          s->parameters, count);
    return -1;
  }
  for (int i = 0; i < (int)count; i++) {
    if (warn_named(s, i + 1) < 0) return -1;
    PyObject *item;
    if (PyTuple_CheckExact(parameters))
      item = Py_NewRef(PyTuple_GET_ITEM(parameters, i));
    else if (PyList_CheckExact(parameters))
      item = Py_XNewRef(PyList_GetItem(parameters, i)); /* an adapter may have shortened it */
    else
      item = PySequence_GetItem(parameters, i);
    if (!item || bind_one(s, i + 1, item, NULL) < 0) return -1;
  }
  return 0;
}

static PyObject *named_value(statement *s, int index, const char *name, PyObject *parameters) {
  PyObject *key = PyUnicode_FromString(name), *value;
  if (!key) return NULL;
  if (PyDict_CheckExact(parameters))
    value = Py_XNewRef(PyDict_GetItemWithError(parameters, key));
  else
    value = PyObject_GetItem(parameters, key);
  Py_DECREF(key);
  if (!value && (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_LookupError))) {
#if PY_AT_LEAST(10)
    RAISE(s->owner->state, EXC_PROGRAMMING, "You did not supply a value for binding parameter :%s.", name);
#else
    RAISE(s->owner->state, EXC_PROGRAMMING, "You did not supply a value for binding %d.", index);
#endif
  }
  return value;
}

enum { BIND_AT_ONCE = 32 };

/* 1 filled, 0 a value of another kind, -1 raised */
static int fill(hdb_parameter *p, PyObject *o) {
  PyTypeObject *type = Py_TYPE(o);
  if (type == &PyLong_Type || type == &PyBool_Type) {
    int overflow;
    long long n = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (UNLIKELY(overflow)) return 0; /* bind_int has the words */
    p->type = HDB_INTEGER;
    p->integer = n;
  } else if (type == &PyUnicode_Type) {
    Py_ssize_t bytes;
    p->type = HDB_TEXT;
    p->data = PyUnicode_AsUTF8AndSize(o, &bytes);
    p->bytes = bytes;
    if (UNLIKELY(!p->data)) return -1;
  } else if (o == Py_None) {
    p->type = HDB_NULL;
  } else if (type == &PyFloat_Type) {
    p->type = HDB_FLOAT;
    p->real = PyFloat_AS_DOUBLE(o);
  } else if (type == &PyBytes_Type) {
    p->type = HDB_BLOB;
    p->data = PyBytes_AS_STRING(o);
    p->bytes = PyBytes_GET_SIZE(o);
  } else {
    return 0;
  }
  return 1;
}

/* The short way: 1 bound, 0 take the long one, -1 raised. */
static int bind_tuple(statement *s, PyObject *tuple) {
  hdb_parameter values[BIND_AT_ONCE];
  connection *c = s->owner;
  int count = s->parameters;
  if (count > BIND_AT_ONCE || PyTuple_GET_SIZE(tuple) != count || c->state->base_type_adapted) return 0;
  for (int i = 0; i < count; i++) {
    int rc = fill(&values[i], PyTuple_GET_ITEM(tuple, i));
    if (rc <= 0) return rc;
  }
  for (int i = 1; PY_AT_LEAST(12) && i <= count; i++) {
    if (warn_named(s, i) < 0) return -1;
  }
  int rc = hdb_bind_all(s->handle, values, count);
  if (UNLIKELY(rc != HDB_OK)) {
    errors_raise(c->state, c->db, rc);
    return -1;
  }
  Py_INCREF(tuple);
  Py_XSETREF(s->bound, tuple);
  return 1;
}

static int bind_mapping(statement *s, PyObject *parameters) {
  for (int i = 1; i <= s->parameters; i++) {
    const char *name = hdb_bind_parameter_name(s->handle, i);
    if (!name) {
      RAISE(s->owner->state, EXC_PROGRAMMING,
            "Binding %d has no name, but you supplied a dictionary (which has only names).", i);
      return -1;
    }
    name++; /* the ':' */
    PyObject *value = named_value(s, i, name, parameters);
    if (!value || !connection_check_open(s->owner)) {
      Py_XDECREF(value);
      return -1;
    }
    if (bind_one(s, i, value, name) < 0) return -1;
  }
  return 0;
}

int statement_bind(statement *s, PyObject *parameters) {
  if (LIKELY(PyTuple_CheckExact(parameters))) {
    if (!s->parameters && !PyTuple_GET_SIZE(parameters)) return 0;
    int rc = bind_tuple(s, parameters);
    if (rc) return rc < 0 ? -1 : 0;
  }
  if (PyTuple_CheckExact(parameters) || PyList_CheckExact(parameters) ||
      (!PyDict_Check(parameters) && PySequence_Check(parameters)))
    return bind_sequence(s, parameters);
  if (PyMapping_Check(parameters)) return bind_mapping(s, parameters);
#if PY_AT_LEAST(11)
  RAISE(s->owner->state, EXC_PROGRAMMING, "parameters are of unsupported type");
#else
  PyErr_SetString(PyExc_ValueError, "parameters are of unsupported type");
#endif
  return -1;
}
