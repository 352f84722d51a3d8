/* DELETE: the rows are found first (dml_rows.c), then each goes, with its triggers and foreign keys. Without WHERE, and
 * with nothing that must see each row, the table and its indexes are emptied at once.
 */
#include "sql/dml.h"
#include "sql/erase.h"
#include "sql/virtual.h"

enum { CLEAR_ROWS = 20000 };

typedef struct delete_program {
  dml_statement head;
  dml_target target;
  row_search search;
  int old_slot;
  writer *w;
  bool everything;
  bool top; /* the statement itself, not a trigger's */
} delete_program;

/* ---- all rows ---- */
static status count_rows(exec *x, txn *t, uint32_t tree, int64_t *rows) {
  status rc = txn_count(t, tree, rows);
  if (rc != HDB_NOTFOUND) return dml_failed(x, rc);
  cursor *c;
  *rows = 0;
  TRY(dml_failed(x, cursor_open(t, tree, 0, &c)));
  for (cursor_first(c); c->valid; cursor_next(c)) ++*rows;
  rc = c->error;
  cursor_close(c);
  return dml_failed(x, rc);
}

static status clear_table(exec *x, const delete_program *p) {
  txn *t = x->db->databases[p->target.database].txn;
  int64_t rows;
  TRY(count_rows(x, t, p->target.t->tree, &rows));
  TRY(dml_failed(x, txn_clear(t, p->target.t->tree)));
  for (const index_ *i = p->target.t->indexes; i; i = i->next)
    if (!i->is_primary) TRY(dml_failed(x, txn_clear(t, i->tree)));
  x->changes += rows;
  return HDB_OK;
}

/* ---- row by row ---- */
static status delete_from_view(exec *x, const delete_program *p, const value *row) {
  slot *old = &x->slots[p->old_slot];
  slot_set_values(old, (value *)row, false, 0);
  status rc = trigger_fire(x, p->w->root, &p->w->before, old, NULL);
  if (rc == EXEC_IGNORE) return HDB_OK;
  TRY(rc);
  return p->w->returning ? returning_add(x, p->w->returning) : HDB_OK;
}

static status delete_rows(exec *x, const delete_program *p) {
  found_row row = {0};
  status rc;
  writer_run *r = writer_run_of(x, p->w);
  if (!r) return x->err->code;
  while ((rc = row_search_next(x, &p->search, &row)) == HDB_ROW) {
    arena_mark mark = arena_save(&x->memory);
    bool found = true, written = false;
    if (p->target.t->kind == TABLE_VIRTUAL) {
      int64_t rowid = row.row[0].i;
      virtual_change change = {.old = &rowid};
      TRY(virtual_write(x, p->target.database, p->target.t, &change, true));
    } else if (p->target.t->kind == TABLE_VIEW) {
      TRY(delete_from_view(x, p, row.row));
    } else {
      TRY(row_search_read(x, &p->search, r->table, p->old_slot, &row, &found));
      if (found) TRY(writer_delete(x, p->w, &row.stored, &written));
      if (found && written && p->top && x->db->erasing) TRY(dml_failed(x, erase_note(x->db->erasing, row.stored.key)));
    }
    arena_rewind(&x->memory, mark);
    TRY(exec_tick(x));
  }
  return rc == HDB_DONE ? HDB_OK : rc;
}

/* An emptied table conflicts with whatever others write to it, be it rows that it never had: with others about only when
 * it is too large for row by row. */
static bool may_clear(exec *x, const delete_program *p) {
  hdb *db = x->db;
  const database *d = &db->databases[p->target.database];
  int64_t rows, bytes;
  if (db->update_hook) return false;
  if (d->is_memory && !d->shared) return true;
  if ((db->autocommit || db->begin_mode == 1 || db->begin_mode == 2) && txn_is_alone(d->txn)) return true;
  txn_estimate(d->txn, p->target.t->tree, &rows, &bytes);
  return rows > CLEAR_ROWS;
}

static status delete_work(exec *x, void *self) {
  const delete_program *p = self;
  if (p->everything && !x->db->erasing && may_clear(x, p)) return clear_table(x, p);
  TRY(row_search_start(x, &p->search));
  return delete_rows(x, p);
}

static void delete_stop(exec *x, void *self) {
  const delete_program *p = self;
  row_search_stop(x, &p->search);
}

static status delete_writer(compile *c, delete_program *p, const delete_statement *s) {
  writer_request r = {.t = p->target.t, .database = p->target.database, .use = WRITER_DELETE, .new_slot = -1,
                      .old_slot = p->old_slot, .conflict = CONFLICT_NONE}; /* not the outer statement's OR clause: as SQLite */
  if (r.t->kind == TABLE_VIRTUAL && s->returning) return error_set(c->err, HDB_ERROR, "RETURNING is not available on virtual tables");
  TRY(writer_make(c, &r, &p->w));
  if (r.t->kind == TABLE_VIEW)
    TRY(trigger_list_compile(c, p->target.catalog, r.t, r.database, ST_DELETE, TRIGGER_INSTEAD, NULL, r.conflict, &p->w->before));
  return returning_compile(c, s->returning, r.t, p->old_slot, &p->w->returning);
}

status compile_delete(compile *c, delete_statement *s) {
  delete_program *p = arena_zero(c->memory, sizeof *p);
  with *outer = c->with;
  bool ignore = false;
  if (!p) return dml_no_memory(c->err);
  p->top = !c->parent;
  TRY(dml_program(c, &p->target, p, delete_work, CONFLICT_NONE));
  p->head.stop = delete_stop;
  TRY(dml_find_target(c, &s->table, ST_DELETE, NULL, &p->target));
  if (s->order_by && !s->limit) return error_set(c->err, HDB_ERROR, "ORDER BY without LIMIT on DELETE");
  TRY(compile_authorize(c, HDB_DELETE, p->target.t->name, NULL, p->target.database, &ignore));
  if (s->with) {
    s->with->outer = c->with;
    c->with = s->with;
  }
  source_list *lone;
  row_request r = {.target = &p->target, .name = &s->table, .where = s->where, .order_by = s->order_by,
                   .limit = s->limit, .offset = s->offset};
  status rc = HDB_OK;
  CHECK(dml_lone_source(c, &s->table, &p->target, &lone, &p->old_slot));
  r.lone = lone;
  CHECK(row_search_compile(c, &r, &p->search));
  p->head.explained = p->search.q;
  p->head.explained_line = p->search.explained;
  CHECK(delete_writer(c, p, s));
  p->search.keep_records = !writer_touches_others(p->w);
  p->search.not_in_place = !p->search.keep_records || p->w->returning || tree_has_query(s->where);
  CHECK(dml_count_changes(c, &p->head, "rows deleted"));
  p->everything = !s->where && !s->limit && !s->returning && !ignore && !p->w->before.n && !p->w->after.n && !p->w->keys &&
                  p->target.t->kind == TABLE_ORDINARY;
out:
  c->with = outer;
  return rc;
}
