/* Rows of pg_catalog and information_schema: what their builders share (pg_catalog.c). */
#ifndef HDB_SQL_PG_ROWS_H
#define HDB_SQL_PG_ROWS_H

#include "sql/describe.h"
#include "sql/internal.h"
#include "sql/pg_catalog.h"

enum {
  PUBLIC = 2200, PG_CATALOG = 11, INFORMATION_SCHEMA = 13000, PG_TEMP = 13001, OWNER = 10, HEAP = 2, BTREE = 403,
  DATABASE = 16384, CLASS_TABLES = 1259, CLASS_TYPES = 1247, CLASS_PROCEDURES = 1255, CLASS_NAMESPACES = 2615
};

typedef struct rowset {
  hdb *db;
  arena memory;
  value *cells;
  int columns, fill;       /* fill: the next column of the row at work */
  int64_t n, capacity, at;
  bool built, failed;
  schema_stamp stamps[2];
} rowset;

/* pg_catalog.c */
typedef void (*table_visitor)(rowset *r, const table *t, bool temp);
void pg_each_table(rowset *r, table_visitor visit);
const pg_type *pg_column_type(rowset *r, const table *t, const column *c, int32_t *modifier);
description pg_view_columns(rowset *r, const table *t);
bool pg_has_row_id_key(const table *t);
uint32_t pg_row_id_index(const table *t);
bool pg_not_null(const table *t, int k);
const char *pg_default_text(rowset *r, const table *t, int k);
const char *pg_view_text(rowset *r, const table *t);
const char *pg_catalog_name(rowset *r);

typedef struct constraint_view {
  uint32_t oid;
  const char *name, *key, *foreign_key, *definition;
  char kind;
  uint32_t index, foreign;
  char on_update, on_delete;
  const foreign_key *f;
  const index_ *x;
} constraint_view;
typedef void (*constraint_visitor)(rowset *r, const table *t, const constraint_view *c);
void pg_each_constraint(rowset *r, const table *t, constraint_visitor visit);

/* pg_information.c */
void pg_build_is_tables(rowset *r);
void pg_build_is_columns(rowset *r);
void pg_build_schemata(rowset *r);
void pg_build_is_constraints(rowset *r);
void pg_build_key_columns(rowset *r);
void pg_build_is_views(rowset *r);

/* pg_sequence.c */
typedef struct sequence_view {
  uint32_t oid, table;         /* table: that it belongs to, 0 none */
  int column;                  /* from 1 */
  const char *name, *type;
  const table *t;              /* its own; NULL: of an AUTOINCREMENT key */
  int64_t increment, least, most, start;
  bool cycle, temp;
} sequence_view;
bool pg_is_sequence(const table *t);
typedef void (*sequence_visitor)(rowset *r, const sequence_view *q);
void pg_each_sequence(rowset *r, sequence_visitor visit);
bool pg_sequence_number(hdb *db, const char *name, int64_t *number);
void pg_build_sequence(rowset *r);
void pg_build_sequences(rowset *r);
void pg_build_is_sequences(rowset *r);
void pg_build_depend(rowset *r);

#endif
