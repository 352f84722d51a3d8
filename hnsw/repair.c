/* Repair: nodes that pointed to removed ones get new links, then the removed ones' places are free.
 *
 * Done in slices, each under the write lock for a moment, so that searches go on between them; the graph is right after
 * each. Only the last step, which frees places, makes open searches begin anew.
 */
#include <stdlib.h>

#include "hnsw/internal.h"

enum { SLICE = 16, LOOKED_AT = 4096 }; /* nodes relinked, or looked at, before searches get their chance */

static bool is_live(const node *n) {
  return !n->removed && !n->free_place;
}

/* A candidate is one of the node's live links, or of a removed link's; each once. */
static void gather(hnsw *g, uint32_t place, int level, scratch *s) {
  const uint32_t *links = links_at(g, place, level);
  const void *base = vector_at(g, place);
  memset(s->seen, 0, (g->used / 64 + 1) * sizeof *s->seen);
  s->seen[place / 64] |= 1ull << (place % 64);
  s->near.n = 0;
  for (uint32_t i = 1; i <= links[0]; i++) {
    const uint32_t *through = g->nodes[links[i]].removed ? links_at(g, links[i], level) : NULL;
    for (uint32_t k = 0; k <= (through ? through[0] : 0); k++) {
      uint32_t to = k == 0 ? links[i] : through[k];
      if (s->seen[to / 64] & 1ull << (to % 64) || g->nodes[to].removed || g->nodes[to].level < level)
        continue;
      s->seen[to / 64] |= 1ull << (to % 64);
      heap_push_near(&s->near, (candidate){rank_to(g, base, to), to});
    }
  }
}

static bool relink(hnsw *g, uint32_t place, int level, scratch *s) {
  uint32_t chosen[LINKS_MAX], *links = links_at(g, place, level);
  bool touched = false;
  for (uint32_t i = 1; i <= links[0] && !touched; i++) touched = g->nodes[links[i]].removed;
  if (!touched) return false;
  gather(g, place, level, s);
  sort_candidates(s->near.items, s->near.n);
  size_t n = select_neighbours(g, s->near.items, s->near.n, (size_t)links_max(g, level), chosen);
  links[0] = (uint32_t)n;
  memcpy(links + 1, chosen, n * sizeof *chosen);
  g->nodes[place].changed = true;
  return true;
}

static void choose_entry(hnsw *g) {
  g->entry = NO_NODE, g->top = 0;
  for (uint32_t p = 0; p < g->used; p++) {
    const node *n = &g->nodes[p];
    if (is_live(n) && (g->entry == NO_NODE || n->level > g->top)) g->entry = p, g->top = n->level;
  }
}

/* A node whose whole neighbourhood went is linked anew, as an insertion does at level 0. */
static status rescue(hnsw *g, uint32_t place, scratch *s) {
  const void *query = vector_at(g, place);
  uint32_t *links = links_at(g, place, 0);
  size_t kept = 0;
  if (g->entry == place || g->entry == NO_NODE) return HDB_OK;
  size_t n = search_level(g, s, query, descend(g, query, g->entry, g->top, 0, false), 0,
                          (size_t)g->options.ef_construction, false);
  if (s->near.failed || s->far.failed) return HDB_NOMEM;
  for (size_t i = 0; i < n; i++)
    if (s->found[i].place != place && !g->nodes[s->found[i].place].removed) s->found[kept++] = s->found[i];
  links[0] = (uint32_t)select_neighbours(g, s->found, kept, (size_t)g->options.m, links + 1);
  for (uint32_t i = 1; i <= links[0]; i++) link_back(g, links[i], place, 0);
  g->nodes[place].changed = true;
  return HDB_OK;
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
    g->upper_bytes -= (size_t)n->level * (size_t)(g->options.m + 1) * sizeof(uint32_t);
    free(n->upper);
    if (g->bytes) forget_error(g, vector_at(g, p));
    *n = (node){.free_place = true};
    g->free_places[g->free_n++] = p;
    g->removed--;
  }
  return HDB_OK;
}

/* chains of removed nodes: each repair reaches one further; links to the last ones are simply dropped */
static status relink_all(hnsw *g, scratch *s) {
  for (uint32_t p = 0; p < g->used && !s->near.failed;) {
    int relinked = 0;
    pthread_rwlock_wrlock(&g->lock);
    for (uint32_t end = p + LOOKED_AT; p < g->used && p < end && relinked < SLICE; p++)
      for (int level = 0; is_live(&g->nodes[p]) && level <= g->nodes[p].level; level++)
        relinked += relink(g, p, level, s);
    pthread_rwlock_unlock(&g->lock);
  }
  return s->near.failed ? HDB_NOMEM : HDB_OK;
}

status hnsw_repair(hnsw *g) {
  scratch *s = &g->own;
  pthread_mutex_lock(&g->writer);
  status rc = scratch_ready(g, s);
  if (rc == HDB_OK && g->removed) rc = relink_all(g, s);
  pthread_rwlock_wrlock(&g->lock);
  if (rc == HDB_OK) choose_entry(g);
  for (uint32_t p = 0; p < g->used && rc == HDB_OK; p++)
    if (is_live(&g->nodes[p]) && links_at(g, p, 0)[0] == 0) rc = rescue(g, p, s);
  if (rc == HDB_OK) rc = free_removed(g);
  g->generation++;
  pthread_rwlock_unlock(&g->lock);
  pthread_mutex_unlock(&g->writer);
  return rc;
}
