/* The binary forms are PostgreSQL's send and receive functions' layouts: big-endian integers and IEEE floats, numeric in
 * base-10000 digits, dates in days and times in microseconds from 2000-01-01, arrays with dimensions. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/types.h"

static void put_16(buf *b, uint16_t v) {
  buf_byte(b, (uint8_t)(v >> 8));
  buf_byte(b, (uint8_t)v);
}

static uint16_t get_16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

/* ---- numeric ---- */

/* Decimal text [-]digits[.digits] to base-10000 groups aligned at the point. */
static void put_numeric(const char *p, size_t n, buf *out) {
  bool negative = n && *p == '-';
  if (negative || (n && *p == '+')) p++, n--;
  const char *point = memchr(p, '.', n);
  size_t whole = point ? (size_t)(point - p) : n, scale = point ? n - whole - 1 : 0;
  while (whole && *p == '0') p++, whole--, n--;
  const char *fraction = p + whole + 1;
  uint16_t digits[400];
  int count = 0, weight = (int)((whole + 3) / 4) - 1;
  for (size_t i = 0; i < whole && count < 398;) {
    size_t take = i == 0 && whole % 4 ? whole % 4 : 4;
    int v = 0;
    for (size_t k = 0; k < take; k++) v = v * 10 + (p[i + k] - '0');
    digits[count++] = (uint16_t)v;
    i += take;
  }
  for (size_t i = 0; i < scale && count < 398; i += 4) {
    int v = 0;
    for (size_t k = 0; k < 4; k++) v = v * 10 + (i + k < scale ? fraction[i + k] - '0' : 0);
    digits[count++] = (uint16_t)v;
  }
  int first = 0;
  while (first < count && digits[first] == 0) first++, weight--;
  while (count > first && digits[count - 1] == 0) count--;
  if (first == count) weight = 0, negative = false;
  put_16(out, (uint16_t)(count - first));
  put_16(out, (uint16_t)weight);
  put_16(out, negative ? 0x4000 : 0);
  put_16(out, (uint16_t)scale);
  for (int i = first; i < count; i++) put_16(out, digits[i]);
}

static bool get_numeric(slice b, buf *text) {
  if (b.n < 8) return false;
  int count = get_16(b.p), weight = (int16_t)get_16(b.p + 2), sign = get_16(b.p + 4), scale = get_16(b.p + 6);
  if (b.n != 8 + (size_t)count * 2 || sign > 0x4000 || weight > 2000 || weight < -2000 || scale > 16383) return false;
  if (sign == 0x4000) buf_byte(text, '-');
  if (weight < 0) buf_byte(text, '0');
  for (int i = 0; i <= weight; i++) {
    int v = i < count ? get_16(b.p + 8 + 2 * i) : 0;
    buf_printf(text, i == 0 ? "%d" : "%04d", v);
  }
  if (scale == 0) return true;
  buf_byte(text, '.');
  size_t from = text->n;
  for (int i = weight + 1; (int)(text->n - from) < scale; i++)
    buf_printf(text, "%04d", i >= 0 && i < count ? get_16(b.p + 8 + 2 * i) : 0);
  text->n = from + (size_t)scale;
  return true;
}

/* ---- out ---- */

static status misfit(uint32_t oid, error *err) {
  const pg_type *t = pg_type_by_oid(oid);
  return error_set(err, HDB_MISMATCH, "a stored value cannot be expressed as type %s", t ? t->sql : "?");
}

static void put_uuid(const char *p, size_t n, buf *out) {
  int high = -1;
  for (size_t i = 0; i < n; i++) {
    int c = p[i], d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (d < 0) continue;
    if (high < 0) high = d;
    else buf_byte(out, (uint8_t)(high << 4 | d)), high = -1;
  }
}

static status put_array(uint32_t oid, const value *v, buf *out, error *err);

static status put_binary(uint32_t oid, int32_t modifier, const value *v, buf *out, error *err) {
  arena scratch = ARENA_INIT;
  value w = *v;
  status rc = HDB_OK;
  int64_t number = 0;
  switch (oid) {
  case PG_BOOL: case PG_INT2: case PG_INT4: case PG_INT8: case PG_OID:
    if (w.type == VAL_REAL && w.r != trunc(w.r)) rc = misfit(oid, err);
    else if (pg_convert(oid, -1, false, &w, &scratch, NULL) != HDB_OK) rc = misfit(oid, err);
    else if (oid == PG_BOOL) buf_byte(out, w.i != 0);
    else if (oid == PG_INT2) put_16(out, (uint16_t)w.i);
    else if (oid == PG_INT8) buf_be64(out, (uint64_t)w.i);
    else buf_be32(out, (uint32_t)w.i);
    break;
  case PG_FLOAT4: case PG_FLOAT8:
    if (pg_convert(oid, -1, false, &w, &scratch, NULL) != HDB_OK) {
      rc = misfit(oid, err);
    } else if (oid == PG_FLOAT4) {
      float f = (float)w.r;
      uint32_t bits;
      memcpy(&bits, &f, 4);
      buf_be32(out, bits);
    } else {
      uint64_t bits;
      memcpy(&bits, &w.r, 8);
      buf_be64(out, bits);
    }
    break;
  case PG_NUMERIC: {
    buf text = BUF_INIT;
    rc = pg_output(oid, modifier, v, &text, err);
    if (rc == HDB_OK && memchr(text.p, 'e', text.n)) {
      buf_clear(&text);
      buf_printf(&text, "%.20f", v->r);
    }
    if (rc == HDB_OK) put_numeric((const char *)text.p, text.n, out);
    buf_free(&text);
    break;
  }
  case PG_DATE: case PG_TIME: case PG_TIMESTAMP: case PG_TIMESTAMPTZ:
    if (w.type != VAL_TEXT || !pg_date_number(w.p, w.n, oid, &number)) rc = misfit(oid, err);
    else if (oid == PG_DATE) buf_be32(out, (uint32_t)(int32_t)number);
    else buf_be64(out, (uint64_t)number);
    break;
  case PG_INTERVAL: {
    int32_t months, days;
    int64_t us;
    if (w.type != VAL_TEXT || !pg_interval_parse(w.p, w.n, &months, &days, &us)) {
      rc = misfit(oid, err);
      break;
    }
    buf_be64(out, (uint64_t)us);
    buf_be32(out, (uint32_t)days);
    buf_be32(out, (uint32_t)months);
    break;
  }
  case PG_UUID:
    if (pg_convert(oid, -1, false, &w, &scratch, NULL) != HDB_OK) rc = misfit(oid, err);
    else put_uuid(w.p, w.n, out);
    break;
  case PG_BYTEA:
    if (w.type != VAL_BLOB && w.type != VAL_TEXT) rc = misfit(oid, err);
    else buf_append(out, w.p, w.n);
    break;
  case PG_VECTOR: /* as pgvector has it: dimensions, 0, the elements */
    if (w.type != VAL_BLOB || w.n % 4 || w.n / 4 > UINT16_MAX) {
      rc = misfit(oid, err);
      break;
    }
    put_16(out, (uint16_t)(w.n / 4));
    put_16(out, 0);
    for (uint32_t i = 0; i < w.n; i += 4) {
      uint32_t bits;
      memcpy(&bits, w.p + i, 4);
      buf_be32(out, bits);
    }
    break;
  case PG_JSONB:
    buf_byte(out, 1);
    rc = pg_output(oid, modifier, v, out, err);
    break;
  default:
    rc = pg_array_element(oid) ? put_array(oid, v, out, err) : pg_output(oid, modifier, v, out, err);
  }
  arena_clear(&scratch);
  return rc;
}

/* One dimension of elements from JSON text: [1,null,"x"]. */
static status put_array(uint32_t oid, const value *v, buf *out, error *err) {
  uint32_t of = pg_array_element(oid);
  if (v->type != VAL_TEXT) return misfit(oid, err);
  buf text = BUF_INIT; /* the elements, each: flag, length, bytes */
  arena scratch = ARENA_INIT;
  const char *p = v->p, *end = p + v->n;
  int count = 0;
  bool nulls = false, vector = oid == PG_INT2VECTOR || oid == PG_OIDVECTOR;
  status rc = HDB_OK;
  if (p < end && *p == '[') p++;
  while (p < end && *p != ']' && rc == HDB_OK) {
    while (p < end && (*p == ' ' || *p == ',')) p++;
    if (p == end || *p == ']') break;
    if (*p == '[' || *p == '{') {
      rc = error_set(err, HDB_ERROR, "not supported yet: arrays of several dimensions in binary format");
      break;
    }
    value element = value_null();
    buf string = BUF_INIT;
    if (*p == '"') {
      value one;
      const char *from = p;
      for (p++; p < end && *p != '"'; p++)
        if (*p == '\\' && p + 1 < end) p++;
      if (p < end) p++;
      buf wrapped = BUF_INIT; /* through the text form, which knows the escapes */
      buf_byte(&wrapped, '[');
      buf_append(&wrapped, from, (size_t)(p - from));
      buf_byte(&wrapped, ']');
      one = value_text((const char *)wrapped.p, wrapped.n);
      buf printed = BUF_INIT;
      rc = pg_output(PG_TEXT_ARRAY, -1, &one, &printed, err);
      for (size_t i = 1; i + 1 < printed.n; i++) { /* {x} or {"x"} */
        if (printed.p[1] == '"' && (i == 1 || i + 2 == printed.n)) continue;
        if (printed.p[1] == '"' && printed.p[i] == '\\') i++;
        buf_byte(&string, printed.p[i]);
      }
      element = value_text(string.p ? (const char *)string.p : "", string.n);
      buf_free(&wrapped);
      buf_free(&printed);
    } else {
      const char *from = p;
      while (p < end && *p != ',' && *p != ']' && *p != ' ') p++;
      if (p - from == 4 && memcmp(from, "null", 4) == 0) nulls = true;
      else if (of == PG_BOOL) element = value_int(*from == 't' || *from == '1');
      else element = value_text(from, (size_t)(p - from));
    }
    count++;
    size_t length_at = text.n;
    buf_be32(&text, UINT32_MAX);
    if (rc == HDB_OK && element.type != VAL_NULL) {
      if (of != PG_TEXT) rc = pg_convert(of, -1, false, &element, &scratch, err);
      if (rc == HDB_OK) rc = put_binary(of, -1, &element, &text, err);
      if (rc == HDB_OK && !text.failed) put_be32(text.p + length_at, (uint32_t)(text.n - length_at - 4));
    }
    buf_free(&string);
  }
  buf_be32(out, count || vector ? 1 : 0);
  buf_be32(out, nulls);
  buf_be32(out, of);
  if (count || vector) {
    buf_be32(out, (uint32_t)count);
    buf_be32(out, vector ? 0 : 1);
    buf_append(out, text.p, text.n);
  }
  buf_free(&text);
  arena_clear(&scratch);
  return rc;
}

status wire_put(const pg_zone *zone, uint32_t oid, int32_t modifier, int format, const value *v, buf *out, error *err) {
  return format == 1 ? put_binary(oid, modifier, v, out, err) : pg_output_in(zone, oid, modifier, v, out, err);
}

/* ---- in ---- */

static status bad_binary(uint32_t oid, error *err) {
  const pg_type *t = pg_type_by_oid(oid);
  return error_set(err, HDB_FORMAT, "incorrect binary data format for type %s", t ? t->sql : "?");
}

static status text_value(buf *text, arena *memory, value *out, error *err) {
  char *p = text->failed ? NULL : arena_strndup(memory, text->p ? (const char *)text->p : "", text->n);
  *out = value_text(p, text->n);
  buf_free(text);
  return p ? HDB_OK : error_set(err, HDB_NOMEM, "out of memory");
}

static status get_array(uint32_t oid, slice b, arena *memory, value *out, error *err) {
  if (b.n < 12) return bad_binary(oid, err);
  uint32_t dimensions = get_be32(b.p), element = get_be32(b.p + 8);
  const uint8_t *p = b.p + 12, *end = b.p + b.n;
  const pg_type *t = pg_type_by_oid(oid);
  buf text = BUF_INIT;
  status rc = HDB_OK;
  buf_byte(&text, '[');
  if (dimensions > 1) rc = error_set(err, HDB_ERROR, "not supported yet: arrays of several dimensions in binary format");
  else if (dimensions == 1) {
    if (end - p < 8) rc = bad_binary(oid, err);
    uint32_t n = rc == HDB_OK ? get_be32(p) : 0;
    p += 8;
    for (uint32_t i = 0; i < n && rc == HDB_OK; i++) {
      if (end - p < 4) {
        rc = bad_binary(oid, err);
        break;
      }
      uint32_t length = get_be32(p);
      p += 4;
      if (i) buf_byte(&text, ',');
      if (length == UINT32_MAX) {
        buf_text(&text, "null");
        continue;
      }
      if (length > (size_t)(end - p)) {
        rc = bad_binary(oid, err);
        break;
      }
      value v;
      rc = wire_get(NULL, element, 1, slice_of(p, length), memory, &v, err);
      p += length;
      if (rc != HDB_OK) break;
      if (v.type == VAL_INTEGER) buf_printf(&text, "%lld", (long long)v.i);
      else if (v.type == VAL_REAL) pg_real_text(v.r, false, &text);
      else {
        buf plain = BUF_INIT;
        rc = pg_output(element, -1, &v, &plain, err);
        buf_byte(&text, '"');
        for (size_t k = 0; k < plain.n; k++) {
          if (plain.p[k] == '"' || plain.p[k] == '\\') buf_byte(&text, '\\');
          if (plain.p[k] < 32) buf_printf(&text, "\\u%04x", plain.p[k]);
          else buf_byte(&text, plain.p[k]);
        }
        buf_byte(&text, '"');
        buf_free(&plain);
      }
    }
  }
  buf_byte(&text, ']');
  if (rc != HDB_OK) {
    buf_free(&text);
    return rc;
  }
  (void)t;
  return text_value(&text, memory, out, err);
}

static status get_moment(uint32_t oid, slice b, arena *memory, value *out, error *err) {
  if (b.n != (oid == PG_DATE ? 4u : 8u)) return bad_binary(oid, err);
  buf text = BUF_INIT;
  pg_date_text(oid == PG_DATE ? (int32_t)get_be32(b.p) : (int64_t)get_be64(b.p), oid, &text);
  return text_value(&text, memory, out, err);
}

static status get_binary(uint32_t oid, slice b, arena *memory, value *out, error *err) {
  const pg_type *t = pg_type_by_oid(oid);
  buf text = BUF_INIT;
  switch (oid) {
  case PG_BOOL:
    if (b.n != 1) return bad_binary(oid, err);
    *out = value_int(b.p[0] != 0);
    return HDB_OK;
  case PG_INT2:
    if (b.n != 2) return bad_binary(oid, err);
    *out = value_int((int16_t)get_16(b.p));
    return HDB_OK;
  case PG_INT4:
    if (b.n != 4) return bad_binary(oid, err);
    *out = value_int((int32_t)get_be32(b.p));
    return HDB_OK;
  case PG_OID: case PG_REGCLASS: case PG_REGTYPE:
    if (b.n != 4) return bad_binary(oid, err);
    *out = value_int(get_be32(b.p));
    return HDB_OK;
  case PG_INT8:
    if (b.n != 8) return bad_binary(oid, err);
    *out = value_int((int64_t)get_be64(b.p));
    return HDB_OK;
  case PG_FLOAT4: case PG_FLOAT8: {
    double r;
    if (oid == PG_FLOAT4 && b.n == 4) {
      uint32_t bits = get_be32(b.p);
      float f;
      memcpy(&f, &bits, 4);
      r = f;
    } else if (oid == PG_FLOAT8 && b.n == 8) {
      uint64_t bits = get_be64(b.p);
      memcpy(&r, &bits, 8);
    } else {
      return bad_binary(oid, err);
    }
    if (isnan(r)) return error_set(err, HDB_RANGE, "NaN is not supported by type %s", t->sql);
    *out = value_real(r);
    return HDB_OK;
  }
  case PG_NUMERIC: {
    if (!get_numeric(b, &text)) {
      buf_free(&text);
      return bad_binary(oid, err);
    }
    TRY(text_value(&text, memory, out, err));
    return pg_convert(oid, -1, false, out, memory, err);
  }
  case PG_DATE: case PG_TIME: case PG_TIMESTAMP: case PG_TIMESTAMPTZ: return get_moment(oid, b, memory, out, err);
  case PG_INTERVAL:
    if (b.n != 16) return bad_binary(oid, err);
    pg_interval_text((int32_t)get_be32(b.p + 12), (int32_t)get_be32(b.p + 8), (int64_t)get_be64(b.p), &text);
    return text_value(&text, memory, out, err);
  case PG_UUID:
    if (b.n != 16) return bad_binary(oid, err);
    for (int i = 0; i < 16; i++) buf_printf(&text, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", b.p[i]);
    return text_value(&text, memory, out, err);
  case PG_BYTEA:
    *out = value_blob(arena_copy(memory, b.p, b.n), b.n);
    return HDB_OK;
  case PG_VECTOR: {
    if (b.n < 4 || b.n != 4 + 4 * (size_t)(b.p[0] << 8 | b.p[1])) return bad_binary(oid, err);
    uint8_t *floats = arena_alloc(memory, b.n);
    if (!floats) return error_set(err, HDB_NOMEM, "out of memory");
    for (size_t i = 4; i < b.n; i += 4) {
      uint32_t bits = get_be32(b.p + i);
      memcpy(floats + i - 4, &bits, 4);
    }
    *out = value_blob(floats, b.n - 4);
    return HDB_OK;
  }
  case PG_JSONB:
    if (b.n < 1 || b.p[0] != 1) return bad_binary(oid, err);
    b = slice_of(b.p + 1, b.n - 1);
    break;
  default:
    if (pg_array_element(oid)) return get_array(oid, b, memory, out, err);
  }
  buf_append(&text, b.p, b.n);
  return text_value(&text, memory, out, err);
}

status wire_get(const pg_zone *zone, uint32_t oid, int format, slice bytes, arena *memory, value *out, error *err) {
  if (bytes.n > 1000000000) return error_set(err, HDB_TOOBIG, "string or blob too big");
  if (format == 1) return get_binary(oid, bytes, memory, out, err);
  char *p = arena_strndup(memory, bytes.n ? (const char *)bytes.p : "", bytes.n);
  if (!p) return error_set(err, HDB_NOMEM, "out of memory");
  *out = value_text(p, bytes.n);
  bool own_array = pg_array_element(oid) && !pg_type_by_oid(oid);
  return pg_convert_in(zone, own_array ? PG_TEXT_ARRAY : oid, -1, false, out, memory, err);
}
