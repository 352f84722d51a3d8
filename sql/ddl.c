/* Rows of sqlite_schema, and what every CREATE, DROP and ALTER asks first.
 *
 * D1  A DDL statement is rows written to TREE_SCHEMA in the statement's transaction; the catalog follows by its stamp.
 * D2  Each of them moves the row `schema_version` of TREE_SETTINGS, so that two concurrent ones conflict.
 * D3  A new row of TREE_SCHEMA comes behind the last one, so the order of rows is the order of making.
 */
#include "sql/ddl.h"

#include <stdlib.h>
#include <strings.h>

#include "kv/base/key.h"

static status fail(hdb *db, status rc) { return rc == HDB_OK ? rc : error_set(&db->err, rc, "%s", status_text(rc)); }

/* ---- rows ---- */

static status collect(hdb *db, int database, arena *memory, schema_object **out, int *n) {
  cursor *c;
  int capacity = 0;
  *n = 0;
  *out = NULL;
  TRY(database_begin(db, database));
  status rc = fail(db, cursor_open(db->databases[database].txn, TREE_SCHEMA, 0, &c));
  if (rc != HDB_OK) return rc;
  for (cursor_first(c); c->valid; cursor_next(c)) {
    if (*n == capacity) {
      capacity = capacity ? capacity * 2 : 32;
      schema_object *grown = arena_alloc(memory, (size_t)capacity * sizeof *grown);
      if (!grown) CHECK(sql_nomem(&db->err));
      if (*n) memcpy(grown, *out, (size_t)*n * sizeof *grown);
      *out = grown;
    }
    const char *texts[4];
    schema_object *o = &(*out)[(*n)++];
    CHECK(fail(db, schema_row_read(memory, c->value, texts, &o->root)));
    o->type = texts[0], o->name = texts[1], o->tbl_name = texts[2], o->sql = texts[3];
    o->rowid = rowid_decode(c->key.p);
  }
  rc = fail(db, c->error);
out:
  cursor_close(c);
  return rc;
}

status schema_each(hdb *db, int database, status (*visit)(void *context, const schema_object *o), void *context) {
  arena memory = ARENA_INIT;
  schema_object *list;
  int n;
  status rc = collect(db, database, &memory, &list, &n);
  for (int i = 0; i < n && rc == HDB_OK; i++) rc = visit(context, &list[i]);
  arena_clear(&memory);
  return rc;
}

static value text_or_null(const char *text) { return text ? value_text(text, strlen(text)) : value_null(); }

static status row_write(hdb *db, int database, const schema_object *o, enum put_kind kind) {
  record_writer w = RECORD_WRITER_INIT;
  value values[5] = {text_or_null(o->type), text_or_null(o->name), text_or_null(o->tbl_name), value_int(o->root),
                     text_or_null(o->sql)};
  record_begin(&w);
  for (int i = 0; i < 5; i++) value_write(&w, &values[i]);
  slice record = record_end(&w);
  uint8_t key[8];
  rowid_encode(key, o->rowid);
  status rc = record.p ? txn_put(db->databases[database].txn, TREE_SCHEMA, slice_of(key, 8), record, kind) : HDB_NOMEM;
  record_writer_free(&w);
  return fail(db, rc);
}

static status next_rowid(hdb *db, int database, uint32_t tree, int64_t *rowid) {
  cursor *c;
  TRY(fail(db, cursor_open(db->databases[database].txn, tree, 0, &c)));
  cursor_last(c);
  *rowid = c->valid ? rowid_decode(c->key.p) + 1 : 1;
  status rc = c->error;
  cursor_close(c);
  return fail(db, rc);
}

status schema_insert(hdb *db, int database, const char *type, const char *name, const char *tbl_name, uint32_t tree,
                     const char *sql) {
  schema_object o = {.type = type, .name = name, .tbl_name = tbl_name, .root = tree, .sql = sql};
  TRY(next_rowid(db, database, TREE_SCHEMA, &o.rowid));
  return row_write(db, database, &o, PUT_INSERT);
}

status schema_update(hdb *db, int database, const schema_object *o) { return row_write(db, database, o, PUT_UPDATE); }

status schema_delete(hdb *db, int database, int64_t rowid) {
  uint8_t key[8];
  rowid_encode(key, rowid);
  return fail(db, txn_delete(db->databases[database].txn, TREE_SCHEMA, slice_of(key, 8)));
}

status schema_changed(hdb *db, int database) {
  int64_t version;
  TRY(database_get_number(db, database, "schema_version", 0, &version));
  version = version >= INT32_MAX ? 1 : version + 1;
  TRY(database_set_number(db, database, "schema_version", version));
  if (database == DB_TEMP) db->generation++; /* a TEMP object may hide one that a statement means */
  return HDB_OK;
}

/* What was stored must parse: a text whose words mean something else without what stood before them does not. */
status schema_reload(hdb *db, int database) {
  schema *s;
  TRY(schema_changed(db, database));
  return catalog_schema(db, database, &s);
}

/* ---- the authorizer ---- */

/* What SQLite's own statements on its schema table ask: the new row written; rows removed. */
status ddl_authorize_row(compile *c, int database) {
  static const char *const columns[] = {"type", "name", "tbl_name", "rootpage", "sql"};
  const char *master = schema_table_name(database);
  bool ignore;
  for (int i = 0; i < 5; i++) TRY(compile_authorize(c, HDB_UPDATE, master, columns[i], database, &ignore));
  return compile_authorize(c, HDB_READ, master, "ROWID", database, &ignore);
}

status ddl_authorize_removal(compile *c, int database, const char *key, bool has_tree) {
  const char *master = schema_table_name(database);
  bool ignore;
  TRY(compile_authorize(c, HDB_DELETE, master, NULL, database, &ignore));
  TRY(compile_authorize(c, HDB_READ, master, key, database, &ignore));
  TRY(compile_authorize(c, HDB_READ, master, "type", database, &ignore));
  if (!has_tree) return HDB_OK;
  TRY(compile_authorize(c, HDB_UPDATE, master, "rootpage", database, &ignore));
  return compile_authorize(c, HDB_READ, master, "rootpage", database, &ignore);
}

/* ---- plain rows ---- */

status plain_row_append(hdb *db, int database, const table *t, const value *values, int n) {
  int64_t rowid;
  TRY(next_rowid(db, database, t->tree, &rowid));
  record_writer w = RECORD_WRITER_INIT;
  record_begin(&w);
  for (int i = 0; i < n; i++) value_write(&w, &values[i]);
  slice record = record_end(&w);
  uint8_t key[8];
  rowid_encode(key, rowid);
  status rc = record.p ? txn_put(db->databases[database].txn, t->tree, slice_of(key, 8), record, PUT_INSERT) : HDB_NOMEM;
  record_writer_free(&w);
  return fail(db, rc);
}

status plain_rows_delete(hdb *db, int database, const table *t, int k, const char *name) {
  cursor *c;
  txn *x = db->databases[database].txn;
  size_t n = strlen(name);
  TRY(fail(db, cursor_open(x, t->tree, 0, &c)));
  status rc = HDB_OK;
  for (cursor_first(c); c->valid && rc == HDB_OK; cursor_next(c)) {
    uint8_t type, key[8];
    slice payload;
    if (c->key.n != 8 || !record_column(c->value, (uint32_t)k, &type, &payload)) continue;
    value v = value_read(type, payload.p, payload.n);
    if (v.type != VAL_TEXT || v.n != n || strncasecmp(v.p, name, n) != 0) continue;
    memcpy(key, c->key.p, 8);
    rc = txn_delete(x, t->tree, slice_of(key, 8));
  }
  if (rc == HDB_OK) rc = c->error;
  cursor_close(c);
  return fail(db, rc);
}

status plain_rows_rename(hdb *db, int database, const table *t, int k, const char *from, const char *to) {
  cursor *c;
  txn *x = db->databases[database].txn;
  size_t n = strlen(from);
  record_writer w = RECORD_WRITER_INIT;
  TRY(fail(db, cursor_open(x, t->tree, 0, &c)));
  status rc = HDB_OK;
  for (cursor_first(c); c->valid && rc == HDB_OK; cursor_next(c)) {
    uint8_t key[8];
    bool matched = false;
    int i = 0;
    record_walk walk;
    record_begin(&w);
    for (record_walk_start(&walk, c->value); walk.left; record_walk_next(&walk), i++) {
      uint8_t type = record_walk_type(&walk);
      slice payload = slice_of(walk.payload, record_skip(type, walk.payload));
      value v = value_read(type, payload.p, payload.n);
      bool is_it = i == k && v.type == VAL_TEXT && v.n == n && memcmp(v.p, from, n) == 0;
      matched = matched || is_it;
      if (is_it) record_text(&w, to, strlen(to));
      else record_raw(&w, type, payload);
    }
    slice record = record_end(&w);
    if (!matched || c->key.n != 8) continue;
    memcpy(key, c->key.p, 8);
    rc = record.p ? txn_put(x, t->tree, slice_of(key, 8), record, PUT_UPDATE) : HDB_NOMEM;
  }
  if (rc == HDB_OK) rc = c->error;
  cursor_close(c);
  record_writer_free(&w);
  return fail(db, rc);
}

/* ---- what a CREATE asks ---- */

status ddl_program(compile *c, int database, status (*start)(exec *x), void *data) {
  compile_writes(c, database);
  c->program->changes_schema = true;
  return rows_program(c, start, data, NULL, 0);
}

status ddl_target(compile *c, const qualified_name *name, bool temp, const char *kind, int *database) {
  *database = temp ? DB_TEMP : DB_MAIN;
  if (!name->schema) return HDB_OK;
  int number = catalog_database(c->db, name->schema);
  if (number < 0) {
    error_set(c->err, HDB_ERROR, "unknown database %s", name->schema);
    c->err->offset = name->offset;
    return HDB_ERROR;
  }
  if (temp && number != DB_TEMP) return error_set(c->err, HDB_ERROR, "temporary %s name must be unqualified", kind);
  *database = number;
  return HDB_OK;
}

status ddl_check_name(compile *c, const char *name, const char *type, const char *tbl_name) {
  if (c->db->pragmas.writable_schema || strncasecmp(name, "sqlite_", 7) != 0) return HDB_OK;
  return error_set(c->err, HDB_ERROR, "object name reserved for internal use: %s", name);
}

const char *schema_table_name(int database) { return database == DB_TEMP ? "sqlite_temp_master" : "sqlite_master"; }

/* ---- text ---- */

void buf_quoted_text(buf *b, const char *text) {
  buf_byte(b, '\'');
  for (; *text; text++) {
    if (*text == '\'') buf_byte(b, '\'');
    buf_byte(b, (uint8_t)*text);
  }
  buf_byte(b, '\'');
}

void buf_identifier(buf *b, const char *name) {
  bool plain = !(name[0] >= '0' && name[0] <= '9') && name[0] != 0;
  for (const char *p = name; *p && plain; p++)
    plain = (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || *p == '_';
  if (plain && !grammar_is_keyword(name, strlen(name))) buf_text(b, name);
  else buf_quoted_name(b, name);
}
