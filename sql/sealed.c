/* Opening an encrypted database.
 *
 * The file says what it is by its first bytes, the directory by a file KEY, which is a copy of the header. What follows
 * from the two (given: a key was given):
 *
 *   file      directory   given                                  not given
 *   header    sealed      opens, or "the key is wrong"           "file is encrypted"
 *   header    other       "its directory is missing"             "file is encrypted"
 *   other     sealed      "a plain file stands in the place of the header"
 *   other     plain, none "is not encrypted: ... encrypt"        plain
 *   missing,  sealed      directory set aside, a new one         directory set aside, plain
 *   emptied   plain, none a new encrypted one                    plain
 *
 * S1  Nothing is written before the key is known to be right.
 * S2  The header stands before a byte is stored, and the directory with its KEY before the header; a directory that holds
 *     a file NEW was cut short before that and is begun again.
 * S3  app.db's header is the one that counts; a KEY that differs (a rekey cut short) is written anew from it.
 * S4  A secret that was right once is recognised by its mark, so scrypt runs once a process; the data key stays in memory
 *     until the process ends or the header changes.
 */
#include "kv/base/leave.h"
#include "sql/sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct sealed {
  char *path;
  bool known; /* a secret was right for `header` */
  struct stat seen; /* app.db when a connection was last opened, writable, with everything in order; st_ino 0: not */
  uint8_t header[CRYPT_HEADER], mark[32];
  crypt_key *key;
  struct sealed *next;
};
static struct sealed *all;
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER; /* the list, its entries, and opening */

static void after_fork_child(void) { pthread_mutex_init(&all_lock, NULL); }
static void watch_forks(void) { pthread_atfork(NULL, NULL, after_fork_child); }
static pthread_once_t forks_watched = PTHREAD_ONCE_INIT;

enum file_state { FILE_MISSING, FILE_EMPTY, FILE_HEADER, FILE_OTHER };
enum folder_state { FOLDER_NONE, FOLDER_PLAIN, FOLDER_SEALED };

/* ---- files ---- */

bool sealed_names_of(const char *path, sealed_names *out) {
  if (strlen(path) + 32 > sizeof out->directory) return false;
  snprintf(out->directory, sizeof out->directory, "%s-helios", path);
  snprintf(out->key, sizeof out->key, "%s/KEY", out->directory);
  snprintf(out->fresh, sizeof out->fresh, "%s.new", out->directory);
  snprintf(out->marker, sizeof out->marker, "%s/CONVERTING", out->directory);
  return true;
}

static bool exists(const char *path) {
  struct stat st;
  return stat(path, &st) == 0;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw) { return remove(path); }
void sealed_remove(const char *directory) { nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS); }

status sealed_io_status(void) {
  if (errno == ENOSPC || errno == EDQUOT) return HDB_FULL;
  return errno == EACCES || errno == EROFS || errno == EPERM ? HDB_CANTOPEN : HDB_IOERR;
}

status sealed_sync_folder(const char *path) {
  char folder[PATH_MAX];
  snprintf(folder, sizeof folder, "%s", path);
  char *slash = strrchr(folder, '/');
  if (slash) slash[slash == folder] = 0;
  int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return sealed_io_status();
  status rc = fsync(fd) == 0 || errno == EINVAL ? HDB_OK : HDB_IOERR_FSYNC;
  close(fd);
  return rc;
}

status sealed_write_file(const char *path, const void *p, size_t n) {
  char name[PATH_MAX + 16];
  struct stat st;
  snprintf(name, sizeof name, "%s.tmp", path);
  int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, stat(path, &st) == 0 ? st.st_mode & 0777 : 0644);
  if (fd < 0) return sealed_io_status();
  status rc = write(fd, p, n) == (ssize_t)n ? HDB_OK : sealed_io_status();
  if (rc == HDB_OK && fsync(fd) != 0) rc = HDB_IOERR_FSYNC;
  close(fd);
  if (rc == HDB_OK && rename(name, path) != 0) rc = sealed_io_status();
  if (rc != HDB_OK) unlink(name);
  return rc == HDB_OK ? sealed_sync_folder(path) : rc;
}

static bool read_header(const char *path, uint8_t header[CRYPT_HEADER], ssize_t *n) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  *n = 0;
  if (fd < 0) return false;
  *n = read(fd, header, CRYPT_HEADER);
  close(fd);
  return *n == CRYPT_HEADER && crypt_is_header(header, CRYPT_HEADER);
}

static enum file_state file_state(const char *path, uint8_t header[CRYPT_HEADER]) {
  struct stat st;
  ssize_t n;
  if (stat(path, &st) != 0) return FILE_MISSING;
  if (S_ISREG(st.st_mode) && st.st_size == 0) return FILE_EMPTY;
  /* a plain database is SQLite's to read: another descriptor of ours would drop its locks, so not longer ones */
  return S_ISREG(st.st_mode) && st.st_size == CRYPT_HEADER && read_header(path, header, &n) ? FILE_HEADER : FILE_OTHER;
}

static enum folder_state folder_state(const sealed_names *names) {
  return !exists(names->directory) ? FOLDER_NONE : exists(names->key) ? FOLDER_SEALED : FOLDER_PLAIN;
}

/* ---- conversions cut short ---- */

/* The marker stands in the directory that is the right one; the file beside it follows. */
status sealed_finish(hdb *db, const char *path, const sealed_names *names) {
  char fresh_marker[4200], name[4112];
  uint8_t header[CRYPT_HEADER];
  ssize_t n;
  snprintf(fresh_marker, sizeof fresh_marker, "%s/CONVERTING", names->fresh);
  if (!exists(names->directory) && exists(fresh_marker) && rename(names->fresh, names->directory) != 0) return sealed_fail(db, sealed_io_status());
  if (!exists(names->marker)) return HDB_OK;
  status rc;
  if (exists(names->key)) rc = read_header(names->key, header, &n) ? sealed_write_file(path, header, CRYPT_HEADER) : HDB_CORRUPT;
  else rc = sealed_write_file(path, "", 0);
  if (rc == HDB_OK && unlink(names->marker) != 0 && errno != ENOENT) rc = sealed_io_status();
  if (rc == HDB_OK) rc = sealed_sync_folder(names->marker);
  if (rc != HDB_OK) return sealed_fail(db, rc);
  sealed_remove(names->fresh);
  snprintf(name, sizeof name, "%s.old", names->directory);
  sealed_remove(name);
  return HDB_OK;
}

/* ---- the list ---- */

static struct sealed *entry_of(const char *path) {
  for (struct sealed *s = all; s; s = s->next)
    if (strcmp(s->path, path) == 0) return s;
  struct sealed *s = calloc(1, sizeof *s);
  if (!s || !(s->path = strdup(path))) {
    free(s);
    return NULL;
  }
  s->next = all;
  all = s;
  return s;
}

static void entry_learn(struct sealed *s, const uint8_t header[CRYPT_HEADER], const crypt_secret *secret, crypt_key *key) {
  crypt_key_release(s->key);
  s->key = key;
  memcpy(s->header, header, CRYPT_HEADER);
  crypt_secret_mark(secret, s->mark);
  s->known = true;
}

/* Is the secret right for the header? (S4) */
static status entry_check(hdb *db, struct sealed *s, const uint8_t header[CRYPT_HEADER], const crypt_secret *secret) {
  uint8_t mark[32];
  crypt_key *key;
  crypt_secret_mark(secret, mark);
  if (s->known && memcmp(s->header, header, CRYPT_HEADER) == 0 && memcmp(s->mark, mark, sizeof mark) == 0) return HDB_OK;
  leave_before_wait();
  status rc = crypt_unwrap(header, secret, &key);
  if (rc == HDB_AUTH) return error_set(&db->err, rc, "file is encrypted and the key is wrong, or its header is damaged");
  if (rc == HDB_FORMAT) return error_set(&db->err, HDB_CANTOPEN, "the file was encrypted by a newer version of this program");
  if (rc != HDB_OK) return sealed_fail(db, rc);
  entry_learn(s, header, secret, key);
  return HDB_OK;
}

/* ---- opening ---- */

typedef struct opening {
  hdb *db;
  int number;
  const char *path;
  sealed_names names;
  unsigned flags;
  bool read_only; /* the folder cannot be written */
  const crypt_secret *secret;
  double retention;
  int mirror;
  uint8_t header[CRYPT_HEADER];
} opening;

static status attach(opening *o, struct sealed *s, bool create) {
  database *d = &o->db->databases[o->number];
  engine_options options = {.create = create, .retention = isnan(o->retention) ? -1 : o->retention, .linger_ms = 3000, .key = s->key, .read_only = o->read_only,
                            .network = o->db->network};
  status rc = engine_open(o->names.directory, &options, &d->engine, &o->db->err);
  if (rc != HDB_OK) return rc;
  rc = txn_new(d->engine, &d->txn);
  if (rc == HDB_OK && !(d->filename = strdup(o->path))) rc = HDB_NOMEM;
  if (rc != HDB_OK) {
    txn_free(d->txn);
    engine_close(d->engine);
    d->engine = NULL, d->txn = NULL;
    return sealed_fail(o->db, rc);
  }
  d->read_only = o->read_only || (o->flags & HDB_OPEN_READONLY);
  d->sealed = s;
  return HDB_OK;
}

/* S3 */
static void repair_copy(opening *o) {
  uint8_t copy[CRYPT_HEADER];
  ssize_t n;
  if (o->read_only || (read_header(o->names.key, copy, &n) && memcmp(copy, o->header, CRYPT_HEADER) == 0)) return;
  sealed_write_file(o->names.key, o->header, CRYPT_HEADER); /* the next open tries again */
}

static status open_existing(opening *o) {
  struct sealed *s = entry_of(o->path);
  uint8_t copy[CRYPT_HEADER];
  char fresh[4128];
  ssize_t n;
  if (!s) return sealed_fail(o->db, HDB_NOMEM);
  TRY(entry_check(o->db, s, o->header, o->secret));
  if (read_header(o->names.key, copy, &n) && memcmp(crypt_header_id(copy), crypt_header_id(o->header), CRYPT_ID) != 0)
    return error_set(&o->db->err, HDB_ERROR, "%s is the header of another encrypted database than %s", o->path, o->names.directory);
  snprintf(fresh, sizeof fresh, "%s/NEW", o->names.directory);
  bool create = exists(fresh);
  TRY(attach(o, s, create));
  if (create) unlink(fresh);
  repair_copy(o);
  if (o->read_only || stat(o->path, &s->seen) != 0) s->seen.st_ino = 0;
  return HDB_OK;
}

/* S2. The directory is not there. */
static status open_new(opening *o, bool had_file) {
  struct sealed *s = entry_of(o->path);
  char fresh[4128];
  if (!s) return sealed_fail(o->db, HDB_NOMEM);
  crypt_key *key = crypt_key_new();
  if (!key) return sealed_fail(o->db, HDB_NOMEM);
  leave_before_wait();
  status rc = crypt_wrap(key, o->secret, o->header);
  if (rc != HDB_OK) {
    crypt_key_release(key);
    return sealed_fail(o->db, rc);
  }
  entry_learn(s, o->header, o->secret, key);
  snprintf(fresh, sizeof fresh, "%s/NEW", o->names.directory);
  rc = mkdir(o->names.directory, 0755) == 0 ? HDB_OK : sealed_io_status();
  if (rc != HDB_OK) return sealed_fail(o->db, rc);
  int fd = open(fresh, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  rc = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 ? HDB_OK : sealed_io_status();
  if (rc == HDB_OK) rc = sealed_write_file(o->names.key, o->header, CRYPT_HEADER);
  if (rc == HDB_OK) rc = sealed_write_file(o->path, o->header, CRYPT_HEADER);
  rc = rc == HDB_OK ? attach(o, s, true) : sealed_fail(o->db, rc);
  if (rc == HDB_OK) unlink(fresh);
  if (fd >= 0) close(fd);
  if (rc == HDB_OK) return HDB_OK;
  engine_close_lingering();
  sealed_remove(o->names.directory); /* nothing half-made stays */
  if (had_file) sealed_write_file(o->path, "", 0);
  else unlink(o->path);
  return rc;
}

/* A directory that belongs to no file any more is kept, the newest. One that another process is making is left alone. */
static status set_aside(opening *o) {
  char stale[4128], fresh[4128];
  snprintf(fresh, sizeof fresh, "%s/NEW", o->names.directory);
  int fd = open(fresh, O_RDWR | O_CLOEXEC);
  bool locked = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0;
  if (fd >= 0) close(fd);
  if (locked) return sealed_fail(o->db, HDB_BUSY);
  engine_close_lingering();
  snprintf(stale, sizeof stale, "%s.stale", o->names.directory);
  sealed_remove(stale);
  return rename(o->names.directory, stale) == 0 ? HDB_OK : sealed_fail(o->db, HDB_CANTOPEN);
}

static status foreign_file(opening *o) {
  return error_set(&o->db->err, HDB_ERROR, "%s is not the header of the encrypted database in %s: put the header back (%s is a copy), or move the directory away",
                   o->path, o->names.directory, o->names.key);
}

static status without_key(opening *o, enum file_state file, enum folder_state folder, bool *handled) {
  *handled = true;
  if (file == FILE_HEADER) return error_set(&o->db->err, HDB_AUTH, "file is encrypted: encryption_key or passphrase is needed");
  if (folder == FOLDER_SEALED && file == FILE_OTHER) return foreign_file(o);
  *handled = false;
  return folder == FOLDER_SEALED && file == FILE_EMPTY ? set_aside(o) : HDB_OK; /* missing: mirror.c's case */
}

static status with_key(opening *o, enum file_state file, enum folder_state folder) {
  if (o->mirror > 0) return error_set(&o->db->err, HDB_ERROR, "an encrypted database has no mirror: mirror=True cannot be given with a key");
  if (file == FILE_OTHER && folder == FOLDER_SEALED) return foreign_file(o);
  if (file == FILE_OTHER || (file == FILE_EMPTY && folder == FOLDER_PLAIN))
    return error_set(&o->db->err, HDB_ERROR, "%s is not encrypted: \"python -m heliosdb_sqlite encrypt\" encrypts it in place", o->path);
  if (file == FILE_HEADER && folder != FOLDER_SEALED)
    return error_set(&o->db->err, HDB_CANTOPEN, "%s is encrypted and its directory %s is missing", o->path, o->names.directory);
  if (file == FILE_HEADER) return open_existing(o);
  if (o->read_only || (file == FILE_MISSING && !(o->flags & HDB_OPEN_CREATE))) return sealed_fail(o->db, HDB_CANTOPEN);
  if (folder != FOLDER_NONE) TRY(set_aside(o));
  return open_new(o, file == FILE_EMPTY);
}

/* A program that connects for each request: the file is as it was, so nothing is read. */
static bool open_again(opening *o, status *rc) {
  struct stat now;
  uint8_t mark[32];
  struct sealed *s = all;
  while (s && strcmp(s->path, o->path) != 0) s = s->next;
  if (!s || !s->known || !s->seen.st_ino || stat(o->path, &now) != 0 || now.st_ino != s->seen.st_ino || now.st_dev != s->seen.st_dev ||
      now.st_size != s->seen.st_size || now.st_mtim.tv_sec != s->seen.st_mtim.tv_sec || now.st_mtim.tv_nsec != s->seen.st_mtim.tv_nsec)
    return false;
  crypt_secret_mark(o->secret, mark);
  if (memcmp(mark, s->mark, sizeof mark) != 0 || !exists(o->names.key)) return false;
  *rc = attach(o, s, false);
  return true;
}

static status open_locked(hdb *db, int number, const char *path, unsigned flags, bool immutable, const hdb_settings *settings, bool *handled) {
  opening o = {.db = db, .number = number, .path = path, .flags = flags, .retention = settings ? settings->retention : NAN, .mirror = settings ? settings->mirror : -1};
  *handled = false;
  if (!sealed_names_of(path, &o.names)) return HDB_OK; /* too long for any file: mirror.c says so */
  o.secret = &db->secret;
  bool given = crypt_secret_given(o.secret);
  status rc;
  if (given && !immutable && o.mirror <= 0 && open_again(&o, &rc)) {
    *handled = true;
    return rc;
  }
  TRY(sealed_finish(db, path, &o.names));
  char folder[PATH_MAX];
  snprintf(folder, sizeof folder, "%s", path);
  char *slash = strrchr(folder, '/');
  if (slash) slash[slash == folder] = 0;
  enum file_state file = file_state(path, o.header);
  enum folder_state is = folder_state(&o.names);
  o.read_only = immutable || access(folder, W_OK | X_OK) != 0 || (file != FILE_MISSING && access(path, W_OK) != 0);
  /* an attached database is encrypted when main is, unless it is a plain one already */
  if (given && !settings && (file == FILE_OTHER || (file == FILE_EMPTY && is == FOLDER_PLAIN)) && is != FOLDER_SEALED) return HDB_OK;
  if (!given) return without_key(&o, file, is, handled);
  *handled = true;
  return with_key(&o, file, is);
}

status sealed_open(hdb *db, int number, const char *path, unsigned flags, bool immutable, const hdb_settings *settings, bool *handled) {
  pthread_once(&forks_watched, watch_forks);
  pthread_mutex_lock(&all_lock);
  status rc = open_locked(db, number, path, flags, immutable, settings, handled);
  pthread_mutex_unlock(&all_lock);
  return rc;
}

void sealed_close(database *d) { d->sealed = NULL; }

/* ---- copies and other keys ---- */

status sealed_copy(hdb *db, int number, const char *path) {
  database *d = &db->databases[number];
  sealed_names names;
  if (!sealed_names_of(path, &names)) return sealed_fail(db, HDB_CANTOPEN);
  if (exists(names.directory)) return error_set(&db->err, HDB_ERROR, "output file already exists");
  status rc = engine_is_owner(d->engine) ? engine_copy(d->engine, names.directory) : engine_copy_as(d->engine, names.directory, d->sealed->key);
  if (rc == HDB_OK) rc = sealed_write_file(names.key, d->sealed->header, CRYPT_HEADER);
  if (rc == HDB_OK) rc = sealed_write_file(path, d->sealed->header, CRYPT_HEADER);
  if (rc == HDB_OK) return HDB_OK;
  sealed_remove(names.directory);
  return sealed_fail(db, rc);
}

static status rekey_locked(hdb *db, int number, const crypt_secret *secret) {
  database *d = &db->databases[number];
  struct sealed *s = d->sealed;
  sealed_names names;
  uint8_t header[CRYPT_HEADER];
  if (!s) return error_set(&db->err, HDB_ERROR, "the database is not encrypted: \"python -m heliosdb_sqlite encrypt\" encrypts it in place");
  if (!crypt_secret_given(secret)) return error_set(&db->err, HDB_ERROR, "a new key is needed: \"python -m heliosdb_sqlite decrypt\" takes the encryption away");
  if (d->read_only) return error_set(&db->err, HDB_READONLY, "attempt to write a readonly database");
  if (!sealed_names_of(s->path, &names)) return sealed_fail(db, HDB_CANTOPEN);
  leave_before_wait();
  status rc = crypt_wrap(s->key, secret, header);
  if (rc == HDB_OK) rc = sealed_write_file(s->path, header, CRYPT_HEADER);
  if (rc == HDB_OK) rc = sealed_write_file(names.key, header, CRYPT_HEADER);
  if (rc != HDB_OK) return sealed_fail(db, rc);
  memcpy(s->header, header, CRYPT_HEADER);
  crypt_secret_mark(secret, s->mark);
  if (number != DB_MAIN) return HDB_OK;
  crypt_secret_clear(&db->secret);
  return crypt_secret_copy(&db->secret, secret) ? HDB_OK : sealed_fail(db, HDB_NOMEM);
}

status sealed_rekey(hdb *db, int number, const crypt_secret *secret) {
  pthread_mutex_lock(&all_lock);
  status rc = rekey_locked(db, number, secret);
  pthread_mutex_unlock(&all_lock);
  return rc;
}
