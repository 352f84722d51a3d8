/* What describe.c (types) and describe_coerce.c (the tree made to fit them) share.
 *
 * D1  An expression may be looked at several times: what changes the tree changes its type with it, so that the second
 *     look finds nothing to do.
 */
#ifndef HDB_SQL_DESCRIBE_TREE_H
#define HDB_SQL_DESCRIBE_TREE_H

#include "sql/describe.h"
#include "sql/internal.h"
#include "sql/pg_enum.h"

typedef struct typed {
  uint32_t type; /* 0: has none of its own */
  int32_t modifier;
} typed;

typedef struct describe {
  hdb *db;
  arena *memory;
  uint32_t *parameters;
  int parameters_n;
  int depth;
  bool failed;
  bool coerce;         /* literals take the form of the type that they are compared with: the tree is changed */
  error *err;
  status rc;           /* why not */
  const uint8_t *text; /* offsets count from here */
} describe;

static inline typed typed_of(uint32_t type) { return (typed){type, -1}; }
static inline bool is_moment(uint32_t type) { return type == PG_TIMESTAMP || type == PG_TIMESTAMPTZ; }

/* 'text' becomes the type's canonical value, as PostgreSQL reads an untyped literal. */
void coerce_literal(describe *d, expr *e, typed t);
void coerce_interval(describe *d, expr *e);
void coerce_pair(describe *d, expr *left, expr *right, typed l, typed r);
/* What is stored in, or unified with, a type: moments between zones; the type it has then. */
typed coerce_to(describe *d, expr *e, typed from, typed to);
/* A call whose argument number 0 or 1 is a timestamptz: in the session's zone. *known: its type. */
bool coerce_zoned_call(describe *d, expr *e, const typed *arguments, int n, typed *result);
/* CAST(e AS type), the tree's node or pg_cast's: its operand in the session's zone. */
void coerce_cast(describe *d, expr *e, expr *operand, typed from, uint32_t to);
/* Where an order is asked of an enumerated type: e becomes its place. other: what it is compared with. */
bool coerce_is_enum(describe *d, typed t); /* false when nothing is changed anyway */
void coerce_enum_order(describe *d, expr *e, typed t, typed other);
/* min, max, greatest, least of one. */
bool coerce_enum_choice(describe *d, expr *e, typed t);
/* enum_range(x), enum_first(x), enum_last(x): of x's type. */
typed coerce_enum_call(describe *d, expr *e, typed t);
/* describe_insert.c: DEFAULT among values, fewer values than columns. */
void coerce_insert(describe *d, insert_statement *s);
void coerce_set(describe *d, const qualified_name *table, set_list *set);
/* pg_typeof: known before anything runs. */
typed coerce_typeof(describe *d, expr *e, typed t);
/* tz + interval, tz - interval, tz - timestamp */
bool coerce_zoned_arithmetic(describe *d, expr *e, expr *left, expr *right, typed l, typed r, int op);

#endif
