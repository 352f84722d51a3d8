/* `t VERSIONS BETWEEN x AND y`: every version of t's rows that was current between two times, and every deletion.
 *
 * The source is a virtual table: t's columns, and hidden behind them _version_from and _version_to (transaction
 * numbers; _version_to NULL: still current) and _version_op. Its columns are those of t as of y; a version that was
 * written under another schema is decoded under that one and its columns are matched by name. Rows come in order of
 * (key, from). They are read into memory when the source is opened. A virtual generated column is computed from the
 * version's other columns, as the table declares it now.
 * What can fail: a time that cannot be reached, memory.
 */
#include <stdlib.h>

#include "kv/base/key.h"
#include "sql/resolve.h"
#include "sql/time.h"

enum { EXTRA = 3 };

typedef struct versions_of {
  const table *t;
  int database, from, to; /* places of the times */
} versions_of;

typedef struct versions_cursor {
  const versions_of *of;
  exec *x;
  arena memory;
  value *rows; /* columns_n + EXTRA + the row id, each */
  int64_t n, capacity, at;
  int width;
  slot slot;
  value *own;
  const table *under; /* the schema that is being decoded under, for times in [from, until) */
  int *map;           /* column of t -> column of `under`, -1 */
  int64_t from, until;
} versions_cursor;

static status add_columns(compile *c, table *to, const table *t) {
  static const struct { const char *name, *type; uint8_t affinity; } extra[EXTRA] = {
      {"_version_from", "INTEGER", AFF_INTEGER}, {"_version_to", "INTEGER", AFF_INTEGER}, {"_version_op", "TEXT", AFF_TEXT}};
  int n = t->columns_n;
  to->columns = arena_zero(c->memory, (size_t)(n + EXTRA) * sizeof *to->columns);
  if (!to->columns) return resolve_no_memory(c);
  for (int i = 0; i < n; i++) {
    to->columns[i] = t->columns[i];
    to->columns[i].stored = i;
  }
  for (int i = 0; i < EXTRA; i++)
    to->columns[n + i] = (column){.name = extra[i].name, .type = extra[i].type, .affinity = extra[i].affinity, .hidden = true, .stored = n + i};
  to->columns_n = to->stored_n = n + EXTRA;
  return HDB_OK;
}

status time_versions(compile *c, source *s, table *t, int database) {
  if (t->kind != TABLE_ORDINARY && t->kind != TABLE_SCHEMA) return resolve_error(c, -1, "VERSIONS BETWEEN is for tables: %s", t->name);
  table *to = arena_zero(c->memory, sizeof *to);
  versions_of *of = arena_zero(c->memory, sizeof *of);
  if (!to || !of) return resolve_no_memory(c);
  *of = (versions_of){t, database, s->time_from_at, s->time_at};
  to->name = t->name;
  to->kind = TABLE_VIRTUAL;
  to->module = &virtual_versions;
  to->virtual_data = of;
  to->rowid_column = -1;
  to->statistic_rows = -1;
  to->schema = t->schema;
  TRY(add_columns(c, to, t));
  s->time_at = 0;
  s->table = to;
  s->database = database;
  s->slot = compile_slot(c, to->columns_n);
  return HDB_OK;
}

static status versions_open(exec *x, const table *t, void **cursor) {
  versions_cursor *v = calloc(1, sizeof *v);
  if (!v) return error_set(x->err, HDB_NOMEM, "out of memory");
  v->of = t->virtual_data;
  v->x = x;
  v->width = t->columns_n + 1;
  *cursor = v;
  return HDB_OK;
}

/* The table as it was declared at this time; the present one when it was not there under its tree. */
static status decode_under(versions_cursor *v, int64_t time) {
  if (v->under && time >= v->from && time < v->until) return HDB_OK;
  const table *t = v->of->t, *under = t;
  schema *s;
  int64_t oldest = engine_oldest(v->x->db->databases[v->of->database].engine);
  TRY(past_schema(v->x->db, v->of->database, time > oldest ? time : oldest, &s, &v->from, &v->until));
  for (int i = 0; i < s->tables_n; i++)
    if (s->in_order[i]->tree == t->tree && s->in_order[i]->kind == TABLE_ORDINARY) under = s->in_order[i];
  if (under == v->under) return HDB_OK;
  v->under = under;
  value *own = realloc(v->own, (size_t)(under->columns_n + 1) * sizeof *own);
  if (own) v->own = own;
  int *map = realloc(v->map, (size_t)(t->columns_n + 1) * sizeof *map);
  if (map) v->map = map;
  if (!own || !map) return sql_nomem(v->x->err);
  v->slot = (slot){.own = own, .columns = own, .columns_n = under->columns_n};
  slot_set_table(&v->slot, under, 0);
  for (int i = 0; i < t->columns_n; i++) map[i] = under == t ? i : table_column(under, t->columns[i].name);
  return HDB_OK;
}

static status take_version(void *context, const row_version *r) {
  static const char *const names[] = {[VERSION_INSERT] = "insert", [VERSION_UPDATE] = "update", [VERSION_DELETE] = "delete"};
  versions_cursor *v = context;
  const table *t = v->of->t;
  TRY(exec_tick(v->x));
  TRY(decode_under(v, r->op == VERSION_DELETE ? r->from - 1 : r->from));
  if (v->n == v->capacity) {
    int64_t capacity = v->capacity ? v->capacity * 2 : 64;
    value *rows = realloc(v->rows, (size_t)(capacity * v->width) * sizeof *rows);
    if (!rows) return sql_nomem(v->x->err);
    v->rows = rows, v->capacity = capacity;
  }
  value *to = v->rows + v->n * v->width;
  if (record_check(r->value) != HDB_OK) return HDB_CORRUPT;
  int64_t rowid = t->without_rowid || r->key.n != 8 ? 0 : rowid_decode(r->key.p);
  slot_set_record(&v->slot, rowid, r->value);
  for (int i = 0; i < t->columns_n; i++) {
    to[i] = v->map[i] < 0 && t->missing ? t->missing[i] : value_null(); /* a column of later: its default */
    if (v->map[i] >= 0 && value_copy(&v->memory, slot_column(&v->slot, v->map[i]), &to[i]) != HDB_OK) return sql_nomem(v->x->err);
  }
  to += t->columns_n;
  to[0] = value_int(r->from);
  to[1] = r->to == INT64_MAX ? value_null() : value_int(r->to);
  to[2] = value_text(names[r->op], strlen(names[r->op]));
  to[3] = value_int(t->without_rowid ? v->n + 1 : rowid);
  v->n++;
  return HDB_OK;
}

static status versions_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  versions_cursor *v = cursor;
  const versions_of *of = v->of;
  int64_t from, to;
  (void)number, (void)text, (void)given, (void)arguments, (void)n;
  v->n = v->at = 0;
  arena_clear(&v->memory);
  v->memory = (arena)ARENA_INIT;
  TRY(exec_time(x, of->from, &from));
  TRY(exec_time(x, of->to, &to));
  TRY(time_readable(x->db, of->database, from, x->err));
  if (from > to) return HDB_OK;
  v->under = NULL;
  TRY(database_begin(x->db, of->database));
  status rc = versions_between(x->db->databases[of->database].txn, of->t->tree, from, to, take_version, v);
  if (rc != HDB_OK && x->err->code != rc) error_set(x->err, rc, "%s", status_text(rc));
  return rc;
}

static bool versions_at_end(void *cursor) { return ((versions_cursor *)cursor)->at >= ((versions_cursor *)cursor)->n; }
static status versions_next(exec *x, void *cursor) {
  (void)x;
  ((versions_cursor *)cursor)->at++;
  return HDB_OK;
}
static status versions_column(exec *x, void *cursor, int column, value *out) {
  const versions_cursor *v = cursor;
  (void)x;
  *out = v->rows[v->at * v->width + column];
  return HDB_OK;
}
static int64_t versions_rowid(void *cursor) {
  const versions_cursor *v = cursor;
  return v->rows[v->at * v->width + v->width - 1].i;
}
static void versions_close(void *cursor) {
  versions_cursor *v = cursor;
  arena_clear(&v->memory);
  free(v->rows);
  free(v->own);
  free(v->map);
  free(v);
}

const virtual_module virtual_versions = {"versions", NULL, 0, NULL, versions_open, versions_filter, versions_at_end,
                                         versions_next, versions_column, versions_rowid, versions_close};
