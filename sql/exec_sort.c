/* ORDER BY and DISTINCT over rows.
 *
 * Sort reads its whole child on the first next (with LIMIT only the best rows are kept); DISTINCT hands a row out
 * when its key is new, so rows keep the order in which they came, as SQLite's do.
 */
#include "sql/plan_internal.h"

typedef struct sort_state {
  node_state head;
  sorter *rows;
  bool sorted;
} sort_state;

static void sort_close(exec *x, const plan_node *n) {
  sort_state *s = node_state_get(x, n);
  sorter_free(s->rows);
  s->rows = NULL;
  node_close(x, ((const sort_node *)n)->child);
}
static status sort_open(exec *x, const plan_node *n) {
  const sort_node *o = (const sort_node *)n;
  sort_state *s = node_state_get(x, n);
  if (!s && !(s = (sort_state *)node_state_make(x, n))) return node_no_memory(x);
  int64_t limit = -1, offset = 0;
  if (o->limit) TRY(limit_values(x, o->limit->limit, o->limit->offset, &limit, &offset));
  if (limit >= 0) limit = limit > INT64_MAX - offset ? -1 : limit + offset;
  sorter_free(s->rows);
  s->rows = sorter_new(x, o->child->columns_n, o->keys_n, o->keys, limit);
  if (!s->rows) return node_no_memory(x);
  s->sorted = false;
  return HDB_OK;
}
static status read_all(exec *x, const sort_node *o, sort_state *s) {
  const value *row;
  status rc;
  while ((rc = node_next(x, o->child, &row)) == HDB_ROW) TRY(sorter_add(s->rows, row));
  return rc == HDB_DONE ? HDB_OK : rc;
}

/* With LIMIT: most rows are refused by their first key, before their columns are computed. */
static status read_best(exec *x, const sort_node *o, sort_state *s) {
  const project_node *p = o->project;
  const value *key, *ignored;
  status rc;
  while ((rc = node_next(x, p->child, &ignored)) == HDB_ROW) {
    TRY(operand_eval(x, &o->first_key, &key));
    if (sorter_refuses(s->rows, key)) continue;
    TRY(expr_eval_list(x, p->program));
    TRY(sorter_add(s->rows, x->registers + p->first));
  }
  return rc == HDB_DONE ? HDB_OK : rc;
}

static status sort_next(exec *x, const plan_node *n, const value **row) {
  const sort_node *o = (const sort_node *)n;
  sort_state *s = node_state_get(x, n);
  if (!s->sorted) {
    TRY(node_open(x, o->child));
    TRY(o->project && o->limit ? read_best(x, o, s) : read_all(x, o, s));
    node_close(x, o->child);
    TRY(sorter_finish(s->rows));
    s->sorted = true;
  }
  return sorter_next(s->rows, row);
}
const node_class sort_class = {"sort", sizeof(sort_state), sort_open, sort_next, sort_close};

typedef struct distinct_state {
  node_state head;
  key_map seen;
  bool ready, has_last;
  value *last;     /* in_order: the row before */
  arena memory;
} distinct_state;
static void distinct_close(exec *x, const plan_node *n) {
  distinct_state *s = node_state_get(x, n);
  key_map_clear(&s->seen);
  arena_clear(&s->memory);
  node_close(x, ((const distinct_node *)n)->child);
}
static status distinct_open(exec *x, const plan_node *n) {
  const distinct_node *d = (const distinct_node *)n;
  distinct_state *s = node_state_get(x, n);
  if (!s && !(s = (distinct_state *)node_state_make(x, n))) return node_no_memory(x);
  if (s->ready) key_map_clear(&s->seen);
  key_map_init(&s->seen, x, d->keys_n, d->specs, 0, false);
  s->ready = true;
  s->has_last = false;
  if (d->in_order && !s->last && !(s->last = arena_zero(&x->lifetime, (size_t)(d->keys_n + 1) * sizeof(value))))
    return node_no_memory(x);
  return node_open(x, d->child);
}
static status next_of_neighbours(exec *x, const distinct_node *d, distinct_state *s, const value **row) {
  for (;;) {
    status rc = node_next(x, d->child, row);
    if (rc != HDB_ROW) return rc;
    bool same = s->has_last;
    for (int i = 0; i < d->keys_n && same; i++) {
      const value *a = &(*row)[i], *b = &s->last[i];
      same = a->type == VAL_INTEGER && b->type == VAL_INTEGER ? a->i == b->i : value_compare(a, b, d->specs[i].c) == 0;
    }
    if (same) continue;
    if (s->memory.block) arena_rewind(&s->memory, (arena_mark){0, 0});
    for (int i = 0; i < d->keys_n; i++) TRY(value_copy(&s->memory, &(*row)[i], &s->last[i]));
    s->has_last = true;
    return HDB_ROW;
  }
}

static status distinct_next(exec *x, const plan_node *n, const value **row) {
  const distinct_node *d = (const distinct_node *)n;
  distinct_state *s = node_state_get(x, n);
  if (d->in_order) return next_of_neighbours(x, d, s, row);
  for (;;) {
    bool added;
    key_entry *e;
    status rc = node_next(x, d->child, row);
    if (rc != HDB_ROW) return rc;
    TRY(key_map_find(&s->seen, *row, true, &added, &e));
    if (added) return HDB_ROW;
  }
}
const node_class distinct_class = {"distinct", sizeof(distinct_state), distinct_open, distinct_next, distinct_close};
