/* link.c: connecting, and one call (wire.h). */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "py/wire/link.h"

enum { LOOK_MS = 100 };

static void (*let_others_run)(void);
void link_set_leave(void (*f)(void)) { let_others_run = f; }
void link_leave(void) {
  if (let_others_run) let_others_run();
}

/* ---- errors ---- */

static char *trimmed(const char *text) {
  size_t n = strlen(text);
  while (n && (text[n - 1] == '\n' || text[n - 1] == ' ')) n--;
  return strndup(text, n);
}

int link_error(wire_db *db, int code, const char *text) {
  char *message = trimmed(text);
  free(db->message);
  free(db->table);
  free(db->key);
  db->table = db->key = NULL;
  db->message = message;
  db->code = code;
  db->offset = -1;
  return code;
}

static char *copy_field(const PGresult *result, int field) {
  const char *text = PQresultErrorField(result, field);
  return text ? strdup(text) : NULL;
}

/* The server's error; without SQLite's code it is the connection's end, or a server that is none of ours. */
static int take_error(wire_db *db, const PGresult *result) {
  const char *code = PQresultErrorField(result, 'k'), *offset = PQresultErrorField(result, 'o');
  const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  db->stale = true;
  db->autocommit = PQtransactionStatus(db->link) != PQTRANS_INTRANS && PQtransactionStatus(db->link) != PQTRANS_INERROR;
  if (!code) return link_error(db, HDB_PROTOCOL, text ? text : PQerrorMessage(db->link));
  int rc = link_error(db, atoi(code), text ? text : "");
  db->offset = offset ? atoi(offset) : -1;
  db->table = copy_field(result, 'T');
  db->key = copy_field(result, 'K');
  return rc;
}

/* ---- answers ---- */

int64_t take_be64(reader *r) {
  const uint8_t *p = take_bytes(r, 8);
  return p ? (int64_t)get_be64(p) : 0;
}
uint32_t take_be32(reader *r) {
  const uint8_t *p = take_bytes(r, 4);
  return p ? get_be32(p) : 0;
}
unsigned take_byte(reader *r) {
  const uint8_t *p = take_bytes(r, 1);
  return p ? *p : 0;
}
const uint8_t *take_bytes(reader *r, size_t n) {
  if (r->bad || (size_t)(r->end - r->p) < n) {
    r->bad = true;
    return NULL;
  }
  r->p += n;
  return r->p - n;
}
/* malloc'd; NULL for NULL. */
char *take_text(reader *r) {
  uint32_t n = take_be32(r);
  if (n == UINT32_MAX) return NULL;
  const uint8_t *p = take_bytes(r, n);
  char *text = p ? strndup((const char *)p, n) : NULL;
  if (!text) r->bad = true;
  return text;
}

enum { TRAILER = 33 };
static int take_trailer(wire_db *db, reader *r) {
  if (r->end - r->p < TRAILER) return link_error(db, HDB_PROTOCOL, "an answer of the server is cut short");
  reader t = {r->end - TRAILER, r->end, false};
  r->end -= TRAILER;
  db->autocommit = take_byte(&t) != 0;
  db->changes = take_be64(&t);
  db->total_changes = take_be64(&t);
  db->last_rowid = take_be64(&t);
  db->last_commit = take_be64(&t);
  db->stale = false;
  return HDB_OK;
}

/* ---- a call ---- */

static void send_cancel(wire_db *db) {
  char why[128];
  pthread_mutex_lock(&db->cancel_lock);
  if (db->cancel) PQcancel(db->cancel, why, sizeof why);
  pthread_mutex_unlock(&db->cancel_lock);
}

void link_interrupt(wire_db *db) {
  if (!atomic_load(&db->calling) && !db->active) return;
  atomic_store(&db->interrupted, true);
  if (atomic_load(&db->calling)) send_cancel(db);
}

/* The answer to what was sent. An interrupt that came before the server was at work is said again. */
static PGresult *wait_answer(wire_db *db) {
  PGresult *first = NULL, *next;
  for (;;) {
    while (PQisBusy(db->link)) {
      struct pollfd p = {.fd = PQsocket(db->link), .events = POLLIN};
      PQflush(db->link);
      if (poll(&p, 1, LOOK_MS) == 0 && atomic_load(&db->interrupted)) send_cancel(db);
      if (p.revents && !PQconsumeInput(db->link)) break;
    }
    next = PQgetResult(db->link);
    if (!next) return first;
    if (first) PQclear(next);
    else first = next;
  }
}

/* What the server said at its end, and its end, lie in the socket; a connection at work is asked by its calls. */
bool link_is_lost(wire_db *db) {
  if (!db->link) return true;
  if (db->pid != (int)getpid() || atomic_load(&db->calling)) return false;
  struct pollfd p = {.fd = PQsocket(db->link), .events = POLLIN};
  while (PQstatus(db->link) == CONNECTION_OK && poll(&p, 1, 0) == 1)
    if (!PQconsumeInput(db->link)) break;
  return PQstatus(db->link) != CONNECTION_OK;
}

static int connect_anew(wire_db *db);

PGresult *link_call(wire_db *db, const char *command, reader *answer) {
  const char *values[2];
  int lengths[2];
  static const int formats[2] = {1, 1};
  link_leave();
  if (db->pid != (int)getpid() && connect_anew(db) != HDB_OK) return NULL; /* W5 */
  if (!db->link) {
    link_error(db, HDB_PROTOCOL, "the connection to the server is closed");
    return NULL;
  }
  if (buf_failed(&db->body) || buf_failed(&db->let_go) || db->body.n > INT32_MAX) {
    link_error(db, db->body.n > INT32_MAX ? HDB_TOOBIG : HDB_NOMEM, db->body.n > INT32_MAX ? "string or blob too big" : "out of memory");
    return NULL;
  }
  values[0] = db->body.n ? (const char *)db->body.p : "";
  values[1] = db->let_go.n ? (const char *)db->let_go.p : "";
  lengths[0] = (int)db->body.n;
  lengths[1] = (int)db->let_go.n;
  if (!db->active) atomic_store(&db->interrupted, false);
  atomic_store(&db->calling, true);
  PGresult *result = NULL;
  if (PQsendQueryParams(db->link, command, 2, NULL, values, lengths, formats, 1)) result = wait_answer(db);
  atomic_store(&db->calling, false);
  buf_clear(&db->let_go);
  buf_clear(&db->body);
  if (!result) {
    link_error(db, HDB_PROTOCOL, PQerrorMessage(db->link));
    db->autocommit = true;
    return NULL;
  }
  if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 || PQnfields(result) != 1) {
    take_error(db, result);
    PQclear(result);
    return NULL;
  }
  *answer = (reader){(const uint8_t *)PQgetvalue(result, 0, 0), NULL, false};
  answer->end = answer->p + PQgetlength(result, 0, 0);
  if (take_trailer(db, answer) == HDB_OK) return result;
  PQclear(result);
  return NULL;
}

int link_config(wire_db *db, int which, int a, int b, int *now) {
  reader r;
  buf_byte(&db->body, (uint8_t)which);
  buf_be32(&db->body, (uint32_t)a);
  buf_be32(&db->body, (uint32_t)b);
  PGresult *result = link_call(db, "config", &r);
  if (!result) return -1;
  int answer = (int)take_be32(&r);
  if (now) *now = (int)take_be32(&r);
  PQclear(result);
  return answer;
}

/* Versions are looked at by nobody yet: the commands are what both sides must know, and an unknown one is an error. */
int link_info(wire_db *db) {
  reader r;
  PGresult *result = link_call(db, "info", &r);
  if (!result) return db->code;
  free(take_text(&r));
  free(take_text(&r));
  free(db->file);
  free(db->branch);
  db->file = take_text(&r);
  db->branch = take_text(&r);
  for (int i = 0; i < HDB_LIMITS; i++) db->limits[i] = (int)take_be32(&r);
  PQclear(result);
  return r.bad ? link_error(db, HDB_PROTOCOL, "an answer of the server is cut short") : HDB_OK;
}

/* ---- connecting ---- */

static void quiet(void *unused, const PGresult *notice) {}

static int connect_now(wire_db *db) {
  db->link = PQconnectdbParams(db->keywords, db->values, 1);
  db->pid = (int)getpid();
  if (!db->link) return link_error(db, HDB_NOMEM, "out of memory");
  if (PQstatus(db->link) != CONNECTION_OK) {
    link_error(db, HDB_CANTOPEN, PQerrorMessage(db->link));
    PQfinish(db->link);
    db->link = NULL;
    return db->code;
  }
  PQsetNoticeReceiver(db->link, quiet, NULL);
  db->cancel = PQgetCancel(db->link);
  db->autocommit = true;
  return HDB_OK;
}

/* In a forked child. The parent's socket is closed here without a word to the server. */
static int connect_anew(wire_db *db) {
  buf body = db->body;
  db->body = (buf)BUF_INIT;
  if (db->link) close(PQsocket(db->link)); /* the rest of it is left: PQfinish would say goodbye for the parent */
  db->link = NULL;
  pthread_mutex_init(&db->cancel_lock, NULL);
  db->generation++;
  db->active = 0;
  buf_clear(&db->let_go);
  int rc = connect_now(db);
  if (rc == HDB_OK) rc = link_info(db);
  if (rc == HDB_OK && link_config(db, 1, db->busy_ms, 0, NULL) < 0) rc = db->code;
  buf_free(&db->body);
  db->body = body;
  return rc;
}

static void word(wire_db *db, int *n, int *kept, const char *keyword, const char *value) {
  if (!value) return;
  db->keywords[*n] = keyword;
  db->values[(*n)++] = db->words[(*kept)++] = strdup(value);
}

/* The database that a connection string names; malloc'd, NULL: none. */
static char *database_of(const char *dsn) {
  char *why = NULL, *name = NULL;
  PQconninfoOption *all = PQconninfoParse(dsn, &why);
  for (PQconninfoOption *o = all; o && o->keyword; o++)
    if (strcmp(o->keyword, "dbname") == 0 && o->val) name = strdup(o->val);
  PQconninfoFree(all);
  PQfreemem(why);
  return name;
}

int link_open(const backend_address *a, wire_db *db) {
  int n = 0, kept = 0;
  char port[12], name[512];
  char *database = a->dsn && a->branch && !a->database ? database_of(a->dsn) : NULL;
  const char *asked = a->database ? a->database : database;
  pthread_mutex_init(&db->cancel_lock, NULL);
  snprintf(port, sizeof port, "%d", a->port);
  snprintf(name, sizeof name, "%s%s%s", asked ? asked : a->user, a->branch ? "@" : "", a->branch ? a->branch : "");
  bool usual_host = strcmp(a->host, "127.0.0.1") == 0, usual_user = strcmp(a->user, "helios") == 0;
  word(db, &n, &kept, "connect_timeout", "10");
  word(db, &n, &kept, "fallback_application_name", "heliosdb_sqlite");
  if (a->dsn) word(db, &n, &kept, "dbname", a->dsn); /* later words win over it */
  if (!a->dsn || !usual_host) word(db, &n, &kept, "host", a->host);
  if (!a->dsn || a->port != 5432) word(db, &n, &kept, "port", port);
  if (!a->dsn || !usual_user) word(db, &n, &kept, "user", a->user);
  word(db, &n, &kept, "password", a->password);
  if (!a->dsn || a->database || a->branch) word(db, &n, &kept, "dbname", name);
  free(database);
  word(db, &n, &kept, "client_encoding", "UTF8");
  word(db, &n, &kept, "options", "-c heliosdb_dialect=sqlite -c heliosdb_client=1");
  int rc = connect_now(db);
  if (rc == HDB_OK) rc = link_info(db);
  if (rc == HDB_PROTOCOL && db->link) link_error(db, HDB_CANTOPEN, "this server is no HeliosDB Nano");
  return rc;
}

void link_close(wire_db *db) {
  if (!db) return;
  if (db->link && db->pid == (int)getpid()) PQfinish(db->link);
  pthread_mutex_lock(&db->cancel_lock);
  PQfreeCancel(db->cancel);
  db->cancel = NULL;
  pthread_mutex_unlock(&db->cancel_lock);
  for (size_t i = 0; i < sizeof db->words / sizeof *db->words && db->words[i]; i++) {
    explicit_bzero(db->words[i], strlen(db->words[i])); /* a password is among them */
    free(db->words[i]);
  }
  buf_free(&db->let_go);
  buf_free(&db->body);
  free(db->file);
  free(db->branch);
  free(db->message);
  free(db->table);
  free(db->key);
  pthread_mutex_destroy(&db->cancel_lock);
  free(db);
}
