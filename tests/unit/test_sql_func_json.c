/* JSON: plain documents against libsqlite3 3.40, fixed answers of 3.45 for JSON5 and JSONB, hostile documents. */
#include "sql_func_calls.h"

#include "sql/json.h"

static value T(const char *text) { return text_value(text); }
static value document(const char *text) {
  value v = text_value(text);
  v.subtype = SUBTYPE_JSON;
  return v;
}

static size_t put(char *out, const char *text) {
  memcpy(out, text, strlen(text) + 1);
  return strlen(text);
}

/* RFC 8259 only, without lone surrogates. */
static size_t random_document(char *out, int depth) {
  static const char *const atoms[] = {"0", "1", "-12", "1.5", "1e5", "-2.50E-3", "123456789012345678901", "null", "true", "false", "\"\"",
                                      "\"a\"", "\"x y\"", "\"\\u00e9\\n\"", "\"\\ud83d\\ude00\"", "\"\xc3\xa9\"", "\"\\\"\\\\\"", "9223372036854775807"};
  static const char *const labels[] = {"\"a\"", "\"b\"", "\"c\"", "\"x y\"", "\"\""};
  static const char *const blanks[] = {"", "", "", " ", "\n\t"};
  size_t n = 0, children = below(4);
  bool object = below(2);
  if (depth > 3 || below(3) == 0) return put(out, atoms[below(sizeof atoms / sizeof *atoms)]);
  n += put(out, object ? "{" : "[");
  for (size_t i = 0; i < children; i++) {
    n += put(out + n, i ? "," : "");
    n += put(out + n, blanks[below(5)]);
    if (object) n += put(out + n, labels[below(5)]);
    if (object) n += put(out + n, ":");
    n += random_document(out + n, depth + 1);
    n += put(out + n, blanks[below(5)]);
  }
  return n + put(out + n, object ? "}" : "]");
}
static size_t random_path(char *out) {
  static const char *const steps[] = {".a", ".b", ".c", ".\"x y\"", "[0]", "[1]", "[2]", "[#-1]", ".\"a\"", ".a"};
  size_t n = put(out, "$");
  for (size_t k = below(4); k > 0; k--) n += put(out + n, steps[below(10)]);
  return n;
}

static void compare(const char *sql, const char *name, int n, const value *a) {
  sqlite3_stmt *s = prepare(sql);
  for (int i = 0; i < n; i++) bind(s, i + 1, &a[i]);
  int rc_theirs = sqlite3_step(s);
  value r, expected = rc_theirs == SQLITE_ROW ? answer(s, 0) : value_null();
  status rc = call_scalar(name, n, a, &r);
  if (rc_theirs != SQLITE_ROW) ck_assert_msg(rc != HDB_OK, "%s(%s, %s): %s, not %s", name, show(&a[0]), show(&a[1]), show(&r), sqlite3_errmsg(theirs));
  else ck_assert_msg(rc == HDB_OK && identical(&r, &expected), "%s(%s, %s): %s, not %s", name, show(&a[0]), n > 1 ? show(&a[1]) : "",
                     rc ? failure.message : show(&r), show(&expected));
  sqlite3_finalize(s);
}

START_TEST(plain_documents_are_handled_as_by_340) {
  static const struct { const char *name, *sql; int n; } calls[] = {
      {"json", "SELECT json(?)", 1}, {"json_extract", "SELECT json_extract(?,?)", 2}, {"json_extract", "SELECT json_extract(?,?,?)", 3},
      {"json_type", "SELECT json_type(?,?)", 2}, {"json_array_length", "SELECT json_array_length(?,?)", 2},
      {"json_valid", "SELECT json_valid(?)", 1}, {"->", "SELECT ?->?", 2}, {"->>", "SELECT ?->>?", 2}};
  char *text = malloc(1 << 20), path[2][100];
  for (int round = 0; round < 10000; round++) {
    size_t k = below(sizeof calls / sizeof *calls);
    value a[3] = {value_text(text, random_document(text, 0)), value_text(path[0], random_path(path[0])), value_text(path[1], random_path(path[1]))};
    compare(calls[k].sql, calls[k].name, calls[k].n, a);
  }
  free(text);
}
END_TEST

START_TEST(changes_are_those_of_340) {
  static const struct { const char *name, *sql; int n; } calls[] = {
      {"json_set", "SELECT json_set(?,?,?)", 3}, {"json_insert", "SELECT json_insert(?,?,?)", 3}, {"json_replace", "SELECT json_replace(?,?,?)", 3},
      {"json_remove", "SELECT json_remove(?,?)", 2}, {"json_array", "SELECT json_array(?,?,?)", 3}, {"json_quote", "SELECT json_quote(?)", 1}};
  char *text = malloc(1 << 20), path[100];
  for (int round = 0; round < 10000; round++) {
    size_t k = below(sizeof calls / sizeof *calls);
    value v = (value[]){value_int(5), T("x\"y\n"), value_real(1.5), value_null(), T("[1]")}[below(5)];
    value a[3] = {value_text(text, random_document(text, 0)), value_text(path, random_path(path)), v};
    if (a[1].n == 1 && calls[k].n > 1 && strcmp(calls[k].name, "json_array") != 0) continue; /* "$": 3.45 answers with text */
    compare(calls[k].sql, calls[k].name, calls[k].n, a);
  }
  free(text);
}
END_TEST

START_TEST(json5_is_read_and_json_is_written) {
  static const struct { const char *in, *out; } cases[] = {
      {"{a:1,\"b\":+5,c:.5,d:5.,e:0x1F,f:Infinity,g:-inf,h:NaN,}", "{\"a\":1,\"b\":5,\"c\":0.5,\"d\":5.0,\"e\":31,\"f\":9e999,\"g\":-9e999,\"h\":null}"},
      {" [ 1 , 2 ] // x", "[1,2]"}, {"[1,/*c*/2]", "[1,2]"}, {"\xef\xbb\xbf[1]", "[1]"}, {"\"\\x41\"", "\"\\u0041\""},
      {"'it\\'s \"x\"'", "\"it's \\\"x\\\"\""}, {"-0x10", "-16"}, {"0xFFFFFFFFFFFFFFFFF", "9.0e999"}, {"\"a\\\nb\"", "\"ab\""},
      {"{$x:1,_y:2,\xc3\xa9:3}", "{\"$x\":1,\"_y\":2,\"\xc3\xa9\":3}"}, {"[1,]", "[1]"}, {"1.50", "1.50"}, {"\"\\u00e9\"", "\"\\u00e9\""}};
  static const char *const errors[] = {"", " ", "[1", "{\"a\":1", "{1:2}", "[,1]", "[1,,2]", "01", "-", "1e", "\"a", "\"a\\q\"", "\"\t\"", "tru", "[1 2]",
                                       "{\"a\" 1}", "{\"a\":1 \"b\"}", "[1]]", "/* x", "nul", "+", ".", "{:1}", "\"\\u12g4\""};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) expect_text("json", 1, (value[]){T(cases[i].in)}, cases[i].out);
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
    value r;
    ck_assert_msg(call_scalar("json", 1, (value[]){T(errors[i])}, &r) == HDB_ERROR, "%s", errors[i]);
    ck_assert_str_eq(failure.message, "malformed JSON");
    ck_assert_int_eq(call_scalar("json_valid", 2, (value[]){T(errors[i]), value_int(2)}, &r), HDB_OK);
    ck_assert_int_eq(r.i, 0);
  }
}
END_TEST

START_TEST(errors_have_a_position) {
  static const struct { const char *in; int at; } cases[] = {
      {"[1,2,x]", 6}, {"{\"a\":tru}", 6}, {"[1 2]", 4}, {"{\"a\" 1}", 6}, {"[1,,2]", 4}, {"{,}", 2}, {"{\"a\":1 \"b\"}", 8}, {"[-]", 2},
      {"[1e]", 3}, {"\"abc", 5}, {"[00]", 3}, {"/* x", 1}, {"[1]", 0}, {"\"\xc3\xa9\\q\"", 4}, {"[1,2", 5}, {"", 1}, {"{\"a\":1}}", 1}, {"{a:x}", 4}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    value r;
    ck_assert_int_eq(call_scalar("json_error_position", 1, (value[]){T(cases[i].in)}, &r), HDB_OK);
    ck_assert_msg(r.i == cases[i].at, "%s: %lld not %d", cases[i].in, (long long)r.i, cases[i].at);
  }
}
END_TEST

static void expect_hex(const char *name, int n, const value *a, const char *hex) {
  value r;
  char out[200] = "";
  status rc = call_scalar(name, n, a, &r);
  ck_assert_msg(rc == HDB_OK && r.type == VAL_BLOB, "%s: %s", name, rc ? failure.message : "no blob");
  for (uint32_t i = 0; i < r.n && i < 90; i++) snprintf(out + i * 2, 3, "%02X", (uint8_t)r.p[i]);
  ck_assert_msg(strcmp(out, hex) == 0, "%s(%s): %s not %s", name, show(&a[0]), out, hex);
}

START_TEST(jsonb_has_sqlites_bytes) {
  static const struct { const char *in, *hex; } cases[] = {
      {"[1,2,\"abc\"]", "8B1331133237616263"}, {"\"a\\\"b\"", "48615C2262"}, {"1.5e3", "55312E356533"}, {"[null,true,false]", "3B000102"}, {"'a'", "1761"},
      {"\"a\\x41\"", "59615C783431"}, {"0x1F", "4430783146"}, {".5", "262E35"}, {"{}", "0C"}, {"\"aaaaaaaaaaaaaaa\"", "C70F616161616161616161616161616161"},
      {"{a:1,\"b\\u0041\":2,c\\u0041:3}", "CC181761133178625C7530303431133278635C75303034311333"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) expect_hex("jsonb", 1, (value[]){T(cases[i].in)}, cases[i].hex);
  expect_hex("jsonb_extract", 2, (value[]){T("[1,[2]]"), T("$[1]")}, "2B1332");
  expect_hex("jsonb_extract", 3, (value[]){T("[1,[2]]"), T("$[0]"), T("$[1]")}, "5B13312B1332");
  expect_hex("jsonb_set", 3, (value[]){T("{}"), T("$.a"), value_int(1)}, "4C1A611331");
  expect_hex("jsonb_set", 5, (value[]){T("{\"a\":1}"), T("$.a"), value_real(1.5), T("$.b"), T("x\"y")}, "CC0C176135312E351A623A782279");
  expect_hex("jsonb_remove", 2, (value[]){T("[1,2]"), T("$[0]")}, "2B1332");
  expect_hex("jsonb_patch", 2, (value[]){T("{\"a\":1}"), T("{\"a\":2,\"b\\n\":3}")}, "AC1761133238625C6E1333");
  expect_hex("jsonb_array", 3, (value[]){value_int(1), T("x"), value_real(2.5)}, "8B1331177835322E35");
  expect_text("json", 1, (value[]){value_blob("\xac\x17\x61\x13\x32\x38\x62\x5c\x6e\x13\x33", 11)}, "{\"a\":2,\"b\\n\":3}");
}
END_TEST

START_TEST(functions_answer_as_345_does) {
  expect_text("json_set", 3, (value[]){T("{\"a\":1}"), T("$.b.c[0].d"), value_int(2)}, "{\"a\":1,\"b\":{\"c\":[{\"d\":2}]}}");
  expect_text("json_set", 5, (value[]){T("[1]"), T("$[#]"), value_int(5), T("$[9]"), value_int(7)}, "[1,5]");
  expect_text("json_set", 3, (value[]){T("{\"a\":1}"), T("$.a"), value_real(INFINITY)}, "{\"a\":9e999}");
  expect_text("json_set", 3, (value[]){T("{\"a\":1}"), T("$.a"), document("{\"x\":[1,2]}")}, "{\"a\":{\"x\":[1,2]}}");
  expect_text("json_array", 4, (value[]){document("[1]"), T("[1]"), value_real(1e20), value_null()}, "[[1],\"[1]\",1.0e+20,null]");
  expect_text("json_object", 2, (value[]){T("a\"b"), value_int(1)}, "{\"a\\\"b\":1}");
  expect_text("json_patch", 2, (value[]){T("{\"a\":1,\"b\":{\"c\":2}}"), T("{\"a\":null,\"b\":{\"c\":null,\"d\":3},\"e\":{\"f\":null}}")},
              "{\"b\":{\"d\":3},\"e\":{}}");
  expect_text("json_patch", 2, (value[]){T("{\"a\":1,\"a\":2}"), T("{\"a\":5}")}, "{\"a\":5,\"a\":2}");
  expect_text("->", 2, (value[]){T("[7,8]"), T("1")}, "8");
  expect_text("->>", 2, (value[]){T("{\"a.b\":\"x\"}"), T("a.b")}, "x");
  expect_text("->", 2, (value[]){T("[1,2,3]"), value_int(-1)}, NULL);
  static const struct { const char *name; int n; const char *a, *b, *error; } errors[] = {
      {"json_extract", 2, "{\"a\":1}", "a", "bad JSON path: 'a'"}, {"json_extract", 2, "{\"a\":1}", "$.", "bad JSON path: '$.'"},
      {"json_object", 1, "a", "", "json_object() requires an even number of arguments"},
      {"json_insert", 2, "{}", "$.a", "json_insert() needs an odd number of arguments"}, {"json_patch", 2, "{}", "x", "malformed JSON"}};
  value r;
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
    ck_assert_int_eq(call_scalar(errors[i].name, errors[i].n, (value[]){T(errors[i].a), T(errors[i].b)}, &r), HDB_ERROR);
    ck_assert_str_eq(failure.message, errors[i].error);
  }
  ck_assert_int_eq(call_scalar("json_array", 1, (value[]){value_blob("\xff", 1)}, &r), HDB_ERROR);
  ck_assert_str_eq(failure.message, "JSON cannot hold BLOB values");
  ck_assert_int_eq(call_scalar("json_valid", 2, (value[]){T("1"), value_int(0)}, &r), HDB_ERROR);
  ck_assert_str_eq(failure.message, "FLAGS parameter to json_valid() must be between 1 and 15");
  ck_assert_int_eq(call_scalar("json_extract", 2, (value[]){T("[[1]]"), T("$[0]")}, &r), HDB_OK);
  ck_assert_int_eq(r.subtype, SUBTYPE_JSON);
  ck_assert_int_eq(call_scalar("->>", 2, (value[]){T("[[1]]"), value_int(0)}, &r), HDB_OK);
  ck_assert_int_eq(r.subtype, 0);
  value rows[] = {T("a"), value_int(1), T("b"), T("x")};
  ck_assert_int_eq(call_aggregate("json_group_object", 2, 2, rows, &r), HDB_OK);
  ck_assert_msg(r.n == 15 && memcmp(r.p, "{\"a\":1,\"b\":\"x\"}", 15) == 0, "%s", show(&r));
  ck_assert_int_eq(call_aggregate("json_group_array", 1, 0, rows, &r), HDB_OK);
  ck_assert_msg(r.n == 2 && memcmp(r.p, "[]", 2) == 0, "%s", show(&r));
}
END_TEST

START_TEST(a_walk_visits_every_element) {
  static const char expected[] = "|object|$|$;x|object|$.x|$;a|integer|$.x.a|$.x;b|array|$.x.b|$.x;0|integer|$.x.b[0]|$.x.b;"
                                 "1|object|$.x.b[1]|$.x.b;c|integer|$.x.b[1].c|$.x.b[1];y z|null|$.\"y z\"|$;";
  function_call call = {.db = ours, .memory = &memory, .err = &failure};
  value json = T("{\"x\":{\"a\":1,\"b\":[1,{\"c\":2}]},\"y z\":null}");
  json_walk *w;
  buf out = BUF_INIT;
  ck_assert_int_eq(json_walk_open(&call, &json, NULL, true, &w), HDB_OK);
  while (json_walk_next(w) == HDB_ROW) {
    static const enum json_column shown[] = {JSON_KEY, JSON_TYPE, JSON_FULLKEY, JSON_PATH};
    for (int i = 0; i < 4; i++) {
      value v;
      slice s;
      ck_assert_int_eq(json_walk_column(&call, w, shown[i], &v), HDB_OK);
      ck_assert_int_eq(value_to_text(&v, &memory, &s), HDB_OK);
      buf_append(&out, s.p, s.n);
      buf_byte(&out, i < 3 ? '|' : ';');
    }
  }
  ck_assert_str_eq(buf_cstr(&out), expected);
  json_walk_close(w);
  buf_clear(&out);
  value path = T("$.x.b");
  ck_assert_int_eq(json_walk_open(&call, &json, &path, false, &w), HDB_OK);
  int rows = 0;
  while (json_walk_next(w) == HDB_ROW) rows++;
  ck_assert_int_eq(rows, 2);
  json_walk_close(w);
  path = T("$.nothing");
  ck_assert_int_eq(json_walk_open(&call, &json, &path, false, &w), HDB_OK);
  ck_assert_ptr_null(w);
  path = T("x");
  ck_assert_int_eq(json_walk_open(&call, &json, &path, false, &w), HDB_ERROR);
  ck_assert_str_eq(failure.message, "bad JSON path: 'x'");
  buf_free(&out);
}
END_TEST

START_TEST(deep_documents_end_at_a_thousand) {
  for (int depth = 999; depth <= 1001; depth++) {
    char *text = malloc((size_t)depth * 2 + 1);
    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
    value r, v = value_text(text, (size_t)depth * 2);
    ck_assert_int_eq(call_scalar("json", 1, &v, &r), depth <= 1000 ? HDB_OK : HDB_ERROR);
    memset(text, '[', (size_t)depth * 2); /* never closed */
    ck_assert_int_eq(call_scalar("json", 1, &v, &r), HDB_ERROR);
    free(text);
  }
  /* a blob may claim any depth */
  enum { DEPTH = 200000 };
  uint8_t *blob = malloc(DEPTH * 5);
  for (uint32_t i = 0; i < DEPTH; i++) {
    blob[i * 5] = 0xeb;
    put_be32(blob + i * 5 + 1, (DEPTH - i - 1) * 5);
  }
  char *path = malloc(DEPTH * 3 + 2);
  path[0] = '$';
  for (int i = 0; i < DEPTH; i++) memcpy(path + 1 + i * 3, "[0]", 3);
  value r, v[3] = {value_blob(blob, DEPTH * 5), value_text(path, DEPTH * 3 - 2), value_int(1)};
  ck_assert_int_eq(call_scalar("json", 1, v, &r), HDB_ERROR);
  ck_assert_int_eq(call_scalar("json_valid", 2, (value[]){v[0], value_int(8)}, &r), HDB_OK);
  ck_assert_int_eq(r.i, 0);
  ck_assert_int_eq(call_scalar("json_type", 2, v, &r), HDB_OK);
  ck_assert_int_eq(call_scalar("json_set", 3, v, &r), HDB_ERROR);
  ck_assert_int_eq(call_scalar("json_patch", 2, (value[]){v[0], v[0]}, &r), HDB_ERROR);
  ck_assert_int_eq(call_scalar("json_set", 3, (value[]){T("{}"), value_text(path, DEPTH * 3), value_int(1)}, &r), HDB_OK);
  free(blob);
  free(path);
}
END_TEST

START_TEST(damaged_blobs_and_broken_texts_are_only_errors) {
  static const char *const names[] = {"json", "jsonb", "json_error_position", "json_array", "json_quote"};
  static const char *const with_path[] = {"json_extract", "jsonb_extract", "json_type", "json_array_length", "json_remove", "->", "->>", "json_patch"};
  char path[100];
  char *text = malloc(1 << 20);
  for (int round = 0; round < 10000; round++) {
    value r, v = value_text(text, random_document(text, 1));
    if (below(3)) {
      ck_assert_int_eq(call_scalar("jsonb", 1, &v, &r), HDB_OK);
      memcpy(text, r.p, r.n);
      v = value_blob(text, r.n);
    }
    for (size_t k = below(4); k > 0 && v.n; k--) text[below(v.n)] = (char)rnd();
    value a[3] = {v, value_text(path, random_path(path)), value_int(1)};
    call_scalar(names[below(5)], 1, a, &r);
    call_scalar(with_path[below(8)], 2, a, &r);
    call_scalar("json_set", 3, a, &r);
    call_scalar("json_insert", 3, a, &r);
    call_scalar("json_patch", 2, (value[]){v, v}, &r);
    call_scalar("json_valid", 2, (value[]){v, value_int(1 + (int64_t)below(15))}, &r);
    function_call call = {.db = ours, .memory = &memory, .err = &failure};
    json_walk *w = NULL;
    if (json_walk_open(&call, &v, below(2) ? &a[1] : NULL, below(2), &w) == HDB_OK && w)
      while (json_walk_next(w) == HDB_ROW)
        for (int k = JSON_KEY; k <= JSON_PATH; k++) json_walk_column(&call, w, (enum json_column)k, &r);
    json_walk_close(w);
  }
  free(text);
}
END_TEST

RUN("sql_func_json", plain_documents_are_handled_as_by_340, changes_are_those_of_340, json5_is_read_and_json_is_written, errors_have_a_position,
    jsonb_has_sqlites_bytes, functions_answer_as_345_does, a_walk_visits_every_element, deep_documents_end_at_a_thousand,
    damaged_blobs_and_broken_texts_are_only_errors)
