/* Expressions: names resolved, then flat steps.
 *
 * resolve: binds names to slots, functions to implementations; gives affinity and collation; splits aggregates and
 * window calls from plain functions; expands * and NATURAL/USING; folds nothing. Works in place on the tree.
 * expr_compile: a resolved tree becomes steps over registers, evaluated without recursion and without allocation
 * but for results (exec->memory). Constant parts are computed once. Jumps make AND, OR, CASE, coalesce lazy.
 * Virtual generated columns are replaced by their expression here.
 */
#ifndef HDB_SQL_EXPR_H
#define HDB_SQL_EXPR_H

#include "sql/exec.h"

enum scope_allow {
  ALLOW_AGGREGATE = 1, ALLOW_WINDOW = 2, ALLOW_SUBQUERY = 4, ALLOW_PARAM = 8, ALLOW_NONDETERMINISTIC = 16,
  ALLOW_DQS = 32, /* "x" unresolved becomes a string */
  ALLOW_ALL = 63
};
typedef struct scope scope;
struct scope {
  scope *outer;             /* enclosing query's, NULL */
  source_list *from;        /* sources visible here; NULL: none */
  select *query;            /* whose clause this is; NULL outside of queries */
  expr_list *aliases;       /* result columns that may be named (ORDER BY, GROUP BY, WHERE ...); NULL */
  unsigned allow;           /* enum scope_allow */
  const char *place;        /* for texts: "CHECK constraints", "index expressions", "partial index WHERE clauses",
                               "generated columns", "a DEFAULT"; NULL */
  const table *table;       /* a lone table without a source (CHECK, index, generated, trigger WHEN) ... */
  int slot;                 /* ... and its slot */
  /* NEW and OLD of a trigger come from compile; excluded of an upsert: */
  int excluded_slot;        /* -1 none */
  bool has_aggregate, has_window; /* out */
  int references_outer;     /* out: how many levels out the farthest reference goes */
  uint8_t clause;           /* of the resolver */
  bool in_aggregate;        /* of the resolver: inside an aggregate's arguments */
};

/* A whole SELECT with everything below it; outer NULL at the top. Views and CTEs are expanded into source.select. */
status resolve_select(compile *c, select *s, scope *outer);
status resolve_expr(compile *c, scope *s, expr **e);
status resolve_list(compile *c, scope *s, expr_list *list);
/* Opens the sources of a FROM list (tables looked up, slots given) without a select around (UPDATE ... FROM). */
status resolve_from(compile *c, source_list *from, scope *outer);
/* A view's own columns (names, types, affinities), filled into the catalog's table when they are not known yet. */
status resolve_view_columns(hdb *db, table *view, int database, error *err);
/* Do these VALUES hold aggregates or window calls? They are run as a compound of SELECTs then. */
bool values_need_query(hdb *db, const select *s);
/* The affinity and collation a comparison of the two uses. */
uint8_t compare_affinity(const expr *left, const expr *right);
status compare_collation(compile *c, const expr *left, const expr *right, const collation **out);
status find_collation(hdb *db, const char *name, const collation **out, error *err); /* "no such collation sequence: x" */
uint8_t expr_affinity(const expr *e);
uint8_t cast_affinity(const char *type); /* CAST(x AS type); no type at all: NUMERIC */
status expr_collation(compile *c, const expr *e, const collation **out);
bool expr_is_constant(const expr *e); /* no slot, no subquery, only deterministic functions; parameters count as constant */
int expr_vector_size(const expr *e);  /* columns of a row value or subquery, 1 for a scalar */
expr *expr_skip_collate(expr *e);     /* what stands under COLLATEs */
/* What a result column is called: AS name; a column's own name; else its source text. `as` NULL: no AS. */
const char *expr_result_name(compile *c, const struct expr_item *item, int number);

typedef struct expr_program expr_program;
/* Several results at once share common parts: result k lies in registers[first + k] after expr_eval_list. */
status expr_compile(compile *c, expr *e, expr_program **out);
status expr_compile_list(compile *c, expr_list *list, expr_program **out, int *first_register);
/* A condition: expr_test returns 1, 0, or -1 for NULL through *truth (CHECK needs to tell 0 from NULL). */
status expr_compile_condition(compile *c, expr *e, expr_program **out);
/* The same for WHERE, ON, HAVING, FILTER: only "1 or not" is asked, NULL may come as 0. Faster: jumps, fused steps. */
status expr_compile_filter(compile *c, expr *e, expr_program **out);
/* The steps as text, one line each (EXPLAIN, debugging). */
void expr_dump(const expr_program *p, buf *out);
status expr_eval(exec *x, const expr_program *p, const value **out); /* valid until the next eval of p or a rewind */
status expr_eval_list(exec *x, const expr_program *p);
status expr_test(exec *x, const expr_program *p, int *truth);

/* ---- subqueries inside expressions: implemented by the planner (plan_subquery.c) ---- */
struct select;
typedef struct plan_subplan plan_subplan;
/* Registers e's subquery (EX_SUBQUERY, EX_EXISTS, EX_IN with a select or source); sets e->subplan. */
status plan_subquery(compile *c, expr *e);
/* First row (n values) or NULLs; cached for the execution while it refers to no outer slot. */
status subplan_scalar(exec *x, int subplan, const value **row, int *n);
status subplan_exists(exec *x, int subplan, bool *found);
/* left IN (subquery): 1, 0, -1 NULL; left has as many values as the subquery has columns. */
status subplan_in(exec *x, int subplan, const value *left, int n, int *truth);

#endif
