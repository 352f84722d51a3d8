/* Shapes of statements: which integers are taken out, and which texts have none. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sql/shape.h"

static const struct {
  const char *sql, *shape; /* NULL: it has none */
  const char *values;
} shapes[] = {
    {"SELECT a FROM t WHERE id = 12", "SELECT a FROM t WHERE id = $1", "12"},
    {"select a from t where id=12 and b >= 3 order by 1 limit 5;", "select a from t where id=$1 and b >= $2 order by 1 limit 5;", "12 3"},
    {"SELECT 1, a + 2 FROM t WHERE (x.id <> 3) OR NOT \"b\" < -4", "SELECT 1, a + 2 FROM t WHERE (x.id <> $1) OR NOT \"b\" < -$2", "3 4"},
    {"SELECT a FROM t WHERE b + 1 = 5", NULL, NULL},
    {"SELECT a FROM t WHERE 5 = b", NULL, NULL},
    {"SELECT a FROM t WHERE b = 5 + 1", NULL, NULL},
    {"SELECT a FROM t WHERE b = 5::text", NULL, NULL},
    {"SELECT a FROM t WHERE b = 5.0", NULL, NULL},
    {"SELECT a FROM t WHERE b = 1234567890", NULL, NULL},
    {"SELECT a FROM t WHERE b = 0x10", NULL, NULL},
    {"SELECT a FROM t WHERE b @> 5", NULL, NULL},
    {"SELECT a FROM t WHERE b -> 5 = 6", NULL, NULL},
    {"SELECT a FROM t WHERE b =-5", NULL, NULL},
    {"SELECT a FROM t WHERE b IN (1, 2)", NULL, NULL},
    {"SELECT a FROM t WHERE b BETWEEN 1 AND 2", NULL, NULL},
    {"SELECT a FROM t WHERE f(b) = 5", NULL, NULL},
    {"SELECT a FROM t GROUP BY 1 HAVING b = 5", NULL, NULL},
    {"SELECT a FROM t JOIN u ON t.id = 5", NULL, NULL},
    {"SELECT a FROM t WHERE c = 'x = 5'", NULL, NULL},
    {"SELECT a FROM t WHERE b = 5 AND c = 'it''s'", "SELECT a FROM t WHERE b = $1 AND c = 'it''s'", "5"},
    {"SELECT a FROM t WHERE b = 5 AND c = 'a\\", NULL, NULL},
    {"SELECT a FROM t WHERE b = 5 -- c", NULL, NULL},
    {"SELECT a /* c */ FROM t WHERE b = 5", NULL, NULL},
    {"SELECT a FROM t WHERE b = 5 AND c = $1", NULL, NULL},
    {"SELECT a FROM t WHERE b = 5; SELECT 1", NULL, NULL},
    {"SELECT a FROM t WHERE b = 5 AND c = 'open", NULL, NULL},
    {"SELECT a FROM t WHERE b IN (SELECT c FROM u WHERE d = 7 GROUP BY 2) AND e = 8",
     "SELECT a FROM t WHERE b IN (SELECT c FROM u WHERE d = $1 GROUP BY 2) AND e = $2", "7 8"},
    {"UPDATE t SET a = a + 5, b = 6, c = -7, d = d - -8 WHERE id = 9", "UPDATE t SET a = a + $1, b = $2, c = -$3, d = d - -$4 WHERE id = $5", "5 6 7 8 9"},
    {"UPDATE t SET a = a * 5, b = 6 + a, c = a + 7 + 8", NULL, NULL},
    {"UPDATE t SET (a, b) = (1, 2)", NULL, NULL},
    {"INSERT INTO t(a, b) VALUES (1, -2), (3, f(4))", "INSERT INTO t(a, b) VALUES ($1, -$2), ($3, f(4))", "1 2 3"},
    {"INSERT INTO t VALUES (1 + 2)", NULL, NULL},
    {"INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET a = 2 WHERE t.b = 3", "INSERT INTO t VALUES ($1) ON CONFLICT DO UPDATE SET a = 2 WHERE t.b = $2", "1 3"},
    {"DELETE FROM t WHERE id = 1 RETURNING 2", "DELETE FROM t WHERE id = $1 RETURNING 2", "1"},
    {"CREATE TABLE t(a CHECK (b = 5))", NULL, NULL},
    {"VALUES (1)", NULL, NULL},
    {"", NULL, NULL},
    {"SELECT a FROM t WHERE ))) b = 5", NULL, NULL},
};

START_TEST(integers_become_parameters) {
  buf shape = BUF_INIT;
  int64_t values[SHAPE_VALUES];
  char said[400];
  int n;
  bool any = shape_of(slice_str(shapes[_i].sql), &shape, values, &n);
  ck_assert_msg(any == (shapes[_i].shape != NULL), "%s: %s", shapes[_i].sql, any ? buf_cstr(&shape) : "none");
  if (any) {
    ck_assert_str_eq(buf_cstr(&shape), shapes[_i].shape);
    size_t at = 0;
    for (int i = 0; i < n; i++) at += (size_t)snprintf(said + at, sizeof said - at, i ? " %lld" : "%lld", (long long)values[i]);
    ck_assert_str_eq(said, shapes[_i].values);
  }
  buf_free(&shape);
}
END_TEST

/* Any bytes, each prefix in a buffer of its own: the sanitizers see what is read behind it. */
START_TEST(no_bytes_are_too_strange) {
  buf shape = BUF_INIT;
  int64_t values[SHAPE_VALUES];
  int n;
  uint32_t seed = 7;
  for (int round = 0; round < 20000; round++) {
    size_t k = (size_t)round % (sizeof shapes / sizeof *shapes), length = strlen(shapes[k].sql);
    char *copy = malloc(length + 1);
    memcpy(copy, shapes[k].sql, length);
    for (int i = 0; i < 3 && length > 7; i++) {
      seed = seed * 1664525u + 1013904223u;
      copy[7 + (seed >> 8) % (length - 7)] = (char)(seed >> 24);
    }
    size_t cut = length ? (seed >> 4) % (length + 1) : 0;
    char *prefix = malloc(cut ? cut : 1);
    memcpy(prefix, copy, cut);
    shape_of(slice_of(prefix, cut), &shape, values, &n);
    ck_assert_int_le(n, SHAPE_VALUES);
    free(prefix);
    free(copy);
  }
  buf_free(&shape);
}
END_TEST

int main(void) {
  Suite *s = suite_create("sql_shape");
  TCase *c = tcase_create("all");
  tcase_add_loop_test(c, integers_become_parameters, 0, (int)(sizeof shapes / sizeof *shapes));
  tcase_add_test(c, no_bytes_are_too_strange);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
