/* The connection and the statement, as the files of sql see them. Users see hdb.h only. */
#ifndef HDB_SQL_INTERNAL_H
#define HDB_SQL_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "kv/base/crypt.h"
#include "sql/exec.h"
#include "sql/expr.h"
#include "sql/plan.h"
#include "sql/stats.h"
#include "sql/write.h"

enum { PAGES_MAX = 1073741823 }; /* PRAGMA max_page_count when nobody set it */
enum { DB_MAIN = 0, DB_TEMP = 1, DB_FIRST_ATTACHED = 2, DATABASES_MAX = 64 };

typedef struct database {
  char *name;        /* "main", "temp", attached name; NULL: free place */
  char *filename;    /* absolute path of app.db, "" for memory */
  engine *engine;    /* NULL: TEMP not used yet (opened on first use) */
  txn *txn;
  schema *schema;    /* for the txn's stamp */
  struct past_schemas *past; /* time_schema.c */
  bool read_only;
  struct mirror *mirror; /* app.db's side (mirror.c), NULL for memory */
  struct sealed *sealed; /* of an encrypted database (sealed.c), which has no mirror */
  int64_t data_version;
  bool is_memory;        /* ":memory:", named memory, temporary: no file */
  struct shared_memory *shared; /* a named memory database: its registry entry */
  int backups;           /* running ones that read it */
  int64_t last_seen;     /* engine_newest when data_version was last counted */
  error unreadable;      /* the file is no database, or damaged: said at the first use, as SQLite does, not at connect */
  txn_mark start;        /* the mark at its transaction's begin (for ROLLBACK TO a savepoint older than it) */
  /* what PRAGMAs of this database have set, answered and otherwise without a meaning here */
  struct database_pragmas {
    int64_t cache_size, default_cache_size, page_size, max_page_count, journal_size_limit, mmap_size, wal_autocheckpoint;
    uint8_t synchronous, auto_vacuum, secure_delete;
    bool exclusive;
    char journal_mode[12];
  } pragmas;
} database;

/* The public value: what hdb_column_value and the arguments of user functions hand out. */
struct hdb_value {
  value v;
  arena *memory; /* for texts made by conversion */
  const char *text; /* NUL-terminated text already made of v, NULL */
  size_t text_n;
};

struct hdb {
  pthread_mutex_t mutex;      /* recursive: one call at a time */
  database databases[DATABASES_MAX];
  int databases_n;
  int open_flags;
  crypt_secret secret;        /* the user's key, for main and what is attached */
  bool autocommit;            /* no BEGIN open */
  bool network;               /* while a file is opened: also on a network file system */
  bool confined;              /* it names no files: a client of the network speaks (hdb_confine) */
  unsigned forks;             /* engine_forks when it was last used */
  uint8_t begin_mode;         /* enum of BEGIN */
  int busy_timeout_ms;
  error err;
  error schema_failure;       /* why a schema could not be loaded in the compilation at work */
  bool extended_codes, zombie;
  atomic_bool interrupted;
  atomic_int active;          /* statements running */
  int64_t changes, total_changes, last_insert_rowid, last_commit;
  struct { uint32_t tree; int64_t rowid; } serials[16]; /* last keys of AUTOINCREMENT tables, newest at serial_at */
  int serial_at;
  int limits[HDB_LIMITS];
  hdb_stmt *statements;       /* all, newest first */
  /* settings that PRAGMAs set; one struct so that the plan key can hash it */
  struct hdb_pragmas {
    bool foreign_keys, defer_foreign_keys, recursive_triggers, case_sensitive_like, legacy_alter_table,
        reverse_unordered_selects, ignore_check_constraints, full_column_names, short_column_names, count_changes,
        query_only, writable_schema, trusted_schema, cell_size_check, automatic_index, read_uncommitted,
        checkpoint_fullfsync, fullfsync, enable_triggers, enable_views, dqs_dml, dqs_ddl, defensive, legacy_file_format, empty_result_callbacks;
    uint8_t dialect, synchronous, temp_store, policy;
    int cache_size, busy_timeout;
    const struct pg_zone *zone; /* of the postgres dialect; NULL: UTC */
  } pragmas;
  struct {
    double recall_target; /* 0: 0.95 */
    int ef_search;        /* 0: derived */
    uint8_t strategy;     /* enum vector_strategy */
  } vector;
  /* user functions and collations: function_user.c, by lower-case name */
  struct user_function *functions;
  struct collation_node *collations;
  int (*authorize)(void *, int, const char *, const char *, const char *, const char *);
  void *authorize_data;
  int progress_steps;
  int (*progress)(void *);
  void *progress_data;
  unsigned trace_mask;
  int (*trace)(unsigned, void *, void *, void *);
  void *trace_data;
  int (*commit_hook)(void *);
  void *commit_hook_data;
  void (*rollback_hook)(void *);
  void *rollback_hook_data;
  void (*update_hook)(void *, int, const char *, const char *, int64_t);
  void *update_hook_data;
  struct savepoint *savepoints; /* innermost first (transaction.c) */
  int64_t deferred_violations;  /* foreign keys: open counter of the transaction (fkey.c) */
  uint64_t random_state[4];
  struct trigger_frame *trigger_frame;
  uint64_t generation;        /* moves when every statement must be compiled again (functions, ATTACH, settings) */
  int writers;                /* running statements that write */
  struct replay *replay;      /* replay.c: the open transaction's log */
  int committed_parts;        /* databases that the last COMMIT has already committed */
  bool user_code;             /* the compilation at work has met a function or collation of the user's */
  bool merging;               /* MERGE BRANCH writes its rows: ON DELETE and ON UPDATE do nothing, keys hold on the result */
  bool dropping;              /* the DELETE of a DROP TABLE: keys that cannot be looked up do not matter */
  bool doomed;                /* a COMMIT failed on a conflict: only ROLLBACK goes on */
  bool is_transaction_savepoint; /* the outermost savepoint opened the transaction */
  struct hdb_blob *blobs;
  int backups;
  struct hdb_config {         /* SQLITE_DBCONFIG flags without a meaning here: stored and answered */
    bool fts3_tokenizer, load_extension, no_checkpoint_on_close, enable_qpsg, trigger_eqp, reset_database,
        stmt_scanstatus, reverse_scanorder, no_cache_spill;
    int cache_spill, analysis_limit;
  } config;
  double retention;           /* hdb_settings: NaN keep the stored setting */
  int mirror_setting;         /* hdb_settings: -1, 0, 1 */
  char *branch;               /* NULL: main */
  struct merge_conflicts *conflicts; /* of the last merge */
  struct erase_keys *erasing;        /* the DELETE at work is an ERASE's: it notes the keys */
  const int64_t *known_times; /* of the statement that is being compiled again (time.h) */
  int known_times_n;
  int64_t time_guess; /* unknown times are compiled for the schema of this one (time.h) */
  struct fts_cursor *fts_cursors; /* open ones, for the auxiliary functions (fts.h) */
  int64_t fts_cursors_made;
  char *conflict_table, *conflict_key; /* of the last failed commit */
  const struct pg_source *pg_source; /* tables of pg_catalog that the session makes; NULL: empty */
  struct violation *violation; /* what the last violated constraint says (violation.c) */
};

struct bound {          /* who frees a parameter's bytes (bind.c) */
  void *p;
  hdb_destructor destroy;
};

struct hdb_stmt {
  hdb *db;
  hdb_stmt *next, *previous;
  char *sql;
  size_t sql_n;
  program *program;     /* recompiled when the schema moved */
  exec exec;
  value *parameters;
  struct bound *bounds; /* who frees a parameter's bytes */
  const value *row;     /* current row, NULL none */
  arena text;           /* texts made for hdb_column_text etc. of the current row */
  struct hdb_value *values; /* for hdb_column_value, one a column */
  uint64_t generation;  /* hdb.generation it was compiled under */
  error failure;        /* what the last step failed with: reset reports it again */
  int64_t started_ns;   /* for TRACE_PROFILE */
  statement_stats stats;
  bool inside;          /* a statement of our own (sql_run): not counted */
  unsigned compiled;    /* how often */
  int64_t *known_times; /* what its AS OF were in the last execution that made it compile again */
  int known_times_n;
  bool writing;         /* counted in hdb.writers */
  bool committed;       /* its autocommit is done (RETURNING: before the first row) */
  uint64_t rows_hash;   /* of RETURNING's rows (replay.c) */
  bool has_exec;        /* exec is set up for program */
  bool running, is_explain;
  uint8_t explain;
  status last;
};

/* statement.c: compile one parsed statement into c->program by its kind. */
status compile_statement(compile *c, statement *s);
/* ddl.c, alter.c, pragma.c, transaction.c, attach.c: programs without a query */
status compile_create_table(compile *c, create_table_statement *s);
status compile_create_index(compile *c, create_index_statement *s);
status compile_create_view(compile *c, create_view_statement *s);
status compile_create_trigger(compile *c, create_trigger_statement *s);
status compile_create_virtual_table(compile *c, create_virtual_table_statement *s);
status compile_drop(compile *c, statement *s);
status compile_alter(compile *c, statement *s);
status compile_pragma(compile *c, pragma_statement *s);
status compile_transaction(compile *c, statement *s);
status compile_attach(compile *c, statement *s);
status compile_branch(compile *c, statement *s); /* branch.c */
status branch_switch(hdb *db, const char *name);
status compile_analyze(compile *c, statement *s);
status compile_reindex(compile *c, statement *s);
status compile_vacuum(compile *c, statement *s);

/* ---- hdb.c, connection.c ---- */
/* What a file name or URI asks for (uri.c). */
typedef struct open_request {
  char *path;      /* malloc'ed; "" temporary, ":memory:" private memory, else a path or a shared memory's name */
  bool memory;     /* private */
  bool shared;     /* a named memory database */
  bool read_only, create, immutable, network;
} open_request;
status uri_parse(const char *filename, int flags, open_request *out, error *err);
status database_open(hdb *db, database *d, const open_request *request, const hdb_settings *settings);
/* As connect() does it: a file that cannot be read as a database is told at its first use. */
status database_open_lazily(hdb *db, database *d, const open_request *request, const hdb_settings *settings);
void database_let_go(hdb *db, database *d);
void database_close(hdb *db, database *d);
void database_pragmas_default(database *d);
status database_page_count(hdb *db, int number, int64_t *pages);
/* transaction.c: in a child after a fork; what was open is the parent's. */
void transaction_forked(hdb *db);
static inline void hdb_lock(hdb *db) {
  pthread_mutex_lock(&db->mutex);
  if (__builtin_expect(db->forks != engine_forks(), 0)) transaction_forked(db);
}
static inline void hdb_unlock(hdb *db) { pthread_mutex_unlock(&db->mutex); }
/* The end of every call: keeps code and words for hdb_errmsg, returns what the caller sees (8 bits or all). */
int hdb_result(hdb *db, status rc);
void hdb_free_if_zombie(hdb *db); /* unlocks */
/* A connection of the library's own on main of an open engine, of which it takes a reference. NULL: out of memory. */
hdb *hdb_open_inside(engine *e);
static inline status sql_nomem(error *e) { return error_set(e, HDB_NOMEM, "out of memory"); }

/* ---- statement.c, bind.c ---- */
void bindings_free(hdb_stmt *s);
status program_compile(hdb *db, slice text, program **out, size_t *tail);
void program_free(program *p);
parse_options hdb_parse_options(const hdb *db);
compile compile_begin(hdb *db, program *p); /* a compile object without a statement (catalog, triggers) */
status compile_finish(compile *c);          /* sizes and schemas into the program */

/* func_user.c: drops the connection's functions and collations (destructors run). */
void user_functions_close(hdb *db);

/* ---- catalog_load.c ---- */
/* as_of 0: the transaction's view. */
status schema_load(hdb *db, int database, int64_t as_of, schema **out);
void schema_resolve_indexes(hdb *db, schema *s);
/* A row of sqlite_schema: type, name, tbl_name, sql (NULL where they are) and rootpage. */
status schema_row_read(arena *memory, slice record, const char *texts[4], int64_t *root);

/* ---- rows.c: statements whose rows are made at once ---- */
typedef struct row_list {
  value *values;
  int columns;
  int64_t n, capacity, at;
} row_list;
/* Copies the values into the exec's lifetime. */
status rows_add(exec *x, const value *row, int columns);
status rows_next(exec *x, const value **row);
/* Fills c->program: start runs, next gives what rows_add collected, columns are named so. */
status rows_program(compile *c, status (*start)(exec *x), void *data, const char *const *names, int columns);

/* ---- transaction.c ---- */
/* Commits every open transaction of the connection; on failure nothing is released (see hdb.doomed). */
status transaction_commit(hdb *db);
void transaction_rollback(hdb *db);      /* everything; autocommit is on again */
void transaction_release(hdb *db);       /* autocommit and nothing running: gives the views back */
typedef struct statement_mark {
  txn_mark marks[DATABASES_MAX];
  uint64_t taken;
  int64_t deferred_violations;
} statement_mark;
void statement_save(hdb *db, uint64_t databases, statement_mark *m);
void statement_undo(hdb *db, const statement_mark *m);
void savepoints_free(hdb *db);

/* sql/exec.c: an execution's memory for a program; a trigger's has a parent. exec_close stops nothing: the program's
 * stop has been called. exec_rewind makes it ready for another start of the same program, keeping its buffers. */
status exec_open(exec *x, hdb *db, const program *p, exec *parent);
void exec_rewind(exec *x);
void exec_close(exec *x);
/* Closes the pooled cursors on a database that goes away. */
void exec_forget_database(exec *x, int database);

/* A transaction on a database for reading or writing; opened by hdb.c before a program starts. */
status database_begin(hdb *db, int number);
/* Numbers stored with the database and transactional with it: user_version, application_id, encoding (1 UTF-8, 2
 * UTF-16le, 3 UTF-16be), ... (settings.c). The database's txn must be open. Absent: `otherwise`. */
status database_get_number(hdb *db, int number, const char *name, int64_t otherwise, int64_t *out);
status database_set_number(hdb *db, int number, const char *name, int64_t v);
/* Runs one SQL text inside (for DDL's own needs); rows are ignored. */
status sql_run(hdb *db, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* PRAGMA name(arguments) as rows, for the table-valued pragma_x; columns as pragma_columns says. arguments: NULLs where
 * left out; argument 0 the value, argument 1 the schema. values are borrowed for the call. */
typedef status (*pragma_visitor)(void *context, const value *row, int columns);
status pragma_rows(hdb *db, const char *name, const value *arguments, int n, arena *memory, error *err,
                   pragma_visitor visit, void *context);
/* Column names of a pragma that may be used as a table; 0: there is no such one. */
int pragma_columns(const char *name, const char *const **names, bool *takes_argument);
/* Table-valued functions and eponymous tables (json_each, generate_series, pragma_*), FTS, R*Tree: virtual.h */

#endif
