/* Text to number and back.
 *
 * N1  text -> double is correctly rounded: exact when 15 digits and a power of ten up to 22 do; from a 128-bit
 *     product with the power (Lemire, "Number Parsing at a Gigabyte per Second") up to 19 digits and 10^65; else by
 *     the C library's conversion in the "C" locale, over a cleaned copy.
 * N2  Nothing here looks at the process's locale or needs a NUL behind the text.
 * N3  Digits beyond the 780th cannot change the nearest double except through "there is something": they are
 *     replaced by one 1 when any of them is not 0.
 *
 * Cost: an integer text about 1 ns a digit, a short real 10-20 ns, a long one 100-200 ns; double to text 40-150 ns,
 * whole numbers 10 ns. Nothing allocates. Nothing fails.
 */
#include "sql/number.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "sql/number_powers.h"
#include "sql/value.h"

#define TWO_63 9223372036854775808.0

/* ---- digits ---- */

static const char digit_pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                                  "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                                  "8081828384858687888990919293949596979899";

/* Writes u so that it ends before `end`; returns its first byte. */
static char *put_digits(uint64_t u, char *end) {
  while (u >= 100) {
    end -= 2;
    memcpy(end, digit_pairs + u % 100 * 2, 2);
    u /= 100;
  }
  if (u >= 10) {
    end -= 2;
    memcpy(end, digit_pairs + u * 2, 2);
  } else {
    *--end = (char)('0' + u);
  }
  return end;
}

static size_t uint_to_text(uint64_t u, char *out) {
  char text[24], *end = text + sizeof text, *p = put_digits(u, end);
  size_t n = (size_t)(end - p);
  memcpy(out, p, n);
  return n;
}

/* ---- text to number ---- */

enum { HEAD_DIGITS = 19, DIGITS_KEPT = 780, EXPONENT_MAX = 10000 };

/* What a text's numeric prefix looks like. */
typedef struct number_scan {
  const char *digits;  /* first significant digit */
  const char *end;     /* where scanning stopped, blanks skipped */
  uint64_t head;       /* the first (up to) 19 significant digits */
  int head_n;          /* how many those are */
  int64_t exponent;    /* value = head * 10^exponent when nothing was left out */
  int digits_n;        /* all digits seen, leading zeros too (saturates) */
  bool negative, more; /* more: there are significant digits beyond head */
  bool point, e, e_valid;
} number_scan;

static void scan_digit(number_scan *s, char c, bool fraction) {
  if (s->digits_n < INT32_MAX) s->digits_n++;
  if (s->head_n < HEAD_DIGITS) {
    s->head = s->head * 10 + (uint64_t)(c - '0');
    if (s->head) s->head_n++;
    if (fraction) s->exponent--;
  } else {
    if (c != '0') s->more = true;
    if (!fraction) s->exponent++;
  }
}

static const char *scan_exponent(number_scan *s, const char *p, const char *end) {
  bool negative = false;
  int e = 0;
  if (p < end && (*p == '-' || *p == '+')) negative = *p++ == '-';
  for (; p < end && ascii_digit((unsigned char)*p); p++) {
    e = e < EXPONENT_MAX ? e * 10 + (*p - '0') : EXPONENT_MAX;
    s->e_valid = true;
  }
  s->exponent += negative ? -e : e;
  return p;
}

static void scan_number(number_scan *s, const char *p, const char *end) {
  *s = (number_scan){.e_valid = true};
  while (p < end && ascii_space((unsigned char)*p)) p++;
  if (p < end && (*p == '-' || *p == '+')) s->negative = *p++ == '-';
  s->digits = p;
  for (; p < end && ascii_digit((unsigned char)*p); p++) scan_digit(s, *p, false);
  if (p < end && *p == '.') {
    s->point = true;
    for (p++; p < end && ascii_digit((unsigned char)*p); p++) scan_digit(s, *p, true);
  }
  if (p < end && (*p | 32) == 'e') {
    s->e = true;
    s->e_valid = false;
    p = scan_exponent(s, p + 1, end);
  }
  while (p < end && ascii_space((unsigned char)*p)) p++;
  s->end = p;
}

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;
static void make_c_locale(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

/* All significant digits (N3), no point, the exponent behind: "123e-5". */
static double convert_slow(const number_scan *s, const char *end) {
  char text[DIGITS_KEPT + 48];
  size_t n = 0;
  int64_t exponent = s->exponent;
  if (!s->more) {
    n = uint_to_text(s->head, text);
  } else {
    bool rest = false;
    for (const char *p = s->digits; p < end && (ascii_digit((unsigned char)*p) || *p == '.'); p++) {
      if (*p == '.' || (n == 0 && *p == '0')) continue;
      if (n < DIGITS_KEPT) text[n++] = *p;
      else if (*p != '0') rest = true;
    }
    exponent -= (int64_t)n - HEAD_DIGITS; /* s->exponent is that of head's last digit */
    if (rest) text[n++] = '1', exponent--;
  }
  text[n++] = 'e';
  if (exponent > 99999) exponent = 99999;
  if (exponent < -99999) exponent = -99999;
  n += int_to_text(exponent, text + n);
  text[n] = 0;
  pthread_once(&c_locale_once, make_c_locale);
  return c_locale ? strtod_l(text, NULL, c_locale) : strtod(text, NULL);
}

static const double powers_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                       1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* head * 10^q by a 128-bit product; false: too close to call. head != 0. */
static bool convert_product(uint64_t head, int q, double *out) {
  const uint64_t *power = powers_of_five[q - POWER_MIN];
  int shift = __builtin_clzll(head);
  head <<= shift;
  unsigned __int128 product = (unsigned __int128)head * power[0];
  uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
  if ((high & 0x1ff) == 0x1ff) { /* the bits below may still carry into the rounding */
    uint64_t more = (uint64_t)((unsigned __int128)head * power[1] >> 64);
    low += more;
    high += low < more;
    if (low == UINT64_MAX && (q < -27 || q > 55)) return false;
  }
  int top = (int)(high >> 63);
  uint64_t mantissa = high >> (top + 9);
  /* exactly halfway: to the even one */
  if (low <= 1 && q >= -4 && q <= 23 && (mantissa & 3) == 1 && mantissa << (top + 9) == high) mantissa &= ~(uint64_t)1;
  mantissa = (mantissa + (mantissa & 1)) >> 1;
  int64_t exponent = ((217706 * (int64_t)q) >> 16) + 63 + top - shift + 1023;
  if (mantissa >> 53) {
    mantissa = (uint64_t)1 << 52;
    exponent++;
  }
  uint64_t bits = (mantissa & ~((uint64_t)1 << 52)) | (uint64_t)exponent << 52;
  memcpy(out, &bits, sizeof *out);
  return true;
}

static double scan_to_real(const number_scan *s, const char *end) {
  double r;
  if (s->head == 0) r = 0.0;
  else if (!s->more && s->exponent == 0) r = (double)s->head;
  else if (!s->more && s->head <= (1ull << 53) && s->exponent >= -22 && s->exponent <= 22)
    r = s->exponent < 0 ? (double)s->head / powers_of_ten[-s->exponent] : (double)s->head * powers_of_ten[s->exponent];
  else if (s->more || s->exponent < POWER_MIN || s->exponent > POWER_MAX || !convert_product(s->head, (int)s->exponent, &r))
    r = convert_slow(s, end);
  return s->negative ? -r : r;
}

double text_to_real(const char *p, size_t n) {
  number_scan s;
  if (n == 0) return 0.0;
  scan_number(&s, p, p + n);
  return scan_to_real(&s, p + n);
}

int text_to_int(const char *p, size_t n, int64_t *out) {
  const char *end = p + n, *start;
  bool negative = false, too_large = false;
  uint64_t u = 0;
  *out = 0;
  if (n == 0) return -1;
  while (p < end && ascii_space((unsigned char)*p)) p++;
  if (p < end && (*p == '-' || *p == '+')) negative = *p++ == '-';
  for (start = p; p < end && ascii_digit((unsigned char)*p); p++) {
    unsigned digit = (unsigned)(*p - '0');
    if (u > (UINT64_MAX - digit) / 10) too_large = true;
    else if (!too_large) u = u * 10 + digit;
  }
  if (p == start) return -1;
  const char *rest = p;
  while (rest < end && ascii_space((unsigned char)*rest)) rest++;
  int rc = rest < end;
  if (!too_large && u <= INT64_MAX) {
    *out = negative ? -(int64_t)u : (int64_t)u;
    return rc;
  }
  *out = negative ? INT64_MIN : INT64_MAX;
  if (too_large || u > (uint64_t)INT64_MAX + 1) return 2;
  return negative ? rc : 3;
}

int text_to_number(const char *p, size_t n, int64_t *i, double *r) {
  number_scan s;
  *i = 0;
  *r = 0.0;
  if (n == 0) return 0;
  scan_number(&s, p, p + n);
  if (s.digits_n == 0) return 0;
  bool whole = s.end == p + n && s.e_valid;
  bool looks_real = s.point || (s.e && s.e_valid);
  if (!looks_real) {
    int rc = text_to_int(p, n, i);
    *r = scan_to_real(&s, p + n);
    if (rc == 0 || rc == 1) return whole ? 1 : -1;
    return whole ? 2 : -2;
  }
  *r = scan_to_real(&s, p + n);
  *i = real_to_int(*r);
  return whole ? 2 : -2;
}

int64_t real_to_int(double r) {
  if (r <= -TWO_63) return INT64_MIN;
  if (r >= TWO_63) return INT64_MAX;
  return (int64_t)r;
}

bool real_same_as_int(double r, int64_t i) {
  return r == 0.0 || (r == (double)i && i >= -2251799813685248 && i < 2251799813685248);
}

/* ---- number to text ---- */

size_t int_to_text(int64_t i, char *out) {
  if (i >= 0) return uint_to_text((uint64_t)i, out);
  *out = '-';
  return 1 + uint_to_text(-(uint64_t)i, out + 1);
}

/* r > 0, finite. Brings it into [1e17, 1e19) by powers of ten; value = result * 10^*exponent, cut off. */
static uint64_t real_scale(double r, int *exponent) {
  long double x = r;
  int e = 0;
  if (x >= 1.0e19L) {
    for (; x >= 1.0e119L; e += 100) x *= 1.0e-100L;
    for (; x >= 1.0e29L; e += 10) x *= 1.0e-10L;
    for (; x >= 1.0e19L; e++) x *= 1.0e-1L;
  } else {
    for (; x < 1.0e-97L; e -= 100) x *= 1.0e100L;
    for (; x < 1.0e7L; e -= 10) x *= 1.0e10L;
    for (; x < 1.0e17L; e--) x *= 10.0L;
  }
  *exponent = e;
  return (uint64_t)x;
}

/* Keeps `keep` digits, rounding half up; carries may make one digit more in front. */
static void decimal_round(decimal *d, int keep) {
  char *digits = d->digits + d->start;
  bool up = digits[keep] >= '5';
  d->n = keep;
  if (!up) return;
  for (int i = keep - 1; i >= 0; i--) {
    if (digits[i] != '9') {
      digits[i]++;
      return;
    }
    digits[i] = '0';
  }
  d->digits[--d->start] = '1';
  d->n++;
  d->point++;
}

void real_decode(double r, int round, int digits_max, decimal *out) {
  *out = (decimal){.negative = r < 0};
  if (r != r || r - r != 0) {
    out->special = r != r ? DECIMAL_NAN : DECIMAL_INFINITE;
    return;
  }
  if (r == 0) {
    out->digits[0] = '0';
    out->n = out->point = 1;
    return;
  }
  int exponent;
  uint64_t scaled = real_scale(r < 0 ? -r : r, &exponent);
  char *end = out->digits + sizeof out->digits, *p = put_digits(scaled, end);
  out->start = (int)(p - out->digits);
  out->n = (int)(end - p);
  out->point = out->n + exponent;
  if (round <= 0) {
    round = out->point + -round;
    if (round == 0 && *p >= '5') { /* 0.7 at no digits: a 1 may come out of it */
      out->digits[--out->start] = '0';
      out->n++;
      out->point++;
      round = 1;
    }
  }
  if (round > 0 && (round < out->n || out->n > digits_max)) {
    if (round > digits_max) round = digits_max;
    decimal_round(out, round);
  }
  while (out->n > 1 && out->digits[out->start + out->n - 1] == '0') out->n--;
}

static size_t put_exponent(char *out, int e) {
  size_t n = 0;
  out[n++] = 'e';
  out[n++] = e < 0 ? '-' : '+';
  if (e < 0) e = -e;
  if (e >= 100) out[n++] = (char)('0' + e / 100);
  out[n++] = (char)('0' + e / 10 % 10);
  out[n++] = (char)('0' + e % 10);
  return n;
}

size_t real_to_text(double r, char *out) {
  if (r > -1e15 && r < 1e15 && r == (double)(int64_t)r) {
    size_t n = int_to_text((int64_t)r, out);
    memcpy(out + n, ".0", 2);
    return n + 2;
  }
  decimal d;
  size_t n = 0;
  real_decode(r, 15, 26, &d);
  if (d.special == DECIMAL_NAN) return 0;
  if (d.negative) out[n++] = '-';
  if (d.special == DECIMAL_INFINITE) {
    memcpy(out + n, "Inf", 3);
    return n + 3;
  }
  const char *digits = d.digits + d.start;
  int e = d.point - 1, before = e < -4 || e > 14 ? 1 : d.point, used = 0;
  if (before <= 0) {
    out[n++] = '0';
    out[n++] = '.';
    for (; before < 0; before++) out[n++] = '0';
  } else {
    for (; used < before; used++) out[n++] = used < d.n ? digits[used] : '0';
    out[n++] = '.';
    if (used >= d.n) out[n++] = '0';
  }
  for (; used < d.n; used++) out[n++] = digits[used];
  if (e < -4 || e > 14) n += put_exponent(out + n, e);
  return n;
}
