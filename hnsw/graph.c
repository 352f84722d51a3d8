/* The graph: places, labels, life and removal (insertion: insert.c, repair: repair.c).
 *
 * A node lives at a place (an index into the arrays). Removing marks it: searches still walk through it, so that the
 * graph stays connected, but do not return it. hnsw_repair gives every node that pointed to removed ones new links,
 * chosen among its live neighbours and theirs, and frees the places.
 *
 * Costs: a removal is one table lookup.
 */
#include <math.h>
#include <stdlib.h>

#include "hnsw/internal.h"

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
  uint32_t capacity = g->capacity ? g->capacity + g->capacity / 8 + 64 : 64;
  TRY(region_grow(&g->node_pages, capacity * sizeof(node)));
  g->nodes = g->node_pages.p;
  TRY(region_grow(&g->vector_pages, (size_t)capacity * g->stride));
  g->vectors = g->vector_pages.p;
  TRY(region_grow(&g->link_pages, (size_t)capacity * (size_t)(g->m0 + 1) * sizeof(uint32_t)));
  g->links = g->link_pages.p;
  g->capacity = capacity;
  return HDB_OK;
}

static void copy_prepared(const hnsw *g, const float *in, float *out) {
  size_t n = (size_t)g->options.dimensions;
  memcpy(out, in, n * sizeof *out);
  if (g->options.metric != HNSW_COSINE) return;
  double norm2 = vector_norm2_of(in, n);
  double scale = norm2 > 0 ? 1 / sqrt(norm2) : 0; /* of tiny vectors beyond a float's range */
  for (size_t i = 0; i < n; i++) out[i] = (float)((double)out[i] * scale);
}

void prepare_vector(const hnsw *g, const float *in, void *out) {
  size_t n = (size_t)g->options.dimensions;
  if (!g->bytes) {
    copy_prepared(g, in, out);
    memset((float *)out + n, 0, (g->width - n) * sizeof(float));
    return;
  }
  float near[1024], *floats = n <= 1024 ? near : malloc(n * sizeof *floats);
  if (!floats) { /* ranks as the centre, found late but found */
    memset(out, 0, g->stride);
    return;
  }
  copy_prepared(g, in, floats);
  prepare_bytes(g, floats, out);
  if (floats != near) free(floats);
}

uint32_t stamp_of(const hnsw *g, const float *vector) {
  uint64_t h = 0x9e3779b97f4a7c15ull;
  for (int i = 0; i < g->options.dimensions; i++) {
    uint32_t bits;
    memcpy(&bits, vector + i, 4);
    h = (h ^ bits) * 0xff51afd7ed558ccdull;
    h ^= h >> 32;
  }
  return (uint32_t)h;
}

uint32_t new_place(hnsw *g, int64_t label, uint32_t stamp, const void *prepared, int level) {
  uint32_t place;
  size_t upper_bytes = (size_t)level * (size_t)(g->options.m + 1) * sizeof(uint32_t);
  if (g->used == g->capacity && !g->free_n && grow(g) != HDB_OK) return NO_NODE;
  uint32_t *upper = level ? calloc(1, upper_bytes) : NULL;
  if (level && !upper) return NO_NODE;
  place = g->free_n ? g->free_places[--g->free_n] : g->used++;
  g->nodes[place] =
      (node){.label = label, .stamp = stamp, .level = (uint8_t)level, .changed = true, .upper = upper};
  g->upper_bytes += upper_bytes;
  memcpy(g->vectors + (size_t)place * g->stride, prepared, g->stride);
  if (g->bytes) note_error(g, prepared);
  links_at(g, place, 0)[0] = 0;
  return place;
}

/* ---- life ---- */
hnsw *hnsw_new(const hnsw_options *options) {
  hnsw *g = calloc(1, sizeof *g);
  pthread_rwlockattr_t attributes;
  if (!g) return NULL;
  g->options = *options;
  if (!g->options.m) g->options.m = 16;
  if (!g->options.ef_construction) g->options.ef_construction = 200;
  g->m0 = 2 * g->options.m;
  g->bytes = options->copy8 && options->metric != HNSW_L1;
  g->width = ((size_t)options->dimensions + 15) & ~(size_t)15;
  g->stride = g->bytes ? sizeof(byte_vector) + g->width : g->width * sizeof(float);
  byte_kernel kernels[BYTE_KERNELS];
  byte_kernels_here(kernels);
  g->rank = g->bytes ? kernels[0].one : distance_rank(options->metric);
  g->ranks = g->bytes ? kernels[0].many : NULL;
  g->entry = NO_NODE;
  pthread_rwlockattr_init(&attributes);
#ifdef __GLIBC__ /* searches that never pause must not keep the writer out for ever */
  pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
  bool ready = pthread_rwlock_init(&g->lock, &attributes) == 0;
  pthread_rwlockattr_destroy(&attributes);
  pthread_mutex_init(&g->writer, NULL);
  if (ready) return g;
  free(g);
  return NULL;
}

void hnsw_free(hnsw *g) {
  if (!g) return;
  for (uint32_t p = 0; p < g->used; p++) free(g->nodes[p].upper);
  region_free(&g->node_pages);
  region_free(&g->vector_pages);
  region_free(&g->link_pages);
  scratch_free(&g->own);
  search_free(atomic_exchange(&g->spare, NULL));
  free(g->centre);
  free(g->free_places);
  free(g->table);
  buf_free(&g->loaded);
  pthread_rwlock_destroy(&g->lock);
  pthread_mutex_destroy(&g->writer);
  free(g);
}

static size_t read_number(hnsw *g, const uint32_t *field) {
  pthread_rwlock_rdlock(&g->lock);
  size_t n = *field;
  pthread_rwlock_unlock(&g->lock);
  return n;
}
size_t hnsw_count(hnsw *g) {
  return read_number(g, &g->live);
}
size_t hnsw_removed(hnsw *g) {
  return read_number(g, &g->removed);
}
size_t hnsw_bytes(hnsw *g) {
  pthread_rwlock_rdlock(&g->lock);
  size_t n = sizeof *g + g->used * (sizeof(node) + g->stride + (size_t)(g->m0 + 1) * 4) + g->upper_bytes +
             (size_t)g->table_size * 4;
  pthread_rwlock_unlock(&g->lock);
  return n;
}
size_t hnsw_link_bytes(hnsw *g) {
  return hnsw_bytes(g) - read_number(g, &g->used) * g->stride;
}

/* ---- removal ---- */
void mark_removed(hnsw *g, uint32_t place) {
  table_drop(g, g->nodes[place].label);
  g->nodes[place].removed = true;
  g->nodes[place].changed = true;
  g->live--, g->removed++;
}

status hnsw_remove(hnsw *g, int64_t label) {
  pthread_mutex_lock(&g->writer);
  pthread_rwlock_wrlock(&g->lock);
  uint32_t place = place_of(g, label);
  if (place != NO_NODE) mark_removed(g, place);
  pthread_rwlock_unlock(&g->lock);
  pthread_mutex_unlock(&g->writer);
  return place == NO_NODE ? HDB_NOTFOUND : HDB_OK;
}

bool hnsw_contains(hnsw *g, int64_t label) {
  pthread_rwlock_rdlock(&g->lock);
  bool found = place_of(g, label) != NO_NODE;
  pthread_rwlock_unlock(&g->lock);
  return found;
}
