/* Functions of a match: bm25, highlight, snippet (FTS5), snippet, offsets, matchinfo (FTS3/4).
 *
 * Their first argument is the table's hidden column, which is a cursor's number (F3 of fts.c). FTS5's snippet prefers
 * windows with many different phrases, and those that begin a sentence. FTS4's ranks fragments in the same way that
 * SQLite's documentation tells, for one fragment.
 */
#include <math.h>
#include <stdlib.h>
#include <strings.h>

#include "sql/fts.h"
#include "sql/func.h"

/* ---- the cursor ---- */
static fts_cursor *cursor_numbered(function_call *call, const value *v) {
  if (v->type != VAL_INTEGER) return NULL;
  fts_cursor *c = call->db->fts_cursors;
  while (c && c->id != v->i) c = c->next;
  return c;
}

static status find(function_call *call, const char *name, const value *v, int version, fts_cursor **out) {
  *out = cursor_numbered(call, v);
  if (*out && ((*out)->f->version == 5) == (version == 5)) return HDB_OK;
  if (version != 5) return error_set(call->err, HDB_ERROR, "illegal first argument to %s", name);
  return error_set(call->err, HDB_ERROR, "unable to use function %s in the requested context", name);
}

/* ---- bm25 ---- */
double fts_bm25(const fts_cursor *c, const fts_match *m, const double *weights, int n) {
  const fts_result *r = &c->result;
  const double k1 = 1.2, b = 0.75;
  double all = 0, length = 0, score = 0;
  for (int i = 0; i < c->f->columns_n; i++) all += (double)r->tokens[i], length += m->sizes[i];
  double average = r->rows ? all / (double)r->rows : 1;
  for (int i = 0; i < c->query.phrases_n; i++) {
    double rows = (double)r->phrase_rows[i], idf = log(((double)r->rows - rows + 0.5) / (rows + 0.5)), frequency = 0;
    if (idf <= 0.0) idf = 1e-6;
    for (int k = 0; k < m->hits_n; k++)
      if (m->hits[k].phrase == i) frequency += m->hits[k].column < n ? weights[m->hits[k].column] : 1.0;
    score += idf * (frequency * (k1 + 1.0) / (frequency + k1 * (1 - b + b * length / average)));
  }
  return -1.0 * score;
}

/* bm25(1.0, 2, ...) */
status fts_rank_parse(arena *memory, slice text, const double **weights, int *n) {
  char *copy = arena_strndup(memory, text.n ? (const char *)text.p : "", text.n);
  if (!copy) return HDB_NOMEM;
  char *p = copy, *end;
  while (*p == ' ') p++;
  if (strncasecmp(p, "bm25", 4) != 0) return HDB_ERROR;
  p += 4;
  while (*p == ' ') p++;
  if (*p++ != '(') return HDB_ERROR;
  double *list = arena_zero(memory, (text.n + 1) * sizeof *list);
  if (!list) return HDB_NOMEM;
  *weights = list, *n = 0;
  for (;;) {
    while (*p == ' ') p++;
    if (*p == ')') break;
    list[(*n)++] = strtod(p, &end);
    if (end == p) return HDB_ERROR;
    p = end;
    while (*p == ' ') p++;
    if (*p == ',') p++;
    else if (*p != ')') return HDB_ERROR;
  }
  for (p++; *p == ' '; p++) {}
  return *p ? HDB_ERROR : HDB_OK;
}

static status bm25(function_call *call, int n, const value *arguments, value *result) {
  fts_cursor *c;
  TRY(find(call, "bm25", &arguments[0], 5, &c));
  const fts_match *m = fts_current(c);
  if (!m) {
    *result = value_real(-0.0);
    return HDB_OK;
  }
  double weights[64];
  for (int i = 1; i < n && i <= 64; i++) weights[i - 1] = value_to_real(&arguments[i]);
  *result = value_real(fts_bm25(c, m, weights, n - 1 < 64 ? n - 1 : 64));
  return HDB_OK;
}

/* ---- marking ---- */
typedef struct marker {
  const fts_cursor *c;
  const fts_match *m;
  int column;
  slice text, open, close;
  buf out;
  int token, hit;            /* where tokenizing stands; the next hit */
  int start, end;            /* of the marked stretch, in tokens; -1 none */
  size_t done;               /* bytes written */
  int range_start, range_end; /* range_end 0: the whole text */
} marker;

/* The next stretch of overlapping hits. */
static void next_stretch(marker *k) {
  k->start = k->end = -1;
  for (; k->m && k->hit < k->m->hits_n; k->hit++) {
    const fts_hit *h = &k->m->hits[k->hit];
    if (h->column != k->column) continue;
    int end = h->offset - 1 + k->c->query.phrases[h->phrase]->n;
    if (k->start < 0) k->start = h->offset, k->end = end;
    else if (h->offset <= k->end) k->end = end > k->end ? end : k->end;
    else break;
  }
}

static void write_to(marker *k, size_t to) {
  if (to > k->done) buf_append(&k->out, k->text.p + k->done, to - k->done);
}

static status mark_token(void *context, const char *token, size_t n, size_t from, size_t to) {
  marker *k = context;
  (void)token, (void)n;
  int at = k->token++;
  if (k->range_end > 0) {
    if (at < k->range_start || at > k->range_end) return HDB_OK;
    if (k->range_start && at == k->range_start) k->done = from;
  }
  if (at == k->start) {
    write_to(k, from);
    buf_append(&k->out, k->open.p, k->open.n);
    k->done = from;
  }
  if (at == k->end) {
    if (k->range_end > 0 && k->start < k->range_start) buf_append(&k->out, k->open.p, k->open.n);
    write_to(k, to);
    buf_append(&k->out, k->close.p, k->close.n);
    k->done = to;
    next_stretch(k);
  }
  if (k->range_end > 0 && at == k->range_end) {
    write_to(k, to);
    k->done = to;
    if (k->start >= 0 && at >= k->start && at < k->end) buf_append(&k->out, k->close.p, k->close.n);
  }
  return buf_failed(&k->out) ? HDB_NOMEM : HDB_OK;
}

static status column_text(function_call *call, fts_cursor *c, int column, slice *out, bool *null) {
  value v;
  *null = true;
  if (column < 0 || column >= c->f->columns_n) return error_set(call->err, HDB_RANGE, "column index out of range");
  TRY(fts_column_value(c, column, &v));
  *null = v.type == VAL_NULL;
  return *null ? HDB_OK : function_text(call, &v, out);
}

static status texts(function_call *call, const value *arguments, slice *out, int n) {
  for (int i = 0; i < n; i++) TRY(function_text(call, &arguments[i], &out[i]));
  return HDB_OK;
}

static status highlight(function_call *call, int n, const value *arguments, value *result) {
  fts_cursor *c;
  marker k = {0};
  bool null;
  TRY(find(call, "highlight", &arguments[0], 5, &c));
  if (n != 4) return error_set(call->err, HDB_ERROR, "wrong number of arguments to function highlight()");
  slice marks[2];
  TRY(texts(call, arguments + 2, marks, 2));
  k.column = value_to_int32(&arguments[1]);
  *result = value_null();
  TRY(column_text(call, c, k.column, &k.text, &null));
  if (null) return HDB_OK;
  k.c = c, k.m = fts_current(c), k.open = marks[0], k.close = marks[1], k.out = (buf)BUF_INIT;
  next_stretch(&k);
  status rc = c->f->unindexed[k.column] && !k.m ? HDB_OK : fts_tokenize(&c->f->tokenizer, k.text, mark_token, &k);
  write_to(&k, k.text.n);
  if (rc != HDB_OK) {
    buf_free(&k.out);
    return function_nomem(call);
  }
  return function_result_buf(call, &k.out, VAL_TEXT, result);
}

/* ---- FTS5's snippet ---- */
typedef struct sentences {
  slice text;
  int *starts, n, capacity, token;
} sentences;

static status note_sentence(void *context, const char *token, size_t n, size_t from, size_t to) {
  sentences *s = context;
  (void)token, (void)n, (void)to;
  bool begins = s->token == 0;
  if (!begins && from) {
    size_t i = from - 1;
    while (i > 0 && (s->text.p[i] == ' ' || s->text.p[i] == '\t' || s->text.p[i] == '\n' || s->text.p[i] == '\r')) i--;
    begins = i != from - 1 && (s->text.p[i] == '.' || s->text.p[i] == ':');
  }
  if (begins) {
    if (s->n == s->capacity) {
      int capacity = s->capacity ? s->capacity * 2 : 64;
      int *starts = realloc(s->starts, (size_t)capacity * sizeof *starts);
      if (!starts) return HDB_NOMEM;
      s->starts = starts, s->capacity = capacity;
    }
    s->starts[s->n++] = s->token;
  }
  s->token++;
  return HDB_OK;
}

/* What a window of `tokens` from `at` on is worth; *start: where it would better begin, its hits in the middle. */
static int score(const fts_cursor *c, const fts_match *m, int column, int at, int tokens, int size, uint8_t *seen, int *start) {
  int worth = 0, first = -1, last = 0;
  memset(seen, 0, (size_t)c->query.phrases_n);
  for (int i = 0; i < m->hits_n; i++) {
    const fts_hit *h = &m->hits[i];
    if (h->column != column || h->offset < at || h->offset >= at + tokens) continue;
    worth += seen[h->phrase] ? 1 : 1000;
    seen[h->phrase] = 1;
    if (first < 0) first = h->offset;
    last = h->offset + c->query.phrases[h->phrase]->n;
  }
  int adjusted = first - (tokens - (last - first)) / 2;
  if (adjusted + tokens > size) adjusted = size - tokens;
  *start = adjusted < 0 ? 0 : adjusted;
  return worth;
}

typedef struct window5 {
  int column, start, size, worth;
} window5;

static void consider(window5 *best, int column, int start, int size, int worth) {
  if (worth > best->worth) *best = (window5){column, start, size, worth};
}

static void column_windows(const fts_cursor *c, const fts_match *m, int column, int tokens, const sentences *s, uint8_t *seen, window5 *best) {
  int start, ignored, size = m->sizes[column];
  for (int i = 0; i < m->hits_n; i++) {
    if (m->hits[i].column != column) continue;
    int at = m->hits[i].offset;
    int worth = score(c, m, column, at, tokens, size, seen, &start);
    consider(best, column, start, size, worth);
    if (!s->n || size <= tokens) continue;
    int k = 0;
    while (k < s->n - 1 && s->starts[k + 1] <= at) k++;
    if (s->starts[k] >= at) continue;
    worth = score(c, m, column, s->starts[k], tokens, size, seen, &ignored);
    consider(best, column, s->starts[k], size, worth + (s->starts[k] == 0 ? 120 : 100));
  }
}

static status best_window(function_call *call, fts_cursor *c, const fts_match *m, int column, int tokens, window5 *best) {
  uint8_t *seen = arena_zero(call->memory, (size_t)c->query.phrases_n + 1);
  if (!seen) return function_nomem(call);
  for (int i = 0; i < c->f->columns_n; i++) {
    if (column >= 0 && i != column) continue;
    sentences s = {0};
    bool null;
    TRY(column_text(call, c, i, &s.text, &null));
    status rc = null ? HDB_OK : fts_tokenize(&c->f->tokenizer, s.text, note_sentence, &s);
    if (rc == HDB_OK && m) column_windows(c, m, i, tokens, &s, seen, best);
    if (i == best->column && best->size == 0) best->size = m ? m->sizes[i] : s.token;
    free(s.starts);
    if (rc != HDB_OK) return function_nomem(call);
  }
  return HDB_OK;
}

static status snippet5(function_call *call, fts_cursor *c, const value *arguments, value *result) {
  slice marks[3];
  bool null;
  int column = value_to_int32(&arguments[1]), tokens = value_to_int32(&arguments[5]);
  TRY(texts(call, arguments + 2, marks, 3));
  window5 best = {.column = column < 0 ? 0 : column};
  marker k = {.c = c, .m = fts_current(c), .open = marks[0], .close = marks[1], .out = BUF_INIT};
  TRY(best_window(call, c, k.m, column, tokens, &best));
  *result = value_null();
  TRY(column_text(call, c, best.column, &k.text, &null));
  if (null) return HDB_OK;
  k.column = best.column;
  k.range_start = best.start, k.range_end = best.start + tokens - 1;
  if (best.start > 0) buf_append(&k.out, marks[2].p, marks[2].n);
  do next_stretch(&k);
  while (k.start >= 0 && k.start < best.start);
  status rc = fts_tokenize(&c->f->tokenizer, k.text, mark_token, &k);
  if (k.range_end >= best.size - 1) write_to(&k, k.text.n);
  else buf_append(&k.out, marks[2].p, marks[2].n);
  if (rc != HDB_OK) {
    buf_free(&k.out);
    return function_nomem(call);
  }
  return function_result_buf(call, &k.out, VAL_TEXT, result);
}

static status snippet(function_call *call, int n, const value *arguments, value *result) {
  fts_cursor *c = n ? cursor_numbered(call, &arguments[0]) : NULL;
  if (!c) return error_set(call->err, HDB_ERROR, "unable to use function snippet in the requested context");
  if (c->f->version == 5) {
    if (n != 6) return error_set(call->err, HDB_ERROR, "wrong number of arguments to function snippet()");
    return snippet5(call, c, arguments, result);
  }
  return error_set(call->err, HDB_ERROR, "not supported yet: snippet() of fts3 and fts4 tables");
}

/* ---- FTS3/4 ---- */
typedef struct token_places {
  size_t *from, *to;
  int n, capacity;
} token_places;

static status note_place(void *context, const char *token, size_t n, size_t from, size_t to) {
  token_places *p = context;
  (void)token, (void)n;
  if (p->n == p->capacity) {
    int capacity = p->capacity ? p->capacity * 2 : 64;
    size_t *a = realloc(p->from, (size_t)capacity * sizeof *a);
    if (a) p->from = a;
    size_t *b = realloc(p->to, (size_t)capacity * sizeof *b);
    if (b) p->to = b;
    if (!a || !b) return HDB_NOMEM;
    p->capacity = capacity;
  }
  p->from[p->n] = from, p->to[p->n++] = to;
  return HDB_OK;
}

typedef struct term_hit {
  int term, offset;
} term_hit;
static int term_hit_order(const void *a, const void *b) {
  const term_hit *x = a, *y = b;
  if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
  return (x->term > y->term) - (x->term < y->term);
}

static status column_offsets(function_call *call, fts_cursor *c, const fts_match *m, int column, buf *out) {
  int n = 0, capacity = 0;
  for (int i = 0; i < m->hits_n; i++) capacity += m->hits[i].column == column ? c->query.phrases[m->hits[i].phrase]->n : 0;
  term_hit *hits = arena_alloc(call->memory, ((size_t)capacity + 1) * sizeof *hits);
  token_places places = {0};
  slice text = {0, 0};
  bool null;
  if (!hits) return function_nomem(call);
  for (int i = 0; i < m->hits_n; i++) {
    const fts_hit *h = &m->hits[i];
    int term = 0;
    if (h->column != column) continue;
    for (int k = 0; k < h->phrase; k++) term += c->query.phrases[k]->n;
    for (int k = 0; k < c->query.phrases[h->phrase]->n; k++) hits[n++] = (term_hit){term + k, h->offset + k};
  }
  if (!n) return HDB_OK;
  qsort(hits, (size_t)n, sizeof *hits, term_hit_order);
  TRY(column_text(call, c, column, &text, &null));
  status rc = null ? HDB_OK : fts_tokenize(&c->f->tokenizer, text, note_place, &places);
  for (int i = 0; i < n && rc == HDB_OK; i++) {
    if (hits[i].offset >= places.n) continue;
    size_t from = places.from[hits[i].offset], to = places.to[hits[i].offset];
    buf_printf(out, "%s%d %d %zu %zu", out->n ? " " : "", column, hits[i].term, from, to - from);
  }
  free(places.from);
  free(places.to);
  return rc == HDB_OK ? HDB_OK : function_nomem(call);
}

static status offsets(function_call *call, int n, const value *arguments, value *result) {
  fts_cursor *c;
  buf out = BUF_INIT;
  (void)n;
  TRY(find(call, "offsets", &arguments[0], 3, &c));
  const fts_match *m = fts_current(c);
  status rc = HDB_OK;
  for (int i = 0; m && i < c->f->columns_n && rc == HDB_OK; i++) rc = column_offsets(call, c, m, i, &out);
  if (rc != HDB_OK) {
    buf_free(&out);
    return rc;
  }
  return function_result_buf(call, &out, VAL_TEXT, result);
}

static void put_u32(buf *b, int64_t v) {
  uint32_t x = (uint32_t)v;
  buf_append(b, &x, 4);
}

static int64_t hits_in(const fts_match *m, int phrase, int column) {
  int64_t n = 0;
  for (int i = 0; i < m->hits_n; i++) n += m->hits[i].phrase == phrase && m->hits[i].column == column;
  return n;
}

/* The longest run of phrases in the query's order that stand side by side in the column. */
static int longest_run(const fts_cursor *c, const fts_match *m, int column) {
  int best = 0;
  for (int i = 0; i < m->hits_n; i++) {
    if (m->hits[i].column != column) continue;
    int n = 1, at = m->hits[i].offset, phrase = m->hits[i].phrase;
    for (;;) {
      at += c->query.phrases[phrase]->n;
      bool found = false;
      for (int k = 0; k < m->hits_n && !found; k++)
        found = m->hits[k].column == column && m->hits[k].offset == at && m->hits[k].phrase == phrase + 1;
      if (!found) break;
      phrase++, n++;
    }
    if (n > best) best = n;
  }
  return best;
}

static status matchinfo(function_call *call, int n, const value *arguments, value *result) {
  fts_cursor *c;
  slice format = slice_str("pcx");
  buf out = BUF_INIT;
  TRY(find(call, "matchinfo", &arguments[0], 3, &c));
  if (n > 1) TRY(function_text(call, &arguments[1], &format));
  const fts_match *m = fts_current(c);
  const fts_result *r = &c->result;
  int phrases = c->query.visible_n, columns = c->f->columns_n;
  for (size_t i = 0; i < format.n; i++) {
    char k = (char)format.p[i];
    if (!strchr("pcnalsxyb", k) || !k || (c->f->version == 3 && (k == 'n' || k == 'a' || k == 'l')) || (!c->f->has_docsize && k == 'l')) {
      buf_free(&out);
      return error_set(call->err, HDB_ERROR, "unrecognized matchinfo request: %c", k);
    }
    if (!m) continue;
    if (k == 'p') put_u32(&out, phrases);
    if (k == 'c') put_u32(&out, columns);
    if (k == 'n') put_u32(&out, r->rows);
    for (int j = 0; j < columns && (k == 'a' || k == 'l' || k == 's'); j++)
      put_u32(&out, k == 'a' ? (r->rows ? (r->tokens[j] + r->rows / 2) / r->rows : 0) : k == 'l' ? m->sizes[j] : longest_run(c, m, j));
    for (int p = 0; p < phrases && (k == 'x' || k == 'y'); p++)
      for (int j = 0; j < columns; j++) {
        put_u32(&out, hits_in(m, p, j));
        if (k == 'y') continue;
        put_u32(&out, r->column_hits[(size_t)p * (size_t)columns + (size_t)j]);
        put_u32(&out, r->column_rows[(size_t)p * (size_t)columns + (size_t)j]);
      }
    for (int p = 0; p < phrases && k == 'b'; p++)
      for (int j = 0; j < columns; j += 32) {
        uint32_t bits = 0;
        for (int b = 0; b < 32 && j + b < columns; b++) bits |= (uint32_t)(hits_in(m, p, j + b) > 0) << b;
        put_u32(&out, bits);
      }
  }
  return function_result_buf(call, &out, VAL_BLOB, result);
}

static status optimize(function_call *call, int n, const value *arguments, value *result) {
  fts_cursor *c;
  (void)n;
  TRY(find(call, "optimize", &arguments[0], 3, &c));
  *result = value_text("Index already optimal", 21);
  return HDB_OK;
}

static const function functions[] = {
    {.name = "bm25", .arguments = -1, .min_arguments = 1, .scalar = bm25},
    {.name = "highlight", .arguments = -1, .min_arguments = 1, .scalar = highlight},
    {.name = "snippet", .arguments = -1, .min_arguments = 1, .scalar = snippet},
    {.name = "offsets", .arguments = 1, .scalar = offsets},
    {.name = "matchinfo", .arguments = 1, .scalar = matchinfo},
    {.name = "matchinfo", .arguments = 2, .scalar = matchinfo},
    {.name = "optimize", .arguments = 1, .scalar = optimize},
};
const function_table functions_fts = {functions, COUNT(functions)};
