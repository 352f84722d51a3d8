/* What the planner tells ACCESS_VECTOR (plan_vector.c makes it, exec_vector.c runs it). */
#ifndef HDB_SQL_VECTOR_ACCESS_H
#define HDB_SQL_VECTOR_ACCESS_H

#include "sql/plan_internal.h"
#include "sql/vector.h"
#include "sql/vector_index.h"

typedef struct vector_access {
  vector_key key;
  int column;            /* of the slot */
  bool swapped;          /* the query is the function's first argument */
  expr_program *query;
  expr_program *limit, *offset; /* NULL: none known */
  const char *label;     /* table.column metric */
} vector_access;

/* A SELECT's ORDER BY that is a distance from one vector: the join's first source then comes in that order. */
status plan_vector(compile *c, select *s, const expr_list *order_by, join_node *j, bool *done);

#endif
