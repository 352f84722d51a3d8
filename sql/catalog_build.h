/* From the trees of CREATE statements to the catalog's objects; used by the loading of schemas and by DDL's checks. */
#ifndef HDB_SQL_CATALOG_BUILD_H
#define HDB_SQL_CATALOG_BUILD_H

#include "sql/internal.h"

typedef struct build {
  hdb *db;
  arena *memory;
  error *err;
  schema *schema; /* may be NULL (checks of a CREATE) */
  bool loading;   /* from a stored text: what only a CREATE refuses is let pass */
} build;

/* An ordinary table of a CREATE TABLE with columns: columns, constraints, automatic indexes (tree 0 each). */
status catalog_build_table(build *b, const create_table_statement *s, table **out);
/* CREATE INDEX on a table. Expressions stay unresolved. */
status build_index(build *b, table *t, const create_index_statement *s, index_ **out);
/* Puts an index into its table's list, in SQLite's order. */
void table_add_index(table *t, index_ *i);
/* The columns behind the key of a WITHOUT ROWID table's index; done once when everything else is known. */
status index_append_key(build *b, index_ *i);
/* Resolves expressions and WHERE of an index against slot 0 and settles their collations. */
status index_resolve(build *b, index_ *i);
/* All of a table's indexes in SQLite's order (newest first, a WITHOUT ROWID table's own key in its place); returns their
 * number. `list` has room for all. */
int table_index_order(const table *t, const index_ **list);
/* All tables, sqlite_schema among them, in the order SQLite walks them (catalog_order.c). HDB_NOMEM. */
status schema_walk_order(const schema *s, arena *memory, table ***out, int *n);
/* The table of sqlite_schema itself. */
status build_schema_table(build *b, int database, table **out);
/* Adds the clause to the table's foreign keys. */
void schema_hash_add(schema *s, table *t);

bool name_equal(const char *a, const char *b);
bool expr_is_default_constant(expr *e);

#endif
