/* Broken UTF-8: overlong forms, surrogates and U+FFFE, U+FFFF read as U+FFFD. Nothing fails. */
#include "sql/utf8.h"

#include <stdbool.h>

uint32_t utf8_read_slow(const uint8_t **pp, const uint8_t *end) {
  const uint8_t *p = *pp;
  uint32_t c = *p++;
  if (c < 0xe0) c &= 0x1f;
  else if (c < 0xf0) c &= 0x0f;
  else if (c < 0xf8) c &= 0x07;
  else if (c < 0xfc) c &= 0x03;
  else c = c < 0xfe ? c & 1 : 0;
  while (p < end && (*p & 0xc0) == 0x80) c = (c << 6) + (*p++ & 0x3f);
  *pp = p;
  bool bad = c < 0x80 || (c & 0xfffff800) == 0xd800 || (c & 0xfffffffe) == 0xfffe;
  return bad ? 0xfffd : c;
}

size_t utf8_write(uint32_t c, uint8_t *out) {
  if (c < 0x80) {
    out[0] = (uint8_t)c;
    return 1;
  }
  if (c < 0x800) {
    out[0] = (uint8_t)(0xc0 | c >> 6);
    out[1] = (uint8_t)(0x80 | (c & 0x3f));
    return 2;
  }
  if (c < 0x10000) {
    out[0] = (uint8_t)(0xe0 | c >> 12);
    out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    out[2] = (uint8_t)(0x80 | (c & 0x3f));
    return 3;
  }
  out[0] = (uint8_t)(0xf0 | (c >> 18 & 7));
  out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
  out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
  out[3] = (uint8_t)(0x80 | (c & 0x3f));
  return 4;
}
