/* JSON and JSON5 text to JSONB.
 *
 * Recursive descent, one function a kind of value, at most JSON_DEPTH_MAX deep. A container's header is written
 * first, long enough for all the text that is left, and shortened when its size is known; so deep documents are
 * not moved again and again. Positions of errors are SQLite's.
 * Cost: 3-5 ns a byte, one growing buffer.
 */
#include <strings.h>

#include "sql/json.h"

typedef struct parser {
  const char *z; /* ends with a NUL */
  size_t n;
  buf *out;
  int depth;
  bool json5;
  size_t error_at;
} parser;

/* What a parse function returns instead of the next position. */
enum { END = 0, BAD = -1, CLOSE_OBJECT = -2, CLOSE_ARRAY = -3, COMMA = -4, COLON = -5 };

static int64_t parse_value(parser *s, size_t i);

static int64_t bad(parser *s, size_t at) {
  s->error_at = at;
  return BAD;
}
static bool plain_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
static bool is_hex(const char *p, int n) {
  for (; n > 0; n--, p++)
    if (hex_digit((unsigned char)*p) < 0) return false;
  return true;
}
static bool alphanumeric(char c) { return ascii_alpha((unsigned char)c) || ascii_digit((unsigned char)c); }
/* U+2028, U+2029 */
static bool line_separator(const char *p) {
  return p[0] == '\xe2' && p[1] == '\x80' && (p[2] == '\xa8' || p[2] == '\xa9');
}

static size_t comment(const char *p) {
  if (p[1] == '*' && p[2]) {
    const char *end = strstr(p + 2, "*/");
    return end ? (size_t)(end - p) + 2 : 0;
  }
  if (p[1] != '/') return 0;
  const char *q = p + 2;
  for (; *q; q++) {
    if (*q == '\n' || *q == '\r') return (size_t)(q - p) + 1;
    if (line_separator(q)) return (size_t)(q - p) + 3;
  }
  return (size_t)(q - p);
}

/* Bytes of one white space of JSON5, 0 none. */
static size_t one_space(const char *p) {
  const unsigned char *u = (const unsigned char *)p;
  switch (u[0]) {
  case 0x09: case 0x0a: case 0x0b: case 0x0c: case 0x0d: case 0x20: return 1;
  case '/': return comment(p);
  case 0xc2: return u[1] == 0xa0 ? 2 : 0;
  case 0xe1: return u[1] == 0x9a && u[2] == 0x80 ? 3 : 0;
  case 0xe2:
    if (u[1] == 0x80) return (u[2] >= 0x80 && u[2] <= 0x8a) || u[2] == 0xa8 || u[2] == 0xa9 || u[2] == 0xaf ? 3 : 0;
    return u[1] == 0x81 && u[2] == 0x9f ? 3 : 0;
  case 0xe3: return u[1] == 0x80 && u[2] == 0x80 ? 3 : 0;
  case 0xef: return u[1] == 0xbb && u[2] == 0xbf ? 3 : 0;
  default: return 0;
  }
}

size_t json_white_space(const char *p) {
  size_t n = 0;
  for (size_t k; (k = one_space(p + n)) > 0;) n += k;
  return n;
}

/* ---- texts ---- */

/* Bytes of the escape at p (a backslash), 0: not one; raises *kind. */
static size_t escape(const char *p, uint8_t *kind) {
  char c = p[1];
  if (c && strchr("\"\\/bfnrt", c)) return *kind = *kind == JSON_TEXT ? JSON_TEXTJ : *kind, 2;
  if (c == 'u' && is_hex(p + 2, 4)) return *kind = *kind == JSON_TEXT ? JSON_TEXTJ : *kind, 2;
  size_t n = 0;
  if (c == '\'' || c == '0' || c == 'v' || c == '\n' || line_separator(p + 1) || (c == 'x' && is_hex(p + 2, 2))) n = 2;
  else if (c == '\r') n = p[2] == '\n' ? 3 : 2;
  if (n) *kind = JSON_TEXT5;
  return n;
}

/* What a text may hold as it is, whatever its delimiter. */
static const bool plain_letter[256] = {[' '] = true, ['!'] = true, ['#' ... '&'] = true, ['(' ... '['] = true, [']' ... 255] = true};

static int64_t parse_text(parser *s, size_t i) {
  const char *z = s->z, delimiter = z[i];
  uint8_t kind = JSON_TEXT;
  size_t j = i + 1;
  if (delimiter == '\'') s->json5 = true;
  for (; z[j] != delimiter; j++) {
    while (plain_letter[(unsigned char)z[j]]) j++;
    unsigned char c = (unsigned char)z[j];
    if (z[j] == delimiter) break;
    if (c == '\\') {
      size_t n = escape(z + j, &kind);
      if (n == 0) return bad(s, j + 1);
      j += n - 1;
    } else if (c <= 0x1f) {
      return bad(s, j); /* control characters and the end */
    } else if (c == '"') {
      kind = JSON_TEXT5;
    }
  }
  if (kind == JSON_TEXT5) s->json5 = true;
  json_put_node(s->out, kind, z + i + 1, j - 1 - i);
  return (int64_t)j + 1;
}

/* ---- numbers ---- */

/* A digit before a final point? Then it is JSON5, else an error. */
static bool point_after_digit(const parser *s, size_t i, size_t j) {
  return s->z[j - 1] == '.' && j >= i + 2 && ascii_digit((unsigned char)s->z[j - 2]);
}

static int64_t finish_number(parser *s, size_t i, size_t j, bool json5, bool real) {
  if (json5) s->json5 = true;
  if (s->z[i] == '+') i++;
  json_put_node(s->out, (uint8_t)(JSON_INT + json5 + 2 * real), s->z + i, j - i);
  return (int64_t)j;
}

/* From i + 1 on: digits, point, exponent. */
static int64_t parse_digits(parser *s, size_t i, bool json5, bool real) {
  const char *z = s->z;
  bool exponent = false;
  size_t j = i + 1;
  for (;; j++) {
    if (ascii_digit((unsigned char)z[j])) continue;
    if (z[j] == '.') {
      if (real) return bad(s, j);
      real = true;
    } else if (z[j] == 'e' || z[j] == 'E') {
      if (z[j - 1] < '0') {
        if (!point_after_digit(s, i, j)) return bad(s, j);
        json5 = true;
      }
      if (exponent) return bad(s, j);
      real = exponent = true;
      if (z[j + 1] == '+' || z[j + 1] == '-') j++;
      if (!ascii_digit((unsigned char)z[j + 1])) return bad(s, j);
    } else {
      break;
    }
  }
  if (z[j - 1] < '0') {
    if (!point_after_digit(s, i, j)) return bad(s, j);
    json5 = true;
  }
  return finish_number(s, i, j, json5, real);
}

static int64_t parse_number(parser *s, size_t i) {
  const char *z = s->z;
  bool sign = z[i] == '-' || z[i] == '+';
  size_t first = i + sign, j;
  if (z[i] == '+') s->json5 = true;
  if (z[first] == '0' && (z[first + 1] | 32) == 'x' && is_hex(z + first + 2, 1)) {
    for (j = first + 3; is_hex(z + j, 1);) j++;
    return finish_number(s, i, j, true, false);
  }
  if (z[first] == '0' && ascii_digit((unsigned char)z[first + 1])) return bad(s, i + 1);
  if (sign && !ascii_digit((unsigned char)z[first])) {
    if (strncasecmp(z + first, "inf", 3) == 0) {
      s->json5 = true;
      if (z[i] == '-') json_put_node(s->out, JSON_FLOAT, "-9e999", 6);
      else json_put_node(s->out, JSON_FLOAT, "9e999", 5);
      return (int64_t)i + (strncasecmp(z + i + 4, "inity", 5) == 0 ? 9 : 4);
    }
    if (z[first] != '.') return bad(s, i);
    return parse_digits(s, i, true, false);
  }
  return parse_digits(s, i, false, false);
}

/* ---- containers ---- */

static size_t open_container(parser *s, uint8_t kind, size_t i) {
  size_t at = s->out->n;
  json_put_header(s->out, kind, s->n - i);
  return at;
}

static int64_t close_container(parser *s, size_t at, size_t start, size_t next) {
  if (!s->out->failed) json_set_size(s->out, at, s->out->n - start);
  s->depth--;
  return (int64_t)next;
}

/* Behind an element at j: 1 another follows, 0 the end (close), -1 error; *j stands on the comma or the bracket. */
static int separator(parser *s, size_t *j, char close, int close_code) {
  while (plain_space(s->z[*j])) ++*j;
  if (s->z[*j] == ',') return 1;
  if (s->z[*j] == close) return 0;
  size_t blob_n = s->out->n;
  int64_t x = parse_value(s, *j); /* past comments and the like */
  s->out->n = s->out->failed ? s->out->n : blob_n;
  if (x == COMMA || x == close_code) {
    *j = s->error_at;
    return x == COMMA;
  }
  bad(s, *j);
  return -1;
}

static int64_t parse_array(parser *s, size_t i) {
  size_t at = open_container(s, JSON_ARRAY, i), start = s->out->n, j = i + 1;
  if (++s->depth > JSON_DEPTH_MAX) return bad(s, i);
  for (;; j++) {
    int64_t x = parse_value(s, j);
    if (x == CLOSE_ARRAY) {
      j = s->error_at;
      if (s->out->n != start) s->json5 = true; /* a comma at the end */
      break;
    }
    if (x <= 0) return x == BAD ? BAD : bad(s, j);
    j = (size_t)x;
    if (s->z[j] == ',') continue;
    int more = separator(s, &j, ']', CLOSE_ARRAY);
    if (more < 0) return BAD;
    if (!more) break;
  }
  return close_container(s, at, start, j + 1);
}

static bool unicode_escape(const char *p) { return p[0] == '\\' && p[1] == 'u' && is_hex(p + 2, 4); }
static bool starts_name(const char *p) {
  unsigned char c = (unsigned char)*p;
  return ascii_alpha(c) || c == '_' || c == '$' || c >= 0x80 || unicode_escape(p);
}

/* A name without quotes (JSON5); parse_value has found no value at j. */
static int64_t parse_name(parser *s, size_t j, int64_t x) {
  j += json_white_space(s->z + j);
  const char *z = s->z;
  if (!starts_name(z + j)) return x == BAD ? BAD : bad(s, j);
  uint8_t kind = unicode_escape(z + j) ? JSON_TEXTJ : JSON_TEXT;
  size_t k = j + 1;
  for (;; k++) {
    if (unicode_escape(z + k)) kind = JSON_TEXTJ;
    else if (!(starts_name(z + k) || ascii_digit((unsigned char)z[k])) || json_white_space(z + k)) break;
  }
  json_put_node(s->out, kind, z + j, k - j);
  s->json5 = true;
  return (int64_t)k;
}

/* The colon behind a label; the position behind it. */
static int64_t parse_colon(parser *s, size_t j) {
  while (plain_space(s->z[j])) j++;
  if (s->z[j] == ':') return (int64_t)j + 1;
  int64_t x = parse_value(s, j);
  if (x == COLON) return (int64_t)s->error_at + 1;
  return x == BAD ? BAD : bad(s, j);
}

static int64_t parse_object(parser *s, size_t i) {
  size_t at = open_container(s, JSON_OBJECT, i), start = s->out->n, j = i + 1;
  if (++s->depth > JSON_DEPTH_MAX) return bad(s, i);
  for (;; j++) {
    size_t label = s->out->n;
    int64_t x = parse_value(s, j);
    if (x == CLOSE_OBJECT) {
      j = s->error_at;
      if (s->out->n != start) s->json5 = true;
      break;
    }
    if (x <= 0) x = parse_name(s, j, x);
    if (x <= 0 || s->out->failed) return BAD;
    uint8_t kind = s->out->p[label] & 0x0f;
    if (kind < JSON_TEXT || kind > JSON_TEXTRAW) return bad(s, j);
    x = parse_colon(s, (size_t)x);
    if (x <= 0) return BAD;
    j = (size_t)x;
    x = parse_value(s, j);
    if (x <= 0) return x == BAD ? BAD : bad(s, j);
    j = (size_t)x;
    if (s->z[j] == ',') continue;
    int more = separator(s, &j, '}', CLOSE_OBJECT);
    if (more < 0) return BAD;
    if (!more) break;
  }
  return close_container(s, at, start, j + 1);
}

/* ---- words ---- */

static int64_t parse_word(parser *s, size_t i) {
  static const struct {
    const char *name;
    bool any_case;
    uint8_t kind;
  } words[] = {{"true", false, JSON_TRUE}, {"false", false, JSON_FALSE}, {"null", false, JSON_NULL}, {"inf", true, JSON_FLOAT},
               {"infinity", true, JSON_FLOAT}, {"nan", true, JSON_NULL}, {"qnan", true, JSON_NULL}, {"snan", true, JSON_NULL}};
  const char *z = s->z + i;
  for (int k = 0; k < COUNT(words); k++) {
    size_t n = strlen(words[k].name);
    if ((words[k].any_case ? strncasecmp : strncmp)(z, words[k].name, n) != 0 || alphanumeric(z[n])) continue;
    if (words[k].any_case) s->json5 = true;
    if (words[k].kind == JSON_FLOAT) json_put_node(s->out, JSON_FLOAT, "9e999", 5);
    else buf_byte(s->out, words[k].kind);
    return (int64_t)(i + n);
  }
  return bad(s, i);
}

static int64_t parse_value(parser *s, size_t i) {
  for (;;) {
    const char *z = s->z;
    switch ((unsigned char)z[i]) {
    case '{': return parse_object(s, i);
    case '[': return parse_array(s, i);
    case '"':
    case '\'': return parse_text(s, i);
    case '.':
      if (!ascii_digit((unsigned char)z[i + 1])) return bad(s, i);
      return parse_digits(s, i, true, true);
    case '+': case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
      return parse_number(s, i);
    case '}': return s->error_at = i, CLOSE_OBJECT;
    case ']': return s->error_at = i, CLOSE_ARRAY;
    case ',': return s->error_at = i, COMMA;
    case ':': return s->error_at = i, COLON;
    case 0: return END;
    case ' ': case '\t': case '\n': case '\r': i++; continue;
    default: break;
    }
    size_t n = json_white_space(z + i);
    if (n == 0) return parse_word(s, i);
    s->json5 = true;
    i += n;
  }
}

bool json_parse(const char *text, size_t n, buf *out, bool *json5, size_t *error_at) {
  parser s = {.z = text, .n = n, .out = out};
  buf_reserve(out, n + 16);
  int64_t x = parse_value(&s, 0);
  if (x > 0) {
    size_t i = (size_t)x;
    while (plain_space(text[i])) i++;
    if (text[i]) {
      i += json_white_space(text + i);
      s.json5 = true;
      if (text[i]) x = BAD; /* something behind the document; the position stays what it was, as in SQLite */
    }
  }
  if (json5) *json5 = s.json5;
  if (error_at) *error_at = s.error_at;
  return x > 0 && !out->failed;
}
