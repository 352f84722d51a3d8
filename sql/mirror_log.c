/* What happened to app.db: merges, restores and their conflicts, kept in the engine's setting mirror.log and shown by
 * the table heliosdb_mirror_log, newest last.
 *
 *   bytes      meaning
 *   4          length of the record, big-endian
 *   n          a record of the columns below
 *
 * The oldest go when it is longer than 64 KB; of one merge at most 200 conflicts are written down, the count is whole.
 */
#include <stdio.h>
#include <stdlib.h>

#include "sql/mirror_internal.h"
#include "sql/time.h"

enum { COLUMNS = 9, LOG_BYTES = 64 * 1024, CONFLICTS_MAX = 200, VALUE_BYTES = 200 };
static const virtual_column columns[COLUMNS] = {{"at", "TEXT", false},   {"event", "TEXT", false}, {"details", "TEXT", false},
                                                {"table", "TEXT", false}, {"key", "", false},       {"column", "TEXT", false},
                                                {"base", "", false},      {"file", "", false},      {"database", "", false}};

static void put_value(record_writer *w, const value *v) {
  value cut = *v;
  if ((v->type == VAL_TEXT || v->type == VAL_BLOB) && v->n > VALUE_BYTES) cut.n = VALUE_BYTES;
  value_write(w, &cut);
}

static void put_record(buf *b, record_writer *w) {
  slice r = record_end(w);
  if (!r.p) return;
  buf_be32(b, (uint32_t)r.n);
  buf_append(b, r.p, r.n);
}

static void text_of(record_writer *w, const char *text) {
  if (text) record_text(w, text, strlen(text));
  else record_null(w);
}

void mirror_outcome_conflict(mirror_outcome *o, const char *table, const value *key, const char *column, const value *base,
                             const value *theirs, const value *ours, const char *kept) {
  record_writer w = {0};
  char at[TIME_TEXT];
  if (++o->conflicts > CONFLICTS_MAX) return;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  time_text((int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000, at);
  record_begin(&w);
  text_of(&w, at);
  text_of(&w, "conflict");
  text_of(&w, kept[0] == 'f' ? "the file's stays" : "the database's stays");
  text_of(&w, table);
  put_value(&w, key);
  text_of(&w, column);
  put_value(&w, base);
  put_value(&w, theirs);
  put_value(&w, ours);
  put_record(&o->details, &w);
  record_writer_free(&w);
}

static void put_summary(buf *b, enum mirror_event event, const mirror_outcome *o, const char *words) {
  static const char *const names[] = {"taken in", "merged", "restored"};
  record_writer w = {0};
  char at[TIME_TEXT], text[160];
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  time_text((int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000, at);
  if (event == MIRROR_MERGED)
    snprintf(text, sizeof text, "%lld inserted, %lld updated, %lld deleted, %lld conflicts", (long long)o->inserted, (long long)o->updated,
             (long long)o->deleted, (long long)o->conflicts);
  else
    snprintf(text, sizeof text, "%s", words);
  record_begin(&w);
  text_of(&w, at);
  text_of(&w, names[event]);
  text_of(&w, text);
  for (int i = 3; i < COLUMNS; i++) record_null(&w);
  put_record(b, &w);
  record_writer_free(&w);
}

status mirror_log_add(hdb *own, enum mirror_event event, const mirror_outcome *o, const char *words) {
  engine *e = own->databases[DB_MAIN].engine;
  buf b = BUF_INIT;
  status rc = engine_setting_get(e, "mirror.log", &b);
  if (rc == HDB_NOTFOUND) rc = HDB_OK;
  if (rc == HDB_OK) {
    buf_append(&b, o->details.p, o->details.n);
    put_summary(&b, event, o, words);
    size_t from = 0;
    while (b.n - from > LOG_BYTES && from + 4 <= b.n) from += 4 + get_be32(b.p + from);
    if (from > b.n) from = b.n;
    rc = buf_failed(&b) ? HDB_NOMEM : engine_setting_put(e, "mirror.log", slice_of(b.p + from, b.n - from));
  }
  buf_free(&b);
  return rc == HDB_OK ? rc : error_set(&own->err, rc, "%s", status_text(rc));
}

/* ---- heliosdb_mirror_log ---- */

typedef struct log_cursor {
  buf bytes;
  size_t at;
} log_cursor;

static status log_open(exec *x, const table *t, void **cursor) {
  (void)t;
  *cursor = calloc(1, sizeof(log_cursor));
  return *cursor ? HDB_OK : error_set(x->err, HDB_NOMEM, "out of memory");
}
static bool log_at_end(void *cursor) {
  const log_cursor *k = cursor;
  return k->at + 4 > k->bytes.n || get_be32(k->bytes.p + k->at) > k->bytes.n - k->at - 4;
}
static status log_check(exec *x, const log_cursor *k) {
  if (log_at_end((void *)k)) return HDB_OK;
  status rc = record_check(slice_of(k->bytes.p + k->at + 4, get_be32(k->bytes.p + k->at)));
  return rc == HDB_OK ? rc : error_set(x->err, rc, "%s", status_text(rc));
}
static status log_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  log_cursor *k = cursor;
  engine *e = x->db->databases[DB_MAIN].engine;
  (void)number, (void)text, (void)given, (void)arguments, (void)n;
  buf_clear(&k->bytes);
  k->at = 0;
  status rc = e ? engine_setting_get(e, "mirror.log", &k->bytes) : HDB_NOTFOUND;
  if (rc != HDB_OK && rc != HDB_NOTFOUND) return error_set(x->err, rc, "%s", status_text(rc));
  return log_check(x, k);
}
static status log_next(exec *x, void *cursor) {
  log_cursor *k = cursor;
  k->at += 4 + get_be32(k->bytes.p + k->at);
  return log_check(x, k);
}
static status log_column(exec *x, void *cursor, int column, value *out) {
  const log_cursor *k = cursor;
  uint8_t type;
  slice payload;
  (void)x;
  slice record = slice_of(k->bytes.p + k->at + 4, get_be32(k->bytes.p + k->at));
  *out = record_column(record, (uint32_t)column, &type, &payload) ? value_read(type, payload.p, payload.n) : value_null();
  return HDB_OK;
}
static void log_close(void *cursor) {
  buf_free(&((log_cursor *)cursor)->bytes);
  free(cursor);
}

const virtual_module virtual_mirror_log = {"heliosdb_mirror_log", columns, COLUMNS, NULL, log_open, log_filter, log_at_end,
                                           log_next, log_column, NULL, log_close};
