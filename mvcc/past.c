/* AS OF: a group as it was at a time.
 *
 * A group whose newest change is not after the time is what it was. Otherwise its rows are taken as they are now and
 * the versions records after the time are applied, newest first: each puts the former version of a row in the place
 * of the later one, with the time and the fresh flag that it had. What then is still later than the time must be
 * fresh: it was not there yet. The result is encoded as a group again and walked like any other.
 *
 * P1  All records that concern keys in [bound, history.upper) lie under bounds in [history.low or bound, upper).
 * P2  The iterator over versions reads the same snapshot as the one over groups.
 * P3  Walking forward, it stands behind the records of the group before: then no seek is needed.
 * Cost: a seek in versions (5 us on disk) for the first group, then 0.2 us a record and 50 ns a row.
 */
#include <stdlib.h>

#include "mvcc/scan.h"

typedef struct record {
  int64_t time;
  slice value;
} record;

struct past {
  kv_iter *it; /* over the tree's versions */
  kv_snapshot *snapshot;
  arena memory;
  arena_mark empty;
  buf from, to, key, value, columns, encoded;
  record *records;
  size_t records_n, records_capacity;
  row *rows; /* whole keys, ascending */
  size_t rows_n, rows_capacity;
  /* versions_between: what the rows were on the way back */
  bool gathers;
  row_version *versions;
  size_t versions_n, versions_capacity;
};

void past_free(past *p) {
  if (!p) return;
  if (p->it) p->it->close(p->it);
  arena_clear(&p->memory);
  buf_free(&p->from), buf_free(&p->to), buf_free(&p->key);
  buf_free(&p->value), buf_free(&p->columns), buf_free(&p->encoded);
  free(p->records);
  free(p->rows);
  free(p->versions);
  free(p);
}

void past_drop_iterator(past *p) {
  if (p && p->it) p->it->close(p->it), p->it = NULL;
}

static status past_open(scan *s) {
  past *p = s->past;
  if (!p) {
    p = s->past = calloc(1, sizeof *p);
    if (!p) return HDB_NOMEM;
    p->empty = arena_save(&p->memory);
  }
  if (p->it) return HDB_OK;
  uint8_t upper[4];
  put_be32(upper, s->tree + 1);
  return kv_iter_open(s->v->engine->store, s->v->snapshot, KV_VERSIONS, slice_of(s->tree_key, 4), slice_of(upper, 4),
                      &p->it);
}

static slice keep(past *p, slice s) {
  uint8_t *bytes = arena_alloc(&p->memory, s.n + 1);
  if (!bytes) return slice_of(NULL, 0);
  if (s.n) memcpy(bytes, s.p, s.n);
  return slice_of(bytes, s.n);
}

static int by_time_descending(const void *a, const void *b) {
  int64_t x = ((const record *)a)->time, y = ((const record *)b)->time;
  return (x < y) - (x > y);
}

static status add_record(past *p, int64_t time, slice value) {
  if (p->records_n == p->records_capacity) {
    size_t capacity = p->records_capacity ? 2 * p->records_capacity : 32;
    record *records = realloc(p->records, capacity * sizeof *records);
    if (!records) return HDB_NOMEM;
    p->records = records, p->records_capacity = capacity;
  }
  record *r = &p->records[p->records_n++];
  r->time = time, r->value = keep(p, value);
  return r->value.p ? HDB_OK : HDB_NOMEM;
}

/* The records after the time under all bounds in [from, to); newest first. */
static status collect(scan *s, past *p) {
  kv_iter *it = p->it;
  slice from = buf_slice(&p->from), to = buf_slice(&p->to);
  int64_t last = INT64_MAX;
  bool sorted = true;
  p->records_n = 0;
  bool here = it->valid && slice_compare(it->key, from) >= 0 && p->value.n == from.n &&
              memcmp(p->value.p, from.p, from.n) == 0; /* P3: value holds where the walk before ended */
  if (!here) it->seek(it, from);
  while (it->valid && (to.n == 0 || slice_compare(it->key, to) < 0)) {
    if (it->key.n < 4 + 9 + 8) return HDB_CORRUPT;
    int64_t time = (int64_t)~get_be64(it->key.p + it->key.n - 8);
    if (time > s->as_of) {
      TRY(add_record(p, time, it->value));
      sorted = sorted && time <= last;
      last = time;
      it->next(it);
      continue;
    }
    /* the rest under this bound is older: on to the next bound */
    buf_clear(&p->key);
    buf_append(&p->key, it->key.p, it->key.n - 8);
    buf_be64(&p->key, UINT64_MAX);
    buf_byte(&p->key, 0xff);
    if (buf_failed(&p->key)) return HDB_NOMEM;
    it->next(it);
    if (it->valid && slice_compare(it->key, buf_slice(&p->key)) < 0) it->seek(it, buf_slice(&p->key));
  }
  TRY(it->error);
  if (!sorted) qsort(p->records, p->records_n, sizeof *p->records, by_time_descending);
  return HDB_OK;
}

static status room_for_row(past *p) {
  if (p->rows_n < p->rows_capacity) return HDB_OK;
  size_t capacity = p->rows_capacity ? 2 * p->rows_capacity : 128;
  row *rows = realloc(p->rows, capacity * sizeof *rows);
  if (!rows) return HDB_NOMEM;
  p->rows = rows, p->rows_capacity = capacity;
  return HDB_OK;
}

/* The rows as they are now, with whole keys. */
static status rows_now(scan *s, past *p) {
  const group *g = &s->g;
  while (p->rows_capacity < g->count) {
    p->rows_n = p->rows_capacity;
    TRY(room_for_row(p));
  }
  p->rows_n = g->count;
  TRY(group_times(g, p->rows));
  for (size_t i = 0; i < p->rows_n; i++) {
    slice suffix;
    if (!group_row(g, i, &suffix, &p->rows[i].value)) return HDB_CORRUPT;
    uint8_t *key = arena_alloc(&p->memory, (size_t)g->prefix_n + suffix.n + 1);
    if (!key) return HDB_NOMEM;
    memcpy(key, g->prefix, g->prefix_n);
    if (suffix.n) memcpy(key + g->prefix_n, suffix.p, suffix.n);
    p->rows[i].key = slice_of(key, g->prefix_n + suffix.n);
  }
  return HDB_OK;
}

/* The row with this key, from *at on; a place is made when there is none. */
static status find_row(past *p, slice key, size_t *at, bool *found) {
  size_t low = *at, high = p->rows_n;
  *found = false;
  while (low < high) {
    size_t middle = (low + high) / 2;
    int c = slice_compare(p->rows[middle].key, key);
    if (c == 0) {
      *at = middle, *found = true;
      return HDB_OK;
    }
    if (c < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  *at = low;
  TRY(room_for_row(p));
  memmove(p->rows + low + 1, p->rows + low, (p->rows_n - low) * sizeof *p->rows);
  p->rows_n++;
  p->rows[low] = (row){.key = keep(p, key)};
  return p->rows[low].key.p ? HDB_OK : HDB_NOMEM;
}

/* now with the columns that differed put back. */
static status former_columns(past *p, slice now, slice columns, slice *former) {
  const uint8_t *c = columns.p, *end = c + columns.n, *types;
  uint64_t n, at, size;
  TRY(record_check(now));
  uint32_t now_n = record_columns(now.p, &types);
  const uint8_t *now_at = types + now_n;
  c = varint_get(c, end, &n);
  if (!c || n > (1u << 24)) return HDB_CORRUPT;
  buf_clear(&p->columns);
  if (n < 255) {
    buf_byte(&p->columns, (uint8_t)n);
  } else {
    buf_byte(&p->columns, 255);
    buf_varint(&p->columns, n);
  }
  uint8_t *old_types = arena_alloc(&p->memory, n + 1);
  if (!old_types) return HDB_NOMEM;
  buf payload = BUF_INIT;
  status rc = HDB_OK;
  bool more = c < end;
  if (more && !(c = varint_get(c, end, &at))) rc = HDB_CORRUPT;
  for (uint64_t k = 0; k < n && rc == HDB_OK; k++) {
    size_t now_size = k < now_n ? record_skip(types[k], now_at) : 0;
    if (more && at == k) {
      if (c >= end) rc = HDB_CORRUPT;
      else old_types[k] = *c++;
      if (rc == HDB_OK && (!(c = varint_get(c, end, &size)) || size > (uint64_t)(end - c))) rc = HDB_CORRUPT;
      if (rc != HDB_OK) break;
      buf_append(&payload, c, size);
      c += size;
      more = c < end;
      if (more && !(c = varint_get(c, end, &at))) rc = HDB_CORRUPT;
    } else if (k < now_n) {
      old_types[k] = types[k];
      buf_append(&payload, now_at, now_size);
    } else {
      rc = HDB_CORRUPT;
    }
    now_at += now_size;
  }
  if (rc == HDB_OK) {
    buf_append(&p->columns, old_types, n);
    buf_append(&p->columns, payload.p, payload.n);
    if (buf_failed(&p->columns) || buf_failed(&payload)) rc = HDB_NOMEM;
  }
  buf_free(&payload);
  if (rc == HDB_OK) {
    *former = keep(p, buf_slice(&p->columns));
    if (!former->p) rc = HDB_NOMEM;
  }
  return rc;
}

static status gather(past *p, slice key, slice value, int64_t from, enum version_op op) {
  if (p->versions_n == p->versions_capacity) {
    size_t capacity = p->versions_capacity ? 2 * p->versions_capacity : 128;
    row_version *versions = realloc(p->versions, capacity * sizeof *versions);
    if (!versions) return HDB_NOMEM;
    p->versions = versions, p->versions_capacity = capacity;
  }
  p->versions[p->versions_n++] = (row_version){key, value, from, INT64_MAX, op};
  return HDB_OK;
}

/* A record at `time` is about to put the former version in the place of r: what r was, and whether the key was deleted
 * at that time (it was absent after it: not there at all, or made anew later). */
static status gather_later(past *p, const row *r, bool found, int64_t time, bool *deleted) {
  *deleted = !found || r->time > time;
  if (!found) return HDB_OK;
  enum version_op op = r->time == time || !r->fresh ? VERSION_UPDATE : VERSION_INSERT;
  return gather(p, r->key, r->value, r->time, op);
}

/* One row of a record: *at is where the row before it was. */
static status apply_row(past *p, int64_t time, slice key, const uint8_t **in, const uint8_t *end, bool ours, size_t *at) {
  uint64_t back, n;
  const uint8_t *c = varint_get(*in, end, &back);
  if (!c || c >= end) return HDB_CORRUPT;
  uint8_t kind = *c++;
  c = varint_get(c, end, &n);
  if (!c || n > (uint64_t)(end - c)) return HDB_CORRUPT;
  *in = c + n;
  if (!ours) return HDB_OK;
  bool found;
  TRY(find_row(p, key, at, &found));
  row *r = &p->rows[*at];
  bool deleted = false;
  if (p->gathers) TRY(gather_later(p, r, found, time, &deleted));
  if (kind == 2) {
    if (!found) return HDB_CORRUPT;
    TRY(former_columns(p, r->value, slice_of(c, n), &r->value));
  } else if (kind == 1) {
    r->value = slice_of(c, n);
  } else {
    return HDB_CORRUPT;
  }
  r->time = time - (int64_t)(back >> 1);
  r->fresh = back & 1;
  return deleted ? gather(p, r->key, r->value, time, VERSION_DELETE) : HDB_OK;
}

static status apply(past *p, const record *r, slice lower, slice upper) {
  const uint8_t *in = r->value.p, *end = in + r->value.n;
  uint64_t count, shared, rest;
  size_t at = 0;
  in = varint_get(in, end, &count);
  if (!in) return HDB_CORRUPT;
  buf_clear(&p->key);
  for (; count; count--) {
    in = varint_get(in, end, &shared);
    if (in) in = varint_get(in, end, &rest);
    if (!in || shared > p->key.n || rest > (uint64_t)(end - in)) return HDB_CORRUPT;
    p->key.n = shared;
    buf_append(&p->key, in, rest);
    if (buf_failed(&p->key)) return HDB_NOMEM;
    in += rest;
    slice key = buf_slice(&p->key);
    bool ours = slice_compare(key, lower) >= 0 && (!upper.p || slice_compare(key, upper) < 0);
    TRY(apply_row(p, r->time, key, &in, end, ours, &at));
  }
  return HDB_OK;
}

/* The rows of the group in hand, undone to right after s->as_of as far as records go. */
static status undo_group(scan *s) {
  group_history h;
  TRY(group_history_get(&s->g, &h));
  TRY(past_open(s));
  past *p = s->past;
  arena_rewind(&p->memory, p->empty);
  TRY(rows_now(s, p));
  if (h.newest > s->as_of) {
    slice lower = s->hot ? s->hot->lower : slice_of(s->it->key.p + 4, s->it->key.n - 4), upper = h.upper;
    lower = keep(p, lower);
    buf_clear(&p->from), buf_clear(&p->to);
    version_bound(&p->from, s->tree, h.low.p ? h.low : lower);
    if (upper.p) version_bound(&p->to, s->tree, upper);
    if (buf_failed(&p->from) || buf_failed(&p->to) || !lower.p) return HDB_NOMEM;
    TRY(collect(s, p));
    for (size_t i = 0; i < p->records_n; i++) TRY(apply(p, &p->records[i], lower, upper));
    buf_clear(&p->value);
    buf_append(&p->value, p->to.p, p->to.n);
  }
  return p->memory.failed ? HDB_NOMEM : HDB_OK;
}

status scan_past_group(scan *s) {
  if (s->g.newest <= s->as_of) return HDB_OK;
  TRY(undo_group(s));
  past *p = s->past;
  size_t n = 0;
  for (size_t i = 0; i < p->rows_n; i++) {
    if (p->rows[i].time <= s->as_of) {
      p->rows[n++] = p->rows[i];
    } else if (!p->rows[i].fresh) {
      return HDB_CORRUPT; /* a later version without a record of what it replaced */
    }
  }
  buf_clear(&p->encoded);
  group_encode(&p->encoded, slice_of(NULL, 0), p->rows, n, false, s->as_of, NULL);
  if (buf_failed(&p->encoded) || p->memory.failed) return HDB_NOMEM;
  return group_open(&s->g, buf_slice(&p->encoded));
}

/* ---- versions ---- */

static int by_key_and_time(const void *a, const void *b) {
  const row_version *x = a, *y = b;
  int c = slice_compare(x->key, y->key);
  return c ? c : (x->from > y->from) - (x->from < y->from);
}

static status tell_versions(past *p, int64_t from, int64_t to, version_visitor visit, void *context) {
  qsort(p->versions, p->versions_n, sizeof *p->versions, by_key_and_time);
  for (size_t i = 0; i < p->versions_n; i++) {
    row_version *v = &p->versions[i];
    bool next = i + 1 < p->versions_n && slice_equal(v->key, v[1].key);
    if (next) v->to = v[1].from;
    bool inside = v->from <= to && (v->op == VERSION_DELETE ? v->from >= from : v->to > from);
    if (inside) TRY(visit(context, v));
  }
  return HDB_OK;
}

static status versions_of_group(scan *s, int64_t from, int64_t to, version_visitor visit, void *context) {
  TRY(group_open(&s->g, s->it->value));
  TRY(past_open(s));
  past *p = s->past;
  p->gathers = true;
  p->versions_n = 0;
  TRY(undo_group(s));
  for (size_t i = 0; i < p->rows_n; i++) {
    const row *r = &p->rows[i];
    TRY(gather(p, r->key, r->value, r->time, r->fresh ? VERSION_INSERT : VERSION_UPDATE));
  }
  return tell_versions(p, from, to, visit, context);
}

static status versions_of_tree(txn *t, uint32_t tree, int64_t from, int64_t to, version_visitor visit, void *context) {
  cursor *c;
  TRY(scan_open(t, tree, from, &c));
  scan *s = (scan *)c;
  status rc = HDB_OK;
  /* puts the iterator on the first group: as of INT64_MAX no group needs to be undone for that */
  s->as_of = INT64_MAX;
  cursor_first(c);
  rc = c->error;
  s->as_of = from - 1; /* records at or after `from` */
  if (rc == HDB_OK && from < engine_oldest(t->engine)) rc = HDB_ERROR_SNAPSHOT;
  if (rc == HDB_OK) {
    s->it->seek(s->it, slice_of(s->tree_key, 4));
    for (; s->it->valid && rc == HDB_OK; s->it->next(s->it)) rc = versions_of_group(s, from, to, visit, context);
    if (rc == HDB_OK) rc = s->it->error;
  }
  cursor_close(c);
  return rc;
}

/* Of a branch only the schema's: the parents' versions, then its own; tombstones among them. */
status versions_between(txn *t, uint32_t tree, int64_t from, int64_t to, version_visitor visit, void *context) {
  TRY(versions_of_tree(t, tree, from, to, visit, context));
  return t->branch ? branch_versions(t, tree, from, to, versions_of_tree, visit, context) : HDB_OK;
}
