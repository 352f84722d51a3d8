/* The compiled form of an expression: steps over registers (expr_*.c alone).
 *
 * P1  Two step arrays. The prologue (literals, parameters, what depends on nothing else and calls no function) runs
 *     once an execution: states[state] tells. The main steps run every time and find those results in registers.
 * P2  A register is written by one program only. Registers of the prologue keep their values as long as the execution;
 *     their bytes lie in exec->lifetime, all others in exec->memory or in the current rows.
 * P3  Jumps go forward only, so a program ends.
 * P4  Calls of functions that depend on no row run at most once an execution, where they stand (`once`), as they may
 *     fail and perhaps are never reached.
 */
#ifndef HDB_SQL_EXPR_PROGRAM_H
#define HDB_SQL_EXPR_PROGRAM_H

#include "sql/resolve.h"

/* name, what it does: a, b, c, d, e are the step's numbers; r = register */
#define EXPR_STEPS(X)                                                                                                  \
  X(END)          /* done; conditions: truth of r[a], or of `flags` */                                                 \
  X(CONST)        /* r[a] = constant b */                                                                              \
  X(PARAM)        /* r[a] = parameter b */                                                                             \
  X(MOVE)         /* r[a] = r[b] */                                                                                    \
  X(COLUMN)       /* r[a] = slot b, column c */                                                                        \
  X(COLUMN_PLAIN) /* the same of a subquery's row: no subtype passes */                                                \
  X(COLUMNS)      /* r[a..] = slot b, columns c.. (d of them); e: as COLUMN_PLAIN */                                   \
  X(PLAIN)        /* r[a] loses its subtype */                                                                         \
  X(ROWID)        /* r[a] = row id of slot b */                                                                        \
  X(ADD) X(SUB) X(MUL) X(DIV) X(MOD)                                                                                   \
  X(CONCAT) X(BITAND) X(BITOR) X(SHL) X(SHR) /* r[a] = r[b] op r[c] */                                                 \
  X(NEG) X(BITNOT) X(NOT) X(ISNULL) X(NOTNULL) /* r[a] = op r[b] */                                                    \
  X(TRUTH)        /* r[a] = r[b] IS [NOT] TRUE/FALSE: flags */                                                         \
  X(EQ) X(NE) X(LT) X(LE) X(GT) X(GE) X(IS) X(ISNOT) /* r[a] = r[b] op r[c] */                                         \
  X(AND) X(OR)    /* r[a] = r[b] op r[c], three-valued */                                                              \
  X(JUMP)         /* to d */                                                                                           \
  X(JUMP_TRUE) X(JUMP_FALSE) /* r[b]; flags: also when NULL */                                                         \
  X(JUMP_NULL) X(JUMP_NOTNULL)                                                                                         \
  X(JUMP_EQ) X(JUMP_NE) X(JUMP_LT) X(JUMP_LE) X(JUMP_GT) X(JUMP_GE) /* r[b] op r[c]; flags: also when NULL */          \
  X(JUMP_IS) X(JUMP_ISNOT)                                                                                             \
  X(COLUMN_EQ) X(COLUMN_NE) X(COLUMN_LT) X(COLUMN_LE) X(COLUMN_GT) X(COLUMN_GE) /* slot b column c op r[e]: to d */    \
  X(JUMP_NULL_ROW) /* slot b stands on the null row: to d */                                                           \
  X(CAST)         /* r[a] = CAST(r[b]) */                                                                              \
  X(AFFINITY)     /* r[a] = r[b] under the affinity */                                                                 \
  X(LIKE)         /* r[a] = r[b] LIKE r[c]; d: state of the prepared pattern, e: register of ESCAPE, -1 none */        \
  X(SET)          /* state d = set of r[b .. b+c) */                                                                   \
  X(IN)           /* r[a] = r[b] IN the set of state d */                                                              \
  X(CALL)         /* r[a] = f(r[b .. b+c)) */                                                                          \
  X(SCALAR)       /* r[a .. a+c) = first row of subplan b */                                                           \
  X(EXISTS)       /* r[a] = subplan b has a row */                                                                     \
  X(IN_SUBPLAN)   /* r[a] = r[b .. b+c) IN subplan d */                                                                \
  X(RAISE)        /* fails with r[b]; a = action */                                                                    \
  X(ONCE)         /* when state b is set: to d; else results live as long as the execution, until ONCE_END */          \
  X(ONCE_END)     /* sets state b */

enum expr_step_op {
#define X(name) STEP_##name,
  EXPR_STEPS(X)
#undef X
  STEPS
};

enum step_flags {
  STEP_NULL_JUMPS = 1,
  STEP_NEGATED = 2,
  STEP_TRUE = 4,        /* TRUTH: of TRUE, not FALSE; END: the condition holds */
  STEP_REGISTER = 8,    /* END: the truth of r[a] */
  STEP_NULL = 16,       /* END: NULL */
  STEP_GLOB = 32,
  STEP_CASE_SENSITIVE = 64
};

typedef struct step {
  uint16_t op;
  uint8_t affinity;
  uint8_t flags;
  int32_t a, b, c, d, e;
  union {
    const collation *collation; /* comparisons; NULL: BINARY */
    const function *f;
    const void *p;
  };
  const collation *argument_collation;
} step;

enum direct { DIRECT_NO, DIRECT_COLUMN, DIRECT_CONSTANT };

struct expr_program {
  step *steps, *prologue; /* prologue NULL: none */
  int steps_n, prologue_n;
  int state;
  int result;             /* register, first of `results` */
  int results;
  uint8_t direct;         /* enum direct: no steps are needed */
  int32_t slot, column;   /* DIRECT_COLUMN */
  const value *constants;
  int constants_n;
};

/* ---- building ---- */
typedef struct builder {
  compile *c;
  expr_program *p;
  buf steps, prologue, loads, constants;
  buf labels;             /* int32 each: where it stands, -1 not yet */
  bool in_prologue, in_once;
  int depth;              /* of virtual generated columns within each other */
} builder;

enum { TARGET_ANY = -1 };
step *emit_step(builder *b, enum expr_step_op op, int a, int r1, int r2);
int emit_label(builder *b);
void emit_here(builder *b, int label);
int emit_register(builder *b);
/* Code that leaves e's value in a register: target's, or any (a shared one that must not be written to). */
status emit_value(builder *b, expr *e, int target, int *out);
/* The same into a register that nothing else writes to: what is constant is put there once. */
status emit_result(builder *b, expr *e, int target);
/* A vector's n elements in consecutive registers. */
status emit_row(builder *b, expr *e, int n, int *first);
/* Jumps to label when e is `sense` (null_jumps: also when NULL), else goes on. */
status emit_jump(builder *b, expr *e, int label, bool sense, bool null_jumps);
/* expr_call.c */
status emit_function(builder *b, expr *e, int target);
status emit_case(builder *b, expr *e, int target);
status emit_in(builder *b, expr *e, int target);
status emit_like(builder *b, expr *e, int target);
status emit_row_compare(builder *b, enum expr_op op, expr *left, expr *right, int target);
status emit_subplan(builder *b, expr *e);
enum expr_step_op compare_step(uint8_t op, enum expr_step_op first); /* first: STEP_EQ, STEP_JUMP_EQ, ... */

/* ---- running: the slow paths (expr_support.c) ---- */
struct like_pattern;
struct value_set;
int compare_under(const step *s, const value *a, const value *b, arena *memory);
status like_step(exec *x, const step *s, value *r, arena *memory);
status set_step(exec *x, const step *s, value *r);
int set_find(const struct value_set *set, const value *v); /* 1, 0, -1 */
status concat_step(exec *x, value *out, const value *a, const value *b, arena *memory);
void arithmetic_step(uint16_t op, value *out, const value *a, const value *b);
void bits_step(uint16_t op, value *out, const value *a, const value *b);

#endif
