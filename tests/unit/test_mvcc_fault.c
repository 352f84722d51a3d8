/* What a failing disk and a power loss leave: all that was acknowledged, nothing half, index equal to table. */
#include <check.h>

#include "kv/fault.h"
#include "tests/unit/mvcc_numbers.h"

static uint64_t seed;
static uint32_t rnd(uint32_t n) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(seed >> 33) % n;
}

/* Commits from `from` on until one fails or `n` are done; the last acknowledged. */
static uint32_t commit_some(uint32_t from, uint32_t n, status *failed) {
  engine *e;
  txn *t;
  engine_options o = {.create = true, .retention = -1};
  uint32_t last = from - 1;
  *failed = engine_open(path(), &o, &e, NULL);
  if (*failed != HDB_OK) return last;
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  while (*failed == HDB_OK && last + 1 < from + n) {
    *failed = commit_number(t, last + 1);
    if (*failed == HDB_OK) last++;
  }
  if (*failed != HDB_OK) {
    /* nothing is acknowledged from here on, and the transaction says so as long as it is asked */
    ck_assert(txn_is_doomed(t) || !txn_is_open(t));
    txn_rollback(t);
    ck_assert(commit_number(t, last + 2) != HDB_OK);
  }
  txn_free(t);
  engine_close(e);
  return last;
}

START_TEST(after_a_power_loss_everything_acknowledged_is_there) {
  seed = (uint64_t)_i + 1;
  uint32_t last = 0;
  for (int round = 0; round < 4; round++) {
    status failed;
    kv_fault_track(true);
    kv_fault_power_cut_at(40 + (int)rnd(600));
    uint32_t acknowledged = commit_some(last + 1, 300, &failed);
    kv_fault_power_cut();
    kv_fault_power_back(_i % 2 ? seed | 1 : 0);
    kv_fault_track(false);
    last = check_numbers();
    ck_assert_uint_ge(last, acknowledged);
    ck_assert_uint_le(last, acknowledged + 1);
  }
}
END_TEST

START_TEST(a_failed_sync_or_write_acknowledges_nothing) {
  static const enum kv_fault faults[] = {KV_FAULT_SYNC, KV_FAULT_WRITE, KV_FAULT_HALF_WRITE, KV_FAULT_NO_SPACE};
  status failed;
  uint32_t last = commit_some(1, 20, &failed);
  ck_assert_int_eq(failed, HDB_OK);
  for (int nth = 1; nth < 12; nth += 2) {
    kv_fault_set(faults[_i], ".log", nth);
    uint32_t acknowledged = commit_some(last + 1, 50, &failed);
    bool struck = kv_fault_hits() > 0;
    kv_fault_clear();
    ck_assert(failed != HDB_OK || !struck);
    if (failed != HDB_OK) ck_assert((failed & 0xff) == HDB_IOERR || failed == HDB_FULL);
    last = check_numbers();
    ck_assert_uint_ge(last, acknowledged);
    ck_assert_uint_le(last, acknowledged + 1);
  }
}
END_TEST

/* Readers are told of a damaged block, and the engine lives on. */
START_TEST(a_failed_read_is_an_error_of_that_statement) {
  status failed;
  uint32_t last = commit_some(1, 400, &failed);
  ck_assert_int_eq(failed, HDB_OK);
  engine *e = open_disk(-1, 0);
  txn *t;
  cursor *c;
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  ck_assert_int_eq(engine_checkpoint(e), HDB_OK);
  for (int nth = 1; nth < 4; nth++) {
    kv_fault_set(KV_FAULT_READ, ".sst", nth);
    txn_begin(t, TXN_READ, 0);
    ck_assert_int_eq(cursor_open(t, 16, 0, &c), HDB_OK);
    uint32_t n = 0;
    for (cursor_first(c); c->valid; cursor_next(c)) n++;
    ck_assert(c->error != HDB_OK || kv_fault_hits() == 0);
    cursor_close(c);
    txn_rollback(t);
    kv_fault_clear();
  }
  txn_free(t);
  engine_close(e);
  ck_assert_uint_eq(check_numbers(), last);
}
END_TEST

int main(void) {
  Suite *s = suite_create("mvcc_fault");
  TCase *c = tcase_create("all");
  tcase_set_timeout(c, 120);
  tcase_add_checked_fixture(c, setup, teardown);
  tcase_add_loop_test(c, after_a_power_loss_everything_acknowledged_is_there, 0, 8);
  tcase_add_loop_test(c, a_failed_sync_or_write_acknowledges_nothing, 0, 4);
  tcase_add_test(c, a_failed_read_is_an_error_of_that_statement);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
