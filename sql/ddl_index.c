/* CREATE INDEX, and filling an index from its table.
 *
 * Filling reads the table in key order, encodes an entry a row (catalog.h C3), sorts all entries in memory and writes
 * them in order. Entries equal in the key's own columns, none of them NULL, break UNIQUE.
 * Costs: the entries are in memory once, with 24 bytes each beside their bytes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "kv/base/key.h"
#include "sql/ddl.h"
#include "sql/vector_access.h"

/* ---- filling ---- */

typedef struct entry {
  size_t at; /* in bytes: key, then value */
  uint32_t key_n, prefix_n, value_n;
  bool has_null;
} entry;

typedef struct filler {
  exec x; /* of the index's expressions; a program of its own */
  program *program;
  exec *outer;
  index_ *i;
  int database;
  expr_program **expressions; /* NULL: a stored column */
  expr_program *where;
  const collation **collations;
  buf bytes, entries, key;
  record_writer writer;
} filler;

static status filler_compile(filler *f, hdb *db) {
  const index_ *i = f->i;
  const table *t = i->owner;
  f->program = calloc(1, sizeof *f->program);
  if (!f->program) return sql_nomem(&db->err);
  compile c = compile_begin(db, f->program);
  int slot_number = compile_slot(&c, t->columns_n);
  scope sc = {.table = t, .slot = slot_number, .place = "index expressions", .excluded_slot = -1, .allow = ALLOW_DQS};
  status rc = HDB_OK;
  f->expressions = arena_zero(c.memory, ((size_t)i->columns_n + 1) * sizeof *f->expressions);
  f->collations = arena_zero(c.memory, ((size_t)i->columns_n + 1) * sizeof *f->collations);
  if (!f->expressions || !f->collations) CHECK(sql_nomem(&db->err));
  for (int k = 0; k < i->columns_n; k++) {
    const index_column *column = &i->columns[k];
    expr *e = NULL;
    CHECK(find_collation(db, column->collation, &f->collations[k], &db->err));
    if (column->column == -2) {
      e = ast_copy_expr(c.memory, column->e);
      if (e && i->unresolved) CHECK(resolve_expr(&c, &sc, &e));
    } else if (column->column >= 0 && t->columns[column->column].stored < 0) {
      e = ast_expr(c.memory, EX_ID, NULL, NULL);
      if (e) e->text = t->columns[column->column].name, e->text_n = (uint32_t)strlen(e->text);
      if (e) CHECK(resolve_expr(&c, &sc, &e));
    } else {
      continue;
    }
    if (!e) CHECK(sql_nomem(&db->err));
    CHECK(expr_compile(&c, e, &f->expressions[k]));
  }
  if (i->where) {
    expr *e = ast_copy_expr(c.memory, i->where);
    if (!e) CHECK(sql_nomem(&db->err));
    if (i->unresolved) CHECK(resolve_expr(&c, &sc, &e));
    CHECK(expr_compile_condition(&c, e, &f->where));
  }
out:;
  status finish = compile_finish(&c);
  return rc == HDB_OK ? finish : rc;
}

/* One row's entry. */
static status filler_row(filler *f, slot *s) {
  const index_ *i = f->i;
  entry e = {.at = f->bytes.n};
  bool exact = true;
  int truth = 1;
  if (f->where) TRY(expr_test(&f->x, f->where, &truth));
  if (truth != 1) return HDB_OK;
  buf_clear(&f->key);
  record_begin(&f->writer);
  for (int k = 0; k < i->columns_n; k++) {
    const value *v;
    value rowid;
    if (f->expressions[k]) {
      TRY(expr_eval(&f->x, f->expressions[k], &v));
    } else if (i->columns[k].column == -1 || i->columns[k].column == i->owner->rowid_column) {
      rowid = slot_rowid(s);
      v = &rowid;
    } else {
      v = slot_column(s, i->columns[k].column);
    }
    if (k < i->key_columns_n && v->type == VAL_NULL) e.has_null = true;
    exact = value_write_key(&f->key, v, f->collations[k], i->columns[k].descending) && exact;
    value_write(&f->writer, v);
    if (k == i->key_columns_n - 1) e.prefix_n = (uint32_t)f->key.n;
  }
  if (!i->owner->without_rowid) key_put_rowid(&f->key, s->rowid);
  slice record = exact ? slice_of(NULL, 0) : record_end(&f->writer);
  e.key_n = (uint32_t)f->key.n;
  e.value_n = (uint32_t)record.n;
  buf_append(&f->bytes, f->key.p, f->key.n);
  buf_append(&f->bytes, record.p, record.n);
  buf_append(&f->entries, &e, sizeof e);
  return buf_failed(&f->bytes) || buf_failed(&f->entries) || buf_failed(&f->key) ? sql_nomem(&f->x.db->err) : HDB_OK;
}

static status filler_read(filler *f) {
  cursor *c;
  hdb *db = f->x.db;
  slot *s = &f->x.slots[0];
  s->table = f->i->owner;
  status rc = cursor_open(db->databases[f->database].txn, f->i->owner->tree, 0, &c);
  if (rc != HDB_OK) return error_set(&db->err, rc, "%s", status_text(rc));
  for (cursor_first(c); c->valid; cursor_next(c)) {
    arena_mark mark = arena_save(&f->x.memory);
    int64_t rowid = f->i->owner->without_rowid ? 0 : rowid_decode(c->key.p);
    slot_set_record(s, rowid, c->value);
    CHECK(filler_row(f, s));
    arena_rewind(&f->x.memory, mark);
    if (f->outer->program) CHECK(exec_tick(f->outer));
  }
  rc = c->error;
  if (rc != HDB_OK) error_set(&db->err, rc, "%s", status_text(rc));
out:
  cursor_close(c);
  return rc;
}

static int entry_compare(const void *a, const void *b, void *bytes) {
  const entry *x = a, *y = b;
  const uint8_t *p = bytes;
  return slice_compare(slice_of(p + x->at, x->key_n), slice_of(p + y->at, y->key_n));
}

static status unique_failure(hdb *db, const index_ *i) {
  buf text = BUF_INIT;
  for (int k = 0; k < i->key_columns_n; k++) {
    int column = i->columns[k].column;
    if (column == -2) {
      buf_clear(&text);
      buf_printf(&text, "index '%s'", i->name);
      break;
    }
    buf_printf(&text, "%s%s.%s", k ? ", " : "", i->owner->name, column < 0 ? "rowid" : i->owner->columns[column].name);
  }
  buf_cstr(&text);
  status code = i->origin == 'p' ? HDB_CONSTRAINT_PRIMARYKEY : HDB_CONSTRAINT_UNIQUE;
  error_set(&db->err, code, "UNIQUE constraint failed: %s", text.p ? (char *)text.p : "");
  buf_free(&text);
  return code;
}

static status filler_write(filler *f) {
  hdb *db = f->x.db;
  const entry *e = (const entry *)f->entries.p;
  size_t n = f->entries.n / sizeof *e;
  const uint8_t *p = f->bytes.p;
  bulk *out;
  if (n) qsort_r(f->entries.p, n, sizeof *e, entry_compare, f->bytes.p);
  for (size_t k = 1; k < n && f->i->unique; k++) {
    if (e[k].has_null || e[k].prefix_n != e[k - 1].prefix_n) continue;
    if (memcmp(p + e[k].at, p + e[k - 1].at, e[k].prefix_n) == 0) return unique_failure(db, f->i);
  }
  status rc = bulk_open(db->databases[f->database].txn, f->i->tree, &out);
  for (size_t k = 0; k < n && rc == HDB_OK; k++) {
    rc = bulk_add(out, slice_of(p + e[k].at, e[k].key_n), slice_of(p + e[k].at + e[k].key_n, e[k].value_n));
    if (rc != HDB_OK) bulk_abandon(out);
  }
  if (rc == HDB_OK) rc = bulk_finish(out);
  return rc == HDB_OK ? HDB_OK : error_set(&db->err, rc, "%s", status_text(rc));
}

static status filler_open(filler *f, hdb *db) {
  TRY(filler_compile(f, db));
  return exec_open(&f->x, db, f->program, NULL);
}

static void filler_close(filler *f) {
  if (f->x.db) exec_close(&f->x);
  program_free(f->program);
  buf_free(&f->bytes);
  buf_free(&f->entries);
  buf_free(&f->key);
  record_writer_free(&f->writer);
}

/* The weak one stands until write.c has its own. */
__attribute__((weak)) status index_build(exec *x, int database, index_ *i) {
  filler f = {.outer = x, .i = i, .database = database};
  status rc = HDB_OK;
  /* rows that others commit meanwhile would not be in it */
  rc = txn_expect_unchanged(x->db->databases[database].txn, i->owner->tree);
  if (rc != HDB_OK) return error_set(&x->db->err, rc, "%s", status_text(rc));
  CHECK(filler_open(&f, x->db));
  CHECK(filler_read(&f));
  CHECK(filler_write(&f));
out:
  filler_close(&f);
  return rc;
}

/* ---- comparing ---- */

typedef struct verify {
  filler *f;
  status (*report)(void *context, const char *message);
  void *context;
} verify;

static status differs(verify *v, const char *format, slice key) {
  char text[512];
  const index_ *i = v->f->i;
  if (!i->owner->without_rowid && key.n >= 8) snprintf(text, sizeof text, format, (long long)rowid_decode(key.p + key.n - 8), i->name);
  else snprintf(text, sizeof text, "row missing from index %s", i->name);
  return v->report(v->context, text);
}

static status verify_entries(verify *v, cursor *c) {
  filler *f = v->f;
  entry *e = (entry *)f->entries.p;
  size_t n = f->entries.n / sizeof *e, stored = 0;
  const uint8_t *p = f->bytes.p;
  if (n) qsort_r(f->entries.p, n, sizeof *e, entry_compare, f->bytes.p);
  for (size_t k = 0; k < n; k++)
    if (!cursor_find(c, slice_of(p + e[k].at, e[k].key_n)))
      TRY(differs(v, "row %lld missing from index %s", slice_of(p + e[k].at, e[k].key_n)));
  for (cursor_first(c); c->valid; cursor_next(c)) stored++;
  TRY(c->error);
  char text[512];
  if (stored != n) {
    snprintf(text, sizeof text, "wrong # of entries in index %s", f->i->name);
    TRY(v->report(v->context, text));
  }
  for (size_t k = 1; k < n && f->i->unique; k++) {
    if (e[k].has_null || e[k].prefix_n != e[k - 1].prefix_n) continue;
    if (memcmp(p + e[k].at, p + e[k - 1].at, e[k].prefix_n) != 0) continue;
    snprintf(text, sizeof text, "non-unique entry in index %s", f->i->name);
    TRY(v->report(v->context, text));
  }
  return HDB_OK;
}

status index_verify(hdb *db, int database, index_ *i, status (*report)(void *context, const char *message), void *context) {
  exec none = {.db = db};
  filler f = {.outer = &none, .i = i, .database = database};
  verify v = {&f, report, context};
  cursor *c = NULL;
  status rc = HDB_OK;
  CHECK(filler_open(&f, db));
  CHECK(filler_read(&f));
  rc = cursor_open(db->databases[database].txn, i->tree, 0, &c);
  if (rc == HDB_OK) rc = verify_entries(&v, c);
  if (rc != HDB_OK && db->err.code != rc) error_set(&db->err, rc, "%s", status_text(rc));
out:
  if (c) cursor_close(c);
  filler_close(&f);
  return rc;
}

/* ---- CREATE INDEX ---- */

typedef struct create_index {
  int database;
  const char *name, *table_name, *sql;
} create_index;

status index_create(exec *x, int database, const char *name, const char *table_name, const char *sql) {
  hdb *db = x->db;
  uint32_t tree;
  schema *s;
  status rc = txn_new_tree(db->databases[database].txn, &tree);
  if (rc != HDB_OK) return error_set(x->err, rc, "%s", status_text(rc));
  TRY(schema_insert(db, database, "index", name, table_name, tree, sql));
  TRY(schema_changed(db, database));
  TRY(catalog_schema(db, database, &s));
  index_ *i = schema_index(s, name);
  if (i && index_is_vector(i)) return HDB_OK;
  return i ? index_build(x, database, i) : HDB_OK;
}

static status create_index_start(exec *x) {
  const create_index *d = x->program->data;
  return index_create(x, d->database, d->name, d->table_name, d->sql);
}

static status may_be_indexed(compile *c, const table *t) {
  if (t->kind == TABLE_SCHEMA || (strncasecmp(t->name, "sqlite_", 7) == 0 && !c->db->pragmas.writable_schema))
    return error_set(c->err, HDB_ERROR, "table %s may not be indexed", t->name);
  if (t->kind == TABLE_VIEW) return error_set(c->err, HDB_ERROR, "views may not be indexed");
  if (t->kind == TABLE_VIRTUAL) return error_set(c->err, HDB_ERROR, "virtual tables may not be indexed");
  return HDB_OK;
}

/* The table lies in the index's database; an index without one goes to TEMP with its table. */
static status find_table(compile *c, const create_index_statement *s, int *database, table **t) {
  TRY(ddl_target(c, &s->index, false, "index", database));
  int found;
  *t = NULL;
  if (!s->index.schema && strncasecmp(s->table, "sqlite_", 7) != 0) {
    *t = catalog_table(c->db, "temp", s->table, &found);
    if (*t) *database = DB_TEMP;
  }
  if (!*t) *t = catalog_table(c->db, c->db->databases[*database].name, s->table, &found);
  if (!*t) return error_set(c->err, HDB_ERROR, "no such table: %s.%s", c->db->databases[*database].name, s->table);
  return HDB_OK;
}

status compile_create_index(compile *c, create_index_statement *s) {
  create_index *d = arena_zero(c->memory, sizeof *d);
  table *t;
  schema *sc;
  index_ *i;
  bool ignore = false;
  if (!d) return sql_nomem(c->err);
  TRY(find_table(c, s, &d->database, &t));
  TRY(may_be_indexed(c, t));
  d->name = s->index.name;
  d->table_name = t->name;
  TRY(ddl_check_name(c, d->name, "index", t->name));
  TRY(catalog_schema(c->db, d->database, &sc));
  if (schema_table(sc, d->name)) return error_set(c->err, HDB_ERROR, "there is already a table named %s", d->name);
  if (schema_index(sc, d->name)) {
    if (!s->if_not_exists) return error_set(c->err, HDB_ERROR, "index %s already exists", d->name);
    compile_reads(c, d->database);
    return rows_program(c, NULL, NULL, NULL, 0);
  }
  TRY(compile_authorize(c, HDB_INSERT, schema_table_name(d->database), NULL, d->database, &ignore));
  TRY(compile_authorize(c, d->database == DB_TEMP ? HDB_CREATE_TEMP_INDEX : HDB_CREATE_INDEX, d->name, t->name, d->database, &ignore));
  build b = {c->db, c->memory, c->err, NULL, false};
  slice span = s->span; /* up to the ';' or the text's end, as SQLite keeps it */
  d->sql = arena_printf(c->memory, "CREATE%s INDEX %.*s", s->unique ? " UNIQUE" : "", (int)span.n, (const char *)span.p);
  if (!d->sql) return sql_nomem(c->err);
  /* a copy: resolving works in place */
  create_index_statement *copy = arena_copy(c->memory, s, sizeof *s);
  if (!copy) return sql_nomem(c->err);
  copy->columns = ast_copy_list(c->memory, s->columns);
  copy->where = s->where ? ast_copy_expr(c->memory, s->where) : NULL;
  TRY(vector_index_check(c, s, t));
  TRY(build_index(&b, t, copy, &i));
  TRY(index_resolve(&b, i));
  for (int k = 0; k < i->key_columns_n; k++)
    if (i->columns[k].column >= 0) TRY(compile_authorize(c, HDB_READ, t->name, t->columns[i->columns[k].column].name, d->database, &ignore));
  TRY(compile_authorize(c, HDB_INSERT, schema_table_name(d->database), NULL, d->database, &ignore));
  TRY(compile_authorize(c, HDB_REINDEX, d->name, NULL, d->database, &ignore));
  return ddl_program(c, d->database, create_index_start, d);
}
