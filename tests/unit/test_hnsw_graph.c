/* The graph against an exact scan: recall, filters, removal, repair, persistence, continued searches. */
#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "hnsw/hnsw.h"

enum { N = 3000, D = 48 };
static float vectors[N][D];
static bool present[N];

static double uniform(uint64_t *state) {
  *state = *state * 6364136223846793005ull + 1442695040888963407ull;
  return (double)(*state >> 11) / 9007199254740992.0;
}

static void make_vectors(void) {
  uint64_t state = 42;
  float centres[40][D];
  for (int c = 0; c < 40; c++)
    for (int k = 0; k < D; k++) centres[c][k] = (float)(uniform(&state) * 10 - 5);
  for (int i = 0; i < N; i++) {
    for (int k = 0; k < D; k++) vectors[i][k] = centres[i % 40][k] + (float)(uniform(&state) * 2 - 1);
    present[i] = true;
  }
}

typedef bool (*accept)(void *, int64_t);
static bool every_tenth(void *context, int64_t label) { return label % 10 == 3; }
static bool nobody(void *context, int64_t label) { return false; }

struct exact {
  double distance;
  int64_t label;
};
static int by_distance(const void *a, const void *b) {
  double x = ((const struct exact *)a)->distance, y = ((const struct exact *)b)->distance;
  return (x > y) - (x < y);
}

static struct exact all[N];
static size_t exact_scan(enum hnsw_metric metric, const float *query, accept filter) {
  size_t n = 0;
  for (int i = 0; i < N; i++)
    if (present[i] && (!filter || filter(NULL, i))) all[n++] = (struct exact){vector_distance_of(metric, query, vectors[i], D), i};
  qsort(all, n, sizeof *all, by_distance);
  return n;
}

/* Average recall@10 over queries; also holds every promise of order and uniqueness. */
static double recall(hnsw *g, enum hnsw_metric metric, int ef, accept filter) {
  uint64_t state = 7;
  int hits = 0, wanted = 0;
  for (int q = 0; q < 60; q++) {
    float query[D];
    int near = (int)(uniform(&state) * N);
    for (int k = 0; k < D; k++) query[k] = vectors[near][k] + (float)(uniform(&state) - 0.5);
    size_t n = exact_scan(metric, query, filter), k = n < 10 ? n : 10;
    hnsw_search *s = hnsw_search_open(g, query, ef, filter, NULL);
    int64_t label;
    double distance, last = -INFINITY;
    bool seen[N] = {false};
    for (size_t i = 0; i < k; i++) {
      ck_assert_msg(hnsw_search_next(s, &label, &distance), "only %zu of %zu rows", i, k);
      ck_assert(label >= 0 && label < N && present[label] && !seen[label]);
      ck_assert(!filter || filter(NULL, label));
      ck_assert(distance >= last - 1e-4);
      ck_assert(fabs(distance - vector_distance_of(metric, query, vectors[label], D)) < 1e-2);
      seen[label] = true;
      last = distance;
    }
    hnsw_search_close(s);
    for (size_t i = 0; i < k; i++) hits += seen[all[i].label];
    wanted += (int)k;
  }
  return (double)hits / wanted;
}

static hnsw *build(enum hnsw_metric metric) {
  hnsw *g = hnsw_new(&(hnsw_options){.dimensions = D, .metric = (uint8_t)metric});
  for (int i = 0; i < N; i++)
    if (present[i]) ck_assert_int_eq(hnsw_add(g, i, vectors[i]), HDB_OK);
  return g;
}

START_TEST(recall_is_high_for_every_metric) {
  make_vectors();
  for (enum hnsw_metric metric = HNSW_L2; metric <= HNSW_L1; metric++) {
    hnsw *g = build(metric);
    ck_assert_uint_eq(hnsw_count(g), N);
    double r = recall(g, metric, 64, NULL);
    ck_assert_msg(r >= 0.95, "metric %d: recall %.3f", metric, r);
    r = recall(g, metric, 64, every_tenth);
    ck_assert_msg(r >= 0.95, "metric %d, filtered: recall %.3f", metric, r);
    hnsw_free(g);
  }
}
END_TEST

START_TEST(a_search_goes_on_until_every_row_was_returned_once) {
  make_vectors();
  hnsw *g = build(HNSW_L2);
  hnsw_search *s = hnsw_search_open(g, vectors[5], 10, NULL, NULL);
  bool seen[N] = {false};
  int64_t label;
  double distance;
  int n = 0;
  for (; hnsw_search_next(s, &label, &distance); n++) {
    ck_assert(!seen[label]);
    seen[label] = true;
  }
  ck_assert_int_eq(n, N);
  hnsw_search_close(s);
  s = hnsw_search_open(g, vectors[5], 10, nobody, NULL);
  ck_assert(!hnsw_search_next(s, &label, &distance));
  hnsw_search_close(s);
  hnsw_free(g);
}
END_TEST

START_TEST(removed_and_replaced_rows_are_never_returned_and_recall_stays) {
  make_vectors();
  hnsw *g = build(HNSW_L2);
  for (int i = 0; i < N; i++) {
    if (i % 3 == 0) {
      ck_assert_int_eq(hnsw_remove(g, i), HDB_OK);
      ck_assert_int_eq(hnsw_remove(g, i), HDB_NOTFOUND);
      present[i] = false;
    } else if (i % 7 == 0) {
      for (int k = 0; k < D; k++) vectors[i][k] = -vectors[i][k];
      ck_assert_int_eq(hnsw_add(g, i, vectors[i]), HDB_OK);
    }
  }
  ck_assert(recall(g, HNSW_L2, 64, NULL) >= 0.95);
  ck_assert_int_eq(hnsw_repair(g), HDB_OK);
  ck_assert_uint_eq(hnsw_removed(g), 0);
  double r = recall(g, HNSW_L2, 64, NULL);
  ck_assert_msg(r >= 0.95, "after repair: %.3f", r);
  /* a search open across a repair goes on without repeating itself */
  hnsw_search *s = hnsw_search_open(g, vectors[1], 8, NULL, NULL);
  bool seen[N] = {false};
  int64_t label;
  double distance;
  for (int i = 0; i < 5; i++) {
    ck_assert(hnsw_search_next(s, &label, &distance));
    seen[label] = true;
  }
  ck_assert_int_eq(hnsw_remove(g, 2), HDB_OK);
  present[2] = false;
  ck_assert_int_eq(hnsw_repair(g), HDB_OK);
  size_t n = 5;
  for (; hnsw_search_next(s, &label, &distance); n++) {
    ck_assert(!seen[label] && label != 2);
    seen[label] = true;
  }
  ck_assert_uint_ge(n, hnsw_count(g));
  hnsw_search_close(s);
  /* everything goes, everything comes back in freed places */
  for (int i = 0; i < N; i++)
    if (present[i]) hnsw_remove(g, i);
  ck_assert_int_eq(hnsw_repair(g), HDB_OK);
  ck_assert_uint_eq(hnsw_count(g), 0);
  s = hnsw_search_open(g, vectors[1], 8, NULL, NULL);
  ck_assert(!hnsw_search_next(s, &label, &distance));
  hnsw_search_close(s);
  for (int i = 0; i < N; i++) present[i] = true, hnsw_add(g, i, vectors[i]);
  ck_assert(recall(g, HNSW_L2, 64, NULL) >= 0.95);
  hnsw_free(g);
}
END_TEST

START_TEST(a_stored_graph_comes_back_and_damage_is_refused) {
  make_vectors();
  hnsw *g = build(HNSW_COSINE), *h = hnsw_new(&(hnsw_options){.dimensions = D, .metric = HNSW_COSINE});
  buf b = BUF_INIT;
  size_t bytes = 0;
  for (int i = N - 1; i >= 0; i--) {
    buf_clear(&b);
    ck_assert_int_eq(hnsw_store_node(g, i, &b), HDB_OK);
    bytes += b.n;
    if (i == 17) continue; /* lost in a crash */
    ck_assert_int_eq(hnsw_load_node(h, i, buf_slice(&b), vectors[i]), HDB_OK);
  }
  ck_assert_int_eq(hnsw_load_finish(h), HDB_OK);
  present[17] = false;
  ck_assert(recall(h, HNSW_COSINE, 64, NULL) >= 0.95);
  ck_assert_msg(bytes < (size_t)N * D * 4 / 2, "%zu bytes of links", bytes);
  hnsw_free(h);
  uint64_t state = 3;
  for (int round = 0; round < 300; round++) {
    hnsw *bad = hnsw_new(&(hnsw_options){.dimensions = D, .metric = HNSW_COSINE});
    for (int i = 0; i < 20; i++) {
      buf_clear(&b);
      hnsw_store_node(g, i, &b);
      for (int k = 0; k < 3; k++) b.p[(size_t)(uniform(&state) * (double)b.n)] = (uint8_t)(uniform(&state) * 256);
      hnsw_load_node(bad, i, slice_of(b.p, (size_t)(uniform(&state) * (double)b.n)), vectors[i]);
    }
    hnsw_load_finish(bad);
    int64_t label;
    double distance;
    hnsw_search *s = hnsw_search_open(bad, vectors[0], 4, NULL, NULL);
    while (hnsw_search_next(s, &label, &distance)) {}
    hnsw_search_close(s);
    hnsw_free(bad);
  }
  buf_free(&b);
  hnsw_free(g);
}
END_TEST

static void *search_all_the_time(void *g) {
  for (int i = 0; i < 300; i++) {
    int64_t label;
    double distance, last = -1;
    hnsw_search *s = hnsw_search_open(g, vectors[i], 20, NULL, NULL);
    for (int k = 0; k < 10 && hnsw_search_next(s, &label, &distance); k++) last = distance;
    hnsw_search_close(s);
    ck_assert(last >= -1);
  }
  return NULL;
}

START_TEST(searches_go_on_beside_a_writer) {
  make_vectors();
  hnsw *g = hnsw_new(&(hnsw_options){.dimensions = D, .metric = HNSW_L2, .ef_construction = 40});
  pthread_t threads[2];
  for (int i = 0; i < 500; i++) hnsw_add(g, i, vectors[i]);
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, search_all_the_time, g);
  for (int i = 500; i < 1500; i++) {
    hnsw_add(g, i, vectors[i]);
    if (i % 3 == 0) hnsw_remove(g, i - 400);
    if (i % 300 == 0) ck_assert_int_eq(hnsw_repair(g), HDB_OK);
  }
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  hnsw_free(g);
}
END_TEST

/* Many threads, bytes, a centre far off: the nearest by measured distance are found, and the bound never lies. */
START_TEST(built_by_many_threads_from_bytes) {
  make_vectors();
  static float flat[N][D];
  static int64_t labels[N];
  for (enum hnsw_metric metric = HNSW_L2; metric <= HNSW_IP; metric++) {
    float centre[D];
    hnsw *g = hnsw_new(&(hnsw_options){.dimensions = D, .metric = (uint8_t)metric, .copy8 = true});
    for (int k = 0; k < D; k++) centre[k] = metric == HNSW_L2 ? 1000.0f : 0;
    for (int i = 0; i < N; i++) {
      labels[i] = i;
      for (int k = 0; k < D; k++) flat[i][k] = vectors[i][k] + centre[k];
    }
    ck_assert_int_eq(hnsw_set_centre(g, centre), HDB_OK);
    for (int at = 0; at < N; at += 1000) ck_assert_int_eq(hnsw_add_many(g, labels + at, flat[at], 1000, 4), HDB_OK);
    ck_assert_uint_eq(hnsw_count(g), N);
    ck_assert_uint_lt(hnsw_bytes(g) - hnsw_link_bytes(g), N * (D + 32));
    int hits = 0;
    for (int q = 0; q < 60; q++) {
      float query[D];
      bool wanted[N] = {false};
      for (int k = 0; k < D; k++) query[k] = flat[q * 7][k] + 0.3f * (flat[q * 5 + 1][k] - flat[q * 5 + 41][k]);
      for (int i = 0; i < N; i++) all[i] = (struct exact){vector_distance_of(metric, query, flat[i], D), i};
      qsort(all, N, sizeof *all, by_distance);
      for (int i = 0; i < 10; i++) wanted[all[i].label] = true;
      hnsw_search *s = hnsw_search_open(g, query, 64, NULL, NULL);
      int64_t label;
      double distance;
      for (int pulled = 0; pulled < 10 || (!hnsw_search_pauses(s) && hnsw_search_bound(s) < all[9].distance); pulled++) {
        ck_assert(hnsw_search_next(s, &label, &distance));
        hits += wanted[label];
      }
      hnsw_search_close(s);
    }
    ck_assert_msg(hits >= 570, "metric %d: %d of 600", metric, hits);
    hnsw_free(g);
  }
}
END_TEST

START_TEST(many_are_added_to_a_graph_in_use) {
  make_vectors();
  hnsw *g = hnsw_new(&(hnsw_options){.dimensions = D, .metric = HNSW_L2});
  static int64_t labels[N];
  pthread_t threads[2];
  for (int i = 0; i < N; i++) labels[i] = i;
  for (int i = 0; i < 500; i++) hnsw_add(g, i, vectors[i]);
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, search_all_the_time, g);
  for (int at = 500; at < N; at += 100) ck_assert_int_eq(hnsw_add_many(g, labels + at, vectors[at], 100, 3), HDB_OK);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  ck_assert(recall(g, HNSW_L2, 64, NULL) >= 0.95);
  ck_assert_int_eq(hnsw_add_many(g, labels, vectors[N - 500], 500, 3), HDB_OK); /* replaces */
  for (int i = 0; i < 500; i++)
    for (int k = 0; k < D; k++) vectors[i][k] = vectors[N - 500 + i][k];
  ck_assert_uint_eq(hnsw_count(g), N);
  ck_assert(recall(g, HNSW_L2, 64, NULL) >= 0.95);
  hnsw_free(g);
}
END_TEST

/* The same bits whether the norm is known or not, and wherever a vector begins. */
START_TEST(distances_do_not_depend_on_the_way_they_are_asked_for) {
  make_vectors();
  char bytes[4 * D + 3];
  for (int n = 1; n <= D; n++) {
    const float *a = vectors[n], *b = vectors[n + 1];
    memcpy(bytes + 3, a, sizeof(float) * (size_t)n);
    const float *moved = (const void *)(bytes + 3);
    double want = vector_distance_of(HNSW_COSINE, a, b, (size_t)n);
    ck_assert(want == vector_cosine_of(moved, b, vector_norm2_of(b, (size_t)n), (size_t)n));
    for (enum hnsw_metric metric = HNSW_L2; metric <= HNSW_L1; metric++)
      ck_assert(vector_distance_of(metric, a, b, (size_t)n) == vector_distance_of(metric, moved, b, (size_t)n));
    double sum = 0;
    for (int k = 0; k < n; k++) sum += fabs((double)a[k] - (double)b[k]);
    ck_assert(fabs(sum - vector_distance_of(HNSW_L1, a, b, (size_t)n)) < 1e-9);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("hnsw graph");
  TCase *t = tcase_create("graph");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, recall_is_high_for_every_metric);
  tcase_add_test(t, a_search_goes_on_until_every_row_was_returned_once);
  tcase_add_test(t, removed_and_replaced_rows_are_never_returned_and_recall_stays);
  tcase_add_test(t, a_stored_graph_comes_back_and_damage_is_refused);
  tcase_add_test(t, searches_go_on_beside_a_writer);
  tcase_add_test(t, built_by_many_threads_from_bytes);
  tcase_add_test(t, many_are_added_to_a_graph_in_use);
  tcase_add_test(t, distances_do_not_depend_on_the_way_they_are_asked_for);
  suite_add_tcase(suite, t);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_NORMAL);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed ? 1 : 0;
}
