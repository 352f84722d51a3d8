/* The automatic vector index under threads: searches beside writers and the builder, closing while it builds. */
#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sql/hdb.h"

enum { ROWS = 2500, DIMENSIONS = 8, NEAREST = 5 };
static const char *const NAME = "file:vectors?mode=memory&cache=shared";

static hdb *open_shared(void) {
  hdb *db;
  ck_assert_int_eq(hdb_open(NAME, &db, HDB_OPEN_READWRITE | HDB_OPEN_CREATE | HDB_OPEN_URI), HDB_OK);
  hdb_busy_timeout(db, 20000);
  return db;
}

static void run(hdb *db, const char *sql) {
  char *message = NULL;
  int rc = hdb_exec(db, sql, NULL, NULL, &message);
  ck_assert_msg(rc == HDB_OK, "%s: %s", sql, message);
}

static void random_vector(unsigned *seed, float *out) {
  for (int i = 0; i < DIMENSIONS; i++) out[i] = (float)rand_r(seed) / (float)RAND_MAX - 0.5f;
}

static void put(hdb *db, int id, unsigned *seed) {
  hdb_stmt *s;
  float v[DIMENSIONS];
  random_vector(seed, v);
  ck_assert_int_eq(hdb_prepare(db, "INSERT OR REPLACE INTO d VALUES(?, ?)", -1, 0, &s, NULL), HDB_OK);
  hdb_bind_int64(s, 1, id);
  hdb_bind_blob(s, 2, v, sizeof v, HDB_TRANSIENT);
  int rc = hdb_step(s);
  ck_assert_msg(rc == HDB_DONE, "%s", hdb_errmsg(db));
  hdb_finalize(s);
}

static void fill(hdb *db) {
  unsigned seed = 1;
  run(db, "CREATE TABLE d(id INTEGER PRIMARY KEY, e VECTOR(8))");
  run(db, "BEGIN");
  for (int i = 1; i <= ROWS; i++) put(db, i, &seed);
  run(db, "COMMIT");
}

/* The nearest, by the index; every row must be there, in order, with its own distance. */
static void search(hdb *db, unsigned *seed) {
  hdb_stmt *s;
  float q[DIMENSIONS];
  double last = -1;
  int n = 0, rc;
  random_vector(seed, q);
  rc = hdb_prepare(db, "SELECT id, l2_distance(e, ?1) FROM d ORDER BY l2_distance(e, ?1) LIMIT 5", -1, 0, &s, NULL);
  ck_assert_msg(rc == HDB_OK, "%s", hdb_errmsg(db));
  hdb_bind_blob(s, 1, q, sizeof q, HDB_TRANSIENT);
  for (; (rc = hdb_step(s)) == HDB_ROW; n++) {
    double distance = hdb_column_double(s, 1);
    ck_assert(distance >= last);
    last = distance;
  }
  ck_assert_msg(rc == HDB_DONE, "%s", hdb_errmsg(db));
  ck_assert_int_eq(n, NEAREST);
  hdb_finalize(s);
}

static atomic_bool stop;
static void *writer(void *context) {
  hdb *db = open_shared();
  unsigned seed = *(unsigned *)context;
  while (!atomic_load(&stop)) {
    char sql[64];
    int id = 1 + (int)(rand_r(&seed) % ROWS);
    snprintf(sql, sizeof sql, "DELETE FROM d WHERE id = %d", id);
    if (rand_r(&seed) % 4 == 0) run(db, sql);
    else put(db, id, &seed);
    if (rand_r(&seed) % 50 == 0) {
      run(db, "BEGIN");
      put(db, id, &seed);
      search(db, &seed);
      run(db, "ROLLBACK");
    }
  }
  hdb_close(db);
  return NULL;
}
static void *reader(void *context) {
  hdb *db = open_shared();
  unsigned seed = *(unsigned *)context;
  while (!atomic_load(&stop)) search(db, &seed);
  hdb_close(db);
  return NULL;
}

START_TEST(searches_run_beside_writers_and_the_builder) {
  hdb *db = open_shared();
  pthread_t threads[4];
  unsigned seeds[4] = {11, 12, 13, 14}, seed = 9;
  fill(db);
  atomic_store(&stop, false);
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, i < 2 ? writer : reader, &seeds[i]);
  for (int i = 0; i < 20; i++) {
    usleep(50000);
    search(db, &seed);
    if (i == 10) { /* a tree emptied and filled as a whole */
      run(db, "BEGIN");
      run(db, "CREATE TABLE kept AS SELECT * FROM d");
      run(db, "DELETE FROM d");
      run(db, "INSERT INTO d SELECT * FROM kept");
      run(db, "DROP TABLE kept");
      run(db, "ROLLBACK");
    }
  }
  atomic_store(&stop, true);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  hdb_close(db);
}
END_TEST

START_TEST(closing_ends_a_build) {
  for (int i = 0; i < 4; i++) {
    hdb *db = open_shared();
    unsigned seed = 3;
    fill(db);
    search(db, &seed);
    usleep((useconds_t)(i * 3000));
    hdb_close(db);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("sql vector");
  TCase *t = tcase_create("vector");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, searches_run_beside_writers_and_the_builder);
  tcase_add_test(t, closing_ends_a_build);
  suite_add_tcase(suite, t);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
