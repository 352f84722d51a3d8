/* module.c: the module _heliosdb itself: its state, its functions, its life.
 *
 * Multi-phase initialisation, heap types, everything in module_state. The exception classes are the standard
 * library's own objects (heliosdb_sqlite/_stdlib.py finds them). The list of living states serves only to
 * find the one of a subclass of ours; it is under the GIL.
 */
#include "py/objects.h"

static module_state *states;

const char *const module_exception_names[EXC_COUNT] = {
    "Warning", "Error", "InterfaceError", "DatabaseError", "InternalError", "OperationalError", "ProgrammingError",
    "IntegrityError", "DataError", "NotSupportedError"};

module_state *module_state_of(PyTypeObject *type) {
  for (module_state *s = states; s; s = s->next) {
    if (type == s->connection_type || type == s->cursor_type || type == s->row_type) return s;
  }
  for (module_state *s = states; s; s = s->next) {
    if (PyType_IsSubtype(type, s->connection_type) || PyType_IsSubtype(type, s->cursor_type) ||
        PyType_IsSubtype(type, s->row_type))
      return s;
  }
  PyErr_SetString(PyExc_SystemError, "heliosdb_sqlite: the module of this type is gone");
  return NULL;
}

PyTypeObject *module_make_type(PyObject *module, PyType_Spec *spec) {
#if PY_AT_LEAST(9)
  return (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
#else
  PyObject *type = PyType_FromSpec(spec);
  if (type && PyDict_SetItemString(((PyTypeObject *)type)->tp_dict, "__heliosdb_module__", module) < 0) Py_CLEAR(type);
  return (PyTypeObject *)type;
#endif
}

static module_state *state_of(PyObject *module) { return PyModule_GetState(module); }

/* ---- functions ---- */

#if PY_AT_LEAST(13)
static int warn_positional(void) {
  return PyErr_WarnEx(PyExc_DeprecationWarning,
                      "Passing more than 1 positional argument to sqlite3.connect() is deprecated. Parameters "
                      "'timeout', 'detect_types', 'isolation_level', 'check_same_thread', 'factory', "
                      "'cached_statements' and 'uri' will become keyword-only parameters in Python 3.15.",
                      1);
}
#endif

/* The factory does the rest, with the arguments as they came. */
static PyObject *module_connect(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  module_state *state = state_of(module);
  PyObject *factory = (PyObject *)state->connection_type;
  Py_ssize_t positional = PyVectorcall_NARGS((size_t)nargs);
#if PY_AT_LEAST(13)
  if (positional > 1 && positional <= 8 && warn_positional() < 0) return NULL;
#endif
  if (positional > 5) factory = args[5];
  for (Py_ssize_t i = 0; kwnames && i < PyTuple_GET_SIZE(kwnames); i++) {
    if (PyUnicode_Compare(PyTuple_GET_ITEM(kwnames, i), state->name_factory) == 0) factory = args[positional + i];
  }
  return PyObject_Vectorcall(factory, args, (size_t)positional, kwnames);
}

static const char *const statement_names[] = {"statement"};
static const arguments_spec complete_spec = {"complete_statement", statement_names, 1, 1, 1, "", 10};

static PyObject *module_complete_statement(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                           PyObject *kwnames) {
  PyObject *v;
  const char *text;
  if (arguments_parse(&complete_spec, args, nargs, kwnames, &v) < 0 ||
      arguments_string("complete_statement", "argument 'statement'", v, &text) < 0)
    return NULL;
  return PyBool_FromLong(hdb_complete(text));
}

#if !PY_AT_LEAST(12)
static const char *const shared_names[] = {"do_enable"};
static const arguments_spec shared_spec = {"enable_shared_cache", shared_names, 1, 1, 1, "", 10};

static PyObject *module_enable_shared_cache(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                            PyObject *kwnames) {
  PyObject *v;
  int on;
  if (arguments_parse(&shared_spec, args, nargs, kwnames, &v) < 0 || arguments_int(v, &on) < 0) return NULL;
  state_of(module)->shared_cache = on != 0;
  Py_RETURN_NONE;
}
#endif

static bool is_base_type(PyObject *type) {
  return type == (PyObject *)&PyLong_Type || type == (PyObject *)&PyFloat_Type ||
         type == (PyObject *)&PyUnicode_Type || type == (PyObject *)&PyByteArray_Type ||
         type == (PyObject *)&PyBytes_Type || type == (PyObject *)&PyBool_Type || type == (PyObject *)Py_TYPE(Py_None);
}

static PyObject *module_register_adapter(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  module_state *state = state_of(module);
  if (arguments_positional("register_adapter", nargs, 2, 2) < 0) return NULL;
  if (is_base_type(args[0])) state->base_type_adapted = true;
  if (microprotocols_add(state, args[0], NULL, args[1]) < 0) return NULL;
  Py_RETURN_NONE;
}

static PyObject *module_register_converter(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  module_state *state = state_of(module);
  if (arguments_positional("register_converter", nargs, 2, 2) < 0) return NULL;
  if (!PyUnicode_Check(args[0])) {
    arguments_bad("register_converter", "argument 1", "str", args[0]);
    return NULL;
  }
  PyObject *name = PyObject_CallMethodNoArgs(args[0], state->name_upper);
  if (!name) return NULL;
  int rc = PyDict_SetItem(state->converters, name, args[1]);
  Py_DECREF(name);
  if (rc < 0) return NULL;
  Py_RETURN_NONE;
}

static PyObject *module_enable_callback_tracebacks(PyObject *module, PyObject *enable) {
  int on;
#if PY_AT_LEAST(12)
  on = PyObject_IsTrue(enable);
  if (on < 0) return NULL;
  if (PyUnicode_Check(enable)) {
    PyErr_Format(PyExc_TypeError, "'%s' object cannot be interpreted as an integer", Py_TYPE(enable)->tp_name);
    return NULL;
  }
#else
  if (arguments_int(enable, &on) < 0) return NULL;
#endif
  state_of(module)->callback_tracebacks = on != 0;
  Py_RETURN_NONE;
}

static PyObject *module_adapt(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  module_state *state = state_of(module);
  if (arguments_positional("adapt", nargs, 1, 3) < 0) return NULL;
  nargs = PyVectorcall_NARGS((size_t)nargs);
  return microprotocols_adapt(state, args[0], nargs > 1 ? args[1] : (PyObject *)state->protocol_type,
                              nargs > 2 ? args[2] : NULL);
}

static PyObject *module_exceptions(PyObject *module, PyObject *unused) {
  PyObject *tuple = PyTuple_New(EXC_COUNT);
  for (int i = 0; tuple && i < EXC_COUNT; i++) PyTuple_SET_ITEM(tuple, i, Py_NewRef(state_of(module)->exceptions[i]));
  return tuple;
}

/* The file of the stock module, None: it is part of the interpreter. */
static PyObject *module_beside_sqlite(PyObject *module, PyObject *name) {
  PyObject *path = NULL;
  if (name != Py_None && !PyUnicode_FSConverter(name, &path)) return NULL;
  hdb_beside_sqlite(path ? PyBytes_AS_STRING(path) : NULL);
  Py_XDECREF(path);
  Py_RETURN_NONE;
}

static PyObject *module_at_exit(PyObject *module, PyObject *unused) {
  connection_checkpoint_all(state_of(module));
  Py_BEGIN_ALLOW_THREADS
  hdb_close_lingering();
  Py_END_ALLOW_THREADS
  Py_RETURN_NONE;
}

#if PY_AT_LEAST(12)
#define CONNECT_SIGNATURE                                                                                              \
  "connect($module, /, database, timeout=5.0, detect_types=0,\n        isolation_level='', check_same_thread=True,\n" \
  "        factory=ConnectionType, cached_statements=128, uri=False, *,\n"                                             \
  "        autocommit=sqlite3.LEGACY_TRANSACTION_CONTROL)\n--\n\n"
#elif PY_AT_LEAST(11)
#define CONNECT_SIGNATURE                                                                                              \
  "connect($module, /, database, timeout=5.0, detect_types=0,\n        isolation_level='', check_same_thread=True,\n" \
  "        factory=ConnectionType, cached_statements=128, uri=False)\n--\n\n"
#else
#define CONNECT_SIGNATURE                                                                                              \
  "connect(database[, timeout, detect_types, isolation_level,\n        check_same_thread, factory, "                  \
  "cached_statements, uri])\n\n"
#endif

static PyMethodDef module_methods[] = {
    {"connect", (PyCFunction)(void (*)(void))module_connect, METH_FASTCALL | METH_KEYWORDS,
     CONNECT_SIGNATURE
     "Open a connection to the database file database; ':memory:' is one in memory.\n\n"
     "Beyond sqlite3's keywords: heliosdb_mode (mode), server_host, server_port, server_user,\n"
     "server_password, server_database, dsn, branch, as_of, encryption_key, passphrase,\n"
     "conflict_policy, retention, mirror."},
    {"complete_statement", (PyCFunction)(void (*)(void))module_complete_statement, METH_FASTCALL | METH_KEYWORDS,
     "complete_statement($module, /, statement)\n--\n\nChecks if a string contains a complete SQL statement."},
#if !PY_AT_LEAST(12)
    {"enable_shared_cache", (PyCFunction)(void (*)(void))module_enable_shared_cache, METH_FASTCALL | METH_KEYWORDS,
     "enable_shared_cache($module, /, do_enable)\n--\n\nEnable or disable shared cache mode for new connections."},
#endif
    {"register_adapter", (PyCFunction)(void (*)(void))module_register_adapter, METH_FASTCALL,
     "register_adapter($module, type, adapter, /)\n--\n\nRegister a function to adapt Python objects to SQLite "
     "values."},
    {"register_converter", (PyCFunction)(void (*)(void))module_register_converter, METH_FASTCALL,
     "register_converter($module, typename, converter, /)\n--\n\nRegister a function to convert SQLite values to "
     "Python objects."},
    {"enable_callback_tracebacks", module_enable_callback_tracebacks, METH_O,
     "enable_callback_tracebacks($module, enable, /)\n--\n\nEnable or disable callback functions throwing errors to "
     "stderr."},
    {"adapt", (PyCFunction)(void (*)(void))module_adapt, METH_FASTCALL,
     "adapt($module, obj, proto=PrepareProtocolType, alt=<unrepresentable>, /)\n--\n\nAdapt given object to given "
     "protocol."},
    {"_server_start", (PyCFunction)(void (*)(void))module_server_start, METH_VARARGS | METH_KEYWORDS, NULL},
    {"_server_stop", module_server_stop, METH_O, NULL},
    {"_server_wait", module_server_wait, METH_VARARGS, NULL},
    {"_attach_server", connection_attach_server, METH_VARARGS, NULL},
    {"_at_exit", module_at_exit, METH_NOARGS, NULL},
    {"_beside_sqlite", module_beside_sqlite, METH_O, NULL},
    {"_exceptions", module_exceptions, METH_NOARGS, NULL},
    {NULL},
};

/* ---- life ---- */

static int add_exceptions(PyObject *module, module_state *state) {
  PyObject *finder = PyImport_ImportModule("heliosdb_sqlite._stdlib");
  PyObject *classes = finder ? PyObject_CallMethod(finder, "exceptions", NULL) : NULL;
  Py_XDECREF(finder);
  if (!classes) return -1;
  int rc = 0;
  for (int i = 0; i < EXC_COUNT && rc == 0; i++) {
    PyObject *one = PyMapping_GetItemString(classes, module_exception_names[i]);
    if (!one) {
      rc = -1;
    } else {
      state->exceptions[i] = one;
      Py_INCREF(one);
      rc = PyModule_AddObject(module, module_exception_names[i], one);
    }
  }
  Py_DECREF(classes);
  return rc;
}

static int add_type(PyObject *module, const char *name, PyTypeObject *type, PyTypeObject **slot, bool visible) {
  if (!type) return -1;
  *slot = type;
  if (!visible) return 0;
  Py_INCREF(type);
  return PyModule_AddObject(module, name, (PyObject *)type);
}

static int add_types(PyObject *module, module_state *state) {
  if (add_type(module, "Connection", connection_type_make(module), &state->connection_type, true) < 0 ||
      add_type(module, "Cursor", cursor_type_make(module), &state->cursor_type, true) < 0 ||
      add_type(module, "Row", row_type_make(module), &state->row_type, true) < 0 ||
      add_type(module, "PrepareProtocol", protocol_type_make(module), &state->protocol_type, true) < 0 ||
      add_type(module, "Statement", statement_type_make(module), &state->statement_type, false) < 0)
    return -1;
  return add_type(module, "Blob", blob_type_make(module), &state->blob_type, PY_AT_LEAST(11));
}

static int add_object(PyObject *module, const char *name, PyObject *o) {
  if (!o) return -1;
  if (PyModule_AddObject(module, name, o) == 0) return 0;
  Py_DECREF(o);
  return -1;
}

static int add_values(PyObject *module, module_state *state) {
#define X(n)                                                                                                           \
  if (!(state->name_##n = PyUnicode_InternFromString(#n))) return -1;
  MODULE_NAMES(X)
#undef X
  state->adapters = PyDict_New();
  state->converters = PyDict_New();
  state->empty_tuple = PyTuple_New(0);
  if (!state->adapters || !state->converters || !state->empty_tuple) return -1;
  if (add_object(module, "adapters", Py_NewRef(state->adapters)) < 0 ||
      add_object(module, "converters", Py_NewRef(state->converters)) < 0 ||
      add_object(module, "sqlite_version", PyUnicode_FromString(hdb_libversion())) < 0 ||
      add_object(module, "heliosdb_version", PyUnicode_FromString(hdb_product_version())) < 0 ||
      add_object(module, PY_AT_LEAST(12) ? "_deprecated_version" : "version", PyUnicode_FromString("2.6.0")) < 0)
    return -1;
#if !PY_AT_LEAST(10)
  Py_INCREF(&PyUnicode_Type);
  if (add_object(module, "OptimizedUnicode", (PyObject *)&PyUnicode_Type) < 0) return -1;
#endif
  return module_add_constants(module);
}

static int module_exec(PyObject *module) {
  module_state *state = state_of(module);
  memset(state, 0, sizeof *state);
  if (add_values(module, state) < 0 || add_exceptions(module, state) < 0 || add_types(module, state) < 0) return -1;
  state->next = states;
  states = state;
  return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
  module_state *state = state_of(module);
  if (!state) return 0;
  for (int i = 0; i < EXC_COUNT; i++) Py_VISIT(state->exceptions[i]);
  Py_VISIT(state->connection_type);
  Py_VISIT(state->cursor_type);
  Py_VISIT(state->row_type);
  Py_VISIT(state->blob_type);
  Py_VISIT(state->statement_type);
  Py_VISIT(state->protocol_type);
  Py_VISIT(state->adapters);
  Py_VISIT(state->converters);
  return 0;
}

static int module_clear(PyObject *module) {
  module_state *state = state_of(module);
  if (!state) return 0;
  for (int i = 0; i < EXC_COUNT; i++) Py_CLEAR(state->exceptions[i]);
  Py_CLEAR(state->connection_type);
  Py_CLEAR(state->cursor_type);
  Py_CLEAR(state->row_type);
  Py_CLEAR(state->blob_type);
  Py_CLEAR(state->statement_type);
  Py_CLEAR(state->protocol_type);
  Py_CLEAR(state->adapters);
  Py_CLEAR(state->converters);
  Py_CLEAR(state->empty_tuple);
#define X(n) Py_CLEAR(state->name_##n);
  MODULE_NAMES(X)
#undef X
  return 0;
}

static void module_free(void *module) {
  module_state *state = state_of(module);
  for (module_state **p = &states; state && *p; p = &(*p)->next) {
    if (*p == state) {
      *p = state->next;
      break;
    }
  }
  module_clear(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};
static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_heliosdb",
    .m_doc = "HeliosDB Nano's extension module; use heliosdb_sqlite.",
    .m_size = sizeof(module_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

__attribute__((visibility("default"))) PyMODINIT_FUNC PyInit__heliosdb(void);
PyMODINIT_FUNC PyInit__heliosdb(void) { return PyModuleDef_Init(&module_definition); }
