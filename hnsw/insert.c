/* Insertion: Algorithm 1, by one thread beside searches, or by many while nobody searches.
 *
 * One vector (hnsw_add): its neighbours are looked for under the graph's read lock, beside searches; only the linking
 * takes the write lock. Many (hnsw_add_many): the write lock is held for the whole call, the nodes get their places
 * first, and threads link them one by one. There a node's links are read and written under its latch, and whoever raises
 * the top level does so alone.
 *
 * I1  A node's links at a level are written before any other node points to it there, but for a node that others found
 *     on its way down: what they linked is kept (set_links).
 * Costs: about ef_construction * m distances at level 0.
 */
#include <sched.h>
#include <stdlib.h>

#include "hnsw/internal.h"

/* ---- heaps ---- */
static bool heap_room(heap *h) {
  if (h->n < h->capacity) return true;
  size_t capacity = h->capacity ? h->capacity * 2 : 64;
  candidate *items = realloc(h->items, capacity * sizeof *items);
  if (!items) {
    h->failed = true;
    return false;
  }
  h->items = items, h->capacity = capacity;
  return true;
}

#define HEAP(NAME, BEFORE)                                                                                   \
  void heap_push_##NAME(heap *h, candidate c) {                                                              \
    if (!heap_room(h)) return;                                                                               \
    size_t i = h->n++;                                                                                       \
    for (; i && c.rank BEFORE h->items[(i - 1) / 2].rank; i = (i - 1) / 2)                                   \
      h->items[i] = h->items[(i - 1) / 2];                                                                   \
    h->items[i] = c;                                                                                         \
  }                                                                                                          \
  candidate heap_pop_##NAME(heap *h) {                                                                       \
    candidate top = h->items[0], last = h->items[--h->n];                                                    \
    size_t i = 0;                                                                                            \
    for (;;) {                                                                                               \
      size_t child = 2 * i + 1;                                                                              \
      if (child >= h->n) break;                                                                              \
      if (child + 1 < h->n && h->items[child + 1].rank BEFORE h->items[child].rank) child++;                 \
      if (!(h->items[child].rank BEFORE last.rank)) break;                                                   \
      h->items[i] = h->items[child];                                                                         \
      i = child;                                                                                             \
    }                                                                                                        \
    if (h->n) h->items[i] = last;                                                                            \
    return top;                                                                                              \
  }
HEAP(near, <)
HEAP(far, >)

static int by_rank(const void *a, const void *b) {
  float x = ((const candidate *)a)->rank, y = ((const candidate *)b)->rank;
  return (x > y) - (x < y);
}

void sort_candidates(candidate *c, size_t n) {
  if (n > 48) {
    qsort(c, n, sizeof *c, by_rank);
    return;
  }
  for (size_t i = 1; i < n; i++) {
    candidate moving = c[i];
    size_t k = i;
    for (; k && c[k - 1].rank > moving.rank; k--) c[k] = c[k - 1];
    c[k] = moving;
  }
}

/* ---- scratch ---- */
status scratch_ready(const hnsw *g, scratch *s) {
  size_t words = g->capacity / 64 + 1;
  if (!s->found) s->found = malloc(((size_t)g->options.ef_construction + 2) * sizeof *s->found);
  if (!s->vector && posix_memalign(&s->vector, 64, g->stride) != 0) s->vector = NULL;
  if (s->words < words) {
    free(s->seen);
    s->seen = malloc(words * sizeof *s->seen);
    s->words = s->seen ? words : 0;
  }
  s->near.failed = s->far.failed = false;
  return s->found && s->vector && s->seen ? HDB_OK : HDB_NOMEM;
}

void scratch_free(scratch *s) {
  free(s->near.items);
  free(s->far.items);
  free(s->found);
  free(s->seen);
  free(s->vector);
}

/* ---- latches: held for a few microseconds at most ---- */
static void latch(hnsw *g, uint32_t place) {
  for (int tries = 0; atomic_exchange_explicit(&g->nodes[place].latched, true, memory_order_acquire); tries++)
    if (tries % 64 == 63) sched_yield();
}
static void unlatch(hnsw *g, uint32_t place) {
  atomic_store_explicit(&g->nodes[place].latched, false, memory_order_release);
}

/* A node's links: where they are, or a copy of them. */
static const uint32_t *read_links(hnsw *g, uint32_t place, int level, bool latched, uint32_t *copy) {
  uint32_t *links = links_at(g, place, level);
  if (!latched) return links;
  latch(g, place);
  memcpy(copy, links, (links[0] + 1) * sizeof *copy);
  unlatch(g, place);
  return copy;
}

/* ---- searching ---- */
static bool first_met(scratch *s, uint32_t place) {
  uint64_t bit = 1ull << (place % 64), *word = &s->seen[place / 64];
  if (*word & bit) return false;
  *word |= bit;
  return true;
}

size_t search_level(hnsw *g, scratch *s, const void *query, uint32_t from, int level, size_t ef,
                    bool latched) {
  uint32_t copy[LINKS_MAX + 1], fresh[LINKS_MAX];
  float ranks[LINKS_MAX];
  heap *near = &s->near, *far = &s->far;
  near->n = far->n = 0;
  memset(s->seen, 0, (g->used / 64 + 1) * sizeof *s->seen);
  candidate start = {rank_to(g, query, from), from};
  first_met(s, from);
  heap_push_near(near, start);
  heap_push_far(far, start);
  while (near->n && !near->failed && !far->failed) {
    candidate c = heap_pop_near(near);
    if (c.rank > far->items[0].rank && far->n >= ef) break;
    const uint32_t *links = read_links(g, c.place, level, latched, copy);
    uint32_t n = 0;
    for (uint32_t i = 1; i <= links[0]; i++) {
      if (!first_met(s, links[i])) continue;
      prefetch_vector(g, links[i]);
      fresh[n++] = links[i];
    }
    ranks_to(g, query, fresh, n, ranks);
    for (uint32_t i = 0; i < n; i++) {
      candidate next = {ranks[i], fresh[i]};
      if (far->n >= ef && next.rank >= far->items[0].rank) continue;
      heap_push_near(near, next);
      if (far->n >= ef) heap_pop_far(far);
      heap_push_far(far, next);
    }
  }
  size_t n = far->n;
  for (size_t i = n; i-- > 0;) s->found[i] = heap_pop_far(far);
  return n;
}

uint32_t descend(hnsw *g, const void *query, uint32_t from, int level, int until, bool latched) {
  uint32_t copy[LINKS_MAX + 1];
  float best = rank_to(g, query, from);
  for (; level > until; level--) {
    for (bool moved = true; moved;) {
      moved = false;
      const uint32_t *links = read_links(g, from, level, latched, copy);
      for (uint32_t i = 1, n = links[0]; i <= n; i++) {
        float rank = rank_to(g, query, links[i]);
        if (rank < best) best = rank, from = links[i], moved = true;
      }
    }
  }
  return from;
}

/* ---- linking ---- */
size_t select_neighbours(const hnsw *g, candidate *candidates, size_t n, size_t m, uint32_t *out) {
  size_t chosen = 0, dropped = 0;
  for (size_t i = 0; i < n && chosen < m; i++) {
    bool good = true;
    const void *v = vector_at(g, candidates[i].place);
    for (size_t k = 0; k < chosen && good; k++) {
      float rank = rank_to(g, v, out[k]);
      /* as near to one that equals the base as to the base: only its equals give way, else many equal ones had no links but
       * among themselves */
      good = rank > candidates[i].rank ||
             (rank == candidates[i].rank && memcmp(v, vector_at(g, out[k]), g->stride) != 0);
    }
    if (good)
      out[chosen++] = candidates[i].place;
    else
      candidates[dropped++] = candidates[i]; /* kept in order at the front */
  }
  for (size_t i = 0; i < dropped && chosen < m; i++)
    out[chosen++] = candidates[i].place; /* keepPrunedConnections */
  return chosen;
}

void link_back(hnsw *g, uint32_t from, uint32_t to, int level) {
  uint32_t *links = links_at(g, from, level);
  size_t max = (size_t)links_max(g, level), n = links[0];
  g->nodes[from].changed = true;
  for (size_t i = 1; i <= n; i++)
    if (links[i] == to) return;
  if (n < max) {
    links[n + 1] = to;
    links[0] = (uint32_t)(n + 1);
    return;
  }
  candidate candidates[LINKS_MAX + 1];
  float ranks[LINKS_MAX];
  const void *base = vector_at(g, from);
  ranks_to(g, base, links + 1, n, ranks);
  for (size_t i = 0; i < n; i++) candidates[i] = (candidate){ranks[i], links[i + 1]};
  candidates[n] = (candidate){rank_to(g, base, to), to};
  sort_candidates(candidates, n + 1);
  links[0] = (uint32_t)select_neighbours(g, candidates, n + 1, max, links + 1);
}

/* The links of a new node, and theirs to it. I1 */
static void set_links(hnsw *g, uint32_t place, int level, const uint32_t *to, size_t n, bool latched) {
  uint32_t early[LINKS_MAX + 1], *links = links_at(g, place, level);
  if (latched) latch(g, place);
  memcpy(early, links, (links[0] + 1) * sizeof *early);
  memcpy(links + 1, to, n * sizeof *to);
  links[0] = (uint32_t)n;
  for (uint32_t i = 1; i <= early[0]; i++) link_back(g, place, early[i], level);
  if (latched) unlatch(g, place);
  for (size_t i = 0; i < n; i++) {
    if (latched) latch(g, to[i]);
    link_back(g, to[i], place, level);
    if (latched) unlatch(g, to[i]);
  }
}

/* Removed nodes are way-points: nobody new points to them while there are others. */
static size_t drop_removed(const hnsw *g, candidate *found, size_t n, uint32_t self) {
  size_t kept = 0;
  for (size_t i = 0; i < n; i++)
    if (!g->nodes[found[i].place].removed && found[i].place != self) found[kept++] = found[i];
  return kept;
}

/* ---- one ---- */
typedef struct choice { /* what a new node will be linked to */
  uint32_t links[LEVELS_MAX][LINKS_MAX / 2];
  size_t n[LEVELS_MAX];
  int levels;
} choice;

static status choose(hnsw *g, scratch *s, const void *query, int level, choice *c) {
  c->levels = 0;
  if (g->entry == NO_NODE) return HDB_OK;
  uint32_t from = descend(g, query, g->entry, g->top, level, false);
  int highest = level < g->top ? level : g->top;
  c->levels = highest + 1;
  for (int k = highest; k >= 0; k--) {
    size_t n = search_level(g, s, query, from, k, (size_t)g->options.ef_construction, false);
    if (s->near.failed || s->far.failed || !n) return HDB_NOMEM;
    from = s->found[0].place;
    c->n[k] = select_neighbours(g, s->found, drop_removed(g, s->found, n, NO_NODE), (size_t)g->options.m,
                                c->links[k]);
  }
  return HDB_OK;
}

status hnsw_add(hnsw *g, int64_t label, const float *vector) {
  choice *c = malloc(sizeof *c);
  scratch *s = &g->own;
  if (!c) return HDB_NOMEM;
  pthread_mutex_lock(&g->writer);
  int level = level_of_label(g, label);
  pthread_rwlock_rdlock(&g->lock);
  status rc = scratch_ready(g, s);
  if (rc == HDB_OK) {
    prepare_vector(g, vector, s->vector);
    rc = choose(g, s, s->vector, level, c);
  }
  pthread_rwlock_unlock(&g->lock);
  if (rc != HDB_OK) goto out;
  pthread_rwlock_wrlock(&g->lock);
  uint32_t old = place_of(g, label), place = new_place(g, label, stamp_of(g, vector), s->vector, level);
  rc = place == NO_NODE ? HDB_NOMEM : HDB_OK;
  if (rc == HDB_OK) {
    for (int k = c->levels - 1; k >= 0; k--) set_links(g, place, k, c->links[k], c->n[k], false);
    if (old != NO_NODE) mark_removed(g, old);
    g->live++;
    rc = table_put(g, label, place);
    if (g->entry == NO_NODE || level > g->top) g->entry = place, g->top = level;
  }
  pthread_rwlock_unlock(&g->lock);
out:
  pthread_mutex_unlock(&g->writer);
  free(c);
  return rc;
}

/* ---- many ---- */
typedef struct crew {
  hnsw *g;
  const uint32_t *places;
  size_t n;
  atomic_size_t next;
  atomic_int failed;
  pthread_mutex_t top; /* entry and top of the graph */
} crew;

static void link_node(crew *w, scratch *s, uint32_t place) {
  hnsw *g = w->g;
  const void *query = vector_at(g, place);
  uint32_t chosen[LINKS_MAX];
  int level = g->nodes[place].level;
  pthread_mutex_lock(&w->top);
  uint32_t from = g->entry;
  int top = g->top;
  bool raises = from == NO_NODE || level > top;
  if (!raises) pthread_mutex_unlock(&w->top);
  if (from != NO_NODE) {
    from = descend(g, query, from, top, level, true);
    for (int k = level < top ? level : top; k >= 0; k--) {
      size_t n = search_level(g, s, query, from, k, (size_t)g->options.ef_construction, true);
      if (s->near.failed || s->far.failed) atomic_store(&w->failed, HDB_NOMEM);
      n = drop_removed(g, s->found, n, place);
      if (!n) continue;
      from = s->found[0].place;
      set_links(g, place, k, chosen, select_neighbours(g, s->found, n, (size_t)g->options.m, chosen), true);
    }
  }
  if (raises) {
    g->entry = place, g->top = level;
    pthread_mutex_unlock(&w->top);
  }
}

static void *work(void *context) {
  crew *w = context;
  scratch s = {0};
  if (scratch_ready(w->g, &s) != HDB_OK) atomic_store(&w->failed, HDB_NOMEM);
  while (!atomic_load(&w->failed)) {
    size_t i = atomic_fetch_add(&w->next, 1);
    if (i >= w->n) break;
    link_node(w, &s, w->places[i]);
  }
  scratch_free(&s);
  return NULL;
}

static status settle_many(hnsw *g, const int64_t *labels, const float *vectors, size_t n, uint32_t *places) {
  TRY(scratch_ready(g, &g->own));
  for (size_t i = 0; i < n; i++) {
    uint32_t old = place_of(g, labels[i]);
    if (old != NO_NODE) mark_removed(g, old);
    const float *vector = vectors + i * (size_t)g->options.dimensions;
    prepare_vector(g, vector, g->own.vector);
    places[i] = new_place(g, labels[i], stamp_of(g, vector), g->own.vector, level_of_label(g, labels[i]));
    if (places[i] == NO_NODE) return HDB_NOMEM;
    g->live++;
    TRY(table_put(g, labels[i], places[i]));
  }
  return HDB_OK;
}

status hnsw_add_many(hnsw *g, const int64_t *labels, const float *vectors, size_t n, int threads) {
  uint32_t *places = malloc((n + 1) * sizeof *places);
  pthread_t started[HNSW_THREADS_MAX];
  int started_n = 0;
  if (!places) return HDB_NOMEM;
  pthread_mutex_lock(&g->writer);
  pthread_rwlock_wrlock(&g->lock);
  status rc = settle_many(g, labels, vectors, n, places);
  if (rc == HDB_OK) {
    crew w = {.g = g, .places = places, .n = n, .top = PTHREAD_MUTEX_INITIALIZER};
    for (int i = 1; i < threads && i < HNSW_THREADS_MAX && (size_t)i * 16 < n; i++)
      if (pthread_create(&started[started_n], NULL, work, &w) == 0) started_n++;
    work(&w);
    for (int i = 0; i < started_n; i++) pthread_join(started[i], NULL);
    rc = (status)atomic_load(&w.failed);
  }
  pthread_rwlock_unlock(&g->lock);
  pthread_mutex_unlock(&g->writer);
  free(places);
  return rc;
}
