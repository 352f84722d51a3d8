/* Sequences in pg_catalog: tables with the server's mark (server/sequence.c), and the keys of AUTOINCREMENT tables, whose
 * sequence is called TABLE_COLUMN_seq. One that a column's default names belongs to that column. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "sql/pg_objects.h"

static const char *mark_of(const table *t) { return t->kind == TABLE_ORDINARY && t->sql ? strstr(t->sql, "/*postgres sequence ") : NULL; }
bool pg_is_sequence(const table *t) { return mark_of(t) != NULL; }

static bool is_default_of(const column *c, const char *sequence) {
  char text[300];
  int n = snprintf(text, sizeof text, "nextval('%s'", sequence);
  return c->default_text.n > (size_t)n && strncasecmp((const char *)c->default_text.p, text, (size_t)n) == 0;
}

static void find_owner(const schema *x, sequence_view *q) {
  for (int k = 0; k < x->tables_n && !q->table; k++) {
    const table *t = x->in_order[k];
    for (int c = 0; t->kind == TABLE_ORDINARY && c < t->columns_n && !q->table; c++) {
      size_t length = strlen(t->name);
      bool called_so = strncasecmp(q->name, t->name, length) == 0 && q->name[length] == '_';
      if (called_so && is_default_of(&t->columns[c], q->name)) q->table = pg_table_oid(t), q->column = c + 1;
    }
  }
}

static void visit_own(rowset *r, const schema *x, const table *t, bool temp, sequence_visitor visit) {
  long long n[4];
  int cycle;
  char type[32];
  if (sscanf(mark_of(t), "/*postgres sequence %lld %lld %lld %lld %d %31[a-z ]", &n[0], &n[1], &n[2], &n[3], &cycle, type) != 6) return;
  sequence_view q = {.oid = pg_table_oid(t), .name = t->name, .type = arena_strdup(&r->memory, type), .t = t, .increment = n[0], .least = n[1], .most = n[2],
                     .start = n[3], .cycle = cycle != 0, .temp = temp};
  find_owner(x, &q);
  visit(r, &q);
}

static void visit_key(rowset *r, const table *t, bool temp, sequence_visitor visit) {
  int32_t modifier;
  if (t->kind != TABLE_ORDINARY || !t->autoincrement || t->rowid_column < 0 || strncasecmp(t->name, "sqlite_", 7) == 0) return;
  const column *c = &t->columns[t->rowid_column];
  const pg_type *type = pg_column_type(r, t, c, &modifier);
  sequence_view q = {.oid = pg_table_oid(t) + 800000000, .table = pg_table_oid(t), .column = t->rowid_column + 1, .name = arena_printf(&r->memory, "%s_%s_seq", t->name, c->name),
                     .type = type->sql, .increment = 1, .least = 1, .most = type->oid == PG_INT4 ? INT32_MAX : type->oid == PG_INT2 ? INT16_MAX : INT64_MAX, .start = 1, .temp = temp};
  visit(r, &q);
}

void pg_each_sequence(rowset *r, sequence_visitor visit) {
  for (int database = 0; database < 2; database++) {
    schema *x = NULL;
    if (database == DB_TEMP && !r->db->databases[DB_TEMP].engine) continue;
    if (catalog_schema(r->db, database, &x) != HDB_OK) continue;
    for (int k = 0; k < x->tables_n; k++) {
      if (pg_is_sequence(x->in_order[k])) visit_own(r, x, x->in_order[k], database == DB_TEMP, visit);
      else visit_key(r, x->in_order[k], database == DB_TEMP, visit);
    }
  }
}

typedef struct wanted_sequence {
  rowset r; /* first */
  const char *name, *column;
  uint32_t table;
  int64_t number;
  buf *out;
} wanted_sequence;
static void visit_name(rowset *r, const sequence_view *q) {
  wanted_sequence *w = (wanted_sequence *)r;
  if (q->name && strcasecmp(q->name, w->name) == 0) w->number = q->oid;
}
bool pg_sequence_number(hdb *db, const char *name, int64_t *number) {
  size_t length = strlen(name);
  if (length < 5 || strcasecmp(name + length - 4, "_seq") != 0) return false;
  wanted_sequence w = {.r = {.db = db}, .name = name};
  hdb_lock(db);
  pg_each_sequence(&w.r, visit_name);
  hdb_unlock(db);
  arena_clear(&w.r.memory);
  if (w.number) *number = w.number;
  return w.number != 0;
}

static void visit_column(rowset *r, const sequence_view *q) {
  wanted_sequence *w = (wanted_sequence *)r;
  if (q->table != w->table || q->column != w->number || w->out->n) return;
  buf_printf(w->out, "%s.%s", q->temp ? "pg_temp" : "public", q->name);
}
bool pg_sequence_of(hdb *db, const table *t, int column, buf *out) {
  wanted_sequence w = {.r = {.db = db}, .table = pg_table_oid(t), .number = column, .out = out};
  pg_each_sequence(&w.r, visit_column);
  arena_clear(&w.r.memory);
  return out->n > 0;
}

static uint32_t type_number(const char *name) {
  int32_t modifier;
  const pg_type *t = pg_type_by_name(name, &modifier);
  return t ? t->oid : PG_INT8;
}

static void sequence_row(rowset *r, const sequence_view *q) {
  row_int(r, q->oid), row_int(r, type_number(q->type)), row_int(r, q->start), row_int(r, q->increment), row_int(r, q->most), row_int(r, q->least), row_int(r, 1), row_int(r, q->cycle);
  row_end(r);
}
void pg_build_sequence(rowset *r) { pg_each_sequence(r, sequence_row); }

static void sequences_row(rowset *r, const sequence_view *q) {
  row_text(r, q->temp ? "pg_temp_1" : "public"), row_text(r, q->name), row_text(r, pg_owner(r->db)), row_text(r, q->type), row_int(r, q->start), row_int(r, q->least);
  row_int(r, q->most), row_int(r, q->increment), row_int(r, q->cycle), row_int(r, 1), row_null(r);
  row_end(r);
}
void pg_build_sequences(rowset *r) { pg_each_sequence(r, sequences_row); }

static void is_sequences_row(rowset *r, const sequence_view *q) {
  uint32_t type = type_number(q->type);
  int64_t numbers[] = {q->start, q->least, q->most, q->increment};
  row_text(r, pg_catalog_name(r)), row_text(r, q->temp ? "pg_temp_1" : "public"), row_text(r, q->name), row_text(r, q->type);
  row_int(r, type == PG_INT2 ? 16 : type == PG_INT4 ? 32 : 64), row_int(r, 2), row_int(r, 0);
  for (int k = 0; k < 4; k++) row_text(r, arena_printf(&r->memory, "%lld", (long long)numbers[k]));
  row_text(r, q->cycle ? "YES" : "NO");
  row_end(r);
}
void pg_build_is_sequences(rowset *r) { pg_each_sequence(r, is_sequences_row); }

/* A sequence depends on its column. */
static void depend_row(rowset *r, const sequence_view *q) {
  if (!q->table) return;
  row_int(r, CLASS_TABLES), row_int(r, q->oid), row_int(r, 0), row_int(r, CLASS_TABLES), row_int(r, q->table), row_int(r, q->column), row_text(r, "a");
  row_end(r);
}
void pg_build_depend(rowset *r) { pg_each_sequence(r, depend_row); }

/* ---- SELECT last_value FROM t_id_seq, of an AUTOINCREMENT key ---- */

typedef struct serial_cursor {
  int64_t last;
  bool called, done;
} serial_cursor;

static void visit_serial(rowset *r, const sequence_view *q) {
  wanted_sequence *w = (wanted_sequence *)r;
  if (q->t == NULL && strcasecmp(q->name, w->name) == 0) w->number = q->table, w->column = arena_strndup(&r->memory, q->name, strlen(q->name));
}

static status serial_open(exec *x, const table *t, void **out) {
  serial_cursor *c = calloc(1, sizeof *c);
  wanted_sequence w = {.r = {.db = x->db}, .name = t->name};
  if (!c) return error_set(x->err, HDB_NOMEM, "out of memory");
  pg_each_sequence(&w.r, visit_serial);
  c->last = 1;
  int database;
  const table *kept = catalog_table(x->db, NULL, "sqlite_sequence", &database);
  cursor *rows = NULL;
  status rc = kept && w.number ? cursor_open(x->db->databases[database].txn, kept->tree, 0, &rows) : HDB_OK;
  for (rows ? cursor_first(rows) : (void)0; rc == HDB_OK && rows && rows->valid; cursor_next(rows)) {
    uint8_t type[2];
    slice payload[2];
    if (record_check(rows->value) != HDB_OK || !record_column(rows->value, 0, &type[0], &payload[0]) || !record_column(rows->value, 1, &type[1], &payload[1])) continue;
    value name = value_read(type[0], payload[0].p, payload[0].n), last = value_read(type[1], payload[1].p, payload[1].n);
    const table *owner = NULL;
    char text[200];
    if (name.type != VAL_TEXT) continue;
    snprintf(text, sizeof text, "%.*s", (int)name.n, name.p);
    owner = catalog_table(x->db, x->db->databases[database].name, text, &database);
    if (owner && pg_table_oid(owner) == (uint32_t)w.number && last.type == VAL_INTEGER) c->last = last.i, c->called = true;
  }
  if (rows) cursor_close(rows);
  arena_clear(&w.r.memory);
  *out = c;
  return rc == HDB_OK ? HDB_OK : error_set(x->err, rc, "%s", status_text(rc));
}
static status serial_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  ((serial_cursor *)cursor)->done = false;
  return HDB_OK;
}
static bool serial_at_end(void *cursor) { return ((serial_cursor *)cursor)->done; }
static status serial_next(exec *x, void *cursor) { return ((serial_cursor *)cursor)->done = true, HDB_OK; }
static status serial_column(exec *x, void *cursor, int column, value *out) {
  const serial_cursor *c = cursor;
  *out = value_int(column == 0 ? c->last : column == 1 ? 0 : c->called);
  return HDB_OK;
}
static void serial_close(void *cursor) { free(cursor); }

const virtual_module *pg_serial_find(hdb *db, const char *name) {
  static const virtual_column columns[] = {{"last_value", "int8", false}, {"log_cnt", "int8", false}, {"is_called", "bool", false}};
  static const virtual_module module = {"", columns, 3, NULL, serial_open, serial_filter, serial_at_end, serial_next, serial_column, NULL, serial_close};
  int64_t number;
  return pg_sequence_number(db, name, &number) ? &module : NULL;
}
