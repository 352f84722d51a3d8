/* A timestamptz as a zone's clock shows it, and back: what describe_coerce.c writes around expressions, and AT TIME ZONE.
 * Values are canonical: moments in UTC, local times as they stand. The session's zone is read when the function runs. */
#include <stdio.h>
#include <strings.h>

#include "sql/func.h"
#include "sql/func_pg.h"
#include "sql/internal.h"
#include "sql/pg.h"

static const int64_t epoch_2000 = 946684800;

static const pg_zone *session_zone(const function_call *call) { return call->db ? call->db->pragmas.zone : NULL; }

static status moment_of(function_call *call, const value *v, int64_t *us) {
  bool text = v->type == VAL_TEXT;
  if (text && pg_date_number(v->p, v->n, PG_TIMESTAMP, us)) return HDB_OK;
  return error_set(call->err, HDB_MISMATCH, "invalid input syntax for type timestamp with time zone: \"%.*s\"", text ? (int)v->n : 0, text ? v->p : "");
}

static status put_moment(function_call *call, int64_t us, value *result) {
  buf b = BUF_INIT;
  pg_date_text(us, PG_TIMESTAMP, &b);
  return function_result_buf(call, &b, VAL_TEXT, result);
}

static status shift(function_call *call, const value *v, const pg_zone *zone, bool to_utc, value *result) {
  int64_t us;
  if (v->type == VAL_NULL) return *result = value_null(), HDB_OK;
  TRY(moment_of(call, v, &us));
  return put_moment(call, to_utc ? pg_utc_us(us, zone) : pg_local_us(us, zone), result);
}

/* AT TIME ZONE takes a name, an abbreviation, an offset as POSIX has it. */
static status zone_of(function_call *call, const value *v, const pg_zone **zone) {
  if (v->type == VAL_TEXT && v->n && pg_zone_behind(v->p, v->n, zone)) return HDB_OK;
  return error_set(call->err, HDB_ERROR, "time zone \"%.*s\" not recognized", v->type == VAL_TEXT ? (int)v->n : 0, v->type == VAL_TEXT ? v->p : "");
}

/* An interval east of UTC as a zone's name. */
static status f_interval_zone(function_call *call, int n, const value *a, value *result) {
  int32_t months, days;
  int64_t us;
  if (a[0].type == VAL_NULL) return *result = value_null(), HDB_OK;
  if (a[0].type != VAL_TEXT || !pg_interval_parse(a[0].p, a[0].n, &months, &days, &us) || months || days)
    return error_set(call->err, HDB_ERROR, "interval time zone \"%.*s\" must not include months or days", a[0].type == VAL_TEXT ? (int)a[0].n : 0, a[0].type == VAL_TEXT ? a[0].p : "");
  const char *name = pg_zone_name(pg_zone_fixed((int)(us / 1000000)));
  return function_result_text(call, name, strlen(name), result);
}

static status f_local(function_call *call, int n, const value *a, value *result) { return shift(call, &a[0], session_zone(call), false, result); }
static status f_utc(function_call *call, int n, const value *a, value *result) { return shift(call, &a[0], session_zone(call), true, result); }

static status in_zone(function_call *call, const value *a, bool to_utc, value *result) {
  const pg_zone *zone;
  *result = value_null();
  if (a[0].type == VAL_NULL || a[1].type == VAL_NULL) return HDB_OK;
  TRY(zone_of(call, &a[0], &zone));
  return shift(call, &a[1], zone, to_utc, result);
}
static status f_local_in(function_call *call, int n, const value *a, value *result) { return in_zone(call, a, false, result); }
static status f_utc_in(function_call *call, int n, const value *a, value *result) { return in_zone(call, a, true, result); }

static status f_zoned_text(function_call *call, int n, const value *a, value *result) {
  buf b = BUF_INIT;
  if (a[0].type == VAL_NULL) return *result = value_null(), HDB_OK;
  status rc = pg_output_in(session_zone(call), PG_TIMESTAMPTZ, -1, &a[0], &b, call->err);
  if (rc == HDB_OK) return function_result_buf(call, &b, VAL_TEXT, result);
  buf_free(&b);
  return rc;
}

/* moment, interval, sign: months and days by the zone's clock, the rest by the time that passes. */
static status f_zoned_add(function_call *call, int n, const value *a, value *result) {
  int64_t us, rest;
  int32_t months, days;
  *result = value_null();
  if (a[0].type == VAL_NULL || a[1].type == VAL_NULL) return HDB_OK;
  TRY(moment_of(call, &a[0], &us));
  if (a[1].type != VAL_TEXT || !pg_interval_parse(a[1].p, a[1].n, &months, &days, &rest))
    return error_set(call->err, HDB_MISMATCH, "invalid input syntax for type interval: \"%.*s\"", a[1].type == VAL_TEXT ? (int)a[1].n : 0, a[1].type == VAL_TEXT ? a[1].p : "");
  int sign = (int)value_to_int(&a[2]);
  if (months || days) us = pg_utc_us(pg_add_months(pg_local_us(us, session_zone(call)), sign * (int64_t)months, sign * (int64_t)days), session_zone(call));
  return put_moment(call, us + sign * rest, result);
}

/* unit, moment */
static status f_zoned_extract(function_call *call, int n, const value *a, value *result) {
  int64_t us;
  *result = value_null();
  if (a[0].type != VAL_TEXT || a[1].type == VAL_NULL) return HDB_OK;
  TRY(moment_of(call, &a[1], &us));
  int offset = pg_zone_offset(session_zone(call), us / 1000000 - (us % 1000000 < 0) + epoch_2000, NULL, NULL);
  static const struct {
    const char *name;
    int divisor, modulo;
  } parts[] = {{"timezone", 1, 0}, {"timezone_hour", 3600, 0}, {"timezone_minute", 60, 60}};
  for (int i = 0; i < COUNT(parts); i++)
    if (strlen(parts[i].name) == a[0].n && strncasecmp(parts[i].name, a[0].p, a[0].n) == 0) {
      int part = offset / parts[i].divisor;
      return *result = value_int(parts[i].modulo ? part % parts[i].modulo : part), HDB_OK;
    }
  bool epoch = a[0].n == 5 && strncasecmp(a[0].p, "epoch", 5) == 0;
  value both[2] = {a[0], a[1]};
  if (!epoch) TRY(shift(call, &a[1], session_zone(call), false, &both[1]));
  return pg_extract_part(call, 2, both, result);
}

static status f_zoned_char(function_call *call, int n, const value *a, value *result) {
  int64_t us;
  value local;
  slice format, text;
  *result = value_null();
  if (a[0].type == VAL_NULL || a[1].type == VAL_NULL) return HDB_OK;
  TRY(moment_of(call, &a[0], &us));
  const char *abbreviation;
  int offset = pg_zone_offset(session_zone(call), us / 1000000 - (us % 1000000 < 0) + epoch_2000, NULL, &abbreviation);
  TRY(shift(call, &a[0], session_zone(call), false, &local));
  TRY(function_text(call, &local, &text));
  TRY(function_text(call, &a[1], &format));
  return pg_to_char(call, text, format, abbreviation, offset, result);
}

#define F(name, n, flags, f) {name, n, n, flags, 0, f, NULL, NULL, NULL, NULL, NULL, NULL}
enum { PURE = FUNC_DETERMINISTIC | FUNC_INNOCUOUS };
static const function functions[] = {
    F("pg_local", 1, FUNC_INNOCUOUS, f_local), F("pg_utc", 1, FUNC_INNOCUOUS, f_utc), F("pg_local_in", 2, PURE, f_local_in), F("pg_utc_in", 2, PURE, f_utc_in),
    F("pg_interval_zone", 1, PURE, f_interval_zone), F("pg_zoned_text", 1, FUNC_INNOCUOUS, f_zoned_text), F("pg_zoned_add", 3, FUNC_INNOCUOUS, f_zoned_add), F("pg_zoned_extract", 2, FUNC_INNOCUOUS, f_zoned_extract),
    F("pg_zoned_char", 2, FUNC_INNOCUOUS, f_zoned_char), F("timezone", 2, PURE, f_local_in),
};
const function_table functions_pg_zone = {functions, COUNT(functions)};
