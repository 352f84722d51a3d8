/* What an engine is doing, for the operators' views: counters that others keep, read under their locks one after the
 * other; so the figures of one report may be moments apart. Costs some 20 us: RocksDB is asked for sizes. */
#include "mvcc/process.h"

static void tell_views(engine *e, engine_report *out) {
  pthread_mutex_lock(&e->txns_lock);
  for (txn *t = e->txns; t; t = t->next) {
    int64_t time = atomic_load(&t->open_view_time);
    out->transaction_objects++;
    if (time && (!out->oldest_view || time < out->oldest_view)) out->oldest_view = time;
  }
  pthread_mutex_unlock(&e->txns_lock);
  out->open_transactions = atomic_load(&e->open_count);
}

static void tell_turn(engine *e, engine_report *out) {
  pthread_mutex_lock(&e->queue_lock);
  out->turn_held = e->turn != NULL;
  out->turn_thread = e->turn_thread;
  out->turn_ms = out->turn_held ? engine_ticks_ms() - e->turn_since_ms : 0;
  for (waiter *w = e->line; w; w = w->next) out->waiting_in_line++;
  pthread_mutex_unlock(&e->queue_lock);
}

void engine_tell(engine *e, engine_report *out) {
  kv_value value;
  uint64_t format = 1;
  size_t bytes = 0, bytes_max = 0;
  *out = (engine_report){0};
  if (is_remote(e) && remote_report(e, out) != HDB_BUSY_RECOVERY) return;
  if (!e->memory && kv_get(e->store, NULL, KV_META, slice_str("format"), &value) == HDB_OK) {
    if (!varint_get(value.data.p, value.data.p + value.data.n, &format)) format = 0;
    kv_release(&value);
  }
  out->format = (int64_t)format;
  out->bytes_rows = (int64_t)kv_bytes(e->store, KV_ROWS);
  out->bytes_versions = (int64_t)kv_bytes(e->store, KV_VERSIONS);
  out->bytes_feed = (int64_t)kv_bytes(e->store, KV_COMMITS);
  out->bytes_redo = (int64_t)kv_bytes(e->store, KV_REDO);
  out->bytes_vectors = (int64_t)kv_bytes(e->store, KV_HNSW);
  out->bytes_meta = (int64_t)kv_bytes(e->store, KV_META);
  tell_views(e, out);
  tell_turn(e, out);
  int64_t pin = branches_oldest(e);
  out->branch_pin = pin == INT64_MAX ? 0 : pin;
  if (e->cache) cache_size(e->cache, &bytes, &bytes_max);
  out->cache_bytes = (int64_t)bytes, out->cache_bytes_max = (int64_t)bytes_max;
  out->collecting = retain_is_running(e);
  out->packing_waiting = (int64_t)pack_waiting(e);
  out->broken = atomic_load(&e->broken) != 0;
}

int64_t engine_group_bytes(void) { return GROUP_AIM; }
