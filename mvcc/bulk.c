/* Bulk: ascending keys into a tree that this transaction made, written to kv in chunks ahead of the commit.
 *
 * Nobody else can name the tree before the commit publishes the schema row that does, so its groups may lie in kv
 * early. `building/<id>` in meta says that they are not published: the commit deletes it in its batch; a rollback
 * deletes the range; what a crash left is deleted at the next open. The transaction itself reads such a tree in kv's
 * newest state instead of its snapshot.
 * B1  Groups carry the newest visible time when the bulk began, which is not after the commit's: whoever looks AS OF
 *     an earlier time sees no row, and no schema that names the tree.
 * B2  A tree that the transaction did not make, or has written, is filled through the write set instead.
 * Cost: 100 ns a row of 100 bytes.
 */
#include <stdlib.h>

#include "mvcc/internal.h"

enum { CHUNK_BYTES = 1 << 20, ROWS_MAX = 512 };

struct bulk {
  txn *t;
  write_tree *w; /* NULL: through the write set */
  uint32_t tree;
  kv_batch *batch;
  int64_t time;
  arena memory;
  arena_mark empty;
  row rows[ROWS_MAX];
  size_t rows_n, rows_bytes;
  int64_t count, bytes;
  buf last, bound, key, value;
  bool any;
};

static void building_key(buf *b, uint32_t tree) { buf_printf(b, "building/%u", (unsigned)tree); }

static status mark_building(engine *e, uint32_t tree) {
  if (e->memory) return HDB_OK;
  buf key = BUF_INIT;
  building_key(&key, tree);
  kv_batch *batch = kv_batch_new(e->store);
  status rc = batch && !buf_failed(&key) ? HDB_OK : HDB_NOMEM;
  if (rc == HDB_OK) {
    kv_batch_put(batch, KV_META, buf_slice(&key), slice_of(NULL, 0));
    rc = kv_write(e->store, batch, false);
  }
  kv_batch_free(batch);
  buf_free(&key);
  return rc;
}

static bool made_here(const txn *t, uint32_t tree) {
  for (size_t i = 0; i < t->made_n; i++) {
    if (t->made[i] == tree) return true;
  }
  return false;
}

status bulk_open(txn *t, uint32_t tree, bulk **out) {
  *out = NULL;
  TRY(txn_check_open(t));
  bulk *b = calloc(1, sizeof *b);
  if (!b) return HDB_NOMEM;
  b->t = t, b->tree = tree;
  b->empty = arena_save(&b->memory);
  b->time = t->view_time;
  status rc = HDB_OK;
  if (!is_remote(t->engine) && made_here(t, tree) && !writeset_find(&t->writes, tree)) { /* B2 */
    CHECK(mark_building(t->engine, tree));
    CHECK(txn_write_tree(t, tree, &b->w));
    CHECK(writeset_bulk(&t->writes, b->w));
    b->batch = kv_batch_new(t->engine->store);
    if (!b->batch) rc = HDB_NOMEM;
  }
out:
  if (rc != HDB_OK) {
    bulk_abandon(b);
    return rc;
  }
  *out = b;
  return HDB_OK;
}

static status write_batch(bulk *b) {
  TRY(kv_write(b->t->engine->store, b->batch, false));
  kv_batch_clear(b->batch);
  return HDB_OK;
}

/* The rows in hand become a group; the next one begins at what parts `next` from the last of them. */
static status put_group(bulk *b, slice next) {
  if (b->rows_n == 0) return HDB_OK;
  buf_clear(&b->key), buf_clear(&b->value);
  group_key(&b->key, b->tree, buf_slice(&b->bound));
  group_encode(&b->value, slice_of(NULL, 0), b->rows, b->rows_n, b->t->engine->history, b->time, NULL);
  if (next.p) {
    size_t n = slice_common(b->rows[b->rows_n - 1].key, next) + 1;
    buf_clear(&b->bound);
    buf_append(&b->bound, next.p, n);
  }
  if (buf_failed(&b->key) || buf_failed(&b->value) || buf_failed(&b->bound)) return HDB_NOMEM;
  kv_batch_put(b->batch, KV_ROWS, buf_slice(&b->key), buf_slice(&b->value));
  b->rows_n = b->rows_bytes = 0;
  arena_rewind(&b->memory, b->empty);
  return kv_batch_bytes(b->batch) >= CHUNK_BYTES ? write_batch(b) : HDB_OK;
}

status bulk_add(bulk *b, slice key, slice value) {
  slice last = b->rows_n ? b->rows[b->rows_n - 1].key : buf_slice(&b->last);
  if (b->any && slice_compare(key, last) <= 0) return HDB_CONSTRAINT_UNIQUE;
  b->any = true;
  if (!b->w) {
    buf_clear(&b->last);
    buf_append(&b->last, key.p, key.n);
    TRY(buf_failed(&b->last) ? HDB_NOMEM : HDB_OK);
    return txn_put(b->t, b->tree, key, value, PUT_INSERT);
  }
  size_t bytes = key.n + value.n + 4;
  if (b->rows_n == ROWS_MAX || (b->rows_n && b->rows_bytes + bytes > GROUP_TAIL)) TRY(put_group(b, key));
  row *r = &b->rows[b->rows_n];
  uint8_t *copy = arena_alloc(&b->memory, key.n + value.n);
  if (!copy) return HDB_NOMEM;
  memcpy(copy, key.p, key.n);
  if (value.n) memcpy(copy + key.n, value.p, value.n);
  *r = (row){slice_of(copy, key.n), slice_of(copy + key.n, value.n), b->time, true};
  b->rows_n++, b->rows_bytes += bytes;
  b->count++, b->bytes += (int64_t)bytes;
  return HDB_OK;
}

void bulk_abandon(bulk *b) {
  if (!b) return;
  kv_batch_free(b->batch);
  arena_clear(&b->memory);
  buf_free(&b->last), buf_free(&b->bound), buf_free(&b->key), buf_free(&b->value);
  free(b);
}

status bulk_finish(bulk *b) {
  status rc = HDB_OK;
  if (b->w) {
    CHECK(put_group(b, slice_of(NULL, 0)));
    CHECK(write_batch(b));
    b->w->bulk_rows += b->count, b->w->bulk_bytes += b->bytes;
    b->w->generation++;
  }
out:
  if (rc != HDB_OK && b->w) b->t->doomed = rc; /* half of it lies there: only a rollback is left */
  bulk_abandon(b);
  return rc;
}

/* ---- taking back, publishing ---- */

static void put_removal(engine *e, kv_batch *batch, uint32_t tree) {
  uint8_t from[4], to[4];
  put_be32(from, tree), put_be32(to, tree + 1);
  kv_batch_delete_range(batch, KV_ROWS, slice_of(from, 4), slice_of(to, 4));
  bulk_publish(e, batch, tree);
}

void bulk_publish(engine *e, kv_batch *batch, uint32_t tree) {
  if (e->memory) return;
  buf key = BUF_INIT;
  building_key(&key, tree);
  if (!buf_failed(&key)) kv_batch_delete(batch, KV_META, buf_slice(&key));
  buf_free(&key);
}

/* Is it filled by a transaction that has not committed? */
status bulk_is_unpublished(engine *e, const kv_snapshot *snapshot, uint32_t tree, bool *is) {
  tree_info *i;
  kv_value value;
  *is = false;
  if (e->memory) { /* nothing that was committed here is unknown */
    TRY(tree_get(e, tree, &i));
    *is = atomic_load(&i->changed_time) == 0;
    return HDB_OK;
  }
  buf key = BUF_INIT;
  building_key(&key, tree);
  status rc = buf_failed(&key) ? HDB_NOMEM : kv_get(e->store, snapshot, KV_META, buf_slice(&key), &value);
  buf_free(&key);
  *is = rc == HDB_OK;
  if (rc == HDB_OK) kv_release(&value);
  return rc == HDB_NOTFOUND ? HDB_OK : rc;
}

void bulk_remove(engine *e, uint32_t tree) {
  if (is_remote(e)) return;
  kv_batch *batch = kv_batch_new(e->store);
  if (!batch) return; /* the next open removes it */
  put_removal(e, batch, tree);
  kv_write(e->store, batch, false);
  kv_batch_free(batch);
}

status bulk_remove_unpublished(engine *e) {
  if (e->memory || e->read_only) return HDB_OK;
  kv_iter *it;
  slice prefix = slice_str("building/");
  kv_batch *batch = kv_batch_new(e->store);
  if (!batch) return HDB_NOMEM;
  status rc = kv_iter_open(e->store, NULL, KV_META, prefix, slice_str("building0"), &it);
  bool any = false;
  if (rc == HDB_OK) {
    for (it->seek(it, prefix); it->valid; it->next(it)) {
      char digits[16] = {0};
      size_t n = it->key.n - prefix.n;
      if (n == 0 || n >= sizeof digits) continue;
      memcpy(digits, it->key.p + prefix.n, n);
      put_removal(e, batch, (uint32_t)strtoul(digits, NULL, 10));
      any = true;
    }
    rc = it->error;
    it->close(it);
  }
  if (rc == HDB_OK && any) rc = kv_write(e->store, batch, false);
  kv_batch_free(batch);
  return rc;
}
