/* The front of a store on disk: small batches go into a log alone, their keys into memory.
 *
 * RocksDB's price for a small batch is a search in a skip list of some 100,000 nodes for each key, 1 to 2 us of cache
 * misses, and a key that changes a thousand times is a thousand nodes. So a small batch is a redo record, and is applied to a
 * tree in memory (memory.c), the level. The record goes into the ring (ring.c), where a crash of the process leaves it; those
 * in the ring become one value of RocksDB's family KV_REDO, and so a part of its log, when kv_sync wants them durable. An
 * encrypted store has no ring: there each record is a value at once. When the ring is full, or the level holds LEVEL_BATCHES
 * batches or LEVEL_BYTES, everything in it is merged: each key once, in order, one batch of RocksDB's. Readers see the level
 * over RocksDB's state as it was when the level began.
 *
 *   a key in KV_REDO      the number of the first batch in it (8, big-endian)
 *   its value             batches, each: varint length; operations
 *   an operation          byte family * 4 + kind; varint key length; key; then for the kind
 *                         0 delete  nothing
 *                         1 put     varint value length; value
 *                         2 patch   varint length of what follows; then what differs from the value in the level:
 *                                   (varint bytes kept, varint n, n bytes) repeated; the same length
 *   the key 8 times ff    the number of the last batch that is in RocksDB's families (8, big-endian); missing: 0
 *
 * In the level a value has one byte more: 1 a value, 0 the key was deleted.
 *
 * F1  The state is RocksDB's families but KV_REDO, overlaid by the level. Nothing but a merge changes RocksDB's families
 *     while a level is the newest, so below, its snapshot, may be taken at any time before the merge.
 * F2  Batches are numbered one by one, large ones too, which are written to RocksDB as they are, behind a merge, with their
 *     number as the last. RocksDB's log keeps a prefix of what was written to it; a record in the ring counts only when its
 *     number follows what that holds. So what is found after a crash is a prefix of all batches, whichever of the two lost
 *     more.
 * F3  A merge does not change the state: it is one batch with the merged number in it. Records up to that number are never
 *     read again.
 * F4  Written but not applied (out of memory in between) cannot be told from lost: the store refuses writes from then on,
 *     and what was logged is there at the next open. So it does when a write or sync of RocksDB's has failed.
 * F5  What settles the store (settle, flush, compact, checkpoint, close) merges and forgets the records: RocksDB's tools see
 *     everything then. A compaction, which is what erasing ends with, takes their bytes away, too.
 * F6  A patch is made against the level before its batch, and applied there: a value that is only behind is put whole.
 * Locks: writing (one writer; held over the log's write), then showing (which level is the newest, its snapshot below).
 * Cost of a small batch: 0.6 us for the ring (encrypted: the log, 3-4), 0.3 us a key; of a merge 0.7 us a key.
 */
#include "kv/front.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "kv/base/key.h"
#include "kv/base/leave.h"
#include "kv/fault.h"
#include "kv/ring.h"

enum {
  SMALL_BYTES = 16 << 10, /* batches up to this go to the front */
  SMALL_NOTE_BYTES = 64 << 10,
  LEVEL_BATCHES = 2048,
  LEVEL_BYTES = 4 << 20,
  LEVEL_SHARE = 16 /* of what RocksDB keeps in memory of a family */
};
enum { TAG_DELETED = 0, TAG_VALUE = 1 };
enum { KIND_DELETE = 0, KIND_PUT = 1, KIND_PATCH = 2 };
static const uint8_t merged_key[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static atomic_int merge_after; /* kv_fault_merge_after */
void kv_fault_merge_after(int batches) {
  atomic_store(&merge_after, batches);
}

typedef struct level {
  atomic_int references; /* the store's, and one a snapshot */
  kv *behind, *memory;
  kv_snapshot *below;    /* F1; NULL: nobody has asked yet. Set under showing */
  size_t batches, bytes; /* under writing */
} level;

typedef struct front_store {
  kv base;
  kv *behind;
  bool read_only;
  size_t level_bytes;
  pthread_mutex_t writing;
  kv_batch *to_behind, *to_memory;
  ring *ring;  /* NULL: encrypted, or only read */
  buf waiting; /* what is in the ring alone, as a value of KV_REDO */
  uint64_t waiting_first;
  buf record, tagged, patch;
  uint64_t next;      /* number of the next batch */
  uint64_t forgotten; /* records below it are */
  bool compacted;     /* ... and nothing of them is in a table file */
  status failed;      /* F4: out of memory */
  atomic_bool behind_failed;
  kv memory_owner; /* of values in levels, which may go before them */
  pthread_mutex_t showing;
  level *newest;
} front_store;

typedef struct front_snapshot {
  level *level;
  kv_snapshot *memory;
} front_snapshot;

typedef struct front_batch {
  kv_batch base;
  front_store *store;
  buf operations; /* as in a redo record */
  status failed;
} front_batch;

/* ---- levels ---- */

static level *level_new(kv *behind) {
  level *l = calloc(1, sizeof *l);
  if (l && !(l->memory = memory_open())) {
    free(l);
    l = NULL;
  }
  if (!l) return NULL;
  atomic_init(&l->references, 1);
  l->behind = behind;
  return l;
}

static void level_release(level *l) {
  if (!l || atomic_fetch_sub_explicit(&l->references, 1, memory_order_acq_rel) != 1) return;
  kv_snapshot_close(l->behind, l->below);
  kv_close(l->memory);
  free(l);
}

static level *level_newest(front_store *f) {
  pthread_mutex_lock(&f->showing);
  level *l = f->newest;
  atomic_fetch_add_explicit(&l->references, 1, memory_order_relaxed);
  pthread_mutex_unlock(&f->showing);
  return l;
}

static status level_fix(front_store *f) {
  pthread_mutex_lock(&f->showing);
  level *l = f->newest;
  if (!l->below) l->below = kv_snapshot_open(f->behind);
  bool fixed = l->below != NULL;
  pthread_mutex_unlock(&f->showing);
  return fixed ? HDB_OK : kv_fail(HDB_NOMEM, "out of memory");
}

/* The state is all behind; the level is the newest from now on. */
static void level_put(front_store *f, level *fresh) {
  pthread_mutex_lock(&f->showing);
  level *old = f->newest;
  f->newest = fresh;
  pthread_mutex_unlock(&f->showing);
  level_release(old);
}

/* ---- reading ---- */

static kv_snapshot *front_snapshot_open(kv *store) {
  front_store *f = (front_store *)store;
  front_snapshot *s = malloc(sizeof *s);
  if (!s) return NULL;
  pthread_mutex_lock(&f->showing);
  level *l = f->newest;
  if (!l->below) l->below = kv_snapshot_open(f->behind);
  s->memory = l->below ? kv_snapshot_open(l->memory) : NULL;
  s->level = l;
  if (s->memory) atomic_fetch_add_explicit(&l->references, 1, memory_order_relaxed);
  pthread_mutex_unlock(&f->showing);
  if (s->memory) return (kv_snapshot *)s;
  free(s);
  return NULL;
}

static void front_snapshot_close(kv *store, kv_snapshot *snapshot) {
  front_snapshot *s = (front_snapshot *)snapshot;
  kv_snapshot_close(s->level->memory, s->memory);
  level_release(s->level);
  free(s);
}

static status front_get(kv *store, const kv_snapshot *snapshot, enum kv_family family, slice key,
                        kv_value *out) {
  front_store *f = (front_store *)store;
  const front_snapshot *s = (const front_snapshot *)snapshot;
  level *own = s ? NULL : level_newest(f), *l = s ? s->level : own;
  status rc = kv_get(l->memory, s ? s->memory : NULL, family, key, out);
  if (rc == HDB_NOTFOUND) {
    rc = family == KV_REDO ? HDB_NOTFOUND : kv_get(f->behind, s ? l->below : NULL, family, key, out);
  } else if (rc == HDB_OK) {
    bool deleted = out->data.p[--out->data.n] == TAG_DELETED;
    out->owner = &f->memory_owner;
    if (deleted) kv_release(out);
    if (deleted) rc = HDB_NOTFOUND;
  }
  level_release(own);
  return rc;
}

/* Iterators: two sides. Forward, both stand at their first key that is not below the shown one; backward at their last
 * that is not above it. With equal keys the level's counts. */
typedef struct front_iter {
  kv_iter base;
  kv *store;
  front_snapshot *own; /* NULL: the caller's */
  kv_iter *above, *below;
  int direction;
  bool at_above, at_below; /* which of them stand at the shown key */
  buf turned;
} front_iter;

static void show(front_iter *it, bool above) {
  const kv_iter *from = above ? it->above : it->below;
  it->base.valid = true;
  it->base.key = from->key;
  it->base.value = above ? slice_of(from->value.p, from->value.n - 1) : from->value;
}

/* Both sides stand where their next candidates are. */
static void settle_here(front_iter *it) {
  it->base.valid = false;
  for (;;) {
    kv_iter *a = it->above, *b = it->below;
    if (b->error != HDB_OK || a->error != HDB_OK) {
      it->base.error = b->error != HDB_OK ? b->error : a->error;
      return;
    }
    if (!a->valid && !b->valid) return;
    int c = !a->valid ? 1 : !b->valid ? -1 : slice_compare(a->key, b->key) * it->direction;
    it->at_above = c <= 0, it->at_below = c >= 0;
    if (c > 0) {
      show(it, false);
      return;
    }
    if (a->value.p[a->value.n - 1] == TAG_VALUE) {
      show(it, true);
      return;
    }
    if (it->direction > 0) {
      a->next(a);
      if (c == 0) b->next(b);
    } else {
      a->prev(a);
      if (c == 0) b->prev(b);
    }
  }
}

static void turn(front_iter *it, int direction) {
  buf_clear(&it->turned);
  buf_append(&it->turned, it->base.key.p, it->base.key.n);
  slice key = buf_slice(&it->turned);
  kv_iter *a = it->above, *b = it->below;
  it->direction = direction;
  if (buf_failed(&it->turned)) {
    it->base.error = HDB_NOMEM;
    return;
  }
  if (direction > 0) {
    if (!it->at_above) a->seek(a, key);
    if (!it->at_below) b->seek(b, key);
  } else {
    if (!it->at_above) a->seek_for_prev(a, key);
    if (!it->at_below) b->seek_for_prev(b, key);
  }
}

static void front_next(kv_iter *base) {
  front_iter *it = (front_iter *)base;
  if (!base->valid) return;
  if (it->direction < 0) turn(it, 1);
  base->valid = false;
  if (base->error != HDB_OK) return;
  if (it->at_above) it->above->next(it->above);
  if (it->at_below) it->below->next(it->below);
  settle_here(it);
}

static void front_prev(kv_iter *base) {
  front_iter *it = (front_iter *)base;
  if (!base->valid) return;
  if (it->direction > 0) turn(it, -1);
  base->valid = false;
  if (base->error != HDB_OK) return;
  if (it->at_above) it->above->prev(it->above);
  if (it->at_below) it->below->prev(it->below);
  settle_here(it);
}

static void front_seek(kv_iter *base, slice key) {
  front_iter *it = (front_iter *)base;
  it->direction = 1;
  it->above->seek(it->above, key);
  it->below->seek(it->below, key);
  settle_here(it);
}

static void front_seek_for_prev(kv_iter *base, slice key) {
  front_iter *it = (front_iter *)base;
  it->direction = -1;
  it->above->seek_for_prev(it->above, key);
  it->below->seek_for_prev(it->below, key);
  settle_here(it);
}

static void front_seek_last(kv_iter *base) {
  front_iter *it = (front_iter *)base;
  it->direction = -1;
  it->above->seek_last(it->above);
  it->below->seek_last(it->below);
  settle_here(it);
}

static void front_iter_close(kv_iter *base) {
  front_iter *it = (front_iter *)base;
  if (it->above) it->above->close(it->above);
  if (it->below) it->below->close(it->below);
  if (it->own) front_snapshot_close(it->store, (kv_snapshot *)it->own);
  buf_free(&it->turned);
  free(it);
}

static status open_merged(const front_snapshot *s, kv_iter *above, enum kv_family family, slice lower,
                          slice upper, front_iter **out) {
  kv_iter *below;
  level *l = s->level;
  status rc = family == KV_REDO
                  ? kv_iter_open(l->memory, s->memory, family, lower, upper, &below) /* nothing, too */
                  : kv_iter_open(l->behind, l->below, family, lower, upper, &below);
  front_iter *it = rc == HDB_OK ? calloc(1, sizeof *it) : NULL;
  *out = it;
  if (rc != HDB_OK) return rc;
  if (!it) {
    below->close(below);
    return kv_fail(HDB_NOMEM, "out of memory");
  }
  it->base = (kv_iter){.error = HDB_OK,
                       .next = front_next,
                       .prev = front_prev,
                       .seek = front_seek,
                       .seek_for_prev = front_seek_for_prev,
                       .seek_last = front_seek_last,
                       .close = front_iter_close};
  it->above = above, it->below = below;
  return HDB_OK;
}

/* Where the level has nothing within the bounds, the iterator is RocksDB's own. */
static status front_iter_open(kv *store, const kv_snapshot *snapshot, enum kv_family family, slice lower,
                              slice upper, kv_iter **out) {
  front_snapshot *own = snapshot ? NULL : (front_snapshot *)front_snapshot_open(store);
  const front_snapshot *s = snapshot ? (const front_snapshot *)snapshot : own;
  kv_iter *above = NULL;
  front_iter *it = NULL;
  status rc = s ? kv_iter_open(s->level->memory, s->memory, family, lower, upper, &above)
                : kv_fail(HDB_NOMEM, "out of memory");
  if (rc == HDB_OK) above->seek(above, slice_of(NULL, 0));
  if (rc == HDB_OK && (above->valid || family == KV_REDO)) {
    rc = open_merged(s, above, family, lower, upper, &it);
    if (rc == HDB_OK) {
      it->store = store, it->own = own;
      *out = &it->base;
      return HDB_OK;
    }
  } else if (rc == HDB_OK) {
    rc = kv_iter_open(s->level->behind, own ? NULL : s->level->below, family, lower, upper, out);
  }
  if (above) above->close(above);
  if (own) front_snapshot_close(store, (kv_snapshot *)own);
  return rc;
}

/* ---- batches ---- */

static kv_batch *front_batch_new(kv *store) {
  front_batch *b = calloc(1, sizeof *b);
  if (!b) return NULL;
  b->base.backend = store->backend;
  b->store = (front_store *)store;
  return &b->base;
}

static void front_batch_clear(kv_batch *batch) {
  front_batch *b = (front_batch *)batch;
  if (b->operations.failed) buf_free(&b->operations);
  buf_clear(&b->operations);
  b->failed = HDB_OK;
}

static void front_batch_free(kv_batch *batch) {
  buf_free(&((front_batch *)batch)->operations);
  free(batch);
}

static void front_batch_put(kv_batch *batch, enum kv_family family, slice key, slice value) {
  buf *b = &((front_batch *)batch)->operations;
  buf_byte(b, (uint8_t)(family * 4 + KIND_PUT));
  buf_varint(b, key.n);
  buf_append(b, key.p, key.n);
  buf_varint(b, value.n);
  buf_append(b, value.p, value.n);
}

static void front_batch_delete(kv_batch *batch, enum kv_family family, slice key) {
  buf *b = &((front_batch *)batch)->operations;
  buf_byte(b, (uint8_t)(family * 4 + KIND_DELETE));
  buf_varint(b, key.n);
  buf_append(b, key.p, key.n);
}

typedef struct operation {
  enum kv_family family;
  uint8_t kind;
  slice key, value; /* of a patch: its parts */
} operation;

static bool take_bytes(slice *rest, slice *out) {
  uint64_t n;
  const uint8_t *end = rest->p + rest->n, *p = varint_get(rest->p, end, &n);
  if (!p || n > (size_t)(end - p)) return false;
  *out = slice_of(p, n);
  *rest = slice_of(p + n, (size_t)(end - p) - n);
  return true;
}

/* The next of a batch's or record's operations; false: there is none, or (rest is not empty) the bytes are damaged. */
static bool take_operation(slice *rest, operation *o) {
  slice at = *rest;
  if (!at.n) return false;
  o->family = at.p[0] >> 2;
  o->kind = at.p[0] & 3;
  o->value = slice_of(NULL, 0);
  at = slice_of(at.p + 1, at.n - 1);
  if (o->family >= KV_FAMILIES || o->family == KV_REDO || o->kind > KIND_PATCH) return false;
  if (!take_bytes(&at, &o->key) || (o->kind != KIND_DELETE && !take_bytes(&at, &o->value))) return false;
  *rest = at;
  return true;
}

static bool within(slice key, slice from, slice to) {
  return slice_compare(key, from) >= 0 && slice_compare(key, to) < 0;
}

/* What is there now, and what this batch has put. */
static void front_batch_delete_range(kv_batch *batch, enum kv_family family, slice from, slice to) {
  front_batch *b = (front_batch *)batch;
  buf deleted = BUF_INIT;
  operation o;
  kv_iter *it;
  for (slice rest = buf_slice(&b->operations); take_operation(&rest, &o);)
    if (o.kind == KIND_PUT && o.family == family && within(o.key, from, to)) {
      buf_varint(&deleted, o.key.n);
      buf_append(&deleted, o.key.p, o.key.n);
    }
  for (slice rest = buf_slice(&deleted), key; rest.n && take_bytes(&rest, &key);)
    front_batch_delete(batch, family, key);
  status rc = buf_failed(&deleted) ? kv_fail(HDB_NOMEM, "out of memory")
                                   : front_iter_open(&b->store->base, NULL, family, from, to, &it);
  if (rc == HDB_OK) {
    for (it->seek(it, from); it->valid; it->next(it)) front_batch_delete(batch, family, it->key);
    rc = it->error;
    it->close(it);
  }
  buf_free(&deleted);
  if (rc != HDB_OK) b->failed = rc;
}

static size_t front_batch_bytes(const kv_batch *batch) {
  return ((const front_batch *)batch)->operations.n;
}

/* ---- writing: with the lock `writing` ---- */

/* What a call of the store behind returned; F4. */
static status noted(front_store *f, status rc) {
  if (rc != HDB_OK && rc != HDB_READONLY && rc != HDB_NOMEM) atomic_store(&f->behind_failed, true);
  return rc;
}

static status writable(front_store *f) {
  if (f->failed) return kv_fail(f->failed, "the store refuses writes since it was out of memory");
  return atomic_load(&f->behind_failed) ? kv_sync(f->behind) : HDB_OK; /* which has the words */
}

static slice number_key(uint8_t to[8], uint64_t number) {
  put_be64(to, number);
  return slice_of(to, 8);
}

enum { PATCH_WORD = 8, PATCH_MIN = 64 };

/* What turns old into now, which is as long, as parts; false: it is not much shorter. */
static bool make_patch(buf *out, slice old, slice now) {
  buf_clear(out);
  if (old.n != now.n || now.n < PATCH_MIN) return false;
  for (size_t at = 0, kept = 0; at < now.n;) {
    size_t n = now.n - at < PATCH_WORD ? now.n - at : PATCH_WORD;
    if (memcmp(old.p + at, now.p + at, n) == 0) {
      kept += n, at += n;
      continue;
    }
    size_t from = at;
    while (at < now.n) {
      n = now.n - at < PATCH_WORD ? now.n - at : PATCH_WORD;
      if (memcmp(old.p + at, now.p + at, n) == 0) break;
      at += n;
    }
    buf_varint(out, kept);
    buf_varint(out, at - from);
    buf_append(out, now.p + from, at - from);
    kept = 0;
    if (out->n > now.n / 2) return false;
  }
  return !buf_failed(out);
}

static bool apply_patch(slice parts, uint8_t *value, size_t value_n) {
  for (size_t at = 0; parts.n;) {
    uint64_t kept;
    slice bytes;
    const uint8_t *end = parts.p + parts.n, *p = varint_get(parts.p, end, &kept);
    if (!p || kept > value_n - at) return false;
    parts = slice_of(p, (size_t)(end - p));
    if (!take_bytes(&parts, &bytes) || bytes.n > value_n - at - kept) return false;
    if (bytes.n) memcpy(value + at + kept, bytes.p, bytes.n);
    at += kept + bytes.n;
  }
  return true;
}

/* One operation for the level. */
static status stage(front_store *f, const operation *o) {
  status rc = HDB_OK;
  buf_clear(&f->tagged);
  if (o->kind == KIND_PATCH) {
    kv_value old;
    rc = kv_get(f->newest->memory, NULL, o->family, o->key, &old);
    if (rc == HDB_NOTFOUND) return HDB_CORRUPT;
    TRY(rc);
    buf_append(&f->tagged, old.data.p, old.data.n);
    if (!buf_failed(&f->tagged) && !apply_patch(o->value, f->tagged.p, f->tagged.n - 1)) rc = HDB_CORRUPT;
    kv_release(&old);
  } else {
    buf_append(&f->tagged, o->value.p, o->value.n);
    buf_byte(&f->tagged, o->kind == KIND_PUT ? TAG_VALUE : TAG_DELETED);
  }
  if (buf_failed(&f->tagged)) return kv_fail(HDB_NOMEM, "out of memory");
  kv_batch_put(f->to_memory, o->family, o->key, buf_slice(&f->tagged));
  return rc;
}

static status stage_all(front_store *f, slice operations) {
  operation o;
  kv_batch_clear(f->to_memory);
  while (take_operation(&operations, &o)) TRY(stage(f, &o));
  return operations.n ? HDB_CORRUPT : HDB_OK;
}

/* The operation as the record has it. */
static status record(front_store *f, const operation *o, slice whole) {
  kv_value old;
  bool patched = false;
  status rc = o->kind == KIND_PUT && o->value.n >= PATCH_MIN
                  ? kv_get(f->newest->memory, NULL, o->family, o->key, &old)
                  : HDB_NOTFOUND;
  if (rc == HDB_OK) {
    patched = old.data.p[old.data.n - 1] == TAG_VALUE &&
              make_patch(&f->patch, slice_of(old.data.p, old.data.n - 1), o->value);
    kv_release(&old);
  } else if (rc != HDB_NOTFOUND) {
    return rc;
  }
  if (patched) {
    buf_byte(&f->record, (uint8_t)(o->family * 4 + KIND_PATCH));
    buf_varint(&f->record, o->key.n);
    buf_append(&f->record, o->key.p, o->key.n);
    buf_varint(&f->record, f->patch.n);
    buf_append(&f->record, f->patch.p, f->patch.n);
  } else {
    buf_append(&f->record, whole.p, whole.n);
  }
  return HDB_OK;
}

static status record_all(front_store *f, slice operations) {
  operation o;
  slice rest = operations;
  buf_clear(&f->record);
  while (take_operation(&rest, &o)) {
    TRY(record(f, &o, slice_of(operations.p, (size_t)(rest.p - operations.p))));
    operations = rest;
  }
  return buf_failed(&f->record) ? kv_fail(HDB_NOMEM, "out of memory") : HDB_OK;
}

static status merge_family(front_store *f, enum kv_family family) {
  kv_iter *it;
  TRY(kv_iter_open(f->newest->memory, NULL, family, slice_of(NULL, 0), slice_of(NULL, 0), &it));
  for (it->seek(it, slice_of(NULL, 0)); it->valid; it->next(it)) {
    slice value = slice_of(it->value.p, it->value.n - 1);
    if (it->value.p[value.n] == TAG_VALUE)
      kv_batch_put(f->to_behind, family, it->key, value);
    else
      kv_batch_delete(f->to_behind, family, it->key);
  }
  status rc = it->error;
  it->close(it);
  return rc;
}

/* RocksDB has what was in the ring alone. */
static void collected(front_store *f) {
  buf_clear(&f->waiting);
  if (f->ring) ring_reset(f->ring);
}

/* F3 */
static status merge(front_store *f) {
  level *fresh = NULL;
  uint8_t from[8], next[8], number[8];
  if (!f->newest->batches) return HDB_OK;
  status rc = writable(f);
  if (rc != HDB_OK) return rc;
  kv_batch_clear(f->to_behind);
  CHECK(level_fix(f));
  for (enum kv_family family = 0; family < KV_FAMILIES; family++) {
    CHECK(noted(f, rocks_make_room(f->behind, family, kv_bytes(f->newest->memory, family))));
    CHECK(merge_family(f, family));
  }
  kv_batch_put(f->to_behind, KV_REDO, slice_of(merged_key, 8), number_key(number, f->next - 1));
  rocks_batch_forget(f->to_behind, KV_REDO, number_key(from, f->forgotten), number_key(next, f->next));
  if (!(fresh = level_new(f->behind))) CHECK(kv_fail(HDB_NOMEM, "out of memory"));
  CHECK(noted(f, kv_write(f->behind, f->to_behind, false)));
  f->forgotten = f->next;
  collected(f);
  level_put(f, fresh);
  fresh = NULL;
out:
  kv_batch_clear(f->to_behind);
  level_release(fresh);
  return rc;
}

static void begin_moment(const kv_moment *m) {
  if (m) m->begin(m->context);
}
static void end_moment(const kv_moment *m, status rc) {
  if (m) m->end(m->context, rc);
}

/* What is in the ring alone becomes a value. */
static status collect(front_store *f, bool sync) {
  uint8_t key[8];
  if (!f->waiting.n) return HDB_OK;
  kv_batch_clear(f->to_behind);
  kv_batch_put(f->to_behind, KV_REDO, number_key(key, f->waiting_first), buf_slice(&f->waiting));
  TRY(noted(f, kv_write(f->behind, f->to_behind, sync)));
  f->compacted = false;
  collected(f);
  return HDB_OK;
}

/* f->record into the ring or, with what is there, behind. */
static status log_record(front_store *f, bool sync) {
  if (!f->waiting.n) f->waiting_first = f->next;
  size_t before = f->waiting.n;
  buf_varint(&f->waiting, f->record.n);
  buf_append(&f->waiting, f->record.p, f->record.n);
  status rc = HDB_NOMEM;
  if (!buf_failed(&f->waiting))
    rc = !sync && f->ring ? ring_append(f->ring, f->next, buf_slice(&f->record)) : HDB_FULL;
  if (rc == HDB_FULL) rc = collect(f, sync);
  if (rc == HDB_OK) return rc;
  f->waiting.n = before, f->waiting.failed = false;
  return rc == HDB_NOMEM ? kv_fail(rc, "out of memory") : rc;
}

static bool is_full(const front_store *f, size_t more) {
  const level *l = f->newest;
  int asked = atomic_load_explicit(&merge_after, memory_order_relaxed);
  if (l->batches >= (asked ? (size_t)asked : LEVEL_BATCHES) || l->bytes >= f->level_bytes) return true;
  return f->ring && !ring_has_room(f->ring, more);
}

static status write_small(front_store *f, slice operations, bool sync, const kv_moment *moment) {
  if (is_full(f, operations.n)) TRY(merge(f));
  level *l = f->newest;
  TRY(stage_all(f, operations));
  TRY(record_all(f, operations));
  TRY(log_record(f, sync));
  f->next++;
  l->batches++, l->bytes += operations.n;
  begin_moment(moment);
  status rc = kv_write(l->memory, f->to_memory, false);
  if (rc != HDB_OK) f->failed = rc; /* F4 */
  end_moment(moment, rc);
  return rc;
}

static status write_large(front_store *f, slice operations, bool sync, bool note, const kv_moment *moment) {
  operation o;
  uint8_t number[8];
  TRY(merge(f));
  TRY(level_fix(f));
  level *fresh = level_new(f->behind);
  if (!fresh) return kv_fail(HDB_NOMEM, "out of memory");
  kv_batch_clear(f->to_behind);
  while (take_operation(&operations, &o)) {
    if (o.kind == KIND_PUT)
      kv_batch_put(f->to_behind, o.family, o.key, o.value);
    else
      kv_batch_delete(f->to_behind, o.family, o.key);
  }
  kv_batch_put(f->to_behind, KV_REDO, slice_of(merged_key, 8), number_key(number, f->next)); /* F2 */
  status rc = noted(f, note ? kv_note(f->behind, f->to_behind) : kv_write(f->behind, f->to_behind, sync));
  kv_batch_clear(f->to_behind);
  if (rc == HDB_OK) {
    f->next++;
    begin_moment(moment);
    level_put(f, fresh);
    end_moment(moment, HDB_OK);
  } else {
    level_release(fresh);
  }
  return rc;
}

enum how { WRITE, WRITE_SYNCED, NOTE, PLACE };

static status write_operations(kv *store, kv_batch *batch, enum how how, const kv_moment *moment) {
  static const size_t small[] = {
      [WRITE] = SMALL_BYTES, [WRITE_SYNCED] = SMALL_BYTES, [NOTE] = SMALL_NOTE_BYTES, [PLACE] = 0};
  bool sync = how == WRITE_SYNCED, note = how == NOTE;
  front_store *f = (front_store *)store;
  front_batch *b = (front_batch *)batch;
  slice operations = buf_slice(&b->operations);
  status rc = b->failed != HDB_OK          ? b->failed
              : buf_failed(&b->operations) ? kv_fail(HDB_NOMEM, "out of memory")
                                           : HDB_OK;
  leave_before_wait();
  pthread_mutex_lock(&f->writing);
  if (rc == HDB_OK) rc = writable(f);
  if (rc == HDB_OK && !operations.n && !sync) {
    begin_moment(moment);
    end_moment(moment, rc);
  } else if (rc == HDB_OK && operations.n && operations.n <= small[how] && !f->read_only) {
    rc = write_small(f, operations, sync, moment);
  } else if (rc == HDB_OK) {
    rc = write_large(f, operations, sync, note, moment);
  }
  pthread_mutex_unlock(&f->writing);
  kv_batch_clear(batch);
  return rc;
}

static status front_write(kv *store, kv_batch *batch, bool sync) {
  return write_operations(store, batch, sync ? WRITE_SYNCED : WRITE, NULL);
}
static status front_write_shown(kv *store, kv_batch *batch, const kv_moment *moment) {
  return write_operations(store, batch, WRITE, moment);
}
static status front_note(kv *store, kv_batch *batch) {
  return write_operations(store, batch, NOTE, NULL);
}
static status front_place(kv *store, kv_batch *batch) {
  return write_operations(store, batch, PLACE, NULL);
}

static status front_sync(kv *store) {
  front_store *f = (front_store *)store;
  leave_before_wait();
  pthread_mutex_lock(&f->writing);
  status rc = collect(f, false);
  pthread_mutex_unlock(&f->writing);
  return rc == HDB_OK ? noted(f, kv_sync(f->behind)) : rc;
}

/* F5 */
static status merge_now(front_store *f) {
  if (f->read_only) return HDB_OK;
  leave_before_wait();
  pthread_mutex_lock(&f->writing);
  status rc = merge(f);
  pthread_mutex_unlock(&f->writing);
  return rc;
}

static status front_flush(kv *store) {
  front_store *f = (front_store *)store;
  TRY(merge_now(f));
  return noted(f, kv_flush(f->behind));
}

/* A store that failed is left as it is: whoever wrote knows of it. */
static status front_settle(kv *store) {
  front_store *f = (front_store *)store;
  bool failed = f->failed || atomic_load(&f->behind_failed);
  status rc = failed ? HDB_OK : merge_now(f), settled = noted(f, kv_settle(f->behind));
  return rc != HDB_OK ? rc : settled;
}

static void front_wake(kv *store) {
  kv_wake(((front_store *)store)->behind);
}

/* A snapshot may keep records: then the next compaction tries again. */
static status compact_records(front_store *f) {
  kv_iter *it;
  pthread_mutex_lock(&f->writing);
  f->compacted = true; /* unless there are new ones meanwhile */
  pthread_mutex_unlock(&f->writing);
  TRY(kv_compact(f->behind, KV_REDO, slice_of(NULL, 0), slice_of(NULL, 0)));
  TRY(kv_iter_open(f->behind, NULL, KV_REDO, slice_of(NULL, 0), slice_of(merged_key, 8), &it));
  it->seek(it, slice_of(NULL, 0));
  status rc = it->error;
  bool kept = it->valid;
  it->close(it);
  pthread_mutex_lock(&f->writing);
  if (kept) f->compacted = false;
  pthread_mutex_unlock(&f->writing);
  return rc;
}

static status front_compact(kv *store, enum kv_family family, slice from, slice to) {
  front_store *f = (front_store *)store;
  TRY(merge_now(f));
  pthread_mutex_lock(&f->writing);
  bool again = !f->compacted;
  status rc = f->ring ? ring_wipe(f->ring) : HDB_OK;
  pthread_mutex_unlock(&f->writing);
  TRY(rc);
  if (again) TRY(compact_records(f));
  return kv_compact(f->behind, family, from, to);
}

static status front_checkpoint(kv *store, const char *path) {
  front_store *f = (front_store *)store;
  TRY(merge_now(f));
  return kv_checkpoint(f->behind, path);
}

static uint64_t front_snapshots(kv *store) {
  return kv_snapshots(((front_store *)store)->behind);
}

static uint64_t front_bytes(kv *store, enum kv_family family) {
  front_store *f = (front_store *)store;
  level *l = level_newest(f);
  uint64_t n = kv_bytes(f->behind, family) + kv_bytes(l->memory, family);
  level_release(l);
  return n;
}

static void front_release(void *pin) {
  (void)pin;
} /* a value's owner is the store that has it */

/* A store that failed is left as it is. */
static status front_close(kv *store) {
  front_store *f = (front_store *)store;
  bool failed = f->failed || atomic_load(&f->behind_failed);
  status rc = f->newest && !failed ? merge_now(f) : HDB_OK;
  bool settled = !failed && !f->read_only && rc == HDB_OK;
  if (f->to_behind) kv_batch_free(f->to_behind);
  if (f->to_memory) kv_batch_free(f->to_memory);
  level_release(f->newest);
  status closed = kv_close(f->behind);
  ring_close(f->ring, settled && closed == HDB_OK);
  pthread_mutex_destroy(&f->writing);
  pthread_mutex_destroy(&f->showing);
  buf_free(&f->record);
  buf_free(&f->tagged);
  buf_free(&f->patch);
  buf_free(&f->waiting);
  free(f);
  return rc != HDB_OK ? rc : closed;
}

static const kv_backend front_backend = {
    .close = front_close,
    .get = front_get,
    .release = front_release,
    .snapshot_open = front_snapshot_open,
    .snapshot_close = front_snapshot_close,
    .iter_open = front_iter_open,
    .batch_new = front_batch_new,
    .batch_free = front_batch_free,
    .batch_clear = front_batch_clear,
    .batch_put = front_batch_put,
    .batch_delete = front_batch_delete,
    .batch_delete_range = front_batch_delete_range,
    .batch_bytes = front_batch_bytes,
    .write = front_write,
    .write_shown = front_write_shown,
    .place = front_place,
    .note = front_note,
    .sync = front_sync,
    .flush = front_flush,
    .settle = front_settle,
    .wake = front_wake,
    .compact = front_compact,
    .checkpoint = front_checkpoint,
    .snapshots = front_snapshots,
    .bytes = front_bytes,
};

/* ---- opening ---- */

static status damaged(status rc) {
  return rc == HDB_CORRUPT ? kv_fail(rc, "a redo record is damaged") : rc;
}

static status load_merged(front_store *f, uint64_t *merged) {
  kv_value value;
  *merged = 0;
  status rc = kv_get(f->behind, NULL, KV_REDO, slice_of(merged_key, 8), &value);
  if (rc == HDB_NOTFOUND) return HDB_OK;
  TRY(rc);
  if (value.data.n == 8)
    *merged = get_be64(value.data.p);
  else
    rc = HDB_CORRUPT;
  kv_release(&value);
  return rc;
}

static status load_batch(void *context, uint64_t number, slice operations) {
  front_store *f = context;
  if (number != f->next) return HDB_CORRUPT; /* F2 */
  TRY(stage_all(f, operations));
  f->next++;
  f->newest->batches++, f->newest->bytes += operations.n;
  return kv_write(f->newest->memory, f->to_memory, false);
}

static status load_value(front_store *f, slice key, slice batches) {
  slice operations;
  if (key.n != 8 || get_be64(key.p) != f->next) return HDB_CORRUPT; /* F2 */
  while (batches.n && take_bytes(&batches, &operations)) TRY(load_batch(f, f->next, operations));
  return batches.n ? HDB_CORRUPT : HDB_OK;
}

/* A record of the ring is in RocksDB's log from now on, or in the level alone, which is the same to who only reads. */
static status load_from_ring(void *context, uint64_t number, slice operations) {
  front_store *f = context;
  TRY(load_batch(f, number, operations));
  if (!f->waiting.n) f->waiting_first = number;
  buf_varint(&f->waiting, operations.n);
  buf_append(&f->waiting, operations.p, operations.n);
  return buf_failed(&f->waiting) ? HDB_NOMEM : HDB_OK;
}

static status load(front_store *f) {
  uint64_t merged;
  uint8_t first[8];
  kv_iter *it;
  TRY(load_merged(f, &merged));
  f->forgotten = f->next = merged + 1;
  TRY(kv_iter_open(f->behind, NULL, KV_REDO, number_key(first, f->next), slice_of(merged_key, 8), &it));
  status rc = HDB_OK;
  for (it->seek(it, slice_of(NULL, 0)); it->valid && rc == HDB_OK; it->next(it))
    rc = load_value(f, it->key, it->value);
  if (rc == HDB_OK) rc = it->error;
  it->close(it);
  if (rc == HDB_OK && f->ring) rc = ring_read(f->ring, f->next, load_from_ring, f);
  return rc == HDB_OK && !f->read_only ? collect(f, true) : rc; /* what is seen from now on must not go */
}

status front_open(kv *behind, const char *path, const kv_options *options, kv **out) {
  front_store *f = calloc(1, sizeof *f);
  if (!f) {
    kv_close(behind);
    return kv_fail(HDB_NOMEM, "out of memory");
  }
  f->base.backend = &front_backend;
  f->behind = behind, f->read_only = options->read_only;
  f->level_bytes = rocks_log_bytes(options) / LEVEL_SHARE < LEVEL_BYTES
                       ? rocks_log_bytes(options) / LEVEL_SHARE
                       : LEVEL_BYTES;
  pthread_mutex_init(&f->writing, NULL);
  pthread_mutex_init(&f->showing, NULL);
  f->newest = level_new(behind);
  f->to_behind = kv_batch_new(behind);
  f->to_memory = f->newest ? kv_batch_new(f->newest->memory) : NULL;
  f->ring = options->key ? NULL : ring_new(path);
  if (f->newest) f->memory_owner.backend = f->newest->memory->backend;
  status rc = f->to_memory && f->to_behind && (options->key || f->ring) ? damaged(load(f))
                                                                        : kv_fail(HDB_NOMEM, "out of memory");
  if (rc == HDB_OK) {
    *out = &f->base;
    return HDB_OK;
  }
  f->failed = rc; /* nothing is merged */
  front_close(&f->base);
  return rc;
}
