/* backend.h: a connection's engine is in this process, or behind a server.
 *
 * The functions of sql/hdb.h that Connection and Cursor use go through here. A handle of a connection to a server has
 * its lowest bit set (both kinds are pointers, so the bit is free): one test, never taken for the local engine. The
 * other side of the table is heliosdb_sqlite._wire, loaded when the first such connection is made. What a server cannot
 * do for us (callbacks, blobs, serialize) is refused in Python's words before it comes here (connection_refuse_remote).
 */
#ifndef HDB_PY_BACKEND_H
#define HDB_PY_BACKEND_H

#include "sql/hdb.h"

/* Where a server is and what is said to it. NULL texts: libpq's own defaults. */
typedef struct backend_address {
  const char *host, *user, *password, *database, *dsn, *branch;
  int port;
  double timeout;
} backend_address;

typedef struct backend {
  /* *out is NULL or a connection whose only use is errmsg and close, as hdb_open_with */
  int (*open)(const backend_address *a, hdb **out);
  int (*close)(hdb *db), (*close_v2)(hdb *db);
  int (*extended_errcode)(hdb *db);
  const char *(*errmsg)(hdb *db);
  void (*conflict)(hdb *db, const char **table, const char **key);
  int (*busy_timeout)(hdb *db, int ms);
  int (*get_autocommit)(hdb *db);
  int64_t (*changes)(hdb *db), (*total_changes)(hdb *db), (*last_insert_rowid)(hdb *db), (*last_commit_timestamp)(hdb *db);
  void (*interrupt)(hdb *db);
  int (*limit)(hdb *db, int id, int value);
  int (*db_config)(hdb *db, int option, int value, int *now);
  const char *(*branch)(hdb *db);
  const char *(*filename)(hdb *db, const char *schema);
  int (*checkpoint)(hdb *db);
  int (*prepare)(hdb *db, const char *sql, int bytes, unsigned flags, hdb_stmt **out, const char **tail);
  int (*step)(hdb_stmt *s);
  int (*reset)(hdb_stmt *s);
  int (*finalize)(hdb_stmt *s);
  int (*stmt_readonly)(hdb_stmt *s);
  unsigned (*stmt_compiled)(hdb_stmt *s);
  int (*bind_parameter_count)(hdb_stmt *s);
  const char *(*bind_parameter_name)(hdb_stmt *s, int index);
  int (*bind_all)(hdb_stmt *s, const hdb_parameter *values, int count);
  int (*bind_one)(hdb_stmt *s, int index, const hdb_parameter *v); /* copied */
  int (*column_count)(hdb_stmt *s);
  int (*data_count)(hdb_stmt *s);
  const char *(*column_name)(hdb_stmt *s, int column);
  const char *(*column_decltype)(hdb_stmt *s, int column);
  int (*column_raw)(hdb_stmt *s, int column, int64_t *i, double *r, const char **p, int64_t *n);
  int (*column_type)(hdb_stmt *s, int column);
  const void *(*column_blob)(hdb_stmt *s, int column);
  int64_t (*column_bytes)(hdb_stmt *s, int column);
  /* executemany of a statement without rows: what is bound is one set; sets go in batches. *changes gets what those that
   * went changed. An error is that of an earlier set, and the sets behind it did not run. */
  int (*many_add)(hdb_stmt *s, int64_t *changes);
  int (*many_end)(hdb_stmt *s, int64_t *changes);
  /* The database as an SQLite file, written to a descriptor. */
  int (*save)(hdb *db, const char *schema, int fd);
  bool (*is_lost)(hdb *db); /* the server has closed the connection; without a word to it */
} backend;

extern const backend *backend_remote; /* NULL until heliosdb_sqlite._wire is there */

static inline bool backend_is_remote(const void *handle) { return ((uintptr_t)handle & 1) != 0; }
static inline bool backend_is_lost(hdb *db) { return backend_is_remote(db) && backend_remote->is_lost(db); }
#define BACKEND_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define BACKEND_DB(type, name, call, ...)                                                                              \
  static inline type backend_##name(hdb *db __VA_ARGS__) {                                                             \
    return BACKEND_UNLIKELY(backend_is_remote(db)) ? backend_remote->name call : hdb_##name call;                      \
  }
#define BACKEND_STMT(type, name, call, ...)                                                                            \
  static inline type backend_##name(hdb_stmt *s __VA_ARGS__) {                                                         \
    return BACKEND_UNLIKELY(backend_is_remote(s)) ? backend_remote->name call : hdb_##name call;                       \
  }
#define AND ,
BACKEND_DB(int, close, (db))
BACKEND_DB(int, close_v2, (db))
BACKEND_DB(int, extended_errcode, (db))
BACKEND_DB(const char *, errmsg, (db))
BACKEND_DB(int, busy_timeout, (db, ms), AND int ms)
BACKEND_DB(int, get_autocommit, (db))
BACKEND_DB(int64_t, changes, (db))
BACKEND_DB(int64_t, total_changes, (db))
BACKEND_DB(int64_t, last_insert_rowid, (db))
BACKEND_DB(int64_t, last_commit_timestamp, (db))
BACKEND_DB(int, limit, (db, id, value), AND int id, int value)
BACKEND_DB(int, db_config, (db, option, value, now), AND int option, int value, int *now)
BACKEND_DB(const char *, branch, (db))
BACKEND_DB(int, checkpoint, (db))
BACKEND_DB(int, prepare, (db, sql, bytes, flags, out, tail), AND const char *sql, int bytes, unsigned flags, hdb_stmt **out, const char **tail)
BACKEND_STMT(int, step, (s))
BACKEND_STMT(int, reset, (s))
BACKEND_STMT(int, finalize, (s))
BACKEND_STMT(int, stmt_readonly, (s))
BACKEND_STMT(unsigned, stmt_compiled, (s))
BACKEND_STMT(int, bind_parameter_count, (s))
BACKEND_STMT(const char *, bind_parameter_name, (s, index), AND int index)
BACKEND_STMT(int, bind_all, (s, values, count), AND const hdb_parameter *values, int count)
BACKEND_STMT(int, column_count, (s))
BACKEND_STMT(int, data_count, (s))
BACKEND_STMT(const char *, column_name, (s, column), AND int column)
BACKEND_STMT(const char *, column_decltype, (s, column), AND int column)
BACKEND_STMT(int, column_raw, (s, column, i, r, p, n), AND int column, int64_t *i, double *r, const char **p, int64_t *n)
BACKEND_STMT(int, column_type, (s, column), AND int column)
BACKEND_STMT(const void *, column_blob, (s, column), AND int column)
BACKEND_STMT(int64_t, column_bytes, (s, column), AND int column)
#undef BACKEND_DB
#undef BACKEND_STMT
#undef AND

static inline const char *backend_db_filename(hdb *db, const char *schema) {
  return BACKEND_UNLIKELY(backend_is_remote(db)) ? backend_remote->filename(db, schema) : hdb_db_filename(db, schema);
}
static inline void backend_interrupt(hdb *db) {
  if (BACKEND_UNLIKELY(backend_is_remote(db))) backend_remote->interrupt(db);
  else hdb_interrupt(db);
}
static inline void backend_conflict(hdb *db, const char **table, const char **key) {
  if (BACKEND_UNLIKELY(backend_is_remote(db))) backend_remote->conflict(db, table, key);
  else hdb_conflict(db, table, key);
}
static inline int backend_bind_null(hdb_stmt *s, int index) {
  const hdb_parameter v = {.type = HDB_NULL};
  return BACKEND_UNLIKELY(backend_is_remote(s)) ? backend_remote->bind_one(s, index, &v) : hdb_bind_null(s, index);
}
static inline int backend_bind_int64(hdb_stmt *s, int index, int64_t integer) {
  const hdb_parameter v = {.type = HDB_INTEGER, .integer = integer};
  return BACKEND_UNLIKELY(backend_is_remote(s)) ? backend_remote->bind_one(s, index, &v) : hdb_bind_int64(s, index, integer);
}
static inline int backend_bind_double(hdb_stmt *s, int index, double real) {
  const hdb_parameter v = {.type = HDB_FLOAT, .real = real};
  return BACKEND_UNLIKELY(backend_is_remote(s)) ? backend_remote->bind_one(s, index, &v) : hdb_bind_double(s, index, real);
}
static inline int backend_bind_text(hdb_stmt *s, int index, const char *p, int64_t bytes, hdb_destructor destroy) {
  const hdb_parameter v = {.type = HDB_TEXT, .bytes = bytes, .data = p};
  return BACKEND_UNLIKELY(backend_is_remote(s)) ? backend_remote->bind_one(s, index, &v) : hdb_bind_text(s, index, p, bytes, destroy);
}
static inline int backend_bind_blob(hdb_stmt *s, int index, const void *p, int64_t bytes, hdb_destructor destroy) {
  const hdb_parameter v = {.type = HDB_BLOB, .bytes = bytes, .data = p};
  return BACKEND_UNLIKELY(backend_is_remote(s)) ? backend_remote->bind_one(s, index, &v) : hdb_bind_blob(s, index, p, bytes, destroy);
}

/* From here on these names go through the table. */
#define hdb_close backend_close
#define hdb_close_v2 backend_close_v2
#define hdb_extended_errcode backend_extended_errcode
#define hdb_errmsg backend_errmsg
#define hdb_busy_timeout backend_busy_timeout
#define hdb_get_autocommit backend_get_autocommit
#define hdb_changes backend_changes
#define hdb_total_changes backend_total_changes
#define hdb_last_insert_rowid backend_last_insert_rowid
#define hdb_last_commit_timestamp backend_last_commit_timestamp
#define hdb_limit backend_limit
#define hdb_db_config backend_db_config
#define hdb_branch backend_branch
#define hdb_db_filename backend_db_filename
#define hdb_checkpoint backend_checkpoint
#define hdb_prepare backend_prepare
#define hdb_step backend_step
#define hdb_reset backend_reset
#define hdb_finalize backend_finalize
#define hdb_stmt_readonly backend_stmt_readonly
#define hdb_stmt_compiled backend_stmt_compiled
#define hdb_bind_parameter_count backend_bind_parameter_count
#define hdb_bind_parameter_name backend_bind_parameter_name
#define hdb_bind_all backend_bind_all
#define hdb_column_count backend_column_count
#define hdb_data_count backend_data_count
#define hdb_column_name backend_column_name
#define hdb_column_decltype backend_column_decltype
#define hdb_column_raw backend_column_raw
#define hdb_column_type backend_column_type
#define hdb_column_blob backend_column_blob
#define hdb_column_bytes backend_column_bytes
#define hdb_interrupt backend_interrupt
#define hdb_conflict backend_conflict
#define hdb_bind_null backend_bind_null
#define hdb_bind_int64 backend_bind_int64
#define hdb_bind_double backend_bind_double
#define hdb_bind_text backend_bind_text
#define hdb_bind_blob backend_bind_blob

#endif
