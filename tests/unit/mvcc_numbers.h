/* Transactions that number themselves, so that a database tells which of them it holds; and a directory for it. */
#ifndef HDB_TESTS_MVCC_NUMBERS_H
#define HDB_TESTS_MVCC_NUMBERS_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "kv/base/key.h"
#include "mvcc/mvcc.h"

static char directory[64];

static void setup(void) {
  snprintf(directory, sizeof directory, "/tmp/helios-engine-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(directory));
}
static void teardown(void) {
  char command[160];
  engine_close_lingering();
  snprintf(command, sizeof command, "rm -rf %s", directory);
  ck_assert_int_eq(system(command), 0);
}

static inline const char *path(void) {
  static char text[128];
  snprintf(text, sizeof text, "%s/db", directory);
  return text;
}

static engine *open_disk(double retention, int linger_ms) {
  engine *e;
  engine_options o = {.create = true, .retention = retention, .linger_ms = linger_ms};
  error err = ERROR_INIT;
  status rc = engine_open(path(), &o, &e, &err);
  if (rc != HDB_OK) ck_abort_msg("open: %d %s", rc, err.message ? err.message : "");
  return e;
}

/* Transaction n: a row n in the table, an entry for it in the index, and row 0 of the table says n. */
static inline status commit_number(txn *t, uint32_t n) {
  uint8_t key[8], index[12];
  char text[40];
  rowid_encode(key, n);
  put_be32(index, n % 97), memcpy(index + 4, key, 8);
  TRY(txn_begin(t, TXN_READ, 0));
  snprintf(text, sizeof text, "row %u", n);
  TRY(txn_put(t, 16, slice_of(key, 8), slice_str(text), PUT_INSERT));
  TRY(txn_put(t, 17, slice_of(index, 12), slice_of(NULL, 0), PUT_INSERT));
  if (n > 5) { /* and row n - 5 goes, with its entry */
    rowid_encode(key, n - 5);
    put_be32(index, (n - 5) % 97), memcpy(index + 4, key, 8);
    if (n % 3) TRY(txn_delete(t, 16, slice_of(key, 8)));
    if (n % 3) TRY(txn_delete(t, 17, slice_of(index, 12)));
  }
  rowid_encode(key, 0);
  put_be32(index, n);
  TRY(txn_put(t, 16, slice_of(key, 8), slice_of(index, 4), PUT_UPSERT));
  return txn_commit(t, 0, NULL);
}

/* Everything up to row 0's number is there, nothing above; the index says the same as the table. */
static inline uint32_t check_numbers(void) {
  engine *e = open_disk(-1, 0);
  txn *t;
  cursor *rows, *entries;
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  txn_begin(t, TXN_READ, 0);
  cursor_open(t, 16, 0, &rows), cursor_open(t, 17, 0, &entries);
  cursor_first(rows);
  uint32_t last = 0;
  if (rows->valid) {
    ck_assert_int_eq(rowid_decode(rows->key.p), 0);
    last = get_be32(rows->value.p);
    cursor_next(rows);
  }
  uint32_t expected = 0, n = 0, count = 0;
  for (expected = 1; expected <= last; expected++) {
    bool gone = expected + 5 <= last && (expected + 5) % 3;
    if (gone) continue;
    ck_assert(rows->valid);
    n = (uint32_t)rowid_decode(rows->key.p);
    ck_assert_uint_eq(n, expected);
    uint8_t index[12];
    put_be32(index, n % 97), memcpy(index + 4, rows->key.p, 8);
    ck_assert(cursor_find(entries, slice_of(index, 12)));
    count++;
    cursor_next(rows);
  }
  ck_assert(!rows->valid && rows->error == HDB_OK);
  for (cursor_first(entries); entries->valid; cursor_next(entries)) count--;
  ck_assert_uint_eq(count, 0);
  int64_t counted;
  ck_assert_int_eq(txn_count(t, 17, &counted), HDB_OK);
  cursor_first(entries);
  for (; entries->valid; cursor_next(entries)) counted--;
  ck_assert_int_eq(counted, 0);
  cursor_close(rows), cursor_close(entries);
  txn_free(t);
  engine_close(e);
  return last;
}

#endif
