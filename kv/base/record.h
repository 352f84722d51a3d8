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

/* Payload bytes of each type byte; 255 where a varint length follows (11, 12). 13's payload is variable too. */
extern const uint8_t record_payload_size[256];

/* HDB_OK when every length stays inside the record. */
status record_check(slice record);
/* Number of columns, and where the type bytes begin. */
static inline uint32_t record_columns(const uint8_t *p, const uint8_t **types) {
  if (p[0] != 255) {
    *types = p + 1;
    return p[0];
  }
  uint64_t n = 0;
  *types = varint_get(p + 1, p + 11, &n);
  return (uint32_t)n;
}
/* Bytes of the payload at p for this type byte (length varint included). */
size_t record_skip(uint8_t type, const uint8_t *p);
/* The type byte and payload of column k; false when the record has fewer columns. */
bool record_column(slice record, uint32_t k, uint8_t *type, slice *payload);

/* A writer: add the columns in order, then take the bytes. Reusable; owns its two buffers. */
typedef struct record_writer {
  buf types, payload, out;
  uint32_t n;
} record_writer;
void record_begin(record_writer *w);
void record_null(record_writer *w);
void record_int(record_writer *w, int64_t v);
void record_real(record_writer *w, double v);
void record_text(record_writer *w, const void *p, size_t n);
void record_blob(record_writer *w, const void *p, size_t n);
/* A column copied from another record as it is. */
void record_raw(record_writer *w, uint8_t type, slice payload);
/* Valid until the next record_begin; p is NULL when out of memory. */
slice record_end(record_writer *w);
void record_writer_free(record_writer *w);

#endif
