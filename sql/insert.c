/* INSERT: rows from one VALUES row, from a query, or all defaults, into a table or through a view's INSTEAD OF triggers.
 *
 * One VALUES row is evaluated directly. A query's rows go in as they come, unless it reads the target or triggers
 * might change what it reads: then it is read to its end first. Columns not named have their default.
 */
#include "sql/dml.h"
#include "sql/virtual.h"
#include "sql/vector_access.h"

#include <strings.h>

typedef struct insert_program {
  dml_statement head;
  dml_target target;
  writer *w;
  int n;                   /* values a row */
  int *to;                 /* by value: table column, TO_ROWID */
  bool *given;             /* by table column */
  expr_program **defaults; /* by table column */
  int rowid_value;         /* which value is the row id, -1 none */
  bool one_row;            /* VALUES of one row, or DEFAULT VALUES */
  expr_program *row;
  int first;
  query *q;
  bool spooled;
} insert_program;
enum { TO_ROWID = -1, TO_NOWHERE = -2 };

/* ---- columns ---- */
static int count_insertable(const table *t) {
  int n = 0;
  for (int k = 0; k < t->columns_n; k++) n += !t->columns[k].generated && !t->columns[k].hidden;
  return n;
}

static status map_all(compile *c, insert_program *p) {
  const table *t = p->target.t;
  p->n = count_insertable(t);
  p->to = arena_zero(c->memory, ((size_t)p->n + 1) * sizeof *p->to);
  if (!p->to) return dml_no_memory(c->err);
  for (int k = 0, i = 0; k < t->columns_n; k++)
    if (!t->columns[k].generated && !t->columns[k].hidden) p->to[i++] = k;
  return HDB_OK;
}

static status map_named(compile *c, insert_program *p, const name_list *names) {
  const table *t = p->target.t;
  p->n = names->n;
  p->to = arena_zero(c->memory, ((size_t)p->n + 1) * sizeof *p->to);
  if (!p->to) return dml_no_memory(c->err);
  for (int i = 0; i < names->n; i++) {
    const char *name = names->items[i].name;
    int k = table_column(t, name);
    if (k >= 0 && t->columns[k].generated)
      return error_set(c->err, HDB_ERROR, "cannot INSERT into generated column \"%s\"", t->columns[k].name);
    if (k < 0 && is_rowid_name(name) && !t->without_rowid)
      k = TO_ROWID;
    else if (k < 0)
      return error_set(c->err, HDB_ERROR, "table %s has no column named %s", t->name, name);
    p->to[i] = k;
  }
  return HDB_OK;
}

static status map_columns(compile *c, insert_program *p, const name_list *names) {
  const table *t = p->target.t;
  TRY(names ? map_named(c, p, names) : map_all(c, p));
  p->given = arena_zero(c->memory, (size_t)t->columns_n + 1);
  p->defaults = arena_zero(c->memory, ((size_t)t->columns_n + 1) * sizeof *p->defaults);
  if (!p->given || !p->defaults) return dml_no_memory(c->err);
  p->rowid_value = -1;
  for (int i = 0; i < p->n; i++) { /* a row id named twice takes the last value, a column the first */
    if (p->to[i] == TO_ROWID || (p->to[i] == t->rowid_column && !t->without_rowid)) p->rowid_value = i;
    if (p->to[i] >= 0) p->given[p->to[i]] = true;
  }
  return HDB_OK;
}

static status defaults_compile(compile *c, insert_program *p, bool all) {
  const table *t = p->target.t;
  for (int k = 0; k < t->columns_n; k++)
    if ((all || !p->given[k]) && !t->columns[k].generated)
      TRY(write_default_compile(c, t, k, &p->defaults[k]));
  return HDB_OK;
}

static status check_count(compile *c, const insert_program *p, const insert_statement *s, int values) {
  if (values == p->n) return HDB_OK;
  if (s->columns) return error_set(c->err, HDB_ERROR, "%d values for %d columns", values, p->n);
  return error_set(c->err, HDB_ERROR, "table %s has %d columns but %d values were supplied", s->table.name,
                   p->n, values);
}

/* INSERT INTO a SELECT * FROM b, both with the same generated columns: their values are left out. */
static status map_whole_row(compile *c, insert_program *p, const insert_statement *s) {
  const select *q = s->select;
  const table *t = p->target.t;
  if (s->columns || !t->has_generated || q->prior || q->is_values || q->distinct || q->where || q->group_by ||
      q->limit || !q->from || q->from->n != 1 || !q->from->items[0].table ||
      query_columns(p->q) != t->columns_n)
    return HDB_OK;
  const table *from = q->from->items[0].table;
  if (from->columns_n != t->columns_n || from->kind != TABLE_ORDINARY) return HDB_OK;
  for (int k = 0; k < t->columns_n; k++)
    if (from->columns[k].generated != t->columns[k].generated) return HDB_OK;
  p->n = t->columns_n;
  p->to = arena_zero(c->memory, ((size_t)p->n + 1) * sizeof *p->to);
  if (!p->to) return dml_no_memory(c->err);
  for (int k = 0; k < p->n; k++) p->to[k] = t->columns[k].generated ? TO_NOWHERE : k;
  if (p->rowid_value >= 0) p->rowid_value = t->rowid_column;
  return HDB_OK;
}

/* ---- where rows come from ---- */
static bool is_one_row(const select *s) {
  return s->is_values && s->values_n == 1 && !s->prior && !s->with && !s->order_by && !s->limit;
}

/* Does the query read the table somewhere? */
static bool list_reads(const source_list *list, const table *t);
typedef struct reads {
  const table *t;
  bool found;
} reads;
static bool select_reads(const select *s, const table *t);

static bool expr_reads(void *context, expr *e) {
  reads *r = context;
  if (e->select && select_reads(e->select, r->t)) r->found = true;
  if (e->source && list_reads(e->source, r->t)) r->found = true;
  return !r->found;
}

static bool any_expr_reads(const expr_list *list, const table *t) {
  reads r = {t, false};
  for (int i = 0; list && i < list->n && !r.found; i++) ast_walk(list->items[i].e, false, expr_reads, &r);
  return r.found;
}

static bool expr_reads_table(expr *e, const table *t) {
  reads r = {t, false};
  if (e) ast_walk(e, false, expr_reads, &r);
  return r.found;
}

static bool list_reads(const source_list *list, const table *t) {
  for (int i = 0; list && i < list->n; i++) {
    const source *s = &list->items[i];
    if (s->table == t || (s->select && select_reads(s->select, t)) || list_reads(s->nested, t)) return true;
    if (s->cte && s->cte->select != s->select && !s->is_recursive && select_reads(s->cte->select, t))
      return true;
    if (expr_reads_table(s->on, t) || any_expr_reads(s->arguments, t)) return true;
  }
  return false;
}

static bool select_reads(const select *s, const table *t) {
  for (; s; s = s->prior) {
    if (list_reads(s->from, t) || any_expr_reads(s->columns, t) || expr_reads_table(s->where, t) ||
        expr_reads_table(s->having, t) || any_expr_reads(s->order_by, t) || any_expr_reads(s->group_by, t))
      return true;
    for (int i = 1; i < s->values_n; i++)
      if (any_expr_reads(s->values[i], t)) return true;
  }
  return false;
}

static status source_compile(compile *c, insert_program *p, insert_statement *s) {
  if (s->default_values) {
    p->one_row = true;
    return HDB_OK;
  }
  if (is_one_row(s->select)) { /* an aggregate or window call is a mistake here */
    scope sc = {.allow = ALLOW_ALL & ~(ALLOW_AGGREGATE | ALLOW_WINDOW), .excluded_slot = -1};
    p->one_row = true;
    TRY(resolve_list(c, &sc, s->select->columns));
    TRY(check_count(c, p, s, s->select->columns->n));
    return expr_compile_list(c, s->select->columns, &p->row, &p->first);
  }
  TRY(plan_query(c, s->select, NULL, &p->q));
  p->head.explained = p->q;
  TRY(map_whole_row(c, p, s));
  TRY(check_count(c, p, s, query_columns(p->q)));
  p->spooled = p->w->before.n || p->w->after.n || select_reads(s->select, p->target.t);
  return HDB_OK;
}

/* ---- run ---- */
static status fill_defaults(exec *x, const insert_program *p, writer_run *r) {
  const table *t = p->target.t;
  for (int k = 0; k < t->columns_n; k++) {
    if (p->given[k]) continue;
    r->values[k] = value_null();
    if (!p->defaults[k]) continue;
    const value *v;
    TRY(expr_eval(x, p->defaults[k], &v));
    TRY(dml_failed(x, value_copy(&x->memory, v, &r->values[k])));
  }
  return HDB_OK;
}

static status insert_values(exec *x, const insert_program *p, const value *row) {
  writer_run *r = writer_run_of(x, p->w);
  if (!r) return x->err->code;
  TRY(fill_defaults(x, p, r));
  for (int i = p->n - 1; row && i >= 0; i--)
    if (p->to[i] >= 0) r->values[p->to[i]] = row[i];
  const value *rowid = row && p->rowid_value >= 0 ? &row[p->rowid_value] : NULL;
  bool written;
  if (p->target.t->kind == TABLE_VIRTUAL) {
    virtual_change change = {.values = r->values,
                             .rowid = rowid && rowid->type != VAL_NULL ? rowid : NULL,
                             .conflict = p->w->conflict};
    return virtual_write(x, p->target.database, p->target.t, &change, true);
  }
  if (p->target.t->kind != TABLE_VIEW) return writer_insert(x, p->w, rowid, &written);
  slot *s = &x->slots[p->w->new_slot];
  slot_set_values(s, r->values, true, -1);
  status rc = trigger_fire(x, p->w->root, &p->w->before, NULL, s);
  if (rc == EXEC_IGNORE) return HDB_OK;
  TRY(rc);
  return p->w->returning ? returning_add(x, p->w->returning) : HDB_OK;
}

static status insert_default_values(exec *x, const insert_program *p) {
  writer_run *r = writer_run_of(x, p->w);
  bool written;
  if (!r) return x->err->code;
  memset(p->given, 0, (size_t)p->target.t->columns_n);
  if (p->target.t->kind == TABLE_VIEW || p->target.t->kind == TABLE_VIRTUAL) return insert_values(x, p, NULL);
  TRY(fill_defaults(x, p, r));
  return writer_insert(x, p->w, NULL, &written);
}

static status insert_streaming(exec *x, const insert_program *p) {
  const value *row;
  TRY(query_open(x, p->q));
  status rc;
  while ((rc = query_next(x, p->q, &row)) == HDB_ROW) {
    rc = insert_values(x, p, row);
    if (rc == HDB_OK) rc = exec_tick(x);
    if (rc != HDB_OK) break;
  }
  query_close(x, p->q);
  return rc == HDB_DONE ? HDB_OK : rc;
}

static status insert_spooled(exec *x, const insert_program *p) {
  const value *row;
  spool *rows = spool_new(x, p->n);
  if (!rows) return dml_no_memory(x->err);
  status rc = query_open(x, p->q);
  while (rc == HDB_OK && (rc = query_next(x, p->q, &row)) == HDB_ROW) rc = spool_add(rows, row);
  query_close(x, p->q);
  if (rc == HDB_DONE) rc = spool_rewind(rows);
  arena_mark mark = arena_save(&x->memory);
  while (rc == HDB_OK && (rc = spool_next(rows, &row)) == HDB_ROW) {
    rc = insert_values(x, p, row);
    arena_rewind(&x->memory, mark);
    if (rc == HDB_OK) rc = exec_tick(x);
  }
  spool_free(rows);
  return rc == HDB_DONE ? HDB_OK : rc;
}

static status insert_work(exec *x, void *self) {
  const insert_program *p = self;
  TRY(sequence_begin(x, p->w));
  if (p->one_row && !p->row) return insert_default_values(x, p);
  if (p->one_row) {
    TRY(expr_eval_list(x, p->row));
    return insert_values(x, p, &x->registers[p->first]);
  }
  return p->spooled ? insert_spooled(x, p) : insert_streaming(x, p);
}

/* ---- compile ---- */
static bool is_single_row(compile *c, const insert_program *p, const insert_statement *s) {
  const table *t = p->target.catalog;
  return !c->parent && !s->returning && (s->default_values || is_one_row(s->select)) &&
         !trigger_exists(c, t, p->target.database, ST_INSERT, TRIGGER_BEFORE) &&
         !trigger_exists(c, t, p->target.database, ST_INSERT, TRIGGER_AFTER);
}

static status insert_writer(compile *c, insert_program *p, insert_statement *s, uint8_t conflict) {
  writer_request r = {.t = p->target.t,
                      .database = p->target.database,
                      .use = WRITER_INSERT,
                      .conflict = conflict,
                      .new_slot = -1,
                      .old_slot = -1,
                      .single_row = is_single_row(c, p, s),
                      .rowid_given = p->rowid_value >= 0};
  for (const upsert *u = s->upserts; u; u = u->next) {
    r.never_replaces = r.never_replaces || !u->target;
  }
  if (r.t->kind == TABLE_VIRTUAL && s->upserts)
    return error_set(c->err, HDB_ERROR, "UPSERT not implemented for virtual table \"%s\"", r.t->name);
  if (r.t->kind == TABLE_VIRTUAL && s->returning)
    return error_set(c->err, HDB_ERROR, "RETURNING is not available on virtual tables");
  if (s->upserts && r.t->kind != TABLE_VIEW) TRY(upsert_check_targets(c, s, r.t));
  TRY(writer_make(c, &r, &p->w));
  if (p->target.t->kind == TABLE_VIEW)
    TRY(trigger_list_compile(c, p->target.catalog, r.t, r.database, ST_INSERT, TRIGGER_INSTEAD, NULL,
                             conflict, &p->w->before));
  if (s->upserts) TRY(upsert_compile(c, s, &p->target, p->w));
  if (p->w->keys && r.single_row && (r.never_replaces || !writer_may_replace(p->w)) &&
      upserts_are_simple(p->w))
    fkey_fail_at_once(p->w->keys);
  return returning_compile(c, s->returning, r.t, p->w->new_slot, &p->w->returning);
}

status compile_insert(compile *c, insert_statement *s) {
  insert_program *p = arena_zero(c->memory, sizeof *p);
  with *outer = c->with;
  bool ignore;
  if (!p) return dml_no_memory(c->err);
  if (c->slots_n == 0) compile_slot(c, 0); /* an excluded row's slot is never 0 */
  uint8_t conflict = c->in_trigger && c->trigger_conflict ? c->trigger_conflict : s->conflict;
  TRY(dml_program(c, &p->target, p, insert_work, conflict));
  TRY(dml_find_target(c, &s->table, ST_INSERT, NULL, &p->target));
  TRY(compile_authorize(c, HDB_INSERT, p->target.t->name, NULL, p->target.database, &ignore));
  if (s->with) {
    s->with->outer = c->with;
    c->with = s->with;
  }
  status rc = HDB_OK;
  CHECK(map_columns(c, p, s->columns));
  CHECK(insert_writer(c, p, s, conflict));
  CHECK(source_compile(c, p, s));
  CHECK(defaults_compile(c, p, s->default_values));
  CHECK(dml_count_changes(c, &p->head, "rows inserted"));
  if (c->db->databases[p->target.database].engine)
    vector_index_expect(c->db->databases[p->target.database].engine, p->target.t);
out:
  c->with = outer;
  return rc;
}
