/* What the server's files share.
 *
 *   listen.c   the loop thread: sockets, TLS, cancel requests, timeouts
 *   pool.c     worker threads
 *   metrics.c  /metrics and /health; log.c: events
 *   session.c  a connection's protocol: start-up, authentication, dispatch of messages
 *   query.c    simple and extended query; portals
 *   utility.c  statements that are the session's own: SET, SHOW, cursors, PREPARE
 *   copy.c     COPY
 *   remote.c   the engine call by call, for another process of ours
 *
 * N1  A connection has at most one task at a time; the task owns everything in `session`. The loop thread touches only
 *     what the connection's mutex guards, and the uv handle, which nobody else touches.
 * N2  A task that produces more than OUTPUT_LIMIT bytes nobody reads waits in connection_send.
 * N5  A worker that has a plain connection (owned) reads the next messages and writes the answers itself, without the
 *     loop, and gives it back when nothing has come for LINGER_MS, at the client's end, or when the loop takes it back
 *     because a statement runs long (somebody must notice that the client goes). While it waits (lingering) the socket is
 *     not closed.
 * N3  A connection is freed when its handle is closed and no task runs.
 * N4  Input that nobody has taken is at most INPUT_LIMIT, or the one message that is not yet whole: the socket is not
 *     read further. The task is called when a message is whole, not for each of its pieces.
 */
#ifndef HDB_SERVER_INTERNAL_H
#define HDB_SERVER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "kv/base/budget.h"
#include "server/auth.h"
#include "server/proto.h"
#include "server/server.h"
#include "sql/hdb.h"

enum { OUTPUT_LIMIT = 1 << 20, INPUT_LIMIT = 1 << 20, OUTPUT_CHUNK = 32 << 10, MESSAGE_LIMIT = 1 << 30, KEEP_BYTES = 32 << 10 };

typedef struct session session;
typedef struct connection connection;
typedef struct pool pool;

struct server {
  char *database, *listen, *socket_dir, *auth, *user, *password, *password_path, *stem, *branch, *passphrase, *policy;
  char *verifiers;          /* the password file's text */
  uint8_t key[32];
  bool has_key, quiet, log_json, uri, has_password_file;
  double retention;         /* NaN: the stored one */
  int mirror;               /* -1: the stored setting */
  uint8_t mock[32];
  int port, max_connections, statement_timeout_ms, idle_timeout_ms;
  int64_t memory_limit;     /* bytes a statement may take */
  void *tls;                /* SSL_CTX, NULL: no TLS */
  uint8_t end_point[64];    /* the certificate's hash */
  size_t end_point_n;
  hdb *keeper;              /* keeps the engine open */
  uv_loop_t loop;
  uv_tcp_t tcp;
  uv_pipe_t pipe;
  bool has_pipe;
  uv_async_t wake;
  uv_timer_t tick;
  char *read_buffer;        /* loop thread: what a read gives is copied on at once */
  pthread_t thread;
  pool *workers;
  pthread_mutex_t mutex;    /* connections, dirty, catalog settings */
  pthread_cond_t ended;
  connection *connections;  /* all */
  connection *dirty;        /* want the loop's attention */
  atomic_int connections_n; /* changed under the mutex */
  uint32_t next_process;
  atomic_bool stopping;
  bool over, closing;
  bool wake_closed;         /* mutex: the wake handle may not be sent to any more */
  atomic_bool fast;         /* some connection has a deadline: the tick is short */
  int tick_ms;              /* loop thread: the timer's period, 0 stopped */
  uint64_t stop_deadline;
  server *next_living;      /* of this process, for its forks */
  bool abandoned;           /* in a forked child: the parent's */
  atomic_long statements_run, errors_sent, connections_total, refused_total, authentication_failures, received_bytes, sent_bytes;
  atomic_llong statement_ns;
  uint64_t started_ns;
  int metrics_port;         /* -1: none */
  struct metrics *metrics;  /* loop thread */
  pthread_mutex_t sequences_mutex;
  hdb *sequences;           /* nextval outside of transactions (sequence.c); opened at its first use */
  char *roles_path;         /* where CREATE ROLE and SIGHUP find the users (roles.c); NULL: nowhere */
  pthread_mutex_t roles_mutex; /* verifiers */
};

struct connection {
  server *server;
  connection *next, *next_dirty;
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  };
  void *ssl;                /* SSL, loop thread only */
  bool raw;                 /* no start-up message seen yet: loop thread */
  bool encrypted;           /* TLS; set before the first task */
  bool is_local;            /* Unix socket */
  bool handle_closed;
  int peer_uid;
  char peer[64];            /* address and port, or the socket's */
  memory_budget budget;     /* of the statement at work (task) */
  long long opened_ns, run_ns; /* when; when the statement at work began (task) */
  pthread_mutex_t mutex;
  pthread_cond_t drained;
  buf in, out;              /* mutex */
  size_t wanted;            /* mutex: bytes of input until a message is whole, 0 any */
  bool eof;                 /* mutex: the client sends no more; what it sent is still answered */
  bool paused;              /* mutex: the socket is not read (N4) */
  uint64_t end_since;       /* loop thread: when `end` was first seen */
  size_t in_flight;         /* mutex: bytes handed to uv */
  int fd;                   /* the socket, for N5 */
  bool owned, lingering;    /* mutex: the worker reads and writes the socket itself; it waits for input just now (N5) */
  bool unread;              /* loop thread: uv does not read the socket */
  bool task, closed, end, is_dirty; /* mutex: a task runs; the peer is gone; close when all is sent */
  struct channel *listens;  /* mutex: LISTEN (notify.c) */
  buf inbox;                /* mutex: notifications that wait for the session */
  bool quiet;               /* mutex: the session waits for a message outside of a transaction */
  uint32_t process, secret;
  atomic_llong deadline_ns; /* statement timeout, 0 none */
  atomic_bool timed_out, cancelled, terminated;
  atomic_llong idle_since_ns;
  atomic_long idle_limit_ms; /* the session's own, 0 none */
  atomic_bool idle_in_block; /* in a transaction */
  atomic_bool busy;         /* a statement runs */
  hdb *_Atomic db;          /* for hdb_interrupt; guarded by mutex for its end */
  session *session;
};

/* ---- listen.c ---- */
/* Hands the bytes to the loop; waits while too many are unsent. false: the peer is gone. out is emptied. */
bool connection_send(connection *c, buf *out);
void connection_wake_locked(connection *c); /* under the server's mutex: its output is looked at; then server_wake */
void server_wake(server *s);
void connection_end(connection *c); /* close when everything is sent */
bool connection_gone(connection *c);
int server_listen(server *s, char **why); /* uv's code; 0: listening */
void server_unlisten(server *s);
void *server_loop(void *s);
void server_poke(server *s);        /* from a session's task: a deadline or an end was set, look soon */
void server_fork_child(server *s);  /* closes this process's copies of the sockets; calls nothing but close */
uint64_t now_ns(void);

/* ---- log.c ---- */
/* An event and pairs of name and text, NULL at the end; a NULL text is left out. */
void server_log(server *s, const char *level, const char *event, ...) __attribute__((sentinel));

/* ---- metrics.c ---- */
int metrics_listen(server *s, int port, char **why); /* under 0: uv's code */
void metrics_close(server *s);
void metrics_fork_child(server *s);

/* ---- pool.c ---- */
pool *pool_new(int most);
bool pool_submit(pool *p, void (*run)(void *), void *data);
void pool_free(pool *p); /* waits for the threads */

/* ---- roles.c ---- */
/* The user's verifier, appended; false: there is no such user. */
bool roles_find(server *s, const char *user, buf *verifier);
/* The text of all, malloc'ed. */
char *roles_text(server *s);
/* What passwords are compared with, from the files: at the start and at SIGHUP. */
bool roles_load(server *s, char **why);
/* The user's line in the file is replaced, added, or with verifier NULL taken out; an errno (password.c). */
int password_file_put(const char *path, const char *user, const char *verifier);

/* ---- server.c ---- */
/* How its connections are opened; branch NULL: the server's own. */
hdb_settings server_settings(const server *s, const char *branch);
int server_open_flags(const server *s);

/* ---- session.c ---- */
session *session_new(connection *c);
void session_free(session *s);
/* Processes whole messages at the head of input; returns the bytes consumed. */
size_t session_input(session *s, slice input);
/* Bytes of the message that begins the input, when it is not whole; 0: not known yet. */
size_t session_wants(const session *s, slice input);
/* Nothing more to read for now: what is buffered goes out. */
void session_flush(session *s);
/* The worker goes: what the session can do without goes, too. */
void session_idle(session *s);

/* ---- tls.c ---- */
void *tls_context(const char *certificate, const char *key, char **why);
void *tls_new(void *context);
void tls_free(void *ssl);
size_t tls_end_point(void *context, uint8_t out[64]); /* for channel binding; 0: cannot be had */
void tls_context_free(void *context);
/* Bytes from the socket in, plain bytes appended to `plain`, bytes for the socket appended to `cipher`. false: broken. */
bool tls_read(void *ssl, slice from_socket, buf *plain, buf *cipher);
bool tls_write(void *ssl, slice plain, buf *cipher);

#endif
