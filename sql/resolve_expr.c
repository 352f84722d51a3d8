/* Names inside one expression: columns, calls, subqueries, row values; what a place prohibits. In place, bottom up. */
#include "sql/resolve.h"

status prohibited(compile *c, const scope *s, const char *what, int32_t offset) {
  return resolve_error(c, offset, "%s prohibited in %s", what, s->place ? s->place : "this context");
}

status name_list_exprs(compile *c, scope *s, expr_list *list) {
  for (int i = 0; list && i < list->n; i++) TRY(name_expr(c, s, &list->items[i].e));
  return HDB_OK;
}

status name_whole(compile *c, scope *s, expr **e) {
  TRY(name_expr(c, s, e));
  if (!c->soft_error) return HDB_OK;
  c->soft_error = false;
  return c->err && c->err->code ? c->err->code : HDB_ERROR;
}

status name_whole_list(compile *c, scope *s, expr_list *list) {
  for (int i = 0; list && i < list->n; i++) TRY(name_whole(c, s, &list->items[i].e));
  return HDB_OK;
}

static void carry_collation(expr *e) {
  if (e->op == EX_COLLATE) e->collation_explicit = true;
  if (e->left && e->left->collation_explicit) e->collation_explicit = true;
  if (e->right && e->right->collation_explicit) e->collation_explicit = true;
  for (int i = 0; e->list && i < e->list->n && !e->collation_explicit; i++)
    e->collation_explicit = e->list->items[i].e && e->list->items[i].e->collation_explicit;
}

static status name_children(compile *c, scope *s, expr *e) {
  if (e->left) TRY(name_expr(c, s, &e->left));
  if (e->right) TRY(name_expr(c, s, &e->right));
  return name_list_exprs(c, s, e->list);
}

status name_subquery(compile *c, scope *s, expr *e) {
  if (!(s->allow & ALLOW_SUBQUERY)) return prohibited(c, s, "subqueries", e->offset);
  int references = 0;
  TRY(name_select(c, e->select, s, &references));
  e->correlated = references > 0;
  if (e->op == EX_EXISTS) { /* how many and in which order is not asked */
    e->select->order_by = NULL;
    e->select->distinct = false;
  }
  if (references - 1 > s->references_outer) s->references_outer = references - 1;
  return HDB_OK;
}

/* x IS TRUE, when TRUE is the word and not a column. */
static status name_is(compile *c, scope *s, expr *e) {
  expr *right = expr_skip_collate(e->right);
  bool word = right->op == EX_ID && !right->quoted && !right->quoted_name &&
              (same_word(right->text, "true") || same_word(right->text, "false"));
  if (right->op == EX_ID) TRY(name_expr(c, s, &e->right)); /* first, as SQLite */
  TRY(name_children(c, s, e));
  right = expr_skip_collate(e->right);
  if (word && right->op == EX_INT) {
    bool is = e->op == EX_IS;
    e->op = right->i ? (is ? EX_IS_TRUE : EX_IS_NOT_TRUE) : (is ? EX_IS_FALSE : EX_IS_NOT_FALSE);
    e->right = NULL;
  }
  return HDB_OK;
}

static status check_sizes(compile *c, const expr *e) {
  int left = expr_vector_size(e->left);
  bool same = true;
  if (e->op == EX_BETWEEN)
    same = expr_vector_size(e->list->items[0].e) == left && expr_vector_size(e->list->items[1].e) == left;
  else if (e->right) same = expr_vector_size(e->right) == left;
  return same ? HDB_OK : resolve_error(c, e->offset, "row value misused");
}

/* x IN (one constant) is x = +constant: its COLLATE counts then. */
static status name_in(compile *c, scope *s, expr *e) {
  if (e->select) { /* before the left side, as SQLite looks at them */
    TRY(name_subquery(c, s, e));
    return name_expr(c, s, &e->left);
  }
  TRY(name_expr(c, s, &e->left));
  TRY(name_list_exprs(c, s, e->list));
  int size = expr_vector_size(e->left);
  for (int i = 0; i < e->list->n; i++) {
    int found = expr_vector_size(e->list->items[i].e);
    if (found == size) continue;
    if (size == 1) return resolve_error(c, e->offset, "row value misused");
    return resolve_error(c, e->offset, "IN(...) element has %d term%s - expected %d", found, found == 1 ? "" : "s", size);
  }
  if (e->list->n != 1 || size != 1 || !expr_is_constant(e->list->items[0].e)) return HDB_OK;
  expr *plus = ast_expr(c->memory, EX_PLUS, e->list->items[0].e, NULL);
  if (!plus) return resolve_no_memory(c);
  carry_collation(plus);
  e->op = e->negated ? EX_NE : EX_EQ;
  e->negated = false;
  e->right = plus;
  e->list = NULL;
  return HDB_OK;
}

/* a LIKE b is like(b, a): a function of that name that the user made is called. */
static status name_like(compile *c, scope *s, expr **pe) {
  expr *e = *pe;
  static const char *const names[] = {"like", "glob", "regexp", "match"};
  const char *name = names[e->op - EX_LIKE];
  bool exists, ignore = false;
  int n = e->list && e->list->n ? 3 : 2;
  const function *f = function_find(c->db, name, n, &exists);
  const char *written = e->text ? e->text : name;
  if (!f && e->op != EX_MATCH)
    TRY(soft(c, exists ? resolve_error(c, e->offset, "wrong number of arguments to function %s()", written)
                       : resolve_error(c, e->offset, "no such function: %s", written)));
  else TRY(authorize_function(c, e, f ? f->name : name, &ignore));
  if (ignore) return HDB_OK;
  status rc = name_expr(c, s, &e->right);
  if (rc == HDB_OK) rc = name_expr(c, s, &e->left);
  if (rc == HDB_OK) rc = name_list_exprs(c, s, e->list);
  if (rc != HDB_OK) return soft(c, rc);
  e->object = f;
  if (!f || (!(f->flags & FUNC_USER) && e->op != EX_REGEXP)) return HDB_OK;
  expr_list *arguments = ast_list_add(c->memory, ast_list_add(c->memory, NULL, e->right), e->left);
  if (arguments && n == 3) arguments = ast_list_add(c->memory, arguments, e->list->items[0].e);
  if (!arguments) return resolve_no_memory(c);
  e->op = EX_FUNCTION;
  e->text = f->name;
  e->text_n = (uint32_t)strlen(f->name);
  e->list = arguments;
  e->left = e->right = NULL;
  if (!e->negated) return HDB_OK;
  e->negated = false;
  *pe = ast_expr(c->memory, EX_NOT, e, NULL);
  return *pe ? HDB_OK : resolve_no_memory(c);
}

/* The function an operator stands for. */
static const char *operator_function(const expr *e) {
  switch (e->op) {
  case EX_ARROW: return "->";
  case EX_ARROW2: return "->>";
  case EX_VEC_L2: return "l2_distance";
  case EX_VEC_COS: return "cosine_distance";
  case EX_VEC_IP: return "negative_inner_product";
  default: return "l1_distance";
  }
}

static status name_operator(compile *c, scope *s, expr *e) {
  TRY(name_children(c, s, e));
  bool exists;
  const char *name = operator_function(e);
  const function *f = function_find(c->db, name, 2, &exists);
  if (!f) return resolve_error(c, e->offset, "no such function: %s", name);
  expr_list *arguments = ast_list_add(c->memory, ast_list_add(c->memory, NULL, e->left), e->right);
  if (!arguments) return resolve_no_memory(c);
  e->op = EX_FUNCTION;
  e->object = f;
  e->text = name;
  e->text_n = (uint32_t)strlen(name);
  e->list = arguments;
  e->left = e->right = NULL;
  return HDB_OK;
}

/* Can the column's source stand on the null row of an outer join? */
static bool may_be_null_row(const source_list *list, int slot, bool *found) {
  bool right_behind = false, nullable = false;
  for (int i = 0; i < list->n && !*found; i++) {
    const source *s = &list->items[i];
    if (s->table && s->slot == slot) *found = true;
    else if (!s->table && s->nested) nullable = may_be_null_row(s->nested, slot, found);
    if (!*found) continue;
    if (s->join & JOIN_LEFT) nullable = true;
    for (int k = i + 1; k < list->n; k++) right_behind = right_behind || list->items[k].join & JOIN_RIGHT;
  }
  return nullable || right_behind;
}

static bool never_null(const scope *s, const expr *e) {
  const table *t = e->object;
  if (e->op != EX_COLUMN || e->row_image || !t || t->kind != TABLE_ORDINARY) return false;
  if (e->column >= 0 && !t->columns[e->column].not_null) return false;
  if (e->column >= 0 && t->columns[e->column].generated) return false;
  for (; s; s = s->outer) {
    bool found = false;
    bool nullable = s->from && may_be_null_row(s->from, e->slot, &found);
    if (found) return !nullable;
  }
  return false;
}

/* x IS NULL of a NOT NULL column is 0 without a look, as in SQLite (an aggregate over no rows shows it). */
static status name_null_test(compile *c, scope *s, expr *e) {
  TRY(name_children(c, s, e));
  const expr *x = e->left;
  while (x->op == EX_COLLATE || x->op == EX_PLUS) x = x->left;
  if (!never_null(s, x)) return HDB_OK;
  e->i = e->op == EX_NOTNULL;
  e->op = EX_INT;
  e->left = NULL;
  return HDB_OK;
}

static status name_node(compile *c, scope *s, expr **pe) {
  expr *e = *pe;
  switch (e->op) {
  case EX_NULL:
  case EX_INT:
  case EX_REAL:
  case EX_TEXT:
  case EX_BLOB:
  case EX_AGG_COLUMN:
  case EX_REGISTER:
  case EX_AGGREGATE:
  case EX_WINDOW: return HDB_OK;
  case EX_COLUMN: return note_column(c, s, e);
  case EX_PARAM: return s->allow & ALLOW_PARAM ? HDB_OK : prohibited(c, s, "parameters", e->offset);
  case EX_DOT:
    if (s->place && (strcmp(s->place, "index expressions") == 0 || strcmp(s->place, "generated columns") == 0))
      return prohibited(c, s, "the \".\" operator", e->offset);
    return resolve_name(c, s, pe);
  case EX_ID: return resolve_name(c, s, pe);
  case EX_STAR: return resolve_error(c, e->offset, "near \"*\": syntax error");
  case EX_FUNCTION: return name_function(c, s, pe);
  case EX_LIKE:
  case EX_GLOB:
  case EX_REGEXP:
  case EX_MATCH: return name_like(c, s, pe);
  case EX_ARROW:
  case EX_ARROW2:
  case EX_VEC_L2:
  case EX_VEC_COS:
  case EX_VEC_IP:
  case EX_VEC_L1: return name_operator(c, s, e);
  case EX_SUBQUERY:
  case EX_EXISTS: return name_subquery(c, s, e);
  case EX_IN: return name_in(c, s, e);
  case EX_ISNULL:
  case EX_NOTNULL: return name_null_test(c, s, e);
  case EX_IS:
  case EX_ISNOT:
    TRY(check_sizes(c, e));
    return name_is(c, s, e);
  case EX_EQ:
  case EX_NE:
  case EX_LT:
  case EX_LE:
  case EX_GT:
  case EX_GE:
  case EX_BETWEEN:
    TRY(check_sizes(c, e));
    return name_children(c, s, e);
  case EX_CAST:
    e->affinity = cast_affinity(e->text);
    return name_children(c, s, e);
  default: return name_children(c, s, e);
  }
}

/* After a soft error only names and calls are still looked at. */
static bool goes_on(const expr *e) {
  return e->op == EX_ID || e->op == EX_DOT || e->op == EX_FUNCTION || (e->op >= EX_LIKE && e->op <= EX_MATCH);
}

status name_expr(compile *c, scope *s, expr **pe) {
  if (c->soft_error && !goes_on(*pe)) return c->err && c->err->code ? c->err->code : HDB_ERROR;
  TRY(name_node(c, s, pe));
  if ((*pe)->op != EX_COLUMN) carry_collation(*pe);
  return HDB_OK;
}
