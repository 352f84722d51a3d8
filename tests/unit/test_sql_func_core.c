/* Core, math and aggregate functions: thousands of random calls each, compared with libsqlite3. */
#include "sql_func_calls.h"

/* t any text, a ASCII text, b blob, i small integer, I any integer, n number or number-like text, v anything,
 * F format, L pattern of LIKE, G pattern of GLOB, e escape character */
static value random_argument(char kind, char *space) {
  static const char *const words[] = {"a", "B", "abc", " ", "x\xc3\xa9y", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "'", "\"", "\xff",
                                      "\xc3", "\x80", "12", "-3.5", "0x1F", "%", "_", "*", "?", "[a-c]", "[^x]", "[]a]", "\\", "aaa",
                                      "ABC", "e5", ".", "Z", "\xed\xa0\x80", "\xef\xbf\xbe"};
  size_t n = 0;
  if (below(12) == 0) return value_null();
  switch (kind) {
  case 'i': return value_int((int64_t)below(12) - 4);
  case 'I': return value_int((int64_t)(rnd() >> below(64)) * (below(2) ? 1 : -1));
  case 'n': {
    static const char *const texts[] = {"1.5", "-2", " 7 ", "1e3", "x", "", "12abc", "0.0", "-0.5"};
    if (below(3) == 0) return text_value(texts[below(9)]);
    if (below(3) == 0) return value_int((int64_t)below(2000) - 1000);
    return value_real((double)((int64_t)below(2000000) - 1000000) / (double)(1 + below(5000)));
  }
  case 'b':
    for (n = below(12); n > 0; n--) space[n] = (char)rnd();
    return value_blob(space, below(12));
  case 'e': return text_value((const char *[]){"\\", "%", "_", "a", "\xc3\xa9"}[below(5)]);
  case 'L':
    for (size_t k = below(7); k > 0; k--) {
      const char *w = (const char *[]){"%", "_", "a", "b", "A", "\\", "\xc3\xa9", "%%", "ab", "\xc3\x89"}[below(10)];
      memcpy(space + n, w, strlen(w));
      n += strlen(w);
    }
    return value_text(space, n);
  case 'M':
    for (size_t k = below(9); k > 0; k--) {
      const char *w = (const char *[]){"a", "b", "A", "B", "\xc3\xa9", "%", "_", "\\", "c", "-"}[below(10)];
      memcpy(space + n, w, strlen(w));
      n += strlen(w);
    }
    return value_text(space, n);
  case 'G':
    for (size_t k = below(7); k > 0; k--) {
      const char *w = (const char *[]){"*", "?", "a", "b", "[a-b]", "[^a]", "[]-]", "[a", "\xc3\xa9", "[a-]"}[below(10)];
      memcpy(space + n, w, strlen(w));
      n += strlen(w);
    }
    return value_text(space, n);
  case 'H':
    for (size_t k = below(9); k > 0; k--) space[n++] = "0123abCDEF -xg"[below(14)];
    return value_text(space, n);
  case 'v':
    switch (below(5)) {
    case 0: return random_argument('I', space);
    case 1: return random_argument('n', space);
    case 2: return random_argument('b', space);
    default: break;
    }
    /* fall through */
  default:
    for (size_t k = below(6); k > 0; k--) {
      const char *w = words[below(kind == 'a' ? 4 : sizeof words / sizeof *words)];
      memcpy(space + n, w, strlen(w));
      n += strlen(w);
    }
    if (kind == 't' && below(20) == 0) space[n++] = 0, space[n++] = 'q';
    return value_text(space, n);
  }
}

static void compare_scalar(sqlite3_stmt *s, const char *name, int n, const value *a) {
  value r, expected;
  for (int i = 0; i < n; i++) bind(s, i + 1, &a[i]);
  int theirs_rc = sqlite3_step(s);
  status rc = call_scalar(name, n, a, &r);
  char arguments[1200] = "";
  for (int i = 0; i < n; i++) snprintf(arguments + strlen(arguments), 300, "%s%s", i ? ", " : "", show(&a[i]));
  if (theirs_rc == SQLITE_ROW) {
    expected = answer(s, 0);
    ck_assert_msg(rc == HDB_OK, "%s(%s): %s", name, arguments, failure.message);
    ck_assert_msg(identical(&r, &expected), "%s(%s): %s, not %s", name, arguments, show(&r), show(&expected));
  } else {
    ck_assert_msg(rc != HDB_OK && strcmp(failure.message, sqlite3_errmsg(theirs)) == 0, "%s(%s): %s, not %s", name, arguments,
                  rc == HDB_OK ? show(&r) : failure.message, sqlite3_errmsg(theirs));
    ck_assert_int_eq(rc, sqlite3_errcode(theirs));
  }
  sqlite3_reset(s);
}

static void compare_many(const char *name, const char *kinds, int rounds) {
  int n = (int)strlen(kinds);
  char sql[200], space[8][400];
  snprintf(sql, sizeof sql, "SELECT %s(%.*s)", name, n ? n * 2 - 1 : 0, "?,?,?,?,?,?,?,?");
  sqlite3_stmt *s = prepare(sql);
  for (int round = 0; round < rounds; round++) {
    value a[8];
    for (int i = 0; i < n; i++) a[i] = random_argument(kinds[i], space[i]);
    compare_scalar(s, name, n, a);
  }
  sqlite3_finalize(s);
}

START_TEST(core_functions_answer_as_sqlite_does) {
  static const struct { const char *name, *kinds; } calls[] = {
      {"abs", "v"}, {"abs", "I"}, {"char", "iiii"}, {"char", "I"}, {"coalesce", "vvv"}, {"hex", "v"}, {"ifnull", "vv"}, {"iif", "nvv"},
      {"instr", "tt"}, {"instr", "ta"}, {"instr", "vb"}, {"length", "v"}, {"lower", "v"}, {"upper", "v"}, {"ltrim", "t"}, {"ltrim", "tt"},
      {"rtrim", "t"}, {"rtrim", "ta"}, {"trim", "v"}, {"trim", "tt"}, {"max", "vvv"}, {"min", "vvv"}, {"max", "vv"}, {"min", "nn"},
      {"nullif", "vv"}, {"nullif", "ii"}, {"replace", "ttt"}, {"replace", "taa"}, {"round", "n"}, {"round", "ni"}, {"sign", "v"},
      {"soundex", "v"}, {"substr", "tii"}, {"substr", "ti"}, {"substr", "bii"}, {"substr", "vII"}, {"substring", "vii"}, {"typeof", "v"},
      {"unicode", "v"}, {"zeroblob", "i"}, {"quote", "t"}, {"quote", "b"}, {"quote", "I"}, {"likely", "v"},
      {"sqlite_compileoption_get", "i"}, {"sqlite_compileoption_used", "t"}};
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    bool text_from_empty = strcmp(calls[i].name, "replace") == 0;
    if (!text_from_empty) compare_many(calls[i].name, calls[i].kinds, 2000);
    else compare_many(calls[i].name, calls[i].kinds, 4000);
  }
}
END_TEST

START_TEST(like_and_glob_match_what_sqlite_matches) {
  compare_many("like", "LM", 8000);
  compare_many("like", "LMe", 8000);
  compare_many("like", "vv", 5000);
  compare_many("glob", "GM", 8000);
  compare_many("glob", "vv", 5000);
}
END_TEST

START_TEST(math_functions_answer_as_sqlite_does) {
  static const char *const one[] = {"acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "ceiling", "cos", "cosh", "degrees", "exp",
                                    "floor", "ln", "log", "log10", "log2", "radians", "sin", "sinh", "sqrt", "tan", "tanh", "trunc"};
  static const char *const two[] = {"atan2", "log", "mod", "pow", "power"};
  for (size_t i = 0; i < sizeof one / sizeof *one; i++) compare_many(one[i], "n", 1000), compare_many(one[i], "v", 200);
  for (size_t i = 0; i < sizeof two / sizeof *two; i++) compare_many(two[i], "nn", 1000);
  compare_many("pi", "", 1);
}
END_TEST

/* Reals are printed with other digits in 3.45 beyond the 15th: those calls use short numbers. */
START_TEST(printf_prints_what_sqlite_prints) {
  static const char *const flags[] = {"", "-", "+", " ", "#", "!", "0", ",", "-+", "0+", "#0", "!0", "0,"};
  static const char *const widths[] = {"", "1", "5", "12", "*", "20"};
  static const char *const precisions[] = {"", ".0", ".1", ".3", ".*", ".10"};
  static const char *const types[] = {"d", "i", "u", "x", "X", "o", "p", "r", "s", "z", "c", "q", "Q", "w", "%", "n", "f", "e", "E", "g", "G",
                                      "lld", "ld", "y", "T"};
  sqlite3_stmt *s = prepare("SELECT printf(?,?,?,?,?)");
  for (int round = 0; round < 30000; round++) {
    char format[100], space[8][400];
    const char *type = types[below(sizeof types / sizeof *types)], *flag = flags[below(sizeof flags / sizeof *flags)];
    bool real = strchr("feEgG", type[0]) != NULL;
    if (real && strchr(flag, ',')) flag = ""; /* 3.45 groups reals too */
    const char *width = widths[below(6)], *precision = precisions[below(6)];
    snprintf(format, sizeof format, "<%s%%%s%s%s%s>%s", below(2) ? "\xc3\xa9" : "", flag, width, precision, type, below(9) ? "" : "%");
    value a[5];
    a[0] = text_value(format);
    int k = 1;
    if (strchr(width, '*')) a[k++] = value_int((int64_t)below(30) - 10);
    if (strchr(precision, '*')) a[k++] = value_int((int64_t)below(12) - 3);
    for (; k < 5; k++) {
      a[k] = random_argument(real ? 'i' : "tvIn"[below(4)], space[k]);
      if (real && below(3)) a[k] = value_real((double)((int64_t)below(28000) * 7 - 98001) / 7); /* no halves: 3.40 rounds them otherwise */
      if (!real && a[k].type == VAL_REAL && strchr("szcqQw", type[0])) a[k] = value_int(7);
    }
    compare_scalar(s, "printf", 5, a);
  }
  sqlite3_finalize(s);
}
END_TEST

START_TEST(reals_are_printed_as_345_prints_them) {
  static const struct { const char *format; double r; const char *text; } cases[] = {
      {"%f", 0.1, "0.100000"}, {"%.0f", 0.5, "1"}, {"%.0f", 2.5, "3"}, {"%.0f", 0.4, "0"}, {"%.1f", 0.05, "0.1"}, {"%.2f", 1.005, "1.00"},
      {"%!.20g", 0.1, "0.100000000000000005"}, {"%.20g", 0.1, "0.1"}, {"%,.2f", 1234567.5, "1,234,567.50"}, {"%e", 0, "0.000000e+00"},
      {"%g", 1e20, "1e+20"}, {"%!g", 1e20, "1.0e+20"}, {"%#g", 1.5, "1.50000"}, {"%010.2f", -1.5, "-000001.50"}, {"%f", INFINITY, "Inf"},
      {"%+f", INFINITY, "+Inf"}, {"%!0.15g", INFINITY, "9.0e+999"}, {"%f", 1e17, "100000000000000000.000000"}, {"%.15g", 1e15, "1e+15"},
      {"%!.17g", 0.3, "0.29999999999999999"}, {"%G", 1e-10, "1E-10"}, {"%.30f", 1.5, "1.500000000000000000000000000000"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    expect_text("printf", 2, (value[]){text_value(cases[i].format), value_real(cases[i].r)}, cases[i].text);
  expect_text("quote", 1, (value[]){value_real(INFINITY)}, "Inf");
  expect_text("quote", 1, (value[]){value_real(-INFINITY)}, "-Inf");
  expect_text("quote", 1, (value[]){value_real(0.5)}, "0.5");
  expect_text("quote", 1, (value[]){value_real(0.1 + 0.2)}, "3.00000000000000044e-01");
}
END_TEST

START_TEST(what_340_does_not_have) {
  value r;
  expect_text("concat", 3, (value[]){text_value("a"), value_null(), value_int(5)}, "a5");
  expect_text("concat_ws", 5, (value[]){text_value("-"), text_value("a"), value_null(), text_value(""), value_int(5)}, "a-5");
  expect_text("concat_ws", 2, (value[]){value_null(), text_value("a")}, NULL);
  expect_text("sqlite_version", 0, NULL, "3.45.0");
  ck_assert_int_eq(call_scalar("octet_length", 1, (value[]){text_value("\xc3\xa9z")}, &r), HDB_OK);
  ck_assert_int_eq(r.i, 3);
  static const struct { const char *hex, *pass, *blob; int n; } cases[] = {
      {"", NULL, "", 0}, {"4142", NULL, "AB", 2}, {"4", NULL, NULL, 0}, {"41 42", NULL, NULL, 0}, {"41 42", " ", "AB", 2},
      {"41-42", " -", "AB", 2}, {"4 1", " ", NULL, 0}, {"aF", NULL, "\xaf", 1}, {" ", " ", "", 0}, {"41\xc3\xa9""42", "\xc3\xa9", "AB", 2}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    value a[2] = {text_value(cases[i].hex), text_value(cases[i].pass ? cases[i].pass : "")};
    ck_assert_int_eq(call_scalar("unhex", cases[i].pass ? 2 : 1, a, &r), HDB_OK);
    ck_assert_msg(cases[i].blob ? r.type == VAL_BLOB && (int)r.n == cases[i].n && memcmp(r.p, cases[i].blob, r.n) == 0 : r.type == VAL_NULL,
                  "unhex %s: %s", cases[i].hex, show(&r));
  }
}
END_TEST

START_TEST(results_keep_to_the_length_limit) {
  value r;
  static const char too_big[] = "string or blob too big";
  ck_assert_int_eq(call_scalar("zeroblob", 1, (value[]){value_int(2000000)}, &r), HDB_TOOBIG);
  ck_assert_str_eq(failure.message, too_big);
  ck_assert_int_eq(call_scalar("randomblob", 1, (value[]){value_int(INT64_MAX)}, &r), HDB_TOOBIG);
  ck_assert_int_eq(call_scalar("printf", 2, (value[]){text_value("%2000000d"), value_int(1)}, &r), HDB_TOOBIG);
  ck_assert_int_eq(call_scalar("printf", 2, (value[]){text_value("%.2000000f"), value_real(1)}, &r), HDB_TOOBIG);
  ck_assert_int_eq(call_scalar("printf", 2, (value[]){text_value("%2147483647.2147483647d"), value_int(1)}, &r), HDB_TOOBIG);
  ck_assert_int_eq(call_scalar("printf", 2, (value[]){text_value("%.2147483647c"), text_value("x")}, &r), HDB_TOOBIG);
  ck_assert_int_eq(call_scalar("printf", 2, (value[]){text_value("%,.900000d"), value_int(1)}, &r), HDB_TOOBIG);
  char *big = calloc(1, 900000);
  memset(big, 'a', 900000);
  value a[3] = {value_text(big, 900000), text_value("a"), text_value("bb")};
  ck_assert_int_eq(call_scalar("replace", 3, a, &r), HDB_TOOBIG);
  ck_assert_int_eq(call_scalar("hex", 1, a, &r), HDB_TOOBIG);
  ck_assert_int_eq(call_scalar("concat", 2, (value[]){a[0], a[0]}, &r), HDB_TOOBIG);
  ck_assert_int_eq(call_scalar("like", 2, (value[]){a[0], a[1]}, &r), HDB_ERROR);
  ck_assert_str_eq(failure.message, "LIKE or GLOB pattern too complex");
  ck_assert_int_eq(call_aggregate("group_concat", 1, 2, (value[]){a[0], a[0]}, &r), HDB_TOOBIG);
  free(big);
}
END_TEST

START_TEST(aggregates_sum_up_as_sqlite_does) {
  static const char *const names[] = {"sum", "total", "avg", "count", "min", "max", "group_concat"};
  sqlite3_exec(theirs, "CREATE TABLE t(v)", NULL, NULL, NULL);
  sqlite3_stmt *put = prepare("INSERT INTO t VALUES(?)");
  for (int round = 0; round < 600; round++) {
    value rows[40];
    char space[40][400];
    int n = (int)below(40);
    char kind = "Invti"[below(5)];
    sqlite3_exec(theirs, "DELETE FROM t", NULL, NULL, NULL);
    for (int i = 0; i < n; i++) {
      rows[i] = random_argument(kind, space[i]);
      bind(put, 1, &rows[i]);
      sqlite3_step(put);
      sqlite3_reset(put);
    }
    for (int k = 0; k < 7; k++) {
      char sql[80];
      snprintf(sql, sizeof sql, "SELECT %s(v) FROM t", names[k]);
      sqlite3_stmt *s = prepare(sql);
      int theirs_rc = sqlite3_step(s);
      value r, expected = theirs_rc == SQLITE_ROW ? answer(s, 0) : value_null();
      status rc = call_aggregate(names[k], 1, n, rows, &r);
      if (theirs_rc != SQLITE_ROW) {
        ck_assert_msg(rc != HDB_OK && strcmp(failure.message, sqlite3_errmsg(theirs)) == 0, "%s", sqlite3_errmsg(theirs));
      } else {
        ck_assert_msg(rc == HDB_OK, "%s: %s", names[k], failure.message);
        bool real = r.type == VAL_REAL && expected.type == VAL_REAL; /* 3.40 sums less exactly */
        bool empty = k == 6 && expected.type == VAL_NULL && r.type == VAL_TEXT && r.n == 0;
        ck_assert_msg(empty || identical(&r, &expected) || (real && fabs(r.r - expected.r) <= 1e-9 * (1 + fabs(r.r))), "%s: %s, not %s", names[k],
                      show(&r), show(&expected));
      }
      sqlite3_finalize(s);
    }
  }
  sqlite3_finalize(put);
  value r;
  value exact[] = {value_real(1e100), value_real(1.0), value_real(-1e100)};
  ck_assert_int_eq(call_aggregate("sum", 1, 3, exact, &r), HDB_OK);
  ck_assert(r.r == 1.0);
  value over[] = {value_int(INT64_MAX), value_int(1), value_real(0.5)};
  ck_assert_int_eq(call_aggregate("sum", 1, 2, over, &r), HDB_ERROR);
  ck_assert_str_eq(failure.message, "integer overflow");
  ck_assert_int_eq(call_aggregate("sum", 1, 3, over, &r), HDB_OK);
  ck_assert_int_eq(call_aggregate("total", 1, 2, over, &r), HDB_OK);
  ck_assert(r.r == 9223372036854775808.0);
  value terms[] = {text_value("a"), text_value("-"), text_value("b"), text_value("+"), text_value("c"), text_value("++")};
  ck_assert_int_eq(call_aggregate("string_agg", 2, 3, terms, &r), HDB_OK);
  ck_assert_msg(r.n == 6 && memcmp(r.p, "a+b++c", 6) == 0, "%s", show(&r));
}
END_TEST

START_TEST(an_inverse_step_undoes_the_oldest_row) {
  static const char *const names[] = {"sum", "total", "avg", "count", "group_concat"};
  for (int round = 0; round < 1000; round++) {
    value rows[60], separators[60], r, again;
    char space[60][400];
    const char *name = names[below(5)];
    bool concat = name[0] == 'g';
    int n = 1 + (int)below(59), from = 0, arguments = concat && below(2) ? 2 : 1;
    const function *f = function_find(ours, name, arguments, NULL);
    void *state = calloc(1, f->state_size);
    arena_clear(&memory);
    function_call call = {.db = ours, .f = f, .memory = &memory, .err = &failure, .state = state};
    for (int i = 0; i < n; i++) {
      rows[i] = random_argument(concat ? 't' : 'i', space[i]);
      if (concat && rows[i].type == VAL_TEXT && rows[i].n == 0) rows[i] = text_value("e"); /* empty ones: SQLite's own way */
      separators[i] = text_value((const char *[]){",", "", "--"}[below(round % 2 ? 1 : 3)]);
      value a[2] = {rows[i], separators[i]};
      ck_assert_int_eq(f->step(&call, arguments, a), HDB_OK);
      while (from <= i && below(3) == 0) {
        value old[2] = {rows[from], separators[from]};
        ck_assert_int_eq(f->inverse(&call, arguments, old), HDB_OK);
        from++;
      }
      ck_assert_int_eq(f->value(&call, &r), HDB_OK);
      void *fresh = calloc(1, f->state_size);
      function_call second = {.db = ours, .f = f, .memory = &memory, .err = &failure, .state = fresh};
      for (int k = from; k <= i; k++) {
        value b[2] = {rows[k], separators[k]};
        ck_assert_int_eq(f->step(&second, arguments, b), HDB_OK);
      }
      ck_assert_int_eq(f->final(&second, &again), HDB_OK);
      free(fresh);
      if (concat && again.type == VAL_TEXT && again.n == 0) again = value_null();
      ck_assert_msg(identical(&r, &again), "%s: %s, not %s", name, show(&r), show(&again));
    }
    if (f->release) f->release(&call);
    free(state);
  }
}
END_TEST

RUN("sql_func_core", core_functions_answer_as_sqlite_does, like_and_glob_match_what_sqlite_matches,
    math_functions_answer_as_sqlite_does, printf_prints_what_sqlite_prints, reals_are_printed_as_345_prints_them,
    what_340_does_not_have, results_keep_to_the_length_limit, aggregates_sum_up_as_sqlite_does,
    an_inverse_step_undoes_the_oldest_row)
