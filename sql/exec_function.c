/* Table-valued functions and virtual tables as sources: the module's cursor behind a slot.
 *
 * Columns are asked from the module when somebody reads them, once a row, and only those that the query names.
 */
#include "sql/exec_access.h"
#include "sql/virtual.h"

typedef struct function_state {
  void *cursor;
  value *arguments;
  int64_t row;
} function_state;

static void function_fetch(slot *slot, int column) {
  access_state *s = slot->owner;
  function_state *f = s->function;
  const virtual_module *m = s->a->module;
  for (int c = slot->decoded; c <= column; c++) {
    slot->own[c] = value_null();
    if (!(s->a->columns_used >> (c < 63 ? c : 63) & 1)) continue;
    status rc = m->column(s->x, f->cursor, c, &slot->own[c]);
    if (rc != HDB_OK) s->error = rc;
  }
  slot->decoded = column + 1;
}

static status set_row(access_state *s) {
  const virtual_module *m = s->a->module;
  function_state *f = s->function;
  slot *slot = s->slot;
  if (m->at_end(f->cursor)) return HDB_DONE;
  slot->columns = slot->own;
  slot->decoded = 0;
  slot->null_row = false;
  slot->has_rowid = true;
  slot->rowid = m->rowid ? m->rowid(f->cursor) : ++f->row;
  slot->fetch = function_fetch;
  slot->owner = s;
  s->row_at++;
  return HDB_ROW;
}

status function_open(access_state *s) {
  const access *a = s->a;
  const virtual_module *m = a->module;
  function_state *f = s->function;
  if (!f) {
    f = arena_zero(&s->x->lifetime, sizeof *f);
    if (!f || !(f->arguments = arena_zero(&s->x->lifetime, (size_t)(a->arguments_n + 1) * sizeof(value)))) return node_no_memory(s->x);
    TRY(m->open(s->x, a->table, &f->cursor));
    s->function = f;
  }
  for (int i = 0; i < a->arguments_n; i++) {
    const value *v;
    f->arguments[i] = value_null();
    if (!(a->arguments_given >> i & 1)) continue;
    TRY(operand_eval(s->x, &a->arguments[i], &v));
    f->arguments[i] = *v;
  }
  f->row = 0;
  s->row_at = 0;
  return m->filter(s->x, f->cursor, a->plan_number, a->plan_text, a->arguments_given, f->arguments, a->arguments_n);
}

status function_step(access_state *s) {
  const virtual_module *m = s->a->module;
  function_state *f = s->function;
  if (s->started) TRY(m->next(s->x, f->cursor));
  s->started = true;
  return set_row(s);
}

void function_release(access_state *s) {
  function_state *f = s->function;
  const virtual_module *m = s->a->module;
  if (f->cursor) m->close(f->cursor);
  f->cursor = NULL;
  s->function = NULL;
}
