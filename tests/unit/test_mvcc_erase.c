/* Erasing: afterwards the keys were never there, at any time, on any branch, in any file; all others are what they were. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kv/base/record.h"
#include "kv/fault.h"
#include "mvcc/images.h"
#include "mvcc/internal.h"
#include "tests/unit/mvcc_model.h"

enum { STATES = 60, TREE = 20, INDEX = 21, KEYS = 90 };
#define MARKER "a-secret-that-nobody-shall-read"

/* Of each key what it has: 0 nothing. A key that is to be erased has the marker in all of its values. */
typedef struct state {
  uint32_t branch;
  int64_t time;
  uint32_t values[KEYS];
} state;

static record_writer writer;
static bool bad[KEYS]; /* these are erased */

static bool is_row_id(void) { return shape == 0; }

/* Row ids, or texts that tell the marker. */
static slice key_of(uint32_t k, uint8_t *to) {
  if (is_row_id()) {
    put_be64(to, (uint64_t)k * 3 + (1ull << 63));
    return slice_of(to, 8);
  }
  return slice_of(to, (size_t)sprintf((char *)to, "%s-%05u", bad[k] ? "mm-" MARKER : k % 2 ? "mm-a" : "mm-b", k));
}

static slice value_of(uint32_t k, uint32_t v) {
  char text[120];
  record_begin(&writer);
  record_int(&writer, v);
  record_text(&writer, text, (size_t)sprintf(text, "%s of %u", bad[k] ? MARKER : "something", v / 3));
  record_text(&writer, "text that stays as it is", 24);
  return record_end(&writer);
}

/* An entry of the index: value, marker, then the row's key. */
static slice entry_of(uint32_t k, uint32_t v, uint8_t *to) {
  int n = sprintf((char *)to, "%s-%06u-%05u", bad[k] ? MARKER : "something", v, k);
  return slice_of(to, (size_t)n);
}

static bool row_is_bad(void *context, slice key) {
  uint8_t bytes[100];
  for (uint32_t k = 0; k < KEYS; k++)
    if (bad[k] && slice_equal(key_of(k, bytes), key)) return true;
  return false;
}

static bool entry_is_bad(void *context, slice key) {
  char digits[6] = {0};
  memcpy(digits, key.p + key.n - 5, 5);
  return bad[atoi(digits)];
}

static void put(txn *t, state *now, uint32_t k, uint32_t v) {
  uint8_t key[100], entry[100];
  uint32_t old = now->values[k];
  if (old) ck_assert_int_eq(txn_delete(t, INDEX, entry_of(k, old, entry)), HDB_OK);
  if (v) {
    slice bytes = value_of(k, v);
    ck_assert_int_eq(txn_put(t, TREE, key_of(k, key), bytes, old ? PUT_UPDATE : PUT_INSERT), HDB_OK);
    ck_assert_int_eq(txn_put(t, INDEX, entry_of(k, v, entry), slice_of("", 0), PUT_INSERT), HDB_OK);
  } else if (old) {
    ck_assert_int_eq(txn_delete(t, TREE, key_of(k, key)), HDB_OK);
  }
  now->values[k] = v;
}

static void change(txn *t, state *now) {
  uint32_t n = rnd(4) ? 1 + rnd(5) : KEYS / 2, from = rnd(KEYS);
  for (uint32_t i = 0; i < n; i++) put(t, now, (from + i) % KEYS, rnd(5) ? 1 + rnd(9999) : 0);
}

static void check(engine *e, const state *s, bool erased) {
  txn *t;
  cursor *c;
  uint8_t bytes[100];
  int64_t wanted = 0, n = 0;
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  ck_assert_int_eq(txn_set_branch(t, s->branch), HDB_OK);
  ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
  ck_assert_int_eq(cursor_open(t, TREE, s->time, &c), HDB_OK);
  for (uint32_t k = 0; k < KEYS; k++) {
    bool there = s->values[k] && !(erased && bad[k]);
    wanted += there;
    ck_assert_int_eq(cursor_find(c, key_of(k, bytes)), there);
    if (there) ck_assert(slice_equal(c->value, value_of(k, s->values[k])));
  }
  for (cursor_first(c); c->valid; cursor_next(c)) n++;
  ck_assert_int_eq(c->error, HDB_OK);
  ck_assert_int_eq(n, wanted);
  cursor_close(c);
  ck_assert_int_eq(cursor_open(t, INDEX, s->time, &c), HDB_OK);
  n = 0;
  for (uint32_t k = 0; k < KEYS; k++)
    if (s->values[k]) ck_assert_int_eq(cursor_find(c, entry_of(k, s->values[k], bytes)), !(erased && bad[k]));
  for (cursor_last(c); c->valid; cursor_prev(c)) n++;
  ck_assert_int_eq(n, wanted);
  cursor_close(c);
  txn_free(t);
}

static void pack(engine *e) { ck_assert_int_eq(pack_all(e), HDB_OK); }

static status only_the_end(void *context, uint32_t tree, slice key, bool whole) {
  ck_assert(whole || !(tree == TREE ? row_is_bad(NULL, key) : entry_is_bad(NULL, key)));
  *(int *)context += whole;
  return HDB_OK;
}

static void work(engine *e, int commits) {
  if (commits % 2) pack_sizes(e, 200, 450);
  static state states[STATES];
  state now[3] = {{0}}; /* main, a branch, a branch of that */
  txn *t[3];
  int n = 0, branches = 1;
  for (int i = 0; i < 3; i++) {
    ck_assert_int_eq(txn_new(e, &t[i]), HDB_OK);
    txn_set_sync(t[i], TXN_SYNC_OFF);
  }
  for (uint32_t k = 0; k < KEYS; k++) bad[k] = k % 30 > 20 || k == 5;
  for (int i = 0; i < commits; i++) {
    int who = (int)rnd((uint32_t)branches);
    ck_assert_int_eq(txn_begin(t[who], TXN_READ, 0), HDB_OK);
    change(t[who], &now[who]);
    ck_assert_int_eq(txn_commit(t[who], 0, NULL), HDB_OK);
    now[who].time = engine_newest(e);
    states[n < STATES ? n++ : (int)rnd(STATES)] = now[who];
    if (rnd(9) == 0) pack(e);
    if ((i == commits / 3 || i == commits / 2) && branches < 3) {
      uint32_t id;
      ck_assert_int_eq(branch_create(e, branches == 1 ? "one" : "two", now[branches - 1].branch, 0, &id), HDB_OK);
      ck_assert_int_eq(txn_set_branch(t[branches], id), HDB_OK);
      now[branches] = now[branches - 1];
      now[branches].branch = id;
      branches++;
    }
  }
  for (int i = 0; i < n; i += 7) check(e, &states[i], false);
  erase_tree trees[] = {{TREE, !is_row_id(), row_is_bad, NULL}, {INDEX, true, entry_is_bad, NULL}};
  erase_report report;
  int64_t before = engine_newest(e);
  ck_assert_int_eq(engine_erase(t[0], trees, 2, 0, &report), HDB_OK);
  ck_assert_int_gt(report.rows, 0);
  ck_assert_int_gt(report.versions, 0);
  ck_assert_int_gt(report.feed_keys, 0);
  for (int i = 0; i < n; i++) check(e, &states[i], true);
  for (int i = 0; i < 3; i++) {
    now[i].time = 0;
    check(e, &now[i], true);
    for (uint32_t k = 0; k < KEYS; k++)
      if (bad[k]) now[i].values[k] = 0;
  }
  int wholes = 0;
  ck_assert_int_eq(feed_changes(e, 0, INT64_MAX - 1, only_the_end, &wholes), HDB_OK);
  ck_assert_int_eq(wholes, 2);
  wholes = 0;
  ck_assert_int_eq(feed_changes(e, before, INT64_MAX - 1, only_the_end, &wholes), HDB_OK);
  ck_assert_int_eq(wholes, 2);
  /* life goes on, also with these keys, and with what the past is then */
  for (int i = 0; i < 20; i++) {
    int who = (int)rnd(3);
    ck_assert_int_eq(txn_begin(t[who], TXN_READ, 0), HDB_OK);
    int64_t rows, counted = 0;
    for (uint32_t k = 0; k < KEYS; k++) counted += now[0].values[k] != 0;
    if (!who && txn_count(t[who], TREE, &rows) == HDB_OK) ck_assert_int_eq(rows, counted);
    for (int w = 0; w < 10; w++) {
      uint32_t k = rnd(KEYS);
      if (!bad[k]) put(t[who], &now[who], k, rnd(4) ? 1 + rnd(9999) : 0);
    }
    ck_assert_int_eq(txn_commit(t[who], 0, NULL), HDB_OK);
    now[who].time = engine_newest(e);
    check(e, &now[who], true);
    if (rnd(4) == 0) pack(e);
  }
  for (int i = 0; i < n; i++) check(e, &states[i], true);
  for (int i = 0; i < 3; i++) txn_free(t[i]);
  memset(states, 0, sizeof states);
}

START_TEST(what_is_erased_was_never_there) {
  engine *e;
  engine_options o = {.create = true, .retention = 3600};
  shape = _i % 2;
  seed = (uint64_t)_i + 77;
  ck_assert_int_eq(engine_open(NULL, &o, &e, NULL), HDB_OK);
  work(e, 40 + 31 * (_i / 2));
  engine_close(e);
  record_writer_free(&writer);
}
END_TEST

/* Does any file of the directory have the marker? */
static bool is_in_files(const char *path) {
  char command[200];
  snprintf(command, sizeof command, "grep -rqa '%s' %s", MARKER, path);
  return system(command) == 0;
}

START_TEST(no_file_has_what_was_erased) {
  char directory[] = "/tmp/helios-erase-XXXXXX", path[64], command[64];
  ck_assert_ptr_nonnull(mkdtemp(directory));
  snprintf(path, sizeof path, "%s/db", directory);
  engine *e;
  txn *t, *other;
  engine_options o = {.create = true, .retention = -1};
  shape = _i % 2;
  seed = (uint64_t)_i + 177;
  ck_assert_int_eq(engine_open(path, &o, &e, NULL), HDB_OK);
  ck_assert_int_eq(txn_new(e, &other), HDB_OK);
  if (_i >= 2) { /* somebody who keeps a view */
    ck_assert_int_eq(txn_begin(other, TXN_READ, 0), HDB_OK);
  }
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  state now = {0};
  for (uint32_t k = 0; k < KEYS; k++) bad[k] = k % 3 == 0;
  if (_i % 3 == 0) pack_sizes(e, 200, 450);
  for (int i = 0; i < 60; i++) {
    ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
    change(t, &now);
    ck_assert_int_eq(txn_commit(t, 0, NULL), HDB_OK);
    if (i == 30) ck_assert_int_eq(engine_checkpoint(e), HDB_OK);
    if (i == 40) pack(e);
  }
  ck_assert(is_in_files(path));
  erase_tree trees[] = {{TREE, !is_row_id(), row_is_bad, NULL}, {INDEX, true, entry_is_bad, NULL}};
  erase_report report;
  ck_assert_int_eq(engine_erase(t, trees, 2, 0, &report), HDB_OK);
  check(e, &now, true);
  ck_assert_int_eq(report.views, _i >= 2);
  if (_i < 2) ck_assert(!is_in_files(path));
  txn_free(t);
  txn_free(other);
  engine_close(e);
  engine_close_lingering();
  ck_assert(!is_in_files(path));
  ck_assert_int_eq(engine_open(path, &o, &e, NULL), HDB_OK);
  now.time = 0;
  check(e, &now, true);
  engine_close(e);
  engine_close_lingering();
  record_writer_free(&writer);
  snprintf(command, sizeof command, "rm -rf %s", directory);
  ck_assert_int_eq(system(command), 0);
}
END_TEST

/* Is the bad key there at this state? */
static bool has_bad(engine *e, const state *s, uint32_t k) {
  txn *t;
  cursor *c;
  uint8_t bytes[100];
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
  ck_assert_int_eq(cursor_open(t, TREE, s->time, &c), HDB_OK);
  bool found = cursor_find(c, key_of(k, bytes));
  ck_assert_int_eq(c->error, HDB_OK);
  cursor_close(c);
  txn_free(t);
  return found;
}

START_TEST(a_crash_leaves_all_or_nothing) {
  char directory[] = "/tmp/helios-erase-XXXXXX", path[64], command[64];
  ck_assert_ptr_nonnull(mkdtemp(directory));
  snprintf(path, sizeof path, "%s/db", directory);
  engine *e;
  txn *t;
  engine_options o = {.create = true, .retention = -1};
  static state states[30];
  shape = _i % 2;
  seed = (uint64_t)_i + 277;
  kv_fault_track(true);
  ck_assert_int_eq(engine_open(path, &o, &e, NULL), HDB_OK);
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  state now = {0};
  for (uint32_t k = 0; k < KEYS; k++) bad[k] = k % 3 == 0;
  for (int i = 0; i < 30; i++) {
    ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
    change(t, &now);
    put(t, &now, 3, 1 + rnd(9999));
    ck_assert_int_eq(txn_commit(t, 0, NULL), HDB_OK);
    now.time = engine_newest(e);
    states[i] = now;
  }
  pack(e);
  kv_fault_power_cut_at(1 + _i * 2);
  erase_tree trees[] = {{TREE, !is_row_id(), row_is_bad, NULL}, {INDEX, true, entry_is_bad, NULL}};
  erase_report report;
  status rc = engine_erase(t, trees, 2, 0, &report);
  bool cut = kv_fault_power_is_cut();
  ck_assert(rc == HDB_OK || cut);
  kv_fault_power_cut();
  txn_free(t);
  engine_close(e);
  engine_close_lingering();
  kv_fault_power_back(_i % 3 ? seed : 0);
  kv_fault_track(false);
  ck_assert_int_eq(engine_open(path, &o, &e, NULL), HDB_OK);
  bool erased = !has_bad(e, &states[29], 3);
  if (rc == HDB_OK) ck_assert(erased);
  for (int i = 0; i < 30; i++) check(e, &states[i], erased);
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  ck_assert_int_eq(engine_erase(t, trees, 2, 0, &report), HDB_OK);
  for (int i = 0; i < 30; i++) check(e, &states[i], true);
  ck_assert(!is_in_files(path));
  txn_free(t);
  engine_close(e);
  engine_close_lingering();
  record_writer_free(&writer);
  snprintf(command, sizeof command, "rm -rf %s", directory);
  ck_assert_int_eq(system(command), 0);
}
END_TEST

int main(void) {
  Suite *s = suite_create("mvcc_erase");
  TCase *c = tcase_create("all");
  tcase_set_timeout(c, 60);
  tcase_add_loop_test(c, what_is_erased_was_never_there, 0, 8);
  tcase_add_loop_test(c, no_file_has_what_was_erased, 0, 4);
  tcase_add_loop_test(c, a_crash_leaves_all_or_nothing, 0, 12);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
