/* DROP TABLE, VIEW, INDEX, TRIGGER, with what hangs on them.
 *
 * O1  A table takes along its indexes, triggers (TEMP ones too), its rows in sqlite_sequence and sqlite_stat1..4.
 * O2  With foreign keys on, its rows are deleted first as DELETE would, so that what refers to it is looked at.
 * O3  Nothing is dropped while another statement reads: "database table is locked".
 */
#include <strings.h>

#include "sql/ddl.h"
#include "sql/virtual.h"

typedef struct drop {
  uint8_t kind;
  int database;
  const char *name;
} drop;

static status fail(hdb *db, status rc) { return rc == HDB_OK ? rc : error_set(&db->err, rc, "%s", status_text(rc)); }

typedef struct drop_visit {
  hdb *db;
  int database;
  const char *type; /* NULL: everything with this tbl_name */
  const char *name;
} drop_visit;

static status visit_drop(void *context, const schema_object *o) {
  const drop_visit *v = context;
  if (v->type ? strcmp(o->type, v->type) != 0 || !o->name || !name_equal(o->name, v->name)
              : !o->tbl_name || !name_equal(o->tbl_name, v->name))
    return HDB_OK;
  if (o->root > 0) TRY(fail(v->db, txn_clear(v->db->databases[v->database].txn, (uint32_t)o->root)));
  return schema_delete(v->db, v->database, o->rowid);
}

/* Rows about the table (or index) in the tables that SQLite keeps. */
static status drop_traces(hdb *db, int database, const char *name, bool is_index) {
  static const char *const names[] = {"sqlite_sequence", "sqlite_stat1", "sqlite_stat4", "sqlite_stat3", "sqlite_stat2"};
  schema *s;
  TRY(catalog_schema(db, database, &s));
  for (size_t i = is_index; i < sizeof names / sizeof *names; i++) {
    table *t = schema_table(s, names[i]);
    if (t && t->kind == TABLE_ORDINARY && t->columns_n > 1) TRY(plain_rows_delete(db, database, t, is_index, name));
  }
  return HDB_OK;
}

static status temp_triggers_drop(exec *x, int database, const table *t) {
  hdb *db = x->db;
  const trigger **list;
  int n;
  if (database == DB_TEMP || !db->databases[DB_TEMP].engine) return HDB_OK;
  TRY(catalog_triggers(db, t, database, &x->lifetime, &list, &n));
  bool any = false;
  for (int i = 0; i < n; i++) {
    if (list[i]->database != DB_TEMP) continue;
    drop_visit v = {db, DB_TEMP, "trigger", arena_strdup(&x->lifetime, list[i]->name)};
    if (!v.name) return sql_nomem(x->err);
    TRY(schema_each(db, DB_TEMP, visit_drop, &v));
    any = true;
  }
  return any ? schema_changed(db, DB_TEMP) : HDB_OK;
}

static bool is_parent(const schema *s, const char *name) {
  for (const foreign_key *k = s->foreign_keys; k; k = k->next_parent)
    if (name_equal(k->parent, name)) return true;
  return false;
}

/* O2 */
static status delete_rows_first(hdb *db, int database, const table *t) {
  if (!db->pragmas.foreign_keys || t->kind != TABLE_ORDINARY) return HDB_OK;
  if (!is_parent(t->schema, t->name)) { /* a child's rows matter only to violations that are open */
    bool deferred = false;
    for (const foreign_key *k = t->foreign_keys; k; k = k->next) deferred = deferred || k->deferred || db->pragmas.defer_foreign_keys;
    if (!deferred || db->deferred_violations == 0) return HDB_OK;
  }
  buf text = BUF_INIT;
  buf_text(&text, "DELETE FROM ");
  buf_quoted_name(&text, db->databases[database].name);
  buf_byte(&text, '.');
  buf_quoted_name(&text, t->name);
  const char *sql = buf_cstr(&text);
  bool triggers = db->pragmas.enable_triggers;
  db->pragmas.enable_triggers = false;
  db->dropping = true;
  int64_t changes = db->changes, total = db->total_changes;
  status rc = sql ? sql_run(db, "%s", sql) : sql_nomem(&db->err);
  db->pragmas.enable_triggers = triggers;
  db->dropping = false;
  db->changes = changes, db->total_changes = total;
  buf_free(&text);
  return rc;
}

status drop_table(exec *x, int database, const char *name, bool is_view) {
  hdb *db = x->db;
  schema *s;
  TRY(catalog_schema(db, database, &s));
  table *t = schema_table(s, name);
  if (!t) return HDB_OK;
  s->references++; /* t must outlive what changes the schema */
  status rc = delete_rows_first(db, database, t);
  if (rc == HDB_OK) rc = temp_triggers_drop(x, database, t);
  if (rc == HDB_OK && !is_view) rc = drop_traces(db, database, name, false);
  drop_visit v = {db, database, NULL, name};
  if (rc == HDB_OK) rc = schema_each(db, database, visit_drop, &v);
  if (rc == HDB_OK && t->kind == TABLE_VIRTUAL) rc = virtual_drop_shadows(x, database, t);
  if (rc == HDB_OK) rc = schema_changed(db, database);
  schema_release(s);
  return rc;
}

status drop_index(exec *x, int database, const char *name) {
  drop_visit v = {x->db, database, "index", name};
  TRY(drop_traces(x->db, database, name, true));
  TRY(schema_each(x->db, database, visit_drop, &v));
  return schema_changed(x->db, database);
}

status drop_trigger(exec *x, int database, const char *name) {
  drop_visit v = {x->db, database, "trigger", name};
  TRY(schema_each(x->db, database, visit_drop, &v));
  return schema_changed(x->db, database);
}

static status drop_start(exec *x) {
  const drop *d = x->program->data;
  /* O3; a DROP inside our own statements is not another reader */
  if (d->kind != ST_DROP_TRIGGER && d->kind != ST_DROP_VIEW && atomic_load(&x->db->active) > 1)
    return error_set(x->err, HDB_LOCKED, "database table is locked");
  switch (d->kind) {
  case ST_DROP_TABLE: return drop_table(x, d->database, d->name, false);
  case ST_DROP_VIEW: return drop_table(x, d->database, d->name, true);
  case ST_DROP_INDEX: return drop_index(x, d->database, d->name);
  default: return drop_trigger(x, d->database, d->name);
  }
}

/* ---- compiling ---- */

static status not_found(compile *c, const statement *s, const char *kind) {
  const qualified_name *name = &s->drop.name;
  if (s->drop.if_exists) {
    /* nothing as long as the schemas stay as they are */
    for (int i = 0; i < c->db->databases_n; i++)
      if (c->db->databases[i].engine) compile_reads(c, i);
    return rows_program(c, NULL, NULL, NULL, 0);
  }
  return error_set(c->err, HDB_ERROR, "no such %s: %s%s%s", kind, name->schema ? name->schema : "", name->schema ? "." : "", name->name);
}

static bool may_not_be_dropped(const table *t) {
  if (t->kind == TABLE_SCHEMA) return true;
  return strncasecmp(t->name, "sqlite_", 7) == 0 && strncasecmp(t->name + 7, "stat", 4) != 0 &&
         strncasecmp(t->name + 7, "parameters", 10) != 0;
}

/* Rows about it in sqlite_stat1 and sqlite_sequence. */
static status authorize_traces(compile *c, int database, bool sequence, bool is_index) {
  schema *s;
  bool ignore;
  TRY(catalog_schema(c->db, database, &s));
  if (schema_table(s, "sqlite_stat1")) {
    TRY(compile_authorize(c, HDB_DELETE, "sqlite_stat1", NULL, database, &ignore));
    TRY(compile_authorize(c, HDB_READ, "sqlite_stat1", is_index ? "idx" : "tbl", database, &ignore));
  }
  if (!sequence) return HDB_OK;
  TRY(compile_authorize(c, HDB_DELETE, "sqlite_sequence", NULL, database, &ignore));
  return compile_authorize(c, HDB_READ, "sqlite_sequence", "name", database, &ignore);
}

static status compile_drop_table(compile *c, statement *s, drop *d) {
  bool view = s->kind == ST_DROP_VIEW, ignore = false;
  table *t = catalog_table(c->db, s->drop.name.schema, s->drop.name.name, &d->database);
  if (!t) return not_found(c, s, view ? "view" : "table");
  d->name = arena_strdup(c->memory, t->name);
  bool temp = d->database == DB_TEMP;
  int action = view ? (temp ? HDB_DROP_TEMP_VIEW : HDB_DROP_VIEW) : (temp ? HDB_DROP_TEMP_TABLE : HDB_DROP_TABLE);
  TRY(compile_authorize(c, HDB_DELETE, schema_table_name(d->database), NULL, d->database, &ignore));
  TRY(compile_authorize(c, action, t->name, NULL, d->database, &ignore));
  TRY(compile_authorize(c, HDB_DELETE, t->name, NULL, d->database, &ignore));
  if (may_not_be_dropped(t)) return error_set(c->err, HDB_ERROR, "table %s may not be dropped", t->name);
  if (view && t->kind != TABLE_VIEW) return error_set(c->err, HDB_ERROR, "use DROP TABLE to delete table %s", t->name);
  if (!view && t->kind == TABLE_VIEW) return error_set(c->err, HDB_ERROR, "use DROP VIEW to delete view %s", t->name);
  if (!view) TRY(authorize_traces(c, d->database, t->autoincrement, false));
  TRY(ddl_authorize_removal(c, d->database, "tbl_name", !view));
  for (const index_ *i = t->indexes; i; i = i->next) {
    if (i->is_primary) continue;
    TRY(compile_authorize(c, HDB_UPDATE, schema_table_name(d->database), "rootpage", d->database, &ignore));
    TRY(compile_authorize(c, HDB_READ, schema_table_name(d->database), "rootpage", d->database, &ignore));
  }
  if (!temp && c->db->databases[DB_TEMP].engine) compile_writes(c, DB_TEMP);
  return ddl_program(c, d->database, drop_start, d);
}

static status compile_drop_index(compile *c, statement *s, drop *d) {
  bool ignore = false;
  index_ *i = catalog_index(c->db, s->drop.name.schema, s->drop.name.name, &d->database);
  if (!i) return not_found(c, s, "index");
  if (i->origin != 'c')
    return error_set(c->err, HDB_ERROR, "index associated with UNIQUE or PRIMARY KEY constraint cannot be dropped");
  d->name = arena_strdup(c->memory, i->name);
  TRY(compile_authorize(c, HDB_DELETE, schema_table_name(d->database), NULL, d->database, &ignore));
  TRY(compile_authorize(c, d->database == DB_TEMP ? HDB_DROP_TEMP_INDEX : HDB_DROP_INDEX, i->name, i->owner->name, d->database, &ignore));
  TRY(ddl_authorize_removal(c, d->database, "name", false));
  TRY(authorize_traces(c, d->database, false, true));
  TRY(compile_authorize(c, HDB_UPDATE, schema_table_name(d->database), "rootpage", d->database, &ignore));
  TRY(compile_authorize(c, HDB_READ, schema_table_name(d->database), "rootpage", d->database, &ignore));
  return ddl_program(c, d->database, drop_start, d);
}

static status compile_drop_trigger(compile *c, statement *s, drop *d) {
  bool ignore = false;
  trigger *g = catalog_trigger(c->db, s->drop.name.schema, s->drop.name.name, &d->database);
  if (!g) return not_found(c, s, "trigger");
  d->name = arena_strdup(c->memory, g->name);
  TRY(compile_authorize(c, d->database == DB_TEMP ? HDB_DROP_TEMP_TRIGGER : HDB_DROP_TRIGGER, g->name, g->table_name, d->database, &ignore));
  TRY(compile_authorize(c, HDB_DELETE, schema_table_name(d->database), NULL, d->database, &ignore));
  TRY(ddl_authorize_removal(c, d->database, "name", false));
  return ddl_program(c, d->database, drop_start, d);
}

status compile_drop(compile *c, statement *s) {
  drop *d = arena_zero(c->memory, sizeof *d);
  if (!d) return sql_nomem(c->err);
  d->kind = s->kind;
  switch (s->kind) {
  case ST_DROP_INDEX: return compile_drop_index(c, s, d);
  case ST_DROP_TRIGGER: return compile_drop_trigger(c, s, d);
  default: return compile_drop_table(c, s, d);
  }
}
