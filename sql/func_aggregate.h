/* The states of sum, total, avg, count, min, max, so that the executor can add integers and reals without a call. */
#ifndef HDB_SQL_FUNC_AGGREGATE_H
#define HDB_SQL_FUNC_AGGREGATE_H

#include <math.h>

#include "sql/func.h"

typedef struct sum_state {
  double sum, error;
  int64_t whole, n;
  bool approximate, overflow;
} sum_state;

static inline void sum_real(sum_state *s, double r) {
  double before = s->sum, after = before + r;
  s->error += fabs(before) > fabs(r) ? (before - after) + r : (r - after) + before;
  s->sum = after;
}
/* true: done; false: the function itself must be called. */
static inline bool sum_add(sum_state *s, const value *v) {
  if (v->type == VAL_INTEGER) {
    int64_t whole;
    if (s->approximate || __builtin_add_overflow(s->whole, v->i, &whole)) return false;
    s->whole = whole;
  } else if (v->type == VAL_REAL) {
    if (!s->approximate || s->overflow) return false;
    sum_real(s, v->r);
  } else {
    return v->type == VAL_NULL;
  }
  s->n++;
  return true;
}

typedef struct best_state {
  bool taken; /* first: function_minmax_taken reads it */
  bool any;
  value v;
  char *bytes;
  size_t capacity;
} best_state;

/* sign < 0: min. As sum_add. */
static inline bool best_add(best_state *s, const value *v, int sign) {
  if (!s->any || s->v.type != v->type) return false;
  bool better;
  if (v->type == VAL_INTEGER) better = sign < 0 ? v->i < s->v.i : v->i > s->v.i;
  else if (v->type == VAL_REAL) better = sign < 0 ? v->r < s->v.r : v->r > s->v.r;
  else return false;
  s->taken = better;
  if (better) s->v = *v;
  return true;
}

#endif
