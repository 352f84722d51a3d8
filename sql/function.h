/* SQL functions: builtin and user-defined in one registry.
 *
 * A scalar function reads its arguments (consecutive values) and writes *result, whose bytes may lie in
 * call->memory or borrow an argument's. On failure it sets call->err (error_set) and returns its code.
 * An aggregate's state is `state_size` zeroed bytes kept by the executor; `step` adds a row, `final` gives the
 * result and releases what the state holds, `release` does only the latter (abandoned query). `value` and `inverse`
 * make it usable with moving window frames; without `inverse` the executor recomputes the frame.
 */
#ifndef HDB_SQL_FUNCTION_H
#define HDB_SQL_FUNCTION_H

#include "sql/hdb.h"
#include "sql/value.h"

typedef struct function function;
/* Where a call stands in a schema's text: there the answer must not depend on the moment. */
enum function_place { PLACE_ANYWHERE, PLACE_INDEX, PLACE_CHECK, PLACE_GENERATED };
typedef struct function_call {
  hdb *db;
  const function *f;
  arena *memory;          /* for results; rewound by the executor */
  error *err;
  const collation *collation; /* of the arguments: min, max, nullif, ... ; NULL: BINARY */
  void *state;            /* aggregates */
  struct exec *exec;      /* the running statement: 'now', random */
  uint8_t place;          /* enum function_place */
} function_call;

enum function_flags {
  FUNC_DETERMINISTIC = 1,
  FUNC_AGGREGATE = 2,
  FUNC_WINDOW = 4,         /* has value and inverse, or is a pure window function */
  FUNC_WINDOW_ONLY = 8,    /* row_number(), lag(), ...: the executor computes it, by name */
  FUNC_USER = 16,
  FUNC_DIRECTONLY = 32,
  FUNC_INNOCUOUS = 64,
  FUNC_NEEDS_COLLATION = 128,
  FUNC_STATEMENT_CONSTANT = 256, /* 'now': one value within a statement, not foldable */
  FUNC_CHANGES_STATE = 512,
  FUNC_MINMAX = 1024,      /* min(x), max(x) aggregates: bare columns come from their row */
  FUNC_SUBTYPE = 2048
};

struct function {
  const char *name;
  int arguments;          /* -1: any */
  int min_arguments;      /* with -1: at least */
  unsigned flags;
  size_t state_size;
  status (*scalar)(function_call *call, int n, const value *arguments, value *result);
  status (*step)(function_call *call, int n, const value *arguments);
  status (*final)(function_call *call, value *result);
  status (*value)(function_call *call, value *result);
  status (*inverse)(function_call *call, int n, const value *arguments);
  void (*release)(function_call *call);
  void *data;             /* user functions: adapter (user_function.c) */
};

/* Builtin tables, each in its file (func_core.c, func_math.c, func_date.c, func_json.c, func_aggregate.c ...). */
typedef struct function_table {
  const function *functions;
  int n;
} function_table;
extern const function_table functions_core, functions_math, functions_date, functions_json, functions_aggregate, functions_pg;
extern const function_table functions_fts, functions_pg_catalog, functions_pg_text, functions_pg_zone, functions_pg_number, functions_pg_json, functions_pg_enum;

/* The best match: the connection's own first, exact argument count before -1; NULL: none. *name_exists tells whether
 * another argument count would do ("wrong number of arguments to function f()" against "no such function: f"). */
const function *function_find(hdb *db, const char *name, int arguments, bool *name_exists);
/* For pragma_function_list: visits all. */
void function_each(hdb *db, void (*visit)(void *, const function *), void *context);

/* After a step of a FUNC_MINMAX aggregate: did this row become the best one (bare columns come from it)? */
bool function_minmax_taken(const void *state);

/* Milliseconds since julian day 0, fixed at the statement's first use (exec_now in exec.h). */
int64_t function_now_ms(function_call *call);
uint64_t function_random(function_call *call);
/* printf as SQLite's, used by printf()/format() and by %Q-like needs inside. */
status sql_format(function_call *call, slice format, int n, const value *arguments, buf *out);
/* LIKE and GLOB as SQLite's: escape 0 none. */
bool like_match(const char *pattern, size_t pattern_n, const char *text, size_t text_n, uint32_t escape, bool case_sensitive);
bool glob_match(const char *pattern, size_t pattern_n, const char *text, size_t text_n);
/* quote(v) into out. */
void value_quote(const value *v, buf *out);
/* -> and ->> */
status json_arrow(function_call *call, const value *json, const value *path, bool as_text, value *result);

#endif
