/* Compound selects and recursive CTEs.
 *
 * Arms combine from the left. A column compares by the collation of the first arm that has one. ORDER BY sorts the
 * combined rows; beside UNION, INTERSECT and EXCEPT these come sorted by all columns already, so that SQLite's order
 * (ORDER BY, then the columns) is the stable sort's.
 */
#include "sql/plan_where.h"

bool select_is_recursive(const select *s) {
  for (; s; s = s->prior)
    if (s->is_recursive) return true;
  return false;
}

static bool has_collation(const expr *e) {
  while (e->op == EX_CAST || e->op == EX_PLUS) e = e->left;
  return e->op == EX_COLUMN || e->op == EX_COLLATE || e->collation_explicit;
}

static status compound_specs(compile *c, select *head, key_spec **out) {
  int n = head->columns->n;
  *out = plan_alloc(c, (size_t)(n + 1) * sizeof **out);
  if (!*out) return plan_no_memory(c);
  for (const select *arm = head; arm; arm = arm->prior) /* the leftmost wins */
    for (int i = 0; i < n && i < arm->columns->n; i++) {
      const collation *found = NULL;
      TRY(expr_collation(c, arm->columns->items[i].e, &found));
      if (has_collation(arm->columns->items[i].e)) (*out)[i].c = found;
    }
  return HDB_OK;
}

static status compound_keys(compile *c, select *head, const key_spec *specs, sort_key **keys) {
  const expr_list *o = head->order_by;
  *keys = plan_alloc(c, (size_t)(o->n + 1) * sizeof **keys);
  if (!*keys) return plan_no_memory(c);
  for (int i = 0; i < o->n; i++) {
    const struct expr_item *item = &o->items[i];
    if (item->ordinal <= 0) return error_set(c->err, HDB_INTERNAL, "ORDER BY term of a compound without its column");
    int column = item->ordinal - 1;
    (*keys)[i] = (sort_key){column, {specs[column].c, item->descending, item->nulls}};
    if (item->e && item->e->op == EX_COLLATE) TRY(expr_collation(c, item->e, &(*keys)[i].spec.c));
  }
  return HDB_OK;
}

static const char *op_name(uint8_t op) {
  switch (op) {
  case COMPOUND_UNION: return "UNION USING TEMP B-TREE";
  case COMPOUND_UNION_ALL: return "UNION ALL";
  case COMPOUND_INTERSECT: return "INTERSECT USING TEMP B-TREE";
  default: return "EXCEPT USING TEMP B-TREE";
  }
}

/* The arms from `last` back to the first, combined. */
static status combine(compile *c, select *last, const key_spec *specs, bool ordered, const plan_node **out, log_estimate *rows) {
  query *q;
  if (!last->prior) {
    int former = explain_push(c, "LEFT-MOST SUBQUERY");
    status rc = plan_arm(c, last, NULL, &q);
    explain_pop(c, former);
    TRY(rc);
    *out = q->top;
    *rows = q->rows;
    return HDB_OK;
  }
  const plan_node *left;
  TRY(combine(c, last->prior, specs, ordered, &left, rows));
  int former = explain_push(c, "%s", op_name(last->compound));
  select arm = *last; /* without the compound's ORDER BY and LIMIT */
  arm.prior = NULL;
  arm.order_by = NULL;
  arm.limit = arm.offset = NULL;
  select *copy = plan_alloc(c, sizeof *copy);
  if (!copy) return plan_no_memory(c);
  *copy = arm;
  status rc = plan_arm(c, copy, NULL, &q);
  explain_pop(c, former);
  TRY(rc);
  compound_node *n = plan_node_new(c, &compound_class, sizeof *n, q->columns_n);
  if (!n) return plan_no_memory(c);
  n->op = last->compound;
  n->left = left;
  n->right = q->top;
  n->specs = (key_spec *)specs;
  n->ordered = ordered;
  *out = &n->node;
  if (last->compound == COMPOUND_UNION || last->compound == COMPOUND_UNION_ALL) *rows = log_add(*rows, q->rows);
  return HDB_OK;
}

static status finish(compile *c, select *s, const plan_node *node, const key_spec *specs, query *q) {
  plan_node *top = (plan_node *)node;
  sort_node *sort = NULL;
  if (s->order_by && s->order_by->n) {
    sort = plan_node_new(c, &sort_class, sizeof *sort, node->columns_n);
    if (!sort) return plan_no_memory(c);
    sort->child = node;
    sort->keys_n = s->order_by->n;
    TRY(compound_keys(c, s, specs, &sort->keys));
    explain_add(c, "USE TEMP B-TREE FOR ORDER BY");
    top = &sort->node;
  }
  TRY(plan_limit(c, s, top, &top));
  if (sort && s->limit) sort->limit = (const limit_node *)top;
  q->top = top;
  return HDB_OK;
}

/* Many VALUES or UNION ALL arms: the chain is as long as the text says, so it is not followed by recursion alone. */
enum { ARMS_MAX = 5000 };

status plan_compound(compile *c, select *s, query **out) {
  int arms = 0;
  for (select *a = s; a; a = a->prior) arms++;
  if (arms > ARMS_MAX) return error_set(c->err, HDB_ERROR, "too many terms in compound SELECT");
  query *q = plan_alloc(c, sizeof *q);
  key_spec *specs;
  if (!q) return plan_no_memory(c);
  select *first = s;
  while (first->prior) first = first->prior;
  TRY(query_describe(c, first, q));
  TRY(compound_specs(c, s, &specs));
  for (int i = 0; i < q->columns_n; i++) q->collations[i] = specs[i].c;
  const plan_node *node;
  int former = explain_push(c, "COMPOUND QUERY");
  status rc = combine(c, s, specs, s->order_by && s->order_by->n, &node, &q->rows);
  explain_pop(c, former);
  TRY(rc);
  TRY(finish(c, s, node, specs, q));
  *out = q;
  return HDB_OK;
}

/* WITH RECURSIVE: the arms that read the CTE itself are its steps. */
status plan_recursive(compile *c, source *s, query **out) {
  select *head = s->select, *initial = head;
  query *q = plan_alloc(c, sizeof *q);
  recursive_node *r = plan_node_new(c, &recursive_class, sizeof *r, head->columns->n);
  key_spec *specs;
  if (!q || !r) return plan_no_memory(c);
  while (initial && initial->is_recursive) initial = initial->prior, r->steps_n++;
  select *first = head;
  while (first->prior) first = first->prior;
  TRY(query_describe(c, first, q));
  TRY(compound_specs(c, head, &specs));
  r->specs = specs;
  r->distinct = head->compound == COMPOUND_UNION;
  if (!initial) return error_set(c->err, HDB_ERROR, "circular reference: %s", s->name);
  int former = explain_push(c, "SETUP");
  status rc = combine(c, initial, specs, false, &r->initial, &q->rows);
  explain_pop(c, former);
  TRY(rc);
  r->steps = plan_alloc(c, (size_t)r->steps_n * sizeof *r->steps);
  if (!r->steps) return plan_no_memory(c);
  int at = r->steps_n;
  former = explain_push(c, "RECURSIVE STEP");
  void *outer_extra = s->cte->extra;
  s->cte->extra = &r->node.state;
  for (select *arm = head; arm != initial; arm = arm->prior) {
    select *copy = plan_alloc(c, sizeof *copy);
    query *step;
    if (!copy) return plan_no_memory(c);
    *copy = *arm;
    copy->prior = NULL;
    copy->order_by = NULL;
    copy->limit = copy->offset = NULL;
    TRY(plan_arm(c, copy, NULL, &step));
    r->steps[--at] = step->top;
  }
  s->cte->extra = outer_extra;
  explain_pop(c, former);
  if (head->order_by && head->order_by->n) {
    r->keys_n = head->order_by->n;
    TRY(compound_keys(c, head, specs, &r->keys));
  }
  if (head->limit) TRY(expr_compile(c, head->limit, &r->limit));
  if (head->offset) TRY(expr_compile(c, head->offset, &r->offset));
  q->rows = 320;
  if (head->limit && head->limit->op == EX_INT && head->limit->i >= 0) q->rows = log_of((uint64_t)head->limit->i);
  q->top = &r->node;
  *out = q;
  return HDB_OK;
}
