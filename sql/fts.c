/* FTS5, FTS4 and FTS3 as virtual tables: reading, writing, planning. fts_declare.c: their arguments and shadow tables.
 *
 *   fts_tokenize.c   text -> tokens          fts_query.c      MATCH text -> tree
 *   fts_match.c      tree x rows -> matches  fts_auxiliary.c  bm25, highlight, snippet, offsets, matchinfo
 *
 * F1  The rows are in t_content as SQLite has them there (id or docid, then the columns). Nothing else is needed to
 *     answer: a MATCH reads t_content (fts_match.c says what that costs). t_docsize holds each row's token counts,
 *     t_config FTS5's settings; t_data, t_idx, t_segments, t_segdir, t_stat exist and stay empty.
 * F2  A match's rows are found by the first step; its columns are read when somebody asks.
 * F3  The hidden column named as the table is the cursor's number: by it the auxiliary functions find the match.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "kv/base/key.h"
#include "sql/ddl.h"
#include "sql/dml.h"
#include "sql/fts.h"

enum { ORDER_RANK = 0x20, ORDER_ROWID = 0x40, ORDER_DESC = 0x80 };          /* FTS5's plan numbers */
enum { FTS3_DOCID = 1, FTS3_MATCH = 2, FTS3_LANGID = 0x10000, FTS3_GE = 0x20000, FTS3_LE = 0x40000 };

static const fts_config *config_of(const table *t) { return t->virtual_data; }
static status failed(exec *x, status rc) {
  return rc == HDB_OK || x->err->code == rc ? rc : error_set(x->err, rc, "%s", status_text(rc));
}

/* ---- planning ---- */
static void plan_rows(virtual_plan *p, bool match, bool equal, bool low, bool high) {
  p->cost = match ? (equal ? 100.0 : low && high ? 500.0 : low || high ? 750.0 : 1000.0)
                  : (equal ? 10.0 : low && high ? 250000.0 : low || high ? 750000.0 : 1000000.0);
  p->rows = match ? 25 : equal ? 1 : 1 << 18;
  p->one_row = equal && !match;
}

static status best5(hdb *db, virtual_plan *p, arena *memory) {
  const fts_config *f = config_of(p->t);
  buf text = BUF_INIT;
  int arguments = 0;
  bool match = false, rank = false, equal = false, low = false, high = false;
  (void)db;
  for (int i = 0; i < p->constraints_n; i++) {
    virtual_constraint *k = &p->constraints[i];
    if (k->op != VIRTUAL_MATCH && !(k->op == VIRTUAL_EQ && k->column >= f->columns_n)) continue;
    if (!k->usable || k->column < 0) {
      buf_free(&text);
      return HDB_CONSTRAINT;
    }
    if (k->column == f->columns_n + 1) {
      if (rank) continue;
      rank = true;
      buf_byte(&text, 'r');
    } else {
      match = true;
      buf_printf(&text, "M%d", k->column);
    }
    k->argument = ++arguments;
    k->omit = true;
  }
  for (int i = 0; i < p->constraints_n; i++) {
    virtual_constraint *k = &p->constraints[i];
    if (!k->usable || k->column != -1 || k->op != VIRTUAL_EQ || equal) continue;
    equal = true;
    buf_byte(&text, '=');
    k->argument = ++arguments;
    k->omit = true;
  }
  for (int i = 0; i < p->constraints_n && !equal; i++) {
    virtual_constraint *k = &p->constraints[i];
    if (!k->usable || k->column != -1) continue;
    bool is_low = k->op == VIRTUAL_GT || k->op == VIRTUAL_GE, is_high = k->op == VIRTUAL_LT || k->op == VIRTUAL_LE;
    if ((!is_low || low) && (!is_high || high)) continue;
    if (is_low) low = true;
    else high = true;
    buf_byte(&text, is_low ? '>' : '<');
    k->argument = ++arguments;
  }
  if (p->order_n == 1 && (p->order[0].column == -1 || (p->order[0].column == f->columns_n + 1 && match))) {
    p->number = p->order[0].column == -1 ? ORDER_ROWID : ORDER_RANK;
    if (p->order[0].descending) p->number |= ORDER_DESC;
    p->order_done = true;
  }
  const char *s = buf_cstr(&text);
  p->text = s ? arena_strdup(memory, s) : NULL;
  buf_free(&text);
  plan_rows(p, match, equal, low, high);
  return p->text ? HDB_OK : HDB_NOMEM;
}

static bool is_docid(const fts_config *f, int column) { return column == -1 || column == f->columns_n + 1; }

static status best3(hdb *db, virtual_plan *p, arena *memory) {
  const fts_config *f = config_of(p->t);
  virtual_constraint *match = NULL, *equal = NULL, *low = NULL, *high = NULL;
  int arguments = 0;
  (void)db, (void)memory;
  for (int i = 0; i < p->constraints_n; i++) {
    virtual_constraint *k = &p->constraints[i];
    if (!k->usable) {
      if (k->op == VIRTUAL_MATCH || (k->op == VIRTUAL_EQ && k->column == f->columns_n)) return HDB_CONSTRAINT;
      continue;
    }
    if (!match && k->op == VIRTUAL_MATCH && k->column >= 0 && k->column <= f->columns_n) match = k;
    else if (!match && k->op == VIRTUAL_EQ && k->column == f->columns_n) match = k; /* t('words') */
    else if (!equal && k->op == VIRTUAL_EQ && is_docid(f, k->column)) equal = k;
    else if (!low && (k->op == VIRTUAL_GE || k->op == VIRTUAL_GT) && is_docid(f, k->column)) low = k;
    else if (!high && (k->op == VIRTUAL_LE || k->op == VIRTUAL_LT) && is_docid(f, k->column)) high = k;
  }
  if (match) match->argument = ++arguments, match->omit = true, p->number = FTS3_MATCH + match->column;
  else if (equal) equal->argument = ++arguments, equal->omit = true, p->number = FTS3_DOCID;
  if (low) low->argument = ++arguments, p->number |= FTS3_GE;
  if (high) high->argument = ++arguments, p->number |= FTS3_LE;
  p->text = f->descending ? "DESC" : NULL;
  if (p->order_n == 1 && is_docid(f, p->order[0].column)) {
    p->text = p->order[0].descending ? "DESC" : "ASC";
    p->order_done = true;
  }
  plan_rows(p, match != NULL, !match && equal, low != NULL, high != NULL);
  return HDB_OK;
}

/* ---- cursors ---- */
static status fts_open(exec *x, const table *t, void **cursor) {
  fts_cursor *c = calloc(1, sizeof *c);
  if (!c) return error_set(x->err, HDB_NOMEM, "out of memory");
  c->x = x, c->t = t, c->f = config_of(t);
  c->content = virtual_shadow(t, "content");
  c->id = ++x->db->fts_cursors_made;
  c->next = x->db->fts_cursors;
  x->db->fts_cursors = c;
  *cursor = c;
  return HDB_OK;
}

static void fts_close(void *cursor) {
  fts_cursor *c = cursor;
  fts_cursor **at = &c->x->db->fts_cursors;
  while (*at && *at != c) at = &(*at)->next;
  if (*at) *at = c->next;
  if (c->rows) cursor_close(c->rows);
  arena_clear(&c->memory);
  free(c);
}

static bool seek(fts_cursor *c, int64_t rowid) {
  uint8_t key[8];
  rowid_encode(key, rowid);
  return cursor_find(c->rows, slice_of(key, 8));
}

static status open_rows(fts_cursor *c) {
  if (c->rows) cursor_close(c->rows);
  c->rows = NULL;
  if (!c->content) return error_set(c->x->err, HDB_CORRUPT, "database disk image is malformed");
  int database = c->t->schema->database;
  return failed(c->x, cursor_open(c->x->db->databases[database].txn, c->content->tree, 0, &c->rows));
}

static void check_range(fts_cursor *c) {
  if (!c->rows->valid) {
    c->eof = true;
    return;
  }
  int64_t rowid = rowid_decode(c->rows->key.p);
  c->eof = c->descending ? rowid < c->low : rowid > c->high;
}

static void start_scan(fts_cursor *c) {
  uint8_t key[8];
  rowid_encode(key, c->descending ? c->high : c->low);
  if (c->descending) cursor_seek_for_prev(c->rows, slice_of(key, 8));
  else cursor_seek(c->rows, slice_of(key, 8));
  check_range(c);
}

static int order_rank(const void *a, const void *b) {
  const fts_match *x = a, *y = b;
  if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
  return (x->rowid > y->rowid) - (x->rowid < y->rowid);
}

static int order_rank_down(const void *a, const void *b) {
  const fts_match *x = a, *y = b;
  if (x->rank != y->rank) return x->rank > y->rank ? -1 : 1;
  return (x->rowid > y->rowid) - (x->rowid < y->rowid);
}

static status stored_rank(fts_cursor *c) {
  const table *t = virtual_shadow(c->t, "config");
  cursor *rows;
  uint8_t type;
  slice payload;
  if (!t) return HDB_OK;
  TRY(failed(c->x, cursor_open(c->x->db->databases[c->t->schema->database].txn, t->tree, 0, &rows)));
  status rc = HDB_OK;
  for (cursor_first(rows); rows->valid && rc == HDB_OK; cursor_next(rows)) {
    if (record_check(rows->value) != HDB_OK || !record_column(rows->value, 0, &type, &payload)) continue;
    value k = value_read(type, payload.p, payload.n);
    if (k.type != VAL_TEXT || k.n != 4 || memcmp(k.p, "rank", 4) != 0) continue;
    if (!record_column(rows->value, 1, &type, &payload)) continue;
    value v = value_read(type, payload.p, payload.n);
    if (v.type == VAL_TEXT && fts_rank_parse(&c->memory, slice_of(v.p, v.n), &c->weights, &c->weights_n) != HDB_OK)
      rc = error_set(c->x->err, HDB_ERROR, "not supported yet: a rank function other than bm25()");
  }
  if (rc == HDB_OK) rc = failed(c->x, rows->error);
  cursor_close(rows);
  return rc;
}

static status rank_all(fts_cursor *c) {
  if (c->ranked) return HDB_OK;
  c->ranked = true;
  if (!c->rank) TRY(stored_rank(c));
  for (int64_t i = 0; i < c->result.n; i++)
    c->result.matches[i].rank = fts_bm25(c, &c->result.matches[i], c->weights, c->weights_n);
  return HDB_OK;
}

/* The matches outside of [low, high] go; then the order that the plan wants. */
static status arrange(fts_cursor *c, int number) {
  fts_result *r = &c->result;
  int64_t n = 0;
  for (int64_t i = 0; i < r->n; i++)
    if (r->matches[i].rowid >= c->low && r->matches[i].rowid <= c->high) r->matches[n++] = r->matches[i];
  r->n = n;
  if (c->f->version == 5 && number & ORDER_RANK) {
    TRY(rank_all(c));
    if (n) qsort(r->matches, (size_t)n, sizeof *r->matches, number & ORDER_DESC ? order_rank_down : order_rank);
  } else if (c->descending) {
    for (int64_t i = 0; i < n / 2; i++) {
      fts_match swap = r->matches[i];
      r->matches[i] = r->matches[n - 1 - i];
      r->matches[n - 1 - i] = swap;
    }
  }
  c->at = 0;
  c->eof = n == 0;
  return HDB_OK;
}

static status add_match(fts_cursor *c, const value *v, int column) {
  slice text;
  fts_query q;
  if (column >= c->f->columns_n) column = -1;
  TRY(failed(c->x, value_to_text(v, &c->memory, &text)));
  const uint8_t *nul = text.n ? memchr(text.p, 0, text.n) : NULL;
  if (nul) text.n = (size_t)(nul - text.p);
  if (c->f->version != 5) TRY(fts3_parse(c->f, text, column, &c->memory, c->x->err, &q));
  else {
    if (text.n && text.p[0] == '*')
      return error_set(c->x->err, HDB_ERROR, "unknown special query: %.*s", (int)(text.n - 1), (const char *)text.p + 1);
    TRY(fts5_parse(c->f, text, column, &c->memory, c->x->err, &q));
  }
  if (c->matching) return failed(c->x, fts_query_and(&c->memory, &c->query, &q));
  c->query = q;
  c->matching = true;
  return HDB_OK;
}

static void bound_low(fts_cursor *c, const value *v) {
  if (v->type == VAL_INTEGER && v->i > c->low) c->low = v->i;
}
static void bound_high(fts_cursor *c, const value *v) {
  if (v->type == VAL_INTEGER && v->i < c->high) c->high = v->i;
}
static void bound_equal(fts_cursor *c, const value *v) {
  value whole = *v;
  if (whole.type == VAL_REAL || whole.type == VAL_TEXT) (void)value_apply_affinity(&whole, AFF_INTEGER, &c->memory);
  if (whole.type == VAL_INTEGER) c->low = c->high = whole.i;
  else c->low = 1, c->high = 0;
}

static status arguments5(fts_cursor *c, const char *text, const value *arguments) {
  int k = 0;
  for (const char *s = text ? text : ""; *s; k++) {
    switch (*s++) {
    case 'M': TRY(add_match(c, &arguments[k], (int)strtol(s, (char **)&s, 10))); break;
    case 'r': {
      slice rank;
      TRY(failed(c->x, value_to_text(&arguments[k], &c->memory, &rank)));
      c->rank = "";
      if (fts_rank_parse(&c->memory, rank, &c->weights, &c->weights_n) != HDB_OK)
        return error_set(c->x->err, HDB_ERROR, "parse error in rank function: %.*s", (int)rank.n, (const char *)rank.p);
      break;
    }
    case '=': bound_equal(c, &arguments[k]); break;
    case '>': bound_low(c, &arguments[k]); break;
    default: bound_high(c, &arguments[k]); break;
    }
  }
  return HDB_OK;
}

static status fts_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  fts_cursor *c = cursor;
  (void)given, (void)n;
  arena_clear(&c->memory);
  c->query = (fts_query){0};
  c->result = (fts_result){0};
  c->matching = c->ranked = c->eof = false;
  c->weights = NULL, c->weights_n = 0, c->rank = NULL;
  c->low = INT64_MIN, c->high = INT64_MAX;
  c->number = number;
  TRY(open_rows(c));
  if (c->f->version == 5) {
    c->descending = (number & (ORDER_ROWID | ORDER_DESC)) == (ORDER_ROWID | ORDER_DESC);
    TRY(arguments5(c, text, arguments));
  } else {
    int k = 0, what = number & 0xffff;
    c->descending = text ? strcmp(text, "DESC") == 0 : c->f->descending;
    if (what == FTS3_DOCID) bound_equal(c, &arguments[k++]);
    else if (what >= FTS3_MATCH) TRY(add_match(c, &arguments[k++], what - FTS3_MATCH));
    if (number & FTS3_GE) bound_low(c, &arguments[k++]);
    if (number & FTS3_LE) bound_high(c, &arguments[k++]);
  }
  if (!c->matching) {
    start_scan(c);
    return failed(x, c->rows->error);
  }
  TRY(fts_run(x, c->f, c->t, &c->query, &c->memory, &c->result));
  return arrange(c, number);
}

static bool fts_at_end(void *cursor) { return ((fts_cursor *)cursor)->eof; }

static status fts_next(exec *x, void *cursor) {
  fts_cursor *c = cursor;
  if (c->matching) {
    c->eof = ++c->at >= c->result.n;
    return HDB_OK;
  }
  if (c->descending) cursor_prev(c->rows);
  else cursor_next(c->rows);
  check_range(c);
  return failed(x, c->rows->error);
}

const fts_match *fts_current(const fts_cursor *c) { return c->matching && !c->eof ? &c->result.matches[c->at] : NULL; }

int64_t fts_cursor_rowid(const fts_cursor *c) {
  return c->matching ? c->result.matches[c->at].rowid : c->rows->valid ? rowid_decode(c->rows->key.p) : 0;
}

static int64_t fts_rowid(void *cursor) { return fts_cursor_rowid(cursor); }

static status stored_column(slice record, uint32_t k, value *out) {
  uint8_t type;
  slice payload;
  *out = value_null();
  if (record_column(record, k, &type, &payload)) *out = value_read(type, payload.p, payload.n);
  return HDB_OK;
}

status fts_column_value(fts_cursor *c, int column, value *out) {
  *out = value_null();
  if (c->eof) return HDB_OK;
  if (c->matching) {
    int64_t rowid = c->result.matches[c->at].rowid;
    bool there = c->rows->valid && rowid_decode(c->rows->key.p) == rowid;
    if (!there && !seek(c, rowid)) return failed(c->x, c->rows->error);
  }
  if (record_check(c->rows->value) != HDB_OK) return failed(c->x, HDB_CORRUPT);
  return stored_column(c->rows->value, (uint32_t)column + 1, out);
}

static status fts_column(exec *x, void *cursor, int column, value *out) {
  fts_cursor *c = cursor;
  const fts_config *f = c->f;
  (void)x;
  if (column < f->columns_n) return fts_column_value(c, column, out);
  *out = value_null();
  if (column == f->columns_n) {
    *out = value_int(c->id);
  } else if (f->version != 5) {
    if (column == f->columns_n + 1) *out = value_int(fts_cursor_rowid(c));
    else return fts_column_value(c, f->columns_n, out);
  } else if (c->matching) {
    TRY(rank_all(c));
    *out = value_real(c->result.matches[c->at].rank);
  }
  return HDB_OK;
}

status fts_each_row(exec *x, const fts_config *f, const table *t, status (*visit)(void *, int64_t, const value *), void *context) {
  const table *content = virtual_shadow(t, "content");
  cursor *rows;
  if (!content) return error_set(x->err, HDB_CORRUPT, "database disk image is malformed");
  TRY(failed(x, cursor_open(x->db->databases[t->schema->database].txn, content->tree, 0, &rows)));
  value *values = malloc(((size_t)f->columns_n + 1) * sizeof *values);
  status rc = values ? HDB_OK : HDB_NOMEM;
  for (cursor_first(rows); rows->valid && rc == HDB_OK; cursor_next(rows)) {
    if (record_check(rows->value) != HDB_OK) rc = HDB_CORRUPT;
    for (int i = 0; i < f->columns_n && rc == HDB_OK; i++) (void)stored_column(rows->value, (uint32_t)i + 1, &values[i]);
    if (rc == HDB_OK) rc = visit(context, rowid_decode(rows->key.p), values);
  }
  if (rc == HDB_OK) rc = rows->error;
  free(values);
  cursor_close(rows);
  return failed(x, rc);
}

/* ---- writing ---- */
static status count_token(void *context, const char *token, size_t n, size_t from, size_t to) {
  (void)token, (void)n, (void)from, (void)to;
  ++*(uint64_t *)context;
  return HDB_OK;
}

/* SQLite's varints: seven bits a byte, the highest first. FTS3/4: the lowest first. */
static void put_size(buf *b, uint64_t n, bool lowest_first) {
  uint8_t bytes[10];
  int k = 0;
  if (lowest_first) {
    buf_varint(b, n);
    return;
  }
  do bytes[k++] = n & 0x7f;
  while (n >>= 7);
  while (k-- > 0) buf_byte(b, (uint8_t)(bytes[k] | (k ? 0x80 : 0)));
}

static status put_docsize(exec *x, int database, const table *t, int64_t rowid, const value *values) {
  const fts_config *f = config_of(t);
  const table *docsize = f->has_docsize ? virtual_shadow(t, "docsize") : NULL;
  buf sizes = BUF_INIT;
  uint64_t bytes = 0;
  status rc = HDB_OK;
  if (!docsize) return HDB_OK;
  for (int i = 0; i < f->columns_n && rc == HDB_OK; i++) {
    slice text = {0, 0};
    uint64_t n = 0;
    if (values[i].type != VAL_NULL) rc = value_to_text(&values[i], &x->memory, &text);
    if (rc == HDB_OK && !f->unindexed[i]) rc = fts_tokenize(&f->tokenizer, text, count_token, &n);
    bytes += text.n;
    put_size(&sizes, n, f->version != 5);
  }
  (void)bytes;
  if (rc == HDB_OK && buf_failed(&sizes)) rc = HDB_NOMEM;
  value row[2] = {value_null(), value_blob(sizes.p, sizes.n)};
  if (rc == HDB_OK) rc = table_put_row(x->db, database, docsize, rowid, row);
  buf_free(&sizes);
  return failed(x, rc);
}

static bool row_exists(exec *x, int database, const table *t, int64_t rowid, status *rc) {
  uint8_t key[8];
  cursor *rows;
  *rc = failed(x, cursor_open(x->db->databases[database].txn, t->tree, 0, &rows));
  if (*rc != HDB_OK) return false;
  rowid_encode(key, rowid);
  bool found = cursor_find(rows, slice_of(key, 8));
  *rc = failed(x, rows->error);
  cursor_close(rows);
  return found;
}

static status delete_row(exec *x, int database, const table *t, int64_t rowid) {
  static const char *const names[] = {"content", "docsize"};
  for (int i = 0; i < 2; i++) {
    const table *shadow = virtual_shadow(t, names[i]);
    status rc = HDB_OK;
    if (!shadow || !row_exists(x, database, shadow, rowid, &rc)) {
      TRY(rc);
      continue;
    }
    TRY(failed(x, table_delete_row(x->db, database, shadow, rowid)));
  }
  return HDB_OK;
}

static status put_row(exec *x, int database, const table *t, int64_t rowid, const value *values) {
  const fts_config *f = config_of(t);
  const table *content = virtual_shadow(t, "content");
  value *row = arena_alloc(&x->memory, ((size_t)f->columns_n + 2) * sizeof *row);
  if (!row) return failed(x, HDB_NOMEM);
  row[0] = value_null();
  memcpy(row + 1, values, (size_t)f->columns_n * sizeof *row);
  if (f->language) {
    value language = values[f->columns_n + 2];
    row[f->columns_n + 1] = value_int(value_to_int(&language));
  }
  TRY(failed(x, table_put_row(x->db, database, content, rowid, row)));
  return put_docsize(x, database, t, rowid, values);
}

static status integer_rowid(exec *x, const value *v, int64_t *rowid) {
  value whole = *v;
  TRY(failed(x, value_apply_affinity(&whole, AFF_INTEGER, &x->memory)));
  if (whole.type != VAL_INTEGER) return error_set(x->err, HDB_MISMATCH, "datatype mismatch");
  *rowid = whole.i;
  return HDB_OK;
}

static status choose_rowid(exec *x, int database, const table *t, const virtual_change *c, int64_t *rowid) {
  const fts_config *f = config_of(t);
  const value *given = c->rowid;
  const value *docid = f->version != 5 ? &c->values[f->columns_n + 1] : NULL;
  if (docid && docid->type != VAL_NULL) {
    if (!c->old && given) return error_set(x->err, HDB_ERROR, "SQL logic error");
    given = docid;
  }
  if (given) return integer_rowid(x, given, rowid);
  if (c->old) {
    *rowid = *c->old;
    return HDB_OK;
  }
  return failed(x, exec_new_rowid(x, database, virtual_shadow(t, "content")->tree, INT64_MIN, rowid));
}

static bool is_word(const value *v, const char *word) {
  return v->type == VAL_TEXT && v->n == strlen(word) && strncasecmp(v->p, word, v->n) == 0;
}

static status store_config(exec *x, int database, const table *t, const char *key, const value *v) {
  buf text = BUF_INIT;
  hdb *db = x->db;
  int64_t changes = db->changes, total = db->total_changes, last = db->last_insert_rowid;
  buf_text(&text, "REPLACE INTO ");
  buf_quoted_name(&text, db->databases[database].name);
  buf_byte(&text, '.');
  const char *name = arena_printf(&x->memory, "%s_config", t->name);
  if (!name) return failed(x, HDB_NOMEM);
  buf_quoted_name(&text, name);
  buf_printf(&text, "(k, v) VALUES('%s', ", key);
  value_quote(v, &text);
  buf_byte(&text, ')');
  const char *sql = buf_cstr(&text);
  status rc = sql ? sql_run(db, "%s", sql) : failed(x, HDB_NOMEM);
  db->changes = changes, db->total_changes = total, db->last_insert_rowid = last;
  buf_free(&text);
  return rc;
}

/* INSERT INTO t(t [, rank]) VALUES(command [, value]) */
static status command5(exec *x, int database, const table *t, const value *command, const value *argument) {
  static const char *const numbers[] = {"merge", "automerge", "crisismerge", "usermerge", "pgsz", "hashsize", "deletemerge", "secure-delete"};
  if (is_word(command, "rebuild") || is_word(command, "optimize") || is_word(command, "integrity-check") || is_word(command, "flush")) return HDB_OK;
  if (is_word(command, "delete-all"))
    return error_set(x->err, HDB_ERROR, "'delete-all' may only be used with a contentless or external content fts5 table");
  if (is_word(command, "delete"))
    return error_set(x->err, HDB_ERROR, "'delete' may only be used with a contentless or external content fts5 table");
  if (is_word(command, "rank")) {
    const double *weights;
    int n;
    slice text;
    TRY(failed(x, value_to_text(argument, &x->memory, &text)));
    if (fts_rank_parse(&x->memory, text, &weights, &n) != HDB_OK) return error_set(x->err, HDB_ERROR, "SQL logic error");
    return store_config(x, database, t, "rank", argument);
  }
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    if (!is_word(command, numbers[i])) continue;
    value v = value_to_number(argument);
    if (v.type != VAL_INTEGER) return error_set(x->err, HDB_ERROR, "SQL logic error");
    return i == 0 ? HDB_OK : store_config(x, database, t, numbers[i], &v);
  }
  return error_set(x->err, HDB_ERROR, "SQL logic error");
}

static status command3(exec *x, const value *command) {
  static const char *const names[] = {"optimize", "rebuild", "integrity-check", "flush"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (is_word(command, names[i])) return HDB_OK;
  if (command->type == VAL_TEXT && command->n > 6 && strncasecmp(command->p, "merge=", 6) == 0) return HDB_OK;
  if (command->type == VAL_TEXT && command->n > 10 && strncasecmp(command->p, "automerge=", 10) == 0) return HDB_OK;
  return error_set(x->err, HDB_ERROR, "SQL logic error");
}

static status fts_change(exec *x, int database, const table *t, const virtual_change *c, int64_t *rowid, bool *written) {
  const fts_config *f = config_of(t);
  const table *content = virtual_shadow(t, "content");
  if (!content) return error_set(x->err, HDB_CORRUPT, "database disk image is malformed");
  *written = true;
  if (!c->values) return delete_row(x, database, t, *c->old);
  const value *command = &c->values[f->columns_n];
  if (!c->old && command->type != VAL_NULL) {
    *rowid = x->db->last_insert_rowid;
    return f->version == 5 ? command5(x, database, t, command, &c->values[f->columns_n + 1]) : command3(x, command);
  }
  status rc;
  TRY(choose_rowid(x, database, t, c, rowid));
  if (!c->old || *c->old != *rowid) {
    bool there = row_exists(x, database, content, *rowid, &rc);
    TRY(rc);
    if (there && c->conflict == CONFLICT_IGNORE) {
      *written = false;
      return HDB_OK;
    }
    if (there && c->conflict != CONFLICT_REPLACE) return error_set(x->err, HDB_CONSTRAINT, "constraint failed");
  }
  if (c->old && *c->old != *rowid) TRY(delete_row(x, database, t, *c->old));
  return put_row(x, database, t, *rowid, c->values);
}

/* ---- the modules ---- */
static const virtual_module module5 = {"fts5", NULL, 0, best5, fts_open, fts_filter, fts_at_end, fts_next, fts_column, fts_rowid, fts_close};
static const virtual_module module4 = {"fts4", NULL, 0, best3, fts_open, fts_filter, fts_at_end, fts_next, fts_column, fts_rowid, fts_close};

status fts_declare5(hdb *db, arena *memory, const create_virtual_table_statement *s, table *t, error *err);
status fts_declare3(hdb *db, arena *memory, const create_virtual_table_statement *s, table *t, error *err);
status fts_create(exec *x, int database, const table *t);
static const char *const *shadows(const table *t) { return config_of(t)->shadows; }

const virtual_kind virtual_fts5 = {"fts5", &module5, fts_declare5, fts_create, shadows, fts_change};
const virtual_kind virtual_fts4 = {"fts4", &module4, fts_declare3, fts_create, shadows, fts_change};
const virtual_kind virtual_fts3 = {"fts3", &module4, fts_declare3, fts_create, shadows, fts_change};
