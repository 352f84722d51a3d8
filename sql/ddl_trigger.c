/* CREATE TRIGGER: checked for its place, stored as text; its steps are resolved when it fires. */
#include <strings.h>

#include "sql/ddl.h"

typedef struct create_trigger {
  int database;
  const char *name, *table_name, *sql;
} create_trigger;

static status create_trigger_start(exec *x) {
  const create_trigger *d = x->program->data;
  TRY(schema_insert(x->db, d->database, "trigger", d->name, d->table_name, 0, d->sql));
  return schema_reload(x->db, d->database);
}

/* A trigger lies where its table lies, but TEMP triggers may be on any table. */
static status find_table(compile *c, const create_trigger_statement *s, int *database, int *on, table **t) {
  hdb *db = c->db;
  int found = 0;
  *database = DB_MAIN;
  if (s->temp) {
    if (s->trigger.schema) return error_set(c->err, HDB_ERROR, "temporary trigger may not have qualified name");
    *database = DB_TEMP;
  } else if (s->trigger.schema) {
    *database = catalog_database(db, s->trigger.schema);
    if (*database < 0) return error_set(c->err, HDB_ERROR, "unknown database %s", s->trigger.schema);
  }
  if (s->table.schema) {
    int number = catalog_database(db, s->table.schema);
    if (number == DB_TEMP && !s->trigger.schema) *database = DB_TEMP;
    if (*database != DB_TEMP && number != *database && s->trigger.schema)
      return error_set(c->err, HDB_ERROR, "trigger %s cannot reference objects in database %s", s->trigger.name, s->table.schema);
    *t = catalog_table(db, s->table.schema, s->table.name, &found);
    if (!*t) return error_set(c->err, HDB_ERROR, "no such table: %s.%s", s->table.schema, s->table.name);
    if (*database != DB_TEMP && number != *database)
      return error_set(c->err, HDB_ERROR, "trigger %s cannot reference objects in database %s", s->trigger.name, s->table.schema);
    *on = found;
    return HDB_OK;
  }
  if (s->temp) {
    *t = catalog_table(db, NULL, s->table.name, &found);
    if (!*t) return error_set(c->err, HDB_ERROR, "no such table: %s", s->table.name);
    *on = found;
    return HDB_OK;
  }
  *t = s->trigger.schema ? NULL : catalog_table(db, NULL, s->table.name, &found);
  if (*t && found == DB_TEMP) {
    *database = DB_TEMP;
    *on = found;
    return HDB_OK;
  }
  *t = catalog_table(db, db->databases[*database].name, s->table.name, &found);
  if (!*t) return error_set(c->err, HDB_ERROR, "no such table: %s.%s", db->databases[*database].name, s->table.name);
  *on = found;
  return HDB_OK;
}

/* ---- references to other databases ---- */

typedef struct foreign_search {
  hdb *db;
  int database;
  const char *found;
} foreign_search;

static void search_select(foreign_search *f, select *s);

static void search_sources(foreign_search *f, const source_list *from) {
  for (int i = 0; from && i < from->n && !f->found; i++) {
    const source *item = &from->items[i];
    if (item->schema && catalog_database(f->db, item->schema) != f->database) f->found = item->schema;
    else if (item->select) search_select(f, item->select);
    else search_sources(f, item->nested);
  }
}

static bool search_visit(void *context, expr *e) {
  foreign_search *f = context;
  for (select *arm = e->select; arm && !f->found; arm = arm->prior) search_sources(f, arm->from);
  if (e->source && !f->found) search_sources(f, e->source);
  return !f->found;
}

static void search_select(foreign_search *f, select *s) {
  for (select *arm = s; arm && !f->found; arm = arm->prior) search_sources(f, arm->from);
  if (!f->found) ast_walk_select(s, search_visit, f);
}

static void search_expr(foreign_search *f, expr *e) {
  if (e && !f->found) ast_walk(e, true, search_visit, f);
}

static void search_set(foreign_search *f, set_list *set) {
  for (int i = 0; set && i < set->n; i++) search_expr(f, set->items[i].value);
}

static void search_step(foreign_search *f, struct statement *step) {
  switch (step->kind) {
  case ST_SELECT: search_select(f, step->select); break;
  case ST_INSERT:
    if (step->insert->select) search_select(f, step->insert->select);
    for (upsert *u = step->insert->upserts; u; u = u->next) search_set(f, u->set), search_expr(f, u->where);
    break;
  case ST_UPDATE:
    search_sources(f, step->update->from);
    search_set(f, step->update->set);
    search_expr(f, step->update->where);
    break;
  case ST_DELETE: search_expr(f, step->delete_->where); break;
  default: break;
  }
}

const char *select_foreign_schema(hdb *db, select *s, int database) {
  foreign_search f = {db, database, NULL};
  if (database != DB_TEMP) search_select(&f, s);
  return f.found;
}

const char *trigger_foreign_schema(hdb *db, create_trigger_statement *g, int database) {
  foreign_search f = {db, database, NULL};
  if (database == DB_TEMP) return NULL;
  search_expr(&f, g->when);
  for (int i = 0; i < g->steps_n && !f.found; i++) search_step(&f, g->steps[i]);
  return f.found;
}

static status check_kind(compile *c, const create_trigger_statement *s, const table *t) {
  if (t->kind == TABLE_VIRTUAL) return error_set(c->err, HDB_ERROR, "cannot create triggers on virtual tables");
  if (t->kind == TABLE_SCHEMA || strncasecmp(t->name, "sqlite_", 7) == 0)
    return error_set(c->err, HDB_ERROR, "cannot create trigger on system table");
  if (t->kind == TABLE_VIEW && s->time != 3)
    return error_set(c->err, HDB_ERROR, "cannot create %s trigger on view: %s", s->time == 2 ? "AFTER" : "BEFORE", t->name);
  if (t->kind != TABLE_VIEW && s->time == 3)
    return error_set(c->err, HDB_ERROR, "cannot create INSTEAD OF trigger on table: %s", t->name);
  return HDB_OK;
}

status compile_create_trigger(compile *c, create_trigger_statement *s) {
  create_trigger *d = arena_zero(c->memory, sizeof *d);
  table *t = NULL;
  schema *sc;
  bool ignore = false;
  if (!d) return sql_nomem(c->err);
  if (c->tree && c->tree->parameters) return error_set(c->err, HDB_ERROR, "trigger cannot use variables");
  int on = DB_MAIN;
  TRY(find_table(c, s, &d->database, &on, &t));
  d->name = s->trigger.name;
  d->table_name = t->name;
  TRY(ddl_check_name(c, d->name, "trigger", t->name));
  TRY(catalog_schema(c->db, d->database, &sc));
  if (schema_trigger(sc, d->name)) {
    if (!s->if_not_exists) return error_set(c->err, HDB_ERROR, "trigger %s already exists", d->name);
    compile_reads(c, d->database);
    return rows_program(c, NULL, NULL, NULL, 0);
  }
  TRY(check_kind(c, s, t));
  const char *foreign = trigger_foreign_schema(c->db, s, d->database);
  if (foreign) return error_set(c->err, HDB_ERROR, "trigger %s cannot reference objects in database %s", d->name, foreign);
  TRY(compile_authorize(c, d->database == DB_TEMP ? HDB_CREATE_TEMP_TRIGGER : HDB_CREATE_TRIGGER, d->name, t->name, d->database, &ignore));
  TRY(compile_authorize(c, HDB_INSERT, schema_table_name(on), NULL, on, &ignore));
  TRY(compile_authorize(c, HDB_INSERT, schema_table_name(d->database), NULL, d->database, &ignore));
  slice span = s->span;
  d->sql = arena_printf(c->memory, "CREATE TRIGGER %.*s", (int)span.n, (const char *)span.p);
  if (!d->sql) return sql_nomem(c->err);
  return ddl_program(c, d->database, create_trigger_start, d);
}
