/* Which rows an UPDATE or DELETE changes: a query for their keys, read to its end before the first change.
 *
 * The query is SELECT key [, values] FROM target [, more] WHERE ... , planned as any other. Keys are kept as bytes; for
 * UPDATE ... FROM and for views the rows are kept whole, and of several rows with one key the last counts. The rows come
 * in key order where SQLite cannot change them while it walks (LIMIT, FROM, triggers, RETURNING, ...); else in the
 * query's. Where nothing can change a row before its
 * turn, the records found are kept beside their keys and not read again. WHERE rowid = value needs no query.
 */
#include "sql/dml.h"
#include "sql/resolve.h"

#include <stdlib.h>
#include <strings.h>

#include "kv/base/key.h"

typedef struct found_key {
  size_t at;
  uint32_t n, record_n;      /* the row's record lies behind the key when has_record */
  bool has_record;
  int64_t row;
} found_key;

enum { RECORDS_MAX = 64 << 20 }; /* bytes of records kept; past it rows are looked up again */

typedef struct search_run {
  exec_kept kept;
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
  if (t->kind == TABLE_VIRTUAL) {
    for (int k = 0; k < t->columns_n; k++) TRY(add_key(c, target, k, list));
    out->keeps_rows = true;
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

/* ---- WHERE rowid = value AND ... : one row, without a query ---- */
static bool names_rowid(const row_request *r, const expr *e) {
  const table *t = r->target->t;
  const char *name = r->name->alias ? r->name->alias : r->name->name;
  if (e->op == EX_DOT ? e->schema || strcasecmp(e->table, name) != 0 : e->op != EX_ID) return false;
  int k = table_column(t, e->text);
  return k >= 0 ? k == t->rowid_column : is_rowid_name(e->text);
}

static bool is_plain_value(const expr *e) { return e->op == EX_PARAM || e->op == EX_INT; }

/* Takes the equation out of a conjunction; what remains is in *rest (NULL: nothing). */
static bool take_equation(arena *m, const row_request *r, expr *where, expr **value_side, expr **rest) {
  if (where->op == EX_EQ) {
    bool left = names_rowid(r, where->left) && is_plain_value(where->right);
    if (!left && !(names_rowid(r, where->right) && is_plain_value(where->left))) return false;
    *value_side = left ? where->right : where->left;
    *rest = NULL;
    return true;
  }
  if (where->op != EX_AND) return false;
  expr *remaining;
  bool left = take_equation(m, r, where->left, value_side, &remaining);
  if (!left && !take_equation(m, r, where->right, value_side, &remaining)) return false;
  expr *other = left ? where->right : where->left;
  *rest = remaining ? ast_expr(m, EX_AND, left ? remaining : other, left ? other : remaining) : other;
  return *rest != NULL;
}

static status point_compile(compile *c, const row_request *r, row_search *out) {
  const table *t = r->target->t;
  expr *key, *rest;
  if (!r->lone || !r->where || t->kind != TABLE_ORDINARY || t->without_rowid || r->from || r->limit || r->name->indexed_by)
    return HDB_OK;
  if (!take_equation(c->memory, r, r->where, &key, &rest)) return HDB_OK;
  scope s = {.from = r->lone, .allow = ALLOW_ALL & ~(ALLOW_AGGREGATE | ALLOW_WINDOW), .excluded_slot = -1};
  expr *whole = r->where; /* the authorizer hears of every name */
  TRY(resolve_expr(c, &s, &whole));
  TRY(expr_compile(c, key, &out->point));
  if (rest) TRY(expr_compile_condition(c, rest, &out->rest));
  out->explained = arena_printf(c->memory, "SEARCH %s USING INTEGER PRIMARY KEY (rowid=?)",
                                r->name->alias ? r->name->alias : r->target->t->name);
  return out->explained ? HDB_OK : dml_no_memory(c->err);
}

status row_search_compile(compile *c, const row_request *r, row_search *out) {
  select *s = arena_zero(c->memory, sizeof *s);
  if (!s) return dml_no_memory(c->err);
  *out = (row_search){.t = r->target->t, .database = r->target->database, .state = compile_state(c)};
  TRY(point_compile(c, r, out));
  if (out->point) return HDB_OK;
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
  out->slot = s->from->items[0].slot;
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

/* The record that the search is standing on, if its cursor stands on the very row. */
static void keep_record(exec *x, const row_search *s, search_run *r, found_key *k) {
  const slot *at = &x->slots[s->slot];
  if (!at->cursor || !at->cursor->valid || r->bytes.n > RECORDS_MAX || buf_failed(&r->bytes)) return;
  slice key = slice_of(r->bytes.p + k->at, k->n);
  if (!slice_equal(key, at->cursor->key)) return;
  slice record = at->cursor->value;
  buf_append(&r->bytes, record.p, record.n);
  k->record_n = (uint32_t)record.n;
  k->has_record = true;
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
  if (s->keep_records) keep_record(x, s, r, &k);
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

static bool is_in_key_order(const search_run *r) {
  const found_key *keys = (const found_key *)r->keys.p;
  for (size_t i = 1; i < r->n; i++)
    if (slice_compare(slice_of(r->bytes.p + keys[i - 1].at, keys[i - 1].n), slice_of(r->bytes.p + keys[i].at, keys[i].n)) >= 0)
      return false;
  return true;
}

static void put_in_key_order(search_run *r) {
  found_key *keys = (found_key *)r->keys.p;
  if (r->n < 2 || is_in_key_order(r)) return;
  qsort_r(keys, r->n, sizeof *keys, compare_keys, r->bytes.p);
  size_t kept = 0;
  for (size_t i = 0; i < r->n; i++) {
    bool last = i + 1 == r->n || !slice_equal(slice_of(r->bytes.p + keys[i].at, keys[i].n),
                                              slice_of(r->bytes.p + keys[i + 1].at, keys[i + 1].n));
    if (last) keys[kept++] = keys[i];
  }
  r->n = kept;
}

static void search_release(exec_kept *k) {
  search_run *r = (search_run *)k;
  buf_free(&r->bytes);
  buf_free(&r->keys);
  free(r->rows);
  arena_clear(&r->memory);
  free(r);
}

static search_run *search_begin(exec *x, const row_search *s) {
  search_run *r = (search_run *)exec_kept_find(x, s);
  if (!r) {
    r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->kept.release = search_release;
    exec_keep(x, &r->kept, s);
  }
  r->at = r->n = 0;
  x->states[s->state] = r;
  return r;
}

static status point_start(exec *x, const row_search *s, search_run *r) {
  const value *given;
  TRY(expr_eval(x, s->point, &given));
  value v = *given;
  if (v.type != VAL_NULL) TRY(value_apply_affinity(&v, AFF_INTEGER, &x->memory));
  if (v.type != VAL_INTEGER) return HDB_OK;
  found_key k = {.n = 8};
  key_put_rowid(&r->bytes, v.i);
  buf_append(&r->keys, &k, sizeof k);
  if (buf_failed(&r->bytes) || buf_failed(&r->keys)) return dml_no_memory(x->err);
  r->n = 1;
  return HDB_OK;
}

status row_search_start(exec *x, const row_search *s) {
  search_run *r = search_begin(x, s);
  if (!r) return dml_no_memory(x->err);
  if (s->point) return point_start(x, s, r);
  const value *row;
  status rc = query_open(x, s->q);
  while (rc == HDB_OK) {
    rc = query_next(x, s->q, &row);
    if (rc == HDB_ROW) rc = keep_key(x, s, r, row);
  }
  query_close(x, s->q);
  if (rc != HDB_DONE) return rc;
  r->n = r->keys.n / sizeof(found_key);
  if ((s->in_key_order || s->not_in_place) && s->t->kind != TABLE_VIEW) put_in_key_order(r);
  return HDB_OK;
}

status row_search_next(exec *x, const row_search *s, found_row *out) {
  search_run *r = x->states[s->state];
  if (r->at >= r->n) return HDB_DONE;
  const found_key *k = (const found_key *)r->keys.p + r->at++;
  out->stored.key = slice_of(r->bytes.p + k->at, k->n);
  out->has_record = k->has_record;
  if (k->has_record) out->stored.record = slice_of(r->bytes.p + k->at + k->n, k->record_n);
  out->stored.rowid = !s->t->without_rowid && k->n == 8 ? rowid_decode(out->stored.key.p) : 0;
  out->row = s->keeps_rows ? r->rows[k->row] : NULL;
  return HDB_ROW;
}

/* Reads the row into the slot if it is still there and fits. */
status row_search_read(exec *x, const row_search *s, cursor *table_cursor, int slot_number, found_row *row, bool *found) {
  slot *at = &x->slots[slot_number];
  if (row->has_record) {
    *found = true;
    stored_row_set(at, s->t, &row->stored);
    return HDB_OK;
  }
  *found = cursor_find(table_cursor, row->stored.key);
  if (!*found) return dml_failed(x, table_cursor->error);
  TRY(stored_row_copy(x, s->t, table_cursor, &row->stored));
  stored_row_set(at, s->t, &row->stored);
  if (!s->rest) return HDB_OK;
  int truth;
  TRY(expr_test(x, s->rest, &truth));
  *found = truth == 1;
  return HDB_OK;
}

void row_search_stop(exec *x, const row_search *s) {
  search_run *r = x->states[s->state];
  if (!r) return;
  if (r->bytes.capacity > 65536) buf_free(&r->bytes);
  if (r->keys.capacity > 65536) buf_free(&r->keys);
  buf_clear(&r->bytes);
  buf_clear(&r->keys);
  free(r->rows);
  r->rows = NULL;
  r->rows_n = r->rows_capacity = 0;
  arena_clear(&r->memory);
  x->states[s->state] = NULL;
}
