/* Users: CREATE, ALTER, DROP ROLE, and what passwords are compared with.
 *
 * There are no privileges: a role is a name that may log in with its password. They live in the password file, or
 * without one in DATABASE-helios/users (mode 0600, the same form), where the one user of the command line comes first and
 * is not written. The server's own user manages the others; everybody may change the password of his own.
 * R1  A role without a password is a line with "!", which no password fits.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/session.h"

static bool read_file(const char *path, char **text) {
  FILE *f = fopen(path, "re");
  if (!f) return false;
  buf b = BUF_INIT;
  char part[4096];
  size_t n;
  while ((n = fread(part, 1, sizeof part, f)) > 0) buf_append(&b, part, n);
  fclose(f);
  *text = strdup(buf_cstr(&b) ? (const char *)b.p : "");
  buf_free(&b);
  return *text != NULL;
}


bool roles_load(server *s, char **why) {
  char *stored = NULL;
  bool read = s->roles_path && read_file(s->roles_path, &stored);
  if (!read && s->has_password_file) {
    if (asprintf(why, "cannot read the password file %s: %s", s->roles_path ? s->roles_path : "", strerror(errno)) < 0) *why = NULL;
    return false;
  }
  buf text = BUF_INIT;
  status rc = HDB_OK;
  if (!s->has_password_file) {
    buf_printf(&text, "%s:", s->user);
    rc = strcasecmp(s->auth, "md5") == 0 ? auth_make_md5(s->user, s->password, &text) : auth_make_scram(s->password, &text);
    buf_byte(&text, '\n');
    if (rc != HDB_OK && !*why) *why = strdup("cannot make the password's verifier");
  }
  if (stored) buf_text(&text, stored);
  char *all = rc == HDB_OK && buf_cstr(&text) ? strdup((const char *)text.p) : NULL;
  free(stored);
  buf_free(&text);
  if (!all) return false;
  pthread_mutex_lock(&s->roles_mutex);
  free(s->verifiers);
  s->verifiers = all;
  pthread_mutex_unlock(&s->roles_mutex);
  return true;
}

bool roles_find(server *s, const char *user, buf *verifier) {
  pthread_mutex_lock(&s->roles_mutex);
  bool found = s->verifiers && auth_file_find(s->verifiers, user, verifier);
  pthread_mutex_unlock(&s->roles_mutex);
  return found;
}

char *roles_text(server *s) {
  pthread_mutex_lock(&s->roles_mutex);
  char *text = s->verifiers ? strdup(s->verifiers) : NULL;
  pthread_mutex_unlock(&s->roles_mutex);
  return text;
}

/* ---- the statements ---- */

static bool word(const translation *t, int at, const char *text) { return at < t->tokens_n && token_word(&t->tokens[at], text); }

static status syntax_error(session *s, const translation *t, int at) {
  if (at >= t->tokens_n) return error_set(&s->err, HDB_ERROR, "syntax error at end of input");
  error_set(&s->err, HDB_ERROR, "syntax error at or near \"%s\"", t->tokens[at].text);
  s->err.offset = (int)t->tokens[at].at;
  return HDB_ERROR;
}

typedef struct role_change {
  bool has_password, no_login;
  const char *password; /* NULL: none */
} role_change;

/* LOGIN PASSWORD 'x' ...: attributes of privileges say nothing here; what would hold somebody out and does not is refused. */
static status options(session *s, const translation *t, int i, role_change *c) {
  static const char *const nothing[] = {"login", "inherit", "noinherit", "superuser", "nosuperuser", "createdb", "nocreatedb", "createrole",
                                        "nocreaterole", "noreplication", "nobypassrls", "bypassrls", "with", "encrypted"};
  while (i < t->tokens_n) {
    bool known = false;
    for (size_t k = 0; k < sizeof nothing / sizeof *nothing && !known; k++) known = word(t, i, nothing[k]);
    if (known) {
      i++;
    } else if (word(t, i, "nologin")) {
      c->no_login = true;
      i++;
    } else if (word(t, i, "password") && i + 1 < t->tokens_n) {
      c->has_password = true;
      c->password = t->tokens[i + 1].kind == PT_STRING ? t->tokens[i + 1].text : NULL;
      if (!c->password && !word(t, i + 1, "null")) return syntax_error(s, t, i + 1);
      i += 2;
    } else if (word(t, i, "connection") || word(t, i, "valid") || word(t, i, "replication") || word(t, i, "in") || word(t, i, "role") || word(t, i, "admin")) {
      return error_set(&s->err, HDB_ERROR, "not supported yet: this option of roles");
    } else {
      return syntax_error(s, t, i);
    }
  }
  return c->no_login && c->password ? error_set(&s->err, HDB_ERROR, "not supported yet: NOLOGIN with a password") : HDB_OK;
}

static bool fit_name(const char *name) { return *name && *name != '#' && !strpbrk(name, ":\r\n"); }

/* A line of the server's users. verifier NULL: it goes. */
static status put(session *s, const char *name, const char *verifier) {
  server *v = s->server;
  if (!v->roles_path) return error_set(&s->err, HDB_ERROR, "not supported yet: roles on a server without passwords");
  int code = password_file_put(v->roles_path, name, verifier);
  char *why = NULL;
  if (code) return error_set(&s->err, HDB_IOERR, "could not write the file of users: %s", strerror(code));
  bool loaded = roles_load(v, &why);
  free(why);
  return loaded ? HDB_OK : error_set(&s->err, HDB_IOERR, "could not read the file of users again");
}

static status verifier_of(session *s, const char *name, const char *password, buf *out) {
  if (!password || !*password) buf_byte(out, '!'); /* R1 */
  else if (auth_is_verifier(password)) buf_text(out, password);
  else if ((strcasecmp(s->server->auth, "md5") == 0 ? auth_make_md5(name, password, out) : auth_make_scram(password, out)) != HDB_OK)
    return error_set(&s->err, HDB_ERROR, "cannot make the password's verifier");
  return buf_cstr(out) ? HDB_OK : error_set(&s->err, HDB_NOMEM, "out of memory");
}

static bool exists(session *s, const char *name) {
  buf ignored = BUF_INIT;
  bool found = strcmp(name, s->server->user) == 0 || roles_find(s->server, name, &ignored);
  buf_free(&ignored);
  return found;
}

static status drop(session *s, const translation *t, int i) {
  bool if_exists = word(t, i, "if") && word(t, i + 1, "exists");
  if (if_exists) i += 2;
  if (strcmp(s->user, s->server->user) != 0) return error_set(&s->err, HDB_ERROR, "permission denied to drop role");
  for (; i < t->tokens_n; i += 2) {
    const char *name = t->tokens[i].text;
    if (!exists(s, name)) {
      if (!if_exists) return error_set(&s->err, HDB_ERROR, "role \"%s\" does not exist", name);
      char text[200];
      snprintf(text, sizeof text, "role \"%.120s\" does not exist, skipping", name);
      session_notice(s, "NOTICE", "00000", text);
    } else if (strcmp(name, s->user) == 0) {
      return session_fail(s, "55006", NULL, NULL, "current user cannot be dropped");
    } else {
      TRY(put(s, name, NULL));
    }
    if (i + 1 < t->tokens_n && !(t->tokens[i + 1].kind == PT_PUNCT && *t->tokens[i + 1].text == ',')) return syntax_error(s, t, i + 1);
  }
  return HDB_OK;
}

status role_run(session *s, const translation *t) {
  int i = 2;
  bool create = word(t, 0, "create");
  if (word(t, 0, "drop")) return drop(s, t, i);
  if (i >= t->tokens_n) return syntax_error(s, t, i);
  bool self = t->tokens[i].kind == PT_WORD && (word(t, i, "current_user") || word(t, i, "session_user") || word(t, i, "current_role"));
  const char *name = self ? s->user : t->tokens[i].text;
  if (!fit_name(name)) return error_set(&s->err, HDB_ERROR, "not supported yet: this name of a role");
  i++;
  bool owner = strcmp(s->user, s->server->user) == 0;
  if (!create && (word(t, i, "set") || word(t, i, "reset") || word(t, i, "rename") || word(t, i, "in")))
    return error_set(&s->err, HDB_ERROR, "not supported yet: ALTER ROLE .. %s", t->tokens[i].text);
  role_change c = {0};
  TRY(options(s, t, i, &c));
  if (create ? !owner : !owner && strcmp(s->user, name) != 0) return error_set(&s->err, HDB_ERROR, create ? "permission denied to create role" : "permission denied");
  if (create && exists(s, name)) return error_set(&s->err, HDB_ERROR, "role \"%s\" already exists", name);
  if (!create && !exists(s, name)) return error_set(&s->err, HDB_ERROR, "role \"%s\" does not exist", name);
  if (!create && !c.has_password) return c.no_login ? error_set(&s->err, HDB_ERROR, "not supported yet: ALTER ROLE .. NOLOGIN") : HDB_OK;
  if (!s->server->has_password_file && strcmp(name, s->server->user) == 0)
    return error_set(&s->err, HDB_ERROR, "not supported yet: another password for the user of the command line (start the server with a password file)");
  buf verifier = BUF_INIT;
  status rc = verifier_of(s, name, c.password, &verifier);
  if (rc == HDB_OK) rc = put(s, name, (const char *)verifier.p);
  buf_free(&verifier);
  return rc;
}
