/* row.c: sqlite3.Row, a tuple that also knows its columns' names.
 *
 * It holds the row's tuple and the cursor's description, nothing else. Names are looked up by identity first
 * (description names are interned), then without regard to the case of ASCII letters.
 */
#include "py/objects.h"

typedef struct row {
  PyObject_HEAD
  PyObject *data, *description;
} row;

static row *alloc(PyTypeObject *type, PyObject *description, PyObject *data) {
  row *r = (row *)type->tp_alloc(type, 0);
  if (!r) return NULL;
  r->data = Py_NewRef(data);
  r->description = Py_NewRef(description);
  return r;
}

PyObject *row_new(module_state *state, PyObject *description, PyObject *data) {
  return (PyObject *)alloc(state->row_type, description, data);
}

static PyObject *row_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  module_state *state = module_state_of(type);
  if (!state) return NULL;
  if (kwargs && PyDict_GET_SIZE(kwargs) && type == state->row_type) {
    PyErr_SetString(PyExc_TypeError, "Row() takes no keyword arguments");
    return NULL;
  }
  if (arguments_positional("Row", PyTuple_GET_SIZE(args), 2, 2) < 0) return NULL;
  PyObject *u = PyTuple_GET_ITEM(args, 0), *data = PyTuple_GET_ITEM(args, 1);
#if PY_AT_LEAST(10)
  if (!PyObject_TypeCheck(u, state->cursor_type)) {
    arguments_bad("Row", "argument 1", "sqlite3.Cursor", u);
    return NULL;
  }
  if (!PyTuple_Check(data)) {
    arguments_bad("Row", "argument 2", "tuple", data);
    return NULL;
  }
#else
  if (!PyObject_TypeCheck(u, state->cursor_type)) {
    PyErr_SetString(PyExc_TypeError, "instance of cursor required for first argument");
    return NULL;
  }
  if (!PyTuple_Check(data)) {
    PyErr_SetString(PyExc_TypeError, "tuple required for second argument");
    return NULL;
  }
#endif
  PyObject *description = ((cursor *)u)->description;
  return (PyObject *)alloc(type, description ? description : Py_None, data);
}

/* Equal but for the case of ASCII letters. */
static bool same_name(PyObject *a, PyObject *b) {
  if (a == b) return true;
  Py_ssize_t length = PyUnicode_GET_LENGTH(a);
  if (length != PyUnicode_GET_LENGTH(b)) return false;
  int kind_a = PyUnicode_KIND(a), kind_b = PyUnicode_KIND(b);
  const void *data_a = PyUnicode_DATA(a), *data_b = PyUnicode_DATA(b);
  for (Py_ssize_t i = 0; i < length; i++) {
    Py_UCS4 x = PyUnicode_READ(kind_a, data_a, i), y = PyUnicode_READ(kind_b, data_b, i);
    if (x == y) continue;
    if ((x | 0x20) != (y | 0x20) || (x | 0x20) < 'a' || (x | 0x20) > 'z' || x > 'z' || y > 'z') return false;
  }
  return true;
}

static PyObject *by_name(row *r, PyObject *name) {
  Py_ssize_t count = PyTuple_Check(r->description) ? PyTuple_GET_SIZE(r->description) : 0;
  for (int pass = 0; pass < 2; pass++) {
    for (Py_ssize_t i = 0; i < count; i++) {
      PyObject *known = PyTuple_GET_ITEM(PyTuple_GET_ITEM(r->description, i), 0);
      if (pass ? same_name(known, name) : known == name) {
        /* an earlier column of another case hides a later identical one */
        for (Py_ssize_t k = 0; !pass && k < i; k++) {
          if (same_name(PyTuple_GET_ITEM(PyTuple_GET_ITEM(r->description, k), 0), name)) i = k;
        }
        PyObject *value = PyTuple_GetItem(r->data, i);
        return Py_XNewRef(value);
      }
    }
  }
  PyErr_SetString(PyExc_IndexError, "No item with that key");
  return NULL;
}

static PyObject *by_number(row *r, PyObject *key) {
  Py_ssize_t i = PyNumber_AsSsize_t(key, PyExc_IndexError);
  if (i == -1 && PyErr_Occurred()) return NULL;
  if (i < 0) i += PyTuple_GET_SIZE(r->data);
  return Py_XNewRef(PyTuple_GetItem(r->data, i));
}

static PyObject *row_subscript(PyObject *self, PyObject *key) {
  row *r = (row *)self;
  if (PyLong_Check(key)) return by_number(r, key);
  if (PyUnicode_Check(key)) return by_name(r, key);
  if (PySlice_Check(key)) return PyObject_GetItem(r->data, key);
  PyErr_SetString(PyExc_IndexError, "Index must be int or string");
  return NULL;
}

static PyObject *row_item(PyObject *self, Py_ssize_t i) { return Py_XNewRef(PyTuple_GetItem(((row *)self)->data, i)); }

static Py_ssize_t row_length(PyObject *self) { return PyTuple_GET_SIZE(((row *)self)->data); }

static PyObject *row_keys(PyObject *self, PyObject *unused) {
  row *r = (row *)self;
  PyObject *list = PyList_New(0);
  if (!list || !PyTuple_Check(r->description)) return list;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(r->description); i++) {
    if (PyList_Append(list, PyTuple_GET_ITEM(PyTuple_GET_ITEM(r->description, i), 0)) < 0) {
      Py_DECREF(list);
      return NULL;
    }
  }
  return list;
}

static PyObject *row_iter(PyObject *self) { return PyObject_GetIter(((row *)self)->data); }

static Py_hash_t row_hash(PyObject *self) {
  row *r = (row *)self;
  Py_hash_t names = PyObject_Hash(r->description);
  if (names == -1) return -1;
  Py_hash_t values = PyObject_Hash(r->data);
  if (values == -1) return -1;
  Py_hash_t hash = names ^ values;
  return hash == -1 ? -2 : hash;
}

static PyObject *row_compare(PyObject *self, PyObject *other, int operation) {
  module_state *state = module_state_of(Py_TYPE(self));
  if (!state) return NULL;
  if ((operation != Py_EQ && operation != Py_NE) || !PyObject_TypeCheck(other, state->row_type))
    Py_RETURN_NOTIMPLEMENTED;
  row *a = (row *)self, *b = (row *)other;
  int equal = PyObject_RichCompareBool(a->description, b->description, Py_EQ);
  if (equal < 0) return NULL;
  if (!equal) return PyBool_FromLong(operation == Py_NE);
  return PyObject_RichCompare(a->data, b->data, operation);
}

static int row_traverse(PyObject *self, visitproc visit, void *arg) {
  row *r = (row *)self;
#if PY_AT_LEAST(9)
  Py_VISIT(Py_TYPE(self));
#endif
  Py_VISIT(r->data);
  Py_VISIT(r->description);
  return 0;
}

static int row_clear(PyObject *self) {
  row *r = (row *)self;
  Py_CLEAR(r->data);
  Py_CLEAR(r->description);
  return 0;
}

static void row_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  row_clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyMethodDef row_methods[] = {
    {"keys", row_keys, METH_NOARGS, "keys($self, /)\n--\n\nReturns the keys of the row."},
    {NULL},
};

static PyType_Slot row_slots[] = {
    {Py_tp_new, row_tp_new},
    {Py_tp_traverse, row_traverse},
    {Py_tp_clear, row_clear},
    {Py_tp_dealloc, row_dealloc},
    {Py_tp_hash, row_hash},
    {Py_tp_iter, row_iter},
    {Py_tp_richcompare, row_compare},
    {Py_tp_methods, row_methods},
    {Py_mp_length, row_length},
    {Py_mp_subscript, row_subscript},
    {Py_sq_length, row_length},
    {Py_sq_item, row_item},
    {0, NULL},
};
static PyType_Spec row_spec = {
    .name = "sqlite3.Row",
    .basicsize = sizeof(row),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = row_slots,
};

PyTypeObject *row_type_make(PyObject *module) { return module_make_type(module, &row_spec); }
