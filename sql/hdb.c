/* Opening and closing a connection.
 *
 * H1  A connection that failed to open is still one: hdb_errmsg and hdb_close are what it is good for.
 * H2  It goes away when it is closed and its last statement, blob and backup are finished; hdb_close refuses while
 *     there are some, hdb_close_v2 leaves a zombie that the last of them takes along.
 * What can fail: uri.c and database.c; a keyword of hdb_settings that has no such value.
 */
#include <math.h>
#include <stdlib.h>
#include <sys/random.h>

#include "sql/mirror.h"
#include "sql/violation.h"
#include "sql/replay.h"
#include "sql/merge.h"

static const int limits_default[HDB_LIMITS] = {
    [HDB_LIMIT_LENGTH] = 1000000000,   [HDB_LIMIT_SQL_LENGTH] = 1000000000, [HDB_LIMIT_COLUMN] = 2000,
    [HDB_LIMIT_EXPR_DEPTH] = 1000,     [HDB_LIMIT_COMPOUND_SELECT] = 500,   [HDB_LIMIT_VDBE_OP] = 250000000,
    [HDB_LIMIT_FUNCTION_ARG] = 127,    [HDB_LIMIT_ATTACHED] = 10,           [HDB_LIMIT_LIKE_PATTERN_LENGTH] = 50000,
    [HDB_LIMIT_VARIABLE_NUMBER] = 250000, [HDB_LIMIT_TRIGGER_DEPTH] = 1000, [HDB_LIMIT_WORKER_THREADS] = 0};

static void settings_default(hdb *db) {
  memcpy(db->limits, limits_default, sizeof db->limits);
  db->autocommit = true;
  db->forks = engine_forks();
  db->err = (error)ERROR_INIT;
  db->random_state[0] = 0;
  if (getrandom(db->random_state, sizeof db->random_state, 0) < 0) db->random_state[0] = (uintptr_t)db;
  db->pragmas.short_column_names = db->pragmas.trusted_schema = db->pragmas.automatic_index = true;
  db->pragmas.enable_triggers = db->pragmas.enable_views = db->pragmas.dqs_dml = db->pragmas.dqs_ddl = true;
  db->pragmas.synchronous = TXN_SYNC_FULL;
  db->pragmas.cache_size = -2000;
}

static status settings_apply(hdb *db, const hdb_settings *s) {
  error *err = &db->err;
  db->retention = NAN;
  db->mirror_setting = -1;
  if (!s) return HDB_OK;
  db->retention = s->retention;
  db->mirror_setting = s->mirror;
  if (s->conflict_policy) {
    if (strcmp(s->conflict_policy, "last_commit_wins") == 0) db->pragmas.policy = TXN_LAST_COMMIT_WINS;
    else if (strcmp(s->conflict_policy, "first_commit_wins") == 0) db->pragmas.policy = TXN_FIRST_COMMIT_WINS;
    else if (strcmp(s->conflict_policy, "serializable") == 0) db->pragmas.policy = TXN_SERIALIZABLE;
    else return error_set(err, HDB_ERROR, "no such conflict policy: %s", s->conflict_policy);
  }
  bool good = s->key_of ? crypt_secret_copy(&db->secret, &s->key_of->secret) : crypt_secret_set(&db->secret, s->encryption_key, s->passphrase);
  return good ? HDB_OK : sql_nomem(err);
}

/* connect(as_of=): a read-only connection on the past. */
static status connection_set_time(hdb *db, const char *text) {
  int64_t time;
  if (!time_parse(text, strlen(text), &time)) return error_set(&db->err, HDB_ERROR, "AS OF: not a time: '%s'", text);
  TRY(time_reachable(db, DB_MAIN, time, &db->err));
  txn_set_as_of(db->databases[DB_MAIN].txn, time > 0 ? time : 1);
  db->databases[DB_MAIN].read_only = true;
  return HDB_OK;
}

static status connection_open(hdb *db, const char *filename, int flags, const hdb_settings *settings) {
  open_request request = {0};
  status rc = HDB_OK;
  CHECK(settings_apply(db, settings));
  CHECK(uri_parse(filename ? filename : "", flags, &request, &db->err)); /* URIs always: option USE_URI */
  CHECK(database_open_lazily(db, &db->databases[DB_MAIN], &request, settings));
  if (settings && settings->branch) CHECK(branch_switch(db, settings->branch));
  if (settings && settings->as_of) CHECK(connection_set_time(db, settings->as_of));
out:
  free(request.path);
  return rc;
}

static hdb *connection_new(int flags) {
  hdb *db = calloc(1, sizeof *db);
  if (!db) return NULL;
  pthread_mutexattr_t attribute;
  pthread_mutexattr_init(&attribute);
  pthread_mutexattr_settype(&attribute, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&db->mutex, &attribute);
  pthread_mutexattr_destroy(&attribute);
  settings_default(db);
  db->open_flags = flags;
  db->databases[DB_MAIN].name = strdup("main");
  db->databases[DB_TEMP].name = strdup("temp");
  db->databases[DB_TEMP].filename = strdup("");
  db->databases[DB_TEMP].is_memory = true;
  database_pragmas_default(&db->databases[DB_TEMP]);
  db->databases[DB_TEMP].pragmas.cache_size = 0; /* as SQLite answers for a temp database */
  db->databases[DB_TEMP].pragmas.synchronous = 0;
  memcpy(db->databases[DB_TEMP].pragmas.journal_mode, "delete", sizeof "delete");
  db->databases_n = 2;
  return db;
}

hdb *hdb_open_inside(engine *e) {
  hdb *db = connection_new(HDB_OPEN_READWRITE);
  if (!db) return NULL;
  database *d = &db->databases[DB_MAIN];
  d->filename = strdup("");
  if (!d->filename || txn_new(e, &d->txn) != HDB_OK) {
    hdb_close(db);
    return NULL;
  }
  d->engine = engine_hold(e);
  database_pragmas_default(d);
  db->retention = NAN, db->mirror_setting = -1;
  return db;
}

int hdb_open_with(const char *filename, hdb **out, int flags, const hdb_settings *settings) {
  hdb *db = *out = connection_new(flags);
  if (!db) return HDB_NOMEM;
  status rc = connection_open(db, filename, flags, settings);
  return hdb_result(db, rc);
}

int hdb_open(const char *filename, hdb **out, int flags) { return hdb_open_with(filename, out, flags, NULL); }

static void connection_free(hdb *db) {
  transaction_rollback(db);
  for (int i = db->databases_n - 1; i >= 0; i--) {
    database_close(db, &db->databases[i]);
    free(db->databases[i].name);
    db->databases[i].name = NULL; /* closing those below still looks for names */
  }
  user_functions_close(db);
  replay_free(db);
  savepoints_free(db);
  error_clear(&db->err);
  error_clear(&db->schema_failure);
  crypt_secret_clear(&db->secret);
  free(db->branch);
  conflicts_clear(db);
  violation_free(db);
  free(db->conflict_table);
  free(db->conflict_key);
  pthread_mutex_unlock(&db->mutex);
  pthread_mutex_destroy(&db->mutex);
  free(db);
}

static bool connection_is_used(const hdb *db) { return db->statements || db->blobs || db->backups; }

void hdb_free_if_zombie(hdb *db) {
  if (db->zombie && !connection_is_used(db)) connection_free(db);
  else hdb_unlock(db);
}

static int connection_close(hdb *db, bool zombie) {
  if (!db) return HDB_OK;
  hdb_lock(db);
  if ((db->trace_mask & HDB_TRACE_CLOSE) && db->trace) db->trace(HDB_TRACE_CLOSE, db->trace_data, db, NULL);
  if (!zombie && connection_is_used(db)) {
    status rc = error_set(&db->err, HDB_BUSY, "unable to close due to unfinalized statements or unfinished backups");
    int code = hdb_result(db, rc);
    hdb_unlock(db);
    return code;
  }
  db->zombie = true;
  hdb_free_if_zombie(db);
  return HDB_OK;
}

int hdb_close(hdb *db) { return connection_close(db, false); }
int hdb_close_v2(hdb *db) { return connection_close(db, true); }

void hdb_close_lingering(void) { engine_close_lingering(); }

int hdb_checkpoint(hdb *db) {
  hdb_lock(db);
  status rc = HDB_OK;
  for (int i = 0; i < db->databases_n && rc == HDB_OK; i++) {
    database *d = &db->databases[i];
    if (!d->engine || d->is_memory) continue;
    rc = engine_checkpoint(d->engine);
    if (rc != HDB_OK) error_set(&db->err, rc, "%s", status_text(rc));
    else rc = mirror_checkpoint(db, i);
  }
  int code = hdb_result(db, rc);
  hdb_unlock(db);
  return code;
}
