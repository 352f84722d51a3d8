/* UPDATE: the rows are found first (dml_rows.c), then each is read again, its SET values computed, and written.
 *
 * SET values see the row as it is when its turn comes, as in SQLite. With FROM they are computed by the search, since
 * they may read its other tables. A view's rows go to its INSTEAD OF triggers. The same SET compilation serves
 * upsert.c.
 */
#include "sql/dml.h"
#include "sql/virtual.h"

#include <strings.h>

/* ---- SET ---- */
static status set_column(compile *c, const table *t, const struct name_item *name, int *out) {
  int k = table_column(t, name->name);
  if (k >= 0 && t->columns[k].generated)
    return error_set(c->err, HDB_ERROR, "cannot UPDATE generated column \"%s\"", t->columns[k].name);
  if (k < 0 && !(is_rowid_name(name->name) && !t->without_rowid && t->kind != TABLE_VIEW)) {
    error_set(c->err, HDB_ERROR, "no such column: %s", name->name);
    if (c->depth == 0) c->err->offset = name->offset;
    return HDB_ERROR;
  }
  *out = k >= 0 ? k : SET_ROWID;
  return HDB_OK;
}

static status note_set(compile *c, const table *t, int database, set_program *p, int column_number) {
  bool ignore;
  const char *name = column_number >= 0 ? t->columns[column_number].name : "ROWID";
  TRY(compile_authorize(c, HDB_UPDATE, t->name, name, database, &ignore));
  p->columns[p->n] = ignore ? SET_NOTHING : column_number;
  p->n++;
  if (ignore) return HDB_OK;
  if (column_number == SET_ROWID || (column_number == t->rowid_column && !t->without_rowid)) p->rowid_changed = true;
  if (column_number == SET_ROWID && t->rowid_column >= 0) p->changed[t->rowid_column] = true;
  if (column_number >= 0) p->changed[column_number] = true;
  if (t->without_rowid && column_number >= 0 && t->columns[column_number].primary_key) p->rowid_changed = true;
  return HDB_OK;
}

/* (a, b) = (SELECT x, y ...) becomes a = (SELECT x ...), b = (SELECT y ...): equal while the query gives one row
 * without choosing by its columns. */
static status split_query(compile *c, const set_item *item, int k, expr **out) {
  expr *e = ast_copy_expr(c->memory, item->value);
  if (!e) return dml_no_memory(c->err);
  select *s = e->select;
  if (s->prior || s->distinct || s->is_values)
    return error_set(c->err, HDB_ERROR, "not supported yet: assigning a row of a compound or DISTINCT query");
  for (int i = 0; i < s->columns->n; i++)
    if (s->columns->items[i].e->op == EX_STAR)
      return error_set(c->err, HDB_ERROR, "not supported yet: assigning a row of SELECT *");
  if (s->columns->n != item->columns->n)
    return error_set(c->err, HDB_ERROR, "%d columns assigned %d values", item->columns->n, s->columns->n);
  s->columns->items[0] = s->columns->items[k];
  s->columns->n = 1;
  *out = e;
  return HDB_OK;
}

static status set_value(compile *c, const set_item *item, int k, expr **out) {
  *out = item->value;
  if (item->columns->n == 1) return HDB_OK;
  if (item->value->op == EX_SUBQUERY) return split_query(c, item, k, out);
  if (item->value->op != EX_ROW || item->value->list->n != item->columns->n)
    return error_set(c->err, HDB_ERROR, "%d columns assigned %d values", item->columns->n,
                     item->value->op == EX_ROW ? item->value->list->n : 1);
  *out = item->value->list->items[k].e;
  return HDB_OK;
}

status set_compile(compile *c, const table *t, int database, const set_list *list, set_program *out) {
  int n = 0;
  for (int i = 0; i < list->n; i++) n += list->items[i].columns->n;
  *out = (set_program){0};
  out->columns = arena_zero(c->memory, ((size_t)n + 1) * sizeof *out->columns);
  out->changed = arena_zero(c->memory, (size_t)t->columns_n + 1);
  if (!out->columns || !out->changed) return dml_no_memory(c->err);
  for (int i = 0; i < list->n; i++) {
    const set_item *item = &list->items[i];
    for (int k = 0; k < item->columns->n; k++) {
      int column_number = SET_NOTHING;
      expr *e;
      TRY(set_column(c, t, &item->columns->items[k], &column_number));
      TRY(note_set(c, t, database, out, column_number));
      TRY(set_value(c, item, k, &e));
      out->list = ast_list_add(c->memory, out->list, e);
      if (!out->list) return dml_no_memory(c->err);
    }
  }
  return HDB_OK;
}

/* The new row: the old one with the values put in; *rowid: a new row id, else NULL. */
status set_apply(exec *x, const table *t, const set_program *p, const value *values, slot *old, value *row,
                 const value **rowid) {
  *rowid = NULL;
  for (int k = 0; k < t->columns_n; k++) row[k] = t->columns[k].generated == 1 ? value_null() : *slot_column(old, k);
  for (int i = 0; i < p->n; i++) {
    int k = p->columns[i];
    if (k == SET_NOTHING) continue;
    if (k == SET_ROWID || (k == t->rowid_column && !t->without_rowid)) *rowid = &values[i];
    else row[k] = values[i];
  }
  (void)x;
  return HDB_OK;
}

/* ---- the statement ---- */
typedef struct update_program {
  dml_statement head;
  dml_target target;
  row_search search;
  int old_slot;
  set_program set;
  expr_program *values;      /* NULL: they come with the search's rows */
  int first;
  writer *w;
} update_program;

static status update_one(exec *x, const update_program *p, const stored_row *stored, const value *from_search) {
  writer_run *r = writer_run_of(x, p->w);
  const value *values = from_search, *rowid;
  bool written;
  if (!r) return x->err->code;
  if (p->values) {
    TRY(expr_eval_list(x, p->values));
    values = &x->registers[p->first];
  }
  slot *old = &x->slots[p->old_slot];
  TRY(set_apply(x, p->target.t, &p->set, values, old, r->values, &rowid));
  if (p->target.t->kind == TABLE_VIRTUAL) {
    int64_t was = old->rowid;
    virtual_change change = {.old = &was, .values = r->values, .rowid = rowid, .conflict = p->w->conflict};
    for (int k = 0; k < p->target.t->columns_n; k++) /* arguments, not values */
      if (p->target.t->columns[k].hidden && !p->set.changed[k]) r->values[k] = value_null();
    return virtual_write(x, p->target.database, p->target.t, &change, true);
  }
  if (p->target.t->kind != TABLE_VIEW) return writer_update(x, p->w, stored, rowid, &written);
  slot *new_row = &x->slots[p->w->new_slot];
  slot_set_values(new_row, r->values, false, 0);
  status rc = trigger_fire(x, p->w->root, &p->w->before, old, new_row);
  if (rc == EXEC_IGNORE) return HDB_OK;
  TRY(rc);
  return p->w->returning ? returning_add(x, p->w->returning) : HDB_OK;
}

static status update_rows(exec *x, const update_program *p) {
  found_row row = {0};
  status rc;
  bool is_view = p->target.t->kind == TABLE_VIEW;
  writer_run *r = writer_run_of(x, p->w);
  if (!r) return x->err->code;
  while ((rc = row_search_next(x, &p->search, &row)) == HDB_ROW) {
    arena_mark mark = arena_save(&x->memory);
    bool found = true;
    if (p->target.t->kind == TABLE_VIRTUAL) slot_set_values(&x->slots[p->old_slot], (value *)row.row + 1, true, row.row[0].i);
    else if (is_view) slot_set_values(&x->slots[p->old_slot], (value *)row.row, false, 0);
    else TRY(row_search_read(x, &p->search, r->table, p->old_slot, &row, &found));
    if (found) TRY(update_one(x, p, &row.stored, row.row ? row.row + p->search.key_columns : NULL));
    arena_rewind(&x->memory, mark);
    TRY(exec_tick(x));
  }
  return rc == HDB_DONE ? HDB_OK : rc;
}

static status update_work(exec *x, void *self) {
  const update_program *p = self;
  TRY(row_search_start(x, &p->search));
  return update_rows(x, p);
}

static void update_stop(exec *x, void *self) {
  const update_program *p = self;
  row_search_stop(x, &p->search);
}

static status update_values(compile *c, update_program *p, source_list *lone) {
  scope s = {.from = lone, .allow = ALLOW_ALL & ~(ALLOW_AGGREGATE | ALLOW_WINDOW), .excluded_slot = -1};
  TRY(resolve_list(c, &s, p->set.list));
  return expr_compile_list(c, p->set.list, &p->values, &p->first);
}

static status update_writer(compile *c, update_program *p, const update_statement *s, uint8_t conflict) {
  writer_request r = {.t = p->target.t, .database = p->target.database, .use = WRITER_UPDATE, .conflict = conflict,
                      .changed = p->set.changed, .rowid_changed = p->set.rowid_changed, .new_slot = -1,
                      .old_slot = p->old_slot};
  if (r.t->kind == TABLE_VIRTUAL && s->returning) return error_set(c->err, HDB_ERROR, "RETURNING is not available on virtual tables");
  TRY(writer_make(c, &r, &p->w));
  if (r.t->kind == TABLE_VIEW)
    TRY(trigger_list_compile(c, p->target.catalog, r.t, r.database, ST_UPDATE, TRIGGER_INSTEAD, r.changed, conflict, &p->w->before));
  return returning_compile(c, s->returning, r.t, p->w->new_slot, &p->w->returning);
}

static bool same_alias(const char *a, const char *b) { return a && b ? strcasecmp(a, b) == 0 : a == b; }

static status check_from(compile *c, const update_statement *s, const dml_target *target) {
  for (int i = 0; s->from && i < s->from->n; i++) {
    const source *f = &s->from->items[i];
    if (!f->name || f->is_call || !same_alias(f->alias, s->table.alias)) continue;
    if (catalog_table(c->db, f->schema ? f->schema : c->fixed_schema, f->name, NULL) != target->catalog) continue;
    return error_set(c->err, HDB_ERROR, "target object/alias may not appear in FROM clause: %s", f->alias ? f->alias : f->name);
  }
  return HDB_OK;
}

/* Is the index that finds the rows one that the change moves them in? */
static bool walked_index_affected(const update_program *p) {
  const index_ *i = query_walked_index(p->search.q);
  for (int k = 0; i && k < p->w->indexes_n; k++)
    if (p->w->new_entries[k].i == i) return p->w->affected[k];
  return false;
}

status compile_update(compile *c, update_statement *s) {
  update_program *p = arena_zero(c->memory, sizeof *p);
  source_list *lone;
  with *outer = c->with;
  if (!p) return dml_no_memory(c->err);
  uint8_t conflict = c->in_trigger && c->trigger_conflict ? c->trigger_conflict : s->conflict;
  TRY(dml_program(c, &p->target, p, update_work, conflict));
  p->head.stop = update_stop;
  TRY(dml_find_target(c, &s->table, ST_UPDATE, NULL, &p->target));
  if (s->order_by && !s->limit) return error_set(c->err, HDB_ERROR, "ORDER BY without LIMIT on UPDATE");
  TRY(check_from(c, s, &p->target));
  TRY(set_compile(c, p->target.t, p->target.database, s->set, &p->set));
  if (s->with) {
    s->with->outer = c->with;
    c->with = s->with;
  }
  row_request r = {.target = &p->target, .name = &s->table, .from = s->from, .where = s->where, .order_by = s->order_by,
                   .limit = s->limit, .offset = s->offset, .extra = s->from ? p->set.list : NULL};
  status rc = HDB_OK;
  CHECK(dml_lone_source(c, &s->table, &p->target, &lone, &p->old_slot));
  r.lone = lone;
  if (!s->from) CHECK(update_values(c, p, lone));
  CHECK(row_search_compile(c, &r, &p->search));
  p->head.explained = p->search.q;
  p->head.explained_line = p->search.explained;
  CHECK(update_writer(c, p, s, conflict));
  p->search.keep_records = !writer_touches_others(p->w);
  p->search.not_in_place = !p->search.keep_records || p->w->returning || p->set.rowid_changed || tree_has_query(s->where) ||
                           walked_index_affected(p);
  CHECK(dml_count_changes(c, &p->head, "rows updated"));
out:
  c->with = outer;
  return rc;
}
