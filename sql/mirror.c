/* app.db and its directory: who is ahead of whom, and bringing the file up to date.
 *
 * One `mirror` a directory a process, shared by its connections and kept when the last one goes (an engine lingers).
 * The file carries a table _heliosdb(id, time, stamp): which database it belongs to, the commit time it equals, and a
 * random stamp that is new in each mirror transaction. The engine's settings hold the same (mirror.state) with size,
 * mtime and inode as the file had them afterwards.
 *
 * F1  The truth is the directory; app.db equals main as of `time` and never runs ahead of what is durable.
 * F2  The stamp of a mirror transaction is stored (mirror.pending, synced) before SQLite's COMMIT, so a crash between
 *     the two is recognised as ours.
 * F3  A file that is not ours is never overwritten: it is taken in, or nothing is written.
 * F4  A file in its place whose directory belongs to a deleted one: the directory is set aside as <dir>.stale.
 * Locks: mirrors_lock guards the list and every decision about a file; SQLite's own locks guard the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kv/base/key.h"
#include "sql/mirror.h"

/* what the file looked like when we last knew it to equal main as of `time` */
typedef struct mirror_state {
  uint64_t stamp, id;
  int64_t time;
  int64_t size, mtime_ns, inode;
  int64_t counter; /* SQLite's file change counter: moves with each transaction outside of WAL mode, not with a rollback */
  int64_t leaving_wal; /* 1: its journal mode was about to be changed by us, so its counter may have moved */
} mirror_state;

struct mirror {
  char *path, *directory;
  int references;
  mirror_state state;
  bool known;  /* state was read from the engine or written by us */
  bool orphan; /* the file or directory was deleted under its connections: they go on without, nothing is written */
  struct mirror *next;
};

static pthread_mutex_t mirrors_lock = PTHREAD_MUTEX_INITIALIZER;
static struct mirror *mirrors;

static status fail(hdb *db, status rc) { return error_set(&db->err, rc, "%s", status_text(rc)); }

/* ---- names ---- */

/* The absolute path with links resolved; the file itself need not exist. NULL: its folder does not. */
static char *resolve_path(const char *path) {
  char *real = realpath(path, NULL);
  if (real) return real;
  char target[PATH_MAX];
  ssize_t n = readlink(path, target, sizeof target - 1); /* a link to a file that is not there yet */
  if (n > 0 && target[0] == '/') {
    target[n] = 0;
    return resolve_path(target);
  }
  char *copy = strdup(path), *base = copy ? strrchr(copy, '/') : NULL;
  if (!copy) return NULL;
  char *folder = realpath(base ? (base == copy ? "/" : (*base = 0, copy)) : ".", NULL);
  const char *name = base ? path + (base - copy) + 1 : path;
  char *out = NULL;
  if (folder && *name && asprintf(&out, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, name) < 0) out = NULL;
  free(folder);
  free(copy);
  return out;
}

static bool stat_file(const char *path, struct stat *st) { return stat(path, st) == 0; }
static int64_t mtime_ns(const struct stat *st) { return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec; }

/* Frames in a -wal mean that somebody wrote without the file itself changing. */
static bool has_wal_frames(const char *path) {
  char name[PATH_MAX + 8];
  struct stat st;
  snprintf(name, sizeof name, "%s-wal", path);
  return stat_file(name, &st) && st.st_size > 32;
}

static bool looks_unchanged(const struct mirror *m) {
  struct stat st;
  if (!stat_file(m->path, &st)) return false;
  return st.st_size == m->state.size && mtime_ns(&st) == m->state.mtime_ns && (int64_t)st.st_ino == m->state.inode &&
         !has_wal_frames(m->path);
}

/* ---- state in the engine's settings ---- */
static void state_take(struct mirror *m) {
  struct stat st;
  if (stat_file(m->path, &st)) {
    m->state.size = st.st_size;
    m->state.mtime_ns = mtime_ns(&st);
    m->state.inode = (int64_t)st.st_ino;
  }
}

static status state_load(hdb *db, engine *e, struct mirror *m) {
  buf b = BUF_INIT;
  status rc = engine_setting_get(e, "mirror.state", &b);
  m->known = false;
  if (rc == HDB_OK && b.n == sizeof m->state) {
    memcpy(&m->state, b.p, sizeof m->state);
    m->known = true;
  } else if (rc == HDB_OK) {
    rc = HDB_CORRUPT;
  } else if (rc == HDB_NOTFOUND) {
    rc = HDB_OK;
  }
  buf_free(&b);
  return rc == HDB_OK ? HDB_OK : fail(db, rc);
}

static status state_store(hdb *db, engine *e, struct mirror *m) {
  status rc = engine_setting_put(e, "mirror.state", slice_of(&m->state, sizeof m->state));
  if (rc != HDB_OK) return fail(db, rc);
  m->known = true;
  return HDB_OK;
}

static status pending_load(hdb *db, engine *e, uint64_t *stamp) {
  buf b = BUF_INIT;
  *stamp = 0;
  status rc = engine_setting_get(e, "mirror.pending", &b);
  if (rc == HDB_OK && b.n == 8) memcpy(stamp, b.p, 8);
  buf_free(&b);
  return rc == HDB_OK || rc == HDB_NOTFOUND ? HDB_OK : fail(db, rc);
}

static uint64_t new_stamp(void) {
  uint64_t v = 0;
  sqlite3_randomness(sizeof v, &v);
  return (v >> 1) | 1; /* positive, never 0 */
}

/* ---- the SQLite side ---- */
static status file_open(hdb *db, const char *path, int flags, sqlite3 **out) {
  int code = sqlite3_open_v2(path, out, flags, NULL);
  if (code != SQLITE_OK) {
    status rc = *out ? mirror_sqlite_error(db, *out, code) : fail(db, HDB_NOMEM);
    sqlite3_close(*out);
    *out = NULL;
    return rc;
  }
  sqlite3_busy_timeout(*out, 2000);
  return HDB_OK;
}

/* Reads _heliosdb; *stamp 0: the file is not ours. Any error of reading is the file's. */
static status file_stamp(hdb *db, sqlite3 *file, uint64_t *id, uint64_t *stamp, int64_t *time) {
  sqlite3_stmt *s = NULL;
  *stamp = *id = 0, *time = 0;
  /* a plain read first: a damaged file or no database must say so, whatever we look for */
  int code = sqlite3_exec(file, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
  if (code != SQLITE_OK) return mirror_sqlite_error(db, file, code);
  if (sqlite3_table_column_metadata(file, "main", "_heliosdb", "stamp", NULL, NULL, NULL, NULL, NULL) != SQLITE_OK) return HDB_OK;
  code = sqlite3_prepare_v2(file, "SELECT id, time, stamp FROM _heliosdb", -1, &s, NULL);
  if (code == SQLITE_OK && (code = sqlite3_step(s)) == SQLITE_ROW) {
    *id = (uint64_t)sqlite3_column_int64(s, 0);
    *time = sqlite3_column_int64(s, 1);
    *stamp = (uint64_t)sqlite3_column_int64(s, 2);
    code = SQLITE_DONE;
  }
  status rc = mirror_sqlite_error(db, file, code);
  sqlite3_finalize(s);
  return rc;
}

/* The file change counter (4 bytes at offset 24), read through SQLite's own descriptor; 0 for an empty file. */
static int64_t file_counter(sqlite3 *file) {
  sqlite3_file *f = NULL;
  uint8_t bytes[4];
  if (sqlite3_file_control(file, "main", SQLITE_FCNTL_FILE_POINTER, &f) != SQLITE_OK || !f || !f->pMethods) return 0;
  return f->pMethods->xRead(f, bytes, 4, 24) == SQLITE_OK ? get_be32(bytes) : 0;
}

/* The same bytes as when `state` was taken, although the file's time moved (a transaction rolled back into the file). */
static bool same_content(const struct mirror *m, sqlite3 *file, uint64_t stamp) {
  struct stat st;
  return m->known && stamp == m->state.stamp && stat_file(m->path, &st) && st.st_size == m->state.size &&
         (int64_t)st.st_ino == m->state.inode && (file_counter(file) == m->state.counter || m->state.leaving_wal) && !has_wal_frames(m->path);
}

static status file_put_stamp(hdb *db, sqlite3 *file, const mirror_state *state) {
  char *sql = sqlite3_mprintf("CREATE TABLE IF NOT EXISTS _heliosdb(id INTEGER, time INTEGER, stamp INTEGER);"
                              "DELETE FROM _heliosdb; INSERT INTO _heliosdb VALUES(%lld, %lld, %lld)",
                              (long long)state->id, (long long)state->time, (long long)state->stamp);
  int code = sql ? sqlite3_exec(file, sql, NULL, NULL, NULL) : SQLITE_NOMEM;
  sqlite3_free(sql);
  return mirror_sqlite_error(db, file, code);
}

static bool file_has_objects(sqlite3 *file) {
  sqlite3_stmt *s = NULL;
  bool any = true;
  if (sqlite3_prepare_v2(file, "SELECT EXISTS(SELECT 1 FROM sqlite_schema)", -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
    any = sqlite3_column_int(s, 0) != 0;
  sqlite3_finalize(s);
  return any;
}

/* ---- which tree each table of an imported file went to: kept in the engine until the file carries it itself ---- */
static status objects_note(hdb *db, int number) {
  schema *s = NULL;
  buf b = BUF_INIT;
  status rc = txn_begin(db->databases[number].txn, TXN_READ, 0);
  if (rc != HDB_OK) return fail(db, rc);
  rc = catalog_schema(db, number, &s);
  for (int i = 0; rc == HDB_OK && i < s->tables_n; i++) {
    if (s->in_order[i]->kind != TABLE_ORDINARY) continue;
    buf_varint(&b, strlen(s->in_order[i]->name));
    buf_text(&b, s->in_order[i]->name);
    buf_be32(&b, s->in_order[i]->tree);
  }
  txn_rollback(db->databases[number].txn);
  if (rc == HDB_OK) {
    rc = buf_failed(&b) ? HDB_NOMEM : engine_setting_put(db->databases[number].engine, "mirror.objects", buf_slice(&b));
    if (rc != HDB_OK) fail(db, rc);
  }
  buf_free(&b);
  return rc;
}

static status objects_seed(hdb *db, engine *e, sqlite3 *file) {
  buf b = BUF_INIT;
  sqlite3_stmt *s = NULL;
  status rc = engine_setting_get(e, "mirror.objects", &b);
  if (rc == HDB_NOTFOUND) rc = HDB_OK;
  if (rc != HDB_OK) CHECK(fail(db, rc));
  CHECK(mirror_sqlite_error(db, file, sqlite3_exec(file, "CREATE TABLE _heliosdb_objects(name TEXT PRIMARY KEY, tree INTEGER) WITHOUT ROWID", NULL, NULL, NULL)));
  CHECK(mirror_sqlite_error(db, file, sqlite3_prepare_v2(file, "INSERT INTO _heliosdb_objects VALUES(?, ?)", -1, &s, NULL)));
  for (const uint8_t *p = b.p, *end = b.p + b.n; p && p < end;) {
    uint64_t n = 0;
    p = varint_get(p, end, &n);
    if (!p || (uint64_t)(end - p) < n + 4) CHECK(fail(db, HDB_CORRUPT));
    sqlite3_bind_text(s, 1, (const char *)p, (int)n, SQLITE_STATIC);
    sqlite3_bind_int64(s, 2, get_be32(p + n));
    sqlite3_step(s);
    CHECK(mirror_sqlite_error(db, file, sqlite3_reset(s)));
    p += n + 4;
  }
out:
  sqlite3_finalize(s);
  buf_free(&b);
  return rc;
}

/* ---- writing app.db ---- */

/* The change counter tells our writes from others' in rollback-journal mode only (and a -wal beside a file that is
 * copied alone would be lost): a file in WAL mode, known to be ours, is taken out of it. Inside a transaction, which
 * is ended and begun again; nobody may have written in between. */
static status leave_wal(hdb *db, engine *e, struct mirror *m, sqlite3 *file) {
  sqlite3_stmt *s = NULL;
  int code = sqlite3_prepare_v2(file, "PRAGMA journal_mode", -1, &s, NULL);
  bool wal = code == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(s, 0), "wal") == 0;
  sqlite3_finalize(s);
  if (!wal) return mirror_sqlite_error(db, file, code);
  m->state.leaving_wal = 1;
  TRY(state_store(db, e, m));
  TRY(mirror_sqlite_error(db, file, sqlite3_exec(file, "ROLLBACK; PRAGMA journal_mode = DELETE", NULL, NULL, NULL)));
  m->state.counter = file_counter(file);
  m->state.leaving_wal = 0;
  state_take(m);
  TRY(state_store(db, e, m));
  TRY(mirror_sqlite_error(db, file, sqlite3_exec(file, "BEGIN IMMEDIATE", NULL, NULL, NULL)));
  return file_counter(file) == m->state.counter ? HDB_OK : error_set(&db->err, HDB_BUSY, "%s was changed by another program", m->path);
}

/* Inside the SQLite transaction, the engine's view open: everything up to the view. */
static status write_changes(hdb *db, int number, struct mirror *m, sqlite3 *file, mirror_state *next) {
  database *d = &db->databases[number];
  uint64_t id, stamp;
  int64_t time;
  TRY(file_stamp(db, file, &id, &stamp, &time));
  if (!looks_unchanged(m) && !same_content(m, file, stamp))
    return error_set(&db->err, HDB_BUSY, "%s was changed by another program", m->path);
  TRY(leave_wal(db, d->engine, m, file));
  next->counter = m->state.counter, next->leaving_wal = 0;
  if (!stamp) {
    if (m->state.time)
      TRY(objects_seed(db, d->engine, file));
    else if (file_has_objects(file))
      return error_set(&db->err, HDB_BUSY, "%s was replaced by another file", m->path);
  }
  TRY(mirror_export(db, number, file, m->state.time));
  next->time = txn_view_time(d->txn);
  next->stamp = new_stamp();
  next->id = m->state.id ? m->state.id : new_stamp();
  TRY(file_put_stamp(db, file, next));
  status rc = engine_setting_put(d->engine, "mirror.pending", slice_of(&next->stamp, sizeof next->stamp));
  return rc == HDB_OK ? HDB_OK : fail(db, rc);
}

static status write_main(hdb *db, int number, struct mirror *m);

/* app.db holds main as it is now, whatever the connection looks at. */
static status write_file(hdb *db, int number, struct mirror *m) {
  database *d = &db->databases[number];
  if (txn_is_main_now(d->txn)) return write_main(db, number, m);
  database looks_at = *d;
  status rc = txn_new(d->engine, &d->txn);
  if (rc != HDB_OK) {
    d->txn = looks_at.txn;
    return fail(db, rc);
  }
  d->schema = NULL;
  rc = write_main(db, number, m);
  schema_release(d->schema);
  txn_free(d->txn);
  d->txn = looks_at.txn, d->schema = looks_at.schema;
  return rc;
}

static status write_main(hdb *db, int number, struct mirror *m) {
  database *d = &db->databases[number];
  sqlite3 *file = NULL;
  mirror_state next = m->state;
  status rc = HDB_OK;
  if (engine_durable(d->engine) < engine_newest(d->engine)) {
    rc = engine_checkpoint(d->engine);
    if (rc != HDB_OK) return fail(db, rc);
  }
  CHECK(file_open(db, m->path, SQLITE_OPEN_READWRITE, &file));
  CHECK(mirror_sqlite_error(db, file, sqlite3_exec(file, "PRAGMA synchronous = FULL; BEGIN IMMEDIATE", NULL, NULL, NULL)));
  rc = txn_begin(d->txn, TXN_READ, 0);
  if (rc != HDB_OK) CHECK(fail(db, rc));
  rc = write_changes(db, number, m, file, &next);
  txn_rollback(d->txn);
  if (rc != HDB_OK) goto out;
  CHECK(mirror_sqlite_error(db, file, sqlite3_exec(file, "COMMIT", NULL, NULL, NULL)));
  next.counter = file_counter(file);
  sqlite3_close(file);
  file = NULL;
  m->state = next;
  state_take(m);
  rc = state_store(db, d->engine, m);
out:
  if (file) {
    sqlite3_exec(file, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(file);
  }
  return rc;
}

static status bring_up_to_date(hdb *db, int number) {
  database *d = &db->databases[number];
  struct mirror *m = d->mirror;
  struct stat st;
  if (!m || m->orphan || d->read_only) return HDB_OK;
  if (!stat_file(m->path, &st)) return HDB_OK; /* deleted: it stays deleted */
  if (m->known && m->state.time == engine_newest(d->engine)) return HDB_OK;
  if (engine_newest(d->engine) == 0) return HDB_OK;
  return write_file(db, number, m);
}

/* ---- opening ---- */
static struct mirror *mirror_find(const char *path) {
  for (struct mirror *m = mirrors; m; m = m->next)
    if (strcmp(m->path, path) == 0) return m;
  return NULL;
}

static struct mirror *mirror_new(const char *path) {
  struct mirror *m = calloc(1, sizeof *m);
  if (!m) return NULL;
  m->path = strdup(path);
  if (!m->path || asprintf(&m->directory, "%s-helios", path) < 0) {
    free(m->path);
    free(m);
    return NULL;
  }
  m->next = mirrors;
  mirrors = m;
  return m;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw) { return remove(path); }
static void remove_directory(const char *path) { nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS); }

/* Out of the list: connections that have it keep it, the path gets a new one. */
static void mirror_orphan(struct mirror *m) {
  struct mirror **link = &mirrors;
  while (*link != m) link = &(*link)->next;
  *link = m->next;
  m->orphan = true;
}

static void mirror_unreference(struct mirror *m) {
  if (--m->references > 0 || !m->orphan) return;
  free(m->path);
  free(m->directory);
  free(m);
}

/* app.db was deleted: its directory belongs to nobody. One is kept, the newest. */
static status set_aside(hdb *db, struct mirror *m) {
  char name[PATH_MAX + 16];
  struct stat st;
  engine_close_lingering();
  m->known = false;
  m->state = (mirror_state){0};
  snprintf(name, sizeof name, "%s.stale", m->directory);
  if (stat_file(name, &st)) remove_directory(name);
  if (rename(m->directory, name) != 0) return fail(db, HDB_CANTOPEN);
  return HDB_OK;
}

static status open_for_reading(hdb *db, const char *path, sqlite3 **file) {
  status rc = file_open(db, path, SQLITE_OPEN_READWRITE, file);
  if (rc == HDB_OK && sqlite3_db_readonly(*file, "main") != 0) return HDB_OK;
  if (rc == HDB_CANTOPEN || rc == HDB_READONLY) rc = file_open(db, path, SQLITE_OPEN_READONLY, file);
  return rc;
}

/* The file differs from what we last wrote: whose is it, and what follows. The engine is open. */
static status take_in(hdb *db, int number, struct mirror *m) {
  database *d = &db->databases[number];
  sqlite3 *file = NULL;
  uint64_t id, stamp, pending;
  int64_t time;
  status rc = open_for_reading(db, m->path, &file);
  if (rc != HDB_OK) return rc;
  CHECK(file_stamp(db, file, &id, &stamp, &time));
  CHECK(pending_load(db, d->engine, &pending));
  bool same = same_content(m, file, stamp);
  m->state.counter = file_counter(file);
  m->state.leaving_wal = 0;
  if (same) {
    /* nothing but its time changed */
  } else if (stamp && pending == stamp && stamp != m->state.stamp) {
    /* our own COMMIT, cut off before its note was made (F2) */
    m->state.stamp = stamp, m->state.id = id, m->state.time = time;
  } else {
    struct stat st; /* emptied on purpose: an empty database */
    bool emptied = stat_file(m->path, &st) && st.st_size == 0;
    if (m->known && !emptied && stamp == m->state.stamp && engine_newest(d->engine) > m->state.time)
      CHECK(error_set(&db->err, HDB_ERROR,
                      "not supported yet: %s was changed by another program while it lacked commits of its directory", m->path));
    CHECK(mirror_import(db, number, file));
    CHECK(objects_note(db, number));
    /* The note in the file, if any, no longer tells the truth about our trees: the next write starts afresh. */
    m->state.stamp = stamp;
    m->state.id = stamp ? id : new_stamp();
    m->state.time = engine_newest(d->engine);
  }
  sqlite3_close(file);
  file = NULL;
  state_take(m);
  rc = state_store(db, d->engine, m);
out:
  sqlite3_close(file);
  return rc;
}

/* The first connection of this process to the directory: settle what the file is to it. */
static status settle(hdb *db, int number, struct mirror *m) {
  struct stat st;
  TRY(state_load(db, db->databases[number].engine, m));
  if (!stat_file(m->path, &st)) return fail(db, HDB_CANTOPEN);
  if (m->known && looks_unchanged(m)) return HDB_OK;
  if (st.st_size == 0 && (!m->known || m->state.size == 0)) { /* new, or never written yet */
    state_take(m);
    return state_store(db, db->databases[number].engine, m);
  }
  return take_in(db, number, m);
}

static status attach_engine(hdb *db, int number, const char *directory, bool create, const hdb_settings *settings) {
  database *d = &db->databases[number];
  engine_options options = {.create = create, .retention = settings && !isnan(settings->retention) ? settings->retention : -1, .linger_ms = 3000};
  status rc = engine_open(directory, &options, &d->engine, &db->err);
  if ((rc & 0xff) == HDB_BUSY) return fail(db, rc); /* another process owns the directory */
  if (rc != HDB_OK) return rc;
  rc = txn_new(d->engine, &d->txn);
  if (rc == HDB_OK) return HDB_OK;
  engine_close(d->engine);
  d->engine = NULL;
  return fail(db, rc);
}

static void detach_engine(hdb *db, int number) {
  database *d = &db->databases[number];
  schema_release(d->schema);
  d->schema = NULL;
  txn_free(d->txn);
  engine_close(d->engine);
  free(d->filename);
  d->txn = NULL, d->engine = NULL, d->filename = NULL, d->mirror = NULL;
}

/* A file that cannot have a directory: its content in memory, for reading. */
static status open_private(hdb *db, int number, const char *path, bool immutable, const hdb_settings *settings) {
  database *d = &db->databases[number];
  sqlite3 *file = NULL;
  uint64_t id, stamp;
  int64_t time;
  TRY(attach_engine(db, number, NULL, true, settings));
  status rc = file_open(db, path, SQLITE_OPEN_READONLY, &file);
  if (rc == HDB_OK) rc = file_stamp(db, file, &id, &stamp, &time);
  if (rc == HDB_OK) rc = mirror_import(db, number, file);
  sqlite3_close(file);
  if (rc == HDB_OK && !(d->filename = strdup(path))) rc = fail(db, HDB_NOMEM);
  d->read_only = true;
  if (rc != HDB_OK) detach_engine(db, number);
  return rc;
}

/* Is the file readable as a database at all? Asked before anything is made beside it. */
static status probe(hdb *db, const char *path) {
  sqlite3 *file = NULL;
  uint64_t id, stamp;
  int64_t time;
  status rc = open_for_reading(db, path, &file);
  if (rc == HDB_OK) rc = file_stamp(db, file, &id, &stamp, &time);
  sqlite3_close(file);
  return rc;
}

static bool folder_writable(const char *path) {
  char folder[PATH_MAX];
  snprintf(folder, sizeof folder, "%s", path);
  char *slash = strrchr(folder, '/');
  if (slash) slash[slash == folder] = 0;
  return access(folder, W_OK | X_OK) == 0;
}

static status open_shared(hdb *db, int number, struct mirror *m, bool has_file, bool has_directory, unsigned flags,
                          const hdb_settings *settings) {
  database *d = &db->databases[number];
  bool first = m->references == 0;
  if (first && has_directory && !has_file) {
    TRY(set_aside(db, m));
    has_directory = false;
  }
  if (first && has_file && !has_directory) {
    struct stat st;
    if (stat_file(m->path, &st) && st.st_size > 0) TRY(probe(db, m->path));
  }
  if (!has_file) {
    int fd = open(m->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return fail(db, HDB_CANTOPEN);
    close(fd);
  }
  TRY(attach_engine(db, number, m->directory, !has_directory, settings));
  d->mirror = m;
  d->read_only = (flags & HDB_OPEN_READONLY) != 0;
  status rc = first ? settle(db, number, m) : HDB_OK;
  if (rc == HDB_OK && !(d->filename = strdup(m->path))) rc = fail(db, HDB_NOMEM);
  if (rc != HDB_OK) {
    detach_engine(db, number);
    if (!has_directory) { /* nothing half-made stays */
      engine_close_lingering();
      remove_directory(m->directory);
    }
    return rc;
  }
  m->references++;
  return HDB_OK;
}

static status open_locked(hdb *db, int number, const char *path, unsigned flags, bool immutable, const hdb_settings *settings) {
  struct stat st, directory;
  bool has_file = stat_file(path, &st);
  if (has_file && !S_ISREG(st.st_mode)) return fail(db, HDB_CANTOPEN);
  if (!has_file && !(flags & HDB_OPEN_CREATE)) return fail(db, HDB_CANTOPEN);
  if (has_file && access(path, R_OK) != 0) return fail(db, HDB_CANTOPEN);
  struct mirror *m = mirror_find(path);
  if (!m && !(m = mirror_new(path))) return fail(db, HDB_NOMEM);
  bool has_directory = stat_file(m->directory, &directory);
  if (m->references > 0 && (!has_file || !has_directory)) { /* deleted under open connections, as SQLite's are */
    if (!has_file && !(flags & HDB_OPEN_CREATE)) return fail(db, HDB_CANTOPEN);
    mirror_orphan(m);
    if (!(m = mirror_new(path))) return fail(db, HDB_NOMEM);
  }
  bool writable = folder_writable(path) && (!has_file || access(path, W_OK) == 0);
  if (immutable || !writable || ((flags & HDB_OPEN_READONLY) && !has_directory)) {
    if (!has_file) return fail(db, HDB_CANTOPEN);
    return open_private(db, number, path, immutable, settings);
  }
  return open_shared(db, number, m, has_file, has_directory, flags, settings);
}

status mirror_open(hdb *db, int number, const char *path, unsigned flags, bool immutable, const hdb_settings *settings) {
  char *real = resolve_path(path);
  if (!real) return fail(db, HDB_CANTOPEN);
  pthread_mutex_lock(&mirrors_lock);
  status rc = open_locked(db, number, real, flags, immutable, settings);
  pthread_mutex_unlock(&mirrors_lock);
  free(real);
  return rc;
}

void mirror_close(hdb *db, int number) {
  database *d = &db->databases[number];
  struct mirror *m = d->mirror;
  if (!d->engine) return;
  pthread_mutex_lock(&mirrors_lock);
  if (m && m->references == 1) bring_up_to_date(db, number); /* late is no error: the next open or close writes it */
  detach_engine(db, number);
  if (m) mirror_unreference(m);
  pthread_mutex_unlock(&mirrors_lock);
}

status mirror_checkpoint(hdb *db, int number) {
  pthread_mutex_lock(&mirrors_lock);
  status rc = bring_up_to_date(db, number);
  pthread_mutex_unlock(&mirrors_lock);
  return rc;
}

/* ---- whole databases: serialize, VACUUM INTO, deserialize ---- */

/* Our notes do not belong into a copy that is handed out. */
static status export_copy(hdb *db, int number, sqlite3 *to) {
  txn *t = db->databases[number].txn;
  bool opened = !txn_is_open(t);
  if (opened) {
    status rc = txn_begin(t, TXN_READ, 0);
    if (rc != HDB_OK) return fail(db, rc);
  }
  status rc = mirror_sqlite_error(db, to, sqlite3_exec(to, "BEGIN", NULL, NULL, NULL));
  if (rc == HDB_OK) rc = mirror_export(db, number, to, 0);
  if (opened) txn_rollback(t);
  if (rc == HDB_OK) rc = mirror_sqlite_error(db, to, sqlite3_exec(to, "DROP TABLE _heliosdb_objects; COMMIT", NULL, NULL, NULL));
  return rc;
}

status mirror_serialize(hdb *db, int number, unsigned char **out, int64_t *bytes) {
  sqlite3 *copy = NULL;
  sqlite3_int64 n = 0;
  *out = NULL, *bytes = 0;
  TRY(file_open(db, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &copy));
  status rc = export_copy(db, number, copy);
  if (rc == HDB_OK) {
    unsigned char *p = sqlite3_serialize(copy, "main", &n, 0);
    *out = p ? malloc((size_t)n + 1) : NULL;
    if (*out) memcpy(*out, p, (size_t)n);
    else rc = fail(db, HDB_NOMEM);
    sqlite3_free(p);
    *bytes = n;
  }
  sqlite3_close(copy);
  return rc;
}

status mirror_deserialize(hdb *db, int number, const void *data, int64_t bytes) {
  sqlite3 *copy = NULL;
  uint64_t id, stamp;
  int64_t time;
  TRY(file_open(db, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &copy));
  status rc = HDB_OK;
  unsigned char *p = sqlite3_malloc64((sqlite3_uint64)bytes + 1);
  if (!p) CHECK(fail(db, HDB_NOMEM));
  memcpy(p, data, (size_t)bytes);
  CHECK(mirror_sqlite_error(db, copy, sqlite3_deserialize(copy, "main", p, bytes, bytes, SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_READONLY)));
  CHECK(file_stamp(db, copy, &id, &stamp, &time));
  rc = mirror_import(db, number, copy);
out:
  sqlite3_close(copy);
  return rc;
}

status mirror_write_file(hdb *db, int number, const char *path) {
  sqlite3 *file = NULL;
  struct stat st;
  if (stat_file(path, &st) && st.st_size > 0) return error_set(&db->err, HDB_ERROR, "output file already exists");
  TRY(file_open(db, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &file));
  status rc = export_copy(db, number, file);
  sqlite3_close(file);
  if (rc != HDB_OK) unlink(path);
  return rc;
}
