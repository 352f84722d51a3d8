/* ANALYZE: sqlite_stat1, as SQLite fills it. For each index "rows, then rows per distinct prefix"; a table without a
 * whole index gets its count. Read from the indexes' trees: entries with equal encoded columns are equal (NULLs too).
 * REINDEX: an index is built anew under a new tree id. VACUUM: nothing to do here but its checks, and INTO.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "kv/base/key.h"
#include "sql/mirror.h"
#include "sql/ddl.h"
#include "sql/vector_index.h"

static status fail(hdb *db, status rc) { return rc == HDB_OK ? rc : error_set(&db->err, rc, "%s", status_text(rc)); }

/* ---- ANALYZE ---- */

typedef struct analyze {
  int database; /* -1: all */
  const char *table_name, *index_name;
} analyze;

/* The text of an index's row; *rows 0: nothing to write. */
static status index_statistic(exec *x, int database, const index_ *i, char *text, size_t size, int64_t *rows) {
  cursor *c;
  int n = i->key_columns_n < 32 ? i->key_columns_n : 32;
  int64_t distinct[32] = {0};
  buf last = BUF_INIT;
  *rows = 0;
  TRY(fail(x->db, cursor_open(x->db->databases[database].txn, i->tree, 0, &c)));
  status rc = HDB_OK;
  for (cursor_first(c); c->valid; cursor_next(c)) {
    const uint8_t *p = c->key.p, *end = p + c->key.n;
    int same = 0;
    size_t at = 0;
    for (; same < n; same++) {
      const uint8_t *next = key_skip(p, end, i->columns[same].descending);
      if (!next) break;
      size_t length = (size_t)(next - p);
      if (*rows == 0 || at + length > last.n || memcmp(last.p + at, p, length) != 0) break;
      at += length;
      p = next;
    }
    for (int k = same; k < n; k++) distinct[k]++;
    buf_clear(&last);
    buf_append(&last, c->key.p, c->key.n);
    ++*rows;
    CHECK(exec_tick(x));
  }
  rc = fail(x->db, c->error);
  int written = snprintf(text, size, "%lld", (long long)*rows);
  for (int k = 0; k < n && written > 0 && (size_t)written < size - 24; k++) {
    int64_t per = distinct[k] ? (*rows + distinct[k] - 1) / distinct[k] : *rows;
    if (per == 2 && *rows * 10 <= distinct[k] * 11) per = 1;
    written += snprintf(text + written, size - (size_t)written, " %lld", (long long)per);
  }
out:
  buf_free(&last);
  cursor_close(c);
  return rc;
}

static status write_statistic(exec *x, int database, const table *stat, const char *owner, const char *index, const char *text) {
  value row[3] = {value_text(owner, strlen(owner)), index ? value_text(index, strlen(index)) : value_null(), value_text(text, strlen(text))};
  return plain_row_append(x->db, database, stat, row, 3);
}

static status count_rows(exec *x, int database, const table *t, int64_t *rows) {
  cursor *c;
  status rc = txn_count(x->db->databases[database].txn, t->tree, rows);
  if (rc == HDB_OK) return rc;
  *rows = 0;
  TRY(fail(x->db, cursor_open(x->db->databases[database].txn, t->tree, 0, &c)));
  rc = HDB_OK;
  for (cursor_first(c); c->valid && rc == HDB_OK; cursor_next(c)) {
    ++*rows;
    rc = exec_tick(x);
  }
  if (rc == HDB_OK) rc = fail(x->db, c->error);
  cursor_close(c);
  return rc;
}

static bool builtin_collations(const index_ *i) {
  for (int k = 0; k < i->key_columns_n; k++) {
    const char *name = i->columns[k].collation;
    if (!name_equal(name, "BINARY") && !name_equal(name, "NOCASE") && !name_equal(name, "RTRIM")) return false;
  }
  return true;
}

static status analyze_table(exec *x, int database, const table *stat, const table *t, const char *only_index) {
  bool needs_count = only_index == NULL;
  char text[1024];
  int64_t rows;
  if (t->kind != TABLE_ORDINARY || strncasecmp(t->name, "sqlite_", 7) == 0) return HDB_OK;
  const index_ **list;
  int n = 0;
  for (const index_ *i = t->indexes; i; i = i->next) n++;
  list = arena_alloc(&x->lifetime, ((size_t)n + 1) * sizeof *list);
  if (!list) return sql_nomem(x->err);
  n = table_index_order(t, list);
  for (int k = 0; k < n; k++) {
    const index_ *i = list[k];
    if (only_index && !name_equal(only_index, i->name)) continue;
    if (!i->where) needs_count = false;
    if (!builtin_collations(i)) continue;
    TRY(index_statistic(x, database, i, text, sizeof text, &rows));
    if (rows) TRY(write_statistic(x, database, stat, t->name, i->is_primary ? t->name : i->name, text));
  }
  if (!needs_count) return HDB_OK;
  TRY(count_rows(x, database, t, &rows));
  snprintf(text, sizeof text, "%lld", (long long)rows);
  return rows ? write_statistic(x, database, stat, t->name, NULL, text) : HDB_OK;
}

/* sqlite_stat1, made when it is not there. */
static status ensure_stat(exec *x, int database, table **stat) {
  schema *s;
  TRY(catalog_schema(x->db, database, &s));
  *stat = schema_table(s, "sqlite_stat1");
  if (*stat) return HDB_OK;
  uint32_t tree;
  TRY(fail(x->db, txn_new_tree(x->db->databases[database].txn, &tree)));
  TRY(schema_insert(x->db, database, "table", "sqlite_stat1", "sqlite_stat1", tree, "CREATE TABLE sqlite_stat1(tbl,idx,stat)"));
  TRY(schema_changed(x->db, database));
  TRY(catalog_schema(x->db, database, &s));
  *stat = schema_table(s, "sqlite_stat1");
  return *stat ? HDB_OK : error_set(x->err, HDB_CORRUPT, "database disk image is malformed");
}

/* The schema's row written again: the stamp moves, and every connection reads the statistics anew. */
static status touch_stat(void *context, const schema_object *o) {
  exec *x = ((void **)context)[0];
  int database = *(int *)((void **)context)[1];
  return strcmp(o->name, "sqlite_stat1") == 0 ? schema_update(x->db, database, o) : HDB_OK;
}

static status analyze_database(exec *x, int database, const analyze *a) {
  hdb *db = x->db;
  table *stat;
  schema *s;
  TRY(catalog_schema(db, database, &s)); /* the order is that of before sqlite_stat1 was made */
  s->references++;
  status rc = HDB_OK;
  CHECK(ensure_stat(x, database, &stat));
  if (a->index_name) CHECK(plain_rows_delete(db, database, stat, 1, a->index_name));
  else if (a->table_name) CHECK(plain_rows_delete(db, database, stat, 0, a->table_name));
  else CHECK(fail(db, txn_clear(db->databases[database].txn, stat->tree)));
  table **tables;
  int n;
  CHECK(fail(db, schema_walk_order(s, &x->lifetime, &tables, &n)));
  for (int i = 0; i < n; i++) {
    if (a->table_name && !name_equal(a->table_name, tables[i]->name)) continue;
    CHECK(analyze_table(x, database, stat, tables[i], a->index_name));
  }
  void *context[2] = {x, &database};
  rc = schema_each(db, database, touch_stat, context);
out:
  schema_release(s);
  return rc;
}

static status analyze_start(exec *x) {
  const analyze *a = x->program->data;
  for (int i = 0; i < x->db->databases_n; i++) {
    if (a->database >= 0 ? i != a->database : i == DB_TEMP || !x->db->databases[i].name) continue;
    TRY(analyze_database(x, i, a));
  }
  return HDB_OK;
}

/* sqlite_stat1 made or emptied, each table, and the new rows read back. */
static status analyze_authorize(compile *c, const analyze *a, int database) {
  static const char *const columns[] = {"tbl", "idx", "stat"};
  schema *s;
  bool ignore;
  if (!c->db->authorize) return HDB_OK;
  TRY(catalog_schema(c->db, database, &s));
  if (!schema_table(s, "sqlite_stat1")) {
    TRY(compile_authorize(c, HDB_INSERT, schema_table_name(database), NULL, database, &ignore));
    TRY(compile_authorize(c, database == DB_TEMP ? HDB_CREATE_TEMP_TABLE : HDB_CREATE_TABLE, "sqlite_stat1", NULL, database, &ignore));
    TRY(ddl_authorize_row(c, database));
  } else if (a->table_name) {
    TRY(compile_authorize(c, HDB_DELETE, "sqlite_stat1", NULL, database, &ignore));
    TRY(compile_authorize(c, HDB_READ, "sqlite_stat1", a->index_name ? "idx" : "tbl", database, &ignore));
  }
  for (int i = s->tables_n - 1; i >= 0; i--) {
    const table *t = s->in_order[i];
    if (t->kind != TABLE_ORDINARY || strncasecmp(t->name, "sqlite_", 7) == 0 || (a->table_name && !name_equal(a->table_name, t->name))) continue;
    TRY(compile_authorize(c, HDB_ANALYZE, t->name, NULL, database, &ignore));
  }
  TRY(compile_authorize(c, HDB_SELECT, NULL, NULL, -1, &ignore));
  for (int i = 0; i < 3; i++) TRY(compile_authorize(c, HDB_READ, "sqlite_stat1", columns[i], database, &ignore));
  return HDB_OK;
}

static status analyze_program(compile *c, analyze *a) {
  for (int i = 0; i < c->db->databases_n; i++)
    if (a->database >= 0 ? i == a->database : i != DB_TEMP && c->db->databases[i].name) TRY(analyze_authorize(c, a, i));
  for (int i = 0; i < c->db->databases_n; i++)
    if (a->database >= 0 ? i == a->database : i != DB_TEMP && c->db->databases[i].name) compile_writes(c, i);
  c->program->changes_schema = true;
  return rows_program(c, analyze_start, a, NULL, 0);
}

status compile_analyze(compile *c, statement *s) {
  analyze *a = arena_zero(c->memory, sizeof *a);
  const qualified_name *name = &s->name;
  if (!a) return sql_nomem(c->err);
  a->database = -1;
  if (!name->name) return analyze_program(c, a);
  if (!name->schema && (a->database = catalog_database(c->db, name->name)) >= 0) return analyze_program(c, a);
  int number;
  index_ *i = catalog_index(c->db, name->schema, name->name, &number);
  table *t = i ? i->owner : catalog_table(c->db, name->schema, name->name, &number);
  if (!t) return error_set(c->err, HDB_ERROR, "no such table: %s%s%s", name->schema ? name->schema : "", name->schema ? "." : "", name->name);
  a->database = number;
  a->table_name = arena_strdup(c->memory, t->name);
  a->index_name = i ? arena_strdup(c->memory, i->name) : NULL;
  return analyze_program(c, a);
}

/* ---- REINDEX ---- */

typedef struct reindex {
  int database;          /* -1 all */
  const char *table_name, *index_name, *collation;
} reindex;

typedef struct reindex_visit {
  exec *x;
  int database;
  const char *name;
  uint32_t tree;
  const char *type;
} reindex_visit;

static status visit_reindex(void *context, const schema_object *o) {
  reindex_visit *v = context;
  if (strcmp(o->type, v->type) != 0 || !name_equal(o->name, v->name)) return HDB_OK;
  schema_object changed = *o;
  changed.root = v->tree;
  return schema_update(v->x->db, v->database, &changed);
}

static status reindex_one(exec *x, int database, const char *name, uint32_t old) {
  hdb *db = x->db;
  txn *t = db->databases[database].txn;
  schema *s;
  reindex_visit v = {.x = x, .database = database, .name = name, .type = "index"};
  TRY(fail(db, txn_new_tree(t, &v.tree)));
  TRY(schema_each(db, database, visit_reindex, &v));
  TRY(fail(db, txn_clear(t, old)));
  TRY(catalog_schema(db, database, &s));
  index_ *i = schema_index(s, name);
  return i ? index_build(x, database, i) : HDB_OK;
}

static bool uses_collation(const index_ *i, const char *name) {
  for (int k = 0; k < i->key_columns_n; k++)
    if (name_equal(i->columns[k].collation, name)) return true;
  return false;
}

/* Vector graphs are made anew in the background; they answer until then. */
static bool reindexes_vectors(const reindex *r, const schema *s, const table *t) {
  bool any = false;
  if (r->collation || t->kind != TABLE_ORDINARY || t->without_rowid) return false;
  if (r->table_name && !name_equal(r->table_name, t->name)) return false;
  for (int i = 0; r->index_name && i < s->indexes_n; i++)
    any = any || (index_is_vector(s->indexes[i]) && s->indexes[i]->owner == t && name_equal(s->indexes[i]->name, r->index_name));
  if (r->index_name) return any;
  for (int i = 0; i < t->columns_n; i++) any = any || t->columns[i].vector_dimensions;
  return any;
}

static status reindex_start(exec *x) {
  const reindex *r = x->program->data;
  for (int d = 0; d < x->db->databases_n; d++) {
    schema *s;
    if (r->database >= 0 ? d != r->database : !x->db->databases[d].engine) continue;
    TRY(catalog_schema(x->db, d, &s));
    s->references++;
    status rc = HDB_OK;
    bool any = false;
    for (int k = 0; k < s->indexes_n && rc == HDB_OK; k++) {
      const index_ *i = s->indexes[k];
      if (i->is_primary || index_is_vector(i) || (r->index_name && !name_equal(i->name, r->index_name)) ||
          (r->table_name && !name_equal(i->owner->name, r->table_name)) || (r->collation && !uses_collation(i, r->collation)))
        continue;
      any = true;
      rc = reindex_one(x, d, i->name, i->tree);
    }
    for (int k = 0; k < s->tables_n && rc == HDB_OK; k++)
      if (reindexes_vectors(r, s, s->in_order[k])) rc = fail(x->db, vector_index_rebuild(x->db->databases[d].engine, s->in_order[k]->tree));
    schema_release(s);
    TRY(rc);
    if (any) TRY(schema_changed(x->db, d));
  }
  return HDB_OK;
}

status compile_reindex(compile *c, statement *s) {
  reindex *r = arena_zero(c->memory, sizeof *r);
  const qualified_name *name = &s->name;
  const collation *found;
  error ignored = ERROR_INIT;
  bool ignore = false;
  int number;
  if (!r) return sql_nomem(c->err);
  r->database = -1;
  if (name->name && !name->schema && find_collation(c->db, name->name, &found, &ignored) == HDB_OK) {
    r->collation = name->name;
  } else if (name->name) {
    table *t = catalog_table(c->db, name->schema, name->name, &number);
    index_ *i = t ? NULL : catalog_index(c->db, name->schema, name->name, &number);
    error_clear(&ignored);
    if (!t && !i) return error_set(c->err, HDB_ERROR, "unable to identify the object to be reindexed");
    r->database = number;
    if (t) r->table_name = arena_strdup(c->memory, t->name);
    else r->index_name = arena_strdup(c->memory, i->name);
    if (i) TRY(compile_authorize(c, HDB_REINDEX, i->name, NULL, number, &ignore));
    for (const index_ *k = t ? t->indexes : NULL; k; k = k->next) TRY(compile_authorize(c, HDB_REINDEX, k->name, NULL, number, &ignore));
  }
  error_clear(&ignored);
  for (int i = 0; i < c->db->databases_n; i++)
    if (r->database >= 0 ? i == r->database : c->db->databases[i].engine != NULL) compile_writes(c, i);
  c->program->changes_schema = true;
  return rows_program(c, reindex_start, r, NULL, 0);
}

/* ---- VACUUM ---- */

typedef struct vacuum {
  int database;
  expr_program *into;
} vacuum;

/* As in SQLite, a table without INTEGER PRIMARY KEY and without an index gets new row ids, 1, 2, 3 ... */
static status renumber(exec *x, int database, const table *t, bool *any) {
  hdb *db = x->db;
  txn *own = db->databases[database].txn;
  cursor *c;
  bulk *out = NULL;
  uint32_t tree = 0;
  int64_t rowid = 0;
  bool gaps = false;
  TRY(fail(db, cursor_open(own, t->tree, 0, &c)));
  for (cursor_first(c); c->valid && !gaps; cursor_next(c)) gaps = rowid_decode(c->key.p) != ++rowid;
  status rc = fail(db, c->error);
  if (rc != HDB_OK || !gaps) goto out;
  CHECK(fail(db, txn_new_tree(own, &tree)));
  CHECK(fail(db, bulk_open(own, tree, &out)));
  rowid = 0;
  for (cursor_first(c); c->valid; cursor_next(c)) {
    uint8_t key[8];
    rowid_encode(key, ++rowid);
    CHECK(fail(db, bulk_add(out, slice_of(key, 8), c->value)));
    CHECK(exec_tick(x));
  }
  CHECK(fail(db, c->error));
  rc = fail(db, bulk_finish(out));
  out = NULL;
  if (rc == HDB_OK) rc = fail(db, txn_clear(own, t->tree));
  reindex_visit v = {.x = x, .database = database, .name = t->name, .tree = tree, .type = "table"};
  if (rc == HDB_OK) rc = schema_each(db, database, visit_reindex, &v);
  *any = true;
out:
  if (out) bulk_abandon(out);
  cursor_close(c);
  return rc;
}

static status vacuum_database(exec *x, int database) {
  hdb *db = x->db;
  schema *s;
  bool any = false;
  if (db->databases[database].read_only || !db->databases[database].engine) return HDB_OK;
  TRY(catalog_schema(db, database, &s));
  s->references++;
  status rc = HDB_OK;
  for (int i = 0; i < s->tables_n && rc == HDB_OK; i++) {
    const table *t = s->in_order[i];
    if (t->kind == TABLE_ORDINARY && !t->without_rowid && t->rowid_column < 0 && !t->indexes) rc = renumber(x, database, t, &any);
  }
  schema_release(s);
  if (rc == HDB_OK && any) rc = schema_changed(db, database);
  if (rc == HDB_OK && any) rc = transaction_commit(db);
  if (rc != HDB_OK) transaction_rollback(db);
  return rc;
}

static status vacuum_start(exec *x) {
  const vacuum *v = x->program->data;
  hdb *db = x->db;
  if (!db->autocommit) return error_set(x->err, HDB_ERROR, "cannot VACUUM from within a transaction");
  if (atomic_load(&db->active) > 1) return error_set(x->err, HDB_ERROR, "cannot VACUUM - SQL statements in progress");
  if (!v->into) return vacuum_database(x, v->database); /* space is given back by compaction */
  const value *name;
  if (db->confined) return error_set(x->err, HDB_AUTH, "permission denied to write a file of the server");
  TRY(expr_eval(x, v->into, &name));
  if (name->type != VAL_TEXT) return error_set(x->err, HDB_ERROR, "non-text filename");
  char *path = strndup(name->p ? name->p : "", name->n);
  if (!path) return sql_nomem(x->err);
  status rc = mirror_write_file(db, v->database, path);
  free(path);
  return rc;
}

status compile_vacuum(compile *c, statement *s) {
  vacuum *v = arena_zero(c->memory, sizeof *v);
  if (!v) return sql_nomem(c->err);
  if (s->vacuum.schema) {
    v->database = catalog_database(c->db, s->vacuum.schema);
    if (v->database < 0) return error_set(c->err, HDB_ERROR, "unknown database %s", s->vacuum.schema);
  }
  if (s->vacuum.into) {
    scope sc = {.allow = ALLOW_PARAM | ALLOW_SUBQUERY | ALLOW_NONDETERMINISTIC | ALLOW_DQS, .excluded_slot = -1};
    TRY(resolve_expr(c, &sc, &s->vacuum.into));
    TRY(expr_compile(c, s->vacuum.into, &v->into));
  }
  c->program->needs_no_transaction = true;
  c->program->read_only = v->into != NULL;
  return rows_program(c, vacuum_start, v, NULL, 0);
}
