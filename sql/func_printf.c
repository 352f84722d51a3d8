/* printf() and format(): SQLite's own conversions, over SQL values.
 *
 *   %[flags][width][.precision][l|ll]conversion      flags: - + space # ! 0 ,
 *   d i u x X o p r     integers (r: 1st 2nd 3rd; , groups thousands)
 *   f e E g G           reals: at most 16 significant digits, 26 with !
 *   s z c q Q w         texts; ! counts characters instead of bytes
 *   n                   takes nothing and prints nothing;  %%
 * An unknown conversion ends the output. A missing argument is NULL: 0, 0.0 or ''. The format ends at a NUL.
 *
 * What can fail: a result over the length limit ("string or blob too big") and memory. Cost: per conversion.
 */
#include "sql/func_text.h"

enum { PRECISION_MAX = 100000000 }; /* of reals */

typedef struct conversion {
  bool left, alternate, bang, zero, comma;
  char sign;         /* '+', ' ' or 0 */
  int width, precision; /* precision -1: none */
  uint8_t type;
} conversion;

typedef struct printer {
  function_call *call;
  buf *out;
  int64_t limit;
  const uint8_t *p, *end; /* of the format */
  const value *arguments;
  int left;
  bool printed; /* something, be it empty: else the answer is NULL */
} printer;

static const value *next_argument(printer *f) {
  static const value null = {.type = VAL_NULL};
  if (f->left == 0) return &null;
  f->left--;
  return f->arguments++;
}
static uint8_t peek(const printer *f) { return f->p < f->end ? *f->p : 0; }

/* Enough room for n more bytes, else the limit's error. */
static status grow(printer *f, int64_t n) {
  if (n + (int64_t)f->out->n > f->limit) return function_too_big(f->call);
  return buf_reserve(f->out, (size_t)n + 1) ? HDB_OK : function_nomem(f->call);
}
static status fill(printer *f, uint8_t c, int64_t n) {
  if (n <= 0) return HDB_OK;
  TRY(grow(f, n));
  memset(f->out->p + f->out->n, c, (size_t)n);
  f->out->n += (size_t)n;
  return HDB_OK;
}
static status put(printer *f, const void *p, size_t n) {
  f->printed = true;
  TRY(grow(f, (int64_t)n));
  buf_append(f->out, p, n);
  return HDB_OK;
}
static status put_padded(printer *f, const conversion *c, const void *p, size_t n, int64_t width) {
  if (!c->left) TRY(fill(f, ' ', width - (int64_t)n));
  TRY(put(f, p, n));
  return c->left ? fill(f, ' ', width - (int64_t)n) : HDB_OK;
}

/* ---- reading a conversion ---- */

static int read_number(printer *f) {
  uint32_t n = 0;
  while (ascii_digit(peek(f))) n = n * 10 + (uint32_t)(*f->p++ - '0');
  return (int)(n & 0x7fffffff);
}

/* f->p is behind the %. */
static void read_conversion(printer *f, conversion *c) {
  *c = (conversion){.precision = -1};
  for (;; f->p++) { /* flags, width and precision may come in any order */
    switch (peek(f)) {
    case '-': c->left = true; continue;
    case '+': c->sign = '+'; continue;
    case ' ': c->sign = ' '; continue;
    case '#': c->alternate = true; continue;
    case '!': c->bang = true; continue;
    case '0': c->zero = true; continue;
    case ',': c->comma = true; continue;
    default: break;
    }
    break;
  }
  if (peek(f) == '*') {
    f->p++;
    int32_t w = value_to_int32(next_argument(f));
    if (w < 0) c->left = true, w = w == INT32_MIN ? 0 : -w;
    c->width = w;
  } else if (ascii_digit(peek(f))) {
    c->width = read_number(f);
  }
  if (peek(f) == '.') {
    f->p++;
    if (peek(f) == '*') {
      f->p++;
      int32_t p = value_to_int32(next_argument(f));
      c->precision = p == INT32_MIN ? -1 : p < 0 ? -p : p;
    } else {
      c->precision = read_number(f);
    }
  }
  for (int i = 0; i < 2 && peek(f) == 'l'; i++) f->p++;
  c->type = peek(f);
  if (f->p < f->end) f->p++;
}

/* ---- integers ---- */

static status print_integer(printer *f, const conversion *c, int64_t v) {
  static const char digits[] = "0123456789ABCDEF0123456789abcdef";
  bool is_signed = c->type == 'd' || c->type == 'i' || c->type == 'r';
  unsigned base = c->type == 'o' ? 8 : c->type == 'x' || c->type == 'X' || c->type == 'p' ? 16 : 10;
  const char *set = digits + (c->type == 'x' ? 16 : 0), *head = "";
  char sign = is_signed ? (v < 0 ? '-' : c->sign) : 0;
  uint64_t u = is_signed && v < 0 ? -(uint64_t)v : (uint64_t)v;
  if (c->alternate && u != 0) head = c->type == 'o' ? "0" : c->type == 'x' || c->type == 'p' ? "0x" : c->type == 'X' ? "0X" : "";
  int64_t precision = c->precision;
  if (c->zero && precision < c->width - (sign != 0)) precision = c->width - (sign != 0);
  char text[40], *end = text + sizeof text, *p = end;
  if (c->type == 'r') { /* 11th, 21st */
    unsigned x = (unsigned)(u % 10);
    if (x >= 4 || u / 10 % 10 == 1) x = 0;
    p -= 2;
    memcpy(p, "thstndrd" + x * 2, 2);
  }
  do *--p = set[u % base];
  while ((u /= base));
  int64_t digits_n = end - p, zeros = precision > digits_n ? precision - digits_n : 0, all = digits_n + zeros;
  bool comma = c->comma && base == 10 && (c->type == 'd' || c->type == 'i' || c->type == 'u');
  int64_t commas = comma ? (all - 1) / 3 : 0, head_n = (int64_t)strlen(head), length = all + commas + head_n + (sign != 0);
  f->printed = true;
  TRY(grow(f, length > c->width ? length : c->width));
  if (!c->left) TRY(fill(f, ' ', c->width - length));
  buf_append(f->out, head, (size_t)head_n);
  if (sign) buf_byte(f->out, (uint8_t)sign);
  for (int64_t left = all; left > 0; left--) {
    buf_byte(f->out, left > digits_n ? '0' : (uint8_t)p[digits_n - left]);
    if (comma && left > 1 && (left - 1) % 3 == 0) buf_byte(f->out, ',');
  }
  return c->left ? fill(f, ' ', c->width - length) : HDB_OK;
}

/* ---- reals ---- */

static void print_exponent(buf *out, int e, uint8_t letter) {
  char text[8];
  buf_byte(out, letter);
  buf_byte(out, e < 0 ? '-' : '+');
  if (e < 0) e = -e;
  if (e < 10) buf_byte(out, '0');
  buf_append(out, text, int_to_text(e, text));
}

/* The digits of d: `before` places, the point, `after` digits; trims zeros behind the point when asked. */
static void print_digits(const conversion *c, const decimal *d, int e, int64_t after, bool trim, buf *out) {
  const char *digits = d->digits + d->start;
  int used = 0;
  bool point = after > 0 || c->alternate || c->bang;
  if (e < 0) buf_byte(out, '0');
  for (; e >= 0; e--) {
    buf_byte(out, used < d->n ? (uint8_t)digits[used] : '0');
    used++;
    if (c->comma && e % 3 == 0 && e > 1) buf_byte(out, ',');
  }
  if (point) buf_byte(out, '.');
  for (e++; e < 0 && after > 0; e++, after--) buf_byte(out, '0');
  for (; after > 0; after--, used++) {
    if (trim && used >= d->n) break; /* only zeros follow */
    buf_byte(out, used < d->n ? (uint8_t)digits[used] : '0');
  }
  if (!trim || !point) return;
  while (out->n && out->p[out->n - 1] == '0') out->n--;
  if (out->n && out->p[out->n - 1] == '.') {
    if (c->bang) buf_byte(out, '0');
    else out->n--;
  }
}

/* The text of r without padding, sign apart. */
static void format_real(const conversion *c, decimal *d, int64_t precision, buf *out) {
  int e = d->point - 1;
  bool general = (c->type | 32) == 'g', exponent = (c->type | 32) == 'e', trim = general ? !c->alternate : c->bang;
  if (general) {
    precision--;
    exponent = e < -4 || e > precision;
    if (!exponent) precision -= e;
  }
  print_digits(c, d, exponent ? 0 : e, precision, trim, out);
  if (exponent) print_exponent(out, e, c->type & 32 ? 'e' : 'E');
}

static status print_special(printer *f, const conversion *c, const decimal *d) {
  if (d->special == DECIMAL_NAN) return put_padded(f, c, c->zero ? "null" : "NaN", c->zero ? 4 : 3, c->width);
  char text[8];
  size_t n = 0;
  if (d->negative) text[n++] = '-';
  else if (c->sign) text[n++] = c->sign;
  memcpy(text + n, "Inf", 3);
  return put_padded(f, c, text, n + 3, c->width);
}

static status print_real(printer *f, const conversion *c, double r) {
  int64_t precision = c->precision < 0 ? 6 : c->precision > PRECISION_MAX ? PRECISION_MAX : c->precision;
  uint8_t kind = c->type | 32;
  if (kind == 'g' && precision == 0) precision = 1;
  int64_t round = kind == 'f' ? -precision : kind == 'g' ? precision : precision + 1;
  decimal d;
  real_decode(r, (int)(round > INT32_MAX ? INT32_MAX : round), c->bang ? 26 : 16, &d);
  if (d.special == DECIMAL_INFINITE && c->zero) d = (decimal){.digits = "9", .n = 1, .point = 1000, .negative = d.negative};
  else if (d.special) return print_special(f, c, &d);
  if ((d.point > 0 ? d.point : 0) + precision + c->width + (int64_t)f->out->n > f->limit) return function_too_big(f->call);
  char sign = d.negative ? '-' : c->sign;
  buf text = BUF_INIT;
  status rc = HDB_OK;
  if (sign) buf_byte(&text, (uint8_t)sign);
  format_real(c, &d, precision, &text);
  if (text.failed) {
    rc = function_nomem(f->call);
    goto out;
  }
  if (c->zero && !c->left && (int64_t)text.n < c->width) {
    if (sign) CHECK(put(f, text.p, 1));
    CHECK(fill(f, '0', c->width - (int64_t)text.n));
    CHECK(put(f, text.p + (sign != 0), text.n - (sign != 0)));
  } else {
    CHECK(put_padded(f, c, text.p, text.n, c->width));
  }
out:
  buf_free(&text);
  return rc;
}

size_t real_to_fixed(double r, int digits, char *out) {
  conversion c = {.type = 'f', .bang = true};
  decimal d;
  buf text = {(uint8_t *)out, 0, 80, false}; /* at most sign, 16 digits, point, 30 digits: never grows */
  real_decode(r, -digits, 26, &d);
  if (d.negative) buf_byte(&text, '-');
  format_real(&c, &d, digits, &text);
  return text.n;
}

/* ---- texts ---- */

/* With ! the width counts characters. */
static int64_t text_width(int64_t width, bool characters, const uint8_t *p, size_t n) {
  if (characters && width > 0)
    for (size_t i = 0; i < n; i++) width += (p[i] & 0xc0) == 0x80;
  return width;
}

/* The first `precision` bytes or characters. */
static slice cut(const conversion *c, slice s) {
  if (c->precision < 0) return s;
  if (!c->bang) return slice_of(s.p, s.n < (size_t)c->precision ? s.n : (size_t)c->precision);
  const uint8_t *p = s.p, *end = s.p + s.n;
  for (int k = c->precision; k > 0 && p < end; k--) p = utf8_skip(p, end);
  return slice_of(s.p, (size_t)(p - s.p));
}

static status print_quoted(printer *f, const conversion *c, slice s) {
  bool null = !s.p;
  uint8_t quote = c->type == 'w' ? '"' : '\'';
  if (null) s = c->type == 'Q' ? slice_str("NULL") : slice_str("(NULL)");
  s = cut(c, s);
  buf b = BUF_INIT;
  bool around = !null && c->type == 'Q';
  if (around) buf_byte(&b, quote);
  for (size_t i = 0; i < s.n; i++) {
    buf_byte(&b, s.p[i]);
    if (s.p[i] == quote) buf_byte(&b, quote);
  }
  if (around) buf_byte(&b, quote);
  status rc = b.failed ? function_nomem(f->call)
                       : put_padded(f, c, b.p, b.n, text_width(c->width, c->bang, b.p, b.n));
  buf_free(&b);
  return rc;
}

/* One character, `precision` times. */
static status print_char(printer *f, const conversion *c, slice s) {
  uint8_t one[4] = {0};
  size_t n = 1;
  if (s.p && s.n) {
    one[0] = s.p[0];
    if (one[0] >= 0xc0)
      while (n < 4 && n < s.n && (s.p[n] & 0xc0) == 0x80) one[n] = s.p[n], n++;
  }
  int64_t width = c->width, times = c->precision > 1 ? c->precision : 1;
  if (times > 1) {
    width -= times - 1;
    if (width > 1 && !c->left) {
      TRY(fill(f, ' ', width - 1));
      width = 0;
    }
    TRY(grow(f, (int64_t)n * times));
    for (int64_t i = 1; i < times; i++) buf_append(f->out, one, n);
  }
  return put_padded(f, c, one, n, text_width(width, true, one, n));
}

static status print_text(printer *f, const conversion *c) {
  slice s;
  TRY(function_text(f->call, next_argument(f), &s));
  if (s.p) s = text_until_nul(s);
  switch (c->type) {
  case 'c': return print_char(f, c, s);
  case 'q':
  case 'Q':
  case 'w': return print_quoted(f, c, s);
  default:
    s = cut(c, s.p ? s : slice_of("", 0));
    return put_padded(f, c, s.p, s.n, text_width(c->width, c->bang, s.p, s.n));
  }
}

/* *more false: an unknown conversion, nothing is printed from there on. */
static status print_conversion(printer *f, const conversion *c, bool *more) {
  switch (c->type) {
  case 'd': case 'i': case 'u': case 'x': case 'X': case 'o': case 'p': case 'r':
    return print_integer(f, c, value_to_int(next_argument(f)));
  case 'f': case 'e': case 'E': case 'g': case 'G': return print_real(f, c, value_to_real(next_argument(f)));
  case 's': case 'z': case 'c': case 'q': case 'Q': case 'w': return print_text(f, c);
  case '%': return put_padded(f, c, "%", 1, c->width);
  case 'n': return put(f, "", 0);
  default: *more = false; return HDB_OK;
  }
}

static status format_all(printer *f) {
  bool more = true;
  while (more && f->p < f->end) {
    const uint8_t *percent = memchr(f->p, '%', (size_t)(f->end - f->p)), *stop = percent ? percent : f->end;
    if (stop > f->p) TRY(put(f, f->p, (size_t)(stop - f->p)));
    if (!percent) break;
    f->p = percent + 1;
    if (f->p == f->end) return put(f, "%", 1); /* a lone % at the end stays */
    conversion c;
    read_conversion(f, &c);
    TRY(print_conversion(f, &c, &more));
  }
  return f->out->failed ? function_nomem(f->call) : HDB_OK;
}

static printer printer_of(function_call *call, slice format, int n, const value *arguments, buf *out) {
  format = text_until_nul(format);
  return (printer){call, out, function_limit(call, HDB_LIMIT_LENGTH), format.p, format.p + format.n, arguments, n, false};
}

status sql_format(function_call *call, slice format, int n, const value *arguments, buf *out) {
  printer f = printer_of(call, format, n, arguments, out);
  return format_all(&f);
}

status text_printf(function_call *call, int n, const value *a, value *result) {
  *result = value_null();
  if (n == 0 || a[0].type == VAL_NULL) return HDB_OK;
  slice format;
  TRY(function_text(call, a, &format));
  buf out = BUF_INIT;
  printer f = printer_of(call, format, n - 1, a + 1, &out);
  status rc = format_all(&f);
  if (rc == HDB_OK && f.printed) return function_result_buf(call, &out, VAL_TEXT, result);
  buf_free(&out);
  return rc;
}
