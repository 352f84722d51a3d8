/* Tables without a tree: table-valued functions (json_each, generate_series, pragma_x), virtual tables (FTS, R*Tree).
 *
 * A module lists its columns; hidden ones are arguments: f(a, b) and WHERE hidden = a both give them values. It opens
 * a cursor, filters it with what is given, and then walks: next, column. A row's values stay valid until next.
 * Modules with more than "hidden column = value" to offer implement `best`.
 */
#ifndef HDB_SQL_VIRTUAL_H
#define HDB_SQL_VIRTUAL_H

#include "sql/exec.h"

typedef struct virtual_module virtual_module;
typedef struct virtual_column {
  const char *name, *type;
  bool hidden;
} virtual_column;

enum virtual_op { VIRTUAL_EQ = 1, VIRTUAL_LT = 2, VIRTUAL_LE = 4, VIRTUAL_GT = 8, VIRTUAL_GE = 16, VIRTUAL_IS = 128, VIRTUAL_MATCH = 1024 };
typedef struct virtual_constraint {
  int column;        /* -1: row id */
  int op;            /* enum virtual_op */
  bool usable;       /* its value is known when the table is read */
  int argument;      /* out: place among filter's arguments, from 1; 0: not used */
  bool omit;         /* out: need not be tested again */
} virtual_constraint;
typedef struct virtual_plan {
  const table *t;
  int constraints_n;
  virtual_constraint *constraints;
  uint64_t columns_used;
  int order_n;       /* ORDER BY columns, when all of it is columns of this table */
  const struct virtual_order { int column; bool descending; } *order;
  /* out */
  bool order_done;
  int number;        /* handed to filter */
  const char *text;  /* ... in the statement's memory; also shown by EXPLAIN QUERY PLAN */
  double cost;
  int64_t rows;
  bool one_row;
} virtual_plan;

struct virtual_module {
  const char *name;
  const virtual_column *columns;   /* NULL: made by create */
  int columns_n;
  /* Chooses; HDB_CONSTRAINT: no plan with these usable constraints. NULL: hidden = value only. */
  status (*best)(hdb *db, virtual_plan *p, arena *memory);
  status (*open)(exec *x, const table *t, void **cursor);
  /* given: bit k: argument k is there (without `best`: of hidden column k); number, text: the plan's. Stands on the
   * first row afterwards. */
  status (*filter)(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n);
  bool (*at_end)(void *cursor);
  status (*next)(exec *x, void *cursor);
  status (*column)(exec *x, void *cursor, int column, value *out);
  int64_t (*rowid)(void *cursor);  /* NULL: rows are numbered from 1 */
  void (*close)(void *cursor);
};

/* The built-in modules; NULL: none of this name. */
const virtual_module *virtual_find(const char *name);
extern const virtual_module virtual_series, virtual_json_each, virtual_json_tree, virtual_pragma;
/* virtual_vector.c: heliosdb_vector_indexes, heliosdb_recall */
extern const virtual_module virtual_vector_indexes, virtual_vector_stats, virtual_recall;

#endif
