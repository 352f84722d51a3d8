/* The memory backend: seven trees (tree.h) under one mutex; snapshots are read without it.
 *
 * A read of the newest state (snapshot NULL) takes the mutex for the search and pins the cell; an iterator over
 * the newest state holds a snapshot of its own. Snapshots opened with no write in between are one and the same.
 *
 * A batch makes its cells when it is filled, so a write only links them. Either all of a batch is applied or
 * nothing (KV1): for a small one all nodes it can need are reserved first; a large one runs against a snapshot
 * that is its way back. The only failure is HDB_NOMEM, after which the store is what it was and goes on.
 */
#include "kv/backend.h"
#include "kv/tree.h"

#include <pthread.h>
#include <stdlib.h>

enum { SMALL_BATCH = 32, SMALL_KEY = 512 };

typedef struct memory_store {
  kv base;
  pthread_mutex_t mutex;
  tree_heap heap;
  tree_node *root[KV_FAMILIES];
  int64_t bytes[KV_FAMILIES];
  bool written;          /* since the newest snapshot was opened */
  tree_snapshot *spare;  /* a closed snapshot's struct, for the next one */
} memory_store;

enum memory_op_kind { OP_PUT, OP_DELETE, OP_DELETE_RANGE };
typedef struct memory_op {
  uint8_t kind, family;
  tree_cell *cell; /* delete: the key alone; range: from as key, to as value */
} memory_op;
typedef struct memory_batch {
  kv_batch base;
  memory_op *op;
  size_t n, capacity, bytes, key_max;
  bool failed, has_range;
} memory_batch;

/* ---- snapshots ---- */

static tree_snapshot *snapshot_locked(memory_store *m) {
  tree_snapshot *s = m->heap.newest;
  if (s && !m->written) {
    s->references++;
    return s;
  }
  s = m->spare ? m->spare : malloc(sizeof *s);
  m->spare = NULL;
  if (!s) return NULL;
  tree_snapshot_link(&m->heap, s, m->root);
  m->written = false;
  return s;
}

static kv_snapshot *memory_snapshot_open(kv *store) {
  memory_store *m = (memory_store *)store;
  pthread_mutex_lock(&m->mutex);
  tree_snapshot *s = snapshot_locked(m);
  pthread_mutex_unlock(&m->mutex);
  if (!s) kv_fail(HDB_NOMEM, "out of memory");
  return (kv_snapshot *)s;
}

static void snapshot_close(memory_store *m, tree_snapshot *s) {
  tree_object *garbage = NULL;
  pthread_mutex_lock(&m->mutex);
  if (--s->references == 0) {
    if (s == m->heap.newest) m->written = true; /* the next older one shows an older state */
    garbage = tree_snapshot_unlink(&m->heap, s);
    if (m->spare) free(s);
    else m->spare = s;
  }
  pthread_mutex_unlock(&m->mutex);
  tree_free_list(garbage);
}

static void memory_snapshot_close(kv *store, kv_snapshot *snapshot) {
  snapshot_close((memory_store *)store, (tree_snapshot *)snapshot);
}

/* ---- reading ---- */

static status memory_get(kv *store, const kv_snapshot *snapshot, enum kv_family family, slice key, kv_value *out) {
  memory_store *m = (memory_store *)store;
  tree_cell *c;
  if (snapshot) {
    c = tree_find(((const tree_snapshot *)snapshot)->root[family], key);
    if (c) atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
  } else {
    pthread_mutex_lock(&m->mutex);
    c = tree_find(m->root[family], key);
    if (c) atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
    pthread_mutex_unlock(&m->mutex);
  }
  out->pin = c;
  out->owner = store;
  if (!c) {
    out->data = slice_of(NULL, 0);
    return HDB_NOTFOUND;
  }
  out->data = tree_value(c);
  return HDB_OK;
}

static void memory_release(void *pin) { tree_cell_release(pin); }

/* ---- iterators ---- */

typedef struct memory_iter {
  kv_iter base;
  memory_store *store;
  tree_snapshot *own; /* NULL: the caller's snapshot */
  tree_node *root;
  slice lower, upper;     /* in data */
  unsigned first, end;    /* cells [first, end) of the present leaf are within the bounds */
  tree_path path;
  uint8_t data[];
} memory_iter;

static inline struct tree_step *leaf_of(memory_iter *it) { return &it->path.step[it->path.depth - 1]; }

static void enter_leaf(memory_iter *it) {
  const tree_node *leaf = leaf_of(it)->node;
  it->first = it->lower.n ? tree_leaf_below(leaf, it->lower) : 0;
  it->end = it->upper.n ? tree_leaf_below(leaf, it->upper) : leaf->n;
}

static inline void show(memory_iter *it) {
  const struct tree_step *s = leaf_of(it);
  const tree_cell *c = s->node->cell[s->index];
  it->base.valid = true;
  it->base.key = tree_key(c);
  it->base.value = tree_value(c);
}

/* The index is at or after `end`: the next leaf's first cell, unless a bound or the end is reached. */
static void show_forward(memory_iter *it) {
  while (leaf_of(it)->index >= it->end) {
    if (it->end < leaf_of(it)->node->n || !tree_next_leaf(&it->path)) {
      it->base.valid = false;
      return;
    }
    enter_leaf(it);
    if (it->end == 0) break;
  }
  if (leaf_of(it)->index < it->end) show(it);
  else it->base.valid = false;
}

/* To the cell before the index, in this leaf or an earlier one. */
static void show_backward(memory_iter *it) {
  if (leaf_of(it)->index > it->end) leaf_of(it)->index = it->end;
  while (leaf_of(it)->index <= it->first) {
    if (it->first > 0 || !tree_prev_leaf(&it->path)) {
      it->base.valid = false;
      return;
    }
    enter_leaf(it);
    leaf_of(it)->index = it->end;
  }
  leaf_of(it)->index--;
  show(it);
}

static void memory_next(kv_iter *base) {
  memory_iter *it = (memory_iter *)base;
  if (!base->valid) return;
  if (++leaf_of(it)->index < it->end) show(it);
  else show_forward(it);
}

static void memory_prev(kv_iter *base) {
  memory_iter *it = (memory_iter *)base;
  if (!base->valid) return;
  if (leaf_of(it)->index > it->first) {
    leaf_of(it)->index--;
    show(it);
  } else {
    show_backward(it);
  }
}

static bool position(memory_iter *it, slice key) {
  bool equal = tree_seek(&it->path, it->root, key);
  enter_leaf(it);
  return equal;
}

static void memory_seek(kv_iter *base, slice key) {
  memory_iter *it = (memory_iter *)base;
  base->valid = false;
  if (!it->root) return;
  if (slice_compare(key, it->lower) < 0) key = it->lower;
  position(it, key);
  show_forward(it);
}

static void memory_seek_for_prev(kv_iter *base, slice key) {
  memory_iter *it = (memory_iter *)base;
  base->valid = false;
  if (!it->root) return;
  bool clamped = it->upper.n && slice_compare(key, it->upper) >= 0;
  if (position(it, clamped ? it->upper : key) && !clamped) leaf_of(it)->index++; /* the equal key itself counts */
  show_backward(it);
}

static void memory_seek_last(kv_iter *base) {
  memory_iter *it = (memory_iter *)base;
  if (it->upper.n) {
    memory_seek_for_prev(base, it->upper);
    return;
  }
  base->valid = false;
  if (!it->root) return;
  tree_node *x = it->root;
  for (it->path.depth = 0;; x = x->child[x->n - 1]) {
    struct tree_step *s = &it->path.step[it->path.depth++];
    s->node = x;
    s->index = x->level ? x->n - 1u : x->n;
    if (!x->level) break;
  }
  enter_leaf(it);
  show_backward(it);
}

static void memory_iter_close(kv_iter *base) {
  memory_iter *it = (memory_iter *)base;
  if (it->own) snapshot_close(it->store, it->own);
  free(it);
}

static status memory_iter_open(kv *store, const kv_snapshot *snapshot, enum kv_family family, slice lower, slice upper,
                               kv_iter **out) {
  memory_store *m = (memory_store *)store;
  tree_snapshot *own = NULL;
  if (!snapshot && !(own = (tree_snapshot *)memory_snapshot_open(store))) return HDB_NOMEM;
  memory_iter *it = malloc(sizeof *it + lower.n + upper.n);
  if (!it) {
    if (own) snapshot_close(m, own);
    return kv_fail(HDB_NOMEM, "out of memory");
  }
  it->base = (kv_iter){.error = HDB_OK,
                       .next = memory_next,
                       .prev = memory_prev,
                       .seek = memory_seek,
                       .seek_for_prev = memory_seek_for_prev,
                       .seek_last = memory_seek_last,
                       .close = memory_iter_close};
  it->store = m;
  it->own = own;
  it->root = (own ? own : (const tree_snapshot *)snapshot)->root[family];
  if (lower.n) memcpy(it->data, lower.p, lower.n);
  if (upper.n) memcpy(it->data + lower.n, upper.p, upper.n);
  it->lower = slice_of(it->data, lower.n);
  it->upper = slice_of(it->data + lower.n, upper.n);
  *out = &it->base;
  return HDB_OK;
}

/* ---- batches ---- */

static kv_batch *memory_batch_new(kv *store) {
  memory_batch *b = calloc(1, sizeof *b);
  if (b) b->base.backend = store->backend;
  return b ? &b->base : NULL;
}

static void memory_batch_clear(kv_batch *batch) {
  memory_batch *b = (memory_batch *)batch;
  for (size_t i = 0; i < b->n; i++)
    if (b->op[i].cell) tree_cell_release(b->op[i].cell);
  b->n = b->bytes = b->key_max = 0;
  b->failed = b->has_range = false;
}

static void memory_batch_free(kv_batch *batch) {
  memory_batch_clear(batch);
  free(((memory_batch *)batch)->op);
  free(batch);
}

static void add_op(kv_batch *batch, enum memory_op_kind kind, enum kv_family family, slice key, slice value) {
  memory_batch *b = (memory_batch *)batch;
  if (b->failed) return;
  if (b->n == b->capacity) {
    size_t capacity = b->capacity ? b->capacity * 2 : 16;
    memory_op *op = realloc(b->op, capacity * sizeof *op);
    if (!op) {
      b->failed = true;
      return;
    }
    b->op = op;
    b->capacity = capacity;
  }
  tree_cell *c = tree_cell_new(key, value);
  if (!c) {
    b->failed = true;
    return;
  }
  b->op[b->n++] = (memory_op){(uint8_t)kind, (uint8_t)family, c};
  b->bytes += key.n + value.n + 16;
  if (key.n > b->key_max) b->key_max = key.n;
  if (kind == OP_DELETE_RANGE) b->has_range = true;
}

static void memory_batch_put(kv_batch *batch, enum kv_family family, slice key, slice value) {
  add_op(batch, OP_PUT, family, key, value);
}
static void memory_batch_delete(kv_batch *batch, enum kv_family family, slice key) {
  add_op(batch, OP_DELETE, family, key, slice_of(NULL, 0));
}
static void memory_batch_delete_range(kv_batch *batch, enum kv_family family, slice from, slice to) {
  add_op(batch, OP_DELETE_RANGE, family, from, to);
}
static size_t memory_batch_bytes(const kv_batch *batch) { return ((const memory_batch *)batch)->bytes; }

/* ---- writing ---- */

static bool apply(memory_store *m, memory_op *op, bool reserve_each) {
  tree_node **root = &m->root[op->family];
  int64_t *growth = &m->bytes[op->family];
  if (op->kind == OP_PUT) {
    tree_put(&m->heap, root, op->cell, growth);
    op->cell = NULL; /* the tree has it */
  } else if (op->kind == OP_DELETE) {
    tree_delete(&m->heap, root, tree_key(op->cell), growth);
  } else {
    while (tree_delete_some(&m->heap, root, tree_key(op->cell), tree_value(op->cell), growth))
      if (reserve_each && !tree_reserve(&m->heap, 1)) return false;
  }
  return true;
}

static bool apply_large(memory_store *m, memory_batch *b) {
  tree_snapshot back;
  int64_t bytes[KV_FAMILIES];
  memcpy(bytes, m->bytes, sizeof bytes);
  tree_snapshot_link(&m->heap, &back, m->root);
  bool ok = true;
  for (size_t i = 0; ok && i < b->n; i++) ok = tree_reserve(&m->heap, 1) && apply(m, &b->op[i], true);
  if (!ok) {
    for (int f = 0; f < KV_FAMILIES; f++) tree_free_since(m->root[f], back.epoch);
    memcpy(m->root, back.root, sizeof m->root);
    memcpy(m->bytes, bytes, sizeof bytes);
    back.dead = NULL; /* all of it is in the tree again */
  }
  tree_free_list(tree_snapshot_unlink(&m->heap, &back));
  return ok;
}

static status memory_write(kv *store, kv_batch *batch, bool sync) {
  memory_store *m = (memory_store *)store;
  memory_batch *b = (memory_batch *)batch;
  bool ok = !b->failed;
  if (ok && b->n) {
    pthread_mutex_lock(&m->mutex);
    m->written = true;
    if (b->key_max > m->heap.key_max) m->heap.key_max = b->key_max;
    if (b->n <= SMALL_BATCH && !b->has_range && m->heap.key_max <= SMALL_KEY) {
      ok = tree_reserve(&m->heap, b->n);
      for (size_t i = 0; ok && i < b->n; i++) apply(m, &b->op[i], false);
    } else {
      ok = apply_large(m, b);
    }
    pthread_mutex_unlock(&m->mutex);
  }
  memory_batch_clear(batch);
  return ok ? HDB_OK : kv_fail(HDB_NOMEM, "out of memory");
}

static status memory_nothing(kv *store) { return HDB_OK; }
static status memory_compact(kv *store, enum kv_family family, slice from, slice to) { return HDB_OK; }

static uint64_t memory_bytes(kv *store, enum kv_family family) {
  memory_store *m = (memory_store *)store;
  pthread_mutex_lock(&m->mutex);
  int64_t n = m->bytes[family];
  pthread_mutex_unlock(&m->mutex);
  return (uint64_t)n;
}

/* ---- open and close ---- */

static status memory_close(kv *store) {
  memory_store *m = (memory_store *)store;
  for (int f = 0; f < KV_FAMILIES; f++) tree_free_since(m->root[f], 0);
  tree_heap_free(&m->heap);
  free(m->spare);
  pthread_mutex_destroy(&m->mutex);
  free(m);
  return HDB_OK;
}

static const kv_backend memory_backend = {
    .close = memory_close,
    .get = memory_get,
    .release = memory_release,
    .snapshot_open = memory_snapshot_open,
    .snapshot_close = memory_snapshot_close,
    .iter_open = memory_iter_open,
    .batch_new = memory_batch_new,
    .batch_free = memory_batch_free,
    .batch_clear = memory_batch_clear,
    .batch_put = memory_batch_put,
    .batch_delete = memory_batch_delete,
    .batch_delete_range = memory_batch_delete_range,
    .batch_bytes = memory_batch_bytes,
    .write = memory_write,
    .sync = memory_nothing,
    .flush = memory_nothing,
    .settle = memory_nothing,
    .compact = memory_compact,
    .bytes = memory_bytes,
};

kv *memory_open(void) {
  memory_store *m = calloc(1, sizeof *m);
  if (!m) return NULL;
  m->base.backend = &memory_backend;
  pthread_mutex_init(&m->mutex, NULL);
  tree_heap_init(&m->heap);
  return &m->base;
}
