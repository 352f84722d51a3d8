/* A node as bytes and back (byte table in hnsw.h). Links are stored by label, so that places may move and a graph
 * can be put together from nodes in any order; links to labels that did not come back are dropped. */
#include <stdlib.h>

#include "hnsw/internal.h"

static uint64_t zigzag(int64_t v) { return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63); }
static int64_t unzigzag(uint64_t v) { return (int64_t)(v >> 1) ^ -(int64_t)(v & 1); }

status hnsw_store_node(hnsw *g, int64_t label, buf *out) {
  pthread_rwlock_rdlock(&g->lock);
  uint32_t place = place_of(g, label);
  if (place != NO_NODE) {
    const node *n = &g->nodes[place];
    buf_varint(out, n->level);
    buf_varint(out, zigzag(label));
    for (int level = 0; level <= n->level; level++) {
      const uint32_t *links = links_at(g, place, level);
      uint32_t live = 0;
      for (uint32_t i = 1; i <= links[0]; i++) live += !g->nodes[links[i]].removed;
      buf_varint(out, live);
      for (uint32_t i = 1; i <= links[0]; i++)
        if (!g->nodes[links[i]].removed) buf_varint(out, zigzag((int64_t)((uint64_t)g->nodes[links[i]].label - (uint64_t)label)));
    }
  }
  pthread_rwlock_unlock(&g->lock);
  return place == NO_NODE ? HDB_NOTFOUND : buf_failed(out) ? HDB_NOMEM : HDB_OK;
}

/* The links are kept as bytes until every node has a place. */
status hnsw_load_node(hnsw *g, slice bytes, const float *vector) {
  const uint8_t *p = bytes.p, *end = bytes.p + bytes.n;
  uint64_t level, label;
  p = varint_get(p, end, &level);
  if (p) p = varint_get(p, end, &label);
  if (!p || level >= LEVELS_MAX) return HDB_CORRUPT;
  status rc = HDB_CORRUPT;
  pthread_rwlock_wrlock(&g->lock);
  if (place_of(g, unzigzag(label)) == NO_NODE) {
    uint32_t place = new_place(g, unzigzag(label), vector, (int)level);
    rc = place == NO_NODE ? HDB_NOMEM : HDB_OK;
    if (rc == HDB_OK) {
      g->nodes[place].changed = false;
      g->live++;
      rc = table_put(g, unzigzag(label), place);
      buf_varint(&g->loaded, place);
      buf_varint(&g->loaded, (uint64_t)(end - p));
      buf_append(&g->loaded, p, (size_t)(end - p));
      if (buf_failed(&g->loaded)) rc = HDB_NOMEM;
    }
  }
  pthread_rwlock_unlock(&g->lock);
  return rc;
}

static status bind_links(hnsw *g, uint32_t place, const uint8_t *p, const uint8_t *end) {
  int64_t label = g->nodes[place].label;
  for (int level = 0; level <= g->nodes[place].level; level++) {
    uint64_t n, delta;
    uint32_t *links = links_at(g, place, level);
    p = varint_get(p, end, &n);
    if (!p || n > (uint64_t)links_max(g, level)) return HDB_CORRUPT;
    links[0] = 0;
    for (uint64_t i = 0; i < n; i++) {
      p = varint_get(p, end, &delta);
      if (!p) return HDB_CORRUPT;
      uint32_t to = place_of(g, (int64_t)((uint64_t)label + (uint64_t)unzigzag(delta)));
      if (to == NO_NODE || g->nodes[to].level < level || to == place) g->nodes[place].changed = true;
      else links[++links[0]] = to;
    }
  }
  return HDB_OK;
}

status hnsw_load_finish(hnsw *g) {
  status rc = HDB_OK;
  pthread_rwlock_wrlock(&g->lock);
  for (const uint8_t *p = g->loaded.p, *end = p + g->loaded.n; p && p < end && rc == HDB_OK;) {
    uint64_t place, n;
    p = varint_get(p, end, &place);
    p = varint_get(p, end, &n);
    rc = bind_links(g, (uint32_t)place, p, p + n);
    p += n;
  }
  buf_free(&g->loaded);
  for (uint32_t p = 0; p < g->used; p++)
    if (!g->nodes[p].removed && !g->nodes[p].free_place && (g->entry == NO_NODE || g->nodes[p].level > g->top))
      g->entry = p, g->top = g->nodes[p].level;
  pthread_rwlock_unlock(&g->lock);
  return rc;
}

void hnsw_each_changed(hnsw *g, hnsw_visitor visit, void *context) {
  pthread_rwlock_wrlock(&g->lock);
  for (uint32_t p = 0; p < g->used; p++) {
    if (!g->nodes[p].changed || g->nodes[p].free_place) continue;
    g->nodes[p].changed = false;
    if (!g->nodes[p].removed) visit(context, g->nodes[p].label);
  }
  pthread_rwlock_unlock(&g->lock);
}
