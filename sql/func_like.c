/* LIKE and GLOB.
 *
 * One loop with a single place to go back to (the last % or *): a later wildcard makes earlier choices irrelevant, so
 * nothing is recursive and the cost is at most text * pattern; after a wildcard the next plain ASCII character is
 * searched byte-wise. LIKE folds A-Z only, and only when both characters are ASCII. A NUL ends text and pattern.
 * What can fail: a pattern over HDB_LIMIT_LIKE_PATTERN_LENGTH, a bad ESCAPE.
 */
#include "sql/func_text.h"
#include "sql/internal.h"

typedef struct matcher {
  uint32_t all, one, escape; /* 0: none */
  bool set;                  /* GLOB's [...] */
  bool fold;
} matcher;

/* One [...] of a GLOB, *p behind the bracket; moves it behind the closing one. */
static bool match_set(const uint8_t **p, const uint8_t *end, uint32_t c) {
  bool seen = false, invert = false;
  uint32_t prior = 0, x = 0;
#define NEXT() (*p < end ? utf8_read(p, end) : 0)
  x = NEXT();
  if (x == '^') invert = true, x = NEXT();
  if (x == ']') seen = c == ']', x = NEXT();
  while (x && x != ']') {
    if (x == '-' && *p < end && **p != ']' && prior > 0) {
      x = NEXT();
      if (c >= prior && c <= x) seen = true;
      prior = 0;
    } else {
      if (c == x) seen = true;
      prior = x;
    }
    x = NEXT();
  }
#undef NEXT
  return x && seen != invert;
}

/* The plain ASCII character that the pattern goes on with, 0 when it is something else. */
static uint8_t plain_lead(const matcher *m, const uint8_t *p, const uint8_t *end) {
  if (p == end || *p >= 0x80 || *p == m->all || *p == m->one || *p == m->escape || (m->set && *p == '[')) return 0;
  return *p;
}

static const uint8_t *find_lead(const matcher *m, const uint8_t *t, const uint8_t *end, uint8_t lead) {
  if (!m->fold || !ascii_alpha(lead)) {
    t = memchr(t, lead, (size_t)(end - t));
    return t ? t : end;
  }
  for (lead |= 32; t < end && (*t | 32) != lead; t++) continue;
  return t;
}

static bool match(const matcher *m, slice pattern, slice text) {
  pattern = text_until_nul(pattern);
  text = text_until_nul(text);
  const uint8_t *p = pattern.p, *p_end = p + pattern.n, *t = text.p, *t_end = t + text.n;
  const uint8_t *back_p = NULL, *back_t = NULL;
  uint8_t lead = 0;
  for (;;) {
    bool ok;
    if (p == p_end) {
      if (t == t_end) return true;
      ok = false;
    } else {
      uint32_t c = utf8_read(&p, p_end);
      if (c == m->all && m->all) {
        if (p == p_end) return true;
        lead = plain_lead(m, p, p_end);
        if (lead) t = find_lead(m, t, t_end, lead);
        back_p = p;
        back_t = t;
        continue;
      }
      bool escaped = c == m->escape && m->escape;
      if (escaped) {
        if (p == p_end) return false;
        c = utf8_read(&p, p_end);
      }
      if (t == t_end) return false;
      uint32_t x = utf8_read(&t, t_end);
      if (m->set && c == '[') ok = match_set(&p, p_end, x);
      else if (c == m->one && m->one && !escaped) ok = true;
      else ok = c == x || (m->fold && c < 0x80 && x < 0x80 && ascii_lower((uint8_t)c) == ascii_lower((uint8_t)x));
    }
    if (ok) continue;
    if (!back_p || back_t == t_end) return false;
    back_t = utf8_skip(back_t, t_end);
    if (lead) back_t = find_lead(m, back_t, t_end, lead);
    p = back_p;
    t = back_t;
  }
}

bool like_match(const char *pattern, size_t pattern_n, const char *text, size_t text_n, uint32_t escape,
                bool case_sensitive) {
  matcher m = {.all = '%', .one = '_', .escape = escape, .fold = !case_sensitive};
  if (escape == m.all) m.all = 0;
  if (escape == m.one) m.one = 0;
  return match(&m, slice_of(pattern, pattern_n), slice_of(text, text_n));
}

bool glob_match(const char *pattern, size_t pattern_n, const char *text, size_t text_n) {
  matcher m = {.all = '*', .one = '?', .set = true};
  return match(&m, slice_of(pattern, pattern_n), slice_of(text, text_n));
}

/* The one character of an ESCAPE clause. */
static status escape_char(function_call *call, const value *v, uint32_t *out) {
  slice s;
  TRY(function_text(call, v, &s));
  if (s.p) s = text_until_nul(s);
  const uint8_t *p = s.p, *end = s.p + s.n;
  if (p && p < end) {
    *out = utf8_read(&p, end);
    if (p == end) return HDB_OK;
  } else if (!p) {
    *out = 0;
    return HDB_OK;
  }
  return error_set(call->err, HDB_ERROR, "ESCAPE expression must be a single character");
}

static status like(function_call *call, int n, const value *a, bool glob, value *result) {
  *result = value_null();
  if (a[0].type == VAL_BLOB || a[1].type == VAL_BLOB) { /* SQLITE_LIKE_DOESNT_MATCH_BLOBS */
    *result = value_int(0);
    return HDB_OK;
  }
  slice pattern, text;
  TRY(function_text(call, &a[0], &pattern));
  if ((int64_t)pattern.n > function_limit(call, HDB_LIMIT_LIKE_PATTERN_LENGTH))
    return error_set(call->err, HDB_ERROR, "LIKE or GLOB pattern too complex");
  uint32_t escape = 0;
  if (n == 3) {
    if (a[2].type == VAL_NULL) return HDB_OK;
    TRY(escape_char(call, &a[2], &escape));
  }
  TRY(function_text(call, &a[1], &text));
  if (!pattern.p || !text.p) return HDB_OK;
  const char *p = (const char *)pattern.p, *t = (const char *)text.p;
  bool yes = glob ? glob_match(p, pattern.n, t, text.n)
                  : like_match(p, pattern.n, t, text.n, escape, call->db && call->db->pragmas.case_sensitive_like);
  *result = value_int(yes);
  return HDB_OK;
}

status text_like(function_call *call, int n, const value *a, value *result) { return like(call, n, a, false, result); }
status text_glob(function_call *call, int n, const value *a, value *result) { return like(call, n, a, true, result); }
