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
 * Records of one bound that lie next to each other become a block (pack.c), under the key of its newest record:
 *
 *   byte      0 (a record has at least one row)
 *   varint    newest - oldest commit time in it; varint how many commits it has
 *   varint    length of what all keys begin with; that
 *   a row:    varint length of the rest of the key; the rest; varint length of its versions; its versions, newest first
 *   a version: (the first: varint the block's newest time - its commit time); varint (commit time - own time) << 3 | flags:
 *             1 fresh, 2 full, 4 the next version of the row was replaced at this one's own time
 *             (without 4, and when there is a next: varint own time - the next one's commit time)
 *             varint length; full: the old value; else: varint number of columns, then for each that differs: varint column,
 *             type byte, payload
 *
 * Blocks of bounds with a long history have more at their head, in place of how many commits (feature `chapters`):
 *
 *   varint    0; then how many commits
 *   varint    bytes of this bound's blocks since the last one with a chapter, with this one; 0: it has one
 *   chapter:  varint newest - the oldest commit time that it covers; varint length of its rows; its rows
 *   a row:    varint shared: bytes the key has in common with the key before; varint rest length; rest
 *             varint the block's newest time - commit time; varint (commit time - own time) << 2 | flags: 1 fresh, 2 full
 *             varint length; full: the old value; else: columns, as a block has them
 *
 * A chapter says of each row in the blocks that it covers what all its versions there come to (chapter.c).
 *
 * V1  An insert writes no record: its row is marked fresh in the group, which says that the key was absent before.
 * V2  Keys of a record ascend, and lie in the range that the group had then. When groups split or merge records stay
 *     where they are: group_history.low says how far left to look, the group's upper bound how far right.
 * V3  Times of blocks and records under one bound do not overlap.
 */
#include "mvcc/scan.h"
#include "mvcc/undo.h"

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
  if (buf_failed(&key) || buf_failed(&value) || buf_failed(&r->bytes) || buf_failed(&r->previous))
    rc = HDB_NOMEM;
  if (rc == HDB_OK) kv_batch_put(batch, KV_VERSIONS, buf_slice(&key), buf_slice(&value));
  buf_free(&key);
  buf_free(&value);
  return rc;
}

/* ---- reading ---- */

/* A key that shares bytes with the one before. */
static inline bool next_key(buf *key, uint64_t shared, const uint8_t *rest, uint64_t n) {
  if (__builtin_expect(shared + n > key->capacity || !key->p, 0)) {
    key->n = shared;
    if (!buf_reserve(key, n + 8)) return false;
  }
  memcpy(key->p + shared, rest, n);
  key->n = shared + n;
  return true;
}

static status each_of_record(buf *key, int64_t time, slice value, undo_visitor visit, void *context) {
  const uint8_t *in = value.p, *end = in + value.n;
  uint64_t count, shared, rest, back, n;
  bool skip;
  in = varint_get(in, end, &count);
  if (!in) return HDB_CORRUPT;
  buf_clear(key);
  for (; count; count--) {
    in = varint_get(in, end, &shared);
    if (in) in = varint_get(in, end, &rest);
    if (!in || shared > key->n || rest > (uint64_t)(end - in)) return HDB_CORRUPT;
    if (!next_key(key, shared, in, rest)) return HDB_NOMEM;
    in = varint_get(in + rest, end, &back);
    if (!in || in >= end || *in < VERSION_FULL || *in > VERSION_COLUMNS) return HDB_CORRUPT;
    undo_version v = {NULL, time, time - (int64_t)(back >> 1), back & 1, *in++, {0}};
    in = varint_get(in, end, &n);
    if (!in || n > (uint64_t)(end - in)) return HDB_CORRUPT;
    v.bytes = slice_of(in, n);
    in += n;
    TRY(visit(context, buf_slice(key), &v, &skip));
  }
  return HDB_OK;
}

static status each_of_chain(slice key, int64_t newest, const uint8_t *in, const uint8_t *end,
                            undo_visitor visit, void *context) {
  uint64_t back, head, n;
  bool skip = false;
  in = varint_get(in, end, &back);
  if (!in) return HDB_CORRUPT;
  for (int64_t time = newest - (int64_t)back; in < end && !skip;) {
    in = varint_get(in, end, &head);
    if (in) in = varint_get(in, end, &n);
    if (!in || n > (uint64_t)(end - in)) return HDB_CORRUPT;
    undo_version v = {
        NULL,           time, time - (int64_t)(head >> 3), head & 1, head & 2 ? VERSION_FULL : VERSION_PACKED,
        slice_of(in, n)};
    in += n;
    TRY(visit(context, key, &v, &skip));
    time = v.own_time;
    if (head & 4 || in >= end) continue;
    in = varint_get(in, end, &back);
    if (!in) return HDB_CORRUPT;
    time -= (int64_t)back;
  }
  return HDB_OK;
}

static status each_of_block(buf *key, int64_t newest, slice value, undo_visitor visit, void *context) {
  block_head h;
  uint64_t n;
  if (!version_block_head(value, newest, &h)) return HDB_CORRUPT;
  const uint8_t *in = h.rest, *end = value.p + value.n;
  in = varint_get(in, end, &n);
  if (!in || n > (uint64_t)(end - in)) return HDB_CORRUPT;
  buf_clear(key);
  buf_append(key, in, n);
  size_t prefix = n;
  for (in += n; in < end; in += n) {
    in = varint_get(in, end, &n);
    if (!in || n > (uint64_t)(end - in)) return HDB_CORRUPT;
    key->n = prefix;
    buf_append(key, in, n);
    if (buf_failed(key)) return HDB_NOMEM;
    in = varint_get(in + n, end, &n);
    if (!in || n > (uint64_t)(end - in)) return HDB_CORRUPT;
    TRY(each_of_chain(buf_slice(key), newest, in, in + n, visit, context));
  }
  return HDB_OK;
}

status version_each(buf *key, int64_t time, slice value, undo_visitor visit, void *context) {
  if (!value.n) return HDB_CORRUPT;
  return value.p[0] ? each_of_record(key, time, value, visit, context)
                    : each_of_block(key, time, value, visit, context);
}

/* The end of a payload of no fixed size that nobody has looked at yet; NULL: damaged. */
const uint8_t *version_payload_end(uint8_t type, const uint8_t *p, const uint8_t *end) {
  uint64_t n = record_payload_size[type];
  if (n == 255) {
    if (type == REC_LARGE) {
      p = end - p > 8 ? varint_get(p + 8, end, &n) : NULL;
      n = 1;
    } else if (type == REC_TEXT || type == REC_BLOB) {
      p = varint_get(p, end, &n);
    } else {
      return NULL;
    }
  }
  return p && n <= (uint64_t)(end - p) ? p + n : NULL;
}

/* ---- blocks ---- */

void version_block_begin(buf *out, slice prefix, const block_head *h, int64_t newest) {
  buf_byte(out, 0);
  buf_varint(out, (uint64_t)(newest - h->oldest));
  buf_byte(out, 0);
  buf_varint(out, h->commits);
  buf_varint(out, h->chapter.p ? 0 : h->open);
  if (h->chapter.p) {
    buf_varint(out, (uint64_t)(newest - h->covers));
    buf_varint(out, h->chapter.n);
    buf_append(out, h->chapter.p, h->chapter.n);
  }
  buf_varint(out, prefix.n);
  buf_append(out, prefix.p, prefix.n);
}

static status packed_columns(buf *out, const undo_version *v) {
  const uint8_t *c;
  uint64_t n;
  version_column column;
  buf_clear(out);
  TRY(version_columns_begin(v, &c, &n));
  buf_varint(out, n);
  while (c < v->bytes.p + v->bytes.n) {
    TRY(version_columns_next(v, &c, &column));
    if (version_payload_end(column.type, column.payload.p, column.payload.p + column.payload.n) !=
        column.payload.p + column.payload.n)
      return HDB_CORRUPT;
    buf_varint(out, column.at);
    buf_byte(out, column.type);
    buf_append(out, column.payload.p, column.payload.n);
  }
  return buf_failed(out) ? HDB_NOMEM : HDB_OK;
}

status version_block_add(buf *chain, buf *columns, int64_t above, const undo_version *v,
                         const undo_version *older) {
  bool linked = older && older->time == v->own_time;
  if (above < v->time || v->own_time > v->time || (older && older->time > v->own_time)) return HDB_CORRUPT;
  /* the first says how far from the block's newest, a later one how far from the own time of the one before, unless linked */
  if (!chain->n || above != v->time) buf_varint(chain, (uint64_t)(above - v->time));
  slice bytes = v->bytes;
  if (v->kind == VERSION_COLUMNS) {
    TRY(packed_columns(columns, v));
    bytes = buf_slice(columns);
  }
  uint64_t flags = (v->fresh ? 1 : 0) | (v->kind == VERSION_FULL ? 2 : 0) | (linked ? 4 : 0);
  buf_varint(chain, (uint64_t)(v->time - v->own_time) << 3 | flags);
  buf_varint(chain, bytes.n);
  buf_append(chain, bytes.p, bytes.n);
  return buf_failed(chain) ? HDB_NOMEM : HDB_OK;
}

void version_block_row(buf *out, slice suffix, const buf *chain) {
  buf_varint(out, suffix.n);
  buf_append(out, suffix.p, suffix.n);
  buf_varint(out, chain->n);
  buf_append(out, chain->p, chain->n);
  if (buf_failed(chain)) out->failed = true;
}

bool version_block_head(slice value, int64_t newest, block_head *h) {
  uint64_t span, n;
  const uint8_t *end = value.p + value.n;
  *h = (block_head){.open = value.n};
  if (!value.n || value.p[0]) return false;
  const uint8_t *in = varint_get(value.p + 1, end, &span);
  if (in) in = varint_get(in, end, &h->commits);
  if (!in || newest < 1 || span >= (uint64_t)newest) return false; /* who looks behind it must get ahead */
  h->oldest = newest - (int64_t)span;
  h->rest = in;
  if (h->commits) return true;
  in = varint_get(in, end, &h->commits);
  if (in) in = varint_get(in, end, &h->open);
  if (in && !h->open) {
    in = varint_get(in, end, &span);
    if (in) in = varint_get(in, end, &n);
    if (!in || n > (uint64_t)(end - in) || span >= (uint64_t)newest || newest - (int64_t)span > h->oldest)
      return false;
    h->covers = newest - (int64_t)span;
    h->chapter = slice_of(in, n);
    in += n;
  }
  h->rest = in;
  return in;
}
