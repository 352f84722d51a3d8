/* Mending: every live node can be reached at level 0 from the entry.
 *
 * Choosing links anew may take the last one that led to a node (one of some ten thousand), which then no search finds,
 * however wide. A walk over all links marks what can be reached; a node that was not is given a link by a neighbour of its
 * own that was: in a free place, else in place of that neighbour's farthest link whose target has others.
 * The walk holds off changes, not searches; only the links themselves are set under the write lock. Cost: each link is
 * looked at twice.
 */
#include <stdlib.h>

#include "hnsw/internal.h"

typedef struct mending {
  hnsw *g;
  uint64_t *reached;
  uint32_t *stack, *lost;
  uint8_t *links_to; /* of each node, 255 at most */
  uint32_t lost_n;
} mending;

static bool is_reached(const mending *m, uint32_t place) {
  return m->reached[place / 64] >> (place % 64) & 1;
}

static void reach(mending *m, uint32_t from) {
  uint32_t n = 0;
  m->reached[from / 64] |= 1ull << (from % 64);
  m->stack[n++] = from;
  while (n) {
    const uint32_t *links = links_at(m->g, m->stack[--n], 0);
    for (uint32_t i = 1; i <= links[0]; i++) {
      uint32_t to = links[i];
      if (is_reached(m, to)) continue;
      m->reached[to / 64] |= 1ull << (to % 64);
      m->stack[n++] = to;
    }
  }
}

static void look(mending *m) {
  const hnsw *g = m->g;
  for (uint32_t p = 0; p < g->used; p++) {
    if (g->nodes[p].free_place) continue;
    const uint32_t *links = links_at(g, p, 0);
    for (uint32_t i = 1; i <= links[0]; i++) m->links_to[links[i]] += m->links_to[links[i]] < 255;
  }
  reach(m, g->entry);
  for (uint32_t p = 0; p < g->used; p++)
    if (!g->nodes[p].free_place && !g->nodes[p].removed && !is_reached(m, p)) m->lost[m->lost_n++] = p;
}

/* The link of `from` that can be spared; 0: none. */
static uint32_t spare_link(const mending *m, uint32_t from) {
  const uint32_t *links = links_at(m->g, from, 0);
  uint32_t spare = 0;
  float most = 0;
  for (uint32_t i = 1; i <= links[0]; i++) {
    float rank = rank_to(m->g, vector_at(m->g, from), links[i]);
    if (m->links_to[links[i]] < 2 || (spare && rank <= most)) continue;
    spare = i, most = rank;
  }
  return spare;
}

static bool link_from(mending *m, uint32_t from, uint32_t to) {
  uint32_t *links = links_at(m->g, from, 0), at = links[0] + 1;
  if (m->g->nodes[from].removed || !is_reached(m, from) || from == to) return false;
  if (links[0] == (uint32_t)m->g->m0) {
    at = spare_link(m, from);
    if (!at) return false;
    m->links_to[links[at]]--;
  } else {
    links[0]++;
  }
  links[at] = to;
  m->links_to[to] += m->links_to[to] < 255;
  m->g->nodes[from].changed = true;
  return true;
}

/* By its own links, else by the nearest there are. What it was the only way to is reached with it. */
static status find(mending *m, uint32_t place) {
  hnsw *g = m->g;
  uint32_t *links = links_at(g, place, 0);
  bool linked = false;
  for (uint32_t i = 1; i <= links[0] && !linked; i++) linked = link_from(m, links[i], place);
  if (!linked) {
    const void *query = vector_at(g, place);
    scratch *s = &g->own;
    size_t n = search_level(g, s, query, descend(g, query, g->entry, g->top, 0, false), 0,
                            (size_t)g->options.ef_construction, false);
    if (s->near.failed || s->far.failed) return HDB_NOMEM;
    for (size_t i = 0; i < n && !linked; i++) linked = link_from(m, s->found[i].place, place);
  }
  if (linked) reach(m, place);
  return HDB_OK;
}

status hnsw_mend(hnsw *g) {
  mending m = {.g = g};
  pthread_mutex_lock(&g->writer);
  status rc = scratch_ready(g, &g->own);
  if (rc != HDB_OK || g->entry == NO_NODE) goto out;
  size_t n = g->used;
  m.reached = calloc(n / 64 + 1, sizeof *m.reached);
  m.stack = malloc(n * sizeof *m.stack);
  m.lost = malloc(n * sizeof *m.lost);
  m.links_to = calloc(n, 1);
  if (!m.reached || !m.stack || !m.lost || !m.links_to) CHECK(HDB_NOMEM);
  look(&m);
  for (uint32_t i = 0; i < m.lost_n && rc == HDB_OK; i++) {
    if (is_reached(&m, m.lost[i])) continue;
    pthread_rwlock_wrlock(&g->lock);
    rc = find(&m, m.lost[i]);
    pthread_rwlock_unlock(&g->lock);
  }
out:
  pthread_mutex_unlock(&g->writer);
  free(m.reached);
  free(m.stack);
  free(m.lost);
  free(m.links_to);
  return rc;
}
