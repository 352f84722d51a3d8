/* The C interface end to end: opening, statements, transactions, DDL, pragmas, blobs, backup. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sql/hdb.h"

static hdb *open_memory(void) {
  hdb *db;
  ck_assert_int_eq(hdb_open(":memory:", &db, HDB_OPEN_READWRITE | HDB_OPEN_CREATE), HDB_OK);
  return db;
}

static void run(hdb *db, const char *sql) {
  char *message = NULL;
  int rc = hdb_exec(db, sql, NULL, NULL, &message);
  ck_assert_msg(rc == HDB_OK, "%s: %s", sql, message);
}

static void fails(hdb *db, const char *sql, const char *expected) {
  char *message = NULL;
  int rc = hdb_exec(db, sql, NULL, NULL, &message);
  ck_assert_msg(rc != HDB_OK, "%s should fail", sql);
  ck_assert_str_eq(message, expected);
  hdb_free(message);
}

static int append_row(void *context, int n, char **values, char **names) {
  char *out = context;
  for (int i = 0; i < n; i++) {
    strcat(out, i ? "|" : out[0] ? ";" : "");
    strcat(out, values[i] ? values[i] : "NULL");
  }
  return 0;
}

static void answers(hdb *db, const char *sql, const char *expected) {
  char out[4096] = "";
  char *message = NULL;
  int rc = hdb_exec(db, sql, append_row, out, &message);
  ck_assert_msg(rc == HDB_OK, "%s: %s", sql, message);
  ck_assert_str_eq(out, expected);
}

START_TEST(a_row_goes_in_and_comes_out) {
  hdb *db = open_memory();
  hdb_stmt *s;
  run(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c)");
  ck_assert_int_eq(hdb_prepare(db, "INSERT INTO t VALUES(?, :b, ?3)", -1, 0, &s, NULL), HDB_OK);
  ck_assert_int_eq(hdb_bind_parameter_count(s), 3);
  ck_assert_int_eq(hdb_bind_parameter_index(s, ":b"), 2);
  ck_assert_ptr_null(hdb_bind_parameter_name(s, 1));
  hdb_bind_int64(s, 1, 7);
  hdb_bind_text(s, 2, "it's", -1, HDB_TRANSIENT);
  hdb_bind_double(s, 3, 2.5);
  char *expanded = hdb_expanded_sql(s);
  ck_assert_str_eq(expanded, "INSERT INTO t VALUES(7, 'it''s', 2.5)");
  hdb_free(expanded);
  ck_assert_int_eq(hdb_step(s), HDB_DONE);
  ck_assert_int_eq(hdb_last_insert_rowid(db), 7);
  ck_assert_int_eq(hdb_changes(db), 1);
  hdb_finalize(s);
  ck_assert_int_eq(hdb_prepare(db, "SELECT *, a + 1 FROM t", -1, 0, &s, NULL), HDB_OK);
  ck_assert_int_eq(hdb_step(s), HDB_ROW);
  ck_assert_int_eq(hdb_column_count(s), 4);
  ck_assert_int_eq(hdb_column_type(s, 1), HDB_TEXT);
  ck_assert_str_eq(hdb_column_text(s, 1), "it's");
  ck_assert_str_eq(hdb_column_text(s, 0), "7");
  ck_assert_double_eq(hdb_column_double(s, 2), 2.5);
  ck_assert_str_eq(hdb_column_name(s, 3), "a + 1");
  ck_assert_str_eq(hdb_column_decltype(s, 1), "TEXT");
  ck_assert_ptr_null(hdb_column_decltype(s, 3));
  ck_assert_int_eq(hdb_step(s), HDB_DONE);
  ck_assert_int_eq(hdb_data_count(s), 0);
  hdb_finalize(s);
  ck_assert_int_eq(hdb_close(db), HDB_OK);
}
END_TEST

START_TEST(the_tail_is_what_follows_the_first_statement) {
  hdb *db = open_memory();
  hdb_stmt *s;
  const char *sql = "SELECT 1; SELECT 2", *tail;
  ck_assert_int_eq(hdb_prepare(db, sql, -1, 0, &s, &tail), HDB_OK);
  ck_assert_str_eq(tail, " SELECT 2");
  ck_assert_str_eq(hdb_sql(s), "SELECT 1;");
  hdb_finalize(s);
  ck_assert_int_eq(hdb_prepare(db, "  -- nothing\n", -1, 0, &s, &tail), HDB_OK);
  ck_assert_ptr_null(s);
  hdb_close(db);
}
END_TEST

START_TEST(errors_have_sqlites_codes_words_and_offsets) {
  hdb *db = open_memory();
  hdb_stmt *s;
  ck_assert_int_eq(hdb_prepare(db, "SELECT x FROM t", -1, 0, &s, NULL), HDB_ERROR);
  ck_assert_str_eq(hdb_errmsg(db), "no such table: t");
  run(db, "CREATE TABLE t(a UNIQUE)");
  ck_assert_int_eq(hdb_prepare(db, "SELECT x FROM t", -1, 0, &s, NULL), HDB_ERROR);
  ck_assert_str_eq(hdb_errmsg(db), "no such column: x");
  ck_assert_int_eq(hdb_error_offset(db), 7);
  fails(db, "SELEC 1", "near \"SELEC\": syntax error");
  run(db, "INSERT INTO t VALUES(1)");
  ck_assert_int_eq(hdb_prepare(db, "INSERT INTO t VALUES(1)", -1, 0, &s, NULL), HDB_OK);
  ck_assert_str_eq(hdb_errmsg(db), "not an error");
  ck_assert_int_eq(hdb_step(s), HDB_CONSTRAINT);
  ck_assert_int_eq(hdb_extended_errcode(db), HDB_CONSTRAINT_UNIQUE);
  ck_assert_str_eq(hdb_errmsg(db), "UNIQUE constraint failed: t.a");
  ck_assert_int_eq(hdb_reset(s), HDB_CONSTRAINT);
  ck_assert_int_eq(hdb_finalize(s), HDB_OK);
  ck_assert_int_eq(hdb_bind_int64(NULL, 1, 1), HDB_MISUSE);
  hdb_close(db);
}
END_TEST

START_TEST(a_failing_statement_undoes_itself_alone) {
  hdb *db = open_memory();
  run(db, "CREATE TABLE t(a UNIQUE); BEGIN; INSERT INTO t VALUES(1)");
  fails(db, "INSERT INTO t VALUES(2),(1)", "UNIQUE constraint failed: t.a");
  ck_assert_int_eq(hdb_get_autocommit(db), 0);
  answers(db, "SELECT a FROM t", "1");
  fails(db, "INSERT OR FAIL INTO t VALUES(3),(1)", "UNIQUE constraint failed: t.a");
  answers(db, "SELECT a FROM t", "1;3");
  fails(db, "INSERT OR ROLLBACK INTO t VALUES(4),(1)", "UNIQUE constraint failed: t.a");
  ck_assert_int_eq(hdb_get_autocommit(db), 1);
  answers(db, "SELECT count(*) FROM t", "0");
  hdb_close(db);
}
END_TEST

START_TEST(transactions_and_savepoints_keep_sqlites_rules) {
  hdb *db = open_memory();
  run(db, "CREATE TABLE t(a)");
  fails(db, "COMMIT", "cannot commit - no transaction is active");
  fails(db, "ROLLBACK", "cannot rollback - no transaction is active");
  run(db, "BEGIN");
  fails(db, "BEGIN", "cannot start a transaction within a transaction");
  run(db, "INSERT INTO t VALUES(1); SAVEPOINT s; INSERT INTO t VALUES(2); SAVEPOINT S2; INSERT INTO t VALUES(3); ROLLBACK TO s2");
  answers(db, "SELECT a FROM t", "1;2");
  fails(db, "RELEASE nosuch", "no such savepoint: nosuch");
  run(db, "ROLLBACK TO s; RELEASE s; COMMIT");
  answers(db, "SELECT a FROM t", "1");
  run(db, "SAVEPOINT x; INSERT INTO t VALUES(9); RELEASE X");
  ck_assert_int_eq(hdb_get_autocommit(db), 1);
  answers(db, "SELECT a FROM t", "1;9");
  run(db, "BEGIN; CREATE TABLE u(b); ROLLBACK");
  fails(db, "SELECT * FROM u", "no such table: u");
  hdb_close(db);
}
END_TEST

START_TEST(a_statement_follows_the_schema) {
  hdb *db = open_memory();
  hdb_stmt *s;
  run(db, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
  ck_assert_int_eq(hdb_prepare(db, "SELECT * FROM t", -1, 0, &s, NULL), HDB_OK);
  ck_assert_int_eq(hdb_step(s), HDB_ROW);
  hdb_reset(s);
  run(db, "ALTER TABLE t ADD COLUMN b DEFAULT 5");
  ck_assert_int_eq(hdb_step(s), HDB_ROW);
  ck_assert_int_eq(hdb_column_count(s), 2);
  ck_assert_int_eq(hdb_column_int64(s, 1), 5);
  hdb_reset(s);
  run(db, "DROP TABLE t");
  ck_assert_int_eq(hdb_step(s), HDB_ERROR);
  ck_assert_str_eq(hdb_errmsg(db), "no such table: t");
  hdb_finalize(s);
  hdb_close(db);
}
END_TEST

START_TEST(a_reader_goes_on_while_its_connection_commits) {
  hdb *db = open_memory();
  hdb_stmt *s;
  run(db, "CREATE TABLE t(a); INSERT INTO t VALUES(1),(2),(3); CREATE TABLE u(b)");
  ck_assert_int_eq(hdb_prepare(db, "SELECT a FROM t", -1, 0, &s, NULL), HDB_OK);
  for (int i = 1; i <= 3; i++) {
    char sql[64];
    ck_assert_int_eq(hdb_step(s), HDB_ROW);
    ck_assert_int_eq(hdb_column_int64(s, 0), i);
    snprintf(sql, sizeof sql, "INSERT INTO u VALUES(%d)", i);
    run(db, sql);
    run(db, "BEGIN; INSERT INTO u VALUES(0); ROLLBACK");
  }
  ck_assert_int_eq(hdb_step(s), HDB_DONE);
  hdb_finalize(s);
  answers(db, "SELECT b FROM u", "1;2;3");
  hdb_close(db);
}
END_TEST

START_TEST(named_memory_databases_are_shared_until_the_last_closes) {
  hdb *a, *b;
  hdb_stmt *s;
  int flags = HDB_OPEN_READWRITE | HDB_OPEN_CREATE | HDB_OPEN_URI;
  ck_assert_int_eq(hdb_open("file:shared_one?mode=memory&cache=shared", &a, flags), HDB_OK);
  ck_assert_int_eq(hdb_open("file:shared_one?mode=memory&cache=shared", &b, flags), HDB_OK);
  run(a, "CREATE TABLE t(x); INSERT INTO t VALUES(42)");
  answers(b, "SELECT x FROM t", "42");
  hdb_close(a);
  answers(b, "SELECT x FROM t", "42");
  hdb_close(b);
  ck_assert_int_eq(hdb_open("file:shared_one?mode=memory&cache=shared", &a, flags), HDB_OK);
  ck_assert_int_eq(hdb_prepare(a, "SELECT * FROM t", -1, 0, &s, NULL), HDB_ERROR);
  hdb_close(a);
  ck_assert_int_eq(hdb_open("file:x?mode=nosuch", &a, flags), HDB_ERROR);
  ck_assert_str_eq(hdb_errmsg(a), "no such access mode: nosuch");
  hdb_close(a);
}
END_TEST

START_TEST(increments_from_two_connections_are_all_counted) {
  hdb *c[2];
  int flags = HDB_OPEN_READWRITE | HDB_OPEN_CREATE | HDB_OPEN_URI;
  for (int i = 0; i < 2; i++) ck_assert_int_eq(hdb_open("file:counted?mode=memory&cache=shared", &c[i], flags), HDB_OK);
  run(c[0], "CREATE TABLE t(n); INSERT INTO t VALUES(0)");
  for (int i = 0; i < 100; i++) run(c[i & 1], "UPDATE t SET n = n + 1");
  answers(c[1], "SELECT n FROM t", "100");
  for (int i = 0; i < 2; i++) hdb_close(c[i]);
}
END_TEST

START_TEST(a_lost_race_is_doomed_until_rollback) {
  hdb *c[2];
  int flags = HDB_OPEN_READWRITE | HDB_OPEN_CREATE | HDB_OPEN_URI;
  hdb_settings settings = {.conflict_policy = "first_commit_wins", .retention = NAN, .mirror = -1};
  for (int i = 0; i < 2; i++)
    ck_assert_int_eq(hdb_open_with("file:doomed?mode=memory&cache=shared", &c[i], flags, &settings), HDB_OK);
  run(c[0], "CREATE TABLE t(n); INSERT INTO t VALUES(0)");
  run(c[0], "BEGIN; UPDATE t SET n = 1");
  run(c[1], "BEGIN; UPDATE t SET n = 2");
  run(c[0], "COMMIT");
  fails(c[1], "COMMIT", "database is locked");
  ck_assert_int_eq(hdb_extended_errcode(c[1]), HDB_BUSY_SNAPSHOT);
  ck_assert_int_eq(hdb_get_autocommit(c[1]), 0);
  fails(c[1], "SELECT * FROM t", "database is locked");
  fails(c[1], "COMMIT", "database is locked");
  run(c[1], "ROLLBACK");
  answers(c[1], "SELECT n FROM t", "1");
  for (int i = 0; i < 2; i++) hdb_close(c[i]);
}
END_TEST

START_TEST(increments_in_transactions_are_replayed) {
  hdb *c[2];
  int flags = HDB_OPEN_READWRITE | HDB_OPEN_CREATE | HDB_OPEN_URI;
  for (int i = 0; i < 2; i++) ck_assert_int_eq(hdb_open("file:replayed?mode=memory&cache=shared", &c[i], flags), HDB_OK);
  run(c[0], "CREATE TABLE t(id INTEGER PRIMARY KEY, n UNIQUE); CREATE TABLE log(id INTEGER PRIMARY KEY, x)");
  run(c[0], "INSERT INTO t VALUES(1, 0)");
  for (int i = 0; i < 20; i++) {
    for (int k = 0; k < 2; k++) run(c[k], "BEGIN; UPDATE t SET n = n + 1; SAVEPOINT s; UPDATE t SET n = 99999; ROLLBACK TO s; INSERT INTO log(x) VALUES(7)");
    run(c[0], "COMMIT");
    run(c[1], "COMMIT");
  }
  answers(c[0], "SELECT n FROM t", "40");
  answers(c[0], "SELECT count(*), count(DISTINCT id) FROM log", "40|40");
  /* a plain assignment overwrites */
  run(c[0], "BEGIN; UPDATE t SET n = 5 WHERE id = 1");
  run(c[1], "BEGIN; UPDATE t SET n = 6 WHERE id = 1");
  run(c[0], "COMMIT");
  run(c[1], "COMMIT");
  answers(c[0], "SELECT n FROM t", "6");
  /* what was told must stay true: another count of rows */
  run(c[0], "BEGIN; UPDATE t SET n = 100 WHERE id = 1");
  run(c[1], "BEGIN; UPDATE t SET n = n + 1 WHERE n < 50");
  run(c[0], "COMMIT");
  fails(c[1], "COMMIT", "database is locked");
  fails(c[1], "SELECT 1 FROM t", "database is locked");
  ck_assert_int_eq(hdb_get_autocommit(c[1]), 0);
  run(c[1], "ROLLBACK");
  /* two inserts of one key: one IntegrityError */
  run(c[0], "BEGIN; INSERT INTO t VALUES(50, 'same')");
  run(c[1], "BEGIN; INSERT INTO t VALUES(51, 'same')");
  run(c[0], "COMMIT");
  fails(c[1], "COMMIT", "UNIQUE constraint failed: t.n");
  ck_assert_int_eq(hdb_errcode(c[1]), HDB_CONSTRAINT);
  run(c[1], "ROLLBACK");
  answers(c[1], "SELECT count(*) FROM t", "2");
  /* RETURNING told a value that would change */
  run(c[0], "BEGIN; UPDATE t SET n = 200 WHERE id = 1");
  char out[64] = "";
  run(c[1], "BEGIN");
  ck_assert_int_eq(hdb_exec(c[1], "UPDATE t SET n = n + 1 WHERE id = 1 RETURNING n", append_row, out, NULL), HDB_OK);
  ck_assert_str_eq(out, "101");
  run(c[0], "COMMIT");
  fails(c[1], "COMMIT", "database is locked");
  run(c[1], "ROLLBACK");
  for (int i = 0; i < 2; i++) hdb_close(c[i]);
}
END_TEST

START_TEST(begin_immediate_takes_turns) {
  hdb *c[2];
  int flags = HDB_OPEN_READWRITE | HDB_OPEN_CREATE | HDB_OPEN_URI;
  for (int i = 0; i < 2; i++) ck_assert_int_eq(hdb_open("file:turns?mode=memory&cache=shared", &c[i], flags), HDB_OK);
  run(c[0], "CREATE TABLE t(n); BEGIN IMMEDIATE");
  fails(c[1], "BEGIN IMMEDIATE", "database is locked");
  ck_assert_int_eq(hdb_errcode(c[1]), HDB_BUSY);
  ck_assert_int_eq(hdb_get_autocommit(c[1]), 1);
  run(c[0], "INSERT INTO t VALUES(1); COMMIT");
  run(c[1], "BEGIN IMMEDIATE; INSERT INTO t VALUES(2); COMMIT");
  answers(c[0], "SELECT n FROM t", "1;2");
  for (int i = 0; i < 2; i++) hdb_close(c[i]);
}
END_TEST

START_TEST(closing_waits_for_statements_or_becomes_a_zombie) {
  hdb *db = open_memory();
  hdb_stmt *s;
  ck_assert_int_eq(hdb_prepare(db, "SELECT 1", -1, 0, &s, NULL), HDB_OK);
  ck_assert_int_eq(hdb_close(db), HDB_BUSY);
  ck_assert_str_eq(hdb_errmsg(db), "unable to close due to unfinalized statements or unfinished backups");
  ck_assert_int_eq(hdb_close_v2(db), HDB_OK);
  ck_assert_int_eq(hdb_step(s), HDB_ROW);
  hdb_finalize(s);
}
END_TEST

START_TEST(attached_databases_take_part) {
  hdb *db = open_memory();
  run(db, "ATTACH ':memory:' AS other; CREATE TABLE other.t(a); CREATE TABLE main.t(b)");
  run(db, "BEGIN; INSERT INTO other.t VALUES(1); INSERT INTO t VALUES(2); ROLLBACK");
  answers(db, "SELECT count(*) FROM other.t", "0");
  fails(db, "ATTACH ':memory:' AS other", "database other is already in use");
  fails(db, "DETACH nosuch", "no such database: nosuch");
  answers(db, "SELECT name FROM pragma_database_list", "main;other");
  run(db, "DETACH other");
  fails(db, "SELECT * FROM other.t", "no such table: other.t");
  hdb_close(db);
}
END_TEST

static int deny_drop(void *data, int action, const char *a, const char *b, const char *c, const char *d) {
  return action == HDB_DROP_TABLE ? HDB_DENY : HDB_OK;
}
static int stop_at_once(void *data) { return 1; }
static int refuse(void *data) { return 1; }

START_TEST(callbacks_are_asked) {
  hdb *db = open_memory();
  run(db, "CREATE TABLE t(a)");
  hdb_set_authorizer(db, deny_drop, NULL);
  fails(db, "DROP TABLE t", "not authorized");
  hdb_set_authorizer(db, NULL, NULL);
  hdb_progress_handler(db, 1, stop_at_once, NULL);
  fails(db, "SELECT 1", "interrupted");
  hdb_progress_handler(db, 0, NULL, NULL);
  hdb_commit_hook(db, refuse, NULL);
  fails(db, "INSERT INTO t VALUES(1)", "constraint failed");
  hdb_commit_hook(db, NULL, NULL);
  answers(db, "SELECT count(*) FROM t", "0");
  hdb_close(db);
}
END_TEST

START_TEST(a_blob_is_read_and_written_in_place) {
  hdb *db = open_memory();
  hdb_blob *b;
  char bytes[8];
  run(db, "CREATE TABLE t(a, b); INSERT INTO t VALUES(5, zeroblob(10))");
  ck_assert_int_eq(hdb_blob_open(db, "main", "t", "b", 1, 1, &b), HDB_OK);
  ck_assert_int_eq(hdb_blob_bytes(b), 10);
  ck_assert_int_eq(hdb_blob_write(b, "hello", 5, 2), HDB_OK);
  ck_assert_int_eq(hdb_blob_write(b, "hello", 5, 6), HDB_ERROR);
  ck_assert_int_eq(hdb_blob_read(b, bytes, 5, 2), HDB_OK);
  ck_assert_mem_eq(bytes, "hello", 5);
  answers(db, "SELECT hex(b) FROM t", "000068656C6C6F000000");
  run(db, "UPDATE t SET a = 6");
  ck_assert_int_eq(hdb_blob_read(b, bytes, 5, 2), HDB_ABORT);
  ck_assert_int_eq(hdb_blob_close(b), HDB_OK);
  ck_assert_int_eq(hdb_blob_open(db, "main", "t", "b", 9, 0, &b), HDB_ERROR);
  ck_assert_str_eq(hdb_errmsg(db), "no such rowid: 9");
  ck_assert_int_eq(hdb_blob_open(db, "main", "t", "a", 1, 0, &b), HDB_ERROR);
  ck_assert_str_eq(hdb_errmsg(db), "cannot open value of type integer");
  hdb_close(db);
}
END_TEST

START_TEST(a_backup_copies_everything) {
  hdb *from = open_memory(), *to = open_memory();
  run(from, "CREATE TABLE t(a PRIMARY KEY, b); INSERT INTO t VALUES('x',1),('y',2); CREATE INDEX i ON t(b); PRAGMA user_version=7");
  run(to, "CREATE TABLE old(z)");
  hdb_backup *b = hdb_backup_init(to, "main", from, "main");
  ck_assert_ptr_nonnull(b);
  ck_assert_int_eq(hdb_backup_step(b, 1), HDB_OK);
  ck_assert_int_eq(hdb_backup_remaining(b), hdb_backup_pagecount(b) - 1);
  ck_assert_int_eq(hdb_backup_step(b, -1), HDB_DONE);
  ck_assert_int_eq(hdb_backup_finish(b), HDB_OK);
  answers(to, "SELECT a FROM t WHERE b = 2", "y");
  answers(to, "SELECT name FROM sqlite_schema", "t;sqlite_autoindex_t_1;i");
  answers(to, "PRAGMA user_version", "7");
  answers(to, "PRAGMA integrity_check", "ok");
  ck_assert_ptr_null(hdb_backup_init(to, "main", from, "nosuch"));
  ck_assert_str_eq(hdb_errmsg(to), "unknown database nosuch");
  hdb_close(from);
  hdb_close(to);
}
END_TEST

START_TEST(alter_rewrites_what_refers_to_the_table) {
  hdb *db = open_memory();
  run(db, "CREATE TABLE t(a, b); CREATE INDEX i ON t(a) WHERE a > b; CREATE VIEW v AS SELECT t.a AS x FROM t;"
          "CREATE TRIGGER r AFTER UPDATE OF a ON t BEGIN SELECT new.a FROM t; END; INSERT INTO t VALUES(1, 0)");
  run(db, "ALTER TABLE t RENAME TO \"the table\"; ALTER TABLE \"the table\" RENAME COLUMN a TO c");
  answers(db, "SELECT sql FROM sqlite_schema WHERE type = 'view'", "CREATE VIEW v AS SELECT \"the table\".c AS x FROM \"the table\"");
  answers(db, "SELECT sql FROM sqlite_schema WHERE type = 'trigger'",
          "CREATE TRIGGER r AFTER UPDATE OF c ON \"the table\" BEGIN SELECT new.c FROM \"the table\"; END");
  answers(db, "SELECT x FROM v", "1");
  run(db, "DROP VIEW v; DROP TRIGGER r; DROP INDEX i; ALTER TABLE \"the table\" DROP COLUMN c; ALTER TABLE \"the table\" ADD COLUMN d DEFAULT 'new'");
  answers(db, "SELECT * FROM \"the table\"", "0|new");
  answers(db, "PRAGMA integrity_check", "ok");
  hdb_close(db);
}
END_TEST

START_TEST(pragmas_answer_as_sqlite_does) {
  hdb *db = open_memory();
  answers(db, "PRAGMA user_version", "0");
  run(db, "PRAGMA user_version = 12; PRAGMA nosuchpragma = 1");
  answers(db, "PRAGMA user_version", "12");
  answers(db, "PRAGMA journal_mode = wal", "memory");
  answers(db, "PRAGMA foreign_keys", "0");
  run(db, "PRAGMA foreign_keys = ON");
  answers(db, "PRAGMA foreign_keys", "1");
  run(db, "CREATE TABLE t(a INT NOT NULL DEFAULT 3, b, PRIMARY KEY(b, a))");
  answers(db, "PRAGMA table_info(t)", "0|a|INT|1|3|2;1|b||0|NULL|1");
  answers(db, "SELECT name FROM pragma_index_info('sqlite_autoindex_t_1')", "b;a");
  fails(db, "PRAGMA nosuch.table_info(t)", "unknown database nosuch");
  hdb_close(db);
}
END_TEST

START_TEST(hostile_texts_do_no_harm) {
  hdb *db = open_memory();
  hdb_stmt *s;
  static const char *const texts[] = {"CREATE TABLE", "CREATE TABLE \"\"(\"\")", "ALTER TABLE x RENAME TO", "PRAGMA ", "PRAGMA x(",
                                      "BEGIN BEGIN", "ATTACH", "CREATE INDEX \xff ON \xfe(\xfd)", "SAVEPOINT ''", "DROP TABLE ''''",
                                      "CREATE TABLE t(a, b AS (c) , c AS (b))", "PRAGMA user_version = -99999999999999999999",
                                      "VACUUM INTO NULL", "REINDEX \"\"", "ANALYZE \"\"", "PRAGMA table_info(\"\xc3\x28\")"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    if (hdb_prepare(db, texts[i], -1, 0, &s, NULL) == HDB_OK)
      while (s && hdb_step(s) == HDB_ROW) {
      }
    hdb_finalize(s);
  }
  hdb_close(db);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("sql_connection");
  TCase *c = tcase_create("all");
  tcase_set_timeout(c, 60);
  tcase_add_test(c, a_row_goes_in_and_comes_out);
  tcase_add_test(c, the_tail_is_what_follows_the_first_statement);
  tcase_add_test(c, errors_have_sqlites_codes_words_and_offsets);
  tcase_add_test(c, a_failing_statement_undoes_itself_alone);
  tcase_add_test(c, transactions_and_savepoints_keep_sqlites_rules);
  tcase_add_test(c, a_statement_follows_the_schema);
  tcase_add_test(c, a_reader_goes_on_while_its_connection_commits);
  tcase_add_test(c, named_memory_databases_are_shared_until_the_last_closes);
  tcase_add_test(c, increments_from_two_connections_are_all_counted);
  tcase_add_test(c, a_lost_race_is_doomed_until_rollback);
  tcase_add_test(c, increments_in_transactions_are_replayed);
  tcase_add_test(c, begin_immediate_takes_turns);
  tcase_add_test(c, closing_waits_for_statements_or_becomes_a_zombie);
  tcase_add_test(c, attached_databases_take_part);
  tcase_add_test(c, callbacks_are_asked);
  tcase_add_test(c, a_blob_is_read_and_written_in_place);
  tcase_add_test(c, a_backup_copies_everything);
  tcase_add_test(c, alter_rewrites_what_refers_to_the_table);
  tcase_add_test(c, pragmas_answer_as_sqlite_does);
  tcase_add_test(c, hostile_texts_do_no_harm);
  suite_add_tcase(suite, c);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_NORMAL);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
