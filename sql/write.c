/* The table writer: one row goes in, changes or goes out, with triggers, constraints, indexes, foreign keys.
 *
 *   insert   BEFORE | row id, affinity, generated | NOT NULL, CHECK | UNIQUE (REPLACE, upsert) | foreign keys
 *            | row and entries | count, hook | RETURNING | AFTER
 *   update   the same around the old row: foreign keys of the old row, its entries, then the new one's; actions
 *   delete   BEFORE | the row again | foreign keys | entries and row | count, hook | actions | RETURNING | AFTER
 *
 * W1  An index's entries are touched only if the change can touch them (writer.affected).
 * W2  Nothing of a row is written before all that may refuse it has been asked, except what REPLACE deletes.
 * W3  In a table that refers to itself the old row is gone while the new one's foreign keys are checked.
 * Fails with the constraints' words, or the store's status. Cost: a lookup for each unique key, a put for each tree.
 */
#include "sql/dml.h"
#include "sql/violation.h"

#include <stdlib.h>

#include "kv/base/key.h"

/* ---- compile ---- */
static status encoders(compile *c, const writer *w, int slot, entry_encoder **out) {
  *out = arena_zero(c->memory, ((size_t)w->indexes_n + 1) * sizeof **out);
  if (!*out) return dml_no_memory(c->err);
  int k = 0;
  for (const index_ *i = w->t->indexes; i; i = i->next)
    if (!i->is_primary) TRY(entry_encoder_compile(c, i, slot, &(*out)[k++]));
  return HDB_OK;
}

static bool any_changed(const writer *w, const uint64_t *uses) {
  int n = w->t->columns_n;
  for (int k = 0; k < n; k++)
    if (w->changed[k] && (uses[k / 64] >> (k % 64) & 1)) return true;
  return w->rowid_changed && (uses[n / 64] >> (n % 64) & 1);
}

static status affected_indexes(compile *c, writer *w) { /* W1 */
  w->affected = arena_zero(c->memory, (size_t)w->indexes_n + 1);
  if (!w->affected) return dml_no_memory(c->err);
  for (int k = 0; k < w->indexes_n; k++)
    w->affected[k] = !w->changed || w->rowid_changed || any_changed(w, w->new_entries[k].uses);
  return HDB_OK;
}

/* Newer than others? Automatic indexes carry their number; those of CREATE INDEX came later. */
static int age_number(const index_ *i) {
  if (i->origin == 'c') return INT32_MAX;
  const char *digits = strrchr(i->name, '_');
  return digits ? atoi(digits + 1) : 0;
}

/* SQLite's order: newest first, those with REPLACE last. */
bool index_comes_before(const index_ *a, const index_ *b) {
  bool last_a = a->on_conflict == CONFLICT_REPLACE, last_b = b->on_conflict == CONFLICT_REPLACE;
  return last_a != last_b ? last_b : age_number(a) > age_number(b);
}

/* A row id with its own REPLACE is looked at last, so that nothing is deleted for a row that others refuse; a primary
 * key of a WITHOUT ROWID table has its place among the indexes. */
static status check_order(compile *c, writer *w) {
  const table *t = w->t;
  w->order = arena_zero(c->memory, ((size_t)w->indexes_n + 1) * sizeof *w->order);
  if (!w->order) return dml_no_memory(c->err);
  bool key = !w->changed || w->rowid_changed;
  bool last = t->primary_key_conflict == CONFLICT_REPLACE && !w->conflict && w->indexes_n;
  if (key && !last && !t->without_rowid) w->order[w->order_n++] = KEY_STEP, key = false;
  for (int k = 0; k < w->indexes_n; k++) {
    const index_ *i = w->new_entries[k].i;
    if (key && t->without_rowid && index_comes_before(t->primary, i)) w->order[w->order_n++] = KEY_STEP, key = false;
    if (i->unique && w->affected[k]) w->order[w->order_n++] = k;
  }
  if (key) w->order[w->order_n++] = KEY_STEP;
  return HDB_OK;
}

bool writer_may_replace(const writer *w) {
  for (int place = 0; place < w->order_n; place++) {
    int step = w->order[place];
    bool alias = step == KEY_STEP && !w->t->without_rowid;
    if (alias && !w->rowid_given && !w->changed) continue;
    const index_ *i = alias ? NULL : step == KEY_STEP ? w->t->primary : w->new_entries[step].i;
    uint8_t own = i ? i->on_conflict : w->t->primary_key_conflict;
    if ((w->conflict ? w->conflict : own) == CONFLICT_REPLACE) return true;
  }
  return false;
}

static uint8_t event_of(unsigned use) {
  return use == WRITER_INSERT ? ST_INSERT : use == WRITER_UPDATE ? ST_UPDATE : ST_DELETE;
}

static status writer_triggers(compile *c, writer *w, bool is_victim) {
  if (is_victim && !c->db->pragmas.recursive_triggers) return HDB_OK;
  uint8_t event = event_of(w->use);
  TRY(trigger_list_compile(c, w->t, w->t, w->database, event, TRIGGER_BEFORE, w->changed, w->conflict, &w->before));
  return trigger_list_compile(c, w->t, w->t, w->database, event, TRIGGER_AFTER, w->changed, w->conflict, &w->after);
}

status writer_make(compile *c, const writer_request *r, writer **out) {
  writer *w = arena_zero(c->memory, sizeof *w);
  if (!w || !(w->root = dml_root_of(c))) return dml_no_memory(c->err);
  *out = w;
  w->t = r->t, w->database = r->database, w->use = r->use, w->conflict = r->conflict;
  w->rowid_given = r->rowid_given;
  w->changed = r->changed, w->rowid_changed = r->rowid_changed, w->counts = !r->is_victim;
  w->state = compile_state(c);
  bool has_new = r->use != WRITER_DELETE, has_old = r->use != WRITER_INSERT;
  w->new_slot = r->new_slot >= 0 || !has_new ? r->new_slot : compile_slot(c, r->t->columns_n);
  w->old_slot = r->old_slot >= 0 || !has_old ? r->old_slot : compile_slot(c, r->t->columns_n);
  if (r->t->kind == TABLE_VIEW || r->t->kind == TABLE_VIRTUAL) return HDB_OK;
  for (const index_ *i = r->t->indexes; i; i = i->next) w->indexes_n += !i->is_primary;
  if (has_new) {
    TRY(encoders(c, w, w->new_slot, &w->new_entries));
    if (r->t->without_rowid) TRY(entry_encoder_compile(c, r->t->primary, w->new_slot, &w->primary));
    TRY(affected_indexes(c, w));
    TRY(check_order(c, w));
    TRY(write_check_compile(c, w));
  }
  if (has_old) TRY(encoders(c, w, w->old_slot, &w->old_entries));
  TRY(writer_triggers(c, w, r->is_victim));
  fkey_request keys = {r->use, r->changed, has_old ? w->old_slot : -1, has_new ? w->new_slot : -1, r->single_row && (r->never_replaces || !writer_may_replace(w))};
  TRY(fkey_compile(c, r->t, r->database, &keys, &w->keys));
  if (has_new && !r->never_replaces && writer_may_replace(w)) {
    writer_request victim = {.t = r->t, .database = r->database, .use = WRITER_DELETE, .new_slot = -1, .old_slot = -1,
                             .conflict = CONFLICT_REPLACE, .is_victim = true}; /* triggers of the victim replace as well */
    TRY(writer_make(c, &victim, &w->victim));
  }
  return HDB_OK;
}

bool writer_touches_others(const writer *w) { return w->before.n || w->after.n || w->keys || w->victim; }

static bool is_no_query(void *context, expr *e) { return !e->select && !e->source; }
bool tree_has_query(expr *e) { return e && !ast_walk(e, false, is_no_query, NULL); }

/* ---- the run ---- */
static void run_release(exec_kept *k) {
  writer_run *r = (writer_run *)k;
  for (int i = 0; i < r->w->indexes_n; i++) {
    if (r->entries) entry_free(&r->entries[i]);
    if (r->old_entries) entry_free(&r->old_entries[i]);
  }
  record_writer_free(&r->record);
  buf_free(&r->key);
  buf_free(&r->conflict_key);
  free(r->values);
  free(r->indexes);
  free(r->entries);
  free(r->old_entries);
  free(r);
}

static writer_run *run_new(exec *x, const writer *w) {
  size_t n = (size_t)w->indexes_n + 1, columns = (size_t)w->t->columns_n + 1;
  writer_run *r = calloc(1, sizeof *r);
  if (!r) return NULL;
  r->w = w;
  r->kept.release = run_release;
  r->values = calloc(columns, sizeof *r->values);
  r->indexes = calloc(n, sizeof *r->indexes);
  r->entries = calloc(n, sizeof *r->entries);
  r->old_entries = calloc(n, sizeof *r->old_entries);
  if (!r->values || !r->indexes || !r->entries || !r->old_entries) {
    run_release(&r->kept);
    return NULL;
  }
  for (size_t k = 0; k < columns; k++) r->values[k] = value_null();
  exec_keep(x, &r->kept, w);
  return r;
}

/* Found, or made, once an execution: its cursors are of this execution. */
static writer_run *run_begin(exec *x, const writer *w) {
  writer_run *r = (writer_run *)exec_kept_find(x, w);
  if (!r && !(r = run_new(x, w))) {
    dml_no_memory(x->err);
    return NULL;
  }
  if (w->new_slot >= 0) x->slots[w->new_slot].table = w->t;
  if (w->old_slot >= 0) x->slots[w->old_slot].table = w->t;
  memset(r->indexes, 0, (size_t)w->indexes_n * sizeof *r->indexes);
  if (w->t->kind != TABLE_VIEW && w->t->kind != TABLE_VIRTUAL && exec_cursor(x, w->database, w->t->tree, 0, &r->table) != HDB_OK) return NULL;
  x->states[w->state] = r;
  return r;
}

writer_run *writer_run_of(exec *x, const writer *w) {
  writer_run *r = x->states[w->state];
  return r ? r : run_begin(x, w);
}

static txn *txn_of(exec *x, const writer *w) { return x->db->databases[w->database].txn; }

static void call_hook(exec *x, const writer *w, int action, int64_t rowid) {
  hdb *db = x->db;
  if (db->update_hook && !w->t->without_rowid && w->t->kind == TABLE_ORDINARY)
    db->update_hook(db->update_hook_data, action, db->databases[w->database].name, w->t->name, rowid);
}

static status build_record(exec *x, const writer *w, writer_run *r, slice *out) {
  record_begin(&r->record);
  for (int k = 0; k < w->t->columns_n; k++) {
    if (w->t->columns[k].stored < 0) continue;
    if (k == w->t->rowid_column) record_null(&r->record);
    else value_write(&r->record, &r->values[k]);
  }
  *out = record_end(&r->record);
  if (!out->p) return dml_no_memory(x->err);
  if (out->n > (size_t)x->db->limits[HDB_LIMIT_LENGTH]) return error_set(x->err, HDB_TOOBIG, "string or blob too big");
  return HDB_OK;
}

status write_row_key(exec *x, const writer *w, writer_run *r, int64_t rowid, buf *out) {
  buf_clear(out);
  if (!w->t->without_rowid) {
    key_put_rowid(out, rowid);
  } else {
    const index_ *i = w->t->primary;
    for (int k = 0; k < i->key_columns_n; k++)
      value_write_key(out, &r->values[i->columns[k].column], w->primary.collations[k], i->columns[k].descending);
  }
  return buf_failed(out) ? dml_no_memory(x->err) : HDB_OK;
}

/* Does the statement say what to do when a unique value is there already? Then one that comes meanwhile is a conflict. */
static bool is_handled(const writer *w) {
  return w->clauses || w->conflict == CONFLICT_IGNORE || w->conflict == CONFLICT_REPLACE;
}

static status put_entry(exec *x, const writer *w, const entry_encoder *e, const entry *en) {
  if (!en->included) return HDB_OK;
  txn *t = txn_of(x, w);
  TRY(dml_failed(x, txn_put(t, e->i->tree, buf_slice(&en->key), en->value_bytes, PUT_INSERT)));
  if (!e->i->unique || en->has_null || !e->builtin) return HDB_OK;
  return dml_failed(x, txn_expect(t, is_handled(w) ? FACT_SINGLE : FACT_UNIQUE, e->i->tree, slice_of(en->key.p, en->prefix_n)));
}

static status delete_entry(exec *x, const writer *w, const entry_encoder *e, const entry *en) {
  if (!en->included) return HDB_OK;
  return dml_failed(x, txn_delete(txn_of(x, w), e->i->tree, buf_slice(&en->key)));
}

static void count_row(exec *x, const writer *w) {
  if (w->counts) x->changes++;
}

/* ---- insert ---- */

/* A row id that is given must be a whole number, or text that is one. */
static status given_rowid(exec *x, const value *given, int64_t *rowid) {
  value v = *given;
  TRY(value_apply_affinity(&v, AFF_INTEGER, &x->memory));
  if (v.type != VAL_INTEGER) return error_set(x->err, HDB_MISMATCH, "datatype mismatch");
  *rowid = v.i;
  return HDB_OK;
}

/* After 2^63-1 SQLite tries some numbers at random. */
static status random_rowid(exec *x, writer_run *r, int64_t *rowid) {
  uint64_t state = (uint64_t)exec_now(x) * 0x9e3779b97f4a7c15u + (uint64_t)(uintptr_t)r;
  for (int tries = 0; tries < 100; tries++) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    uint8_t key[8];
    *rowid = (int64_t)(state & ((uint64_t)INT64_MAX >> 1)) + 1;
    rowid_encode(key, *rowid);
    if (!cursor_find(r->table, slice_of(key, 8))) return dml_failed(x, r->table->error);
  }
  return error_set(x->err, HDB_FULL, "database or disk is full");
}

static status choose_rowid(exec *x, const writer *w, writer_run *r, const value *given, int64_t *rowid) {
  r->fresh = false;
  if (given && given->type != VAL_NULL) {
    TRY(given_rowid(x, given, rowid));
    return w->t->autoincrement ? sequence_seen(x, w, *rowid) : HDB_OK;
  }
  const table *t = w->t;
  if (t->rowid_column >= 0 && t->columns[t->rowid_column].pg_type && !t->autoincrement) { /* PostgreSQL's keys are not made up */
    if (w->conflict == CONFLICT_IGNORE) return EXEC_IGNORE;
    r->values[t->rowid_column] = value_null();
    violation_not_null(x, t, t->rowid_column, r->values);
    return dml_constraint(x, w->conflict && w->conflict != CONFLICT_REPLACE ? w->conflict : CONFLICT_ABORT, HDB_CONSTRAINT_NOTNULL, "NOT NULL constraint failed: %s.%s", t->name, t->columns[t->rowid_column].name);
  }
  r->fresh = true;
  if (w->t->autoincrement) return sequence_next(x, w, rowid);
  status rc = exec_new_rowid(x, w->database, w->t->tree, INT64_MIN, rowid);
  return rc == HDB_FULL ? random_rowid(x, r, rowid) : dml_failed(x, rc);
}

static status insert_before(exec *x, const writer *w, writer_run *r, const value *given) {
  int64_t rowid = -1;
  if (given && given->type != VAL_NULL) TRY(given_rowid(x, given, &rowid));
  if (w->t->rowid_column >= 0) r->values[w->t->rowid_column] = value_int(rowid);
  slot *s = &x->slots[w->new_slot];
  slot_set_values(s, r->values, true, rowid);
  if (w->t->kind != TABLE_VIEW) TRY(write_prepare(x, w, r));
  TRY(trigger_fire(x, w->root, &w->before, NULL, s));
  slot_set_values(s, r->values, true, rowid);
  return HDB_OK;
}

/* PRAGMA max_page_count: there are no pages to count, so the transaction's own writes are. */
static status check_room(exec *x, const writer *w) {
  const struct database_pragmas *s = &x->db->databases[w->database].pragmas;
  if (s->max_page_count >= PAGES_MAX) return HDB_OK;
  return (int64_t)txn_write_bytes(txn_of(x, w)) / s->page_size > s->max_page_count ? dml_failed(x, HDB_FULL) : HDB_OK;
}

static void serial_note(hdb *db, uint32_t tree, int64_t rowid) {
  enum { SERIALS = sizeof db->serials / sizeof *db->serials };
  int k = 0;
  while (k < SERIALS && db->serials[k].tree != tree) k++;
  if (k == SERIALS) k = (db->serial_at + 1) % SERIALS;
  db->serials[k].tree = tree;
  db->serials[k].rowid = rowid;
  db->serial_at = k;
}

static status insert_row(exec *x, const writer *w, const value *given, bool *written) {
  writer_run *r = writer_run_of(x, w);
  if (!r) return x->err->code;
  slot *s = &x->slots[w->new_slot];
  int64_t rowid = 0;
  TRY(check_room(x, w));
  if (w->before.n) TRY(insert_before(x, w, r, given));
  if (!w->t->without_rowid) TRY(choose_rowid(x, w, r, given, &rowid));
  if (w->t->rowid_column >= 0) r->values[w->t->rowid_column] = value_int(rowid);
  slot_set_values(s, r->values, !w->t->without_rowid, rowid);
  TRY(write_prepare(x, w, r));
  TRY(write_check_row(x, w, r));
  TRY(write_row_key(x, w, r, rowid, &r->key));
  TRY(write_unique(x, w, r, buf_slice(&r->key), NULL));
  if (w->keys) TRY(fkey_check(x, w->root, w->keys, NULL, s));
  slice record;
  TRY(build_record(x, w, r, &record));
  TRY(dml_failed(x, txn_put(txn_of(x, w), w->t->tree, buf_slice(&r->key), record, is_handled(w) ? PUT_INSERT : PUT_NEW)));
  for (int k = 0; k < w->indexes_n; k++) TRY(put_entry(x, w, &w->new_entries[k], &r->entries[k]));
  *written = true;
  count_row(x, w);
  if (!w->t->without_rowid && w->t->kind == TABLE_ORDINARY) x->db->last_insert_rowid = rowid;
  if (w->t->autoincrement) serial_note(x->db, w->t->tree, rowid);
  call_hook(x, w, HDB_INSERT, rowid);
  return trigger_fire_after(x, w, NULL, s);
}

status writer_insert(exec *x, const writer *w, const value *given, bool *written) {
  *written = false;
  status rc = insert_row(x, w, given, written);
  return rc == EXEC_IGNORE ? HDB_OK : rc; /* D3 */
}

/* ---- delete ---- */
status write_delete_row(exec *x, const writer *w, writer_run *r, const stored_row *row) {
  slot *s = &x->slots[w->old_slot];
  if (w->keys) TRY(fkey_check(x, w->root, w->keys, s, NULL));
  for (int k = 0; k < w->indexes_n; k++) {
    TRY(entry_encode(x, &w->old_entries[k], row->key, &r->old_entries[k]));
    TRY(delete_entry(x, w, &w->old_entries[k], &r->old_entries[k]));
  }
  TRY(dml_failed(x, txn_delete(txn_of(x, w), w->t->tree, row->key)));
  count_row(x, w);
  call_hook(x, w, HDB_DELETE, row->rowid);
  return w->keys ? fkey_actions(x, w->root, w->keys, s, NULL) : HDB_OK;
}

static status delete_row(exec *x, const writer *w, const stored_row *old, bool *written) {
  writer_run *r = writer_run_of(x, w);
  if (!r) return x->err->code;
  slot *s = &x->slots[w->old_slot];
  stored_row row = *old;
  if (w->before.n) {
    TRY(trigger_fire(x, w->root, &w->before, s, NULL));
    if (!cursor_find(r->table, old->key)) return dml_failed(x, r->table->error); /* a trigger has deleted it */
    TRY(stored_row_copy(x, w->t, r->table, &row));
    stored_row_set(s, w->t, &row);
  }
  TRY(write_delete_row(x, w, r, &row));
  *written = true;
  return trigger_fire_after(x, w, s, NULL);
}

status writer_delete(exec *x, const writer *w, const stored_row *old, bool *written) {
  *written = false;
  status rc = delete_row(x, w, old, written);
  return rc == EXEC_IGNORE ? HDB_OK : rc; /* D3 */
}

/* ---- update ---- */
static status update_before(exec *x, const writer *w, writer_run *r, stored_row *row, bool *gone) {
  slot *old = &x->slots[w->old_slot], *new_row = &x->slots[w->new_slot];
  TRY(trigger_fire(x, w->root, &w->before, old, new_row));
  *gone = !cursor_find(r->table, row->key);
  if (*gone) return dml_failed(x, r->table->error);
  slice before = row->record;
  TRY(stored_row_copy(x, w->t, r->table, row));
  if (slice_equal(before, row->record)) return HDB_OK;
  stored_row_set(old, w->t, row);
  for (int k = 0; k < w->t->columns_n; k++) /* what is not set is taken as the triggers left it */
    if (!w->changed[k] && w->t->columns[k].stored >= 0) r->values[k] = *slot_column(old, k);
  return HDB_OK;
}

/* The old row's entries go, unless the new one's are the same; same[k] then. */
static status update_old_entries(exec *x, const writer *w, writer_run *r, const stored_row *row, bool *same) {
  for (int k = 0; k < w->indexes_n; k++) {
    same[k] = !w->affected[k];
    if (same[k]) continue;
    entry *old = &r->old_entries[k], *now = &r->entries[k];
    TRY(entry_encode(x, &w->old_entries[k], row->key, old));
    same[k] = old->included == now->included &&
              (!old->included || (slice_equal(buf_slice(&old->key), buf_slice(&now->key)) &&
                                  slice_equal(old->value_bytes, now->value_bytes)));
    if (!same[k]) TRY(delete_entry(x, w, &w->old_entries[k], old));
  }
  return HDB_OK;
}

static status update_write(exec *x, const writer *w, writer_run *r, const stored_row *row) {
  slot *old = &x->slots[w->old_slot], *new_row = &x->slots[w->new_slot];
  txn *t = txn_of(x, w);
  bool *same = arena_alloc(&x->memory, (size_t)w->indexes_n + 1);
  if (!same) return dml_no_memory(x->err);
  bool moved = !slice_equal(row->key, buf_slice(&r->key));
  if (w->keys) TRY(fkey_check(x, w->root, w->keys, old, NULL));
  TRY(update_old_entries(x, w, r, row, same));
  bool away = moved || (w->keys && fkey_is_self_referencing(w->keys)); /* W3 */
  if (away) TRY(dml_failed(x, txn_delete(t, w->t->tree, row->key)));
  if (w->keys) TRY(fkey_check(x, w->root, w->keys, NULL, new_row));
  slice record;
  TRY(build_record(x, w, r, &record));
  TRY(dml_failed(x, txn_put(t, w->t->tree, buf_slice(&r->key), record, !away ? PUT_UPDATE : is_handled(w) ? PUT_INSERT : PUT_NEW)));
  for (int k = 0; k < w->indexes_n; k++)
    if (!same[k]) TRY(put_entry(x, w, &w->new_entries[k], &r->entries[k]));
  return HDB_OK;
}

static status update_row(exec *x, const writer *w, const stored_row *was, const value *rowid, bool *written) {
  writer_run *r = writer_run_of(x, w);
  if (!r) return x->err->code;
  slot *old = &x->slots[w->old_slot], *new_row = &x->slots[w->new_slot];
  stored_row row = *was;
  int64_t id = row.rowid;
  if (rowid) TRY(given_rowid(x, rowid, &id));
  if (w->t->rowid_column >= 0) r->values[w->t->rowid_column] = value_int(id);
  r->fresh = false;
  slot_set_values(new_row, r->values, !w->t->without_rowid, id);
  TRY(write_prepare(x, w, r));
  if (w->before.n) {
    bool gone;
    TRY(update_before(x, w, r, &row, &gone));
    if (gone) return HDB_OK;
    TRY(write_prepare(x, w, r));
  }
  TRY(write_check_row(x, w, r));
  TRY(write_row_key(x, w, r, id, &r->key));
  TRY(write_unique(x, w, r, buf_slice(&r->key), &row.key));
  TRY(update_write(x, w, r, &row));
  *written = true;
  count_row(x, w);
  call_hook(x, w, HDB_UPDATE, id);
  if (w->keys) TRY(fkey_actions(x, w->root, w->keys, old, new_row));
  return trigger_fire_after(x, w, old, new_row);
}

status writer_update(exec *x, const writer *w, const stored_row *old, const value *rowid, bool *written) {
  *written = false;
  status rc = update_row(x, w, old, rowid, written);
  return rc == EXEC_IGNORE ? HDB_OK : rc; /* D3 */
}

/* ---- plain rows ---- */
static status put_row(hdb *db, int database, const table *t, int64_t rowid, const value *values, value_rises rises) {
  record_writer w = RECORD_WRITER_INIT;
  uint8_t key[8];
  record_begin(&w);
  for (int k = 0; k < t->columns_n; k++) {
    if (t->columns[k].stored < 0) continue;
    if (k == t->rowid_column) record_null(&w);
    else value_write(&w, &values[k]);
  }
  slice record = record_end(&w);
  rowid_encode(key, rowid);
  txn *own = db->databases[database].txn;
  status rc = HDB_NOMEM;
  if (record.p && rises) rc = txn_put_rising(own, t->tree, slice_of(key, 8), record, rises);
  else if (record.p) rc = txn_put(own, t->tree, slice_of(key, 8), record, PUT_UPSERT);
  record_writer_free(&w);
  return rc;
}

status table_put_row(hdb *db, int database, const table *t, int64_t rowid, const value *values) {
  return put_row(db, database, t, rowid, values, NULL);
}

status table_put_rising(hdb *db, int database, const table *t, int64_t rowid, const value *values, value_rises rises) {
  return put_row(db, database, t, rowid, values, rises);
}

status table_delete_row(hdb *db, int database, const table *t, int64_t rowid) {
  uint8_t key[8];
  rowid_encode(key, rowid);
  return txn_delete(db->databases[database].txn, t->tree, slice_of(key, 8));
}
