/* ALTER TABLE: RENAME TO, RENAME COLUMN, ADD COLUMN, DROP COLUMN.
 *
 * A1  Renames exchange names in stored texts (rename.c) and test the whole schema before and after, as SQLite does;
 *     rows stay as they are.
 * A2  ADD COLUMN writes the column into the text behind the last one; old rows are shorter and read its default.
 * A3  DROP COLUMN takes it out of the text and writes every row anew without it.
 */
#include <stdlib.h>
#include <strings.h>

#include "kv/base/key.h"
#include "sql/virtual.h"
#include "sql/rename.h"

typedef struct alter {
  uint8_t kind;
  int database;
  const char *table_name, *column, *new_name;
  bool quote;
  const char *definition;  /* ADD: the column's text */
  create_table_statement *with_column; /* ADD: for its constraints */
  bool needs_value, references_value, constant, stored, checks;
} alter;

static status fail(hdb *db, status rc) { return rc == HDB_OK ? rc : error_set(&db->err, rc, "%s", status_text(rc)); }

/* ---- renames ---- */

typedef struct renamed {   /* written when all texts have been looked at: until then the schema is as it was */
  schema_object object;
  int database;
  struct renamed *next;
} renamed;

typedef struct rename_visit {
  exec *x;
  rename_ *r;
  int database;
  renamed *list, **end;
} rename_visit;

/* tbl_name and the names of automatic indexes follow the table. */
static status rename_object_names(rename_visit *v, schema_object *o, bool *changed) {
  rename_ *r = v->r;
  if (r->column || v->database != r->database) {
    /* a TEMP trigger's tbl_name */
    if (r->column || strcmp(o->type, "trigger") != 0 || !*changed || !o->tbl_name || !name_equal(o->tbl_name, r->table->name)) return HDB_OK;
    o->tbl_name = r->new_name;
    return HDB_OK;
  }
  if (!o->tbl_name || !name_equal(o->tbl_name, r->table->name)) return HDB_OK;
  o->tbl_name = r->new_name;
  *changed = true;
  if (strcmp(o->type, "table") == 0) {
    o->name = r->new_name;
  } else if (strcmp(o->type, "index") == 0 && strncasecmp(o->name, "sqlite_autoindex_", 17) == 0) {
    o->name = arena_printf(r->memory, "sqlite_autoindex_%s%s", r->new_name, o->name + 17 + strlen(r->table->name));
    if (!o->name) return sql_nomem(r->err);
  }
  return HDB_OK;
}

static status visit_rename(void *context, const schema_object *o) {
  rename_visit *v = context;
  schema_object changed_object = *o;
  bool changed;
  if (strcmp(o->type, "view") != 0 && strncasecmp(o->name, "sqlite_", 7) == 0 && strcmp(o->type, "index") != 0) return HDB_OK;
  status rc = rename_text(v->r, v->database, o, &changed_object.sql, &changed);
  if (rc != HDB_OK) {
    if (v->x->db->pragmas.legacy_alter_table || v->x->db->pragmas.writable_schema) return HDB_OK;
    char *message = v->x->err->message ? strdup(v->x->err->message) : NULL;
    rc = error_set(v->x->err, HDB_ERROR, "error in %s %s: %s", o->type, o->name, message ? message : "");
    free(message);
    return rc;
  }
  TRY(rename_object_names(v, &changed_object, &changed));
  if (!changed) return HDB_OK;
  arena *m = v->r->memory;
  renamed *n = arena_zero(m, sizeof *n);
  if (!n) return sql_nomem(v->r->err);
  n->database = v->database;
  n->object = changed_object;
  n->object.type = arena_strdup(m, changed_object.type);
  n->object.name = arena_strdup(m, changed_object.name);
  n->object.tbl_name = changed_object.tbl_name ? arena_strdup(m, changed_object.tbl_name) : NULL;
  n->object.sql = changed_object.sql ? arena_strdup(m, changed_object.sql) : NULL;
  *v->end = n;
  v->end = &n->next;
  return m->failed ? sql_nomem(v->r->err) : HDB_OK;
}

static status sequence_rename(exec *x, int database, const char *from, const char *to) {
  schema *s;
  TRY(catalog_schema(x->db, database, &s));
  if (!schema_table(s, "sqlite_sequence")) return HDB_OK;
  return plain_rows_rename(x->db, database, schema_table(s, "sqlite_sequence"), 0, from, to);
}

/* "words" that are strings only by grace become 'words', before a column may take their name. */
static status visit_quotes(void *context, const schema_object *o) {
  rename_visit *v = context;
  schema_object fixed = *o;
  bool changed;
  if (rename_text(v->r, v->database, o, &fixed.sql, &changed) != HDB_OK || !changed) return HDB_OK;
  return schema_update(v->x->db, v->database, &fixed);
}

static status fix_quotes(exec *x, int database) {
  static const table nothing = {.name = ""};
  rename_ r = {.db = x->db, .memory = &x->lifetime, .err = x->err, .database = database, .table = &nothing, .column = "",
               .new_name = "", .bodies = true, .strings = true};
  rename_visit v = {.x = x, .r = &r, .database = database};
  TRY(schema_each(x->db, database, visit_quotes, &v));
  if (database == DB_TEMP || !x->db->databases[DB_TEMP].engine) return HDB_OK;
  v.database = DB_TEMP;
  return schema_each(x->db, DB_TEMP, visit_quotes, &v);
}

static status rename_start(exec *x) {
  const alter *a = x->program->data;
  hdb *db = x->db;
  schema *s;
  bool legacy = db->pragmas.legacy_alter_table;
  TRY(schema_test(db, a->database, "", false, a->column ? NULL : a->table_name, &x->lifetime));
  if (a->column && !legacy) TRY(fix_quotes(x, a->database));
  TRY(catalog_schema(db, a->database, &s));
  table *t = schema_table(s, a->table_name);
  if (!t) return error_set(x->err, HDB_ERROR, "no such table: %s", a->table_name);
  s->references++;
  rename_ r = {.db = db, .memory = &x->lifetime, .err = x->err, .database = a->database, .table = t, .column = a->column,
               .new_name = a->new_name, .quote = a->quote, .bodies = !legacy || a->column,
               .parents = !legacy || db->pragmas.foreign_keys || a->column};
  rename_visit v = {.x = x, .r = &r, .database = a->database};
  v.end = &v.list;
  status rc = schema_each(db, a->database, visit_rename, &v);
  if (rc == HDB_OK && a->database != DB_TEMP && db->databases[DB_TEMP].engine) {
    v.database = DB_TEMP;
    rc = schema_each(db, DB_TEMP, visit_rename, &v);
    if (rc == HDB_OK) rc = schema_changed(db, DB_TEMP);
  }
  for (renamed *n = v.list; n && rc == HDB_OK; n = n->next) rc = schema_update(db, n->database, &n->object);
  if (rc == HDB_OK && !a->column && t->kind == TABLE_VIRTUAL) {
    rc = schema_reload(db, a->database);
    if (rc == HDB_OK) rc = virtual_rename_shadows(db, a->database, t, a->new_name);
  }
  schema_release(s);
  TRY(rc);
  TRY(schema_changed(db, a->database));
  if (!a->column) TRY(sequence_rename(x, a->database, a->table_name, a->new_name));
  return schema_test(db, a->database, "after rename", a->column != NULL, NULL, &x->lifetime);
}

/* ---- the text of a table ---- */

typedef struct table_text {
  schema_object object;
  bool found;
  const char *name;
  arena *memory;
} table_text;

static status visit_find(void *context, const schema_object *o) {
  table_text *t = context;
  if (strcmp(o->type, "table") != 0 || !name_equal(o->name, t->name)) return HDB_OK;
  t->object = *o;
  t->object.type = "table";
  t->object.name = arena_strdup(t->memory, o->name);
  t->object.tbl_name = arena_strdup(t->memory, o->tbl_name);
  t->object.sql = arena_strdup(t->memory, o->sql ? o->sql : "");
  t->found = true;
  return t->memory->failed ? HDB_NOMEM : HDB_OK;
}

static status table_text_read(exec *x, const alter *a, schema_object *o, create_table_statement **tree) {
  table_text t = {.name = a->table_name, .memory = &x->lifetime};
  TRY(schema_each(x->db, a->database, visit_find, &t));
  if (!t.found) return error_set(x->err, HDB_ERROR, "no such table: %s", a->table_name);
  *o = t.object;
  parse_options options = hdb_parse_options(x->db);
  options.schema_text = true;
  options.dialect = DIALECT_SQLITE;
  statement *s;
  size_t tail;
  TRY(grammar_parse(slice_str(o->sql), &options, &x->lifetime, &s, &tail, x->err));
  if (!s || s->kind != ST_CREATE_TABLE) return error_set(x->err, HDB_CORRUPT, "database disk image is malformed");
  *tree = s->create_table;
  return HDB_OK;
}

/* Where the list of columns ends: at the comma before the constraints or at the closing parenthesis. */
static size_t columns_end(const char *sql, const create_table_statement *t) {
  slice text = slice_str(sql);
  slice last = t->columns[t->columns_n - 1].span;
  size_t at = (size_t)(last.p - text.p) + last.n;
  while (at < text.n) {
    enum token_kind kind;
    size_t n = grammar_token(text, at, DIALECT_SQLITE, &kind);
    if (n == 0 || (kind == TOK_PUNCTUATION && (text.p[at] == ',' || text.p[at] == ')'))) break;
    at += n;
  }
  return at;
}

static bool has_rows(exec *x, int database, const table *t) {
  cursor *c;
  if (cursor_open(x->db->databases[database].txn, t->tree, 0, &c) != HDB_OK) return true;
  cursor_first(c);
  bool any = c->valid;
  cursor_close(c);
  return any;
}

/* ---- ADD COLUMN ---- */

static status add_column_allowed(exec *x, const alter *a, const table *t) {
  if (!has_rows(x, a->database, t)) return HDB_OK;
  if (a->references_value) return error_set(x->err, HDB_ERROR, "Cannot add a REFERENCES column with non-NULL default value");
  if (a->needs_value) return error_set(x->err, HDB_ERROR, "Cannot add a NOT NULL column with default value NULL");
  if (!a->constant) return error_set(x->err, HDB_ERROR, "Cannot add a column with non-constant default");
  if (a->stored) return error_set(x->err, HDB_ERROR, "cannot add a STORED column");
  return HDB_OK;
}

/* The rows that are there must satisfy the new column's CHECKs. */
static status existing_rows_satisfy(exec *x, const alter *a) {
  schema *s;
  TRY(catalog_schema(x->db, a->database, &s));
  table *t = schema_table(s, a->table_name);
  if (!t || !a->checks) return HDB_OK;
  status rc = HDB_OK;
  const column *added = &t->columns[t->columns_n - 1];
  buf text = BUF_INIT;
  hdb_stmt *q = NULL;
  buf_text(&text, "SELECT 1 FROM ");
  buf_quoted_name(&text, x->db->databases[a->database].name);
  buf_byte(&text, '.');
  buf_quoted_name(&text, t->name);
  buf_text(&text, " WHERE 0");
  for (int i = 0; i < t->checks_n; i++) buf_printf(&text, " OR NOT (%.*s)", (int)t->checks[i].text.n, (const char *)t->checks[i].text.p);
  size_t checks_only = text.n;
  if (added->generated && added->not_null) {
    buf_text(&text, " OR ");
    buf_quoted_name(&text, added->name);
    buf_text(&text, " IS NULL");
  }
  bool null_asked = text.n != checks_only;
  buf_text(&text, " LIMIT 1");
  const char *sql = buf_cstr(&text);
  if (!sql) rc = sql_nomem(x->err);
  if (rc == HDB_OK) rc = (status)hdb_prepare(x->db, sql, -1, 0, &q, NULL);
  if (rc == HDB_OK && hdb_step(q) == HDB_ROW)
    rc = error_set(x->err, HDB_ERROR, t->checks_n == 0 && null_asked ? "NOT NULL constraint failed" : "CHECK constraint failed");
  status kept = rc;
  error message = x->db->err;
  x->db->err = (error)ERROR_INIT;
  hdb_finalize(q);
  error_clear(&x->db->err);
  x->db->err = message;
  buf_free(&text);
  return kept;
}

static status add_column_start(exec *x) {
  const alter *a = x->program->data;
  schema *s;
  schema_object o;
  create_table_statement *tree;
  TRY(catalog_schema(x->db, a->database, &s));
  table *t = schema_table(s, a->table_name);
  if (!t) return error_set(x->err, HDB_ERROR, "no such table: %s", a->table_name);
  TRY(add_column_allowed(x, a, t));
  TRY(table_text_read(x, a, &o, &tree));
  size_t at = columns_end(o.sql, tree);
  o.sql = arena_printf(&x->lifetime, "%.*s, %s%s", (int)at, o.sql, a->definition, o.sql + at);
  if (!o.sql) return sql_nomem(x->err);
  TRY(schema_update(x->db, a->database, &o));
  TRY(schema_changed(x->db, a->database));
  return existing_rows_satisfy(x, a);
}

static bool is_null_literal(const expr *e) { return !e || e->op == EX_NULL; }

static bool is_constant_default(const expr *e) {
  if (!e) return true;
  switch (e->op) {
  case EX_NULL: case EX_INT: case EX_REAL: case EX_TEXT: case EX_BLOB: return true;
  case EX_NEG: case EX_PLUS: return e->left && (e->left->op == EX_INT || e->left->op == EX_REAL);
  case EX_ID: return strncasecmp(e->text, "current_", 8) != 0;
  default: return false;
  }
}

/* The table's text with the column in it is built as a new table's would be, so every mistake is found. */
static status check_added(compile *c, alter *a, const table *t, column_definition *d) {
  if (table_column(t, d->name) >= 0) return error_set(c->err, HDB_ERROR, "duplicate column name: %s", d->name);
  for (const constraint *k = d->constraints; k; k = k->next) {
    if (k->kind == CON_PRIMARY_KEY) return error_set(c->err, HDB_ERROR, "Cannot add a PRIMARY KEY column");
    if (k->kind == CON_UNIQUE) return error_set(c->err, HDB_ERROR, "Cannot add a UNIQUE column");
  }
  slice text = d->span;
  while (text.n && (text.p[text.n - 1] <= ' ' || text.p[text.n - 1] == ';')) text.n--;
  a->definition = arena_strndup(c->memory, (const char *)text.p, text.n);
  parse_options options = hdb_parse_options(c->db);
  options.schema_text = true;
  options.dialect = DIALECT_SQLITE;
  statement *whole;
  size_t tail;
  if (!a->definition) return sql_nomem(c->err);
  TRY(grammar_parse(slice_str(t->sql), &options, c->memory, &whole, &tail, c->err));
  size_t at = columns_end(t->sql, whole->create_table);
  const char *sql = arena_printf(c->memory, "%.*s, %s%s", (int)at, t->sql, a->definition, t->sql + at);
  if (!sql) return sql_nomem(c->err);
  TRY(grammar_parse(slice_str(sql), &options, c->memory, &whole, &tail, c->err));
  whole->create_table->table.name = t->name;
  build b = {c->db, c->memory, c->err, NULL, false};
  table *made;
  TRY(catalog_build_table(&b, whole->create_table, &made));
  TRY(table_check_expressions(c, made));
  const column *added = &made->columns[made->columns_n - 1];
  bool null_default = is_null_literal(added->default_value);
  bool references = false;
  for (const foreign_key *k = made->foreign_keys; k; k = k->next)
    references = references || (k->n == 1 && k->child_columns[0] == made->columns_n - 1);
  a->stored = added->generated == 2;
  a->needs_value = !added->generated && added->not_null && null_default;
  a->references_value = c->db->pragmas.foreign_keys && references && !null_default && !added->generated;
  a->constant = added->generated || is_constant_default(added->default_value);
  a->checks = made->checks_n > t->checks_n || (added->generated && added->not_null);
  return HDB_OK;
}

/* ---- DROP COLUMN ---- */

static status rewrite_rows(exec *x, const alter *a, const table *t, int stored) {
  cursor *c;
  txn *own = x->db->databases[a->database].txn;
  record_writer w = RECORD_WRITER_INIT;
  buf key = BUF_INIT;
  TRY(fail(x->db, cursor_open(own, t->tree, 0, &c)));
  status rc = HDB_OK;
  for (cursor_first(c); c->valid; cursor_next(c)) {
    record_walk walk;
    int k = 0;
    record_begin(&w);
    for (record_walk_start(&walk, c->value); walk.left; record_walk_next(&walk), k++) {
      uint8_t type = record_walk_type(&walk);
      if (k != stored) record_raw(&w, type, slice_of(walk.payload, record_skip(type, walk.payload)));
    }
    slice record = record_end(&w);
    buf_clear(&key);
    buf_append(&key, c->key.p, c->key.n);
    if (!record.p || buf_failed(&key)) CHECK(sql_nomem(x->err));
    CHECK(fail(x->db, txn_put(own, t->tree, buf_slice(&key), record, PUT_UPDATE)));
    CHECK(exec_tick(x));
  }
  rc = fail(x->db, c->error);
out:
  cursor_close(c);
  record_writer_free(&w);
  buf_free(&key);
  return rc;
}

static const char *text_without(exec *x, const char *sql, const create_table_statement *t, int k) {
  slice text = slice_str(sql);
  size_t start = (size_t)(t->columns[k].span.p - text.p), end;
  if (k + 1 < t->columns_n) {
    end = (size_t)(t->columns[k + 1].span.p - text.p);
  } else {
    while (start > 0 && sql[start] != ',') start--;
    end = columns_end(sql, t);
  }
  return arena_printf(&x->lifetime, "%.*s%s", (int)start, sql, sql + end);
}

static status drop_column_start(exec *x) {
  const alter *a = x->program->data;
  hdb *db = x->db;
  schema *s;
  schema_object o;
  create_table_statement *tree;
  TRY(schema_test(db, a->database, "", false, NULL, &x->lifetime));
  TRY(fix_quotes(x, a->database));
  TRY(catalog_schema(db, a->database, &s));
  table *t = schema_table(s, a->table_name);
  int k = t ? table_column(t, a->column) : -1;
  if (k < 0) return error_set(x->err, HDB_ERROR, "no such column: \"%s\"", a->column);
  s->references++;
  int stored = t->columns[k].stored;
  status rc = table_text_read(x, a, &o, &tree);
  if (rc == HDB_OK && !(o.sql = text_without(x, o.sql, tree, k))) rc = sql_nomem(x->err);
  if (rc == HDB_OK) rc = schema_update(db, a->database, &o);
  if (rc == HDB_OK) rc = schema_changed(db, a->database);
  if (rc == HDB_OK) rc = schema_test(db, a->database, "after drop column", true, NULL, &x->lifetime);
  if (rc == HDB_OK && stored >= 0) rc = rewrite_rows(x, a, t, stored);
  schema_release(s);
  return rc;
}

static status check_dropped(compile *c, const alter *a, const table *t) {
  int k = table_column(t, a->column);
  if (t->columns[k].primary_key) return error_set(c->err, HDB_ERROR, "cannot drop PRIMARY KEY column: \"%s\"", a->column);
  for (const index_ *i = t->indexes; i; i = i->next)
    if (i->origin == 'u' && i->key_columns_n == 1 && i->columns[0].column == k)
      return error_set(c->err, HDB_ERROR, "cannot drop UNIQUE column: \"%s\"", a->column);
  if (t->columns_n <= 1) return error_set(c->err, HDB_ERROR, "cannot drop column \"%s\": no other columns exist", a->column);
  return HDB_OK;
}

/* ---- compiling ---- */

/* SQLite shows the column as it was written, quotes and all. */
static status no_such_column(compile *c, const alter_statement *s) {
  enum token_kind kind;
  size_t at = (size_t)s->column_offset, n = at < c->text.n ? grammar_token(c->text, at, c->db->pragmas.dialect, &kind) : 0;
  error_set(c->err, HDB_ERROR, "no such column: \"%.*s\"", (int)n, (const char *)c->text.p + at);
  c->err->offset = s->column_offset;
  return HDB_ERROR;
}

static status may_be_altered(compile *c, const table *t) {
  if (t->kind == TABLE_SCHEMA || strncasecmp(t->name, "sqlite_", 7) == 0)
    return error_set(c->err, HDB_ERROR, "table %s may not be altered", t->name);
  return HDB_OK;
}

static status compile_rename_table(compile *c, alter *a, const alter_statement *s, const table *t) {
  int number = a->database;
  schema *sc;
  TRY(catalog_schema(c->db, number, &sc));
  if (schema_table(sc, s->new_name) || schema_index(sc, s->new_name))
    return error_set(c->err, HDB_ERROR, "there is already another table or index with this name: %s", s->new_name);
  TRY(may_be_altered(c, t));
  TRY(ddl_check_name(c, s->new_name, "table", s->new_name));
  if (t->kind == TABLE_VIEW) return error_set(c->err, HDB_ERROR, "view %s may not be altered", t->name);
  a->quote = true;
  return ddl_program(c, number, rename_start, a);
}

static status compile_rename_column(compile *c, alter *a, const alter_statement *s, const table *t) {
  TRY(may_be_altered(c, t));
  if (t->kind != TABLE_ORDINARY)
    return error_set(c->err, HDB_ERROR, "cannot rename columns of %s \"%s\"", t->kind == TABLE_VIEW ? "view" : "virtual table", t->name);
  if (table_column(t, s->column) < 0) return no_such_column(c, s);
  a->quote = s->new_name_quoted;
  return ddl_program(c, a->database, rename_start, a);
}

static status compile_add_column(compile *c, alter *a, const alter_statement *s, const table *t) {
  if (t->kind == TABLE_VIRTUAL) return error_set(c->err, HDB_ERROR, "virtual tables may not be altered");
  if (t->kind == TABLE_VIEW) return error_set(c->err, HDB_ERROR, "Cannot add a column to a view");
  TRY(may_be_altered(c, t));
  TRY(check_added(c, a, t, s->definition));
  return ddl_program(c, a->database, add_column_start, a);
}

/* ALTER_TABLE with the database, the table, and the column in the third place. */
static status authorize_drop(compile *c, const alter *a, const table *t, bool *ignore) {
  hdb *db = c->db;
  *ignore = false;
  if (!db->authorize) return HDB_OK;
  int answer = db->authorize(db->authorize_data, HDB_ALTER_TABLE, db->databases[a->database].name, t->name, a->column, c->auth_context);
  if (answer == HDB_OK || answer == HDB_IGNORE) return HDB_OK;
  if (answer == HDB_DENY) return error_set(c->err, HDB_AUTH, "not authorized");
  return error_set(c->err, HDB_ERROR, "authorizer malfunction");
}

static status compile_drop_column(compile *c, alter *a, const alter_statement *s, const table *t) {
  TRY(may_be_altered(c, t));
  if (t->kind != TABLE_ORDINARY)
    return error_set(c->err, HDB_ERROR, "cannot drop column from %s \"%s\"", t->kind == TABLE_VIEW ? "view" : "virtual table", t->name);
  if (table_column(t, s->column) < 0) return no_such_column(c, s);
  TRY(check_dropped(c, a, t));
  bool ignore; /* as in SQLite, the column is the database's argument */
  TRY(authorize_drop(c, a, t, &ignore));
  return ddl_program(c, a->database, drop_column_start, a);
}

status compile_alter(compile *c, statement *st) {
  const alter_statement *s = st->alter;
  alter *a = arena_zero(c->memory, sizeof *a);
  bool ignore = false;
  if (!a) return sql_nomem(c->err);
  table *t = catalog_table(c->db, s->table.schema, s->table.name, &a->database);
  if (!t) return error_set(c->err, HDB_ERROR, "no such table: %s%s%s", s->table.schema ? s->table.schema : "", s->table.schema ? "." : "", s->table.name);
  a->kind = st->kind;
  a->table_name = arena_strdup(c->memory, t->name);
  a->column = s->column;
  a->new_name = s->new_name;
  if (!a->table_name) return sql_nomem(c->err);
  if (a->database != DB_TEMP && c->db->databases[DB_TEMP].engine) compile_writes(c, DB_TEMP);
  if (st->kind != ST_ALTER_DROP_COLUMN) TRY(compile_authorize(c, HDB_ALTER_TABLE, c->db->databases[a->database].name, t->name, -1, &ignore));
  switch (st->kind) {
  case ST_ALTER_RENAME_TABLE: return compile_rename_table(c, a, s, t);
  case ST_ALTER_RENAME_COLUMN: return compile_rename_column(c, a, s, t);
  case ST_ALTER_ADD_COLUMN: return compile_add_column(c, a, s, t);
  default: return compile_drop_column(c, a, s, t);
  }
}
