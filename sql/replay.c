/* Replay: how last_commit_wins keeps every increment of an explicit transaction.
 *
 * While a transaction is open its writing statements are logged: text, bound values, what the application was told
 * (code, changes, last row id, RETURNING rows as a hash), and what answered them (now, the random state, row ids given).
 * When its COMMIT meets a conflict, everything is rolled back and run again on the newest view, and committed if each
 * statement tells the same. Overtaken twice, the third run holds the writer's turn.
 *
 * Y1  Nothing of the user's is called: a transaction with a user's function or collation, an authorizer, DDL, a blob
 *     written, or a cursor still open over its own writes is not replayed, it fails. So is one whose log passes 16 MB.
 * Y2  ROLLBACK TO cuts the log; SELECTs are not in it.
 * Y3  A row id that was given is given again, unless somebody has taken it since: then the transaction fails.
 * Y4  However it fails, nothing of it is left but the doomed state (hdb.doomed), which ROLLBACK ends.
 * Y5  The statements of the runs are compiled once: the last PROGRAMS are kept for the next replay, out of the connection's
 *     list, and go before a database does (replay_forget).
 * Costs: some 200 bytes and a copy of the bound values a statement; nothing for a private database in memory, where
 * nobody else can commit, or under BEGIN IMMEDIATE.
 */
#include "sql/replay.h"

#include <stdlib.h>

enum { LOG_BYTES_MAX = 16 << 20, RUNS_MAX = 3, PROGRAMS = 6 };

typedef struct given {
  uint32_t tree;
  int database;
  int64_t rowid;
} given;

typedef struct logged {
  const char *sql;
  size_t sql_n;
  int parameters_n;
  value *parameters;
  status code;
  int64_t changes, rowid_before, rowid_after, now_ms;
  uint64_t rows_hash, random_state[4];
  size_t given_first, given_n;
} logged;

struct replay {
  arena memory;
  buf statements, given; /* of logged, given */
  size_t bytes;
  bool refused, lost; /* lost: a part of the log is gone, so for good */
  logged next;           /* of the statement at work */
  bool noting;
  bool running;          /* the log is being run */
  const logged *current;
  size_t given_at;
  hdb_stmt *programs[PROGRAMS]; /* Y5 */
  unsigned programs_n;
};

/* ---- writing the log ---- */

static struct replay *log_of(hdb *db) {
  if (!db->replay) db->replay = calloc(1, sizeof *db->replay);
  return db->replay;
}

static bool can_conflict(const hdb *db) {
  for (int i = 0; i < db->databases_n; i++) {
    const database *d = &db->databases[i];
    if (d->engine && i != DB_TEMP && (!d->is_memory || d->shared)) return true;
  }
  return false;
}

bool replay_is_running(const hdb *db) { return db->replay && db->replay->running; }

void replay_refuse(hdb *db) {
  if (db->replay && db->replay->running) return;
  struct replay *r = log_of(db);
  if (r) r->refused = true;
}

void replay_clear(hdb *db) {
  struct replay *r = db->replay;
  if (!r || r->running) return;
  if (r->memory.block) arena_rewind(&r->memory, (arena_mark){0, 0});
  r->memory.failed = false;
  buf_clear(&r->statements);
  buf_clear(&r->given);
  r->bytes = 0;
  r->refused = r->noting = r->lost = false;
}

void replay_forget(hdb *db) {
  struct replay *r = db->replay;
  for (int i = 0; r && i < PROGRAMS; i++) {
    sql_statement_discard(r->programs[i]);
    r->programs[i] = NULL;
  }
}

void replay_free(hdb *db) {
  struct replay *r = db->replay;
  if (!r) return;
  replay_forget(db);
  arena_clear(&r->memory);
  buf_free(&r->statements);
  buf_free(&r->given);
  free(r);
  db->replay = NULL;
}

replay_position replay_mark(const hdb *db) {
  const struct replay *r = db->replay;
  return r ? (replay_position){r->statements.n, r->refused} : (replay_position){0, false};
}

void replay_cut(hdb *db, replay_position to) { /* Y2 */
  struct replay *r = db->replay;
  size_t mark = to.statements;
  if (!r || r->running) return;
  r->refused = to.refused || r->lost;
  if (mark >= r->statements.n) return;
  r->given.n = ((logged *)(r->statements.p + mark))->given_first * sizeof(given);
  r->statements.n = mark;
}

static bool is_logged(hdb_stmt *s) {
  hdb *db = s->db;
  if (db->autocommit || !s->writing || db->writers > 1 || db->begin_mode == 1 || db->begin_mode == 2) return false;
  if (db->pragmas.policy != TXN_LAST_COMMIT_WINS) return false;
  return can_conflict(db);
}

void replay_before(hdb_stmt *s) {
  struct replay *r = s->db->replay;
  if (r && r->running) {
    if (!r->current || s->db->writers > 1) return;
    s->exec.now_ms = r->current->now_ms;
    memcpy(s->db->random_state, r->current->random_state, sizeof s->db->random_state);
    return;
  }
  if (!is_logged(s) || !(r = log_of(s->db)) || r->refused) return;
  if (s->program->changes_schema || s->program->user_code || s->db->authorize) { /* Y1 */
    r->refused = true;
    return;
  }
  r->noting = true;
  r->next = (logged){.rowid_before = s->db->last_insert_rowid, .given_first = r->given.n / sizeof(given)};
  memcpy(r->next.random_state, s->db->random_state, sizeof r->next.random_state);
}

static uint64_t hash_bytes(uint64_t h, const void *p, size_t n) {
  const uint8_t *q = p;
  for (size_t i = 0; i < n; i++) h = (h ^ q[i]) * 1099511628211u;
  return h;
}

uint64_t replay_rows_hash(const exec *x, const program *p) {
  const row_list *list = p->is_dml && p->columns_n ? x->run : NULL;
  uint64_t h = 14695981039346656037u;
  for (int64_t i = 0; list && i < list->n * list->columns; i++) {
    const value *v = &list->values[i];
    h = hash_bytes(h, &v->type, 1);
    if (v->type == VAL_TEXT || v->type == VAL_BLOB) h = hash_bytes(hash_bytes(h, &v->n, sizeof v->n), v->p, v->n);
    else if (v->type != VAL_NULL) h = hash_bytes(h, &v->i, sizeof v->i);
  }
  return h;
}

/* The text is kept once for as long as the same statement is run. */
static const char *log_text(struct replay *r, const hdb_stmt *s) {
  size_t n = r->statements.n / sizeof(logged);
  const logged *last = n ? (const logged *)r->statements.p + n - 1 : NULL;
  if (last && last->sql_n == s->sql_n && memcmp(last->sql, s->sql, s->sql_n) == 0) return last->sql;
  r->bytes += s->sql_n;
  return arena_strndup(&r->memory, s->sql, s->sql_n);
}

void replay_after(hdb_stmt *s, status code) {
  struct replay *r = s->db->replay;
  if (!r || r->running || !r->noting || s->db->writers > 1) return;
  r->noting = false;
  if (s->db->autocommit) return; /* it ended the transaction */
  logged *l = &r->next;
  l->sql = log_text(r, s);
  l->sql_n = s->sql_n;
  l->parameters_n = s->program->tree->parameters;
  l->parameters = l->parameters_n ? arena_alloc(&r->memory, (size_t)l->parameters_n * sizeof(value)) : NULL;
  for (int i = 0; i < l->parameters_n && l->parameters; i++) {
    value_copy(&r->memory, &s->parameters[i], &l->parameters[i]);
    r->bytes += sizeof(value) + (s->parameters[i].type == VAL_TEXT || s->parameters[i].type == VAL_BLOB ? s->parameters[i].n : 0);
  }
  l->code = code;
  l->changes = s->exec.changes;
  l->rowid_after = s->db->last_insert_rowid;
  l->now_ms = s->exec.now_ms;
  l->rows_hash = code == HDB_OK ? s->rows_hash : 0; /* a failed one hands out no rows */
  l->given_n = r->given.n / sizeof(given) - l->given_first;
  buf_append(&r->statements, l, sizeof *l);
  if (r->memory.failed || buf_failed(&r->statements) || buf_failed(&r->given) ||
      r->bytes + r->statements.n + r->given.n > LOG_BYTES_MAX) {
    replay_clear(s->db);
    r->refused = r->lost = true;
  }
}

/* ---- row ids ---- */

static status is_taken(hdb *db, const given *g, bool *taken) {
  cursor *c;
  uint8_t key[8];
  TRY(cursor_open(db->databases[g->database].txn, g->tree, 0, &c));
  rowid_encode(key, g->rowid);
  *taken = cursor_find(c, slice_of(key, 8));
  status rc = c->error;
  cursor_close(c);
  return rc;
}

status exec_new_rowid(exec *x, int database, uint32_t tree, int64_t above, int64_t *rowid) {
  struct replay *r = x->db->replay;
  if (r && r->running && r->current) {
    const given *list = (const given *)r->given.p + r->current->given_first;
    while (r->given_at < r->current->given_n) { /* Y3 */
      const given *g = &list[r->given_at++];
      if (g->tree != tree || g->database != database) continue;
      bool taken;
      TRY(is_taken(x->db, g, &taken));
      *rowid = g->rowid;
      return taken ? HDB_BUSY_SNAPSHOT : HDB_OK;
    }
  }
  TRY(txn_new_rowid(x->db->databases[database].txn, tree, above, rowid));
  if (r && r->noting && !r->running) {
    given g = {.tree = tree, .database = database, .rowid = *rowid};
    buf_append(&r->given, &g, sizeof g);
  }
  return HDB_OK;
}

/* ---- running the log ---- */

/* Y5 */
static status program_of(hdb *db, const logged *l, hdb_stmt **out) {
  struct replay *r = db->replay;
  size_t tail;
  for (int i = 0; i < PROGRAMS; i++) {
    hdb_stmt *s = *out = r->programs[i];
    if (s && s->sql_n == l->sql_n && memcmp(s->sql, l->sql, l->sql_n) == 0) return HDB_OK;
  }
  hdb_stmt **place = &r->programs[r->programs_n++ % PROGRAMS];
  sql_statement_discard(*place);
  *place = NULL;
  status rc = sql_statement_new(db, slice_of(l->sql, l->sql_n), place, &tail);
  if (*place) sql_statement_hide(*place);
  *out = *place;
  return rc;
}

static status run_statement(hdb *db, const logged *l) {
  struct replay *r = db->replay;
  hdb_stmt *s;
  TRY(program_of(db, l, &s));
  if (!s || s->program->tree->parameters != l->parameters_n) return HDB_BUSY_SNAPSHOT;
  for (int i = 0; i < l->parameters_n; i++) s->parameters[i] = l->parameters[i];
  r->current = l;
  r->given_at = 0;
  db->last_insert_rowid = l->rowid_before;
  db->changes = 0;
  status rc;
  while ((rc = sql_statement_step(s)) == HDB_ROW) {
  }
  if (rc == HDB_DONE) rc = HDB_OK;
  r->current = NULL;
  for (int i = 0; i < l->parameters_n; i++) s->parameters[i] = value_null(); /* they are the log's */
  if (rc != l->code) return rc == HDB_OK ? HDB_BUSY_SNAPSHOT : rc;
  bool told = db->changes == l->changes || !s->program->is_dml;
  bool same = db->last_insert_rowid == l->rowid_after && (rc != HDB_OK || (told && s->rows_hash == l->rows_hash));
  return same ? HDB_OK : error_set(&db->err, HDB_BUSY_SNAPSHOT, "database is locked");
}

static void transactions_drop(hdb *db) {
  for (int i = 0; i < db->databases_n; i++)
    if (db->databases[i].txn && txn_is_open(db->databases[i].txn)) txn_rollback(db->databases[i].txn);
  db->doomed = false;
  db->deferred_violations = 0;
}

static void keep_claims(hdb *db, bool keep) { /* Y3 */
  for (int i = 0; i < db->databases_n; i++)
    if (db->databases[i].txn) txn_keep_claims(db->databases[i].txn, keep);
}

static status take_turn(hdb *db) {
  for (int i = 0; i < db->databases_n; i++) {
    database *d = &db->databases[i];
    if (!d->engine || i == DB_TEMP || d->read_only) continue;
    status rc = txn_begin(d->txn, TXN_IMMEDIATE, db->busy_timeout_ms > 0 ? db->busy_timeout_ms : 5000);
    if (rc != HDB_OK) return error_set(&db->err, rc, "%s", status_text(rc));
    d->start = txn_save(d->txn);
  }
  return HDB_OK;
}

static status run_log(hdb *db, bool with_turn) {
  const struct replay *r = db->replay;
  size_t n = r->statements.n / sizeof(logged);
  transactions_drop(db);
  if (with_turn) TRY(take_turn(db));
  for (size_t i = 0; i < n; i++) TRY(run_statement(db, (const logged *)r->statements.p + i));
  TRY(foreign_key_check_commit(db));
  return transaction_commit(db);
}

static bool is_overtaken(status rc) { return rc == HDB_BUSY_SNAPSHOT || (rc & 0xff) == HDB_CONSTRAINT; }

/* A statement that still reads goes on over the new view (T4 of transaction.c), unless it was reading what is written again. */
static bool has_cursor_over_writes(const hdb *db) {
  for (int i = 0; i < db->databases_n; i++)
    if (db->databases[i].txn && txn_reads_own_writes(db->databases[i].txn)) return true;
  return false;
}

status replay_commit(hdb *db, status first) {
  struct replay *r = db->replay;
  if (!r || r->refused || r->running || !is_overtaken(first) || !db->doomed || db->committed_parts > 0 ||
      db->pragmas.policy != TXN_LAST_COMMIT_WINS || r->statements.n == 0 || (atomic_load(&db->active) > 1 && has_cursor_over_writes(db)))
    return first;
  error conflict = db->err;
  int64_t changes = db->changes, total = db->total_changes, rowid = db->last_insert_rowid;
  uint64_t random_state[4];
  memcpy(random_state, db->random_state, sizeof random_state);
  int (*commit_hook)(void *) = db->commit_hook;
  void (*update_hook)(void *, int, const char *, const char *, int64_t) = db->update_hook;
  int (*progress)(void *) = db->progress;
  int (*authorize)(void *, int, const char *, const char *, const char *, const char *) = db->authorize;
  unsigned trace_mask = db->trace_mask;
  db->commit_hook = NULL, db->update_hook = NULL, db->trace_mask = 0, db->progress = NULL, db->authorize = NULL; /* Y1; the commit hook has been asked */
  db->err = (error)ERROR_INIT;
  r->running = true;
  keep_claims(db, true);
  status rc = first;
  for (int i = 0; i < RUNS_MAX && is_overtaken(rc); i++) {
    status now = run_log(db, i == RUNS_MAX - 1);
    bool committing_failed = now != HDB_OK && db->doomed; /* the run was fine, its commit came too late */
    rc = now;
    if (!committing_failed) break;
  }
  r->running = false;
  r->current = NULL;
  keep_claims(db, false);
  db->commit_hook = commit_hook, db->update_hook = update_hook, db->trace_mask = trace_mask, db->progress = progress, db->authorize = authorize;
  db->changes = changes, db->total_changes = total, db->last_insert_rowid = rowid;
  memcpy(db->random_state, random_state, sizeof random_state);
  if (rc == HDB_OK) {
    error_clear(&conflict);
    return rc;
  }
  transactions_drop(db); /* Y4 */
  db->doomed = true;
  if ((rc & 0xff) == HDB_CONSTRAINT) { /* the constraint that it would break, in its own words */
    error_clear(&conflict);
    return rc;
  }
  error_clear(&db->err);
  db->err = conflict;
  return first;
}
