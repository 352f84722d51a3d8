/* Calling builtin functions directly, and the same call through libsqlite3, for the test_sql_func_*.c programs. */
#ifndef TESTS_SQL_FUNC_CALLS_H
#define TESTS_SQL_FUNC_CALLS_H

#include <check.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "sql/func_user.h"
#include "sql/internal.h"

static uint64_t seed = 88172645463325252ull;
static uint64_t rnd(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return seed;
}
static size_t below(size_t n) { return (size_t)(rnd() % n); }

static sqlite3 *theirs;
static hdb *ours;
static arena memory;
static error failure = ERROR_INIT;

static void setup(void) {
  static const int limits[HDB_LIMITS] = {1000000, 1000000, 2000, 1000, 500, 1000000, 127, 10, 50000, 250000, 1000, 0};
  ck_assert_int_eq(sqlite3_open(":memory:", &theirs), SQLITE_OK);
  sqlite3_limit(theirs, SQLITE_LIMIT_LENGTH, limits[HDB_LIMIT_LENGTH]);
  ours = calloc(1, sizeof *ours);
  memcpy(ours->limits, limits, sizeof limits);
  pthread_mutex_init(&ours->mutex, NULL);
}
static void teardown(void) {
  sqlite3_close(theirs);
  user_functions_close(ours);
  error_clear(&ours->err);
  free(ours);
  error_clear(&failure);
  arena_clear(&memory);
}

static value text_value(const char *text) { return value_text(text, strlen(text)); }

/* Scalar call; the result lies in `memory` until the next one. */
static __attribute__((unused)) status call_scalar(const char *name, int n, const value *a, value *result) {
  arena_clear(&memory);
  error_clear(&failure);
  const function *f = function_find(ours, name, n, NULL);
  ck_assert_msg(f != NULL, "no function %s/%d", name, n);
  ck_assert_msg(f->scalar != NULL, "%s is no scalar", name);
  function_call call = {.db = ours, .f = f, .memory = &memory, .err = &failure};
  *result = value_null();
  return f->scalar(&call, n, a, result);
}

/* Aggregate call over rows of one or two arguments. */
static __attribute__((unused)) status call_aggregate(const char *name, int n, int rows, const value *a, value *result) {
  arena_clear(&memory);
  error_clear(&failure);
  const function *f = function_find(ours, name, n, NULL);
  ck_assert_msg(f && f->step, "no aggregate %s/%d", name, n);
  void *state = calloc(1, f->state_size + 1);
  function_call call = {.db = ours, .f = f, .memory = &memory, .err = &failure, .state = state};
  status rc = HDB_OK;
  for (int i = 0; i < rows && rc == HDB_OK; i++) rc = f->step(&call, n, a + (ptrdiff_t)i * n);
  if (rc == HDB_OK) rc = f->final(&call, result);
  else if (f->release) f->release(&call);
  free(state);
  return rc;
}

static __attribute__((unused)) void bind(sqlite3_stmt *s, int k, const value *v) {
  switch (v->type) {
  case VAL_INTEGER: sqlite3_bind_int64(s, k, v->i); break;
  case VAL_REAL: sqlite3_bind_double(s, k, v->r); break;
  case VAL_TEXT: sqlite3_bind_text(s, k, v->p ? v->p : "", (int)v->n, SQLITE_TRANSIENT); break;
  case VAL_BLOB: sqlite3_bind_blob(s, k, v->p ? v->p : "", (int)v->n, SQLITE_TRANSIENT); break;
  default: sqlite3_bind_null(s, k);
  }
}

static __attribute__((unused)) sqlite3_stmt *prepare(const char *sql) {
  sqlite3_stmt *s = NULL;
  ck_assert_msg(sqlite3_prepare_v2(theirs, sql, -1, &s, NULL) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(theirs));
  return s;
}

/* For messages. */
static __attribute__((unused)) const char *show(const value *v) {
  static char texts[8][300];
  static int next;
  char *out = texts[next++ & 7];
  buf b = BUF_INIT;
  value_quote(v, &b);
  snprintf(out, 300, "%.*s", (int)(b.n < 280 ? b.n : 280), (const char *)b.p);
  if (v->type == VAL_TEXT && v->n && memchr(v->p, 0, v->n)) {
    size_t n = (size_t)snprintf(out, 300, "text X'");
    for (size_t i = 0; i < v->n && n < 280; i++) n += (size_t)snprintf(out + n, 300 - n, "%02X", (uint8_t)v->p[i]);
  }
  buf_free(&b);
  return out;
}

/* The result column as a value that borrows SQLite's bytes. */
static __attribute__((unused)) value answer(sqlite3_stmt *s, int k) {
  switch (sqlite3_column_type(s, k)) {
  case SQLITE_INTEGER: return value_int(sqlite3_column_int64(s, k));
  case SQLITE_FLOAT: return value_real(sqlite3_column_double(s, k));
  case SQLITE_TEXT: {
    const char *p = (const char *)sqlite3_column_text(s, k);
    return value_text(p, (size_t)sqlite3_column_bytes(s, k));
  }
  case SQLITE_BLOB: return value_blob(sqlite3_column_blob(s, k), (size_t)sqlite3_column_bytes(s, k));
  default: return value_null();
  }
}

static __attribute__((unused)) bool identical(const value *a, const value *b) {
  if (a->type != b->type) return false;
  if (a->type == VAL_REAL) return a->r == b->r || fabs(a->r - b->r) <= 4e-16 * fabs(b->r);
  return value_compare(a, b, NULL) == 0;
}

static __attribute__((unused)) void expect_text(const char *name, int n, const value *a, const char *expected) {
  value r;
  status rc = call_scalar(name, n, a, &r);
  ck_assert_msg(rc == HDB_OK, "%s: %s", name, failure.message);
  if (!expected) ck_assert_msg(r.type == VAL_NULL, "%s(%s): %s, not NULL", name, n ? show(a) : "", show(&r));
  else
    ck_assert_msg(r.type == VAL_TEXT && r.n == strlen(expected) && memcmp(r.p, expected, r.n) == 0, "%s(%s, ..): %s, not %s",
                  name, n ? show(a) : "", show(&r), expected);
}

static __attribute__((unused)) int run_tests(const char *name, const TTest *const *tests, int n) {
  Suite *suite = suite_create(name);
  TCase *t = tcase_create("all");
  tcase_set_timeout(t, 120);
  tcase_add_checked_fixture(t, setup, teardown);
  for (int i = 0; i < n; i++) tcase_add_test(t, tests[i]);
  suite_add_tcase(suite, t);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
#define RUN(name, ...)                                                                                                 \
  int main(void) {                                                                                                     \
    const TTest *const tests[] = {__VA_ARGS__};                                                                        \
    return run_tests(name, tests, (int)(sizeof tests / sizeof *tests));                                                \
  }

#endif
