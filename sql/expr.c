/* What a resolved expression is: affinity, collation, constancy, size. Pure questions about the tree; no state.
 *
 * Affinity comes from columns, CAST and subqueries alone, seen through COLLATE; anything computed has none.
 * Collation: an explicit COLLATE anywhere below counts first (left before right), then a column's own.
 */
#include "sql/resolve.h"

expr *expr_skip_collate(expr *e) {
  while (e && e->op == EX_COLLATE) e = e->left;
  return e;
}

uint8_t cast_affinity(const char *type) { return type && *type ? affinity_of_type(type) : AFF_NUMERIC; }

uint8_t expr_affinity(const expr *e) {
  for (;;) {
    if (!e) return AFF_NONE;
    switch (e->op) {
    case EX_COLUMN: {
      const table *t = e->object;
      if (e->column < 0) return AFF_INTEGER;
      if (e->row_image) return AFF_NONE;
      if (t && e->column < t->columns_n) return t->columns[e->column].affinity;
      return e->affinity;
    }
    case EX_AGG_COLUMN:
    case EX_REGISTER: return e->affinity;
    case EX_CAST: return cast_affinity(e->text);
    case EX_COLLATE: e = e->left; continue;
    case EX_ROW: e = e->list && e->list->n ? e->list->items[0].e : NULL; continue;
    case EX_SUBQUERY: e = e->select && e->select->columns->n ? e->select->columns->items[0].e : NULL; continue;
    default: return AFF_NONE;
    }
  }
}

uint8_t compare_affinity(const expr *left, const expr *right) {
  uint8_t a = expr_affinity(left), b = expr_affinity(right);
  if (a != AFF_NONE && b != AFF_NONE) return a >= AFF_NUMERIC || b >= AFF_NUMERIC ? AFF_NUMERIC : AFF_BLOB;
  return a != AFF_NONE ? a : b;
}

/* The name of the collation, NULL: none. */
static const char *collation_name(const expr *e) {
  while (e) {
    switch (e->op) {
    case EX_COLLATE: return e->text;
    case EX_COLUMN: return e->collation ? e->collation : "BINARY"; /* a column always has one */
    case EX_AGG_COLUMN:
    case EX_REGISTER: return e->collation;
    case EX_CAST:
    case EX_PLUS: e = e->left; continue;
    case EX_ROW: e = e->list && e->list->n ? e->list->items[0].e : NULL; continue;
    default: break;
    }
    if (!e->collation_explicit) return NULL;
    const expr *next = NULL;
    if (e->left && e->left->collation_explicit) next = e->left;
    else {
      next = e->right;
      for (int i = 0; e->list && i < e->list->n; i++)
        if (e->list->items[i].e && e->list->items[i].e->collation_explicit) {
          next = e->list->items[i].e;
          break;
        }
    }
    e = next;
  }
  return NULL;
}

static status collation_of(compile *c, const char *name, const collation **out) {
  *out = NULL;
  if (!name) return HDB_OK;
  return find_collation(c->db, name, out, c->err);
}

status expr_collation(compile *c, const expr *e, const collation **out) {
  return collation_of(c, collation_name(e), out);
}

status compare_collation(compile *c, const expr *left, const expr *right, const collation **out) {
  const char *name;
  if (left->collation_explicit) name = collation_name(left);
  else if (right && right->collation_explicit) name = collation_name(right);
  else {
    name = collation_name(left);
    if (!name && right) name = collation_name(right);
  }
  return collation_of(c, name, out);
}

static bool constant_node(void *context, expr *e) {
  bool *constant = context;
  switch (e->op) {
  case EX_FUNCTION: {
    const function *f = e->object;
    *constant = f && f->flags & (FUNC_DETERMINISTIC | FUNC_STATEMENT_CONSTANT);
    break;
  }
  case EX_COLUMN:
  case EX_AGG_COLUMN:
  case EX_REGISTER:
  case EX_AGGREGATE:
  case EX_WINDOW:
  case EX_SUBQUERY:
  case EX_EXISTS:
  case EX_RAISE:
  case EX_ID:
  case EX_DOT: *constant = false; break;
  case EX_IN: *constant = !e->select && !e->source; break;
  case EX_LIKE:
  case EX_GLOB:
  case EX_REGEXP:
  case EX_MATCH: *constant = !e->object || ((const function *)e->object)->flags & FUNC_DETERMINISTIC; break;
  default: break;
  }
  return *constant;
}

bool expr_is_constant(const expr *e) {
  bool constant = true;
  if (e) ast_walk((expr *)e, false, constant_node, &constant);
  return constant;
}

int expr_vector_size(const expr *e) {
  if (!e) return 1;
  if (e->op == EX_ROW) return e->list ? e->list->n : 1;
  if (e->op == EX_SUBQUERY && e->select && e->select->columns) return e->select->columns->n;
  return 1;
}

const char *expr_result_name(compile *c, const struct expr_item *item, int number) {
  if (item->name) return item->name;
  const expr *e = item->e;
  if (e && e->op == EX_COLUMN && e->text) return e->text;
  if (item->span.n) return arena_strndup(c->memory, (const char *)item->span.p, item->span.n);
  return arena_printf(c->memory, "column%d", number);
}
