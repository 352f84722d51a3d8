/* The engine's side of a run: connections, observers, one statement and its answer. */
#ifndef HDB_TESTS_SIM_RUN_H
#define HDB_TESTS_SIM_RUN_H

#include "sql/hdb.h"
#include "tests/sim/model/sim.h"

typedef struct sim {
  const plan *plan;
  const sim_options *options;
  failure *f;
  int step;
  char name[300];
  hdb *db[CONNECTIONS];
  session s[CONNECTIONS];
  bool full_sync[CONNECTIONS];
  hdb *observer[64]; /* by branch; opened when first wanted */
  int turn;          /* who holds it; -1 */
  bool tracking, in_doubt, doubt_is_merge;
  merged merging;    /* doubt_is_merge: which one; commit: it has something to write */
  session doubt;     /* whose commit may or may not have happened */
  verdict doubtful;
  int floor;         /* the oldest commit that can be read as of */
} sim;

enum { LOCKED = 5, LOCKED_SNAPSHOT = 517, CONSTRAINT = 19, FOREIGN = 787, IO_ERROR = 10, DISK_FULL = 13 };

bool fails(sim *m, const char *format, ...) __attribute__((format(printf, 2, 3))); /* false, for return */
bool says_where(sim *m, const char *what, const char *which); /* in front of what fails() said; false */
bool engine_up(sim *m);
void engine_down(sim *m, bool for_good);
bool connect_one(sim *m, int conn, int branch);
void run_text(hdb *db, const char *sql, answer *a);
hdb *observe(sim *m, int branch);
/* Everything of a branch as of now (commit -1) or a past commit is as it should be. */
bool check_state(sim *m, int branch, int commit);
bool check_state_is(sim *m, hdb *db, const state *want, int commit, bool say);
bool check_all(sim *m);
bool read_state(sim *m, hdb *db, const char *past, state *out);
void describe_state(const state *s, char *out, size_t n);

/* crash.c */
bool run_crash(sim *m, const op *o);
bool crash_seen(sim *m); /* the power went, or a write failed, during the last operation */
bool recover(sim *m);
void kv_track(bool on);

/* branches.c */
bool run_branching(sim *m, const op *o);
bool run_past(sim *m, const op *o);
bool run_versions(sim *m, const op *o);
bool run_collect(sim *m, const op *o);
struct engine;
int sim_pack(struct engine *e, bool forget, bool small); /* pack.c */
bool look_again(sim *m, int conn); /* what an open transaction sees has not moved */
bool is_idle(sim *m, int conn);
int64_t learn_floor(sim *m, hdb *db); /* the oldest time that can be read as of */
int branch_of(const op *o, int16_t x); /* -1: there is none of this name */

#endif
