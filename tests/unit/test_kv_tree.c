/* The memory backend's tree alone: its structure after every change, and running out of memory. */
#include <check.h>
#include <stdlib.h>
#include "kv/kv.h"
#include "kv/tree.h"

static uint64_t seed = 0x9e3779b97f4a7c15ull;
static uint64_t rnd(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return seed;
}

static slice number_key(uint8_t out[12], uint64_t n) {
  put_be32(out, 16);
  put_be64(out + 4, n);
  return slice_of(out, 12);
}

START_TEST(the_structure_holds_after_every_change) {
  tree_heap heap;
  tree_node *root = NULL;
  int64_t bytes = 0;
  uint8_t k[12], to[12];
  tree_heap_init(&heap);
  heap.key_max = 12;
  for (int round = 0; round < 6000; round++) {
    ck_assert(tree_reserve(&heap, 1));
    uint64_t n = rnd() % 4000;
    bool grow = round / 2000 % 2 == 0;
    if (rnd() % 10 < (grow ? 9 : 3)) tree_put(&heap, &root, tree_cell_new(number_key(k, n), slice_of(k, 12)), &bytes);
    else if (rnd() % 50) tree_delete(&heap, &root, number_key(k, n), &bytes);
    else tree_delete_some(&heap, &root, number_key(k, n), number_key(to, n + rnd() % 200), &bytes);
    if (round % 7 == 0) tree_check(root);
  }
  for (;;) {
    ck_assert(tree_reserve(&heap, 1));
    if (!tree_delete_some(&heap, &root, slice_of(NULL, 0), slice_of(NULL, 0), &bytes)) break;
    tree_check(root);
  }
  ck_assert_ptr_null(root);
  ck_assert_int_eq(bytes, 0);
  tree_heap_free(&heap);
}
END_TEST

static kv *filled_store(kv_batch **batch, size_t key_n) {
  kv *store;
  static uint8_t key[2000];
  ck_assert_int_eq(kv_open(NULL, NULL, &store, NULL), HDB_OK);
  *batch = kv_batch_new(store);
  for (uint32_t i = 0; i < 3000; i++) {
    put_be32(key, i * 7);
    kv_batch_put(*batch, KV_ROWS, slice_of(key, 4 + i % 3 * (key_n - 4) / 2), slice_str("before"));
  }
  ck_assert_int_eq(kv_write(store, *batch, false), HDB_OK);
  return store;
}

static void check_untouched(kv *store) {
  kv_iter *it;
  int n = 0;
  ck_assert_int_eq(kv_iter_open(store, NULL, KV_ROWS, slice_of(NULL, 0), slice_of(NULL, 0), &it), HDB_OK);
  for (it->seek(it, slice_of(NULL, 0)); it->valid; it->next(it), n++)
    if (!slice_equal(it->value, slice_str("before"))) ck_abort_msg("a part of a failed batch is seen");
  it->close(it);
  ck_assert_int_eq(n, 3000);
}

/* A batch whose nth allocation fails leaves no trace; the next one works. */
static void fail_each_allocation(int operations, bool range, size_t key_n) {
  static uint8_t key[2000];
  kv_batch *batch;
  kv *store = filled_store(&batch, key_n);
  kv_snapshot *snapshot = NULL;
  int failures = 0;
  long left = 0;
  for (long nth = 1; nth < 2000 && left <= 0; nth++) {
    uint64_t bytes = kv_bytes(store, KV_ROWS);
    if (nth % 5 == 0) {
      kv_snapshot_close(store, snapshot);
      snapshot = kv_snapshot_open(store);
    }
    for (int i = 0; i < operations; i++) {
      put_be32(key, (uint32_t)(rnd() % 21000));
      kv_batch_put(batch, KV_ROWS, slice_of(key, 4 + rnd() % (key_n - 3)), slice_str("during"));
    }
    if (range) kv_batch_delete_range(batch, KV_ROWS, slice_of("\0\0\x20", 3), slice_of("\0\0\x30", 3));
    tree_fail_allocation(nth);
    status rc = kv_write(store, batch, false);
    left = tree_fail_allocation(0);
    if (rc == HDB_OK) { /* not reached, or only a separator, which has a reserve */
      if (snapshot) kv_snapshot_close(store, snapshot);
      snapshot = NULL;
      kv_batch_free(batch);
      ck_assert_int_eq(kv_close(store), HDB_OK);
      store = filled_store(&batch, key_n);
      continue;
    }
    failures++;
    ck_assert_int_eq(rc, HDB_NOMEM);
    ck_assert_uint_eq(kv_bytes(store, KV_ROWS), bytes);
    check_untouched(store);
  }
  ck_assert_msg(failures > 0 && left > 0, "%d operations", operations);
  kv_snapshot_close(store, snapshot);
  kv_batch_free(batch);
  ck_assert_int_eq(kv_close(store), HDB_OK);
}

START_TEST(running_out_of_memory_changes_nothing) {
  fail_each_allocation(3, false, 30);
  fail_each_allocation(100, false, 30);
  fail_each_allocation(3, false, 1500);
  fail_each_allocation(60, true, 30);
}
END_TEST

START_TEST(a_batch_that_could_not_be_filled_is_refused) {
  kv *store;
  ck_assert_int_eq(kv_open(NULL, NULL, &store, NULL), HDB_OK);
  kv_batch *batch = kv_batch_new(store);
  kv_batch_put(batch, KV_ROWS, slice_str("a"), slice_str("1"));
  tree_fail_allocation(1);
  kv_batch_put(batch, KV_ROWS, slice_str("b"), slice_str("2"));
  kv_batch_put(batch, KV_ROWS, slice_str("c"), slice_str("3"));
  ck_assert_int_eq(kv_write(store, batch, false), HDB_NOMEM);
  kv_value v;
  ck_assert_int_eq(kv_get(store, NULL, KV_ROWS, slice_str("a"), &v), HDB_NOTFOUND);
  kv_batch_put(batch, KV_ROWS, slice_str("a"), slice_str("1"));
  ck_assert_int_eq(kv_write(store, batch, false), HDB_OK);
  kv_batch_free(batch);
  ck_assert_int_eq(kv_close(store), HDB_OK);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tree");
  TCase *t = tcase_create("tree");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, the_structure_holds_after_every_change);
  tcase_add_test(t, running_out_of_memory_changes_nothing);
  tcase_add_test(t, a_batch_that_could_not_be_filled_is_refused);
  suite_add_tcase(suite, t);
  SRunner *r = srunner_create(suite);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
