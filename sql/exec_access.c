/* One source of a join: table scans, row id lookups and ranges, index searches, subqueries.
 *
 * A search key is encoded once an open; then a step is one cursor move, one memcmp with the end of the range, and the
 * slot pointed at the bytes. Columns are decoded when somebody asks (slot->fetch): a row found through an index reads
 * its table row only then, a covering index decodes its own key.
 * A1  Values compared with NULL match nothing, unless the term is IS.
 * A2  IN lists are sorted in the order of the walk and each value is taken once.
 * What can fail: memory, the cursor's status, evaluating a search value.
 */
#include <stdlib.h>

#include "sql/exec_access.h"
#include "sql/time.h"

static status (*step_of(const access *a))(access_state *s);

static status open_cursors(access_state *s) {
  const access *a = s->a;
  int64_t as_of;
  TRY(exec_time(s->x, a->time, &as_of));
  if (a->kind == ACCESS_INDEX) {
    TRY(exec_cursor(s->x, a->database, a->index->tree, as_of, &s->c));
    if (!a->covering && !a->index->is_primary) TRY(exec_cursor(s->x, a->database, a->table->tree, as_of, &s->t));
  } else {
    TRY(exec_cursor(s->x, a->database, a->table->tree, as_of, &s->c));
  }
  return HDB_OK;
}

status access_prepare(exec *x, const access *a, access_state *s) {
  memset(s, 0, sizeof *s);
  s->x = x;
  s->a = a;
  s->slot = a->slot >= 0 ? &x->slots[a->slot] : NULL;
  if (s->slot && a->table) slot_set_table(s->slot, a->table, a->unwanted);
  s->has_rowid = a->table && !a->table->without_rowid;
  s->step = step_of(a);
  for (int i = 0; i < a->parts_n; i++) s->has_in |= a->parts[i].is_in;
  if (s->has_in && !(s->lists = arena_zero(&x->lifetime, (size_t)a->parts_n * sizeof *s->lists))) return node_no_memory(x);
  if (a->kind == ACCESS_SCAN || a->kind == ACCESS_ROWID || a->kind == ACCESS_RANGE || a->kind == ACCESS_INDEX ||
      a->kind == ACCESS_VECTOR)
    TRY(open_cursors(s));
  if (s->slot && s->c) s->slot->cursor = s->c;
  return HDB_OK;
}

void access_release(access_state *s) {
  buf *all[] = {&s->prefix, &s->low, &s->high, &s->low_bound, &s->high_bound, &s->scratch, &s->row_key};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) buf_free(all[i]);
  for (int i = 0; s->lists && i < s->a->parts_n; i++) {
    buf_free(&s->lists[i].bytes);
    free(s->lists[i].keys);
    s->lists[i] = (key_list){0};
  }
  arena_clear(&s->memory);
  row_map_free(s->map);
  s->map = NULL;
  s->probes = s->map_at = 0;
  spool_free(s->spool);
  s->spool = NULL;
  s->filled = false;
  if (s->hash) hash_release(s);
  if (s->or_) or_release(s);
  if (s->function) function_release(s);
  if (s->vector) vector_release(s);
}

static status cursor_status(access_state *s, const cursor *c) {
  if (c->error == HDB_OK) return HDB_DONE;
  return error_set(s->x->err, c->error, "%s", status_text(c->error));
}

/* ---- search values ---- */

/* The value of one part or bound after its comparison's affinity. */
static inline status search_value(access_state *s, const operand *o, uint8_t affinity, value *out) {
  const value *v;
  TRY(operand_eval(s->x, o, &v));
  *out = *v;
  if (v->type == VAL_INTEGER && affinity != AFF_TEXT) return HDB_OK;
  if (affinity >= AFF_TEXT && v->type != VAL_NULL) return value_apply_affinity(out, affinity, &s->memory);
  return HDB_OK;
}

static status list_add(access_state *s, key_list *l, const key_part *part, const value *from) {
  value v = *from;
  if (part->affinity >= AFF_TEXT && v.type != VAL_NULL) TRY(value_apply_affinity(&v, part->affinity, &s->memory));
  if (v.type == VAL_NULL) return HDB_OK; /* A1 */
  if (l->n == l->capacity) {
    int capacity = l->capacity ? l->capacity * 2 : 16;
    struct key_range *keys = realloc(l->keys, (size_t)capacity * sizeof *keys);
    if (!keys) return node_no_memory(s->x);
    l->keys = keys;
    l->capacity = capacity;
  }
  size_t at = l->bytes.n;
  if (s->a->kind == ACCESS_ROWID) {
    uint8_t key[8];
    if (v.type == VAL_REAL && v.r >= -9223372036854775808.0 && v.r < 9223372036854775808.0 && (double)(int64_t)v.r == v.r)
      v = value_int((int64_t)v.r);
    if (v.type != VAL_INTEGER) return HDB_OK;
    rowid_encode(key, v.i);
    buf_append(&l->bytes, key, 8);
  } else {
    value_write_key(&l->bytes, &v, part->collation, part->descending);
  }
  if (buf_failed(&l->bytes)) return node_no_memory(s->x);
  l->keys[l->n++] = (struct key_range){(uint32_t)at, (uint32_t)(l->bytes.n - at)};
  return HDB_OK;
}

static int compare_ranges(const void *a, const void *b, void *bytes) {
  const struct key_range *p = a, *q = b;
  return slice_compare(slice_of((const uint8_t *)bytes + p->at, p->n), slice_of((const uint8_t *)bytes + q->at, q->n));
}

static status list_load(access_state *s, key_list *l, const key_part *part) {
  if (l->loaded && part->list_constant) return HDB_OK;
  buf_clear(&l->bytes);
  l->n = 0;
  if (part->subplan) {
    int64_t n;
    const value *v;
    TRY(subplan_set(s->x, part->subplan, &n));
    for (int64_t i = 0; i < n; i++) {
      v = subplan_set_row(s->x, part->subplan, i);
      TRY(list_add(s, l, part, &v[part->subplan_column]));
    }
  }
  for (int i = 0; i < part->list_n; i++) {
    const value *v;
    TRY(operand_eval(s->x, &part->list[i], &v));
    TRY(list_add(s, l, part, v));
  }
  if (l->n > 1) {
    qsort_r(l->keys, (size_t)l->n, sizeof *l->keys, compare_ranges, l->bytes.p);
    int kept = 1;
    for (int i = 1; i < l->n; i++)
      if (compare_ranges(&l->keys[kept - 1], &l->keys[i], l->bytes.p) != 0) l->keys[kept++] = l->keys[i];
    l->n = kept;
  }
  l->loaded = true;
  return HDB_OK;
}

static slice list_key(const key_list *l, bool reverse) {
  const struct key_range *r = &l->keys[reverse ? l->n - 1 - l->at : l->at];
  return slice_of(l->bytes.p + r->at, r->n);
}

/* A key column's bytes; false: no row can have this value (a row id that is none). */
static bool write_part(buf *out, const key_part *part, const value *from) {
  value v = *from;
  if (!part->is_rowid) {
    value_write_key(out, &v, part->collation, part->descending);
    return true;
  }
  if (v.type == VAL_REAL && v.r >= -9223372036854775808.0 && v.r < 9223372036854775808.0 && (double)(int64_t)v.r == v.r)
    v = value_int((int64_t)v.r);
  if (v.type != VAL_INTEGER) return false;
  key_put_rowid(out, v.i);
  return true;
}

/* ---- row ids ---- */
status rowid_bounds(access_state *s) {
  const access *a = s->a;
  s->rowid_low = INT64_MIN;
  s->rowid_high = INT64_MAX;
  for (int side = 0; side < 2; side++) {
    const range_bound *b = side ? &a->high : &a->low;
    if (!b->present) continue;
    value v;
    TRY(search_value(s, &b->o, AFF_NUMERIC, &v));
    if (v.type == VAL_NULL || (v.type >= VAL_TEXT && side == 0)) {
      s->done = true; /* A1; no number is above a text */
      return HDB_OK;
    }
    if (v.type >= VAL_TEXT) continue;
    bool inclusive = b->inclusive;
    int64_t i;
    if (v.type == VAL_INTEGER) {
      i = v.i;
    } else if (v.r >= 9223372036854775808.0) {
      if (side == 0) s->done = true;
      continue;
    } else if (v.r < -9223372036854775808.0) {
      if (side == 1) s->done = true;
      continue;
    } else { /* the first whole number beyond it */
      i = (int64_t)v.r;
      if ((double)i != v.r) {
        inclusive = true;
        if (side == 0 && v.r > 0) i++;
        if (side == 1 && v.r < 0) i--;
      }
    }
    if (!inclusive) {
      if (i == (side ? INT64_MIN : INT64_MAX)) s->done = true;
      else i += side ? -1 : 1;
    }
    if (side) s->rowid_high = i;
    else s->rowid_low = i;
  }
  if (s->rowid_low > s->rowid_high) s->done = true;
  return HDB_OK;
}

static status rowid_open(access_state *s) {
  const key_part *part = &s->a->parts[0];
  if (part->is_in) {
    TRY(list_load(s, &s->lists[0], part));
    s->lists[0].at = 0;
    return HDB_OK;
  }
  value v;
  TRY(search_value(s, &part->o, AFF_NUMERIC, &v));
  if (v.type == VAL_REAL && v.r >= -9223372036854775808.0 && v.r < 9223372036854775808.0 && (double)(int64_t)v.r == v.r)
    v = value_int((int64_t)v.r);
  if (v.type != VAL_INTEGER) s->done = true;
  else s->rowid_low = v.i;
  return HDB_OK;
}

static status rowid_step(access_state *s) {
  const access *a = s->a;
  if (a->parts[0].is_in) {
    key_list *l = &s->lists[0];
    while (l->at < l->n) {
      slice key = list_key(l, a->reverse);
      l->at++;
      if (cursor_find(s->c, key)) {
        slot_point(s->slot, true, rowid_decode(key.p), s->c->value);
        s->slot->cursor = s->c;
        return HDB_ROW;
      }
      if (s->c->error != HDB_OK) return cursor_status(s, s->c);
    }
    return HDB_DONE;
  }
  if (s->started) return HDB_DONE;
  s->started = true;
  slice record;
  if (s->map) {
    if (!row_map_find(s->map, s->rowid_low, &record)) return HDB_DONE;
    slot_point(s->slot, true, s->rowid_low, record);
    return HDB_ROW;
  }
  if (s->probes && s->rowid_high == s->rowid_low && s->c->valid) { /* the row of the last lookup */
    slot_point(s->slot, true, s->rowid_low, s->c->value);
    return HDB_ROW;
  }
  if (a->may_map && s->probes++) TRY(row_map_consider(s, s->c, &s->map));
  s->rowid_high = s->rowid_low;
  uint8_t key[8];
  rowid_encode(key, s->rowid_low);
  if (!cursor_find(s->c, slice_of(key, 8))) return cursor_status(s, s->c);
  slot_point(s->slot, true, s->rowid_low, s->c->value);
  s->slot->cursor = s->c;
  return HDB_ROW;
}

static status range_step(access_state *s) {
  cursor *c = s->c;
  uint8_t key[8];
  bool reverse = s->a->reverse;
  if (s->started) {
    if (reverse) cursor_prev(c);
    else cursor_next(c);
  } else {
    s->started = true;
    rowid_encode(key, reverse ? s->rowid_high : s->rowid_low);
    if (reverse) cursor_seek_for_prev(c, slice_of(key, 8));
    else cursor_seek(c, slice_of(key, 8));
  }
  if (!c->valid) return cursor_status(s, c);
  int64_t rowid = rowid_decode(c->key.p);
  if (reverse ? rowid < s->rowid_low : rowid > s->rowid_high) return HDB_DONE;
  slot_point(s->slot, true, rowid, c->value);
  s->slot->cursor = c;
  return HDB_ROW;
}

static status scan_step(access_state *s) {
  cursor *c = s->c;
  if (s->started) {
    cursor_next(c);
  } else {
    s->started = true;
    cursor_first(c);
  }
  if (!c->valid) return cursor_status(s, c);
  slot_point(s->slot, s->has_rowid, s->has_rowid ? rowid_decode(c->key.p) : 0, c->value);
  return HDB_ROW;
}

static status scan_step_back(access_state *s) {
  cursor *c = s->c;
  if (s->started) {
    cursor_prev(c);
  } else {
    s->started = true;
    cursor_last(c);
  }
  if (!c->valid) return cursor_status(s, c);
  slot_point(s->slot, s->has_rowid, s->has_rowid ? rowid_decode(c->key.p) : 0, c->value);
  return HDB_ROW;
}

/* ---- indexes ---- */
/* Row ids from rowid_low to rowid_high behind the columns. */
static status index_rowid_bounds(access_state *s) {
  uint8_t key[8];
  TRY(rowid_bounds(s));
  if (s->done) return HDB_OK;
  buf_clear(&s->low_bound);
  buf_clear(&s->high_bound);
  rowid_encode(key, s->rowid_low);
  buf_append(&s->low_bound, key, 8);
  if (s->rowid_high == INT64_MAX) return HDB_OK; /* to the end of the prefix */
  rowid_encode(key, s->rowid_high + 1);
  buf_append(&s->high_bound, key, 8);
  return buf_failed(&s->low_bound) || buf_failed(&s->high_bound) ? node_no_memory(s->x) : HDB_OK;
}

static status index_bounds(access_state *s) {
  const access *a = s->a;
  if (a->rowid_range) return index_rowid_bounds(s);
  const range_bound *from = a->range_descending ? &a->high : &a->low, *to = a->range_descending ? &a->low : &a->high;
  value v;
  buf_clear(&s->low_bound);
  buf_clear(&s->high_bound);
  if (from->present) {
    TRY(search_value(s, &from->o, from->affinity, &v));
    if (v.type == VAL_NULL) {
      s->done = true;
      return HDB_OK;
    }
    value_write_key(&s->low_bound, &v, a->range_collation, a->range_descending);
    if (!from->inclusive) key_successor(&s->low_bound);
  } else if (a->not_null_range && !a->range_descending) {
    key_put_null(&s->low_bound, false);
    key_successor(&s->low_bound);
  }
  if (to->present) {
    TRY(search_value(s, &to->o, to->affinity, &v));
    if (v.type == VAL_NULL) {
      s->done = true;
      return HDB_OK;
    }
    value_write_key(&s->high_bound, &v, a->range_collation, a->range_descending);
    if (to->inclusive) key_successor(&s->high_bound);
  } else if (a->not_null_range && a->range_descending) {
    key_put_null(&s->high_bound, true);
  }
  return buf_failed(&s->low_bound) || buf_failed(&s->high_bound) ? node_no_memory(s->x) : HDB_OK;
}

/* The range of keys for the current prefix. */
static status index_range(access_state *s) {
  buf_clear(&s->low);
  buf_append(&s->low, s->prefix.p, s->prefix.n);
  buf_append(&s->low, s->low_bound.p, s->low_bound.n);
  buf_clear(&s->high);
  buf_append(&s->high, s->prefix.p, s->prefix.n);
  s->has_high = s->prefix.n || s->high_bound.n;
  if (s->high_bound.n) buf_append(&s->high, s->high_bound.p, s->high_bound.n);
  else if (s->prefix.n && !key_successor(&s->high)) s->has_high = false;
  s->has_low = s->low.n > 0;
  s->started = false;
  return buf_failed(&s->low) || buf_failed(&s->high) ? node_no_memory(s->x) : HDB_OK;
}

static status index_prefix_from_lists(access_state *s) {
  buf_clear(&s->prefix);
  for (int i = 0; i < s->a->parts_n; i++) {
    slice key = list_key(&s->lists[i], s->a->reverse && s->a->parts[i].is_in);
    buf_append(&s->prefix, key.p, key.n);
  }
  return index_range(s);
}

/* The next combination of IN values; false: that was the last. */
static bool next_combination(access_state *s) {
  for (int i = s->a->parts_n - 1; i >= 0; i--) {
    key_list *l = &s->lists[i];
    if (++l->at < l->n) return true;
    l->at = 0;
  }
  return false;
}

static status index_open(access_state *s) {
  const access *a = s->a;
  buf_clear(&s->prefix);
  for (int i = 0; i < a->parts_n; i++) {
    const key_part *part = &a->parts[i];
    key_list *l = s->has_in ? &s->lists[i] : NULL;
    if (part->is_in) {
      TRY(list_load(s, l, part));
      l->at = 0;
      if (l->n == 0) s->done = true;
      if (s->done) return HDB_OK;
      continue;
    }
    value v;
    TRY(search_value(s, &part->o, part->affinity, &v));
    if (v.type == VAL_NULL && !part->null_matches) {
      s->done = true;
      return HDB_OK;
    }
    if (l) buf_clear(&l->bytes);
    if (!write_part(l ? &l->bytes : &s->prefix, part, &v)) {
      s->done = true;
      return HDB_OK;
    }
    if (!l) continue;
    if (!l->keys && !(l->keys = malloc(sizeof *l->keys))) return node_no_memory(s->x);
    if (buf_failed(&l->bytes)) return node_no_memory(s->x);
    l->keys[0] = (struct key_range){0, (uint32_t)l->bytes.n};
    l->n = l->capacity = 1;
    l->at = 0;
  }
  if (buf_failed(&s->prefix)) return node_no_memory(s->x);
  TRY(index_bounds(s));
  if (s->done) return HDB_OK;
  return s->has_in ? index_prefix_from_lists(s) : index_range(s);
}

static void set_key_value(value *out, const key_value *kv) {
  switch (kv->klass) {
  case KEY_CLASS_NUMBER: *out = kv->is_int ? value_int(kv->i) : value_real(kv->r); break;
  case KEY_CLASS_TEXT: *out = value_text((const char *)kv->bytes.p, kv->bytes.n); break;
  case KEY_CLASS_BLOB: *out = value_blob(kv->bytes.p, kv->bytes.n); break;
  default: *out = value_null();
  }
}

/* A number's eight bytes when it is below 2^53: whole ones are integers (key.h). */
static inline bool small_number(const uint8_t *p, value *out) {
  uint64_t bits = get_be64(p);
  bits = bits >> 63 ? bits ^ (1ull << 63) : ~bits;
  double d;
  memcpy(&d, &bits, 8);
  if (!(d > -9007199254740992.0 && d < 9007199254740992.0)) return false;
  int64_t i = (int64_t)d;
  *out = (double)i == d ? value_int(i) : value_real(d);
  return true;
}

/* slot->fetch of a covering index: decodes the entry's columns that somebody may ask for. */
static void covering_fetch(slot *slot, int column) {
  access_state *s = slot->owner;
  const access *a = s->a;
  slot->decoded = INT32_MAX;
  if (s->c->value.n) {
    record_walk w;
    int k = 0;
    for (record_walk_start(&w, s->c->value); w.left && k < a->map_n; record_walk_next(&w), k++) {
      if (a->map[k].column < 0) continue;
      uint8_t type = record_walk_type(&w);
      slot->own[a->map[k].column] = value_read(type, w.payload, record_skip(type, w.payload));
    }
    return;
  }
  const uint8_t *p = s->c->key.p, *end = p + s->c->key.n;
  buf_clear(&s->scratch);
  buf_reserve(&s->scratch, s->c->key.n + 1);
  for (int k = 0; k < a->map_n && p; k++) {
    if (a->map[k].column < 0) {
      p = key_skip(p, end, a->map[k].descending);
      continue;
    }
    if (!a->map[k].descending && end - p >= 9 && p[0] == KEY_CLASS_NUMBER && small_number(p + 1, &slot->own[a->map[k].column])) {
      p += 9;
      continue;
    }
    key_value kv;
    p = key_get(p, end, a->map[k].descending, &kv, &s->scratch);
    if (p) set_key_value(&slot->own[a->map[k].column], &kv);
  }
  if (!p) s->error = HDB_CORRUPT;
}

/* Bytes of the table's key for the current entry of a secondary index. */
static slice table_key(access_state *s) {
  const access *a = s->a;
  slice key = s->c->key;
  if (!a->table->without_rowid) return key.n >= 8 ? slice_of(key.p + key.n - 8, 8) : key;
  const uint8_t *starts[64 + 1];
  const uint8_t *p = key.p, *end = p + key.n;
  int n = a->index->columns_n < 64 ? a->index->columns_n : 64;
  for (int k = 0; k < n && p; k++) {
    starts[k] = p;
    p = key_skip(p, end, a->index->columns[k].descending);
  }
  buf_clear(&s->row_key);
  if (!p) return buf_slice(&s->row_key);
  starts[n] = p;
  const index_ *primary = a->table->primary;
  for (int i = 0; i < primary->key_columns_n; i++) {
    int k = a->primary_from[i];
    size_t at = s->row_key.n;
    buf_append(&s->row_key, starts[k], (size_t)(starts[k + 1] - starts[k]));
    if (primary->columns[i].descending != a->index->columns[k].descending)
      for (size_t b = at; b < s->row_key.n; b++) s->row_key.p[b] ^= 0xff;
  }
  return buf_slice(&s->row_key);
}

/* slot->fetch of a row found through an index: reads the table's row at last. */
static void table_fetch(slot *slot, int column) {
  access_state *s = slot->owner;
  if (s->a->may_map) {
    slice record;
    if (!s->map && s->probes++) {
      status rc = row_map_consider(s, s->t, &s->map);
      if (rc != HDB_OK) s->error = rc;
    }
    if (s->map && row_map_find(s->map, slot->rowid, &record)) {
      slot_point(slot, true, slot->rowid, record);
      if (column >= slot->decoded) slot->fetch(slot, column);
      return;
    }
  }
  slice key = table_key(s);
  int64_t rowid = slot->rowid;
  bool has_rowid = slot->has_rowid;
  if (!cursor_find(s->t, key)) { /* an entry without its row */
    s->error = s->t->error != HDB_OK ? s->t->error : HDB_CORRUPT_INDEX;
    slot->columns = slot->own;
    for (int i = 0; i < slot->columns_n; i++) slot->own[i] = value_null();
    slot->decoded = INT32_MAX;
    return;
  }
  slot_point(slot, has_rowid, rowid, s->t->value);
  slot->cursor = s->t;
  if (column >= slot->decoded) slot->fetch(slot, column);
}

static void index_set_slot(access_state *s) {
  const access *a = s->a;
  slot *slot = s->slot;
  if (a->index->is_primary) {
    slot_point(slot, false, 0, s->c->value);
    slot->cursor = s->c;
    return;
  }
  slot->columns = slot->own;
  slot->decoded = 0;
  slot->null_row = false;
  slot->has_rowid = !a->table->without_rowid;
  slot->rowid = slot->has_rowid && s->c->key.n >= 8 ? rowid_decode(s->c->key.p + s->c->key.n - 8) : 0;
  slot->fetch = a->covering ? covering_fetch : table_fetch;
  slot->owner = s;
  slot->cursor = s->t;
}

static status index_step(access_state *s) {
  cursor *c = s->c;
  bool reverse = s->a->reverse;
  for (;;) {
    if (s->started) {
      if (reverse) cursor_prev(c);
      else cursor_next(c);
    } else {
      s->started = true;
      if (reverse) {
        if (!s->has_high) cursor_last(c);
        else {
          cursor_seek_for_prev(c, buf_slice(&s->high));
          if (c->valid && slice_equal(c->key, buf_slice(&s->high))) cursor_prev(c);
        }
      } else if (s->has_low) {
        cursor_seek(c, buf_slice(&s->low));
      } else {
        cursor_first(c);
      }
    }
    bool inside = c->valid;
    if (inside) {
      if (reverse) inside = !s->has_low || slice_compare(c->key, buf_slice(&s->low)) >= 0;
      else inside = !s->has_high || slice_compare(c->key, buf_slice(&s->high)) < 0;
    } else if (c->error != HDB_OK) {
      return cursor_status(s, c);
    }
    if (inside) {
      index_set_slot(s);
      return HDB_ROW;
    }
    if (!s->has_in || !next_combination(s)) return HDB_DONE;
    TRY(index_prefix_from_lists(s));
  }
}

/* ---- subqueries ---- */
static status fill_spool(access_state *s) {
  const access *a = s->a;
  if (s->filled) return HDB_OK;
  if (!s->spool && !(s->spool = spool_new(s->x, a->node_columns))) return node_no_memory(s->x);
  value *converted = a->affinities ? arena_zero(&s->x->lifetime, (size_t)(a->node_columns + 1) * sizeof(value)) : NULL;
  if (a->affinities && !converted) return node_no_memory(s->x);
  TRY(node_open(s->x, a->node));
  for (;;) {
    const value *row;
    status rc = node_next(s->x, a->node, &row);
    if (rc == HDB_DONE) break;
    if (rc != HDB_ROW) return rc;
    if (a->affinities) {
      TRY(apply_affinities(a->affinities, row, a->node_columns, converted, &s->x->memory));
      row = converted;
    }
    TRY(spool_add(s->spool, row));
  }
  node_close(s->x, a->node);
  s->filled = true;
  return HDB_OK;
}

static status query_source_open(access_state *s) {
  s->row_at = s->a->reverse ? -1 : 0;
  if (s->a->shared) return shared_rows_fill(s->x, s->a->shared, &s->shared_spool);
  if (s->a->materialize) return fill_spool(s);
  return node_open(s->x, s->a->node);
}

static status query_source_step(access_state *s) {
  const value *row;
  const spool *spool = s->a->shared ? s->shared_spool : s->a->materialize ? s->spool : NULL;
  if (spool) {
    row = spool_row(spool, s->row_at++);
    if (!row) return HDB_DONE;
  } else {
    status rc = node_next(s->x, s->a->node, &row);
    s->row_at++;
    if (rc != HDB_ROW) return rc;
  }
  slot_set_values(s->slot, (value *)row, false, 0);
  return HDB_ROW;
}

static status queue_step(access_state *s) {
  const value *row;
  if (s->started) return HDB_DONE;
  s->started = true;
  TRY(recursive_current(s->x, s->a->queue_state, &row));
  slot_set_values(s->slot, (value *)row, false, 0);
  return HDB_ROW;
}

static status nested_step(access_state *s) {
  s->row_at++;
  return node_next(s->x, s->a->node, NULL);
}

/* ---- the one entrance ---- */
static status (*step_of(const access *a))(access_state *s) {
  switch (a->kind) {
  case ACCESS_SCAN: return a->reverse ? scan_step_back : scan_step;
  case ACCESS_ROWID: return rowid_step;
  case ACCESS_RANGE: return range_step;
  case ACCESS_INDEX: return index_step;
  case ACCESS_QUERY: return query_source_step;
  case ACCESS_NESTED: return nested_step;
  case ACCESS_OR: return or_step;
  case ACCESS_HASH: return hash_step;
  case ACCESS_FUNCTION: return function_step;
  case ACCESS_VECTOR: return vector_step;
  default: return queue_step;
  }
}

status access_open(access_state *s) {
  s->started = s->done = false;
  s->error = HDB_OK;
  if (s->memory.block) arena_rewind(&s->memory, (arena_mark){0, 0});
  switch (s->a->kind) {
  case ACCESS_SCAN: return HDB_OK;
  case ACCESS_ROWID: return rowid_open(s);
  case ACCESS_RANGE: return rowid_bounds(s);
  case ACCESS_INDEX: return index_open(s);
  case ACCESS_QUERY: return query_source_open(s);
  case ACCESS_NESTED: s->row_at = 0; return node_open(s->x, s->a->node);
  case ACCESS_OR: return or_open(s);
  case ACCESS_HASH: return hash_open(s);
  case ACCESS_FUNCTION: return function_open(s);
  case ACCESS_VECTOR: TRY(rowid_bounds(s)); return vector_open(s);
  case ACCESS_QUEUE: return HDB_OK;
  }
  return HDB_INTERNAL;
}

status access_halt(access_state *s) {
  if (s->error != HDB_OK) return error_set(s->x->err, s->error, "%s", status_text(s->error));
  return HDB_DONE;
}

void access_null_row(access_state *s) {
  if (s->slot) slot_set_null(s->slot);
  for (int i = 0; i < s->a->nested_slots_n; i++) slot_set_null(&s->x->slots[s->a->nested_slots[i]]);
}

slice access_row_key(access_state *s) {
  const access *a = s->a;
  buf_clear(&s->row_key);
  switch (a->kind) {
  case ACCESS_SCAN:
  case ACCESS_ROWID:
  case ACCESS_RANGE: return s->c->key;
  case ACCESS_VECTOR: /* its cursor may be ahead */
    key_put_rowid(&s->row_key, s->slot->rowid);
    return buf_slice(&s->row_key);
  case ACCESS_INDEX:
    if (a->index->is_primary) return s->c->key;
    return table_key(s);
  default: /* position among the source's rows: they come alike at each open */
    buf_be64(&s->row_key, (uint64_t)s->row_at);
    return buf_slice(&s->row_key);
  }
}
