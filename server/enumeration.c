/* CREATE TYPE .. AS ENUM, ALTER TYPE, DROP TYPE. A type is a table without rows whose text has the labels (sql/pg_enum.h);
 * what changes them edits that text. Everything is one transaction. Composite and range types are not there. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/session.h"
#include "sql/pg_enum.h"

enum { LABEL_MOST = 63, DEPENDENTS = 200 };

typedef struct type_change {
  session *s;
  const translation *t;
  arena memory;
  const char *name;
  const char **labels; /* as they are, and room for one more */
  int n;
} type_change;

static bool word(const translation *t, int at, const char *text) { return at < t->tokens_n && token_word(&t->tokens[at], text); }
static bool punct(const translation *t, int at, char c) { return at < t->tokens_n && t->tokens[at].kind == PT_PUNCT && *t->tokens[at].text == c; }

static status syntax_error(const type_change *c, int at) {
  if (at >= c->t->tokens_n) return error_set(&c->s->err, HDB_ERROR, "syntax error at end of input");
  error_set(&c->s->err, HDB_ERROR, "syntax error at or near \"%s\"", c->t->tokens[at].text);
  c->s->err.offset = (int)c->t->tokens[at].at;
  return HDB_ERROR;
}

static status no_memory(const type_change *c) { return error_set(&c->s->err, HDB_NOMEM, "out of memory"); }

static const char *quoted(type_change *c, const char *name) {
  buf b = BUF_INIT;
  buf_quoted_name(&b, name);
  const char *text = arena_strndup(&c->memory, b.p ? (const char *)b.p : "", b.n);
  buf_free(&b);
  return text ? text : "";
}

/* [public.] name */
static status type_name(type_change *c, int *at) {
  if (word(c->t, *at, "public") && punct(c->t, *at + 1, '.')) *at += 2;
  if (*at >= c->t->tokens_n || (c->t->tokens[*at].kind != PT_WORD && c->t->tokens[*at].kind != PT_QUOTED)) return syntax_error(c, *at);
  if (punct(c->t, *at + 1, '.')) return error_set(&c->s->err, HDB_ERROR, "schema \"%s\" does not exist", c->t->tokens[*at].text);
  c->name = c->t->tokens[(*at)++].text;
  bool plain = *c->name && strlen(c->name) < 60;
  for (const char *p = c->name; *p; p++) plain = plain && (*p == '_' || *p == '$' || (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z'));
  return plain ? HDB_OK : error_set(&c->s->err, HDB_ERROR, "not supported yet: this name of a type");
}

static status fit_label(type_change *c, int at) {
  if (at >= c->t->tokens_n || c->t->tokens[at].kind != PT_STRING) return syntax_error(c, at);
  const pg_token *label = &c->t->tokens[at];
  if (label->text_n == 0 || label->text_n > LABEL_MOST || strlen(label->text) != label->text_n)
    return session_fail(c->s, "42602", "Labels must be 63 bytes or less.", NULL, "invalid enum label \"%s\"", label->text);
  return HDB_OK;
}

static int place(const type_change *c, const char *label) {
  for (int i = 0; i < c->n; i++)
    if (strcmp(c->labels[i], label) == 0) return i;
  return -1;
}

static const char *text_of(type_change *c) {
  buf b = BUF_INIT;
  buf_text(&b, "CREATE TABLE ");
  buf_quoted_name(&b, c->name);
  buf_byte(&b, ' ');
  pg_enum_put(c->labels, c->n, &b);
  buf_text(&b, " (label text)");
  const char *text = b.failed ? NULL : arena_strndup(&c->memory, (const char *)b.p, b.n);
  buf_free(&b);
  return text;
}

/* AS ENUM ('a', 'b') */
static status create(type_change *c) {
  int i = 2;
  int32_t modifier;
  TRY(type_name(c, &i));
  if (i < c->t->tokens_n && !(word(c->t, i, "as") && word(c->t, i + 1, "enum"))) return error_set(&c->s->err, HDB_ERROR, "not supported yet: CREATE TYPE of other than enumerated types");
  if (!punct(c->t, i + 2, '(')) return syntax_error(c, i + 2);
  c->labels = arena_zero(&c->memory, (size_t)c->t->tokens_n * sizeof *c->labels);
  if (!c->labels) return no_memory(c);
  for (i += 3; !punct(c->t, i, ')'); i++) {
    if (c->n && !punct(c->t, i++, ',')) return syntax_error(c, i - 1);
    TRY(fit_label(c, i));
    if (place(c, c->t->tokens[i].text) >= 0)
      return session_fail(c->s, "23505", NULL, NULL, "duplicate key value violates unique constraint \"pg_enum_typid_label_index\"");
    c->labels[c->n++] = c->t->tokens[i].text;
  }
  if (i + 1 < c->t->tokens_n) return syntax_error(c, i + 1);
  const char *type, *sql, *text = text_of(c);
  if (!text || hdb_schema_text(c->s->db, NULL, c->name, &c->memory, &type, &sql) != HDB_OK) return no_memory(c);
  if (sql || pg_type_by_name(c->name, &modifier)) return session_fail(c->s, "42710", NULL, NULL, "type \"%s\" already exists", c->name);
  return run_text(c->s, text);
}

/* The labels as they are; the type must be there. */
static status load(type_change *c) {
  const char *type, *sql;
  if (hdb_schema_text(c->s->db, NULL, c->name, &c->memory, &type, &sql) != HDB_OK) return no_memory(c);
  const pg_enum *e = sql ? pg_enum_of_text(&c->memory, c->name, 0, sql) : NULL;
  if (!e) return error_set(&c->s->err, HDB_ERROR, "type \"%s\" does not exist", c->name);
  c->labels = arena_zero(&c->memory, (size_t)(e->n + 1) * sizeof *c->labels);
  if (!c->labels) return no_memory(c);
  memcpy(c->labels, e->labels, (size_t)e->n * sizeof *c->labels);
  c->n = e->n;
  return HDB_OK;
}

static status store(type_change *c) {
  const char *text = text_of(c);
  if (!text) return no_memory(c);
  int rc = hdb_schema_text_set(c->s->db, NULL, c->name, text);
  return rc == HDB_OK ? HDB_OK : engine_failed(c->s, rc);
}

/* Columns of the type: table and column behind each other. */
static status dependents(type_change *c, const char **found, int *n) {
  hdb_stmt *q;
  const char *tail;
  char sql[400];
  snprintf(sql, sizeof sql, "SELECT r.relname, a.attname FROM pg_attribute a, pg_class r, pg_type t WHERE r.oid = a.attrelid AND r.relkind = 'r' AND (a.atttypid = t.oid OR a.atttypid = t.typarray) AND "
                            "t.typname = '%s' AND t.typtype = 'e' ORDER BY 1, a.attnum", c->name);
  int rc = hdb_prepare(c->s->db, sql, -1, 0, &q, &tail);
  if (rc != HDB_OK) return engine_failed(c->s, rc);
  *n = 0;
  while ((rc = hdb_step(q)) == HDB_ROW && *n + 2 <= DEPENDENTS)
    for (int k = 0; k < 2; k++) found[(*n)++] = arena_strdup(&c->memory, hdb_column_text(q, k));
  status failed = rc == HDB_ROW || rc == HDB_DONE ? HDB_OK : engine_failed(c->s, rc);
  hdb_finalize(q);
  return failed;
}

/* VALUE [IF NOT EXISTS] 'x' [BEFORE | AFTER 'y'] */
static status add_value(type_change *c, int i) {
  bool unless = word(c->t, i, "if") && word(c->t, i + 1, "not") && word(c->t, i + 2, "exists");
  if (unless) i += 3;
  TRY(fit_label(c, i));
  const char *label = c->t->tokens[i].text;
  int at = c->n;
  bool before = word(c->t, i + 1, "before");
  if (before || word(c->t, i + 1, "after")) {
    TRY(fit_label(c, i + 2));
    at = place(c, c->t->tokens[i + 2].text);
    if (at < 0) return session_fail(c->s, "22023", NULL, NULL, "\"%s\" is not an existing enum label", c->t->tokens[i + 2].text);
    at += !before;
    i += 2;
  }
  if (i + 1 < c->t->tokens_n) return syntax_error(c, i + 1);
  if (place(c, label) >= 0) {
    if (!unless) return session_fail(c->s, "42710", NULL, NULL, "enum label \"%s\" already exists", label);
    char words[120];
    snprintf(words, sizeof words, "enum label \"%s\" already exists, skipping", label);
    session_notice(c->s, "NOTICE", "00000", words);
    return HDB_OK;
  }
  memmove(c->labels + at + 1, c->labels + at, (size_t)(c->n - at) * sizeof *c->labels);
  c->labels[at] = label;
  c->n++;
  return store(c);
}

static status is_array(type_change *c, const char *table, const char *column, bool *array) {
  description d;
  const char *sql = arena_printf(&c->memory, "SELECT %s FROM %s", quoted(c, column), quoted(c, table));
  if (!sql || hdb_describe(c->s->db, sql, NULL, 0, &c->memory, &d) != HDB_OK) return no_memory(c);
  *array = d.columns_n && pg_array_element(d.columns[0].type);
  return HDB_OK;
}

/* VALUE 'a' TO 'b': the label is what rows hold, so they change along. */
static status rename_value(type_change *c, int i) {
  TRY(fit_label(c, i));
  if (!word(c->t, i + 1, "to")) return syntax_error(c, i + 1);
  TRY(fit_label(c, i + 2));
  const char *from = c->t->tokens[i].text, *to = c->t->tokens[i + 2].text, *found[DEPENDENTS];
  int at = place(c, from), n;
  if (at < 0) return session_fail(c->s, "22023", NULL, NULL, "\"%s\" is not an existing enum label", from);
  if (place(c, to) >= 0) return session_fail(c->s, "42710", NULL, NULL, "enum label \"%s\" already exists", to);
  TRY(dependents(c, found, &n));
  c->labels[at] = to;
  TRY(store(c));
  for (int k = 0; k + 1 < n; k += 2) {
    const char *column = found[k + 1] ? quoted(c, found[k + 1]) : "";
    bool array = false;
    TRY(is_array(c, found[k], found[k + 1], &array));
    if (array) { /* a label is a whole string of the JSON text */
      for (int m = 0; m < c->n; m++)
        if (strpbrk(c->labels[m], "\"\\") || strpbrk(from, "\"\\")) return error_set(&c->s->err, HDB_ERROR, "not supported yet: RENAME VALUE beside labels with quotes in array columns");
      const char *replace = arena_printf(&c->memory, "UPDATE %s SET %s = replace(%s, '\"%s\"', '\"%s\"') WHERE strpos(%s, '\"%s\"') > 0", quoted(c, found[k]), column, column, sql_escaped(&c->memory, from),
                                         sql_escaped(&c->memory, to), column, sql_escaped(&c->memory, from));
      if (!replace) return no_memory(c);
      TRY(run_text(c->s, replace));
      continue;
    }
    /* the old label is none any more: compared as the text that is stored */
    const char *sql = arena_printf(&c->memory, "UPDATE %s SET %s = '%s' WHERE CAST(%s AS text) = '%s'", quoted(c, found[k]), column, sql_escaped(&c->memory, to), column, sql_escaped(&c->memory, from));
    if (!sql) return no_memory(c);
    TRY(run_text(c->s, sql));
  }
  return HDB_OK;
}

static status change(type_change *c) {
  int i = 2;
  TRY(type_name(c, &i));
  TRY(load(c));
  if (word(c->t, i, "owner")) return HDB_OK;
  if (word(c->t, i, "add") && word(c->t, i + 1, "value")) return add_value(c, i + 2);
  if (word(c->t, i, "rename") && word(c->t, i + 1, "value")) return rename_value(c, i + 2);
  return error_set(&c->s->err, HDB_ERROR, "not supported yet: ALTER TYPE .. %s", i < c->t->tokens_n ? c->t->tokens[i].text : "");
}

static status drop_one(type_change *c, bool if_exists, bool cascade) {
  const char *found[DEPENDENTS];
  int n;
  if (!hdb_type_exists(c->s->db, c->name)) {
    if (!if_exists) return error_set(&c->s->err, HDB_ERROR, "type \"%s\" does not exist", c->name);
    session_notice(c->s, "NOTICE", "00000", arena_printf(&c->memory, "type \"%s\" does not exist, skipping", c->name));
    return HDB_OK;
  }
  TRY(dependents(c, found, &n));
  if (n && !cascade) {
    buf detail = BUF_INIT;
    for (int k = 0; k + 1 < n; k += 2) buf_printf(&detail, "%scolumn %s of table %s depends on type %s", k ? "\n" : "", found[k + 1], found[k], c->name);
    const char *words = arena_strndup(&c->memory, detail.p ? (const char *)detail.p : "", detail.n);
    buf_free(&detail);
    return session_fail(c->s, "2BP01", words, "Use DROP ... CASCADE to drop the dependent objects too.", "cannot drop type %s because other objects depend on it", c->name);
  }
  for (int k = 0; k + 1 < n; k += 2) {
    session_notice(c->s, "NOTICE", "00000", arena_printf(&c->memory, "drop cascades to column %s of table %s", found[k + 1], found[k]));
    TRY(alter_drop_column(c->s, NULL, found[k], found[k + 1], false));
  }
  return run_text(c->s, arena_printf(&c->memory, "DROP TABLE %s", quoted(c, c->name)));
}

static status drop(type_change *c) {
  int i = 2, last = c->t->tokens_n - 1;
  bool if_exists = word(c->t, i, "if") && word(c->t, i + 1, "exists"), cascade = word(c->t, last, "cascade");
  if (if_exists) i += 2;
  for (;;) {
    TRY(type_name(c, &i));
    TRY(drop_one(c, if_exists, cascade));
    if (!punct(c->t, i, ',')) break;
    i++;
  }
  if (cascade || word(c->t, i, "restrict")) i++;
  return i < c->t->tokens_n ? syntax_error(c, i) : HDB_OK;
}

status type_run(session *s, const translation *t) {
  type_change c = {.s = s, .t = t};
  bool own = hdb_get_autocommit(s->db);
  status rc = own ? run_text(s, "BEGIN") : HDB_OK;
  if (rc == HDB_OK) rc = word(t, 0, "create") ? create(&c) : word(t, 0, "alter") ? change(&c) : drop(&c);
  if (own && rc == HDB_OK) rc = run_text(s, "COMMIT");
  if (own && rc != HDB_OK && !hdb_get_autocommit(s->db)) hdb_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
  s->queried = true;
  arena_clear(&c.memory);
  return rc;
}
