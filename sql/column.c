/* The current row, column by column. Conversions are SQLite's; texts made here live until the next step or reset. */
#include <stdlib.h>

#include "sql/internal.h"

static const value null_value = {.type = VAL_NULL};

static const value *column_value(hdb_stmt *s, int column) {
  if (!s || !s->row || column < 0 || column >= s->program->columns_n) {
    if (s && column != -1) error_set(&s->db->err, HDB_RANGE, "column index out of range");
    return &null_value;
  }
  return &s->row[column];
}

int hdb_column_count(hdb_stmt *s) { return s ? s->program->columns_n : 0; }
int hdb_data_count(hdb_stmt *s) { return s && s->row ? s->program->columns_n : 0; }

static const result_column *column_meta(hdb_stmt *s, int column) {
  return s && column >= 0 && column < s->program->columns_n ? &s->program->columns[column] : NULL;
}

const char *hdb_column_name(hdb_stmt *s, int column) {
  const result_column *c = column_meta(s, column);
  return c ? c->name : NULL;
}
const char *hdb_column_decltype(hdb_stmt *s, int column) {
  const result_column *c = column_meta(s, column);
  return c ? c->decltype_ : NULL;
}
const char *hdb_column_database_name(hdb_stmt *s, int column) {
  const result_column *c = column_meta(s, column);
  return c ? c->database : NULL;
}
const char *hdb_column_table_name(hdb_stmt *s, int column) {
  const result_column *c = column_meta(s, column);
  return c ? c->table : NULL;
}
const char *hdb_column_origin_name(hdb_stmt *s, int column) {
  const result_column *c = column_meta(s, column);
  return c ? c->origin : NULL;
}

int hdb_column_type(hdb_stmt *s, int column) { return column_value(s, column)->type; }
int64_t hdb_column_int64(hdb_stmt *s, int column) { return value_to_int(column_value(s, column)); }
double hdb_column_double(hdb_stmt *s, int column) { return value_to_real(column_value(s, column)); }

int hdb_column_raw(hdb_stmt *s, int column, int64_t *i, double *r, const char **p, int64_t *n) {
  const value *v = column_value(s, column);
  switch (v->type) {
  case VAL_INTEGER: *i = v->i; break;
  case VAL_REAL: *r = v->r; break;
  case VAL_TEXT:
  case VAL_BLOB:
    *p = v->n ? v->p : "";
    *n = v->n;
    break;
  default: break;
  }
  return v->type;
}

static slice column_bytes(hdb_stmt *s, int column) {
  const value *v = column_value(s, column);
  slice text = {0, 0};
  if (v->type == VAL_TEXT || v->type == VAL_BLOB) return slice_of(v->p, v->n);
  if (v->type == VAL_NULL) return text;
  if (value_to_text(v, &s->text, &text) != HDB_OK) {
    sql_nomem(&s->db->err);
    return slice_of(NULL, 0);
  }
  return text;
}

const char *hdb_column_text(hdb_stmt *s, int column) {
  if (column_value(s, column)->type == VAL_NULL) return NULL;
  slice bytes = column_bytes(s, column);
  char *text = arena_strndup(&s->text, bytes.n ? (const char *)bytes.p : "", bytes.n);
  if (!text) sql_nomem(&s->db->err);
  return text;
}

const void *hdb_column_blob(hdb_stmt *s, int column) {
  slice bytes = column_bytes(s, column);
  return bytes.n ? bytes.p : NULL;
}

int64_t hdb_column_bytes(hdb_stmt *s, int column) { return (int64_t)column_bytes(s, column).n; }

hdb_value *hdb_column_value(hdb_stmt *s, int column) {
  if (!s) return NULL;
  if (!s->values && !(s->values = calloc((size_t)s->program->columns_n + 1, sizeof *s->values))) return NULL;
  int k = column >= 0 && column < s->program->columns_n ? column : s->program->columns_n;
  s->values[k] = (hdb_value){.v = *column_value(s, column), .memory = &s->text};
  return &s->values[k];
}
