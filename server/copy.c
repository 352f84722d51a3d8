/* COPY in and out: text, csv, binary. In: rows become one prepared INSERT each, in one transaction; a line may be cut
 * anywhere by the messages. Out: rows stream as they are produced. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/session.h"

enum copy_format { COPY_TEXT, COPY_CSV, COPY_BINARY };

struct copy_state {
  enum copy_format format;
  char delimiter, quote, escape;
  char *null;
  bool header, skip_line, force_all, failed, own_transaction, ended, signature_read, table_only;
  hdb_stmt *insert;
  description d;
  arena memory, row_memory;
  buf line;          /* what is not yet a whole row */
  int64_t rows, line_number;
  bool extended, match;
  const char *table, *column; /* column: at work, for the error's context */
  slice field;
  hdb_stmt *query;
};

void copy_free(session *s) {
  copy_state *c = s->copy;
  if (!c) return;
  hdb_finalize(c->insert);
  hdb_finalize(c->query);
  free(c->null);
  buf_free(&c->line);
  arena_clear(&c->memory);
  arena_clear(&c->row_memory);
  free(c);
  s->copy = NULL;
}

static bool word(const translation *t, int at, const char *text) { return at < t->tokens_n && token_word(&t->tokens[at], text); }
static bool punct(const translation *t, int at, char c) {
  return at < t->tokens_n && t->tokens[at].kind == PT_PUNCT && t->tokens[at].text[0] == c;
}

static status syntax(session *s, const translation *t, int at) {
  error_set(&s->err, HDB_ERROR, at < t->tokens_n ? "syntax error at or near \"%s\"" : "syntax error at end of input%s", at < t->tokens_n ? t->tokens[at].text : "");
  return HDB_ERROR;
}

/* ---- options ---- */

static bool boolean_at(const translation *t, int *at) {
  int i = *at;
  if (word(t, i, "true") || word(t, i, "on") || (i < t->tokens_n && t->tokens[i].kind == PT_NUMBER && strcmp(t->tokens[i].text, "1") == 0)) return (*at)++, true;
  if (word(t, i, "false") || word(t, i, "off") || (i < t->tokens_n && t->tokens[i].kind == PT_NUMBER)) return (*at)++, false;
  return true;
}

static status one_character(session *s, const translation *t, int at, char *out) {
  if (at >= t->tokens_n || t->tokens[at].kind != PT_STRING || t->tokens[at].text_n != 1)
    return error_set(&s->err, HDB_ERROR, "syntax error: COPY delimiter, quote and escape must be a single one-byte character");
  *out = t->tokens[at].text[0];
  return HDB_OK;
}

static status read_options(session *s, copy_state *c, const translation *t, int i) {
  bool escape_given = false;
  if (word(t, i, "with")) i++;
  if (punct(t, i, '(')) i++;
  while (i < t->tokens_n && !punct(t, i, ')')) {
    if (punct(t, i, ',')) {
      i++;
    } else if (word(t, i, "format")) {
      const char *f = i + 1 < t->tokens_n ? t->tokens[i + 1].text : "";
      if (strcasecmp(f, "csv") == 0) c->format = COPY_CSV;
      else if (strcasecmp(f, "binary") == 0) c->format = COPY_BINARY;
      else if (strcasecmp(f, "text") != 0) return error_set(&s->err, HDB_ERROR, "invalid value for parameter: COPY format \"%s\" not recognized", f);
      i += 2;
    } else if (word(t, i, "csv")) {
      c->format = COPY_CSV;
      i++;
    } else if (word(t, i, "binary")) {
      c->format = COPY_BINARY;
      i++;
    } else if (word(t, i, "header")) {
      i++;
      if (word(t, i, "match")) i++, c->header = c->match = true;
      else c->header = boolean_at(t, &i);
    } else if (word(t, i, "freeze")) {
      i++;
      (void)boolean_at(t, &i);
    } else if (word(t, i, "delimiter") || word(t, i, "delimiters")) {
      i += word(t, i + 1, "as") ? 2 : 1;
      TRY(one_character(s, t, i++, &c->delimiter));
    } else if (word(t, i, "quote")) {
      i += word(t, i + 1, "as") ? 2 : 1;
      TRY(one_character(s, t, i++, &c->quote));
    } else if (word(t, i, "escape")) {
      i += word(t, i + 1, "as") ? 2 : 1;
      TRY(one_character(s, t, i++, &c->escape));
      escape_given = true;
    } else if (word(t, i, "null")) {
      i += word(t, i + 1, "as") ? 2 : 1;
      if (i >= t->tokens_n || t->tokens[i].kind != PT_STRING) return syntax(s, t, i);
      free(c->null);
      c->null = strdup(t->tokens[i++].text);
    } else if (word(t, i, "encoding")) {
      const char *encoding = i + 1 < t->tokens_n ? t->tokens[i + 1].text : "";
      if (strcasecmp(encoding, "utf8") != 0 && strcasecmp(encoding, "utf-8") != 0 && strcasecmp(encoding, "unicode") != 0)
        return error_set(&s->err, HDB_ERROR, "not supported yet: COPY with encoding %s", encoding);
      i += 2;
    } else if ((word(t, i, "force_quote") && i + 1 < t->tokens_n && strcmp(t->tokens[i + 1].text, "*") == 0)) {
      c->force_all = true;
      i += 2;
    } else if (word(t, i, "where")) {
      return error_set(&s->err, HDB_ERROR, "not supported yet: COPY .. WHERE");
    } else {
      return i < t->tokens_n && t->tokens[i].kind == PT_WORD && strncmp(t->tokens[i].text, "force", 5) == 0
                 ? error_set(&s->err, HDB_ERROR, "not supported yet: COPY %s", t->tokens[i].text)
                 : syntax(s, t, i);
    }
  }
  for (; i < t->tokens_n; i++) {
    if (punct(t, i, ')')) continue;
    return word(t, i, "where") ? error_set(&s->err, HDB_ERROR, "not supported yet: COPY .. WHERE") : syntax(s, t, i);
  }
  if (!c->delimiter) c->delimiter = c->format == COPY_CSV ? ',' : '\t';
  if (!c->quote) c->quote = '"';
  if (!escape_given) c->escape = c->quote;
  if (!c->null) c->null = strdup(c->format == COPY_CSV ? "" : "\\N");
  return c->null ? HDB_OK : error_set(&s->err, HDB_NOMEM, "out of memory");
}

/* ---- out ---- */

static void put_data(session *s, const void *p, size_t n) {
  size_t start = message_begin(&s->out, 'd');
  buf_append(&s->out, p, n);
  message_end(&s->out, start);
  session_maybe_send(s);
}

static void text_field(const copy_state *c, const buf *v, buf *out) {
  for (size_t i = 0; i < v->n; i++) {
    uint8_t b = v->p[i];
    switch (b) {
    case '\b': buf_text(out, "\\b"); break;
    case '\f': buf_text(out, "\\f"); break;
    case '\n': buf_text(out, "\\n"); break;
    case '\r': buf_text(out, "\\r"); break;
    case '\t': buf_text(out, "\\t"); break;
    case '\v': buf_text(out, "\\v"); break;
    case '\\': buf_text(out, "\\\\"); break;
    default:
      if (b == (uint8_t)c->delimiter) buf_byte(out, '\\');
      buf_byte(out, b);
    }
  }
}

static void csv_field(const copy_state *c, const buf *v, buf *out, bool lone) {
  bool quote = c->force_all || (v->n == strlen(c->null) && memcmp(v->p ? (char *)v->p : "", c->null, v->n) == 0) || (lone && v->n == 2 && memcmp(v->p, "\\.", 2) == 0);
  for (size_t i = 0; i < v->n && !quote; i++)
    quote = v->p[i] == (uint8_t)c->delimiter || v->p[i] == (uint8_t)c->quote || v->p[i] == '\n' || v->p[i] == '\r';
  if (!quote) {
    buf_append(out, v->p, v->n);
    return;
  }
  buf_byte(out, (uint8_t)c->quote);
  for (size_t i = 0; i < v->n; i++) {
    if (v->p[i] == (uint8_t)c->quote || v->p[i] == (uint8_t)c->escape) buf_byte(out, (uint8_t)c->escape);
    buf_byte(out, v->p[i]);
  }
  buf_byte(out, (uint8_t)c->quote);
}

static value column_value(hdb_stmt *q, int i) {
  int64_t integer = 0, n = 0;
  double real = 0;
  const char *p = NULL;
  switch (hdb_column_raw(q, i, &integer, &real, &p, &n)) {
  case HDB_INTEGER: return value_int(integer);
  case HDB_FLOAT: return value_real(real);
  case HDB_TEXT: return value_text(p, (size_t)n);
  case HDB_BLOB: return value_blob(p, (size_t)n);
  default: return value_null();
  }
}

static status row_out(session *s, copy_state *c, buf *line, buf *field) {
  buf_clear(line);
  if (c->format == COPY_BINARY) put_u16(line, (uint16_t)c->d.columns_n);
  for (int i = 0; i < c->d.columns_n; i++) {
    value v = column_value(c->query, i);
    const described_column *column = &c->d.columns[i];
    if (c->format == COPY_BINARY) {
      size_t at = line->n;
      buf_be32(line, UINT32_MAX);
      if (v.type == VAL_NULL) continue;
      TRY(wire_put(s->zone, column->type, column->modifier, 1, &v, line, &s->err));
      if (!line->failed) put_be32(line->p + at, (uint32_t)(line->n - at - 4));
      continue;
    }
    if (i) buf_byte(line, (uint8_t)c->delimiter);
    if (v.type == VAL_NULL) {
      buf_text(line, c->null);
      continue;
    }
    buf_clear(field);
    TRY(wire_put(s->zone, column->type, column->modifier, 0, &v, field, &s->err));
    if (c->format == COPY_CSV) csv_field(c, field, line, c->d.columns_n == 1);
    else text_field(c, field, line);
  }
  if (s->encoding && c->format != COPY_BINARY) TRY(encoding_out(s, line, 0));
  if (c->format != COPY_BINARY) buf_byte(line, '\n');
  return line->failed ? error_set(&s->err, HDB_NOMEM, "out of memory") : HDB_OK;
}

static void put_headed(session *s, const char *head, const void *p, size_t n) {
  buf whole = BUF_INIT;
  buf_append(&whole, head, 19);
  buf_append(&whole, p, n);
  put_data(s, whole.p, whole.n);
  buf_free(&whole);
}

static status copy_out(session *s, copy_state *c, const char *query) {
  const char *tail;
  int rc = hdb_prepare(s->db, query, -1, 0, &c->query, &tail);
  if (rc != HDB_OK) return engine_failed(s, rc);
  TRY(hdb_describe(s->db, query, NULL, 0, &c->memory, &c->d));
  if (c->d.columns_n == 0 || c->d.columns_n != hdb_column_count(c->query)) return error_set(&s->err, HDB_ERROR, "not supported yet: COPY of this query");
  buf line = BUF_INIT, field = BUF_INIT;
  status failed = HDB_OK;
  proto_copy_response(&s->out, 'H', c->format == COPY_BINARY, (unsigned)c->d.columns_n);
  const char *head = c->format == COPY_BINARY ? "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0" : NULL; /* rides on the first message, as PostgreSQL's */
  if (c->header && c->format != COPY_BINARY) {
    for (int i = 0; i < c->d.columns_n; i++) {
      if (i) buf_byte(&line, (uint8_t)c->delimiter);
      buf_clear(&field);
      buf_text(&field, c->d.columns[i].label);
      if (c->format == COPY_CSV) csv_field(c, &field, &line, false);
      else text_field(c, &field, &line);
    }
    buf_byte(&line, '\n');
    put_data(s, line.p, line.n);
  }
  while (failed == HDB_OK && (rc = hdb_step(c->query)) == HDB_ROW) {
    failed = row_out(s, c, &line, &field);
    if (failed == HDB_OK && head) put_headed(s, head, line.p, line.n), head = NULL;
    else if (failed == HDB_OK) put_data(s, line.p, line.n);
    if (failed == HDB_OK && connection_gone(s->c)) failed = error_set(&s->err, HDB_INTERRUPT, "interrupted");
    c->rows++;
  }
  if (failed == HDB_OK && rc != HDB_DONE) failed = engine_failed(s, rc);
  if (failed == HDB_OK && head) put_headed(s, head, "\377\377", 2);
  else if (failed == HDB_OK && c->format == COPY_BINARY) put_data(s, "\377\377", 2);
  buf_free(&line);
  buf_free(&field);
  if (failed == HDB_OK) {
    proto_simple(&s->out, 'c');
    char tag[60];
    snprintf(tag, sizeof tag, "COPY %lld", (long long)c->rows);
    proto_command_complete(&s->out, tag);
  }
  return failed;
}

/* ---- in ---- */

static status insert_row(session *s, copy_state *c, const value *values) {
  for (int i = 0; i < c->d.columns_n; i++) {
    const value *v = &values[i];
    switch (v->type) {
    case VAL_NULL: hdb_bind_null(c->insert, i + 1); break;
    case VAL_INTEGER: hdb_bind_int64(c->insert, i + 1, v->i); break;
    case VAL_REAL: hdb_bind_double(c->insert, i + 1, v->r); break;
    case VAL_TEXT: hdb_bind_text(c->insert, i + 1, v->p, v->n, HDB_STATIC); break;
    default: hdb_bind_blob(c->insert, i + 1, v->n ? v->p : "", v->n, HDB_STATIC);
    }
  }
  int rc = hdb_step(c->insert);
  if (rc != HDB_DONE) {
    engine_failed(s, rc);
    hdb_reset(c->insert);
    return s->err.code;
  }
  hdb_reset(c->insert);
  c->rows++;
  return HDB_OK;
}

static uint8_t unescape(const uint8_t **p, const uint8_t *end) {
  uint8_t c = *(*p)++;
  switch (c) {
  case 'b': return '\b';
  case 'f': return '\f';
  case 'n': return '\n';
  case 'r': return '\r';
  case 't': return '\t';
  case 'v': return '\v';
  case 'x': {
    int v = 0, n = 0;
    while (n < 2 && *p < end && isxdigit(**p)) {
      v = v << 4 | (isdigit(**p) ? **p - '0' : tolower(**p) - 'a' + 10);
      (*p)++, n++;
    }
    return n ? (uint8_t)v : 'x';
  }
  default: break;
  }
  if (c < '0' || c > '7') return c;
  int v = c - '0';
  for (int n = 1; n < 3 && *p < end && **p >= '0' && **p <= '7'; n++) v = v << 3 | (*(*p)++ - '0');
  return (uint8_t)v;
}

/* One line without its end to values. */
static status line_in(session *s, copy_state *c, slice line) {
  value *values = arena_zero(&c->row_memory, (size_t)(c->d.columns_n + 1) * sizeof *values);
  const uint8_t *p = line.p, *end = line.p + line.n;
  int n = 0;
  size_t null_n = strlen(c->null);
  bool more = true;
  if (!values) return error_set(&s->err, HDB_NOMEM, "out of memory");
  while (more) {
    uint8_t *field = arena_alloc(&c->row_memory, (size_t)(end - p) + 1);
    const uint8_t *from = p;
    size_t k = 0;
    bool quoted = false;
    if (!field) return error_set(&s->err, HDB_NOMEM, "out of memory");
    if (c->format == COPY_CSV) {
      bool inside = false;
      for (; p < end; p++) {
        if (inside && *p == (uint8_t)c->escape && p + 1 < end && (p[1] == (uint8_t)c->quote || p[1] == (uint8_t)c->escape) && (c->escape != c->quote || p[1] == (uint8_t)c->quote)) field[k++] = *++p;
        else if (*p == (uint8_t)c->quote) inside = !inside, quoted = true;
        else if (*p == (uint8_t)c->delimiter && !inside) break;
        else field[k++] = *p;
      }
    } else {
      while (p < end && *p != (uint8_t)c->delimiter) {
        if (*p == '\\' && p + 1 < end) p++, field[k++] = unescape(&p, end);
        else field[k++] = *p++;
      }
    }
    bool null = !quoted && (size_t)(p - from) == null_n && memcmp(from, c->null, null_n) == 0;
    c->column = NULL;
    if (n >= c->d.columns_n) return error_set(&s->err, HDB_ERROR, "extra data after last expected column");
    c->column = c->d.columns[n].label;
    c->field = slice_of(field, k);
    if (!null) TRY(wire_get(s->zone, c->d.columns[n].type, 0, slice_of(field, k), &c->row_memory, &values[n], &s->err));
    else values[n] = value_null();
    n++;
    more = p < end;
    p++;
  }
  c->column = NULL;
  if (n < c->d.columns_n) return error_set(&s->err, HDB_ERROR, "missing data for column \"%s\"", c->d.columns[n].label);
  c->column = NULL;
  status rc = insert_row(s, c, values);
  arena_rewind(&c->row_memory, (arena_mark){0, 0});
  return rc;
}

/* The end of the first line in text: an unquoted (csv) or unescaped newline. n: none yet. */
static size_t line_end(const copy_state *c, slice b, size_t from) {
  bool inside = false;
  for (size_t i = from; i < b.n; i++) {
    if (c->format == COPY_CSV) {
      if (inside && c->escape != c->quote && b.p[i] == (uint8_t)c->escape) i++;
      else if (b.p[i] == (uint8_t)c->quote) inside = !inside;
      else if (b.p[i] == '\n' && !inside) return i;
    } else if (b.p[i] == '\\') {
      i++;
    } else if (b.p[i] == '\n') {
      return i;
    }
  }
  return b.n;
}

/* HEADER MATCH: names without quotes around them, as they come. */
static status match_header(session *s, copy_state *c, slice line) {
  const uint8_t *p = line.p, *end = line.p + line.n;
  for (int k = 0; k < c->d.columns_n; k++) {
    const uint8_t *from = p;
    while (p < end && *p != (uint8_t)c->delimiter) p++;
    size_t n = (size_t)(p - from);
    const char *wanted = c->d.columns[k].label;
    if (c->format == COPY_CSV && n >= 2 && *from == (uint8_t)c->quote && from[n - 1] == (uint8_t)c->quote) from++, n -= 2;
    if (n != strlen(wanted) || memcmp(from, wanted, n) != 0)
      return session_fail(s, "22P04", NULL, NULL, "column name mismatch in header line field %d: got \"%.*s\", expected \"%s\"", k + 1, (int)n, (const char *)from, wanted);
    if (p < end) p++;
  }
  return p < end ? session_fail(s, "22P04", NULL, NULL, "wrong number of fields in header line: expected %d", c->d.columns_n) : HDB_OK;
}

static status text_in(session *s, copy_state *c, bool last) {
  size_t at = 0;
  while (at < c->line.n && !c->ended) {
    size_t end = line_end(c, buf_slice(&c->line), at);
    if (end == c->line.n && !last) break;
    slice line = slice_of(c->line.p + at, end - at);
    if (line.n && line.p[line.n - 1] == '\r') line.n--;
    at = end < c->line.n ? end + 1 : end;
    if (line.n == 2 && memcmp(line.p, "\\.", 2) == 0) {
      c->ended = true;
      break;
    }
    c->line_number++;
    if (c->skip_line) {
      c->skip_line = false;
      if (c->match) TRY(match_header(s, c, line));
      continue;
    }
    arena converted = {0};
    status rc = s->encoding ? encoding_in(s, line, &converted, &line) : HDB_OK;
    if (rc == HDB_OK) rc = line_in(s, c, line);
    arena_clear(&converted);
    TRY(rc);
  }
  if (at && c->line.n) {
    memmove(c->line.p, c->line.p + at, c->line.n - at);
    c->line.n -= at;
  }
  return HDB_OK;
}

static status binary_in(session *s, copy_state *c, bool last) {
  size_t at = 0;
  slice b = buf_slice(&c->line);
  status rc = HDB_OK;
  if (!c->signature_read) {
    if (b.n < 19) return last ? error_set(&s->err, HDB_FORMAT, "COPY file signature not recognized") : HDB_OK;
    if (memcmp(b.p, "PGCOPY\n\377\r\n\0", 11) != 0) return error_set(&s->err, HDB_FORMAT, "COPY file signature not recognized");
    uint32_t extension = get_be32(b.p + 15);
    if (b.n < 19 + (size_t)extension) return HDB_OK;
    at = 19 + extension;
    c->signature_read = true;
  }
  while (rc == HDB_OK && !c->ended && b.n - at >= 2) {
    int n = (int16_t)(b.p[at] << 8 | b.p[at + 1]);
    size_t p = at + 2;
    if (n == -1) {
      c->ended = true;
      at += 2;
      break;
    }
    if (n != c->d.columns_n) return error_set(&s->err, HDB_FORMAT, "row field count is %d, expected %d", n, c->d.columns_n);
    value *values = arena_zero(&c->row_memory, (size_t)(n + 1) * sizeof *values);
    if (!values) return error_set(&s->err, HDB_NOMEM, "out of memory");
    bool whole = true;
    for (int i = 0; i < n && whole && rc == HDB_OK; i++) {
      whole = b.n - p >= 4;
      if (!whole) break;
      uint32_t length = get_be32(b.p + p);
      p += 4;
      values[i] = value_null();
      if (length == UINT32_MAX) continue;
      whole = b.n - p >= length;
      if (!whole) break;
      rc = wire_get(s->zone, c->d.columns[i].type, 1, slice_of(b.p + p, length), &c->row_memory, &values[i], &s->err);
      p += length;
    }
    if (!whole) break;
    c->line_number++;
    if (rc == HDB_OK) rc = insert_row(s, c, values);
    arena_rewind(&c->row_memory, (arena_mark){0, 0});
    at = p;
  }
  if (at && c->line.n) {
    memmove(c->line.p, c->line.p + at, c->line.n - at);
    c->line.n -= at;
  }
  if (rc == HDB_OK && last && !c->ended && c->line.n) return error_set(&s->err, HDB_FORMAT, "unexpected EOF in COPY data");
  return rc;
}

/* The rest of the client's data is read and dropped; the error is told now. */
static void in_failed(session *s) {
  copy_state *c = s->copy;
  bool extended = c->extended, own = c->own_transaction;
  char context[600];
  int n = snprintf(context, sizeof context, "COPY %.200s, line %lld", c->table ? c->table : "", (long long)c->line_number);
  if (c->column) snprintf(context + n, sizeof context - (size_t)n, ", column %.100s: \"%.*s\"", c->column, (int)(c->field.n < 100 ? c->field.n : 100), (const char *)c->field.p);
  if (c->line_number) s->failure.context = strdup(context);
  report_error(s);
  copy_free(s);
  s->state = STATE_READY;
  (void)own;
  transaction_failed(s);
  run_end(s);
  if (extended) {
    s->skip_to_sync = true;
    s->query = NULL;
  } else {
    simple_free(s);
    s->query = NULL;
    session_ready(s);
  }
}

void copy_data(session *s, slice body) {
  copy_state *c = s->copy;
  if (c->ended) return;
  buf_append(&c->line, body.p, body.n);
  status rc = c->line.failed ? error_set(&s->err, HDB_NOMEM, "out of memory")
              : c->format == COPY_BINARY ? binary_in(s, c, false) : text_in(s, c, false);
  if (rc != HDB_OK) in_failed(s);
}

void copy_fail(session *s, const char *reason) {
  error_set(&s->err, HDB_ERROR, "COPY from stdin failed: %s", reason);
  in_failed(s);
}

void copy_done(session *s) {
  copy_state *c = s->copy;
  status rc = c->format == COPY_BINARY ? binary_in(s, c, true) : text_in(s, c, true);
  if (rc == HDB_OK && c->own_transaction) {
    hdb_finalize(c->insert);
    c->insert = NULL;
    rc = transaction_end(s, true);
  }
  if (rc != HDB_OK) {
    in_failed(s);
    return;
  }
  char tag[60];
  snprintf(tag, sizeof tag, "COPY %lld", (long long)c->rows);
  bool extended = c->extended;
  copy_free(s);
  s->state = STATE_READY;
  proto_command_complete(&s->out, tag);
  if (extended) {
    s->query = NULL;
    run_end(s);
  } else {
    simple_resume(s);
  }
}

static status copy_in(session *s, copy_state *c, const char *table, const char *columns) {
  const char *select = arena_printf(&c->memory, "SELECT %s FROM %s", columns ? columns : "*", table), *tail;
  if (!select) return error_set(&s->err, HDB_NOMEM, "out of memory");
  int rc = hdb_prepare(s->db, select, -1, 0, &c->query, &tail);
  if (rc != HDB_OK) return engine_failed(s, rc);
  TRY(hdb_describe(s->db, select, NULL, 0, &c->memory, &c->d));
  hdb_finalize(c->query);
  c->query = NULL;
  buf sql = BUF_INIT;
  buf_printf(&sql, "INSERT OR ABORT INTO %s", table); /* also a GENERATED ALWAYS column takes what is copied */
  if (columns) buf_printf(&sql, "(%s)", columns);
  buf_text(&sql, " VALUES(");
  for (int i = 0; i < c->d.columns_n; i++) buf_printf(&sql, i ? ",?%d" : "?%d", i + 1);
  buf_byte(&sql, ')');
  if (s->block == BLOCK_NONE && !s->implicit) {
    TRY(transaction_begin(s, true));
    c->own_transaction = true;
  }
  rc = buf_cstr(&sql) ? hdb_prepare(s->db, (char *)sql.p, -1, HDB_PREPARE_PERSISTENT, &c->insert, &tail) : HDB_NOMEM;
  buf_free(&sql);
  if (rc != HDB_OK) return engine_failed(s, rc);
  c->skip_line = c->header;
  c->extended = s->extended;
  proto_copy_response(&s->out, 'G', c->format == COPY_BINARY, (unsigned)c->d.columns_n);
  session_send(s);
  s->state = STATE_COPY_IN;
  return HDB_OK;
}

static status parse_and_run(session *s, copy_state *c, const translation *t, const char *sql) {
  int i = 1;
  char *query = NULL;
  const char *plain_table = "";
  buf table = BUF_INIT, columns = BUF_INIT;
  if (word(t, i, "binary")) c->format = COPY_BINARY, i++;
  if (punct(t, i, '(')) {
    int depth = 0, close = i;
    for (; close < t->tokens_n; close++) {
      if (punct(t, close, '(')) depth++;
      if (punct(t, close, ')') && --depth == 0) break;
    }
    TRY(translate_range(slice_str(sql), t->tokens, i + 1, close, &c->memory, &query, &s->err));
    i = close + 1;
  } else {
    for (; i < t->tokens_n && !word(t, i, "from") && !word(t, i, "to") && !punct(t, i, '('); i++) {
      if (punct(t, i, '.')) buf_byte(&table, '.');
      else if (punct(t, i + 1, '.') && (word(t, i, "public"))) buf_text(&table, "main");
      else if (punct(t, i + 1, '.') && strncmp(t->tokens[i].text, "pg_temp", 7) == 0) buf_text(&table, "temp");
      else buf_quoted_name(&table, t->tokens[i].text), plain_table = t->tokens[i].text;
    }
    if (punct(t, i, '(')) {
      for (i++; i < t->tokens_n && !punct(t, i, ')'); i++)
        if (punct(t, i, ',')) buf_byte(&columns, ',');
        else buf_quoted_name(&columns, t->tokens[i].text);
      i++;
    }
  }
  bool in = word(t, i, "from");
  status rc = HDB_OK;
  const char *table_text = arena_strndup(&c->memory, table.p ? (char *)table.p : "", table.n);
  const char *column_text = columns.n ? arena_strndup(&c->memory, (char *)columns.p, columns.n) : NULL;
  buf_free(&table);
  buf_free(&columns);
  if (!in && !word(t, i, "to")) rc = syntax(s, t, i);
  else if (in && query) rc = syntax(s, t, i);
  else if (!word(t, i + 1, "stdin") && !word(t, i + 1, "stdout"))
    rc = error_set(&s->err, HDB_ERROR, "not supported yet: COPY with files and programs of the server");
  if (rc == HDB_OK) rc = read_options(s, c, t, i + 2);
  if (rc != HDB_OK) return rc;
  c->table = arena_strdup(&c->memory, plain_table);
  if (in) return copy_in(s, c, table_text, column_text);
  if (!query) query = arena_printf(&c->memory, "SELECT %s FROM %s", column_text ? column_text : "*", table_text);
  return query ? copy_out(s, c, query) : error_set(&s->err, HDB_NOMEM, "out of memory");
}

status copy_start(session *s, const translation *t, const char *sql) {
  copy_state *c = calloc(1, sizeof *c);
  if (!c) return error_set(&s->err, HDB_NOMEM, "out of memory");
  s->copy = c;
  status rc = parse_and_run(s, c, t, sql);
  if (rc != HDB_OK && c->own_transaction) {
    error kept = s->err;
    s->err = (error)ERROR_INIT;
    (void)transaction_end(s, false);
    error_clear(&s->err);
    s->err = kept;
  }
  if (s->state != STATE_COPY_IN) copy_free(s);
  return rc;
}
