/* Trees to steps: values. (Conditions: expr_condition.c; calls, CASE, IN, LIKE: expr_call.c.)
 *
 * Every subexpression gets a register of its own, so nothing is saved or restored. What depends on no row goes into
 * the prologue when it calls no function, and behind a `once` when it does (expr_program.h P1, P4). Cost: one step an
 * operator, none for a literal or parameter.
 */
#include "sql/expr_program.h"

/* ---- the builder ---- */
step *emit_step(builder *b, enum expr_step_op op, int a, int r1, int r2) {
  static step lost; /* where the fields of a step go that found no memory; never run */
  buf *to = b->in_prologue ? &b->prologue : &b->steps;
  step s = {.op = (uint16_t)op, .a = a, .b = r1, .c = r2, .d = -1, .e = -1};
  size_t at = to->n;
  buf_append(to, &s, sizeof s);
  return buf_failed(to) ? &lost : (step *)(void *)(to->p + at);
}

int emit_label(builder *b) {
  int32_t nowhere = -1;
  buf_append(&b->labels, &nowhere, sizeof nowhere);
  return (int)(b->labels.n / sizeof nowhere) - 1;
}

void emit_here(builder *b, int label) {
  const buf *in = b->in_prologue ? &b->prologue : &b->steps;
  int32_t at = (int32_t)(in->n / sizeof(step));
  if (!buf_failed(&b->labels)) memcpy(b->labels.p + (size_t)label * sizeof at, &at, sizeof at);
}

int emit_register(builder *b) { return compile_registers(b->c, 1); }

static int target_register(builder *b, int target) { return target == TARGET_ANY ? emit_register(b) : target; }

static int add_constant(builder *b, value v) {
  buf_append(&b->constants, &v, sizeof v);
  return (int)(b->constants.n / sizeof v) - 1;
}

/* ---- leaves ---- */
static bool literal(const expr *e, value *v) {
  switch (e->op) {
  case EX_NULL: *v = value_null(); return true;
  case EX_INT: *v = value_int(e->i); return true;
  case EX_REAL: *v = value_real(e->r); return true;
  case EX_TEXT: *v = value_text(e->text, e->text_n); return true;
  case EX_BLOB: *v = value_blob(e->text, e->text_n); return true;
  case EX_NEG:
    if (!e->left || (e->left->op != EX_INT && e->left->op != EX_REAL) || !literal(e->left, v)) return false;
    if (v->type == VAL_INTEGER && v->i != INT64_MIN) *v = value_int(-v->i);
    else if (v->type == VAL_REAL) *v = value_real(-v->r);
    else return false;
    return true;
  case EX_PLUS: return e->left && literal(e->left, v);
  default: return false;
  }
}

/* The parser leaves the complaint to whoever runs a stored expression. */
static status check_hex(compile *c, const expr *e) {
  if (e->op != EX_INT || e->text_n <= 18 || !e->text || (e->text[1] | 32) != 'x') return HDB_OK;
  if (strspn(e->text + 2, "0") + 18 >= e->text_n) return HDB_OK;
  return error_set(c->err, HDB_ERROR, "hex literal too big: %s", e->text);
}

static bool same_constant(const value *a, const value *b) {
  if (a->type != b->type) return false;
  if (a->type == VAL_TEXT || a->type == VAL_BLOB) return a->n == b->n && a->p == b->p;
  return a->type == VAL_NULL || a->i == b->i; /* reals by their bits */
}

/* Literals and parameters: loaded at the head of the prologue (never behind a jump), once for equal ones. `target`:
 * a register that nothing else writes to. */
static int constant_register(builder *b, enum expr_step_op op, int number, int target) {
  const step *steps = (const step *)(const void *)b->loads.p;
  const value *constants = (const value *)(const void *)b->constants.p;
  int n = (int)(b->loads.n / sizeof *steps);
  for (int i = n > 40 ? n - 40 : 0; target == TARGET_ANY && i < n; i++) {
    if (steps[i].op != op) continue;
    if (op == STEP_PARAM ? steps[i].b == number : same_constant(&constants[steps[i].b], &constants[number]))
      return steps[i].a;
  }
  step s = {.op = (uint16_t)op, .a = target_register(b, target), .b = number};
  buf_append(&b->loads, &s, sizeof s);
  return s.a;
}

static status emit_generated(builder *b, expr *e, int target) {
  const table *t = e->object;
  const column *k = &t->columns[e->column];
  if (b->depth > 100) return error_set(b->c->err, HDB_ERROR, "generated column loop on \"%s\"", k->name);
  expr *g = ast_copy_expr(b->c->memory, k->generation);
  if (!g) return resolve_no_memory(b->c);
  scope s = {.allow = ALLOW_ALL, .place = "generated columns", .table = t, .slot = e->slot, .excluded_slot = -1};
  const char *context = b->c->auth_context;
  b->c->depth++;
  b->depth++;
  status rc = resolve_expr(b->c, &s, &g);
  int end = emit_label(b), r;
  value null = value_null();
  emit_step(b, STEP_CONST, target, add_constant(b, null), 0);
  emit_step(b, STEP_JUMP_NULL_ROW, 0, e->slot, 0)->d = end;
  if (rc == HDB_OK) rc = emit_value(b, g, target, &r);
  if (rc == HDB_OK && k->affinity > AFF_BLOB) emit_step(b, STEP_AFFINITY, target, target, 0)->affinity = k->affinity;
  emit_here(b, end);
  b->depth--;
  b->c->depth--;
  b->c->auth_context = context;
  return rc;
}

static bool is_virtual(const expr *e) {
  const table *t = e->object;
  return e->op == EX_COLUMN && t && e->column >= 0 && e->column < t->columns_n && t->columns[e->column].generated == 1 &&
         t->columns[e->column].generation;
}

/* A column of a stored table; values of other rows may carry a subtype, which does not pass. */
static bool is_stored(const expr *e) {
  const table *t = e->object;
  return t && t->schema && t->kind != TABLE_VIEW && t->kind != TABLE_VIRTUAL;
}

static status emit_column(builder *b, expr *e, int target) {
  if (is_virtual(e)) return emit_generated(b, e, target);
  if (e->column < 0) emit_step(b, STEP_ROWID, target, e->slot, 0);
  else emit_step(b, is_stored(e) ? STEP_COLUMN : STEP_COLUMN_PLAIN, target, e->slot, e->column);
  return HDB_OK;
}

/* ---- operators ---- */
enum expr_step_op compare_step(uint8_t op, enum expr_step_op first) { return (enum expr_step_op)((int)first + (op - EX_EQ)); }

static status emit_binary(builder *b, expr *e, enum expr_step_op op, int target) {
  int left, right;
  TRY(emit_value(b, e->left, TARGET_ANY, &left));
  TRY(emit_value(b, e->right, TARGET_ANY, &right));
  emit_step(b, op, target, left, right);
  return HDB_OK;
}

static status emit_unary(builder *b, expr *e, enum expr_step_op op, uint8_t flags, int target) {
  int r;
  TRY(emit_value(b, e->left, TARGET_ANY, &r));
  emit_step(b, op, target, r, 0)->flags = flags;
  return HDB_OK;
}

static status emit_compare(builder *b, expr *e, int target) {
  if (expr_vector_size(e->left) > 1) return emit_row_compare(b, e->op, e->left, e->right, target);
  int left, right;
  const collation *order;
  TRY(compare_collation(b->c, e->left, e->right, &order));
  TRY(emit_value(b, e->left, TARGET_ANY, &left));
  TRY(emit_value(b, e->right, TARGET_ANY, &right));
  step *s = emit_step(b, compare_step(e->op, STEP_EQ), target, left, right);
  s->affinity = compare_affinity(e->left, e->right);
  s->collation = order;
  return HDB_OK;
}

/* a AND b: b is not looked at when a is false. */
static status emit_logic(builder *b, expr *e, int target) {
  int end = emit_label(b), left, right;
  bool and = e->op == EX_AND;
  TRY(emit_value(b, e->left, TARGET_ANY, &left));
  emit_step(b, and ? STEP_AND : STEP_OR, target, left, left);
  emit_step(b, and ? STEP_JUMP_FALSE : STEP_JUMP_TRUE, 0, left, 0)->d = end;
  TRY(emit_value(b, e->right, TARGET_ANY, &right));
  emit_step(b, and ? STEP_AND : STEP_OR, target, left, right);
  emit_here(b, end);
  return HDB_OK;
}

static status emit_between(builder *b, expr *e, int target) {
  if (expr_vector_size(e->left) > 1) {
    int low = emit_register(b), high = emit_register(b);
    TRY(emit_row_compare(b, EX_GE, e->left, e->list->items[0].e, low));
    TRY(emit_row_compare(b, EX_LE, e->left, e->list->items[1].e, high));
    emit_step(b, STEP_AND, target, low, high);
  } else {
    int left;
    TRY(emit_value(b, e->left, TARGET_ANY, &left));
    int results[2] = {emit_register(b), emit_register(b)};
    for (int i = 0; i < 2; i++) {
      expr *bound = e->list->items[i].e;
      int r;
      const collation *order;
      TRY(compare_collation(b->c, e->left, bound, &order));
      TRY(emit_value(b, bound, TARGET_ANY, &r));
      step *s = emit_step(b, i ? STEP_LE : STEP_GE, results[i], left, r);
      s->affinity = compare_affinity(e->left, bound);
      s->collation = order;
    }
    emit_step(b, STEP_AND, target, results[0], results[1]);
  }
  if (e->negated) emit_step(b, STEP_NOT, target, target, 0);
  return HDB_OK;
}

/* 0 UTF-8; 2, 3 UTF-16, little and big endian: what a blob that becomes text holds. */
static uint8_t text_encoding(compile *c) {
  int64_t encoding = 1;
  const database *d = &c->db->databases[DB_MAIN];
  if (!d->txn || database_get_number(c->db, DB_MAIN, "encoding", 1, &encoding) != HDB_OK) return 0;
  return encoding == 2 || encoding == 3 ? (uint8_t)encoding : 0;
}

static status emit_cast(builder *b, expr *e, int target) {
  int r;
  TRY(emit_value(b, e->left, TARGET_ANY, &r));
  step *s = emit_step(b, STEP_CAST, target, r, 0);
  s->affinity = cast_affinity(e->text);
  if (s->affinity == AFF_TEXT || s->affinity == AFF_BLOB) s->flags = text_encoding(b->c);
  return HDB_OK;
}

static status emit_raise(builder *b, expr *e) {
  compile *c = b->c;
  if (!c->in_trigger && !c->trigger_table)
    return resolve_error(c, e->offset, "RAISE() may only be used within a trigger-program");
  int r = 0;
  if (e->left) TRY(emit_value(b, e->left, TARGET_ANY, &r));
  emit_step(b, STEP_RAISE, (int)e->i, e->left ? r : -1, 0);
  return HDB_OK;
}

status emit_subplan(builder *b, expr *e) {
  if (e->subplan) return HDB_OK;
  return plan_subquery(b->c, e);
}

static status sizes_differ(builder *b, const expr *e, int expected) {
  if (e->op == EX_ROW) return resolve_error(b->c, e->offset, "row value misused");
  return resolve_error(b->c, -1, "sub-select returns %d columns - expected %d", expr_vector_size(e), expected);
}

status emit_row(builder *b, expr *e, int n, int *first) {
  if (expr_vector_size(e) != n) return sizes_differ(b, e, n);
  *first = compile_registers(b->c, n);
  if (e->op == EX_SUBQUERY) {
    TRY(emit_subplan(b, e));
    emit_step(b, STEP_SCALAR, *first, e->subplan, n);
    return HDB_OK;
  }
  int r;
  if (e->op != EX_ROW) return emit_value(b, e, *first, &r);
  for (int i = 0; i < n; i++) TRY(emit_value(b, e->list->items[i].e, *first + i, &r));
  return HDB_OK;
}

static status emit_operation(builder *b, expr *e, int target) {
  switch (e->op) {
  case EX_COLUMN: return emit_column(b, e, target);
  case EX_AGG_COLUMN: emit_step(b, STEP_COLUMN, target, e->slot, e->column); return HDB_OK;
  case EX_REGISTER: emit_step(b, STEP_MOVE, target, e->column, 0); return HDB_OK;
  case EX_NEG: return emit_unary(b, e, STEP_NEG, 0, target);
  case EX_BITNOT: return emit_unary(b, e, STEP_BITNOT, 0, target);
  case EX_NOT: return emit_unary(b, e, STEP_NOT, 0, target);
  case EX_ISNULL: return emit_unary(b, e, STEP_ISNULL, 0, target);
  case EX_NOTNULL: return emit_unary(b, e, STEP_NOTNULL, 0, target);
  case EX_IS_TRUE: return emit_unary(b, e, STEP_TRUTH, STEP_TRUE, target);
  case EX_IS_FALSE: return emit_unary(b, e, STEP_TRUTH, 0, target);
  case EX_IS_NOT_TRUE: return emit_unary(b, e, STEP_TRUTH, STEP_TRUE | STEP_NEGATED, target);
  case EX_IS_NOT_FALSE: return emit_unary(b, e, STEP_TRUTH, STEP_NEGATED, target);
  case EX_CAST: return emit_cast(b, e, target);
  case EX_ADD: return emit_binary(b, e, STEP_ADD, target);
  case EX_SUB: return emit_binary(b, e, STEP_SUB, target);
  case EX_MUL: return emit_binary(b, e, STEP_MUL, target);
  case EX_DIV: return emit_binary(b, e, STEP_DIV, target);
  case EX_MOD: return emit_binary(b, e, STEP_MOD, target);
  case EX_CONCAT: return emit_binary(b, e, STEP_CONCAT, target);
  case EX_BITAND: return emit_binary(b, e, STEP_BITAND, target);
  case EX_BITOR: return emit_binary(b, e, STEP_BITOR, target);
  case EX_SHL: return emit_binary(b, e, STEP_SHL, target);
  case EX_SHR: return emit_binary(b, e, STEP_SHR, target);
  case EX_EQ:
  case EX_NE:
  case EX_LT:
  case EX_LE:
  case EX_GT:
  case EX_GE:
  case EX_IS:
  case EX_ISNOT: return emit_compare(b, e, target);
  case EX_AND:
  case EX_OR: return emit_logic(b, e, target);
  case EX_BETWEEN: return emit_between(b, e, target);
  case EX_LIKE:
  case EX_GLOB:
  case EX_REGEXP:
  case EX_MATCH: return emit_like(b, e, target);
  case EX_IN: return emit_in(b, e, target);
  case EX_CASE: return emit_case(b, e, target);
  case EX_FUNCTION: return emit_function(b, e, target);
  case EX_ROW:
  case EX_SUBQUERY:
    if (expr_vector_size(e) != 1) return sizes_differ(b, e, 1);
    if (e->op == EX_ROW) return emit_operation(b, e->list->items[0].e, target);
    TRY(emit_subplan(b, e));
    emit_step(b, STEP_SCALAR, target, e->subplan, 1);
    return HDB_OK;
  case EX_EXISTS:
    TRY(emit_subplan(b, e));
    emit_step(b, STEP_EXISTS, target, e->subplan, 0);
    return HDB_OK;
  case EX_RAISE: return emit_raise(b, e);
  case EX_AGGREGATE: return resolve_error(b->c, e->offset, "misuse of aggregate: %s()", e->text);
  case EX_WINDOW: return resolve_error(b->c, e->offset, "misuse of window function %s()", e->text);
  default: return error_set(b->c->err, HDB_INTERNAL, "expression %d was not resolved", e->op);
  }
}

static status emit_node(builder *b, expr *e, int target) {
  TRY(emit_operation(b, e, target));
  if (e->plain && (e->op == EX_FUNCTION || e->op == EX_CASE || e->op == EX_SUBQUERY)) emit_step(b, STEP_PLAIN, target, 0, 0);
  return HDB_OK;
}

static bool calls_function(void *context, expr *e) {
  if (e->op == EX_FUNCTION || e->op == EX_LIKE || e->op == EX_GLOB || e->op == EX_REGEXP || e->op == EX_MATCH)
    *(bool *)context = true;
  return !*(bool *)context;
}

/* What depends on no row: once an execution. */
static status emit_constant(builder *b, expr *e, int target) {
  bool call = false;
  ast_walk(e, false, calls_function, &call);
  if (!call) {
    b->in_prologue = true;
    status rc = emit_node(b, e, target);
    b->in_prologue = false;
    return rc;
  }
  int state = compile_state(b->c), end = emit_label(b);
  b->in_once = true;
  emit_step(b, STEP_ONCE, 0, state, 0)->d = end;
  status rc = emit_node(b, e, target);
  emit_step(b, STEP_ONCE_END, 0, state, 0);
  emit_here(b, end);
  b->in_once = false;
  return rc;
}

/* A literal or parameter: its register, else -1. */
static int leaf_register(builder *b, const expr *e, int target) {
  value v;
  TRY(check_hex(b->c, e->op == EX_NEG || e->op == EX_PLUS ? e->left : e));
  if (literal(e, &v)) return constant_register(b, STEP_CONST, add_constant(b, v), target);
  if (e->op == EX_PARAM) return constant_register(b, STEP_PARAM, (int)e->i, target);
  return -1;
}

static bool is_hoisted(const builder *b, const expr *e) {
  return !b->in_prologue && !b->in_once && expr_vector_size(e) == 1 && expr_is_constant(e);
}

status emit_value(builder *b, expr *e, int target, int *out) {
  while (e->op == EX_PLUS || e->op == EX_COLLATE) e = e->left;
  int r = leaf_register(b, e, TARGET_ANY);
  if (r < 0 && e->op == EX_REGISTER) r = e->column;
  if (r < 0 && is_hoisted(b, e)) {
    r = emit_register(b);
    TRY(emit_constant(b, e, r));
  }
  if (r < 0) {
    *out = target_register(b, target);
    return emit_node(b, e, *out);
  }
  *out = r;
  if (target == TARGET_ANY) return HDB_OK;
  emit_step(b, STEP_MOVE, target, r, 0); /* other branches may write to target */
  *out = target;
  return HDB_OK;
}

/* A result column: its register is its alone, so what is constant stays in it. */
status emit_result(builder *b, expr *e, int target) {
  int ignored;
  while (e->op == EX_PLUS || e->op == EX_COLLATE) e = e->left;
  if (leaf_register(b, e, target) >= 0) return HDB_OK;
  if (is_hoisted(b, e)) return emit_constant(b, e, target);
  return emit_value(b, e, target, &ignored);
}

/* ---- whole programs ---- */
static void patch(step *steps, int first, int n, const buf *labels) {
  const int32_t *at = (const int32_t *)(const void *)labels->p;
  for (int i = first; i < n; i++) {
    step *s = &steps[i];
    bool jumps = (s->op >= STEP_JUMP && s->op <= STEP_JUMP_NULL_ROW) || s->op == STEP_ONCE;
    if (jumps) s->d = at[s->d] + first;
  }
}

static step *keep_steps(builder *b, const buf *head, const buf *from, int *n) {
  size_t first = head ? head->n : 0;
  step *steps = arena_alloc(b->c->memory, first + from->n);
  if (!steps) return NULL;
  if (first) memcpy(steps, head->p, first);
  if (from->n) memcpy((uint8_t *)steps + first, from->p, from->n);
  *n = (int)((first + from->n) / sizeof(step));
  patch(steps, (int)(first / sizeof(step)), *n, &b->labels);
  return steps;
}

static status builder_start(compile *c, builder *b) {
  *b = (builder){.c = c};
  b->p = arena_zero(c->memory, sizeof *b->p);
  return b->p ? HDB_OK : resolve_no_memory(c);
}

static status builder_finish(builder *b, status rc, expr_program **out) {
  expr_program *p = b->p;
  bool failed = buf_failed(&b->steps) || buf_failed(&b->prologue) || buf_failed(&b->loads) || buf_failed(&b->constants) ||
                buf_failed(&b->labels);
  if (rc == HDB_OK && failed) rc = resolve_no_memory(b->c);
  if (rc == HDB_OK) {
    p->state = -1;
    p->steps = keep_steps(b, NULL, &b->steps, &p->steps_n);
    if (b->prologue.n || b->loads.n) {
      b->in_prologue = true;
      emit_step(b, STEP_END, 0, 0, 0);
      p->prologue = keep_steps(b, &b->loads, &b->prologue, &p->prologue_n);
      p->state = compile_state(b->c);
    }
    p->constants_n = (int)(b->constants.n / sizeof(value));
    if (p->constants_n) p->constants = arena_copy(b->c->memory, b->constants.p, b->constants.n);
    if (b->c->memory->failed) rc = resolve_no_memory(b->c);
  }
  buf_free(&b->steps);
  buf_free(&b->prologue);
  buf_free(&b->loads);
  buf_free(&b->constants);
  buf_free(&b->labels);
  *out = rc == HDB_OK ? p : NULL;
  return rc;
}

status expr_compile(compile *c, expr *e, expr_program **out) {
  builder b;
  TRY(builder_start(c, &b));
  b.p->results = 1;
  expr *inner = e;
  while (inner->op == EX_PLUS || inner->op == EX_COLLATE) inner = inner->left;
  if ((inner->op == EX_COLUMN && inner->column >= 0 && !is_virtual(inner)) || inner->op == EX_AGG_COLUMN) {
    b.p->direct = DIRECT_COLUMN;
    b.p->slot = inner->slot;
    b.p->column = inner->column;
  }
  status rc = emit_value(&b, e, TARGET_ANY, &b.p->result);
  emit_step(&b, STEP_END, 0, 0, 0);
  return builder_finish(&b, rc, out);
}

/* Neighbouring columns of one slot: one step. */
static int column_run(const expr_list *list, int from) {
  const expr *first = list->items[from].e;
  int n = 0;
  for (; from + n < list->n; n++) {
    const expr *e = list->items[from + n].e;
    if ((e->op != EX_COLUMN && e->op != EX_AGG_COLUMN) || e->column < 0 || is_virtual(e)) break;
    if (e->slot != first->slot || e->column != first->column + n || e->op != first->op) break;
  }
  return n;
}

status expr_compile_list(compile *c, expr_list *list, expr_program **out, int *first_register) {
  builder b;
  TRY(builder_start(c, &b));
  status rc = HDB_OK;
  int n = list ? list->n : 0;
  b.p->results = n;
  b.p->result = *first_register = compile_registers(c, n);
  for (int i = 0; i < n && rc == HDB_OK;) {
    int run = column_run(list, i);
    if (run > 1) {
      const expr *e = list->items[i].e;
      step *s = emit_step(&b, STEP_COLUMNS, b.p->result + i, e->slot, e->column);
      s->d = run;
      s->e = e->op == EX_COLUMN && !is_stored(e);
      i += run;
    } else {
      rc = emit_result(&b, list->items[i].e, b.p->result + i);
      i++;
    }
  }
  emit_step(&b, STEP_END, 0, 0, 0);
  return builder_finish(&b, rc, out);
}

status expr_compile_condition(compile *c, expr *e, expr_program **out) {
  builder b;
  TRY(builder_start(c, &b));
  b.p->results = 1;
  status rc = emit_value(&b, e, TARGET_ANY, &b.p->result);
  emit_step(&b, STEP_END, b.p->result, 0, 0)->flags = STEP_REGISTER;
  return builder_finish(&b, rc, out);
}

status expr_compile_filter(compile *c, expr *e, expr_program **out) {
  builder b;
  TRY(builder_start(c, &b));
  b.p->results = 0;
  int otherwise = emit_label(&b);
  status rc = emit_jump(&b, e, otherwise, false, true);
  emit_step(&b, STEP_END, 0, 0, 0)->flags = STEP_TRUE;
  emit_here(&b, otherwise);
  emit_step(&b, STEP_END, 0, 0, 0);
  return builder_finish(&b, rc, out);
}
