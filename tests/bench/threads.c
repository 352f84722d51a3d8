/* Writers in threads, beside stock SQLite in WAL mode in the same run.
 *
 *   bench_threads DIR [seconds a point] [pairs] [numbers of threads: 1,2,4,8,16] [full|off|both]
 *
 * Each thread has a connection and its own thousand rows; one commit is one `UPDATE t SET n = n + 1, s = ? WHERE id = ?`
 * in autocommit. For every number of threads the two sides alternate, `pairs` times; printed are each side's best commits
 * a second, the spread (worst / best), and the p99.9 and the slowest of all its commits. Afterwards every increment must
 * be in the table, or the program fails: a fast side that loses commits is not a result.
 * Controls, in the same run: the time of one fdatasync after an append on this disk, and how much a loop without memory
 * or locks gains from the same threads (the cores that really are there).
 */
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sql/hdb.h"

enum { ROWS_EACH = 1000, MOST_THREADS = 16, BUCKETS = 64 * 16 };

/* Latencies in logarithmic buckets, 16 for each power of two of nanoseconds: 6 % apart. */
typedef struct histogram {
  uint64_t count[BUCKETS], all;
  int64_t slowest;
} histogram;

static int bucket_of(int64_t ns) {
  uint64_t v = ns < 16 ? 16 : (uint64_t)ns;
  int top = 63 - __builtin_clzll(v);
  return top * 16 + (int)((v >> (top - 4)) & 15);
}

static double bucket_value(int b) {
  return (double)(1ull << (b / 16)) * (1.0 + (b % 16 + 1) / 16.0);
}

static double quantile(const histogram *h, double q) {
  uint64_t wanted = (uint64_t)(q * (double)h->all), seen = 0;
  for (int b = 0; b < BUCKETS; b++)
    if ((seen += h->count[b]) > wanted) return bucket_value(b);
  return (double)h->slowest;
}

static void add_histogram(histogram *to, const histogram *h) {
  for (int b = 0; b < BUCKETS; b++) to->count[b] += h->count[b];
  to->all += h->all;
  if (h->slowest > to->slowest) to->slowest = h->slowest;
}

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* One of the two engines: a connection with its statement. */
typedef struct side {
  const char *name;
  void *(*connect)(const char *path, bool full);
  int (*update)(void *connection, int64_t id, const char *text, int bytes); /* 0: committed */
  int64_t (*sum)(void *connection);
  void (*close)(void *connection);
} side;

static void die(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

#define UPDATE_TEXT "UPDATE t SET n = n + 1, s = ?2 WHERE id = ?1"
#define FILL_TEXT                                                                                            \
  "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, n INTEGER, s TEXT);"                                 \
  "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 16000)"                          \
  " INSERT OR IGNORE INTO t SELECT i, 0, printf('%060d', i) FROM c; UPDATE t SET n = 0 WHERE n <> 0"

typedef struct ours {
  hdb *db;
  hdb_stmt *update;
} ours;

static void *ours_connect(const char *path, bool full) {
  ours *o = calloc(1, sizeof *o);
  if (hdb_open(path, &o->db, HDB_OPEN_READWRITE | HDB_OPEN_CREATE) != HDB_OK) die(path, hdb_errmsg(o->db));
  hdb_busy_timeout(o->db, 60000);
  if (hdb_exec(o->db, full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=OFF", NULL, NULL, NULL) !=
          HDB_OK ||
      hdb_exec(o->db, "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, n INTEGER, s TEXT)", NULL, NULL,
               NULL) != HDB_OK ||
      hdb_prepare(o->db, UPDATE_TEXT, -1, HDB_PREPARE_PERSISTENT, &o->update, NULL) != HDB_OK)
    die("ours", hdb_errmsg(o->db));
  return o;
}

static int ours_update(void *connection, int64_t id, const char *text, int bytes) {
  ours *o = connection;
  hdb_bind_int64(o->update, 1, id);
  hdb_bind_text(o->update, 2, text, bytes, HDB_STATIC);
  int code = hdb_step(o->update);
  hdb_reset(o->update);
  return code == HDB_DONE ? 0 : code;
}

static int64_t ours_sum(void *connection) {
  hdb_stmt *s;
  int64_t n = -1;
  if (hdb_prepare(((ours *)connection)->db, "SELECT sum(n) FROM t", -1, 0, &s, NULL) == HDB_OK &&
      hdb_step(s) == HDB_ROW)
    n = hdb_column_int64(s, 0);
  hdb_finalize(s);
  return n;
}

static void ours_close(void *connection) {
  ours *o = connection;
  hdb_finalize(o->update);
  hdb_close(o->db);
  free(o);
}

typedef struct theirs {
  sqlite3 *db;
  sqlite3_stmt *update;
} theirs;

static void *theirs_connect(const char *path, bool full) {
  theirs *o = calloc(1, sizeof *o);
  if (sqlite3_open_v2(path, &o->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) !=
      SQLITE_OK)
    die(path, sqlite3_errmsg(o->db));
  sqlite3_busy_timeout(o->db, 60000);
  if (sqlite3_exec(o->db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL) != SQLITE_OK ||
      sqlite3_exec(o->db, full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=OFF", NULL, NULL, NULL) !=
          SQLITE_OK ||
      sqlite3_exec(o->db, "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, n INTEGER, s TEXT)", NULL,
                   NULL, NULL) != SQLITE_OK ||
      sqlite3_prepare_v3(o->db, UPDATE_TEXT, -1, SQLITE_PREPARE_PERSISTENT, &o->update, NULL) != SQLITE_OK)
    die("sqlite3", sqlite3_errmsg(o->db));
  return o;
}

static int theirs_update(void *connection, int64_t id, const char *text, int bytes) {
  theirs *o = connection;
  sqlite3_bind_int64(o->update, 1, id);
  sqlite3_bind_text(o->update, 2, text, bytes, SQLITE_STATIC);
  int code = sqlite3_step(o->update);
  sqlite3_reset(o->update);
  return code == SQLITE_DONE ? 0 : code;
}

static int64_t theirs_sum(void *connection) {
  sqlite3_stmt *s;
  int64_t n = -1;
  if (sqlite3_prepare_v2(((theirs *)connection)->db, "SELECT sum(n) FROM t", -1, &s, NULL) == SQLITE_OK &&
      sqlite3_step(s) == SQLITE_ROW)
    n = sqlite3_column_int64(s, 0);
  sqlite3_finalize(s);
  return n;
}

static void theirs_close(void *connection) {
  theirs *o = connection;
  sqlite3_finalize(o->update);
  sqlite3_close(o->db);
  free(o);
}

static const side sides[2] = {{"ours", ours_connect, ours_update, ours_sum, ours_close},
                              {"sqlite", theirs_connect, theirs_update, theirs_sum, theirs_close}};

typedef struct worker {
  const side *s;
  void *connection;
  int number;
  int64_t until, commits, errors;
  histogram latency;
} worker;

static pthread_barrier_t start;
static atomic_llong deadline;

static void *write_rows(void *context) {
  worker *w = context;
  char text[100];
  uint64_t random = (uint64_t)w->number * 0x9e3779b97f4a7c15u + 1;
  pthread_barrier_wait(&start);
  int64_t begin = now_ns(), until = atomic_load(&deadline);
  while (begin < until) {
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    int64_t id = (int64_t)w->number * ROWS_EACH + 1 + (int64_t)(random % ROWS_EACH);
    int n = snprintf(text, sizeof text, "%060llu", (unsigned long long)random);
    if (w->s->update(w->connection, id, text, n))
      w->errors++;
    else
      w->commits++;
    int64_t end = now_ns(), took = end - begin;
    w->latency.count[bucket_of(took)]++;
    w->latency.all++;
    if (took > w->latency.slowest) w->latency.slowest = took;
    begin = end;
  }
  return NULL;
}

static void *spin(void *context) {
  worker *w = context;
  volatile uint64_t x = (uint64_t)w->number;
  pthread_barrier_wait(&start);
  int64_t until = atomic_load(&deadline);
  while (now_ns() < until) {
    for (int i = 0; i < 1000; i++) x = x * 6364136223846793005u + 1;
    w->commits++;
  }
  return NULL;
}

/* Commits a second of `threads` threads; their latencies are added to h. */
static double run_point(const side *s, const char *path, bool full, int threads, double seconds, histogram *h,
                        int64_t *errors) {
  static worker workers[MOST_THREADS];
  pthread_t ids[MOST_THREADS];
  memset(workers, 0, sizeof workers);
  void *check = s ? s->connect(path, full) : NULL;
  int64_t before = s ? s->sum(check) : 0, commits = 0;
  for (int i = 0; i < threads; i++) {
    workers[i].s = s;
    workers[i].number = i;
    if (s) workers[i].connection = s->connect(path, full);
  }
  pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
  for (int i = 0; i < threads; i++) pthread_create(&ids[i], NULL, s ? write_rows : spin, &workers[i]);
  int64_t begin = now_ns();
  atomic_store(&deadline, begin + (int64_t)(seconds * 1e9));
  pthread_barrier_wait(&start);
  for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  double took = (double)(now_ns() - begin) / 1e9;
  pthread_barrier_destroy(&start);
  for (int i = 0; i < threads; i++) {
    commits += workers[i].commits;
    *errors += workers[i].errors;
    add_histogram(h, &workers[i].latency);
    if (s) s->close(workers[i].connection);
  }
  if (s) {
    int64_t after = s->sum(check);
    if (after - before != commits) {
      fprintf(stderr, "%s: %lld commits, %lld increments in the table\n", s->name, (long long)commits,
              (long long)(after - before));
      exit(1);
    }
    s->close(check);
  }
  return (double)commits / took;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double fdatasync_us(const char *dir) {
  char path[4096], page[4096] = {1};
  snprintf(path, sizeof path, "%s/fdatasync", dir);
  int f = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
  double took[200];
  for (int i = 0; i < 200; i++) {
    int64_t begin = now_ns();
    if (write(f, page, sizeof page) != sizeof page || fdatasync(f)) die(path, "cannot be synced");
    took[i] = (double)(now_ns() - begin) / 1e3;
  }
  close(f);
  unlink(path);
  qsort(took, 200, sizeof *took, by_value);
  return took[100];
}

static void fill(const char *ours_path, const char *theirs_path) {
  ours *o = ours_connect(ours_path, false);
  theirs *t = theirs_connect(theirs_path, false);
  if (hdb_exec(o->db, FILL_TEXT, NULL, NULL, NULL) != HDB_OK) die(ours_path, hdb_errmsg(o->db));
  if (sqlite3_exec(t->db, FILL_TEXT, NULL, NULL, NULL) != SQLITE_OK) die(theirs_path, sqlite3_errmsg(t->db));
  ours_close(o);
  theirs_close(t);
}

/* One line a number of threads; fills rates with the best of ours by threads. */
static void sweep(const char *const paths[2], bool full, double seconds, int pairs, const char *counts) {
  printf("\nsynchronous=%s\n%7s %10s %6s %10s %6s %6s %8s %11s %11s %11s %11s %7s\n", full ? "FULL" : "OFF",
         "threads", "ours/s", "spread", "sqlite/s", "spread", "ratio", "gain", "ours p99.9", "sqlite",
         "ours worst", "sqlite", "errors");
  double one = 0;
  while (*counts) {
    char *rest;
    int threads = (int)strtol(counts, &rest, 10);
    if (threads < 1 || threads > MOST_THREADS) die(counts, "1 to 16 threads");
    counts = *rest ? rest + 1 : rest;
    double best[2] = {0}, worst[2] = {1e30, 1e30};
    static histogram h[2];
    memset(h, 0, sizeof h);
    int64_t errors[2] = {0};
    for (int p = 0; p < pairs; p++)
      for (int k = 0; k < 2; k++) {
        int which = (k + p) % 2;
        double rate =
            run_point(&sides[which], paths[which], full, threads, seconds, &h[which], &errors[which]);
        if (rate > best[which]) best[which] = rate;
        if (rate < worst[which]) worst[which] = rate;
      }
    if (one == 0) one = best[0];
    printf("%7d %10.0f %6.2f %10.0f %6.2f %6.2f %8.2f %8.0f us %8.0f us %8.1f ms %8.1f ms %3lld/%lld\n",
           threads, best[0], worst[0] / best[0], best[1], worst[1] / best[1], best[0] / best[1],
           best[0] / one, quantile(&h[0], 0.999) / 1e3, quantile(&h[1], 0.999) / 1e3,
           (double)h[0].slowest / 1e6, (double)h[1].slowest / 1e6, (long long)errors[0],
           (long long)errors[1]);
    fflush(stdout);
  }
}

int main(int count, char **arguments) {
  if (count < 2)
    return fprintf(stderr, "usage: %s DIR [seconds a point] [pairs] [threads,...] [full|off|both]\n",
                   arguments[0]),
           2;
  double seconds = count > 2 ? atof(arguments[2]) : 0.5;
  int pairs = count > 3 ? atoi(arguments[3]) : 7;
  const char *counts = count > 4 ? arguments[4] : "1,2,4,8,16", *which = count > 5 ? arguments[5] : "both";
  char ours_path[4096], theirs_path[4096];
  snprintf(ours_path, sizeof ours_path, "%s/ours.db", arguments[1]);
  snprintf(theirs_path, sizeof theirs_path, "%s/sqlite.db", arguments[1]);
  histogram none = {0};
  int64_t no_errors = 0;
  double single = run_point(NULL, NULL, false, 1, 0.3, &none, &no_errors);
  printf("control: one fdatasync %.0f us; a bare loop gains", fdatasync_us(arguments[1]));
  for (int n = 2; n <= MOST_THREADS; n *= 2)
    printf(" %.2f (%d)", run_point(NULL, NULL, false, n, 0.3, &none, &no_errors) / single, n);
  printf("\n");
  fill(ours_path, theirs_path);
  const char *const paths[2] = {ours_path, theirs_path};
  if (strcmp(which, "off") != 0) sweep(paths, true, seconds, pairs, counts);
  if (strcmp(which, "full") != 0) sweep(paths, false, seconds, pairs, counts);
  return 0;
}
