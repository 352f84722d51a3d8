/* Shapes: clients that write values into their texts give a new text each time, which would be parsed, planned and
 * forgotten each time. Here the text becomes one with parameters, and the values of them.
 *
 * H1  Only integers of at most nine digits are taken out, and only where nothing but their value counts: behind a
 *     comparison with a name in WHERE (name = 5), in UPDATE's SET (name = 5, name = name + 5), between the commas of
 *     INSERT's VALUES. A literal anywhere else (a position in ORDER BY, a type's length, LIMIT, an expression that an
 *     index may be made of, the result's columns) stays part of the shape.
 * H2  The caller sees to the rest: the parameters' types must come out as integers, and no partial index may be near
 *     (shape_needs_values).
 * H3  What this lexer does not know for sure (comments, backslashes, dollars, several statements) has no shape.
 * One pass over the text, no allocation but the result; some ten instructions a byte.
 */
#include "sql/shape.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "sql/internal.h"

enum shape_token { T_END, T_NAME, T_NUMBER, T_INTEGER, T_STRING, T_COMPARE, T_PLUS, T_MINUS, T_EQUAL, T_OTHER, T_OPEN, T_CLOSE, T_COMMA, T_DOT,
                  T_SEMICOLON, T_WHERE, T_SET, T_VALUES, T_AND, T_NOT, T_RETURNING, T_FROM, T_ENDS, T_BAD };
enum { DEPTH_MAX = 32, BEFORE = 6 };

typedef struct token {
  enum shape_token kind;
  const char *p;
  size_t n;
} token;

typedef struct scanner {
  const char *p, *end;
  token before[BEFORE]; /* the newest first */
  enum shape_token clause[DEPTH_MAX]; /* T_WHERE, T_SET, T_VALUES, T_ENDS */
  int depth;
  char first; /* letter of the statement's first word: s, i, u, d */
} scanner;

static enum shape_token word_kind(const char *p, size_t n) {
  static const struct {
    const char *word;
    enum shape_token kind;
  } words[] = {{"and", T_AND}, {"or", T_AND}, {"not", T_NOT}, {"where", T_WHERE}, {"set", T_SET}, {"values", T_VALUES}, {"returning", T_RETURNING},
               {"from", T_FROM}, {"select", T_ENDS}, {"group", T_ENDS}, {"order", T_ENDS}, {"limit", T_ENDS}, {"offset", T_ENDS}, {"having", T_ENDS},
               {"union", T_ENDS}, {"except", T_ENDS}, {"intersect", T_ENDS}, {"fetch", T_ENDS}, {"for", T_ENDS}, {"window", T_ENDS}, {"on", T_ENDS},
               {"using", T_ENDS}, {"join", T_ENDS}};
  if (n < 2 || n > 9) return T_NAME;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if ((words[i].word[0] | 0x20) == (p[0] | 0x20) && strlen(words[i].word) == n && strncasecmp(words[i].word, p, n) == 0) return words[i].kind;
  return T_NAME;
}

static bool is_word(unsigned char c) { return isalnum(c) || c == '_' || c >= 0x80; }

static enum shape_token operator_kind(const char *p, size_t n) {
  if (n == 1) return *p == '=' ? T_EQUAL : *p == '<' || *p == '>' ? T_COMPARE : *p == '+' ? T_PLUS : *p == '-' ? T_MINUS : T_OTHER;
  bool compares = n == 2 && (p[1] == '=' ? *p == '<' || *p == '>' || *p == '!' : *p == '<' && p[1] == '>');
  return compares ? T_COMPARE : T_OTHER;
}

static token quoted(const char *p, const char *end) {
  const char *q = p + 1;
  while (q < end && *q != *p && *q != '\\') q++;
  if (q == end || *q == '\\') return (token){T_BAD, p, 0};
  return (token){*p == '"' ? T_NAME : T_STRING, p, (size_t)(q + 1 - p)};
}

static token look(const char *p, const char *end) {
  static const char operators[] = "+-*/<>=~!@#%^&|`?";
  while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
  if (p == end) return (token){T_END, p, 0};
  const char *q = p;
  unsigned char c = (unsigned char)*p;
  if (isdigit(c)) {
    bool plain = true;
    for (; q < end && (is_word((unsigned char)*q) || *q == '.'); q++) plain = plain && isdigit((unsigned char)*q);
    return (token){plain && q - p <= 9 ? T_INTEGER : T_NUMBER, p, (size_t)(q - p)};
  }
  if (is_word(c)) {
    while (q < end && is_word((unsigned char)*q)) q++;
    return (token){word_kind(p, (size_t)(q - p)), p, (size_t)(q - p)};
  }
  if (strchr(operators, c) && c) {
    while (q < end && *q && strchr(operators, *q)) {
      if (q + 1 < end && ((q[0] == '-' && q[1] == '-') || (q[0] == '/' && q[1] == '*'))) return (token){T_BAD, p, 0};
      q++;
    }
    return (token){operator_kind(p, (size_t)(q - p)), p, (size_t)(q - p)};
  }
  switch (c) {
  case '(': return (token){T_OPEN, p, 1};
  case ')': return (token){T_CLOSE, p, 1};
  case ',': return (token){T_COMMA, p, 1};
  case '.': return (token){T_DOT, p, 1};
  case ';': return (token){T_SEMICOLON, p, 1};
  case ':': case '[': case ']': return (token){T_OTHER, p, 1};
  case '\'': case '"': return quoted(p, end);
  default: return (token){T_BAD, p, 0};
  }
}

/* A name, perhaps with others and dots before it; *at moves to what is before it. */
static bool name_before(const scanner *s, int *at) {
  if (s->before[*at].kind != T_NAME) return false;
  ++*at;
  while (*at + 1 < BEFORE && s->before[*at].kind == T_DOT && s->before[*at + 1].kind == T_NAME) *at += 2;
  return *at < BEFORE;
}

static bool compares(enum shape_token k) { return k == T_EQUAL || k == T_COMPARE; }

/* H1: the integer behind s->before, with `next` behind it, is a value and nothing else. */
static bool is_value(const scanner *s, enum shape_token next) {
  int at = 0;
  enum shape_token clause = s->clause[s->depth];
  if (clause == T_WHERE) {
    if (s->before[0].kind == T_MINUS) at = 1;
    if (!compares(s->before[at].kind)) return false;
    at++;
    if (!name_before(s, &at)) return false;
    enum shape_token k = s->before[at].kind;
    return (k == T_WHERE || k == T_AND || k == T_NOT || k == T_OPEN) &&
           (next == T_END || next == T_SEMICOLON || next == T_CLOSE || next == T_AND || next == T_RETURNING || next == T_ENDS);
  }
  if (clause == T_SET && s->depth == 0) {
    if (next != T_COMMA && next != T_WHERE && next != T_END && next != T_SEMICOLON && next != T_RETURNING && next != T_FROM) return false;
    bool sign = s->before[0].kind == T_MINUS && (s->before[1].kind == T_PLUS || s->before[1].kind == T_MINUS || s->before[1].kind == T_EQUAL);
    if (sign) at = 1;
    if (s->before[at].kind == T_PLUS || s->before[at].kind == T_MINUS) {
      at++;
      if (!name_before(s, &at)) return false;
    }
    return at + 2 < BEFORE && s->before[at].kind == T_EQUAL && s->before[at + 1].kind == T_NAME &&
           (s->before[at + 2].kind == T_SET || s->before[at + 2].kind == T_COMMA);
  }
  if (s->depth == 1 && s->clause[0] == T_VALUES) {
    if (s->before[0].kind == T_MINUS) at = 1;
    return (s->before[at].kind == T_OPEN || s->before[at].kind == T_COMMA) && (next == T_COMMA || next == T_CLOSE);
  }
  return false;
}

static bool follow(scanner *s, const token *t) {
  switch (t->kind) {
  case T_OPEN:
    if (++s->depth == DEPTH_MAX) return false;
    s->clause[s->depth] = s->clause[s->depth - 1] == T_WHERE ? T_WHERE : T_ENDS;
    break;
  case T_CLOSE:
    if (--s->depth < 0) return false;
    break;
  case T_WHERE: s->clause[s->depth] = T_WHERE; break;
  case T_SET: s->clause[s->depth] = s->first == 'u' && s->depth == 0 ? T_SET : T_ENDS; break;
  case T_VALUES: s->clause[s->depth] = s->first == 'i' && s->depth == 0 ? T_VALUES : T_ENDS; break;
  case T_ENDS: case T_FROM: case T_RETURNING: s->clause[s->depth] = T_ENDS; break;
  default: break;
  }
  memmove(&s->before[1], &s->before[0], sizeof s->before - sizeof s->before[0]);
  s->before[0] = *t;
  return true;
}

static char first_word(const token *t) {
  static const char *const words[] = {"select", "insert", "update", "delete"};
  for (size_t i = 0; i < 4; i++)
    if (t->n == 6 && strncasecmp(t->p, words[i], 6) == 0) return words[i][0];
  return 0;
}

bool shape_of(slice sql, buf *shape, int64_t values[SHAPE_VALUES], int *n) {
  scanner s = {.p = (const char *)sql.p, .end = (const char *)sql.p + sql.n, .clause = {T_ENDS}};
  const char *copied = s.p;
  token t = look(s.p, s.end);
  *n = 0;
  buf_clear(shape);
  if (!(s.first = first_word(&t))) return false;
  while (t.kind != T_END) {
    if (t.kind == T_BAD) return false;
    token next = look(t.p + t.n, s.end);
    if (t.kind == T_SEMICOLON && next.kind != T_END) return false;
    if (t.kind == T_INTEGER && is_value(&s, next.kind)) {
      if (*n == SHAPE_VALUES) return false;
      int64_t v = 0;
      for (size_t i = 0; i < t.n; i++) v = v * 10 + (t.p[i] - '0');
      values[(*n)++] = v;
      buf_append(shape, copied, (size_t)(t.p - copied));
      buf_printf(shape, "$%d", *n);
      copied = t.p + t.n;
    }
    if (!follow(&s, &t)) return false;
    t = next;
  }
  if (*n == 0) return false;
  buf_append(shape, copied, (size_t)(s.end - copied));
  return buf_cstr(shape) != NULL;
}

bool shape_needs_values(hdb *db, const char *shape) {
  bool needs = false;
  hdb_lock(db);
  for (int i = 0; i < db->databases_n && !needs; i++) {
    schema *s;
    if (!db->databases[i].name || (i == DB_TEMP && !db->databases[i].engine)) continue;
    if (catalog_schema(db, i, &s) != HDB_OK) needs = true;
    for (int k = 0; !needs && k < s->tables_n; k++) {
      const table *t = s->in_order[k];
      bool partial = t->kind != TABLE_ORDINARY;
      for (const index_ *x = t->indexes; x && !partial; x = x->next) partial = x->where != NULL;
      needs = partial && strcasestr(shape, t->name);
    }
  }
  transaction_release(db);
  hdb_unlock(db);
  return needs;
}
