/* heliosdb_info and heliosdb_stats: what operators ask a database, as rows. Each is read at once when it is opened.
 *
 *   heliosdb_info(name, value)   one row a fact: format, sizes, features, mirror, history
 *   heliosdb_stats(section, name, value, calls, rows, total_ms, mean_ms, longest_ms)
 *     statement    name: its text; the most time first
 *     slow         name: its text; value: when it ended; the last fifty of 100 ms and more
 *     snapshot     the oldest open transaction's view, and what branches pin
 *     writer       who holds the writer's turn, and how many wait for it
 *     cache        groups in memory
 *     background   the file's mirror, history being packed, retention at work
 * Figures are of this process; sizes are RocksDB's estimates.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "sql/mirror.h"
#include "sql/time.h"

typedef struct listing {
  hdb *db;
  arena memory;
  value *rows;
  int64_t n, capacity, at;
  int columns;
  bool failed;
} listing;

static void list_row(listing *k, const value *row) {
  if (k->n == k->capacity) {
    int64_t capacity = k->capacity ? 2 * k->capacity : 32;
    value *rows = realloc(k->rows, (size_t)(capacity * k->columns) * sizeof *rows);
    if (!rows) {
      k->failed = true;
      return;
    }
    k->rows = rows, k->capacity = capacity;
  }
  for (int i = 0; i < k->columns; i++)
    if (value_copy(&k->memory, &row[i], &k->rows[k->n * k->columns + i]) != HDB_OK) k->failed = true;
  if (!k->failed) k->n++;
}

static value text_of(const char *text) { return text ? value_text(text, strlen(text)) : value_null(); }

static value time_of(listing *k, int64_t time) {
  char out[TIME_TEXT];
  if (time <= 0 || time == INT64_MAX) return value_null();
  time_text(time, out);
  return text_of(arena_strdup(&k->memory, out));
}

static int64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- heliosdb_info ---- */

static void info(listing *k, const char *name, value v) {
  value row[2] = {text_of(name), v};
  list_row(k, row);
}

static void info_features(listing *k) {
  hdb *db = k->db;
  buf b = BUF_INIT;
  buf_text(&b, "groups,history-blocks,branches,vectors");
  mirror_facts m;
  mirror_tell(db, DB_MAIN, &m);
  if (m.file) buf_text(&b, m.off ? ",header-only" : ",mirror");
  if (db->databases[DB_MAIN].sealed) buf_text(&b, ",encryption");
  const char *text = buf_cstr(&b);
  info(k, "features", text_of(text));
  buf_free(&b);
}

static void info_mirror(listing *k) {
  mirror_facts m;
  mirror_tell(k->db, DB_MAIN, &m);
  engine *e = k->db->databases[DB_MAIN].engine;
  if (!m.file) {
    info(k, "mirror", text_of("none"));
    return;
  }
  info(k, "mirror", text_of(m.off ? "off" : m.kept_elsewhere ? "kept by another process" : m.current ? "current" : *m.trouble ? "waiting" : "behind"));
  info(k, "mirror_time", m.foreign ? value_null() : time_of(k, m.time));
  info(k, "mirror_behind_ms", m.off || m.kept_elsewhere ? value_null() : value_int(m.current ? 0 : (engine_newest(e) - m.time) / 1000));
  info(k, "mirror_trouble", text_of(*m.trouble ? m.trouble : NULL));
  info(k, "mirror_writes", value_int(m.writes));
  info(k, "file_bytes", value_int(m.file_bytes));
}

static void info_sizes(listing *k, const engine_report *r) {
  info(k, "bytes_rows", value_int(r->bytes_rows));
  info(k, "bytes_history", value_int(r->bytes_versions));
  info(k, "bytes_feed", value_int(r->bytes_feed));
  info(k, "bytes_vectors", value_int(r->bytes_vectors));
  info(k, "bytes_meta", value_int(r->bytes_meta + r->bytes_redo));
}

static status list_info(listing *k) {
  hdb *db = k->db;
  database *d = &db->databases[DB_MAIN];
  engine_report r;
  int64_t version, user_version;
  engine_tell(d->engine, &r);
  TRY(database_begin(db, DB_MAIN));
  TRY(database_get_number(db, DB_MAIN, "schema_version", 0, &version));
  TRY(database_get_number(db, DB_MAIN, "user_version", 0, &user_version));
  info(k, "version", text_of(hdb_product_version()));
  info(k, "sqlite_version", text_of(hdb_libversion()));
  info(k, "format_version", value_int(r.format));
  info(k, "file", d->is_memory ? value_null() : text_of(d->filename));
  info(k, "storage", text_of(engine_is_memory(d->engine) ? "memory" : "directory"));
  info(k, "page_size", value_int(d->pragmas.page_size));
  info(k, "group_bytes", value_int(engine_group_bytes()));
  info(k, "schema_version", value_int(version));
  info(k, "user_version", value_int(user_version));
  info_features(k);
  info_sizes(k, &r);
  info_mirror(k);
  double retention = engine_retention(d->engine);
  info(k, "retention_seconds", retention > 1e15 ? text_of("all") : value_real(retention));
  info(k, "newest_commit", time_of(k, engine_newest(d->engine)));
  info(k, "durable_commit", time_of(k, engine_durable(d->engine)));
  int64_t oldest = engine_oldest(d->engine);
  info(k, "history_from", oldest == 0 ? text_of("the beginning") : oldest == INT64_MAX ? text_of("none is kept") : time_of(k, oldest));
  info(k, "branch", text_of(hdb_branch(db)));
  info(k, "process", value_int(getpid()));
  info(k, "owner", value_int(engine_is_owner(d->engine)));
  info(k, "client_processes", value_int((int64_t)engine_clients(d->engine)));
  return HDB_OK;
}

/* ---- heliosdb_stats ---- */

enum { STATS_COLUMNS = 8 };

static void stat_value(listing *k, const char *section, const char *name, value v) {
  value row[STATS_COLUMNS] = {text_of(section), text_of(name), v, value_null(), value_null(), value_null(), value_null(), value_null()};
  list_row(k, row);
}

static status list_statement(void *context, const stats_row *r) {
  value row[STATS_COLUMNS] = {text_of("statement"), text_of(r->sql), value_null(), value_int(r->calls), value_int(r->rows), value_real(r->total_ms),
                              value_real(r->calls ? r->total_ms / (double)r->calls : 0), value_real(r->longest_ms)};
  list_row(context, row);
  return HDB_OK;
}

static status list_slow(void *context, const slow_row *r) {
  listing *k = context;
  value row[STATS_COLUMNS] = {text_of("slow"), text_of(r->sql), time_of(k, r->at), value_int(1), value_int(r->rows), value_real(r->ms), value_real(r->ms), value_real(r->ms)};
  list_row(k, row);
  return HDB_OK;
}

static void list_engine(listing *k) {
  engine *e = k->db->databases[DB_MAIN].engine;
  engine_report r;
  mirror_facts m;
  engine_tell(e, &r);
  mirror_tell(k->db, DB_MAIN, &m);
  stat_value(k, "snapshot", "open transactions", value_int(r.open_transactions));
  stat_value(k, "snapshot", "oldest view", time_of(k, r.oldest_view));
  stat_value(k, "snapshot", "oldest view, seconds ago", r.oldest_view ? value_real((double)(now_us() - r.oldest_view) / 1e6) : value_null());
  stat_value(k, "snapshot", "history kept for branches from", time_of(k, r.branch_pin));
  stat_value(k, "snapshot", "bytes of history", value_int(r.bytes_versions));
  stat_value(k, "writer", "turn held by thread", r.turn_held ? value_int(r.turn_thread) : value_null());
  stat_value(k, "writer", "turn held for ms", r.turn_held ? value_int(r.turn_ms) : value_null());
  stat_value(k, "writer", "waiting in line", value_int(r.waiting_in_line));
  stat_value(k, "writer", "storage failed", value_int(r.broken));
  stat_value(k, "cache", "bytes of groups", value_int(r.cache_bytes));
  stat_value(k, "cache", "bytes at most", value_int(r.cache_bytes_max));
  stat_value(k, "background", "retention at work", value_int(r.collecting));
  stat_value(k, "background", "places of history to pack", value_int(r.packing_waiting));
  stat_value(k, "background", "mirror writes", m.file ? value_int(m.writes) : value_null());
  stat_value(k, "background", "mirror's last write, CPU ms", m.file ? value_real((double)m.cost_us / 1000) : value_null());
  stat_value(k, "background", "mirror's trouble", text_of(*m.trouble ? m.trouble : NULL));
}

static status list_stats(listing *k) {
  TRY(stats_each(k->db, list_statement, k));
  TRY(stats_each_slow(k->db, list_slow, k));
  list_engine(k);
  return HDB_OK;
}

/* ---- the tables ---- */

static status listing_open(exec *x, int columns, void **cursor) {
  listing *k = calloc(1, sizeof *k);
  if (!k) return sql_nomem(x->err);
  k->columns = columns;
  k->db = x->db;
  *cursor = k;
  return HDB_OK;
}
static status listing_fill(exec *x, listing *k, status (*list)(listing *)) {
  k->n = k->at = 0;
  arena_clear(&k->memory);
  k->memory = (arena)ARENA_INIT;
  status rc = x->db->databases[DB_MAIN].engine ? list(k) : HDB_OK;
  if (rc == HDB_OK && k->failed) rc = sql_nomem(x->err);
  return rc == HDB_OK || x->err == &x->db->err ? rc : error_set(x->err, rc, "%s", status_text(rc));
}
static bool listing_at_end(void *cursor) { return ((listing *)cursor)->at >= ((listing *)cursor)->n; }
static status listing_next(exec *x, void *cursor) {
  (void)x;
  ((listing *)cursor)->at++;
  return HDB_OK;
}
static status listing_column(exec *x, void *cursor, int column, value *out) {
  const listing *k = cursor;
  (void)x;
  *out = k->rows[k->at * k->columns + column];
  return HDB_OK;
}
static void listing_close(void *cursor) {
  listing *k = cursor;
  arena_clear(&k->memory);
  free(k->rows);
  free(k);
}

static const virtual_column info_columns[] = {{"name", "TEXT", false}, {"value", "", false}};
static status info_open(exec *x, const table *t, void **cursor) {
  (void)t;
  return listing_open(x, 2, cursor);
}
static status info_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  (void)number, (void)text, (void)given, (void)arguments, (void)n;
  return listing_fill(x, cursor, list_info);
}
const virtual_module virtual_info = {"heliosdb_info", info_columns, 2, NULL, info_open, info_filter, listing_at_end,
                                     listing_next, listing_column, NULL, listing_close};

static const virtual_column stats_columns[STATS_COLUMNS] = {
    {"section", "TEXT", false}, {"name", "TEXT", false},    {"value", "", false},       {"calls", "INTEGER", false},
    {"rows", "INTEGER", false}, {"total_ms", "REAL", false}, {"mean_ms", "REAL", false}, {"longest_ms", "REAL", false}};
static status stats_open(exec *x, const table *t, void **cursor) {
  (void)t;
  return listing_open(x, STATS_COLUMNS, cursor);
}
static status stats_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  (void)number, (void)text, (void)given, (void)arguments, (void)n;
  return listing_fill(x, cursor, list_stats);
}
const virtual_module virtual_stats = {"heliosdb_stats", stats_columns, STATS_COLUMNS, NULL, stats_open, stats_filter, listing_at_end,
                                      listing_next, listing_column, NULL, listing_close};
