/* The hot cache: groups as they are now, so that repeated point reads and the committer need no kv call.
 *
 * A skip list ordered by (tree, lower bound), read without a lock, changed under one. A node has a bound and points
 * to the group's bytes, which are counted by reference. What is unlinked is freed when no reader can still look at
 * it: a reader announces the epoch in which it looks, an unlinked thing remembers the epoch in which it was unlinked.
 *
 * H1  A group in here is the newest, or the one that the commit under way will make the newest (its `since` is that
 *     commit's time, which no view has reached). So a view uses it if since <= view time, else it reads its snapshot.
 * H2  touched[hash of (tree, bound)] is the time of the newest commit, published or under way, that put or deleted
 *     such a group. A reader's offer is taken only if that is <= his view's time (checked under the lock). So nothing
 *     stale gets in, whatever happened between his reading and his offer.
 * H3  The committer replaces and removes groups before he writes to kv, so before `visible` moves. If the write fails
 *     the cache is emptied.
 * H4  Ranges of groups in here do not overlap at one time, and end where the next group begins: a commit that moves a
 *     bound rewrites the group left of it, or removes it from here (as touched), and deletes the one that it takes in.
 * Eviction is a clock over the nodes: a reader sets the node's mark, the hand takes it away.
 * Cost: a hit 100-200 ns, an offer 0.5 us.
 */
#include "mvcc/cache.h"

#include <stdlib.h>

enum { LEVELS = 14, TOUCHED = 4096, RETIRED_MAX = 256 };

typedef struct node {
  uint64_t head; /* the bound's first 8 bytes as a number: most comparisons end here, in the line of `next` */
  uint32_t tree, lower_n;
  int level;
  atomic_bool used;
  _Atomic(cached *) group;
  struct node *ring_next, *ring_previous; /* the clock; under the lock */
  const uint8_t *lower;
  _Atomic(struct node *) next[];
} node;

typedef struct retired {
  uint64_t epoch;
  node *node;    /* freed, or */
  cached *group; /* released */
} retired;

struct cache {
  pthread_mutex_t lock;
  _Atomic uint64_t epoch;
  node *head; /* LEVELS high, no group */
  node *hand;
  size_t bytes, bytes_max;
  atomic_bool full; /* something had to go */
  uint64_t random;
  int64_t touched[TOUCHED];
  retired *retired;
  size_t retired_n, retired_capacity;
  cache_reader *readers;
};

/* ---- shared groups ---- */

cached *cached_new(uint32_t tree, slice lower, slice upper, slice bytes, int64_t since) {
  cached *g = malloc(sizeof *g + lower.n + upper.n + bytes.n + 16);
  if (!g) return NULL;
  uint8_t *p = (uint8_t *)(g + 1);
  atomic_init(&g->references, 1);
  g->tree = tree, g->since = since;
  g->bytes = slice_of(p, bytes.n);
  if (bytes.n) memcpy(p, bytes.p, bytes.n);
  p += bytes.n;
  memset(p, 0, 8), p += 8; /* room for reading short suffixes 8 bytes at a time */
  g->lower = slice_of(p, lower.n);
  if (lower.n) memcpy(p, lower.p, lower.n);
  p += lower.n;
  g->upper = slice_of(upper.p ? p : NULL, upper.n);
  if (upper.n) memcpy(p, upper.p, upper.n);
  return g;
}

void cached_release(cached *g) {
  if (g && atomic_fetch_sub_explicit(&g->references, 1, memory_order_acq_rel) == 1) free(g);
}

static size_t cached_bytes(const cached *g) {
  return sizeof *g + sizeof(node) + 48 + 2 * g->lower.n + g->upper.n + g->bytes.n;
}

/* Ordered as the bytes are; shorter ones are filled up with zeros, equal numbers say nothing. */
static inline uint64_t head_of(slice key) {
  uint64_t head = 0;
  memcpy(&head, key.p, key.n < 8 ? key.n : 8);
  return __builtin_bswap64(head);
}

/* ---- life ---- */

static node *new_node(uint32_t tree, slice lower, int level) {
  size_t links = (size_t)level * sizeof(_Atomic(node *));
  node *n = calloc(1, sizeof *n + links + lower.n);
  if (!n) return NULL;
  uint8_t *p = (uint8_t *)n + sizeof *n + links;
  if (lower.n) memcpy(p, lower.p, lower.n);
  n->head = lower.n ? head_of(lower) : 0;
  n->tree = tree, n->lower = p, n->lower_n = (uint32_t)lower.n, n->level = level;
  return n;
}

status cache_new(size_t bytes_max, cache **out) {
  cache *c = calloc(1, sizeof *c);
  *out = c;
  if (!c) return HDB_NOMEM;
  pthread_mutex_init(&c->lock, NULL);
  atomic_init(&c->epoch, 1);
  c->bytes_max = bytes_max;
  c->random = 88172645463325252u;
  c->head = new_node(0, slice_of(NULL, 0), LEVELS);
  return c->head ? HDB_OK : HDB_NOMEM;
}

void cache_size(cache *c, size_t *bytes, size_t *bytes_max) {
  pthread_mutex_lock(&c->lock);
  *bytes = c->bytes, *bytes_max = c->bytes_max;
  pthread_mutex_unlock(&c->lock);
}

static void free_retired(cache *c, bool all) {
  uint64_t oldest = UINT64_MAX;
  for (cache_reader *r = c->readers; r && !all; r = r->next) {
    uint64_t epoch = atomic_load(&r->epoch);
    if (epoch && epoch < oldest) oldest = epoch;
  }
  size_t kept = 0;
  for (size_t i = 0; i < c->retired_n; i++) {
    retired *x = &c->retired[i];
    if (x->epoch >= oldest) {
      c->retired[kept++] = *x;
      continue;
    }
    free(x->node);
    cached_release(x->group);
  }
  c->retired_n = kept;
}

void cache_free(cache *c) {
  if (!c) return;
  free_retired(c, true);
  for (node *n = c->head, *next; n; n = next) {
    next = atomic_load(&n->next[0]);
    cached_release(atomic_load(&n->group));
    free(n);
  }
  free(c->retired);
  pthread_mutex_destroy(&c->lock);
  free(c);
}

void cache_add_reader(cache *c, cache_reader *r) {
  atomic_init(&r->epoch, 0);
  pthread_mutex_lock(&c->lock);
  r->next = c->readers, r->previous = &c->readers;
  if (r->next) r->next->previous = &r->next;
  c->readers = r;
  pthread_mutex_unlock(&c->lock);
}

void cache_remove_reader(cache *c, cache_reader *r) {
  pthread_mutex_lock(&c->lock);
  *r->previous = r->next;
  if (r->next) r->next->previous = r->previous;
  pthread_mutex_unlock(&c->lock);
}

/* ---- searching ---- */

static inline int compare(const node *n, uint32_t tree, uint64_t head, slice key) {
  if (n->tree != tree) return n->tree < tree ? -1 : 1;
  if (n->head != head) return n->head < head ? -1 : 1;
  return slice_compare(slice_of(n->lower, n->lower_n), key);
}

/* The last node with (tree, lower) <= (tree, key) (or strictly below); the head when there is none. before: on each
 * level the last node that is strictly below; for changes, under the lock. */
static node *search(cache *c, uint32_t tree, slice key, bool strictly, node **before) {
  node *at = c->head;
  uint64_t head = key.n ? head_of(key) : 0;
  for (int level = LEVELS - 1; level >= 0; level--) {
    for (;;) {
      node *next = atomic_load_explicit(&at->next[level], memory_order_acquire);
      if (level)
        __builtin_prefetch(atomic_load_explicit(&at->next[level - 1],
                                                memory_order_relaxed)); /* should this one be too far */
      if (!next) break;
      int order = compare(next, tree, head, key);
      if (order > 0 || (order == 0 && strictly)) break;
      at = next;
    }
    if (before) before[level] = at;
  }
  return at;
}

/* Within an epoch: the node's group with a reference, when it is of the tree and the view sees it. */
static cached *take(node *n, uint32_t tree, int64_t view_time) {
  if (n->tree != tree) return NULL;
  cached *g = atomic_load(&n->group);
  if (!g || g->since > view_time) return NULL;
  if (!atomic_load_explicit(&n->used, memory_order_relaxed))
    atomic_store_explicit(&n->used, true, memory_order_relaxed);
  return cached_hold(g);
}

static void enter(cache *c, cache_reader *r) {
  atomic_store(&r->epoch, atomic_load(&c->epoch));
}
static void leave(cache_reader *r) {
  atomic_store_explicit(&r->epoch, 0, memory_order_release);
}

cached *cache_get(cache *c, cache_reader *r, uint32_t tree, slice key, int64_t view_time) {
  enter(c, r);
  cached *g = take(search(c, tree, key, false, NULL), tree, view_time);
  leave(r);
  if (g && g->upper.p && slice_compare(key, g->upper) >= 0) {
    cached_release(g);
    g = NULL;
  }
  return g;
}

/* One step of a search: ahead on its level, or one level down. false: it is at its end. What the next step reads is on its way. */
static inline bool warm_step(node **at, int *level, uint32_t tree, uint64_t head, slice key) {
  node *next = atomic_load_explicit(&(*at)->next[*level], memory_order_acquire);
  if (next && compare(next, tree, head, key) <= 0) *at = next;
  else if (--*level < 0) return false;
  next = atomic_load_explicit(&(*at)->next[*level], memory_order_relaxed);
  __builtin_prefetch(next);
  __builtin_prefetch(next ? (const char *)next + 64 : NULL);
  return true;
}

void cache_get_many(cache *c, cache_reader *r, uint32_t tree, const slice *keys, int n, int64_t view_time, cached **out) {
  node *at[CACHE_TOGETHER];
  int level[CACHE_TOGETHER], left, top = LEVELS - 1;
  uint64_t head[CACHE_TOGETHER];
  enter(c, r);
  while (top && !atomic_load_explicit(&c->head->next[top], memory_order_relaxed)) top--;
  for (int i = 0; i < n; i++) at[i] = c->head, level[i] = top, head[i] = keys[i].n ? head_of(keys[i]) : 0;
  do {
    left = 0;
    for (int i = 0; i < n; i++)
      if (level[i] >= 0) left += warm_step(&at[i], &level[i], tree, head[i], keys[i]);
  } while (left);
  for (int i = 0; i < n; i++) __builtin_prefetch(atomic_load(&at[i]->group), 1);
  for (int i = 0; i < n; i++) {
    cached *g = out[i] = take(at[i], tree, view_time);
    for (size_t k = 0; g && k < g->bytes.n && k < 512; k += 64) __builtin_prefetch(g->bytes.p + k);
  }
  leave(r);
  for (int i = 0; i < n; i++) {
    if (!out[i] || cached_covers(out[i], keys[i])) continue;
    cached_release(out[i]);
    out[i] = NULL;
  }
}

cached *cache_before(cache *c, cache_reader *r, uint32_t tree, slice lower, int64_t view_time) {
  enter(c, r);
  cached *g = take(search(c, tree, lower, true, NULL), tree, view_time);
  leave(r);
  if (g && (!g->upper.p || !slice_equal(g->upper, lower))) {
    cached_release(g);
    g = NULL;
  }
  return g;
}

cached *cache_last(cache *c, cache_reader *r, uint32_t tree, int64_t view_time) {
  enter(c, r);
  cached *g = take(search(c, tree + 1, slice_of(NULL, 0), true, NULL), tree, view_time);
  leave(r);
  if (g && g->upper.p) {
    cached_release(g);
    g = NULL;
  }
  return g;
}

/* ---- changing: under the lock ---- */

static void retire(cache *c, node *n, cached *g) {
  if (c->retired_n >= RETIRED_MAX) free_retired(c, false);
  if (c->retired_n == c->retired_capacity) {
    size_t capacity = c->retired_capacity ? 2 * c->retired_capacity : 2 * RETIRED_MAX;
    retired *list = realloc(c->retired, capacity * sizeof *list);
    if (!list) return; /* lost rather than freed too early */
    c->retired = list, c->retired_capacity = capacity;
  }
  uint64_t epoch = atomic_fetch_add(&c->epoch, 1);
  c->retired[c->retired_n++] = (retired){epoch, n, g};
}

static void unlink_node(cache *c, node *n) {
  node *before[LEVELS];
  search(c, n->tree, slice_of(n->lower, n->lower_n), true, before);
  for (int level = 0; level < n->level; level++) {
    if (atomic_load(&before[level]->next[level]) == n)
      atomic_store(&before[level]->next[level], atomic_load(&n->next[level]));
  }
  if (n->ring_next == n) {
    c->hand = NULL;
  } else {
    n->ring_next->ring_previous = n->ring_previous, n->ring_previous->ring_next = n->ring_next;
    if (c->hand == n) c->hand = n->ring_next;
  }
  cached *g = atomic_load(&n->group);
  c->bytes -= cached_bytes(g);
  retire(c, n, g);
}

static void evict(cache *c) {
  while (c->bytes > c->bytes_max && c->hand) {
    node *n = c->hand;
    c->hand = n->ring_next;
    if (atomic_exchange_explicit(&n->used, false, memory_order_relaxed)) continue;
    atomic_store_explicit(&c->full, true, memory_order_relaxed);
    unlink_node(c, n);
  }
}

static int random_level(cache *c) {
  c->random ^= c->random << 13, c->random ^= c->random >> 7, c->random ^= c->random << 17;
  int level = 1;
  for (uint64_t bits = c->random; level < LEVELS && (bits & 3) == 0; bits >>= 2) level++;
  return level;
}

static int64_t *touched(cache *c, uint32_t tree, slice lower) {
  uint64_t h = tree * 0x9e3779b97f4a7c15u + lower.n;
  for (size_t i = 0; i < lower.n; i++) h = (h ^ lower.p[i]) * 0x100000001b3u;
  return &c->touched[(h ^ h >> 29) % TOUCHED];
}

/* The node with exactly this bound, NULL: none. */
static node *exact(cache *c, uint32_t tree, slice lower) {
  node *n = search(c, tree, lower, false, NULL);
  return n != c->head && compare(n, tree, lower.n ? head_of(lower) : 0, lower) == 0 ? n : NULL;
}

static void replace(cache *c, node *n, cached *g) {
  cached *old = atomic_exchange(&n->group, cached_hold(g));
  c->bytes += cached_bytes(g);
  c->bytes -= cached_bytes(old);
  retire(c, NULL, old);
}

/* Between the nodes that a search has found. */
static void insert_behind(cache *c, cached *g, node **before) {
  node *n = new_node(g->tree, g->lower, random_level(c));
  if (!n) return;
  atomic_init(&n->group, cached_hold(g));
  atomic_init(&n->used, true);
  for (int level = 0; level < n->level; level++) {
    atomic_init(&n->next[level], atomic_load(&before[level]->next[level]));
    atomic_store(&before[level]->next[level], n);
  }
  if (c->hand) {
    n->ring_next = c->hand, n->ring_previous = c->hand->ring_previous;
    n->ring_previous->ring_next = n, n->ring_next->ring_previous = n;
  } else {
    c->hand = n->ring_next = n->ring_previous = n;
  }
  c->bytes += cached_bytes(g);
}

static void insert(cache *c, cached *g) {
  node *before[LEVELS];
  search(c, g->tree, g->lower, true, before);
  insert_behind(c, g, before);
}

/* false: there is one with its bound. */
static bool insert_new(cache *c, cached *g) {
  node *before[LEVELS];
  search(c, g->tree, g->lower, true, before);
  const node *there = atomic_load(&before[0]->next[0]);
  if (there && compare(there, g->tree, g->lower.n ? head_of(g->lower) : 0, g->lower) == 0) return false;
  insert_behind(c, g, before);
  return true;
}

bool cache_wants(const cache *c, cache_reader *r) {
  if (!atomic_load_explicit(&c->full, memory_order_relaxed)) return true;
  uint32_t x = r->random ? r->random : (uint32_t)(uintptr_t)r | 1;
  x ^= x << 13, x ^= x >> 17, x ^= x << 5;
  r->random = x;
  return (x & 3) == 0;
}

void cache_offer(cache *c, cached *g, int64_t view_time) {
  if (g->bytes.n > CACHED_MAX) return;
  if (pthread_mutex_trylock(&c->lock) != 0) return; /* somebody is busy; next time */
  if (*touched(c, g->tree, g->lower) <= view_time && insert_new(c, g)) evict(c); /* H2 */
  pthread_mutex_unlock(&c->lock);
}

void cache_commit_begin(cache *c) {
  pthread_mutex_lock(&c->lock);
}

void cache_commit_put(cache *c, cached *g, int64_t time, bool keep) {
  *touched(c, g->tree, g->lower) = time;
  node *n = exact(c, g->tree, g->lower);
  if (n) {
    replace(c, n, g);
  } else if (keep) {
    insert(c, g);
  }
}

void cache_commit_delete(cache *c, uint32_t tree, slice lower, int64_t time) {
  *touched(c, tree, lower) = time;
  node *n = exact(c, tree, lower);
  if (n) unlink_node(c, n);
}

void cache_commit_tree(cache *c, uint32_t tree, int64_t time) {
  for (int i = 0; i < TOUCHED; i++) c->touched[i] = time; /* any group may be of this tree */
  for (;;) {
    node *n = search(c, tree + 1, slice_of(NULL, 0), true, NULL);
    if (n == c->head || n->tree != tree) return;
    unlink_node(c, n);
  }
}

void cache_commit_end(cache *c) {
  evict(c);
  pthread_mutex_unlock(&c->lock);
}

void cache_drop(cache *c, int64_t time) {
  pthread_mutex_lock(&c->lock);
  for (int i = 0; i < TOUCHED; i++) c->touched[i] = time;
  while (c->hand) unlink_node(c, c->hand);
  atomic_store(&c->full, false);
  pthread_mutex_unlock(&c->lock);
}
