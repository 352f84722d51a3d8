/* The past in SQL: AS OF and VERSIONS BETWEEN of table references, and the schemas of then.
 *
 * x of `t AS OF TIMESTAMP x` is a value of the program: evaluated once an execution, before it starts. Tables are
 * looked up in the schema as of then. While x is not known (it is no literal, and this is the first compilation) the
 * present schema is guessed, or the last one that had the table; the execution looks whether the guess was right, and
 * else compiles again with the time that it has found.
 */
#ifndef HDB_SQL_TIME_H
#define HDB_SQL_TIME_H

#include "sql/internal.h"
#include "sql/virtual.h"

typedef struct time_value {
  uint8_t kind;       /* enum time_kind */
  struct operand *o;
  int64_t known;      /* compiled for this time; 0: a guess */
} time_value;
typedef struct time_use { /* a table was looked up: its schema holds for times in [from, until) */
  int value, database;
  int64_t from, until;
} time_use;
struct program_times {
  int values_n, values_capacity, uses_n, uses_capacity;
  time_value *values;
  time_use *uses;
  const int64_t *known; /* of an earlier compilation, while compiling; borrowed */
  int known_n;
  schema **schemas;     /* counted */
  int schemas_n, schemas_capacity;
};

/* source.time_at, access.time: 0 the present, TIME_AT_PRESENT the same inside of something AS OF, else value + 1 */
enum { TIME_AT_PRESENT = -1 };

/* x of AS OF x, resolved with nothing in scope; *at: its place, for exec_time. */
status time_add_value(compile *c, uint8_t kind, expr *written, int *at);
/* The source's x becomes a value of the program. */
status time_source(compile *c, source *s);
/* The table of this name as of the source's time. NULL: no such one. */
status time_table(compile *c, source *s, const char *schema_name, const char *name, table **out, int *database);
/* s->table becomes the table with the hidden columns of VERSIONS BETWEEN (time_versions.c). */
status time_versions(compile *c, source *s, table *t, int database);
/* Evaluates the values of x's program. *fits: its schemas are those of these times. */
status times_evaluate(exec *x, bool *fits);
/* The time for a cursor, 0: the present. */
status exec_time(exec *x, int time, int64_t *out);
void times_free(program *p);
/* The time of an older schema to compile for when the guess did not compile; 0: there is none. */
int64_t times_older_guess(const program *p);

/* Microseconds since 1970. Text: YYYY-MM-DD[ T]HH:MM[:SS[.ffffff]][Z|+-HH:MM] (UTC when naive), 'now', unix seconds. */
bool time_parse(const char *text, size_t n, int64_t *out);
/* 2026-01-31 12:00:00.000000 */
enum { TIME_TEXT = 40 };
void time_text(int64_t time, char out[TIME_TEXT]);
/* HDB_ERROR when the database cannot show this time; then err says which times it can. */
status time_reachable(hdb *db, int database, int64_t time, error *err);
status time_readable(hdb *db, int database, int64_t time, error *err); /* ... and by the transaction that is open */

/* The committed schema of a database as of a time, and for which times it holds. Borrowed from the connection. */
status past_schema(hdb *db, int database, int64_t time, schema **out, int64_t *from, int64_t *until);
void past_schemas_free(database *d);

extern const virtual_module virtual_versions, virtual_transactions, virtual_branches, virtual_diff, virtual_conflicts;

#endif
