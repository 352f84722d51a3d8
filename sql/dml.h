/* Inside of INSERT, UPDATE, DELETE: what their files share.
 *
 *   insert.c update.c delete.c upsert.c   statements: where rows come from
 *   write.c write_check.c write_entry.c   one row goes in, changes, goes out, with all that hangs on it
 *   trigger.c fkey.c                      what else happens then
 *   dml.c returning.c                     the statement's run, sequences; RETURNING
 *
 * D1  A statement has one dml_root, also for what its triggers run: foreign key counter, trigger activations.
 * D2  A row that is read before it is written is copied first (stored_row): a cursor's bytes end with the first write.
 * D3  EXEC_IGNORE (RAISE(IGNORE), OR IGNORE) ends the row at hand in the statement that fired the trigger; it never
 *     leaves a statement.
 */
#ifndef HDB_SQL_DML_H
#define HDB_SQL_DML_H

#include "sql/internal.h"

typedef struct trigger_program trigger_program;
typedef struct dml_root dml_root;

/* ---- the compile-time root ---- */
struct dml_root {
  int state;                 /* of the root program: dml_run */
  trigger_program *programs; /* all, newest first */
  int programs_n;
};
dml_root *dml_root_of(compile *c); /* made at first use; NULL: out of memory (error set) */

/* ---- the run of a statement ---- */
typedef struct sequence {    /* AUTOINCREMENT: a row of sqlite_sequence */
  const table *owner;
  int database;
  int64_t last, rowid;       /* of the row in sqlite_sequence, 0: none yet */
  bool changed;
  struct sequence *next;
} sequence;
typedef struct dml_run {
  exec_kept kept;
  const dml_root *root;
  int64_t violations;        /* immediate foreign keys broken for now */
  int64_t upserted;          /* rows that an ON CONFLICT clause has updated: count_changes leaves them out */
  sequence *sequences;
  struct activation **idle;  /* by trigger program number */
} dml_run;
exec *dml_root_exec(exec *x);
dml_run *dml_run_of(exec *x, const dml_root *root); /* NULL: out of memory (error set) */
status dml_no_memory(error *err);
/* An mvcc status as the statement's error. */
status dml_failed(exec *x, status rc);

/* A constraint's failure: notes the action for the end of the statement; IGNORE is not for it. */
status dml_constraint(exec *x, uint8_t action, status code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The table a statement changes. */
typedef struct dml_target {
  const table *t;            /* a view: what it looks like, its columns found out */
  const table *catalog;      /* the catalog's own */
  int database;
} dml_target;
/* Looks the name up, refuses what may not be modified; views must have an INSTEAD OF trigger for the event. */
status dml_find_target(compile *c, const qualified_name *name, uint8_t event, const name_list *changes, dml_target *out);
/* A list with the target as its only source, opened: its slot is where the row at hand lies. */
status dml_lone_source(compile *c, const qualified_name *name, const dml_target *target, source_list **out, int *slot);
expr *dml_name(arena *m, const char *table, const char *name); /* EX_ID or EX_DOT */
/* A program for one column of the row in a slot. */
status dml_column_program(compile *c, const table *t, int slot, int column, expr_program **out);
/* An ON CONFLICT target's terms and condition. */
status dml_resolve_terms(compile *c, const table *t, int slot, expr_list *list, expr **where);
status dml_resolve(compile *c, const table *t, int slot, const char *place, unsigned allow, expr **e);

/* ---- index entries (write_entry.c) ---- */
typedef struct entry_encoder {
  const index_ *i;
  int slot;
  expr_program **programs;   /* by column; NULL: a stored column or the row id */
  const collation **collations;
  expr_program *where;
  bool builtin;              /* no user's collation among the key's */
  uint64_t *uses;            /* bit set of the table columns it reads; NULL: not known */
} entry_encoder;
typedef struct entry {
  buf key;
  record_writer value;       /* of a lossy key */
  slice value_bytes;
  size_t prefix_n;           /* the key's own columns */
  bool included, has_null;
} entry;
status entry_encoder_compile(compile *c, const index_ *i, int slot, entry_encoder *out);
/* row_key: the table's key, for rowid tables. */
status entry_encode(exec *x, const entry_encoder *e, slice row_key, entry *out);
void entry_free(entry *e);
/* Adds the columns of t that e reads from the slot to a bit set (made when NULL); the row id is the bit behind the last. */
uint64_t *column_uses(compile *c, const table *t, int slot, expr *e, uint64_t *bits);
/* Another row with these key columns? *row_key (in `out`) then names it. own: the key of a row that does not count. */
status entry_find(exec *x, const entry_encoder *e, const entry *en, cursor *c, const slice *own, bool *found, buf *out);
status entry_row_key(const index_ *i, slice key, buf *out);

/* ---- a row in store ---- */
typedef struct stored_row {  /* D2 */
  int64_t rowid;
  slice key, record;
} stored_row;
status stored_row_copy(exec *x, const table *t, const cursor *c, stored_row *out);
void stored_row_set(slot *s, const table *t, const stored_row *row);

/* ---- triggers (trigger.c) ---- */
typedef struct trigger_list {
  int n, temp_n;             /* TEMP ones come first */
  trigger_program **programs;
} trigger_list;
enum trigger_time { TRIGGER_BEFORE = 1, TRIGGER_AFTER = 2, TRIGGER_INSTEAD = 3 };
/* shape: t, or what the view t looks like. event: ST_INSERT ... ; changed: an UPDATE's columns (NULL: any). */
status trigger_list_compile(compile *c, const table *t, const table *shape, int database, uint8_t event, uint8_t time,
                            const bool *changed, uint8_t conflict, trigger_list *out);
bool trigger_exists(compile *c, const table *t, int database, uint8_t event, uint8_t time);
/* A statement of our own (foreign key actions), run like a trigger's only step; made once for a key and event. */
status trigger_program_make(compile *c, const table *t, int database, uint8_t event, const void *key, statement *step,
                            trigger_program **out);
/* A query over OLD and NEW whose first column of the first row is the answer. */
status trigger_query_make(compile *c, const table *t, int database, select *s, trigger_program **out);
/* old, new: slots of x with the rows, NULL where there is none. EXEC_IGNORE. */
status trigger_fire(exec *x, const dml_root *root, const trigger_list *list, slot *old, slot *new_row);
status trigger_fire_one(exec *x, const dml_root *root, const trigger_program *p, slot *old, slot *new_row);
status trigger_query(exec *x, const dml_root *root, const trigger_program *p, slot *old, slot *new_row, int64_t *out);
void trigger_run_free(dml_run *run);
void trigger_run_forget(dml_run *run, int database);
void trigger_programs_destroy(dml_root *root);

/* ---- foreign keys (fkey.c) ---- */
typedef struct fkey_set fkey_set;
/* NULL in *out: nothing to do. changed NULL: INSERT or DELETE. */
typedef struct fkey_request {
  unsigned use;              /* enum writer_use */
  const bool *changed;
  int old_slot, new_slot;    /* -1: none */
  bool single_row;           /* an INSERT of one row and nothing else */
} fkey_request;
status fkey_compile(compile *c, const table *t, int database, const fkey_request *r, fkey_set **out);
/* sqlite3's order: old before the row goes, new before it comes, actions behind. */
status fkey_check(exec *x, const dml_root *root, const fkey_set *set, slot *old, slot *new_row);
status fkey_actions(exec *x, const dml_root *root, const fkey_set *set, slot *old, slot *new_row);
bool fkey_is_self_referencing(const fkey_set *set);
/* The statement writes one row and nothing else: a missing parent is told at once, before the row is written. */
void fkey_fail_at_once(fkey_set *set);

/* ---- the writer ---- */
typedef struct write_check {  /* a CHECK */
  int number;                 /* among the table's */
  const char *name;
  expr_program *condition;
} write_check;

struct upsert_clause;
struct writer {
  const table *t;
  int database;
  unsigned use;              /* enum writer_use */
  uint8_t conflict;          /* the statement's OR clause */
  dml_root *root;
  int state;                 /* writer_run */
  int new_slot, old_slot;
  int indexes_n;             /* without a WITHOUT ROWID table's primary */
  entry_encoder *new_entries, *old_entries;
  entry_encoder primary;     /* WITHOUT ROWID: the tree itself, of the new row */
  const struct pg_enum **enums; /* by column; NULL: there are none */
  bool *affected;            /* UPDATE: indexes that must be looked at */
  int *order;                /* uniqueness: index numbers and KEY_STEP, in checking order */
  int order_n;
  const struct upsert_clause **clauses; /* by position in order; NULL: none */
  expr_program **generated;  /* by column: stored ones; NULL: there are none */
  int *generated_order, generated_n;
  expr_program **defaults;   /* by column; NULL entries: NULL */
  int checks_n;
  write_check *checks;
  const bool *changed;       /* UPDATE: columns that are set; NULL else */
  bool rowid_changed;        /* ... or the primary key of a WITHOUT ROWID table */
  bool rowid_given;          /* INSERT: a row id is among the values */
  trigger_list before, after;
  fkey_set *keys;            /* of the event */
  writer *victim;            /* deletes rows for REPLACE; NULL: none needed */
  const struct returning *returning;
  bool counts;               /* false: victims are not counted */
};
enum { KEY_STEP = -1 };      /* the table's own key: row id or primary key */

typedef struct writer_run {
  exec_kept kept;
  const writer *w;
  cursor *table;
  cursor **indexes;
  value *values;             /* the row being written */
  entry *entries, *old_entries;
  record_writer record;
  buf key, conflict_key;
  bool fresh;                /* the row id is new: nothing to look up */
} writer_run;
writer_run *writer_run_of(exec *x, const writer *w); /* NULL: error set */
status trigger_fire_after(exec *x, const writer *w, slot *old, slot *new_row); /* trigger.c */

typedef struct writer_request {
  const table *t;
  int database;
  unsigned use;              /* one of enum writer_use */
  uint8_t conflict;
  const bool *changed;       /* UPDATE */
  bool rowid_changed;
  int new_slot, old_slot;    /* -1: make one */
  bool is_victim;
  bool rowid_given;
  bool never_replaces;       /* an ON CONFLICT clause without target takes every conflict */
  bool single_row;           /* the outermost statement inserts one row, nothing fires, nothing returns */
} writer_request;
status writer_make(compile *c, const writer_request *r, writer **out);
/* One row in, with all that hangs on it. run->values holds it (row id apart; given NULL: choose one). *written false:
 * OR IGNORE, RAISE(IGNORE) or an upsert took its place. */
status writer_insert(exec *x, const writer *w, const value *given, bool *written);
/* run->values: the new row; old_slot is set to `old`. rowid NULL: it stays. */
status writer_update(exec *x, const writer *w, const stored_row *old, const value *rowid, bool *written);
/* old_slot is set to `old`. */
status writer_delete(exec *x, const writer *w, const stored_row *old, bool *written);

/* write_check.c. Values as they would be stored: affinity, STRICT's types, generated columns. */
status write_prepare(exec *x, const writer *w, writer_run *r);
/* NOT NULL, then CHECK; EXEC_IGNORE. */
status write_check_row(exec *x, const writer *w, writer_run *r);
/* Encodes the new entries and looks for equal ones; may delete rows (REPLACE). own: the key of the row under UPDATE.
 * EXEC_IGNORE: the row is not to be written (IGNORE, or an upsert has done it). */
status write_unique(exec *x, const writer *w, writer_run *r, slice row_key, const slice *own);
/* Can writing one row change or remove another, or be seen by what is computed for it? */
bool writer_may_replace(const writer *w);
bool writer_touches_others(const writer *w);
bool tree_has_query(expr *e); /* a subquery somewhere in it */
status write_check_compile(compile *c, writer *w);
/* NULL: the default is NULL. */
status write_default_compile(compile *c, const table *t, int column, expr_program **out);
/* Unconditionally away with it: foreign keys, entries, row, actions; no triggers. */
status write_delete_row(exec *x, const writer *w, writer_run *r, const stored_row *row);
status write_row_key(exec *x, const writer *w, writer_run *r, int64_t rowid, buf *out);

/* ---- SET (update.c) ---- */
enum { SET_ROWID = -1, SET_NOTHING = -2 };
typedef struct set_program {
  int n;
  expr_list *list;           /* the values, unresolved */
  int *columns;              /* by value: column, SET_ROWID, SET_NOTHING */
  bool *changed;             /* by column */
  bool rowid_changed;        /* or a primary key's column of a WITHOUT ROWID table */
} set_program;
status set_compile(compile *c, const table *t, int database, const set_list *list, set_program *out);
status set_apply(exec *x, const table *t, const set_program *p, const value *values, slot *old, value *row,
                 const value **rowid);

/* ---- upsert ---- */
typedef struct upsert_clause {
  bool any;                  /* no target */
  bool of_rowid;             /* the table's own key */
  const index_ *index;
  bool do_nothing;
  writer *update;
  int slot;                  /* of the row in the way */
  expr_program *where, *values;
  int first;
  const set_program *set;
} upsert_clause;
bool upserts_are_simple(const writer *w); /* what they update fires nothing and concerns no foreign key */
status upsert_check_targets(compile *c, const insert_statement *s, const table *t);
status upsert_compile(compile *c, insert_statement *s, const dml_target *target, writer *w);
status upsert_run(exec *x, const writer *w, const upsert_clause *u, slice row_key);

/* ---- RETURNING ---- */
typedef struct returning {
  expr_program *program;
  int first, n;
} returning;
status returning_compile(compile *c, expr_list *list, const table *t, int slot, const returning **out);
status returning_add(exec *x, const returning *r);

/* ---- sequences ---- */
status sequence_begin(exec *x, const writer *w);
status sequence_next(exec *x, const writer *w, int64_t *rowid);
status sequence_seen(exec *x, const writer *w, int64_t rowid);
status sequences_store(exec *x, dml_run *run);

/* ---- statements ---- */
typedef struct dml_statement { /* head of every program's data */
  dml_root *root;
  status (*work)(exec *x, void *self);
  void (*stop)(exec *x, void *self); /* NULL: nothing to give back */
  const query *explained;            /* for EXPLAIN QUERY PLAN; NULL: explained_line, if any */
  const char *explained_line;
  bool counts_changes;
} dml_statement;
/* Fills c->program for one of ours; data begins with a dml_statement. */
status dml_program(compile *c, const dml_target *target, void *data, status (*work)(exec *x, void *self), uint8_t conflict);

status dml_count_changes(compile *c, dml_statement *d, const char *name);

/* ---- the rows that a statement will change (dml_rows.c) ---- */
typedef struct row_search {
  const table *t;
  int database;
  query *q;                  /* NULL: point */
  expr_program *point, *rest; /* WHERE rowid = point AND rest */
  const char *explained;     /* the plan's line of a point */
  int key_columns;           /* the first columns of q: row id or primary key; a view's: all columns */
  int columns_n;             /* with SET values behind (UPDATE FROM) */
  bool in_key_order;         /* LIMIT, UPDATE FROM: each row once, by key */
  bool keeps_rows;           /* a view, or values behind the key: rows are kept whole */
  bool not_in_place;         /* in key order too: SQLite collects the keys first. Set by the statement */
  bool keep_records;         /* set by whoever knows that no row can change before its turn */
  const collation **collations; /* of a primary key */
  int slot;                  /* of the target in q */
  int state;
} row_search;
typedef struct found_row {
  stored_row stored;         /* key; record when has_record or read */
  bool has_record;
  const value *row;          /* keeps_rows */
} found_row;
typedef struct row_request {
  const dml_target *target;
  const qualified_name *name;
  with *with;
  source_list *from;         /* further sources (UPDATE FROM) */
  expr *where;
  expr_list *order_by;
  expr *limit, *offset;
  expr_list *extra;          /* further result columns */
  source_list *lone;         /* the target alone, its slot being where the row at hand lies; NULL: no point search */
} row_request;
status row_search_compile(compile *c, const row_request *r, row_search *out);
/* Collects first, then gives one key (or row) after the other: HDB_ROW, HDB_DONE. */
status row_search_start(exec *x, const row_search *s);
status row_search_next(exec *x, const row_search *s, found_row *out);
status row_search_read(exec *x, const row_search *s, cursor *table_cursor, int slot, found_row *row, bool *found);
void row_search_stop(exec *x, const row_search *s);

#endif
