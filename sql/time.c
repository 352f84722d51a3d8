/* AS OF: times as values of a program, tables looked up as of then.
 *
 * T1  A time is evaluated once an execution, before its start; every cursor of the reference reads at it.
 * T2  Compiled for known times means: each table was found in the schema that holds at its time. times_evaluate
 *     compares and says no when the times have moved into another schema's.
 * T3  Only what is committed has a past: AS OF never shows the transaction's own writes. AS OF NOW is the present.
 * T4  An open transaction sees the state of one moment. A later time shows the same when nothing was committed in between, and
 *     is refused otherwise: never another state than that of the time.
 * What can fail: a time before the history that is kept or after now, an x that is no time, memory.
 * Cost: nothing for programs without times; else one evaluation and a compare for each an execution.
 */
#include "sql/time.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sql/plan_internal.h"
#include "sql/resolve.h"

static const int64_t SECOND = 1000000, SECONDS_MAX = 253402300799; /* 9999-12-31 23:59:59 */

static int64_t wall_clock(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * SECOND + now.tv_nsec / 1000;
}

/* ---- text ---- */

/* Days since 1970-01-01 of a date in the Gregorian calendar. */
static int64_t days_of(int64_t y, int m, int d) {
  y -= m <= 2;
  int64_t era = (y >= 0 ? y : y - 399) / 400;
  int64_t year = y - era * 400, day = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
  return era * 146097 + year * 365 + year / 4 - year / 100 + day - 719468;
}

void time_text(int64_t time, char out[TIME_TEXT]) {
  int64_t second = time / SECOND, fraction = time % SECOND;
  if (fraction < 0) fraction += SECOND, second--;
  time_t t = (time_t)second;
  struct tm tm;
  if (!gmtime_r(&t, &tm)) memset(&tm, 0, sizeof tm);
  snprintf(out, TIME_TEXT, "%04d-%02d-%02d %02d:%02d:%02d.%06d", (tm.tm_year + 1900) % 10000, (tm.tm_mon + 1) % 100, tm.tm_mday % 100,
           tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100, (int)fraction);
}

typedef struct reader {
  const char *p, *end;
} reader;

static bool digits(reader *r, int n, int low, int high, int *out) {
  if (r->end - r->p < n) return false;
  *out = 0;
  for (int i = 0; i < n; i++, r->p++) {
    if (*r->p < '0' || *r->p > '9') return false;
    *out = *out * 10 + (*r->p - '0');
  }
  return *out >= low && *out <= high;
}

static bool one(reader *r, char c) {
  if (r->p == r->end || *r->p != c) return false;
  r->p++;
  return true;
}

/* :SS[.ffffff]; further digits of the fraction are dropped. */
static bool read_seconds(reader *r, int *second, int64_t *fraction) {
  if (!one(r, ':')) return true;
  if (!digits(r, 2, 0, 59, second)) return false;
  if (!one(r, '.')) return true;
  int64_t unit = SECOND / 10;
  const char *start = r->p;
  for (; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++, unit /= 10) *fraction += unit * (*r->p - '0');
  return r->p > start;
}

static bool read_offset(reader *r, int64_t *seconds) {
  int hour, minute = 0;
  if (one(r, 'Z') || one(r, 'z')) return true;
  int sign = one(r, '+') ? 1 : one(r, '-') ? -1 : 0;
  if (sign == 0) return true;
  if (!digits(r, 2, 0, 23, &hour)) return false;
  (void)one(r, ':');
  if (r->p < r->end && !digits(r, 2, 0, 59, &minute)) return false;
  *seconds = sign * (hour * 3600 + minute * 60);
  return true;
}

static bool read_date_time(reader *r, int64_t *out) {
  int year, month, day, hour = 0, minute = 0, second = 0;
  int64_t fraction = 0, offset = 0;
  if (!digits(r, 4, 0, 9999, &year) || !one(r, '-') || !digits(r, 2, 1, 12, &month) || !one(r, '-') || !digits(r, 2, 1, 31, &day)) return false;
  if (r->p < r->end && (one(r, ' ') || one(r, 'T') || one(r, 't'))) {
    if (!digits(r, 2, 0, 24, &hour) || !one(r, ':') || !digits(r, 2, 0, 59, &minute) || !read_seconds(r, &second, &fraction)) return false;
    while (one(r, ' ')) {}
    if (!read_offset(r, &offset)) return false;
  }
  if (r->p != r->end) return false;
  *out = (days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset) * SECOND + fraction;
  return true;
}

static int64_t of_seconds(double seconds) {
  double us = seconds > (double)SECONDS_MAX ? seconds : seconds * 1e6; /* what no calendar has as seconds is an SCN */
  return us >= 9.2e18 ? INT64_MAX : us <= -9.2e18 ? INT64_MIN : llround(us);
}

static int64_t of_integer(int64_t seconds) { return seconds > SECONDS_MAX || seconds < -SECONDS_MAX ? seconds : seconds * SECOND; }

bool time_parse(const char *text, size_t n, int64_t *out) {
  reader r = {text, text + n};
  while (one(&r, ' ')) {}
  while (r.end > r.p && r.end[-1] == ' ') r.end--;
  reader date = r;
  if (read_date_time(&date, out)) return true;
  if (r.end - r.p == 3 && strncasecmp(r.p, "now", 3) == 0) {
    *out = wall_clock();
    return true;
  }
  value v = value_text(r.p, (size_t)(r.end - r.p));
  if (r.p == r.end || value_apply_affinity(&v, AFF_NUMERIC, NULL) != HDB_OK || v.type == VAL_TEXT) return false;
  *out = v.type == VAL_INTEGER ? of_integer(v.i) : of_seconds(v.r);
  return true;
}

/* ---- which times can be read ---- */

typedef struct later {
  uint32_t branch;
  bool any;
} later;

static status look_for_later(void *context, const commit_info *c) {
  later *l = context;
  l->any = l->any || c->branch == l->branch;
  return HDB_OK;
}

/* T4 */
static status before_view(hdb *db, int database, int64_t time, error *err) {
  const struct database *d = &db->databases[database];
  if (db->autocommit || !d->txn || !txn_is_open(d->txn)) return HDB_OK;
  int64_t view = txn_view_time(d->txn);
  if (time <= view || engine_newest(d->engine) <= view) return HDB_OK;
  later l = {.branch = txn_branch(d->txn)};
  status rc = feed_commits(d->engine, view, time, look_for_later, &l);
  if (rc != HDB_OK && rc != HDB_NOTFOUND) return error_set(err, rc, "%s", status_text(rc));
  if (rc == HDB_OK && !l.any) return HDB_OK;
  char wanted[TIME_TEXT], seen[TIME_TEXT];
  time_text(time, wanted), time_text(view, seen);
  return error_set(err, HDB_ERROR, "AS OF %s (%lld) is after what the open transaction sees: the state of %s (%lld)", wanted, (long long)time,
                   seen, (long long)view);
}

status time_reachable(hdb *db, int database, int64_t time, error *err) {
  engine *e = db->databases[database].engine;
  int64_t oldest = engine_oldest(e), newest = engine_newest(e);
  if (time >= oldest && time <= newest && oldest != INT64_MAX) return HDB_OK; /* at each execution: no words, no clock */
  int64_t now = wall_clock();
  char wanted[TIME_TEXT], from[TIME_TEXT];
  time_text(time, wanted);
  if (time > (newest > now ? newest : now))
    return error_set(err, HDB_ERROR, "AS OF %s (%lld) is in the future", wanted, (long long)time);
  if (oldest == INT64_MAX)
    return error_set(err, HDB_ERROR, "AS OF %s: database %s keeps no history (retention is 0)", wanted, db->databases[database].name);
  if (time >= oldest) return HDB_OK;
  time_text(oldest, from);
  return error_set(err, HDB_ERROR, "AS OF %s is before the history that is kept: it reaches from %s (%lld) to now", wanted, from, (long long)oldest);
}

status time_readable(hdb *db, int database, int64_t time, error *err) {
  TRY(before_view(db, database, time, err));
  return time_reachable(db, database, time, err);
}

/* ---- values ---- */

static bool literal_time(const expr *e, value *out) {
  if (!e) return false;
  switch (e->op) {
  case EX_INT: *out = value_int(e->i); return true;
  case EX_REAL: *out = value_real(e->r); return true;
  case EX_TEXT: *out = value_text(e->text, e->text_n); return true;
  case EX_NEG:
    if (!literal_time(e->left, out) || out->type == VAL_TEXT) return false;
    if (out->type == VAL_INTEGER && out->i != INT64_MIN) out->i = -out->i;
    else if (out->type == VAL_REAL) out->r = -out->r;
    return true;
  default: return false;
  }
}

static status not_a_time(error *err, const value *v) {
  if (v->type == VAL_NULL) return error_set(err, HDB_ERROR, "AS OF NULL: a time is needed");
  if (v->type != VAL_TEXT) return error_set(err, HDB_ERROR, "AS OF needs a time: a text, unix seconds or a transaction's number");
  return error_set(err, HDB_ERROR, "AS OF: not a time: '%.*s'", v->n > 60 ? 60 : (int)v->n, v->p);
}

static status time_of_value(const value *v, uint8_t kind, int64_t *out, error *err) {
  bool is_scn = kind == TIME_SCN || kind == TIME_TRANSACTION;
  value number = *v;
  if (v->type == VAL_TEXT && is_scn && value_apply_affinity(&number, AFF_NUMERIC, NULL) != HDB_OK) return not_a_time(err, v);
  if (number.type == VAL_INTEGER) *out = is_scn ? number.i : of_integer(number.i);
  else if (number.type == VAL_REAL) *out = is_scn ? (int64_t)fmin(fmax(number.r, -9e18), 9e18) : of_seconds(number.r);
  else if (number.type != VAL_TEXT || is_scn || !time_parse(v->p, v->n, out)) return not_a_time(err, v);
  if (*out < 1) *out = 1; /* 0 is the present in mvcc; nothing was committed before 1970 */
  return HDB_OK;
}

static void *grown(arena *memory, void *list, int n, int *capacity, size_t size) {
  if (n < *capacity) return list;
  *capacity = *capacity ? *capacity * 2 : 4;
  void *larger = arena_zero(memory, (size_t)*capacity * size);
  if (larger && n) memcpy(larger, list, (size_t)n * size);
  return larger;
}

static struct program_times *times_of(compile *c) {
  if (!c->program->times) c->program->times = arena_zero(c->memory, sizeof *c->program->times);
  return c->program->times;
}

status time_add_value(compile *c, uint8_t kind, expr *written, int *at) {
  struct program_times *t = times_of(c);
  time_value v = {.kind = kind};
  value literal;
  expr *e = ast_copy_expr(c->memory, written);
  scope nothing = {.allow = ALLOW_ALL & ~(unsigned)(ALLOW_AGGREGATE | ALLOW_WINDOW), .excluded_slot = -1};
  if (!t || !e) return resolve_no_memory(c);
  int default_time = c->default_time;
  c->default_time = 0; /* a subquery in x reads the present */
  status rc = resolve_expr(c, &nothing, &e);
  c->default_time = default_time;
  TRY(rc);
  v.o = arena_zero(c->memory, sizeof *v.o);
  if (!v.o) return resolve_no_memory(c);
  TRY(plan_operand(c, e, v.o));
  if (literal_time(e, &literal)) TRY(time_of_value(&literal, kind, &v.known, c->err));
  else if (t->values_n < t->known_n) v.known = t->known[t->values_n];
  time_value *values = grown(c->memory, t->values, t->values_n, &t->values_capacity, sizeof *values);
  if (!values) return resolve_no_memory(c);
  t->values = values;
  t->values[t->values_n++] = v;
  *at = t->values_n;
  return HDB_OK;
}

status time_source(compile *c, source *s) {
  if (s->time == TIME_NONE) {
    if (!s->time_at) s->time_at = c->default_time;
    return HDB_OK;
  }
  if (s->time == TIME_NOW) {
    s->time_at = TIME_AT_PRESENT;
  } else if (s->time == TIME_VERSIONS) {
    TRY(time_add_value(c, TIME_VERSIONS, s->time_from, &s->time_from_at));
    TRY(time_add_value(c, TIME_VERSIONS, s->time_to, &s->time_at));
    s->is_versions = true;
  } else {
    TRY(time_add_value(c, s->time, s->time_from, &s->time_at));
  }
  s->time = TIME_NONE;
  s->time_from = s->time_to = NULL;
  return HDB_OK;
}

/* ---- tables ---- */

static status keep_schema(compile *c, schema *s) {
  while (c->parent) c = c->parent;
  struct program_times *t = times_of(c);
  if (!t) return resolve_no_memory(c);
  for (int i = 0; i < t->schemas_n; i++)
    if (t->schemas[i] == s) return HDB_OK;
  schema **schemas = grown(c->memory, t->schemas, t->schemas_n, &t->schemas_capacity, sizeof *schemas);
  if (!schemas) return resolve_no_memory(c);
  t->schemas = schemas;
  t->schemas[t->schemas_n++] = s;
  s->references++;
  return HDB_OK;
}

static status add_use(compile *c, int value, int database, int64_t from, int64_t until) {
  struct program_times *t = times_of(c);
  time_use *uses = grown(c->memory, t->uses, t->uses_n, &t->uses_capacity, sizeof *uses);
  if (!uses) return resolve_no_memory(c);
  t->uses = uses;
  t->uses[t->uses_n++] = (time_use){value, database, from, until};
  return HDB_OK;
}

static table *find_in(hdb *db, schema *s, int database, const char *name) {
  bool own = strcasecmp(name, "sqlite_schema") == 0 || strcasecmp(name, "sqlite_master") == 0;
  (void)db, (void)database;
  return own ? s->own : schema_table(s, name);
}

/* In one database: as of the known time, or in the newest schema that has the table. */
static status table_in(compile *c, int value, int database, const char *name, table **out) {
  hdb *db = c->db;
  const time_value *v = &c->program->times->values[value];
  int64_t from, until, at = v->known ? v->known : db->time_guess;
  schema *s;
  *out = NULL;
  if (v->known) TRY(time_reachable(db, database, at, c->err));
  else if (engine_oldest(db->databases[database].engine) == INT64_MAX) return time_reachable(db, database, 1, c->err);
  for (;;) {
    TRY(past_schema(db, database, at, &s, &from, &until));
    *out = find_in(db, s, database, name);
    if (*out || v->known || from <= engine_oldest(db->databases[database].engine)) break;
    at = from - 1;
  }
  if (!*out) return HDB_OK;
  TRY(keep_schema(c, s));
  return add_use(c, value, database, from, until);
}

status time_table(compile *c, source *s, const char *schema_name, const char *name, table **out, int *database) {
  hdb *db = c->db;
  int value = s->time_at - 1;
  *out = NULL;
  int wanted = schema_name ? catalog_database(db, schema_name) : -1;
  if (schema_name && wanted < 0) return HDB_OK;
  for (int i = 0; i < db->databases_n && !*out; i++) {
    const struct database *d = &db->databases[i];
    if (!d->name || !d->engine || (schema_name ? i != wanted : i == DB_TEMP)) continue;
    TRY(database_begin(db, i));
    *database = i;
    compile_reads(c, i);
    TRY(table_in(c, value, i, name, out));
  }
  return HDB_OK;
}

/* ---- running ---- */

status times_evaluate(exec *x, bool *fits) {
  const struct program_times *t = x->program->times;
  *fits = true;
  if (!t || t->values_n == 0) return HDB_OK;
  if (!x->times && !(x->times = arena_zero(&x->frame, (size_t)t->values_n * sizeof *x->times))) return sql_nomem(x->err);
  for (int i = 0; i < t->values_n; i++) {
    const value *v;
    TRY(operand_eval(x, t->values[i].o, &v));
    TRY(time_of_value(v, t->values[i].kind, &x->times[i], x->err));
  }
  x->times_known = true;
  for (int i = 0; i < t->uses_n; i++) {
    const time_use *u = &t->uses[i];
    int64_t time = x->times[u->value];
    TRY(time_readable(x->db, u->database, time, x->err));
    if (time < u->from || time >= u->until) *fits = false;
  }
  return HDB_OK;
}

status exec_time(exec *x, int time, int64_t *out) {
  *out = 0;
  if (time <= 0) return HDB_OK;
  if (!x->times_known) { /* a trigger's: its statement is at work, so it cannot be compiled again */
    bool fits;
    TRY(times_evaluate(x, &fits));
    if (!fits) return error_set(x->err, HDB_ERROR, "not supported yet: AS OF in a trigger at a time of another schema");
  }
  *out = x->times[time - 1];
  return HDB_OK;
}

int64_t times_older_guess(const program *p) {
  const struct program_times *t = p->times;
  int64_t guess = INT64_MAX;
  for (int i = 0; t && i < t->uses_n; i++)
    if (!t->values[t->uses[i].value].known && t->uses[i].from < guess) guess = t->uses[i].from;
  return guess == INT64_MAX || guess <= 1 ? 0 : guess - 1;
}

void times_free(program *p) {
  struct program_times *t = p->times;
  if (!t) return;
  for (int i = 0; i < t->schemas_n; i++) schema_release(t->schemas[i]);
  p->times = NULL;
}
