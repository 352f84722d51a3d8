/* Table-valued functions and virtual tables in a join: the module is asked what it makes of the terms that stand.
 *
 * A module without `best` takes values of its hidden columns. One with it is asked three times: with every term, with
 * those whose values are constants, and with none; each answer is a loop that needs the sources its terms read.
 */
#include <math.h>

#include "sql/plan_where.h"
#include "sql/virtual.h"

static int hidden_place(const table *t, int column) {
  int place = 0;
  for (int c = 0; c < column; c++) place += t->columns[c].hidden;
  return place;
}

static bool term_counts(const where_plan *w, const where_item *item, int at, const search_term *t) {
  if (t->slot != item->slot || (t->right & item->self)) return false;
  const where_condition *k = &w->conditions[t->condition];
  bool outer = item->left || item->right || item->before_right;
  return outer ? k->join == at : !k->outer_on || k->join == at;
}

/* ---- modules without `best` ---- */
static status hidden_loops(where_plan *w, int at, source_mask needs) {
  const where_item *item = &w->items[at];
  search_term *terms[LOOP_TERMS];
  where_loop l = {.item = at, .self = item->self, .needs = needs, .flags = LOOP_VIRTUAL, .terms = terms};
  int used = item->s->arguments ? item->s->arguments->n : 0;
  for (int i = 0; i < w->terms_n && l.terms_n < LOOP_TERMS; i++) {
    search_term *t = w->terms[i];
    if (!(t->op & (SEARCH_EQ | SEARCH_IS)) || t->column < 0 || !term_counts(w, item, at, t)) continue;
    if (!item->table->columns[t->column].hidden || hidden_place(item->table, t->column) < used) continue;
    terms[l.terms_n++] = t;
    l.needs |= t->right;
  }
  l.out = item->rows;
  l.run = (log_estimate)(item->rows + 16);
  TRY(where_insert_loop(w, &l));
  if (!l.terms_n) return HDB_OK;
  l.terms_n = 0;
  l.needs = needs;
  l.out = l.run = 200;
  return where_insert_loop(w, &l);
}

/* ---- modules with `best` ---- */
static int virtual_op_of(unsigned op) {
  switch (op) {
  case SEARCH_EQ: return VIRTUAL_EQ;
  case SEARCH_IS: return VIRTUAL_IS;
  case SEARCH_LT: return VIRTUAL_LT;
  case SEARCH_LE: return VIRTUAL_LE;
  case SEARCH_GT: return VIRTUAL_GT;
  case SEARCH_GE: return VIRTUAL_GE;
  case SEARCH_MATCH: return VIRTUAL_MATCH;
  default: return 0;
  }
}

/* ORDER BY, when it is columns of this table alone. */
static void offer_order(where_plan *w, const where_item *item, virtual_plan *p, struct virtual_order *order) {
  const where_order *o = w->order;
  if (!o || w->items_n != 1 || o->n > 16) return;
  for (int i = 0; i < o->n; i++) {
    const expr *e = o->e[i];
    if (e->op != EX_COLUMN || e->slot != item->slot || o->specs[i].nulls) return;
    order[i] = (struct virtual_order){e->column, o->specs[i].descending};
  }
  p->order_n = o->n;
  p->order = order;
}

typedef struct best_question {
  where_plan *w;
  int at;
  source_mask needs;
  search_term *terms[LOOP_TERMS]; /* NULL: an argument of the call */
  virtual_constraint constraints[LOOP_TERMS];
  int n;
} best_question;

static log_estimate log_of_real(double x) { return x <= 1 ? 0 : (log_estimate)(10 * log2(x)); }

/* terms_usable: which sources' values may be used. */
static status ask(best_question *q, source_mask usable, bool any_terms) {
  where_plan *w = q->w;
  const where_item *item = &w->items[q->at];
  virtual_plan *p = plan_alloc(w->c, sizeof *p);
  virtual_constraint *constraints = plan_alloc(w->c, (size_t)(q->n + 1) * sizeof *constraints);
  struct virtual_order order[16];
  if (!p || !constraints) return plan_no_memory(w->c);
  memcpy(constraints, q->constraints, (size_t)q->n * sizeof *constraints);
  for (int i = 0; i < q->n; i++) constraints[i].usable = !q->terms[i] || (any_terms && !(q->terms[i]->right & ~usable));
  *p = (virtual_plan){.t = item->table, .constraints_n = q->n, .constraints = constraints, .columns_used = item->s->columns_used,
                      .cost = 1e6, .rows = 1 << 20};
  offer_order(w, item, p, order);
  status rc = item->module->best(w->c->db, p, w->c->memory);
  if (rc == HDB_CONSTRAINT) return HDB_OK; /* not with these */
  if (rc != HDB_OK) return rc;
  where_loop l = {.item = q->at, .self = item->self, .needs = q->needs, .flags = LOOP_VIRTUAL, .virtual_plan = p, .terms = q->terms};
  for (int i = 0; i < q->n; i++)
    if (constraints[i].argument && q->terms[i]) l.needs |= q->terms[i]->right;
  l.terms_n = q->n;
  l.run = log_of_real(p->cost);
  l.out = log_of_real((double)p->rows);
  l.sortable = p->order_done;
  if (p->one_row) l.flags |= LOOP_ONE_ROW;
  p->order = NULL;
  return where_insert_loop(w, &l);
}

static status best_loops(where_plan *w, int at, source_mask needs) {
  const where_item *item = &w->items[at];
  best_question *q = plan_alloc(w->c, sizeof *q);
  if (!q) return plan_no_memory(w->c);
  q->w = w;
  q->at = at;
  q->needs = needs;
  const expr_list *arguments = item->s->arguments;
  int column = 0;
  for (int i = 0; arguments && i < arguments->n && q->n < LOOP_TERMS; i++) {
    while (column < item->table->columns_n && !item->table->columns[column].hidden) column++;
    q->constraints[q->n++] = (virtual_constraint){.column = column++, .op = VIRTUAL_EQ};
  }
  source_mask all = 0;
  for (int i = 0; i < w->terms_n && q->n < LOOP_TERMS; i++) {
    search_term *t = w->terms[i];
    int op = virtual_op_of(t->op);
    if (!op || t->column < -1 || t->derived || !term_counts(w, item, at, t)) continue;
    q->terms[q->n] = t;
    q->constraints[q->n++] = (virtual_constraint){.column = t->column, .op = op};
    all |= t->right;
  }
  TRY(ask(q, ~(source_mask)0, true));
  if (all & ~needs) {
    if (needs) TRY(ask(q, needs, true));
    TRY(ask(q, 0, true));
  }
  return all & ~needs ? ask(q, 0, false) : HDB_OK;
}

status where_virtual_loops(where_plan *w, int at, source_mask needs) {
  return w->items[at].module->best ? best_loops(w, at, needs) : hidden_loops(w, at, needs);
}

/* ---- the access ---- */
static status build_best(where_plan *w, const where_item *item, const where_loop *l, access *a) {
  const virtual_plan *p = l->virtual_plan;
  const expr_list *given = item->s->arguments;
  int call = 0;
  for (int i = 0; i < p->constraints_n; i++)
    if (p->constraints[i].argument > a->arguments_n) a->arguments_n = p->constraints[i].argument;
  a->arguments = plan_alloc(w->c, (size_t)(a->arguments_n + 1) * sizeof *a->arguments);
  if (!a->arguments) return plan_no_memory(w->c);
  a->plan_number = p->number;
  a->plan_text = p->text;
  for (int i = 0; i < p->constraints_n; i++) {
    const virtual_constraint *k = &p->constraints[i];
    search_term *t = l->terms[i];
    expr *value = t ? t->value : given->items[call++].e;
    if (!k->argument) continue;
    TRY(plan_operand(w->c, value, &a->arguments[k->argument - 1]));
    a->arguments_given |= 1ull << (k->argument - 1);
    if (t && k->omit) w->conditions[t->condition].done = true;
  }
  return HDB_OK;
}

status where_build_virtual(where_plan *w, const where_item *item, const where_loop *l, access *a) {
  const table *t = item->table;
  const expr_list *given = item->s->arguments;
  a->kind = ACCESS_FUNCTION;
  a->module = item->module;
  a->columns_used = item->s->columns_used;
  if (l->virtual_plan) return build_best(w, item, l, a);
  for (int c = 0; c < t->columns_n; c++) a->arguments_n += t->columns[c].hidden;
  a->arguments = plan_alloc(w->c, (size_t)(a->arguments_n + 1) * sizeof *a->arguments);
  if (!a->arguments) return plan_no_memory(w->c);
  for (int i = 0; given && i < given->n; i++) {
    TRY(plan_operand(w->c, given->items[i].e, &a->arguments[i]));
    a->arguments_given |= 1ull << i;
  }
  for (int i = 0; i < l->terms_n; i++) { /* tested again: the module may not look at them */
    int place = hidden_place(t, l->terms[i]->column);
    if (a->arguments_given >> place & 1) continue;
    TRY(plan_operand(w->c, l->terms[i]->value, &a->arguments[place]));
    a->arguments_given |= 1ull << place;
  }
  return HDB_OK;
}
