/* The past and branches beside the present: one JSON line a figure. usage: bench_time [directory] [rows]
 *
 * Every row of a table gets ten versions; scans and point reads AS OF are measured the first time (cold: nothing undone
 * is remembered) and repeated (warm, the best of nine), in CPU time of the thread, against the same statement on the present. Then one row with 10,000 versions, what
 * history takes on disk, and branches.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kv/base/key.h"
#include "mvcc/internal.h"
#include "sql/hdb.h"

enum {
  VERSIONS = 10,
  DEEP = 10000,
  POINTS = 2000,
  COLUMNS = 10,
  MERGES = 9,
  MERGE_ROWS = 100000,
  MERGE_CHANGES = 1000
};

static double now_us(void) {
  struct timespec ts;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts); /* machines are shared */
  return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static hdb *db;
static int rows = 20000;
static uint64_t seed = 7;

static int any(int n) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (int)((seed >> 33) % (uint64_t)n);
}

static void must(int rc, const char *what) {
  if (rc == HDB_OK || rc == HDB_ROW || rc == HDB_DONE) return;
  fprintf(stderr, "%s: %d %s\n", what, rc, db ? hdb_errmsg(db) : "");
  exit(1);
}

static void run(const char *sql) {
  must(hdb_exec(db, sql, NULL, NULL, NULL), sql);
}

static hdb_stmt *prepare(const char *sql) {
  hdb_stmt *s;
  must(hdb_prepare(db, sql, -1, 0, &s, NULL), sql);
  return s;
}

static void say(const char *what, double us, double of) {
  printf("{\"what\": \"%s\", \"us\": %.2f", what, us);
  if (of > 0) printf(", \"of_present\": %.2f", us / of);
  printf("}\n");
  fflush(stdout);
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double scan_once(hdb_stmt *s) {
  double start = now_us();
  must(hdb_step(s), "scan");
  if (hdb_column_int64(s, 0) != rows)
    fprintf(stderr, "a scan of %lld rows\n", (long long)hdb_column_int64(s, 0)), exit(1);
  must(hdb_step(s), "scan");
  double us = now_us() - start;
  hdb_reset(s);
  return us;
}

/* The first run and the best of nine after it, each against the present's. */
typedef struct pair {
  double first, again;
} pair;
static const pair nothing;

static pair scan_rows(const char *clause, const char *what, pair of) {
  char sql[256], name[128];
  snprintf(sql, sizeof sql, "SELECT count(*), sum(length(c3)) FROM t %s", clause);
  hdb_stmt *s = prepare(sql);
  double first = scan_once(s), us[9];
  for (int i = 0; i < 9; i++) us[i] = scan_once(s);
  hdb_finalize(s);
  qsort(us, 9, sizeof *us, compare);
  snprintf(name, sizeof name, "scan %s, first", what);
  say(name, first, of.first);
  snprintf(name, sizeof name, "scan %s", what);
  say(name, us[0], of.again);
  return (pair){first, us[0]};
}

static double points_once(hdb_stmt *s, int span) {
  double start = now_us();
  for (int i = 0; i < POINTS; i++) {
    hdb_bind_int64(s, 1, 1 + any(span));
    must(hdb_step(s), "point");
    must(hdb_step(s), "point");
    hdb_reset(s);
  }
  return (now_us() - start) / POINTS;
}

static pair points(const char *clause, const char *what, pair of) {
  char sql[256], name[128];
  snprintf(sql, sizeof sql, "SELECT c3 FROM t %s WHERE id = ?", clause);
  hdb_stmt *s = prepare(sql);
  double first = points_once(s, rows), us[9];
  for (int i = 0; i < 20; i++) points_once(s, rows);
  for (int i = 0; i < 9; i++) us[i] = points_once(s, rows);
  hdb_finalize(s);
  qsort(us, 9, sizeof *us, compare);
  snprintf(name, sizeof name, "point %s, first", what);
  say(name, first, of.first);
  snprintf(name, sizeof name, "point %s", what);
  say(name, us[0], of.again);
  return (pair){first, us[0]};
}

static void make_table(void) {
  run("CREATE TABLE t(id INTEGER PRIMARY KEY, c0 TEXT, c1 TEXT, c2 TEXT, c3 TEXT, c4 INT, c5 INT, c6 INT, c7 "
      "TEXT, c8 REAL)");
  char sql[512];
  snprintf(sql, sizeof sql,
           "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO t "
           "SELECT i, 'some text ' || i, "
           "hex(randomblob(5)), hex(randomblob(6)), hex(randomblob(6)), i, i * 7, i * 31, "
           "hex(randomblob(7)), i * 0.25 FROM n",
           rows);
  run(sql);
}

static void measure_past(void) {
  int64_t times[VERSIONS + 1];
  char clause[64], what[64], sql[128];
  times[0] = hdb_last_commit_timestamp(db);
  for (int i = 1; i <= VERSIONS; i++) {
    snprintf(sql, sizeof sql, "UPDATE t SET c3 = hex(randomblob(6)), c4 = %d", i);
    double start = now_us();
    run(sql);
    if (i == VERSIONS) say("update of every row, a row", (now_us() - start) / rows, 0);
    times[i] = hdb_last_commit_timestamp(db);
  }
  pair all = scan_rows("", "now", nothing), one = points("", "now", nothing);
  for (int back = 1; back <= VERSIONS; back += back == 1 ? 4 : 5) {
    snprintf(clause, sizeof clause, "AS OF SCN %lld", (long long)times[VERSIONS - back]);
    snprintf(what, sizeof what, "%d back", back);
    scan_rows(clause, what, all);
    points(clause, what, one);
  }
  snprintf(clause, sizeof clause, "AS OF SCN %lld", (long long)times[VERSIONS - 3]);
  points(clause, "3 back", one);
}

static void measure_deep(void) {
  hdb_stmt *s = prepare("UPDATE t SET c3 = hex(randomblob(6)) WHERE id = 77");
  int64_t then[4];
  run("PRAGMA synchronous = OFF");
  double start = now_us();
  for (int i = 0; i < DEEP; i++) {
    if (i % 1000 == 0 && i < 4000) then[i / 1000] = hdb_last_commit_timestamp(db);
    must(hdb_step(s), "update");
    hdb_reset(s);
  }
  say("update of one row, a commit", (now_us() - start) / DEEP, 0);
  hdb_finalize(s);
  char sql[128];
  for (int i = 0; i < 4; i++) { /* another time each, so that none is remembered */
    snprintf(sql, sizeof sql, "SELECT c3 FROM t AS OF SCN %lld WHERE id = 77", (long long)then[i]);
    s = prepare(sql);
    start = now_us();
    must(hdb_step(s), "deep");
    double us = now_us() - start;
    hdb_finalize(s);
    snprintf(sql, sizeof sql, "a row %d versions ago", DEEP - 1000 * i);
    say(sql, us, 0);
  }
}

static void measure_branches(void) {
  double start = now_us();
  run("CREATE DATABASE BRANCH b");
  say("create a branch", now_us() - start, 0);
  pair all = scan_rows("", "main", nothing), one = points("", "main", nothing);
  run("USE BRANCH b");
  scan_rows("", "on a fresh branch", all);
  points("", "on a fresh branch", one);
  run("USE BRANCH main");
  run("UPDATE t SET c3 = hex(randomblob(6))");
  all = scan_rows("", "main after changes", nothing), one = points("", "main after changes", nothing);
  run("USE BRANCH b");
  scan_rows("", "on a branch, every row of main changed since", all);
  points("", "on a branch, every row of main changed since", one);
  run("USE BRANCH main");
}

/* 1,000 rows changed on each side of a table of 100,000 with an index, scattered; one in four on both sides, in different
 * columns; merged into main, then the same again and main into the branch. */
static double merge_once(int k, const char *merge) {
  int step = MERGE_ROWS / MERGE_CHANGES;
  char sql[256];
  run("USE BRANCH side");
  snprintf(sql, sizeof sql, "UPDATE m SET b = hex(randomblob(5)), d = d + 1 WHERE id %% %d = %d", step, k);
  run(sql);
  run("USE BRANCH main");
  snprintf(sql, sizeof sql,
           "UPDATE m SET c = hex(randomblob(6)) WHERE id %% %d = CASE WHEN id %% %d < %d THEN %d ELSE %d END",
           step, 4 * step, step, k, k + 2 * MERGES);
  run(sql);
  double start = now_us();
  run(merge);
  return now_us() - start;
}

static void say_merges(const char *what, double *us) {
  double first = us[0];
  qsort(us, MERGES, sizeof *us, compare);
  printf("{\"what\": \"%s, %d rows a side in %d\", \"first_us\": %.0f, \"least_us\": %.0f, \"us\": %.0f, "
         "\"most_us\": "
         "%.0f}\n",
         what, MERGE_CHANGES, MERGE_ROWS, first, us[0], us[MERGES / 2], us[MERGES - 1]);
  fflush(stdout);
}

static void measure_merges(void) {
  double into_main[MERGES], from_main[MERGES];
  char sql[256];
  run("CREATE TABLE m(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT, d INT, e INT, f REAL, g TEXT)");
  snprintf(
      sql, sizeof sql,
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO m SELECT i, "
      "'some text ' || i, hex(randomblob(5)), hex(randomblob(6)), i, i * 7, i * 0.25, 'more' FROM n",
      MERGE_ROWS);
  run(sql);
  run("CREATE INDEX md ON m(d)");
  for (int k = 0; k < MERGES; k++) {
    run("CREATE DATABASE BRANCH side");
    into_main[k] = merge_once(2 * k, "MERGE BRANCH side INTO main");
    from_main[k] = merge_once(2 * k + 1, "MERGE BRANCH main INTO side");
    run("DROP BRANCH side");
  }
  say_merges("a branch merged into main", into_main);
  say_merges("main merged into the branch", from_main);
}

/* Single updates of one column in ten through mvcc alone, so that the family can be compacted and weighed. */
static slice row_of(record_writer *w, int64_t id, int version) {
  char text[64];
  record_begin(w);
  for (int c = 0; c < COLUMNS; c++) {
    int n =
        snprintf(text, sizeof text, "%012llx",
                 (unsigned long long)(id * 2654435761 + c * 40503 + (c == 3 ? version * 77777777777ll : 0)) *
                         0x9e3779b97f4a7c15u >>
                     16);
    record_text(w, text, (size_t)n);
  }
  return record_end(w);
}

/* What lies in the family: records, blocks, their bytes before compression. */
static void weigh(engine *e) {
  kv_iter *it;
  long records = 0, blocks = 0;
  size_t keys = 0, record_bytes = 0, block_bytes = 0;
  must(kv_iter_open(e->store, NULL, KV_VERSIONS, slice_of(NULL, 0), slice_of(NULL, 0), &it), "iterate");
  for (it->seek(it, slice_of("", 0)); it->valid; it->next(it)) {
    bool block = it->value.n && !it->value.p[0];
    keys += it->key.n;
    *(block ? &blocks : &records) += 1;
    *(block ? &block_bytes : &record_bytes) += it->value.n;
  }
  it->close(it);
  printf("{\"what\": \"history\", \"records\": %ld, \"record_bytes\": %zu, \"blocks\": %ld, \"block_bytes\": "
         "%zu, \"key_bytes\": %zu}\n",
         records, record_bytes, blocks, block_bytes, keys);
}

static void measure_bytes(const char *directory, int commit_rows) {
  char path[256], command[300];
  snprintf(path, sizeof path, "%s/bytes%d", directory, commit_rows);
  engine *e;
  txn *t;
  engine_options o = {.create = true, .retention = -1};
  must(engine_open(path, &o, &e, NULL), "open");
  must(txn_new(e, &t), "txn");
  txn_set_sync(t, TXN_SYNC_OFF);
  record_writer w = RECORD_WRITER_INIT;
  uint8_t k[8];
  int n = 5000;
  size_t changed = 0;
  for (int version = 0; version <= VERSIONS; version++) {
    for (int i = 0; i < n; i++) {
      if (i % commit_rows == 0) must(txn_begin(t, TXN_READ, 0), "begin");
      rowid_encode(k, i);
      slice row = row_of(&w, i, version);
      must(txn_put(t, 20, slice_of(k, 8), row, version ? PUT_UPDATE : PUT_INSERT), "put");
      if (version) changed += row.n + 8;
      if ((i + 1) % commit_rows == 0) must(txn_commit(t, 0, NULL), "commit");
    }
  }
  pack_settle(e);
  weigh(e);
  must(txn_begin(t, TXN_READ, 0), "begin"); /* a newer view, or compaction keeps what the last one sees */
  must(txn_put(t, 21, slice_of(k, 8), row_of(&w, 1, 1), PUT_INSERT), "put");
  must(txn_commit(t, 0, NULL), "commit");
  txn_free(t);
  kv_flush(e->store);
  kv_compact(e->store, KV_VERSIONS, slice_of(NULL, 0), slice_of(NULL, 0));
  double bytes = (double)kv_bytes(e->store, KV_VERSIONS);
  printf(
      "{\"what\": \"history, %d rows a commit\", \"bytes_a_version\": %.1f, \"of_the_rows_changed\": %.3f}\n",
      commit_rows, bytes / n / VERSIONS, bytes / (double)changed);
  engine_close(e);
  engine_close_lingering();
  record_writer_free(&w);
  if (getenv("KEEP")) return;
  snprintf(command, sizeof command, "rm -rf %s", path);
  if (system(command) != 0) exit(1);
}

static bool wanted(const char *only, const char *part) {
  return !only || strcmp(only, part) == 0;
}

int main(int argc, char **argv) {
  char directory[128], path[160], command[200];
  snprintf(directory, sizeof directory, "%s/bench-time-%d", argc > 1 ? argv[1] : "/tmp", (int)getpid());
  if (argc > 2) rows = atoi(argv[2]);
  snprintf(command, sizeof command, "mkdir -p %s", directory);
  if (system(command) != 0) return 1;
  snprintf(path, sizeof path, "%s/app.db", directory);
  must(hdb_open(path, &db, HDB_OPEN_READWRITE | HDB_OPEN_CREATE), "open");
  const char *only = getenv("ONLY"); /* one part of it: past, deep, branches, merges, bytes */
  if (wanted(only, "past") || wanted(only, "deep") || wanted(only, "branches")) make_table();
  if (wanted(only, "past")) measure_past();
  if (wanted(only, "deep")) measure_deep();
  if (wanted(only, "branches")) measure_branches();
  if (wanted(only, "merges")) measure_merges();
  hdb_close(db);
  db = NULL;
  if (wanted(only, "bytes")) measure_bytes(directory, 1), measure_bytes(directory, 1000);
  if (getenv("KEEP")) return 0;
  snprintf(command, sizeof command, "rm -rf %s", directory);
  return system(command);
}
