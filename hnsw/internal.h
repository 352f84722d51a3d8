/* The graph's insides, shared by the files of this folder. */
#ifndef HDB_HNSW_INTERNAL_H
#define HDB_HNSW_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "hnsw/hnsw.h"

enum { LEVELS_MAX = 16, LINKS_MAX = 200 /* at level 0, m being 100 at most */ };
#define NO_NODE UINT32_MAX

/* Orders as the true distance does, cheaper: squared l2, -dot (of unit vectors for cosine), l1. Both vectors as the graph
 * keeps them; n: floats, or bytes. */
typedef float (*distance_function)(const void *a, const void *b, size_t n);
distance_function distance_rank(enum hnsw_metric metric);
/* The same for several vectors, which wait for memory side by side. */
typedef void (*ranks_function)(const void *from, const char *vectors, size_t stride, const uint32_t *places,
                               size_t count, size_t n, float *ranks);
typedef struct byte_kernel {
  distance_function one;
  ranks_function many; /* NULL: one by one */
} byte_kernel;
enum { BYTE_KERNELS = 3 };
int byte_kernels_here(byte_kernel *out); /* what this processor can, the best first */
double distance_from_rank(enum hnsw_metric metric, double rank);

/* A vector as bytes (bytes.c): rank(x, y) = x.bias + y.bias - x.scale * y.scale * (sum of x.q[i] * y.q[i]). */
typedef struct byte_vector {
  float scale, bias;
  int32_t sum; /* of q, for instructions that multiply unsigned by signed */
  float norm;  /* of what it stands for */
  int8_t q[];  /* padded to 16 with zeros */
} byte_vector;

typedef struct node {
  int64_t label;
  uint32_t *upper; /* levels 1..level: (m + 1) words each: count, links */
  uint32_t stamp;  /* of the vector as it was given (stamp_of) */
  uint8_t level;
  bool removed : 1, free_place : 1;
  bool changed;        /* links differ from what hnsw_each_changed last told */
  atomic_bool latched; /* while several threads link (insert.c): its links are held */
} node;

/* Pages of an array that grows in place (memory.c); aligned to a cache line at least. */
typedef struct region {
  void *p;
  size_t bytes;
} region;
status region_grow(region *r, size_t bytes);
void region_free(region *r);

/* What one inserting thread works with. */
typedef struct candidate {
  float rank;
  uint32_t place;
} candidate;
typedef struct heap { /* binary; `near`: the nearest on top, `far`: the farthest */
  candidate *items;
  size_t n, capacity;
  bool failed;
} heap;
void heap_push_near(heap *h, candidate c);
candidate heap_pop_near(heap *h);
void heap_push_far(heap *h, candidate c);
candidate heap_pop_far(heap *h);
void sort_candidates(candidate *c, size_t n); /* ascending */

typedef struct scratch {
  heap near, far;
  candidate *found; /* ef_construction + 2 */
  uint64_t *seen;   /* a bit a place */
  size_t words;
  void *vector; /* stride bytes */
} scratch;

struct hnsw {
  hnsw_options options;
  int m0;        /* links at level 0 */
  bool bytes;    /* vectors are kept as byte_vector, else as floats padded to 16 */
  size_t width;  /* floats or bytes that rank looks at */
  size_t stride; /* bytes a vector */
  float *centre; /* bytes: subtracted first */
  double error2; /* bytes: the variances of one element's error, added up over all places */
  distance_function rank;
  ranks_function ranks;   /* NULL: one by one */
  pthread_mutex_t writer; /* one change at a time; outside of lock */
  pthread_rwlock_t lock;
  node *nodes;
  char *vectors;
  uint32_t *links; /* level 0: (m0 + 1) words a node */
  region node_pages, vector_pages, link_pages;
  uint32_t used, capacity, live, removed;
  uint32_t entry;
  int top;
  uint32_t *free_places;
  uint32_t free_n, free_capacity;
  /* label -> place, open addressing */
  uint32_t *table;
  uint32_t table_size, table_used;
  size_t upper_bytes;
  scratch own;         /* the writer's */
  uint64_t generation; /* moves with every change of places: a search open across a repair starts anew */
  buf loaded;          /* while loading: link labels waiting for hnsw_load_finish */
  hnsw_search *_Atomic spare; /* a closed search, for the next one */
};

static inline const void *vector_at(const hnsw *g, uint32_t place) {
  return g->vectors + (size_t)place * g->stride;
}
static inline float rank_to(const hnsw *g, const void *from, uint32_t place) {
  return g->rank(from, vector_at(g, place), g->width);
}
static inline void ranks_to(const hnsw *g, const void *from, const uint32_t *places, size_t count,
                            float *ranks) {
  if (g->ranks)
    g->ranks(from, g->vectors, g->stride, places, count, g->width, ranks);
  else
    for (size_t i = 0; i < count; i++) ranks[i] = rank_to(g, from, places[i]);
}
static inline uint32_t *links_at(const hnsw *g, uint32_t place, int level) {
  return level == 0 ? g->links + (size_t)place * (size_t)(g->m0 + 1)
                    : g->nodes[place].upper + (size_t)(level - 1) * (size_t)(g->options.m + 1);
}
static inline int links_max(const hnsw *g, int level) {
  return level == 0 ? g->m0 : g->options.m;
}
static inline void prefetch_vector(const hnsw *g, uint32_t place) {
  const char *p = vector_at(g, place);
  for (size_t at = 0; at < g->stride && at < 256; at += 64) __builtin_prefetch(p + at); /* the processor sees the rest coming */
}

/* An element's error lies evenly within half a step. */
static inline void note_error(hnsw *g, const byte_vector *v) {
  g->error2 += (double)v->scale * (double)v->scale / 12;
}
static inline void forget_error(hnsw *g, const byte_vector *v) {
  g->error2 -= (double)v->scale * (double)v->scale / 12;
}

/* graph.c */
uint32_t place_of(const hnsw *g, int64_t label); /* NO_NODE */
status table_put(hnsw *g, int64_t label, uint32_t place);
void table_drop(hnsw *g, int64_t label);
uint32_t new_place(hnsw *g, int64_t label, uint32_t stamp, const void *prepared,
                   int level); /* NO_NODE: out of memory */
int level_of_label(const hnsw *g, int64_t label);
/* Prepares a vector as the graph keeps it (unit length for cosine); out has `stride` bytes. */
void prepare_vector(const hnsw *g, const float *in, void *out);
/* bytes.c: `in` is of unit length for cosine already; it is overwritten. */
void prepare_bytes(const hnsw *g, float *in, byte_vector *out);
void mark_removed(hnsw *g, uint32_t place);
uint32_t stamp_of(const hnsw *g, const float *vector);

/* insert.c */
status scratch_ready(const hnsw *g, scratch *s);
void scratch_free(scratch *s);
/* Algorithm 4: the m best of n candidates (sorted by rank), each nearer to the base than to those chosen before. */
size_t select_neighbours(const hnsw *g, candidate *candidates, size_t n, size_t m, uint32_t *out);
/* Algorithm 2: the ef nearest of a level, sorted, into s->found. latched: other threads link meanwhile. */
size_t search_level(hnsw *g, scratch *s, const void *query, uint32_t from, int level, size_t ef,
                    bool latched);
uint32_t descend(hnsw *g, const void *query, uint32_t from, int level, int until, bool latched);
/* `from` gets a link to `to`; when it is full its links are chosen again. */
void link_back(hnsw *g, uint32_t from, uint32_t to, int level);

/* search.c */
void search_free(hnsw_search *s);

#endif
