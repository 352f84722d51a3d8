/* Nodes of expressions and lists, as the actions of parse.y ask for them.
 *
 * A node's span runs from its first token to the last token shifted when it was built; its offset is that of its own
 * first token (a name, a function's name, an operand). What SQLite simplifies while parsing is simplified here in the
 * same way, because it can be seen from outside: `x IS NULL`, `x IN ()`, `0 AND x`, the literal -9223372036854775808.
 * Fails by parse_fail only (P1); out of memory shows in the arena. Cost: one allocation a node.
 */
#include "grammar/parser.h"
#include "parse.h"
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- errors ---- */
/* Of several errors at one token the last one is told, as in SQLite. */
void parse_fail(parser *p, const uint8_t *at, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  p->rc = error_setv(p->err, HDB_ERROR, format, arguments);
  va_end(arguments);
  if (p->err) p->err->offset = offset_of(p, at);
}

void parse_fail_late(parser *p, const uint8_t *at, const char *format, ...) {
  if (p->late) return;
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  p->late = arena_strdup(p->memory, text);
  p->late_offset = offset_of(p, at);
}

void parse_syntax_error(parser *p, token t) {
  if (t.n > 2 && t.p[0] == ':' && t.p[1] == ':') /* ::type where no operand ends: what SQLite says of a lone colon */
    parse_fail(p, t.p, "unrecognized token: \":\"");
  else if (t.n)
    parse_fail(p, t.p, "near \"%.*s\": syntax error", (int)t.n, (const char *)t.p);
  else
    parse_fail(p, NULL, "incomplete input");
}

/* ---- tokens ---- */
static inline uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c; }
static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_quote(uint8_t c) { return c == '"' || c == '\'' || c == '`' || c == '['; }

bool token_is(token t, const char *word) {
  for (uint32_t i = 0; i < t.n; i++)
    if (!word[i] || lower(t.p[i]) != lower((uint8_t)word[i])) return false;
  return word[t.n] == 0;
}

slice trimmed(const uint8_t *from, const uint8_t *to) {
  while (from < to && is_space(*from)) from++;
  while (to > from && is_space(to[-1])) to--;
  return slice_of(from, (size_t)(to - from));
}

/* Takes the quotes off, doubled ones become one; *n gets the length. */
static char *unquoted(parser *p, token t, uint32_t *n) {
  char *out = arena_alloc(p->memory, (size_t)t.n + 1);
  if (!out) return NULL;
  uint32_t k = 0;
  if (t.n && is_quote(t.p[0])) {
    uint8_t quote = t.p[0] == '[' ? ']' : t.p[0];
    for (uint32_t i = 1; i < t.n; i++) {
      if (t.p[i] == quote) {
        if (i + 1 >= t.n || t.p[i + 1] != quote) break;
        i++;
      }
      out[k++] = (char)t.p[i];
    }
  } else {
    memcpy(out, t.p, t.n);
    k = t.n;
  }
  out[k] = 0;
  *n = k;
  return out;
}

const char *token_name(parser *p, token t) {
  uint32_t n;
  return unquoted(p, t, &n);
}

/* ---- nodes ---- */
static int depth_limit(const parser *p) { return p->options->max_expr_depth > 0 ? p->options->max_expr_depth : 1000; }

static inline int32_t height_of(const expr *e) { return e ? e->height : 0; }
static inline int32_t taller(int32_t a, int32_t b) { return a > b ? a : b; }
static int32_t list_height(const expr_list *list) {
  int32_t h = 0;
  if (list)
    for (int i = 0; i < list->n; i++) h = taller(h, height_of(list->items[i].e));
  return h;
}

static void check_height(parser *p, const expr *e) {
  if (e->height > depth_limit(p))
    parse_fail(p, NULL, "Expression tree is too large (maximum depth %d)", depth_limit(p));
}

static expr *node(parser *p, enum expr_op op, const uint8_t *first, const uint8_t *own) {
  expr *e = arena_zero(p->memory, sizeof *e);
  if (!e) return NULL;
  e->op = (uint8_t)op;
  e->height = 1;
  e->offset = offset_of(p, own);
  e->span = slice_of(first, (size_t)(p->end - first));
  return e;
}

/* Sets the height from what hangs below and checks it. */
static expr *settled(parser *p, expr *e) {
  if (!e) return NULL;
  int32_t h = taller(height_of(e->left), height_of(e->right));
  h = taller(h, list_height(e->list));
  h = taller(h, list_height(e->order_by));
  h = taller(h, height_of(e->filter));
  if (e->select) h = taller(h, select_height(e->select));
  e->height = h + 1;
  check_height(p, e);
  return e;
}

expr *build_leaf(parser *p, enum expr_op op, token t) {
  expr *e = node(p, op, t.p, t.p);
  if (e) e->text = arena_strndup(p->memory, (const char *)t.p, t.n), e->text_n = t.n;
  return e;
}

expr *build_name(parser *p, token t) {
  expr *e = node(p, EX_ID, t.p, t.p);
  if (!e) return NULL;
  e->text = unquoted(p, t, &e->text_n);
  e->quoted = t.n && t.p[0] == '"';
  e->quoted_name = t.n && is_quote(t.p[0]);
  return e;
}

expr *build_dot(parser *p, token schema, token table, token name) {
  expr *e = node(p, EX_DOT, schema.p ? schema.p : table.p, schema.p ? schema.p : table.p);
  if (!e) return NULL;
  e->text = unquoted(p, name, &e->text_n);
  e->quoted = name.n && name.p[0] == '"';
  e->quoted_name = name.n && is_quote(name.p[0]);
  e->table = token_name(p, table);
  if (schema.p) e->schema = token_name(p, schema);
  e->height = 2;
  return e;
}

/* ---- literals ---- */
static double parse_real(const char *text) {
  static _Atomic(locale_t) c_locale;
  locale_t locale = atomic_load(&c_locale);
  if (!locale) {
    locale_t made = newlocale(LC_ALL_MASK, "C", (locale_t)0), none = (locale_t)0;
    if (atomic_compare_exchange_strong(&c_locale, &none, made))
      locale = made;
    else if (made)
      freelocale(made), locale = none;
  }
  return locale ? strtod_l(text, NULL, locale) : strtod(text, NULL);
}

static int hex_digit(uint8_t c) { return c <= '9' ? c - '0' : (lower(c) - 'a') + 10; }

static void set_hex(parser *p, expr *e, token t) {
  uint64_t v = 0;
  uint32_t i = 2;
  e->op = EX_INT;
  while (i < t.n && t.p[i] == '0') i++;
  if (t.n - i > 16) {
    parse_fail_late(p, t.p, "hex literal too big: %.*s", (int)t.n, (const char *)t.p);
    p->late_when_run = true;
    return;
  }
  for (; i < t.n; i++) v = v << 4 | (uint64_t)hex_digit(t.p[i]);
  e->i = (int64_t)v;
}

static void set_number(parser *p, expr *e, token t) {
  if (t.n > 2 && lower(t.p[1]) == 'x') {
    set_hex(p, e, t);
    return;
  }
  uint64_t v = 0;
  bool whole = true;
  for (uint32_t i = 0; i < t.n && whole; i++) {
    if (t.p[i] < '0' || t.p[i] > '9' || v > (uint64_t)INT64_MAX / 10) {
      whole = false;
      break;
    }
    v = v * 10 + (uint64_t)(t.p[i] - '0');
  }
  if (whole && v <= (uint64_t)INT64_MAX) {
    e->op = EX_INT;
    e->i = (int64_t)v;
  } else {
    e->op = EX_REAL;
    e->r = e->text ? parse_real(e->text) : 0;
  }
}

static void set_blob(parser *p, expr *e, token t) {
  uint32_t n = (t.n - 3) / 2;
  uint8_t *bytes = arena_alloc(p->memory, (size_t)n + 1);
  if (!bytes) return;
  for (uint32_t i = 0; i < n; i++) bytes[i] = (uint8_t)(hex_digit(t.p[2 + 2 * i]) << 4 | hex_digit(t.p[3 + 2 * i]));
  bytes[n] = 0;
  e->text = (const char *)bytes;
  e->text_n = n;
}

expr *build_literal(parser *p, int code, token t) {
  expr *e = node(p, EX_TEXT, t.p, t.p);
  if (!e) return NULL;
  if (code == TK_STRING) {
    e->text = unquoted(p, t, &e->text_n);
  } else if (code == TK_BLOB) {
    e->op = EX_BLOB;
    set_blob(p, e, t);
  } else {
    e->text = arena_strndup(p->memory, (const char *)t.p, t.n), e->text_n = t.n;
    set_number(p, e, t);
  }
  return e;
}

/* Is it the whole number 9223372036854775808, which only has a place behind a minus? */
static bool is_two_to_63(const expr *e) {
  if (e->op != EX_REAL || !e->text || e->r != 9223372036854775808.0) return false;
  const char *s = e->text;
  while (*s == '0') s++;
  return strcmp(s, "9223372036854775808") == 0;
}

/* ---- parameters ---- */
static bool reserve_names(parser *p, int n) {
  if (n <= p->names_capacity) {
    if (n > p->names_n) p->names_n = n;
    return true;
  }
  int capacity = p->names_capacity ? p->names_capacity * 2 : 8;
  if (capacity < n) capacity = n;
  const char **names = arena_zero(p->memory, sizeof *names * (size_t)capacity);
  if (!names) return false;
  if (p->names_n) memcpy(names, p->names, sizeof *names * (size_t)p->names_n);
  p->names = names;
  p->names_capacity = capacity;
  p->names_n = n;
  return true;
}

static void remember_named(parser *p, int index) {
  if (p->named_n == p->named_capacity) {
    int capacity = p->named_capacity ? p->named_capacity * 2 : 8;
    int *named = arena_alloc(p->memory, sizeof *named * (size_t)capacity);
    if (!named) return;
    if (p->named_n) memcpy(named, p->named, sizeof *named * (size_t)p->named_n);
    p->named = named;
    p->named_capacity = capacity;
  }
  p->named[p->named_n++] = index;
}

static int find_named(const parser *p, token t) {
  for (int i = 0; i < p->named_n; i++) {
    const char *name = p->names[p->named[i] - 1];
    if (strncmp(name, (const char *)t.p, t.n) == 0 && name[t.n] == 0) return p->named[i];
  }
  return 0;
}

/* ?NNN: its number, 0 when out of range. */
static int numbered(token t, int limit) {
  int64_t v = 0;
  for (uint32_t i = 1; i < t.n; i++) {
    v = v * 10 + (t.p[i] - '0');
    if (v > limit) return 0;
  }
  return (int)v;
}

expr *build_parameter(parser *p, token t) {
  if (t.p[0] == '#' && t.n > 1 && t.p[1] >= '0' && t.p[1] <= '9') {
    parse_syntax_error(p, t);
    return NULL;
  }
  expr *e = node(p, EX_PARAM, t.p, t.p);
  if (!e) return NULL;
  e->text = arena_strndup(p->memory, (const char *)t.p, t.n), e->text_n = t.n;
  int limit = p->options->max_parameter > 0 ? p->options->max_parameter : 250000, index;
  if (p->options->schema_text) limit = INT_MAX / 16;
  if (t.n == 1) {
    index = ++p->parameters;
  } else if (t.p[0] == '?') {
    index = numbered(t, limit);
    if (index < 1) {
      parse_fail(p, t.p, "variable number must be between ?1 and ?%d", limit);
      return e;
    }
    if (index > p->parameters) p->parameters = index;
    if (e->text && reserve_names(p, index) && !p->names[index - 1]) p->names[index - 1] = e->text;
  } else {
    index = find_named(p, t);
    if (!index) {
      index = ++p->parameters;
      if (e->text && reserve_names(p, index)) {
        p->names[index - 1] = e->text;
        remember_named(p, index);
      }
    }
  }
  e->i = index;
  if (index > limit) parse_fail(p, t.p, "too many SQL variables");
  return e;
}

/* ---- operators ---- */
/* A minus before a hexadecimal literal: -0x8000000000000000 does not fit, and the complaint shows the minus. */
static void check_negative_hex(parser *p, const expr *literal) {
  if (literal->op != EX_INT || literal->text_n < 3 || !literal->text || lower((uint8_t)literal->text[1]) != 'x') return;
  bool big = p->late && p->late_offset == literal->offset;
  if (big) p->late = NULL;
  if (!big && literal->i != INT64_MIN) return;
  parse_fail_late(p, NULL, "hex literal too big: -%s", literal->text);
  p->late_when_run = true;
}

static bool postgres(const parser *p) { return p->options->dialect == DIALECT_POSTGRES; }

expr *build_unary(parser *p, enum expr_op op, token first, expr *operand) {
  if (!operand) return NULL;
  if (op == EX_NEG && is_two_to_63(operand)) {
    operand->op = EX_INT;
    operand->i = INT64_MIN;
    operand->span = slice_of(first.p, (size_t)(p->end - first.p));
    operand->text = arena_printf(p->memory, "-%s", operand->text);
    operand->text_n++;
    return operand;
  }
  if (op == EX_NEG) check_negative_hex(p, operand);
  if (op == EX_NEG && postgres(p) && operand->op != EX_INT && operand->op != EX_REAL) { /* also of intervals */
    expr *call = node(p, EX_FUNCTION, first.p, first.p);
    if (call) call->text = "pg_neg", call->text_n = 6, call->list = build_list(p, NULL, operand);
    return settled(p, call);
  }
  expr *e = node(p, op, first.p, first.p);
  if (e) e->left = operand;
  return settled(p, e);
}

expr *build_postfix(parser *p, enum expr_op op, expr *operand) {
  if (!operand) return NULL;
  expr *e = node(p, op, operand->span.p, operand->span.p);
  if (e) e->left = operand;
  return settled(p, e);
}

/* The postgres dialect's meaning of an operator as a function of sql/func_pg.c; only there are casts, division by zero,
 * overflow and moments what PostgreSQL makes of them. */
static expr *postgres_call(parser *p, const char *name, expr *first, expr *second, expr *third, const uint8_t *from) {
  expr *e = node(p, EX_FUNCTION, from, from);
  if (!e) return NULL;
  e->text = name, e->text_n = (uint32_t)strlen(name);
  e->list = build_list(p, build_list(p, NULL, first), second);
  if (third) e->list = build_list(p, e->list, third);
  return settled(p, e);
}

static expr *postgres_cast(parser *p, expr *operand, const char *type, uint32_t type_n, const uint8_t *from) {
  expr *name = node(p, EX_TEXT, from, from);
  if (!name) return NULL;
  name->text = type, name->text_n = type_n;
  return postgres_call(p, "pg_cast", operand, settled(p, name), NULL, from);
}

expr *build_binary(parser *p, enum expr_op op, expr *left, expr *right) {
  if (!left || !right) return NULL;
  if (postgres(p)) {
    const char *name = op == EX_ADD ? "pg_add" : op == EX_SUB ? "pg_sub" : op == EX_MUL ? "pg_mul" : op == EX_DIV ? "pg_div" : op == EX_MOD ? "pg_mod" : NULL;
    if (name) return postgres_call(p, name, left, right, NULL, left->span.p);
  }
  expr *e = node(p, op, left->span.p, left->span.p);
  if (e) e->left = left, e->right = right;
  return settled(p, e);
}

/* Only the postgres dialect's lexer knows ^. */
expr *build_power(parser *p, expr *left, expr *right) {
  return left && right ? postgres_call(p, "pg_power", left, right, NULL, left->span.p) : NULL;
}

/* #name: pg_op_name(left, right) */
expr *build_named_operator(parser *p, token name, expr *left, expr *right) {
  char *text = arena_printf(p->memory, "pg_op_%.*s", (int)name.n - 1, (const char *)name.p + 1);
  return left && right && text ? postgres_call(p, text, left, right, NULL, left->span.p) : NULL;
}

static bool is_false(const expr *e) { return e->op == EX_INT && e->i == 0; }

/* A conjunction with the literal 0 is 0, and what stands on its other side is not even looked up. */
expr *build_and(parser *p, expr *left, expr *right) {
  if (!left || !right) return NULL;
  if (!is_false(left) && !is_false(right)) return build_binary(p, EX_AND, left, right);
  expr *e = node(p, EX_INT, left->span.p, left->span.p);
  if (e) e->text = "0", e->text_n = 1;
  return e;
}

expr *build_is(parser *p, bool negated, expr *left, expr *right) {
  if (!left || !right) return NULL;
  if (right->op == EX_NULL) return build_postfix(p, negated ? EX_NOTNULL : EX_ISNULL, left);
  return build_binary(p, negated ? EX_ISNOT : EX_IS, left, right);
}

expr *build_like(parser *p, token operator_, bool negated, expr *left, expr *right, expr *escape) {
  if (!left || !right) return NULL;
  if (postgres(p) && !token_is(operator_, "like")) { /* ILIKE, ~, ~* come as GLOB, REGEXP, MATCH */
    const char *name = token_is(operator_, "glob") ? "pg_ilike" : token_is(operator_, "match") ? "pg_iregexp" : "pg_regexp";
    expr *call = postgres_call(p, name, right, left, escape, left->span.p);
    return negated ? build_unary(p, EX_NOT, (token){left->span.p, 1}, call) : call;
  }
  enum expr_op op = token_is(operator_, "like")   ? EX_LIKE
                    : token_is(operator_, "glob") ? EX_GLOB
                    : token_is(operator_, "match") ? EX_MATCH
                                                   : EX_REGEXP;
  expr *e = node(p, op, left->span.p, left->span.p);
  if (!e) return NULL;
  if (postgres(p) && op == EX_LIKE && !escape && (right->op != EX_TEXT || memchr(right->text, '\\', right->text_n))) {
    escape = node(p, EX_TEXT, right->span.p, right->span.p); /* PostgreSQL's LIKE has one unless told otherwise */
    if (escape) escape->text = "\\", escape->text_n = 1, escape = settled(p, escape);
  }
  e->left = left, e->right = right, e->negated = negated;
  e->text = arena_strndup(p->memory, (const char *)operator_.p, operator_.n), e->text_n = operator_.n;
  if (escape) e->list = build_list(p, NULL, escape);
  return settled(p, e);
}

expr *build_between(parser *p, bool negated, expr *left, expr *low, expr *high) {
  if (!left || !low || !high) return NULL;
  expr *e = node(p, EX_BETWEEN, left->span.p, left->span.p);
  if (!e) return NULL;
  e->left = left, e->negated = negated;
  e->list = build_list(p, build_list(p, NULL, low), high);
  return settled(p, e);
}

expr *build_in(parser *p, bool negated, expr *left, expr_list *list, select *query, source_list *table) {
  if (!left) return NULL;
  if (!list && !query && !table) { /* x IN () is false, whatever x is */
    expr *e = node(p, EX_ID, left->span.p, left->span.p);
    if (e) e->text = negated ? "true" : "false", e->text_n = negated ? 4 : 5;
    return e;
  }
  if (list && list->n == 1 && list->items[0].e && list->items[0].e->op == EX_SUBQUERY) { /* x IN ((SELECT ...)): its rows */
    query = list->items[0].e->select;
    list = NULL;
  }
  expr *e = node(p, EX_IN, left->span.p, left->span.p);
  if (!e) return NULL;
  e->left = left, e->negated = negated, e->list = list, e->select = query, e->source = table;
  return settled(p, e);
}

expr *build_cast(parser *p, token first, expr *operand, token type) {
  if (!operand) return NULL;
  if (postgres(p) && type.p) {
    uint32_t n;
    const char *name = unquoted(p, type, &n);
    return postgres_cast(p, operand, name, n, first.p);
  }
  expr *e = node(p, EX_CAST, first.p, first.p);
  if (!e) return NULL;
  e->left = operand;
  e->text = type.p ? unquoted(p, type, &e->text_n) : "";
  return settled(p, e);
}

expr *build_cast_suffix(parser *p, expr *operand, token suffix) {
  if (!operand) return NULL;
  slice type = trimmed(suffix.p + 2, suffix.p + suffix.n);
  if (postgres(p)) {
    uint32_t n;
    const char *name = unquoted(p, (token){type.p, (uint32_t)type.n}, &n);
    return postgres_cast(p, operand, name, n, operand->span.p);
  }
  expr *e = node(p, EX_CAST, operand->span.p, operand->span.p);
  if (!e) return NULL;
  e->left = operand;
  e->text = unquoted(p, (token){type.p, (uint32_t)type.n}, &e->text_n);
  return settled(p, e);
}

expr *build_collate(parser *p, expr *operand, token name) {
  if (!operand) return NULL;
  expr *e = node(p, EX_COLLATE, operand->span.p, operand->span.p);
  if (!e) return NULL;
  e->left = operand;
  e->text = unquoted(p, name, &e->text_n);
  return settled(p, e);
}

expr *build_function(parser *p, token name, bool distinct, expr_list *list, bool star) {
  expr *e = node(p, EX_FUNCTION, name.p, name.p);
  if (!e) return NULL;
  int limit = p->options->max_function_args > 0 ? p->options->max_function_args : 127;
  e->text = unquoted(p, name, &e->text_n);
  e->distinct = distinct, e->list = list, e->star = star;
  if (list && list->n > limit)
    parse_fail(p, name.p, "too many arguments on function %.*s", (int)name.n, (const char *)name.p);
  return settled(p, e);
}

expr *build_window_call(parser *p, expr *call, expr *filter, window *over) {
  if (!call) return NULL;
  if (over && call->distinct) parse_fail(p, NULL, "DISTINCT is not supported for window functions");
  call->filter = filter, call->over = over;
  call->span.n = (size_t)(p->end - call->span.p);
  return settled(p, call);
}

expr *build_row(parser *p, token first, expr_list *list, expr *last) {
  expr *e = node(p, EX_ROW, first.p, first.p);
  if (e) e->list = build_list(p, list, last);
  return settled(p, e);
}

expr *build_query(parser *p, enum expr_op op, token first, select *query) {
  expr *e = node(p, op, first.p, first.p);
  if (e) e->select = query;
  return settled(p, e);
}

expr *build_case(parser *p, token first, expr *operand, expr_list *list, expr *otherwise) {
  expr *e = node(p, EX_CASE, first.p, first.p);
  if (!e) return NULL;
  e->left = operand;
  e->list = otherwise ? build_list(p, list, otherwise) : list;
  e->has_else = otherwise != NULL;
  return settled(p, e);
}

expr *build_parentheses(parser *p, token first, expr *e) {
  if (!e) return NULL;
  e->parenthesised = true;
  e->span = slice_of(first.p, (size_t)(p->end - first.p));
  return e;
}

expr *build_raise(parser *p, token first, enum conflict action, token message) {
  expr *e = node(p, EX_RAISE, first.p, first.p);
  if (!e) return NULL;
  e->i = action;
  if (message.p) e->left = build_literal(p, TK_STRING, message);
  return e;
}

/* ---- lists ---- */
expr_list *build_list(parser *p, expr_list *list, expr *e) {
  list = ast_list_add(p->memory, list, e);
  if (list && e) last_item(list)->span = e->span;
  return list;
}

struct expr_item *last_item(expr_list *list) { return &list->items[list->n - 1]; }

expr_list *build_sort_term(parser *p, expr_list *list, expr *e, bool descending, int nulls) {
  list = build_list(p, list, e);
  if (list) last_item(list)->descending = descending, last_item(list)->nulls = (uint8_t)nulls;
  return list;
}

expr_list *build_order(parser *p, expr_list *list) {
  for (int i = 0; list && postgres(p) && i < list->n; i++)
    if (!list->items[i].nulls) list->items[i].nulls = list->items[i].descending ? 1 : 2;
  return list;
}

expr_list *build_result_column(parser *p, expr_list *list, expr *e, const uint8_t *from, const uint8_t *to, token as) {
  list = ast_list_add(p->memory, list, e);
  if (!list) return NULL;
  last_item(list)->span = trimmed(from, to);
  if (as.p) last_item(list)->name = token_name(p, as);
  return list;
}

name_list *build_names(parser *p, name_list *list, token t) {
  if (!list && !(list = arena_zero(p->memory, sizeof *list))) return NULL;
  if (list->n == list->capacity) {
    int capacity = list->capacity ? list->capacity * 2 : 4;
    struct name_item *items = arena_zero(p->memory, sizeof *items * (size_t)capacity);
    if (!items) return NULL;
    if (list->n) memcpy(items, list->items, sizeof *items * (size_t)list->n);
    list->items = items;
    list->capacity = capacity;
  }
  list->items[list->n++] =
      (struct name_item){token_name(p, t), offset_of(p, t.p), -1, t.n && is_quote(t.p[0])};
  return list;
}

void check_list_length(parser *p, const expr_list *list, const char *what) {
  int limit = p->options->max_columns > 0 ? p->options->max_columns : 2000;
  if (list && list->n > limit) parse_fail(p, NULL, "too many columns in %s", what);
}

void reject_nulls_order(parser *p, const expr_list *list) {
  if (!list) return;
  for (int i = 0; i < list->n; i++)
    if (list->items[i].nulls) {
      parse_fail_late(p, NULL, "unsupported use of NULLS %s", list->items[i].nulls == 1 ? "FIRST" : "LAST");
      return;
    }
}
