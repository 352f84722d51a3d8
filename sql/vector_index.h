/* The automatic index of VECTOR columns: for each engine, shared by its connections, one graph a (tree, column, metric).
 *
 * The graph equals the committed rows at one time; a log holds the row ids that commits touched since its floor. What a
 * reader cannot take from the graph is in the log: it looks at those rows itself, and verifies every row that the graph
 * names, so a result never depends on how far the builder is.
 * V1  Rows whose vector differs between the graph and a reader's view (own writes apart) are among the row ids that
 *     vector_view_touched gives, at any time while the view is entered.
 * V2  Commits append to the log and wait for nothing else; a thread of the engine's does all work on graphs.
 * V3  A graph that cannot serve a view (not built yet, the view older than the log, a tree cleared or filled as a
 *     whole) is not entered: the reader scans.
 */
#ifndef HDB_SQL_VECTOR_INDEX_H
#define HDB_SQL_VECTOR_INDEX_H

#include <stdatomic.h>

#include "hnsw/hnsw.h"
#include "mvcc/mvcc.h"

enum { VECTOR_ROWS_MIN = 2000 }; /* below, an exact scan is as fast */

typedef struct vector_key {
  uint32_t tree;
  int32_t column;     /* place in the record */
  int32_t dimensions;
  uint8_t metric;     /* enum hnsw_metric */
  int32_t m, ef_construction;
} vector_key;

/* The vector in a stored row, aligned in `floats`; false: none that a graph can hold. */
bool vector_of_row(const vector_key *k, slice record, float *floats);

/* vector_calibrate.c: what recall some values of ef gave when it was measured (rows 0: it was not). */
enum { CALIBRATION_STEPS = 8 };
typedef struct vector_calibration {
  int64_t rows;
  double recall[CALIBRATION_STEPS];
} vector_calibration;
status vector_calibrate(hnsw *g, const vector_key *key, cursor *c, const atomic_bool *stop, vector_calibration *out);
int vector_calibration_ef(const vector_calibration *c, double target);

typedef struct row_ids {
  int64_t *ids;
  size_t n, capacity;
} row_ids;
bool row_ids_add(row_ids *r, int64_t id); /* false: out of memory */
void row_ids_sort(row_ids *r);            /* ascending, each once */

typedef struct vector_index vector_index;
typedef struct vector_view {
  vector_index *index;
  struct vector_graph *graph;
  int64_t base;
  uint64_t at;
} vector_view;

/* The index, made (and its building begun in the background) when it is not there. NULL: none to be had. */
vector_index *vector_index_get(engine *e, const vector_key *key, const char *label);
/* false: scan (V3). Otherwise to be left. */
bool vector_view_enter(vector_index *i, int64_t view_time, vector_view *v);
void vector_view_leave(vector_view *v);
hnsw *vector_view_graph(const vector_view *v);
/* The ef that is expected to reach this recall. */
int vector_view_ef(const vector_view *v, double target);
/* Adds the row ids touched that were not given by an earlier call. HDB_NOTFOUND: the log went too far: scan. */
status vector_view_touched(vector_view *v, row_ids *out);
/* Adds the rows that the graph cannot hold: no vector in them. */
status vector_view_unplaced(const vector_view *v, row_ids *out);

typedef struct vector_info {
  vector_key key;
  const char *label;
  int64_t count, pending, removed, bytes;
  vector_calibration calibration;
  bool built;
} vector_info;
/* Calls visit for each of the engine's indexes, under its lock. */
typedef status (*vector_visitor)(void *context, const vector_info *info);
status vector_indexes_each(engine *e, vector_visitor visit, void *context);

#endif
