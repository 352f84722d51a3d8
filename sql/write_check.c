/* What a row must satisfy before it is stored: affinity and STRICT's types, generated columns, NOT NULL, CHECK, UNIQUE.
 *
 * K1  Whose action decides: the statement's OR clause, else the constraint's ON CONFLICT, else ABORT. CHECK knows the
 *     statement's only, and REPLACE means ABORT there.
 * K2  In an UPDATE a CHECK is looked at only if it reads a column that is set.
 * K3  Stored generated columns are computed in the order of their dependence.
 * K4  After REPLACE has deleted rows whose triggers or foreign keys did something, everything is looked up once more.
 */
#include "sql/vector.h"
#include "sql/dml.h"
#include "sql/violation.h"
#include "sql/describe.h"
#include "sql/pg_enum.h"

#include <strings.h>

/* ---- compile ---- */

/* DEFAULT word is TRUE, FALSE or the word as text. */
static expr *default_tree(compile *c, const column *k) {
  expr *e = ast_copy_expr(c->memory, k->default_value);
  if (!e || e->op != EX_ID) return e;
  bool yes = !e->quoted_name && strcasecmp(e->text, "true") == 0, no = !e->quoted_name && strcasecmp(e->text, "false") == 0;
  e->op = yes || no ? EX_INT : EX_TEXT;
  if (yes || no) e->i = yes;
  else e->text_n = (uint32_t)strlen(e->text);
  return e;
}

status write_default_compile(compile *c, const table *t, int column_number, expr_program **out) {
  *out = NULL;
  if (!t->columns[column_number].default_value) return HDB_OK;
  expr *e = default_tree(c, &t->columns[column_number]);
  if (!e) return dml_no_memory(c->err);
  uint32_t type = t->columns[column_number].pg_type;
  if (type && c->db->pragmas.zone) TRY(pg_coerce_default(c->db, c->memory, e, type, c->err));
  scope s = {.allow = ALLOW_NONDETERMINISTIC | ALLOW_DQS, .place = "a DEFAULT", .excluded_slot = -1};
  TRY(resolve_expr(c, &s, &e));
  return expr_compile(c, e, out);
}

static status compile_checks(compile *c, writer *w) {
  const table *t = w->t;
  if (!t->checks_n || c->db->pragmas.ignore_check_constraints) return HDB_OK;
  w->checks = arena_zero(c->memory, (size_t)t->checks_n * sizeof *w->checks);
  if (!w->checks) return dml_no_memory(c->err);
  for (int i = 0; i < t->checks_n; i++) {
    expr *e = ast_copy_expr(c->memory, t->checks[i].e);
    if (!e) return dml_no_memory(c->err);
    TRY(dml_resolve(c, t, w->new_slot, "CHECK constraints", ALLOW_DQS, &e));
    if (w->changed) { /* K2 */
      uint64_t *uses = column_uses(c, t, w->new_slot, e, NULL);
      if (!uses) return dml_no_memory(c->err);
      bool reads = w->rowid_changed && (uses[t->columns_n / 64] >> (t->columns_n % 64) & 1);
      for (int k = 0; k < t->columns_n && !reads; k++) reads = w->changed[k] && (uses[k / 64] >> (k % 64) & 1);
      if (!reads) continue;
    }
    write_check *check = &w->checks[w->checks_n++];
    check->name = t->checks[i].name;
    check->number = i;
    TRY(expr_compile_condition(c, e, &check->condition));
  }
  return HDB_OK;
}

static void order_generated(const table *t, uint64_t *const *uses, bool *done, int column_number, writer *w) {
  if (done[column_number]) return;
  done[column_number] = true;
  for (int k = 0; k < t->columns_n; k++)
    if (k != column_number && t->columns[k].generated && (uses[column_number][k / 64] >> (k % 64) & 1))
      order_generated(t, uses, done, k, w);
  if (t->columns[column_number].generated == 2) w->generated_order[w->generated_n++] = column_number;
}

typedef struct names_read {
  const table *t;
  uint64_t *bits;
} names_read;

static bool note_name(void *context, expr *e) {
  const names_read *n = context;
  int k = e->op == EX_ID || e->op == EX_DOT ? table_column(n->t, e->text) : -1;
  if (k >= 0) n->bits[k / 64] |= (uint64_t)1 << (k % 64);
  return true;
}

/* A date function may be asked for 'now', which a generated column must not: its value is computed with every row,
 * though nobody reads it, so that the error comes. */
typedef struct now_search {
  compile *c;
  bool found;
} now_search;
static bool note_now(void *context, expr *e) {
  now_search *s = context;
  const function *f = e->op == EX_FUNCTION && e->text ? function_find(s->c->db, e->text, e->list ? e->list->n : 0, NULL) : NULL;
  if (f && f->flags & FUNC_STATEMENT_CONSTANT) s->found = true;
  return !s->found;
}
static bool asks_for_now(compile *c, expr *e) {
  now_search s = {c, false};
  ast_walk(e, false, note_now, &s);
  return s.found;
}

static status compile_generated(compile *c, writer *w) { /* K3 */
  const table *t = w->t;
  if (!t->has_generated) return HDB_OK;
  size_t n = (size_t)t->columns_n;
  w->generated = arena_zero(c->memory, n * sizeof *w->generated);
  w->generated_order = arena_zero(c->memory, n * sizeof *w->generated_order);
  uint64_t **uses = arena_zero(c->memory, n * sizeof *uses);
  bool *done = arena_zero(c->memory, n);
  if (!w->generated || !w->generated_order || !uses || !done) return dml_no_memory(c->err);
  for (int k = 0; k < t->columns_n; k++) {
    if (!t->columns[k].generated) continue;
    names_read names = {t, arena_zero(c->memory, (n / 64 + 1) * sizeof(uint64_t))};
    if (!names.bits) return dml_no_memory(c->err);
    ast_walk(t->columns[k].generation, false, note_name, &names);
    uses[k] = names.bits;
    if (t->columns[k].generated != 2 && !t->columns[k].not_null && !asks_for_now(c, t->columns[k].generation)) continue;
    expr *e = ast_copy_expr(c->memory, t->columns[k].generation);
    if (!e) return dml_no_memory(c->err);
    TRY(dml_resolve(c, t, w->new_slot, "generated columns", ALLOW_DQS, &e));
    TRY(expr_compile(c, e, &w->generated[k]));
  }
  for (int k = 0; k < t->columns_n; k++)
    if (t->columns[k].generated) order_generated(t, uses, done, k, w);
  return HDB_OK;
}

static status compile_not_null(compile *c, writer *w) {
  const table *t = w->t;
  w->defaults = arena_zero(c->memory, ((size_t)t->columns_n + 1) * sizeof *w->defaults);
  if (!w->defaults) return dml_no_memory(c->err);
  for (int k = 0; k < t->columns_n; k++) {
    uint8_t action = w->conflict ? w->conflict : t->columns[k].not_null;
    if (t->columns[k].not_null && action == CONFLICT_REPLACE) TRY(write_default_compile(c, t, k, &w->defaults[k]));
  }
  return HDB_OK;
}

/* The types of enumerated columns, as main's schema has them now. */
static status compile_enums(compile *c, writer *w) {
  const table *t = w->t;
  for (int k = 0; k < t->columns_n; k++) {
    if (!t->columns[k].enum_name) continue;
    if (!w->enums && !(w->enums = arena_zero(c->memory, (size_t)t->columns_n * sizeof *w->enums))) return dml_no_memory(c->err);
    w->enums[k] = pg_enum_by_name(c->db, t->columns[k].enum_name);
    if (!w->enums[k]) return error_set(c->err, HDB_ERROR, "type \"%s\" does not exist", t->columns[k].enum_name);
    c->program->reads |= (uint64_t)1 << DB_MAIN;
  }
  return HDB_OK;
}

status write_check_compile(compile *c, writer *w) {
  TRY(compile_enums(c, w));
  TRY(compile_not_null(c, w));
  TRY(compile_generated(c, w));
  return compile_checks(c, w);
}

/* ---- values ---- */
static const char *type_word(const value *v) {
  switch (v->type) {
  case VAL_INTEGER: return "INT";
  case VAL_REAL: return "REAL";
  case VAL_TEXT: return "TEXT";
  case VAL_BLOB: return "BLOB";
  default: return "NULL";
  }
}

static status strict_type(exec *x, const table *t, int k, value *v) {
  static const uint8_t wanted[] = {VAL_BLOB, VAL_TEXT, 0, VAL_INTEGER, VAL_REAL};
  const column *c = &t->columns[k];
  if (v->type == VAL_NULL || !c->strict_type) return HDB_OK;
  if (v->type == wanted[c->strict_type - AFF_BLOB]) return HDB_OK;
  return dml_constraint(x, CONFLICT_ABORT, HDB_CONSTRAINT_DATATYPE, "cannot store %s value in %s column %s.%s",
                        type_word(v), c->type, t->name, c->name);
}

/* A VECTOR(n) column holds n finite float32 elements, as a blob. */
static status vector_store(exec *x, const table *t, const column *c, value *v) {
  const float *floats;
  int n;
  error why = ERROR_INIT;
  status rc = vector_read(v, c->vector_dimensions, &x->memory, &floats, &n, &why);
  if (rc == HDB_OK) *v = value_blob(floats, (size_t)n * sizeof *floats);
  else if (rc == HDB_ERROR)
    rc = dml_constraint(x, CONFLICT_ABORT, HDB_CONSTRAINT_DATATYPE, "%s in column %s.%s", why.message, t->name, c->name);
  error_clear(&why);
  return rc;
}

static status store_as(exec *x, const writer *w, int k, value *v) {
  const column *c = &w->t->columns[k];
  if (c->vector_dimensions && v->type != VAL_NULL) return vector_store(x, w->t, c, v);
  if (w->enums && w->enums[k] && v->type != VAL_NULL) {
    TRY(pg_convert(c->pg_type, -1, false, v, &x->memory, x->err));
    return pg_enum_check(w->enums[k], c->enum_array, v, &x->memory, x->err);
  }
  if (c->pg_type && v->type != VAL_NULL) return pg_convert(c->pg_type, c->pg_modifier, false, v, &x->memory, x->err);
  if (c->affinity >= AFF_TEXT && v->type != VAL_NULL) TRY(value_apply_affinity(v, c->affinity, &x->memory));
  if (w->t->strict) TRY(strict_type(x, w->t, k, v));
  return HDB_OK;
}

/* The row id of a table of the postgres dialect has a range, too. */
static status key_range(exec *x, const table *t, const writer_run *r) {
  const column *c = &t->columns[t->rowid_column];
  value v = r->values[t->rowid_column];
  if (v.type != VAL_INTEGER || (c->pg_type != PG_INT4 && c->pg_type != PG_INT2)) return HDB_OK;
  return pg_convert(c->pg_type, -1, false, &v, &x->memory, x->err);
}

status write_prepare(exec *x, const writer *w, writer_run *r) {
  const table *t = w->t;
  if (t->rowid_column >= 0 && t->columns[t->rowid_column].pg_type) TRY(key_range(x, t, r));
  for (int k = 0; k < t->columns_n; k++)
    if (!t->columns[k].generated && k != t->rowid_column) TRY(store_as(x, w, k, &r->values[k]));
  for (int i = 0; i < w->generated_n; i++) {
    int k = w->generated_order[i];
    const value *v;
    TRY(expr_eval(x, w->generated[k], &v));
    TRY(dml_failed(x, value_copy(&x->memory, v, &r->values[k])));
    TRY(store_as(x, w, k, &r->values[k]));
  }
  return HDB_OK;
}

/* ---- NOT NULL, CHECK ---- */
/* REPLACE puts the default in, whatever it is; the second pass looks at the result and knows ABORT only. */
static status not_null_failed(exec *x, const writer *w, writer_run *r, int k, bool second, bool *replaced) {
  const column *c = &w->t->columns[k];
  uint8_t action = w->conflict ? w->conflict : c->not_null;
  if (action == CONFLICT_IGNORE) return EXEC_IGNORE;
  if (action == CONFLICT_REPLACE && !second && w->defaults[k]) {
    const value *v;
    TRY(expr_eval(x, w->defaults[k], &v));
    TRY(dml_failed(x, value_copy(&x->memory, v, &r->values[k])));
    *replaced = true;
    return store_as(x, w, k, &r->values[k]);
  }
  if (action == CONFLICT_REPLACE) action = CONFLICT_ABORT;
  violation_not_null(x, w->t, k, r->values);
  return dml_constraint(x, action, HDB_CONSTRAINT_NOTNULL, "NOT NULL constraint failed: %s.%s", w->t->name, c->name);
}

static status virtual_column(exec *x, const writer *w, int k, bool *is_null) {
  const value *v = NULL;
  *is_null = false;
  if (!w->generated || !w->generated[k]) return HDB_OK;
  TRY(expr_eval(x, w->generated[k], &v));
  *is_null = v->type == VAL_NULL;
  return HDB_OK;
}

static status not_null_pass(exec *x, const writer *w, writer_run *r, bool second, bool *replaced) {
  const table *t = w->t;
  for (int k = 0; k < t->columns_n; k++) {
    const column *c = &t->columns[k];
    uint8_t action = w->conflict ? w->conflict : c->not_null;
    if (!c->not_null || k == t->rowid_column || (c->generated && !second)) continue;
    if (second && !c->generated && action != CONFLICT_REPLACE) continue;
    if (w->changed && !w->changed[k] && !c->generated) continue;
    bool is_null = r->values[k].type == VAL_NULL;
    if (c->generated == 1) TRY(virtual_column(x, w, k, &is_null));
    if (is_null) TRY(not_null_failed(x, w, r, k, second, replaced));
  }
  return HDB_OK;
}

status write_check_row(exec *x, const writer *w, writer_run *r) {
  bool replaced = false;
  TRY(not_null_pass(x, w, r, false, &replaced));
  if (replaced || w->t->has_generated) {
    if (replaced && w->generated_n) TRY(write_prepare(x, w, r));
    TRY(not_null_pass(x, w, r, true, &replaced));
  }
  for (int k = 0; w->generated && k < w->t->columns_n; k++) {
    const column *c = &w->t->columns[k];
    bool ignored;
    if (c->generated == 1 && !c->not_null) TRY(virtual_column(x, w, k, &ignored)); /* asks_for_now */
  }
  for (int i = 0; i < w->checks_n; i++) {
    int truth;
    TRY(expr_test(x, w->checks[i].condition, &truth));
    if (truth != 0) continue;
    if (w->conflict == CONFLICT_IGNORE) return EXEC_IGNORE; /* K1 */
    uint8_t action = w->conflict && w->conflict != CONFLICT_REPLACE ? w->conflict : CONFLICT_ABORT;
    violation_check(x, w->t, w->checks[i].number, r->values);
    return dml_constraint(x, action, HDB_CONSTRAINT_CHECK, "CHECK constraint failed: %s", w->checks[i].name);
  }
  return HDB_OK;
}

/* ---- UNIQUE ---- */
static status unique_failed(exec *x, const writer *w, const index_ *i, uint8_t action) {
  const table *t = w->t;
  violation_unique(x, t, i, &x->slots[w->new_slot]);
  if (!i) {
    bool alias = t->rowid_column >= 0;
    return dml_constraint(x, action, alias ? HDB_CONSTRAINT_PRIMARYKEY : HDB_CONSTRAINT_ROWID,
                          "UNIQUE constraint failed: %s.%s", t->name, alias ? t->columns[t->rowid_column].name : "rowid");
  }
  buf text = BUF_INIT;
  for (int k = 0; k < i->key_columns_n; k++) {
    int n = i->columns[k].column;
    if (n == -2) {
      buf_clear(&text);
      buf_printf(&text, "index '%s'", i->name);
      break;
    }
    buf_printf(&text, "%s%s.%s", k ? ", " : "", t->name, n < 0 ? "rowid" : t->columns[n].name);
  }
  const char *names = buf_cstr(&text);
  status code = i->origin == 'p' ? HDB_CONSTRAINT_PRIMARYKEY : HDB_CONSTRAINT_UNIQUE;
  dml_constraint(x, action, code, "UNIQUE constraint failed: %s", names ? names : "");
  buf_free(&text);
  return code;
}

/* REPLACE: the row that is in the way goes. */
static status delete_victim(exec *x, const writer *w, slice key) {
  const writer *victim = w->victim;
  writer_run *r = writer_run_of(x, victim);
  if (!r) return x->err->code;
  if (!cursor_find(r->table, key)) return dml_failed(x, r->table->error ? r->table->error : HDB_CORRUPT);
  stored_row row;
  TRY(stored_row_copy(x, w->t, r->table, &row));
  slot *s = &x->slots[victim->old_slot];
  stored_row_set(s, w->t, &row);
  bool written;
  return writer_delete(x, victim, &row, &written);
}

static const index_ *step_index(const writer *w, int step) {
  if (step != KEY_STEP) return w->new_entries[step].i;
  return w->t->without_rowid ? w->t->primary : NULL;
}

static status conflict(exec *x, const writer *w, int place, slice row_key, bool *replaced) {
  int step = w->order[place];
  const index_ *i = step_index(w, step);
  const upsert_clause *clause = w->clauses ? w->clauses[place] : NULL;
  if (clause) {
    if (!clause->do_nothing) TRY(upsert_run(x, w, clause, row_key));
    return EXEC_IGNORE;
  }
  uint8_t own = i ? i->on_conflict : w->t->primary_key_conflict;
  uint8_t action = w->conflict ? w->conflict : own ? own : CONFLICT_ABORT; /* K1 */
  if (action == CONFLICT_IGNORE) return EXEC_IGNORE;
  if (action != CONFLICT_REPLACE) return unique_failed(x, w, i, action);
  *replaced = true;
  return delete_victim(x, w, row_key);
}

static status index_cursor(exec *x, const writer *w, writer_run *r, int k) {
  if (r->indexes[k]) return HDB_OK;
  return exec_cursor(x, w->database, w->new_entries[k].i->tree, 0, &r->indexes[k]);
}

/* Is another row in the way of this key? Its key is left in r->conflict_key. */
static status look_up(exec *x, const writer *w, writer_run *r, int step, slice row_key, const slice *own, bool *found) {
  *found = false;
  if (step == KEY_STEP) {
    if (r->fresh || (own && slice_equal(row_key, *own))) return HDB_OK;
    *found = cursor_find(r->table, row_key);
    buf_clear(&r->conflict_key);
    buf_append(&r->conflict_key, row_key.p, row_key.n);
    if (buf_failed(&r->conflict_key)) return dml_no_memory(x->err);
    return *found ? HDB_OK : dml_failed(x, r->table->error);
  }
  entry *e = &r->entries[step];
  if (!e->included || e->has_null) return HDB_OK;
  TRY(index_cursor(x, w, r, step));
  return entry_find(x, &w->new_entries[step], e, r->indexes[step], own, found, &r->conflict_key);
}

/* K4 */
static status look_again(exec *x, const writer *w, writer_run *r, slice row_key, const slice *own) {
  bool found;
  r->fresh = false;
  for (int place = 0; place < w->order_n; place++) {
    TRY(look_up(x, w, r, w->order[place], row_key, own, &found));
    if (found) return unique_failed(x, w, step_index(w, w->order[place]), CONFLICT_ABORT);
  }
  if (!own || cursor_find(r->table, *own)) return HDB_OK;
  TRY(dml_failed(x, r->table->error));
  return dml_constraint(x, CONFLICT_ABORT, HDB_CONSTRAINT_PINNED, "constraint failed");
}

status write_unique(exec *x, const writer *w, writer_run *r, slice row_key, const slice *own) {
  bool replaced = false, found;
  for (int k = 0; k < w->indexes_n; k++)
    if (w->affected[k]) TRY(entry_encode(x, &w->new_entries[k], row_key, &r->entries[k]));
  for (int place = 0; place < w->order_n; place++) {
    TRY(look_up(x, w, r, w->order[place], row_key, own, &found));
    if (found) TRY(conflict(x, w, place, buf_slice(&r->conflict_key), &replaced));
  }
  if (replaced && (w->victim->before.n || w->victim->after.n || w->victim->keys)) return look_again(x, w, r, row_key, own);
  return HDB_OK;
}
