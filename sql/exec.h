/* The running statement: slots (current rows), registers, row memory.
 *
 * Every row source of a statement (FROM item, aggregation, window, OLD/NEW of a trigger, the row being written)
 * has a slot number given at compile time, unique in its program. A column reference is (slot, column), wherever
 * it stands: a correlated subquery simply reads an outer slot.
 *
 * X1  A slot decodes lazily, left to right, and only as far as asked.
 * X2  exec->memory is a stack: a node's next() rewinds to the mark it took when it was (re)opened; what a node
 *     yields stays valid until its next next(). Whoever keeps rows longer copies them into its own store.
 * X3  Plans and programs are read-only while running; all state hangs on the exec.
 */
#ifndef HDB_SQL_EXEC_H
#define HDB_SQL_EXEC_H

#include "sql/catalog.h"
#include "sql/function.h"

typedef struct slot slot;
struct slot {
  value *columns;      /* columns[0 .. decoded) are valid */
  int32_t decoded;     /* INT32_MAX: all that anybody asks for */
  int32_t columns_n;
  bool null_row;       /* outer join: every column is NULL (columns points at NULLs then) */
  bool has_rowid;
  int64_t rowid;
  void (*fetch)(slot *s, int column); /* makes columns[0..column] valid */
  /* record rows: where decoding stands */
  const uint8_t *types, *payload, *end;
  int32_t record_columns;
  const table *table;  /* NULL: not a stored table */
  cursor *cursor;      /* for whoever writes the row back */
  value *own;          /* the slot's own value array, columns_n long */
  void (*fetch_row)(slot *s, int column); /* fetch for records of `table` (slot_set_table) */
  uint64_t unwanted;   /* columns below 64 that nobody reads: their values are not decoded */
  void *owner;         /* the node */
};
/* A value written and copied as two words: a copy by sixteen bytes right behind narrower stores waits for them to
 * leave the store buffer. Hot paths only (slots, the evaluator). */
static inline void value_put(value *v, uint8_t type, uint32_t n, uint64_t payload) {
  uint64_t head = (uint64_t)n << 32 | type;
  memcpy(v, &head, 8);
  memcpy((char *)v + 8, &payload, 8);
}
static inline void value_put_int(value *v, int64_t i) { value_put(v, VAL_INTEGER, 0, (uint64_t)i); }
static inline void value_put_null(value *v) { value_put(v, VAL_NULL, 0, 0); }
static inline void value_move(value *to, const value *from) {
  uint64_t head, payload;
  memcpy(&head, from, 8);
  memcpy(&payload, (const char *)from + 8, 8);
  memcpy(to, &head, 8);
  __asm__("" ::: "memory"); /* keeps the two stores apart */
  memcpy((char *)to + 8, &payload, 8);
}
static inline const value *slot_column(slot *s, int column) {
  if (column >= s->decoded) s->fetch(s, column);
  return &s->columns[column];
}
static inline value slot_rowid(const slot *s) { return s->null_row ? value_null() : value_int(s->rowid); }
/* Points the slot at a stored row of its table (lazy); at ready values; at NULLs. */
void slot_set_record(slot *s, int64_t rowid, slice record);
/* Rows of this table follow, by slot_point; unwanted: a bit a column that is never asked for. */
void slot_set_table(slot *s, const struct table *t, uint64_t unwanted);
static inline void slot_point(slot *s, bool has_rowid, int64_t rowid, slice record) {
  s->columns = s->own;
  s->decoded = 0;
  s->null_row = false;
  s->has_rowid = has_rowid;
  s->rowid = rowid;
  s->end = record.p + record.n;
  s->fetch = s->fetch_row;
  s->record_columns = 0;
  s->types = s->payload = record.p;
  if (record.n) {
    s->record_columns = (int32_t)record_columns(record.p, &s->types);
    s->payload = s->types + s->record_columns;
  }
}
void slot_set_values(slot *s, value *values, bool has_rowid, int64_t rowid);
void slot_set_null(slot *s);
/* Values of the columns that a short record lacks, kept in t->missing: called once the table is built. HDB_NOMEM. */
status table_missing_values(table *t, arena *memory);

typedef struct program program;
typedef struct exec exec;
/* What a plan keeps from one execution to the next (buffers, inner execs): found by its key, gone with the exec. */
typedef struct exec_kept exec_kept;
struct exec_kept {
  exec_kept *next;
  const void *key;
  void (*release)(exec_kept *k);              /* frees it */
  void (*forget)(exec_kept *k, int database); /* its cursors on a database that goes away; NULL: it has none */
};
struct exec {
  hdb *db;
  const program *program;
  const value *parameters; /* index 1 is parameters[0] */
  int parameters_n;
  slot *slots;
  value *registers;
  void **states;           /* by node number: each plan node's or subplan's state */
  arena memory;            /* row memory, X2 */
  arena lifetime;          /* until the execution ends */
  error *err;              /* the connection's */
  int64_t now_ms;          /* 0: not asked yet */
  exec *parent;            /* of a trigger program */
  int depth;               /* trigger depth */
  uint8_t error_action;    /* enum conflict of the failing constraint, for the statement's end */
  int64_t changes;         /* rows this statement changed */
  uint32_t ticks;          /* counts down to the next interrupt/progress check */
  bool started;
  void *run;               /* the program kind's own state */
  struct node_state *node_states; /* plan nodes' states, given back by node_states_release */
  int64_t *times;          /* of the program's AS OF, by number (time.h) */
  bool times_known;
  struct exec_cursors *cursors; /* those of exec_cursor, kept for the next execution */
  exec_kept *kept;
  arena frame;             /* slots, registers, states: as long as the exec */
  int64_t trigger_changes;    /* rows changed inside triggers and foreign key actions: total_changes() only */
};

/* What RAISE(IGNORE) evaluates to: no error, no message; whoever fired the trigger skips its row. RAISE of another kind
 * is HDB_CONSTRAINT_TRIGGER with its message, and exec_outermost(x)->error_action says what it undoes. */
#define EXEC_IGNORE ((status)HDB_NOTICE)
static inline exec *exec_outermost(exec *x) {
  while (x->parent) x = x->parent;
  return x;
}

static inline exec_kept *exec_kept_find(const exec *x, const void *key) {
  exec_kept *k = x->kept;
  while (k && k->key != key) k = k->next;
  return k;
}
static inline void exec_keep(exec *x, exec_kept *k, const void *key) {
  k->key = key;
  k->next = x->kept;
  x->kept = k;
}

/* Looks at interrupt and progress handler now and then; call once a row in every loop. HDB_INTERRUPT. */
status exec_check(exec *x);
static inline status exec_tick(exec *x) { return --x->ticks ? HDB_OK : exec_check(x); }
int64_t exec_now(exec *x);
/* txn_new_rowid for a statement: a replayed one is given what it was given before. */
status exec_new_rowid(exec *x, int database, uint32_t tree, int64_t above, int64_t *rowid);
status exec_cursor(exec *x, int database, uint32_t tree, int64_t as_of, cursor **out); /* closed by the exec's end */

/* ---- programs: what a prepared statement runs ---- */
typedef struct result_column {
  const char *name;
  const char *decltype_; /* NULL for expressions */
  const char *database, *table, *origin;
} result_column;

struct program {
  /* start does the work of a statement without rows (or collects RETURNING); next gives a row or HDB_DONE;
   * stop releases everything of this execution (also after an error, also when next was never called). */
  status (*start)(exec *x);
  status (*next)(exec *x, const value **row);
  void (*stop)(exec *x);
  void (*destroy)(program *p); /* NULL: the arena is all there is */
  arena memory;                /* the tree, the plan, the expression steps */
  statement *tree;
  void *data;                  /* query, insert, ...: the kind's compiled form */
  int columns_n;
  result_column *columns;
  int slots_n, registers_n, states_n;
  int *slot_columns;           /* columns of each slot */
  status (*explain)(const program *p, exec *x, status (*visit)(void *, int id, int parent, const char *detail), void *context);
                               /* EXPLAIN QUERY PLAN; NULL: no rows */
  bool read_only, is_dml, changes_schema;
  bool user_code;              /* calls functions or collations of the user's */
  bool holds_secret;           /* a key stands in its text: not to be kept or shown */
  bool needs_no_transaction;   /* BEGIN, COMMIT, PRAGMA foreign_keys ...: hdb.c must not open one */
  uint64_t reads, writes;      /* databases, by number */
  schema *schemas[64];         /* those it was compiled against, counted; NULL: not touched */
  struct program_times *times; /* AS OF; NULL: none */
  struct plan_subplan **subplans; /* by number - 1 */
  int subplans_n;
  uint8_t on_error;            /* enum conflict: what an error in it undoes unless exec.error_action says otherwise */
};

/* ---- compiling ---- */
typedef struct compile compile;
struct compile {
  hdb *db;
  program *program;            /* under construction */
  arena *memory;               /* == &program->memory */
  error *err;
  compile *parent;             /* of a trigger program */
  const statement *tree;
  slice text;                  /* the whole text that was parsed: offsets count in it */
  int slots_n, registers_n, states_n;
  buf slot_columns;            /* int each */
  struct cte *ctes;            /* visible ones, by the resolver */
  with *with;
  struct explain_list *explain; /* of the query being planned */
  bool exact_usage;            /* source.columns_used is exact: a plain SELECT */
  const char *auth_context;    /* name of the view or trigger being expanded, for the authorizer */
  /* trigger programs */
  const table *trigger_table;
  int old_slot, new_slot;      /* -1 none */
  uint8_t trigger_event;
  uint8_t trigger_conflict;    /* the outer statement's OR clause, overriding those inside */
  bool in_trigger;
  int depth;                   /* view nesting */
  const char *fixed_schema;    /* body of a view or trigger that is not in temp: unqualified tables are its own
                                  schema's; NULL: searched in all */
  int default_time;            /* of tables without an own AS OF: inside of a view AS OF (source.time_at) */
  struct view_chain *views;    /* being expanded, by the resolver */
  bool soft_error;             /* err is set, but the expression at work is looked through to its end: a later error
                                  takes its place, as in SQLite (resolver) */
  int expansions;              /* views and CTEs opened so far */
  int nesting;                 /* queries within each other being opened: bounds every recursion over them */
  struct dml_root *dml;        /* of the outermost compile: triggers compiled so far (dml.h) */
};
int compile_slot(compile *c, int columns); /* a new slot number */
void compile_slot_columns(compile *c, int slot, int columns); /* it needs (at least) so many after all */
int compile_registers(compile *c, int n);  /* first of n new registers */
int compile_state(compile *c);             /* a new state number */
void compile_reads(compile *c, int database);
void compile_writes(compile *c, int database);
/* Asks the authorizer. HDB_OK, HDB_AUTH (error set: "not authorized" or "access to t.c is prohibited"),
 * *ignore for HDB_IGNORE. */
status compile_authorize(compile *c, int action, const char *a, const char *b, int database, bool *ignore);

#endif
