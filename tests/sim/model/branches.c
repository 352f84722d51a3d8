/* Branches and the past. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sql/internal.h"
#include "tests/sim/model/run.h"

static answer told;

int branch_of(const op *o, int16_t x) {
  char name[8];
  if (x == 0) return 0;
  snprintf(name, sizeof name, "b%d", x);
  return branch_by_name(name);
}

static void name_of(int16_t x, char *out) { snprintf(out, 8, x ? "b%d" : "main", x); }

static bool wants_error(sim *m, const op *o, const char *why) {
  if (told.code || crash_seen(m)) return true;
  return fails(m, "%s was done %s", op_name(o), why);
}

static bool wants_fine(sim *m, const op *o) {
  if (!told.code || crash_seen(m)) return true;
  return fails(m, "%s: %s (%d)", op_name(o), hdb_errmsg(m->db[o->conn]), told.code);
}

static bool create(sim *m, const op *o) {
  session *s = &m->s[o->conn];
  char sql[200], past[60] = "", name[8], from_name[8];
  int16_t x = (int16_t)(1 + o->x % 3);
  int from = o->z % 3 ? s->branch : branch_of(o, o->y);
  name_of(x, name);
  if (from < 0 || w_.branches_n == 60) return true;
  snprintf(from_name, sizeof from_name, "%s", w_.branches[from].name);
  int point = w_.commits_n - 1;
  if (o->z % 4 == 1 && m->floor < w_.commits_n) {
    point = m->floor + o->z % (w_.commits_n - m->floor);
    snprintf(past, sizeof past, " AS OF SCN %lld", (long long)w_.commits[point].time);
  }
  snprintf(sql, sizeof sql, "CREATE BRANCH %s FROM %s%s", name, from_name, past);
  bool exists = branch_of(o, x) >= 0;
  run_text(m->db[o->conn], sql, &told);
  if (s->doomed) return true;
  if (exists) return wants_error(m, o, "twice");
  if (!wants_fine(m, o)) return false; /* a failed one may be there after a crash */
  branch *b = &w_.branches[w_.branches_n];
  *b = (branch){.parent = from, .point = point, .alive = true, .synced = told.code == 0};
  snprintf(b->name, sizeof b->name, "%s", name);
  w_.branches_n++;
  return crash_seen(m) || check_state(m, w_.branches_n - 1, -1);
}

static bool use(sim *m, const op *o) {
  session *s = &m->s[o->conn];
  char sql[100], name[8];
  int to = branch_of(o, o->x);
  name_of(o->x, name);
  snprintf(sql, sizeof sql, "USE BRANCH %s", name);
  run_text(m->db[o->conn], sql, &told);
  if (s->open) return wants_error(m, o, "within a transaction");
  if (to < 0) return wants_error(m, o, "without the branch");
  if (!wants_fine(m, o) || told.code) return !m->f->failed;
  s->branch = to;
  return true;
}

static bool drop(sim *m, const op *o) {
  session *s = &m->s[o->conn];
  char sql[100], name[8];
  int b = branch_of(o, o->x);
  bool used = false;
  name_of(o->x, name);
  if (b > 0 && m->observer[b]) {
    hdb_close(m->observer[b]);
    m->observer[b] = NULL;
  }
  snprintf(sql, sizeof sql, "DROP BRANCH %s", name);
  run_text(m->db[o->conn], sql, &told);
  for (int i = 0; i < vary.connections; i++) used = used || m->s[i].branch == b;
  for (int i = 1; i < w_.branches_n; i++) used = used || (w_.branches[i].alive && w_.branches[i].parent == b);
  if (s->open) return wants_error(m, o, "within a transaction");
  if (b <= 0) return wants_error(m, o, "of main or nothing");
  if (used) return wants_error(m, o, "of a branch in use");
  if (!wants_fine(m, o)) return false;
  if (!told.code) w_.branches[b].alive = false;
  else w_.branches[b].synced = false;
  return true;
}

static bool merge_done(sim *m, const op *o, int source, int target, enum merge_how how, bool dry, const merge_outcome *r) {
  if (r->conflicts && how == MERGE_FAILS && !dry) return wants_error(m, o, "although there are conflicts") && check_state(m, target, -1);
  if (r->breaks && !(r->conflicts && how == MERGE_FAILS)) return wants_error(m, o, "although constraints break") && check_state(m, target, -1);
  if (r->breaks && told.code) return true; /* conflicts and breaks, and only looked */
  if (!wants_fine(m, o) || told.code) return !m->f->failed;
  int32_t want[4] = {(int32_t)r->inserted, (int32_t)r->updated, (int32_t)r->deleted, (int32_t)r->conflicts};
  if (told.n != 1 || memcmp(told.at[0].v, want, sizeof want) != 0)
    return fails(m, "merge told %d %d %d %d, not %d %d %d %d", told.at[0].v[0], told.at[0].v[1], told.at[0].v[2], told.at[0].v[3], want[0], want[1], want[2], want[3]);
  if (dry) return check_state(m, target, -1);
  bool writes = !state_same(&r->after, world_now(target));
  if (writes) {
    int64_t time = hdb_last_commit_timestamp(m->db[o->conn]);
    if (time <= w_.commits[w_.commits_n - 1].time) return fails(m, "a merge without a time of its own");
    int n = world_commit(target, time, &r->after, &r->written, false);
    w_.commits[n].synced = m->full_sync[o->conn];
  }
  model_merged(source, target, writes);
  return check_state(m, target, -1);
}

static bool merge(sim *m, const op *o) {
  session *s = &m->s[o->conn];
  static merge_outcome r;
  static const char *const words[] = {"fail", "branch_wins", "target_wins"};
  char sql[200];
  int source = branch_of(o, o->x), target = branch_of(o, o->y);
  enum merge_how how = (enum merge_how)(o->z % 3);
  bool dry = o->z % 5 == 0;
  if (source < 0 || target < 0) return true;
  snprintf(sql, sizeof sql, "MERGE BRANCH %s INTO %s WITH (conflict_resolution = '%s', dry_run = %s)", w_.branches[source].name,
           w_.branches[target].name, words[how], dry ? "true" : "false");
  run_text(m->db[o->conn], sql, &told);
  if (s->open) return wants_error(m, o, "within a transaction");
  if (source == target) return wants_error(m, o, "into itself");
  if (m->turn >= 0) return wants_error(m, o, "while somebody has the turn");
  model_merge(source, target, how, &r);
  if (crash_seen(m)) {
    bool may = !dry && !r.breaks && !(r.conflicts && how == MERGE_FAILS);
    m->in_doubt = m->doubt_is_merge = may;
    m->merging = (merged){source, target, source, w_.commits_n - 1, !state_same(&r.after, world_now(target))};
    m->doubtful = (verdict){.may_succeed = true, .outcomes_n = 1};
    m->doubtful.outcomes[0] = r.after;
    return true;
  }
  return merge_done(m, o, source, target, how, dry, &r);
}

bool run_branching(sim *m, const op *o) {
  switch (o->kind) {
  case OP_BRANCH: return create(m, o);
  case OP_SWITCH: return use(m, o);
  case OP_DROP_BRANCH: return drop(m, o);
  default: return merge(m, o);
  }
}

/* ---- the past ---- */

bool run_past(sim *m, const op *o) {
  session *s = &m->s[o->conn];
  static answer want;
  static state then;
  static keys none;
  static ids no_ids;
  op select = *o;
  char sql[300], *where;
  static char text[300];
  int newest = s->has_view && s->open ? s->view : w_.commits_n - 1;
  if (newest < m->floor) return true;
  int at = m->floor + o->k % (newest - m->floor + 1);
  select.kind = OP_SELECT;
  op_sql(&select, sql, sizeof sql);
  where = strstr(sql, " WHERE");
  if (!where) where = strstr(sql, " ORDER");
  if (!where) where = sql + strlen(sql);
  if (o->where == W_SUB) return true;
  snprintf(text, sizeof text, "%.*s AS OF SCN %lld%s", (int)(where - sql), sql, (long long)w_.commits[at].time, where);
  run_text(m->db[o->conn], text, &told);
  if (crash_seen(m)) return true;
  if (s->doomed) return told.code ? true : fails(m, "%s: a doomed transaction reads", text);
  if (s->open) session_view(s, s->branch);
  then = *world_at(s->branch, at);
  none.n = 0;
  model_run(&then, &select, &no_ids, &want, &none);
  told.changes = 0, told.rowid = NIL;
  answer_sort(&told);
  if (answer_same(&told, &want)) return true;
  if (told.code) return fails(m, "%s: %s (%d, not %d)", text, hdb_errmsg(m->db[o->conn]), told.code, want.code);
  return fails(m, "%s: %d rows (%d %d %d ..), not %d (%d %d %d ..)", text, told.n, told.at[0].v[0], told.at[0].v[1], told.at[0].v[2], want.n,
               want.at[0].v[0], want.at[0].v[1], want.at[0].v[2]);
}

typedef struct version {
  row r;
  int64_t from, to; /* to 0: still */
  bool gone;
} version;

static int read_versions(sim *m, const op *o, int from, int to, version *list, int most) {
  const shape *h = &shapes[o->table];
  char sql[300];
  hdb_stmt *s = NULL;
  int n = 0, rc;
  snprintf(sql, sizeof sql, "SELECT *, _version_from, _version_to, _version_op FROM %s VERSIONS BETWEEN %lld AND %lld", h->name,
           (long long)w_.commits[from].time, (long long)w_.commits[to].time);
  rc = hdb_prepare(m->db[o->conn], sql, -1, 0, &s, NULL);
  while (rc == HDB_OK && n < most && hdb_step(s) == HDB_ROW) {
    version *v = &list[n++];
    memset(v, 0, sizeof *v);
    for (int i = 0; i < h->columns_n; i++) v->r.v[i] = hdb_column_type(s, i) == HDB_NULL ? NIL : (int32_t)hdb_column_int64(s, i);
    v->from = hdb_column_int64(s, h->columns_n), v->to = hdb_column_int64(s, h->columns_n + 1);
    v->gone = strcmp(hdb_column_text(s, h->columns_n + 2), "delete") == 0;
  }
  rc = hdb_finalize(s);
  if (rc != HDB_OK) fails(m, "%s: %s", sql, hdb_errmsg(m->db[o->conn]));
  return rc == HDB_OK ? n : -1;
}

/* The versions current at each commit between are its rows, and nothing else. */
static bool versions_say(sim *m, const op *o, const version *list, int n, int at) {
  static rows then;
  const shape *h = &shapes[o->table];
  const rows *want = &world_at(m->s[o->conn].branch, at)->t[o->table];
  int64_t time = w_.commits[at].time;
  then.n = 0;
  for (int i = 0; i < n; i++) {
    const version *v = &list[i];
    if (v->from > time || (v->to && v->to <= time)) continue;
    if (model_find(&then, h, v->r.v[0], v->r.v[1])) return fails(m, "VERSIONS of %s: two at a time of row %d", h->name, v->r.v[0]);
    if (!v->gone) model_put(&then, h, &v->r);
    else if (model_find(want, h, v->r.v[0], v->r.v[1])) return fails(m, "VERSIONS of %s: row %d is said to be deleted", h->name, v->r.v[0]);
  }
  bool same = then.n == want->n;
  for (int i = 0; same && i < then.n; i++) same = memcmp(then.at[i].v, want->at[i].v, (size_t)h->columns_n * 4) == 0;
  return same || fails(m, "VERSIONS of %s: %d rows at commit %d, not %d, or others", h->name, then.n, at, want->n);
}

bool run_versions(sim *m, const op *o) {
  enum { MOST = 4000 };
  static version list[MOST];
  session *s = &m->s[o->conn];
  int newest = s->has_view && s->open ? s->view : w_.commits_n - 1;
  if (s->doomed || o->table == TABLE_D || newest < m->floor) return true;
  int from = m->floor + o->x % (newest - m->floor + 1), to = from + o->y % (newest - from + 1);
  if (s->open) session_view(s, s->branch);
  int n = read_versions(m, o, from, to, list, MOST);
  if (crash_seen(m) || n == MOST) return true;
  for (int at = from; n >= 0 && at <= to; at++)
    if (!versions_say(m, o, list, n, at)) return false;
  return n >= 0;
}

/* ---- retention ---- */

/* A connection outside of transactions holds no view. */
bool is_idle(sim *m, int conn) {
  const database *d = &m->db[conn]->databases[DB_MAIN];
  return !d->txn || !txn_is_open(d->txn) || fails(m, "connection %d keeps a view outside of transactions", conn);
}

int64_t learn_floor(sim *m, hdb *db) {
  int64_t oldest = engine_oldest(db->databases[DB_MAIN].engine);
  while (m->floor < w_.commits_n && w_.commits[m->floor].time < oldest) m->floor++;
  return oldest;
}

/* Everything that nobody needs goes; what somebody needs stays: open views, branch points. Or history is packed. */
bool run_collect(sim *m, const op *o) {
  engine *e = m->db[o->conn]->databases[DB_MAIN].engine;
  if (o->x % 3 == 1) {
    int rc = sim_pack(e, o->y % 2, o->y % 4 < 3);
    return rc == HDB_OK ? check_all(m) : crash_seen(m) || fails(m, "packing: %d", rc);
  }
  if (o->x % 3 || m->turn >= 0) return true; /* it would wait for the turn */
  status rc = engine_set_retention(e, 0.000001, 1000);
  if (rc == HDB_OK) rc = engine_collect(e);
  if (rc == HDB_OK) rc = engine_set_retention(e, INFINITY, 1000);
  if (rc != HDB_OK) return crash_seen(m) || fails(m, "collecting: %d", rc);
  int64_t oldest = learn_floor(m, m->db[o->conn]);
  for (int i = 0; i < vary.connections; i++) {
    const session *s = &m->s[i];
    if (!s->open || !s->has_view || s->doomed) continue;
    if (txn_view_time(m->db[i]->databases[DB_MAIN].txn) < oldest) return fails(m, "history that connection %d needs is gone", i);
    if (!look_again(m, i)) return false;
  }
  return check_all(m);
}
