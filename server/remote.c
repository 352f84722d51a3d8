/* remote: sessions of another HeliosDB process (Python's server mode), which speaks to the engine call by call.
 *
 * Such a session asks for itself by the start-up parameters heliosdb_dialect=sqlite and heliosdb_client=1. From then on
 * it uses the extended protocol's frame alone: Parse names a command, Bind brings its two arguments (binary: the
 * command's body; what to let go of first) and runs it, Describe and Execute add nothing, Sync ends it. So libpq's
 * PQexecParams is a call, TLS, passwords and cancel are everybody's, and values keep SQLite's types.
 *
 * Numbers are big-endian; text is length (4), bytes; NULL text has length 0xffffffff.
 *
 *   command     body                                    answer (one row, one column), before the trailer
 *   info        -                                       versions (2 texts), file, branch, limits (12 * 4)
 *   prepare     flags 1, SQL                            id 4 (0: no statement), bytes used 4, description
 *   run         id 4, flags 1, rows 4, count 4, values  rows
 *   fetch       id 4, rows 4                            rows
 *   many        id 4, sets 4, count 4, values           changes 8: executemany of what gives no rows, set after set
 *   release     -                                       -
 *   config      which 1, a 4, b 4                       result 4, now 4
 *   serialize   schema                                  bytes 8
 *   piece       offset 8, most 4                        bytes
 *   checkpoint  -                                       -
 *
 *   description  flags 1 (1 read-only, 2 INSERT UPDATE DELETE REPLACE), compiled 4, parameters 4, names, columns 4,
 *                (name, declared type) each
 *   rows         state 1 (0 more, 1 done), described 1 and then a description when it changed, columns 4, count 4,
 *                values column by column
 *   value        type 1 (HDB_INTEGER...), then 8 bytes, 8 bytes of the double, or length 4 and bytes; NULL nothing
 *   trailer      autocommit 1, changes 8, total changes 8, last row id 8, last commit 8
 *   let go       id 4 each; the high bit: finalize, else reset
 *
 * An error is an ErrorResponse whose field k is SQLite's extended code, o the offset in the statement, T and K table and
 * key of a conflict; its message is the engine's own. Rows that came before an error are delivered, and then the error.
 */
#include <stdio.h>
#include <stdlib.h>

#include "server/session.h"

enum { BATCH_BYTES = 64 << 10, STATEMENTS_MAX = 100000, PIECE_MAX = 4 << 20 };
static const uint32_t FINALIZE = 0x80000000u;

typedef struct remote_statement {
  hdb_stmt *handle;
  bool running, failed;
  unsigned compiled;  /* of the description that the client has */
  status pending;     /* an error that waits behind delivered rows */
  char *pending_message;
  int pending_offset;
} remote_statement;

typedef void command_run(session *s, body_reader *r);

struct remote {
  remote_statement *statements; /* by id - 1 */
  uint32_t count, capacity;
  const struct command *command; /* of the last Parse */
  unsigned char *image;          /* serialize */
  int64_t image_bytes;
};

bool remote_start(session *s) {
  s->remote = calloc(1, sizeof *s->remote);
  return s->remote != NULL;
}

static void statement_free(remote_statement *t) {
  hdb_finalize(t->handle);
  free(t->pending_message);
  memset(t, 0, sizeof *t);
}

void remote_free(session *s) {
  struct remote *m = s->remote;
  if (!m) return;
  for (uint32_t i = 0; i < m->count; i++) statement_free(&m->statements[i]);
  free(m->statements);
  hdb_free(m->image);
  free(m);
  s->remote = NULL;
}

/* ---- writing ---- */

static void put_bytes(buf *out, const void *p, size_t n) {
  buf_be32(out, (uint32_t)n);
  buf_append(out, p, n);
}
static void put_string(buf *out, const char *text) {
  if (text) put_bytes(out, text, strlen(text));
  else buf_be32(out, UINT32_MAX);
}

static void put_description(buf *out, hdb_stmt *handle) {
  buf_byte(out, (uint8_t)((hdb_stmt_readonly(handle) ? 1 : 0) | (hdb_stmt_is_dml(handle) ? 2 : 0)));
  buf_be32(out, hdb_stmt_compiled(handle));
  int n = hdb_bind_parameter_count(handle);
  buf_be32(out, (uint32_t)n);
  for (int i = 1; i <= n; i++) put_string(out, hdb_bind_parameter_name(handle, i));
  n = hdb_column_count(handle);
  buf_be32(out, (uint32_t)n);
  for (int i = 0; i < n; i++) {
    put_string(out, hdb_column_name(handle, i));
    put_string(out, hdb_column_decltype(handle, i));
  }
}

static void put_value(buf *out, hdb_stmt *handle, int column) {
  int64_t integer = 0, n = 0;
  double real = 0;
  const char *p = NULL;
  int type = hdb_column_raw(handle, column, &integer, &real, &p, &n);
  buf_byte(out, (uint8_t)type);
  if (type == HDB_FLOAT) memcpy(&integer, &real, sizeof integer);
  if (type == HDB_INTEGER || type == HDB_FLOAT) buf_be64(out, (uint64_t)integer);
  else if (type != HDB_NULL) put_bytes(out, p, (size_t)n);
}

static void put_trailer(session *s) {
  buf_byte(&s->out, (uint8_t)hdb_get_autocommit(s->db));
  buf_be64(&s->out, (uint64_t)hdb_changes(s->db));
  buf_be64(&s->out, (uint64_t)hdb_total_changes(s->db));
  buf_be64(&s->out, (uint64_t)hdb_last_insert_rowid(s->db));
  buf_be64(&s->out, (uint64_t)hdb_last_commit_timestamp(s->db));
}

static void fail(session *s) {
  char code[16], offset[16];
  const char *m = s->err.message ? s->err.message : status_text(s->err.code);
  if ((s->err.code & 0xff) == HDB_NOMEM && s->c->budget.exceeded) m = "out of memory: the statement needs more than the server's --memory-limit";
  buf words = BUF_INIT;
  error_fields f = {.severity = "ERROR"};
  f.sqlstate = sqlstate_of(s->err.code, m, &words, &f);
  f = (error_fields){.severity = "ERROR", .sqlstate = f.sqlstate, .message = m, .code = code};
  snprintf(code, sizeof code, "%d", (int)s->err.code);
  snprintf(offset, sizeof offset, "%d", s->err.offset);
  if (s->err.offset >= 0) f.offset = offset;
  if (s->err.code == HDB_BUSY_SNAPSHOT) hdb_conflict(s->db, &f.conflict_table, &f.conflict_key);
  if ((s->err.code & 0xff) == HDB_INTERRUPT && (atomic_load(&s->server->stopping) || atomic_load(&s->c->terminated))) {
    f.severity = "FATAL";
    f.sqlstate = "57P01";
    connection_end(s->c);
  }
  proto_error(&s->out, &f);
  atomic_fetch_add(&s->server->errors_sent, 1);
  buf_free(&words);
  error_clear(&s->err);
  s->skip_to_sync = true;
}

static void refuse(session *s, const char *sentence) { error_set(&s->err, HDB_PROTOCOL, "%s", sentence); }

/* ---- statements ---- */

static remote_statement *find(session *s, uint32_t id) {
  struct remote *m = s->remote;
  if (id >= 1 && id <= m->count && m->statements[id - 1].handle) return &m->statements[id - 1];
  refuse(s, "no such statement");
  return NULL;
}

static uint32_t keep(struct remote *m, hdb_stmt *handle) {
  uint32_t at = 0;
  while (at < m->count && m->statements[at].handle) at++;
  if (at == STATEMENTS_MAX) return 0;
  if (at == m->capacity) {
    uint32_t capacity = m->capacity ? 2 * m->capacity : 16;
    remote_statement *more = realloc(m->statements, capacity * sizeof *more);
    if (!more) return 0;
    m->statements = more;
    m->capacity = capacity;
  }
  if (at == m->count) m->count++;
  m->statements[at] = (remote_statement){.handle = handle, .compiled = hdb_stmt_compiled(handle)};
  return at + 1;
}

static void forget_pending(remote_statement *t) {
  free(t->pending_message);
  t->pending_message = NULL;
  t->pending = HDB_OK;
}

/* A reset may end a statement that writes, and with it a transaction: that can fail. */
static void let_go(session *s, slice list) {
  for (size_t i = 0; i + 4 <= list.n; i += 4) {
    uint32_t word = get_be32(list.p + i), id = word & ~FINALIZE;
    if (id < 1 || id > s->remote->count || !s->remote->statements[id - 1].handle) continue;
    remote_statement *t = &s->remote->statements[id - 1];
    bool failed = t->failed;
    int rc = t->running ? hdb_reset(t->handle) : HDB_OK;
    t->running = t->failed = false;
    forget_pending(t);
    if (rc != HDB_OK && !failed && !s->err.message) engine_failed(s, rc);
    if (word & FINALIZE) statement_free(t);
  }
}

static void run_prepare(session *s, body_reader *r) {
  unsigned flags = body_u8(r);
  slice sql = body_bytes(r, (size_t)(r->end - r->p));
  char *text = malloc(sql.n + 1);
  const char *tail = NULL;
  hdb_stmt *handle = NULL;
  if (!text) {
    error_set(&s->err, HDB_NOMEM, "out of memory");
    return;
  }
  if (sql.n) memcpy(text, sql.p, sql.n);
  text[sql.n] = 0;
  int rc = hdb_prepare(s->db, text, -1, flags, &handle, &tail);
  uint32_t used = tail ? (uint32_t)(tail - text) : (uint32_t)sql.n, id = 0;
  free(text);
  if (rc != HDB_OK) {
    engine_failed(s, rc);
    return;
  }
  if (handle && !(id = keep(s->remote, handle))) {
    hdb_finalize(handle);
    error_set(&s->err, HDB_NOMEM, "too many statements");
    return;
  }
  buf_be32(&s->out, id);
  buf_be32(&s->out, used);
  if (handle) put_description(&s->out, handle);
}

static int bind_value(hdb_stmt *handle, int index, body_reader *r) {
  switch (body_u8(r)) {
  case HDB_INTEGER: case HDB_FLOAT: {
    bool real = r->p[-1] == HDB_FLOAT;
    slice word = body_bytes(r, 8);
    if (r->bad) return HDB_PROTOCOL;
    int64_t integer = (int64_t)get_be64(word.p);
    double number;
    memcpy(&number, &integer, sizeof number);
    return real ? hdb_bind_double(handle, index, number) : hdb_bind_int64(handle, index, integer);
  }
  case HDB_TEXT: case HDB_BLOB: {
    bool text = r->p[-1] == HDB_TEXT;
    slice bytes = body_bytes(r, body_u32(r));
    if (r->bad) return HDB_PROTOCOL;
    const char *p = bytes.n ? (const char *)bytes.p : "";
    return text ? hdb_bind_text(handle, index, p, (int64_t)bytes.n, HDB_TRANSIENT)
                : hdb_bind_blob(handle, index, p, (int64_t)bytes.n, HDB_TRANSIENT);
  }
  case HDB_NULL: return hdb_bind_null(handle, index);
  default: return HDB_PROTOCOL;
  }
}

/* Steps, and writes what comes: at most `most` rows, about BATCH_BYTES. */
static void put_rows(session *s, remote_statement *t, uint32_t most) {
  buf *out = &s->out;
  size_t start = out->n;
  if (t->pending) {
    error_set(&s->err, t->pending, "%s", t->pending_message ? t->pending_message : status_text(t->pending));
    s->err.offset = t->pending_offset;
    t->failed = true;
    forget_pending(t);
    return;
  }
  int rc = hdb_step(t->handle);
  t->running = true;
  bool described = hdb_stmt_compiled(t->handle) != t->compiled;
  buf_byte(out, 0);
  buf_byte(out, described);
  if (described) put_description(out, t->handle);
  t->compiled = hdb_stmt_compiled(t->handle);
  int columns = hdb_column_count(t->handle);
  buf_be32(out, (uint32_t)columns);
  size_t count_at = out->n;
  uint32_t count = 0;
  buf_be32(out, 0);
  while (rc == HDB_ROW) {
    for (int i = 0; i < columns; i++) put_value(out, t->handle, i);
    count++;
    if (out->failed || count >= most || out->n - start >= BATCH_BYTES) break;
    rc = hdb_step(t->handle);
  }
  if (rc != HDB_ROW && rc != HDB_DONE) {
    engine_failed(s, rc);
    if (count) {
      t->pending = s->err.code;
      t->pending_message = s->err.message ? strdup(s->err.message) : NULL;
      t->pending_offset = s->err.offset;
      error_clear(&s->err);
    } else {
      t->failed = true;
    }
  }
  if (out->failed) return;
  put_be32(out->p + count_at, count);
  if (rc == HDB_DONE) {
    out->p[start] = 1;
    hdb_reset(t->handle);
    t->running = false;
  }
}

static void run_run(session *s, body_reader *r) {
  remote_statement *t = find(s, body_u32(r));
  unsigned flags = body_u8(r);
  uint32_t most = body_u32(r), count = body_u32(r);
  if (!t) return;
  if (t->running) hdb_reset(t->handle);
  t->running = t->failed = false;
  forget_pending(t);
  for (uint32_t i = 0; (flags & 1) && i < count && !r->bad; i++) {
    int rc = bind_value(t->handle, (int)i + 1, r);
    if (rc == HDB_PROTOCOL || r->bad) r->bad = true;
    else if (rc != HDB_OK) {
      engine_failed(s, rc);
      return;
    }
  }
  if (!r->bad) put_rows(s, t, most);
}

/* The first set that fails ends it; those before it stay, as they would one by one. */
static void run_many(session *s, body_reader *r) {
  remote_statement *t = find(s, body_u32(r));
  uint32_t sets = body_u32(r), count = body_u32(r);
  int64_t changes = 0;
  if (!t) return;
  if (t->running) hdb_reset(t->handle);
  t->running = t->failed = false;
  forget_pending(t);
  for (uint32_t set = 0; set < sets && !r->bad; set++) {
    int rc = HDB_OK;
    for (uint32_t i = 0; i < count && !r->bad && rc == HDB_OK; i++) rc = bind_value(t->handle, (int)i + 1, r);
    if (rc == HDB_PROTOCOL) r->bad = true;
    if (r->bad) break;
    while (rc == HDB_OK || rc == HDB_ROW) rc = hdb_step(t->handle);
    if (rc != HDB_DONE) {
      engine_failed(s, rc);
      hdb_reset(t->handle);
      return;
    }
    if (hdb_stmt_is_dml(t->handle)) changes += hdb_changes(s->db);
    hdb_reset(t->handle);
  }
  buf_be64(&s->out, (uint64_t)changes);
}

static void run_fetch(session *s, body_reader *r) {
  remote_statement *t = find(s, body_u32(r));
  uint32_t most = body_u32(r);
  if (!t || r->bad) return;
  if (!t->running) refuse(s, "this statement does not run");
  else put_rows(s, t, most);
}

/* ---- the rest ---- */

static void run_info(session *s, body_reader *r) {
  put_string(&s->out, hdb_libversion());
  put_string(&s->out, hdb_product_version());
  put_string(&s->out, hdb_db_filename(s->db, "main"));
  put_string(&s->out, hdb_branch(s->db));
  for (int i = 0; i < HDB_LIMITS; i++) buf_be32(&s->out, (uint32_t)hdb_limit(s->db, i, -1));
}

static void run_release(session *s, body_reader *r) {}

static void run_config(session *s, body_reader *r) {
  unsigned which = body_u8(r);
  int a = (int)body_u32(r), b = (int)body_u32(r), result = HDB_OK, now = 0;
  if (r->bad) return;
  switch (which) {
  case 1: result = hdb_busy_timeout(s->db, a); break;
  case 2: result = hdb_limit(s->db, a, b); break;
  case 3: {
    result = hdb_db_config(s->db, a, b, &now);
    if (result != HDB_OK) engine_failed(s, result);
    break;
  }
  default: refuse(s, "no such setting");
  }
  buf_be32(&s->out, (uint32_t)result);
  buf_be32(&s->out, (uint32_t)now);
}

static void run_serialize(session *s, body_reader *r) {
  struct remote *m = s->remote;
  char name[200];
  slice schema = body_bytes(r, (size_t)(r->end - r->p));
  snprintf(name, sizeof name, "%.*s", (int)(schema.n < sizeof name ? schema.n : sizeof name - 1), schema.n ? (const char *)schema.p : "");
  hdb_free(m->image);
  m->image_bytes = 0;
  m->image = hdb_serialize(s->db, name, &m->image_bytes);
  if (!m->image) engine_failed(s, HDB_ERROR);
  buf_be64(&s->out, (uint64_t)m->image_bytes);
}

/* The last piece lets the image go. */
static void run_piece(session *s, body_reader *r) {
  struct remote *m = s->remote;
  slice at = body_bytes(r, 8);
  uint32_t most = body_u32(r);
  if (r->bad) return;
  uint64_t offset = get_be64(at.p), left = offset <= (uint64_t)m->image_bytes ? (uint64_t)m->image_bytes - offset : 0;
  if (most > PIECE_MAX) most = PIECE_MAX;
  if (left < most) most = (uint32_t)left;
  put_bytes(&s->out, most ? m->image + offset : (const unsigned char *)"", most);
  if (left > most) return;
  hdb_free(m->image);
  m->image = NULL;
  m->image_bytes = 0;
}

static void run_checkpoint(session *s, body_reader *r) {
  int rc = hdb_checkpoint(s->db);
  if (rc != HDB_OK) engine_failed(s, rc);
}

static const struct command {
  const char *name;
  command_run *run;
} commands[] = {{"run", run_run},         {"fetch", run_fetch},   {"many", run_many}, {"prepare", run_prepare},     {"release", run_release},
                {"info", run_info},       {"config", run_config}, {"serialize", run_serialize}, {"piece", run_piece},
                {"checkpoint", run_checkpoint}};

/* ---- messages ---- */

static void take_parse(session *s, slice body) {
  parse_message m;
  s->remote->command = NULL;
  if (proto_parse(body, &m))
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
      if (strcmp(commands[i].name, m.sql) == 0) s->remote->command = &commands[i];
  if (s->remote->command) {
    proto_simple(&s->out, '1');
    return;
  }
  refuse(s, "no such command");
  fail(s);
}

static void take_bind(session *s, slice body) {
  bind_message m;
  if (!s->remote->command || !proto_bind(body, &m) || m.parameters_n != 2) {
    refuse(s, "invalid message format");
    fail(s);
    return;
  }
  size_t walk = 0, before = s->out.n;
  bool null;
  slice argument = proto_bind_value(&m, &walk, &null), list = proto_bind_value(&m, &walk, &null);
  body_reader r = body_of(argument);
  field_description f = {.name = "answer", .type = PG_BYTEA, .size = -1, .modifier = -1, .format = 1};
  run_begin(s);
  proto_simple(&s->out, '2');
  proto_row_description(&s->out, &f, 1);
  size_t row = message_begin(&s->out, 'D'), length;
  put_u16(&s->out, 1);
  length = s->out.n;
  buf_be32(&s->out, 0);
  let_go(s, list);
  if (!s->err.message) s->remote->command->run(s, &r);
  if (r.bad && !s->err.message) refuse(s, "invalid message format");
  if (s->out.failed && !s->err.message) error_set(&s->err, HDB_NOMEM, "out of memory");
  run_end(s);
  if (s->err.message || s->err.code) {
    if (!s->out.failed) s->out.n = before;
    fail(s);
    return;
  }
  put_trailer(s);
  if (s->out.failed) return;
  put_be32(s->out.p + length, (uint32_t)(s->out.n - length - 4));
  message_end(&s->out, row);
  proto_command_complete(&s->out, "CALL");
}

void remote_message(session *s, const message *m) {
  switch (m->type) {
  case 'P': take_parse(s, m->body); break;
  case 'B': take_bind(s, m->body); break;
  case 'D': case 'E': case 'C': case 'H': break;
  case 'S':
    s->skip_to_sync = false;
    s->block = hdb_get_autocommit(s->db) ? BLOCK_NONE : BLOCK_OPEN;
    session_ready(s);
    break;
  case 'X':
    s->state = STATE_END;
    connection_end(s->c);
    break;
  default: session_fatal(s, "08P01", "invalid frontend message type %d in a session of heliosdb_client", m->type);
  }
}
