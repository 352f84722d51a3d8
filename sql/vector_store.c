/* Graphs on disk: beside the rows (mvcc's aside), under the tree's number.
 *
 *   key                                               value
 *   column (2 bytes) metric (1) m (1) ef (2) 'h'      varint version 2 · varint dimensions · varint flags (1: floats) ·
 *                                                     varint rows at the last calibration · its recalls, 4 bytes each,
 *                                                     those of queries unlike the data · the usual distance, a double's
 *                                                     bits, 8 bytes (version 1 ends before: it is measured again)
 *   column (2 bytes) metric (1) m (1) ef (2) 'n' row  the node (hnsw.h)
 *
 * Numbers in keys are big-endian, row ids as in the tree, so that nodes lie in the order of the rows: loading walks both
 * side by side, once. Vectors are not in here: they are in the rows.
 * S1  A node is taken only when the row is there and its vector is the one the node was linked for; every other row is
 *     fresh, every other node gone. So batches may be late, or missing after a crash: it costs links and time alone.
 * What can fail: memory, the store; a damaged node is HDB_CORRUPT, and the graph is built anew. Cost of a save: the nodes
 * whose links changed, about 2 bytes a link.
 */
#include <stdlib.h>
#include <string.h>

#include "kv/base/key.h"
#include "sql/vector_internal.h"

enum { VERSION = 2, BATCH_BYTES = 1 << 20, FLAG_FLOATS = 1 };

void store_prefix(const vector_key *k, buf *out) {
  uint8_t b[6] = {(uint8_t)(k->column >> 8),          (uint8_t)k->column,         k->metric, (uint8_t)k->m,
                  (uint8_t)(k->ef_construction >> 8), (uint8_t)k->ef_construction};
  buf_append(out, b, sizeof b);
}

/* ---- the head ---- */
static void put_head(const vector_index *i, const vector_graph *g, buf *out) {
  buf_varint(out, VERSION);
  buf_varint(out, (uint64_t)i->key.dimensions);
  buf_varint(out, i->floats ? FLAG_FLOATS : 0);
  buf_varint(out, (uint64_t)g->calibration.rows);
  const vector_calibration *c = &g->calibration;
  for (int k = 0; k < CALIBRATION_STEPS; k++) buf_be32(out, (uint32_t)(c->recall[k] * 1e6));
  for (int k = 0; k < CALIBRATION_STEPS; k++) buf_be32(out, (uint32_t)(c->recall_unlike[k] * 1e6));
  uint64_t usual;
  memcpy(&usual, &c->usual, 8);
  buf_be32(out, (uint32_t)(usual >> 32));
  buf_be32(out, (uint32_t)usual);
}

/* false: of another version or shape. */
static bool read_head(vector_index *i, vector_graph *g, slice head) {
  const uint8_t *p = head.p, *end = head.p + head.n;
  uint64_t version, dimensions, flags, rows;
  p = varint_get(p, end, &version);
  if (p) p = varint_get(p, end, &dimensions);
  if (p) p = varint_get(p, end, &flags);
  if (p) p = varint_get(p, end, &rows);
  if (!p || version < 1 || version > VERSION || dimensions != (uint64_t)i->key.dimensions ||
      end - p != (version == 1 ? 4 * CALIBRATION_STEPS : 8 * CALIBRATION_STEPS + 8))
    return false;
  i->floats = flags & FLAG_FLOATS;
  if (version == 1) return true;
  vector_calibration *c = &g->calibration;
  c->rows = (int64_t)(rows >> 1 << 1);
  for (int k = 0; k < CALIBRATION_STEPS; k++) c->recall[k] = get_be32(p + 4 * k) / 1e6;
  for (int k = 0; k < CALIBRATION_STEPS; k++)
    c->recall_unlike[k] = get_be32(p + 4 * (CALIBRATION_STEPS + k)) / 1e6;
  uint64_t usual =
      (uint64_t)get_be32(p + 8 * CALIBRATION_STEPS) << 32 | get_be32(p + 8 * CALIBRATION_STEPS + 4);
  memcpy(&c->usual, &usual, 8);
  return true;
}

static status load_head(vector_index *i, vector_graph *g, slice prefix, bool *found) {
  aside_cursor *c = NULL;
  buf key = BUF_INIT;
  *found = false;
  buf_append(&key, prefix.p, prefix.n);
  buf_byte(&key, 'h');
  status rc = buf_failed(&key) ? HDB_NOMEM : aside_cursor_open(i->set->e, i->key.tree, buf_slice(&key), &c);
  if (rc == HDB_OK) rc = c->error;
  if (rc == HDB_OK && c->valid) *found = read_head(i, g, c->value);
  aside_cursor_close(c);
  buf_free(&key);
  return rc;
}

/* ---- loading ---- */
/* Nodes before this row have none. */
static status skip_gone(vector_index *i, aside_cursor *nodes, size_t at, const int64_t *row) {
  if (!nodes) return HDB_OK;
  for (; nodes->valid; aside_cursor_next(nodes)) {
    if (nodes->key.n != at + 8) return HDB_CORRUPT;
    int64_t id = rowid_decode(nodes->key.p + at);
    if (row && id >= *row) break;
    if (!row_ids_add(&i->gone, id)) return HDB_NOMEM;
  }
  return nodes->error;
}

static status load_row(vector_index *i, vector_graph *g, aside_cursor *nodes, size_t at, int64_t id,
                       slice record, float *floats, row_ids *fresh) {
  TRY(skip_gone(i, nodes, at, &id));
  bool stored = nodes && nodes->valid && rowid_decode(nodes->key.p + at) == id,
       placed = vector_of_row(&i->key, record, floats);
  status rc = HDB_NOTFOUND;
  if (stored && placed) rc = hnsw_load_node(g->g, id, nodes->value, floats);
  if (rc != HDB_OK && rc != HDB_NOTFOUND) return rc;
  if (rc == HDB_OK) atomic_fetch_add_explicit(&i->loaded, 1, memory_order_relaxed);
  if (stored && !placed && !row_ids_add(&i->gone, id)) return HDB_NOMEM;
  if (stored) aside_cursor_next(nodes);
  if (rc == HDB_NOTFOUND && !row_ids_add(placed ? fresh : &g->unplaced, id)) return HDB_NOMEM;
  return HDB_OK;
}

status store_load(vector_index *i, vector_graph *g, cursor *c, float *floats, row_ids *fresh, bool anew) {
  buf prefix = BUF_INIT;
  aside_cursor *nodes = NULL;
  bool found;
  status rc = HDB_OK;
  store_prefix(&i->key, &prefix);
  if (buf_failed(&prefix)) CHECK(HDB_NOMEM);
  if (!anew) {
    CHECK(load_head(i, g, buf_slice(&prefix), &found));
    buf_byte(&prefix, 'n');
    if (buf_failed(&prefix)) CHECK(HDB_NOMEM);
    CHECK(aside_cursor_open(i->set->e, i->key.tree, buf_slice(&prefix), &nodes));
    if (!found && nodes->valid) CHECK(HDB_CORRUPT);
  }
  for (cursor_first(c); c->valid; cursor_next(c)) {
    if (atomic_load(&i->set->stop)) CHECK(HDB_INTERRUPT);
    CHECK(load_row(i, g, nodes, prefix.n, rowid_decode(c->key.p), c->value, floats, fresh));
  }
  CHECK(c->error);
  CHECK(skip_gone(i, nodes, prefix.n, NULL));
  rc = hnsw_load_finish(g->g);
out:
  aside_cursor_close(nodes);
  buf_free(&prefix);
  return rc;
}

/* ---- saving ---- */
static void collect(void *context, int64_t label) {
  row_ids_add(context, label);
}

typedef struct saving {
  aside *a;
  buf key, value;
  size_t prefix_n;
} saving;

static slice node_key(saving *s, int64_t id) {
  s->key.n = s->prefix_n;
  buf_byte(&s->key, 'n');
  key_put_rowid(&s->key, id);
  return buf_slice(&s->key);
}

static status save_nodes(vector_index *i, vector_graph *g, saving *s, const row_ids *changed) {
  for (size_t k = 0; k < i->gone.n; k++) {
    if (!hnsw_contains(g->g, i->gone.ids[k])) aside_delete(s->a, node_key(s, i->gone.ids[k]));
    if (aside_bytes(s->a) > BATCH_BYTES) TRY(aside_write(s->a));
  }
  for (size_t k = 0; k < changed->n; k++) {
    buf_clear(&s->value);
    status rc = hnsw_store_node(g->g, changed->ids[k], &s->value);
    if (rc == HDB_NOTFOUND) continue;
    TRY(rc);
    aside_put(s->a, node_key(s, changed->ids[k]), buf_slice(&s->value));
    if (aside_bytes(s->a) > BATCH_BYTES) TRY(aside_write(s->a));
  }
  return HDB_OK;
}

static status save(vector_index *i, vector_graph *g, const row_ids *changed) {
  saving s = {0};
  status rc = HDB_OK;
  CHECK(aside_open(i->set->e, i->key.tree, &s.a));
  store_prefix(&i->key, &s.key);
  s.prefix_n = s.key.n;
  CHECK(save_nodes(i, g, &s, changed));
  s.key.n = s.prefix_n;
  buf_byte(&s.key, 'h');
  buf_clear(&s.value);
  put_head(i, g, &s.value);
  if (buf_failed(&s.key) || buf_failed(&s.value)) CHECK(HDB_NOMEM);
  aside_put(s.a, buf_slice(&s.key), buf_slice(&s.value));
  rc = aside_write(s.a);
out:
  aside_close(s.a);
  buf_free(&s.key);
  buf_free(&s.value);
  return rc;
}

status store_save(vector_index *i, vector_graph *g) {
  row_ids changed = {0};
  i->unsaved = 0;
  if (i->no_store || engine_is_memory(i->set->e)) {
    i->gone.n = 0;
    return HDB_OK;
  }
  if (!hnsw_count(g->g)) return store_clear(i); /* emptied, or dropped: nothing stays behind */
  hnsw_each_changed(g->g, collect, &changed);
  row_ids_sort(&changed);
  status rc = save(i, g, &changed);
  free(changed.ids);
  i->gone.n = 0;
  /* what is not stored is fresh at the next load: searches do not need the store */
  if (rc == HDB_NOMEM) return rc;
  i->no_store = rc != HDB_OK && rc != HDB_READONLY; /* read-only: another process keeps them, for now */
  return HDB_OK;
}

status store_clear(vector_index *i) {
  aside *a = NULL;
  buf prefix = BUF_INIT;
  i->gone.n = 0;
  if (i->no_store || engine_is_memory(i->set->e)) return HDB_OK;
  store_prefix(&i->key, &prefix);
  status rc = buf_failed(&prefix) ? HDB_NOMEM : aside_open(i->set->e, i->key.tree, &a);
  if (rc == HDB_OK) {
    aside_clear(a, buf_slice(&prefix));
    rc = aside_write(a);
  }
  aside_close(a);
  buf_free(&prefix);
  if (rc == HDB_NOMEM) return rc;
  i->no_store = rc != HDB_OK && rc != HDB_READONLY; /* read-only: another process keeps them, for now */
  return HDB_OK;
}
