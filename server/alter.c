/* ALTER TABLE beyond what the engine's own grammar has, and COMMENT ON: edits of the table's schema text.
 *
 * A constraint is added, dropped or changed by cutting and pasting bytes of the stored text between its tokens; the engine
 * then loads the whole schema with it or refuses (hdb_schema_text_set). What must hold of the rows is asked before, in the
 * same transaction, so that a commit conflict undoes both. PRIMARY KEY and UNIQUE become unique indexes with a mark behind
 * their name, which pg_constraint shows as constraints.
 * E1  Everything runs inside of one transaction of its own unless one is open.
 * E2  Names in the text are compared without case; expressions come in translated.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/session.h"
#include "sql/pg_enum.h"
#include "sql/pg_catalog.h"

typedef struct alter {
  session *s;
  const translation *t;  /* the statement */
  const char *query;     /* its text */
  arena *memory;
  const char *schema, *table; /* schema: main, temp or NULL */
  const char *sql;       /* the table's text */
  pg_token *at;          /* its tokens */
  int n, open, close;    /* the brackets around the definitions */
} alter;

typedef struct element {
  int from, to; /* tokens */
} element;

const char *sql_escaped(arena *memory, const char *text) {
  if (!strchr(text, '\'')) return text;
  buf b = BUF_INIT;
  for (const char *p = text; *p; p++) {
    if (*p == '\'') buf_byte(&b, '\'');
    buf_byte(&b, (uint8_t)*p);
  }
  const char *copy = arena_strndup(memory, (const char *)b.p, b.n);
  buf_free(&b);
  return copy ? copy : "";
}

/* ---- the statement's tokens ---- */

static bool word(const alter *a, int i, const char *text) { return i < a->t->tokens_n && token_word(&a->t->tokens[i], text); }
static bool punct(const alter *a, int i, char c) { return i < a->t->tokens_n && a->t->tokens[i].kind == PT_PUNCT && *a->t->tokens[i].text == c; }
static bool name_at(const alter *a, int i) { return i < a->t->tokens_n && (a->t->tokens[i].kind == PT_WORD || a->t->tokens[i].kind == PT_QUOTED); }

static status fail_at(alter *a, int i, const char *format, const char *what) {
  error_set(&a->s->err, HDB_ERROR, format, what);
  if (i < a->t->tokens_n) a->s->err.offset = (int)a->t->tokens[i].at;
  return HDB_ERROR;
}
static status syntax(alter *a, int i) {
  return i < a->t->tokens_n ? fail_at(a, i, "syntax error at or near \"%s\"", a->t->tokens[i].text) : error_set(&a->s->err, HDB_ERROR, "syntax error at end of input");
}

static status no_memory(alter *a) { return error_set(&a->s->err, HDB_NOMEM, "out of memory"); }

static int closing(const pg_token *t, int open, int end) {
  int depth = 0;
  for (int i = open; i < end; i++) {
    if (t[i].kind != PT_PUNCT) continue;
    if (*t[i].text == '(') depth++;
    if (*t[i].text == ')' && --depth == 0) return i;
  }
  return end;
}

/* ---- the table's text ---- */

static bool token_is(const alter *a, int i, const char *text) { return i < a->n && a->at[i].kind == PT_WORD && strcmp(a->at[i].text, text) == 0; }
static bool same_name(const pg_token *t, const char *name) { return (t->kind == PT_WORD || t->kind == PT_QUOTED) && strcasecmp(t->text, name) == 0; }

static status load(alter *a) {
  const char *type;
  int rc = hdb_schema_text(a->s->db, a->schema, a->table, a->memory, &type, &a->sql);
  if (rc != HDB_OK) return engine_failed(a->s, rc);
  if (!a->sql) return error_set(&a->s->err, HDB_ERROR, "relation \"%s\" does not exist", a->table);
  if (strcmp(type, "table") != 0) return session_fail(a->s, "42809", NULL, NULL, "ALTER action cannot be performed on relation \"%s\": it is no table", a->table);
  TRY(pg_tokenize(slice_str(a->sql), a->memory, &a->at, &a->n, &a->s->err));
  for (a->open = 0; a->open < a->n && !(a->at[a->open].kind == PT_PUNCT && *a->at[a->open].text == '('); a->open++) {
  }
  a->close = closing(a->at, a->open, a->n);
  if (a->close == a->n) return error_set(&a->s->err, HDB_ERROR, "not supported yet: this form of ALTER TABLE for a table without a list of columns");
  return HDB_OK;
}

static bool next_element(const alter *a, element *e) {
  int from = e->to ? e->to + 1 : a->open + 1, depth = 0, i = from;
  if (from >= a->close) return false;
  for (; i < a->close; i++) {
    if (a->at[i].kind != PT_PUNCT) continue;
    if (*a->at[i].text == '(') depth++;
    if (*a->at[i].text == ')') depth--;
    if (depth == 0 && *a->at[i].text == ',') break;
  }
  *e = (element){from, i};
  return true;
}

static bool starts_table_constraint(const alter *a, int i) {
  return token_is(a, i, "constraint") || (token_is(a, i, "primary") && token_is(a, i + 1, "key")) || (token_is(a, i, "foreign") && token_is(a, i + 1, "key")) ||
         ((token_is(a, i, "unique") || token_is(a, i, "check")) && i + 1 < a->n && *a->at[i + 1].text == '(' && a->at[i + 1].kind == PT_PUNCT);
}

static bool find_column(const alter *a, const char *name, element *out) {
  element e = {0, 0};
  while (next_element(a, &e))
    if (!starts_table_constraint(a, e.from) && same_name(&a->at[e.from], name)) {
      *out = e;
      return true;
    }
  return false;
}

static status need_column(alter *a, int token, element *out) {
  if (find_column(a, a->t->tokens[token].text, out)) return HDB_OK;
  return session_fail(a->s, "42703", NULL, NULL, "column \"%s\" of relation \"%s\" does not exist", a->t->tokens[token].text, a->table);
}

static bool begins_clause(const alter *a, int i) {
  static const char *const words[] = {"constraint", "not", "null", "default", "primary", "unique", "check", "references", "collate", "generated", "deferrable", "initially"};
  for (size_t k = 0; k < sizeof words / sizeof *words; k++)
    if (token_is(a, i, words[k])) return true;
  return false;
}

/* The clause of a column that begins with these words, CONSTRAINT name before it taken in. */
static bool find_clause(const alter *a, element column, const char *first, const char *second, element *out) {
  for (int i = column.from + 1; i < column.to; i++) {
    if (a->at[i].kind == PT_PUNCT && *a->at[i].text == '(') i = closing(a->at, i, column.to);
    if (!token_is(a, i, first) || (second && !token_is(a, i + 1, second))) continue;
    int from = i - 2 > column.from && token_is(a, i - 2, "constraint") ? i - 2 : i, to = i + (second ? 2 : 1);
    while (to < column.to && !begins_clause(a, to))
      to = a->at[to].kind == PT_PUNCT && *a->at[to].text == '(' ? closing(a->at, to, column.to) + 1 : to + 1;
    if (strcmp(first, "references") == 0) /* ON DELETE SET NULL | SET DEFAULT, DEFERRABLE */
      while (to < column.to && !token_is(a, to, "constraint") && !token_is(a, to, "check") && !token_is(a, to, "unique") && !token_is(a, to, "primary") &&
             !(token_is(a, to, "not") && token_is(a, to + 1, "null")) && !(token_is(a, to, "default") && !token_is(a, to - 1, "set"))) to++;
    *out = (element){from, to};
    return true;
  }
  return false;
}

static size_t start_of(const alter *a, int i) { return a->at[i].at; }
static size_t end_of(const alter *a, int i) { return a->at[i].at + a->at[i].n; }

/* The bytes from..to of the text become `put`; the schema gets it, and the tokens are those of the new text. */
static status text_replace(alter *a, size_t from, size_t to, const char *put) {
  buf b = BUF_INIT;
  buf_append(&b, a->sql, from);
  buf_text(&b, put);
  buf_text(&b, a->sql + to);
  int rc = buf_cstr(&b) ? hdb_schema_text_set(a->s->db, a->schema, a->table, (const char *)b.p) : HDB_NOMEM;
  buf_free(&b);
  if (rc != HDB_OK) return engine_failed(a->s, rc);
  return load(a);
}

static status cut_clause(alter *a, element c) { return text_replace(a, c.from ? end_of(a, c.from - 1) : 0, end_of(a, c.to - 1), ""); }

/* ---- asking the rows ---- */

static const char *quoted(alter *a, const char *name) {
  buf b = BUF_INIT;
  buf_quoted_name(&b, name);
  const char *text = arena_strndup(a->memory, b.p ? (const char *)b.p : "", b.n);
  buf_free(&b);
  return text ? text : "";
}

/* For between single quotes. */
static const char *escaped(alter *a, const char *text) { return sql_escaped(a->memory, text); }

static const char *table_name(alter *a) {
  return a->schema ? arena_printf(a->memory, "%s.%s", quoted(a, a->schema), quoted(a, a->table)) : quoted(a, a->table);
}

static status has_row(alter *a, const char *sql, bool *found) {
  hdb_stmt *q;
  const char *tail;
  int rc = sql ? hdb_prepare(a->s->db, sql, -1, 0, &q, &tail) : HDB_NOMEM;
  if (rc != HDB_OK) return engine_failed(a->s, rc);
  rc = hdb_step(q);
  *found = rc == HDB_ROW;
  status failed = rc == HDB_ROW || rc == HDB_DONE ? HDB_OK : engine_failed(a->s, rc);
  hdb_finalize(q);
  return failed;
}

static status translated(alter *a, int from, int to, const char **out) {
  char *text;
  TRY(translate_range(slice_str(a->query), a->t->tokens, from, to, a->memory, &text, &a->s->err));
  *out = text;
  return HDB_OK;
}

/* ---- ADD CONSTRAINT ---- */

static bool is_integer(uint32_t oid) { return oid == PG_INT2 || oid == PG_INT4 || oid == PG_INT8; }

static const char *list_names(alter *a, int open, int close, const char *separator) {
  buf b = BUF_INIT;
  for (int i = open + 1; i < close; i++)
    if (name_at(a, i)) buf_printf(&b, "%s%s", b.n ? separator : "", a->t->tokens[i].text);
  const char *text = arena_strndup(a->memory, b.p ? (const char *)b.p : "", b.n);
  buf_free(&b);
  return text ? text : "";
}

static status set_not_null(alter *a, element column, const char *name) {
  element clause;
  bool found;
  if (find_clause(a, column, "not", "null", &clause)) return HDB_OK;
  TRY(has_row(a, arena_printf(a->memory, "SELECT 1 FROM %s WHERE %s IS NULL LIMIT 1", table_name(a), quoted(a, name)), &found));
  if (found) return session_fail(a->s, "23502", NULL, NULL, "column \"%s\" of relation \"%s\" contains null values", name, a->table);
  return text_replace(a, end_of(a, column.to - 1), end_of(a, column.to - 1), " NOT NULL");
}

/* A lone integer column without a default, of a table that nothing else refers to, becomes the table's own key: rows then
 * lie in its order, and finding one takes one look instead of two. The table is written anew under its new text. */
static status may_be_own_key(alter *a, element column, bool *may) {
  const char *name = a->at[column.from].text;
  bool referred, keyed;
  element clause;
  int32_t modifier;
  buf type = BUF_INIT;
  for (int i = column.from + 1; i < column.to && !begins_clause(a, i); i++) buf_printf(&type, "%s%s", type.n ? " " : "", a->at[i].text);
  const pg_type *t = type.n && buf_cstr(&type) ? pg_type_by_name((const char *)type.p, &modifier) : NULL;
  buf_free(&type);
  *may = t && is_integer(t->oid) && strstr(a->sql, "/*postgres") && !find_clause(a, column, "default", NULL, &clause) && !find_clause(a, column, "generated", NULL, &clause) &&
         !find_clause(a, column, "references", NULL, &clause) && !find_clause(a, column, "unique", NULL, &clause);
  TRY(has_row(a, arena_printf(a->memory, "SELECT 1 FROM pragma_table_info('%s') WHERE pk > 0", escaped(a, a->table)), &keyed));
  TRY(has_row(a, arena_printf(a->memory, "SELECT 1 FROM sqlite_schema WHERE name <> '%s' AND (lower(tbl_name) = lower('%s') OR (type IN ('view', 'trigger') AND sql LIKE '%%%s%%') OR sql LIKE '%%REFERENCES%%%s%%')",
                              escaped(a, a->table), escaped(a, a->table), escaped(a, a->table), escaped(a, a->table)), &referred));
  *may = *may && !keyed && !referred && strlen(name) < 64 && a->schema == NULL;
  if (*may) TRY(has_row(a, arena_printf(a->memory, "SELECT 1 FROM (SELECT count(*) AS n FROM %s) WHERE n > 200000", table_name(a)), &keyed)); /* writing all rows anew takes 10 us a row, an index built in bulk a thirtieth */
  *may = *may && !keyed;
  return HDB_OK;
}

static status become_own_key(alter *a, element column, const char *name, const char *given) {
  const char *key = quoted(a, a->at[column.from].text), *old = quoted(a, a->table), *made = quoted(a, "pg_rebuilt_table");
  int clause = column.from + 1;
  int32_t modifier;
  buf type = BUF_INIT, text = BUF_INIT, marked = BUF_INIT;
  for (; clause < column.to && !begins_clause(a, clause); clause++) buf_printf(&type, "%s%s", type.n ? " " : "", a->at[clause].text);
  const pg_type *t = buf_cstr(&type) ? pg_type_by_name((const char *)type.p, &modifier) : NULL;
  size_t from = end_of(a, column.from), to = end_of(a, clause - 1);
  const char *open = strstr(a->sql, "/*postgres"); /* behind the name */
  buf_printf(&text, "CREATE TABLE %s %.*s INTEGER%s%s PRIMARY KEY%s", made, (int)(from - (size_t)(open - a->sql)), open, given ? " CONSTRAINT " : "", given ? quoted(a, name) : "", a->sql + to);
  status rc = t && buf_cstr(&text) && (t->oid == PG_INT4 || pg_override_put((const char *)text.p, a->at[column.from].text, t->sql, &marked)) ? HDB_OK : no_memory(a);
  if (rc == HDB_OK) rc = run_text(a->s, marked.n ? (const char *)marked.p : (const char *)text.p);
  buf_free(&type), buf_free(&text), buf_free(&marked);
  TRY(rc);
  rc = run_text(a->s, arena_printf(a->memory, "INSERT OR ABORT INTO %s SELECT * FROM %s ORDER BY %s", made, old, key));
  if ((rc & 0xff) == HDB_CONSTRAINT) return session_fail(a->s, "23505", NULL, NULL, "could not create unique index \"%s\"", name);
  TRY(rc);
  TRY(run_text(a->s, arena_printf(a->memory, "DROP TABLE %s", old)));
  return run_text(a->s, arena_printf(a->memory, "ALTER TABLE %s RENAME TO %s", made, old));
}

/* PRIMARY KEY (..), UNIQUE (..): at `i` the word. */
static status add_key(alter *a, const char *name, int i, int end) {
  bool primary = word(a, i, "primary"), found;
  int open = i + (primary ? 2 : 1), close = closing(a->t->tokens, open, end);
  if (word(a, open, "using")) return fail_at(a, open, "not supported yet: constraints USING INDEX%s", "");
  if (word(a, open, "nulls")) return fail_at(a, open, "not supported yet: NULLS NOT DISTINCT%s", "");
  if (!punct(a, open, '(') || close == end) return syntax(a, open);
  for (int k = close + 1; k < end;) {
    bool with = (word(a, k, "with") || word(a, k, "include")) && punct(a, k + 1, '(');
    if (with) k = closing(a->t->tokens, k + 1, end) + 1;
    else if (word(a, k, "using") && word(a, k + 1, "index") && word(a, k + 2, "tablespace")) k += 4;
    else return word(a, k, "deferrable") || word(a, k, "initially") ? fail_at(a, k, "not supported yet: deferrable unique constraints%s", "") : syntax(a, k);
  }
  const char *columns = list_names(a, open, close, "_"), *given = name;
  if (!name) name = primary ? arena_printf(a->memory, "%s_pkey", a->table) : arena_printf(a->memory, "%s_%s_key", a->table, columns);
  if (primary) {
    TRY(has_row(a, arena_printf(a->memory, "SELECT 1 FROM pg_constraint WHERE contype = 'p' AND conrelid = '%s'::regclass", escaped(a, a->table)), &found));
    if (found) return session_fail(a->s, "42P16", NULL, NULL, "multiple primary keys for table \"%s\" are not allowed", a->table);
  }
  for (int k = open + 1; k < close; k++) {
    element column;
    if (!name_at(a, k)) continue;
    TRY(need_column(a, k, &column));
    if (primary) TRY(set_not_null(a, column, a->t->tokens[k].text));
  }
  if (primary && close == open + 2) {
    element column;
    bool may;
    TRY(need_column(a, open + 1, &column));
    TRY(may_be_own_key(a, column, &may));
    if (may) return become_own_key(a, column, name, given);
  }
  buf sql = BUF_INIT;
  buf_printf(&sql, "CREATE UNIQUE INDEX %s%s%s /*postgres %s*/ ON %s(", a->schema ? quoted(a, a->schema) : "", a->schema ? "." : "", quoted(a, name), primary ? "primary key" : "constraint", quoted(a, a->table));
  for (int k = open + 1, n = 0; k < close; k++)
    if (name_at(a, k)) buf_printf(&sql, "%s%s", n++ ? ", " : "", quoted(a, a->t->tokens[k].text));
  buf_byte(&sql, ')');
  int rc = buf_cstr(&sql) ? hdb_exec(a->s->db, (const char *)sql.p, NULL, NULL, NULL) : HDB_NOMEM;
  buf_free(&sql);
  if ((rc & 0xff) == HDB_CONSTRAINT) return session_fail(a->s, "23505", NULL, NULL, "could not create unique index \"%s\"", name);
  return rc == HDB_OK ? HDB_OK : engine_failed(a->s, rc);
}

/* What the constraint will be called. */
static const char *check_name(alter *a, int from, int to) {
  const char *column = NULL;
  for (int i = from; i < to; i++) {
    element e;
    if (!name_at(a, i) || !find_column(a, a->t->tokens[i].text, &e)) continue;
    if (column && strcasecmp(column, a->t->tokens[i].text) != 0) return arena_printf(a->memory, "%s_check", a->table);
    column = a->t->tokens[i].text;
  }
  return column ? arena_printf(a->memory, "%s_%s_check", a->table, column) : arena_printf(a->memory, "%s_check", a->table);
}

static status add_check(alter *a, const char *name, int i, int end) {
  bool found;
  const char *condition;
  int close = closing(a->t->tokens, i + 1, end), behind = close + 1;
  if (!punct(a, i + 1, '(') || close == end) return syntax(a, i + 1);
  bool trusted = word(a, behind, "not") && word(a, behind + 1, "valid");
  if (trusted) behind += 2;
  if (word(a, behind, "no") && word(a, behind + 1, "inherit")) behind += 2;
  if (behind < end) return syntax(a, behind);
  TRY(translated(a, i + 2, close, &condition));
  if (!trusted) TRY(has_row(a, arena_printf(a->memory, "SELECT 1 FROM %s WHERE NOT (%s) LIMIT 1", table_name(a), condition), &found));
  if (!trusted && found) return session_fail(a->s, "23514", NULL, NULL, "check constraint \"%s\" of relation \"%s\" is violated by some row", name ? name : check_name(a, i + 2, close), a->table);
  const char *text = name ? arena_printf(a->memory, ", CONSTRAINT %s CHECK (%s)", quoted(a, name), condition) : arena_printf(a->memory, ", CHECK (%s)", condition);
  return text_replace(a, start_of(a, a->close), start_of(a, a->close), text);
}

/* The parent's key when REFERENCES does not name it: that of ALTER TABLE .. ADD PRIMARY KEY is none to the engine. */
static status parent_key(alter *a, const char *parent, const char **list) {
  hdb_stmt *q;
  const char *tail, *sql = arena_printf(a->memory, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'p' AND conrelid = '%s'::regclass", escaped(a, parent));
  int rc = sql ? hdb_prepare(a->s->db, sql, -1, 0, &q, &tail) : HDB_NOMEM;
  *list = NULL;
  if (rc != HDB_OK) return engine_failed(a->s, rc);
  if (hdb_step(q) == HDB_ROW) {
    const char *text = hdb_column_text(q, 0), *open = text ? strchr(text, '(') : NULL;
    if (open) *list = arena_strdup(a->memory, open);
  }
  hdb_finalize(q);
  return HDB_OK;
}

static status add_foreign_key(alter *a, const char *name, int i, int end) {
  int close = closing(a->t->tokens, i + 2, end), k = close + 2;
  bool found;
  if (!punct(a, i + 2, '(') || !word(a, close + 1, "references") || !name_at(a, k)) return syntax(a, close + 1);
  if (punct(a, k + 1, '.')) k += 2;
  const char *parent = a->t->tokens[k].text, *list = NULL, *rest;
  int behind = k + 1;
  if (punct(a, behind, '(')) behind = closing(a->t->tokens, behind, end) + 1;
  else TRY(parent_key(a, parent, &list));
  bool trusted = word(a, end - 1, "valid") && word(a, end - 2, "not");
  int last = trusted ? end - 2 : end;
  for (int m = k + 1; m < last; m++)
    if (word(a, m, "match") && word(a, m + 1, "full")) return fail_at(a, m, "not supported yet: MATCH FULL%s", "");
  if (!name) name = arena_printf(a->memory, "%s_%s_fkey", a->table, list_names(a, i + 2, close, "_"));
  buf b = BUF_INIT;
  buf_printf(&b, ", CONSTRAINT %s FOREIGN KEY (", quoted(a, name));
  for (int m = i + 3, n = 0; m < close; m++)
    if (name_at(a, m)) buf_printf(&b, "%s%s", n++ ? ", " : "", quoted(a, a->t->tokens[m].text));
  buf_printf(&b, ") REFERENCES %s", quoted(a, parent));
  if (list) buf_text(&b, list);
  status rc = translated(a, k + 1, last, &rest);
  if (rc == HDB_OK && *rest) buf_printf(&b, " %s", rest);
  if (rc == HDB_OK && !buf_cstr(&b)) rc = no_memory(a);
  if (rc == HDB_OK) rc = text_replace(a, start_of(a, a->close), start_of(a, a->close), (const char *)b.p);
  buf_free(&b);
  TRY(rc);
  TRY(has_row(a, arena_printf(a->memory, "PRAGMA foreign_key_check(%s)", quoted(a, a->table)), &found));
  if (found && !trusted) return session_fail(a->s, "23503", NULL, NULL, "insert or update on table \"%s\" violates foreign key constraint \"%s\"", a->table, name);
  return HDB_OK;
}

static status add_constraint(alter *a, int i, int end) {
  const char *name = NULL;
  if (word(a, i, "constraint")) {
    name = name_at(a, i + 1) ? a->t->tokens[i + 1].text : NULL;
    i += 2;
  }
  if ((word(a, i, "primary") && word(a, i + 1, "key")) || word(a, i, "unique")) return add_key(a, name, i, end);
  if (word(a, i, "check")) return add_check(a, name, i, end);
  if (word(a, i, "foreign") && word(a, i + 1, "key")) return add_foreign_key(a, name, i, end);
  if (word(a, i, "exclude")) return fail_at(a, i, "not supported yet: EXCLUDE constraints%s", "");
  return syntax(a, i);
}

/* ---- DROP, RENAME, VALIDATE CONSTRAINT ---- */

/* The clause of the text that the name stands for: as given, or as PostgreSQL would have called it. */
static bool find_constraint(const alter *a, const char *name, element *out) {
  element e = {0, 0}, clause;
  char made[400];
  while (next_element(a, &e)) {
    bool of_table = starts_table_constraint(a, e.from);
    if (of_table && token_is(a, e.from, "constraint") && same_name(&a->at[e.from + 1], name)) return *out = e, true;
    const char *column = a->at[e.from].text;
    int list = e.from;
    while (of_table && list < e.to && !(a->at[list].kind == PT_PUNCT && *a->at[list].text == '(')) list++;
    if (of_table && list + 1 < e.to) column = a->at[list + 1].text;
    static const struct {
      const char *first, *second, *suffix;
    } kinds[] = {{"check", NULL, "check"}, {"references", NULL, "fkey"}, {"foreign", "key", "fkey"}, {"unique", NULL, "key"}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
      snprintf(made, sizeof made, "%s_%s_%s", a->table, column, kinds[k].suffix);
      bool here = of_table ? token_is(a, e.from, kinds[k].first) : find_clause(a, e, kinds[k].first, kinds[k].second, &clause);
      if (!here) continue;
      if (of_table && strcasecmp(made, name) == 0) return *out = e, true;
      bool given = !of_table && token_is(a, clause.from, "constraint");
      if (!of_table && (given ? same_name(&a->at[clause.from + 1], name) : strcasecmp(made, name) == 0)) return *out = clause, true;
    }
  }
  return false;
}

static status drop_constraint(alter *a, int i, int end) {
  bool if_exists = word(a, i, "if") && word(a, i + 1, "exists"), found;
  if (if_exists) i += 2;
  if (!name_at(a, i)) return syntax(a, i);
  const char *name = a->t->tokens[i].text;
  element e;
  int behind = i + 1 + (word(a, i + 1, "cascade") || word(a, i + 1, "restrict"));
  if (behind < end) return syntax(a, behind);
  TRY(has_row(a, arena_printf(a->memory, "SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = '%s' AND sql LIKE '%%/*postgres %%' AND lower(tbl_name) = lower('%s')", escaped(a, name), escaped(a, a->table)), &found));
  if (found) return run_text(a->s, arena_printf(a->memory, "DROP INDEX %s", quoted(a, name)));
  if (!find_constraint(a, name, &e)) {
    if (!if_exists) return session_fail(a->s, "42704", NULL, NULL, "constraint \"%s\" of relation \"%s\" does not exist", name, a->table);
    session_notice(a->s, "NOTICE", "00000", arena_printf(a->memory, "constraint \"%s\" of relation \"%s\" does not exist, skipping", name, a->table));
    return HDB_OK;
  }
  for (int k = e.from; k < e.to; k++)
    if (token_is(a, k, "unique") || (token_is(a, k, "primary") && token_is(a, k + 1, "key")))
      return fail_at(a, i, "not supported yet: DROP CONSTRAINT of a key made by CREATE TABLE%s", "");
  bool of_table = e.from == a->open + 1 || (a->at[e.from - 1].kind == PT_PUNCT && *a->at[e.from - 1].text == ',');
  if (!of_table) return cut_clause(a, e);
  return text_replace(a, start_of(a, e.from - 1), end_of(a, e.to - 1), "");
}

static status rename_constraint(alter *a, int i) {
  element e;
  if (!name_at(a, i) || !word(a, i + 1, "to") || !name_at(a, i + 2)) return syntax(a, i);
  const char *name = a->t->tokens[i].text, *to = a->t->tokens[i + 2].text;
  if (!find_constraint(a, name, &e)) return session_fail(a->s, "42704", NULL, NULL, "constraint \"%s\" of relation \"%s\" does not exist", name, a->table);
  if (token_is(a, e.from, "constraint")) return text_replace(a, start_of(a, e.from + 1), end_of(a, e.from + 1), quoted(a, to));
  return text_replace(a, start_of(a, e.from), start_of(a, e.from), arena_printf(a->memory, "CONSTRAINT %s ", quoted(a, to)));
}

/* ---- ALTER COLUMN ---- */

static status set_default(alter *a, element column, int i, int end) {
  element clause;
  char *text = NULL;
  TRY(translate_default(slice_str(a->query), a->t->tokens, i, end, a->memory, &text, &a->s->err));
  const char *put = arena_printf(a->memory, " %s", text);
  if (!put) return no_memory(a);
  if (find_clause(a, column, "default", NULL, &clause)) return text_replace(a, end_of(a, clause.from - 1), end_of(a, clause.to - 1), put);
  return text_replace(a, end_of(a, column.to - 1), end_of(a, column.to - 1), put);
}


/* May values of one type be stored as another without USING? */
static bool converts(const pg_type *from, const pg_type *to) {
  if (from->oid == to->oid || to->category == 'S') return true;
  if (from->category == 'N' && to->category == 'N') return true;
  if (from->category == 'D' && to->category == 'D') return from->oid != PG_TIME && to->oid != PG_TIME;
  return (from->oid == PG_JSON && to->oid == PG_JSONB) || (from->oid == PG_JSONB && to->oid == PG_JSON);
}

static status column_type(alter *a, const char *column, const pg_type **type, bool *row_id) {
  description d;
  const char *sql = arena_printf(a->memory, "SELECT %s FROM %s", quoted(a, column), table_name(a));
  if (!sql || hdb_describe(a->s->db, sql, NULL, 0, a->memory, &d) != HDB_OK) return no_memory(a);
  *type = pg_type_by_oid(d.columns_n ? d.columns[0].type : PG_TEXT);
  TRY(has_row(a, arena_printf(a->memory, "SELECT 1 FROM pragma_table_info('%s') WHERE lower(name) = lower('%s') AND pk = 1 AND type = 'INTEGER' AND (SELECT count(*) FROM pragma_table_info('%s') WHERE pk > 0) = 1", escaped(a, a->table), escaped(a, column), escaped(a, a->table)), row_id));
  return *type ? HDB_OK : no_memory(a);
}

static status set_type(alter *a, element column, const char *name, int i, int end) {
  const char *type, *value = NULL, *declared = NULL;
  int next;
  const pg_type *from;
  int32_t modifier;
  bool row_id;
  TRY(translate_type(slice_str(a->query), a->t->tokens, i, end, a->memory, &type, &next, &a->s->err));
  const pg_type *to = pg_type_by_name(type, &modifier);
  buf own = BUF_INIT;
  if (!to && hdb_type_exists(a->s->db, type)) { /* an enumerated type: text that is one of its labels */
    pg_enum_declare(type, false, &own);
    declared = arena_strndup(a->memory, (const char *)own.p, own.n);
    buf_free(&own);
    to = pg_type_by_oid(PG_TEXT);
  }
  if (!to) return fail_at(a, i, "type \"%s\" does not exist", type);
  if (word(a, next, "collate")) return fail_at(a, next, "not supported yet: COLLATE in ALTER COLUMN TYPE%s", "");
  if (word(a, next, "using")) TRY(translated(a, next + 1, end, &value));
  else if (next < end) return syntax(a, next);
  TRY(column_type(a, name, &from, &row_id));
  if (!value && (declared ? from->oid != PG_TEXT && from->oid != PG_VARCHAR : !converts(from, to))) return session_fail(a->s, "42804", NULL, arena_printf(a->memory, "You might need to specify \"USING %s::%s\".", name, to->sql), "column \"%s\" cannot be cast automatically to type %s", name, to->sql);
  if (row_id) {
    buf b = BUF_INIT;
    if (!is_integer(to->oid) || value) return fail_at(a, i, "not supported yet: ALTER COLUMN TYPE of a primary key to %s", to->sql);
    status rc = pg_override_put(a->sql, name, to->oid == PG_INT4 ? NULL : to->sql, &b) ? HDB_OK : no_memory(a);
    int set = rc == HDB_OK ? hdb_schema_text_set(a->s->db, a->schema, a->table, (const char *)b.p) : HDB_OK;
    buf_free(&b);
    if (set != HDB_OK) return engine_failed(a->s, set);
    TRY(rc);
    TRY(load(a));
    return run_text(a->s, arena_printf(a->memory, "UPDATE %s SET %s = %s", table_name(a), quoted(a, name), quoted(a, name)));
  }
  int clause = column.from + 1;
  while (clause < column.to && !begins_clause(a, clause)) clause++;
  const char *text = value ? value : arena_printf(a->memory, "CAST(%s AS %s)", quoted(a, name), declared ? quoted(a, type) : type);
  TRY(text_replace(a, end_of(a, column.from), end_of(a, clause - 1), arena_printf(a->memory, " %s", declared ? declared : type)));
  return run_text(a->s, arena_printf(a->memory, "UPDATE %s SET %s = %s", table_name(a), quoted(a, name), text));
}

static status alter_column(alter *a, int i, int end) {
  element column, clause;
  if (word(a, i, "column")) i++;
  if (!name_at(a, i)) return syntax(a, i);
  const char *name = a->t->tokens[i].text;
  TRY(need_column(a, i, &column));
  i++;
  if (word(a, i, "set") && word(a, i + 1, "not") && word(a, i + 2, "null")) return set_not_null(a, column, name);
  if (word(a, i, "set") && word(a, i + 1, "default")) return set_default(a, column, i + 1, end);
  if (word(a, i, "set") && word(a, i + 1, "data") && word(a, i + 2, "type")) return set_type(a, column, name, i + 3, end);
  if (word(a, i, "type")) return set_type(a, column, name, i + 1, end);
  if (word(a, i, "drop") && word(a, i + 1, "default")) return find_clause(a, column, "default", NULL, &clause) ? cut_clause(a, clause) : HDB_OK;
  if (word(a, i, "drop") && word(a, i + 1, "not") && word(a, i + 2, "null")) {
    bool key;
    TRY(has_row(a, arena_printf(a->memory, "SELECT 1 FROM information_schema_key_column_usage k JOIN pg_constraint c ON c.conname = k.constraint_name WHERE c.contype = 'p' AND k.table_name = '%s' AND k.column_name = '%s'", escaped(a, a->table), escaped(a, name)), &key));
    if (key) return session_fail(a->s, "42P16", NULL, NULL, "column \"%s\" is in a primary key", name);
    return find_clause(a, column, "not", "null", &clause) ? cut_clause(a, clause) : HDB_OK;
  }
  bool hint = word(a, i, "set") && (word(a, i + 1, "statistics") || word(a, i + 1, "storage") || word(a, i + 1, "compression") || punct(a, i + 1, '('));
  if (hint || word(a, i, "reset")) return HDB_OK;
  return fail_at(a, i, "not supported yet: ALTER COLUMN %s", i < a->t->tokens_n ? a->t->tokens[i].text : "");
}

/* [COLUMN] [IF EXISTS] name [CASCADE | RESTRICT] */
static status drop_column(alter *a, int i, int end) {
  if (word(a, i, "column")) i++;
  bool if_exists = word(a, i, "if") && word(a, i + 1, "exists");
  if (if_exists) i += 2;
  if (!name_at(a, i)) return syntax(a, i);
  int behind = i + 1 + (word(a, i + 1, "cascade") || word(a, i + 1, "restrict"));
  return behind < end ? syntax(a, behind) : alter_drop_column(a->s, a->schema, a->table, a->t->tokens[i].text, if_exists);
}

/* ---- the statement ---- */

static status run_action(alter *a, const alter_action *action) {
  int i = action->from, end = action->to;
  bool there = false;
  if (action->unless) TRY(has_row(a, arena_printf(a->memory, "SELECT 1 FROM pragma_table_xinfo('%s') WHERE lower(name) = lower('%s')", escaped(a, a->table), escaped(a, action->unless)), &there));
  if (there) {
    session_notice(a->s, "NOTICE", "00000", arena_printf(a->memory, "column \"%s\" of relation \"%s\" already exists, skipping", action->unless, a->table));
    return HDB_OK;
  }
  if (action->text) {
    TRY(run_text(a->s, action->text));
    return action->then ? run_text(a->s, action->then) : HDB_OK;
  }
  TRY(load(a));
  if (word(a, i, "add")) return add_constraint(a, i + 1, end);
  if (word(a, i, "drop") && word(a, i + 1, "constraint")) return drop_constraint(a, i + 2, end);
  if (word(a, i, "drop")) return drop_column(a, i + 1, end);
  if (word(a, i, "rename") && word(a, i + 1, "constraint")) return rename_constraint(a, i + 2);
  if (word(a, i, "validate") && word(a, i + 1, "constraint")) {
    element e;
    bool found = name_at(a, i + 2) && find_constraint(a, a->t->tokens[i + 2].text, &e);
    return found ? HDB_OK : session_fail(a->s, "42704", NULL, NULL, "constraint \"%s\" of relation \"%s\" does not exist", i + 2 < end ? a->t->tokens[i + 2].text : "", a->table);
  }
  if (word(a, i, "alter")) return alter_column(a, i + 1, end);
  return fail_at(a, i, "not supported yet: ALTER TABLE .. %s", i < a->t->tokens_n ? a->t->tokens[i].text : "");
}

/* E1 */
static status in_transaction(alter *a, status (*run)(alter *)) {
  bool own = hdb_get_autocommit(a->s->db);
  if (own) TRY(run_text(a->s, "BEGIN"));
  status rc = run(a);
  if (!own) return rc;
  if (rc == HDB_OK) rc = run_text(a->s, "COMMIT");
  if (rc != HDB_OK && !hdb_get_autocommit(a->s->db)) hdb_exec(a->s->db, "ROLLBACK", NULL, NULL, NULL);
  return rc;
}

static status run_actions(alter *a) {
  for (int k = 0; k < a->t->actions_n; k++) TRY(run_action(a, &a->t->actions[k]));
  return HDB_OK;
}

status alter_run(session *s, const translation *t, const char *query) {
  arena memory = {0};
  alter a = {.s = s, .t = t, .query = query, .memory = &memory, .schema = t->object_schema, .table = t->object};
  const char *type, *sql;
  int found = hdb_schema_text(s->db, a.schema, a.table, &memory, &type, &sql);
  status rc = found == HDB_OK ? HDB_OK : engine_failed(s, found);
  if (rc == HDB_OK && !sql && t->if_not_exists)
    session_notice(s, "NOTICE", "00000", arena_printf(&memory, "relation \"%s\" does not exist, skipping", a.table));
  else if (rc == HDB_OK && !sql) rc = error_set(&s->err, HDB_ERROR, "relation \"%s\" does not exist", a.table);
  else if (rc == HDB_OK) rc = in_transaction(&a, run_actions);
  arena_clear(&memory);
  return rc;
}

/* ---- COMMENT ON ---- */

typedef struct comment {
  const char *kind, *column, *text;
} comment;

static status put_comment(alter *a) {
  const comment *c = (const comment *)a->at;
  const char *type;
  int rc = hdb_schema_text(a->s->db, a->schema, a->table, a->memory, &type, &a->sql);
  if (rc != HDB_OK) return engine_failed(a->s, rc);
  if (!a->sql) return error_set(&a->s->err, HDB_ERROR, "relation \"%s\" does not exist", a->table);
  const char *wanted = strcmp(c->kind, "column") == 0 ? type : c->kind;
  if (strcmp(wanted, type) != 0) return session_fail(a->s, "42809", NULL, NULL, "\"%s\" is not a%s %s", a->table, *c->kind == 'i' ? "n" : "", c->kind);
  if (*c->column) {
    bool found;
    TRY(has_row(a, arena_printf(a->memory, "SELECT 1 FROM pragma_table_info('%s') WHERE name = '%s' COLLATE NOCASE", escaped(a, a->table), escaped(a, c->column)), &found));
    if (!found) return session_fail(a->s, "42703", NULL, NULL, "column \"%s\" of relation \"%s\" does not exist", c->column, a->table);
  }
  buf b = BUF_INIT;
  rc = pg_comment_put(a->sql, c->column, c->text, &b) ? hdb_schema_text_set(a->s->db, a->schema, a->table, (const char *)b.p) : HDB_NOMEM;
  buf_free(&b);
  return rc == HDB_OK ? HDB_OK : engine_failed(a->s, rc);
}

/* COMMENT ON kind [schema.]name[.column] IS 'text' | NULL */
status comment_run(session *s, const translation *t, const char *query) {
  arena memory = {0};
  comment c = {.column = ""};
  alter a = {.s = s, .t = t, .query = query, .memory = &memory, .at = (pg_token *)&c};
  const char *names[3];
  int i = 3, n = 0;
  c.kind = t->tokens_n > 2 ? t->tokens[2].text : "";
  static const char *const kinds[] = {"table", "view", "index", "column"};
  bool known = false;
  for (int k = 0; k < 4; k++) known = known || strcmp(kinds[k], c.kind) == 0;
  if (!word(&a, 1, "on")) return syntax(&a, 1);
  const pg_token *words = t->tokens_n == 6 && strcmp(c.kind, "schema") == 0 && word(&a, 3, "public") ? &t->tokens[5] : NULL;
  if (words && (token_word(words, "null") || (words->kind == PT_STRING && (!*words->text || strcmp(words->text, "standard public schema") == 0)))) return HDB_OK; /* as pg_dump writes it */
  if (!known) {
    char what[60];
    snprintf(what, sizeof what, "%.40s", c.kind);
    for (char *p = what; *p; p++)
      if (*p >= 'a' && *p <= 'z') *p = (char)(*p - 32);
    return fail_at(&a, 2, "not supported yet: COMMENT ON %s", what);
  }
  while (name_at(&a, i) && n < 3) {
    names[n++] = t->tokens[i++].text;
    if (!punct(&a, i, '.')) break;
    i++;
  }
  if (n == 0 || !word(&a, i, "is") || i + 2 != t->tokens_n) return syntax(&a, i);
  if (t->tokens[i + 1].kind == PT_STRING) c.text = t->tokens[i + 1].text;
  else if (!word(&a, i + 1, "null")) return syntax(&a, i + 1);
  bool column = strcmp(c.kind, "column") == 0;
  if (column && n < 2) return syntax(&a, i);
  if (column) c.column = names[--n];
  a.table = names[n - 1];
  if (n > 1) a.schema = strcmp(names[0], "public") == 0 ? "main" : strncmp(names[0], "pg_temp", 7) == 0 ? "temp" : names[0];
  if (c.text && !*c.text) c.text = NULL;
  status rc = in_transaction(&a, put_comment);
  arena_clear(&memory);
  return rc;
}
