/* The graph's insides, shared by the files of this folder. */
#ifndef HDB_HNSW_INTERNAL_H
#define HDB_HNSW_INTERNAL_H

#include <pthread.h>

#include "hnsw/hnsw.h"

enum { LEVELS_MAX = 16 };
#define NO_NODE UINT32_MAX

/* Orders as the true distance does, cheaper: squared l2, 1 - dot of unit vectors, -dot, l1. */
typedef float (*distance_function)(const float *a, const float *b, size_t n);
distance_function distance_rank(enum hnsw_metric metric);
double distance_from_rank(enum hnsw_metric metric, float rank);

typedef struct node {
  int64_t label;
  uint8_t level;
  bool removed, changed, free_place;
  uint32_t *upper; /* levels 1..level: (m + 1) words each: count, links */
} node;

struct hnsw {
  hnsw_options options;
  int m0; /* links at level 0 */
  size_t stride; /* floats a vector, padded to 8 */
  distance_function rank;
  pthread_rwlock_t lock;
  node *nodes;
  float *vectors;
  uint32_t *links; /* level 0: (m0 + 1) words a node */
  uint32_t used, capacity, live, removed;
  uint32_t entry;
  int top;
  uint32_t *free_places;
  uint32_t free_n, free_capacity;
  /* label -> place, open addressing */
  uint32_t *table;
  uint32_t table_size, table_used;
  /* of the one writer */
  uint32_t *seen;
  uint32_t seen_mark;
  uint64_t generation; /* moves with every change of places: a search open across a repair starts anew */
  buf loaded;          /* while loading: link labels waiting for hnsw_load_finish */
};

typedef struct candidate {
  float rank;
  uint32_t place;
} candidate;

/* binary heaps of candidates; `nearest` on top or `farthest` on top */
typedef struct heap {
  candidate *items;
  size_t n, capacity;
  bool failed;
} heap;
void heap_push_near(heap *h, candidate c);
candidate heap_pop_near(heap *h);
void heap_push_far(heap *h, candidate c);
candidate heap_pop_far(heap *h);

static inline const float *vector_at(const hnsw *g, uint32_t place) { return g->vectors + (size_t)place * g->stride; }
static inline uint32_t *links_at(const hnsw *g, uint32_t place, int level) {
  return level == 0 ? g->links + (size_t)place * (size_t)(g->m0 + 1)
                    : g->nodes[place].upper + (size_t)(level - 1) * (size_t)(g->options.m + 1);
}
static inline int links_max(const hnsw *g, int level) { return level == 0 ? g->m0 : g->options.m; }

uint32_t place_of(const hnsw *g, int64_t label); /* NO_NODE */
status table_put(hnsw *g, int64_t label, uint32_t place);
void table_drop(hnsw *g, int64_t label);
uint32_t new_place(hnsw *g, int64_t label, const float *vector, int level); /* NO_NODE: out of memory */
int level_of_label(const hnsw *g, int64_t label);
/* Prepares a vector as the graph keeps it (unit length for cosine); out has `stride` floats. */
void prepare_vector(const hnsw *g, const float *in, float *out);
/* Algorithm 4: the m best of n candidates (sorted by rank), each nearer to the base than to those chosen before. */
size_t select_neighbours(const hnsw *g, candidate *candidates, size_t n, size_t m, uint32_t *out);

#endif
