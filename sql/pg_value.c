/* Values in the canonical form of a type (pg.h), and as PostgreSQL prints them.
 *
 * Text comes in as PostgreSQL accepts it where programs write it: ISO dates with T or a blank, offsets, Z, fractions;
 * booleans by word; numbers; \x and escape bytea; array literals. What is not understood is "invalid input syntax for
 * type T", what does not fit "out of range": never another value.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "sql/number.h"
#include "sql/pg.h"
#include "sql/vector.h"

static status bad_input(error *err, uint32_t oid, const char *p, size_t n) {
  const pg_type *t = pg_type_by_oid(oid);
  return error_set(err, HDB_MISMATCH, "invalid input syntax for type %s: \"%.*s\"", t ? t->sql : "?", (int)(n > 200 ? 200 : n), p);
}

static status out_of_range(error *err, uint32_t oid) {
  const pg_type *t = pg_type_by_oid(oid);
  return error_set(err, HDB_RANGE, "%s out of range", t ? t->sql : "?");
}

static void trim(const char **p, size_t *n) {
  while (*n && isspace((unsigned char)**p)) (*p)++, (*n)--;
  while (*n && isspace((unsigned char)(*p)[*n - 1])) (*n)--;
}

/* ---- dates ---- */

int64_t pg_days(int year, int month, int day) {
  year -= month <= 2;
  int64_t era = (year >= 0 ? year : year - 399) / 400;
  unsigned of_era = (unsigned)(year - era * 400), of_year = (153u * (unsigned)(month + (month > 2 ? -3 : 9)) + 2) / 5 + (unsigned)day - 1;
  return era * 146097 + (int64_t)(of_era * 365 + of_era / 4 - of_era / 100 + of_year) - 719468;
}

void pg_civil(int64_t days, int *year, int *month, int *day) {
  days += 719468;
  int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  unsigned of_era = (unsigned)(days - era * 146097);
  unsigned y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  unsigned of_year = of_era - (365 * y + y / 4 - y / 100), m = (5 * of_year + 2) / 153;
  *day = (int)(of_year - (153 * m + 2) / 5 + 1);
  *month = (int)(m < 10 ? m + 3 : m - 9);
  *year = (int)((int64_t)y + era * 400 + (*month <= 2));
}

static bool take_number(const char **p, const char *end, int least, int most, int *out) {
  int n = 0;
  *out = 0;
  while (*p < end && isdigit((unsigned char)**p) && n < most) *out = *out * 10 + (*(*p)++ - '0'), n++;
  return n >= least;
}

static const int64_t day_us = 86400000000;

/* January or Jan; 0: none. */
static int take_month(const char **p, const char *end) {
  static const char *const names[] = {"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"};
  size_t n = 0;
  while (*p + n < end && isalpha((unsigned char)(*p)[n])) n++;
  for (int k = 0; k < 12 && n >= 3; k++)
    if ((n == 3 || n == strlen(names[k])) && strncasecmp(*p, names[k], n) == 0) return *p += n, k + 1;
  return 0;
}

static void skip_separators(const char **p, const char *end) {
  while (*p < end && strchr(" ,-/.", **p)) (*p)++;
}

/* 2024-01-05, 2024/1/5, 20240105; 1/5/2024 (month first); 5 Jan 2024, Jan 5, 2024, 2024-Jan-05. */
static bool date_parts(const char **p, const char *end, int *y, int *m, int *d) {
  const char *digits = *p;
  while (digits < end && isdigit((unsigned char)*digits)) digits++;
  size_t n = (size_t)(digits - *p);
  if (n == 8) return take_number(p, *p + 4, 4, 4, y) && take_number(p, *p + 2, 2, 2, m) && take_number(p, *p + 2, 2, 2, d);
  bool year_first = n >= 4 && n <= 6;
  if (n == 0 && (*m = take_month(p, end)) == 0) return false;
  if (n && !take_number(p, end, 1, 6, year_first ? y : d)) return false;
  if (*p == end || !strchr(n ? "-/ ." : " -/", **p)) return false;
  char by = **p;
  skip_separators(p, end);
  if (n == 0) { /* Jan 5, 2024 */
    if (!take_number(p, end, 1, 2, d)) return false;
    skip_separators(p, end);
    return take_number(p, end, 4, 6, y);
  }
  if (*p < end && isalpha((unsigned char)**p)) {
    if ((*m = take_month(p, end)) == 0) return false;
  } else {
    if (by == ' ' || !take_number(p, end, 1, 2, m)) return false;
    if (!year_first) { /* month first */
      int swap = *m;
      *m = *d, *d = swap;
    }
  }
  if (*p == end || !strchr(" -/.", **p)) return false;
  skip_separators(p, end);
  return year_first ? take_number(p, end, 1, 2, d) : take_number(p, end, 4, 6, y);
}

static bool parse_date(const char **p, const char *end, int64_t *days) {
  int y = 0, m = 0, d = 0;
  if (!date_parts(p, end, &y, &m, &d) || m < 1 || m > 12 || d < 1) return false;
  static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
  if (d > lengths[m - 1] + (m == 2 && leap)) return false;
  *days = pg_days(y, m, d);
  return true;
}

static bool parse_time(const char **p, const char *end, int64_t *us) {
  int h, m, s = 0;
  if (!take_number(p, end, 1, 2, &h) || *p == end || **p != ':') return false;
  (*p)++;
  if (!take_number(p, end, 2, 2, &m)) return false;
  if (*p < end && **p == ':') {
    (*p)++;
    if (!take_number(p, end, 2, 2, &s)) return false;
  }
  int64_t fraction = 0, scale = 100000;
  if (*p < end && **p == '.')
    for ((*p)++; *p < end && isdigit((unsigned char)**p); (*p)++, scale /= 10) fraction += (**p - '0') * scale;
  if (h > 24 || m > 59 || s > 60) return false;
  *us = ((int64_t)h * 3600 + m * 60 + s) * 1000000 + fraction;
  return *us <= day_us;
}

/* What stands behind a moment: nothing, Z, +02, +02:00, -0330, or a zone's name. */
typedef struct zone_given {
  bool given, named;
  int64_t us; /* east of UTC */
  const pg_zone *zone;
} zone_given;

static bool parse_zone(const char **p, const char *end, zone_given *z) {
  while (*p < end && **p == ' ') (*p)++;
  *z = (zone_given){.given = *p < end};
  if (*p == end) return true;
  if (isalpha((unsigned char)**p)) {
    bool found = pg_zone_behind(*p, (size_t)(end - *p), &z->zone);
    z->named = true;
    *p = end;
    return found;
  }
  if (**p != '+' && **p != '-') return false;
  int sign = *(*p)++ == '-' ? -1 : 1, h, m = 0, s = 0;
  if (!take_number(p, end, 1, 2, &h)) return false;
  if (*p < end && **p == ':') (*p)++;
  if (*p < end && !take_number(p, end, 2, 2, &m)) return false;
  if (*p < end && **p == ':') {
    (*p)++;
    if (!take_number(p, end, 2, 2, &s)) return false;
  }
  if (h > 15 || m > 59) return false;
  z->us = sign * ((int64_t)h * 3600 + m * 60 + s) * 1000000;
  return *p == end;
}

static void put_time(int64_t us, buf *out) {
  int64_t s = us / 1000000, f = us % 1000000;
  buf_printf(out, "%02d:%02d:%02d", (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
  if (f == 0) return;
  char text[16];
  int n = snprintf(text, sizeof text, ".%06d", (int)f);
  while (text[n - 1] == '0') n--;
  buf_append(out, text, (size_t)n);
}

static void put_date(int64_t days, buf *out) {
  int y, m, d;
  pg_civil(days, &y, &m, &d);
  buf_printf(out, "%04d-%02d-%02d", y, m, d);
}

static int64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

static const int64_t epoch_2000 = 10957; /* days from 1970 */

static int64_t moved(int64_t local_us, const pg_zone *zone) { /* since 2000, to UTC */
  if (!zone) return local_us;
  int64_t seconds = floor_div(local_us, 1000000), from_1970 = epoch_2000 * 86400;
  return (pg_zone_to_utc(zone, seconds + from_1970) - from_1970) * 1000000 + (local_us - seconds * 1000000);
}

int64_t pg_local_us(int64_t us, const pg_zone *zone) {
  if (!zone || us == INT64_MAX || us == INT64_MIN) return us;
  return us + (int64_t)pg_zone_offset(zone, floor_div(us, 1000000) + epoch_2000 * 86400, NULL, NULL) * 1000000;
}

int64_t pg_utc_us(int64_t local_us, const pg_zone *zone) { return local_us == INT64_MAX || local_us == INT64_MIN ? local_us : moved(local_us, zone); }

/* Text of a date, time or timestamp to its number (pg_date_number's). infinity is INT64_MAX or MIN. zone: of a timestamptz
 * that names none. */
static bool parse_moment(const char *p, size_t n, uint32_t oid, const pg_zone *zone, int64_t *out) {
  trim(&p, &n);
  const char *end = p + n;
  int64_t days = 0, us = 0;
  zone_given behind = {0};
  bool dated = oid != PG_TIME && oid != PG_TIMETZ;
  if (dated && (n == 8 || n == 9) && strncasecmp(end - 8, "infinity", 8) == 0) {
    *out = *p == '-' ? (oid == PG_DATE ? INT32_MIN : INT64_MIN) : (oid == PG_DATE ? INT32_MAX : INT64_MAX);
    return true;
  }
  static const struct {
    const char *word;
    int days;
  } days_named[] = {{"now", 0}, {"today", 0}, {"yesterday", -1}, {"tomorrow", 1}};
  int word = -1;
  for (int k = 0; dated && k < 4; k++)
    if (n == strlen(days_named[k].word) && strncasecmp(p, days_named[k].word, n) == 0) word = k;
  if (word >= 0) {
    int64_t now = now_us();
    if (oid == PG_TIMESTAMPTZ && word == 0) return *out = now - epoch_2000 * day_us, true;
    now = pg_local_us(now - epoch_2000 * day_us, zone) + epoch_2000 * day_us;
    days = floor_div(now, day_us) + days_named[word].days;
    us = word == 0 ? now - days * day_us : 0;
  } else {
    bool is_time = n > 2 && (p[2] == ':' || p[1] == ':');
    if (!is_time) {
      if (!parse_date(&p, end, &days)) return false;
      if (p < end && (*p == 'T' || *p == 't' || *p == ' ')) {
        while (p < end && (*p == 'T' || *p == 't' || *p == ' ')) p++;
        bool zone_only = p < end && (*p == '+' || *p == '-'); /* JDBC's dates */
        if (p < end && !zone_only && !parse_time(&p, end, &us)) return false;
      } else if (!dated) {
        return false;
      }
    } else if (dated || !parse_time(&p, end, &us)) {
      return false;
    }
    if (!parse_zone(&p, end, &behind)) return false;
  }
  if (oid == PG_DATE) *out = days - epoch_2000;
  else if (!dated) *out = us;
  else *out = (days - epoch_2000) * day_us + us;
  if (oid == PG_TIMESTAMPTZ) *out = behind.given && !behind.named ? *out - behind.us : moved(*out, behind.given ? behind.zone : zone);
  return true;
}

bool pg_date_number(const char *p, size_t n, uint32_t oid, int64_t *out) { return parse_moment(p, n, oid, NULL, out); }

void pg_date_text(int64_t v, uint32_t oid, buf *out) {
  if (oid == PG_TIME || oid == PG_TIMETZ) {
    put_time(v, out);
  } else if (oid == PG_DATE ? v == INT32_MAX || v == INT32_MIN : v == INT64_MAX || v == INT64_MIN) {
    buf_text(out, v > 0 ? "infinity" : "-infinity");
  } else if (oid == PG_DATE) {
    put_date(v + epoch_2000, out);
  } else {
    int64_t days = floor_div(v, day_us);
    put_date(days + epoch_2000, out);
    buf_byte(out, ' ');
    put_time(v - days * day_us, out);
  }
}

/* ---- intervals: "1 year 2 mons 3 days 04:05:06.7", "90 minutes", "1 day ago" ---- */

bool pg_interval_parse(const char *p, size_t n, int32_t *months, int32_t *days, int64_t *us) {
  static const struct {
    const char *unit;
    int32_t months, days;
    int64_t us;
  } units[] = {{"year", 12, 0, 0}, {"yr", 12, 0, 0}, {"mon", 1, 0, 0}, {"month", 1, 0, 0}, {"week", 0, 7, 0},
               {"day", 0, 1, 0}, {"hour", 0, 0, 3600000000}, {"hr", 0, 0, 3600000000}, {"minute", 0, 0, 60000000},
               {"min", 0, 0, 60000000}, {"second", 0, 0, 1000000}, {"sec", 0, 0, 1000000}, {"s", 0, 0, 1000000},
               {"millisecond", 0, 0, 1000}, {"ms", 0, 0, 1000}, {"microsecond", 0, 0, 1}, {"h", 0, 0, 3600000000},
               {"m", 0, 0, 60000000}, {"d", 0, 1, 0}, {"y", 12, 0, 0}, {"w", 0, 7, 0}};
  const char *end = p + n;
  *months = *days = 0;
  *us = 0;
  bool any = false;
  for (;;) {
    while (p < end && (isspace((unsigned char)*p) || *p == '@')) p++;
    if (p == end) return any;
    if (end - p == 3 && strncasecmp(p, "ago", 3) == 0 && any) {
      *months = -*months, *days = -*days, *us = -*us;
      return true;
    }
    int sign = 1;
    if (*p == '-' || *p == '+') sign = *p++ == '-' ? -1 : 1;
    const char *look = p;
    while (look < end && isdigit((unsigned char)*look)) look++;
    if (look == p && (look == end || *look != '.')) return false;
    if (look < end && *look == ':') {
      int64_t t;
      int h;
      if (look - p > 2) {
        const char *q = p;
        if (!take_number(&q, end, 1, 6, &h)) return false;
        const char *rest = q - 1; /* hours over two digits: the minutes behind are read as 0:MM:SS */
        char text[40];
        size_t length = (size_t)(end - rest) - 1 < sizeof text - 2 ? (size_t)(end - rest) - 1 : sizeof text - 2;
        text[0] = '0';
        memcpy(text + 1, rest + 1, length);
        const char *tp = text;
        if (!parse_time(&tp, text + 1 + length, &t)) return false;
        t += (int64_t)h * 3600000000;
        p = rest + 1 + (tp - text - 1);
      } else if (!parse_time(&p, end, &t)) {
        return false;
      }
      *us += sign * t;
      any = true;
      continue;
    }
    char *behind;
    double number = strtod(p, &behind) * sign;
    if (behind == p || behind > end) return false;
    p = behind;
    while (p < end && isspace((unsigned char)*p)) p++;
    const char *word = p;
    while (p < end && isalpha((unsigned char)*p)) p++;
    size_t length = (size_t)(p - word);
    if (length > 1 && (word[length - 1] == 's' || word[length - 1] == 'S') && length > 2) length--;
    bool known = length == 0 && p == end;
    if (known) *us += (int64_t)llround(number * 1e6);
    for (size_t i = 0; i < sizeof units / sizeof *units && !known; i++) {
      if (strlen(units[i].unit) != length || strncasecmp(units[i].unit, word, length) != 0) continue;
      known = true;
      double whole = trunc(number), part = number - whole;
      *months += (int32_t)(whole * units[i].months) + (int32_t)(part * units[i].months);
      *days += (int32_t)(whole * units[i].days);
      *us += (int64_t)llround(number * (double)units[i].us) + (int64_t)llround(part * units[i].days * 86400e6);
    }
    if (!known) return false;
    any = true;
  }
}

static void interval_part(buf *out, size_t from, int32_t number, const char *one, const char *many) {
  if (number == 0) return;
  if (out->n > from) buf_byte(out, ' ');
  buf_printf(out, "%d %s", (int)number, number == 1 ? one : many);
}

void pg_interval_text(int32_t months, int32_t days, int64_t us, buf *out) {
  size_t from = out->n;
  interval_part(out, from, months / 12, "year", "years");
  interval_part(out, from, months % 12, "mon", "mons");
  interval_part(out, from, days, "day", "days");
  if (us == 0 && out->n > from) return;
  if (out->n > from) buf_byte(out, ' ');
  if (us < 0) buf_byte(out, '-');
  put_time(us < 0 ? -us : us, out);
}

/* ---- numbers ---- */

void pg_real_text(double r, bool single, buf *out) {
  if (isinf(r)) {
    buf_text(out, r > 0 ? "Infinity" : "-Infinity");
    return;
  }
  char text[40];
  int n = 0;
  for (int digits = single ? 6 : 15; digits <= (single ? 9 : 17); digits++) {
    n = snprintf(text, sizeof text, "%.*g", digits, r);
    double back = strtod(text, NULL);
    if (single ? (float)back == (float)r : back == r) break;
  }
  double size = fabs(r);
  if (strchr(text, 'e') && size >= 1e-5 && size < 1e15) { /* PostgreSQL goes to exponents later */
    n = snprintf(text, sizeof text, "%.0f", r);
  }
  buf_append(out, text, (size_t)n);
}

static void value_from_text(value *v, arena *memory, buf *b) {
  *v = value_text(arena_strndup(memory, b->p ? (const char *)b->p : "", b->n), b->n);
  buf_free(b);
}

static status int_range(uint32_t oid, int64_t i, error *err) {
  bool fits = oid == PG_INT8 || (oid == PG_INT2 && i >= INT16_MIN && i <= INT16_MAX) ||
              (oid == PG_INT4 && i >= INT32_MIN && i <= INT32_MAX) || (oid != PG_INT2 && oid != PG_INT4 && i >= 0 && i <= UINT32_MAX);
  return fits ? HDB_OK : out_of_range(err, oid);
}

static status to_int(uint32_t oid, value *v, error *err) {
  if (v->type == VAL_TEXT) {
    const char *p = v->p;
    size_t n = v->n;
    trim(&p, &n);
    int64_t i;
    double r;
    int kind = n ? text_to_number(p, n, &i, &r) : 0;
    if (kind == 2 && !memchr(p, '.', n) && !memchr(p, 'e', n) && !memchr(p, 'E', n))
      return error_set(err, HDB_RANGE, "value \"%.*s\" is out of range for type %s", (int)n, p, pg_type_by_oid(oid)->sql);
    if (kind != 1) return bad_input(err, oid, v->p, v->n);
    if (int_range(oid, i, NULL) != HDB_OK)
      return error_set(err, HDB_RANGE, "value \"%.*s\" is out of range for type %s", (int)n, p, pg_type_by_oid(oid)->sql);
    *v = value_int(i);
    return HDB_OK;
  }
  if (v->type == VAL_REAL) {
    double r = round(v->r); /* numeric's rule; float8 would take the even one of two as near */
    if (!(r >= -9223372036854775808.0 && r < 9223372036854775808.0)) return out_of_range(err, oid);
    *v = value_int((int64_t)r);
  }
  if (v->type != VAL_INTEGER) return bad_input(err, oid, "", 0);
  return int_range(oid, v->i, err);
}

static status to_real(uint32_t oid, value *v, error *err) {
  double r;
  if (v->type == VAL_TEXT) {
    const char *p = v->p;
    size_t n = v->n;
    trim(&p, &n);
    char text[400];
    if (n == 0 || n >= sizeof text) return bad_input(err, oid, v->p, v->n);
    memcpy(text, p, n);
    text[n] = 0;
    char *end;
    r = strtod(text, &end);
    if (*end || isnan(r) || (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))) {
      if (strcasecmp(text, "nan") == 0) return error_set(err, HDB_RANGE, "NaN is not supported by type %s", pg_type_by_oid(oid)->sql);
      return bad_input(err, oid, v->p, v->n);
    }
  } else if (v->type == VAL_INTEGER) {
    r = (double)v->i;
  } else if (v->type == VAL_REAL) {
    r = v->r;
  } else {
    return bad_input(err, oid, "", 0);
  }
  if (oid == PG_FLOAT4) r = (double)(float)r;
  *v = value_real(r);
  return HDB_OK;
}

/* Digits that count, without leading and trailing zeros. */
static int significant(const char *p, size_t n) {
  int count = 0, zeros = 0;
  for (size_t i = 0; i < n && p[i] != 'e' && p[i] != 'E'; i++) {
    if (!isdigit((unsigned char)p[i])) continue;
    if (p[i] == '0') {
      if (count) zeros++;
      continue;
    }
    count += zeros + 1;
    zeros = 0;
  }
  return count;
}

static status to_numeric(int32_t modifier, value *v, error *err) {
  if (v->type == VAL_TEXT) {
    const char *p = v->p;
    size_t n = v->n;
    trim(&p, &n);
    int64_t i;
    double r;
    int kind = n ? text_to_number(p, n, &i, &r) : 0;
    if (kind == 1) {
      *v = value_int(i);
    } else if (kind == 2) {
      if (significant(p, n) > 15)
        return error_set(err, HDB_RANGE, "numeric value \"%.*s\" has more than 15 significant digits", (int)(n > 60 ? 60 : n), p);
      *v = value_real(r);
    } else {
      return bad_input(err, PG_NUMERIC, v->p, v->n);
    }
  }
  if (v->type != VAL_INTEGER && v->type != VAL_REAL) return bad_input(err, PG_NUMERIC, "", 0);
  if (modifier < 4) return HDB_OK;
  int precision = (modifier - 4) >> 16, scale = (modifier - 4) & 0xffff;
  if (v->type == VAL_REAL) {
    double factor = pow(10, scale), scaled = round(v->r * factor);
    if (fabs(scaled) < 9e15) v->r = scaled / factor;
    if (v->r == trunc(v->r) && fabs(v->r) < 9e15) *v = value_int((int64_t)v->r);
  }
  double size = v->type == VAL_REAL ? fabs(v->r) : fabs((double)v->i);
  return size < pow(10, precision - scale) ? HDB_OK : error_set(err, HDB_RANGE, "numeric field overflow");
}

static status to_bool(value *v, error *err) {
  static const char *const yes[] = {"t", "true", "y", "yes", "on", "1", "tr", "tru"};
  static const char *const no[] = {"f", "false", "n", "no", "off", "0", "fa", "fal", "fals", "of"};
  if (v->type == VAL_INTEGER || v->type == VAL_REAL) {
    *v = value_int(v->type == VAL_REAL ? v->r != 0 : v->i != 0);
    return HDB_OK;
  }
  const char *p = v->p;
  size_t n = v->n;
  if (v->type == VAL_TEXT) trim(&p, &n);
  for (size_t i = 0; v->type == VAL_TEXT && i < sizeof yes / sizeof *yes; i++)
    if (strlen(yes[i]) == n && strncasecmp(yes[i], p, n) == 0) return *v = value_int(1), HDB_OK;
  for (size_t i = 0; v->type == VAL_TEXT && i < sizeof no / sizeof *no; i++)
    if (strlen(no[i]) == n && strncasecmp(no[i], p, n) == 0) return *v = value_int(0), HDB_OK;
  return bad_input(err, PG_BOOL, v->p, v->n);
}

/* ---- text, bytes, uuid ---- */

static size_t characters(const char *p, size_t n) {
  size_t count = 0;
  for (size_t i = 0; i < n; i++) count += ((unsigned char)p[i] & 0xc0) != 0x80;
  return count;
}

static status to_text(uint32_t oid, int32_t modifier, bool cast, value *v, arena *memory, error *err) {
  if (v->type == VAL_REAL) {
    buf b = BUF_INIT;
    pg_real_text(v->r, false, &b);
    value_from_text(v, memory, &b);
  } else if (v->type == VAL_INTEGER) {
    char text[32];
    size_t n = int_to_text(v->i, text);
    *v = value_text(arena_strndup(memory, text, n), n);
  } else if (v->type == VAL_BLOB) {
    buf b = BUF_INIT;
    TRY(pg_output(PG_BYTEA, -1, v, &b, err));
    value_from_text(v, memory, &b);
  }
  if (modifier < 4 || (oid != PG_VARCHAR && oid != PG_BPCHAR)) return HDB_OK;
  size_t limit = (size_t)modifier - 4, n = v->n, have = characters(v->p, n);
  while (have > limit && n && v->p[n - 1] == ' ') n--, have--;
  if (have > limit && !cast)
    return error_set(err, HDB_TOOBIG, "value too long for type %s(%d)", pg_type_by_oid(oid)->sql, (int)limit);
  while (have > limit) {
    while (n && ((unsigned char)v->p[n - 1] & 0xc0) == 0x80) n--;
    n--, have--;
  }
  if (oid == PG_BPCHAR && have < limit) {
    char *p = arena_alloc(memory, n + limit - have + 1);
    if (!p) return error_set(err, HDB_NOMEM, "out of memory");
    if (n) memcpy(p, v->p, n);
    memset(p + n, ' ', limit - have);
    *v = value_text(p, n + limit - have);
    return HDB_OK;
  }
  v->n = (uint32_t)n;
  return HDB_OK;
}


static status to_bytea(value *v, arena *memory, error *err) {
  if (v->type == VAL_BLOB) return HDB_OK;
  if (v->type != VAL_TEXT) return bad_input(err, PG_BYTEA, "", 0);
  uint8_t *out = arena_alloc(memory, v->n + 1);
  if (!out) return error_set(err, HDB_NOMEM, "out of memory");
  size_t k = 0;
  if (v->n >= 2 && v->p[0] == '\\' && v->p[1] == 'x') {
    for (uint32_t i = 2; i < v->n;) {
      if (isspace((unsigned char)v->p[i])) { i++; continue; }
      int high = hex_digit((unsigned char)v->p[i]), low = i + 1 < v->n ? hex_digit((unsigned char)v->p[i + 1]) : -1;
      if (high < 0 || low < 0) return error_set(err, HDB_MISMATCH, "invalid hexadecimal data: odd number of digits");
      out[k++] = (uint8_t)(high << 4 | low);
      i += 2;
    }
  } else {
    for (uint32_t i = 0; i < v->n; i++) {
      if (v->p[i] != '\\') {
        out[k++] = (uint8_t)v->p[i];
      } else if (i + 1 < v->n && v->p[i + 1] == '\\') {
        out[k++] = '\\';
        i++;
      } else if (i + 3 < v->n && v->p[i + 1] >= '0' && v->p[i + 1] <= '3' && v->p[i + 2] >= '0' && v->p[i + 2] <= '7' && v->p[i + 3] >= '0' && v->p[i + 3] <= '7') {
        out[k++] = (uint8_t)((v->p[i + 1] - '0') << 6 | (v->p[i + 2] - '0') << 3 | (v->p[i + 3] - '0'));
        i += 3;
      } else {
        return bad_input(err, PG_BYTEA, v->p, v->n);
      }
    }
  }
  *v = value_blob(out, k);
  return HDB_OK;
}

static status to_uuid(value *v, arena *memory, error *err) {
  char out[40];
  int digits = 0, k = 0;
  if (v->type != VAL_TEXT) return bad_input(err, PG_UUID, "", 0);
  for (uint32_t i = 0; i < v->n; i++) {
    char c = v->p[i];
    if (c == '-' || ((c == '{' || c == '}') && (i == 0 || i == v->n - 1))) continue;
    if (hex_digit((unsigned char)c) < 0 || digits == 32) return bad_input(err, PG_UUID, v->p, v->n);
    if (digits == 8 || digits == 12 || digits == 16 || digits == 20) out[k++] = '-';
    out[k++] = (char)tolower((unsigned char)c);
    digits++;
  }
  if (digits != 32) return bad_input(err, PG_UUID, v->p, v->n);
  *v = value_text(arena_strndup(memory, out, (size_t)k), (size_t)k);
  return HDB_OK;
}

static status to_moment(uint32_t oid, const pg_zone *zone, value *v, arena *memory, error *err) {
  int64_t number;
  if (v->type != VAL_TEXT || !parse_moment(v->p, v->n, oid, zone, &number)) {
    bool text = v->type == VAL_TEXT;
    if (text && v->n >= 8 && isdigit((unsigned char)v->p[0]) && v->n < 40 && memchr(v->p, '-', v->n))
      return error_set(err, HDB_RANGE, "date/time field value out of range: \"%.*s\"", (int)v->n, v->p);
    return bad_input(err, oid, text ? v->p : "", text ? v->n : 0);
  }
  buf b = BUF_INIT;
  pg_date_text(number, oid, &b);
  value_from_text(v, memory, &b);
  return HDB_OK;
}

static void json_string(buf *out, const char *p, size_t n) {
  buf_byte(out, '"');
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)p[i];
    if (c == '"' || c == '\\') buf_byte(out, '\\'), buf_byte(out, c);
    else if (c < 32) buf_printf(out, "\\u%04x", c);
    else buf_byte(out, c);
  }
  buf_byte(out, '"');
}

static bool element_is_number(uint32_t element) {
  const pg_type *t = pg_type_by_oid(element);
  return t && (t->category == 'N' || t->category == 'B');
}

/* An element in its canonical form as JSON. */
static status array_element(const pg_zone *zone, uint32_t element, const char *p, size_t n, buf *out, arena *memory, error *err) {
  value v = value_text(p, n);
  TRY(pg_convert_in(zone, element, -1, false, &v, memory, err));
  if (element_is_number(element) && v.type == VAL_INTEGER) buf_printf(out, "%lld", (long long)v.i);
  else if (element_is_number(element) && v.type == VAL_REAL) pg_real_text(v.r, false, out);
  else if (v.type == VAL_BLOB) {
    buf text = BUF_INIT;
    TRY(pg_output(PG_BYTEA, -1, &v, &text, err));
    json_string(out, (const char *)text.p, text.n);
    buf_free(&text);
  } else json_string(out, v.p, v.n);
  return HDB_OK;
}

static status array_to_json(const pg_zone *zone, uint32_t element, const char *p, size_t n, buf *out, arena *memory, error *err) {
  const char *whole = p;
  size_t whole_n = n;
  trim(&p, &n);
  const char *end = p + n;
  const pg_type *t = pg_type_by_oid(element);
  uint32_t array = t ? t->array : PG_TEXT_ARRAY;
  if (n < 2 || *p != '{')
    return error_set(err, HDB_MISMATCH, "malformed array literal: \"%.*s\"", (int)(whole_n > 200 ? 200 : whole_n), whole);
  int depth = 0;
  bool wants = false; /* an element must come */
  while (p < end) {
    while (p < end && isspace((unsigned char)*p)) p++;
    if (p == end) break;
    if (*p == '{') {
      depth++;
      if (depth > 6) return bad_input(err, array, whole, whole_n);
      buf_byte(out, '[');
      p++;
      wants = true;
    } else if (*p == '}') {
      if (depth-- == 0) break;
      buf_byte(out, ']');
      p++;
      wants = false;
      if (depth == 0) break;
    } else if (*p == ',') {
      if (depth == 0) break;
      buf_byte(out, ',');
      p++;
      wants = true;
    } else if (*p == '"') {
      buf text = BUF_INIT;
      for (p++; p < end && *p != '"'; p++) {
        if (*p == '\\' && p + 1 < end) p++;
        buf_byte(&text, (uint8_t)*p);
      }
      if (p < end) p++;
      status rc = array_element(zone, element, (const char *)text.p, text.n, out, memory, err);
      buf_free(&text);
      TRY(rc);
      wants = false;
    } else {
      const char *from = p;
      while (p < end && *p != ',' && *p != '}' && *p != '{') p++;
      size_t length = (size_t)(p - from);
      trim(&from, &length);
      if (length == 4 && strncasecmp(from, "null", 4) == 0) buf_text(out, "null");
      else TRY(array_element(zone, element, from, length, out, memory, err));
      wants = false;
    }
  }
  while (p < end && isspace((unsigned char)*p)) p++;
  if (depth != 0 || p != end || wants)
    return error_set(err, HDB_MISMATCH, "malformed array literal: \"%.*s\"", (int)(whole_n > 200 ? 200 : whole_n), whole);
  return HDB_OK;
}

status pg_array_to_json(uint32_t element, const char *p, size_t n, buf *out, arena *memory, error *err) {
  return array_to_json(NULL, element, p, n, out, memory, err);
}

static status to_array(const pg_zone *zone, uint32_t oid, value *v, arena *memory, error *err) {
  if (v->type != VAL_TEXT) return bad_input(err, oid, "", 0);
  if (v->n && v->p[0] == '[') return HDB_OK; /* canonical already */
  if (oid == PG_INT2VECTOR || oid == PG_OIDVECTOR) return HDB_OK;
  buf b = BUF_INIT;
  status rc = array_to_json(zone, pg_type_by_oid(oid)->element, v->p, v->n, &b, memory, err);
  if (rc == HDB_OK) value_from_text(v, memory, &b);
  else buf_free(&b);
  return rc;
}

static status to_interval(value *v, arena *memory, error *err) {
  int32_t months, days;
  int64_t us;
  if (v->type != VAL_TEXT || !pg_interval_parse(v->p, v->n, &months, &days, &us))
    return bad_input(err, PG_INTERVAL, v->type == VAL_TEXT ? v->p : "", v->type == VAL_TEXT ? v->n : 0);
  buf b = BUF_INIT;
  pg_interval_text(months, days, us, &b);
  value_from_text(v, memory, &b);
  return HDB_OK;
}

status pg_convert(uint32_t oid, int32_t modifier, bool cast, value *v, arena *memory, error *err) {
  return pg_convert_in(NULL, oid, modifier, cast, v, memory, err);
}

status pg_convert_in(const pg_zone *zone, uint32_t oid, int32_t modifier, bool cast, value *v, arena *memory, error *err) {
  if (v->type == VAL_NULL) return HDB_OK;
  const pg_type *t = pg_type_by_oid(oid);
  status rc = HDB_OK;
  switch (oid) {
  case PG_INT2: case PG_INT4: case PG_INT8: case PG_OID: return to_int(oid, v, err);
  case PG_FLOAT4: case PG_FLOAT8: return to_real(oid, v, err);
  case PG_NUMERIC: return to_numeric(modifier, v, err);
  case PG_BOOL: return to_bool(v, err);
  case PG_TEXT: case PG_VARCHAR: case PG_BPCHAR: case PG_NAME: case PG_CHAR: rc = to_text(oid, modifier, cast, v, memory, err); break;
  case PG_BYTEA: return to_bytea(v, memory, err);
  case PG_UUID: rc = to_uuid(v, memory, err); break;
  case PG_DATE: case PG_TIME: case PG_TIMETZ: case PG_TIMESTAMP: case PG_TIMESTAMPTZ: rc = to_moment(oid, zone, v, memory, err); break;
  case PG_INTERVAL: rc = to_interval(v, memory, err); break;
  case PG_JSON: case PG_JSONB: rc = pg_json_convert(oid == PG_JSONB, v, memory, err); break;
  default:
    if (t && t->category == 'A') rc = to_array(zone, oid, v, memory, err);
    break;
  }
  return rc == HDB_OK && memory->failed ? error_set(err, HDB_NOMEM, "out of memory") : rc;
}

/* ---- output ---- */

void pg_offset_text(int seconds, buf *out) {
  int size = seconds < 0 ? -seconds : seconds;
  buf_printf(out, "%c%02d", seconds < 0 ? '-' : '+', size / 3600);
  if (size % 3600) buf_printf(out, ":%02d", size / 60 % 60);
  if (size % 60) buf_printf(out, ":%02d", size % 60);
}

static status misfit(uint32_t oid, error *err) {
  const pg_type *t = pg_type_by_oid(oid);
  return error_set(err, HDB_MISMATCH, "a stored value cannot be expressed as type %s", t ? t->sql : "?");
}

static status moment_output(const pg_zone *zone, uint32_t oid, const value *v, buf *out, error *err) {
  int64_t number;
  if (v->type != VAL_TEXT || !parse_moment(v->p, v->n, oid, NULL, &number)) return misfit(oid, err);
  bool finite = oid == PG_TIMESTAMPTZ && number != INT64_MAX && number != INT64_MIN;
  int64_t local = finite ? pg_local_us(number, zone) : number;
  pg_date_text(local, oid, out);
  if (finite || oid == PG_TIMETZ) pg_offset_text((int)((local - number) / 1000000), out);
  return HDB_OK;
}

static void array_output(const pg_zone *zone, const char *p, size_t n, uint32_t element, buf *out) {
  const char *end = p + n;
  while (p < end) {
    if (*p == '[') buf_byte(out, '{'), p++;
    else if (*p == ']') buf_byte(out, '}'), p++;
    else if (*p == ',') buf_byte(out, ','), p++;
    else if (isspace((unsigned char)*p)) p++;
    else if (*p == '"') {
      buf text = BUF_INIT;
      for (p++; p < end && *p != '"'; p++) {
        if (*p != '\\' || p + 1 == end) {
          buf_byte(&text, (uint8_t)*p);
          continue;
        }
        p++;
        if (*p == 'u' && end - p > 4) {
          char hex[5] = {p[1], p[2], p[3], p[4], 0};
          unsigned c = (unsigned)strtoul(hex, NULL, 16);
          if (c < 0x80) buf_byte(&text, (uint8_t)c);
          else if (c < 0x800) buf_byte(&text, (uint8_t)(0xc0 | c >> 6)), buf_byte(&text, (uint8_t)(0x80 | (c & 63)));
          else buf_byte(&text, (uint8_t)(0xe0 | c >> 12)), buf_byte(&text, (uint8_t)(0x80 | (c >> 6 & 63))), buf_byte(&text, (uint8_t)(0x80 | (c & 63)));
          p += 4;
        } else {
          buf_byte(&text, (uint8_t)(*p == 'n' ? '\n' : *p == 't' ? '\t' : *p == 'r' ? '\r' : *p == 'b' ? '\b' : *p == 'f' ? '\f' : *p));
        }
      }
      if (p < end) p++;
      if (element == PG_TIMESTAMPTZ) { /* a text in UTC */
        value stored = value_text((const char *)text.p, text.n);
        buf shown = BUF_INIT;
        if (moment_output(zone, element, &stored, &shown, NULL) == HDB_OK) {
          buf_free(&text);
          text = shown;
        } else {
          buf_free(&shown);
        }
      }
      bool quote = text.n == 0 || (text.n == 4 && strncasecmp((char *)text.p, "null", 4) == 0);
      for (size_t i = 0; i < text.n && !quote; i++) quote = strchr("{},\"\\ \t\n\r\v\f", text.p[i]) != NULL;
      if (quote) buf_byte(out, '"');
      for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '"' || text.p[i] == '\\') buf_byte(out, '\\');
        buf_byte(out, text.p[i]);
      }
      if (quote) buf_byte(out, '"');
      buf_free(&text);
    } else {
      const char *from = p;
      while (p < end && *p != ',' && *p != ']' && *p != '[') p++;
      size_t length = (size_t)(p - from);
      if (length == 4 && memcmp(from, "null", 4) == 0) buf_text(out, "NULL");
      else if (element == PG_BOOL && length == 1) buf_text(out, *from == '1' ? "t" : "f");
      else if (element == PG_BOOL) buf_text(out, *from == 't' ? "t" : "f");
      else buf_append(out, from, length);
    }
  }
}

static status numeric_output(int32_t modifier, const value *v, buf *out, error *err) {
  int scale = modifier >= 4 ? (modifier - 4) & 0xffff : -1;
  if (v->type == VAL_INTEGER) {
    buf_printf(out, "%lld", (long long)v->i);
    if (scale > 0) {
      buf_byte(out, '.');
      for (int i = 0; i < scale; i++) buf_byte(out, '0');
    }
  } else if (v->type == VAL_REAL) {
    if (scale >= 0) buf_printf(out, "%.*f", scale, v->r);
    else if (fabs(v->r) < 1e18 && (v->r == 0 || fabs(v->r) >= 1e-6)) {
      char text[64];
      int n = snprintf(text, sizeof text, "%.15g", v->r);
      if (strchr(text, 'e') || strtod(text, NULL) != v->r) {
        for (int digits = 0; digits < 24; digits++) {
          n = snprintf(text, sizeof text, "%.*f", digits, v->r);
          if (strtod(text, NULL) == v->r) break;
        }
      }
      buf_append(out, text, (size_t)n);
    } else pg_real_text(v->r, false, out);
  } else {
    value number = *v;
    if (number.type != VAL_TEXT || to_numeric(-1, &number, NULL) != HDB_OK) return misfit(PG_NUMERIC, err);
    buf_append(out, v->p, v->n);
  }
  return HDB_OK;
}

status pg_output(uint32_t oid, int32_t modifier, const value *v, buf *out, error *err) { return pg_output_in(NULL, oid, modifier, v, out, err); }

status pg_output_in(const pg_zone *zone, uint32_t oid, int32_t modifier, const value *v, buf *out, error *err) {
  value w = *v;
  switch (oid) {
  case PG_BOOL:
    if (to_bool(&w, NULL) != HDB_OK) return misfit(oid, err);
    buf_byte(out, w.i ? 't' : 'f');
    return HDB_OK;
  case PG_INT2: case PG_INT4: case PG_INT8: case PG_OID:
    if (w.type == VAL_REAL && w.r != trunc(w.r)) return misfit(oid, err);
    if (w.type == VAL_BLOB || to_int(oid, &w, NULL) != HDB_OK) return misfit(oid, err);
    buf_printf(out, "%lld", (long long)w.i);
    return HDB_OK;
  case PG_FLOAT4: case PG_FLOAT8:
    if (to_real(oid, &w, NULL) != HDB_OK) return misfit(oid, err);
    pg_real_text(w.r, oid == PG_FLOAT4, out);
    return HDB_OK;
  case PG_NUMERIC: return numeric_output(modifier, v, out, err);
  case PG_DATE: case PG_TIME: case PG_TIMETZ: case PG_TIMESTAMP: case PG_TIMESTAMPTZ: return moment_output(zone, oid, v, out, err);
  default: break;
  }
  if (w.type == VAL_BLOB && oid == PG_VECTOR && w.n % sizeof(float) == 0) {
    vector_put_text(w.p, w.n / sizeof(float), out);
  } else if (w.type == VAL_BLOB || oid == PG_BYTEA) {
    static const char digits[] = "0123456789abcdef";
    if (w.type == VAL_INTEGER || w.type == VAL_REAL) return misfit(oid, err);
    buf_text(out, "\\x");
    for (uint32_t i = 0; i < w.n; i++) {
      buf_byte(out, (uint8_t)digits[(uint8_t)w.p[i] >> 4]);
      buf_byte(out, (uint8_t)digits[(uint8_t)w.p[i] & 15]);
    }
  } else if (w.type == VAL_INTEGER) {
    buf_printf(out, "%lld", (long long)w.i);
  } else if (w.type == VAL_REAL) {
    pg_real_text(w.r, false, out);
  } else if (w.n && w.p[0] == '[' && pg_array_element(oid)) {
    array_output(zone, w.p, w.n, pg_array_element(oid), out);
  } else {
    buf_append(out, w.p, w.n);
  }
  return HDB_OK;
}
