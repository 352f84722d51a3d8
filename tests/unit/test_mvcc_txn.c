/* Transactions and cursors in memory. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "kv/base/key.h"
#include "mvcc/mvcc.h"
#include "tests/unit/mvcc_model.h"

static engine *open_memory(double retention) {
  engine *e;
  engine_options o = {.create = true, .retention = retention};
  error err = ERROR_INIT;
  ck_assert_int_eq(engine_open(NULL, &o, &e, &err), HDB_OK);
  return e;
}

START_TEST(large_values_agree_with_the_model) {
  seed = (uint64_t)_i + 70;
  shape = _i % 3;
  model_large = 190000;
  engine *e = open_memory(_i % 2 ? 3600 : 0);
  run_model(e, 300, 40, 3000, NULL);
  engine_close(e);
}
END_TEST

START_TEST(random_work_agrees_with_the_model) {
  for (int round = 0; round < 12; round++) {
    seed = (uint64_t)round * 977 + 5;
    shape = round % 3;
    model_policy = round % 4 == 1 ? TXN_SERIALIZABLE : TXN_LAST_COMMIT_WINS;
    engine *e = open_memory(round % 2 ? 3600 : 0);
    run_model(e, round < 6 ? 200 : 3000, round % 4 == 3 ? 400 : 40, 12000, NULL);
    engine_close(e);
  }
}
END_TEST

/* ---- several transactions ---- */

static slice key_of(int64_t rowid) {
  static uint8_t k[8][8];
  static int turn;
  rowid_encode(k[turn = (turn + 1) % 8], rowid);
  return slice_of(k[turn], 8);
}

static status put_text(txn *t, int64_t rowid, const char *text, enum put_kind kind) {
  return txn_put(t, 16, key_of(rowid), slice_str(text), kind);
}

static void expect_text(txn *t, int64_t rowid, const char *text) {
  cursor *c;
  ck_assert_int_eq(cursor_open(t, 16, 0, &c), HDB_OK);
  bool found = cursor_find(c, key_of(rowid));
  ck_assert_int_eq(c->error, HDB_OK);
  ck_assert(found == (text != NULL));
  if (text) ck_assert(slice_equal(c->value, slice_str(text)));
  cursor_close(c);
}

static engine *e;
static txn *a, *b;
static void two_txns(void) {
  e = open_memory(0);
  ck_assert_int_eq(txn_new(e, &a), HDB_OK);
  ck_assert_int_eq(txn_new(e, &b), HDB_OK);
  txn_set_policy(a, TXN_FIRST_COMMIT_WINS);
  txn_set_policy(b, TXN_FIRST_COMMIT_WINS);
}
static void end_two(void) {
  txn_free(a);
  txn_free(b);
  engine_close(e);
}
static void begin_both(void) {
  ck_assert_int_eq(txn_begin(a, TXN_READ, 0), HDB_OK);
  ck_assert_int_eq(txn_begin(b, TXN_READ, 0), HDB_OK);
}

START_TEST(a_view_never_moves) {
  two_txns();
  ck_assert_int_eq(txn_begin(a, TXN_READ, 0), HDB_OK);
  put_text(a, 1, "one", PUT_INSERT);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  begin_both();
  put_text(a, 1, "uno", PUT_UPDATE);
  put_text(a, 2, "due", PUT_INSERT);
  expect_text(b, 1, "one");
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  expect_text(b, 1, "one");
  expect_text(b, 2, NULL);
  ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_OK);
  ck_assert_int_eq(txn_begin(b, TXN_READ, 0), HDB_OK);
  expect_text(b, 1, "uno");
  expect_text(b, 2, "due");
  end_two();
}
END_TEST

START_TEST(writers_of_one_row_conflict_and_of_two_rows_do_not) {
  two_txns();
  ck_assert_int_eq(txn_begin(a, TXN_READ, 0), HDB_OK);
  put_text(a, 1, "one", PUT_INSERT);
  put_text(a, 2, "two", PUT_INSERT);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  begin_both();
  put_text(a, 1, "a", PUT_UPDATE);
  put_text(b, 2, "b", PUT_UPDATE);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_OK);
  begin_both();
  expect_text(a, 1, "a");
  expect_text(a, 2, "b");
  put_text(a, 1, "x", PUT_UPDATE);
  ck_assert_int_eq(txn_delete(b, 16, key_of(1)), HDB_OK);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_BUSY_SNAPSHOT);
  ck_assert(txn_is_doomed(b) && txn_is_open(b));
  uint32_t tree;
  slice key;
  txn_conflict(b, &tree, &key);
  ck_assert_uint_eq(tree, 16);
  ck_assert(slice_equal(key, key_of(1)));
  ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_BUSY_SNAPSHOT);
  ck_assert_int_eq(put_text(b, 5, "no", PUT_INSERT), HDB_BUSY_SNAPSHOT);
  txn_rollback(b);
  begin_both();
  expect_text(b, 1, "x");
  end_two();
}
END_TEST

START_TEST(a_write_taken_back_does_not_conflict) {
  two_txns();
  begin_both();
  put_text(a, 1, "a", PUT_INSERT);
  txn_mark mark = txn_save(b);
  put_text(b, 1, "b", PUT_INSERT);
  txn_rollback_to(b, mark);
  put_text(b, 2, "b", PUT_INSERT);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_OK);
  begin_both();
  expect_text(a, 1, "a");
  expect_text(a, 2, "b");
  end_two();
}
END_TEST

START_TEST(facts_are_checked_on_the_result) {
  two_txns();
  slice k = slice_str("email=x");
  begin_both();
  /* both see no entry that starts with k, both add one under different row keys */
  ck_assert_int_eq(txn_put(a, 17, slice_str("email=x1"), slice_str(""), PUT_INSERT), HDB_OK);
  ck_assert_int_eq(txn_expect(a, FACT_UNIQUE, 17, k), HDB_OK);
  ck_assert_int_eq(txn_put(b, 17, slice_str("email=x2"), slice_str(""), PUT_INSERT), HDB_OK);
  ck_assert_int_eq(txn_expect(b, FACT_UNIQUE, 17, k), HDB_OK);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_CONSTRAINT_UNIQUE);
  txn_rollback(b);
  /* a removes the parent, b adds a child */
  begin_both();
  ck_assert_int_eq(txn_delete(a, 17, slice_str("email=x1")), HDB_OK);
  ck_assert_int_eq(txn_expect(a, FACT_NONE, 18, slice_str("child")), HDB_OK);
  ck_assert_int_eq(txn_put(b, 18, slice_str("child7"), slice_str(""), PUT_INSERT), HDB_OK);
  ck_assert_int_eq(txn_expect(b, FACT_EXISTS, 17, k), HDB_OK);
  ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_OK);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_CONSTRAINT_FOREIGNKEY);
  txn_rollback(a);
  /* a fact of a statement that was taken back is none */
  begin_both();
  txn_mark mark = txn_save(a);
  ck_assert_int_eq(txn_expect(a, FACT_NONE, 18, slice_str("child")), HDB_OK);
  txn_rollback_to(a, mark);
  ck_assert_int_eq(txn_put(a, 17, slice_str("y"), slice_str(""), PUT_INSERT), HDB_OK);
  ck_assert_int_eq(txn_put(b, 18, slice_str("child8"), slice_str(""), PUT_INSERT), HDB_OK);
  ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_OK);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  end_two();
}
END_TEST

START_TEST(the_turn_keeps_others_from_committing) {
  two_txns();
  ck_assert_int_eq(txn_begin(a, TXN_IMMEDIATE, 0), HDB_OK);
  ck_assert_int_eq(txn_begin(b, TXN_IMMEDIATE, 1), HDB_BUSY);
  ck_assert(!txn_is_open(b));
  ck_assert_int_eq(txn_begin(b, TXN_READ, 0), HDB_OK);
  put_text(b, 1, "b", PUT_INSERT);
  ck_assert_int_eq(txn_commit(b, 1, NULL), HDB_BUSY);
  ck_assert(!txn_is_doomed(b));
  put_text(a, 2, "a", PUT_INSERT);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_OK);
  ck_assert_int_eq(txn_begin(b, TXN_IMMEDIATE, 0), HDB_OK);
  expect_text(b, 1, "b");
  expect_text(b, 2, "a");
  end_two();
}
END_TEST

START_TEST(row_ids_are_max_plus_one_and_others_are_skipped) {
  two_txns();
  int64_t id;
  begin_both();
  ck_assert_int_eq(txn_new_rowid(a, 16, INT64_MIN, &id), HDB_OK);
  ck_assert_int_eq(id, 1);
  put_text(a, 1, "x", PUT_INSERT);
  txn_new_rowid(b, 16, INT64_MIN, &id);
  ck_assert_int_eq(id, 2);
  put_text(b, 2, "y", PUT_INSERT);
  txn_new_rowid(a, 16, INT64_MIN, &id);
  ck_assert_int_eq(id, 3);
  put_text(a, 10, "z", PUT_INSERT);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  txn_new_rowid(b, 16, INT64_MIN, &id);
  ck_assert_int_eq(id, 11);
  ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_OK);
  /* alone: the largest is given again once it is deleted */
  ck_assert_int_eq(txn_begin(a, TXN_READ, 0), HDB_OK);
  ck_assert_int_eq(txn_delete(a, 16, key_of(10)), HDB_OK);
  txn_new_rowid(a, 16, INT64_MIN, &id);
  ck_assert_int_eq(id, 3);
  put_text(a, INT64_MAX, "end", PUT_INSERT);
  ck_assert_int_eq(txn_new_rowid(a, 16, INT64_MIN, &id), HDB_FULL);
  end_two();
}
END_TEST

/* The largest that the transaction sees, looked for in the rows themselves; 0: there is none. */
static int64_t largest(txn *t, uint32_t tree) {
  cursor *c;
  ck_assert_int_eq(cursor_open(t, tree, 0, &c), HDB_OK);
  cursor_last(c);
  int64_t id = c->valid ? rowid_decode(c->key.p) : 0;
  cursor_close(c);
  return id;
}

/* One change of the tree at random; new ids are compared with what the rows say. alone: nobody else holds an id. */
static void change_at_random(txn *t, uint32_t tree, bool alone) {
  int64_t id, top = largest(t, tree);
  switch (rnd(8)) {
  case 0:
    ck_assert_int_eq(txn_put(t, tree, key_of(top + 1 + (int64_t)(rnd(5))), slice_str("p"), PUT_UPSERT), HDB_OK);
    break;
  case 1: case 2:
    if (top) ck_assert_int_eq(txn_delete(t, tree, key_of(top)), HDB_OK);
    break;
  case 3:
    if (rnd(8) == 0) ck_assert_int_eq(txn_clear(t, tree), HDB_OK);
    break;
  case 4:
    if (top > 1) ck_assert_int_eq(txn_put(t, tree, key_of(1 + (int64_t)(rnd((uint32_t)top))), slice_str("q"), PUT_UPSERT), HDB_OK);
    break;
  default:
    ck_assert_int_eq(txn_new_rowid(t, tree, INT64_MIN, &id), HDB_OK);
    if (alone) ck_assert_int_eq(id, top + 1);
    else ck_assert_int_gt(id, top);
    ck_assert_int_eq(txn_put(t, tree, key_of(id), slice_str("n"), PUT_INSERT), HDB_OK);
  }
}

START_TEST(row_ids_follow_what_commits_and_rollbacks_leave) {
  seed = (uint64_t)_i + 900;
  e = open_memory(_i % 2 ? 3600 : 0);
  ck_assert_int_eq(txn_new(e, &a), HDB_OK);
  ck_assert_int_eq(txn_new(e, &b), HDB_OK);
  for (int round = 0; round < 3000; round++) {
    bool together = rnd(4) == 0;
    ck_assert_int_eq(txn_begin(a, TXN_READ, 0), HDB_OK);
    if (together) ck_assert_int_eq(txn_begin(b, TXN_READ, 0), HDB_OK);
    for (uint32_t n = rnd(4); n; n--) change_at_random(a, 16, !together);
    if (!rnd(5) || txn_commit(a, 0, NULL) != HDB_OK) txn_rollback(a);
    if (!together) continue;
    /* b's view is older: an id it is given is above what it sees and above what was committed since */
    int64_t id, above = largest(b, 16);
    ck_assert_int_eq(txn_begin(a, TXN_READ, 0), HDB_OK);
    ck_assert_int_eq(txn_new_rowid(b, 16, INT64_MIN, &id), HDB_OK);
    ck_assert_int_gt(id, above);
    ck_assert_int_gt(id, largest(a, 16));
    ck_assert_int_eq(txn_put(b, 16, key_of(id), slice_str("b"), PUT_INSERT), HDB_OK);
    txn_rollback(a);
    if (txn_commit(b, 0, NULL) != HDB_OK) txn_rollback(b);
  }
  end_two();
}
END_TEST

START_TEST(schema_stamps_tell_schemas_apart) {
  two_txns();
  begin_both();
  schema_stamp before = txn_schema_stamp(a), s1, s2;
  txn_put(a, TREE_SCHEMA, key_of(1), slice_str("t"), PUT_INSERT);
  s1 = txn_schema_stamp(a);
  ck_assert(s1.local != before.local);
  txn_rollback(a);
  ck_assert_int_eq(txn_begin(a, TXN_READ, 0), HDB_OK);
  ck_assert(txn_schema_stamp(a).local == before.local && txn_schema_stamp(a).time == before.time);
  txn_put(a, TREE_SCHEMA, key_of(1), slice_str("u"), PUT_INSERT);
  s2 = txn_schema_stamp(a);
  ck_assert(s2.local != s1.local);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  ck_assert_int_eq(txn_begin(a, TXN_READ, 0), HDB_OK);
  s1 = txn_schema_stamp(a);
  ck_assert(s1.time > before.time && s1.local == 0);
  put_text(a, 1, "row", PUT_INSERT);
  txn_commit(a, 0, NULL);
  txn_begin(a, TXN_READ, 0);
  ck_assert(txn_schema_stamp(a).time == s1.time);
  end_two();
}
END_TEST

START_TEST(a_cursor_goes_on_after_the_commit) {
  two_txns();
  ck_assert_int_eq(txn_begin(a, TXN_READ, 0), HDB_OK);
  for (int i = 1; i <= 1000; i++) put_text(a, i, "row", PUT_INSERT);
  cursor *c;
  ck_assert_int_eq(cursor_open(a, 16, 0, &c), HDB_OK);
  int n = 0;
  for (cursor_first(c); c->valid; cursor_next(c)) {
    ck_assert_int_eq(rowid_decode(c->key.p), ++n);
    if (n % 100 == 0) {
      if (!txn_is_open(a)) ck_assert_int_eq(txn_begin(a, TXN_READ, 0), HDB_OK);
      ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
      if (n % 200 == 0) ck_assert_int_eq(txn_begin(a, TXN_READ, 0), HDB_OK);
    } else if (n % 200 == 10) {
      if (!txn_is_open(a)) ck_assert_int_eq(txn_begin(a, TXN_READ, 0), HDB_OK);
      put_text(a, n, "changed", PUT_UPDATE);
    }
  }
  ck_assert_int_eq(n, 1000);
  cursor_close(c);
  end_two();
}
END_TEST

/* ---- bulk ---- */

static status bulk_load(txn *t, uint32_t tree, int from, int to) {
  bulk *b;
  char value[60];
  TRY(bulk_open(t, tree, &b));
  for (int i = from; i < to; i++) {
    status rc = bulk_add(b, key_of(i), slice_of(value, (size_t)snprintf(value, sizeof value, "value of %d", i)));
    if (rc == HDB_OK) continue;
    bulk_abandon(b);
    return rc;
  }
  return bulk_finish(b);
}

static int count_rows(txn *t, uint32_t tree) {
  cursor *c;
  int n = 0;
  ck_assert_int_eq(cursor_open(t, tree, 0, &c), HDB_OK);
  for (cursor_first(c); c->valid; cursor_next(c)) n++;
  ck_assert_int_eq(c->error, HDB_OK);
  cursor_close(c);
  return n;
}

START_TEST(bulk_is_seen_by_its_transaction_and_then_by_all) {
  two_txns();
  uint32_t tree, other;
  int64_t rows;
  begin_both();
  ck_assert_int_eq(txn_new_tree(a, &tree), HDB_OK);
  ck_assert_int_eq(bulk_load(a, tree, 1, 20001), HDB_OK);
  ck_assert_int_eq(count_rows(a, tree), 20000);
  ck_assert_int_eq(count_rows(b, tree), 0);
  ck_assert_int_eq(txn_count(a, tree, &rows), HDB_OK);
  ck_assert_int_eq(rows, 20000);
  ck_assert_int_eq(txn_delete(a, tree, key_of(777)), HDB_OK);
  ck_assert_int_eq(txn_put(a, tree, key_of(30000), slice_str("x"), PUT_INSERT), HDB_OK);
  ck_assert_int_eq(count_rows(a, tree), 20000);
  txn_mark mark = txn_save(a);
  ck_assert_int_eq(txn_new_tree(a, &other), HDB_OK);
  ck_assert_int_eq(bulk_load(a, other, 1, 5001), HDB_OK);
  ck_assert_int_eq(count_rows(a, other), 5000);
  txn_rollback_to(a, mark);
  ck_assert_int_eq(count_rows(a, other), 0);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  ck_assert_int_eq(count_rows(b, tree), 0);
  txn_rollback(b);
  begin_both();
  ck_assert_int_eq(count_rows(b, tree), 20000);
  ck_assert_int_eq(txn_count(b, tree, &rows), HDB_OK);
  ck_assert_int_eq(rows, 20000);
  cursor *c;
  cursor_open(b, tree, 0, &c);
  ck_assert(!cursor_find(c, key_of(777)));
  ck_assert(cursor_find(c, key_of(778)));
  ck_assert(slice_equal(c->value, slice_str("value of 778")));
  cursor_close(c);
  /* taken back whole */
  ck_assert_int_eq(txn_new_tree(a, &tree), HDB_OK);
  ck_assert_int_eq(bulk_load(a, tree, 1, 101), HDB_OK);
  txn_rollback(a);
  txn_begin(a, TXN_READ, 0);
  ck_assert_int_eq(count_rows(a, tree), 0);
  /* out of order; and a tree that others know */
  ck_assert_int_eq(txn_new_tree(a, &tree), HDB_OK);
  bulk *k;
  ck_assert_int_eq(bulk_open(a, tree, &k), HDB_OK);
  ck_assert_int_eq(bulk_add(k, key_of(5), slice_str("")), HDB_OK);
  ck_assert_int_eq(bulk_add(k, key_of(5), slice_str("")), HDB_CONSTRAINT_UNIQUE);
  bulk_abandon(k);
  txn_rollback(a);
  txn_begin(a, TXN_READ, 0);
  ck_assert_int_eq(bulk_load(a, 900, 1, 101), HDB_OK);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  ck_assert_int_eq(count_rows(b, 900), 0);
  end_two();
}
END_TEST

/* ---- serializable ---- */

static void serializable_two(void) {
  two_txns();
  txn_set_policy(a, TXN_SERIALIZABLE);
  txn_set_policy(b, TXN_SERIALIZABLE);
  txn_begin(a, TXN_READ, 0);
  for (int i = 1; i <= 2000; i++) put_text(a, 10 * i, "x", PUT_INSERT);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
}

static void walk(txn *t, int64_t from, int64_t to) {
  cursor *c;
  ck_assert_int_eq(cursor_open(t, 16, 0, &c), HDB_OK);
  for (cursor_seek(c, key_of(from)); c->valid && rowid_decode(c->key.p) < to; cursor_next(c)) {}
  cursor_close(c);
}

START_TEST(serializable_refuses_write_skew) {
  serializable_two();
  begin_both();
  expect_text(a, 10, "x"), expect_text(a, 20, "x");
  expect_text(b, 10, "x"), expect_text(b, 20, "x");
  put_text(a, 10, "a", PUT_UPDATE);
  put_text(b, 20, "b", PUT_UPDATE);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_BUSY_SNAPSHOT);
  uint32_t tree;
  slice key;
  txn_conflict(b, &tree, &key);
  ck_assert(tree == 16 && slice_equal(key, key_of(10)));
  end_two();
}
END_TEST

START_TEST(serializable_sees_phantoms_and_absent_rows) {
  serializable_two();
  static const struct {
    int64_t from, to, written;
    bool conflict;
  } cases[] = {{100, 200, 150, true}, {100, 200, 95, false}, {100, 200, 205, false}, {100, 200, 200, true},
               {100, 200, 201, false}, {19995, 30000, 25000, true}, {19995, 30000, 19985, false}, {101, 102, 105, true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    begin_both();
    walk(a, cases[i].from, cases[i].to);
    put_text(a, 1000000 + (int64_t)i, "a", PUT_INSERT);
    put_text(b, cases[i].written, "b", PUT_UPSERT);
    ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_OK);
    ck_assert_int_eq(txn_commit(a, 0, NULL), cases[i].conflict ? HDB_BUSY_SNAPSHOT : HDB_OK);
    txn_rollback(a);
    /* the rows above the walked ones go again */
    txn_begin(b, TXN_READ, 0);
    txn_delete(b, 16, key_of(cases[i].written));
    if (!cases[i].conflict) txn_delete(b, 16, key_of(1000000 + (int64_t)i));
    if (cases[i].written % 10 == 0 && cases[i].written <= 20000) put_text(b, cases[i].written, "x", PUT_INSERT);
    ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_OK);
  }
  begin_both(); /* a row that was looked for and not there */
  expect_text(a, 55, NULL);
  put_text(a, 7, "a", PUT_INSERT);
  put_text(b, 55, "b", PUT_INSERT);
  ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_OK);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_BUSY_SNAPSHOT);
  end_two();
}
END_TEST

START_TEST(serializable_lets_pass_what_does_not_meet) {
  serializable_two();
  begin_both(); /* row ids, and a reader that wrote nothing */
  int64_t id;
  ck_assert_int_eq(txn_new_rowid(a, 16, INT64_MIN, &id), HDB_OK);
  put_text(a, id, "a", PUT_INSERT);
  ck_assert_int_eq(txn_new_rowid(b, 16, INT64_MIN, &id), HDB_OK);
  put_text(b, id, "b", PUT_INSERT);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_OK);
  begin_both();
  walk(a, 0, 100000);
  put_text(b, 10, "b", PUT_UPDATE);
  ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_OK);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  /* backwards, and a cursor that still stands at the commit */
  begin_both();
  cursor *c;
  cursor_open(a, 16, 0, &c);
  cursor_seek_for_prev(c, key_of(500));
  for (int i = 0; i < 5; i++) cursor_prev(c);
  put_text(a, 3, "a", PUT_INSERT);
  put_text(b, 440, "b", PUT_UPDATE);
  ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_OK);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_OK);
  begin_both();
  cursor_seek_for_prev(c, key_of(500));
  for (int i = 0; i < 6; i++) cursor_prev(c);
  cursor_next(c);
  put_text(a, 4, "a", PUT_INSERT);
  put_text(b, 440, "b", PUT_UPDATE);
  ck_assert_int_eq(txn_commit(b, 0, NULL), HDB_OK);
  ck_assert_int_eq(txn_commit(a, 0, NULL), HDB_BUSY_SNAPSHOT);
  cursor_close(c);
  end_two();
}
END_TEST

int main(void) {
  Suite *s = suite_create("mvcc_txn");
  TCase *c = tcase_create("all");
  tcase_set_timeout(c, 120);
  tcase_add_test(c, random_work_agrees_with_the_model);
  tcase_add_loop_test(c, large_values_agree_with_the_model, 0, 4);
  tcase_add_test(c, a_view_never_moves);
  tcase_add_test(c, writers_of_one_row_conflict_and_of_two_rows_do_not);
  tcase_add_test(c, a_write_taken_back_does_not_conflict);
  tcase_add_test(c, facts_are_checked_on_the_result);
  tcase_add_test(c, the_turn_keeps_others_from_committing);
  tcase_add_test(c, row_ids_are_max_plus_one_and_others_are_skipped);
  tcase_add_loop_test(c, row_ids_follow_what_commits_and_rollbacks_leave, 0, 6);
  tcase_add_test(c, schema_stamps_tell_schemas_apart);
  tcase_add_test(c, a_cursor_goes_on_after_the_commit);
  tcase_add_test(c, bulk_is_seen_by_its_transaction_and_then_by_all);
  tcase_add_test(c, serializable_refuses_write_skew);
  tcase_add_test(c, serializable_sees_phantoms_and_absent_rows);
  tcase_add_test(c, serializable_lets_pass_what_does_not_meet);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
