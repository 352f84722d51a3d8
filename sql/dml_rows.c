/* Which rows an UPDATE or DELETE changes: a query for their keys, read to its end before the first change.
 *
 * The query is SELECT key [, values] FROM target [, more] WHERE ... , planned as any other. Keys are kept as bytes; for
 * UPDATE ... FROM and for views the rows are kept whole, and of several rows with one key the last counts. With LIMIT
 * and with FROM the rows come in key order, as in SQLite; else in the query's.
 */
#include "sql/dml.h"
#include "sql/resolve.h"

#include <stdlib.h>

#include "kv/base/key.h"

typedef struct found_key {
  size_t at;
  uint32_t n;
  int64_t row;
} found_key;

typedef struct search_run {
  buf bytes, keys;           /* keys: found_key each */
  arena memory;
  const value **rows;        /* keeps_rows: by row number */
  int64_t rows_n, rows_capacity;
  size_t at, n;
} search_run;

/* ---- compile ---- */

/* A key column bound to the target itself, so that neither another source's name nor a column called rowid is in its
 * way, and the authorizer is not asked. */
static status add_key(compile *c, source *target, int column_number, expr_list **list) {
  expr *e = ast_expr(c->memory, EX_COLUMN, NULL, NULL);
  if (!e) return dml_no_memory(c->err);
  TRY(bind_column(c, target, column_number, e));
  e->object = NULL;
  *list = ast_list_add(c->memory, *list, e);
  return *list ? HDB_OK : dml_no_memory(c->err);
}

static status key_columns(compile *c, const row_request *r, source *target, row_search *out, expr_list **list) {
  const table *t = r->target->t;
  arena *m = c->memory;
  if (t->kind == TABLE_VIEW) {
    const char *name = r->name->alias ? r->name->alias : r->name->name;
    for (int k = 0; k < t->columns_n; k++) {
      *list = ast_list_add(m, *list, dml_name(m, name, t->columns[k].name));
      if (*list && !r->name->alias && !m->failed) (*list)->items[(*list)->n - 1].e->schema = target->schema;
    }
    out->keeps_rows = true;
  } else if (t->without_rowid) {
    for (int k = 0; k < t->primary->key_columns_n; k++) TRY(add_key(c, target, t->primary->columns[k].column, list));
  } else {
    TRY(add_key(c, target, -1, list));
  }
  if (!*list || m->failed) return dml_no_memory(c->err);
  out->key_columns = (*list)->n;
  return HDB_OK;
}

static status sources(compile *c, const row_request *r, source_list **out) {
  int more = r->from && r->from->n ? 1 : 0; /* several: one parenthesised join */
  source_list *list = arena_zero(c->memory, sizeof *list);
  source *items = arena_zero(c->memory, ((size_t)more + 1) * sizeof *items);
  if (!list || !items) return dml_no_memory(c->err);
  const qualified_name *q = r->name;
  items[0] = (source){.schema = c->db->databases[r->target->database].name, /* not a CTE of the same name */
                      .name = q->name, .alias = q->alias, .offset = q->offset,
                      .indexed_by = q->indexed_by, .not_indexed = q->not_indexed};
  source_list lone = {1, 1, items};
  if (r->target->t->kind != TABLE_VIEW) TRY(resolve_from(c, &lone, NULL));
  if (more) items[1] = r->from->n == 1 ? r->from->items[0] : (source){.nested = r->from, .offset = q->offset};
  *list = (source_list){more + 1, more + 1, items};
  *out = list;
  return HDB_OK;
}

status row_search_compile(compile *c, const row_request *r, row_search *out) {
  select *s = arena_zero(c->memory, sizeof *s);
  if (!s) return dml_no_memory(c->err);
  *out = (row_search){.t = r->target->t, .database = r->target->database, .state = compile_state(c)};
  TRY(sources(c, r, &s->from));
  TRY(key_columns(c, r, &s->from->items[0], out, &s->columns));
  for (int i = 0; r->extra && i < r->extra->n; i++) {
    s->columns = ast_list_add(c->memory, s->columns, r->extra->items[i].e);
    if (!s->columns) return dml_no_memory(c->err);
  }
  s->where = r->where, s->order_by = r->order_by, s->limit = r->limit, s->offset = r->offset, s->with = r->with;
  s->for_change = !r->limit && !r->from;
  out->columns_n = s->columns->n;
  out->keeps_rows = out->keeps_rows || out->columns_n > out->key_columns;
  out->in_key_order = (r->limit || r->from) && r->target->t->kind != TABLE_VIEW;
  if (r->target->t->without_rowid) {
    const index_ *primary = r->target->t->primary;
    out->collations = arena_zero(c->memory, (size_t)primary->key_columns_n * sizeof *out->collations);
    if (!out->collations) return dml_no_memory(c->err);
    for (int k = 0; k < primary->key_columns_n; k++)
      TRY(find_collation(c->db, primary->columns[k].collation, &out->collations[k], c->err));
  }
  return plan_query(c, s, NULL, &out->q);
}

/* ---- run ---- */
static status keep_row(exec *x, const row_search *s, search_run *r, const value *row) {
  if (r->rows_n == r->rows_capacity) {
    int64_t capacity = r->rows_capacity ? r->rows_capacity * 2 : 64;
    const value **rows = realloc(r->rows, (size_t)capacity * sizeof *rows);
    if (!rows) return dml_no_memory(x->err);
    r->rows = rows;
    r->rows_capacity = capacity;
  }
  value *copy = arena_alloc(&r->memory, (size_t)s->columns_n * sizeof *copy);
  if (!copy) return dml_no_memory(x->err);
  for (int i = 0; i < s->columns_n; i++) TRY(dml_failed(x, value_copy(&r->memory, &row[i], &copy[i])));
  r->rows[r->rows_n++] = copy;
  return HDB_OK;
}

static status keep_key(exec *x, const row_search *s, search_run *r, const value *row) {
  found_key k = {.at = r->bytes.n, .row = r->rows_n};
  if (s->t->without_rowid) {
    const index_ *primary = s->t->primary;
    for (int i = 0; i < s->key_columns; i++)
      value_write_key(&r->bytes, &row[i], s->collations[i], primary->columns[i].descending);
  } else if (s->t->kind != TABLE_VIEW) {
    if (row[0].type != VAL_INTEGER) return HDB_OK; /* the null row of an outer join */
    key_put_rowid(&r->bytes, row[0].i);
  }
  k.n = (uint32_t)(r->bytes.n - k.at);
  buf_append(&r->keys, &k, sizeof k);
  if (buf_failed(&r->bytes) || buf_failed(&r->keys)) return dml_no_memory(x->err);
  return s->keeps_rows ? keep_row(x, s, r, row) : HDB_OK;
}

static int compare_keys(const void *a, const void *b, void *bytes) {
  const found_key *p = a, *q = b;
  const uint8_t *base = bytes;
  int c = slice_compare(slice_of(base + p->at, p->n), slice_of(base + q->at, q->n));
  return c ? c : (p->row > q->row) - (p->row < q->row);
}

static void put_in_key_order(search_run *r) {
  found_key *keys = (found_key *)r->keys.p;
  if (r->n < 2) return;
  qsort_r(keys, r->n, sizeof *keys, compare_keys, r->bytes.p);
  size_t kept = 0;
  for (size_t i = 0; i < r->n; i++) {
    bool last = i + 1 == r->n || !slice_equal(slice_of(r->bytes.p + keys[i].at, keys[i].n),
                                              slice_of(r->bytes.p + keys[i + 1].at, keys[i + 1].n));
    if (last) keys[kept++] = keys[i];
  }
  r->n = kept;
}

status row_search_start(exec *x, const row_search *s) {
  search_run *r = arena_zero(&x->lifetime, sizeof *r);
  if (!r) return dml_no_memory(x->err);
  x->states[s->state] = r;
  const value *row;
  status rc = query_open(x, s->q);
  while (rc == HDB_OK) {
    rc = query_next(x, s->q, &row);
    if (rc == HDB_ROW) rc = keep_key(x, s, r, row);
  }
  query_close(x, s->q);
  if (rc != HDB_DONE) return rc;
  r->n = r->keys.n / sizeof(found_key);
  if (s->in_key_order) put_in_key_order(r);
  return HDB_OK;
}

status row_search_next(exec *x, const row_search *s, slice *key, const value **row) {
  search_run *r = x->states[s->state];
  if (r->at >= r->n) return HDB_DONE;
  const found_key *k = (const found_key *)r->keys.p + r->at++;
  *key = slice_of(r->bytes.p + k->at, k->n);
  *row = s->keeps_rows ? r->rows[k->row] : NULL;
  return HDB_ROW;
}

void row_search_stop(exec *x, const row_search *s) {
  search_run *r = x->states[s->state];
  if (!r) return;
  buf_free(&r->bytes);
  buf_free(&r->keys);
  free(r->rows);
  arena_clear(&r->memory);
  x->states[s->state] = NULL;
}
