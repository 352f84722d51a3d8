/* Trees to steps: functions, CASE, IN, LIKE, row values. */
#include "sql/expr_program.h"

/* coalesce(a, b, ...): the first that is not NULL, the rest not computed. */
static status emit_coalesce(builder *b, expr *e, int target) {
  int end = emit_label(b), r;
  for (int i = 0; i < e->list->n; i++) {
    TRY(emit_value(b, e->list->items[i].e, target, &r));
    if (i + 1 < e->list->n) emit_step(b, STEP_JUMP_NOTNULL, 0, target, 0)->d = end;
  }
  emit_here(b, end);
  return HDB_OK;
}

/* iif(condition, a, b) */
static status emit_iif(builder *b, expr *e, int target) {
  int otherwise = emit_label(b), end = emit_label(b), r;
  TRY(emit_jump(b, e->list->items[0].e, otherwise, false, true));
  TRY(emit_value(b, e->list->items[1].e, target, &r));
  emit_step(b, STEP_JUMP, 0, 0, 0)->d = end;
  emit_here(b, otherwise);
  TRY(emit_value(b, e->list->items[2].e, target, &r));
  emit_here(b, end);
  return HDB_OK;
}

static status emit_plain_call(builder *b, expr *e, const function *f, int target) {
  int n = e->list ? e->list->n : 0, ignored;
  int first = compile_registers(b->c, n);
  const collation *order = NULL;
  for (int i = 0; i < n; i++) {
    expr *argument = e->list->items[i].e;
    TRY(emit_value(b, argument, first + i, &ignored));
    if (f->flags & FUNC_NEEDS_COLLATION && !order) TRY(expr_collation(b->c, argument, &order));
  }
  step *s = emit_step(b, STEP_CALL, target, first, n);
  s->f = f;
  s->argument_collation = order;
  s->d = e->place;
  return HDB_OK;
}

status emit_function(builder *b, expr *e, int target) {
  const function *f = e->object;
  if (!f || !f->scalar) return resolve_error(b->c, e->offset, "misuse of aggregate: %s()", e->text);
  int n = e->list ? e->list->n : 0;
  if (!(f->flags & FUNC_USER)) {
    if (n >= 2 && (strcasecmp(f->name, "coalesce") == 0 || strcasecmp(f->name, "ifnull") == 0))
      return emit_coalesce(b, e, target);
    if (n == 3 && strcasecmp(f->name, "iif") == 0) return emit_iif(b, e, target);
  }
  return emit_plain_call(b, e, f, target);
}

/* ---- CASE ---- */
static status case_operand(builder *b, expr *e, expr *kept) {
  int r;
  const collation *order;
  TRY(emit_value(b, e->left, TARGET_ANY, &r));
  TRY(expr_collation(b->c, e->left, &order));
  *kept = (expr){.op = EX_REGISTER, .column = r, .affinity = expr_affinity(e->left)};
  kept->collation = order ? order->name : NULL;
  kept->collation_explicit = e->left->collation_explicit;
  return HDB_OK;
}

status emit_case(builder *b, expr *e, int target) {
  int end = emit_label(b), r, whens = e->list->n / 2;
  expr kept;
  if (e->left) {
    if (expr_vector_size(e->left) != 1) return resolve_error(b->c, e->offset, "row value misused");
    TRY(case_operand(b, e, &kept));
  }
  for (int i = 0; i < whens; i++) {
    int next = emit_label(b);
    expr *when = e->list->items[2 * i].e;
    expr equal = {.op = EX_EQ, .left = &kept, .right = when, .offset = when->offset};
    if (e->left && expr_vector_size(when) != 1) return resolve_error(b->c, e->offset, "row value misused");
    TRY(emit_jump(b, e->left ? &equal : when, next, false, true));
    TRY(emit_value(b, e->list->items[2 * i + 1].e, target, &r));
    emit_step(b, STEP_JUMP, 0, 0, 0)->d = end;
    emit_here(b, next);
  }
  if (e->has_else) {
    TRY(emit_value(b, e->list->items[e->list->n - 1].e, target, &r));
  } else {
    value null = value_null();
    buf_append(&b->constants, &null, sizeof null);
    emit_step(b, STEP_CONST, target, (int)(b->constants.n / sizeof null) - 1, 0);
  }
  emit_here(b, end);
  return HDB_OK;
}

/* ---- IN ---- */
static void load_constant(builder *b, int target, value v) {
  buf_append(&b->constants, &v, sizeof v);
  emit_step(b, STEP_CONST, target, (int)(b->constants.n / sizeof v) - 1, 0);
}

static bool all_constant(const expr_list *list) {
  for (int i = 0; i < list->n; i++)
    if (!expr_is_constant(list->items[i].e)) return false;
  return true;
}

static bool may_call(const expr_list *list) {
  for (int i = 0; i < list->n; i++) {
    const expr *e = expr_skip_collate(list->items[i].e);
    if (e->op > EX_PARAM && e->op != EX_NEG && e->op != EX_PLUS) return true;
  }
  return false;
}

static status in_set(builder *b, expr *e, int left, int target) {
  int n = e->list->n, first = compile_registers(b->c, n), state = compile_state(b->c);
  uint8_t affinity = expr_affinity(e->left);
  if (affinity == AFF_REAL) affinity = AFF_NUMERIC; /* SQLite's rule: large integers are not rounded */
  const collation *order;
  TRY(expr_collation(b->c, e->left, &order));
  bool was = b->in_prologue;
  b->in_prologue = true;
  status rc = HDB_OK;
  for (int i = 0; i < n && rc == HDB_OK; i++) rc = emit_result(b, e->list->items[i].e, first + i);
  step *s = emit_step(b, STEP_SET, 0, first, n);
  s->d = state;
  s->affinity = affinity;
  s->collation = order;
  b->in_prologue = was;
  if (rc != HDB_OK) return rc;
  s = emit_step(b, STEP_IN, target, left, 0);
  s->d = state;
  s->affinity = e->left->op == EX_COLUMN ? AFF_NONE : affinity; /* a column's values have it already */
  return HDB_OK;
}

/* Terms that depend on the row, or call functions: one after the other. */
static status in_chain(builder *b, expr *e, int left, int target) {
  int found = emit_label(b), end = emit_label(b), result = emit_register(b);
  uint8_t affinity = expr_affinity(e->left);
  const collation *order;
  TRY(expr_collation(b->c, e->left, &order));
  load_constant(b, target, value_null());
  emit_step(b, STEP_JUMP_NULL, 0, left, 0)->d = end;
  load_constant(b, target, value_int(0));
  for (int i = 0; i < e->list->n; i++) {
    int next = emit_label(b), r;
    TRY(emit_value(b, e->list->items[i].e, TARGET_ANY, &r));
    step *s = emit_step(b, STEP_EQ, result, left, r);
    s->affinity = affinity;
    s->collation = order;
    emit_step(b, STEP_JUMP_TRUE, 0, result, 0)->d = found;
    emit_step(b, STEP_JUMP_NOTNULL, 0, result, 0)->d = next;
    load_constant(b, target, value_null());
    emit_here(b, next);
  }
  emit_step(b, STEP_JUMP, 0, 0, 0)->d = end;
  emit_here(b, found);
  load_constant(b, target, value_int(1));
  emit_here(b, end);
  return HDB_OK;
}

/* (a, b) IN ((1, 2), (3, 4)): equal to one of them. */
static status in_rows(builder *b, expr *e, int target) {
  int end = emit_label(b);
  load_constant(b, target, value_int(0));
  for (int i = 0; i < e->list->n; i++) {
    int result = emit_register(b);
    TRY(emit_row_compare(b, EX_EQ, e->left, e->list->items[i].e, result));
    emit_step(b, STEP_OR, target, target, result);
    emit_step(b, STEP_JUMP_TRUE, 0, target, 0)->d = end;
  }
  emit_here(b, end);
  return HDB_OK;
}

static status in_subquery(builder *b, expr *e, int target) {
  int n = expr_vector_size(e->left), first;
  TRY(emit_subplan(b, e));
  TRY(emit_row(b, e->left, n, &first));
  emit_step(b, STEP_IN_SUBPLAN, target, first, n)->d = e->subplan;
  return HDB_OK;
}

status emit_in(builder *b, expr *e, int target) {
  int left;
  if (e->select) {
    TRY(in_subquery(b, e, target));
  } else if (expr_vector_size(e->left) > 1) {
    TRY(in_rows(b, e, target));
  } else {
    TRY(emit_value(b, e->left, TARGET_ANY, &left));
    if (all_constant(e->list) && !may_call(e->list) && e->list->n > 1) TRY(in_set(b, e, left, target));
    else TRY(in_chain(b, e, left, target));
  }
  if (e->negated) emit_step(b, STEP_NOT, target, target, 0);
  return HDB_OK;
}

/* ---- LIKE, GLOB ---- */
status emit_like(builder *b, expr *e, int target) {
  if (e->op == EX_MATCH && !e->object)
    return resolve_error(b->c, e->offset, "unable to use function MATCH in the requested context");
  int text, pattern, escape = -1;
  const function *f = e->object;
  if (e->op == EX_MATCH || e->op == EX_REGEXP) {
    expr_list *list = ast_list_add(b->c->memory, ast_list_add(b->c->memory, NULL, e->right), e->left);
    expr call = {.op = EX_FUNCTION, .list = list, .object = f, .text = f->name};
    if (!list) return resolve_no_memory(b->c);
    TRY(emit_plain_call(b, &call, f, target));
  } else {
    TRY(emit_value(b, e->left, TARGET_ANY, &text));
    TRY(emit_value(b, e->right, TARGET_ANY, &pattern));
    if (e->list && e->list->n) TRY(emit_value(b, e->list->items[0].e, TARGET_ANY, &escape));
    step *s = emit_step(b, STEP_LIKE, target, text, pattern);
    s->d = escape < 0 && expr_is_constant(e->right) ? compile_state(b->c) : -1;
    s->e = escape;
    s->f = f;
    if (e->op == EX_GLOB) s->flags |= STEP_GLOB;
    if (e->op == EX_GLOB || b->c->db->pragmas.case_sensitive_like) s->flags |= STEP_CASE_SENSITIVE;
  }
  if (e->negated) emit_step(b, STEP_NOT, target, target, 0);
  return HDB_OK;
}

/* ---- row values ---- */
typedef struct row_side {
  expr *e;
  int first;
} row_side;

static const expr *row_element(const row_side *s, int i) {
  if (s->e->op == EX_ROW) return s->e->list->items[i].e;
  return s->e->select->columns->items[i].e;
}

/* Element i's value: of a written row it is computed when the comparison comes to it. */
static status row_value(builder *b, const row_side *s, int i) {
  int ignored;
  return s->e->op == EX_ROW ? emit_value(b, s->e->list->items[i].e, s->first + i, &ignored) : HDB_OK;
}

static status row_start(builder *b, row_side *s, int n) {
  if (s->e->op != EX_ROW || s->e->list->n != n) return emit_row(b, s->e, n, &s->first);
  s->first = compile_registers(b->c, n);
  return HDB_OK;
}

static status compare_elements(builder *b, enum expr_step_op op, const row_side *l, const row_side *r, int i, int target) {
  const expr *left = row_element(l, i), *right = row_element(r, i);
  const collation *order;
  TRY(compare_collation(b->c, left, right, &order));
  step *s = emit_step(b, op, target, l->first + i, r->first + i);
  s->affinity = compare_affinity(left, right);
  s->collation = order;
  return HDB_OK;
}

/* =, IS: all elements; <>, IS NOT: any. Stops when it is decided. */
static status row_equality(builder *b, uint8_t op, const row_side *l, const row_side *r, int n, int target) {
  bool any = op == EX_NE || op == EX_ISNOT;
  int end = emit_label(b), one = emit_register(b);
  for (int i = 0; i < n; i++) {
    TRY(row_value(b, l, i));
    TRY(row_value(b, r, i));
    TRY(compare_elements(b, compare_step(op, STEP_EQ), l, r, i, i ? one : target));
    if (i) emit_step(b, any ? STEP_OR : STEP_AND, target, target, one);
    if (i + 1 < n) emit_step(b, any ? STEP_JUMP_TRUE : STEP_JUMP_FALSE, 0, target, 0)->d = end;
  }
  emit_here(b, end);
  return HDB_OK;
}

/* <, <=, >, >=: the first pair that differs decides; a NULL before it makes NULL. */
static status row_order(builder *b, uint8_t op, const row_side *l, const row_side *r, int n, int target) {
  uint8_t strict = op == EX_LT || op == EX_LE ? EX_LT : EX_GT;
  int end = emit_label(b), one = emit_register(b);
  for (int i = 0; i < n; i++) {
    bool last = i + 1 == n;
    TRY(row_value(b, l, i));
    TRY(row_value(b, r, i));
    TRY(compare_elements(b, compare_step(last ? op : strict, STEP_EQ), l, r, i, target));
    if (last) break;
    emit_step(b, STEP_JUMP_TRUE, 0, target, 0)->d = end;
    TRY(compare_elements(b, STEP_EQ, l, r, i, one));
    step *s = emit_step(b, STEP_JUMP_FALSE, 0, one, 0);
    s->d = end;
    s->flags = STEP_NULL_JUMPS;
  }
  emit_here(b, end);
  return HDB_OK;
}

status emit_row_compare(builder *b, enum expr_op op, expr *left, expr *right, int target) {
  int n = expr_vector_size(left);
  row_side l = {left, 0}, r = {right, 0};
  TRY(row_start(b, &l, n));
  TRY(row_start(b, &r, n));
  if (op == EX_EQ || op == EX_NE || op == EX_IS || op == EX_ISNOT) return row_equality(b, op, &l, &r, n, target);
  return row_order(b, op, &l, &r, n, target);
}
