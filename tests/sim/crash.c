/* Crashes of a whole database: committing writers, then kill -9, or the power cut in the middle of any write.
 *
 *   sim_crash kill|power ROUNDS [SEED [sealed|off]]      sealed: an encrypted database; off: nothing is synced (for kill)
 *
 * Four threads commit transactions that insert a row into two tables and count it in a third. What a COMMIT
 * acknowledged is noted in memory that outlives the process. After each crash the database is opened again and must
 * hold: per thread, rows 1..n without a gap in both tables, n in the counter, n at least what was acknowledged (and at
 * most one more), indexes equal to rows, integrity_check ok. `power` loses everything that was not synced.
 * Prints one line a failure and a closing line with the counts; exit 1 when one round failed.
 */
#include <dirent.h>
#include <ftw.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kv/fault.h"
#include "sql/hdb.h"

enum { WRITERS = 4 };
static struct shared {
  volatile int64_t acknowledged[WRITERS];
  volatile int ready;
} *shared;
static char path[256];
static uint64_t seed;
static bool sealed, unsynced;

static unsigned random_below(unsigned n) {
  seed = seed * 6364136223846793005ull + 1442695040888963407ull;
  return (unsigned)(seed >> 33) % n;
}

static int open_database(hdb **db, int flags) {
  hdb_settings settings = {.retention = NAN, .mirror = -1, .encryption_key = sealed ? "0123456789abcdef0123456789abcdef" : NULL};
  int rc = hdb_open_with(path, db, flags, &settings);
  return rc == HDB_OK && unsynced ? hdb_exec(*db, "PRAGMA synchronous=OFF", NULL, NULL, NULL) : rc;
}

static int64_t number(hdb *db, const char *sql) {
  hdb_stmt *s = NULL;
  int64_t n = -1;
  if (hdb_prepare(db, sql, -1, 0, &s, NULL) == HDB_OK && hdb_step(s) == HDB_ROW) n = hdb_column_int64(s, 0);
  else fprintf(stderr, "%s: %s\n", sql, hdb_errmsg(db));
  hdb_finalize(s);
  return n;
}

static int commit_one(hdb *db, int writer, int64_t i) {
  char sql[400];
  snprintf(sql, sizeof sql,
           "BEGIN; INSERT INTO a(w, i, pad) VALUES(%d, %lld, hex(randomblob(%lld))); INSERT INTO b VALUES(%d, %lld);"
           "UPDATE n SET n = n + 1 WHERE w = %d; COMMIT",
           writer, (long long)i, (long long)(i * 37 % 300), writer, (long long)i, writer);
  int rc = hdb_exec(db, sql, NULL, NULL, NULL);
  if (rc != HDB_OK && !hdb_get_autocommit(db)) hdb_exec(db, "ROLLBACK", NULL, NULL, NULL);
  return rc;
}

static void *write_rows(void *argument) {
  int writer = (int)(intptr_t)argument;
  hdb *db = NULL;
  if (open_database(&db, HDB_OPEN_READWRITE) != HDB_OK) return NULL;
  char sql[64];
  snprintf(sql, sizeof sql, "SELECT n FROM n WHERE w = %d", writer);
  int64_t i = number(db, sql);
  __atomic_fetch_add(&shared->ready, 1, __ATOMIC_SEQ_CST);
  for (int failures = 0; failures < 100;) {
    int rc = commit_one(db, writer, i + 1);
    if (rc == HDB_OK) shared->acknowledged[writer] = ++i, failures = 0;
    else if ((rc & 0xff) != HDB_BUSY) break;
    else failures++;
  }
  hdb_close(db);
  return NULL;
}

static void writers(bool power, int cut_at) {
  pthread_t threads[WRITERS];
  if (power) kv_fault_track(true);
  hdb *db = NULL;
  if (open_database(&db, HDB_OPEN_READWRITE | HDB_OPEN_CREATE) != HDB_OK) {
    fprintf(stderr, "open: %s\n", hdb_errmsg(db));
    _exit(3);
  }
  if (power) kv_fault_power_cut_at(cut_at);
  for (intptr_t w = 0; w < WRITERS; w++) pthread_create(&threads[w], NULL, write_rows, (void *)w);
  for (int w = 0; w < WRITERS; w++) pthread_join(threads[w], NULL);
  hdb_close(db);
}

static int remove_entry(const char *name, const struct stat *st, int flag, struct FTW *ftw) { return remove(name); }

static int create(void) {
  hdb *db = NULL;
  int rc = open_database(&db, HDB_OPEN_READWRITE | HDB_OPEN_CREATE);
  if (rc == HDB_OK)
    rc = hdb_exec(db,
                  "CREATE TABLE a(id INTEGER PRIMARY KEY, w INT, i INT, pad TEXT); CREATE INDEX a_w ON a(w, i); CREATE INDEX a_pad ON a(pad);"
                  "CREATE TABLE b(w INT, i INT, PRIMARY KEY(w, i)) WITHOUT ROWID; CREATE TABLE n(w INTEGER PRIMARY KEY, n INT);"
                  "INSERT INTO n VALUES(0, 0), (1, 0), (2, 0), (3, 0)", NULL, NULL, NULL);
  if (rc != HDB_OK) fprintf(stderr, "create: %s\n", hdb_errmsg(db));
  hdb_close(db);
  return rc;
}

static bool verify(int round) {
  hdb *db = NULL;
  bool good = true;
  if (open_database(&db, HDB_OPEN_READWRITE) != HDB_OK) {
    printf("round %d: cannot open: %s\n", round, hdb_errmsg(db));
    hdb_close(db);
    return false;
  }
  for (int w = 0; w < WRITERS; w++) {
    char sql[300];
    int64_t n[5];
    const char *asked[5] = {"SELECT n FROM n WHERE w = %d", "SELECT count(*) FROM a NOT INDEXED WHERE w = %d", "SELECT count(*) FROM b WHERE w = %d",
                            "SELECT count(DISTINCT i) FROM a INDEXED BY a_w WHERE w = %d", "SELECT coalesce(max(i), 0) FROM b WHERE w = %d"};
    for (int k = 0; k < 5; k++) {
      snprintf(sql, sizeof sql, asked[k], w);
      n[k] = number(db, sql);
    }
    int64_t told = shared->acknowledged[w];
    for (int k = 1; k < 5; k++) {
      if (n[k] == n[0]) continue;
      printf("round %d writer %d: %lld counted, %lld by: %s\n", round, w, (long long)n[0], (long long)n[k], asked[k]);
      good = false;
    }
    if (n[0] < told || n[0] > told + 1) {
      printf("round %d writer %d: %lld acknowledged, %lld there\n", round, w, (long long)told, (long long)n[0]);
      good = false;
    }
    shared->acknowledged[w] = n[0];
  }
  hdb_stmt *s = NULL;
  if (hdb_prepare(db, "PRAGMA integrity_check", -1, 0, &s, NULL) != HDB_OK || hdb_step(s) != HDB_ROW || strcmp(hdb_column_text(s, 0), "ok") != 0) {
    printf("round %d: integrity_check: %s\n", round, s ? hdb_column_text(s, 0) : hdb_errmsg(db));
    good = false;
  }
  hdb_finalize(s);
  hdb_close(db);
  return good;
}

/* Runs f in a child, so that no engine is shared with the next step. */
static int in_child(int (*f)(int), int argument) {
  int state = 0;
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    int rc = f(argument);
    fflush(stdout);
    _exit(rc);
  }
  waitpid(child, &state, 0);
  return WIFEXITED(state) ? WEXITSTATUS(state) : 100;
}
static int do_create(int unused) { return create() == HDB_OK ? 0 : 1; }
static int do_verify(int round) { return verify(round) ? 0 : 1; }
static int do_power(int cut_at) {
  writers(true, cut_at);
  kv_fault_power_back((uint64_t)cut_at);
  return 0;
}

static void crash_by_kill(void) {
  shared->ready = 0;
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    writers(false, 0);
    _exit(0);
  }
  while (shared->ready < WRITERS && waitpid(child, NULL, WNOHANG) == 0) usleep(200);
  usleep(random_below(60000)); /* the moment of the crash, not a wait for something */
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: sim_crash kill|power ROUNDS [SEED [sealed|off]]\n");
    return 2;
  }
  bool power = strcmp(argv[1], "power") == 0;
  int rounds = atoi(argv[2]), failed = 0;
  seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
  sealed = argc > 4 && strcmp(argv[4], "sealed") == 0;
  unsynced = argc > 4 && strcmp(argv[4], "off") == 0;
  char folder[] = "/tmp/helios-crash-XXXXXX";
  if (!mkdtemp(folder)) return 2;
  snprintf(path, sizeof path, "%s/crash.db", folder);
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED || in_child(do_create, 0) != 0) return 2;
  for (int round = 0; round < rounds; round++) {
    if (power) in_child(do_power, 20 + (int)random_below(400));
    else crash_by_kill();
    failed += in_child(do_verify, round) != 0;
  }
  int64_t commits = 0;
  for (int w = 0; w < WRITERS; w++) commits += shared->acknowledged[w];
  nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
  printf("%s%s: %d crashes over %lld commits: %d passed, %d failed\n", argv[1], sealed ? " sealed" : unsynced ? " off" : "", rounds, (long long)commits, rounds - failed, failed);
  return failed || commits == 0;
}
