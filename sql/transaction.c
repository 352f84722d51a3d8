/* Transactions over main, temp and attached databases; savepoints.
 *
 * T1  One txn object a database and connection. It is open while autocommit is off and it was touched, or while a
 *     statement runs. COMMIT commits each: atomic in each, not across.
 * T2  A savepoint is a name and, for each database open then, a mark; one opened later goes back to its beginning.
 * T3  A commit that met a conflict leaves a doomed transaction: everything but ROLLBACK fails with its status.
 *     A commit that met somebody's turn (HDB_BUSY) leaves it intact.
 * T4  Statements that still read go on after COMMIT and ROLLBACK: their database gets a new view at once.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "sql/replay.h"

struct savepoint {
  struct savepoint *outer;
  char *name;
  txn_mark marks[DATABASES_MAX];
  uint64_t taken; /* databases that were open */
  int64_t deferred_violations;
  replay_position log_mark;
};

/* ---- marks ---- */

void statement_save(hdb *db, uint64_t databases, statement_mark *m) {
  m->taken = 0;
  m->deferred_violations = db->deferred_violations;
  for (int i = 0; databases >> i && i < DATABASES_MAX; i++) {
    if (!(databases >> i & 1) || !db->databases[i].txn || !txn_is_open(db->databases[i].txn)) continue;
    m->marks[i] = txn_save(db->databases[i].txn);
    m->taken |= 1ull << i;
  }
}

void statement_undo(hdb *db, const statement_mark *m) {
  for (int i = 0; m->taken >> i && i < DATABASES_MAX; i++)
    if ((m->taken >> i & 1) && txn_is_open(db->databases[i].txn)) txn_rollback_to(db->databases[i].txn, m->marks[i]);
  db->deferred_violations = m->deferred_violations;
}

static void savepoint_pop(hdb *db) {
  struct savepoint *s = db->savepoints;
  db->savepoints = s->outer;
  free(s->name);
  free(s);
}

void savepoints_free(hdb *db) {
  while (db->savepoints) savepoint_pop(db);
  db->is_transaction_savepoint = false;
}

/* ---- the end of transactions ---- */

static bool has_open(const database *d) { return d->txn && txn_is_open(d->txn); }

/* T4: those who still read need a view. `self`: the statement that ends the transaction runs too. */
static void views_renew(hdb *db, uint64_t were_open) {
  for (int i = 0; were_open >> i && i < db->databases_n; i++) {
    database *d = &db->databases[i];
    if (!(were_open >> i & 1) || !d->txn || txn_is_open(d->txn)) continue;
    if (txn_begin(d->txn, TXN_READ, 0) == HDB_OK) d->start = txn_save(d->txn);
  }
}

void transaction_release(hdb *db) {
  if (!db->autocommit || atomic_load(&db->active) > 0) return;
  for (int i = 0; i < db->databases_n; i++)
    if (has_open(&db->databases[i])) txn_rollback(db->databases[i].txn);
}

/* Nothing of the transaction is left in the connection. */
static void forget(hdb *db) {
  savepoints_free(db);
  db->deferred_violations = 0;
  db->pragmas.defer_foreign_keys = false;
  db->doomed = false;
  db->autocommit = true;
  replay_clear(db);
}

void transaction_rollback(hdb *db) {
  uint64_t open = 0;
  bool had_writes = !db->autocommit;
  for (int i = 0; i < db->databases_n; i++) {
    database *d = &db->databases[i];
    if (!has_open(d)) continue;
    open |= 1ull << i;
    had_writes = had_writes || txn_has_writes(d->txn);
    txn_rollback(d->txn);
  }
  forget(db);
  if (had_writes && db->rollback_hook) db->rollback_hook(db->rollback_hook_data);
  if (atomic_load(&db->active) > 1) views_renew(db, open);
}

void transaction_forked(hdb *db) {
  db->forks = engine_forks();
  for (int i = 0; i < db->databases_n; i++)
    if (has_open(&db->databases[i])) txn_rollback(db->databases[i].txn); /* in memory: this process's copy */
  forget(db);
}

static const char *tree_name(hdb *db, int database, uint32_t tree, const index_ **found) {
  schema *s = db->databases[database].schema;
  *found = NULL;
  for (int i = 0; s && i < s->indexes_n; i++)
    if (s->indexes[i]->tree == tree) {
      *found = s->indexes[i];
      return s->indexes[i]->owner->name;
    }
  for (int i = 0; s && i < s->tables_n; i++)
    if (s->in_order[i]->tree == tree) return s->in_order[i]->name;
  return tree == TREE_SCHEMA ? "sqlite_schema" : "";
}

/* Keeps what the commit conflicted with, as text: row ids as numbers, other keys in hex. */
static void conflict_keep(hdb *db, int database) {
  uint32_t tree = 0;
  slice key = {0, 0};
  txn_conflict(db->databases[database].txn, &tree, &key);
  free(db->conflict_table);
  free(db->conflict_key);
  const index_ *index;
  db->conflict_table = strdup(tree_name(db, database, tree, &index));
  buf text = BUF_INIT;
  if (!index && key.n == 8) buf_printf(&text, "%lld", (long long)rowid_decode(key.p));
  else
    for (size_t i = 0; i < key.n && i < 256; i++) buf_printf(&text, "%02x", key.p[i]);
  buf_cstr(&text);
  db->conflict_key = (char *)text.p;
}

/* The words of a UNIQUE fact that failed at the commit. */
static status unique_error(hdb *db, int database, status rc) {
  uint32_t tree = 0;
  slice key = {0, 0};
  const index_ *index;
  txn_conflict(db->databases[database].txn, &tree, &key);
  const char *name = tree_name(db, database, tree, &index);
  buf text = BUF_INIT;
  buf_text(&text, "UNIQUE constraint failed: ");
  if (!index) {
    const table *of = schema_table(db->databases[database].schema, name);
    bool alias = of && of->rowid_column >= 0;
    buf_printf(&text, "%s.%s", name, alias ? of->columns[of->rowid_column].name : "rowid");
    rc = alias ? HDB_CONSTRAINT_PRIMARYKEY : HDB_CONSTRAINT_ROWID;
  } else {
    for (int i = 0; i < index->key_columns_n; i++) {
      int k = index->columns[i].column;
      if (k == -2) {
        buf_clear(&text);
        buf_printf(&text, "UNIQUE constraint failed: index '%s'", index->name);
        break;
      }
      buf_printf(&text, "%s%s.%s", i ? ", " : "", name, k < 0 ? "rowid" : index->owner->columns[k].name);
    }
    if (index->origin == 'p' && rc == HDB_CONSTRAINT_UNIQUE) rc = HDB_CONSTRAINT_PRIMARYKEY;
  }
  const char *message = buf_cstr(&text);
  error_set(&db->err, rc, "%s", message ? message : status_text(rc));
  buf_free(&text);
  return rc;
}

static status commit_error(hdb *db, int database, status rc) {
  if (rc == HDB_BUSY) return error_set(&db->err, rc, "database is locked");
  conflict_keep(db, database);
  if (txn_is_doomed(db->databases[database].txn)) db->doomed = true;
  switch (rc & 0xff) {
  case HDB_CONSTRAINT:
    if (rc == HDB_CONSTRAINT_FOREIGNKEY) return error_set(&db->err, rc, "FOREIGN KEY constraint failed");
    return unique_error(db, database, rc);
  default: return error_set(&db->err, rc, "%s", status_text(rc));
  }
}

status transaction_commit(hdb *db) {
  bool writes = false;
  uint64_t open = 0;
  for (int i = 0; i < db->databases_n; i++) {
    if (!has_open(&db->databases[i])) continue;
    open |= 1ull << i;
    writes = writes || txn_has_writes(db->databases[i].txn);
  }
  if (writes && db->commit_hook && db->commit_hook(db->commit_hook_data) != 0)
    return error_set(&db->err, HDB_CONSTRAINT_COMMITHOOK, "constraint failed");
  db->committed_parts = 0;
  for (int i = 0; i < db->databases_n; i++) {
    database *d = &db->databases[i];
    if (!(open >> i & 1)) continue;
    int64_t time = 0, newest = d->is_memory ? 0 : engine_newest(d->engine);
    schema_stamp stamp = txn_schema_stamp(d->txn);
    status rc = txn_commit(d->txn, db->busy_timeout_ms, &time);
    if (rc != HDB_OK) return commit_error(db, i, rc);
    if (time == 0) continue;
    db->committed_parts++;
    /* what was parsed of our own DDL is what everybody sees from now on: the commit has seen that it is the newest */
    if (stamp.local && d->schema && d->schema->stamp.time == stamp.time && d->schema->stamp.local == stamp.local)
      d->schema->stamp = (schema_stamp){time, 0};
    db->last_commit = time;
    if (newest != 0 && newest == d->last_seen) d->last_seen = time;
  }
  savepoints_free(db);
  db->deferred_violations = 0;
  db->pragmas.defer_foreign_keys = false;
  if (atomic_load(&db->active) > 1) views_renew(db, open);
  return HDB_OK;
}

/* ---- the statements ---- */

static status begin_start(exec *x) {
  hdb *db = x->db;
  uint8_t mode = (uint8_t)(uintptr_t)x->program->data;
  if (!db->autocommit) return error_set(x->err, HDB_ERROR, "cannot start a transaction within a transaction");
  if (mode == 1 || mode == 2) {
    for (int i = 0; i < db->databases_n; i++) {
      database *d = &db->databases[i];
      if (!d->engine || i == DB_TEMP || d->read_only) continue;
      if (txn_is_open(d->txn)) txn_rollback(d->txn);
      status rc = d->unreadable.code != HDB_OK ? d->unreadable.code : txn_begin(d->txn, TXN_IMMEDIATE, db->busy_timeout_ms);
      if (rc != HDB_OK) {
        for (int k = 0; k < i; k++)
          if (has_open(&db->databases[k])) txn_rollback(db->databases[k].txn);
        return error_set(x->err, rc, "%s", d->unreadable.code != HDB_OK ? d->unreadable.message : status_text(rc));
      }
      d->start = txn_save(d->txn);
    }
  }
  replay_clear(db);
  db->autocommit = false;
  db->begin_mode = mode;
  return HDB_OK;
}

static status commit_explicit(hdb *db) {
  status rc = transaction_commit(db);
  if (rc == HDB_CONSTRAINT_COMMITHOOK) transaction_rollback(db);
  else if (rc != HDB_OK) rc = replay_commit(db, rc);
  if (rc == HDB_OK) {
    db->autocommit = true;
    savepoints_free(db);
    replay_clear(db);
  }
  return rc;
}

static status commit_start(exec *x) {
  hdb *db = x->db;
  if (db->autocommit) return error_set(x->err, HDB_ERROR, "cannot commit - no transaction is active");
  if (db->doomed) return error_set(x->err, HDB_BUSY_SNAPSHOT, "database is locked");
  if (db->writers > 0) return error_set(x->err, HDB_BUSY, "cannot commit transaction - SQL statements in progress");
  TRY(foreign_key_check_commit(db));
  return commit_explicit(db);
}

static status rollback_start(exec *x) {
  if (x->db->autocommit) return error_set(x->err, HDB_ERROR, "cannot rollback - no transaction is active");
  bool made = false;
  for (int i = 0; i < x->db->databases_n; i++) {
    database *d = &x->db->databases[i];
    if (!has_open(d)) continue;
    status rc = txn_settle_doubt(d->txn);
    if (rc != HDB_OK && rc != HDB_ABORT) return error_set(x->err, rc, "%s", status_text(rc));
    made = made || rc == HDB_ABORT;
  }
  transaction_rollback(x->db);
  return made ? error_set(x->err, HDB_ERROR, "cannot rollback - the commit that was not answered has been made") : HDB_OK;
}

static status savepoint_start(exec *x) {
  hdb *db = x->db;
  const char *name = x->program->data;
  if (db->doomed) return error_set(x->err, HDB_BUSY_SNAPSHOT, "database is locked");
  if (db->writers > 0) return error_set(x->err, HDB_BUSY, "cannot open savepoint - SQL statements in progress");
  struct savepoint *s = calloc(1, sizeof *s);
  if (!s || !(s->name = strdup(name))) {
    free(s);
    return sql_nomem(x->err);
  }
  for (int i = 0; i < db->databases_n; i++) {
    if (!has_open(&db->databases[i])) continue;
    s->marks[i] = txn_save(db->databases[i].txn);
    s->taken |= 1ull << i;
  }
  s->deferred_violations = db->deferred_violations;
  s->log_mark = replay_mark(db);
  s->outer = db->savepoints;
  db->savepoints = s;
  if (db->autocommit) {
    replay_clear(db);
    db->autocommit = false;
    db->begin_mode = 0;
    db->is_transaction_savepoint = true;
  }
  return HDB_OK;
}

static struct savepoint *savepoint_find(hdb *db, const char *name) {
  for (struct savepoint *s = db->savepoints; s; s = s->outer)
    if (strcasecmp(s->name, name) == 0) return s;
  return NULL;
}

static status release_start(exec *x) {
  hdb *db = x->db;
  const char *name = x->program->data;
  struct savepoint *s = savepoint_find(db, name);
  if (!s) return error_set(x->err, HDB_ERROR, "no such savepoint: %s", name);
  if (db->doomed) return error_set(x->err, HDB_BUSY_SNAPSHOT, "database is locked");
  if (db->writers > 0) return error_set(x->err, HDB_BUSY, "cannot release savepoint - SQL statements in progress");
  if (!s->outer && db->is_transaction_savepoint) {
    TRY(foreign_key_check_commit(db));
    return commit_explicit(db);
  }
  while (db->savepoints != s) savepoint_pop(db);
  savepoint_pop(db);
  return HDB_OK;
}

static status rollback_to_start(exec *x) {
  hdb *db = x->db;
  const char *name = x->program->data;
  struct savepoint *s = savepoint_find(db, name);
  if (!s) return error_set(x->err, HDB_ERROR, "no such savepoint: %s", name);
  if (db->doomed) return error_set(x->err, HDB_BUSY_SNAPSHOT, "database is locked");
  while (db->savepoints != s) savepoint_pop(db);
  for (int i = 0; i < db->databases_n; i++) {
    database *d = &db->databases[i];
    if (!has_open(d)) continue;
    txn_rollback_to(d->txn, s->taken >> i & 1 ? s->marks[i] : d->start);
  }
  db->deferred_violations = s->deferred_violations;
  replay_cut(db, s->log_mark);
  return HDB_OK;
}

status compile_transaction(compile *c, statement *s) {
  static const char *const operations[] = {"BEGIN", "COMMIT", "ROLLBACK", "BEGIN", "RELEASE", "ROLLBACK"};
  program *p = c->program;
  int operation = s->kind - ST_BEGIN;
  p->needs_no_transaction = true;
  p->read_only = true;
  if (s->kind == ST_BEGIN || s->kind == ST_COMMIT || s->kind == ST_ROLLBACK)
    TRY(compile_authorize(c, HDB_TRANSACTION, operations[operation], NULL, -1, NULL));
  else
    TRY(compile_authorize(c, HDB_SAVEPOINT, operations[operation], s->savepoint.name, -1, NULL));
  switch (s->kind) {
  case ST_BEGIN:
    /* IMMEDIATE and EXCLUSIVE count as writing, as in SQLite */
    p->read_only = s->begin.mode != 1 && s->begin.mode != 2;
    return rows_program(c, begin_start, (void *)(uintptr_t)s->begin.mode, NULL, 0);
  case ST_COMMIT: return rows_program(c, commit_start, NULL, NULL, 0);
  case ST_ROLLBACK: return rows_program(c, rollback_start, NULL, NULL, 0);
  case ST_SAVEPOINT: return rows_program(c, savepoint_start, (void *)s->savepoint.name, NULL, 0);
  case ST_RELEASE: return rows_program(c, release_start, (void *)s->savepoint.name, NULL, 0);
  default: return rows_program(c, rollback_to_start, (void *)s->savepoint.name, NULL, 0);
  }
}
