/* pg_catalog beyond tables (pg_objects.c). */
#ifndef HDB_SQL_PG_OBJECTS_H
#define HDB_SQL_PG_OBJECTS_H

#include "sql/pg_rows.h"

void pg_build_description(rowset *r);
void pg_build_procedures(rowset *r);
void pg_build_session(rowset *r, const char *table_name);
/* The sequence of a column, "public.t_id_seq", appended; column from 1. */
bool pg_sequence_of(hdb *db, const table *t, int column, buf *out);
/* COMMENT ON of a relation's number; column 0: its own. */
bool pg_comment_of(hdb *db, int64_t number, int64_t column, buf *out);
bool pg_procedure_text(int64_t number, bool result, buf *out); /* types of the arguments, or the result's */
bool pg_procedure_name(int64_t number, buf *out);
int64_t pg_procedure_number(const char *name); /* 0: none */
/* Bytes, as the engine estimates them: rows as they are now, without history. */
enum { PG_SIZE_RELATION, PG_SIZE_TOTAL, PG_SIZE_INDEXES, PG_SIZE_DATABASE };
int64_t pg_size(hdb *db, int64_t number, int what);

#endif
