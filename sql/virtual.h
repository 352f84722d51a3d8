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

/* ---- CREATE VIRTUAL TABLE: modules with tables of their own ---- */
typedef struct virtual_kind virtual_kind;
/* What a stored virtual table's virtual_data begins with. */
typedef struct virtual_instance {
  const virtual_kind *kind;
} virtual_instance;
typedef struct virtual_change {
  const int64_t *old;   /* row id of the row that goes; NULL: INSERT */
  const value *values;  /* the new row, hidden columns too; NULL: DELETE */
  const value *rowid;   /* the new row's id when one is given, else NULL */
  uint8_t conflict;     /* the statement's OR clause */
} virtual_change;
struct virtual_kind {
  const char *name;
  const virtual_module *module;
  /* Reads the arguments: t->columns, t->virtual_data. Their mistakes are its errors. */
  status (*declare)(hdb *db, arena *memory, const create_virtual_table_statement *s, table *t, error *err);
  /* Makes the shadow tables; their suffixes, NULL-terminated. */
  status (*create)(exec *x, int database, const table *t);
  const char *const *(*shadows)(const table *t);
  /* NULL: read only. *rowid: the new row's id, when *written. */
  status (*change)(exec *x, int database, const table *t, const virtual_change *c, int64_t *rowid, bool *written);
};
const virtual_kind *virtual_kind_find(const char *name);
static inline const virtual_kind *virtual_kind_of(const table *t) {
  return t->kind == TABLE_VIRTUAL && t->declaration && t->virtual_data ? ((const virtual_instance *)t->virtual_data)->kind : NULL;
}
/* For the catalog: columns and module of a table by its text; an unknown module leaves them out. */
status virtual_declare(hdb *db, arena *memory, const create_virtual_table_statement *s, table *t, error *err);
/* Renames or drops what belongs to a virtual table. */
status virtual_drop_shadows(exec *x, int database, const table *t);
status virtual_rename_shadows(hdb *db, int database, const table *t, const char *to);
/* A shadow table of it: the table's name, '_', the suffix. NULL: it is not there. */
const table *virtual_shadow(const table *t, const char *suffix);
/* One row in (old NULL), changed or out; counts it. */
status virtual_write(exec *x, int database, const table *t, const virtual_change *c, bool counts);
void virtual_add_column(arena *memory, table *t, int capacity, const char *name, const char *type, bool hidden);
extern const virtual_kind virtual_fts5, virtual_fts4, virtual_fts3, virtual_fts5vocab, virtual_rtree, virtual_rtree_i32;

/* The built-in modules; NULL: none of this name. */
const virtual_module *virtual_find(const char *name);
extern const virtual_module virtual_series, virtual_json_each, virtual_json_tree, virtual_pragma;
extern const virtual_module virtual_mirror_log;            /* mirror_log.c */
extern const virtual_module virtual_info, virtual_stats; /* virtual_operator.c */
/* virtual_vector.c: heliosdb_vector_indexes, heliosdb_recall */
extern const virtual_module virtual_stored;
extern const virtual_module virtual_vector_indexes, virtual_vector_stats, virtual_recall, virtual_vector_check;

#endif
