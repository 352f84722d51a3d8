/* The conflicts of the connection's last merge, and heliosdb_conflicts, which lists them. */
#include <stdlib.h>

#include "sql/merge.h"

enum { COLUMNS = 6 };
struct merge_conflicts {
  arena memory;
  value *rows;
  int64_t n, capacity;
};

void conflicts_clear(hdb *db) {
  struct merge_conflicts *k = db->conflicts;
  if (!k) return;
  arena_clear(&k->memory);
  free(k->rows);
  free(k);
  db->conflicts = NULL;
}

status conflict_add(hdb *db, const char *table, const value *key, const char *column, const value *base, const value *source, const value *target) {
  if (!db->conflicts && !(db->conflicts = calloc(1, sizeof *db->conflicts))) return sql_nomem(&db->err);
  struct merge_conflicts *k = db->conflicts;
  if (k->n == k->capacity) {
    int64_t capacity = k->capacity ? 2 * k->capacity : 16;
    value *rows = realloc(k->rows, (size_t)(capacity * COLUMNS) * sizeof *rows);
    if (!rows) return sql_nomem(&db->err);
    k->rows = rows, k->capacity = capacity;
  }
  value row[COLUMNS] = {value_text(table, strlen(table)), *key, column ? value_text(column, strlen(column)) : value_null(), *base, *source, *target};
  for (int i = 0; i < COLUMNS; i++)
    if (value_copy(&k->memory, &row[i], &k->rows[k->n * COLUMNS + i]) != HDB_OK) return sql_nomem(&db->err);
  k->n++;
  return HDB_OK;
}

static const virtual_column columns[] = {{"table", "TEXT", false}, {"key", "", false},    {"column", "TEXT", false},
                                         {"base", "", false},      {"source", "", false}, {"target", "", false}};
typedef struct conflicts_cursor {
  int64_t at;
  const struct merge_conflicts *of;
} conflicts_cursor;

static status conflicts_open(exec *x, const table *t, void **cursor) {
  (void)t;
  *cursor = calloc(1, sizeof(conflicts_cursor));
  return *cursor ? HDB_OK : error_set(x->err, HDB_NOMEM, "out of memory");
}
static status conflicts_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  conflicts_cursor *c = cursor;
  (void)number, (void)text, (void)given, (void)arguments, (void)n;
  c->at = 0;
  c->of = x->db->conflicts;
  return HDB_OK;
}
static bool conflicts_at_end(void *cursor) {
  const conflicts_cursor *c = cursor;
  return !c->of || c->at >= c->of->n;
}
static status conflicts_next(exec *x, void *cursor) {
  (void)x;
  ((conflicts_cursor *)cursor)->at++;
  return HDB_OK;
}
static status conflicts_column(exec *x, void *cursor, int column, value *out) {
  const conflicts_cursor *c = cursor;
  (void)x;
  *out = c->of->rows[c->at * COLUMNS + column];
  return HDB_OK;
}

const virtual_module virtual_conflicts = {"heliosdb_conflicts", columns, COLUMNS, NULL, conflicts_open, conflicts_filter, conflicts_at_end,
                                          conflicts_next, conflicts_column, NULL, free};
