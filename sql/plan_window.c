/* Window functions planned: what they read becomes columns of one row, their windows a chain of nodes.
 *
 * Calls with the same PARTITION BY and ORDER BY next to each other share a node. SQLite computes the first window it
 * meets last, so the first one's order is the order of the rows; the chain is built the same way round.
 */
#include <strings.h>

#include "sql/plan_internal.h"

typedef struct window_builder {
  compile *c;
  expr **calls;          /* as first met */
  int calls_n, calls_capacity;
  expr **inputs;         /* distinct leaf columns and window arguments */
  int inputs_n, inputs_capacity;
  int final_slot;
  int *call_column;      /* of each call in the final row */
  int *slots;            /* columns of these become inputs */
  int slots_n;
  int owner;             /* only this select's calls: subqueries have their own */
  bool failed;
} window_builder;

static int add_expr(window_builder *b, expr ***list, int *n, int *capacity, expr *e) {
  for (int i = 0; i < *n; i++)
    if (ast_equal((*list)[i], e) && plan_deterministic(e)) return i;
  if (*n == *capacity) {
    int larger = *capacity ? *capacity * 2 : 8;
    expr **grown = plan_alloc(b->c, (size_t)larger * sizeof *grown);
    if (!grown) {
      b->failed = true;
      return 0;
    }
    if (*n) memcpy(grown, *list, (size_t)*n * sizeof *grown);
    *list = grown;
    *capacity = larger;
  }
  (*list)[*n] = e;
  return (*n)++;
}

static int input(window_builder *b, expr *e) {
  expr *copy = ast_copy_expr(b->c->memory, e);
  if (!copy) b->failed = true;
  return copy ? add_expr(b, &b->inputs, &b->inputs_n, &b->inputs_capacity, copy) : 0;
}

static bool is_input_slot(const window_builder *b, int slot) {
  for (int i = 0; i < b->slots_n; i++)
    if (b->slots[i] == slot) return true;
  return false;
}

/* First pass: the calls. */
static bool find_calls(void *context, expr *e) {
  window_builder *b = context;
  if (e->op != EX_WINDOW || e->slot != b->owner) return false;
  expr *copy = ast_copy_expr(b->c->memory, e);
  if (!copy) b->failed = true;
  else e->extra = add_expr(b, &b->calls, &b->calls_n, &b->calls_capacity, copy);
  return true;
}

static void become_column(window_builder *b, expr *e, int column) {
  const collation *found = NULL;
  uint8_t affinity = expr_affinity(e);
  if (e->op == EX_COLUMN && !e->collation) e->collation = "BINARY";
  if (!e->collation && expr_collation(b->c, e, &found) == HDB_OK && found && found->builtin != 1) e->collation = found->name;
  e->affinity = affinity;
  e->op = EX_AGG_COLUMN;
  e->slot = b->final_slot;
  e->column = column;
  e->left = e->right = NULL;
  e->list = NULL;
  e->filter = NULL;
  e->order_by = NULL;
  e->over = NULL;
}

/* Second pass: columns become inputs, calls results (their columns are set once all are known). */
static bool rewrite_columns(void *context, expr *e) {
  window_builder *b = context;
  if (e->op == EX_WINDOW && e->slot == b->owner) {
    become_column(b, e, b->call_column[e->extra]);
    return true;
  }
  if ((e->op == EX_COLUMN || e->op == EX_AGG_COLUMN) && is_input_slot(b, e->slot)) {
    become_column(b, e, input(b, e));
    return true;
  }
  return false;
}

static bool collect_columns(void *context, expr *e) {
  window_builder *b = context;
  if (e->op == EX_WINDOW && e->slot == b->owner) return true;
  if ((e->op == EX_COLUMN || e->op == EX_AGG_COLUMN) && is_input_slot(b, e->slot)) input(b, e);
  return false;
}

static bool list_equal(const expr_list *a, const expr_list *b) {
  int an = a ? a->n : 0, bn = b ? b->n : 0;
  if (an != bn) return false;
  for (int i = 0; i < an; i++)
    if (a->items[i].descending != b->items[i].descending || a->items[i].nulls != b->items[i].nulls ||
        !ast_equal(a->items[i].e, b->items[i].e))
      return false;
  return true;
}
static bool same_sort(const expr *a, const expr *b) {
  return list_equal(a->over->partition_by, b->over->partition_by) && list_equal(a->over->order_by, b->over->order_by);
}

static uint8_t function_kind(const function *f) {
  static const char *const names[] = {"", "row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile",
                                      "lag", "lead", "first_value", "last_value", "nth_value"};
  if (!(f->flags & FUNC_WINDOW_ONLY)) return WINDOW_AGGREGATE;
  for (uint8_t i = 1; i < sizeof names / sizeof *names; i++)
    if (strcasecmp(names[i], f->name) == 0) return i;
  return WINDOW_AGGREGATE;
}

static status build_keys(window_builder *b, const window *over, window_node *w) {
  compile *c = b->c;
  int p = over->partition_by ? over->partition_by->n : 0, o = over->order_by ? over->order_by->n : 0;
  w->keys = plan_alloc(c, (size_t)(p + o + 1) * sizeof *w->keys);
  if (!w->keys) return plan_no_memory(c);
  w->partition_n = p;
  w->keys_n = p + o;
  for (int i = 0; i < p + o; i++) {
    const struct expr_item *item = i < p ? &over->partition_by->items[i] : &over->order_by->items[i - p];
    sort_key *k = &w->keys[i];
    *k = (sort_key){input(b, item->e), {NULL, i >= p && item->descending, i >= p ? item->nulls : 0}};
    TRY(expr_collation(c, item->e, &k->spec.c));
  }
  return HDB_OK;
}

static bool is_no_constant(void *context, expr *e) {
  if (e->op == EX_FUNCTION || e->op == EX_COLUMN || e->op == EX_AGG_COLUMN || e->select) *(bool *)context = true;
  return !*(bool *)context;
}
/* Anything but a constant without function calls is refused when rows are there: as a NULL. */
static status compile_offset(window_builder *b, expr *e, expr_program **out) {
  bool refused = false;
  ast_walk(e, false, is_no_constant, &refused);
  if (refused && !(e = ast_expr(b->c->memory, EX_NULL, NULL, NULL))) return plan_no_memory(b->c);
  return expr_compile(b->c, e, out);
}

/* The functions that do not look at a frame take none: SQLite does not even compute its bounds. */
static bool without_frame(uint8_t kind) {
  return kind != WINDOW_AGGREGATE && kind != WINDOW_FIRST_VALUE && kind != WINDOW_LAST_VALUE && kind != WINDOW_NTH_VALUE;
}

static status build_frame(window_builder *b, const window *over, bool framed, window_frame *f) {
  *f = (window_frame){FRAME_RANGE, BOUND_UNBOUNDED_PRECEDING, BOUND_CURRENT, EXCLUDE_NONE, NULL, NULL};
  if (!over->has_frame) return HDB_OK;
  f->kind = over->frame;
  f->start = over->start;
  f->end = over->end;
  f->exclude = over->exclude;
  bool offsets = over->start_value || over->end_value;
  if (f->kind == FRAME_RANGE && offsets && (!over->order_by || over->order_by->n != 1))
    return error_set(b->c->err, HDB_ERROR, "RANGE with offset PRECEDING/FOLLOWING requires one ORDER BY expression");
  if (!framed) {
    *f = (window_frame){FRAME_RANGE, BOUND_UNBOUNDED_PRECEDING, BOUND_CURRENT, EXCLUDE_NONE, NULL, NULL};
    return HDB_OK;
  }
  if (over->start_value) TRY(compile_offset(b, over->start_value, &f->start_value));
  if (over->end_value) TRY(compile_offset(b, over->end_value, &f->end_value));
  return HDB_OK;
}

static status build_call(window_builder *b, expr *e, window_call *k) {
  compile *c = b->c;
  k->f = e->object;
  if (!k->f) return error_set(c->err, HDB_ERROR, "no such function: %s", e->text);
  k->kind = function_kind(k->f);
  if (k->kind == WINDOW_AGGREGATE && (!k->f->step || !k->f->value))
    return error_set(c->err, HDB_ERROR, "%s() may not be used as a window function", e->text);
  k->arguments_n = e->list && !e->star ? e->list->n : 0;
  k->arguments = plan_alloc(c, (size_t)(k->arguments_n + 1) * sizeof(int));
  if (!k->arguments) return plan_no_memory(c);
  for (int i = 0; i < k->arguments_n; i++) {
    k->arguments[i] = input(b, e->list->items[i].e);
    if (i == 0) TRY(expr_collation(c, e->list->items[i].e, &k->collation));
  }
  k->filter = e->filter ? input(b, e->filter) : -1;
  return build_frame(b, e->over, !without_frame(k->kind), &k->frame);
}

static bool slots_of(window_builder *b, const source_list *from, int *n, int capacity) {
  for (int i = 0; from && i < from->n; i++) {
    const source *s = &from->items[i];
    if (s->nested && !s->select) {
      if (!slots_of(b, s->nested, n, capacity)) return false;
    } else if (*n < capacity) {
      b->slots[(*n)++] = s->slot;
    }
  }
  return true;
}

/* Nodes from the last group to the first; call k of the list is column inputs_n + (number counted in that order). */
static status build_chain(window_builder *b, const plan_node *child, const plan_node **out) {
  compile *c = b->c;
  int last = b->calls_n, slot = -1, width = 0;
  window_node *nodes[256];
  int nodes_n = 0;
  while (last > 0) {
    int first = last - 1;
    while (first > 0 && same_sort(b->calls[first - 1], b->calls[last - 1])) first--;
    if (nodes_n == 256) return error_set(c->err, HDB_ERROR, "too many windows");
    window_node *w = plan_node_new(c, &window_class, sizeof *w, 0);
    if (!w) return plan_no_memory(c);
    w->calls_n = last - first;
    w->calls = plan_alloc(c, (size_t)w->calls_n * sizeof *w->calls);
    if (!w->calls) return plan_no_memory(c);
    TRY(build_keys(b, b->calls[first]->over, w));
    for (int i = 0; i < w->calls_n; i++) TRY(build_call(b, b->calls[first + i], &w->calls[i]));
    nodes[nodes_n++] = w;
    last = first;
  }
  width = b->inputs_n; /* all inputs are known now */
  int done = 0;
  for (int n = 0; n < nodes_n; n++) {
    window_node *w = nodes[n];
    w->child = child;
    w->in_slot = slot;
    w->in_columns = width;
    w->slot = slot = n == nodes_n - 1 ? b->final_slot : compile_slot(c, 0);
    if (n == 0) {
      w->inputs_n = b->inputs_n;
      w->inputs = plan_alloc(c, (size_t)(b->inputs_n + 1) * sizeof *w->inputs);
      if (!w->inputs) return plan_no_memory(c);
      for (int i = 0; i < b->inputs_n; i++) TRY(plan_operand(c, b->inputs[i], &w->inputs[i]));
    }
    int first = b->calls_n - done - w->calls_n;
    for (int i = 0; i < w->calls_n; i++) b->call_column[first + i] = width + i;
    done += w->calls_n;
    width += w->calls_n;
    ((int *)c->slot_columns.p)[w->slot] = width;
    child = &w->node;
  }
  *out = child;
  return HDB_OK;
}

status plan_windows(compile *c, select *s, expr_list *order_by, const plan_node *child, const plan_node **out) {
  window_builder *b = plan_alloc(c, sizeof *b);
  if (!b) return plan_no_memory(c);
  b->c = c;
  enum { SLOTS = 1024 };
  b->owner = s->window_id;
  b->slots = plan_alloc(c, SLOTS * sizeof(int));
  if (!b->slots) return plan_no_memory(c);
  slots_of(b, s->from, &b->slots_n, SLOTS - 1);
  if (child->k == &aggregate_class) b->slots[b->slots_n++] = ((const aggregate_node *)child)->slot;
  if (child->k == &count_class) b->slots[b->slots_n++] = ((const count_node *)child)->slot;
  if (child->k == &filter_class) {
    const plan_node *below = ((const filter_node *)child)->child;
    if (below->k == &aggregate_class) b->slots[b->slots_n++] = ((const aggregate_node *)below)->slot;
    if (below->k == &count_class) b->slots[b->slots_n++] = ((const count_node *)below)->slot;
  }
  plan_rewrite_list(s->columns, find_calls, b);
  plan_rewrite_list(order_by, find_calls, b);
  b->call_column = plan_alloc(c, (size_t)(b->calls_n + 1) * sizeof(int));
  if (b->failed || !b->call_column) return plan_no_memory(c);
  if (b->calls_n == 0) {
    *out = child;
    return HDB_OK;
  }
  /* every column that is read above the windows is an input before the row's layout is fixed */
  b->final_slot = compile_slot(c, 0);
  plan_rewrite_list(s->columns, collect_columns, b);
  plan_rewrite_list(order_by, collect_columns, b);
  TRY(build_chain(b, child, out));
  int inputs_n = b->inputs_n;
  plan_rewrite_list(s->columns, rewrite_columns, b);
  plan_rewrite_list(order_by, rewrite_columns, b);
  if (b->failed || b->inputs_n != inputs_n) return plan_no_memory(c);
  return HDB_OK;
}
