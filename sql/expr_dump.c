/* Compiled expressions as text, a line a step: for EXPLAIN and for reading while debugging. */
#include "sql/expr_program.h"

static const char *const step_names[] = {
#define X(name) #name,
    EXPR_STEPS(X)
#undef X
};

static void dump_constant(const expr_program *p, int number, buf *out) {
  const value *v = &p->constants[number];
  switch (v->type) {
  case VAL_INTEGER: buf_printf(out, " ; %lld", (long long)v->i); break;
  case VAL_REAL: buf_printf(out, " ; %.15g", v->r); break;
  case VAL_TEXT: buf_printf(out, " ; '%.*s'", (int)(v->n < 40 ? v->n : 40), v->n ? v->p : ""); break;
  case VAL_BLOB: buf_printf(out, " ; blob of %u", v->n); break;
  default: buf_text(out, " ; NULL");
  }
}

static void dump_steps(const expr_program *p, const step *steps, int n, const char *head, buf *out) {
  for (int i = 0; i < n; i++) {
    const step *s = &steps[i];
    buf_printf(out, "%s%3d %-14s a=%d b=%d c=%d d=%d e=%d", head, i, step_names[s->op], s->a, s->b, s->c, s->d, s->e);
    if (s->affinity) buf_printf(out, " affinity=%c", s->affinity);
    if (s->flags) buf_printf(out, " flags=%d", s->flags);
    if (s->op == STEP_CONST) dump_constant(p, s->b, out);
    else if (s->op == STEP_CALL) buf_printf(out, " ; %s", s->f->name);
    buf_text(out, "\n");
  }
}

void expr_dump(const expr_program *p, buf *out) {
  if (p->direct == DIRECT_COLUMN) buf_printf(out, "column %d of slot %d\n", p->column, p->slot);
  dump_steps(p, p->prologue, p->prologue_n, "once ", out);
  dump_steps(p, p->steps, p->steps_n, "", out);
}
