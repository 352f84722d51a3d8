/* connection_server.c: a connection that serves its database to others as well (hybrid mode).
 *
 * The server itself is heliosdb_sqlite/_server.py's; the connection holds it and stops it when it is closed.
 */
#include "py/objects.h"

static PyObject *server_function(const char *name) {
  PyObject *module = PyImport_ImportModule("heliosdb_sqlite._server");
  PyObject *function = module ? PyObject_GetAttrString(module, name) : NULL;
  Py_XDECREF(module);
  return function;
}

static int put_text(PyObject *keywords, const char *name, const char *text) {
  if (!text) return 0;
  PyObject *o = PyUnicode_FromString(text);
  int rc = o ? PyDict_SetItemString(keywords, name, o) : -1;
  Py_XDECREF(o);
  return rc;
}

static int put_object(PyObject *keywords, const char *name, PyObject *o) {
  int rc = o ? PyDict_SetItemString(keywords, name, o) : -1;
  Py_XDECREF(o);
  return rc;
}

/* The keywords of start_for(): what this connection was opened with. */
static PyObject *keywords_of(const settings *s) {
  const hdb_settings *e = &s->engine;
  PyObject *k = PyDict_New();
  if (!k || put_text(k, "host", s->host) < 0 || put_object(k, "port", PyLong_FromLong(s->port)) < 0 ||
      put_text(k, "user", s->user) < 0 || put_text(k, "password", s->password) < 0 ||
      put_text(k, "passphrase", e->passphrase) < 0 || put_text(k, "conflict_policy", e->conflict_policy) < 0 ||
      (e->encryption_key && put_object(k, "encryption_key", PyBytes_FromStringAndSize(e->encryption_key, 32)) < 0))
    Py_CLEAR(k);
  return k;
}

static PyObject *start(PyObject *self, PyObject *args, PyObject *keywords) {
  PyObject *function = server_function("start_for");
  Py_ssize_t n = PyTuple_GET_SIZE(args);
  PyObject *all = function ? PyTuple_New(n + 1) : NULL, *server = NULL;
  if (all) {
    PyTuple_SET_ITEM(all, 0, Py_NewRef(self));
    for (Py_ssize_t i = 0; i < n; i++) PyTuple_SET_ITEM(all, i + 1, Py_NewRef(PyTuple_GET_ITEM(args, i)));
    server = PyObject_Call(function, all, keywords);
  }
  Py_XDECREF(all);
  Py_XDECREF(function);
  return server;
}

int connection_serve(connection *c, const settings *s) {
  PyObject *keywords = keywords_of(s), *none = keywords ? PyTuple_New(0) : NULL, *server = NULL;
  if (none) server = start((PyObject *)c, none, keywords);
  Py_XDECREF(keywords);
  Py_XDECREF(none);
  Py_XDECREF(server);
  return server ? 0 : -1;
}

int connection_stop_server(connection *c) {
  PyObject *server = c->server;
  if (!server) return 0;
  c->server = NULL;
  PyObject *answer = PyObject_CallMethod(server, "stop", NULL);
  Py_DECREF(server);
  Py_XDECREF(answer);
  return answer ? 0 : -1;
}

PyObject *connection_get_server(PyObject *self, void *unused) {
  connection *c = (connection *)self;
  if (!c->server) Py_RETURN_NONE;
  return Py_NewRef(c->server);
}

/* start_for() alone sets it. */
PyObject *connection_attach_server(PyObject *module, PyObject *args) {
  module_state *state = PyModule_GetState(module);
  PyObject *c, *server;
  if (!PyArg_ParseTuple(args, "O!O", state->connection_type, &c, &server)) return NULL;
  Py_XSETREF(((connection *)c)->server, Py_NewRef(server));
  Py_RETURN_NONE;
}

PyObject *connection_start_server(PyObject *self, PyObject *args, PyObject *keywords) {
  connection *c = (connection *)self;
  if (!connection_check_thread(c) || !connection_check_open(c) || backend_refuses(c, "start_server")) return NULL;
  return start(self, args, keywords);
}

/* The same, with the port before all others. */
PyObject *connection_switch_to_server(PyObject *self, PyObject *args, PyObject *keywords) {
  connection *c = (connection *)self;
  if (!connection_check_thread(c) || !connection_check_open(c) || backend_refuses(c, "switch_to_server")) return NULL;
  PyObject *all = keywords ? PyDict_Copy(keywords) : PyDict_New(), *port = NULL, *none = PyTuple_New(0), *server = NULL;
  if (all && none && PyArg_UnpackTuple(args, "switch_to_server", 0, 1, &port) &&
      (!port || PyDict_SetItemString(all, "port", port) == 0))
    server = start(self, none, all);
  Py_XDECREF(all);
  Py_XDECREF(none);
  return server;
}

PyObject *connection_database_file(PyObject *self, PyObject *unused) {
  connection *c = (connection *)self;
  if (!connection_check_thread(c) || !connection_check_open(c)) return NULL;
  const char *file = hdb_db_filename(c->db, "main");
  return file ? PyUnicode_DecodeFSDefault(file) : PyUnicode_FromString("");
}
