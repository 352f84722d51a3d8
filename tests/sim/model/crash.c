/* Crashes: the power cut at any write, failing writes and syncs, closing and opening; and what must be there then. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kv/fault.h"
#include "sql/internal.h"
#include "tests/sim/model/run.h"

static int hits; /* that have been dealt with */

void kv_track(bool on) {
  kv_fault_clear();
  hits = kv_fault_hits();
  kv_fault_power_cut_at(0);
  kv_fault_track(on);
}


bool crash_seen(sim *m) {
  if (!m->tracking) return false;
  return kv_fault_power_is_cut() || kv_fault_hits() != hits;
}

bool run_crash(sim *m, const op *o) {
  if (!m->tracking) return true;
  if (o->kind == OP_FAULT) {
    static const enum kv_fault faults[] = {KV_FAULT_WRITE, KV_FAULT_HALF_WRITE, KV_FAULT_SYNC, KV_FAULT_NO_SPACE};
    kv_fault_set(faults[o->x % 4], ".log", 1 + o->y % 6);
    hits = kv_fault_hits();
    return true;
  }
  switch (o->x % 3) {
  case 0: kv_fault_power_cut(); return true;
  case 1: kv_fault_power_cut_at(1 + o->y % 30); return true;
  default:
    engine_down(m, false);
    return !m->f->failed && engine_up(m) && check_all(m);
  }
}

/* The commits that the engine still has, by their times. */
static bool newest_there(sim *m, int64_t *time) {
  hdb *db = observe(m, 0);
  hdb_stmt *s = NULL;
  if (!db) return false;
  bool fine = hdb_prepare(db, "SELECT max(scn) FROM heliosdb_transactions", -1, 0, &s, NULL) == HDB_OK && hdb_step(s) == HDB_ROW;
  if (fine) *time = hdb_column_int64(s, 0);
  else fails(m, "heliosdb_transactions: %s", hdb_errmsg(db));
  hdb_finalize(s);
  return fine;
}

static bool branch_is_there(sim *m, int branch) {
  char sql[100];
  static answer a;
  snprintf(sql, sizeof sql, "SELECT count(*) FROM heliosdb_branches WHERE name = '%s'", w_.branches[branch].name);
  run_text(observe(m, 0), sql, &a);
  return a.n == 1 && a.at[0].v[0] == 1;
}

/* Which of the indexes that come and go are there: a state that was read has only what its tables say. */
static uint8_t indexes_there(hdb *db) {
  static answer a;
  uint8_t flags = 0;
  run_text(db, "SELECT 1 FROM sqlite_schema WHERE name = 'a_v'", &a);
  if (a.n) flags |= HAS_INDEX_V;
  run_text(db, "SELECT 1 FROM sqlite_schema WHERE name = 'a_n'", &a);
  if (a.n) flags |= HAS_INDEX_N;
  return flags;
}

/* A commit that was not acknowledged and is there all the same: one of those that were foretold, or, for a statement
 * alone, whatever is there and holds together. */
static bool adopt_doubtful(sim *m, int64_t time, bool *taken) {
  static state is;
  static keys none;
  *taken = false;
  if (time <= w_.commits[w_.commits_n - 1].time) return true;
  if (!m->in_doubt) return fails(m, "after the crash there is a commit that nobody made");
  *taken = true;
  for (int b = 0; b < w_.branches_n; b++) {
    if (!w_.branches[b].alive) continue;
    if (!read_state(m, observe(m, b), "", &is)) return false;
    uint8_t indexes = indexes_there(observe(m, b));
    if (state_same(&is, world_now(b)) && indexes == (world_now(b)->schema & SCHEMA_FLAGS)) continue;
    is.sequence = world_now(b)->sequence, is.schema |= indexes;
    none.n = 0;
    for (int i = 0; m->doubtful.outcomes_n && i < m->doubtful.outcomes_n; i++)
      if (state_same(&is, &m->doubtful.outcomes[i])) m->doubtful.may_succeed = false; /* found */
    if (m->doubtful.outcomes_n && m->doubtful.may_succeed) return fails(m, "after the crash a commit is there that is not the one that was made");
    world_commit(b, time, &is, &none, true);
    return true;
  }
  none.n = 0;
  is = *world_now(0);
  world_commit(0, time, &is, &none, true); /* it wrote what was there */
  return true;
}

/* Does the engine know the merge that was in doubt as the last one of its pair? */
static bool merge_is_known(sim *m, bool *known) {
  uint32_t ids[2];
  int64_t time = 0;
  unsigned source = 0;
  char name[64];
  buf stored = BUF_INIT;
  engine *e = observe(m, 0)->databases[DB_MAIN].engine;
  const merged *g = &m->merging;
  *known = false;
  if (branch_find(e, w_.branches[g->a].name, &ids[0]) != HDB_OK || branch_find(e, w_.branches[g->b].name, &ids[1]) != HDB_OK)
    return fails(m, "a branch that was merged is not there");
  snprintf(name, sizeof name, "merge/%u/%u", (unsigned)(ids[0] < ids[1] ? ids[0] : ids[1]), (unsigned)(ids[0] < ids[1] ? ids[1] : ids[0]));
  status rc = engine_setting_get(e, name, &stored);
  if (rc == HDB_OK) *known = sscanf(buf_cstr(&stored), "%u %" SCNd64, &source, &time) == 2 && source == ids[0] && time >= w_.commits[g->point].time;
  buf_free(&stored);
  return rc == HDB_OK || rc == HDB_NOTFOUND || fails(m, "the base of a merge: %d", rc);
}

/* A merge and its base are there together, or neither is. */
static bool adopt_merge(sim *m, bool taken) {
  const merged *g = &m->merging;
  bool known;
  if (!m->in_doubt || !m->doubt_is_merge) return true;
  if (!merge_is_known(m, &known)) return false;
  for (int i = w_.merges_n - 1; i >= 0; i--) { /* the same state of the source as the time before: no telling, and no difference */
    const merged *before = &w_.merges[i];
    if (before->source == g->source && before->a + before->b == g->a + g->b && before->point == g->point) return true;
  }
  if (taken && !known) return fails(m, "after the crash a merge is there, but not as a base");
  if (known && g->commit && !taken) return fails(m, "after the crash a merge that is not there is a base");
  if (known) model_merged(g->source, g->b, taken);
  return true;
}

static bool forget_lost(sim *m, int64_t time) {
  int n = w_.commits_n;
  while (n > 1 && w_.commits[n - 1].time > time) n--;
  for (int i = n; m->options->loud && i < w_.commits_n; i++)
    printf("      lost: commit %d of branch %s at %lld, %s\n", i, w_.branches[w_.commits[i].branch].name, (long long)w_.commits[i].time, w_.commits[i].synced ? "synced" : "not synced");
  for (int i = n; i < w_.commits_n; i++)
    for (int k = i; k < w_.commits_n; k++)
      if (w_.commits[k].synced) return fails(m, "after the crash %d commits are gone, one of them acknowledged and synced", w_.commits_n - n);
  w_.commits_n = n;
  while (w_.merges_n && (w_.merges[w_.merges_n - 1].point >= n || w_.merges[w_.merges_n - 1].commit >= n)) w_.merges_n--;
  if (m->floor > n) m->floor = n;
  for (int b = 1; b < w_.branches_n; b++) {
    if (!w_.branches[b].alive || branch_is_there(m, b)) continue;
    if (w_.branches[b].synced) return fails(m, "after the crash branch %s is gone", w_.branches[b].name);
    w_.branches[b].alive = false;
  }
  return true;
}

bool recover(sim *m) {
  bool cut = kv_fault_power_is_cut(), taken;
  int64_t time;
  engine_down(m, false);
  m->f->failed = false; /* closing may well have failed */
  kv_fault_clear();
  hits = kv_fault_hits();
  if (cut) {
    kv_fault_power_cut();
    kv_fault_power_back(m->step % 2 ? 0 : (uint64_t)m->step + 1);
  }
  kv_fault_track(false);
  kv_fault_power_cut_at(0);
  kv_fault_track(true);
  if (!newest_there(m, &time)) return false;
  if (!cut && time < w_.commits[w_.commits_n - 1].time) return fails(m, "commits are gone though the power was not cut");
  if (m->options->loud) printf("      recovered: cut %d, newest commit there %+lld of the model's, in doubt %d\n", cut, (long long)(time - w_.commits[w_.commits_n - 1].time), m->in_doubt);
  if (!forget_lost(m, time) || !adopt_doubtful(m, time, &taken) || !adopt_merge(m, taken)) return false;
  learn_floor(m, observe(m, 0));
  m->in_doubt = m->doubt_is_merge = false, m->doubtful.outcomes_n = 0;
  for (int i = 0; i < CONNECTIONS; i++)
    if (!w_.branches[m->s[i].branch].alive) m->s[i].branch = 0;
  return engine_up(m) && check_all(m);
}
