/* Transactions: a view, a write set, and how both end.
 *
 * T1  open_view_time is 1 from before the view is chosen, then the view's time, 0 when not open; open_count covers
 *     the same span. The committer, having published a commit, reads them to learn which recent commits nobody
 *     needs for validation any more (commit.c).
 * T2  The view stays with the transaction object after its end and is used again while nothing was committed; but
 *     where others use the engine too it is given back, so that an idle connection does not hold old data.
 * T3  A transaction that failed in the queue is doomed: only txn_rollback ends it.
 */
#include <assert.h>
#include <stdlib.h>

#include "kv/base/key.h"
#include "mvcc/internal.h"
#include "mvcc/process.h"

static _Atomic uint64_t schema_counter;

status txn_new(engine *e, txn **out) {
  txn *t = calloc(1, sizeof *t);
  *out = t;
  if (!t) return HDB_NOMEM;
  t->engine = e;
  t->sync = TXN_SYNC_FULL;
  writeset_init(&t->writes);
  cond_init_monotonic(&t->request.wake);
  if (e->cache) cache_add_reader(e->cache, &t->reader);
  pthread_mutex_lock(&e->txns_lock);
  t->next = e->txns, t->previous = &e->txns;
  if (t->next) t->next->previous = &t->next;
  e->txns = t;
  atomic_fetch_add(&e->txns_n, 1);
  pthread_mutex_unlock(&e->txns_lock);
  return HDB_OK;
}

void txn_free(txn *t) {
  if (!t) return;
  txn_rollback(t);
  assert(!t->active && !t->holding); /* cursors are closed before their transaction */
  engine *e = t->engine;
  pthread_mutex_lock(&e->txns_lock);
  atomic_fetch_sub(&e->txns_n, 1);
  *t->previous = t->next;
  if (t->next) t->next->previous = t->previous;
  pthread_mutex_unlock(&e->txns_lock);
  if (e->cache) cache_remove_reader(e->cache, &t->reader);
  view_release(t->view);
  writeset_free(&t->writes);
  buf_free(&t->conflict_key);
  buf_free(&t->setting_name), buf_free(&t->setting_value);
  free(t->made);
  reads_free(&t->reads);
  pthread_cond_destroy(&t->request.wake);
  free(t);
}

void txn_set_sync(txn *t, enum txn_sync sync) { t->sync = sync; }

void txn_set_as_of(txn *t, int64_t time) { t->as_of = time; }

void txn_set_policy(txn *t, enum txn_policy policy) { t->policy = policy; }

int64_t txn_oldest_view(engine *e, int64_t newest) {
  int64_t oldest = newest;
  pthread_mutex_lock(&e->txns_lock);
  for (txn *t = e->txns; t; t = t->next) {
    int64_t time = atomic_load(&t->open_view_time);
    if (time && time < oldest) oldest = time;
  }
  pthread_mutex_unlock(&e->txns_lock);
  return sessions_oldest_view(e, oldest);
}

/* ---- begin and end ---- */

status txn_refresh_view(txn *t) {
  engine *e = t->engine;
  bool remote = is_remote(e);
  if (!remote && t->view && t->view->time == atomic_load(&e->visible) && t->view->generation == atomic_load(&e->generation)) return HDB_OK;
  view *v;
  TRY(view_newest(e, &v));
  if (v == t->view) {
    view_release(v);
    return HDB_OK;
  }
  view_release(t->view);
  t->view = v;
  if (t->holding) scan_view_changed(t);
  return HDB_OK;
}

status txn_restore_view(txn *t) {
  view *v;
  status rc = view_restore(t->engine, t->view, &v);
  if (rc == HDB_BUSY_SNAPSHOT) t->doomed = rc;
  TRY(rc);
  view_release(t->view);
  t->view = v;
  if (t->holding) scan_view_changed(t);
  return HDB_OK;
}

/* Bulk trees that will not be published. */
static void remove_bulk(txn *t, bool all) {
  for (size_t i = 0; i < t->writes.trees_n; i++) {
    write_tree *w = t->writes.trees[i];
    if (w->bulk_undone || (all && w->bulk)) bulk_remove(t->engine, w->tree);
    w->bulk_undone = false;
  }
}

void txn_finish(txn *t, bool committed) {
  engine *e = t->engine;
  if (t->known && !t->keeps_claims) remote_end(t);
  t->turn_generation = t->claims_generation = 0;
  t->exclusive = t->in_doubt = false;
  if (!t->guest && !t->keeps_claims) t->number = 0;
  if (!committed) remove_bulk(t, true);
  t->made_n = 0;
  if (t->active) scan_detach_all(t);
  if (t->claims && !t->keeps_claims) {
    for (size_t i = 0; i < t->writes.trees_n; i++) {
      if (t->writes.trees[i]->info) tree_release_claims(t->writes.trees[i]->info, t);
    }
    t->claims = false;
  }
  if (t->writes.trees_n || t->writes.log_n) writeset_clear(&t->writes);
  if (t->reads.n) reads_clear(&t->reads);
  if (t->has_turn) queue_leave_turn(e, t);
  t->open = false;
  t->ended++;
  t->doomed = HDB_OK;
  t->sweep = NULL, t->erase = NULL;
  t->setting_name.n = 0;
  t->schema_local = 0;
  if (atomic_load_explicit(&e->txns_n, memory_order_relaxed) > 1 && !t->active && t->view) { /* T2 */
    view_release(t->view);
    t->view = NULL;
    if (t->holding) scan_view_changed(t);
  }
  atomic_store_explicit(&t->open_view_time, 0, memory_order_release);
  atomic_fetch_sub(&e->open_count, 1);
}

status txn_begin(txn *t, enum txn_mode mode, int timeout_ms) {
  if (t->open) return HDB_MISUSE;
  engine *e = t->engine;
  status rc = HDB_BUSY_RECOVERY;
  if (is_remote(e)) process_patience(e, timeout_ms);
  if (mode == TXN_IMMEDIATE) {
    if (e->read_only) return HDB_READONLY;
    if (is_remote(e)) rc = remote_begin_turn(t, timeout_ms);
    if (rc == HDB_BUSY_RECOVERY) rc = queue_take_turn(e, t, timeout_ms);
    TRY(rc);
  }
  atomic_fetch_add(&e->open_count, 1); /* T1: before the view is chosen */
  atomic_store(&t->open_view_time, 1);
  t->open = true;
  rc = txn_refresh_view(t);
  if (rc != HDB_OK) {
    txn_finish(t, false);
    return rc;
  }
  t->view_time = t->view->time;
  /* A memory engine at time 0 has nothing to be validated against; 1 says the same. */
  atomic_store(&t->open_view_time, t->view_time ? t->view_time : 1);
  return HDB_OK;
}

bool txn_is_open(const txn *t) { return t->open; }
bool txn_is_alone(const txn *t) { return !is_remote(t->engine) && atomic_load(&t->engine->open_count) <= 1; }
bool txn_has_turn(const txn *t) { return t->has_turn || t->turn_generation; }
bool txn_has_writes(const txn *t) { return t->writes.log_n > 0; }
size_t txn_write_bytes(const txn *t) { return t->writes.bytes; }
bool txn_is_doomed(const txn *t) { return t->doomed != HDB_OK; }
int64_t txn_view_time(const txn *t) { return t->view_time; }

status txn_check_open(txn *t) {
  if (!t->open) return HDB_MISUSE;
  return t->doomed;
}

/* The view or the turn may be from another owner's time. */
static status txn_commit_here(txn *t, int timeout_ms) {
  t->exclusive = t->turn_generation && !t->has_turn;
  if (t->view && t->view->generation != atomic_load(&t->engine->generation)) t->guest = true; /* its kind of validation */
  status rc = queue_commit(t->engine, t, timeout_ms);
  t->guest = false;
  return rc;
}

/* The commit had nothing to write it with. */
static status put_setting_alone(txn *t) {
  const char *name = t->setting_name.n ? buf_cstr(&t->setting_name) : NULL;
  return name ? engine_setting_put(t->engine, name, buf_slice(&t->setting_value)) : HDB_OK;
}

status txn_commit(txn *t, int timeout_ms, int64_t *commit_time) {
  if (commit_time) *commit_time = 0;
  TRY(txn_check_open(t));
  engine *e = t->engine;
  if (t->writes.log_n == 0) {
    status put = put_setting_alone(t);
    txn_finish(t, false);
    return put;
  }
  if (t->policy == TXN_SERIALIZABLE && t->active) scan_hand_over_reads(t);
  TRY(t->doomed);
  status rc = is_remote(e) || t->in_doubt ? remote_commit(t, timeout_ms, &t->request.time) : HDB_BUSY_RECOVERY;
  if (rc == HDB_BUSY_RECOVERY) rc = txn_commit_here(t, timeout_ms);
  /* an id that was given to us may have been given again since: to be retried, not the application's mistake */
  bool claims_lost = t->claims_generation && t->claims_generation != atomic_load(&e->generation);
  if (rc == HDB_CONSTRAINT_UNIQUE && claims_lost) rc = HDB_BUSY_SNAPSHOT;
  if (rc == HDB_BUSY) return rc;
  if (rc == HDB_OK && t->request.time == 0) rc = put_setting_alone(t);
  if (rc == HDB_OK && t->has_turn && t->request.time) queue_leave_turn(e, t); /* others go on beside the fsync, and share the next */
  if (rc == HDB_OK && t->sync == TXN_SYNC_FULL && !PLANTED(PLANT_ACKNOWLEDGED_UNSYNCED)) rc = engine_sync_to(e, t->request.time);
  if (rc != HDB_OK) {
    t->doomed = rc;
    return rc;
  }
  if (commit_time) *commit_time = t->request.time;
  txn_finish(t, true);
  return HDB_OK;
}

void txn_keep_claims(txn *t, bool keep) {
  if (t->keeps_claims && !keep && t->claims) { /* an attempt that failed early may not have met every tree again */
    trees_release_claims(t->engine, t);
    t->claims = false;
  }
  t->keeps_claims = keep;
  if (keep || t->open) return;
  if (t->known) remote_end(t);
  t->number = 0;
}

void txn_rollback(txn *t) {
  if (t->open) txn_finish(t, false);
}

status txn_settle_doubt(txn *t) {
  status rc = t->open && t->in_doubt ? remote_settle_doubt(t) : HDB_OK;
  if (rc == HDB_ABORT) txn_finish(t, true);
  return rc;
}

void txn_set_conflict(txn *t, uint32_t tree, slice key) {
  t->conflict_tree = tree;
  buf_clear(&t->conflict_key);
  buf_append(&t->conflict_key, key.p, key.n);
}

void txn_conflict(const txn *t, uint32_t *tree, slice *key) {
  *tree = t->conflict_tree;
  if (t->branch) *tree = branch_tree_behind((txn *)t, *tree);
  *key = buf_slice(&t->conflict_key);
}

/* ---- savepoints ---- */

txn_mark txn_save(const txn *t) { return (txn_mark){t->writes.log_n}; }

static void schema_touched(txn *t) {
  t->schema_local = t->writes.schema_writes ? atomic_fetch_add(&schema_counter, 1) + 1 : 0;
}

void txn_rollback_to(txn *t, txn_mark mark) {
  if (mark.position >= t->writes.log_n) return;
  size_t schema = t->writes.schema_writes;
  writeset_undo(&t->writes, mark.position);
  remove_bulk(t, false);
  if (schema != t->writes.schema_writes) schema_touched(t);
}

schema_stamp txn_schema_stamp(txn *t) {
  schema_stamp s = {0, t->schema_local};
  if (t->as_of) s.time = t->as_of;
  else if (t->branch) s.time = branch_schema_time(t);
  else if (t->view) s.time = t->view->schema_time;
  return s;
}

/* ---- writing ---- */

status txn_write_tree(txn *t, uint32_t tree, write_tree **out) {
  TRY(txn_check_open(t));
  if (t->writes.recent && t->writes.recent->tree == tree) {
    *out = t->writes.recent;
    return HDB_OK;
  }
  if (t->engine->read_only || t->as_of) return HDB_READONLY;
  *out = writeset_find(&t->writes, tree);
  if (*out) return HDB_OK;
  TRY(writeset_tree(&t->writes, tree, out));
  if (t->active) scan_attach_writes(t, *out);
  return tree_get(t->engine, tree, &(*out)->info);
}

/* W3: a write that ran out of memory half way dooms the transaction. */
static status write_end(txn *t, uint32_t tree, status rc) {
  if (rc == HDB_NOMEM) t->doomed = rc;
  if (tree == TREE_SCHEMA) schema_touched(t);
  return rc;
}

/* On a branch the writes go to its own tree. */
static status own_tree(txn *t, uint32_t tree, write_tree **w) {
  TRY(txn_check_open(t));
  bool schema = tree == TREE_SCHEMA;
  if (t->branch) TRY(branch_tree(t, tree, &tree));
  TRY(txn_write_tree(t, tree, w));
  if (schema) (*w)->schema = true;
  return HDB_OK;
}

status txn_put(txn *t, uint32_t tree, slice key, slice value, enum put_kind kind) {
  write_tree *w;
  TRY(own_tree(t, tree, &w));
  if (t->branch) kind = PUT_UPSERT;
  static const uint8_t base[] = {[PUT_INSERT] = BASE_ABSENT, [PUT_UPDATE] = BASE_PRESENT, [PUT_UPSERT] = BASE_UNKNOWN, [PUT_NEW] = BASE_ABSENT};
  if (w->rowid_known && key.n == 8) {
    int64_t rowid = rowid_decode(key.p);
    if (rowid > w->rowid_max || !w->rowid_any) w->rowid_max = rowid, w->rowid_any = true;
  }
  status rc = writeset_write(&t->writes, w, key, value, WRITE_PUT, base[kind]);
  if (rc == HDB_OK && kind == PUT_NEW) t->writes.log[t->writes.log_n - 1].entry->now->is_new = true;
  return write_end(t, tree, rc);
}

status txn_put_setting(txn *t, const char *name, slice value) {
  TRY(txn_check_open(t));
  if (t->engine->read_only) return HDB_READONLY;
  buf_clear(&t->setting_name), buf_clear(&t->setting_value);
  buf_text(&t->setting_name, name);
  buf_append(&t->setting_value, value.p, value.n);
  if (!buf_failed(&t->setting_name) && !buf_failed(&t->setting_value)) return HDB_OK;
  t->setting_name.n = 0;
  return HDB_NOMEM;
}

status txn_put_rising(txn *t, uint32_t tree, slice key, slice value, value_rises rises) {
  TRY(txn_put(t, tree, key, value, PUT_UPSERT));
  t->rises = rises;
  t->writes.log[t->writes.log_n - 1].entry->now->rising = true;
  return HDB_OK;
}

status txn_delete(txn *t, uint32_t tree, slice key) {
  write_tree *w;
  TRY(own_tree(t, tree, &w));
  if (w->rowid_known && key.n == 8 && rowid_decode(key.p) == w->rowid_max) w->rowid_known = false;
  if (t->branch) return write_end(t, tree, writeset_write(&t->writes, w, key, branch_tombstone(), WRITE_PUT, BASE_UNKNOWN));
  return write_end(t, tree, writeset_write(&t->writes, w, key, slice_of(NULL, 0), WRITE_DELETE, BASE_PRESENT));
}

status txn_clear(txn *t, uint32_t tree) {
  write_tree *w;
  if (t->branch) return branch_clear(t, tree);
  TRY(txn_write_tree(t, tree, &w));
  return write_end(t, tree, writeset_clear_tree(&t->writes, w));
}

status txn_expect(txn *t, enum fact fact, uint32_t tree, slice prefix) {
  TRY(txn_check_open(t));
  if (t->branch) return branch_expect(t, tree, prefix);
  return write_end(t, 0, writeset_fact(&t->writes, (uint8_t)fact, tree, prefix, 0, slice_of(NULL, 0)));
}

status txn_expect_none_unless(txn *t, uint32_t tree, slice prefix, uint32_t other_tree, slice other) {
  TRY(txn_check_open(t));
  if (t->branch) return branch_expect(t, tree, prefix);
  return write_end(t, 0, writeset_fact(&t->writes, FACT_NONE, tree, prefix, other_tree, other));
}

status txn_expect_unchanged(txn *t, uint32_t tree) {
  TRY(txn_check_open(t));
  if (t->branch) TRY(branch_tree(t, tree, &tree));
  return reads_add(&t->reads, tree, slice_of(NULL, 0), NULL);
}

void txn_watch_reads(txn *t, bool on) { t->unwatched = !on; }

status txn_new_tree(txn *t, uint32_t *tree) {
  TRY(txn_check_open(t));
  if (t->made_n == t->made_capacity) {
    size_t capacity = t->made_capacity ? 2 * t->made_capacity : 8;
    uint32_t *made = realloc(t->made, capacity * sizeof *made);
    if (!made) return HDB_NOMEM;
    t->made = made, t->made_capacity = capacity;
  }
  TRY(tree_new_id(t->engine, tree));
  t->made[t->made_n++] = *tree;
  return HDB_OK;
}

/* ---- row ids ---- */

/* The largest row id the transaction sees. */
static status seen_max(txn *t, uint32_t tree, bool *any, int64_t *rowid) {
  cursor *c;
  TRY(cursor_open(t, tree, 0, &c));
  t->unwatched = true; /* D2 */
  cursor_last(c);
  t->unwatched = false;
  status rc = c->error;
  *any = c->valid;
  if (rc == HDB_OK && c->valid) {
    if (c->key.n == 8) {
      *rowid = rowid_decode(c->key.p);
    } else {
      rc = HDB_MISUSE; /* a tree that is not keyed by row ids */
    }
  }
  cursor_close(c);
  return rc;
}

/* What others claim is skipped; so is what was committed since our view. The claim is ours from here on. */
status txn_claim_rowids(txn *t, tree_info *i, int64_t floor, int64_t count, int64_t *rowid) {
  rowid_claim *mine = NULL;
  int64_t max = floor;
  status rc = HDB_OK;
  pthread_mutex_lock(&i->lock);
  if (i->rowid_time > t->view_time && i->rowid_max > max) max = i->rowid_max;
  if (i->branch_max > max) max = i->branch_max;
  if (t->branch && i->rowid_max > max) max = i->rowid_max;
  for (size_t k = 0; k < i->claims_n; k++) {
    if (i->claims[k].owner == t) {
      mine = &i->claims[k];
    } else if (i->claims[k].max > max) {
      max = i->claims[k].max;
    }
  }
  if (max == INT64_MAX) {
    rc = HDB_FULL;
  } else if (!mine && i->claims_n == i->claims_capacity) {
    size_t capacity = i->claims_capacity ? 2 * i->claims_capacity : 4;
    rowid_claim *claims = realloc(i->claims, capacity * sizeof *claims);
    if (claims) {
      i->claims = claims, i->claims_capacity = capacity;
    } else {
      rc = HDB_NOMEM;
    }
  }
  if (rc == HDB_OK && t->branch) { /* never given back: other branches must not give it */
    if (count > INT64_MAX - max) count = 1;
    *rowid = max + 1;
    i->branch_max = max + count;
  } else if (rc == HDB_OK) {
    if (!mine) {
      mine = &i->claims[i->claims_n++];
      *mine = (rowid_claim){t, INT64_MIN};
    }
    if (count > INT64_MAX - max) count = 1;
    *rowid = max + 1;
    if (max + count > mine->max) mine->max = max + count;
  }
  pthread_mutex_unlock(&i->lock);
  return rc;
}

/* What the tree knows of its largest row id. It may be newer than our view: ids committed since are skipped anyway. */
static bool known_floor(const txn *t, tree_info *i, bool *any, int64_t *max) {
  pthread_mutex_lock(&i->lock);
  bool known = i->floor_known && i->floor_time <= t->view_time;
  if (known) *any = i->floor_any, *max = i->floor_max;
  pthread_mutex_unlock(&i->lock);
  return known;
}

/* A commit that we do not see has set changed_time before it moves the floor (publish_counts), or will move what we set. */
static void keep_floor(const txn *t, tree_info *i, bool any, int64_t max) {
  pthread_mutex_lock(&i->lock);
  if (atomic_load(&i->changed_time) <= t->view_time)
    i->floor_known = true, i->floor_any = any, i->floor_max = any ? max : 0, i->floor_time = t->view_time;
  pthread_mutex_unlock(&i->lock);
}

status txn_rowid_floor(txn *t, uint32_t tree, write_tree *w) {
  if (w->rowid_known) return HDB_OK;
  bool any = false;
  int64_t max = 0;
  bool plain = !t->branch && !t->as_of && !w->root.entries && !w->root.cleared && !w->bulk && !is_remote(t->engine) && t->view && !t->view->under;
  if (!plain || !known_floor(t, w->info, &any, &max)) {
    TRY(seen_max(t, tree, &any, &max));
    if (plain) keep_floor(t, w->info, any, max);
  }
  w->rowid_max = any ? max : 0;
  w->rowid_any = any;
  w->rowid_known = true;
  return HDB_OK;
}

status txn_new_rowid(txn *t, uint32_t tree, int64_t above, int64_t *rowid) {
  write_tree *w;
  TRY(own_tree(t, tree, &w));
  if (is_remote(t->engine)) {
    status rc = remote_new_rowid(t, tree, w, above, rowid);
    if (rc != HDB_BUSY_RECOVERY) return rc;
  }
  tree_info *info = w->info;
  if (t->engine->branches) {
    TRY(tree_get(t->engine, tree, &info));
    TRY(branch_rowid_floor(t, info));
  }
  int64_t id;
  TRY(txn_rowid_floor(t, tree, w));
  TRY(txn_claim_rowids(t, info, w->rowid_max > above ? w->rowid_max : above, 1, &id));
  t->claims = true;
  *rowid = id;
  return HDB_OK;
}

/* ---- counts ---- */

status txn_count(txn *t, uint32_t tree, int64_t *rows) {
  TRY(t->doomed);
  if (t->as_of || t->branch) return HDB_NOTFOUND;
  if (t->view && t->view->under) return HDB_NOTFOUND;
  tree_info *i;
  TRY(tree_get(t->engine, tree, &i));
  write_tree *w = t->open ? writeset_find(&t->writes, tree) : NULL;
  if (w && w->root.unknown) return HDB_NOTFOUND;
  if (t->open && t->policy == TXN_SERIALIZABLE) TRY(reads_add(&t->reads, tree, slice_of(NULL, 0), NULL));
  *rows = w ? w->root.balance + (w->root.cleared ? 0 : w->bulk_rows) : 0;
  if (w && w->root.cleared) return HDB_OK;
  if (is_remote(t->engine)) {
    int64_t there = 0;
    TRY(remote_count(t, tree, &there));
    *rows += there;
    return HDB_OK;
  }
  pthread_mutex_lock(&i->lock);
  bool fits = i->count_known && i->count_time <= t->view_time;
  if (fits) *rows += i->rows;
  pthread_mutex_unlock(&i->lock);
  return fits ? HDB_OK : HDB_NOTFOUND;
}

void txn_estimate(txn *t, uint32_t tree, int64_t *rows, int64_t *bytes) {
  tree_info *i;
  *rows = *bytes = 0;
  if (tree_get(t->engine, tree, &i) == HDB_OK) {
    if (is_remote(t->engine)) remote_estimate(t->engine, i);
    pthread_mutex_lock(&i->lock);
    *rows = i->rows, *bytes = i->bytes;
    pthread_mutex_unlock(&i->lock);
  }
  write_tree *w = t->open ? writeset_find(&t->writes, tree) : NULL;
  if (w) *rows = (w->root.cleared ? 0 : *rows) + w->root.balance + w->bulk_rows, *bytes += w->bulk_bytes;
  if (*rows < 0) *rows = 0;
}
