/* Databases of a connection: main, temp, attached; files, private and named memory.
 *
 * D1  A named memory database has one engine per name, shared by all who open it and gone with the last of them.
 * D2  TEMP has no engine until something is put there (database_begin on DB_TEMP makes it).
 * D3  A database's txn is one object for its life; statements' cursors hang on it (closed before it is freed).
 * What can fail: everything that opening a file can; the words are SQLite's.
 */
#include <stdio.h>
#include <math.h>
#include <stdlib.h>

#include "sql/mirror.h"
#include "sql/replay.h"
#include "sql/time.h"

struct shared_memory {
  struct shared_memory *next;
  engine *engine;
  int references;
  char name[];
};
static struct shared_memory *shared_memories;
static pthread_mutex_t shared_mutex = PTHREAD_MUTEX_INITIALIZER;

/* In memory no history is kept unless asked for. */
static engine_options memory_options(const hdb_settings *settings) {
  double kept = settings && !isnan(settings->retention) ? settings->retention : 0;
  return (engine_options){.create = true, .retention = kept, .linger_ms = 0};
}

static status shared_open(database *d, const char *name, const hdb_settings *settings, error *err) {
  status rc = HDB_OK;
  pthread_mutex_lock(&shared_mutex);
  struct shared_memory *m = shared_memories;
  while (m && strcmp(m->name, name) != 0) m = m->next;
  if (!m) {
    m = calloc(1, sizeof *m + strlen(name) + 1);
    if (!m) {
      rc = sql_nomem(err);
      goto out;
    }
    memcpy(m->name, name, strlen(name) + 1);
    engine_options options = memory_options(settings);
    rc = engine_open(NULL, &options, &m->engine, err);
    if (rc != HDB_OK) {
      free(m);
      goto out;
    }
    m->next = shared_memories;
    shared_memories = m;
  }
  m->references++;
  d->shared = m;
  d->engine = m->engine;
out:
  pthread_mutex_unlock(&shared_mutex);
  return rc;
}

static void shared_close(struct shared_memory *m) {
  pthread_mutex_lock(&shared_mutex);
  if (--m->references == 0) {
    struct shared_memory **at = &shared_memories;
    while (*at != m) at = &(*at)->next;
    *at = m->next;
    engine_close(m->engine);
    free(m);
  }
  pthread_mutex_unlock(&shared_mutex);
}

void database_pragmas_default(database *d) {
  d->pragmas.cache_size = -2000;
  d->pragmas.page_size = 4096;
  d->pragmas.max_page_count = PAGES_MAX;
  d->pragmas.journal_size_limit = -1;
  d->pragmas.mmap_size = 0;
  d->pragmas.wal_autocheckpoint = 1000;
  d->pragmas.synchronous = 2;
  d->pragmas.secure_delete = 1;
  snprintf(d->pragmas.journal_mode, sizeof d->pragmas.journal_mode, "%s", d->is_memory ? "memory" : "delete");
}

/* Files are mirror.c's: it finds the directory, takes in foreign files and fills the place. */
static status file_open(hdb *db, database *d, const open_request *r, const hdb_settings *settings) {
  unsigned flags = r->read_only ? HDB_OPEN_READONLY : HDB_OPEN_READWRITE | (r->create ? HDB_OPEN_CREATE : 0);
  db->network = r->network;
  TRY(mirror_open(db, (int)(d - db->databases), r->path, flags, r->immutable, settings));
  d->read_only = d->read_only || r->read_only;
  return HDB_OK;
}

/* SQLite looks into a file when it is first used: what it finds wrong there is no reason for connect() to fail. */
status database_open_lazily(hdb *db, database *d, const open_request *r, const hdb_settings *settings) {
  status rc = database_open(db, d, r, settings);
  if (r->memory || r->shared || ((rc & 0xff) != HDB_NOTADB && (rc & 0xff) != HDB_CORRUPT)) return rc;
  error_set(&d->unreadable, rc, "%s", db->err.message ? db->err.message : status_text(rc));
  open_request nothing = {.path = r->path, .memory = true, .read_only = r->read_only};
  TRY(database_open(db, d, &nothing, NULL));
  free(d->filename);
  d->filename = realpath(r->path, NULL);
  if (!d->filename && !(d->filename = strdup(r->path))) return sql_nomem(&db->err);
  error_clear(&db->err);
  return HDB_OK;
}

status database_open(hdb *db, database *d, const open_request *r, const hdb_settings *settings) {
  status rc = HDB_OK;
  engine_options options = memory_options(settings);
  d->read_only = r->read_only;
  d->is_memory = r->memory || r->shared;
  if (r->shared) CHECK(shared_open(d, r->path, settings, &db->err));
  else if (r->memory) CHECK(engine_open(NULL, &options, &d->engine, &db->err));
  else CHECK(file_open(db, d, r, settings));
  if (!d->filename && !(d->filename = strdup(""))) CHECK(sql_nomem(&db->err));
  if (!d->txn) {
    rc = txn_new(d->engine, &d->txn);
    if (rc != HDB_OK) CHECK(error_set(&db->err, rc, "%s", status_text(rc)));
  }
  txn_set_policy(d->txn, db->pragmas.policy);
  txn_set_sync(d->txn, TXN_SYNC_FULL);
  database_pragmas_default(d);
  buf mode = BUF_INIT;
  if (!d->is_memory && engine_setting_get(d->engine, "journal_mode", &mode) == HDB_OK && mode.n < sizeof d->pragmas.journal_mode) {
    memcpy(d->pragmas.journal_mode, mode.p, mode.n);
    d->pragmas.journal_mode[mode.n] = 0;
  }
  buf_free(&mode);
  d->data_version = 1;
  d->last_seen = engine_newest(d->engine);
out:
  if (rc != HDB_OK) database_close(db, d);
  return rc;
}

/* What hangs on its engine. */
void database_let_go(hdb *db, database *d) {
  int number = (int)(d - db->databases);
  replay_forget(db);
  for (hdb_stmt *s = db->statements; s; s = s->next)
    if (s->has_exec) exec_forget_database(&s->exec, number);
  schema_release(d->schema);
  d->schema = NULL;
  past_schemas_free(d);
  if (!d->is_memory && d->engine && d->txn && txn_is_open(d->txn)) txn_rollback(d->txn);
}

void database_close(hdb *db, database *d) {
  database_let_go(db, d);
  if (!d->is_memory) mirror_close(db, (int)(d - db->databases));
  if (d->txn) txn_free(d->txn);
  if (d->shared) shared_close(d->shared);
  else if (d->engine) engine_close(d->engine);
  free(d->filename);
  error_clear(&d->unreadable);
  d->txn = NULL, d->shared = NULL, d->engine = NULL, d->filename = NULL;
}

/* D2 */
static status temp_open(hdb *db, database *d) {
  open_request r = {.path = (char *)"", .memory = true, .create = true};
  struct database_pragmas kept = d->pragmas;
  free(d->filename);
  d->filename = NULL;
  TRY(database_open(db, d, &r, NULL));
  d->pragmas = kept;
  return HDB_OK;
}

status database_begin(hdb *db, int number) {
  if (number < 0 || number >= db->databases_n) return error_set(&db->err, HDB_ERROR, "unknown database");
  database *d = &db->databases[number];
  if (!d->engine) {
    if (number != DB_TEMP) return error_set(&db->err, HDB_ERROR, "unknown database");
    TRY(temp_open(db, d));
  }
  if (d->unreadable.code != HDB_OK) return error_set(&db->err, d->unreadable.code, "%s", d->unreadable.message);
  if (db->doomed) return error_set(&db->err, HDB_BUSY_SNAPSHOT, "database is locked");
  if (txn_is_open(d->txn)) return HDB_OK;
  if (d->mirror) mirror_look_when_due(db, number);
  status rc = txn_begin(d->txn, TXN_READ, db->busy_timeout_ms);
  if (rc != HDB_OK) return error_set(&db->err, rc, "%s", status_text(rc));
  d->start = txn_save(d->txn);
  return HDB_OK;
}
