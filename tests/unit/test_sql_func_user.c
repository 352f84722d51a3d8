/* Functions and collations of programs, through the C interface. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sql/hdb.h"

static hdb *db;
static int destroyed;

static void setup(void) {
  ck_assert_int_eq(hdb_open(":memory:", &db, HDB_OPEN_READWRITE | HDB_OPEN_CREATE), HDB_OK);
  destroyed = 0;
}
static void teardown(void) { hdb_close_v2(db); }

static void run(const char *sql) { ck_assert_msg(hdb_exec(db, sql, NULL, NULL, NULL) == HDB_OK, "%s: %s", sql, hdb_errmsg(db)); }
static hdb_stmt *prepare(const char *sql) {
  hdb_stmt *s = NULL;
  ck_assert_msg(hdb_prepare(db, sql, -1, 0, &s, NULL) == HDB_OK, "%s: %s", sql, hdb_errmsg(db));
  return s;
}
static void expect(const char *sql, const char *text) {
  hdb_stmt *s = prepare(sql);
  int rc = hdb_step(s);
  ck_assert_msg(rc == HDB_ROW, "%s: %s", sql, hdb_errmsg(db));
  const char *got = hdb_column_text(s, 0);
  ck_assert_msg((!got && !text) || (got && text && strcmp(got, text) == 0), "%s: %s, not %s", sql, got ? got : "NULL", text ? text : "NULL");
  hdb_finalize(s);
}
static void expect_error(const char *sql, int code, const char *message) {
  hdb_stmt *s = NULL;
  int rc = hdb_prepare(db, sql, -1, 0, &s, NULL);
  while (rc == HDB_OK || rc == HDB_ROW) rc = hdb_step(s);
  ck_assert_msg(rc == code, "%s: %d %s", sql, rc, hdb_errmsg(db));
  ck_assert_str_eq(hdb_errmsg(db), message);
  hdb_finalize(s);
}
static void destroy(void *data) {
  (void)data;
  destroyed++;
}

static void echo(hdb_context *c, int n, hdb_value **a) {
  (void)n;
  hdb_result_value(c, a[0]);
}
static void describe(hdb_context *c, int n, hdb_value **a) {
  char text[200];
  (void)n;
  const char *t = hdb_value_text(a[0]);
  int type = hdb_value_type(a[0]);
  long long bytes = (long long)hdb_value_bytes(a[0]);
  snprintf(text, sizeof text, "%d %lld %g %s %lld %d", type, (long long)hdb_value_int64(a[0]), hdb_value_double(a[0]), t ? t : "NULL",
           bytes, hdb_value_numeric_type(a[0]));
  hdb_result_text(c, text, -1, HDB_TRANSIENT);
}
static void count_arguments(hdb_context *c, int n, hdb_value **a) {
  (void)a;
  hdb_result_int64(c, n);
}
static void failing(hdb_context *c, int n, hdb_value **a) {
  (void)n;
  switch (hdb_value_int64(a[0])) {
  case 1: hdb_result_error(c, "boom!xx", 5); return;
  case 2: hdb_result_error_toobig(c); return;
  case 3: hdb_result_error_code(c, HDB_CONSTRAINT); return;
  case 4:
    hdb_result_error(c, "own words", -1);
    hdb_result_error_code(c, HDB_READONLY);
    return;
  case 5: hdb_result_error_nomem(c); return;
  default: hdb_result_text(c, "x", 2000000000, HDB_STATIC);
  }
}
static void give(hdb_context *c, int n, hdb_value **a) {
  (void)n;
  switch (hdb_value_int64(a[0])) {
  case 0: hdb_result_null(c); return;
  case 1: hdb_result_double(c, 1.5); return;
  case 2: hdb_result_blob(c, "a\0b", 3, HDB_STATIC); return;
  case 3: hdb_result_zeroblob(c, 3); return;
  case 4: hdb_result_text(c, strdup("kept"), -1, free); return;
  case 5:
    hdb_result_text(c, "[1]", 3, HDB_STATIC);
    hdb_result_subtype(c, 74);
    return;
  case 6: hdb_result_text(c, hdb_user_data(c), -1, HDB_TRANSIENT); return;
  default: hdb_result_text(c, NULL, 0, HDB_STATIC);
  }
}

START_TEST(arguments_and_results_pass_in_every_type) {
  ck_assert_int_eq(hdb_create_function(db, "echo", 1, 0, NULL, echo, NULL, NULL, NULL), HDB_OK);
  ck_assert_int_eq(hdb_create_function(db, "describe", 1, 0, NULL, describe, NULL, NULL, NULL), HDB_OK);
  ck_assert_int_eq(hdb_create_function(db, "nargs", -1, 0, NULL, count_arguments, NULL, NULL, NULL), HDB_OK);
  ck_assert_int_eq(hdb_create_function(db, "give", 1, 0, (void *)(uintptr_t)"data", give, NULL, NULL, NULL), HDB_OK);
  expect("SELECT typeof(echo(1)) || typeof(echo(1.5)) || typeof(echo('x')) || typeof(echo(x'00')) || typeof(echo(NULL))", "integerrealtextblobnull");
  expect("SELECT describe('12')", "3 12 12 12 2 1");
  expect("SELECT describe(1.5)", "2 1 1.5 1.5 3 2");
  expect("SELECT describe(x'3541')", "4 5 5 5A 2 4");
  expect("SELECT describe(NULL)", "5 0 0 NULL 0 5");
  expect("SELECT nargs(), nargs(1)", "0");
  expect("SELECT nargs(1,2,3,4,5,6,7,8,9,10,11,12)", "12");
  expect("SELECT give(0)", NULL);
  expect("SELECT give(1)", "1.5");
  expect("SELECT hex(give(2))", "610062");
  expect("SELECT hex(give(3))", "000000");
  expect("SELECT give(4)", "kept");
  expect("SELECT json_array(give(5))", "[[1]]");
  expect("SELECT give(6)", "data");
  expect("SELECT give(7)", NULL);
  expect("SELECT ECHO('Case')", "Case");
  expect_error("SELECT echo(1,2)", HDB_ERROR, "wrong number of arguments to function echo()");
}
END_TEST

START_TEST(errors_of_functions_are_the_statements) {
  ck_assert_int_eq(hdb_create_function(db, "failing", 1, 0, NULL, failing, NULL, NULL, NULL), HDB_OK);
  expect_error("SELECT failing(1)", HDB_ERROR, "boom!");
  expect_error("SELECT failing(2)", HDB_TOOBIG, "string or blob too big");
  expect_error("SELECT failing(3)", HDB_CONSTRAINT, "constraint failed");
  expect_error("SELECT failing(4)", HDB_READONLY, "own words");
  expect_error("SELECT failing(5)", HDB_NOMEM, "out of memory");
  expect_error("SELECT failing(6)", HDB_TOOBIG, "string or blob too big");
  run("CREATE TABLE t(a)");
  expect_error("INSERT INTO t VALUES(1), (failing(1))", HDB_ERROR, "boom!");
  expect("SELECT count(*) FROM t", "0");
}
END_TEST

static int finals;
typedef struct total {
  int64_t sum;
  int64_t steps;
} total;
static void total_step(hdb_context *c, int n, hdb_value **a) {
  total *t = hdb_aggregate_context(c, sizeof *t);
  (void)n;
  t->sum += hdb_value_int64(a[0]);
  t->steps++;
  if (hdb_value_int64(a[0]) == 13) hdb_result_error(c, "unlucky", -1);
}
static void total_inverse(hdb_context *c, int n, hdb_value **a) {
  total *t = hdb_aggregate_context(c, sizeof *t);
  (void)n;
  t->sum -= hdb_value_int64(a[0]);
}
static void total_value(hdb_context *c) {
  total *t = hdb_aggregate_context(c, sizeof *t);
  hdb_result_int64(c, t ? t->sum : -1);
}
static void total_final(hdb_context *c) {
  total *t = hdb_aggregate_context(c, 0);
  finals++;
  hdb_result_int64(c, t ? t->sum : -1);
}

START_TEST(aggregates_are_finished_once_each) {
  finals = 0;
  ck_assert_int_eq(hdb_create_function(db, "mysum", 1, 0, NULL, NULL, total_step, total_final, NULL), HDB_OK);
  run("CREATE TABLE t(a, b); INSERT INTO t VALUES(1,1),(2,1),(3,2),(4,2)");
  expect("SELECT mysum(a) FROM t", "10");
  ck_assert_int_eq(finals, 1);
  expect("SELECT mysum(a) FROM t WHERE 0", "-1");
  ck_assert_int_eq(finals, 2);
  expect("SELECT group_concat(s) FROM (SELECT mysum(a) s FROM t GROUP BY b)", "3,7");
  expect("SELECT mysum(DISTINCT b) FROM t", "3");
  finals = 0;
  run("INSERT INTO t VALUES(13, 3)");
  expect_error("SELECT mysum(a) FROM t", HDB_ERROR, "unlucky");
  ck_assert_int_eq(finals, 1); /* so that the program can free what hangs on it */
  expect_error("SELECT mysum(a) OVER () FROM t", HDB_ERROR, "mysum() may not be used as a window function");
}
END_TEST

START_TEST(window_functions_slide) {
  ck_assert_int_eq(hdb_create_window_function(db, "slide", 1, 0, NULL, total_step, total_final, total_value, total_inverse, destroy), HDB_OK);
  run("CREATE TABLE t(a); INSERT INTO t VALUES(1),(2),(3),(4)");
  expect("SELECT group_concat(s) FROM (SELECT slide(a) OVER (ORDER BY a ROWS 1 PRECEDING) s FROM t)", "1,3,5,7");
  expect("SELECT slide(a) FROM t", "10");
  ck_assert_int_eq(hdb_create_window_function(db, "slide", 1, 0, NULL, total_step, total_final, total_value, NULL, NULL), HDB_MISUSE);
  ck_assert_int_eq(destroyed, 0);
  hdb_close_v2(db);
  ck_assert_int_eq(destroyed, 1);
  ck_assert_int_eq(hdb_open(":memory:", &db, HDB_OPEN_READWRITE), HDB_OK);
}
END_TEST

START_TEST(destructors_are_called_exactly_once) {
  ck_assert_int_eq(hdb_create_function(db, "f", 1, 0, NULL, echo, NULL, NULL, destroy), HDB_OK);
  ck_assert_int_eq(hdb_create_function(db, "F", 1, 0, NULL, echo, NULL, NULL, destroy), HDB_OK);
  ck_assert_int_eq(destroyed, 1); /* replaced */
  ck_assert_int_eq(hdb_create_function(db, "f", 1, 0, NULL, NULL, NULL, NULL, NULL), HDB_OK);
  ck_assert_int_eq(destroyed, 2); /* deleted */
  expect_error("SELECT f(1)", HDB_ERROR, "no such function: f");
  ck_assert_int_eq(hdb_create_function(db, "f", 1, 0, NULL, NULL, NULL, NULL, NULL), HDB_OK);
  ck_assert_int_eq(destroyed, 2);
  ck_assert_int_eq(hdb_create_function(db, "g", 200, 0, NULL, echo, NULL, NULL, destroy), HDB_MISUSE);
  ck_assert_int_eq(destroyed, 3); /* refused */
  ck_assert_int_eq(hdb_create_function(db, "h", 1, 0, NULL, echo, total_step, total_final, destroy), HDB_MISUSE);
  ck_assert_int_eq(destroyed, 4);
}
END_TEST

static int reversed(void *data, int n1, const void *p1, int n2, const void *p2) {
  int n = n1 < n2 ? n1 : n2, c = memcmp(p1, p2, (size_t)n);
  (void)data;
  return -(c ? c : n1 - n2);
}

START_TEST(nothing_changes_under_a_running_statement) {
  ck_assert_int_eq(hdb_create_function(db, "f", 1, 0, NULL, echo, NULL, NULL, NULL), HDB_OK);
  ck_assert_int_eq(hdb_create_collation(db, "rev", NULL, reversed, destroy), HDB_OK);
  run("CREATE TABLE t(a); INSERT INTO t VALUES(1),(2)");
  hdb_stmt *s = prepare("SELECT f(a) FROM t");
  ck_assert_int_eq(hdb_step(s), HDB_ROW);
  ck_assert_int_eq(hdb_create_function(db, "f", 1, 0, NULL, NULL, NULL, NULL, NULL), HDB_BUSY);
  ck_assert_str_eq(hdb_errmsg(db), "unable to delete/modify user-function due to active statements");
  ck_assert_int_eq(hdb_create_function(db, "abs", 1, 0, NULL, echo, NULL, NULL, NULL), HDB_BUSY);
  ck_assert_int_eq(hdb_create_collation(db, "rev", NULL, NULL, NULL), HDB_BUSY);
  ck_assert_str_eq(hdb_errmsg(db), "unable to delete/modify collation sequence due to active statements");
  ck_assert_int_eq(hdb_create_function(db, "other", 1, 0, NULL, echo, NULL, NULL, NULL), HDB_OK); /* new: allowed */
  ck_assert_int_eq(hdb_step(s), HDB_ROW);
  hdb_reset(s);
  ck_assert_int_eq(hdb_create_function(db, "f", 1, 0, NULL, count_arguments, NULL, NULL, NULL), HDB_OK);
  ck_assert_int_eq(hdb_step(s), HDB_ROW); /* compiled again */
  ck_assert_int_eq(hdb_column_int64(s, 0), 1);
  ck_assert_int_eq(hdb_step(s), HDB_ROW);
  ck_assert_int_eq(hdb_column_int64(s, 0), 1);
  hdb_finalize(s);
}
END_TEST

START_TEST(a_program_may_override_what_is_built_in) {
  expect("SELECT abs(-5)", "5");
  ck_assert_int_eq(hdb_create_function(db, "abs", 1, 0, NULL, echo, NULL, NULL, NULL), HDB_OK);
  expect("SELECT abs(-5)", "-5");
  ck_assert_int_eq(hdb_create_function(db, "abs", 1, 0, NULL, NULL, NULL, NULL, NULL), HDB_OK);
  expect_error("SELECT abs(-5)", HDB_ERROR, "wrong number of arguments to function abs()"); /* as SQLite: it is gone */
  ck_assert_int_eq(hdb_create_function(db, "round", -1, 0, NULL, count_arguments, NULL, NULL, NULL), HDB_OK);
  expect("SELECT round(2.5, 1)", "2");
}
END_TEST

START_TEST(collations_order_and_may_be_missing) {
  run("CREATE TABLE t(a TEXT); INSERT INTO t VALUES('a'),('c'),('b')");
  expect_error("SELECT a FROM t ORDER BY a COLLATE rev", HDB_ERROR, "no such collation sequence: rev");
  ck_assert_int_eq(hdb_create_collation(db, "Rev", NULL, reversed, destroy), HDB_OK);
  expect("SELECT group_concat(a, '') FROM (SELECT a FROM t ORDER BY a COLLATE rev)", "cba");
  expect("SELECT max(a COLLATE rev) FROM t", "a");
  expect("SELECT 'a' < 'b' COLLATE REV", "0");
  ck_assert_int_eq(hdb_create_collation(db, "rev", NULL, NULL, NULL), HDB_OK);
  ck_assert_int_eq(destroyed, 1);
  expect_error("SELECT a FROM t ORDER BY a COLLATE rev", HDB_ERROR, "no such collation sequence: rev");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("sql_func_user");
  TCase *t = tcase_create("all");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, arguments_and_results_pass_in_every_type);
  tcase_add_test(t, errors_of_functions_are_the_statements);
  tcase_add_test(t, aggregates_are_finished_once_each);
  tcase_add_test(t, window_functions_slide);
  tcase_add_test(t, destructors_are_called_exactly_once);
  tcase_add_test(t, nothing_changes_under_a_running_statement);
  tcase_add_test(t, a_program_may_override_what_is_built_in);
  tcase_add_test(t, collations_order_and_may_be_missing);
  suite_add_tcase(suite, t);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
