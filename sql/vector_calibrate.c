/* Which ef reaches which recall, measured on the table's own vectors when a graph is built and after many changes.
 *
 * The best queries are rows that the graph does not have yet (the builder holds some back): of the data's own kind, and
 * nothing was linked for them. Where there are none, a query is a row's vector plus the difference of two of its
 * neighbours. One pass over the rows gives each query's true nearest; then the graph is asked with growing ef, in the way
 * a search asks it. Half as many queries are unlike the data, rows whose elements are shuffled: for these the walk is begun
 * all over the graph, and has an ef of its own. The figures are noisy by a percent (some hundred answers), so a target is met by the first ef that
 * measured a little above it. Done by the builder, beside searches: rows * queries distances.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kv/base/key.h"
#include "sql/vector_index.h"

enum {
  QUERIES_MAX = CALIBRATION_QUERIES,
  ALL_MAX = QUERIES_MAX + QUERIES_MAX / 2,
  QUERIES_FEW = 16,
  MANY_ROWS = 200000,
  NEAREST = 10,
  AROUND = 24
};
static const int steps[CALIBRATION_STEPS] = {10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640};

typedef struct truth {
  double distance[NEAREST]; /* ascending */
  int64_t label[NEAREST];
  int n;
} truth;

typedef struct calibrating {
  const vector_key *key;
  cursor *c;
  const atomic_bool *stop;
  const row_ids *held_back;
  float *row, *queries;
  int queries_n, all_n; /* those unlike the data come last */
  truth truths[ALL_MAX];
  double nearest[QUERIES_MAX]; /* what a search found at once */
} calibrating;

static void truth_add(truth *t, double d, int64_t label) {
  if (t->n == NEAREST && d >= t->distance[NEAREST - 1]) return;
  int at = t->n < NEAREST ? t->n++ : NEAREST - 1;
  for (; at && t->distance[at - 1] > d; at--)
    t->distance[at] = t->distance[at - 1], t->label[at] = t->label[at - 1];
  t->distance[at] = d, t->label[at] = label;
}

/* The row's vector, if it is there. */
static bool vector_at_label(calibrating *k, int64_t label, float *out) {
  uint8_t key[8];
  rowid_encode(key, label);
  return cursor_find(k->c, slice_of(key, 8)) && vector_of_row(k->key, k->c->value, out);
}

/* query holds a row's vector; two of those around it move it. */
static status move_query(calibrating *k, hnsw *g, float *query, int number) {
  int64_t around[AROUND];
  double distance;
  int found = 0;
  hnsw_search *s = hnsw_search_open(g, query, 2 * AROUND, NULL, NULL);
  if (!s) return HDB_NOMEM;
  while (found < AROUND && hnsw_search_next(s, &around[found], &distance)) found++;
  hnsw_search_close(s);
  if (found < 4) return HDB_OK;
  int b = 1 + number * 7 % (found - 1), c = 1 + (b + number * 5 % (found - 2)) % (found - 1);
  for (int side = 0; side < 2; side++) {
    if (!vector_at_label(k, around[side ? c : b], k->row)) continue;
    for (int i = 0; i < k->key->dimensions; i++) query[i] += (side ? -1.0f : 1.0f) * k->row[i];
  }
  return HDB_OK;
}

/* Those held back, or rows spread over the row ids. */
static status choose_queries(calibrating *k, hnsw *g) {
  size_t n = (size_t)k->key->dimensions;
  int taken = 0;
  for (size_t i = 0; k->held_back && i < k->held_back->n && taken < k->queries_n; i++)
    taken += vector_at_label(k, k->held_back->ids[i], k->queries + (size_t)taken * n);
  if (taken) {
    k->queries_n = taken;
    return HDB_OK;
  }
  cursor_last(k->c);
  int64_t last = k->c->valid ? rowid_decode(k->c->key.p) : 0;
  cursor_first(k->c);
  int64_t first = k->c->valid ? rowid_decode(k->c->key.p) : 0;
  double step = ((double)last - (double)first) / k->queries_n;
  for (int q = 0; q < k->queries_n; q++) {
    uint8_t key[8];
    if (atomic_load(k->stop)) return HDB_INTERRUPT;
    rowid_encode(key, first + (int64_t)(step * q));
    cursor_seek(k->c, slice_of(key, 8));
    if (!k->c->valid || !vector_of_row(k->key, k->c->value, k->queries + (size_t)taken * n)) continue;
    TRY(move_query(k, g, k->queries + (size_t)taken * n, q));
    taken++;
  }
  k->queries_n = taken;
  return HDB_OK;
}

static status find_truths(calibrating *k) {
  size_t n = (size_t)k->key->dimensions;
  for (cursor_first(k->c); k->c->valid; cursor_next(k->c)) {
    if (atomic_load(k->stop)) return HDB_INTERRUPT;
    if (!vector_of_row(k->key, k->c->value, k->row)) continue;
    if (k->held_back && row_ids_has(k->held_back, rowid_decode(k->c->key.p))) continue;
    for (int q = 0; q < k->all_n; q++)
      truth_add(&k->truths[q],
                vector_distance_of((enum hnsw_metric)k->key->metric, k->row, k->queries + (size_t)q * n, n),
                rowid_decode(k->c->key.p));
  }
  return k->c->error;
}

/* Rows in a fixed disorder of their elements. */
static void add_unlike(calibrating *k) {
  size_t n = (size_t)k->key->dimensions;
  uint64_t random = 88172645463325252u;
  k->all_n = k->queries_n + k->queries_n / 2;
  for (int q = k->queries_n; q < k->all_n; q++) {
    float *to = k->queries + (size_t)q * n;
    memcpy(to, k->queries + (size_t)(q - k->queries_n) * n, n * sizeof *to);
    for (size_t i = n; i-- > 1;) {
      random ^= random << 13, random ^= random >> 7, random ^= random << 17;
      size_t other = random % (i + 1);
      float former = to[i];
      to[i] = to[other], to[other] = former;
    }
  }
}

/* As a search does: rows come until nothing nearer than the last wanted one can. */
static status ask(calibrating *k, hnsw *g, int q, int ef, bool unlike, int64_t *hits) {
  const truth *t = &k->truths[q];
  int64_t id;
  double distance;
  hnsw_search *s = hnsw_search_open(g, k->queries + (size_t)q * (size_t)k->key->dimensions, ef, NULL, NULL);
  if (!s) return HDB_NOMEM;
  for (int pulled = 0;
       pulled < t->n || (!hnsw_search_pauses(s) && hnsw_search_bound(s) < t->distance[t->n - 1]); pulled++) {
    if (!hnsw_search_next(s, &id, &distance)) break;
    if (pulled == 0 && unlike) hnsw_search_spread(s, ef);
    if (pulled == 0 && !unlike) k->nearest[q] = hnsw_search_nearest(s);
    for (int i = 0; i < t->n; i++) *hits += t->label[i] == id;
  }
  hnsw_search_close(s);
  return HDB_OK;
}

static status measure(calibrating *k, hnsw *g, int ef, bool unlike, double *recall) {
  int64_t hits = 0, all = 0;
  for (int q = unlike ? k->queries_n : 0; q < (unlike ? k->all_n : k->queries_n); q++) {
    if (atomic_load(k->stop)) return HDB_INTERRUPT;
    if (!k->truths[q].n) continue;
    TRY(ask(k, g, q, ef, unlike, &hits));
    all += k->truths[q].n;
  }
  *recall = all ? (double)hits / (double)all : 1;
  return HDB_OK;
}

static status measure_all(calibrating *k, hnsw *g, bool unlike, double *recall) {
  for (int i = 0; i < CALIBRATION_STEPS; i++) {
    if (i && recall[i - 1] >= 0.9999)
      recall[i] = recall[i - 1];
    else
      TRY(measure(k, g, steps[i], unlike, &recall[i]));
  }
  return HDB_OK;
}

/* The farthest that a query of the data's own kind was from its nearest. */
static double usual_distance(calibrating *k) {
  if (k->queries_n < 1) return INFINITY;
  for (int q = 0; q < k->queries_n && k->key->metric == HNSW_IP; q++) {
    size_t n = (size_t)k->key->dimensions;
    double norm = sqrt(vector_norm2_of(k->queries + (size_t)q * n, n));
    if (norm > 0) k->nearest[q] /= norm;
  }
  double most = k->nearest[0];
  for (int q = 1; q < k->queries_n; q++) most = k->nearest[q] > most ? k->nearest[q] : most;
  return most;
}

status vector_calibrate(hnsw *g, const vector_key *key, cursor *c, const row_ids *held_back,
                        const atomic_bool *stop, vector_calibration *out) {
  size_t rows = hnsw_count(g), n = (size_t)key->dimensions;
  calibrating *k = calloc(1, sizeof *k);
  vector_calibration measured = {.rows = (int64_t)rows};
  status rc = HDB_OK;
  if (!k) return HDB_NOMEM;
  k->key = key, k->c = c, k->stop = stop, k->held_back = held_back;
  k->queries_n = rows > MANY_ROWS ? QUERIES_FEW : QUERIES_MAX;
  k->row = malloc(n * sizeof *k->row);
  k->queries = calloc((size_t)(k->queries_n + k->queries_n / 2) * n, sizeof *k->queries);
  if (!k->row || !k->queries) CHECK(HDB_NOMEM);
  CHECK(choose_queries(k, g));
  add_unlike(k);
  CHECK(find_truths(k));
  CHECK(measure_all(k, g, false, measured.recall));
  CHECK(measure_all(k, g, true, measured.recall_unlike));
  measured.usual = usual_distance(k);
  *out = measured;
out:
  free(k->row);
  free(k->queries);
  free(k);
  return rc;
}

static int smallest_ef(const vector_calibration *c, const double *recall, double target, double above) {
  if (!c->rows) return 100;
  double wanted = target + (1 - target) * above;
  for (int i = 0; i < CALIBRATION_STEPS; i++)
    if (recall[i] >= wanted) return steps[i];
  return 0;
}

int vector_calibration_ef(const vector_calibration *c, double target) {
  return smallest_ef(c, c->recall, target, 0.4);
}

int vector_calibration_ef_unlike(const vector_calibration *c, double target) {
  return smallest_ef(c, c->recall_unlike, target, 0.8); /* there are more kinds of these */
}
