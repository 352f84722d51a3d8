/* SQLite's side of bench_format: the same rows and operations, through its C interface; included by format.c. */
#ifndef HDB_BENCH_FORMAT_SQLITE_H
#define HDB_BENCH_FORMAT_SQLITE_H

static sqlite3 *db;
static void sql(const char *text) {
  char *error = NULL;
  if (sqlite3_exec(db, text, NULL, NULL, &error) == SQLITE_OK) return;
  fprintf(stderr, "%s: %s\n", text, error);
  exit(1);
}
static sqlite3_stmt *prepare(const char *text) {
  sqlite3_stmt *s;
  must(sqlite3_prepare_v2(db, text, -1, &s, NULL) == SQLITE_OK, text);
  return s;
}
static int64_t value_of(const char *text) {
  sqlite3_stmt *s = prepare(text);
  sqlite3_step(s);
  int64_t v = sqlite3_column_int64(s, 0);
  sqlite3_finalize(s);
  return v;
}
static void sqlite_open(void) {
  char path[300];
  remove_store();
  mkdir(directory, 0777);
  snprintf(path, sizeof path, "%s/app.db", directory);
  must(sqlite3_open(path, &db) == SQLITE_OK, "sqlite3_open");
  sql("pragma journal_mode=wal; pragma synchronous=off; pragma cache_size=-262144");
}
static void bind_row(sqlite3_stmt *s, int first, int64_t id, int64_t a, char text[64]) {
  memset(text, 'a' + (int)(a % 26), 60);
  sqlite3_bind_int64(s, first, a);
  sqlite3_bind_int64(s, first + 1, id * 7);
  sqlite3_bind_text(s, first + 2, text, 60, SQLITE_STATIC);
  sqlite3_bind_double(s, first + 3, (double)id / 3);
}
static void run(sqlite3_stmt *s) {
  int rc;
  while ((rc = sqlite3_step(s)) == SQLITE_ROW) sink += (uint64_t)sqlite3_column_int64(s, 0);
  must(rc == SQLITE_DONE, sqlite3_errmsg(db));
  sqlite3_reset(s);
}
static void sqlite_updates(const char *what, const char *text, int64_t operations) {
  char c[64];
  sqlite3_stmt *s = prepare(text);
  stopwatch w = start();
  for (int64_t i = 0; i < operations; i++) {
    int64_t id = (int64_t)(rnd() % (uint64_t)rows) + 1;
    bind_row(s, 1, id, (int64_t)(rnd() % 1000003), c);
    sqlite3_bind_int64(s, 5, id);
    run(s);
  }
  report(w, what, "sqlite", (double)operations);
  sqlite3_finalize(s);
}

static void sqlite_integer_table(void) {
  char c[64];
  sqlite_open();
  sql("create table t(id integer primary key, a, b, c text, d real)");
  sqlite3_stmt *s = prepare("insert into t(a, b, c, d, id) values(?, ?, ?, ?, ?)");
  stopwatch w = start();
  sql("begin");
  for (int64_t i = 0; i < rows; i++) {
    bind_row(s, 1, i + 1, i / 3, c);
    sqlite3_bind_int64(s, 5, i + 1);
    run(s);
  }
  sql("commit");
  report(w, "bulk_load", "sqlite", (double)rows);
  sqlite3_finalize(s);
  report_bytes("bytes_a_row", "sqlite", (uint64_t)(value_of("pragma page_count") * value_of("pragma page_size")), (double)rows);
  value_of("select sum(a) from t");
  w = start();
  value_of("select sum(a) from t");
  report(w, "scan", "sqlite", (double)rows);
  s = prepare("select a from t where id = ?");
  for (int pass = 0; pass < 2; pass++) {
    w = start();
    sql("begin"); /* one snapshot, as on our side */
    for (int64_t i = 0; i < rows / 5; i++) {
      sqlite3_bind_int64(s, 1, (int64_t)(rnd() % (uint64_t)rows) + 1);
      run(s);
    }
    sql("commit");
    if (pass) report(w, "point_read", "sqlite", (double)(rows / 5));
  }
  sqlite3_finalize(s);
  sqlite_updates("commit_update", "update t set a = ?, b = ?, c = ?, d = ? where id = ?", rows / 20);
  w = start();
  sql("update t set a = id / 3; create index i on t(a)");
  report(w, "index_bulk_load", "sqlite", (double)rows);
  value_of("select count(a) from t where a >= 0");
  w = start();
  value_of("select count(a) from t where a >= 0");
  report(w, "index_covering_count", "sqlite", (double)rows);
  s = prepare("select count(*) from t where a >= ? and a < ?");
  for (int width = 1; width <= 100; width += 99) {
    int64_t operations = rows / (width == 1 ? 10 : 200);
    w = start();
    sql("begin");
    for (int64_t i = 0; i < operations; i++) {
      int64_t a = (int64_t)(rnd() % (uint64_t)(rows / 3 - width));
      sqlite3_bind_int64(s, 1, a);
      sqlite3_bind_int64(s, 2, a + width);
      run(s);
    }
    sql("commit");
    report(w, width == 1 ? "index_range_3_entries" : "index_range_300_entries", "sqlite", (double)operations);
  }
  sqlite3_finalize(s);
  sqlite_updates("commit_update_index", "update t set a = ?, b = ?, c = ?, d = ? where id = ?", rows / 20);
  sql("drop index i");
  s = prepare("delete from t where id = ?");
  uint64_t left = 0;
  w = start();
  for (int64_t i = 0; i < rows; i++) {
    if (rnd() % 10 == 0) {
      left++;
      continue;
    }
    sqlite3_bind_int64(s, 1, i + 1);
    run(s);
  }
  report(w, "delete_nine_of_ten_single", "sqlite", (double)rows - (double)left);
  sqlite3_finalize(s);
  w = start();
  value_of("select sum(a) from t");
  report(w, "scan_nine_of_ten_deleted", "sqlite", (double)left);
  sqlite3_close(db);
  remove_store();
}

static void sqlite_text_table(void) {
  char c[64], k[40];
  int64_t n = rows / 4;
  sqlite_open();
  sql("create table t(k text primary key, a, b, c text, d real) without rowid");
  sqlite3_stmt *s = prepare("insert into t(a, b, c, d, k) values(?, ?, ?, ?, ?)");
  stopwatch w = start();
  sql("begin");
  for (int64_t i = 0; i < n; i++) {
    bind_row(s, 1, i + 1, i % 1000003, c);
    snprintf(k, sizeof k, "customer-%011lld", (long long)i * 37);
    sqlite3_bind_text(s, 5, k, 20, SQLITE_STATIC);
    run(s);
  }
  sql("commit");
  report(w, "text_key_bulk_load", "sqlite", (double)n);
  sqlite3_finalize(s);
  value_of("select sum(a) from t");
  w = start();
  value_of("select sum(a) from t");
  report(w, "text_key_scan", "sqlite", (double)n);
  static const char *const texts[] = {"select a from t where k = ?5", "update t set a = ?1, b = ?2, c = ?3, d = ?4 where k = ?5"};
  for (int update = 0; update < 2; update++) {
    int64_t operations = update ? n / 10 : n / 2;
    s = prepare(texts[update]);
    w = start();
    if (!update) sql("begin");
    for (int64_t i = 0; i < operations; i++) {
      if (update) bind_row(s, 1, i + 1, i, c);
      snprintf(k, sizeof k, "customer-%011lld", (long long)(rnd() % (uint64_t)n) * 37);
      sqlite3_bind_text(s, 5, k, 20, SQLITE_STATIC);
      run(s);
    }
    if (!update) sql("commit");
    report(w, update ? "text_key_commit_update" : "text_key_point_read", "sqlite", (double)operations);
    sqlite3_finalize(s);
  }
  sqlite3_close(db);
  remove_store();
}

#endif
