/* Order-preserving key encoding: memcmp on the bytes is SQLite's order on the values
 * (NULL < numbers < text < blob; int64 and double compared exactly; text by its collation).
 *
 *   class    bytes (ascending)                       descending: every byte of the column inverted
 *   NULL     0x10
 *   number   0x20 + 8 bytes sortable double d (sign-flipped IEEE, -0.0 as 0.0), where d is the number
 *            rounded toward -infinity; when |d| >= 2^53: + 2 bytes, the residual x - d (0 for doubles)
 *   text     0x30 + bytes with 00 -> 00 ff, then 00 00
 *   blob     0x40 + bytes with 00 -> 00 ff, then 00 00
 *
 * K1  Every column is self-delimiting, so keys are compared as a whole and prefixes are prefixes.
 * K2  Equal under the collation = equal bytes. So the key may lose what the value keeps (1 and 1.0,
 *     'A' and 'a'): key_put_* return whether decoding gives the very value back.
 * K3  Row ids are encoded by themselves (key_put_rowid: 8 bytes, big-endian, sign bit flipped).
 */
#ifndef HDB_KV_BASE_KEY_H
#define HDB_KV_BASE_KEY_H

#include "kv/base/bytes.h"
#include "kv/base/status.h"

enum key_collation { KEY_BINARY, KEY_NOCASE, KEY_RTRIM };

enum key_class { KEY_CLASS_NULL = 0x10, KEY_CLASS_NUMBER = 0x20, KEY_CLASS_TEXT = 0x30, KEY_CLASS_BLOB = 0x40 };

void key_put_null(buf *b, bool descending);
bool key_put_int(buf *b, int64_t v, bool descending);    /* true: lossless */
bool key_put_real(buf *b, double v, bool descending);    /* always false when v is a whole number in int64's range */
bool key_put_text(buf *b, const void *p, size_t n, enum key_collation collation, bool descending);
bool key_put_blob(buf *b, const void *p, size_t n, bool descending);

typedef struct key_value {
  uint8_t klass; /* enum key_class */
  bool is_int;   /* for numbers: i is valid, else r */
  int64_t i;
  double r;
  slice bytes; /* text, blob: decoded into `scratch` only when it had to be unescaped or inverted */
} key_value;
/* Reads one column at p; returns the byte after it, NULL when damaged. A whole number decodes as an integer.
 * Decoded bytes are appended to scratch: buf_reserve(scratch, length of the key) once keeps all columns' slices
 * valid together, since decoding never lengthens. */
const uint8_t *key_get(const uint8_t *p, const uint8_t *end, bool descending, key_value *v, buf *scratch);
/* The byte after one column, NULL when damaged; needs not know its direction's class beforehand. */
const uint8_t *key_skip(const uint8_t *p, const uint8_t *end, bool descending);

static inline void key_put_rowid(buf *b, int64_t rowid) { buf_be64(b, (uint64_t)rowid ^ (1ull << 63)); }
static inline void rowid_encode(uint8_t out[8], int64_t rowid) { put_be64(out, (uint64_t)rowid ^ (1ull << 63)); }
static inline int64_t rowid_decode(const uint8_t *p) { return (int64_t)(get_be64(p) ^ (1ull << 63)); }

/* The smallest key greater than every key that starts with `b`'s bytes, in place; false: there is none (all ff). */
bool key_successor(buf *b);

#endif
