/* CREATE, ALTER, DROP, TRUNCATE. A table's text becomes SQLite's, with a comment behind its name (sql/pg.h, G1) for what
 * SQLite's spelling cannot keep: SERIAL and identity columns are INTEGER PRIMARY KEY AUTOINCREMENT, an integer primary
 * key of any width is INTEGER PRIMARY KEY. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/rewrite.h"
#include "sql/pg_enum.h"

static void put_sequence(rewriter *r, const char *schema, const char *name, const sequence_options *o);
static bool is_hint(const rewriter *r, int i);

static void put_qualified(rewriter *r, int at, const char *schema, const char *name) {
  buf_byte(&r->text, ' ');
  if (schema) {
    rewrite_name(r, at, schema);
    buf_byte(&r->text, '.');
  }
  rewrite_name(r, at, name);
}

/* ---- CREATE TABLE ---- */

enum { KEY_COLUMNS = 64 };
typedef struct table_rewrite {
  const char *keys[KEY_COLUMNS]; /* of PRIMARY KEY, inline or not */
  int keys_n;
  bool serial_key;               /* the only key column is SERIAL */
  const char *name;              /* the table's; NULL: ADD COLUMN */
  const char *sequences[KEY_COLUMNS]; /* columns that are SERIAL and not the key */
  const char *sequence_types[KEY_COLUMNS];
  int sequences_n;
  struct unique_key {
    const char *name;            /* NULL: as PostgreSQL would call it */
    const char *columns[32];
    int n;
  } uniques[KEY_COLUMNS];        /* UNIQUE: indexes of their own with a mark, so that they can be dropped again */
  int uniques_n;
  buf comment;
} table_rewrite;

static bool is_key(const table_rewrite *t, const char *column) {
  for (int i = 0; i < t->keys_n; i++)
    if (strcasecmp(t->keys[i], column) == 0) return true;
  return false;
}

static int element_end(const rewriter *r, int from, int end) {
  int depth = 0;
  for (int i = from; i < end; i++) {
    if (rewrite_punct(r, i, '(')) depth++;
    if (rewrite_punct(r, i, ')')) depth--;
    if (depth == 0 && rewrite_punct(r, i, ',')) return i;
  }
  return end;
}

static bool is_table_constraint(const rewriter *r, int at) {
  return rewrite_is(r, at, "constraint") || (rewrite_is(r, at, "primary") && rewrite_is(r, at + 1, "key")) ||
         (rewrite_is(r, at, "unique") && rewrite_punct(r, at + 1, '(')) || (rewrite_is(r, at, "check") && rewrite_punct(r, at + 1, '(')) ||
         (rewrite_is(r, at, "foreign") && rewrite_is(r, at + 1, "key")) || rewrite_is(r, at, "exclude") || rewrite_is(r, at, "like");
}

static void find_keys(const rewriter *r, int from, int end, table_rewrite *t) {
  for (int i = from; i < end;) {
    int stop = element_end(r, i, end);
    bool constraint = is_table_constraint(r, i);
    for (int k = i; k < stop; k++) {
      if (!rewrite_is(r, k, "primary") || !rewrite_is(r, k + 1, "key")) continue;
      if (!constraint && t->keys_n < KEY_COLUMNS) t->keys[t->keys_n++] = r->t[i].text;
      for (int m = k + 3; constraint && m < stop && !rewrite_punct(r, m, ')'); m++)
        if (!rewrite_punct(r, m, ',') && t->keys_n < KEY_COLUMNS) t->keys[t->keys_n++] = r->t[m].text;
    }
    i = stop + 1;
  }
}

static bool is_serial(const char *type) {
  static const char *const names[] = {"serial", "bigserial", "smallserial", "serial4", "serial8", "serial2"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(names[i], type) == 0) return true;
  return false;
}

static bool starts_constraint(const rewriter *r, int at) {
  static const char *const words[] = {"constraint", "not", "null", "default", "primary", "unique", "check", "references",
                                      "collate", "generated", "deferrable", "initially", "on", "match"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (rewrite_is(r, at, words[i])) return true;
  return false;
}

/* DEFAULT expression: in parentheses but for CURRENT_TIMESTAMP and its like. */
static status column_default(rewriter *r, int *at, int end) {
  int from = *at + 1, stop = from, depth = 0;
  for (; stop < end; stop++) {
    if (rewrite_punct(r, stop, '(')) depth++;
    if (rewrite_punct(r, stop, ')')) depth--;
    if (depth == 0 && stop > from && starts_constraint(r, stop) && r->t[stop - 1].kind != PT_OPERATOR && !rewrite_is(r, stop - 1, "is"))
      break;
  }
  bool now = rewrite_is(r, from, "now") || rewrite_is(r, from, "current_timestamp") || rewrite_is(r, from, "localtimestamp");
  if (now && (stop == from + 1 || (stop == from + 3 && rewrite_punct(r, from + 1, '('))))
    rewrite_put(r, *at, "DEFAULT CURRENT_TIMESTAMP");
  else if (stop == from + 1 && rewrite_is(r, from, "current_date"))
    rewrite_put(r, *at, "DEFAULT CURRENT_DATE");
  else if (stop == from + 1 && (r->t[from].kind == PT_NUMBER || r->t[from].kind == PT_STRING || rewrite_is(r, from, "null") || rewrite_is(r, from, "true") || rewrite_is(r, from, "false"))) {
    rewrite_put(r, *at, "DEFAULT ");
    rewrite_token(r, from);
  } else {
    int last = stop; /* 'x'::text: the column's type makes the same of it */
    if (stop > from + 2 && r->t[from].kind == PT_STRING && strcmp(r->t[from + 1].text, "::") == 0) last = from + 1;
    rewrite_put(r, *at, "DEFAULT (");
    TRY(rewrite_range(r, from, last));
    buf_byte(&r->text, ')');
  }
  *at = stop;
  return HDB_OK;
}

static status constraint_words(rewriter *r, int from, int end, const table_rewrite *t);

/* (START WITH 1 INCREMENT BY 1 ..): what differs from the default is not there. */
static status identity_options(rewriter *r, int *at, int end) {
  if (!rewrite_punct(r, *at, '(')) return HDB_OK;
  int close = rewrite_close(r, *at, end);
  for (int i = *at + 1; i < close; i++) {
    bool number = r->t[i].kind == PT_NUMBER || r->t[i].kind == PT_OPERATOR, counts = !rewrite_is(r, i - 1, "cache") && !rewrite_is(r, i - 1, "maxvalue");
    if ((number && counts && strcmp(r->t[i].text, "1") != 0) || (rewrite_is(r, i, "cycle") && !rewrite_is(r, i - 1, "no")))
      return rewrite_unsupported(r, i, "options of identity columns (a sequence and DEFAULT nextval() have them)");
  }
  *at = close + 1;
  return HDB_OK;
}

/* [CONSTRAINT name] UNIQUE at a column, or [CONSTRAINT name] UNIQUE (columns): the token behind it; 0: it is none, or more
 * is said of it. */
static int take_unique(const rewriter *r, int i, int end, const char *column, table_rewrite *t) {
  const char *name = NULL;
  if (rewrite_is(r, i, "constraint") && i + 1 < end) name = r->t[i + 1].text, i += 2;
  if (!rewrite_is(r, i, "unique") || t->uniques_n == KEY_COLUMNS || rewrite_is(r, i + 1, "on") || rewrite_is(r, i + 1, "nulls") || rewrite_is(r, i + 1, "deferrable") || rewrite_is(r, i + 1, "initially")) return 0;
  struct unique_key *u = &t->uniques[t->uniques_n];
  *u = (struct unique_key){.name = name};
  if (column) {
    u->columns[u->n++] = column;
    t->uniques_n++;
    return i + 1;
  }
  int close = rewrite_punct(r, i + 1, '(') ? rewrite_close(r, i + 1, end) : end;
  if (close + 1 != end) return 0;
  for (int k = i + 2; k < close; k += 2) {
    bool plain = (r->t[k].kind == PT_WORD || r->t[k].kind == PT_QUOTED) && u->n < 32 && (k + 1 == close || rewrite_punct(r, k + 1, ','));
    if (!plain) return 0;
    u->columns[u->n++] = r->t[k].text;
  }
  t->uniques_n++;
  return end;
}

/* CREATE UNIQUE INDEX for the k-th, as ALTER TABLE .. ADD UNIQUE makes it (alter.c). */
static void put_unique(rewriter *r, const char *schema, const char *table, const struct unique_key *u) {
  buf name = BUF_INIT;
  if (u->name) buf_text(&name, u->name);
  else {
    buf_text(&name, table);
    for (int k = 0; k < u->n; k++) buf_printf(&name, "_%s", u->columns[k]);
    buf_text(&name, "_key");
  }
  buf_text(&r->text, "CREATE UNIQUE INDEX ");
  if (schema) buf_quoted_name(&r->text, schema), buf_byte(&r->text, '.');
  buf_quoted_name(&r->text, buf_cstr(&name) ? (const char *)name.p : "");
  buf_free(&name);
  buf_text(&r->text, " /*postgres constraint*/ ON ");
  buf_quoted_name(&r->text, table);
  for (int k = 0; k < u->n; k++) {
    buf_text(&r->text, k ? ", " : "(");
    buf_quoted_name(&r->text, u->columns[k]);
  }
  buf_byte(&r->text, ')');
}

static status column_constraints(rewriter *r, int i, int end, bool autoincrement, bool plain_key, const char *column, table_rewrite *t) {
  while (i < end) {
    int behind = (rewrite_is(r, i, "unique") || (rewrite_is(r, i, "constraint") && rewrite_is(r, i + 2, "unique"))) ? take_unique(r, i, end, column, t) : 0;
    if (behind) {
      i = behind;
      continue;
    }
    if (rewrite_is(r, i, "default")) {
      TRY(column_default(r, &i, end));
    } else if (rewrite_is(r, i, "generated") && (rewrite_is(r, i + 2, "as") || rewrite_is(r, i + 3, "as"))) {
      int as = rewrite_is(r, i + 2, "as") ? i + 2 : i + 3;
      if (rewrite_is(r, as + 1, "identity")) {
        if (rewrite_is(r, i + 1, "always")) buf_text(&r->text, " /*identity always*/"); /* describe_insert.c looks for it */
        i = as + 2;
        TRY(identity_options(r, &i, end));
      } else {
        int close = rewrite_close(r, as + 1, end);
        rewrite_put(r, i, "GENERATED ALWAYS AS (");
        TRY(rewrite_range(r, as + 2, close));
        buf_byte(&r->text, ')');
        i = close + 1;
      }
    } else if (rewrite_is(r, i, "primary") && rewrite_is(r, i + 1, "key")) {
      rewrite_put(r, i, autoincrement ? "PRIMARY KEY AUTOINCREMENT" : plain_key ? "PRIMARY KEY NOT NULL" : "PRIMARY KEY");
      i += 2;
    } else if (rewrite_is(r, i, "check") && rewrite_punct(r, i + 1, '(')) {
      int close = rewrite_close(r, i + 1, end);
      rewrite_token(r, i);
      TRY(rewrite_range(r, i + 1, close + 1));
      i = close + 1;
      if (rewrite_is(r, i, "no") && rewrite_is(r, i + 1, "inherit")) i += 2;
    } else if (rewrite_is(r, i, "references")) {
      int stop = i + 1;
      while (stop < end && !rewrite_is(r, stop, "default") && !rewrite_is(r, stop, "unique") && !rewrite_is(r, stop, "check") &&
             !rewrite_is(r, stop, "constraint") && !(rewrite_is(r, stop, "not") && rewrite_is(r, stop + 1, "null"))) stop++;
      TRY(constraint_words(r, i, stop, NULL));
      i = stop;
    } else if (rewrite_is(r, i, "collate")) {
      int next = i + 1;
      if (rewrite_is(r, next, "pg_catalog") && rewrite_punct(r, next + 1, '.')) next += 2;
      TRY(rewrite_range(r, i, next + 1));
      i = next + 1;
    } else {
      rewrite_token(r, i++);
    }
  }
  return HDB_OK;
}

/* PRIMARY KEY (..), UNIQUE (..), FOREIGN KEY .. REFERENCES .. and what hangs on them. */
static status constraint_words(rewriter *r, int from, int end, const table_rewrite *t) {
  for (int i = from; i < end;) {
    if (rewrite_is(r, i, "check") && rewrite_punct(r, i + 1, '(')) {
      int close = rewrite_close(r, i + 1, end);
      rewrite_token(r, i);
      TRY(rewrite_range(r, i + 1, close + 1));
      i = close + 1;
    } else if (rewrite_is(r, i, "references")) {
      const char *schema, *name;
      rewrite_token(r, i++);
      int first = i;
      TRY(rewrite_qualified(r, &i, &schema, &name));
      put_qualified(r, first, NULL, name);
    } else if (rewrite_is(r, i, "using") && rewrite_is(r, i + 1, "index")) {
      return rewrite_unsupported(r, i, "constraints USING INDEX");
    } else if (rewrite_is(r, i, "include") && rewrite_punct(r, i + 1, '(')) {
      i = rewrite_close(r, i + 1, end) + 1;
    } else if (rewrite_is(r, i, "with") && rewrite_punct(r, i + 1, '(')) {
      i = rewrite_close(r, i + 1, end) + 1;
    } else if (rewrite_is(r, i, "not") && rewrite_is(r, i + 1, "valid")) {
      i += 2;
    } else if (rewrite_is(r, i, "match") && rewrite_is(r, i + 1, "simple")) {
      i += 2;
    } else if (rewrite_is(r, i, "match")) {
      return rewrite_unsupported(r, i, "MATCH FULL and MATCH PARTIAL");
    } else if (t && t->serial_key && rewrite_is(r, i, "primary") && rewrite_is(r, i + 1, "key") && rewrite_punct(r, i + 2, '(')) {
      rewrite_put(r, i, "PRIMARY KEY (");
      rewrite_token(r, i + 3);
      buf_text(&r->text, " AUTOINCREMENT)");
      i += 5;
    } else {
      rewrite_token(r, i++);
    }
  }
  return HDB_OK;
}

static bool integer_type(const char *type) {
  static const char *const names[] = {"int", "integer", "int4", "bigint", "int8", "smallint", "int2"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(names[i], type) == 0) return true;
  return false;
}

static bool is_identity(const rewriter *r, int from, int end) {
  for (int i = from; i < end; i++)
    if (rewrite_is(r, i, "identity") && rewrite_is(r, i - 1, "as")) return true;
  return false;
}

static bool inline_key(const rewriter *r, int from, int end) {
  for (int i = from; i < end; i++)
    if (rewrite_is(r, i, "primary") && rewrite_is(r, i + 1, "key")) return true;
  return false;
}

static bool is_temporary(const rewriter *r) { return rewrite_is(r, 1, "temp") || rewrite_is(r, 1, "temporary") || rewrite_is(r, 2, "temp") || rewrite_is(r, 2, "temporary"); }

static bool says_not_null(const rewriter *r, int from, int end) {
  for (int i = from; i < end; i++)
    if (rewrite_is(r, i, "not") && rewrite_is(r, i + 1, "null")) return true;
  return false;
}

static status rewrite_column(rewriter *r, int from, int end, table_rewrite *t) {
  const char *column = r->t[from].text, *type = "";
  int i = from + 1;
  if (r->t[from].kind != PT_WORD && r->t[from].kind != PT_QUOTED) return rewrite_syntax_error(r, from);
  if (r->t[from].kind == PT_QUOTED) rewrite_token(r, from);
  else rewrite_name(r, from, column);
  if (i < end && !starts_constraint(r, i)) TRY(rewrite_type(r, i, end, &type, &i));
  int32_t modifier;
  if (*type && !pg_type_by_name(type, &modifier) && strncasecmp(type, "vector", 6) != 0 && strncasecmp(type, "enum", 4) != 0) { /* one that CREATE TYPE made: the engine looks */
    size_t n = strlen(type);
    bool array = n > 2 && strcmp(type + n - 2, "[]") == 0;
    buf declared = BUF_INIT;
    if (strspn(type, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789$[]") != n) return rewrite_unsupported(r, from + 1, "this name of a type");
    pg_enum_declare(arena_printf(r->memory, "%.*s", (int)(n - (array ? 2 : 0)), type), array, &declared);
    type = arena_strndup(r->memory, declared.p ? (const char *)declared.p : "", declared.n);
    buf_free(&declared);
    if (!type) return error_set(r->err, HDB_NOMEM, "out of memory");
  }
  bool serial = is_serial(type) || is_identity(r, i, end), key = is_key(t, column), lone = key && t->keys_n == 1;
  if (serial && !lone && (!t->name || is_temporary(r))) return rewrite_unsupported(r, from, "SERIAL or identity columns in this place");
  bool row_id = lone && (serial || integer_type(type));
  if (row_id) {
    bool narrow = strcmp(type, "integer") == 0 || strcmp(type, "int") == 0 || strcmp(type, "int4") == 0;
    if (!narrow) buf_printf(&t->comment, ";%s %s", column, type);
    type = "INTEGER";
  }
  if (serial && !lone) {
    const char *plain = strcmp(type, "bigserial") == 0 || strcmp(type, "serial8") == 0 ? "bigint" : strcmp(type, "smallserial") == 0 || strcmp(type, "serial2") == 0 ? "smallint" : is_serial(type) ? "integer" : type;
    type = plain;
    if (t->sequences_n < KEY_COLUMNS) {
      t->sequence_types[t->sequences_n] = strcmp(plain, "int") == 0 || strcmp(plain, "int4") == 0 ? "integer" : plain;
      t->sequences[t->sequences_n++] = column;
    }
  }
  if (*type) buf_printf(&r->text, " %s", strcmp(type, "\"char\"") == 0 ? "char(1)" : type);
  if (serial && !lone) buf_printf(&r->text, " DEFAULT (nextval('%s_%s_seq'))%s", t->name, column, says_not_null(r, i, end) ? "" : " NOT NULL");
  TRY(column_constraints(r, i, end, row_id && serial && inline_key(r, i, end), key && !row_id, column, t));
  if (key && !row_id && !inline_key(r, i, end)) buf_text(&r->text, " NOT NULL");
  t->serial_key = t->serial_key || (serial && row_id);
  return HDB_OK;
}

/* What may stand behind the columns. */
static status table_options(rewriter *r, int i) {
  while (i < r->n) {
    if (rewrite_is(r, i, "with") && rewrite_punct(r, i + 1, '(')) i = rewrite_close(r, i + 1, r->n) + 1;
    else if (rewrite_is(r, i, "without") && rewrite_is(r, i + 1, "oids")) i += 2;
    else if (rewrite_is(r, i, "tablespace")) i += 2;
    else if (rewrite_is(r, i, "on") && rewrite_is(r, i + 1, "commit")) {
      if (!rewrite_is(r, i + 2, "preserve")) return rewrite_unsupported(r, i, "ON COMMIT DROP and DELETE ROWS");
      i += 4;
    } else if (rewrite_is(r, i, "partition")) return rewrite_unsupported(r, i, "partitioned tables");
    else if (rewrite_is(r, i, "inherits")) return rewrite_unsupported(r, i, "INHERITS");
    else if (rewrite_is(r, i, "using")) i += 2;
    else if (rewrite_is(r, i, "without") || rewrite_is(r, i, "strict")) rewrite_token(r, i++); /* SQLite's own */
    else if (rewrite_is(r, i, "rowid") || rewrite_punct(r, i, ',')) rewrite_token(r, i++);
    else return rewrite_syntax_error(r, i);
  }
  return HDB_OK;
}

static bool is_create_as(const rewriter *r, int i) {
  if (rewrite_is(r, i, "with") && rewrite_punct(r, i + 1, '(')) i = rewrite_close(r, i + 1, r->n) + 1;
  return rewrite_is(r, i, "as");
}

/* [(names)] [WITH (..)] AS query [WITH [NO] DATA] */
static status create_as(rewriter *r, int i, const char *schema, const char *name, bool temp) {
  if (rewrite_punct(r, i, '(')) {
    int close = rewrite_close(r, i, r->n);
    const char **names = arena_zero(r->memory, (size_t)(close - i) * sizeof *names);
    if (!names) return error_set(r->err, HDB_NOMEM, "out of memory");
    for (int k = i + 1; k < close; k += 2) names[r->out->names_n++] = r->t[k].text;
    r->out->names = names;
    i = close + 1;
  }
  if (rewrite_is(r, i, "with")) i = rewrite_close(r, i + 1, r->n) + 1;
  int end = r->n;
  if (rewrite_is(r, end - 1, "data") && rewrite_is(r, end - 2, "no") && rewrite_is(r, end - 3, "with")) r->out->no_data = true, end -= 3;
  else if (rewrite_is(r, end - 1, "data") && rewrite_is(r, end - 2, "with")) end -= 2;
  return rewrite_query_into(r, i + 1, end, end, end, schema, name, temp);
}

static status create_table(rewriter *r, int i, bool temp) {
  const char *schema, *name;
  r->out->tag = "CREATE TABLE";
  buf_text(&r->text, temp ? "CREATE TEMP TABLE" : "CREATE TABLE");
  if (rewrite_is(r, i, "if")) {
    buf_text(&r->text, " IF NOT EXISTS");
    i += 3;
  }
  int first = i;
  bool if_not_exists = r->text.n > 20 && memmem(r->text.p, r->text.n, "IF NOT", 6);
  TRY(rewrite_qualified(r, &i, &schema, &name));
  if (if_not_exists) r->out->if_not_exists = name;
  if (temp) schema = NULL;
  put_qualified(r, first, schema, name);
  if (rewrite_is(r, i, "partition")) return rewrite_unsupported(r, i, "partitioned tables");
  if (rewrite_is(r, i, "as") || (rewrite_punct(r, i, '(') && is_create_as(r, rewrite_close(r, i, r->n) + 1))) return create_as(r, i, schema, name, temp);
  if (!rewrite_punct(r, i, '(')) return rewrite_syntax_error(r, i);
  int close = rewrite_close(r, i, r->n);
  if (close == r->n) return rewrite_syntax_error(r, r->n);
  table_rewrite t = {.comment = BUF_INIT, .name = name};
  find_keys(r, i + 1, close, &t);
  size_t mark = r->text.n;
  status rc = HDB_OK;
  buf_text(&r->text, "(");
  for (int k = i + 1; k < close && rc == HDB_OK;) {
    int stop = element_end(r, k, close);
    if (is_table_constraint(r, k) && take_unique(r, k, stop, NULL, &t)) {
      k = stop + 1;
      continue;
    }
    if (r->text.n > mark + 1) buf_text(&r->text, ", ");
    if (rewrite_is(r, k, "like") || rewrite_is(r, k, "exclude")) rc = rewrite_unsupported(r, k, "LIKE and EXCLUDE in CREATE TABLE");
    else if (is_table_constraint(r, k)) rc = constraint_words(r, k, stop, &t);
    else rc = rewrite_column(r, k, stop, &t);
    k = stop + 1;
  }
  buf_text(&r->text, ")");
  if (rc == HDB_OK) rc = table_options(r, close + 1);
  if (rc == HDB_OK) { /* the comment goes between name and columns */
    buf whole = BUF_INIT;
    buf_append(&whole, r->text.p, mark);
    buf_text(&whole, " /*postgres");
    buf_append(&whole, t.comment.p, t.comment.n);
    buf_text(&whole, "*/ ");
    buf_append(&whole, r->text.p + mark, r->text.n - mark);
    buf_free(&r->text);
    r->text = whole;
    for (int k = 0; k < r->out->pieces_n; k++)
      if (r->out->pieces[k].out >= mark) r->out->pieces[k].out += (uint32_t)(15 + t.comment.n - 1);
  }
  buf_free(&t.comment);
  for (int k = 0; k < t.sequences_n && rc == HDB_OK; k++) {
    TRY(rewrite_finish(r));
    sequence_options options = {.type = t.sequence_types[k]};
    put_sequence(r, schema, arena_printf(r->memory, "%s_%s_seq", name, t.sequences[k]), &options);
    if (if_not_exists) r->out->unless_exists = name;
  }
  for (int k = 0; k < t.uniques_n && rc == HDB_OK; k++) {
    TRY(rewrite_finish(r));
    put_unique(r, temp ? "temp" : schema, name, &t.uniques[k]);
    if (if_not_exists) r->out->unless_exists = name;
  }
  return rc;
}

/* ---- other CREATEs ---- */

static status create_index(rewriter *r, int i, bool unique) {
  const char *schema = NULL, *name = NULL, *table_schema, *table;
  bool if_not_exists = false;
  r->out->tag = "CREATE INDEX";
  if (rewrite_is(r, i, "concurrently")) i++;
  if (rewrite_is(r, i, "if")) if_not_exists = true, i += 3;
  int first = i;
  if (!rewrite_is(r, i, "on")) TRY(rewrite_qualified(r, &i, &schema, &name));
  if (!rewrite_is(r, i, "on")) return rewrite_syntax_error(r, i);
  i++;
  if (rewrite_is(r, i, "only")) i++;
  int table_at = i;
  TRY(rewrite_qualified(r, &i, &table_schema, &table));
  const char *method = NULL;
  if (rewrite_is(r, i, "using")) {
    method = r->t[i + 1].text;
    i += 2;
  }
  if (!rewrite_punct(r, i, '(')) return rewrite_syntax_error(r, i);
  int close = rewrite_close(r, i, r->n);
  if (!name) {
    buf b = BUF_INIT;
    buf_text(&b, table);
    for (int k = i + 1; k < close; k++)
      if (r->t[k].kind == PT_WORD || r->t[k].kind == PT_QUOTED) buf_printf(&b, "_%s", r->t[k].text);
    buf_text(&b, "_idx");
    name = arena_strndup(r->memory, (const char *)b.p, b.n);
    buf_free(&b);
  }
  buf_text(&r->text, unique ? "CREATE UNIQUE INDEX" : "CREATE INDEX");
  if (if_not_exists) buf_text(&r->text, " IF NOT EXISTS");
  put_qualified(r, first, table_schema ? table_schema : schema, name ? name : "i");
  buf_text(&r->text, " /*postgres*/ ON");
  put_qualified(r, table_at, NULL, table);
  bool hnsw = method && strcmp(method, "hnsw") == 0;
  if (hnsw) {
    buf_text(&r->text, " USING hnsw ");
    return rewrite_range(r, i, r->n);
  }
  if (method && strcmp(method, "btree") != 0 && strcmp(method, "hash") != 0) return rewrite_unsupported(r, i, "this index method");
  buf_text(&r->text, " (");
  for (int k = i + 1; k < close;) {
    int stop = element_end(r, k, close), last = stop;
    for (int m = k; m < stop; m++) /* operator classes say nothing here; nulls order is not SQLite's */
      if (m > k && r->t[m].kind == PT_WORD && strlen(r->t[m].text) > 4 && strcmp(r->t[m].text + strlen(r->t[m].text) - 4, "_ops") == 0) last = m;
    if (k > i + 1) buf_text(&r->text, ", ");
    int nulls = last;
    for (int m = k; m < last; m++)
      if (rewrite_is(r, m, "nulls") && (rewrite_is(r, m + 1, "first") || rewrite_is(r, m + 1, "last"))) nulls = m;
    TRY(rewrite_range(r, k, nulls));
    if (last < stop && (rewrite_is(r, last + 1, "desc") || rewrite_is(r, last + 1, "asc"))) rewrite_token(r, last + 1);
    k = stop + 1;
  }
  buf_byte(&r->text, ')');
  i = close + 1;
  if (rewrite_is(r, i, "include")) i = rewrite_close(r, i + 1, r->n) + 1;
  if (rewrite_is(r, i, "nulls")) return rewrite_unsupported(r, i, "NULLS NOT DISTINCT");
  if (rewrite_is(r, i, "with")) i = rewrite_close(r, i + 1, r->n) + 1;
  if (rewrite_is(r, i, "tablespace")) i += 2;
  if (rewrite_is(r, i, "where")) return rewrite_range(r, i, r->n);
  return i < r->n ? rewrite_syntax_error(r, i) : HDB_OK;
}

static status create_view(rewriter *r, int i, bool replace, bool temp) {
  const char *schema, *name;
  int first = i;
  r->out->tag = "CREATE VIEW";
  TRY(rewrite_qualified(r, &i, &schema, &name));
  if (replace) {
    buf_text(&r->text, "DROP VIEW IF EXISTS");
    put_qualified(r, first, schema, name);
    TRY(rewrite_finish(r));
  }
  buf_text(&r->text, temp ? "CREATE TEMP VIEW" : "CREATE VIEW");
  put_qualified(r, first, temp ? NULL : schema, name);
  buf_text(&r->text, " /*postgres*/ ");
  if (rewrite_punct(r, i, '(')) {
    int close = rewrite_close(r, i, r->n);
    for (int k = i; k <= close && k < r->n; k++) rewrite_token(r, k);
    i = close + 1;
  }
  if (rewrite_is(r, i, "with") && rewrite_punct(r, i + 1, '(')) i = rewrite_close(r, i + 1, r->n) + 1;
  if (!rewrite_is(r, i, "as")) return rewrite_syntax_error(r, i);
  int end = r->n;
  if (rewrite_is(r, end - 1, "option") && rewrite_is(r, end - 2, "check")) return rewrite_unsupported(r, end - 2, "WITH CHECK OPTION");
  buf_text(&r->text, " AS ");
  return rewrite_range(r, i + 1, end);
}

/* ---- sequences (sequence.c) ---- */

static status number_at(rewriter *r, int *at, int64_t *out) {
  bool negative = *at < r->n && r->t[*at].kind == PT_OPERATOR && strcmp(r->t[*at].text, "-") == 0;
  if (negative) ++*at;
  if (*at >= r->n || r->t[*at].kind != PT_NUMBER) return rewrite_syntax_error(r, *at);
  char *end, text[40];
  snprintf(text, sizeof text, "%s%s", negative ? "-" : "", r->t[*at].text);
  errno = 0;
  *out = strtoll(text, &end, 10);
  if (*end || errno) return rewrite_syntax_error(r, *at);
  ++*at;
  return HDB_OK;
}

static status sequence_clauses(rewriter *r, int i, sequence_options *o) {
  int n = 0;
  *o = (sequence_options){.type = "bigint"};
  for (; i < r->n; n++) {
    if (rewrite_is(r, i, "as")) {
      TRY(rewrite_type(r, i + 1, r->n, &o->type, &i));
      if (strcmp(o->type, "int") == 0 || strcmp(o->type, "int4") == 0) o->type = "integer";
      if (strcmp(o->type, "int8") == 0) o->type = "bigint";
      if (strcmp(o->type, "int2") == 0) o->type = "smallint";
    } else if (rewrite_is(r, i, "increment")) {
      i += rewrite_is(r, i + 1, "by") ? 2 : 1;
      TRY(number_at(r, &i, &o->increment));
      o->increment_given = true;
    } else if (rewrite_is(r, i, "minvalue")) {
      i++;
      TRY(number_at(r, &i, &o->least));
      o->least_given = true;
    } else if (rewrite_is(r, i, "maxvalue")) {
      i++;
      TRY(number_at(r, &i, &o->most));
      o->most_given = true;
    } else if (rewrite_is(r, i, "no") && (rewrite_is(r, i + 1, "minvalue") || rewrite_is(r, i + 1, "maxvalue"))) {
      i += 2;
    } else if (rewrite_is(r, i, "start") || rewrite_is(r, i, "restart")) {
      bool restart = rewrite_is(r, i, "restart");
      i += rewrite_is(r, i + 1, "with") ? 2 : 1;
      bool given = !restart || (i < r->n && r->t[i].kind != PT_WORD);
      if (given) TRY(number_at(r, &i, restart ? &o->restart_with : &o->start));
      if (restart) o->restart = true, o->restart_given = given;
      else o->start_given = true;
    } else if (rewrite_is(r, i, "cache")) {
      i += 2;
    } else if (rewrite_is(r, i, "cycle")) {
      o->cycle = o->cycle_given = true;
      i++;
    } else if (rewrite_is(r, i, "no") && rewrite_is(r, i + 1, "cycle")) {
      o->cycle_given = true;
      i += 2;
    } else if (rewrite_is(r, i, "owned") && rewrite_is(r, i + 1, "by")) {
      o->only_owner = n == 0;
      for (i += 3; rewrite_punct(r, i, '.'); i += 2) {
      }
      o->only_owner = o->only_owner && i >= r->n;
    } else {
      return rewrite_syntax_error(r, i);
    }
  }
  return HDB_OK;
}

static void put_sequence(rewriter *r, const char *schema, const char *name, const sequence_options *o) {
  int64_t increment = o->increment_given ? o->increment : 1;
  bool up = increment > 0;
  int64_t top = strcmp(o->type, "smallint") == 0 ? INT16_MAX : strcmp(o->type, "integer") == 0 ? INT32_MAX : INT64_MAX;
  int64_t least = o->least_given ? o->least : up ? 1 : -top - 1, most = o->most_given ? o->most : up ? top : -1;
  int64_t start = o->start_given ? o->start : up ? least : most;
  buf_text(&r->text, "CREATE TABLE");
  put_qualified(r, r->n, schema, name);
  buf_printf(&r->text, " /*postgres sequence %lld %lld %lld %lld %d %s*/ (last_value bigint NOT NULL, log_cnt bigint NOT NULL, is_called boolean NOT NULL)",
             (long long)increment, (long long)least, (long long)most, (long long)start, o->cycle, o->type);
  (void)rewrite_finish(r);
  buf_text(&r->text, "INSERT INTO");
  put_qualified(r, r->n, schema, name);
  buf_printf(&r->text, " VALUES(%lld, 0, false)", (long long)start);
}

static status create_sequence(rewriter *r, int i, bool temp) {
  const char *schema, *name;
  bool if_not_exists = rewrite_is(r, i, "if");
  if (if_not_exists) i += 3;
  TRY(rewrite_qualified(r, &i, &schema, &name));
  r->out->tag = "CREATE SEQUENCE";
  TRY(sequence_clauses(r, i, &r->out->sequence));
  const sequence_options *o = &r->out->sequence;
  if (o->increment_given && o->increment == 0) {
    error_set(r->err, HDB_ERROR, "invalid value for parameter: INCREMENT must not be zero");
    return HDB_ERROR;
  }
  if (if_not_exists) r->out->unless_exists = name;
  put_sequence(r, temp ? "temp" : schema, name, o);
  return HDB_OK;
}

/* ALTER SEQUENCE, DROP SEQUENCE: at the name, IF EXISTS before it. */
static status change_sequence(rewriter *r, bool drop) {
  int i = 2;
  r->out->class = CLASS_SEQUENCE;
  r->out->tag = drop ? "DROP SEQUENCE" : "ALTER SEQUENCE";
  if (rewrite_is(r, i, "if") && rewrite_is(r, i + 1, "exists")) r->out->if_not_exists = "", i += 2;
  int first = i;
  TRY(rewrite_qualified(r, &i, &r->out->object_schema, &r->out->object));
  if (!drop) return is_hint(r, i) ? HDB_OK : sequence_clauses(r, i, &r->out->sequence);
  const char **names = arena_zero(r->memory, (size_t)(r->n - first) * sizeof *names);
  if (!names) return error_set(r->err, HDB_NOMEM, "out of memory");
  r->out->names = names;
  names[r->out->names_n++] = r->out->object;
  while (rewrite_punct(r, i, ',')) {
    i++;
    TRY(rewrite_qualified(r, &i, &r->out->object_schema, &names[r->out->names_n]));
    r->out->names_n++;
  }
  if (rewrite_is(r, i, "cascade") || rewrite_is(r, i, "restrict")) i++;
  return i < r->n ? rewrite_syntax_error(r, i) : HDB_OK;
}

/* CREATE, ALTER, DROP TYPE: the server's, but for what is only said about owners. */
static status own_type(rewriter *r, const char *tag) {
  r->out->class = CLASS_TYPE;
  r->out->tag = tag;
  return HDB_OK;
}

status rewrite_create(rewriter *r) {
  int i = 1;
  if (rewrite_is(r, 1, "type")) return own_type(r, "CREATE TYPE");
  bool replace = false, temp = false;
  if (rewrite_is(r, i, "or") && rewrite_is(r, i + 1, "replace")) replace = true, i += 2;
  if (rewrite_is(r, i, "global") || rewrite_is(r, i, "local")) i++;
  if (rewrite_is(r, i, "temp") || rewrite_is(r, i, "temporary")) temp = true, i++;
  if (rewrite_is(r, i, "unlogged")) i++;
  if (rewrite_is(r, i, "table")) return create_table(r, i + 1, temp);
  if (rewrite_is(r, i, "sequence")) return create_sequence(r, i + 1, temp);
  if (rewrite_is(r, i, "view")) return create_view(r, i + 1, replace, temp);
  if (rewrite_is(r, i, "unique") && rewrite_is(r, i + 1, "index")) return create_index(r, i + 2, true);
  if (rewrite_is(r, i, "index")) return create_index(r, i + 1, false);
  if (rewrite_is(r, i, "branch") || rewrite_is(r, i, "virtual") || rewrite_is(r, i, "trigger") ||
      (rewrite_is(r, i, "database") && rewrite_is(r, i + 1, "branch"))) {
    r->out->tag = rewrite_is(r, i, "trigger") ? "CREATE TRIGGER" : rewrite_is(r, i, "virtual") ? "CREATE TABLE" : "CREATE BRANCH";
    return rewrite_range(r, 0, r->n);
  }
  if (rewrite_is(r, i, "role") || rewrite_is(r, i, "user")) {
    r->out->class = CLASS_ROLE;
    r->out->tag = "CREATE ROLE";
    return HDB_OK;
  }
  if (rewrite_is(r, i, "schema") && (rewrite_is(r, r->n - 1, "public"))) {
    r->out->class = CLASS_NOTHING;
    r->out->tag = "CREATE SCHEMA";
    return HDB_OK;
  }
  char what[60];
  snprintf(what, sizeof what, "CREATE %s", i < r->n ? r->t[i].text : "");
  for (char *p = what; *p; p++)
    if (*p >= 'a' && *p <= 'z') *p = (char)(*p - 32);
  return rewrite_unsupported(r, i, what);
}

/* ---- ALTER ---- */

status translate_default(slice sql, const pg_token *tokens, int from, int to, arena *memory, char **text, error *err) {
  translation ignored = {0};
  rewriter r = {.sql = sql, .t = tokens, .n = to, .memory = memory, .err = err, .out = &ignored, .text = BUF_INIT};
  status rc = column_default(&r, &from, to);
  if (rc == HDB_OK && from != to) rc = rewrite_syntax_error(&r, from);
  *text = rc == HDB_OK ? arena_strndup(memory, r.text.p ? (const char *)r.text.p : "", r.text.n) : NULL;
  buf_free(&r.text);
  return rc == HDB_OK && !*text ? error_set(err, HDB_NOMEM, "out of memory") : rc;
}

status translate_type(slice sql, const pg_token *tokens, int from, int to, arena *memory, const char **type, int *next, error *err) {
  translation ignored = {0};
  rewriter r = {.sql = sql, .t = tokens, .n = to, .memory = memory, .err = err, .out = &ignored, .text = BUF_INIT};
  status rc = rewrite_type(&r, from, to, type, next);
  buf_free(&r.text);
  return rc;
}

/* Hints about storage, owners: nothing that an answer depends on. */
static bool is_hint(const rewriter *r, int i) {
  if (rewrite_is(r, i, "owner") || rewrite_is(r, i, "cluster") || rewrite_is(r, i, "reset")) return true;
  if (rewrite_is(r, i, "replica") && rewrite_is(r, i + 1, "identity")) return true;
  return rewrite_is(r, i, "set") && (rewrite_punct(r, i + 1, '(') || rewrite_is(r, i + 1, "tablespace") || rewrite_is(r, i + 1, "logged") ||
                                     rewrite_is(r, i + 1, "unlogged") || rewrite_is(r, i + 1, "without"));
}

/* One action; nothing written: it is the server's (alter.c). */
static status alter_clause(rewriter *r, int i, const char *schema, const char *table, int table_at, int end, const char **unless, const char **then) {
  bool rename = rewrite_is(r, i, "rename") && !rewrite_is(r, i + 1, "constraint");
  bool add = rewrite_is(r, i, "add") && !is_table_constraint(r, i + 1);
  if (!rename && !add) return HDB_OK;
  buf_text(&r->text, "ALTER TABLE");
  put_qualified(r, table_at, schema, table);
  if (rename) {
    buf_byte(&r->text, ' ');
    return rewrite_range(r, i, end);
  }
  int k = i + 1;
  if (rewrite_is(r, k, "column")) k++;
  if (rewrite_is(r, k, "if") && rewrite_is(r, k + 1, "not") && rewrite_is(r, k + 2, "exists")) {
    k += 3;
    *unless = k < end ? r->t[k].text : NULL;
  }
  buf_text(&r->text, " ADD COLUMN ");
  table_rewrite t = {.comment = BUF_INIT};
  status rc = rewrite_column(r, k, end, &t);
  buf_free(&t.comment);
  if (t.uniques_n && rc == HDB_OK) {
    size_t from = r->text.n;
    put_unique(r, schema, table, &t.uniques[0]);
    *then = arena_strndup(r->memory, (const char *)r->text.p + from, r->text.n - from);
    r->text.n = from;
  }
  return rc;
}

static status alter_table(rewriter *r, int i) {
  const char *schema, *table;
  bool special = false;
  if (rewrite_is(r, i, "if") && rewrite_is(r, i + 1, "exists")) r->out->if_not_exists = "", i += 2;
  if (rewrite_is(r, i, "only")) i++;
  int table_at = i, most = 1;
  TRY(rewrite_qualified(r, &i, &schema, &table));
  if (i >= r->n) return rewrite_syntax_error(r, i);
  for (int k = i; k < r->n; k++) most += rewrite_punct(r, k, ',');
  alter_action *actions = arena_zero(r->memory, (size_t)most * sizeof *actions);
  if (!actions) return error_set(r->err, HDB_NOMEM, "out of memory");
  int n = 0;
  for (; i < r->n;) {
    int stop = element_end(r, i, r->n);
    if (!is_hint(r, i)) {
      buf_clear(&r->text);
      const char *unless = NULL, *then = NULL;
      TRY(alter_clause(r, i, schema, table, table_at, stop, &unless, &then));
      const char *text = r->text.n ? arena_strndup(r->memory, (const char *)r->text.p, r->text.n) : NULL;
      special = special || !text || unless || then;
      actions[n++] = (alter_action){.from = i, .to = stop, .text = text, .unless = unless, .then = then};
    }
    i = stop + 1;
  }
  buf_clear(&r->text);
  r->out->object = table;
  r->out->object_schema = schema;
  r->out->actions = actions;
  r->out->actions_n = n;
  if (special || r->out->if_not_exists || n == 0) {
    r->out->class = CLASS_ALTER;
    return HDB_OK;
  }
  for (int k = 0; k < n; k++) {
    buf_text(&r->text, actions[k].text);
    if (k + 1 < n) TRY(rewrite_finish(r));
  }
  return HDB_OK;
}

/* ALTER INDEX, VIEW, SEQUENCE .. of what only concerns storage and owners; others are not there. */
static status alter_other(rewriter *r) {
  int i = 2;
  const char *schema, *name;
  if (rewrite_is(r, i, "if") && rewrite_is(r, i + 1, "exists")) i += 2;
  if (rewrite_is(r, 1, "index") || rewrite_is(r, 1, "view") || rewrite_is(r, 1, "sequence") || rewrite_is(r, 1, "materialized")) {
    TRY(rewrite_qualified(r, &i, &schema, &name));
    if (is_hint(r, i)) {
      r->out->class = CLASS_NOTHING;
      r->out->tag = arena_printf(r->memory, "ALTER %s", rewrite_is(r, 1, "index") ? "INDEX" : rewrite_is(r, 1, "view") ? "VIEW" : "SEQUENCE");
      return HDB_OK;
    }
  }
  return rewrite_unsupported(r, 1, "this kind of ALTER");
}

status rewrite_alter(rewriter *r) {
  r->out->tag = "ALTER TABLE";
  if (rewrite_is(r, 1, "role") || rewrite_is(r, 1, "user")) {
    r->out->class = CLASS_ROLE;
    r->out->tag = "ALTER ROLE";
    return HDB_OK;
  }
  if (rewrite_is(r, 1, "sequence")) return change_sequence(r, false);
  if (rewrite_is(r, 1, "type")) return own_type(r, "ALTER TYPE");
  if (rewrite_is(r, 1, "schema") && rewrite_is(r, 2, "public") && rewrite_is(r, 3, "owner")) { /* one owner has all */
    r->out->class = CLASS_NOTHING;
    r->out->tag = "ALTER SCHEMA";
    return HDB_OK;
  }
  return rewrite_is(r, 1, "table") ? alter_table(r, 2) : alter_other(r);
}

/* ---- DROP, TRUNCATE ---- */

status rewrite_drop(rewriter *r) {
  if (rewrite_is(r, 1, "type")) return own_type(r, "DROP TYPE");
  static const struct {
    const char *word, *sql, *tag;
  } kinds[] = {{"table", "DROP TABLE", "DROP TABLE"}, {"view", "DROP VIEW", "DROP VIEW"}, {"index", "DROP INDEX", "DROP INDEX"},
               {"trigger", "DROP TRIGGER", "DROP TRIGGER"}};
  if (rewrite_is(r, 1, "branch") || rewrite_is(r, 1, "database")) {
    r->out->tag = "DROP BRANCH";
    return rewrite_range(r, 0, r->n);
  }
  int kind = -1, i = 2;
  for (int k = 0; k < 4; k++)
    if (rewrite_is(r, 1, kinds[k].word)) kind = k;
  bool if_exists;
  if (rewrite_is(r, i, "concurrently")) i++;
  if ((if_exists = rewrite_is(r, i, "if"))) i += 2;
  if (kind < 0 && (rewrite_is(r, 1, "role") || rewrite_is(r, 1, "user"))) {
    r->out->class = CLASS_ROLE;
    r->out->tag = "DROP ROLE";
    return HDB_OK;
  }
  if (kind < 0 && rewrite_is(r, 1, "sequence")) return change_sequence(r, true);
  if (kind < 0) {
    char what[60];
    snprintf(what, sizeof what, "DROP %s", r->n > 1 ? r->t[1].text : "");
    for (char *p = what; *p; p++)
      if (*p >= 'a' && *p <= 'z') *p = (char)(*p - 32);
    if (!if_exists) return rewrite_unsupported(r, 1, what);
    r->out->class = CLASS_NOTHING; /* there is none of that kind */
    r->out->tag = arena_strdup(r->memory, what);
    r->out->notice = arena_printf(r->memory, "%s \"%s\" does not exist, skipping", r->t[1].text, i < r->n ? r->t[i].text : "");
    return HDB_OK;
  }
  r->out->tag = kinds[kind].tag;
  const char **names = arena_zero(r->memory, (size_t)r->n * sizeof *names);
  if (!names) return error_set(r->err, HDB_NOMEM, "out of memory");
  r->out->names = names;
  if (kind < 2) r->out->class = CLASS_DROP;
  r->out->if_exists_kind = kinds[kind].word;
  for (;;) {
    const char *schema, *name;
    int first = i;
    TRY(rewrite_qualified(r, &i, &schema, &name));
    buf_text(&r->text, kinds[kind].sql);
    if (if_exists) buf_text(&r->text, " IF EXISTS");
    if (if_exists && r->out->if_exists_n < 32) r->out->if_exists[r->out->if_exists_n++] = name;
    put_qualified(r, first, schema, name);
    names[r->out->names_n++] = name;
    if (kind == 3 && rewrite_is(r, i, "on")) i += 2; /* DROP TRIGGER name ON table */
    if (!rewrite_punct(r, i, ',')) break;
    TRY(rewrite_finish(r));
    i++;
  }
  r->out->cascade = rewrite_is(r, i, "cascade");
  if (r->out->cascade || rewrite_is(r, i, "restrict")) i++;
  return i < r->n ? rewrite_syntax_error(r, i) : HDB_OK;
}

/* TRUNCATE [TABLE] [ONLY] a, b [RESTART | CONTINUE IDENTITY] [CASCADE | RESTRICT]: the server's (truncate.c). */
status rewrite_truncate(rewriter *r) {
  int i = rewrite_is(r, 1, "table") ? 2 : 1;
  const char **names = arena_zero(r->memory, (size_t)(r->n + 1) * sizeof *names);
  if (!names) return error_set(r->err, HDB_NOMEM, "out of memory");
  r->out->class = CLASS_TRUNCATE;
  r->out->names = names;
  for (;; i++) {
    if (rewrite_is(r, i, "only")) i++;
    TRY(rewrite_qualified(r, &i, &r->out->object_schema, &names[r->out->names_n]));
    r->out->names_n++;
    if (rewrite_punct(r, i, '*')) i++;
    if (!rewrite_punct(r, i, ',')) break;
  }
  bool restart = rewrite_is(r, i, "restart");
  if ((restart || rewrite_is(r, i, "continue")) && rewrite_is(r, i + 1, "identity")) i += 2, r->out->temp = restart;
  r->out->cascade = rewrite_is(r, i, "cascade");
  if (r->out->cascade || rewrite_is(r, i, "restrict")) i++;
  return i < r->n ? rewrite_syntax_error(r, i) : HDB_OK;
}
