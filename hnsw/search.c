/* Search: Algorithm 5, made continuable and filtered.
 *
 * A node that the walk meets is either nearer than the bound, the ef-th nearest accepted so far: then it waits in `near`
 * for its own links to be looked at, and is offered: accepted, it enters `best`, the ef nearest (farthest on top), out of
 * which the farthest falls into `spilled`. Or it is farther: then it waits in `later`, and nobody asks the filter. The walk
 * pauses when the nearest in `near` is farther than the bound: what is in `best` is final and goes, sorted, to `ready`.
 * Asked for more than that, ef doubles, `later` and `spilled` come back, and the walk goes on: no distance is computed
 * twice. A filter is asked inside the walk, for a node whose turn has come (many more are met than pass, and a row costs more
 * than a distance): refused nodes are walked through and never count towards ef.
 *
 * The graph is locked for reading only inside hnsw_search_next. A repair in between moves places; the search then
 * starts anew and skips what it has returned.
 */
#include <math.h>
#include <stdlib.h>

#include "hnsw/internal.h"

/* flags in a candidate's place */
#define IN_READY    0x80000000u /* of `best`: it was moved to ready */
#define NOT_OFFERED 0x40000000u /* of `near`: it came from later */
#define PLACE       0x3fffffffu

struct hnsw_search {
  hnsw *g;
  void *query;
  size_t ef;
  hnsw_filter filter;
  hnsw_announcer announce;
  void *context;
  float nearest; /* rank of the nearest node met */
  size_t passed; /* nodes that the filter was asked for */
  heap near, best;
  heap later, spilled, ready; /* lists */
  size_t ready_at;
  uint64_t *seen; /* a bit a place */
  size_t words;
  size_t count;
  uint64_t generation;
  bool started, failed;
  int64_t *returned; /* only used when the search had to start anew */
  size_t returned_n, returned_capacity;
  bool restarted;
};

hnsw_search *hnsw_search_open(hnsw *g, const float *query, int ef, hnsw_filter filter, void *context) {
  hnsw_search *s = atomic_exchange(&g->spare, NULL);
  if (!s) {
    s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->g = g;
    if (posix_memalign(&s->query, 64, g->stride) != 0) {
      free(s);
      return NULL;
    }
  }
  s->ef = ef < 1 ? 1 : (size_t)ef;
  s->filter = filter;
  s->context = context;
  s->announce = NULL;
  s->passed = 0;
  s->count = s->returned_n = 0;
  s->started = s->failed = s->restarted = false;
  s->nearest = INFINITY;
  prepare_vector(g, query, s->query);
  return s;
}

void search_free(hnsw_search *s) {
  if (!s) return;
  free(s->near.items);
  free(s->best.items);
  free(s->later.items);
  free(s->spilled.items);
  free(s->ready.items);
  free(s->seen);
  free(s->returned);
  free(s->query);
  free(s);
}

void hnsw_search_close(hnsw_search *s) {
  enum { KEPT = 4096 };
  if (!s) return;
  if (s->failed || s->near.capacity + s->later.capacity + s->spilled.capacity + s->returned_capacity > KEPT)
    search_free(s);
  else
    search_free(atomic_exchange(&s->g->spare, s));
}

void hnsw_search_announce(hnsw_search *s, hnsw_announcer announce) {
  s->announce = announce;
}

size_t hnsw_search_seen(const hnsw_search *s) {
  return s->count;
}

/* ---- lists ---- */
static void list_add(heap *l, candidate c) {
  if (l->n == l->capacity) {
    size_t capacity = l->capacity ? 2 * l->capacity : 256;
    candidate *items = realloc(l->items, capacity * sizeof *items);
    if (!items) {
      l->failed = true;
      return;
    }
    l->items = items, l->capacity = capacity;
  }
  l->items[l->n++] = c;
}

static bool seen_room(hnsw_search *s) {
  size_t words = s->g->used / 64 + 1;
  if (words <= s->words) return true;
  words = s->g->capacity / 64 + 1;
  uint64_t *seen = realloc(s->seen, words * sizeof *seen);
  if (!seen) return false;
  memset(seen + s->words, 0, (words - s->words) * sizeof *seen);
  s->seen = seen, s->words = words;
  return true;
}

static bool first_met(hnsw_search *s, uint32_t place) {
  uint64_t bit = 1ull << (place % 64), *word = &s->seen[place / 64];
  if (*word & bit) return false;
  *word |= bit;
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

/* ---- the walk ---- */
static bool beyond(const hnsw_search *s, float rank) {
  return s->best.n >= s->ef && rank >= s->best.items[0].rank;
}

/* The node may be an answer: ask the filter, once. */
static void offer(hnsw_search *s, candidate c) {
  const node *n = &s->g->nodes[c.place]; /* a cache line of its own: looked at only for a reason */
  if (s->g->removed && n->removed) return;
  if (s->filter && !s->filter(s->context, n->label)) return;
  if (s->restarted && was_returned(s, n->label)) return;
  if (beyond(s, c.rank)) {
    list_add(&s->spilled, c);
    return;
  }
  if (s->best.n >= s->ef) list_add(&s->spilled, heap_pop_far(&s->best));
  heap_push_far(&s->best, c);
}

/* Its turn comes likely soon. */
static void expect_links(const hnsw *g, uint32_t place) {
  const uint32_t *links = links_at(g, place, 0);
  __builtin_prefetch(links);
  __builtin_prefetch(links + 16);
  __builtin_prefetch(links + 32);
}

static void meet(hnsw_search *s, candidate c) {
  if (c.rank < s->nearest) s->nearest = c.rank;
  if (beyond(s, c.rank)) {
    list_add(&s->later, c);
    return;
  }
  expect_links(s->g, c.place);
  if (s->filter) c.place |= NOT_OFFERED; /* its row is looked at when its turn comes, if ever */
  heap_push_near(&s->near, c);
  if (!s->filter) offer(s, c);
}

static void begin(hnsw_search *s) {
  hnsw *g = s->g;
  s->restarted = s->started;
  s->nearest = INFINITY;
  s->started = true;
  s->generation = g->generation;
  s->near.n = s->best.n = s->later.n = s->spilled.n = s->ready.n = s->ready_at = 0;
  s->failed = !seen_room(s);
  if (g->entry == NO_NODE || s->failed) return;
  memset(s->seen, 0, s->words * sizeof *s->seen);
  uint32_t from = g->entry;
  float best = rank_to(g, s->query, from);
  for (int level = g->top; level > 0; level--) {
    for (bool moved = true; moved;) {
      moved = false;
      const uint32_t *links = links_at(g, from, level);
      float ranks[LINKS_MAX];
      for (uint32_t i = 1, n = links[0]; i <= n; i++) prefetch_vector(g, links[i]);
      ranks_to(g, s->query, links + 1, links[0], ranks);
      s->count += links[0];
      for (uint32_t i = 1, n = links[0]; i <= n; i++)
        if (ranks[i - 1] < best) best = ranks[i - 1], from = links[i], moved = true;
    }
  }
  first_met(s, from);
  meet(s, (candidate){best, from});
}

/* Whose turn is next is known before the heaps are: its links wait for memory meanwhile, or, when these were there before,
 * its neighbours. */
static void look_ahead(hnsw_search *s, const uint32_t *fresh, const float *ranks, uint32_t n) {
  const hnsw *g = s->g;
  float best = s->near.n ? s->near.items[0].rank : INFINITY;
  uint32_t next = NO_NODE;
  for (uint32_t i = 0; i < n; i++)
    if (ranks[i] < best) best = ranks[i], next = fresh[i];
  if (next != NO_NODE) {
    expect_links(g, next);
  } else if (s->near.n) {
    const uint32_t *links = links_at(g, s->near.items[0].place & PLACE, 0);
    for (uint32_t i = 1; i <= links[0]; i++)
      if (!(s->seen[links[i] / 64] >> (links[i] % 64) & 1)) prefetch_vector(g, links[i]);
  }
}

static void expand(hnsw_search *s, uint32_t place) {
  const hnsw *g = s->g;
  const uint32_t *links = links_at(g, place, 0);
  uint32_t fresh[LINKS_MAX], n = 0;
  float ranks[LINKS_MAX];
  for (uint32_t i = 1; i <= links[0]; i++) {
    if (!first_met(s, links[i])) continue;
    prefetch_vector(g, links[i]);
    fresh[n++] = links[i];
  }
  s->count += n;
  ranks_to(g, s->query, fresh, n, ranks);
  look_ahead(s, fresh, ranks, n);
  for (uint32_t i = 0; i < n; i++) meet(s, (candidate){ranks[i], fresh[i]});
}

/* The bound holds: what is nearest of all that wait lies behind it. */
static bool is_done(const hnsw_search *s) {
  return !s->near.n || (s->best.n >= s->ef && s->near.items[0].rank > s->best.items[0].rank);
}

/* Several nodes pass together: their rows wait for memory together. The walk is wider by a few nodes for it. */
static void pass_handful(hnsw_search *s) {
  candidate c[HNSW_TOGETHER];
  int64_t labels[HNSW_TOGETHER];
  size_t n = 0;
  for (; n < HNSW_TOGETHER && !is_done(s); n++) {
    c[n] = heap_pop_near(&s->near);
    expect_links(s->g, c[n].place & PLACE);
    __builtin_prefetch(&s->g->nodes[c[n].place & PLACE]);
  }
  for (size_t i = 0; i < n; i++) labels[i] = s->g->nodes[c[i].place & PLACE].label;
  s->announce(s->context, labels, n);
  for (size_t i = 0; i < n; i++) {
    if (c[i].place & NOT_OFFERED) s->passed++, offer(s, (candidate){c[i].rank, c[i].place & PLACE});
    c[i].place &= PLACE;
  }
  for (size_t i = 0; i < n; i++) expand(s, c[i].place);
}

/* Walks until the bound holds. */
static void walk(hnsw_search *s) {
  enum { SHORT = 64 };
  while (!s->failed && !is_done(s)) {
    if (s->announce && s->passed >= SHORT) {
      pass_handful(s);
    } else {
      candidate c = heap_pop_near(&s->near);
      if (s->near.n) expect_links(s->g, s->near.items[0].place & PLACE);
      if (c.place & NOT_OFFERED) {
        c.place &= PLACE;
        s->passed++;
        offer(s, c);
      }
      expand(s, c.place);
    }
    s->failed |= s->near.failed || s->best.failed || s->later.failed || s->spilled.failed;
  }
}

/* What the pause made final goes to ready, which is empty. */
static void gather(hnsw_search *s) {
  s->ready.n = s->ready_at = 0;
  for (size_t i = 0; i < s->best.n; i++) {
    candidate *c = &s->best.items[i];
    if (c->place & IN_READY) continue;
    list_add(&s->ready, *c);
    c->place |= IN_READY;
  }
  s->failed |= s->ready.failed;
  sort_candidates(s->ready.items, s->ready.n);
}

/* The bound moves outwards. false: there is nothing beyond it. */
static bool widen(hnsw_search *s) {
  if (!s->near.n && !s->later.n &&
      !s->spilled.n) { /* from where the walk began not every node may be reached */
    uint32_t entry = s->g->entry;
    if (entry == NO_NODE || !first_met(s, entry)) return false;
    list_add(&s->later, (candidate){rank_to(s->g, s->query, entry), entry});
  }
  s->ef *= 2;
  size_t spilled = s->spilled.n;
  sort_candidates(s->spilled.items, spilled);
  size_t back = 0;
  while (back < spilled && s->best.n < s->ef) heap_push_far(&s->best, s->spilled.items[back++]);
  if (back) memmove(s->spilled.items, s->spilled.items + back, (spilled - back) * sizeof *s->spilled.items);
  s->spilled.n = spilled - back;
  for (size_t i = 0; i < s->later.n; i++)
    heap_push_near(&s->near, (candidate){s->later.items[i].rank, s->later.items[i].place | NOT_OFFERED});
  s->later.n = 0;
  s->failed |= s->near.failed || s->best.failed;
  return !s->failed;
}

/* How far a rank may lie from the truth. Bytes: errors of elements are independent and even, so that of their sum is a
 * normal distribution's (three standard deviations). */
static double rank_margin(const hnsw_search *s, double rank) {
  const hnsw *g = s->g;
  double rounding = 1e-5 * (1 + fabs(rank));
  if (!g->bytes || !g->used) return rounding;
  const byte_vector *q = s->query;
  double own = (double)q->scale * (double)q->scale / 12, theirs = g->error2 / g->used;
  if (g->options.metric == HNSW_L2)
    return rounding + 6 * sqrt(rank > 0 ? rank : 0) * sqrt(own / 2 + theirs / 2) +
           (double)g->width * (own + theirs);
  const byte_vector *x = vector_at(g, s->best.n ? s->best.items[0].place & PLACE : 0);
  return rounding +
         3 * sqrt((double)q->norm * (double)q->norm * theirs + (double)x->norm * (double)x->norm * own);
}

double hnsw_search_nearest(const hnsw_search *s) {
  if (!s->started || s->nearest == INFINITY) return INFINITY;
  return distance_from_rank((enum hnsw_metric)s->g->options.metric, (double)s->nearest);
}

static void meet_all_over(hnsw_search *s) {
  enum { SEEDS = 2048, AT_ONCE = 32 };
  const hnsw *g = s->g;
  uint32_t step = g->used / SEEDS + 1, seeds[AT_ONCE], n = 0;
  float ranks[AT_ONCE];
  for (uint32_t place = step / 2; place < g->used || n; place += step) {
    if (place < g->used && !g->nodes[place].free_place && first_met(s, place)) {
      prefetch_vector(g, place);
      seeds[n++] = place;
    }
    if (!n || (n < AT_ONCE && place < g->used)) continue;
    ranks_to(g, s->query, seeds, n, ranks);
    for (uint32_t i = 0; i < n; i++) {
      if (ranks[i] < s->nearest) s->nearest = ranks[i];
      list_add(&s->later, (candidate){ranks[i], seeds[i]});
    }
    s->count += n;
    n = 0;
  }
}

void hnsw_search_spread(hnsw_search *s, int ef) {
  pthread_rwlock_rdlock(&s->g->lock);
  if (s->started && s->generation == s->g->generation && !s->failed && seen_room(s)) {
    size_t waiting = s->ready.n - s->ready_at;
    candidate *ready = malloc((waiting + 1) * sizeof *ready); /* not returned yet */
    if (ready && waiting) memcpy(ready, s->ready.items + s->ready_at, waiting * sizeof *ready);
    s->failed = !ready;
    if (ready) meet_all_over(s);
    if (s->ef < (size_t)ef / 2) s->ef = (size_t)ef / 2;
    if (!s->failed && widen(s)) {
      walk(s);
      gather(s);
      for (size_t i = 0; i < waiting; i++) list_add(&s->ready, ready[i]);
      sort_candidates(s->ready.items, s->ready.n);
    }
    free(ready);
  }
  pthread_rwlock_unlock(&s->g->lock);
}

size_t hnsw_search_coming(hnsw_search *s, int64_t *labels, size_t n) {
  size_t got = 0;
  pthread_rwlock_rdlock(&s->g->lock);
  if (s->started && s->generation == s->g->generation)
    for (size_t i = s->ready_at; i < s->ready.n && got < n; i++) labels[got++] = s->g->nodes[s->ready.items[i].place].label;
  pthread_rwlock_unlock(&s->g->lock);
  return got;
}

bool hnsw_search_pauses(const hnsw_search *s) {
  return s->started && s->ready_at == s->ready.n;
}

double hnsw_search_bound(const hnsw_search *s) {
  if (!s->started || s->failed) return -INFINITY;
  double rank;
  if (s->ready_at < s->ready.n)
    rank = (double)s->ready.items[s->ready_at].rank;
  else if (!s->near.n && !s->later.n && !s->spilled.n)
    return INFINITY;
  else if (s->best.n)
    rank = (double)s->best.items[0].rank;
  else
    return -INFINITY;
  return distance_from_rank((enum hnsw_metric)s->g->options.metric, rank - rank_margin(s, rank));
}

bool hnsw_search_next(hnsw_search *s, int64_t *label, double *distance) {
  hnsw *g = s->g;
  bool found = false;
  pthread_rwlock_rdlock(&g->lock);
  if (!s->started || s->generation != g->generation) {
    begin(s);
    walk(s);
    gather(s);
  }
  if (!seen_room(s)) s->failed = true; /* the graph grew since */
  while (!s->failed && !found) {
    while (s->ready_at == s->ready.n && widen(s)) {
      walk(s);
      gather(s);
    }
    if (s->failed || s->ready_at == s->ready.n) break;
    candidate c = s->ready.items[s->ready_at++];
    const node *n = &g->nodes[c.place];
    if (n->removed) continue; /* H2: removed since it was met */
    *label = n->label;
    *distance = distance_from_rank((enum hnsw_metric)g->options.metric, (double)c.rank);
    note_returned(s, *label);
    found = true;
  }
  pthread_rwlock_unlock(&g->lock);
  return found && !s->failed;
}
