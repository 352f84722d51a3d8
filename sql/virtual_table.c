/* Virtual tables made by CREATE VIRTUAL TABLE: their rows in sqlite_schema, their shadow tables, writing to them.
 *
 * V1  A virtual table has no tree. All it stores lies in its shadow tables, ordinary tables whose names begin with its
 *     own; so transactions, branches and time travel hold for it as for them.
 * V2  A schema with a module that is not known, or arguments that it refuses, loads: only using the table fails.
 */
#include <strings.h>

#include "sql/ddl.h"
#include "sql/dml.h"
#include "sql/virtual.h"

const virtual_kind *virtual_kind_find(const char *name) {
  static const virtual_kind *const all[] = {&virtual_fts5, &virtual_fts4, &virtual_fts3, &virtual_fts5vocab, &virtual_rtree, &virtual_rtree_i32};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (strcasecmp(all[i]->name, name) == 0) return all[i];
  return NULL;
}

void virtual_add_column(arena *memory, table *t, int capacity, const char *name, const char *type, bool hidden) {
  if (!t->columns) t->columns = arena_zero(memory, (size_t)capacity * sizeof *t->columns);
  if (!t->columns || t->columns_n >= capacity) return;
  int n = t->columns_n++;
  t->columns[n] = (column){.name = name, .type = type, .affinity = affinity_of_type(type), .hidden = hidden, .stored = n};
  t->stored_n = t->columns_n;
}

status virtual_declare(hdb *db, arena *memory, const create_virtual_table_statement *s, table *t, error *err) {
  const virtual_kind *k = virtual_kind_find(s->module);
  if (!k) return error_set(err, HDB_ERROR, "no such module: %s", s->module);
  TRY(k->declare(db, memory, s, t, err));
  if (memory->failed || !t->columns || !t->virtual_data) return sql_nomem(err);
  for (int i = 0; i < t->columns_n; i++)
    for (int j = 0; j < i; j++)
      if (strcasecmp(t->columns[i].name, t->columns[j].name) == 0) return error_set(err, HDB_ERROR, "vtable constructor failed: %s", t->name);
  t->module = k->module;
  t->declaration = s;
  return HDB_OK;
}

const table *virtual_shadow(const table *t, const char *suffix) {
  buf name = BUF_INIT;
  buf_text(&name, t->name);
  buf_byte(&name, '_');
  buf_text(&name, suffix);
  const char *text = buf_cstr(&name);
  const table *found = text ? schema_table(t->schema, text) : NULL;
  buf_free(&name);
  return found && found->kind == TABLE_ORDINARY ? found : NULL;
}

status virtual_drop_shadows(exec *x, int database, const table *t) {
  const virtual_kind *k = virtual_kind_of(t);
  if (!k || !k->shadows) return HDB_OK;
  for (const char *const *suffix = k->shadows(t); *suffix; suffix++) {
    const char *name = arena_printf(&x->lifetime, "%s_%s", t->name, *suffix);
    if (!name) return sql_nomem(x->err);
    TRY(drop_table(x, database, name, false));
  }
  return HDB_OK;
}

status virtual_rename_shadows(hdb *db, int database, const table *t, const char *to) {
  const virtual_kind *k = virtual_kind_of(t);
  status rc = HDB_OK;
  if (!k || !k->shadows) return HDB_OK;
  for (const char *const *suffix = k->shadows(t); *suffix && rc == HDB_OK; suffix++) {
    if (!virtual_shadow(t, *suffix)) continue;
    buf text = BUF_INIT;
    arena names = ARENA_INIT;
    const char *from = arena_printf(&names, "%s_%s", t->name, *suffix), *new_name = arena_printf(&names, "%s_%s", to, *suffix);
    buf_text(&text, "ALTER TABLE ");
    buf_quoted_name(&text, db->databases[database].name);
    buf_byte(&text, '.');
    buf_quoted_name(&text, from ? from : "");
    buf_text(&text, " RENAME TO ");
    buf_quoted_name(&text, new_name ? new_name : "");
    const char *sql = buf_cstr(&text);
    rc = sql && !names.failed ? sql_run(db, "%s", sql) : sql_nomem(&db->err);
    buf_free(&text);
    arena_clear(&names);
  }
  return rc;
}

status virtual_write(exec *x, int database, const table *t, const virtual_change *c, bool counts) {
  const virtual_kind *k = virtual_kind_of(t);
  int64_t rowid = 0;
  bool written = false;
  if (!k || !k->change) return error_set(x->err, HDB_ERROR, "table %s may not be modified", t->name);
  TRY(k->change(x, database, t, c, &rowid, &written));
  if (!written) return HDB_OK;
  if (counts) x->changes++;
  if (!c->old) x->db->last_insert_rowid = rowid;
  return HDB_OK;
}

/* ---- CREATE VIRTUAL TABLE ---- */
typedef struct create_virtual {
  int database;
  const char *name, *sql;
} create_virtual;

static status create_virtual_start(exec *x) {
  const create_virtual *d = x->program->data;
  schema *s;
  TRY(schema_insert(x->db, d->database, "table", d->name, d->name, 0, d->sql));
  TRY(schema_reload(x->db, d->database));
  TRY(catalog_schema(x->db, d->database, &s));
  const table *t = schema_table(s, d->name);
  const virtual_kind *k = t ? virtual_kind_of(t) : NULL;
  if (!k || !k->create) return HDB_OK;
  s->references++; /* t must outlive what its tables do to the schema */
  status rc = k->create(x, d->database, t);
  schema_release(s);
  return rc == HDB_OK ? schema_reload(x->db, d->database) : rc;
}

status compile_create_virtual(compile *c, create_virtual_table_statement *s, int database, const char *sql) {
  create_virtual *d = arena_zero(c->memory, sizeof *d);
  table *t = arena_zero(c->memory, sizeof *t);
  bool ignore;
  if (!d || !t) return sql_nomem(c->err);
  *d = (create_virtual){database, s->table.name, sql};
  TRY(compile_authorize(c, HDB_CREATE_VTABLE, s->table.name, s->module, database, &ignore));
  t->name = s->table.name;
  TRY(virtual_declare(c->db, c->memory, s, t, c->err));
  return ddl_program(c, database, create_virtual_start, d);
}
