/* What a statement's columns and parameters are, before it runs: labels, types, the table behind a column.
 *
 * Works on the statement's own tree as parsed, with the catalog: static types, nothing is executed. Types are
 * PostgreSQL's numbers (sql/pg.h). Parameters take their type from a cast, the compared or assigned column, the other
 * operand, the function's argument, LIMIT; else text.
 */
#ifndef HDB_SQL_DESCRIBE_H
#define HDB_SQL_DESCRIBE_H

#include "sql/pg.h"

typedef struct described_column {
  const char *label;
  uint32_t type;
  int32_t modifier;
  uint32_t table;   /* number of the table as pg_class has it, 0: an expression */
  uint16_t column;  /* attnum */
} described_column;

typedef struct description {
  int columns_n;    /* 0: gives no rows (or could not be told: columns_known false) */
  described_column *columns;
  int parameters_n;
  uint32_t *parameters; /* types, those given kept */
} description;

/* All lies in the arena. given: types the client has declared, 0 where not. Never fails but for memory: what cannot be
 * told is text. */
struct table;
/* The number pg_class and RowDescription give a table. */
uint32_t pg_table_oid(const struct table *t);
/* In the tree: literals in quotes that are compared with something of a type take that type's canonical form (bool 't' is
 * 1, '2024-1-5' beside a date 2024-01-05), a date beside a timestamp becomes one. An error with its place for a literal
 * that is none of the type. */
struct statement;
struct select;
status pg_coerce_statement(hdb *db, arena *memory, struct statement *tree, slice text, error *err);
status pg_coerce_select(hdb *db, arena *memory, struct select *s, error *err); /* a view's, a copy */
struct expr;
status pg_coerce_default(hdb *db, arena *memory, struct expr *e, uint32_t type, error *err); /* of a column of that type, a copy */
status hdb_describe(hdb *db, const char *sql, const uint32_t *given, int given_n, arena *memory, description *out);

/* Of the constraint whose error has just come: its words, the connection's until its next error. false: nothing is known. */
typedef struct violation_words {
  const char *table, *column, *constraint, *message, *detail;
} violation_words;
bool hdb_violation(hdb *db, int code, violation_words *out);

/* Around the execution of a SELECT .. FOR UPDATE (lock_rows.c): what is read in between is validated at the commit. */
int hdb_watch_reads(hdb *db);                 /* what to give back to the other */
void hdb_unwatch_reads(hdb *db, int before);

#endif
