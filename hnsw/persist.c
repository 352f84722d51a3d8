/* A node as bytes and back (byte table in hnsw.h). Links are stored by label, so that places may move and a graph
 * can be put together from nodes in any order; links to labels that did not come back are dropped. The stamp tells whether
 * the vector is still the one that the links were chosen for. */
#include <stdlib.h>

#include "hnsw/internal.h"

static uint64_t zigzag(int64_t v) {
  return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}
static int64_t unzigzag(uint64_t v) {
  return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static int by_label(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static void store_links(const hnsw *g, int64_t label, const uint32_t *links, buf *out) {
  int64_t labels[LINKS_MAX];
  size_t n = 0;
  for (uint32_t i = 1; i <= links[0]; i++)
    if (!g->nodes[links[i]].removed) labels[n++] = g->nodes[links[i]].label;
  qsort(labels, n, sizeof *labels, by_label);
  buf_varint(out, n);
  for (size_t i = 0; i < n; i++) {
    if (i == 0)
      buf_varint(out, zigzag((int64_t)((uint64_t)labels[0] - (uint64_t)label)));
    else
      buf_varint(out, (uint64_t)labels[i] - (uint64_t)labels[i - 1]);
  }
}

status hnsw_store_node(hnsw *g, int64_t label, buf *out) {
  pthread_rwlock_rdlock(&g->lock);
  uint32_t place = place_of(g, label);
  if (place != NO_NODE) {
    const node *n = &g->nodes[place];
    uint32_t stamp = n->stamp;
    buf_append(out, &stamp, 4);
    buf_varint(out, n->level);
    buf_varint(out, zigzag(label));
    for (int level = 0; level <= n->level; level++) store_links(g, label, links_at(g, place, level), out);
  }
  pthread_rwlock_unlock(&g->lock);
  return place == NO_NODE ? HDB_NOTFOUND : buf_failed(out) ? HDB_NOMEM : HDB_OK;
}

typedef struct stored_node {
  uint32_t stamp;
  int level;
  int64_t label;
  const uint8_t *links, *end;
} stored_node;

static status read_head(slice bytes, stored_node *n) {
  uint64_t level, label;
  if (bytes.n < 6) return HDB_CORRUPT;
  memcpy(&n->stamp, bytes.p, 4);
  n->end = bytes.p + bytes.n;
  n->links = varint_get(bytes.p + 4, n->end, &level);
  if (n->links) n->links = varint_get(n->links, n->end, &label);
  if (!n->links || level >= LEVELS_MAX) return HDB_CORRUPT;
  n->level = (int)level;
  n->label = unzigzag(label);
  return HDB_OK;
}

/* One level's labels; the byte after them, NULL when damaged. */
static const uint8_t *read_links(const uint8_t *p, const uint8_t *end, int64_t label, int most,
                                 int64_t *labels, size_t *n) {
  uint64_t count, delta;
  p = varint_get(p, end, &count);
  if (!p || count > (uint64_t)most) return NULL;
  for (uint64_t i = 0; i < count; i++) {
    p = varint_get(p, end, &delta);
    if (!p) return NULL;
    labels[i] = (int64_t)(i ? (uint64_t)labels[i - 1] + delta : (uint64_t)label + (uint64_t)unzigzag(delta));
  }
  *n = (size_t)count;
  return p;
}

/* The links are kept as bytes until every node has a place. */
static status load(hnsw *g, const stored_node *n, const float *vector) {
  TRY(scratch_ready(g, &g->own));
  if (place_of(g, n->label) != NO_NODE) return HDB_CORRUPT;
  prepare_vector(g, vector, g->own.vector);
  uint32_t place = new_place(g, n->label, n->stamp, g->own.vector, n->level);
  if (place == NO_NODE) return HDB_NOMEM;
  g->nodes[place].changed = false;
  g->live++;
  TRY(table_put(g, n->label, place));
  buf_varint(&g->loaded, place);
  buf_varint(&g->loaded, (uint64_t)(n->end - n->links));
  buf_append(&g->loaded, n->links, (size_t)(n->end - n->links));
  return buf_failed(&g->loaded) ? HDB_NOMEM : HDB_OK;
}

status hnsw_load_node(hnsw *g, int64_t label, slice bytes, const float *vector) {
  stored_node n;
  TRY(read_head(bytes, &n));
  if (n.label != label) return HDB_CORRUPT;
  if (n.stamp != stamp_of(g, vector)) return HDB_NOTFOUND;
  pthread_mutex_lock(&g->writer);
  pthread_rwlock_wrlock(&g->lock);
  status rc = load(g, &n, vector);
  pthread_rwlock_unlock(&g->lock);
  pthread_mutex_unlock(&g->writer);
  return rc;
}

/* Nodes that came in the order of their labels, without gaps, lie as far apart as these do: looked at together first. */
static void find_places(const hnsw *g, uint32_t place, const int64_t *labels, size_t n, uint32_t *out) {
  int64_t label = g->nodes[place].label;
  for (size_t i = 0; i < n; i++) {
    uint64_t guess = (uint64_t)place + ((uint64_t)labels[i] - (uint64_t)label);
    out[i] = guess < g->used ? (uint32_t)guess : place;
    __builtin_prefetch(&g->nodes[out[i]]);
  }
  for (size_t i = 0; i < n; i++) {
    const node *there = &g->nodes[out[i]];
    if (there->label != labels[i] || there->removed || there->free_place) out[i] = place_of(g, labels[i]);
  }
}

static status bind_links(hnsw *g, uint32_t place, const uint8_t *p, const uint8_t *end) {
  int64_t label = g->nodes[place].label, labels[LINKS_MAX];
  uint32_t places[LINKS_MAX];
  for (int level = 0; level <= g->nodes[place].level; level++) {
    size_t n;
    uint32_t *links = links_at(g, place, level);
    p = read_links(p, end, label, links_max(g, level), labels, &n);
    if (!p) return HDB_CORRUPT;
    links[0] = 0;
    find_places(g, place, labels, n, places);
    for (size_t i = 0; i < n; i++) {
      uint32_t to = places[i];
      if (to == NO_NODE || g->nodes[to].level < level || to == place)
        g->nodes[place].changed = true;
      else
        links[++links[0]] = to;
    }
  }
  return p == end ? HDB_OK : HDB_CORRUPT;
}

status hnsw_load_finish(hnsw *g) {
  status rc = HDB_OK;
  pthread_mutex_lock(&g->writer);
  pthread_rwlock_wrlock(&g->lock);
  for (const uint8_t *p = g->loaded.p, *end = p + g->loaded.n; p && p < end && rc == HDB_OK;) {
    uint64_t place, n;
    p = varint_get(p, end, &place);
    p = varint_get(p, end, &n);
    rc = bind_links(g, (uint32_t)place, p, p + n);
    p += n;
  }
  buf_free(&g->loaded);
  g->loaded = (buf)BUF_INIT;
  for (uint32_t p = 0; p < g->used; p++)
    if (!g->nodes[p].removed && !g->nodes[p].free_place &&
        (g->entry == NO_NODE || g->nodes[p].level > g->top))
      g->entry = p, g->top = g->nodes[p].level;
  pthread_rwlock_unlock(&g->lock);
  pthread_mutex_unlock(&g->writer);
  return rc;
}

void hnsw_each_changed(hnsw *g, hnsw_visitor visit, void *context) {
  pthread_mutex_lock(&g->writer); /* searches do not look at the flag */
  for (uint32_t p = 0; p < g->used; p++) {
    if (!g->nodes[p].changed || g->nodes[p].free_place) continue;
    g->nodes[p].changed = false;
    if (!g->nodes[p].removed) visit(context, g->nodes[p].label);
  }
  pthread_mutex_unlock(&g->writer);
}

status hnsw_check_node(const hnsw_options *options, slice bytes, int64_t label, const float *vector,
                       hnsw_filter known, void *context, int64_t *broken) {
  stored_node n;
  int64_t labels[LINKS_MAX];
  size_t count;
  hnsw shape = {.options = *options};
  int m = options->m ? options->m : 16;
  TRY(read_head(bytes, &n));
  if (n.label != label) return HDB_CORRUPT;
  for (int level = 0; level <= n.level; level++) {
    n.links = read_links(n.links, n.end, label, level ? m : 2 * m, labels, &count);
    if (!n.links) return HDB_CORRUPT;
    for (size_t i = 0; i < count; i++) *broken += !known(context, labels[i]);
  }
  if (n.links != n.end) return HDB_CORRUPT;
  return n.stamp == stamp_of(&shape, vector) ? HDB_OK : HDB_NOTFOUND;
}
