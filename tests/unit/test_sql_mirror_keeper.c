/* The keeper beside threads that commit, open, close, checkpoint and fork; and beside a tool that writes. */
#include <check.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sql/hdb.h"

enum { WRITERS = 3 };
static char folder[64], path[128];
static atomic_bool stop;
static atomic_int committed;

static void setup(void) {
  snprintf(folder, sizeof folder, "/tmp/helios_keeper_XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/app.db", folder);
}
static void teardown(void) {
  char command[160];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  ck_assert_int_eq(system(command), 0);
}

static hdb *open_it(void) {
  hdb *db;
  ck_assert_int_eq(hdb_open(path, &db, HDB_OPEN_READWRITE | HDB_OPEN_CREATE), HDB_OK);
  hdb_busy_timeout(db, 20000);
  return db;
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int64_t in_file(const char *sql) {
  sqlite3 *s = NULL;
  sqlite3_stmt *q = NULL;
  int64_t n = -1;
  if (sqlite3_open(path, &s) == SQLITE_OK && sqlite3_busy_timeout(s, 5000) == SQLITE_OK && sqlite3_prepare_v2(s, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
    n = sqlite3_column_int64(q, 0);
  sqlite3_finalize(q);
  sqlite3_close(s);
  return n;
}

static void *commit_rows(void *context) {
  hdb *db = open_it();
  (void)context;
  while (!atomic_load(&stop)) {
    if (hdb_exec(db, "INSERT INTO t(x) VALUES(random())", NULL, NULL, NULL) == HDB_OK) atomic_fetch_add(&committed, 1);
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
  }
  hdb_close(db);
  return NULL;
}

static void *open_and_close(void *context) {
  (void)context;
  while (!atomic_load(&stop)) {
    hdb *db = open_it();
    ck_assert_int_eq(hdb_exec(db, "SELECT count(*) FROM t; SELECT * FROM heliosdb_info; SELECT * FROM heliosdb_stats", NULL, NULL, NULL), HDB_OK);
    (void)hdb_checkpoint(db); /* a tool may hold the lock */
    hdb_close(db);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
  }
  return NULL;
}

START_TEST(threads_a_tool_and_forks_beside_it) {
  pthread_t writers[WRITERS], opener;
  hdb *db = open_it();
  int by_tool = 0;
  ck_assert_int_eq(hdb_exec(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE TABLE tool(k INTEGER PRIMARY KEY)", NULL, NULL, NULL), HDB_OK);
  ck_assert_int_eq(hdb_checkpoint(db), HDB_OK);
  atomic_store(&stop, false);
  for (int i = 0; i < WRITERS; i++) pthread_create(&writers[i], NULL, commit_rows, NULL);
  pthread_create(&opener, NULL, open_and_close, NULL);
  for (double begun = seconds(); seconds() - begun < 2.0;) {
    sqlite3 *s = NULL;
    if (sqlite3_open(path, &s) == SQLITE_OK && sqlite3_busy_timeout(s, 1000) == SQLITE_OK)
      by_tool += sqlite3_exec(s, "INSERT INTO tool DEFAULT VALUES", NULL, NULL, NULL) == SQLITE_OK;
    sqlite3_close(s);
    pid_t child = fork();
    if (child == 0) _exit(0);
    int ended = 0;
    ck_assert_int_eq(waitpid(child, &ended, 0), child);
    ck_assert_int_eq(ended, 0);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
  }
  atomic_store(&stop, true);
  for (int i = 0; i < WRITERS; i++) pthread_join(writers[i], NULL);
  pthread_join(opener, NULL);
  /* nobody asks for it any more: the keeper brings the rest */
  double begun = seconds();
  while (in_file("SELECT count(*) FROM t") != atomic_load(&committed) && seconds() - begun < 15) nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
  ck_assert_int_eq(in_file("SELECT count(*) FROM t"), atomic_load(&committed));
  ck_assert_int_eq(in_file("SELECT count(*) FROM tool"), by_tool);
  ck_assert_int_gt(by_tool, 0);
  hdb_close(db);
}
END_TEST

int main(void) {
  Suite *s = suite_create("mirror_keeper");
  TCase *c = tcase_create("keeper");
  tcase_add_checked_fixture(c, setup, teardown);
  tcase_set_timeout(c, 90);
  tcase_add_test(c, threads_a_tool_and_forks_beside_it);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_ENV);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
