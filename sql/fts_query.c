/* The MATCH languages of FTS5 and FTS3/4 (with its "enhanced" syntax), into one tree.
 *
 *   FTS5    a b "c d" e* ^f g + h, NEAR(a b, 5), col : x, {c1 c2} : x, - col : x, AND OR NOT, ( )
 *   FTS3/4  a "b c*" d*, a NEAR/5 b, col:x, ^x, AND OR NOT, ( )
 *
 * Q1  Precedence: NOT, then AND (and standing side by side), then OR.
 * Q2  Nesting is limited: deep parentheses are an error, never a full stack.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "sql/fts.h"

enum { DEPTH_MAX = 200 };

typedef struct parse {
  const fts_config *f;
  arena *memory;
  error *err;
  const char *text, *p, *end;
  int depth;
  fts_phrase **phrases;
  int phrases_n, phrases_capacity;
  /* FTS5's token at hand */
  int kind;
  const char *at;
  size_t n;
  bool failed;               /* a message is set */
} parse;

static status no_memory(parse *p) { return error_set(p->err, HDB_NOMEM, "out of memory"); }

static fts_node *node(parse *p, int op, fts_node *left, fts_node *right) {
  fts_node *x = arena_zero(p->memory, sizeof *x);
  if (!x) return NULL;
  x->op = (uint8_t)op, x->left = left, x->right = right;
  return x;
}

/* ---- phrases ---- */
typedef struct term_list {
  parse *p;
  fts_phrase *phrase;
  int capacity;
} term_list;

static status add_term(void *context, const char *token, size_t n, size_t from, size_t to) {
  term_list *l = context;
  (void)from, (void)to;
  if (l->phrase->n == l->capacity) {
    int capacity = l->capacity ? l->capacity * 2 : 4;
    fts_term *terms = arena_zero(l->p->memory, (size_t)capacity * sizeof *terms);
    if (!terms) return HDB_NOMEM;
    if (l->phrase->n) memcpy(terms, l->phrase->terms, (size_t)l->phrase->n * sizeof *terms);
    l->phrase->terms = terms;
    l->capacity = capacity;
  }
  const char *copy = arena_strndup(l->p->memory, token, n);
  if (!copy) return HDB_NOMEM;
  l->phrase->terms[l->phrase->n++] = (fts_term){.p = copy, .n = n};
  return HDB_OK;
}

static status number_phrase(parse *p, fts_phrase *phrase) {
  if (p->phrases_n == p->phrases_capacity) {
    int capacity = p->phrases_capacity ? p->phrases_capacity * 2 : 8;
    fts_phrase **list = arena_zero(p->memory, (size_t)capacity * sizeof *list);
    if (!list) return no_memory(p);
    if (p->phrases_n) memcpy(list, p->phrases, (size_t)p->phrases_n * sizeof *list);
    p->phrases = list;
    p->phrases_capacity = capacity;
  }
  phrase->number = p->phrases_n;
  p->phrases[p->phrases_n++] = phrase;
  return HDB_OK;
}

static bool is_nothing(const fts_node *x) { return !x || x->op == FTS_NOTHING; }

static void limit_columns(parse *p, fts_node *x, const bool *columns) {
  if (!x) return;
  if (x->op != FTS_NEAR) {
    limit_columns(p, x->left, columns);
    limit_columns(p, x->right, columns);
    return;
  }
  bool *both = arena_zero(p->memory, (size_t)p->f->columns_n + 1);
  if (!both) return;
  for (int i = 0; i < p->f->columns_n; i++) both[i] = columns[i] && (!x->columns || x->columns[i]);
  x->columns = both;
}

/* ---- FTS5 ---- */
enum { T_END = 0, T_STRING = 1, T_AND = 2, T_OR = 3, T_NOT = 4, T_BAD = 5 }; /* others: the character */

static bool is_bare(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == 26 || (signed char)c < 0;
}

static status fail_near(parse *p) {
  if (p->failed) return HDB_ERROR;
  p->failed = true;
  return error_set(p->err, HDB_ERROR, "fts5: syntax error near \"%.*s\"", (int)p->n, p->at);
}

static void next5(parse *p) {
  while (p->p < p->end && strchr(" \t\n\r", *p->p) && *p->p) p->p++;
  p->at = p->p;
  p->n = 0;
  if (p->p >= p->end || !*p->p) {
    p->kind = T_END;
    return;
  }
  p->n = 1;
  if (strchr("(){}:,+*-^", *p->p)) {
    p->kind = *p->p++;
    return;
  }
  if (*p->p == '"') {
    const char *s = p->p + 1;
    bool closed = false;
    while (s < p->end && *s) {
      if (*s != '"') s++;
      else if (s + 1 < p->end && s[1] == '"') s += 2;
      else {
        closed = true;
        s++;
        break;
      }
    }
    if (!closed) {
      p->failed = true;
      error_set(p->err, HDB_ERROR, "unterminated string");
      p->kind = T_BAD;
      return;
    }
    p->kind = T_STRING;
    p->n = (size_t)(s - p->p);
    p->p = s;
    return;
  }
  if (!is_bare(*p->p)) {
    p->kind = T_BAD;
    fail_near(p);
    return;
  }
  const char *s = p->p;
  while (s < p->end && is_bare(*s)) s++;
  p->n = (size_t)(s - p->p);
  p->p = s;
  p->kind = T_STRING;
  if (p->n == 2 && memcmp(p->at, "OR", 2) == 0) p->kind = T_OR;
  if (p->n == 3 && memcmp(p->at, "AND", 3) == 0) p->kind = T_AND;
  if (p->n == 3 && memcmp(p->at, "NOT", 3) == 0) p->kind = T_NOT;
}

/* The next character behind the token at hand, blanks left out. */
static char peek5(const parse *p) {
  const char *s = p->p;
  while (s < p->end && (*s == ' ' || *s == '\t' || *s == '\n' || *s == '\r')) s++;
  return s < p->end ? *s : 0;
}

static const char *unquoted(parse *p, size_t *n) {
  *n = p->n;
  if (*p->at != '"') return p->at;
  char *out = arena_alloc(p->memory, p->n + 1);
  size_t k = 0;
  if (!out) return NULL;
  for (size_t i = 1; i + 1 < p->n; i++) {
    out[k++] = p->at[i];
    if (p->at[i] == '"') i++;
  }
  out[k] = 0;
  *n = k;
  return out;
}

static status column_named(parse *p, bool *columns) {
  size_t n;
  const char *name = unquoted(p, &n);
  if (!name) return no_memory(p);
  for (int i = 0; i < p->f->columns_n; i++)
    if (strlen(p->f->columns[i]) == n && strncasecmp(p->f->columns[i], name, n) == 0) {
      columns[i] = true;
      return HDB_OK;
    }
  p->failed = true;
  return error_set(p->err, HDB_ERROR, "no such column: %.*s", (int)n, name);
}

/* string [*] { + string [*] } */
static status phrase5(parse *p, fts_phrase *out) {
  term_list l = {p, out, 0};
  for (;;) {
    if (p->kind != T_STRING) return fail_near(p);
    size_t n;
    const char *text = unquoted(p, &n);
    if (!text) return no_memory(p);
    int before = out->n;
    if (fts_tokenize(&p->f->tokenizer, slice_of(text, n), add_term, &l) != HDB_OK) return no_memory(p);
    next5(p);
    if (p->kind == '*') {
      if (out->n > before || out->n) out->terms[out->n - 1].prefix = true;
      next5(p);
    }
    if (p->kind != '+') return HDB_OK;
    next5(p);
  }
}

static status near_distance(parse *p, int *distance) {
  if (p->kind != ',') return HDB_OK;
  next5(p);
  if (p->kind != T_STRING) return fail_near(p);
  *distance = 0;
  for (size_t i = 0; i < p->n; i++) {
    if (p->at[i] < '0' || p->at[i] > '9') {
      p->failed = true;
      return error_set(p->err, HDB_ERROR, "expected integer, got \"%.*s\"", (int)p->n, p->at);
    }
    if (*distance < 214748363) *distance = *distance * 10 + (p->at[i] - '0');
  }
  next5(p);
  return HDB_OK;
}

static status add_phrase(parse *p, fts_node *x, const fts_phrase *phrase, int *capacity) {
  if (x->phrases_n == *capacity) {
    int grown = *capacity ? *capacity * 2 : 2;
    fts_phrase *list = arena_zero(p->memory, (size_t)grown * sizeof *list);
    if (!list) return no_memory(p);
    if (x->phrases_n) memcpy(list, x->phrases, (size_t)x->phrases_n * sizeof *list);
    x->phrases = list;
    *capacity = grown;
  }
  x->phrases[x->phrases_n++] = *phrase;
  return HDB_OK;
}

/* phrase | ^ phrase | NEAR ( phrase ... [, n] ) */
static status near5(parse *p, fts_node **out) {
  fts_node *x = node(p, FTS_NEAR, NULL, NULL);
  int capacity = 0;
  if (!x) return no_memory(p);
  x->distance = 10;
  if (p->kind == '^') {
    x->first = true;
    next5(p);
  } else if (p->kind == T_STRING && peek5(p) == '(') {
    const char *at = p->at;
    size_t n = p->n;
    if (n != 4 || memcmp(at, "NEAR", 4) != 0) return fail_near(p);
    next5(p);
    next5(p);
    while (p->kind == T_STRING) {
      fts_phrase phrase = {0};
      if (x->phrases_n == FTS_NEAR_MAX) return error_set(p->err, HDB_ERROR, "not supported yet: NEAR of more than %d phrases", FTS_NEAR_MAX);
      TRY(phrase5(p, &phrase));
      if (phrase.n) TRY(add_phrase(p, x, &phrase, &capacity));
    }
    if (!capacity && p->kind != ',' && p->kind != ')') return fail_near(p);
    TRY(near_distance(p, &x->distance));
    if (p->kind != ')') return fail_near(p);
    next5(p);
    if (!x->phrases_n) x->op = FTS_NOTHING;
    *out = x;
    return HDB_OK;
  }
  fts_phrase phrase = {0};
  TRY(phrase5(p, &phrase));
  if (phrase.n) TRY(add_phrase(p, x, &phrase, &capacity));
  else x->op = FTS_NOTHING;
  *out = x;
  return HDB_OK;
}

static status or5(parse *p, fts_node **out);

/* A column filter, the token at hand being its first; *columns NULL: there is none. */
static status filter5(parse *p, bool **columns) {
  bool minus = p->kind == '-';
  *columns = NULL;
  if (!minus && p->kind != '{' && !(p->kind == T_STRING && peek5(p) == ':')) return HDB_OK;
  if (!(*columns = arena_zero(p->memory, (size_t)p->f->columns_n + 1))) return no_memory(p);
  if (minus) next5(p);
  if (p->kind == '{') {
    next5(p);
    while (p->kind == T_STRING) {
      TRY(column_named(p, *columns));
      next5(p);
    }
    if (p->kind != '}') return fail_near(p);
  } else {
    if (p->kind != T_STRING) return fail_near(p);
    TRY(column_named(p, *columns));
  }
  next5(p);
  if (p->kind != ':') return fail_near(p);
  next5(p);
  for (int i = 0; minus && i < p->f->columns_n; i++) (*columns)[i] = !(*columns)[i];
  return HDB_OK;
}

/* One operand; *list: another phrase may stand beside it. */
static status operand5(parse *p, fts_node **out, bool *list) {
  bool *columns;
  TRY(filter5(p, &columns));
  *list = p->kind != '(';
  if (p->kind == '(') {
    if (++p->depth > DEPTH_MAX) {
      p->failed = true;
      return error_set(p->err, HDB_ERROR, "fts5: parser stack overflow");
    }
    next5(p);
    TRY(or5(p, out));
    if (p->kind != ')') return fail_near(p);
    next5(p);
    p->depth--;
  } else {
    TRY(near5(p, out));
  }
  if (columns) limit_columns(p, *out, columns);
  return HDB_OK;
}

static bool begins_phrase(const parse *p) {
  return p->kind == T_STRING || p->kind == '^' || p->kind == '{' || p->kind == '-';
}

static status list5(parse *p, fts_node **out) {
  bool list;
  TRY(operand5(p, out, &list));
  while (list && begins_phrase(p)) {
    fts_node *more;
    TRY(operand5(p, &more, &list));
    if (!list) return fail_near(p);
    if (is_nothing(more)) continue;
    if (is_nothing(*out)) *out = more;
    else if (!(*out = node(p, FTS_AND, *out, more))) return no_memory(p);
  }
  return HDB_OK;
}

static status binary5(parse *p, int token, int op, status (*side)(parse *, fts_node **), fts_node **out) {
  TRY(side(p, out));
  while (p->kind == token) {
    fts_node *right;
    next5(p);
    TRY(side(p, &right));
    if (!(*out = node(p, op, *out, right))) return no_memory(p);
  }
  return HDB_OK;
}
static status not5(parse *p, fts_node **out) { return binary5(p, T_NOT, FTS_NOT, list5, out); }
static status and5(parse *p, fts_node **out) { return binary5(p, T_AND, FTS_AND, not5, out); }
static status or5(parse *p, fts_node **out) { return binary5(p, T_OR, FTS_OR, and5, out); }

/* FTS3/4 do not count what stands behind NOT: those phrases come last. */
static status number_all(parse *p, fts_node *x, bool hidden) {
  if (!x) return HDB_OK;
  if (x->op == FTS_NOT && p->f->version != 5) {
    TRY(number_all(p, x->left, hidden));
    if (!hidden) return HDB_OK;
    TRY(number_all(p, x->right, false));
    TRY(number_all(p, x->right, true));
    return HDB_OK;
  }
  TRY(number_all(p, x->left, hidden));
  TRY(number_all(p, x->right, hidden));
  for (int i = 0; i < x->phrases_n && !hidden; i++) TRY(number_phrase(p, &x->phrases[i]));
  return HDB_OK;
}

static status finish(parse *p, fts_node *root, int column, fts_query *out) {
  if (column >= 0 && root) {
    bool *columns = arena_zero(p->memory, (size_t)p->f->columns_n + 1);
    if (!columns) return no_memory(p);
    columns[column] = true;
    limit_columns(p, root, columns);
  }
  int visible;
  TRY(number_all(p, root, false));
  visible = p->phrases_n;
  if (p->f->version != 5) TRY(number_all(p, root, true));
  *out = (fts_query){root, p->phrases, p->phrases_n, visible};
  return p->memory->failed ? no_memory(p) : HDB_OK;
}

status fts5_parse(const fts_config *f, slice text, int column, arena *memory, error *err, fts_query *out) {
  parse p = {.f = f, .memory = memory, .err = err};
  p.text = arena_strndup(memory, text.n ? (const char *)text.p : "", text.n);
  if (!p.text) return no_memory(&p);
  p.p = p.text, p.end = p.text + text.n;
  fts_node *root = NULL;
  *out = (fts_query){0};
  next5(&p);
  if (p.failed) return HDB_ERROR;
  TRY(or5(&p, &root));
  if (p.failed) return HDB_ERROR;
  if (p.kind != T_END) return fail_near(&p);
  return finish(&p, root, column, out);
}

/* ---- FTS3/4 ---- */
static status malformed3(parse *p) { return error_set(p->err, HDB_ERROR, "malformed MATCH expression: [%s]", p->text); }

static void blanks3(parse *p) {
  while (p->p < p->end && (*p->p == ' ' || (*p->p >= '\t' && *p->p <= '\r'))) p->p++;
}

static bool word3(parse *p, const char *word, bool take) {
  size_t n = strlen(word);
  if ((size_t)(p->end - p->p) < n || memcmp(p->p, word, n) != 0) return false;
  char c = p->p + n < p->end ? p->p[n] : 0;
  if (c && c != ' ' && !(c >= '\t' && c <= '\r') && c != '"' && c != '(' && c != ')') return false;
  if (take) p->p += n;
  return true;
}

/* NEAR or NEAR/n; -1: it is not there. */
static int near3(parse *p) {
  if ((size_t)(p->end - p->p) < 4 || memcmp(p->p, "NEAR", 4) != 0) return -1;
  const char *s = p->p + 4;
  int distance = 10;
  if (s < p->end && *s == '/' && s + 1 < p->end && s[1] >= '0' && s[1] <= '9') {
    distance = 0;
    for (s++; s < p->end && *s >= '0' && *s <= '9'; s++)
      if (distance < 100000000) distance = distance * 10 + (*s - '0');
  }
  char c = s < p->end ? *s : 0;
  if (c && c != ' ' && !(c >= '\t' && c <= '\r') && c != '"' && c != '(' && c != ')') return -1;
  p->p = s;
  return distance;
}

typedef struct terms3 {
  term_list list;
  const char *text, *end;
  size_t next;               /* one token: where the next text begins */
  bool one;
} terms3;

static status add_term3(void *context, const char *token, size_t n, size_t from, size_t to) {
  terms3 *t = context;
  TRY(add_term(&t->list, token, n, from, to));
  fts_term *term = &t->list.phrase->terms[t->list.phrase->n - 1];
  term->prefix = t->text + to < t->end && t->text[to] == '*';
  term->first = from > 0 && t->text[from - 1] == '^';
  t->next = to + term->prefix;
  return t->one ? HDB_DONE : HDB_OK;
}

/* The column before ':' , -1 none. */
static int column3(parse *p) {
  for (int i = 0; i < p->f->columns_n; i++) {
    size_t n = strlen(p->f->columns[i]);
    if ((size_t)(p->end - p->p) <= n || p->p[n] != ':' || strncasecmp(p->p, p->f->columns[i], n) != 0) continue;
    p->p += n + 1;
    return i;
  }
  return -1;
}

/* A quoted phrase or one token; *out NULL: nothing but separators up to the next quote or parenthesis. */
static status phrase3(parse *p, fts_node **out) {
  fts_phrase phrase = {0};
  int capacity = 0, column = -1;
  *out = NULL;
  const char *stop;
  terms3 t = {.list = {p, &phrase, 0}};
  if (*p->p == '"') {
    stop = memchr(p->p + 1, '"', (size_t)(p->end - p->p - 1));
    if (!stop) return malformed3(p);
    t.text = p->p + 1, t.end = stop;
    p->p = stop + 1;
  } else {
    column = column3(p);
    if (column >= 0 && p->p < p->end && *p->p == '"') {
      TRY(phrase3(p, out));
      goto limit;
    }
    for (stop = p->p; stop < p->end && *stop != '"' && *stop != '(' && *stop != ')'; stop++) {}
    t.text = p->p, t.end = stop, t.one = true;
  }
  status rc = fts_tokenize(&p->f->tokenizer, slice_of(t.text, (size_t)(t.end - t.text)), add_term3, &t);
  if (rc != HDB_OK && rc != HDB_DONE) return no_memory(p);
  if (t.one) p->p = phrase.n ? t.text + t.next : t.end;
  if (!phrase.n && t.one) return HDB_OK;
  fts_node *x = node(p, phrase.n ? FTS_NEAR : FTS_NOTHING, NULL, NULL);
  if (!x) return no_memory(p);
  x->distance = 10;
  if (phrase.n) TRY(add_phrase(p, x, &phrase, &capacity));
  *out = x;
limit:
  if (column >= 0 && *out) {
    bool *columns = arena_zero(p->memory, (size_t)p->f->columns_n + 1);
    if (!columns) return no_memory(p);
    columns[column] = true;
    limit_columns(p, *out, columns);
  }
  return HDB_OK;
}

static status or3(parse *p, fts_node **out);

static status operand3(parse *p, fts_node **out) {
  blanks3(p);
  *out = NULL;
  if (p->p >= p->end) return HDB_OK;
  if (*p->p == ')' || word3(p, "AND", false) || word3(p, "OR", false) || word3(p, "NOT", false)) return HDB_OK;
  if (*p->p == '(') {
    if (++p->depth > DEPTH_MAX) return error_set(p->err, HDB_ERROR, "FTS expression tree is too large (maximum depth 12)");
    p->p++;
    TRY(or3(p, out));
    blanks3(p);
    if (p->p >= p->end || *p->p != ')') return malformed3(p);
    p->p++;
    p->depth--;
    if (!*out) *out = node(p, FTS_NOTHING, NULL, NULL);
    return *out ? HDB_OK : no_memory(p);
  }
  return phrase3(p, out);
}

/* a NEAR/n b NEAR/m c: phrases with the distance to their left neighbour; kept as one node when distances agree. */
static status nears3(parse *p, fts_node **out) {
  TRY(operand3(p, out));
  while (*out) {
    blanks3(p);
    int distance = near3(p);
    if (distance < 0) return HDB_OK;
    fts_node *right;
    TRY(operand3(p, &right));
    if (!right || (*out)->op != FTS_NEAR || right->op != FTS_NEAR) return malformed3(p);
    int capacity = (*out)->phrases_n;
    if (capacity > 1 && (*out)->distance != distance)
      return error_set(p->err, HDB_ERROR, "not supported yet: NEAR with several distances in one chain");
    for (int i = 0; i < right->phrases_n; i++) TRY(add_phrase(p, *out, &right->phrases[i], &capacity));
    (*out)->distance = distance;
  }
  return HDB_OK;
}

static status not3(parse *p, fts_node **out) {
  TRY(nears3(p, out));
  for (;;) {
    blanks3(p);
    if (!word3(p, "NOT", true)) return HDB_OK;
    fts_node *right;
    TRY(nears3(p, &right));
    if (!*out || !right) return malformed3(p);
    if (!(*out = node(p, FTS_NOT, *out, right))) return no_memory(p);
  }
}

static status and3(parse *p, fts_node **out) {
  TRY(not3(p, out));
  for (;;) {
    blanks3(p);
    if (p->p >= p->end || *p->p == ')' || word3(p, "OR", false)) return HDB_OK;
    bool written = word3(p, "AND", true);
    fts_node *right;
    const char *before = p->p;
    TRY(not3(p, &right));
    if (written && (!*out || !right)) return malformed3(p);
    if (!right) {
      if (p->p == before) return HDB_OK;
      continue;
    }
    if (!*out) *out = right;
    else if (!(*out = node(p, FTS_AND, *out, right))) return no_memory(p);
  }
}

static status or3(parse *p, fts_node **out) {
  TRY(and3(p, out));
  for (;;) {
    blanks3(p);
    if (!word3(p, "OR", true)) return HDB_OK;
    fts_node *right;
    TRY(and3(p, &right));
    if (!*out || !right) return malformed3(p);
    if (!(*out = node(p, FTS_OR, *out, right))) return no_memory(p);
  }
}

status fts3_parse(const fts_config *f, slice text, int column, arena *memory, error *err, fts_query *out) {
  parse p = {.f = f, .memory = memory, .err = err};
  p.text = arena_strndup(memory, text.n ? (const char *)text.p : "", text.n);
  if (!p.text) return no_memory(&p);
  p.p = p.text, p.end = p.text + strlen(p.text);
  fts_node *root;
  *out = (fts_query){0};
  TRY(or3(&p, &root));
  blanks3(&p);
  if (p.p < p.end) return malformed3(&p);
  return finish(&p, root, column, out);
}

status fts_query_and(arena *memory, fts_query *to, const fts_query *more) {
  fts_node *x = arena_zero(memory, sizeof *x);
  int n = to->phrases_n + more->phrases_n;
  fts_phrase **list = arena_zero(memory, ((size_t)n + 1) * sizeof *list);
  if (!x || !list) return HDB_NOMEM;
  if (to->phrases_n) memcpy(list, to->phrases, (size_t)to->phrases_n * sizeof *list);
  if (more->phrases_n) memcpy(list + to->phrases_n, more->phrases, (size_t)more->phrases_n * sizeof *list);
  for (int i = 0; i < n; i++) list[i]->number = i;
  *x = (fts_node){.op = FTS_AND, .left = to->root, .right = more->root};
  *to = (fts_query){to->root && more->root ? x : NULL, list, n, n};
  return HDB_OK;
}
