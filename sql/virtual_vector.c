/* Vector indexes for operators: heliosdb_vector_indexes lists those in memory; heliosdb_recall(table, column, sample)
 * searches for vectors of the table itself by the index and exactly, and says what share of the ten nearest was found.
 * The PRAGMAs heliosdb_recall_target and heliosdb_ef_search: what a search looks at before it returns its first row.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sql/internal.h"
#include "sql/pragma.h"
#include "sql/vector.h"
#include "sql/vector_index.h"
#include "sql/virtual.h"

static const char *const metric_names[] = {
    [HNSW_L2] = "l2", [HNSW_COSINE] = "cosine", [HNSW_IP] = "ip", [HNSW_L1] = "l1"};

/* ---- PRAGMAs ---- */
status pragma_recall_target(pragma_call *p) {
  double *target = &p->db->vector.recall_target;
  if (p->argument) {
    int64_t i;
    double r;
    int kind = text_to_number(p->argument, strlen(p->argument), &i, &r);
    if (kind == 1) r = (double)i;
    if (kind <= 0 || !(r > 0 && r < 1))
      return error_set(p->err, HDB_ERROR, "heliosdb_recall_target must lie between 0 and 1");
    *target = r;
  }
  value v = value_real(*target > 0 ? *target : 0.95);
  return pragma_emit(p, &v, 1);
}

status pragma_ef_search(pragma_call *p) {
  if (p->argument) {
    int32_t n = pragma_int32(p->argument);
    if (n < 0 || n > 100000)
      return error_set(p->err, HDB_ERROR, "heliosdb_ef_search must lie between 0 (derived) and 100000");
    p->db->vector.ef_search = n;
  }
  return pragma_emit_int(p, p->db->vector.ef_search);
}

/* Of the whole engine, in this process. */
status pragma_vector_memory(pragma_call *p) {
  int64_t bytes = 0;
  double r;
  engine *e = p->db->databases[p->database < 0 ? 0 : p->database].engine;
  if (p->argument && (text_to_number(p->argument, strlen(p->argument), &bytes, &r) != 1 || bytes < 0))
    return error_set(p->err, HDB_ERROR, "heliosdb_vector_memory must be a number of bytes, or 0 for half of the machine's");
  return pragma_emit_int(p, e ? vector_memory_limit(e, p->argument ? &bytes : NULL) : 0);
}

/* auto: by cost; graph: the walk never gives up for a scan; exact: every row is measured. */
status pragma_vector_strategy(pragma_call *p) {
  static const char *const names[] = {
      [VECTOR_AUTO] = "auto", [VECTOR_GRAPH] = "graph", [VECTOR_EXACT] = "exact"};
  int chosen = -1;
  for (int i = 0; p->argument && i < 3; i++)
    if (strcasecmp(names[i], p->argument) == 0) chosen = i;
  if (p->argument && chosen < 0)
    return error_set(p->err, HDB_ERROR, "heliosdb_vector_strategy must be auto, graph or exact");
  if (p->argument) p->db->vector.strategy = (uint8_t)chosen;
  const char *name = names[p->db->vector.strategy];
  value v = value_text(name, strlen(name));
  return pragma_emit(p, &v, 1);
}

/* ---- rows made at once ---- */
enum { INDEX_COLUMNS = 19, RECALL_COLUMNS = 4 };
typedef struct listing {
  exec *x;
  arena memory;
  value *rows;
  int64_t n, capacity, at;
  int columns_n;
  int database;
} listing;

static status listing_add(listing *l, const value *row) {
  if (l->n == l->capacity) {
    int64_t capacity = l->capacity ? 2 * l->capacity : 16;
    value *rows = realloc(l->rows, (size_t)(capacity * l->columns_n) * sizeof *rows);
    if (!rows) return HDB_NOMEM;
    l->rows = rows, l->capacity = capacity;
  }
  for (int i = 0; i < l->columns_n; i++)
    TRY(value_copy(&l->memory, &row[i], &l->rows[l->n * l->columns_n + i]));
  l->n++;
  return HDB_OK;
}

static status listing_open(exec *x, void **cursor, int columns_n) {
  listing *l = calloc(1, sizeof *l);
  if (!l) return error_set(x->err, HDB_NOMEM, "out of memory");
  l->x = x;
  l->columns_n = columns_n;
  *cursor = l;
  return HDB_OK;
}
static void listing_begin(listing *l) {
  l->n = l->at = 0;
  arena_clear(&l->memory);
  l->memory = (arena)ARENA_INIT;
}
static bool listing_at_end(void *cursor) {
  return ((listing *)cursor)->at >= ((listing *)cursor)->n;
}
static status listing_next(exec *x, void *cursor) {
  (void)x;
  ((listing *)cursor)->at++;
  return HDB_OK;
}
static status listing_column(exec *x, void *cursor, int column, value *out) {
  const listing *l = cursor;
  (void)x;
  *out = column < l->columns_n ? l->rows[l->at * l->columns_n + column] : value_null();
  return HDB_OK;
}
static void listing_close(void *cursor) {
  listing *l = cursor;
  arena_clear(&l->memory);
  free(l->rows);
  free(l);
}

/* ---- heliosdb_vector_indexes ---- */
static const virtual_column index_columns[] = {{"database", "TEXT", false},
                                               {"name", "TEXT", false},
                                               {"metric", "TEXT", false},
                                               {"dimensions", "INTEGER", false},
                                               {"state", "TEXT", false},
                                               {"vectors", "INTEGER", false},
                                               {"pending", "INTEGER", false},
                                               {"removed", "INTEGER", false},
                                               {"bytes", "INTEGER", false},
                                               {"m", "INTEGER", false},
                                               {"ef_construction", "INTEGER", false},
                                               {"ef_search", "INTEGER", false},
                                               {"graph_bytes", "INTEGER", false},
                                               {"progress", "REAL", false},
                                               {"building", "INTEGER", false},
                                               {"loaded", "INTEGER", false},
                                               {"walks", "INTEGER", false},
                                               {"scans", "INTEGER", false},
                                               {"memory_limit", "INTEGER", false}};

static value text_value(const char *text) {
  return value_text(text, strlen(text));
}

/* stored: it left memory for others; over limit: there was no room for it. */
static const char *state_name(const vector_info *i) {
  if (i->waiting) return "waiting";
  if (i->rebuilding) return "rebuilding";
  if (i->built) return "ready";
  return i->parked ? "stored" : i->over ? "over limit" : "building";
}

static status list_index(void *context, const vector_info *i) {
  listing *l = context;
  const vector_key *k = &i->key;
  value row[INDEX_COLUMNS] = {text_value(l->x->db->databases[l->database].name),
                              text_value(i->label),
                              text_value(metric_names[k->metric]),
                              value_int(k->dimensions),
                              text_value(state_name(i)),
                              value_int(i->count),
                              value_int(i->pending),
                              value_int(i->removed),
                              value_int(i->bytes),
                              value_int(k->m ? k->m : 16),
                              value_int(k->ef_construction ? k->ef_construction : 200),
                              value_null(),
                              value_int(i->link_bytes),
                              value_real(i->built   ? 1.0
                                         : i->total ? (double)i->done / (double)i->total
                                                    : 0.0),
                              value_int(i->total),
                              value_int(i->loaded),
                              value_int(i->walks),
                              value_int(i->scans),
                              value_int(i->limit)};
  const hdb *db = l->x->db;
  double target = db->vector.recall_target > 0 ? db->vector.recall_target : 0.95;
  if (i->built) { /* NULL: none reaches the target, the rows are scanned */
    int ef = db->vector.ef_search ? db->vector.ef_search : vector_calibration_ef(&i->calibration, target);
    if (ef) row[11] = value_int(ef);
  }
  return listing_add(l, row);
}

static status indexes_open(exec *x, const table *t, void **cursor) {
  (void)t;
  return listing_open(x, cursor, INDEX_COLUMNS);
}
static status indexes_filter(exec *x, void *cursor, int number, const char *text, uint64_t given,
                             const value *arguments, int n) {
  listing *l = cursor;
  (void)number, (void)text, (void)given, (void)arguments, (void)n;
  listing_begin(l);
  for (l->database = 0; l->database < x->db->databases_n; l->database++) {
    const database *d = &x->db->databases[l->database];
    if (!d->engine || !d->name) continue;
    status rc = vector_indexes_each(d->engine, list_index, l);
    if (rc != HDB_OK) return error_set(x->err, rc, "%s", status_text(rc));
  }
  return HDB_OK;
}
const virtual_module virtual_vector_indexes = {"heliosdb_vector_indexes",
                                               index_columns,
                                               INDEX_COLUMNS,
                                               NULL,
                                               indexes_open,
                                               indexes_filter,
                                               listing_at_end,
                                               listing_next,
                                               listing_column,
                                               NULL,
                                               listing_close};
const virtual_module virtual_vector_stats = {
    "pg_vector_index_stats", index_columns, INDEX_COLUMNS,  NULL, indexes_open, indexes_filter,
    listing_at_end,          listing_next,  listing_column, NULL, listing_close};

/* ---- heliosdb_recall ---- */
enum { RECALL_NEAREST = 10, RECALL_ARGUMENTS = 4 };
static const virtual_column recall_columns[] = {{"metric", "TEXT", false},    {"searches", "INTEGER", false},
                                                {"recall", "REAL", false},    {"ef_search", "INTEGER", false},
                                                {"table_name", "TEXT", true}, {"column_name", "TEXT", true},
                                                {"sample", "INTEGER", true},  {"metric_name", "TEXT", true}};

static status recall_open(exec *x, const table *t, void **cursor) {
  (void)t;
  return listing_open(x, cursor, RECALL_COLUMNS);
}

static void quoted(buf *b, const value *name) {
  buf_byte(b, '"');
  for (uint32_t i = 0; i < name->n; i++) {
    if (name->p[i] == '"') buf_byte(b, '"');
    buf_byte(b, (uint8_t)name->p[i]);
  }
  buf_byte(b, '"');
}

static status failed(hdb *db, int code, error *err) {
  char why[256];
  snprintf(why, sizeof why, "%s", hdb_errmsg(db));
  return error_set(err, (status)code, "%s", why);
}

static status prepared(hdb *db, buf *sql, hdb_stmt **out, error *err) {
  const char *text = buf_cstr(sql);
  if (!text) return error_set(err, HDB_NOMEM, "out of memory");
  int code = hdb_prepare(db, text, -1, 0, out, NULL);
  return code == HDB_OK ? HDB_OK : failed(db, code, err);
}

/* The distances of the nearest, ascending. */
static status nearest(hdb *db, hdb_stmt *s, hdb_stmt *sample, double *distances, int *n, error *err) {
  int code;
  *n = 0;
  hdb_reset(s);
  hdb_bind_blob(s, 1, hdb_column_blob(sample, 0), hdb_column_bytes(sample, 0), HDB_TRANSIENT);
  while ((code = hdb_step(s)) == HDB_ROW && *n < RECALL_NEAREST) distances[(*n)++] = hdb_column_double(s, 0);
  status rc = code == HDB_DONE ? HDB_OK : failed(db, code, err);
  hdb_reset(s);
  return rc;
}

typedef struct comparison {
  int64_t searches, hits, all;
} comparison;

static status compare_searches(hdb *db, hdb_stmt *sample, hdb_stmt *fast, hdb_stmt *exact, comparison *c,
                               error *err) {
  int code;
  while ((code = hdb_step(sample)) == HDB_ROW) {
    double found[RECALL_NEAREST], truth[RECALL_NEAREST];
    int found_n, truth_n;
    TRY(nearest(db, fast, sample, found, &found_n, err));
    TRY(nearest(db, exact, sample, truth, &truth_n, err));
    c->searches++;
    c->all += truth_n;
    for (int i = 0; i < found_n && truth_n; i++) c->hits += found[i] <= truth[truth_n - 1];
  }
  return code == HDB_DONE ? HDB_OK : failed(db, code, err);
}

static status recall_measure(hdb *db, const value *table_name, const value *column_name, int64_t sample,
                             const char *metric, comparison *c, error *err) {
  hdb_stmt *statements[3] = {NULL, NULL, NULL};
  buf t = BUF_INIT, e = BUF_INIT, sql = BUF_INIT;
  status rc = HDB_OK;
  quoted(&t, table_name);
  quoted(&e, column_name);
  const char *from = buf_cstr(&t), *column = buf_cstr(&e);
  if (!from || !column) CHECK(error_set(err, HDB_NOMEM, "out of memory"));
  buf_printf(&sql,
             "SELECT %s FROM %s WHERE %s IS NOT NULL ORDER BY rowid * 2654435761 %% 4294967296 LIMIT %lld",
             column, from, column, (long long)sample);
  CHECK(prepared(db, &sql, &statements[0], err));
  for (int k = 1; k < 3; k++) {
    buf_clear(&sql);
    buf_printf(&sql,
               "SELECT vector_distance(%s, ?1, '%s') FROM %s WHERE %s IS NOT NULL ORDER BY "
               "vector_distance(%s, ?1, '%s')%s LIMIT %d",
               column, metric, from, column, column, metric, k == 2 ? " + 0" : "", RECALL_NEAREST);
    CHECK(prepared(db, &sql, &statements[k], err));
  }
  CHECK(compare_searches(db, statements[0], statements[1], statements[2], c, err));
out:
  for (int k = 0; k < 3; k++) hdb_finalize(statements[k]);
  buf_free(&t);
  buf_free(&e);
  buf_free(&sql);
  return rc;
}

static status recall_filter(exec *x, void *cursor, int number, const char *text, uint64_t given,
                            const value *arguments, int n) {
  listing *l = cursor;
  (void)number, (void)text, (void)n;
  listing_begin(l);
  if ((given & 3) != 3 || arguments[0].type != VAL_TEXT || arguments[1].type != VAL_TEXT)
    return error_set(x->err, HDB_ERROR, "heliosdb_recall() needs a table and a column");
  int64_t sample = given & 4 ? value_to_int(&arguments[2]) : 20;
  enum hnsw_metric metric = HNSW_COSINE;
  if ((given & 8) &&
      (arguments[3].type != VAL_TEXT || !vector_metric_named(arguments[3].p, arguments[3].n, &metric)))
    return error_set(x->err, HDB_ERROR, "unknown metric: it must be 'cosine', 'l2', 'ip' or 'l1'");
  if (sample < 1) return HDB_OK;
  comparison c = {0};
  TRY(recall_measure(x->db, &arguments[0], &arguments[1], sample, metric_names[metric], &c, x->err));
  value row[RECALL_COLUMNS] = {text_value(metric_names[metric]), value_int(c.searches),
                               c.all ? value_real((double)c.hits / (double)c.all) : value_null(),
                               value_int(x->db->vector.ef_search)};
  return listing_add(l, row);
}
const virtual_module virtual_recall = {"heliosdb_recall",
                                       recall_columns,
                                       RECALL_COLUMNS + RECALL_ARGUMENTS,
                                       NULL,
                                       recall_open,
                                       recall_filter,
                                       listing_at_end,
                                       listing_next,
                                       listing_column,
                                       NULL,
                                       listing_close};
