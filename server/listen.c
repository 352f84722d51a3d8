/* The loop thread: accepts, reads, writes, TLS, cancel requests, timeouts, the orderly stop.
 *
 * L1  uv handles and SSL objects are touched on this thread alone; workers leave bytes in connection.out and wake it.
 * L2  The first bytes of a connection are looked at here (TLS, GSS, cancel); everything from the start-up message on is
 *     the session's. Bytes that came together with an SSLRequest end the connection.
 * L3  After server_stop: no new connections; idle sessions end at once, busy ones when their statement ends, or are
 *     interrupted after STOP_GRACE_MS. When the last is gone the loop ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server/internal.h"

enum { STOP_GRACE_MS = 3000, TICK_MS = 20, TICK_SLOW_MS = 1000, READ_SIZE = 64 << 10, STARTUP_LIMIT_MS = 60000, END_LIMIT_MS = 10000, EOF_LIMIT_MS = 500, KEEPALIVE_SECONDS = 60, LINGER_MS = 4 };

uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- from the workers ---- */

void connection_wake_locked(connection *c) {
  server *s = c->server;
  if (c->is_dirty) return;
  c->is_dirty = true;
  c->next_dirty = s->dirty;
  s->dirty = c;
}

void server_wake(server *s) { uv_async_send(&s->wake); }

/* From the connection's task only: it keeps the connection and the loop alive. */
static void wake(connection *c) {
  server *s = c->server;
  pthread_mutex_lock(&s->mutex);
  connection_wake_locked(c);
  pthread_mutex_unlock(&s->mutex);
  uv_async_send(&s->wake);
}

bool connection_send(connection *c, buf *out) {
  if (out->failed) { /* an answer that could not be built whole: the client must not wait for the rest of it */
    buf_free(out);
    connection_end(c);
    return false;
  }
  if (out->n == 0) return true;
  pthread_mutex_lock(&c->mutex);
  if (c->closed) {
    pthread_mutex_unlock(&c->mutex);
    buf_clear(out);
    return false;
  }
  if (c->owned && c->out.n == 0 && c->in_flight == 0 && !out->failed) { /* N5 */
    ssize_t sent = send(c->fd, out->p, out->n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) atomic_fetch_add(&c->server->sent_bytes, sent);
    if (sent == (ssize_t)out->n) {
      pthread_mutex_unlock(&c->mutex);
      buf_clear(out);
      return true;
    }
    if (sent > 0) memmove(out->p, out->p + sent, out->n -= (size_t)sent);
  }
  bool was_empty = c->out.n == 0;
  if (was_empty) {
    buf swapped = c->out;
    memory_budget_give(out->capacity); /* the loop will free it */
    c->out = *out;
    *out = swapped;
  } else {
    buf_append(&c->out, out->p, out->n);
  }
  buf_clear(out);
  pthread_mutex_unlock(&c->mutex);
  wake(c);
  pthread_mutex_lock(&c->mutex);
  while (!c->closed && c->out.n + c->in_flight > OUTPUT_LIMIT) pthread_cond_wait(&c->drained, &c->mutex);
  bool ok = !c->closed;
  pthread_mutex_unlock(&c->mutex);
  return ok;
}

void connection_end(connection *c) {
  pthread_mutex_lock(&c->mutex);
  c->end = true;
  pthread_mutex_unlock(&c->mutex);
  wake(c);
}

bool connection_gone(connection *c) {
  pthread_mutex_lock(&c->mutex);
  bool gone = c->closed;
  pthread_mutex_unlock(&c->mutex);
  return gone;
}

/* ---- the timer: short while something has a deadline, long while there are connections, else still ---- */

static void on_tick(uv_timer_t *timer);

static void set_tick(server *s, int ms) {
  if (ms == s->tick_ms) return;
  s->tick_ms = ms;
  if (ms) uv_timer_start(&s->tick, on_tick, (uint64_t)ms, (uint64_t)ms);
  else uv_timer_stop(&s->tick);
}

static int slow_tick(const server *s) {
  int ms = s->idle_timeout_ms > 0 ? s->idle_timeout_ms / 4 : TICK_SLOW_MS;
  return ms < TICK_MS ? TICK_MS : ms > TICK_SLOW_MS ? TICK_SLOW_MS : ms;
}

void server_poke(server *s) {
  if (!atomic_exchange(&s->fast, true)) uv_async_send(&s->wake);
}

/* ---- a connection's life ---- */

static void connection_free(connection *c) {
  tls_free(c->ssl);
  buf_free(&c->in);
  buf_free(&c->out);
  buf_free(&c->inbox);
  pthread_mutex_destroy(&c->mutex);
  pthread_cond_destroy(&c->drained);
  free(c);
}

static void connection_unlink(connection *c) {
  server *s = c->server;
  pthread_mutex_lock(&s->mutex);
  for (connection **at = &s->connections; *at; at = &(*at)->next)
    if (*at == c) {
      *at = c->next;
      s->connections_n--;
      break;
    }
  for (connection **at = &s->dirty; *at; at = &(*at)->next_dirty)
    if (*at == c) {
      *at = c->next_dirty;
      break;
    }
  pthread_mutex_unlock(&s->mutex);
}

static void run_task(void *data);
static void loop_maybe_end(server *s);

/* N3. On the loop thread, handle closed. The session is freed by a worker: closing a database may take time. */
static void connection_settle(connection *c) {
  pthread_mutex_lock(&c->mutex);
  bool waits = c->task;
  if (!waits && c->session) {
    c->task = true;
    waits = true;
    if (!pool_submit(c->server->workers, run_task, c)) c->task = waits = false;
  }
  pthread_mutex_unlock(&c->mutex);
  if (waits) return;
  server *s = c->server;
  connection_unlink(c);
  connection_free(c);
  loop_maybe_end(s);
}

static void on_closed(uv_handle_t *handle) {
  connection *c = handle->data;
  c->handle_closed = true;
  connection_settle(c);
}

/* The other side learns of the end now, whatever copies of the socket forked children hold. */
static void say_goodbye(uv_handle_t *handle, int how) {
  uv_os_fd_t fd;
  if (uv_fileno(handle, &fd) == 0) shutdown(fd, how);
}

static void connection_close(connection *c) {
  pthread_mutex_lock(&c->mutex);
  bool was = c->closed, lingering = c->lingering;
  c->closed = true;
  c->owned = false;
  hdb *db = c->db;
  if (!was && c->task && db) hdb_interrupt(db);
  bool busy = c->task;
  pthread_cond_broadcast(&c->drained);
  pthread_mutex_unlock(&c->mutex);
  if (busy) set_tick(c->server, TICK_MS); /* until the task has ended */
  if (uv_is_closing(&c->handle)) return;
  say_goodbye(&c->handle, lingering ? SHUT_RDWR : SHUT_WR);
  if (!lingering) uv_close(&c->handle, on_closed); /* else connection_flush does, behind the worker */
}

/* Large buffers go back when they are empty: a thousand idle connections are small. */
static void shrink(buf *b) {
  if (b->n == 0 && b->capacity > KEEP_BYTES) buf_free(b);
}

/* N5: waits a moment for more input, with the mutex held before and behind. false: the loop gets the connection back. */
static bool linger(connection *c) {
  c->lingering = true;
  pthread_mutex_unlock(&c->mutex);
  struct pollfd p = {.fd = c->fd, .events = POLLIN};
  int ready = poll(&p, 1, LINGER_MS);
  pthread_mutex_lock(&c->mutex);
  c->lingering = false;
  if (c->closed) return true; /* the turn ends with it */
  size_t most = c->wanted > c->in.n + READ_SIZE ? INPUT_LIMIT : READ_SIZE / 4; /* of a long message more at once */
  uint8_t *at = ready > 0 && (p.revents & POLLIN) ? buf_reserve(&c->in, most) : NULL;
  ssize_t n = at ? recv(c->fd, at, most, MSG_DONTWAIT) : -1;
  if (n <= 0) {
    c->owned = false;
    return false;
  }
  c->in.n += (size_t)n;
  atomic_fetch_add(&c->server->received_bytes, n);
  return true;
}

/* The task is over, and the loop looks at the connection; false: something came that is not `left` bytes of input, the
 * task goes on (SIZE_MAX: over in any case). Both locks: from the moment the task is over the loop may free the
 * connection, but it takes the server's lock for that, and to end itself: behind our last touch of either. */
static bool give_back(connection *c, size_t left) {
  server *s = c->server;
  pthread_mutex_lock(&s->mutex);
  pthread_mutex_lock(&c->mutex);
  bool over = left == SIZE_MAX || (!c->closed && !c->end && c->in.n == left);
  bool wanted = left == SIZE_MAX || c->unread;
  if (over) {
    shrink(&c->in);
    shrink(&c->out);
    c->task = c->owned = false;
  }
  pthread_mutex_unlock(&c->mutex);
  if (over && wanted) {
    connection_wake_locked(c);
    if (!s->wake_closed) uv_async_send(&s->wake);
  }
  pthread_mutex_unlock(&s->mutex);
  return over;
}

/* A worker's turn with a connection. */
static void run_task(void *data) {
  connection *c = data;
  buf work = BUF_INIT;
  size_t at = 0;
  for (;;) {
    pthread_mutex_lock(&c->mutex);
    if (c->closed || c->end) {
      session *s = c->session;
      c->session = NULL;
      c->db = NULL;
      pthread_mutex_unlock(&c->mutex);
      session_free(s);
      break;
    }
    if (at == work.n) {
      buf_clear(&work);
      at = 0;
    } else if (at > 0) {
      memmove(work.p, work.p + at, work.n - at);
      work.n -= at;
      at = 0;
    }
    if (c->in.n == 0) { /* nothing new: what is left over is kept for the next turn */
      buf swapped = work;
      work = c->in;
      c->in = swapped;
      c->wanted = session_wants(c->session, buf_slice(&c->in));
      size_t left = c->in.n;
      bool resume = c->paused;
      pthread_mutex_unlock(&c->mutex);
      session_flush(c->session);
      if (resume) wake(c);
      pthread_mutex_lock(&c->mutex);
      bool no_more = c->in.n == left || c->in.n < c->wanted;
      if (no_more && c->eof) c->end = true;
      if (no_more && !c->closed && !c->end && !(c->owned && linger(c))) {
        left = c->in.n;
        pthread_mutex_unlock(&c->mutex);
        session_idle(c->session);
        if (!give_back(c, left)) continue;
        buf_free(&work);
        return;
      }
      buf_clear(&work);
    }
    if (work.n == 0) {
      buf swapped = work;
      work = c->in;
      c->in = swapped;
    } else {
      buf_append(&work, c->in.p, c->in.n);
    }
    buf_clear(&c->in);
    c->wanted = 0;
    bool resume = c->paused;
    pthread_mutex_unlock(&c->mutex);
    if (resume) wake(c);
    memory_budget_now = &c->budget;
    at = session_input(c->session, buf_slice(&work));
    memory_budget_now = NULL;
  }
  buf_free(&work);
  give_back(c, SIZE_MAX);
}

static void connection_kick(connection *c) {
  pthread_mutex_lock(&c->mutex);
  bool failed = c->in.failed;
  bool start = !c->task && !c->closed && c->in.n >= c->wanted && !failed;
  if (start) c->task = true;
  if (start && !c->ssl && !c->eof && !c->end && c->fd >= 0 && !uv_is_closing(&c->handle)) { /* N5 */
    uv_read_stop(&c->stream);
    c->owned = c->unread = true;
    c->paused = false;
  }
  size_t most = c->wanted > INPUT_LIMIT ? c->wanted : INPUT_LIMIT;
  if (c->in.n > most && !c->paused && !c->owned && !uv_is_closing(&c->handle)) { /* N4 */
    c->paused = true;
    uv_read_stop(&c->stream);
  }
  pthread_mutex_unlock(&c->mutex);
  if (failed) connection_close(c);
  if (start && !pool_submit(c->server->workers, run_task, c)) {
    c->task = false;
    connection_close(c);
  }
}

/* ---- writing ---- */

typedef struct write_request {
  uv_write_t request;
  connection *c;
  buf bytes;
  size_t plain;
} write_request;

static void on_written(uv_write_t *request, int rc) {
  write_request *w = (write_request *)request;
  connection *c = w->c;
  pthread_mutex_lock(&c->mutex);
  c->in_flight -= w->plain;
  bool done = c->end && c->out.n == 0 && c->in_flight == 0;
  pthread_cond_broadcast(&c->drained);
  pthread_mutex_unlock(&c->mutex);
  buf_free(&w->bytes);
  free(w);
  if (rc < 0 || done) connection_close(c);
}

/* Sends bytes (owned by the call from here on), which in_flight counts already. */
static void send_counted(connection *c, buf *bytes, size_t plain) {
  write_request *w = calloc(1, sizeof *w);
  if (!w || bytes->failed) {
    free(w);
    buf_free(bytes);
    connection_close(c);
    return;
  }
  w->c = c;
  w->bytes = *bytes;
  w->plain = plain;
  atomic_fetch_add(&c->server->sent_bytes, (long)bytes->n);
  *bytes = (buf)BUF_INIT;
  uv_buf_t b = uv_buf_init((char *)w->bytes.p, (unsigned)w->bytes.n);
  if (uv_write(&w->request, &c->stream, &b, 1, on_written) < 0) {
    pthread_mutex_lock(&c->mutex);
    c->in_flight -= plain;
    pthread_mutex_unlock(&c->mutex);
    buf_free(&w->bytes);
    free(w);
    connection_close(c);
  }
}

static void send_bytes(connection *c, buf *bytes, size_t plain) {
  pthread_mutex_lock(&c->mutex);
  c->in_flight += plain;
  pthread_mutex_unlock(&c->mutex);
  send_counted(c, bytes, plain);
}

static void on_allocate(uv_handle_t *handle, size_t wanted, uv_buf_t *b);
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b);

static void connection_flush(connection *c) {
  pthread_mutex_lock(&c->mutex);
  if (c->unread && !c->owned && !c->closed && !uv_is_closing(&c->handle)) { /* N5: given back */
    c->unread = false;
    uv_read_start(&c->stream, on_allocate, on_read);
  }
  if (c->paused && !c->eof && !c->closed && !uv_is_closing(&c->handle) && (c->in.n <= INPUT_LIMIT || c->in.n < c->wanted)) {
    c->paused = false;
    uv_read_start(&c->stream, on_allocate, on_read);
  }
  buf out = c->out;
  c->out = (buf)BUF_INIT;
  bool end = c->end && out.n == 0 && c->in_flight == 0;
  bool closed = c->closed;
  bool close_now = closed && !c->lingering && !uv_is_closing(&c->handle); /* it was put off (N5) */
  c->in_flight += out.n;
  size_t plain = out.n;
  pthread_mutex_unlock(&c->mutex);
  if (closed || uv_is_closing(&c->handle)) {
    buf_free(&out);
    if (close_now) uv_close(&c->handle, on_closed);
    if (c->handle_closed) connection_settle(c);
    return;
  }
  if (out.n == 0) {
    buf_free(&out);
    if (end) connection_close(c);
    return;
  }
  if (!c->ssl) {
    send_counted(c, &out, plain);
    return;
  }
  buf cipher = BUF_INIT;
  bool ok = tls_write(c->ssl, buf_slice(&out), &cipher);
  buf_free(&out);
  if (ok) {
    send_counted(c, &cipher, plain);
  } else {
    buf_free(&cipher);
    connection_close(c);
  }
}

static void send_plain(connection *c, const void *p, size_t n) {
  buf b = BUF_INIT;
  buf_append(&b, p, n);
  send_bytes(c, &b, n);
}

/* ---- reading ---- */

static void cancel(server *s, uint32_t process, uint32_t secret) {
  pthread_mutex_lock(&s->mutex);
  for (connection *c = s->connections; c; c = c->next) {
    if (c->process != process || c->secret != secret || process == 0) continue;
    pthread_mutex_lock(&c->mutex);
    hdb *db = c->db;
    if (db && atomic_load(&c->busy)) {
      atomic_store(&c->cancelled, true);
      hdb_interrupt(db);
      set_tick(s, TICK_MS);
    }
    pthread_mutex_unlock(&c->mutex);
  }
  pthread_mutex_unlock(&s->mutex);
}

/* L2. false: nothing more to do with these bytes for now. */
static bool raw_input(connection *c) {
  pthread_mutex_lock(&c->mutex);
  startup_message m;
  const char *why;
  enum proto_result got = proto_startup(buf_slice(&c->in), &m, &why);
  bool special = got == PROTO_OK && m.kind != STARTUP_NORMAL;
  size_t left = c->in.n - (special ? m.length : 0);
  if (special) {
    memmove(c->in.p, c->in.p + m.length, left);
    c->in.n = left;
  }
  pthread_mutex_unlock(&c->mutex);
  if (got == PROTO_MORE) return false;
  if (!special) {
    c->raw = false;
    return true;
  }
  if (m.kind == STARTUP_CANCEL) {
    cancel(c->server, m.process, m.secret);
    connection_close(c);
    return false;
  }
  if (left || (m.kind == STARTUP_SSL && c->ssl)) {
    connection_close(c);
    return false;
  }
  bool tls = m.kind == STARTUP_SSL && c->server->tls && !c->is_local;
  send_plain(c, tls ? "S" : "N", 1);
  c->encrypted = tls;
  if (tls && !(c->ssl = tls_new(c->server->tls))) connection_close(c);
  return false;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b) {
  connection *c = stream->data;
  if (n == 0) return;
  if (n < 0) {
    pthread_mutex_lock(&c->mutex);
    bool polite = n == UV_EOF && !c->ssl, unsent = c->out.n || c->in_flight;
    c->eof = polite && c->task && !atomic_load(&c->busy);
    if (polite && !c->task && unsent) c->end = true;
    bool answered_first = c->eof || (polite && unsent && !c->task);
    pthread_mutex_unlock(&c->mutex);
    if (answered_first) {
      uv_read_stop(stream);
      set_tick(c->server, TICK_MS);
    } else {
      connection_close(c);
    }
    return;
  }
  pthread_mutex_lock(&c->mutex);
  bool over = c->end;
  pthread_mutex_unlock(&c->mutex);
  if (over) return; /* nobody listens any more */
  atomic_fetch_add(&c->server->received_bytes, n);
  bool ok = true;
  if (c->ssl) {
    buf reply = BUF_INIT, plain = BUF_INIT;
    ok = tls_read(c->ssl, slice_of(b->base, (size_t)n), &plain, &reply);
    if (reply.n) send_bytes(c, &reply, 0);
    else buf_free(&reply);
    pthread_mutex_lock(&c->mutex);
    buf_append(&c->in, plain.p, plain.n);
    pthread_mutex_unlock(&c->mutex);
    buf_free(&plain);
  } else {
    pthread_mutex_lock(&c->mutex);
    buf_append(&c->in, b->base, (size_t)n);
    pthread_mutex_unlock(&c->mutex);
  }
  if (!ok) {
    connection_close(c);
    return;
  }
  if (c->raw && !raw_input(c)) return;
  if (!c->session && !(c->session = session_new(c))) {
    connection_close(c);
    return;
  }
  connection_kick(c);
}

static void on_allocate(uv_handle_t *handle, size_t wanted, uv_buf_t *b) {
  connection *c = handle->data;
  *b = uv_buf_init(c->server->read_buffer, READ_SIZE);
}

static void refuse(connection *c, const char *sqlstate, const char *message) {
  buf out = BUF_INIT, cipher = BUF_INIT;
  error_fields f = {.severity = "FATAL", .sqlstate = sqlstate, .message = message};
  proto_error(&out, &f);
  size_t plain = out.n;
  pthread_mutex_lock(&c->mutex);
  c->end = true;
  pthread_mutex_unlock(&c->mutex);
  if (!c->ssl) {
    send_bytes(c, &out, plain);
    return;
  }
  bool ok = tls_write(c->ssl, buf_slice(&out), &cipher);
  buf_free(&out);
  if (ok) {
    send_bytes(c, &cipher, plain);
  } else {
    buf_free(&cipher);
    connection_close(c);
  }
}

static void name_peer(connection *c) {
  struct sockaddr_storage address;
  int length = sizeof address;
  char host[INET6_ADDRSTRLEN] = "?";
  if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&address, &length) < 0) return;
  bool six = address.ss_family == AF_INET6;
  if (six) uv_ip6_name((struct sockaddr_in6 *)&address, host, sizeof host);
  else uv_ip4_name((struct sockaddr_in *)&address, host, sizeof host);
  unsigned port = six ? ((struct sockaddr_in6 *)&address)->sin6_port : ((struct sockaddr_in *)&address)->sin_port;
  snprintf(c->peer, sizeof c->peer, six ? "[%s]:%u" : "%s:%u", host, ntohs((uint16_t)port));
}

static void on_connection(uv_stream_t *listener, int rc) {
  server *s = listener->data;
  if (rc < 0 || atomic_load(&s->stopping)) return;
  connection *c = calloc(1, sizeof *c);
  if (!c) return;
  c->server = s;
  c->raw = true;
  c->is_local = listener->type == UV_NAMED_PIPE;
  c->peer_uid = -1;
  c->fd = -1;
  c->opened_ns = (long long)now_ns();
  c->budget.left = s->memory_limit;
  snprintf(c->peer, sizeof c->peer, "local");
  atomic_store(&c->idle_since_ns, (long long)now_ns());
  pthread_mutex_init(&c->mutex, NULL);
  pthread_cond_init(&c->drained, NULL);
  if (c->is_local) uv_pipe_init(&s->loop, &c->pipe, 0);
  else uv_tcp_init(&s->loop, &c->tcp);
  c->handle.data = c;
  pthread_mutex_lock(&s->mutex);
  c->next = s->connections;
  s->connections = c;
  int n = ++s->connections_n;
  c->process = ++s->next_process;
  pthread_mutex_unlock(&s->mutex);
  atomic_fetch_add(&s->connections_total, 1);
  if (!s->tick_ms) set_tick(s, slow_tick(s));
  if (getrandom(&c->secret, sizeof c->secret, 0) != sizeof c->secret || uv_accept(listener, &c->stream) < 0) {
    connection_close(c);
    return;
  }
  uv_os_fd_t fd;
  struct ucred peer;
  socklen_t length = sizeof peer;
  if (c->is_local && uv_fileno(&c->handle, &fd) == 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0)
    c->peer_uid = (int)peer.uid;
  if (!c->is_local) {
    name_peer(c);
    uv_tcp_nodelay(&c->tcp, 1);
    uv_tcp_keepalive(&c->tcp, 1, KEEPALIVE_SECONDS); /* a client's machine that is gone is noticed */
  }
  if (n > s->max_connections) {
    atomic_fetch_add(&s->refused_total, 1);
    server_log(s, "warning", "too many connections", "peer", c->peer, NULL);
    refuse(c, "53300", "sorry, too many clients already");
    return;
  }
  if (uv_fileno(&c->handle, &fd) == 0) c->fd = fd;
  uv_read_start(&c->stream, on_allocate, on_read);
}

/* ---- the loop ---- */

static void on_wake(uv_async_t *handle) {
  server *s = handle->data;
  for (;;) {
    pthread_mutex_lock(&s->mutex);
    connection *c = s->dirty;
    if (c) {
      s->dirty = c->next_dirty;
      c->is_dirty = false;
    }
    pthread_mutex_unlock(&s->mutex);
    if (!c) break;
    connection_flush(c);
  }
  if (atomic_load(&s->stopping) && !s->closing) on_tick(&s->tick);
  else if (atomic_load(&s->fast)) set_tick(s, TICK_MS);
}

/* Statement and idle timeouts; sessions that must end because the server stops. */
static bool watch_connection(server *s, connection *c, uint64_t now) {
  bool stopping = atomic_load(&s->stopping), late = stopping && now > s->stop_deadline;
  pthread_mutex_lock(&c->mutex);
  long long deadline = atomic_load(&c->deadline_ns);
  bool running = c->task && atomic_load(&c->busy), expired = deadline && now > (uint64_t)deadline;
  bool unwanted = expired || late || c->closed || atomic_load(&c->cancelled);
  bool soon = deadline || atomic_load(&c->terminated) || (running && unwanted) || (c->closed && c->task);
  hdb *db = c->db;
  if (running && db && unwanted) {
    if (expired && !late) atomic_store(&c->timed_out, true);
    hdb_interrupt(db); /* again each time: between two statements of the engine an interrupt meets nobody */
  }
  if (running && c->owned && !c->lingering && !uv_is_closing(&c->handle)) { /* N5: a long statement */
    c->owned = c->unread = false;
    uv_read_start(&c->stream, on_allocate, on_read);
  }
  bool idle = !c->task && !c->closed;
  uint64_t since = (uint64_t)atomic_load(&c->idle_since_ns);
  bool tired = idle && db && s->idle_timeout_ms > 0 && now > since + (uint64_t)s->idle_timeout_ms * 1000000u;
  long own_limit = idle && db ? atomic_load(&c->idle_limit_ms) : 0;
  bool overdue = own_limit > 0 && now > since + (uint64_t)own_limit * 1000000u;
  soon = soon || own_limit > 0;
  bool silent = idle && !db && now > since + (uint64_t)STARTUP_LIMIT_MS * 1000000u;
  bool end = c->end, eof = c->eof, stuck = c->out.n + c->in_flight > OUTPUT_LIMIT;
  pthread_mutex_unlock(&c->mutex);
  if (uv_is_closing(&c->handle)) return soon;
  if (eof) {
    if (!c->end_since) c->end_since = now;
    if (now <= c->end_since + (uint64_t)EOF_LIMIT_MS * 1000000u) return true;
    connection_close(c); /* it does not wait for the answer */
    return soon;
  }
  if (end && !c->end_since) c->end_since = now;
  if (end && now > c->end_since + (uint64_t)END_LIMIT_MS * 1000000u) late = true; /* it does not read its last words */
  if (late && (end || stuck || !running)) {
    connection_close(c); /* a client that does not read */
  } else if (end) {
    return soon;
  } else if (stopping && idle) {
    if (db) refuse(c, "57P01", "terminating connection due to administrator command");
    else connection_close(c);
  } else if (idle && db && atomic_load(&c->terminated)) {
    refuse(c, "57P01", "terminating connection due to administrator command");
  } else if (overdue && atomic_load(&c->idle_in_block)) {
    refuse(c, "25P03", "terminating connection due to idle-in-transaction timeout");
  } else if (tired || overdue) {
    refuse(c, "57P05", "terminating connection due to idle-session timeout");
  } else if (silent) {
    connection_close(c);
  }
  return soon;
}

static void on_tick(uv_timer_t *timer) {
  server *s = timer->data;
  uint64_t now = now_ns();
  if (atomic_load(&s->stopping) && !s->closing) {
    s->closing = true;
    server_log(s, "info", "stopping", NULL);
    s->stop_deadline = now + (uint64_t)STOP_GRACE_MS * 1000000u;
    say_goodbye((uv_handle_t *)&s->tcp, SHUT_RDWR);
    uv_close((uv_handle_t *)&s->tcp, NULL);
    if (s->has_pipe) uv_close((uv_handle_t *)&s->pipe, NULL);
  }
  atomic_store(&s->fast, false); /* before looking: who sets a deadline behind our look pokes again */
  pthread_mutex_lock(&s->mutex);
  int n = 0;
  connection **all = malloc((size_t)(s->connections_n + 1) * sizeof *all);
  for (connection *c = s->connections; c && all; c = c->next) all[n++] = c;
  bool none = !s->connections;
  pthread_mutex_unlock(&s->mutex);
  bool soon = false;
  for (int i = 0; i < n; i++) soon = watch_connection(s, all[i], now) || soon;
  free(all);
  if (soon) atomic_store(&s->fast, true);
  set_tick(s, atomic_load(&s->stopping) || atomic_load(&s->fast) ? TICK_MS : none ? 0 : slow_tick(s));
  loop_maybe_end(s);
}

/* The last connection of a server that stops is gone: nothing is left for the loop to do. */
static void loop_maybe_end(server *s) {
  if (!s->closing || s->wake_closed) return;
  pthread_mutex_lock(&s->mutex);
  bool none = !s->connections;
  if (none) s->wake_closed = true;
  pthread_mutex_unlock(&s->mutex);
  if (!none) return;
  uv_close((uv_handle_t *)&s->tick, NULL);
  uv_close((uv_handle_t *)&s->wake, NULL);
  metrics_close(s);
}

void server_fork_child(server *s) {
  uv_os_fd_t fd;
  if (!s->closing && uv_fileno((uv_handle_t *)&s->tcp, &fd) == 0) close(fd);
  if (!s->closing && s->has_pipe && uv_fileno((uv_handle_t *)&s->pipe, &fd) == 0) close(fd);
  for (connection *c = s->connections; c; c = c->next)
    if (!c->handle_closed && uv_fileno(&c->handle, &fd) == 0) close(fd);
  metrics_fork_child(s);
}

void *server_loop(void *data) {
  server *s = data;
  uv_run(&s->loop, UV_RUN_DEFAULT);
  uv_loop_close(&s->loop);
  pool_free(s->workers);
  s->workers = NULL;
  hdb_close_v2(s->sequences);
  s->sequences = NULL;
  if (s->keeper) {
    if (hdb_checkpoint(s->keeper) != HDB_OK) server_log(s, "error", "checkpoint failed", NULL);
    hdb_close_v2(s->keeper);
    s->keeper = NULL;
  }
  server_log(s, "info", "stopped", NULL);
  pthread_mutex_lock(&s->mutex);
  s->over = true;
  pthread_cond_broadcast(&s->ended);
  pthread_mutex_unlock(&s->mutex);
  return NULL;
}

int server_listen(server *s, char **why) {
  struct sockaddr_storage address;
  int rc = uv_ip4_addr(s->listen, s->port, (struct sockaddr_in *)&address);
  if (rc < 0) rc = uv_ip6_addr(s->listen, s->port, (struct sockaddr_in6 *)&address);
  if (!(s->read_buffer = malloc(READ_SIZE))) return UV_ENOMEM;
  uv_loop_init(&s->loop);
  uv_async_init(&s->loop, &s->wake, on_wake);
  uv_timer_init(&s->loop, &s->tick);
  uv_tcp_init(&s->loop, &s->tcp);
  s->wake.data = s->tick.data = s->tcp.data = s;
  if (rc == 0) rc = uv_tcp_bind(&s->tcp, (struct sockaddr *)&address, 0);
  if (rc == 0) rc = uv_listen((uv_stream_t *)&s->tcp, 512, on_connection);
  if (rc < 0) {
    if (asprintf(why, "cannot listen on %s port %d: %s", s->listen, s->port, uv_strerror(rc)) < 0) *why = NULL;
    return rc;
  }
  int length = sizeof address;
  uv_tcp_getsockname(&s->tcp, (struct sockaddr *)&address, &length);
  s->port = address.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&address)->sin6_port)
                                          : ntohs(((struct sockaddr_in *)&address)->sin_port);
  if (s->socket_dir) {
    char path[200];
    snprintf(path, sizeof path, "%s/.s.PGSQL.%d", s->socket_dir, s->port);
    uv_pipe_init(&s->loop, &s->pipe, 0);
    s->pipe.data = s;
    s->has_pipe = true;
    unlink(path);
    rc = uv_pipe_bind(&s->pipe, path);
    if (rc == 0) rc = uv_listen((uv_stream_t *)&s->pipe, 512, on_connection);
    if (rc < 0) {
      if (asprintf(why, "cannot listen on %s: %s", path, uv_strerror(rc)) < 0) *why = NULL;
      return rc;
    }
    chmod(path, 0777);
  }
  return 0;
}

void server_unlisten(server *s) {
  uv_close((uv_handle_t *)&s->tcp, NULL);
  uv_close((uv_handle_t *)&s->tick, NULL);
  uv_close((uv_handle_t *)&s->wake, NULL);
  if (s->has_pipe) uv_close((uv_handle_t *)&s->pipe, NULL);
  metrics_close(s);
  uv_run(&s->loop, UV_RUN_DEFAULT);
  uv_loop_close(&s->loop);
}
