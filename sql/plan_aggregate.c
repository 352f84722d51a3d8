/* Aggregation planned: the calls, keys and bare columns of a SELECT collected, its expressions rewritten.
 *
 * Result columns, HAVING and ORDER BY are rewritten in place: an aggregate call, an expression equal to a GROUP BY
 * term, and a column of the FROM clause become EX_AGG_COLUMN of the aggregation's slot, also inside subqueries.
 * The slot holds the keys first, then calls and bare columns in the order they were met.
 */
#include <strings.h>

#include "sql/plan_internal.h"

struct aggregate_builder {
  compile *c;
  select *s;
  aggregate_node *node;
  expr_list *keys;      /* copies of GROUP BY, as they stand before rewriting */
  key_spec *specs;
  int slot, outputs;
  expr **calls;         /* copies, for comparison */
  int calls_n, calls_capacity;
  expr **bare;
  int bare_n, bare_capacity;
  int *slots;           /* of the FROM clause */
  int slots_n, slots_capacity;
  bool has_minmax;
  bool failed;
};

static bool add_slot(aggregate_builder *b, int slot) {
  if (b->slots_n == b->slots_capacity) {
    int capacity = b->slots_capacity ? b->slots_capacity * 2 : 8;
    int *grown = plan_alloc(b->c, (size_t)capacity * sizeof *grown);
    if (!grown) return false;
    if (b->slots_n) memcpy(grown, b->slots, (size_t)b->slots_n * sizeof *grown);
    b->slots = grown;
    b->slots_capacity = capacity;
  }
  b->slots[b->slots_n++] = slot;
  return true;
}
static bool add_slots(aggregate_builder *b, const source_list *from) {
  for (int i = 0; from && i < from->n; i++) {
    const source *s = &from->items[i];
    if (s->nested && !s->select) {
      if (!add_slots(b, s->nested)) return false;
    } else if (!add_slot(b, s->slot)) {
      return false;
    }
  }
  return true;
}
static bool is_ours(const aggregate_builder *b, int slot) {
  for (int i = 0; i < b->slots_n; i++)
    if (b->slots[i] == slot) return true;
  return false;
}

/* The node becomes output `column`; what comparisons need of the old one stays. */
static void become_output(aggregate_builder *b, expr *e, int column) {
  const collation *c = NULL;
  uint8_t affinity = expr_affinity(e);
  if (e->op == EX_COLUMN && !e->collation) e->collation = "BINARY";
  if (!e->collation && expr_collation(b->c, e, &c) == HDB_OK && c && c->builtin != 1) e->collation = c->name;
  e->affinity = affinity;
  e->op = EX_AGG_COLUMN;
  e->slot = b->slot;
  e->column = column;
  e->left = e->right = NULL;
  e->list = NULL;
  e->select = NULL;
  e->filter = NULL;
  e->order_by = NULL;
  e->over = NULL;
}

static int find_or_add(aggregate_builder *b, expr ***list, int *n, int *capacity, expr *e, int **outs) {
  for (int i = 0; i < *n; i++)
    if (ast_equal((*list)[i], e)) return i;
  if (*n == *capacity) {
    int grown_capacity = *capacity ? *capacity * 2 : 8;
    expr **grown = plan_alloc(b->c, (size_t)grown_capacity * sizeof *grown);
    int *grown_outs = plan_alloc(b->c, (size_t)grown_capacity * sizeof *grown_outs);
    if (!grown || !grown_outs) {
      b->failed = true;
      return -1;
    }
    if (*n) memcpy(grown, *list, (size_t)*n * sizeof *grown);
    if (*n) memcpy(grown_outs, *outs, (size_t)*n * sizeof **outs);
    *list = grown;
    *outs = grown_outs;
    *capacity = grown_capacity;
  }
  (*list)[*n] = ast_copy_expr(b->c->memory, e);
  if (!(*list)[*n]) b->failed = true;
  (*outs)[*n] = b->outputs++;
  return (*n)++;
}

typedef struct rewrite_state {
  aggregate_builder *b;
  int **call_outs, **bare_outs;
} rewrite_state;

static bool is_minmax(const expr *e) {
  const function *f = e->object;
  return f && (f->flags & FUNC_MINMAX) && e->list && e->list->n == 1;
}

static bool find_minmax(void *context, expr *e) {
  aggregate_builder *b = context;
  if (e->op == EX_AGGREGATE && e->slot == b->s->agg_slot && is_minmax(e)) b->has_minmax = true;
  return false;
}

static bool rewrite_node(void *context, expr *e) {
  rewrite_state *r = context;
  aggregate_builder *b = r->b;
  if (b->failed) return true;
  if (e->op == EX_AGGREGATE && e->slot == b->s->agg_slot) {
    int i = find_or_add(b, &b->calls, &b->calls_n, &b->calls_capacity, e, r->call_outs);
    if (i >= 0) become_output(b, e, (*r->call_outs)[i]);
    return true;
  }
  for (int i = 0; b->keys && i < b->keys->n; i++)
    if (b->has_minmax && b->keys->items[i].e->op == EX_COLUMN) continue; /* its spelling ('a', 'A') is the deciding row's */
    else if (b->keys->items[i].e->op != EX_COLUMN ? ast_equal(b->keys->items[i].e, e)
                                             : e->op == EX_COLUMN && e->slot == b->keys->items[i].e->slot &&
                                                 e->column == b->keys->items[i].e->column) {
      become_output(b, e, i);
      return true;
    }
  if (e->op == EX_COLUMN && is_ours(b, e->slot)) {
    int i = find_or_add(b, &b->bare, &b->bare_n, &b->bare_capacity, e, r->bare_outs);
    if (i >= 0) become_output(b, e, (*r->bare_outs)[i]);
    return true;
  }
  return false;
}

const expr_list *aggregate_keys(const aggregate_builder *b) { return b->keys; }
const key_spec *aggregate_specs(const aggregate_builder *b) { return b->specs; }

static status copy_keys(aggregate_builder *b) {
  const expr_list *g = b->s->group_by;
  if (!g || !g->n) return HDB_OK;
  b->keys = ast_copy_list(b->c->memory, g);
  b->specs = plan_alloc(b->c, (size_t)g->n * sizeof *b->specs);
  if (!b->keys || !b->specs) return plan_no_memory(b->c);
  for (int i = 0; i < g->n; i++) {
    TRY(expr_collation(b->c, b->keys->items[i].e, &b->specs[i].c));
  }
  return HDB_OK;
}

status aggregate_begin(compile *c, select *s, expr_list *order_by, aggregate_builder **out) {
  aggregate_builder *b = plan_alloc(c, sizeof *b);
  if (!b) return plan_no_memory(c);
  b->c = c;
  b->s = s;
  TRY(copy_keys(b));
  if (!add_slots(b, s->from)) return plan_no_memory(c);
  b->slot = compile_slot(c, 0);
  if (b->slot < 0) return plan_no_memory(c);
  b->outputs = b->keys ? b->keys->n : 0;
  int *call_outs = NULL, *bare_outs = NULL;
  rewrite_state r = {b, &call_outs, &bare_outs};
  plan_rewrite_list(s->columns, find_minmax, b);
  if (s->having) plan_rewrite(s->having, find_minmax, b);
  plan_rewrite_list(order_by, find_minmax, b);
  plan_rewrite_list(s->columns, rewrite_node, &r);
  if (s->having) plan_rewrite(s->having, rewrite_node, &r);
  plan_rewrite_list(order_by, rewrite_node, &r);
  b->node = plan_node_new(c, &aggregate_class, sizeof *b->node, 0);
  if (b->failed || !b->node || c->memory->failed) return plan_no_memory(c);
  b->node->bare_out = bare_outs;
  b->node->calls = plan_alloc(c, (size_t)(b->calls_n + 1) * sizeof *b->node->calls);
  if (!b->node->calls) return plan_no_memory(c);
  for (int i = 0; i < b->calls_n; i++) b->node->calls[i].out = call_outs[i];
  *out = b;
  return HDB_OK;
}

bool aggregate_is_count(const aggregate_builder *b) {
  return b->calls_n == 1 && !b->keys && !b->bare_n && !b->calls[0]->filter && strcasecmp(b->calls[0]->text, "count") == 0 &&
         (b->calls[0]->star || !b->calls[0]->list || b->calls[0]->list->n == 0);
}

expr *aggregate_minmax(const aggregate_builder *b, bool *is_max) {
  if (b->calls_n != 1 || b->keys || !is_minmax(b->calls[0]) || b->calls[0]->filter) return NULL;
  *is_max = (b->calls[0]->text[1] | 32) == 'a';
  return b->calls[0]->list->items[0].e;
}

expr *aggregate_distinct(const aggregate_builder *b) {
  if (b->calls_n != 1 || b->keys || b->bare_n || !b->calls[0]->distinct || !b->calls[0]->list || b->calls[0]->list->n != 1) return NULL;
  return is_minmax(b->calls[0]) ? NULL : b->calls[0]->list->items[0].e;
}

static uint8_t fast_kind(const aggregate_call *c) {
  if ((c->f->flags & FUNC_USER) || c->arguments_n > 1) return FAST_NONE;
  if (strcasecmp(c->f->name, "count") == 0) return FAST_COUNT;
  if (c->arguments_n != 1) return FAST_NONE;
  static const struct { const char *name; uint8_t kind; } names[] = {
      {"sum", FAST_SUM}, {"total", FAST_SUM}, {"avg", FAST_SUM}, {"min", FAST_MIN}, {"max", FAST_MAX}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcasecmp(c->f->name, names[i].name) == 0) return names[i].kind;
  return FAST_NONE;
}

static status argument_specs(compile *c, const expr_list *l, key_spec **out) {
  *out = plan_alloc(c, (size_t)(l->n + 1) * sizeof **out);
  if (!*out) return plan_no_memory(c);
  for (int i = 0; i < l->n; i++) TRY(expr_collation(c, l->items[i].e, &(*out)[i].c));
  return HDB_OK;
}

static status build_call(aggregate_builder *b, const expr *e, aggregate_call *call) {
  compile *c = b->c;
  call->f = e->object;
  call->name = e->text;
  if (!call->f || !call->f->step) return error_set(c->err, HDB_ERROR, "no such function: %s", e->text);
  call->arguments_n = e->list && !e->star ? e->list->n : 0;
  call->arguments = plan_alloc(c, (size_t)(call->arguments_n + 1) * sizeof(operand));
  if (!call->arguments) return plan_no_memory(c);
  for (int i = 0; i < call->arguments_n; i++) {
    const collation *found = NULL;
    TRY(expr_collation(c, e->list->items[i].e, &found));
    if (!call->collation || call->collation->builtin == 1) call->collation = found;
    TRY(plan_operand(c, e->list->items[i].e, &call->arguments[i]));
  }
  if (e->filter) TRY(expr_compile_filter(c, e->filter, &call->filter));
  call->distinct = e->distinct && call->arguments_n > 0 && !(call->f->flags & FUNC_MINMAX);
  if (call->distinct) TRY(argument_specs(c, e->list, &call->distinct_specs));
  if (e->order_by && e->order_by->n) {
    int n = e->order_by->n;
    call->order = plan_alloc(c, (size_t)n * sizeof *call->order);
    call->order_keys = plan_alloc(c, (size_t)n * sizeof *call->order_keys);
    if (!call->order || !call->order_keys) return plan_no_memory(c);
    for (int i = 0; i < n; i++) {
      const struct expr_item *item = &e->order_by->items[i];
      call->order_keys[i] = (sort_key){call->arguments_n + i, {NULL, item->descending, item->nulls}};
      TRY(expr_collation(c, item->e, &call->order_keys[i].spec.c));
      TRY(plan_operand(c, item->e, &call->order[i]));
    }
    call->order_n = n;
  }
  call->minmax = is_minmax(e);
  call->fast = fast_kind(call);
  call->count_star = call->arguments_n == 0 && !e->filter && strcasecmp(e->text, "count") == 0;
  return HDB_OK;
}

static void set_slot_columns(compile *c, int slot, int n) { ((int *)c->slot_columns.p)[slot] = n; }

status aggregate_finish(aggregate_builder *b, const plan_node *child, bool in_order, plan_node **out) {
  compile *c = b->c;
  aggregate_node *a = b->node;
  a->child = child;
  a->slot = b->slot;
  a->keys_n = b->keys ? b->keys->n : 0;
  a->grouped = a->keys_n > 0;
  a->specs = b->specs;
  a->in_order = in_order;
  a->bare_n = b->bare_n;
  a->calls_n = b->calls_n;
  a->keys = plan_alloc(c, (size_t)(a->keys_n + 1) * sizeof(operand));
  a->bare = plan_alloc(c, (size_t)(a->bare_n + 1) * sizeof(operand));
  if (!a->keys || !a->bare) return plan_no_memory(c);
  for (int i = 0; i < a->keys_n; i++) TRY(plan_operand(c, b->keys->items[i].e, &a->keys[i]));
  for (int i = 0; i < a->bare_n; i++) TRY(plan_operand(c, b->bare[i], &a->bare[i]));
  size_t payload = (size_t)a->bare_n * sizeof(value);
  a->minmax = -1;
  bool plain_minmax = false;
  for (int i = 0; i < a->calls_n; i++) {
    aggregate_call *call = &a->calls[i];
    TRY(build_call(b, b->calls[i], call));
    call->state_at = payload;
    payload += (aggregate_call_head() + call->f->state_size + 7) & ~(size_t)7;
    if (call->minmax) a->minmax = i;
    if (call->minmax && !call->filter) plain_minmax = true;
  }
  a->payload = payload;
  a->plain = a->bare_n == 0;
  for (int i = 0; i < a->calls_n; i++)
    if (a->calls[i].filter || a->calls[i].distinct || a->calls[i].order_n) a->plain = false;
  if (in_order && !a->keys_n && a->calls_n == 1) a->calls[0].distinct_in_order = true;
  a->neighbours = a->calls_n == 1 && a->calls[0].distinct_in_order && a->calls[0].arguments_n == 1 && !a->bare_n &&
                  !a->calls[0].filter && !a->calls[0].order_n;
  a->filter_resets = a->grouped || !plain_minmax;
  set_slot_columns(c, b->slot, b->outputs);
  *out = &a->node;
  return HDB_OK;
}
