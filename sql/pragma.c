/* PRAGMA: from the name to the function, and the row source of pragma_x(...).
 *
 * P1  An unknown name is no error and gives nothing.
 * P2  A statement's columns depend on whether a value is given (SILENT_SET), as SQLite's do.
 * P3  What a PRAGMA sets for the connection it sets when it runs, not when it is compiled.
 */
#include "sql/pragma.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <strings.h>

static const char *const table_info_columns[] = {"cid", "name", "type", "notnull", "dflt_value", "pk", "hidden"};
static const char *const table_list_columns[] = {"schema", "name", "type", "ncol", "wr", "strict"};
static const char *const index_list_columns[] = {"seq", "name", "unique", "origin", "partial"};
static const char *const index_info_columns[] = {"seqno", "cid", "name", "desc", "coll", "key"};
static const char *const database_list_columns[] = {"seq", "name", "file"};
static const char *const foreign_key_list_columns[] = {"id", "seq", "table", "from", "to", "on_update", "on_delete", "match"};
static const char *const foreign_key_check_columns[] = {"table", "rowid", "parent", "fkid"};
static const char *const function_list_columns[] = {"name", "builtin", "type", "enc", "narg", "flags"};
static const char *const sequence_name[] = {"seq", "name"};
static const char *const just_name[] = {"name"};
static const char *const timeout_name[] = {"timeout"};
static const char *const cache_size_name[] = {"cache_size"};
static const char *const checkpoint_columns[] = {"busy", "log", "checkpointed"};

#define FLAG(name, field) {name, PRAGMA_FLAG | PRAGMA_RESULT0 | PRAGMA_SILENT_SET, pragma_flag, NULL, 1, offsetof(struct hdb_pragmas, field)}
#define COLUMNS(list) list, sizeof list / sizeof *list

/* In the order of pragma_list; the names that SQLite does not list come last. */
const pragma_definition pragma_definitions[] = {
    {"analysis_limit", PRAGMA_RESULT0, pragma_analysis_limit, NULL, 1, 0},
    {"application_id", PRAGMA_RESULT0 | PRAGMA_SILENT_SET | PRAGMA_WRITES | PRAGMA_READS, pragma_header_value, NULL, 1, 0},
    {"auto_vacuum", PRAGMA_RESULT0 | PRAGMA_SILENT_SET | PRAGMA_READS, pragma_auto_vacuum, NULL, 1, 0},
    FLAG("automatic_index", automatic_index),
    {"busy_timeout", PRAGMA_RESULT0, pragma_busy_timeout, COLUMNS(timeout_name), 0},
    {"cache_size", PRAGMA_RESULT0 | PRAGMA_SILENT_SET | PRAGMA_READS, pragma_cache_size, NULL, 1, 0},
    {"cache_spill", PRAGMA_RESULT0 | PRAGMA_SILENT_SET, pragma_cache_spill, NULL, 1, 0},
    {"case_sensitive_like", PRAGMA_SILENT_SET, pragma_case_sensitive_like, NULL, 0, 0},
    FLAG("cell_size_check", cell_size_check),
    FLAG("checkpoint_fullfsync", checkpoint_fullfsync),
    {"collation_list", PRAGMA_RESULT0, pragma_collation_list, COLUMNS(sequence_name), 0},
    {"compile_options", PRAGMA_RESULT0, pragma_compile_options, NULL, 1, 0},
    FLAG("count_changes", count_changes),
    {"data_version", PRAGMA_RESULT0 | PRAGMA_READS, pragma_data_version, NULL, 1, 0},
    {"database_list", PRAGMA_RESULT0, pragma_database_list, COLUMNS(database_list_columns), 0},
    {"default_cache_size", PRAGMA_RESULT0 | PRAGMA_SILENT_SET | PRAGMA_READS, pragma_default_cache_size, COLUMNS(cache_size_name), 0},
    FLAG("defer_foreign_keys", defer_foreign_keys),
    FLAG("empty_result_callbacks", empty_result_callbacks),
    {"encoding", PRAGMA_RESULT0 | PRAGMA_SILENT_SET | PRAGMA_WRITES | PRAGMA_READS, pragma_encoding, NULL, 1, 0},
    {"foreign_key_check", PRAGMA_RESULT0 | PRAGMA_RESULT1 | PRAGMA_READS | PRAGMA_ALL_SCHEMAS, pragma_foreign_key_check, COLUMNS(foreign_key_check_columns), 0},
    {"foreign_key_list", PRAGMA_RESULT1 | PRAGMA_READS, pragma_foreign_key_list, COLUMNS(foreign_key_list_columns), 0},
    {"foreign_keys", PRAGMA_FLAG | PRAGMA_RESULT0 | PRAGMA_SILENT_SET, pragma_foreign_keys, NULL, 1, offsetof(struct hdb_pragmas, foreign_keys)},
    {"freelist_count", PRAGMA_RESULT0 | PRAGMA_READS, pragma_freelist_count, NULL, 1, 0},
    FLAG("full_column_names", full_column_names),
    FLAG("fullfsync", fullfsync),
    {"function_list", PRAGMA_RESULT0, pragma_function_list, COLUMNS(function_list_columns), 0},
    {"hard_heap_limit", PRAGMA_RESULT0, pragma_process_limit, NULL, 1, 1},
    FLAG("ignore_check_constraints", ignore_check_constraints),
    {"incremental_vacuum", PRAGMA_READS, pragma_nothing, NULL, 0, 0},
    {"index_info", PRAGMA_RESULT1 | PRAGMA_READS, pragma_index_info, index_info_columns, 3, 0},
    {"index_list", PRAGMA_RESULT1 | PRAGMA_READS, pragma_index_list, COLUMNS(index_list_columns), 0},
    {"index_xinfo", PRAGMA_RESULT1 | PRAGMA_READS, pragma_index_info, COLUMNS(index_info_columns), 1},
    {"integrity_check", PRAGMA_RESULT0 | PRAGMA_RESULT1 | PRAGMA_READS | PRAGMA_ALL_SCHEMAS, pragma_integrity_check, NULL, 1, 0},
    {"journal_mode", PRAGMA_RESULT0 | PRAGMA_READS, pragma_journal_mode, NULL, 1, 0},
    {"journal_size_limit", PRAGMA_RESULT0, pragma_number_setting, NULL, 1, offsetof(struct database_pragmas, journal_size_limit)},
    FLAG("legacy_alter_table", legacy_alter_table),
    {"locking_mode", PRAGMA_RESULT0, pragma_locking_mode, NULL, 1, 0},
    {"max_page_count", PRAGMA_RESULT0 | PRAGMA_READS, pragma_number_setting, NULL, 1, offsetof(struct database_pragmas, max_page_count)},
    {"mmap_size", PRAGMA_RESULT0, pragma_mmap_size, NULL, 1, 0},
    {"module_list", PRAGMA_RESULT0, pragma_module_list, COLUMNS(just_name), 0},
    {"optimize", PRAGMA_RESULT1 | PRAGMA_READS, pragma_nothing, NULL, 1, 0},
    {"page_count", PRAGMA_RESULT0 | PRAGMA_READS, pragma_page_count, NULL, 1, 0},
    {"page_size", PRAGMA_RESULT0 | PRAGMA_SILENT_SET, pragma_page_size, NULL, 1, 0},
    {"pragma_list", PRAGMA_RESULT0, pragma_pragma_list, COLUMNS(just_name), 0},
    FLAG("query_only", query_only),
    {"quick_check", PRAGMA_RESULT0 | PRAGMA_RESULT1 | PRAGMA_READS | PRAGMA_ALL_SCHEMAS, pragma_integrity_check, NULL, 1, 1},
    FLAG("read_uncommitted", read_uncommitted),
    FLAG("recursive_triggers", recursive_triggers),
    FLAG("reverse_unordered_selects", reverse_unordered_selects),
    {"schema_version", PRAGMA_RESULT0 | PRAGMA_SILENT_SET | PRAGMA_WRITES | PRAGMA_READS, pragma_schema_version, NULL, 1, 0},
    {"secure_delete", PRAGMA_RESULT0, pragma_secure_delete, NULL, 1, 0},
    FLAG("short_column_names", short_column_names),
    {"shrink_memory", 0, pragma_nothing, NULL, 0, 0},
    {"soft_heap_limit", PRAGMA_RESULT0, pragma_process_limit, NULL, 1, 0},
    {"synchronous", PRAGMA_RESULT0 | PRAGMA_SILENT_SET | PRAGMA_READS, pragma_synchronous, NULL, 1, 0},
    {"table_info", PRAGMA_RESULT1 | PRAGMA_READS, pragma_table_info, table_info_columns, 6, 0},
    {"table_list", PRAGMA_RESULT1 | PRAGMA_READS | PRAGMA_ALL_SCHEMAS, pragma_table_list, COLUMNS(table_list_columns), 0},
    {"table_xinfo", PRAGMA_RESULT1 | PRAGMA_READS, pragma_table_info, COLUMNS(table_info_columns), 1},
    {"temp_store", PRAGMA_RESULT0 | PRAGMA_SILENT_SET, pragma_temp_store, NULL, 1, 0},
    {"temp_store_directory", PRAGMA_SILENT_SET, pragma_temp_store_directory, NULL, 1, 0},
    {"threads", PRAGMA_RESULT0, pragma_threads, NULL, 1, 0},
    FLAG("trusted_schema", trusted_schema),
    {"user_version", PRAGMA_RESULT0 | PRAGMA_SILENT_SET | PRAGMA_WRITES | PRAGMA_READS, pragma_header_value, NULL, 1, 0},
    {"wal_autocheckpoint", 0, pragma_number_setting, NULL, 1, offsetof(struct database_pragmas, wal_autocheckpoint)},
    {"wal_checkpoint", PRAGMA_READS, pragma_wal_checkpoint, COLUMNS(checkpoint_columns), 0},
    FLAG("writable_schema", writable_schema),
    {"heliosdb_dialect", 0, pragma_dialect, NULL, 1, 0},
    {"heliosdb_recall_target", 0, pragma_recall_target, NULL, 1, 0},
    {"heliosdb_ef_search", 0, pragma_ef_search, NULL, 1, 0},
    {"heliosdb_vector_memory", 0, pragma_vector_memory, NULL, 1, 0},
    {"heliosdb_vector_strategy", 0, pragma_vector_strategy, NULL, 1, 0},
    {"heliosdb_rekey", 0, pragma_rekey, NULL, 1, 0},
    {"heliosdb_retention", 0, pragma_retention, NULL, 1, 0},
    {"heliosdb_conflict_policy", 0, pragma_conflict_policy, NULL, 1, 0},
};
const int pragma_definitions_n = sizeof pragma_definitions / sizeof *pragma_definitions;

static const pragma_definition *definition_find(const char *name) {
  for (int i = 0; i < pragma_definitions_n; i++)
    if (strcasecmp(pragma_definitions[i].name, name) == 0) return &pragma_definitions[i];
  return NULL;
}

/* ---- helpers ---- */

status pragma_emit(pragma_call *p, const value *row, int n) { return p->visit(p->context, row, n); }
status pragma_emit_int(pragma_call *p, int64_t v) {
  value row = value_int(v);
  return pragma_emit(p, &row, 1);
}
status pragma_emit_text(pragma_call *p, const char *text) {
  value row = pragma_text(text);
  return pragma_emit(p, &row, 1);
}

int pragma_level(const char *text, int otherwise) {
  static const struct {
    const char *word;
    int level;
  } words[] = {{"on", 1}, {"yes", 1}, {"true", 1}, {"off", 0}, {"no", 0}, {"false", 0}, {"full", 2}, {"extra", 3}};
  if (text[0] >= '0' && text[0] <= '9') return (uint8_t)pragma_int32(text);
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcasecmp(words[i].word, text) == 0) return words[i].level;
  return otherwise;
}

bool pragma_boolean(const char *text) {
  int level = pragma_level(text, 0);
  if (level >= 2 && !(text[0] >= '0' && text[0] <= '9')) return false;
  return level != 0;
}

int64_t pragma_integer(const char *text) {
  const char *p = text + (*text == '-' || *text == '+');
  bool negative = *text == '-', hex = p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
  errno = 0;
  uint64_t v = hex ? strtoull(p + 2, NULL, 16) : *p >= '0' && *p <= '9' ? strtoull(p, NULL, 10) : 0;
  if (hex) return negative ? (int64_t)(0 - v) : (int64_t)v;
  if (errno == ERANGE || v > INT64_MAX) return negative ? INT64_MIN : INT64_MAX;
  return negative ? -(int64_t)v : (int64_t)v;
}

bool pragma_whole_integer(const char *text, int64_t *v) {
  const char *p = text + (*text == '-' || *text == '+');
  size_t digits = p[0] == '0' && (p[1] == 'x' || p[1] == 'X') ? 2 + strspn(p + 2, "0123456789abcdefABCDEF") : strspn(p, "0123456789");
  *v = pragma_integer(text);
  return digits > 0 && p[digits] == 0;
}

int32_t pragma_int32(const char *text) {
  int64_t v = pragma_integer(text);
  bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
  if (hex && v >= 0 && v <= UINT32_MAX) return (int32_t)(uint32_t)v;
  return v > INT32_MAX || v < -2147483647 ? 0 : (int32_t)v;
}

/* ---- as a statement ---- */

typedef struct compiled_pragma {
  const pragma_definition *definition;
  int database;
  bool qualified;
  const char *argument;
} compiled_pragma;

static status visit_statement(void *context, const value *row, int n) {
  exec *x = context;
  return rows_add(x, row, n);
}

/* What looks at the schema looks at the file. */
static status pragma_run(pragma_call *p) {
  const error *unreadable = &p->db->databases[p->database].unreadable;
  if ((p->definition->flags & PRAGMA_READS) && unreadable->code != HDB_OK) return error_set(p->err, unreadable->code, "%s", unreadable->message);
  return p->definition->run(p);
}

static status pragma_start(exec *x) {
  const compiled_pragma *k = x->program->data;
  pragma_call p = {.db = x->db, .definition = k->definition, .database = k->database, .qualified = k->qualified,
                   .argument = k->argument, .memory = &x->lifetime, .err = x->err, .visit = visit_statement,
                   .context = x, .x = x};
  return pragma_run(&p);
}

/* The value as text: SQLite knows no other. */
static status argument_text(compile *c, const pragma_statement *s, const char **out) {
  *out = NULL;
  if (!s->has_value) return HDB_OK;
  const expr *e = s->value;
  slice text = {0, 0};
  value v;
  switch (e->op) {
  case EX_INT:
    v = value_int(e->i);
    if (e->span.n) text = e->span;
    else TRY(value_to_text(&v, c->memory, &text));
    break;
  case EX_REAL:
    v = value_real(e->r);
    if (e->span.n) text = e->span;
    else TRY(value_to_text(&v, c->memory, &text));
    break;
  default: text = slice_of(e->text, e->text ? (e->text_n ? e->text_n : strlen(e->text)) : 0);
  }
  *out = arena_printf(c->memory, "%s%.*s", s->negative && !(text.n && text.p[0] == '-') ? "-" : "", (int)text.n, (const char *)text.p);
  return *out ? HDB_OK : sql_nomem(c->err);
}

status compile_pragma(compile *c, pragma_statement *s) {
  compiled_pragma *k = arena_zero(c->memory, sizeof *k);
  if (!k) return sql_nomem(c->err);
  bool ignore = false;
  k->database = DB_MAIN;
  c->program->needs_no_transaction = true;
  c->program->read_only = true;
  if (s->schema) {
    k->qualified = true;
    k->database = catalog_database(c->db, s->schema);
    if (k->database < 0) return error_set(c->err, HDB_ERROR, "unknown database %s", s->schema);
  }
  TRY(argument_text(c, s, &k->argument));
  TRY(compile_authorize(c, HDB_PRAGMA, s->name, k->argument, s->schema ? k->database : -1, &ignore));
  const pragma_definition *d = k->definition = definition_find(s->name);
  c->program->holds_secret = d && d->run == pragma_rekey;
  if (!d || ignore) return rows_program(c, NULL, NULL, NULL, 0); /* P1 */
  if ((d->flags & PRAGMA_WRITES) && k->argument) {
    compile_writes(c, k->database);
    c->program->needs_no_transaction = false;
    c->program->read_only = false;
  }
  int columns = (d->flags & PRAGMA_SILENT_SET) && k->argument ? 0 : d->columns_n; /* P2 */
  return rows_program(c, pragma_start, k, d->columns ? d->columns : &d->name, columns);
}

/* ---- as a table ---- */

int pragma_columns(const char *name, const char *const **names, bool *takes_argument) {
  const pragma_definition *d = definition_find(name);
  if (!d || !(d->flags & (PRAGMA_RESULT0 | PRAGMA_RESULT1))) return 0;
  *names = d->columns ? d->columns : &d->name;
  *takes_argument = d->flags & PRAGMA_RESULT1;
  return d->columns_n;
}

status pragma_rows(hdb *db, const char *name, const value *arguments, int n, arena *memory, error *err,
                   pragma_visitor visit, void *context) {
  const pragma_definition *d = definition_find(name);
  if (!d) return HDB_OK;
  pragma_call p = {.db = db, .definition = d, .database = DB_MAIN, .memory = memory, .err = err, .visit = visit, .context = context};
  const char *texts[2] = {NULL, NULL};
  for (int i = 0; i < n && i < 2; i++) {
    slice text;
    if (arguments[i].type == VAL_NULL) continue;
    TRY(value_to_text(&arguments[i], memory, &text));
    texts[i] = arena_strndup(memory, text.n ? (const char *)text.p : "", text.n);
    if (!texts[i]) return sql_nomem(err);
  }
  /* one without an argument takes the schema first */
  if (d->flags & PRAGMA_RESULT1) p.argument = texts[0];
  const char *schema = d->flags & PRAGMA_RESULT1 ? texts[1] : texts[0];
  if (schema) {
    p.qualified = true;
    p.database = catalog_database(db, schema);
    if (p.database < 0) return error_set(err, HDB_ERROR, "unknown database %s", schema);
  }
  return pragma_run(&p);
}
