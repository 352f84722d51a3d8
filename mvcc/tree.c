/* What an engine knows of each tree: when it was last changed, how many rows it has, which row ids are out.
 *
 * Ids of trees come in blocks of 64 whose end is in meta under `next_tree`, written before the first of the block
 * is given: a crash or a rollback skips ids, never repeats one.
 * Counts lie in meta under `count/<id>` (rows, bytes, time; varints), in the batch of the commit that moved them.
 */
#include <stdlib.h>

#include "mvcc/internal.h"

enum { TREE_BLOCK = 64 };

void tree_count_key(uint32_t tree, buf *key) { buf_printf(key, "count/%u", (unsigned)tree); }

void tree_count_value(const tree_info *i, buf *value) {
  buf_varint(value, (uint64_t)i->rows);
  buf_varint(value, (uint64_t)i->bytes);
  buf_varint(value, (uint64_t)i->count_time);
}

static status load_count(engine *e, tree_info *i) {
  buf key = BUF_INIT;
  kv_value value;
  tree_count_key(i->tree, &key);
  status rc = buf_failed(&key) ? HDB_NOMEM : kv_get(e->store, NULL, KV_META, buf_slice(&key), &value);
  buf_free(&key);
  i->count_known = true;
  if (rc == HDB_NOTFOUND) return HDB_OK; /* an empty tree */
  TRY(rc);
  uint64_t v[3];
  const uint8_t *p = value.data.p, *end = p + value.data.n;
  for (int k = 0; k < 3 && p; k++) p = varint_get(p, end, &v[k]);
  if (p) i->rows = (int64_t)v[0], i->bytes = (int64_t)v[1], i->count_time = (int64_t)v[2];
  kv_release(&value);
  return p ? HDB_OK : HDB_CORRUPT;
}

status tree_get(engine *e, uint32_t tree, tree_info **out) {
  status rc = HDB_OK;
  pthread_mutex_lock(&e->trees_lock);
  tree_info **bucket = &e->trees[(tree * 2654435761u >> 16) % TREE_BUCKETS];
  tree_info *i = *bucket;
  while (i && i->tree != tree) i = i->chain;
  if (!i) {
    i = calloc(1, sizeof *i);
    if (i) {
      i->tree = tree;
      pthread_mutex_init(&i->lock, NULL);
      rc = is_remote(e) ? HDB_OK : load_count(e, i); /* else asked for in a view: remote_count */
    } else {
      rc = HDB_NOMEM;
    }
    if (rc == HDB_OK) {
      atomic_init(&i->changed_time, i->count_time);
      i->chain = *bucket, *bucket = i;
    } else {
      free(i);
      i = NULL;
    }
  }
  pthread_mutex_unlock(&e->trees_lock);
  *out = i;
  return rc;
}

status trees_load(engine *e) {
  status rc = HDB_OK;
  pthread_mutex_lock(&e->trees_lock);
  for (int b = 0; b < TREE_BUCKETS && rc == HDB_OK; b++) {
    for (tree_info *i = e->trees[b]; i && rc == HDB_OK; i = i->chain) {
      pthread_mutex_lock(&i->lock);
      i->rows = i->bytes = i->count_time = 0;
      i->claims_n = 0;
      i->floor_known = false;
      rc = load_count(e, i);
      atomic_store(&i->changed_time, i->count_time);
      pthread_mutex_unlock(&i->lock);
    }
  }
  e->next_tree = e->next_tree_end = 0;
  pthread_mutex_unlock(&e->trees_lock);
  return rc;
}

void trees_free(engine *e) {
  for (int b = 0; b < TREE_BUCKETS; b++) {
    while (e->trees[b]) {
      tree_info *i = e->trees[b];
      e->trees[b] = i->chain;
      pthread_mutex_destroy(&i->lock);
      free(i->claims);
      free(i);
    }
  }
}

static status reserve_block(engine *e) {
  uint64_t next = TREE_FIRST;
  kv_value value;
  slice name = slice_str("next_tree");
  status rc = kv_get(e->store, NULL, KV_META, name, &value);
  if (rc == HDB_OK) {
    if (!varint_get(value.data.p, value.data.p + value.data.n, &next)) rc = HDB_CORRUPT;
    kv_release(&value);
  } else if (rc == HDB_NOTFOUND) {
    rc = HDB_OK;
  }
  TRY(rc);
  if (next > UINT32_MAX - 2 * TREE_BLOCK) return HDB_FULL;
  buf text = BUF_INIT;
  buf_varint(&text, next + TREE_BLOCK);
  kv_batch *batch = kv_batch_new(e->store);
  rc = batch && !buf_failed(&text) ? HDB_OK : HDB_NOMEM;
  if (rc == HDB_OK) {
    kv_batch_put(batch, KV_META, name, buf_slice(&text));
    rc = kv_write(e->store, batch, false); /* a log in order: no commit that uses an id outlives this */
  }
  kv_batch_free(batch);
  buf_free(&text);
  TRY(rc);
  e->next_tree = (uint32_t)next, e->next_tree_end = (uint32_t)next + TREE_BLOCK;
  return HDB_OK;
}

status tree_new_id(engine *e, uint32_t *tree) {
  if (e->read_only) return HDB_READONLY;
  status rc = is_remote(e) ? remote_new_tree(e, tree) : HDB_BUSY_RECOVERY;
  if (rc != HDB_BUSY_RECOVERY) return rc;
  rc = HDB_OK;
  pthread_mutex_lock(&e->trees_lock);
  if (e->next_tree == e->next_tree_end) rc = reserve_block(e);
  if (rc == HDB_OK) *tree = e->next_tree++;
  pthread_mutex_unlock(&e->trees_lock);
  return rc;
}

void trees_release_claims(engine *e, const txn *owner) {
  pthread_mutex_lock(&e->trees_lock);
  for (int b = 0; b < TREE_BUCKETS; b++)
    for (tree_info *i = e->trees[b]; i; i = i->chain) tree_release_claims(i, owner);
  pthread_mutex_unlock(&e->trees_lock);
}

void tree_release_claims(tree_info *i, const txn *owner) {
  pthread_mutex_lock(&i->lock);
  for (size_t k = 0; k < i->claims_n; k++) {
    if (i->claims[k].owner == owner) i->claims[k--] = i->claims[--i->claims_n];
  }
  pthread_mutex_unlock(&i->lock);
}
