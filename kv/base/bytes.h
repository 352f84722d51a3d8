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
/* memcmp order, shorter first on a tie. */
static inline int slice_compare(slice a, slice b) {
  size_t n = a.n < b.n ? a.n : b.n;
  int c = n ? memcmp(a.p, b.p, n) : 0;
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
/* Room for n more bytes; returns where they go, NULL when out of memory. Does not move b->n. */
uint8_t *buf_reserve(buf *b, size_t n);
void buf_append(buf *b, const void *p, size_t n);
void buf_byte(buf *b, uint8_t byte);
void buf_text(buf *b, const char *text);
void buf_printf(buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_be32(buf *b, uint32_t v);
void buf_be64(buf *b, uint64_t v);
/* LEB128, low seven bits first. */
void buf_varint(buf *b, uint64_t v);
/* A NUL behind the bytes, not counted in n; returns the text or NULL. */
const char *buf_cstr(buf *b);

/* Reads a varint at p, not beyond end; returns the byte after it, NULL when it is cut or over 64 bits. */
const uint8_t *varint_get(const uint8_t *p, const uint8_t *end, uint64_t *v);
static inline void put_be32(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t)(v >> 24), p[1] = (uint8_t)(v >> 16), p[2] = (uint8_t)(v >> 8), p[3] = (uint8_t)v;
}
static inline uint32_t get_be32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline void put_be64(uint8_t *p, uint64_t v) { put_be32(p, (uint32_t)(v >> 32)), put_be32(p + 4, (uint32_t)v); }
static inline uint64_t get_be64(const uint8_t *p) { return (uint64_t)get_be32(p) << 32 | get_be32(p + 4); }

typedef struct arena_block arena_block;
typedef struct arena {
  arena_block *block; /* the newest */
  uint8_t *next, *end;
  bool failed; /* sticky: an allocation returned NULL */
} arena;
typedef struct arena_mark {
  arena_block *block;
  uint8_t *next;
} arena_mark;

#define ARENA_INIT {0, 0, 0, false}
/* Aligned to 8; NULL (and failed) when out of memory. */
void *arena_slow(arena *a, size_t n);
static inline void *arena_alloc(arena *a, size_t n) {
  n = (n + 7) & ~(size_t)7;
  if ((size_t)(a->end - a->next) >= n && a->next) {
    void *p = a->next;
    a->next += n;
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
