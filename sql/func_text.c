/* Text functions: every one works on (pointer, length); which of them end at a NUL is SQLite's choice (func.h, F1).
 *
 * upper and lower fold A-Z only. Sizes are known before bytes are written, so results go straight into row memory.
 * What can fail: memory, the length limit. Cost: one pass over the text.
 */
#include "sql/func_text.h"

#define ROOM(p, size)                                                                                                  \
  char *p = function_room(call, (int64_t)(size));                                                                      \
  if (!p) return call->err->code
/* The text of argument a in `s`; NULL ends the function with NULL. */
#define TEXT_OR_NULL(s, a)                                                                                             \
  slice s;                                                                                                             \
  TRY(function_text(call, a, &s));                                                                                     \
  if (!s.p) {                                                                                                          \
    *result = value_null();                                                                                            \
    return HDB_OK;                                                                                                     \
  }

status text_char(function_call *call, int n, const value *a, value *result) {
  ROOM(p, (int64_t)n * 4);
  size_t used = 0;
  for (int i = 0; i < n; i++) {
    int64_t c = value_to_int(&a[i]);
    used += utf8_write(c < 0 || c > 0x10ffff ? 0xfffd : (uint32_t)c, (uint8_t *)p + used);
  }
  *result = value_text(p, used);
  return HDB_OK;
}

static status join(function_call *call, slice separator, int n, const value *a, value *result) {
  buf b = BUF_INIT;
  status rc = HDB_OK;
  int64_t limit = function_limit(call, HDB_LIMIT_LENGTH);
  for (int i = 0; i < n && rc == HDB_OK; i++) {
    slice s;
    rc = function_text(call, &a[i], &s);
    if (rc != HDB_OK || s.n == 0) continue; /* NULL and '' leave no separator */
    if ((int64_t)(b.n + separator.n + s.n) > limit) rc = function_too_big(call);
    if (b.n && separator.n) buf_append(&b, separator.p, separator.n);
    buf_append(&b, s.p, s.n);
  }
  if (rc == HDB_OK) return function_result_buf(call, &b, VAL_TEXT, result);
  buf_free(&b);
  return rc;
}

status text_concat(function_call *call, int n, const value *a, value *result) {
  return join(call, slice_of("", 0), n, a, result);
}
status text_concat_ws(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(separator, a);
  return join(call, separator, n - 1, a + 1, result);
}

static const char hex_digits[] = "0123456789ABCDEF";

status text_hex(function_call *call, int n, const value *a, value *result) {
  slice s;
  TRY(function_text(call, a, &s));
  ROOM(p, (int64_t)s.n * 2);
  for (size_t i = 0; i < s.n; i++) {
    p[i * 2] = hex_digits[s.p[i] >> 4];
    p[i * 2 + 1] = hex_digits[s.p[i] & 15];
  }
  *result = value_text(p, s.n * 2);
  return HDB_OK;
}

static bool contains_char(slice s, uint32_t c) {
  for (const uint8_t *p = s.p, *end = s.p + s.n; p < end;)
    if (utf8_read(&p, end) == c) return true;
  return false;
}

status text_unhex(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, a);
  slice ignored = slice_of("", 0);
  if (n == 2) {
    TEXT_OR_NULL(second, a + 1);
    ignored = text_until_nul(second);
  }
  s = text_until_nul(s);
  *result = value_null();
  ROOM(out, s.n / 2);
  size_t used = 0;
  for (const uint8_t *p = s.p, *end = s.p + s.n; p < end;) {
    int high = hex_digit(*p);
    if (high < 0) {
      if (!contains_char(ignored, utf8_read(&p, end))) return HDB_OK;
      continue;
    }
    int low = ++p < end ? hex_digit(*p++) : -1;
    if (low < 0) return HDB_OK;
    out[used++] = (char)(high << 4 | low);
  }
  *result = value_blob(out, used);
  return HDB_OK;
}

status text_instr(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(text, &a[0]);
  TEXT_OR_NULL(wanted, &a[1]);
  bool blobs = a[0].type == VAL_BLOB && a[1].type == VAL_BLOB;
  const uint8_t *found = wanted.n ? memmem(text.p, text.n, wanted.p, wanted.n) : text.p;
  if (blobs || !found || wanted.n == 0) {
    *result = value_int(found ? found - text.p + 1 : 0);
    return HDB_OK;
  }
  /* characters before it; a match inside of a character does not count */
  int64_t position = 1;
  const uint8_t *p = text.p, *end = text.p + text.n;
  while (p < found) {
    p++;
    while (p < end && (*p & 0xc0) == 0x80) p++;
    position++;
    if (p > found) {
      found = memmem(p, (size_t)(end - p), wanted.p, wanted.n);
      if (!found) {
        *result = value_int(0);
        return HDB_OK;
      }
    }
  }
  *result = value_int(position);
  return HDB_OK;
}

static int64_t count_chars(slice s) {
  int64_t count = 0;
  for (const uint8_t *p = s.p, *end = s.p + s.n; p < end; p = utf8_skip(p, end)) count++;
  return count;
}

status text_length(function_call *call, int n, const value *a, value *result) {
  if (a->type == VAL_TEXT) {
    *result = value_int(count_chars(text_until_nul(slice_of(a->n ? a->p : "", a->n))));
    return HDB_OK;
  }
  return text_octet_length(call, n, a, result);
}

status text_octet_length(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, a);
  *result = value_int((int64_t)s.n);
  return HDB_OK;
}

status text_lower(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, a);
  ROOM(p, s.n);
  for (size_t i = 0; i < s.n; i++) p[i] = (char)ascii_lower(s.p[i]);
  *result = value_text(p, s.n);
  return HDB_OK;
}
status text_upper(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, a);
  ROOM(p, s.n);
  for (size_t i = 0; i < s.n; i++) p[i] = (char)ascii_upper(s.p[i]);
  *result = value_text(p, s.n);
  return HDB_OK;
}

/* ---- trim ---- */

/* Length of the member of `set` that s begins with (from_end: ends with); 0 none. */
static size_t trim_match(slice s, slice set, bool from_end) {
  for (const uint8_t *p = set.p, *end = set.p + set.n; p < end;) {
    const uint8_t *next = utf8_skip(p, end);
    size_t n = (size_t)(next - p);
    if (n <= s.n && memcmp(from_end ? s.p + s.n - n : s.p, p, n) == 0) return n;
    p = next;
  }
  return 0;
}

static status trim(function_call *call, int n, const value *a, bool left, bool right, value *result) {
  TEXT_OR_NULL(s, a);
  slice set = slice_of(" ", 1);
  if (n == 2) {
    TEXT_OR_NULL(second, a + 1);
    set = text_until_nul(second);
  }
  for (size_t k; left && (k = trim_match(s, set, false)) > 0;) s = slice_of(s.p + k, s.n - k);
  for (size_t k; right && (k = trim_match(s, set, true)) > 0;) s.n -= k;
  *result = value_text((const char *)s.p, s.n); /* a part of the argument, or of its text in row memory */
  return HDB_OK;
}
status text_ltrim(function_call *call, int n, const value *a, value *result) { return trim(call, n, a, true, false, result); }
status text_rtrim(function_call *call, int n, const value *a, value *result) { return trim(call, n, a, false, true, result); }
status text_trim(function_call *call, int n, const value *a, value *result) { return trim(call, n, a, true, true, result); }

status text_replace(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, &a[0]);
  TEXT_OR_NULL(pattern, &a[1]);
  if (pattern.n == 0 || pattern.p[0] == 0) {
    *result = a[0].type == VAL_BLOB ? value_text((const char *)s.p, s.n) : a[0]; /* a number stays one */
    return HDB_OK;
  }
  TEXT_OR_NULL(with, &a[2]);
  const uint8_t *p = s.p, *end = s.p + s.n, *found;
  int64_t size = (int64_t)s.n;
  for (; (found = memmem(p, (size_t)(end - p), pattern.p, pattern.n)); p = found + pattern.n)
    size += (int64_t)with.n - (int64_t)pattern.n;
  if (p == s.p) { /* nothing to replace */
    *result = value_text((const char *)s.p, s.n);
    return HDB_OK;
  }
  ROOM(out, size);
  char *q = out;
  for (p = s.p; (found = memmem(p, (size_t)(end - p), pattern.p, pattern.n)); p = found + pattern.n) {
    q = mempcpy(q, p, (size_t)(found - p));
    q = mempcpy(q, with.p, with.n);
  }
  memcpy(q, p, (size_t)(end - p));
  *result = value_text(out, (size_t)size);
  return HDB_OK;
}

status text_soundex(function_call *call, int n, const value *a, value *result) {
  static const char codes[] = "01230120022455012623010202"; /* A to Z; 0: not coded */
  slice s;
  TRY(function_text(call, a, &s));
  s = s.p ? text_until_nul(s) : slice_of("", 0);
  const uint8_t *p = s.p, *end = s.p + s.n;
  while (p < end && !ascii_alpha(*p)) p++;
  *result = value_text("?000", 4);
  if (p == end) return HDB_OK;
  ROOM(out, 4);
  memcpy(out, "0000", 4);
  out[0] = (char)ascii_upper(*p);
  char previous = codes[(*p | 32) - 'a'];
  for (int j = 1; j < 4 && p < end; p++) {
    uint8_t c = *p & 0x7f; /* as SQLite: the high bit is not looked at */
    char code = ascii_alpha(c) ? codes[(c | 32) - 'a'] : '0';
    if (code != '0' && code != previous) out[j++] = code;
    previous = code;
  }
  *result = value_text(out, 4);
  return HDB_OK;
}

/* ---- substr ---- */

status text_substr(function_call *call, int n, const value *a, value *result) {
  *result = value_null();
  if (a[1].type == VAL_NULL || (n == 3 && a[2].type == VAL_NULL)) return HDB_OK;
  TEXT_OR_NULL(s, a);
  bool blob = a[0].type == VAL_BLOB;
  if (blob && s.n == 0) return HDB_OK; /* NULL, as SQLite */
  if (!blob) s = text_until_nul(s);
  int64_t start = value_to_int32(&a[1]), count = function_limit(call, HDB_LIMIT_LENGTH);
  bool before = false; /* a negative count: the characters before the start */
  if (n == 3) {
    count = value_to_int32(&a[2]);
    before = count < 0;
    if (before) count = -count;
  }
  if (start < 0) {
    start += blob ? (int64_t)s.n : count_chars(s);
    if (start < 0) {
      count += start;
      if (count < 0) count = 0;
      start = 0;
    }
  } else if (start > 0) {
    start--;
  } else if (count > 0) {
    count--; /* position 0 is one before the first */
  }
  if (before) {
    start -= count;
    if (start < 0) {
      count += start;
      start = 0;
    }
  }
  const uint8_t *p = s.p, *end = s.p + s.n, *q;
  if (blob) {
    p = start < (int64_t)s.n ? p + start : end;
    q = count < end - p ? p + count : end;
    *result = value_blob(p, (size_t)(q - p));
    return HDB_OK;
  }
  for (; p < end && start > 0; start--) p = utf8_skip(p, end);
  for (q = p; q < end && count > 0; count--) q = utf8_skip(q, end);
  *result = value_text((const char *)p, (size_t)(q - p));
  return HDB_OK;
}

status text_unicode(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, a);
  const uint8_t *p = s.p;
  *result = s.n && *p ? value_int(utf8_read(&p, s.p + s.n)) : value_null();
  return HDB_OK;
}

/* ---- quote ---- */

static void quote_real(double r, buf *out) {
  char text[40];
  if (r - r != 0) {
    buf_text(out, r < 0 ? "-Inf" : "Inf");
    return;
  }
  size_t n = real_to_text(r, text);
  if (text_to_real(text, n) != r) { /* 15 digits do not bring it back: all that there are, as "%!.20e" */
    decimal d;
    real_decode(r, 21, 26, &d);
    int e = d.point - 1;
    n = 0;
    if (d.negative) text[n++] = '-';
    text[n++] = d.digits[d.start];
    text[n++] = '.';
    if (d.n == 1) text[n++] = '0';
    for (int i = 1; i < d.n; i++) text[n++] = d.digits[d.start + i];
    text[n++] = 'e';
    text[n++] = e < 0 ? '-' : '+';
    if (e < 0) e = -e;
    if (e < 10) text[n++] = '0';
    n += int_to_text(e, text + n);
  }
  buf_append(out, text, n);
}

void value_quote(const value *v, buf *out) {
  switch (v->type) {
  case VAL_INTEGER: {
    char text[32];
    buf_append(out, text, int_to_text(v->i, text));
    return;
  }
  case VAL_REAL: quote_real(v->r, out); return;
  case VAL_BLOB:
    buf_text(out, "X'");
    for (uint32_t i = 0; i < v->n; i++) {
      buf_byte(out, (uint8_t)hex_digits[(uint8_t)v->p[i] >> 4]);
      buf_byte(out, (uint8_t)hex_digits[v->p[i] & 15]);
    }
    buf_byte(out, '\'');
    return;
  case VAL_TEXT: {
    slice s = text_until_nul(slice_of(v->p, v->n));
    buf_byte(out, '\'');
    for (const uint8_t *p = s.p, *end = s.p + s.n; p < end;) {
      const uint8_t *quote = memchr(p, '\'', (size_t)(end - p)), *stop = quote ? quote + 1 : end;
      buf_append(out, p, (size_t)(stop - p));
      if (quote) buf_byte(out, '\'');
      p = stop;
    }
    buf_byte(out, '\'');
    return;
  }
  default: buf_text(out, "NULL");
  }
}

status text_quote(function_call *call, int n, const value *a, value *result) {
  buf b = BUF_INIT;
  value_quote(a, &b);
  return function_result_buf(call, &b, VAL_TEXT, result);
}
