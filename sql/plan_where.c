/* WHERE and ON clauses taken apart: conjuncts, the sources they read, and what an index could use of them.
 *
 * W1  A condition of an outer join's ON is used and tested at that join only; one of WHERE never helps to search the
 *     NULL-able side of an outer join nor anything left of a RIGHT JOIN.
 * W2  A search term's comparison uses the same affinity and collation as the condition would; where the column's own
 *     affinity would change under it the term is not usable.
 */
#include "sql/plan_where.h"

typedef struct mask_walk {
  where_plan *w;
  source_mask mask;
} mask_walk;

static source_mask slot_mask(const where_plan *w, int slot) {
  for (int i = 0; i < w->items_n; i++) {
    const where_item *item = &w->items[i];
    if (item->slot == slot && slot >= 0) return item->self;
    for (int k = 0; k < item->slots_n; k++)
      if (item->slots[k] == slot) return item->self;
  }
  return 0;
}

static bool mask_visit(void *context, expr *e) {
  mask_walk *m = context;
  if (e->op == EX_COLUMN) m->mask |= slot_mask(m->w, e->slot);
  return true;
}

source_mask where_mask(where_plan *w, const expr *e) {
  mask_walk m = {w, 0};
  if (e) ast_walk((expr *)e, true, mask_visit, &m);
  return m.mask;
}

source_mask where_mask_list(where_plan *w, const expr_list *l) {
  source_mask mask = 0;
  for (int i = 0; l && i < l->n; i++) mask |= where_mask(w, l->items[i].e);
  return mask;
}

static where_condition *add_condition(where_plan *w, expr *e, int join) {
  if (w->conditions_n == w->conditions_capacity) {
    int capacity = w->conditions_capacity ? w->conditions_capacity * 2 : 16;
    where_condition *grown = plan_alloc(w->c, (size_t)capacity * sizeof *grown);
    if (!grown) return NULL;
    if (w->conditions_n) memcpy(grown, w->conditions, (size_t)w->conditions_n * sizeof *grown);
    w->conditions = grown;
    w->conditions_capacity = capacity;
  }
  where_condition *k = &w->conditions[w->conditions_n++];
  *k = (where_condition){.e = e, .join = join, .parent = -1, .truth = 1, .children = 1};
  k->all = where_mask(w, e);
  if (join >= 0) k->outer_on = w->items[join].left || w->items[join].right;
  return k;
}

/* An outer join's ON reads nothing to its right; an inner one's neither, where a RIGHT JOIN follows the first table. */
static bool reads_right(const where_plan *w, const where_condition *k) {
  if (k->join < 0 || !(k->outer_on || w->items[0].before_right)) return false;
  return (k->all >> 1) >= w->items[k->join].self;
}

static status split(where_plan *w, expr *e, int join) {
  if (!e) return HDB_OK;
  while (e->op == EX_AND) { /* the tree leans left: the right sides are shallow */
    TRY(split(w, e->left, join));
    e = e->right;
  }
  const where_condition *k = add_condition(w, e, join);
  if (!k) return plan_no_memory(w->c);
  if (reads_right(w, k)) return error_set(w->c->err, HDB_ERROR, "ON clause references tables to its right");
  return HDB_OK;
}

static const expr *skip_collate(const expr *e) {
  while (e->op == EX_COLLATE || (e->op == EX_FUNCTION && e->extra == -1)) e = e->left;
  return e;
}

static uint8_t column_affinity(const where_item *item, int column) {
  if (column == -1) return AFF_INTEGER;
  if (!item->table || column < 0 || column >= item->table->columns_n) return AFF_NONE;
  return item->table->columns[column].affinity;
}

/* W2 */
static bool affinity_fits(uint8_t comparison, uint8_t column) {
  if (comparison < AFF_TEXT) return true;
  if (comparison == AFF_TEXT) return column == AFF_TEXT;
  return column >= AFF_NUMERIC;
}

static bool has_expression_index(const table *t) {
  for (const index_ *i = t ? t->indexes : NULL; i; i = i->next)
    for (int k = 0; k < i->columns_n; k++)
      if (i->columns[k].column == -2) return true;
  return false;
}

static const where_item *item_of(const where_plan *w, source_mask self) {
  return self ? &w->items[__builtin_ctzll(self)] : NULL;
}

search_term *where_add_term(where_plan *w, int condition, unsigned op, expr *side, expr *value) {
  const expr *e = skip_collate(side);
  source_mask self = where_mask(w, e);
  if (!self || (self & (self - 1))) return NULL;
  const where_item *item = item_of(w, self);
  int column = -2;
  if (item->nested) return NULL;
  if (e->op == EX_COLUMN && e->slot == item->slot) column = plan_is_rowid(e) ? -1 : e->column;
  else if (!has_expression_index(item->table)) return NULL;
  source_mask right = value ? where_mask(w, value) : 0;
  if (right & self) return NULL;
  search_term *t = plan_alloc(w->c, sizeof *t);
  if (!t) return NULL;
  *t = (search_term){.condition = condition, .op = op, .slot = item->slot, .column = column, .e = (expr *)e,
                     .value = value, .self = self, .right = right};
  if (w->terms_n == w->terms_capacity) {
    int capacity = w->terms_capacity ? w->terms_capacity * 2 : 16;
    search_term **grown = plan_alloc(w->c, (size_t)capacity * sizeof *grown);
    if (!grown) return NULL;
    if (w->terms_n) memcpy(grown, w->terms, (size_t)w->terms_n * sizeof *grown);
    w->terms = grown;
    w->terms_capacity = capacity;
  }
  w->terms[w->terms_n++] = t;
  w->conditions[condition].operators |= op;
  return t;
}

static unsigned commuted(unsigned op) {
  switch (op) {
  case SEARCH_LT: return SEARCH_GT;
  case SEARCH_LE: return SEARCH_GE;
  case SEARCH_GT: return SEARCH_LT;
  case SEARCH_GE: return SEARCH_LE;
  default: return op;
  }
}

static uint8_t own_affinity(const where_plan *w, const search_term *t) {
  const where_item *item = item_of(w, t->self);
  return t->column == -2 || !item->table ? expr_affinity(t->e) : column_affinity(item, t->column);
}

static void drop_last(where_plan *w, search_term *t) {
  if (t && w->terms_n && w->terms[w->terms_n - 1] == t) w->terms_n--;
}

/* left op right: each side that is a column may be searched for the other's value. */
static status add_comparison(where_plan *w, int condition, unsigned op, expr *left, expr *right) {
  uint8_t affinity = compare_affinity(left, right);
  const collation *collation;
  TRY(compare_collation(w->c, left, right, &collation));
  for (int side = 0; side < 2; side++) {
    search_term *t = side ? where_add_term(w, condition, commuted(op), right, left) : where_add_term(w, condition, op, left, right);
    if (!t) continue;
    t->affinity = affinity >= AFF_NUMERIC ? AFF_NUMERIC : affinity; /* a comparison makes numbers, not reals */
    t->collation = collation;
    uint8_t own = own_affinity(w, t);
    if (!affinity_fits(affinity, own)) drop_last(w, t);
  }
  return HDB_OK;
}

static status add_in(where_plan *w, int condition, expr *e) {
  const expr *left = skip_collate(e->left);
  if (e->negated || left->op == EX_ROW || left->op == EX_SUBQUERY) return HDB_OK;
  if (!e->list && !e->select) return HDB_OK;
  search_term *t = where_add_term(w, condition, SEARCH_IN, e->left, NULL);
  if (!t) return HDB_OK;
  t->in = e;
  source_mask outside = w->conditions[condition].all & ~t->self;
  if (e->select ? (where_mask(w, e) & t->self) && e->correlated : (where_mask_list(w, e->list) & t->self) != 0) {
    drop_last(w, t);
    return HDB_OK;
  }
  t->right = outside;
  t->affinity = expr_affinity(e->left);
  if (e->select) { /* the set's rows take the affinity of both */
    const expr *column = e->select->columns->items[0].e;
    t->affinity = compare_affinity(e->left, column);
  }
  if (t->affinity >= AFF_NUMERIC) t->affinity = AFF_NUMERIC;
  uint8_t own = own_affinity(w, t);
  if (!affinity_fits(t->affinity, own)) {
    drop_last(w, t);
    return HDB_OK;
  }
  return expr_collation(w->c, e->left, &t->collation);
}

/* a = 1 OR a = 2 OR a = 3: an IN. NULL when it is not of that kind. */
static expr *or_to_in(where_plan *w, expr *e) {
  expr *column = NULL;
  expr_list *list = NULL;
  uint8_t affinity = 0;
  for (expr *at = e;; at = at->left) {
    expr *arm = at->op == EX_OR ? at->right : at;
    if (arm->op != EX_EQ) return NULL;
    expr *left = arm->left, *right = arm->right;
    if (left->op != EX_COLUMN || (column && !ast_equal(left, column))) {
      left = arm->right, right = arm->left;
    }
    if (left->op != EX_COLUMN || (column && !ast_equal(left, column))) return NULL;
    if (where_mask(w, right) & where_mask(w, left)) return NULL;
    if (right->collation_explicit || right->op == EX_COLLATE || right->op == EX_ROW) return NULL;
    uint8_t a = compare_affinity(left, right), own = expr_affinity(right);
    if (own && own != expr_affinity(left)) return NULL; /* IN would compare otherwise */
    if (column && a != affinity) return NULL;
    affinity = a;
    column = left;
    list = ast_list_add(w->c->memory, list, right);
    if (!list) return NULL;
    if (at->op != EX_OR) break;
  }
  for (int i = 0; i < list->n / 2; i++) { /* the tree was walked from its end */
    struct expr_item swap = list->items[i];
    list->items[i] = list->items[list->n - 1 - i];
    list->items[list->n - 1 - i] = swap;
  }
  expr *in = ast_expr(w->c->memory, EX_IN, column, NULL);
  if (in) {
    in->list = list;
    in->affinity = AFF_NONE;
  }
  return in;
}

static status analyze_condition(where_plan *w, int at) {
  expr *e = w->conditions[at].e;
  switch (e->op) {
  case EX_EQ:
  case EX_IS:
  case EX_LT:
  case EX_LE:
  case EX_GT:
  case EX_GE: {
    static const unsigned ops[] = {[EX_EQ] = SEARCH_EQ, [EX_IS] = SEARCH_IS, [EX_LT] = SEARCH_LT,
                                   [EX_LE] = SEARCH_LE, [EX_GT] = SEARCH_GT, [EX_GE] = SEARCH_GE};
    if (e->left->op == EX_ROW && e->right->op == EX_ROW && (e->op == EX_EQ || e->op == EX_IS)) {
      w->conditions[at].children = 1000; /* always tested as well */
      for (int i = 0; i < e->left->list->n && i < e->right->list->n; i++)
        TRY(add_comparison(w, at, ops[e->op], e->left->list->items[i].e, e->right->list->items[i].e));
      return HDB_OK;
    }
    if (expr_vector_size(e->left) != 1 || expr_vector_size(e->right) != 1) return HDB_OK;
    return add_comparison(w, at, ops[e->op], e->left, e->right);
  }
  case EX_BETWEEN:
    if (e->negated || expr_vector_size(e->left) != 1) return HDB_OK;
    w->conditions[at].children = 2;
    TRY(add_comparison(w, at, SEARCH_GE, e->left, e->list->items[0].e));
    return add_comparison(w, at, SEARCH_LE, e->left, e->list->items[1].e);
  case EX_IN: return add_in(w, at, e);
  case EX_ISNULL: {
    search_term *t = where_add_term(w, at, SEARCH_NULL, e->left, NULL);
    if (t) TRY(expr_collation(w->c, e->left, &t->collation));
    return HDB_OK;
  }
  case EX_OR: {
    expr *in = or_to_in(w, e);
    if (!in) return HDB_OK;
    return add_in(w, at, in);
  }
  case EX_LIKE:
  case EX_GLOB: return where_like(w, at);
  case EX_MATCH:
    if (!e->negated) where_add_term(w, at, SEARCH_MATCH, e->left, e->right);
    return HDB_OK;
  default: return HDB_OK;
  }
}

status where_analyze_begin(where_plan *w) {
  for (int i = 0; i < w->items_n; i++) TRY(split(w, w->items[i].s->on, i));
  return HDB_OK;
}

/* The ON of an inner join whose right side was a parenthesised join ending at item `at`. */
status where_analyze_on(where_plan *w, expr *on, int at) {
  int first = w->conditions_n;
  TRY(split(w, on, at));
  for (int i = first; i < w->conditions_n; i++) w->conditions[i].outer_on = false;
  return HDB_OK;
}

status where_analyze(where_plan *w, expr *where) {
  TRY(split(w, where, -1));
  int n = w->conditions_n;
  for (int i = 0; i < n; i++) TRY(analyze_condition(w, i));
  TRY(where_derive(w));
  return w->c->memory->failed ? plan_no_memory(w->c) : HDB_OK;
}

/* ---- indexes on expressions, partial indexes ---- */
typedef struct slot_rewrite {
  int slot;
} slot_rewrite;
static bool rewrite_visit(void *context, expr *e) {
  if (e->op == EX_COLUMN) e->slot = ((slot_rewrite *)context)->slot;
  return true;
}
static expr *for_slot(where_plan *w, const expr *e, int slot) {
  expr *copy = ast_copy_expr(w->c->memory, e);
  slot_rewrite r = {slot};
  if (copy) ast_walk(copy, false, rewrite_visit, &r);
  return copy;
}
expr *where_index_expr(where_plan *w, const where_item *item, const index_column *ic) {
  return for_slot(w, ic->e, item->slot);
}

/* Is x not NULL wherever `given` is true (seen_not: wherever it is not NULL)? SQLite's rules. */
static bool implies_not_null(const expr *given, const expr *x, bool seen_not) {
  for (;;) {
    if (ast_equal(given, x)) return true;
    seen_not = seen_not || given->negated;
    switch (given->op) {
    case EX_IN:
      if (seen_not && given->select) return false;
      seen_not = true;
      break;
    case EX_BETWEEN:
      if (seen_not) return false;
      for (int i = 0; i < 2; i++)
        if (implies_not_null(given->list->items[i].e, x, true)) return true;
      seen_not = true;
      break;
    case EX_EQ: case EX_NE: case EX_LT: case EX_LE: case EX_GT: case EX_GE:
    case EX_ADD: case EX_SUB: case EX_BITOR: case EX_SHL: case EX_SHR: case EX_CONCAT:
      seen_not = true;
      if (implies_not_null(given->right, x, seen_not)) return true;
      break;
    case EX_MUL: case EX_MOD: case EX_BITAND: case EX_DIV:
      if (implies_not_null(given->right, x, seen_not)) return true;
      break;
    case EX_COLLATE: case EX_PLUS: case EX_NEG: break;
    case EX_IS_TRUE: case EX_IS_FALSE:
      if (seen_not) return false;
      break;
    case EX_BITNOT: case EX_NOT: seen_not = true; break;
    default: return false;
    }
    given = given->left;
  }
}

/* Does a condition that holds make e true? */
static bool implies(const expr *given, const expr *e) {
  if (ast_equal(given, e)) return true;
  if (e->op == EX_OR) return implies(given, e->left) || implies(given, e->right);
  if (given->op == EX_AND) return implies(given->left, e) || implies(given->right, e);
  return e->op == EX_NOTNULL && implies_not_null(given, e->left, false);
}

static bool where_holds(where_plan *w, const where_item *item, int at, const expr *e) {
  if (e->op == EX_AND) return where_holds(w, item, at, e->left) && where_holds(w, item, at, e->right);
  bool outer = item->left || item->right || item->before_right;
  for (int i = 0; i < w->conditions_n; i++) {
    const where_condition *k = &w->conditions[i];
    if (outer ? k->join != at : k->outer_on) continue;
    if (implies(k->e, e)) return true;
  }
  return false;
}

bool where_partial_index_holds(where_plan *w, const where_item *item, const index_ *i) {
  expr *e = for_slot(w, i->where, item->slot);
  return e && where_holds(w, item, (int)(item - w->items), e);
}
