/* Plan nodes and the planner's own structures; used by plan_*.c and exec_*.c alone.
 *
 * N1  A node is read-only; what changes is its state, made on its first open from exec->lifetime and found through
 *     exec->states. Whatever a state holds outside of that arena is given back by the class's close.
 * N2  open may be called again at any time (a rescan); next after HDB_DONE is not allowed; close is idempotent.
 * N3  next of a row node (project, sort, ...) sets *row, columns_n values valid until its next call; next of a source
 *     node (join) sets slots only.
 */
#ifndef HDB_SQL_PLAN_INTERNAL_H
#define HDB_SQL_PLAN_INTERNAL_H

#include "sql/exec_store.h"
#include "sql/internal.h"

typedef struct node_class {
  const char *name;
  size_t state_size;
  status (*open)(exec *x, const plan_node *n);
  status (*next)(exec *x, const plan_node *n, const value **row);
  void (*close)(exec *x, const plan_node *n); /* NULL: nothing to give back */
} node_class;

struct plan_node {
  const node_class *k;
  int state;
  int columns_n;
};

typedef struct node_state { /* the head of every state */
  struct node_state *next;
  const plan_node *node;
} node_state;

/* The node's state, made when it is not there; NULL when out of memory. */
node_state *node_state_make(exec *x, const plan_node *n);
static inline void *node_state_get(exec *x, const plan_node *n) { return x->states[n->state]; }
static inline status node_open(exec *x, const plan_node *n) { return n->k->open(x, n); }
static inline status node_next(exec *x, const plan_node *n, const value **row) { return n->k->next(x, n, row); }
void node_close(exec *x, const plan_node *n);
status node_no_memory(exec *x);

/* ---- values at run time: a column straight from its slot, or a program ---- */
typedef struct operand {
  expr_program *program; /* NULL: the column */
  int32_t slot, column;
} operand;
static inline status operand_eval(exec *x, const operand *o, const value **out) {
  if (o->program) return expr_eval(x, o->program, out);
  *out = slot_column(&x->slots[o->slot], o->column);
  return HDB_OK;
}

/* ---- access to one source ---- */
enum access_kind {
  ACCESS_SCAN,      /* a stored table in key order */
  ACCESS_ROWID,     /* rowid = value, rowid IN (...) */
  ACCESS_RANGE,     /* a range of row ids */
  ACCESS_INDEX,     /* an index (or a WITHOUT ROWID table's own tree): equal prefix, then a range */
  ACCESS_QUERY,     /* a subquery's rows */
  ACCESS_NESTED,    /* a parenthesised join: its node sets slots itself */
  ACCESS_OR,        /* several accesses, each row once */
  ACCESS_HASH,      /* a source read once into a hash table, probed by equality */
  ACCESS_FUNCTION,  /* a table-valued function or virtual table */
  ACCESS_VECTOR,    /* a stored table nearest first (vector_access.h) */
  ACCESS_QUEUE      /* the recursive CTE's current row */
};

typedef struct key_part { /* one column of a search key */
  operand o;
  const expr *e;           /* for EXPLAIN and for hashing */
  operand *list;           /* IN (list) */
  int list_n;
  int subplan;             /* IN (select) */
  int subplan_column;
  bool is_in, list_constant;
  bool null_matches;       /* IS, IS NULL */
  bool is_rowid;           /* the row id behind an index's columns */
  uint8_t affinity;
  bool descending;
  const collation *collation;
} key_part;

typedef struct range_bound {
  bool present, inclusive;
  operand o;
  uint8_t affinity;
} range_bound;

typedef struct index_map { /* where an index entry's columns go */
  int32_t column;          /* slot column, -1 none */
  bool descending;
} index_map;

typedef struct condition {
  expr_program *program;
} condition;

typedef struct access access;
struct access {
  uint8_t kind;
  int slot;
  const table *table;
  int database;
  const index_ *index;
  bool reverse, covering, one_row;
  uint64_t unwanted;       /* columns that nobody reads */
  bool may_map;            /* many lookups may read the table into memory */
  bool not_null_range;     /* a range with an upper bound only leaves NULLs out */
  bool rowid_range;        /* the range is one of row ids behind the index's columns */
  int parts_n;
  key_part *parts;
  range_bound low, high;
  bool range_descending;
  const collation *range_collation;
  int map_n;               /* ACCESS_INDEX, covering: entry columns that are decoded */
  index_map *map;
  int *primary_from;       /* secondary index of a WITHOUT ROWID table: entry column of each key column */
  plan_node *node;         /* ACCESS_QUERY, ACCESS_NESTED, ACCESS_HASH's source */
  int node_columns;
  bool materialize;        /* ACCESS_QUERY: read into a spool at the first open */
  uint8_t *affinities;     /* of a materialised compound's columns: its arms may give other types; NULL */
  struct shared_rows *shared; /* materialised once for several references */
  int *nested_slots;       /* ACCESS_NESTED: all below, for the null row; also ACCESS_HASH */
  int nested_slots_n;
  access *alternatives;    /* ACCESS_OR; ACCESS_HASH: the source */
  int alternatives_n;
  condition *filters; /* of an alternative: the rest of its side of the OR */
  int filters_n;
  int time;                /* source.time_at */
  const void *module;      /* ACCESS_FUNCTION: struct virtual_module */
  operand *arguments;
  int arguments_n;
  uint64_t arguments_given, columns_used;
  int plan_number;
  const char *plan_text;
  int queue_state;         /* ACCESS_QUEUE */
  const struct vector_access *vector; /* ACCESS_VECTOR; its filters are those of the table alone */
  key_spec *hash_specs;
  operand *hash_build;     /* values of the build side, by the inner slot */
  int *hash_order;         /* columns that order rows of equal key: an automatic index would hold them */
  int hash_order_n;
};

typedef struct level {
  access a;
  bool left, right;        /* LEFT: a null row when nothing matched; RIGHT: unmatched rows at the end */
  bool once;               /* first match is enough: nothing of it is read above (DISTINCT, EXISTS) */
  int on_n, where_n;
  condition *on, *where;   /* before and after the row counts as matched */
  access *full;            /* RIGHT: all rows of the source, in the same numbering */
} level;

typedef struct join_node {
  plan_node node;
  int levels_n;
  level *levels;
  bool has_right;
  int constant_n;
  condition *constant;     /* tested once an open */
} join_node;
extern const node_class join_class, single_class; /* single: one level, neither LEFT nor RIGHT */

/* ---- row nodes ---- */
typedef struct project_node {
  plan_node node;
  const plan_node *child;
  expr_program *program;
  int first;               /* register of column 0 */
} project_node;
extern const node_class project_class;

typedef struct values_node {
  plan_node node;
  int rows_n;
  struct values_row { expr_program *program; int first; } *rows;
} values_node;
extern const node_class values_class;

typedef struct filter_node { /* HAVING */
  plan_node node;
  const plan_node *child;
  expr_program *condition;
} filter_node;
extern const node_class filter_class;

typedef struct distinct_node {
  plan_node node;
  const plan_node *child;
  int keys_n;              /* the first keys_n columns */
  key_spec *specs;
  bool in_order;           /* equal rows are neighbours */
} distinct_node;
extern const node_class distinct_class;

typedef struct limit_node {
  plan_node node;
  const plan_node *child;
  expr_program *limit, *offset; /* NULL: none */
} limit_node;
extern const node_class limit_class;
/* limit < 0: none. "datatype mismatch" */
status limit_values(exec *x, const expr_program *limit, const expr_program *offset, int64_t *limit_out, int64_t *offset_out);

typedef struct sort_node {
  plan_node node;
  const plan_node *child;
  int keys_n;
  sort_key *keys;
  int ordered_n;           /* the rows come in order of so many keys already: sorted block by block */
  const limit_node *limit; /* keep only so many */
  const project_node *project; /* child, when the first key is a plain column: it can be looked at before */
  operand first_key;
} sort_node;
extern const node_class sort_class;

enum { ARM_FIRST = COMPOUND_NONE };
typedef struct compound_node {
  plan_node node;
  uint8_t op;              /* enum compound_op */
  const plan_node *left, *right;
  key_spec *specs;
  bool ordered;            /* under ORDER BY: of equal rows the first of the last side that has one */
} compound_node;
extern const node_class compound_class;

typedef struct recursive_node {
  plan_node node;
  const plan_node *initial;
  int steps_n;
  const plan_node **steps;
  bool distinct;
  key_spec *specs;
  int keys_n;              /* ORDER BY: the queue is a priority queue */
  sort_key *keys;
  expr_program *limit, *offset;
} recursive_node;
extern const node_class recursive_class;
status recursive_current(exec *x, int state, const value **row); /* the row the steps read */

enum aggregate_fast { FAST_NONE, FAST_COUNT, FAST_SUM, FAST_MIN, FAST_MAX };
typedef struct aggregate_call {
  const function *f;
  const char *name;
  int arguments_n;
  operand *arguments;
  expr_program *filter;
  const collation *collation;
  bool distinct, distinct_in_order; /* in order: equal values are neighbours */
  key_spec *distinct_specs;
  int order_n;             /* ORDER BY inside: keys behind the arguments in the sorter's rows */
  operand *order;
  sort_key *order_keys;
  bool minmax;             /* decides the bare columns */
  bool count_star;         /* count(*) without FILTER */
  uint8_t fast;            /* enum aggregate_fast */
  size_t state_at;         /* in the group's payload */
  int out;                 /* where in the slot */
} aggregate_call;

typedef struct aggregate_node {
  plan_node node;
  const plan_node *child;
  int slot;                /* values: keys, bare columns, results */
  int keys_n, bare_n, calls_n;
  operand *keys;
  key_spec *specs;
  operand *bare;
  int *bare_out;           /* where in the slot */
  aggregate_call *calls;
  int minmax;              /* number of the call that decides the bare columns, -1 none */
  bool filter_resets;      /* a row that a min's or max's FILTER drops counts only when it is the group's first */
  bool grouped;            /* GROUP BY present */
  bool neighbours;         /* one call, of DISTINCT values in order */
  bool plain;              /* no FILTER, DISTINCT, ORDER BY, bare columns */
  bool in_order;           /* the child delivers equal keys together */
  bool stop_after_first;   /* min/max by an index edge */
  size_t payload;
  bool having_never_null;
} aggregate_node;
extern const node_class aggregate_class;

typedef struct count_node { /* count(*) of a table without WHERE */
  plan_node node;
  int slot;
  const table *table;
  int database;
  const plan_node *fallback; /* an aggregate over the scan */
} count_node;
extern const node_class count_class;

/* ---- window functions ---- */
typedef struct window_frame {
  uint8_t kind, start, end, exclude; /* enum frame_kind, frame_bound, frame_exclude */
  expr_program *start_value, *end_value;
} window_frame;

typedef struct window_call {
  const function *f;
  uint8_t kind;            /* enum window_function */
  int arguments_n;
  int *arguments;          /* columns of the row */
  int filter;              /* column, -1 none */
  const collation *collation;
  window_frame frame;
} window_call;

typedef struct window_node {
  plan_node node;
  const plan_node *child;
  int inputs_n;            /* innermost: operands evaluated into the row's first columns */
  operand *inputs;
  int in_slot;             /* others: the slot of the window below, whose columns come first */
  int in_columns;
  int keys_n, partition_n; /* sort keys: the partition's first */
  sort_key *keys;
  int calls_n;
  window_call *calls;      /* call k is column in_columns + k of slot */
  int slot;
} window_node;
extern const node_class window_class;
enum window_function {
  WINDOW_AGGREGATE, WINDOW_ROW_NUMBER, WINDOW_RANK, WINDOW_DENSE_RANK, WINDOW_PERCENT_RANK, WINDOW_CUME_DIST,
  WINDOW_NTILE, WINDOW_LAG, WINDOW_LEAD, WINDOW_FIRST_VALUE, WINDOW_LAST_VALUE, WINDOW_NTH_VALUE
};
/* plan_window.c: the windows of s above child; its columns and ORDER BY are rewritten to read their slot. */
status plan_windows(compile *c, select *s, expr_list *order_by, const plan_node *child, const plan_node **out);

/* ---- shared materialisation (CTE used several times) ---- */
struct shared_rows {
  plan_node node;          /* its state holds the spool */
  const plan_node *source;
  uint8_t *affinities;     /* applied to what is kept; NULL */
  query *query;
};
/* A row with its columns under their affinities, in out; texts lie in memory. */
status apply_affinities(const uint8_t *affinities, const value *row, int n, value *out, arena *memory);
status shared_rows_fill(exec *x, const struct shared_rows *s, const spool **out);
extern const node_class shared_class;

/* ---- subplans: the set of an IN (select), for index searches ---- */
status subplan_set(exec *x, int subplan, int64_t *rows);
const value *subplan_set_row(exec *x, int subplan, int64_t row);

typedef int16_t log_estimate; /* 10 * log2(x) */

/* ---- queries ---- */
struct explain_entry {
  int id, parent;
  const char *detail;
  const struct vector_line *vector; /* a search whose strategy shows when it runs; NULL */
};
struct query {
  const plan_node *top;
  int columns_n;
  log_estimate rows;
  select *tree;
  struct explain_list *explain;
  uint8_t *affinities;     /* of the result columns */
  const collation **collations;
};
typedef struct explain_list {
  int n, capacity, parent, next_id;
  struct explain_entry *entries;
} explain_list;

/* ---- planning ---- */
typedef uint64_t source_mask;

void *plan_alloc(compile *c, size_t n); /* zeroed; NULL: out of memory, sticky in c->memory */
void *plan_node_new(compile *c, const node_class *k, size_t size, int columns_n);
status plan_no_memory(compile *c);
status plan_operand(compile *c, expr *e, operand *out);
bool plan_is_rowid(const expr *e); /* a column that is its table's row id */

bool plan_deterministic(const expr *e);

/* plan_query.c: a resolved select; the outermost ORDER BY and LIMIT included. */
status plan_select(compile *c, select *s, query **out);
status plan_arm(compile *c, select *s, expr_list *order_by, query **out); /* without what stands before it */
status query_describe(compile *c, select *s, query *q);
/* plan_aggregate.c: analyses the aggregates of s, then (after the join is planned) finishes the node. */
typedef struct aggregate_builder aggregate_builder;
status aggregate_begin(compile *c, select *s, expr_list *order_by, aggregate_builder **out);
status aggregate_finish(aggregate_builder *b, const plan_node *child, bool in_order, plan_node **out);
/* The argument of f(DISTINCT x) when that is the only call and there is no GROUP BY; NULL. */
expr *aggregate_distinct(const aggregate_builder *b);
const expr_list *aggregate_keys(const aggregate_builder *b);
const key_spec *aggregate_specs(const aggregate_builder *b);
/* min(x) or max(x) alone: its argument, and whether it is max; NULL. */
bool aggregate_is_count(const aggregate_builder *b); /* count(*) and nothing else */
expr *aggregate_minmax(const aggregate_builder *b, bool *is_max);
size_t aggregate_call_head(void); /* bytes before a function's own state */
/* plan_flatten.c: once, before a statement's outermost query is planned. */
status plan_flatten(compile *c, select *s);
bool cte_is_materialized(const cte *k); /* MATERIALIZED, or used more than once and not NOT MATERIALIZED */
/* plan_compound.c */
status plan_compound(compile *c, select *s, query **out);
status plan_recursive(compile *c, source *s, query **out);
bool select_is_recursive(const select *s);
typedef bool (*expr_rewriter)(void *context, expr *e); /* true: done, do not look below */
void plan_rewrite(expr *e, expr_rewriter rewrite, void *context);
void plan_rewrite_list(expr_list *l, expr_rewriter rewrite, void *context);
void plan_rewrite_select(select *s, expr_rewriter rewrite, void *context);
status plan_limit(compile *c, select *s, const plan_node *child, plan_node **out);

/* EXPLAIN QUERY PLAN: a line under the current parent; push makes it the parent of what follows. */
int explain_add(compile *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
int explain_push(compile *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void explain_pop(compile *c, int former);

#endif
