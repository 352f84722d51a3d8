/* Commits, branches, and what a COMMIT may do, by the table of conflicts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/model/model.h"

world w_;

/* ---- states of branches ---- */

const state *world_at(int branch, int commit) {
  for (int i = commit; i >= 0; i--)
    if (w_.commits[i].branch == branch) return &w_.commits[i].after;
  const struct branch *b = &w_.branches[branch];
  return world_at(b->parent, commit < b->point ? commit : b->point);
}

const state *world_now(int branch) { return world_at(branch, w_.commits_n - 1); }

int world_head(int branch) {
  int i = w_.commits_n - 1;
  while (i >= 0 && w_.commits[i].branch != branch) i--;
  return i;
}

int branch_by_name(const char *name) {
  for (int i = 0; i < w_.branches_n; i++)
    if (w_.branches[i].alive && strcmp(w_.branches[i].name, name) == 0) return i;
  return -1;
}

int world_commit(int branch, int64_t time, const state *after, const keys *written, bool ddl) {
  if (w_.commits_n == COMMITS) abort();
  commit *c = &w_.commits[w_.commits_n];
  const state *before = w_.commits_n ? world_now(branch) : after;
  c->time = time, c->branch = branch, c->ddl = ddl, c->synced = true;
  c->undone = ddl && before->schema == after->schema;
  c->after = *after;
  c->written.n = written->n;
  memcpy(c->written.at, written->at, (size_t)written->n * sizeof(key));
  for (int i = 0; i < c->written.n; i++) { /* came and went */
    key *k = &c->written.at[i];
    const shape *h = &shapes[k->table];
    if (!model_find(&before->t[k->table], h, k->k0, k->k1) && !model_find(&after->t[k->table], h, k->k0, k->k1)) k->soft = true;
  }
  return w_.commits_n++;
}

/* ---- sessions ---- */

void session_view(session *s, int branch) {
  if (s->has_view) return;
  s->has_view = true;
  s->branch = branch;
  s->view = w_.commits_n - 1;
  s->base = s->own = *world_now(branch);
}

void session_forget(session *s) {
  enum policy policy = s->policy;
  int branch = s->branch;
  int32_t rowid = s->rowid;
  s->open = s->doomed = s->turn = s->has_view = s->ddl = s->log_full = s->savepoint_began = s->leaned = false;
  s->reads = 0, s->written.n = 0, s->log_n = 0, s->savepoints_n = 0;
  s->policy = policy, s->branch = branch, s->rowid = rowid;
}

/* ---- what a COMMIT may do ---- */

typedef struct since {
  bool any, ddl;
  unsigned tables;
  bool hard, soft; /* a row that both wrote */
  bool both_new;   /* ... that is there now and was not in the view: two inserted it */
} since;

static const key *find_key(const keys *k, const key *e) {
  for (int i = 0; i < k->n; i++)
    if (k->at[i].table == e->table && k->at[i].k0 == e->k0 && k->at[i].k1 == e->k1) return &k->at[i];
  return NULL;
}

static void look_at_commit(const session *s, const commit *c, since *n) {
  n->any = true;
  n->ddl = n->ddl || (c->ddl && !c->undone);
  n->soft = n->soft || c->undone;
  for (int i = 0; i < c->written.n; i++) {
    const key *theirs = &c->written.at[i], *mine = find_key(&s->written, theirs);
    n->tables |= 1u << theirs->table;
    if (!mine) continue;
    const shape *h = &shapes[mine->table];
    bool before = model_find(&s->base.t[mine->table], h, mine->k0, mine->k1), now = model_find(&s->own.t[mine->table], h, mine->k0, mine->k1);
    if (!before && !now) n->soft = true; /* came and went */
    else if (mine->soft || theirs->soft) n->soft = true;
    else if (!before && now && model_find(&world_now(s->branch)->t[mine->table], h, mine->k0, mine->k1)) n->both_new = true;
    else n->hard = true;
  }
}

static void apply_keys(state *to, const session *s) {
  for (int i = 0; i < s->written.n; i++) {
    const key *k = &s->written.at[i];
    const shape *h = &shapes[k->table];
    const row *r = model_find(&s->own.t[k->table], h, k->k0, k->k1);
    if (r) model_put(&to->t[k->table], h, r);
    else if (model_find(&s->base.t[k->table], h, k->k0, k->k1)) model_remove(&to->t[k->table], h, k->k0, k->k1);
  }
  if (s->own.sequence > to->sequence) to->sequence = s->own.sequence;
  if (s->ddl) to->schema = s->own.schema;
}

/* Runs the log again. reads: SELECTs too. */
static bool run_again(const session *s, bool reads, state *to, keys *written) {
  static answer again;
  written->n = 0;
  for (int i = 0; i < s->log_n; i++) {
    const logged *l = &s->log[i];
    if ((l->o.kind == OP_SELECT || l->o.kind == OP_DDL) && !reads) continue; /* DDL here: one that did nothing */
    ids given = l->given;
    memset(given.table_used, 0, sizeof given.table_used);
    given.taken = false;
    model_run(to, &l->o, &given, &again, written);
    int32_t then = l->told.rowid == NIL ? l->rowid_before : l->told.rowid;
    if ((again.rowid == NIL ? l->rowid_before : again.rowid) == then) again.rowid = l->told.rowid;
    if (given.taken || !answer_same(&again, &l->told)) return false;
  }
  return true;
}

static void add_outcome(verdict *v, const state *s, const keys *written) {
  v->may_succeed = true;
  v->outcomes[v->outcomes_n] = *s;
  v->written[v->outcomes_n].n = written->n;
  memcpy(v->written[v->outcomes_n].at, written->at, (size_t)written->n * sizeof(key));
  v->outcomes_n++;
}

/* The session's own writes as they are; what came and went does not count. */
static void add_own(verdict *v, const session *s, const state *after) {
  static keys written;
  written.n = s->written.n;
  memcpy(written.at, s->written.at, (size_t)written.n * sizeof(key));
  for (int i = 0; i < written.n; i++) {
    key *k = &written.at[i];
    const shape *h = &shapes[k->table];
    if (!model_find(&s->base.t[k->table], h, k->k0, k->k1) && !model_find(&s->own.t[k->table], h, k->k0, k->k1)) k->soft = true;
  }
  add_outcome(v, after, &written);
}

/* `leaned` and branches: what was said to hold is watched more coarsely than need be. */
static bool is_coarse(const session *s, const since *n) {
  if (s->ddl && (n->tables & (1u << TABLE_D | 1u << TABLE_A))) return true; /* it dropped, or made an index over, what others wrote to */
  if (s->ddl && s->policy == SERIALIZABLE && (n->tables & 1u << TABLE_Q)) return true; /* DROP looks into sqlite_sequence */
  if ((s->reads & 1u << TABLE_Q) && s->base.sequence == 0) return true; /* two may have made its row of sqlite_sequence */
  if (s->branch != 0) return (n->tables & s->reads) != 0;
  unsigned keys = 1u << TABLE_P | 1u << TABLE_C, q = 1u << TABLE_Q;
  return (s->leaned && (n->tables & keys)) || (s->reads & n->tables & q);
}

/* A statement that says what to do about a unique value: that one comes meanwhile is a conflict. */
static bool handles(const session *s) {
  for (int i = 0; i < s->log_n; i++)
    if (s->log[i].o.on == ON_IGNORE || s->log[i].o.on == ON_REPLACE || s->log[i].o.on == ON_UPSERT || s->log[i].o.on == ON_NOTHING) return true;
  return false;
}

/* Beside a row that both wrote a constraint may break too, seen on the committed rows as they are: then either is said. */
static bool may_break_too(const session *s, const since *n) {
  const rows *own = &s->own.t[TABLE_A], *now = &world_now(s->branch)->t[TABLE_A];
  for (int i = 0; i < own->n; i++)
    for (int k = 0; k < now->n; k++)
      if (own->at[i].v[1] != NIL && own->at[i].v[1] == now->at[k].v[1] && own->at[i].v[0] != now->at[k].v[0]) return true;
  return s->leaned && (n->tables & (1u << TABLE_P | 1u << TABLE_C));
}

void model_verdict(const session *s, verdict *v) {
  static state merged, again;
  static keys again_written;
  since n = {0};
  memset(v, 0, offsetof(verdict, outcomes));
  for (int i = s->view + 1; i < w_.commits_n; i++)
    if (w_.commits[i].branch == s->branch) look_at_commit(s, &w_.commits[i], &n);
  if (!n.any) {
    add_own(v, s, &s->own);
    return;
  }
  merged = *world_now(s->branch);
  apply_keys(&merged, s);
  bool breaks = !model_unique(&merged) || model_violations(&merged) > 0;
  bool certain = n.hard || n.ddl || breaks || n.both_new, coarse = n.soft || is_coarse(s, &n);
  again = *world_now(s->branch);
  bool same = run_again(s, s->policy == SERIALIZABLE, &again, &again_written) && model_violations(&again) == 0;
  if (!certain && (s->policy != SERIALIZABLE || same)) add_own(v, s, &merged);
  if (s->policy == LAST_COMMIT_WINS) {
    bool replays = same && !s->ddl && !s->log_full;
    if ((certain || coarse) && replays) add_outcome(v, &again, &again_written);
    bool other_d = (n.ddl || n.soft) && (s->reads & 1u << TABLE_D); /* d may be another table of that name: other row ids */
    v->may_conflict = v->may_break = (certain || coarse) && (!replays || other_d);
    return;
  }
  if (s->policy == SERIALIZABLE) coarse = coarse || (n.tables & s->reads);
  bool twice = n.both_new && s->branch == 0; /* one key given twice is an integrity error, whatever else */
  if (breaks || n.both_new) coarse = coarse || handles(s);
  v->may_conflict = n.hard || n.ddl || coarse || (s->branch != 0 && (breaks || n.both_new));
  v->may_break = breaks || twice || coarse || (n.hard && may_break_too(s, &n));
}

/* ---- merge ---- */

static bool is_ancestor(int of, int branch) {
  while (branch != of && branch != 0) branch = w_.branches[branch].parent;
  return branch == of;
}

static const state *merge_base(int source, int target) {
  for (int i = w_.merges_n - 1; i >= 0; i--) {
    const merged *m = &w_.merges[i];
    if ((m->a == source && m->b == target) || (m->a == target && m->b == source)) return world_at(m->source, m->point);
  }
  int ancestor = source, point = INT32_MAX;
  while (!is_ancestor(ancestor, target)) ancestor = w_.branches[ancestor].parent;
  for (int side = 0; side < 2; side++) {
    for (int b = side ? target : source; b != ancestor; b = w_.branches[b].parent)
      if (w_.branches[b].point < point) point = w_.branches[b].point;
  }
  return world_at(ancestor, point);
}

void model_merged(int source, int target, bool wrote) {
  if (w_.merges_n == MERGES) abort();
  w_.merges[w_.merges_n++] = (merged){source, target, source, w_.commits_n - 1, wrote ? w_.commits_n - 1 : 0};
}

static bool same_row(const row *a, const row *b, const shape *h) {
  return (!a && !b) || (a && b && memcmp(a->v, b->v, (size_t)h->columns_n * 4) == 0);
}

static void merge_put(merge_outcome *m, int table, const row *r) {
  const row *before = model_find(&m->after.t[table], &shapes[table], r->v[0], r->v[1]);
  *(before ? &m->updated : &m->inserted) += 1;
  row copy = *r;
  model_put(&m->after.t[table], &shapes[table], &copy);
  keys_add(&m->written, table, copy.v[0], copy.v[1], false);
}

static void merge_row(merge_outcome *m, int table, enum merge_how how, const row *base, const row *theirs, const row *ours) {
  const shape *h = &shapes[table];
  const row *any = theirs ? theirs : ours ? ours : base;
  int32_t k0 = any->v[0], k1 = any->v[1];
  if (same_row(theirs, base, h) || same_row(theirs, ours, h)) return;
  bool clean = same_row(ours, base, h);
  if (!clean && theirs && ours) {
    row result = *ours;
    bool taken = false;
    for (int i = h->keys_n; i < h->columns_n; i++) {
      if (theirs->v[i] == ours->v[i] || (base && theirs->v[i] == base->v[i])) continue;
      bool conflict = !base || ours->v[i] != base->v[i];
      m->conflicts += conflict;
      if (conflict && how != MERGE_BRANCH) continue;
      result.v[i] = theirs->v[i];
      taken = true;
    }
    if (taken) merge_put(m, table, &result);
    return;
  }
  m->conflicts += !clean;
  if (!clean && how != MERGE_BRANCH) return;
  if (theirs) {
    merge_put(m, table, theirs);
    return;
  }
  m->deleted++;
  model_remove(&m->after.t[table], h, k0, k1);
  keys_add(&m->written, table, k0, k1, false);
}

static void merge_table(merge_outcome *m, int table, enum merge_how how, const state *base, const state *theirs, const state *ours) {
  static keys seen;
  seen.n = 0;
  const shape *h = &shapes[table];
  const state *sides[3] = {base, theirs, ours};
  for (int k = 0; k < 3; k++)
    for (int i = 0; i < sides[k]->t[table].n; i++) keys_add(&seen, table, sides[k]->t[table].at[i].v[0], sides[k]->t[table].at[i].v[1], false);
  for (int i = 0; i < seen.n; i++) {
    int32_t k0 = seen.at[i].k0, k1 = seen.at[i].k1;
    merge_row(m, table, how, model_find(&base->t[table], h, k0, k1), model_find(&theirs->t[table], h, k0, k1),
              model_find(&ours->t[table], h, k0, k1));
  }
}

void model_merge(int source, int target, enum merge_how how, merge_outcome *m) {
  static state base, theirs, ours;
  memset(m, 0, offsetof(merge_outcome, after));
  m->written.n = 0;
  base = *merge_base(source, target), theirs = *world_now(source), ours = *world_now(target);
  m->after = ours;
  for (int t = 0; t < TABLES; t++)
    if (t != TABLE_D) merge_table(m, t, how, &base, &theirs, &ours);
  if (theirs.sequence > m->after.sequence) m->after.sequence = theirs.sequence;
  m->breaks = !model_unique(&m->after) || model_violations(&m->after) > 0;
}
