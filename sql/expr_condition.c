/* Trees to steps: conditions as jumps.
 *
 * emit_jump(e, label, sense, null_jumps) leaves for label when e is `sense`; NULL leaves too when null_jumps. AND, OR
 * and NOT become the order of jumps, comparisons jump themselves, and a column compared with a value that the prologue
 * has computed is one step.
 */
#include "sql/expr_program.h"

static uint8_t opposite(uint8_t op) {
  static const uint8_t of[] = {EX_NE, EX_EQ, EX_GE, EX_GT, EX_LE, EX_LT, EX_ISNOT, EX_IS};
  return of[op - EX_EQ];
}
static uint8_t mirrored(uint8_t op) { /* a < b is b > a */
  static const uint8_t of[] = {EX_EQ, EX_NE, EX_GT, EX_GE, EX_LT, EX_LE, EX_IS, EX_ISNOT};
  return of[op - EX_EQ];
}

static bool is_plain_column(const expr *e) {
  if (e->op == EX_AGG_COLUMN) return true;
  const table *t = e->object;
  if (e->op != EX_COLUMN || e->column < 0) return false;
  return !t || e->column >= t->columns_n || t->columns[e->column].generated != 1;
}

static const expr *skip_plus(const expr *e) {
  while (e->op == EX_PLUS || e->op == EX_COLLATE) e = e->left;
  return e;
}

static status jump_compare(builder *b, uint8_t op, expr *left, expr *right, int label, bool null_jumps) {
  const collation *order;
  TRY(compare_collation(b->c, left, right, &order));
  uint8_t affinity = compare_affinity(left, right);
  const expr *column = skip_plus(left);
  expr *other = right;
  int l, r;
  step *s;
  if (!is_plain_column(column) && op <= EX_GE && is_plain_column(skip_plus(right))) {
    column = skip_plus(right);
    other = left;
    op = mirrored(op);
  }
  if (op <= EX_GE && is_plain_column(column)) {
    TRY(emit_value(b, other, TARGET_ANY, &r));
    s = emit_step(b, compare_step(op, STEP_COLUMN_EQ), 0, column->slot, column->column);
    s->e = r;
  } else {
    TRY(emit_value(b, left, TARGET_ANY, &l));
    TRY(emit_value(b, right, TARGET_ANY, &r));
    s = emit_step(b, compare_step(op, STEP_JUMP_EQ), 0, l, r);
  }
  s->d = label;
  s->affinity = affinity;
  s->collation = order;
  s->flags = null_jumps ? STEP_NULL_JUMPS : 0;
  return HDB_OK;
}

static status jump_and(builder *b, expr *left, expr *right, int label, bool sense, bool null_jumps) {
  if (!sense) {
    TRY(emit_jump(b, left, label, false, null_jumps));
    return emit_jump(b, right, label, false, null_jumps);
  }
  int skip = emit_label(b);
  TRY(emit_jump(b, left, skip, false, !null_jumps));
  TRY(emit_jump(b, right, label, true, null_jumps));
  emit_here(b, skip);
  return HDB_OK;
}

static status jump_or(builder *b, expr *left, expr *right, int label, bool sense, bool null_jumps) {
  if (sense) {
    TRY(emit_jump(b, left, label, true, null_jumps));
    return emit_jump(b, right, label, true, null_jumps);
  }
  int skip = emit_label(b);
  TRY(emit_jump(b, left, skip, true, !null_jumps));
  TRY(emit_jump(b, right, label, false, null_jumps));
  emit_here(b, skip);
  return HDB_OK;
}

/* left >= low AND left <= high, left computed once. */
static status jump_between(builder *b, expr *e, int label, bool sense, bool null_jumps) {
  expr kept = *e->left, low = *e, high = *e;
  if (!is_plain_column(skip_plus(e->left))) {
    int r;
    TRY(emit_value(b, e->left, TARGET_ANY, &r));
    kept.op = EX_REGISTER;
    kept.column = r;
    kept.affinity = expr_affinity(e->left);
    const collation *order;
    TRY(expr_collation(b->c, e->left, &order));
    kept.collation = order ? order->name : NULL;
    kept.left = kept.right = NULL;
    kept.list = NULL;
  }
  low.op = EX_GE, low.left = &kept, low.right = e->list->items[0].e;
  high.op = EX_LE, high.left = &kept, high.right = e->list->items[1].e;
  low.list = high.list = NULL;
  return jump_and(b, &low, &high, label, e->negated ? !sense : sense, null_jumps);
}

static status jump_value(builder *b, expr *e, int label, bool sense, bool null_jumps) {
  int r;
  TRY(emit_value(b, e, TARGET_ANY, &r));
  step *s = emit_step(b, sense ? STEP_JUMP_TRUE : STEP_JUMP_FALSE, 0, r, 0);
  s->d = label;
  s->flags = null_jumps ? STEP_NULL_JUMPS : 0;
  return HDB_OK;
}

static status jump_null(builder *b, expr *e, int label, bool jump_when_null) {
  int r;
  TRY(emit_value(b, e->left, TARGET_ANY, &r));
  emit_step(b, jump_when_null ? STEP_JUMP_NULL : STEP_JUMP_NOTNULL, 0, r, 0)->d = label;
  return HDB_OK;
}

status emit_jump(builder *b, expr *e, int label, bool sense, bool null_jumps) {
  while (e->op == EX_PLUS || e->op == EX_COLLATE) e = e->left;
  switch (e->op) {
  case EX_AND: return jump_and(b, e->left, e->right, label, sense, null_jumps);
  case EX_OR: return jump_or(b, e->left, e->right, label, sense, null_jumps);
  case EX_NOT: return emit_jump(b, e->left, label, !sense, null_jumps);
  case EX_IS_TRUE: return emit_jump(b, e->left, label, sense, !sense);
  case EX_IS_NOT_TRUE: return emit_jump(b, e->left, label, !sense, sense);
  case EX_IS_FALSE: return emit_jump(b, e->left, label, !sense, !sense);
  case EX_IS_NOT_FALSE: return emit_jump(b, e->left, label, sense, sense);
  case EX_ISNULL: return jump_null(b, e, label, sense);
  case EX_NOTNULL: return jump_null(b, e, label, !sense);
  case EX_EQ:
  case EX_NE:
  case EX_LT:
  case EX_LE:
  case EX_GT:
  case EX_GE:
  case EX_IS:
  case EX_ISNOT:
    if (expr_vector_size(e->left) > 1) break;
    return jump_compare(b, sense ? e->op : opposite(e->op), e->left, e->right, label, null_jumps);
  case EX_BETWEEN:
    if (expr_vector_size(e->left) > 1) break;
    return jump_between(b, e, label, sense, null_jumps);
  default: break;
  }
  return jump_value(b, e, label, sense, null_jumps);
}
