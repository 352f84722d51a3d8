/* The FROM clause: its sources as items of one join, then conditions, loops, the best path, the node.
 *
 * A parenthesised join becomes part of the list around it when both are inner; else it is an item of its own whose
 * node fills the slots of everything inside.
 */
#include "sql/plan_where.h"

typedef struct extra_on {
  expr *on;
  int at;
} extra_on;

typedef struct from_builder {
  where_plan *w;
  int capacity;
  extra_on *extras;
  int extras_n, extras_capacity;
} from_builder;

static bool has_right_inside(const source_list *l) {
  for (int i = 0; l && i < l->n; i++) {
    if (l->items[i].join & JOIN_RIGHT) return true;
    if (l->items[i].nested && has_right_inside(l->items[i].nested)) return true;
  }
  return false;
}

static int count_sources(const source_list *l) {
  int n = 0;
  for (int i = 0; l && i < l->n; i++) n += l->items[i].nested && !l->items[i].select ? count_sources(l->items[i].nested) : 1;
  return n;
}

static void collect_slots(const source_list *l, int *slots, int *n) {
  for (int i = 0; i < l->n; i++) {
    if (l->items[i].nested && !l->items[i].select) collect_slots(l->items[i].nested, slots, n);
    else slots[(*n)++] = l->items[i].slot;
  }
}

static status plan_nested(where_plan *w, where_item *item, source *s) {
  compile *c = w->c;
  int n = count_sources(s->nested);
  item->slots = plan_alloc(c, (size_t)(n + 1) * sizeof(int));
  if (!item->slots) return plan_no_memory(c);
  collect_slots(s->nested, item->slots, &item->slots_n);
  from_request r = {.from = s->nested, .limit = -1};
  join_node *j;
  int ordered;
  int former = explain_push(c, "MATERIALIZE (join)");
  status rc = plan_from(c, NULL, &r, &j, &ordered, &item->rows);
  explain_pop(c, former);
  TRY(rc);
  item->nested = true;
  item->node = &j->node;
  return HDB_OK;
}

static const char *source_label(const source *s) { return s->alias ? s->alias : s->name ? s->name : "(subquery)"; }

/* A materialised compound's rows take the affinities of its columns. */
static status compound_affinities(compile *c, const source *s, where_item *item) {
  const table *t = s->table;
  if (!s->select->prior || !t) return HDB_OK;
  bool any = false;
  item->affinities = plan_alloc(c, (size_t)(t->columns_n + 1));
  if (!item->affinities) return plan_no_memory(c);
  for (int i = 0; i < t->columns_n; i++) any |= (item->affinities[i] = t->columns[i].affinity) >= AFF_TEXT;
  if (!any) item->affinities = NULL;
  return HDB_OK;
}

static status plan_query_item(where_plan *w, where_item *item, source *s, bool first) {
  compile *c = w->c;
  bool recursive = select_is_recursive(s->select);
  bool shared = s->cte && cte_is_materialized(s->cte) && !s->correlated && !s->select->correlated;
  if (shared && s->cte->extra) { /* another reference has planned it */
    item->shared = s->cte->extra;
    item->query = item->shared->query;
    item->rows = item->query->rows;
    return HDB_OK;
  }
  const char *label = s->name ? s->name : source_label(s);
  int former = explain_push(c, "%s %s", first && !recursive && !shared ? "CO-ROUTINE" : "MATERIALIZE", label);
  status rc = recursive ? plan_recursive(c, s, &item->query) : plan_select(c, s->select, &item->query);
  explain_pop(c, former);
  TRY(rc);
  item->rows = item->query->rows;
  item->node = item->query->top;
  TRY(compound_affinities(c, s, item));
  if (!shared || s->cte->uses < 2) return HDB_OK;
  struct shared_rows *rows = plan_node_new(c, &shared_class, sizeof *rows, item->query->columns_n);
  if (!rows) return plan_no_memory(c);
  rows->source = item->node;
  rows->query = item->query;
  rows->affinities = item->affinities;
  item->shared = s->cte->extra = rows;
  return HDB_OK;
}

/* f(a, b): the arguments are values of the hidden columns. */
static status fill_function(where_plan *w, where_item *item, source *s, const table *t) {
  if (!t->module) return error_set(w->c->err, HDB_ERROR, "%s", t->declaration_error ? t->declaration_error : "no such module");
  item->table = t;
  item->module = t->module;
  item->rows = 45; /* about 25 */
  int hidden = 0;
  for (int i = 0; i < t->columns_n; i++) hidden += t->columns[i].hidden;
  if (s->arguments && s->arguments->n > hidden)
    return error_set(w->c->err, HDB_ERROR, "too many arguments on %s() - max %d", t->name, hidden);
  return HDB_OK;
}

static status fill_item(where_plan *w, where_item *item, source *s, bool first) {
  const table *t = s->table;
  item->s = s;
  item->slot = s->slot;
  item->left = (s->join & JOIN_LEFT) != 0;
  item->right = (s->join & JOIN_RIGHT) != 0;
  item->cross = (s->join & JOIN_CROSS) != 0;
  if (s->nested && !s->select) return plan_nested(w, item, s);
  if (s->select) return plan_query_item(w, item, s, first);
  if (s->is_recursive) {
    item->rows = 0;
    return HDB_OK;
  }
  if (!t) return error_set(w->c->err, HDB_INTERNAL, "a source without a table");
  if (t->kind == TABLE_VIRTUAL) return fill_function(w, item, s, t);
  item->table = t;
  item->rows = 200;
  return HDB_OK;
}

static status add_sources(from_builder *b, source_list *from, uint8_t outer_join) {
  where_plan *w = b->w;
  for (int i = 0; i < from->n; i++) {
    source *s = &from->items[i];
    uint8_t join = i == 0 ? outer_join : s->join;
    if (s->nested && !s->select && !(join & (JOIN_LEFT | JOIN_RIGHT)) && !has_right_inside(s->nested)) {
      TRY(add_sources(b, s->nested, join));
      if (s->on) {
        if (b->extras_n == b->extras_capacity) {
          int capacity = b->extras_capacity ? b->extras_capacity * 2 : 8;
          extra_on *grown = plan_alloc(w->c, (size_t)capacity * sizeof *grown);
          if (!grown) return plan_no_memory(w->c);
          if (b->extras_n) memcpy(grown, b->extras, (size_t)b->extras_n * sizeof *grown);
          b->extras = grown;
          b->extras_capacity = capacity;
        }
        b->extras[b->extras_n++] = (extra_on){s->on, w->items_n - 1};
      }
      continue;
    }
    if (w->items_n == 64) return error_set(w->c->err, HDB_ERROR, "at most 64 tables in a join");
    s->join = join;
    where_item *item = &w->items[w->items_n];
    item->self = (source_mask)1 << w->items_n++;
    TRY(fill_item(w, item, s, w->items_n == 1));
  }
  return HDB_OK;
}

static void mark_before_right(where_plan *w) {
  bool right = false;
  for (int i = w->items_n - 1; i >= 0; i--) {
    w->items[i].before_right = right;
    right |= w->items[i].right;
  }
}

/* A LATERAL query reads what stands left of it, nothing else of this FROM. */
static status lateral_needs(where_plan *w, where_item *item) {
  expr whole = {.op = EX_SUBQUERY, .select = item->s->select};
  item->needs = where_mask(w, &whole);
  if (item->needs >= item->self) return error_set(w->c->err, HDB_ERROR, "invalid reference to FROM-clause entry: LATERAL sees what stands left of it");
  return HDB_OK;
}

status plan_from(compile *c, select *s, const from_request *r, join_node **out, int *ordered, log_estimate *rows) {
  where_plan *w = plan_alloc(c, sizeof *w);
  if (!w) return plan_no_memory(c);
  w->c = c;
  w->select = s;
  w->order = r->order;
  w->limit = r->limit;
  w->want_distinct = r->want_distinct;
  w->is_min_max = r->is_min_max;
  w->no_covering_scan = s && s->for_change;
  int n = r->from ? count_sources(r->from) : 0;
  w->items = plan_alloc(c, (size_t)(n + 1) * sizeof *w->items);
  if (!w->items) return plan_no_memory(c);
  from_builder b = {.w = w};
  if (r->from) TRY(add_sources(&b, r->from, 0));
  mark_before_right(w);
  for (int i = 0; i < w->items_n; i++)
    if (w->items[i].module) w->items[i].needs = where_mask_list(w, w->items[i].s->arguments) & ~w->items[i].self;
    else if (w->items[i].s->lateral) TRY(lateral_needs(w, &w->items[i]));
  expr *where = r->where;
  where_reduce_joins(w, where);
  TRY(where_analyze_begin(w));
  for (int i = 0; i < b.extras_n; i++) TRY(where_analyze_on(w, b.extras[i].on, b.extras[i].at));
  TRY(where_analyze(w, where));
  TRY(where_loops(w));
  TRY(where_solve(w));
  TRY(where_build(w, out));
  *ordered = r->from && has_right_inside(r->from) ? 0 : w->ordered; /* unmatched rows come at the end */
  *rows = w->rows;
  return HDB_OK;
}
