/* calls.c: the functions of the table (py/backend.h) for a connection to a server.
 *
 * A query's rows come in batches that grow; a row's columns are pointers into the batch. A statement that is done is at
 * its start again on the server; its last rows are read from the batch.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "py/wire/calls.h"

enum { FIRST_ROWS = 64, MOST_ROWS = 4096, MANY_SETS = 500, MANY_BYTES = 64 << 10 };
static const uint32_t FINALIZE = 0x80000000u;

/* ---- connections ---- */

static int wire_open(const backend_address *a, hdb **out) {
  wire_db *db = calloc(1, sizeof *db);
  *out = NULL;
  if (!db) return HDB_NOMEM;
  db->offset = -1;
  *out = (hdb *)((uintptr_t)db | 1);
  int rc = link_open(a, db);
  if (rc == HDB_OK) rc = link_config(db, 1, db->busy_ms = (int)(a->timeout * 1000), 0, NULL) < 0 ? db->code : HDB_OK;
  return rc;
}
static int wire_close(hdb *db) {
  if (DB(db)->statements) return HDB_BUSY;
  link_close(DB(db));
  return HDB_OK;
}
static int wire_close_v2(hdb *db) {
  DB(db)->zombie = true;
  wire_close(db);
  return HDB_OK;
}
static int wire_extended_errcode(hdb *db) { return DB(db)->code; }
static const char *wire_errmsg(hdb *db) { return DB(db)->message ? DB(db)->message : "not an error"; }
static void wire_conflict(hdb *db, const char **table, const char **key) {
  *table = DB(db)->table;
  *key = DB(db)->key;
}
static int wire_busy_timeout(hdb *db, int ms) {
  DB(db)->busy_ms = ms;
  return link_config(DB(db), 1, ms, 0, NULL) < 0 ? DB(db)->code : HDB_OK;
}
static bool wire_is_lost(hdb *db) { return link_is_lost(DB(db)); }
static int wire_get_autocommit(hdb *db) { return DB(db)->autocommit; }

/* Behind an error the counts may have moved. */
static wire_db *fresh(hdb *db) {
  reader r;
  if (DB(db)->stale && DB(db)->link) {
    int code = DB(db)->code, offset = DB(db)->offset;
    char *message = DB(db)->message ? strdup(DB(db)->message) : NULL;
    PQclear(link_call(DB(db), "release", &r));
    if (message) link_error(DB(db), code, message);
    DB(db)->offset = offset;
    free(message);
  }
  return DB(db);
}
static int64_t wire_changes(hdb *db) { return fresh(db)->changes; }
static int64_t wire_total_changes(hdb *db) { return fresh(db)->total_changes; }
static int64_t wire_last_insert_rowid(hdb *db) { return fresh(db)->last_rowid; }
static int64_t wire_last_commit_timestamp(hdb *db) { return fresh(db)->last_commit; }
static void wire_interrupt(hdb *db) { link_interrupt(DB(db)); }

static int wire_limit(hdb *handle, int id, int value) {
  wire_db *db = DB(handle);
  if (id < 0 || id >= HDB_LIMITS) return -1;
  int former = db->limits[id];
  if (value < 0) return former;
  if (link_config(db, 2, id, value, NULL) >= 0) link_info(db);
  return former;
}
static int wire_db_config(hdb *db, int option, int value, int *now) {
  return link_config(DB(db), 3, option, value, now) < 0 ? DB(db)->code : HDB_OK;
}
static const char *wire_branch(hdb *db) {
  return link_info(DB(db)) == HDB_OK && DB(db)->branch ? DB(db)->branch : "main";
}
static const char *wire_filename(hdb *db, const char *schema) { return DB(db)->file; }
static int wire_checkpoint(hdb *db) {
  reader r;
  PGresult *result = link_call(DB(db), "checkpoint", &r);
  PQclear(result);
  return result ? HDB_OK : DB(db)->code;
}

static bool write_all(int fd, const uint8_t *p, size_t n) {
  while (n) {
    ssize_t k = write(fd, p, n);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return false;
    p += k;
    n -= (size_t)k;
  }
  return true;
}

static int wire_save(hdb *handle, const char *schema, int fd) {
  wire_db *db = DB(handle);
  reader r;
  buf_append(&db->body, schema, strlen(schema));
  PGresult *result = link_call(db, "serialize", &r);
  if (!result) return db->code;
  int64_t bytes = take_be64(&r), at = 0;
  PQclear(result);
  while (at < bytes) {
    buf_be64(&db->body, (uint64_t)at);
    buf_be32(&db->body, 1 << 20);
    if (!(result = link_call(db, "piece", &r))) return db->code;
    uint32_t n = take_be32(&r);
    const uint8_t *p = take_bytes(&r, n);
    bool written = p && n && write_all(fd, p, n);
    PQclear(result);
    if (!written) return link_error(db, n ? HDB_IOERR : HDB_PROTOCOL, n ? "disk I/O error" : "an answer of the server is cut short");
    at += n;
  }
  return HDB_OK;
}

/* ---- statements ---- */

static void free_texts(char **texts, int n) {
  for (int i = 0; texts && i < n; i++) free(texts[i]);
  free(texts);
}

static void forget_description(wire_stmt *s) {
  free_texts(s->names, s->columns_n);
  free_texts(s->types, s->columns_n);
  free(s->row);
  s->names = s->types = NULL;
  s->row = NULL;
  s->columns_n = 0;
}

/* Parameters stay as they are when a changed schema made the statement compile anew. */
static bool take_description(wire_stmt *s, reader *r) {
  unsigned flags = take_byte(r);
  s->readonly = flags & 1;
  s->dml = flags & 2;
  s->compiled = take_be32(r);
  uint32_t n = take_be32(r);
  bool first = !s->bound;
  if (r->bad || n > (size_t)(r->end - r->p) / 4) return false;
  if (first) {
    s->parameters = calloc((size_t)n + 1, sizeof *s->parameters);
    s->bound = calloc((size_t)n + 1, sizeof *s->bound);
    s->parameters_n = (int)n;
    if (!s->parameters || !s->bound) return false;
  }
  for (uint32_t i = 0; i < n && !r->bad; i++) {
    char *name = take_text(r);
    if (first) s->parameters[i] = name;
    else free(name);
  }
  n = take_be32(r);
  if (r->bad || n > (size_t)(r->end - r->p) / 8) return false;
  forget_description(s);
  s->names = calloc((size_t)n + 1, sizeof *s->names);
  s->types = calloc((size_t)n + 1, sizeof *s->types);
  s->row = calloc((size_t)n + 1, sizeof *s->row);
  s->columns_n = (int)n;
  if (!s->names || !s->types || !s->row) return false;
  for (uint32_t i = 0; i < n && !r->bad; i++) {
    s->names[i] = take_text(r);
    s->types[i] = take_text(r);
  }
  return !r->bad;
}

static void stmt_free(wire_stmt *s) {
  forget_description(s);
  free_texts(s->parameters, s->parameters_n);
  for (int i = 0; s->bound && i < s->parameters_n; i++) buf_free(&s->bound[i]);
  free(s->bound);
  PQclear(s->batch);
  free(s->sql);
  buf_free(&s->many);
  if (--s->db->statements == 0 && s->db->zombie) link_close(s->db);
  free(s);
}

static int prepare_now(wire_stmt *s, const char *sql, size_t n, size_t *used) {
  wire_db *db = s->db;
  reader r;
  buf_byte(&db->body, (uint8_t)s->flags);
  buf_append(&db->body, sql, n);
  PGresult *result = link_call(db, "prepare", &r);
  if (!result) return db->code;
  s->id = take_be32(&r);
  *used = take_be32(&r);
  s->generation = db->generation;
  bool ok = !r.bad && *used <= n && (!s->id || take_description(s, &r));
  PQclear(result);
  return ok ? HDB_OK : link_error(db, HDB_PROTOCOL, "an answer of the server is cut short");
}

static int wire_prepare(hdb *db, const char *sql, int bytes, unsigned flags, hdb_stmt **out, const char **tail) {
  size_t n = bytes < 0 ? strlen(sql) : strnlen(sql, (size_t)bytes), used = 0;
  wire_stmt *s = calloc(1, sizeof *s);
  *out = NULL;
  if (!s) return link_error(DB(db), HDB_NOMEM, "out of memory");
  s->db = DB(db);
  s->db->statements++;
  s->flags = flags;
  int rc = prepare_now(s, sql, n, &used);
  if (rc == HDB_OK && s->id && !(s->sql = strndup(sql, used))) rc = link_error(DB(db), HDB_NOMEM, "out of memory");
  if (rc == HDB_OK && tail) *tail = sql + used;
  if (rc != HDB_OK || !s->id) stmt_free(s);
  else *out = (hdb_stmt *)((uintptr_t)s | 1);
  return rc;
}

static bool on_server(const wire_stmt *s) { return s->id && s->generation == s->db->generation && s->db->pid == (int)getpid(); }

/* The statement is at its start. finalize: and gone on the server. */
static int let_go(wire_stmt *s, bool finalize) {
  wire_db *db = s->db;
  bool open = s->running && !s->done, was_running = s->running;
  int rc = s->failed;
  if (s->running) db->active--;
  s->running = s->done = s->has_row = false;
  s->failed = HDB_OK;
  s->rows_left = 0;
  PQclear(s->batch);
  s->batch = NULL;
  if (!on_server(s) || !db->link) return rc;
  if (open || finalize) buf_be32(&db->let_go, s->id | (finalize ? FINALIZE : 0));
  if (open && was_running && !s->readonly) { /* W4 */
    reader r;
    PGresult *result = link_call(db, "release", &r);
    PQclear(result);
    if (!result && rc == HDB_OK) rc = db->code;
  }
  return rc;
}

static int wire_reset(hdb_stmt *s) { return s ? let_go(STMT(s), false) : HDB_OK; }
static int wire_finalize(hdb_stmt *s) {
  if (!s) return HDB_OK;
  int rc = let_go(STMT(s), true);
  stmt_free(STMT(s));
  return rc;
}

static int step_failed(wire_stmt *s, int code) {
  if (s->running) s->db->active--;
  s->running = s->done = s->has_row = false;
  s->failed = code;
  return code;
}

/* Prepared on the link that there is now (W5). */
static int make_ready(wire_stmt *s) {
  size_t used;
  if (on_server(s)) return HDB_OK;
  if (s->running) return link_error(s->db, HDB_ABORT, "this query stayed in another process");
  link_leave();
  s->changed = true;
  return prepare_now(s, s->sql, strlen(s->sql), &used);
}

static void put_bound(const wire_stmt *s, buf *out) {
  for (int i = 0; i < s->parameters_n; i++) {
    if (s->bound[i].n) buf_append(out, s->bound[i].p, s->bound[i].n);
    else buf_byte(out, HDB_NULL);
  }
}

static int many_end(hdb_stmt *handle, int64_t *changes) {
  wire_stmt *s = STMT(handle);
  wire_db *db = s->db;
  reader r;
  if (!s->many_n) return HDB_OK;
  int rc = buf_failed(&s->many) ? link_error(db, HDB_NOMEM, "out of memory") : make_ready(s);
  if (rc == HDB_OK) {
    buf_be32(&db->body, s->id);
    buf_be32(&db->body, s->many_n);
    buf_be32(&db->body, (uint32_t)s->parameters_n);
    buf_append(&db->body, s->many.p, s->many.n);
    PGresult *result = link_call(db, "many", &r);
    if (result) *changes += take_be64(&r);
    else rc = db->code;
    PQclear(result);
  }
  buf_free(&s->many);
  s->many_n = 0;
  s->failed = rc;
  return rc;
}

static int many_add(hdb_stmt *handle, int64_t *changes) {
  wire_stmt *s = STMT(handle);
  put_bound(s, &s->many);
  s->many_n++;
  return s->many_n >= MANY_SETS || s->many.n >= MANY_BYTES || buf_failed(&s->many) ? many_end(handle, changes) : HDB_OK;
}

/* The next batch: of a run, or of one that goes on. */
static int more_rows(wire_stmt *s) {
  wire_db *db = s->db;
  reader r;
  int rc = make_ready(s);
  if (rc != HDB_OK) return rc;
  s->batch_rows = s->running ? s->batch_rows * 4 : FIRST_ROWS;
  if (s->batch_rows > MOST_ROWS) s->batch_rows = MOST_ROWS;
  buf_be32(&db->body, s->id);
  if (!s->running) buf_byte(&db->body, s->changed);
  buf_be32(&db->body, s->batch_rows);
  if (!s->running) {
    buf_be32(&db->body, s->changed ? (uint32_t)s->parameters_n : 0);
    if (s->changed) put_bound(s, &db->body);
  }
  PGresult *result = link_call(db, s->running ? "fetch" : "run", &r);
  if (!result) return db->code;
  PQclear(s->batch);
  s->batch = result;
  s->changed = false;
  if (!s->running) db->active++;
  s->running = true;
  s->done = take_byte(&r) == 1;
  bool described = take_byte(&r);
  if ((described && !take_description(s, &r)) || (int)take_be32(&r) != s->columns_n) r.bad = true;
  s->rows_left = take_be32(&r);
  s->at = r.p;
  s->end = r.end;
  return r.bad ? link_error(db, HDB_PROTOCOL, "an answer of the server is cut short") : HDB_OK;
}

static bool next_row(wire_stmt *s) {
  reader r = {s->at, s->end, false};
  for (int i = 0; i < s->columns_n; i++) {
    wire_column *c = &s->row[i];
    c->type = (int)take_byte(&r);
    switch (c->type) {
    case HDB_INTEGER: c->integer = take_be64(&r); break;
    case HDB_FLOAT:
      c->integer = take_be64(&r);
      memcpy(&c->real, &c->integer, sizeof c->real);
      break;
    case HDB_TEXT: case HDB_BLOB:
      c->n = take_be32(&r);
      c->p = take_bytes(&r, (size_t)c->n);
      break;
    case HDB_NULL: break;
    default: r.bad = true;
    }
  }
  s->at = r.p;
  s->rows_left--;
  return !r.bad;
}

static int wire_step(hdb_stmt *handle) {
  wire_stmt *s = STMT(handle);
  wire_db *db = s->db;
  s->has_row = false;
  if (s->running && atomic_load(&db->interrupted)) {
    int rc = link_error(db, HDB_INTERRUPT, "interrupted");
    if (!s->done && on_server(s)) buf_be32(&db->let_go, s->id);
    return step_failed(s, rc);
  }
  if (s->running && s->rows_left == 0 && s->done) {
    s->running = s->done = false;
    db->active--;
    return HDB_DONE;
  }
  if (!s->running || s->rows_left == 0) {
    s->failed = HDB_OK;
    int rc = more_rows(s);
    if (rc != HDB_OK) return step_failed(s, rc);
    if (s->rows_left == 0) {
      s->running = s->done = false;
      db->active--;
      return HDB_DONE;
    }
  }
  if (!next_row(s)) return step_failed(s, link_error(db, HDB_PROTOCOL, "an answer of the server is cut short"));
  s->has_row = true;
  return HDB_ROW;
}

static int wire_stmt_readonly(hdb_stmt *s) { return STMT(s)->readonly; }
static unsigned wire_stmt_compiled(hdb_stmt *s) { return STMT(s)->compiled; }
static int wire_bind_parameter_count(hdb_stmt *s) { return STMT(s)->parameters_n; }
static const char *wire_bind_parameter_name(hdb_stmt *s, int i) {
  return i >= 1 && i <= STMT(s)->parameters_n ? STMT(s)->parameters[i - 1] : NULL;
}

static int wire_bind_one(hdb_stmt *handle, int index, const hdb_parameter *v) {
  wire_stmt *s = STMT(handle);
  if (index < 1 || index > s->parameters_n) return link_error(s->db, HDB_RANGE, "column index out of range");
  buf *out = &s->bound[index - 1];
  int64_t word = v->integer;
  int type = v->type == HDB_FLOAT && isnan(v->real) ? HDB_NULL : v->type;
  buf_clear(out);
  s->changed = true;
  if ((type == HDB_TEXT || type == HDB_BLOB) && v->bytes > s->db->limits[HDB_LIMIT_LENGTH])
    return link_error(s->db, HDB_TOOBIG, "string or blob too big");
  buf_byte(out, (uint8_t)type);
  if (type == HDB_FLOAT) memcpy(&word, &v->real, sizeof word);
  if (type == HDB_INTEGER || type == HDB_FLOAT) {
    buf_be64(out, (uint64_t)word);
  } else if (type != HDB_NULL) {
    buf_be32(out, (uint32_t)v->bytes);
    buf_append(out, v->data, (size_t)v->bytes);
  }
  return buf_failed(out) ? link_error(s->db, HDB_NOMEM, "out of memory") : HDB_OK;
}

static int wire_bind_all(hdb_stmt *s, const hdb_parameter *values, int count) {
  int rc = HDB_OK;
  for (int i = 0; i < count && rc == HDB_OK; i++) rc = wire_bind_one(s, i + 1, &values[i]);
  return rc;
}

/* ---- columns ---- */

static int wire_column_count(hdb_stmt *s) { return STMT(s)->columns_n; }
static int wire_data_count(hdb_stmt *s) { return STMT(s)->has_row ? STMT(s)->columns_n : 0; }
static bool is_column(const wire_stmt *s, int i) { return i >= 0 && i < s->columns_n; }
static const char *wire_column_name(hdb_stmt *s, int i) { return is_column(STMT(s), i) ? STMT(s)->names[i] : NULL; }
static const char *wire_column_decltype(hdb_stmt *s, int i) { return is_column(STMT(s), i) ? STMT(s)->types[i] : NULL; }

static const wire_column *value_at(wire_stmt *s, int i) {
  static const wire_column null = {.type = HDB_NULL};
  return s->has_row && is_column(s, i) ? &s->row[i] : &null;
}

static int wire_column_raw(hdb_stmt *s, int i, int64_t *integer, double *real, const char **p, int64_t *n) {
  const wire_column *c = value_at(STMT(s), i);
  switch (c->type) {
  case HDB_INTEGER: *integer = c->integer; break;
  case HDB_FLOAT: *real = c->real; break;
  case HDB_TEXT: case HDB_BLOB:
    *p = (const char *)c->p;
    *n = c->n;
    break;
  default: break;
  }
  return c->type;
}
static int wire_column_type(hdb_stmt *s, int i) { return value_at(STMT(s), i)->type; }

/* SQLite's text of a number: 15 digits, always with a point. */
static void number_text(const wire_column *c, char *out, size_t size) {
  if (c->type == HDB_INTEGER) {
    snprintf(out, size, "%lld", (long long)c->integer);
    return;
  }
  if (isinf(c->real)) {
    snprintf(out, size, c->real < 0 ? "-Inf" : "Inf");
    return;
  }
  snprintf(out, size, "%.15g", c->real);
  if (strchr(out, '.')) return;
  char *e = strchr(out, 'e'), tail[16];
  snprintf(tail, sizeof tail, "%s", e ? e : "");
  snprintf(e ? e : out + strlen(out), 20, ".0%s", tail);
}

static const void *wire_column_blob(hdb_stmt *handle, int i) {
  wire_stmt *s = STMT(handle);
  const wire_column *c = value_at(s, i);
  if (c->type == HDB_NULL) return NULL;
  if (c->type == HDB_TEXT || c->type == HDB_BLOB) return c->n ? c->p : NULL;
  number_text(c, s->number, sizeof s->number);
  return s->number;
}
static int64_t wire_column_bytes(hdb_stmt *handle, int i) {
  wire_stmt *s = STMT(handle);
  const wire_column *c = value_at(s, i);
  if (c->type == HDB_NULL) return 0;
  if (c->type == HDB_TEXT || c->type == HDB_BLOB) return c->n;
  number_text(c, s->number, sizeof s->number);
  return (int64_t)strlen(s->number);
}

const backend wire_backend = {
    .open = wire_open, .close = wire_close, .close_v2 = wire_close_v2, .extended_errcode = wire_extended_errcode, .errmsg = wire_errmsg,
    .conflict = wire_conflict, .busy_timeout = wire_busy_timeout, .get_autocommit = wire_get_autocommit, .is_lost = wire_is_lost,
    .changes = wire_changes, .total_changes = wire_total_changes, .last_insert_rowid = wire_last_insert_rowid,
    .last_commit_timestamp = wire_last_commit_timestamp, .interrupt = wire_interrupt, .limit = wire_limit,
    .db_config = wire_db_config, .branch = wire_branch, .filename = wire_filename, .checkpoint = wire_checkpoint,
    .prepare = wire_prepare, .step = wire_step, .reset = wire_reset, .finalize = wire_finalize,
    .stmt_readonly = wire_stmt_readonly, .stmt_compiled = wire_stmt_compiled,
    .bind_parameter_count = wire_bind_parameter_count, .bind_parameter_name = wire_bind_parameter_name,
    .bind_all = wire_bind_all, .bind_one = wire_bind_one, .column_count = wire_column_count, .data_count = wire_data_count,
    .column_name = wire_column_name, .column_decltype = wire_column_decltype, .column_raw = wire_column_raw,
    .column_type = wire_column_type, .column_blob = wire_column_blob, .column_bytes = wire_column_bytes, .many_add = many_add, .many_end = many_end, .save = wire_save};
