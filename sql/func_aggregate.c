/* Aggregate functions, and the names of the pure window functions (which the executor computes).
 *
 * A1  sum() of integers is exact or "integer overflow"; from the first real on it is a Kahan-Babuska-Neumaier sum, in
 *     which a large integer enters as two halves that doubles hold exactly.
 * A2  `inverse` undoes a step of the oldest row; min and max have none, their frames are computed again.
 * A3  State beyond the executor's bytes (min's value, group_concat's text) is malloc'ed and freed by final or release.
 *
 * What can fail: memory, overflow, the length limit. Cost per row: a few ns; group_concat a copy of the text.
 */
#include <stdlib.h>

#include "sql/func_aggregate.h"

/* ---- count, sum, total, avg ---- */

#define LARGE(i) ((i) <= -4503599627370496 || (i) >= 4503599627370496)
static void sum_int(sum_state *s, int64_t i) {
  if (LARGE(i)) {
    int64_t low = i % 16384;
    sum_real(s, (double)(i - low));
    sum_real(s, (double)low);
  } else {
    sum_real(s, (double)i);
  }
}

/* From exact to approximate. */
static void sum_leave_exact(sum_state *s) {
  int64_t low = LARGE(s->whole) ? s->whole % 16384 : 0;
  s->sum = (double)(s->whole - low);
  s->error = (double)low;
  s->approximate = true;
}

static status sum_step(function_call *call, int n, const value *a) {
  sum_state *s = call->state;
  value v = a->type == VAL_TEXT ? function_numeric(a) : *a;
  if (v.type == VAL_NULL) return HDB_OK;
  s->n++;
  if (v.type == VAL_INTEGER) {
    if (!s->approximate) {
      if (!__builtin_add_overflow(s->whole, v.i, &v.i)) {
        s->whole = v.i;
        return HDB_OK;
      }
      v.i = value_to_int(a);
      s->overflow = true;
      sum_leave_exact(s);
    }
    sum_int(s, v.i);
    return HDB_OK;
  }
  if (!s->approximate) sum_leave_exact(s);
  else s->overflow = false;
  sum_real(s, value_to_real(&v));
  return HDB_OK;
}

static status sum_inverse(function_call *call, int n, const value *a) {
  sum_state *s = call->state;
  value v = function_numeric(a);
  if (v.type == VAL_NULL) return HDB_OK;
  s->n--;
  if (!s->approximate) {
    s->whole = (int64_t)((uint64_t)s->whole - (uint64_t)value_to_int(&v));
  } else if (v.type != VAL_INTEGER) {
    sum_real(s, -value_to_real(&v));
  } else if (v.i != INT64_MIN) {
    sum_int(s, -v.i);
  } else {
    sum_int(s, INT64_MAX);
    sum_int(s, 1);
  }
  return HDB_OK;
}

static double sum_total(const sum_state *s) {
  if (!s->approximate) return (double)s->whole;
  return s->error - s->error == 0 ? s->sum + s->error : s->sum;
}

static status sum_value(function_call *call, value *result) {
  const sum_state *s = call->state;
  *result = value_null();
  if (s->n <= 0) return HDB_OK;
  if (s->approximate && s->overflow) return error_set(call->err, HDB_ERROR, "integer overflow");
  *result = s->approximate ? value_real(sum_total(s)) : value_int(s->whole);
  return HDB_OK;
}
static status total_value(function_call *call, value *result) {
  *result = value_real(sum_total(call->state));
  return HDB_OK;
}
static status avg_value(function_call *call, value *result) {
  const sum_state *s = call->state;
  *result = s->n > 0 ? value_real(sum_total(s) / (double)s->n) : value_null();
  return HDB_OK;
}

static status count_step(function_call *call, int n, const value *a) {
  *(int64_t *)call->state += n == 0 || a->type != VAL_NULL;
  return HDB_OK;
}
static status count_inverse(function_call *call, int n, const value *a) {
  *(int64_t *)call->state -= n == 0 || a->type != VAL_NULL;
  return HDB_OK;
}
static status count_value(function_call *call, value *result) {
  *result = value_int(*(int64_t *)call->state);
  return HDB_OK;
}

/* ---- min, max ---- */

bool function_minmax_taken(const void *state) { return ((const best_state *)state)->taken; }

static status best_step(function_call *call, const value *a, int sign) {
  best_state *s = call->state;
  s->taken = !s->any;
  if (a->type == VAL_NULL) return HDB_OK;
  if (s->any) {
    int c = value_compare(&s->v, a, call->collation);
    if (sign < 0 ? c <= 0 : c >= 0) return HDB_OK;
    s->taken = true;
  }
  value v = *a;
  if (v.type == VAL_TEXT || v.type == VAL_BLOB) {
    if (v.n > s->capacity) {
      size_t capacity = (size_t)v.n * 2;
      char *p = realloc(s->bytes, capacity);
      if (!p) return function_nomem(call);
      s->bytes = p;
      s->capacity = capacity;
    }
    if (v.n) memcpy(s->bytes, v.p, v.n);
    v.p = s->bytes;
  }
  s->v = v;
  s->any = true;
  return HDB_OK;
}
static status min_step(function_call *call, int n, const value *a) { return best_step(call, a, -1); }
static status max_step(function_call *call, int n, const value *a) { return best_step(call, a, 1); }

static status best_value(function_call *call, value *result) {
  best_state *s = call->state;
  *result = value_null();
  if (!s->any) return HDB_OK;
  if (value_copy(call->memory, &s->v, result) != HDB_OK) return function_nomem(call);
  return HDB_OK;
}
static void best_release(function_call *call) {
  best_state *s = call->state;
  free(s->bytes);
  *s = (best_state){0};
}
static status best_final(function_call *call, value *result) {
  status rc = best_value(call, result);
  best_release(call);
  return rc;
}

/* ---- group_concat ---- */

/* text[start..] holds the terms of the frame with the separators between them. As in SQLite, when nothing but empty
 * terms is left the next term counts as the first again: no separator goes before it. */
typedef struct concat_state {
  buf text;
  size_t start;
  int64_t n;
  bool started;
  uint32_t separator_n; /* the length of all separators, while they are alike */
  bool differ;
  buf lengths;          /* once they differ: uint32 a separator, from lengths_start on */
  size_t lengths_start;
} concat_state;

static status concat_separator(function_call *call, concat_state *s, slice separator) {
  uint32_t length = (uint32_t)separator.n;
  if (length != s->separator_n && !s->differ) {
    s->differ = true;
    for (int64_t i = 1; i < s->n; i++) buf_append(&s->lengths, &s->separator_n, sizeof length);
  }
  if (s->differ) buf_append(&s->lengths, &length, sizeof length);
  buf_append(&s->text, separator.p, separator.n);
  return s->lengths.failed ? function_nomem(call) : HDB_OK;
}

static status concat_step(function_call *call, int n, const value *a) {
  concat_state *s = call->state;
  slice term, separator = slice_of(",", 1);
  if (a[0].type == VAL_NULL) return HDB_OK;
  TRY(function_text(call, &a[0], &term));
  if (n == 2) TRY(function_text(call, &a[1], &separator));
  if ((int64_t)(s->text.n - s->start + term.n + separator.n) > function_limit(call, HDB_LIMIT_LENGTH))
    return function_too_big(call);
  if (s->started) TRY(concat_separator(call, s, separator));
  else s->separator_n = (uint32_t)separator.n;
  s->started = true;
  s->n++;
  buf_append(&s->text, term.p, term.n);
  return s->text.failed ? function_nomem(call) : HDB_OK;
}

/* What is left moves to the front now and then. */
static void compact(buf *b, size_t *start) {
  if (*start <= b->n / 2 + 1024) return;
  memmove(b->p, b->p + *start, b->n - *start);
  b->n -= *start;
  *start = 0;
}

static status concat_inverse(function_call *call, int n, const value *a) {
  concat_state *s = call->state;
  slice term;
  if (a[0].type == VAL_NULL) return HDB_OK;
  TRY(function_text(call, &a[0], &term));
  s->n--;
  uint32_t separator_n = s->separator_n;
  if (s->differ) {
    separator_n = 0;
    if (s->n > 0 && s->lengths_start < s->lengths.n) {
      memcpy(&separator_n, s->lengths.p + s->lengths_start, sizeof separator_n);
      s->lengths_start += sizeof separator_n;
    }
  }
  s->start += term.n + separator_n;
  if (s->start >= s->text.n) {
    s->text.n = s->start = s->lengths.n = s->lengths_start = 0;
    s->started = s->differ = false;
  }
  compact(&s->text, &s->start);
  compact(&s->lengths, &s->lengths_start);
  return HDB_OK;
}

static status concat_text(function_call *call, value *result) {
  concat_state *s = call->state;
  *result = value_null();
  if (s->n <= 0) return HDB_OK;
  return function_result_text(call, s->text.p ? s->text.p + s->start : (uint8_t *)"", s->text.n - s->start, result);
}
/* Within a window SQLite shows an empty text as NULL. */
static status concat_value(function_call *call, value *result) {
  concat_state *s = call->state;
  *result = value_null();
  return s->text.n > s->start ? concat_text(call, result) : HDB_OK;
}
static void concat_release(function_call *call) {
  concat_state *s = call->state;
  buf_free(&s->text);
  buf_free(&s->lengths);
  *s = (concat_state){0};
}
static status concat_final(function_call *call, value *result) {
  status rc = concat_text(call, result);
  concat_release(call);
  return rc;
}

/* ---- table ---- */

enum { AGGREGATE = FUNC_INNOCUOUS | FUNC_AGGREGATE | FUNC_WINDOW };
#define SUM(name, get)                                                                                                 \
  {name,             1,           1, AGGREGATE, sizeof(sum_state), .step = sum_step, .final = get, .value = get,       \
   .inverse = sum_inverse}
#define COUNT_(arguments)                                                                                              \
  {"count", arguments, arguments, AGGREGATE, sizeof(int64_t), .step = count_step, .final = count_value,                \
   .value = count_value, .inverse = count_inverse}
#define BEST(name, add)                                                                                                \
  {name, 1, 1, AGGREGATE | FUNC_NEEDS_COLLATION | FUNC_MINMAX, sizeof(best_state), .step = add, .final = best_final,   \
   .value = best_value, .release = best_release}
#define CONCAT(name, arguments)                                                                                        \
  {name, arguments, arguments, AGGREGATE, sizeof(concat_state), .step = concat_step, .final = concat_final,            \
   .value = concat_value, .inverse = concat_inverse, .release = concat_release}
#define WINDOW(name, arguments) {name, arguments, arguments, FUNC_INNOCUOUS | FUNC_WINDOW | FUNC_WINDOW_ONLY, .state_size = 0}

static const function functions[] = {
    SUM("avg", avg_value),
    COUNT_(0),
    COUNT_(1),
    CONCAT("group_concat", 1),
    CONCAT("group_concat", 2),
    BEST("max", max_step),
    BEST("min", min_step),
    CONCAT("string_agg", 2),
    SUM("sum", sum_value),
    SUM("total", total_value),
    WINDOW("cume_dist", 0),
    WINDOW("dense_rank", 0),
    WINDOW("first_value", 1),
    WINDOW("lag", 1),
    WINDOW("lag", 2),
    WINDOW("lag", 3),
    WINDOW("last_value", 1),
    WINDOW("lead", 1),
    WINDOW("lead", 2),
    WINDOW("lead", 3),
    WINDOW("nth_value", 2),
    WINDOW("ntile", 1),
    WINDOW("percent_rank", 0),
    WINDOW("rank", 0),
    WINDOW("row_number", 0),
};
const function_table functions_aggregate = {functions, COUNT(functions)};
