/* module.c: the extension module heliosdb_sqlite._wire: a capsule with the table that backend.h speaks of. It is a module
 * of its own so that libpq is loaded only by who connects to a server. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "py/wire/calls.h"

/* What travels in the capsule: the table, and where the caller's way to let its GIL go is put. */
static const struct {
  const backend *table;
  void (*set_leave)(void (*f)(void));
} entry = {&wire_backend, link_set_leave};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "_wire", .m_size = -1,
                                        .m_doc = "Connections to a helios-server; use heliosdb_sqlite.connect(heliosdb_mode='server')."};

__attribute__((visibility("default"))) PyMODINIT_FUNC PyInit__wire(void);
PyMODINIT_FUNC PyInit__wire(void) {
  PyObject *module = PyModule_Create(&definition);
  PyObject *capsule = module ? PyCapsule_New((void *)&entry, "heliosdb_sqlite._wire.backend", NULL) : NULL;
  if (!capsule || PyModule_AddObject(module, "backend", capsule) < 0) {
    Py_XDECREF(capsule);
    Py_CLEAR(module);
  }
  return module;
}
