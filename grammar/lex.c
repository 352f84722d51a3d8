/* The lexer: SQLite's tokens, byte for byte, and the look-ahead that keeps our own words from being keywords.
 *
 * lex_raw cuts one token and knows no context. lex_next skips spaces and comments and decides the words whose
 * meaning hangs on their neighbours: WINDOW, OVER and FILTER as SQLite does, then ours:
 *   AS OF TIMESTAMP|TRANSACTION|SCN|NOW   one token; any other AS OF stays AS and a name
 *   VERSIONS                              a keyword only before BETWEEN (and there it may fall back to a name)
 *   USE BRANCH, SHOW BRANCHES, MERGE BRANCH, ERASE FROM   one token each, only where a statement begins
 *   BEGIN CONCURRENT                      CONCURRENT is a keyword only there
 *   CREATE|DROP [DATABASE] BRANCH         BRANCH is a keyword only there
 *   ::type                                a suffix of a name, literal or ), one token with the whole type
 *   <-> <=> <#> <+>                       SQLite has no use for them; <-- stays < and a comment
 * Nothing can fail: what is no token is LEX_ILLEGAL with the bytes that SQLite would complain about. A NUL byte ends
 * the text. Cost: one pass, a keyword costs a few comparisons within its first letter.
 */
#include "grammar/parser.h"
#include "parse.h"

static const struct keyword {
  char text[18];
  uint8_t n;
  uint8_t code;
} keywords[] = {
    {"ABORT", 5, TK_ABORT}, {"ACTION", 6, TK_ACTION}, {"ADD", 3, TK_ADD}, {"AFTER", 5, TK_AFTER},
    {"ALL", 3, TK_ALL}, {"ALTER", 5, TK_ALTER}, {"ALWAYS", 6, TK_ALWAYS}, {"ANALYZE", 7, TK_ANALYZE},
    {"AND", 3, TK_AND}, {"AS", 2, TK_AS}, {"ASC", 3, TK_ASC}, {"ATTACH", 6, TK_ATTACH},
    {"AUTOINCREMENT", 13, TK_AUTOINCR}, {"BEFORE", 6, TK_BEFORE}, {"BEGIN", 5, TK_BEGIN},
    {"BETWEEN", 7, TK_BETWEEN}, {"BY", 2, TK_BY}, {"CASCADE", 7, TK_CASCADE}, {"CASE", 4, TK_CASE},
    {"CAST", 4, TK_CAST}, {"CHECK", 5, TK_CHECK}, {"COLLATE", 7, TK_COLLATE}, {"COLUMN", 6, TK_COLUMNKW},
    {"COMMIT", 6, TK_COMMIT}, {"CONFLICT", 8, TK_CONFLICT}, {"CONSTRAINT", 10, TK_CONSTRAINT},
    {"CREATE", 6, TK_CREATE}, {"CROSS", 5, TK_JOIN_KW}, {"CURRENT", 7, TK_CURRENT},
    {"CURRENT_DATE", 12, TK_CTIME_KW}, {"CURRENT_TIME", 12, TK_CTIME_KW},
    {"CURRENT_TIMESTAMP", 17, TK_CTIME_KW}, {"DATABASE", 8, TK_DATABASE}, {"DEFAULT", 7, TK_DEFAULT},
    {"DEFERRABLE", 10, TK_DEFERRABLE}, {"DEFERRED", 8, TK_DEFERRED}, {"DELETE", 6, TK_DELETE},
    {"DESC", 4, TK_DESC}, {"DETACH", 6, TK_DETACH}, {"DISTINCT", 8, TK_DISTINCT}, {"DO", 2, TK_DO},
    {"DROP", 4, TK_DROP}, {"EACH", 4, TK_EACH}, {"ELSE", 4, TK_ELSE}, {"END", 3, TK_END},
    {"ESCAPE", 6, TK_ESCAPE}, {"EXCEPT", 6, TK_EXCEPT}, {"EXCLUDE", 7, TK_EXCLUDE},
    {"EXCLUSIVE", 9, TK_EXCLUSIVE}, {"EXISTS", 6, TK_EXISTS}, {"EXPLAIN", 7, TK_EXPLAIN},
    {"FAIL", 4, TK_FAIL}, {"FILTER", 6, TK_FILTER}, {"FIRST", 5, TK_FIRST}, {"FOLLOWING", 9, TK_FOLLOWING},
    {"FOR", 3, TK_FOR}, {"FOREIGN", 7, TK_FOREIGN}, {"FROM", 4, TK_FROM}, {"FULL", 4, TK_JOIN_KW},
    {"GENERATED", 9, TK_GENERATED}, {"GLOB", 4, TK_LIKE_KW}, {"GROUP", 5, TK_GROUP},
    {"GROUPS", 6, TK_GROUPS}, {"HAVING", 6, TK_HAVING}, {"IF", 2, TK_IF}, {"IGNORE", 6, TK_IGNORE},
    {"IMMEDIATE", 9, TK_IMMEDIATE}, {"IN", 2, TK_IN}, {"INDEX", 5, TK_INDEX}, {"INDEXED", 7, TK_INDEXED},
    {"INITIALLY", 9, TK_INITIALLY}, {"INNER", 5, TK_JOIN_KW}, {"INSERT", 6, TK_INSERT},
    {"INSTEAD", 7, TK_INSTEAD}, {"INTERSECT", 9, TK_INTERSECT}, {"INTO", 4, TK_INTO}, {"IS", 2, TK_IS},
    {"ISNULL", 6, TK_ISNULL}, {"JOIN", 4, TK_JOIN}, {"KEY", 3, TK_KEY}, {"LAST", 4, TK_LAST},
    {"LEFT", 4, TK_JOIN_KW}, {"LIKE", 4, TK_LIKE_KW}, {"LIMIT", 5, TK_LIMIT}, {"MATCH", 5, TK_MATCH},
    {"MATERIALIZED", 12, TK_MATERIALIZED}, {"NATURAL", 7, TK_JOIN_KW}, {"NO", 2, TK_NO},
    {"NOT", 3, TK_NOT}, {"NOTHING", 7, TK_NOTHING}, {"NOTNULL", 7, TK_NOTNULL}, {"NULL", 4, TK_NULL},
    {"NULLS", 5, TK_NULLS}, {"OF", 2, TK_OF}, {"OFFSET", 6, TK_OFFSET}, {"ON", 2, TK_ON}, {"OR", 2, TK_OR},
    {"ORDER", 5, TK_ORDER}, {"OTHERS", 6, TK_OTHERS}, {"OUTER", 5, TK_JOIN_KW}, {"OVER", 4, TK_OVER},
    {"PARTITION", 9, TK_PARTITION}, {"PLAN", 4, TK_PLAN}, {"PRAGMA", 6, TK_PRAGMA},
    {"PRECEDING", 9, TK_PRECEDING}, {"PRIMARY", 7, TK_PRIMARY}, {"QUERY", 5, TK_QUERY},
    {"RAISE", 5, TK_RAISE}, {"RANGE", 5, TK_RANGE}, {"RECURSIVE", 9, TK_RECURSIVE},
    {"REFERENCES", 10, TK_REFERENCES}, {"REGEXP", 6, TK_LIKE_KW}, {"REINDEX", 7, TK_REINDEX},
    {"RELEASE", 7, TK_RELEASE}, {"RENAME", 6, TK_RENAME}, {"REPLACE", 7, TK_REPLACE},
    {"RESTRICT", 8, TK_RESTRICT}, {"RETURNING", 9, TK_RETURNING}, {"RIGHT", 5, TK_JOIN_KW},
    {"ROLLBACK", 8, TK_ROLLBACK}, {"ROW", 3, TK_ROW}, {"ROWS", 4, TK_ROWS}, {"SAVEPOINT", 9, TK_SAVEPOINT},
    {"SELECT", 6, TK_SELECT}, {"SET", 3, TK_SET}, {"TABLE", 5, TK_TABLE}, {"TEMP", 4, TK_TEMP},
    {"TEMPORARY", 9, TK_TEMP}, {"THEN", 4, TK_THEN}, {"TIES", 4, TK_TIES}, {"TO", 2, TK_TO},
    {"TRANSACTION", 11, TK_TRANSACTION}, {"TRIGGER", 7, TK_TRIGGER}, {"UNBOUNDED", 9, TK_UNBOUNDED},
    {"UNION", 5, TK_UNION}, {"UNIQUE", 6, TK_UNIQUE}, {"UPDATE", 6, TK_UPDATE}, {"USING", 5, TK_USING},
    {"VACUUM", 6, TK_VACUUM}, {"VALUES", 6, TK_VALUES}, {"VIEW", 4, TK_VIEW}, {"VIRTUAL", 7, TK_VIRTUAL},
    {"WHEN", 4, TK_WHEN}, {"WHERE", 5, TK_WHERE}, {"WINDOW", 6, TK_WINDOW}, {"WITH", 4, TK_WITH},
    {"WITHOUT", 7, TK_WITHOUT},
};
/* Where the words of each first letter begin; the last is the end. */
static const uint8_t keyword_start[27] = {
    0, 13, 17, 32, 42, 51, 59, 63, 64, 78, 79, 80, 84, 86, 93, 101, 106, 107, 122, 125,
    133, 138, 142, 147, 147, 147, 147};

static inline uint8_t upper(uint8_t c) { return c >= 'a' && c <= 'z' ? (uint8_t)(c - 32) : c; }
static inline bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static inline bool is_hex(uint8_t c) { return is_digit(c) || (upper(c) >= 'A' && upper(c) <= 'F'); }
static inline bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); } /* \v only behind another */

/* Letters, digits, _, $ and every byte above 127. */
bool lex_identifier_byte(uint8_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '$' || c >= 128;
}

static const struct keyword *find_keyword(const uint8_t *p, size_t n) {
  uint8_t letter = n ? (uint8_t)(upper(p[0]) - 'A') : 255;
  if (letter > 25 || n < 2 || n > 17) return NULL;
  for (int k = keyword_start[letter]; k < keyword_start[letter + 1]; k++) {
    if (keywords[k].n != n) continue;
    size_t i = 1;
    while (i < n && (uint8_t)keywords[k].text[i] == upper(p[i])) i++;
    if (i == n) return &keywords[k];
  }
  return NULL;
}

int lex_keyword(const uint8_t *p, size_t n) {
  const struct keyword *k = find_keyword(p, n);
  return k ? k->code : TK_ID;
}

bool grammar_is_keyword(const char *word, size_t n) { return find_keyword((const uint8_t *)word, n) != NULL; }

bool grammar_is_reserved(const char *word, size_t n) {
  const struct keyword *k = find_keyword((const uint8_t *)word, n);
  return k && k->code != TK_INDEXED && k->code != TK_JOIN_KW && !lex_falls_back(k->code);
}

/* ---- the raw token ---- */
#define AT(i) ((i) < n ? z[i] : 0)

static size_t space_length(const uint8_t *z, size_t n) {
  size_t i = 1;
  while (i < n && is_space(z[i])) i++;
  return i;
}

/* Behind the comment; an unterminated one ends with the text. */
static size_t comment_length(const uint8_t *z, size_t n) {
  size_t i = 3;
  uint8_t before = z[2];
  for (; before && (before != '*' || AT(i) != '/'); i++) {
    before = AT(i);
    if (!before) return i;
  }
  return before ? i + 1 : i;
}

static int quoted(const uint8_t *z, size_t n, size_t *length) {
  uint8_t quote = z[0];
  size_t i = 1;
  for (; i < n && z[i]; i++) {
    if (z[i] != quote) continue;
    if (AT(i + 1) != quote) {
      *length = i + 1;
      return quote == '\'' ? TK_STRING : TK_ID;
    }
    i++;
  }
  *length = i;
  return LEX_ILLEGAL;
}

static int bracketed(const uint8_t *z, size_t n, size_t *length) {
  size_t i = 1;
  while (i < n && z[i] && z[i] != ']') i++;
  bool closed = AT(i) == ']';
  *length = closed ? i + 1 : i;
  return closed ? TK_ID : LEX_ILLEGAL;
}

static int number(const uint8_t *z, size_t n, size_t *length) {
  int code = TK_INTEGER;
  size_t i = 0;
  if (z[0] == '0' && upper(AT(1)) == 'X' && is_hex(AT(2))) {
    for (i = 3; is_hex(AT(i)); i++) {}
    *length = i; /* what follows is a token of its own: 0xFF_EF is 255 AS _EF */
    return TK_INTEGER;
  }
  while (is_digit(AT(i))) i++;
  if (AT(i) == '.') {
    code = TK_FLOAT;
    for (i++; is_digit(AT(i)); i++) {}
  }
  if (upper(AT(i)) == 'E' && (is_digit(AT(i + 1)) || ((AT(i + 1) == '+' || AT(i + 1) == '-') && is_digit(AT(i + 2))))) {
    code = TK_FLOAT;
    for (i += 2; is_digit(AT(i)); i++) {}
  }
  for (; lex_identifier_byte(AT(i)); i++) code = LEX_ILLEGAL;
  *length = i;
  return code;
}

/* ?12 ; :a @a #a $a with ::b and one (suffix) behind. */
static int variable(const uint8_t *z, size_t n, size_t *length) {
  size_t i = 1;
  if (z[0] == '?') {
    while (is_digit(AT(i))) i++;
    *length = i;
    return TK_VARIABLE;
  }
  int code = TK_VARIABLE;
  size_t letters = 0;
  for (; AT(i); i++) {
    if (lex_identifier_byte(z[i])) {
      letters++;
    } else if (z[i] == '(' && letters) {
      do i++;
      while (AT(i) && !is_space(z[i]) && z[i] != ')');
      if (AT(i) == ')')
        i++;
      else
        code = LEX_ILLEGAL;
      break;
    } else if (z[i] == ':' && AT(i + 1) == ':') {
      i++;
    } else {
      break;
    }
  }
  *length = i;
  return letters ? code : LEX_ILLEGAL;
}

static int blob(const uint8_t *z, size_t n, size_t *length) {
  size_t i = 2;
  while (is_hex(AT(i))) i++;
  int code = TK_BLOB;
  if (AT(i) != '\'' || i % 2) {
    code = LEX_ILLEGAL;
    while (AT(i) && z[i] != '\'') i++;
  }
  *length = AT(i) ? i + 1 : i;
  return code;
}

/* #contains and the like: what the server makes of @>, <@, && and PostgreSQL's other operators. */
static int named_operator(const uint8_t *z, size_t n, size_t *length) {
  size_t i = 1;
  while (AT(i) >= 'a' && AT(i) <= 'z') i++;
  *length = i;
  return i > 1 ? TK_PGOP : LEX_ILLEGAL;
}

static int less(const uint8_t *z, size_t n, size_t *length) {
  uint8_t second = AT(1), third = AT(2);
  *length = 3;
  if (third == '>') {
    if (second == '-') return TK_VEC_L2;
    if (second == '=') return TK_VEC_COS;
    if (second == '#') return TK_VEC_IP;
    if (second == '+') return TK_VEC_L1;
  }
  *length = 2;
  if (second == '=') return TK_LE;
  if (second == '>') return TK_NE;
  if (second == '<') return TK_LSHIFT;
  *length = 1;
  return TK_LT;
}

static int word(const uint8_t *z, size_t n, size_t *length) {
  size_t i = 1;
  while (i < n && lex_identifier_byte(z[i])) i++;
  *length = i;
  return lex_keyword(z, i);
}

static int two(size_t *length, bool condition, int both, int one) {
  *length = condition ? 2 : 1;
  return condition ? both : one;
}

int lex_raw(slice text, size_t at, uint8_t dialect, size_t *length) {
  *length = 0;
  if (at >= text.n || text.p[at] == 0) return 0;
  const uint8_t *z = text.p + at;
  size_t n = text.n - at;
  *length = 1;
  switch (z[0]) {
  case ' ': case '\t': case '\n': case '\f': case '\r': *length = space_length(z, n); return LEX_SPACE;
  case '-':
    if (AT(1) == '-') {
      size_t i = 2;
      while (AT(i) && z[i] != '\n') i++;
      *length = i;
      return LEX_SPACE;
    }
    if (AT(1) == '>') {
      *length = AT(2) == '>' ? 3 : 2;
      return TK_PTR;
    }
    return TK_MINUS;
  case '(': return TK_LP;
  case ')': return TK_RP;
  case ';': return TK_SEMI;
  case '+': return TK_PLUS;
  case '*': return TK_STAR;
  case '/':
    if (AT(1) != '*' || AT(2) == 0) return TK_SLASH;
    *length = comment_length(z, n);
    return LEX_SPACE;
  case '%': return TK_REM;
  case '=': return two(length, AT(1) == '=', TK_EQ, TK_EQ);
  case '<': return less(z, n, length);
  case '>':
    if (AT(1) == '>') return two(length, true, TK_RSHIFT, 0);
    return two(length, AT(1) == '=', TK_GE, TK_GT);
  case '!': return two(length, AT(1) == '=', TK_NE, LEX_ILLEGAL);
  case '|': return two(length, AT(1) == '|', TK_CONCAT, TK_BITOR);
  case ',': return TK_COMMA;
  case '&': return TK_BITAND;
  case '~': return TK_BITNOT;
  case '^': return dialect == DIALECT_POSTGRES ? TK_POWER : LEX_ILLEGAL;
  case '`': case '"': case '\'': return quoted(z, n, length);
  case '[': return bracketed(z, n, length);
  case '.': return is_digit(AT(1)) ? number(z, n, length) : TK_DOT;
  case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
    return number(z, n, length);
  case '#': return dialect == DIALECT_POSTGRES ? named_operator(z, n, length) : variable(z, n, length);
  case '?': case '$': case '@': case ':': return variable(z, n, length);
  case 'x': case 'X':
    if (AT(1) == '\'') return blob(z, n, length);
    return word(z, n, length);
  case 0xef:
    if (AT(1) == 0xbb && AT(2) == 0xbf) {
      *length = 3;
      return LEX_SPACE;
    }
    return word(z, n, length);
  default:
    if (lex_identifier_byte(z[0])) return word(z, n, length);
    return LEX_ILLEGAL;
  }
}

/* ---- look-ahead ---- */
static int next_raw(slice text, size_t *at, uint8_t dialect, token *out) {
  for (;;) {
    size_t length;
    int code = lex_raw(text, *at, dialect, &length);
    out->p = text.p + *at;
    out->n = (uint32_t)length;
    *at += length;
    if (code != LEX_SPACE) return code;
  }
}

/* The code of the next token where any name counts as TK_ID. */
static int peek_name(slice text, size_t *at, uint8_t dialect) {
  token t;
  int code = next_raw(text, at, dialect, &t);
  if (code == TK_STRING || code == TK_JOIN_KW || code == TK_WINDOW || code == TK_OVER) return TK_ID;
  return code < LEX_SPACE && code > 0 && lex_falls_back(code) ? TK_ID : code;
}

/* Is the next token this bare word? Then *at moves behind it. */
static bool take_word(slice text, size_t *at, uint8_t dialect, const char *expected, token *out) {
  size_t behind = *at;
  int code = next_raw(text, &behind, dialect, out);
  if (code == 0 || code >= LEX_SPACE || !lex_identifier_byte(out->p[0]) || !token_is(*out, expected)) return false;
  *at = behind;
  return true;
}

static int decide_window(slice text, size_t at, int code, int before, uint8_t dialect) {
  if (code == TK_WINDOW) {
    if (peek_name(text, &at, dialect) != TK_ID) return TK_ID;
    return peek_name(text, &at, dialect) == TK_AS ? TK_WINDOW : TK_ID;
  }
  if (before != TK_RP) return TK_ID;
  int next = peek_name(text, &at, dialect);
  if (code == TK_OVER) return next == TK_LP || next == TK_ID ? TK_OVER : TK_ID;
  return next == TK_LP ? TK_FILTER : TK_ID;
}

static bool statement_begins(int before) {
  return before == -1 || before == TK_SEMI || before == TK_EXPLAIN || before == TK_PLAN;
}

static int decide_as(slice text, size_t *at, uint8_t dialect, token *t) {
  static const struct {
    const char *word;
    int code;
  } kinds[] = {{"timestamp", TK_AS_OF_TIMESTAMP},
               {"transaction", TK_AS_OF_TRANSACTION},
               {"scn", TK_AS_OF_SCN},
               {"now", TK_AS_OF_NOW}};
  size_t behind = *at;
  token next;
  if (!take_word(text, &behind, dialect, "of", &next)) return TK_AS;
  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
    if (take_word(text, &behind, dialect, kinds[k].word, &next)) {
      t->n = (uint32_t)(next.p + next.n - t->p);
      *at = behind;
      return kinds[k].code;
    }
  return TK_AS;
}

/* The words of ours that begin with this identifier, or TK_ID. */
static int decide_word(slice text, size_t *at, int before, uint8_t dialect, token *t) {
  static const struct {
    const char *first, *second;
    int code;
  } pairs[] = {{"use", "branch", TK_USE_BRANCH},
               {"show", "branches", TK_SHOW_BRANCHES},
               {"merge", "branch", TK_MERGE_BRANCH},
               {"erase", "from", TK_ERASE_FROM}};
  token next;
  if (statement_begins(before)) {
    for (size_t k = 0; k < sizeof pairs / sizeof pairs[0]; k++)
      if (token_is(*t, pairs[k].first) && take_word(text, at, dialect, pairs[k].second, &next)) {
        t->n = (uint32_t)(next.p + next.n - t->p);
        return pairs[k].code;
      }
    return TK_ID;
  }
  if (before == TK_BEGIN && token_is(*t, "concurrent")) return TK_DEFERRED; /* BEGIN CONCURRENT: what BEGIN is here anyway */
  if ((before == TK_CREATE || before == TK_DROP) && token_is(*t, "branch")) return TK_BRANCH;
  size_t behind = *at;
  if (token_is(*t, "versions") && take_word(text, &behind, dialect, "between", &next)) return TK_VERSIONS;
  return TK_ID;
}

/* Behind `::`: a type name of one or several words, (n[,m]), []. Returns the length, 0 when there is no word. */
static size_t cast_suffix_length(slice text, size_t at, uint8_t dialect) {
  static const char *const second_words[][2] = {
      {"double", "precision"}, {"character", "varying"}, {"bit", "varying"}, {"long", "long"}};
  size_t from = at;
  at += 2;
  token type, next;
  int code = next_raw(text, &at, dialect, &type);
  if (code == 0 || code >= LEX_SPACE || !(lex_identifier_byte(type.p[0]) || type.p[0] == '"') || is_digit(type.p[0]))
    return 0;
  for (size_t k = 0; k < sizeof second_words / sizeof second_words[0]; k++)
    if (token_is(type, second_words[k][0]) && take_word(text, &at, dialect, second_words[k][1], &next)) break;
  size_t behind = at;
  if (next_raw(text, &behind, dialect, &next) == TK_LP) {
    int n = next_raw(text, &behind, dialect, &next);
    if (n == TK_INTEGER) {
      n = next_raw(text, &behind, dialect, &next);
      if (n == TK_COMMA && next_raw(text, &behind, dialect, &next) == TK_INTEGER)
        n = next_raw(text, &behind, dialect, &next);
      if (n == TK_RP) at = behind;
    }
  }
  if (token_is(type, "timestamp") || token_is(type, "time")) {
    behind = at;
    if ((take_word(text, &behind, dialect, "with", &next) || take_word(text, &behind, dialect, "without", &next)) &&
        take_word(text, &behind, dialect, "time", &next) && take_word(text, &behind, dialect, "zone", &next))
      at = behind;
  }
  return at - from;
}

static bool ends_operand(int code) {
  return code == TK_RP || code == TK_STRING || code == TK_INTEGER || code == TK_FLOAT || code == TK_BLOB ||
         code == TK_NULL || code == TK_VARIABLE || code == TK_CAST_SUFFIX || code == TK_JOIN_KW || code == TK_INDEXED ||
         (code > 0 && lex_falls_back(code));
}

int lex_next(slice text, size_t *at, int before, uint8_t dialect, token *out) {
  int code = next_raw(text, at, dialect, out);
  switch (code) {
  case TK_WINDOW: case TK_OVER: case TK_FILTER: return decide_window(text, *at, code, before, dialect);
  case TK_AS: return decide_as(text, at, dialect, out);
  case TK_ID: return lex_identifier_byte(out->p[0]) ? decide_word(text, at, before, dialect, out) : TK_ID;
  case TK_DATABASE: {
    token next;
    if ((before == TK_CREATE || before == TK_DROP) && take_word(text, at, dialect, "branch", &next)) {
      out->n = (uint32_t)(next.p + next.n - out->p);
      return TK_BRANCH;
    }
    return code;
  }
  case LEX_ILLEGAL:
    if (out->p[0] == ':' && out->n == 1 && *at < text.n && text.p[*at] == ':' && ends_operand(before)) {
      size_t from = (size_t)(out->p - text.p), length = cast_suffix_length(text, from, dialect);
      if (length) {
        *at = from + length;
        out->n = (uint32_t)length;
        return TK_CAST_SUFFIX;
      }
    }
    return code;
  default: return code;
  }
}

size_t grammar_token(slice text, size_t at, uint8_t dialect, enum token_kind *kind) {
  size_t length;
  int code = lex_raw(text, at, dialect, &length);
  switch (code) {
  case 0: *kind = TOK_END; break;
  case LEX_SPACE: *kind = TOK_SPACE; break;
  case LEX_ILLEGAL: *kind = TOK_BAD; break;
  case TK_STRING: *kind = TOK_STRING; break;
  case TK_INTEGER: case TK_FLOAT: *kind = TOK_NUMBER; break;
  case TK_VARIABLE: *kind = TOK_PARAM; break;
  case TK_BLOB: *kind = TOK_BLOB_LITERAL; break;
  default:
    if (lex_identifier_byte(text.p[at]))
      *kind = TOK_WORD;
    else
      *kind = code == TK_ID ? TOK_QUOTED : TOK_PUNCTUATION;
  }
  return length;
}
