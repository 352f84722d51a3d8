/* Statements: prepare, step, reset, finalize; compiling again when the schema moved; what an error undoes; autocommit.
 *
 * S1  A program that writes does all its work in start (RETURNING rows are kept by it); next only hands out rows.
 *     So a statement's mark lives in one call, and an autocommit statement commits before its first row.
 * S2  A statement runs with the schemas it was compiled for: before each start the stamps are compared; another
 *     stamp means another program, compiled from the same text, parameters kept.
 * S3  An autocommit statement that meets a conflict at its commit runs again on a fresh view; so does one whose
 *     UNIQUE or FOREIGN KEY fact failed, so that the error it ends with is found, and worded, by itself.
 * S4  What is running is counted: db->active, and db->writers among them. The views go back when autocommit is on and
 *     nothing runs.
 * Costs: a prepared statement's step on an unchanged schema: a stamp compare for each database it touches.
 */
#include "sql/describe.h"
#include "sql/replay.h"
#include "sql/time.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { COMPILE_TRIES = 50, RERUN_TRIES = 1000, INSIST_TRIES = 30, INSIST_NS = 5000000 };

/* ---- programs ---- */

parse_options hdb_parse_options(const hdb *db) {
  return (parse_options){.dialect = db->pragmas.dialect,
                         .max_parameter = db->limits[HDB_LIMIT_VARIABLE_NUMBER],
                         .max_expr_depth = db->limits[HDB_LIMIT_EXPR_DEPTH],
                         .max_columns = db->limits[HDB_LIMIT_COLUMN],
                         .max_compound = db->limits[HDB_LIMIT_COMPOUND_SELECT],
                         .max_function_args = db->limits[HDB_LIMIT_FUNCTION_ARG]};
}

compile compile_begin(hdb *db, program *p) {
  return (compile){.db = db, .program = p, .memory = &p->memory, .err = &db->err, .old_slot = -1, .new_slot = -1};
}

status compile_finish(compile *c) {
  program *p = c->program;
  p->slots_n = c->slots_n;
  p->registers_n = c->registers_n;
  p->states_n = c->states_n;
  status rc = HDB_OK;
  if (c->slot_columns.failed || p->memory.failed) CHECK(sql_nomem(c->err));
  if (p->slots_n) {
    p->slot_columns = arena_copy(&p->memory, c->slot_columns.p, (size_t)p->slots_n * sizeof(int));
    if (!p->slot_columns) CHECK(sql_nomem(c->err));
  }
  uint64_t touched = p->reads | p->writes;
  for (int i = 0; i < c->db->databases_n; i++) {
    if (!(touched >> i & 1) || p->schemas[i]) continue;
    schema *s;
    CHECK(catalog_schema(c->db, i, &s));
    s->references++;
    p->schemas[i] = s;
  }
out:
  buf_free(&c->slot_columns);
  return rc;
}

void program_free(program *p) {
  if (!p) return;
  if (p->destroy) p->destroy(p);
  for (int i = 0; i < DATABASES_MAX; i++) schema_release(p->schemas[i]);
  times_free(p);
  arena_clear(&p->memory);
  free(p);
}

static status compile_once(hdb *db, slice text, program **out, size_t *tail, int64_t *older_guess) {
  *out = NULL;
  program *p = calloc(1, sizeof *p);
  if (!p) return sql_nomem(&db->err);
  p->on_error = CONFLICT_ABORT;
  error_clear(&db->schema_failure);
  bool outer_user_code = db->user_code;
  db->user_code = false;
  compile c = compile_begin(db, p);
  parse_options options = hdb_parse_options(db);
  if (db->known_times && (p->times = arena_zero(&p->memory, sizeof *p->times))) p->times->known = db->known_times, p->times->known_n = db->known_times_n;
  db->known_times = NULL; /* not for what is compiled inside */
  status rc = grammar_parse(text, &options, &p->memory, &p->tree, tail, &db->err);
  if (rc == HDB_OK && p->tree) {
    c.tree = p->tree;
    c.text = text;
    if (options.dialect == DIALECT_POSTGRES) rc = pg_coerce_statement(db, &p->memory, p->tree, text, &db->err);
    if (rc == HDB_OK) rc = compile_statement(&c, p->tree);
    status finish = compile_finish(&c);
    if (rc == HDB_OK) rc = finish;
  }
  p->user_code = db->user_code;
  db->user_code = db->user_code || outer_user_code;
  if (rc != HDB_OK || !p->tree) {
    *older_guess = rc == HDB_ERROR ? times_older_guess(p) : 0;
    program_free(p);
    if (rc != HDB_OK && db->schema_failure.code != HDB_OK) {
      rc = error_set(&db->err, db->schema_failure.code, "%s", db->schema_failure.message);
      error_clear(&db->schema_failure);
    }
    if (rc != HDB_OK && db->err.code != rc) error_set(&db->err, rc, "%s", status_text(rc));
    return rc;
  }
  *out = p;
  return HDB_OK;
}

/* AS OF times are not known before the parameters are: the newest schema that the statement fits is good enough. */
status program_compile(hdb *db, slice text, program **out, size_t *tail) {
  int64_t guess = 0, outer_guess = db->time_guess;
  const int64_t *known = db->known_times;
  db->time_guess = INT64_MAX;
  status rc = compile_once(db, text, out, tail, &guess);
  if (rc != HDB_OK && guess) {
    error first = db->err;
    status again = rc;
    db->err = (error)ERROR_INIT;
    for (int tries = 0; again != HDB_OK && guess && tries < COMPILE_TRIES; tries++) {
      db->time_guess = guess;
      db->known_times = known;
      guess = 0;
      again = compile_once(db, text, out, tail, &guess);
    }
    error_clear(again == HDB_OK ? &first : &db->err);
    if (again == HDB_OK) rc = HDB_OK;
    else db->err = first;
  }
  db->time_guess = outer_guess;
  return rc;
}

/* ---- prepare ---- */

/* The text up to and with its first ';', when that is likely the statement's end: a script is not looked at as a whole
 * for each of its statements. 0: no. A ';' in a string or a trigger makes the prefix no statement, which is noticed;
 * one in a comment would not be, so a comment is reason enough. limit SIZE_MAX: the text ends with its NUL. */
static size_t likely_end(const char *sql, size_t limit) {
  const char *p = limit == SIZE_MAX ? strchr(sql, ';') : memchr(sql, ';', limit);
  if (!p) return 0;
  size_t n = (size_t)(p - sql) + 1;
  if (memchr(sql, 0, n) || memmem(sql, n, "--", 2) || memmem(sql, n, "/*", 2)) return 0;
  return n;
}

/* Where the first statement ends, found by parsing; *any false: there is none. */
static status find_end(hdb *db, slice text, size_t *tail, bool *any) {
  arena scratch = ARENA_INIT;
  parse_options options = hdb_parse_options(db);
  statement *tree = NULL;
  status rc = grammar_parse(text, &options, &scratch, &tree, tail, &db->err);
  arena_clear(&scratch);
  *any = tree != NULL;
  return rc;
}

static status parameters_new(hdb_stmt *s) {
  int n = s->program->tree->parameters;
  if (n == 0) return HDB_OK;
  s->parameters = malloc((size_t)n * sizeof *s->parameters);
  s->bounds = calloc((size_t)n, sizeof(struct bound));
  if (!s->parameters || !s->bounds) return sql_nomem(&s->db->err);
  for (int i = 0; i < n; i++) s->parameters[i] = value_null();
  return HDB_OK;
}

static void statement_unlink(hdb_stmt *s) {
  if (s->previous) s->previous->next = s->next;
  else if (s->db->statements == s) s->db->statements = s->next;
  if (s->next) s->next->previous = s->previous;
}

static void statement_free(hdb_stmt *s) {
  stats_keep(s);
  if (s->has_exec) exec_close(&s->exec);
  bindings_free(s);
  program_free(s->program);
  arena_clear(&s->text);
  error_clear(&s->failure);
  free(s->values);
  free(s->known_times);
  free(s->sql);
  free(s);
}

void sql_statement_hide(hdb_stmt *s) {
  statement_unlink(s);
  s->next = s->previous = NULL;
}

/* A statement of this very text (copied). */
static status statement_make(hdb *db, slice text, hdb_stmt **out, size_t *tail) {
  *out = NULL;
  *tail = text.n;
  hdb_stmt *s = calloc(1, sizeof *s);
  if (s) s->sql = malloc(text.n + 1);
  if (!s || !s->sql) {
    free(s);
    return sql_nomem(&db->err);
  }
  memcpy(s->sql, text.p, text.n);
  s->sql[text.n] = 0;
  s->db = db;
  s->sql_n = text.n;
  s->generation = db->generation;
  size_t consumed = text.n;
  status rc = program_compile(db, slice_of(s->sql, text.n), &s->program, &consumed);
  if (rc == HDB_OK) *tail = consumed;
  if (rc == HDB_OK && s->program) {
    s->sql_n = consumed;
    s->sql[consumed] = 0;
    s->explain = s->program->tree->explain;
    s->is_explain = s->explain != 0;
    rc = parameters_new(s);
  }
  if (rc != HDB_OK || !s->program) {
    statement_free(s);
    return rc;
  }
  s->next = db->statements;
  if (s->next) s->next->previous = s;
  db->statements = s;
  *out = s;
  return HDB_OK;
}

/* The first statement of a text of at most `limit` bytes, or up to its NUL. */
static status statement_first(hdb *db, const char *sql, size_t limit, hdb_stmt **out, size_t *tail) {
  size_t n = likely_end(sql, limit), longest = (size_t)db->limits[HDB_LIMIT_SQL_LENGTH], end;
  *out = NULL;
  *tail = 0;
  status rc = HDB_OK;
  bool any;
  if (n && n <= longest) {
    rc = statement_make(db, slice_of(sql, n), out, tail);
    if (*out) return rc;
  }
  error kept = db->err;
  db->err = (error)ERROR_INIT;
  slice whole = slice_of(sql, limit == SIZE_MAX ? strlen(sql) : strnlen(sql, limit));
  if (n == 0 || n > longest) n = 0;
  if (n == 0 && !memchr(whole.p, ';', whole.n)) {
    end = whole.n; /* all of it, parsed once */
    any = true;
  } else {
    status found = find_end(db, whole, &end, &any);
    if (found != HDB_OK || !any) {
      error_clear(&kept);
      *tail = found == HDB_OK ? end : whole.n;
      return found;
    }
  }
  if (n && end == n && rc != HDB_OK) { /* the prefix was the statement, and this is what is wrong with it */
    error_clear(&db->err);
    db->err = kept;
    *tail = n;
    return rc;
  }
  error_clear(&kept);
  if (end > longest) {
    *tail = end;
    return error_set(&db->err, HDB_TOOBIG, "statement too long");
  }
  return statement_make(db, slice_of(sql, end), out, tail);
}

status sql_statement_new(hdb *db, slice text, hdb_stmt **out, size_t *tail) {
  status rc = statement_make(db, text, out, tail);
  if (*out) (*out)->inside = true;
  return rc;
}

int hdb_prepare(hdb *db, const char *sql, int bytes, unsigned flags, hdb_stmt **out, const char **tail) {
  *out = NULL;
  if (!db || !sql) return HDB_MISUSE;
  hdb_lock(db);
  size_t consumed;
  error_clear(&db->err);
  status rc = statement_first(db, sql, bytes < 0 ? SIZE_MAX : (size_t)bytes, out, &consumed);
  if (tail) *tail = sql + consumed;
  transaction_release(db);
  int code = hdb_result(db, rc);
  hdb_unlock(db);
  return code;
}

/* ---- running ---- */

static int64_t clock_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool same_stamp(schema_stamp a, schema_stamp b) { return a.time == b.time && a.local == b.local; }

/* S2: another program from the same text. */
static status statement_recompile(hdb_stmt *s) {
  program *p;
  size_t tail;
  int parameters = s->program->tree->parameters;
  s->generation = s->db->generation;
  s->db->known_times = s->known_times, s->db->known_times_n = s->known_times_n;
  TRY(program_compile(s->db, slice_of(s->sql, s->sql_n), &p, &tail));
  if (!p || p->tree->parameters != parameters) {
    program_free(p);
    return error_set(&s->db->err, HDB_SCHEMA, "database schema has changed");
  }
  if (s->has_exec) exec_close(&s->exec);
  s->has_exec = false;
  program_free(s->program);
  s->program = p;
  s->compiled++;
  free(s->values);
  s->values = NULL;
  return HDB_OK;
}

/* Opens the transactions the program needs and sees whether it still fits. */
static status statement_fits(hdb_stmt *s, bool *fits) {
  hdb *db = s->db;
  const program *p = s->program;
  *fits = s->generation == db->generation;
  if (!*fits || p->needs_no_transaction) return HDB_OK;
  uint64_t touched = p->reads | p->writes;
  for (int i = 0; touched >> i && i < DATABASES_MAX; i++) {
    if (!(touched >> i & 1)) continue;
    if (i >= db->databases_n || !db->databases[i].name) {
      *fits = false;
      return HDB_OK;
    }
    if (i == DB_TEMP && !db->databases[i].engine && !(p->writes >> i & 1)) continue;
    TRY(database_begin(db, i));
    if (p->schemas[i] && !same_stamp(p->schemas[i]->stamp, txn_schema_stamp(db->databases[i].txn))) {
      *fits = false;
      return HDB_OK;
    }
  }
  return HDB_OK;
}

/* Evaluates AS OF; when the program was compiled for schemas of other times, these times are for the next one. */
static status statement_times(hdb_stmt *s, bool *fits) {
  exec *x = &s->exec;
  *fits = true;
  if (!s->program->times || s->program->times->values_n == 0) return HDB_OK;
  x->err = &s->db->err;
  status rc = times_evaluate(x, fits);
  if (rc == HDB_OK && !*fits) {
    int n = s->program->times->values_n;
    int64_t *known = realloc(s->known_times, (size_t)n * sizeof *known);
    if (known) {
      memcpy(known, x->times, (size_t)n * sizeof *known);
      s->known_times = known, s->known_times_n = n;
    } else {
      rc = sql_nomem(x->err);
    }
  }
  if (rc != HDB_OK) exec_rewind(x);
  return rc;
}

static status statement_ready(hdb_stmt *s) {
  for (int tries = 0; tries < COMPILE_TRIES; tries++) {
    bool fits;
    TRY(statement_fits(s, &fits));
    if (fits && !s->has_exec) {
      TRY(exec_open(&s->exec, s->db, s->program, NULL));
      s->exec.parameters = s->parameters;
      s->exec.parameters_n = s->program->tree->parameters;
      s->has_exec = true;
    }
    if (fits) TRY(statement_times(s, &fits));
    if (fits) return HDB_OK;
    TRY(statement_recompile(s));
  }
  return error_set(&s->db->err, HDB_SCHEMA, "database schema has changed");
}

int hdb_stmt_fits(hdb_stmt *s) {
  bool fits = false;
  hdb_lock(s->db);
  if (!s->running && statement_fits(s, &fits) != HDB_OK) fits = false;
  transaction_release(s->db);
  hdb_unlock(s->db);
  return fits;
}

static status statement_may_write(hdb_stmt *s) {
  hdb *db = s->db;
  uint64_t writes = s->program->writes;
  if (!writes || s->program->needs_no_transaction) return HDB_OK;
  if (db->pragmas.query_only) return error_set(&db->err, HDB_READONLY, "attempt to write a readonly database");
  for (int i = 0; i < db->databases_n; i++)
    if ((writes >> i & 1) && db->databases[i].read_only)
      return error_set(&db->err, HDB_READONLY, "attempt to write a readonly database");
  return HDB_OK;
}

static void statement_count(hdb_stmt *s) {
  hdb *db = s->db;
  if (atomic_fetch_add(&db->active, 1) == 0) atomic_store(&db->interrupted, false);
  s->writing = s->program->writes && !s->program->needs_no_transaction;
  db->writers += s->writing;
  s->running = true;
}

static void statement_uncount(hdb_stmt *s) {
  s->running = false;
  if (s->writing) s->db->writers--;
  s->writing = false;
  atomic_fetch_sub(&s->db->active, 1);
}

static bool undoes_everything(status rc) {
  switch (rc & 0xff) {
  case HDB_NOMEM:
  case HDB_IOERR:
  case HDB_INTERRUPT:
  case HDB_FULL: return true;
  default: return false;
  }
}

/* What a failed writing statement leaves: nothing of itself, all of it (FAIL), or not even its transaction. */
static status statement_undo_failed(hdb_stmt *s, status rc, const statement_mark *mark) {
  hdb *db = s->db;
  uint8_t action = s->exec.error_action ? s->exec.error_action : s->program->on_error;
  if ((rc & 0xff) != HDB_CONSTRAINT && s->exec.error_action == 0) action = CONFLICT_ABORT;
  bool alone = db->autocommit && db->writers <= 1;
  if (s->program->is_dml) db->changes = 0;
  if (rc == HDB_BUSY_SNAPSHOT && db->doomed) return rc;
  if (replay_is_running(db)) { /* it fails as a whole, and its transaction stays the application's to end */
    statement_undo(db, mark);
    return rc;
  }
  if (action == CONFLICT_FAIL) {
    if (alone && db->deferred_violations > 0) { /* deferred keys say the last word */
      transaction_rollback(db);
      return error_set(&db->err, HDB_CONSTRAINT_FOREIGNKEY, "FOREIGN KEY constraint failed");
    }
    if (s->program->is_dml) db->changes = s->exec.changes;
    db->total_changes += s->exec.changes + s->exec.trigger_changes;
    if (alone) {
      error kept = db->err;
      db->err = (error)ERROR_INIT;
      if (transaction_commit(db) != HDB_OK) transaction_rollback(db);
      error_clear(&db->err);
      db->err = kept;
    }
  } else if (action == CONFLICT_ROLLBACK || undoes_everything(rc) || alone) {
    if (db->autocommit && !alone) statement_undo(db, mark);
    else transaction_rollback(db);
  } else {
    statement_undo(db, mark);
  }
  return rc;
}

/* The end of an execution. */
static void statement_stop(hdb_stmt *s) {
  hdb *db = s->db;
  if (s->program->stop) s->program->stop(&s->exec);
  exec_rewind(&s->exec);
  s->row = NULL;
  if (s->stats.started && !s->inside) {
    uint64_t ticks = stats_end(&s->stats);
    if (ticks > stats_slow_ticks) stats_slow(s, ticks);
    if (s->stats.calls > 10000) stats_keep(s);
    s->stats.started = 0;
  }
  statement_uncount(s);
  /* PRAGMA defer_foreign_keys is for one transaction, be it that of a lone statement */
  if (db->autocommit && atomic_load(&db->active) == 0 && !s->program->needs_no_transaction && (s->program->reads | s->program->writes))
    db->pragmas.defer_foreign_keys = false;
  transaction_release(db);
  if ((db->trace_mask & HDB_TRACE_PROFILE) && db->trace) {
    int64_t elapsed = clock_ns() - s->started_ns;
    db->trace(HDB_TRACE_PROFILE, db->trace_data, s, &elapsed);
  }
}

static status program_start(hdb_stmt *s) {
  exec *x = &s->exec;
  x->err = &s->db->err;
  TRY(exec_check(x));
  x->started = true;
  return s->program->start ? s->program->start(x) : HDB_OK;
}

static bool is_conflict(status rc) {
  return rc == HDB_BUSY_SNAPSHOT || rc == HDB_CONSTRAINT_UNIQUE || rc == HDB_CONSTRAINT_FOREIGNKEY ||
         rc == HDB_CONSTRAINT_PRIMARYKEY || rc == HDB_CONSTRAINT_ROWID;
}

/* S1, S3: start, and the commit of a lone autocommit writer. *again: the commit met a conflict, all is undone. */
static status statement_run(hdb_stmt *s, bool *again) {
  hdb *db = s->db;
  const program *p = s->program;
  statement_mark mark;
  *again = false;
  if (s->writing) {
    statement_save(db, p->writes, &mark);
    replay_before(s);
  }
  status rc = program_start(s);
  if (s->writing && !db->autocommit) s->rows_hash = replay_rows_hash(&s->exec, p);
  bool alone = s->writing && db->autocommit && db->writers == 1;
  if (rc == HDB_OK && alone && db->deferred_violations > 0) {
    s->exec.error_action = CONFLICT_ABORT;
    rc = error_set(&db->err, HDB_CONSTRAINT_FOREIGNKEY, "FOREIGN KEY constraint failed");
  }
  if (rc != HDB_OK) {
    if (s->writing) {
      rc = statement_undo_failed(s, rc, &mark);
      replay_after(s, rc);
    }
    return rc;
  }
  if (alone) {
    rc = transaction_commit(db);
    if (rc != HDB_OK) {
      transaction_rollback(db);
      *again = is_conflict(rc);
      return rc;
    }
  }
  if (p->is_dml) db->changes = s->exec.changes;
  db->total_changes += s->exec.changes + s->exec.trigger_changes;
  if (s->writing) replay_after(s, HDB_OK);
  return HDB_OK;
}

static void trace_statement(hdb_stmt *s) {
  hdb *db = s->db;
  s->started_ns = db->trace_mask & HDB_TRACE_PROFILE ? clock_ns() : 0;
  if ((db->trace_mask & HDB_TRACE_STMT) && db->trace) db->trace(HDB_TRACE_STMT, db->trace_data, s, s->sql);
}

/* One that was overtaken again and again, or takes long, has the writer's turn for its next run (others waited for no
 * longer than the run). When somebody keeps the turn it goes on as before. */
static void statement_insist(hdb_stmt *s, int tries, int64_t since_ns) {
  hdb *db = s->db;
  if (tries < 2 || (tries < INSIST_TRIES && clock_ns() - since_ns < INSIST_NS)) return;
  for (int i = 0; i < db->databases_n; i++) {
    database *d = &db->databases[i];
    if (!(s->program->writes >> i & 1) || i == DB_TEMP || !d->engine || d->read_only || txn_is_open(d->txn)) continue;
    if (txn_begin(d->txn, TXN_IMMEDIATE, db->busy_timeout_ms) == HDB_OK) d->start = txn_save(d->txn);
    return; /* one: two turns could wait for each other */
  }
}

static status statement_start(hdb_stmt *s) {
  hdb *db = s->db;
  status rc = HDB_OK;
  int64_t since = 0;
  if (db->doomed && s->program->tree->kind != ST_ROLLBACK) return error_set(&db->err, HDB_BUSY_SNAPSHOT, "database is locked");
  for (int tries = 0; tries < RERUN_TRIES; tries++) {
    bool again;
    rc = statement_ready(s);
    if (rc == HDB_OK) rc = statement_may_write(s);
    if (rc != HDB_OK) {
      transaction_release(db);
      return rc;
    }
    statement_count(s);
    if (tries == 0) {
      trace_statement(s);
      stats_begin(&s->stats);
    }
    rc = statement_run(s, &again);
    if (rc == HDB_OK) return rc;
    int64_t started = s->started_ns;
    uint64_t begun = s->stats.started;
    if (again) s->stats.started = 0; /* all tries are one execution */
    statement_stop(s);
    s->started_ns = started;
    if (again) s->stats.started = begun;
    if (!again) break;
    if (tries == 0) since = clock_ns();
    else statement_insist(s, tries + 1, since);
  }
  return rc;
}

status sql_statement_step(hdb_stmt *s) {
  hdb *db = s->db;
  if (s->text.block) arena_rewind(&s->text, (arena_mark){0, 0});
  if (!s->running) {
    error_clear(&s->failure);
    TRY(statement_start(s));
  }
  if (!s->program->next) {
    statement_stop(s);
    return HDB_DONE;
  }
  const value *row = NULL;
  status rc = s->program->next(&s->exec, &row);
  if (rc == HDB_ROW) {
    s->row = row;
    s->stats.rows++;
    if ((db->trace_mask & HDB_TRACE_ROW) && db->trace) db->trace(HDB_TRACE_ROW, db->trace_data, s, NULL);
    return rc;
  }
  if (rc == HDB_OK) rc = HDB_DONE;
  statement_stop(s);
  return rc;
}

int hdb_step(hdb_stmt *s) {
  if (!s) return HDB_MISUSE;
  hdb *db = s->db;
  hdb_lock(db);
  s->row = NULL;
  status rc = sql_statement_step(s);
  s->last = rc;
  int code = hdb_result(db, rc);
  if (rc != HDB_ROW && rc != HDB_DONE) {
    error_set(&s->failure, rc, "%s", hdb_errmsg(db));
    s->failure.offset = db->err.offset;
  }
  hdb_unlock(db);
  return code;
}

/* ---- reset, finalize ---- */

/* Ends an execution; the last step's failure becomes the connection's again. */
static status statement_reset(hdb_stmt *s) {
  hdb *db = s->db;
  if (s->running) statement_stop(s);
  s->row = NULL;
  arena_rewind(&s->text, (arena_mark){0, 0});
  status rc = s->failure.code;
  if (rc != HDB_OK) {
    error_set(&db->err, rc, "%s", s->failure.message ? s->failure.message : status_text(rc));
    db->err.offset = s->failure.offset;
    error_clear(&s->failure);
  }
  s->last = HDB_OK;
  return rc;
}

int hdb_reset(hdb_stmt *s) {
  if (!s) return HDB_OK;
  hdb *db = s->db;
  hdb_lock(db);
  int code = hdb_result(db, statement_reset(s));
  hdb_unlock(db);
  return code;
}

int hdb_finalize(hdb_stmt *s) {
  if (!s) return HDB_OK;
  hdb *db = s->db;
  hdb_lock(db);
  status rc = statement_reset(s);
  statement_unlink(s);
  statement_free(s);
  int code = hdb_result(db, rc);
  hdb_free_if_zombie(db);
  return code;
}

void sql_statement_discard(hdb_stmt *s) {
  if (!s) return;
  if (s->running) statement_stop(s);
  for (int i = 0; s->bounds && i < s->program->tree->parameters; i++) s->bounds[i].destroy = NULL;
  statement_unlink(s);
  statement_free(s);
}

/* ---- exec ---- */

static int exec_row(hdb_stmt *s, int (*row)(void *, int, char **, char **), void *context) {
  int n = hdb_column_count(s);
  char **texts = calloc((size_t)n * 2 + 2, sizeof *texts);
  if (!texts) return HDB_NOMEM;
  for (int i = 0; i < n; i++) {
    texts[i] = (char *)hdb_column_text(s, i);
    texts[n + 1 + i] = (char *)hdb_column_name(s, i);
  }
  int stop = row(context, n, texts, texts + n + 1);
  free(texts);
  return stop ? HDB_ABORT : HDB_OK;
}

static int exec_one(hdb *db, hdb_stmt *s, int (*row)(void *, int, char **, char **), void *context) {
  int rc;
  while ((rc = hdb_step(s)) == HDB_ROW) {
    if (!row) continue;
    rc = exec_row(s, row, context);
    if (rc != HDB_OK) {
      hdb_finalize(s);
      error_set(&db->err, (status)rc, "%s", rc == HDB_ABORT ? "query aborted" : status_text((status)rc));
      return rc;
    }
  }
  return hdb_finalize(s);
}

int hdb_exec(hdb *db, const char *sql, int (*row)(void *, int, char **, char **), void *context, char **message) {
  if (message) *message = NULL;
  if (!db) return HDB_MISUSE;
  hdb_lock(db);
  int rc = HDB_OK;
  if (!sql) sql = "";
  while (rc == HDB_OK && *sql) {
    hdb_stmt *s;
    rc = hdb_prepare(db, sql, -1, 0, &s, &sql);
    if (rc == HDB_OK && s) rc = exec_one(db, s, row, context);
  }
  if (rc != HDB_OK && message) *message = strdup(hdb_errmsg(db));
  hdb_unlock(db);
  return rc;
}

status sql_run(hdb *db, const char *format, ...) {
  buf text = BUF_INIT;
  va_list arguments;
  char *sql = NULL;
  va_start(arguments, format);
  int n = vasprintf(&sql, format, arguments);
  va_end(arguments);
  buf_free(&text);
  if (n < 0) return sql_nomem(&db->err);
  hdb_stmt *s;
  size_t tail;
  unsigned mask = db->trace_mask;
  db->trace_mask = 0; /* our own statements are nobody's business */
  int (*authorize)(void *, int, const char *, const char *, const char *, const char *) = db->authorize;
  db->authorize = NULL;
  status rc = sql_statement_new(db, slice_of(sql, (size_t)n), &s, &tail);
  if (rc == HDB_OK && s) {
    while ((rc = sql_statement_step(s)) == HDB_ROW) {
    }
    if (rc == HDB_DONE) rc = HDB_OK;
    sql_statement_discard(s);
  }
  db->authorize = authorize;
  db->trace_mask = mask;
  free(sql);
  return rc;
}

/* ---- about a statement ---- */

unsigned hdb_stmt_compiled(hdb_stmt *s) { return s ? s->compiled : 0; }
hdb *hdb_db_handle(hdb_stmt *s) { return s ? s->db : NULL; }
const char *hdb_sql(hdb_stmt *s) { return s ? s->sql : NULL; }
int hdb_stmt_readonly(hdb_stmt *s) { return s ? s->program->read_only : 1; }
int hdb_stmt_busy(hdb_stmt *s) { return s && s->running; }
int hdb_stmt_isexplain(hdb_stmt *s) { return s ? s->explain : 0; }
int hdb_stmt_is_dml(hdb_stmt *s) { return s && s->program->is_dml && !s->explain; }
