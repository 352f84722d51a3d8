/* encryption.c: other keys for a database. Keys are wiped from the stack when they were handed on, and never shown. */
#include "kv/base/crypt.h"
#include "py/callbacks.h"
#include "py/objects.h"

typedef struct secret {
  unsigned char key[CRYPT_KEY];
  const void *given; /* key, or NULL */
  const char *passphrase;
} secret;

static const char *const secret_names[] = {"new_key", "passphrase"};
static const arguments_spec rekey_spec = {"rekey", secret_names, 2, 1, 0, "positional ", 10};
static const arguments_spec convert_spec = {"_convert", secret_names, 2, 1, 0, "positional ", 10};

static int read_secret(module_state *state, const arguments_spec *spec, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, secret *out) {
  PyObject *v[2] = {NULL, NULL};
  out->given = NULL, out->passphrase = NULL;
  if (arguments_parse(spec, args, nargs, kwnames, v) < 0) return -1;
  PyObject *key = v[0] == Py_None ? NULL : v[0], *phrase = v[1] == Py_None ? NULL : v[1];
  if (key && phrase) {
    RAISE(state, EXC_PROGRAMMING, "a key and a passphrase cannot be given together");
    return -1;
  }
  if (phrase) return arguments_string(spec->function, "argument 'passphrase'", phrase, &out->passphrase);
  if (!key) return 0;
  out->given = out->key;
  return settings_key(state, key, "the key", out->key);
}

static PyObject *run(PyObject *self, const arguments_spec *spec, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                     int (*change)(hdb *db, const void *key, const char *passphrase), bool needed) {
  connection *c = (connection *)self;
  secret s;
  module_state *state = module_state_of(Py_TYPE(self)); /* before __init__ the connection has none */
  if (!state || read_secret(state, spec, args, nargs, kwnames, &s) < 0) return NULL;
  if (needed && !s.given && !s.passphrase) {
    PyErr_SetString(PyExc_TypeError, "rekey() needs a key or a passphrase");
    return NULL;
  }
  if (!callback_begin_local(c, spec->function)) {
    crypt_wipe(&s, sizeof s);
    return NULL;
  }
  int rc;
  Py_BEGIN_ALLOW_THREADS
  rc = change(c->db, s.given, s.passphrase);
  Py_END_ALLOW_THREADS
  crypt_wipe(&s, sizeof s);
  if (rc != HDB_OK) errors_raise(c->state, c->db, rc);
  callback_end(c);
  if (rc != HDB_OK) return NULL;
  Py_RETURN_NONE;
}

PyObject *connection_rekey(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  return run(self, &rekey_spec, args, nargs, kwnames, hdb_rekey, true);
}

/* Encrypts or, without a key, decrypts in place; the connection is then good for close() only. */
PyObject *connection_convert(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  return run(self, &convert_spec, args, nargs, kwnames, hdb_convert, false);
}

/* With history and branches, under the same key. */
PyObject *connection_copy(PyObject *self, PyObject *path) {
  connection *c = (connection *)self;
  PyObject *bytes;
  int rc;
  if (!PyUnicode_FSConverter(path, &bytes)) return NULL;
  if (!callback_begin_local(c, "copy")) {
    Py_DECREF(bytes);
    return NULL;
  }
  Py_BEGIN_ALLOW_THREADS
  rc = hdb_copy(c->db, PyBytes_AS_STRING(bytes));
  Py_END_ALLOW_THREADS
  Py_DECREF(bytes);
  if (rc != HDB_OK) errors_raise(c->state, c->db, rc);
  callback_end(c);
  if (rc != HDB_OK) return NULL;
  Py_RETURN_NONE;
}
