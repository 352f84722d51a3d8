/* The automatic index of VECTOR columns: for each engine, shared by its connections, one graph a (tree, column, metric).
 *
 * The graph equals the committed rows at one time; a log holds the row ids that commits touched since its floor. What a
 * reader cannot take from the graph is in the log: it looks at those rows itself, and verifies every row that the graph
 * names, so a result never depends on how far the builder is.
 * V1  Rows whose vector differs between the graph and a reader's view (own writes apart) are among the row ids that
 *     vector_view_touched gives, at any time while the view is entered.
 * V2  Commits append to the log and wait for nothing else; a thread of the engine's does all work on graphs (with helpers
 *     while it builds), at a lower priority.
 * V3  A graph that cannot serve a view (not built yet, the view older than the log, a tree cleared or filled as a
 *     whole) is not entered: the reader scans.
 * V4  What is stored of a graph is compared with the rows when it is loaded, node by node: a row without its node is added,
 *     a node without its row is dropped. So nothing depends on when it was stored, or whether the last time was cut short.
 */
#ifndef HDB_SQL_VECTOR_INDEX_H
#define HDB_SQL_VECTOR_INDEX_H

#include <stdatomic.h>

#include "hnsw/hnsw.h"
#include "mvcc/mvcc.h"

enum { VECTOR_ROWS_MIN = 2000 }; /* below, an exact scan is as fast */

typedef struct vector_key {
  uint32_t tree;
  int32_t column; /* place in the record */
  int32_t dimensions;
  uint8_t metric; /* enum hnsw_metric */
  int32_t m, ef_construction;
} vector_key;

/* The vector in a stored row, aligned in `floats`; false: none that a graph can hold. */
bool vector_of_row(const vector_key *k, slice record, float *floats);

typedef struct row_ids {
  int64_t *ids;
  size_t n, capacity;
} row_ids;
bool row_ids_add(row_ids *r, int64_t id);       /* false: out of memory */
void row_ids_sort(row_ids *r);                  /* ascending, each once */
bool row_ids_has(const row_ids *r, int64_t id); /* of sorted ones */

bool vector_fits_graph(const float *floats, int n);

/* vector_calibrate.c: what recall some values of ef gave when it was measured (rows 0: it was not). */
enum { CALIBRATION_STEPS = 13, CALIBRATION_QUERIES = 64 };
typedef struct vector_calibration {
  int64_t rows;
  double recall[CALIBRATION_STEPS];
  /* queries unlike the data: those whose nearest node is farther than `usual` (ip: per unit of the query's norm), and what
   * recall they had by hnsw_search_spread */
  double usual, recall_unlike[CALIBRATION_STEPS];
} vector_calibration;
/* held_back: sorted row ids that the graph does not have, NULL: none. */
status vector_calibrate(hnsw *g, const vector_key *key, cursor *c, const row_ids *held_back,
                        const atomic_bool *stop, vector_calibration *out);
/* 0: none reaches it. */
int vector_calibration_ef(const vector_calibration *c, double target);
int vector_calibration_ef_unlike(const vector_calibration *c, double target);
enum { CALIBRATION_EF_MOST = 1280 }; /* where none does, and a scan is too much */

typedef struct vector_index vector_index;
typedef struct vector_view {
  vector_index *index;
  struct vector_graph *graph;
  int64_t base;
  uint64_t at;
} vector_view;

/* The index, made (and its building begun in the background) when it is not there. NULL: none to be had. */
vector_index *vector_index_get(engine *e, const vector_key *key, const char *label);
/* Made to wait until there are enough rows, or somebody searches. false: none to be had. */
bool vector_index_await(engine *e, const vector_key *key, const char *label);
/* Is there one of this tree and column, of whatever metric? */
bool vector_index_is_known(engine *e, const vector_key *key);
/* The keys of the graphs that are stored for a tree and column. */
typedef status (*vector_key_visitor)(void *context, const vector_key *key);
status vector_store_each(engine *e, const vector_key *of, vector_key_visitor visit, void *context);
/* false: scan (V3). Otherwise to be left. */
bool vector_view_enter(vector_index *i, int64_t view_time, vector_view *v);
void vector_view_leave(vector_view *v);
hnsw *vector_view_graph(const vector_view *v);
/* A search that could not enter scans the rows: loading a graph lets it go first, for a moment. */
void vector_index_scanning(vector_index *i, bool begins);
/* ... because there was no room for its graph. */
bool vector_index_is_over(vector_index *i);
/* A search is over: did the graph give all its rows? */
void vector_view_count(const vector_view *v, bool scanned);
/* What was measured of the graph. */
vector_calibration vector_view_calibration(const vector_view *v);
/* Adds the row ids touched that were not given by an earlier call. HDB_NOTFOUND: the log went too far: scan. */
status vector_view_touched(vector_view *v, row_ids *out);
/* Adds the rows that the graph cannot hold: no vector in them. */
status vector_view_unplaced(const vector_view *v, row_ids *out);

/* Bytes that all graphs of the engine may take in this process: sets it (0: half of the machine's memory), and says it. */
int64_t vector_memory_limit(engine *e, const int64_t *wanted);

typedef struct vector_info {
  vector_key key;
  const char *label;
  int64_t count, pending, removed, bytes, link_bytes;
  int64_t done, total; /* of the rows that building has to look at */
  int64_t loaded;      /* nodes that came from the store */
  int64_t walks,
      scans; /* searches that the graph answered, and those that began there and went on to a scan */
  vector_calibration calibration;
  bool built, rebuilding, waiting, parked, over;
  int64_t limit;
} vector_info;
/* The graphs of this tree are built anew from its rows, in the background; they answer until then. */
status vector_index_rebuild(engine *e, uint32_t tree);
/* vector_check.c: each graph that is stored for a column against main's rows; at most `capacity` of them. */
typedef struct vector_graph_check {
  uint8_t metric;
  int64_t vectors, stored, pending, gone, lost_links, damaged;
} vector_graph_check;
status vector_store_check(engine *e, uint32_t tree, int column, vector_graph_check *out, int capacity,
                          int *n);
/* Calls visit for each of the engine's indexes, under its lock. */
typedef status (*vector_visitor)(void *context, const vector_info *info);
status vector_indexes_each(engine *e, vector_visitor visit, void *context);

#endif
