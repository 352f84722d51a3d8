/* Two copies of SQLite in one process: ours, and the one behind the stock sqlite3 module.
 *
 * POSIX record locks belong to the process, and closing any descriptor of a file drops them all. Within one copy SQLite
 * keeps account of that; two copies know nothing of each other. Where the stock module uses the very library that we
 * do (the usual case on Linux distributions) there is nothing to do. Otherwise our copy is told to
 *   - lock by open-file-description locks, which conflict with everybody's POSIX locks, also those of this process, and
 *     are dropped with nothing but their own descriptor;
 *   - keep the descriptors of databases and their -shm files instead of closing them, for the next open of that file.
 *
 * L1  Our copy has a file open once at a time (the mirror's lock), so a lock is given back by the descriptor it was
 *     taken with.
 * L2  A descriptor is kept for a file as long as the name leads to it; of journals none is kept, nobody locks them.
 * L3  A forked child uses none of its parent's: an open file description, and so its locks, would be shared.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sql/mirror_internal.h"

typedef struct kept {
  struct kept *next;
  dev_t device;
  ino_t inode;
  int fd;
  bool used;
} kept;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static kept *all;

static int by_description(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void *p = va_arg(arguments, void *);
  va_end(arguments);
  if (command == F_SETLK || command == F_SETLKW || command == F_GETLK) {
    struct flock *f = p;
    f->l_pid = 0;
    command = command == F_GETLK ? F_OFD_GETLK : command == F_SETLK ? F_OFD_SETLK : F_OFD_SETLKW;
  }
  return fcntl(fd, command, p);
}

static bool is_locked_by_name(const char *path) {
  size_t n = strlen(path);
  return !(n > 8 && strcmp(path + n - 8, "-journal") == 0) && !(n > 4 && strcmp(path + n - 4, "-wal") == 0);
}

/* Under the lock: an unused descriptor of the file that the name leads to; L2: those of files that are gone are closed. */
static kept *find_kept(const char *path) {
  struct stat st, own;
  if (stat(path, &st) != 0) return NULL;
  kept *found = NULL;
  for (kept **at = &all; *at;) {
    kept *k = *at;
    bool gone = !k->used && (fstat(k->fd, &own) != 0 || own.st_nlink == 0);
    if (gone) {
      close(k->fd);
      *at = k->next;
      free(k);
      continue;
    }
    if (!k->used && k->device == st.st_dev && k->inode == st.st_ino) found = k;
    at = &k->next;
  }
  return found;
}

static int open_kept(const char *path, int flags, int mode) {
  if (flags & O_EXCL || !is_locked_by_name(path) || (flags & O_ACCMODE) != O_RDWR) return open(path, flags, mode);
  struct stat st;
  pthread_mutex_lock(&lock);
  kept *k = find_kept(path);
  if (k) {
    k->used = true;
    pthread_mutex_unlock(&lock);
    return k->fd;
  }
  pthread_mutex_unlock(&lock);
  int fd = open(path, flags, mode);
  k = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? malloc(sizeof *k) : NULL;
  if (!k) return fd;
  *k = (kept){.device = st.st_dev, .inode = st.st_ino, .fd = fd, .used = true};
  pthread_mutex_lock(&lock);
  k->next = all, all = k;
  pthread_mutex_unlock(&lock);
  return fd;
}

static int close_kept(int fd) {
  struct flock whole = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
  pthread_mutex_lock(&lock);
  kept *k = all;
  while (k && k->fd != fd) k = k->next;
  if (k) {
    (void)fcntl(fd, F_OFD_SETLK, &whole);
    k->used = false;
  }
  pthread_mutex_unlock(&lock);
  return k ? 0 : close(fd);
}

/* L3: the child's closing drops no lock of its parent's. */
static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork_parent(void) { pthread_mutex_unlock(&lock); }
static void after_fork_child(void) {
  for (kept *k = all, *next; k; k = next) {
    next = k->next;
    close(k->fd);
    free(k);
  }
  all = NULL;
  pthread_mutex_unlock(&lock);
}

static void install(void) {
  sqlite3_vfs *v = sqlite3_vfs_find("unix");
  if (!v || v->iVersion < 3 || !v->xSetSystemCall) return;
  pthread_atfork(before_fork, after_fork_parent, after_fork_child);
  v->xSetSystemCall(v, "fcntl", (sqlite3_syscall_ptr)by_description);
  v->xSetSystemCall(v, "open", (sqlite3_syscall_ptr)open_kept);
  v->xSetSystemCall(v, "close", (sqlite3_syscall_ptr)close_kept);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
void mirror_lock_by_description(void) { pthread_once(&once, install); }

void hdb_beside_sqlite(const char *module) {
  void *handle = dlopen(module, RTLD_LAZY | RTLD_NOLOAD);
  void *theirs = handle ? dlsym(handle, "sqlite3_open_v2") : NULL;
  if (theirs != (void *)sqlite3_open_v2) mirror_lock_by_description();
  if (handle) dlclose(handle);
}
