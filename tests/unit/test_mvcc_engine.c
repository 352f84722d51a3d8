/* Engines on disk: contents after reopening, sharing, lingering, and what a killed process leaves behind. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/mvcc_model.h"
#include "tests/unit/mvcc_numbers.h"

START_TEST(contents_survive_reopening) {
  model kept[MODEL_TREES] = {{0}};
  int64_t newest = 0;
  shape = _i;
  for (int round = 0; round < 4; round++) {
    seed = (uint64_t)round * 77 + (uint64_t)_i;
    engine *e = open_disk(-1, 0);
    ck_assert_int_eq(engine_newest(e), newest);
    txn *t;
    ck_assert_int_eq(txn_new(e, &t), HDB_OK);
    txn_begin(t, TXN_READ, 0);
    for (uint32_t k = 0; k < MODEL_TREES; k++) same_all(t, 20 + k, &kept[k]);
    int64_t rows;
    ck_assert_int_eq(txn_count(t, 20, &rows), HDB_OK);
    ck_assert_int_eq(rows, (int64_t)kept[0].n);
    txn_free(t);
    model_sync = TXN_SYNC_OFF;
    model_large = round == 2 ? 150000 : 4000;
    run_model(e, 1500, 60, 1500, kept);
    newest = engine_newest(e);
    engine_close(e);
  }
  for (int k = 0; k < MODEL_TREES; k++) free(kept[k].items);
}
END_TEST

START_TEST(one_directory_is_one_engine_that_lingers) {
  engine *one = open_disk(-1, 200), *two = open_disk(-1, 0);
  ck_assert_ptr_eq(one, two);
  char other[160];
  snprintf(other, sizeof other, "%s/../%s/db", directory, strrchr(directory, '/') + 1);
  engine *three;
  ck_assert_int_eq(engine_open(other, NULL, &three, NULL), HDB_OK);
  ck_assert_ptr_eq(one, three);
  engine_close(one);
  engine_close(two);
  engine_close(three);
  three = open_disk(-1, 0);
  ck_assert_ptr_eq(one, three);
  engine_close(three);
  usleep(400000); /* the reaper has closed it: another process can have it now */
  pid_t child = fork();
  if (child == 0) {
    engine *e;
    _exit(engine_open(path(), NULL, &e, NULL) == HDB_OK ? 0 : 1);
  }
  int code;
  waitpid(child, &code, 0);
  ck_assert_int_eq(code, 0);
}
END_TEST

START_TEST(a_directory_deleted_under_a_lingering_engine_is_not_taken_back) {
  engine *one = open_disk(-1, 60000);
  txn *t;
  ck_assert_int_eq(txn_new(one, &t), HDB_OK);
  txn_begin(t, TXN_READ, 0);
  ck_assert_int_eq(txn_put(t, 16, slice_str("k"), slice_str("v"), PUT_INSERT), HDB_OK);
  ck_assert_int_eq(txn_commit(t, 0, NULL), HDB_OK);
  txn_free(t);
  engine_close(one);
  char command[300];
  snprintf(command, sizeof command, "mv %s %s.old", path(), path());
  ck_assert_int_eq(system(command), 0);
  one = open_disk(-1, 0);
  ck_assert_int_eq(engine_newest(one), 0);
  engine_close(one);
}
END_TEST

START_TEST(a_forked_child_leaves_the_parents_engine_alone) {
  engine *e = open_disk(-1, 60000), *other = open_disk(-1, 60000);
  engine_close(other);
  pid_t child = fork();
  if (child == 0) {
    engine_close_lingering();
    engine_close(e);
    engine *mine;
    if (engine_open(NULL, NULL, &mine, NULL) != HDB_OK) _exit(1);
    engine_close(mine);
    _exit(0);
  }
  int code;
  waitpid(child, &code, 0);
  ck_assert_int_eq(code, 0);
  uint32_t n = 0;
  txn *t;
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  while (n < 5) ck_assert_int_eq(commit_number(t, ++n), HDB_OK);
  txn_free(t);
  engine_close(e);
}
END_TEST

START_TEST(tree_ids_are_never_given_twice) {
  uint32_t last = 0, id;
  for (int round = 0; round < 3; round++) {
    engine *e = open_disk(-1, 0);
    txn *t;
    ck_assert_int_eq(txn_new(e, &t), HDB_OK);
    for (int i = 0; i < 70; i++) {
      txn_begin(t, TXN_READ, 0);
      ck_assert_int_eq(txn_new_tree(t, &id), HDB_OK);
      ck_assert_uint_gt(id, last);
      ck_assert_uint_ge(id, TREE_FIRST);
      last = id;
      txn_rollback(t);
    }
    txn_free(t);
    engine_close(e);
  }
}
END_TEST

START_TEST(settings_are_kept) {
  engine *e = open_disk(5.5, 0);
  buf b = BUF_INIT;
  ck_assert_int_eq(engine_setting_get(e, "x", &b), HDB_NOTFOUND);
  ck_assert_int_eq(engine_setting_put(e, "x", slice_str("value")), HDB_OK);
  engine_close(e);
  e = open_disk(-1, 0);
  ck_assert_int_eq(engine_setting_get(e, "x", &b), HDB_OK);
  ck_assert(slice_equal(buf_slice(&b), slice_str("value")));
  buf_clear(&b);
  ck_assert_int_eq(engine_setting_get(e, "retention", &b), HDB_OK);
  ck_assert(slice_equal(buf_slice(&b), slice_str("5.5")));
  buf_free(&b);
  engine_close(e);
}
END_TEST

START_TEST(an_unpublished_bulk_is_gone_after_a_crash) {
  int to[2];
  uint32_t tree = 0;
  ck_assert_int_eq(pipe(to), 0);
  pid_t child = fork();
  if (child == 0) {
    engine *e = open_disk(-1, 0);
    txn *t;
    bulk *b;
    txn_new(e, &t);
    txn_begin(t, TXN_READ, 0);
    txn_new_tree(t, &tree);
    bulk_open(t, tree, &b);
    uint8_t key[8];
    for (int i = 0; i < 50000; i++) {
      rowid_encode(key, i);
      bulk_add(b, slice_of(key, 8), slice_str("some bytes that will not stay"));
    }
    if (bulk_finish(b) != HDB_OK || write(to[1], &tree, sizeof tree) < 0) _exit(1);
    kill(getpid(), SIGKILL);
  }
  ck_assert_int_eq(read(to[0], &tree, sizeof tree), sizeof tree);
  waitpid(child, NULL, 0);
  close(to[0]), close(to[1]);
  engine *e = open_disk(-1, 0);
  txn *t;
  cursor *c;
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  txn_begin(t, TXN_READ, 0);
  cursor_open(t, tree, 0, &c);
  cursor_first(c);
  ck_assert(!c->valid && c->error == HDB_OK);
  cursor_close(c);
  uint32_t next;
  ck_assert_int_eq(txn_new_tree(t, &next), HDB_OK);
  ck_assert_uint_gt(next, tree);
  txn_free(t);
  engine_close(e);
}
END_TEST

/* ---- a killed process ---- */

static void child_commits(uint32_t from, volatile uint32_t *acknowledged) {
  engine *e;
  txn *t;
  engine_options o = {.create = true, .retention = -1};
  if (engine_open(path(), &o, &e, NULL) != HDB_OK || txn_new(e, &t) != HDB_OK) _exit(1);
  for (uint32_t n = from;; n++) {
    if (commit_number(t, n) != HDB_OK) _exit(2);
    *acknowledged = n;
  }
}

START_TEST(a_killed_process_loses_no_acknowledged_commit_and_leaves_none_half) {
  volatile uint32_t *acknowledged = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  uint32_t last = 0;
  srand(7);
  for (int round = 0; round < 8; round++) {
    *acknowledged = last;
    pid_t child = fork();
    if (child == 0) child_commits(last + 1, acknowledged);
    usleep(60000 + (useconds_t)(rand() % 120000));
    kill(child, SIGKILL);
    int code;
    waitpid(child, &code, 0);
    ck_assert(WIFSIGNALED(code));
    last = check_numbers();
    ck_assert_uint_ge(last, *acknowledged);
    ck_assert_uint_le(last, *acknowledged + 1);
  }
  ck_assert_uint_gt(last, 20);
  munmap((void *)acknowledged, 4096);
}
END_TEST

int main(void) {
  Suite *s = suite_create("mvcc_engine");
  TCase *c = tcase_create("all");
  tcase_set_timeout(c, 120);
  tcase_add_checked_fixture(c, setup, teardown);
  tcase_add_loop_test(c, contents_survive_reopening, 0, 3);
  tcase_add_test(c, one_directory_is_one_engine_that_lingers);
  tcase_add_test(c, a_directory_deleted_under_a_lingering_engine_is_not_taken_back);
#ifdef __SANITIZE_THREAD__ /* cannot follow a thread of a forked child that takes the id of one of the parent's */
  const bool threads_after_fork = false;
#else
  const bool threads_after_fork = true;
#endif
  if (threads_after_fork) tcase_add_test(c, a_forked_child_leaves_the_parents_engine_alone);
  tcase_add_test(c, tree_ids_are_never_given_twice);
  tcase_add_test(c, settings_are_kept);
  tcase_add_test(c, an_unpublished_bulk_is_gone_after_a_crash);
  tcase_add_test(c, a_killed_process_loses_no_acknowledged_commit_and_leaves_none_half);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
