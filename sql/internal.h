/* The connection and the statement, as the files of sql see them. Users see hdb.h only. */
#ifndef HDB_SQL_INTERNAL_H
#define HDB_SQL_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "sql/exec.h"
#include "sql/expr.h"
#include "sql/plan.h"
#include "sql/write.h"

enum { DB_MAIN = 0, DB_TEMP = 1, DB_FIRST_ATTACHED = 2, DATABASES_MAX = 64 };

typedef struct database {
  char *name;        /* "main", "temp", attached name; NULL: free place */
  char *filename;    /* absolute path of app.db, "" for memory */
  engine *engine;    /* NULL: TEMP not used yet (opened on first use) */
  txn *txn;
  schema *schema;    /* for the txn's stamp */
  bool read_only;
  struct mirror *mirror; /* app.db's side (mirror.c), NULL for memory */
  int64_t data_version;
} database;

struct hdb {
  pthread_mutex_t mutex;      /* recursive: one call at a time */
  database databases[DATABASES_MAX];
  int databases_n;
  int open_flags;
  bool autocommit;            /* no BEGIN open */
  uint8_t begin_mode;         /* enum of BEGIN */
  int busy_timeout_ms;
  error err;
  bool extended_codes, zombie;
  atomic_bool interrupted;
  atomic_int active;          /* statements running */
  int64_t changes, total_changes, last_insert_rowid, last_commit;
  int limits[HDB_LIMITS];
  hdb_stmt *statements;       /* all, newest first */
  /* settings that PRAGMAs set; one struct so that the plan key can hash it */
  struct hdb_pragmas {
    bool foreign_keys, defer_foreign_keys, recursive_triggers, case_sensitive_like, legacy_alter_table,
        reverse_unordered_selects, ignore_check_constraints, full_column_names, short_column_names, count_changes,
        query_only, writable_schema, trusted_schema, cell_size_check, automatic_index, read_uncommitted,
        enable_triggers, enable_views, dqs_dml, dqs_ddl, defensive, legacy_file_format, empty_result_callbacks;
    uint8_t dialect, synchronous, temp_store, policy;
    int cache_size, busy_timeout;
  } pragmas;
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
status compile_drop(compile *c, statement *s);
status compile_alter(compile *c, statement *s);
status compile_pragma(compile *c, pragma_statement *s);
status compile_transaction(compile *c, statement *s);
status compile_attach(compile *c, statement *s);
status compile_analyze(compile *c, statement *s);
status compile_reindex(compile *c, statement *s);
status compile_vacuum(compile *c, statement *s);

/* A transaction on a database for reading or writing; opened by hdb.c before a program starts. */
status database_begin(hdb *db, int number);
/* Numbers stored with the database and transactional with it: user_version, application_id, encoding (1 UTF-8, 2
 * UTF-16le, 3 UTF-16be), ... (settings.c). The database's txn must be open. Absent: `otherwise`. */
status database_get_number(hdb *db, int number, const char *name, int64_t otherwise, int64_t *out);
status database_set_number(hdb *db, int number, const char *name, int64_t v);
/* Runs one SQL text inside (for DDL's own needs); rows are ignored. */
status sql_run(hdb *db, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Table-valued functions and eponymous tables (json_each, generate_series, pragma_*), FTS, R*Tree: virtual.h */

#endif
