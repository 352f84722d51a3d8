/* pragma_x(argument, schema): a PRAGMA's rows as a table. They are read at once when the table is opened. */
#include <stdlib.h>

#include "sql/internal.h"
#include "sql/virtual.h"

typedef struct pragma_cursor {
  const table *t;
  arena memory;
  value *rows;
  int64_t n, capacity, at;
  int columns_n, hidden_n;
  value arguments[2];
  bool failed;
} pragma_cursor;

static status pragma_open(exec *x, const table *t, void **cursor) {
  pragma_cursor *p = calloc(1, sizeof *p);
  if (!p) return error_set(x->err, HDB_NOMEM, "out of memory");
  p->t = t;
  for (int i = 0; i < t->columns_n; i++) p->hidden_n += t->columns[i].hidden;
  p->columns_n = t->columns_n - p->hidden_n;
  *cursor = p;
  return HDB_OK;
}

static status add_row(void *context, const value *row, int columns) {
  pragma_cursor *p = context;
  if (p->n == p->capacity) {
    int64_t capacity = p->capacity ? p->capacity * 2 : 16;
    value *rows = realloc(p->rows, (size_t)(capacity * p->columns_n) * sizeof *rows);
    if (!rows) return HDB_NOMEM;
    p->rows = rows;
    p->capacity = capacity;
  }
  value *to = p->rows + p->n++ * p->columns_n;
  for (int i = 0; i < p->columns_n; i++) {
    to[i] = value_null();
    if (i < columns) TRY(value_copy(&p->memory, &row[i], &to[i]));
  }
  return HDB_OK;
}

static status pragma_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  pragma_cursor *p = cursor;
  (void)number, (void)text;
  p->n = p->at = 0;
  arena_clear(&p->memory);
  value both[2] = {value_null(), value_null()}; /* argument, schema */
  for (int i = 0; i < n && i < 2; i++)
    if (given >> i & 1) both[p->hidden_n == 1 ? 1 : i] = arguments[i];
  for (int i = 0; i < 2; i++) TRY(value_copy(&p->memory, &both[i], &p->arguments[i]));
  return pragma_rows(x->db, p->t->virtual_data, p->arguments, 2, &p->memory, x->err, add_row, p);
}
static bool pragma_at_end(void *cursor) { return ((pragma_cursor *)cursor)->at >= ((pragma_cursor *)cursor)->n; }
static status pragma_next(exec *x, void *cursor) {
  (void)x;
  ((pragma_cursor *)cursor)->at++;
  return HDB_OK;
}
static status pragma_column(exec *x, void *cursor, int column, value *out) {
  const pragma_cursor *p = cursor;
  (void)x;
  if (column < p->columns_n) *out = p->rows[p->at * p->columns_n + column];
  else *out = p->arguments[p->hidden_n == 1 ? 1 : column - p->columns_n];
  return HDB_OK;
}
static void pragma_close(void *cursor) {
  pragma_cursor *p = cursor;
  arena_clear(&p->memory);
  free(p->rows);
  free(p);
}
const virtual_module virtual_pragma = {"pragma", NULL, 0, NULL, pragma_open, pragma_filter, pragma_at_end, pragma_next,
                                       pragma_column, NULL, pragma_close};
