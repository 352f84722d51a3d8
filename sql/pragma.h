/* PRAGMAs: one table says what each is called, gives and takes; each is one function. */
#ifndef HDB_SQL_PRAGMA_H
#define HDB_SQL_PRAGMA_H

#include "sql/ddl.h"

typedef struct pragma_call pragma_call;

enum pragma_flags {
  PRAGMA_FLAG = 1,       /* a bool of hdb_pragmas at `data` */
  PRAGMA_RESULT0 = 2,    /* a table function without argument */
  PRAGMA_RESULT1 = 4,    /* a table function with one */
  PRAGMA_SILENT_SET = 8, /* with a value: no columns, no row */
  PRAGMA_WRITES = 16,    /* with a value it writes the database */
  PRAGMA_READS = 32,     /* looks at the schema: of a file that is no database, its error */
  PRAGMA_STATEMENT = 64, /* compiles again what was compiled before */
  PRAGMA_ALL_SCHEMAS = 128 /* without a schema name: all databases */
};
typedef struct pragma_definition {
  const char *name;
  unsigned flags;
  status (*run)(pragma_call *p);
  const char *const *columns; /* NULL: one, the pragma's name */
  uint8_t columns_n;
  size_t data;
} pragma_definition;

struct pragma_call {
  hdb *db;
  const pragma_definition *definition;
  int database;          /* the named one, or main */
  bool qualified;        /* a schema was named */
  const char *argument;  /* NULL: none */
  arena *memory;
  error *err;
  pragma_visitor visit;
  void *context;
  exec *x;               /* NULL from pragma_rows */
};

status pragma_emit(pragma_call *p, const value *row, int n);
status pragma_emit_int(pragma_call *p, int64_t v);
status pragma_emit_text(pragma_call *p, const char *text);
static inline value pragma_text(const char *text) { return text ? value_text(text, strlen(text)) : value_null(); }
bool pragma_boolean(const char *text);
int64_t pragma_integer(const char *text); /* the number at the beginning, decimal or hexadecimal; saturates */
bool pragma_whole_integer(const char *text, int64_t *v); /* false: more than a number stands there, or none */
int32_t pragma_int32(const char *text);   /* the same in 32 bits; 0 when it is larger */
/* -1 none: 0 off, 1 on, 2 full, 3 extra or a number. */
int pragma_level(const char *text, int otherwise);

/* pragma_settings.c */
status pragma_flag(pragma_call *p);
status pragma_foreign_keys(pragma_call *p);
status pragma_case_sensitive_like(pragma_call *p);
status pragma_number_setting(pragma_call *p); /* a number of database_pragmas at `data` */
status pragma_header_value(pragma_call *p);
status pragma_schema_version(pragma_call *p);
status pragma_data_version(pragma_call *p);
status pragma_busy_timeout(pragma_call *p);
status pragma_synchronous(pragma_call *p);
status pragma_journal_mode(pragma_call *p);
status pragma_locking_mode(pragma_call *p);
status pragma_auto_vacuum(pragma_call *p);
status pragma_secure_delete(pragma_call *p);
status pragma_temp_store(pragma_call *p);
status pragma_encoding(pragma_call *p);
status pragma_page_size(pragma_call *p);
status pragma_page_count(pragma_call *p);
status pragma_freelist_count(pragma_call *p);
status pragma_mmap_size(pragma_call *p);
status pragma_cache_size(pragma_call *p);
status pragma_default_cache_size(pragma_call *p);
status pragma_temp_store_directory(pragma_call *p);
status pragma_cache_spill(pragma_call *p);
status pragma_process_limit(pragma_call *p);
status pragma_threads(pragma_call *p);
status pragma_analysis_limit(pragma_call *p);
status pragma_wal_checkpoint(pragma_call *p);
status pragma_dialect(pragma_call *p);
status pragma_retention(pragma_call *p);
status pragma_rekey(pragma_call *p);
status pragma_conflict_policy(pragma_call *p);
status pragma_nothing(pragma_call *p);
/* virtual_vector.c */
status pragma_recall_target(pragma_call *p);
status pragma_ef_search(pragma_call *p);
status pragma_vector_memory(pragma_call *p);
status pragma_vector_strategy(pragma_call *p);
/* pragma_schema.c */
status pragma_table_info(pragma_call *p);
status pragma_table_list(pragma_call *p);
status pragma_index_list(pragma_call *p);
status pragma_index_info(pragma_call *p);
status pragma_database_list(pragma_call *p);
status pragma_foreign_key_list(pragma_call *p);
status pragma_collation_list(pragma_call *p);
status pragma_function_list(pragma_call *p);
status pragma_pragma_list(pragma_call *p);
status pragma_module_list(pragma_call *p);
status pragma_compile_options(pragma_call *p);
/* pragma_check.c */
status pragma_integrity_check(pragma_call *p);
status pragma_foreign_key_check(pragma_call *p);
/* pragma.c */
extern const pragma_definition pragma_definitions[];
extern const int pragma_definitions_n;
/* SQLite's -D options of Debian 12's library, in its order; also for sqlite_compileoption_get. */
extern const char *const compile_options[];
extern const int compile_options_n;

#endif
