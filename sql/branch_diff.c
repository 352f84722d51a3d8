/* heliosdb_diff(table, from, to): rows of a table that differ between two branches.
 *
 * Columns: op (insert, update, delete: what turns `from` into `to`), key (the row id, or the key columns with commas),
 * before and after (JSON objects of the columns; NULL where there is no row). Both branches are walked side by side
 * when the source is opened; the rows that differ are kept in memory.
 */
#include <stdlib.h>

#include "kv/base/key.h"
#include "sql/branch.h"

enum { COLUMNS = 4 };
static const virtual_column columns[] = {{"op", "TEXT", false}, {"key", "", false},       {"before", "TEXT", false}, {"after", "TEXT", false},
                                         {"table", "TEXT", true}, {"from", "TEXT", true}, {"to", "TEXT", true}};

typedef struct diff_cursor {
  exec *x;
  arena memory;
  value *rows, arguments[3];
  int64_t n, capacity, at;
} diff_cursor;

typedef struct side {
  txn *t;
  schema *schema;
  const table *table;
  cursor *c;
  slot slot;
  value *own;
} side;

static status diff_open(exec *x, const table *t, void **cursor) {
  (void)t;
  diff_cursor *k = calloc(1, sizeof *k);
  if (!k) return error_set(x->err, HDB_NOMEM, "out of memory");
  k->x = x;
  *cursor = k;
  return HDB_OK;
}

static status side_open(diff_cursor *k, side *s, const char *branch, const char *name) {
  hdb *db = k->x->db;
  database *d = &db->databases[DB_MAIN];
  uint32_t id;
  TRY(branch_named(db, branch, &id));
  status rc = txn_new(d->engine, &s->t);
  if (rc == HDB_OK) rc = txn_set_branch(s->t, id);
  if (rc == HDB_OK) rc = txn_begin(s->t, TXN_READ, 0);
  if (rc != HDB_OK) return error_set(&db->err, rc, "%s", status_text(rc));
  txn *own = d->txn;
  d->txn = s->t;
  rc = schema_load(db, DB_MAIN, 0, &s->schema);
  d->txn = own;
  TRY(rc);
  s->table = schema_table(s->schema, name);
  if (!s->table || s->table->kind != TABLE_ORDINARY) {
    s->table = NULL;
    return HDB_OK;
  }
  s->own = calloc((size_t)s->table->columns_n + 1, sizeof *s->own);
  if (!s->own) return sql_nomem(&db->err);
  s->slot = (slot){.own = s->own, .columns = s->own, .columns_n = s->table->columns_n};
  slot_set_table(&s->slot, s->table, 0);
  rc = cursor_open(s->t, s->table->tree, 0, &s->c);
  if (rc != HDB_OK) return error_set(&db->err, rc, "%s", status_text(rc));
  cursor_first(s->c);
  return HDB_OK;
}

static void side_close(side *s) {
  cursor_close(s->c);
  free(s->own);
  schema_release(s->schema);
  if (s->t) txn_free(s->t);
}

static void put_json_text(buf *b, const char *p, size_t n) {
  buf_byte(b, '"');
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)p[i];
    if (c == '"' || c == '\\') buf_byte(b, '\\'), buf_byte(b, c);
    else if (c < 32) buf_printf(b, "\\u%04x", c);
    else buf_byte(b, c);
  }
  buf_byte(b, '"');
}

static void put_json_value(buf *b, const value *v, arena *scratch) {
  slice text;
  if (v->type == VAL_NULL) {
    buf_text(b, "null");
  } else if (v->type == VAL_TEXT) {
    put_json_text(b, v->p, v->n);
  } else if (v->type == VAL_BLOB) {
    buf_byte(b, '"');
    for (size_t i = 0; i < v->n; i++) buf_printf(b, "%02x", (unsigned char)v->p[i]);
    buf_byte(b, '"');
  } else if (value_to_text(v, scratch, &text) == HDB_OK) {
    buf_append(b, text.p, text.n);
  }
}

static status row_json(diff_cursor *k, side *s, value *out) {
  buf b = BUF_INIT;
  arena scratch = ARENA_INIT;
  const table *t = s->table;
  if (record_check(s->c->value) != HDB_OK) return error_set(k->x->err, HDB_CORRUPT, "database disk image is malformed");
  slot_set_record(&s->slot, t->without_rowid || s->c->key.n != 8 ? 0 : rowid_decode(s->c->key.p), s->c->value);
  buf_byte(&b, '{');
  for (int i = 0, n = 0; i < t->columns_n; i++) {
    if (t->columns[i].generated == 1) continue;
    if (n++) buf_byte(&b, ',');
    put_json_text(&b, t->columns[i].name, strlen(t->columns[i].name));
    buf_byte(&b, ':');
    put_json_value(&b, slot_column(&s->slot, i), &scratch);
  }
  buf_byte(&b, '}');
  value text = value_text((const char *)b.p, b.n);
  status rc = buf_failed(&b) ? HDB_NOMEM : value_copy(&k->memory, &text, out);
  buf_free(&b);
  arena_clear(&scratch);
  return rc == HDB_OK ? rc : sql_nomem(k->x->err);
}

static status row_key(diff_cursor *k, side *s, value *out) {
  const table *t = s->table;
  if (!t->without_rowid) {
    *out = value_int(rowid_decode(s->c->key.p));
    return HDB_OK;
  }
  buf b = BUF_INIT;
  arena scratch = ARENA_INIT;
  for (int i = 0; i < t->primary->key_columns_n; i++) {
    slice text;
    if (value_to_text(slot_column(&s->slot, t->primary->columns[i].column), &scratch, &text) != HDB_OK) continue;
    buf_printf(&b, "%s%.*s", i ? "," : "", (int)text.n, (const char *)text.p);
  }
  value text = value_text(b.n ? (const char *)b.p : "", b.n);
  status rc = buf_failed(&b) ? HDB_NOMEM : value_copy(&k->memory, &text, out);
  buf_free(&b);
  arena_clear(&scratch);
  return rc == HDB_OK ? rc : sql_nomem(k->x->err);
}

/* The rows under both cursors' hands: one of them NULL, or of the same key. */
static status add_row(diff_cursor *k, side *from, side *to) {
  if (k->n == k->capacity) {
    int64_t capacity = k->capacity ? 2 * k->capacity : 64;
    value *rows = realloc(k->rows, (size_t)(capacity * COLUMNS) * sizeof *rows);
    if (!rows) return sql_nomem(k->x->err);
    k->rows = rows, k->capacity = capacity;
  }
  value *row = &k->rows[k->n * COLUMNS];
  row[2] = row[3] = value_null();
  if (from) TRY(row_json(k, from, &row[2]));
  if (to) TRY(row_json(k, to, &row[3]));
  if (from && to && row[2].n == row[3].n && memcmp(row[2].p, row[3].p, row[2].n) == 0) return HDB_OK;
  TRY(row_key(k, from ? from : to, &row[1]));
  row[0] = !from ? value_text("insert", 6) : to ? value_text("update", 6) : value_text("delete", 6);
  k->n++;
  return HDB_OK;
}

static status compare_sides(diff_cursor *k, side *from, side *to) {
  for (;;) {
    TRY(exec_tick(k->x));
    bool a = from->c && from->c->valid, b = to->c && to->c->valid;
    if (!a && !b) break;
    int order = !a ? 1 : !b ? -1 : slice_compare(from->c->key, to->c->key);
    bool same = order == 0 && from->table->columns_n == to->table->columns_n && slice_equal(from->c->value, to->c->value);
    if (!same) TRY(add_row(k, order <= 0 ? from : NULL, order >= 0 ? to : NULL));
    if (order <= 0) cursor_next(from->c);
    if (order >= 0) cursor_next(to->c);
  }
  status rc = from->c ? from->c->error : HDB_OK;
  if (rc == HDB_OK && to->c) rc = to->c->error;
  return rc == HDB_OK ? rc : error_set(k->x->err, rc, "%s", status_text(rc));
}

static status diff_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  diff_cursor *k = cursor;
  side sides[2] = {0};
  const char *names[3];
  status rc = HDB_OK;
  (void)number, (void)text;
  k->n = k->at = 0;
  arena_clear(&k->memory);
  k->memory = (arena)ARENA_INIT;
  if ((given & 7) != 7 || n < 3) return error_set(x->err, HDB_ERROR, "heliosdb_diff() needs a table and two branches");
  for (int i = 0; i < 3; i++) {
    slice s;
    TRY(value_copy(&k->memory, &arguments[i], &k->arguments[i]));
    if (k->arguments[i].type == VAL_NULL) return HDB_OK;
    TRY(value_to_text(&k->arguments[i], &k->memory, &s));
    if (!(names[i] = arena_strndup(&k->memory, s.n ? (const char *)s.p : "", s.n))) return sql_nomem(x->err);
  }
  for (int i = 0; i < 2; i++) CHECK(side_open(k, &sides[i], names[i + 1], names[0]));
  if (!sides[0].table && !sides[1].table) CHECK(error_set(x->err, HDB_ERROR, "no such table: %s", names[0]));
  CHECK(compare_sides(k, &sides[0], &sides[1]));
out:
  side_close(&sides[0]);
  side_close(&sides[1]);
  return rc;
}

static bool diff_at_end(void *cursor) { return ((diff_cursor *)cursor)->at >= ((diff_cursor *)cursor)->n; }
static status diff_next(exec *x, void *cursor) {
  (void)x;
  ((diff_cursor *)cursor)->at++;
  return HDB_OK;
}
static status diff_column(exec *x, void *cursor, int column, value *out) {
  const diff_cursor *k = cursor;
  (void)x;
  *out = column < COLUMNS ? k->rows[k->at * COLUMNS + column] : k->arguments[column - COLUMNS];
  return HDB_OK;
}
static void diff_close(void *cursor) {
  diff_cursor *k = cursor;
  arena_clear(&k->memory);
  free(k->rows);
  free(k);
}

const virtual_module virtual_diff = {"heliosdb_diff", columns, COLUMNS + 3, NULL, diff_open, diff_filter, diff_at_end,
                                     diff_next, diff_column, NULL, diff_close};
