/* fts5vocab: the words of an FTS5 table, by word (row), by word and column (col), or each time they stand (instance).
 *
 * The rows are made when the table is read: every token of the FTS5 table, sorted. Cost: the whole text, and memory for
 * every token. Constraints on term are tested by whoever asks.
 */
#include <stdlib.h>
#include <strings.h>

#include "sql/fts.h"

enum vocab_type { VOCAB_ROW, VOCAB_COL, VOCAB_INSTANCE };

typedef struct vocab {
  virtual_instance instance;
  const char *schema, *of;   /* schema NULL: its own */
  uint8_t type;
} vocab;

typedef struct entry {
  const char *term;
  uint32_t n;
  int column, offset;
  int64_t doc;
} vocab_entry;

typedef struct vocab_cursor {
  exec *x;
  const table *t;
  const vocab *v;
  const fts_config *f;
  arena memory;
  vocab_entry *entries;
  size_t n, capacity, at, next; /* at: first entry of the row, next: behind its last */
  int64_t row, docs;
  int column, offset;        /* while reading */
  int64_t doc;
} vocab_cursor;

static status no_memory(exec *x) { return error_set(x->err, HDB_NOMEM, "out of memory"); }

static const char *plain(arena *memory, const char *text) {
  size_t n = strlen(text);
  while (n && (*text == ' ' || *text == '\n' || *text == '\t')) text++, n--;
  while (n && (text[n - 1] == ' ' || text[n - 1] == '\n' || text[n - 1] == '\t')) n--;
  if (n >= 2 && (*text == '\'' || *text == '"' || *text == '`' || *text == '[')) text++, n -= 2;
  return arena_strndup(memory, text, n);
}

static status declare(hdb *db, arena *memory, const create_virtual_table_statement *s, table *t, error *err) {
  static const char *const types[] = {"row", "col", "instance"};
  static const char *const columns[][5] = {{"term", "doc", "cnt"}, {"term", "col", "doc", "cnt"}, {"term", "doc", "col", "offset"}};
  int n = s->arguments ? s->arguments->n : 0;
  vocab *v = arena_zero(memory, sizeof *v);
  (void)db;
  if (!v) return sql_nomem(err);
  v->instance.kind = &virtual_fts5vocab;
  if (n != 2 && n != 3) return error_set(err, HDB_ERROR, "wrong number of vtable arguments");
  if (n == 3) v->schema = plain(memory, s->arguments->items[0].name);
  v->of = plain(memory, s->arguments->items[n - 2].name);
  const char *type = plain(memory, s->arguments->items[n - 1].name);
  if (memory->failed || !type) return sql_nomem(err);
  int k = 0;
  while (k < 3 && strcasecmp(type, types[k]) != 0) k++;
  if (k == 3) return error_set(err, HDB_ERROR, "fts5vocab: unknown table type: '%s'", type);
  v->type = (uint8_t)k;
  for (int i = 0; columns[k][i]; i++) virtual_add_column(memory, t, 4, columns[k][i], "", false);
  t->virtual_data = v;
  return HDB_OK;
}

static status vocab_open(exec *x, const table *t, void **out) {
  vocab_cursor *c = calloc(1, sizeof *c);
  if (!c) return no_memory(x);
  c->x = x, c->t = t, c->v = t->virtual_data;
  *out = c;
  return HDB_OK;
}

static void vocab_close(void *cursor) {
  vocab_cursor *c = cursor;
  arena_clear(&c->memory);
  free(c->entries);
  free(c);
}

static status take_token(void *context, const char *token, size_t n, size_t from, size_t to) {
  vocab_cursor *c = context;
  (void)from, (void)to;
  if (c->n == c->capacity) {
    size_t capacity = c->capacity ? c->capacity * 2 : 256;
    vocab_entry *entries = realloc(c->entries, capacity * sizeof *entries);
    if (!entries) return HDB_NOMEM;
    c->entries = entries, c->capacity = capacity;
  }
  const char *copy = arena_strndup(&c->memory, token, n);
  if (!copy) return HDB_NOMEM;
  c->entries[c->n++] = (vocab_entry){copy, (uint32_t)n, c->column, c->offset++, c->doc};
  return HDB_OK;
}

static status take_row(void *context, int64_t rowid, const value *values) {
  vocab_cursor *c = context;
  c->doc = rowid;
  for (int i = 0; i < c->f->columns_n; i++) {
    slice text;
    if (c->f->unindexed[i] || values[i].type == VAL_NULL) continue;
    TRY(value_to_text(&values[i], &c->memory, &text));
    c->column = i, c->offset = 0;
    TRY(fts_tokenize(&c->f->tokenizer, text, take_token, c));
  }
  return exec_tick(c->x);
}

static int same_term(const vocab_entry *a, const vocab_entry *b) {
  int order = memcmp(a->term, b->term, a->n < b->n ? a->n : b->n);
  return order ? order : (a->n > b->n) - (a->n < b->n);
}
static int by_place(const vocab_entry *a, const vocab_entry *b) {
  if (a->column != b->column) return a->column < b->column ? -1 : 1;
  return (a->offset > b->offset) - (a->offset < b->offset);
}
static int by_document(const void *x, const void *y) {
  const vocab_entry *a = x, *b = y;
  int order = same_term(a, b);
  if (order) return order;
  if (a->doc != b->doc) return a->doc < b->doc ? -1 : 1;
  return by_place(a, b);
}
static int by_column(const void *x, const void *y) {
  const vocab_entry *a = x, *b = y;
  int order = same_term(a, b);
  if (order) return order;
  if (a->column != b->column) return a->column < b->column ? -1 : 1;
  return a->doc != b->doc ? (a->doc < b->doc ? -1 : 1) : by_place(a, b);
}

static void gather(vocab_cursor *c) {
  c->docs = 0;
  c->next = c->at;
  if (c->at >= c->n) return;
  const vocab_entry *first = &c->entries[c->at];
  for (; c->next < c->n; c->next++) {
    const vocab_entry *e = &c->entries[c->next];
    if (same_term(e, first) != 0 || (c->v->type == VOCAB_COL && e->column != first->column)) break;
    if (c->next == c->at || e[-1].doc != e->doc) c->docs++;
    if (c->v->type == VOCAB_INSTANCE && c->next > c->at) break;
  }
}

static status vocab_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  vocab_cursor *c = cursor;
  hdb *db = x->db;
  (void)number, (void)text, (void)given, (void)arguments, (void)n;
  int database = c->t->schema->database;
  const char *schema_name = c->v->schema ? c->v->schema : db->databases[database].name;
  const table *of = catalog_table(db, schema_name, c->v->of, &database);
  const virtual_kind *kind = of ? virtual_kind_of(of) : NULL;
  if (kind != &virtual_fts5) return error_set(x->err, HDB_ERROR, "no such fts5 table: %s.%s", schema_name, c->v->of);
  c->f = of->virtual_data;
  arena_clear(&c->memory);
  c->n = c->at = 0;
  c->row = 1;
  TRY(database_begin(db, database));
  TRY(fts_each_row(x, c->f, of, take_row, c));
  if (c->n) qsort(c->entries, c->n, sizeof *c->entries, c->v->type == VOCAB_COL ? by_column : by_document);
  gather(c);
  return HDB_OK;
}

static bool vocab_at_end(void *cursor) { return ((vocab_cursor *)cursor)->at >= ((vocab_cursor *)cursor)->n; }
static status vocab_next(exec *x, void *cursor) {
  vocab_cursor *c = cursor;
  (void)x;
  c->at = c->next;
  c->row++;
  gather(c);
  return HDB_OK;
}
static int64_t vocab_rowid(void *cursor) { return ((vocab_cursor *)cursor)->row; }

static status vocab_column(exec *x, void *cursor, int column, value *out) {
  const vocab_cursor *c = cursor;
  const vocab_entry *e = &c->entries[c->at];
  const char *name = c->f->columns[e->column];
  (void)x;
  if (column == 0) *out = value_text(e->term, e->n);
  else if (c->v->type == VOCAB_INSTANCE) *out = column == 1 ? value_int(e->doc) : column == 2 ? value_text(name, strlen(name)) : value_int(e->offset);
  else if (c->v->type == VOCAB_COL && column == 1) *out = value_text(name, strlen(name));
  else *out = value_int(c->t->columns_n - column == 2 ? c->docs : (int64_t)(c->next - c->at));
  return HDB_OK;
}

static const virtual_module module = {"fts5vocab", NULL, 0, NULL, vocab_open, vocab_filter, vocab_at_end, vocab_next, vocab_column, vocab_rowid, vocab_close};
const virtual_kind virtual_fts5vocab = {"fts5vocab", &module, declare, NULL, NULL, NULL};
