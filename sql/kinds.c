/* A parsed statement becomes a program, by its kind; EXPLAIN wraps whatever it is. */
#include "sql/erase.h"
#include "sql/internal.h"

/* ---- SELECT ---- */

static status select_start(exec *x) { return query_open(x, x->program->data); }
static status select_next(exec *x, const value **row) { return query_next(x, x->program->data, row); }
static void select_stop(exec *x) { query_close(x, x->program->data); }
static status select_explain(const program *p, exec *x, explain_visitor visit, void *context) {
  return query_explain(p->data, x, visit, context);
}

static status compile_select(compile *c, select *s) {
  program *p = c->program;
  query *q;
  TRY(plan_query(c, s, NULL, &q));
  TRY(query_result_columns(c, q, s, &p->columns, &p->columns_n));
  p->data = q;
  p->read_only = p->writes == 0;
  p->start = select_start;
  p->next = select_next;
  p->stop = select_stop;
  p->explain = select_explain;
  return HDB_OK;
}

/* ---- INSERT, UPDATE, DELETE under PRAGMA count_changes ---- */

static status count_next(exec *x, const value **row) {
  value changes = value_int(x->changes);
  if (!x->run) TRY(rows_add(x, &changes, 1));
  return rows_next(x, row);
}

static status count_changes(compile *c, const char *label) {
  program *p = c->program;
  if (!c->db->pragmas.count_changes || c->parent || c->in_trigger || p->columns_n) return HDB_OK;
  p->columns = arena_zero(c->memory, sizeof *p->columns);
  if (!p->columns) return sql_nomem(c->err);
  p->columns[0].name = label;
  p->columns_n = 1;
  p->next = count_next;
  return HDB_OK;
}

/* ---- EXPLAIN ---- */

typedef struct explained {
  status (*explain)(const program *p, exec *x, status (*visit)(void *, int, int, const char *), void *context);
  program inner; /* what would run; shares the memory */
  const char *kind;
} explained;

static status plan_row(void *context, int id, int parent, const char *detail) {
  value row[4] = {value_int(id), value_int(parent), value_int(0), value_text(detail, strlen(detail))};
  return rows_add(context, row, 4);
}

static status explain_plan_start(exec *x) {
  const explained *e = x->program->data;
  return e->explain ? e->explain(&e->inner, x, plan_row, x) : HDB_OK;
}

typedef struct listing {
  exec *x;
  int address;
} listing;

static status step_row(listing *l, const char *opcode, int p1, int p2, int p3, const char *p4, const char *comment) {
  value row[8] = {value_int(l->address++), value_text(opcode, strlen(opcode)), value_int(p1), value_int(p2),
                  value_int(p3), p4 ? value_text(p4, strlen(p4)) : value_null(), value_int(0),
                  comment ? value_text(comment, strlen(comment)) : value_null()};
  return rows_add(l->x, row, 8);
}

static status step_of_plan(void *context, int id, int parent, const char *detail) {
  return step_row(context, "Plan", id, parent, 0, detail, NULL);
}

/* Our own steps in the eight columns of SQLite's listing. */
static status explain_start(exec *x) {
  const explained *e = x->program->data;
  listing l = {x, 0};
  TRY(step_row(&l, "Init", 0, 0, 0, NULL, "start of program"));
  for (int i = 0; i < DATABASES_MAX; i++)
    if ((e->inner.reads | e->inner.writes) >> i & 1)
      TRY(step_row(&l, "Transaction", i, (int)(e->inner.writes >> i & 1), 0, NULL, x->db->databases[i].name));
  if (e->explain) TRY(e->explain(&e->inner, x, step_of_plan, &l));
  TRY(step_row(&l, e->kind, 0, e->inner.columns_n, 0, NULL, NULL));
  return step_row(&l, "Halt", 0, 0, 0, NULL, NULL);
}

static void explain_destroy(program *p) {
  explained *e = p->data;
  if (e->inner.destroy) e->inner.destroy(&e->inner);
}

static status compile_explain(compile *c, statement *s) {
  static const char *const plan_names[] = {"id", "parent", "notused", "detail"};
  static const char *const step_names[] = {"addr", "opcode", "p1", "p2", "p3", "p4", "p5", "comment"};
  program *p = c->program;
  explained *e = arena_zero(c->memory, sizeof *e);
  if (!e) return sql_nomem(c->err);
  e->inner = *p;
  e->explain = p->explain;
  e->kind = p->is_dml ? "Write" : p->columns_n ? "ResultRow" : "Execute";
  p->destroy = e->inner.destroy ? explain_destroy : NULL;
  p->stop = NULL;
  p->explain = NULL;
  p->is_dml = p->changes_schema = false;
  p->read_only = true;
  p->writes = 0;
  p->needs_no_transaction = e->inner.needs_no_transaction;
  if (s->explain == 2) return rows_program(c, explain_plan_start, e, plan_names, 4);
  return rows_program(c, explain_start, e, step_names, 8);
}

/* ---- all kinds ---- */

static status compile_kind(compile *c, statement *s) {
  switch (s->kind) {
  case ST_SELECT: return compile_select(c, s->select);
  case ST_INSERT: TRY(compile_insert(c, s->insert)); return count_changes(c, "rows inserted");
  case ST_UPDATE: TRY(compile_update(c, s->update)); return count_changes(c, "rows updated");
  case ST_DELETE: TRY(compile_delete(c, s->delete_)); return count_changes(c, "rows deleted");
  case ST_CREATE_TABLE: return compile_create_table(c, s->create_table);
  case ST_CREATE_INDEX: return compile_create_index(c, s->create_index);
  case ST_CREATE_VIEW: return compile_create_view(c, s->create_view);
  case ST_CREATE_TRIGGER: return compile_create_trigger(c, s->create_trigger);
  case ST_CREATE_VIRTUAL_TABLE: return compile_create_virtual_table(c, s->create_virtual_table);
  case ST_DROP_TABLE:
  case ST_DROP_INDEX:
  case ST_DROP_VIEW:
  case ST_DROP_TRIGGER: return compile_drop(c, s);
  case ST_ALTER_RENAME_TABLE:
  case ST_ALTER_RENAME_COLUMN:
  case ST_ALTER_ADD_COLUMN:
  case ST_ALTER_DROP_COLUMN: return compile_alter(c, s);
  case ST_BEGIN:
  case ST_COMMIT:
  case ST_ROLLBACK:
  case ST_SAVEPOINT:
  case ST_RELEASE:
  case ST_ROLLBACK_TO: return compile_transaction(c, s);
  case ST_PRAGMA: return compile_pragma(c, s->pragma);
  case ST_CREATE_BRANCH:
  case ST_DROP_BRANCH:
  case ST_USE_BRANCH:
  case ST_SHOW_BRANCHES:
  case ST_MERGE_BRANCH: return compile_branch(c, s);
  case ST_ATTACH:
  case ST_DETACH: return compile_attach(c, s);
  case ST_ANALYZE: return compile_analyze(c, s);
  case ST_REINDEX: return compile_reindex(c, s);
  case ST_VACUUM: return compile_vacuum(c, s);
  case ST_ERASE: return compile_erase(c, s);
  default: return error_set(c->err, HDB_ERROR, "not supported yet: this statement");
  }
}

status compile_statement(compile *c, statement *s) {
  TRY(compile_kind(c, s));
  return s->explain ? compile_explain(c, s) : HDB_OK;
}
