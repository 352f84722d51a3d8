/* Search: Algorithm 5, made continuable and filtered.
 *
 * The walk keeps every node it has met in one of three heaps: `near` (met, not yet expanded), `best` (the ef nearest
 * accepted so far, farthest on top: the bound of the walk) and `ready` (accepted, waiting to be returned, nearest on
 * top). The walk pauses when the nearest unexpanded node is farther than the bound; then everything in `ready` up to
 * the bound is final. Asked for more, ef doubles and the walk goes on from where it paused: no work is repeated.
 * A filter is asked inside the walk: refused nodes are walked through and never count towards ef.
 *
 * The graph is locked for reading only inside hnsw_search_next. A repair in between moves places; the search then
 * starts anew and skips what it has returned.
 */
#include <math.h>
#include <stdlib.h>

#include "hnsw/internal.h"

struct hnsw_search {
  hnsw *g;
  float *query;
  size_t ef;
  hnsw_filter filter;
  void *context;
  heap near, best, ready;
  uint64_t *seen, *asked; /* a bit a place each: met, offered to the filter */
  size_t words;
  size_t count;
  uint64_t generation;
  bool started, failed;
  int64_t *returned; /* only used when the search had to start anew; kept sorted on demand */
  size_t returned_n, returned_capacity;
  bool restarted;
};

hnsw_search *hnsw_search_open(hnsw *g, const float *query, int ef, hnsw_filter filter, void *context) {
  hnsw_search *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  *s = (hnsw_search){.g = g, .ef = ef < 1 ? 1 : (size_t)ef, .filter = filter, .context = context};
  if (posix_memalign((void **)&s->query, 64, g->stride * sizeof *s->query) != 0) {
    free(s);
    return NULL;
  }
  prepare_vector(g, query, s->query);
  return s;
}

void hnsw_search_close(hnsw_search *s) {
  if (!s) return;
  free(s->near.items);
  free(s->best.items);
  free(s->ready.items);
  free(s->seen);
  free(s->asked);
  free(s->returned);
  free(s->query);
  free(s);
}

size_t hnsw_search_seen(const hnsw_search *s) { return s->count; }

/* Sets the place's bit in one of the two sets; false: it was set already. */
static bool mark(hnsw_search *s, uint64_t **bits, uint32_t place) {
  if (place / 64 >= s->words) { /* the graph grew since */
    size_t words = s->g->capacity / 64 + 1;
    uint64_t *seen = realloc(s->seen, words * sizeof *seen);
    if (seen) s->seen = seen;
    uint64_t *asked = realloc(s->asked, words * sizeof *asked);
    if (asked) s->asked = asked;
    if (!seen || !asked) {
      s->failed = true;
      return false;
    }
    memset(seen + s->words, 0, (words - s->words) * sizeof *seen);
    memset(asked + s->words, 0, (words - s->words) * sizeof *asked);
    s->words = words;
  }
  uint64_t bit = 1ull << (place % 64);
  if ((*bits)[place / 64] & bit) return false;
  (*bits)[place / 64] |= bit;
  return true;
}

static bool was_returned(const hnsw_search *s, int64_t label) {
  for (size_t i = 0; i < s->returned_n; i++)
    if (s->returned[i] == label) return true;
  return false;
}

static void note_returned(hnsw_search *s, int64_t label) {
  if (s->returned_n == s->returned_capacity) {
    size_t capacity = s->returned_capacity ? s->returned_capacity * 2 : 16;
    int64_t *returned = realloc(s->returned, capacity * sizeof *returned);
    if (!returned) {
      s->failed = true;
      return;
    }
    s->returned = returned, s->returned_capacity = capacity;
  }
  s->returned[s->returned_n++] = label;
}

/* The node may be an answer: ask the filter, once. */
static void offer(hnsw_search *s, candidate c) {
  const node *n = &s->g->nodes[c.place];
  if (n->removed || !mark(s, &s->asked, c.place)) return;
  if (s->filter && !s->filter(s->context, n->label)) return;
  if (s->restarted && was_returned(s, n->label)) return;
  heap_push_near(&s->ready, c);
  heap_push_far(&s->best, c);
  if (s->best.n > s->ef) heap_pop_far(&s->best);
}

/* A node met on the way. Beyond the bound it only waits in `near`: it is offered when it is expanded. */
static void meet(hnsw_search *s, uint32_t place) {
  if (!mark(s, &s->seen, place)) return;
  candidate c = {s->g->rank(s->query, vector_at(s->g, place), s->g->stride), place};
  s->count++;
  heap_push_near(&s->near, c);
  if (s->best.n < s->ef || c.rank < s->best.items[0].rank) offer(s, c);
}

static void begin(hnsw_search *s) {
  hnsw *g = s->g;
  s->restarted = s->started;
  s->started = true;
  s->generation = g->generation;
  s->near.n = s->best.n = s->ready.n = 0;
  if (s->words) {
    memset(s->seen, 0, s->words * sizeof *s->seen);
    memset(s->asked, 0, s->words * sizeof *s->asked);
  }
  if (g->entry == NO_NODE) return;
  uint32_t from = g->entry;
  float best = g->rank(s->query, vector_at(g, from), g->stride);
  for (int level = g->top; level > 0; level--) {
    for (bool moved = true; moved;) {
      moved = false;
      const uint32_t *links = links_at(g, from, level);
      for (uint32_t i = 1, n = links[0]; i <= n; i++) {
        float rank = g->rank(s->query, vector_at(g, links[i]), g->stride);
        s->count++;
        if (rank < best) best = rank, from = links[i], moved = true;
      }
    }
  }
  meet(s, from);
}

/* Walks until the bound holds; what is in `ready` at or below it is final. */
static void walk(hnsw_search *s) {
  const hnsw *g = s->g;
  while (s->near.n && !s->failed) {
    if (s->best.n >= s->ef && s->near.items[0].rank > s->best.items[0].rank) return;
    candidate c = heap_pop_near(&s->near);
    offer(s, c);
    const uint32_t *links = links_at(g, c.place, 0);
    for (uint32_t i = 1; i <= links[0]; i++) {
      if (i < links[0]) __builtin_prefetch(vector_at(g, links[i + 1]));
      meet(s, links[i]);
    }
    if (s->near.failed || s->best.failed || s->ready.failed) s->failed = true;
  }
}

bool hnsw_search_next(hnsw_search *s, int64_t *label, double *distance) {
  hnsw *g = s->g;
  bool found = false;
  pthread_rwlock_rdlock(&g->lock);
  if (!s->started || s->generation != g->generation) begin(s);
  for (;;) {
    bool final = s->ready.n && s->best.n >= s->ef && s->ready.items[0].rank <= s->best.items[0].rank;
    if (!final) {
      if (s->near.n && s->best.n >= s->ef) s->ef *= 2; /* go on: the bound moves out */
      walk(s);
      if (s->failed) break;
    }
    if (!s->ready.n) break;
    candidate c = heap_pop_near(&s->ready);
    if (g->nodes[c.place].removed) continue; /* H2: removed since it was met */
    *label = g->nodes[c.place].label;
    *distance = distance_from_rank(g->options.metric, c.rank);
    note_returned(s, *label);
    found = true;
    break;
  }
  pthread_rwlock_unlock(&g->lock);
  return found && !s->failed;
}
