/* pg_catalog and information_schema: read-only tables over the real catalog, there in the postgres dialect without being
 * created, and the functions that go with them. */
#ifndef HDB_SQL_PG_CATALOG_H
#define HDB_SQL_PG_CATALOG_H

#include "sql/pg.h"
#include "sql/virtual.h"

/* NULL: no such table. */
const virtual_module *pg_catalog_find(const char *name);
/* The name behind a regclass, regtype, regnamespace, ... number, appended; false: none (the number is its text). */
bool pg_reg_text(hdb *db, uint32_t reg_type, int64_t number, buf *out);
/* 'name'::regclass and the like; false: no such object. */
bool pg_reg_number(hdb *db, uint32_t reg_type, const char *name, int64_t *number);

/* CREATE INDEX ('i'; column > 0: that column alone), constraint ('k') or view ('v') behind a number, appended. */
bool pg_definition(hdb *db, int what, int64_t number, int64_t column, bool pretty, buf *out);

#endif
