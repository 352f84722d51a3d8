/* UTF-8 that may be broken, read as SQLite reads it: a lead byte, then every continuation byte that follows. */
#ifndef HDB_SQL_UTF8_H
#define HDB_SQL_UTF8_H

#include <stddef.h>
#include <stdint.h>

static inline const uint8_t *utf8_skip(const uint8_t *p, const uint8_t *end) {
  if (*p++ >= 0xc0)
    while (p < end && (*p & 0xc0) == 0x80) p++;
  return p;
}
uint32_t utf8_read_slow(const uint8_t **p, const uint8_t *end);
static inline uint32_t utf8_read(const uint8_t **p, const uint8_t *end) {
  return **p < 0xc0 ? *(*p)++ : utf8_read_slow(p, end);
}
/* 1 to 4 bytes. */
size_t utf8_write(uint32_t c, uint8_t *out);

#endif
