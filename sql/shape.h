/* Statements that differ in plain integers alone: one text for all of them. */
#ifndef HDB_SQL_SHAPE_H
#define HDB_SQL_SHAPE_H

#include "kv/base/bytes.h"
#include "sql/hdb.h"

enum { SHAPE_VALUES = 32 };

/* The statement with $1, $2 .. where it has integers whose place is taken by a parameter without changing what it means;
 * false: it has none, or is not one of those that are looked at. */
bool shape_of(slice sql, buf *shape, int64_t values[SHAPE_VALUES], int *n);
/* The way that such a statement takes may depend on the values themselves: a partial index or a view is named in it. */
bool shape_needs_values(hdb *db, const char *shape);

#endif
