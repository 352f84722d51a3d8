/* Dispatch to the backends, the message of the last failure, and what is the same for all of them. */
#include "kv/backend.h"
#include "kv/filesystem.h"
#include "kv/front.h"

#include <assert.h>
#include <stdio.h>

static _Thread_local char message[512];

const char *kv_message(void) { return message; }

status kv_fail(status code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  return code;
}

static status open_on_disk(const char *path, const kv_options *options, kv **out) {
  kv *behind;
  TRY(rocks_open(path, options, &behind));
  return front_open(behind, path, options, out);
}

status kv_open(const char *path, const kv_options *options, kv **out, error *err) {
  static const kv_options defaults = {.create = true};
  *out = NULL;
  status rc = HDB_OK;
  if (path) rc = open_on_disk(path, options ? options : &defaults, out);
  else if (!(*out = memory_open())) rc = kv_fail(HDB_NOMEM, "out of memory");
  return rc == HDB_OK ? rc : error_set(err, rc, "%s", message);
}

void kv_before_fork(void) { kv_filesystem_before_fork(); }
void kv_after_fork(bool child) { kv_filesystem_after_fork(child); }

status kv_close(kv *store) { return store ? store->backend->close(store) : HDB_OK; }

status kv_get(kv *store, const kv_snapshot *snapshot, enum kv_family family, slice key, kv_value *out) {
  return store->backend->get(store, snapshot, family, key, out);
}

void kv_release(kv_value *value) {
  if (value->pin) value->owner->backend->release(value->pin);
  value->pin = NULL;
  value->data = slice_of(NULL, 0);
}

kv_snapshot *kv_snapshot_open(kv *store) { return store->backend->snapshot_open(store); }

void kv_snapshot_close(kv *store, kv_snapshot *snapshot) {
  if (snapshot) store->backend->snapshot_close(store, snapshot);
}

status kv_iter_open(kv *store, const kv_snapshot *snapshot, enum kv_family family, slice lower, slice upper,
                    kv_iter **out) {
  *out = NULL;
  return store->backend->iter_open(store, snapshot, family, lower, upper, out);
}

kv_batch *kv_batch_new(kv *store) { return store->backend->batch_new(store); }
void kv_batch_free(kv_batch *batch) {
  if (batch) batch->backend->batch_free(batch);
}
void kv_batch_clear(kv_batch *batch) { batch->backend->batch_clear(batch); }
void kv_batch_put(kv_batch *batch, enum kv_family family, slice key, slice value) {
  batch->backend->batch_put(batch, family, key, value);
}
void kv_batch_delete(kv_batch *batch, enum kv_family family, slice key) {
  batch->backend->batch_delete(batch, family, key);
}
void kv_batch_delete_range(kv_batch *batch, enum kv_family family, slice from, slice to) {
  assert(to.n); /* every family needs its end: "to" empty would mean no bound here and nothing for RocksDB */
  if (slice_compare(from, to) < 0) batch->backend->batch_delete_range(batch, family, from, to);
}
size_t kv_batch_bytes(const kv_batch *batch) { return batch->backend->batch_bytes(batch); }

status kv_write(kv *store, kv_batch *batch, bool sync) { return store->backend->write(store, batch, sync); }
status kv_write_shown(kv *store, kv_batch *batch, const kv_moment *moment) {
  if (store->backend->write_shown) return store->backend->write_shown(store, batch, moment);
  moment->begin(moment->context);
  status rc = kv_write(store, batch, false);
  moment->end(moment->context, rc);
  return rc;
}
status kv_sync(kv *store) { return store->backend->sync(store); }
status kv_flush(kv *store) { return store->backend->flush(store); }
status kv_note(kv *store, kv_batch *batch) {
  return store->backend->note ? store->backend->note(store, batch) : kv_write(store, batch, false);
}
status kv_place(kv *store, kv_batch *batch) {
  return store->backend->place ? store->backend->place(store, batch) : kv_write(store, batch, false);
}
void kv_wake(kv *store) {
  if (store->backend->wake) store->backend->wake(store);
}
status kv_settle(kv *store) { return store->backend->settle(store); }
status kv_compact(kv *store, enum kv_family family, slice from, slice to) {
  return store->backend->compact(store, family, from, to);
}
uint64_t kv_snapshots(kv *store) { return store->backend->snapshots ? store->backend->snapshots(store) : 0; }
uint64_t kv_bytes(kv *store, enum kv_family family) { return store->backend->bytes(store, family); }

/* ---- a copy key by key ---- */

enum { COPY_BATCH_BYTES = 1 << 20 };

static status copy_family(kv *from, const kv_snapshot *snapshot, kv *to, kv_batch *batch, enum kv_family family) {
  kv_iter *it;
  TRY(kv_iter_open(from, snapshot, family, slice_of(NULL, 0), slice_of(NULL, 0), &it));
  status rc = HDB_OK;
  for (it->seek(it, slice_of(NULL, 0)); it->valid; it->next(it)) {
    kv_batch_put(batch, family, it->key, it->value);
    if (kv_batch_bytes(batch) > COPY_BATCH_BYTES) CHECK(kv_write(to, batch, false));
  }
  CHECK(it->error);
  CHECK(kv_write(to, batch, false));
out:
  it->close(it);
  return rc;
}

status kv_copy(kv *from, const kv_snapshot *snapshot, const char *path, struct crypt_key *key) {
  status rc = HDB_NOMEM;
  kv *to = NULL;
  kv_batch *batch = NULL;
  kv_snapshot *own = snapshot ? NULL : kv_snapshot_open(from);
  kv_options options = {.create = true, .key = key};
  if (!snapshot) snapshot = own;
  if (!snapshot) goto out;
  CHECK(kv_open(path, &options, &to, NULL));
  if (!(batch = kv_batch_new(to))) {
    rc = HDB_NOMEM;
    goto out;
  }
  for (enum kv_family family = 0; family < KV_FAMILIES; family++) CHECK(copy_family(from, snapshot, to, batch, family));
  rc = kv_flush(to);
out:
  kv_batch_free(batch);
  kv_snapshot_close(from, own);
  status closed = kv_close(to);
  return rc == HDB_OK ? closed : rc;
}

status kv_checkpoint(kv *store, const char *path) {
  return store->backend->checkpoint ? store->backend->checkpoint(store, path) : kv_copy(store, NULL, path, NULL);
}
