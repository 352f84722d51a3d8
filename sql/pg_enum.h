/* Enumerated types of the postgres dialect.
 *
 * A type is a table without rows whose schema text carries its labels in their order, so that types are transactional,
 * branched and travelled in like tables, and names collide as in PostgreSQL:
 *   CREATE TABLE mood / *postgres enum sad,ok,so%2cso* / (label text)
 * A column of the type is declared `enum mood text` (`enumarray mood text`): text to SQLite, whatever the name. Values are
 * their labels; order is asked of the type where it matters (describe_coerce.c).
 */
#ifndef HDB_SQL_PG_ENUM_H
#define HDB_SQL_PG_ENUM_H

#include "sql/pg.h"

enum { PG_ENUMS = 100000000, PG_ENUM_ARRAYS = 800000000 }; /* a type's number is PG_ENUMS and its tree's, an array type's PG_ENUM_ARRAYS more */
struct table;

typedef struct pg_enum {
  pg_type type, array;
  const char **labels;
  int n;
} pg_enum;

/* Of the table's text; NULL: it is none. In the arena. */
const pg_enum *pg_enum_of_text(arena *memory, const char *name, uint32_t oid, const char *sql);
/* NULL: no such type. Borrowed from the schema, as long as it. */
const pg_enum *pg_enum_by_name(hdb *db, const char *name);
const pg_enum *pg_enum_by_oid(hdb *db, uint32_t oid);
void pg_enum_each(hdb *db, void (*visit)(void *context, const pg_enum *e), void *context);
/* "mood", "mood[]" as a column's declared type, appended; and back: the type's name, *array. false: it is another. */
void pg_enum_declare(const char *name, bool array, buf *out);
bool pg_enum_declared(const char *declared, char name[64], bool *array);
int pg_enum_place(const pg_enum *e, const char *label, size_t n); /* from 0; -1: none of its labels */
/* "invalid input value for enum mood: \"x\"" for another than NULL and a label; arrays element by element. */
status pg_enum_check(const pg_enum *e, bool array, const value *v, arena *memory, error *err);
/* All labels as one text for pg_enum_order and pg_enum_label. */
const char *pg_enum_list(arena *memory, const pg_enum *e);

/* pg_type_by_name and pg_type_by_oid, and the connection's own types. */
const pg_type *pg_type_named(hdb *db, const char *name, int32_t *modifier);
const pg_type *pg_type_numbered(hdb *db, uint32_t oid);
const pg_type *pg_type_of_declared(hdb *db, const char *declared, bool postgres, int32_t *modifier);
static inline bool pg_is_own_type(uint32_t oid) { return oid >= PG_ENUMS && oid < 1000000000; }

/* CREATE TABLE, ADD COLUMN: the type that a column says it is of must be there. */
status pg_enum_must_exist(hdb *db, const char *declared, error *err);

/* The name behind a number; false: there is no such type. */
bool hdb_type_name(hdb *db, uint32_t oid, char name[64], bool *array);
bool hdb_type_exists(hdb *db, const char *name);
uint32_t hdb_type_number(hdb *db, const char *name); /* 0: none */
/* The labels of a type, for the server's CREATE and ALTER TYPE: the comment that its text carries. */
bool pg_enum_put(const char *const *labels, int n, buf *out);

#endif
