/* More of PostgreSQL's functions: encode, decode, regexp_replace, regexp_match, translate, to_hex, to_char of moments, age,
 * AT TIME ZONE of UTC. Values are canonical (pg.h). */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <openssl/evp.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "sql/func.h"
#include "sql/func_pg.h"
#include "sql/func_text.h"
#include "sql/internal.h"
#include "sql/pg.h"

#define TEXT_OR_NULL(s, a)                                                                                             \
  slice s;                                                                                                             \
  TRY(function_text(call, a, &s));                                                                                     \
  if (!s.p) {                                                                                                          \
    *result = value_null();                                                                                            \
    return HDB_OK;                                                                                                     \
  }

/* ---- encode, decode ---- */

static bool says(slice s, const char *word) { return s.n == strlen(word) && strncasecmp((const char *)s.p, word, s.n) == 0; }

static status f_encode(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(how, &a[1]);
  if (a[0].type == VAL_NULL) return *result = value_null(), HDB_OK;
  TEXT_OR_NULL(bytes, &a[0]);
  buf b = BUF_INIT;
  if (says(how, "hex")) {
    for (size_t i = 0; i < bytes.n; i++) buf_printf(&b, "%02x", bytes.p[i]);
  } else if (says(how, "base64")) {
    uint8_t *at = buf_reserve(&b, (bytes.n + 2) / 3 * 4 + 1);
    if (at) b.n = (size_t)EVP_EncodeBlock(at, bytes.p, (int)bytes.n);
  } else if (says(how, "escape")) {
    for (size_t i = 0; i < bytes.n; i++)
      if (bytes.p[i] == 0 || bytes.p[i] >= 128) buf_printf(&b, "\\%03o", bytes.p[i]);
      else if (bytes.p[i] == '\\') buf_text(&b, "\\\\");
      else buf_byte(&b, bytes.p[i]);
  } else {
    return error_set(call->err, HDB_ERROR, "invalid value for parameter: unrecognized encoding: \"%.*s\"", (int)how.n, (const char *)how.p);
  }
  return function_result_buf(call, &b, VAL_TEXT, result);
}

static int digit(uint8_t c) { return isdigit(c) ? c - '0' : isxdigit(c) ? tolower(c) - 'a' + 10 : -1; }

static bool decode_hex(slice s, buf *out) {
  for (size_t i = 0; i < s.n;) {
    if (isspace(s.p[i])) {
      i++;
      continue;
    }
    if (i + 1 >= s.n || digit(s.p[i]) < 0 || digit(s.p[i + 1]) < 0) return false;
    buf_byte(out, (uint8_t)(digit(s.p[i]) << 4 | digit(s.p[i + 1])));
    i += 2;
  }
  return true;
}

static bool decode_base64(slice s, buf *out) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint32_t bits = 0;
  int have = 0, padding = 0;
  for (size_t i = 0; i < s.n; i++) {
    if (isspace(s.p[i])) continue;
    const char *at = s.p[i] ? strchr(letters, s.p[i]) : NULL;
    if (s.p[i] == '=') {
      padding++;
      continue;
    }
    if (!at || padding) return false;
    bits = bits << 6 | (uint32_t)(at - letters);
    if (++have % 4 == 0) buf_byte(out, (uint8_t)(bits >> 16)), buf_byte(out, (uint8_t)(bits >> 8)), buf_byte(out, (uint8_t)bits);
  }
  int rest = have % 4;
  if (rest == 1 || (rest && rest + padding != 4)) return false;
  if (rest >= 2) buf_byte(out, (uint8_t)(bits >> (rest == 2 ? 4 : 10)));
  if (rest == 3) buf_byte(out, (uint8_t)(bits >> 2));
  return true;
}

static status f_decode(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(s, &a[0]);
  TEXT_OR_NULL(how, &a[1]);
  buf b = BUF_INIT;
  bool ok = says(how, "hex") ? decode_hex(s, &b) : says(how, "base64") ? decode_base64(s, &b) : false;
  if (ok) return function_result_buf(call, &b, VAL_BLOB, result);
  buf_free(&b);
  if (!says(how, "hex") && !says(how, "base64")) return error_set(call->err, HDB_ERROR, "not supported yet: decode of \"%.*s\"", (int)how.n, (const char *)how.p);
  return error_set(call->err, HDB_ERROR, says(how, "hex") ? "invalid hexadecimal data" : "invalid base64 end sequence");
}

/* ---- patterns ---- */

static status pattern_compile(function_call *call, slice pattern, slice flags, pcre2_code **out, bool *all) {
  uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY;
  *all = false;
  for (size_t i = 0; i < flags.n; i++) {
    if (flags.p[i] == 'g') *all = true;
    else if (flags.p[i] == 'i') options |= PCRE2_CASELESS;
    else if (flags.p[i] == 'n' || flags.p[i] == 'm') options |= PCRE2_MULTILINE;
    else if (flags.p[i] == 'x') options |= PCRE2_EXTENDED;
    else return error_set(call->err, HDB_ERROR, "invalid value for parameter: invalid regular expression option: \"%c\"", flags.p[i]);
  }
  int number;
  PCRE2_SIZE at;
  *out = pcre2_compile(pattern.p, pattern.n, options, &number, &at, NULL);
  if (*out) return HDB_OK;
  char why[120];
  pcre2_get_error_message(number, (PCRE2_UCHAR *)why, sizeof why);
  return error_set(call->err, HDB_ERROR, "invalid regular expression: %s", why);
}

/* \1 is a group, \& the whole, \\ a backslash. */
static void put_replacement(buf *out, slice with, slice text, const PCRE2_SIZE *groups, int groups_n) {
  for (size_t i = 0; i < with.n; i++) {
    if (with.p[i] != '\\' || i + 1 == with.n) {
      buf_byte(out, with.p[i]);
      continue;
    }
    uint8_t c = with.p[++i];
    int k = c == '&' ? 0 : isdigit(c) ? c - '0' : -1;
    if (k < 0) {
      if (c != '\\') buf_byte(out, '\\');
      buf_byte(out, c);
    } else if (k < groups_n && groups[2 * k] != PCRE2_UNSET) {
      buf_append(out, text.p + groups[2 * k], groups[2 * k + 1] - groups[2 * k]);
    }
  }
}

static status matching_failed(function_call *call) {
  return error_set(call->err, HDB_ERROR, "invalid regular expression: it takes too long on this text, or the text is no UTF-8");
}

static pcre2_match_context *limits_new(void) {
  pcre2_match_context *limits = pcre2_match_context_create(NULL);
  if (!limits) return NULL;
  pcre2_set_match_limit(limits, 2000000);
  pcre2_set_depth_limit(limits, 20000);
  pcre2_set_heap_limit(limits, 16384);
  return limits;
}

static status f_regexp_replace(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(text, &a[0]);
  TEXT_OR_NULL(pattern, &a[1]);
  TEXT_OR_NULL(with, &a[2]);
  slice flags = slice_of("", 0);
  if (n > 3) TRY(function_text(call, &a[3], &flags));
  pcre2_code *code;
  bool all;
  TRY(pattern_compile(call, pattern, flags, &code, &all));
  pcre2_match_data *match = pcre2_match_data_create_from_pattern(code, NULL);
  pcre2_match_context *limits = limits_new();
  buf b = BUF_INIT;
  size_t at = 0, copied = 0;
  int rc = match && limits ? 0 : PCRE2_ERROR_NOMEMORY;
  while (rc >= 0 && at <= text.n && (rc = pcre2_match(code, text.p, text.n, at, 0, match, limits)) > 0) {
    const PCRE2_SIZE *groups = pcre2_get_ovector_pointer(match);
    buf_append(&b, text.p + copied, groups[0] - copied);
    put_replacement(&b, with, text, groups, rc);
    copied = groups[1];
    at = groups[1];
    if (groups[0] == groups[1]) /* an empty match: one character on */
      for (at++; at < text.n && (text.p[at] & 0xc0) == 0x80; at++) {
      }
    if (!all) break;
  }
  buf_append(&b, text.p + copied, text.n - copied);
  pcre2_match_data_free(match);
  pcre2_match_context_free(limits);
  pcre2_code_free(code);
  if (rc >= 0 || rc == PCRE2_ERROR_NOMATCH) return function_result_buf(call, &b, VAL_TEXT, result);
  buf_free(&b);
  return rc == PCRE2_ERROR_NOMEMORY ? function_nomem(call) : matching_failed(call);
}

static void put_json_text(buf *b, const uint8_t *p, size_t n) {
  buf_byte(b, '"');
  for (size_t i = 0; i < n; i++) {
    if (p[i] == '"' || p[i] == '\\') buf_byte(b, '\\');
    if (p[i] < 32) buf_printf(b, "\\u%04x", p[i]);
    else buf_byte(b, p[i]);
  }
  buf_byte(b, '"');
}

/* The groups, or without any the whole match, as an array. */
static status f_regexp_match(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(text, &a[0]);
  TEXT_OR_NULL(pattern, &a[1]);
  slice flags = slice_of("", 0);
  if (n > 2) TRY(function_text(call, &a[2], &flags));
  pcre2_code *code;
  bool all;
  TRY(pattern_compile(call, pattern, flags, &code, &all));
  pcre2_match_data *match = pcre2_match_data_create_from_pattern(code, NULL);
  pcre2_match_context *limits = limits_new();
  int rc = match && limits ? pcre2_match(code, text.p, text.n, 0, 0, match, limits) : PCRE2_ERROR_NOMEMORY;
  buf b = BUF_INIT;
  if (rc > 0) {
    const PCRE2_SIZE *groups = pcre2_get_ovector_pointer(match);
    uint32_t count = pcre2_get_ovector_count(match);
    buf_byte(&b, '[');
    for (uint32_t k = count > 1; k < count; k++) {
      if (k > 1) buf_byte(&b, ',');
      if ((int)k >= rc || groups[2 * k] == PCRE2_UNSET) buf_text(&b, "null");
      else put_json_text(&b, text.p + groups[2 * k], groups[2 * k + 1] - groups[2 * k]);
    }
    buf_byte(&b, ']');
  }
  pcre2_match_data_free(match);
  pcre2_match_context_free(limits);
  pcre2_code_free(code);
  if (rc > 0) return function_result_buf(call, &b, VAL_TEXT, result);
  buf_free(&b);
  *result = value_null();
  return rc == PCRE2_ERROR_NOMATCH ? HDB_OK : rc == PCRE2_ERROR_NOMEMORY ? function_nomem(call) : matching_failed(call);
}

/* ---- characters ---- */

static size_t character(slice s, size_t at) {
  size_t n = 1;
  while (at + n < s.n && (s.p[at + n] & 0xc0) == 0x80) n++;
  return n;
}

static status f_translate(function_call *call, int n, const value *a, value *result) {
  TEXT_OR_NULL(text, &a[0]);
  TEXT_OR_NULL(from, &a[1]);
  TEXT_OR_NULL(to, &a[2]);
  buf b = BUF_INIT;
  for (size_t i = 0; i < text.n;) {
    size_t length = character(text, i), f = 0, t = 0;
    bool found = false;
    while (f < from.n && !found) {
      size_t k = character(from, f);
      found = k == length && memcmp(from.p + f, text.p + i, k) == 0;
      if (found) break;
      f += k;
      t += t < to.n ? character(to, t) : 0;
    }
    if (!found) buf_append(&b, text.p + i, length);
    else if (t < to.n) buf_append(&b, to.p + t, character(to, t));
    i += length;
  }
  return function_result_buf(call, &b, VAL_TEXT, result);
}

static status f_to_hex(function_call *call, int n, const value *a, value *result) {
  if (a[0].type == VAL_NULL) return *result = value_null(), HDB_OK;
  int64_t v = value_to_int(&a[0]);
  char text[20];
  if (v < 0 && v >= INT32_MIN) snprintf(text, sizeof text, "%x", (unsigned)(int32_t)v);
  else snprintf(text, sizeof text, "%llx", (unsigned long long)v);
  return function_result_text(call, text, strlen(text), result);
}

/* ---- moments ---- */

typedef struct moment {
  int year, month, day, hour, minute, second, week_day, year_day;
  int64_t us;
  const char *abbreviation; /* of the zone, and its offset in seconds */
  int offset;
} moment;

static bool moment_of(slice text, moment *m) {
  int64_t number;
  if (!pg_date_number((const char *)text.p, text.n, PG_TIMESTAMP, &number)) return false;
  int64_t day = number / 86400000000 - (number % 86400000000 < 0), rest = number - day * 86400000000;
  pg_civil(day + 10957, &m->year, &m->month, &m->day);
  *m = (moment){.year = m->year, .month = m->month, .day = m->day, .hour = (int)(rest / 3600000000), .minute = (int)(rest / 60000000 % 60), .second = (int)(rest / 1000000 % 60),
                .us = rest % 1000000, .week_day = (int)(((day + 6) % 7 + 7) % 7), .year_day = (int)(day + 10957 - pg_days(m->year, 1, 1)) + 1};
  return true;
}

static const char *const months[] = {"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"};
static const char *const days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};

/* A name in the letters' case of the pattern: MONTH, Month, month; padded to nine characters unless short. */
static void put_name(buf *out, const char *name, const char *pattern, size_t most, bool pad) {
  size_t n = strlen(name);
  if (n > most) n = most;
  for (size_t i = 0; i < n; i++) {
    bool upper = isupper((unsigned char)pattern[i > 0]);
    buf_byte(out, (uint8_t)(i == 0 ? (isupper((unsigned char)pattern[0]) ? toupper(name[0]) : tolower(name[0])) : upper ? toupper(name[i]) : tolower(name[i])));
  }
  for (; pad && n < 9; n++) buf_byte(out, ' ');
}

typedef struct field {
  const char *word;
  enum { YEAR4, YEAR2, MONTH_NAME, MON_NAME, MONTH2, DAY_NAME, DY_NAME, DAY_OF_YEAR, DAY2, DAY_OF_WEEK, HOUR24, HOUR12, MINUTE2, SECOND2, MILLI3, MICRO6, HALF, QUARTER1, WEEK2, ZONE, OFFSET } what;
} field;
static const field fields[] = {{"YYYY", YEAR4}, {"YY", YEAR2}, {"MONTH", MONTH_NAME}, {"MON", MON_NAME}, {"MM", MONTH2}, {"DAY", DAY_NAME}, {"DY", DY_NAME}, {"DDD", DAY_OF_YEAR},
                               {"DD", DAY2}, {"HH24", HOUR24}, {"HH12", HOUR12}, {"HH", HOUR12}, {"MI", MINUTE2}, {"SS", SECOND2}, {"MS", MILLI3}, {"US", MICRO6}, {"AM", HALF},
                               {"PM", HALF}, {"Q", QUARTER1}, {"WW", WEEK2}, {"TZ", ZONE}, {"OF", OFFSET}, {"D", DAY_OF_WEEK}};

static void put_field(buf *out, const field *f, const char *pattern, const moment *m, bool fill) {
  int hour12 = m->hour % 12 ? m->hour % 12 : 12;
  const char *two = fill ? "%d" : "%02d";
  switch (f->what) {
  case YEAR4: buf_printf(out, fill ? "%d" : "%04d", m->year); break;
  case YEAR2: buf_printf(out, two, m->year % 100); break;
  case MONTH_NAME: put_name(out, months[m->month - 1], pattern, 9, !fill); break;
  case MON_NAME: put_name(out, months[m->month - 1], pattern, 3, false); break;
  case MONTH2: buf_printf(out, two, m->month); break;
  case DAY_NAME: put_name(out, days[m->week_day], pattern, 9, !fill); break;
  case DY_NAME: put_name(out, days[m->week_day], pattern, 3, false); break;
  case DAY_OF_YEAR: buf_printf(out, fill ? "%d" : "%03d", m->year_day); break;
  case DAY2: buf_printf(out, two, m->day); break;
  case DAY_OF_WEEK: buf_printf(out, "%d", m->week_day + 1); break;
  case HOUR24: buf_printf(out, two, m->hour); break;
  case HOUR12: buf_printf(out, two, hour12); break;
  case MINUTE2: buf_printf(out, two, m->minute); break;
  case SECOND2: buf_printf(out, two, m->second); break;
  case MILLI3: buf_printf(out, "%03d", (int)(m->us / 1000)); break;
  case MICRO6: buf_printf(out, "%06d", (int)m->us); break;
  case HALF: put_name(out, m->hour < 12 ? "AM" : "PM", pattern, 2, false); break;
  case QUARTER1: buf_printf(out, "%d", (m->month - 1) / 3 + 1); break;
  case WEEK2: buf_printf(out, two, (m->year_day - 1) / 7 + 1); break;
  case OFFSET: pg_offset_text(m->offset, out); break;
  case ZONE:
    for (const char *p = m->abbreviation; *p; p++) buf_byte(out, (uint8_t)(isupper((unsigned char)*pattern) ? toupper((unsigned char)*p) : tolower((unsigned char)*p)));
    break;
  }
}

status pg_to_char(function_call *call, slice text, slice format, const char *abbreviation, int offset, value *result) {
  moment m = {0};
  if (!moment_of(text, &m)) return error_set(call->err, HDB_ERROR, "not supported yet: to_char of this type");
  m.abbreviation = abbreviation;
  m.offset = offset;
  buf b = BUF_INIT;
  for (size_t i = 0; i < format.n;) {
    const char *p = (const char *)format.p + i;
    size_t left = format.n - i;
    bool fill = left > 2 && strncasecmp(p, "FM", 2) == 0;
    if (fill) p += 2, left -= 2, i += 2;
    if (*p == '"') { /* as it stands */
      for (i++; i < format.n && format.p[i] != '"'; i++) buf_byte(&b, format.p[i]);
      i++;
      continue;
    }
    const field *found = NULL;
    for (size_t k = 0; k < COUNT(fields) && !found; k++)
      if (strlen(fields[k].word) <= left && strncasecmp(p, fields[k].word, strlen(fields[k].word)) == 0) found = &fields[k];
    if (!found) {
      if (isalpha((unsigned char)*p) && strchr("JIWBCRLSFTV", toupper((unsigned char)*p)) && left > 1 && isalpha((unsigned char)p[1])) {
        buf_free(&b);
        return error_set(call->err, HDB_ERROR, "not supported yet: to_char with \"%.*s\"", (int)(left < 6 ? left : 6), p);
      }
      buf_byte(&b, (uint8_t)*p);
      i++;
      continue;
    }
    put_field(&b, found, p, &m, fill);
    i += strlen(found->word);
    if (i + 1 < format.n && strncasecmp((const char *)format.p + i, "TH", 2) == 0) {
      buf_free(&b);
      return error_set(call->err, HDB_ERROR, "not supported yet: to_char with \"TH\"");
    }
  }
  return function_result_buf(call, &b, VAL_TEXT, result);
}

static status f_to_char(function_call *call, int n, const value *a, value *result) {
  if (a[0].type == VAL_INTEGER || a[0].type == VAL_REAL) {
    TEXT_OR_NULL(picture, &a[1]);
    return pg_to_char_number(call, &a[0], picture, result);
  }
  TEXT_OR_NULL(text, &a[0]);
  TEXT_OR_NULL(format, &a[1]);
  return pg_to_char(call, text, format, "", 0, result);
}

/* Years, months and days from one moment to another, as PostgreSQL counts them. */
static status f_age(function_call *call, int n, const value *a, value *result) {
  moment x, y;
  value today;
  if (n == 1) { /* from this midnight */
    char text[12];
    int64_t day = (function_now_ms(call) - 210866760000000) / 86400000;
    int year, month, date;
    pg_civil(day, &year, &month, &date);
    snprintf(text, sizeof text, "%04d-%02d-%02d", year, month, date);
    today = value_text(arena_strdup(call->memory, text), 10);
  }
  TEXT_OR_NULL(to, n == 1 ? &today : &a[0]);
  TEXT_OR_NULL(from, &a[n - 1]);
  if (!moment_of(to, &x) || !moment_of(from, &y)) return error_set(call->err, HDB_MISMATCH, "invalid input syntax for type timestamp: \"%.*s\"", (int)to.n, (const char *)to.p);
  int64_t xs = ((int64_t)x.hour * 3600 + x.minute * 60 + x.second) * 1000000 + x.us, ys = ((int64_t)y.hour * 3600 + y.minute * 60 + y.second) * 1000000 + y.us;
  bool negative = x.year != y.year ? x.year < y.year : x.month != y.month ? x.month < y.month : x.day != y.day ? x.day < y.day : xs < ys;
  if (negative) {
    moment swap = x;
    int64_t swap_us = xs;
    x = y, y = swap, xs = ys, ys = swap_us;
  }
  static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int64_t us = xs - ys;
  int day = x.day - y.day, month = x.month - y.month, year = x.year - y.year;
  if (us < 0) us += 86400000000, day--;
  while (day < 0) { /* the earlier one's month is filled up */
    bool leap = (y.year % 4 == 0 && y.year % 100 != 0) || y.year % 400 == 0;
    day += lengths[y.month - 1] + (y.month == 2 && leap);
    month--;
  }
  if (month < 0) month += 12, year--;
  buf b = BUF_INIT;
  int sign = negative ? -1 : 1;
  pg_interval_text((int32_t)(sign * (year * 12 + month)), (int32_t)(sign * day), sign * us, &b);
  return function_result_buf(call, &b, VAL_TEXT, result);
}

#define F(name, n, least, flags, f) {name, n, least, flags, 0, f, NULL, NULL, NULL, NULL, NULL, NULL}
enum { PURE = FUNC_DETERMINISTIC | FUNC_INNOCUOUS };
static const function functions[] = {
    F("encode", 2, 2, PURE, f_encode), F("decode", 2, 2, PURE, f_decode), F("regexp_replace", 3, 3, PURE, f_regexp_replace), F("regexp_replace", 4, 4, PURE, f_regexp_replace),
    F("regexp_match", 2, 2, PURE, f_regexp_match), F("regexp_match", 3, 3, PURE, f_regexp_match), F("translate", 3, 3, PURE, f_translate), F("to_hex", 1, 1, PURE, f_to_hex),
    F("to_char", 2, 2, PURE, f_to_char), F("age", 2, 2, PURE, f_age), F("age", 1, 1, FUNC_INNOCUOUS | FUNC_STATEMENT_CONSTANT, f_age),
};
const function_table functions_pg_text = {functions, COUNT(functions)};
