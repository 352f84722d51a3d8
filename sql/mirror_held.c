/* The connection to app.db that is kept for a while after its work, and the journal that is kept with it.
 *
 * A program that connects for each request makes us write app.db at each close. Opening the file, reading its schema,
 * and making, syncing into its folder and deleting a journal cost more than the rows. So where writes come thick and fast
 * (OFTEN of them, none HELD_MS after the one before) the connection stays, and with it the journal: its head is
 * overwritten with zeros and synced instead of its being deleted (SQLite's PERSIST). Both go when nothing was written for
 * HELD_MS: at the keeper's hand, or at exit. A program that writes now and then never finds a journal beside its file.
 *
 * H1  Kept is a connection whose file is the one the name leads to (device and inode) and looks as we left it: then its
 *     pages in memory are the file's. Otherwise it is closed, and another one opened.
 * H2  It holds no lock while it is kept, and is used under m->lock alone.
 * H3  A commit's note is written after its journal is invalid on the disk: a note that survives a power cut never names
 *     a time that the file goes back from. (A deleted journal may come back, its deletion is not synced; one of zeros
 *     is nothing.)
 * H4  A journal that this connection has made, and whose folder was synced with it, is opened again without being made,
 *     which spares syncing the folder. Any other is opened as SQLite wishes.
 * H5  A forked child leaves it to its parent.
 */
#include <sqlite3.h>
#include <stdlib.h>
#include <unistd.h>

#include "sql/mirror_internal.h"

enum { OFTEN = 8 };

/* ---- the VFS: SQLite's own, but for H4 ---- */

static int (*base_open)(sqlite3_vfs *, sqlite3_filename, sqlite3_file *, int, int *);
static sqlite3_vfs ours;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Thread_local struct mirror *at_work;

static int open_file(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *out, int flags, int *out_flags) {
  struct mirror *m = at_work;
  struct stat st;
  bool makes = m && (flags & SQLITE_OPEN_MAIN_JOURNAL) && (flags & SQLITE_OPEN_CREATE);
  if (makes && m->journal && stat(name, &st) == 0 && st.st_ino == m->journal &&
      base_open(v, name, out, flags & ~SQLITE_OPEN_CREATE, out_flags) == SQLITE_OK)
    return SQLITE_OK;
  int code = base_open(v, name, out, flags, out_flags);
  if (makes) m->journal = 0, m->journal_made = code == SQLITE_OK && stat(name, &st) == 0 ? st.st_ino : 0;
  return code;
}

static void make_vfs(void) {
  sqlite3_vfs *unix_vfs = sqlite3_vfs_find("unix");
  if (!unix_vfs) return;
  ours = *unix_vfs;
  base_open = ours.xOpen;
  ours.xOpen = open_file;
  ours.zName = "heliosdb-unix";
  ours.pNext = NULL;
  if (sqlite3_vfs_register(&ours, 0) != SQLITE_OK) base_open = NULL;
}

/* ---- the connection ---- */

static void close_held(struct mirror *m) {
  schema_release(m->schema);
  m->schema = NULL;
  sqlite3_finalize(m->read_stamp);
  sqlite3_close(m->held);
  m->held = NULL, m->read_stamp = NULL;
  m->held_ready = false;
  m->journal = m->journal_made = 0;
}

status file_take(struct mirror *m, const file_look *look, int busy_ms, sqlite3 **out) {
  struct stat st;
  pthread_once(&once, make_vfs);
  if (m->held && (!file_look_same(look, &m->note.look) || stat(m->path, &st) != 0 ||
                  st.st_dev != m->held_device || st.st_ino != m->held_inode)) /* H1 */
    close_held(m);
  at_work = m;
  if (!m->held) {
    status rc = file_open_with(m->own, m->path, SQLITE_OPEN_READWRITE, base_open ? ours.zName : NULL, busy_ms,
                               &m->held);
    if (rc == HDB_CANTOPEN || rc == HDB_READONLY)
      rc = file_open(m->own, m->path, SQLITE_OPEN_READONLY, busy_ms, &m->held);
    if (rc != HDB_OK) {
      at_work = NULL;
      return rc;
    }
    rc = mirror_export_prepare(m->own, m->held);
    if (rc != HDB_OK) {
      close_held(m);
      at_work = NULL;
      return rc;
    }
    bool there = stat(m->path, &st) == 0;
    m->held_device = there ? st.st_dev : 0, m->held_inode = there ? st.st_ino : 0;
  }
  sqlite3_busy_timeout(m->held, busy_ms);
  *out = m->held;
  return HDB_OK;
}

status file_make_ready(struct mirror *m) {
  if (m->held_ready) return HDB_OK;
  int code = sqlite3_exec(m->held, "PRAGMA synchronous = FULL; PRAGMA journal_mode = PERSIST", NULL, NULL, NULL);
  m->held_ready = code == SQLITE_OK;
  return (code & 0xff) == SQLITE_BUSY ? HDB_OK : mirror_sqlite_error(m->own, m->held, code); /* or it stays in WAL mode */
}

static void drop_journal(struct mirror *m) {
  if (!m->held_ready) return;
  sqlite3_exec(m->held, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
  m->held_ready = false;
  m->journal = m->journal_made = 0;
}

void file_give(struct mirror *m, bool keep, bool wrote) {
  int64_t now = mirror_ticks();
  if (!sqlite3_get_autocommit(m->held)) sqlite3_exec(m->held, "ROLLBACK", NULL, NULL, NULL);
  sqlite3_progress_handler(m->held, 0, NULL, NULL);
  if (wrote) {
    m->held_often = m->held_at && now - m->held_at < HELD_MS ? m->held_often + 1 : 0;
    m->held_at = now;
  }
  if (wrote && m->journal_made)
    m->journal = m->journal_made, m->journal_made = 0; /* H4: committed, so it was synced */
  if (!keep || m->held_often < OFTEN) {
    drop_journal(m);
    close_held(m);
  }
  at_work = NULL;
}

/* The name may lead to another file by now, whose journal is none of ours. */
void file_let_go(struct mirror *m) {
  struct stat st;
  if (!m->held) return;
  if (stat(m->path, &st) == 0 && st.st_dev == m->held_device && st.st_ino == m->held_inode) drop_journal(m);
  close_held(m);
}

int64_t file_let_go_when_due(struct mirror *m, int64_t now) {
  if (!m->held) return 0;
  int64_t left = m->held_at + HELD_MS - now;
  if (left > 0) return left;
  file_let_go(m);
  return 0;
}
