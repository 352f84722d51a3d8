/* Values: casts, arithmetic's view of text, affinity, comparison and number texts, each against libsqlite3. */
#include <check.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "sql/number.h"
#include "sql/value.h"

static uint64_t seed = 88172645463325252ull;
static uint64_t rnd(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return seed;
}
static size_t below(size_t n) { return (size_t)(rnd() % n); }

static sqlite3 *db;
static arena memory;

static void setup(void) { ck_assert_int_eq(sqlite3_open(":memory:", &db), SQLITE_OK); }
static void teardown(void) {
  sqlite3_close(db);
  arena_clear(&memory);
}

static sqlite3_stmt *prepare(const char *sql) {
  sqlite3_stmt *s = NULL;
  ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
  return s;
}
static void bind(sqlite3_stmt *s, int k, const value *v) {
  switch (v->type) {
  case VAL_INTEGER: sqlite3_bind_int64(s, k, v->i); break;
  case VAL_REAL: sqlite3_bind_double(s, k, v->r); break;
  case VAL_TEXT: sqlite3_bind_text(s, k, v->p ? v->p : "", (int)v->n, SQLITE_TRANSIENT); break;
  case VAL_BLOB: sqlite3_bind_blob(s, k, v->p ? v->p : "", (int)v->n, SQLITE_TRANSIENT); break;
  default: sqlite3_bind_null(s, k);
  }
}
static bool close_reals(double a, double b) { return a == b || fabs(a - b) <= fabs(b) * 3e-16; }
static bool same(sqlite3_stmt *s, int column, const value *v) {
  int type = sqlite3_column_type(s, column);
  if (type != (int)v->type) return false;
  switch (type) {
  case SQLITE_INTEGER: return sqlite3_column_int64(s, column) == v->i;
  case SQLITE_FLOAT: return close_reals(sqlite3_column_double(s, column), v->r);
  case SQLITE_NULL: return true;
  default:
    return (uint32_t)sqlite3_column_bytes(s, column) == v->n &&
           (v->n == 0 || memcmp(sqlite3_column_blob(s, column), v->p, v->n) == 0);
  }
}

/* A text that is a number, nearly one, or none. */
static size_t random_number_text(char *out) {
  static const char *const pieces[] = {"0", "1", "9", "12", "345", "9223372036854775807", "9223372036854775808", "-",
                                       "+", ".", "e", "E", "e5", "e-3", "E+20", "e400", "00", " ", "\t", "x", "\0", "Inf",
                                       "1.5", "123456789012345678", "0.1", "."};
  static const size_t sizes[] = {1, 1, 1, 2, 3, 19, 19, 1, 1, 1, 1, 1, 2, 3, 4, 4, 2, 1, 1, 1, 1, 3, 3, 18, 3, 1};
  size_t n = 0;
  for (size_t k = 1 + below(5); k > 0; k--) {
    size_t i = below(sizeof sizes / sizeof *sizes);
    memcpy(out + n, pieces[i], sizes[i]);
    n += sizes[i];
  }
  return n;
}

static value random_value(char *space) {
  switch (below(8)) {
  case 0: return value_null();
  case 1: return value_int((int64_t)(rnd() >> below(64)));
  case 2: return value_int((int64_t)(9007199254740992ull + below(5) - 2));
  case 3: {
    double r;
    uint64_t u = rnd();
    memcpy(&r, &u, 8);
    return value_real(r);
  }
  case 4: return value_real((double)(int64_t)(rnd() >> below(64)) / (double)(1 << below(4)));
  case 5: {
    for (size_t i = 0; i < 6; i++) space[i] = "aAbB \0z1"[below(8)];
    return value_text(space, below(7));
  }
  case 6: return value_blob(space, random_number_text(space));
  default: return value_text(space, random_number_text(space));
  }
}

START_TEST(casts_and_arithmetic_read_text_as_sqlite_does) {
  sqlite3_stmt *s = prepare("SELECT CAST(?1 AS NUMERIC), CAST(?1 AS INTEGER), CAST(?1 AS REAL), CAST(?1 AS TEXT), "
                            "CAST(?1 AS BLOB), +?1 + 0, ?1 IS TRUE");
  static const uint8_t affinities[] = {AFF_NUMERIC, AFF_INTEGER, AFF_REAL, AFF_TEXT, AFF_BLOB};
  for (int round = 0; round < 20000; round++) {
    char space[256];
    value v = random_value(space);
    bind(s, 1, &v);
    ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
    for (int k = 0; k < 5; k++) {
      value c = v;
      if (k >= 3 && v.type == VAL_REAL) continue; /* texts of reals: a test of their own */
      ck_assert_int_eq(value_cast(&c, affinities[k], &memory), HDB_OK);
      ck_assert_msg(same(s, k, &c), "cast %d of type %d '%.*s': %s, ours type %d %lld %.17g", k, v.type, (int)v.n,
                    v.type == VAL_TEXT ? v.p : "", sqlite3_column_text(s, k), c.type, (long long)c.i, c.r);
    }
    value number = value_to_number(&v);
    ck_assert_msg(same(s, 5, &number), "number of '%.*s'", (int)v.n, v.type == VAL_TEXT ? v.p : "");
    ck_assert_int_eq(value_truth(&v) == 1, sqlite3_column_int(s, 6));
    sqlite3_reset(s);
  }
  sqlite3_finalize(s);
}
END_TEST

START_TEST(affinity_changes_what_a_column_would_change) {
  sqlite3_exec(db, "CREATE TABLE t(t TEXT, n NUMERIC, i INTEGER, r REAL, b BLOB)", NULL, NULL, NULL);
  sqlite3_stmt *put = prepare("INSERT INTO t VALUES(?1, ?1, ?1, ?1, ?1)"), *get = prepare("SELECT * FROM t"),
               *clear = prepare("DELETE FROM t");
  static const uint8_t affinities[] = {AFF_TEXT, AFF_NUMERIC, AFF_INTEGER, AFF_REAL, AFF_BLOB};
  for (int round = 0; round < 20000; round++) {
    char space[256];
    value v = random_value(space);
    bind(put, 1, &v);
    ck_assert_int_eq(sqlite3_step(put), SQLITE_DONE);
    sqlite3_reset(put);
    ck_assert_int_eq(sqlite3_step(get), SQLITE_ROW);
    for (int k = v.type == VAL_REAL; k < 5; k++) {
      value c = v;
      ck_assert_int_eq(value_apply_affinity(&c, affinities[k], &memory), HDB_OK);
      ck_assert_msg(same(get, k, &c), "affinity %d of '%.*s' type %d", k, (int)v.n, v.type == VAL_TEXT ? v.p : "", v.type);
    }
    sqlite3_reset(get);
    sqlite3_step(clear);
    sqlite3_reset(clear);
  }
  sqlite3_finalize(put), sqlite3_finalize(get), sqlite3_finalize(clear);
}
END_TEST

START_TEST(values_are_ordered_as_sqlite_orders_them) {
  const char *const names[] = {"BINARY", "NOCASE", "RTRIM"};
  const collation *const collations[] = {&collation_binary, &collation_nocase, &collation_rtrim};
  for (int k = 0; k < 3; k++) {
    char sql[200];
    snprintf(sql, sizeof sql, "SELECT ?1 < ?2 COLLATE %s, ?1 = ?2 COLLATE %s", names[k], names[k]);
    sqlite3_stmt *s = prepare(sql);
    for (int round = 0; round < 30000; round++) {
      char x[256], y[256];
      value a = random_value(x), b = random_value(y);
      if (a.type == VAL_INTEGER && below(2)) b = value_real((double)a.i + (double)below(3) - 1);
      int c = value_compare(&a, &b, collations[k]);
      ck_assert_int_eq(value_compare(&b, &a, collations[k]), -c);
      buf p = BUF_INIT, q = BUF_INIT;
      value_write_key(&p, &a, collations[k], false);
      value_write_key(&q, &b, collations[k], false);
      int by_key = slice_compare(buf_slice(&p), buf_slice(&q));
      ck_assert_int_eq((by_key > 0) - (by_key < 0), (c > 0) - (c < 0));
      buf_free(&p), buf_free(&q);
      if (a.type == VAL_NULL || b.type == VAL_NULL) continue;
      bind(s, 1, &a), bind(s, 2, &b);
      ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
      ck_assert_msg(sqlite3_column_int(s, 0) == (c < 0) && sqlite3_column_int(s, 1) == (c == 0), "%s types %d %d: %d",
                    names[k], a.type, b.type, c);
      sqlite3_reset(s);
    }
    sqlite3_finalize(s);
  }
}
END_TEST

START_TEST(a_text_becomes_the_nearest_double) {
  for (int round = 0; round < 30000; round++) {
    char text[900];
    int n;
    uint64_t u = rnd();
    double r;
    memcpy(&r, &u, 8);
    if (r - r != 0) continue;
    switch (below(4)) {
    case 0: n = snprintf(text, sizeof text, "%.17g", r); break;
    case 1: n = snprintf(text, sizeof text, "%.*e", (int)below(60), r); break;
    case 2: n = snprintf(text, sizeof text, "%llu.%llue%d", (unsigned long long)(rnd() >> below(64)),
                         (unsigned long long)(rnd() >> below(64)), (int)below(640) - 320); break;
    default: n = snprintf(text, sizeof text, "000.%0*llu", 1 + (int)below(40), (unsigned long long)(rnd() >> below(64)));
    }
    double expected = strtod(text, NULL), ours = text_to_real(text, (size_t)n);
    ck_assert_msg(expected == ours, "%s: %.17g not %.17g", text, ours, expected);
  }
  /* halfway between two doubles, decided by the 800th digit */
  char text[900] = "9007199254740993.";
  memset(text + 17, '0', 800);
  ck_assert(text_to_real(text, 817) == 9007199254740992.0);
  text[816] = '1';
  ck_assert(text_to_real(text, 817) == 9007199254740994.0);
  ck_assert(text_to_real("1e999", 5) == INFINITY);
  ck_assert(text_to_real("-1e999", 6) == -INFINITY);
  ck_assert(text_to_real("1e-999", 6) == 0.0);
  ck_assert(text_to_real("Inf", 3) == 0.0);
}
END_TEST

START_TEST(reals_print_with_fifteen_digits) {
  static const struct { double r; const char *text; } cases[] = {
      {0.0, "0.0"}, {-0.0, "0.0"}, {1.0, "1.0"}, {-1.5, "-1.5"}, {1e15, "1.0e+15"}, {123456789012345.0, "123456789012345.0"},
      {1e100, "1.0e+100"}, {0.1, "0.1"}, {0.0001, "0.0001"}, {0.00001, "1.0e-05"}, {INFINITY, "Inf"}, {-INFINITY, "-Inf"},
      {0.1 + 0.2, "0.3"}, {1.0 / 3, "0.333333333333333"}, {2.0 / 3, "0.666666666666667"}, {9.999999999999999e22, "1.0e+23"},
      {5e-324, "4.94065645841247e-324"}, {1.7976931348623157e308, "1.79769313486232e+308"}, {1e22, "1.0e+22"},
      {99999999999999.9, "99999999999999.9"}, {999999999999999.9, "1.0e+15"}, {-12345.678, "-12345.678"}};
  char text[40];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    size_t n = real_to_text(cases[i].r, text);
    text[n] = 0;
    ck_assert_str_eq(text, cases[i].text);
  }
  sqlite3_stmt *s = prepare("SELECT CAST(?1 AS TEXT)");
  int different = 0;
  for (int round = 0; round < 20000; round++) {
    double r;
    uint64_t u = rnd();
    memcpy(&r, &u, 8);
    if (below(2)) r = (double)(int64_t)(rnd() >> below(64)) / pow(10, (double)below(12));
    if (r - r != 0) continue;
    text[real_to_text(r, text)] = 0;
    char expected[40];
    snprintf(expected, sizeof expected, "%.15g", r);
    ck_assert_msg(strtod(text, NULL) == strtod(expected, NULL) || fabs(strtod(text, NULL) - r) <= fabs(r) * 5.1e-15,
                  "%s not %s", text, expected);
    sqlite3_bind_double(s, 1, r);
    ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
    different += strcmp((const char *)sqlite3_column_text(s, 0), text) != 0;
    sqlite3_reset(s);
  }
  sqlite3_finalize(s);
  ck_assert_int_lt(different, 120); /* 3.40 worked with fewer digits: halves and large exponents differ */
}
END_TEST

START_TEST(a_column_comes_back_from_its_record) {
  record_writer w = RECORD_WRITER_INIT;
  for (int round = 0; round < 20000; round++) {
    char space[8][512];
    value values[8];
    record_begin(&w);
    for (int k = 0; k < 8; k++) {
      values[k] = random_value(space[k]);
      if (below(20) == 0) values[k] = value_text(memset(space[k], 'x', 300), 120 + below(20));
      value_write(&w, &values[k]);
    }
    slice record = record_end(&w);
    ck_assert_int_eq(record_check(record), HDB_OK);
    for (uint32_t k = 0; k < 8; k++) {
      uint8_t type;
      slice payload;
      ck_assert(record_column(record, k, &type, &payload));
      value v = value_read(type, payload.p, payload.n);
      ck_assert_int_eq(v.type, values[k].type);
      ck_assert_int_eq(value_compare(&v, &values[k], NULL), 0);
    }
  }
  record_writer_free(&w);
}
END_TEST

START_TEST(the_affinity_of_a_type_is_found_in_its_name) {
  static const struct { const char *type; char affinity; } cases[] = {
      {"", 'A'}, {"INT", 'D'}, {"VARCHAR(10)", 'B'}, {"FLOATING POINT", 'D'}, {"CHARINT", 'D'}, {"BLOB", 'A'}, {"TEXT BLOB", 'B'},
      {"REAL BLOB", 'A'}, {"BLOB TEXT", 'B'}, {"DOUBLE PRECISION", 'E'}, {"DECIMAL(10,5)", 'C'}, {"clob", 'B'}, {"STRING", 'C'},
      {"TEXT REAL", 'B'}, {"REAL TEXT", 'B'}, {"tinyint", 'D'}, {"DATETIME", 'C'}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    ck_assert_msg(affinity_of_type(cases[i].type) == cases[i].affinity, "%s", cases[i].type);
  ck_assert_int_eq(affinity_of_type(NULL), AFF_BLOB);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("sql_value");
  TCase *t = tcase_create("all");
  tcase_set_timeout(t, 60);
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, casts_and_arithmetic_read_text_as_sqlite_does);
  tcase_add_test(t, affinity_changes_what_a_column_would_change);
  tcase_add_test(t, values_are_ordered_as_sqlite_orders_them);
  tcase_add_test(t, a_text_becomes_the_nearest_double);
  tcase_add_test(t, reals_print_with_fifteen_digits);
  tcase_add_test(t, a_column_comes_back_from_its_record);
  tcase_add_test(t, the_affinity_of_a_type_is_found_in_its_name);
  suite_add_tcase(suite, t);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
