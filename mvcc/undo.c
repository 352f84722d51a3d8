/* Undoing a group: its rows as they are now, and the versions that commits after a time replaced.
 *
 * A row's versions are listed as records and blocks bring them; the list says who replaced whom by commit time. Only when
 * all is there a row's value is made, once: from the last full version before the wanted time (or the value that it has
 * now), with each column from the oldest version that names it. So ten versions back cost ten short lists, not ten rows.
 *
 * U1  A row's versions have different commit times; applied in descending order they lead from now to the past.
 * U2  What is still later than the time after that must be fresh: it was not there yet.
 * U3  [from, to) holds as_of, and no change of these keys, as far as records, blocks and rows say.
 * Cost: 30 ns a version, 100 ns a row that changed.
 */
#include "mvcc/undo.h"

#include <stdlib.h>

void undo_init(undoing *u) {
  memset(u, 0, sizeof *u);
  u->empty = arena_save(&u->memory);
}

void undo_free(undoing *u) {
  arena_clear(&u->memory);
  free(u->rows);
  free(u->result);
  free(u->columns);
  free(u->versions);
  buf_free(&u->key);
  buf_free(&u->record);
}

slice undo_keep(undoing *u, slice s) {
  uint8_t *bytes = arena_alloc(&u->memory, s.n + 1);
  if (!bytes) return slice_of(NULL, 0);
  if (s.n) memcpy(bytes, s.p, s.n);
  return slice_of(bytes, s.n);
}

static status room_for_rows(undoing *u, size_t n) {
  if (n <= u->rows_capacity) return HDB_OK;
  size_t capacity = u->rows_capacity ? u->rows_capacity : 64;
  while (capacity < n) capacity *= 2;
  undo_row *rows = realloc(u->rows, capacity * sizeof *rows);
  if (!rows) return HDB_NOMEM;
  u->rows = rows, u->rows_capacity = capacity;
  return HDB_OK;
}

static status room_for_result(undoing *u, size_t n) {
  if (n <= u->result_capacity) return HDB_OK;
  size_t capacity = n + n / 2 + 64;
  row *result = realloc(u->result, capacity * sizeof *result);
  if (!result) return HDB_NOMEM;
  u->result = result, u->result_capacity = capacity;
  return HDB_OK;
}

status undo_begin(undoing *u, const group *g, slice lower, slice upper, int64_t as_of) {
  arena_rewind(&u->memory, u->empty);
  u->lower = lower, u->upper = upper;
  u->as_of = as_of;
  u->from = 0, u->to = INT64_MAX;
  u->versions_n = 0;
  TRY(room_for_rows(u, g->count));
  TRY(room_for_result(u, g->count));
  TRY(group_times(g, u->result));
  size_t keys = (size_t)g->count * g->prefix_n + g->entries_n; /* no more than that */
  uint8_t *key = arena_alloc(&u->memory, keys + 1);
  if (!key) return HDB_NOMEM;
  for (size_t i = 0; i < g->count; i++) {
    undo_row *r = &u->rows[i];
    slice suffix;
    if (!group_row(g, i, &suffix, &r->value)) return HDB_CORRUPT;
    size_t n = (size_t)g->prefix_n + suffix.n;
    if (n > keys) return HDB_CORRUPT; /* offsets that overlap */
    keys -= n;
    memcpy(key, g->prefix, g->prefix_n);
    if (suffix.n) memcpy(key + g->prefix_n, suffix.p, suffix.n);
    r->key = slice_of(key, n);
    key += n;
    r->time = u->result[i].time, r->fresh = u->result[i].fresh;
    r->there = r->sorted = true;
    r->newest = r->oldest = NULL;
  }
  u->rows_n = g->count;
  return HDB_OK;
}

/* Where the row with this key is, looked for from *at on, or would be. */
static bool find_row(const undoing *u, slice key, size_t *at) {
  size_t low = *at, high = u->rows_n;
  for (int i = 0; i < 2 && low < high; i++) { /* the same one or the next, often */
    int c = slice_compare(u->rows[low].key, key);
    *at = low;
    if (c == 0) return true;
    if (c > 0)
      high = low;
    else
      low++;
  }
  while (low < high) {
    size_t middle = (low + high) / 2;
    int c = slice_compare(u->rows[middle].key, key);
    if (c == 0) {
      *at = middle;
      return true;
    }
    if (c < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  *at = low;
  return false;
}

static status make_row(undoing *u, slice key, size_t at) {
  TRY(room_for_rows(u, u->rows_n + 1));
  memmove(u->rows + at + 1, u->rows + at, (u->rows_n - at) * sizeof *u->rows);
  u->rows_n++;
  u->rows[at] = (undo_row){.key = undo_keep(u, key), .sorted = true};
  return u->rows[at].key.p ? HDB_OK : HDB_NOMEM;
}

static bool is_ours(const undoing *u, slice key) {
  return slice_compare(key, u->lower) >= 0 && (!u->upper.p || slice_compare(key, u->upper) < 0);
}

static status add_version(undoing *u, undo_row *r, const undo_version *given) {
  int64_t time = given->time;
  undo_version *v;
  if (given->kind == VERSION_FULL && !u->gathers && r->sorted && (!r->oldest || time < r->oldest->time)) {
    r->newest = r->oldest = NULL; /* what is newer does not count any more */
    r->there = false;
  }
  v = arena_alloc(&u->memory, sizeof *v);
  if (!v) return HDB_NOMEM;
  *v = *given;
  v->older = NULL;
  if (time < u->to) u->to = time;
  if (!r->oldest) {
    r->newest = v;
  } else {
    if (time >= r->oldest->time) r->sorted = false;
    r->oldest->older = v;
  }
  r->oldest = v;
  return HDB_OK;
}

static status take_version(void *context, slice key, const undo_version *v, bool *skip) {
  undoing *u = context;
  bool found = find_row(u, key, &u->at); /* one that is there is ours */
  *skip = v->time <= u->as_of;
  if (!found && !is_ours(u, key)) {
    *skip = true;
    return HDB_OK;
  }
  if (*skip) {
    if (v->time > u->from) u->from = v->time;
    return HDB_OK;
  }
  if (!found) TRY(make_row(u, key, u->at));
  return add_version(u, &u->rows[u->at], v);
}

status undo_record(undoing *u, int64_t time, slice value) {
  u->at = 0;
  return version_each(&u->key, time, value, take_version, u);
}

status undo_chapter(undoing *u, int64_t newest, slice chapter) {
  u->at = 0;
  return chapter_each(&u->key, newest, chapter, take_version, u);
}

/* ---- values ---- */

static status room_for_columns(undoing *u, uint64_t n) {
  if (n <= u->columns_capacity) return HDB_OK;
  if (n > 1u << 24) return HDB_CORRUPT;
  size_t capacity = n + 32;
  undo_column *columns = realloc(u->columns, capacity * sizeof *columns);
  if (!columns) return HDB_NOMEM;
  memset(columns + u->columns_capacity, 0, (capacity - u->columns_capacity) * sizeof *columns);
  u->columns = columns, u->columns_capacity = capacity;
  return HDB_OK;
}

/* The columns that a version names into u->columns; *n: how many the record had. */
static status take_columns(undoing *u, const undo_version *v, uint32_t delta, uint64_t *n) {
  const uint8_t *c, *end = v->bytes.p + v->bytes.n;
  uint64_t least = 0;
  version_column column;
  TRY(version_columns_begin(v, &c, n));
  TRY(room_for_columns(u, *n));
  while (c < end) {
    TRY(version_columns_next(v, &c, &column));
    if (column.at >= *n || column.at < least) return HDB_CORRUPT;
    u->columns[column.at] = (undo_column){delta, column.type, column.payload};
    least = column.at + 1;
  }
  return HDB_OK;
}

/* The record of n columns: those named since `delta` 1, the others from value. */
static status make_record(undoing *u, slice value, uint64_t n, slice *former) {
  const uint8_t *types = NULL;
  uint32_t has = value.n ? record_columns(value.p, &types) : 0;
  const uint8_t *payload = types + has;
  size_t bytes = value.n + n + 16;
  for (uint64_t k = 0; k < n; k++)
    if (u->columns[k].delta) bytes += u->columns[k].payload.n;
  uint8_t *out = arena_alloc(&u->memory, bytes), *start = out;
  if (!out) return HDB_NOMEM;
  if (n < 255) {
    *out++ = (uint8_t)n;
  } else {
    buf_clear(&u->record);
    buf_varint(&u->record, n);
    if (buf_failed(&u->record)) return HDB_NOMEM;
    *out++ = 255;
    memcpy(out, u->record.p, u->record.n), out += u->record.n;
  }
  uint8_t *to = out + n;
  if (has) memcpy(out, types, has < n ? has : n);
  const uint8_t *run = payload; /* what was not copied yet of the columns that stay */
  for (uint64_t k = 0; k < n; k++) {
    const undo_column *c = &u->columns[k];
    size_t size = k < has ? record_skip(types[k], payload) : 0;
    if (c->delta) {
      size_t before = (size_t)(payload - run);
      if (before) memcpy(to, run, before), to += before;
      out[k] = c->type;
      if (c->payload.n) memcpy(to, c->payload.p, c->payload.n), to += c->payload.n;
      run = payload + size;
    } else if (k >= has) {
      return HDB_CORRUPT;
    }
    payload += size;
  }
  if (payload > run) memcpy(to, run, (size_t)(payload - run)), to += payload - run;
  *former = slice_of(start, (size_t)(to - start));
  return HDB_OK;
}

/* value with what the versions from `from` on (to `last`, all of columns) put back. */
static status former_value(undoing *u, slice value, const undo_version *from, const undo_version *last,
                           slice *former) {
  uint64_t n = 0, most = 0;
  uint32_t delta = 0;
  status rc = record_check(value);
  if (rc != HDB_OK) return rc;
  for (const undo_version *v = from; rc == HDB_OK; v = v->older) {
    rc = take_columns(u, v, ++delta, &n);
    if (n > most) most = n;
    if (v == last) break;
  }
  if (rc == HDB_OK) rc = make_record(u, value, n, former);
  if (most > u->columns_capacity) most = u->columns_capacity;
  for (uint64_t k = 0; k < most; k++) u->columns[k].delta = 0;
  return rc;
}

/* The columns that versions of columns alone name, each from the oldest that does. */
static status compose_columns(undoing *u, const undo_version *newest, slice *bytes) {
  uint64_t n = 0, most = 0;
  status rc = HDB_OK;
  for (const undo_version *v = newest; v && rc == HDB_OK; v = v->older) {
    rc = take_columns(u, v, 1, &n);
    if (n > most) most = n;
  }
  buf_clear(&u->record);
  buf_varint(&u->record, n);
  for (uint64_t k = 0; k < most && k < u->columns_capacity; k++) {
    const undo_column *c = &u->columns[k];
    if (c->delta && k < n) {
      buf_varint(&u->record, k);
      buf_byte(&u->record, c->type);
      buf_append(&u->record, c->payload.p, c->payload.n);
    }
    u->columns[k].delta = 0;
  }
  TRY(rc);
  *bytes = undo_keep(u, buf_slice(&u->record));
  return buf_failed(&u->record) || !bytes->p ? HDB_NOMEM : HDB_OK;
}

status undo_compose(undoing *u, const undo_version *newest, undo_version *out) {
  const undo_version *full = NULL, *last = newest;
  for (const undo_version *v = newest; v; v = v->older) {
    if (v->kind == VERSION_FULL) full = v;
    last = v;
  }
  *out = *last;
  out->older = NULL;
  if (full == last) return HDB_OK;
  out->kind = full ? VERSION_FULL : VERSION_PACKED;
  return full ? former_value(u, full->bytes, full->older, last, &out->bytes)
              : compose_columns(u, newest, &out->bytes);
}

static int by_time_descending(const void *a, const void *b) {
  int64_t x = (*(undo_version *const *)a)->time, y = (*(undo_version *const *)b)->time;
  return (x < y) - (x > y);
}

/* U1 */
static status sort_versions(undo_row *r) {
  size_t n = 0;
  for (undo_version *v = r->newest; v; v = v->older) n++;
  undo_version **list = malloc(n * sizeof *list);
  if (!list) return HDB_NOMEM;
  n = 0;
  for (undo_version *v = r->newest; v; v = v->older) list[n++] = v;
  qsort(list, n, sizeof *list, by_time_descending);
  for (size_t i = 0; i < n; i++) list[i]->older = i + 1 < n ? list[i + 1] : NULL;
  r->newest = list[0], r->oldest = list[n - 1];
  free(list);
  r->sorted = true;
  return HDB_OK;
}

/* The row before all of its versions' commits. */
static status resolve(undoing *u, undo_row *r) {
  if (!r->newest) return HDB_OK;
  if (!r->sorted) TRY(sort_versions(r));
  const undo_version *from = r->newest;
  for (const undo_version *v = r->newest; v; v = v->older) {
    if (v->kind != VERSION_FULL) continue;
    r->value = v->bytes, r->there = true;
    from = v->older;
  }
  if (!r->there) return HDB_CORRUPT;
  if (from) TRY(former_value(u, r->value, from, r->oldest, &r->value));
  r->time = r->oldest->own_time, r->fresh = r->oldest->fresh;
  return HDB_OK;
}

status undo_finish(undoing *u) {
  TRY(room_for_result(u, u->rows_n));
  u->result_n = 0;
  for (size_t i = 0; i < u->rows_n; i++) {
    undo_row *r = &u->rows[i];
    TRY(resolve(u, r));
    if (r->time <= u->as_of) {
      if (r->time > u->from) u->from = r->time;
      u->result[u->result_n++] = (row){r->key, r->value, r->time, r->fresh};
      continue;
    }
    if (!r->fresh) return HDB_CORRUPT; /* U2 */
    if (r->time < u->to) u->to = r->time;
  }
  return u->memory.failed ? HDB_NOMEM : HDB_OK;
}

/* ---- every version ---- */

static status gather(undoing *u, slice key, slice value, int64_t from, enum version_op op) {
  if (u->versions_n == u->versions_capacity) {
    size_t capacity = u->versions_capacity ? 2 * u->versions_capacity : 128;
    row_version *versions = realloc(u->versions, capacity * sizeof *versions);
    if (!versions) return HDB_NOMEM;
    u->versions = versions, u->versions_capacity = capacity;
  }
  u->versions[u->versions_n++] = (row_version){key, value, from, INT64_MAX, op};
  return HDB_OK;
}

/* What the row was after the commit that replaced v, whether it was deleted by it, then v in its place. */
static status gather_version(undoing *u, undo_row *r, const undo_version *v) {
  bool deleted = !r->there || r->time > v->time;
  if (r->there)
    TRY(gather(u, r->key, r->value, r->time,
               r->time == v->time || !r->fresh ? VERSION_UPDATE : VERSION_INSERT));
  if (v->kind == VERSION_FULL)
    r->value = v->bytes;
  else if (!r->there)
    return HDB_CORRUPT;
  else
    TRY(former_value(u, r->value, v, v, &r->value));
  r->there = true, r->time = v->own_time, r->fresh = v->fresh;
  return deleted ? gather(u, r->key, r->value, v->time, VERSION_DELETE) : HDB_OK;
}

status undo_gather(undoing *u) {
  for (size_t i = 0; i < u->rows_n; i++) {
    undo_row *r = &u->rows[i];
    if (r->newest && !r->sorted) TRY(sort_versions(r));
    for (const undo_version *v = r->newest; v; v = v->older) TRY(gather_version(u, r, v));
    if (r->there) TRY(gather(u, r->key, r->value, r->time, r->fresh ? VERSION_INSERT : VERSION_UPDATE));
  }
  return u->memory.failed ? HDB_NOMEM : HDB_OK;
}
