/* Connections, observers, and the comparison of what the engine holds with a state. */
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mvcc/mvcc.h"
#include "tests/sim/model/run.h"

bool fails(sim *m, const char *format, ...) {
  if (m->f->failed) return false;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(m->f->text, sizeof m->f->text, format, arguments);
  va_end(arguments);
  m->f->failed = true;
  m->f->at = m->step;
  return false;
}

bool says_where(sim *m, const char *what, const char *which) {
  char kept[sizeof m->f->text];
  memcpy(kept, m->f->text, sizeof kept);
  snprintf(m->f->text, sizeof m->f->text, "%s %s: %.900s", what, which, kept);
  return false;
}

/* ---- connections ---- */

static hdb *open_one(sim *m, const char *branch, const char *policy) {
  hdb *db = NULL;
  hdb_settings settings = {.branch = branch, .conflict_policy = policy, .retention = INFINITY, .mirror = vary.disk ? 0 : -1};
  int rc = hdb_open_with(m->name, &db, HDB_OPEN_READWRITE | HDB_OPEN_CREATE | HDB_OPEN_URI, &settings);
  if (rc == HDB_OK) {
    hdb_busy_timeout(db, 0);
    rc = hdb_exec(db, "PRAGMA foreign_keys = on", NULL, NULL, NULL);
  }
  if (rc == HDB_OK) return db;
  fails(m, "open: %s", hdb_errmsg(db));
  hdb_close(db);
  return NULL;
}

bool connect_one(sim *m, int conn, int branch) {
  static const char *const policies[] = {"last_commit_wins", "first_commit_wins", "serializable"};
  m->db[conn] = open_one(m, w_.branches[branch].name, policies[m->s[conn].policy]);
  if (!m->db[conn]) return false;
  if (!m->full_sync[conn]) hdb_exec(m->db[conn], "PRAGMA synchronous = normal", NULL, NULL, NULL);
  session_forget(&m->s[conn]);
  m->s[conn].branch = branch, m->s[conn].rowid = 0;
  return true;
}

hdb *observe(sim *m, int branch) {
  if (!m->observer[branch]) m->observer[branch] = open_one(m, w_.branches[branch].name, NULL);
  return m->observer[branch];
}

static const char *const tables_sql =
    "CREATE TABLE a(id INTEGER PRIMARY KEY, u INT UNIQUE, v INT, n INT); CREATE INDEX a_v ON a(v);"
    "CREATE TABLE p(id INTEGER PRIMARY KEY, v INT);"
    "CREATE TABLE q(id INTEGER PRIMARY KEY AUTOINCREMENT, v INT);"
    "CREATE TABLE l(id INTEGER PRIMARY KEY, what INT, v INT);";

static bool make_tables(sim *m) {
  w_.branches_n = 1;
  w_.branches[0] = (branch){.name = "main", .parent = 0, .alive = true, .synced = true};
  w_.commits_n = w_.merges_n = 0;
  hdb *db = observe(m, 0);
  char sql[2000];
  static const char *const on_delete[] = {"", " ON DELETE CASCADE", " ON DELETE SET NULL"};
  if (!db) return false;
  snprintf(sql, sizeof sql,
           "BEGIN; %s CREATE TABLE c(x INT, y INT, pid INT REFERENCES p(id)%s%s%s, v INT, PRIMARY KEY(x, y)) WITHOUT ROWID; %s %s"
           "INSERT INTO p VALUES(1, 10), (2, 20), (3, 30), (4, 0); INSERT INTO a VALUES(1, 1, 5, 0), (2, 2, 6, 0), (3, NULL, 5, 0); COMMIT",
           tables_sql, on_delete[vary.on_delete], vary.fk_update_cascades ? " ON UPDATE CASCADE" : "",
           vary.fk_deferred ? " DEFERRABLE INITIALLY DEFERRED" : "", vary.fk_indexed ? "CREATE INDEX c_pid ON c(pid);" : "",
           vary.trigger ? "CREATE TRIGGER r AFTER UPDATE OF v ON a BEGIN INSERT INTO l(what, v) VALUES(new.id, new.v); END;" : "");
  if (hdb_exec(db, sql, NULL, NULL, NULL) != HDB_OK) return fails(m, "the tables: %s", hdb_errmsg(db));
  static state s;
  static keys none;
  memset(&s, 0, sizeof s);
  static const row parents[] = {{{1, 10}}, {{2, 20}}, {{3, 30}}, {{4, 0}}}, rows[] = {{{1, 1, 5, 0}}, {{2, 2, 6, 0}}, {{3, NIL, 5, 0}}};
  for (int i = 0; i < 4; i++) model_put(&s.t[TABLE_P], &shapes[TABLE_P], &parents[i]);
  for (int i = 0; i < 3; i++) model_put(&s.t[TABLE_A], &shapes[TABLE_A], &rows[i]);
  s.schema = HAS_INDEX_V;
  none.n = 0;
  world_commit(0, hdb_last_commit_timestamp(db), &s, &none, false);
  return check_state(m, 0, -1);
}

bool engine_up(sim *m) {
  if (!w_.branches_n && !make_tables(m)) return false;
  for (int i = 0; i < vary.connections; i++) {
    int branch = m->s[i].branch;
    if (!m->db[i] && !connect_one(m, i, w_.branches[branch].alive ? branch : 0)) return false;
  }
  return true;
}

void engine_down(sim *m, bool for_good) {
  for (int i = 0; i < CONNECTIONS; i++) {
    if (m->db[i] && hdb_close(m->db[i]) != HDB_OK) fails(m, "close: %s", hdb_errmsg(m->db[i]));
    m->db[i] = NULL;
    session_forget(&m->s[i]);
  }
  for (int i = 0; i < 64; i++) {
    if (m->observer[i]) hdb_close(m->observer[i]);
    m->observer[i] = NULL;
  }
  m->turn = -1;
  if (vary.disk || for_good) engine_close_lingering();
}

/* ---- a statement ---- */

static int32_t column(hdb_stmt *s, int i) {
  return hdb_column_type(s, i) == HDB_NULL ? NIL : (int32_t)hdb_column_int64(s, i);
}

void run_text(hdb *db, const char *sql, answer *a) {
  hdb_stmt *s = NULL;
  memset(a, 0, offsetof(answer, at));
  a->rowid = NIL;
  hdb_extended_result_codes(db, 1);
  int rc = hdb_prepare(db, sql, -1, 0, &s, NULL);
  if (rc != HDB_OK) {
    a->code = rc;
    return;
  }
  a->columns = hdb_column_count(s);
  while ((rc = hdb_step(s)) == HDB_ROW) {
    if (a->n == ANSWERS) continue;
    row *r = &a->at[a->n++];
    memset(r, 0, sizeof *r);
    for (int i = 0; i < a->columns && i < COLUMNS; i++) r->v[i] = column(s, i);
  }
  if (rc == HDB_DONE) {
    a->changes = hdb_changes(db);
    a->rowid = (int32_t)hdb_last_insert_rowid(db);
  } else {
    a->code = rc, a->n = 0;
  }
  hdb_finalize(s);
}

/* ---- comparing ---- */

static bool read_table(sim *m, hdb *db, int table, const char *past, const char *tail, answer *a) {
  char sql[200];
  const shape *h = &shapes[table];
  snprintf(sql, sizeof sql, "SELECT * FROM %s%s%s", h->name, past, tail);
  run_text(db, sql, a);
  if (a->code) return fails(m, "%s: %s (%d)", sql, hdb_errmsg(db), a->code);
  return true;
}

bool read_state(sim *m, hdb *db, const char *past, state *out) {
  static answer a;
  out->schema = 0;
  for (int t = 0; t < TABLES; t++) {
    out->t[t].n = 0;
    if (t == TABLE_D) continue;
    if (!read_table(m, db, t, past, "", &a)) return false;
    for (int i = 0; i < a.n && i < ROWS; i++) model_put(&out->t[t], &shapes[t], &a.at[i]);
  }
  char sql[100];
  snprintf(sql, sizeof sql, "SELECT * FROM d%s", past);
  run_text(db, sql, &a);
  if (!a.code) out->schema = HAS_D;
  for (int i = 0; i < a.n && i < ROWS; i++) model_put(&out->t[TABLE_D], &shapes[TABLE_D], &a.at[i]);
  return true;
}

void describe_state(const state *s, char *out, size_t n) {
  size_t at = 0;
  *out = 0;
  for (int t = 0; t < TABLES && at + 100 < n; t++) {
    if (t == TABLE_D && !(s->schema & HAS_D)) continue;
    at += (size_t)snprintf(out + at, n - at, "%s:", shapes[t].name);
    for (int i = 0; i < s->t[t].n && at + 60 < n; i++) {
      at += (size_t)snprintf(out + at, n - at, "(");
      for (int c = 0; c < shapes[t].columns_n; c++) {
        int32_t v = s->t[t].at[i].v[c];
        at += (size_t)(v == NIL ? snprintf(out + at, n - at, "%s-", c ? "," : "") : snprintf(out + at, n - at, "%s%d", c ? "," : "", v));
      }
      at += (size_t)snprintf(out + at, n - at, ")");
    }
    at += (size_t)snprintf(out + at, n - at, " ");
  }
}

/* Through an index: the same rows, in the order of the index. */
static bool check_order(sim *m, hdb *db, const state *want, const char *past) {
  static const struct {
    int table;
    const char *order;
    int by;
  } orders[] = {{TABLE_A, " ORDER BY v", 2}, {TABLE_A, " ORDER BY u", 1}, {TABLE_C, " ORDER BY pid", 2}, {TABLE_A, " WHERE v > -99999", -1}};
  static answer a;
  for (size_t k = 0; k < sizeof orders / sizeof *orders; k++) {
    if (!read_table(m, db, orders[k].table, past, orders[k].order, &a)) return false;
    int by = orders[k].by, skipped = 0;
    for (int i = 1; by >= 0 && i < a.n; i++)
      if (a.at[i - 1].v[by] > a.at[i].v[by]) return fails(m, "%s%s%s: not in order", shapes[orders[k].table].name, past, orders[k].order);
    answer_sort(&a);
    const rows *t = &want->t[orders[k].table];
    for (int i = 0; i < t->n; i++) {
      if (by < 0 && t->at[i].v[2] == NIL) skipped++;
      else if (i - skipped >= a.n || memcmp(&a.at[i - skipped], &t->at[i], sizeof(row)) != 0)
        return fails(m, "%s%s%s: the row %d is not found through the index", shapes[orders[k].table].name, past, orders[k].order, t->at[i].v[0]);
    }
    if (a.n != t->n - skipped) return fails(m, "%s%s%s: rows too many", shapes[orders[k].table].name, past, orders[k].order);
  }
  return true;
}

bool check_state_is(sim *m, hdb *db, const state *want, int commit, bool say) {
  static state is;
  char past[60] = "", a[700], b[700];
  if (commit >= 0) snprintf(past, sizeof past, " AS OF SCN %lld", (long long)w_.commits[commit].time);
  if (!read_state(m, db, past, &is)) return false;
  if (!state_same(&is, want)) {
    if (!say) return false;
    describe_state(&is, a, sizeof a);
    describe_state(want, b, sizeof b);
    size_t d = 0;
    while (a[d] && a[d] == b[d]) d++;
    d = d > 40 ? d - 40 : 0;
    while (d && a[d - 1] != ' ' && a[d] != ' ') d--;
    return fails(m, "contents%s are\n  %.300s\nnot\n  %.300s", past, a + d, b + d);
  }
  return check_order(m, db, want, past);
}

bool check_state(sim *m, int branch, int commit) {
  hdb *db = observe(m, branch);
  if (!db) return false;
  bool fine = check_state_is(m, db, commit < 0 ? world_now(branch) : world_at(branch, commit), commit, true);
  if (fine) return true;
  return says_where(m, "branch", w_.branches[branch].name);
}

static bool check_integrity(sim *m, int branch) {
  hdb *db = observe(m, branch);
  hdb_stmt *s = NULL;
  if (!db) return false;
  bool fine = hdb_prepare(db, "PRAGMA integrity_check", -1, 0, &s, NULL) == HDB_OK && hdb_step(s) == HDB_ROW;
  if (!fine || strcmp(hdb_column_text(s, 0), "ok") != 0)
    fails(m, "branch %s: integrity_check: %s", w_.branches[branch].name, fine ? hdb_column_text(s, 0) : hdb_errmsg(db));
  hdb_finalize(s);
  return !m->f->failed;
}

bool check_all(sim *m) {
  for (int b = 0; b < w_.branches_n; b++) {
    if (!w_.branches[b].alive) continue;
    if (!check_state(m, b, -1) || !check_integrity(m, b)) return false;
    int from = m->floor, n = w_.commits_n - from;
    for (int i = 0; i < 4 && n > 0; i++)
      if (!check_state(m, b, from + (int)random_below((unsigned)n))) return false;
  }
  return true;
}
