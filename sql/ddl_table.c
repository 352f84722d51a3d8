/* CREATE TABLE, CREATE TABLE AS, CREATE VIEW, CREATE VIRTUAL TABLE.
 *
 * The text is checked when it is compiled (the build of catalog_build.c, expressions resolved) and written when it
 * runs: a row for the table, one for each automatic index, sqlite_sequence when the first AUTOINCREMENT needs it.
 */
#include <stdlib.h>
#include <strings.h>

#include "kv/base/key.h"
#include "sql/pg_enum.h"
#include "sql/ddl.h"

typedef struct create_table {
  int database;
  const char *name, *sql;
  const char **indexes; /* automatic ones, in creation order */
  int indexes_n;
  bool autoincrement;
  const query *query; /* AS SELECT */
  int columns_n;
  uint8_t *affinities;
} create_table;

/* ---- names ---- */

static const char *object_kind(const table *t) { return t->kind == TABLE_VIEW ? "view" : "table"; }

/* The name is free, or *exists (IF NOT EXISTS and something is there). */
static status name_is_free(compile *c, int database, const char *name, bool if_not_exists, bool *exists) {
  schema *s;
  *exists = false;
  TRY(catalog_schema(c->db, database, &s));
  table *t = schema_table(s, name);
  if (t) {
    if (if_not_exists) {
      *exists = true;
      compile_reads(c, database);
      return HDB_OK;
    }
    return error_set(c->err, HDB_ERROR, "%s %s already exists", object_kind(t), name);
  }
  if (schema_index(s, name)) return error_set(c->err, HDB_ERROR, "there is already an index named %s", name);
  return HDB_OK;
}

static status nothing_program(compile *c) { return rows_program(c, NULL, NULL, NULL, 0); }

/* ---- checks of expressions ---- */

static status resolve_copy(compile *c, table *t, expr *e, const char *place) {
  arena memory = ARENA_INIT;
  program scratch = {0};
  compile inner = compile_begin(c->db, &scratch);
  inner.memory = &memory;
  inner.err = c->err;
  expr *copy = ast_copy_expr(&memory, e);
  scope sc = {.allow = c->db->pragmas.dqs_ddl ? ALLOW_DQS : 0, .place = place, .table = t, .excluded_slot = -1};
  compile_slot(&inner, t->columns_n);
  status rc = copy ? resolve_expr(&inner, &sc, &copy) : sql_nomem(c->err);
  buf_free(&inner.slot_columns);
  arena_clear(&scratch.memory);
  arena_clear(&memory);
  return rc;
}

status table_check_expressions(compile *c, table *t) {
  for (int i = 0; i < t->columns_n && c->db->pragmas.dialect == DIALECT_POSTGRES; i++) TRY(pg_enum_must_exist(c->db, t->columns[i].type, c->err));
  for (int i = 0; i < t->checks_n; i++) TRY(resolve_copy(c, t, t->checks[i].e, "CHECK constraints"));
  for (int i = 0; i < t->columns_n; i++)
    if (t->columns[i].generated) TRY(resolve_copy(c, t, t->columns[i].generation, "generated columns"));
  return HDB_OK;
}

/* ---- running ---- */

static status ensure_sequence(exec *x, int database) {
  schema *s;
  TRY(catalog_schema(x->db, database, &s));
  if (schema_table(s, "sqlite_sequence")) return HDB_OK;
  uint32_t tree;
  status rc = txn_new_tree(x->db->databases[database].txn, &tree);
  if (rc != HDB_OK) return error_set(x->err, rc, "%s", status_text(rc));
  return schema_insert(x->db, database, "table", "sqlite_sequence", "sqlite_sequence", tree,
                       "CREATE TABLE sqlite_sequence(name,seq)");
}

static status copy_rows(exec *x, const create_table *d, uint32_t tree) {
  record_writer w = RECORD_WRITER_INIT;
  bulk *out = NULL;
  int64_t rowid = 0;
  value *values = arena_alloc(&x->lifetime, ((size_t)d->columns_n + 1) * sizeof *values);
  if (!values) return sql_nomem(x->err);
  status rc = query_open(x, d->query);
  if (rc == HDB_OK) {
    rc = bulk_open(x->db->databases[d->database].txn, tree, &out);
    if (rc != HDB_OK) error_set(x->err, rc, "%s", status_text(rc));
  }
  const value *row;
  while (rc == HDB_OK && (rc = query_next(x, d->query, &row)) == HDB_ROW) {
    uint8_t key[8];
    arena_mark mark = arena_save(&x->memory);
    record_begin(&w);
    for (int i = 0; i < d->columns_n; i++) {
      values[i] = row[i];
      CHECK(value_apply_affinity(&values[i], d->affinities[i], &x->memory));
      value_write(&w, &values[i]);
    }
    slice record = record_end(&w);
    rowid_encode(key, ++rowid);
    rc = record.p ? bulk_add(out, slice_of(key, 8), record) : HDB_NOMEM;
    if (rc != HDB_OK) CHECK(error_set(x->err, rc, "%s", status_text(rc)));
    arena_rewind(&x->memory, mark);
    CHECK(exec_tick(x));
  }
  if (rc == HDB_DONE) rc = HDB_OK;
  if (rc == HDB_OK && out) {
    rc = bulk_finish(out);
    out = NULL;
    if (rc != HDB_OK) error_set(x->err, rc, "%s", status_text(rc));
  }
out:
  if (out) bulk_abandon(out);
  query_close(x, d->query);
  record_writer_free(&w);
  return rc;
}

static status create_table_start(exec *x) {
  const create_table *d = x->program->data;
  hdb *db = x->db;
  txn *t = db->databases[d->database].txn;
  uint32_t tree;
  status rc = txn_new_tree(t, &tree);
  if (rc != HDB_OK) return error_set(x->err, rc, "%s", status_text(rc));
  TRY(schema_insert(db, d->database, "table", d->name, d->name, tree, d->sql));
  for (int i = 0; i < d->indexes_n; i++) {
    uint32_t index_tree;
    rc = txn_new_tree(t, &index_tree);
    if (rc != HDB_OK) return error_set(x->err, rc, "%s", status_text(rc));
    TRY(schema_insert(db, d->database, "index", d->indexes[i], d->name, index_tree, NULL));
  }
  if (d->autoincrement) TRY(ensure_sequence(x, d->database));
  TRY(schema_reload(db, d->database));
  return d->query ? copy_rows(x, d, tree) : HDB_OK;
}

/* ---- CREATE TABLE ---- */

static const char *stored_text(compile *c, const char *head, slice span) {
  return arena_printf(c->memory, "%s%.*s", head, (int)span.n, (const char *)span.p);
}

static status automatic_indexes(compile *c, const table *t, create_table *d) {
  int n = 0;
  for (const index_ *i = t->indexes; i; i = i->next) n++;
  d->indexes = arena_zero(c->memory, ((size_t)n + 1) * sizeof *d->indexes);
  if (!d->indexes) return sql_nomem(c->err);
  /* by their number: the order of making */
  for (int number = 1; number <= n; number++) {
    const char *wanted = arena_printf(c->memory, "sqlite_autoindex_%s_%d", t->name, number);
    for (const index_ *i = t->indexes; i && wanted; i = i->next)
      if (!i->is_primary && strcmp(i->name, wanted) == 0) d->indexes[d->indexes_n++] = i->name;
  }
  return c->memory->failed ? sql_nomem(c->err) : HDB_OK;
}

/* UNIQUE and PRIMARY KEY make indexes: asked for each in the order of their making. */
static status authorize_indexes(compile *c, const table *t, int database) {
  bool ignore;
  const char *master = schema_table_name(database);
  int n = 0;
  if (!c->db->authorize) return HDB_OK;
  for (const index_ *i = t->indexes; i; i = i->next) n++;
  for (int number = 1; number <= n; number++) {
    const char *wanted = arena_printf(c->memory, "sqlite_autoindex_%s_%d", t->name, number);
    const index_ *i = t->indexes;
    while (i && wanted && strcmp(i->name, wanted) != 0) i = i->next;
    if (!i) continue;
    TRY(compile_authorize(c, HDB_INSERT, master, NULL, database, &ignore));
    TRY(compile_authorize(c, database == DB_TEMP ? HDB_CREATE_TEMP_INDEX : HDB_CREATE_INDEX, i->name, t->name, database, &ignore));
    for (int k = 0; k < i->key_columns_n; k++)
      TRY(compile_authorize(c, HDB_READ, t->name, t->columns[i->columns[k].column].name, database, &ignore));
    TRY(compile_authorize(c, HDB_INSERT, master, NULL, database, &ignore));
  }
  return HDB_OK;
}

static status define_columns(compile *c, create_table_statement *s, create_table *d) {
  build b = {c->db, c->memory, c->err, NULL, false};
  table *t;
  TRY(catalog_build_table(&b, s, &t));
  TRY(table_check_expressions(c, t));
  TRY(automatic_indexes(c, t, d));
  TRY(authorize_indexes(c, t, d->database));
  TRY(ddl_authorize_row(c, d->database));
  d->autoincrement = t->autoincrement;
  schema *sc;
  TRY(catalog_schema(c->db, d->database, &sc));
  if (d->autoincrement && !schema_table(sc, "sqlite_sequence")) {
    bool ignore;
    TRY(compile_authorize(c, HDB_INSERT, schema_table_name(d->database), NULL, d->database, &ignore));
    TRY(compile_authorize(c, d->database == DB_TEMP ? HDB_CREATE_TEMP_TABLE : HDB_CREATE_TABLE, "sqlite_sequence", NULL, d->database, &ignore));
    TRY(ddl_authorize_row(c, d->database));
  }
  d->sql = stored_text(c, "CREATE TABLE ", s->span);
  return d->sql ? HDB_OK : sql_nomem(c->err);
}

/* ---- CREATE TABLE AS ---- */

static const char *type_of_affinity(uint8_t affinity) {
  switch (affinity) {
  case AFF_TEXT: return " TEXT";
  case AFF_NUMERIC: return " NUM";
  case AFF_INTEGER: return " INT";
  case AFF_REAL: return " REAL";
  default: return "";
  }
}

static uint8_t declared_affinity(const select *s, int k) {
  /* the leftmost arm names the columns; the affinity is its expression's */
  while (s->prior) s = s->prior;
  if (!s->columns || k >= s->columns->n) return AFF_BLOB;
  uint8_t affinity = expr_affinity(s->columns->items[k].e);
  return affinity ? affinity : AFF_BLOB;
}

status unique_column_names(arena *memory, const char **names, int n) {
  for (int i = 0; i < n; i++) {
    const char *base = names[i];
    size_t length = strlen(base);
    int number = 0;
    for (bool again = true; again;) {
      again = false;
      for (int k = 0; k < i && !again; k++) again = name_equal(names[k], names[i]);
      if (!again) break;
      /* "a:1" counts on from "a" */
      size_t j = length;
      while (j > 1 && base[j - 1] >= '0' && base[j - 1] <= '9') j--;
      if (j > 1 && base[j - 1] == ':' && j < length) length = j - 1;
      names[i] = arena_printf(memory, "%.*s:%d", (int)length, base, ++number);
      if (!names[i]) return HDB_NOMEM;
    }
  }
  return HDB_OK;
}

static size_t identifier_length(const char *name) {
  size_t n = 2;
  for (; *name; name++) n += *name == '"' ? 2 : 1;
  return n;
}

static const char *as_select_text(compile *c, const char *table_name, const char **names, const uint8_t *affinities, int n) {
  size_t length = identifier_length(table_name);
  for (int i = 0; i < n; i++) length += identifier_length(names[i]) + 5;
  bool is_short = length < 50;
  buf text = BUF_INIT;
  buf_text(&text, "CREATE TABLE ");
  buf_identifier(&text, table_name);
  buf_byte(&text, '(');
  for (int i = 0; i < n; i++) {
    buf_text(&text, i ? (is_short ? "," : ",\n  ") : (is_short ? "" : "\n  "));
    buf_identifier(&text, names[i]);
    buf_text(&text, type_of_affinity(affinities[i]));
  }
  buf_text(&text, is_short ? ")" : "\n)");
  const char *out = buf_failed(&text) ? NULL : arena_strndup(c->memory, (const char *)text.p, text.n);
  buf_free(&text);
  return out;
}

static status define_by_select(compile *c, create_table_statement *s, create_table *d) {
  query *q;
  result_column *columns;
  TRY(plan_query(c, s->select, NULL, &q));
  TRY(query_result_columns(c, q, s->select, &columns, &d->columns_n));
  d->query = q;
  const char **names = arena_alloc(c->memory, ((size_t)d->columns_n + 1) * sizeof *names);
  d->affinities = arena_zero(c->memory, (size_t)d->columns_n + 1);
  if (!names || !d->affinities) return sql_nomem(c->err);
  for (int i = 0; i < d->columns_n; i++) {
    names[i] = columns[i].name;
    d->affinities[i] = declared_affinity(s->select, i);
  }
  if (unique_column_names(c->memory, names, d->columns_n) != HDB_OK) return sql_nomem(c->err);
  TRY(ddl_authorize_row(c, d->database));
  d->sql = as_select_text(c, d->name, names, d->affinities, d->columns_n);
  return d->sql ? HDB_OK : sql_nomem(c->err);
}

status compile_create_table(compile *c, create_table_statement *s) {
  bool exists, ignore = false;
  create_table *d = arena_zero(c->memory, sizeof *d);
  if (!d) return sql_nomem(c->err);
  d->name = s->table.name;
  TRY(ddl_target(c, &s->table, s->temp, "table", &d->database));
  TRY(ddl_check_name(c, d->name, "table", d->name));
  TRY(compile_authorize(c, HDB_INSERT, schema_table_name(d->database), NULL, d->database, &ignore));
  TRY(compile_authorize(c, d->database == DB_TEMP ? HDB_CREATE_TEMP_TABLE : HDB_CREATE_TABLE, d->name, NULL, d->database, &ignore));
  TRY(name_is_free(c, d->database, d->name, s->if_not_exists, &exists));
  if (exists) return nothing_program(c);
  if (s->select) TRY(define_by_select(c, s, d));
  else TRY(define_columns(c, s, d));
  return ddl_program(c, d->database, create_table_start, d);
}

/* ---- CREATE VIEW ---- */

typedef struct create_view {
  int database;
  const char *name, *sql;
} create_view;

static status create_view_start(exec *x) {
  const create_view *d = x->program->data;
  TRY(schema_insert(x->db, d->database, "view", d->name, d->name, 0, d->sql));
  return schema_reload(x->db, d->database);
}

typedef struct param_search {
  bool found;
} param_search;
static bool visit_param(void *context, expr *e) {
  param_search *s = context;
  s->found = s->found || e->op == EX_PARAM;
  return !s->found;
}

status compile_create_view(compile *c, create_view_statement *s) {
  bool exists, ignore = false;
  create_view *d = arena_zero(c->memory, sizeof *d);
  if (!d) return sql_nomem(c->err);
  param_search params = {false};
  d->name = s->view.name;
  ast_walk_select(s->select, visit_param, &params);
  if (params.found || (c->tree && c->tree->parameters))
    return error_set(c->err, HDB_ERROR, "parameters are not allowed in views");
  TRY(ddl_target(c, &s->view, s->temp, "table", &d->database));
  TRY(ddl_check_name(c, d->name, "view", d->name));
  TRY(compile_authorize(c, HDB_INSERT, schema_table_name(d->database), NULL, d->database, &ignore));
  TRY(compile_authorize(c, d->database == DB_TEMP ? HDB_CREATE_TEMP_VIEW : HDB_CREATE_VIEW, d->name, NULL, d->database, &ignore));
  TRY(name_is_free(c, d->database, d->name, s->if_not_exists, &exists));
  if (exists) return nothing_program(c);
  const char *other = d->database == DB_TEMP ? NULL : select_foreign_schema(c->db, s->select, d->database);
  if (other) return error_set(c->err, HDB_ERROR, "view %s cannot reference objects in database %s", d->name, other);
  TRY(ddl_authorize_row(c, d->database));
  d->sql = stored_text(c, "CREATE VIEW ", s->span);
  if (!d->sql) return sql_nomem(c->err);
  return ddl_program(c, d->database, create_view_start, d);
}

status compile_create_virtual_table(compile *c, create_virtual_table_statement *s) {
  bool exists, ignore = false;
  int database;
  TRY(ddl_target(c, &s->table, false, "table", &database));
  TRY(ddl_check_name(c, s->table.name, "table", s->table.name));
  TRY(compile_authorize(c, HDB_INSERT, schema_table_name(database), NULL, database, &ignore));
  TRY(name_is_free(c, database, s->table.name, s->if_not_exists, &exists));
  if (exists) return nothing_program(c);
  TRY(ddl_authorize_row(c, database));
  const char *sql = stored_text(c, "CREATE VIRTUAL TABLE ", s->span);
  return sql ? compile_create_virtual(c, s, database, sql) : sql_nomem(c->err);
}
