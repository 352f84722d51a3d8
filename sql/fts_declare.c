/* The arguments of CREATE VIRTUAL TABLE ... USING fts5 / fts4 / fts3, and the shadow tables they ask for.
 *
 * The shadow tables' texts are SQLite's, letter by letter: sqlite_schema lists what SQLite would list.
 */
#include <stdlib.h>
#include <strings.h>

#include "sql/ddl.h"
#include "sql/fts.h"

status fts_declare5(hdb *db, arena *memory, const create_virtual_table_statement *s, table *t, error *err);
status fts_declare3(hdb *db, arena *memory, const create_virtual_table_statement *s, table *t, error *err);
status fts_create(exec *x, int database, const table *t);

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static const char *skip_blanks(const char *p) {
  while (is_blank(*p)) p++;
  return p;
}
static bool is_bare(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (signed char)c < 0 || c == '$';
}

/* One word, quoted in any of SQL's ways or bare; returns what is behind it, NULL: there is none. */
static const char *word(arena *memory, const char *p, char **out, bool *quoted) {
  p = skip_blanks(p);
  char open = *p, close = open == '[' ? ']' : open;
  *quoted = open == '"' || open == '\'' || open == '[' || open == '`';
  size_t n = strlen(p), k = 0;
  char *text = arena_alloc(memory, n + 1);
  if (!text) return NULL;
  *out = text;
  if (!*quoted) {
    while (is_bare(*p)) text[k++] = *p++;
    text[k] = 0;
    return k ? p : NULL;
  }
  for (p++; *p; p++) {
    if (*p == close) {
      if (close == ']' || p[1] != close) break;
      p++;
    }
    text[k++] = *p;
  }
  text[k] = 0;
  return *p ? p + 1 : NULL;
}

static fts_config *new_config(arena *memory, const virtual_kind *kind, int version, int capacity) {
  fts_config *f = arena_zero(memory, sizeof *f);
  if (!f) return NULL;
  f->instance.kind = kind;
  f->version = version;
  f->columns = arena_zero(memory, ((size_t)capacity + 2) * sizeof *f->columns);
  f->unindexed = arena_zero(memory, (size_t)capacity + 2);
  f->columnsize = true;
  return f->columns && f->unindexed ? f : NULL;
}

/* tokenize's words. */
static status tokenizer(arena *memory, fts_config *f, const char *text, error *err) {
  const char *words[32];
  int n = 0;
  bool quoted;
  for (const char *p = skip_blanks(text); *p && n < 32; p = skip_blanks(p)) {
    char *one;
    const char *next = NULL;
    if (f->version == 5 || *p == '"' || *p == '\'' || *p == '[' || *p == '`') {
      next = word(memory, p, &one, &quoted);
    }
    if (!next && f->version != 5) { /* anything up to a blank; quotes inside belong to it */
      const char *from = p;
      char quote = 0;
      for (; *p && (quote || !is_blank(*p)); p++) {
        if (quote && *p == quote) quote = 0;
        else if (!quote && (*p == '"' || *p == '\'')) quote = *p;
      }
      one = arena_zero(memory, (size_t)(p - from) + 1);
      if (!one) return sql_nomem(err);
      size_t k = 0;
      for (const char *q = from; q < p; q++)
        if (*q != '"' && *q != '\'') one[k++] = *q;
      next = p;
    }
    if (!next) return error_set(err, HDB_ERROR, "parse error in tokenize directive");
    words[n++] = one;
    p = next;
  }
  if (f->version != 5 && n > 1 && strcmp(words[0], "simple") == 0)
    return error_set(err, HDB_ERROR, "not supported yet: delimiters of the simple tokenizer");
  status rc = fts_tokenizer_parse(memory, f->version, words, n, &f->tokenizer);
  if (rc == HDB_OK) return rc;
  if (f->version != 5) return error_set(err, HDB_ERROR, "unknown tokenizer: %s", n ? words[0] : "");
  static const char *const known[] = {"unicode61", "ascii", "porter", "trigram"};
  for (size_t i = 0; i < 4; i++)
    if (n && strcasecmp(known[i], words[0]) == 0) return error_set(err, HDB_ERROR, "error in tokenizer constructor");
  return error_set(err, HDB_ERROR, "no such tokenizer: %s", n ? words[0] : "");
}

/* ---- FTS5 ---- */
static bool starts(const char *name, const char *whole) { return *name && strncasecmp(name, whole, strlen(name)) == 0; }

static status option5(arena *memory, fts_config *f, const char *name, const char *text, error *err) {
  if (starts(name, "prefix")) {
    for (const char *p = skip_blanks(text); *p; p = skip_blanks(p)) {
      if (*p == ',') p = skip_blanks(p + 1);
      char *end;
      if (*p < '0' || *p > '9') return error_set(err, HDB_ERROR, "malformed prefix=... directive");
      long n = strtol(p, &end, 10);
      if (n <= 0 || n >= 1000) return error_set(err, HDB_ERROR, "prefix length out of range (max 999)");
      p = end;
    }
    return HDB_OK;
  }
  if (starts(name, "tokenize")) return tokenizer(memory, f, text, err);
  if (starts(name, "content")) {
    f->content = *text ? FTS_CONTENT_OTHER : FTS_CONTENT_NONE;
    f->content_table = text;
    return error_set(err, HDB_ERROR, "not supported yet: %s fts5 tables", *text ? "external content" : "contentless");
  }
  if (starts(name, "content_rowid")) {
    f->content_rowid = text;
    return HDB_OK;
  }
  if (starts(name, "columnsize")) {
    if ((*text != '0' && *text != '1') || text[1]) return error_set(err, HDB_ERROR, "malformed columnsize=... directive");
    f->columnsize = *text == '1';
    return HDB_OK;
  }
  if (starts(name, "detail")) {
    if (starts(text, "full")) return HDB_OK;
    if (!starts(text, "none") && !starts(text, "columns")) return error_set(err, HDB_ERROR, "malformed detail=... directive");
    return HDB_OK;
  }
  return error_set(err, HDB_ERROR, "unrecognized option: \"%s\"", name);
}

static status column5(arena *memory, fts_config *f, const char *name, const char *option, error *err) {
  (void)memory;
  if (strcasecmp(name, "rank") == 0 || strcasecmp(name, "rowid") == 0)
    return error_set(err, HDB_ERROR, "reserved fts5 column name: %s", name);
  if (option && strcasecmp(option, "unindexed") != 0) return error_set(err, HDB_ERROR, "unrecognized column option: %s", option);
  f->unindexed[f->columns_n] = option != NULL;
  f->columns[f->columns_n++] = name;
  return HDB_OK;
}

static status argument5(arena *memory, fts_config *f, const char *text, error *err) {
  char *one = NULL, *two = NULL;
  bool quoted, quoted_two, is_option = false;
  const char *p = word(memory, text, &one, &quoted);
  if (p) {
    p = skip_blanks(p);
    if (*p == '=') {
      is_option = true;
      p = skip_blanks(p + 1);
      if (quoted) p = NULL;
    }
  }
  if (p && *p) {
    p = word(memory, p, &two, &quoted_two);
    if (p && *skip_blanks(p)) p = NULL;
  }
  if (memory->failed) return sql_nomem(err);
  if (!p) return error_set(err, HDB_ERROR, "parse error in \"%s\"", text);
  return is_option ? option5(memory, f, one, two ? two : "", err) : column5(memory, f, one, two, err);
}

static const char *const shadows5[] = {"data", "idx", "content", "docsize", "config", NULL};
static const char *const shadows5_plain[] = {"data", "idx", "content", "config", NULL};

static status columns_of(arena *memory, table *t, const fts_config *f) {
  for (int i = 0; i < f->columns_n; i++) virtual_add_column(memory, t, f->columns_n + 3, f->columns[i], "", false);
  virtual_add_column(memory, t, f->columns_n + 3, t->name, "", true);
  if (f->version == 5) {
    virtual_add_column(memory, t, f->columns_n + 3, "rank", "", true);
    return HDB_OK;
  }
  virtual_add_column(memory, t, f->columns_n + 3, "docid", "", true);
  virtual_add_column(memory, t, f->columns_n + 3, f->language ? f->language : "__langid", "", true);
  return HDB_OK;
}

status fts_declare5(hdb *db, arena *memory, const create_virtual_table_statement *s, table *t, error *err) {
  int n = s->arguments ? s->arguments->n : 0;
  fts_config *f = new_config(memory, &virtual_fts5, 5, n);
  (void)db;
  if (!f) return sql_nomem(err);
  if (strcasecmp(t->name, "rank") == 0) return error_set(err, HDB_ERROR, "reserved fts5 table name: %s", t->name);
  f->tokenizer = (fts_tokenizer){.kind = FTS_UNICODE61, .diacritics = 1};
  for (int i = 0; i < n; i++) TRY(argument5(memory, f, s->arguments->items[i].name, err));
  if (!f->columns_n) return error_set(err, HDB_ERROR, "vtable constructor failed: %s", t->name);
  f->has_docsize = f->columnsize;
  f->shadows = f->has_docsize ? shadows5 : shadows5_plain;
  t->virtual_data = f;
  return columns_of(memory, t, f);
}

/* ---- FTS3/4 ---- */
static const char *dequoted(arena *memory, const char *text) {
  char *out;
  bool quoted;
  text = skip_blanks(text);
  if (*text != '"' && *text != '\'' && *text != '[' && *text != '`') {
    size_t n = strlen(text);
    while (n && is_blank(text[n - 1])) n--;
    return arena_strndup(memory, text, n);
  }
  return word(memory, text, &out, &quoted) ? out : text;
}

static status option4(arena *memory, fts_config *f, const char *name, size_t n, const char *text, const char **unindexed, int *unindexed_n,
                      bool *matchinfo3, error *err) {
  static const char *const names[] = {"matchinfo", "prefix", "compress", "uncompress", "order", "content", "languageid", "notindexed"};
  size_t k = 0;
  while (k < 8 && (strlen(names[k]) != n || strncasecmp(names[k], name, n) != 0)) k++;
  const char *value = dequoted(memory, text);
  if (!value) return sql_nomem(err);
  switch (k) {
  case 0:
    if (strcasecmp(value, "fts3") != 0) return error_set(err, HDB_ERROR, "unrecognized matchinfo: %s", value);
    *matchinfo3 = true;
    return HDB_OK;
  case 1: return HDB_OK;
  case 4:
    if (strcasecmp(value, "asc") != 0 && strcasecmp(value, "desc") != 0) return error_set(err, HDB_ERROR, "unrecognized order: %s", value);
    f->descending = strcasecmp(value, "desc") == 0;
    return HDB_OK;
  case 6: f->language = value; return HDB_OK;
  case 7: unindexed[(*unindexed_n)++] = value; return HDB_OK;
  case 2:
  case 3: return error_set(err, HDB_ERROR, "not supported yet: compress= of fts4");
  case 5: return error_set(err, HDB_ERROR, "not supported yet: %s fts4 tables", *value ? "external content" : "contentless");
  default: return error_set(err, HDB_ERROR, "unrecognized parameter: %.*s%s%s", (int)n, name, "=", text);
  }
}

static const char *const shadows4[] = {"content", "segments", "segdir", "docsize", "stat", NULL};
static const char *const shadows4_plain[] = {"content", "segments", "segdir", "stat", NULL};
static const char *const shadows3[] = {"content", "segments", "segdir", NULL};

static status argument3(arena *memory, fts_config *f, const char *text, const char **unindexed, int *unindexed_n, bool *matchinfo3, error *err) {
  const char *equal = strchr(text, '=');
  size_t name = 0;
  while (is_bare(text[name])) name++;
  if (strncasecmp(text, "tokenize", 8) == 0 && !is_bare(text[8])) {
    const char *p = skip_blanks(text + 8);
    return tokenizer(memory, f, *p == '=' ? p + 1 : p, err);
  }
  if (f->version == 4 && equal) {
    size_t n = (size_t)(equal - text);
    while (n && is_blank(text[n - 1])) n--;
    return option4(memory, f, text, n, skip_blanks(equal + 1), unindexed, unindexed_n, matchinfo3, err);
  }
  char *one;
  bool quoted;
  if (!word(memory, text, &one, &quoted)) one = arena_strdup(memory, text);
  if (!one) return sql_nomem(err);
  f->columns[f->columns_n++] = one;
  return HDB_OK;
}

status fts_declare3(hdb *db, arena *memory, const create_virtual_table_statement *s, table *t, error *err) {
  int n = s->arguments ? s->arguments->n : 0, unindexed_n = 0;
  bool four = strcasecmp(s->module, "fts4") == 0, matchinfo3 = false;
  fts_config *f = new_config(memory, four ? &virtual_fts4 : &virtual_fts3, four ? 4 : 3, n);
  const char **unindexed = arena_zero(memory, ((size_t)n + 1) * sizeof *unindexed);
  (void)db;
  if (!f || !unindexed) return sql_nomem(err);
  f->tokenizer = (fts_tokenizer){.kind = FTS_SIMPLE};
  for (int i = 0; i < n; i++) TRY(argument3(memory, f, s->arguments->items[i].name, unindexed, &unindexed_n, &matchinfo3, err));
  if (!f->columns_n) f->columns[f->columns_n++] = "content";
  for (int i = 0; i < unindexed_n; i++) {
    int k = 0;
    while (k < f->columns_n && strcasecmp(f->columns[k], unindexed[i]) != 0) k++;
    if (k == f->columns_n) return error_set(err, HDB_ERROR, "no such column: %s", unindexed[i]);
    f->unindexed[k] = true;
  }
  f->has_stat = four;
  f->has_docsize = four && !matchinfo3;
  f->shadows = !four ? shadows3 : f->has_docsize ? shadows4 : shadows4_plain;
  t->virtual_data = f;
  return columns_of(memory, t, f);
}

/* ---- shadow tables ---- */
static void begin_table(buf *b, hdb *db, int database, const table *t, const char *suffix) {
  buf name = BUF_INIT;
  buf_clear(b);
  buf_text(b, "CREATE TABLE ");
  buf_quoted_text(b, db->databases[database].name);
  buf_byte(b, '.');
  buf_text(&name, t->name);
  buf_byte(&name, '_');
  buf_text(&name, suffix);
  const char *text = buf_cstr(&name);
  if (text) buf_quoted_text(b, text);
  else b->failed = true;
  buf_free(&name);
}

static void content_columns(buf *b, const fts_config *f) {
  buf_text(b, f->version == 5 ? "(id INTEGER PRIMARY KEY" : "(docid INTEGER PRIMARY KEY");
  for (int i = 0; i < f->columns_n; i++) {
    if (f->version == 5) {
      buf_printf(b, ", c%d", i);
      continue;
    }
    buf name = BUF_INIT;
    buf_printf(&name, "c%d%s", i, f->columns[i]);
    const char *text = buf_cstr(&name);
    buf_text(b, ", ");
    if (text) buf_quoted_text(b, text);
    buf_free(&name);
  }
  if (f->language) buf_text(b, ", langid");
  buf_byte(b, ')');
}

static const char *definition(const fts_config *f, const char *suffix) {
  static const struct {
    const char *suffix, *text;
  } all[] = {{"data", "(id INTEGER PRIMARY KEY, block BLOB)"},
             {"idx", "(segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID"},
             {"config", "(k PRIMARY KEY, v) WITHOUT ROWID"},
             {"segments", "(blockid INTEGER PRIMARY KEY, block BLOB)"},
             {"segdir", "(level INTEGER,idx INTEGER,start_block INTEGER,leaves_end_block INTEGER,end_block INTEGER,root BLOB,PRIMARY KEY(level, idx))"},
             {"stat", "(id INTEGER PRIMARY KEY, value BLOB)"}};
  if (strcmp(suffix, "docsize") == 0) return f->version == 5 ? "(id INTEGER PRIMARY KEY, sz BLOB)" : "(docid INTEGER PRIMARY KEY, size BLOB)";
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (strcmp(all[i].suffix, suffix) == 0) return all[i].text;
  return NULL;
}

status fts_create(exec *x, int database, const table *t) {
  const fts_config *f = t->virtual_data;
  hdb *db = x->db;
  buf text = BUF_INIT;
  status rc = HDB_OK;
  for (const char *const *suffix = f->shadows; *suffix && rc == HDB_OK; suffix++) {
    begin_table(&text, db, database, t, *suffix);
    const char *columns = definition(f, *suffix);
    if (columns) buf_text(&text, columns);
    else content_columns(&text, f);
    const char *sql = buf_cstr(&text);
    rc = sql ? sql_run(db, "%s", sql) : sql_nomem(&db->err);
  }
  if (rc == HDB_OK && f->version == 5) {
    int64_t changes = db->changes, total = db->total_changes, last = db->last_insert_rowid;
    buf_clear(&text);
    buf_text(&text, "INSERT INTO ");
    buf_quoted_text(&text, db->databases[database].name);
    buf_byte(&text, '.');
    const char *name = arena_printf(&x->lifetime, "%s_config", t->name);
    if (name) buf_quoted_text(&text, name);
    buf_text(&text, " VALUES('version', 4)");
    const char *sql = buf_cstr(&text);
    rc = sql && name ? sql_run(db, "%s", sql) : sql_nomem(&db->err);
    db->changes = changes, db->total_changes = total, db->last_insert_rowid = last;
  }
  buf_free(&text);
  return rc;
}
