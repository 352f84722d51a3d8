/* Statements that are the session's own: transactions, settings, prepared statements and cursors of SQL text. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/session.h"
#include "sql/pg_enum.h"

static bool word(const translation *t, int at, const char *text) { return at < t->tokens_n && token_word(&t->tokens[at], text); }

/* ---- transactions ---- */

static status quoted(session *s, const char *verb, const char *name) {
  buf sql = BUF_INIT;
  buf_printf(&sql, "%s ", verb);
  buf_quoted_name(&sql, name);
  status rc = buf_cstr(&sql) ? run_text(s, (const char *)sql.p) : error_set(&s->err, HDB_NOMEM, "out of memory");
  buf_free(&sql);
  return rc;
}

static status run_begin_statement(session *s, const translation *t) {
  int modes = 1 + (word(t, 1, "transaction") || word(t, 1, "work"));
  TRY(transaction_modes_check(s, t, modes));
  if (s->block == BLOCK_OPEN) {
    session_notice(s, "WARNING", "25001", "there is already a transaction in progress");
    return transaction_modes(s, t, modes, true);
  }
  if (s->implicit) {
    s->implicit = false;
    s->block = BLOCK_OPEN;
  } else {
    TRY(transaction_begin(s, false));
  }
  return transaction_modes(s, t, modes, true);
}

static bool chains(const translation *t) {
  for (int i = 1; i < t->tokens_n; i++)
    if (word(t, i, "chain") && !word(t, i - 1, "no")) return true;
  return false;
}

static status run_end_statement(session *s, const translation *t) {
  bool commit = t->class == CLASS_COMMIT && s->block != BLOCK_FAILED, chain = chains(t);
  if (s->block == BLOCK_NONE) session_notice(s, "WARNING", "25P01", "there is no transaction in progress");
  bool failed = s->block == BLOCK_FAILED;
  TRY(transaction_end(s, commit));
  proto_command_complete(&s->out, failed || t->class == CLASS_ROLLBACK ? "ROLLBACK" : "COMMIT");
  return chain ? transaction_begin(s, false) : HDB_OK;
}

static status run_savepoint(session *s, const translation *t) {
  int at = t->tokens_n - 1;
  if (at < 1) return error_set(&s->err, HDB_ERROR, "syntax error at end of input");
  const char *name = t->tokens[at].text;
  const char *kind = t->class == CLASS_SAVEPOINT ? "SAVEPOINT" : t->class == CLASS_RELEASE ? "RELEASE SAVEPOINT" : "ROLLBACK TO SAVEPOINT";
  if (s->block == BLOCK_NONE) return error_set(&s->err, HDB_ERROR, "%s can only be used in transaction blocks", kind);
  TRY(quoted(s, t->class == CLASS_SAVEPOINT ? "SAVEPOINT" : t->class == CLASS_RELEASE ? "RELEASE" : "ROLLBACK TO", name));
  if (t->class == CLASS_ROLLBACK_TO) s->block = BLOCK_OPEN;
  return HDB_OK;
}

/* ---- PREPARE, EXECUTE, DEALLOCATE ---- */

static int close_of(const translation *t, int open) {
  int depth = 0;
  for (int i = open; i < t->tokens_n; i++) {
    if (t->tokens[i].kind != PT_PUNCT) continue;
    if (t->tokens[i].text[0] == '(') depth++;
    if (t->tokens[i].text[0] == ')' && --depth == 0) return i;
  }
  return t->tokens_n;
}

static bool punct(const translation *t, int at, char c) {
  return at < t->tokens_n && t->tokens[at].kind == PT_PUNCT && t->tokens[at].text[0] == c;
}

static char *text_from(const translation *t, const char *sql, int at) {
  if (at >= t->tokens_n) return NULL;
  const pg_token *first = &t->tokens[at], *last = &t->tokens[t->tokens_n - 1];
  return strndup(sql + first->at, last->at + last->n - first->at);
}

static status run_prepare(session *s, const translation *t, const char *sql) {
  uint32_t types[200];
  int n = 0, i = 2;
  if (t->tokens_n < 4) return error_set(&s->err, HDB_ERROR, "syntax error at end of input");
  const char *name = t->tokens[1].text;
  if (find_prepared(s, name)) return error_set(&s->err, HDB_ERROR, "prepared statement \"%s\" already exists", name);
  if (punct(t, i, '(')) {
    int close = close_of(t, i);
    buf one = BUF_INIT;
    for (int k = i + 1; k <= close && k < t->tokens_n; k++) {
      if (!punct(t, k, ',') && k != close) {
        if (word(t, k, "pg_catalog") && punct(t, k + 1, '.')) {
          k++;
          continue;
        }
        if (one.n) buf_byte(&one, ' ');
        buf_text(&one, t->tokens[k].text);
        continue;
      }
      int32_t modifier;
      const pg_type *type = one.n && buf_cstr(&one) ? pg_type_by_name((char *)one.p, &modifier) : NULL;
      uint32_t number = type ? type->oid : one.n && buf_cstr(&one) ? hdb_type_number(s->db, (char *)one.p) : 0;
      if (!number) {
        error_set(&s->err, HDB_ERROR, "type \"%s\" does not exist", one.p ? (char *)one.p : "");
        buf_free(&one);
        return HDB_ERROR;
      }
      if (n < 200) types[n++] = number == PG_UNKNOWN ? 0 : number;
      buf_clear(&one);
    }
    buf_free(&one);
    i = close + 1;
  }
  if (!word(t, i, "as")) return error_set(&s->err, HDB_ERROR, "syntax error at or near \"%s\"", i < t->tokens_n ? t->tokens[i].text : "");
  char *text = text_from(t, sql, i + 1);
  prepared *p;
  status rc = text ? prepare_statement(s, name, text, slice_of(NULL, 0), types, n, &p) : error_set(&s->err, HDB_ERROR, "syntax error at end of input");
  free(text);
  if (rc == HDB_OK) p->by_sql = true;
  return rc;
}

/* The value of an expression given to EXECUTE. */
static status evaluate(session *s, const translation *t, const char *sql, int from, int to, arena *memory, uint32_t type, value *out) {
  char *text;
  TRY(translate_range(slice_str(sql), t->tokens, from, to, memory, &text, &s->err));
  const char *query = arena_printf(memory, "SELECT %s", text), *tail;
  hdb_stmt *one;
  int rc = query ? hdb_prepare(s->db, query, -1, 0, &one, &tail) : HDB_NOMEM;
  if (rc != HDB_OK) return engine_failed(s, rc);
  rc = hdb_step(one);
  *out = value_null();
  if (rc == HDB_ROW) {
    int64_t i = 0, n = 0;
    double r = 0;
    const char *p = NULL;
    switch (hdb_column_raw(one, 0, &i, &r, &p, &n)) {
    case HDB_INTEGER: *out = value_int(i); break;
    case HDB_FLOAT: *out = value_real(r); break;
    case HDB_TEXT: *out = value_text(arena_strndup(memory, p ? p : "", (size_t)n), (size_t)n); break;
    case HDB_BLOB: *out = value_blob(arena_copy(memory, p, (size_t)n), (size_t)n); break;
    default: break;
    }
    rc = HDB_OK;
  }
  status failed = rc != HDB_OK ? engine_failed(s, rc) : HDB_OK;
  hdb_finalize(one);
  TRY(failed);
  return pg_convert_in(s->zone, type, -1, false, out, memory, &s->err);
}

static status run_execute(session *s, const translation *t, const char *sql) {
  prepared *p = t->tokens_n > 1 ? find_prepared(s, t->tokens[1].text) : NULL;
  if (!p) return error_set(&s->err, HDB_ERROR, "prepared statement \"%s\" does not exist", t->tokens_n > 1 ? t->tokens[1].text : "");
  portal *o;
  if (p->t.class != CLASS_SQL) return utility_run(s, &p->t, p->sql);
  TRY(portal_new(s, "\x01" "execute", p, &o));
  value values[200];
  int n = 0;
  status rc = HDB_OK;
  if (punct(t, 2, '(')) {
    int close = close_of(t, 2), depth = 0, from = 3;
    for (int i = 3; i <= close && i < t->tokens_n && rc == HDB_OK; i++) {
      if (punct(t, i, '(')) depth++;
      if (punct(t, i, ')') && i != close) depth--;
      if ((depth == 0 && punct(t, i, ',')) || i == close) {
        if (n < 200 && i > from) rc = evaluate(s, t, sql, from, i, &o->memory, n < p->d.parameters_n ? p->d.parameters[n] : PG_TEXT, &values[n]), n++;
        from = i + 1;
      }
    }
  }
  if (rc == HDB_OK && n != p->d.parameters_n)
    rc = error_set(&s->err, HDB_ERROR, "syntax error: wrong number of parameters for prepared statement \"%s\"", p->name);
  bool suspended;
  if (rc == HDB_OK) rc = bind_values(s, o, values, n);
  if (rc == HDB_OK && p->d.columns_n && !s->extended) put_row_description(s, &p->d, NULL);
  if (rc == HDB_OK) rc = portal_run(s, o, 0, &suspended, true);
  if (rc == HDB_OK) put_tag(s, &p->t, o->rows);
  portal_drop(s, o);
  return rc;
}

static status run_deallocate(session *s, const translation *t) {
  int i = word(t, 1, "prepare") ? 2 : 1;
  if (word(t, i, "all")) {
    for (prepared *p = s->statements, *next; p; p = next) {
      next = p->next;
      if (p->name) prepared_drop(s, p);
    }
    proto_command_complete(&s->out, "DEALLOCATE ALL");
    return HDB_OK;
  }
  prepared *p = i < t->tokens_n ? find_prepared(s, t->tokens[i].text) : NULL;
  if (!p) return error_set(&s->err, HDB_ERROR, "prepared statement \"%s\" does not exist", i < t->tokens_n ? t->tokens[i].text : "");
  prepared_drop(s, p);
  proto_command_complete(&s->out, "DEALLOCATE");
  return HDB_OK;
}

/* ---- cursors ---- */

status portal_materialize(session *s, portal *o);

static int query_of_declare(const translation *t) {
  int i = 2;
  while (i < t->tokens_n && !word(t, i, "for")) i++;
  return i + 1;
}

void declare_describe(session *s, const translation *t, const char *sql, const uint32_t *types, int types_n, arena *memory, description *d) {
  int at = query_of_declare(t);
  translation inner;
  description of = {0};
  error ignored = ERROR_INIT;
  if (at < t->tokens_n && translate(slice_str(sql), t->tokens + at, t->tokens_n - at, memory, &inner, &ignored) == HDB_OK && inner.class == CLASS_SQL && inner.texts_n == 1 &&
      hdb_describe(s->db, inner.texts[0], types, types_n, memory, &of) == HDB_OK)
    d->parameters = of.parameters, d->parameters_n = of.parameters_n;
  error_clear(&ignored);
}

/* The values bound to a DECLARE are the cursor's from here on. */
static status take_bound(session *s, portal *o) {
  int n = s->bound ? s->bound->values_n : 0;
  value *values = arena_zero(&o->memory, (size_t)(n + 1) * sizeof *values);
  if (!values) return error_set(&s->err, HDB_NOMEM, "out of memory");
  for (int i = 0; i < n; i++)
    if (value_copy(&o->memory, &s->bound->values[i], &values[i]) != HDB_OK) return error_set(&s->err, HDB_NOMEM, "out of memory");
  if (o->source->d.parameters_n > n) return error_set(&s->err, HDB_ERROR, "there is no parameter $%d", n + 1);
  return bind_values(s, o, values, n);
}

static status run_declare(session *s, const translation *t, const char *sql) {
  int i = 2;
  bool scroll = false, hold = false;
  const char *name = t->tokens_n > 1 ? t->tokens[1].text : "";
  for (; i < t->tokens_n && !word(t, i, "for"); i++) {
    if (word(t, i, "scroll")) scroll = !word(t, i - 1, "no");
    if (word(t, i, "hold")) hold = !word(t, i - 1, "without");
  }
  if (s->block == BLOCK_NONE && !hold && !s->implicit)
    return error_set(&s->err, HDB_ERROR, "DECLARE CURSOR can only be used in transaction blocks");
  portal *old = find_portal(s, name), *o;
  if (old) return error_set(&s->err, HDB_ERROR, "cursor \"%s\" already exists", name);
  char *text = text_from(t, sql, i + 1);
  if (!text) return error_set(&s->err, HDB_ERROR, "syntax error at end of input");
  prepared *p;
  status rc = prepare_statement(s, NULL, text, slice_of(NULL, 0), NULL, 0, &p);
  free(text);
  TRY(rc);
  rc = portal_new(s, name, p, &o);
  if (rc != HDB_OK) return rc;
  o->is_cursor = true;
  o->scroll = scroll;
  o->hold = hold;
  if (p->d.columns_n == 0) rc = error_set(&s->err, HDB_ERROR, "syntax error: a cursor needs a query");
  if (rc == HDB_OK) rc = take_bound(s, o);
  if (rc == HDB_OK && (scroll || hold)) rc = portal_materialize(s, o);
  if (rc != HDB_OK) portal_drop(s, o);
  return rc;
}

typedef struct fetch_plan {
  enum { FETCH_FORWARD, FETCH_BACKWARD, FETCH_ABSOLUTE, FETCH_RELATIVE } how;
  int64_t count; /* INT64_MAX: all */
  const char *cursor;
} fetch_plan;

static bool take_count(const translation *t, int *at, int64_t *out) {
  int i = *at;
  bool negative = i < t->tokens_n && t->tokens[i].kind == PT_OPERATOR && *t->tokens[i].text == '-';
  if (negative) i++;
  if (word(t, i, "all")) {
    *out = INT64_MAX;
    *at = i + 1;
    return true;
  }
  if (i >= t->tokens_n || t->tokens[i].kind != PT_NUMBER) return false;
  *out = strtoll(t->tokens[i].text, NULL, 10) * (negative ? -1 : 1);
  *at = i + 1;
  return true;
}

static void parse_fetch(const translation *t, fetch_plan *f) {
  int i = 1;
  *f = (fetch_plan){.how = FETCH_FORWARD, .count = 1, .cursor = ""};
  if (word(t, i, "next")) i++;
  else if (word(t, i, "prior")) f->how = FETCH_BACKWARD, i++;
  else if (word(t, i, "first")) f->how = FETCH_ABSOLUTE, i++;
  else if (word(t, i, "last")) f->how = FETCH_ABSOLUTE, f->count = -1, i++;
  else if (word(t, i, "absolute")) f->how = FETCH_ABSOLUTE, i++, take_count(t, &i, &f->count);
  else if (word(t, i, "relative")) f->how = FETCH_RELATIVE, i++, take_count(t, &i, &f->count);
  else if (word(t, i, "backward")) f->how = FETCH_BACKWARD, i++, take_count(t, &i, &f->count);
  else {
    if (word(t, i, "forward")) i++;
    take_count(t, &i, &f->count);
  }
  if (word(t, i, "from") || word(t, i, "in")) i++;
  if (i < t->tokens_n) f->cursor = t->tokens[i].text;
  if (f->count < 0 && f->how == FETCH_FORWARD) f->how = FETCH_BACKWARD, f->count = -f->count;
  else if (f->count < 0 && f->how == FETCH_BACKWARD) f->how = FETCH_FORWARD, f->count = -f->count;
}

/* position: 0 before the first row, n on row n, kept_n + 1 behind the last. */
static int64_t kept_fetch(session *s, portal *o, const fetch_plan *f, bool send) {
  int64_t last = o->kept_n + 1, n = 0;
  if (f->how == FETCH_ABSOLUTE || f->how == FETCH_RELATIVE) {
    int64_t to = f->how == FETCH_RELATIVE ? o->position + f->count : f->count < 0 ? last + f->count : f->count;
    o->position = to < 0 ? 0 : to > last ? last : to;
    bool on_row = o->position >= 1 && o->position < last;
    if (on_row && send) goto one;
    return on_row;
  one:
    buf_append(&s->out, o->kept.p + o->row_starts[o->position - 1], (o->position == o->kept_n ? o->kept.n : o->row_starts[o->position]) - o->row_starts[o->position - 1]);
    return 1;
  }
  while (n < f->count) {
    if (f->how == FETCH_FORWARD ? o->position >= last - 1 : o->position <= 1) {
      o->position = f->how == FETCH_FORWARD ? last : 0;
      break;
    }
    o->position += f->how == FETCH_FORWARD ? 1 : -1;
    n++;
    int64_t k = o->position;
    if (send) buf_append(&s->out, o->kept.p + o->row_starts[k - 1], (k == o->kept_n ? o->kept.n : o->row_starts[k]) - o->row_starts[k - 1]);
    session_maybe_send(s);
  }
  return n;
}

static status run_fetch(session *s, const translation *t) {
  fetch_plan f;
  parse_fetch(t, &f);
  portal *o = find_portal(s, f.cursor);
  bool send = t->class == CLASS_FETCH;
  if (!o) return error_set(&s->err, HDB_ERROR, "cursor \"%s\" does not exist", f.cursor);
  if (!o->materialized && (f.how != FETCH_FORWARD || f.count == 0)) {
    if (o->started || (f.how == FETCH_BACKWARD)) {
      if (f.how == FETCH_RELATIVE && f.count > 0) f.how = FETCH_FORWARD;
      else return error_set(&s->err, HDB_ERROR, "cursor can only scan forward");
    } else {
      TRY(portal_materialize(s, o));
    }
  }
  if (send && !s->extended) put_row_description(s, &o->source->d, o->formats);
  int64_t n = 0;
  if (o->materialized) {
    n = kept_fetch(s, o, &f, send);
  } else {
    bool suspended;
    int64_t before = o->rows;
    TRY(portal_run(s, o, f.count == INT64_MAX ? 0 : f.count, &suspended, send));
    n = o->rows - before;
  }
  char tag[60];
  snprintf(tag, sizeof tag, "%s %lld", send ? "FETCH" : "MOVE", (long long)n);
  proto_command_complete(&s->out, tag);
  return HDB_OK;
}

static status run_close(session *s, const translation *t) {
  if (word(t, 1, "all")) {
    for (portal *o = s->portals, *next; o; o = next) {
      next = o->next;
      if (o->is_cursor) portal_drop(s, o);
    }
    return HDB_OK;
  }
  portal *o = t->tokens_n > 1 ? find_portal(s, t->tokens[1].text) : NULL;
  if (!o) return error_set(&s->err, HDB_ERROR, "cursor \"%s\" does not exist", t->tokens_n > 1 ? t->tokens[1].text : "");
  portal_drop(s, o);
  return HDB_OK;
}

/* ---- others ---- */

static status run_discard(session *s, const translation *t) {
  if (s->block != BLOCK_NONE && word(t, 1, "all")) return error_set(&s->err, HDB_ERROR, "DISCARD ALL cannot run inside a transaction block");
  if (word(t, 1, "all")) {
    portals_drop_all(s, false);
    for (prepared *p = s->statements, *next; p; p = next) {
      next = p->next;
      prepared_drop(s, p);
    }
    TRY(settings_reset_all(s));
    notify_unlisten(s->c, NULL);
  }
  char tag[40];
  snprintf(tag, sizeof tag, "DISCARD %s", word(t, 1, "all") ? "ALL" : word(t, 1, "plans") ? "PLANS" : word(t, 1, "temp") ? "TEMP" : "SEQUENCES");
  proto_command_complete(&s->out, tag);
  return HDB_OK;
}

static status run_explain(session *s, const translation *t, const char *sql) {
  int i = 1;
  bool analyze = false;
  if (punct(t, i, '(')) {
    int close = close_of(t, i);
    for (int k = i; k < close; k++) analyze = analyze || word(t, k, "analyze");
    i = close + 1;
  }
  for (; word(t, i, "analyze") || word(t, i, "verbose"); i++) analyze = analyze || word(t, i, "analyze");
  if (word(t, i, "query") && word(t, i + 1, "plan")) i += 2;
  if (analyze) return error_set(&s->err, HDB_ERROR, "not supported yet: EXPLAIN ANALYZE");
  translation inner;
  TRY(translate(slice_str(sql), t->tokens + i, t->tokens_n - i, &s->query_memory, &inner, &s->err));
  if (inner.class != CLASS_SQL || inner.texts_n != 1) return error_set(&s->err, HDB_ERROR, "not supported yet: EXPLAIN of this statement");
  const char *query = arena_printf(&s->query_memory, "EXPLAIN QUERY PLAN %s", inner.texts[0]), *tail;
  hdb_stmt *x;
  int rc = query ? hdb_prepare(s->db, query, -1, 0, &x, &tail) : HDB_NOMEM;
  if (rc != HDB_OK) return engine_failed(s, rc);
  int64_t n = 0;
  while ((rc = hdb_step(x)) == HDB_ROW) {
    const char *line = hdb_column_text(x, 3);
    text_row(s, 1, &line);
    n++;
  }
  status failed = rc == HDB_DONE ? HDB_OK : engine_failed(s, rc);
  hdb_finalize(x);
  if (failed == HDB_OK) proto_command_complete(&s->out, "EXPLAIN");
  return failed;
}

static void text_columns(arena *memory, description *d, int n, const char *const *labels) {
  d->columns = arena_zero(memory, (size_t)n * sizeof *d->columns);
  d->columns_n = d->columns ? n : 0;
  for (int i = 0; i < d->columns_n; i++)
    d->columns[i] = (described_column){.label = arena_strdup(memory, labels[i]), .type = PG_TEXT, .modifier = -1};
}

bool utility_describe(session *s, const translation *t, arena *memory, description *d) {
  char name[200];
  *d = (description){0};
  switch (t->class) {
  case CLASS_SHOW: {
    const char *all[3] = {"name", "setting", "description"}, *one = show_name(t, name, sizeof name);
    if (word(t, 1, "all")) text_columns(memory, d, 3, all);
    else text_columns(memory, d, 1, &one);
    return true;
  }
  case CLASS_EXPLAIN: {
    const char *one = "QUERY PLAN";
    text_columns(memory, d, 1, &one);
    return true;
  }
  case CLASS_FETCH: {
    fetch_plan f;
    parse_fetch(t, &f);
    portal *o = find_portal(s, f.cursor);
    if (o) *d = o->source->d, d->parameters_n = 0;
    return o != NULL;
  }
  case CLASS_EXECUTE: {
    prepared *p = t->tokens_n > 1 ? find_prepared(s, t->tokens[1].text) : NULL;
    if (p) *d = p->d, d->parameters_n = 0;
    return p != NULL;
  }
  default: return false;
  }
}

status utility_run(session *s, const translation *t, const char *sql) {
  status rc;
  if (!s->extended && (t->class == CLASS_SHOW || t->class == CLASS_EXPLAIN)) {
    description d;
    utility_describe(s, t, &s->query_memory, &d);
    put_row_description(s, &d, NULL);
  }
  switch (t->class) {
  case CLASS_COMMIT: case CLASS_ROLLBACK: return run_end_statement(s, t);
  case CLASS_SHOW: return run_show(s, t);
  case CLASS_EXECUTE: return run_execute(s, t, sql);
  case CLASS_DEALLOCATE: return run_deallocate(s, t);
  case CLASS_FETCH: case CLASS_MOVE: return run_fetch(s, t);
  case CLASS_DISCARD: return run_discard(s, t);
  case CLASS_EXPLAIN: return run_explain(s, t, sql);
  case CLASS_CREATE_AS: return create_as_run(s, t);
  case CLASS_COPY: return copy_start(s, t, sql);
  case CLASS_BEGIN: rc = run_begin_statement(s, t); break;
  case CLASS_SAVEPOINT: case CLASS_RELEASE: case CLASS_ROLLBACK_TO: rc = run_savepoint(s, t); break;
  case CLASS_SET: rc = run_set(s, t); break;
  case CLASS_RESET:
    rc = HDB_OK;
    if (word(t, 1, "all")) {
      rc = settings_reset_all(s);
    } else if (t->tokens_n > 1) {
      char name[200];
      rc = setting_reset(s, show_name(t, name, sizeof name));
    }
    break;
  case CLASS_PREPARE: rc = run_prepare(s, t, sql); break;
  case CLASS_DECLARE: rc = run_declare(s, t, sql); break;
  case CLASS_CLOSE: rc = run_close(s, t); break;
  case CLASS_NOTHING: rc = HDB_OK; break;
  case CLASS_LOCK: case CLASS_VACUUM: case CLASS_CHECKPOINT: rc = maintenance_run(s, t); break;
  case CLASS_LISTEN: case CLASS_NOTIFY: case CLASS_UNLISTEN: rc = notify_run(s, t); break;
  case CLASS_ROLE: rc = role_run(s, t); break;
  case CLASS_COMMENT: rc = comment_run(s, t, sql); break;
  case CLASS_SEQUENCE: rc = sequence_run(s, t); break;
  case CLASS_TRUNCATE: rc = truncate_run(s, t); break;
  case CLASS_TYPE: rc = type_run(s, t); break;
  case CLASS_DROP: rc = drop_run(s, t); break;
  case CLASS_ALTER: rc = alter_run(s, t, sql); break;
  default: rc = error_set(&s->err, HDB_INTERNAL, "unknown kind of statement");
  }
  if (rc == HDB_OK) proto_command_complete(&s->out, t->tag);
  return rc;
}
