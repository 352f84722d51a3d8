/* Beside the rows: bytes that can be made again from a tree's rows at any time (vector graphs), in the family KV_HNSW.
 *
 * They have no time, no branch and no transaction: whoever reads them compares them with the rows. A batch is written
 * wholly or not at all, without a sync of its own. Keys begin with the tree's number; clearing or dropping a tree takes
 * them along in its own batch. Nothing is kept for an engine in memory.
 */
#include <stdlib.h>

#include "mvcc/internal.h"

struct aside {
  engine *e;
  kv_batch *batch;
  uint32_t tree;
  buf key;
};

status aside_open(engine *e, uint32_t tree, aside **out) {
  if (e->read_only || is_remote(e)) return HDB_READONLY; /* the owner's process keeps them */
  aside *a = calloc(1, sizeof *a);
  if (!a) return HDB_NOMEM;
  *a = (aside){.e = e, .tree = tree, .batch = kv_batch_new(e->store)};
  *out = a;
  if (a->batch) return HDB_OK;
  free(a);
  return HDB_NOMEM;
}

static slice aside_key(aside *a, slice key) {
  buf_clear(&a->key);
  buf_be32(&a->key, a->tree);
  buf_append(&a->key, key.p, key.n);
  return buf_slice(&a->key);
}

void aside_put(aside *a, slice key, slice value) {
  slice whole = aside_key(a, key);
  if (!buf_failed(&a->key)) kv_batch_put(a->batch, KV_HNSW, whole, value);
}

void aside_delete(aside *a, slice key) {
  slice whole = aside_key(a, key);
  if (!buf_failed(&a->key)) kv_batch_delete(a->batch, KV_HNSW, whole);
}

void aside_clear(aside *a, slice prefix) {
  buf end = BUF_INIT;
  slice from = aside_key(a, prefix);
  buf_append(&end, from.p, from.n);
  if (!buf_failed(&a->key) && !buf_failed(&end) && key_successor(&end))
    kv_batch_delete_range(a->batch, KV_HNSW, from, buf_slice(&end));
  a->key.failed = a->key.failed || end.failed;
  buf_free(&end);
}

size_t aside_bytes(const aside *a) {
  return kv_batch_bytes(a->batch);
}

status aside_write(aside *a) {
  status rc = (status)atomic_load(&a->e->broken);
  if (rc == HDB_OK && buf_failed(&a->key)) rc = HDB_NOMEM;
  if (rc == HDB_OK && !a->e->memory) return kv_write(a->e->store, a->batch, false);
  kv_batch_clear(a->batch);
  return rc;
}

void aside_close(aside *a) {
  if (!a) return;
  kv_batch_free(a->batch);
  buf_free(&a->key);
  free(a);
}

/* ---- reading ---- */
typedef struct aside_reading {
  aside_cursor public;
  uint32_t tree;
  kv_iter *it;
} aside_reading;

static void show(aside_reading *r) {
  aside_cursor *c = &r->public;
  c->valid = r->it->valid;
  c->error = r->it->error;
  if (!c->valid) return;
  c->key = slice_of(r->it->key.p + 4, r->it->key.n - 4);
  c->value = r->it->value;
}

status aside_cursor_open(engine *e, uint32_t tree, slice prefix, aside_cursor **out) {
  aside_reading *r = calloc(1, sizeof *r);
  buf from = BUF_INIT, to = BUF_INIT;
  status rc = r ? HDB_OK : HDB_NOMEM;
  buf_be32(&from, tree);
  buf_append(&from, prefix.p, prefix.n);
  buf_append(&to, from.p, from.n);
  if (buf_failed(&from) || buf_failed(&to) || !key_successor(&to)) rc = HDB_NOMEM;
  if (rc == HDB_OK) rc = kv_iter_open(e->store, NULL, KV_HNSW, buf_slice(&from), buf_slice(&to), &r->it);
  if (rc == HDB_OK) {
    r->tree = tree;
    r->it->seek(r->it, buf_slice(&from));
    show(r);
    *out = &r->public;
  } else {
    free(r);
  }
  buf_free(&from);
  buf_free(&to);
  return rc;
}

void aside_cursor_next(aside_cursor *c) {
  aside_reading *r = (aside_reading *)c;
  r->it->next(r->it);
  show(r);
}

void aside_cursor_seek(aside_cursor *c, slice key) {
  aside_reading *r = (aside_reading *)c;
  buf whole = BUF_INIT;
  buf_be32(&whole, r->tree);
  buf_append(&whole, key.p, key.n);
  if (!buf_failed(&whole)) r->it->seek(r->it, buf_slice(&whole));
  show(r);
  if (buf_failed(&whole)) c->valid = false, c->error = HDB_NOMEM;
  buf_free(&whole);
}

void aside_cursor_close(aside_cursor *c) {
  if (!c) return;
  aside_reading *r = (aside_reading *)c;
  r->it->close(r->it);
  free(r);
}

/* The leader: a tree is cleared. */
void aside_forget(engine *e, kv_batch *batch, uint32_t tree) {
  uint8_t from[4], to[4];
  if (e->memory) return;
  put_be32(from, tree), put_be32(to, tree + 1);
  kv_batch_delete_range(batch, KV_HNSW, slice_of(from, 4), slice_of(to, 4));
}
