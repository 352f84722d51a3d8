/* A connection's protocol: start-up, authentication, and which message goes where. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

#include "server/session.h"

enum { SERVER_VERSION_NUMBER = 150008 };

session *session_new(connection *c) {
  session *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->c = c;
  s->server = c->server;
  s->err = (error)ERROR_INIT;
  return s;
}

void session_free(session *s) {
  if (!s) return;
  copy_free(s);
  notify_free(s);
  remote_free(s);
  simple_free(s);
  while (s->portals) portal_drop(s, s->portals);
  while (s->statements) prepared_drop(s, s->statements);
  kept_free(s);
  settings_free(s);
  encoding_free(s);
  sequences_free(s);
  pthread_mutex_lock(&s->c->mutex);
  s->c->db = NULL;
  pthread_mutex_unlock(&s->c->mutex);
  if (s->db) {
    char seconds[32];
    snprintf(seconds, sizeof seconds, "%.3f", (double)((long long)now_ns() - s->c->opened_ns) / 1e9);
    server_log(s->server, "info", "disconnected", "user", s->user, "database", s->database, "peer", s->c->peer, "seconds", seconds, NULL);
    if (!hdb_get_autocommit(s->db)) hdb_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    hdb_close_v2(s->db);
  }
  scram_free(s->exchange);
  buf_free(&s->out);
  arena_clear(&s->query_memory);
  error_clear(&s->err);
  failure_clear(s);
  free(s->user);
  free(s->database);
  free(s);
}

void session_send(session *s) { connection_send(s->c, &s->out); }
void session_flush(session *s) { connection_send(s->c, &s->out); }

void session_idle(session *s) { kept_trim(s); }

static void send_fields(session *s, const char *severity, const char *sqlstate, const char *format, va_list arguments) {
  char text[1024];
  vsnprintf(text, sizeof text, format, arguments);
  error_fields f = {.severity = severity, .sqlstate = sqlstate, .message = text};
  proto_error(&s->out, &f);
  atomic_fetch_add(&s->server->errors_sent, 1);
}

void session_error(session *s, const char *sqlstate, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  send_fields(s, "ERROR", sqlstate, format, arguments);
  va_end(arguments);
}

void session_fatal(session *s, const char *sqlstate, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  send_fields(s, "FATAL", sqlstate, format, arguments);
  va_end(arguments);
  s->state = STATE_END;
  session_send(s);
  connection_end(s->c);
}

void session_notice(session *s, const char *severity, const char *sqlstate, const char *message) {
  const char *least = setting_get(s, "client_min_messages");
  if (least && (strcmp(least, "error") == 0 || (strcmp(least, "warning") == 0 && strcmp(severity, "NOTICE") == 0))) return;
  error_fields f = {.severity = severity, .sqlstate = sqlstate, .message = message};
  proto_notice(&s->out, &f);
}

void session_ready(session *s) {
  notify_ready(s);
  proto_ready(&s->out, s->block == BLOCK_OPEN ? 'T' : s->block == BLOCK_FAILED ? 'E' : 'I');
  session_send(s);
  notify_quiet(s, true);
  long limit = s->block == BLOCK_NONE ? s->idle_timeout_ms : s->idle_in_transaction_ms;
  atomic_store(&s->c->idle_in_block, s->block != BLOCK_NONE);
  atomic_store(&s->c->idle_limit_ms, limit);
  if (limit > 0) server_poke(s->server);
  atomic_store(&s->c->idle_since_ns, (long long)now_ns());
}

/* ---- start-up ---- */

/* name, or name@branch; names may hold an @ themselves. */
static bool database_known(session *s, const char *name, char **branch) {
  const char *const known[] = {s->server->stem, s->user, "postgres"};
  *branch = NULL;
  for (int i = 0; i < 3; i++) {
    size_t n = strlen(known[i]);
    if (strncmp(known[i], name, n) != 0 || (name[n] && name[n] != '@')) continue;
    *branch = name[n] ? strdup(name + n + 1) : NULL;
    return true;
  }
  return false;
}

static bool open_database(session *s) {
  char *branch;
  server *v = s->server;
  if (!database_known(s, s->database, &branch)) {
    free(branch);
    session_fatal(s, "3D000", "database \"%s\" does not exist", s->database);
    return false;
  }
  hdb_settings settings = server_settings(v, branch);
  int rc = hdb_open_with(v->database, &s->db, server_open_flags(v), &settings);
  free(branch);
  if (rc != HDB_OK) {
    session_fatal(s, "08006", "%s", s->db ? hdb_errmsg(s->db) : "out of memory");
    return false;
  }
  const char *dialect = setting_get(s, "heliosdb.dialect");
  bool sqlite = dialect && strcasecmp(dialect, "sqlite") == 0;
  hdb_extended_result_codes(s->db, 1);
  hdb_busy_timeout(s->db, 5000);
  hdb_confine(s->db);
  if (!sqlite) {
    hdb_exec(s->db, "PRAGMA foreign_keys=ON; PRAGMA heliosdb_dialect=postgres; PRAGMA case_sensitive_like=ON", NULL, NULL, NULL);
    hdb_set_expression_depth(s->db, 2000); /* a worker has a stack for it */
    hdb_db_config(s->db, 1013, 0, NULL); /* "x" is never a string */
    hdb_db_config(s->db, 1014, 0, NULL);
    session_functions(s);
    session_catalog(s);
  }
  if (settings_opened(s) != HDB_OK) {
    session_fatal(s, "22023", "%s", s->err.message ? s->err.message : "a setting cannot be used");
    return false;
  }
  pthread_mutex_lock(&s->c->mutex);
  s->c->db = s->db;
  pthread_mutex_unlock(&s->c->mutex);
  return true;
}

static void welcome(session *s) {
  proto_authentication(&s->out, 0, slice_of(NULL, 0));
  if (!open_database(s)) return;
  static const char *const reported[] = {"application_name", "client_encoding", "DateStyle", "default_transaction_read_only",
                                         "in_hot_standby", "integer_datetimes", "IntervalStyle", "is_superuser",
                                         "server_encoding", "server_version", "session_authorization",
                                         "standard_conforming_strings", "TimeZone"};
  for (size_t i = 0; i < sizeof reported / sizeof *reported; i++) {
    const char *v = setting_get(s, reported[i]);
    proto_parameter_status(&s->out, reported[i], v ? v : "");
  }
  proto_backend_key(&s->out, s->c->process, s->c->secret);
  server_log(s->server, "info", "connected", "user", s->user, "database", s->database, "peer", s->c->peer, NULL);
  s->state = STATE_READY;
  session_ready(s);
}

/* Channel binding is offered. */
static bool binds(const session *s) { return s->c->encrypted && s->server->end_point_n > 0; }

static void ask_password(session *s) {
  const char *auth = s->server->auth;
  bool trust = strcasecmp(auth, "trust") == 0;
  if (s->c->is_local ? s->c->peer_uid == (int)getuid() : trust) {
    welcome(s);
  } else if (trust) { /* the socket of somebody else's server */
    atomic_fetch_add(&s->server->authentication_failures, 1);
    server_log(s->server, "warning", "authentication failed", "user", s->user, "peer", s->c->peer, NULL);
    session_fatal(s, "28000", "Peer authentication failed for user \"%s\"", s->user);
  } else if (strcasecmp(auth, "password") == 0) {
    proto_authentication(&s->out, 3, slice_of(NULL, 0));
    s->state = STATE_PASSWORD;
  } else if (strcasecmp(auth, "md5") == 0) {
    if (getrandom(s->salt, sizeof s->salt, 0) != sizeof s->salt) {
      session_fatal(s, "XX000", "no random bytes");
      return;
    }
    proto_authentication(&s->out, 5, slice_of(s->salt, sizeof s->salt));
    s->state = STATE_PASSWORD;
  } else {
    if (binds(s)) proto_authentication(&s->out, 10, slice_of("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0", 34));
    else proto_authentication(&s->out, 10, slice_of("SCRAM-SHA-256\0", 15));
    s->state = STATE_SASL_FIRST;
  }
}

/* A setting of the start-up message, or of its options. */
static status startup_setting(session *s, const char *name, const char *value) {
  if (strcmp(name, "heliosdb_client") == 0) {
    if (s->remote || strcmp(value, "1") != 0) return s->remote ? HDB_OK : error_set(&s->err, HDB_ERROR, "invalid value for parameter \"%s\": \"%s\"", name, value);
    return remote_start(s) ? HDB_OK : HDB_NOMEM;
  }
  status rc = setting_set(s, strcmp(name, "heliosdb_dialect") == 0 ? "heliosdb.dialect" : name, value, false);
  if (rc != HDB_OK && strcasecmp(name, "TimeZone") == 0 && !pg_zone_available()) { /* drivers send their machine's: here is none but UTC, and that is reported */
    error_clear(&s->err);
    failure_clear(s);
    return HDB_OK;
  }
  return rc;
}

static void startup(session *s, const startup_message *m) {
  size_t at = 0;
  const char *name, *value, *options = NULL;
  while (proto_parameter(m->parameters, &at, &name, &value)) {
    if (strcmp(name, "user") == 0) free(s->user), s->user = strdup(value);
    else if (strcmp(name, "database") == 0) free(s->database), s->database = strdup(value);
    else if (strcmp(name, "options") == 0) options = value;
  }
  if (!s->user || !*s->user) {
    session_fatal(s, "28000", "no PostgreSQL user name specified in startup packet");
    return;
  }
  if (!s->database || !*s->database) free(s->database), s->database = strdup(s->user);
  settings_start(s);
  at = 0;
  bool negotiate = m->minor > 0;
  while (proto_parameter(m->parameters, &at, &name, &value)) {
    if (strcmp(name, "user") == 0 || strcmp(name, "database") == 0 || strcmp(name, "options") == 0 || strcmp(name, "replication") == 0) continue;
    if (strncmp(name, "_pq_.", 5) == 0) {
      negotiate = true;
      continue;
    }
    if (startup_setting(s, name, value) != HDB_OK) {
      session_fatal(s, "22023", "%s", s->err.message ? s->err.message : "invalid parameter");
      return;
    }
  }
  if (negotiate) proto_negotiate(&s->out, 0);
  for (const char *p = options; p && (p = strstr(p, "-c")) != NULL;) { /* -c name=value */
    p += 2;
    while (*p == ' ') p++;
    const char *equal = strchr(p, '='), *end = p;
    while (*end && !(*end == ' ' && end[-1] != '\\')) end++;
    if (equal && equal < end) {
      char *key = strndup(p, (size_t)(equal - p)), *v = strndup(equal + 1, (size_t)(end - equal - 1));
      if (key && v) (void)startup_setting(s, key, v);
      error_clear(&s->err);
      free(key);
      free(v);
    }
    p = end;
  }
  ask_password(s);
}

/* ---- passwords ---- */

static bool verifier_of(session *s, buf *out) {
  return roles_find(s->server, s->user, out) && buf_cstr(out);
}

static void refused(session *s) {
  atomic_fetch_add(&s->server->authentication_failures, 1);
  server_log(s->server, "warning", "authentication failed", "user", s->user, "peer", s->c->peer, NULL);
  session_fatal(s, "28P01", "password authentication failed for user \"%s\"", s->user);
}

static void password_answer(session *s, slice body) {
  buf verifier = BUF_INIT;
  body_reader r = body_of(body);
  const char *given = body_text(&r);
  bool ok = !r.bad && *given && verifier_of(s, &verifier);
  if (ok && strcasecmp(s->server->auth, "md5") == 0) ok = auth_md5_fits((const char *)verifier.p, s->salt, given);
  else if (ok) ok = auth_password_fits(s->user, (const char *)verifier.p, given);
  buf_free(&verifier);
  if (ok) welcome(s);
  else refused(s);
}

static void sasl_answer(session *s, slice body) {
  buf reply = BUF_INIT, verifier = BUF_INIT;
  const char *why = "malformed SCRAM message";
  if (s->state == STATE_SASL_FIRST) {
    body_reader r = body_of(body);
    const char *mechanism = body_text(&r);
    uint32_t n = body_u32(&r);
    slice first = body_bytes(&r, n);
    bool plus = !r.bad && binds(s) && strcmp(mechanism, "SCRAM-SHA-256-PLUS") == 0;
    bool ok = plus || (!r.bad && strcmp(mechanism, "SCRAM-SHA-256") == 0);
    bool known = verifier_of(s, &verifier);
    if (ok) s->exchange = scram_new(s->user, known ? (const char *)verifier.p : NULL, s->server->mock);
    if (s->exchange && binds(s)) scram_bind(s->exchange, slice_of(s->server->end_point, s->server->end_point_n), plus);
    if (!ok || !s->exchange || scram_first(s->exchange, first, &reply, &why) != HDB_OK) {
      session_fatal(s, "08P01", "%s", why);
    } else {
      proto_authentication(&s->out, 11, buf_slice(&reply));
      s->state = STATE_SASL_FINAL;
    }
  } else if (scram_final(s->exchange, body, &reply, &why) == HDB_OK) {
    proto_authentication(&s->out, 12, buf_slice(&reply));
    welcome(s);
  } else {
    refused(s);
  }
  buf_free(&reply);
  buf_free(&verifier);
}

/* ---- messages ---- */

static void copy_message(session *s, const message *m) {
  switch (m->type) {
  case 'd': copy_data(s, m->body); break;
  case 'c': copy_done(s); break;
  case 'f': {
    body_reader r = body_of(m->body);
    copy_fail(s, body_text(&r));
    break;
  }
  case 'H': case 'S': break; /* a client may send these right behind its Execute */
  default: session_fatal(s, "08P01", "unexpected message type 0x%02X during COPY from stdin", m->type);
  }
}

static void encoded_query(session *s, const char *sql) {
  arena memory = {0};
  slice text = slice_str(sql);
  if (s->encoding && encoding_in(s, text, &memory, &text) != HDB_OK) {
    report_error(s);
    transaction_failed(s);
    session_ready(s);
  } else {
    simple_query(s, (const char *)text.p);
  }
  arena_clear(&memory);
}

static void ready_message(session *s, const message *m) {
  notify_quiet(s, false);
  if (s->skip_to_sync && m->type != 'S' && m->type != 'X') return; /* S1 */
  if (s->remote) {
    remote_message(s, m);
    return;
  }
  body_reader r = body_of(m->body);
  switch (m->type) {
  case 'Q': {
    const char *sql = body_text(&r);
    if (!body_done(&r)) session_fatal(s, "08P01", "invalid message format");
    else encoded_query(s, sql);
    break;
  }
  case 'P': extended_parse(s, m->body); break;
  case 'B': extended_bind(s, m->body); break;
  case 'D': extended_describe(s, m->body); break;
  case 'E': extended_execute(s, m->body); break;
  case 'C': extended_close(s, m->body); break;
  case 'S': extended_sync(s); break;
  case 'H': session_send(s); break;
  case 'X':
    s->state = STATE_END;
    connection_end(s->c);
    break;
  case 'd': case 'c': case 'f': break; /* behind a COPY that failed */
  case 'F':
    session_error(s, "0A000", "not supported yet: function call message");
    session_ready(s);
    break;
  default: session_fatal(s, "08P01", "invalid frontend message type %d", m->type);
  }
}

static size_t message_limit(const session *s) { return s->state < STATE_READY ? 65536 : MESSAGE_LIMIT; }

size_t session_wants(const session *s, slice input) {
  if (s->state == STATE_STARTUP || input.n < 5) return 0;
  size_t length = (size_t)get_be32(input.p + 1) + 1;
  return length - 1 <= message_limit(s) ? length : 0;
}

size_t session_input(session *s, slice input) {
  size_t used = 0;
  const char *why;
  while (s->state != STATE_END && used < input.n) {
    slice rest = slice_of(input.p + used, input.n - used);
    if (s->state == STATE_STARTUP) {
      startup_message m;
      enum proto_result got = proto_startup(rest, &m, &why);
      if (got == PROTO_MORE) break;
      if (got == PROTO_BAD || m.kind != STARTUP_NORMAL) {
        session_fatal(s, "08P01", "%s", got == PROTO_BAD ? why : "unexpected start-up message");
        break;
      }
      used += m.length;
      startup(s, &m);
      continue;
    }
    message m;
    enum proto_result got = proto_message(rest, message_limit(s), &m, &why);
    if (got == PROTO_MORE) break;
    if (got == PROTO_BAD) {
      session_fatal(s, "08P01", "%s", why);
      break;
    }
    used += m.length;
    s->next_type = used < input.n ? input.p[used] : 0;
    if (s->state == STATE_READY) ready_message(s, &m);
    else if (s->state == STATE_COPY_IN) copy_message(s, &m);
    else if (m.type != 'p') session_fatal(s, "08P01", "expected a password message");
    else if (s->state == STATE_PASSWORD) password_answer(s, m.body);
    else sasl_answer(s, m.body);
    if (connection_gone(s->c)) s->state = STATE_END;
  }
  return s->state == STATE_END ? input.n : used;
}
