/* Key encoding (the table is in key.h).
 *
 * Numbers: d is the greatest double <= x, so x - d is >= 0 and, int64 being dense, below 1024: doubles from
 * 2^53 on are at most 1024 apart. Equal d and residual mean equal numbers, whether int64 or double.
 * NaN is NULL, as it is for SQLite.
 *
 * NOCASE folds A-Z and, like SQLite's comparison, looks no further than the first NUL: of two texts equal up
 * to it the shorter is first. So what follows a NUL is replaced by its length. RTRIM drops spaces at the end.
 *
 * Cost: numbers one reserve and a store, text one memchr and one copy when there is no NUL in it.
 */
#include "kv/base/key.h"

#include <math.h>

enum { NUMBER_SHORT = 9, NUMBER_LONG = 11 };
#define TWO_53 9007199254740992.0
#define TWO_63 9223372036854775808.0

/* A double's bits so that unsigned order is numeric order; -0.0 has been made 0.0. */
static inline uint64_t sortable(double d) {
  uint64_t u;
  memcpy(&u, &d, 8);
  return u >> 63 ? ~u : u | 1ull << 63;
}

static inline double unsortable(uint64_t u) {
  u = u >> 63 ? u & ~(1ull << 63) : ~u;
  double d;
  memcpy(&d, &u, 8);
  return d;
}

static void invert(uint8_t *p, size_t n) {
  for (size_t i = 0; i < n; i++) p[i] = (uint8_t)~p[i];
}

static void put_number(buf *b, double d, unsigned residual, bool descending) {
  uint8_t *p = buf_reserve(b, NUMBER_LONG);
  if (!p) return;
  size_t n = NUMBER_SHORT;
  p[0] = KEY_CLASS_NUMBER;
  put_be64(p + 1, sortable(d));
  if (d >= TWO_53 || d <= -TWO_53) {
    p[9] = (uint8_t)(residual >> 8);
    p[10] = (uint8_t)residual;
    n = NUMBER_LONG;
  }
  if (descending) invert(p, n);
  b->n += n;
}

void key_put_null(buf *b, bool descending) {
  buf_byte(b, descending ? (uint8_t)~KEY_CLASS_NULL : (uint8_t)KEY_CLASS_NULL);
}

bool key_put_int(buf *b, int64_t v, bool descending) {
  double d = (double)v;
  /* (double)v rounds to the nearest; step down when that was above v. 2^63 itself is above every int64. */
  if (d >= TWO_63 || (int64_t)d > v) d = nextafter(d, -INFINITY);
  put_number(b, d, (unsigned)(v - (int64_t)d), descending);
  return true;
}

bool key_put_real(buf *b, double v, bool descending) {
  if (v != v) {
    key_put_null(b, descending);
    return false;
  }
  if (v == 0) v = 0.0;
  put_number(b, v, 0, descending);
  bool whole = v >= -TWO_63 && v < TWO_63 && v == (double)(int64_t)v;
  return !whole;
}

/* Bytes with 00 -> 00 ff, no terminator. */
static void put_escaped(buf *b, const uint8_t *p, size_t n) {
  while (n) {
    const uint8_t *nul = memchr(p, 0, n);
    if (!nul) {
      buf_append(b, p, n);
      return;
    }
    size_t run = (size_t)(nul - p) + 1;
    buf_append(b, p, run);
    buf_byte(b, 0xff);
    p += run, n -= run;
  }
}

static bool put_folded(buf *b, const uint8_t *p, size_t n) {
  const uint8_t *nul = n ? memchr(p, 0, n) : NULL;
  size_t head = nul ? (size_t)(nul - p) : n;
  uint8_t *q = buf_reserve(b, head);
  if (!q) return false;
  bool lossless = !nul;
  for (size_t i = 0; i < head; i++) {
    uint8_t c = p[i];
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A', lossless = false;
    q[i] = c;
  }
  b->n += head;
  if (nul) {
    uint8_t rest[9] = {0};
    put_be64(rest + 1, n - head);
    put_escaped(b, rest, sizeof rest);
  }
  return lossless;
}

static void finish_bytes(buf *b, size_t start, bool descending) {
  buf_append(b, "\0", 2);
  if (descending && !b->failed) invert(b->p + start, b->n - start);
}

bool key_put_text(buf *b, const void *p, size_t n, enum key_collation collation, bool descending) {
  size_t start = b->n, kept = n;
  bool lossless = true;
  buf_byte(b, KEY_CLASS_TEXT);
  if (collation == KEY_NOCASE) {
    lossless = put_folded(b, p, n);
  } else {
    if (collation == KEY_RTRIM)
      while (kept && ((const uint8_t *)p)[kept - 1] == ' ') kept--;
    lossless = kept == n;
    put_escaped(b, p, kept);
  }
  finish_bytes(b, start, descending);
  return lossless;
}

bool key_put_blob(buf *b, const void *p, size_t n, bool descending) {
  size_t start = b->n;
  buf_byte(b, KEY_CLASS_BLOB);
  put_escaped(b, p, n);
  finish_bytes(b, start, descending);
  return true;
}

/* ---- reading ---- */

/* p is after the class byte. The end of the content (the terminator's first byte), NULL when there is none or an
 * escape is damaged; *escapes counts the 00 ff pairs. */
static const uint8_t *content_end(const uint8_t *p, const uint8_t *end, uint8_t flip, size_t *escapes) {
  *escapes = 0;
  for (;;) {
    const uint8_t *nul = p < end ? memchr(p, flip, (size_t)(end - p)) : NULL;
    if (!nul || end - nul < 2) return NULL;
    uint8_t second = nul[1] ^ flip;
    if (second == 0) return nul;
    if (second != 0xff) return NULL;
    ++*escapes;
    p = nul + 2;
  }
}

static bool get_bytes(const uint8_t *p, const uint8_t *stop, uint8_t flip, size_t escapes, key_value *v, buf *scratch) {
  size_t n = (size_t)(stop - p);
  if (!flip && !escapes) {
    v->bytes = slice_of(p, n);
    return true;
  }
  uint8_t *q = buf_reserve(scratch, n), *start = q;
  if (!q) return false;
  while (p < stop) {
    uint8_t c = *p++ ^ flip;
    *q++ = c;
    if (c == 0) p++; /* the ff of its escape */
  }
  v->bytes = slice_of(start, (size_t)(q - start));
  scratch->n += v->bytes.n;
  return true;
}

static const uint8_t *get_number(const uint8_t *p, const uint8_t *end, uint8_t flip, key_value *v) {
  if (end - p < 8) return NULL;
  double d = unsortable(get_be64(p) ^ (flip ? ~0ull : 0));
  unsigned residual = 0;
  p += 8;
  if (d != d) return NULL;
  if (d >= TWO_53 || d <= -TWO_53) {
    if (end - p < 2) return NULL;
    residual = (unsigned)(p[0] ^ flip) << 8 | (p[1] ^ flip);
    p += 2;
  }
  v->r = d;
  v->is_int = d >= -TWO_63 && d < TWO_63 && d == (double)(int64_t)d;
  if (v->is_int) {
    if (__builtin_add_overflow((int64_t)d, (int64_t)residual, &v->i)) return NULL;
  } else if (residual) {
    return NULL;
  }
  return p;
}

const uint8_t *key_get(const uint8_t *p, const uint8_t *end, bool descending, key_value *v, buf *scratch) {
  if (p >= end) return NULL;
  uint8_t flip = descending ? 0xff : 0;
  v->klass = *p++ ^ flip;
  v->is_int = false;
  switch (v->klass) {
  case KEY_CLASS_NULL: return p;
  case KEY_CLASS_NUMBER: return get_number(p, end, flip, v);
  case KEY_CLASS_TEXT:
  case KEY_CLASS_BLOB: {
    size_t escapes;
    const uint8_t *stop = content_end(p, end, flip, &escapes);
    if (!stop || !get_bytes(p, stop, flip, escapes, v, scratch)) return NULL;
    return stop + 2;
  }
  default: return NULL;
  }
}

const uint8_t *key_skip(const uint8_t *p, const uint8_t *end, bool descending) {
  if (p >= end) return NULL;
  uint8_t flip = descending ? 0xff : 0;
  key_value v;
  size_t escapes;
  switch (*p++ ^ flip) {
  case KEY_CLASS_NULL: return p;
  case KEY_CLASS_NUMBER: return get_number(p, end, flip, &v);
  case KEY_CLASS_TEXT:
  case KEY_CLASS_BLOB: p = content_end(p, end, flip, &escapes); return p ? p + 2 : NULL;
  default: return NULL;
  }
}

bool key_successor(buf *b) {
  while (b->n && b->p[b->n - 1] == 0xff) b->n--;
  if (b->n == 0) return false;
  b->p[b->n - 1]++;
  return true;
}
