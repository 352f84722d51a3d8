/* The rows of one table, merged three ways: the file's as SQLite gives them, main's as of the base, main's now.
 *
 * The file and the base are walked side by side in key order; only where they differ is main looked at. What is to be
 * written waits in a tree in memory until every row that changes has been deleted: so values that moved from row to
 * row meet no unique key on their way.
 *
 * R1  A column that only one side changed is taken; both alike is nothing; both differently is a conflict, as are a
 *     row deleted here and changed there, and a unique key that both gave away. theirs_win says who wins it.
 * R2  A row of main that loses nothing by R1 is there afterwards, unchanged.
 * Costs: a step of SQLite and one of the base's cursor a row; a point read, a delete and an insert a row that differs.
 */
#include <sqlite3.h>
#include <stdlib.h>

#include "kv/base/key.h"
#include "sql/mirror_internal.h"
#include "sql/replay.h"

enum { THEIRS, BASE, OURS, SIDES };
enum { SCRATCH_ROWS = 0x70000000 }; /* its tree in the scratch engine */

typedef struct side { /* of main: base and ours */
  const table *t;
  cursor *c;
  slot slot;
  value *own;
  bool there;
} side;

typedef struct row_merge {
  mirror_merging *g;
  const table *t; /* the target's */
  const table *theirs;
  sqlite3_stmt *file; /* on a row, or at its end */
  bool at_row;
  int *places;            /* of the file's columns in the SELECT */
  int *maps[SIDES];       /* target's column -> the side's, -1 */
  side base, ours;
  buf key, other_key;     /* of the file's row */
  int64_t next_rowid;
  value *row;             /* the result */
  hdb_stmt *insert, *replace, *remove;
  record_writer writer;
  const char *rowid_name;
} row_merge;

static status no_memory(row_merge *k) { return sql_nomem(&k->g->own->err); }
static status failed(row_merge *k, status rc) { return rc == HDB_OK ? rc : error_set(&k->g->own->err, rc, "%s", status_text(rc)); }

/* ---- the sides ---- */

/* The target's column i on a side: by its name, or in its place when it was renamed. */
static int column_of(const table *side_table, const table *target, int i) {
  int found = table_column(side_table, target->columns[i].name);
  bool renamed = found < 0 && i < side_table->columns_n && side_table->columns_n == target->columns_n && table_column(target, side_table->columns[i].name) < 0;
  return renamed ? i : found;
}

static status side_open(row_merge *k, side *s, int which, txn *from, const table *t) {
  k->maps[which] = calloc((size_t)k->t->columns_n + 1, sizeof(int));
  if (!k->maps[which]) return no_memory(k);
  for (int i = 0; i < k->t->columns_n; i++) k->maps[which][i] = t ? column_of(t, k->t, i) : -1;
  if (!s) return HDB_OK;
  s->t = t;
  if (!t || !from) return HDB_OK;
  TRY(failed(k, cursor_open(from, t->tree, 0, &s->c)));
  s->own = calloc((size_t)t->columns_n + 1, sizeof *s->own);
  if (!s->own) return no_memory(k);
  s->slot = (slot){.own = s->own, .columns = s->own, .columns_n = t->columns_n};
  slot_set_table(&s->slot, t, 0);
  return HDB_OK;
}

static void side_close(side *s) {
  cursor_close(s->c);
  free(s->own);
}

/* The cursor stands on a row, or not. */
static status side_row(row_merge *k, side *s) {
  s->there = s->c && s->c->valid;
  if (!s->there) return s->c ? failed(k, s->c->error) : HDB_OK;
  if (record_check(s->c->value) != HDB_OK) return failed(k, HDB_CORRUPT);
  slot_set_record(&s->slot, s->t->without_rowid ? 0 : rowid_decode(s->c->key.p), s->c->value);
  return HDB_OK;
}

static value default_of(const row_merge *k, int i) { return k->t->missing ? k->t->missing[i] : value_null(); }

static value side_value(const row_merge *k, side *s, int which, int i) {
  int place = k->maps[which][i];
  return place >= 0 ? *slot_column(&s->slot, place) : default_of(k, i);
}

static value their_value(const row_merge *k, int i) {
  int column = k->maps[THEIRS][i];
  return column >= 0 && k->places[column] >= 0 ? mirror_value(k->file, k->places[column]) : default_of(k, i);
}

/* SQLite keeps no difference between 0.0 and -0.0. */
static bool same(const value *a, const value *b) {
  if (a->type != b->type) return false;
  switch (a->type) {
  case VAL_NULL: return true;
  case VAL_INTEGER: return a->i == b->i;
  case VAL_REAL: return a->r == b->r;
  default: return a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0);
  }
}

static bool is_written(const row_merge *k, int i) { return !k->t->columns[i].generated; }

static bool theirs_equal(const row_merge *k, side *s, int which) {
  for (int i = 0; i < k->t->columns_n; i++) {
    if (!is_written(k, i)) continue;
    value a = their_value(k, i), b = side_value(k, s, which, i);
    if (!same(&a, &b)) return false;
  }
  return true;
}

static bool ours_unchanged(row_merge *k) {
  for (int i = 0; i < k->t->columns_n; i++) {
    if (!is_written(k, i)) continue;
    value a = side_value(k, &k->base, BASE, i), b = side_value(k, &k->ours, OURS, i);
    if (!same(&a, &b)) return false;
  }
  return true;
}

static status file_step(row_merge *k) {
  const table *t = k->theirs;
  int code = sqlite3_step(k->file);
  k->at_row = code == SQLITE_ROW;
  if (!k->at_row) return mirror_sqlite_error(k->g->own, k->g->file, code);
  if (t->without_rowid) return mirror_primary_key(k->g->own, t, k->file, k->places, &k->key);
  int last = sqlite3_column_count(k->file) - 1;
  k->next_rowid = sqlite3_column_type(k->file, last) == SQLITE_NULL ? k->next_rowid + 1 : sqlite3_column_int64(k->file, last);
  buf_clear(&k->key);
  key_put_rowid(&k->key, k->next_rowid);
  return buf_failed(&k->key) ? no_memory(k) : HDB_OK;
}

/* ---- statements of the target ---- */

static void put_key_condition(row_merge *k, buf *b) {
  buf_text(b, " WHERE ");
  if (!k->t->without_rowid) {
    buf_quoted_name(b, k->rowid_name);
    buf_text(b, " = ?");
    return;
  }
  for (int i = 0; i < k->t->primary->key_columns_n; i++) {
    buf_text(b, i ? " AND " : "");
    buf_quoted_name(b, k->t->columns[k->t->primary->columns[i].column].name);
    buf_text(b, " = ?");
  }
}

static void put_insert(row_merge *k, buf *b, bool replace) {
  int n = 0;
  buf_text(b, replace ? "INSERT OR REPLACE INTO main." : "INSERT INTO main.");
  buf_quoted_name(b, k->t->name);
  buf_byte(b, '(');
  if (!k->t->without_rowid && k->t->rowid_column < 0) buf_quoted_name(b, k->rowid_name), n++;
  for (int i = 0; i < k->t->columns_n; i++) {
    if (!is_written(k, i)) continue;
    if (n++) buf_byte(b, ',');
    buf_quoted_name(b, k->t->columns[i].name);
  }
  buf_text(b, ") VALUES(");
  for (int i = 0; i < n; i++) buf_text(b, i ? ",?" : "?");
  buf_byte(b, ')');
}

static status prepare(row_merge *k, hdb_stmt **s, bool removes, bool replaces) {
  buf b = BUF_INIT;
  size_t tail;
  if (*s) return HDB_OK;
  if (removes) {
    buf_text(&b, "DELETE FROM main.");
    buf_quoted_name(&b, k->t->name);
    put_key_condition(k, &b);
  } else {
    put_insert(k, &b, replaces);
  }
  status rc = buf_failed(&b) ? no_memory(k) : sql_statement_new(k->g->own, buf_slice(&b), s, &tail);
  buf_free(&b);
  return rc;
}

static status run(hdb_stmt *s) {
  status rc;
  while ((rc = sql_statement_step(s)) == HDB_ROW) {}
  return rc == HDB_DONE ? HDB_OK : rc;
}

/* Deletes our row at the ours cursor. */
static status remove_ours(row_merge *k, slice key) {
  TRY(prepare(k, &k->remove, true, false));
  if (!k->t->without_rowid) {
    k->remove->parameters[0] = value_int(rowid_decode(key.p));
  } else {
    const index_ *p = k->t->primary;
    for (int i = 0; i < p->key_columns_n; i++) k->remove->parameters[i] = side_value(k, &k->ours, OURS, p->columns[i].column);
  }
  return run(k->remove);
}

static status insert_row(row_merge *k, slice key, bool replace) {
  hdb_stmt **s = replace ? &k->replace : &k->insert;
  int n = 0;
  TRY(prepare(k, s, false, replace));
  if (!k->t->without_rowid && k->t->rowid_column < 0) (*s)->parameters[n++] = value_int(rowid_decode(key.p));
  for (int i = 0; i < k->t->columns_n; i++)
    if (is_written(k, i)) (*s)->parameters[n++] = k->row[i];
  return run(*s);
}

/* ---- one key ---- */

static value key_text(row_merge *k, slice key) {
  if (!k->t->without_rowid) return value_int(rowid_decode(key.p));
  buf b = BUF_INIT;
  for (size_t i = 0; i < key.n && i < 200; i++) buf_printf(&b, "%02x", key.p[i]);
  const char *copy = arena_strndup(&k->g->memory, b.p ? (const char *)b.p : "", b.n);
  buf_free(&b);
  return copy ? value_text(copy, strlen(copy)) : value_null();
}

static void conflict(row_merge *k, slice key, int column, bool has_base, bool has_theirs) {
  value none = value_text("no row", 6), some = value_text("row", 3), v[3] = {has_base ? some : none, has_theirs ? some : none, k->ours.there ? some : none};
  if (column >= 0) {
    v[0] = has_base ? side_value(k, &k->base, BASE, column) : value_null();
    v[1] = their_value(k, column);
    v[2] = side_value(k, &k->ours, OURS, column);
  }
  value at = key_text(k, key);
  mirror_outcome_conflict(k->g->out, k->t->name, &at, column >= 0 ? k->t->columns[column].name : NULL, &v[0], &v[1], &v[2],
                          k->g->theirs_win ? "file" : "database");
}

/* The result waits in the scratch tree; our row, if there is one, goes. */
static status put_result(row_merge *k, slice key) {
  record_begin(&k->writer);
  for (int i = 0; i < k->t->columns_n; i++) value_write(&k->writer, &k->row[i]);
  slice record = record_end(&k->writer);
  if (!record.p) return no_memory(k);
  TRY(failed(k, txn_put(k->g->scratch_txn, SCRATCH_ROWS, key, record, PUT_UPSERT)));
  if (k->ours.there) k->g->out->updated++;
  else k->g->out->inserted++;
  return k->ours.there ? remove_ours(k, key) : HDB_OK;
}

static status take_theirs(row_merge *k, slice key) {
  for (int i = 0; i < k->t->columns_n; i++) k->row[i] = their_value(k, i);
  return put_result(k, key);
}

static status take_deletion(row_merge *k, slice key) {
  k->g->out->deleted++;
  return remove_ours(k, key);
}

static status merge_columns(row_merge *k, slice key) {
  bool any = false;
  for (int i = 0; i < k->t->columns_n; i++) {
    value theirs = their_value(k, i), base = side_value(k, &k->base, BASE, i), ours = side_value(k, &k->ours, OURS, i);
    k->row[i] = ours;
    if (!is_written(k, i) || same(&theirs, &ours) || same(&theirs, &base)) continue;
    if (!same(&ours, &base)) {
      conflict(k, key, i, true, true);
      if (!k->g->theirs_win) continue;
    }
    k->row[i] = theirs;
    any = true;
  }
  return any ? put_result(k, key) : HDB_OK;
}

/* theirs: the file's row at hand has this key; has_base: so has the base's. */
static status merge_key(row_merge *k, slice key, bool theirs, bool has_base) {
  mirror_merging *g = k->g;
  if (theirs && has_base && theirs_equal(k, &k->base, BASE) && !(g->base_is_ours && mirror_is_touched(g, k->base.t->tree, key))) return HDB_OK;
  if (k->ours.c) cursor_find(k->ours.c, key);
  TRY(side_row(k, &k->ours));
  if (g->base_is_ours && k->ours.t && mirror_is_touched(g, k->ours.t->tree, key)) {
    if (!theirs || (k->ours.there && theirs_equal(k, &k->ours, OURS))) return HDB_OK; /* made here, or alike */
    has_base = false;
  }
  if (!theirs && !k->ours.there) return HDB_OK;
  if (theirs && k->ours.there && theirs_equal(k, &k->ours, OURS)) return HDB_OK;
  if (has_base && k->ours.there && theirs) return merge_columns(k, key);
  bool agreed = has_base ? k->ours.there && ours_unchanged(k) : !k->ours.there;
  if (!agreed) {
    conflict(k, key, -1, has_base, theirs);
    if (!g->theirs_win) return HDB_OK;
  }
  return theirs ? take_theirs(k, key) : take_deletion(k, key);
}

/* Side by side in key order. */
static status walk(row_merge *k) {
  TRY(file_step(k));
  if (k->base.c) cursor_first(k->base.c);
  TRY(side_row(k, &k->base));
  while (k->at_row || k->base.there) {
    if (atomic_load(&k->g->own->interrupted)) return failed(k, HDB_INTERRUPT);
    int order = !k->at_row ? 1 : !k->base.there ? -1 : slice_compare(buf_slice(&k->key), k->base.c->key);
    if (order <= 0) TRY(merge_key(k, buf_slice(&k->key), true, order == 0));
    else TRY(merge_key(k, k->base.c->key, false, true));
    if (order <= 0) TRY(file_step(k));
    if (order >= 0) {
      cursor_next(k->base.c);
      TRY(side_row(k, &k->base));
    }
  }
  return HDB_OK;
}

/* ---- writing what waits ---- */

/* The row met a unique key, or a rule of ours: R1. Our own row, which was deleted for it, comes back. */
static status give_way(row_merge *k, slice key, status why) {
  mirror_merging *g = k->g;
  value at = key_text(k, key), none = value_null(), words = value_null();
  const char *text = g->own->err.message ? arena_strdup(&g->memory, g->own->err.message) : NULL;
  if (text) words = value_text(text, strlen(text));
  bool unique = (why & 0xff) == HDB_CONSTRAINT && (why == HDB_CONSTRAINT_UNIQUE || why == HDB_CONSTRAINT_PRIMARYKEY || why == HDB_CONSTRAINT_ROWID);
  bool taken = unique && g->theirs_win;
  mirror_outcome_conflict(g->out, k->t->name, &at, NULL, &none, &words, &none, taken ? "file" : "database");
  if (taken) return insert_row(k, key, true);
  g->out->discarded = true;
  if (k->ours.c) cursor_find(k->ours.c, key);
  TRY(side_row(k, &k->ours));
  if (!k->ours.there) return HDB_OK;
  for (int i = 0; i < k->t->columns_n; i++) k->row[i] = side_value(k, &k->ours, OURS, i);
  return insert_row(k, key, true);
}

static status write_waiting(row_merge *k) {
  cursor *c = NULL;
  status rc = failed(k, cursor_open(k->g->scratch_txn, SCRATCH_ROWS, 0, &c));
  if (rc != HDB_OK) return rc;
  for (cursor_first(c); c->valid; cursor_next(c)) {
    for (int i = 0; i < k->t->columns_n; i++) {
      uint8_t type;
      slice payload;
      k->row[i] = record_column(c->value, (uint32_t)i, &type, &payload) ? value_read(type, payload.p, payload.n) : value_null();
    }
    status written = insert_row(k, c->key, false);
    if (written != HDB_OK) {
      if ((written & 0xff) != HDB_CONSTRAINT && written != HDB_MISMATCH) CHECK(written);
      CHECK(give_way(k, c->key, written));
    }
  }
  rc = failed(k, c->error);
out:
  cursor_close(c);
  if (rc == HDB_OK) rc = failed(k, txn_clear(k->g->scratch_txn, SCRATCH_ROWS));
  return rc;
}

static status open_file(row_merge *k) {
  buf text = BUF_INIT;
  k->places = calloc((size_t)k->theirs->columns_n + 1, sizeof *k->places);
  if (!k->places) return no_memory(k);
  for (int i = 0, place = 0; i < k->theirs->columns_n; i++) k->places[i] = k->theirs->columns[i].stored < 0 ? -1 : place++;
  mirror_select_text(&text, k->theirs);
  const char *sql = buf_cstr(&text);
  status rc = sql ? mirror_sqlite_error(k->g->own, k->g->file, sqlite3_prepare_v2(k->g->file, sql, -1, &k->file, NULL)) : no_memory(k);
  buf_free(&text);
  return rc;
}

status mirror_merge_table(mirror_merging *g, const table *theirs, const table *base, const table *ours, const table *target) {
  row_merge k = {.g = g, .t = target, .theirs = theirs};
  status rc = HDB_OK;
  k.rowid_name = target->rowid_column >= 0 ? target->columns[target->rowid_column].name : table_rowid_name(target);
  if (!target->without_rowid && !k.rowid_name) return HDB_OK; /* its rows have no key to be told apart by */
  k.row = calloc((size_t)target->columns_n + 1, sizeof *k.row);
  if (!k.row) CHECK(no_memory(&k));
  CHECK(open_file(&k));
  CHECK(side_open(&k, NULL, THEIRS, NULL, theirs));
  CHECK(side_open(&k, &k.base, BASE, g->base, base));
  CHECK(side_open(&k, &k.ours, OURS, g->ours, ours));
  CHECK(walk(&k));
  rc = write_waiting(&k);
out:
  sqlite3_finalize(k.file);
  side_close(&k.base);
  side_close(&k.ours);
  for (int i = 0; i < SIDES; i++) free(k.maps[i]);
  sql_statement_discard(k.insert);
  sql_statement_discard(k.replace);
  sql_statement_discard(k.remove);
  record_writer_free(&k.writer);
  buf_free(&k.key);
  free(k.places);
  free(k.row);
  return rc;
}
