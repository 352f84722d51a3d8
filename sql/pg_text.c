/* What schema texts say beside their grammar, in comments between an object's name and the first bracket or word behind:
 *
 *   / *postgres;id bigint* /          made in the postgres dialect; the declared types of row id keys (pg.h, G1)
 *   / *comments;a=the%20key;=a table* /  COMMENT ON: by column, the empty name is the object itself; %xx where needed
 *
 * and their replacement by the server's ALTER TABLE, which edits the text (server/alter.c).
 * A text is replaced as a row of sqlite_schema inside of the transaction; the whole schema must load with it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "sql/ddl.h"
#include "sql/internal.h"
#include "sql/pg.h"
#include "sql/replay.h"

/* The comment that begins so, in the head of the text: at its '/', *end behind its '/'. */
static const char *head_comment(const char *sql, const char *begins, const char **end) {
  for (const char *p = sql; p && *p && *p != '(' && *p != '\''; p++) {
    if (*p == '"') {
      for (p++; *p && *p != '"'; p++) {
      }
      if (!*p) return NULL;
    } else if (p[0] == '/' && p[1] == '*') {
      const char *close = strstr(p + 2, "*/");
      if (!close) return NULL;
      if (strncmp(p + 2, begins, strlen(begins)) == 0) {
        *end = close + 2;
        return p;
      }
      p = close + 1;
    }
  }
  return NULL;
}

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

static void decode(const char *p, const char *end, buf *out) {
  for (; p < end; p++) {
    bool coded = *p == '%' && end - p > 2 && hex(p[1]) >= 0 && hex(p[2]) >= 0;
    buf_byte(out, coded ? (uint8_t)(hex(p[1]) << 4 | hex(p[2])) : (uint8_t)*p);
    if (coded) p += 2;
  }
}

static void encode(const char *p, buf *out) {
  for (; *p; p++) {
    if (strchr("%;=*/\"'()", *p) || (unsigned char)*p < 32) buf_printf(out, "%%%02x", (unsigned char)*p);
    else buf_byte(out, (uint8_t)*p);
  }
}

/* Each entry name=text of the comment at [at, end). */
typedef struct entry {
  const char *name, *name_end, *text, *text_end;
} entry;
static bool next_entry(const char **at, const char *end, entry *e) {
  if (*at >= end || **at != ';') return false;
  e->name = ++*at;
  while (*at < end && **at != '=' && **at != ';') ++*at;
  e->name_end = *at;
  if (*at < end && **at == '=') ++*at;
  e->text = *at;
  while (*at < end && **at != ';') ++*at;
  e->text_end = *at;
  return true;
}

static bool named(const entry *e, const char *name) {
  buf b = BUF_INIT;
  decode(e->name, e->name_end, &b);
  bool same = b.n == strlen(name) && (b.n == 0 || strncasecmp((const char *)b.p, name, b.n) == 0);
  buf_free(&b);
  return same;
}

const char *pg_comment_get(arena *memory, const char *sql, const char *column) {
  const char *end, *at = head_comment(sql, "comments", &end);
  entry e;
  if (!at) return NULL;
  at += strlen("/*comments");
  while (next_entry(&at, end - 2, &e)) {
    if (!named(&e, column)) continue;
    buf b = BUF_INIT;
    decode(e.text, e.text_end, &b);
    const char *text = arena_strndup(memory, b.p ? (const char *)b.p : "", b.n);
    buf_free(&b);
    return text;
  }
  return NULL;
}

/* Where a comment of ours may go: behind the name, before its list or AS. */
static const char *head_end(const char *sql) {
  const char *p = sql;
  int words = 0;
  for (; *p && *p != '('; p++) {
    if (*p == '"') {
      for (p++; *p && *p != '"'; p++) {
      }
    } else if (p[0] == '/' && p[1] == '*') {
      const char *close = strstr(p, "*/");
      if (!close) break;
      p = close + 1;
    } else if (p > sql && p[-1] == ' ' && words > 1 && (strncasecmp(p, "as ", 3) == 0 || strncasecmp(p, "on ", 3) == 0)) {
      break;
    } else if (*p == ' ') {
      words++;
    }
  }
  return p;
}

bool pg_comment_put(const char *sql, const char *column, const char *text, buf *out) {
  const char *end = NULL, *at = head_comment(sql, "comments", &end), *place = at ? at : head_end(sql), *rest = at ? end : place;
  buf list = BUF_INIT;
  if (at) {
    const char *p = at + strlen("/*comments");
    for (entry e; next_entry(&p, end - 2, &e);)
      if (!named(&e, column)) buf_byte(&list, ';'), buf_append(&list, e.name, (size_t)(e.text_end - e.name));
  }
  if (text) {
    buf_byte(&list, ';');
    encode(column, &list);
    buf_byte(&list, '=');
    encode(text, &list);
  }
  buf_append(out, sql, (size_t)(place - sql));
  if (!at && out->n && out->p[out->n - 1] != ' ') buf_byte(out, ' ');
  if (list.n) {
    buf_text(out, "/*comments");
    buf_append(out, list.p, list.n);
    buf_text(out, at ? "*/" : "*/ ");
  }
  buf_text(out, rest);
  bool ok = !list.failed && buf_cstr(out);
  buf_free(&list);
  return ok;
}

bool pg_override_put(const char *sql, const char *column, const char *type, buf *out) {
  const char *end, *at = head_comment(sql, "postgres", &end);
  size_t n = strlen(column);
  if (!at) return false;
  const char *p = at + strlen("/*postgres");
  buf_append(out, sql, (size_t)(p - sql));
  while (p < end - 2 && *p == ';') {
    const char *next = p + 1;
    while (next < end - 2 && *next != ';') next++;
    if (!((size_t)(next - p) > n + 1 && strncasecmp(p + 1, column, n) == 0 && p[n + 1] == ' ')) buf_append(out, p, (size_t)(next - p));
    p = next;
  }
  if (type) buf_printf(out, ";%s %s", column, type);
  buf_text(out, end - 2);
  return buf_cstr(out) != NULL;
}

/* ---- texts of the schema ---- */

typedef struct finding {
  const char *name;
  arena *memory;
  schema_object found;
} finding;

static status find_object(void *context, const schema_object *o) {
  finding *f = context;
  if (f->found.sql || !o->sql || !o->name || strcasecmp(o->name, f->name) != 0) return HDB_OK;
  f->found = *o;
  f->found.type = arena_strdup(f->memory, o->type);
  f->found.name = arena_strdup(f->memory, o->name);
  f->found.tbl_name = o->tbl_name ? arena_strdup(f->memory, o->tbl_name) : NULL;
  f->found.sql = arena_strdup(f->memory, o->sql);
  return f->memory->failed ? HDB_NOMEM : HDB_OK;
}

static status find_text(hdb *db, int number, const char *name, arena *memory, schema_object *out) {
  finding f = {.name = name, .memory = memory};
  TRY(database_begin(db, number));
  TRY(schema_each(db, number, find_object, &f));
  *out = f.found;
  return HDB_OK;
}

int hdb_schema_text(hdb *db, const char *schema_name, const char *name, arena *memory, const char **type, const char **sql) {
  hdb_lock(db);
  status rc = HDB_OK;
  schema_object o = {0};
  *type = *sql = NULL;
  for (int number = DB_TEMP; number >= 0 && rc == HDB_OK && !o.sql; number--) {
    if (schema_name && strcasecmp(schema_name, db->databases[number].name) != 0) continue;
    if (!db->databases[number].engine) continue;
    rc = find_text(db, number, name, memory, &o);
    if (o.sql) *type = o.type, *sql = o.sql;
  }
  transaction_release(db);
  rc = hdb_result(db, rc);
  hdb_unlock(db);
  return rc;
}

int hdb_schema_text_set(hdb *db, const char *schema_name, const char *name, const char *sql) {
  arena memory = {0};
  hdb_lock(db);
  status rc = HDB_OK;
  if (db->autocommit) rc = error_set(&db->err, HDB_MISUSE, "a schema text is replaced in a transaction");
  if (rc == HDB_OK && db->pragmas.query_only) rc = error_set(&db->err, HDB_READONLY, "attempt to write a readonly database");
  for (int number = DB_TEMP; number >= 0 && rc == HDB_OK; number--) {
    schema_object o = {0};
    if (schema_name && strcasecmp(schema_name, db->databases[number].name) != 0) continue;
    if (!db->databases[number].engine) continue;
    rc = find_text(db, number, name, &memory, &o);
    if (rc != HDB_OK || !o.sql) continue;
    o.sql = sql;
    statement_mark mark;
    statement_save(db, 1ull << number, &mark);
    replay_refuse(db);
    rc = schema_update(db, number, &o);
    if (rc == HDB_OK) rc = schema_reload(db, number);
    if (rc != HDB_OK) statement_undo(db, &mark);
    break;
  }
  rc = hdb_result(db, rc);
  hdb_unlock(db);
  arena_clear(&memory);
  return rc;
}

bool hdb_last_serial(hdb *db, const char *table_name, int64_t *rowid) {
  enum { SERIALS = sizeof db->serials / sizeof *db->serials };
  hdb_lock(db);
  int database;
  const table *t = table_name ? catalog_table(db, NULL, table_name, &database) : NULL;
  bool found = table_name ? t != NULL : db->serials[db->serial_at].tree != 0;
  int k = db->serial_at;
  if (t)
    for (k = 0; k < SERIALS && db->serials[k].tree != t->tree; k++) {
    }
  found = found && k < SERIALS;
  if (found) *rowid = db->serials[k].rowid;
  hdb_unlock(db);
  return found;
}

void hdb_set_zone(hdb *db, const pg_zone *zone) {
  hdb_lock(db);
  if (db->pragmas.zone != zone) db->generation++; /* statements are compiled for a zone */
  db->pragmas.zone = zone;
  hdb_unlock(db);
}

bool hdb_deferred_violations(hdb *db) {
  hdb_lock(db);
  bool some = db->deferred_violations > 0;
  hdb_unlock(db);
  return some;
}

void hdb_confine(hdb *db) {
  hdb_lock(db);
  db->confined = true;
  hdb_unlock(db);
}

void hdb_set_expression_depth(hdb *db, int depth) {
  hdb_lock(db);
  db->limits[HDB_LIMIT_EXPR_DEPTH] = depth;
  hdb_unlock(db);
}
