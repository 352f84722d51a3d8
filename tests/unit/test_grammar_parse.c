/* The parser: what it accepts, what it builds, and its error texts; SQLite's library is asked where it can answer. */
#include <check.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include "grammar/ast.h"

static arena memory;
static error err;

static void setup(void) {
  memory = (arena)ARENA_INIT;
  err = (error)ERROR_INIT;
}
static void teardown(void) {
  error_clear(&err);
  arena_clear(&memory);
}

static statement *parse(const char *sql) {
  statement *s = NULL;
  size_t tail;
  status rc = grammar_parse(slice_str(sql), NULL, &memory, &s, &tail, &err);
  ck_assert_msg(rc == HDB_OK, "%s: %s", sql, err.message ? err.message : "?");
  ck_assert_ptr_nonnull(s);
  return s;
}

static void check_error(const char *sql, const char *message, int offset) {
  statement *s = NULL;
  size_t tail;
  status rc = grammar_parse(slice_str(sql), NULL, &memory, &s, &tail, &err);
  ck_assert_msg(rc == HDB_ERROR, "accepted: %s", sql);
  ck_assert_str_eq(err.message, message);
  if (offset != -2) ck_assert_int_eq(err.offset, offset);
}

static expr *first_column(const char *sql) {
  statement *s = parse(sql);
  ck_assert_int_eq(s->kind, ST_SELECT);
  return s->select->columns->items[0].e;
}

static void check_span(slice span, const char *expected) {
  ck_assert_uint_eq(span.n, strlen(expected));
  ck_assert(memcmp(span.p, expected, span.n) == 0);
}

START_TEST(literals_are_what_sqlite_makes_of_them) {
  ck_assert_int_eq(first_column("select 9223372036854775807")->i, INT64_MAX);
  expr *e = first_column("select 9223372036854775808");
  ck_assert_int_eq(e->op, EX_REAL);
  ck_assert_double_eq(e->r, 9223372036854775808.0);
  e = first_column("select -9223372036854775808");
  ck_assert_int_eq(e->op, EX_INT);
  ck_assert(e->i == INT64_MIN);
  ck_assert(first_column("select 0xffffffffffffffff")->i == -1);
  ck_assert_double_eq(first_column("select .5e1")->r, 5.0);
  e = first_column("select 'it''s'");
  ck_assert_str_eq(e->text, "it's");
  e = first_column("select x'00ff41'");
  ck_assert_int_eq(e->op, EX_BLOB);
  ck_assert_uint_eq(e->text_n, 3);
  ck_assert(memcmp(e->text, "\0\377A", 3) == 0);
  e = first_column("select \"a\"\"b\"");
  ck_assert(e->op == EX_ID && e->quoted && e->quoted_name);
  ck_assert_str_eq(e->text, "a\"b");
  e = first_column("select [true]");
  ck_assert(!e->quoted && e->quoted_name);
}
END_TEST

START_TEST(precedence_is_sqlites) {
  expr *e = first_column("select 1 + 2 * 3 < 4 = 5 and not 6 or 7");
  ck_assert_int_eq(e->op, EX_OR);
  ck_assert_int_eq(e->left->op, EX_AND);
  ck_assert_int_eq(e->left->left->op, EX_EQ);
  ck_assert_int_eq(e->left->left->left->op, EX_LT);
  ck_assert_int_eq(e->left->right->op, EX_NOT);
  e = first_column("select -a collate nocase || b");
  ck_assert_int_eq(e->op, EX_CONCAT);
  ck_assert_int_eq(e->left->op, EX_COLLATE);
  ck_assert_int_eq(e->left->left->op, EX_NEG);
  e = first_column("select a <-> b < 0.5");
  ck_assert_int_eq(e->op, EX_LT);
  ck_assert_int_eq(e->left->op, EX_VEC_L2);
  e = first_column("select a is not null");
  ck_assert_int_eq(e->op, EX_NOTNULL);
  e = first_column("select a not between 1 and 2 and b");
  ck_assert_int_eq(e->op, EX_AND);
  ck_assert(e->left->op == EX_BETWEEN && e->left->negated);
}
END_TEST

START_TEST(result_names_are_the_source_text) {
  statement *s = parse("select  a+ 1 /* x */ , count( * ) filter (where b) over w from t window w as ()");
  check_span(s->select->columns->items[0].span, "a+ 1 /* x */");
  check_span(s->select->columns->items[1].span, "count( * ) filter (where b) over w");
}
END_TEST

START_TEST(schema_texts_end_where_sqlite_ends_them) {
  check_span(parse("create table main . t(a int) /* c */ ;")->create_table->span, "t(a int)");
  check_span(parse("create table t(a primary key)  without rowid  /* z */ ;")->create_table->span,
             "t(a primary key)  without rowid  /* z */ ");
  check_span(parse("create index if not exists main.i on t (a) /* q */  ;")->create_index->span, "i on t (a) /* q */  ");
  check_span(parse("create view v as select 1 /* q */  ;")->create_view->span, "v as select 1 /* q */");
  check_span(parse("create temp trigger x after insert on t begin select 1; end  ;")->create_trigger->span,
             "x after insert on t begin select 1; end");
  check_span(parse("create virtual table v using fts5(a, b = 'c,d' (e))")->create_virtual_table->span,
             "v using fts5(a, b = 'c,d' (e))");
}
END_TEST

START_TEST(columns_know_their_types_and_constraints) {
  create_table_statement *c = parse("create table t(a integer primary key desc autoincrement, b VARCHAR ( 10 ) not null "
                                    "on conflict replace default (1 + 2), c \"my type\" constraint x check ( c > 1 ), "
                                    "d int generated always as (a) stored references p(q) on delete cascade "
                                    "on update set null deferrable initially deferred, unique (a, b desc), "
                                    "constraint fk foreign key (a) references p) strict, without rowid")
                                  ->create_table;
  ck_assert(c->strict && c->without_rowid);
  ck_assert_int_eq(c->columns_n, 4);
  ck_assert_str_eq(c->columns[0].type, "INTEGER");
  ck_assert(c->columns[0].constraints->descending && c->columns[0].constraints->autoincrement);
  ck_assert_str_eq(c->columns[1].type, "VARCHAR ( 10 )");
  ck_assert_int_eq(c->columns[1].constraints->conflict, CONFLICT_REPLACE);
  check_span(c->columns[1].constraints->next->span, "1 + 2");
  ck_assert_str_eq(c->columns[2].type, "my type");
  check_span(c->columns[2].constraints->span, "c > 1");
  ck_assert_str_eq(c->columns[2].constraints->name, "x");
  ck_assert_str_eq(c->columns[3].type, "INT");
  constraint *g = c->columns[3].constraints;
  ck_assert(g->kind == CON_GENERATED && g->stored);
  foreign_key_clause *f = g->next->foreign_key;
  ck_assert(f->on_delete == FK_CASCADE && f->on_update == FK_SET_NULL && f->deferrable && f->initially_deferred);
  ck_assert_int_eq(c->constraints->kind, CON_UNIQUE);
  ck_assert_int_eq(c->constraints->columns->n, 2);
  ck_assert_str_eq(c->constraints->next->foreign_key->constraint_name, "fk");
}
END_TEST

START_TEST(parameters_are_numbered_like_sqlites) {
  statement *s = parse("select ?, :a, ?5, @b, :a, $c::d(e), ?");
  ck_assert_int_eq(s->parameters, 8);
  ck_assert_str_eq(s->names[1], ":a");
  ck_assert_str_eq(s->names[4], "?5");
  ck_assert_str_eq(s->names[6], "$c::d(e)");
  ck_assert_ptr_null(s->names[2]);
  ck_assert_int_eq((int)s->select->columns->items[4].e->i, 2);
}
END_TEST

START_TEST(errors_have_sqlites_words_and_places) {
  check_error("select * form t", "near \"form\": syntax error", 9);
  check_error("select", "incomplete input", -1);
  check_error("select 'abc", "unrecognized token: \"'abc\"", 7);
  check_error("select 12abc", "unrecognized token: \"12abc\"", 7);
  check_error("select ?0", "variable number must be between ?1 and ?250000", 7);
  check_error("select 1 order by 1 union select 2", "ORDER BY clause should come after UNION not before", -1);
  check_error("select * from t on 1", "a JOIN clause is required before ON", -1);
  check_error("select * from t left inner join t", "unknown join type: left inner", -1);
  check_error("values (1), (1, 2)", "all VALUES must have the same number of terms", -1);
  check_error("use x", "near \"use\": syntax error", 0);
  check_error("select x::", "unrecognized token: \":\"", 8);
  check_error("select 0x10000000000000000", "hex literal too big: 0x10000000000000000", -2);
}
END_TEST

START_TEST(deep_input_is_refused_not_recursed) {
  char *sql = malloc(200100);
  int n = sprintf(sql, "select ");
  memset(sql + n, '(', 100000);
  strcpy(sql + n + 100000, "1");
  check_error(sql, "parser stack overflow", -2);
  n = sprintf(sql, "select 1");
  for (int i = 0; i < 1001; i++) n += sprintf(sql + n, "+1");
  check_error(sql, "Expression tree is too large (maximum depth 1000)", -2);
  n = sprintf(sql, "select ");
  for (int i = 0; i < 50000; i++) n += sprintf(sql + n, "- ");
  check_error(sql, "parser stack overflow", -2);
  free(sql);
}
END_TEST

START_TEST(our_words_are_keywords_only_in_their_places) {
  statement *s = parse("select * from t as of timestamp '2024-01-01' as x join u as of now");
  ck_assert_int_eq(s->select->from->items[0].time, TIME_TIMESTAMP);
  ck_assert_str_eq(s->select->from->items[0].alias, "x");
  ck_assert_int_eq(s->select->from->items[1].time, TIME_NOW);
  s = parse("select * from t versions between ?1 and (2 + 3) v");
  ck_assert_int_eq(s->select->from->items[0].time, TIME_VERSIONS);
  ck_assert_str_eq(s->select->from->items[0].alias, "v");
  s = parse("select * from t as of, u as of");
  ck_assert_str_eq(s->select->from->items[1].alias, "of");
  ck_assert_int_eq(first_column("select versions between 1 and 2")->op, EX_BETWEEN);
  ck_assert_int_eq(first_column("select a::double precision b")->op, EX_CAST);
  ck_assert_str_eq(first_column("select a::numeric(10, 2)")->text, "numeric(10, 2)");
  ck_assert_int_eq(first_column("select $1::int")->op, EX_PARAM);
  s = parse("create database branch if not exists b from current as of scn 5");
  ck_assert(s->kind == ST_CREATE_BRANCH && s->branch->from_current && s->branch->time == TIME_SCN);
  s = parse("merge branch a into b with (conflict_resolution = 'fail', dry_run = true)");
  ck_assert(s->kind == ST_MERGE_BRANCH && s->branch->options->n == 2);
  ck_assert_int_eq(parse("use branch b")->kind, ST_USE_BRANCH);
  ck_assert_int_eq(parse("show branches")->kind, ST_SHOW_BRANCHES);
  ck_assert_int_eq(parse("erase from t where a = 1")->kind, ST_ERASE);
  s = parse("create index i on t using hnsw (v vector_l2_ops) with (m = 16)");
  ck_assert_str_eq(s->create_index->method, "hnsw");
  ck_assert_str_eq(s->create_index->op_classes[0], "vector_l2_ops");
}
END_TEST

/* Every keyword of SQLite's and every word of ours, as column, table and alias: accepted where SQLite accepts it. */
START_TEST(names_that_sqlite_allows_are_allowed) {
  static const char *const ours[] = {"branch", "branches", "use",  "show",  "merge", "erase", "versions",
                                     "scn",    "now",      "hnsw", "vector", "timestamp"};
  static const char *const frames[] = {"create table \"z\"(%s int)",      "select 1 as %s",    "select 1 %s",
                                       "create table %s(a)",              "select %s from (select 1 as \"%s\")",
                                       "select %s.a from (select 1 a) %s", "select \"%s\"()",  "pragma %s",
                                       "with %s as (select 1) select * from %s", "savepoint %s"};
  sqlite3 *db;
  ck_assert_int_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
  int words = sqlite3_keyword_count() + (int)(sizeof ours / sizeof ours[0]);
  for (int w = 0; w < words; w++) {
    char word[64] = "";
    if (w < sqlite3_keyword_count()) {
      const char *z;
      int n;
      sqlite3_keyword_name(w, &z, &n);
      snprintf(word, sizeof word, "%.*s", n, z);
      ck_assert(grammar_is_keyword(z, (size_t)n));
    } else {
      snprintf(word, sizeof word, "%s", ours[w - sqlite3_keyword_count()]);
    }
    for (size_t f = 0; f < sizeof frames / sizeof frames[0]; f++) {
      char sql[256];
      snprintf(sql, sizeof sql, frames[f], word, word);
      sqlite3_stmt *theirs = NULL;
      int rc = sqlite3_prepare_v2(db, sql, -1, &theirs, NULL);
      bool refused = rc != SQLITE_OK && (strstr(sqlite3_errmsg(db), "syntax") || strstr(sqlite3_errmsg(db), "incomplete"));
      char said[512];
      snprintf(said, sizeof said, "%s", sqlite3_errmsg(db));
      sqlite3_finalize(theirs);
      statement *s = NULL;
      size_t tail;
      status mine = grammar_parse(slice_str(sql), NULL, &memory, &s, &tail, &err);
      ck_assert_msg(refused == (mine != HDB_OK), "%s: SQLite %s, we %s", sql, said, mine ? err.message : "accept");
      if (refused) ck_assert_str_eq(err.message, said);
    }
  }
  sqlite3_close(db);
}
END_TEST

START_TEST(only_the_first_statement_is_taken) {
  const char *sql = ";; -- nothing\n select 1 ; select 2";
  statement *s;
  size_t tail;
  ck_assert_int_eq(grammar_parse(slice_str(sql), NULL, &memory, &s, &tail, &err), HDB_OK);
  ck_assert_str_eq(sql + tail, " select 2");
  check_span(s->text, "select 1");
  ck_assert_int_eq(grammar_parse(slice_str(" /* open"), NULL, &memory, &s, &tail, &err), HDB_OK);
  ck_assert_ptr_null(s);
  expr *e;
  ck_assert_int_eq(grammar_parse_expr(slice_str("a + 1"), NULL, &memory, &e, &err), HDB_OK);
  ck_assert_int_eq(e->op, EX_ADD);
  ck_assert_int_eq(grammar_parse_expr(slice_str("a b"), NULL, &memory, &e, &err), HDB_ERROR);
  ck_assert_int_eq(grammar_parse_expr(slice_str(""), NULL, &memory, &e, &err), HDB_ERROR);
}
END_TEST

START_TEST(copies_are_equal_and_independent) {
  static const char *const texts[] = {
      "a + b * f(c, 'x') filter (where d) over (partition by e order by g rows 1 preceding)",
      "case a when 1 then x'00' else -1.5 end", "(a, b) = (1, 2)", "a not like b escape 'c'", "t.a collate nocase"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    arena other = ARENA_INIT;
    expr *e = NULL, *again = NULL;
    ck_assert_int_eq(grammar_parse_expr(slice_str(texts[i]), NULL, &other, &e, &err), HDB_OK);
    expr *copy = ast_copy_expr(&memory, e);
    ck_assert(ast_equal(copy, e));
    arena_clear(&other);
    ck_assert_int_eq(grammar_parse_expr(slice_str(texts[i]), NULL, &memory, &again, &err), HDB_OK);
    ck_assert(ast_equal(copy, again));
    again->text = "other";
    if (again->op == EX_FUNCTION) ck_assert(!ast_equal(copy, again));
  }
}
END_TEST

START_TEST(completeness_follows_sqlite) {
  static const char *const texts[] = {"", ";", "select 1", "select 1;", "select 1; -- c", "select 1; /* c", "select ';",
                                      "create trigger a begin select 1;", "create trigger a begin select 1; end;",
                                      "create temp trigger a begin select 1; end", "explain create trigger x; y; end;",
                                      "/* a */ ;", "select [;", "select \"a;\";", "create table trigger(a);", "end;",
                                      "create temporary trigger a; end ;", "create trigger a; end x;"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
    ck_assert_msg(grammar_complete(texts[i]) == (sqlite3_complete(texts[i]) != 0), "%s", texts[i]);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("grammar_parse");
  TCase *tests = tcase_create("all");
  tcase_add_checked_fixture(tests, setup, teardown);
  tcase_set_timeout(tests, 30);
  tcase_add_test(tests, literals_are_what_sqlite_makes_of_them);
  tcase_add_test(tests, precedence_is_sqlites);
  tcase_add_test(tests, result_names_are_the_source_text);
  tcase_add_test(tests, schema_texts_end_where_sqlite_ends_them);
  tcase_add_test(tests, columns_know_their_types_and_constraints);
  tcase_add_test(tests, parameters_are_numbered_like_sqlites);
  tcase_add_test(tests, errors_have_sqlites_words_and_places);
  tcase_add_test(tests, deep_input_is_refused_not_recursed);
  tcase_add_test(tests, our_words_are_keywords_only_in_their_places);
  tcase_add_test(tests, names_that_sqlite_allows_are_allowed);
  tcase_add_test(tests, only_the_first_statement_is_taken);
  tcase_add_test(tests, copies_are_equal_and_independent);
  tcase_add_test(tests, completeness_follows_sqlite);
  suite_add_tcase(suite, tests);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_NORMAL);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
