/* LISTEN, UNLISTEN, NOTIFY: channels of this server, in memory.
 *
 * A notification is sent when the notifying transaction has committed, once for equal ones of a transaction. It reaches a
 * session that listens at once when that is idle outside of a transaction, else with its next ReadyForQuery outside of one.
 * Sessions of other processes on the same database do not hear it.
 * Y1  connection.listens and inbox are guarded by its mutex; `quiet` says that its session waits for a message, outside of
 *     a transaction: only then may another thread put bytes behind its output.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/session.h"

struct channel {
  struct channel *next;
  char name[64];
};
struct notification {
  struct notification *next;
  char channel[64];
  char *payload;
};

static void put_notification(buf *out, uint32_t process, const char *channel, const char *payload) {
  size_t m = message_begin(out, 'A');
  buf_be32(out, process);
  buf_append(out, channel, strlen(channel) + 1);
  buf_append(out, payload, strlen(payload) + 1);
  message_end(out, m);
}

static bool listens(const connection *c, const char *channel) {
  for (const struct channel *k = c->listens; k; k = k->next)
    if (strcmp(k->name, channel) == 0) return true;
  return false;
}

static status notify_listen(session *s, const char *channel) {
  connection *c = s->c;
  struct channel *k = calloc(1, sizeof *k);
  if (!k) return error_set(&s->err, HDB_NOMEM, "out of memory");
  snprintf(k->name, sizeof k->name, "%s", channel);
  pthread_mutex_lock(&c->mutex);
  bool there = listens(c, k->name);
  if (!there) k->next = c->listens, c->listens = k;
  pthread_mutex_unlock(&c->mutex);
  if (there) free(k);
  return HDB_OK;
}

void notify_unlisten(connection *c, const char *channel) {
  pthread_mutex_lock(&c->mutex);
  for (struct channel **at = &c->listens; *at;) {
    struct channel *k = *at;
    if (channel && strcmp(k->name, channel) != 0) {
      at = &k->next;
      continue;
    }
    *at = k->next;
    free(k);
  }
  pthread_mutex_unlock(&c->mutex);
}

enum { INBOX_LIMIT = 16 << 20 };

/* Y1. Under the server's mutex. */
static void deliver(session *from, connection *c, const struct notification *n) {
  pthread_mutex_lock(&c->mutex);
  bool wanted = !c->closed && !c->end && listens(c, n->channel), wake = false;
  if (wanted && c->inbox.n + c->out.n > INBOX_LIMIT) { /* it listens and does not read: its session ends */
    atomic_store(&c->terminated, true);
    server_poke(c->server);
  } else if (wanted) {
    put_notification(&c->inbox, from->c->process, n->channel, n->payload);
    wake = c->quiet && !c->inbox.failed;
    if (wake) {
      buf_append(&c->out, c->inbox.p, c->inbox.n);
      buf_clear(&c->inbox);
    }
  }
  pthread_mutex_unlock(&c->mutex);
  if (wake) connection_wake_locked(c);
}

/* The transaction is over. */
void notify_transaction_end(session *s, bool commit) {
  struct notification *list = s->notifications;
  s->notifications = NULL;
  s->last_notification = NULL;
  if (!list) return;
  pthread_mutex_lock(&s->server->mutex);
  for (struct notification *n = list; n && commit; n = n->next)
    for (connection *c = s->server->connections; c; c = c->next) deliver(s, c, n);
  pthread_mutex_unlock(&s->server->mutex);
  if (commit) server_wake(s->server);
  while (list) {
    struct notification *n = list;
    list = n->next;
    free(n->payload);
    free(n);
  }
}

status notify_send(session *s, const char *channel, const char *payload) {
  if (!*channel) return session_fail(s, "22023", NULL, NULL, "channel name cannot be empty");
  if (strlen(channel) > 63) return session_fail(s, "22023", NULL, NULL, "channel name too long");
  if (strlen(payload) > 7999) return session_fail(s, "22023", NULL, NULL, "payload string too long");
  for (struct notification *n = s->notifications; n; n = n->next)
    if (strcmp(n->channel, channel) == 0 && strcmp(n->payload, payload) == 0) return HDB_OK;
  struct notification *n = calloc(1, sizeof *n);
  char *copy = n ? strdup(payload) : NULL;
  if (!copy) {
    free(n);
    return error_set(&s->err, HDB_NOMEM, "out of memory");
  }
  snprintf(n->channel, sizeof n->channel, "%s", channel);
  n->payload = copy;
  if (s->last_notification) s->last_notification->next = n;
  else s->notifications = n;
  s->last_notification = n;
  return HDB_OK;
}

/* Before ReadyForQuery: what came meanwhile; from behind it on others may write. */
void notify_ready(session *s) {
  connection *c = s->c;
  if (s->block == BLOCK_NONE && !s->implicit) notify_transaction_end(s, true); /* of single statements */
  pthread_mutex_lock(&c->mutex);
  if (s->block == BLOCK_NONE && c->inbox.n) {
    buf_append(&s->out, c->inbox.p, c->inbox.n);
    buf_clear(&c->inbox);
  }
  pthread_mutex_unlock(&c->mutex);
}

/* The answer is on its way: quiet from here on, unless a transaction is open. */
void notify_quiet(session *s, bool quiet) {
  connection *c = s->c;
  if (!c->listens && !quiet && !c->quiet) return;
  pthread_mutex_lock(&c->mutex);
  c->quiet = quiet && s->block == BLOCK_NONE && c->listens;
  if (c->quiet && c->inbox.n) {
    buf_append(&s->out, c->inbox.p, c->inbox.n);
    buf_clear(&c->inbox);
  }
  pthread_mutex_unlock(&c->mutex);
  if (quiet && s->out.n) session_send(s);
}

void notify_free(session *s) {
  notify_transaction_end(s, false);
  notify_unlisten(s->c, NULL);
}

/* LISTEN channel, UNLISTEN channel | *, NOTIFY channel [, 'payload'] */
status notify_run(session *s, const translation *t) {
  const pg_token *k = t->tokens_n > 1 ? &t->tokens[1] : NULL;
  if (!k) return error_set(&s->err, HDB_ERROR, "syntax error at end of input");
  bool name = k->kind == PT_WORD || k->kind == PT_QUOTED, all = k->kind == PT_OPERATOR && strcmp(k->text, "*") == 0;
  bool payload = t->class == CLASS_NOTIFY && t->tokens_n == 4 && t->tokens[2].kind == PT_PUNCT && *t->tokens[2].text == ',' && t->tokens[3].kind == PT_STRING;
  if ((!name && !(all && t->class == CLASS_UNLISTEN)) || (t->tokens_n > 2 && !payload)) {
    const pg_token *bad = name && t->tokens_n > 2 ? &t->tokens[2] : k;
    error_set(&s->err, HDB_ERROR, "syntax error at or near \"%s\"", bad->text);
    s->err.offset = (int)bad->at;
    return HDB_ERROR;
  }
  if (t->class == CLASS_LISTEN) return notify_listen(s, k->text);
  if (t->class == CLASS_NOTIFY) return notify_send(s, k->text, payload ? t->tokens[3].text : "");
  notify_unlisten(s->c, all ? NULL : k->text);
  return HDB_OK;
}
