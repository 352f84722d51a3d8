/* The feed: one record a commit in KV_COMMITS, from which mirrors, merges and vector builders learn what changed.
 *
 * Key: commit time (8, big-endian), from the second part on . part (4, big-endian). Value of each part:
 *
 *   bytes    meaning
 *   1        version, 1
 *   varint   branch
 *   varint   client, varint number: the request's identity (0 0: none)
 *   then, tree after tree:
 *   varint   tree
 *   keys     varint shared + 1 (bytes in common with the key before, in this list), varint rest length, rest; 0 ends;
 *            or one varint 1 with rest length 0 first in the list: the whole tree
 *
 * A part is closed at 64 KB; a tree goes on in the next part as a new list.
 */
#include "mvcc/internal.h"

enum { FEED_PART = 64 * 1024, FEED_VERSION = 1 };

static void header(feed_record *r) {
  buf_clear(&r->bytes);
  buf_byte(&r->bytes, FEED_VERSION);
  buf_varint(&r->bytes, BRANCH_MAIN);
  buf_varint(&r->bytes, 0);
  buf_varint(&r->bytes, 0);
  r->open = false;
}

void feed_begin(feed_record *r, int64_t time) {
  r->time = time, r->part = 0, r->any = false;
  header(r);
}

static void close_list(feed_record *r) {
  if (r->open) buf_varint(&r->bytes, 0);
  r->open = false;
}

static void open_list(feed_record *r, uint32_t tree) {
  if (r->open && r->tree == tree) return;
  close_list(r);
  buf_varint(&r->bytes, tree);
  buf_clear(&r->previous);
  r->tree = tree, r->open = true;
}

static void put_part(feed_record *r, kv_batch *batch) {
  uint8_t key[12];
  close_list(r);
  put_be64(key, (uint64_t)r->time);
  put_be32(key + 8, r->part);
  if (!buf_failed(&r->bytes)) kv_batch_put(batch, KV_COMMITS, slice_of(key, r->part ? 12 : 8), buf_slice(&r->bytes));
  r->part++;
}

void feed_key(feed_record *r, kv_batch *batch, uint32_t tree, slice key) {
  if (r->bytes.n > FEED_PART) {
    put_part(r, batch);
    header(r);
  }
  open_list(r, tree);
  size_t shared = slice_common(buf_slice(&r->previous), key);
  buf_varint(&r->bytes, shared + 1);
  buf_varint(&r->bytes, key.n - shared);
  buf_append(&r->bytes, key.p + shared, key.n - shared);
  r->previous.n = shared;
  buf_append(&r->previous, key.p + shared, key.n - shared);
  r->any = true;
}

void feed_whole(feed_record *r, kv_batch *batch, uint32_t tree) {
  (void)batch;
  open_list(r, tree);
  buf_varint(&r->bytes, 1);
  buf_varint(&r->bytes, 0);
  close_list(r);
  r->any = true;
}

status feed_end(feed_record *r, kv_batch *batch) {
  put_part(r, batch);
  return buf_failed(&r->bytes) || buf_failed(&r->previous) ? HDB_NOMEM : HDB_OK;
}

void feed_free(feed_record *r) {
  buf_free(&r->bytes);
  buf_free(&r->previous);
}

status feed_changes(engine *e, int64_t since, int64_t upto, feed_visitor visit, void *context) {
  if (!e->feed) return HDB_NOTFOUND;
  return HDB_ERROR; /* not supported yet: reading the feed */
}
