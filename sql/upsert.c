/* INSERT ... ON CONFLICT: each clause belongs to one uniqueness constraint (or, the last, to any); a row in its way is
 * left alone or updated.
 *
 * U1  The constraints that clauses name are checked first, in the order of the clauses; then the row id; then the rest.
 * U2  The update runs with ABORT, whatever the INSERT says; `excluded` is the row that was not inserted.
 */
#include "sql/dml.h"

#include <strings.h>

static expr *without_collate(expr *e, const char **collation_name) {
  *collation_name = NULL;
  while (e && e->op == EX_COLLATE) {
    if (!*collation_name) *collation_name = e->text;
    e = e->left;
  }
  return e;
}

static bool is_rowid_expr(const table *t, const expr *e) {
  return e->op == EX_COLUMN && (e->column < 0 || (e->column == t->rowid_column && !t->without_rowid));
}

static bool unbind(void *context, expr *e) {
  if (e->op == EX_COLUMN && e->slot == *(int *)context) e->slot = 0;
  return true;
}

/* Is this index column among the target's terms? */
static bool term_fits(compile *c, const index_ *i, int k, const expr_list *target, int slot) {
  const index_column *ic = &i->columns[k];
  for (int n = 0; n < target->n; n++) {
    const char *name;
    expr *e = without_collate(target->items[n].e, &name);
    if (name && strcasecmp(name, ic->collation) != 0) continue;
    if (ic->column == -2) {
      const char *own;
      expr *copy = ast_copy_expr(c->memory, e);
      if (copy) ast_walk(copy, true, unbind, &slot);
      if (copy && ast_equal(copy, without_collate(ic->e, &own))) return true;
    } else if (e->op == EX_COLUMN && e->column == ic->column) {
      return true;
    }
  }
  return false;
}

static bool where_fits(compile *c, const index_ *i, const expr *where, int slot) {
  if (!i->where) return true;
  if (!where) return false;
  expr *copy = ast_copy_expr(c->memory, where);
  if (copy) ast_walk(copy, true, unbind, &slot);
  return copy && ast_equal(copy, i->where);
}

static bool index_fits(compile *c, const index_ *i, const upsert *u, int slot) {
  if (!i->unique || i->key_columns_n != u->target->n || !where_fits(c, i, u->target_where, slot)) return false;
  for (int k = 0; k < i->key_columns_n; k++)
    if (!term_fits(c, i, k, u->target, slot)) return false;
  return true;
}

static status find_target(compile *c, upsert *u, const table *t, int slot, int number, int total, upsert_clause *out) {
  if (!u->target) {
    out->any = true;
    return HDB_OK;
  }
  TRY(dml_resolve_terms(c, t, slot, u->target, u->target_where ? &u->target_where : NULL));
  const char *ignored;
  expr *only = u->target->n == 1 ? without_collate(u->target->items[0].e, &ignored) : NULL;
  if (only && !t->without_rowid && is_rowid_expr(t, only)) {
    out->of_rowid = true;
    return HDB_OK;
  }
  for (const index_ *i = t->indexes; i; i = i->next)
    if (index_fits(c, i, u, slot)) {
      out->index = i;
      out->of_rowid = i->is_primary;
      return HDB_OK;
    }
  static const char *const endings[] = {"th", "st", "nd", "rd"};
  const char *ending = number % 100 / 10 == 1 || number % 10 > 3 ? "th" : endings[number % 10];
  if (total == 1)
    return error_set(c->err, HDB_ERROR, "ON CONFLICT clause does not match any PRIMARY KEY or UNIQUE constraint");
  return error_set(c->err, HDB_ERROR, "%d%s ON CONFLICT clause does not match any PRIMARY KEY or UNIQUE constraint", number,
                   ending);
}

static status compile_set(compile *c, const insert_statement *s, const upsert *u, const dml_target *target, const writer *w,
                          upsert_clause *out) {
  source_list *lone;
  set_program set;
  qualified_name name = s->table;
  TRY(dml_lone_source(c, &name, target, &lone, &out->slot));
  scope sc = {.from = lone, .allow = ALLOW_ALL & ~(ALLOW_AGGREGATE | ALLOW_WINDOW), .excluded_slot = w->new_slot};
  TRY(set_compile(c, target->t, target->database, u->set, &set));
  TRY(resolve_list(c, &sc, set.list));
  TRY(expr_compile_list(c, set.list, &out->values, &out->first));
  if (u->where) {
    expr *where = u->where;
    TRY(resolve_expr(c, &sc, &where));
    TRY(expr_compile_condition(c, where, &out->where));
  }
  out->set = arena_copy(c->memory, &set, sizeof set);
  if (!out->set) return dml_no_memory(c->err);
  writer_request r = {.t = target->t, .database = target->database, .use = WRITER_UPDATE, .conflict = CONFLICT_ABORT,
                      .changed = set.changed, .rowid_changed = set.rowid_changed, .new_slot = -1, .old_slot = out->slot};
  TRY(writer_make(c, &r, &out->update));
  return s->returning ? returning_compile(c, ast_copy_list(c->memory, s->returning), target->t, out->update->new_slot,
                                          &out->update->returning)
                      : HDB_OK;
}

/* U1 */
static int step_of(const writer *w, const upsert_clause *u) {
  if (u->of_rowid) return KEY_STEP;
  for (int k = 0; k < w->indexes_n; k++)
    if (w->new_entries[k].i == u->index) return k;
  return KEY_STEP;
}

static void add_step(writer *w, int *order, const upsert_clause **clauses, int *n, int step, const upsert_clause *u) {
  for (int i = 0; i < *n; i++)
    if (order[i] == step) return; /* a second clause for the same constraint never acts */
  (void)w;
  order[*n] = step;
  clauses[(*n)++] = u;
}

static status order_steps(compile *c, writer *w, upsert_clause *list, int n) {
  int *order = arena_zero(c->memory, ((size_t)w->order_n + 1) * sizeof *order), at = 0;
  const upsert_clause **clauses = arena_zero(c->memory, ((size_t)w->order_n + 1) * sizeof *clauses);
  const upsert_clause *any = NULL;
  if (!order || !clauses) return dml_no_memory(c->err);
  for (int i = 0; i < n; i++) {
    if (list[i].any) any = &list[i];
    else add_step(w, order, clauses, &at, step_of(w, &list[i]), &list[i]);
  }
  bool by_age = w->t->without_rowid || at == 0; /* else the row id comes before the rest */
  for (int pass = by_age; pass < 2; pass++)
    for (int i = 0; i < w->order_n; i++)
      if (by_age || (w->order[i] == KEY_STEP) == (pass == 0)) add_step(w, order, clauses, &at, w->order[i], any);
  w->order = order;
  w->clauses = clauses;
  return HDB_OK;
}

/* The targets alone, on copies: SQLite looks at them before foreign keys and the rest. */
status upsert_check_targets(compile *c, const insert_statement *s, const table *t) {
  int n = 0, total = 0, slot = compile_slot(c, t->columns_n);
  for (const upsert *u = s->upserts; u; u = u->next) total++;
  for (const upsert *u = s->upserts; u; u = u->next) {
    upsert copy = *u;
    upsert_clause ignored = {0};
    copy.target = ast_copy_list(c->memory, u->target);
    copy.target_where = ast_copy_expr(c->memory, u->target_where);
    TRY(find_target(c, &copy, t, slot, ++n, total, &ignored));
  }
  return HDB_OK;
}

status upsert_compile(compile *c, insert_statement *s, const dml_target *target, writer *w) {
  int n = 0, total = 0;
  if (target->t->kind == TABLE_VIEW) return error_set(c->err, HDB_ERROR, "cannot UPSERT a view");
  for (const upsert *u = s->upserts; u; u = u->next) total++;
  upsert_clause *list = arena_zero(c->memory, (size_t)total * sizeof *list);
  if (!list) return dml_no_memory(c->err);
  for (upsert *u = s->upserts; u; u = u->next, n++) {
    list[n].do_nothing = u->do_nothing;
    TRY(find_target(c, u, target->t, w->new_slot, n + 1, total, &list[n]));
    if (!u->do_nothing) TRY(compile_set(c, s, u, target, w, &list[n]));
  }
  return order_steps(c, w, list, n);
}

bool upserts_are_simple(const writer *w) {
  for (int i = 0; w->clauses && i < w->order_n; i++) {
    const writer *u = w->clauses[i] ? w->clauses[i]->update : NULL;
    if (u && (u->before.n || u->after.n || u->keys)) return false;
  }
  return true;
}

status upsert_run(exec *x, const writer *w, const upsert_clause *u, slice row_key) {
  writer_run *r = writer_run_of(x, u->update);
  stored_row row;
  int truth = 1;
  bool written;
  const value *rowid;
  if (!r) return x->err->code;
  if (!cursor_find(r->table, row_key)) return dml_failed(x, r->table->error ? r->table->error : HDB_CORRUPT);
  TRY(stored_row_copy(x, w->t, r->table, &row));
  slot *old = &x->slots[u->slot];
  stored_row_set(old, w->t, &row);
  if (u->where) TRY(expr_test(x, u->where, &truth));
  if (truth != 1) return HDB_OK;
  TRY(expr_eval_list(x, u->values));
  TRY(set_apply(x, w->t, u->set, &x->registers[u->first], old, r->values, &rowid));
  TRY(writer_update(x, u->update, &row, rowid, &written));
  dml_run *run = dml_run_of(x, w->root);
  if (run && written && !x->parent) run->upserted++;
  return HDB_OK;
}
