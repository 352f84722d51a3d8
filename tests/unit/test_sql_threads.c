/* Connections in threads: nothing is lost, whatever runs beside it. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sql/hdb.h"

enum { THREADS = 4, ROUNDS = 60 };

typedef struct worker {
  const char *name;
  int number, failures;
  const char *unexpected;
} worker;

static hdb *open_shared(const char *name) {
  hdb *db;
  ck_assert_int_eq(hdb_open(name, &db, HDB_OPEN_READWRITE | HDB_OPEN_CREATE | HDB_OPEN_URI), HDB_OK);
  hdb_busy_timeout(db, 20000);
  return db;
}

static int run(hdb *db, const char *sql) { return hdb_exec(db, sql, NULL, NULL, NULL); }

static int64_t number(hdb *db, const char *sql) {
  hdb_stmt *s;
  ck_assert_int_eq(hdb_prepare(db, sql, -1, 0, &s, NULL), HDB_OK);
  ck_assert_int_eq(hdb_step(s), HDB_ROW);
  int64_t n = hdb_column_int64(s, 0);
  hdb_finalize(s);
  return n;
}

/* Moves money in transactions and counts in autocommit; a transaction that lost its race is run again. */
static void *transfers(void *context) {
  worker *w = context;
  hdb *db = open_shared(w->name);
  char sql[200];
  for (int i = 0; i < ROUNDS; i++) {
    for (;;) {
      snprintf(sql, sizeof sql, "BEGIN; UPDATE account SET n = n - 1 WHERE id = %d; UPDATE account SET n = n + 1 WHERE id = %d; INSERT INTO log(w) VALUES(%d)",
               i % 5, (i + w->number) % 5, w->number);
      if (run(db, sql) == HDB_OK && run(db, "COMMIT") == HDB_OK) break;
      if ((hdb_errcode(db) & 0xff) != HDB_BUSY) w->unexpected = strdup(hdb_errmsg(db));
      w->failures++;
      run(db, "ROLLBACK");
    }
    if (run(db, "UPDATE counter SET n = n + 1") != HDB_OK) w->unexpected = strdup(hdb_errmsg(db));
  }
  hdb_close(db);
  return NULL;
}

/* Changes the schema under them. */
static void *definitions(void *context) {
  worker *w = context;
  hdb *db = open_shared(w->name);
  static const char *const statements[] = {"CREATE INDEX i ON log(w)", "ALTER TABLE account ADD COLUMN extra DEFAULT 1", "DROP INDEX i",
                                           "CREATE VIEW v AS SELECT n FROM account", "ALTER TABLE account DROP COLUMN extra", "DROP VIEW v"};
  for (int i = 0; i < ROUNDS; i++)
    if (run(db, statements[i % 6]) != HDB_OK) w->unexpected = strdup(hdb_errmsg(db));
  hdb_close(db);
  return NULL;
}

static void run_all(const char *name, bool with_ddl) {
  hdb *db = open_shared(name);
  ck_assert_int_eq(run(db, "CREATE TABLE account(id INTEGER PRIMARY KEY, n); CREATE TABLE counter(n); INSERT INTO counter VALUES(0);"
                           "CREATE TABLE log(id INTEGER PRIMARY KEY, w); INSERT INTO account VALUES(0,0),(1,0),(2,0),(3,0),(4,0)"), HDB_OK);
  pthread_t threads[THREADS + 1];
  worker workers[THREADS + 1];
  for (int i = 0; i < THREADS + with_ddl; i++) {
    workers[i] = (worker){.name = name, .number = i + 1};
    pthread_create(&threads[i], NULL, i < THREADS ? transfers : definitions, &workers[i]);
  }
  for (int i = 0; i < THREADS + with_ddl; i++) {
    pthread_join(threads[i], NULL);
    ck_assert_msg(!workers[i].unexpected, "%s", workers[i].unexpected);
  }
  ck_assert_int_eq(number(db, "SELECT n FROM counter"), THREADS * ROUNDS);
  ck_assert_int_eq(number(db, "SELECT sum(n) FROM account"), 0);
  ck_assert_int_eq(number(db, "SELECT count(*) FROM log"), THREADS * ROUNDS);
  ck_assert_int_eq(number(db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"), 1);
  ck_assert_int_eq(hdb_close(db), HDB_OK);
}

START_TEST(every_increment_and_transfer_is_kept) { run_all("file:transfers?mode=memory&cache=shared", false); }
END_TEST
START_TEST(and_while_the_schema_changes) { run_all("file:moving?mode=memory&cache=shared", true); }
END_TEST

int main(void) {
  Suite *suite = suite_create("sql_threads");
  TCase *c = tcase_create("all");
  tcase_set_timeout(c, 120);
  tcase_add_test(c, every_increment_and_transfer_is_kept);
  tcase_add_test(c, and_while_the_schema_changes);
  suite_add_tcase(suite, c);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_NORMAL);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
