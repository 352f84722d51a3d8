/* heliosdb_transactions(scn, committed_at, branch, tables, rows): the commits of main that the feed still holds,
 * oldest first; with the argument 'name', those of an attached database.
 *
 * tables: the names of the tables it wrote, as of then, with commas; rows: how many rows of them, NULL where a table
 * was filled or emptied as a whole. Read into memory when the source is opened.
 */
#include <stdlib.h>
#include <strings.h>

#include "sql/time.h"

enum { COLUMNS = 5 };
static const virtual_column columns[] = {{"scn", "INTEGER", false}, {"committed_at", "TEXT", false}, {"branch", "TEXT", false},
                                         {"tables", "TEXT", false}, {"rows", "INTEGER", false},      {"database", "TEXT", true}};

typedef struct transactions_cursor {
  exec *x;
  arena memory;
  value *rows, database_name;
  int64_t n, capacity, at;
  int database;
} transactions_cursor;

static status transactions_open(exec *x, const table *t, void **cursor) {
  (void)t;
  transactions_cursor *k = calloc(1, sizeof *k);
  if (!k) return error_set(x->err, HDB_NOMEM, "out of memory");
  k->x = x;
  *cursor = k;
  return HDB_OK;
}

static const table *table_of(const schema *s, uint32_t tree) {
  for (int i = 0; s && i < s->tables_n; i++)
    if (s->in_order[i]->tree == tree && s->in_order[i]->kind == TABLE_ORDINARY) return s->in_order[i];
  return NULL;
}

/* The schema after the commit and the one before it: what it made, what it dropped. */
static status schemas_at(transactions_cursor *k, int64_t time, schema **after, schema **before) {
  hdb *db = k->x->db;
  int64_t from, until, oldest = engine_oldest(db->databases[k->database].engine);
  *after = *before = NULL;
  if (time < oldest) return catalog_schema(db, k->database, after);
  TRY(past_schema(db, k->database, time, after, &from, &until));
  return from == time && time > oldest ? past_schema(db, k->database, time - 1, before, &from, &until) : HDB_OK;
}

static status take_commit(void *context, const commit_info *c) {
  transactions_cursor *k = context;
  TRY(exec_tick(k->x));
  if (c->trees == 0) return HDB_OK; /* retention's, which changed no row */
  if (k->n == k->capacity) {
    int64_t capacity = k->capacity ? k->capacity * 2 : 64;
    value *rows = realloc(k->rows, (size_t)(capacity * COLUMNS) * sizeof *rows);
    if (!rows) return sql_nomem(k->x->err);
    k->rows = rows, k->capacity = capacity;
  }
  schema *after, *before;
  buf names = BUF_INIT;
  int64_t rows = 0;
  bool whole = false;
  TRY(schemas_at(k, c->time, &after, &before));
  for (int64_t i = 0; i < c->trees; i++) {
    const table *t = table_of(after, c->each[i].tree);
    if (!t) t = table_of(before, c->each[i].tree);
    const char *name = t ? t->name : c->each[i].tree == TREE_SCHEMA ? "sqlite_schema" : NULL;
    if (!name) continue; /* an index, a setting */
    buf_printf(&names, "%s%s", names.n ? "," : "", name);
    rows += c->each[i].keys;
    whole = whole || c->each[i].whole;
  }
  char at[TIME_TEXT];
  time_text(c->time, at);
  value row[COLUMNS] = {value_int(c->time), value_text(at, strlen(at)), value_text("main", 4),
                        value_text(names.n ? (const char *)names.p : "", names.n), whole ? value_null() : value_int(rows)};
  status rc = buf_failed(&names) ? HDB_NOMEM : HDB_OK;
  for (int i = 0; i < COLUMNS && rc == HDB_OK; i++) rc = value_copy(&k->memory, &row[i], &k->rows[k->n * COLUMNS + i]);
  buf_free(&names);
  k->n++;
  return rc;
}

static status transactions_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  transactions_cursor *k = cursor;
  (void)number, (void)text, (void)n;
  k->n = k->at = 0;
  k->database = DB_MAIN;
  k->database_name = value_null();
  arena_clear(&k->memory);
  k->memory = (arena)ARENA_INIT;
  if (given & 1 && arguments[0].type == VAL_TEXT) {
    TRY(value_copy(&k->memory, &arguments[0], &k->database_name));
    k->database = -1;
    for (int i = 0; i < x->db->databases_n; i++) {
      const char *name = x->db->databases[i].name;
      if (name && strlen(name) == arguments[0].n && strncasecmp(name, arguments[0].p, arguments[0].n) == 0) k->database = i;
    }
    if (k->database < 0 || !x->db->databases[k->database].engine) return HDB_OK;
  }
  TRY(database_begin(x->db, k->database));
  const database *d = &x->db->databases[k->database];
  int64_t oldest = feed_oldest(d->engine);
  if (oldest == INT64_MAX) return HDB_OK;
  status rc = feed_commits(d->engine, oldest, txn_view_time(d->txn), take_commit, k);
  if (rc == HDB_NOTFOUND) rc = HDB_OK; /* it moved on meanwhile */
  if (rc != HDB_OK && x->err->code != rc) error_set(x->err, rc, "%s", status_text(rc));
  return rc;
}

static bool transactions_at_end(void *cursor) { return ((transactions_cursor *)cursor)->at >= ((transactions_cursor *)cursor)->n; }
static status transactions_next(exec *x, void *cursor) {
  (void)x;
  ((transactions_cursor *)cursor)->at++;
  return HDB_OK;
}
static status transactions_column(exec *x, void *cursor, int column, value *out) {
  const transactions_cursor *k = cursor;
  (void)x;
  *out = column < COLUMNS ? k->rows[k->at * COLUMNS + column] : k->database_name;
  return HDB_OK;
}
static void transactions_close(void *cursor) {
  transactions_cursor *k = cursor;
  arena_clear(&k->memory);
  free(k->rows);
  free(k);
}

const virtual_module virtual_transactions = {"heliosdb_transactions", columns, COLUMNS + 1, NULL, transactions_open, transactions_filter,
                                             transactions_at_end, transactions_next, transactions_column, NULL, transactions_close};
