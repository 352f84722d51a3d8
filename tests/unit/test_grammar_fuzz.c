/* Soups of tokens, mutated statements and raw bytes: the parser answers each with a tree or an error, and where stock
 * SQLite's parser speaks of syntax, ours says the same. A seed and a count may be given: test_grammar_fuzz SEED COUNT. */
#include <check.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include "grammar/ast.h"

static uint64_t state = 88172645463325252ull;
static int rounds = 20000;

static unsigned below(unsigned n) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return (unsigned)(state >> 33) % n;
}

static const char *const words[] = {
    "select", "from", "where", "a", "b", "t", "1", "'s'", "\"q\"", "x'00'", "(", ")", ",", ";", "*", "+", "-", "||",
    "=", "<", "->", "->>", "and", "or", "not", "null", "is", "in", "between", "like", "escape", "case", "when", "then",
    "else", "end", "create", "table", "index", "view", "trigger", "unique", "primary", "key", "on", "conflict", "do",
    "nothing", "update", "set", "insert", "into", "values", "default", "delete", "returning", "with", "recursive", "as",
    "union", "all", "except", "order", "by", "limit", "offset", "group", "having", "join", "left", "natural", "using",
    "cross", "over", "window", "partition", "filter", "rows", "range", "unbounded", "preceding", "following", "current",
    "row", "exclude", "begin", "commit", "rollback", "savepoint", "release", "to", "pragma", "attach", "detach",
    "vacuum", "analyze", "reindex", "alter", "rename", "add", "column", "drop", "if", "exists", "temp", "check",
    "references", "foreign", "collate", "nocase", "generated", "always", "stored", "without", "rowid", "strict", "cast",
    "?", "?2", ":p", "@v", "$x::y", ".", "distinct", "explain", "query", "plan", "raise", "abort", "ignore", "before",
    "after", "instead", "of", "for", "each", "glob", "match", "indexed", "virtual", "int", "0x1f", "1e5", "/*c*/",
    "--d\n", "isnull", "notnull", "nulls", "first", "last", "materialized", "[z]", "`w`", "<<", ">=", "<>", "~", "%"};
static const char *const ours[] = {"as of timestamp", "versions between", "::int", "use branch", "merge branch", "<->"};

static const char *const seeds[] = {
    "select a, b + 1 as c from t left join u using (x) where a in (1,2) group by 1 having count(*) > 2 order by 1 limit 3",
    "with recursive c(n) as (select 1 union all select n + 1 from c where n < 5) select sum(n) over w from c window w as "
    "(partition by n order by n rows between 1 preceding and current row exclude ties)",
    "insert into t(a, b) values (1, 'x'), (2, ?) on conflict (a) where b > 1 do update set b = excluded.b returning *",
    "create table t(a integer primary key, b text not null default 'x' check (b <> ''), foreign key (b) references u(c) "
    "on delete cascade deferrable initially deferred) strict",
    "create trigger r after update of a, b on t for each row when new.a > 1 begin update t set a = 1; delete from u; end",
    "update t set (a, b) = (select 1, 2), c = 3 from u where t.a = u.a", "alter table t add column d int default -5",
    "select cast(a as int), case a when 1 then 2 else 3 end, x'ab', 0x1f, a -> 'b' ->> 'c' from (select 1 as a)"};

static int soup(char *out, bool with_ours) {
  int n = 0, count = 1 + (int)below(25);
  for (int i = 0; i < count && n < 900; i++) {
    const char *w = with_ours && below(12) == 0 ? ours[below(sizeof ours / sizeof ours[0])]
                                                : words[below(sizeof words / sizeof words[0])];
    n += sprintf(out + n, "%s%s", w, below(8) ? " " : "");
  }
  return n;
}

static int mutated(char *out) {
  int n = sprintf(out, "%s", seeds[below(sizeof seeds / sizeof seeds[0])]);
  for (int k = 1 + (int)below(4); k > 0 && n > 2; k--) {
    int at = (int)below((unsigned)n);
    switch (below(4)) {
    case 0: memmove(out + at, out + at + 1, (size_t)(n - at)), n--; break;
    case 1: out[at] = (char)(1 + below(255)); break;
    case 2: n = at; break;
    default: {
      const char *w = words[below(sizeof words / sizeof words[0])];
      int m = (int)strlen(w);
      memmove(out + at + m, out + at, (size_t)(n - at)), memcpy(out + at, w, (size_t)m), n += m;
    }
    }
  }
  out[n] = 0;
  return n;
}

static bool about_syntax(const char *message) {
  return strstr(message, "syntax error") || strstr(message, "incomplete input") || strstr(message, "unrecognized token");
}

static void compare(sqlite3 *db, const char *sql, int n, bool strict) {
  arena memory = ARENA_INIT;
  error err = ERROR_INIT;
  statement *s = NULL;
  size_t tail = 0;
  char *exact = malloc((size_t)n + 1); /* no byte to spare: a read beyond the end shows */
  memcpy(exact, sql, (size_t)n);
  status rc = grammar_parse(slice_of(exact, (size_t)n), NULL, &memory, &s, &tail, &err);
  ck_assert_uint_le(tail, (size_t)n);
  ck_assert((rc == HDB_OK) == (err.code == HDB_OK));
  if (s && s->kind == ST_SELECT) ck_assert(ast_copy_select(&memory, s->select) != NULL);
  if (strict) {
    sqlite3_stmt *theirs = NULL;
    const char *rest = NULL;
    int code = sqlite3_prepare_v2(db, sql, n + 1, &theirs, &rest);
    const char *said = sqlite3_errmsg(db);
    if (code == SQLITE_OK) {
      ck_assert_msg(rc == HDB_OK, "we refuse: %s\n%s", sql, err.message);
      ck_assert_msg(tail == (size_t)(rest - sql), "another end: %s", sql);
    } else if (about_syntax(said)) {
      ck_assert_msg(rc != HDB_OK, "we accept: %s\nSQLite says %s", sql, said);
      ck_assert_msg(strcmp(err.message, said) == 0, "%s\nSQLite: %s\nours:   %s", sql, said, err.message);
      ck_assert_msg(err.offset == sqlite3_error_offset(db), "another place: %s", sql);
    }
    sqlite3_finalize(theirs);
  }
  free(exact);
  error_clear(&err);
  arena_clear(&memory);
}

/* Not what the library at hand may not know yet (3.44: ORDER BY in an aggregate's arguments, join words as function
 * names), and not our own x::y and <->. */
static bool comparable(const char *sql) {
  static const char *const joins[] = {"natural", "left", "cross", "indexed"};
  if (strstr(sql, "order") || strstr(sql, "::") || strstr(sql, "<->")) return false;
  for (size_t i = 0; i < sizeof joins / sizeof joins[0]; i++)
    for (const char *at = sql; (at = strstr(at, joins[i])) != NULL;) {
      at += strlen(joins[i]);
      const char *next = at + strspn(at, " ");
      if (*next == '(' || *next == '/' || *next == '-') return false;
    }
  return true;
}

START_TEST(soup_is_answered_as_sqlite_answers) {
  sqlite3 *db;
  ck_assert_int_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
  sqlite3_exec(db, "create table t(a,b); create table u(x, c unique)", 0, 0, 0);
  char sql[4096];
  for (int i = 0; i < rounds; i++) {
    bool with_ours = below(4) == 0;
    int n = soup(sql, with_ours);
    compare(db, sql, n, !with_ours && comparable(sql));
    n = mutated(sql);
    compare(db, sql, n, comparable(sql));
  }
  sqlite3_close(db);
}
END_TEST

START_TEST(bytes_are_survived) {
  char sql[300];
  for (int i = 0; i < rounds; i++) {
    int n = (int)below(200);
    for (int k = 0; k < n; k++) sql[k] = (char)below(256);
    sql[n] = 0;
    compare(NULL, sql, n, false);
    for (size_t at = 0; at < (size_t)n;) {
      enum token_kind kind;
      size_t length = grammar_token(slice_of(sql, (size_t)n), at, DIALECT_SQLITE, &kind);
      if (kind == TOK_END) break;
      ck_assert(length > 0 && at + length <= (size_t)n);
      at += length;
    }
  }
}
END_TEST

int main(int argc, char **argv) {
  if (argc > 1) state ^= strtoull(argv[1], NULL, 10) * 0x9e3779b97f4a7c15ull;
  if (argc > 2) rounds = atoi(argv[2]);
  Suite *suite = suite_create("grammar_fuzz");
  TCase *tests = tcase_create("all");
  tcase_set_timeout(tests, argc > 2 ? 0 : 60);
  tcase_add_test(tests, soup_is_answered_as_sqlite_answers);
  tcase_add_test(tests, bytes_are_survived);
  suite_add_tcase(suite, tests);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_NORMAL);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
