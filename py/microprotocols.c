/* microprotocols.c: PEP 246 adaption, how an object becomes a value the engine can store.
 *
 * adapt(o, protocol) asks, in this order: the adapter registered for (type(o), protocol), the protocol's
 * __adapt__(o), the object's __conform__(protocol); last the alternative, or "can't adapt".
 */
#include "py/module.h"

int microprotocols_add(module_state *state, PyObject *type, PyObject *protocol, PyObject *adapter) {
  if (!protocol) protocol = (PyObject *)state->protocol_type;
  PyObject *key = PyTuple_Pack(2, type, protocol);
  if (!key) return -1;
  int rc = PyDict_SetItem(state->adapters, key, adapter);
  Py_DECREF(key);
  return rc;
}

/* Ask o.name(argument): 1 answered, 0 has no such method or says None, -1 failed. A TypeError means no. */
static int ask(PyObject *o, PyObject *name, PyObject *argument, PyObject **answer) {
  PyObject *method = PyObject_GetAttr(o, name);
  if (!method) {
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
    PyErr_Clear();
    return 0;
  }
  PyObject *adapted = PyObject_CallOneArg(method, argument);
  Py_DECREF(method);
  if (adapted == Py_None) {
    Py_DECREF(adapted);
    return 0;
  }
  if (adapted) {
    *answer = adapted;
    return 1;
  }
  if (!PyErr_ExceptionMatches(PyExc_TypeError)) return -1;
  PyErr_Clear();
  return 0;
}

PyObject *microprotocols_adapt(module_state *state, PyObject *o, PyObject *protocol, PyObject *alternative) {
  PyObject *key = PyTuple_Pack(2, (PyObject *)Py_TYPE(o), protocol);
  if (!key) return NULL;
  PyObject *adapter = PyDict_GetItemWithError(state->adapters, key);
  Py_XINCREF(adapter);
  Py_DECREF(key);
  if (adapter) {
    PyObject *adapted = PyObject_CallOneArg(adapter, o);
    Py_DECREF(adapter);
    return adapted;
  }
  if (PyErr_Occurred()) return NULL;

  PyObject *answer = NULL;
  int rc = ask(protocol, state->name___adapt__, o, &answer);
  if (!rc) rc = ask(o, state->name___conform__, protocol, &answer);
  if (rc < 0) return NULL;
  if (rc > 0) return answer;
  if (alternative) return Py_NewRef(alternative);
  RAISE(state, EXC_PROGRAMMING, "can't adapt");
  return NULL;
}

/* PrepareProtocol: nothing but a name for "a value the engine can store" */
static int protocol_init(PyObject *self, PyObject *args, PyObject *kwargs) { return 0; }

static int protocol_traverse(PyObject *self, visitproc visit, void *arg) {
#if PY_AT_LEAST(9)
  Py_VISIT(Py_TYPE(self));
#endif
  return 0;
}

static void protocol_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyType_Slot protocol_slots[] = {
    {Py_tp_init, protocol_init},
    {Py_tp_traverse, protocol_traverse},
    {Py_tp_dealloc, protocol_dealloc},
    {Py_tp_doc, "PEP 246 style object adaption protocol type."},
    {0, NULL},
};
static PyType_Spec protocol_spec = {
    .name = "sqlite3.PrepareProtocol",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = protocol_slots,
};

PyTypeObject *protocol_type_make(PyObject *module) { return module_make_type(module, &protocol_spec); }
