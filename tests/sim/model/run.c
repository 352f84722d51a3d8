/* A plan, operation by operation, on the engine and on the model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/model/run.h"

static answer told, expected;

/* ---- what the model says ---- */

static bool is_write(const op *o) { return o->kind >= OP_INSERT && o->kind <= OP_DDL; }

static bool may_lean(const op *o) { return o->table == TABLE_P || o->table == TABLE_C; }

/* Too many rows for the model? Depends on the model alone, so that a run is the same each time. */
static bool has_room(const state *s, const op *o) {
  if (o->kind == OP_INSERT && s->t[o->table].n >= ROWS_FULL) return false;
  if (o->kind == OP_INSERT_SELECT && s->t[o->table].n + s->t[TABLE_P].n > ROWS_FULL + 10) return false;
  if (vary.trigger && o->table == TABLE_A && o->kind != OP_DELETE && s->t[TABLE_L].n + s->t[TABLE_A].n > ROWS - 10) return false;
  return true;
}

static bool gives_ids(const op *o, int table) {
  if (table == o->table && (o->kind == OP_INSERT_SELECT || (o->kind == OP_INSERT && o->x == OP_NIL)) && shapes[table].keys_n == 1) return true;
  return table == TABLE_L && vary.trigger && o->table == TABLE_A && (o->kind == OP_UPDATE || o->on == ON_UPSERT);
}

/* Row ids that the engine gave: those that are there now and were not before. */
static bool take_ids(sim *m, int conn, const op *o, const state *before, ids *given) {
  static answer a;
  memset(given, 0, sizeof *given);
  for (int t = 0; t < TABLES; t++) {
    if (!gives_ids(o, t)) continue;
    int n = 0;
    if (told.code == 0) {
      char sql[60];
      snprintf(sql, sizeof sql, "SELECT id FROM %s ORDER BY id", shapes[t].name);
      run_text(m->db[conn], sql, &a);
      if (a.code) return fails(m, "%s: %s", sql, hdb_errmsg(m->db[conn]));
      for (int i = 0; i < a.n && n < IDS; i++)
        if (!model_find(&before->t[t], &shapes[t], a.at[i].v[0], 0)) given->at[t][n++] = a.at[i].v[0];
    }
    while (n < IDS) given->at[t][n] = 900000 + n, n++; /* of rows that were not kept */
    given->table_n[t] = n;
  }
  return true;
}

/* An id is above all that the transaction sees, and nobody else's. */
static bool check_ids(sim *m, int conn, const op *o, const state *before, const ids *given) {
  for (int t = 0; t < TABLES; t++) {
    for (int i = 0; i < given->table_used[t]; i++) {
      int32_t id = given->at[t][i];
      const rows *there = &before->t[t];
      if (id >= 900000) continue;
      if (there->n && id <= there->at[there->n - 1].v[0]) return fails(m, "the id %d of %s is not above those there", id, shapes[t].name);
      if (t == TABLE_Q && id <= before->sequence) return fails(m, "the id %d of q was used before", id);
      for (int c = 0; c < vary.connections; c++) {
        if (c == conn || !m->s[c].has_view || (t == TABLE_D && (m->s[c].ddl || m->s[conn].ddl)) || !m->s[c].open || model_find(&m->s[c].base.t[t], &shapes[t], id, 0)) continue;
        for (int k = 0; k < m->s[c].log_n; k++)
          for (int g = 0; g < m->s[c].log[k].given.table_used[t]; g++)
            if (m->s[c].log[k].given.at[t][g] == id && !m->s[c].doomed) return fails(m, "the id %d of %s was given to connection %d", id, shapes[t].name, c);
      }
    }
  }
  return true;
}

static bool compare(sim *m, const op *o, const answer *want) {
  static char sql[300];
  op_sql(o, sql, sizeof sql);
  bool rowid = o->kind == OP_INSERT || o->kind == OP_INSERT_SELECT;
  if (!rowid || want->rowid == NIL) told.rowid = NIL;
  if (!is_write(o) || o->kind == OP_DDL) told.changes = 0;
  answer_sort(&told);
  if (answer_same(&told, want)) return true;
  if (told.code != want->code)
    return fails(m, "%s: answered %d (%s), not %d", sql, told.code, told.code ? hdb_errmsg(m->db[o->conn]) : "fine", want->code);
  if (told.changes != want->changes) return fails(m, "%s: %lld changes, not %lld", sql, (long long)told.changes, (long long)want->changes);
  if (told.n != want->n) return fails(m, "%s: %d rows, not %d", sql, told.n, want->n);
  return fails(m, "%s: other rows (first %d %d %d %d, not %d %d %d %d) or row id (%d, not %d)", sql, told.at[0].v[0], told.at[0].v[1],
               told.at[0].v[2], told.at[0].v[3], want->at[0].v[0], want->at[0].v[1], want->at[0].v[2], want->at[0].v[3], told.rowid, want->rowid);
}

/* ---- statements ---- */

static bool log_statement(session *s, const op *o, const ids *given) {
  if (s->log_n == LOG) return false;
  if (expected.code == 1) return true; /* it was never compiled */
  logged *l = &s->log[s->log_n++];
  l->o = *o, l->given = *given;
  memcpy(&l->told, &expected, sizeof expected);
  l->rowid_before = s->rowid;
  return true;
}

static bool in_transaction(sim *m, const op *o) {
  session *s = &m->s[o->conn];
  static char sql[300];
  static ids given;
  op_sql(o, sql, sizeof sql);
  if (!has_room(s->has_view ? &s->own : world_now(s->branch), o) || s->log_n == LOG) return true;
  session_view(s, s->branch);
  run_text(m->db[o->conn], sql, &told);
  if (crash_seen(m)) return true;
  if (!take_ids(m, o->conn, o, &s->own, &given)) return false;
  static state before;
  before = s->own;
  uint8_t schema = s->own.schema;
  model_run(&s->own, o, &given, &expected, &s->written);
  if (!compare(m, o, &expected) || !check_ids(m, o->conn, o, &before, &given)) return false;
  s->reads |= op_tables(o);
  s->ddl = s->ddl || (o->kind == OP_DDL && schema != s->own.schema);
  s->leaned = s->leaned || (is_write(o) && may_lean(o));
  log_statement(s, o, &given);
  s->rowid = (int32_t)hdb_last_insert_rowid(m->db[o->conn]);
  if (expected.code && o->on == ON_ROLLBACK && (expected.code & 0xff) == CONSTRAINT && expected.code != FOREIGN) {
    if (!hdb_get_autocommit(m->db[o->conn])) return fails(m, "%s: the transaction is still there", sql);
    if (s->turn) m->turn = -1;
    session_forget(s);
  } else if (hdb_get_autocommit(m->db[o->conn])) {
    return fails(m, "%s: the transaction is gone", sql);
  }
  return true;
}

/* The commit of a connection: the model's next. */
static bool committed(sim *m, int conn, const state *after, const keys *written, bool ddl) {
  int64_t time = hdb_last_commit_timestamp(m->db[conn]);
  int64_t newest = w_.commits[w_.commits_n - 1].time;
  if (time <= newest) {
    if (!state_same(after, world_now(m->s[conn].branch))) return fails(m, "a commit without a time of its own");
    return true; /* nothing that counts was written */
  }
  int n = world_commit(m->s[conn].branch, time, after, written, ddl);
  w_.commits[n].synced = m->full_sync[conn];
  return true;
}

/* A commit of nothing that the model keeps: sqlite_sequence. */
static void committed_nothing(sim *m, int conn) {
  static const keys none;
  int64_t time = hdb_last_commit_timestamp(m->db[conn]);
  if (time <= w_.commits[w_.commits_n - 1].time) return;
  static state same;
  same = *world_now(m->s[conn].branch);
  w_.commits[world_commit(m->s[conn].branch, time, &same, &none, false)].synced = m->full_sync[conn];
}

static bool alone(sim *m, const op *o) {
  session *s = &m->s[o->conn];
  static state now, before;
  static keys written;
  static ids given;
  static char sql[300];
  now = before = *world_now(s->branch);
  written.n = 0;
  if (!has_room(&now, o)) return true;
  op_sql(o, sql, sizeof sql);
  run_text(m->db[o->conn], sql, &told);
  s->rowid = (int32_t)hdb_last_insert_rowid(m->db[o->conn]);
  if (crash_seen(m)) { /* foretold with ids that do not matter: what is there afterwards tells */
    memset(&given, 0, sizeof given);
    m->in_doubt = is_write(o);
    return true;
  }
  if (!take_ids(m, o->conn, o, &before, &given)) return false;
  model_run(&now, o, &given, &expected, &written);
  if (!expected.code && vary.fk_deferred && model_violations(&now) > 0) {
    now = before, written.n = 0;
    expected.code = FOREIGN, expected.n = 0;
  }
  bool ddl = o->kind == OP_DDL && now.schema != before.schema;
  bool writes = written.n > 0 || ddl, soft = writes && !ddl;
  for (int i = 0; i < written.n; i++) soft = soft && written.at[i].soft;
  bool counts = o->table == TABLE_Q && o->kind != OP_SELECT; /* in sqlite_sequence, also an INSERT of nothing */
  if (m->turn >= 0 && m->turn != o->conn && counts && told.code == LOCKED) return true;
  if (m->turn >= 0 && m->turn != o->conn && writes && !expected.code && !(soft && told.code == 0)) {
    if (told.code == LOCKED) return check_state(m, s->branch, -1);
    return fails(m, "%s: committed although connection %d has the turn (%d)", sql, m->turn, told.code);
  }
  if (!compare(m, o, &expected) || !check_ids(m, o->conn, o, &before, &given)) return false;
  if (!hdb_get_autocommit(m->db[o->conn])) return fails(m, "%s: left a transaction open", sql);
  if (!writes) committed_nothing(m, o->conn);
  if (expected.code || o->kind == OP_SELECT || !writes) return true;
  return committed(m, o->conn, &now, &written, ddl) && check_state(m, s->branch, -1);
}

static bool run_rows(sim *m, const op *o) {
  session *s = &m->s[o->conn];
  if (!s->doomed) return s->open ? in_transaction(m, o) : alone(m, o);
  static char sql[300];
  op_sql(o, sql, sizeof sql);
  run_text(m->db[o->conn], sql, &told);
  if (told.code == LOCKED_SNAPSHOT || crash_seen(m)) return true;
  if (told.code == 1 && o->table == TABLE_D) return true; /* no such table comes before */
  return fails(m, "%s: a doomed transaction answered %d (%s)", sql, told.code, told.code ? hdb_errmsg(m->db[o->conn]) : "fine");
}

/* ---- transactions ---- */

static bool wants(sim *m, const op *o, int code) {
  if (told.code == code || crash_seen(m)) return true;
  return fails(m, "%s: answered %d (%s), not %d", op_name(o), told.code, told.code ? hdb_errmsg(m->db[o->conn]) : "fine", code);
}

static bool run_begin(sim *m, const op *o) {
  session *s = &m->s[o->conn];
  bool immediate = o->x == 1 || o->x == 2;
  if (s->doomed || s->open) return told.code != 0 ? true : fails(m, "BEGIN within a transaction");
  if (immediate && m->turn >= 0) return wants(m, o, LOCKED);
  if (!wants(m, o, 0) || told.code) return !m->f->failed;
  s->open = true;
  if (immediate) {
    s->turn = true;
    m->turn = o->conn;
    session_view(s, s->branch);
  }
  return true;
}

static void leave(sim *m, session *s) {
  if (s->turn) m->turn = -1;
  session_forget(s);
}

/* A replay took another way and needed ids that only the engine knows: the run ends here. */
static bool is_unknown(const verdict *v) {
  for (int i = 0; i < v->outcomes_n; i++)
    for (int t = 0; t < TABLES; t++) {
      const rows *r = &v->outcomes[i].t[t];
      if (r->n && r->at[r->n - 1].v[0] >= 900000) return true;
    }
  return false;
}

static bool adopt(sim *m, const op *o, verdict *v) {
  session *s = &m->s[o->conn];
  hdb *db = observe(m, s->branch);
  int fit = 0;
  if (!db) return false;
  while (fit < v->outcomes_n - 1 && !check_state_is(m, db, &v->outcomes[fit], -1, false) && !m->f->failed) fit++;
  if (m->f->failed) return false;
  bool ddl = s->ddl;
  if (!committed(m, o->conn, &v->outcomes[fit], &v->written[fit], ddl)) return false;
  leave(m, s);
  if (check_state(m, s->branch, -1)) return true;
  return says_where(m, "COMMIT", v->outcomes_n == 1 ? "(one outcome foretold)" : "(two outcomes foretold)");
}

static bool run_commit(sim *m, const op *o) {
  session *s = &m->s[o->conn];
  static verdict v;
  int code = told.code & 0xff;
  if (!s->open) return code ? true : fails(m, "COMMIT without a transaction");
  if (s->doomed) return wants(m, o, LOCKED_SNAPSHOT);
  if (s->has_view && vary.fk_deferred && model_violations(&s->own) > 0) return wants(m, o, FOREIGN);
  bool writes = s->has_view && (s->written.n > 0 || s->ddl);
  bool counts = s->reads & 1u << TABLE_Q; /* in sqlite_sequence, also an INSERT of nothing */
  if (m->turn >= 0 && m->turn != o->conn && (writes || counts) && told.code == LOCKED) return true;
  if (!writes && counts && told.code == LOCKED_SNAPSHOT) return s->doomed = true;
  if (!writes) {
    if (!wants(m, o, 0)) return false;
    if (!told.code) committed_nothing(m, o->conn);
    if (!told.code) leave(m, s);
    return true;
  }
  model_verdict(s, &v);
  if (is_unknown(&v)) return model_full = true;
  if (crash_seen(m)) {
    m->in_doubt = true, m->doubt_is_merge = false;
    m->doubtful = v, m->doubt = *s;
    return true;
  }
  bool hard = false;
  for (int i = 0; i < s->written.n; i++) hard = hard || !s->written.at[i].soft;
  if (m->turn >= 0 && m->turn != o->conn && hard && !told.code && !state_same(&s->own, &s->base)) return fails(m, "COMMIT while connection %d has the turn", m->turn);
  if (!told.code) return v.may_succeed ? adopt(m, o, &v) : fails(m, "COMMIT succeeded and must not");
  if (told.code == LOCKED_SNAPSHOT ? !v.may_conflict : code == CONSTRAINT ? !v.may_break : true)
    return fails(m, "COMMIT answered %d (%s); it may succeed %d, conflict %d, break a constraint %d", told.code, hdb_errmsg(m->db[o->conn]),
                 v.may_succeed, v.may_conflict, v.may_break);
  s->doomed = true;
  if (s->turn) return fails(m, "COMMIT under BEGIN IMMEDIATE met a conflict");
  return check_state(m, s->branch, -1);
}

static bool run_rollback(sim *m, const op *o) {
  session *s = &m->s[o->conn];
  if (!s->open) return told.code ? true : fails(m, "ROLLBACK without a transaction");
  if (!wants(m, o, 0)) return false;
  leave(m, s);
  return hdb_get_autocommit(m->db[o->conn]) ? true : fails(m, "ROLLBACK left a transaction");
}

static bool run_save(sim *m, const op *o) {
  session *s = &m->s[o->conn];
  if (s->doomed) return wants(m, o, LOCKED_SNAPSHOT);
  if (!wants(m, o, 0) || told.code) return !m->f->failed;
  saved *v = &s->savepoints[s->savepoints_n++];
  if (!s->open) s->open = s->savepoint_began = true;
  v->name = o->x, v->had_view = s->has_view, v->log_n = s->log_n, v->ddl = s->ddl;
  v->own = s->own, v->written = s->written;
  return true;
}

static int find_savepoint(const session *s, int name) {
  int i = s->savepoints_n - 1;
  while (i >= 0 && s->savepoints[i].name != name) i--;
  return i;
}

static bool run_back(sim *m, const op *o) {
  session *s = &m->s[o->conn];
  int i = find_savepoint(s, o->x);
  if (i < 0) return told.code ? true : fails(m, "ROLLBACK TO without a savepoint");
  if (s->doomed) return wants(m, o, LOCKED_SNAPSHOT);
  if (!wants(m, o, 0) || told.code) return !m->f->failed;
  saved *v = &s->savepoints[i];
  s->savepoints_n = i + 1;
  s->log_n = v->log_n, s->ddl = v->ddl;
  s->own = v->had_view ? v->own : s->base;
  if (v->had_view) s->written = v->written;
  else s->written.n = 0;
  return true;
}

static bool run_release(sim *m, const op *o) {
  session *s = &m->s[o->conn];
  int i = find_savepoint(s, o->x);
  if (i < 0) return told.code ? true : fails(m, "RELEASE without a savepoint");
  if (i == 0 && s->savepoint_began) return run_commit(m, o);
  if (s->doomed) return wants(m, o, LOCKED_SNAPSHOT);
  if (!wants(m, o, 0) || told.code) return !m->f->failed;
  s->savepoints_n = i;
  return true;
}

static bool run_transaction(sim *m, const op *o) {
  char sql[300];
  session *s = &m->s[o->conn];
  if (o->kind == OP_SAVE && s->savepoints_n == SAVEPOINTS) return true;
  op_sql(o, sql, sizeof sql);
  run_text(m->db[o->conn], sql, &told);
  switch (o->kind) {
  case OP_BEGIN: return run_begin(m, o);
  case OP_COMMIT: return run_commit(m, o);
  case OP_ROLLBACK: return run_rollback(m, o);
  case OP_SAVE: return run_save(m, o);
  case OP_RELEASE: return run_release(m, o);
  default: return run_back(m, o);
  }
}

static bool run_policy(sim *m, const op *o) {
  session *s = &m->s[o->conn];
  char sql[300];
  if (s->open) return true;
  op_sql(o, sql, sizeof sql);
  run_text(m->db[o->conn], sql, &told);
  if (!wants(m, o, 0) || told.code) return !m->f->failed;
  s->policy = (enum policy)o->x;
  return true;
}

static bool run_reopen(sim *m, const op *o) {
  session *s = &m->s[o->conn];
  leave(m, s);
  if (hdb_close(m->db[o->conn]) != HDB_OK) return fails(m, "close: %s", hdb_errmsg(m->db[o->conn]));
  m->db[o->conn] = NULL;
  return connect_one(m, o->conn, s->branch);
}

static bool run_op(sim *m, const op *o) {
  switch (o->kind) {
  case OP_SELECT:
  case OP_INSERT:
  case OP_INSERT_SELECT:
  case OP_UPDATE:
  case OP_DELETE:
  case OP_DDL: return run_rows(m, o);
  case OP_POLICY: return run_policy(m, o);
  case OP_PAST: return run_past(m, o);
  case OP_VERSIONS: return run_versions(m, o);
  case OP_BRANCH:
  case OP_SWITCH:
  case OP_MERGE:
  case OP_DROP_BRANCH: return run_branching(m, o);
  case OP_REOPEN: return run_reopen(m, o);
  case OP_CHECK: return check_all(m);
  case OP_COLLECT: return run_collect(m, o);
  case OP_CRASH:
  case OP_FAULT: return run_crash(m, o);
  default: return run_transaction(m, o);
  }
}

bool look_again(sim *m, int conn) {
  static state is;
  session *s = &m->s[conn];
  if (!s->open || !s->has_view || s->doomed) return true;
  char a[400], b[400];
  s->reads |= (1u << TABLES) - 1; /* a serializable one has read it all */
  if (!read_state(m, m->db[conn], "", &is)) return false;
  if (state_same(&is, &s->own)) return true;
  describe_state(&is, a, sizeof a);
  describe_state(&s->own, b, sizeof b);
  return fails(m, "connection %d sees\n  %s\nnot\n  %s", conn, a, b);
}

static void say(const sim *m, const op *o) {
  char sql[300];
  op_sql(o, sql, sizeof sql);
  printf("%4d  %d  %-9s %s\n", m->step, o->conn, o->kind <= OP_BACK ? "" : op_name(o), sql);
  fflush(stdout);
}

void sim_run(const plan *p, const sim_options *options, failure *f) {
  static sim m;
  static int number;
  memset(&m, 0, sizeof m);
  f->failed = false;
  m.plan = p, m.options = options, m.f = f, m.turn = -1;
  model_full = false;
  w_.branches_n = 0;
  if (!w_.commits) w_.commits = malloc(COMMITS * sizeof *w_.commits);
  if (vary.disk) snprintf(m.name, sizeof m.name, "%s/%d.db", options->folder, ++number);
  else snprintf(m.name, sizeof m.name, "file:sim%d?mode=memory&cache=shared", ++number);
  for (int i = 0; i < CONNECTIONS; i++) {
    m.s[i].policy = (enum policy)(i % 3);
    m.full_sync[i] = i != 2;
  }
  if (p->crashes) kv_track(true), m.tracking = true;
  bool fine = engine_up(&m);
  for (m.step = 0; fine && m.step < p->n && !model_full; m.step++) {
    const op *o = &p->at[m.step];
    if (o->conn >= vary.connections) continue;
    if (options->loud) say(&m, o);
    fine = run_op(&m, o);
    if (fine && m.db[o->conn] && !m.s[o->conn].open) fine = is_idle(&m, o->conn);
    if (crash_seen(&m)) fine = recover(&m); /* what a comparison met meanwhile does not count */
    if (fine && o->look && o->look <= vary.connections) fine = look_again(&m, o->look - 1);
  }
  if (fine && !model_full) check_all(&m);
  engine_down(&m, true);
  if (m.tracking) kv_track(false);
}
