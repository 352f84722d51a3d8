/* The SQLite side of app.db: opening, what the file says about itself, its stamp.
 *
 * A stamp is the row of _heliosdb(id, time, stamp, counter): which database the file belongs to, the commit time it
 * equals, a hash of both under a secret of that database, and what SQLite's file change counter is when the stamp's
 * own transaction has committed. Whoever commits after it moves the counter (not in WAL mode: there the -wal tells).
 *
 * S1  The counter is predicted inside of the transaction: SQLite adds one in each that is not in WAL mode. A wrong
 *     prediction costs a comparison of all rows, never a row.
 * S2  Nothing here opens the file but libsqlite3: closing another descriptor of it drops the process's locks.
 */
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sql/mirror_internal.h"

static int64_t nanoseconds(const struct timespec *t) { return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec; }

bool file_look_at(const char *path, file_look *out) {
  char name[PATH_MAX + 8];
  struct stat st;
  *out = (file_look){0};
  if (stat(path, &st) != 0) return false;
  out->size = st.st_size, out->mtime_ns = nanoseconds(&st.st_mtim), out->inode = (int64_t)st.st_ino;
  snprintf(name, sizeof name, "%s-wal", path);
  if (stat(name, &st) == 0 && st.st_size > 0) out->wal_size = st.st_size, out->wal_mtime_ns = nanoseconds(&st.st_mtim);
  return true;
}

bool file_look_same(const file_look *a, const file_look *b) {
  return a->size == b->size && a->mtime_ns == b->mtime_ns && a->inode == b->inode && a->wal_size == b->wal_size &&
         a->wal_mtime_ns == b->wal_mtime_ns;
}

status file_open(hdb *db, const char *path, int flags, int busy_ms, sqlite3 **out) {
  return file_open_with(db, path, flags, NULL, busy_ms, out);
}

status file_open_with(hdb *db, const char *path, int flags, const char *vfs, int busy_ms, sqlite3 **out) {
  int code = sqlite3_open_v2(path, out, flags, vfs);
  if (code != SQLITE_OK) {
    status rc = *out ? mirror_sqlite_error(db, *out, code) : error_set(&db->err, HDB_NOMEM, "out of memory");
    sqlite3_close(*out);
    *out = NULL;
    return rc;
  }
  sqlite3_busy_timeout(*out, busy_ms);
  return HDB_OK;
}

status file_open_existing(hdb *db, const char *path, int busy_ms, sqlite3 **out) {
  status rc = file_open(db, path, SQLITE_OPEN_READWRITE, busy_ms, out);
  if (rc == HDB_CANTOPEN || rc == HDB_READONLY) rc = file_open(db, path, SQLITE_OPEN_READONLY, busy_ms, out);
  return rc;
}

status file_open_immutable(hdb *db, const char *path, sqlite3 **out) {
  buf uri = BUF_INIT;
  buf_text(&uri, "file:");
  for (const char *p = path; *p; p++) {
    char escaped[4];
    snprintf(escaped, sizeof escaped, strchr("%?#", *p) ? "%%%02X" : "%c", (unsigned char)*p);
    buf_text(&uri, escaped);
  }
  buf_text(&uri, "?immutable=1");
  const char *name = buf_cstr(&uri);
  status rc = name ? file_open(db, name, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, 0, out) : error_set(&db->err, HDB_NOMEM, "out of memory");
  buf_free(&uri);
  return rc;
}

status file_run(hdb *db, sqlite3 *file, const char *sql) {
  return mirror_sqlite_error(db, file, sqlite3_exec(file, sql, NULL, NULL, NULL));
}

/* ---- the header, through SQLite's own descriptor ---- */
static bool header_read(sqlite3 *file, void *to, int n, int64_t at) {
  sqlite3_file *f = NULL;
  if (sqlite3_file_control(file, "main", SQLITE_FCNTL_FILE_POINTER, &f) != SQLITE_OK || !f || !f->pMethods) return false;
  return f->pMethods->xRead(f, to, n, at) == SQLITE_OK;
}

int64_t file_counter(sqlite3 *file) {
  uint8_t bytes[4];
  return header_read(file, bytes, 4, 24) ? get_be32(bytes) : 0;
}

static bool in_wal_mode(sqlite3 *file) {
  uint8_t version = 0;
  return header_read(file, &version, 1, 18) && version == 2;
}

/* The counter, and the head and length of the -wal where there is one. Its lock is not on that file, so it may be closed. */
static int64_t signature_of(const char *path, int64_t counter, bool wal) {
  char name[PATH_MAX + 8];
  uint8_t head[32] = {0};
  uint64_t hash = (uint64_t)counter;
  struct stat st;
  if (!wal) return counter;
  snprintf(name, sizeof name, "%s-wal", path);
  int fd = open(name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return counter;
  ssize_t n = pread(fd, head, sizeof head, 0);
  if (n == (ssize_t)sizeof head && fstat(fd, &st) == 0 && st.st_size > (off_t)sizeof head) {
    hash += (uint64_t)st.st_size << 32;
    for (size_t i = 0; i < sizeof head; i++) hash = (hash ^ head[i]) * 0x100000001b3ull;
  }
  close(fd);
  return (int64_t)(hash >> 1);
}

/* ---- the stamp ---- */
static int take_stamp(sqlite3_stmt *s, file_facts *out) {
  int code = sqlite3_step(s);
  if (code == SQLITE_ROW) {
    out->id = (uint64_t)sqlite3_column_int64(s, 0);
    out->time = sqlite3_column_int64(s, 1);
    out->stamp = (uint64_t)sqlite3_column_int64(s, 2);
    out->counter = sqlite3_column_int64(s, 3);
    code = SQLITE_DONE;
  }
  sqlite3_reset(s);
  return code;
}

static const char stamp_sql[] = "SELECT id, time, stamp, counter FROM _heliosdb";

static void look_at_head(const char *path, sqlite3 *file, file_facts *out) {
  out->wal = in_wal_mode(file);
  out->signature = signature_of(path, file_counter(file), out->wal);
}

static bool has_column(sqlite3 *file, const char *name) {
  return sqlite3_table_column_metadata(file, "main", "_heliosdb", name, NULL, NULL, NULL, NULL, NULL) == SQLITE_OK;
}

status file_read(hdb *db, const char *path, sqlite3 *file, file_facts *out) {
  sqlite3_stmt *s = NULL;
  *out = (file_facts){.counter = -1};
  int code = sqlite3_prepare_v2(file, stamp_sql, -1, &s, NULL);
  if (code ==
      SQLITE_ERROR) { /* no such table, or an older one; a damaged file or no database says so all the same */
    const char *sql = has_column(file, "stamp") ? "SELECT id, time, stamp, -1 FROM _heliosdb"
                                                : "SELECT 0, 0, 0, -1 FROM sqlite_schema LIMIT 1";
    code = sqlite3_prepare_v2(file, sql, -1, &s, NULL);
  }
  if (code != SQLITE_OK) return mirror_sqlite_error(db, file, code);
  code = take_stamp(s, out);
  status rc = mirror_sqlite_error(db, file, code);
  sqlite3_finalize(s);
  TRY(rc);
  look_at_head(path, file, out);
  return HDB_OK;
}

status file_read_again(hdb *db, const char *path, sqlite3 *file, sqlite3_stmt **kept, file_facts *out) {
  *out = (file_facts){.counter = -1};
  if (!*kept) (void)sqlite3_prepare_v3(file, stamp_sql, -1, SQLITE_PREPARE_PERSISTENT, kept, NULL);
  if (!*kept || take_stamp(*kept, out) != SQLITE_DONE) { /* not there, or not so: then what it is instead */
    sqlite3_finalize(*kept);
    *kept = NULL;
    return file_read(db, path, file, out);
  }
  look_at_head(path, file, out);
  return HDB_OK;
}

status file_put_stamp(hdb *db, sqlite3 *file, uint64_t id, int64_t time, uint64_t stamp, int64_t counter) {
  char sql[240];
  snprintf(sql, sizeof sql, "UPDATE _heliosdb SET id = %lld, time = %lld, stamp = %lld, counter = %lld", (long long)id, (long long)time,
           (long long)stamp, (long long)counter);
  if (sqlite3_exec(file, sql, NULL, NULL, NULL) == SQLITE_OK && sqlite3_changes(file) == 1) return HDB_OK;
  TRY(file_run(db, file,
               "DROP TABLE IF EXISTS _heliosdb; CREATE TABLE _heliosdb(id INTEGER, time INTEGER, stamp "
               "INTEGER, counter INTEGER)"));
  snprintf(sql, sizeof sql, "INSERT INTO _heliosdb VALUES(%lld, %lld, %lld, %lld)", (long long)id,
           (long long)time, (long long)stamp, (long long)counter);
  return file_run(db, file, sql);
}

int64_t file_header_number(sqlite3 *file, int64_t at) {
  uint8_t bytes[4];
  return header_read(file, bytes, 4, at) ? (int32_t)get_be32(bytes) : 0;
}

status file_leave_wal(hdb *db, sqlite3 *file) {
  sqlite3_stmt *s = NULL;
  int code = sqlite3_prepare_v2(file, "PRAGMA journal_mode = DELETE", -1, &s, NULL);
  if (code == SQLITE_OK) code = sqlite3_step(s);
  status rc = (code & 0xff) == SQLITE_BUSY ? HDB_OK : mirror_sqlite_error(db, file, code); /* then it stays in it */
  sqlite3_finalize(s);
  return rc;
}
