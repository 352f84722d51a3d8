/* hnsw: nearest first.
 *
 * A Hierarchical Navigable Small World graph (Malkov, Yashunin, "Efficient and robust approximate nearest neighbor
 * search using Hierarchical Navigable Small World graphs", 2016; algorithm numbers below are that paper's) over vectors
 * of one dimension and one metric. It knows no table: a vector is known by its label (a row id), rows that a reader
 * does not have are refused by a filter, and storage is bytes handed to the caller.
 *
 * H1  A node's links point to live places only; after hnsw_repair none points to a removed node.
 * H2  A removed label is never returned, from the moment hnsw_remove returns.
 * H3  A search returns labels in ascending distance (as far as ranks tell), none twice, and goes on for as long as it is asked: with no
 *     limit it ends only when every reachable node was seen.
 * H4  Levels are drawn from the label, not from a clock: the same insertions give the same graph.
 *
 * Threads: any number of searches at once, one change at a time; both are held apart inside (a read-write lock, held for
 * writing while links are set, not while neighbours are looked for).
 * Memory a node: 4 bytes a dimension (padded to 16 of them; with copy8 1 and 16 more), 4 * (2m + 1) bytes of links, 4 * (m + 1) a level above, 24,
 * and 8 to 16 for the label.
 */
#ifndef HDB_HNSW_H
#define HDB_HNSW_H

#include "kv/base/bytes.h"
#include "kv/base/status.h"

enum hnsw_metric { HNSW_L2, HNSW_COSINE, HNSW_IP, HNSW_L1 };

/* Distances as SQL shows them: l2 (not squared), 1 - cosine (1 when a vector is zero), negative inner product, l1.
 * n floats each, at any address; SIMD chosen at run time. */
double vector_distance_of(enum hnsw_metric metric, const float *a, const float *b, size_t n);

double vector_inner_product_of(const float *a, const float *b, size_t n);
double vector_norm2_of(const float *a, size_t n); /* squared */
/* The cosine distance when b's squared norm is known: the same bits. */
double vector_cosine_of(const float *a, const float *b, double b_norm2, size_t n);

typedef struct hnsw hnsw;
typedef struct hnsw_options {
  int dimensions;      /* 1 .. 65535 */
  uint8_t metric;      /* enum hnsw_metric */
  int m;               /* links a node and level, 2 .. 100; twice as many at level 0; 0: 16 */
  int ef_construction; /* candidates looked at when inserting, 4 .. 1000; 0: 200 */
  bool
      copy8; /* keep vectors as bytes (not for l1): a quarter of the memory, distances right to about a percent of
                          the spread; whoever needs more measures what comes himself */
} hnsw_options;

/* NULL: out of memory. */
hnsw *hnsw_new(const hnsw_options *options);
void hnsw_free(hnsw *g);
size_t hnsw_count(hnsw *g);      /* live nodes */
size_t hnsw_removed(hnsw *g);    /* nodes removed but still linked */
size_t hnsw_bytes(hnsw *g);      /* memory held */
size_t hnsw_link_bytes(hnsw *g); /* ... but for the vectors */

/* What lies in the middle of the vectors, about: taken off before they become bytes. Before the first is added. */
status hnsw_set_centre(hnsw *g, const float *centre);

/* Adds or replaces a label's vector (copied). HDB_NOMEM. Algorithm 1. */
status hnsw_add(hnsw *g, int64_t label, const float *vector);
/* The same for n different labels; vectors lie one behind the other. Searches wait until it is done: for a graph that nobody
 * searches yet, or few at a time. threads: how many work at it (the caller's is one). */
enum { HNSW_THREADS_MAX = 32 };
status hnsw_add_many(hnsw *g, const int64_t *labels, const float *vectors, size_t n, int threads);
/* HDB_NOTFOUND when the label is not there. */
status hnsw_remove(hnsw *g, int64_t label);
bool hnsw_contains(hnsw *g, int64_t label);
/* Relinks around removed nodes and frees their places. Proportional to the graph; call when many were removed. */
status hnsw_repair(hnsw *g);
/* A link for each node that lost its last one, so that every live node can be reached. Proportional to the graph; call after
 * many were added or removed. */
status hnsw_mend(hnsw *g);

/* A search that can be continued. filter NULL: every label; else asked for a node at most once, about in the order of
 * distances, and for no more nodes than the walk passes. */
typedef bool (*hnsw_filter)(void *context, int64_t label);
/* The filter is about to be asked for these, HNSW_TOGETHER at most: so that what it reads can be fetched together. */
enum { HNSW_TOGETHER = 16 };
typedef void (*hnsw_announcer)(void *context, const int64_t *labels, size_t n);
typedef struct hnsw_search hnsw_search;
/* ef: how many of the nearest are looked at before the first is returned (>= 1). query is copied. NULL: out of memory. */
hnsw_search *hnsw_search_open(hnsw *g, const float *query, int ef, hnsw_filter filter, void *context);
/* With a filter, and before the first result: a long walk passes nodes in handfuls, and tells of each before. */
void hnsw_search_announce(hnsw_search *s, hnsw_announcer announce);
/* The next nearest. false: no more. Distances as vector_distance_of. */
bool hnsw_search_next(hnsw_search *s, int64_t *label, double *distance);
/* Nothing whose true distance is nearer than this comes from hnsw_search_next any more, as far as the walk has come; the
 * rounding of ranks is allowed for (with copy8: three standard deviations of it). */
double hnsw_search_bound(const hnsw_search *s);
/* The distance of the nearest node met so far, whatever the filter says of it. Infinite: none. */
double hnsw_search_nearest(const hnsw_search *s);
/* For a query unlike the data, whose walk may have ended at the wrong side of it: some thousand nodes all over the graph are
 * met as well, and the walk goes on from all until the bound holds for this ef. What is new comes next, and may be nearer than
 * what was returned. */
void hnsw_search_spread(hnsw_search *s, int ef);
/* What the next calls will return, as things stand: at most n labels. */
size_t hnsw_search_coming(hnsw_search *s, int64_t *labels, size_t n);
/* The ef nearest were all returned: the next call widens the walk. */
bool hnsw_search_pauses(const hnsw_search *s);
/* Nodes whose distance was computed so far: what the search cost. */
size_t hnsw_search_seen(const hnsw_search *s);
void hnsw_search_close(hnsw_search *s);

/* ---- persistence: a node's bytes ----
 *   4 bytes (little-endian): stamp of the vector it was linked for · varint level · varint label (zigzag) · for each level
 *   from 0: varint count, then the neighbours' labels ascending: the first as zigzag varint relative to this label, the
 *   others relative to the one before
 * A graph is loaded by giving back every node's bytes, in any order, with its vector, then hnsw_load_finish, which
 * binds the links and drops those whose target is missing (removed since, or a crash between two batches). So a stored
 * node that is late costs links, never a wrong row. */
status hnsw_store_node(hnsw *g, int64_t label, buf *out); /* HDB_NOTFOUND */
/* HDB_NOTFOUND: the node was another vector's; HDB_CORRUPT: damaged, another label's, or the label is there. */
status hnsw_load_node(hnsw *g, int64_t label, slice bytes, const float *vector);
status hnsw_load_finish(hnsw *g); /* HDB_CORRUPT: the graph is of no use */
/* Labels whose links changed since the last call (insertions change their neighbours'): to be stored again. */
typedef void (*hnsw_visitor)(void *context, int64_t label);
void hnsw_each_changed(hnsw *g, hnsw_visitor visit, void *context);
/* The stored node's own check without a graph: is it of this vector, and is every link one that `known` knows? broken:
 * links that it does not. HDB_NOTFOUND, HDB_CORRUPT as above. */
status hnsw_check_node(const hnsw_options *options, slice bytes, int64_t label, const float *vector,
                       hnsw_filter known, void *context, int64_t *broken);

#endif
