/* Ordered-set aggregates (what the server makes of WITHIN GROUP), to_char of numbers, a vector as text.
 *
 * An aggregate keeps its values and sorts them at the end: memory is that of the group.
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "sql/func.h"
#include "sql/func_pg.h"
#include "sql/pg.h"
#include "sql/vector.h"

/* ---- WITHIN GROUP ---- */

typedef struct kept_value {
  value v;
  char *copy;
} kept_value;
typedef struct ordered_state {
  kept_value *values;
  int64_t n, capacity;
  double fraction;
  bool descending, null_fraction, asked;
} ordered_state;

static status keep(function_call *call, const value *v) {
  ordered_state *s = call->state;
  if (v->type == VAL_NULL) return HDB_OK;
  if (s->n == s->capacity) {
    int64_t wanted = s->capacity ? s->capacity * 2 : 64;
    kept_value *more = realloc(s->values, (size_t)wanted * sizeof *more);
    if (!more) return function_nomem(call);
    s->values = more;
    s->capacity = wanted;
  }
  kept_value *k = &s->values[s->n];
  *k = (kept_value){.v = *v};
  if (v->type == VAL_TEXT || v->type == VAL_BLOB) {
    k->copy = malloc(v->n + 1);
    if (!k->copy) return function_nomem(call);
    if (v->n) memcpy(k->copy, v->p, v->n);
    k->v.p = k->copy;
  }
  s->n++;
  return HDB_OK;
}

/* value, fraction, descending */
static status percentile_step(function_call *call, int n, const value *a) {
  ordered_state *s = call->state;
  if (!s->asked) {
    s->asked = true;
    s->null_fraction = a[1].type == VAL_NULL;
    s->fraction = value_to_real(&a[1]);
    s->descending = value_to_int(&a[2]) != 0;
    if (a[1].type == VAL_TEXT && a[1].n && (a[1].p[0] == '{' || a[1].p[0] == '[')) return error_set(call->err, HDB_ERROR, "not supported yet: percentiles of an array of fractions");
    if (!s->null_fraction && !(s->fraction >= 0 && s->fraction <= 1)) {
      buf b = BUF_INIT;
      pg_real_text(s->fraction, false, &b);
      status rc = error_set(call->err, HDB_RANGE, "percentile value %.*s is not between 0 and 1", (int)b.n, (const char *)b.p);
      buf_free(&b);
      return rc;
    }
  }
  return keep(call, &a[0]);
}

/* value, descending */
static status mode_step(function_call *call, int n, const value *a) {
  ordered_state *s = call->state;
  s->descending = value_to_int(&a[1]) != 0;
  return keep(call, &a[0]);
}

static int by_value(const void *x, const void *y) { return value_compare(&((const kept_value *)x)->v, &((const kept_value *)y)->v, NULL); }
static int by_value_down(const void *x, const void *y) { return by_value(y, x); }

static void sort(ordered_state *s) {
  if (s->n > 1) qsort(s->values, (size_t)s->n, sizeof *s->values, s->descending ? by_value_down : by_value);
}

static status give(function_call *call, const value *v, value *result) {
  *result = *v;
  if (v->type != VAL_TEXT && v->type != VAL_BLOB) return HDB_OK;
  TRY(function_result_text(call, v->n ? v->p : "", v->n, result)); /* a copy */
  if (v->type == VAL_BLOB) *result = value_blob(result->p, result->n);
  return HDB_OK;
}

static status disc_value(function_call *call, value *result) {
  ordered_state *s = call->state;
  *result = value_null();
  if (s->n == 0 || s->null_fraction) return HDB_OK;
  sort(s);
  int64_t row = (int64_t)ceil(s->fraction * (double)s->n);
  return give(call, &s->values[row > 0 ? row - 1 : 0].v, result);
}

static status cont_value(function_call *call, value *result) {
  ordered_state *s = call->state;
  *result = value_null();
  if (s->n == 0 || s->null_fraction) return HDB_OK;
  sort(s);
  if (s->values[0].v.type == VAL_TEXT) return error_set(call->err, HDB_ERROR, "not supported yet: percentile_cont of other than numbers");
  double place = s->fraction * (double)(s->n - 1), low = floor(place), part = place - low;
  double a = value_to_real(&s->values[(int64_t)low].v), b = value_to_real(&s->values[(int64_t)ceil(place)].v);
  *result = value_real(part == 0 ? a : a + (b - a) * part);
  return HDB_OK;
}

static status mode_value(function_call *call, value *result) {
  ordered_state *s = call->state;
  int64_t best = 0, best_n = 0;
  *result = value_null();
  if (s->n == 0) return HDB_OK;
  sort(s);
  for (int64_t i = 0; i < s->n;) {
    int64_t k = i;
    while (k < s->n && by_value(&s->values[i], &s->values[k]) == 0) k++;
    if (k - i > best_n) best = i, best_n = k - i;
    i = k;
  }
  return give(call, &s->values[best].v, result);
}

static void ordered_release(function_call *call) {
  ordered_state *s = call->state;
  for (int64_t i = 0; i < s->n; i++) free(s->values[i].copy);
  free(s->values);
}

/* A result that gave its value lets go of the kept ones. */
static status finish(function_call *call, status rc) {
  ordered_state *s = call->state;
  ordered_release(call);
  s->values = NULL;
  s->n = s->capacity = 0;
  return rc;
}
static status disc_final(function_call *call, value *result) { return finish(call, disc_value(call, result)); }
static status cont_final(function_call *call, value *result) { return finish(call, cont_value(call, result)); }
static status mode_final(function_call *call, value *result) { return finish(call, mode_value(call, result)); }

/* ---- deviations: Welford's running sums ---- */

typedef struct moments {
  int64_t n;
  double mean_x, mean_y, xx, yy, xy;
} moments;

static status moments_step(function_call *call, int n, const value *a) {
  moments *m = call->state;
  if (a[0].type == VAL_NULL || (n == 2 && a[1].type == VAL_NULL)) return HDB_OK;
  double x = value_to_real(&a[0]), y = n == 2 ? value_to_real(&a[1]) : 0, dx = x - m->mean_x, dy = y - m->mean_y;
  m->n++;
  m->mean_x += dx / (double)m->n;
  m->mean_y += dy / (double)m->n;
  m->xx += dx * (x - m->mean_x);
  m->yy += dy * (y - m->mean_y);
  m->xy += dx * (y - m->mean_y);
  return HDB_OK;
}

static status spread(function_call *call, double sum, bool sample, bool root, value *result) {
  const moments *m = call->state;
  *result = value_null();
  if (m->n == 0 || (sample && m->n < 2)) return HDB_OK;
  double v = sum / (double)(m->n - sample);
  *result = value_real(root ? sqrt(v) : v);
  return HDB_OK;
}
static status stddev_samp(function_call *call, value *result) { return spread(call, ((moments *)call->state)->xx, true, true, result); }
static status stddev_pop(function_call *call, value *result) { return spread(call, ((moments *)call->state)->xx, false, true, result); }
static status var_samp(function_call *call, value *result) { return spread(call, ((moments *)call->state)->xx, true, false, result); }
static status var_pop(function_call *call, value *result) { return spread(call, ((moments *)call->state)->xx, false, false, result); }
static status covar_samp(function_call *call, value *result) { return spread(call, ((moments *)call->state)->xy, true, false, result); }
static status covar_pop(function_call *call, value *result) { return spread(call, ((moments *)call->state)->xy, false, false, result); }
static status corr(function_call *call, value *result) {
  const moments *m = call->state;
  *result = m->n && m->xx > 0 && m->yy > 0 ? value_real(m->xy / sqrt(m->xx * m->yy)) : value_null();
  return HDB_OK;
}

/* ---- intervals ---- */

typedef struct interval_state {
  int64_t n, months, days, us;
} interval_state;

static status interval_step(function_call *call, int n, const value *a) {
  interval_state *s = call->state;
  int32_t months, days;
  int64_t us;
  if (a[0].type == VAL_NULL) return HDB_OK;
  if (a[0].type != VAL_TEXT || !pg_interval_parse(a[0].p, a[0].n, &months, &days, &us)) return error_set(call->err, HDB_MISMATCH, "invalid input syntax for type interval: \"%.*s\"", a[0].type == VAL_TEXT ? (int)a[0].n : 0, a[0].type == VAL_TEXT ? a[0].p : "");
  s->n++, s->months += months, s->days += days, s->us += us;
  return HDB_OK;
}

static status interval_result(function_call *call, double by, value *result) {
  const interval_state *s = call->state;
  *result = value_null();
  if (s->n == 0) return HDB_OK;
  double months = (double)s->months * by, days = (double)s->days * by + (months - trunc(months)) * 30; /* fractions flow down, a month being 30 days */
  buf b = BUF_INIT;
  pg_interval_text((int32_t)trunc(months), (int32_t)trunc(days), (int64_t)nearbyint((double)s->us * by + (days - trunc(days)) * 86400e6), &b);
  return function_result_buf(call, &b, VAL_TEXT, result);
}
static status interval_sum(function_call *call, value *result) { return interval_result(call, 1, result); }
static status interval_avg(function_call *call, value *result) { return interval_result(call, 1 / (double)(((interval_state *)call->state)->n ? ((interval_state *)call->state)->n : 1), result); }

/* ---- to_char of numbers ---- */

enum { PICTURE_MOST = 100 };
typedef struct picture {
  char digits[PICTURE_MOST]; /* 9, 0, ',' and '.' in order */
  int n, before, behind;     /* digits before and behind the point */
  int first_zero, last_zero; /* places of 0s among the digits, from the left; -1 none */
  bool fill, sign_before, sign_behind, minus_behind, minus_before, angle, currency;
  bool has_point;
} picture;

static status picture_read(function_call *call, slice f, picture *p) {
  *p = (picture){.first_zero = -1, .last_zero = -1};
  for (size_t i = 0; i < f.n;) {
    const char *at = (const char *)f.p + i;
    size_t left = f.n - i;
    char c = (char)toupper((unsigned char)*at), d = left > 1 ? (char)toupper((unsigned char)at[1]) : 0;
    if (p->n + 1 >= PICTURE_MOST) return error_set(call->err, HDB_ERROR, "not supported yet: to_char with so long a format");
    if (c == 'F' && d == 'M') p->fill = true, i += 2;
    else if (c == 'M' && d == 'I') *(p->n ? &p->minus_behind : &p->minus_before) = true, i += 2;
    else if (c == 'S' && d == 'G') *(p->n ? &p->sign_behind : &p->sign_before) = true, i += 2;
    else if (c == 'P' && d == 'R') p->angle = true, i += 2;
    else if (c == 'L' && p->n == 0) p->currency = true, i++; /* the locale has none: a blank */
    else if (c == 'S') *(p->n ? &p->sign_behind : &p->sign_before) = true, i++;
    else if (c == '9' || c == '0') {
      int place = p->before + p->behind;
      if (c == '0' && p->first_zero < 0) p->first_zero = place;
      if (c == '0') p->last_zero = place;
      (*(p->has_point ? &p->behind : &p->before))++;
      p->digits[p->n++] = c;
      i++;
    } else if ((c == '.' || c == 'D') && !p->has_point) p->has_point = true, p->digits[p->n++] = '.', i++;
    else if (c == ',' || c == 'G') p->digits[p->n++] = ',', i++;
    else return error_set(call->err, HDB_ERROR, "not supported yet: to_char of numbers with \"%.*s\"", (int)(left < 4 ? left : 4), at);
  }
  return p->before + p->behind ? HDB_OK : error_set(call->err, HDB_ERROR, "not supported yet: to_char of numbers without digits");
}

/* The digits of the picture from the number's, blanks before the first. */
static void picture_put(const picture *p, const char *whole, const char *fraction, buf *out) {
  int have = (int)strlen(whole), place = 0, shown_from = p->before - have, last = p->before + p->behind;
  if (strcmp(whole, "0") == 0) shown_from = p->before; /* 0 shows no digit but where the picture has one */
  if (p->first_zero >= 0 && p->first_zero < shown_from) shown_from = p->first_zero;
  while (p->fill && last > p->before && last - 1 > p->last_zero && fraction[last - p->before - 1] == '0') last--;
  if (shown_from == p->before && (p->behind == 0 || last == p->before)) shown_from = p->before - 1;
  for (int i = 0; i < p->n; i++) {
    if (p->digits[i] == ',') {
      if (place > shown_from) buf_byte(out, ',');
      else if (!p->fill) buf_byte(out, ' ');
    } else if (p->digits[i] == '.') {
      buf_byte(out, '.');
    } else if (place < p->before) {
      int from_left = place - (p->before - have);
      if (place >= shown_from) buf_byte(out, (uint8_t)(from_left >= 0 ? whole[from_left] : '0'));
      else if (!p->fill) buf_byte(out, ' ');
      place++;
    } else {
      if (place < last) buf_byte(out, (uint8_t)fraction[place - p->before]);
      place++;
    }
  }
}

static void picture_overflow(const picture *p, buf *out) {
  for (int i = 0; i < p->n; i++) buf_byte(out, (uint8_t)(p->digits[i] == '9' || p->digits[i] == '0' ? '#' : p->digits[i]));
}

/* Signs go before the first digit, behind the blanks. */
static void put_sign(buf *out, const buf *number, bool fill, const char *sign) {
  size_t blanks = 0;
  while (!fill && blanks < number->n && number->p[blanks] == ' ') blanks++;
  for (size_t i = 0; i < blanks; i++) buf_byte(out, ' ');
  buf_text(out, sign);
  buf_append(out, number->p + blanks, number->n - blanks);
}

status pg_to_char_number(function_call *call, const value *v, slice format, value *result) {
  picture p;
  TRY(picture_read(call, format, &p));
  char text[600];
  double r = value_to_real(v);
  if (!(fabs(r) < 1e300)) return error_set(call->err, HDB_ERROR, "not supported yet: to_char of this number");
  if (v->type == VAL_INTEGER && p.behind == 0) snprintf(text, sizeof text, "%lld.", (long long)v->i);
  else {
    double scale = pow(10, p.behind), scaled = round(fabs(r) * scale); /* half goes away from zero */
    if (scaled < 1e15) r = copysign(scaled / scale, r);
    snprintf(text, sizeof text, "%.*f%s", p.behind, r, p.behind ? "" : ".");
  }
  bool negative = *text == '-' && strpbrk(text, "123456789");
  char *whole = text + (*text == '-'), *point = strchr(whole, '.');
  *point = 0;
  buf number = BUF_INIT, out = BUF_INIT;
  if ((int)strlen(whole) > p.before && strcmp(whole, "0") != 0) picture_overflow(&p, &number);
  else picture_put(&p, whole, point + 1, &number);
  const char *minus = negative ? "-" : p.fill ? "" : " ";
  if (p.currency) buf_byte(&out, ' ');
  if (p.sign_before) put_sign(&out, &number, p.fill, negative ? "-" : "+");
  else if (p.sign_behind) buf_append(&out, number.p, number.n), buf_byte(&out, negative ? '-' : '+');
  else if (p.minus_behind) buf_append(&out, number.p, number.n), buf_text(&out, minus);
  else if (p.minus_before) buf_text(&out, minus), buf_append(&out, number.p, number.n);
  else if (p.angle) put_sign(&out, &number, p.fill, negative ? "<" : p.fill ? "" : " "), buf_text(&out, negative ? ">" : p.fill ? "" : " ");
  else put_sign(&out, &number, p.fill, minus);
  buf_free(&number);
  return function_result_buf(call, &out, VAL_TEXT, result);
}

/* ---- vectors ---- */

static status f_vector_text(function_call *call, int n, const value *a, value *result) {
  buf b = BUF_INIT;
  if (a[0].type != VAL_BLOB || a[0].n % sizeof(float)) return *result = a[0], HDB_OK;
  vector_put_text(a[0].p, a[0].n / sizeof(float), &b);
  return function_result_buf(call, &b, VAL_TEXT, result);
}

#define F(name, n, flags, f) {name, n, n, flags, 0, f, NULL, NULL, NULL, NULL, NULL, NULL}
#define A(name, n, step, final) {name, n, n, FUNC_AGGREGATE, sizeof(ordered_state), NULL, step, final, NULL, NULL, ordered_release, NULL}
#define M(name, n, final) {name, n, n, FUNC_AGGREGATE, sizeof(moments), NULL, moments_step, final, NULL, NULL, NULL, NULL}
#define I(name, final) {name, 1, 1, FUNC_AGGREGATE, sizeof(interval_state), NULL, interval_step, final, NULL, NULL, NULL, NULL}
static const function functions[] = {I("pg_interval_sum", interval_sum), I("pg_interval_avg", interval_avg), M("stddev", 1, stddev_samp), M("stddev_samp", 1, stddev_samp), M("stddev_pop", 1, stddev_pop), M("variance", 1, var_samp), M("var_samp", 1, var_samp),
                                     M("var_pop", 1, var_pop), M("covar_pop", 2, covar_pop), M("covar_samp", 2, covar_samp), M("corr", 2, corr),
                                     A("pg_percentile_cont", 3, percentile_step, cont_final), A("pg_percentile_disc", 3, percentile_step, disc_final), A("pg_mode", 2, mode_step, mode_final),
                                     F("pg_vector_text", 1, FUNC_DETERMINISTIC | FUNC_INNOCUOUS, f_vector_text)};
const function_table functions_pg_number = {functions, COUNT(functions)};
