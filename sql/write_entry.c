/* Index entries: encoding one for the row in a slot, looking for another with the same key columns.
 *
 * The entry's form is catalog.h C3. Under builtin collations equal key columns are equal bytes, so uniqueness is one
 * seek. A user's collation has no byte order: its columns are encoded as BINARY and every entry is compared by calling
 * it. Cost: an encoding a column, no allocation once the buffers have grown.
 */
#include "sql/dml.h"

#include "kv/base/key.h"

/* ---- which columns an expression reads ---- */
typedef struct column_set {
  uint64_t *bits;
  int slot, columns_n;
  const table *t;
} column_set;

static bool note_column_use(void *context, expr *e) {
  column_set *s = context;
  if (e->op != EX_COLUMN || e->slot != s->slot) return true;
  int k = e->column >= 0 ? e->column : s->t->rowid_column;
  if (k < 0) k = s->columns_n; /* the row id itself: the bit behind the columns */
  s->bits[k / 64] |= (uint64_t)1 << (k % 64);
  if (k < s->columns_n && s->t->columns[k].generated)
    for (int i = 0; i < s->columns_n; i++) s->bits[i / 64] |= (uint64_t)1 << (i % 64);
  return true;
}

uint64_t *column_uses(compile *c, const table *t, int slot, expr *e, uint64_t *bits) {
  size_t words = (size_t)t->columns_n / 64 + 1;
  if (!bits) bits = arena_zero(c->memory, words * sizeof *bits);
  column_set s = {bits, slot, t->columns_n, t};
  if (bits && e) ast_walk(e, true, note_column_use, &s);
  return bits;
}

static bool renumber(void *context, expr *e) {
  if (e->op == EX_COLUMN && e->slot == 0) e->slot = *(int *)context;
  return true;
}

/* A copy of the catalog's expression, bound to our slot. */
static status bound_copy(compile *c, const index_ *i, const expr *from, int slot, expr **out) {
  *out = ast_copy_expr(c->memory, from);
  if (!*out) return dml_no_memory(c->err);
  if (i->unresolved) return dml_resolve(c, i->owner, slot, "index expressions", ALLOW_DQS, out);
  ast_walk(*out, true, renumber, &slot);
  return HDB_OK;
}

status entry_encoder_compile(compile *c, const index_ *i, int slot, entry_encoder *out) {
  size_t n = (size_t)i->columns_n + 1;
  *out = (entry_encoder){.i = i, .slot = slot, .builtin = true};
  out->programs = arena_zero(c->memory, n * sizeof *out->programs);
  out->collations = arena_zero(c->memory, n * sizeof *out->collations);
  if (!out->programs || !out->collations) return dml_no_memory(c->err);
  out->uses = column_uses(c, i->owner, slot, NULL, NULL);
  if (!out->uses) return dml_no_memory(c->err);
  for (int k = 0; k < i->columns_n; k++) {
    const index_column *ic = &i->columns[k];
    TRY(find_collation(c->db, ic->collation, &out->collations[k], c->err));
    if (ic->key && !out->collations[k]->builtin) out->builtin = false;
    expr *e = NULL;
    if (ic->column == -2) {
      TRY(bound_copy(c, i, ic->e, slot, &e));
    } else if (ic->column >= 0) {
      e = dml_name(c->memory, NULL, i->owner->columns[ic->column].name);
      if (!e) return dml_no_memory(c->err);
      TRY(dml_resolve(c, i->owner, slot, NULL, 0, &e));
    }
    if (!e) continue;
    column_uses(c, i->owner, slot, e, out->uses);
    if (ic->column == -2 || i->owner->columns[ic->column].stored < 0) TRY(expr_compile(c, e, &out->programs[k]));
  }
  if (!i->where) return HDB_OK;
  expr *where;
  TRY(bound_copy(c, i, i->where, slot, &where));
  column_uses(c, i->owner, slot, where, out->uses);
  return expr_compile_condition(c, where, &out->where);
}

status entry_encode(exec *x, const entry_encoder *e, slice row_key, entry *out) {
  const index_ *i = e->i;
  const table *t = i->owner;
  slot *s = &x->slots[e->slot];
  bool exact = true;
  int truth = 1;
  if (e->where) TRY(expr_test(x, e->where, &truth));
  out->included = truth == 1;
  out->has_null = false;
  if (!out->included) return HDB_OK;
  buf_clear(&out->key);
  record_begin(&out->value);
  for (int k = 0; k < i->columns_n; k++) {
    const value *v;
    value made;
    int number = i->columns[k].column;
    if (e->programs[k]) {
      TRY(expr_eval(x, e->programs[k], &v));
      if (number >= 0) {
        made = *v;
        TRY(value_apply_affinity(&made, t->columns[number].affinity, &x->memory));
        v = &made;
      }
    } else if (number == -1 || (number == t->rowid_column && !t->without_rowid)) {
      made = slot_rowid(s);
      v = &made;
    } else {
      v = slot_column(s, number);
    }
    if (k < i->key_columns_n && v->type == VAL_NULL) out->has_null = true;
    exact = value_write_key(&out->key, v, e->collations[k], i->columns[k].descending) && exact;
    value_write(&out->value, v);
    if (k == i->key_columns_n - 1) out->prefix_n = out->key.n;
  }
  if (!t->without_rowid) buf_append(&out->key, row_key.p, row_key.n);
  out->value_bytes = exact ? slice_of(NULL, 0) : record_end(&out->value);
  if (buf_failed(&out->key) || (!exact && !out->value_bytes.p)) return dml_no_memory(x->err);
  return HDB_OK;
}

void entry_free(entry *e) {
  buf_free(&e->key);
  record_writer_free(&e->value);
}

/* The key of the table's row that an entry belongs to. */
status entry_row_key(const index_ *i, slice key, buf *out) {
  const table *t = i->owner;
  buf_clear(out);
  if (i->is_primary) {
    buf_append(out, key.p, key.n);
  } else if (!t->without_rowid) {
    if (key.n < 8) return HDB_CORRUPT;
    buf_append(out, key.p + key.n - 8, 8);
  } else {
    const uint8_t *end = key.p + key.n;
    for (int k = 0; k < t->primary->key_columns_n; k++) { /* each where the entry has it */
      const index_column *wanted = &t->primary->columns[k];
      const uint8_t *p = key.p;
      for (int j = 0; j < i->columns_n && p; j++) {
        const uint8_t *next = key_skip(p, end, i->columns[j].descending);
        if (!next) return HDB_CORRUPT;
        if (i->columns[j].column == wanted->column && strcmp(i->columns[j].collation, wanted->collation) == 0) {
          size_t at = out->n;
          buf_append(out, p, (size_t)(next - p));
          if (i->columns[j].descending != wanted->descending)
            for (; !buf_failed(out) && at < out->n; at++) out->p[at] = (uint8_t)~out->p[at];
          break;
        }
        p = next;
      }
    }
  }
  return buf_failed(out) ? HDB_NOMEM : HDB_OK;
}

/* ---- looking for an equal one ---- */
static bool is_own(const index_ *i, slice key, const slice *own, buf *out) {
  return own && entry_row_key(i, key, out) == HDB_OK && slice_equal(buf_slice(out), *own);
}

static status decode_column(const index_ *i, slice key, slice record, int column_number, value *v, buf *scratch) {
  if (record.n) {
    uint8_t type;
    slice payload;
    if (!record_column(record, (uint32_t)column_number, &type, &payload)) return HDB_CORRUPT;
    *v = value_read(type, payload.p, payload.n);
    return HDB_OK;
  }
  const uint8_t *p = key.p, *end = key.p + key.n;
  for (int k = 0; k < column_number && p; k++) p = key_skip(p, end, i->columns[k].descending);
  key_value kv;
  if (!p || !key_get(p, end, i->columns[column_number].descending, &kv, scratch)) return HDB_CORRUPT;
  switch (kv.klass) {
  case KEY_CLASS_NUMBER: *v = kv.is_int ? value_int(kv.i) : value_real(kv.r); break;
  case KEY_CLASS_TEXT: *v = value_text((const char *)kv.bytes.p, kv.bytes.n); break;
  case KEY_CLASS_BLOB: *v = value_blob(kv.bytes.p, kv.bytes.n); break;
  default: *v = value_null();
  }
  return HDB_OK;
}

/* The whole index, one comparison after the other. */
static status find_by_calling(exec *x, const entry_encoder *e, const entry *en, cursor *c, const slice *own, bool *found,
                              buf *out) {
  const index_ *i = e->i;
  buf mine = BUF_INIT, theirs = BUF_INIT;
  status rc = HDB_OK;
  for (cursor_first(c); c->valid && !*found; cursor_next(c)) {
    bool equal = true;
    for (int k = 0; k < i->key_columns_n && equal; k++) {
      value a, b;
      CHECK(decode_column(i, buf_slice(&en->key), en->value_bytes, k, &a, &mine));
      CHECK(decode_column(i, c->key, c->value, k, &b, &theirs));
      equal = value_compare(&a, &b, e->collations[k]) == 0;
    }
    if (equal && !is_own(i, c->key, own, out)) *found = true;
    if (*found) break;
  }
  CHECK(c->error);
  if (*found) CHECK(entry_row_key(i, c->key, out));
out:
  buf_free(&mine);
  buf_free(&theirs);
  return dml_failed(x, rc);
}

status entry_find(exec *x, const entry_encoder *e, const entry *en, cursor *c, const slice *own, bool *found, buf *out) {
  *found = false;
  if (!e->builtin) return find_by_calling(x, e, en, c, own, found, out);
  slice prefix = slice_of(en->key.p, en->prefix_n);
  for (cursor_seek(c, prefix); c->valid && slice_starts(c->key, prefix); cursor_next(c)) {
    if (is_own(e->i, c->key, own, out)) continue;
    *found = true;
    return dml_failed(x, entry_row_key(e->i, c->key, out));
  }
  return dml_failed(x, c->error);
}

/* ---- rows read before they are written ---- */
status stored_row_copy(exec *x, const table *t, const cursor *c, stored_row *out) {
  uint8_t *bytes = arena_alloc(&x->memory, c->key.n + c->value.n + 1);
  if (!bytes) return dml_no_memory(x->err);
  if (c->key.n) memcpy(bytes, c->key.p, c->key.n);
  if (c->value.n) memcpy(bytes + c->key.n, c->value.p, c->value.n);
  out->key = slice_of(bytes, c->key.n);
  out->record = slice_of(bytes + c->key.n, c->value.n);
  out->rowid = !t->without_rowid && c->key.n == 8 ? rowid_decode(c->key.p) : 0;
  return HDB_OK;
}

void stored_row_set(slot *s, const table *t, const stored_row *row) {
  s->table = t;
  slot_set_record(s, row->rowid, row->record);
  s->has_rowid = !t->without_rowid;
}
