/* A small database, written a second time and as simply as possible: what the engine is compared with.
 *
 * A state is every row of every table in plain arrays. Each commit keeps the whole state that it left, so any past time
 * is an index into an array. A transaction keeps the state it saw, the state it made, the keys it wrote and the
 * operations it ran; what its commit may do follows from these by the rules of the guide (model_commit.c).
 * All values are small integers or NULL; an operation is data, and says the same to the engine as SQL (text.c) and to
 * the model as a function of a state (model.c).
 */
#ifndef HDB_TESTS_SIM_MODEL_H
#define HDB_TESTS_SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* a(id, u UNIQUE, v, n)  p(id, v)  c(x, y, pid -> p, v) WITHOUT ROWID  q(id AUTOINCREMENT, v)  l(id, what, v): a trigger's
 * d(id, v): comes and goes */
enum { TABLE_A, TABLE_P, TABLE_C, TABLE_Q, TABLE_L, TABLE_D, TABLES };
enum { COLUMNS = 4, ROWS = 80, ROWS_FULL = 20, KEYS = 400, ANSWERS = 260, LOG = 80, SAVEPOINTS = 4, CONNECTIONS = 4, BRANCHES = 12, IDS = 40 };
#define NIL INT32_MIN

typedef struct row {
  int32_t v[COLUMNS];
} row;
typedef struct rows {
  int n;
  row at[ROWS]; /* ascending by key */
} rows;
enum { HAS_INDEX_V = 1, HAS_INDEX_N = 2, HAS_D = 4, SCHEMA_FLAGS = 3 };
typedef struct state {
  rows t[TABLES];
  int32_t sequence; /* of q */
  uint8_t schema;
} state;

typedef struct shape {
  const char *name;
  const char *columns[COLUMNS];
  int columns_n, keys_n; /* the first keys_n columns are the key */
  int v, u, pid, n;      /* places of the columns of these names; -1: none */
} shape;
extern const shape shapes[TABLES];

/* What differs between seeds. */
enum fk_action { FK_NOTHING, FK_CASCADES, FK_SETS_NULL };
typedef struct variant {
  bool trigger, fk_deferred, fk_indexed, fk_update_cascades, disk, no_ddl;
  enum fk_action on_delete;
  int connections;
} variant;
extern variant vary;
extern bool model_full; /* a table grew past ROWS: the run means nothing from here on */

/* ---- operations ---- */
enum op_kind {
  OP_SELECT, OP_INSERT, OP_INSERT_SELECT, OP_UPDATE, OP_DELETE, /* statements on rows */
  OP_DDL,
  OP_BEGIN, OP_COMMIT, OP_ROLLBACK, OP_SAVE, OP_RELEASE, OP_BACK, /* x: mode, or savepoint's number */
  OP_POLICY, OP_PAST, OP_VERSIONS, OP_BRANCH, OP_SWITCH, OP_MERGE, OP_DROP_BRANCH, OP_REOPEN, OP_CHECK, OP_COLLECT,
  OP_CRASH, OP_FAULT, OP_KINDS
};
enum where { W_KEY, W_RANGE, W_V, W_U, W_ALL, W_MOD, W_PID, W_SUB, W_NULL, WHERES };
enum set { SET_V, SET_ADD, SET_SUM, SET_U, SET_KEY, SET_PID, SET_N, SET_TWO, SETS };
enum on_conflict { ON_ABORT, ON_IGNORE, ON_REPLACE, ON_UPSERT, ON_NOTHING, ON_ROLLBACK, ON_KINDS };
enum view_kind { SHOW_ROWS, SHOW_COUNT, SHOW_SUM, SHOW_JOIN, SHOW_ORDER, SHOWS };
typedef struct op {
  uint8_t kind, conn, table, where, set, on, show;
  bool returning;
  uint8_t look; /* connection + 1 that is looked at afterwards; 0: none */
  int16_t x, y, z, w, k; /* values; NULL is INT16_MIN */
} op;
enum { OP_NIL = INT16_MIN };
void op_sql(const op *o, char *out, size_t n); /* statements on rows, DDL and transactions */
const char *op_name(const op *o);

/* ---- one statement ---- */
typedef struct key {
  uint8_t table;
  bool soft; /* written with the values it had */
  int32_t k0, k1;
} key;
typedef struct keys {
  int n;
  key at[KEYS];
} keys;
typedef struct ids { /* row ids that the engine gave, to be used again by the model */
  int n, used;
  int32_t at[TABLES][IDS];
  int table_n[TABLES], table_used[TABLES];
  bool taken;
} ids;
typedef struct answer {
  int code; /* extended */
  int64_t changes;
  int32_t rowid; /* last inserted; NIL: none was */
  int n, columns;
  row at[ANSWERS]; /* sorted */
} answer;
/* Runs on the state; a failed one leaves it as it was (ON_ROLLBACK is the caller's). written: the keys it wrote are added. */
void model_run(state *s, const op *o, ids *given, answer *a, keys *written);
int model_violations(const state *s); /* children without a parent */
bool model_unique(const state *s);
const row *model_find(const rows *t, const shape *h, int32_t k0, int32_t k1);
void model_put(rows *t, const shape *h, const row *r);
bool model_remove(rows *t, const shape *h, int32_t k0, int32_t k1);
void keys_add(keys *k, int table, int32_t k0, int32_t k1, bool soft);
void answer_sort(answer *a);
bool answer_same(const answer *a, const answer *b);
bool state_same(const state *a, const state *b);
unsigned op_tables(const op *o); /* bit set of the tables that the statement may look at */

/* ---- commits and branches ---- */
typedef struct commit {
  int64_t time;
  int branch;
  bool ddl, synced;
  bool undone; /* the DDL came to nothing */
  state after;
  keys written;
} commit;
typedef struct branch {
  char name[8];
  int parent;
  int point; /* number of the newest commit it sees of its parent */
  bool alive, synced;
} branch;
typedef struct merged { /* the last merge of a pair */
  int a, b, source, point;
  int commit; /* that carries it; 0: none did */
} merged;
enum { COMMITS = 1200, MERGES = 200 };
typedef struct world {
  commit *commits; /* 0: the tables were made */
  int commits_n;
  branch branches[64];
  int branches_n;
  merged merges[MERGES];
  int merges_n;
} world;
extern world w_;
const state *world_at(int branch, int commit);
const state *world_now(int branch);
int world_head(int branch); /* the branch's newest commit; -1: none of its own */
int branch_by_name(const char *name);

enum policy { LAST_COMMIT_WINS, FIRST_COMMIT_WINS, SERIALIZABLE };
typedef struct logged {
  op o;
  ids given;
  answer told;
  int32_t rowid_before; /* the connection's last row id */
} logged;
typedef struct saved {
  int name;
  bool had_view;
  state own;
  keys written;
  int log_n;
  bool ddl;
} saved;
typedef struct session {
  bool open, doomed, turn, has_view, ddl, log_full, savepoint_began;
  bool leaned;     /* said of other rows that they are there or not */
  enum policy policy;
  int branch, view;
  int32_t rowid; /* the connection's last */
  unsigned reads;
  state base, own;
  keys written;
  logged log[LOG];
  int log_n;
  saved savepoints[SAVEPOINTS];
  int savepoints_n;
} session;

/* What a COMMIT may do. */
typedef struct verdict {
  bool may_succeed, may_conflict, may_break; /* break: a constraint error */
  int outcomes_n;
  state outcomes[2]; /* what main or the branch may hold when it succeeded */
  keys written[2];
} verdict;
void session_view(session *s, int branch);
void session_forget(session *s);
void model_verdict(const session *s, verdict *v);
/* Commits a state; the number of the commit. */
int world_commit(int branch, int64_t time, const state *after, const keys *written, bool ddl);
/* Three-way merge of source into target as of now. 0: fine, 1: conflicts, 2: a constraint breaks. */
typedef struct merge_outcome {
  int64_t inserted, updated, deleted, conflicts;
  bool breaks;
  state after;
  keys written;
} merge_outcome;
enum merge_how { MERGE_FAILS, MERGE_BRANCH, MERGE_TARGET };
void model_merge(int source, int target, enum merge_how how, merge_outcome *m);
void model_merged(int source, int target, bool wrote);

#endif
