/* What the files of the resolver share (resolve*.c).
 *
 * Two passes over a statement, as errors and the authorizer's calls come in SQLite's order only so:
 *   open   tables, views, CTEs of every FROM, also of subqueries inside expressions; slots; * expanded; USING
 *   names  columns, functions, aggregates, windows, ordinals
 * R1  After `open` every source that has rows of its own has a slot and a table: the catalog's, or one made here whose
 *     columns are the subquery's (kind TABLE_VIEW, no tree).
 * R2  A view or CTE is copied before it is touched: the catalog's trees stay as parsed.
 * R3  Sources of a parenthesised join without a name stay where they are (source.nested); with a name, the join
 *     becomes a subquery SELECT *.
 */
#ifndef HDB_SQL_RESOLVE_H
#define HDB_SQL_RESOLVE_H

#include "sql/internal.h"

/* scope.clause */
enum clause { CLAUSE_NONE, CLAUSE_WHERE, CLAUSE_GROUP_BY, CLAUSE_ORDER_BY };

status resolve_no_memory(compile *c);
/* Sets the message and, in the statement's own text, the offset. */
status resolve_error(compile *c, int32_t offset, const char *format, ...) __attribute__((format(printf, 3, 4)));
static inline bool same_word(const char *a, const char *b) { return strcasecmp(a, b) == 0; }

/* ---- open ---- */
status open_select(compile *c, select *s);
status open_expr(compile *c, expr *e);
status open_list(compile *c, expr_list *list);
status open_from(compile *c, source_list *from);
/* resolve_source.c: table, view, CTE or function behind a name */
select *source_lateral(const source *s); /* the query of pg_lateral((query)); NULL: it is another */
status open_source(compile *c, select *query, source *s);
/* resolve_star.c */
status expand_stars(compile *c, select *s);
status expand_returning(compile *c, scope *s, expr_list *list);
/* resolve_using.c: NATURAL and USING become source.on */
status open_using(compile *c, source_list *from);
status check_parenthesised(compile *c, source_list *list); /* its names, once opened */
/* The columns of a query as a table: names now, types once it is resolved. */
status query_table(compile *c, const char *name, select *s, const name_list *names, table **out);
void query_table_types(compile *c, table *t, select *s);

/* ---- lookup (resolve_name.c) ---- */
enum { MATCH_PARTS = 64 };
typedef struct column_match {
  int count;   /* sources that have it: 2 or more is ambiguous */
  int parts_n; /* > 1: the coalesce of these (FULL JOIN ... USING) */
  struct { source *source; int column; } parts[MATCH_PARTS];
  int tables;  /* sources that the table name fits, for row id names */
  source *last;
} column_match;
void match_column(source_list *list, int n, compile *c, const char *schema, const char *table, const char *name, column_match *m);
bool source_is_named(compile *c, const source *s, const char *schema, const char *table);
status match_expr(compile *c, const column_match *m, expr *e); /* e becomes the column, or coalesce of columns */
status resolve_name(compile *c, scope *s, expr **e);
/* Fills in a column node: slot, column, affinity, collation, usage, the authorizer's word. */
status bind_column(compile *c, source *s, int column, expr *e);
status note_column(compile *c, scope *s, expr *e);
int source_column(const source *s, const char *name); /* -1 none */
/* Visits the sources of a FROM list that have rows of their own, left to right, into parenthesised joins. */
typedef status (*source_visitor)(void *context, source *s);
status each_source(source_list *list, source_visitor visit, void *context);

/* ---- names ---- */
status name_expr(compile *c, scope *s, expr **e);
status name_list_exprs(compile *c, scope *s, expr_list *list);
/* A whole expression or list of them: soft errors end it. */
status name_whole(compile *c, scope *s, expr **e);
status name_whole_list(compile *c, scope *s, expr_list *list);
static inline status soft(compile *c, status rc) {
  if (rc == HDB_NOMEM) return rc;
  c->soft_error = true;
  return HDB_OK;
}
status name_select(compile *c, select *s, scope *outer, int *references);
status name_function(compile *c, scope *s, expr **e);
status authorize_function(compile *c, expr *e, const char *name, bool *ignore); /* ignored: e is NULL then */
status name_subquery(compile *c, scope *s, expr *e);
status name_order_by(compile *c, scope *s, select *q, expr_list *list, const char *clause);
status name_compound_order_by(compile *c, select *s);
const char *english_ordinal(int n, char *out); /* 1st, 2nd, ...; out: 16 bytes */
/* A copy of result column k, under the COLLATE that stands on `over`. */
status alias_copy(compile *c, expr_list *columns, int k, const expr *over, expr **out);
status prohibited(compile *c, const scope *s, const char *what, int32_t offset);

#endif
