/* generate_series(start [, stop [, step]]). */
#include <stdlib.h>

#include "sql/virtual.h"

typedef struct series {
  int64_t start, stop, step, at, row;
  bool end;
} series;

static const virtual_column columns[] = {{"value", "", false}, {"start", "", true}, {"stop", "", true}, {"step", "", true}};

static status series_open(exec *x, const table *t, void **cursor) {
  (void)t;
  *cursor = calloc(1, sizeof(series));
  return *cursor ? HDB_OK : error_set(x->err, HDB_NOMEM, "out of memory");
}
static status series_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  series *s = cursor;
  (void)number, (void)text;
  if (!(given & 1)) return error_set(x->err, HDB_ERROR, "first argument to \"generate_series()\" missing or unusable");
  s->stop = 0xffffffff;
  s->step = 1;
  s->row = 1;
  s->end = false;
  for (int i = 0; i < n; i++)
    if ((given >> i & 1) && arguments[i].type == VAL_NULL) s->end = true;
  s->start = value_to_int(&arguments[0]);
  if (given & 2) s->stop = value_to_int(&arguments[1]);
  if (given & 4) s->step = value_to_int(&arguments[2]);
  if (s->step == 0) s->step = 1;
  s->at = s->start;
  if (s->step > 0 ? s->at > s->stop : s->at < s->stop) s->end = true;
  return HDB_OK;
}
static bool series_at_end(void *cursor) { return ((series *)cursor)->end; }
static status series_next(exec *x, void *cursor) {
  series *s = cursor;
  (void)x;
  s->row++;
  if (__builtin_add_overflow(s->at, s->step, &s->at) || (s->step > 0 ? s->at > s->stop : s->at < s->stop)) s->end = true;
  return HDB_OK;
}
static status series_column(exec *x, void *cursor, int column, value *out) {
  const series *s = cursor;
  (void)x;
  *out = value_int(column == 0 ? s->at : column == 1 ? s->start : column == 2 ? s->stop : s->step);
  return HDB_OK;
}
static int64_t series_rowid(void *cursor) { return ((series *)cursor)->row; }

const virtual_module virtual_series = {"generate_series", columns, 4, NULL, series_open, series_filter, series_at_end,
                                       series_next, series_column, series_rowid, free};
