/* backend.c: the other side of backend.h's table, loaded when the first connection to a server is made. */
#include "py/objects.h"

const backend *backend_remote;

static void leave_now(void) { leave_before_wait(); }

typedef struct wire_entry { /* what heliosdb_sqlite._wire.backend holds */
  const backend *table;
  void (*set_leave)(void (*f)(void));
} wire_entry;

static int load(module_state *state) {
  if (backend_remote) return 0;
  PyObject *module = PyImport_ImportModule("heliosdb_sqlite._wire");
  PyObject *capsule = module ? PyObject_GetAttrString(module, "backend") : NULL;
  const wire_entry *entry = capsule ? PyCapsule_GetPointer(capsule, "heliosdb_sqlite._wire.backend") : NULL;
  Py_XDECREF(capsule);
  Py_XDECREF(module); /* sys.modules keeps it */
  if (!entry) {
    if (!PyErr_ExceptionMatches(PyExc_ImportError)) return -1;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    RAISE(state, EXC_NOT_SUPPORTED, "heliosdb_mode='server' needs libpq: %S", value ? value : Py_None);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return -1;
  }
  entry->set_leave(leave_now);
  backend_remote = entry->table;
  return 0;
}

/* app.db, of a path */
static void stem_of(const char *path, char *out, size_t size) {
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
  PyOS_snprintf(out, size, "%.*s", (int)(dot && dot > name ? dot - name : (Py_ssize_t)strlen(name)), name);
}

/* Connection._again(): the keywords that connect to the same server; None: this process is the server of it. */
PyObject *connection_again(PyObject *self, PyObject *unused) {
  connection *c = (connection *)self;
  if (!c->again) Py_RETURN_NONE;
  return PyDict_Copy(c->again);
}

static int put(PyObject *d, const char *name, PyObject *o) {
  int rc = o ? PyDict_SetItemString(d, name, o) : -1;
  Py_XDECREF(o);
  return rc;
}
static int put_text(PyObject *d, const char *name, const char *text) {
  return text ? put(d, name, PyUnicode_FromString(text)) : 0;
}

static int remember(connection *c, const char *path, const settings *s) {
  PyObject *d = PyDict_New();
  if (!d || put(d, "database", PyUnicode_DecodeFSDefault(path)) < 0 || put_text(d, "heliosdb_mode", "server") < 0 ||
      put_text(d, "server_host", s->host) < 0 || put_text(d, "server_user", s->user) < 0 ||
      put_text(d, "server_password", s->password) < 0 || put_text(d, "server_database", s->database) < 0 ||
      put_text(d, "dsn", s->dsn) < 0 || put(d, "server_port", PyLong_FromLong(s->port)) < 0) {
    Py_XDECREF(d);
    return -1;
  }
  Py_XSETREF(c->again, d);
  return 0;
}

int backend_connect(connection *c, const char *path, double timeout, const settings *s) {
  char stem[300];
  if (load(c->state) < 0 || remember(c, path, s) < 0) return -1;
  stem_of(path, stem, sizeof stem);
  backend_address a = {.host = s->host, .user = s->user, .password = s->password, .dsn = s->dsn, .port = s->port,
                       .branch = s->engine.branch, .timeout = timeout};
  a.database = s->database ? s->database : s->dsn ? NULL : *stem ? stem : s->user;
  hdb *db = NULL;
  int rc;
  Py_BEGIN_ALLOW_THREADS
  rc = backend_remote->open(&a, &db);
  Py_END_ALLOW_THREADS
  if (rc == HDB_OK) {
    c->db = db;
    LIST_ADD(c->state->connections, c);
    return 0;
  }
  if (db) errors_raise(c->state, db, rc);
  else PyErr_NoMemory();
  if (db) hdb_close(db);
  return -1;
}

bool backend_refuses(connection *c, const char *what) {
  if (LIKELY(!backend_is_remote(c->db))) return false;
  RAISE(c->state, EXC_NOT_SUPPORTED, "%s() is not supported with heliosdb_mode='server'", what);
  return true;
}

/* Connection._save(fd, schema): the server's database as an SQLite file, for backup(). */
PyObject *connection_save(PyObject *self, PyObject *args) {
  connection *c = (connection *)self;
  int fd, rc;
  const char *schema;
  if (!PyArg_ParseTuple(args, "is", &fd, &schema) || !connection_check_thread(c) || !connection_check_open(c)) return NULL;
  if (!backend_is_remote(c->db)) {
    RAISE(c->state, EXC_PROGRAMMING, "this is no connection to a server");
    return NULL;
  }
  turn_take(c);
  Py_BEGIN_ALLOW_THREADS
  rc = backend_remote->save(c->db, schema, fd);
  Py_END_ALLOW_THREADS
  if (rc != HDB_OK) errors_raise(c->state, c->db, rc);
  turn_release(c);
  if (rc != HDB_OK) return NULL;
  Py_RETURN_NONE;
}
