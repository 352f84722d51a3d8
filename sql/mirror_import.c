/* Import: an SQLite database, read through libsqlite3, becomes the content of one of ours.
 *
 * The schema rows are taken over word for word, in their order, under new tree ids; then our own catalog is parsed
 * from them and says how each row is laid out. Rows come in key order, so that trees are bulk-loaded; indexes are
 * built from the rows afterwards, never taken from the file.
 *
 * I1  One transaction: a crash or an error leaves what was there before.
 * I2  Values keep their storage class as SQLite returns it; text is UTF-8 whatever the file's encoding.
 * I3  Objects called _heliosdb* are ours and are left where they are.
 * Costs per row: one sqlite3_step, one record, one bulk_add; no allocation once the buffers have grown.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "kv/base/key.h"
#include "sql/mirror_internal.h"

static bool is_own_object(const char *name) { return sqlite3_strnicmp(name, "_heliosdb", 9) == 0; }

status mirror_sqlite_error(hdb *db, struct sqlite3 *from, int code) {
  if (code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW) return HDB_OK;
  return error_set(&db->err, (status)sqlite3_extended_errcode(from), "%s", sqlite3_errmsg(from));
}

value mirror_value(sqlite3_stmt *s, int column) {
  switch (sqlite3_column_type(s, column)) {
  case SQLITE_INTEGER: return value_int(sqlite3_column_int64(s, column));
  case SQLITE_FLOAT: return value_real(sqlite3_column_double(s, column));
  case SQLITE_TEXT: {
    const char *p = (const char *)sqlite3_column_text(s, column);
    return value_text(p, (size_t)sqlite3_column_bytes(s, column));
  }
  case SQLITE_BLOB: {
    const void *p = sqlite3_column_blob(s, column);
    return value_blob(p, (size_t)sqlite3_column_bytes(s, column));
  }
  default: return value_null();
  }
}

/* ---- the schema rows ---- */
static status write_schema_row(hdb *db, txn *t, int64_t rowid, sqlite3_stmt *s, const mirror_texts *texts, record_writer *w) {
  uint32_t tree = 0;
  if (sqlite3_column_int64(s, 3) > 0) {
    status rc = txn_new_tree(t, &tree);
    if (rc != HDB_OK) return error_set(&db->err, rc, "%s", status_text(rc));
  }
  record_begin(w);
  for (int i = 0; i < 5; i++) {
    value v = i == 3 ? value_int(tree) : mirror_value(s, i);
    const mirror_written *ours = i == 4 ? mirror_text_find(texts, (const char *)sqlite3_column_text(s, 1), (const char *)sqlite3_column_text(s, 4)) : NULL;
    if (ours) v = value_text(ours->texts[1], strlen(ours->texts[1]));
    value_write(w, &v);
  }
  uint8_t key[8];
  rowid_encode(key, rowid);
  status rc = txn_put(t, TREE_SCHEMA, slice_of(key, 8), record_end(w), PUT_INSERT);
  return rc == HDB_OK ? HDB_OK : error_set(&db->err, rc, "%s", status_text(rc));
}

static status import_left_out(hdb *db, int number, sqlite3 *from, int64_t *rowid);

static status import_schema(hdb *db, int number, sqlite3 *from) {
  txn *t = db->databases[number].txn;
  record_writer w = {0};
  sqlite3_stmt *s = NULL;
  mirror_texts texts = {0};
  status rc = HDB_OK;
  CHECK(mirror_texts_load(db, from, &texts));
  CHECK(txn_clear(t, TREE_SCHEMA));
  int code = sqlite3_prepare_v2(from, "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema ORDER BY rowid", -1, &s, 0);
  if (code != SQLITE_OK) CHECK(mirror_sqlite_error(db, from, code));
  int64_t rowid = 0;
  while ((code = sqlite3_step(s)) == SQLITE_ROW) {
    const char *name = (const char *)sqlite3_column_text(s, 1), *owner = (const char *)sqlite3_column_text(s, 2);
    if ((name && is_own_object(name)) || (owner && is_own_object(owner))) continue;
    CHECK(write_schema_row(db, t, ++rowid, s, &texts, &w));
  }
  CHECK(mirror_sqlite_error(db, from, code));
  CHECK(import_left_out(db, number, from, &rowid));
out:
  sqlite3_finalize(s);
  arena_clear(&texts.memory);
  record_writer_free(&w);
  return rc;
}

/* Vector indexes that the export left out come back with their table, when nobody took their name meanwhile. */
static status import_left_out(hdb *db, int number, sqlite3 *from, int64_t *rowid) {
  sqlite3_stmt *s = NULL;
  record_writer w = {0};
  arena memory = ARENA_INIT;
  parse_options options = hdb_parse_options(db);
  status rc = HDB_OK;
  options.schema_text = true;
  options.dialect = DIALECT_SQLITE;
  if (sqlite3_table_column_metadata(from, "main", "_heliosdb_left_out", "sql", NULL, NULL, NULL, NULL, NULL) != SQLITE_OK) return HDB_OK;
  int code = sqlite3_prepare_v2(from, "SELECT name, sql FROM _heliosdb_left_out WHERE sql LIKE 'CREATE INDEX %' AND name NOT IN (SELECT name FROM sqlite_schema)", -1, &s, 0);
  while (code == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
    statement *tree = NULL;
    size_t tail;
    uint32_t root;
    error why = ERROR_INIT;
    const char *name = (const char *)sqlite3_column_text(s, 0), *sql = (const char *)sqlite3_column_text(s, 1);
    bool read = name && sql && grammar_parse(slice_str(sql), &options, &memory, &tree, &tail, &why) == HDB_OK;
    error_clear(&why);
    if (!read || !tree || tree->kind != ST_CREATE_INDEX || !tree->create_index->method || sqlite3_stricmp(tree->create_index->method, "hnsw") != 0) continue;
    const char *owner = tree->create_index->table;
    if (sqlite3_table_column_metadata(from, "main", owner, NULL, NULL, NULL, NULL, NULL, NULL) != SQLITE_OK) continue;
    CHECK(txn_new_tree(db->databases[number].txn, &root));
    value row[5] = {value_text("index", 5), value_text(name, strlen(name)), value_text(owner, strlen(owner)), value_int(root), value_text(sql, strlen(sql))};
    record_begin(&w);
    for (int i = 0; i < 5; i++) value_write(&w, &row[i]);
    uint8_t key[8];
    rowid_encode(key, ++*rowid);
    CHECK(txn_put(db->databases[number].txn, TREE_SCHEMA, slice_of(key, 8), record_end(&w), PUT_INSERT));
  }
  sqlite3_finalize(s);
  s = NULL;
  /* full-text and R*Tree tables, as long as their rows are there */
  code = sqlite3_prepare_v2(from, "SELECT name, sql FROM _heliosdb_left_out WHERE sql LIKE 'CREATE VIRTUAL TABLE %' AND name NOT IN (SELECT name FROM "
                                  "sqlite_schema) AND (name || '_content' IN (SELECT name FROM sqlite_schema) OR name || '_rowid' IN (SELECT name FROM "
                                  "sqlite_schema))", -1, &s, 0);
  while (code == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
    const char *name = (const char *)sqlite3_column_text(s, 0), *sql = (const char *)sqlite3_column_text(s, 1);
    if (!name || !sql) continue;
    value row[5] = {value_text("table", 5), value_text(name, strlen(name)), value_text(name, strlen(name)), value_int(0), value_text(sql, strlen(sql))};
    record_begin(&w);
    for (int i = 0; i < 5; i++) value_write(&w, &row[i]);
    uint8_t key[8];
    rowid_encode(key, ++*rowid);
    CHECK(txn_put(db->databases[number].txn, TREE_SCHEMA, slice_of(key, 8), record_end(&w), PUT_INSERT));
  }
out:
  sqlite3_finalize(s);
  record_writer_free(&w);
  arena_clear(&memory);
  return rc == HDB_OK || db->err.code == rc ? rc : error_set(&db->err, rc, "%s", status_text(rc));
}

/* ---- rows ---- */

/* SELECT of the stored columns in the table's key order. A rowid table's row id comes last. */
void mirror_select_text(buf *b, const table *t) {
  buf_text(b, "SELECT ");
  for (int i = 0; i < t->columns_n; i++) {
    if (t->columns[i].stored < 0) continue;
    buf_quoted_name(b, t->columns[i].name);
    buf_text(b, ", ");
  }
  if (t->without_rowid) {
    buf_text(b, "0");
  } else if (t->rowid_column >= 0) {
    buf_quoted_name(b, t->columns[t->rowid_column].name);
  } else {
    /* a name of the row id that no column hides */
    const char *name = table_rowid_name(t);
    buf_text(b, name ? name : "NULL");
  }
  buf_text(b, " FROM ");
  buf_quoted_name(b, t->name);
  if (!t->without_rowid) {
    if (t->rowid_column >= 0) {
      buf_text(b, " ORDER BY ");
      buf_quoted_name(b, t->columns[t->rowid_column].name);
    }
    return; /* a scan is in row id order */
  }
  buf_text(b, " ORDER BY ");
  for (int i = 0; i < t->primary->key_columns_n; i++) {
    const index_column *c = &t->primary->columns[i];
    if (i) buf_text(b, ", ");
    buf_quoted_name(b, t->columns[c->column].name);
    buf_text(b, " COLLATE ");
    buf_quoted_name(b, c->collation);
    if (c->descending) buf_text(b, " DESC");
  }
}

status mirror_primary_key(hdb *db, const table *t, sqlite3_stmt *s, const int *places, buf *key) {
  buf_clear(key);
  for (int i = 0; i < t->primary->key_columns_n; i++) {
    const index_column *c = &t->primary->columns[i];
    const collation *collation = NULL;
    TRY(find_collation(db, c->collation, &collation, &db->err));
    value v = mirror_value(s, places[c->column]);
    value_write_key(key, &v, collation, c->descending);
  }
  return buf_failed(key) ? HDB_NOMEM : HDB_OK;
}

static status import_row(hdb *db, const table *t, sqlite3_stmt *s, const int *places, int64_t next_rowid, buf *key,
                         record_writer *w, bulk *out, int64_t *rowid_out) {
  record_begin(w);
  for (int i = 0; i < t->columns_n; i++) {
    if (t->columns[i].stored < 0) continue;
    if (i == t->rowid_column) {
      record_null(w);
      continue;
    }
    value v = mirror_value(s, places[i]);
    value_write(w, &v);
  }
  if (t->without_rowid) {
    TRY(mirror_primary_key(db, t, s, places, key));
  } else {
    int last = sqlite3_column_count(s) - 1;
    int64_t rowid = sqlite3_column_type(s, last) == SQLITE_NULL ? next_rowid : sqlite3_column_int64(s, last);
    buf_clear(key);
    key_put_rowid(key, rowid);
    *rowid_out = rowid;
  }
  slice record = record_end(w);
  if (!record.p || buf_failed(key)) return error_set(&db->err, HDB_NOMEM, "out of memory");
  status rc = bulk_add(out, buf_slice(key), record);
  if (rc == HDB_CONSTRAINT_UNIQUE) return error_set(&db->err, HDB_CORRUPT, "database disk image is malformed");
  return rc == HDB_OK ? HDB_OK : error_set(&db->err, rc, "%s", status_text(rc));
}

static status import_rows(hdb *db, int number, sqlite3 *from, const table *t) {
  buf text = BUF_INIT, key = BUF_INIT;
  record_writer w = {0};
  sqlite3_stmt *s = NULL;
  bulk *out = NULL;
  int *places = calloc((size_t)t->columns_n + 1, sizeof *places);
  status rc = HDB_OK;
  if (!places) CHECK(error_set(&db->err, HDB_NOMEM, "out of memory"));
  for (int i = 0, place = 0; i < t->columns_n; i++) places[i] = t->columns[i].stored < 0 ? -1 : place++;
  mirror_select_text(&text, t);
  if (!buf_cstr(&text)) CHECK(error_set(&db->err, HDB_NOMEM, "out of memory"));
  int code = sqlite3_prepare_v2(from, buf_cstr(&text), -1, &s, NULL);
  if (code != SQLITE_OK) CHECK(mirror_sqlite_error(db, from, code));
  rc = bulk_open(db->databases[number].txn, t->tree, &out);
  if (rc != HDB_OK) CHECK(error_set(&db->err, rc, "%s", status_text(rc)));
  int64_t rowid = 0;
  while ((code = sqlite3_step(s)) == SQLITE_ROW) {
    if (atomic_load(&db->interrupted)) CHECK(error_set(&db->err, HDB_INTERRUPT, "interrupted"));
    CHECK(import_row(db, t, s, places, rowid + 1, &key, &w, out, &rowid));
  }
  CHECK(mirror_sqlite_error(db, from, code));
  rc = bulk_finish(out);
  out = NULL;
  if (rc != HDB_OK) rc = error_set(&db->err, rc, "%s", status_text(rc));
out:
  if (out) bulk_abandon(out);
  sqlite3_finalize(s);
  free(places);
  buf_free(&text);
  buf_free(&key);
  record_writer_free(&w);
  return rc;
}

/* ---- settings in the file's header ---- */
static status import_number(hdb *db, int number, sqlite3 *from, const char *pragma) {
  sqlite3_stmt *s = NULL;
  char text[64];
  snprintf(text, sizeof text, "PRAGMA %s", pragma);
  int code = sqlite3_prepare_v2(from, text, -1, &s, NULL);
  status rc = HDB_OK;
  if (code == SQLITE_OK) code = sqlite3_step(s);
  if (code == SQLITE_ROW) {
    rc = database_set_number(db, number, pragma, sqlite3_column_int64(s, 0));
    code = SQLITE_DONE;
  }
  if (rc == HDB_OK) rc = mirror_sqlite_error(db, from, code);
  sqlite3_finalize(s);
  return rc;
}

static status import_encoding(hdb *db, int number, sqlite3 *from) {
  sqlite3_stmt *s = NULL;
  int code = sqlite3_prepare_v2(from, "PRAGMA encoding", -1, &s, NULL);
  int64_t encoding = 1;
  if (code == SQLITE_OK && (code = sqlite3_step(s)) == SQLITE_ROW) {
    const char *name = (const char *)sqlite3_column_text(s, 0);
    encoding = !name || strcmp(name, "UTF-8") == 0 ? 1 : strcmp(name, "UTF-16le") == 0 ? 2 : 3;
    code = SQLITE_DONE;
  }
  status rc = mirror_sqlite_error(db, from, code);
  sqlite3_finalize(s);
  return rc == HDB_OK && encoding != 1 ? database_set_number(db, number, "encoding", encoding) : rc;
}

static status import_all(hdb *db, int number, sqlite3 *from) {
  schema *s = NULL;
  TRY(import_schema(db, number, from));
  TRY(catalog_schema(db, number, &s));
  for (int i = 0; i < s->tables_n; i++) {
    const table *t = s->in_order[i];
    if (t->kind == TABLE_ORDINARY) TRY(import_rows(db, number, from, t));
  }
  for (int i = 0; i < s->indexes_n; i++) {
    if (s->indexes[i]->is_primary || index_is_vector(s->indexes[i])) continue;
    exec x = {.db = db, .err = &db->err, .ticks = 1000};
    status rc = index_build(&x, number, s->indexes[i]);
    arena_clear(&x.memory);
    arena_clear(&x.lifetime);
    TRY(rc);
  }
  TRY(import_number(db, number, from, "user_version"));
  TRY(import_number(db, number, from, "application_id"));
  return import_encoding(db, number, from);
}

status mirror_mark_seen(hdb *own, const mirror_mark *mark) {
  TRY(database_set_number(own, DB_MAIN, "mirror_seen_stamp", mark->stamp));
  TRY(database_set_number(own, DB_MAIN, "mirror_seen_signature", mark->signature));
  return database_set_number(own, DB_MAIN, "mirror_seen_after", txn_view_time(own->databases[DB_MAIN].txn));
}

status mirror_import(hdb *db, int number, struct sqlite3 *from, const mirror_mark *mark) {
  txn *t = db->databases[number].txn;
  status rc = txn_begin(t, TXN_IMMEDIATE, mark ? mark->turn_ms : 5000);
  if (rc != HDB_OK) return error_set(&db->err, rc, "%s", status_text(rc));
  /* one read transaction over there, so that schema and rows fit */
  bool begins = sqlite3_get_autocommit(from) != 0;
  if (begins) rc = mirror_sqlite_error(db, from, sqlite3_exec(from, "BEGIN", NULL, NULL, NULL));
  if (rc == HDB_OK) rc = import_all(db, number, from);
  if (rc == HDB_OK && mark) rc = mirror_mark_seen(db, mark);
  if (begins) sqlite3_exec(from, "ROLLBACK", NULL, NULL, NULL);
  if (rc == HDB_OK) {
    int64_t time = 0;
    rc = txn_commit(t, 5000, &time);
    if (rc != HDB_OK) error_set(&db->err, rc, "%s", status_text(rc));
  }
  if (rc != HDB_OK) txn_rollback(t);
  return rc;
}
