/* Statements that are the session's own: transactions, settings, prepared statements and cursors of SQL text. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/session.h"

/* ---- settings ---- */

static const struct known_setting {
  const char *name, *value; /* the name as it is reported; value NULL: computed */
  char kind;                /* 's' text, 'b' boolean, 't' time in ms, 'r' read only */
  bool reported;
} known_settings[] = {
    {"application_name", "", 's', true}, {"client_encoding", "UTF8", 's', true}, {"DateStyle", "ISO, MDY", 's', true},
    {"default_transaction_read_only", "off", 'b', true}, {"in_hot_standby", "off", 'r', true},
    {"integer_datetimes", "on", 'r', true}, {"IntervalStyle", "postgres", 's', true}, {"is_superuser", "on", 'r', true},
    {"server_encoding", "UTF8", 'r', true}, {"server_version", "15.8 (HeliosDB Nano)", 'r', true},
    {"server_version_num", "150008", 'r', false}, {"session_authorization", NULL, 'r', true},
    {"standard_conforming_strings", "on", 'b', true}, {"TimeZone", "UTC", 's', true},
    {"statement_timeout", "0", 't', false}, {"lock_timeout", "0", 't', false},
    {"idle_in_transaction_session_timeout", "0", 't', false}, {"idle_session_timeout", "0", 't', false},
    {"client_min_messages", "notice", 's', false}, {"search_path", "\"$user\", public", 's', false},
    {"extra_float_digits", "1", 's', false}, {"bytea_output", "hex", 's', false}, {"escape_string_warning", "on", 'b', false},
    {"default_transaction_isolation", "read committed", 's', false}, {"transaction_isolation", "read committed", 's', false},
    {"transaction_read_only", "off", 'b', false}, {"default_transaction_deferrable", "off", 'b', false},
    {"max_identifier_length", "63", 'r', false}, {"block_size", "8192", 'r', false}, {"lc_collate", "C", 'r', false},
    {"lc_ctype", "C", 'r', false}, {"lc_messages", "C", 's', false}, {"lc_monetary", "C", 's', false}, {"synchronous_commit", "on", 's', false},
    {"row_security", "on", 'b', false}, {"check_function_bodies", "on", 'b', false}, {"xmloption", "content", 's', false},
    {"default_table_access_method", "heap", 's', false}, {"default_tablespace", "", 's', false}, {"work_mem", "4MB", 's', false},
    {"max_connections", "1000", 'r', false}, {"ssl", "off", 'r', false}, {"jit", "off", 'b', false}, {"geqo", "on", 'b', false},
    {"enable_seqscan", "on", 'b', false}, {"max_parallel_workers_per_gather", "0", 's', false}, {"wal_level", "replica", 'r', false},
    {"heliosdb.dialect", "postgres", 's', false},
};
enum { KNOWN = sizeof known_settings / sizeof *known_settings };

static const struct known_setting *known(const char *name) {
  for (int i = 0; i < KNOWN; i++)
    if (strcasecmp(known_settings[i].name, name) == 0) return &known_settings[i];
  return NULL;
}

static setting *find_setting(session *s, const char *name) {
  for (setting *x = s->settings; x; x = x->next)
    if (strcasecmp(x->name, name) == 0) return x;
  return NULL;
}

const char *setting_get(session *s, const char *name) {
  setting *x = find_setting(s, name);
  if (x) return x->value;
  const struct known_setting *k = known(name);
  if (k && !k->value) return s->user;
  return k ? k->value : NULL;
}

void settings_start(session *s) {
  if (s->server->statement_timeout_ms > 0) {
    char text[20];
    snprintf(text, sizeof text, "%d", s->server->statement_timeout_ms);
    setting_set(s, "statement_timeout", text, false);
  }
  setting *x = find_setting(s, "statement_timeout");
  if (x) x->changed = false;
}

static void setting_free(setting *x) {
  free(x->name);
  free(x->value);
  free(x->before);
  free(x);
}

void settings_free(session *s) {
  while (s->settings) {
    setting *x = s->settings;
    s->settings = x->next;
    setting_free(x);
  }
}

static void report(session *s, const char *name, const char *value) {
  const struct known_setting *k = known(name);
  if (k && k->reported && s->state >= STATE_READY) proto_parameter_status(&s->out, k->name, value);
}

/* 300, '300', '5s', '2min' in milliseconds; false: no time. */
static bool milliseconds(const char *text, long *out) {
  char *end;
  double v = strtod(text, &end);
  while (*end == ' ') end++;
  if (end == text) return false;
  double unit = *end == 0 || strcmp(end, "ms") == 0 ? 1 : strcmp(end, "s") == 0 ? 1000 : strcmp(end, "min") == 0 ? 60000 : strcmp(end, "h") == 0 ? 3600000 : 0;
  *out = (long)(v * unit);
  return unit > 0;
}

static status canonical_setting(session *s, const struct known_setting *k, const char *value, char *out, size_t size) {
  snprintf(out, size, "%s", value);
  if (!k) return HDB_OK;
  if (k->kind == 'r') return error_set(&s->err, HDB_ERROR, "cannot change parameter \"%s\": invalid value for parameter", k->name);
  if (k->kind == 'b') {
    static const char *const yes[] = {"on", "true", "yes", "1", "t"}, *const no[] = {"off", "false", "no", "0", "f"};
    for (int i = 0; i < 5; i++) {
      if (strcasecmp(value, yes[i]) == 0) return snprintf(out, size, "on"), HDB_OK;
      if (strcasecmp(value, no[i]) == 0) return snprintf(out, size, "off"), HDB_OK;
    }
    return error_set(&s->err, HDB_ERROR, "invalid value for parameter \"%s\": \"%s\"", k->name, value);
  }
  long ms;
  if (k->kind == 't') {
    if (!milliseconds(value, &ms) || ms < 0) return error_set(&s->err, HDB_ERROR, "invalid value for parameter \"%s\": \"%s\"", k->name, value);
    snprintf(out, size, "%ld", ms);
  }
  if (strcmp(k->name, "client_encoding") == 0) {
    static const char *const fine[] = {"utf8", "utf-8", "unicode", "sql_ascii"};
    const char *plain = value;
    while (*plain == '\'' || *plain == '"') plain++;
    for (int i = 0; i < 4; i++)
      if (strncasecmp(plain, fine[i], strlen(fine[i])) == 0) return snprintf(out, size, i == 3 ? "SQL_ASCII" : "UTF8"), HDB_OK;
    return error_set(&s->err, HDB_ERROR, "not supported yet: client_encoding %s", value);
  }
  if (strcmp(k->name, "TimeZone") == 0) {
    static const char *const fine[] = {"utc", "gmt", "etc/utc", "default", "local", "uct", "zulu", "0", "+00:00", "+00"};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
      if (strcasecmp(value, fine[i]) == 0) return snprintf(out, size, "%s", i == 1 ? "GMT" : i == 2 ? "Etc/UTC" : "UTC"), HDB_OK;
    return error_set(&s->err, HDB_ERROR, "not supported yet: a TimeZone other than UTC (%s)", value);
  }
  if (strcmp(k->name, "DateStyle") == 0) {
    if (strncasecmp(value, "iso", 3) != 0) return error_set(&s->err, HDB_ERROR, "not supported yet: DateStyle %s", value);
    snprintf(out, size, strchr(value, ',') ? "ISO, %s" : "ISO, MDY", strchr(value, ',') ? strchr(value, ',') + 1 + strspn(strchr(value, ',') + 1, " ") : "");
    for (char *p = out + 5; *p; p++) *p = (char)toupper((unsigned char)*p);
  }
  return HDB_OK;
}

status setting_set(session *s, const char *name, const char *value, bool local) {
  char text[1024];
  const struct known_setting *k = known(name);
  if (!k && !strchr(name, '.')) return error_set(&s->err, HDB_ERROR, "unrecognized configuration parameter \"%s\"", name);
  TRY(canonical_setting(s, k, value, text, sizeof text));
  const char *before = setting_get(s, name);
  setting *x = find_setting(s, name);
  char *copy = strdup(text), *old = before ? strdup(before) : NULL;
  if (!x && copy) {
    x = calloc(1, sizeof *x);
    if (x) {
      x->name = strdup(k ? k->name : name);
      x->next = s->settings;
      s->settings = x;
    }
  }
  if (!x || !copy) {
    free(copy);
    free(old);
    return error_set(&s->err, HDB_NOMEM, "out of memory");
  }
  if (!x->before && !x->changed) x->before = old;
  else free(old);
  x->changed = true;
  x->local = local;
  free(x->value);
  x->value = copy;
  if (!before || strcmp(before, copy) != 0) report(s, name, copy);
  if (s->block == BLOCK_NONE && !s->implicit) {
    free(x->before);
    x->before = NULL;
    x->changed = x->local = false;
  }
  return HDB_OK;
}

void settings_transaction_end(session *s, bool commit) {
  for (setting *x = s->settings; x; x = x->next) {
    if (x->changed && (!commit || x->local) && x->before) {
      if (strcmp(x->before, x->value) != 0) report(s, x->name, x->before);
      free(x->value);
      x->value = x->before;
      x->before = NULL;
    }
    free(x->before);
    x->before = NULL;
    x->changed = x->local = false;
  }
}

static status setting_reset(session *s, const char *name) {
  const struct known_setting *k = known(name);
  setting *x = find_setting(s, name);
  if (!k && !x) return error_set(&s->err, HDB_ERROR, "unrecognized configuration parameter \"%s\"", name);
  if (!x) return HDB_OK;
  return setting_set(s, name, k && k->value ? k->value : "", false);
}

/* ---- SET, SHOW, RESET ---- */

static bool word(const translation *t, int at, const char *text) { return at < t->tokens_n && token_word(&t->tokens[at], text); }

static status apply_isolation(session *s, const translation *t, int at, bool transaction) {
  for (int i = at; i < t->tokens_n; i++) {
    if (word(t, i, "isolation") && word(t, i + 1, "level")) {
      const char *level = word(t, i + 2, "serializable") ? "serializable" : word(t, i + 2, "repeatable") ? "repeatable read" : word(t, i + 3, "uncommitted") ? "read uncommitted" : "read committed";
      TRY(setting_set(s, transaction ? "transaction_isolation" : "default_transaction_isolation", level, transaction));
    }
    if (word(t, i, "read") && (word(t, i + 1, "only") || word(t, i + 1, "write"))) {
      bool only = word(t, i + 1, "only");
      TRY(setting_set(s, transaction ? "transaction_read_only" : "default_transaction_read_only", only ? "on" : "off", transaction));
      if (transaction && only != s->read_only) {
        TRY(run_text(s, only ? "PRAGMA query_only=1" : "PRAGMA query_only=0"));
        s->read_only = only;
      }
    }
  }
  return HDB_OK;
}

static void value_text_of(const translation *t, int from, buf *out) {
  for (int i = from; i < t->tokens_n; i++) {
    const pg_token *k = &t->tokens[i];
    if (i > from && !(k->kind == PT_PUNCT && *k->text == ',')) buf_byte(out, k->kind != PT_PUNCT && t->tokens[i - 1].kind == PT_OPERATOR ? 0 : ' ');
    if (out->n && out->p[out->n - 1] == 0) out->n--;
    buf_append(out, k->text, k->text_n ? k->text_n : strlen(k->text));
  }
}

static status run_set(session *s, const translation *t) {
  int i = 1;
  bool local = word(t, i, "local");
  if (local || word(t, i, "session")) i++;
  if (word(t, i, "transaction")) return apply_isolation(s, t, i, true);
  if (word(t, i, "characteristics")) return apply_isolation(s, t, i, false);
  if (word(t, i, "constraints")) return HDB_OK;
  if (word(t, i, "role") || word(t, i, "authorization")) {
    if (word(t, i + 1, "none") || word(t, i + 1, "default")) return HDB_OK;
    return error_set(&s->err, HDB_ERROR, "not supported yet: SET ROLE");
  }
  buf name = BUF_INIT, value = BUF_INIT;
  if (word(t, i, "time") && word(t, i + 1, "zone")) {
    buf_text(&name, "TimeZone");
    i += 2;
  } else if (word(t, i, "names")) {
    buf_text(&name, "client_encoding");
    i++;
  } else {
    for (; i < t->tokens_n; i++) {
      const pg_token *k = &t->tokens[i];
      if (token_word(k, "to") || (k->kind == PT_OPERATOR && strcmp(k->text, "=") == 0)) break;
      buf_text(&name, k->text);
    }
    i++;
  }
  value_text_of(t, i, &value);
  status rc;
  if (i > t->tokens_n || (i == t->tokens_n)) rc = error_set(&s->err, HDB_ERROR, "syntax error at end of input");
  else if (word(t, i, "default") && t->tokens_n == i + 1) rc = setting_reset(s, buf_cstr(&name));
  else rc = setting_set(s, buf_cstr(&name), buf_cstr(&value), local);
  if (rc == HDB_OK && strcasecmp((char *)name.p, "heliosdb.dialect") == 0) {
    bool sqlite = strcasecmp((char *)value.p, "sqlite") == 0;
    rc = run_text(s, sqlite ? "PRAGMA heliosdb_dialect=sqlite" : "PRAGMA heliosdb_dialect=postgres");
  }
  if (rc == HDB_OK && strcasecmp((char *)name.p, "transaction_read_only") == 0) s->read_only = false;
  buf_free(&name);
  buf_free(&value);
  return rc;
}

static const char *show_name(const translation *t, char *out, size_t size) {
  if (word(t, 1, "transaction") && word(t, 2, "isolation")) return "transaction_isolation";
  if (word(t, 1, "time") && word(t, 2, "zone")) return "TimeZone";
  if (word(t, 1, "session") && word(t, 2, "authorization")) return "session_authorization";
  size_t n = 0;
  *out = 0;
  for (int i = 1; i < t->tokens_n; i++) n += (size_t)snprintf(out + (n < size ? n : size - 1), n < size ? size - n : 1, "%s", t->tokens[i].text);
  const struct known_setting *k = known(out);
  return k ? k->name : out;
}

static void text_row(session *s, int n, const char *const *values) {
  size_t start = message_begin(&s->out, 'D');
  put_u16(&s->out, (uint16_t)n);
  for (int i = 0; i < n; i++) {
    if (!values[i]) {
      buf_be32(&s->out, UINT32_MAX);
      continue;
    }
    buf_be32(&s->out, (uint32_t)strlen(values[i]));
    buf_append(&s->out, values[i], strlen(values[i]));
  }
  message_end(&s->out, start);
}

static status run_show(session *s, const translation *t) {
  char name[200];
  if (word(t, 1, "all")) {
    for (int i = 0; i < KNOWN; i++) {
      const char *row[3] = {known_settings[i].name, setting_get(s, known_settings[i].name), ""};
      text_row(s, 3, row);
    }
    proto_command_complete(&s->out, "SHOW");
    return HDB_OK;
  }
  const char *asked = show_name(t, name, sizeof name), *value = setting_get(s, asked);
  if (!value) return error_set(&s->err, HDB_ERROR, "unrecognized configuration parameter \"%s\"", asked);
  char text[64];
  const struct known_setting *k = known(asked);
  if (k && k->kind == 't' && strcmp(value, "0") != 0) {
    long ms = atol(value);
    if (ms % 60000 == 0) snprintf(text, sizeof text, "%ldmin", ms / 60000);
    else if (ms % 1000 == 0) snprintf(text, sizeof text, "%lds", ms / 1000);
    else snprintf(text, sizeof text, "%ldms", ms);
    value = text;
  }
  text_row(s, 1, &value);
  proto_command_complete(&s->out, "SHOW");
  return HDB_OK;
}

/* ---- transactions ---- */

static status quoted(session *s, const char *verb, const char *name) {
  buf sql = BUF_INIT;
  buf_printf(&sql, "%s \"", verb);
  for (const char *p = name; *p; p++) {
    if (*p == '"') buf_byte(&sql, '"');
    buf_byte(&sql, (uint8_t)*p);
  }
  buf_byte(&sql, '"');
  status rc = buf_cstr(&sql) ? run_text(s, (const char *)sql.p) : error_set(&s->err, HDB_NOMEM, "out of memory");
  buf_free(&sql);
  return rc;
}

static status run_begin_statement(session *s, const translation *t) {
  if (s->block == BLOCK_OPEN) {
    session_notice(s, "WARNING", "25001", "there is already a transaction in progress");
    return apply_isolation(s, t, 1, true);
  }
  if (s->implicit) {
    s->implicit = false;
    s->block = BLOCK_OPEN;
  } else {
    TRY(transaction_begin(s, false));
  }
  const char *level = setting_get(s, "default_transaction_isolation"), *only = setting_get(s, "default_transaction_read_only");
  if (level) TRY(setting_set(s, "transaction_isolation", level, true));
  if (only && strcmp(only, "on") == 0) {
    TRY(run_text(s, "PRAGMA query_only=1"));
    s->read_only = true;
    TRY(setting_set(s, "transaction_read_only", "on", true));
  }
  return apply_isolation(s, t, 1, true);
}

static bool chains(const translation *t) {
  for (int i = 1; i < t->tokens_n; i++)
    if (word(t, i, "chain") && !word(t, i - 1, "no")) return true;
  return false;
}

static status run_end_statement(session *s, const translation *t) {
  bool commit = t->class == CLASS_COMMIT && s->block != BLOCK_FAILED, chain = chains(t);
  if (s->block == BLOCK_NONE) session_notice(s, "WARNING", "25P01", "there is no transaction in progress");
  bool failed = s->block == BLOCK_FAILED;
  TRY(transaction_end(s, commit));
  proto_command_complete(&s->out, failed || t->class == CLASS_ROLLBACK ? "ROLLBACK" : "COMMIT");
  return chain ? transaction_begin(s, false) : HDB_OK;
}

static status run_savepoint(session *s, const translation *t) {
  int at = t->tokens_n - 1;
  if (at < 1) return error_set(&s->err, HDB_ERROR, "syntax error at end of input");
  const char *name = t->tokens[at].text;
  const char *kind = t->class == CLASS_SAVEPOINT ? "SAVEPOINT" : t->class == CLASS_RELEASE ? "RELEASE SAVEPOINT" : "ROLLBACK TO SAVEPOINT";
  if (s->block == BLOCK_NONE) return error_set(&s->err, HDB_ERROR, "%s can only be used in transaction blocks", kind);
  TRY(quoted(s, t->class == CLASS_SAVEPOINT ? "SAVEPOINT" : t->class == CLASS_RELEASE ? "RELEASE" : "ROLLBACK TO", name));
  if (t->class == CLASS_ROLLBACK_TO) s->block = BLOCK_OPEN;
  return HDB_OK;
}

/* ---- PREPARE, EXECUTE, DEALLOCATE ---- */

static int close_of(const translation *t, int open) {
  int depth = 0;
  for (int i = open; i < t->tokens_n; i++) {
    if (t->tokens[i].kind != PT_PUNCT) continue;
    if (t->tokens[i].text[0] == '(') depth++;
    if (t->tokens[i].text[0] == ')' && --depth == 0) return i;
  }
  return t->tokens_n;
}

static bool punct(const translation *t, int at, char c) {
  return at < t->tokens_n && t->tokens[at].kind == PT_PUNCT && t->tokens[at].text[0] == c;
}

static char *text_from(const translation *t, const char *sql, int at) {
  if (at >= t->tokens_n) return NULL;
  const pg_token *first = &t->tokens[at], *last = &t->tokens[t->tokens_n - 1];
  return strndup(sql + first->at, last->at + last->n - first->at);
}

static status run_prepare(session *s, const translation *t, const char *sql) {
  uint32_t types[200];
  int n = 0, i = 2;
  if (t->tokens_n < 4) return error_set(&s->err, HDB_ERROR, "syntax error at end of input");
  const char *name = t->tokens[1].text;
  if (find_prepared(s, name)) return error_set(&s->err, HDB_ERROR, "prepared statement \"%s\" already exists", name);
  if (punct(t, i, '(')) {
    int close = close_of(t, i);
    buf one = BUF_INIT;
    for (int k = i + 1; k <= close && k < t->tokens_n; k++) {
      if (!punct(t, k, ',') && k != close) {
        if (one.n) buf_byte(&one, ' ');
        buf_text(&one, t->tokens[k].text);
        continue;
      }
      int32_t modifier;
      const pg_type *type = one.n && buf_cstr(&one) ? pg_type_by_name((char *)one.p, &modifier) : NULL;
      if (!type) {
        error_set(&s->err, HDB_ERROR, "type \"%s\" does not exist", one.p ? (char *)one.p : "");
        buf_free(&one);
        return HDB_ERROR;
      }
      if (n < 200) types[n++] = type->oid == PG_UNKNOWN ? 0 : type->oid;
      buf_clear(&one);
    }
    buf_free(&one);
    i = close + 1;
  }
  if (!word(t, i, "as")) return error_set(&s->err, HDB_ERROR, "syntax error at or near \"%s\"", i < t->tokens_n ? t->tokens[i].text : "");
  char *text = text_from(t, sql, i + 1);
  prepared *p;
  status rc = text ? prepare_statement(s, name, text, slice_of(NULL, 0), types, n, &p) : error_set(&s->err, HDB_ERROR, "syntax error at end of input");
  free(text);
  if (rc == HDB_OK) p->by_sql = true;
  return rc;
}

/* The value of an expression given to EXECUTE. */
static status evaluate(session *s, const translation *t, const char *sql, int from, int to, arena *memory, uint32_t type, value *out) {
  char *text;
  TRY(translate_range(slice_str(sql), t->tokens, from, to, memory, &text, &s->err));
  const char *query = arena_printf(memory, "SELECT %s", text), *tail;
  hdb_stmt *one;
  int rc = query ? hdb_prepare(s->db, query, -1, 0, &one, &tail) : HDB_NOMEM;
  if (rc != HDB_OK) return engine_failed(s, rc);
  rc = hdb_step(one);
  *out = value_null();
  if (rc == HDB_ROW) {
    int64_t i = 0, n = 0;
    double r = 0;
    const char *p = NULL;
    switch (hdb_column_raw(one, 0, &i, &r, &p, &n)) {
    case HDB_INTEGER: *out = value_int(i); break;
    case HDB_FLOAT: *out = value_real(r); break;
    case HDB_TEXT: *out = value_text(arena_strndup(memory, p ? p : "", (size_t)n), (size_t)n); break;
    case HDB_BLOB: *out = value_blob(arena_copy(memory, p, (size_t)n), (size_t)n); break;
    default: break;
    }
    rc = HDB_OK;
  }
  status failed = rc != HDB_OK ? engine_failed(s, rc) : HDB_OK;
  hdb_finalize(one);
  TRY(failed);
  return pg_convert(type, -1, false, out, memory, &s->err);
}

static status run_execute(session *s, const translation *t, const char *sql) {
  prepared *p = t->tokens_n > 1 ? find_prepared(s, t->tokens[1].text) : NULL;
  if (!p) return error_set(&s->err, HDB_ERROR, "prepared statement \"%s\" does not exist", t->tokens_n > 1 ? t->tokens[1].text : "");
  portal *o;
  if (p->t.class != CLASS_SQL) return utility_run(s, &p->t, p->sql);
  TRY(portal_new(s, "\x01" "execute", p, &o));
  value values[200];
  int n = 0;
  status rc = HDB_OK;
  if (punct(t, 2, '(')) {
    int close = close_of(t, 2), depth = 0, from = 3;
    for (int i = 3; i <= close && i < t->tokens_n && rc == HDB_OK; i++) {
      if (punct(t, i, '(')) depth++;
      if (punct(t, i, ')') && i != close) depth--;
      if ((depth == 0 && punct(t, i, ',')) || i == close) {
        if (n < 200 && i > from) rc = evaluate(s, t, sql, from, i, &o->memory, n < p->d.parameters_n ? p->d.parameters[n] : PG_TEXT, &values[n]), n++;
        from = i + 1;
      }
    }
  }
  if (rc == HDB_OK && n != p->d.parameters_n)
    rc = error_set(&s->err, HDB_ERROR, "syntax error: wrong number of parameters for prepared statement \"%s\"", p->name);
  bool suspended;
  if (rc == HDB_OK) rc = bind_values(s, o, values, n);
  if (rc == HDB_OK && p->d.columns_n && !s->extended) put_row_description(s, &p->d, NULL);
  if (rc == HDB_OK) rc = portal_run(s, o, 0, &suspended, true);
  if (rc == HDB_OK) put_tag(s, &p->t, o->rows);
  portal_drop(s, o);
  return rc;
}

static status run_deallocate(session *s, const translation *t) {
  int i = word(t, 1, "prepare") ? 2 : 1;
  if (word(t, i, "all")) {
    for (prepared *p = s->statements, *next; p; p = next) {
      next = p->next;
      if (p->name) prepared_drop(s, p);
    }
    proto_command_complete(&s->out, "DEALLOCATE ALL");
    return HDB_OK;
  }
  prepared *p = i < t->tokens_n ? find_prepared(s, t->tokens[i].text) : NULL;
  if (!p) return error_set(&s->err, HDB_ERROR, "prepared statement \"%s\" does not exist", i < t->tokens_n ? t->tokens[i].text : "");
  prepared_drop(s, p);
  proto_command_complete(&s->out, "DEALLOCATE");
  return HDB_OK;
}

/* ---- cursors ---- */

status portal_materialize(session *s, portal *o);

static status run_declare(session *s, const translation *t, const char *sql) {
  int i = 2;
  bool scroll = false, hold = false;
  const char *name = t->tokens_n > 1 ? t->tokens[1].text : "";
  for (; i < t->tokens_n && !word(t, i, "for"); i++) {
    if (word(t, i, "scroll")) scroll = !word(t, i - 1, "no");
    if (word(t, i, "hold")) hold = !word(t, i - 1, "without");
  }
  if (s->block == BLOCK_NONE && !hold && !s->implicit)
    return error_set(&s->err, HDB_ERROR, "DECLARE CURSOR can only be used in transaction blocks");
  portal *old = find_portal(s, name), *o;
  if (old) return error_set(&s->err, HDB_ERROR, "cursor \"%s\" already exists", name);
  char *text = text_from(t, sql, i + 1);
  if (!text) return error_set(&s->err, HDB_ERROR, "syntax error at end of input");
  prepared *p;
  status rc = prepare_statement(s, NULL, text, slice_of(NULL, 0), NULL, 0, &p);
  free(text);
  TRY(rc);
  rc = portal_new(s, name, p, &o);
  if (rc != HDB_OK) return rc;
  o->is_cursor = true;
  o->scroll = scroll;
  o->hold = hold;
  if (p->d.columns_n == 0) rc = error_set(&s->err, HDB_ERROR, "syntax error: a cursor needs a query");
  if (rc == HDB_OK && (scroll || hold)) rc = portal_materialize(s, o);
  if (rc != HDB_OK) portal_drop(s, o);
  return rc;
}

typedef struct fetch_plan {
  enum { FETCH_FORWARD, FETCH_BACKWARD, FETCH_ABSOLUTE, FETCH_RELATIVE } how;
  int64_t count; /* INT64_MAX: all */
  const char *cursor;
} fetch_plan;

static bool take_count(const translation *t, int *at, int64_t *out) {
  int i = *at;
  bool negative = i < t->tokens_n && t->tokens[i].kind == PT_OPERATOR && *t->tokens[i].text == '-';
  if (negative) i++;
  if (word(t, i, "all")) {
    *out = INT64_MAX;
    *at = i + 1;
    return true;
  }
  if (i >= t->tokens_n || t->tokens[i].kind != PT_NUMBER) return false;
  *out = strtoll(t->tokens[i].text, NULL, 10) * (negative ? -1 : 1);
  *at = i + 1;
  return true;
}

static void parse_fetch(const translation *t, fetch_plan *f) {
  int i = 1;
  *f = (fetch_plan){.how = FETCH_FORWARD, .count = 1, .cursor = ""};
  if (word(t, i, "next")) i++;
  else if (word(t, i, "prior")) f->how = FETCH_BACKWARD, i++;
  else if (word(t, i, "first")) f->how = FETCH_ABSOLUTE, i++;
  else if (word(t, i, "last")) f->how = FETCH_ABSOLUTE, f->count = -1, i++;
  else if (word(t, i, "absolute")) f->how = FETCH_ABSOLUTE, i++, take_count(t, &i, &f->count);
  else if (word(t, i, "relative")) f->how = FETCH_RELATIVE, i++, take_count(t, &i, &f->count);
  else if (word(t, i, "backward")) f->how = FETCH_BACKWARD, i++, take_count(t, &i, &f->count);
  else {
    if (word(t, i, "forward")) i++;
    take_count(t, &i, &f->count);
  }
  if (word(t, i, "from") || word(t, i, "in")) i++;
  if (i < t->tokens_n) f->cursor = t->tokens[i].text;
  if (f->count < 0 && f->how == FETCH_FORWARD) f->how = FETCH_BACKWARD, f->count = -f->count;
  else if (f->count < 0 && f->how == FETCH_BACKWARD) f->how = FETCH_FORWARD, f->count = -f->count;
}

/* position: 0 before the first row, n on row n, kept_n + 1 behind the last. */
static int64_t kept_fetch(session *s, portal *o, const fetch_plan *f, bool send) {
  int64_t last = o->kept_n + 1, n = 0;
  if (f->how == FETCH_ABSOLUTE || f->how == FETCH_RELATIVE) {
    int64_t to = f->how == FETCH_RELATIVE ? o->position + f->count : f->count < 0 ? last + f->count : f->count;
    o->position = to < 0 ? 0 : to > last ? last : to;
    bool on_row = o->position >= 1 && o->position < last;
    if (on_row && send) goto one;
    return on_row;
  one:
    buf_append(&s->out, o->kept.p + o->row_starts[o->position - 1], (o->position == o->kept_n ? o->kept.n : o->row_starts[o->position]) - o->row_starts[o->position - 1]);
    return 1;
  }
  while (n < f->count) {
    if (f->how == FETCH_FORWARD ? o->position >= last - 1 : o->position <= 1) {
      o->position = f->how == FETCH_FORWARD ? last : 0;
      break;
    }
    o->position += f->how == FETCH_FORWARD ? 1 : -1;
    n++;
    int64_t k = o->position;
    if (send) buf_append(&s->out, o->kept.p + o->row_starts[k - 1], (k == o->kept_n ? o->kept.n : o->row_starts[k]) - o->row_starts[k - 1]);
    session_maybe_send(s);
  }
  return n;
}

static status run_fetch(session *s, const translation *t) {
  fetch_plan f;
  parse_fetch(t, &f);
  portal *o = find_portal(s, f.cursor);
  bool send = t->class == CLASS_FETCH;
  if (!o) return error_set(&s->err, HDB_ERROR, "cursor \"%s\" does not exist", f.cursor);
  if (!o->materialized && (f.how != FETCH_FORWARD || f.count == 0)) {
    if (o->started || (f.how == FETCH_BACKWARD)) {
      if (f.how == FETCH_RELATIVE && f.count > 0) f.how = FETCH_FORWARD;
      else return error_set(&s->err, HDB_ERROR, "cursor can only scan forward");
    } else {
      TRY(portal_materialize(s, o));
    }
  }
  if (send && !s->extended) put_row_description(s, &o->source->d, o->formats);
  int64_t n = 0;
  if (o->materialized) {
    n = kept_fetch(s, o, &f, send);
  } else {
    bool suspended;
    int64_t before = o->rows;
    TRY(portal_run(s, o, f.count == INT64_MAX ? 0 : f.count, &suspended, send));
    n = o->rows - before;
  }
  char tag[60];
  snprintf(tag, sizeof tag, "%s %lld", send ? "FETCH" : "MOVE", (long long)n);
  proto_command_complete(&s->out, tag);
  return HDB_OK;
}

static status run_close(session *s, const translation *t) {
  if (word(t, 1, "all")) {
    for (portal *o = s->portals, *next; o; o = next) {
      next = o->next;
      if (o->is_cursor) portal_drop(s, o);
    }
    return HDB_OK;
  }
  portal *o = t->tokens_n > 1 ? find_portal(s, t->tokens[1].text) : NULL;
  if (!o) return error_set(&s->err, HDB_ERROR, "cursor \"%s\" does not exist", t->tokens_n > 1 ? t->tokens[1].text : "");
  portal_drop(s, o);
  return HDB_OK;
}

/* ---- others ---- */

static status run_discard(session *s, const translation *t) {
  if (s->block != BLOCK_NONE && word(t, 1, "all")) return error_set(&s->err, HDB_ERROR, "DISCARD ALL cannot run inside a transaction block");
  if (word(t, 1, "all")) {
    portals_drop_all(s, false);
    for (prepared *p = s->statements, *next; p; p = next) {
      next = p->next;
      prepared_drop(s, p);
    }
    for (setting *x = s->settings; x; x = x->next)
      if (strcmp(x->name, "heliosdb.dialect") != 0) TRY(setting_reset(s, x->name));
  }
  char tag[40];
  snprintf(tag, sizeof tag, "DISCARD %s", word(t, 1, "all") ? "ALL" : word(t, 1, "plans") ? "PLANS" : word(t, 1, "temp") ? "TEMP" : "SEQUENCES");
  proto_command_complete(&s->out, tag);
  return HDB_OK;
}

static status run_explain(session *s, const translation *t, const char *sql) {
  int i = 1;
  bool analyze = false;
  if (punct(t, i, '(')) {
    int close = close_of(t, i);
    for (int k = i; k < close; k++) analyze = analyze || word(t, k, "analyze");
    i = close + 1;
  }
  for (; word(t, i, "analyze") || word(t, i, "verbose"); i++) analyze = analyze || word(t, i, "analyze");
  if (word(t, i, "query") && word(t, i + 1, "plan")) i += 2;
  if (analyze) return error_set(&s->err, HDB_ERROR, "not supported yet: EXPLAIN ANALYZE");
  translation inner;
  TRY(translate(slice_str(sql), t->tokens + i, t->tokens_n - i, &s->query_memory, &inner, &s->err));
  if (inner.class != CLASS_SQL || inner.texts_n != 1) return error_set(&s->err, HDB_ERROR, "not supported yet: EXPLAIN of this statement");
  const char *query = arena_printf(&s->query_memory, "EXPLAIN QUERY PLAN %s", inner.texts[0]), *tail;
  hdb_stmt *x;
  int rc = query ? hdb_prepare(s->db, query, -1, 0, &x, &tail) : HDB_NOMEM;
  if (rc != HDB_OK) return engine_failed(s, rc);
  int64_t n = 0;
  while ((rc = hdb_step(x)) == HDB_ROW) {
    const char *line = hdb_column_text(x, 3);
    text_row(s, 1, &line);
    n++;
  }
  status failed = rc == HDB_DONE ? HDB_OK : engine_failed(s, rc);
  hdb_finalize(x);
  if (failed == HDB_OK) proto_command_complete(&s->out, "EXPLAIN");
  return failed;
}

static void text_columns(arena *memory, description *d, int n, const char *const *labels) {
  d->columns = arena_zero(memory, (size_t)n * sizeof *d->columns);
  d->columns_n = d->columns ? n : 0;
  for (int i = 0; i < d->columns_n; i++)
    d->columns[i] = (described_column){.label = arena_strdup(memory, labels[i]), .type = PG_TEXT, .modifier = -1};
}

bool utility_describe(session *s, const translation *t, arena *memory, description *d) {
  char name[200];
  *d = (description){0};
  switch (t->class) {
  case CLASS_SHOW: {
    const char *all[3] = {"name", "setting", "description"}, *one = show_name(t, name, sizeof name);
    if (word(t, 1, "all")) text_columns(memory, d, 3, all);
    else text_columns(memory, d, 1, &one);
    return true;
  }
  case CLASS_EXPLAIN: {
    const char *one = "QUERY PLAN";
    text_columns(memory, d, 1, &one);
    return true;
  }
  case CLASS_FETCH: {
    fetch_plan f;
    parse_fetch(t, &f);
    portal *o = find_portal(s, f.cursor);
    if (o) *d = o->source->d, d->parameters_n = 0;
    return o != NULL;
  }
  case CLASS_EXECUTE: {
    prepared *p = t->tokens_n > 1 ? find_prepared(s, t->tokens[1].text) : NULL;
    if (p) *d = p->d, d->parameters_n = 0;
    return p != NULL;
  }
  default: return false;
  }
}

status utility_run(session *s, const translation *t, const char *sql) {
  status rc;
  if (!s->extended && (t->class == CLASS_SHOW || t->class == CLASS_EXPLAIN)) {
    description d;
    utility_describe(s, t, &s->query_memory, &d);
    put_row_description(s, &d, NULL);
  }
  switch (t->class) {
  case CLASS_COMMIT: case CLASS_ROLLBACK: return run_end_statement(s, t);
  case CLASS_SHOW: return run_show(s, t);
  case CLASS_EXECUTE: return run_execute(s, t, sql);
  case CLASS_DEALLOCATE: return run_deallocate(s, t);
  case CLASS_FETCH: case CLASS_MOVE: return run_fetch(s, t);
  case CLASS_DISCARD: return run_discard(s, t);
  case CLASS_EXPLAIN: return run_explain(s, t, sql);
  case CLASS_COPY: return copy_start(s, t, sql);
  case CLASS_BEGIN: rc = run_begin_statement(s, t); break;
  case CLASS_SAVEPOINT: case CLASS_RELEASE: case CLASS_ROLLBACK_TO: rc = run_savepoint(s, t); break;
  case CLASS_SET: rc = run_set(s, t); break;
  case CLASS_RESET:
    rc = HDB_OK;
    if (word(t, 1, "all")) {
      for (setting *x = s->settings; x && rc == HDB_OK; x = x->next)
        if (known(x->name) && known(x->name)->kind != 'r' && strcmp(x->name, "heliosdb.dialect") != 0) rc = setting_reset(s, x->name);
    } else if (t->tokens_n > 1) {
      char name[200];
      rc = setting_reset(s, show_name(t, name, sizeof name));
    }
    break;
  case CLASS_PREPARE: rc = run_prepare(s, t, sql); break;
  case CLASS_DECLARE: rc = run_declare(s, t, sql); break;
  case CLASS_CLOSE: rc = run_close(s, t); break;
  case CLASS_NOTHING:
    if (strcmp(t->tag, "VACUUM") == 0 && s->block != BLOCK_NONE) return error_set(&s->err, HDB_ERROR, "VACUUM cannot run inside a transaction block");
    rc = HDB_OK;
    break;
  case CLASS_LISTEN: return error_set(&s->err, HDB_ERROR, "not supported yet: LISTEN");
  case CLASS_NOTIFY: return error_set(&s->err, HDB_ERROR, "not supported yet: NOTIFY");
  case CLASS_UNLISTEN: rc = HDB_OK; break;
  case CLASS_ROLE: return error_set(&s->err, HDB_ERROR, "not supported yet: roles");
  case CLASS_COMMENT: return error_set(&s->err, HDB_ERROR, "not supported yet: COMMENT ON");
  case CLASS_ADD_CONSTRAINT: return error_set(&s->err, HDB_ERROR, "not supported yet: ALTER TABLE ADD CONSTRAINT");
  default: rc = error_set(&s->err, HDB_INTERNAL, "unknown kind of statement");
  }
  if (rc == HDB_OK) proto_command_complete(&s->out, t->tag);
  return rc;
}
