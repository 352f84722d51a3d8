/* Bytes: borrowed slices, growing buffers, arenas.
 *
 * A slice never owns. A buf owns its bytes; after an allocation failure it is "sticky": every later
 * append is a no-op and buf_failed() says so, so that builders test once a phase, not once a line.
 * An arena frees by lifetime: everything at once (arena_clear) or back to a mark (stack discipline).
 */
#ifndef HDB_KV_BASE_BYTES_H
#define HDB_KV_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct slice {
  const uint8_t *p;
  size_t n;
} slice;

static inline slice slice_of(const void *p, size_t n) {
  slice s = {(const uint8_t *)p, n};
  return s;
}
static inline slice slice_str(const char *text) { return slice_of(text, strlen(text)); }
/* memcmp order, shorter first on a tie. Most pairs differ in their first eight bytes, which needs no call. */
static inline int slice_compare(slice a, slice b) {
  if (a.n >= 8 && b.n >= 8) {
    uint64_t x, y;
    memcpy(&x, a.p, 8);
    memcpy(&y, b.p, 8);
    if (x != y) return __builtin_bswap64(x) < __builtin_bswap64(y) ? -1 : 1;
    if (a.n == 8 || b.n == 8) return (a.n > b.n) - (a.n < b.n);
  }
  size_t n = a.n < b.n ? a.n : b.n;
  if (n < 8) { /* a group's keys without their common prefix: a few bytes */
    for (size_t i = 0; i < n; i++)
      if (a.p[i] != b.p[i]) return a.p[i] < b.p[i] ? -1 : 1;
    return (a.n > b.n) - (a.n < b.n);
  }
  int c = memcmp(a.p, b.p, n);
  return c ? c : (a.n > b.n) - (a.n < b.n);
}
static inline bool slice_equal(slice a, slice b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
static inline bool slice_starts(slice s, slice prefix) {
  return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

typedef struct buf {
  uint8_t *p;
  size_t n, capacity;
  bool failed;
} buf;

#define BUF_INIT {0, 0, 0, false}
void buf_free(buf *b);
static inline void buf_clear(buf *b) { b->n = 0; }
static inline bool buf_failed(const buf *b) { return b->failed; }
static inline slice buf_slice(const buf *b) { return slice_of(b->p, b->n); }
uint8_t *buf_grow(buf *b, size_t n); /* the slow path of buf_reserve */
/* Room for n more bytes; returns where they go, NULL when out of memory. Does not move b->n. */
static inline uint8_t *buf_reserve(buf *b, size_t n) {
  if (n <= b->capacity - b->n && b->p && !b->failed) return b->p + b->n;
  return buf_grow(b, n);
}
static inline void buf_append(buf *b, const void *p, size_t n) {
  uint8_t *q = buf_reserve(b, n);
  if (q && n) {
    memcpy(q, p, n);
    b->n += n;
  }
}
static inline void buf_byte(buf *b, uint8_t byte) {
  uint8_t *q = buf_reserve(b, 1);
  if (q) {
    *q = byte;
    b->n++;
  }
}
void buf_text(buf *b, const char *text);
void buf_quoted_name(buf *b, const char *name); /* "na""me", as an identifier of SQL */
void buf_printf(buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* LEB128, low seven bits first. */
void buf_varint_slow(buf *b, uint64_t v);
static inline void buf_varint(buf *b, uint64_t v) {
  if (v < 0x80) buf_byte(b, (uint8_t)v);
  else buf_varint_slow(b, v);
}
/* A NUL behind the bytes, not counted in n; returns the text or NULL. */
const char *buf_cstr(buf *b);

/* Reads a varint at p, not beyond end; returns the byte after it, NULL when it is cut or over 64 bits. */
const uint8_t *varint_get_slow(const uint8_t *p, const uint8_t *end, uint64_t *v);
static inline const uint8_t *varint_get(const uint8_t *p, const uint8_t *end, uint64_t *v) {
  if (p < end && *p < 0x80) {
    *v = *p;
    return p + 1;
  }
  return varint_get_slow(p, end, v);
}
/* Fixed-width numbers: memcpy and a byte swap, one instruction each on little-endian machines. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "a little-endian machine is assumed"
#endif
static inline void put_be32(uint8_t *p, uint32_t v) {
  v = __builtin_bswap32(v);
  memcpy(p, &v, 4);
}
static inline uint32_t get_be32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return __builtin_bswap32(v);
}
static inline void put_be64(uint8_t *p, uint64_t v) {
  v = __builtin_bswap64(v);
  memcpy(p, &v, 8);
}
static inline uint64_t get_be64(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return __builtin_bswap64(v);
}
static inline void buf_be32(buf *b, uint32_t v) {
  uint8_t *q = buf_reserve(b, 4);
  if (q) {
    put_be32(q, v);
    b->n += 4;
  }
}
static inline void buf_be64(buf *b, uint64_t v) {
  uint8_t *q = buf_reserve(b, 8);
  if (q) {
    put_be64(q, v);
    b->n += 8;
  }
}

typedef struct arena_block arena_block;
typedef struct arena {
  arena_block *block; /* the newest */
  uint8_t *next, *end;
  bool failed;        /* sticky: an allocation returned NULL */
  arena_block *spare; /* kept by a rewind for the next block */
} arena;
typedef struct arena_mark {
  arena_block *block;
  uint8_t *next;
} arena_mark;

#define ARENA_INIT {0, 0, 0, false, 0}
/* Aligned to 8; NULL (and failed) when out of memory. */
void *arena_slow(arena *a, size_t n);
static inline void *arena_alloc(arena *a, size_t n) {
  if (n <= (size_t)(a->end - a->next) && a->next) { /* the room is a multiple of 8 */
    void *p = a->next;
    a->next += (n + 7) & ~(size_t)7;
    return p;
  }
  return arena_slow(a, n);
}
void *arena_zero(arena *a, size_t n);
void *arena_copy(arena *a, const void *p, size_t n);
char *arena_strndup(arena *a, const char *text, size_t n); /* NUL added */
char *arena_strdup(arena *a, const char *text);
char *arena_printf(arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline arena_mark arena_save(const arena *a) {
  arena_mark m = {a->block, a->next};
  return m;
}
/* Everything allocated since the mark is gone; keeps one spare block for the next row. */
void arena_rewind(arena *a, arena_mark mark);
void arena_clear(arena *a); /* frees everything; the arena can be used again */

#endif
