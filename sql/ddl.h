/* What the DDL files share: rows of sqlite_schema, checks of names, settings rows. */
#ifndef HDB_SQL_DDL_H
#define HDB_SQL_DDL_H

#include "sql/catalog_build.h"

/* ---- ddl.c ---- */
typedef struct schema_object {
  int64_t rowid;
  const char *type, *name, *tbl_name, *sql; /* in the visit's memory */
  int64_t root;
} schema_object;
/* All rows in order, read before the first visit: the visitor may change them. */
status schema_each(hdb *db, int database, status (*visit)(void *context, const schema_object *o), void *context);
status schema_insert(hdb *db, int database, const char *type, const char *name, const char *tbl_name, uint32_t tree,
                     const char *sql);
status schema_update(hdb *db, int database, const schema_object *o);
status schema_delete(hdb *db, int database, int64_t rowid);
/* The schema's version moves: at the end of every DDL statement. Two DDL transactions thereby conflict. */
status schema_changed(hdb *db, int database);
status schema_reload(hdb *db, int database); /* ... and the texts parse */
/* What SQLite's statements on its schema table ask the authorizer: a row written, rows removed by a column. */
status ddl_authorize_row(compile *c, int database);
status ddl_authorize_removal(compile *c, int database, const char *key, bool has_tree);
/* A row appended to / a plain row of an ordinary table (sqlite_sequence, sqlite_stat1). */
status plain_row_append(hdb *db, int database, const table *t, const value *values, int n);
/* Deletes the rows whose text column k is `name`. */
status plain_rows_delete(hdb *db, int database, const table *t, int k, const char *name);
/* Gives those rows another text in that column. */
status plain_rows_rename(hdb *db, int database, const table *t, int k, const char *from, const char *to);

/* Marks the program as a DDL statement on a database. */
status ddl_program(compile *c, int database, status (*start)(exec *x), void *data);
/* Where a CREATE puts its object: *database; "unknown database x", "temporary table name must be unqualified". */
status ddl_target(compile *c, const qualified_name *name, bool temp, const char *kind, int *database);
/* "object name reserved for internal use: x" */
status ddl_check_name(compile *c, const char *name, const char *type, const char *tbl_name);
const char *schema_table_name(int database); /* sqlite_master or sqlite_temp_master, for the authorizer */
/* The name as SQLite writes it into generated text: quoted when it must be. */
void buf_identifier(buf *b, const char *name);
/* SQLite's %Q; a name in quotes is buf_quoted_name of kv/base/bytes.h */
void buf_quoted_text(buf *b, const char *text);

/* The first schema named in a query (or a trigger's steps) that is not the database's own; NULL: none. */
const char *select_foreign_schema(hdb *db, select *s, int database);
const char *trigger_foreign_schema(hdb *db, create_trigger_statement *g, int database);

/* ---- ddl_index.c ---- */
/* Writes a row (and no data) for an index, and fills it. */
status index_create(exec *x, int database, const char *name, const char *table_name, const char *sql);

/* Compares an index with what its table says; a sentence to `report` for each difference. */
status index_verify(hdb *db, int database, index_ *i, status (*report)(void *context, const char *message), void *context);

/* ---- ddl_table.c ---- */
/* Checks of a new table's expressions (CHECK, generated columns); also for ALTER TABLE ADD COLUMN. */
status table_check_expressions(compile *c, table *t);

/* Repeated names become a:1, a:2 ... */
status unique_column_names(arena *memory, const char **names, int n);

/* Compiles a trigger's WHEN and steps and forgets them: do their names still mean something? (for ALTER; trigger.c) */
status trigger_test(hdb *db, int database, create_trigger_statement *g);

/* ---- virtual_table.c ---- */
status compile_create_virtual(compile *c, create_virtual_table_statement *s, int database, const char *sql);

/* ---- ddl_drop.c ---- */
status drop_table(exec *x, int database, const char *name, bool is_view);
status drop_index(exec *x, int database, const char *name);
status drop_trigger(exec *x, int database, const char *name);

#endif
