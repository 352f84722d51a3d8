/* A stored graph against the rows (vector_store.c holds the byte table): both walked in the order of the row ids. */
#include <stdlib.h>
#include <string.h>

#include "kv/base/key.h"
#include "sql/vector_internal.h"

enum { PREFIX = 6, HEAD_KEY = PREFIX + 1, NODE_KEY = PREFIX + 9 };

typedef struct check {
  vector_graph_check *out;
  vector_key key;
  cursor *c;
  float *floats;
  row_ids nodes; /* sorted: as they lie */
  hnsw_options options;
} check;

static bool has_node(void *context, int64_t label) {
  return row_ids_has(&((check *)context)->nodes, label);
}

static status list_nodes(engine *e, check *k, slice prefix) {
  aside_cursor *nodes;
  TRY(aside_cursor_open(e, k->key.tree, prefix, &nodes));
  status rc = HDB_OK;
  for (; nodes->valid && rc == HDB_OK; aside_cursor_next(nodes)) {
    if (nodes->key.n != NODE_KEY)
      k->out->damaged++;
    else if (!row_ids_add(&k->nodes, rowid_decode(nodes->key.p + HEAD_KEY)))
      rc = HDB_NOMEM;
  }
  if (rc == HDB_OK) rc = nodes->error;
  aside_cursor_close(nodes);
  return rc;
}

static void check_node(check *k, slice bytes, int64_t id) {
  uint8_t key[8];
  rowid_encode(key, id);
  if (!cursor_find(k->c, slice_of(key, 8)) || !vector_of_row(&k->key, k->c->value, k->floats)) {
    k->out->gone++;
    return;
  }
  status rc = hnsw_check_node(&k->options, bytes, id, k->floats, has_node, k, &k->out->lost_links);
  k->out->damaged += rc == HDB_CORRUPT;
  k->out->pending += rc != HDB_OK;
}

static status check_nodes(engine *e, check *k, slice prefix) {
  aside_cursor *nodes;
  TRY(aside_cursor_open(e, k->key.tree, prefix, &nodes));
  for (; nodes->valid; aside_cursor_next(nodes)) {
    k->out->stored++;
    if (nodes->key.n == NODE_KEY) check_node(k, nodes->value, rowid_decode(nodes->key.p + HEAD_KEY));
  }
  status rc = nodes->error;
  aside_cursor_close(nodes);
  return rc;
}

static status check_rows(check *k) {
  for (cursor_first(k->c); k->c->valid; cursor_next(k->c)) {
    if (!vector_of_row(&k->key, k->c->value, k->floats)) continue;
    k->out->vectors++;
    k->out->pending += !row_ids_has(&k->nodes, rowid_decode(k->c->key.p));
  }
  return k->c->error;
}

/* The graph that this head belongs to. */
static status check_graph(engine *e, uint32_t tree, int column, slice head_key, slice head,
                          vector_graph_check *out) {
  const uint8_t *p = head_key.p;
  uint64_t version, dimensions = 0;
  check k = {
      .out = out,
      .key = {
          .tree = tree, .column = column, .metric = p[2], .m = p[3], .ef_construction = p[4] << 8 | p[5]}};
  txn *t = NULL;
  uint8_t prefix[HEAD_KEY];
  status rc = HDB_OK;
  *out = (vector_graph_check){.metric = p[2]};
  const uint8_t *q = varint_get(head.p, head.p + head.n, &version);
  if (q) q = varint_get(q, head.p + head.n, &dimensions);
  if (!q || version < 1 || version > 2 || dimensions < 1 || dimensions > 65535) {
    out->damaged++;
    return HDB_OK;
  }
  k.key.dimensions = (int32_t)dimensions;
  k.options = (hnsw_options){
      .dimensions = (int)dimensions, .metric = p[2], .m = k.key.m, .ef_construction = k.key.ef_construction};
  memcpy(prefix, p, PREFIX);
  prefix[PREFIX] = 'n';
  k.floats = malloc((size_t)dimensions * sizeof *k.floats);
  if (!k.floats) CHECK(HDB_NOMEM);
  CHECK(txn_new(e, &t));
  CHECK(txn_begin(t, TXN_READ, 0));
  CHECK(cursor_open(t, tree, 0, &k.c));
  CHECK(list_nodes(e, &k, slice_of(prefix, HEAD_KEY)));
  CHECK(check_nodes(e, &k, slice_of(prefix, HEAD_KEY)));
  CHECK(check_rows(&k));
out:
  if (k.c) cursor_close(k.c);
  if (t) {
    txn_rollback(t);
    txn_free(t);
  }
  free(k.floats);
  free(k.nodes.ids);
  return rc;
}

status vector_store_check(engine *e, uint32_t tree, int column, vector_graph_check *out, int capacity,
                          int *n) {
  uint8_t wanted[2] = {(uint8_t)(column >> 8), (uint8_t)column};
  aside_cursor *c;
  *n = 0;
  TRY(aside_cursor_open(e, tree, slice_of(wanted, 2), &c));
  status rc = HDB_OK;
  while (c->valid && rc == HDB_OK && *n < capacity) {
    uint8_t beyond[PREFIX + 1];
    if (c->key.n < HEAD_KEY) break;
    memcpy(beyond, c->key.p, PREFIX);
    beyond[PREFIX] = 'n' + 1;
    if (c->key.p[PREFIX] == 'h') rc = check_graph(e, tree, column, c->key, c->value, &out[(*n)++]);
    aside_cursor_seek(c, slice_of(beyond, sizeof beyond));
  }
  if (rc == HDB_OK) rc = c->error;
  aside_cursor_close(c);
  return rc;
}

/* ---- which graphs there are ---- */
status vector_store_each(engine *e, const vector_key *of, vector_key_visitor visit, void *context) {
  uint8_t wanted[2] = {(uint8_t)(of->column >> 8), (uint8_t)of->column};
  aside_cursor *c;
  if (engine_is_memory(e)) return HDB_OK;
  TRY(aside_cursor_open(e, of->tree, slice_of(wanted, 2), &c));
  status rc = HDB_OK;
  while (c->valid && rc == HDB_OK) {
    uint8_t beyond[PREFIX + 1];
    if (c->key.n < HEAD_KEY) break;
    memcpy(beyond, c->key.p, PREFIX);
    beyond[PREFIX] = 'n' + 1;
    vector_key key = *of;
    key.metric = c->key.p[2], key.m = c->key.p[3], key.ef_construction = c->key.p[4] << 8 | c->key.p[5];
    rc = visit(context, &key);
    aside_cursor_seek(c, slice_of(beyond, sizeof beyond));
  }
  if (rc == HDB_OK) rc = c->error;
  aside_cursor_close(c);
  return rc;
}
