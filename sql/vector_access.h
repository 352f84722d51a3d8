/* What the planner tells ACCESS_VECTOR (plan_vector.c makes it, exec_vector.c runs it). */
#ifndef HDB_SQL_VECTOR_ACCESS_H
#define HDB_SQL_VECTOR_ACCESS_H

#include "sql/plan_internal.h"
#include "sql/vector.h"
#include "sql/vector_index.h"

typedef struct vector_access {
  vector_key key;
  int column;    /* of the slot */
  bool not_null; /* WHERE column IS NOT NULL, and nothing else */
  bool nulls_last;
  bool swapped; /* the query is the function's first argument */
  expr_program *query;
  expr_program *limit, *offset; /* NULL: none known */
  const char *name;             /* of the declared index, NULL */
  const char *label;            /* that, or table.column */
} vector_access;

/* A SELECT's ORDER BY that is a distance from one vector: the join's first source then comes in that order. */
status plan_vector(compile *c, select *s, const expr_list *order_by, join_node *j, bool *done);

/* CREATE INDEX ... USING: HDB_ERROR when it says what cannot be. */
status vector_index_check(compile *c, const create_index_statement *s, const table *t);
/* Rows are about to come into this table: each of its VECTOR columns has an index from the first row on (the declared
 * one, what is stored, else for cosine), built when there are enough. */
void vector_index_expect(engine *e, const table *t);
/* The declared index of the column and metric: its parameters into key. Its name, NULL: none. */
const char *vector_index_declared(const table *t, int column, vector_key *key);

#endif
