/* A SELECT becomes nodes: join, aggregation, HAVING, projection, DISTINCT, ORDER BY, LIMIT.
 *
 * The join is asked for the order that GROUP BY, ORDER BY or DISTINCT want; what it delivers is not sorted again.
 * Sort keys that are no result columns are projected behind them.
 */
#include "sql/plan_where.h"
#include "sql/vector_access.h"

typedef struct core {
  compile *c;
  select *s;
  expr_list *order_by;    /* NULL: none wanted here */
  aggregate_builder *aggregate;
  bool group_gives_order; /* ORDER BY is GROUP BY */
  where_order order;
  int ordered;
  log_estimate rows;
  join_node *join;
} core;

static status order_specs(core *k, const expr_list *l, bool is_order_by) {
  compile *c = k->c;
  k->order.n = l->n;
  k->order.e = plan_alloc(c, (size_t)(l->n + 1) * sizeof *k->order.e);
  k->order.specs = plan_alloc(c, (size_t)(l->n + 1) * sizeof *k->order.specs);
  if (!k->order.e || !k->order.specs) return plan_no_memory(c);
  for (int i = 0; i < l->n; i++) {
    const struct expr_item *item = &l->items[i];
    k->order.e[i] = item->e;
    k->order.specs[i] = (key_spec){NULL, is_order_by && item->descending, is_order_by ? item->nulls : 0};
    TRY(expr_collation(c, item->e, &k->order.specs[i].c));
  }
  return HDB_OK;
}

static bool same_terms(const core *k, const expr_list *group) {
  if (!k->order_by || k->order_by->n != group->n) return false;
  for (int i = 0; i < group->n; i++) {
    const struct expr_item *o = &k->order_by->items[i];
    if (o->nulls || !ast_equal(o->e, group->items[i].e)) return false;
  }
  return true;
}

/* What order would serve: GROUP BY's, ORDER BY's or DISTINCT's. */
static status wanted_order(core *k) {
  select *s = k->s;
  if (k->aggregate) {
    const expr_list *keys = aggregate_keys(k->aggregate);
    if (keys) {
      key_spec *specs = (key_spec *)aggregate_specs(k->aggregate);
      k->group_gives_order = same_terms(k, keys);
      TRY(order_specs(k, keys, false));
      k->order.any_order = true;
      if (k->order_by && k->order_by->n == keys->n)
        for (int i = 0; i < keys->n; i++) {
          specs[i].descending = k->order_by->items[i].descending;
          k->order.specs[i].descending = specs[i].descending;
        }
      k->order.exact_direction = k->group_gives_order;
      return HDB_OK;
    }
    bool is_max = false;
    expr *e = aggregate_minmax(k->aggregate, &is_max);
    if (!e) {
      e = aggregate_distinct(k->aggregate);
      k->order.any_order = true;
    }
    if (!e) return HDB_OK;
    expr_list *one = ast_list_add(k->c->memory, NULL, e);
    if (!one) return plan_no_memory(k->c);
    TRY(order_specs(k, one, false));
    k->order.specs[0].descending = is_max;
    return HDB_OK;
  }
  if (s->has_window) return HDB_OK;
  if (k->order_by) return order_specs(k, k->order_by, true);
  if (s->distinct) {
    TRY(order_specs(k, s->columns, false));
    k->order.any_order = true;
  }
  return HDB_OK;
}

static int64_t literal_limit(const select *s) {
  if (!s->limit || s->limit->op != EX_INT || s->limit->i < 0) return -1;
  int64_t n = s->limit->i;
  if (s->offset && s->offset->op == EX_INT && s->offset->i > 0 && __builtin_add_overflow(n, s->offset->i, &n))
    return -1;
  return n;
}

/* FROM one ordinary table, no WHERE: what count(*) needs no scan for. */
static bool plain_table(const select *s) {
  if (s->where || !s->from || s->from->n != 1) return false;
  const source *f = &s->from->items[0];
  const table *t = f->table;
  return !f->select && !f->nested && t && t->kind == TABLE_ORDINARY && f->time_at <= 0 && !f->is_recursive;
}

static bool plain_count(const core *k, const aggregate_node *a) {
  return !a->grouped && a->calls_n == 1 && !a->bare_n && a->calls[0].count_star && plain_table(k->s);
}

static status plan_aggregation(core *k, const plan_node *child, const plan_node **out) {
  compile *c = k->c;
  plan_node *node;
  bool in_order = k->order.n && k->ordered == k->order.n &&
                  (aggregate_keys(k->aggregate) || aggregate_distinct(k->aggregate));
  TRY(aggregate_finish(k->aggregate, child, in_order, &node));
  aggregate_node *a = (aggregate_node *)node;
  bool is_max;
  if (!a->grouped && aggregate_minmax(k->aggregate, &is_max) && k->order.n && k->ordered == 1) a->stop_after_first = true;
  if (a->grouped && !in_order) explain_add(c, "USE TEMP B-TREE FOR GROUP BY");
  *out = node;
  if (plain_count(k, a)) {
    count_node *n = plan_node_new(c, &count_class, sizeof *n, 0);
    if (!n) return plan_no_memory(c);
    n->slot = a->slot;
    n->table = k->s->from->items[0].table;
    n->database = k->s->from->items[0].database;
    n->fallback = node;
    *out = &n->node;
  }
  if (!k->s->having) return HDB_OK;
  filter_node *f = plan_node_new(c, &filter_class, sizeof *f, 0);
  if (!f) return plan_no_memory(c);
  f->child = *out;
  TRY(expr_compile_filter(c, k->s->having, &f->condition));
  *out = &f->node;
  return HDB_OK;
}

/* Result columns, then the sort keys that are none. */
static status plan_projection(core *k, const plan_node *child, bool with_keys, sort_key **keys, plan_node **out) {
  compile *c = k->c;
  select *s = k->s;
  int n = s->columns->n;
  expr_list *list = NULL;
  for (int i = 0; i < n; i++) list = ast_list_add(c->memory, list, s->columns->items[i].e);
  if (!list) return plan_no_memory(c);
  if (with_keys) {
    *keys = plan_alloc(c, (size_t)(k->order_by->n + 1) * sizeof **keys);
    if (!*keys) return plan_no_memory(c);
    for (int i = 0; i < k->order_by->n; i++) {
      const struct expr_item *item = &k->order_by->items[i];
      int column = item->ordinal > 0 && item->ordinal <= n ? item->ordinal - 1 : -1;
      for (int r = 0; column < 0 && r < n; r++)
        if (plan_deterministic(item->e) && ast_equal(item->e, s->columns->items[r].e)) column = r;
      if (column < 0) {
        column = list->n;
        if (!(list = ast_list_add(c->memory, list, item->e))) return plan_no_memory(c);
      }
      (*keys)[i] = (sort_key){column, k->order.specs[i]};
    }
  }
  project_node *p = plan_node_new(c, &project_class, sizeof *p, list->n);
  if (!p) return plan_no_memory(c);
  p->child = child;
  TRY(expr_compile_list(c, list, &p->program, &p->first));
  *out = &p->node;
  return HDB_OK;
}

static status column_specs(compile *c, const select *s, key_spec **out) {
  *out = plan_alloc(c, (size_t)(s->columns->n + 1) * sizeof **out);
  if (!*out) return plan_no_memory(c);
  for (int i = 0; i < s->columns->n; i++) TRY(expr_collation(c, s->columns->items[i].e, &(*out)[i].c));
  return HDB_OK;
}

static status plan_distinct(core *k, plan_node **node) {
  compile *c = k->c;
  distinct_node *d = plan_node_new(c, &distinct_class, sizeof *d, (*node)->columns_n);
  if (!d) return plan_no_memory(c);
  d->child = *node;
  d->keys_n = k->s->columns->n;
  TRY(column_specs(c, k->s, &d->specs));
  bool in_order = !k->aggregate && !k->order_by && k->order.n && k->ordered == k->order.n;
  d->in_order = in_order;
  if (!in_order) explain_add(c, "USE TEMP B-TREE FOR DISTINCT");
  *node = &d->node;
  return HDB_OK;
}

status plan_limit(compile *c, select *s, const plan_node *child, plan_node **out) {
  *out = (plan_node *)child;
  if (!s->limit) return HDB_OK;
  limit_node *l = plan_node_new(c, &limit_class, sizeof *l, child->columns_n);
  if (!l) return plan_no_memory(c);
  l->child = child;
  TRY(expr_compile(c, s->limit, &l->limit));
  if (s->offset) TRY(expr_compile(c, s->offset, &l->offset));
  *out = &l->node;
  return HDB_OK;
}

static status plan_order(core *k, sort_key *keys, plan_node **node) {
  compile *c = k->c;
  sort_node *n = plan_node_new(c, &sort_class, sizeof *n, (*node)->columns_n);
  if (!n) return plan_no_memory(c);
  n->child = *node;
  n->keys_n = k->order_by->n;
  n->keys = keys;
  expr *first = k->order_by->items[0].e;
  if ((*node)->k == &project_class && (first->op == EX_COLUMN || first->op == EX_AGG_COLUMN) && !plan_is_rowid(first)) {
    TRY(plan_operand(c, first, &n->first_key));
    if (!n->first_key.program) n->project = (const project_node *)*node;
  }
  if (!k->aggregate && !k->s->has_window && k->order.n == n->keys_n && k->ordered > 0) n->ordered_n = k->ordered;
  int rest = n->keys_n - n->ordered_n;
  if (!n->ordered_n) explain_add(c, "USE TEMP B-TREE FOR ORDER BY");
  else if (rest == 1) explain_add(c, "USE TEMP B-TREE FOR LAST TERM OF ORDER BY");
  else explain_add(c, "USE TEMP B-TREE FOR LAST %d TERMS OF ORDER BY", rest);
  *node = &n->node;
  return HDB_OK;
}

static status plan_core(core *k, plan_node **out) {
  compile *c = k->c;
  select *s = k->s;
  if (k->order_by) { /* keep their collations: rewriting may hide them */
    TRY(order_specs(k, k->order_by, true));
  }
  key_spec *sort_specs = k->order.specs;
  if (s->is_aggregate || (s->group_by && s->group_by->n)) TRY(aggregate_begin(c, s, k->order_by, &k->aggregate));
  if (k->aggregate && aggregate_is_count(k->aggregate) && plain_table(s)) s->from->items[0].indexed_by = NULL;
  memset(&k->order, 0, sizeof k->order);
  TRY(wanted_order(k));
  from_request r = {.from = s->from, .where = s->where, .order = k->order.n ? &k->order : NULL,
                    .limit = k->aggregate ? -1 : literal_limit(s), .want_distinct = s->distinct};
  TRY(plan_from(c, s, &r, &k->join, &k->ordered, &k->rows));
  const plan_node *node = &k->join->node;
  bool sorted = !k->order_by;
  if (k->aggregate) TRY(plan_aggregation(k, node, &node));
  if (k->aggregate && k->order_by) {
    bool grouped = aggregate_keys(k->aggregate) != NULL;
    sorted = !grouped || k->group_gives_order;
  } else if (k->order_by && k->order.n && k->ordered == k->order.n) {
    sorted = true;
  }
  if (!sorted && !k->aggregate) TRY(plan_vector(c, s, k->order_by, k->join, &sorted));
  k->order.specs = sort_specs;
  if (s->has_window) TRY(plan_windows(c, s, k->order_by, node, &node));
  sort_key *keys = NULL;
  plan_node *row = NULL;
  TRY(plan_projection(k, node, !sorted, &keys, &row));
  if (s->distinct) TRY(plan_distinct(k, &row));
  if (!sorted) TRY(plan_order(k, keys, &row));
  sort_node *sort = sorted ? NULL : (sort_node *)row;
  TRY(plan_limit(c, s, row, out));
  if (sort && s->limit) sort->limit = (const limit_node *)*out;
  return HDB_OK;
}

static status plan_values(compile *c, select *s, plan_node **out) {
  values_node *v = plan_node_new(c, &values_class, sizeof *v, s->columns->n);
  if (!v) return plan_no_memory(c);
  v->rows_n = s->values_n;
  v->rows = plan_alloc(c, (size_t)(s->values_n + 1) * sizeof *v->rows);
  if (!v->rows) return plan_no_memory(c);
  for (int i = 0; i < s->values_n; i++) TRY(expr_compile_list(c, s->values[i], &v->rows[i].program, &v->rows[i].first));
  explain_add(c, s->values_n == 1 ? "SCAN CONSTANT ROW" : "SCAN %d CONSTANT ROWS", s->values_n);
  *out = &v->node;
  return HDB_OK;
}

status query_describe(compile *c, select *s, query *q) {
  int n = s->columns->n;
  q->tree = s;
  q->columns_n = n;
  q->affinities = plan_alloc(c, (size_t)(n + 1) * sizeof *q->affinities);
  q->collations = plan_alloc(c, (size_t)(n + 1) * sizeof *q->collations);
  if (!q->affinities || !q->collations) return plan_no_memory(c);
  for (int i = 0; i < n; i++) {
    q->affinities[i] = expr_affinity(s->columns->items[i].e);
    if (expr_collation(c, s->columns->items[i].e, &q->collations[i]) == HDB_OK) continue;
    q->collations[i] = NULL; /* an unknown one: an error only where rows are compared by it */
    error_clear(c->err);
  }
  return HDB_OK;
}

/* One arm: s without what is before it; order_by NULL when the compound sorts. */
status plan_arm(compile *c, select *s, expr_list *order_by, query **out) {
  query *q = plan_alloc(c, sizeof *q);
  if (!q) return plan_no_memory(c);
  TRY(query_describe(c, s, q));
  plan_node *top = NULL;
  if (s->is_values) {
    TRY(plan_values(c, s, &top));
    q->rows = log_of((uint64_t)s->values_n);
  } else {
    core k = {.c = c, .s = s, .order_by = order_by && order_by->n ? order_by : NULL};
    TRY(plan_core(&k, &top));
    q->rows = !k.aggregate ? k.rows : aggregate_keys(k.aggregate) ? 66 : 0;
    int64_t limit = literal_limit(s);
    if (limit >= 0 && log_of((uint64_t)limit) < q->rows) q->rows = log_of((uint64_t)limit);
  }
  q->top = top;
  *out = q;
  return HDB_OK;
}

status plan_select(compile *c, select *s, query **out) {
  if (s->prior) return plan_compound(c, s, out);
  return plan_arm(c, s, s->order_by, out);
}

status plan_query(compile *c, select *s, scope *outer, query **out) {
  if (!s->resolved) TRY(resolve_select(c, s, outer));
  explain_list *former = c->explain, *list = former;
  if (!former) {
    list = plan_alloc(c, sizeof *list);
    if (!list) return plan_no_memory(c);
    c->explain = list;
    status flat = plan_flatten(c, s);
    if (flat != HDB_OK) {
      c->explain = NULL;
      return flat;
    }
  }
  status rc = plan_select(c, s, out);
  c->explain = former;
  TRY(rc);
  (*out)->explain = list;
  return c->memory->failed ? plan_no_memory(c) : HDB_OK;
}

/* ---- labels ---- */
static void column_origin(compile *c, const struct expr_item *item, result_column *r) {
  const table *t = item->origin;
  if (!t) return;
  int column = item->origin_column >= 0 ? item->origin_column : t->rowid_column;
  if (column < 0) {
    if (t->kind != TABLE_VIEW) r->decltype_ = "INTEGER", r->table = t->name, r->origin = "rowid";
    return;
  }
  const char *type = t->columns[column].type;
  r->decltype_ = type && *type ? type : NULL;
  if (t->kind == TABLE_VIEW) return;
  r->table = t->name;
  r->origin = t->columns[column].name;
  int database = t->schema ? t->schema->database : -1;
  if (database >= 0 && database < c->db->databases_n) r->database = c->db->databases[database].name;
}

status query_result_columns(compile *c, const query *q, select *s, result_column **out, int *n) {
  while (s->prior) s = s->prior;
  *n = q->columns_n;
  result_column *columns = plan_alloc(c, (size_t)(*n + 1) * sizeof *columns);
  if (!columns) return plan_no_memory(c);
  for (int i = 0; i < *n; i++) {
    columns[i].name = expr_result_name(c, &s->columns->items[i], i + 1);
    column_origin(c, &s->columns->items[i], &columns[i]);
  }
  *out = columns;
  return HDB_OK;
}
