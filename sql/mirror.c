/* app.db and its directory: which file is which mirror, opening and closing.
 *
 * M1  One `mirror` a file a process. The first connection opens its own one, settles who is ahead (mirror_sync.c) and
 *     lets the keeper watch; the last to go brings the file up to date and gives the mirror's connection back.
 * M2  A file in its place whose directory belongs to a deleted one: the directory is set aside as <dir>.stale.
 * M3  File or directory deleted under open connections: those go on without (an orphan), the path begins anew.
 * M4  Only the process that owns the directory's storage touches the file (engine_duty); the others ask it to.
 * M5  A forked child leaves its parent's connection of the mirror alone and makes one when it needs it.
 *     That is: when it was asked to (look, checkpoint, close), or when it has taken the storage over (the keeper, the exit).
 * M6  The last connection goes while other processes are served: the mirror's own stays, and the engine with it, until
 *     they are gone (the keeper looks every second).
 */
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "kv/base/leave.h"
#include "sql/mirror_internal.h"
#include "sql/sealed.h"

enum { BUSY_MS = 2000, LOOK_MS = 1000 };

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct mirror *mirrors, *orphans;

static status fail(hdb *db, status rc) { return error_set(&db->err, rc, "%s", status_text(rc)); }

static status tell(hdb *db, const struct mirror *m, status rc) {
  if (rc == HDB_OK) return rc;
  return error_set(&db->err, rc, "%s", m->own->err.message ? m->own->err.message : status_text(rc));
}

int64_t mirror_ticks(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

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

static bool is_there(const char *path) {
  struct stat st;
  return stat(path, &st) == 0;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw) { return remove(path); }
static void remove_directory(const char *path) { nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS); }

static bool folder_writable(const char *path) {
  char folder[PATH_MAX];
  snprintf(folder, sizeof folder, "%s", path);
  char *slash = strrchr(folder, '/');
  if (slash) slash[slash == folder] = 0;
  return access(folder, W_OK | X_OK) == 0;
}

/* ---- the list ---- */

static struct mirror *mirror_new(const char *path) {
  struct mirror *m = calloc(1, sizeof *m);
  if (!m) return NULL;
  m->path = strdup(path);
  if (!m->path || asprintf(&m->directory, "%s-helios", path) < 0) {
    free(m->path);
    free(m);
    return NULL;
  }
  pthread_mutex_init(&m->lock, NULL);
  return m;
}

/* Referenced, so that nobody takes it for unused; NULL: out of memory. */
static struct mirror *mirror_enter(const char *path) {
  pthread_mutex_lock(&list_lock);
  struct mirror *m = mirrors;
  while (m && strcmp(m->path, path) != 0) m = m->next;
  if (!m && (m = mirror_new(path))) m->next = mirrors, mirrors = m;
  if (m) m->references++;
  pthread_mutex_unlock(&list_lock);
  return m;
}

/* How many are left. */
static int mirror_leave(struct mirror *m) {
  pthread_mutex_lock(&list_lock);
  int left = --m->references;
  pthread_mutex_unlock(&list_lock);
  return left;
}

static bool is_last(struct mirror *m) {
  pthread_mutex_lock(&list_lock);
  bool last = m->references == 1;
  pthread_mutex_unlock(&list_lock);
  return last;
}

/* M3: out of the list; connections that have it keep it, the path gets a new one. */
static void mirror_orphan(struct mirror *m) {
  mirror_keeper_forget(m);
  pthread_mutex_lock(&list_lock);
  struct mirror **link = &mirrors;
  while (*link && *link != m) link = &(*link)->next;
  if (*link) *link = m->next;
  m->next = orphans, orphans = m;
  m->orphan = true;
  pthread_mutex_unlock(&list_lock);
}

/* M5 */
static void after_fork_child(void) {
  pthread_mutex_init(&list_lock, NULL);
  for (int pass = 0; pass < 2; pass++)
    for (struct mirror *m = pass ? orphans : mirrors; m; m = m->next) {
      pthread_mutex_init(&m->lock, NULL);
      m->own = NULL, m->held = NULL, m->read_stamp = NULL,
      m->journal = m->journal_made = 0; /* H5 of mirror_held.c */
      m->held_ready = false;
      m->outdated = true;
    }
}
static void watch_forks(void) { pthread_atfork(NULL, NULL, after_fork_child); }
static pthread_once_t forks_watched = PTHREAD_ONCE_INIT;

/* ---- opening ---- */

/* M2. One is kept, the newest. */
static status set_aside(hdb *db, struct mirror *m) {
  char name[PATH_MAX + 16];
  engine_close_lingering();
  snprintf(name, sizeof name, "%s.stale", m->directory);
  if (is_there(name)) remove_directory(name);
  return rename(m->directory, name) == 0 ? HDB_OK : fail(db, HDB_CANTOPEN);
}

/* The first connection of this process to the directory: settle what the file is to it. */
static status settle(struct mirror *m, hdb *db, const hdb_settings *settings) {
  file_look look;
  TRY(tell(db, m, mirror_note_load(m, m->own)));
  TRY(mirror_setting(db, mirror_engine(m), settings ? settings->mirror : -1, &m->off));
  if (!file_look_at(m->path, &look)) return fail(db, HDB_CANTOPEN);
  bool unchanged = file_look_same(&look, &m->note.look) || (look.size == 0 && m->note.look.size == 0 && look.wal_size == 0);
  status rc = HDB_OK;
  if (!engine_is_owner(mirror_engine(m))) {
    rc = unchanged ? HDB_OK : engine_run_duty(mirror_engine(m)); /* what it holds comes in there, or later */
    m->note.look = look;
    if (rc != HDB_BUSY_RECOVERY) return HDB_OK;
    rc = HDB_OK;
  }
  if (!unchanged) rc = mirror_sync(m, false, BUSY_MS);
  if (rc == HDB_OK && m->off != (m->note.header != 0) && !mirror_is_current(m)) (void)mirror_sync(m, true, BUSY_MS);
  if ((rc & 0xff) == HDB_BUSY && engine_newest(mirror_engine(m)) > 0) rc = HDB_OK; /* what it holds comes in later */
  return tell(db, m, rc);
}

/* Whoever may write the file may write in its directory, as beside an SQLite file. */
static unsigned directory_mode(const char *directory) {
  char path[PATH_MAX];
  struct stat st;
  size_t n = directory ? strlen(directory) - strlen("-helios") : 0;
  if (!directory || n >= sizeof path) return 0;
  memcpy(path, directory, n);
  path[n] = 0;
  if (stat(path, &st) != 0) return 0;
  unsigned read = st.st_mode & 0444, write = st.st_mode & 0222;
  return 0700 | read | read >> 2 | write;
}

static status attach_engine(hdb *db, int number, const char *directory, bool create, const hdb_settings *settings) {
  database *d = &db->databases[number];
  engine_options options = {.create = create, .settles = directory != NULL, .network = db->network, .mode = directory_mode(directory),
                            .retention = settings && !isnan(settings->retention) ? settings->retention : -1, .linger_ms = 3000};
  status rc = engine_open(directory, &options, &d->engine, &db->err);
  if (rc != HDB_OK) return rc;
  rc = txn_new(d->engine, &d->txn);
  if (rc == HDB_OK) return HDB_OK;
  engine_close(d->engine);
  d->engine = NULL;
  return fail(db, rc);
}

static void detach_engine(hdb *db, int number) {
  database *d = &db->databases[number];
  sealed_close(d);
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
  file_facts facts;
  TRY(attach_engine(db, number, NULL, true, settings));
  status rc = immutable ? file_open_immutable(db, path, &file) : file_open(db, path, SQLITE_OPEN_READONLY, BUSY_MS, &file);
  if (rc == HDB_OK) rc = file_read(db, path, file, &facts);
  if (rc == HDB_OK) rc = mirror_import(db, number, file, NULL);
  sqlite3_close(file);
  if (rc == HDB_OK && !(d->filename = strdup(path))) rc = fail(db, HDB_NOMEM);
  d->read_only = true;
  if (rc != HDB_OK) detach_engine(db, number);
  return rc;
}

/* Is the file readable as a database at all? Asked before anything is made beside it. */
static status probe(hdb *db, const char *path) {
  sqlite3 *file = NULL;
  file_facts facts;
  status rc = file_open_existing(db, path, BUSY_MS, &file);
  if (rc == HDB_OK) rc = file_read(db, path, file, &facts);
  sqlite3_close(file);
  return rc;
}

static status create_file(hdb *db, const char *path) {
  sqlite3 *file = NULL;
  status rc = file_open(db, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, BUSY_MS, &file);
  sqlite3_close(file);
  return rc;
}

/* By its looks: has somebody else written it? */
static bool is_changed(struct mirror *m) {
  file_look seen;
  return m->own && !m->orphan && file_look_at(m->path, &seen) && !file_look_same(&seen, &m->note.look) && (seen.size || m->note.look.size);
}

/* m->lock is held. */
static status bring_up_to_date(struct mirror *m) {
  if (!m->own || m->orphan || (mirror_is_current(m) && !is_changed(m))) return HDB_OK;
  status rc = engine_run_duty(mirror_engine(m));
  return rc == HDB_BUSY_RECOVERY ? mirror_sync(m, true, BUSY_MS) : rc;
}

static bool own_make(struct mirror *m, engine *e) {
  m->own = hdb_open_inside(e);
  if (!m->own) return false;
  m->own->databases[DB_MAIN].schema = m->schema, m->schema = NULL; /* its stamp tells whether it fits */
  m->own->pragmas.enable_triggers = m->own->pragmas.foreign_keys = false;
  m->own->pragmas.ignore_check_constraints = true;
  return true;
}

/* For another process (M4), on a thread of the engine's. This one's last connection may have gone. */
static status run_duty(void *context, engine *e) {
  struct mirror *m = context;
  status rc = HDB_OK;
  pthread_mutex_lock(&m->lock);
  bool made = !m->own && !m->orphan;
  if (made) atomic_store(&m->outdated, true);
  if (made && !own_make(m, e)) rc = HDB_NOMEM;
  if (rc == HDB_OK) rc = bring_up_to_date(m);
  if (made && m->own) {
    hdb_close(m->own);
    m->own = NULL;
  }
  pthread_mutex_unlock(&m->lock);
  return rc;
}

/* The owner went: what it knew of the file is to be read anew, and what it left undone to be done. */
static void take_over(void *context) {
  struct mirror *m = context;
  atomic_store(&m->outdated, true);
  atomic_store(&m->heir, true);
  mirror_keeper_wake(m, 0);
}

/* M5. m->lock is held. */
bool mirror_inherit(struct mirror *m) {
  if (m->own || m->orphan || !atomic_exchange(&m->heir, false)) return m->own != NULL;
  engine *e = engine_in_use(m->directory); /* a connection's of before the fork */
  if (!e) return false;
  bool made = own_make(m, e);
  m->rewrite = m->behind = false;
  engine_close(e);
  return made;
}

static void own_close(struct mirror *m) {
  if (!m->own) return;
  schema **kept = &m->own->databases[DB_MAIN].schema;
  mirror_keeper_forget(m);
  if (m->held && *kept && (*kept)->stamp.local == 0) m->schema = *kept, *kept = NULL;
  hdb_close(m->own);
  m->own = NULL;
  if (m->orphan)
    file_let_go(m);
  else if (m->held)
    mirror_keeper_visit(m, HELD_MS);
}

static status own_open(hdb *db, int number, struct mirror *m, const hdb_settings *settings) {
  if (!own_make(m, db->databases[number].engine)) return fail(db, HDB_NOMEM);
  engine_duty duty = {run_duty, take_over, m}; /* it stays: the mirror lives as long as the process */
  engine_set_duty(mirror_engine(m), &duty);
  m->rewrite = m->behind = false;
  m->look_at = mirror_ticks() + LOOK_MS;
  status rc = settle(m, db, settings);
  if (rc == HDB_OK) {
    engine_ready(mirror_engine(m));
    mirror_keeper_watch(m);
  } else {
    own_close(m);
  }
  return rc;
}

static status switch_mirror(hdb *db, struct mirror *m, const hdb_settings *settings) {
  bool was = m->off;
  TRY(mirror_setting(db, mirror_engine(m), settings ? settings->mirror : -1, &m->off));
  if (was != m->off && engine_run_duty(mirror_engine(m)) == HDB_BUSY_RECOVERY) (void)mirror_sync(m, true, BUSY_MS);
  return HDB_OK;
}

static status open_shared(hdb *db, int number, struct mirror *m, bool has_file, bool has_directory, unsigned flags,
                          const hdb_settings *settings) {
  database *d = &db->databases[number];
  bool first = m->own == NULL;
  struct stat st;
  if (first && has_directory && !has_file) {
    TRY(set_aside(db, m));
    has_directory = false;
  }
  if (first && has_file && !has_directory && stat(m->path, &st) == 0 && st.st_size > 0) TRY(probe(db, m->path));
  if (!has_file) TRY(create_file(db, m->path));
  status opened = attach_engine(db, number, m->directory, !has_directory, settings);
  if (opened == HDB_CANTOPEN && first && has_directory) /* nothing is in it: killed while it was made */
    opened = attach_engine(db, number, m->directory, true, settings);
  TRY(opened);
  d->mirror = m;
  d->read_only = (flags & HDB_OPEN_READONLY) != 0;
  status rc = first ? own_open(db, number, m, settings) : switch_mirror(db, m, settings);
  if (rc == HDB_OK && !(d->filename = strdup(m->path))) rc = fail(db, HDB_NOMEM);
  if (rc == HDB_OK) {
    m->own->pragmas.policy = db->pragmas.policy;
    return rc;
  }
  if (first) own_close(m);
  detach_engine(db, number);
  if (!has_directory && first) { /* nothing half-made stays */
    engine_close_lingering();
    remove_directory(m->directory);
  }
  return rc;
}

/* m->lock is held. *again: another has to be found for the path. */
static status open_locked(hdb *db, int number, struct mirror *m, unsigned flags, bool immutable, const hdb_settings *settings, bool *again) {
  struct stat st;
  const char *path = m->path;
  *again = m->orphan;
  if (m->orphan) return HDB_OK;
  bool has_file = stat(path, &st) == 0, has_directory = is_there(m->directory);
  if (has_file && !S_ISREG(st.st_mode)) return fail(db, HDB_CANTOPEN);
  if (!has_file && !(flags & HDB_OPEN_CREATE)) return fail(db, HDB_CANTOPEN);
  if (has_file && access(path, R_OK) != 0) return fail(db, HDB_CANTOPEN);
  if (m->own && (!has_file || !has_directory)) { /* deleted under open connections, as SQLite's are */
    mirror_orphan(m);
    *again = true;
    return HDB_OK;
  }
  bool writable = folder_writable(path) && (!has_file || access(path, W_OK) == 0);
  if (immutable || !writable || ((flags & HDB_OPEN_READONLY) && !has_directory))
    return has_file ? open_private(db, number, path, immutable, settings) : fail(db, HDB_CANTOPEN);
  return open_shared(db, number, m, has_file, has_directory, flags, settings);
}

status mirror_open(hdb *db, int number, const char *path, unsigned flags, bool immutable, const hdb_settings *settings) {
  char *real = resolve_path(path);
  if (!real) return fail(db, HDB_CANTOPEN);
  pthread_once(&forks_watched, watch_forks);
  leave_before_wait();
  bool sealed;
  status rc = sealed_open(db, number, real, flags, immutable, settings, &sealed);
  for (bool again = !sealed; again && rc == HDB_OK;) {
    struct mirror *m = mirror_enter(real);
    if (!m) {
      rc = fail(db, HDB_NOMEM);
      break;
    }
    pthread_mutex_lock(&m->lock);
    rc = open_locked(db, number, m, flags, immutable, settings, &again);
    if (db->databases[number].mirror != m) mirror_leave(m);
    pthread_mutex_unlock(&m->lock);
  }
  free(real);
  return rc;
}

/* ---- the rest of its life ---- */

/* M5 */
static status own_ready(hdb *db, int number, struct mirror *m) {
  if (m->own || m->orphan) return HDB_OK;
  return own_open(db, number, m, NULL);
}

/* M6. m->lock is held. */
bool mirror_release_own(struct mirror *m) {
  pthread_mutex_lock(&list_lock);
  bool unused = m->references == 0;
  pthread_mutex_unlock(&list_lock);
  if (!unused || !m->own) return true;
  if (engine_clients(mirror_engine(m)) > 0) return false;
  own_close(m);
  return true;
}

void mirror_close(hdb *db, int number) {
  database *d = &db->databases[number];
  struct mirror *m = d->mirror;
  if (!d->engine) return;
  if (!m) {
    detach_engine(db, number);
    return;
  }
  leave_before_wait();
  pthread_mutex_lock(&m->lock);
  /* late is no error: the next open or checkpoint writes it */
  if (is_last(m) && own_ready(db, number, m) == HDB_OK) (void)bring_up_to_date(m);
  detach_engine(db, number);
  if (mirror_leave(m) == 0) {
    if (m->orphan) own_close(m);
    else if (!mirror_release_own(m)) mirror_keeper_wake(m, LOOK_MS);
  }
  pthread_mutex_unlock(&m->lock);
}

status mirror_leave_alone(hdb *db, int number) {
  struct mirror *m = db->databases[number].mirror;
  if (!m) return HDB_OK;
  pthread_mutex_lock(&m->lock);
  status rc = is_last(m) ? HDB_OK : HDB_BUSY;
  if (rc == HDB_OK) own_close(m), file_let_go(m);
  pthread_mutex_unlock(&m->lock);
  return rc;
}

void mirror_detach(hdb *db, int number) {
  struct mirror *m = db->databases[number].mirror;
  detach_engine(db, number);
  if (m) mirror_leave(m);
}

status mirror_checkpoint(hdb *db, int number) {
  struct mirror *m = db->databases[number].mirror;
  if (!m || m->orphan) return HDB_OK;
  leave_before_wait();
  pthread_mutex_lock(&m->lock);
  status rc = own_ready(db, number, m);
  if (rc == HDB_OK && (rc = bring_up_to_date(m)) != HDB_OK) tell(db, m, rc);
  pthread_mutex_unlock(&m->lock);
  return rc;
}

void mirror_tell(hdb *db, int number, mirror_facts *out) {
  struct mirror *m = db->databases[number].mirror;
  *out = (mirror_facts){0};
  if (!m || m->orphan) return;
  leave_before_wait();
  pthread_mutex_lock(&m->lock);
  if (m->own) {
    file_look seen;
    out->file = true;
    out->off = m->off, out->foreign = m->note.foreign;
    out->kept_elsewhere = !engine_is_owner(mirror_engine(m));
    out->current = mirror_is_current(m);
    out->time = m->note.time;
    out->file_bytes = file_look_at(m->path, &seen) ? seen.size : 0;
    out->writes = m->writes, out->cost_us = m->cost_us;
    if (m->trouble) snprintf(out->trouble, sizeof out->trouble, "%s", m->trouble);
  }
  pthread_mutex_unlock(&m->lock);
}

/* Has a tool changed the file? At most once a second, by its looks alone when it has not. */
static void look(hdb *db, int number, struct mirror *m, int64_t now) {
  leave_before_wait();
  if (pthread_mutex_trylock(&m->lock) != 0) return; /* somebody is at it */
  atomic_store(&m->look_at, now + LOOK_MS);
  bool changed = own_ready(db, number, m) == HDB_OK && is_changed(m);
  if (changed && !engine_is_owner(mirror_engine(m))) {
    if (engine_run_duty(mirror_engine(m)) == HDB_OK) (void)file_look_at(m->path, &m->note.look);
  } else if (changed) {
    (void)mirror_sync(m, false, 0); /* locked by the tool: the next look finds it */
    if (!mirror_is_current(m)) mirror_keeper_wake(m, LOOK_MS);
  }
  pthread_mutex_unlock(&m->lock);
}

/* At exit: what nobody closed is written as far as nobody is at it. */
void mirror_write_all(void) {
  if (pthread_mutex_trylock(&list_lock) != 0) return;
  for (struct mirror *m = mirrors; m; m = m->next) {
    if (pthread_mutex_trylock(&m->lock) != 0) continue;
    if (mirror_inherit(m) && !m->orphan && engine_is_owner(mirror_engine(m)) && !mirror_is_current(m))
      (void)mirror_sync(m, true, 0);
    file_let_go(m);
    pthread_mutex_unlock(&m->lock);
  }
  pthread_mutex_unlock(&list_lock);
}

void mirror_look_when_due(hdb *db, int number) {
  struct mirror *m = db->databases[number].mirror;
  int64_t now = mirror_ticks();
  if (now >= atomic_load_explicit(&m->look_at, memory_order_relaxed)) look(db, number, m, now);
}
