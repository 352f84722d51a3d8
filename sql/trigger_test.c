/* Do the names in a trigger still mean something? Asked by ALTER before and after its change.
 *
 * As in SQLite, WHEN and the expressions and tables of the steps are looked up; the names of columns that a step
 * writes are not.
 */
#include "sql/ddl.h"

typedef struct trigger_check {
  compile c;
  program scratch;
  const char *schema; /* where a step's own table is looked up; NULL: everywhere */
} trigger_check;

static const unsigned allowed = ALLOW_ALL & ~(unsigned)(ALLOW_AGGREGATE | ALLOW_WINDOW);

static status check_expr(compile *c, scope *s, expr *e) { return e ? resolve_expr(c, s, &e) : HDB_OK; }

static status check_list(compile *c, scope *s, expr_list *list) { return list ? resolve_list(c, s, list) : HDB_OK; }

/* The step's table and what it is joined with, opened. */
static status open_target(trigger_check *t, const qualified_name *name, const source_list *from, source_list **out) {
  int n = 1 + (from ? from->n : 0), number;
  if (!catalog_table(t->c.db, t->schema, name->name, &number))
    return error_set(t->c.err, HDB_ERROR, "no such table: %s%s%s", t->schema ? t->schema : "", t->schema ? "." : "", name->name);
  source_list *list = arena_zero(t->c.memory, sizeof *list);
  if (!list || !(list->items = arena_zero(t->c.memory, (size_t)n * sizeof *list->items))) return sql_nomem(t->c.err);
  list->n = list->capacity = n;
  list->items[0] = (source){.schema = name->schema, .name = name->name, .alias = name->alias, .offset = name->offset};
  for (int i = 1; i < n; i++) list->items[i] = from->items[i - 1];
  *out = list;
  return resolve_from(&t->c, list, NULL);
}

static status check_set(compile *c, scope *s, set_list *set) {
  for (int i = 0; set && i < set->n; i++) TRY(check_expr(c, s, set->items[i].value));
  return HDB_OK;
}

static status check_insert(trigger_check *t, insert_statement *i) {
  source_list *target;
  TRY(open_target(t, &i->table, NULL, &target));
  if (i->select) {
    t->c.with = i->with;
    if (i->with && !i->select->with) i->select->with = i->with;
    TRY(resolve_select(&t->c, i->select, NULL));
  }
  scope s = {.from = target, .allow = allowed, .excluded_slot = target->items[0].slot};
  for (upsert *u = i->upserts; u; u = u->next) {
    TRY(check_list(&t->c, &s, u->target));
    TRY(check_expr(&t->c, &s, u->target_where));
    TRY(check_set(&t->c, &s, u->set));
    TRY(check_expr(&t->c, &s, u->where));
  }
  return HDB_OK;
}

static status check_step(trigger_check *t, struct statement *step) {
  source_list *target;
  switch (step->kind) {
  case ST_SELECT: return resolve_select(&t->c, step->select, NULL);
  case ST_INSERT: return check_insert(t, step->insert);
  case ST_UPDATE: {
    TRY(open_target(t, &step->update->table, step->update->from, &target));
    scope s = {.from = target, .allow = allowed, .excluded_slot = -1};
    TRY(check_set(&t->c, &s, step->update->set));
    return check_expr(&t->c, &s, step->update->where);
  }
  case ST_DELETE: {
    TRY(open_target(t, &step->delete_->table, NULL, &target));
    scope s = {.from = target, .allow = allowed, .excluded_slot = -1};
    return check_expr(&t->c, &s, step->delete_->where);
  }
  default: return HDB_OK;
  }
}

status trigger_test(hdb *db, int database, create_trigger_statement *g) {
  int number;
  const char *where = g->table.schema ? g->table.schema : database == DB_TEMP ? NULL : db->databases[database].name;
  table *on = catalog_table(db, where, g->table.name, &number);
  if (!on)
    return error_set(&db->err, HDB_ERROR, "no such table: %s%s%s", where ? where : "", where ? "." : "", g->table.name);
  trigger_check t = {.schema = database == DB_TEMP ? NULL : db->databases[database].name};
  t.c = compile_begin(db, &t.scratch);
  t.c.in_trigger = true;
  t.c.trigger_table = on;
  t.c.trigger_event = g->event;
  t.c.fixed_schema = t.schema;
  if (g->event != ST_INSERT) t.c.old_slot = compile_slot(&t.c, on->columns_n);
  if (g->event != ST_DELETE) t.c.new_slot = compile_slot(&t.c, on->columns_n);
  int (*authorize)(void *, int, const char *, const char *, const char *, const char *) = db->authorize;
  db->authorize = NULL;
  scope s = {.allow = allowed, .excluded_slot = -1};
  status rc = HDB_OK;
  if (g->when) {
    expr *when = ast_copy_expr(t.c.memory, g->when);
    rc = when ? resolve_expr(&t.c, &s, &when) : sql_nomem(&db->err);
  }
  for (int i = 0; i < g->steps_n && rc == HDB_OK; i++) {
    struct statement *step = ast_copy_statement(t.c.memory, g->steps[i]);
    rc = step ? check_step(&t, step) : sql_nomem(&db->err);
  }
  db->authorize = authorize;
  buf_free(&t.c.slot_columns);
  arena_clear(&t.scratch.memory);
  return rc;
}
