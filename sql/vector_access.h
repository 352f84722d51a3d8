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

/* A line of EXPLAIN QUERY PLAN. The strategy is chosen while the search runs, by how many rows qualify and whether the graph
 * is there: where no outer row is needed for it, it is found out by the choice itself, up to where it is made. */
typedef struct vector_line {
  const access *a;
  const char *name, *column; /* as the query calls the table */
  bool continues;
} vector_line;
/* Changes detail when it is known. */
status vector_explain(exec *x, const vector_line *line, const char **detail);
/* exec_vector.c: makes the choice. VECTOR_UNKNOWN: the query is NULL, as a parameter without a value is. */
enum vector_choice { VECTOR_UNKNOWN, VECTOR_WALKS, VECTOR_SCANS, VECTOR_SCANS_FEW, VECTOR_SCANS_UNBUILT, VECTOR_SCANS_OVER };
status vector_choose(exec *x, const access *a, enum vector_choice *choice);

/* CREATE INDEX ... USING: HDB_ERROR when it says what cannot be. */
status vector_index_check(compile *c, const create_index_statement *s, const table *t);
/* Rows are about to come into this table: each of its VECTOR columns has an index from the first row on (the declared
 * one, what is stored, else for cosine), built when there are enough. */
void vector_index_expect(engine *e, const table *t);
/* The declared index of the column and metric: its parameters into key. Its name, NULL: none. */
const char *vector_index_declared(const table *t, int column, vector_key *key);

#endif
