/* The owner's end: a thread that lets clients in, one for each client's control connection, one for each channel.
 *
 * V1  A session lives as long as its control connection is read. When that ends, what others could wait for is given
 *     back at once (gone); when its channels have left, the rest (end).
 * V2  serve_stop lets calls at work finish and answers no more. The descriptors stay open until serve_free, so that a
 *     client that sees the end of a connection finds the directory free.
 * V3  Whatever comes from a client is looked at before it is used; what makes no sense ends its connection.
 * Cost: a call is two messages and two wake-ups, about 15 us; a fetch besides a seek (5 us) and 1 us a group.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "kv/backend.h"
#include "kv/base/crypt.h"
#include "kv/greeting.h"
#include "kv/process.h"

enum { THREAD_STACK = 512 << 10, KEEP_BYTES = 1 << 20, FETCH_BYTES_MAX = 1 << 20, HELLO_SECONDS = 5 };

typedef struct session session;
typedef struct connection {
  struct connection *next;
  session *of; /* NULL: it has said nothing yet */
  int fd;
  bool over; /* its thread is gone */
} connection;

struct session {
  session *next;
  uint64_t client;
  uint8_t token[GREETING_TOKEN];
  void *data; /* serve_calls' */
  permit_word *permits; /* NULL: none */
  int channels;
  bool gone;
};

struct serve {
  kv *store;
  const serve_calls *calls;
  int listening, watch, page; /* watch: of those that knock; -1: not possible */
  char *directory;
  struct crypt_key *key;
  uint8_t token[GREETING_TOKEN];
  bool stopping;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  pthread_t door;
  session *sessions;
  connection *connections;
  size_t threads;
};

/* ---- reading for a client ---- */

static status get(serve *s, session *of, reader *r, buf *reply) {
  uint64_t id = read_number(r), family = read_number(r);
  slice key = read_bytes(r);
  const kv_snapshot *snapshot = NULL;
  void *hold = NULL;
  kv_value value;
  if (r->failed || family >= KV_FAMILIES) return HDB_PROTOCOL;
  if (id && !s->calls->snapshot(of->data, id, &snapshot, &hold)) return HDB_ABORT_ROLLBACK; /* it was let go of */
  status rc = kv_get(s->store, snapshot, (enum kv_family)family, key, &value);
  if (rc == HDB_OK) {
    buf_append(reply, value.data.p, value.data.n);
    kv_release(&value);
  }
  if (id) s->calls->release(hold);
  return rc;
}

static void put_entry(buf *reply, const kv_iter *it) {
  uint32_t n[2] = {(uint32_t)it->key.n, (uint32_t)it->value.n};
  buf_append(reply, n, sizeof n);
  buf_append(reply, it->key.p, it->key.n);
  buf_append(reply, it->value.p, it->value.n);
}

static void place(kv_iter *it, enum fetch_how how, slice key) {
  switch (how) {
  case FETCH_SEEK: it->seek(it, key); break;
  case FETCH_AFTER:
    it->seek(it, key);
    if (it->valid && slice_equal(it->key, key)) it->next(it);
    break;
  case FETCH_UP_TO: it->seek_for_prev(it, key); break;
  case FETCH_BEFORE:
    it->seek_for_prev(it, key);
    if (it->valid && slice_equal(it->key, key)) it->prev(it);
    break;
  case FETCH_LAST: it->seek_last(it); break;
  }
}

/* Entries from a place on, in one direction; first a byte: 1 when there are no more. */
static status fetch(serve *s, session *of, reader *r, buf *reply) {
  uint64_t id = read_number(r), family = read_number(r), how = read_number(r), bytes = read_number(r);
  slice lower = read_bytes(r), upper = read_bytes(r), key = read_bytes(r);
  const kv_snapshot *snapshot = NULL;
  void *hold = NULL;
  kv_iter *it;
  if (r->failed || family >= KV_FAMILIES || how > FETCH_LAST) return HDB_PROTOCOL;
  if (bytes > FETCH_BYTES_MAX) bytes = FETCH_BYTES_MAX;
  if (id && !s->calls->snapshot(of->data, id, &snapshot, &hold)) return HDB_ABORT_ROLLBACK; /* it was let go of */
  status rc = kv_iter_open(s->store, snapshot, (enum kv_family)family, lower, upper, &it);
  if (rc == HDB_OK) {
    bool back = how == FETCH_BEFORE || how == FETCH_LAST;
    place(it, (enum fetch_how)how, key);
    buf_byte(reply, 0);
    for (size_t k = 0; it->valid && (k < 2 || reply->n < bytes); k++) { /* two at least: where a group ends */
      put_entry(reply, it);
      if (back)
        it->prev(it);
      else
        it->next(it);
    }
    if (!it->valid && !buf_failed(reply)) reply->p[0] = 1;
    rc = it->error;
    it->close(it);
  }
  if (id) s->calls->release(hold);
  return rc;
}

static status answer(serve *s, session *of, uint32_t ask, slice request, buf *reply) {
  reader r = reader_of(request);
  status rc;
  switch (ask) {
  case ASK_GET: rc = get(s, of, &r, reply); break;
  case ASK_FETCH: rc = fetch(s, of, &r, reply); break;
  default: rc = s->calls->call(s->calls->context, of->data, ask, request, reply);
  }
  return buf_failed(reply) ? HDB_NOMEM : rc;
}

/* ---- connections ---- */

static void serve_channel(serve *s, session *of, int fd) {
  inbox in = {.fd = fd};
  buf reply = BUF_INIT;
  uint32_t ask;
  slice request;
  while (message_receive(&in, &ask, &request)) {
    pthread_mutex_lock(&s->lock);
    bool over = s->stopping || of->gone;
    pthread_mutex_unlock(&s->lock);
    if (over) break;
    bool wanted = !(ask & (uint32_t)MESSAGE_NO_REPLY);
    ask &= ~(uint32_t)MESSAGE_NO_REPLY;
    buf_clear(&reply);
    status rc = answer(s, of, ask, request, &reply);
    if (rc == HDB_PROTOCOL) break; /* V3 */
    slice part = buf_failed(&reply) ? slice_of(NULL, 0) : buf_slice(&reply);
    pthread_mutex_lock(&s->lock);
    over = s->stopping || of->gone;
    pthread_mutex_unlock(&s->lock);
    if (wanted && (over || !message_send(fd, (uint32_t)rc, &part, 1))) {
      if (rc == HDB_OK && ask >= ASK_MORE) s->calls->unsent(s->calls->context, of->data, ask, part);
      break;
    }
    if (reply.capacity > KEEP_BYTES || reply.failed) buf_free(&reply);
    if (in.bytes.capacity > KEEP_BYTES && in.at == in.bytes.n) {
      buf_free(&in.bytes);
      in.at = 0;
    }
  }
  buf_free(&reply);
  buf_free(&in.bytes);
}

/* The owner's page, and the permits' if there is one. */
static bool send_pages(int fd, int page, int permits) {
  char byte = 0, space[CMSG_SPACE(2 * sizeof(int))] = {0};
  int pages[2] = {page, permits};
  size_t n = (page < 0 ? 0 : permits < 0 ? 1 : 2) * sizeof(int);
  struct iovec io = {&byte, 1};
  struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = n ? space : NULL, .msg_controllen = n ? CMSG_SPACE(n) : 0};
  if (n) {
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(n);
    memcpy(CMSG_DATA(c), pages, n);
  }
  return sendmsg(fd, &m, MSG_NOSIGNAL) == 1;
}

/* A page for a session's permits, of a size that nobody can change: touching it is safe whatever the client does. */
static permit_word *make_permits(int *fd) {
  void *page = MAP_FAILED;
  *fd = memfd_create("heliosdb-permits", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (*fd >= 0 && ftruncate(*fd, PERMITS * sizeof(permit_word)) == 0 &&
      fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
    page = mmap(NULL, PERMITS * sizeof(permit_word), PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
  if (page != MAP_FAILED) return page;
  if (*fd >= 0) close(*fd);
  *fd = -1;
  return NULL;
}

static void session_free(session *x) {
  if (x && x->permits) munmap(x->permits, PERMITS * sizeof(permit_word));
  free(x);
}

static void session_over(serve *s, session *x) {
  pthread_mutex_lock(&s->lock);
  x->gone = true;
  for (connection *c = s->connections; c; c = c->next)
    if (c->of == x && !c->over) shutdown(c->fd, SHUT_RD);
  pthread_mutex_unlock(&s->lock);
  s->calls->gone(s->calls->context, x->data);
  pthread_mutex_lock(&s->lock);
  while (x->channels) pthread_cond_wait(&s->changed, &s->lock);
  for (session **p = &s->sessions; *p; p = &(*p)->next) {
    if (*p != x) continue;
    *p = x->next;
    break;
  }
  for (connection *c = s->connections; c; c = c->next)
    if (c->of == x) c->of = NULL;
  pthread_mutex_unlock(&s->lock);
  s->calls->end(s->calls->context, x->data);
  session_free(x);
}

static void serve_control(serve *s, connection *c, const greeting_client *hello) {
  buf greeting = BUF_INIT;
  struct ucred who = {.uid = UINT32_MAX};
  socklen_t who_n = sizeof who;
  getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &who, &who_n);
  session *x = calloc(1, sizeof *x);
  int permits = -1;
  status rc = x && getrandom(x->token, sizeof x->token, 0) == sizeof x->token ? HDB_OK : HDB_NOMEM;
  if (rc == HDB_OK) {
    x->client = hello->client;
    x->permits = make_permits(&permits);
    buf_append(&greeting, x->token, sizeof x->token);
    rc = s->calls->begin(s->calls->context, hello->client, who.uid, x->permits, &x->data, &greeting);
    if (rc == HDB_OK && buf_failed(&greeting)) rc = HDB_NOMEM;
  }
  if (rc == HDB_OK) {
    pthread_mutex_lock(&s->lock);
    x->next = s->sessions, s->sessions = x;
    c->of = x;
    bool stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    slice part = buf_slice(&greeting);
    char byte;
    bool sent = !stopping && send_pages(c->fd, s->page, permits);
    if (permits >= 0) close(permits);
    if (sent && message_send(c->fd, HDB_OK, &part, 1))
      while (recv(c->fd, &byte, 1, 0) < 0 && errno == EINTR) {
      }
    session_over(s, x);
  } else {
    if (permits >= 0) close(permits);
    if (send_pages(c->fd, -1, -1)) message_send(c->fd, (uint32_t)rc, NULL, 0);
    session_free(x);
  }
  buf_free(&greeting);
}

static session *join_session(serve *s, connection *c, const greeting_client *hello) {
  pthread_mutex_lock(&s->lock);
  session *x = s->sessions;
  while (x && (x->client != hello->client || memcmp(x->token, hello->token, sizeof x->token) != 0))
    x = x->next;
  if (x && (x->gone || s->stopping)) x = NULL;
  if (x) x->channels++, c->of = x;
  pthread_mutex_unlock(&s->lock);
  return x;
}

static void leave_session(serve *s, session *x) {
  pthread_mutex_lock(&s->lock);
  x->channels--;
  pthread_cond_broadcast(&s->changed);
  pthread_mutex_unlock(&s->lock);
}

static bool receive_hello(serve *s, int fd, greeting_client *hello) {
  greeting_owner ours = {
      .magic = GREETING_MAGIC, .protocol = GREETING_PROTOCOL, .flags = s->key ? GREETING_WANTS_PROOF : 0};
  struct timeval patience = {.tv_sec = HELLO_SECONDS}, none = {0};
  if (s->key && !crypt_random(ours.challenge, sizeof ours.challenge)) return false;
  if (send(fd, &ours, sizeof ours, MSG_NOSIGNAL) != sizeof ours) return false;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ssize_t n;
  while ((n = recv(fd, hello, sizeof *hello, MSG_WAITALL)) < 0 && errno == EINTR) {
  }
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none);
  if (n != sizeof *hello || hello->magic != GREETING_MAGIC || hello->protocol != GREETING_PROTOCOL)
    return false;
  if (!s->key || hello->kind == GREETING_CHANNEL ||
      crypt_verify(s->key, "client", ours.challenge, hello->proof))
    return true;
  if (send_pages(fd, -1, -1)) message_send(fd, HDB_NOTADB, NULL, 0);
  return false;
}

typedef struct arrival {
  serve *s;
  connection *c;
} arrival;

static void *connection_thread(void *argument) {
  arrival a = *(arrival *)argument;
  serve *s = a.s;
  connection *c = a.c;
  greeting_client hello;
  free(argument);
  if (receive_hello(s, c->fd, &hello)) {
    session *x;
    if (hello.kind == GREETING_CONTROL) {
      if (memcmp(hello.token, s->token, sizeof s->token) == 0) serve_control(s, c, &hello);
    } else if ((x = join_session(s, c, &hello))) {
      if (message_send(c->fd, HDB_OK, NULL, 0)) serve_channel(s, x, c->fd);
      leave_session(s, x);
    }
  }
  pthread_mutex_lock(&s->lock);
  c->over = true;
  if (!s->stopping) { /* V2: else serve_free closes it */
    for (connection **p = &s->connections; *p; p = &(*p)->next) {
      if (*p != c) continue;
      *p = c->next;
      break;
    }
    owner_close(c->fd);
    free(c);
  }
  s->threads--;
  pthread_cond_broadcast(&s->changed);
  pthread_mutex_unlock(&s->lock);
  return NULL;
}

static bool start_thread(void *(*run)(void *), void *argument, pthread_t *out) {
  pthread_attr_t attributes;
  sigset_t all, before;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, THREAD_STACK);
  if (!out) pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* the program's signals are for its own threads */
  pthread_t thread;
  bool fine = pthread_create(&thread, &attributes, run, argument) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  if (fine && out) *out = thread;
  return fine;
}

static void let_in(serve *s, int fd) {
  connection *c = calloc(1, sizeof *c);
  arrival *a = malloc(sizeof *a);
  pthread_mutex_lock(&s->lock);
  bool fine = c && a && !s->stopping;
  if (fine) {
    c->fd = fd;
    *a = (arrival){s, c};
    fine = start_thread(connection_thread, a, NULL);
  }
  if (fine) {
    c->next = s->connections, s->connections = c;
    s->threads++;
  }
  pthread_mutex_unlock(&s->lock);
  if (fine) return;
  owner_close(fd);
  free(c);
  free(a);
}

/* No descriptor is left. Ours that are closed wake us; what the program closes itself tells nobody, so a look from time to
 * time. */
static void wait_for_room(serve *s) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += 10000000;
  if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
  pthread_mutex_lock(&s->lock);
  if (!s->stopping) pthread_cond_timedwait(&s->changed, &s->lock, &until);
  pthread_mutex_unlock(&s->lock);
}

static void let_in_knocking(void *context, int fd) {
  owner_keep_from_child(fd);
  let_in(context, fd);
}

static void *door_thread(void *argument) {
  serve *s = argument;
  if (s->watch >= 0) knock_answer(s->watch, s->directory, true, let_in_knocking, s);
  for (;;) {
    struct pollfd doors[2] = {{.fd = s->listening, .events = POLLIN}, {.fd = s->watch, .events = POLLIN}};
    if (poll(doors, 2, -1) > 0 && doors[1].revents) knock_answer(s->watch, s->directory, false, let_in_knocking, s);
    if (!doors[0].revents) continue;
    int fd = accept4(s->listening, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
      owner_keep_from_child(fd);
      let_in(s, fd);
      continue;
    }
    pthread_mutex_lock(&s->lock);
    bool stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    if (stopping ||
        (errno != EINTR && errno != ECONNABORTED && errno != EMFILE && errno != ENFILE && errno != ENOMEM))
      return NULL;
    if (errno != EINTR && errno != ECONNABORTED) wait_for_room(s); /* the client waits in line */
  }
}

/* ---- life ---- */

status serve_start(owner *o, kv *store, struct crypt_key *key, int page, const serve_calls *calls,
                   serve **out) {
  serve *s = calloc(1, sizeof *s);
  *out = NULL;
  if (!s) return HDB_NOMEM;
  s->store = store, s->page = page, s->calls = calls, s->key = key;
  memcpy(s->token, owner_token(o), sizeof s->token);
  pthread_mutex_init(&s->lock, NULL);
  pthread_cond_init(&s->changed, NULL);
  s->listening = owner_listen(o);
  s->directory = strdup(owner_directory(o));
  s->watch = s->directory ? knock_watch(s->directory) : -1;
  if (s->watch >= 0) owner_keep_from_child(s->watch);
  if (s->listening >= 0 && start_thread(door_thread, s, &s->door)) {
    *out = s;
    return HDB_OK;
  }
  status rc = kv_fail(HDB_CANTOPEN, "the socket for other processes: %s", strerror(errno));
  if (s->listening >= 0) owner_close(s->listening);
  owner_close(s->watch);
  free(s->directory);
  pthread_mutex_destroy(&s->lock);
  pthread_cond_destroy(&s->changed);
  free(s);
  return rc;
}

void serve_stop(serve *s) {
  if (!s) return;
  pthread_mutex_lock(&s->lock);
  s->stopping = true;
  shutdown(s->listening, SHUT_RDWR);
  for (connection *c = s->connections; c; c = c->next)
    if (!c->over) shutdown(c->fd, SHUT_RD);
  while (s->threads) pthread_cond_wait(&s->changed, &s->lock);
  pthread_mutex_unlock(&s->lock);
  pthread_join(s->door, NULL);
}

void serve_free(serve *s) {
  if (!s) return;
  while (s->connections) {
    connection *c = s->connections;
    s->connections = c->next;
    owner_close(c->fd);
    free(c);
  }
  owner_close(s->listening);
  owner_close(s->watch);
  free(s->directory);
  pthread_mutex_destroy(&s->lock);
  pthread_cond_destroy(&s->changed);
  free(s);
}

size_t serve_clients(serve *s) {
  size_t n = 0;
  if (!s) return 0;
  pthread_mutex_lock(&s->lock);
  for (session *x = s->sessions; x; x = x->next) n += !x->gone;
  pthread_mutex_unlock(&s->lock);
  return n;
}
