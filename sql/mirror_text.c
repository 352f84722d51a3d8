/* Schema texts as stock SQLite reads them: for definitions that it refuses as they are.
 *
 *   x::type        CAST(x AS type)                            all kinds of objects
 *   a table        its columns, types and keys alone          when something else in it is foreign (a CHECK, a default,
 *                                                             a generated column with a function of ours)
 * What was written so is listed in _heliosdb_left_out with both texts, so that whoever reads the file back takes ours
 * for as long as the file's is the one that was written.
 */
#include <sqlite3.h>
#include <stdlib.h>

#include "sql/mirror_internal.h"

/* ---- :: ---- */

typedef struct piece {
  size_t at, n; /* in the text */
  enum token_kind kind;
} piece;
typedef struct pieces {
  slice text;
  piece *list; /* without spaces */
  size_t n, capacity;
} pieces;

static bool is_mark(const pieces *p, size_t i, const char *mark) {
  return i < p->n && p->list[i].n == strlen(mark) && memcmp(p->text.p + p->list[i].at, mark, p->list[i].n) == 0;
}

static bool cut(pieces *p) {
  for (size_t at = 0; at < p->text.n;) {
    enum token_kind kind;
    size_t n = grammar_token(p->text, at, DIALECT_POSTGRES, &kind);
    if (n == 0) break;
    if (at + 1 < p->text.n && memcmp(p->text.p + at, "::", 2) == 0) n = 2, kind = TOK_PUNCTUATION; /* that is the parser's to tell */
    if (kind != TOK_SPACE) {
      if (p->n == p->capacity) {
        size_t capacity = p->capacity ? 2 * p->capacity : 64;
        piece *list = realloc(p->list, capacity * sizeof *list);
        if (!list) return false;
        p->list = list, p->capacity = capacity;
      }
      p->list[p->n++] = (piece){at, n, kind};
    }
    at += n;
  }
  return true;
}

static bool is_name(const pieces *p, size_t i) { return p->list[i].kind == TOK_WORD || p->list[i].kind == TOK_QUOTED; }

static bool is_word(const pieces *p, size_t i, const char *word) {
  return i < p->n && p->list[i].kind == TOK_WORD && p->list[i].n == strlen(word) && sqlite3_strnicmp((const char *)p->text.p + p->list[i].at, word, (int)p->list[i].n) == 0;
}

/* A function's name before its parenthesis: no keyword, but for those that name functions too. */
static bool is_function(const pieces *p, size_t i) {
  static const char *const both[] = {"cast", "replace", "like", "glob", "match", "left", "right", "if"};
  if (!is_name(p, i)) return false;
  for (size_t k = 0; k < sizeof both / sizeof *both; k++)
    if (is_word(p, i, both[k])) return true;
  return p->list[i].kind == TOK_QUOTED || !sqlite3_keyword_check((const char *)p->text.p + p->list[i].at, (int)p->list[i].n);
}

/* Where the operand begins that ends with piece i: a literal, a.b.c, f(...), (...), CASE ... END. */
static size_t operand_start(const pieces *p, size_t i) {
  if (is_word(p, i, "end")) {
    int depth = 0;
    for (;; i--) {
      if (is_word(p, i, "end")) depth++;
      if (is_word(p, i, "case") && --depth == 0) return i;
      if (i == 0) return SIZE_MAX;
    }
  }
  if (is_mark(p, i, ")")) {
    int depth = 0;
    for (;; i--) {
      if (is_mark(p, i, ")")) depth++;
      if (is_mark(p, i, "(") && --depth == 0) break;
      if (i == 0) return SIZE_MAX;
    }
    if (i == 0 || !is_function(p, i - 1)) return i;
    i--;
  }
  while (is_name(p, i) && i >= 2 && is_mark(p, i - 1, ".") && is_name(p, i - 2)) i -= 2;
  return i;
}

/* Behind the type's name that begins at piece i: words, and (n) or (n, m); arrays are kept as JSON text. */
static size_t type_end(const pieces *p, size_t i, bool *array) {
  static const char *const second[] = {"precision", "varying", "with", "without", "time", "zone"};
  *array = false;
  if (i >= p->n || !is_name(p, i)) return SIZE_MAX;
  i++;
  for (bool more = true; more && i < p->n;) {
    more = false;
    for (size_t k = 0; k < sizeof second / sizeof *second; k++)
      more = more || (p->list[i].n == strlen(second[k]) && sqlite3_strnicmp((const char *)p->text.p + p->list[i].at, second[k], (int)p->list[i].n) == 0);
    if (more) i++;
  }
  if (is_mark(p, i, "(")) {
    while (i < p->n && !is_mark(p, i, ")")) i++;
    i++;
  }
  while (is_mark(p, i, "[]") || (is_mark(p, i, "[") && is_mark(p, i + 1, "]"))) i += is_mark(p, i, "[]") ? 1 : 2, *array = true;
  return i;
}

/* The first cast in the text is rewritten; *done: there was none. */
static bool rewrite_cast(const char *sql, buf *out, bool *done) {
  pieces p = {.text = slice_str(sql)};
  size_t i = 1;
  bool good = cut(&p);
  while (good && i < p.n && !is_mark(&p, i, "::")) i++;
  *done = i >= p.n;
  if (good && !*done) {
    bool array;
    size_t start = operand_start(&p, i - 1), type = i + 1, end = type_end(&p, type, &array);
    good = start != SIZE_MAX && end != SIZE_MAX && end <= p.n;
    if (good) {
      size_t from = p.list[start].at, behind = p.list[i - 1].at + p.list[i - 1].n, tail = p.list[end - 1].at + p.list[end - 1].n;
      buf_append(out, sql, from);
      buf_text(out, "CAST(");
      buf_append(out, sql + from, behind - from);
      buf_text(out, " AS ");
      if (array) buf_text(out, "TEXT");
      else buf_append(out, sql + p.list[type].at, tail - p.list[type].at);
      buf_byte(out, ')');
      buf_text(out, sql + tail);
    }
  }
  free(p.list);
  return good;
}

const char *mirror_text_casts(arena *memory, const char *sql) {
  const char *now = sql;
  for (int i = 0; i < 1000; i++) {
    buf out = BUF_INIT;
    bool done = true, good = rewrite_cast(now, &out, &done);
    const char *next = good && !done ? buf_cstr(&out) : NULL;
    if (next) now = arena_strdup(memory, next);
    buf_free(&out);
    if (!good || !now) return NULL;
    if (done) return now == sql ? NULL : now;
  }
  return NULL;
}

/* ---- a table without what is foreign in it ---- */

const char *mirror_text_bare(arena *memory, const table *t) {
  buf b = BUF_INIT;
  int n = 0;
  buf_text(&b, "CREATE TABLE ");
  buf_quoted_name(&b, t->name);
  buf_byte(&b, '(');
  for (int i = 0; i < t->columns_n; i++) {
    const column *c = &t->columns[i];
    if (c->stored < 0) continue; /* computed when it is read */
    if (n++) buf_text(&b, ", ");
    buf_quoted_name(&b, c->name);
    if (i == t->rowid_column) buf_text(&b, " INTEGER PRIMARY KEY");
    else if (*c->type) buf_printf(&b, " %s", c->type);
  }
  if (t->without_rowid) {
    buf_text(&b, ", PRIMARY KEY(");
    for (int i = 0; i < t->primary->key_columns_n; i++) {
      if (i) buf_text(&b, ", ");
      buf_quoted_name(&b, t->columns[t->primary->columns[i].column].name);
    }
    buf_text(&b, ")) WITHOUT ROWID");
  } else {
    buf_byte(&b, ')');
  }
  const char *text = buf_cstr(&b);
  const char *out = text ? arena_strdup(memory, text) : NULL;
  buf_free(&b);
  return out;
}

/* ---- reading it back ---- */

status mirror_texts_load(hdb *db, sqlite3 *file, mirror_texts *out) {
  sqlite3_stmt *s = NULL;
  mirror_written **end = &out->first;
  if (sqlite3_table_column_metadata(file, "main", "_heliosdb_left_out", "written", NULL, NULL, NULL, NULL, NULL) != SQLITE_OK) return HDB_OK;
  int code = sqlite3_prepare_v2(file, "SELECT name, sql, written, why FROM _heliosdb_left_out WHERE written IS NOT NULL", -1, &s, NULL);
  while ((code == SQLITE_OK || code == SQLITE_ROW) && (code = sqlite3_step(s)) == SQLITE_ROW) {
    const char *texts[4];
    mirror_written *w = arena_zero(&out->memory, sizeof *w);
    for (int i = 0; i < 4; i++) {
      texts[i] = (const char *)sqlite3_column_text(s, i);
      if (w) w->texts[i] = arena_strdup(&out->memory, texts[i] ? texts[i] : "");
    }
    if (!w) break;
    *end = w;
    end = &w->next;
  }
  status rc = mirror_sqlite_error(db, file, code);
  sqlite3_finalize(s);
  return out->memory.failed ? sql_nomem(&db->err) : rc;
}

const mirror_written *mirror_text_find(const mirror_texts *list, const char *name, const char *sql) {
  for (const mirror_written *w = list->first; w && name && sql; w = w->next)
    if (sqlite3_stricmp(w->texts[0], name) == 0 && strcmp(w->texts[2], sql) == 0) return w;
  return NULL;
}
