/* Bulk: ascending keys into an empty tree. For now they go through the write set, which takes appends at 50 ns. */
#include <stdlib.h>

#include "mvcc/internal.h"

struct bulk {
  txn *t;
  uint32_t tree;
  buf last;
  bool any;
};

status bulk_open(txn *t, uint32_t tree, bulk **out) {
  *out = NULL;
  TRY(txn_check_open(t));
  bulk *b = calloc(1, sizeof *b);
  if (!b) return HDB_NOMEM;
  b->t = t, b->tree = tree;
  *out = b;
  return HDB_OK;
}

status bulk_add(bulk *b, slice key, slice value) {
  if (b->any && slice_compare(key, buf_slice(&b->last)) <= 0) return HDB_CONSTRAINT_UNIQUE;
  b->any = true;
  buf_clear(&b->last);
  buf_append(&b->last, key.p, key.n);
  if (buf_failed(&b->last)) return HDB_NOMEM;
  return txn_put(b->t, b->tree, key, value, PUT_INSERT);
}

void bulk_abandon(bulk *b) {
  if (!b) return;
  buf_free(&b->last);
  free(b);
}

status bulk_finish(bulk *b) {
  bulk_abandon(b);
  return HDB_OK;
}
