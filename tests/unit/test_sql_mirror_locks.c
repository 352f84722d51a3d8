/* Another copy of SQLite in our process, played by bare POSIX locks: it loses none of them, and we respect them. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sql/mirror_internal.h"

enum { RESERVED_BYTE = 0x40000001, SHARED_FIRST = 0x40000002, SHARED_SIZE = 510 }; /* where SQLite locks */
static char folder[64], path[128];

static void setup(void) {
  snprintf(folder, sizeof folder, "/tmp/helios_locks_XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/app.db", folder);
}
static void teardown(void) {
  char command[160];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  ck_assert_int_eq(system(command), 0);
}

static hdb *open_it(void) {
  hdb *db;
  ck_assert_int_eq(hdb_open(path, &db, HDB_OPEN_READWRITE | HDB_OPEN_CREATE), HDB_OK);
  return db;
}

static void run(hdb *db, const char *sql) {
  char *message = NULL;
  int rc = hdb_exec(db, sql, NULL, NULL, &message);
  ck_assert_msg(rc == HDB_OK, "%s: %s", sql, message);
}

static int lock_as_the_other(int type, off_t start, off_t n) {
  int fd = open(path, O_RDWR);
  struct flock f = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = n};
  ck_assert_int_ge(fd, 0);
  ck_assert_int_eq(fcntl(fd, F_SETLK, &f), 0);
  return fd;
}

/* What a third process finds there. */
static bool is_locked(off_t start) {
  int state = 0;
  pid_t child = fork();
  if (child == 0) {
    struct flock f = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = 1};
    int fd = open(path, O_RDWR);
    _exit(fd < 0 || fcntl(fd, F_GETLK, &f) != 0 ? 2 : f.l_type != F_UNLCK);
  }
  ck_assert_int_eq(waitpid(child, &state, 0), child);
  ck_assert(WIFEXITED(state) && WEXITSTATUS(state) < 2);
  return WEXITSTATUS(state) == 1;
}

/* Looks into the file: its time has moved. */
static void open_and_close(int times) {
  for (int i = 0; i < times; i++) {
    struct timespec when[2] = {{.tv_sec = 1000 + i}, {.tv_sec = 1000 + i}};
    ck_assert_int_eq(utimensat(AT_FDCWD, path, when, 0), 0);
    hdb *db = open_it();
    run(db, "SELECT count(*) FROM t");
    hdb_close(db);
  }
}

static void make(void) {
  hdb *db = open_it();
  run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(1)");
  hdb_close(db);
}

START_TEST(without_care_a_close_drops_the_others_lock) { /* what the next one is worth */
  make();
  int fd = lock_as_the_other(F_WRLCK, RESERVED_BYTE, 1);
  ck_assert(is_locked(RESERVED_BYTE));
  open_and_close(1);
  ck_assert(!is_locked(RESERVED_BYTE));
  close(fd);
}
END_TEST

START_TEST(no_lock_is_lost_in_a_thousand_opens_and_closes) {
  mirror_lock_by_description();
  make();
  int reserved = lock_as_the_other(F_WRLCK, RESERVED_BYTE, 1), shared = lock_as_the_other(F_RDLCK, SHARED_FIRST, SHARED_SIZE);
  open_and_close(1000);
  ck_assert(is_locked(RESERVED_BYTE));
  ck_assert(is_locked(SHARED_FIRST));
  close(reserved);
  close(shared);
}
END_TEST

START_TEST(the_others_locks_hold_against_us) {
  mirror_lock_by_description();
  make();
  hdb *db = open_it();
  run(db, "INSERT INTO t VALUES(2)");
  int fd = lock_as_the_other(F_WRLCK, RESERVED_BYTE, 1);
  ck_assert_int_eq(hdb_checkpoint(db) & 0xff, HDB_BUSY);
  ck_assert(is_locked(RESERVED_BYTE));
  struct flock f = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
  ck_assert_int_eq(fcntl(fd, F_SETLK, &f), 0);
  ck_assert_int_eq(hdb_checkpoint(db), HDB_OK);
  ck_assert(!is_locked(RESERVED_BYTE) && !is_locked(SHARED_FIRST));
  hdb_close(db);
  close(fd);
}
END_TEST

START_TEST(a_forked_child_locks_for_itself) {
  mirror_lock_by_description();
  make();
  pid_t child = fork();
  if (child == 0) {
    hdb *db = NULL;
    char other[160];
    snprintf(other, sizeof other, "%s/child.db", folder);
    bool good = hdb_open(other, &db, HDB_OPEN_READWRITE | HDB_OPEN_CREATE) == HDB_OK && hdb_exec(db, "CREATE TABLE c(x)", NULL, NULL, NULL) == HDB_OK;
    hdb_close(db);
    _exit(good ? 0 : 1);
  }
  int state = 0;
  ck_assert_int_eq(waitpid(child, &state, 0), child);
  ck_assert(WIFEXITED(state) && WEXITSTATUS(state) == 0);
  open_and_close(3);
}
END_TEST

int main(void) {
  Suite *s = suite_create("mirror_locks");
  TCase *c = tcase_create("locks");
  tcase_add_checked_fixture(c, setup, teardown);
  tcase_set_timeout(c, 60);
  tcase_add_test(c, without_care_a_close_drops_the_others_lock);
  tcase_add_test(c, no_lock_is_lost_in_a_thousand_opens_and_closes);
  tcase_add_test(c, the_others_locks_hold_against_us);
#ifdef __SANITIZE_THREAD__ /* cannot follow a thread of a forked child that takes the id of one of the parent's */
  const bool threads_after_fork = false;
#else
  const bool threads_after_fork = true;
#endif
  if (threads_after_fork) tcase_add_test(c, a_forked_child_locks_for_itself);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_ENV);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
