/* Which ef reaches which recall, measured on the table's own vectors when a graph is built.
 *
 * Queries lie between two rows of the table, so that they are like its data and not in it. One pass over the rows gives
 * each query's true nearest; then the graph is asked with growing ef. The figures are noisy by a percent (a few hundred
 * answers), so a target is met by the first ef that measured a little above it. Done by the builder, beside searches:
 * rows * queries distances.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sql/vector_index.h"

enum { QUERIES_MAX = 32, QUERIES_FEW = 10, MANY_ROWS = 200000, NEAREST = 10 };
static const int steps[CALIBRATION_STEPS] = {24, 40, 64, 100, 160, 250, 400, 640};

typedef struct truth {
  double distance[NEAREST]; /* ascending */
  int n;
} truth;

typedef struct calibrating {
  const vector_key *key;
  cursor *c;
  const atomic_bool *stop;
  float *row, *queries;
  int queries_n;
  truth truths[QUERIES_MAX];
} calibrating;

static void truth_add(truth *t, double d) {
  if (t->n == NEAREST && d >= t->distance[NEAREST - 1]) return;
  int at = t->n < NEAREST ? t->n++ : NEAREST - 1;
  for (; at && t->distance[at - 1] > d; at--) t->distance[at] = t->distance[at - 1];
  t->distance[at] = d;
}

/* Every so-many-th row, two for a query. */
static status choose_queries(calibrating *k, size_t rows) {
  size_t apart = rows / (2 * (size_t)k->queries_n), at = 0, taken = 0, n = (size_t)k->key->dimensions;
  for (cursor_first(k->c); k->c->valid && taken < 2 * (size_t)k->queries_n; cursor_next(k->c)) {
    if (atomic_load(k->stop)) return HDB_INTERRUPT;
    if (at++ < taken * apart || !vector_of_row(k->key, k->c->value, k->row)) continue;
    float *query = k->queries + taken / 2 * n;
    if (taken % 2 == 0) memcpy(query, k->row, n * sizeof *query);
    for (size_t i = 0; taken % 2 && i < n; i++) query[i] += 0.5f * (k->row[i] - query[i]);
    taken++;
  }
  k->queries_n = (int)(taken / 2);
  return k->c->error;
}

static status find_truths(calibrating *k) {
  size_t n = (size_t)k->key->dimensions;
  for (cursor_first(k->c); k->c->valid; cursor_next(k->c)) {
    if (atomic_load(k->stop)) return HDB_INTERRUPT;
    if (!vector_of_row(k->key, k->c->value, k->row)) continue;
    for (int q = 0; q < k->queries_n; q++)
      truth_add(&k->truths[q], vector_distance_of((enum hnsw_metric)k->key->metric, k->row, k->queries + (size_t)q * n, n));
  }
  return k->c->error;
}

static status measure(calibrating *k, hnsw *g, int ef, double *recall) {
  int64_t hits = 0, all = 0, id;
  double distance;
  for (int q = 0; q < k->queries_n; q++) {
    const truth *t = &k->truths[q];
    if (!t->n) continue;
    hnsw_search *s = hnsw_search_open(g, k->queries + (size_t)q * (size_t)k->key->dimensions, ef, NULL, NULL);
    if (!s) return HDB_NOMEM;
    double farthest = t->distance[t->n - 1];
    for (int i = 0; i < t->n && hnsw_search_next(s, &id, &distance); i++) hits += distance <= farthest + 1e-5 * (1 + fabs(farthest));
    all += t->n;
    hnsw_search_close(s);
  }
  *recall = all ? (double)hits / (double)all : 1;
  return HDB_OK;
}

status vector_calibrate(hnsw *g, const vector_key *key, cursor *c, const atomic_bool *stop, vector_calibration *out) {
  size_t rows = hnsw_count(g), n = (size_t)key->dimensions;
  calibrating *k = calloc(1, sizeof *k);
  vector_calibration measured = {.rows = (int64_t)rows};
  status rc = HDB_OK;
  if (!k) return HDB_NOMEM;
  k->key = key, k->c = c, k->stop = stop;
  k->queries_n = rows > MANY_ROWS ? QUERIES_FEW : QUERIES_MAX;
  k->row = malloc(n * sizeof *k->row);
  k->queries = calloc((size_t)k->queries_n * n, sizeof *k->queries);
  if (!k->row || !k->queries) CHECK(HDB_NOMEM);
  CHECK(choose_queries(k, rows));
  CHECK(find_truths(k));
  for (int i = 0; i < CALIBRATION_STEPS; i++) {
    if (i && measured.recall[i - 1] >= 0.9999) measured.recall[i] = measured.recall[i - 1];
    else CHECK(measure(k, g, steps[i], &measured.recall[i]));
  }
  *out = measured;
out:
  free(k->row);
  free(k->queries);
  free(k);
  return rc;
}

int vector_calibration_ef(const vector_calibration *c, double target) {
  if (!c->rows) return 100;
  double wanted = target + (1 - target) * 0.4;
  for (int i = 0; i < CALIBRATION_STEPS; i++)
    if (c->recall[i] >= wanted) return steps[i];
  return 2 * steps[CALIBRATION_STEPS - 1];
}
