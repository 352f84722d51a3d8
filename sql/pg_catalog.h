/* pg_catalog and information_schema: read-only tables over the real catalog, there in the postgres dialect without being
 * created, and the functions that go with them. */
#ifndef HDB_SQL_PG_CATALOG_H
#define HDB_SQL_PG_CATALOG_H

#include "sql/pg.h"
#include "sql/virtual.h"

/* NULL: no such table. */
const virtual_module *pg_catalog_find(const char *name);
/* TABLE_COLUMN_seq of an AUTOINCREMENT key as a table of one row; its module has no name. NULL: none. */
const virtual_module *pg_serial_find(hdb *db, const char *name);
/* The name behind a regclass, regtype, regnamespace, ... number, appended; false: none (the number is its text). */
bool pg_reg_text(hdb *db, uint32_t reg_type, int64_t number, buf *out);
/* 'name'::regclass and the like; false: no such object. */
bool pg_reg_number(hdb *db, uint32_t reg_type, const char *name, int64_t *number);

/* CREATE INDEX ('i'; column > 0: that column alone), constraint ('k') or view ('v') behind a number, appended. */
bool pg_definition(hdb *db, int what, int64_t number, int64_t column, bool pretty, buf *out);
struct index_;
struct foreign_key;
/* Made by ALTER TABLE .. ADD PRIMARY KEY, ADD UNIQUE: 'p', 'u', else 0. */
char pg_index_added_as(const struct index_ *x);
const char *pg_index_name(arena *memory, const struct table *t, const struct index_ *x); /* NULL: the row id's */
const char *pg_foreign_key_name(arena *memory, const struct foreign_key *k);
/* ---- tables whose rows the session makes: settings, roles, activity ---- */
struct rowset;
void row_int(struct rowset *r, int64_t v);
void row_text(struct rowset *r, const char *text); /* NULL: null */
void row_null(struct rowset *r);
void row_end(struct rowset *r);                    /* columns left out are null */
typedef struct pg_source {
  void *context;
  void (*fill)(void *context, const char *table, struct rowset *r);
  const char *owner, *database; /* of everything; the database's name */
} pg_source;
void hdb_set_pg_source(hdb *db, const pg_source *s); /* kept as long as the connection */

const char *pg_owner(const hdb *db);
/* What PostgreSQL would call a table's CHECK number k, or the name it was given. */
const char *pg_check_name(arena *memory, const struct table *t, int k);

#endif
