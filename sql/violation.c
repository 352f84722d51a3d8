/* What a violated constraint says in PostgreSQL's words: table, constraint, column, the key or row.
 *
 * Noted in the postgres dialect alone, by whoever finds the violation, just before the error (foreign keys: when the
 * count goes up, which may be long before the statement or the transaction ends with it). The last note is kept until
 * somebody takes it or the count of violations is back at zero. Nothing is noted twice a statement but foreign keys.
 */
#include "sql/violation.h"

#include <stdlib.h>

#include "sql/internal.h"
#include "sql/pg.h"
#include "sql/pg_catalog.h"

struct violation {
  arena memory;
  status code;
  const char *table, *column, *constraint, *message, *detail;
};

void violation_free(hdb *db) {
  if (!db->violation) return;
  arena_clear(&db->violation->memory);
  free(db->violation);
  db->violation = NULL;
}

void violation_forget(hdb *db) {
  if (db->violation) db->violation->code = HDB_OK;
}

static struct violation *begin(exec *x, status code, const table *t) {
  hdb *db = x->db;
  if (db->pragmas.dialect != DIALECT_POSTGRES) return NULL;
  if (!db->violation && !(db->violation = calloc(1, sizeof *db->violation))) return NULL;
  struct violation *v = db->violation;
  arena_clear(&v->memory);
  *v = (struct violation){.memory = v->memory, .code = code};
  v->table = arena_strdup(&v->memory, t->name);
  return v;
}

static void put_value(buf *b, const table *t, int column, const value *v) {
  const char *declared = t->columns[column].type;
  int32_t modifier;
  const pg_type *type = pg_type_of_column(declared, pg_table_is_postgres(t->sql), &modifier);
  size_t before = b->n;
  if (v->type == VAL_NULL) buf_text(b, "null");
  else if (!type || pg_output(type->oid, modifier, v, b, NULL) != HDB_OK) b->n = before, buf_text(b, "?");
}

static const char *keep(struct violation *v, buf *b) {
  const char *text = b->failed ? NULL : arena_strndup(&v->memory, b->p ? (const char *)b->p : "", b->n);
  buf_free(b);
  return text;
}

static const char *failing_row(struct violation *v, const table *t, const value *row) {
  buf b = BUF_INIT;
  buf_text(&b, "Failing row contains (");
  for (int k = 0, n = 0; k < t->columns_n; k++) {
    if (t->columns[k].generated == 1) continue;
    buf_text(&b, n++ ? ", " : "");
    put_value(&b, t, k, &row[k]);
  }
  buf_text(&b, ").");
  return keep(v, &b);
}

void violation_not_null(exec *x, const table *t, int column, const value *row) {
  struct violation *v = begin(x, HDB_CONSTRAINT_NOTNULL, t);
  if (!v) return;
  v->column = arena_strdup(&v->memory, t->columns[column].name);
  v->message = arena_printf(&v->memory, "null value in column \"%s\" of relation \"%s\" violates not-null constraint", t->columns[column].name, t->name);
  v->detail = failing_row(v, t, row);
}

void violation_check(exec *x, const table *t, int number, const value *row) {
  struct violation *v = begin(x, HDB_CONSTRAINT_CHECK, t);
  if (!v) return;
  v->constraint = pg_check_name(&v->memory, t, number);
  v->message = arena_printf(&v->memory, "new row for relation \"%s\" violates check constraint \"%s\"", t->name, v->constraint);
  v->detail = failing_row(v, t, row);
}

/* Key (a, b)=(1, x) */
static void put_key(buf *b, const table *t, const int *columns, int n, const value *values) {
  buf_text(b, "Key (");
  for (int k = 0; k < n; k++) buf_printf(b, "%s%s", k ? ", " : "", t->columns[columns[k]].name);
  buf_text(b, ")=(");
  for (int k = 0; k < n; k++) {
    if (k) buf_text(b, ", ");
    put_value(b, t, columns[k], &values[k]);
  }
  buf_byte(b, ')');
}

enum { KEY_MAX = 64 };

void violation_unique(exec *x, const table *t, const index_ *i, slot *s) {
  struct violation *v = begin(x, HDB_CONSTRAINT_UNIQUE, t);
  int columns[KEY_MAX], n = 0;
  value values[KEY_MAX];
  bool plain = i || t->rowid_column >= 0;
  if (!v) return;
  v->constraint = pg_index_name(&v->memory, t, i);
  v->message = arena_printf(&v->memory, "duplicate key value violates unique constraint \"%s\"", v->constraint);
  for (int k = 0; plain && k < (i ? i->key_columns_n : 1) && n < KEY_MAX; k++) {
    int column = i ? i->columns[k].column : t->rowid_column;
    if (column == -1) column = t->rowid_column;
    plain = column >= 0;
    if (plain) values[n] = *slot_column(s, column), columns[n++] = column;
  }
  if (!plain) return; /* of an expression: PostgreSQL would print its value */
  buf b = BUF_INIT;
  put_key(&b, t, columns, n, values);
  buf_text(&b, " already exists.");
  v->detail = keep(v, &b);
}

void violation_no_parent(exec *x, const foreign_key *k, const value *values) {
  struct violation *v = begin(x, HDB_CONSTRAINT_FOREIGNKEY, k->child);
  if (!v) return;
  v->constraint = pg_foreign_key_name(&v->memory, k);
  v->message = arena_printf(&v->memory, "insert or update on table \"%s\" violates foreign key constraint \"%s\"", k->child->name, v->constraint);
  buf b = BUF_INIT;
  put_key(&b, k->child, k->child_columns, k->n, values);
  buf_printf(&b, " is not present in table \"%s\".", k->parent);
  v->detail = keep(v, &b);
}

void violation_children(exec *x, const foreign_key *k, const table *parent, const int *columns, const value *values) {
  struct violation *v = begin(x, HDB_CONSTRAINT_FOREIGNKEY, k->child);
  if (!v) return;
  v->constraint = pg_foreign_key_name(&v->memory, k);
  v->message = arena_printf(&v->memory, "update or delete on table \"%s\" violates foreign key constraint \"%s\" on table \"%s\"", parent->name, v->constraint, k->child->name);
  buf b = BUF_INIT;
  put_key(&b, parent, columns, k->n, values);
  buf_printf(&b, " is still referenced from table \"%s\".", k->child->name);
  v->detail = keep(v, &b);
}

bool hdb_violation(hdb *db, int code, violation_words *out) {
  struct violation *v = db->violation;
  bool unique = code == HDB_CONSTRAINT_PRIMARYKEY || code == HDB_CONSTRAINT_ROWID || code == HDB_CONSTRAINT_UNIQUE;
  bool key = code == HDB_CONSTRAINT_FOREIGNKEY || code == HDB_CONSTRAINT_TRIGGER;
  if (!v || v->code == HDB_OK || !v->message) return false;
  bool ours = v->code == (status)code || (unique && v->code == HDB_CONSTRAINT_UNIQUE) || (key && v->code == HDB_CONSTRAINT_FOREIGNKEY);
  if (!ours) return false;
  *out = (violation_words){.table = v->table, .column = v->column, .constraint = v->constraint, .message = v->message, .detail = v->detail};
  v->code = HDB_OK;
  return true;
}
