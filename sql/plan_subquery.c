/* Subqueries inside expressions: (SELECT ...), EXISTS, IN (SELECT ...).
 *
 * One that refers to no outer row runs once an execution and its answer is kept; a correlated one runs each time.
 * IN: the affinity of the comparison is applied to both sides; NULLs by SQLite's rules (an empty set is false even
 * for NULL; not found is NULL when the set holds a NULL).
 * What can fail: memory, the subquery itself.
 */
#include <stdlib.h>

#include "sql/exec_access.h"

struct plan_subplan {
  plan_node node;
  query *q;
  bool correlated;
  int columns_n;
  key_spec *specs;      /* IN */
  uint8_t *affinities;  /* IN */
};

typedef struct subplan_state {
  node_state head;
  bool done, exists, ready;
  value *row;           /* scalar: the first row, or NULLs */
  arena memory;
  key_map set;          /* IN: rows without NULLs */
  bool has_null;        /* IN, one column: the set holds a NULL */
  spool *with_nulls;    /* IN, several columns: rows with a NULL */
  int64_t rows;
  value *converted;
  arena conversions;
} subplan_state;

static void subplan_close(exec *x, const plan_node *n) {
  const plan_subplan *p = (const plan_subplan *)n;
  subplan_state *s = node_state_get(x, n);
  arena_clear(&s->memory);
  arena_clear(&s->conversions);
  if (s->ready) key_map_clear(&s->set);
  spool_free(s->with_nulls);
  s->with_nulls = NULL;
  s->ready = s->done = false;
  node_close(x, p->q->top);
}
static const node_class subplan_class = {"subplan", sizeof(subplan_state), NULL, NULL, subplan_close};

/* ---- compile time ---- */
static status in_specs(compile *c, const expr *e, plan_subplan *p) {
  int n = p->columns_n;
  p->specs = plan_alloc(c, (size_t)(n + 1) * sizeof *p->specs);
  p->affinities = plan_alloc(c, (size_t)(n + 1) * sizeof *p->affinities);
  if (!p->specs || !p->affinities) return plan_no_memory(c);
  const expr *row = e->left;
  while (row->op == EX_COLLATE) row = row->left;
  const select *last = e->select; /* of a compound SQLite asks the last arm */
  for (int i = 0; i < n && i < last->columns->n; i++) {
    const expr *left = e->left;
    if (row->op == EX_ROW && row->list && i < row->list->n) left = row->list->items[i].e;
    else if (row->op == EX_SUBQUERY && row->select && i < row->select->columns->n) left = row->select->columns->items[i].e;
    const expr *right = last->columns->items[i].e;
    p->affinities[i] = compare_affinity(left, right);
    if (p->affinities[i] >= AFF_NUMERIC) p->affinities[i] = AFF_NUMERIC;
    TRY(compare_collation(c, left, right, &p->specs[i].c));
  }
  return HDB_OK;
}

status plan_subquery(compile *c, expr *e) {
  if (e->op == EX_IN && e->select && e->select->columns->n != expr_vector_size(e->left)) /* here: an unused term is not looked at */
    return error_set(c->err, HDB_ERROR, "sub-select returns %d columns - expected %d", e->select->columns->n, expr_vector_size(e->left));
  if (e->subplan) return HDB_OK;
  if (!e->select) return error_set(c->err, HDB_ERROR, "not supported yet: IN without a select");
  plan_subplan *p = plan_node_new(c, &subplan_class, sizeof *p, 0);
  if (!p) return plan_no_memory(c);
  p->correlated = e->correlated || e->select->correlated;
  int number = c->program->subplans_n + 1;
  if ((number & (number - 1)) == 0) { /* room for twice as many */
    plan_subplan **grown = plan_alloc(c, (size_t)number * 2 * sizeof *grown);
    if (!grown) return plan_no_memory(c);
    if (number > 1) memcpy(grown, c->program->subplans, (size_t)(number - 1) * sizeof *grown);
    c->program->subplans = grown;
  }
  c->program->subplans[number - 1] = p;
  c->program->subplans_n = number;
  e->subplan = number;
  const char *kind = e->op == EX_IN ? "LIST" : "SCALAR";
  int former = explain_push(c, "%s%s SUBQUERY %d", p->correlated ? "CORRELATED " : "", kind, number);
  status rc = HDB_OK;
  if (e->op == EX_IN) { /* before the plan rewrites the columns */
    const select *first = e->select;
    while (first->prior) first = first->prior;
    p->columns_n = first->columns->n;
    rc = in_specs(c, e, p);
  }
  if (e->op == EX_EXISTS) { /* whether there is a row: neither order nor duplicates matter */
    e->select->order_by = NULL;
  }
  bool one_row = e->op == EX_EXISTS || (e->op == EX_SUBQUERY && !e->select->offset); /* of which duplicates do not matter */
  if (one_row && !e->select->prior) e->select->distinct = false;
  if (rc == HDB_OK) rc = plan_query(c, e->select, NULL, &p->q);
  explain_pop(c, former);
  TRY(rc);
  p->columns_n = p->q->columns_n;
  return HDB_OK;
}

/* ---- run time ---- */
static status subplan_begin(exec *x, int number, const plan_subplan **plan, subplan_state **state) {
  const plan_subplan *p = x->program->subplans[number - 1];
  subplan_state *s = x->states[p->node.state];
  if (!s) {
    s = (subplan_state *)node_state_make(x, &p->node);
    size_t n = (size_t)p->columns_n + 1;
    if (!s || !(s->row = arena_zero(&x->lifetime, n * sizeof(value))) ||
        !(s->converted = arena_zero(&x->lifetime, n * sizeof(value))))
      return node_no_memory(x);
  }
  *plan = p;
  *state = s;
  return HDB_OK;
}

status subplan_scalar(exec *x, int subplan, const value **row, int *n) {
  const plan_subplan *p;
  subplan_state *s;
  TRY(subplan_begin(x, subplan, &p, &s));
  *row = s->row;
  *n = p->columns_n;
  if (s->done && !p->correlated) return HDB_OK;
  arena_mark mark = arena_save(&x->memory);
  TRY(query_open(x, p->q));
  const value *found;
  status rc = query_next(x, p->q, &found);
  if (rc != HDB_ROW && rc != HDB_DONE) return rc;
  if (s->memory.block) arena_rewind(&s->memory, (arena_mark){0, 0});
  for (int i = 0; i < p->columns_n; i++) {
    s->row[i] = value_null();
    if (rc == HDB_ROW) TRY(value_copy(&s->memory, &found[i], &s->row[i]));
  }
  arena_rewind(&x->memory, mark);
  s->done = true;
  if (!p->correlated) query_close(x, p->q);
  return HDB_OK;
}

status subplan_exists(exec *x, int subplan, bool *found) {
  const plan_subplan *p;
  subplan_state *s;
  TRY(subplan_begin(x, subplan, &p, &s));
  *found = s->exists;
  if (s->done && !p->correlated) return HDB_OK;
  arena_mark mark = arena_save(&x->memory);
  TRY(query_open(x, p->q));
  const value *row;
  status rc = query_next(x, p->q, &row);
  if (rc != HDB_ROW && rc != HDB_DONE) return rc;
  arena_rewind(&x->memory, mark);
  *found = s->exists = rc == HDB_ROW;
  s->done = true;
  if (!p->correlated) query_close(x, p->q);
  return HDB_OK;
}

/* A row under the comparison's affinities, in s->converted. */
static status convert(const plan_subplan *p, subplan_state *s, const value *row) {
  if (s->conversions.block) arena_rewind(&s->conversions, (arena_mark){0, 0});
  for (int i = 0; i < p->columns_n; i++) {
    s->converted[i] = row[i];
    if (p->affinities[i] >= AFF_TEXT) TRY(value_apply_affinity(&s->converted[i], p->affinities[i], &s->conversions));
  }
  return HDB_OK;
}

static bool any_null(const value *row, int n) {
  for (int i = 0; i < n; i++)
    if (row[i].type == VAL_NULL) return true;
  return false;
}

static status fill_set(exec *x, const plan_subplan *p, subplan_state *s) {
  if (s->done && !p->correlated) return HDB_OK;
  arena_mark mark = arena_save(&x->memory);
  if (s->ready) key_map_clear(&s->set);
  key_map_init(&s->set, x, p->columns_n, p->specs, 0, true);
  s->ready = true;
  s->has_null = false;
  s->rows = 0;
  if (s->with_nulls) spool_clear(s->with_nulls);
  TRY(query_open(x, p->q));
  const value *row;
  status rc;
  while ((rc = query_next(x, p->q, &row)) == HDB_ROW) {
    s->rows++;
    TRY(convert(p, s, row));
    if (any_null(s->converted, p->columns_n)) {
      s->has_null = true;
      if (p->columns_n == 1) continue;
      if (!s->with_nulls && !(s->with_nulls = spool_new(x, p->columns_n))) return node_no_memory(x);
      TRY(spool_add(s->with_nulls, s->converted));
      continue;
    }
    key_entry *e;
    TRY(key_map_find(&s->set, s->converted, true, NULL, &e));
  }
  if (rc != HDB_DONE) return rc;
  arena_rewind(&x->memory, mark);
  s->done = true;
  if (!p->correlated) query_close(x, p->q);
  return HDB_OK;
}

/* Could the rows be equal if NULLs were known? */
static bool may_equal(const plan_subplan *p, const value *a, const value *b) {
  for (int i = 0; i < p->columns_n; i++)
    if (a[i].type != VAL_NULL && b[i].type != VAL_NULL && value_compare(&a[i], &b[i], p->specs[i].c) != 0) return false;
  return true;
}

static int row_in_unknown(const plan_subplan *p, subplan_state *s) {
  bool left_null = any_null(s->converted, p->columns_n);
  for (size_t i = 0; left_null && i < s->set.entries_n; i++)
    if (may_equal(p, s->converted, s->set.entries[i]->values)) return -1;
  for (int64_t i = 0; s->with_nulls && i < spool_rows(s->with_nulls); i++)
    if (may_equal(p, s->converted, spool_row(s->with_nulls, i))) return -1;
  return 0;
}

status subplan_in(exec *x, int subplan, const value *left, int n, int *truth) {
  const plan_subplan *p;
  subplan_state *s;
  TRY(subplan_begin(x, subplan, &p, &s));
  if (n != p->columns_n) return error_set(x->err, HDB_INTERNAL, "IN with %d columns on the left, %d on the right", n, p->columns_n);
  TRY(fill_set(x, p, s));
  *truth = 0;
  if (s->rows == 0) return HDB_OK;
  TRY(convert(p, s, left));
  if (!any_null(s->converted, n)) {
    key_entry *e;
    TRY(key_map_find(&s->set, s->converted, false, NULL, &e));
    if (e) {
      *truth = 1;
      return HDB_OK;
    }
    if (n == 1) {
      *truth = s->has_null ? -1 : 0;
      return HDB_OK;
    }
  } else if (n == 1) {
    *truth = -1;
    return HDB_OK;
  }
  *truth = row_in_unknown(p, s);
  return HDB_OK;
}

status subplan_set(exec *x, int subplan, int64_t *rows) {
  const plan_subplan *p;
  subplan_state *s;
  TRY(subplan_begin(x, subplan, &p, &s));
  TRY(fill_set(x, p, s));
  *rows = (int64_t)s->set.entries_n;
  return HDB_OK;
}
const value *subplan_set_row(exec *x, int subplan, int64_t row) {
  const plan_subplan *p = x->program->subplans[subplan - 1];
  subplan_state *s = x->states[p->node.state];
  return s->set.entries[row]->values;
}
