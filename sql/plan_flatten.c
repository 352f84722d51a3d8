/* Subqueries and views in FROM that are plain joins become part of the query around them.
 *
 * Then the planner sees the tables themselves: indexes, order, WHERE terms of both. A subquery stays a subquery when
 * it aggregates, is distinct, limited, compound, windowed, recursive, or MATERIALIZED; on the right of a LEFT JOIN it
 * must be a single table with plain columns. Its ORDER BY passes to a lone query without one and is dropped otherwise.
 * F1  Column references to the subquery, wherever they stand, become copies of its result expressions.
 * F2  What a result column was called and declared as is fixed before.
 */
#include <strings.h>

#include "sql/plan_internal.h"

typedef struct flattening {
  compile *c;
  const source *left;  /* the single source on the right of a LEFT JOIN: expressions are NULL in its null row */
  int slot;
  const expr_list *columns;
  bool refused, failed;
} flattening;

static bool is_row_id_use(void *context, expr *e) {
  flattening *f = context;
  if (e->op == EX_COLUMN && e->slot == f->slot && (e->column < 0 || e->column >= f->columns->n)) f->refused = true;
  return false;
}

/* CASE WHEN rowid IS NULL THEN NULL ELSE e END: what an expression over an outer join's right side is. */
static expr *null_in_null_row(flattening *f, expr *e) {
  arena *m = f->c->memory;
  expr *rowid = ast_expr(m, EX_COLUMN, NULL, NULL), *null = ast_expr(m, EX_NULL, NULL, NULL);
  if (!rowid || !null) return NULL;
  rowid->slot = f->left->slot;
  rowid->column = -1;
  rowid->object = f->left->table;
  rowid->affinity = AFF_INTEGER;
  rowid->text = "rowid";
  expr *test = ast_expr(m, EX_ISNULL, rowid, NULL), *whole = ast_expr(m, EX_CASE, NULL, NULL);
  if (!test || !whole) return NULL;
  whole->list = ast_list_add(m, NULL, test);
  if (whole->list) whole->list = ast_list_add(m, whole->list, null);
  if (whole->list) whole->list = ast_list_add(m, whole->list, e);
  whole->has_else = true;
  return whole->list ? whole : NULL;
}

static bool substitute(void *context, expr *e) {
  flattening *f = context;
  if (e->op != EX_COLUMN || e->slot != f->slot) return false;
  expr *copy = ast_copy_expr(f->c->memory, f->columns->items[e->column].e);
  if (copy && f->left && (copy->op != EX_COLUMN || copy->slot != f->left->slot)) copy = null_in_null_row(f, copy);
  if (!copy) {
    f->failed = true;
    return true;
  }
  int32_t offset = e->offset;
  bool from_join = e->from_join;
  *e = *copy;
  e->offset = offset;
  e->from_join = from_join;
  e->plain = true;
  return true;
}

static bool last_is_outer(const source_list *from) { return from->n > 1 && (from->items[from->n - 1].join & (JOIN_LEFT | JOIN_RIGHT)); }

static bool has_right(const source_list *from) {
  for (int i = 0; i < from->n; i++)
    if ((from->items[i].join & JOIN_RIGHT) || (from->items[i].nested && has_right(from->items[i].nested))) return true;
  return false;
}

/* Columns that can stand outside of a LEFT JOIN's right side: its own, or expressions that no comparison looks into. */
static bool columns_may_be_null(const expr_list *l, const source *only) {
  const table *t = only->table;
  for (int i = 0; i < l->n; i++) {
    const expr *e = l->items[i].e;
    if (e->op == EX_COLUMN && e->slot == only->slot) continue;
    if (!t || t->without_rowid || t->kind != TABLE_ORDINARY || only->select) return false;
    if (expr_affinity(e) != AFF_NONE || e->collation_explicit || e->op == EX_ROW) return false;
  }
  return true;
}

bool cte_is_materialized(const cte *k) {
  return k->materialized == CTE_MATERIALIZED || (k->materialized == CTE_ANY && k->uses > 1);
}

static bool may_flatten(const select *q, const source *s, int at, bool is_arm) {
  const select *sub = s->select;
  if (!sub || sub->prior || sub->is_values || !sub->from || sub->from->n == 0) return false;
  if (sub->is_aggregate || (sub->group_by && sub->group_by->n) || sub->having || sub->distinct || sub->has_window) return false;
  if (sub->limit || sub->offset || sub->is_recursive || q->has_window) return false;
  if (s->cte && (s->cte->recursive || cte_is_materialized(s->cte))) return false;
  if ((q->is_recursive || is_arm) && sub->order_by && sub->order_by->n) return false;
  if (sub->order_by && sub->order_by->n && (q->is_aggregate || (q->group_by && q->group_by->n))) return false;
  if (s->join & JOIN_RIGHT || s->lateral) return false;
  for (int i = at + 1; i < q->from->n; i++)
    if (q->from->items[i].join & JOIN_RIGHT) return false;
  if (has_right(sub->from)) return false;
  if (s->join & JOIN_LEFT) {
    if (sub->from->n != 1 || sub->from->items[0].nested || sub->from->items[0].is_call) return false;
    if (!columns_may_be_null(sub->columns, &sub->from->items[0]) || q->is_aggregate || (q->group_by && q->group_by->n) || q->distinct) return false;
  }
  return !(s->on && last_is_outer(sub->from));
}

static expr *both(compile *c, expr *a, expr *b) {
  if (!a || !b) return a ? a : b;
  return ast_expr(c->memory, EX_AND, a, b);
}

static status fix_names(compile *c, select *q) { /* F2 */
  for (int i = 0; i < q->columns->n; i++) {
    struct expr_item *item = &q->columns->items[i];
    if (item->name || item->e->op != EX_COLUMN) continue;
    item->name = expr_result_name(c, item, i + 1);
    if (!item->name) return plan_no_memory(c);
  }
  return HDB_OK;
}

static void into_nested(source *s, const select *sub) {
  source nested = {.nested = sub->from, .join = s->join, .on = s->on, .offset = s->offset, .slot = -1};
  *s = nested;
}

static status flatten_source(compile *c, select *q, int at, bool *done) {
  source *s = &q->from->items[at];
  select *sub = s->select;
  flattening f = {.c = c, .slot = s->slot, .columns = sub->columns};
  *done = false;
  plan_rewrite_select(q, is_row_id_use, &f);
  if (f.refused) return HDB_OK;
  TRY(fix_names(c, q));
  bool takes_order = sub->order_by && sub->order_by->n && !(q->order_by && q->order_by->n) && q->from->n == 1;
  if (takes_order) {
    for (int i = 0; i < sub->order_by->n; i++) sub->order_by->items[i].ordinal = 0; /* they meant its own columns */
  }
  expr_list *order = takes_order ? sub->order_by : NULL;
  if (s->join & JOIN_LEFT) {
    source inner = sub->from->items[0];
    inner.join = s->join;
    inner.on = both(c, s->on, sub->where);
    f.left = &sub->from->items[0];
    plan_rewrite_select(q, substitute, &f);
    if (s->on) plan_rewrite(s->on, substitute, &f);
    *s = inner;
  } else {
    expr *where = sub->where;
    into_nested(s, sub);
    plan_rewrite_select(q, substitute, &f);
    q->where = both(c, q->where, where);
  }
  if (order) q->order_by = order;
  if (f.failed || c->memory->failed) return plan_no_memory(c);
  *done = true;
  return HDB_OK;
}

/* ---- WHERE terms moved into a subquery that stays one ---- */
typedef struct constraint_check {
  int slot;
  const expr_list *columns;
  bool refused;
} constraint_check;

static bool is_constraint_of(void *context, expr *e) {
  constraint_check *k = context;
  switch (e->op) {
  case EX_COLUMN:
    if (e->slot != k->slot || e->column < 0 || e->column >= k->columns->n) k->refused = true;
    break;
  case EX_SUBQUERY: case EX_EXISTS: case EX_AGGREGATE: case EX_WINDOW: case EX_AGG_COLUMN: case EX_RAISE:
    k->refused = true;
    break;
  case EX_IN: k->refused |= e->select != NULL || e->source != NULL; break;
  default: break;
  }
  return k->refused;
}

/* Does the arm's column compare as the subquery's column does? */
static bool compares_alike(compile *c, const expr *outer, const expr *inner) {
  const collation *a = NULL, *b = NULL;
  if (expr_affinity(outer) != expr_affinity(inner) || inner->op == EX_WINDOW || inner->op == EX_SUBQUERY) return false;
  if (expr_collation(c, outer, &a) != HDB_OK || expr_collation(c, inner, &b) != HDB_OK) return false;
  return (a ? a : &collation_binary) == (b ? b : &collation_binary) && plan_deterministic(inner);
}

typedef struct comparison_check {
  compile *c;
  int slot;
  const expr_list *columns;
  bool refused;
} comparison_check;
static bool arm_differs(void *context, expr *e) {
  comparison_check *k = context;
  if (e->op == EX_COLUMN && e->slot == k->slot && !compares_alike(k->c, e, k->columns->items[e->column].e)) k->refused = true;
  return k->refused;
}

static bool may_push_into(const source *s) {
  if (s->cte && (s->cte->recursive || cte_is_materialized(s->cte))) return false;
  if (s->select->limit || s->correlated || s->lateral) return false;
  for (const select *arm = s->select; arm; arm = arm->prior) {
    if (arm->has_window || arm->is_values || arm->is_recursive) return false;
    if (arm->prior && arm->compound != COMPOUND_UNION_ALL) return false;
  }
  return true;
}

/* A HAVING term that reads nothing but GROUP BY columns holds for all rows of a group or none: WHERE can have it. */
typedef struct key_check {
  compile *c;
  const select *s;
  bool refused;
} key_check;
static bool is_key_or_constant(void *context, expr *e) {
  key_check *k = context;
  if (e->op == EX_AGGREGATE || e->op == EX_WINDOW || e->select) k->refused = true;
  if (e->op != EX_COLUMN || k->refused) return k->refused;
  const expr_list *g = k->s->group_by;
  for (int i = 0; g && i < g->n; i++) {
    const collation *found = NULL;
    if (g->items[i].e->op != EX_COLUMN || g->items[i].e->slot != e->slot || g->items[i].e->column != e->column) continue;
    if (expr_collation(k->c, g->items[i].e, &found) == HDB_OK && (!found || found->builtin == 1)) return true;
  }
  k->refused = true;
  return true;
}
static bool reads_only_keys(compile *c, const select *s, expr *e) {
  key_check k = {c, s, !s->group_by || !s->group_by->n};
  if (!k.refused) plan_rewrite(e, is_key_or_constant, &k);
  return !k.refused && plan_deterministic(e);
}

static void having_to_where(compile *c, select *s) {
  if (!s->having || !s->group_by || !s->group_by->n) return;
  expr *stays = NULL, *goes = NULL;
  for (expr *e = s->having;; e = e->left) {
    expr *term = e->op == EX_AND ? e->right : e;
    if (reads_only_keys(c, s, term)) goes = both(c, term, goes);
    else stays = both(c, term, stays);
    if (e->op != EX_AND) break;
  }
  if (!goes) return;
  s->having = stays;
  s->where = both(c, s->where, goes);
}

static status push_term(compile *c, source *s, expr *term) {
  constraint_check k = {s->slot, s->select->columns, false};
  plan_rewrite(term, is_constraint_of, &k);
  if (k.refused || !plan_deterministic(term) || expr_is_constant(term)) return HDB_OK;
  for (select *arm = s->select; arm; arm = arm->prior) {
    comparison_check same = {c, s->slot, arm->columns, false};
    plan_rewrite(term, arm_differs, &same);
    if (same.refused) return HDB_OK;
  }
  for (select *arm = s->select; arm; arm = arm->prior) {
    expr *copy = ast_copy_expr(c->memory, term);
    flattening f = {.c = c, .slot = s->slot, .columns = arm->columns};
    if (!copy) return plan_no_memory(c);
    plan_rewrite(copy, substitute, &f);
    if (f.failed) return plan_no_memory(c);
    bool grouped = arm->is_aggregate || (arm->group_by && arm->group_by->n);
    if (grouped && !reads_only_keys(c, arm, copy)) {
      arm->having = both(c, arm->having, copy);
      continue;
    }
    arm->where = both(c, arm->where, copy);
    for (int i = 0; arm->from && i < arm->from->n; i++) { /* and further down */
      source *inner = &arm->from->items[i];
      if (inner->select && may_push_into(inner) && !(inner->join & (JOIN_LEFT | JOIN_RIGHT)) && !has_right(arm->from))
        TRY(push_term(c, inner, copy));
    }
  }
  return c->memory->failed ? plan_no_memory(c) : HDB_OK;
}

/* The terms stay outside as well: there they cost little, and an outer comparison has the last word. */
static status push_down(compile *c, const select *q, source *s) {
  if (!q->where || !may_push_into(s) || (s->join & (JOIN_LEFT | JOIN_RIGHT)) || has_right(q->from)) return HDB_OK;
  for (expr *e = q->where;; e = e->left) {
    TRY(push_term(c, s, e->op == EX_AND ? e->right : e));
    if (e->op != EX_AND) return HDB_OK;
  }
}

static status flatten_select(compile *c, select *s);

typedef struct descent {
  compile *c;
  status rc;
} descent;
static bool into_expr(void *context, expr *e) {
  descent *d = context;
  if (e->select && d->rc == HDB_OK) d->rc = flatten_select(d->c, e->select);
  return d->rc == HDB_OK;
}
static status flatten_expr(compile *c, expr *e) {
  descent d = {c, HDB_OK};
  if (e) ast_walk(e, false, into_expr, &d);
  return d.rc;
}
static status flatten_list(compile *c, expr_list *l) {
  for (int i = 0; l && i < l->n; i++) TRY(flatten_expr(c, l->items[i].e));
  return HDB_OK;
}

/* Aggregates but for count, min and max may show the order of their input. */
static bool shows_order(void *context, expr *e) {
  if (e->op == EX_AGGREGATE && strcasecmp(e->text, "count") && strcasecmp(e->text, "min") && strcasecmp(e->text, "max"))
    *(bool *)context = true;
  return false;
}

/* ORDER BY of a subquery whose order nobody sees. */
static void drop_order(select *q, select *sub, int sources, bool is_arm) {
  if (!sub->order_by || sub->limit || sub->is_recursive || sub->has_window) return;
  bool shown = false;
  plan_rewrite_list(q->columns, shows_order, &shown);
  plan_rewrite_list(q->order_by, shows_order, &shown);
  if (q->having) plan_rewrite(q->having, shows_order, &shown);
  if (!shown && ((q->order_by && q->order_by->n && !is_arm) || sources > 1)) sub->order_by = NULL;
}

static status flatten_from(compile *c, select *q, source_list *from, bool top, bool is_arm) {
  for (int i = 0; from && i < from->n; i++) {
    source *s = &from->items[i];
    TRY(flatten_list(c, s->arguments));
    TRY(flatten_expr(c, s->on));
    if (s->nested && !s->select) TRY(flatten_from(c, q, s->nested, false, is_arm));
    if (!s->select) continue;
    TRY(flatten_select(c, s->select));
    if (!s->cte || !s->cte->recursive) drop_order(q, s->select, from->n, is_arm);
    bool done = false;
    if (top && may_flatten(q, s, i, is_arm)) TRY(flatten_source(c, q, i, &done));
    if (top && !done) TRY(push_down(c, q, s));
  }
  return HDB_OK;
}

static status flatten_select(compile *c, select *s) {
  bool is_arm = s && s->prior; /* ORDER BY is the compound's */
  for (; s; s = s->prior) {
    if (s->is_values) {
      for (int i = 0; i < s->values_n; i++) TRY(flatten_list(c, s->values[i]));
      continue;
    }
    TRY(flatten_list(c, s->columns));
    TRY(flatten_expr(c, s->where));
    TRY(flatten_list(c, s->group_by));
    TRY(flatten_expr(c, s->having));
    TRY(flatten_list(c, s->order_by));
    having_to_where(c, s);
    TRY(flatten_from(c, s, s->from, true, is_arm));
  }
  return HDB_OK;
}

/* ---- which columns are read, now that subqueries are gone ---- */
typedef struct usage {
  source **by_slot;
  int slots_n;
} usage;

static void collect_sources(usage *u, source_list *from) {
  for (int i = 0; from && i < from->n; i++) {
    source *s = &from->items[i];
    if (s->nested && !s->select) collect_sources(u, s->nested);
    else if (s->slot >= 0 && s->slot < u->slots_n && !s->select) u->by_slot[s->slot] = s;
  }
}
static void collect_select(usage *u, select *s);
static bool collect_expr(void *context, expr *e) {
  usage *u = context;
  if (e->select) collect_select(u, e->select);
  return false;
}
static void collect_select(usage *u, select *s) {
  for (; s; s = s->prior) {
    collect_sources(u, s->from);
    for (int i = 0; s->from && i < s->from->n; i++)
      if (s->from->items[i].select) collect_select(u, s->from->items[i].select);
  }
}
static void collect_nested_selects(usage *u, source_list *from) {
  for (int i = 0; from && i < from->n; i++) {
    if (from->items[i].nested) collect_nested_selects(u, from->items[i].nested);
    if (from->items[i].select) collect_select(u, from->items[i].select);
  }
}
static bool count_use(void *context, expr *e) {
  usage *u = context;
  if (e->op != EX_COLUMN || e->slot < 0 || e->slot >= u->slots_n) return false;
  source *s = u->by_slot[e->slot];
  if (!s || e->column < 0) return false;
  const table *t = s->table;
  if (t && e->column < t->columns_n && t->columns[e->column].generated == 1) s->columns_used = ~0ull;
  else s->columns_used |= 1ull << (e->column < 63 ? e->column : 63);
  return false;
}

static status recount(compile *c, select *s) {
  usage u = {plan_alloc(c, (size_t)(c->slots_n + 1) * sizeof(source *)), c->slots_n};
  if (!u.by_slot) return plan_no_memory(c);
  collect_select(&u, s);
  for (select *arm = s; arm; arm = arm->prior) collect_nested_selects(&u, arm->from);
  plan_rewrite_select(s, collect_expr, &u);
  for (int i = 0; i < u.slots_n; i++)
    if (u.by_slot[i]) u.by_slot[i]->columns_used = 0;
  plan_rewrite_select(s, count_use, &u);
  return HDB_OK;
}

status plan_flatten(compile *c, select *s) {
  TRY(flatten_select(c, s));
  c->exact_usage = c->tree && c->tree->kind == ST_SELECT && c->tree->select == s && !c->parent && !c->in_trigger;
  return c->exact_usage ? recount(c, s) : HDB_OK;
}
