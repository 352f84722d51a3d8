/* The tables of pg_catalog that the session makes: settings, roles, who is connected, prepared statements, cursors. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "server/session.h"
#include "sql/pg_catalog.h"

static void moment(struct rowset *r, int64_t us) { /* since 1970 */
  buf b = BUF_INIT;
  if (us > 0) pg_date_text(us - (int64_t)10957 * 86400000000, PG_TIMESTAMPTZ, &b);
  if (us > 0 && buf_cstr(&b)) row_text(r, (const char *)b.p);
  else row_null(r);
  buf_free(&b);
}

/* ---- roles: the server's user owns everything; those of the password file may connect ---- */

typedef void (*role_visitor)(struct rowset *r, const char *name, int64_t number);

static void each_role(session *s, struct rowset *r, role_visitor visit) {
  int64_t number = 10;
  const char *own = s->server->user;
  visit(r, own, number);
  if (strcmp(s->user, own) != 0) visit(r, s->user, 16000);
  number = 16000;
  char *all = roles_text(s->server);
  for (const char *p = all; p && *p; p += strcspn(p, "\n"), p += *p == '\n') {
    size_t n = strcspn(p, ":\n");
    char name[128];
    if (p[n] != ':' || n == 0 || n >= sizeof name || *p == '#') continue;
    snprintf(name, sizeof name, "%.*s", (int)n, p);
    if (strcmp(name, own) != 0 && strcmp(name, s->user) != 0) visit(r, name, ++number);
  }
  free(all);
}

static void role_row(struct rowset *r, const char *name, int64_t number) {
  row_text(r, name);
  for (int k = 0; k < 6; k++) row_int(r, 1);
  row_int(r, -1), row_text(r, "********"), row_null(r), row_int(r, 1), row_null(r), row_int(r, number);
  row_end(r);
}

static void user_row(struct rowset *r, const char *name, int64_t number) {
  row_text(r, name), row_int(r, number), row_int(r, 1), row_int(r, 1), row_int(r, 1), row_int(r, 1), row_text(r, "********");
  row_end(r);
}

/* ---- activity ---- */

static void activity_row(session *s, struct rowset *r, connection *c) {
  bool own = c == s->c;
  row_int(r, 16384), row_text(r, s->server->stem), row_int(r, c->process), row_null(r), row_int(r, 10);
  row_text(r, own ? s->user : s->server->user), row_text(r, own ? setting_get(s, "application_name") : NULL);
  row_text(r, c->is_local || !*c->peer ? NULL : c->peer);
  for (int k = 0; k < 8; k++) row_null(r);
  row_text(r, own || atomic_load(&c->busy) ? "active" : "idle");
  row_null(r), row_null(r), row_null(r);
  row_text(r, own ? s->query : NULL), row_text(r, "client backend");
  row_end(r);
}

static void activity(session *s, struct rowset *r) {
  pthread_mutex_lock(&s->server->mutex);
  for (connection *c = s->server->connections; c; c = c->next)
    if (c == s->c || c->db) activity_row(s, r, c);
  pthread_mutex_unlock(&s->server->mutex);
}

/* ---- the session's own ---- */

static void prepared_rows(session *s, struct rowset *r) {
  for (const prepared *p = s->statements; p; p = p->next) {
    if (!p->name || !*p->name) continue;
    buf types = BUF_INIT;
    buf_byte(&types, '[');
    for (int k = 0; k < p->d.parameters_n; k++) {
      const pg_type *t = pg_type_by_oid(p->d.parameters[k]);
      buf_printf(&types, "%s\"%s\"", k ? "," : "", t ? t->sql : "text");
    }
    buf_byte(&types, ']');
    row_text(r, p->name), row_text(r, p->sql), moment(r, p->made_us), row_text(r, buf_cstr(&types) ? (const char *)types.p : "[]"), row_null(r), row_int(r, p->by_sql), row_int(r, 0), row_int(r, 0);
    row_end(r);
    buf_free(&types);
  }
}

static void cursor_rows(session *s, struct rowset *r) {
  for (const portal *o = s->portals; o; o = o->next) {
    if (!o->is_cursor) continue;
    row_text(r, o->name), row_text(r, o->source->sql), row_int(r, o->hold), row_int(r, 0), row_int(r, o->scroll), moment(r, o->source->made_us);
    row_end(r);
  }
}

static bool is_one(const char *table, const char *name) { return strcmp(table, name) == 0; }

static void fill(void *context, const char *table, struct rowset *r) {
  session *s = context;
  if (is_one(table, "pg_settings")) settings_rows(s, r);
  else if (is_one(table, "pg_roles") || is_one(table, "pg_authid")) each_role(s, r, role_row);
  else if (is_one(table, "pg_user") || is_one(table, "pg_shadow")) each_role(s, r, user_row);
  else if (is_one(table, "pg_stat_activity")) activity(s, r);
  else if (is_one(table, "pg_prepared_statements")) prepared_rows(s, r);
  else if (is_one(table, "pg_cursors")) cursor_rows(s, r);
}

void session_catalog(session *s) {
  s->catalog = (pg_source){.context = s, .fill = fill, .owner = s->server->user, .database = s->server->stem};
  hdb_set_pg_source(s->db, &s->catalog);
}
