/* Small helpers of the planner: allocation, operands, rewriting trees, EXPLAIN lines. */
#include <stdarg.h>
#include <stdio.h>

#include "sql/plan_internal.h"
#include "sql/vector_access.h"

void *plan_alloc(compile *c, size_t n) { return arena_zero(c->memory, n ? n : 1); }
status plan_no_memory(compile *c) { return error_set(c->err, HDB_NOMEM, "out of memory"); }

void *plan_node_new(compile *c, const node_class *k, size_t size, int columns_n) {
  plan_node *n = plan_alloc(c, size);
  if (!n) return NULL;
  n->k = k;
  n->state = compile_state(c);
  n->columns_n = columns_n;
  return n;
}

bool plan_is_rowid(const expr *e) {
  if (e->op != EX_COLUMN) return false;
  if (e->column == -1) return true;
  const table *t = e->object;
  return t && t->kind != TABLE_VIEW && t->rowid_column >= 0 && t->rowid_column == e->column;
}

/* A column that the slot decodes itself; everything else is a program. */
status plan_operand(compile *c, expr *e, operand *out) {
  *out = (operand){.slot = -1};
  if (e->op == EX_COLUMN && e->column >= 0) {
    const table *t = e->object;
    if (t && e->column < t->columns_n && t->columns[e->column].generated != 1) {
      *out = (operand){NULL, e->slot, e->column};
      return HDB_OK;
    }
  }
  if (e->op == EX_AGG_COLUMN) {
    *out = (operand){NULL, e->slot, e->column};
    return HDB_OK;
  }
  return expr_compile(c, e, &out->program);
}

static bool deterministic_visit(void *context, expr *e) {
  if (e->op == EX_FUNCTION) {
    const function *f = e->object;
    if (!f || !(f->flags & (FUNC_DETERMINISTIC | FUNC_STATEMENT_CONSTANT))) *(bool *)context = false;
  }
  return *(bool *)context;
}
bool plan_deterministic(const expr *e) {
  bool yes = true;
  ast_walk((expr *)e, true, deterministic_visit, &yes);
  return yes;
}

/* ---- rewriting ---- */
void plan_rewrite_list(expr_list *l, expr_rewriter rewrite, void *context) {
  for (int i = 0; l && i < l->n; i++) plan_rewrite(l->items[i].e, rewrite, context);
}

static void rewrite_from(source_list *from, expr_rewriter rewrite, void *context) {
  for (int i = 0; from && i < from->n; i++) {
    source *s = &from->items[i];
    if (s->select) plan_rewrite_select(s->select, rewrite, context);
    if (s->nested) rewrite_from(s->nested, rewrite, context);
    plan_rewrite_list(s->arguments, rewrite, context);
    if (s->on) plan_rewrite(s->on, rewrite, context);
  }
}

static void rewrite_window(window *w, expr_rewriter rewrite, void *context) {
  plan_rewrite_list(w->partition_by, rewrite, context);
  plan_rewrite_list(w->order_by, rewrite, context);
  if (w->start_value) plan_rewrite(w->start_value, rewrite, context);
  if (w->end_value) plan_rewrite(w->end_value, rewrite, context);
}

void plan_rewrite_select(select *s, expr_rewriter rewrite, void *context) {
  for (; s; s = s->prior) {
    if (s->is_values)
      for (int i = 0; i < s->values_n; i++) plan_rewrite_list(s->values[i], rewrite, context);
    else
      plan_rewrite_list(s->columns, rewrite, context);
    rewrite_from(s->from, rewrite, context);
    if (s->where) plan_rewrite(s->where, rewrite, context);
    plan_rewrite_list(s->group_by, rewrite, context);
    if (s->having) plan_rewrite(s->having, rewrite, context);
    for (window *w = s->windows; w; w = w->next) rewrite_window(w, rewrite, context);
    plan_rewrite_list(s->order_by, rewrite, context);
    if (s->limit) plan_rewrite(s->limit, rewrite, context);
    if (s->offset) plan_rewrite(s->offset, rewrite, context);
  }
}

void plan_rewrite(expr *e, expr_rewriter rewrite, void *context) {
  while (e) {
    if (rewrite(context, e)) return;
    plan_rewrite_list(e->list, rewrite, context);
    if (e->filter) plan_rewrite(e->filter, rewrite, context);
    plan_rewrite_list(e->order_by, rewrite, context);
    if (e->over) rewrite_window(e->over, rewrite, context);
    if (e->select) plan_rewrite_select(e->select, rewrite, context);
    if (e->right) plan_rewrite(e->right, rewrite, context);
    e = e->left;
  }
}

/* ---- EXPLAIN QUERY PLAN ---- */
static int explain_line(compile *c, const char *format, va_list arguments) {
  explain_list *l = c->explain;
  if (!l) return 0;
  if (l->n == l->capacity) {
    int capacity = l->capacity ? l->capacity * 2 : 8;
    struct explain_entry *grown = plan_alloc(c, (size_t)capacity * sizeof *grown);
    if (!grown) return 0;
    if (l->n) memcpy(grown, l->entries, (size_t)l->n * sizeof *grown);
    l->entries = grown;
    l->capacity = capacity;
  }
  char text[512];
  int n = vsnprintf(text, sizeof text, format, arguments);
  if (n >= (int)sizeof text) n = (int)sizeof text - 1;
  l->next_id += 2;
  l->entries[l->n++] = (struct explain_entry){l->next_id, l->parent, arena_strndup(c->memory, text, (size_t)(n < 0 ? 0 : n)), NULL};
  return l->next_id;
}

int explain_add(compile *c, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int id = explain_line(c, format, arguments);
  va_end(arguments);
  return id;
}

int explain_push(compile *c, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int id = explain_line(c, format, arguments);
  va_end(arguments);
  if (!c->explain) return 0;
  int former = c->explain->parent;
  c->explain->parent = id;
  return former;
}

void explain_pop(compile *c, int former) {
  if (c->explain) c->explain->parent = former;
}

status query_explain(const query *q, exec *x, explain_visitor visit, void *context) {
  const explain_list *l = q->explain;
  for (int i = 0; l && i < l->n; i++) {
    const struct explain_entry *e = &l->entries[i];
    const char *detail = e->detail;
    if (e->vector) TRY(vector_explain(x, e->vector, &detail));
    TRY(visit(context, e->id, e->parent, detail ? detail : ""));
  }
  return HDB_OK;
}
