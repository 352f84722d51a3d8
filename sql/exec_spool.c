/* Spools: rows kept in the order they came, read again and again.
 *
 * Rows lie in blocks of the spool's arena; an array holds where each begins.
 * What can fail: memory. Cost a row: one block.
 */
#include <stdlib.h>

#include "sql/exec_access.h"

struct spool {
  exec *x;
  int columns_n;
  arena memory;
  value **rows;
  size_t n, capacity, at;
};

spool *spool_new(exec *x, int columns) {
  spool *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->x = x;
  s->columns_n = columns;
  return s;
}

void spool_free(spool *s) {
  if (!s) return;
  arena_clear(&s->memory);
  free(s->rows);
  free(s);
}

status spool_add(spool *s, const value *row) {
  if (s->n == s->capacity) {
    size_t capacity = s->capacity ? s->capacity * 2 : 32;
    value **rows = realloc(s->rows, capacity * sizeof *rows);
    if (!rows) return error_set(s->x->err, HDB_NOMEM, "out of memory");
    s->rows = rows;
    s->capacity = capacity;
  }
  size_t bytes = (size_t)s->columns_n * sizeof *row;
  for (int i = 0; i < s->columns_n; i++)
    if (row[i].type == VAL_TEXT || row[i].type == VAL_BLOB) bytes += row[i].n;
  value *copy = arena_alloc(&s->memory, bytes ? bytes : 1);
  if (!copy) return error_set(s->x->err, HDB_NOMEM, "out of memory");
  uint8_t *p = (uint8_t *)(copy + s->columns_n);
  for (int i = 0; i < s->columns_n; i++) {
    copy[i] = row[i];
    if (row[i].type != VAL_TEXT && row[i].type != VAL_BLOB) continue;
    if (row[i].n) memcpy(p, row[i].p, row[i].n);
    copy[i].p = (const char *)p;
    p += row[i].n;
  }
  s->rows[s->n++] = copy;
  return HDB_OK;
}

int64_t spool_rows(const spool *s) { return (int64_t)s->n; }

status spool_rewind(spool *s) {
  s->at = 0;
  return HDB_OK;
}

status spool_next(spool *s, const value **row) {
  if (s->at >= s->n) return HDB_DONE;
  *row = s->rows[s->at++];
  return HDB_ROW;
}

const value *spool_row(const spool *s, int64_t row) { return row >= 0 && (size_t)row < s->n ? s->rows[row] : NULL; }

void spool_clear(spool *s) {
  if (s->memory.block) arena_rewind(&s->memory, (arena_mark){0, 0});
  s->n = s->at = 0;
}
