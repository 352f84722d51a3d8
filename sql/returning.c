/* RETURNING: the result columns are computed when a row has been changed, before AFTER triggers, and handed out when
 * the whole statement is done. Names as SQLite's: the alias, the column, or the text. */
#include "sql/dml.h"
#include "sql/resolve.h"

static status name_columns(compile *c, const expr_list *list, const table *t) {
  program *p = c->program;
  p->columns_n = list->n;
  p->columns = arena_zero(c->memory, (size_t)list->n * sizeof *p->columns);
  if (!p->columns) return dml_no_memory(c->err);
  for (int i = 0; i < list->n; i++) {
    const struct expr_item *item = &list->items[i];
    const expr *e = item->e;
    result_column *r = &p->columns[i];
    r->name = item->name;
    if (e->op == EX_COLUMN) {
      int number = e->column >= 0 ? e->column : t->rowid_column;
      const column *k = number >= 0 ? &t->columns[number] : NULL;
      if (!r->name) r->name = k ? k->name : "rowid";
      r->decltype_ = !k ? "INTEGER" : k->type[0] ? k->type : NULL;
    }
    if (!r->name) r->name = arena_strndup(c->memory, (const char *)item->span.p, item->span.n);
    if (!r->name) return dml_no_memory(c->err);
  }
  return HDB_OK;
}

status returning_compile(compile *c, expr_list *list, const table *t, int slot, const returning **out) {
  *out = NULL;
  if (!list) return HDB_OK;
  scope s = {.table = t, .slot = slot, .allow = ALLOW_ALL & ~(ALLOW_AGGREGATE | ALLOW_WINDOW), .excluded_slot = -1};
  returning *r = arena_zero(c->memory, sizeof *r);
  if (!r) return dml_no_memory(c->err);
  TRY(expand_returning(c, &s, list));
  TRY(resolve_list(c, &s, list));
  TRY(name_columns(c, list, t));
  TRY(expr_compile_list(c, list, &r->program, &r->first));
  r->n = list->n;
  *out = r;
  return HDB_OK;
}

status returning_add(exec *x, const returning *r) {
  TRY(expr_eval_list(x, r->program));
  return rows_add(x, &x->registers[r->first], r->n);
}
