/* PostgreSQL's tokens: nested comments, '' and E'' strings, dollar quotes, U&"", $1, operators by the longest match with
 * its rule about a trailing + or -. Unquoted words are folded to lower case (ASCII). */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/translate.h"

typedef struct lexer {
  slice sql;
  size_t at;
  arena *memory;
  error *err;
} lexer;

static uint8_t peek(const lexer *l, size_t k) { return l->at + k < l->sql.n ? l->sql.p[l->at + k] : 0; }
static bool word_start(uint8_t c) { return isalpha(c) || c == '_' || c >= 128; }
static bool word_byte(uint8_t c) { return word_start(c) || isdigit(c) || c == '$'; }

static status fail(lexer *l, size_t at, const char *message) {
  error_set(l->err, HDB_ERROR, "%s", message);
  l->err->offset = (int)at;
  return HDB_ERROR;
}

static status skip_space(lexer *l) {
  for (;;) {
    uint8_t c = peek(l, 0);
    if (l->at >= l->sql.n) return HDB_OK;
    if (isspace(c)) {
      l->at++;
    } else if (c == '-' && peek(l, 1) == '-') {
      while (l->at < l->sql.n && l->sql.p[l->at] != '\n') l->at++;
    } else if (c == '/' && peek(l, 1) == '*') {
      size_t from = l->at;
      int depth = 0;
      do {
        if (l->at >= l->sql.n) return fail(l, from, "unterminated /* comment");
        if (peek(l, 0) == '/' && peek(l, 1) == '*') depth++, l->at += 2;
        else if (peek(l, 0) == '*' && peek(l, 1) == '/') depth--, l->at += 2;
        else l->at++;
      } while (depth > 0);
    } else {
      return HDB_OK;
    }
  }
}

static void put_utf8(buf *b, uint32_t c) {
  if (c < 0x80) buf_byte(b, (uint8_t)c);
  else if (c < 0x800) buf_byte(b, (uint8_t)(0xc0 | c >> 6)), buf_byte(b, (uint8_t)(0x80 | (c & 63)));
  else if (c < 0x10000) buf_byte(b, (uint8_t)(0xe0 | c >> 12)), buf_byte(b, (uint8_t)(0x80 | (c >> 6 & 63))), buf_byte(b, (uint8_t)(0x80 | (c & 63)));
  else buf_byte(b, (uint8_t)(0xf0 | (c >> 18 & 7))), buf_byte(b, (uint8_t)(0x80 | (c >> 12 & 63))), buf_byte(b, (uint8_t)(0x80 | (c >> 6 & 63))), buf_byte(b, (uint8_t)(0x80 | (c & 63)));
}

static void escape(lexer *l, buf *b) {
  uint8_t c = peek(l, 0);
  l->at++;
  int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (digits && isxdigit(peek(l, 0))) {
    uint32_t v = 0;
    for (int i = 0; i < digits && isxdigit(peek(l, 0)); i++, l->at++) {
      uint8_t d = peek(l, 0);
      v = v << 4 | (uint32_t)(isdigit(d) ? d - '0' : tolower(d) - 'a' + 10);
    }
    if (c == 'x') buf_byte(b, (uint8_t)v);
    else put_utf8(b, v);
  } else if (c >= '0' && c <= '7') {
    uint32_t v = (uint32_t)(c - '0');
    for (int i = 0; i < 2 && peek(l, 0) >= '0' && peek(l, 0) <= '7'; i++, l->at++) v = v << 3 | (uint32_t)(peek(l, 0) - '0');
    buf_byte(b, (uint8_t)v);
  } else {
    buf_byte(b, c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'b' ? '\b' : c == 'f' ? '\f' : c);
  }
}

/* At the quote. Adjacent strings on the next line continue it. */
static status quoted(lexer *l, uint8_t quote, bool escapes, buf *b) {
  size_t from = l->at++;
  for (;;) {
    if (l->at >= l->sql.n)
      return fail(l, from, quote == '"' ? "unterminated quoted identifier" : "unterminated quoted string");
    uint8_t c = peek(l, 0);
    if (c == quote && peek(l, 1) == quote) {
      buf_byte(b, quote);
      l->at += 2;
    } else if (c == quote) {
      l->at++;
      size_t behind = l->at;
      bool line = false;
      while (quote == '\'' && behind < l->sql.n && isspace(l->sql.p[behind])) {
        if (l->sql.p[behind] == '\n') line = true;
        behind++;
      }
      if (!line || behind >= l->sql.n || l->sql.p[behind] != '\'') return HDB_OK;
      l->at = behind + 1;
    } else if (c == '\\' && escapes) {
      l->at++;
      escape(l, b);
    } else {
      buf_byte(b, c);
      l->at++;
    }
  }
}

static bool dollar_quote(lexer *l, pg_token *t) {
  size_t n = 1;
  while (word_byte(peek(l, n)) && peek(l, n) != '$') n++;
  if (peek(l, n) != '$' || isdigit(peek(l, 1))) return false;
  n++;
  const uint8_t *tag = l->sql.p + l->at, *from = tag + n, *end = l->sql.p + l->sql.n;
  const uint8_t *close = memmem(from, (size_t)(end - from), tag, n);
  if (!close) return false;
  t->kind = PT_STRING;
  t->text = arena_strndup(l->memory, (const char *)from, (size_t)(close - from));
  t->text_n = (uint32_t)(close - from);
  l->at += (size_t)(close + n - tag);
  return true;
}

static void number(lexer *l) {
  while (isdigit(peek(l, 0))) l->at++;
  if (peek(l, 0) == '.' && peek(l, 1) != '.') {
    l->at++;
    while (isdigit(peek(l, 0))) l->at++;
  }
  size_t sign = peek(l, 1) == '+' || peek(l, 1) == '-';
  if ((peek(l, 0) == 'e' || peek(l, 0) == 'E') && isdigit(peek(l, 1 + sign))) {
    l->at += 1 + sign;
    while (isdigit(peek(l, 0))) l->at++;
  }
}

static void operator_token(lexer *l) {
  static const char letters[] = "+-*/<>=~!@#%^&|`?";
  size_t n = 0;
  bool special = false;
  while (peek(l, n) && strchr(letters, peek(l, n))) {
    if (n && ((peek(l, n) == '-' && peek(l, n + 1) == '-') || (peek(l, n) == '/' && peek(l, n + 1) == '*'))) break;
    special = special || strchr("~!@#%^&|`?", peek(l, n));
    n++;
  }
  while (n > 1 && !special && (peek(l, n - 1) == '+' || peek(l, n - 1) == '-')) n--;
  if (n > 2 && peek(l, 0) == '<' && (peek(l, 1) == '-' || peek(l, 1) == '=' || peek(l, 1) == '#' || peek(l, 1) == '+') && peek(l, 2) == '>') n = 3;
  l->at += n;
}

static status text_token(lexer *l, pg_token *t, uint8_t kind, uint8_t quote, bool escapes) {
  buf b = BUF_INIT;
  status rc = quoted(l, quote, escapes, &b);
  t->kind = kind;
  t->text = arena_strndup(l->memory, b.p ? (const char *)b.p : "", b.n);
  t->text_n = (uint32_t)b.n;
  buf_free(&b);
  return rc;
}

static status next_token(lexer *l, pg_token *t) {
  size_t before = l->at;
  TRY(skip_space(l));
  *t = (pg_token){.kind = PT_END, .space = l->at > before, .at = (uint32_t)l->at};
  uint8_t c = peek(l, 0), d = peek(l, 1);
  if (l->at >= l->sql.n) return HDB_OK;
  if (c == '\'' ) return text_token(l, t, PT_STRING, '\'', false);
  if (c == '"') return text_token(l, t, PT_QUOTED, '"', false);
  if ((c == 'E' || c == 'e') && d == '\'') {
    l->at++;
    return text_token(l, t, PT_STRING, '\'', true);
  }
  if ((c == 'B' || c == 'b' || c == 'N' || c == 'n') && d == '\'') {
    l->at++;
    return text_token(l, t, PT_STRING, '\'', false);
  }
  if ((c == 'X' || c == 'x') && d == '\'') return fail(l, l->at, "not supported yet: bit string X''");
  if ((c == 'U' || c == 'u') && d == '&' && (peek(l, 2) == '\'' || peek(l, 2) == '"'))
    return fail(l, l->at, "not supported yet: U& strings");
  if (c == '$' && isdigit(d)) {
    l->at++;
    while (isdigit(peek(l, 0))) l->at++;
    t->kind = PT_PARAM;
  } else if (c == '$' && dollar_quote(l, t)) {
    t->n = (uint32_t)(l->at - t->at);
    return HDB_OK;
  } else if (word_start(c)) {
    while (word_byte(peek(l, 0))) l->at++;
    t->kind = PT_WORD;
  } else if (isdigit(c) || (c == '.' && isdigit(d))) {
    number(l);
    t->kind = PT_NUMBER;
  } else if (strchr("+-*/<>=~!@#%^&|`?", c)) {
    operator_token(l);
    t->kind = PT_OPERATOR;
  } else {
    l->at += c == ':' && (d == ':' || d == '=') ? 2 : 1;
    t->kind = PT_PUNCT;
  }
  char *text = arena_strndup(l->memory, (const char *)l->sql.p + t->at, l->at - t->at);
  for (char *p = text; p && t->kind == PT_WORD && *p; p++)
    if (*p >= 'A' && *p <= 'Z') *p = (char)(*p + 32);
  t->text = text;
  t->text_n = (uint32_t)(l->at - t->at);
  return HDB_OK;
}

status pg_tokenize(slice sql, arena *memory, pg_token **out, int *n, error *err) {
  lexer l = {.sql = sql, .memory = memory, .err = err};
  pg_token *tokens = NULL;
  int count = 0, capacity = 0;
  status rc = HDB_OK;
  do {
    if (count == capacity) {
      int wanted = capacity ? capacity * 2 : 64;
      pg_token *more = realloc(tokens, (size_t)wanted * sizeof *more);
      if (!more) {
        rc = error_set(err, HDB_NOMEM, "out of memory");
        break;
      }
      tokens = more;
      capacity = wanted;
    }
    rc = next_token(&l, &tokens[count]);
    tokens[count].n = (uint32_t)(l.at - tokens[count].at);
    if (rc == HDB_OK && tokens[count].kind != PT_END && !tokens[count].text) rc = error_set(err, HDB_NOMEM, "out of memory");
  } while (rc == HDB_OK && tokens[count++].kind != PT_END);
  *n = count - 1;
  *out = rc == HDB_OK ? arena_copy(memory, tokens, (size_t)count * sizeof *tokens) : NULL;
  free(tokens);
  if (rc == HDB_OK && !*out) rc = error_set(err, HDB_NOMEM, "out of memory");
  return rc;
}
