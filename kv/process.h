/* Several processes on one directory: who owns it (owner.c), the owner's end (serve.c), the others' end (remote.c).
 *
 * The owner holds a record lock on the file OWNER in the directory, which names its pid, its program and the socket that
 * it listens on. A client makes one control connection, whose end tells either side that the other is gone,
 * and as many channels as it has calls at once; a channel carries one request and then its reply. Bytes are read in
 * here; what else there is to ask is mvcc's (serve_calls).
 *
 *   connection   first the owner: magic (4), protocol (4), challenge (32), flags (4, bit 0: a proof of the key is wanted)
 *                then the client: magic, protocol, kind (4: control, channel), pid (4), client (8),
 *                token (16: a control connection OWNER's, a channel its session's), proof (32)
 *                then the owner: a reply; to a control connection with its page's descriptor, token, and mvcc's greeting
 *   request      bytes (4) of the body, what is asked (4; the highest bit: no reply is wanted), body
 *   reply        bytes (4) of the body, status (4), body
 *
 * Numbers are little-endian: both ends are on one machine.
 */
#ifndef HDB_KV_PROCESS_H
#define HDB_KV_PROCESS_H

#include <stdatomic.h>

#include "kv/kv.h"

typedef struct owner_who { /* the process that has a directory */
  int pid;                 /* 0: not known */
  char program[64];
  bool ours; /* it is this one (its number alone does not tell: containers count each for itself) */
} owner_who;

/* ---- knock.c: where the owner's socket cannot be reached ---- */
enum { KNOCK_NAMESPACE = 64 };
void knock_namespace(char out[KNOCK_NAMESPACE]); /* of the network; "" not known */
int knock(const char *directory, int timeout_ms); /* a connection with the owner; -1: errno, EAGAIN no answer */
int knock_watch(const char *directory);           /* for poll; -1: not possible */
/* Lets in who has knocked: what the watch tells, and with `all` who was there before it. */
void knock_answer(int watch, const char *directory, bool all, void (*let_in)(void *, int), void *context);

/* ---- owner.c ---- */
enum { OWNER_TOKEN = 16, OWNER_NAME = 40 };
typedef struct owner owner;
/* HDB_BUSY: another process, or another owner of this one, has the directory; who: which. */
status owner_lock(const char *directory, owner **out, owner_who *who);
void owner_unlock(owner *o); /* NULL is allowed */
/* Until the process ends, or for so long; for this one itself: until it has given a directory back. While another process
 * opens or leaves a directory nothing else can be waited for: neither the end of a record lock (but by a thread that cannot be
 * called back) nor a socket that begins to listen wakes anybody. */
void owner_wait(int pid, int64_t us);
/* The kind of network file system that the path lies on ("NFS"), NULL: none that is known. */
const char *owner_network(const char *path);
const char *owner_network_name(uint64_t magic); /* statfs's */
int owner_listen(owner *o);                     /* a listening socket, -1: not possible (errno) */
int owner_connect(const char *directory, uint8_t token[OWNER_TOKEN], int timeout_ms); /* a socket, -1: nobody listens (errno) */
const uint8_t *owner_token(const owner *o);
const char *owner_directory(const owner *o);
/* Descriptors that a forked child must not keep: they are closed in it. */
void owner_keep_from_child(int fd);
void owner_close(int fd);
bool owner_look(const char *directory, owner_who *who); /* who has it, as far as OWNER tells */
void owner_forget_forked(void); /* the child: locks and descriptors were its parent's */

/* ---- messages (owner.c) ---- */
enum { MESSAGE_NO_REPLY = (int)0x80000000u, MESSAGE_HEAD = 8 };
static const uint32_t MESSAGE_BYTES_MAX = 1u << 31;
/* The parts of one message after its head; false: the connection is gone (errno EAGAIN: the other does not take it). */
bool message_send(int fd, uint32_t what, const slice *parts, int parts_n);
/* What was read from a socket and not yet taken. */
typedef struct inbox {
  int fd;
  buf bytes;
  size_t at; /* bytes before it are taken */
} inbox;
/* The next message; body lives until the next call. false: gone, or errno EAGAIN: SO_RCVTIMEO passed. */
bool message_receive(inbox *in, uint32_t *what, slice *body);

/* Reading a body: fixed-width numbers and counted bytes; sticky. */
typedef struct reader {
  const uint8_t *p, *end;
  bool failed;
} reader;
static inline reader reader_of(slice s) {
  return (reader){s.p, s.p + s.n, false};
}
static inline uint64_t read_number(reader *r) { /* a varint */
  uint64_t v = 0;
  const uint8_t *p = r->failed ? NULL : varint_get(r->p, r->end, &v);
  if (p)
    r->p = p;
  else
    r->failed = true;
  return r->failed ? 0 : v;
}
static inline int64_t read_signed(reader *r) {
  uint64_t v = read_number(r);
  return (int64_t)(v >> 1 ^ (~(v & 1) + 1));
}
static inline slice read_bytes(reader *r) {
  uint64_t n = read_number(r);
  if (r->failed || n > (uint64_t)(r->end - r->p)) {
    r->failed = true;
    return slice_of("", 0);
  }
  slice s = slice_of(r->p, (size_t)n);
  r->p += n;
  return s;
}
static inline void put_signed(buf *b, int64_t v) {
  buf_varint(b, (uint64_t)v << 1 ^ (uint64_t)(v >> 63));
}
static inline void put_bytes(buf *b, slice s) {
  buf_varint(b, s.n);
  buf_append(b, s.p, s.n);
}

/* ---- permits ----
 * A page of memory that a client and the owner share, a word for each commit that is asked for. The client sets it before
 * it asks; who changes it first decides: the owner when the commit begins, or the client when it has waited long enough.
 * So a commit that was given up never comes late, whatever lies in a socket, and no answer is needed to know that. */
enum { PERMITS = 512, PERMITS_NONE = PERMITS };
enum { PERMIT_OPEN = 1, PERMIT_TAKEN = 2, PERMIT_WITHDRAWN = 3 }; /* the word: a number << 2 | one of these; 0 free */
typedef _Atomic uint64_t permit_word;
typedef struct permit {
  uint32_t place; /* PERMITS_NONE: there was none left */
  uint64_t number;
} permit;
static inline bool permit_change(permit_word *w, uint64_t number, uint64_t to) {
  uint64_t open = number << 2 | PERMIT_OPEN;
  return atomic_compare_exchange_strong(w, &open, number << 2 | to);
}

/* ---- serve.c ---- */
enum { ASK_GET = 1, ASK_FETCH = 2, ASK_MORE = 16 }; /* from ASK_MORE on: serve_calls.call */
typedef struct serve serve;
typedef struct serve_calls {
  /* A client has come: its session, and what it is told at once. May wait. Not HDB_OK: it is sent away with that. */
  status (*begin)(void *context, uint64_t client, unsigned user, permit_word *permits, void **session, buf *greeting);
  void (*gone)(void *context,
               void *session); /* it is gone: what others wait for is given back; calls may be at work */
  void (*end)(void *context, void *session); /* ... and none is */
  bool (*snapshot)(void *session, uint64_t id, const kv_snapshot **out,
                   void **hold); /* until release(hold) */
  void (*release)(void *hold);
  status (*call)(void *context, void *session, uint32_t ask, slice request, buf *reply);
  void (*unsent)(void *context, void *session, uint32_t ask, slice reply); /* ... whose reply found nobody */
  void *context;
} serve_calls;
/* key: what a client must prove that he has, NULL: nothing. page: the descriptor handed to each client, -1: none. NULL out: nobody can be served (errno). */
status serve_start(owner *o, kv *store, struct crypt_key *key, int page, const serve_calls *calls,
                   serve **out);
/* No new client and no new call; waits for those at work and for the sessions' ends. The clients learn it by
 * serve_free, after the directory was given up. */
void serve_stop(serve *s);
void serve_free(serve *s);
size_t serve_clients(serve *s);

/* ---- remote.c: a store that is another process's ---- */
typedef struct remote_greeting {
  buf bytes; /* serve_calls.begin's */
  int page;  /* the descriptor, -1 */
  owner_who who;
} remote_greeting;
/* The control connection. HDB_CANTOPEN: nobody listens; HDB_BUSY: no answer in time; HDB_NOTADB: the key is not
 * the owner's; else what the owner said. */
status remote_open(const char *directory, uint64_t client, struct crypt_key *key, int timeout_ms,
                   remote_greeting *greeting, kv **out);
/* HDB_BUSY_RECOVERY: the owner is gone (also for kv_get and iterators on it). HDB_BUSY: no sign of life in time; a call may
 * take as long as it takes. */
status remote_call(kv *store, uint32_t ask, slice request, buf *reply);
permit remote_permit(kv *store);
bool remote_withdraw(kv *store, permit p); /* true: the commit will not be made, and was not */
void remote_permit_done(kv *store, permit p);
/* remote_call for a commit: waits longer where the permit cannot be withdrawn any more. */
status remote_call_permitted(kv *store, uint32_t ask, slice request, permit p, buf *reply);
void remote_tell(kv *store, uint32_t ask, slice request); /* without a reply */
void remote_patience(kv *store, int timeout_ms);          /* how long calls wait for an answer from now on */
/* Did a call say HDB_BUSY_RECOVERY because the owner has let go of the snapshot? Asked once: then it is forgotten. */
bool remote_was_stale(kv *store);
bool remote_is_lost(kv *store);                           /* one system call */
/* The owner's snapshot of that number; closing it tells ask `drop` with the number. */
kv_snapshot *remote_snapshot(kv *store, uint64_t id, uint32_t drop);
kv *remote_dead(const char *directory); /* one whose owner is gone; NULL: out of memory */
void remote_abandon(kv *store);         /* the child after a fork: the connections were its parent's */

#endif
