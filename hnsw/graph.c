/* The graph: places, labels, links; insertion (Algorithm 1), removal and repair.
 *
 * A node lives at a place (an index into the arrays). Removing marks it: searches still walk through it, so that the
 * graph stays connected, but do not return it. hnsw_repair gives every node that pointed to removed ones new links,
 * chosen among its live neighbours and theirs, and frees the places.
 *
 * Costs: an insertion computes about ef_construction * m distances at level 0; a removal one table lookup.
 */
#include <math.h>
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

#define HEAP(NAME, BEFORE)                                                                                             \
  void heap_push_##NAME(heap *h, candidate c) {                                                                        \
    if (!heap_room(h)) return;                                                                                         \
    size_t i = h->n++;                                                                                                 \
    for (; i && c.rank BEFORE h->items[(i - 1) / 2].rank; i = (i - 1) / 2) h->items[i] = h->items[(i - 1) / 2];        \
    h->items[i] = c;                                                                                                   \
  }                                                                                                                    \
  candidate heap_pop_##NAME(heap *h) {                                                                                 \
    candidate top = h->items[0], last = h->items[--h->n];                                                              \
    size_t i = 0;                                                                                                      \
    for (;;) {                                                                                                         \
      size_t child = 2 * i + 1;                                                                                        \
      if (child >= h->n) break;                                                                                        \
      if (child + 1 < h->n && h->items[child + 1].rank BEFORE h->items[child].rank) child++;                           \
      if (!(h->items[child].rank BEFORE last.rank)) break;                                                             \
      h->items[i] = h->items[child];                                                                                   \
      i = child;                                                                                                       \
    }                                                                                                                  \
    if (h->n) h->items[i] = last;                                                                                      \
    return top;                                                                                                        \
  }
HEAP(near, <)
HEAP(far, >)

/* ---- labels ---- */
static uint64_t mix(uint64_t x) {
  x ^= x >> 33, x *= 0xff51afd7ed558ccdull, x ^= x >> 33, x *= 0xc4ceb9fe1a85ec53ull;
  return x ^ (x >> 33);
}

uint32_t place_of(const hnsw *g, int64_t label) {
  if (!g->table_size) return NO_NODE;
  for (uint32_t i = (uint32_t)mix((uint64_t)label);; i++) {
    uint32_t place = g->table[i & (g->table_size - 1)];
    if (place == NO_NODE) return NO_NODE;
    if (place != NO_NODE - 1 && g->nodes[place].label == label && !g->nodes[place].removed) return place;
  }
}

static status table_grow(hnsw *g) {
  uint32_t size = g->table_size ? g->table_size * 2 : 64;
  if (g->live * 3 < g->table_size) size = g->table_size; /* mostly tombstones */
  uint32_t *table = malloc(size * sizeof *table);
  if (!table) return HDB_NOMEM;
  memset(table, 0xff, size * sizeof *table);
  for (uint32_t p = 0; p < g->used; p++) {
    if (g->nodes[p].removed || g->nodes[p].free_place) continue;
    uint32_t i = (uint32_t)mix((uint64_t)g->nodes[p].label);
    while (table[i & (size - 1)] != NO_NODE) i++;
    table[i & (size - 1)] = p;
  }
  free(g->table);
  g->table = table, g->table_size = size, g->table_used = g->live;
  return HDB_OK;
}

status table_put(hnsw *g, int64_t label, uint32_t place) {
  if ((g->table_used + 1) * 2 > g->table_size) {
    status rc = table_grow(g); /* the new node is not marked live yet or is found again below */
    if (rc != HDB_OK) return rc;
    if (place_of(g, label) == place) return HDB_OK;
  }
  uint32_t i = (uint32_t)mix((uint64_t)label);
  while (g->table[i & (g->table_size - 1)] < NO_NODE - 1) i++;
  if (g->table[i & (g->table_size - 1)] == NO_NODE) g->table_used++;
  g->table[i & (g->table_size - 1)] = place;
  return HDB_OK;
}

void table_drop(hnsw *g, int64_t label) {
  for (uint32_t i = (uint32_t)mix((uint64_t)label);; i++) {
    uint32_t place = g->table[i & (g->table_size - 1)];
    if (place == NO_NODE) return;
    if (place != NO_NODE - 1 && g->nodes[place].label == label) {
      g->table[i & (g->table_size - 1)] = NO_NODE - 1;
      return;
    }
  }
}

/* H4: exponentially distributed with scale 1/ln(m), drawn from the label */
int level_of_label(const hnsw *g, int64_t label) {
  double u = ((double)(mix((uint64_t)label ^ 0x9e3779b97f4a7c15ull) >> 11) + 1) / 9007199254740993.0;
  int level = (int)(-log(u) / log((double)g->options.m));
  return level < LEVELS_MAX - 1 ? level : LEVELS_MAX - 1;
}

/* ---- places ---- */
static status grow(hnsw *g) {
  uint32_t capacity = g->capacity ? g->capacity + g->capacity / 2 + 16 : 64;
  node *nodes = realloc(g->nodes, capacity * sizeof *nodes);
  if (nodes) g->nodes = nodes;
  float *vectors = realloc(g->vectors, (size_t)capacity * g->stride * sizeof *vectors);
  if (vectors) g->vectors = vectors;
  uint32_t *links = realloc(g->links, (size_t)capacity * (size_t)(g->m0 + 1) * sizeof *links);
  if (links) g->links = links;
  uint32_t *seen = realloc(g->seen, capacity * sizeof *seen);
  if (seen) {
    g->seen = seen;
    memset(seen + g->capacity, 0, (capacity - g->capacity) * sizeof *seen);
  }
  if (!nodes || !vectors || !links || !seen) return HDB_NOMEM;
  g->capacity = capacity;
  return HDB_OK;
}

void prepare_vector(const hnsw *g, const float *in, float *out) {
  size_t n = (size_t)g->options.dimensions;
  memcpy(out, in, n * sizeof *out);
  memset(out + n, 0, (g->stride - n) * sizeof *out);
  if (g->options.metric != HNSW_COSINE) return;
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += (double)in[i] * in[i];
  float scale = sum > 0 ? (float)(1 / sqrt(sum)) : 0;
  for (size_t i = 0; i < n; i++) out[i] *= scale;
}

uint32_t new_place(hnsw *g, int64_t label, const float *vector, int level) {
  uint32_t place;
  if (g->free_n) {
    place = g->free_places[--g->free_n];
  } else {
    if (g->used == g->capacity && grow(g) != HDB_OK) return NO_NODE;
    place = g->used++;
    g->nodes[place] = (node){.free_place = true};
  }
  uint32_t *upper = level ? calloc((size_t)level * (size_t)(g->options.m + 1), sizeof *upper) : NULL;
  if (level && !upper) {
    g->nodes[place].free_place = true;
    return NO_NODE; /* the place is lost until the graph goes: out of memory is rare and it stays unlinked */
  }
  g->nodes[place] = (node){.label = label, .level = (uint8_t)level, .changed = true, .upper = upper};
  prepare_vector(g, vector, g->vectors + (size_t)place * g->stride);
  links_at(g, place, 0)[0] = 0;
  return place;
}

hnsw *hnsw_new(const hnsw_options *options) {
  hnsw *g = calloc(1, sizeof *g);
  if (!g) return NULL;
  g->options = *options;
  if (!g->options.m) g->options.m = 16;
  if (!g->options.ef_construction) g->options.ef_construction = 200;
  g->m0 = 2 * g->options.m;
  g->stride = ((size_t)options->dimensions + 7) & ~(size_t)7;
  g->rank = distance_rank(options->metric);
  g->entry = NO_NODE;
  if (pthread_rwlock_init(&g->lock, NULL) != 0) {
    free(g);
    return NULL;
  }
  return g;
}

void hnsw_free(hnsw *g) {
  if (!g) return;
  for (uint32_t p = 0; p < g->used; p++) free(g->nodes[p].upper);
  free(g->nodes);
  free(g->vectors);
  free(g->links);
  free(g->seen);
  free(g->free_places);
  free(g->table);
  buf_free(&g->loaded);
  pthread_rwlock_destroy(&g->lock);
  free(g);
}

static size_t read_number(hnsw *g, const uint32_t *field) {
  pthread_rwlock_rdlock(&g->lock);
  size_t n = *field;
  pthread_rwlock_unlock(&g->lock);
  return n;
}
size_t hnsw_count(hnsw *g) { return read_number(g, &g->live); }
size_t hnsw_removed(hnsw *g) { return read_number(g, &g->removed); }
size_t hnsw_bytes(hnsw *g) {
  size_t capacity = read_number(g, &g->capacity);
  return sizeof *g + capacity * (sizeof(node) + g->stride * 4 + (size_t)(g->m0 + 1) * 4 + 4) + g->table_size * 4;
}

/* ---- linking ---- */
size_t select_neighbours(const hnsw *g, candidate *candidates, size_t n, size_t m, uint32_t *out) {
  size_t chosen = 0, dropped = 0;
  for (size_t i = 0; i < n && chosen < m; i++) {
    bool good = true;
    for (size_t k = 0; k < chosen && good; k++)
      good = g->rank(vector_at(g, candidates[i].place), vector_at(g, out[k]), g->stride) > candidates[i].rank;
    if (good) out[chosen++] = candidates[i].place;
    else candidates[dropped++] = candidates[i]; /* kept in order at the front */
  }
  for (size_t i = 0; i < dropped && chosen < m; i++) out[chosen++] = candidates[i].place; /* keepPrunedConnections */
  return chosen;
}

static int by_rank(const void *a, const void *b) {
  float x = ((const candidate *)a)->rank, y = ((const candidate *)b)->rank;
  return (x > y) - (x < y);
}

/* from gets a link to `to`; when it is full its links are chosen again */
static void link_back(hnsw *g, uint32_t from, uint32_t to, int level) {
  uint32_t *links = links_at(g, from, level);
  size_t max = (size_t)links_max(g, level), n = links[0];
  g->nodes[from].changed = true;
  if (n < max) {
    links[++links[0]] = to;
    return;
  }
  candidate candidates[256];
  const float *base = vector_at(g, from);
  for (size_t i = 0; i < n; i++) candidates[i] = (candidate){g->rank(base, vector_at(g, links[i + 1]), g->stride), links[i + 1]};
  candidates[n] = (candidate){g->rank(base, vector_at(g, to), g->stride), to};
  qsort(candidates, n + 1, sizeof *candidates, by_rank);
  links[0] = (uint32_t)select_neighbours(g, candidates, n + 1, max, links + 1);
}

/* Algorithm 2 for the writer: the ef nearest of a level, sorted, into found (farthest-first heap emptied) */
static size_t search_level(hnsw *g, const float *query, uint32_t from, int level, size_t ef, heap *near, heap *far, candidate *found) {
  near->n = far->n = 0;
  if (++g->seen_mark == 0) {
    memset(g->seen, 0, g->capacity * sizeof *g->seen);
    g->seen_mark = 1;
  }
  candidate start = {g->rank(query, vector_at(g, from), g->stride), from};
  g->seen[from] = g->seen_mark;
  heap_push_near(near, start);
  heap_push_far(far, start);
  while (near->n) {
    candidate c = heap_pop_near(near);
    if (c.rank > far->items[0].rank && far->n >= ef) break;
    const uint32_t *links = links_at(g, c.place, level);
    for (uint32_t i = 1; i <= links[0]; i++) {
      uint32_t to = links[i];
      if (g->seen[to] == g->seen_mark) continue;
      g->seen[to] = g->seen_mark;
      candidate next = {g->rank(query, vector_at(g, to), g->stride), to};
      if (far->n >= ef && next.rank >= far->items[0].rank) continue;
      heap_push_near(near, next);
      heap_push_far(far, next);
      if (far->n > ef) heap_pop_far(far);
    }
  }
  size_t n = far->n;
  for (size_t i = n; i-- > 0;) found[i] = heap_pop_far(far);
  return n;
}

static uint32_t descend(const hnsw *g, const float *query, uint32_t from, int level, int until) {
  float best = g->rank(query, vector_at(g, from), g->stride);
  for (; level > until; level--) {
    for (bool moved = true; moved;) {
      moved = false;
      const uint32_t *links = links_at(g, from, level);
      for (uint32_t i = 1; i <= links[0]; i++) {
        float rank = g->rank(query, vector_at(g, links[i]), g->stride);
        if (rank < best) best = rank, from = links[i], moved = true;
        if (moved) break;
      }
    }
  }
  return from;
}

static status insert(hnsw *g, int64_t label, const float *vector) {
  int level = level_of_label(g, label);
  size_t ef = (size_t)g->options.ef_construction;
  uint32_t place = new_place(g, label, vector, level);
  if (place == NO_NODE) return HDB_NOMEM;
  g->nodes[place].removed = true; /* not found by its label until it is linked */
  heap near = {0}, far = {0};
  candidate *found = malloc((ef + 2) * sizeof *found);
  status rc = found ? HDB_OK : HDB_NOMEM;
  if (rc == HDB_OK && g->entry != NO_NODE) {
    const float *query = vector_at(g, place);
    uint32_t from = descend(g, query, g->entry, g->top, level);
    for (int k = level < g->top ? level : g->top; k >= 0 && rc == HDB_OK; k--) {
      size_t n = search_level(g, query, from, k, ef, &near, &far, found);
      if (near.failed || far.failed) rc = HDB_NOMEM;
      if (rc != HDB_OK || !n) break;
      from = found[0].place;
      uint32_t *links = links_at(g, place, k);
      links[0] = (uint32_t)select_neighbours(g, found, n, (size_t)g->options.m, links + 1);
      for (uint32_t i = 1; i <= links[0]; i++) link_back(g, links[i], place, k);
    }
  }
  if (rc == HDB_OK) {
    g->nodes[place].removed = false;
    g->live++;
    rc = table_put(g, label, place);
  }
  if (rc == HDB_OK && (g->entry == NO_NODE || level > g->top)) g->entry = place, g->top = level;
  free(found);
  free(near.items);
  free(far.items);
  return rc;
}

static void mark_removed(hnsw *g, uint32_t place) {
  table_drop(g, g->nodes[place].label);
  g->nodes[place].removed = true;
  g->nodes[place].changed = true;
  g->live--, g->removed++;
}

status hnsw_add(hnsw *g, int64_t label, const float *vector) {
  pthread_rwlock_wrlock(&g->lock);
  uint32_t old = place_of(g, label);
  if (old != NO_NODE) mark_removed(g, old);
  status rc = insert(g, label, vector);
  pthread_rwlock_unlock(&g->lock);
  return rc;
}

status hnsw_remove(hnsw *g, int64_t label) {
  pthread_rwlock_wrlock(&g->lock);
  uint32_t place = place_of(g, label);
  if (place != NO_NODE) mark_removed(g, place);
  pthread_rwlock_unlock(&g->lock);
  return place == NO_NODE ? HDB_NOTFOUND : HDB_OK;
}

bool hnsw_contains(hnsw *g, int64_t label) {
  pthread_rwlock_rdlock(&g->lock);
  bool found = place_of(g, label) != NO_NODE;
  pthread_rwlock_unlock(&g->lock);
  return found;
}

/* ---- repair ---- */
static void relink(hnsw *g, uint32_t place, int level, heap *all, uint32_t *chosen) {
  uint32_t *links = links_at(g, place, level);
  bool touched = false;
  for (uint32_t i = 1; i <= links[0] && !touched; i++) touched = g->nodes[links[i]].removed;
  if (!touched) return;
  if (++g->seen_mark == 0) {
    memset(g->seen, 0, g->capacity * sizeof *g->seen);
    g->seen_mark = 1;
  }
  g->seen[place] = g->seen_mark;
  all->n = 0;
  const float *base = vector_at(g, place);
  for (uint32_t i = 1; i <= links[0]; i++) {
    const uint32_t *through = g->nodes[links[i]].removed ? links_at(g, links[i], level) : NULL;
    for (uint32_t k = 0; k <= (through ? through[0] : 0); k++) {
      uint32_t to = k == 0 ? links[i] : through[k];
      if (g->seen[to] == g->seen_mark || g->nodes[to].removed || g->nodes[to].level < level) continue;
      g->seen[to] = g->seen_mark;
      heap_push_near(all, (candidate){g->rank(base, vector_at(g, to), g->stride), to});
    }
  }
  qsort(all->items, all->n, sizeof *all->items, by_rank);
  size_t n = select_neighbours(g, all->items, all->n, (size_t)links_max(g, level), chosen);
  links[0] = (uint32_t)n;
  memcpy(links + 1, chosen, n * sizeof *chosen);
  g->nodes[place].changed = true;
}

static void choose_entry(hnsw *g) {
  g->entry = NO_NODE, g->top = 0;
  for (uint32_t p = 0; p < g->used; p++) {
    const node *n = &g->nodes[p];
    if (!n->removed && !n->free_place && (g->entry == NO_NODE || n->level > g->top)) g->entry = p, g->top = n->level;
  }
}

/* A node whose whole neighbourhood went is linked anew, as an insertion does at level 0. */
static status rescue(hnsw *g, uint32_t place, heap *near, heap *far, candidate *found) {
  size_t ef = (size_t)g->options.ef_construction, n, kept = 0;
  const float *query = vector_at(g, place);
  if (g->entry == place || g->entry == NO_NODE) return HDB_OK;
  n = search_level(g, query, descend(g, query, g->entry, g->top, 0), 0, ef, near, far, found);
  if (near->failed || far->failed) return HDB_NOMEM;
  for (size_t i = 0; i < n; i++)
    if (found[i].place != place && !g->nodes[found[i].place].removed) found[kept++] = found[i];
  uint32_t *links = links_at(g, place, 0);
  links[0] = (uint32_t)select_neighbours(g, found, kept, (size_t)g->options.m, links + 1);
  for (uint32_t i = 1; i <= links[0]; i++) link_back(g, links[i], place, 0);
  g->nodes[place].changed = true;
  return HDB_OK;
}

static status rescue_lonely(hnsw *g) {
  heap near = {0}, far = {0};
  candidate *found = malloc(((size_t)g->options.ef_construction + 2) * sizeof *found);
  status rc = found ? HDB_OK : HDB_NOMEM;
  for (uint32_t p = 0; p < g->used && rc == HDB_OK; p++)
    if (!g->nodes[p].removed && !g->nodes[p].free_place && links_at(g, p, 0)[0] == 0) rc = rescue(g, p, &near, &far, found);
  free(found);
  free(near.items);
  free(far.items);
  return rc;
}

static status free_removed(hnsw *g) {
  for (uint32_t p = 0; p < g->used; p++) {
    node *n = &g->nodes[p];
    if (!n->removed || n->free_place) continue;
    if (g->free_n == g->free_capacity) {
      uint32_t capacity = g->free_capacity ? g->free_capacity * 2 : 64;
      uint32_t *places = realloc(g->free_places, capacity * sizeof *places);
      if (!places) return HDB_NOMEM;
      g->free_places = places, g->free_capacity = capacity;
    }
    free(n->upper);
    *n = (node){.free_place = true};
    g->free_places[g->free_n++] = p;
    g->removed--;
  }
  return HDB_OK;
}

status hnsw_repair(hnsw *g) {
  heap all = {0};
  uint32_t chosen[256];
  pthread_rwlock_wrlock(&g->lock);
  /* chains of removed nodes: each pass reaches one further; links to the last ones are simply dropped */
  for (uint32_t p = 0; p < g->used && g->removed; p++) {
    if (g->nodes[p].removed || g->nodes[p].free_place) continue;
    for (int level = 0; level <= g->nodes[p].level; level++) relink(g, p, level, &all, chosen);
  }
  status rc = all.failed ? HDB_NOMEM : HDB_OK;
  if (rc == HDB_OK) {
    choose_entry(g);
    rc = rescue_lonely(g);
  }
  if (rc == HDB_OK) rc = free_removed(g);
  g->generation++;
  pthread_rwlock_unlock(&g->lock);
  free(all.items);
  return rc;
}
