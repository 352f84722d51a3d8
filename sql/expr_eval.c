/* The evaluator: one loop over steps, dispatched by computed jumps.
 *
 * The common cases (both integers, both reals, NULLs) are decided here; everything else is a call into expr_support.c.
 * Nothing recurses but subqueries and user functions, each through its own entry. Cost: about a nanosecond a step.
 */
#include "sql/expr_program.h"

/* value_truth without the call for integers and NULL. */
static inline int truth_of(const value *v) {
  if (v->type == VAL_INTEGER) return v->i != 0;
  if (v->type == VAL_NULL) return -1;
  return value_truth(v);
}

static inline void set_truth(value *out, int truth) { value_put(out, truth < 0 ? VAL_NULL : VAL_INTEGER, 0, truth > 0); }

static status run(exec *x, const expr_program *p, const step *s, int *truth);

static status run_prologue(exec *x, const expr_program *p) {
  int ignored;
  TRY(run(x, p, p->prologue, &ignored));
  x->states[p->state] = x; /* any pointer: it has run */
  return HDB_OK;
}

static inline status prepare(exec *x, const expr_program *p) {
  return p->state < 0 || x->states[p->state] ? HDB_OK : run_prologue(x, p);
}

status expr_eval(exec *x, const expr_program *p, const value **out) {
  if (p->direct == DIRECT_COLUMN) {
    *out = slot_column(&x->slots[p->slot], p->column);
    return HDB_OK;
  }
  int ignored;
  TRY(prepare(x, p));
  *out = &x->registers[p->result];
  return p->steps_n > 1 ? run(x, p, p->steps, &ignored) : HDB_OK;
}

status expr_eval_list(exec *x, const expr_program *p) {
  int ignored;
  TRY(prepare(x, p));
  return run(x, p, p->steps, &ignored);
}

status expr_test(exec *x, const expr_program *p, int *truth) {
  TRY(prepare(x, p));
  return run(x, p, p->steps, truth);
}

static status call_step(exec *x, const step *s, value *r, arena *memory) {
  function_call call = {x->db, s->f, memory, x->err, s->argument_collation, NULL, x, (uint8_t)s->d};
  return s->f->scalar(&call, s->c, &r[s->b], &r[s->a]);
}

static status scalar_step(exec *x, const step *s, value *r) {
  const value *row = NULL;
  int n = 0;
  TRY(subplan_scalar(x, s->b, &row, &n));
  for (int i = 0; i < s->c; i++) r[s->a + i] = row && i < n ? row[i] : value_null();
  return HDB_OK;
}

static status raise_step(exec *x, const step *s, const value *r) {
  if (s->b < 0) return EXEC_IGNORE;
  exec_outermost(x)->error_action = (uint8_t)s->a;
  slice text = slice_str("");
  TRY(value_to_text(&r[s->b], &x->memory, &text));
  return error_set(x->err, HDB_CONSTRAINT_TRIGGER, "%.*s", (int)text.n, (const char *)text.p);
}

#define NEXT                                                                                                           \
  do {                                                                                                                 \
    s++;                                                                                                               \
    goto *labels[s->op];                                                                                               \
  } while (0)
#define GO_TO(target)                                                                                                  \
  do {                                                                                                                 \
    s = base + (target);                                                                                               \
    goto *labels[s->op];                                                                                               \
  } while (0)
#define FAIL_UNLESS(call)                                                                                              \
  do {                                                                                                                 \
    status rc_ = (call);                                                                                               \
    if (rc_ != HDB_OK) return rc_;                                                                                     \
  } while (0)

/* x op y in a comparison; NULLs have been sorted out. */
#define ORDER(v, w, op)                                                                                                \
  ((v)->type == VAL_INTEGER && (w)->type == VAL_INTEGER ? (v)->i op(w)->i                                              \
   : (v)->type == VAL_REAL && (w)->type == VAL_REAL     ? (v)->r op(w)->r                                              \
   : (v)->type == VAL_REAL && (w)->type == VAL_INTEGER && (w)->i >= -(1ll << 53) && (w)->i <= 1ll << 53                  \
     ? (v)->r op(double)(w)->i                                                                                         \
                                                        : compare_under(s, (v), (w), memory) op 0)
#define EITHER_NULL(v, w) ((v)->type == VAL_NULL || (w)->type == VAL_NULL)

/* v = w: text of other lengths differs under BINARY without a look at its bytes. */
static inline bool equal_values(const step *s, const value *v, const value *w, arena *memory) {
  if (v->type == VAL_INTEGER && w->type == VAL_INTEGER) return v->i == w->i;
  if (v->type == VAL_TEXT && w->type == VAL_TEXT && s->affinity < AFF_NUMERIC && (!s->collation || s->collation->builtin == 1))
    return v->n == w->n && (v->n == 0 || memcmp(v->p, w->p, v->n) == 0);
  return compare_under(s, v, w, memory) == 0;
}

#define COMPARE(name, holds)                                                                                           \
  do_##name : {                                                                                                        \
    const value *v = &r[s->b], *w = &r[s->c];                                                                          \
    if (EITHER_NULL(v, w)) value_put_null(&r[s->a]);                                                                   \
    else value_put_int(&r[s->a], holds);                                                                               \
    NEXT;                                                                                                              \
  }                                                                                                                    \
  do_JUMP_##name : {                                                                                                   \
    const value *v = &r[s->b], *w = &r[s->c];                                                                          \
    bool go = EITHER_NULL(v, w) ? s->flags & STEP_NULL_JUMPS : (holds);                                                \
    if (go) GO_TO(s->d);                                                                                               \
    NEXT;                                                                                                              \
  }                                                                                                                    \
  do_COLUMN_##name : {                                                                                                 \
    const value *v = slot_column(&slots[s->b], s->c), *w = &r[s->e];                                                   \
    bool go = EITHER_NULL(v, w) ? s->flags & STEP_NULL_JUMPS : (holds);                                                \
    if (go) GO_TO(s->d);                                                                                               \
    NEXT;                                                                                                              \
  }

#define ARITHMETIC(name, overflow, sign)                                                                                 \
  do_##name : {                                                                                                        \
    const value *v = &r[s->b], *w = &r[s->c];                                                                          \
    int64_t i;                                                                                                         \
    if (v->type == VAL_INTEGER && w->type == VAL_INTEGER && !overflow(v->i, w->i, &i)) value_put_int(&r[s->a], i);      \
    else if (v->type == VAL_REAL && w->type == VAL_REAL) r[s->a] = value_real(v->r sign w->r);                           \
    else arithmetic_step(s->op, &r[s->a], v, w);                                                                       \
    NEXT;                                                                                                              \
  }

#define BITS(name)                                                                                                     \
  do_##name : {                                                                                                        \
    bits_step(s->op, &r[s->a], &r[s->b], &r[s->c]);                                                                    \
    NEXT;                                                                                                              \
  }

static bool same_value(const step *s, const value *v, const value *w, arena *memory) { /* IS */
  if (EITHER_NULL(v, w)) return v->type == w->type;
  return equal_values(s, v, w, memory);
}

static status run(exec *x, const expr_program *p, const step *s, int *truth) {
  static const void *const labels[] = {
#define X(name) &&do_##name,
      EXPR_STEPS(X)
#undef X
  };
  const step *const base = s;
  value *const r = x->registers;
  slot *const slots = x->slots;
  arena *memory = base == p->prologue ? &x->lifetime : &x->memory;
  goto *labels[s->op];

do_END:
  if (s->flags & STEP_REGISTER) *truth = truth_of(&r[s->a]);
  else *truth = s->flags & STEP_TRUE ? 1 : 0;
  return HDB_OK;
do_CONST:
  value_move(&r[s->a], &p->constants[s->b]);
  NEXT;
do_PARAM:
  r[s->a] = s->b >= 1 && s->b <= x->parameters_n ? x->parameters[s->b - 1] : value_null();
  NEXT;
do_MOVE:
  value_move(&r[s->a], &r[s->b]);
  NEXT;
do_COLUMN:
  value_move(&r[s->a], slot_column(&slots[s->b], s->c));
  NEXT;
do_COLUMN_PLAIN:
  r[s->a] = *slot_column(&slots[s->b], s->c);
  r[s->a].subtype = 0;
  NEXT;
do_PLAIN:
  r[s->a].subtype = 0;
  NEXT;
do_COLUMNS: {
  slot *from = &slots[s->b];
  (void)slot_column(from, s->c + s->d - 1);
  for (int k = 0; k < s->d; k++) value_move(&r[s->a + k], &from->columns[s->c + k]);
  for (int i = 0; s->e && i < s->d; i++) r[s->a + i].subtype = 0;
  NEXT;
}
do_ROWID:
  if (slots[s->b].null_row) value_put_null(&r[s->a]);
  else value_put_int(&r[s->a], slots[s->b].rowid);
  NEXT;

  ARITHMETIC(ADD, __builtin_add_overflow, +)
  ARITHMETIC(SUB, __builtin_sub_overflow, -)
  ARITHMETIC(MUL, __builtin_mul_overflow, *)
do_DIV:
do_MOD: {
  const value *v = &r[s->b], *w = &r[s->c];
  if (v->type == VAL_INTEGER && w->type == VAL_INTEGER && w->i > 0)
    value_put_int(&r[s->a], s->op == STEP_DIV ? v->i / w->i : v->i % w->i);
  else arithmetic_step(s->op, &r[s->a], v, w);
  NEXT;
}
do_CONCAT:
  FAIL_UNLESS(concat_step(x, &r[s->a], &r[s->b], &r[s->c], memory));
  NEXT;
  BITS(BITAND)
  BITS(BITOR)
  BITS(SHL)
  BITS(SHR)
do_NEG: {
  const value *v = &r[s->b], zero = value_int(0);
  if (v->type == VAL_INTEGER && v->i != INT64_MIN) value_put_int(&r[s->a], -v->i);
  else arithmetic_step(STEP_SUB, &r[s->a], &zero, v);
  NEXT;
}
do_BITNOT:
  r[s->a] = r[s->b].type == VAL_NULL ? value_null() : value_int(~value_to_int(&r[s->b]));
  NEXT;
do_NOT: {
  int t = truth_of(&r[s->b]);
  set_truth(&r[s->a], t < 0 ? t : !t);
  NEXT;
}
do_ISNULL:
  value_put_int(&r[s->a], r[s->b].type == VAL_NULL);
  NEXT;
do_NOTNULL:
  value_put_int(&r[s->a], r[s->b].type != VAL_NULL);
  NEXT;
do_TRUTH: {
  int t = truth_of(&r[s->b]);
  bool is = t == (s->flags & STEP_TRUE ? 1 : 0);
  value_put_int(&r[s->a], is != !!(s->flags & STEP_NEGATED));
  NEXT;
}
  COMPARE(EQ, equal_values(s, v, w, memory))
  COMPARE(NE, !equal_values(s, v, w, memory))
  COMPARE(LT, ORDER(v, w, <))
  COMPARE(LE, ORDER(v, w, <=))
  COMPARE(GT, ORDER(v, w, >))
  COMPARE(GE, ORDER(v, w, >=))
do_IS:
  r[s->a] = value_int(same_value(s, &r[s->b], &r[s->c], memory));
  NEXT;
do_ISNOT:
  r[s->a] = value_int(!same_value(s, &r[s->b], &r[s->c], memory));
  NEXT;
do_AND: {
  int t = truth_of(&r[s->b]), u = truth_of(&r[s->c]);
  set_truth(&r[s->a], t == 0 || u == 0 ? 0 : t < 0 || u < 0 ? -1 : 1);
  NEXT;
}
do_OR: {
  int t = truth_of(&r[s->b]), u = truth_of(&r[s->c]);
  set_truth(&r[s->a], t == 1 || u == 1 ? 1 : t < 0 || u < 0 ? -1 : 0);
  NEXT;
}
do_JUMP:
  GO_TO(s->d);
do_JUMP_TRUE: {
  int t = truth_of(&r[s->b]);
  if (t == 1 || (t < 0 && s->flags & STEP_NULL_JUMPS)) GO_TO(s->d);
  NEXT;
}
do_JUMP_FALSE: {
  int t = truth_of(&r[s->b]);
  if (t == 0 || (t < 0 && s->flags & STEP_NULL_JUMPS)) GO_TO(s->d);
  NEXT;
}
do_JUMP_NULL:
  if (r[s->b].type == VAL_NULL) GO_TO(s->d);
  NEXT;
do_JUMP_NOTNULL:
  if (r[s->b].type != VAL_NULL) GO_TO(s->d);
  NEXT;
do_JUMP_IS:
  if (same_value(s, &r[s->b], &r[s->c], memory)) GO_TO(s->d);
  NEXT;
do_JUMP_ISNOT:
  if (!same_value(s, &r[s->b], &r[s->c], memory)) GO_TO(s->d);
  NEXT;
do_JUMP_NULL_ROW:
  if (slots[s->b].null_row) GO_TO(s->d);
  NEXT;
do_CAST:
  r[s->a] = r[s->b];
  FAIL_UNLESS(s->flags ? value_cast_utf16(&r[s->a], s->affinity, s->flags == 3, memory) : value_cast(&r[s->a], s->affinity, memory));
  NEXT;
do_AFFINITY:
  r[s->a] = r[s->b];
  FAIL_UNLESS(value_apply_affinity(&r[s->a], s->affinity, memory));
  NEXT;
do_LIKE:
  FAIL_UNLESS(like_step(x, s, r, memory));
  NEXT;
do_SET:
  FAIL_UNLESS(set_step(x, s, r));
  NEXT;
do_IN: {
  const value *v = &r[s->b];
  value converted;
  if (v->type != VAL_INTEGER && v->type != VAL_NULL && s->affinity > AFF_BLOB) {
    converted = *v;
    FAIL_UNLESS(value_apply_affinity(&converted, s->affinity, memory));
    v = &converted;
  } else if (v->type == VAL_INTEGER && s->affinity == AFF_TEXT) {
    converted = *v;
    FAIL_UNLESS(value_apply_affinity(&converted, s->affinity, memory));
    v = &converted;
  }
  set_truth(&r[s->a], v->type == VAL_NULL ? -1 : set_find(x->states[s->d], v));
  NEXT;
}
do_CALL:
  FAIL_UNLESS(call_step(x, s, r, memory));
  NEXT;
do_SCALAR:
  FAIL_UNLESS(scalar_step(x, s, r));
  NEXT;
do_EXISTS: {
  bool found = false;
  FAIL_UNLESS(subplan_exists(x, s->b, &found));
  r[s->a] = value_int(found);
  NEXT;
}
do_IN_SUBPLAN: {
  int t = 0;
  FAIL_UNLESS(subplan_in(x, s->d, &r[s->b], s->c, &t));
  set_truth(&r[s->a], t);
  NEXT;
}
do_RAISE:
  return raise_step(x, s, r);
do_ONCE:
  if (x->states[s->b]) GO_TO(s->d);
  memory = &x->lifetime;
  NEXT;
do_ONCE_END:
  x->states[s->b] = x;
  memory = base == p->prologue ? &x->lifetime : &x->memory;
  NEXT;
}
