/* What INSERT, UPDATE and DELETE have in common: the target, the run of the statement, sequences.
 *
 * A statement's program starts by `work`, which does everything; RETURNING rows wait in the exec (rows.c). When the
 * outermost statement's work is done, immediate foreign keys must hold again and sequences are stored. Nested
 * statements (trigger steps) use the outermost one's dml_run. Can fail: memory, the store, constraints.
 */
#include "sql/dml.h"
#include "sql/virtual.h"

#include <stdlib.h>
#include <strings.h>

#include "kv/base/key.h"

status dml_no_memory(error *err) { return error_set(err, HDB_NOMEM, "out of memory"); }

status dml_failed(exec *x, status rc) {
  if (rc == HDB_OK || rc == HDB_ROW || rc == HDB_DONE) return rc;
  return error_set(x->err, rc, "%s", status_text(rc));
}

status dml_constraint(exec *x, uint8_t action, status code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  error_setv(x->err, code, format, arguments);
  va_end(arguments);
  exec_outermost(x)->error_action = action;
  return code;
}

/* ---- compile time ---- */
dml_root *dml_root_of(compile *c) {
  while (c->parent) c = c->parent;
  if (c->dml) return c->dml;
  dml_root *root = arena_zero(c->memory, sizeof *root);
  if (!root) {
    dml_no_memory(c->err);
    return NULL;
  }
  root->state = compile_state(c);
  return c->dml = root;
}

static bool has_instead_trigger(compile *c, const dml_target *t, uint8_t event) {
  return trigger_exists(c, t->catalog, t->database, event, TRIGGER_INSTEAD);
}

/* A view's columns are known once its query is opened. */
static status view_shape(compile *c, const qualified_name *name, dml_target *out) {
  source_list list = {1, 1, arena_zero(c->memory, sizeof(source))};
  if (!list.items) return dml_no_memory(c->err);
  list.items->schema = name->schema, list.items->name = name->name, list.items->offset = name->offset;
  TRY(resolve_from(c, &list, NULL));
  out->t = list.items->table;
  return HDB_OK;
}

status dml_find_target(compile *c, const qualified_name *name, uint8_t event, const name_list *changes, dml_target *out) {
  (void)changes;
  const char *schema_name = name->schema ? name->schema : c->fixed_schema;
  out->t = out->catalog = catalog_table(c->db, schema_name, name->name, &out->database);
  if (!out->t) {
    if (schema_name) return error_set(c->err, HDB_ERROR, "no such table: %s.%s", schema_name, name->name);
    return error_set(c->err, HDB_ERROR, "no such table: %s", name->name);
  }
  const table *t = out->t;
  if (t->kind == TABLE_SCHEMA && !c->db->pragmas.writable_schema)
    return error_set(c->err, HDB_ERROR, "table %s may not be modified", t->name);
  if (t->kind == TABLE_VIRTUAL && !t->module)
    return error_set(c->err, HDB_ERROR, "%s", t->declaration_error ? t->declaration_error : "no such module");
  if (t->kind == TABLE_VIRTUAL && (!virtual_kind_of(t) || !virtual_kind_of(t)->change))
    return error_set(c->err, HDB_ERROR, "table %s may not be modified", t->name);
  if (t->kind == TABLE_VIEW && !has_instead_trigger(c, out, event))
    return error_set(c->err, HDB_ERROR, "cannot modify %s because it is a view", t->name);
  if (t->kind == TABLE_VIEW) TRY(resolve_view_columns(c->db, (table *)out->t, out->database, c->err));
  compile_writes(c, out->database);
  compile_reads(c, out->database);
  for (compile *p = c->parent; p; p = p->parent) compile_writes(p, out->database), compile_reads(p, out->database);
  return t->kind == TABLE_VIEW ? view_shape(c, name, out) : HDB_OK;
}

status dml_lone_source(compile *c, const qualified_name *name, const dml_target *target, source_list **out, int *slot) {
  source_list *list = arena_zero(c->memory, sizeof *list);
  source *s = list ? arena_zero(c->memory, sizeof *s) : NULL;
  if (!s) return dml_no_memory(c->err);
  list->n = list->capacity = 1;
  list->items = s;
  s->schema = c->db->databases[target->database].name; /* not a CTE of the same name */
  s->name = name->name, s->alias = name->alias, s->offset = name->offset;
  TRY(resolve_from(c, list, NULL));
  compile_slot_columns(c, s->slot, target->t->columns_n);
  *slot = s->slot;
  *out = list;
  return HDB_OK;
}

expr *dml_name(arena *m, const char *table_name, const char *name) {
  expr *e = ast_expr(m, table_name ? EX_DOT : EX_ID, NULL, NULL);
  if (!e) return NULL;
  e->text = name;
  e->text_n = (uint32_t)strlen(name);
  e->table = table_name;
  e->quoted_name = true;
  return e;
}

status dml_resolve(compile *c, const table *t, int slot, const char *place, unsigned allow, expr **e) {
  scope s = {.table = t, .slot = slot, .place = place, .allow = allow, .excluded_slot = -1};
  return resolve_expr(c, &s, e);
}

status dml_column_program(compile *c, const table *t, int slot, int column_number, expr_program **out) {
  expr *e = dml_name(c->memory, NULL, t->columns[column_number].name);
  if (!e) return dml_no_memory(c->err);
  TRY(dml_resolve(c, t, slot, NULL, 0, &e));
  return expr_compile(c, e, out);
}

status dml_resolve_terms(compile *c, const table *t, int slot, expr_list *list, expr **where) {
  scope s = {.table = t, .slot = slot, .allow = ALLOW_DQS, .excluded_slot = -1};
  TRY(resolve_list(c, &s, list));
  return where ? resolve_expr(c, &s, where) : HDB_OK;
}

/* ---- run time ---- */
exec *dml_root_exec(exec *x) { return exec_outermost(x); }

static void run_release(exec_kept *k) {
  dml_run *run = (dml_run *)k;
  trigger_run_free(run);
  free(run);
}

static void run_forget(exec_kept *k, int database) { trigger_run_forget((dml_run *)k, database); }

dml_run *dml_run_of(exec *x, const dml_root *root) {
  exec *top = exec_outermost(x);
  dml_run *run = top->states[root->state];
  if (run) return run;
  run = (dml_run *)exec_kept_find(top, root);
  if (!run) {
    run = calloc(1, sizeof *run);
    if (!run) {
      dml_no_memory(x->err);
      return NULL;
    }
    run->root = root;
    run->kept.release = run_release;
    run->kept.forget = run_forget;
    exec_keep(top, &run->kept, root);
  }
  run->violations = run->upserted = 0;
  run->sequences = NULL;
  top->states[root->state] = run;
  return run;
}

static status dml_start(exec *x) {
  const dml_statement *d = x->program->data;
  dml_run *run = dml_run_of(x, d->root);
  if (!run) return HDB_NOMEM;
  status rc = d->work(x, x->program->data);
  if (x->parent) return rc;
  if (rc != HDB_OK && (x->error_action != CONFLICT_FAIL || run->violations <= 0)) return rc; /* FAIL keeps its rows: are they right? */
  if (run->violations > 0)
    return dml_constraint(x, CONFLICT_ABORT, HDB_CONSTRAINT_FOREIGNKEY, "FOREIGN KEY constraint failed");
  TRY(sequences_store(x, run));
  if (!d->counts_changes) return HDB_OK;
  value changes = value_int(x->changes - run->upserted);
  return rows_add(x, &changes, 1);
}

/* PRAGMA count_changes: the statement's only row says how many. */
status dml_count_changes(compile *c, dml_statement *d, const char *name) {
  program *p = c->program;
  if (!c->db->pragmas.count_changes || c->parent || p->columns_n) return HDB_OK;
  d->counts_changes = true;
  p->columns = arena_zero(c->memory, sizeof *p->columns);
  if (!p->columns) return dml_no_memory(c->err);
  p->columns->name = name;
  p->columns_n = 1;
  return HDB_OK;
}

static void dml_stop(exec *x) {
  const dml_statement *d = x->program->data;
  if (d->stop) d->stop(x, x->program->data);
}

static void dml_destroy(program *p) {
  const dml_statement *d = p->data;
  if (d && d->root) trigger_programs_destroy(d->root);
}

static status dml_explain(const program *p, exec *x, explain_visitor visit, void *context) {
  const dml_statement *d = p->data;
  if (d->explained) return query_explain(d->explained, x, visit, context);
  return d->explained_line ? visit(context, 2, 0, d->explained_line) : HDB_OK;
}

status dml_program(compile *c, const dml_target *target, void *data, status (*work)(exec *x, void *self), uint8_t conflict) {
  program *p = c->program;
  dml_statement *d = data;
  d->work = work;
  d->root = dml_root_of(c);
  if (!d->root) return HDB_NOMEM;
  p->data = data;
  p->start = dml_start;
  p->next = rows_next;
  p->stop = dml_stop;
  p->explain = dml_explain;
  if (!c->parent) p->destroy = dml_destroy;
  p->is_dml = true;
  p->on_error = conflict ? conflict : CONFLICT_ABORT;
  (void)target;
  return HDB_OK;
}

/* ---- AUTOINCREMENT ---- */
static status sequence_load(exec *x, const writer *w, sequence *s) {
  int database = w->database;
  table *t = catalog_table(x->db, x->db->databases[database].name, "sqlite_sequence", &database);
  if (!t) return HDB_OK;
  cursor *c;
  txn *own = x->db->databases[database].txn;
  TRY(dml_failed(x, cursor_open(own, t->tree, 0, &c)));
  size_t n = strlen(w->t->name);
  txn_watch_reads(own, false);
  for (cursor_first(c); c->valid && !s->rowid; cursor_next(c)) {
    uint8_t type;
    slice payload;
    if (c->key.n != 8 || !record_column(c->value, 0, &type, &payload)) continue;
    value v = value_read(type, payload.p, payload.n);
    if (v.type != VAL_TEXT || v.n != n || memcmp(v.p, w->t->name, n) != 0) continue;
    s->rowid = rowid_decode(c->key.p);
    if (!record_column(c->value, 1, &type, &payload)) continue;
    v = value_read(type, payload.p, payload.n);
    s->last = value_to_int(&v);
  }
  status rc = c->error;
  cursor_close(c);
  txn_watch_reads(own, true);
  return dml_failed(x, rc);
}

/* Is the second column of a row of sqlite_sequence larger in `to`? */
static bool sequence_rises(slice from, slice to) {
  uint8_t type;
  slice payload;
  int64_t last[2];
  for (int i = 0; i < 2; i++) {
    slice record = i ? to : from;
    if (record_check(record) != HDB_OK || !record_column(record, 1, &type, &payload)) return i == 1;
    value v = value_read(type, payload.p, payload.n);
    last[i] = value_to_int(&v);
  }
  return last[1] > last[0];
}

static status sequence_of(exec *x, const writer *w, sequence **out) {
  dml_run *run = dml_run_of(x, w->root);
  if (!run) return HDB_NOMEM;
  for (sequence *s = run->sequences; s; s = s->next)
    if (s->owner == w->t) {
      *out = s;
      return HDB_OK;
    }
  sequence *s = arena_zero(&exec_outermost(x)->lifetime, sizeof *s);
  if (!s) return dml_no_memory(x->err);
  s->owner = w->t;
  s->database = w->database;
  TRY(sequence_load(x, w, s));
  s->changed = s->rowid == 0; /* a row from the first INSERT on, even of nothing */
  s->next = run->sequences;
  run->sequences = s;
  *out = s;
  return HDB_OK;
}

status sequence_begin(exec *x, const writer *w) {
  sequence *s;
  return w->t->autoincrement ? sequence_of(x, w, &s) : HDB_OK;
}

status sequence_next(exec *x, const writer *w, int64_t *rowid) {
  sequence *s;
  TRY(sequence_of(x, w, &s));
  if (s->last == INT64_MAX) return error_set(x->err, HDB_FULL, "database or disk is full");
  status rc = exec_new_rowid(x, w->database, w->t->tree, s->last, rowid);
  if (rc != HDB_OK) return error_set(x->err, rc, "%s", status_text(rc));
  return sequence_seen(x, w, *rowid);
}

status sequence_seen(exec *x, const writer *w, int64_t rowid) {
  sequence *s;
  TRY(sequence_of(x, w, &s));
  if (rowid <= s->last) return HDB_OK;
  s->last = rowid;
  s->changed = true;
  return HDB_OK;
}

static status sequence_store(exec *x, sequence *s) {
  int database = s->database;
  table *t = catalog_table(x->db, x->db->databases[database].name, "sqlite_sequence", &database);
  if (!t) return HDB_OK;
  txn *own = x->db->databases[database].txn;
  if (!s->rowid) { /* the first of this table: not beside another first one */
    TRY(dml_failed(x, txn_new_rowid(own, t->tree, INT64_MIN, &s->rowid)));
    TRY(dml_failed(x, txn_expect_unchanged(own, t->tree)));
  }
  value values[2] = {value_text(s->owner->name, strlen(s->owner->name)), value_int(s->last)};
  s->changed = false;
  return dml_failed(x, table_put_rising(x->db, database, t, s->rowid, values, sequence_rises));
}

status sequences_store(exec *x, dml_run *run) {
  for (sequence *s = run->sequences; s; s = s->next)
    if (s->changed) TRY(sequence_store(x, s));
  return HDB_OK;
}
