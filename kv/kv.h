/* kv: bytes, in order, on disk.
 *
 * One interface, several backends: rocks (a RocksDB directory, one column family a family below),
 * memory (a copy-on-write B+tree with O(1) snapshots, for ':memory:', TEMP and tests), and later
 * remote (another process's engine over a socket). kv never sees a row, a version or a branch.
 *
 * KV1  A batch is applied wholly or not at all, and is seen wholly or not at all by a snapshot.
 * KV2  A snapshot reads the same bytes until closed, whatever is written; opening one is O(1).
 * KV3  kv_write with sync=false survives a crash of the process; after kv_sync (or sync=true) returns
 *      OK, everything written before survives power loss. Recovery keeps a prefix of the batches.
 * KV4  A failed kv_write or kv_sync makes the store refuse writes (HDB_IOERR, HDB_FULL) until reopened.
 *
 * Threads: a kv may be used from any number of threads; an iterator or batch from one at a time.
 * Borrowed: slices from an iterator live until it moves; from kv_get until kv_release.
 */
#ifndef HDB_KV_H
#define HDB_KV_H

#include "kv/base/bytes.h"
#include "kv/base/status.h"

enum kv_family { KV_META, KV_COMMITS, KV_ROWS, KV_INDEX, KV_VERSIONS, KV_REDO, KV_HNSW, KV_FAMILIES };

/* KV_REDO is the store's own (front.c): nothing is to be put there, and nothing is seen there. On disk it is `branches`. */
typedef struct kv kv;
typedef struct kv_snapshot kv_snapshot;
typedef struct kv_batch kv_batch;

typedef struct kv_options {
  bool create;          /* make a new directory when there is none */
  bool read_only;
  size_t cache_bytes;   /* block cache; 0: the default */
  size_t log_bytes;     /* write buffer; 0: the default */
  struct crypt_key *key; /* its files are sealed under this data key (base/crypt.h), which it holds; NULL: plain */
} kv_options;

/* path NULL: the memory backend. Errors: HDB_CANTOPEN, HDB_CORRUPT (damaged: never a fresh store in its place),
 * HDB_BUSY (another process has it), HDB_IOERR, HDB_FULL, HDB_READONLY. */
status kv_open(const char *path, const kv_options *options, kv **out, error *err);
/* Flushes and closes; every iterator, snapshot and batch must be gone. NULL is allowed. */
status kv_close(kv *store);
/* The words of the last failure on this thread. */
const char *kv_message(void);

typedef struct kv_value {
  slice data;
  void *pin;
  const kv *owner;
} kv_value;
/* HDB_NOTFOUND when absent. snapshot NULL: the newest. */
status kv_get(kv *store, const kv_snapshot *snapshot, enum kv_family family, slice key, kv_value *out);
void kv_release(kv_value *value);

kv_snapshot *kv_snapshot_open(kv *store); /* NULL: out of memory */
void kv_snapshot_close(kv *store, kv_snapshot *snapshot);

/* Iterators: the fields are read directly, so that a step costs one indirect call. */
typedef struct kv_iter kv_iter;
struct kv_iter {
  bool valid;
  slice key, value; /* borrowed until the iterator moves */
  status error;     /* why valid became false, when not the end: HDB_IOERR, HDB_CORRUPT */
  void (*next)(kv_iter *it);
  void (*prev)(kv_iter *it);
  void (*seek)(kv_iter *it, slice key);     /* first key >= key */
  void (*seek_for_prev)(kv_iter *it, slice key); /* last key <= key */
  void (*seek_last)(kv_iter *it);                /* the last key; the first is seek with an empty key */
  void (*close)(kv_iter *it);
};
/* Keys in [lower, upper); an empty slice is no bound. The bounds are copied. A new iterator is not positioned (valid is
 * false); next and prev of one that is not valid do nothing. */
status kv_iter_open(kv *store, const kv_snapshot *snapshot, enum kv_family family, slice lower, slice upper,
                    kv_iter **out);

kv_batch *kv_batch_new(kv *store);
void kv_batch_free(kv_batch *batch);
void kv_batch_clear(kv_batch *batch);
void kv_batch_put(kv_batch *batch, enum kv_family family, slice key, slice value);
void kv_batch_delete(kv_batch *batch, enum kv_family family, slice key);
/* [from, to), to not empty. Costs a deletion a key. Keys that another thread writes between this call and kv_write may
 * stay: one thread at a time may write into a range that is being deleted. */
void kv_batch_delete_range(kv_batch *batch, enum kv_family family, slice from, slice to);
size_t kv_batch_bytes(const kv_batch *batch);
/* Applies the batch in the order it was filled and leaves it empty, whatever the result. Running out of memory while
 * it was filled shows here (HDB_NOMEM). */
status kv_write(kv *store, kv_batch *batch, bool sync);
/* The same, with two calls around the moment from which on readers see the batch: end gets what kv_write returns, and is
 * not called (nor begin) when nothing was written. */
typedef struct kv_moment {
  void (*begin)(void *context);
  void (*end)(void *context, status rc);
  void *context;
} kv_moment;
status kv_write_shown(kv *store, kv_batch *batch, const kv_moment *moment);
/* kv_write after which RocksDB's own tools, and older versions of this program, see the batch, too. */
status kv_place(kv *store, kv_batch *batch);
/* kv_write of something that may be lost: kv_sync and kv_settle need not care for it. */
status kv_note(kv *store, kv_batch *batch);
/* All that was written before is on stable storage when this returns HDB_OK. */
status kv_sync(kv *store);

status kv_flush(kv *store); /* from the log into table files; everything durable */
/* What a close does before it closes: durable, and flushed when much is in the log. Free when nothing was written. Then
 * nothing happens in the store's directory any more, whatever its background work had in mind, until kv_wake. */
status kv_settle(kv *store);
void kv_wake(kv *store);
status kv_compact(kv *store, enum kv_family family, slice from, slice to);
/* A copy of the store at `path` by hard links where possible. */
status kv_checkpoint(kv *store, const char *path);
/* Every key and value of the snapshot (NULL: of one made now) into a new store at `path`, under another key (NULL: plain);
 * synced. Its message is kv_message's. */
status kv_copy(kv *store, const kv_snapshot *snapshot, const char *path, struct crypt_key *key);
/* How many snapshots keep files' old content from a compaction; some outlive the kv_snapshot that they were made for. */
uint64_t kv_snapshots(kv *store);
uint64_t kv_bytes(kv *store, enum kv_family family); /* approximate, on disk and in memory */
/* Around a fork, in the parent before it and in both after: no lock of this folder is held at that moment, so a child can
 * open stores. Those that were open are the parent's; the child leaves them alone. */
void kv_before_fork(void);
void kv_after_fork(bool child);

#endif
