/* What a violated constraint says in PostgreSQL's words (violation.c). */
#ifndef HDB_SQL_VIOLATION_H
#define HDB_SQL_VIOLATION_H

#include "sql/describe.h"
#include "sql/exec.h"

void violation_free(hdb *db);
void violation_forget(hdb *db); /* no violation is left */
void violation_not_null(exec *x, const table *t, int column, const value *row);
void violation_check(exec *x, const table *t, int number, const value *row);
/* i NULL: the row id. s: the new row. */
void violation_unique(exec *x, const table *t, const index_ *i, slot *s);
/* By key column. */
void violation_no_parent(exec *x, const foreign_key *k, const value *values);
void violation_children(exec *x, const foreign_key *k, const table *parent, const int *columns, const value *values);

#endif
