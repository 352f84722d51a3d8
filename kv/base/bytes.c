/* Buffers and arenas: the slow paths.
 *
 * A buf doubles, so appending n bytes costs O(n) altogether. An arena takes blocks that double from 4 KB up
 * to 1 MB; a rewind keeps the largest block it drops as the spare one, so that a row loop that rewinds
 * every row allocates nothing. Only running out of memory can fail, and is sticky (bytes.h).
 */
#include "kv/base/budget.h"
#include "kv/base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

_Thread_local memory_budget *memory_budget_now __attribute__((tls_model("initial-exec")));

static bool budget_take(size_t bytes) {
  memory_budget *m = memory_budget_now;
  if (!m) return true;
  if (m->left < (int64_t)bytes) {
    m->exceeded = true;
    return false;
  }
  m->left -= (int64_t)bytes;
  return true;
}

void buf_free(buf *b) {
  memory_budget_give(b->capacity);
  free(b->p);
  *b = (buf)BUF_INIT;
}

uint8_t *buf_grow(buf *b, size_t n) {
  if (b->failed) return NULL;
  if (n > SIZE_MAX / 4 || b->n > SIZE_MAX / 4) goto fail;
  size_t wanted = b->n + n, capacity = b->capacity < 32 ? 64 : b->capacity * 2;
  if (capacity < wanted) capacity = wanted;
  if (!budget_take(capacity - b->capacity)) goto fail;
  uint8_t *p = realloc(b->p, capacity);
  if (!p) goto fail;
  b->p = p;
  b->capacity = capacity;
  return p + b->n;
fail:
  b->failed = true;
  return NULL;
}

void buf_text(buf *b, const char *text) { buf_append(b, text, strlen(text)); }

void buf_quoted_name(buf *b, const char *name) {
  buf_byte(b, '"');
  for (; *name; name++) {
    if (*name == '"') buf_byte(b, '"');
    buf_byte(b, (uint8_t)*name);
  }
  buf_byte(b, '"');
}

void buf_printf(buf *b, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  va_list copy;
  va_copy(copy, arguments);
  int n = vsnprintf(NULL, 0, format, copy);
  va_end(copy);
  if (n < 0) {
    b->failed = true;
  } else if (buf_reserve(b, (size_t)n + 1)) {
    vsnprintf((char *)b->p + b->n, (size_t)n + 1, format, arguments);
    b->n += (size_t)n;
  }
  va_end(arguments);
}

void buf_varint_slow(buf *b, uint64_t v) {
  uint8_t *p = buf_reserve(b, 10);
  if (!p) return;
  size_t n = 0;
  while (v >= 0x80) {
    p[n++] = (uint8_t)(v | 0x80);
    v >>= 7;
  }
  p[n++] = (uint8_t)v;
  b->n += n;
}

const char *buf_cstr(buf *b) {
  uint8_t *p = buf_reserve(b, 1);
  if (!p) return NULL;
  *p = 0;
  return (const char *)b->p;
}

const uint8_t *varint_get_slow(const uint8_t *p, const uint8_t *end, uint64_t *v) {
  uint64_t r = 0;
  for (unsigned shift = 0; p < end && shift < 70; shift += 7) {
    uint8_t byte = *p++;
    if (shift == 63 && byte > 1) return NULL; /* over 64 bits */
    r |= (uint64_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) {
      *v = r;
      return p;
    }
  }
  return NULL;
}

/* ---- arenas ---- */

enum { ARENA_BLOCK_MIN = 4096, ARENA_BLOCK_MAX = 1 << 20 };

struct arena_block {
  arena_block *older;
  size_t size; /* of data */
  _Alignas(8) uint8_t data[];
};

static void arena_use(arena *a, arena_block *block) {
  block->older = a->block;
  a->block = block;
  a->next = block->data;
  a->end = block->data + block->size;
}

void *arena_slow(arena *a, size_t n) {
  if (n > SIZE_MAX / 2) {
    a->failed = true;
    return NULL;
  }
  n = (n + 7) & ~(size_t)7;
  arena_block *block = a->spare;
  if (block && block->size >= n) {
    a->spare = NULL;
  } else {
    size_t size = a->block ? a->block->size * 2 : ARENA_BLOCK_MIN - sizeof *block;
    if (size > ARENA_BLOCK_MAX) size = ARENA_BLOCK_MAX;
    if (size < n) size = n;
    block = budget_take(size) ? malloc(sizeof *block + size) : NULL;
    if (!block) {
      a->failed = true;
      return NULL;
    }
    block->size = size;
  }
  arena_use(a, block);
  void *p = a->next;
  a->next += n;
  return p;
}

void *arena_zero(arena *a, size_t n) {
  void *p = arena_alloc(a, n);
  if (p && n) memset(p, 0, n);
  return p;
}

void *arena_copy(arena *a, const void *p, size_t n) {
  void *q = arena_alloc(a, n);
  if (q && n) memcpy(q, p, n);
  return q;
}

char *arena_strndup(arena *a, const char *text, size_t n) {
  if (n == SIZE_MAX) {
    a->failed = true;
    return NULL;
  }
  char *q = arena_alloc(a, n + 1);
  if (!q) return NULL;
  if (n) memcpy(q, text, n);
  q[n] = 0;
  return q;
}

char *arena_strdup(arena *a, const char *text) { return arena_strndup(a, text, strlen(text)); }

char *arena_printf(arena *a, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  va_list copy;
  va_copy(copy, arguments);
  int n = vsnprintf(NULL, 0, format, copy);
  va_end(copy);
  char *q = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
  if (q) vsnprintf(q, (size_t)n + 1, format, arguments);
  if (n < 0) a->failed = true;
  va_end(arguments);
  return q;
}

void arena_rewind(arena *a, arena_mark mark) {
  while (a->block != mark.block) {
    arena_block *block = a->block;
    a->block = block->older;
    if (!a->spare || a->spare->size < block->size) {
      if (a->spare) memory_budget_give(a->spare->size);
      free(a->spare);
      a->spare = block;
    } else {
      memory_budget_give(block->size);
      free(block);
    }
  }
  a->next = mark.next;
  a->end = a->block ? a->block->data + a->block->size : NULL;
}

void arena_clear(arena *a) {
  if (a->spare) memory_budget_give(a->spare->size);
  free(a->spare);
  while (a->block) {
    arena_block *older = a->block->older;
    memory_budget_give(a->block->size);
    free(a->block);
    a->block = older;
  }
  *a = (arena)ARENA_INIT;
}
