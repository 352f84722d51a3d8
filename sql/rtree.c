/* R*Tree tables: rtree(id, min, max, ... [, +auxiliary ...]) and rtree_i32.
 *
 * R1  A row is two: t_rowid has (rowid, nodeno = rowid, auxiliary columns), t_node has (nodeno = rowid, data): the coordinates,
 *     four bytes each, big-endian, as SQLite's cells have them. t_parent stays empty. There is no tree above the rows yet:
 *     a query walks all of them, or finds one by its id, and what it asks for is tested on each. Rows come by id.
 * R2  A minimum is rounded down to a float, a maximum up (rtree_i32: 32 bits of the whole number).
 * R3  Node 1 as SQLite writes it (a file that came from there) is longer than a row's coordinates: such a table is refused,
 *     never read as something else.
 */
#include <math.h>
#include <stdlib.h>
#include <strings.h>

#include "kv/base/key.h"
#include "sql/ddl.h"
#include "sql/dml.h"
#include "sql/virtual.h"

enum { COORDINATES_MAX = 10, COLUMNS_MAX = 100 };

typedef struct rtree {
  virtual_instance instance;
  bool whole;                /* rtree_i32 */
  int coordinates, auxiliary;
} rtree;

typedef struct rtree_cursor {
  const table *t, *rowids, *nodes;
  const rtree *r;
  cursor *rows, *data;
  bool one, eof, has_data;
  int64_t id;
} rtree_cursor;

static status failed(exec *x, status rc) {
  return rc == HDB_OK || x->err->code == rc ? rc : error_set(x->err, rc, "%s", status_text(rc));
}
static txn *txn_of(exec *x, const table *t) { return x->db->databases[t->schema->database].txn; }

/* ---- declaration ---- */
static const char *name_of(arena *memory, const char *text, const char **rest) {
  while (*text == ' ' || (*text >= '\t' && *text <= '\r')) text++;
  char close = *text == '[' ? ']' : *text == '"' || *text == '\'' || *text == '`' ? *text : 0;
  size_t n = 0;
  char *out = arena_alloc(memory, strlen(text) + 1);
  if (!out) return NULL;
  if (close) {
    for (text++; *text; text++) {
      if (*text == close && (close == ']' || text[1] != close)) break;
      if (*text == close) text++;
      out[n++] = *text;
    }
    text += *text != 0;
  } else {
    while (*text && *text != ' ' && !(*text >= '\t' && *text <= '\r')) out[n++] = *text++;
  }
  out[n] = 0;
  while (*text == ' ' || (*text >= '\t' && *text <= '\r')) text++;
  *rest = text;
  return out;
}

static status declare(arena *memory, const create_virtual_table_statement *s, table *t, bool whole, error *err) {
  int n = s->arguments ? s->arguments->n : 0;
  rtree *r = arena_zero(memory, sizeof *r);
  if (!r) return sql_nomem(err);
  r->instance.kind = whole ? &virtual_rtree_i32 : &virtual_rtree;
  r->whole = whole;
  for (int i = 0; i < n; i++) {
    const char *text = s->arguments->items[i].name, *rest, *name;
    while (*text == ' ' || (*text >= '\t' && *text <= '\r')) text++;
    bool auxiliary = i > 0 && *text == '+';
    if (!(name = name_of(memory, text + auxiliary, &rest))) return sql_nomem(err);
    if (!auxiliary && r->auxiliary) return error_set(err, HDB_ERROR, "Auxiliary rtree columns must be last");
    if (auxiliary) r->auxiliary++;
    else if (i > 0) r->coordinates++;
    virtual_add_column(memory, t, n + 1, name, auxiliary ? rest : i == 0 || whole ? "INT" : "REAL", false);
    if (auxiliary && t->columns) t->columns[i].affinity = AFF_NONE;
  }
  if (r->coordinates < 2) return error_set(err, HDB_ERROR, "Too few columns for an rtree table");
  if (r->coordinates > COORDINATES_MAX || r->auxiliary > COLUMNS_MAX) return error_set(err, HDB_ERROR, "Too many columns for an rtree table");
  if (r->coordinates % 2) return error_set(err, HDB_ERROR, "Wrong number of columns for an rtree table");
  t->virtual_data = r;
  return HDB_OK;
}
static status declare_real(hdb *db, arena *memory, const create_virtual_table_statement *s, table *t, error *err) {
  (void)db;
  return declare(memory, s, t, false, err);
}
static status declare_whole(hdb *db, arena *memory, const create_virtual_table_statement *s, table *t, error *err) {
  (void)db;
  return declare(memory, s, t, true, err);
}

static const char *const suffixes[] = {"rowid", "node", "parent", NULL};
static const char *const *shadows(const table *t) {
  (void)t;
  return suffixes;
}

static status create(exec *x, int database, const table *t) {
  static const char *const columns[] = {"(rowid INTEGER PRIMARY KEY,nodeno", "(nodeno INTEGER PRIMARY KEY,data", "(nodeno INTEGER PRIMARY KEY,parentnode"};
  const rtree *r = t->virtual_data;
  buf text = BUF_INIT;
  status rc = HDB_OK;
  for (int i = 0; i < 3 && rc == HDB_OK; i++) {
    const char *name = arena_printf(&x->lifetime, "%s_%s", t->name, suffixes[i]);
    if (!name) return failed(x, HDB_NOMEM);
    buf_clear(&text);
    buf_text(&text, "CREATE TABLE ");
    buf_quoted_name(&text, x->db->databases[database].name);
    buf_byte(&text, '.');
    buf_quoted_name(&text, name);
    buf_text(&text, columns[i]);
    for (int k = 0; i == 0 && k < r->auxiliary; k++) buf_printf(&text, ",a%d", k);
    buf_byte(&text, ')');
    const char *sql = buf_cstr(&text);
    rc = sql ? sql_run(x->db, "%s", sql) : failed(x, HDB_NOMEM);
  }
  buf_free(&text);
  return rc;
}

/* ---- reading ---- */
static status best(hdb *db, virtual_plan *p, arena *memory) {
  buf text = BUF_INIT;
  (void)db;
  for (int i = 0; i < p->constraints_n; i++) {
    virtual_constraint *k = &p->constraints[i];
    if (k->op == VIRTUAL_MATCH || !k->usable || k->column > 0 || k->op != VIRTUAL_EQ) continue;
    k->argument = 1;
    p->number = 1;
    p->cost = 30.0;
    p->rows = 1;
    p->one_row = true;
    return HDB_OK;
  }
  const rtree *r = p->t->virtual_data;
  int n = 0;
  for (int i = 0; i < p->constraints_n; i++) { /* told as SQLite tells them; tested by whoever asks (R1) */
    const virtual_constraint *k = &p->constraints[i];
    if (!k->usable || k->column < 1 || k->column > r->coordinates) continue;
    char op = k->op == VIRTUAL_EQ ? 'A' : k->op == VIRTUAL_LE ? 'B' : k->op == VIRTUAL_LT ? 'C' : k->op == VIRTUAL_GE ? 'D' : k->op == VIRTUAL_GT ? 'E' : 0;
    if (!op) continue;
    buf_byte(&text, (uint8_t)op);
    buf_byte(&text, (uint8_t)('0' + k->column - 1));
    n++;
  }
  const char *s = buf_cstr(&text);
  p->text = s ? arena_strdup(memory, s) : NULL;
  buf_free(&text);
  p->number = 2;
  p->rows = 1 << 20 >> (n < 18 ? n : 18);
  p->cost = 6.0 * (double)p->rows;
  return p->text ? HDB_OK : HDB_NOMEM;
}

static status rtree_open(exec *x, const table *t, void **out) {
  rtree_cursor *c = calloc(1, sizeof *c);
  if (!c) return failed(x, HDB_NOMEM);
  *c = (rtree_cursor){.t = t, .r = t->virtual_data, .rowids = virtual_shadow(t, "rowid"), .nodes = virtual_shadow(t, "node")};
  *out = c;
  return HDB_OK;
}

static void rtree_close(void *cursor) {
  rtree_cursor *c = cursor;
  if (c->rows) cursor_close(c->rows);
  if (c->data) cursor_close(c->data);
  free(c);
}

static bool find(cursor *c, int64_t id) {
  uint8_t key[8];
  rowid_encode(key, id);
  return cursor_find(c, slice_of(key, 8));
}

/* R3: SQLite's node 1 is always there. */
static status refuse_foreign(exec *x, const table *t, cursor *nodes) {
  const rtree *r = t->virtual_data;
  uint8_t type;
  slice payload;
  if (!find(nodes, 1)) return failed(x, nodes->error);
  if (record_check(nodes->value) != HDB_OK || !record_column(nodes->value, 1, &type, &payload)) return failed(x, HDB_CORRUPT);
  value v = value_read(type, payload.p, payload.n);
  if (v.type == VAL_BLOB && v.n == 4u * (uint32_t)r->coordinates) return HDB_OK;
  return error_set(x->err, HDB_ERROR, "not supported yet: R*Tree tables of an SQLite file");
}

static status take_row(exec *x, rtree_cursor *c) {
  c->eof = !c->rows->valid;
  if (c->eof) return failed(x, c->rows->error);
  c->id = rowid_decode(c->rows->key.p);
  c->has_data = false;
  return HDB_OK;
}

static status rtree_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  rtree_cursor *c = cursor;
  (void)text, (void)given, (void)n;
  if (!c->rowids || !c->nodes) return error_set(x->err, HDB_CORRUPT, "database disk image is malformed");
  if (c->rows) cursor_close(c->rows);
  if (c->data) cursor_close(c->data);
  c->rows = c->data = NULL;
  TRY(failed(x, cursor_open(txn_of(x, c->t), c->rowids->tree, 0, &c->rows)));
  TRY(failed(x, cursor_open(txn_of(x, c->t), c->nodes->tree, 0, &c->data)));
  TRY(refuse_foreign(x, c->t, c->data));
  c->one = number == 1;
  if (!c->one) {
    cursor_first(c->rows);
    return take_row(x, c);
  }
  value v = arguments[0];
  TRY(failed(x, value_apply_affinity(&v, AFF_NUMERIC, &x->memory)));
  if (v.type == VAL_REAL && v.r == floor(v.r) && fabs(v.r) < 9e18) v = value_int((int64_t)v.r);
  c->eof = v.type != VAL_INTEGER || !find(c->rows, v.i);
  return c->eof ? failed(x, c->rows->error) : take_row(x, c);
}

static bool rtree_at_end(void *cursor) { return ((rtree_cursor *)cursor)->eof; }
static status rtree_next(exec *x, void *cursor) {
  rtree_cursor *c = cursor;
  if (c->one) {
    c->eof = true;
    return HDB_OK;
  }
  cursor_next(c->rows);
  return take_row(x, c);
}
static int64_t rtree_rowid(void *cursor) { return ((rtree_cursor *)cursor)->id; }

static status coordinate(exec *x, rtree_cursor *c, int k, value *out) {
  uint8_t type;
  slice payload;
  if (!c->has_data && !find(c->data, c->id)) return failed(x, c->data->error == HDB_OK ? HDB_CORRUPT : c->data->error);
  if (!c->has_data && record_check(c->data->value) != HDB_OK) return failed(x, HDB_CORRUPT);
  c->has_data = true;
  if (!record_column(c->data->value, 1, &type, &payload)) return failed(x, HDB_CORRUPT);
  value v = value_read(type, payload.p, payload.n);
  if (v.type != VAL_BLOB || v.n != 4u * (uint32_t)c->r->coordinates) /* R3 */
    return error_set(x->err, HDB_ERROR, "not supported yet: R*Tree tables of an SQLite file");
  uint32_t bits = get_be32((const uint8_t *)v.p + 4 * k);
  float f;
  memcpy(&f, &bits, 4);
  *out = c->r->whole ? value_int((int32_t)bits) : value_real((double)f);
  return HDB_OK;
}

static status rtree_column(exec *x, void *cursor, int column, value *out) {
  rtree_cursor *c = cursor;
  uint8_t type;
  slice payload;
  *out = value_int(c->id);
  if (column == 0) return HDB_OK;
  if (column <= c->r->coordinates) return coordinate(x, c, column - 1, out);
  *out = value_null();
  if (record_check(c->rows->value) != HDB_OK) return failed(x, HDB_CORRUPT);
  if (record_column(c->rows->value, (uint32_t)(column - c->r->coordinates + 1), &type, &payload)) *out = value_read(type, payload.p, payload.n);
  return HDB_OK;
}

/* ---- writing ---- */
static float rounded(double d, bool up) { /* R2 */
  float f = (float)d;
  if (up && (double)f < d) f = (float)(d * (d < 0 ? 1.0 - 1.0 / 8388608.0 : 1.0 + 1.0 / 8388608.0));
  if (!up && (double)f > d) f = (float)(d * (d < 0 ? 1.0 + 1.0 / 8388608.0 : 1.0 - 1.0 / 8388608.0));
  return f;
}

static status encode(exec *x, const table *t, const value *values, uint8_t *data) {
  const rtree *r = t->virtual_data;
  double pair[2] = {0, 0};
  for (int i = 0; i < r->coordinates; i++) {
    uint32_t bits;
    if (r->whole) {
      int32_t whole = (int32_t)(uint32_t)(uint64_t)value_to_int(&values[i + 1]);
      pair[i % 2] = whole;
      bits = (uint32_t)whole;
    } else {
      float f = rounded(value_to_real(&values[i + 1]), i % 2);
      pair[i % 2] = (double)f;
      memcpy(&bits, &f, 4);
    }
    put_be32(data + 4 * i, bits);
    if (i % 2 && pair[0] > pair[1])
      return error_set(x->err, HDB_CONSTRAINT, "rtree constraint failed: %s.(%s<=%s)", t->name, t->columns[i].name, t->columns[i + 1].name);
  }
  return HDB_OK;
}

static status exists(exec *x, int database, const table *t, int64_t id, bool *found) {
  cursor *c;
  TRY(failed(x, cursor_open(x->db->databases[database].txn, t->tree, 0, &c)));
  *found = find(c, id);
  status rc = c->error;
  cursor_close(c);
  return failed(x, rc);
}

static status remove_row(exec *x, int database, const table *t, int64_t id) {
  for (int i = 0; i < 2; i++) {
    const table *shadow = virtual_shadow(t, suffixes[i]);
    bool found = false;
    if (shadow) TRY(exists(x, database, shadow, id, &found));
    if (found) TRY(failed(x, table_delete_row(x->db, database, shadow, id)));
  }
  return HDB_OK;
}

static status rtree_change(exec *x, int database, const table *t, const virtual_change *c, int64_t *rowid, bool *written) {
  const rtree *r = t->virtual_data;
  const table *rowids = virtual_shadow(t, "rowid"), *nodes = virtual_shadow(t, "node");
  uint8_t data[4 * COORDINATES_MAX + 4];
  bool found = false;
  if (!rowids || !nodes) return error_set(x->err, HDB_CORRUPT, "database disk image is malformed");
  cursor *check;
  TRY(failed(x, cursor_open(x->db->databases[database].txn, nodes->tree, 0, &check)));
  status rc = refuse_foreign(x, t, check);
  cursor_close(check);
  TRY(rc);
  *written = true;
  if (!c->values) return remove_row(x, database, t, *c->old);
  TRY(encode(x, t, c->values, data));
  const value *id = c->values[0].type != VAL_NULL ? &c->values[0] : c->rowid;
  if (c->old && c->rowid && c->values[0].type == VAL_INTEGER && c->values[0].i == *c->old) id = c->rowid;
  if (id) *rowid = value_to_int(id);
  else TRY(failed(x, exec_new_rowid(x, database, rowids->tree, INT64_MIN, rowid)));
  if (!c->old || *c->old != *rowid) TRY(exists(x, database, rowids, *rowid, &found));
  if (found && c->conflict == CONFLICT_IGNORE) {
    *written = false;
    return HDB_OK;
  }
  if (found && c->conflict != CONFLICT_REPLACE)
    return error_set(x->err, HDB_CONSTRAINT_UNIQUE, "UNIQUE constraint failed: %s.%s", t->name, t->columns[0].name);
  if (c->old && *c->old != *rowid) TRY(remove_row(x, database, t, *c->old));
  value *row = arena_alloc(&x->memory, ((size_t)r->auxiliary + 2) * sizeof *row);
  if (!row) return failed(x, HDB_NOMEM);
  row[0] = value_null();
  row[1] = value_int(*rowid);
  if (r->auxiliary) memcpy(row + 2, c->values + 1 + r->coordinates, (size_t)r->auxiliary * sizeof *row);
  TRY(failed(x, table_put_row(x->db, database, rowids, *rowid, row)));
  value node[2] = {value_null(), value_blob(data, 4u * (size_t)r->coordinates)};
  return failed(x, table_put_row(x->db, database, nodes, *rowid, node));
}

static const virtual_module module = {"rtree", NULL, 0, best, rtree_open, rtree_filter, rtree_at_end, rtree_next, rtree_column, rtree_rowid, rtree_close};
const virtual_kind virtual_rtree = {"rtree", &module, declare_real, create, shadows, rtree_change};
const virtual_kind virtual_rtree_i32 = {"rtree_i32", &module, declare_whole, create, shadows, rtree_change};
