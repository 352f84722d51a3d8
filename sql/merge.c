/* MERGE BRANCH: three-way, by row and by column, as one ordinary transaction on the target.
 *
 * Three states are compared: the source now, the target now, the base. Without a merge before, the base is the common
 * ancestor at the oldest branch point on the ways to it; after one, the source of that merge as it was then, which the target
 * contained from then on (the engine's setting `merge/<id>/<id>`, for both directions). A key counts when the source
 * has it otherwise than the base. If the target still has what it had, the source's row is taken; else column by column:
 * what only one side changed is taken, both alike is nothing, both differently a conflict, as are delete and update.
 *
 * M1  The target's writer's turn is held from before the states are looked at until the commit: nothing moves.
 * M2  Rows are written by INSERT, UPDATE and DELETE of the target's own schema, without triggers and foreign keys' actions,
 *     foreign keys on and deferred: indexes and constraints hold on the result or the merge fails as a whole.
 * M3  Under MERGE_FAIL a conflict leaves everything as it was, the recorded base too.
 * Which keys: merge_keys.c.
 * What can fail: conflicts, constraints, a definition that both changed, a table rebuilt on the branch, storage.
 */
#include "sql/merge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "sql/catalog_build.h"

/* ---- who descends from whom ---- */

static status take_member(void *context, const branch_info *b) {
  family *f = context;
  if (f->n == f->capacity) {
    int capacity = f->capacity ? 2 * f->capacity : 16;
    branch_info *list = realloc(f->list, (size_t)capacity * sizeof *list);
    if (!list) return HDB_NOMEM;
    f->list = list, f->capacity = capacity;
  }
  f->list[f->n++] = *b;
  return HDB_OK;
}

const branch_info *merge_member(const family *f, uint32_t id) {
  for (int i = 0; i < f->n; i++)
    if (f->list[i].id == id) return &f->list[i];
  return NULL;
}

static bool descends(const family *f, uint32_t id, uint32_t from) {
  while (id != from && id != BRANCH_MAIN && merge_member(f, id)) id = merge_member(f, id)->parent;
  return id == from;
}

/* The common ancestor, and the oldest point on the two ways to it: a branch of a branch may have left AS OF a time before that
 * one did. */
static uint32_t common_ancestor(const family *f, uint32_t a, uint32_t b, int64_t *point) {
  uint32_t ancestor = a;
  while (!descends(f, b, ancestor)) ancestor = merge_member(f, ancestor)->parent;
  *point = INT64_MAX;
  for (int side = 0; side < 2; side++) {
    for (uint32_t id = side ? b : a; id != ancestor; id = merge_member(f, id)->parent)
      if (merge_member(f, id)->point < *point) *point = merge_member(f, id)->point;
  }
  return ancestor;
}

/* ---- states ---- */

static status side_open(merge *m, merge_side *s, uint32_t branch, int64_t as_of) {
  database *d = &m->db->databases[DB_MAIN];
  s->branch = branch, s->as_of = as_of;
  status rc = txn_new(d->engine, &s->t);
  if (rc == HDB_OK) rc = txn_set_branch(s->t, branch);
  if (rc == HDB_OK) rc = txn_begin(s->t, TXN_READ, 0);
  if (rc != HDB_OK) return error_set(&m->db->err, rc, "%s", status_text(rc));
  txn *own = d->txn;
  d->txn = s->t;
  rc = schema_load(m->db, DB_MAIN, as_of, &s->schema);
  d->txn = own;
  return rc;
}

static void side_close(merge_side *s) {
  schema_release(s->schema);
  if (s->t) txn_free(s->t);
}

/* Both directions of a pair have one base: the source's state at their last merge, which the target then contained. */
static void base_name(char *out, size_t n, uint32_t a, uint32_t b) {
  snprintf(out, n, "merge/%u/%u", (unsigned)(a < b ? a : b), (unsigned)(a < b ? b : a));
}

static status find_bases(merge *m, const family *f, uint32_t source, uint32_t target) {
  engine *e = m->db->databases[DB_MAIN].engine;
  char name[64];
  buf stored = BUF_INIT;
  unsigned branch = 0;
  int64_t time = 0, point;
  base_name(name, sizeof name, source, target);
  status rc = engine_setting_get(e, name, &stored);
  bool known = rc == HDB_OK && buf_cstr(&stored) && sscanf(buf_cstr(&stored), "%u %" SCNd64, &branch, &time) == 2;
  buf_free(&stored);
  uint32_t base = common_ancestor(f, source, target, &point);
    if (known && time >= engine_oldest(e) && (branch == source || branch == target)) base = branch, point = time;
  TRY(side_open(m, &m->source_base, base, point));
  return side_open(m, &m->target_base, base, point);
}

/* With the merge's own commit, or not at all. */
static status record_base(merge *m) {
  char name[64], text[64];
  base_name(name, sizeof name, m->source.branch, m->target.branch);
  snprintf(text, sizeof text, "%u %" PRId64, (unsigned)m->source.branch, txn_view_time(m->source.t));
  status rc = txn_put_setting(m->target.t, name, slice_str(text));
  return rc == HDB_OK ? rc : error_set(&m->db->err, rc, "%s", status_text(rc));
}

/* ---- tables ---- */

static const table *table_by_tree(const schema *s, uint32_t tree) {
  for (int i = 0; i < s->tables_n; i++)
    if (s->in_order[i]->tree == tree && s->in_order[i]->kind == TABLE_ORDINARY) return s->in_order[i];
  return NULL;
}

static const table *counterpart(const schema *s, const table *t) {
  const table *found = table_by_tree(s, t->tree);
  if (!found) found = schema_table(s, t->name);
  return found && found->kind == TABLE_ORDINARY ? found : NULL;
}

static status merge_tables(merge *m, const family *f) {
  for (int i = 0; i < m->source.schema->tables_n; i++) {
    const table *t = m->source.schema->in_order[i];
    if (t->kind != TABLE_ORDINARY || strncasecmp(t->name, "sqlite_", 7) == 0) continue;
    schema *now;
    TRY(catalog_schema(m->db, DB_MAIN, &now)); /* the target's, after the definitions have been merged */
    const table *target = counterpart(now, t);
    if (!target) continue; /* dropped there: what was done here has no place */
    const table *source_base = counterpart(m->source_base.schema, t), *target_base = counterpart(m->target_base.schema, target);
    status rc = merge_keys(m, f, t, source_base);
    if (rc != HDB_OK) return error_set(&m->db->err, rc, "%s", status_text(rc));
    if (m->keys_n == 0) continue;
    now->references++;
    rc = merge_rows(m, t, source_base, target, target_base);
    schema_release(now);
    TRY(rc);
  }
  return HDB_OK;
}

/* ---- AUTOINCREMENT: an id that either side has given is not given again ---- */

static status raise_sequence(merge *m, const table *sequence, slice record) {
  value row[2];
  slot s = {0};
  value own[2];
  s = (slot){.own = own, .columns = own, .columns_n = 2};
  slot_set_table(&s, sequence, 0);
  if (record_check(record) != HDB_OK) return error_set(&m->db->err, HDB_CORRUPT, "database disk image is malformed");
  slot_set_record(&s, 0, record);
  for (int i = 0; i < 2; i++) row[i] = *slot_column(&s, i);
  if (row[0].type != VAL_TEXT || row[1].type != VAL_INTEGER) return HDB_OK;
  buf name = BUF_INIT;
  for (size_t i = 0; i < row[0].n; i++) {
    if (((const char *)row[0].p)[i] == '\'') buf_byte(&name, '\'');
    buf_byte(&name, ((const uint8_t *)row[0].p)[i]);
  }
  const char *text = buf_cstr(&name);
  status rc = text ? HDB_OK : sql_nomem(&m->db->err);
  if (rc == HDB_OK) rc = sql_run(m->db, "UPDATE main.sqlite_sequence SET seq = %" PRId64 " WHERE name = '%s' AND seq < %" PRId64, row[1].i, text, row[1].i);
  if (rc == HDB_OK)
    rc = sql_run(m->db, "INSERT INTO main.sqlite_sequence(name, seq) SELECT '%s', %" PRId64 " WHERE '%s' NOT IN (SELECT name FROM main.sqlite_sequence) AND '%s' IN (SELECT name FROM main.sqlite_schema WHERE type = 'table')",
                 text, row[1].i, text, text);
  buf_free(&name);
  return rc;
}

static status merge_sequences(merge *m) {
  const table *t = schema_table(m->source.schema, "sqlite_sequence");
  schema *now;
  cursor *c;
  TRY(catalog_schema(m->db, DB_MAIN, &now));
  if (!t || !schema_table(now, "sqlite_sequence")) return HDB_OK;
  status rc = cursor_open(m->source.t, t->tree, m->source.as_of, &c);
  if (rc != HDB_OK) return error_set(&m->db->err, rc, "%s", status_text(rc));
  for (cursor_first(c); c->valid && rc == HDB_OK; cursor_next(c)) rc = raise_sequence(m, t, c->value);
  if (rc == HDB_OK && c->error != HDB_OK) rc = error_set(&m->db->err, c->error, "%s", status_text(c->error));
  cursor_close(c);
  return rc;
}

/* ---- the transaction ---- */

static status conflict_error(merge *m, const char *source, const char *target) {
  return error_set(&m->db->err, HDB_ERROR, "merge of branch %s into %s: %" PRId64 " conflict%s (listed in heliosdb_conflicts)", source, target,
                   m->result->conflicts, m->result->conflicts == 1 ? "" : "s");
}

/* On the target, its turn held. */
static status merge_states(merge *m, const family *f, uint32_t source, uint32_t target) {
  m->target.branch = target;
  m->target.t = m->db->databases[DB_MAIN].txn;
  TRY(side_open(m, &m->source, source, 0));
  TRY(find_bases(m, f, source, target));
  TRY(merge_schemas(m));
  TRY(merge_tables(m, f));
  return merge_sequences(m);
}

static status merge_transaction(merge *m, const family *f, uint32_t ids[2], const char *source, const char *target) {
  hdb *db = m->db;
  status rc = sql_run(db, "BEGIN IMMEDIATE");
  if (rc != HDB_OK) return rc;
  db->pragmas.defer_foreign_keys = true;
  rc = merge_states(m, f, ids[0], ids[1]);
  bool conflicts = m->result->conflicts && m->options->strategy == MERGE_FAIL;
  if (rc == HDB_OK && !conflicts) rc = foreign_key_check_commit(db); /* a dry run's COMMIT */
  if (rc == HDB_OK && !conflicts && !m->options->dry_run) {
    db->last_commit = 0;
    rc = record_base(m);
    if (rc == HDB_OK) rc = sql_run(db, "COMMIT");
    if (rc == HDB_OK) return HDB_OK;
  }
  error kept = db->err;
  db->err = (error)ERROR_INIT;
  if (!db->autocommit) transaction_rollback(db);
  error_clear(&db->err);
  db->err = kept;
  if (rc == HDB_OK && conflicts && !m->options->dry_run) {
    *m->result = (merge_result){.conflicts = m->result->conflicts};
    rc = conflict_error(m, source, target);
  }
  return rc;
}

static void merge_end(merge *m) {
  for (int i = 0; i < MERGE_STATEMENTS; i++) sql_statement_discard(m->statements[i]);
  side_close(&m->source);
  side_close(&m->source_base);
  side_close(&m->target_base);
  merge_keys_free(m);
  arena_clear(&m->memory);
}

status branch_merge(hdb *db, const char *source, const char *target, const merge_options *o, merge_result *r) {
  merge m = {.db = db, .options = o, .result = r};
  family f = {0};
  uint32_t ids[2];
  TRY(branch_named(db, source, &ids[0]));
  TRY(branch_named(db, target, &ids[1]));
  if (ids[0] == ids[1]) return error_set(&db->err, HDB_ERROR, "branch %s cannot be merged into itself", source);
  if (db->databases[DB_MAIN].read_only) return error_set(&db->err, HDB_READONLY, "attempt to write a readonly database");
  if (branch_each(db->databases[DB_MAIN].engine, take_member, &f) != HDB_OK) {
    free(f.list);
    return sql_nomem(&db->err);
  }
  conflicts_clear(db);
  char *before = strdup(hdb_branch(db));
  struct hdb_pragmas pragmas = db->pragmas;
  int64_t changes = db->changes, total = db->total_changes, rowid = db->last_insert_rowid, commit = db->last_commit;
  status rc = before ? branch_switch(db, target) : sql_nomem(&db->err);
  if (rc == HDB_OK) {
    db->pragmas.enable_triggers = db->pragmas.query_only = false;
    db->pragmas.foreign_keys = true;
    db->merging = true;
    rc = merge_transaction(&m, &f, ids, source, target);
    db->merging = false;
  }
  merge_end(&m);
  db->pragmas = pragmas;
  if (rc != HDB_OK || db->last_commit == 0) db->last_commit = commit;
  db->changes = changes, db->total_changes = total, db->last_insert_rowid = rowid;
  error kept = db->err;
  db->err = (error)ERROR_INIT;
  if (before) (void)branch_switch(db, before);
  error_clear(&db->err);
  db->err = kept;
  free(before);
  free(f.list);
  if (rc == HDB_OK && o->delete_after && !o->dry_run) rc = branch_remove(db, source, false);
  return rc;
}
