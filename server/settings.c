/* Settings: what there is, SET, SHOW, RESET, and what a setting does.
 *
 * A setting that would change an answer and is not done is refused with 0A000, never stored and ignored; those that only
 * steer PostgreSQL's planner or storage are stored and shown. A change inside a transaction that is rolled back, and SET
 * LOCAL at its end, go back to the value before, and so does what hangs on it (setting_apply).
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/session.h"

/* ---- settings ---- */

static const struct known_setting {
  const char *name, *value; /* the name as it is reported; value NULL: computed */
  char kind;                /* 's' text, 'b' boolean, 't' time in ms, 'i' integer, 'r' read only, 'e' one of the words in `about` */
  bool reported;
  const char *about;
} known_settings[] = {
    {"application_name", "", 's', true, "Sets the application name to be reported in statistics and logs."},
    {"block_size", "8192", 'r', false, "Shows the size of a disk block."},
    {"bytea_output", "hex", 'e', false, "hex"},
    {"check_function_bodies", "on", 'b', false, "Checks routine bodies during CREATE FUNCTION and CREATE PROCEDURE."},
    {"client_encoding", "UTF8", 's', true, "Sets the client's character set encoding."},
    {"client_min_messages", "notice", 'e', false, "debug5 debug4 debug3 debug2 debug1 log notice warning error"},
    {"constraint_exclusion", "partition", 's', false, "Enables the planner to use constraints to optimize queries."},
    {"cpu_tuple_cost", "0.01", 's', false, "Sets the planner's estimate of the cost of processing each tuple (row)."},
    {"DateStyle", "ISO, MDY", 's', true, "Sets the display format for date and time values."},
    {"default_table_access_method", "heap", 'e', false, "heap"},
    {"default_tablespace", "", 's', false, "Sets the default tablespace to create tables and indexes in."},
    {"default_text_search_config", "pg_catalog.simple", 's', false, "Sets default text search configuration."},
    {"default_toast_compression", "pglz", 's', false, "Sets the default compression method for compressible values."},
    {"default_transaction_deferrable", "off", 'b', false, "Sets the default deferrable status of new transactions."},
    {"default_transaction_isolation", "read committed", 'e', false, "serializable|repeatable read|read committed|read uncommitted"},
    {"default_transaction_read_only", "off", 'b', true, "Sets the default read-only status of new transactions."},
    {"effective_cache_size", "4GB", 's', false, "Sets the planner's assumption about the total size of the data caches."},
    {"enable_bitmapscan", "on", 'b', false, "Enables the planner's use of bitmap-scan plans."},
    {"enable_hashjoin", "on", 'b', false, "Enables the planner's use of hash join plans."},
    {"enable_indexonlyscan", "on", 'b', false, "Enables the planner's use of index-only-scan plans."},
    {"enable_indexscan", "on", 'b', false, "Enables the planner's use of index-scan plans."},
    {"enable_mergejoin", "on", 'b', false, "Enables the planner's use of merge join plans."},
    {"enable_nestloop", "on", 'b', false, "Enables the planner's use of nested-loop join plans."},
    {"enable_seqscan", "on", 'b', false, "Enables the planner's use of sequential-scan plans."},
    {"enable_sort", "on", 'b', false, "Enables the planner's use of explicit sort steps."},
    {"escape_string_warning", "on", 'b', false, "Warn about backslash escapes in ordinary string literals."},
    {"extra_float_digits", "1", 'i', false, "Sets the number of digits displayed for floating-point values."},
    {"from_collapse_limit", "8", 's', false, "Sets the FROM-list size beyond which subqueries are not collapsed."},
    {"geqo", "on", 'b', false, "Enables genetic query optimization."},
    {"heliosdb.dialect", "postgres", 'e', false, "postgres sqlite"},
    {"idle_in_transaction_session_timeout", "0", 't', false, "Sets the maximum allowed idle time between queries, when in a transaction."},
    {"idle_session_timeout", "0", 't', false, "Sets the maximum allowed idle time between queries, when not in a transaction."},
    {"in_hot_standby", "off", 'r', true, "Shows whether hot standby is currently active."},
    {"integer_datetimes", "on", 'r', true, "Shows whether datetimes are integer based."},
    {"IntervalStyle", "postgres", 'e', true, "postgres"},
    {"is_superuser", "on", 'r', true, "Shows whether the current user is a superuser."},
    {"jit", "off", 'b', false, "Allow JIT compilation."},
    {"join_collapse_limit", "8", 's', false, "Sets the FROM-list size beyond which JOIN constructs are not flattened."},
    {"lc_collate", "C.UTF-8", 'r', false, "Shows the collation order locale."},
    {"lc_ctype", "C.UTF-8", 'r', false, "Shows the character classification and case conversion locale."},
    {"lc_messages", "C.UTF-8", 's', false, "Sets the language in which messages are displayed."},
    {"lc_monetary", "C.UTF-8", 's', false, "Sets the locale for formatting monetary amounts."},
    {"lc_numeric", "C.UTF-8", 's', false, "Sets the locale for formatting numbers."},
    {"lc_time", "C.UTF-8", 's', false, "Sets the locale for formatting date and time values."},
    {"lock_timeout", "0", 't', false, "Sets the maximum allowed duration of any wait for a lock."},
    {"maintenance_work_mem", "64MB", 's', false, "Sets the maximum memory to be used for maintenance operations."},
    {"max_connections", NULL, 'r', false, "Sets the maximum number of concurrent connections."},
    {"max_identifier_length", "63", 'r', false, "Shows the maximum identifier length."},
    {"max_index_keys", "32", 'r', false, "Shows the maximum number of index keys."},
    {"max_parallel_workers_per_gather", "0", 's', false, "Sets the maximum number of parallel processes per executor node."},
    {"password_encryption", NULL, 'r', false, "Chooses the algorithm for encrypting passwords."},
    {"plan_cache_mode", "auto", 's', false, "Controls the planner's selection of custom or generic plan."},
    {"quote_all_identifiers", "off", 'e', false, "off"},
    {"random_page_cost", "4", 's', false, "Sets the planner's estimate of the cost of a nonsequentially fetched disk page."},
    {"row_security", "on", 'b', false, "Enable row security."},
    {"search_path", "\"$user\", public", 's', false, "Sets the schema search order for names that are not schema-qualified."},
    {"seq_page_cost", "1", 's', false, "Sets the planner's estimate of the cost of a sequentially fetched disk page."},
    {"server_encoding", "UTF8", 'r', true, "Shows the server (database) character set encoding."},
    {"server_version", "15.8 (HeliosDB Nano)", 'r', true, "Shows the server version."},
    {"server_version_num", "150008", 'r', false, "Shows the server version as an integer."},
    {"session_authorization", NULL, 'r', true, "Sets the session user name."},
    {"ssl", NULL, 'r', false, "Enables SSL connections."},
    {"standard_conforming_strings", "on", 'e', true, "on"},
    {"statement_timeout", "0", 't', false, "Sets the maximum allowed duration of any statement."},
    {"synchronize_seqscans", "on", 'b', false, "Enable synchronized sequential scans."},
    {"synchronous_commit", "on", 'e', false, "local remote_write remote_apply on off"},
    {"temp_buffers", "8MB", 's', false, "Sets the maximum number of temporary buffers used by each session."},
    {"TimeZone", "UTC", 's', true, "Sets the time zone for displaying and interpreting time stamps."},
    {"transaction_deferrable", "off", 'b', false, "Whether to defer a read-only serializable transaction."},
    {"transaction_isolation", "read committed", 'e', false, "serializable|repeatable read|read committed|read uncommitted"},
    {"transaction_read_only", "off", 'b', false, "Sets the current transaction's read-only status."},
    {"wal_level", "replica", 'r', false, "Sets the level of information written to the WAL."},
    {"work_mem", "4MB", 's', false, "Sets the maximum memory to be used for query workspaces."},
    {"xmloption", "content", 'e', false, "content document"},
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

static bool in_transaction(const session *s) { return s->block != BLOCK_NONE || s->implicit; }

static const char *computed(session *s, const char *name) {
  if (strcmp(name, "ssl") == 0) return s->server->tls ? "on" : "off";
  if (strcmp(name, "session_authorization") == 0) return s->user;
  if (strcmp(name, "password_encryption") == 0) return strcasecmp(s->server->auth, "md5") == 0 ? "md5" : "scram-sha-256";
  snprintf(s->number_text, sizeof s->number_text, "%d", s->server->max_connections);
  return s->number_text;
}

const char *setting_get(session *s, const char *name) {
  setting *x = find_setting(s, name);
  if (strncasecmp(name, "transaction_", 12) == 0 && !(x && x->changed)) { /* nothing said in this transaction */
    char of[60];
    snprintf(of, sizeof of, "default_%.40s", name);
    return setting_get(s, of);
  }
  if (x) return x->value;
  const struct known_setting *k = known(name);
  if (k && !k->value) return computed(s, k->name);
  return k ? k->value : NULL;
}

/* ---- what settings do ---- */

static const char *const policies[] = {"last_commit_wins", "first_commit_wins", "serializable"};

static int level_of(const char *name) {
  return strcmp(name, "serializable") == 0 ? 2 : strcmp(name, "repeatable read") == 0 ? 1 : 0;
}

/* Outside of the engine's transactions only. */
static status use_level(session *s, const char *name) {
  int level = level_of(name);
  if (level == s->level) return HDB_OK;
  char sql[80];
  snprintf(sql, sizeof sql, "PRAGMA heliosdb_conflict_policy=%s", policies[level]);
  TRY(run_text(s, sql));
  s->level = level;
  return HDB_OK;
}

/* The transaction at work gets a level: it has read nothing yet, so another takes its place. */
static status change_level(session *s, const char *name) {
  if (level_of(name) == s->level) return HDB_OK;
  if (s->queried) return error_set(&s->err, HDB_ERROR, "SET TRANSACTION ISOLATION LEVEL must be called before any query");
  TRY(run_text(s, "ROLLBACK"));
  TRY(use_level(s, name));
  return run_text(s, "BEGIN");
}

static status use_read_only(session *s, bool only) {
  if (only == s->read_only) return HDB_OK;
  s->read_only = only;
  return run_text(s, only ? "PRAGMA query_only=1" : "PRAGMA query_only=0");
}

static bool is_on(session *s, const char *name) {
  const char *v = setting_get(s, name);
  return v && strcmp(v, "on") == 0;
}

/* Makes true what a setting says now. */
static status setting_apply(session *s, const char *name) {
  if (!strstr(name, "transaction") && !strstr(name, "timeout") && strcmp(name, "application_name") != 0) s->kept_stale = true;
  const char *v = setting_get(s, name);
  if (v && strcmp(name, "client_encoding") == 0) return encoding_use(s, v);
  if (v && strcmp(name, "TimeZone") == 0) {
    if (!pg_zone_find(v, &s->zone)) s->zone = NULL;
    if (s->db) hdb_set_zone(s->db, s->zone);
  }
  if (!s->db || !v) return HDB_OK;
  if (strcmp(name, "transaction_isolation") == 0) return in_transaction(s) ? change_level(s, v) : HDB_OK;
  if (strcmp(name, "transaction_read_only") == 0 || strcmp(name, "default_transaction_read_only") == 0)
    return use_read_only(s, is_on(s, "transaction_read_only"));
  if (strcmp(name, "synchronous_commit") == 0)
    return run_text(s, strcmp(v, "off") == 0 ? "PRAGMA synchronous=NORMAL" : "PRAGMA synchronous=FULL");
  if (strcmp(name, "statement_timeout") == 0) s->statement_timeout_ms = atol(v);
  if (strcmp(name, "idle_session_timeout") == 0) s->idle_timeout_ms = atol(v);
  if (strcmp(name, "idle_in_transaction_session_timeout") == 0) s->idle_in_transaction_ms = atol(v);
  if (strcmp(name, "lock_timeout") == 0) hdb_busy_timeout(s->db, atoi(v) > 0 ? atoi(v) : 5000);
  if (strcmp(name, "heliosdb.dialect") == 0)
    return run_text(s, strcmp(v, "sqlite") == 0 ? "PRAGMA heliosdb_dialect=sqlite" : "PRAGMA heliosdb_dialect=postgres");
  return HDB_OK;
}

status transaction_settings(session *s) {
  s->queried = false;
  return use_level(s, setting_get(s, "default_transaction_isolation"));
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

status settings_opened(session *s) {
  static const char *const names[] = {"TimeZone", "default_transaction_read_only", "synchronous_commit", "lock_timeout", "statement_timeout", "idle_session_timeout",
                                      "idle_in_transaction_session_timeout"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) TRY(setting_apply(s, names[i]));
  return transaction_settings(s);
}

static void setting_free(setting *x) {
  free(x->name);
  free(x->value);
  free(x->before);
  free(x->start);
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

/* One of the words that the setting knows; PostgreSQL's others are refused by name. */
static status one_of(session *s, const struct known_setting *k, const char *value, char *out, size_t size) {
  static const struct {
    const char *name, *words;
  } refused[] = {{"bytea_output", "escape"}, {"IntervalStyle", "postgres_verbose sql_standard iso_8601"},
                 {"standard_conforming_strings", "off false no 0"}, {"quote_all_identifiers", "on true yes 1"}};
  static const char *const yes[] = {"true", "yes", "1", "t"}, *const no[] = {"false", "no", "0", "f"};
  bool boolean = strcmp(k->about, "on") == 0 || strcmp(k->about, "off") == 0 || strcmp(k->name, "synchronous_commit") == 0;
  for (int i = 0; boolean && i < 4; i++) value = strcasecmp(value, yes[i]) == 0 ? "on" : strcasecmp(value, no[i]) == 0 ? "off" : value;
  const char *separators = strchr(k->about, '|') ? "|" : " ";
  size_t n = strlen(value);
  for (const char *p = k->about; *p;) {
    size_t length = strcspn(p, separators);
    if (length == n && strncasecmp(p, value, n) == 0) return snprintf(out, size, "%.*s", (int)n, p), HDB_OK;
    p += length + (p[length] != 0);
  }
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
    if (strcmp(refused[i].name, k->name) == 0 && n && strcasestr(refused[i].words, value))
      return error_set(&s->err, HDB_ERROR, "not supported yet: %s %s", k->name, value);
  return error_set(&s->err, HDB_ERROR, "invalid value for parameter \"%s\": \"%s\"", k->name, value);
}

/* A name, hours east of UTC (-5, 5.5), INTERVAL '..' (its text comes without the word). */
static status zone_name(session *s, const char *value, char *out, size_t size) {
  const pg_zone *zone;
  char *end;
  double hours = strtod(value, &end);
  bool plain = end != value && *end == 0 && *value != '+' && !strchr(value, ':');
  if (strncasecmp(value, "interval ", 9) == 0) {
    int32_t months, days;
    int64_t us;
    const char *text = value + 9;
    size_t n = strcspn(text, "abcdefghijklmnopqrstuvwxyz");
    while (n && text[n - 1] == ' ') n--;
    if (!pg_interval_parse(text, n, &months, &days, &us) || months || days) return error_set(&s->err, HDB_ERROR, "invalid value for parameter \"TimeZone\": \"%s\"", value);
    hours = (double)us / 3600e6;
    plain = true;
  }
  if (plain && (hours < -24 || hours > 24)) return error_set(&s->err, HDB_ERROR, "invalid value for parameter \"TimeZone\": \"%s\"", value);
  if (plain) zone = pg_zone_fixed((int)(hours * 3600));
  else if (!pg_zone_find(value, &zone)) return error_set(&s->err, HDB_ERROR, "invalid value for parameter \"TimeZone\": \"%s\"", value);
  snprintf(out, size, "%s", pg_zone_name(zone));
  return HDB_OK;
}

static status canonical_setting(session *s, const struct known_setting *k, const char *value, char *out, size_t size) {
  snprintf(out, size, "%s", value);
  if (!k) return HDB_OK;
  if (k->kind == 'r') return error_set(&s->err, HDB_ERROR, "parameter \"%s\" cannot be changed", k->name);
  if (k->kind == 'e') return one_of(s, k, value, out, size);
  if (k->kind == 'i') {
    char *end;
    long v = strtol(value, &end, 10);
    if (*end || end == value || v < -15 || v > 3) return error_set(&s->err, HDB_ERROR, "invalid value for parameter \"%s\": \"%s\"", k->name, value);
    return v < 1 ? error_set(&s->err, HDB_ERROR, "not supported yet: %s below 1", k->name) : HDB_OK;
  }
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
    const char *name = encoding_name(strcasecmp(value, "default") == 0 || strcasecmp(value, "auto") == 0 ? "UTF8" : value);
    if (!name) return error_set(&s->err, HDB_ERROR, "invalid value for parameter \"client_encoding\": \"%s\"", value);
    snprintf(out, size, "%s", name);
    return HDB_OK;
  }
  if (strcmp(k->name, "TimeZone") == 0) return zone_name(s, value, out, size);
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
  bool differs = !before || strcmp(before, copy) != 0;
  if (s->state == STATE_STARTUP) free(x->start), x->start = strdup(copy);
  free(x->value);
  x->value = copy;
  if (differs) report(s, name, copy);
  if (!in_transaction(s)) {
    free(x->before);
    x->before = NULL;
    x->changed = x->local = false;
  }
  return setting_apply(s, x->name);
}

void settings_transaction_end(session *s, bool commit) {
  for (setting *x = s->settings; x; x = x->next) {
    bool back = x->changed && (!commit || x->local) && x->before;
    if (back) {
      if (strcmp(x->before, x->value) != 0) report(s, x->name, x->before);
      free(x->value);
      x->value = x->before;
      x->before = NULL;
    }
    free(x->before);
    x->before = NULL;
    x->changed = x->local = false;
    if (back) (void)setting_apply(s, x->name);
  }
  (void)use_read_only(s, is_on(s, "default_transaction_read_only"));
  (void)use_level(s, setting_get(s, "default_transaction_isolation"));
}

status setting_reset(session *s, const char *name) {
  const struct known_setting *k = known(name);
  setting *x = find_setting(s, name);
  if (!k && !x) return error_set(&s->err, HDB_ERROR, "unrecognized configuration parameter \"%s\"", name);
  if (!x) return HDB_OK;
  return setting_set(s, name, x->start ? x->start : k && k->value ? k->value : "", false);
}

/* ---- SET, SHOW, RESET ---- */

static bool word(const translation *t, int at, const char *text) { return at < t->tokens_n && token_word(&t->tokens[at], text); }

static status syntax_error(session *s, const translation *t, int at) {
  if (at >= t->tokens_n) return error_set(&s->err, HDB_ERROR, "syntax error at end of input");
  error_set(&s->err, HDB_ERROR, "syntax error at or near \"%s\"", t->tokens[at].text);
  s->err.offset = (int)t->tokens[at].at;
  return HDB_ERROR;
}

/* The modes of BEGIN, SET TRANSACTION and SET SESSION CHARACTERISTICS; the same names with default_ in front. */
static status walk_modes(session *s, const translation *t, int at, bool transaction, bool apply) {
  const char *level_name = transaction ? "transaction_isolation" : "default_transaction_isolation";
  const char *only_name = transaction ? "transaction_read_only" : "default_transaction_read_only";
  const char *deferrable_name = transaction ? "transaction_deferrable" : "default_transaction_deferrable";
  for (int i = at; i < t->tokens_n;) {
    if (word(t, i, "isolation") && word(t, i + 1, "level")) {
      bool two = word(t, i + 2, "read") || word(t, i + 2, "repeatable");
      const char *level = word(t, i + 2, "serializable") ? "serializable" : word(t, i + 2, "repeatable") && word(t, i + 3, "read") ? "repeatable read"
                          : word(t, i + 2, "read") && word(t, i + 3, "uncommitted") ? "read uncommitted"
                          : word(t, i + 2, "read") && word(t, i + 3, "committed") ? "read committed" : NULL;
      if (!level) return syntax_error(s, t, i + 2 + two);
      if (apply) TRY(setting_set(s, level_name, level, transaction));
      i += 3 + two;
    } else if (word(t, i, "read") && (word(t, i + 1, "only") || word(t, i + 1, "write"))) {
      if (apply) TRY(setting_set(s, only_name, word(t, i + 1, "only") ? "on" : "off", transaction));
      i += 2;
    } else if (word(t, i, "not") && word(t, i + 1, "deferrable")) {
      if (apply) TRY(setting_set(s, deferrable_name, "off", transaction));
      i += 2;
    } else if (word(t, i, "deferrable")) { /* a snapshot never fails a reader: nothing to wait for */
      if (apply) TRY(setting_set(s, deferrable_name, "on", transaction));
      i++;
    } else if (i > at && t->tokens[i].kind == PT_PUNCT && *t->tokens[i].text == ',') {
      i++;
    } else if (word(t, i, "snapshot")) {
      return error_set(&s->err, HDB_ERROR, "not supported yet: SET TRANSACTION SNAPSHOT");
    } else {
      return syntax_error(s, t, i);
    }
  }
  return HDB_OK;
}

status transaction_modes_check(session *s, const translation *t, int at) { return walk_modes(s, t, at, true, false); }

status transaction_modes(session *s, const translation *t, int at, bool transaction) {
  TRY(walk_modes(s, t, at, transaction, false));
  return walk_modes(s, t, at, transaction, true);
}

static void value_text_of(const translation *t, int from, buf *out) {
  for (int i = from; i < t->tokens_n; i++) {
    const pg_token *k = &t->tokens[i];
    if (i > from && !(k->kind == PT_PUNCT && *k->text == ',')) buf_byte(out, k->kind != PT_PUNCT && t->tokens[i - 1].kind == PT_OPERATOR ? 0 : ' ');
    if (out->n && out->p[out->n - 1] == 0) out->n--;
    buf_append(out, k->text, k->text_n ? k->text_n : strlen(k->text));
  }
}

static status set_transaction(session *s, const translation *t, int at) {
  if (!in_transaction(s)) {
    session_notice(s, "WARNING", "25P01", "SET TRANSACTION can only be used in transaction blocks");
    return HDB_OK;
  }
  return at < t->tokens_n ? transaction_modes(s, t, at, true) : syntax_error(s, t, at);
}

/* SET CONSTRAINTS ALL DEFERRED | IMMEDIATE: keys are checked with the statement, or at the commit. */
static status set_constraints(session *s, const translation *t, int at) {
  int last = t->tokens_n - 1;
  if (!word(t, last, "deferred") && !word(t, last, "immediate")) return syntax_error(s, t, t->tokens_n);
  if (!word(t, at, "all")) return error_set(&s->err, HDB_ERROR, "not supported yet: SET CONSTRAINTS with names");
  if (word(t, last, "immediate") && hdb_deferred_violations(s->db)) /* what was put off is looked at now */
    return session_fail(s, "23503", NULL, NULL, "insert or update on table violates foreign key constraint");
  return run_text(s, word(t, last, "deferred") ? "PRAGMA defer_foreign_keys=1" : "PRAGMA defer_foreign_keys=0");
}

static status set_role(session *s, const translation *t, int at) {
  const pg_token *to = at + 1 < t->tokens_n ? &t->tokens[t->tokens_n - 1] : NULL;
  if (!to) return syntax_error(s, t, t->tokens_n);
  if (token_word(to, "none") || token_word(to, "default") || strcmp(to->text, s->user) == 0) return HDB_OK;
  return error_set(&s->err, HDB_ERROR, "not supported yet: SET ROLE");
}

static status named_value(session *s, const translation *t, int i, bool local, buf *name, buf *value) {
  if (word(t, i, "time") && word(t, i + 1, "zone")) {
    buf_text(name, "TimeZone");
    i += 2;
  } else if (word(t, i, "names")) {
    buf_text(name, "client_encoding");
    i++;
  } else {
    for (; i < t->tokens_n; i++) {
      const pg_token *k = &t->tokens[i];
      if (token_word(k, "to") || (k->kind == PT_OPERATOR && strcmp(k->text, "=") == 0)) break;
      buf_text(name, k->text);
    }
    i++;
  }
  value_text_of(t, i, value);
  if (i >= t->tokens_n) return syntax_error(s, t, t->tokens_n);
  if (!buf_cstr(name) || !buf_cstr(value)) return error_set(&s->err, HDB_NOMEM, "out of memory");
  const char *key = (const char *)name->p;
  if (strcasecmp(key, "seed") == 0) return error_set(&s->err, HDB_ERROR, "not supported yet: SET SEED");
  if (local && !in_transaction(s)) {
    session_notice(s, "WARNING", "25P01", "SET LOCAL can only be used in transaction blocks");
    return HDB_OK;
  }
  if (word(t, i, "default") && t->tokens_n == i + 1) return setting_reset(s, key);
  return setting_set(s, key, (const char *)value->p, local);
}

status run_set(session *s, const translation *t) {
  int i = 1;
  bool local = word(t, i, "local");
  if (local || (word(t, i, "session") && !word(t, i + 1, "authorization"))) i++;
  if (word(t, i, "transaction") && !local) return set_transaction(s, t, i + 1);
  if (word(t, i, "characteristics") && word(t, i + 1, "as") && word(t, i + 2, "transaction")) return transaction_modes(s, t, i + 3, false);
  if (word(t, i, "constraints")) return set_constraints(s, t, i + 1);
  if (word(t, i, "role") || (word(t, i, "session") && word(t, i + 1, "authorization"))) return set_role(s, t, i + (word(t, i, "session") ? 1 : 0));
  buf name = BUF_INIT, value = BUF_INIT;
  status rc = named_value(s, t, i, local, &name, &value);
  buf_free(&name);
  buf_free(&value);
  return rc;
}

const char *show_name(const translation *t, char *out, size_t size) {
  if (word(t, 1, "transaction") && word(t, 2, "isolation")) return "transaction_isolation";
  if (word(t, 1, "time") && word(t, 2, "zone")) return "TimeZone";
  if (word(t, 1, "session") && word(t, 2, "authorization")) return "session_authorization";
  size_t n = 0;
  *out = 0;
  for (int i = 1; i < t->tokens_n; i++) n += (size_t)snprintf(out + (n < size ? n : size - 1), n < size ? size - n : 1, "%s", t->tokens[i].text);
  const struct known_setting *k = known(out);
  return k ? k->name : out;
}

void text_row(session *s, int n, const char *const *values) {
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

status run_show(session *s, const translation *t) {
  char name[200];
  if (word(t, 1, "all")) {
    for (int i = 0; i < KNOWN; i++) {
      const struct known_setting *k = &known_settings[i];
      const char *row[3] = {k->name, setting_get(s, k->name), k->kind == 'e' ? "" : k->about};
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


status settings_reset_all(session *s) {
  for (setting *x = s->settings; x; x = x->next) {
    const struct known_setting *k = known(x->name);
    if (k && (k->kind == 'r' || strcmp(k->name, "heliosdb.dialect") == 0 || strncmp(k->name, "transaction_", 12) == 0)) continue;
    TRY(setting_reset(s, x->name));
  }
  return HDB_OK;
}

static const char *category_of(const struct known_setting *k) {
  if (strncmp(k->name, "enable_", 7) == 0) return "Query Tuning / Planner Method Configuration";
  if (k->kind == 'r') return "Preset Options";
  if (strncmp(k->name, "lc_", 3) == 0 || strcmp(k->name, "DateStyle") == 0 || strcmp(k->name, "TimeZone") == 0 || strcmp(k->name, "client_encoding") == 0)
    return "Client Connection Defaults / Locale and Formatting";
  return "Client Connection Defaults / Statement Behavior";
}

void settings_rows(session *s, struct rowset *r) {
  for (int i = 0; i < KNOWN; i++) {
    const struct known_setting *k = &known_settings[i];
    const char *kind = k->kind == 'b' ? "bool" : k->kind == 't' || k->kind == 'i' ? "integer" : k->kind == 'e' ? "enum" : "string";
    const char *reset = k->value ? k->value : setting_get(s, k->name);
    row_text(r, k->name), row_text(r, setting_get(s, k->name)), row_text(r, k->kind == 't' ? "ms" : NULL), row_text(r, category_of(k));
    row_text(r, k->kind == 'e' ? "" : k->about), row_null(r), row_text(r, k->kind == 'r' ? "internal" : "user"), row_text(r, kind);
    row_text(r, find_setting(s, k->name) ? "session" : "default"), row_null(r), row_null(r), row_null(r), row_text(r, reset), row_text(r, reset), row_null(r), row_null(r), row_int(r, 0);
    row_end(r);
  }
}
