/* JSONB: reading, writing, checking and printing nodes (the format is in json.h). Paths and edits: json_edit.c.
 * Cost: a node is skipped by its header; printing is one pass, 1-2 ns a byte.
 */
#include <stdlib.h>

#include "sql/json.h"

/* Most payloads are a few bytes: cheaper than a call. */
static inline void copy_bytes(uint8_t *to, const void *from, size_t n) {
  const uint8_t *p = from;
  if (n > 16) {
    memcpy(to, p, n);
  } else if (n >= 8) {
    memcpy(to, p, 8);
    memcpy(to + n - 8, p + n - 8, 8);
  } else if (n >= 4) {
    memcpy(to, p, 4);
    memcpy(to + n - 4, p + n - 4, 4);
  } else {
    for (size_t i = 0; i < n; i++) to[i] = p[i];
  }
}

/* ---- headers ---- */

bool json_node_read(slice blob, size_t at, size_t end, json_node *out) {
  if (at >= end || end > blob.n) return false;
  const uint8_t *p = blob.p + at;
  size_t left = end - at, size = *p >> 4, header = 1;
  out->kind = *p & 0x0f;
  if (out->kind > JSON_OBJECT) return false;
  if (size == 12 && left > 1) {
    header = 2;
    size = p[1];
  } else if (size > 11) {
    header = 1 + ((size_t)1 << (size - 12));
    if (header > left) return false;
    size = 0;
    for (size_t i = 1; i < header; i++) {
      if (size >> 56) return false;
      size = size << 8 | p[i];
    }
  }
  if (size > left - header) return false;
  out->at = at;
  out->start = at + header;
  out->n = size;
  return true;
}

bool json_is_blob(const value *v) {
  json_node node;
  slice blob = slice_of(v->p, v->n);
  if (v->type != VAL_BLOB || !json_node_read(blob, 0, blob.n, &node) || json_node_end(&node) != blob.n) return false;
  return node.kind > JSON_FALSE || node.n == 0;
}

/* The header's bytes; returns their number. */
static size_t header_bytes(uint8_t kind, size_t n, uint8_t out[9]) {
  size_t extra = n <= 11 ? 0 : n <= 0xff ? 1 : n <= 0xffff ? 2 : n <= 0xffffffff ? 4 : 8;
  out[0] = (uint8_t)(kind | (extra == 0 ? n : extra == 1 ? 12 : extra == 2 ? 13 : extra == 4 ? 14 : 15) << 4);
  for (size_t i = extra; i > 0; i--, n >>= 8) out[i] = (uint8_t)n;
  return extra + 1;
}

void json_put_header(buf *out, uint8_t kind, size_t payload_n) {
  uint8_t bytes[9];
  buf_append(out, bytes, header_bytes(kind, payload_n, bytes));
}

void json_put_node(buf *out, uint8_t kind, const void *p, size_t n) {
  uint8_t *q = buf_reserve(out, n + 9);
  if (!q) return;
  size_t header = 1;
  if (n <= 11) *q = (uint8_t)(kind | n << 4);
  else header = header_bytes(kind, n, q);
  copy_bytes(q + header, p, n);
  out->n += header + n;
}

int json_set_size(buf *blob, size_t at, size_t payload_n) {
  uint8_t bytes[9], size = blob->p[at] >> 4;
  size_t now = size <= 11 ? 1 : 1 + ((size_t)1 << (size - 12)), wanted = header_bytes(blob->p[at] & 0x0f, payload_n, bytes);
  if (wanted > now && !buf_reserve(blob, wanted - now)) return 0;
  if (wanted != now) memmove(blob->p + at + wanted, blob->p + at + now, blob->n - at - now);
  memcpy(blob->p + at, bytes, wanted);
  blob->n = blob->n + wanted - now;
  return (int)wanted - (int)now;
}

int64_t json_array_count(slice blob, const json_node *array) {
  int64_t count = 0;
  json_node node;
  for (size_t at = array->start, end = json_node_end(array); at < end; at = json_node_end(&node), count++)
    if (!json_node_read(blob, at, end, &node)) return -1;
  return count;
}

const char *json_type_name(uint8_t kind) {
  static const char *const names[] = {"null", "true", "false", "integer", "integer", "real", "real", "text", "text", "text", "text", "array", "object"};
  return names[kind];
}

/* ---- texts ---- */

/* A character that stands for itself in a JSON text: no control, quote or backslash. */
static bool plain(uint8_t c) { return c > 0x1f && c != '"' && c != '\\'; }

static void put_control(uint8_t c, buf *out) {
  static const char letters[] = "\bb\ff\nn\rr\tt";
  const char *p = c ? memchr(letters, c, sizeof letters - 1) : NULL;
  char text[8] = {'\\', 0, '0', '0', "0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15]};
  text[1] = p && (p - letters) % 2 == 0 ? p[1] : 'u';
  buf_append(out, text, text[1] == 'u' ? 6 : 2);
}

void json_quote(slice text, buf *out) {
  buf_byte(out, '"');
  const uint8_t *p = text.p, *end = p + text.n;
  while (p < end) {
    const uint8_t *q = p;
    while (q < end && plain(*q)) q++;
    buf_append(out, p, (size_t)(q - p));
    if (q == end) break;
    if (*q <= 0x1f) {
      put_control(*q, out);
    } else {
      buf_byte(out, '\\');
      buf_byte(out, *q);
    }
    p = q + 1;
  }
  buf_byte(out, '"');
}

/* Bytes of escaped line ends at p (backslash, CR LF ...), 0 none. */
static size_t line_end_escapes(const uint8_t *p, size_t n) {
  size_t i = 0;
  while (i + 1 < n && p[i] == '\\') {
    if (p[i + 1] == '\n') i += 2;
    else if (p[i + 1] == '\r') i += i + 2 < n && p[i + 2] == '\n' ? 3 : 2;
    else if (p[i + 1] == 0xe2 && i + 3 < n && p[i + 2] == 0x80 && (p[i + 3] == 0xa8 || p[i + 3] == 0xa9)) i += 4;
    else break;
  }
  return i;
}

static uint32_t hex_value(const uint8_t *p, int n) {
  uint32_t v = 0;
  for (; n > 0; n--, p++) v = v << 4 | (uint32_t)(hex_digit(*p) & 15);
  return v;
}

enum { NO_CHAR = 0x99999 };
/* The character of an escape at p (a backslash) and its length. */
static size_t unescape_one(const uint8_t *p, size_t n, uint32_t *c) {
  static const char letters[] = "b\bf\fn\nr\rt\tv\v\"\"''//\\\\";
  *c = NO_CHAR;
  if (n < 2) return n;
  switch (p[1]) {
  case 'u':
    if (n < 6) return n;
    *c = hex_value(p + 2, 4);
    if ((*c & 0xfc00) == 0xd800 && n >= 12 && p[6] == '\\' && p[7] == 'u') {
      uint32_t low = hex_value(p + 8, 4);
      if ((low & 0xfc00) == 0xdc00) {
        *c = ((*c & 0x3ff) << 10) + (low & 0x3ff) + 0x10000;
        return 12;
      }
    }
    return 6;
  case '0': *c = 0; return 2;
  case 'x':
    if (n < 4) return n;
    *c = hex_value(p + 2, 2);
    return 4;
  case 0xe2: case '\r': case '\n': {
    size_t skip = line_end_escapes(p, n);
    if (skip == 0) return n;
    if (skip == n) {
      *c = 0;
      return n;
    }
    if (p[skip] == '\\') return skip + unescape_one(p + skip, n - skip, c);
    const uint8_t *q = p + skip;
    *c = utf8_read(&q, p + n);
    return (size_t)(q - p);
  }
  default:
    for (size_t i = 0; i + 1 < sizeof letters; i += 2)
      if ((uint8_t)letters[i] == p[1]) *c = (uint8_t)letters[i + 1];
    return 2;
  }
}

void json_unescape(const uint8_t *p, size_t n, buf *out) {
  const uint8_t *end = p + n;
  while (p < end) {
    const uint8_t *q = memchr(p, '\\', (size_t)(end - p));
    buf_append(out, p, (size_t)((q ? q : end) - p));
    if (!q) return;
    size_t skip = line_end_escapes(q, (size_t)(end - q));
    if (skip) {
      p = q + skip;
      continue;
    }
    uint32_t c;
    p = q + unescape_one(q, (size_t)(end - q), &c);
    uint8_t *room = c != NO_CHAR ? buf_reserve(out, 4) : NULL;
    if (room) out->n += utf8_write(c, room);
  }
}

bool json_label_is(slice blob, const json_node *label, slice key, bool key_is_raw) {
  slice text = slice_of(blob.p + label->start, label->n);
  bool raw = label->kind == JSON_TEXT || label->kind == JSON_TEXTRAW;
  if (raw && key_is_raw) return slice_equal(text, key);
  buf a = BUF_INIT, b = BUF_INIT;
  if (!raw) json_unescape(text.p, text.n, &a);
  if (!key_is_raw) json_unescape(key.p, key.n, &b);
  bool same = slice_equal(raw ? text : buf_slice(&a), key_is_raw ? key : buf_slice(&b));
  buf_free(&a);
  buf_free(&b);
  return same;
}

/* ---- printing ---- */

static bool print_hex(const uint8_t *p, size_t n, buf *out) {
  size_t k = 2;
  uint64_t u = 0;
  bool overflow = false;
  char text[24];
  if (n && (*p == '-' || *p == '+')) {
    if (*p == '-') buf_byte(out, '-');
    k++;
  }
  for (; k < n; k++) {
    if (hex_digit(p[k]) < 0) return false;
    if (u >> 60) overflow = true;
    else u = u << 4 | (unsigned)hex_digit(p[k]);
  }
  if (overflow) buf_text(out, "9.0e999");
  else if (u > INT64_MAX) buf_printf(out, "%llu", (unsigned long long)u);
  else buf_append(out, text, int_to_text((int64_t)u, text));
  return true;
}

static void print_real5(const uint8_t *p, size_t n, buf *out) {
  size_t k = 0;
  if (n && p[0] == '-') buf_byte(out, '-'), k++;
  if (k < n && p[k] == '.') buf_byte(out, '0');
  for (; k < n; k++) {
    buf_byte(out, p[k]);
    if (p[k] == '.' && (k + 1 == n || !ascii_digit(p[k + 1]))) buf_byte(out, '0');
  }
}

/* A text with JSON5 escapes as plain JSON. */
static bool print_text5(const uint8_t *p, size_t n, buf *out) {
  const uint8_t *end = p + n;
  bool ok = true;
  buf_byte(out, '"');
  while (p < end) {
    const uint8_t *q = p;
    while (q < end && plain(*q)) q++;
    buf_append(out, p, (size_t)(q - p));
    if (q == end) break;
    p = q;
    if (*p == '"') {
      buf_append(out, "\\\"", 2);
      p++;
      continue;
    }
    if (*p <= 0x1f) {
      put_control(*p++, out);
      continue;
    }
    if (end - p < 2) return false;
    size_t skip = line_end_escapes(p, (size_t)(end - p));
    if (skip) {
      p += skip;
      continue;
    }
    switch (p[1]) {
    case '\'': buf_byte(out, '\''); break;
    case 'v': buf_text(out, "\\u000b"); break;
    case '0': buf_text(out, "\\u0000"); break;
    case 'x':
      if (end - p < 4) return false;
      buf_text(out, "\\u00");
      buf_append(out, p + 2, 2);
      p += 2;
      break;
    case 0xe2: return false;
    default: buf_append(out, p, 2);
    }
    p += 2;
  }
  buf_byte(out, '"');
  return ok;
}

static bool print(slice blob, const json_node *node, int depth, buf *out);

static bool print_container(slice blob, const json_node *node, int depth, buf *out) {
  bool object = node->kind == JSON_OBJECT;
  size_t end = json_node_end(node), count = 0;
  json_node child;
  if (depth > JSON_DEPTH_MAX) return false;
  buf_byte(out, object ? '{' : '[');
  for (size_t at = node->start; at < end; at = json_node_end(&child), count++) {
    if (!json_node_read(blob, at, end, &child)) return false;
    if (count) buf_byte(out, object && count % 2 ? ':' : ',');
    if (!print(blob, &child, depth + 1, out)) return false;
  }
  buf_byte(out, object ? '}' : ']');
  return !object || count % 2 == 0;
}

static bool print(slice blob, const json_node *node, int depth, buf *out) {
  const uint8_t *p = blob.p + node->start;
  uint8_t *room;
  switch (node->kind) {
  case JSON_NULL: buf_append(out, "null", 4); return true;
  case JSON_TRUE: buf_append(out, "true", 4); return true;
  case JSON_FALSE: buf_append(out, "false", 5); return true;
  case JSON_INT:
  case JSON_FLOAT:
    if (!(room = buf_reserve(out, node->n))) return false;
    copy_bytes(room, p, node->n);
    out->n += node->n;
    return node->n > 0;
  case JSON_INT5: return print_hex(p, node->n, out);
  case JSON_FLOAT5: print_real5(p, node->n, out); return node->n > 0;
  case JSON_TEXT:
  case JSON_TEXTJ:
    if (!(room = buf_reserve(out, node->n + 2))) return false;
    *room = '"';
    copy_bytes(room + 1, p, node->n);
    room[node->n + 1] = '"';
    out->n += node->n + 2;
    return true;
  case JSON_TEXT5: return print_text5(p, node->n, out);
  case JSON_TEXTRAW: json_quote(slice_of(p, node->n), out); return true;
  default: return print_container(blob, node, depth, out);
  }
}

bool json_to_text(slice blob, size_t at, buf *out) {
  json_node node;
  if (!json_node_read(blob, at, blob.n, &node)) return false;
  buf_reserve(out, node.n + node.n / 4 + 16); /* about what it will be */
  return print(blob, &node, 1, out) || out->failed;
}

/* ---- checking ---- */

static size_t check_real(const uint8_t *z, const json_node *node) {
  size_t j = node->start, k = json_node_end(node);
  int seen = 0; /* 1 a point, 2 an exponent */
  bool strict = node->kind == JSON_FLOAT;
  if (node->n < 2) return node->at + 1;
  if (z[j] == '-') {
    j++;
    if (node->n < 3) return node->at + 1;
  }
  if (z[j] == '.') {
    if (strict || !ascii_digit(z[j + 1])) return j + 1;
    j += 2;
    seen = 1;
  } else if (z[j] == '0' && strict) {
    if (j + 3 > k || (z[j + 1] != '.' && (z[j + 1] | 32) != 'e')) return j + 1;
    j++;
  }
  for (; j < k; j++) {
    if (ascii_digit(z[j])) continue;
    if (z[j] == '.') {
      if (seen > 0 || (strict && (j == k - 1 || !ascii_digit(z[j + 1])))) return j + 1;
      seen = 1;
    } else if ((z[j] | 32) == 'e') {
      if (seen == 2 || j == k - 1) return j + 1;
      if (z[j + 1] == '+' || z[j + 1] == '-') {
        j++;
        if (j == k - 1) return j + 1;
      }
      seen = 2;
    } else {
      return j + 1;
    }
  }
  return seen ? 0 : node->at + 1;
}

static size_t check_int(const uint8_t *z, const json_node *node) {
  size_t j = node->start, k = json_node_end(node), least = node->kind == JSON_INT5 ? 3 : 1;
  if (node->n < least) return node->at + 1;
  if (z[j] == '-') {
    j++;
    if (node->n < least + 1) return node->at + 1;
  }
  if (node->kind == JSON_INT5) {
    if (z[j] != '0') return node->at + 1;
    if ((z[j + 1] | 32) != 'x') return j + 2;
    for (j += 2; j < k; j++)
      if (hex_digit(z[j]) < 0) return j + 1;
    return 0;
  }
  for (; j < k; j++)
    if (!ascii_digit(z[j])) return j + 1;
  return 0;
}

static size_t check_text(const uint8_t *z, const json_node *node) {
  bool json5 = node->kind == JSON_TEXT5;
  for (size_t j = node->start, k = json_node_end(node); j < k; j++) {
    if (plain(z[j])) continue;
    if (node->kind == JSON_TEXT) return j + 1;
    if (z[j] == '"') {
      if (!json5) return j + 1;
      continue;
    }
    if (z[j] <= 0x1f || j + 1 >= k) return j + 1;
    if (z[j + 1] && strchr("\"\\/bfnrt", z[j + 1])) {
      j++;
    } else if (z[j + 1] == 'u') {
      if (j + 5 >= k) return j + 1;
      for (int i = 2; i < 6; i++)
        if (hex_digit(z[j + (size_t)i]) < 0) return j + 1;
      j++;
    } else {
      uint32_t c = NO_CHAR;
      size_t n = json5 ? unescape_one(z + j, k - j, &c) : 0;
      if (c == NO_CHAR) return j + 1;
      j += n - 1;
    }
  }
  return 0;
}

static size_t check(slice blob, size_t at, size_t end, int depth, json_node *node) {
  if (depth > JSON_DEPTH_MAX || !json_node_read(blob, at, end, node)) return at + 1;
  switch (node->kind) {
  case JSON_NULL: case JSON_TRUE: case JSON_FALSE: return node->start + node->n == at + 1 ? 0 : at + 1;
  case JSON_INT: case JSON_INT5: return check_int(blob.p, node);
  case JSON_FLOAT: case JSON_FLOAT5: return check_real(blob.p, node);
  case JSON_TEXT: case JSON_TEXTJ: case JSON_TEXT5: return check_text(blob.p, node);
  case JSON_TEXTRAW: return 0;
  default: break;
  }
  json_node child;
  size_t count = 0, stop = json_node_end(node), j = node->start;
  for (; j < stop; j = json_node_end(&child), count++) {
    uint8_t kind = blob.p[j] & 0x0f;
    if (node->kind == JSON_OBJECT && count % 2 == 0 && (kind < JSON_TEXT || kind > JSON_TEXTRAW)) return j + 1;
    size_t fault = check(blob, j, stop, depth + 1, &child);
    if (fault) return fault;
  }
  return node->kind == JSON_OBJECT && count % 2 ? j + 1 : 0;
}

size_t json_blob_check(slice blob) {
  json_node node;
  size_t fault = check(blob, 0, blob.n, 1, &node);
  return fault ? fault : json_node_end(&node) != blob.n;
}
