/* An ERASE that a power cut ends anywhere is made good by the next one: the DELETE may be there and the erasing not (E3 of
 * sql/erase.c). */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kv/fault.h"
#include "mvcc/internal.h"
#include "sql/internal.h"

enum { CUTS = 12 };
#define MARKER "a-secret-that-nobody-shall-read"

static hdb *open_db(const char *path) {
  hdb *db = NULL;
  hdb_settings settings = {.retention = INFINITY, .mirror = 0};
  ck_assert_int_eq(hdb_open_with(path, &db, HDB_OPEN_READWRITE | HDB_OPEN_CREATE, &settings), HDB_OK);
  return db;
}

static void run(hdb *db, const char *sql) {
  if (hdb_exec(db, sql, NULL, NULL, NULL) != HDB_OK) ck_abort_msg("%s: %s", sql, hdb_errmsg(db));
}

static int64_t number(hdb *db, const char *sql) {
  hdb_stmt *s;
  if (hdb_prepare(db, sql, -1, 0, &s, NULL) != HDB_OK) ck_abort_msg("%s: %s", sql, hdb_errmsg(db));
  if (hdb_step(s) != HDB_ROW) ck_abort_msg("%s: %s", sql, hdb_errmsg(db));
  int64_t n = hdb_column_int64(s, 0);
  hdb_finalize(s);
  return n;
}

static int64_t number_as_of(hdb *db, int64_t scn, const char *where) {
  char sql[200];
  snprintf(sql, sizeof sql, "SELECT count(*) FROM t AS OF SCN %lld WHERE %s", (long long)scn, where);
  return number(db, sql);
}

static bool is_in_files(const char *directory) {
  char command[200];
  snprintf(command, sizeof command, "grep -rqa '%s' %s", MARKER, directory);
  return system(command) == 0;
}

/* Rows and a former value of each; some have the marker, in all that they ever were. */
static void fill(hdb *db, bool without_rowid, int64_t then[2]) {
  run(db, without_rowid ? "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID"
                        : "CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, v TEXT)");
  run(db, "CREATE INDEX t_k ON t(v, k)");
  run(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) INSERT INTO t(k, v) "
          "SELECT iif(i % 6 = 0, '" MARKER "-', 'some-') || i, iif(i % 6 = 0, '" MARKER
          "-', 'any-') || 'first' FROM n");
  then[0] = hdb_last_commit_timestamp(db);
  run(db, "UPDATE t SET v = replace(v, 'first', 'second')");
  then[1] = hdb_last_commit_timestamp(db);
}

static const char erase[] = "ERASE FROM t WHERE k LIKE '" MARKER "%'", is_marked[] = "k LIKE '" MARKER "%'";

/* The power goes at the nth write of the ERASE. True: the DELETE was there afterwards, and the past too. */
static bool cut_short(bool without_rowid, int nth) {
  char directory[] = "/tmp/helios-redo-XXXXXX", path[64], command[64], text[100];
  ck_assert_ptr_nonnull(mkdtemp(directory));
  snprintf(path, sizeof path, "%s/app.db", directory);
  int64_t then[2];
  kv_fault_track(true);
  hdb *db = open_db(path);
  fill(db, without_rowid, then);
  kv_fault_power_cut_at(nth);
  int rc = hdb_exec(db, erase, NULL, NULL, NULL);
  ck_assert(rc == HDB_OK || kv_fault_power_is_cut());
  kv_fault_power_cut();
  hdb_close(db);
  engine_close_lingering();
  kv_fault_power_back(nth % 3 ? (uint64_t)nth : 0);
  kv_fault_track(false);

  db = open_db(path);
  int64_t there = number(db, "SELECT count(*) FROM t"), before = number_as_of(db, then[0], is_marked);
  ck_assert(there == 60 || there == 50);
  ck_assert(before == 10 || (before == 0 && there == 50));
  if (rc == HDB_OK) ck_assert(there == 50 && before == 0);
  run(db, erase);
  ck_assert_int_eq(number(db, "SELECT count(*) FROM t"), 50);
  for (int i = 0; i < 2; i++) {
    ck_assert_int_eq(number_as_of(db, then[i], is_marked), 0);
    ck_assert_int_eq(number_as_of(db, then[i], "v LIKE '%'"), 50);
  }
  snprintf(text, sizeof text, "SELECT count(*) FROM t VERSIONS BETWEEN %lld AND %lld", (long long)then[0],
           (long long)then[1]);
  ck_assert_int_eq(number(db, text), 100);
  run(db, "PRAGMA integrity_check");
  hdb_close(db);
  engine_close_lingering();
  ck_assert(!is_in_files(directory));
  snprintf(command, sizeof command, "rm -rf %s", directory);
  ck_assert_int_eq(system(command), 0);
  return there == 50 && before == 10;
}

START_TEST(what_was_cut_short_is_made_good) {
  int deleted_only = 0;
  for (int nth = 1; nth <= CUTS; nth++) deleted_only += cut_short(_i, nth);
  ck_assert_int_gt(deleted_only, 0);
}
END_TEST

int main(void) {
  Suite *s = suite_create("sql_erase");
  TCase *c = tcase_create("all");
  tcase_set_timeout(c, 60);
  tcase_add_loop_test(c, what_was_cut_short_is_made_good, 0, 2);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
