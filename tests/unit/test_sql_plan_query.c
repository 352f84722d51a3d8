/* Queries whose plan or order matters: what EXPLAIN QUERY PLAN says, rows in their order, errors; beside fixed answers. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/base/bytes.h"
#include "sql/exec_store.h"
#include "sql/hdb.h"

static hdb *db;

static void setup(void) { ck_assert_int_eq(hdb_open(":memory:", &db, HDB_OPEN_READWRITE | HDB_OPEN_CREATE), HDB_OK); }
static void teardown(void) { ck_assert_int_eq(hdb_close(db), HDB_OK); }

static void run(const char *sql) {
  char *message = NULL;
  ck_assert_msg(hdb_exec(db, sql, NULL, NULL, &message) == HDB_OK, "%s: %s", sql, message ? message : "");
}

/* Rows as "a|b;c|d" or "error: ..."; from: first column shown. */
static char *rows_from(const char *sql, int from) {
  hdb_stmt *s;
  buf b = BUF_INIT;
  buf_text(&b, "");
  if (hdb_prepare(db, sql, -1, 0, &s, NULL) != HDB_OK) {
    buf_printf(&b, "error: %s", hdb_errmsg(db));
  } else {
    int rc;
    bool first = true;
    while ((rc = hdb_step(s)) == HDB_ROW) {
      if (!first) buf_text(&b, ";");
      first = false;
      for (int i = from; i < hdb_column_count(s); i++) {
        const char *text = hdb_column_text(s, i);
        buf_printf(&b, "%s%s", i > from ? "|" : "", text ? text : "NULL");
      }
    }
    if (rc != HDB_DONE) buf_printf(&b, "error: %s", hdb_errmsg(db));
    hdb_finalize(s);
  }
  buf_byte(&b, 0);
  return (char *)b.p;
}

static void expect(const char *sql, const char *wanted) {
  char *got = rows_from(sql, 0);
  ck_assert_msg(strcmp(got, wanted) == 0, "%s\nwanted %s\ngot    %s", sql, wanted, got);
  free(got);
}
static void expect_plan(const char *sql, const char *wanted) {
  char *full = NULL;
  ck_assert_int_gt(asprintf(&full, "EXPLAIN QUERY PLAN %s", sql), 0);
  char *got = rows_from(full, 3);
  ck_assert_msg(strcmp(got, wanted) == 0, "%s\nwanted %s\ngot    %s", sql, wanted, got);
  free(got);
  free(full);
}

START_TEST(searches_are_worded_as_sqlite_words_them) {
  run("CREATE TABLE t(a INTEGER PRIMARY KEY, b, c TEXT); CREATE INDEX tb ON t(b, c); CREATE TABLE u(x, y)");
  expect_plan("SELECT * FROM t", "SCAN t");
  expect_plan("SELECT * FROM t WHERE a = 5", "SEARCH t USING INTEGER PRIMARY KEY (rowid=?)");
  expect_plan("SELECT * FROM t WHERE a > 5 AND a < 9", "SEARCH t USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)");
  expect_plan("SELECT * FROM t WHERE b = 5 AND c > 'x'", "SEARCH t USING COVERING INDEX tb (b=? AND c>?)");
  expect_plan("SELECT * FROM t WHERE b = 1 AND c = 'x' AND a > 3", "SEARCH t USING COVERING INDEX tb (b=? AND c=? AND rowid>?)");
  expect_plan("SELECT * FROM u JOIN t ON t.a = u.x", "SCAN u;SEARCH t USING INTEGER PRIMARY KEY (rowid=?)");
  expect_plan("SELECT * FROM u LEFT JOIN t ON t.b = u.x", "SCAN u;SEARCH t USING COVERING INDEX tb (b=?) LEFT-JOIN");
  expect_plan("SELECT * FROM t ORDER BY b, c", "SCAN t USING COVERING INDEX tb");
  expect_plan("SELECT * FROM t ORDER BY c", "SCAN t;USE TEMP B-TREE FOR ORDER BY");
  expect_plan("SELECT * FROM t WHERE a = 1 OR b = 2",
              "MULTI-INDEX OR;INDEX 1;SEARCH t USING INTEGER PRIMARY KEY (rowid=?);INDEX 2;SEARCH t USING COVERING INDEX tb (b=?)");
}
END_TEST

START_TEST(an_index_hint_is_followed_or_an_error) {
  run("CREATE TABLE t(a, b); CREATE INDEX ta ON t(a); CREATE INDEX tp ON t(b) WHERE a > 5");
  expect("SELECT * FROM t INDEXED BY nosuch", "error: no such index: nosuch");
  expect("SELECT * FROM t INDEXED BY tp WHERE b = 1", "error: no query solution");
  expect_plan("SELECT * FROM t INDEXED BY ta WHERE b = 1", "SCAN t USING INDEX ta");
  expect_plan("SELECT * FROM t NOT INDEXED WHERE a = 1", "SCAN t");
}
END_TEST

START_TEST(terms_reach_into_subqueries) {
  run("CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE TABLE u(a INTEGER PRIMARY KEY, b); CREATE INDEX tb ON t(b);"
      "CREATE VIEW v AS SELECT * FROM t UNION ALL SELECT * FROM u; CREATE VIEW g AS SELECT b, count(*) n FROM t GROUP BY b");
  expect_plan("SELECT * FROM v WHERE a = 5",
              "CO-ROUTINE v;COMPOUND QUERY;LEFT-MOST SUBQUERY;SEARCH t USING INTEGER PRIMARY KEY (rowid=?);UNION ALL;"
              "SEARCH u USING INTEGER PRIMARY KEY (rowid=?);SCAN v");
  expect_plan("SELECT * FROM g WHERE b = 3", "CO-ROUTINE g;SEARCH t USING COVERING INDEX tb (b=?);SCAN g");
  expect_plan("SELECT b, count(*) FROM t GROUP BY b HAVING b > 4 AND count(*) > 1", "SEARCH t USING COVERING INDEX tb (b>?)");
}
END_TEST

START_TEST(rows_come_in_sqlites_order_without_order_by) {
  run("CREATE TABLE t(a, b); INSERT INTO t VALUES(3,'x'),(1,'y'),(2,'x'),(1,'z')");
  expect("SELECT a FROM t", "3;1;2;1");
  expect("SELECT DISTINCT a FROM t", "3;1;2");
  expect("SELECT b, count(*) FROM t GROUP BY b", "x|2;y|1;z|1");
  expect("SELECT a FROM t UNION SELECT 0", "0;1;2;3");
  expect("SELECT a FROM t EXCEPT SELECT 1", "2;3");
  expect("SELECT a FROM t INTERSECT SELECT a FROM t WHERE a > 1", "2;3");
  expect("SELECT x.a, y.a FROM t x JOIN t y ON x.b = y.b", "3|2;3|3;1|1;2|2;2|3;1|1");
  expect("SELECT a FROM t WHERE a IN (3, 1)", "3;1;1");
  run("CREATE INDEX ta ON t(a)");
  expect("SELECT a FROM t WHERE a IN (3, 1)", "1;1;3");
  expect("SELECT a, b FROM t WHERE a >= 1 AND a < 3", "1|y;1|z;2|x");
}
END_TEST

START_TEST(outer_joins_keep_what_matches_nothing) {
  run("CREATE TABLE l(a, b); CREATE TABLE r(b, c); INSERT INTO l VALUES(1,10),(2,20),(3,NULL); INSERT INTO r VALUES(20,'m'),(30,'n'),(NULL,'o')");
  expect("SELECT a, c FROM l LEFT JOIN r USING(b)", "1|NULL;2|m;3|NULL");
  expect("SELECT a, c FROM l RIGHT JOIN r USING(b)", "2|m;NULL|n;NULL|o");
  expect("SELECT a, b, c FROM l FULL JOIN r USING(b)", "1|10|NULL;2|20|m;3|NULL|NULL;NULL|30|n;NULL|NULL|o");
  expect("SELECT a, c FROM l LEFT JOIN r ON l.b = r.b WHERE c IS NULL", "1|NULL;3|NULL");
  expect("SELECT a, c FROM l LEFT JOIN r ON l.b = r.b AND a = 1", "1|NULL;2|NULL;3|NULL");
  expect("SELECT a, x.c FROM l LEFT JOIN (r x JOIN r y ON x.b = y.b) ON l.b = x.b", "1|NULL;2|m;3|NULL");
  expect("SELECT * FROM l LEFT JOIN r ON l.b = s.b JOIN r s", "error: ON clause references tables to its right");
}
END_TEST

START_TEST(limits_take_whole_numbers) {
  run("CREATE TABLE t(a); INSERT INTO t VALUES(1),(2),(3),(4)");
  expect("SELECT a FROM t LIMIT 2 OFFSET 1", "2;3");
  expect("SELECT a FROM t LIMIT -1 OFFSET 2", "3;4");
  expect("SELECT a FROM t LIMIT 1.0", "1");
  expect("SELECT a FROM t LIMIT '2'", "1;2");
  expect("SELECT a FROM t LIMIT 1.5", "error: datatype mismatch");
  expect("SELECT a FROM t LIMIT NULL", "error: datatype mismatch");
  expect("SELECT a FROM t ORDER BY a DESC LIMIT 2", "4;3");
  expect("SELECT a FROM t ORDER BY a DESC LIMIT 0", "");
}
END_TEST

START_TEST(aggregates_over_all_rows_a_group_or_distinct_values) {
  run("CREATE TABLE t(a, b); INSERT INTO t VALUES(1,5),(2,7),(1,9),(2,NULL),(3,7)");
  expect("SELECT count(*), count(b), sum(b), min(b), max(b), avg(b), total(b) FROM t", "5|4|28|5|9|7.0|28.0");
  expect("SELECT a, max(b) FROM t", "1|9");
  expect("SELECT a, min(b) FROM t GROUP BY b > 6", "2|NULL;1|5;2|7");
  expect("SELECT count(DISTINCT b), group_concat(DISTINCT b) FROM t", "3|5,7,9");
  expect("SELECT group_concat(b ORDER BY b DESC) FROM t", "9,7,7,5");
  expect("SELECT a, count(*) FILTER (WHERE b > 5) FROM t GROUP BY a", "1|1;2|1;3|1");
  expect("SELECT a, count(*) FROM t GROUP BY a HAVING count(*) > 1 ORDER BY a DESC", "2|2;1|2");
  expect("SELECT count(*), sum(b) FROM t WHERE 0", "0|NULL");
  run("CREATE INDEX tb ON t(b)");
  expect("SELECT min(b), a FROM t", "5|1");
  expect("SELECT max(b) FROM t WHERE b < 9", "7");
}
END_TEST

START_TEST(windows_move_over_rows_peers_and_values) {
  run("CREATE TABLE t(a, b); INSERT INTO t VALUES(1,10),(2,10),(3,20),(4,40)");
  expect("SELECT a, sum(a) OVER (ORDER BY b) FROM t", "1|3;2|3;3|6;4|10");
  expect("SELECT a, sum(a) OVER (ORDER BY a ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) FROM t", "1|3;2|6;3|9;4|7");
  expect("SELECT a, count(*) OVER (ORDER BY b RANGE BETWEEN 10 PRECEDING AND CURRENT ROW) FROM t", "1|2;2|2;3|3;4|1");
  expect("SELECT a, sum(a) OVER (ORDER BY b GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES) FROM t", "1|1;2|2;3|6;4|7");
  expect("SELECT a, row_number() OVER w, rank() OVER w, dense_rank() OVER w FROM t WINDOW w AS (ORDER BY b)",
         "1|1|1|1;2|2|1|1;3|3|3|2;4|4|4|3");
  expect("SELECT a, lag(a) OVER (ORDER BY a), lead(a, 2, 'none') OVER (ORDER BY a) FROM t", "1|NULL|3;2|1|4;3|2|none;4|3|none");
  expect("SELECT a, ntile(3) OVER (ORDER BY a), nth_value(a, 2) OVER (ORDER BY a) FROM t", "1|1|NULL;2|1|2;3|2|2;4|3|2");
  expect("SELECT sum(a) OVER (ORDER BY a ROWS BETWEEN -1 PRECEDING AND CURRENT ROW) FROM t",
         "error: frame starting offset must be a non-negative integer");
}
END_TEST

START_TEST(recursive_queries_run_as_a_queue) {
  expect("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5) SELECT group_concat(n) FROM c", "1,2,3,4,5");
  expect("WITH RECURSIVE c(n) AS (SELECT 1 UNION SELECT n % 3 + 1 FROM c) SELECT n FROM c", "1;2;3");
  expect("WITH RECURSIVE c(n, d) AS (SELECT 1, 0 UNION ALL SELECT n * 2 + k.v, d + 1 FROM c, (SELECT 0 v UNION ALL SELECT 1) k WHERE d < 2"
         " ORDER BY 2 DESC) SELECT n FROM c", "1;2;4;5;3;6;7");
  expect("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 3 OFFSET 1) SELECT n FROM c", "2;3;4");
}
END_TEST

START_TEST(subqueries_in_expressions) {
  run("CREATE TABLE t(a, b); INSERT INTO t VALUES(1,10),(2,20),(3,30); CREATE TABLE u(x); INSERT INTO u VALUES(2),(NULL)");
  expect("SELECT a, (SELECT count(*) FROM t s WHERE s.a < t.a) FROM t", "1|0;2|1;3|2");
  expect("SELECT a IN (SELECT x FROM u) FROM t", "NULL;1;NULL");
  expect("SELECT a NOT IN (SELECT x FROM u WHERE x > 5) FROM t", "1;1;1");
  expect("SELECT (1, 10) IN (SELECT a, b FROM t), (1, 11) IN (SELECT a, b FROM t)", "1|0");
  expect("SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE x = a)", "2");
  expect("SELECT (SELECT a FROM t WHERE 0)", "NULL");
}
END_TEST

START_TEST(a_join_of_many_tables_is_planned_quickly) {
  buf q = BUF_INIT;
  run("CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES(1,1)");
  buf_text(&q, "SELECT count(*) FROM t AS t0");
  for (int i = 1; i < 64; i++) buf_printf(&q, " JOIN t AS t%d ON t%d.a = t%d.b", i, i, i - 1);
  expect(buf_cstr(&q), "1");
  buf_text(&q, " JOIN t AS t64");
  expect(buf_cstr(&q), "error: at most 64 tables in a join");
  buf_free(&q);
}
END_TEST

START_TEST(sorts_larger_than_their_memory_go_through_a_file) {
  run("CREATE TABLE t(a, b); WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000)"
      " INSERT INTO t SELECT n * 7919 % 20011, CASE n % 5 WHEN 0 THEN NULL WHEN 1 THEN n * 0.5 WHEN 2 THEN 'text ' || n WHEN 3 THEN x'0001' ELSE n END FROM c");
  static const char *const queries[] = {
      "SELECT group_concat(a || coalesce(b, '-')) FROM (SELECT * FROM t ORDER BY a % 100, b DESC)",
      "SELECT sum(r * a) FROM (SELECT a, row_number() OVER (PARTITION BY a % 7 ORDER BY b, a) r FROM t)",
      "SELECT group_concat(a ORDER BY b DESC, a) FROM t", "SELECT count(*), sum(a) FROM (SELECT a FROM t ORDER BY b COLLATE NOCASE)"};
  for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
    sorter_budget((size_t)256 << 20);
    char *whole = rows_from(queries[i], 0);
    sorter_budget(50000);
    char *parts = rows_from(queries[i], 0);
    ck_assert_msg(strcmp(whole, parts) == 0, "%s", queries[i]);
    ck_assert(strncmp(whole, "error", 5) != 0);
    free(whole);
    free(parts);
  }
  sorter_budget((size_t)256 << 20);
}
END_TEST

int main(void) {
  Suite *s = suite_create("sql_plan_query");
  TCase *t = tcase_create("queries");
  tcase_set_timeout(t, 30);
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, searches_are_worded_as_sqlite_words_them);
  tcase_add_test(t, an_index_hint_is_followed_or_an_error);
  tcase_add_test(t, terms_reach_into_subqueries);
  tcase_add_test(t, rows_come_in_sqlites_order_without_order_by);
  tcase_add_test(t, outer_joins_keep_what_matches_nothing);
  tcase_add_test(t, limits_take_whole_numbers);
  tcase_add_test(t, aggregates_over_all_rows_a_group_or_distinct_values);
  tcase_add_test(t, windows_move_over_rows_peers_and_values);
  tcase_add_test(t, recursive_queries_run_as_a_queue);
  tcase_add_test(t, subqueries_in_expressions);
  tcase_add_test(t, sorts_larger_than_their_memory_go_through_a_file);
  tcase_add_test(t, a_join_of_many_tables_is_planned_quickly);
  suite_add_tcase(s, t);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_ENV);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
