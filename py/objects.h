/* objects.h: the Python objects of this module and what they call of each other.
 *
 * Who holds whom: a cursor holds its connection and the statement it runs; a connection's cache holds
 * statements; cursors, statements and blobs hang in lists of their connection (not counted), so that close()
 * reaches all of them. A statement or blob whose connection was closed has a NULL handle.
 *
 * The turn. A connection may be used from any number of threads at once. Every method takes the connection's
 * turn, keeps it while the GIL is given up during engine work, and gives it up when it returns; the owner may
 * take it again (callbacks). Taking a free turn is three stores under the GIL. Code that calls into the
 * user's Python (iterators, adapters, converters, factories) pauses the turn around the call, so that a thread
 * that waits for another one there cannot deadlock; afterwards it must ask again whether the connection is
 * open. interrupt() needs no turn.
 */
#ifndef HDB_PY_OBJECTS_H
#define HDB_PY_OBJECTS_H

#include <pthread.h>

#include "kv/base/leave.h"
#include "py/module.h"

typedef struct connection connection;
typedef struct cursor cursor;
typedef struct statement statement;
typedef struct blob blob;

#if PY_AT_LEAST(12)
enum { AUTOCOMMIT_LEGACY = -1, AUTOCOMMIT_OFF = 0, AUTOCOMMIT_ON = 1 };
#endif

/* A Python callable registered with the engine. */
typedef struct callback {
  PyObject *callable;
  module_state *state;
  connection *owner; /* not counted; NULL where it is not needed */
} callback;

typedef struct turn {
  unsigned long owner;
  int depth, waiting, wakes;
  int process;           /* whose turns these are: a forked child starts with a free turn */
  pthread_mutex_t mutex; /* guards wakes; all else is under the GIL */
  pthread_cond_t wake;
} turn;

/* Statements by SQL text, least recently used thrown out first. */
typedef struct cache {
  statement **buckets;
  size_t bucket_count;
  int count, capacity;
  int64_t text_bytes;
  statement *newest, *oldest;
} cache;

struct connection {
  PyObject_HEAD
  hdb *db; /* NULL: closed or never opened */
  connection *next, *previous; /* of the open ones (module_state.connections) */
  module_state *state;
  turn turn;
  bool initialized, check_same_thread, closing;
  unsigned long thread;
  int detect_types;
  const char *begin; /* "BEGIN ..." of the legacy transaction control, NULL for isolation_level None */
  PyObject *isolation_level;
#if PY_AT_LEAST(12)
  int autocommit;
#endif
  cache cache;
  statement *begin_statement, *commit_statement;
  cursor *cursors;
  statement *statements;
  blob *blobs;
  PyObject *row_factory, *text_factory;
  callback *trace, *progress, *authorizer;
  PyObject *again;  /* server mode: connect()'s keywords, NULL otherwise */
  PyObject *server; /* heliosdb_sqlite.Server that ends with this connection, NULL: none */
};

struct statement {
  PyObject_HEAD
  hdb_stmt *handle;
  connection *owner; /* not counted; NULL once closed */
  statement *next, *previous;
  PyObject *sql; /* the exact str, NULL when not cached by text */
  Py_hash_t hash;
  int64_t text_bytes;
  statement *bucket_next, *newer, *older; /* in the cache, which holds one reference */
  bool cached, in_use, is_dml, readonly;
  int parameters;
  unsigned described;     /* hdb_stmt_compiled of `description` */
  uint16_t *vectors;      /* VECTOR(n) columns: n each, 0 for others; NULL: none. As of `described` */
  int vectors_n;
  PyObject *description;  /* DB-API's, made once; NULL: not yet */
  PyObject *bound;        /* the tuple whose bytes are bound (hdb_bind_all), while the statement may read them */
};

struct cursor {
  PyObject_HEAD
  connection *connection;
  cursor *next, *previous;
  statement *statement;
  PyObject *description, *row_factory, *converters;
  PyObject *next_row; /* Python < 3.11 converts one row ahead */
  long rowcount;
  int arraysize;
  int64_t lastrowid;
  bool has_lastrowid, initialized, closed, locked, reset;
  PyObject *weakrefs;
};

struct blob {
  PyObject_HEAD
  connection *connection;
  hdb_blob *handle;
  blob *next, *previous;
  int offset;
  PyObject *weakrefs;
};

/* The GIL while the engine works. Most calls take a microsecond, giving the GIL up and taking it back a tenth of
 * that: so it is given up by the engine itself, through kv/base/leave.h, before it waits, touches files or goes
 * through many rows. Loops over many short calls let others in now and then (gil_breathe). */
typedef struct gil {
  PyThreadState *saved; /* NULL: still ours */
  leave former;
} gil;
void gil_give_up(void *g);
static inline void gil_lend(gil *g) {
  g->saved = NULL;
  g->former = leave_register(gil_give_up, g);
}
static inline void gil_take_back(gil *g) {
  leave_restore(g->former);
  if (g->saved) PyEval_RestoreThread(g->saved);
}
static inline void gil_breathe(unsigned count) {
  if (LIKELY(count % 128)) return;
  Py_BEGIN_ALLOW_THREADS
  Py_END_ALLOW_THREADS
}

/* Push an object on its connection's list / take it out again. */
#define LIST_ADD(head, o)                                                                                              \
  do {                                                                                                                 \
    (o)->previous = NULL;                                                                                              \
    (o)->next = (head);                                                                                                \
    if (head) (head)->previous = (o);                                                                                  \
    (head) = (o);                                                                                                      \
  } while (0)
#define LIST_REMOVE(head, o)                                                                                           \
  do {                                                                                                                 \
    if ((o)->next) (o)->next->previous = (o)->previous;                                                                \
    if ((o)->previous)                                                                                                 \
      (o)->previous->next = (o)->next;                                                                                 \
    else if ((head) == (o))                                                                                            \
      (head) = (o)->next;                                                                                              \
    (o)->next = (o)->previous = NULL;                                                                                  \
  } while (0)

/* ---- turn.c ---- */
void turn_init(turn *t);
void turn_destroy(turn *t);
void turn_wait(connection *c);
void turn_release_slow(connection *c);
static inline void turn_take(connection *c) {
  unsigned long me = PyThread_get_thread_ident();
  if (LIKELY(!c->turn.depth)) {
    c->turn.owner = me;
    c->turn.depth = 1;
  } else if (c->turn.owner == me) {
    c->turn.depth++;
  } else {
    turn_wait(c);
  }
}
static inline void turn_release(connection *c) {
  if (!--c->turn.depth && UNLIKELY(c->turn.waiting || c->closing)) turn_release_slow(c);
}
/* Give it up wholly and take it back as deep as it was. */
int turn_pause(connection *c);
void turn_resume(connection *c, int depth);

/* ---- connection.c ---- */
PyTypeObject *connection_type_make(PyObject *module);
extern const char *const connection_keywords[];
bool connection_check_thread(connection *c);
bool connection_check_open(connection *c);
static inline bool connection_is_open(connection *c) { return c->db && !c->closing; }
void connection_close_now(connection *c);
/* Before the interpreter ends: what was committed reaches the SQLite files of connections nobody closed. */
void connection_checkpoint_all(module_state *state);
/* BEGIN as the legacy transaction control wants it. The turn is held. */
int connection_begin(connection *c);
/* Run a statement without rows; the GIL is dropped. */
int connection_exec(connection *c, const char *sql);
extern PyMethodDef connection_methods[];

/* connection_transaction.c */
PyObject *connection_commit(PyObject *self, PyObject *unused);
PyObject *connection_rollback(PyObject *self, PyObject *unused);
PyObject *connection_enter(PyObject *self, PyObject *unused);
PyObject *connection_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *connection_get_isolation_level(PyObject *self, void *unused);
int connection_set_isolation_level(PyObject *self, PyObject *value, void *unused);
#if PY_AT_LEAST(12)
PyObject *connection_get_autocommit(PyObject *self, void *unused);
int connection_set_autocommit(PyObject *self, PyObject *value, void *unused);
int connection_autocommit_of(PyObject *value, int *out);
/* An open implicit transaction of autocommit=False is rolled back before closing. */
int connection_end_implicit(connection *c);
#endif

/* connection_callbacks.c, connection_functions.c, connection_more.c: methods, by the names of hdb.h */
#define METHOD_FAST(f)     PyObject *f(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
#define METHOD_KEYWORDS(f) PyObject *f(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
METHOD_KEYWORDS(connection_create_function);
METHOD_KEYWORDS(connection_create_aggregate);
METHOD_FAST(connection_create_window_function);
METHOD_FAST(connection_create_collation);
METHOD_KEYWORDS(connection_set_authorizer);
METHOD_KEYWORDS(connection_set_progress_handler);
METHOD_KEYWORDS(connection_set_trace_callback);
METHOD_KEYWORDS(connection_backup);
METHOD_KEYWORDS(connection_blobopen);
METHOD_KEYWORDS(connection_execute_vector_search);
#if PY_AT_LEAST(13)
METHOD_KEYWORDS(connection_iterdump);
#else
PyObject *connection_iterdump(PyObject *self, PyObject *unused);
#endif
METHOD_KEYWORDS(connection_serialize);
METHOD_KEYWORDS(connection_deserialize);
METHOD_FAST(connection_setlimit);
PyObject *connection_getlimit(PyObject *self, PyObject *category);
METHOD_FAST(connection_setconfig);
PyObject *connection_getconfig(PyObject *self, PyObject *option);
PyObject *connection_checkpoint(PyObject *self, PyObject *unused);
PyObject *connection_rekey(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *connection_copy(PyObject *self, PyObject *path);
PyObject *connection_convert(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *connection_enable_load_extension(PyObject *self, PyObject *enable);
METHOD_KEYWORDS(connection_load_extension);
void connection_clear_callbacks(connection *c);
void callback_free(void *p);
int connection_traverse_callbacks(connection *c, visitproc visit, void *arg);

/* server.c: functions of the module */
PyObject *module_server_start(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *module_server_stop(PyObject *module, PyObject *capsule);
PyObject *module_server_wait(PyObject *module, PyObject *args);

/* connection_server.c: hybrid mode */
int connection_stop_server(connection *c);
PyObject *connection_get_server(PyObject *self, void *unused);
PyObject *connection_attach_server(PyObject *module, PyObject *args);
PyObject *connection_start_server(PyObject *self, PyObject *args, PyObject *keywords);
PyObject *connection_switch_to_server(PyObject *self, PyObject *args, PyObject *keywords);
PyObject *connection_database_file(PyObject *self, PyObject *unused);

/* settings.c: the keywords that sqlite3.connect has not */
enum { SETTINGS_COUNT = 15 };
extern const char *const settings_names[SETTINGS_COUNT];
enum { MODE_EMBEDDED, MODE_HYBRID, MODE_SERVER };
typedef struct settings {
  hdb_settings engine;
  int mode, port;
  const char *host, *user, *password, *database, *dsn; /* hybrid: where it listens and what it asks for; server: where it is */
  unsigned char key[32];
  char as_of[64];
} settings;
/* 32 bytes or 64 hex digits. */
int settings_key(module_state *state, PyObject *o, const char *what, unsigned char key[32]);
int settings_read(module_state *state, const char *filename, PyObject **values, settings *out);
/* backend.c: server mode. Connects; -1 with an exception. */
int backend_connect(connection *c, const char *path, double timeout, const settings *s);
/* true: an exception that says that a connection to a server cannot do this */
bool backend_refuses(connection *c, const char *what);
PyObject *connection_again(PyObject *self, PyObject *unused);
PyObject *connection_save(PyObject *self, PyObject *args);

int connection_serve(connection *c, const settings *s); /* -1: an exception, and nothing serves */

/* ---- statement.c, statement_cache.c, statement_bind.c ---- */
PyTypeObject *statement_type_make(PyObject *module);
/* Compile; a new reference. The turn is held. */
statement *statement_new(connection *c, PyObject *sql);
/* The same through the cache; never one that is in use. */
statement *statement_get(connection *c, PyObject *sql);
void statement_finalize(statement *s);
int statement_reset(statement *s); /* what hdb_reset says; ends its use */
int statement_step(statement *s);  /* lends the GIL */
int statement_bind(statement *s, PyObject *parameters);
void cache_init(cache *c, int capacity);
void cache_clear(cache *c);
statement *cache_find(cache *c, PyObject *sql, Py_hash_t hash);
int cache_add(cache *c, statement *s);

/* ---- cursor.c, cursor_execute.c, cursor_row.c ---- */
PyTypeObject *cursor_type_make(PyObject *module);
/* A new plain Cursor. */
cursor *cursor_new(connection *c);
METHOD_FAST(cursor_execute);
METHOD_FAST(cursor_executemany);
PyObject *cursor_executescript(PyObject *self, PyObject *script);
/* Checks, then takes the connection's turn and locks the cursor; false with an exception set. */
bool cursor_begin_use(cursor *u);
void cursor_end_use(cursor *u);
bool cursor_check(cursor *u);
/* Drop the statement it runs. */
void cursor_drop_statement(cursor *u);
/* The columns of the current row as a tuple. */
PyObject *cursor_build_row(cursor *u);
/* The converters of each column, when detect_types asks for them. */
int cursor_build_converters(cursor *u);
PyObject *cursor_next(PyObject *self);
PyObject *cursor_fetchone(PyObject *self, PyObject *unused);
METHOD_KEYWORDS(cursor_fetchmany);
PyObject *cursor_fetchall(PyObject *self, PyObject *unused);
int cursor_set_description(cursor *u);

/* ---- row.c, blob.c ---- */
PyTypeObject *row_type_make(PyObject *module);
PyObject *row_new(module_state *state, PyObject *description, PyObject *data);
PyTypeObject *blob_type_make(PyObject *module);
blob *blob_new(connection *c, hdb_blob *handle);
void blob_close_now(blob *b);

#endif
