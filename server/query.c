/* Simple and extended query: statements, portals, transactions (session.h, S1-S3). */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "server/session.h"
#include "sql/pg_enum.h"
#include "sql/pg_catalog.h"
#include "sql/shape.h"

/* ---- running ---- */

void run_begin(session *s) {
  connection *c = s->c;
  pthread_mutex_lock(&c->mutex); /* a cancel for the statement before does not meet this one */
  atomic_store(&c->timed_out, false);
  atomic_store(&c->cancelled, false);
  long timeout = s->statement_timeout_ms;
  c->run_ns = (long long)now_ns();
  c->budget = (memory_budget){.left = s->server->memory_limit};
  atomic_store(&c->deadline_ns, timeout > 0 ? c->run_ns + timeout * 1000000ll : 0);
  atomic_store(&c->busy, true);
  pthread_mutex_unlock(&c->mutex);
  if (timeout > 0) server_poke(s->server);
  atomic_fetch_add(&s->server->statements_run, 1);
}

void run_end(session *s) {
  if (atomic_load(&s->c->busy)) atomic_fetch_add(&s->server->statement_ns, (long long)now_ns() - s->c->run_ns);
  pthread_mutex_lock(&s->c->mutex);
  atomic_store(&s->c->busy, false);
  atomic_store(&s->c->deadline_ns, 0);
  pthread_mutex_unlock(&s->c->mutex);
}

status run_text(session *s, const char *sql) {
  int rc = hdb_exec(s->db, sql, NULL, NULL, NULL);
  return rc == HDB_OK ? HDB_OK : engine_failed(s, rc);
}

/* ---- transactions ---- */

status transaction_begin(session *s, bool implicit) {
  TRY(transaction_settings(s));
  TRY(run_text(s, "BEGIN"));
  s->block = implicit ? BLOCK_NONE : BLOCK_OPEN;
  s->implicit = implicit;
  return HDB_OK;
}

/* Whatever happens, the transaction is over. */
status transaction_end(session *s, bool commit) {
  status rc = HDB_OK;
  portals_drop_all(s, true);
  if (!hdb_get_autocommit(s->db)) {
    rc = run_text(s, commit ? "COMMIT" : "ROLLBACK");
    if (rc != HDB_OK && !hdb_get_autocommit(s->db)) hdb_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
  }
  error kept = s->err;
  s->err = (error)ERROR_INIT;
  s->block = BLOCK_NONE;
  s->implicit = false;
  settings_transaction_end(s, commit && rc == HDB_OK);
  notify_transaction_end(s, commit && rc == HDB_OK);
  error_clear(&s->err);
  s->err = kept;
  return rc;
}

void transaction_failed(session *s) {
  if (s->implicit) {
    error kept = s->err;
    s->err = (error)ERROR_INIT;
    (void)transaction_end(s, false);
    error_clear(&s->err);
    s->err = kept;
  } else if (s->block == BLOCK_OPEN) {
    s->block = BLOCK_FAILED;
  }
}

static bool ends_block(enum statement_class c) { return c == CLASS_COMMIT || c == CLASS_ROLLBACK || c == CLASS_ROLLBACK_TO; }

static status check_block(session *s, const translation *t) {
  if (s->block != BLOCK_FAILED || ends_block(t->class) || t->class == CLASS_EMPTY) return HDB_OK;
  return error_set(&s->err, HDB_ERROR, "current transaction is aborted, commands ignored until end of transaction block");
}

/* ---- statements ---- */

prepared *find_prepared(session *s, const char *name) {
  for (prepared *p = s->statements; p; p = p->next)
    if (p->name && strcmp(p->name, name) == 0) return p;
  return NULL;
}

portal *find_portal(session *s, const char *name) {
  for (portal *p = s->portals; p; p = p->next)
    if (strcmp(p->name, name) == 0) return p;
  return NULL;
}

void prepared_free(prepared *p) {
  hdb_finalize(p->statement);
  free(p->name);
  arena_clear(&p->memory);
  free(p);
}

void prepared_drop(session *s, prepared *p) {
  for (portal *o = s->portals, *next; o; o = next) {
    next = o->next;
    if (o->source == p) portal_drop(s, o);
  }
  for (prepared **at = &s->statements; *at; at = &(*at)->next)
    if (*at == p) {
      *at = p->next;
      break;
    }
  if (p == s->pinned) s->pinned_dropped = true;
  else if (!kept_put(s, p)) prepared_free(p);
}

static void unpin(session *s) {
  if (s->pinned_dropped) prepared_free(s->pinned);
  s->pinned = NULL;
  s->pinned_dropped = false;
}

void portal_drop(session *s, portal *o) {
  for (portal **at = &s->portals; *at; at = &(*at)->next)
    if (*at == o) {
      *at = o->next;
      break;
    }
  if (o->statement && o->own) {
    hdb_finalize(o->statement);
  } else if (o->statement) {
    hdb_reset(o->statement);
    hdb_clear_bindings(o->statement);
    o->source->lent = false;
  }
  prepared *hidden = o->source && !o->source->name ? o->source : NULL; /* made for this portal alone */
  free(o->name);
  free(o->formats);
  free(o->row_starts);
  buf_free(&o->kept);
  arena_clear(&o->memory);
  free(o);
  if (hidden) prepared_drop(s, hidden);
}

void portals_drop_all(session *s, bool transaction_ended) {
  for (portal *o = s->portals, *next; o; o = next) {
    next = o->next;
    if (transaction_ended && o->hold && o->materialized) continue;
    portal_drop(s, o);
  }
}

/* The engine's statement of a translation's last text; the texts before it are run when the statement runs. */
static status compile_prepared(session *s, prepared *p) {
  if (p->t.class != CLASS_SQL || p->t.texts_n == 0) return HDB_OK;
  const char *tail;
  if (p->t.texts_n > 1) return HDB_OK;
  int rc = hdb_prepare(s->db, p->t.texts[0], -1, HDB_PREPARE_PERSISTENT, &p->statement, &tail);
  if (rc != HDB_OK) {
    s->current = &p->t;
    return engine_failed(s, rc);
  }
  return HDB_OK;
}

/* sql: the statement's text, copied. name NULL: not to be found by name. */
status prepare_statement(session *s, const char *name, const char *sql, slice unused, const uint32_t *types, int types_n, prepared **out) {
  (void)unused;
  prepared *p = calloc(1, sizeof *p);
  if (!p) return error_set(&s->err, HDB_NOMEM, "out of memory");
  p->name = name ? strdup(name) : NULL;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  p->made_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
  p->sql = arena_strdup(&p->memory, sql);
  pg_token *tokens;
  int n = 0;
  status rc = p->sql ? pg_tokenize(slice_str(p->sql), &p->memory, &tokens, &n, &s->err) : HDB_NOMEM;
  if (rc == HDB_OK) {
    while (n > 0 && tokens[n - 1].kind == PT_PUNCT && tokens[n - 1].text[0] == ';') n--;
    for (int i = 0; i < n && rc == HDB_OK; i++)
      if (tokens[i].kind == PT_PUNCT && tokens[i].text[0] == ';')
        rc = error_set(&s->err, HDB_ERROR, "syntax error: cannot insert multiple commands into a prepared statement");
  }
  if (rc == HDB_OK) rc = translate(slice_str(p->sql), tokens, n, &p->memory, &p->t, &s->err);
  if (rc == HDB_OK) rc = check_block(s, &p->t);
  if (rc == HDB_OK) rc = compile_prepared(s, p);
  if (rc == HDB_OK && p->statement) rc = hdb_describe(s->db, p->t.texts[0], types, types_n, &p->memory, &p->d);
  else if (rc == HDB_OK) utility_describe(s, &p->t, &p->memory, &p->d);
  if (rc == HDB_OK && p->t.class == CLASS_DECLARE) declare_describe(s, &p->t, p->sql, types, types_n, &p->memory, &p->d);
  if (rc != HDB_OK) {
    if (s->current == &p->t && s->err.offset >= 0) { /* the pieces go with p */
      s->err.offset = (int)translation_position(&p->t, (uint32_t)s->err.offset);
    }
    s->current = NULL;
    prepared_free(p);
    return rc;
  }
  int columns = p->statement ? hdb_column_count(p->statement) - p->t.hidden : 0;
  if (p->d.columns_n == columns + p->t.hidden) p->d.columns_n -= p->t.hidden;
  if (p->statement && p->d.columns_n != columns) { /* what could not be told is text */
    described_column *all = arena_zero(&p->memory, (size_t)(columns + 1) * sizeof *all);
    if (!all) {
      prepared_free(p);
      return error_set(&s->err, HDB_NOMEM, "out of memory");
    }
    for (int i = 0; i < columns; i++) {
      const char *label = hdb_column_name(p->statement, i);
      all[i] = (described_column){.label = arena_strdup(&p->memory, label ? label : ""), .type = PG_TEXT, .modifier = -1};
    }
    p->d.columns = all;
    p->d.columns_n = columns;
  }
  p->next = s->statements;
  s->statements = p;
  *out = p;
  return HDB_OK;
}

/* ---- portals ---- */

status portal_new(session *s, const char *name, prepared *p, portal **out) {
  portal *o = calloc(1, sizeof *o);
  if (!o) return error_set(&s->err, HDB_NOMEM, "out of memory");
  o->name = strdup(name);
  o->source = p;
  o->formats = calloc((size_t)p->d.columns_n + 1, sizeof *o->formats);
  if (!o->name || !o->formats) {
    free(o->name);
    free(o->formats);
    free(o);
    return error_set(&s->err, HDB_NOMEM, "out of memory");
  }
  o->next = s->portals;
  s->portals = o;
  if (p->statement && !p->lent) {
    o->statement = p->statement;
    p->lent = true;
  } else if (p->statement) {
    const char *tail;
    int rc = hdb_prepare(s->db, p->t.texts[0], -1, 0, &o->statement, &tail);
    o->own = true;
    if (rc != HDB_OK) {
      engine_failed(s, rc);
      portal_drop(s, o);
      return s->err.code;
    }
  }
  *out = o;
  return HDB_OK;
}

status bind_values(session *s, portal *o, const value *values, int n) {
  int wanted = o->statement ? hdb_bind_parameter_count(o->statement) : 0;
  if (!o->statement) return HDB_OK;
  for (int i = 0; i < wanted && i < n; i++) {
    const value *v = &values[i];
    int rc = HDB_OK;
    switch (v->type) {
    case VAL_NULL: rc = hdb_bind_null(o->statement, i + 1); break;
    case VAL_INTEGER: rc = hdb_bind_int64(o->statement, i + 1, v->i); break;
    case VAL_REAL: rc = hdb_bind_double(o->statement, i + 1, v->r); break;
    case VAL_TEXT: rc = hdb_bind_text(o->statement, i + 1, v->p, v->n, HDB_STATIC); break;
    default: rc = hdb_bind_blob(o->statement, i + 1, v->n ? v->p : "", v->n, HDB_STATIC);
    }
    if (rc != HDB_OK) return engine_failed(s, rc);
  }
  return HDB_OK;
}

void put_row_description(session *s, const description *d, const uint16_t *formats) {
  if (d->columns_n == 0) {
    proto_simple(&s->out, 'n');
    return;
  }
  field_description *fields = calloc((size_t)d->columns_n, sizeof *fields);
  buf *words = s->encoding ? calloc((size_t)d->columns_n, sizeof *words) : NULL;
  if (!fields || (s->encoding && !words)) {
    free(fields);
    return;
  }
  for (int i = 0; i < d->columns_n; i++) {
    const described_column *c = &d->columns[i];
    const pg_type *t = pg_type_by_oid(c->type);
    fields[i] = (field_description){.name = s->encoding ? encoding_words(s, c->label, &words[i]) : c->label, .table = c->table, .column = c->column, .type = c->type,
                                    .size = t ? t->size : pg_is_own_type(c->type) && !pg_array_element(c->type) ? 4 : -1, .modifier = c->modifier, .format = formats ? formats[i] : 0};
  }
  proto_row_description(&s->out, fields, (unsigned)d->columns_n);
  for (int i = 0; words && i < d->columns_n; i++) buf_free(&words[i]);
  free(words);
  free(fields);
}

static bool is_text(uint32_t type, int format) {
  const pg_type *t = pg_type_by_oid(type);
  return format == 0 || (t && (t->category == 'S' || type == PG_JSON));
}

/* A DataRow of the statement's current row. */
static status put_row(session *s, portal *o, buf *out) {
  const description *d = &o->source->d;
  size_t start = message_begin(out, 'D');
  put_u16(out, (uint16_t)d->columns_n);
  for (int i = 0; i < d->columns_n; i++) {
    int64_t integer = 0, n = 0;
    double real = 0;
    const char *p = NULL;
    value v = value_null();
    switch (hdb_column_raw(o->statement, i, &integer, &real, &p, &n)) {
    case HDB_INTEGER: v = value_int(integer); break;
    case HDB_FLOAT: v = value_real(real); break;
    case HDB_TEXT: v = value_text(p, (size_t)n); break;
    case HDB_BLOB: v = value_blob(p, (size_t)n); break;
    default: break;
    }
    if (v.type == VAL_NULL) {
      buf_be32(out, UINT32_MAX);
      continue;
    }
    size_t at = out->n;
    buf_be32(out, 0);
    uint32_t type = d->columns[i].type;
    if ((type == PG_REGCLASS || type == PG_REGTYPE || type == PG_REGNAMESPACE || type == PG_REGROLE) && v.type == VAL_INTEGER) {
      if (o->formats[i] == 1) buf_be32(out, (uint32_t)v.i);
      else if (!pg_reg_text(s->db, type, v.i, out)) buf_printf(out, "%lld", (long long)v.i);
      put_be32(out->p + at, (uint32_t)(out->n - at - 4));
      continue;
    }
    status rc = wire_put(s->zone, d->columns[i].type, d->columns[i].modifier, o->formats[i], &v, out, &s->err);
    if (s->encoding && rc == HDB_OK && is_text(type, o->formats[i])) rc = encoding_out(s, out, at + 4);
    if (rc == HDB_OK && out->failed) rc = error_set(&s->err, HDB_NOMEM, "out of memory");
    if (rc != HDB_OK) {
      if (!out->failed) out->n = start - 1; /* the type byte too */
      if (rc == HDB_MISMATCH && d->columns[i].label) {
        char *message = s->err.message ? strdup(s->err.message) : NULL;
        error_set(&s->err, rc, "%s (column \"%s\")", message ? message : "", d->columns[i].label);
        free(message);
      }
      return rc;
    }
    put_be32(out->p + at, (uint32_t)(out->n - at - 4));
  }
  message_end(out, start);
  return HDB_OK;
}

/* Rows of a cursor that scrolls or outlives its transaction. */
static status portal_keep(session *s, portal *o) {
  size_t capacity = 0;
  int rc;
  while ((rc = hdb_step(o->statement)) == HDB_ROW) {
    if ((size_t)o->kept_n + 1 >= capacity) {
      capacity = capacity ? capacity * 2 : 256;
      size_t *more = realloc(o->row_starts, capacity * sizeof *more);
      if (!more) return error_set(&s->err, HDB_NOMEM, "out of memory");
      o->row_starts = more;
    }
    o->row_starts[o->kept_n++] = o->kept.n;
    TRY(put_row(s, o, &o->kept));
  }
  if (rc != HDB_DONE) return engine_failed(s, rc);
  o->materialized = true;
  return HDB_OK;
}

status portal_materialize(session *s, portal *o);
status portal_materialize(session *s, portal *o) { return o->materialized ? HDB_OK : portal_keep(s, o); }

void put_tag(session *s, const translation *t, int64_t rows) {
  char tag[100];
  if (t->counts) snprintf(tag, sizeof tag, "%s %lld", t->tag, (long long)rows);
  else snprintf(tag, sizeof tag, "%s", t->tag);
  proto_command_complete(&s->out, tag);
}

/* Texts before the last, or all when the last has no statement yet. */
static status run_texts(session *s, portal *o) {
  const translation *t = &o->source->t;
  bool several = t->texts_n > 1, own = several && hdb_get_autocommit(s->db);
  if (own) TRY(run_text(s, "BEGIN"));
  status rc = HDB_OK;
  int64_t number;
  bool there = t->unless_exists && pg_reg_number(s->db, PG_REGCLASS, t->unless_exists, &number);
  for (int i = 0; i < t->texts_n && rc == HDB_OK && !there; i++) rc = run_text(s, t->texts[i]);
  if (own) {
    error kept = s->err;
    s->err = (error)ERROR_INIT;
    status end = run_text(s, rc == HDB_OK ? "COMMIT" : "ROLLBACK");
    if (rc == HDB_OK && end != HDB_OK) {
      error_clear(&kept);
      hdb_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
      return end;
    }
    error_clear(&s->err);
    s->err = kept;
  }
  return rc;
}

void existence_notices(session *s, const translation *t) {
  int64_t number;
  char text[300];
  for (int i = 0; i < t->if_exists_n; i++) {
    if (pg_reg_number(s->db, PG_REGCLASS, t->if_exists[i], &number)) continue;
    snprintf(text, sizeof text, "%s \"%s\" does not exist, skipping", t->if_exists_kind, t->if_exists[i]);
    session_notice(s, "NOTICE", "00000", text);
  }
  if (t->unless_exists && pg_reg_number(s->db, PG_REGCLASS, t->unless_exists, &number)) {
    snprintf(text, sizeof text, "relation \"%s\" already exists, skipping", t->unless_exists);
    session_notice(s, "NOTICE", "42P07", text);
  } else if (t->if_not_exists && pg_reg_number(s->db, PG_REGCLASS, t->if_not_exists, &number)) {
    snprintf(text, sizeof text, "relation \"%s\" already exists, skipping", t->if_not_exists);
    session_notice(s, "NOTICE", "42P07", text);
  }
}

static status run_rows(session *s, portal *o, int64_t limit, bool *suspended, bool send_rows);

status portal_run(session *s, portal *o, int64_t limit, bool *suspended, bool send_rows) {
  *suspended = false;
  if (o->done) return HDB_OK;
  s->queried = true;
  if (!kept_tag(&o->source->t)) s->kept_stale = true;
  if (!o->source->t.locks) return run_rows(s, o, limit, suspended, send_rows);
  if (s->read_only) return error_set(&s->err, HDB_READONLY, "cannot execute SELECT FOR UPDATE in a read-only transaction");
  int before = hdb_watch_reads(s->db);
  status rc = run_rows(s, o, limit, suspended, send_rows);
  hdb_unwatch_reads(s->db, before);
  return rc;
}

static status run_rows(session *s, portal *o, int64_t limit, bool *suspended, bool send_rows) {
  if (!o->started) existence_notices(s, &o->source->t);
  if (!o->statement) {
    o->done = true;
    return run_texts(s, o);
  }
  int64_t given = 0;
  o->started = true;
  while (limit == 0 || given < limit) {
    int rc = hdb_step(o->statement);
    if (rc == HDB_ROW) {
      given++;
      o->rows++;
      if (!send_rows) continue;
      TRY(put_row(s, o, &s->out));
      if (s->out.n >= OUTPUT_CHUNK) {
        session_send(s);
        if (connection_gone(s->c)) return error_set(&s->err, HDB_INTERRUPT, "interrupted");
      }
      continue;
    }
    o->done = true;
    if (rc == HDB_DONE) {
      if (o->source->d.columns_n == 0 && o->source->t.counts) o->rows = hdb_changes(s->db);
      return HDB_OK;
    }
    return engine_failed(s, rc);
  }
  *suspended = true;
  return HDB_OK;
}

/* ---- a statement of a simple query, or one that SQL text asked for ---- */

static status run_engine(session *s, const translation *t, const char *sql) {
  prepared *p = calloc(1, sizeof *p);
  if (!p) return error_set(&s->err, HDB_NOMEM, "out of memory");
  p->t = *t;
  p->sql = sql;
  portal *o = NULL;
  status rc = compile_prepared(s, p);
  if (rc == HDB_OK && p->statement) {
    if (hdb_bind_parameter_count(p->statement) > 0)
      rc = error_set(&s->err, HDB_ERROR, "there is no parameter $1");
    int columns = hdb_column_count(p->statement) - p->t.hidden;
    if (rc == HDB_OK && columns) rc = hdb_describe(s->db, t->texts[0], NULL, 0, &p->memory, &p->d);
    if (p->d.columns_n == columns + p->t.hidden) p->d.columns_n -= p->t.hidden;
    if (rc == HDB_OK && p->d.columns_n != columns) {
      p->d.columns = arena_zero(&p->memory, (size_t)(columns + 1) * sizeof *p->d.columns);
      p->d.columns_n = p->d.columns ? columns : 0;
      for (int i = 0; i < p->d.columns_n; i++)
        p->d.columns[i] = (described_column){.label = arena_strdup(&p->memory, hdb_column_name(p->statement, i)), .type = PG_TEXT, .modifier = -1};
    }
  }
  p->next = s->statements;
  s->statements = p;
  if (rc == HDB_OK) rc = portal_new(s, "", p, &o);
  if (rc == HDB_OK) {
    bool suspended;
    if (p->d.columns_n) put_row_description(s, &p->d, NULL);
    size_t before = s->out.n;
    rc = portal_run(s, o, 0, &suspended, true);
    (void)before;
    if (rc == HDB_OK) put_tag(s, t, o->rows);
  }
  if (rc != HDB_OK && s->err.offset >= 0) s->err.offset = (int)translation_position(t, (uint32_t)s->err.offset);
  s->current = NULL;
  if (o) portal_drop(s, o); /* and p with it */
  else prepared_drop(s, p);
  return rc;
}

status run_translation(session *s, const char *sql, const pg_token *tokens, int n, bool last) {
  translation t;
  (void)last;
  TRY(translate(slice_str(sql), tokens, n, &s->query_memory, &t, &s->err));
  TRY(check_block(s, &t));
  if (t.notice) session_notice(s, "NOTICE", "00000", t.notice);
  if (t.class == CLASS_EMPTY) {
    proto_simple(&s->out, 'I');
    return HDB_OK;
  }
  if (t.class == CLASS_SQL) return run_engine(s, &t, sql);
  return utility_run(s, &t, sql);
}

typedef struct simple_run {
  char *sql;
  pg_token *tokens;
  int n, at;
} simple_run;

void simple_free(session *s) {
  if (!s->run) return;
  struct simple_run *run = s->run;
  free(run->sql);
  free(run);
  s->run = NULL;
  arena_clear(&s->query_memory);
}

static int statement_end(const pg_token *t, int at, int n) {
  int depth = 0;
  for (int i = at; i < n; i++) {
    if (t[i].kind != PT_PUNCT) continue;
    if (t[i].text[0] == '(') depth++;
    if (t[i].text[0] == ')') depth--;
    if (t[i].text[0] == ';' && depth <= 0) return i;
  }
  return n;
}

static bool is_transaction_word(const pg_token *t) {
  static const char *const words[] = {"begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (token_word(t, words[i])) return true;
  return false;
}

static void simple_done(session *s, status rc) {
  if (rc == HDB_OK && s->implicit) {
    rc = transaction_end(s, true);
    if (rc != HDB_OK) report_error(s);
  }
  simple_free(s);
  s->query = NULL;
  run_end(s);
  if (s->state == STATE_READY) session_ready(s);
}

void simple_resume(session *s) {
  struct simple_run *run = s->run;
  status rc = HDB_OK;
  while (run->at < run->n && rc == HDB_OK) {
    int end = statement_end(run->tokens, run->at, run->n), n = end - run->at;
    const pg_token *first = &run->tokens[run->at];
    bool last = true;
    for (int i = end + 1; i < run->n; i++) last = last && run->tokens[i].kind == PT_PUNCT && run->tokens[i].text[0] == ';';
    bool alone = run->at == 0 && last;
    run->at = end + 1;
    if (n == 0) continue;
    if (!alone && s->block == BLOCK_NONE && !s->implicit && !is_transaction_word(first) && !token_word(first, "vacuum"))
      rc = transaction_begin(s, true);
    if (rc == HDB_OK) rc = run_translation(s, run->sql, first, n, last);
    if (s->state == STATE_COPY_IN) return; /* goes on behind CopyDone */
    session_maybe_send(s);
  }
  if (rc != HDB_OK) {
    report_error(s);
    transaction_failed(s);
  }
  simple_done(s, rc);
}

/* A simple query whose statement is there already; false: it is not. */
static bool simple_kept(session *s, const char *sql, status *rc) {
  int64_t values[SHAPE_VALUES];
  int n;
  prepared *p = kept_simple(s, sql, values, &n);
  if (!p) return false;
  portal *o = NULL;
  bool suspended;
  *rc = portal_new(s, "", p, &o);
  for (int i = 0; i < n && *rc == HDB_OK; i++) *rc = hdb_bind_int64(o->statement, i + 1, values[i]) == HDB_OK ? HDB_OK : engine_failed(s, HDB_ERROR);
  if (*rc == HDB_OK) {
    if (p->d.columns_n) put_row_description(s, &p->d, NULL);
    *rc = portal_run(s, o, 0, &suspended, true);
    if (*rc == HDB_OK) put_tag(s, &p->t, o->rows);
    else if (n) s->err.offset = -1; /* places in the shape are not places in the text */
    else if (s->err.offset >= 0) s->err.offset = (int)translation_position(&p->t, (uint32_t)s->err.offset);
  }
  if (o) portal_drop(s, o);
  else prepared_drop(s, p);
  return true;
}

void simple_query(session *s, const char *sql) {
  prepared *unnamed = find_prepared(s, "");
  if (unnamed) prepared_drop(s, unnamed);
  struct simple_run *run = calloc(1, sizeof *run);
  s->extended = false;
  run_begin(s);
  if (!run || !(run->sql = strdup(sql))) {
    free(run);
    session_error(s, "53200", "out of memory");
    run_end(s);
    session_ready(s);
    return;
  }
  s->run = run;
  s->query = run->sql;
  s->current = NULL;
  error_clear(&s->err);
  status rc;
  if (simple_kept(s, run->sql, &rc)) {
    if (rc != HDB_OK) {
      report_error(s);
      transaction_failed(s);
    }
    simple_done(s, rc);
    return;
  }
  rc = pg_tokenize(slice_str(run->sql), &s->query_memory, &run->tokens, &run->n, &s->err);
  if (rc != HDB_OK) {
    report_error(s);
    transaction_failed(s);
    simple_done(s, rc);
    return;
  }
  bool empty = true;
  for (int i = 0; i < run->n; i++) empty = empty && run->tokens[i].kind == PT_PUNCT && run->tokens[i].text[0] == ';';
  if (empty) {
    proto_simple(&s->out, 'I');
    simple_done(s, HDB_OK);
    return;
  }
  simple_resume(s);
}

/* ---- extended query ---- */

static void extended_failed(session *s) {
  report_error(s);
  transaction_failed(s);
  s->skip_to_sync = true;
  s->query = NULL;
  run_end(s);
}

static void malformed(session *s) {
  session_error(s, "08P01", "invalid message format");
  transaction_failed(s);
  s->skip_to_sync = true;
}

void extended_parse(session *s, slice body) {
  parse_message m;
  s->extended = true;
  if (!proto_parse(body, &m)) {
    malformed(s);
    return;
  }
  run_begin(s);
  prepared *old = find_prepared(s, m.statement), *p;
  arena converted = {0};
  slice text = slice_str(m.sql);
  s->query = m.sql;
  if (s->encoding && encoding_in(s, text, &converted, &text) != HDB_OK) {
    arena_clear(&converted);
    extended_failed(s);
    return;
  }
  if (old && *m.statement) {
    error_set(&s->err, HDB_ERROR, "prepared statement \"%s\" already exists", m.statement);
    extended_failed(s);
    return;
  }
  if (old) prepared_drop(s, old);
  uint32_t *types = calloc((size_t)m.types_n + 1, sizeof *types);
  for (unsigned i = 0; types && i < m.types_n; i++) types[i] = parse_type(&m, i);
  status rc = types ? kept_prepare(s, m.statement, (const char *)text.p, types, m.types_n, &p) : error_set(&s->err, HDB_NOMEM, "out of memory");
  free(types);
  arena_clear(&converted);
  if (rc != HDB_OK) {
    extended_failed(s);
    return;
  }
  s->query = NULL;
  run_end(s);
  proto_simple(&s->out, '1');
}

static status take_values(session *s, const bind_message *m, prepared *p, portal *o) {
  int n = m->parameters_n;
  value *values = arena_zero(&o->memory, (size_t)(n + 1) * sizeof *values);
  if (!values) return error_set(&s->err, HDB_NOMEM, "out of memory");
  size_t at = 0;
  for (int i = 0; i < n; i++) {
    bool null;
    slice bytes = proto_bind_value(m, &at, &null);
    values[i] = value_null();
    uint32_t type = i < p->d.parameters_n ? p->d.parameters[i] : PG_TEXT;
    if (s->encoding && !null && is_text(type, proto_format(m->formats, m->formats_n, (unsigned)i))) TRY(encoding_in(s, bytes, &o->memory, &bytes));
    if (!null) TRY(wire_get(s->zone, type, proto_format(m->formats, m->formats_n, (unsigned)i), bytes, &o->memory, &values[i], &s->err));
    if (!null && pg_is_own_type(type)) TRY(hdb_type_accepts(s->db, type, &values[i], &o->memory, &s->err));
  }
  o->values = values;
  o->values_n = n;
  return bind_values(s, o, values, n);
}

void extended_bind(session *s, slice body) {
  bind_message m;
  s->extended = true;
  if (!proto_bind(body, &m)) {
    malformed(s);
    return;
  }
  prepared *p = find_prepared(s, m.statement);
  portal *old = find_portal(s, m.portal), *o = NULL;
  status rc = HDB_OK;
  if (!p) rc = error_set(&s->err, HDB_ERROR, *m.statement ? "prepared statement \"%s\" does not exist" : "prepared statement%s: unnamed prepared statement does not exist", m.statement);
  else if (m.parameters_n != p->d.parameters_n)
    rc = error_set(&s->err, HDB_ERROR, "bind message supplies %d parameters, but prepared statement \"%s\" requires %d", m.parameters_n, m.statement, p->d.parameters_n);
  else if (s->block == BLOCK_FAILED) rc = check_block(s, &p->t);
  else if (old && *m.portal) rc = error_set(&s->err, HDB_ERROR, "cursor \"%s\" already exists", m.portal);
  if (rc == HDB_OK && old) portal_drop(s, old);
  if (rc == HDB_OK) rc = portal_new(s, m.portal, p, &o);
  if (rc == HDB_OK) rc = take_values(s, &m, p, o);
  if (rc == HDB_OK)
    for (int i = 0; i < p->d.columns_n; i++) o->formats[i] = proto_format(m.result_formats, m.result_formats_n, (unsigned)i);
  if (rc != HDB_OK) {
    if (o) portal_drop(s, o);
    extended_failed(s);
    return;
  }
  proto_simple(&s->out, '2');
}

void extended_describe(session *s, slice body) {
  describe_message m;
  if (!proto_describe(body, &m)) {
    malformed(s);
    return;
  }
  if (m.kind == 'S') {
    prepared *p = find_prepared(s, m.name);
    if (!p) {
      error_set(&s->err, HDB_ERROR, "prepared statement \"%s\" does not exist", m.name);
      extended_failed(s);
      return;
    }
    proto_parameter_description(&s->out, p->d.parameters, (unsigned)p->d.parameters_n);
    put_row_description(s, &p->d, NULL);
    return;
  }
  portal *o = find_portal(s, m.name);
  if (!o) {
    error_set(&s->err, HDB_ERROR, "portal \"%s\" does not exist", m.name);
    extended_failed(s);
    return;
  }
  put_row_description(s, &o->source->d, o->formats);
}

/* A lone statement before its Sync runs by itself; of several, each is part of one transaction (S2). */
static status pipeline_transaction(session *s, const translation *t) {
  if (s->block != BLOCK_NONE || s->implicit) return HDB_OK;
  if (t->class != CLASS_SQL || s->next_type == 'S') return HDB_OK;
  return transaction_begin(s, true);
}

void extended_execute(session *s, slice body) {
  execute_message m;
  s->extended = true;
  if (!proto_execute(body, &m)) {
    malformed(s);
    return;
  }
  portal *o = find_portal(s, m.portal);
  run_begin(s);
  status rc = HDB_OK;
  if (!o) {
    rc = error_set(&s->err, HDB_ERROR, "portal \"%s\" does not exist", m.portal);
  } else {
    const translation *t = &o->source->t;
    s->query = o->source->sql;
    s->pinned = o->source;
    rc = check_block(s, t);
    if (rc == HDB_OK && t->notice) session_notice(s, "NOTICE", "00000", t->notice);
    if (rc == HDB_OK && t->class == CLASS_EMPTY) {
      proto_simple(&s->out, 'I');
    } else if (rc == HDB_OK && t->class != CLASS_SQL) {
      s->bound = o;
      rc = utility_run(s, t, o->source->sql);
      s->bound = NULL;
      if (s->state == STATE_COPY_IN) {
        unpin(s);
        return;
      }
    } else if (rc == HDB_OK) {
      bool suspended = false;
      rc = pipeline_transaction(s, t);
      if (rc == HDB_OK) rc = portal_run(s, o, m.rows, &suspended, true);
      if (rc == HDB_OK && suspended) proto_simple(&s->out, 's');
      else if (rc == HDB_OK) put_tag(s, t, o->rows);
      if (rc == HDB_OK && !suspended) o->rows = 0;
      if (rc != HDB_OK) s->current = t;
    }
  }
  if (rc != HDB_OK) extended_failed(s);
  unpin(s);
  if (rc != HDB_OK) return;
  s->query = NULL;
  run_end(s);
  session_maybe_send(s);
}

void extended_close(session *s, slice body) {
  describe_message m;
  if (!proto_describe(body, &m)) {
    malformed(s);
    return;
  }
  if (m.kind == 'S') {
    prepared *p = find_prepared(s, m.name);
    if (p) prepared_drop(s, p);
  } else {
    portal *o = find_portal(s, m.name);
    if (o) portal_drop(s, o);
  }
  proto_simple(&s->out, '3');
}

void extended_sync(session *s) {
  s->skip_to_sync = false;
  if (s->implicit) {
    if (transaction_end(s, true) != HDB_OK) report_error(s);
  } else if (s->block == BLOCK_NONE) {
    portals_drop_all(s, true);
  }
  session_ready(s);
}
