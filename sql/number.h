/* Numbers and their texts: the digits behind %g, printf and CAST, and the scanner behind text -> number.
 *
 * real_decode gives what SQLite's formatter works with: 17 to 19 significant digits cut off (not rounded), then
 * rounded half up at the place asked for. Its last digits follow the same sequence of extended-precision
 * multiplications, so that quote() and %!.20g print the very same digits.
 */
#ifndef HDB_SQL_NUMBER_H
#define HDB_SQL_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DECIMAL_FINITE = 0, DECIMAL_INFINITE = 1, DECIMAL_NAN = 2 };
typedef struct decimal {
  char digits[24];
  int start;       /* the digits are digits[start .. start + n) */
  int n;           /* at least 1 for finite numbers; no zeros at the end */
  int point;       /* the decimal point stands after so many digits (negative: zeros before) */
  bool negative;
  uint8_t special; /* DECIMAL_* */
} decimal;

/* round > 0: significant digits; round <= 0: -round digits behind the point; never more than digits_max. */
void real_decode(double r, int round, int digits_max, decimal *out);

static inline bool ascii_space(unsigned char c) { return c == ' ' || (c >= 9 && c <= 13); }
static inline bool ascii_digit(unsigned char c) { return (unsigned)(c - '0') < 10; }
static inline bool ascii_alpha(unsigned char c) { return (unsigned)((c | 32) - 'a') < 26; }
static inline unsigned char ascii_lower(unsigned char c) { return (unsigned)(c - 'A') < 26 ? c + 32 : c; }
static inline unsigned char ascii_upper(unsigned char c) { return (unsigned)(c - 'a') < 26 ? c - 32 : c; }
/* 0..15, -1 for anything else. */
static inline int hex_digit(unsigned char c) {
  if (ascii_digit(c)) return c - '0';
  c |= 32;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Integer prefix as SQLite's column_int64 reads text: blanks, sign, digits; saturates.
 * 0: the whole text; 1: something else follows; 2: too large; 3: exactly 2^63 without a minus; -1: no digits. */
int text_to_int(const char *p, size_t n, int64_t *out);
/* Saturating. */
int64_t real_to_int(double r);
/* True when the text of r as an integer is the same number: r is whole and |r| < 2^51. */
bool real_same_as_int(double r, int64_t i);

#endif
