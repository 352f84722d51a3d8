/* Functions of the postgres dialect. Those whose names begin with pg_ are what the grammar makes of PostgreSQL's casts
 * and arithmetic, and are there in every dialect, as texts of views hold them; the others only in that dialect.
 *
 * Values are canonical (pg.h). Integer overflow and division by zero are errors, as in PostgreSQL. now() is the
 * statement's moment. Patterns are PCRE2's with its limits, compiled once a pattern and thread.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <math.h>
#include <openssl/evp.h>
#include <pcre2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include "kv/base/leave.h"
#include "sql/func.h"
#include "sql/func_pg.h"
#include "sql/func_text.h"
#include "sql/internal.h"
#include "sql/pg_catalog.h"

#define TEXT_OR_NULL(s, a)                                                                                             \
  slice s;                                                                                                             \
  TRY(function_text(call, a, &s));                                                                                     \
  if (!s.p) {                                                                                                          \
    *result = value_null();                                                                                            \
    return HDB_OK;                                                                                                     \
  }

static bool any_null(int n, const value *a) {
  for (int i = 0; i < n; i++)
    if (a[i].type == VAL_NULL) return true;
  return false;
}

/* ---- casts and arithmetic ---- */

/* A name becomes its object's number; the number remembers what it is for a cast to text. */
static status cast_to_reg(function_call *call, const pg_type *t, const value *a, value *result) {
  if (a[0].type == VAL_TEXT) {
    char name[200];
    int64_t number;
    snprintf(name, sizeof name, "%.*s", (int)a[0].n, a[0].p);
    if (!call->db || !pg_reg_number(call->db, t->oid, name, &number))
      return error_set(call->err, HDB_ERROR, t->oid == PG_REGTYPE ? "type \"%s\" does not exist" : "relation \"%s\" does not exist", name);
    *result = value_int(number);
  }
  if (result->type == VAL_INTEGER) result->subtype = t->oid == PG_REGCLASS ? 'r' : t->oid == PG_REGTYPE ? 't' : 0;
  return HDB_OK;
}

static status f_cast(function_call *call, int n, const value *a, value *result) {
  char name[80];
  int32_t modifier;
  snprintf(name, sizeof name, "%.*s", (int)(a[1].n < 79 ? a[1].n : 79), a[1].type == VAL_TEXT ? a[1].p : "");
  const pg_type *t = pg_type_by_name(name, &modifier);
  *result = a[0];
  if (!t) return pg_enum_cast(call, name, result);
  if (a[0].type == VAL_NULL) return HDB_OK;
  if (t->oid == PG_REGCLASS || t->oid == PG_REGTYPE || t->oid == PG_REGNAMESPACE || t->oid == PG_REGROLE) return cast_to_reg(call, t, a, result);
  if (a[0].type == VAL_INTEGER && (t->category == 'S') && (a[0].subtype == 'r' || a[0].subtype == 't')) {
    buf b = BUF_INIT;
    if (call->db && pg_reg_text(call->db, a[0].subtype == 'r' ? PG_REGCLASS : PG_REGTYPE, a[0].i, &b)) return function_result_buf(call, &b, VAL_TEXT, result);
    buf_free(&b);
  }
  if (t->oid == PG_TEXT && a[0].type == VAL_INTEGER && a[0].subtype == 'b') return *result = value_text(a[0].i ? "true" : "false", a[0].i ? 4 : 5), HDB_OK;
  if (t->oid == PG_BPCHAR && strcasecmp(name, "char") == 0) modifier = -1;
  return pg_convert_in(call->db ? call->db->pragmas.zone : NULL, t->oid, modifier, true, result, call->memory, call->err);
}

static status overflow(function_call *call) { return error_set(call->err, HDB_RANGE, "bigint out of range"); }

static value operand(const value *v) { return v->type == VAL_TEXT || v->type == VAL_BLOB ? value_to_number(v) : *v; }

static bool looks_dated(const value *v) {
  return v->type == VAL_TEXT && v->n >= 10 && isdigit((unsigned char)v->p[0]) && memchr(v->p, '-', v->n < 8 ? v->n : 8) && v->p[v->n > 10 ? 4 : 4] == '-';
}

int64_t pg_add_months(int64_t us, int64_t months, int64_t days) {
  static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int64_t day = us / 86400000000 - (us % 86400000000 < 0), rest = us - day * 86400000000;
  int y, m, d;
  pg_civil(day + 10957, &y, &m, &d);
  int64_t month = (int64_t)y * 12 + m - 1 + months;
  y = (int)(month / 12), m = (int)(month % 12) + 1;
  int last = lengths[m - 1] + (m == 2 && ((y % 4 == 0 && y % 100 != 0) || y % 400 == 0));
  return (pg_days(y, m, d > last ? last : d) - 10957 + days) * 86400000000 + rest;
}

/* Moments and intervals. *done false: plain numbers. */
static status moment_arithmetic(function_call *call, const value *a, int sign, value *result, bool *done) {
  int32_t months, days;
  int64_t us, left, right;
  bool l = looks_dated(&a[0]), r = looks_dated(&a[1]);
  *done = true;
  buf b = BUF_INIT;
  if (l && r && sign < 0) {
    bool dates = a[0].n == 10 && a[1].n == 10;
    if (!pg_date_number(a[0].p, a[0].n, dates ? PG_DATE : PG_TIMESTAMP, &left) || !pg_date_number(a[1].p, a[1].n, dates ? PG_DATE : PG_TIMESTAMP, &right)) goto plain;
    if (dates) return *result = value_int(left - right), HDB_OK;
    int64_t difference = left - right;
    pg_interval_text(0, (int32_t)(difference / 86400000000), difference % 86400000000, &b);
    return function_result_buf(call, &b, VAL_TEXT, result);
  }
  const value *moment = l ? &a[0] : &a[1], *other = l ? &a[1] : &a[0];
  if ((!l && !r) || (r && sign < 0)) goto plain;
  if (other->type == VAL_INTEGER && moment->n == 10) {
    if (!pg_date_number(moment->p, moment->n, PG_DATE, &left)) goto plain;
    pg_date_text(left + sign * other->i, PG_DATE, &b);
    return function_result_buf(call, &b, VAL_TEXT, result);
  }
  if (other->type != VAL_TEXT || !pg_interval_parse(other->p, other->n, &months, &days, &us)) goto plain;
  if (!pg_date_number(moment->p, moment->n, PG_TIMESTAMP, &left)) goto plain;
  pg_date_text(pg_add_months(left, sign * (int64_t)months, sign * (int64_t)days) + sign * us, PG_TIMESTAMP, &b);
  return function_result_buf(call, &b, VAL_TEXT, result);
plain:
  *done = false;
  return HDB_OK;
}

static status add(function_call *call, const value *a, int sign, value *result) {
  if (a[0].type == VAL_INTEGER && a[1].type == VAL_INTEGER) {
    int64_t sum;
    if (sign > 0 ? __builtin_add_overflow(a[0].i, a[1].i, &sum) : __builtin_sub_overflow(a[0].i, a[1].i, &sum)) return overflow(call);
    *result = value_int(sum);
    return HDB_OK;
  }
  *result = value_null();
  if (any_null(2, a)) return HDB_OK;
  if (a[0].type == VAL_TEXT || a[1].type == VAL_TEXT) {
    bool done;
    TRY(moment_arithmetic(call, a, sign, result, &done));
    if (done) return HDB_OK;
    int32_t months[2], days[2];
    int64_t us[2];
    int64_t i;
    double r;
    if (a[0].type == VAL_TEXT && a[1].type == VAL_TEXT && text_to_number(a[0].p, a[0].n, &i, &r) <= 0 &&
        pg_interval_parse(a[0].p, a[0].n, &months[0], &days[0], &us[0]) && pg_interval_parse(a[1].p, a[1].n, &months[1], &days[1], &us[1])) {
      buf b = BUF_INIT;
      pg_interval_text(months[0] + sign * months[1], days[0] + sign * days[1], us[0] + sign * us[1], &b);
      return function_result_buf(call, &b, VAL_TEXT, result);
    }
  }
  value l = operand(&a[0]), r = operand(&a[1]);
  if (l.type == VAL_INTEGER && r.type == VAL_INTEGER) {
    value both[2] = {l, r};
    return add(call, both, sign, result);
  }
  *result = value_real(value_to_real(&l) + sign * value_to_real(&r));
  return HDB_OK;
}

static status f_add(function_call *call, int n, const value *a, value *result) { return add(call, a, 1, result); }
static status f_sub(function_call *call, int n, const value *a, value *result) { return add(call, a, -1, result); }

static status f_interval_length(function_call *call, int n, const value *a, value *result) {
  int32_t months, days;
  int64_t us;
  if (a[0].type == VAL_NULL) return *result = value_null(), HDB_OK;
  if (a[0].type != VAL_TEXT || !pg_interval_parse(a[0].p, a[0].n, &months, &days, &us)) return error_set(call->err, HDB_MISMATCH, "invalid input syntax for type interval: \"%.*s\"", a[0].type == VAL_TEXT ? (int)a[0].n : 0, a[0].type == VAL_TEXT ? a[0].p : "");
  *result = value_int(((int64_t)months * 30 + days) * 86400000000 + us);
  return HDB_OK;
}

/* An interval times a number; fractions of months and days flow down, a month being 30 days, as in PostgreSQL. */
static bool scale_interval(const value *v, double by, buf *out) {
  int32_t months, days;
  int64_t us, i;
  double r;
  if (v->type != VAL_TEXT || text_to_number(v->p, v->n, &i, &r) > 0 || !pg_interval_parse(v->p, v->n, &months, &days, &us)) return false;
  double m = months * by, d = days * by, whole_m = trunc(m), extra = (m - whole_m) * 30, t = trunc(d) + trunc(extra);
  double rest = (double)us * by + (d - trunc(d) + extra - trunc(extra)) * 86400e6;
  pg_interval_text((int32_t)whole_m, (int32_t)t, (int64_t)nearbyint(rest), out);
  return true;
}

static status f_mul(function_call *call, int n, const value *a, value *result) {
  *result = value_null();
  if (any_null(2, a)) return HDB_OK;
  if (a[0].type == VAL_TEXT || a[1].type == VAL_TEXT) {
    buf b = BUF_INIT;
    const value *other = a[0].type == VAL_TEXT ? &a[1] : &a[0], *text = a[0].type == VAL_TEXT ? &a[0] : &a[1];
    value by = operand(other);
    if (scale_interval(text, value_to_real(&by), &b)) return function_result_buf(call, &b, VAL_TEXT, result);
  }
  value l = operand(&a[0]), r = operand(&a[1]);
  if (l.type == VAL_INTEGER && r.type == VAL_INTEGER) {
    int64_t product;
    if (__builtin_mul_overflow(l.i, r.i, &product)) return overflow(call);
    *result = value_int(product);
    return HDB_OK;
  }
  *result = value_real(value_to_real(&l) * value_to_real(&r));
  return HDB_OK;
}

static status f_neg(function_call *call, int n, const value *a, value *result) {
  value minus[2] = {a[0], value_int(-1)};
  return f_mul(call, 2, minus, result);
}

static status f_power(function_call *call, int n, const value *a, value *result) {
  *result = value_null();
  if (any_null(2, a)) return HDB_OK;
  value l = operand(&a[0]), r = operand(&a[1]);
  double x = value_to_real(&l), y = value_to_real(&r), z = pow(x, y);
  if (x == 0 && y < 0) return error_set(call->err, HDB_ERROR, "zero raised to a negative power is undefined");
  if (isnan(z)) return error_set(call->err, HDB_ERROR, "a negative number raised to a non-integer power yields a complex result");
  if (isinf(z) && !isinf(x) && !isinf(y)) return error_set(call->err, HDB_RANGE, "value out of range: overflow");
  *result = value_real(z);
  return HDB_OK;
}

static status divide(function_call *call, const value *a, bool modulo, value *result) {
  *result = value_null();
  if (any_null(2, a)) return HDB_OK;
  value l = operand(&a[0]), r = operand(&a[1]);
  buf b = BUF_INIT;
  if (!modulo && a[0].type == VAL_TEXT && value_to_real(&r) != 0 && scale_interval(&a[0], 1 / value_to_real(&r), &b)) return function_result_buf(call, &b, VAL_TEXT, result);
  if (r.type == VAL_INTEGER ? r.i == 0 : r.r == 0) return error_set(call->err, HDB_ERROR, "division by zero");
  if (l.type == VAL_INTEGER && r.type == VAL_INTEGER) {
    if (r.i == -1) {
      if (!modulo && l.i == INT64_MIN) return overflow(call);
      *result = value_int(modulo ? 0 : -l.i);
    } else {
      *result = value_int(modulo ? l.i % r.i : l.i / r.i);
    }
    return HDB_OK;
  }
  double x = value_to_real(&l), y = value_to_real(&r);
  *result = value_real(modulo ? fmod(x, y) : x / y);
  return HDB_OK;
}

static status f_div(function_call *call, int n, const value *a, value *result) { return divide(call, a, false, result); }
static status f_mod(function_call *call, int n, const value *a, value *result) { return divide(call, a, true, result); }

/* ---- patterns ---- */

typedef struct compiled_pattern {
  char *text;
  size_t n;
  bool fold;
  pcre2_code *code;
  uint64_t used;
} compiled_pattern;
enum { PATTERNS = 16 };
typedef struct pattern_cache {
  compiled_pattern all[PATTERNS];
  uint64_t clock;
  pcre2_match_data *match;
  pcre2_match_context *limits;
} pattern_cache;
static pthread_key_t cache_key;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;

static void cache_free(void *data) {
  pattern_cache *c = data;
  for (int i = 0; i < PATTERNS; i++) {
    free(c->all[i].text);
    pcre2_code_free(c->all[i].code);
  }
  pcre2_match_data_free(c->match);
  pcre2_match_context_free(c->limits);
  free(c);
}
static void cache_start(void) { pthread_key_create(&cache_key, cache_free); }

static pattern_cache *cache_get(void) {
  pthread_once(&cache_once, cache_start);
  pattern_cache *c = pthread_getspecific(cache_key);
  if (c) return c;
  c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->match = pcre2_match_data_create(1, NULL);
  c->limits = pcre2_match_context_create(NULL);
  if (!c->match || !c->limits) {
    cache_free(c);
    return NULL;
  }
  pcre2_set_match_limit(c->limits, 2000000);
  pcre2_set_depth_limit(c->limits, 20000);
  pcre2_set_heap_limit(c->limits, 16384);
  pthread_setspecific(cache_key, c);
  return c;
}

static status pattern_find(function_call *call, pattern_cache *c, slice text, bool fold, pcre2_code **out) {
  compiled_pattern *oldest = &c->all[0];
  for (int i = 0; i < PATTERNS; i++) {
    compiled_pattern *p = &c->all[i];
    if (p->code && p->fold == fold && p->n == text.n && memcmp(p->text, text.p, text.n) == 0) {
      p->used = ++c->clock;
      *out = p->code;
      return HDB_OK;
    }
    if (p->used < oldest->used) oldest = p;
  }
  int number;
  PCRE2_SIZE at;
  pcre2_code *code = pcre2_compile(text.p, text.n, PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | (fold ? PCRE2_CASELESS : 0), &number, &at, NULL);
  if (!code) {
    char why[120];
    pcre2_get_error_message(number, (PCRE2_UCHAR *)why, sizeof why);
    return error_set(call->err, HDB_ERROR, "invalid regular expression: %s", why);
  }
  char *copy = malloc(text.n + 1);
  if (!copy) {
    pcre2_code_free(code);
    return function_nomem(call);
  }
  memcpy(copy, text.p, text.n);
  free(oldest->text);
  pcre2_code_free(oldest->code);
  *oldest = (compiled_pattern){copy, text.n, fold, code, ++c->clock};
  *out = code;
  return HDB_OK;
}

/* SIMILAR TO's pattern as a regular expression of the whole text: % and _ as in LIKE, | * + ? {} () [] as they are. */
static void similar_pattern(slice p, buf *out) {
  bool inside = false;
  buf_text(out, "(?s)\\A(?:");
  for (size_t i = 0; i < p.n; i++) {
    char c = (char)p.p[i];
    if (c == '\\' && i + 1 < p.n) buf_byte(out, '\\'), buf_byte(out, p.p[++i]);
    else if (inside) {
      inside = c != ']';
      buf_byte(out, (uint8_t)c);
    } else if (c == '%') buf_text(out, ".*");
    else if (c == '_') buf_byte(out, '.');
    else if (strchr(".^$", c)) buf_byte(out, '\\'), buf_byte(out, (uint8_t)c);
    else {
      inside = c == '[';
      buf_byte(out, (uint8_t)c);
    }
  }
  buf_text(out, ")\\z");
}

/* a[0] the pattern, a[1] the text, as LIKE's function has them. */
static status regexp(function_call *call, const value *a, bool fold, value *result) {
  TEXT_OR_NULL(pattern, &a[0]);
  TEXT_OR_NULL(text, &a[1]);
  static const char mark[] = "***similar:"; /* what the server writes for SIMILAR TO */
  pattern_cache *c = cache_get();
  if (!c) return function_nomem(call);
  pcre2_code *code;
  if (pattern.n >= sizeof mark - 1 && memcmp(pattern.p, mark, sizeof mark - 1) == 0) {
    buf b = BUF_INIT;
    similar_pattern(slice_of(pattern.p + sizeof mark - 1, pattern.n - (sizeof mark - 1)), &b);
    const char *made = b.failed ? NULL : arena_strndup(call->memory, (const char *)b.p, b.n);
    if (made) pattern = slice_of(made, b.n);
    buf_free(&b);
    if (!made) return function_nomem(call);
  }
  TRY(pattern_find(call, c, pattern, fold, &code));
  int rc = pcre2_match(code, text.p, text.n, 0, 0, c->match, c->limits);
  if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) return error_set(call->err, HDB_ERROR, "invalid regular expression: it takes too long on this text, or the text is no UTF-8");
  *result = value_int(rc >= 0);
  return HDB_OK;
}

static status f_regexp(function_call *call, int n, const value *a, value *result) { return regexp(call, a, false, result); }
static status f_iregexp(function_call *call, int n, const value *a, value *result) { return regexp(call, a, true, result); }

static status f_ilike(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(pattern, &a[0]);
  TEXT_OR_NULL(text, &a[1]);
  uint32_t escape = '\\';
  if (n == 3) {
    TEXT_OR_NULL(e, &a[2]);
    escape = e.n ? e.p[0] : 0;
  }
  *result = value_int(like_match((const char *)pattern.p, pattern.n, (const char *)text.p, text.n, escape, false));
  return HDB_OK;
}

/* ---- arrays ---- */

static void json_value(buf *b, const value *v) {
  if (v->type == VAL_NULL) buf_text(b, "null");
  else if (v->type == VAL_INTEGER) buf_printf(b, "%lld", (long long)v->i);
  else if (v->type == VAL_REAL) pg_real_text(v->r, false, b);
  else if (v->type == VAL_TEXT && v->n && v->p[0] == '[' && v->p[v->n - 1] == ']') buf_append(b, v->p, v->n);
  else {
    buf_byte(b, '"');
    for (uint32_t i = 0; i < v->n; i++) {
      unsigned char c = (unsigned char)v->p[i];
      if (c == '"' || c == '\\') buf_byte(b, '\\');
      if (c < 32) buf_printf(b, "\\u%04x", c);
      else buf_byte(b, c);
    }
    buf_byte(b, '"');
  }
}

static status f_array(function_call *call, int n, const value *a, value *result) {
  buf b = BUF_INIT;
  buf_byte(&b, '[');
  for (int i = 0; i < n; i++) {
    if (i) buf_byte(&b, ',');
    json_value(&b, &a[i]);
  }
  buf_byte(&b, ']');
  return function_result_buf(call, &b, VAL_TEXT, result);
}

static status f_any_array(function_call *call, int n, const value *a, value *result) {
  *result = a[0];
  if (a[0].type != VAL_TEXT || (a[0].n && a[0].p[0] == '[')) return HDB_OK;
  if (a[0].n && a[0].p[0] != '{') { /* int2vector, oidvector */
    buf b = BUF_INIT;
    buf_byte(&b, '[');
    for (uint32_t i = 0; i < a[0].n; i++) buf_byte(&b, a[0].p[i] == ' ' ? ',' : (uint8_t)a[0].p[i]);
    buf_byte(&b, ']');
    return function_result_buf(call, &b, VAL_TEXT, result);
  }
  buf b = BUF_INIT;
  status rc = pg_array_to_json(PG_TEXT, a[0].p, a[0].n, &b, call->memory, call->err);
  if (rc == HDB_OK) return function_result_buf(call, &b, VAL_TEXT, result);
  buf_free(&b);
  return rc;
}

/* What stands inside of an array's brackets; an element is its own list. */
static void put_inside(buf *b, const value *v) {
  bool array = v->type == VAL_TEXT && v->n >= 2 && v->p[0] == '[' && v->p[v->n - 1] == ']';
  if (array && v->n == 2) return;
  if (b->n > 1) buf_byte(b, ',');
  if (array) buf_append(b, v->p + 1, v->n - 2);
  else json_value(b, v);
}

static status f_array_concat(function_call *call, int n, const value *a, value *result) {
  if (a[0].type == VAL_NULL || a[1].type == VAL_NULL) return *result = a[0].type == VAL_NULL ? a[1] : a[0], HDB_OK;
  buf b = BUF_INIT;
  buf_byte(&b, '[');
  put_inside(&b, &a[0]);
  put_inside(&b, &a[1]);
  buf_byte(&b, ']');
  return function_result_buf(call, &b, VAL_TEXT, result);
}

/* ---- time ---- */

static void put_now(function_call *call, uint32_t oid, buf *b) {
  int64_t ms = function_now_ms(call) - 210866760000000, us = ms * 1000; /* since 1970 */
  int64_t since_2000 = us - (int64_t)10957 * 86400000000;
  if (oid != PG_TIMESTAMPTZ && call->db) since_2000 = pg_local_us(since_2000, call->db->pragmas.zone);
  if (oid == PG_DATE) pg_date_text(since_2000 / 86400000000, PG_DATE, b);
  else if (oid == PG_TIME) pg_date_text(since_2000 % 86400000000, PG_TIME, b);
  else pg_date_text(since_2000, PG_TIMESTAMP, b);
}

static status f_now(function_call *call, int n, const value *a, value *result) {
  buf b = BUF_INIT;
  put_now(call, PG_TIMESTAMPTZ, &b);
  return function_result_buf(call, &b, VAL_TEXT, result);
}
static status f_local_now(function_call *call, int n, const value *a, value *result) {
  buf b = BUF_INIT;
  put_now(call, PG_TIMESTAMP, &b);
  return function_result_buf(call, &b, VAL_TEXT, result);
}
static status f_current_date(function_call *call, int n, const value *a, value *result) {
  buf b = BUF_INIT;
  put_now(call, PG_DATE, &b);
  return function_result_buf(call, &b, VAL_TEXT, result);
}
static status f_current_time(function_call *call, int n, const value *a, value *result) {
  buf b = BUF_INIT;
  put_now(call, PG_TIME, &b);
  return function_result_buf(call, &b, VAL_TEXT, result);
}
static status f_clock_timestamp(function_call *call, int n, const value *a, value *result) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  buf b = BUF_INIT;
  pg_date_text(((int64_t)t.tv_sec - 946684800) * 1000000 + t.tv_nsec / 1000, PG_TIMESTAMP, &b);
  return function_result_buf(call, &b, VAL_TEXT, result);
}

static bool unit_is(slice s, const char *name) {
  size_t n = strlen(name);
  return (s.n == n || (s.n == n + 1 && (s.p[n] == 's' || s.p[n] == 'S'))) && strncasecmp((const char *)s.p, name, n) == 0;
}

static status bad_unit(function_call *call, slice unit) {
  return error_set(call->err, HDB_ERROR, "timestamp units \"%.*s\" not recognized", (int)unit.n, (const char *)unit.p);
}

status pg_extract_part(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(unit, &a[0]);
  TEXT_OR_NULL(text, &a[1]);
  int64_t number = 0, us;
  int32_t months, days;
  *result = value_null();
  if (pg_date_number((const char *)text.p, text.n, PG_TIMESTAMP, &number) && looks_dated(&(value){.type = VAL_TEXT, .n = (uint32_t)text.n, .p = (const char *)text.p})) {
    int64_t day = number / 86400000000 - (number % 86400000000 < 0), rest = number - day * 86400000000;
    int y, m, d, week_day = (int)(((day + 6) % 7 + 7) % 7); /* 2000-01-01 was a Saturday */
    pg_civil(day + 10957, &y, &m, &d);
    double seconds = (double)(rest % 60000000) / 1e6;
    if (unit_is(unit, "year")) *result = value_int(y);
    else if (unit_is(unit, "month")) *result = value_int(m);
    else if (unit_is(unit, "day")) *result = value_int(d);
    else if (unit_is(unit, "hour")) *result = value_int(rest / 3600000000);
    else if (unit_is(unit, "minute")) *result = value_int(rest / 60000000 % 60);
    else if (unit_is(unit, "second")) *result = value_real(seconds);
    else if (unit_is(unit, "millisecond")) *result = value_real(seconds * 1e3);
    else if (unit_is(unit, "microsecond")) *result = value_int(rest % 60000000);
    else if (unit_is(unit, "epoch")) *result = value_real((double)(number / 1000000 + 946684800) + (double)(number % 1000000) / 1e6);
    else if (unit_is(unit, "dow")) *result = value_int(week_day);
    else if (unit_is(unit, "isodow")) *result = value_int(week_day ? week_day : 7);
    else if (unit_is(unit, "doy")) *result = value_int(day + 10957 - pg_days(y, 1, 1) + 1);
    else if (unit_is(unit, "quarter")) *result = value_int((m - 1) / 3 + 1);
    else if (unit_is(unit, "century")) *result = value_int((y + 99) / 100);
    else if (unit_is(unit, "decade")) *result = value_int(y / 10);
    else if (unit_is(unit, "week")) {
      int64_t thursday = day + 10957 - (week_day + 6) % 7 + 3;
      int year;
      pg_civil(thursday, &year, &m, &d);
      *result = value_int((thursday - pg_days(year, 1, 1)) / 7 + 1);
    } else return bad_unit(call, unit);
    if (result->type == VAL_REAL && result->r == trunc(result->r)) *result = value_int((int64_t)result->r);
    return HDB_OK;
  }
  if (!pg_interval_parse((const char *)text.p, text.n, &months, &days, &us)) return error_set(call->err, HDB_MISMATCH, "invalid input syntax for type timestamp: \"%.*s\"", (int)text.n, (const char *)text.p);
  if (unit_is(unit, "epoch")) *result = value_real(months * 2629800.0 + days * 86400.0 + (double)us / 1e6);
  else if (unit_is(unit, "year")) *result = value_int(months / 12);
  else if (unit_is(unit, "month")) *result = value_int(months % 12);
  else if (unit_is(unit, "day")) *result = value_int(days);
  else if (unit_is(unit, "hour")) *result = value_int(us / 3600000000);
  else if (unit_is(unit, "minute")) *result = value_int(us / 60000000 % 60);
  else if (unit_is(unit, "second")) *result = value_real((double)(us % 60000000) / 1e6);
  else return bad_unit(call, unit);
  return HDB_OK;
}

static status f_date_trunc(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(unit, &a[0]);
  TEXT_OR_NULL(text, &a[1]);
  int64_t number;
  if (!pg_date_number((const char *)text.p, text.n, PG_TIMESTAMP, &number)) return error_set(call->err, HDB_MISMATCH, "invalid input syntax for type timestamp: \"%.*s\"", (int)text.n, (const char *)text.p);
  int64_t day = number / 86400000000 - (number % 86400000000 < 0), rest = number - day * 86400000000;
  int y, m, d;
  pg_civil(day + 10957, &y, &m, &d);
  static const struct { const char *unit; int64_t us; } parts[] = {{"microsecond", 1}, {"millisecond", 1000}, {"second", 1000000}, {"minute", 60000000}, {"hour", 3600000000}, {"day", 86400000000}};
  bool known = false;
  for (size_t i = 0; i < sizeof parts / sizeof *parts && !known; i++)
    if (unit_is(unit, parts[i].unit)) known = true, rest -= rest % parts[i].us;
  if (!known) {
    rest = 0;
    if (unit_is(unit, "month")) day = pg_days(y, m, 1) - 10957;
    else if (unit_is(unit, "quarter")) day = pg_days(y, (m - 1) / 3 * 3 + 1, 1) - 10957;
    else if (unit_is(unit, "year")) day = pg_days(y, 1, 1) - 10957;
    else if (unit_is(unit, "decade")) day = pg_days(y / 10 * 10, 1, 1) - 10957;
    else if (unit_is(unit, "week")) day -= ((day + 5) % 7 + 7) % 7;
    else return bad_unit(call, unit);
  }
  buf b = BUF_INIT;
  pg_date_text(day * 86400000000 + rest, PG_TIMESTAMP, &b);
  return function_result_buf(call, &b, VAL_TEXT, result);
}

static status f_sleep(function_call *call, int n, const value *a, value *result) {
  int64_t left = (int64_t)(value_to_real(&a[0]) * 1e9);
  *result = value_text("", 0);
  leave_before_wait();
  while (left > 0) {
    if (call->db && atomic_load(&call->db->interrupted)) return error_set(call->err, HDB_INTERRUPT, "interrupted");
    int64_t part = left < 10000000 ? left : 10000000;
    struct timespec t = {0, part};
    nanosleep(&t, NULL);
    left -= part;
  }
  return HDB_OK;
}

/* ---- text ---- */

static size_t skip_characters(slice s, int64_t n) {
  size_t at = 0;
  while (n > 0 && at < s.n) {
    at++;
    while (at < s.n && (s.p[at] & 0xc0) == 0x80) at++;
    n--;
  }
  return at;
}
static int64_t count_characters(slice s) {
  int64_t n = 0;
  for (size_t i = 0; i < s.n; i++) n += (s.p[i] & 0xc0) != 0x80;
  return n;
}

static status f_left(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, &a[0]);
  int64_t k = value_to_int(&a[1]), have = count_characters(s);
  if (k < 0) k = have + k;
  return function_result_text(call, s.p, skip_characters(s, k), result);
}
static status f_right(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, &a[0]);
  int64_t k = value_to_int(&a[1]), have = count_characters(s);
  int64_t skip = k < 0 ? -k : have - k;
  size_t at = skip_characters(s, skip < 0 ? 0 : skip);
  return function_result_text(call, s.p + at, s.n - at, result);
}
static status f_strpos(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, &a[0]);
  TEXT_OR_NULL(part, &a[1]);
  const uint8_t *at = part.n ? memmem(s.p, s.n, part.p, part.n) : s.p;
  *result = value_int(at ? count_characters(slice_of(s.p, (size_t)(at - s.p))) + 1 : 0);
  return HDB_OK;
}
static status pad(function_call *call, int n, const value *a, bool left, value *result) {
  TEXT_OR_NULL(s, &a[0]);
  if (any_null(n, a)) return *result = value_null(), HDB_OK;
  int64_t wanted = value_to_int(&a[1]), have = count_characters(s);
  slice fill = slice_of(" ", 1);
  if (n == 3) TRY(function_text(call, &a[2], &fill));
  if (wanted <= have || fill.n == 0) return function_result_text(call, s.p, skip_characters(s, wanted < 0 ? 0 : wanted), result);
  if (wanted > 10000000) return function_too_big(call);
  buf b = BUF_INIT;
  if (!left) buf_append(&b, s.p, s.n);
  int64_t fill_n = count_characters(fill), missing = wanted - have;
  for (; missing >= fill_n; missing -= fill_n) buf_append(&b, fill.p, fill.n);
  buf_append(&b, fill.p, skip_characters(fill, missing));
  if (left) buf_append(&b, s.p, s.n);
  return function_result_buf(call, &b, VAL_TEXT, result);
}
static status f_lpad(function_call *call, int n, const value *a, value *result) { return pad(call, n, a, true, result); }
static status f_rpad(function_call *call, int n, const value *a, value *result) { return pad(call, n, a, false, result); }

static status f_repeat(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, &a[0]);
  int64_t k = value_to_int(&a[1]);
  if (k > 0 && (int64_t)s.n * k > function_limit(call, HDB_LIMIT_LENGTH)) return function_too_big(call);
  buf b = BUF_INIT;
  for (int64_t i = 0; i < k; i++) buf_append(&b, s.p, s.n);
  return function_result_buf(call, &b, VAL_TEXT, result);
}
static status f_split_part(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, &a[0]);
  TEXT_OR_NULL(by, &a[1]);
  int64_t k = value_to_int(&a[2]);
  const uint8_t *p = s.p, *end = s.p + s.n;
  for (;; k--) {
    const uint8_t *at = by.n ? memmem(p, (size_t)(end - p), by.p, by.n) : NULL;
    if (k <= 1) return function_result_text(call, p, (size_t)((at ? at : end) - p), result);
    if (!at) return function_result_text(call, "", 0, result);
    p = at + by.n;
  }
}
static status f_initcap(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, &a[0]);
  buf b = BUF_INIT;
  bool inside = false;
  for (size_t i = 0; i < s.n; i++) {
    int c = s.p[i];
    buf_byte(&b, (uint8_t)(c >= 128 ? c : inside ? tolower(c) : toupper(c)));
    inside = c >= 128 || isalnum(c);
  }
  return function_result_buf(call, &b, VAL_TEXT, result);
}
static status f_reverse(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, &a[0]);
  char *out = function_room(call, (int64_t)s.n);
  if (!out) return call->err->code;
  for (size_t at = 0; at < s.n;) {
    size_t next = at + skip_characters(slice_of(s.p + at, s.n - at), 1);
    memcpy(out + s.n - next, s.p + at, next - at);
    at = next;
  }
  *result = value_text(out, s.n);
  return HDB_OK;
}
static status f_ascii(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, &a[0]);
  const uint8_t *p = s.p;
  *result = value_int(s.n ? utf8_read(&p, s.p + s.n) : 0);
  return HDB_OK;
}
static status f_md5(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, &a[0]);
  uint8_t digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  if (EVP_Digest(s.p, s.n, digest, &length, EVP_md5(), NULL) != 1) return error_set(call->err, HDB_ERROR, "md5 is not available");
  char text[33];
  for (unsigned i = 0; i < 16; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
  return function_result_text(call, text, 32, result);
}
static status f_quote_ident(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, &a[0]);
  bool plain = s.n && (islower(s.p[0]) || s.p[0] == '_');
  for (size_t i = 0; i < s.n && plain; i++) plain = islower(s.p[i]) || isdigit(s.p[i]) || s.p[i] == '_';
  if (plain && !grammar_is_keyword((const char *)s.p, s.n)) return function_result_text(call, s.p, s.n, result);
  buf b = BUF_INIT;
  buf_byte(&b, '"');
  for (size_t i = 0; i < s.n; i++) {
    if (s.p[i] == '"') buf_byte(&b, '"');
    buf_byte(&b, s.p[i]);
  }
  buf_byte(&b, '"');
  return function_result_buf(call, &b, VAL_TEXT, result);
}
static status f_quote_literal(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, &a[0]);
  buf b = BUF_INIT;
  buf_byte(&b, '\'');
  for (size_t i = 0; i < s.n; i++) {
    if (s.p[i] == '\'') buf_byte(&b, '\'');
    buf_byte(&b, s.p[i]);
  }
  buf_byte(&b, '\'');
  return function_result_buf(call, &b, VAL_TEXT, result);
}
static status f_uuid(function_call *call, int n, const value *a, value *result) {
  uint64_t high = function_random(call), low = function_random(call);
  high = (high & ~(uint64_t)0xf000) | 0x4000;
  low = (low & 0x3fffffffffffffff) | 0x8000000000000000;
  char text[40];
  snprintf(text, sizeof text, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(high >> 32), (unsigned)(high >> 16 & 0xffff), (unsigned)(high & 0xffff), (unsigned)(low >> 48), (unsigned long long)(low & 0xffffffffffff));
  return function_result_text(call, text, 36, result);
}

/* ---- numbers, choice ---- */

static status f_random(function_call *call, int n, const value *a, value *result) {
  *result = value_real((double)(function_random(call) >> 11) / 9007199254740992.0);
  return HDB_OK;
}
static status best(function_call *call, int n, const value *a, int sign, value *result) {
  *result = value_null();
  for (int i = 0; i < n; i++)
    if (a[i].type != VAL_NULL && (result->type == VAL_NULL || value_compare(&a[i], result, call->collation) * sign > 0)) *result = a[i];
  return HDB_OK;
}
static status f_greatest(function_call *call, int n, const value *a, value *result) { return best(call, n, a, 1, result); }
static status f_least(function_call *call, int n, const value *a, value *result) { return best(call, n, a, -1, result); }
static status f_typeof(function_call *call, int n, const value *a, value *result) {
  static const char *const names[] = {"", "integer", "double precision", "text", "bytea", "unknown"};
  const char *name = names[a[0].type];
  return function_result_text(call, name, strlen(name), result);
}

/* ---- aggregates ---- */

typedef struct bool_state {
  int seen, all, any;
} bool_state;
static status bool_step(function_call *call, int n, const value *a) {
  bool_state *s = call->state;
  int t = value_truth(&a[0]);
  if (t < 0) return HDB_OK;
  if (!s->seen) s->all = 1;
  s->seen = 1;
  s->all = s->all && t;
  s->any = s->any || t;
  return HDB_OK;
}
static status bool_and(function_call *call, value *result) {
  bool_state *s = call->state;
  *result = s->seen ? value_int(s->all) : value_null();
  return HDB_OK;
}
static status bool_or(function_call *call, value *result) {
  bool_state *s = call->state;
  *result = s->seen ? value_int(s->any) : value_null();
  return HDB_OK;
}
typedef struct array_state {
  buf text;
} array_state;
static status array_step(function_call *call, int n, const value *a) {
  array_state *s = call->state;
  buf_byte(&s->text, s->text.n ? ',' : '[');
  json_value(&s->text, &a[0]);
  return s->text.failed ? function_nomem(call) : HDB_OK;
}
static status array_final(function_call *call, value *result) {
  array_state *s = call->state;
  if (!s->text.n) return *result = value_null(), HDB_OK;
  buf_byte(&s->text, ']');
  return function_result_buf(call, &s->text, VAL_TEXT, result);
}
static void array_release(function_call *call) {
  array_state *s = call->state;
  buf_free(&s->text);
}

#define F(name, n, least, flags, f) {name, n, least, flags, 0, f, NULL, NULL, NULL, NULL, NULL, NULL}
#define A(name, size, step, final, release) {name, 1, 1, FUNC_AGGREGATE, size, NULL, step, final, NULL, NULL, release, NULL}
enum { PURE = FUNC_DETERMINISTIC | FUNC_INNOCUOUS, MOMENT = FUNC_INNOCUOUS | FUNC_STATEMENT_CONSTANT };
static const function functions[] = {
    F("pg_cast", 2, 2, FUNC_INNOCUOUS | FUNC_SUBTYPE, f_cast), F("pg_add", 2, 2, PURE, f_add), F("pg_sub", 2, 2, PURE, f_sub),
    F("pg_interval_length", 1, 1, PURE, f_interval_length), F("pg_mul", 2, 2, PURE, f_mul), F("pg_neg", 1, 1, PURE, f_neg), F("pg_power", 2, 2, PURE, f_power), F("pg_div", 2, 2, PURE, f_div), F("pg_mod", 2, 2, PURE, f_mod), F("pg_regexp", 2, 2, PURE, f_regexp),
    F("pg_iregexp", 2, 2, PURE, f_iregexp), F("pg_ilike", 2, 2, PURE, f_ilike), F("pg_ilike", 3, 3, PURE, f_ilike),
    F("pg_array", -1, 0, PURE, f_array), F("pg_any_array", 1, 1, PURE, f_any_array), F("pg_array_concat", 2, 2, PURE, f_array_concat),
    F("pg_extract", 2, 2, PURE, pg_extract_part), F("pg_current_date", 0, 0, MOMENT, f_current_date),
    F("pg_current_time", 0, 0, MOMENT, f_current_time), F("pg_sleep", 1, 1, 0, f_sleep), F("pg_typeof", 1, 1, PURE, f_typeof),
    F("date_part", 2, 2, PURE, pg_extract_part), F("date_trunc", 2, 2, PURE, f_date_trunc), F("date_trunc", 3, 3, PURE, f_date_trunc),
    F("now", 0, 0, MOMENT, f_now), F("transaction_timestamp", 0, 0, MOMENT, f_now), F("statement_timestamp", 0, 0, MOMENT, f_now),
    F("localtimestamp", 0, 0, MOMENT, f_local_now), F("clock_timestamp", 0, 0, FUNC_INNOCUOUS, f_clock_timestamp),
    F("left", 2, 2, PURE, f_left), F("right", 2, 2, PURE, f_right), F("strpos", 2, 2, PURE, f_strpos),
    F("lpad", 2, 2, PURE, f_lpad), F("lpad", 3, 3, PURE, f_lpad), F("rpad", 2, 2, PURE, f_rpad), F("rpad", 3, 3, PURE, f_rpad),
    F("repeat", 2, 2, PURE, f_repeat), F("split_part", 3, 3, PURE, f_split_part), F("initcap", 1, 1, PURE, f_initcap),
    F("reverse", 1, 1, PURE, f_reverse), F("ascii", 1, 1, PURE, f_ascii), F("chr", 1, 1, PURE, text_char), F("md5", 1, 1, PURE, f_md5),
    F("btrim", 1, 1, PURE, text_trim), F("btrim", 2, 2, PURE, text_trim), F("char_length", 1, 1, PURE, text_length),
    F("character_length", 1, 1, PURE, text_length), F("quote_ident", 1, 1, PURE, f_quote_ident),
    F("quote_literal", 1, 1, PURE, f_quote_literal), F("gen_random_uuid", 0, 0, FUNC_INNOCUOUS, f_uuid),
    F("random", 0, 0, FUNC_INNOCUOUS, f_random), F("greatest", -1, 1, PURE | FUNC_NEEDS_COLLATION, f_greatest),
    F("least", -1, 1, PURE | FUNC_NEEDS_COLLATION, f_least), F("mod", 2, 2, PURE, f_mod),
    A("bool_and", sizeof(bool_state), bool_step, bool_and, NULL), A("every", sizeof(bool_state), bool_step, bool_and, NULL),
    A("bool_or", sizeof(bool_state), bool_step, bool_or, NULL), A("array_agg", sizeof(array_state), array_step, array_final, array_release),
};
const function_table functions_pg = {functions, COUNT(functions)};
