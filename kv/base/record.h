/* The record: how a row's (or index entry's) columns lie in bytes.
 *
 *   byte(s)      meaning
 *   0            number of columns n, 0..254; 255: a varint with n follows
 *   n bytes      one type byte a column (table below)
 *   ...          the columns' payloads, in order, nothing between them
 *
 *   type byte    payload
 *   0            NULL: none
 *   1, 2         the integers 0 and 1: none
 *   3 4 5 6 7 8  integer of 1 2 3 4 6 8 bytes, little-endian, two's complement
 *   9            double, 8 bytes little-endian IEEE 754
 *   10           a double that is a whole number within +-2^31: 4 bytes, that integer
 *   11, 12       text, blob: varint length, then the bytes
 *   13           a value kept under a key of its own: 8 bytes id, varint length, flag byte (text or blob)
 *   16..135      text of (type - 16) bytes
 *   136..255     blob of (type - 136) bytes
 *
 * R1  A record is read left to right; column k is found by adding up k payload sizes.
 * R2  Fewer columns than the table has is legal (ALTER TABLE ADD COLUMN): the rest are defaults.
 * R3  A reader never trusts a length: everything is checked against the record's end, once, by
 *     record_check(), before the unchecked fast readers run. A damaged record is HDB_CORRUPT.
 * mvcc knows this container (it diffs columns by bytes) and no types; sql knows both.
 */
#ifndef HDB_KV_BASE_RECORD_H
#define HDB_KV_BASE_RECORD_H

#include "kv/base/bytes.h"
#include "kv/base/status.h"

enum record_type {
  REC_NULL = 0,
  REC_ZERO = 1,
  REC_ONE = 2,
  REC_INT1 = 3,
  REC_INT2 = 4,
  REC_INT3 = 5,
  REC_INT4 = 6,
  REC_INT6 = 7,
  REC_INT8 = 8,
  REC_REAL = 9,
  REC_REAL_INT4 = 10,
  REC_TEXT = 11,
  REC_BLOB = 12,
  REC_LARGE = 13,
  REC_TEXT0 = 16,
  REC_BLOB0 = 136
};

/* Payload bytes of each type byte; 255 where it depends on the payload (11, 12, 13) or the type is unknown. */
extern const uint8_t record_payload_size[256];

/* HDB_OK when every type is known and the payloads fill the record exactly. */
status record_check(slice record);
/* Number of columns, and where the type bytes begin. The record has been checked. */
static inline uint32_t record_columns(const uint8_t *p, const uint8_t **types) {
  if (p[0] != 255) {
    *types = p + 1;
    return p[0];
  }
  uint64_t n = 0;
  *types = varint_get(p + 1, p + 11, &n);
  return (uint32_t)n;
}
size_t record_skip_slow(uint8_t type, const uint8_t *p);
/* Bytes of the payload at p for this type byte (length varint included). */
static inline size_t record_skip(uint8_t type, const uint8_t *p) {
  size_t n = record_payload_size[type];
  return n != 255 ? n : record_skip_slow(type, p);
}
/* The type byte and payload of column k (checked record); false when the record has fewer columns. */
static inline bool record_column(slice record, uint32_t k, uint8_t *type, slice *payload) {
  const uint8_t *types;
  if (record.n == 0) return false;
  uint32_t n = record_columns(record.p, &types);
  if (k >= n) return false;
  const uint8_t *p = types + n;
  for (uint32_t i = 0; i < k; i++) p += record_skip(types[i], p);
  *type = types[k];
  *payload = slice_of(p, record_skip(types[k], p));
  return true;
}

/* A walk over the columns in order: for (record_walk_start(&w, r); w.left; record_walk_next(&w)) { w.payload ... } */
typedef struct record_walk {
  const uint8_t *types, *payload;
  uint32_t left;
} record_walk;
static inline void record_walk_start(record_walk *w, slice record) {
  w->left = record.n ? record_columns(record.p, &w->types) : 0;
  w->payload = w->left ? w->types + w->left : record.p;
}
static inline uint8_t record_walk_type(const record_walk *w) { return *w->types; }
static inline void record_walk_next(record_walk *w) {
  w->payload += record_skip(*w->types, w->payload);
  w->types++, w->left--;
}

/* What a type byte holds, and the readers: the caller has looked at the type. */
static inline bool record_is_int(uint8_t type) { return type >= REC_ZERO && type <= REC_INT8; }
static inline bool record_is_real(uint8_t type) { return type == REC_REAL || type == REC_REAL_INT4; }
static inline bool record_is_text(uint8_t type) { return type == REC_TEXT || (type >= REC_TEXT0 && type < REC_BLOB0); }
static inline bool record_is_blob(uint8_t type) { return type == REC_BLOB || type >= REC_BLOB0; }
static inline int64_t record_get_int(uint8_t type, const uint8_t *p) {
  int16_t i2;
  int32_t i4;
  int64_t i8;
  switch (type) {
  case REC_ONE: return 1;
  case REC_INT1: return (int8_t)p[0];
  case REC_INT2: memcpy(&i2, p, 2); return i2;
  case REC_INT3: return (int32_t)((uint32_t)p[0] << 8 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 24) >> 8;
  case REC_INT4: memcpy(&i4, p, 4); return i4;
  case REC_INT6: {
    uint16_t low;
    memcpy(&low, p, 2);
    memcpy(&i4, p + 2, 4);
    return (int64_t)i4 * 65536 + low;
  }
  case REC_INT8: memcpy(&i8, p, 8); return i8;
  default: return 0;
  }
}
static inline double record_get_real(uint8_t type, const uint8_t *p) {
  if (type == REC_REAL_INT4) return (double)record_get_int(REC_INT4, p);
  double r;
  memcpy(&r, p, 8);
  return r;
}
/* Text or blob: the bytes inside the payload. */
static inline slice record_get_bytes(uint8_t type, const uint8_t *p) {
  if (type >= REC_BLOB0) return slice_of(p, (size_t)(type - REC_BLOB0));
  if (type >= REC_TEXT0) return slice_of(p, (size_t)(type - REC_TEXT0));
  uint64_t n = 0;
  const uint8_t *q = varint_get(p, p + 10, &n);
  return slice_of(q, (size_t)n);
}
typedef struct record_large_ref {
  uint64_t id, length;
  bool is_blob;
} record_large_ref;
record_large_ref record_get_large(const uint8_t *p);

/* A writer: add the columns in order, then take the bytes. Reusable; owns its two buffers. */
typedef struct record_writer {
  buf types, payload, out;
  uint32_t n;
} record_writer;
#define RECORD_WRITER_INIT {BUF_INIT, BUF_INIT, BUF_INIT, 0}
void record_begin(record_writer *w);
void record_null(record_writer *w);
void record_int(record_writer *w, int64_t v);
void record_real(record_writer *w, double v); /* NaN is written as NULL, as SQLite does */
void record_text(record_writer *w, const void *p, size_t n);
void record_blob(record_writer *w, const void *p, size_t n);
void record_large(record_writer *w, uint64_t id, uint64_t length, bool is_blob);
/* A column copied from another record as it is. */
void record_raw(record_writer *w, uint8_t type, slice payload);
/* Valid until the next record_begin; p is NULL when out of memory. */
slice record_end(record_writer *w);
void record_writer_free(record_writer *w);

#endif
