/* Date and time functions.
 *
 * A moment is kept in up to three forms, each with a flag: milliseconds since noon of November 24, 4714 BC
 * (`ms`, SQLite's "iJD"), year-month-day, and hour-minute-second with a zone. Forms are computed from each other only
 * when needed, since SQLite shows which one it kept: '2023-02-31' stays so until a modifier makes it March 3.
 *   D1  `raw`: the value was a bare number that may be a julian day or, with 'unixepoch' or 'auto', seconds.
 *   D2  A moment outside of years -4713 to 9999 makes the function answer NULL.
 * What can fail: "local time unavailable". Everything malformed is NULL. Cost: 100-300 ns a call.
 */
#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "sql/func.h"

typedef struct moment {
  int64_t ms;
  int year, month, day, hour, minute, zone; /* zone in minutes */
  double second;                            /* or the raw number */
  bool has_ms, has_date, has_time, has_zone, raw, invalid, subsecond, zone_given;
} moment;

#define DAY_MS 86400000
#define UNIX_EPOCH_MS 210866760000000
#define MS_MAX 464269060799999

static void make_invalid(moment *m) { *m = (moment){.invalid = true}; }
static void forget_fields(moment *m) { m->has_date = m->has_time = m->has_zone = false; }
static bool ms_in_range(int64_t ms) { return ms >= 0 && ms <= MS_MAX; }

/* ---- from form to form ---- */

static void need_ms(moment *m) {
  if (m->has_ms) return;
  int y = m->has_date ? m->year : 2000, mo = m->has_date ? m->month : 1, d = m->has_date ? m->day : 1;
  if (y < -4713 || y > 9999 || m->raw) {
    make_invalid(m);
    return;
  }
  if (mo <= 2) y--, mo += 12;
  int century = y / 100, leap = 2 - century + century / 4;
  int year_days = 36525 * (y + 4716) / 100, month_days = 306001 * (mo + 1) / 10000;
  m->ms = (int64_t)((year_days + month_days + d + leap - 1524.5) * DAY_MS);
  m->has_ms = true;
  if (!m->has_time) return;
  m->ms += m->hour * 3600000 + m->minute * 60000 + (int64_t)(m->second * 1000 + 0.5);
  if (m->has_zone) {
    m->ms -= m->zone * 60000;
    forget_fields(m);
  }
}

static void need_date(moment *m) {
  if (m->has_date) return;
  if (!m->has_ms) {
    m->year = 2000, m->month = 1, m->day = 1;
  } else if (!ms_in_range(m->ms)) {
    make_invalid(m);
    return;
  } else {
    int z = (int)((m->ms + DAY_MS / 2) / DAY_MS), a = (int)((z - 1867216.25) / 36524.25);
    a = z + 1 + a - a / 4;
    int b = a + 1524, c = (int)((b - 122.1) / 365.25), d = 36525 * (c & 32767) / 100, e = (int)((b - d) / 30.6001);
    m->day = b - d - (int)(30.6001 * e);
    m->month = e < 14 ? e - 1 : e - 13;
    m->year = m->month > 2 ? c - 4716 : c - 4715;
  }
  m->has_date = true;
}

static void need_time(moment *m) {
  if (m->has_time) return;
  need_ms(m);
  int day_ms = (int)((m->ms + DAY_MS / 2) % DAY_MS), minutes = day_ms / 60000;
  m->second = day_ms % 60000 / 1000.0;
  m->minute = minutes % 60;
  m->hour = minutes / 60;
  m->raw = false;
  m->has_time = true;
}

static void need_fields(moment *m) {
  need_date(m);
  need_time(m);
}

static void from_ms(moment *m, int64_t ms) {
  forget_fields(m);
  m->ms = ms;
  m->has_ms = true;
  m->raw = false;
}

/* ---- reading: all texts end with a NUL ---- */

/* Exactly n digits with a value in [least, most]; NULL when they are not there. */
static const char *read_digits(const char *p, int n, int least, int most, int *out) {
  int v = 0;
  for (; n > 0; n--, p++) {
    if (!ascii_digit((unsigned char)*p)) return NULL;
    v = v * 10 + (*p - '0');
  }
  *out = v;
  return v >= least && v <= most ? p : NULL;
}
static const char *read_char(const char *p, char c) { return p && *p == c ? p + 1 : NULL; }
static const char *skip_blanks(const char *p) {
  while (ascii_space((unsigned char)*p)) p++;
  return p;
}
static const char *read_hour_minute(const char *p, int hour_max, int *hour, int *minute) {
  p = read_char(read_digits(p, 2, 0, hour_max, hour), ':');
  return p ? read_digits(p, 2, 0, 59, minute) : NULL;
}
/* Y digits of the year, then -MM-DD. */
static const char *read_date(const char *p, int digits, int least, int *y, int *m, int *d) {
  p = read_char(read_digits(p, digits, 0, 14712, y), '-');
  p = p ? read_char(read_digits(p, 2, least, 12, m), '-') : NULL;
  return p ? read_digits(p, 2, least, 31, d) : NULL;
}

static bool read_zone(const char *p, moment *m) {
  p = skip_blanks(p);
  m->zone = 0;
  if (*p == 'Z' || *p == 'z') {
    p++;
  } else if (*p == '-' || *p == '+') {
    int sign = *p == '-' ? -1 : 1, hour, minute;
    p = read_hour_minute(p + 1, 14, &hour, &minute);
    if (!p) return false;
    m->zone = sign * (hour * 60 + minute);
  } else {
    return *p == 0;
  }
  m->zone_given = true;
  return *skip_blanks(p) == 0;
}

/* HH:MM[:SS[.FFF]] [zone] */
static bool read_time(const char *p, moment *m) {
  int hour, minute, second = 0;
  double fraction = 0;
  p = read_hour_minute(p, 24, &hour, &minute);
  if (!p) return false;
  if (*p == ':') {
    p = read_digits(p + 1, 2, 0, 59, &second);
    if (!p) return false;
    if (*p == '.' && ascii_digit((unsigned char)p[1])) {
      double scale = 1.0;
      for (p++; ascii_digit((unsigned char)*p); p++) {
        fraction = fraction * 10.0 + (*p - '0');
        scale *= 10.0;
      }
      fraction /= scale;
    }
  }
  m->has_ms = m->raw = false;
  m->has_time = true;
  m->hour = hour, m->minute = minute, m->second = second + fraction;
  if (!read_zone(p, m)) return false;
  m->has_zone = m->zone != 0;
  return true;
}

/* [-]YYYY-MM-DD[(blanks or T)time] */
static bool read_date_time(const char *p, moment *m) {
  bool negative = *p == '-';
  int y, mo, d;
  p = read_date(p + negative, 4, 1, &y, &mo, &d);
  if (!p) return false;
  while (ascii_space((unsigned char)*p) || *p == 'T') p++;
  if (!read_time(p, m)) {
    if (*p) return false;
    m->has_time = false;
  }
  m->has_ms = false;
  m->has_date = true;
  m->year = negative ? -y : y, m->month = mo, m->day = d;
  if (m->has_zone) need_ms(m);
  return true;
}

static void from_number(moment *m, double r) {
  m->second = r;
  m->raw = true;
  if (r >= 0.0 && r < 5373484.5) {
    m->ms = (int64_t)(r * 86400000.0 + 0.5);
    m->has_ms = true;
  }
}

static bool whole_number(const char *p, size_t n, double *r) {
  int64_t i;
  int kind = text_to_number(p, n, &i, r);
  return kind > 0;
}

/* In an index, CHECK or generated column the answer may not depend on the moment or the machine. */
static status not_pure(function_call *call) {
  static const char *const places[] = {"", "an index", "a CHECK constraint", "a generated column"};
  if (call->place == PLACE_ANYWHERE) return HDB_OK;
  return error_set(call->err, HDB_ERROR, "non-deterministic use of %s() in %s", call->f->name, places[call->place]);
}

static status read_value(function_call *call, const char *p, moment *m, bool *ok) {
  double r;
  *ok = true;
  if (read_date_time(p, m) || read_time(p, m)) return HDB_OK;
  bool subsecond = strcasecmp(p, "subsec") == 0 || strcasecmp(p, "subsecond") == 0;
  if (subsecond || strcasecmp(p, "now") == 0) {
    TRY(not_pure(call));
    m->subsecond = subsecond;
    m->ms = function_now_ms(call);
    m->has_ms = true;
    return HDB_OK;
  }
  *ok = whole_number(p, strlen(p), &r);
  if (*ok) from_number(m, r);
  return HDB_OK;
}

/* ---- modifiers ---- */

/* The C library's zone rules hold for 1970 to 2037; other years borrow those of a year with the same leap rule. */
static status to_local(function_call *call, moment *m) {
  need_ms(m);
  int shift = 0;
  moment x = *m;
  if (m->ms < 210866760000000 || m->ms > 213014145600000) {
    need_fields(&x);
    shift = 2000 + x.year % 4 - x.year;
    x.year += shift;
    x.has_ms = false;
    need_ms(&x);
  }
  time_t t = (time_t)(x.ms / 1000 - UNIX_EPOCH_MS / 1000);
  struct tm local;
  if (!localtime_r(&t, &local)) return error_set(call->err, HDB_ERROR, "local time unavailable");
  m->year = local.tm_year + 1900 - shift, m->month = local.tm_mon + 1, m->day = local.tm_mday;
  m->hour = local.tm_hour, m->minute = local.tm_min;
  m->second = local.tm_sec + (double)(m->ms % 1000) * 0.001;
  m->has_date = m->has_time = true;
  m->has_ms = m->raw = m->has_zone = m->invalid = false;
  return HDB_OK;
}

/* The UTC moment whose local time is m: a few guesses. */
static status to_utc(function_call *call, moment *m) {
  if (m->zone_given) return HDB_OK;
  need_ms(m);
  int64_t wanted = m->ms, guess = wanted, off = 0;
  for (int i = 0; i < 4; i++) {
    moment x = {.has_ms = true, .ms = guess -= off};
    TRY(to_local(call, &x));
    need_ms(&x);
    off = x.ms - wanted;
    if (off == 0) break;
  }
  *m = (moment){.ms = guess, .has_ms = true, .zone_given = true};
  return HDB_OK;
}

static bool start_of(moment *m, const char *unit) {
  if (!m->has_ms && !m->has_date && !m->has_time) return false;
  need_date(m);
  m->has_time = true;
  m->hour = m->minute = 0;
  m->second = 0;
  m->raw = m->has_zone = m->has_ms = false;
  if (strcasecmp(unit, "day") == 0) return true;
  if (strcasecmp(unit, "month") == 0) {
    m->day = 1;
    return true;
  }
  m->month = m->day = 1;
  return strcasecmp(unit, "year") == 0;
}

static bool to_weekday(moment *m, const char *p) {
  double r;
  if (!whole_number(p, strlen(p), &r) || !(r >= 0 && r < 7) || (int)r != r) return false;
  need_fields(m);
  m->has_zone = m->has_ms = false;
  need_ms(m);
  int64_t today = (m->ms + DAY_MS + DAY_MS / 2) / DAY_MS % 7;
  if (today > (int)r) today -= 7;
  m->ms += ((int)r - today) * DAY_MS;
  forget_fields(m);
  return true;
}

static bool from_unix(moment *m) {
  double r = m->second * 1000.0 + (double)UNIX_EPOCH_MS;
  if (!(r >= 0.0 && r < (double)(MS_MAX + 1))) return false;
  from_ms(m, (int64_t)(r + 0.5));
  return true;
}

/* A bare number is a julian day when it can be one, else seconds. */
static void from_auto(moment *m) {
  if (!m->raw || m->has_ms) m->raw = false;
  else if (m->second >= -210866760000.0 && m->second <= 253402300799.0) from_unix(m);
}

static void carry_months(moment *m) {
  int x = m->month > 0 ? (m->month - 1) / 12 : (m->month - 12) / 12;
  m->year += x;
  m->month -= x * 12;
}

/* p: HH:MM[:SS[.FFF]] */
static bool add_time(moment *m, const char *p, bool negative) {
  moment x = {0};
  if (!read_time(p, &x)) return false;
  need_ms(&x);
  int64_t ms = (x.ms - DAY_MS / 2) % DAY_MS;
  need_ms(m);
  forget_fields(m);
  m->ms += negative ? -ms : ms;
  return true;
}

/* (+|-)YYYY-MM-DD[ time], n bytes up to the first - */
static bool add_date(moment *m, const char *p, size_t n) {
  bool negative = *p == '-';
  int y, mo, d;
  if (*p != '+' && *p != '-') return false;
  p = read_date(p + 1, (int)n - 1, 0, &y, &mo, &d);
  if (!p || mo >= 12 || d >= 31) return false;
  need_fields(m);
  m->has_ms = false;
  m->year += negative ? -y : y;
  m->month += negative ? -mo : mo;
  carry_months(m);
  need_ms(m);
  m->has_time = m->has_date = false;
  m->ms += (int64_t)(negative ? -d : d) * DAY_MS;
  if (*p == 0) return true;
  int hour, minute;
  if (!ascii_space((unsigned char)*p) || !read_hour_minute(p + 1, 24, &hour, &minute)) return false;
  return add_time(m, p + 1, negative);
}

/* r of a unit: p is the unit's name. */
static bool add_units(moment *m, double r, const char *p) {
  static const struct {
    const char *name;
    double limit, seconds;
  } units[] = {{"second", 4.6427e+14, 1.0}, {"minute", 7.7379e+12, 60.0},  {"hour", 1.2897e+11, 3600.0},
               {"day", 5373485.0, 86400.0}, {"month", 176546.0, 2592000.0}, {"year", 14713.0, 31536000.0}};
  size_t n = strlen(p);
  if (n > 10 || n < 3) return false;
  if (ascii_lower((unsigned char)p[n - 1]) == 's') n--;
  need_ms(m);
  double rounder = r < 0 ? -0.5 : 0.5;
  bool found = false;
  for (int i = 0; i < COUNT(units) && !found; i++) {
    found = strlen(units[i].name) == n && strncasecmp(units[i].name, p, n) == 0 && r > -units[i].limit && r < units[i].limit;
    if (!found) continue;
    if (i >= 4) {
      need_fields(m);
      if (i == 4) m->month += (int)r;
      else m->year += (int)r;
      if (i == 4) carry_months(m);
      m->has_ms = false;
      r -= (int)r;
    }
    need_ms(m);
    m->ms += (int64_t)(r * 1000.0 * units[i].seconds + rounder);
  }
  forget_fields(m);
  return found;
}

static bool add(moment *m, const char *p) {
  size_t n = 1;
  int year;
  for (; p[n] && p[n] != ':' && !ascii_space((unsigned char)p[n]); n++)
    if (p[n] == '-' && ((n == 5 && read_digits(p + 1, 4, 0, 14712, &year)) || (n == 6 && read_digits(p + 1, 5, 0, 14712, &year)))) break;
  double r;
  if (!whole_number(p, n, &r)) return false;
  if (p[n] == '-') return add_date(m, p, n);
  if (p[n] == ':') return add_time(m, p + !ascii_digit((unsigned char)*p), *p == '-');
  return add_units(m, r, skip_blanks(p + n));
}

/* *ok false: the function's result is NULL. */
static status modify(function_call *call, moment *m, const char *p, int index, bool *ok) {
  *ok = false;
  switch (ascii_lower((unsigned char)*p)) {
  case 'a':
    if (strcasecmp(p, "auto") != 0 || index > 1) break;
    from_auto(m);
    *ok = true;
    break;
  case 'j':
    if (strcasecmp(p, "julianday") != 0 || index > 1) break;
    *ok = m->has_ms && m->raw;
    if (*ok) m->raw = false;
    break;
  case 'l':
    if (strcasecmp(p, "localtime") != 0) break;
    *ok = true;
    TRY(not_pure(call));
    return to_local(call, m);
  case 'u':
    if (strcasecmp(p, "unixepoch") == 0) {
      *ok = m->raw && index <= 1 && from_unix(m);
    } else if (strcasecmp(p, "utc") == 0) {
      *ok = true;
      TRY(not_pure(call));
      return to_utc(call, m);
    }
    break;
  case 'w': *ok = strncasecmp(p, "weekday ", 8) == 0 && to_weekday(m, p + 8); break;
  case 's':
    if (strncasecmp(p, "start of ", 9) == 0) {
      *ok = start_of(m, p + 9);
    } else if (strcasecmp(p, "subsec") == 0 || strcasecmp(p, "subsecond") == 0) {
      m->subsecond = true;
      *ok = true;
    }
    break;
  case '+': case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
    *ok = add(m, p);
    break;
  default: break;
  }
  return HDB_OK;
}

/* ---- the functions ---- */

/* A text argument with a NUL behind it; NULL for NULL. */
static status c_text(function_call *call, const value *v, const char **out) {
  slice s;
  TRY(function_text(call, v, &s));
  *out = NULL;
  if (!s.p) return HDB_OK;
  *out = arena_strndup(call->memory, (const char *)s.p, s.n);
  return *out ? HDB_OK : function_nomem(call);
}

/* Time value and modifiers. *ok false: the answer is NULL. */
static status read_moment(function_call *call, int n, const value *a, moment *m, bool *ok) {
  *m = (moment){0};
  const char *p;
  *ok = false;
  if (n == 0) {
    TRY(not_pure(call));
    m->ms = function_now_ms(call);
    m->has_ms = true;
  } else if (a[0].type == VAL_INTEGER || a[0].type == VAL_REAL) {
    from_number(m, value_to_real(a));
  } else {
    TRY(c_text(call, a, &p));
    bool read = false;
    if (p) TRY(read_value(call, p, m, &read));
    if (!read) return HDB_OK;
  }
  for (int i = 1; i < n; i++) {
    bool modified = false;
    TRY(c_text(call, &a[i], &p));
    if (p) TRY(modify(call, m, p, i, &modified));
    if (!modified) return HDB_OK;
  }
  need_ms(m);
  if (m->invalid || !ms_in_range(m->ms)) return HDB_OK;
  if (n == 1 && m->has_date && m->day > 28) m->has_date = false; /* 2023-02-31 becomes 2023-03-03 */
  *ok = true;
  return HDB_OK;
}

static status f_julianday(function_call *call, int n, const value *a, value *result) {
  moment m;
  bool ok;
  TRY(read_moment(call, n, a, &m, &ok));
  *result = ok ? value_real((double)m.ms / 86400000.0) : value_null();
  return HDB_OK;
}

static status f_unixepoch(function_call *call, int n, const value *a, value *result) {
  moment m;
  bool ok;
  TRY(read_moment(call, n, a, &m, &ok));
  *result = !ok           ? value_null()
            : m.subsecond ? value_real((double)(m.ms - UNIX_EPOCH_MS) / 1000.0)
                          : value_int(m.ms / 1000 - UNIX_EPOCH_MS / 1000);
  return HDB_OK;
}

/* v in at least `width` digits (at most 5), filled with `fill`. */
static char *put_number(char *out, int v, int width, char fill) {
  char text[12], *end = text + sizeof text, *p = end;
  bool negative = v < 0;
  unsigned u = negative ? -(unsigned)v : (unsigned)v;
  do *--p = (char)('0' + u % 10);
  while ((u /= 10));
  for (int left = width - (int)(end - p) - negative; left > 0; left--) *--p = fill;
  if (negative) *--p = '-';
  return mempcpy(out, p, (size_t)(end - p));
}
static char *put_two(char *out, int v) {
  out[0] = (char)('0' + v / 10 % 10);
  out[1] = (char)('0' + v % 10);
  return out + 2;
}
static char *put_date(char *out, const moment *m) {
  if (m->year < 0) *out++ = '-';
  int y = m->year < 0 ? -m->year : m->year;
  out = put_two(put_two(out, y / 100), y);
  *out++ = '-';
  out = put_two(out, m->month);
  *out++ = '-';
  return put_two(out, m->day);
}
static char *put_time(char *out, const moment *m, bool subsecond) {
  int ms = subsecond ? (int)(1000.0 * m->second + 0.5) : 0;
  out = put_two(out, m->hour);
  *out++ = ':';
  out = put_two(out, m->minute);
  *out++ = ':';
  out = put_two(out, subsecond ? ms / 1000 : (int)m->second);
  if (!subsecond) return out;
  *out++ = '.';
  *out++ = (char)('0' + ms / 100 % 10);
  return put_two(out, ms);
}

static status shown(function_call *call, int n, const value *a, bool date, bool time, value *result) {
  moment m;
  bool ok;
  *result = value_null();
  TRY(read_moment(call, n, a, &m, &ok));
  if (!ok) return HDB_OK;
  if (date) need_date(&m);
  if (time) need_time(&m);
  char text[64], *p = text;
  if (date) p = put_date(p, &m);
  if (date && time) *p++ = ' ';
  if (time) p = put_time(p, &m, m.subsecond);
  return function_result_text(call, text, (size_t)(p - text), result);
}
static status f_date(function_call *call, int n, const value *a, value *result) { return shown(call, n, a, true, false, result); }
static status f_time(function_call *call, int n, const value *a, value *result) { return shown(call, n, a, false, true, result); }
static status f_datetime(function_call *call, int n, const value *a, value *result) { return shown(call, n, a, true, true, result); }

/* %j and %W */
static char *put_day_of_year(char *out, const moment *m, bool week) {
  moment first = *m;
  first.has_ms = false;
  first.month = first.day = 1;
  need_ms(&first);
  int day = (int)((m->ms - first.ms + DAY_MS / 2) / DAY_MS);
  int weekday = (int)((m->ms + DAY_MS / 2) / DAY_MS % 7); /* 0: Monday */
  return week ? put_number(out, (day + 7 - weekday) / 7, 2, '0') : put_number(out, day + 1, 3, '0');
}

static status put_with_format(function_call *call, const char *format, double r, buf *out) {
  value v = value_real(r);
  return sql_format(call, slice_str(format), 1, &v, out);
}

/* One conversion; *ok false: there is no such one. */
static status put_conversion(function_call *call, const moment *m, char c, buf *out, bool *ok) {
  int twelve = m->hour % 12 == 0 ? 12 : m->hour % 12;
  char text[64], *p = text;
  switch (c) {
  case 'd': p = put_number(p, m->day, 2, '0'); break;
  case 'e': p = put_number(p, m->day, 2, ' '); break;
  case 'f': return put_with_format(call, "%06.3f", m->second > 59.999 ? 59.999 : m->second, out);
  case 'F':
    p = put_number(p, m->year, 4, '0');
    *p++ = '-';
    p = put_two(p, m->month);
    *p++ = '-';
    p = put_two(p, m->day);
    break;
  case 'H': p = put_number(p, m->hour, 2, '0'); break;
  case 'k': p = put_number(p, m->hour, 2, ' '); break;
  case 'I': p = put_number(p, twelve, 2, '0'); break;
  case 'l': p = put_number(p, twelve, 2, ' '); break;
  case 'j': p = put_day_of_year(p, m, false); break;
  case 'W': p = put_day_of_year(p, m, true); break;
  case 'J': return put_with_format(call, "%.16g", (double)m->ms / 86400000.0, out);
  case 'm': p = put_number(p, m->month, 2, '0'); break;
  case 'M': p = put_number(p, m->minute, 2, '0'); break;
  case 'p': p = mempcpy(p, m->hour >= 12 ? "PM" : "AM", 2); break;
  case 'P': p = mempcpy(p, m->hour >= 12 ? "pm" : "am", 2); break;
  case 'R':
  case 'T': p = put_time(p, m, false) - (c == 'R' ? 3 : 0); break;
  case 's':
    if (m->subsecond) return put_with_format(call, "%.3f", (double)(m->ms - UNIX_EPOCH_MS) / 1000.0, out);
    p += int_to_text(m->ms / 1000 - UNIX_EPOCH_MS / 1000, p);
    break;
  case 'S': p = put_number(p, (int)m->second, 2, '0'); break;
  case 'u':
  case 'w': {
    int weekday = (int)((m->ms + DAY_MS + DAY_MS / 2) / DAY_MS % 7); /* 0: Sunday */
    *p++ = (char)('0' + (c == 'u' && weekday == 0 ? 7 : weekday));
    break;
  }
  case 'Y': p = put_number(p, m->year, 4, '0'); break;
  case '%': *p++ = '%'; break;
  default: *ok = false;
  }
  buf_append(out, text, (size_t)(p - text));
  return HDB_OK;
}

static status f_strftime(function_call *call, int n, const value *a, value *result) {
  moment m;
  bool ok;
  *result = value_null();
  if (n == 0 || a[0].type == VAL_NULL) return HDB_OK;
  slice format;
  TRY(function_text(call, a, &format));
  format = text_until_nul(format);
  TRY(read_moment(call, n - 1, a + 1, &m, &ok));
  if (!ok) return HDB_OK;
  need_fields(&m);
  buf out = BUF_INIT;
  status rc = HDB_OK;
  for (const uint8_t *p = format.p, *end = p + format.n; ok && rc == HDB_OK && p < end;) {
    const uint8_t *percent = memchr(p, '%', (size_t)(end - p)), *stop = percent ? percent : end;
    buf_append(&out, p, (size_t)(stop - p));
    if (!percent) break;
    rc = put_conversion(call, &m, percent + 1 < end ? (char)percent[1] : 0, &out, &ok);
    p = percent + 2;
  }
  if (rc == HDB_OK && ok) return function_result_buf(call, &out, VAL_TEXT, result);
  buf_free(&out);
  return rc;
}

/* Whole years, months and what is left between two moments; the later one is brought down or up to the earlier. */
static status f_timediff(function_call *call, int n, const value *a, value *result) {
  moment x, y;
  bool ok;
  *result = value_null();
  TRY(read_moment(call, 1, &a[0], &x, &ok));
  if (!ok) return HDB_OK;
  TRY(read_moment(call, 1, &a[1], &y, &ok));
  if (!ok) return HDB_OK;
  need_fields(&x);
  need_fields(&y);
  int sign = x.ms >= y.ms ? 1 : -1, years = sign * (x.year - y.year), months = sign * (x.month - y.month);
  if (years) {
    y.year = x.year;
    y.has_ms = false;
    need_ms(&y);
  }
  if (months < 0) years--, months += 12;
  if (months) {
    y.month = x.month;
    y.has_ms = false;
    need_ms(&y);
  }
  while (sign > 0 ? x.ms < y.ms : x.ms > y.ms) {
    if (--months < 0) months = 11, years--;
    y.month -= sign;
    if (y.month < 1) y.month = 12, y.year--;
    if (y.month > 12) y.month = 1, y.year++;
    y.has_ms = false;
    need_ms(&y);
  }
  from_ms(&x, sign * (x.ms - y.ms) + 148699540800000); /* counted from 0000-01-01: days 0 to 30 */
  need_fields(&x);
  buf out = BUF_INIT;
  buf_printf(&out, "%c%04d-%02d-%02d %02d:%02d:", sign > 0 ? '+' : '-', years, months, x.day - 1, x.hour, x.minute);
  status rc = put_with_format(call, "%06.3f", x.second, &out);
  if (rc == HDB_OK) return function_result_buf(call, &out, VAL_TEXT, result);
  buf_free(&out);
  return rc;
}

static status f_current_time(function_call *call, int n, const value *a, value *result) { return f_time(call, 0, NULL, result); }
static status f_current_date(function_call *call, int n, const value *a, value *result) { return f_date(call, 0, NULL, result); }
static status f_current_timestamp(function_call *call, int n, const value *a, value *result) {
  return f_datetime(call, 0, NULL, result);
}

/* Deterministic unless 'now' (or nothing) is asked for, which is one moment within a statement: not to be folded. */
enum { CURRENT = FUNC_INNOCUOUS | FUNC_STATEMENT_CONSTANT, DATE = CURRENT | FUNC_DETERMINISTIC };
#define F(name, arguments, flags, function)                                                                            \
  {name, arguments, arguments < 0 ? 0 : arguments, flags, .scalar = function}
static const function functions[] = {
    F("current_date", 0, CURRENT, f_current_date),
    F("current_time", 0, CURRENT, f_current_time),
    F("current_timestamp", 0, CURRENT, f_current_timestamp),
    F("date", -1, DATE, f_date),
    F("datetime", -1, DATE, f_datetime),
    F("julianday", -1, DATE, f_julianday),
    F("strftime", -1, DATE, f_strftime),
    F("time", -1, DATE, f_time),
    F("timediff", 2, DATE, f_timediff),
    F("unixepoch", -1, DATE, f_unixepoch),
};
const function_table functions_date = {functions, COUNT(functions)};
