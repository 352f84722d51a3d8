/* Values: comparison, affinity, casts, records and keys.
 *
 * The rules are SQLite's (its "Datatypes" page); where that page is silent, what release 3.45 does:
 *   - text is a number when blanks, a sign, digits, a point, an exponent and blanks are all of it;
 *   - CAST and arithmetic take the longest numeric prefix, 0 when there is none;
 *   - a whole real becomes an integer under NUMERIC and INTEGER affinity, but not under CAST AS NUMERIC.
 * NOCASE folds A-Z and looks no further than the first NUL, as its order in SQLite (and in kv/base/key.c).
 *
 * What can fail: memory for the text of a number (TEXT affinity, CAST AS TEXT). Cost per value: a comparison of
 * numbers 1-2 ns, reading a column 1-3 ns, affinity of a value that has it already 1 ns.
 */
#include "sql/value.h"

#include <assert.h>

#include "kv/base/key.h"
#include "sql/number.h"
#include "sql/utf8.h"

#define TWO_63 9223372036854775808.0

const collation collation_binary = {.name = "BINARY", .builtin = 1};
const collation collation_nocase = {.name = "NOCASE", .builtin = 2};
const collation collation_rtrim = {.name = "RTRIM", .builtin = 3};

status value_copy(arena *a, const value *from, value *to) {
  value v = *from;
  if (v.type == VAL_TEXT || v.type == VAL_BLOB) {
    char *p = arena_alloc(a, (size_t)v.n + 1);
    if (!p) return HDB_NOMEM;
    if (v.n) memcpy(p, v.p, v.n);
    p[v.n] = 0;
    v.p = p;
  }
  *to = v;
  return HDB_OK;
}

/* ---- comparison ---- */

int compare_int_real(int64_t i, double r) {
  if (r < -TWO_63) return 1;
  if (r >= TWO_63) return -1;
  int64_t whole = (int64_t)r;
  if (i != whole) return i < whole ? -1 : 1;
  double back = (double)whole;
  return back < r ? -1 : back > r;
}

static int compare_bytes(const char *a, size_t a_n, const char *b, size_t b_n) {
  size_t n = a_n < b_n ? a_n : b_n;
  int c = n ? memcmp(a, b, n) : 0;
  return c ? c : (a_n > b_n) - (a_n < b_n);
}

static int compare_nocase(const char *a, size_t a_n, const char *b, size_t b_n) {
  size_t n = a_n < b_n ? a_n : b_n;
  for (size_t i = 0; i < n; i++) {
    unsigned char x = ascii_lower((unsigned char)a[i]), y = ascii_lower((unsigned char)b[i]);
    if (x != y) return x < y ? -1 : 1;
    if (x == 0) break;
  }
  return (a_n > b_n) - (a_n < b_n);
}

static size_t without_spaces(const char *p, size_t n) {
  while (n && p[n - 1] == ' ') n--;
  return n;
}

static int compare_text(const value *a, const value *b, const collation *c) {
  switch (c ? c->builtin : 1) {
  case 1: return compare_bytes(a->p, a->n, b->p, b->n);
  case 2: return compare_nocase(a->p, a->n, b->p, b->n);
  case 3: return compare_bytes(a->p, without_spaces(a->p, a->n), b->p, without_spaces(b->p, b->n));
  default: return c->compare(c->data, (int)a->n, a->n ? a->p : "", (int)b->n, b->n ? b->p : "");
  }
}

/* NULL 0, numbers 1, text 2, blob 3 */
static const uint8_t class_of_type[8] = {[VAL_NULL] = 0, [VAL_INTEGER] = 1, [VAL_REAL] = 1, [VAL_TEXT] = 2, [VAL_BLOB] = 3};

int value_compare(const value *a, const value *b, const collation *c) {
  if (a->type == b->type) {
    switch (a->type) {
    case VAL_INTEGER: return (a->i > b->i) - (a->i < b->i);
    case VAL_REAL: return (a->r > b->r) - (a->r < b->r);
    case VAL_TEXT: return compare_text(a, b, c);
    case VAL_BLOB: return compare_bytes(a->p, a->n, b->p, b->n);
    default: return 0;
    }
  }
  int x = class_of_type[a->type & 7], y = class_of_type[b->type & 7];
  if (x != y) return x < y ? -1 : 1;
  return a->type == VAL_INTEGER ? compare_int_real(a->i, b->r) : -compare_int_real(b->i, a->r);
}

/* ---- affinity and casts ---- */

/* A whole real strictly inside int64's range becomes that integer. */
static void real_to_int_when_whole(value *v) {
  int64_t i = real_to_int(v->r);
  if ((double)i == v->r && i > INT64_MIN && i < INT64_MAX) *v = value_int(i);
}

/* Text under NUMERIC, INTEGER or REAL affinity: changed only when all of it is a number. */
static void text_apply_numeric(value *v, bool keep_real) {
  /* most text is no number: its first letter tells */
  unsigned char first = v->n ? (unsigned char)v->p[0] : 'x';
  if (!ascii_digit(first) && first != '-' && first != '+' && first != '.' && !ascii_space(first)) return;
  int64_t i;
  double r;
  int kind = text_to_number(v->p, v->n, &i, &r);
  if (kind <= 0) return;
  if (kind == 1) {
    *v = keep_real ? value_real((double)i) : value_int(i);
    return;
  }
  *v = value_real(r);
  if (!keep_real) real_to_int_when_whole(v);
}

static status number_to_text(value *v, arena *a) {
  char text[32];
  size_t n = v->type == VAL_INTEGER ? int_to_text(v->i, text) : real_to_text(v->r, text);
  char *p = arena_strndup(a, text, n);
  if (!p) return HDB_NOMEM;
  *v = value_text(p, n);
  return HDB_OK;
}

status value_apply_affinity(value *v, uint8_t affinity, arena *a) {
  switch (affinity) {
  case AFF_TEXT: return v->type == VAL_INTEGER || v->type == VAL_REAL ? number_to_text(v, a) : HDB_OK;
  case AFF_NUMERIC:
  case AFF_INTEGER:
    if (v->type == VAL_TEXT) text_apply_numeric(v, false);
    else if (v->type == VAL_REAL) real_to_int_when_whole(v);
    return HDB_OK;
  case AFF_REAL:
    if (v->type == VAL_TEXT) text_apply_numeric(v, true);
    else if (v->type == VAL_INTEGER) *v = value_real((double)v->i);
    return HDB_OK;
  default: return HDB_OK;
  }
}

uint8_t affinity_of_type(const char *type) {
  if (!type || !*type) return AFF_BLOB;
  uint8_t affinity = AFF_NUMERIC;
  uint32_t last = 0; /* the last four letters, folded */
#define FOUR(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))
  for (const char *p = type; *p; p++) {
    last = last << 8 | ascii_lower((unsigned char)*p);
    switch (last) {
    case FOUR('c', 'h', 'a', 'r'):
    case FOUR('c', 'l', 'o', 'b'):
    case FOUR('t', 'e', 'x', 't'): affinity = AFF_TEXT; break;
    case FOUR('b', 'l', 'o', 'b'):
      if (affinity == AFF_NUMERIC || affinity == AFF_REAL) affinity = AFF_BLOB;
      break;
    case FOUR('r', 'e', 'a', 'l'):
    case FOUR('f', 'l', 'o', 'a'):
    case FOUR('d', 'o', 'u', 'b'):
      if (affinity == AFF_NUMERIC) affinity = AFF_REAL;
      break;
    default:
      if ((last & 0xffffff) == FOUR(0, 'i', 'n', 't')) return AFF_INTEGER;
    }
  }
#undef FOUR
  return affinity;
}

static void cast_numeric(value *v) {
  int64_t i;
  double r;
  int kind = text_to_number(v->p, v->n, &i, &r);
  if (kind == 0 || kind == 1 || kind == -1) {
    *v = value_int(i);
    return;
  }
  int64_t whole = real_to_int(r);
  *v = real_same_as_int(r, whole) ? value_int(whole) : value_real(r);
}

status value_cast(value *v, uint8_t affinity, arena *a) {
  v->subtype = 0;
  if (v->type == VAL_NULL) return HDB_OK;
  bool bytes = v->type == VAL_TEXT || v->type == VAL_BLOB;
  switch (affinity) {
  case AFF_NONE:
  case AFF_BLOB:
    if (!bytes) TRY(number_to_text(v, a));
    v->type = VAL_BLOB;
    return HDB_OK;
  case AFF_TEXT:
    if (!bytes) return number_to_text(v, a);
    v->type = VAL_TEXT;
    return HDB_OK;
  case AFF_NUMERIC:
    if (bytes) cast_numeric(v);
    return HDB_OK;
  case AFF_INTEGER: *v = value_int(value_to_int(v)); return HDB_OK;
  default: *v = value_real(value_to_real(v)); return HDB_OK;
  }
}

/* Pairs of surrogates are joined without looking at the second, as SQLite does. */
static status utf16_to_text(value *v, bool big, arena *a) {
  const uint8_t *p = (const uint8_t *)v->p;
  size_t n = v->n & ~(size_t)1, used = 0;
  uint8_t *out = arena_alloc(a, n * 2 + 4);
  if (!out) return HDB_NOMEM;
  for (size_t i = 0; i < n; i += 2) {
    uint32_t c = big ? (uint32_t)p[i] << 8 | p[i + 1] : (uint32_t)p[i + 1] << 8 | p[i];
    if (c >= 0xd800 && c < 0xe000 && i + 3 < n) {
      i += 2;
      uint32_t second = big ? (uint32_t)p[i] << 8 | p[i + 1] : (uint32_t)p[i + 1] << 8 | p[i];
      c = (second & 0x3ff) + ((c & 0x3f) << 10) + (((c & 0x3c0) + 0x40) << 10);
    }
    used += utf8_write(c, out + used);
  }
  *v = value_text((const char *)out, used);
  return HDB_OK;
}

static status text_to_utf16(value *v, bool big, arena *a) {
  const uint8_t *p = (const uint8_t *)v->p, *end = p + v->n;
  uint8_t *out = arena_alloc(a, (size_t)v->n * 2 + 4);
  size_t used = 0;
  if (!out) return HDB_NOMEM;
  while (p < end) {
    uint32_t c = utf8_read(&p, end), units[2] = {c, 0};
    if (c >= 0x10000) units[0] = 0xd800 | ((c - 0x10000) >> 10 & 0x3ff), units[1] = 0xdc00 | (c & 0x3ff);
    for (int i = 0; i < 1 + (c >= 0x10000); i++) {
      out[used++] = (uint8_t)(big ? units[i] >> 8 : units[i]);
      out[used++] = (uint8_t)(big ? units[i] : units[i] >> 8);
    }
  }
  *v = value_blob(out, used);
  return HDB_OK;
}

status value_cast_utf16(value *v, uint8_t affinity, bool big_endian, arena *a) {
  if (affinity == AFF_TEXT && v->type == VAL_BLOB) return utf16_to_text(v, big_endian, a);
  bool to_blob = affinity == AFF_BLOB && v->type != VAL_BLOB && v->type != VAL_NULL;
  if (to_blob) TRY(value_cast(v, AFF_TEXT, a));
  return to_blob ? text_to_utf16(v, big_endian, a) : value_cast(v, affinity, a);
}

/* ---- conversions ---- */

int64_t value_to_int(const value *v) {
  int64_t i = 0;
  switch (v->type) {
  case VAL_INTEGER: return v->i;
  case VAL_REAL: return real_to_int(v->r);
  case VAL_TEXT:
  case VAL_BLOB: text_to_int(v->p, v->n, &i); return i;
  default: return 0;
  }
}

double value_to_real(const value *v) {
  switch (v->type) {
  case VAL_INTEGER: return (double)v->i;
  case VAL_REAL: return v->r;
  case VAL_TEXT:
  case VAL_BLOB: return text_to_real(v->p, v->n);
  default: return 0.0;
  }
}

status value_to_text(const value *v, arena *a, slice *out) {
  switch (v->type) {
  case VAL_TEXT:
  case VAL_BLOB: *out = slice_of(v->n ? v->p : "", v->n); return HDB_OK;
  case VAL_INTEGER:
  case VAL_REAL: {
    value text = *v;
    TRY(number_to_text(&text, a));
    *out = slice_of(text.p, text.n);
    return HDB_OK;
  }
  default: *out = slice_of("", 0); return HDB_OK;
  }
}

value value_to_number(const value *v) {
  if (v->type == VAL_INTEGER || v->type == VAL_REAL) return *v;
  if (v->type == VAL_NULL) return value_null();
  int64_t i;
  double r;
  int kind = text_to_number(v->p, v->n, &i, &r);
  return kind == 2 || kind == -2 ? value_real(r) : value_int(i);
}

int value_truth(const value *v) {
  switch (v->type) {
  case VAL_NULL: return -1;
  case VAL_INTEGER: return v->i != 0;
  case VAL_REAL: return v->r != 0.0;
  default: return text_to_real(v->p, v->n) != 0.0;
  }
}

/* ---- records and keys ---- */

void value_write(record_writer *w, const value *v) {
  switch (v->type) {
  case VAL_INTEGER: record_int(w, v->i); return;
  case VAL_REAL: record_real(w, v->r); return;
  case VAL_TEXT: record_text(w, v->p, v->n); return;
  case VAL_BLOB: record_blob(w, v->p, v->n); return;
  default: record_null(w); return;
  }
}

value value_read(uint8_t type, const uint8_t *payload, size_t payload_n) {
  if (type >= REC_BLOB0) return value_blob(payload, (size_t)(type - REC_BLOB0));
  if (type >= REC_TEXT0) return value_text((const char *)payload, (size_t)(type - REC_TEXT0));
  if (record_is_int(type)) return value_int(record_get_int(type, payload));
  switch (type) {
  case REC_REAL:
  case REC_REAL_INT4: return value_real(record_get_real(type, payload));
  case REC_TEXT:
  case REC_BLOB: {
    slice bytes = record_get_bytes(type, payload);
    return type == REC_TEXT ? value_text((const char *)bytes.p, bytes.n) : value_blob(bytes.p, bytes.n);
  }
  default: assert(type == REC_NULL); /* REC_LARGE is fetched by whoever owns the cursor, before this */
    return value_null();
  }
}

bool value_write_key(buf *key, const value *v, const collation *c, bool descending) {
  switch (v->type) {
  case VAL_INTEGER: return key_put_int(key, v->i, descending);
  case VAL_REAL: return key_put_real(key, v->r, descending);
  case VAL_TEXT: {
    static const enum key_collation kinds[4] = {KEY_BINARY, KEY_BINARY, KEY_NOCASE, KEY_RTRIM};
    return key_put_text(key, v->p, v->n, kinds[c ? c->builtin & 3 : 1], descending);
  }
  case VAL_BLOB: return key_put_blob(key, v->p, v->n, descending);
  default: key_put_null(key, descending); return true;
  }
}
