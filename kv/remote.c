/* A store that is another process's: calls over channels, snapshots that are the owner's, iterators that fetch ahead.
 *
 * A call takes an idle channel, or connects a new one, sends its request, waits, and gives the channel back. When the
 * owner is gone the store is dead for good: every call says HDB_BUSY_RECOVERY, and mvcc takes another store.
 *
 * C1  An iterator holds one batch of neighbouring entries in ascending order and a place in it; a seek that falls
 *     between them costs no call. Each further batch in one direction is four times the last, from 8 KB to 256 KB.
 * C2  When a batch was read forward, the next one is asked for before it is wanted (ahead): the owner reads while the
 *     caller works. That channel belongs to the iterator until the reply was taken.
 * C3  After a time without an answer a channel is closed: its late reply would be taken for another's.
 * Nothing can be written through it.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "kv/backend.h"
#include "kv/base/crypt.h"
#include "kv/base/leave.h"
#include "kv/greeting.h"
#include "kv/process.h"

enum { KNOCK_MS = 200, IDLE_MAX = 8, BATCH_FIRST = 8 << 10, BATCH_MAX = 256 << 10, ENTRIES_MIN = 16 };

typedef struct channel {
  inbox in;
  int patience_ms; /* what the socket is set to */
} channel;

typedef struct remote {
  kv base;
  char *directory;
  uint64_t client;
  struct crypt_key *key; /* only while it connects */
  uint8_t token[GREETING_TOKEN];
  int control;
  atomic_int patience_ms;
  atomic_bool lost, stale;
  permit_word *permits;          /* NULL: none */
  _Atomic uint64_t permit_numbers;
  pthread_mutex_t lock;
  channel *idle[IDLE_MAX];
  int idle_n;
} remote;

typedef struct remote_snapshot_ {
  uint64_t id;
  uint32_t drop;
} snapshot;

typedef struct pin {
  size_t n;
  uint8_t bytes[];
} pin;

static const kv_backend remote_backend;

/* ---- connecting ---- */

static void set_patience(int fd, int ms) {
  struct timeval t = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
  if (ms <= 0) t.tv_usec = 1000;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

static bool is_gone(const remote *r) {
  char byte;
  ssize_t n = recv(r->control, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

/* A connection that has said who we are. HDB_CANTOPEN: nobody listens; HDB_BUSY: no answer. */
static status introduce(const remote *r, uint32_t kind, int patience_ms, int *out) {
  greeting_owner theirs;
  greeting_client ours = {.magic = GREETING_MAGIC,
                          .protocol = GREETING_PROTOCOL,
                          .kind = kind,
                          .pid = (uint32_t)getpid(),
                          .client = r->client};
  int fd, slice_ms = patience_ms < KNOCK_MS ? patience_ms : KNOCK_MS; /* an owner that is knocked at may be gone */
  for (int left = patience_ms;; left -= slice_ms) {
    fd = owner_connect(r->directory, ours.token, slice_ms);
    if (fd >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) break;
    if (kind == GREETING_CONTROL || is_gone(r)) return HDB_CANTOPEN;
    if (left <= slice_ms) return HDB_BUSY;
  }
  if (kind == GREETING_CHANNEL) memcpy(ours.token, r->token, sizeof ours.token);
  if (fd < 0)
    return errno == EACCES || errno == EPERM
               ? kv_fail(HDB_CANTOPEN_FULLPATH, "the owner's socket: %s", strerror(errno))
               : HDB_CANTOPEN;
  set_patience(fd, patience_ms);
  ssize_t n;
  while ((n = recv(fd, &theirs, sizeof theirs, MSG_WAITALL)) < 0 && errno == EINTR) {
  }
  bool late = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  bool fine = n == sizeof theirs && theirs.magic == GREETING_MAGIC;
  status rc = fine ? HDB_OK : late ? HDB_BUSY : HDB_CANTOPEN;
  if (fine && theirs.protocol != GREETING_PROTOCOL)
    rc = kv_fail(HDB_ERROR, "the process that has the database open is of another version of this program");
  if (rc == HDB_OK && kind == GREETING_CONTROL) {
    if (!(theirs.flags & GREETING_WANTS_PROOF) != !r->key)
      rc = kv_fail(HDB_NOTADB, "%s", status_text(HDB_NOTADB));
    else if (r->key)
      crypt_prove(r->key, "client", theirs.challenge, ours.proof);
  }
  if (rc == HDB_OK && send(fd, &ours, sizeof ours, MSG_NOSIGNAL) != sizeof ours) rc = HDB_CANTOPEN;
  if (rc != HDB_OK) {
    owner_close(fd);
    return rc;
  }
  *out = fd;
  return HDB_OK;
}

static permit_word *map_permits(int fd) {
  struct stat st;
  size_t n = PERMITS * sizeof(permit_word);
  void *page = fstat(fd, &st) == 0 && st.st_size >= (off_t)n ? mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
  close(fd);
  return page == MAP_FAILED ? NULL : page;
}

/* The owner's page, and behind it the permits'. */
static int receive_page(remote *r, int fd) {
  char byte, space[CMSG_SPACE(2 * sizeof(int))];
  int pages[2] = {-1, -1};
  struct iovec io = {&byte, 1};
  struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
  ssize_t n;
  while ((n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  if (n != 1) return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? -3 : -2;
  struct cmsghdr *c = CMSG_FIRSTHDR(&m);
  if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len <= CMSG_LEN(sizeof pages))
    memcpy(pages, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
  if (pages[1] >= 0) r->permits = map_permits(pages[1]);
  return pages[0];
}

static status receive_greeting(remote *r, remote_greeting *greeting) {
  inbox in = {.fd = r->control};
  uint32_t what = HDB_OK;
  slice body;
  greeting->page = receive_page(r, r->control);
  if (greeting->page < -1) return greeting->page == -3 ? HDB_BUSY : HDB_CANTOPEN;
  status rc = HDB_OK;
  if (!message_receive(&in, &what, &body))
    rc = errno == EAGAIN || errno == EWOULDBLOCK ? HDB_BUSY : HDB_CANTOPEN;
  else if (what != HDB_OK)
    rc = (status)what;
  else if (body.n < sizeof r->token)
    rc = HDB_PROTOCOL;
  if (rc == HDB_OK) {
    memcpy(r->token, body.p, sizeof r->token);
    buf_append(&greeting->bytes, body.p + sizeof r->token, body.n - sizeof r->token);
    if (buf_failed(&greeting->bytes)) rc = HDB_NOMEM;
  }
  if (rc != HDB_OK && greeting->page >= 0) {
    close(greeting->page);
    greeting->page = -1;
  }
  buf_free(&in.bytes);
  return rc;
}

static status remote_close(kv *store) {
  remote *r = (remote *)store;
  for (int i = 0; i < r->idle_n; i++) {
    owner_close(r->idle[i]->in.fd);
    buf_free(&r->idle[i]->in.bytes);
    free(r->idle[i]);
  }
  owner_close(r->control);
  if (r->permits) munmap(r->permits, PERMITS * sizeof(permit_word));
  pthread_mutex_destroy(&r->lock);
  free(r->directory);
  free(r);
  return HDB_OK;
}

status remote_open(const char *directory, uint64_t client, struct crypt_key *key, int timeout_ms,
                   remote_greeting *greeting, kv **out) {
  remote *r = calloc(1, sizeof *r);
  *out = NULL;
  greeting->page = -1;
  if (!r || !(r->directory = strdup(directory))) {
    free(r);
    return kv_fail(HDB_NOMEM, "out of memory");
  }
  leave_before_wait();
  r->base.backend = &remote_backend;
  r->client = client, r->key = key;
  r->control = -1;
  atomic_init(&r->patience_ms, timeout_ms);
  pthread_mutex_init(&r->lock, NULL);
  status rc = introduce(r, GREETING_CONTROL, timeout_ms, &r->control);
  if (rc == HDB_OK) rc = receive_greeting(r, greeting);
  r->key = NULL;
  if (rc != HDB_OK) {
    remote_close(&r->base);
    return rc;
  }
  *out = &r->base;
  return HDB_OK;
}

kv *remote_dead(const char *directory) {
  remote *r = calloc(1, sizeof *r);
  if (!r || !(r->directory = strdup(directory))) {
    free(r);
    return NULL;
  }
  r->base.backend = &remote_backend;
  r->control = -1;
  atomic_init(&r->lost, true);
  pthread_mutex_init(&r->lock, NULL);
  return &r->base;
}

/* ---- channels ---- */

static void channel_free(channel *c) {
  owner_close(c->in.fd);
  buf_free(&c->in.bytes);
  free(c);
}

static status lost(remote *r) {
  atomic_store(&r->lost, true);
  return kv_fail(HDB_BUSY_RECOVERY, "the process that had the database open is gone");
}

static status no_answer(remote *r) {
  owner_who who;
  if (owner_look(r->directory, &who))
    status_explain("process %d (%s), which has it open, does not answer", who.pid, who.program);
  return kv_fail(HDB_BUSY, "no answer");
}

static status channel_new(remote *r, int patience_ms, channel **out) {
  inbox in = {.fd = -1};
  uint32_t what = HDB_OK;
  slice body;
  status rc = introduce(r, GREETING_CHANNEL, patience_ms, &in.fd);
  if (rc == HDB_BUSY) return no_answer(r);
  if (rc == HDB_CANTOPEN) return lost(r);
  TRY(rc);
  channel *c = calloc(1, sizeof *c);
  if (!c)
    rc = kv_fail(HDB_NOMEM, "out of memory");
  else if (!message_receive(&in, &what, &body))
    rc = errno == EAGAIN || errno == EWOULDBLOCK ? no_answer(r) : lost(r);
  if (rc != HDB_OK) {
    owner_close(in.fd);
    buf_free(&in.bytes);
    free(c);
    return rc;
  }
  c->in = in, c->patience_ms = patience_ms;
  *out = c;
  return HDB_OK;
}

/* Half of it for an answer, half for a sign of life. */
static int half_patience(remote *r) {
  int ms = atomic_load(&r->patience_ms) / 2;
  return ms > 20 ? ms : 20;
}

static status channel_take(remote *r, channel **out) {
  int patience_ms = half_patience(r);
  leave_before_wait();
  if (atomic_load(&r->lost)) return lost(r);
  pthread_mutex_lock(&r->lock);
  channel *c = r->idle_n ? r->idle[--r->idle_n] : NULL;
  pthread_mutex_unlock(&r->lock);
  if (!c) return channel_new(r, patience_ms, out);
  if (c->patience_ms != patience_ms) {
    set_patience(c->in.fd, patience_ms);
    c->patience_ms = patience_ms;
  }
  *out = c;
  return HDB_OK;
}

static void channel_give(remote *r, channel *c) {
  pthread_mutex_lock(&r->lock);
  bool kept = r->idle_n < IDLE_MAX && !atomic_load(&r->lost);
  if (kept) r->idle[r->idle_n++] = c;
  pthread_mutex_unlock(&r->lock);
  if (!kept) channel_free(c);
}

static status send_request(remote *r, channel *c, uint32_t ask, slice request) {
  if (message_send(c->in.fd, ask, &request, 1)) return HDB_OK;
  if (errno == EMSGSIZE) return kv_fail(HDB_TOOBIG, "more than can be sent at once");
  if (errno == EAGAIN || errno == EWOULDBLOCK) return no_answer(r);
  return lost(r);
}

/* The owner lets somebody in: then he is at work on what we wait for. */
static bool is_alive(remote *r) {
  channel *c;
  if (channel_new(r, half_patience(r), &c) != HDB_OK) return false;
  channel_give(r, c);
  return true;
}

static status receive_reply(remote *r, channel *c, const permit *p, slice *body) {
  uint32_t what;
  for (bool begun = false;;) {
    if (message_receive(&c->in, &what, body)) {
      if (what != HDB_ABORT_ROLLBACK) return (status)what;
      atomic_store(&r->stale, true);
      return kv_fail(HDB_BUSY_RECOVERY, "the owner has let go of the snapshot");
    }
    if (errno == ENOMEM) return kv_fail(HDB_NOMEM, "out of memory");
    if (errno != EAGAIN && errno != EWOULDBLOCK) return lost(r);
    if (is_alive(r)) continue;
    if (atomic_load(&r->lost)) return lost(r);
    if (!p || begun || remote_withdraw(&r->base, *p)) return no_answer(r);
    begun = true; /* what was begun is a matter of a moment, unless the owner was stopped just then: once more the time */
  }
}

/* One request and its reply; the channel is the caller's afterwards when *c is not NULL. The reply lies in it. */
static status exchange(remote *r, uint32_t ask, slice request, const permit *p, channel **c, slice *body) {
  *c = NULL;
  TRY(channel_take(r, c));
  status rc = send_request(r, *c, ask, request);
  bool sent = rc == HDB_OK;
  if (sent) rc = receive_reply(r, *c, p, body);
  if (!sent || (*c)->in.at != (*c)->in.bytes.n || (*c)->in.bytes.n == 0) { /* C3: no whole reply */
    channel_free(*c);
    *c = NULL;
  }
  return rc;
}

/* ---- permits ---- */

permit remote_permit(kv *store) {
  remote *r = (remote *)store;
  permit p = {.place = PERMITS_NONE, .number = atomic_fetch_add(&r->permit_numbers, 1) + 1};
  for (uint32_t i = 0; r->permits && i < PERMITS; i++) {
    uint64_t none = 0;
    uint32_t place = (uint32_t)((p.number + i) % PERMITS);
    if (!atomic_compare_exchange_strong(&r->permits[place], &none, p.number << 2 | PERMIT_OPEN)) continue;
    p.place = place;
    break;
  }
  return p;
}

bool remote_withdraw(kv *store, permit p) {
  remote *r = (remote *)store;
  if (p.place == PERMITS_NONE) return false;
  permit_word *w = &r->permits[p.place];
  return permit_change(w, p.number, PERMIT_WITHDRAWN) || atomic_load(w) == (p.number << 2 | PERMIT_WITHDRAWN);
}

void remote_permit_done(kv *store, permit p) {
  remote *r = (remote *)store;
  if (p.place != PERMITS_NONE) atomic_store(&r->permits[p.place], 0);
}

static status call_with(remote *r, uint32_t ask, slice request, const permit *p, buf *reply) {
  channel *c;
  slice body = {0};
  status rc = exchange(r, ask, request, p, &c, &body);
  if (!c) return rc;
  buf_append(reply, body.p, body.n);
  channel_give(r, c);
  return buf_failed(reply) ? HDB_NOMEM : rc;
}

status remote_call(kv *store, uint32_t ask, slice request, buf *reply) {
  return call_with((remote *)store, ask, request, NULL, reply);
}

status remote_call_permitted(kv *store, uint32_t ask, slice request, permit p, buf *reply) {
  return call_with((remote *)store, ask, request, p.place == PERMITS_NONE ? NULL : &p, reply);
}

void remote_tell(kv *store, uint32_t ask, slice request) {
  remote *r = (remote *)store;
  channel *c;
  if (channel_take(r, &c) != HDB_OK) return;
  if (send_request(r, c, ask | (uint32_t)MESSAGE_NO_REPLY, request) == HDB_OK)
    channel_give(r, c);
  else
    channel_free(c);
}

void remote_patience(kv *store, int timeout_ms) {
  atomic_store(&((remote *)store)->patience_ms, timeout_ms);
}

bool remote_was_stale(kv *store) { return atomic_exchange(&((remote *)store)->stale, false); }

bool remote_is_lost(kv *store) {
  remote *r = (remote *)store;
  if (atomic_load(&r->lost)) return true;
  if (!is_gone(r)) return false;
  lost(r);
  return true;
}

void remote_abandon(kv *store) {
  remote *r = (remote *)store;
  pthread_mutex_init(&r->lock, NULL);
  r->idle_n = 0; /* closed already: owner_forget_forked */
  r->control = -1;
  atomic_store(&r->lost, true);
}

/* ---- the store: reading ---- */

static uint64_t snapshot_id(const kv_snapshot *s) {
  return s ? ((const snapshot *)s)->id : 0;
}

kv_snapshot *remote_snapshot(kv *store, uint64_t id, uint32_t drop) {
  (void)store;
  snapshot *s = malloc(sizeof *s);
  if (s) *s = (snapshot){id, drop};
  return (kv_snapshot *)s;
}

static void snapshot_close(kv *store, kv_snapshot *closed) {
  snapshot *s = (snapshot *)closed;
  uint8_t space[16];
  buf b = {space, 0, sizeof space, false};
  buf_varint(&b, s->id);
  if (!atomic_load(&((remote *)store)->lost)) remote_tell(store, s->drop, slice_of(space, b.n));
  free(s);
}

static kv_snapshot *snapshot_open(kv *store) {
  (void)store;
  return NULL; /* mvcc asks for views */
}

static status remote_get(kv *store, const kv_snapshot *s, enum kv_family family, slice key, kv_value *out) {
  remote *r = (remote *)store;
  buf request = BUF_INIT;
  channel *c;
  slice body = {0};
  *out = (kv_value){.owner = store};
  buf_varint(&request, snapshot_id(s));
  buf_varint(&request, family);
  put_bytes(&request, key);
  status rc = buf_failed(&request) ? HDB_NOMEM : exchange(r, ASK_GET, buf_slice(&request), NULL, &c, &body);
  buf_free(&request);
  if (rc == HDB_NOMEM || !c) return rc;
  if (rc == HDB_OK) {
    pin *p = malloc(sizeof *p + body.n + 8);
    if (p) {
      if (body.n) memcpy(p->bytes, body.p, body.n);
      out->pin = p;
      out->data = slice_of(p->bytes, body.n);
    } else {
      rc = kv_fail(HDB_NOMEM, "out of memory");
    }
  }
  channel_give(r, c);
  return rc;
}

static void remote_release(void *p) {
  free(p);
}

/* ---- iterators ---- */

typedef struct entry {
  uint32_t key_at, key_n, value_n; /* in the batch; the value follows the key */
} entry;

typedef struct remote_iter {
  kv_iter base;
  remote *r;
  uint64_t snapshot;
  enum kv_family family;
  slice lower, upper;
  buf batch, request, place;
  entry *entries; /* ascending */
  size_t n, capacity, at;
  bool first_known, last_known; /* there is nothing before the first entry, behind the last */
  uint32_t want;                /* bytes of the next batch */
  channel *ahead;               /* C2 */
  uint8_t bounds[];
} remote_iter;

static slice entry_key(const remote_iter *i, size_t k) {
  return slice_of(i->batch.p + i->entries[k].key_at, i->entries[k].key_n);
}

static void show(remote_iter *i) {
  i->base.valid = i->at < i->n;
  if (!i->base.valid) return;
  i->base.key = entry_key(i, i->at);
  i->base.value = slice_of(i->base.key.p + i->base.key.n, i->entries[i->at].value_n);
}

static void iter_fail(remote_iter *i, status rc) {
  i->base.valid = false;
  i->base.error = rc;
  i->n = i->at = 0;
  i->first_known = i->last_known = false;
}

static void drop_ahead(remote_iter *i) {
  if (i->ahead) channel_free(i->ahead); /* C3 */
  i->ahead = NULL;
}

static slice make_request(remote_iter *i, enum fetch_how how, slice key) {
  buf *b = &i->request;
  buf_clear(b);
  buf_varint(b, i->snapshot);
  buf_varint(b, i->family);
  buf_varint(b, how);
  buf_varint(b, i->want);
  put_bytes(b, i->lower), put_bytes(b, i->upper), put_bytes(b, key);
  return buf_slice(b);
}

/* The batch's entries from its bytes; they came descending when back. */
static status index_batch(remote_iter *i, bool back, bool *ended) {
  size_t at = MESSAGE_HEAD + 1;
  i->n = 0;
  if (i->batch.n < at) return HDB_PROTOCOL;
  *ended = i->batch.p[MESSAGE_HEAD] != 0;
  while (at < i->batch.n) {
    uint32_t n[2];
    if (i->batch.n - at < sizeof n) return HDB_PROTOCOL;
    memcpy(n, i->batch.p + at, sizeof n);
    at += sizeof n;
    if ((uint64_t)n[0] + n[1] > i->batch.n - at) return HDB_PROTOCOL;
    if (i->n == i->capacity) {
      size_t capacity = i->capacity ? 2 * i->capacity : ENTRIES_MIN;
      entry *more = realloc(i->entries, capacity * sizeof *more);
      if (!more) return HDB_NOMEM;
      i->entries = more, i->capacity = capacity;
    }
    i->entries[i->n++] = (entry){(uint32_t)at, n[0], n[1]};
    at += (size_t)n[0] + n[1];
  }
  for (size_t a = 0, z = i->n; back && a + 1 < z; a++) {
    entry e = i->entries[a];
    i->entries[a] = i->entries[--z];
    i->entries[z] = e;
  }
  return HDB_OK;
}

/* C2: asks for what follows the batch in hand; what goes wrong shows when it is wanted. */
static void ask_ahead(remote_iter *i) {
  if (i->last_known || !i->n || i->want < BATCH_MAX) return;
  channel *c;
  slice request = make_request(i, FETCH_AFTER, entry_key(i, i->n - 1));
  if (buf_failed(&i->request) || channel_take(i->r, &c) != HDB_OK) return;
  if (send_request(i->r, c, ASK_FETCH, request) == HDB_OK)
    i->ahead = c;
  else
    channel_free(c);
}

static status receive_batch(remote_iter *i, channel *c) {
  slice body = {0};
  status rc = receive_reply(i->r, c, NULL, &body);
  if (rc != HDB_OK || c->in.at != c->in.bytes.n) {
    channel_free(c);
    return rc == HDB_OK ? HDB_PROTOCOL : rc;
  }
  buf kept = i->batch; /* the channel's buffer, message head and all, for ours: nothing is copied */
  i->batch = c->in.bytes;
  kept.n = 0;
  c->in.bytes = kept, c->in.at = 0;
  channel_give(i->r, c);
  return HDB_OK;
}

static status fetch_batch(remote_iter *i, enum fetch_how how, slice key) {
  channel *c = i->ahead;
  i->ahead = NULL;
  if (c && how == FETCH_AFTER) return receive_batch(i, c);
  if (c) channel_free(c);
  slice request = make_request(i, how, key);
  if (buf_failed(&i->request)) return HDB_NOMEM;
  TRY(channel_take(i->r, &c));
  status rc = send_request(i->r, c, ASK_FETCH, request);
  if (rc == HDB_OK) return receive_batch(i, c);
  channel_free(c);
  return rc;
}

/* A new batch in hand, i->at on its first entry in the direction asked for. */
static void load(remote_iter *i, enum fetch_how how, slice key) {
  bool back = how == FETCH_BEFORE || how == FETCH_LAST, ended = false;
  i->base.error = HDB_OK;
  i->first_known = i->last_known = false;
  status rc = fetch_batch(i, how, key);
  if (rc == HDB_OK) rc = index_batch(i, back, &ended);
  if (rc == HDB_PROTOCOL) rc = kv_fail(HDB_CORRUPT, "the owner's answer makes no sense");
  if (rc != HDB_OK) return iter_fail(i, rc);
  if (back)
    i->first_known = ended, i->last_known = how == FETCH_LAST;
  else
    i->last_known = ended;
  i->at = back && i->n ? i->n - 1 : 0;
  i->want = i->want * 4 > BATCH_MAX ? BATCH_MAX : i->want * 4;
  if (how == FETCH_AFTER) ask_ahead(i);
  show(i);
}

/* The place must outlive the batch it lies in. */
static slice place_of(remote_iter *i, slice key) {
  buf_clear(&i->place);
  buf_append(&i->place, key.p, key.n);
  return buf_slice(&i->place);
}

static void iter_next(kv_iter *base) {
  remote_iter *i = (remote_iter *)base;
  if (!base->valid) return;
  if (i->at + 1 < i->n) {
    i->at++;
  } else if (i->last_known) {
    base->valid = false;
    return;
  } else {
    return load(i, FETCH_AFTER, place_of(i, base->key));
  }
  show(i);
}

static void iter_prev(kv_iter *base) {
  remote_iter *i = (remote_iter *)base;
  if (!base->valid) return;
  if (i->at > 0) {
    i->at--;
  } else if (i->first_known) {
    base->valid = false;
    return;
  } else {
    return load(i, FETCH_BEFORE, place_of(i, base->key));
  }
  show(i);
}

/* Index of the first entry >= key. */
static size_t find(const remote_iter *i, slice key) {
  size_t low = 0, high = i->n;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (slice_compare(entry_key(i, middle), key) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static bool is_newest(const remote_iter *i) {
  return i->snapshot == 0;
} /* the owner's state moves under it */

static void iter_seek(kv_iter *base, slice key) {
  remote_iter *i = (remote_iter *)base;
  if (slice_compare(key, i->lower) < 0) key = i->lower;
  size_t at = i->n && !is_newest(i) ? find(i, key) : 0;
  bool here = !is_newest(i) && i->n && (at > 0 || i->first_known || slice_equal(entry_key(i, 0), key));
  if (here && (at < i->n || i->last_known)) { /* C1 */
    base->error = HDB_OK;
    i->at = at;
    return show(i);
  }
  i->want = BATCH_FIRST;
  load(i, FETCH_SEEK, place_of(i, key));
}

static void iter_seek_last(kv_iter *base) {
  remote_iter *i = (remote_iter *)base;
  i->want = BATCH_FIRST;
  load(i, FETCH_LAST, slice_of(NULL, 0));
}

static void iter_seek_for_prev(kv_iter *base, slice key) {
  remote_iter *i = (remote_iter *)base;
  if (i->upper.n && slice_compare(key, i->upper) >= 0) return iter_seek_last(base);
  size_t at = i->n && !is_newest(i) ? find(i, key) : 0;
  if (!is_newest(i) && i->n && at < i->n && slice_equal(entry_key(i, at), key)) at++;
  if (!is_newest(i) && i->n && at > 0 && (at < i->n || i->last_known)) { /* C1 */
    base->error = HDB_OK;
    i->at = at - 1;
    return show(i);
  }
  i->want = BATCH_FIRST;
  load(i, FETCH_UP_TO, place_of(i, key));
}

static void iter_close(kv_iter *base) {
  remote_iter *i = (remote_iter *)base;
  drop_ahead(i);
  buf_free(&i->batch), buf_free(&i->request), buf_free(&i->place);
  free(i->entries);
  free(i);
}

static status iter_open(kv *store, const kv_snapshot *s, enum kv_family family, slice lower, slice upper,
                        kv_iter **out) {
  remote_iter *i = calloc(1, sizeof *i + lower.n + upper.n);
  if (!i) return kv_fail(HDB_NOMEM, "out of memory");
  i->base = (kv_iter){.next = iter_next,
                      .prev = iter_prev,
                      .seek = iter_seek,
                      .seek_for_prev = iter_seek_for_prev,
                      .seek_last = iter_seek_last,
                      .close = iter_close};
  i->r = (remote *)store;
  i->snapshot = snapshot_id(s), i->family = family;
  if (lower.n) memcpy(i->bounds, lower.p, lower.n);
  if (upper.n) memcpy(i->bounds + lower.n, upper.p, upper.n);
  i->lower = slice_of(i->bounds, lower.n), i->upper = slice_of(i->bounds + lower.n, upper.n);
  *out = &i->base;
  return HDB_OK;
}

/* ---- the store: not writing ---- */

static status refuse(void) {
  return kv_fail(HDB_MISUSE, "written through another process's store");
}
static kv_batch *batch_new(kv *store) {
  return (void)store, NULL;
}
static void batch_free(kv_batch *batch) {
  (void)batch;
}
static void batch_clear(kv_batch *batch) {
  (void)batch;
}
static void batch_put(kv_batch *batch, enum kv_family family, slice key, slice value) {
  (void)batch, (void)family, (void)key, (void)value;
}
static void batch_delete(kv_batch *batch, enum kv_family family, slice key) {
  (void)batch, (void)family, (void)key;
}
static void batch_delete_range(kv_batch *batch, enum kv_family family, slice from, slice to) {
  (void)batch, (void)family, (void)from, (void)to;
}
static size_t batch_bytes(const kv_batch *batch) {
  return (void)batch, 0;
}
static status write_batch(kv *store, kv_batch *batch, bool sync) {
  return (void)store, (void)batch, (void)sync, refuse();
}
static status nothing(kv *store) {
  return (void)store, HDB_OK;
}
static status compact(kv *store, enum kv_family family, slice from, slice to) {
  return (void)store, (void)family, (void)from, (void)to, refuse();
}
static uint64_t no_bytes(kv *store, enum kv_family family) {
  return (void)store, (void)family, 0;
}

static const kv_backend remote_backend = {.close = remote_close,
                                          .get = remote_get,
                                          .release = remote_release,
                                          .snapshot_open = snapshot_open,
                                          .snapshot_close = snapshot_close,
                                          .iter_open = iter_open,
                                          .batch_new = batch_new,
                                          .batch_free = batch_free,
                                          .batch_clear = batch_clear,
                                          .batch_put = batch_put,
                                          .batch_delete = batch_delete,
                                          .batch_delete_range = batch_delete_range,
                                          .batch_bytes = batch_bytes,
                                          .write = write_batch,
                                          .sync = nothing,
                                          .flush = nothing,
                                          .settle = nothing,
                                          .compact = compact,
                                          .bytes = no_bytes};
