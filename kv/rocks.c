/* The rocks backend: a RocksDB directory, one column family a family. The only file that names rocksdb_*.
 *
 * R1  The log is never off and is recovered to a point in time: what a crash leaves is a prefix of the batches.
 * R2  A directory with data but without CURRENT or MANIFEST is damaged, never taken for a new store. Only what a
 *     creation that was cut short leaves behind (no log, no table, MANIFEST-000001 or a CURRENT that names it) may be
 *     started anew.
 * R3  The first failed write or sync is kept, and every later one is refused with it (KV4).
 * R4  No merge operator and the built-in bytewise comparator, so RocksDB's own tools read everything.
 *
 * R5  No range deletion is written where readers count on it: in 7.8 an iterator that looks out for them swallows a read
 *     error at the border of two files and just ends early (MergingIterator::SkipNextDeleted). So readers ignore them, and
 *     a batch's delete_range deletes key by key. rocks_batch_forget writes one, of keys that nobody reads again.
 * R6  No atomic flush: with the log always on it is not needed (RocksDB syncs the closed logs before it flushes one
 *     of several families), and in 7.8 a failed one leaves a reference behind, on which closing then asserts.
 * R7  Closing a store with little in its logs only syncs them, and opening keeps what it replays in memory: a program
 *     that opens, writes a few rows and closes makes no table files. Past a limit, closing flushes. Since replayed
 *     logs stay in use, opening syncs them first: a killed process may have left them in the page cache alone.
 * R8  A long walk (a copy, an export, a sum over everything) fills a quarter of the cache and leaves the rest of it alone:
 *     what is read again and again stays there, and a table that is streamed once takes no memory. The iterator opens
 *     itself anew for that. A scan of what would lie in the cache costs 40 % more than one that finds it there.
 *
 * R8  Where a batch fills the memory of two families and the log for the next writes cannot be made (a full disk), 7.8 leaves
 *     a reference behind, on which closing asserts. So the front, whose merges are written often and into every family,
 *     has the memory of a family flushed before the merge that would fill it.
 *
 * The C interface reports errors as text; to_status reads the words RocksDB's Status::ToString puts first. Options it
 * has no function for are set by rocksdb_get_options_from_string. Cost: a get 2-5 us, an iterator step 0.14-0.25 us
 * a key; so mvcc keeps many rows under one key.
 */
#include "kv/backend.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <rocksdb/c.h>

#include "kv/base/leave.h"
#include "kv/filesystem.h"

static const char *const family_names[KV_FAMILIES] = {"default",  "commits",  "rows", "index",
                                                      "versions", "branches", "hnsw"};

enum {
  DEFAULT_CACHE_BYTES = 32 << 20, /* mvcc has one of its own above it */
  DEFAULT_LOG_BYTES = 32 << 20, /* of writes in memory, one family */
  LOG_BYTES_MAX_FACTOR = 4,     /* all logs together, in write buffers */
  TABLE_FILE_BYTES = 32 << 20,
  OPEN_FILES_MAX = 500,
  BLOCK_BYTES = 4096,
  RESTART_INTERVAL = 8,
  BLOOM_BITS = 10,
  CLOSE_FLUSH_BYTES = 256 << 10, /* R7 */
  CLOSE_FLUSH_LOGS = 8,
  WALK_PART = 4 /* R8 */
};

typedef struct rocks_store {
  kv base;
  rocksdb_t *db;
  rocksdb_column_family_handle_t *family[KV_FAMILIES];
  rocksdb_readoptions_t *read; /* of the newest state; shared, never changed */
  rocksdb_writeoptions_t *write, *write_sync;
  size_t log_bytes;
  bool read_only, quiet; /* quiet: settled, its background work rests */
  rocksdb_env_t *env, *own_env; /* own_env: of an encrypted store, given back after the close */
  atomic_size_t unflushed; /* bytes of the logs, at most */
  size_t cache_bytes;
  atomic_int logs;         /* found at open */
  atomic_uint_fast64_t written, synced; /* batches; synced is moved after a sync to what was written before it */
  atomic_int failed; /* R3: the status; 0 */
  pthread_mutex_t failure_mutex;
  char failure[256]; /* its words, written once under the mutex */
} rocks_store;

typedef struct rocks_snapshot {
  const rocksdb_snapshot_t *snapshot;
  rocksdb_readoptions_t *read;
} rocks_snapshot;

typedef struct rocks_batch {
  kv_batch base;
  rocks_store *store;
  rocksdb_writebatch_t *batch;
  status failed; /* a delete_range could not read the keys */
} rocks_batch;

/* ---- errors ---- */

static bool says(const char *text, const char *words) { return strstr(text, words) != NULL; }
#define DAMAGED "was damaged or changed from outside" /* FILESYSTEM_DAMAGED */

static status to_status(const char *text) {
  if (says(text, "No space left on device") || says(text, "Space limit reached") || says(text, "Disk quota exceeded"))
    return HDB_FULL;
  if (strncmp(text, "Corruption", 10) == 0 || says(text, DAMAGED)) return HDB_CORRUPT;
  if (strncmp(text, "Result incomplete", 17) == 0 || strncmp(text, "Resource busy", 13) == 0) return HDB_BUSY;
  if (strncmp(text, "Not implemented", 15) == 0) return HDB_ERROR;
  return HDB_IOERR;
}

/* Takes RocksDB's text (NULL: no error). */
static status take(char *text) {
  if (!text) return HDB_OK;
  status rc = kv_fail(to_status(text), "%s", text);
  rocksdb_free(text);
  return rc;
}

/* R3 */
static status refuse(rocks_store *r) {
  pthread_mutex_lock(&r->failure_mutex);
  kv_fail(HDB_IOERR, "the store refuses writes since: %s", r->failure);
  pthread_mutex_unlock(&r->failure_mutex);
  return (status)atomic_load(&r->failed);
}

static status writable(rocks_store *r) {
  leave_before_wait(); /* what follows touches files */
  if (r->read_only) return kv_fail(HDB_READONLY, "%s", status_text(HDB_READONLY));
  return atomic_load_explicit(&r->failed, memory_order_relaxed) ? refuse(r) : HDB_OK;
}

static status keep_failure(rocks_store *r, status rc) {
  if (rc == HDB_OK) return rc;
  if (rc != HDB_FULL && rc != HDB_CORRUPT) rc = HDB_IOERR;
  pthread_mutex_lock(&r->failure_mutex);
  if (!atomic_load(&r->failed)) {
    snprintf(r->failure, sizeof r->failure, "%s", kv_message());
    atomic_store(&r->failed, rc);
  }
  pthread_mutex_unlock(&r->failure_mutex);
  return rc;
}

/* ---- reading ---- */

static const rocksdb_readoptions_t *read_of(const rocks_store *r, const kv_snapshot *snapshot) {
  return snapshot ? ((const rocks_snapshot *)snapshot)->read : r->read;
}

static status rocks_get(kv *store, const kv_snapshot *snapshot, enum kv_family family, slice key, kv_value *out) {
  rocks_store *r = (rocks_store *)store;
  char *error = NULL;
  leave_before_wait();
  out->owner = store;
  out->data = slice_of(NULL, 0);
  rocksdb_pinnableslice_t *pin = rocksdb_get_pinned_cf(r->db, read_of(r, snapshot), r->family[family],
                                                       (const char *)key.p, key.n, &error);
  out->pin = pin;
  if (error) return take(error);
  if (!pin) return HDB_NOTFOUND;
  out->data.p = (const uint8_t *)rocksdb_pinnableslice_value(pin, &out->data.n);
  return HDB_OK;
}

static void rocks_release(void *pin) { rocksdb_pinnableslice_destroy(pin); }

static kv_snapshot *rocks_snapshot_open(kv *store) {
  rocks_store *r = (rocks_store *)store;
  rocks_snapshot *s = malloc(sizeof *s);
  if (!s) return NULL;
  s->snapshot = rocksdb_create_snapshot(r->db);
  s->read = rocksdb_readoptions_create();
  rocksdb_readoptions_set_snapshot(s->read, s->snapshot);
  rocksdb_readoptions_set_ignore_range_deletions(s->read, 1);
  return (kv_snapshot *)s;
}

static void rocks_snapshot_close(kv *store, kv_snapshot *snapshot) {
  rocks_snapshot *s = (rocks_snapshot *)snapshot;
  rocksdb_readoptions_destroy(s->read);
  rocksdb_release_snapshot(((rocks_store *)store)->db, s->snapshot);
  free(s);
}

/* ---- iterators ---- */

typedef struct rocks_iter {
  kv_iter base;
  rocksdb_iterator_t *it;
  rocksdb_readoptions_t *read; /* points at the bounds */
  rocks_store *store;
  enum kv_family family;
  size_t walked, walk_limit; /* bytes since the last seek; where the cache is left alone, SIZE_MAX: nowhere */
  bool alone;                /* it is */
  slice lower, upper;
  uint8_t data[];
} rocks_iter;

static void show(rocks_iter *it) {
  it->base.valid = rocksdb_iter_valid(it->it);
  if (it->base.valid) {
    it->base.key.p = (const uint8_t *)rocksdb_iter_key(it->it, &it->base.key.n);
    it->base.value.p = (const uint8_t *)rocksdb_iter_value(it->it, &it->base.value.n);
    return;
  }
  char *error = NULL;
  rocksdb_iter_get_error(it->it, &error);
  it->base.error = take(error);
}

/* R8: it stands where it stood. */
static void leave_cache_alone(rocks_iter *it) {
  it->walk_limit = SIZE_MAX;
  rocksdb_readoptions_set_fill_cache(it->read, 0);
  rocksdb_iterator_t *again = rocksdb_create_iterator_cf(it->store->db, it->read, it->store->family[it->family]);
  rocksdb_iter_seek(again, (const char *)it->base.key.p, it->base.key.n);
  size_t n = 0;
  const char *key = rocksdb_iter_valid(again) ? rocksdb_iter_key(again, &n) : NULL;
  if (!key || !slice_equal(it->base.key, slice_of(key, n))) { /* a read that failed: the other goes on, or fails by itself */
    rocksdb_iter_destroy(again);
    return;
  }
  rocksdb_iter_destroy(it->it);
  it->it = again;
  it->alone = true;
  show(it);
}

/* Another walk begins. */
static void walk_again(rocks_iter *it) {
  it->walked = 0;
  if (!it->alone) return;
  it->alone = false;
  it->walk_limit = it->store->cache_bytes / WALK_PART;
  rocksdb_readoptions_set_fill_cache(it->read, 1);
  rocksdb_iter_destroy(it->it);
  it->it = rocksdb_create_iterator_cf(it->store->db, it->read, it->store->family[it->family]);
}

static void rocks_next(kv_iter *base) {
  rocks_iter *it = (rocks_iter *)base;
  if (!base->valid) return;
  leave_before_wait();
  it->walked += base->value.n;
  if (__builtin_expect(it->walked > it->walk_limit, 0)) leave_cache_alone(it);
  rocksdb_iter_next(it->it);
  show(it);
}

static void rocks_prev(kv_iter *base) {
  if (!base->valid) return;
  leave_before_wait();
  rocksdb_iter_prev(((rocks_iter *)base)->it);
  show((rocks_iter *)base);
}

static void rocks_seek(kv_iter *base, slice key) {
  rocks_iter *it = (rocks_iter *)base;
  leave_before_wait();
  walk_again(it);
  if (slice_compare(key, it->lower) < 0) key = it->lower;
  if (key.n) rocksdb_iter_seek(it->it, (const char *)key.p, key.n);
  else rocksdb_iter_seek_to_first(it->it);
  show(it);
}

static void rocks_seek_last(kv_iter *base) {
  leave_before_wait();
  walk_again((rocks_iter *)base);
  rocksdb_iter_seek_to_last(((rocks_iter *)base)->it);
  show((rocks_iter *)base);
}

static void rocks_seek_for_prev(kv_iter *base, slice key) {
  rocks_iter *it = (rocks_iter *)base;
  leave_before_wait();
  if (it->upper.n && slice_compare(key, it->upper) >= 0) {
    rocks_seek_last(base);
    return;
  }
  walk_again(it);
  rocksdb_iter_seek_for_prev(it->it, (const char *)key.p, key.n);
  show(it);
}

static void rocks_iter_close(kv_iter *base) {
  rocks_iter *it = (rocks_iter *)base;
  rocksdb_iter_destroy(it->it);
  rocksdb_readoptions_destroy(it->read);
  free(it);
}

static status rocks_iter_open(kv *store, const kv_snapshot *snapshot, enum kv_family family, slice lower, slice upper,
                              kv_iter **out) {
  rocks_store *r = (rocks_store *)store;
  rocks_iter *it = malloc(sizeof *it + lower.n + upper.n);
  if (!it) return kv_fail(HDB_NOMEM, "out of memory");
  it->base = (kv_iter){.error = HDB_OK,
                       .next = rocks_next,
                       .prev = rocks_prev,
                       .seek = rocks_seek,
                       .seek_for_prev = rocks_seek_for_prev,
                       .seek_last = rocks_seek_last,
                       .close = rocks_iter_close};
  if (lower.n) memcpy(it->data, lower.p, lower.n);
  if (upper.n) memcpy(it->data + lower.n, upper.p, upper.n);
  it->store = r, it->family = family;
  it->walked = 0, it->alone = false;
  it->walk_limit = snapshot ? r->cache_bytes / WALK_PART : SIZE_MAX; /* without one the state would be another */
  it->lower = slice_of(it->data, lower.n);
  it->upper = slice_of(it->data + lower.n, upper.n);
  it->read = rocksdb_readoptions_create();
  rocksdb_readoptions_set_ignore_range_deletions(it->read, 1); /* R5 */
  if (snapshot) rocksdb_readoptions_set_snapshot(it->read, ((const rocks_snapshot *)snapshot)->snapshot);
  if (lower.n) rocksdb_readoptions_set_iterate_lower_bound(it->read, (const char *)it->lower.p, lower.n);
  if (upper.n) rocksdb_readoptions_set_iterate_upper_bound(it->read, (const char *)it->upper.p, upper.n);
  it->it = rocksdb_create_iterator_cf(r->db, it->read, r->family[family]);
  *out = &it->base;
  return HDB_OK;
}

/* ---- batches and writing ---- */

static kv_batch *rocks_batch_new(kv *store) {
  rocks_batch *b = malloc(sizeof *b);
  if (!b) return NULL;
  b->base.backend = store->backend;
  b->store = (rocks_store *)store;
  b->batch = rocksdb_writebatch_create();
  b->failed = HDB_OK;
  return &b->base;
}

static void rocks_batch_free(kv_batch *batch) {
  rocksdb_writebatch_destroy(((rocks_batch *)batch)->batch);
  free(batch);
}

static void rocks_batch_clear(kv_batch *batch) {
  rocksdb_writebatch_clear(((rocks_batch *)batch)->batch);
  ((rocks_batch *)batch)->failed = HDB_OK;
}

static void rocks_batch_put(kv_batch *batch, enum kv_family family, slice key, slice value) {
  rocks_batch *b = (rocks_batch *)batch;
  rocksdb_writebatch_put_cf(b->batch, b->store->family[family], (const char *)key.p, key.n, (const char *)value.p,
                            value.n);
}

static void rocks_batch_delete(kv_batch *batch, enum kv_family family, slice key) {
  rocks_batch *b = (rocks_batch *)batch;
  rocksdb_writebatch_delete_cf(b->batch, b->store->family[family], (const char *)key.p, key.n);
}

/* The records of RocksDB's batch (db/write_batch.cc): 12 bytes, then each: tag, family (varint, only for tags 4 and 5),
 * key (varint length, bytes), value (likewise, only for tags 1 and 5). Ours holds no others. */
enum { BATCH_HEAD = 12, TAG_DELETE = 0, TAG_PUT = 1, TAG_FAMILY_DELETE = 4, TAG_FAMILY_PUT = 5 };

/* Reads a record at p; returns the byte after it. */
static const uint8_t *batch_record(const uint8_t *p, const uint8_t *end, bool *put, uint64_t *family, slice *key) {
  uint8_t tag = *p++;
  uint64_t n;
  *put = tag == TAG_PUT || tag == TAG_FAMILY_PUT;
  *family = 0;
  if (tag >= TAG_FAMILY_DELETE) p = varint_get(p, end, family);
  p = varint_get(p, end, &n);
  *key = slice_of(p, n);
  p += n;
  if (*put) p = varint_get(p, end, &n) + n;
  return p;
}

static void delete_own_puts(rocks_batch *b, enum kv_family family, slice from, slice to) {
  size_t n;
  const char *data = rocksdb_writebatch_data(b->batch, &n);
  if (n <= BATCH_HEAD) return;
  uint8_t *copy = malloc(n); /* deleting moves the bytes */
  if (!copy) {
    b->failed = HDB_NOMEM;
    return;
  }
  memcpy(copy, data, n);
  uint32_t id = rocksdb_column_family_handle_get_id(b->store->family[family]);
  for (const uint8_t *p = copy + BATCH_HEAD, *end = copy + n; p < end;) {
    bool put;
    uint64_t f;
    slice key;
    p = batch_record(p, end, &put, &f, &key);
    if (put && f == id && slice_compare(key, from) >= 0 && slice_compare(key, to) < 0)
      rocks_batch_delete(&b->base, family, key);
  }
  free(copy);
}

/* R5: what is there now, and what this batch has put. */
static void rocks_batch_delete_range(kv_batch *batch, enum kv_family family, slice from, slice to) {
  rocks_batch *b = (rocks_batch *)batch;
  kv_iter *it;
  delete_own_puts(b, family, from, to);
  status rc = rocks_iter_open(&b->store->base, NULL, family, from, to, &it);
  if (rc == HDB_OK) {
    for (rocks_seek(it, from); it->valid; rocks_next(it)) rocks_batch_delete(batch, family, it->key);
    rc = it->error;
    rocks_iter_close(it);
  }
  if (rc != HDB_OK) b->failed = rc;
}

void rocks_batch_forget(kv_batch *batch, enum kv_family family, slice from, slice to) {
  rocks_batch *b = (rocks_batch *)batch;
  rocksdb_writebatch_delete_range_cf(b->batch, b->store->family[family], (const char *)from.p, from.n, (const char *)to.p, to.n);
}

static size_t rocks_batch_bytes(const kv_batch *batch) {
  size_t n;
  rocksdb_writebatch_data(((const rocks_batch *)batch)->batch, &n);
  return n;
}

/* counted: whether a sync has to care for it. */
static status write_counted(kv *store, kv_batch *batch, bool sync, bool counted) {
  rocks_store *r = (rocks_store *)store;
  rocks_batch *b = (rocks_batch *)batch;
  status rc = writable(r);
  if (rc == HDB_OK) rc = b->failed;
  if (rc == HDB_OK) {
    char *error = NULL;
    atomic_fetch_add_explicit(&r->unflushed, rocks_batch_bytes(batch), memory_order_relaxed);
    uint_fast64_t before = atomic_load(&r->written), synced = atomic_load(&r->synced);
    rocksdb_write(r->db, sync ? r->write_sync : r->write, b->batch, &error);
    if (counted && atomic_fetch_add(&r->written, 1) == before && sync && !error) /* nobody wrote beside it: all is synced */
      while (synced < before + 1 && !atomic_compare_exchange_weak(&r->synced, &synced, before + 1)) {}
    rc = error ? keep_failure(r, take(error)) : HDB_OK;
  }
  rocks_batch_clear(batch);
  return rc;
}

static status rocks_write(kv *store, kv_batch *batch, bool sync) { return write_counted(store, batch, sync, true); }
static status rocks_note(kv *store, kv_batch *batch) { return write_counted(store, batch, false, false); }

static status rocks_sync(kv *store) {
  rocks_store *r = (rocks_store *)store;
  TRY(writable(r));
  uint_fast64_t written = atomic_load(&r->written), synced = atomic_load(&r->synced);
  if (written == synced) return HDB_OK;
  char *error = NULL;
  rocksdb_flush_wal(r->db, 1, &error);
  if (error) return keep_failure(r, take(error));
  while (synced < written && !atomic_compare_exchange_weak(&r->synced, &synced, written)) {}
  return HDB_OK;
}

status rocks_make_room(kv *store, enum kv_family family, size_t bytes) {
  rocks_store *r = (rocks_store *)store;
  uint64_t used = 0;
  TRY(writable(r));
  rocksdb_property_int_cf(r->db, r->family[family], "rocksdb.cur-size-active-mem-table", &used);
  if (!bytes || used + 2 * bytes < r->log_bytes / 8 * 7) return HDB_OK;
  char *error = kv_filesystem_begin_flush(r->db, r->family[family]);
  return error ? keep_failure(r, take(error)) : HDB_OK;
}

static status rocks_flush(kv *store) {
  rocks_store *r = (rocks_store *)store;
  TRY(writable(r));
  char *error = kv_filesystem_flush(r->db, (void **)r->family, KV_FAMILIES);
  if (!error) {
    atomic_store(&r->unflushed, 0);
    atomic_store(&r->logs, 0); /* checkpoints of two connections may meet */
  }
  return error ? keep_failure(r, take(error)) : HDB_OK;
}

static status rocks_compact(kv *store, enum kv_family family, slice from, slice to) {
  rocks_store *r = (rocks_store *)store;
  TRY(writable(r));
  rocksdb_compactoptions_t *o = rocksdb_compactoptions_create();
  rocksdb_compactoptions_set_exclusive_manual_compaction(o, 0);
  rocksdb_compactoptions_set_bottommost_level_compaction(o, 2); /* force: what was deleted is gone from the files then */
  rocksdb_compact_range_cf_opt(r->db, r->family[family], o, from.n ? (const char *)from.p : NULL, from.n,
                               to.n ? (const char *)to.p : NULL, to.n);
  rocksdb_compactoptions_destroy(o);
  return HDB_OK;
}

static status rocks_checkpoint(kv *store, const char *path) {
  rocks_store *r = (rocks_store *)store;
  char *error = NULL;
  rocksdb_checkpoint_t *c = rocksdb_checkpoint_object_create(r->db, &error);
  if (error) return take(error);
  rocksdb_checkpoint_create(c, path, 0, &error);
  rocksdb_checkpoint_object_destroy(c);
  return take(error);
}

static uint64_t rocks_snapshots(kv *store) {
  uint64_t n = 0;
  rocksdb_property_int(((rocks_store *)store)->db, "rocksdb.num-snapshots", &n);
  return n;
}

static uint64_t rocks_bytes(kv *store, enum kv_family family) {
  rocks_store *r = (rocks_store *)store;
  uint64_t disk = 0, memory = 0;
  rocksdb_property_int_cf(r->db, r->family[family], "rocksdb.estimate-live-data-size", &disk);
  rocksdb_property_int_cf(r->db, r->family[family], "rocksdb.cur-size-all-mem-tables", &memory);
  return disk + memory;
}

/* ---- open and close ---- */

/* R7 */
/* A flush or sync of RocksDB's own failed behind our back: what it left half done must not be touched again (its asserts). */
static bool failed_in_background(rocks_store *r) {
  uint64_t errors = 0;
  return rocksdb_property_int(r->db, "rocksdb.background-errors", &errors) == 0 && errors > 0;
}

static status rocks_settle(kv *store) {
  rocks_store *r = (rocks_store *)store;
  if (r->read_only || atomic_load(&r->failed)) return HDB_OK; /* whoever wrote knows of the failure */
  if (failed_in_background(r)) return keep_failure(r, kv_fail(HDB_IOERR, "a flush in the background failed"));
  if (r->quiet) return rocks_sync(store);
  bool small = atomic_load(&r->unflushed) <= CLOSE_FLUSH_BYTES && r->logs < CLOSE_FLUSH_LOGS;
  status rc = small ? rocks_sync(store) : rocks_flush(store);
  kv_filesystem_pause(r->db);
  r->quiet = true;
  return rc;
}

static void rocks_wake(kv *store) {
  rocks_store *r = (rocks_store *)store;
  if (r->quiet) kv_filesystem_continue(r->db);
  r->quiet = false;
}

static status rocks_close(kv *store) {
  rocks_store *r = (rocks_store *)store;
  status rc = HDB_OK;
  if (r->db) {
    rc = rocks_settle(store);
    for (int f = 0; f < KV_FAMILIES; f++)
      if (r->family[f]) rocksdb_column_family_handle_destroy(r->family[f]);
    rocksdb_close(r->db);
  }
  if (r->own_env) kv_filesystem_env_free(r->own_env);
  rocksdb_readoptions_destroy(r->read);
  rocksdb_writeoptions_destroy(r->write);
  rocksdb_writeoptions_destroy(r->write_sync);
  pthread_mutex_destroy(&r->failure_mutex);
  free(r);
  return rc;
}

static const kv_backend rocks_backend = {
    .close = rocks_close,
    .get = rocks_get,
    .release = rocks_release,
    .snapshot_open = rocks_snapshot_open,
    .snapshot_close = rocks_snapshot_close,
    .iter_open = rocks_iter_open,
    .batch_new = rocks_batch_new,
    .batch_free = rocks_batch_free,
    .batch_clear = rocks_batch_clear,
    .batch_put = rocks_batch_put,
    .batch_delete = rocks_batch_delete,
    .batch_delete_range = rocks_batch_delete_range,
    .batch_bytes = rocks_batch_bytes,
    .write = rocks_write,
    .note = rocks_note,
    .sync = rocks_sync,
    .flush = rocks_flush,
    .settle = rocks_settle,
    .wake = rocks_wake,
    .compact = rocks_compact,
    .checkpoint = rocks_checkpoint,
    .snapshots = rocks_snapshots,
    .bytes = rocks_bytes,
};

static bool ends_with(const char *name, const char *tail) {
  size_t n = strlen(name), t = strlen(tail);
  return n >= t && strcmp(name + n - t, tail) == 0;
}

/* R2: a CURRENT whose MANIFEST-000001 never reached the disk. */
static bool forget_first_current(rocksdb_env_t *env, const char *path) {
  static const char first[] = "MANIFEST-000001\n";
  char name[4096], text[sizeof first + 1];
  if (snprintf(name, sizeof name, "%s/CURRENT", path) >= (int)sizeof name) return false;
  long n = kv_filesystem_read(env, name, text, sizeof text);
  return n == sizeof first - 1 && memcmp(text, first, (size_t)n) == 0 && unlink(name) == 0;
}

/* R2: what lies in the directory; R7: its logs are synced. */
enum contents { CONTENTS_NONE, CONTENTS_STORE, CONTENTS_DAMAGED };

static status look(rocksdb_env_t *env, const char *path, enum contents *contents, size_t *log_bytes, atomic_int *logs) {
  *contents = CONTENTS_NONE;
  *log_bytes = 0;
  *logs = 0;
  DIR *d = opendir(path);
  if (!d) {
    if (errno == ENOENT) return HDB_OK;
    return kv_fail(errno == ENOTDIR || errno == EACCES ? HDB_CANTOPEN : HDB_IOERR, "%s: %s", path, strerror(errno));
  }
  bool current = false, data = false, manifest = false;
  status rc = HDB_OK;
  for (struct dirent *e; (e = readdir(d));) {
    if (strcmp(e->d_name, "CURRENT") == 0) current = true;
    if (ends_with(e->d_name, ".sst") || ends_with(e->d_name, ".blob")) data = true;
    if (ends_with(e->d_name, ".log")) {
      struct stat st;
      data = true;
      ++*logs;
      if (fstatat(dirfd(d), e->d_name, &st, 0) == 0) *log_bytes += (size_t)st.st_size;
      char name[4096];
      snprintf(name, sizeof name, "%s/%s", path, e->d_name);
      int failed = kv_filesystem_sync_found(name);
      if (failed) rc = kv_fail(HDB_IOERR_FSYNC, "%s: %s", name, strerror(failed));
    }
    if (strncmp(e->d_name, "MANIFEST-", 9) == 0) {
      manifest = true;
      if (strcmp(e->d_name + 9, "000001") != 0) data = true;
    }
  }
  if (*logs && fsync(dirfd(d)) != 0 && errno != EINVAL && errno != EROFS) rc = kv_fail(HDB_IOERR_FSYNC, "%s: %s", path, strerror(errno));
  closedir(d);
  if (current && !manifest && !data && forget_first_current(env, path)) current = false;
  if (current && manifest) *contents = CONTENTS_STORE;
  else if (current || data) *contents = CONTENTS_DAMAGED;
  return rc;
}

static rocksdb_options_t *database_options(rocks_store *r, const char *path, const kv_options *options, size_t log_bytes) {
  rocksdb_options_t *base = rocksdb_options_create(), *o = rocksdb_options_create();
  char *error = NULL;
  /* What the C interface has no functions for. */
  rocksdb_get_options_from_string(
      base, "max_bgerror_resume_count=0;persist_stats_to_disk=false;track_and_verify_wals_in_manifest=true;"
            "avoid_flush_during_recovery=true", o, &error);
  rocksdb_free(error);
  rocksdb_options_destroy(base);
  rocksdb_options_set_create_if_missing(o, options->create);
  rocksdb_options_set_create_missing_column_families(o, !options->read_only);
  rocksdb_options_set_wal_recovery_mode(o, rocksdb_point_in_time_recovery);
  rocksdb_options_set_max_total_wal_size(o, log_bytes * LOG_BYTES_MAX_FACTOR);
  rocksdb_options_set_max_open_files(o, OPEN_FILES_MAX);
  rocksdb_options_set_max_file_opening_threads(o, 1);
  rocksdb_options_set_max_background_jobs(o, 2);
  rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
  rocksdb_options_set_stats_dump_period_sec(o, 0);
  rocksdb_options_set_stats_persist_period_sec(o, 0);
  rocksdb_logger_t *logger = kv_filesystem_logger(options->key ? NULL : path);
  rocksdb_options_set_info_log(o, logger);
  kv_filesystem_logger_free(logger);
  rocksdb_options_set_allow_concurrent_memtable_write(o, 0); /* one committer at a time */
  rocksdb_options_set_enable_write_thread_adaptive_yield(o, 0);
  rocksdb_options_set_avoid_unnecessary_blocking_io(o, 1);
  rocksdb_options_set_bytes_per_sync(o, 1 << 20);
  rocksdb_options_set_env(o, r->env);
  return o;
}

/* Keys of one tree (their first 4 bytes) are mostly put in order: the memtable then goes on from where the last one was. An
 * optimisation: a RocksDB that does not take it by name goes without. */
static void hint_inserts(const rocksdb_options_t *from, rocksdb_options_t *to) {
  char *error = NULL;
  rocksdb_get_options_from_string(from, "memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.4", to, &error);
  rocksdb_free(error);
}

static void set_table_options(rocksdb_options_t *o, rocksdb_cache_t *cache, bool filter) {
  rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
  rocksdb_block_based_options_set_block_cache(t, cache);
  rocksdb_block_based_options_set_block_size(t, BLOCK_BYTES);
  rocksdb_block_based_options_set_block_restart_interval(t, RESTART_INTERVAL);
  rocksdb_block_based_options_set_format_version(t, 5);
  if (filter) rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom(BLOOM_BITS));
  rocksdb_options_set_block_based_table_factory(o, t);
  rocksdb_block_based_options_destroy(t);
}

/* The options of one column family; `o` may be the database's own. */
static void set_family_options(rocksdb_options_t *o, enum kv_family family, rocksdb_cache_t *cache, size_t log_bytes) {
  rocksdb_options_set_write_buffer_size(o, log_bytes);
  rocksdb_options_set_max_write_buffer_number(o, 3);
  rocksdb_options_set_target_file_size_base(o, TABLE_FILE_BYTES);
  rocksdb_options_set_max_bytes_for_level_base(o, 4 * (uint64_t)TABLE_FILE_BYTES);
  rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
  rocksdb_options_set_compression(o, rocksdb_lz4_compression);
  bool cold = family == KV_COMMITS || family == KV_VERSIONS;
  if (cold) rocksdb_options_set_bottommost_compression(o, rocksdb_zstd_compression);
  set_table_options(o, cache, family == KV_ROWS || family == KV_INDEX || family == KV_HNSW);
}

size_t rocks_log_bytes(const kv_options *options) { return options->log_bytes ? options->log_bytes : DEFAULT_LOG_BYTES; }

static rocksdb_t *open_database(rocks_store *r, const char *path, const kv_options *options, char **error) {
  size_t log_bytes = r->log_bytes = rocks_log_bytes(options);
  r->cache_bytes = options->cache_bytes ? options->cache_bytes : DEFAULT_CACHE_BYTES;
  rocksdb_cache_t *cache = rocksdb_cache_create_lru(r->cache_bytes);
  rocksdb_options_t *o = database_options(r, path, options, log_bytes);
  const rocksdb_options_t *families[KV_FAMILIES];
  for (enum kv_family f = 0; f < KV_FAMILIES; f++) {
    rocksdb_options_t *fo = rocksdb_options_create_copy(o);
    if (f != KV_REDO) hint_inserts(o, fo); /* 7.8 takes a place in the keys for one in the range deletions; and it only appends */
    set_family_options(fo, f, cache, log_bytes);
    families[f] = fo;
  }
  rocksdb_t *db = options->read_only
                      ? rocksdb_open_for_read_only_column_families(o, path, KV_FAMILIES, family_names, families,
                                                                   r->family, 0, error)
                      : rocksdb_open_column_families(o, path, KV_FAMILIES, family_names, families, r->family, error);
  for (int f = 0; f < KV_FAMILIES; f++) rocksdb_options_destroy((rocksdb_options_t *)families[f]);
  rocksdb_options_destroy(o);
  rocksdb_cache_destroy(cache);
  return db;
}

/* At open the words mean something else than later on. */
static status open_status(const char *path, enum contents contents, char *text) {
  status rc = to_status(text);
  if (says(text, "lock file") || says(text, "lock hold by current process")) rc = HDB_BUSY;
  else if (says(text, DAMAGED)) rc = HDB_CORRUPT;
  else if (says(text, "Permission denied") || says(text, "Read-only file system")) rc = HDB_CANTOPEN;
  else if (says(text, "No such file or directory")) /* with CURRENT there, a part of the store is missing */
    rc = contents == CONTENTS_STORE ? HDB_CORRUPT : HDB_CANTOPEN;
  else if (strncmp(text, "Invalid argument", 16) == 0) rc = HDB_CANTOPEN; /* families of a newer format */
  kv_fail(rc, "%s: %s", path, text);
  rocksdb_free(text);
  return rc;
}

static status open_store(rocks_store *r, const char *path, const kv_options *options) {
  enum contents contents;
  size_t log_bytes;
  TRY(look(r->env, path, &contents, &log_bytes, &r->logs));
  if (contents == CONTENTS_DAMAGED)
    return kv_fail(HDB_CORRUPT, "%s: damaged: there is data but CURRENT or MANIFEST is missing", path);
  if (contents == CONTENTS_NONE && (!options->create || options->read_only))
    return kv_fail(HDB_CANTOPEN, "%s: there is no store", path);
  r->unflushed = log_bytes;
  char *error = NULL;
  r->db = open_database(r, path, options, &error);
  if (!error) return HDB_OK;
  r->db = NULL;
  return open_status(path, contents, error);
}

status rocks_open(const char *path, const kv_options *options, kv **out) {
  rocks_store *r = calloc(1, sizeof *r);
  if (!r) return kv_fail(HDB_NOMEM, "out of memory");
  r->base.backend = &rocks_backend;
  r->read_only = options->read_only;
  pthread_mutex_init(&r->failure_mutex, NULL);
  r->read = rocksdb_readoptions_create();
  rocksdb_readoptions_set_ignore_range_deletions(r->read, 1);
  r->write = rocksdb_writeoptions_create();
  r->write_sync = rocksdb_writeoptions_create();
  rocksdb_writeoptions_set_sync(r->write_sync, 1);
  r->env = kv_filesystem_env(options->key);
  if (options->key) r->own_env = r->env;
  status rc = open_store(r, path, options);
  if (rc != HDB_OK) {
    rocks_close(&r->base);
    return rc;
  }
  *out = &r->base;
  return HDB_OK;
}
