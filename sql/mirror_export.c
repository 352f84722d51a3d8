/* Export: what main holds is written into an SQLite database, as part of the caller's SQLite transaction.
 *
 * Two tables of ours ride along: _heliosdb_objects(name, tree) says from which tree each table was filled, and
 * _heliosdb_left_out(name, sql, why) lists what stock SQLite cannot hold.
 *
 * E1  After an export with HDB_OK, schema texts and rows in the file equal those of the database's open view.
 * E2  A table is written by its changed keys (from the feed) when the file has it with the same text and from the
 *     same tree; otherwise it is dropped and copied whole.
 * E3  Triggers, foreign keys and CHECKs do not run here: they ran when the rows were written.
 * E4  An object that SQLite refuses is left out and listed, never an error: one foreign word must not cost the file.
 * E5  A schema that is in the file whole, in its own words and without virtual tables is plain: as long as it does not
 *     change, an export writes rows alone and compares no object.
 * Costs per changed row: one point read, one INSERT OR REPLACE (or DELETE). Per copied row: one cursor step, one INSERT.
 */
#include <sqlite3.h>
#include <stdlib.h>

#include "kv/base/key.h"
#include "sql/mirror_internal.h"
#include "sql/virtual.h"

typedef struct object {
  const char *type, *name, *owner, *sql;
  int64_t tree;
  bool in_file; /* there already, as it should be */
  struct object *next;
  const char *written, *why; /* in the file in other words (mirror_text.c) */
} object;

typedef struct exporter {
  hdb *db;
  int number;
  sqlite3 *to;
  int64_t since;
  arena memory;
  object *ours, *theirs;
  record_writer writer;
  bool has_left_out, trees_differ;
  bool plain; /* E5 */
  bool sequence, statistics; /* ... rows of sqlite_sequence, of sqlite_stat tables are to be written */
  mirror_texts texts;
  bool bare; /* the table at work: stored generated columns are plain there */
  /* the table rows are written to at the moment */
  const table *table;
  sqlite3_stmt *insert, *remove;
  cursor *cursor;
  slot slot;
} exporter;

static status run(exporter *x, const char *sql) {
  return mirror_sqlite_error(x->db, x->to, sqlite3_exec(x->to, sql, NULL, NULL, NULL));
}

static status run_with(exporter *x, const char *format, const char *name) {
  char *sql = sqlite3_mprintf(format, name);
  if (!sql) return error_set(&x->db->err, HDB_NOMEM, "out of memory");
  status rc = run(x, sql);
  sqlite3_free(sql);
  return rc;
}

static status bind_value(exporter *x, sqlite3_stmt *s, int index, const value *v) {
  int code = SQLITE_OK;
  switch (v->type) {
  case VAL_INTEGER: code = sqlite3_bind_int64(s, index, v->i); break;
  case VAL_REAL: code = sqlite3_bind_double(s, index, v->r); break;
  case VAL_TEXT: code = sqlite3_bind_text64(s, index, v->n ? v->p : "", v->n, SQLITE_STATIC, SQLITE_UTF8); break;
  case VAL_BLOB: code = v->n ? sqlite3_bind_blob64(s, index, v->p, v->n, SQLITE_STATIC) : sqlite3_bind_zeroblob(s, index, 0); break;
  default: code = sqlite3_bind_null(s, index);
  }
  return mirror_sqlite_error(x->db, x->to, code);
}

static status step_done(exporter *x, sqlite3_stmt *s) {
  sqlite3_step(s);
  return mirror_sqlite_error(x->db, x->to, sqlite3_reset(s));
}

/* ---- schema ---- */
static const char *text_in(exporter *x, const value *v) {
  return v->type == VAL_TEXT ? arena_strndup(&x->memory, v->p, v->n) : NULL;
}

static status load_ours(exporter *x) {
  cursor *c = NULL;
  object **end = &x->ours;
  status rc = cursor_open(x->db->databases[x->number].txn, TREE_SCHEMA, 0, &c);
  if (rc != HDB_OK) return error_set(&x->db->err, rc, "%s", status_text(rc));
  for (cursor_first(c); c->valid; cursor_next(c)) {
    value v[5];
    CHECK(record_check(c->value));
    for (uint32_t i = 0; i < 5; i++) {
      uint8_t type;
      slice payload;
      v[i] = record_column(c->value, i, &type, &payload) ? value_read(type, payload.p, payload.n) : value_null();
    }
    object *o = arena_zero(&x->memory, sizeof *o);
    if (!o) CHECK(HDB_NOMEM);
    *o = (object){text_in(x, &v[0]), text_in(x, &v[1]), text_in(x, &v[2]), text_in(x, &v[4]), value_to_int(&v[3]), false, NULL, NULL, NULL};
    *end = o;
    end = &o->next;
  }
  rc = c->error;
out:
  cursor_close(c);
  return rc == HDB_OK ? HDB_OK : error_set(&x->db->err, rc, "%s", status_text(rc));
}

static object *find(object *list, const char *type, const char *name);
static bool is_ours(const char *name) { return name && sqlite3_strnicmp(name, "_heliosdb", 9) == 0; }

/* Which tree each table in the file was filled from. */
static status load_trees(exporter *x) {
  sqlite3_stmt *s = NULL;
  int code = sqlite3_prepare_v2(x->to, "SELECT name, tree FROM _heliosdb_objects", -1, &s, NULL);
  while ((code == SQLITE_OK || code == SQLITE_ROW) && (code = sqlite3_step(s)) == SQLITE_ROW) {
    object *o = find(x->theirs, "table", (const char *)sqlite3_column_text(s, 0));
    if (o) o->tree = sqlite3_column_int64(s, 1);
    else x->trees_differ = true;
  }
  status rc = mirror_sqlite_error(x->db, x->to, code);
  sqlite3_finalize(s);
  return rc;
}

static status load_theirs(exporter *x) {
  sqlite3_stmt *s = NULL;
  object **end = &x->theirs;
  bool has_trees = false;
  int code = sqlite3_prepare_v2(x->to, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid", -1, &s, NULL);
  while (code == SQLITE_OK || code == SQLITE_ROW) {
    if ((code = sqlite3_step(s)) != SQLITE_ROW) break;
    const char *texts[4];
    for (int i = 0; i < 4; i++) texts[i] = (const char *)sqlite3_column_text(s, i);
    if (is_ours(texts[1]) || is_ours(texts[2])) {
      if (strcmp(texts[1], "_heliosdb_objects") == 0) has_trees = true;
      if (strcmp(texts[1], "_heliosdb_left_out") == 0) x->has_left_out = true;
      continue;
    }
    object *o = arena_zero(&x->memory, sizeof *o);
    if (!o) break;
    *o = (object){arena_strdup(&x->memory, texts[0]), arena_strdup(&x->memory, texts[1]), arena_strdup(&x->memory, texts[2]),
                  texts[3] ? arena_strdup(&x->memory, texts[3]) : NULL, 0, false, NULL, NULL, NULL};
    *end = o;
    end = &o->next;
  }
  status rc = mirror_sqlite_error(x->db, x->to, code);
  sqlite3_finalize(s);
  if (rc == HDB_OK && !has_trees) rc = run(x, "CREATE TABLE _heliosdb_objects(name TEXT PRIMARY KEY, tree INTEGER) WITHOUT ROWID");
  if (rc == HDB_OK) rc = load_trees(x);
  if (rc == HDB_OK) rc = mirror_texts_load(x->db, x->to, &x->texts);
  for (object *o = x->theirs; o && rc == HDB_OK; o = o->next) {
    const mirror_written *w = mirror_text_find(&x->texts, o->name, o->sql);
    if (w) o->written = o->sql, o->why = w->texts[3], o->sql = w->texts[1];
  }
  return x->memory.failed ? error_set(&x->db->err, HDB_NOMEM, "out of memory") : rc;
}

static bool is_internal(const char *name) { return sqlite3_strnicmp(name, "sqlite_", 7) == 0; }
static bool is_virtual(const object *o) { return o->sql && sqlite3_strnicmp(o->sql, "CREATE VIRTUAL", 14) == 0; }

/* Full-text and R*Tree tables: SQLite's modules would read shadow tables that are not theirs. */
static bool is_search(exporter *x, const object *o) {
  const table *t = catalog_table(x->db, x->db->databases[x->number].name, o->name, NULL);
  return t && virtual_kind_of(t);
}

static object *find(object *list, const char *type, const char *name) {
  for (object *o = list; o; o = o->next)
    if (strcmp(o->type, type) == 0 && strcmp(o->name, name) == 0) return o;
  return NULL;
}

static status drop(exporter *x, const object *o) {
  if (is_virtual(o)) { /* its module may be missing over there, so by the schema table */
    sqlite3_stmt *s = NULL;
    TRY(run(x, "PRAGMA writable_schema = ON"));
    int code = sqlite3_prepare_v2(x->to, "DELETE FROM sqlite_schema WHERE type = 'table' AND name = ?", -1, &s, NULL);
    if (code == SQLITE_OK) {
      sqlite3_bind_text(s, 1, o->name, -1, SQLITE_STATIC);
      sqlite3_step(s);
    }
    code = sqlite3_finalize(s);
    TRY(mirror_sqlite_error(x->db, x->to, code));
    return run(x, "PRAGMA writable_schema = RESET");
  }
  const char *format = strcmp(o->type, "table") == 0   ? "DROP TABLE IF EXISTS main.\"%w\""
                       : strcmp(o->type, "index") == 0 ? "DROP INDEX IF EXISTS main.\"%w\""
                       : strcmp(o->type, "view") == 0  ? "DROP VIEW IF EXISTS main.\"%w\""
                                                       : "DROP TRIGGER IF EXISTS main.\"%w\"";
  return run_with(x, format, o->name);
}

/* Marks what may stay and drops the rest; triggers, views and indexes first. A dropped table takes its own along. */
static status drop_changed(exporter *x) {
  static const char *const order[] = {"trigger", "view", "index", "table"};
  for (object *o = x->theirs; o; o = o->next) {
    object *same = find(x->ours, o->type, o->name);
    o->in_file = same && o->sql && same->sql && strcmp(same->sql, o->sql) == 0 &&
                 (strcmp(o->type, "table") != 0 || same->tree == o->tree || is_virtual(o)) && !(is_virtual(o) && is_search(x, o));
    if (o->sql && is_internal(o->name)) o->in_file = true; /* sqlite_sequence, sqlite_stat1: only their rows change */
    if (!o->sql) o->in_file = true;
  }
  for (object *o = x->theirs; o; o = o->next) {
    object *owner = strcmp(o->type, "index") == 0 || strcmp(o->type, "trigger") == 0 ? find(x->theirs, "table", o->owner) : NULL;
    if (owner && !owner->in_file) o->in_file = false;
  }
  for (int k = 0; k < 4; k++) {
    for (object *o = x->theirs; o; o = o->next)
      if (!o->in_file && o->sql && strcmp(o->type, order[k]) == 0) TRY(drop(x, o));
  }
  for (object *o = x->ours; o; o = o->next) {
    object *same = find(x->theirs, o->type, o->name);
    o->in_file = same && same->in_file;
    if (o->in_file) o->written = same->written, o->why = same->why;
  }
  return HDB_OK;
}

/* o->written: it is there in those words; NULL: not at all. */
static status leave_out(exporter *x, const object *o, const char *why) {
  sqlite3_stmt *s = NULL;
  char *copy = sqlite3_mprintf("%s", why);
  status rc = run(x, "CREATE TABLE IF NOT EXISTS _heliosdb_left_out(name TEXT, sql TEXT, why TEXT, written TEXT)");
  if (rc == HDB_OK) {
    sqlite3_prepare_v2(x->to, "INSERT INTO _heliosdb_left_out VALUES(?, ?, ?, ?)", -1, &s, NULL);
    sqlite3_bind_text(s, 4, o->written, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 1, o->name, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, o->sql, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 3, copy, -1, SQLITE_STATIC);
    sqlite3_step(s);
    rc = mirror_sqlite_error(x->db, x->to, sqlite3_finalize(s));
  }
  sqlite3_free(copy);
  return rc;
}

static status create_virtual(exporter *x, const object *o) {
  sqlite3_stmt *s = NULL;
  TRY(run(x, "PRAGMA writable_schema = ON"));
  sqlite3_prepare_v2(x->to, "INSERT INTO sqlite_schema(type, name, tbl_name, rootpage, sql) VALUES('table', ?1, ?1, 0, ?2)", -1, &s, NULL);
  sqlite3_bind_text(s, 1, o->name, -1, SQLITE_STATIC);
  sqlite3_bind_text(s, 2, o->sql, -1, SQLITE_STATIC);
  sqlite3_step(s);
  TRY(mirror_sqlite_error(x->db, x->to, sqlite3_finalize(s)));
  return run(x, "PRAGMA writable_schema = RESET");
}

/* A view is only looked into when it is used; then a function that SQLite lacks makes it an error. */
static bool lacks_function(exporter *x, const object *o) {
  sqlite3_stmt *s = NULL;
  if (strcmp(o->type, "view") != 0) return false;
  char *sql = sqlite3_mprintf("SELECT * FROM main.\"%w\"", o->name);
  int code = sql ? sqlite3_prepare_v2(x->to, sql, -1, &s, NULL) : SQLITE_NOMEM;
  sqlite3_free(sql);
  sqlite3_finalize(s);
  return code == SQLITE_ERROR && strncmp(sqlite3_errmsg(x->to), "no such function", 16) == 0;
}

/* In other words, when there are some that SQLite takes. */
static status create_otherwise(exporter *x, object *o, const char *why, bool *made) {
  schema *s;
  TRY(catalog_schema(x->db, x->number, &s));
  const table *t = strcmp(o->type, "table") == 0 ? schema_table(s, o->name) : NULL;
  for (int i = 0; i < 2 && !*made; i++) {
    const char *text = i == 0 ? mirror_text_casts(&x->memory, o->sql) : t && t->kind == TABLE_ORDINARY ? mirror_text_bare(&x->memory, t) : NULL;
    if (!text || sqlite3_exec(x->to, text, NULL, NULL, NULL) != SQLITE_OK) continue;
    if (lacks_function(x, o)) {
      TRY(drop(x, o));
      continue;
    }
    o->written = text, o->why = why;
    *made = true;
  }
  return leave_out(x, o, why);
}

/* *made false: SQLite refused it and it is listed. */
static status create(exporter *x, object *o, bool *made) {
  *made = true;
  if (is_virtual(o) && is_search(x, o)) {
    *made = false;
    return leave_out(x, o, "its index is HeliosDB's own; its rows are in the tables named after it");
  }
  if (is_virtual(o)) return create_virtual(x, o);
  int code = sqlite3_exec(x->to, o->sql, NULL, NULL, NULL);
  if (code == SQLITE_OK && !lacks_function(x, o)) return HDB_OK;
  const char *why = arena_strdup(&x->memory, sqlite3_errmsg(x->to));
  *made = false;
  if (!why) return error_set(&x->db->err, HDB_NOMEM, "out of memory");
  if (code == SQLITE_OK) TRY(drop(x, o));
  else if (code != SQLITE_ERROR && code != SQLITE_CONSTRAINT) return mirror_sqlite_error(x->db, x->to, code);
  return create_otherwise(x, o, why, made);
}

/* ---- rows ---- */
static const char *rowid_name(const table *t) {
  return t->rowid_column >= 0 ? t->columns[t->rowid_column].name : table_rowid_name(t);
}

static void list_quoted(buf *b, const char *name) {
  char *quoted = sqlite3_mprintf("\"%w\"", name);
  if (quoted) buf_text(b, quoted);
  sqlite3_free(quoted);
}

static status prepare(exporter *x, buf *text, sqlite3_stmt **out) {
  const char *sql = buf_cstr(text);
  if (!sql) return error_set(&x->db->err, HDB_NOMEM, "out of memory");
  return mirror_sqlite_error(x->db, x->to, sqlite3_prepare_v3(x->to, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL));
}

static status table_close(exporter *x, status rc) {
  sqlite3_finalize(x->insert);
  sqlite3_finalize(x->remove);
  x->insert = x->remove = NULL;
  if (x->cursor) cursor_close(x->cursor);
  x->cursor = NULL;
  x->table = NULL;
  return rc;
}

static bool is_computed(const exporter *x, const table *t, int i) {
  return t->columns[i].generated && (!x->bare || t->columns[i].stored < 0);
}

static status prepare_insert(exporter *x, const table *t) {
  buf text = BUF_INIT;
  int n = 0;
  buf_text(&text, "INSERT OR REPLACE INTO main.");
  list_quoted(&text, t->name);
  buf_text(&text, "(");
  for (int i = 0; i < t->columns_n; i++) {
    if (is_computed(x, t, i)) continue;
    if (n++) buf_text(&text, ", ");
    list_quoted(&text, t->columns[i].name);
  }
  if (!t->without_rowid && t->rowid_column < 0 && rowid_name(t)) {
    if (n++) buf_text(&text, ", ");
    buf_text(&text, rowid_name(t));
  }
  buf_text(&text, ") VALUES(");
  for (int i = 0; i < n; i++) buf_text(&text, i ? ", ?" : "?");
  buf_text(&text, ")");
  status rc = prepare(x, &text, &x->insert);
  buf_free(&text);
  return rc;
}

static status prepare_remove(exporter *x, const table *t) {
  buf text = BUF_INIT;
  buf_text(&text, "DELETE FROM main.");
  list_quoted(&text, t->name);
  buf_text(&text, " WHERE ");
  if (t->without_rowid) {
    for (int i = 0; i < t->primary->key_columns_n; i++) {
      if (i) buf_text(&text, " AND ");
      list_quoted(&text, t->columns[t->primary->columns[i].column].name);
      buf_text(&text, " IS ?");
    }
  } else {
    list_quoted(&text, rowid_name(t) ? rowid_name(t) : "rowid");
    buf_text(&text, " = ?");
  }
  status rc = prepare(x, &text, &x->remove);
  buf_free(&text);
  return rc;
}

static status table_open(exporter *x, const table *t) {
  object *o = find(x->ours, "table", t->name);
  x->table = t;
  x->bare = o && o->written && !strstr(o->written, "CAST("); /* see create_otherwise: casts first */
  x->slot = (slot){.table = t, .columns_n = t->columns_n};
  x->slot.own = arena_zero(&x->memory, sizeof(value) * (size_t)(t->columns_n + 1));
  if (!x->slot.own) return error_set(&x->db->err, HDB_NOMEM, "out of memory");
  TRY(prepare_insert(x, t));
  status rc = cursor_open(x->db->databases[x->number].txn, t->tree, 0, &x->cursor);
  return rc == HDB_OK ? HDB_OK : error_set(&x->db->err, rc, "%s", status_text(rc));
}

static status put_row(exporter *x) {
  const table *t = x->table;
  if (atomic_load(&x->db->interrupted)) return error_set(&x->db->err, HDB_INTERRUPT, "interrupted");
  int64_t rowid = t->without_rowid ? 0 : rowid_decode(x->cursor->key.p);
  status rc = record_check(x->cursor->value);
  if (rc != HDB_OK) return error_set(&x->db->err, HDB_CORRUPT, "database disk image is malformed");
  slot_set_record(&x->slot, rowid, x->cursor->value);
  int n = 0;
  for (int i = 0; i < t->columns_n; i++) {
    if (is_computed(x, t, i)) continue;
    TRY(bind_value(x, x->insert, ++n, slot_column(&x->slot, i)));
  }
  if (n < sqlite3_bind_parameter_count(x->insert)) sqlite3_bind_int64(x->insert, n + 1, rowid);
  return step_done(x, x->insert);
}

static status remove_row(exporter *x, slice key) {
  const table *t = x->table;
  if (!x->remove) TRY(prepare_remove(x, t));
  if (!t->without_rowid) {
    sqlite3_bind_int64(x->remove, 1, rowid_decode(key.p));
    return step_done(x, x->remove);
  }
  buf scratch = BUF_INIT;
  const uint8_t *p = key.p, *end = key.p + key.n;
  status rc = HDB_OK;
  for (int i = 0; i < t->primary->key_columns_n && rc == HDB_OK; i++) {
    key_value k;
    p = key_get(p, end, t->primary->columns[i].descending, &k, &scratch);
    if (!p) {
      rc = error_set(&x->db->err, HDB_CORRUPT, "database disk image is malformed");
      break;
    }
    if (k.klass == KEY_CLASS_NUMBER)
      sqlite3_bind_int64(x->remove, i + 1, k.i), k.is_int ? 0 : sqlite3_bind_double(x->remove, i + 1, k.r);
    else if (k.klass == KEY_CLASS_TEXT)
      sqlite3_bind_text64(x->remove, i + 1, k.bytes.n ? (const char *)k.bytes.p : "", k.bytes.n, SQLITE_TRANSIENT, SQLITE_UTF8);
    else if (k.klass == KEY_CLASS_BLOB)
      sqlite3_bind_blob64(x->remove, i + 1, k.bytes.n ? (const void *)k.bytes.p : "", k.bytes.n, SQLITE_TRANSIENT);
    else
      sqlite3_bind_null(x->remove, i + 1);
  }
  if (rc == HDB_OK) rc = step_done(x, x->remove);
  buf_free(&scratch);
  return rc;
}

static status copy_table(exporter *x, const table *t) {
  status rc = table_open(x, t);
  if (rc == HDB_OK) {
    for (cursor_first(x->cursor); x->cursor->valid && rc == HDB_OK; cursor_next(x->cursor)) rc = put_row(x);
    if (rc == HDB_OK && x->cursor->error != HDB_OK) rc = error_set(&x->db->err, x->cursor->error, "%s", status_text(x->cursor->error));
  }
  return table_close(x, rc);
}

/* ---- the feed ---- */
typedef struct feed_state {
  exporter *x;
  schema *schema;
  uint32_t tree;
} feed_state;

static bool is_in_file(exporter *x, const table *t) {
  const object *o = x->plain ? NULL : find(x->ours, "table", t->name);
  return x->plain || (o && o->in_file);
}

/* The table of the tree is the one at work, if its rows are written one by one. */
static status turn_to_tree(feed_state *f, uint32_t tree) {
  exporter *x = f->x;
  if (x->table) table_close(x, HDB_OK);
  f->tree = tree;
  for (int i = 0; i < f->schema->tables_n; i++) {
    const table *t = f->schema->in_order[i];
    if (t->kind != TABLE_ORDINARY || t->tree != tree) continue;
    bool sequence = strcmp(t->name, "sqlite_sequence") == 0;
    x->sequence |= sequence || t->autoincrement; /* SQLite counts on its own there */
    x->statistics |= is_internal(t->name) && !sequence;
    if (!is_internal(t->name) && is_in_file(x, t)) TRY(table_open(x, t));
  }
  return HDB_OK;
}

static status visit_change(void *context, uint32_t tree, slice key, bool whole) {
  feed_state *f = context;
  exporter *x = f->x;
  if (tree != f->tree) TRY(turn_to_tree(f, tree));
  if (!x->table) return HDB_OK; /* an index, a table copied whole, or one that is gone */
  if (whole) {
    const table *t = x->table;
    table_close(x, HDB_OK);
    TRY(run_with(x, "DELETE FROM main.\"%w\"", t->name));
    return copy_table(x, t);
  }
  if (cursor_find(x->cursor, key)) return put_row(x);
  if (x->cursor->error != HDB_OK) return x->cursor->error;
  return remove_row(x, key);
}

/* ---- internal tables: rows only, whole ---- */
static bool has_table(exporter *x, const char *name) {
  return sqlite3_table_column_metadata(x->to, "main", name, NULL, NULL, NULL, NULL, NULL, NULL) == SQLITE_OK;
}

static status write_internal(exporter *x, const table *t) {
  TRY(run_with(x, "DELETE FROM main.\"%w\"", t->name));
  return copy_table(x, t);
}

static status sync_internal(exporter *x, const object *o, const table *t) {
  if (!has_table(x, o->name) && strcmp(o->name, "sqlite_sequence") == 0) {
    TRY(run(x, "CREATE TABLE _heliosdb_sequence(id INTEGER PRIMARY KEY AUTOINCREMENT)"));
    TRY(run(x, "DROP TABLE _heliosdb_sequence"));
  } else if (!has_table(x, o->name)) {
    TRY(run(x, "ANALYZE sqlite_schema"));
  }
  if (!has_table(x, o->name)) return leave_out(x, o, sqlite3_errmsg(x->to));
  return write_internal(x, t);
}

static status record_trees(exporter *x) {
  sqlite3_stmt *s = NULL;
  bool same = !x->trees_differ;
  for (object *o = x->ours; o && same; o = o->next) {
    if (strcmp(o->type, "table") != 0) continue;
    object *theirs = find(x->theirs, "table", o->name);
    same = theirs ? o->in_file && theirs->tree == o->tree : !o->in_file;
  }
  for (object *o = x->theirs; o && same; o = o->next)
    if (strcmp(o->type, "table") == 0) same = find(x->ours, "table", o->name) != NULL;
  if (same) return HDB_OK;
  TRY(run(x, "DELETE FROM _heliosdb_objects"));
  int code = sqlite3_prepare_v2(x->to, "INSERT INTO _heliosdb_objects VALUES(?, ?)", -1, &s, NULL);
  status rc = mirror_sqlite_error(x->db, x->to, code);
  for (object *o = x->ours; o && rc == HDB_OK; o = o->next) {
    if (strcmp(o->type, "table") != 0 || !o->in_file) continue;
    sqlite3_bind_text(s, 1, o->name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 2, o->tree);
    rc = step_done(x, s);
  }
  sqlite3_finalize(s);
  return rc;
}

static const table *table_named(schema *s, const char *name) {
  for (int i = 0; i < s->tables_n; i++)
    if (strcmp(s->in_order[i]->name, name) == 0) return s->in_order[i];
  return NULL;
}

static status export_tables(exporter *x, schema *s) {
  /* changed rows of tables that stay, before new tables are marked as being there */
  feed_state f = {.x = x, .schema = s};
  if (x->since > 0) {
    hdb *db = x->db;
    status rc = feed_changes(db->databases[x->number].engine, x->since, txn_view_time(db->databases[x->number].txn), visit_change, &f);
    if (x->table) table_close(x, HDB_OK);
    if (rc == HDB_NOTFOUND) {
      for (object *o = x->ours; o; o = o->next) {
        if (!o->in_file || strcmp(o->type, "table") != 0 || is_internal(o->name) || is_virtual(o)) continue;
        const table *t = table_named(s, o->name);
        TRY(run_with(x, "DELETE FROM main.\"%w\"", o->name));
        if (t) TRY(copy_table(x, t));
      }
    } else if (rc != HDB_OK) {
      return db->err.code == rc ? rc : error_set(&db->err, rc, "%s", status_text(rc));
    }
  }
  for (object *o = x->ours; o; o = o->next) {
    if (strcmp(o->type, "table") != 0 || o->in_file || !o->sql || is_internal(o->name)) continue;
    TRY(create(x, o, &o->in_file));
    const table *t = table_named(s, o->name);
    if (o->in_file && t && t->kind == TABLE_ORDINARY) TRY(copy_table(x, t));
  }
  for (object *o = x->ours; o; o = o->next) {
    const table *t = strcmp(o->type, "table") == 0 && is_internal(o->name) ? table_named(s, o->name) : NULL;
    if (t && t->kind == TABLE_ORDINARY) TRY(sync_internal(x, o, t));
  }
  return HDB_OK;
}

static status export_numbers(exporter *x) {
  static const char *const numbers[] = {"user_version", "application_id"};
  for (int i = 0; i < 2; i++) {
    int64_t v = 0;
    char text[80];
    TRY(database_get_number(x->db, x->number, numbers[i], 0, &v));
    if (x->since && file_header_number(x->to, i ? 68 : 60) == (int32_t)v) continue;
    sqlite3_snprintf(sizeof text, text, "PRAGMA %s = %lld", numbers[i], (long long)v);
    TRY(run(x, text));
  }
  return HDB_OK;
}

/* E5 */
static bool came_out_plain(const exporter *x) {
  bool plain = !x->has_left_out;
  for (const object *o = x->ours; o && plain; o = o->next)
    plain = (o->in_file || !o->sql) && !o->written && !is_virtual(o);
  return plain;
}

/* HDB_NOTFOUND: the feed does not reach back so far. */
static status export_rows(exporter *x) {
  schema *s = NULL;
  hdb *db = x->db;
  TRY(catalog_schema(db, x->number, &s));
  feed_state f = {.x = x, .schema = s};
  x->plain = true;
  status rc = feed_changes(db->databases[x->number].engine, x->since,
                           txn_view_time(db->databases[x->number].txn), visit_change, &f);
  if (x->table) table_close(x, HDB_OK);
  if (rc != HDB_OK && rc != HDB_NOTFOUND && db->err.code != rc)
    return error_set(&db->err, rc, "%s", status_text(rc));
  TRY(rc);
  for (int i = 0; i < s->tables_n && (x->sequence || x->statistics); i++) {
    const table *t = s->in_order[i];
    bool wanted = strcmp(t->name, "sqlite_sequence") == 0 ? x->sequence : x->statistics;
    if (t->kind == TABLE_ORDINARY && is_internal(t->name) && wanted) TRY(write_internal(x, t));
  }
  return export_numbers(x);
}

static status export_all(exporter *x) {
  static const char *const later[] = {"index", "view", "trigger"};
  schema *s = NULL;
  TRY(load_ours(x));
  TRY(load_theirs(x));
  if (x->has_left_out) TRY(run(x, "DROP TABLE _heliosdb_left_out"));
  x->has_left_out = false;
  TRY(catalog_schema(x->db, x->number, &s));
  TRY(drop_changed(x));
  for (object *o = x->ours; o; o = o->next)
    if (o->in_file && o->written) TRY(leave_out(x, o, o->why ? o->why : ""));
  TRY(export_tables(x, s));
  for (int k = 0; k < 3; k++) {
    for (object *o = x->ours; o; o = o->next)
      if (!o->in_file && o->sql && strcmp(o->type, later[k]) == 0) TRY(create(x, o, &o->in_file));
  }
  TRY(record_trees(x));
  TRY(export_numbers(x));
  x->plain = came_out_plain(x);
  return HDB_OK;
}

status mirror_export_prepare(hdb *db, struct sqlite3 *to) {
  int was = 0;
  sqlite3_db_config(to, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, &was);
  sqlite3_db_config(to, SQLITE_DBCONFIG_ENABLE_FKEY, 0, &was);
  sqlite3_db_config(to, SQLITE_DBCONFIG_DEFENSIVE, 0, &was);
  return mirror_sqlite_error(db, to,
                             sqlite3_exec(to, "PRAGMA ignore_check_constraints = ON", NULL, NULL, NULL));
}

static status export_run(exporter *x, status (*all)(exporter *)) {
  status rc = all(x);
  table_close(x, rc);
  arena_clear(&x->memory);
  arena_clear(&x->texts.memory);
  return rc;
}

status mirror_export(hdb *db, int number, struct sqlite3 *to, int64_t since) {
  exporter x = {.db = db, .number = number, .to = to, .since = since};
  TRY(mirror_export_prepare(db, to));
  return export_run(&x, export_all);
}

status mirror_export_after(struct mirror *m, int64_t since) {
  exporter x = {.db = m->own, .number = DB_MAIN, .to = m->held, .since = since};
  schema_stamp stamp = txn_schema_stamp(m->own->databases[DB_MAIN].txn);
  status rc = HDB_NOTFOUND;
  bool is_plain =
      since > 0 && m->plain_id == m->note.id && m->plain_time == stamp.time && stamp.time <= since;
  m->plain_id = 0;
  if (is_plain) rc = export_run(&x, export_rows);
  if (rc == HDB_NOTFOUND) {
    x = (exporter){.db = m->own, .number = DB_MAIN, .to = m->held, .since = since};
    rc = export_run(&x, export_all);
  }
  if (rc == HDB_OK && x.plain) m->plain_id = m->note.id, m->plain_time = stamp.time;
  return rc;
}

static status drop_all(exporter *x) {
  TRY(load_theirs(x));
  TRY(drop_changed(x));
  if (sqlite3_table_column_metadata(x->to, "main", "sqlite_sequence", NULL, NULL, NULL, NULL, NULL, NULL) == SQLITE_OK)
    TRY(run(x, "DELETE FROM sqlite_sequence"));
  return run(x, "DROP TABLE _heliosdb_objects; DROP TABLE IF EXISTS _heliosdb_left_out");
}

status mirror_export_nothing(hdb *own, struct sqlite3 *file) {
  exporter x = {.db = own, .number = DB_MAIN, .to = file};
  return export_run(&x, drop_all);
}
