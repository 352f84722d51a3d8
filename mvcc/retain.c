/* Retention: what is older than the history that is kept goes.
 *
 * Runs now and then on a thread of its own, started by a commit that finds it due (a twentieth of the retention, at
 * most an hour), or when asked. In order:
 *   1. history_floor moves to now - retention, in meta and in memory: from then on AS OF before it is refused
 *   2. versions records at or before it are deleted
 *   3. groups that are empty and were changed last before it are deleted, by a request in the commit queue
 *   4. the feed before it is deleted, but a day of it always stays (mirrors read it), and the newest commit
 *
 * X1  Whoever reads a past time holds a snapshot from before he looked at the floor: so what he needs was not deleted
 *     in it yet, or he is refused.
 * X3  The floor never passes the view of an open transaction: so a group that is empty at the floor is empty for all.
 * X2  A group's own note of records that are gone (history.newest <= floor) is dropped when it is folded next.
 * Cost: a walk over the versions; deletions in batches of 64 KB, so commits go on in between.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "mvcc/internal.h"
#include "mvcc/process.h"

enum { BATCH_BYTES = 64 * 1024, SWEEP_MAX = 256 };
static const int64_t DAY_US = 86400ll * 1000000;

static status put_floor(engine *e, const char *name, int64_t floor) {
  buf text = BUF_INIT;
  buf_varint(&text, (uint64_t)floor);
  kv_batch *batch = kv_batch_new(e->store);
  status rc = batch && !buf_failed(&text) ? HDB_OK : HDB_NOMEM;
  if (rc == HDB_OK) {
    kv_batch_put(batch, KV_META, slice_str(name), buf_slice(&text));
    rc = kv_write(e->store, batch, false);
  }
  kv_batch_free(batch);
  buf_free(&text);
  return rc;
}

/* ---- versions ---- */

typedef struct sweep_list {
  arena memory;
  sweep_item items[SWEEP_MAX];
  size_t n;
} sweep_list;

/* The empty groups among these go, if they still are. holder: a transaction that has the turn, NULL: none. */
static status sweep(engine *e, sweep_list *list, txn *holder) {
  txn *t = holder;
  status rc = HDB_OK;
  if (list->n == 0) return HDB_OK;
  if (!holder) {
    TRY(txn_new(e, &t));
    CHECK(txn_begin(t, TXN_READ, 0));
  }
  t->sweep = list->items, t->sweep_n = list->n;
  rc = queue_commit(e, t, 60000);
  t->sweep = NULL;
  if (rc == HDB_BUSY) rc = HDB_OK; /* somebody keeps the turn; the next time */
out:
  if (!holder) txn_free(t);
  list->n = 0;
  arena_clear(&list->memory);
  return rc;
}

/* The bound in the key of a versions record, decoded in place of *bound. */
static bool read_bound(slice key, buf *bound) {
  const uint8_t *p = key.p + 4, *end = key.p + key.n - 8;
  buf_clear(bound);
  for (; p + 9 <= end; p += 9) {
    uint8_t n = p[8] == 9 ? 8 : p[8];
    if (n > 8) return false;
    buf_append(bound, p, n);
    if (p[8] != 9) return p + 9 == end && !buf_failed(bound);
  }
  return false;
}

static status add_bound(sweep_list *list, slice key, buf *bound) {
  if (!read_bound(key, bound)) return HDB_CORRUPT;
  uint8_t *copy = arena_copy(&list->memory, bound->n ? bound->p : (const uint8_t *)"", bound->n);
  if (!copy) return HDB_NOMEM;
  list->items[list->n++] = (sweep_item){get_be32(key.p), slice_of(copy, bound->n)};
  return HDB_OK;
}

static status collect_versions(engine *e, int64_t floor, txn *holder) {
  kv_iter *it;
  buf bound = BUF_INIT, last = BUF_INIT;
  sweep_list *list = calloc(1, sizeof *list);
  kv_batch *batch = kv_batch_new(e->store);
  status rc = list && batch ? kv_iter_open(e->store, NULL, KV_VERSIONS, slice_of(NULL, 0), slice_of(NULL, 0), &it) : HDB_NOMEM;
  if (rc != HDB_OK) {
    free(list);
    kv_batch_free(batch);
    return rc;
  }
  for (it->seek(it, slice_of("", 0)); it->valid && rc == HDB_OK; it->next(it)) {
    if (it->key.n < 4 + 9 + 8) {
      rc = HDB_CORRUPT;
      break;
    }
    slice place = slice_of(it->key.p, it->key.n - 8);
    bool first = !slice_equal(place, buf_slice(&last));
    if (first) buf_clear(&last), buf_append(&last, place.p, place.n);
    int64_t time = (int64_t)~get_be64(it->key.p + it->key.n - 8);
    if (time > floor) continue;
    kv_batch_delete(batch, KV_VERSIONS, it->key);
    if (first) CHECK(add_bound(list, it->key, &bound)); /* nothing newer: its group may be empty for good */
    if (kv_batch_bytes(batch) >= BATCH_BYTES) {
      CHECK(kv_write(e->store, batch, false));
      kv_batch_clear(batch);
    }
    if (list->n == SWEEP_MAX) CHECK(sweep(e, list, holder));
  }
  if (rc == HDB_OK) rc = it->error;
  if (rc == HDB_OK) rc = kv_write(e->store, batch, false);
  if (rc == HDB_OK) rc = sweep(e, list, holder);
out:
  it->close(it);
  kv_batch_free(batch);
  arena_clear(&list->memory);
  free(list);
  buf_free(&bound);
  buf_free(&last);
  return rc;
}

/* ---- the feed ---- */

static status collect_feed(engine *e, int64_t floor) {
  int64_t newest = atomic_load(&e->visible) - 1;
  if (floor > newest) floor = newest;
  if (floor <= atomic_load(&e->feed_floor)) return HDB_OK;
  TRY(put_floor(e, "feed_floor", floor));
  atomic_store(&e->feed_floor, floor);
  uint8_t from[8] = {0}, to[8];
  put_be64(to, (uint64_t)floor + 1);
  kv_batch *batch = kv_batch_new(e->store);
  if (!batch) return HDB_NOMEM;
  kv_batch_delete_range(batch, KV_COMMITS, slice_of(from, 8), slice_of(to, 8));
  status rc = kv_write(e->store, batch, false);
  kv_batch_free(batch);
  return rc;
}

/* ---- the setting ---- */

double engine_retention(engine *e) {
  if (is_remote(e)) return process_page_retention(e);
  pthread_mutex_lock(&e->collect_lock);
  double seconds = e->retention;
  pthread_mutex_unlock(&e->collect_lock);
  return seconds;
}

/* Under the queue's lock, with no leader at work: nobody folds. */
static status switch_history(engine *e, bool wanted) {
  int64_t floor = wanted ? atomic_load(&e->visible) : INT64_MAX;
  if (!e->memory) TRY(put_floor(e, "history_floor", floor));
  if (wanted && !e->feed) atomic_store(&e->feed_floor, floor);
  atomic_store(&e->history_floor, floor);
  e->history = wanted;
  if (wanted) e->feed = true;
  process_show(e);
  return HDB_OK;
}

status retain_for_branches(engine *e) {
  status rc = HDB_OK;
  pthread_mutex_lock(&e->queue_lock);
  while (e->leading || e->waiting) pthread_cond_wait(&e->idle, &e->queue_lock);
  if (!e->history) rc = switch_history(e, true);
  pthread_mutex_unlock(&e->queue_lock);
  return rc;
}

/* With the turn: nobody commits in between, and what there is goes at once. */
static status change_history(engine *e, txn *holder, bool wanted) {
  status rc = HDB_OK;
  pthread_mutex_lock(&e->queue_lock);
  while (e->leading || e->waiting) pthread_cond_wait(&e->idle, &e->queue_lock);
  bool had = e->history;
  if (had != wanted) rc = switch_history(e, wanted);
  pthread_mutex_unlock(&e->queue_lock);
  TRY(rc);
  return had && !wanted ? collect_versions(e, txn_oldest_view(e, atomic_load(&e->visible)), holder) : HDB_OK;
}

static status keep_retention(engine *e, double seconds) {
  char text[64];
  snprintf(text, sizeof text, "%.17g", seconds);
  if (!e->memory) TRY(engine_setting_put(e, "retention", slice_str(text)));
  pthread_mutex_lock(&e->collect_lock);
  e->retention = seconds;
  pthread_mutex_unlock(&e->collect_lock);
  process_show(e);
  return HDB_OK;
}

status engine_set_retention(engine *e, double seconds, int timeout_ms) {
  if (e->read_only) return HDB_READONLY;
  if (is_remote(e)) {
    status rc = remote_set_retention(e, seconds, timeout_ms);
    if (rc != HDB_BUSY_RECOVERY) return rc;
  }
  bool wanted = seconds > 0 || branches_oldest(e) != INT64_MAX;
  if (atomic_load(&e->history) == wanted) return keep_retention(e, seconds);
  txn *t;
  TRY(txn_new(e, &t));
  status rc = txn_begin(t, TXN_IMMEDIATE, timeout_ms);
  if (rc == HDB_OK) rc = keep_retention(e, seconds);
  if (rc == HDB_OK) rc = change_history(e, t, wanted);
  txn_free(t);
  process_show(e);
  return rc;
}

/* ---- running ---- */

status engine_collect(engine *e) {
  if (is_remote(e)) {
    status rc = remote_ask(e, ASK_COLLECT, NULL, NULL);
    if (rc != HDB_BUSY_RECOVERY) return rc;
  }
  double retention = engine_retention(e);
  sessions_drop_idle(e, SESSION_IDLE_MS);
  if (e->read_only || !e->feed || isinf(retention)) return HDB_OK;
  int64_t now = engine_now();
  double keep = retention * 1e6;
  int64_t floor = keep < (double)now ? now - (int64_t)keep : 0;
  int64_t oldest = PLANTED(PLANT_VIEW_PIN_LOST) ? atomic_load(&e->visible) : txn_oldest_view(e, atomic_load(&e->visible)); /* X3 */
  if (floor > oldest) floor = oldest;
  int64_t point = PLANTED(PLANT_BRANCH_PIN_LOST) ? INT64_MAX : branches_oldest(e); /* B1 of branch.c */
  if (floor > point) floor = point;
  if (e->history && floor > atomic_load(&e->history_floor)) {
    TRY(put_floor(e, "history_floor", floor));
    atomic_store(&e->history_floor, floor); /* X1 */
    process_show(e);
    TRY(collect_versions(e, floor, NULL));
  }
  return collect_feed(e, floor < now - DAY_US ? floor : now - DAY_US);
}

static void *collector(void *argument) {
  engine *e = argument;
  engine_collect(e); /* a failure is seen by the next write, or by whoever asks */
  pthread_mutex_lock(&e->collect_lock);
  e->collecting = false;
  pthread_cond_broadcast(&e->collected);
  pthread_mutex_unlock(&e->collect_lock);
  return NULL;
}

static int64_t interval_ms(const engine *e) {
  double ms = e->retention * 1000 / 20;
  return ms < 1000 ? 1000 : ms > 3600000 ? 3600000 : (int64_t)ms;
}

void retain_when_due(engine *e) {
  if (!e->feed || e->read_only) return;
  int64_t now = engine_ticks_ms();
  if (now < e->collect_at_ms) return;
  bool first = e->collect_at_ms == 0;
  e->collect_at_ms = now + interval_ms(e);
  if (first) return;
  pthread_mutex_lock(&e->collect_lock);
  pthread_t thread;
  if (!e->collecting && !e->closing && pthread_create(&thread, NULL, collector, e) == 0) {
    pthread_detach(thread);
    e->collecting = true;
  }
  pthread_mutex_unlock(&e->collect_lock);
}

bool retain_is_running(engine *e) {
  pthread_mutex_lock(&e->collect_lock);
  bool running = e->collecting;
  pthread_mutex_unlock(&e->collect_lock);
  return running;
}

void retain_stop(engine *e) {
  pthread_mutex_lock(&e->collect_lock);
  e->closing = true;
  while (e->collecting) pthread_cond_wait(&e->collected, &e->collect_lock);
  pthread_mutex_unlock(&e->collect_lock);
}
