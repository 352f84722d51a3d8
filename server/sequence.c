/* Sequences. One is a table of one row with a mark behind its name, which pg_class shows as a sequence:
 *
 *   CREATE TABLE s / *postgres sequence 1 1 9223372036854775807 1 0 bigint* / (last_value, log_cnt, is_called)
 *                                     increment min max start cycle type
 *
 * nextval and setval are not undone by ROLLBACK: they run on a connection of the server's own, whose commits need no
 * fsync (a commit that uses a value is behind it in the same log). A sequence that this connection cannot see or not
 * write now (made in the transaction at work, another branch, somebody's turn) is advanced in the session's transaction.
 * The key of a SERIAL PRIMARY KEY is the engine's AUTOINCREMENT; its sequence TABLE_COLUMN_seq is its row of
 * sqlite_sequence, currval the key of this session's last insert.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/session.h"

typedef struct definition {
  char name[128];
  int64_t increment, least, most, start;
  bool cycle;
  char type[32];
} definition;

/* ---- names ---- */

static void plain_name(const char *given, char *out, size_t size) {
  if (strncasecmp(given, "public.", 7) == 0) given += 7;
  bool quoted = *given == '"';
  if (quoted) given++;
  snprintf(out, size, "%s", given);
  size_t n = strlen(out);
  if (quoted && n && out[n - 1] == '"') out[n - 1] = 0;
  for (char *p = out; *p && !quoted; p++)
    if (*p >= 'A' && *p <= 'Z') *p = (char)(*p + 32);
}

static bool read_definition(hdb *db, const char *name, definition *d) {
  arena memory = {0};
  const char *type, *sql;
  bool found = hdb_schema_text(db, NULL, name, &memory, &type, &sql) == HDB_OK && sql;
  const char *mark = found ? strstr(sql, "/*postgres sequence ") : NULL;
  int cycle = 0;
  long long n[4];
  found = mark && sscanf(mark, "/*postgres sequence %lld %lld %lld %lld %d %31[a-z ]", &n[0], &n[1], &n[2], &n[3], &cycle, d->type) == 6;
  if (found) {
    snprintf(d->name, sizeof d->name, "%s", name);
    d->increment = n[0], d->least = n[1], d->most = n[2], d->start = n[3], d->cycle = cycle != 0;
  }
  arena_clear(&memory);
  return found;
}

/* The table of a SERIAL key whose sequence is called so. */
static bool serial_table(hdb *db, const char *sequence, char *table, size_t size) {
  hdb_stmt *q;
  const char *tail;
  bool found = false;
  if (hdb_prepare(db, "SELECT t.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table' AND c.pk = 1 AND t.sql LIKE '%AUTOINCREMENT%' "
                      "AND lower(t.name || '_' || c.name || '_seq') = ?1", -1, 0, &q, &tail) != HDB_OK) return false;
  hdb_bind_text(q, 1, sequence, -1, HDB_TRANSIENT);
  if (hdb_step(q) == HDB_ROW) {
    const char *name = hdb_column_text(q, 0);
    snprintf(table, size, "%s", name ? name : "");
    found = true;
  }
  hdb_finalize(q);
  return found;
}

/* ---- values ---- */

static sequence_value *value_of(session *s, const char *name, bool make) {
  for (sequence_value *v = s->sequence_values; v; v = v->next)
    if (strcmp(v->name, name) == 0) return v;
  sequence_value *v = make ? calloc(1, sizeof *v) : NULL;
  if (!v) return NULL;
  snprintf(v->name, sizeof v->name, "%s", name);
  v->next = s->sequence_values;
  return s->sequence_values = v;
}

static void keep_value(session *s, const char *name, int64_t value) {
  sequence_value *v = value_of(s, name, true);
  if (v) v->value = value;
  s->last_sequence = v;
}

/* HDB_ROW: *out is the first column. */
static int one_value(hdb *db, const char *sql, int64_t *out) {
  hdb_stmt *q;
  const char *tail;
  int rc = sql ? hdb_prepare(db, sql, -1, 0, &q, &tail) : HDB_NOMEM;
  if (rc != HDB_OK) return rc;
  rc = hdb_step(q);
  if (rc == HDB_ROW) {
    *out = hdb_column_int64(q, 0);
    while ((rc = hdb_step(q)) == HDB_ROW) {
    }
    if (rc == HDB_DONE) rc = HDB_ROW;
  }
  hdb_finalize(q);
  return rc;
}

/* The server's connection for sequences, locked; NULL: not for this session. */
static hdb *own_connection(session *s) {
  server *v = s->server;
  if (strcmp(hdb_branch(s->db), "main") != 0) return NULL;
  pthread_mutex_lock(&v->sequences_mutex);
  if (!v->sequences) {
    hdb_settings settings = {.retention = NAN, .mirror = -1, .encryption_key = v->has_key ? v->key : NULL, .passphrase = v->passphrase};
    if (hdb_open_with(v->database, &v->sequences, HDB_OPEN_READWRITE, &settings) != HDB_OK) {
      hdb_close_v2(v->sequences);
      v->sequences = NULL;
      pthread_mutex_unlock(&v->sequences_mutex);
      return NULL;
    }
    hdb_busy_timeout(v->sequences, 100);
    hdb_exec(v->sequences, "PRAGMA heliosdb_dialect=postgres; PRAGMA synchronous=NORMAL", NULL, NULL, NULL);
  }
  return v->sequences;
}

/* On the server's connection when it can, else on the session's. */
static int outside(session *s, const char *sql, int64_t *out) {
  hdb *own = own_connection(s);
  int rc = HDB_ERROR;
  if (own) {
    rc = one_value(own, sql, out);
    pthread_mutex_unlock(&s->server->sequences_mutex);
  }
  if (rc == HDB_ROW || rc == HDB_DONE) return rc;
  return one_value(s->db, sql, out);
}

static bool is_seen_outside(session *s, const char *name) {
  definition d;
  hdb *own = own_connection(s);
  if (!own) return false;
  bool seen = read_definition(own, name, &d);
  pthread_mutex_unlock(&s->server->sequences_mutex);
  return seen;
}

static int advance(session *s, const char *sql, int64_t *out, bool outside_too) { return outside_too ? outside(s, sql, out) : one_value(s->db, sql, out); }

static const char *next_value(session *s, const definition *d, int64_t *out, char *why, size_t size) {
  buf sql = BUF_INIT;
  bool seen = is_seen_outside(s, d->name);
  buf_text(&sql, "UPDATE ");
  buf_quoted_name(&sql, d->name);
  buf_printf(&sql, " SET last_value = CASE WHEN is_called THEN last_value + %lld ELSE last_value END, is_called = true WHERE NOT is_called OR (last_value %s %lld) RETURNING last_value",
             (long long)d->increment, d->increment > 0 ? "<=" : ">=", (long long)(d->increment > 0 ? d->most - d->increment : d->least - d->increment));
  int rc = buf_cstr(&sql) ? advance(s, (const char *)sql.p, out, seen) : HDB_NOMEM;
  if (rc == HDB_DONE && d->cycle) {
    buf_clear(&sql);
    buf_text(&sql, "UPDATE ");
    buf_quoted_name(&sql, d->name);
    buf_printf(&sql, " SET last_value = %lld, is_called = true RETURNING last_value", (long long)(d->increment > 0 ? d->least : d->most));
    rc = buf_cstr(&sql) ? advance(s, (const char *)sql.p, out, seen) : HDB_NOMEM;
  }
  buf_free(&sql);
  if (rc == HDB_ROW) return NULL;
  if (rc == HDB_DONE)
    snprintf(why, size, "nextval: reached %s value of sequence \"%s\" (%lld)", d->increment > 0 ? "maximum" : "minimum", d->name, (long long)(d->increment > 0 ? d->most : d->least));
  else snprintf(why, size, "%s", hdb_errmsg(s->db));
  return why;
}

static const char *next_serial(session *s, const char *table, int64_t *out, char *why, size_t size) {
  arena memory = {0};
  const char *sql = arena_printf(&memory, "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = '%s' RETURNING seq", sql_escaped(&memory, table));
  int rc = outside(s, sql, out);
  if (rc == HDB_DONE) rc = outside(s, arena_printf(&memory, "INSERT INTO sqlite_sequence(name, seq) VALUES('%s', 1) RETURNING seq", sql_escaped(&memory, table)), out);
  arena_clear(&memory);
  if (rc == HDB_ROW) return NULL;
  snprintf(why, size, "%s", hdb_errmsg(s->db));
  return why;
}

/* ---- the functions ---- */

static bool sequence_name(session *s, hdb_value *v, char *out, size_t size) {
  if (hdb_value_type(v) == HDB_NULL) return false;
  if (hdb_value_type(v) == HDB_INTEGER) {
    buf b = BUF_INIT;
    bool found = pg_reg_text(s->db, PG_REGCLASS, hdb_value_int64(v), &b) && buf_cstr(&b);
    snprintf(out, size, "%s", found ? (const char *)b.p : "");
    buf_free(&b);
    return true;
  }
  plain_name(hdb_value_text(v), out, size);
  return true;
}

static void no_such(hdb_context *c, const char *name) {
  char why[200];
  snprintf(why, sizeof why, "relation \"%.120s\" does not exist", name);
  hdb_result_error(c, why, -1);
}

static void f_nextval(hdb_context *c, int n, hdb_value **a) {
  session *s = hdb_user_data(c);
  char name[128], table[128], words[300];
  definition d;
  int64_t value = 0;
  const char *why;
  if (!sequence_name(s, a[0], name, sizeof name)) return hdb_result_null(c);
  if (read_definition(s->db, name, &d)) why = next_value(s, &d, &value, words, sizeof words);
  else if (serial_table(s->db, name, table, sizeof table)) why = next_serial(s, table, &value, words, sizeof words);
  else return no_such(c, name);
  if (why) return hdb_result_error(c, why, -1);
  keep_value(s, name, value);
  hdb_result_int64(c, value);
}

static void f_currval(hdb_context *c, int n, hdb_value **a) {
  session *s = hdb_user_data(c);
  char name[128], table[128], why[200];
  definition d;
  int64_t value;
  if (!sequence_name(s, a[0], name, sizeof name)) return hdb_result_null(c);
  sequence_value *v = value_of(s, name, false);
  bool serial = serial_table(s->db, name, table, sizeof table);
  if (serial && hdb_last_serial(s->db, table, &value)) return hdb_result_int64(c, value);
  if (v) return hdb_result_int64(c, v->value);
  if (!serial && !read_definition(s->db, name, &d)) return no_such(c, name);
  snprintf(why, sizeof why, "currval of sequence \"%.120s\" is not yet defined in this session", name);
  hdb_result_error(c, why, -1);
}

static void f_lastval(hdb_context *c, int n, hdb_value **a) {
  session *s = hdb_user_data(c);
  int64_t value;
  if (hdb_last_serial(s->db, NULL, &value)) return hdb_result_int64(c, value);
  if (s->last_sequence) return hdb_result_int64(c, s->last_sequence->value);
  hdb_result_error(c, "lastval is not yet defined in this session", -1);
}

static void f_setval(hdb_context *c, int n, hdb_value **a) {
  session *s = hdb_user_data(c);
  char name[128], table[128], why[300];
  definition d;
  int64_t value = hdb_value_int64(a[1]), ignored;
  bool called = n < 3 || hdb_value_int64(a[2]) != 0;
  if (!sequence_name(s, a[0], name, sizeof name) || hdb_value_type(a[1]) == HDB_NULL) return hdb_result_null(c);
  arena memory = {0};
  int rc;
  if (read_definition(s->db, name, &d)) {
    if (value < d.least || value > d.most) {
      snprintf(why, sizeof why, "setval: value %lld is out of bounds for sequence \"%s\" (%lld..%lld)", (long long)value, name, (long long)d.least, (long long)d.most);
      return hdb_result_error(c, why, -1);
    }
    buf sql = BUF_INIT;
    buf_text(&sql, "UPDATE ");
    buf_quoted_name(&sql, name);
    buf_printf(&sql, " SET last_value = %lld, is_called = %s RETURNING last_value", (long long)value, called ? "true" : "false");
    rc = buf_cstr(&sql) ? advance(s, (const char *)sql.p, &ignored, is_seen_outside(s, name)) : HDB_NOMEM;
    buf_free(&sql);
  } else if (serial_table(s->db, name, table, sizeof table)) {
    int64_t seq = called ? value : value - 1;
    rc = outside(s, arena_printf(&memory, "UPDATE sqlite_sequence SET seq = %lld WHERE name = '%s' RETURNING seq", (long long)seq, sql_escaped(&memory, table)), &ignored);
    if (rc == HDB_DONE) rc = outside(s, arena_printf(&memory, "INSERT INTO sqlite_sequence(name, seq) VALUES('%s', %lld) RETURNING seq", sql_escaped(&memory, table), (long long)seq), &ignored);
  } else {
    arena_clear(&memory);
    return no_such(c, name);
  }
  arena_clear(&memory);
  if (rc != HDB_ROW) return hdb_result_error(c, hdb_errmsg(s->db), -1);
  if (called) keep_value(s, name, value);
  hdb_result_int64(c, value);
}

void sequence_functions(session *s) {
  hdb_create_function(s->db, "nextval", 1, 0, s, f_nextval, NULL, NULL, NULL);
  hdb_create_function(s->db, "currval", 1, 0, s, f_currval, NULL, NULL, NULL);
  hdb_create_function(s->db, "lastval", 0, 0, s, f_lastval, NULL, NULL, NULL);
  hdb_create_function(s->db, "setval", 2, 0, s, f_setval, NULL, NULL, NULL);
  hdb_create_function(s->db, "setval", 3, 0, s, f_setval, NULL, NULL, NULL);
}

void sequences_free(session *s) {
  while (s->sequence_values) {
    sequence_value *v = s->sequence_values;
    s->sequence_values = v->next;
    free(v);
  }
}

/* ---- ALTER, DROP SEQUENCE ---- */

static bool word(const translation *t, int at, const char *text) { return at < t->tokens_n && token_word(&t->tokens[at], text); }

static status drop_one(session *s, const translation *t, const char *name) {
  definition d;
  char table[128], notice[200];
  if (read_definition(s->db, name, &d)) {
    buf sql = BUF_INIT;
    buf_text(&sql, "DROP TABLE ");
    buf_quoted_name(&sql, name);
    status rc = buf_cstr(&sql) ? run_text(s, (const char *)sql.p) : error_set(&s->err, HDB_NOMEM, "out of memory");
    buf_free(&sql);
    return rc;
  }
  if (serial_table(s->db, name, table, sizeof table))
    return session_fail(s, "2BP01", NULL, "Use DROP ... CASCADE to drop the dependent objects too.", "cannot drop sequence %s because other objects depend on it", name);
  if (!t->if_not_exists) return session_fail(s, "42P01", NULL, NULL, "sequence \"%s\" does not exist", name);
  snprintf(notice, sizeof notice, "sequence \"%.120s\" does not exist, skipping", name);
  session_notice(s, "NOTICE", "00000", notice);
  return HDB_OK;
}

static status drop(session *s, const translation *t) {
  bool own = hdb_get_autocommit(s->db);
  status rc = own ? run_text(s, "BEGIN") : HDB_OK;
  for (int i = 0; i < t->names_n && rc == HDB_OK; i++) rc = drop_one(s, t, t->names[i]);
  if (own && rc == HDB_OK) rc = run_text(s, "COMMIT");
  if (own && rc != HDB_OK && !hdb_get_autocommit(s->db)) hdb_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
  return rc;
}

/* The text's mark with the new definition. */
static status define(session *s, const definition *d) {
  arena memory = {0};
  const char *type, *sql, *mark, *end;
  status rc = HDB_OK;
  int found = hdb_schema_text(s->db, NULL, d->name, &memory, &type, &sql);
  if (found == HDB_OK && sql && (mark = strstr(sql, "/*postgres sequence ")) && (end = strstr(mark, "*/"))) {
    const char *text = arena_printf(&memory, "%.*s/*postgres sequence %lld %lld %lld %lld %d %s%s", (int)(mark - sql), sql, (long long)d->increment, (long long)d->least,
                                    (long long)d->most, (long long)d->start, d->cycle, d->type, end);
    bool own = hdb_get_autocommit(s->db);
    if (own) rc = run_text(s, "BEGIN");
    if (rc == HDB_OK && hdb_schema_text_set(s->db, NULL, d->name, text) != HDB_OK) rc = engine_failed(s, hdb_errcode(s->db));
    if (own && rc == HDB_OK) rc = run_text(s, "COMMIT");
    if (own && rc != HDB_OK) hdb_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
  }
  arena_clear(&memory);
  return rc;
}

static status alter(session *s, const translation *t) {
  definition d;
  sequence_options o = t->sequence;
  if (!read_definition(s->db, t->object, &d)) {
    char table[128];
    if (serial_table(s->db, t->object, table, sizeof table) && o.only_owner) return HDB_OK;
    return t->if_not_exists ? HDB_OK : session_fail(s, "42P01", NULL, NULL, "relation \"%s\" does not exist", t->object);
  }
  if (o.restart) {
    buf sql = BUF_INIT;
    int64_t ignored;
    buf_text(&sql, "UPDATE ");
    buf_quoted_name(&sql, t->object);
    buf_printf(&sql, " SET last_value = %lld, is_called = false RETURNING 1", (long long)(o.restart_given ? o.restart_with : d.start));
    int rc = buf_cstr(&sql) ? one_value(s->db, (const char *)sql.p, &ignored) : HDB_NOMEM;
    buf_free(&sql);
    if (rc != HDB_ROW) return engine_failed(s, rc);
  }
  if (o.increment_given) d.increment = o.increment;
  if (o.least_given) d.least = o.least;
  if (o.most_given) d.most = o.most;
  if (o.start_given) d.start = o.start;
  if (o.cycle_given) d.cycle = o.cycle;
  return define(s, &d);
}

status sequence_run(session *s, const translation *t) { return word(t, 0, "drop") ? drop(s, t) : alter(s, t); }
