/* settings.c: the keywords of connect() that SQLite has not.
 *
 * Every value is checked, none is ignored: a value that is no value is a ProgrammingError or TypeError, one
 * whose feature is not there yet a NotSupportedError. Keys are copied into the settings, which the caller wipes.
 */
#include <math.h>

#include "kv/base/crypt.h"
#include "py/objects.h"

enum {
  SET_HELIOSDB_MODE, SET_MODE, SET_SERVER_HOST, SET_SERVER_PORT, SET_SERVER_USER, SET_SERVER_PASSWORD,
  SET_SERVER_DATABASE, SET_DSN, SET_BRANCH, SET_AS_OF, SET_ENCRYPTION_KEY, SET_PASSPHRASE, SET_CONFLICT_POLICY,
  SET_RETENTION, SET_MIRROR
};
const char *const settings_names[SETTINGS_COUNT] = {
    "heliosdb_mode", "mode", "server_host", "server_port", "server_user", "server_password", "server_database",
    "dsn", "branch", "as_of", "encryption_key", "passphrase", "conflict_policy", "retention", "mirror"};

static int refuse(module_state *state, int which, PyObject *value) {
  RAISE(state, EXC_PROGRAMMING, "invalid value for %s: %R", settings_names[which], value);
  return -1;
}

static int text_of(int which, PyObject *value, const char **out) {
  char what[40];
  PyOS_snprintf(what, sizeof what, "argument '%s'", settings_names[which]);
  return arguments_string("connect", what, value, out);
}

static int one_of(const char *text, const char *const *choices) {
  for (int i = 0; choices[i]; i++) {
    if (!strcmp(text, choices[i])) return i;
  }
  return -1;
}

static int read_mode(module_state *state, PyObject **v, settings *out) {
  static const char *const modes[] = {"embedded", "hybrid", "server", "daemon", NULL};
  int chosen[2] = {0, 0};
  for (int i = SET_HELIOSDB_MODE; i <= SET_MODE; i++) {
    const char *text;
    if (!v[i]) continue;
    if (text_of(i, v[i], &text) < 0) return -1;
    chosen[i] = one_of(text, modes);
    if (chosen[i] < 0) return refuse(state, i, v[i]);
  }
  if (v[SET_HELIOSDB_MODE] && v[SET_MODE] && chosen[0] != chosen[1]) {
    RAISE(state, EXC_PROGRAMMING, "heliosdb_mode and mode differ");
    return -1;
  }
  for (int i = SET_HELIOSDB_MODE; i <= SET_MODE; i++) {
    if (chosen[i]) out->mode = chosen[i] > MODE_SERVER ? MODE_SERVER : chosen[i];
  }
  return 0;
}

/* A word of server mode, or of hybrid as well, where it has no meaning. */
static int stray(module_state *state, int which) {
  RAISE(state, EXC_PROGRAMMING, "%s has no meaning in this heliosdb_mode", settings_names[which]);
  return -1;
}

/* What a server is asked for or listens on. */
static int read_server(module_state *state, PyObject **v, settings *out) {
  const struct {
    int which;
    const char *standard;
    const char **to;
    bool server_only;
  } texts[] = {{SET_SERVER_HOST, "127.0.0.1", &out->host, false}, {SET_SERVER_USER, "helios", &out->user, false},
               {SET_SERVER_PASSWORD, NULL, &out->password, false}, {SET_SERVER_DATABASE, NULL, &out->database, true},
               {SET_DSN, NULL, &out->dsn, true}};
  out->port = 5432;
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    PyObject *o = v[texts[i].which];
    *texts[i].to = texts[i].standard;
    if (!o || o == Py_None) continue;
    if (text_of(texts[i].which, o, texts[i].to) < 0) return -1;
    bool usual = texts[i].standard && !strcmp(*texts[i].to, texts[i].standard);
    if (!usual && (out->mode == MODE_EMBEDDED || (out->mode == MODE_HYBRID && texts[i].server_only)))
      return stray(state, texts[i].which);
  }
  if (!v[SET_SERVER_PORT]) return 0;
  if (arguments_int(v[SET_SERVER_PORT], &out->port) < 0) return -1;
  if (out->port < 0 || out->port > 65535) return refuse(state, SET_SERVER_PORT, v[SET_SERVER_PORT]);
  if (out->mode == MODE_EMBEDDED && out->port != 5432) return stray(state, SET_SERVER_PORT);
  return 0;
}

/* Text as it is; a number is unix seconds; a datetime is text in UTC. */
static int read_as_of(module_state *state, PyObject *o, settings *out) {
  if (!o || o == Py_None) return 0;
  if (PyUnicode_Check(o)) return text_of(SET_AS_OF, o, &out->engine.as_of);
  PyObject *text;
  if (PyBool_Check(o)) {
    return refuse(state, SET_AS_OF, o);
  } else if (PyLong_Check(o) || PyFloat_Check(o)) {
    text = PyObject_Repr(o);
  } else {
    PyObject *package = PyImport_ImportModule("heliosdb_sqlite._times");
    text = package ? PyObject_CallMethod(package, "as_text", "O", o) : NULL;
    Py_XDECREF(package);
  }
  const char *p = text && PyUnicode_Check(text) ? PyUnicode_AsUTF8(text) : NULL;
  int rc = -1;
  if (p && strlen(p) < sizeof out->as_of) {
    memcpy(out->as_of, p, strlen(p) + 1);
    out->engine.as_of = out->as_of;
    rc = 0;
  } else if (!PyErr_Occurred()) {
    rc = refuse(state, SET_AS_OF, o);
  }
  Py_XDECREF(text);
  return rc;
}

static int bad_key(module_state *state, const char *what) {
  RAISE(state, EXC_PROGRAMMING, "%s must be 32 bytes or 64 hex digits", what); /* never the value */
  return -1;
}

int settings_key(module_state *state, PyObject *o, const char *what, unsigned char key[32]) {
  if (PyUnicode_Check(o)) {
    Py_ssize_t length;
    const char *text = PyUnicode_AsUTF8AndSize(o, &length);
    if (!text) return -1;
    return crypt_key_from_hex(text, (size_t)length, key) ? 0 : bad_key(state, what);
  }
  Py_buffer view;
  if (PyObject_GetBuffer(o, &view, PyBUF_SIMPLE) < 0) return -1;
  bool fits = view.len == 32;
  if (fits) memcpy(key, view.buf, 32);
  PyBuffer_Release(&view);
  return fits ? 0 : bad_key(state, what);
}

static int read_key(module_state *state, PyObject *o, settings *out) {
  out->engine.encryption_key = out->key;
  return settings_key(state, o, "encryption_key", out->key);
}

static int read_secrets(module_state *state, const char *filename, PyObject **v, settings *out) {
  PyObject *key = v[SET_ENCRYPTION_KEY] == Py_None ? NULL : v[SET_ENCRYPTION_KEY];
  PyObject *phrase = v[SET_PASSPHRASE] == Py_None ? NULL : v[SET_PASSPHRASE];
  if (key && phrase) {
    RAISE(state, EXC_PROGRAMMING, "encryption_key and passphrase cannot be given together");
    return -1;
  }
  if (key && PyObject_TypeCheck(key, state->connection_type)) { /* a branch's connection has its parent's key */
    out->engine.key_of = ((connection *)key)->db;
    return 0;
  }
  if (key) return read_key(state, key, out);
  if (phrase) return text_of(SET_PASSPHRASE, phrase, &out->engine.passphrase);
  const char *stored = out->mode == MODE_SERVER ? NULL : getenv("HELIOSDB_ENCRYPTION_KEY");
  if (!stored || !*stored || !*filename || !strcmp(filename, ":memory:")) return 0;
  if (!crypt_key_from_hex(stored, strlen(stored), out->key)) return bad_key(state, "HELIOSDB_ENCRYPTION_KEY");
  out->engine.encryption_key = out->key;
  return 0;
}

static int read_retention(module_state *state, PyObject *o, settings *out) {
  if (!o || o == Py_None) return 0;
  double seconds = PyFloat_AsDouble(o);
  if (seconds == -1.0 && PyErr_Occurred()) return -1;
  if (isnan(seconds) || seconds < 0 || PyBool_Check(o)) return refuse(state, SET_RETENTION, o);
  out->engine.retention = seconds;
  return 0;
}

static int read_mirror(module_state *state, PyObject *o, settings *out) {
  if (!o || o == Py_None) return 0;
  if (!PyBool_Check(o)) return refuse(state, SET_MIRROR, o);
  out->engine.mirror = o == Py_True;
  return 0;
}

static int read_policy(module_state *state, PyObject *o, settings *out) {
  static const char *const policies[] = {"last_commit_wins", "first_commit_wins", "serializable", NULL};
  const char *text;
  if (!o) return 0;
  if (text_of(SET_CONFLICT_POLICY, o, &text) < 0) return -1;
  int i = one_of(text, policies);
  if (i < 0) return refuse(state, SET_CONFLICT_POLICY, o);
  if (i) out->engine.conflict_policy = policies[i];
  return 0;
}

static int read_branch(module_state *state, PyObject *o, settings *out) {
  const char *text;
  if (!o) return 0;
  if (text_of(SET_BRANCH, o, &text) < 0) return -1;
  if (!*text) return refuse(state, SET_BRANCH, o);
  if (strcmp(text, "main")) out->engine.branch = text;
  return 0;
}

/* How a server opens its database is its own matter. */
static int read_for_server(module_state *state, PyObject **v, settings *out) {
  static const int theirs[] = {SET_AS_OF, SET_ENCRYPTION_KEY, SET_PASSPHRASE, SET_RETENTION, SET_MIRROR};
  for (size_t i = 0; i < sizeof theirs / sizeof theirs[0]; i++)
    if (v[theirs[i]] && v[theirs[i]] != Py_None) return stray(state, theirs[i]);
  return out->engine.conflict_policy ? stray(state, SET_CONFLICT_POLICY) : 0;
}

int settings_read(module_state *state, const char *filename, PyObject **v, settings *out) {
  out->engine.retention = NAN;
  out->engine.mirror = -1;
  if (read_mode(state, v, out) < 0 || read_server(state, v, out) < 0 || read_branch(state, v[SET_BRANCH], out) < 0 ||
      read_as_of(state, v[SET_AS_OF], out) < 0 || read_secrets(state, filename, v, out) < 0 ||
      read_policy(state, v[SET_CONFLICT_POLICY], out) < 0 || read_retention(state, v[SET_RETENTION], out) < 0)
    return -1;
  if (out->mode == MODE_SERVER && read_for_server(state, v, out) < 0) return -1;
  return read_mirror(state, v[SET_MIRROR], out);
}
