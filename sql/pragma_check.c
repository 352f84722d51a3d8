/* integrity_check, quick_check, foreign_key_check.
 *
 * integrity_check reads every row: it must decode, keep NOT NULL, CHECK and STRICT types; then every index is made
 * anew in memory and compared with what is stored; then what lies below SQL is checked (mvcc/check.c: groups, history,
 * feed, branches) on main, unless one table was asked for. quick_check leaves the indexes' content and all of the latter out.
 * foreign_key_check asks, for each key, for child rows without a parent, by a query under the parent's collations.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "kv/base/key.h"
#include "sql/pragma.h"

/* ---- integrity ---- */

typedef struct check_run {
  pragma_call *p;
  int database;
  int64_t left; /* messages that may still be given */
  int64_t found;
} check_run;

static status report(void *context, const char *message) {
  check_run *r = context;
  if (r->left <= 0) return HDB_OK;
  r->left--;
  r->found++;
  return pragma_emit_text(r->p, message);
}

static status reportf(check_run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static status reportf(check_run *r, const char *format, ...) {
  va_list arguments;
  char *text;
  va_start(arguments, format);
  int n = vasprintf(&text, format, arguments);
  va_end(arguments);
  if (n < 0) return sql_nomem(r->p->err);
  status rc = report(r, text);
  free(text);
  return rc;
}

static status check_rows(check_run *r, const table *t) {
  hdb *db = r->p->db;
  cursor *c;
  status rc = cursor_open(db->databases[r->database].txn, t->tree, 0, &c);
  if (rc != HDB_OK) return error_set(r->p->err, rc, "%s", status_text(rc));
  int64_t number = 0;
  for (cursor_first(c); c->valid && r->left > 0; cursor_next(c)) {
    number++;
    if (record_check(c->value) != HDB_OK || (!t->without_rowid && c->key.n != 8)) {
      CHECK(reportf(r, "row %lld of table %s is malformed", (long long)number, t->name));
      continue;
    }
    for (int k = 0; k < t->columns_n; k++) {
      const column *col = &t->columns[k];
      uint8_t type;
      slice payload;
      if (col->stored < 0 || !col->not_null || k == t->rowid_column) continue;
      if (!record_column(c->value, (uint32_t)col->stored, &type, &payload)) continue; /* its default */
      if (type == REC_NULL) CHECK(reportf(r, "NULL value in %s.%s", t->name, col->name));
    }
    if (r->p->x) CHECK(exec_tick(r->p->x));
  }
  rc = c->error;
  if (rc != HDB_OK) error_set(r->p->err, rc, "%s", status_text(rc));
out:
  cursor_close(c);
  return rc;
}

/* CHECKs by a query; a row that makes one false is reported once for the table, as SQLite does. */
static status check_constraints(check_run *r, const table *t) {
  hdb *db = r->p->db;
  status rc = HDB_OK;
  for (int i = 0; i < t->checks_n && rc == HDB_OK && r->left > 0 && !db->pragmas.ignore_check_constraints; i++) {
    buf text = BUF_INIT;
    buf_text(&text, "SELECT 1 FROM ");
    buf_quoted_name(&text, db->databases[r->database].name);
    buf_byte(&text, '.');
    buf_quoted_name(&text, t->name);
    buf_printf(&text, " WHERE NOT (%.*s) LIMIT 1", (int)t->checks[i].text.n, (const char *)t->checks[i].text.p);
    hdb_stmt *s = NULL;
    const char *sql = buf_cstr(&text);
    if (!sql) rc = sql_nomem(r->p->err);
    else if (hdb_prepare(db, sql, -1, 0, &s, NULL) == HDB_OK && hdb_step(s) == HDB_ROW) rc = reportf(r, "CHECK constraint failed in %s", t->name);
    hdb_finalize(s);
    buf_free(&text);
  }
  return rc;
}

static status check_table(check_run *r, table *t, bool quick) {
  TRY(check_rows(r, t));
  TRY(check_constraints(r, t));
  for (index_ *i = t->indexes; i && !quick; i = i->next)
    if (!i->is_primary && r->left > 0) TRY(index_verify(r->p->db, r->database, i, report, r));
  return HDB_OK;
}

static status check_database(check_run *r, bool quick, const char *only) {
  schema *s;
  TRY(catalog_schema(r->p->db, r->database, &s));
  s->references++;
  status rc = HDB_OK;
  for (int i = 0; i < s->tables_n && rc == HDB_OK && r->left > 0; i++) {
    table *t = s->in_order[i];
    if (t->kind != TABLE_ORDINARY || (only && !name_equal(only, t->name))) continue;
    rc = check_table(r, t, quick);
  }
  schema_release(s);
  if (rc != HDB_OK || quick || only || r->left <= 0 || !txn_is_main_now(r->p->db->databases[r->database].txn)) return rc;
  rc = engine_check(r->p->db->databases[r->database].engine, report, r);
  return rc == HDB_OK ? rc : error_set(r->p->err, rc, "%s", status_text(rc));
}

status pragma_integrity_check(pragma_call *p) {
  check_run r = {.p = p, .left = 100};
  const char *only = NULL;
  if (p->argument) {
    int64_t n;
    if (pragma_whole_integer(p->argument, &n) && n >= INT32_MIN && n <= INT32_MAX) {
      if (n > 0) r.left = n;
    } else {
      int number;
      only = p->argument;
      if (!catalog_table(p->db, p->qualified ? p->db->databases[p->database].name : NULL, only, &number))
        return error_set(p->err, HDB_ERROR, "no such table: %s", only);
    }
  }
  for (int i = 0; i < p->db->databases_n; i++) {
    if (!p->db->databases[i].engine || (p->qualified && i != p->database)) continue;
    r.database = i;
    TRY(check_database(&r, p->definition->data, only));
  }
  return r.found ? HDB_OK : pragma_emit_text(p, "ok");
}

/* ---- foreign keys ---- */

static void buf_column(buf *b, const char *alias, const char *name) {
  buf_printf(b, "%s.", alias);
  buf_quoted_name(b, name);
}

/* The parent's columns, or NULL when no UNIQUE key of the parent covers them: a mismatch. */
static bool parent_columns(const foreign_key *k, const table *parent, const char **names) {
  int n = 0;
  for (int i = 0; i < k->n; i++) names[i] = k->parent_columns[i];
  if (k->parent_columns[0] == NULL) {
    for (int position = 1; position <= parent->columns_n; position++)
      for (int i = 0; i < parent->columns_n; i++)
        if (parent->columns[i].primary_key_position == position) {
          if (n < k->n) names[n] = parent->columns[i].name;
          n++;
        }
    return n == k->n;
  }
  if (k->n == 1 && parent->rowid_column >= 0 && name_equal(parent->columns[parent->rowid_column].name, names[0])) return true;
  for (const index_ *i = parent->indexes; i; i = i->next) {
    if (!i->unique || i->key_columns_n != k->n || i->where) continue;
    int matched = 0;
    for (int a = 0; a < k->n; a++)
      for (int b = 0; b < k->n; b++)
        if (i->columns[b].column >= 0 && name_equal(parent->columns[i->columns[b].column].name, names[a])) {
          matched++;
          break;
        }
    if (matched == k->n) return true;
  }
  return false;
}

static const char *orphans_text(buf *b, hdb *db, int database, const foreign_key *k, const table *parent, const char **names) {
  const table *child = k->child;
  buf_printf(b, "SELECT %s FROM ", child->without_rowid ? "NULL" : "c.rowid");
  buf_quoted_name(b, db->databases[database].name);
  buf_byte(b, '.');
  buf_quoted_name(b, child->name);
  buf_text(b, " AS c WHERE ");
  for (int i = 0; i < k->n; i++) {
    if (i) buf_text(b, " AND ");
    buf_column(b, "c", child->columns[k->child_columns[i]].name);
    buf_text(b, " IS NOT NULL");
  }
  if (parent) {
    buf_text(b, " AND NOT EXISTS (SELECT 1 FROM ");
    buf_quoted_name(b, db->databases[database].name);
    buf_byte(b, '.');
    buf_quoted_name(b, parent->name);
    buf_text(b, " AS p WHERE ");
    for (int i = 0; i < k->n; i++) {
      if (i) buf_text(b, " AND ");
      buf_column(b, "p", names[i]);
      buf_byte(b, '=');
      buf_column(b, "c", child->columns[k->child_columns[i]].name);
    }
    buf_byte(b, ')');
  }
  return buf_cstr(b);
}

typedef struct orphan { /* SQLite reports row by row, in each row key by key */
  int64_t rowid;
  const foreign_key *k;
  int order;
} orphan;

static int orphan_compare(const void *a, const void *b) {
  const orphan *x = a, *y = b;
  if (x->rowid != y->rowid) return x->rowid < y->rowid ? -1 : 1;
  return x->order - y->order;
}

static status report_orphans(pragma_call *p, buf *found, bool has_rowid) {
  orphan *list = (orphan *)found->p;
  size_t n = found->n / sizeof *list;
  if (buf_failed(found)) return sql_nomem(p->err);
  if (n && has_rowid) qsort(list, n, sizeof *list, orphan_compare);
  for (size_t i = 0; i < n; i++) {
    const foreign_key *k = list[i].k;
    value row[4] = {pragma_text(k->child->name), has_rowid ? value_int(list[i].rowid) : value_null(), pragma_text(k->parent), value_int(k->id)};
    TRY(pragma_emit(p, row, 4));
  }
  return HDB_OK;
}

static status check_key(pragma_call *p, int database, const foreign_key *k, const table *parent, int order, buf *found) {
  hdb *db = p->db;
  const char **names = arena_zero(p->memory, (size_t)k->n * sizeof *names);
  if (!names) return sql_nomem(p->err);
  if (parent && !parent_columns(k, parent, names))
    return error_set(p->err, HDB_ERROR, "foreign key mismatch - \"%s\" referencing \"%s\"", k->child->name, k->parent);
  buf text = BUF_INIT;
  hdb_stmt *s = NULL;
  const char *sql = orphans_text(&text, db, database, k, parent, names);
  status rc = sql ? (status)hdb_prepare(db, sql, -1, 0, &s, NULL) : sql_nomem(p->err);
  while (rc == HDB_OK && (rc = (status)hdb_step(s)) == HDB_ROW) {
    orphan o = {.rowid = value_to_int(&s->row[0]), .k = k, .order = order};
    buf_append(found, &o, sizeof o);
    rc = HDB_OK;
  }
  if (rc == HDB_DONE) rc = HDB_OK;
  hdb_finalize(s);
  buf_free(&text);
  return rc;
}

static status check_keys_of(pragma_call *p, int database, schema *s, const table *t) {
  buf found = BUF_INIT;
  status rc = HDB_OK;
  int order = 0;
  for (const foreign_key *k = t->foreign_keys; k && rc == HDB_OK; k = k->next) {
    const table *parent = schema_table(s, k->parent);
    if (parent && parent->kind == TABLE_VIEW) parent = NULL;
    rc = check_key(p, database, k, parent, order++, &found);
  }
  if (rc == HDB_OK) rc = report_orphans(p, &found, !t->without_rowid);
  buf_free(&found);
  return rc;
}

status pragma_foreign_key_check(pragma_call *p) {
  int number = p->database;
  schema *s;
  if (p->argument) {
    table *t = catalog_table(p->db, p->qualified ? p->db->databases[p->database].name : NULL, p->argument, &number);
    if (!t) return error_set(p->err, HDB_ERROR, p->qualified ? "no such table: %s.%s" : "no such table: %s%s",
                             p->qualified ? p->db->databases[p->database].name : "", p->argument);
    TRY(catalog_schema(p->db, number, &s));
    return check_keys_of(p, number, s, t);
  }
  for (int i = 0; i < p->db->databases_n; i++) {
    if (!p->db->databases[i].engine || (p->qualified && i != p->database)) continue;
    TRY(catalog_schema(p->db, i, &s));
    s->references++;
    table **tables;
    int n = 0;
    status rc = schema_walk_order(s, p->memory, &tables, &n);
    for (int k = 0; k < n && rc == HDB_OK; k++) rc = check_keys_of(p, i, s, tables[k]);
    schema_release(s);
    TRY(rc);
  }
  return HDB_OK;
}
