/* History: how rows were before each commit that changed them.
 *
 * Key in KV_VERSIONS: tree (4) . bound of the group when the commit was folded . ~commit time (8, big-endian), so the
 * newest record of a group comes first. So that bounds sort as such, whatever follows them, a bound is written in
 * chunks of 8 bytes, the last padded with zeros, each followed by a byte: 9 more follow, 0..8 that many were the last.
 * Value:
 *
 *   bytes     meaning
 *   varint    number of rows
 *   a row:    varint shared: bytes the key has in common with the key before; varint rest length; rest
 *             varint (commit time - the old version's own time) << 1 | its fresh flag
 *             byte kind: 1 full, 2 columns
 *             1: varint length, the old value
 *             2: varint length of what follows; varint number of columns the old record had; then for each column
 *                that differs (ascending): varint column, type byte, varint payload length, payload
 *
 * V1  An insert writes no record: its row is marked fresh in the group, which says that the key was absent before.
 * V2  Keys of a record ascend, and lie in the range that the group had then. When groups split or merge records stay
 *     where they are: group_history.low says how far left to look, the group's upper bound how far right.
 */
#include "mvcc/scan.h"

void version_begin(version_record *r) {
  buf_clear(&r->bytes);
  buf_clear(&r->previous);
  r->count = 0;
}

void version_free(version_record *r) {
  buf_free(&r->bytes);
  buf_free(&r->previous);
  buf_free(&r->columns);
}

/* Appends the columns in which old differs from now; false: one of them is no record, or full is shorter. */
static bool differing_columns(buf *out, slice old, slice now) {
  if (record_check(old) != HDB_OK || record_check(now) != HDB_OK) return false;
  const uint8_t *old_types, *now_types;
  uint32_t old_n = record_columns(old.p, &old_types), now_n = record_columns(now.p, &now_types);
  const uint8_t *old_at = old_types + old_n, *now_at = now_types + now_n;
  buf_varint(out, old_n);
  for (uint32_t k = 0; k < old_n; k++) {
    size_t old_size = record_skip(old_types[k], old_at), now_size = 0;
    bool same = k < now_n && old_types[k] == now_types[k];
    if (k < now_n) now_size = record_skip(now_types[k], now_at);
    same = same && old_size == now_size && memcmp(old_at, now_at, old_size) == 0;
    if (!same) {
      buf_varint(out, k);
      buf_byte(out, old_types[k]);
      buf_varint(out, old_size);
      buf_append(out, old_at, old_size);
      if (out->n >= old.n) return false;
    }
    old_at += old_size, now_at += now_size;
  }
  return !buf_failed(out);
}

void version_add(version_record *r, slice prefix, const row *old, const slice *now, int64_t time) {
  buf key = r->previous; /* compared with the key before, then becomes it */
  size_t shared = 0, n = prefix.n + old->key.n;
  while (shared < key.n && shared < n) {
    uint8_t byte = shared < prefix.n ? prefix.p[shared] : old->key.p[shared - prefix.n];
    if (key.p[shared] != byte) break;
    shared++;
  }
  key.n = shared;
  if (shared < prefix.n) {
    buf_append(&key, prefix.p + shared, prefix.n - shared);
    buf_append(&key, old->key.p, old->key.n);
  } else {
    buf_append(&key, old->key.p + (shared - prefix.n), n - shared);
  }
  r->previous = key;
  buf *out = &r->bytes;
  buf_varint(out, shared);
  buf_varint(out, n - shared);
  if (!buf_failed(&key)) buf_append(out, key.p + shared, n - shared);
  buf_varint(out, (uint64_t)(time - old->time) << 1 | old->fresh);
  buf_clear(&r->columns);
  if (now && old->value.n > 16 && now->n && differing_columns(&r->columns, old->value, *now)) {
    buf_byte(out, 2);
    buf_varint(out, r->columns.n);
    buf_append(out, r->columns.p, r->columns.n);
  } else {
    buf_byte(out, 1);
    buf_varint(out, old->value.n);
    buf_append(out, old->value.p, old->value.n);
  }
  r->count++;
}

void version_bound(buf *b, uint32_t tree, slice bound) {
  buf_be32(b, tree);
  for (;;) {
    uint8_t chunk[9] = {0};
    size_t n = bound.n < 8 ? bound.n : 8;
    if (n) memcpy(chunk, bound.p, n);
    bound.p += n, bound.n -= n;
    chunk[8] = bound.n ? 9 : (uint8_t)n;
    buf_append(b, chunk, 9);
    if (!bound.n) return;
  }
}

status version_put(version_record *r, kv_batch *batch, uint32_t tree, slice bound, int64_t time) {
  buf key = BUF_INIT, value = BUF_INIT;
  version_bound(&key, tree, bound);
  buf_be64(&key, ~(uint64_t)time);
  buf_varint(&value, r->count);
  buf_append(&value, r->bytes.p, r->bytes.n);
  status rc = HDB_OK;
  if (buf_failed(&key) || buf_failed(&value) || buf_failed(&r->bytes) || buf_failed(&r->previous)) rc = HDB_NOMEM;
  if (rc == HDB_OK) kv_batch_put(batch, KV_VERSIONS, buf_slice(&key), buf_slice(&value));
  buf_free(&key);
  buf_free(&value);
  return rc;
}
