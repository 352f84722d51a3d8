/* Branches: the random work of the model on main, on branches and on branches of branches, each against sorted arrays;
 * seen again after the engine was opened anew; names, times, what is in use, what a drop gives back. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "mvcc/internal.h"
#include "tests/unit/mvcc_model.h"

static char directory[64];

static engine *open_engine(bool memory, double retention) {
  engine *e;
  error err = ERROR_INIT;
  engine_options o = {.create = true, .retention = retention};
  ck_assert_int_eq(engine_open(memory ? NULL : directory, &o, &e, &err), HDB_OK);
  return e;
}

static void remove_directory(void) {
  char command[100];
  engine_close_lingering();
  snprintf(command, sizeof command, "rm -rf %s", directory);
  ck_assert_int_eq(system(command), 0);
}

static void setup(void) {
  snprintf(directory, sizeof directory, "/tmp/hdb_branch_XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void see(engine *e, uint32_t branch, int64_t as_of, const model rows[MODEL_TREES]) {
  txn *t;
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  ck_assert_int_eq(txn_set_branch(t, branch), HDB_OK);
  if (as_of) txn_set_as_of(t, as_of);
  ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
  for (uint32_t k = 0; k < MODEL_TREES; k++) same_all(t, 20 + k, &rows[k]);
  txn_free(t);
}

static void work(engine *e, uint32_t branch, int steps, model rows[MODEL_TREES]) {
  model_branch = branch;
  run_model(e, 300, 60, steps, rows);
  model_branch = BRANCH_MAIN;
}

static void copy_rows(model to[MODEL_TREES], const model from[MODEL_TREES]) {
  for (int k = 0; k < MODEL_TREES; k++) model_copy(&to[k], &from[k]);
}

static void run_branches(bool memory) {
  enum { MAIN, DEV, SUB, SIDES };
  model rows[SIDES][MODEL_TREES] = {{{0}}}, early[MODEL_TREES] = {{0}};
  uint32_t ids[SIDES] = {BRANCH_MAIN};
  engine *e = open_engine(memory, 3600);
  model_sync = TXN_SYNC_OFF;
  work(e, BRANCH_MAIN, 1500, rows[MAIN]);
  ck_assert_int_eq(branch_create(e, "dev", BRANCH_MAIN, 0, &ids[DEV]), HDB_OK);
  copy_rows(rows[DEV], rows[MAIN]);
  work(e, BRANCH_MAIN, 1000, rows[MAIN]);
  see(e, ids[DEV], 0, rows[DEV]);
  work(e, ids[DEV], 1500, rows[DEV]);
  see(e, BRANCH_MAIN, 0, rows[MAIN]);
  int64_t then = engine_newest(e);
  copy_rows(early, rows[DEV]);
  ck_assert_int_eq(branch_create(e, "sub", ids[DEV], 0, &ids[SUB]), HDB_OK);
  copy_rows(rows[SUB], rows[DEV]);
  work(e, ids[DEV], 1000, rows[DEV]);
  work(e, ids[SUB], 1000, rows[SUB]);
  for (int i = 0; i < SIDES; i++) see(e, ids[i], 0, rows[i]);
  see(e, ids[DEV], then, early);
  see(e, ids[SUB], then, early); /* its parent's, then */
  ck_assert_int_eq(engine_collect(e), HDB_OK);
  if (!memory) {
    engine_close(e);
    engine_close_lingering();
    e = open_engine(false, -1);
    for (int i = 0; i < SIDES; i++) see(e, ids[i], 0, rows[i]);
    see(e, ids[DEV], then, early);
  }
  ck_assert_int_eq(branch_drop(e, ids[DEV]), HDB_BUSY);
  ck_assert_int_eq(branch_drop(e, ids[SUB]), HDB_OK);
  ck_assert_int_eq(branch_drop(e, ids[DEV]), HDB_OK);
  ck_assert_int_eq(branch_drop(e, ids[DEV]), HDB_NOTFOUND);
  see(e, BRANCH_MAIN, 0, rows[MAIN]);
  engine_close(e);
  for (int i = 0; i < SIDES; i++)
    for (int k = 0; k < MODEL_TREES; k++) free(rows[i][k].items);
  for (int k = 0; k < MODEL_TREES; k++) free(early[k].items);
}

START_TEST(branches_hold_what_was_done_on_them) {
  shape = _i / 2;
  seed = (uint64_t)_i * 77 + 5;
  run_branches(_i % 2 == 0);
  remove_directory();
}
END_TEST

static void put(engine *e, uint32_t branch, int64_t rowid, const char *text, int64_t *time) {
  txn *t;
  uint8_t key[8];
  rowid_encode(key, rowid);
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  ck_assert_int_eq(txn_set_branch(t, branch), HDB_OK);
  ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
  ck_assert_int_eq(txn_put(t, 20, slice_of(key, 8), slice_str(text), PUT_UPSERT), HDB_OK);
  ck_assert_int_eq(txn_commit(t, 0, time), HDB_OK);
  txn_free(t);
}

START_TEST(history_back_to_a_branch_point_stays_without_retention) {
  engine *e = open_engine(_i == 0, 0);
  uint32_t id;
  int64_t time;
  model none[MODEL_TREES] = {{0}};
  ck_assert_int_eq(branch_create(e, "dev", BRANCH_MAIN, 0, &id), HDB_OK);
  put(e, BRANCH_MAIN, 1, "on main", &time);
  put(e, BRANCH_MAIN, 1, "again", &time);
  ck_assert_int_eq(engine_collect(e), HDB_OK);
  see(e, id, 0, none);
  engine_close(e);
  remove_directory();
}
END_TEST

START_TEST(two_writers_of_one_key_on_a_branch_conflict) {
  engine *e = open_engine(true, 0);
  uint32_t id;
  int64_t time;
  txn *a;
  uint8_t key[8];
  rowid_encode(key, 5);
  ck_assert_int_eq(branch_create(e, "dev", BRANCH_MAIN, 0, &id), HDB_OK);
  for (int fact = 0; fact < 2; fact++) {
    ck_assert_int_eq(txn_new(e, &a), HDB_OK);
    ck_assert_int_eq(txn_set_branch(a, id), HDB_OK);
    ck_assert_int_eq(txn_begin(a, TXN_READ, 0), HDB_OK);
    uint8_t own[8];
    rowid_encode(own, fact ? 6 : 5);
    ck_assert_int_eq(txn_put(a, 20, slice_of(own, 8), slice_str("mine"), PUT_UPSERT), HDB_OK);
    if (fact) ck_assert_int_eq(txn_expect(a, FACT_UNIQUE, 20, slice_of(key, 8)), HDB_OK);
    put(e, BRANCH_MAIN, 5, "elsewhere", &time); /* no conflict: another branch's */
    put(e, id, 5, "theirs", &time);
    ck_assert_int_eq(txn_commit(a, 0, &time), HDB_BUSY_SNAPSHOT);
    uint32_t tree;
    slice where;
    txn_conflict(a, &tree, &where);
    ck_assert_uint_eq(tree, 20);
    txn_free(a);
  }
  engine_close(e);
  remove_directory();
}
END_TEST

START_TEST(row_ids_are_given_once_over_all_branches) {
  engine *e = open_engine(_i == 0, 3600);
  uint32_t ids[3] = {BRANCH_MAIN};
  int64_t seen[60], time;
  put(e, BRANCH_MAIN, 10, "first", &time);
  ck_assert_int_eq(branch_create(e, "a", BRANCH_MAIN, 0, &ids[1]), HDB_OK);
  ck_assert_int_eq(branch_create(e, "b", ids[1], 0, &ids[2]), HDB_OK);
  for (int i = 0; i < 60; i++) {
    txn *t;
    if (i == 30 && _i == 1) {
      engine_close(e);
      engine_close_lingering();
      e = open_engine(false, -1);
    }
    ck_assert_int_eq(txn_new(e, &t), HDB_OK);
    ck_assert_int_eq(txn_set_branch(t, ids[i % 3]), HDB_OK);
    ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
    ck_assert_int_eq(txn_new_rowid(t, 20, INT64_MIN, &seen[i]), HDB_OK);
    uint8_t key[8];
    rowid_encode(key, seen[i]);
    ck_assert_int_eq(txn_put(t, 20, slice_of(key, 8), slice_str("x"), PUT_INSERT), HDB_OK);
    ck_assert_int_eq(txn_commit(t, 0, &time), HDB_OK);
    txn_free(t);
    for (int k = 0; k < i; k++) ck_assert_int_ne(seen[k], seen[i]);
  }
  engine_close(e);
  remove_directory();
}
END_TEST

START_TEST(names_are_taken_once) {
  engine *e = open_engine(true, 0);
  uint32_t id, other;
  ck_assert_int_eq(branch_create(e, "dev", BRANCH_MAIN, 0, &id), HDB_OK);
  ck_assert_int_eq(branch_create(e, "dev", BRANCH_MAIN, 0, &other), HDB_CONSTRAINT_UNIQUE);
  ck_assert_int_eq(branch_create(e, "x", 99, 0, &other), HDB_NOTFOUND);
  ck_assert_int_eq(branch_find(e, "dev", &other), HDB_OK);
  ck_assert_uint_eq(other, id);
  ck_assert_int_eq(branch_find(e, "nope", &other), HDB_NOTFOUND);
  ck_assert_int_eq(branch_drop(e, id), HDB_OK);
  ck_assert_int_eq(branch_create(e, "dev", BRANCH_MAIN, 0, &other), HDB_OK);
  ck_assert_uint_ne(other, id);
  engine_close(e);
  remove_directory();
}
END_TEST

int main(void) {
  Suite *s = suite_create("mvcc_branch");
  TCase *c = tcase_create("branch");
  tcase_set_timeout(c, 60);
  tcase_add_checked_fixture(c, setup, NULL);
  tcase_add_loop_test(c, branches_hold_what_was_done_on_them, 0, 6);
  tcase_add_loop_test(c, history_back_to_a_branch_point_stays_without_retention, 0, 2);
  tcase_add_test(c, two_writers_of_one_key_on_a_branch_conflict);
  tcase_add_loop_test(c, row_ids_are_given_once_over_all_branches, 0, 2);
  tcase_add_test(c, names_are_taken_once);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
