/* A table's rows in memory by row id, for accesses that look up many of them.
 *
 * A lookup through a cursor costs some hundred nanoseconds, one here about ten. After a good part of a table's rows
 * would have been looked up one by one, the table is read once, in order, and kept for the execution. Only in plain
 * SELECTs (their view does not move), only for tables of moderate size.
 * What can fail: memory, the scan. Cost: a copy of each record; 16 bytes a row, or 4 a place where ids are dense.
 */
#include <stdlib.h>

#include "sql/exec_access.h"

enum { BYTES_MAX = 64 << 20, PROBES_MIN = 200 };

typedef struct kept_row {
  uint32_t n;
  uint8_t bytes[];
} kept_row;

struct row_map {
  arena memory;
  int64_t first, last;  /* row ids */
  kept_row **dense;     /* by rowid - first; NULL: hashed */
  struct row_place { int64_t rowid; kept_row *row; } *places;
  uint64_t mask;
  int64_t rows;
};

static uint64_t place_of(int64_t rowid) {
  uint64_t h = (uint64_t)rowid * 0x9e3779b97f4a7c15ull;
  return h ^ (h >> 32);
}

void row_map_free(row_map *m) {
  if (!m) return;
  arena_clear(&m->memory);
  free(m->dense);
  free(m->places);
  free(m);
}

static bool index_rows(row_map *m, const struct row_place *list, int64_t n) {
  m->rows = n;
  if (n == 0) return true;
  m->first = list[0].rowid;
  m->last = list[n - 1].rowid;
  uint64_t span = (uint64_t)m->last - (uint64_t)m->first + 1;
  if (span && span / 4 <= (uint64_t)n) {
    if (!(m->dense = calloc(span, sizeof *m->dense))) return false;
    for (int64_t i = 0; i < n; i++) m->dense[list[i].rowid - m->first] = list[i].row;
    return true;
  }
  uint64_t size = 64;
  while (size < (uint64_t)n * 2) size *= 2;
  m->mask = size - 1;
  if (!(m->places = calloc(size, sizeof *m->places))) return false;
  for (int64_t i = 0; i < n; i++) {
    uint64_t at = place_of(list[i].rowid) & m->mask;
    while (m->places[at].row) at = (at + 1) & m->mask;
    m->places[at] = list[i];
  }
  return true;
}

static status build(exec *x, cursor *c, row_map *m) {
  status rc = HDB_OK;
  struct row_place *list = NULL;
  int64_t n = 0, capacity = 0;
  for (cursor_first(c); c->valid; cursor_next(c)) {
    CHECK(exec_tick(x));
    if (n == capacity) {
      int64_t larger = capacity ? capacity * 2 : 1024;
      struct row_place *grown = realloc(list, (size_t)larger * sizeof *list);
      if (!grown) CHECK(node_no_memory(x));
      list = grown;
      capacity = larger;
    }
    kept_row *r = arena_alloc(&m->memory, sizeof *r + c->value.n);
    if (!r) CHECK(node_no_memory(x));
    r->n = (uint32_t)c->value.n;
    if (r->n) memcpy(r->bytes, c->value.p, r->n);
    list[n++] = (struct row_place){rowid_decode(c->key.p), r};
  }
  if (c->error != HDB_OK) CHECK(error_set(x->err, c->error, "%s", status_text(c->error)));
  if (!index_rows(m, list, n)) rc = node_no_memory(x);
out:
  free(list);
  return rc;
}

/* Worth it by now? Then *out is the map. */
status row_map_consider(access_state *s, cursor *c, row_map **out) {
  int64_t rows = 0, bytes = 0;
  if (s->probes < PROBES_MIN) return HDB_OK;
  if (s->x->db->pragmas.policy == TXN_SERIALIZABLE) return HDB_OK; /* what is read is validated: no more than needed */
  if (s->map_at == 0) {
    txn_estimate(s->x->db->databases[s->a->database].txn, s->a->table->tree, &rows, &bytes);
    s->map_at = bytes > BYTES_MAX || rows > BYTES_MAX / 32 ? INT64_MAX : rows / 8 + PROBES_MIN;
  }
  if (s->probes < s->map_at) return HDB_OK;
  row_map *m = calloc(1, sizeof *m);
  if (!m) return node_no_memory(s->x);
  status rc = build(s->x, c, m);
  if (rc != HDB_OK) {
    row_map_free(m);
    return rc;
  }
  *out = m;
  return HDB_OK;
}

bool row_map_find(const row_map *m, int64_t rowid, slice *record) {
  kept_row *r = NULL;
  if (m->dense) {
    if (rowid >= m->first && rowid <= m->last) r = m->dense[rowid - m->first];
  } else if (m->places) {
    for (uint64_t at = place_of(rowid) & m->mask; m->places[at].row; at = (at + 1) & m->mask)
      if (m->places[at].rowid == rowid) {
        r = m->places[at].row;
        break;
      }
  }
  if (!r) return false;
  *record = slice_of(r->bytes, r->n);
  return true;
}
