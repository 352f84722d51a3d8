/* ALTER ... RENAME: finding the tokens of a stored text that mean a table or a column, and writing others there. */
#ifndef HDB_SQL_RENAME_H
#define HDB_SQL_RENAME_H

#include "sql/ddl.h"

typedef struct rename {
  hdb *db;
  arena *memory;
  error *err;
  int database;          /* of the table */
  const table *table;    /* as it was before */
  const char *column;    /* NULL: the table itself is renamed */
  const char *new_name;
  bool quote;            /* the new name is written quoted wherever it goes */
  bool bodies;           /* look into views and trigger bodies (not with legacy_alter_table) */
  bool strings;          /* instead: "words" that name nothing become strings */
  bool parents;          /* rewrite REFERENCES of other tables */
} rename_;

/* The object's text with the new name; *changed false: it does not mean the table. `database` is where it lives. */
status rename_text(rename_ *r, int database, const schema_object *o, const char **text, bool *changed);
/* Does everything in the database (and TEMP) still make sense? "error in view v after rename: ..."
 * strict: in tables and indexes "words" are names and nothing else. skip: TEMP triggers on this table are not
 * looked at (SQLite comes to those only afterwards). */
status schema_test(hdb *db, int database, const char *when, bool strict, const char *skip, arena *memory);

#endif
