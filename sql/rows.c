/* Statements whose rows are made at once in start: PRAGMA, EXPLAIN, SHOW; and DDL, which has none. */
#include "sql/internal.h"

#include <stdlib.h>

status rows_add(exec *x, const value *row, int columns) {
  row_list *list = x->run;
  if (!list) {
    list = arena_zero(&x->lifetime, sizeof *list);
    if (!list) return sql_nomem(x->err);
    list->columns = columns;
    x->run = list;
  }
  if (list->n == list->capacity) {
    int64_t capacity = list->capacity ? list->capacity * 2 : 16;
    value *values = arena_alloc(&x->lifetime, (size_t)(capacity * columns) * sizeof *values + 1);
    if (!values) return sql_nomem(x->err);
    if (list->n) memcpy(values, list->values, (size_t)(list->n * columns) * sizeof *values);
    list->values = values;
    list->capacity = capacity;
  }
  value *to = list->values + list->n * columns;
  for (int i = 0; i < columns; i++)
    if (value_copy(&x->lifetime, &row[i], &to[i]) != HDB_OK) return sql_nomem(x->err);
  list->n++;
  return HDB_OK;
}

status rows_next(exec *x, const value **row) {
  row_list *list = x->run;
  if (!list || list->at >= list->n) return HDB_DONE;
  *row = list->values + list->at++ * list->columns;
  return HDB_ROW;
}

status rows_program(compile *c, status (*start)(exec *x), void *data, const char *const *names, int columns) {
  program *p = c->program;
  p->start = start;
  p->next = rows_next;
  p->data = data;
  p->columns_n = columns;
  if (columns == 0) return HDB_OK;
  p->columns = arena_zero(c->memory, (size_t)columns * sizeof *p->columns);
  if (!p->columns) return sql_nomem(c->err);
  for (int i = 0; i < columns; i++) p->columns[i].name = names[i];
  return HDB_OK;
}
