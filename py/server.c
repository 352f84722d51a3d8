/* server.c: the wire server as a thread of this process: what heliosdb_sqlite/_server.py stands on.
 *
 * A running server is a capsule. Its threads never touch Python. Whoever drops the capsule stops the server and waits
 * for its end without the GIL; in a forked child the parent's server is left alone (server/server.h).
 */
#include "kv/base/crypt.h"
#include "py/objects.h"
#include "server/server.h"

static const char capsule_name[] = "heliosdb_sqlite.server";

static void drop(PyObject *capsule) {
  server *s = PyCapsule_GetPointer(capsule, capsule_name);
  if (!s) return;
  Py_BEGIN_ALLOW_THREADS
  server_stop(s);
  server_wait(s);
  server_free(s);
  Py_END_ALLOW_THREADS
}

/* Bytes, or a connection whose key is taken. */
static int read_key(module_state *state, PyObject *key, unsigned char bytes[32], server_options *o) {
  Py_buffer view;
  if (PyObject_TypeCheck(key, state->connection_type)) {
    bool has_key = false;
    hdb *db = ((connection *)key)->db;
    if (db && !backend_is_remote(db) && hdb_secret(db, bytes, &has_key, &o->passphrase) && has_key) o->encryption_key = bytes;
    return 0;
  }
  o->encryption_key = bytes;
  if (PyObject_GetBuffer(key, &view, PyBUF_SIMPLE) < 0) return -1;
  bool fits = view.len == 32;
  if (fits) memcpy(bytes, view.buf, 32);
  PyBuffer_Release(&view);
  if (fits) return 0;
  RAISE(state, EXC_PROGRAMMING, "encryption_key must be 32 bytes or 64 hex digits"); /* never the value */
  return -1;
}

/* _server_start(database, host, port, ...) -> (capsule, host, port, user, password, password file, database name, metrics port) */
PyObject *module_server_start(PyObject *module, PyObject *args, PyObject *kwargs) {
  static char *names[] = {"database", "host", "port", "user", "password", "auth", "tls_cert", "tls_key", "password_file",
                          "socket_dir", "max_connections", "statement_timeout_ms", "idle_timeout_ms", "memory_limit_mb", "metrics_port", "branch",
                          "encryption_key", "passphrase", "conflict_policy", "uri", "retention", "mirror", NULL};
  server_options o = {.metrics_port = -1, .quiet = true};
  PyObject *path = NULL, *key = Py_None, *retention = Py_None;
  unsigned char bytes[32];
  int uri = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&zi|$zzzzzzziiiiizOzzpOi", names, PyUnicode_FSConverter, &path, &o.listen,
                                   &o.port, &o.user, &o.password, &o.auth, &o.tls_cert, &o.tls_key, &o.password_file,
                                   &o.socket_dir, &o.max_connections, &o.statement_timeout_ms, &o.idle_timeout_ms,
                                   &o.memory_limit_mb, &o.metrics_port, &o.branch,
                                   &key, &o.passphrase, &o.conflict_policy, &uri, &retention, &o.mirror))
    return NULL;
  o.database = PyBytes_AS_STRING(path);
  o.uri = uri != 0;
  o.has_retention = retention != Py_None;
  if (o.has_retention) o.retention = PyFloat_AsDouble(retention);
  server *s = NULL;
  char *why = NULL;
  if (!PyErr_Occurred() && (key == Py_None || read_key(PyModule_GetState(module), key, bytes, &o) == 0)) {
    Py_BEGIN_ALLOW_THREADS
    s = server_start(&o, &why);
    Py_END_ALLOW_THREADS
    crypt_wipe(bytes, sizeof bytes);
    if (!s) RAISE((module_state *)PyModule_GetState(module), EXC_OPERATIONAL, "%s", why ? why : "out of memory");
  }
  free(why);
  Py_DECREF(path);
  if (!s) return NULL;
  PyObject *capsule = PyCapsule_New(s, capsule_name, drop);
  if (!capsule) {
    server_stop(s);
    server_wait(s);
    server_free(s);
    return NULL;
  }
  return Py_BuildValue("(Nsiszzsi)", capsule, server_host(s), server_port(s), server_user(s), server_password(s),
                       server_password_path(s), server_database(s), server_metrics_port(s));
}

PyObject *module_server_stop(PyObject *module, PyObject *capsule) {
  server *s = PyCapsule_GetPointer(capsule, capsule_name);
  if (!s) return NULL;
  server_stop(s);
  Py_RETURN_NONE;
}

/* _server_wait(capsule, milliseconds) -> has it ended? Signals are the caller's to look at, between short waits. */
PyObject *module_server_wait(PyObject *module, PyObject *args) {
  PyObject *capsule;
  long milliseconds;
  if (!PyArg_ParseTuple(args, "Ol", &capsule, &milliseconds)) return NULL;
  server *s = PyCapsule_GetPointer(capsule, capsule_name);
  if (!s) return NULL;
  bool over;
  Py_BEGIN_ALLOW_THREADS
  over = server_wait_ms(s, milliseconds);
  Py_END_ALLOW_THREADS
  return PyBool_FromLong(over);
}
