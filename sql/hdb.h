/* hdb.h: the C interface of HeliosDB Nano.
 *
 * Whoever knows sqlite3.h knows this one: the same calls in the same order of life, with the prefix hdb_,
 * the same result codes (kv/base/status.h) and the same rules about who owns what until when:
 *   - text and blobs returned by hdb_column_*, hdb_value_*, hdb_errmsg are the library's, until the next
 *     call on the same statement, value or connection;
 *   - a destructor of HDB_STATIC means the caller's bytes live long enough, HDB_TRANSIENT that they are copied.
 * All text is UTF-8. A connection may be used from several threads: its calls take turns.
 * Functions without a status cannot fail. NULL is allowed where a close, finalize or free takes an object.
 */
#ifndef HDB_H
#define HDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kv/base/status.h"

typedef struct hdb hdb;
typedef struct hdb_stmt hdb_stmt;
typedef struct hdb_value hdb_value;
typedef struct hdb_context hdb_context;
typedef struct hdb_blob hdb_blob;
typedef struct hdb_backup hdb_backup;

enum { HDB_INTEGER = 1, HDB_FLOAT = 2, HDB_TEXT = 3, HDB_BLOB = 4, HDB_NULL = 5 };
typedef void (*hdb_destructor)(void *);
#define HDB_STATIC ((hdb_destructor)0)
#define HDB_TRANSIENT ((hdb_destructor)-1)

enum {
  HDB_OPEN_READONLY = 0x1,
  HDB_OPEN_READWRITE = 0x2,
  HDB_OPEN_CREATE = 0x4,
  HDB_OPEN_URI = 0x40,
  HDB_OPEN_MEMORY = 0x80,
  HDB_OPEN_SHAREDCACHE = 0x20000,
  HDB_OPEN_PRIVATECACHE = 0x40000
};
enum { HDB_PREPARE_PERSISTENT = 1 };
/* text flags of functions */
enum { HDB_DETERMINISTIC = 0x800, HDB_DIRECTONLY = 0x80000, HDB_SUBTYPE = 0x100000, HDB_INNOCUOUS = 0x200000 };

/* ---- library ---- */
const char *hdb_libversion(void);        /* "3.45.0": the SQLite release whose dialect this is */
const char *hdb_product_version(void);   /* HeliosDB Nano's own */
/* The process has another user of SQLite files: this shared library (NULL: the program itself). Before the first open; when
 * its SQLite is not the very one that writes app.db here, neither will drop the other's locks. */
void hdb_beside_sqlite(const char *module);
int hdb_complete(const char *sql);       /* does the text end a statement? */
const char *hdb_errstr(int code);
void *hdb_malloc(size_t bytes);
void hdb_free(void *p);

/* ---- connection ---- */
/* Keywords of CONTRACT beyond SQLite's; zero-initialise, then set. */
typedef struct hdb_settings {
  const char *branch;          /* NULL: main */
  const char *as_of;           /* NULL: the present; else a time as in AS OF TIMESTAMP: read-only */
  const char *conflict_policy; /* NULL: last_commit_wins */
  double retention;            /* seconds; NaN: keep the stored setting */
  int mirror;                  /* -1: stored setting, 0 off, 1 on */
  const void *encryption_key;  /* 32 bytes or NULL; copied, as the passphrase is */
  const char *passphrase;
  hdb *key_of;                 /* or: the key of this connection; NULL: none */
} hdb_settings;

/* On failure *out is still a connection whose only use is hdb_errmsg and hdb_close (NULL when out of memory). */
int hdb_open(const char *filename, hdb **out, int flags);
int hdb_open_with(const char *filename, hdb **out, int flags, const hdb_settings *settings);
int hdb_close(hdb *db);    /* HDB_BUSY while statements, blobs or backups are unfinished */
int hdb_close_v2(hdb *db); /* becomes a zombie until they are finished */
void hdb_close_lingering(void); /* files stay open for some seconds after their last connection: not any longer (at exit) */
int hdb_errcode(hdb *db);
int hdb_extended_errcode(hdb *db);
int hdb_extended_result_codes(hdb *db, int on);
const char *hdb_errmsg(hdb *db);
int hdb_error_offset(hdb *db);
int hdb_busy_timeout(hdb *db, int milliseconds);
int hdb_get_autocommit(hdb *db);
int64_t hdb_changes(hdb *db);
int64_t hdb_total_changes(hdb *db);
int64_t hdb_last_insert_rowid(hdb *db);
void hdb_set_last_insert_rowid(hdb *db, int64_t rowid);
void hdb_interrupt(hdb *db); /* from any thread */
int hdb_is_interrupted(hdb *db);
int hdb_limit(hdb *db, int id, int value); /* value < 0: only ask; returns the former one */
const char *hdb_db_filename(hdb *db, const char *schema);
int hdb_db_readonly(hdb *db, const char *schema); /* -1: no such schema */
hdb_stmt *hdb_next_stmt(hdb *db, hdb_stmt *after);
int hdb_db_config(hdb *db, int option, int value, int *now); /* value < 0: only ask */
/* The branch that main's database is read and written on; changed outside of transactions, with no statement running. */
const char *hdb_branch(hdb *db);
int hdb_switch_branch(hdb *db, const char *name);
int64_t hdb_last_commit_timestamp(hdb *db); /* SCN of this connection's last commit, microseconds; 0 none */
int hdb_table_column_metadata(hdb *db, const char *schema, const char *table, const char *column, const char **type,
                              const char **collation, int *not_null, int *primary_key, int *autoincrement);
/* What a failed commit conflicted with: table and key as text, NULL when there was none. */
void hdb_conflict(hdb *db, const char **table, const char **key);
/* Encrypted files. rekey: another key (32 bytes) or passphrase for main's. convert: encrypts main's file in place, or
 * decrypts it when both are NULL; no other connection may have it, and this one is then good for hdb_close only. */
int hdb_rekey(hdb *db, const void *key, const char *passphrase);
int hdb_convert(hdb *db, const void *key, const char *passphrase);
/* The key or passphrase that the connection was opened with, for another part of the program that opens the same database:
 * true when there is one. *passphrase is the connection's. */
bool hdb_secret(hdb *db, unsigned char key[32], bool *has_key, const char **passphrase);
/* Main's database with its history and branches as it is now, into a new file and its directory (hard links where possible),
 * while others write; under the same key. The copy is opened like any database. */
int hdb_copy(hdb *db, const char *path);
int hdb_checkpoint(hdb *db); /* everything durable, app.db brought up to date */

enum {
  HDB_LIMIT_LENGTH, HDB_LIMIT_SQL_LENGTH, HDB_LIMIT_COLUMN, HDB_LIMIT_EXPR_DEPTH, HDB_LIMIT_COMPOUND_SELECT,
  HDB_LIMIT_VDBE_OP, HDB_LIMIT_FUNCTION_ARG, HDB_LIMIT_ATTACHED, HDB_LIMIT_LIKE_PATTERN_LENGTH,
  HDB_LIMIT_VARIABLE_NUMBER, HDB_LIMIT_TRIGGER_DEPTH, HDB_LIMIT_WORKER_THREADS, HDB_LIMITS
};

/* ---- statements ---- */
/* Compiles the first statement of sql (bytes < 0: up to the NUL); *tail is what follows. *out NULL: nothing but
 * white space and comments. */
int hdb_prepare(hdb *db, const char *sql, int bytes, unsigned flags, hdb_stmt **out, const char **tail);
int hdb_step(hdb_stmt *s);  /* HDB_ROW, HDB_DONE or an error */
int hdb_reset(hdb_stmt *s); /* the last step's error, if any */
int hdb_finalize(hdb_stmt *s);
int hdb_exec(hdb *db, const char *sql, int (*row)(void *, int, char **, char **), void *context, char **message);
hdb *hdb_db_handle(hdb_stmt *s);
const char *hdb_sql(hdb_stmt *s);
char *hdb_expanded_sql(hdb_stmt *s); /* free with hdb_free */
int hdb_stmt_readonly(hdb_stmt *s);
int hdb_stmt_busy(hdb_stmt *s);
int hdb_stmt_fits(hdb_stmt *s); /* 1: a step now would not compile it anew */
unsigned hdb_stmt_compiled(hdb_stmt *s); /* moves when a changed schema made it compile anew: columns may differ */
int hdb_stmt_isexplain(hdb_stmt *s);
/* INSERT, UPDATE, DELETE, REPLACE (what Python's legacy transaction control asks) */
int hdb_stmt_is_dml(hdb_stmt *s);

int hdb_bind_parameter_count(hdb_stmt *s);
const char *hdb_bind_parameter_name(hdb_stmt *s, int index);
int hdb_bind_parameter_index(hdb_stmt *s, const char *name);
int hdb_clear_bindings(hdb_stmt *s);
int hdb_bind_null(hdb_stmt *s, int index);
int hdb_bind_int64(hdb_stmt *s, int index, int64_t v);
int hdb_bind_double(hdb_stmt *s, int index, double v);
int hdb_bind_text(hdb_stmt *s, int index, const char *p, int64_t bytes, hdb_destructor destroy);
int hdb_bind_blob(hdb_stmt *s, int index, const void *p, int64_t bytes, hdb_destructor destroy);
int hdb_bind_zeroblob(hdb_stmt *s, int index, int64_t bytes);
int hdb_bind_value(hdb_stmt *s, int index, const hdb_value *v);
/* All parameters in one call, the first of them at values[0]. Texts and blobs are the caller's (as HDB_STATIC) until
 * the statement is bound again, or was reset and will not be stepped again with these values. */
typedef struct hdb_parameter {
  int type; /* HDB_INTEGER ... HDB_NULL */
  int64_t bytes;
  union {
    int64_t integer;
    double real;
    const void *data;
  };
} hdb_parameter;
int hdb_bind_all(hdb_stmt *s, const hdb_parameter *values, int count);

int hdb_column_count(hdb_stmt *s);
int hdb_data_count(hdb_stmt *s); /* 0 unless the last step gave a row */
const char *hdb_column_name(hdb_stmt *s, int column);
const char *hdb_column_decltype(hdb_stmt *s, int column); /* NULL for an expression */
/* n of a declared type VECTOR(n), in any case; 0: another type. */
int hdb_vector_dimensions(const char *declared);
const char *hdb_column_database_name(hdb_stmt *s, int column);
const char *hdb_column_table_name(hdb_stmt *s, int column);
const char *hdb_column_origin_name(hdb_stmt *s, int column);
int hdb_column_type(hdb_stmt *s, int column);
int64_t hdb_column_int64(hdb_stmt *s, int column);
double hdb_column_double(hdb_stmt *s, int column);
const char *hdb_column_text(hdb_stmt *s, int column); /* NUL-terminated */
const void *hdb_column_blob(hdb_stmt *s, int column);
int64_t hdb_column_bytes(hdb_stmt *s, int column);
hdb_value *hdb_column_value(hdb_stmt *s, int column);
/* One call a column: returns its type and sets *i, *r, or *p and *n (text: not NUL-terminated); no conversion, no copy.
 * The bytes are valid until the next step, reset or finalize. */
int hdb_column_raw(hdb_stmt *s, int column, int64_t *i, double *r, const char **p, int64_t *n);

/* ---- values and user functions ---- */
int hdb_value_type(hdb_value *v);
int hdb_value_numeric_type(hdb_value *v);
int64_t hdb_value_int64(hdb_value *v);
double hdb_value_double(hdb_value *v);
const char *hdb_value_text(hdb_value *v);
const void *hdb_value_blob(hdb_value *v);
int64_t hdb_value_bytes(hdb_value *v);
unsigned hdb_value_subtype(hdb_value *v);

void hdb_result_null(hdb_context *c);
void hdb_result_int64(hdb_context *c, int64_t v);
void hdb_result_double(hdb_context *c, double v);
void hdb_result_text(hdb_context *c, const char *p, int64_t bytes, hdb_destructor destroy);
void hdb_result_blob(hdb_context *c, const void *p, int64_t bytes, hdb_destructor destroy);
void hdb_result_zeroblob(hdb_context *c, int64_t bytes);
void hdb_result_value(hdb_context *c, hdb_value *v);
void hdb_result_subtype(hdb_context *c, unsigned subtype);
void hdb_result_error(hdb_context *c, const char *message, int bytes);
void hdb_result_error_code(hdb_context *c, int code);
void hdb_result_error_nomem(hdb_context *c);
void hdb_result_error_toobig(hdb_context *c);
void *hdb_user_data(hdb_context *c);
hdb *hdb_context_db_handle(hdb_context *c);
/* Memory of one aggregate invocation, zeroed at first; bytes 0: NULL when there is none yet. */
void *hdb_aggregate_context(hdb_context *c, int bytes);

/* arguments -1: any number. Exactly one of scalar or step+final; all NULL: remove it. */
int hdb_create_function(hdb *db, const char *name, int arguments, int flags, void *data,
                        void (*scalar)(hdb_context *, int, hdb_value **),
                        void (*step)(hdb_context *, int, hdb_value **), void (*final)(hdb_context *),
                        hdb_destructor destroy);
int hdb_create_window_function(hdb *db, const char *name, int arguments, int flags, void *data,
                               void (*step)(hdb_context *, int, hdb_value **), void (*final)(hdb_context *),
                               void (*value)(hdb_context *), void (*inverse)(hdb_context *, int, hdb_value **),
                               hdb_destructor destroy);
int hdb_create_collation(hdb *db, const char *name, void *data,
                         int (*compare)(void *, int, const void *, int, const void *), hdb_destructor destroy);

/* ---- callbacks ---- */
int hdb_set_authorizer(hdb *db, int (*authorize)(void *, int, const char *, const char *, const char *, const char *),
                       void *data);
void hdb_progress_handler(hdb *db, int steps, int (*progress)(void *), void *data);
enum { HDB_TRACE_STMT = 1, HDB_TRACE_PROFILE = 2, HDB_TRACE_ROW = 4, HDB_TRACE_CLOSE = 8 };
/* STMT: p the statement, x its unexpanded text, or "-- ..." for a trigger. PROFILE: x int64 nanoseconds. */
int hdb_trace_v2(hdb *db, unsigned mask, int (*trace)(unsigned, void *, void *p, void *x), void *data);
void *hdb_commit_hook(hdb *db, int (*hook)(void *), void *data);
void *hdb_rollback_hook(hdb *db, void (*hook)(void *), void *data);
void *hdb_update_hook(hdb *db, void (*hook)(void *, int, const char *, const char *, int64_t), void *data);

/* authorizer action codes and answers: SQLite's numbers */
enum {
  HDB_DENY = 1, HDB_IGNORE = 2,
  HDB_CREATE_INDEX = 1, HDB_CREATE_TABLE = 2, HDB_CREATE_TEMP_INDEX = 3, HDB_CREATE_TEMP_TABLE = 4,
  HDB_CREATE_TEMP_TRIGGER = 5, HDB_CREATE_TEMP_VIEW = 6, HDB_CREATE_TRIGGER = 7, HDB_CREATE_VIEW = 8,
  HDB_DELETE = 9, HDB_DROP_INDEX = 10, HDB_DROP_TABLE = 11, HDB_DROP_TEMP_INDEX = 12, HDB_DROP_TEMP_TABLE = 13,
  HDB_DROP_TEMP_TRIGGER = 14, HDB_DROP_TEMP_VIEW = 15, HDB_DROP_TRIGGER = 16, HDB_DROP_VIEW = 17, HDB_INSERT = 18,
  HDB_PRAGMA = 19, HDB_READ = 20, HDB_SELECT = 21, HDB_TRANSACTION = 22, HDB_UPDATE = 23, HDB_ATTACH = 24,
  HDB_DETACH = 25, HDB_ALTER_TABLE = 26, HDB_REINDEX = 27, HDB_ANALYZE = 28, HDB_CREATE_VTABLE = 29,
  HDB_DROP_VTABLE = 30, HDB_FUNCTION = 31, HDB_SAVEPOINT = 32, HDB_COPY = 0, HDB_RECURSIVE = 33
};

/* ---- incremental blobs ---- */
int hdb_blob_open(hdb *db, const char *schema, const char *table, const char *column, int64_t rowid, int writable,
                  hdb_blob **out);
int hdb_blob_close(hdb_blob *b);
int hdb_blob_bytes(hdb_blob *b);
int hdb_blob_read(hdb_blob *b, void *p, int bytes, int offset); /* HDB_ABORT: the row has changed since */
int hdb_blob_write(hdb_blob *b, const void *p, int bytes, int offset);
int hdb_blob_reopen(hdb_blob *b, int64_t rowid);

/* ---- backup, serialize ---- */
hdb_backup *hdb_backup_init(hdb *to, const char *to_schema, hdb *from, const char *from_schema);
int hdb_backup_step(hdb_backup *b, int pages); /* HDB_DONE, HDB_OK (more to do), HDB_BUSY, HDB_LOCKED ... */
int hdb_backup_finish(hdb_backup *b);
int hdb_backup_remaining(hdb_backup *b);
int hdb_backup_pagecount(hdb_backup *b);
unsigned char *hdb_serialize(hdb *db, const char *schema, int64_t *bytes); /* free with hdb_free; NULL: see hdb_errmsg */
int hdb_deserialize(hdb *db, const char *schema, const void *data, int64_t bytes);

#endif
