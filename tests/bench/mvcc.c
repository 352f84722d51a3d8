/* mvcc alone, in memory and on disk: one JSON line a figure. usage: bench_mvcc [memory|disk] [rows] */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "kv/base/key.h"
#include "kv/base/record.h"
#include "mvcc/mvcc.h"

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}
static void must(status rc) {
  if (rc == HDB_OK) return;
  fprintf(stderr, "status %d\n", rc);
  exit(1);
}
static void say(const char *where, const char *what, double ns) {
  printf("{\"where\": \"%s\", \"what\": \"%s\", \"ns\": %.1f}\n", where, what, ns);
  fflush(stdout);
}

static const char *where;
static engine *e;
static txn *t;
static record_writer w;
static uint64_t seed = 1;
static int64_t any(int64_t n) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (int64_t)((seed >> 33) % (uint64_t)n);
}
static slice row_of(int64_t id) {
  record_begin(&w);
  record_null(&w);
  record_text(&w, "some text that is here in each of the rows", 42);
  record_int(&w, id * 3);
  record_real(&w, 1.5);
  record_text(&w, "and more of it, so that it is a hundred", 30);
  return record_end(&w);
}
static slice key_of(int64_t id) {
  static uint8_t k[8];
  rowid_encode(k, id);
  return slice_of(k, 8);
}

static void load(uint32_t tree, int64_t n) {
  double start = now();
  must(txn_begin(t, TXN_READ, 0));
  for (int64_t i = 1; i <= n; i++) must(txn_put(t, tree, key_of(i), row_of(i), PUT_INSERT));
  double put = now();
  must(txn_commit(t, 0, NULL));
  say(where, "insert, one transaction: put", (put - start) / (double)n);
  say(where, "insert, one transaction: commit", (now() - put) / (double)n);
}

static void scan(uint32_t tree, const char *what) {
  cursor *c;
  must(txn_begin(t, TXN_READ, 0));
  must(cursor_open(t, tree, 0, &c));
  int rounds = getenv("SCANS") ? atoi(getenv("SCANS")) : 2; /* more of them for a profile */
  for (int round = 0; round < rounds; round++) {
    int64_t n = 0, bytes = 0;
    double start = now();
    for (cursor_first(c); c->valid; cursor_next(c)) n++, bytes += (int64_t)(c->value.n + c->key.p[7]);
    if (round == rounds - 1) say(where, what, (now() - start) / (double)n);
    if (bytes == 1) puts("");
  }
  cursor_close(c);
  txn_rollback(t);
}

static void points(uint32_t tree, int64_t rows, int64_t span, const char *what) {
  cursor *c;
  must(txn_begin(t, TXN_READ, 0));
  must(cursor_open(t, tree, 0, &c));
  enum { N = 100000 };
  for (int round = 0; round < 2; round++) {
    double start = now();
    for (int i = 0; i < N; i++) {
      if (!cursor_find(c, key_of(1 + any(span < rows ? span : rows)))) must(HDB_NOTFOUND);
    }
    if (round) say(where, what, (now() - start) / N);
  }
  cursor_close(c);
  txn_rollback(t);
}

static void autocommits(uint32_t tree, int64_t from, int n, enum txn_sync sync, const char *what) {
  txn_set_sync(t, sync);
  double start = now();
  for (int i = 0; i < n; i++) {
    must(txn_begin(t, TXN_READ, 0));
    must(txn_put(t, tree, key_of(from + i), row_of(i), PUT_INSERT));
    must(txn_commit(t, 0, NULL));
  }
  say(where, what, (now() - start) / n);
}

static void updates(uint32_t tree, int64_t rows, int n, const char *what) {
  cursor *c;
  must(cursor_open(t, tree, 0, &c));
  txn_set_sync(t, TXN_SYNC_OFF);
  double start = now();
  for (int i = 0; i < n; i++) {
    must(txn_begin(t, TXN_READ, 0));
    int64_t id = 1 + any(rows);
    if (!cursor_find(c, key_of(id))) must(HDB_NOTFOUND);
    cursor_reset(c);
    must(txn_put(t, tree, key_of(id), row_of(i), PUT_UPDATE));
    must(txn_commit(t, 0, NULL));
  }
  say(where, what, (now() - start) / n);
  cursor_close(c);
}

int main(int argc, char **argv) {
  bool disk = argc > 1 && argv[1][0] == 'd';
  int64_t rows = argc > 2 ? atoll(argv[2]) : 1000000;
  where = disk ? "disk" : "memory";
  char directory[] = "/tmp/helios-bench-XXXXXX", path[64], command[80];
  if (!mkdtemp(directory)) return 1;
  snprintf(path, sizeof path, "%s/db", directory);
  engine_options o = {.create = true, .retention = -1};
  double start = now();
  must(engine_open(disk ? path : NULL, &o, &e, NULL));
  say(where, "open", now() - start);
  must(txn_new(e, &t));
  txn_set_sync(t, TXN_SYNC_OFF);
  load(16, rows);
  scan(16, "scan, a row");
  points(16, rows, rows, "point read, anywhere");
  points(16, rows, 10000, "point read, among 10000");
  int n = disk ? 20000 : 100000;
  autocommits(17, 1, n, TXN_SYNC_OFF, "autocommit insert, ascending, unsynced");
  if (disk) autocommits(17, 10000000, 500, TXN_SYNC_FULL, "autocommit insert, synced");
  updates(16, rows, n, "find and update, anywhere, autocommit, unsynced");
  updates(16, 1000, n, "find and update, among 1000, autocommit, unsynced");
  scan(16, "scan after scattered updates, a row");
  txn_free(t);
  engine_close(e);
  snprintf(command, sizeof command, "rm -rf %s", directory);
  return system(command) != 0;
}
