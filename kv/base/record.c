/* Records: checking and writing (the readers are inline in record.h).
 *
 * The writer collects type bytes and payloads in two buffers and joins them at the end, since the number of
 * columns is not known before. Cost: two copies of the payload's bytes. Running out of memory is sticky in
 * the buffers and shows as a NULL slice from record_end.
 */
#include "kv/base/record.h"

#define TEN(f, n) f(n), f((n) + 1), f((n) + 2), f((n) + 3), f((n) + 4), f((n) + 5), f((n) + 6), f((n) + 7), f((n) + 8), f((n) + 9)
#define SELF(n) (n)
#define INLINE_SIZES                                                                                                   \
  TEN(SELF, 0), TEN(SELF, 10), TEN(SELF, 20), TEN(SELF, 30), TEN(SELF, 40), TEN(SELF, 50), TEN(SELF, 60),              \
      TEN(SELF, 70), TEN(SELF, 80), TEN(SELF, 90), TEN(SELF, 100), TEN(SELF, 110)

const uint8_t record_payload_size[256] = {
    0, 0, 0, 1, 2, 3, 4, 6, 8, 8, 4, 255, 255, 255, 255, 255, /* types 0..15 */
    INLINE_SIZES,                                             /* 16..135: text */
    INLINE_SIZES,                                             /* 136..255: blob */
};

size_t record_skip_slow(uint8_t type, const uint8_t *p) {
  uint64_t n = 0;
  if (type == REC_LARGE) return (size_t)(varint_get(p + 8, p + 18, &n) + 1 - p);
  return (size_t)(varint_get(p, p + 10, &n) - p) + (size_t)n;
}

status record_check(slice record) {
  const uint8_t *p = record.p, *end = p + record.n;
  if (p == end) return HDB_CORRUPT;
  uint64_t n = *p++;
  if (n == 255 && !(p = varint_get(p, end, &n))) return HDB_CORRUPT;
  if (n > (uint64_t)(end - p) || n > UINT32_MAX) return HDB_CORRUPT;
  const uint8_t *types = p;
  p += n;
  for (uint64_t i = 0; i < n; i++) {
    uint8_t type = types[i];
    uint64_t size = record_payload_size[type];
    if (size == 255) {
      if (type == REC_TEXT || type == REC_BLOB) {
        if (!(p = varint_get(p, end, &size))) return HDB_CORRUPT;
      } else if (type == REC_LARGE) {
        if (end - p < 8 || !(p = varint_get(p + 8, end, &size))) return HDB_CORRUPT;
        size = 1;
      } else {
        return HDB_CORRUPT;
      }
    }
    if (size > (uint64_t)(end - p)) return HDB_CORRUPT;
    p += size;
  }
  return p == end ? HDB_OK : HDB_CORRUPT;
}

record_large_ref record_get_large(const uint8_t *p) {
  record_large_ref r = {0, 0, false};
  memcpy(&r.id, p, 8);
  p = varint_get(p + 8, p + 18, &r.length);
  r.is_blob = *p != 0;
  return r;
}

/* ---- writing ---- */

void record_begin(record_writer *w) {
  buf_clear(&w->types);
  buf_clear(&w->payload);
  w->n = 0;
}

static void add_type(record_writer *w, uint8_t type) {
  buf_byte(&w->types, type);
  w->n++;
}

static void add_fixed(record_writer *w, uint8_t type, const void *p, size_t n) {
  add_type(w, type);
  buf_append(&w->payload, p, n);
}

void record_null(record_writer *w) { add_type(w, REC_NULL); }

void record_int(record_writer *w, int64_t v) {
  if (v == 0 || v == 1) add_type(w, v ? REC_ONE : REC_ZERO);
  else if (v == (int8_t)v) add_fixed(w, REC_INT1, &v, 1);
  else if (v == (int16_t)v) add_fixed(w, REC_INT2, &v, 2);
  else if (v >= -(1 << 23) && v < 1 << 23) add_fixed(w, REC_INT3, &v, 3);
  else if (v == (int32_t)v) add_fixed(w, REC_INT4, &v, 4);
  else if (v >= -((int64_t)1 << 47) && v < (int64_t)1 << 47) add_fixed(w, REC_INT6, &v, 6);
  else add_fixed(w, REC_INT8, &v, 8);
}

void record_real(record_writer *w, double v) {
  if (v >= INT32_MIN && v <= INT32_MAX) {
    int32_t i = (int32_t)v;
    double back = i;
    if (memcmp(&back, &v, sizeof v) == 0) { /* bytes: -0.0 is not 0 */
      add_fixed(w, REC_REAL_INT4, &i, 4);
      return;
    }
  } else if (v != v) {
    add_type(w, REC_NULL);
    return;
  }
  add_fixed(w, REC_REAL, &v, 8);
}

static void add_bytes(record_writer *w, const void *p, size_t n, uint8_t inline_type, uint8_t type) {
  if (n < REC_BLOB0 - REC_TEXT0) {
    add_type(w, (uint8_t)(inline_type + n));
  } else {
    add_type(w, type);
    buf_varint(&w->payload, n);
  }
  buf_append(&w->payload, p, n);
}

void record_text(record_writer *w, const void *p, size_t n) { add_bytes(w, p, n, REC_TEXT0, REC_TEXT); }
void record_blob(record_writer *w, const void *p, size_t n) { add_bytes(w, p, n, REC_BLOB0, REC_BLOB); }

void record_large(record_writer *w, uint64_t id, uint64_t length, bool is_blob) {
  add_fixed(w, REC_LARGE, &id, 8);
  buf_varint(&w->payload, length);
  buf_byte(&w->payload, is_blob);
}

void record_raw(record_writer *w, uint8_t type, slice payload) { add_fixed(w, type, payload.p, payload.n); }

slice record_end(record_writer *w) {
  buf_clear(&w->out);
  uint8_t *p = buf_reserve(&w->out, w->types.n + w->payload.n + 11);
  if (!p || buf_failed(&w->types) || buf_failed(&w->payload)) return slice_of(NULL, 0);
  if (w->n < 255) {
    *p++ = (uint8_t)w->n;
    w->out.n = 1;
  } else {
    buf_byte(&w->out, 255);
    buf_varint(&w->out, w->n);
    p = w->out.p + w->out.n;
  }
  if (w->types.n) memcpy(p, w->types.p, w->types.n);
  if (w->payload.n) memcpy(p + w->types.n, w->payload.p, w->payload.n);
  w->out.n += w->types.n + w->payload.n;
  return buf_slice(&w->out);
}

void record_writer_free(record_writer *w) {
  buf_free(&w->types);
  buf_free(&w->payload);
  buf_free(&w->out);
  w->n = 0;
}
