/* heliosdb_vector_check: every stored graph beside the rows, a line a graph.
 *
 *   vectors  rows that hold one          stored   nodes
 *   pending  rows whose node is missing, or was linked for another vector: they are added when the graph is next loaded
 *   gone     nodes without their row: dropped then
 *   lost_links  links to row ids that have no node    damaged  nodes that cannot be read
 * Only `damaged` is wrong (state 'damaged'); the others are what a crash or a save to come leaves, and how much of it.
 * Reads main's rows in a view of its own, one pass a graph.
 */
#include <stdlib.h>
#include <string.h>

#include "kv/base/key.h"
#include "sql/internal.h"
#include "sql/vector.h"
#include "sql/vector_internal.h"
#include "sql/virtual.h"

enum { COLUMNS = 11 };
static const virtual_column columns[COLUMNS] = {
    {"database", "TEXT", false},      {"table_name", "TEXT", false}, {"column_name", "TEXT", false},
    {"metric", "TEXT", false},        {"state", "TEXT", false},      {"vectors", "INTEGER", false},
    {"stored", "INTEGER", false},     {"pending", "INTEGER", false}, {"gone", "INTEGER", false},
    {"lost_links", "INTEGER", false}, {"damaged", "INTEGER", false}};

typedef struct checked {
  char *database, *table_name, *column_name;
  vector_graph_check c;
} checked;
typedef struct checking {
  checked *rows;
  size_t n, capacity, at;
} checking;

static void checking_clear(checking *k) {
  for (size_t i = 0; i < k->n; i++) {
    free(k->rows[i].database);
    free(k->rows[i].table_name);
    free(k->rows[i].column_name);
  }
  k->n = k->at = 0;
}

static status checking_add(checking *k, const char *database, const table *t, const column *col,
                           const vector_graph_check *c) {
  if (k->n == k->capacity) {
    size_t capacity = k->capacity ? 2 * k->capacity : 8;
    checked *rows = realloc(k->rows, capacity * sizeof *rows);
    if (!rows) return HDB_NOMEM;
    k->rows = rows, k->capacity = capacity;
  }
  checked *r = &k->rows[k->n++];
  *r = (checked){strdup(database), strdup(t->name), strdup(col->name), *c};
  return r->database && r->table_name && r->column_name ? HDB_OK : HDB_NOMEM;
}

static status check_table(checking *k, engine *e, const char *database, const table *t) {
  vector_graph_check found[16];
  for (int i = 0; i < t->columns_n; i++) {
    const column *col = &t->columns[i];
    int n;
    if (!col->vector_dimensions || col->stored < 0) continue;
    TRY(vector_store_check(e, t->tree, col->stored, found, sizeof found / sizeof *found, &n));
    for (int g = 0; g < n; g++) TRY(checking_add(k, database, t, col, &found[g]));
  }
  return HDB_OK;
}

static status check_open(exec *x, const table *t, void **cursor) {
  (void)t;
  *cursor = calloc(1, sizeof(checking));
  return *cursor ? HDB_OK : error_set(x->err, HDB_NOMEM, "out of memory");
}

static status check_filter(exec *x, void *cursor, int number, const char *text, uint64_t given,
                           const value *arguments, int n) {
  checking *k = cursor;
  (void)number, (void)text, (void)given, (void)arguments, (void)n;
  checking_clear(k);
  for (int d = 0; d < x->db->databases_n; d++) {
    const database *db = &x->db->databases[d];
    schema *s;
    if (!db->engine || !db->name) continue;
    TRY(catalog_schema(x->db, d, &s));
    for (int i = 0; i < s->tables_n; i++) {
      const table *of = s->in_order[i];
      if (of->kind != TABLE_ORDINARY || of->without_rowid) continue;
      status rc = check_table(k, db->engine, db->name, of);
      if (rc != HDB_OK) return error_set(x->err, rc, "%s", status_text(rc));
    }
  }
  return HDB_OK;
}

static bool check_at_end(void *cursor) {
  return ((checking *)cursor)->at >= ((checking *)cursor)->n;
}
static status check_next(exec *x, void *cursor) {
  (void)x;
  ((checking *)cursor)->at++;
  return HDB_OK;
}

static value text_of(const char *text) {
  return value_text(text, strlen(text));
}
static status check_column(exec *x, void *cursor, int column, value *out) {
  static const char *const metrics[] = {
      [HNSW_L2] = "l2", [HNSW_COSINE] = "cosine", [HNSW_IP] = "ip", [HNSW_L1] = "l1"};
  const checking *k = cursor;
  const checked *r = &k->rows[k->at];
  const int64_t numbers[] = {r->c.vectors, r->c.stored,     r->c.pending,
                             r->c.gone,    r->c.lost_links, r->c.damaged};
  (void)x;
  switch (column) {
  case 0: *out = text_of(r->database); break;
  case 1: *out = text_of(r->table_name); break;
  case 2: *out = text_of(r->column_name); break;
  case 3: *out = text_of(r->c.metric <= HNSW_L1 ? metrics[r->c.metric] : "unknown"); break;
  case 4: *out = text_of(r->c.damaged ? "damaged" : "ok"); break;
  default: *out = column < COLUMNS ? value_int(numbers[column - 5]) : value_null();
  }
  return HDB_OK;
}

static void check_close(void *cursor) {
  checking *k = cursor;
  checking_clear(k);
  free(k->rows);
  free(k);
}

const virtual_module virtual_vector_check = {"heliosdb_vector_check",
                                             columns,
                                             COLUMNS,
                                             NULL,
                                             check_open,
                                             check_filter,
                                             check_at_end,
                                             check_next,
                                             check_column,
                                             NULL,
                                             check_close};
