/* Planning a FROM clause with its WHERE: conditions, search terms, loops, paths.
 *
 * condition   one conjunct of WHERE or of an ON; has to be tested somewhere
 * search term "column op value", found in a condition: what an access can use
 * loop        one way of reading one source given the sources of its prerequisites, with estimates
 * path        an order of loops
 * Estimates are 10 * log2 of rows and of cost, SQLite's unit and SQLite's default figures, so that the same loops win
 * and rows come in the same order.
 */
#ifndef HDB_SQL_PLAN_WHERE_H
#define HDB_SQL_PLAN_WHERE_H

#include "sql/plan_internal.h"

enum search_op {
  SEARCH_EQ = 1, SEARCH_LT = 2, SEARCH_LE = 4, SEARCH_GT = 8, SEARCH_GE = 16, SEARCH_IN = 32, SEARCH_NULL = 64,
  SEARCH_IS = 128, SEARCH_MATCH = 256, SEARCH_RANGE = 2 | 4 | 8 | 16
};

typedef struct where_condition {
  expr *e;
  source_mask all;    /* sources it reads */
  int join;           /* item whose ON it comes from, -1: WHERE */
  bool outer_on;      /* ... an outer join's */
  bool done;          /* an access does it, or it is tested */
  bool is_virtual;    /* derived: never tested itself */
  int parent;         /* virtual: the condition it stands for, -1 */
  int children, children_done;
  log_estimate truth; /* <= 0: likelihood given; 1: unknown */
  unsigned operators; /* of its search terms */
  bool heuristic;
} where_condition;

typedef struct search_term {
  int condition;
  unsigned op;        /* one bit */
  int slot, column;   /* -1 row id; -2 expression e */
  expr *e;            /* the column or expression side */
  expr *value;        /* other side; NULL for IS NULL; IN: see condition */
  expr *in;           /* EX_IN */
  source_mask self;   /* of slot */
  source_mask right;  /* sources of the value */
  uint8_t affinity;   /* of the comparison */
  const collation *collation;
  bool derived;       /* from an equality of columns: its condition is tested all the same */
  bool like;          /* half of a LIKE range: its partner is the next term */
} search_term;

typedef struct where_item {
  source *s;
  source_mask self;
  bool left, right, cross, before_right; /* before_right: stands left of some RIGHT JOIN */
  const table *table;
  int slot;
  const plan_node *node; /* subquery, nested join */
  query *query;
  int *slots;            /* nested */
  int slots_n;
  uint8_t *affinities;   /* materialised compound */
  bool nested, materialize;
  struct shared_rows *shared;
  source_mask needs;     /* arguments of a function, LATERAL */
  log_estimate rows;
  const struct virtual_module *module;
  void *module_plan;
} where_item;

enum loop_flag {
  LOOP_EQ = 1, LOOP_RANGE = 2, LOOP_IN = 4, LOOP_NULL = 8, LOOP_BOTTOM = 16, LOOP_TOP = 32, LOOP_COVERING = 64,
  LOOP_ROWID = 128, LOOP_INDEXED = 256, LOOP_ONE_ROW = 512, LOOP_AUTO = 1024, LOOP_OR = 2048, LOOP_VIEW = 4096,
  LOOP_VIRTUAL = 8192, LOOP_UNIQUE_WANTED = 16384
};

enum { LOOP_TERMS = 64 };
typedef struct or_arm { /* one side of an OR as a WHERE of its own, and the loop that serves it */
  struct where_plan *w;
  struct where_loop *loop;
} or_arm;

typedef struct where_loop {
  int item;
  source_mask self, needs;
  log_estimate setup, run, out;
  unsigned flags;
  bool sortable;         /* its order may serve ORDER BY */
  const index_ *index;
  int equal_n, terms_n;
  search_term **terms;   /* equal_n of them, then bottom, then top */
  struct virtual_plan *virtual_plan; /* LOOP_VIRTUAL of a module with `best`; terms[i]: its constraint i, NULL: an argument */
  or_arm *arms;          /* LOOP_OR */
  int arms_n;
  struct where_loop *next;
} where_loop;

typedef struct where_path {
  source_mask mask, reversed;
  log_estimate rows, cost, unsorted;
  int ordered;           /* ORDER BY terms in order; -1 not known yet */
  where_loop *loops[64];
} where_path;

typedef struct where_order { /* an ORDER BY, GROUP BY or DISTINCT the rows might come in */
  int n;
  expr **e;
  key_spec *specs;
  bool any_order;        /* GROUP BY, DISTINCT: terms and directions may be permuted */
  bool exact_direction;
} where_order;

typedef struct where_plan where_plan;
struct where_plan {
  compile *c;
  select *select;
  int items_n;
  where_item *items;
  int conditions_n, conditions_capacity;
  where_condition *conditions;
  int terms_n, terms_capacity;
  search_term **terms;
  where_loop *loops;
  where_loop **item_loops, **loops_end; /* where those of the source at hand begin; the end of all */
  int loops_n;
  const where_order *order;
  int64_t limit;         /* estimate of LIMIT, -1 */
  bool want_distinct, is_min_max, no_covering_scan, search_only;
  /* out */
  where_path path;
  int ordered;
  log_estimate rows;
};

source_mask where_mask(where_plan *w, const expr *e);
source_mask where_mask_list(where_plan *w, const expr_list *l);
status where_analyze_begin(where_plan *w);
status where_analyze_on(where_plan *w, expr *on, int at);
status where_analyze(where_plan *w, expr *where);
status where_loops(where_plan *w);
status where_solve(where_plan *w);
status where_search_loops(where_plan *w, int at, source_mask needs); /* only those with search terms */
status where_or_loops(where_plan *w, int at, source_mask needs);
status where_virtual_loops(where_plan *w, int at, source_mask needs);
status where_build_virtual(where_plan *w, const where_item *item, const where_loop *l, access *a);
status where_insert_loop(where_plan *w, const where_loop *l);
status where_derive(where_plan *w);
void where_reduce_joins(where_plan *w, const expr *where);
status where_like(where_plan *w, int condition);
search_term *where_add_term(where_plan *w, int condition, unsigned op, expr *side, expr *value);
/* How many terms of order the path's rows come in; reversed: loops to run backwards. */
int where_path_order(where_plan *w, where_loop **loops, int n, where_loop *last, source_mask *reversed);
status where_build(where_plan *w, join_node **out);

bool where_partial_index_holds(where_plan *w, const where_item *item, const index_ *i);
/* Table column of an index column; -1 also for the INTEGER PRIMARY KEY. */
static inline int where_index_column(const table *t, const index_column *ic) {
  return ic->column >= 0 && ic->column == t->rowid_column ? -1 : ic->column;
}
expr *where_index_expr(where_plan *w, const where_item *item, const index_column *ic);

log_estimate log_of(uint64_t x);
log_estimate log_add(log_estimate a, log_estimate b);
log_estimate log_of_log(log_estimate n); /* cost of a search among n */

/* The join of a FROM clause. order may be NULL; *ordered: its terms that the rows already come in. */
typedef struct from_request {
  source_list *from;
  expr *where;
  const where_order *order;
  int64_t limit;
  bool want_distinct, is_min_max;
} from_request;
status plan_from(compile *c, select *s, const from_request *r, join_node **out, int *ordered, log_estimate *rows);

#endif
