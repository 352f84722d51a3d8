/* Queries: a resolved SELECT becomes a tree of plan nodes; each node is one file with init / next / end.
 *
 * The plan tree is read-only; a node's state is exec->states[number]. Rows travel through slots: a scan node sets its
 * slot, nodes above read it; nodes that keep rows (sort, aggregate, distinct, materialize, window) copy what they need
 * into their own store and yield through a slot of their own.
 */
#ifndef HDB_SQL_PLAN_H
#define HDB_SQL_PLAN_H

#include "sql/expr.h"

typedef struct plan_node plan_node;
typedef struct query query;

/* Resolves (when not yet) and plans. Result columns are query's columns 0..n-1. */
status plan_query(compile *c, select *s, scope *outer, query **out);
int query_columns(const query *q);
/* The index whose order the rows of a plain query come in; NULL: none, or not known. */
const index_ *query_walked_index(const query *q);
/* One execution at a time in an exec: open (again), next until HDB_DONE, close. The row is valid until the next call. */
status query_open(exec *x, const query *q);
status query_next(exec *x, const query *q, const value **row); /* HDB_ROW, HDB_DONE, or an error */
void query_close(exec *x, const query *q);

/* Names, declared types and origins of the result columns, as SQLite labels them. */
status query_result_columns(compile *c, const query *q, select *s, result_column **out, int *n);
/* EXPLAIN QUERY PLAN rows: id, parent, notused, detail. */
typedef status (*explain_visitor)(void *context, int id, int parent, const char *detail);
/* x: of the EXPLAIN, with its parameters. */
status query_explain(const query *q, exec *x, explain_visitor visit, void *context);

/* Gives back whatever plan nodes of this execution hold (also after an error): exec_rewind and exec_close call it. */
void node_states_release(exec *x);

/* Rows kept for later: a spool in memory, past its budget in a file. */
typedef struct spool spool;
spool *spool_new(exec *x, int columns);
status spool_add(spool *s, const value *row);
int64_t spool_rows(const spool *s);
status spool_rewind(spool *s);
status spool_next(spool *s, const value **row); /* HDB_ROW, HDB_DONE */
void spool_free(spool *s);

#endif
