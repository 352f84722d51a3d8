/* Functions that know the session: who, where, settings; other sessions by their process numbers. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/session.h"

static void give(hdb_context *c, const char *text) {
  if (text) hdb_result_text(c, text, -1, HDB_TRANSIENT);
  else hdb_result_null(c);
}

static void f_user(hdb_context *c, int n, hdb_value **a) { give(c, ((session *)hdb_user_data(c))->user); }
static void f_database(hdb_context *c, int n, hdb_value **a) {
  session *s = hdb_user_data(c);
  give(c, s->database);
}
static void f_pid(hdb_context *c, int n, hdb_value **a) { hdb_result_int64(c, ((session *)hdb_user_data(c))->c->process); }
static void f_port(hdb_context *c, int n, hdb_value **a) { hdb_result_int64(c, ((session *)hdb_user_data(c))->server->port); }

static void f_current_setting(hdb_context *c, int n, hdb_value **a) {
  session *s = hdb_user_data(c);
  const char *name = hdb_value_text(a[0]), *v = name ? setting_get(s, name) : NULL;
  char text[200];
  if (v || !name || (n > 1 && hdb_value_int64(a[1]))) {
    give(c, v);
    return;
  }
  snprintf(text, sizeof text, "unrecognized configuration parameter \"%.120s\"", name);
  hdb_result_error(c, text, -1);
}

static void f_set_config(hdb_context *c, int n, hdb_value **a) {
  session *s = hdb_user_data(c);
  const char *name = hdb_value_text(a[0]), *v = hdb_value_text(a[1]);
  char key[200];
  snprintf(key, sizeof key, "%s", name ? name : "");
  error kept = s->err;
  s->err = (error)ERROR_INIT;
  status rc = setting_set(s, key, v ? v : "", hdb_value_int64(a[2]) != 0);
  if (rc != HDB_OK) hdb_result_error(c, s->err.message, -1);
  else give(c, setting_get(s, key));
  error_clear(&s->err);
  s->err = kept;
}

/* Cancels, or ends, the session with a process number. */
static bool signal_session(session *s, int64_t process, bool terminate) {
  bool found = false;
  server *v = s->server;
  pthread_mutex_lock(&v->mutex);
  for (connection *c = v->connections; c; c = c->next) {
    if (c->process != process) continue;
    found = true;
    if (c == s->c) continue;
    pthread_mutex_lock(&c->mutex);
    hdb *db = c->db;
    if (terminate) atomic_store(&c->terminated, true);
    else if (atomic_load(&c->busy)) atomic_store(&c->cancelled, true);
    if (db && (atomic_load(&c->busy) || terminate)) hdb_interrupt(db);
    server_poke(v);
    pthread_mutex_unlock(&c->mutex);
  }
  pthread_mutex_unlock(&v->mutex);
  return found;
}

static void f_cancel(hdb_context *c, int n, hdb_value **a) { hdb_result_int64(c, signal_session(hdb_user_data(c), hdb_value_int64(a[0]), false)); }
static void f_terminate(hdb_context *c, int n, hdb_value **a) { hdb_result_int64(c, signal_session(hdb_user_data(c), hdb_value_int64(a[0]), true)); }
static void f_lock(hdb_context *c, int n, hdb_value **a) { hdb_result_error(c, "not supported yet: advisory locks", -1); }
static void f_notify(hdb_context *c, int n, hdb_value **a) {
  session *s = hdb_user_data(c);
  const char *channel = hdb_value_text(a[0]), *payload = hdb_value_text(a[1]);
  if (notify_send(s, channel ? channel : "", payload ? payload : "") != HDB_OK) {
    hdb_result_error(c, s->err.message ? s->err.message : "out of memory", -1);
    error_clear(&s->err);
    failure_clear(s);
    return;
  }
  hdb_result_text(c, "", 0, HDB_STATIC);
}

/* There are none to let go of: pools ask for it when they take a connection back. */
static void f_unlock_all(hdb_context *c, int n, hdb_value **a) { hdb_result_text(c, "", 0, HDB_STATIC); }

void session_functions(session *s) {
  sequence_functions(s);
  static const struct {
    const char *name;
    int arguments;
    void (*f)(hdb_context *, int, hdb_value **);
  } all[] = {{"current_user", 0, f_user}, {"session_user", 0, f_user}, {"user", 0, f_user}, {"current_role", 0, f_user},
             {"current_database", 0, f_database}, {"current_catalog", 0, f_database}, {"pg_backend_pid", 0, f_pid},
             {"inet_server_port", 0, f_port}, {"current_setting", 1, f_current_setting}, {"current_setting", 2, f_current_setting},
             {"set_config", 3, f_set_config}, {"pg_cancel_backend", 1, f_cancel}, {"pg_terminate_backend", 1, f_terminate},
             {"pg_advisory_lock", 1, f_lock}, {"pg_try_advisory_lock", 1, f_lock}, {"pg_advisory_unlock", 1, f_lock}, {"pg_advisory_unlock_all", 0, f_unlock_all}, {"pg_notify", 2, f_notify}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    hdb_create_function(s->db, all[i].name, all[i].arguments, 0, s, all[i].f, NULL, NULL, NULL);
}
