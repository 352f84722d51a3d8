/* The hot cache alone: small enough to evict all the time, with readers, offers and commits against a table of truth. */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "mvcc/cache.h"

enum { GROUPS = 300, READERS = 3 };

static cache *c;
static _Atomic int64_t visible;
/* Group i covers [4i, 4i + 4) and holds the time of its last change; changed[] is what kv would say at `visible`. */
static _Atomic int64_t changed[GROUPS];
static atomic_bool stop;

static slice bound(uint32_t i, uint8_t out[4]) {
  put_be32(out, 4 * i);
  return slice_of(out, 4);
}
static cached *group_of(uint32_t i, int64_t time) {
  uint8_t low[4], high[4], bytes[40] = {0};
  put_be64(bytes, (uint64_t)time);
  slice upper = i + 1 == GROUPS ? slice_of(NULL, 0) : bound(i + 1, high);
  return cached_new(7, i ? bound(i, low) : slice_of(low, 0), upper, slice_of(bytes, sizeof bytes), time);
}
static uint32_t rnd(uint64_t *seed, uint32_t n) {
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*seed >> 33) % n;
}

static void must(bool holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "%s\n", what);
  abort();
}

/* What a hit shows must be what kv shows at the view: never older than the last change before the view was taken. */
static void *reader(void *argument) {
  cache_reader r;
  uint64_t seed = (uint64_t)(uintptr_t)argument;
  cache_add_reader(c, &r);
  int64_t hits = 0;
  while (!atomic_load(&stop)) {
    uint32_t i = rnd(&seed, GROUPS), key = 4 * i + rnd(&seed, 4);
    uint8_t k[4];
    put_be32(k, key);
    int64_t view = atomic_load(&visible), at_least = atomic_load(&changed[i]);
    if (at_least > view) continue; /* changed meanwhile: kv at our view has an older one */
    int what = (int)rnd(&seed, 10);
    uint8_t low[4];
    cached *g = what == 0 ? cache_before(c, &r, 7, bound(i + 1, low), view)
                : what == 1 && i + 1 == GROUPS ? cache_last(c, &r, 7, view) : cache_get(c, &r, 7, slice_of(k, 4), view);
    if (g) {
      hits++;
      must(slice_compare(g->lower, slice_of(k, 4)) <= 0, "lower");
      must(!g->upper.p || slice_compare(slice_of(k, 4), g->upper) < 0, "upper");
      int64_t time = (int64_t)get_be64(g->bytes.p);
      must(time == g->since && time <= view && time >= at_least, "a stale group");
      cached_release(g);
    } else if (atomic_load(&changed[i]) == at_least && atomic_load(&visible) == view) {
      g = group_of(i, at_least); /* as read from kv at the view */
      if (rnd(&seed, 2)) sched_yield();
      cache_offer(c, g, view);
      cached_release(g);
    }
  }
  cache_remove_reader(c, &r);
  return (void *)(uintptr_t)hits;
}

START_TEST(readers_never_see_a_stale_group) {
  pthread_t threads[READERS];
  uint64_t seed = 5;
  int64_t hits = 0;
  visible = 1;
  for (int i = 0; i < GROUPS; i++) changed[i] = 1;
  ck_assert_int_eq(cache_new(12000, &c), HDB_OK);
  for (int i = 0; i < READERS; i++) pthread_create(&threads[i], NULL, reader, (void *)(uintptr_t)(i + 1));
  for (int64_t time = 2; time < 60000; time++) {
    if (time % 8 == 0) sched_yield();
    uint32_t n = 1 + rnd(&seed, 3), list[3];
    for (uint32_t k = 0; k < n; k++) {
      uint8_t low[4];
      list[k] = rnd(&seed, GROUPS);
      cache_commit_begin(c);
      if (rnd(&seed, 5)) {
        cached *g = group_of(list[k], time);
        cache_commit_put(c, g, time, rnd(&seed, 2));
        cached_release(g);
      } else {
        cache_commit_delete(c, 7, list[k] ? bound(list[k], low) : slice_of(low, 0), time);
      }
      cache_commit_end(c);
    }
    /* kv is written, then the time becomes visible */
    for (uint32_t k = 0; k < n; k++) atomic_store(&changed[list[k]], time);
    atomic_store(&visible, time);
    if (time % 5000 == 0) {
      cache_commit_begin(c);
      cache_commit_tree(c, 7, time);
      cache_commit_end(c);
    }
  }
  atomic_store(&stop, true);
  for (int i = 0; i < READERS; i++) {
    void *result;
    pthread_join(threads[i], &result);
    hits += (int64_t)(uintptr_t)result;
  }
  ck_assert_int_gt(hits, 100);
  cache_free(c);
}
END_TEST

START_TEST(old_views_and_other_trees_do_not_see_it) {
  cache_reader r;
  ck_assert_int_eq(cache_new(1 << 20, &c), HDB_OK);
  cache_add_reader(c, &r);
  cached *g = group_of(5, 100);
  cache_offer(c, g, 150);
  uint8_t k[4];
  put_be32(k, 21);
  cached *hit = cache_get(c, &r, 7, slice_of(k, 4), 100);
  ck_assert_ptr_eq(hit, g);
  cached_release(hit);
  ck_assert_ptr_null(cache_get(c, &r, 7, slice_of(k, 4), 99));
  ck_assert_ptr_null(cache_get(c, &r, 8, slice_of(k, 4), 200));
  ck_assert_ptr_null(cache_get(c, &r, 6, slice_of(k, 4), 200));
  put_be32(k, 24);
  ck_assert_ptr_null(cache_get(c, &r, 7, slice_of(k, 4), 200));
  /* changed since the view of the offer: not taken */
  put_be32(k, 20);
  cache_commit_begin(c);
  cache_commit_delete(c, 7, slice_of(k, 4), 200);
  cache_commit_end(c);
  ck_assert_ptr_null(cache_get(c, &r, 7, slice_of(k, 4), 300));
  cache_offer(c, g, 199);
  ck_assert_ptr_null(cache_get(c, &r, 7, slice_of(k, 4), 300));
  cache_offer(c, g, 200);
  hit = cache_get(c, &r, 7, slice_of(k, 4), 300);
  ck_assert_ptr_eq(hit, g);
  cached_release(hit);
  cache_drop(c, 999);
  ck_assert_ptr_null(cache_get(c, &r, 7, slice_of(k, 4), 300));
  cache_offer(c, g, 998);
  ck_assert_ptr_null(cache_get(c, &r, 7, slice_of(k, 4), 300));
  cached_release(g);
  cache_remove_reader(c, &r);
  cache_free(c);
}
END_TEST

int main(void) {
  Suite *s = suite_create("mvcc_cache");
  TCase *t = tcase_create("all");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, readers_never_see_a_stale_group);
  tcase_add_test(t, old_views_and_other_trees_do_not_see_it);
  suite_add_tcase(s, t);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
