/* Queries and changes of rows: token by token, with the look-ahead that PostgreSQL's spellings need (translate.h). */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/rewrite.h"
#include "sql/pg.h"

/* ---- small tools ---- */

static status out_of_memory(error *err) { return error_set(err, HDB_NOMEM, "out of memory"); }

status rewrite_unsupported(rewriter *r, int at, const char *what) {
  error_set(r->err, HDB_ERROR, "not supported yet: %s", what);
  r->err->offset = (int)r->t[at < r->n ? at : r->n].at;
  return HDB_ERROR;
}

status rewrite_syntax_error(rewriter *r, int at) {
  const pg_token *t = &r->t[at < r->n ? at : r->n];
  if (t->kind == PT_END) error_set(r->err, HDB_ERROR, "syntax error at end of input");
  else error_set(r->err, HDB_ERROR, "syntax error at or near \"%.*s\"", (int)t->n, (const char *)r->sql.p + t->at);
  r->err->offset = (int)t->at;
  return HDB_ERROR;
}

bool rewrite_is(const rewriter *r, int at, const char *word) { return at >= 0 && at < r->n && token_word(&r->t[at], word); }

bool rewrite_punct(const rewriter *r, int at, char c) {
  return at >= 0 && at < r->n && r->t[at].kind == PT_PUNCT && r->t[at].text[0] == c && r->t[at].text[1] == 0;
}

int rewrite_close(const rewriter *r, int open, int end) {
  int depth = 0;
  for (int i = open; i < end; i++) {
    if (r->t[i].kind != PT_PUNCT) continue;
    char c = r->t[i].text[0];
    if (c == '(' || c == '[') depth++;
    if ((c == ')' || c == ']') && --depth == 0) return i;
  }
  return end;
}

/* T1 */
static void note_piece(rewriter *r, int at) {
  translation *t = r->out;
  if (t->pieces_n == t->pieces_capacity) {
    int wanted = t->pieces_capacity ? t->pieces_capacity * 2 : 64;
    translation_piece *more = arena_alloc(r->memory, (size_t)wanted * sizeof *more);
    if (!more) return;
    if (t->pieces_n) memcpy(more, t->pieces, (size_t)t->pieces_n * sizeof *more);
    t->pieces = more;
    t->pieces_capacity = wanted;
  }
  t->pieces[t->pieces_n++] = (translation_piece){(uint32_t)r->text.n, r->t[at < r->n ? at : r->n].at};
}

static void space(rewriter *r, int at) {
  if (r->text.n == 0 || at >= r->n) return;
  uint8_t last = r->text.p[r->text.n - 1];
  if (last != ' ' && last != '(' && last != '.' && (r->t[at].space || last == ')')) buf_byte(&r->text, ' ');
}

void rewrite_put(rewriter *r, int from, const char *text) {
  if (r->text.n && *text != ')' && *text != ',') {
    uint8_t last = r->text.p[r->text.n - 1];
    if (last != ' ' && last != '(' && last != '.') buf_byte(&r->text, ' ');
  }
  note_piece(r, from);
  buf_text(&r->text, text);
}

void rewrite_string(rewriter *r, int at, const char *text, size_t n) {
  space(r, at);
  note_piece(r, at);
  if (memchr(text, 0, n)) { /* the lexer's strings end at a NUL */
    buf_text(&r->text, "CAST(x'");
    for (size_t i = 0; i < n; i++) buf_printf(&r->text, "%02x", (uint8_t)text[i]);
    buf_text(&r->text, "' AS TEXT)");
    return;
  }
  buf_byte(&r->text, '\'');
  for (size_t i = 0; i < n; i++) {
    if (text[i] == '\'') buf_byte(&r->text, '\'');
    buf_byte(&r->text, (uint8_t)text[i]);
  }
  buf_byte(&r->text, '\'');
}

void rewrite_name(rewriter *r, int at, const char *name) {
  if (at < r->n) space(r, at);
  note_piece(r, at);
  bool plain = (*name >= 'a' && *name <= 'z') || *name == '_';
  for (const char *p = name; *p && plain; p++) plain = (*p >= 'a' && *p <= 'z') || *p == '_' || (*p >= '0' && *p <= '9');
  if (plain) {
    static const char *const taken[] = {"user", "order"};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) plain = plain && strcmp(taken[i], name) != 0;
  }
  if (plain) {
    buf_text(&r->text, name);
    return;
  }
  buf_quoted_name(&r->text, name);
}

/* A quoted name always keeps its quotes: it may be a keyword. */
static void quoted_name(rewriter *r, int at) {
  space(r, at);
  note_piece(r, at);
  buf_quoted_name(&r->text, r->t[at].text);
}

void rewrite_token(rewriter *r, int at) {
  const pg_token *t = &r->t[at];
  switch (t->kind) {
  case PT_QUOTED: quoted_name(r, at); return;
  case PT_STRING: rewrite_string(r, at, t->text, t->text_n); return;
  default: break;
  }
  space(r, at);
  if (t->kind == PT_WORD && r->text.n) {
    uint8_t last = r->text.p[r->text.n - 1];
    if (last != ' ' && last != '(' && last != '.' && last != ',') buf_byte(&r->text, ' ');
  }
  note_piece(r, at);
  if (t->kind == PT_PARAM) {
    buf_byte(&r->text, '?');
    buf_text(&r->text, t->text + 1);
  } else {
    buf_text(&r->text, t->text);
  }
}

status rewrite_finish(rewriter *r) {
  translation *t = r->out;
  if (t->texts_n == r->texts_capacity) {
    int wanted = r->texts_capacity ? r->texts_capacity * 2 : 4;
    char **more = arena_zero(r->memory, (size_t)wanted * sizeof *more);
    if (!more) return out_of_memory(r->err);
    if (t->texts_n) memcpy(more, t->texts, (size_t)t->texts_n * sizeof *more);
    t->texts = more;
    r->texts_capacity = wanted;
  }
  char *text = r->text.failed ? NULL : arena_strndup(r->memory, r->text.p ? (const char *)r->text.p : "", r->text.n);
  if (!text) return out_of_memory(r->err);
  t->texts[t->texts_n++] = text;
  buf_clear(&r->text);
  return HDB_OK;
}

uint32_t translation_position(const translation *t, uint32_t offset) {
  uint32_t in = t->tokens_n ? t->tokens[0].at : 0;
  for (int i = 0; i < t->pieces_n && t->pieces[i].out <= offset; i++) in = t->pieces[i].in;
  return in;
}

status rewrite_qualified(rewriter *r, int *at, const char **schema, const char **name) {
  const pg_token *t = &r->t[*at];
  if (*at >= r->n || (t->kind != PT_WORD && t->kind != PT_QUOTED)) return rewrite_syntax_error(r, *at);
  *schema = NULL;
  *name = t->text;
  (*at)++;
  if (!rewrite_punct(r, *at, '.')) return HDB_OK;
  t = &r->t[++*at];
  if (*at >= r->n || (t->kind != PT_WORD && t->kind != PT_QUOTED)) return rewrite_syntax_error(r, *at);
  if (strcmp(*name, "public") == 0) *schema = "main";
  else if (strncmp(*name, "pg_temp", 7) == 0) *schema = "temp";
  else if (strcmp(*name, "pg_catalog") != 0) *schema = *name;
  *name = t->text;
  (*at)++;
  return HDB_OK;
}

/* ---- types ---- */

/* integer, double precision, character varying(10), timestamp(3) with time zone, pg_catalog.text, int[], int array */
status rewrite_type(rewriter *r, int at, int end, const char **type, int *next) {
  if (rewrite_is(r, at, "pg_catalog") && rewrite_punct(r, at + 1, '.')) at += 2;
  if ((rewrite_is(r, at, "public")) && rewrite_punct(r, at + 1, '.')) at += 2;
  if (at >= end || (r->t[at].kind != PT_WORD && r->t[at].kind != PT_QUOTED)) return rewrite_syntax_error(r, at);
  const char *name = r->t[at].text;
  if (r->t[at].kind == PT_QUOTED && strcmp(name, "char") == 0) name = "\"char\"";
  at++;
  if (strcmp(name, "double") == 0 && rewrite_is(r, at, "precision")) name = "float8", at++;
  if (strcmp(name, "national") == 0) name = r->t[at++].text;
  if ((strcmp(name, "character") == 0 || strcmp(name, "char") == 0 || strcmp(name, "bit") == 0) && rewrite_is(r, at, "varying"))
    name = "varchar", at++;
  char modifier[40] = "";
  if (rewrite_punct(r, at, '(')) {
    int close = rewrite_close(r, at, end);
    size_t k = 0;
    for (int i = at; i <= close && i < end && k + r->t[i].n + 1 < sizeof modifier; i++)
      k += (size_t)snprintf(modifier + k, sizeof modifier - k, "%s", r->t[i].text);
    at = close + 1;
  }
  bool moment = strcmp(name, "timestamp") == 0 || strcmp(name, "time") == 0;
  if (moment && (rewrite_is(r, at, "with") || rewrite_is(r, at, "without")) && rewrite_is(r, at + 1, "time")) {
    if (rewrite_is(r, at, "with")) name = strcmp(name, "time") == 0 ? "timetz" : "timestamptz";
    at += 3;
  }
  if (strcmp(name, "interval") == 0) /* interval day to second: the fields say nothing about storage */
    while (rewrite_is(r, at, "year") || rewrite_is(r, at, "month") || rewrite_is(r, at, "day") || rewrite_is(r, at, "hour") ||
           rewrite_is(r, at, "minute") || rewrite_is(r, at, "second") || rewrite_is(r, at, "to")) at++;
  bool array = false;
  if (rewrite_is(r, at, "array")) array = true, at++;
  while (rewrite_punct(r, at, '[')) {
    array = true;
    at = rewrite_close(r, at, end) + 1;
  }
  int32_t ignored;
  if (!array) {
    *type = arena_printf(r->memory, "%s%s", name, modifier);
  } else {
    const pg_type *t = pg_type_by_name(name, &ignored), *a = t ? pg_type_by_oid(t->array) : NULL;
    if (!t && strncasecmp(name, "vector", 6) != 0) {
      *type = arena_printf(r->memory, "%s[]", name);
      *next = at;
      return *type ? HDB_OK : out_of_memory(r->err);
    }
    if (!a) return rewrite_unsupported(r, at - 1, "arrays of this type");
    *type = a->name;
  }
  *next = at;
  return *type ? HDB_OK : out_of_memory(r->err);
}

/* Ours are words; another's name may be anything. */
static void put_type_name(rewriter *r, const char *type) {
  int32_t modifier;
  size_t n = strlen(type);
  bool array = n > 2 && strcmp(type + n - 2, "[]") == 0;
  if (pg_type_by_name(type, &modifier) || strpbrk(type, "( ")) {
    buf_text(&r->text, type);
    return;
  }
  char *name = arena_printf(r->memory, "%s%.*s", array ? "_" : "", (int)(n - (array ? 2 : 0)), type);
  if (name) buf_quoted_name(&r->text, name);
}

static bool is_type_name(const char *name) {
  int32_t modifier;
  return pg_type_by_name(name, &modifier) != NULL;
}

/* ---- expressions ---- */

static bool is_reserved(const pg_token *t) {
  static const char *const words[] = {
      "and", "or", "not", "on", "where", "union", "intersect", "except", "order", "group", "limit", "offset", "then",
      "else", "end", "when", "is", "in", "like", "ilike", "between", "using", "join", "left", "right", "inner", "full",
      "cross", "natural", "having", "window", "for", "returning", "as", "from", "select", "set", "values", "fetch",
      "collate", "asc", "desc", "nulls", "isnull", "notnull", "similar", "over", "filter", "within", "do", "with",
      "conflict", "at", "by", "case", "distinct", "all", "any", "some"};
  if (t->kind != PT_WORD) return false;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(words[i], t->text) == 0) return true;
  return false;
}

bool rewrite_is_name(const rewriter *r, int at) {
  return at < r->n && (r->t[at].kind == PT_QUOTED || (r->t[at].kind == PT_WORD && !is_reserved(&r->t[at])));
}

/* Is the token before the end of an operand (so that an operator here is binary)? */
static bool after_operand(const rewriter *r, int at) {
  if (at == 0) return false;
  const pg_token *t = &r->t[at - 1];
  if (t->kind == PT_PUNCT) return t->text[0] == ')' || t->text[0] == ']';
  if (t->kind == PT_OPERATOR || t->kind == PT_END) return false;
  return !is_reserved(t) || token_word(t, "end") || token_word(t, "asc") || token_word(t, "desc") || token_word(t, "all");
}

static status rewrite_operator(rewriter *r, int at, const char *op) {
  static const struct {
    const char *from, *to;
  } words[] = {{"~", "REGEXP"}, {"~*", "MATCH"}, {"!~", "NOT REGEXP"}, {"!~*", "NOT MATCH"}, {"~~", "LIKE"},
               {"@>", "#contains"}, {"<@", "#contained"}, {"&&", "#overlaps"}, {"?", "#has"}, {"?|", "#hasany"}, {"?&", "#hasall"}, {"#>", "#path"}, {"#>>", "#pathtext"},
               {"~~*", "GLOB"}, {"!~~", "NOT LIKE"}, {"!~~*", "NOT GLOB"}};
  static const char *const plain[] = {"+", "-", "*", "/", "%", "<", ">", "=", "<=", ">=", "<>", "!=", "||", "&", "|",
                                      "<<", ">>", "^", "->", "->>", "<->", "<=>", "<#>", "<+>"};
  r->last_operator = r->text.n;
  r->operator_text = op;
  if (strcmp(op, "~") == 0 && !after_operand(r, at)) {
    rewrite_put(r, at, "~");
    return HDB_OK;
  }
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(words[i].from, op) == 0) {
      rewrite_put(r, at, words[i].to);
      buf_byte(&r->text, ' ');
      return HDB_OK;
    }
  for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
    if (strcmp(plain[i], op) == 0) {
      space(r, at);
      note_piece(r, at);
      buf_text(&r->text, op);
      return HDB_OK;
    }
  char what[60];
  snprintf(what, sizeof what, "operator %s", op);
  return rewrite_unsupported(r, at, what);
}

/* f(a FROM b FOR c) and the like: arguments separated by words. */
static status word_arguments(rewriter *r, int at, int close, const char *name, const char *const *words, bool swap) {
  int starts[5] = {at + 2}, ends[5], n = 1, depth = 0;
  for (int i = at + 2; i < close; i++) {
    if (r->t[i].kind == PT_PUNCT && r->t[i].text[0] == '(') depth++;
    if (r->t[i].kind == PT_PUNCT && r->t[i].text[0] == ')') depth--;
    bool cut = depth == 0 && rewrite_punct(r, i, ',');
    for (int k = 0; words[k] && depth == 0; k++) cut = cut || rewrite_is(r, i, words[k]);
    if (!cut || n == 4) continue;
    ends[n - 1] = i;
    starts[n++] = i + 1;
  }
  ends[n - 1] = close;
  rewrite_put(r, at, name);
  buf_byte(&r->text, '(');
  for (int k = 0; k < n; k++) {
    int which = swap && n > 1 && k < 2 ? 1 - k : k;
    if (k) buf_text(&r->text, ", ");
    TRY(rewrite_range(r, starts[which], ends[which]));
  }
  buf_byte(&r->text, ')');
  return HDB_OK;
}

static status rewrite_trim(rewriter *r, int at, int close) {
  int from = at + 2;
  const char *name = "trim";
  if (rewrite_is(r, from, "leading")) name = "ltrim", from++;
  else if (rewrite_is(r, from, "trailing")) name = "rtrim", from++;
  else if (rewrite_is(r, from, "both")) from++;
  int split = from, depth = 0;
  for (; split < close; split++) {
    if (rewrite_punct(r, split, '(')) depth++;
    if (rewrite_punct(r, split, ')')) depth--;
    if (depth == 0 && rewrite_is(r, split, "from")) break;
  }
  rewrite_put(r, at, name);
  buf_byte(&r->text, '(');
  if (split < close) {
    TRY(rewrite_range(r, split + 1, close));
    if (split > from) {
      buf_text(&r->text, ", ");
      TRY(rewrite_range(r, from, split));
    }
  } else {
    TRY(rewrite_range(r, from, close));
  }
  buf_byte(&r->text, ')');
  return HDB_OK;
}

/* CAST(x AS type) */
static status rewrite_cast(rewriter *r, int at, int close) {
  int as = close, depth = 0;
  for (int i = at + 2; i < close; i++) {
    if (rewrite_punct(r, i, '(')) depth++;
    if (rewrite_punct(r, i, ')')) depth--;
    if (depth == 0 && rewrite_is(r, i, "as")) as = i;
  }
  if (as == close) return rewrite_syntax_error(r, close);
  const char *type;
  int next;
  TRY(rewrite_type(r, as + 1, close, &type, &next));
  if (next != close) return rewrite_syntax_error(r, next);
  rewrite_put(r, at, "CAST(");
  TRY(rewrite_range(r, at + 2, as));
  buf_text(&r->text, " AS ");
  put_type_name(r, type);
  buf_byte(&r->text, ')');
  return HDB_OK;
}

/* x = ANY (array or query) -> x IN (...); the operator is already written. */
static status rewrite_any(rewriter *r, int at, int close) {
  bool any = !rewrite_is(r, at, "all"), equal = r->operator_text && strcmp(r->operator_text, "=") == 0;
  bool differ = r->operator_text && (strcmp(r->operator_text, "<>") == 0 || strcmp(r->operator_text, "!=") == 0);
  if (!(any ? equal : differ)) return rewrite_unsupported(r, at, "this operator with ANY or ALL");
  r->text.n = r->last_operator;
  bool query = rewrite_is(r, at + 2, "select") || rewrite_is(r, at + 2, "values") || rewrite_is(r, at + 2, "with");
  rewrite_put(r, at, any ? "IN (" : "NOT IN (");
  if (!query) buf_text(&r->text, "SELECT value FROM json_each(pg_any_array(");
  TRY(rewrite_range(r, at + 2, close));
  if (!query) buf_text(&r->text, "))");
  buf_byte(&r->text, ')');
  return HDB_OK;
}

/* ( query ) [AS] alias ( columns ): SQLite has no column list there. */
static status rewrite_derived(rewriter *r, int open, int close, int *at, bool *done) {
  int i = close + 1;
  *done = false;
  if (rewrite_is(r, i, "as")) i++;
  if (!rewrite_is_name(r, i) || !rewrite_punct(r, i + 1, '(')) return HDB_OK;
  int list = rewrite_close(r, i + 1, r->n);
  rewrite_put(r, open, "(WITH ");
  rewrite_name(r, i, r->t[i].text);
  buf_byte(&r->text, '(');
  for (int k = i + 2; k < list; k++) rewrite_token(r, k);
  buf_text(&r->text, ") AS (");
  TRY(rewrite_range(r, open + 1, close));
  buf_text(&r->text, ") SELECT * FROM ");
  rewrite_name(r, i, r->t[i].text);
  buf_text(&r->text, ") AS ");
  rewrite_name(r, i, r->t[i].text);
  *at = list + 1;
  *done = true;
  return HDB_OK;
}

/* OFFSET n [LIMIT m], FETCH FIRST n ROWS ONLY, LIMIT ALL */
static status rewrite_limit(rewriter *r, int *at, int end) {
  int limit_from = 0, limit_to = 0, offset_from = 0, offset_to = 0, i = *at;
  while (i < end) {
    bool is_limit = rewrite_is(r, i, "limit"), is_offset = rewrite_is(r, i, "offset"), is_fetch = rewrite_is(r, i, "fetch");
    if (!is_limit && !is_offset && !is_fetch) break;
    if (is_fetch) i++; /* FIRST or NEXT follows */
    int from = i + 1, depth = 0, k = from;
    for (; k < end; k++) {
      if (rewrite_punct(r, k, '(')) depth++;
      if (rewrite_punct(r, k, ')') && depth-- == 0) break;
      if (depth == 0 && (rewrite_is(r, k, "limit") || rewrite_is(r, k, "offset") || rewrite_is(r, k, "fetch") ||
                         rewrite_is(r, k, "for") || rewrite_is(r, k, "row") || rewrite_is(r, k, "rows") ||
                         rewrite_punct(r, k, ';') || rewrite_is(r, k, "union"))) break;
    }
    if (is_offset) offset_from = from, offset_to = k;
    else limit_from = from, limit_to = k;
    i = k;
    if (rewrite_is(r, i, "row") || rewrite_is(r, i, "rows")) i++;
    if (is_fetch) {
      if (limit_from == limit_to) limit_to = -1; /* FETCH FIRST ROW: one */
      if (!rewrite_is(r, i, "only")) return rewrite_unsupported(r, i, "FETCH .. WITH TIES");
      i++;
    }
  }
  bool all = limit_from && limit_to > 0 && (rewrite_is(r, limit_from, "all") || rewrite_is(r, limit_from, "null"));
  if (limit_from || offset_from) {
    bool given = limit_from && !all;
    if (given || offset_from) rewrite_put(r, *at, "LIMIT ");
    if (!given && offset_from) buf_text(&r->text, "-1");
    if (given && limit_to < 0) buf_text(&r->text, "1");
    else if (given) TRY(rewrite_range(r, limit_from, limit_to));
    if (offset_from) {
      buf_text(&r->text, " OFFSET ");
      TRY(rewrite_range(r, offset_from, offset_to));
    }
  }
  *at = i;
  return HDB_OK;
}

/* FOR UPDATE | NO KEY UPDATE | SHARE | KEY SHARE [OF t] [NOWAIT | SKIP LOCKED] */
static int locking_clause(const rewriter *r, int at) {
  int i = at + 1;
  if (rewrite_is(r, i, "no") && rewrite_is(r, i + 1, "key")) i += 2;
  if (rewrite_is(r, i, "key")) i++;
  if (!rewrite_is(r, i, "update") && !rewrite_is(r, i, "share")) return 0;
  i++;
  if (rewrite_is(r, i, "of")) {
    do i += 2;
    while (rewrite_punct(r, i, ',') || rewrite_punct(r, i, '.'));
  }
  if (rewrite_is(r, i, "nowait")) i++;
  if (rewrite_is(r, i, "skip") && rewrite_is(r, i + 1, "locked")) i += 2;
  return i;
}

/* Behind a comma: is this a FROM list? */
static bool in_from_list(const rewriter *r, int at) {
  static const char *const others[] = {"select", "where", "group", "order", "having", "set", "values", "returning", "on", "limit", "by"};
  int depth = 0;
  if (!rewrite_punct(r, at - 1, ',')) return false;
  for (int i = at - 1; i >= 0; i--) {
    if (rewrite_punct(r, i, ')')) depth++;
    if (rewrite_punct(r, i, '(') && depth-- == 0) return false;
    if (depth) continue;
    if (rewrite_is(r, i, "from")) return true;
    for (size_t k = 0; k < sizeof others / sizeof *others; k++)
      if (rewrite_is(r, i, others[k])) return false;
  }
  return false;
}

/* SIMILAR TO pattern: REGEXP with a mark before the pattern, which || binds to it (func_pg.c). */
static status rewrite_similar(rewriter *r, int *at, int end) {
  int depth = 0;
  for (int i = *at + 2; i < end && depth >= 0; i++) {
    depth += (rewrite_punct(r, i, '(') ? 1 : 0) - (rewrite_punct(r, i, ')') ? 1 : 0);
    if (depth == 0 && rewrite_is(r, i, "escape")) return rewrite_unsupported(r, i, "SIMILAR TO .. ESCAPE");
    if (depth == 0 && (rewrite_is(r, i, "and") || rewrite_is(r, i, "or") || rewrite_is(r, i, "then") || rewrite_punct(r, i, ','))) break;
  }
  rewrite_put(r, *at, "REGEXP '***similar:' ||");
  buf_byte(&r->text, ' ');
  *at += 2;
  return HDB_OK;
}

/* f(args) WITHIN GROUP (ORDER BY x [DESC]): at f; false: it is none. */
static bool is_within_group(const rewriter *r, int at, int close) { return rewrite_is(r, close + 1, "within") && rewrite_is(r, close + 2, "group") && rewrite_punct(r, close + 3, '(') && at > 0; }

/* -> pg_percentile_cont(x, fraction, descending), pg_mode(x, descending) */
static status rewrite_within_group(rewriter *r, int *at, int close, int end) {
  static const char *const names[] = {"percentile_cont", "percentile_disc", "mode"};
  int open = close + 3, last = rewrite_close(r, open, end), which = -1;
  for (int k = 0; k < 3; k++)
    if (rewrite_is(r, *at, names[k])) which = k;
  if (which < 0) return rewrite_unsupported(r, *at, "this function WITHIN GROUP");
  if (last == end || !rewrite_is(r, open + 1, "order") || !rewrite_is(r, open + 2, "by")) return rewrite_syntax_error(r, open + 1);
  int stop = last;
  bool nulls = rewrite_is(r, stop - 2, "nulls"), descending;
  if (nulls) stop -= 2; /* they do not count */
  descending = rewrite_is(r, stop - 1, "desc");
  if (descending || rewrite_is(r, stop - 1, "asc")) stop--;
  for (int i = open + 3, depth = 0; i < stop; i++) {
    depth += (rewrite_punct(r, i, '(') ? 1 : 0) - (rewrite_punct(r, i, ')') ? 1 : 0);
    if (depth == 0 && rewrite_punct(r, i, ',')) return rewrite_unsupported(r, i, "WITHIN GROUP with several columns");
  }
  rewrite_put(r, *at, which == 0 ? "pg_percentile_cont(" : which == 1 ? "pg_percentile_disc(" : "pg_mode(");
  TRY(rewrite_range(r, open + 3, stop));
  if (which < 2) {
    buf_text(&r->text, ", ");
    TRY(rewrite_range(r, *at + 2, close));
  }
  buf_text(&r->text, descending ? ", 1)" : ", 0)");
  *at = last + 1;
  return HDB_OK;
}

/* LATERAL (query) [AS] alias [(columns)] -> pg_lateral((query)) AS alias, which the resolver knows. */
static status rewrite_lateral(rewriter *r, int *at, int end) {
  int open = *at + 1, close = rewrite_close(r, open, end), i = close + 1;
  if (close == end) return rewrite_syntax_error(r, end);
  if (rewrite_is(r, i, "as")) i++;
  if (!rewrite_is_name(r, i)) return rewrite_syntax_error(r, i);
  int list = rewrite_punct(r, i + 1, '(') ? rewrite_close(r, i + 1, end) : 0;
  rewrite_put(r, *at, "pg_lateral((");
  if (list) {
    buf_text(&r->text, "WITH ");
    rewrite_name(r, i, r->t[i].text);
    buf_byte(&r->text, '(');
    for (int k = i + 2; k < list; k++) rewrite_token(r, k);
    buf_text(&r->text, ") AS (");
  }
  TRY(rewrite_range(r, open + 1, close));
  if (list) {
    buf_text(&r->text, ") SELECT * FROM ");
    rewrite_name(r, i, r->t[i].text);
  }
  buf_text(&r->text, ")) AS ");
  rewrite_name(r, i, r->t[i].text);
  *at = (list ? list : i) + 1;
  return HDB_OK;
}

/* INSERT .. SELECT .. FROM t ON CONFLICT: SQLite would take ON for the join's, unless a WHERE stands between. */
static bool needs_where(const rewriter *r, int on) {
  bool query = false, from = false, behind = false;
  for (int i = 0, depth = 0; i < on; i++) {
    depth += (rewrite_punct(r, i, '(') ? 1 : 0) - (rewrite_punct(r, i, ')') ? 1 : 0);
    if (depth) continue;
    if (rewrite_is(r, i, "select")) query = true, from = behind = false;
    from = from || (query && rewrite_is(r, i, "from"));
    behind = behind || rewrite_is(r, i, "where") || rewrite_is(r, i, "group") || rewrite_is(r, i, "having") || rewrite_is(r, i, "order") || rewrite_is(r, i, "limit") || rewrite_is(r, i, "offset");
  }
  return from && !behind;
}

/* A word that begins something of PostgreSQL's own; *done false: an ordinary word. */
static status special_word(rewriter *r, int *at, int end, bool *done) {
  static const char *const from_for[] = {"from", "for", NULL}, *const in_only[] = {"in", NULL},
                    *const overlay[] = {"placing", "from", "for", NULL};
  int i = *at;
  bool call = rewrite_punct(r, i + 1, '(');
  int close = call ? rewrite_close(r, i + 1, end) : end;
  int before = rewrite_punct(r, i - 1, '.') && rewrite_is(r, i - 2, "pg_catalog") ? i - 3 : i - 1;
  bool after_from = before >= 0 && (rewrite_is(r, before, "from") || rewrite_is(r, before, "join") || (call && in_from_list(r, before + 1)));
  *done = true;
  if (call && close == end) return rewrite_syntax_error(r, end);
  if (call && is_within_group(r, i, close)) return rewrite_within_group(r, at, close, end);
  if (call) {
    *at = close + 1;
    if (rewrite_is(r, i, "extract") && rewrite_is(r, i + 3, "from")) {
      rewrite_put(r, i, "pg_extract(");
      rewrite_string(r, i + 2, r->t[i + 2].text, strlen(r->t[i + 2].text));
      buf_text(&r->text, ", ");
      TRY(rewrite_range(r, i + 4, close));
      buf_byte(&r->text, ')');
      return HDB_OK;
    }
    if (rewrite_is(r, i, "substring")) return word_arguments(r, i, close, "substring", from_for, false);
    if (rewrite_is(r, i, "position")) return word_arguments(r, i, close, "strpos", in_only, true);
    if (rewrite_is(r, i, "overlay")) return word_arguments(r, i, close, "overlay", overlay, false);
    if (rewrite_is(r, i, "trim")) return rewrite_trim(r, i, close);
    if (rewrite_is(r, i, "cast")) return rewrite_cast(r, i, close);
    if (rewrite_is(r, i, "any") || rewrite_is(r, i, "some") || (rewrite_is(r, i, "all") && r->last_operator && r->t[i - 1].kind == PT_OPERATOR))
      return rewrite_any(r, i, close);
    if (after_from && (rewrite_is(r, i, "generate_series") || rewrite_is(r, i, "unnest"))) {
      *at = i;
      return rewrite_table_function(r, at, end);
    }
    if (after_from && rewrite_is(r, i, "pg_get_keywords")) {
      rewrite_put(r, i, "(SELECT 'select' AS word, 'R' AS catcode, 'reserved' AS catdesc)");
      return HDB_OK;
    }
    if (after_from && (rewrite_is(r, i, "pg_options_to_table") || rewrite_is(r, i, "aclexplode"))) { /* there are no such rows */
      rewrite_put(r, i, rewrite_is(r, i, "aclexplode") ? "(SELECT NULL AS grantor, NULL AS grantee, NULL AS privilege_type, NULL AS is_grantable WHERE 0)"
                                                       : "(SELECT NULL AS option_name, NULL AS option_value WHERE 0)");
      return HDB_OK;
    }
    if (rewrite_is(r, i, "array")) { /* of a query's only column */
      rewrite_put(r, i, "(WITH pg_array_query(x) AS (");
      TRY(rewrite_range(r, i + 2, close));
      buf_text(&r->text, ") SELECT coalesce(array_agg(x), '[]') FROM pg_array_query)");
      return HDB_OK;
    }
    if (rewrite_is(r, i, "pg_partition_ancestors") && rewrite_is(r, close + 1, "with") && rewrite_is(r, close + 2, "ordinality")) {
      rewrite_put(r, i, "(SELECT ");
      TRY(rewrite_range(r, i + 2, close));
      buf_text(&r->text, " AS relid, 1 AS depth) AS a");
      *at = rewrite_close(r, close + 5, end) + 1;
      return HDB_OK;
    }
    static const struct {
      const char *from, *to;
    } json[] = {{"json_build_object", "json_object"}, {"jsonb_build_object", "json_object"}, {"json_build_array", "json_array"}, {"jsonb_build_array", "json_array"},
                {"json_agg", "json_group_array"}, {"jsonb_agg", "json_group_array"}, {"json_object_agg", "json_group_object"}, {"jsonb_object_agg", "json_group_object"}};
    for (size_t k = 0; k < sizeof json / sizeof *json; k++) {
      if (!rewrite_is(r, i, json[k].from)) continue;
      rewrite_put(r, i, json[k].to);
      *at = i + 1;
      return HDB_OK;
    }
    if (rewrite_is(r, i, "operator")) {
      int op = close - 1;
      return rewrite_operator(r, i, r->t[op].text);
    }
    *at = i;
  }
  if (rewrite_is(r, i, "array") && rewrite_punct(r, i + 1, '[')) {
    int bracket = rewrite_close(r, i + 1, end);
    rewrite_put(r, i, "pg_array(");
    TRY(rewrite_range(r, i + 2, bracket));
    buf_byte(&r->text, ')');
    *at = bracket + 1;
    return HDB_OK;
  }
  if (i + 1 < end && r->t[i + 1].kind == PT_STRING && is_type_name(r->t[i].text) && !rewrite_is(r, i, "char")) {
    rewrite_put(r, i, "CAST(");
    rewrite_string(r, i + 1, r->t[i + 1].text, r->t[i + 1].text_n);
    buf_printf(&r->text, " AS %s)", r->t[i].text);
    *at = i + 2;
    if (rewrite_is(r, i, "interval") && *at < end && r->t[*at].kind == PT_WORD && !is_reserved(&r->t[*at]))
      return rewrite_unsupported(r, *at, "INTERVAL with a unit behind it");
    return HDB_OK;
  }
  if ((rewrite_is(r, i, "timestamp") || rewrite_is(r, i, "time")) && rewrite_is(r, i + 1, "with") && rewrite_is(r, i + 2, "time") && i + 4 < end && r->t[i + 4].kind == PT_STRING) {
    rewrite_put(r, i, "CAST(");
    rewrite_string(r, i + 4, r->t[i + 4].text, r->t[i + 4].text_n);
    buf_text(&r->text, " AS timestamptz)");
    *at = i + 5;
    return HDB_OK;
  }
  if (rewrite_is(r, i, "ilike")) {
    *at = i + 1;
    rewrite_put(r, i, "GLOB");
    buf_byte(&r->text, ' ');
    return HDB_OK;
  }
  if (rewrite_is(r, i, "select") && rewrite_is(r, i + 1, "distinct") && rewrite_is(r, i + 2, "on")) return rewrite_distinct_on(r, at, end);
  if (rewrite_is(r, i, "select") && rewrite_has_rows_function(r, i, end)) return rewrite_rows_function(r, at, end);
  if (rewrite_is(r, i, "on") && rewrite_is(r, i + 1, "conflict") && rewrite_is(r, 0, "insert") && needs_where(r, i)) {
    rewrite_put(r, i, "WHERE true ON");
    *at = i + 1;
    return HDB_OK;
  }
  if (rewrite_is(r, i, "similar") && rewrite_is(r, i + 1, "to")) return rewrite_similar(r, at, end);
  if (rewrite_is(r, i, "lateral")) {
    if (rewrite_punct(r, i + 1, '(')) return rewrite_lateral(r, at, end);
    if (!rewrite_is_name(r, i + 1) || !rewrite_punct(r, i + 2, '(')) return rewrite_unsupported(r, i, "LATERAL of other than a query or a function");
    *at = i + 1; /* a function sees what stands left of it anyway */
    if (!rewrite_is(r, i + 1, "generate_series") && !rewrite_is(r, i + 1, "unnest")) return HDB_OK;
    return rewrite_table_function(r, at, end);
  }
  if (rewrite_is(r, i, "distinct") && rewrite_is(r, i + 1, "on")) return rewrite_unsupported(r, i, "DISTINCT ON in this place");
  if (rewrite_is(r, i, "at") && rewrite_is(r, i + 1, "time") && rewrite_is(r, i + 2, "zone")) return rewrite_unsupported(r, i, "AT TIME ZONE behind this expression");
  if (rewrite_is(r, i, "within") && rewrite_is(r, i + 1, "group")) return rewrite_unsupported(r, i, "WITHIN GROUP");
  if ((rewrite_is(r, i, "offset") || rewrite_is(r, i, "limit") || (rewrite_is(r, i, "fetch") && (rewrite_is(r, i + 1, "first") || rewrite_is(r, i + 1, "next")))) && after_operand(r, i))
    return rewrite_limit(r, at, end);
  if (rewrite_is(r, i, "for") && i > 0) {
    int behind = locking_clause(r, i);
    if (behind) {
      r->out->locks = true;
      *at = behind;
      return HDB_OK;
    }
  }
  if (rewrite_is(r, i, "only") && (rewrite_is(r, i - 1, "from") || rewrite_is(r, i - 1, "update") || rewrite_is(r, i - 1, "join"))) {
    *at = i + 1;
    return HDB_OK;
  }
  if (rewrite_is(r, i, "current_catalog") || rewrite_is(r, i, "current_role") || rewrite_is(r, i, "current_user") ||
      rewrite_is(r, i, "session_user") || rewrite_is(r, i, "user") || rewrite_is(r, i, "localtimestamp") ||
      (rewrite_is(r, i, "current_schema") && !call)) {
    bool column = rewrite_punct(r, i - 1, '.') || rewrite_punct(r, i + 1, '.');
    if (!column && !call) {
      rewrite_put(r, i, r->t[i].text);
      buf_text(&r->text, "()");
      *at = i + 1;
      return HDB_OK;
    }
  }
  if (rewrite_is(r, i, "current_timestamp") || rewrite_is(r, i, "current_date") || rewrite_is(r, i, "current_time")) {
    rewrite_put(r, i, rewrite_is(r, i, "current_timestamp") ? "now()" : rewrite_is(r, i, "current_date") ? "pg_current_date()" : "pg_current_time()");
    *at = call ? close + 1 : i + 1;
    return HDB_OK;
  }
  bool among = rewrite_punct(r, i - 1, ',') || rewrite_punct(r, i - 1, '('), set = i > 0 && r->t[i - 1].kind == PT_OPERATOR && strcmp(r->t[i - 1].text, "=") == 0;
  if (rewrite_is(r, i, "default") && (set || (among && (rewrite_punct(r, i + 1, ',') || rewrite_punct(r, i + 1, ')'))))) {
    rewrite_put(r, i, "pg_default()");
    *at = i + 1;
    return HDB_OK;
  }
  *done = false;
  return HDB_OK;
}

/* public.x, pg_catalog.x, information_schema.x, pg_temp.x */
static bool schema_prefix(rewriter *r, int *at) {
  int i = *at;
  if ((r->t[i].kind != PT_WORD && r->t[i].kind != PT_QUOTED) || !rewrite_punct(r, i + 1, '.') || i + 2 >= r->n) return false;
  if (i > 0 && rewrite_punct(r, i - 1, '.')) return false;
  const char *name = r->t[i].text;
  if (strcmp(name, "pg_catalog") == 0) {
    *at = i + 2;
    return true;
  }
  if (strcmp(name, "public") == 0 || strncmp(name, "pg_temp", 7) == 0) {
    bool function = rewrite_punct(r, i + 3, '(');
    size_t length = strlen(r->t[i + 2].text);
    bool sequence = length > 4 && strcmp(r->t[i + 2].text + length - 4, "_seq") == 0; /* a key's is none of main's tables */
    if (!function && !sequence) {
      rewrite_put(r, i, *name == 'p' && name[1] == 'u' ? "main." : "temp.");
    }
    *at = i + 2;
    return true;
  }
  if (strcmp(name, "information_schema") == 0) {
    char joined[100];
    snprintf(joined, sizeof joined, "information_schema_%s", r->t[i + 2].text);
    rewrite_put(r, i, joined);
    if (rewrite_is(r, i - 1, "from") || rewrite_is(r, i - 1, "join") || rewrite_punct(r, i - 1, ',')) {
      bool named = rewrite_is(r, i + 3, "as") || rewrite_is_name(r, i + 3);
      if (!named) {
        buf_text(&r->text, " AS ");
        rewrite_name(r, r->n, r->t[i + 2].text);
      }
    }
    *at = i + 3;
    return true;
  }
  return false;
}

/* (a.k).x: a field of a record; only those of _pg_expandarray are there (translate_srf.c). */
static bool record_field(rewriter *r, int *at) {
  int i = *at + 1, close = i + 1;
  if (!rewrite_is_name(r, i)) return false;
  bool qualified = rewrite_punct(r, i + 1, '.') && rewrite_is_name(r, i + 2);
  if (qualified) close = i + 3;
  if (!rewrite_punct(r, close, ')') || !rewrite_punct(r, close + 1, '.') || !rewrite_is_name(r, close + 2)) return false;
  const char *name = arena_printf(r->memory, "%s.%s", r->t[close - 1].text, r->t[close + 2].text);
  if (!name) return false;
  if (qualified) {
    rewrite_token(r, i);
    buf_byte(&r->text, '.');
    rewrite_name(r, r->n, name);
  } else {
    rewrite_name(r, *at, name);
  }
  *at = close + 3;
  return true;
}

/* An operand that ends at `close` and has [k] behind it. */
static status subscript_of(rewriter *r, int *at, int close, int end) {
  int bracket = rewrite_close(r, close + 1, end);
  if (bracket == end) return rewrite_syntax_error(r, end);
  for (int i = close + 2; i < bracket; i++)
    if (rewrite_punct(r, i, ':')) return rewrite_unsupported(r, i, "array slices");
  rewrite_put(r, *at, "pg_subscript(");
  TRY(rewrite_range(r, *at, close + 1));
  buf_text(&r->text, ", ");
  TRY(rewrite_range(r, close + 2, bracket));
  buf_byte(&r->text, ')');
  *at = bracket + 1;
  return HDB_OK;
}

static bool is_set_word(const rewriter *r, int at) { return rewrite_is(r, at, "union") || rewrite_is(r, at, "intersect") || rewrite_is(r, at, "except"); }

/* ( query ) as one side of UNION, INTERSECT, EXCEPT, or a whole statement in brackets. */
static bool is_arm(const rewriter *r, int open, int close, int end) {
  int inner = open + 1, before = open - 1;
  while (rewrite_punct(r, inner, '(')) inner++;
  if (close >= end || !(rewrite_is(r, inner, "select") || rewrite_is(r, inner, "values") || rewrite_is(r, inner, "with"))) return false;
  if (rewrite_is(r, before, "all") || rewrite_is(r, before, "distinct")) before--;
  if (is_set_word(r, before)) return true;
  bool starts = open == 0 || rewrite_punct(r, before, '(') || rewrite_is(r, before, "as") || rewrite_is(r, before, "exists");
  bool last = close + 1 >= r->n || rewrite_is(r, close + 1, "order") || rewrite_is(r, close + 1, "limit") || rewrite_is(r, close + 1, "offset");
  return starts && (is_set_word(r, close + 1) || (open == 0 && last));
}

static status rewrite_punctuation(rewriter *r, int *at, int end) {
  int i = *at;
  const char *p = r->t[i].text;
  if (*p == '(' && record_field(r, at)) return HDB_OK;
  if (*p == '(') {
    int close = rewrite_close(r, i, end);
    if (close + 1 < end && rewrite_punct(r, close + 1, '[')) return subscript_of(r, at, close, end);
  }
  if (strcmp(p, "::") == 0) {
    const char *type;
    TRY(rewrite_type(r, i + 1, end, &type, at));
    note_piece(r, i);
    buf_text(&r->text, "::");
    size_t n = strlen(type);
    int32_t ignored;
    bool own_array = n > 2 && strcmp(type + n - 2, "[]") == 0 && !pg_type_by_name(type, &ignored);
    if (own_array) buf_printf(&r->text, "_%.*s", (int)n - 2, type); /* as pg_type calls it */
    else buf_text(&r->text, type);
    return HDB_OK;
  }
  if (*p == '[') return rewrite_unsupported(r, i, "array subscripts");
  if (strcmp(p, ":=") == 0) return rewrite_unsupported(r, i, "named arguments");
  if (*p == '(' && is_arm(r, i, rewrite_close(r, i, end), end)) { /* SQLite has no brackets around what UNION puts together */
    int close = rewrite_close(r, i, end);
    rewrite_put(r, i, "SELECT * FROM (");
    TRY(rewrite_range(r, i + 1, close));
    buf_byte(&r->text, ')');
    *at = close + 1;
    return HDB_OK;
  }
  if (*p == '(' && (rewrite_is(r, i + 1, "select") || rewrite_is(r, i + 1, "values") || rewrite_is(r, i + 1, "with"))) {
    int close = rewrite_close(r, i, end);
    if (close == end) return rewrite_syntax_error(r, end);
    bool done;
    TRY(rewrite_derived(r, i, close, at, &done));
    if (done) return HDB_OK;
  }
  rewrite_token(r, i);
  *at = i + 1;
  return HDB_OK;
}

static status rewrite_collate(rewriter *r, int *at) {
  int i = *at + 1;
  if (rewrite_is(r, i, "pg_catalog") && rewrite_punct(r, i + 1, '.')) i += 2;
  const char *name = i < r->n ? r->t[i].text : "";
  *at = i + 1;
  if (strcmp(name, "default") == 0) return HDB_OK;
  static const char *const ours[] = {"nocase", "rtrim", "binary"};
  for (size_t k = 0; k < 3; k++)
    if (strcasecmp(ours[k], name) == 0) {
      rewrite_put(r, i, "COLLATE ");
      buf_text(&r->text, ours[k]);
      return HDB_OK;
    }
  if (strcmp(name, "C") == 0 || strcmp(name, "POSIX") == 0 || strcmp(name, "c") == 0 || strcmp(name, "ucs_basic") == 0) {
    rewrite_put(r, i, "COLLATE BINARY");
    return HDB_OK;
  }
  return rewrite_unsupported(r, i, "this collation");
}

/* name[k], t.name[k] */
static int subscripted(const rewriter *r, int at, int end) {
  int i = at + 1;
  if (rewrite_punct(r, at - 1, '.') && !rewrite_is(r, at - 2, "pg_catalog")) return 0;
  if (rewrite_punct(r, i, '.') && rewrite_is_name(r, i + 1)) i += 2;
  return i < end && rewrite_punct(r, i, '[') && !rewrite_is(r, at, "array") ? i : 0;
}

static status rewrite_subscript(rewriter *r, int *at, int end) {
  int open = subscripted(r, *at, end), close = rewrite_close(r, open, end);
  if (close == end) return rewrite_syntax_error(r, end);
  for (int i = open + 1; i < close; i++)
    if (rewrite_punct(r, i, ':')) return rewrite_unsupported(r, i, "array slices");
  rewrite_put(r, *at, "pg_subscript(");
  for (int i = *at; i < open; i++) rewrite_token(r, i);
  buf_text(&r->text, ", ");
  TRY(rewrite_range(r, open + 1, close));
  buf_byte(&r->text, ')');
  *at = close + 1;
  return HDB_OK;
}

/* The end of the operand at `at` (a name, a call, a literal, brackets, with casts behind) when AT TIME ZONE follows; 0. */
static int zoned_operand(const rewriter *r, int at, int end) {
  int i = at;
  if (rewrite_punct(r, at - 1, '.') || rewrite_is(r, at, "at")) return 0;
  if ((rewrite_is(r, i, "timestamp") || rewrite_is(r, i, "timestamptz") || rewrite_is(r, i, "date")) && i + 1 < end && r->t[i + 1].kind == PT_STRING) i += 2;
  else if (rewrite_punct(r, i, '(')) i = rewrite_close(r, i, end) + 1;
  else if (rewrite_is_name(r, i) || (i < end && (r->t[i].kind == PT_STRING || r->t[i].kind == PT_PARAM))) {
    i++;
    while (rewrite_punct(r, i, '.') && rewrite_is_name(r, i + 1)) i += 2;
    if (rewrite_punct(r, i, '(')) i = rewrite_close(r, i, end) + 1;
  } else return 0;
  while (i + 1 < end && r->t[i].kind == PT_PUNCT && strcmp(r->t[i].text, "::") == 0) i += 2;
  return i < end && rewrite_is(r, i, "at") && rewrite_is(r, i + 1, "time") && rewrite_is(r, i + 2, "zone") ? i : 0;
}

/* operand AT TIME ZONE 'zone' -> timezone('zone', operand) */
static status rewrite_zone(rewriter *r, int *at, int operand_end, int end) {
  int zone = operand_end + 3, behind = zone + 1;
  if (zone >= end) return rewrite_syntax_error(r, zone);
  if (rewrite_punct(r, zone, '(')) behind = rewrite_close(r, zone, end) + 1;
  else if (rewrite_is(r, zone, "interval") && behind < end && r->t[behind].kind == PT_STRING) behind++;
  if (rewrite_is(r, behind, "at") && rewrite_is(r, behind + 1, "time")) return rewrite_unsupported(r, behind, "AT TIME ZONE twice without brackets");
  rewrite_put(r, *at, "timezone(");
  TRY(rewrite_range(r, zone, behind));
  buf_text(&r->text, ", ");
  TRY(rewrite_range(r, *at, operand_end));
  buf_byte(&r->text, ')');
  *at = behind;
  return HDB_OK;
}

status rewrite_range(rewriter *r, int from, int to) {
  for (int i = from; i < to;) {
    const pg_token *t = &r->t[i];
    int zoned = r->has_zones ? zoned_operand(r, i, to) : 0;
    if (zoned) {
      TRY(rewrite_zone(r, &i, zoned, to));
      continue;
    }
    if (schema_prefix(r, &i)) continue;
    if (t->kind == PT_OPERATOR) {
      TRY(rewrite_operator(r, i, t->text));
      i++;
    } else if (t->kind == PT_PUNCT) {
      TRY(rewrite_punctuation(r, &i, to));
    } else if (t->kind == PT_WORD && strcmp(t->text, "collate") == 0) {
      TRY(rewrite_collate(r, &i));
    } else if (rewrite_is_name(r, i) && rewrite_punct(r, i + 1, '(') && rewrite_close(r, i + 1, to) + 1 < to && rewrite_punct(r, rewrite_close(r, i + 1, to) + 1, '[')) {
      TRY(subscript_of(r, &i, rewrite_close(r, i + 1, to), to));
    } else if (rewrite_is_name(r, i) && subscripted(r, i, to)) {
      TRY(rewrite_subscript(r, &i, to));
    } else if (t->kind == PT_WORD && (!rewrite_punct(r, i - 1, '.') || rewrite_is(r, i - 2, "pg_catalog"))) {
      bool done;
      TRY(special_word(r, &i, to, &done));
      if (!done) rewrite_token(r, i++);
    } else {
      rewrite_token(r, i++);
    }
  }
  return r->text.failed ? out_of_memory(r->err) : HDB_OK;
}

/* ---- statements ---- */

/* DELETE FROM t [AS] a USING sources WHERE condition: the rows are found by a query over both. */
static status delete_using(rewriter *r, int using, int table_at, const char *schema, const char *name, const char *alias) {
  int where = using + 1, depth = 0, returning = r->n;
  for (; where < r->n; where++) {
    if (rewrite_punct(r, where, '(')) depth++;
    if (rewrite_punct(r, where, ')')) depth--;
    if (depth == 0 && (rewrite_is(r, where, "where") || rewrite_is(r, where, "returning"))) break;
  }
  depth = 0;
  for (int i = where; i < r->n && returning == r->n; i++) {
    if (rewrite_punct(r, i, '(')) depth++;
    if (rewrite_punct(r, i, ')')) depth--;
    if (depth == 0 && rewrite_is(r, i, "returning")) returning = i;
  }
  buf_text(&r->text, " WHERE rowid IN (SELECT ");
  rewrite_name(r, table_at, alias ? alias : name);
  buf_text(&r->text, ".rowid FROM ");
  if (schema) {
    rewrite_name(r, table_at, schema);
    buf_byte(&r->text, '.');
  }
  rewrite_name(r, table_at, name);
  if (alias) {
    buf_text(&r->text, " AS ");
    rewrite_name(r, table_at, alias);
  }
  buf_byte(&r->text, ',');
  TRY(rewrite_range(r, using + 1, where));
  buf_byte(&r->text, ' ');
  TRY(rewrite_range(r, where, returning));
  buf_byte(&r->text, ')');
  return rewrite_range(r, returning, r->n);
}

/* UPDATE t [AS] a SET, DELETE FROM t [AS] a [USING ...] */
static status rewrite_change(rewriter *r) {
  bool update = rewrite_is(r, 0, "update");
  int i = update ? 1 : 2;
  if (!update && !rewrite_is(r, 1, "from")) return rewrite_syntax_error(r, 1);
  rewrite_token(r, 0);
  if (!update) rewrite_token(r, 1);
  if (rewrite_is(r, i, "only")) i++;
  const char *schema, *name;
  int first = i;
  TRY(rewrite_qualified(r, &i, &schema, &name));
  buf_byte(&r->text, ' ');
  if (schema) {
    rewrite_name(r, first, schema);
    buf_byte(&r->text, '.');
  }
  rewrite_name(r, first, name);
  if (rewrite_is(r, i, "as")) i++;
  const char *alias = NULL;
  if (i < r->n && rewrite_is_name(r, i) && !rewrite_is(r, i, "set") && !rewrite_is(r, i, "using")) {
    alias = r->t[i].text;
    buf_text(&r->text, " AS ");
    rewrite_name(r, i, alias);
    i++;
  }
  if (!update && rewrite_is(r, i, "using")) return delete_using(r, i, first, schema, name, alias);
  if (i < r->n && rewrite_is(r, i, "where") && rewrite_is(r, i + 1, "current") && rewrite_is(r, i + 2, "of")) return rewrite_unsupported(r, i, "WHERE CURRENT OF");
  return rewrite_range(r, i, r->n);
}

static status rewrite_insert(rewriter *r) {
  int over = 0;
  for (int i = 0; i < r->n && !over; i++)
    if (rewrite_is(r, i, "overriding") && rewrite_is(r, i + 2, "value")) over = i;
  for (int i = 0; i < r->n; i++)
    if (rewrite_is(r, i, "conflict") && rewrite_is(r, i + 1, "on") && rewrite_is(r, i + 2, "constraint"))
      return rewrite_unsupported(r, i, "ON CONFLICT ON CONSTRAINT");
  if (over && rewrite_is(r, over + 1, "system") && rewrite_is(r, 1, "into")) { /* OR ABORT changes nothing but says so (describe_insert.c) */
    rewrite_put(r, 0, "INSERT OR ABORT");
    TRY(rewrite_range(r, 1, over));
    return rewrite_range(r, over + 3, r->n);
  }
  TRY(rewrite_range(r, 0, over ? over : r->n));
  return over ? rewrite_range(r, over + 3, r->n) : HDB_OK;
}

status rewrite_query_into(rewriter *r, int from, int to, int cut_from, int cut_to, const char *schema, const char *name, bool temp) {
  r->out->class = CLASS_CREATE_AS;
  r->is_query = false;
  r->out->tag = "SELECT";
  r->out->object = name;
  r->out->object_schema = schema;
  r->out->temp = temp || (schema && strcmp(schema, "temp") == 0);
  r->out->counts = false;
  buf_clear(&r->text);
  r->out->pieces_n = 0;
  if (rewrite_is(r, from, "table")) {
    buf_text(&r->text, "SELECT * FROM ");
    return rewrite_range(r, from + 1, to);
  }
  TRY(rewrite_range(r, from, cut_from));
  return rewrite_range(r, cut_to, to);
}

/* SELECT .. INTO [TEMP] [TABLE] name FROM .. */
static status select_into(rewriter *r, int into) {
  const char *schema, *name;
  int i = into + 1;
  bool temp = rewrite_is(r, i, "temp") || rewrite_is(r, i, "temporary");
  if (temp || rewrite_is(r, i, "unlogged")) i++;
  if (rewrite_is(r, i, "table")) i++;
  TRY(rewrite_qualified(r, &i, &schema, &name));
  return rewrite_query_into(r, 0, r->n, into, i, schema, name, temp);
}

static status rewrite_select(rewriter *r) {
  int depth = 0;
  r->is_query = true;
  for (int i = 0; i < r->n; i++) {
    if (rewrite_punct(r, i, '(')) depth++;
    if (rewrite_punct(r, i, ')')) depth--;
    if (depth == 0 && rewrite_is(r, i, "into") && !rewrite_is(r, 0, "with")) return select_into(r, i);
  }
  if (rewrite_is(r, 0, "table")) {
    buf_text(&r->text, "SELECT * FROM ");
    return rewrite_range(r, 1, r->n);
  }
  return rewrite_range(r, 0, r->n);
}

typedef struct simple_class {
  const char *word;
  enum statement_class class;
  const char *tag;
} simple_class;

static status classify(rewriter *r, bool *done) {
  static const simple_class simple[] = {
      {"begin", CLASS_BEGIN, "BEGIN"}, {"start", CLASS_BEGIN, "START TRANSACTION"}, {"commit", CLASS_COMMIT, "COMMIT"},
      {"end", CLASS_COMMIT, "COMMIT"}, {"rollback", CLASS_ROLLBACK, "ROLLBACK"}, {"abort", CLASS_ROLLBACK, "ROLLBACK"},
      {"savepoint", CLASS_SAVEPOINT, "SAVEPOINT"}, {"release", CLASS_RELEASE, "RELEASE"}, {"set", CLASS_SET, "SET"},
      {"show", CLASS_SHOW, "SHOW"}, {"reset", CLASS_RESET, "RESET"}, {"discard", CLASS_DISCARD, "DISCARD ALL"},
      {"prepare", CLASS_PREPARE, "PREPARE"}, {"execute", CLASS_EXECUTE, "EXECUTE"}, {"deallocate", CLASS_DEALLOCATE, "DEALLOCATE"},
      {"declare", CLASS_DECLARE, "DECLARE CURSOR"}, {"fetch", CLASS_FETCH, "FETCH"}, {"move", CLASS_MOVE, "MOVE"},
      {"close", CLASS_CLOSE, "CLOSE CURSOR"}, {"copy", CLASS_COPY, "COPY"}, {"listen", CLASS_LISTEN, "LISTEN"},
      {"notify", CLASS_NOTIFY, "NOTIFY"}, {"unlisten", CLASS_UNLISTEN, "UNLISTEN"}, {"lock", CLASS_LOCK, "LOCK TABLE"},
      {"vacuum", CLASS_VACUUM, "VACUUM"}, {"comment", CLASS_COMMENT, "COMMENT"}, {"explain", CLASS_EXPLAIN, "EXPLAIN"},
      {"checkpoint", CLASS_CHECKPOINT, "CHECKPOINT"}, {"cluster", CLASS_NOTHING, "CLUSTER"}};
  *done = true;
  if (r->n == 0) {
    r->out->class = CLASS_EMPTY;
    return HDB_OK;
  }
  if (rewrite_is(r, 0, "show") && rewrite_is(r, 1, "branches")) {
    *done = false;
    return HDB_OK;
  }
  for (size_t i = 0; i < sizeof simple / sizeof *simple; i++) {
    if (!rewrite_is(r, 0, simple[i].word)) continue;
    r->out->class = simple[i].class;
    r->out->tag = simple[i].tag;
    if (r->out->class == CLASS_PREPARE && rewrite_is(r, 1, "transaction")) return rewrite_unsupported(r, 1, "PREPARE TRANSACTION");
    if ((r->out->class == CLASS_COMMIT || r->out->class == CLASS_ROLLBACK) && rewrite_is(r, 1, "prepared"))
      return rewrite_unsupported(r, 1, "two-phase commit");
    if (r->out->class == CLASS_ROLLBACK)
      for (int k = 1; k < r->n && k < 3; k++)
        if (rewrite_is(r, k, "to")) r->out->class = CLASS_ROLLBACK_TO;
    return HDB_OK;
  }
  *done = false;
  return HDB_OK;
}

static status dispatch(rewriter *r) {
  static const struct {
    const char *word, *tag;
    bool counts;
    status (*rewrite)(rewriter *);
  } kinds[] = {{"select", "SELECT", true, rewrite_select}, {"values", "SELECT", true, rewrite_select},
               {"with", "SELECT", true, rewrite_select}, {"table", "SELECT", true, rewrite_select},
               {"insert", "INSERT 0", true, rewrite_insert}, {"update", "UPDATE", true, rewrite_change},
               {"delete", "DELETE", true, rewrite_change}, {"create", "CREATE", false, rewrite_create},
               {"alter", "ALTER", false, rewrite_alter}, {"drop", "DROP", false, rewrite_drop},
               {"truncate", "TRUNCATE TABLE", false, rewrite_truncate}};
  static const struct {
    const char *word, *tag;
  } ours[] = {{"pragma", "PRAGMA"}, {"use", "USE BRANCH"}, {"show", "SHOW"}, {"merge", "MERGE BRANCH"}, {"erase", "ERASE"},
              {"replace", "INSERT 0"}, {"analyze", "ANALYZE"}, {"reindex", "REINDEX"}, {"attach", "ATTACH"}, {"detach", "DETACH"}};
  int first = 0;
  while (rewrite_punct(r, first, '(')) first++;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (!rewrite_is(r, first, kinds[i].word) || (first && i > 2)) continue;
    r->out->tag = kinds[i].tag;
    r->out->counts = kinds[i].counts;
    if (i == 2) /* WITH .. INSERT */
      for (int k = 1, depth = 0; k < r->n; k++) {
        if (rewrite_punct(r, k, '(')) depth++;
        if (rewrite_punct(r, k, ')')) depth--;
        if (depth) continue;
        if (rewrite_is(r, k, "insert")) r->out->tag = "INSERT 0";
        else if (rewrite_is(r, k, "update")) r->out->tag = "UPDATE";
        else if (rewrite_is(r, k, "delete")) r->out->tag = "DELETE";
        else continue;
        break;
      }
    TRY(kinds[i].rewrite(r));
    return r->text.n ? rewrite_finish(r) : HDB_OK;
  }
  for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
    if (!rewrite_is(r, 0, ours[i].word)) continue;
    r->out->tag = ours[i].tag;
    r->out->counts = i == 5;
    if (i == 6 && (rewrite_is(r, 1, "verbose") || r->n == 1)) {
      buf_text(&r->text, "ANALYZE ");
      TRY(rewrite_range(r, r->n == 1 ? 1 : 2, r->n));
      return rewrite_finish(r);
    }
    TRY(rewrite_range(r, 0, r->n));
    return rewrite_finish(r);
  }
  static const char *const known[] = {"grant", "revoke", "do", "call", "import", "refresh", "security", "reassign", "load"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (rewrite_is(r, 0, known[i])) return rewrite_unsupported(r, 0, known[i]);
  return rewrite_syntax_error(r, 0);
}

status translate(slice sql, const pg_token *tokens, int n, arena *memory, translation *out, error *err) {
  *out = (translation){.tokens = tokens, .tokens_n = n, .tag = ""};
  pg_token *own = arena_copy(memory, tokens, (size_t)(n + 1) * sizeof *own);
  if (!own) return out_of_memory(err);
  own[n].kind = PT_END; /* a ';' ended it */
  out->tokens = own;
  rewriter r = {.sql = sql, .t = own, .n = n, .memory = memory, .err = err, .out = out, .text = BUF_INIT};
  for (int i = 0; i + 2 < n; i++) r.has_zones = r.has_zones || (token_word(&own[i], "at") && token_word(&own[i + 1], "time") && token_word(&own[i + 2], "zone"));
  bool done;
  status rc = classify(&r, &done);
  if (rc == HDB_OK && !done) rc = dispatch(&r);
  if (rc == HDB_OK && (r.text.failed || memory->failed)) rc = out_of_memory(err);
  buf_free(&r.text);
  return rc;
}

status translate_range(slice sql, const pg_token *tokens, int from, int to, arena *memory, char **text, error *err) {
  translation ignored = {0};
  rewriter r = {.sql = sql, .t = tokens, .n = to, .memory = memory, .err = err, .out = &ignored, .text = BUF_INIT};
  status rc = rewrite_range(&r, from, to);
  *text = rc == HDB_OK ? arena_strndup(memory, r.text.p ? (const char *)r.text.p : "", r.text.n) : NULL;
  buf_free(&r.text);
  return rc == HDB_OK && !*text ? out_of_memory(err) : rc;
}
