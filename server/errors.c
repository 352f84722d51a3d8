/* The engine's failures in PostgreSQL's words and numbers. The cause decides: the status first, then the words. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/session.h"

static bool starts(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

/* Words that come with a code of their own. */
static const struct {
  const char *start, *sqlstate;
} by_words[] = {
    {"not supported yet", "0A000"}, {"permission denied", "42501"}, {"time zone \"", "22023"}, {"cannot insert a non-DEFAULT", "428C9"}, {"invalid reference to FROM", "42P01"}, {"percentile value", "22003"}, {"interval time zone", "22023"}, {"must be owner", "42501"}, {"current transaction is aborted", "25P02"}, {"there is no parameter", "42P02"},
    {"role \"", "42704"}, {"DECLARE CURSOR can", "25P01"}, {"invalid hexadecimal data", "22023"}, {"invalid base64", "22023"}, {"channel name", "22023"}, {"payload string", "22023"}, {"nextval: reached", "2200H"}, {"currval of", "55000"}, {"lastval is", "55000"}, {"setval: value", "22003"}, {"LOCK TABLE can", "25P01"}, {"SET TRANSACTION ISOLATION LEVEL must", "25001"}, {"parameter \"", "55P02"}, {"SAVEPOINT can", "25P01"}, {"ROLLBACK TO SAVEPOINT can", "25P01"}, {"RELEASE SAVEPOINT can", "25P01"}, {"VACUUM cannot", "25001"}, {"DISCARD ALL cannot", "25001"}, {"syntax error", "42601"}, {"unterminated", "42601"}, {"incomplete input", "42601"},
    {"unrecognized token", "42601"}, {"near \"", "42601"}, {"no such table", "42P01"}, {"no such view", "42P01"},
    {"no such column", "42703"}, {"no such function", "42883"}, {"wrong number of arguments", "42883"},
    {"no such index", "42704"}, {"no such savepoint", "3B001"}, {"savepoint \"", "3B001"}, {"ambiguous column name", "42702"}, {"duplicate column name", "42701"},
    {"misuse of aggregate", "42803"}, {"misuse of window", "42P20"}, {"table \"", "42P07"}, {"view \"", "42P07"},
    {"invalid input syntax", "22P02"}, {"malformed array", "22P02"}, {"invalid hexadecimal", "22P02"},
    {"a stored value", "22P02"}, {"date/time field", "22008"}, {"value too long", "22001"}, {"division by zero", "22012"},
    {"incorrect binary", "22P03"}, {"type \"", "42704"}, {"relation \"", "42P01"}, {"column \"", "42703"},
    {"invalid regular expression", "2201B"}, {"function ", "42883"}, {"prepared statement", "26000"}, {"cursor \"", "34000"}, {"portal \"", "34000"},
    {"cannot execute", "25006"}, {"attempt to write a readonly", "25006"}, {"numeric field overflow", "22003"},
    {"integer overflow", "22003"}, {"missing data", "22P04"}, {"extra data", "22P04"}, {"COPY", "57014"}, {"unrecognized configuration", "42704"}, {"invalid value for parameter", "22023"},
    {"timestamp units", "22023"}, {"all VALUES must have", "42601"}, {"SELECTs to the left", "42601"}, {"table ", "42601"},
    {"Expression tree is too large", "54001"}, {"parser stack overflow", "54001"}, {"too many", "54000"}, {"unable to identify", "42601"}, {"NaN is", "22003"}, {"numeric value", "22003"}, {"cannot start a transaction", "25001"},
    {"there is already an index", "42P07"}, {"index ", "42P07"}, {"foreign key mismatch", "42830"}, {"invalid byte sequence", "22021"}, {"bind message supplies", "08P01"}, {"insufficient data", "08P01"}, {"bind parameter", "08P01"},
};

/* "T.a, T.b" -> table and first column. */
static void place(const char *list, buf *table, buf *column) {
  const char *dot = strchr(list, '.');
  if (!dot) return;
  buf_append(table, list, (size_t)(dot - list));
  const char *end = strchr(dot, ',');
  buf_append(column, dot + 1, end ? (size_t)(end - dot - 1) : strlen(dot + 1));
}

static void columns_of(const char *list, buf *out) { /* "t.a, t.b" -> a_b */
  for (const char *p = list; *p;) {
    const char *dot = strchr(p, '.'), *end = strchr(p, ',');
    if (!dot) return;
    size_t n = end ? (size_t)(end - dot - 1) : strlen(dot + 1);
    buf_byte(out, '_');
    buf_append(out, dot + 1, n);
    if (!end) return;
    p = end + 1;
  }
}

static const char *constraint_error(status code, const char *m, buf *words, error_fields *f) {
  static _Thread_local char table[140], column[140], constraint[300];
  buf t = BUF_INIT, c = BUF_INIT, all = BUF_INIT;
  const char *list = strstr(m, "failed: "), *state = "23514";
  table[0] = column[0] = constraint[0] = 0;
  if (list) {
    place(list + 8, &t, &c);
    columns_of(list + 8, &all);
    snprintf(table, sizeof table, "%.*s", (int)t.n, t.p ? (const char *)t.p : "");
    snprintf(column, sizeof column, "%.*s", (int)c.n, c.p ? (const char *)c.p : "");
  }
  switch (code) {
  case HDB_CONSTRAINT_UNIQUE: case HDB_CONSTRAINT_PRIMARYKEY: case HDB_CONSTRAINT_ROWID:
    state = "23505";
    if (list && starts(list + 8, "index '")) snprintf(constraint, sizeof constraint, "%.*s", (int)strcspn(list + 15, "'"), list + 15);
    else if (code == HDB_CONSTRAINT_UNIQUE) snprintf(constraint, sizeof constraint, "%s%.*s_key", table, (int)all.n, all.p ? (const char *)all.p : "");
    else snprintf(constraint, sizeof constraint, "%s_pkey", table);
    buf_printf(words, "duplicate key value violates unique constraint \"%s\"", constraint);
    break;
  case HDB_CONSTRAINT_NOTNULL:
    state = "23502";
    buf_printf(words, "null value in column \"%s\" of relation \"%s\" violates not-null constraint", column, table);
    f->column = column;
    break;
  case HDB_CONSTRAINT_FOREIGNKEY:
    state = "23503";
    buf_text(words, "insert, update or delete violates foreign key constraint");
    break;
  case HDB_CONSTRAINT_CHECK:
    if (list) snprintf(constraint, sizeof constraint, "%s", list + 8);
    table[0] = 0;
    buf_printf(words, "new row violates check constraint \"%s\"", constraint);
    break;
  case HDB_CONSTRAINT_DATATYPE:
    state = "22P02";
    buf_text(words, m);
    break;
  default: buf_text(words, m);
  }
  if (table[0]) f->table = table, f->schema = "public";
  if (constraint[0]) f->constraint = constraint;
  buf_free(&t);
  buf_free(&c);
  buf_free(&all);
  return state;
}

/* The engine's English in PostgreSQL's, where clients look at it. */
static void reword(const char *m, buf *words) {
  const char *colon = strstr(m, ": ");
  if (starts(m, "no such table: ") || starts(m, "no such view: ")) {
    const char *name = colon + 2;
    if (starts(name, "main.")) name += 5;
    buf_printf(words, "relation \"%s\" does not exist", name);
  } else if (starts(m, "no such column: ")) {
    bool qualified = strchr(colon + 2, '.') != NULL;
    buf_printf(words, qualified ? "column %s does not exist" : "column \"%s\" does not exist", colon + 2);
  } else if (starts(m, "no such function: ")) {
    buf_printf(words, "function %s does not exist", colon + 2);
  } else if (starts(m, "no such index: ")) {
    buf_printf(words, "index \"%s\" does not exist", colon + 2);
  } else if (starts(m, "no such savepoint: ")) {
    buf_printf(words, "savepoint \"%s\" does not exist", colon + 2);
  } else if (starts(m, "near \"")) {
    const char *end = strrchr(m + 6, '"');
    buf_printf(words, "syntax error at or near \"%.*s\"", end > m + 6 ? (int)(end - m - 6) : 0, m + 6);
  } else if (starts(m, "incomplete input")) {
    buf_text(words, "syntax error at end of input");
  } else if (starts(m, "duplicate column name: ")) {
    buf_printf(words, "column \"%s\" specified more than once", colon + 2);
  } else if (starts(m, "ambiguous column name: ")) {
    buf_printf(words, "column reference \"%s\" is ambiguous", colon + 2);
  } else if (starts(m, "misuse of aggregate")) {
    buf_text(words, "aggregate functions are not allowed in WHERE");
  } else if ((starts(m, "table ") || starts(m, "view ") || starts(m, "index ")) && strstr(m, " already exists")) {
    const char *name = strchr(m, ' ') + 1;
    const char *end = strstr(name, " already exists");
    while (*name == '"' || *name == '\'' ) name++;
    size_t n = (size_t)(end - name);
    while (n && (name[n - 1] == '"' || name[n - 1] == '\'')) n--;
    buf_printf(words, "relation \"%.*s\" already exists", (int)n, name);
  } else if (starts(m, "attempt to write a readonly")) {
    buf_text(words, "cannot execute this statement in a read-only transaction");
  } else {
    buf_text(words, m);
  }
}

const char *sqlstate_of(status code, const char *m, buf *words, error_fields *f) {
  const char *state = NULL;
  if ((code & 0xff) == HDB_CONSTRAINT) return constraint_error(code, m, words, f);
  if (code == HDB_BUSY_SNAPSHOT) {
    buf_text(words, "could not serialize access due to concurrent update");
    return "40001";
  }
  switch (code & 0xff) {
  case HDB_INTERRUPT:
    buf_text(words, "canceling statement due to user request");
    return "57014";
  case HDB_BUSY: case HDB_LOCKED: state = "55P03"; break;
  case HDB_FULL: state = "53100"; break;
  case HDB_IOERR: case HDB_CANTOPEN: state = "58030"; break;
  case HDB_CORRUPT: case HDB_NOTADB: state = "XX001"; break;
  case HDB_NOMEM: state = "53200"; break;
  case HDB_READONLY: state = "25006"; break;
  case HDB_TOOBIG: state = starts(m, "value too long") ? "22001" : "54000"; break;
  case HDB_RANGE: state = starts(m, "date/time") ? "22008" : "22003"; break;
  case HDB_MISMATCH:
    state = starts(m, "date/time") ? "22008" : starts(m, "invalid input syntax for type date") || starts(m, "invalid input syntax for type time") || starts(m, "invalid input syntax for type interval") ? "22007" : "22P02";
    break;
  case HDB_FORMAT: state = "22P03"; break;
  case HDB_INTERNAL: state = "XX000"; break;
  default: break;
  }
  if ((starts(m, "table ") || starts(m, "view ") || starts(m, "index ")) && strstr(m, "already exists")) state = "42P07";
  if (starts(m, "column \"") && strstr(m, "does not exist") == NULL) state = strstr(m, "can only be updated to DEFAULT") ? "428C9" : "42701";
  if (!state && strstr(m, "already exists")) state = starts(m, "prepared") ? "42P05" : starts(m, "cursor") ? "42P03" : "42710";
  for (size_t i = 0; !state && i < sizeof by_words / sizeof *by_words; i++)
    if (starts(m, by_words[i].start)) state = by_words[i].sqlstate;
  if (!state && strstr(m, "has no column named")) state = "42703";
  if (!state && (strstr(m, " values for ") || strstr(m, "columns but"))) state = "42601";
  reword(m, words);
  return state ? state : "XX000";
}

void failure_clear(session *s) {
  free(s->failure.detail);
  free(s->failure.hint);
  free(s->failure.table);
  free(s->failure.column);
  free(s->failure.constraint);
  free(s->failure.context);
  s->failure = (struct failure){0};
}

static char *copy(const char *text) { return text ? strdup(text) : NULL; }

status session_fail(session *s, const char *sqlstate, const char *detail, const char *hint, const char *format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  failure_clear(s);
  snprintf(s->failure.sqlstate, sizeof s->failure.sqlstate, "%s", sqlstate);
  s->failure.detail = copy(detail);
  s->failure.hint = copy(hint);
  return error_set(&s->err, HDB_ERROR, "%s", text);
}

/* In PostgreSQL's words where the engine has them. */
static bool constraint_failed(session *s, int code) {
  violation_words v;
  if ((code & 0xff) != HDB_CONSTRAINT || !hdb_violation(s->db, code, &v)) return false;
  bool key = code == HDB_CONSTRAINT_FOREIGNKEY || code == HDB_CONSTRAINT_TRIGGER;
  const char *state = code == HDB_CONSTRAINT_NOTNULL ? "23502" : code == HDB_CONSTRAINT_CHECK ? "23514" : key ? "23503" : "23505";
  session_fail(s, state, v.detail, NULL, "%s", v.message);
  s->failure.table = copy(v.table);
  s->failure.column = copy(v.column);
  s->failure.constraint = copy(v.constraint);
  return true;
}

status engine_failed(session *s, int rc) {
  if (constraint_failed(s, hdb_extended_errcode(s->db))) return s->err.code = (status)hdb_extended_errcode(s->db);
  int extended = hdb_extended_errcode(s->db), offset = hdb_error_offset(s->db);
  if ((extended & 0xff) != (rc & 0xff)) extended = rc;
  error_set(&s->err, (status)extended, "%s", hdb_errmsg(s->db));
  s->err.offset = offset;
  return s->err.code;
}

/* Characters from 1 up to a byte offset. */
static int character_position(const char *sql, uint32_t offset) {
  int n = 1;
  for (uint32_t i = 0; i < offset && sql[i]; i++) n += ((unsigned char)sql[i] & 0xc0) != 0x80;
  return n;
}

/* Where the query's text first has the name as a word of its own; the engine does not say. */
static int name_position(const char *sql, const char *name) {
  if (starts(name, "main.")) name += 5;
  size_t n = strlen(name);
  for (const char *p = sql; n && (p = strcasestr(p, name)) != NULL; p++) {
    bool begins = p == sql || !(isalnum((unsigned char)p[-1]) || p[-1] == '_' || p[-1] == '\''), ends = !(isalnum((unsigned char)p[n]) || p[n] == '_');
    if (begins && ends) return (int)(p - sql) - (p > sql && p[-1] == '"');
  }
  return -1;
}

void report_error(session *s) {
  buf words = BUF_INIT;
  error_fields f = {.severity = "ERROR"};
  const char *m = s->err.message ? s->err.message : status_text(s->err.code);
  if (*s->failure.sqlstate) {
    buf_text(&words, m);
    f = (error_fields){.severity = "ERROR", .sqlstate = s->failure.sqlstate, .detail = s->failure.detail, .hint = s->failure.hint,
                       .schema = s->failure.table ? "public" : NULL, .table = s->failure.table, .column = s->failure.column, .constraint = s->failure.constraint};
  } else {
    if ((s->err.code & 0xff) == HDB_NOMEM && s->c->budget.exceeded) m = "out of memory: the statement needs more than the server's --memory-limit";
  f.sqlstate = sqlstate_of(s->err.code, m, &words, &f);
  }
  f.context = s->failure.context;
  if ((s->err.code & 0xff) == HDB_INTERRUPT) {
    if (atomic_load(&s->c->timed_out)) {
      buf_clear(&words);
      buf_text(&words, "canceling statement due to statement timeout");
    } else if (atomic_load(&s->server->stopping) || atomic_load(&s->c->terminated)) {
      f.severity = "FATAL";
      connection_end(s->c);
      buf_clear(&words);
      buf_text(&words, "terminating connection due to administrator command");
      f.sqlstate = "57P01";
    }
  }
  f.message = buf_cstr(&words);
  if (!f.message) f.message = "out of memory";
  const char *table = NULL, *key = NULL;
  char detail[400];
  if (s->err.code == HDB_BUSY_SNAPSHOT) {
    hdb_conflict(s->db, &table, &key);
    if (table) {
      snprintf(detail, sizeof detail, "Conflict on table \"%s\"%s%s.", table, key ? ", key " : "", key ? key : "");
      f.detail = detail;
    }
  }
  int named = s->err.offset < 0 && s->query && starts(m, "no such table: ") ? name_position(s->query, m + 15) : -1;
  if (named >= 0) {
    f.position = character_position(s->query, (uint32_t)named);
  } else if (s->err.offset >= 0 && s->query) {
    uint32_t at = s->current ? translation_position(s->current, (uint32_t)s->err.offset) : (uint32_t)s->err.offset;
    if (at <= strlen(s->query)) f.position = character_position(s->query, at);
  }
  buf message = BUF_INIT, details = BUF_INIT;
  f.message = encoding_words(s, f.message, &message);
  f.detail = encoding_words(s, f.detail, &details);
  proto_error(&s->out, &f);
  atomic_fetch_add(&s->server->errors_sent, 1);
  buf_free(&message);
  buf_free(&details);
  buf_free(&words);
  error_clear(&s->err);
  failure_clear(s);
  s->current = NULL;
}
