/* Slots: the current row of each source, its columns decoded when they are asked for.
 *
 * A stored row is decoded left to right into the slot's own value array and never twice. Texts and blobs are
 * borrowed from the record. The row id alias is stored as NULL and reads as the row id; a virtual generated column
 * has no place in the record (whoever wants it computes its expression) and reads as NULL; a column that the record
 * is too short for (it was added later) has its default.
 *
 * S1  Records have been checked (record.h R3): the unchecked readers are safe.
 * S2  slot->decoded only grows until the next slot_set_*.
 * Cannot fail. Cost: 1-3 ns a column passed.
 */
#include "sql/exec.h"

/* A default is a literal, perhaps signed, or TRUE and FALSE: what ALTER TABLE ADD COLUMN allows. A number under TEXT
 * affinity cannot be formatted here (no memory to put it in): table_missing_values has done it before. */
static value literal_value(const expr *e) {
  if (!e) return value_null();
  switch (e->op) {
  case EX_INT: return value_int(e->i);
  case EX_REAL: return value_real(e->r);
  case EX_TEXT: return value_text(e->text, e->text_n);
  case EX_BLOB: return value_blob(e->text, e->text_n);
  case EX_PLUS: return literal_value(e->left);
  case EX_NEG: {
    value v = literal_value(e->left);
    if (v.type == VAL_INTEGER && v.i == INT64_MIN) return value_real(9223372036854775808.0);
    if (v.type == VAL_INTEGER) v.i = -v.i;
    else if (v.type == VAL_REAL) v.r = -v.r;
    if (v.type == VAL_REAL && v.r == -9223372036854775808.0) v = value_int(INT64_MIN);
    return v;
  }
  case EX_ID:
    if (strcasecmp(e->text, "true") == 0) return value_int(1);
    if (strcasecmp(e->text, "false") == 0) return value_int(0);
    return value_text(e->text, strlen(e->text)); /* DEFAULT word: the word */
  default: return value_null();
  }
}

status table_missing_values(table *t, arena *memory) {
  bool any = false;
  for (int i = 0; i < t->columns_n; i++) any = any || t->columns[i].default_value;
  if (!any) return HDB_OK;
  value *values = arena_alloc(memory, (size_t)t->columns_n * sizeof *values);
  if (!values) return HDB_NOMEM;
  for (int i = 0; i < t->columns_n; i++) {
    values[i] = literal_value(t->columns[i].default_value);
    TRY(value_apply_affinity(&values[i], t->columns[i].affinity, memory));
  }
  t->missing = values;
  return HDB_OK;
}

static value missing_value(const table *t, int column) {
  if (t->missing) return t->missing[column];
  return literal_value(t->columns[column].default_value);
}

/* Bytes and left-over bits of an integer type: its value is the low 64 - shift bits of the payload, sign-extended. */
static const uint8_t int_size[16] = {0, 0, 0, 1, 2, 3, 4, 6, 8, 8, 4, 0, 0, 0, 0, 0};
static const uint8_t int_shift[16] = {0, 0, 0, 56, 48, 40, 32, 16, 0, 0, 32, 0, 0, 0, 0, 0};

static __attribute__((noinline)) const uint8_t *decode_slow(value *v, uint8_t type, const uint8_t *p) {
  if (record_is_int(type)) {
    *v = value_int(record_get_int(type, p));
  } else if (record_is_real(type)) {
    *v = value_real(record_get_real(type, p));
  } else if (type == REC_TEXT || type == REC_BLOB) {
    slice bytes = record_get_bytes(type, p);
    *v = (value){.type = type == REC_TEXT ? VAL_TEXT : VAL_BLOB, .n = (uint32_t)bytes.n, .p = (const char *)bytes.p};
    return bytes.p + bytes.n;
  } else {
    *v = value_null();
  }
  return p + record_skip(type, p);
}

/* The widths of a column's integers change from row to row: they are read by shifts, not by a jump each, as long as
 * eight bytes can be loaded. */
static inline const uint8_t *decode(value *v, uint8_t type, const uint8_t *p, const uint8_t *end) {
  if (type >= REC_TEXT0) {
    bool blob = type >= REC_BLOB0;
    uint32_t n = (uint32_t)type - (blob ? REC_BLOB0 : REC_TEXT0);
    value_put(v, blob ? VAL_BLOB : VAL_TEXT, n, (uint64_t)(uintptr_t)p);
    return p + n;
  }
  if (type == REC_NULL) {
    value_put_null(v);
    return p;
  }
  if (type > REC_REAL_INT4 || end - p < 8) return decode_slow(v, type, p);
  int64_t raw;
  memcpy(&raw, p, 8);
  unsigned shift = int_shift[type];
  int64_t i = (int64_t)((uint64_t)raw << shift) >> shift;
  if (type <= REC_INT8) {
    value_put_int(v, type <= REC_ONE ? type - REC_ZERO : i);
  } else {
    double r;
    memcpy(&r, &raw, 8);
    r = type == REC_REAL ? r : (double)i; /* never NaN: none is written */
    memcpy(&raw, &r, 8);
    value_put(v, VAL_REAL, 0, (uint64_t)raw);
  }
  return p + int_size[type];
}

/* Rows without virtual columns: column k is the record's k-th. */
static void fetch_record(slot *s, int column) {
  value *v = s->own + s->decoded;
  const uint8_t *types = s->types, *p = s->payload, *end = s->end;
  int k = s->decoded, last = column < s->record_columns ? column : s->record_columns - 1;
  uint64_t unwanted = k < 64 ? s->unwanted >> k : 0;
  for (; k <= last; k++, v++, types++, unwanted >>= 1) {
    if (unwanted & 1) p += record_skip(*types, p);
    else p = decode(v, *types, p, end);
  }
  s->types = types;
  s->payload = p;
  for (; k <= column; k++, v++) *v = s->table ? missing_value(s->table, k) : value_null();
  int alias = s->table ? s->table->rowid_column : -1;
  if (alias >= s->decoded && alias <= column && s->has_rowid) s->own[alias] = value_int(s->rowid);
  s->decoded = column + 1;
}

static void fetch_generated(slot *s, int column) {
  const table *t = s->table;
  for (int k = s->decoded; k <= column; k++) {
    value *v = &s->own[k];
    int place = t->columns[k].stored;
    if (place < 0) *v = value_null();
    else if (place >= s->record_columns) *v = missing_value(t, k);
    else s->payload = decode(v, *s->types++, s->payload, s->end);
    if (k == t->rowid_column && s->has_rowid) *v = value_int(s->rowid);
  }
  s->decoded = column + 1;
}

static void fetch_null(slot *s, int column) {
  for (int k = s->decoded; k <= column; k++) s->own[k] = value_null();
  s->decoded = column + 1;
}

void slot_set_table(slot *s, const table *t, uint64_t unwanted) {
  s->table = t;
  s->unwanted = unwanted;
  s->fetch_row = t && t->has_generated ? fetch_generated : fetch_record;
}

void slot_set_record(slot *s, int64_t rowid, slice record) {
  s->columns = s->own;
  s->decoded = 0;
  s->null_row = false;
  s->has_rowid = !s->table || !s->table->without_rowid;
  s->rowid = rowid;
  s->end = record.p + record.n;
  s->fetch = s->table && s->table->has_generated ? fetch_generated : fetch_record;
  if (record.n) {
    s->record_columns = (int32_t)record_columns(record.p, &s->types);
    s->payload = s->types + s->record_columns;
  } else {
    s->record_columns = 0;
    s->types = s->payload = record.p;
  }
}

void slot_set_values(slot *s, value *values, bool has_rowid, int64_t rowid) {
  s->columns = values;
  s->decoded = INT32_MAX;
  s->null_row = false;
  s->has_rowid = has_rowid;
  s->rowid = rowid;
}

void slot_set_null(slot *s) {
  s->columns = s->own;
  s->decoded = 0;
  s->null_row = true;
  s->has_rowid = false;
  s->fetch = fetch_null;
}
