/* Metrics in Prometheus's text format and /health, over HTTP/1.1, on the loop thread.
 *
 * H1  A client has REQUEST_MAX bytes and REQUEST_SECONDS for its request, gets one answer and is closed; more than
 *     CLIENTS_MAX at once are not taken. Only GET and HEAD of /metrics and /health are answered.
 * H2  No value of a user's and no name of a table is ever shown here.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "server/internal.h"

enum { REQUEST_MAX = 8192, REQUEST_SECONDS = 10, CLIENTS_MAX = 64 };

typedef struct http_client {
  uv_tcp_t tcp;
  uv_write_t write;
  server *server;
  struct http_client *next;
  uint64_t since;
  bool answered;
  buf in, out;
} http_client;

struct metrics {
  uv_tcp_t tcp;
  uv_timer_t timer;
  http_client *clients;
  int clients_n;
  bool closing;
};

/* ---- what is told ---- */

static void metric(buf *out, const char *name, const char *type, const char *help, double value) {
  buf_printf(out, "# HELP helios_%s %s\n# TYPE helios_%s %s\nhelios_%s %.17g\n", name, help, name, type, name, value);
}

static double resident_bytes(void) {
  long pages = 0;
  FILE *f = fopen("/proc/self/statm", "re");
  if (!f || fscanf(f, "%*s %ld", &pages) != 1) pages = 0;
  if (f) fclose(f);
  return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void put_metrics(server *s, buf *out) {
  struct rusage use;
  int connections, busy = 0;
  pthread_mutex_lock(&s->mutex);
  connections = s->connections_n;
  for (connection *c = s->connections; c; c = c->next) busy += atomic_load(&c->busy);
  pthread_mutex_unlock(&s->mutex);
  getrusage(RUSAGE_SELF, &use);
  metric(out, "up", "gauge", "1 while the server takes connections.", !atomic_load(&s->stopping));
  metric(out, "uptime_seconds", "gauge", "Since the server started.", (double)(now_ns() - s->started_ns) / 1e9);
  metric(out, "connections", "gauge", "Connections now.", connections);
  metric(out, "connections_busy", "gauge", "Connections with a statement at work.", busy);
  metric(out, "connections_max", "gauge", "Connections allowed at once.", s->max_connections);
  metric(out, "connections_total", "counter", "Connections since the start.", (double)atomic_load(&s->connections_total));
  metric(out, "connections_refused_total", "counter", "Connections over the limit.", (double)atomic_load(&s->refused_total));
  metric(out, "authentication_failures_total", "counter", "Wrong passwords and unknown users.", (double)atomic_load(&s->authentication_failures));
  metric(out, "statements_total", "counter", "Statements run.", (double)atomic_load(&s->statements_run));
  metric(out, "statement_seconds_total", "counter", "Time that statements took.", (double)atomic_load(&s->statement_ns) / 1e9);
  metric(out, "errors_total", "counter", "Errors sent to clients.", (double)atomic_load(&s->errors_sent));
  metric(out, "received_bytes_total", "counter", "Bytes received from clients.", (double)atomic_load(&s->received_bytes));
  metric(out, "sent_bytes_total", "counter", "Bytes sent to clients.", (double)atomic_load(&s->sent_bytes));
  metric(out, "resident_memory_bytes", "gauge", "Memory of the process.", resident_bytes());
  metric(out, "cpu_seconds_total", "counter", "Processor time of the process.",
         (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
}

static void put_answer(http_client *h, int code, const char *reason, const char *type, const buf *body, bool head) {
  buf_printf(&h->out, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n", code, reason, type, body->n,
             code == 405 ? "Allow: GET, HEAD\r\n" : "");
  if (!head && body->n) buf_append(&h->out, body->p, body->n);
}

/* The whole request head is there. */
static void answer(http_client *h) {
  static const char plain[] = "text/plain; charset=utf-8";
  server *s = h->server;
  buf body = BUF_INIT;
  const char *text = buf_cstr(&h->in);
  bool head = text && strncmp(text, "HEAD ", 5) == 0, get = text && strncmp(text, "GET ", 4) == 0;
  const char *path = head ? text + 5 : get ? text + 4 : "";
  size_t n = strcspn(path, " ?\r\n");
  if (!head && !get) {
    buf_text(&body, "only GET and HEAD\n");
    put_answer(h, 405, "Method Not Allowed", plain, &body, false);
  } else if (n == 8 && strncmp(path, "/metrics", 8) == 0) {
    put_metrics(s, &body);
    put_answer(h, 200, "OK", "text/plain; version=0.0.4; charset=utf-8", &body, head);
  } else if (n == 7 && strncmp(path, "/health", 7) == 0) {
    bool well = !atomic_load(&s->stopping);
    buf_text(&body, well ? "ok\n" : "stopping\n");
    put_answer(h, well ? 200 : 503, well ? "OK" : "Service Unavailable", plain, &body, head);
  } else {
    buf_text(&body, "here are /metrics and /health\n");
    put_answer(h, 404, "Not Found", plain, &body, head);
  }
  buf_free(&body);
}

/* ---- clients ---- */

static void on_closed(uv_handle_t *handle) {
  http_client *h = handle->data;
  struct metrics *m = h->server->metrics;
  for (http_client **at = &m->clients; *at; at = &(*at)->next)
    if (*at == h) {
      *at = h->next;
      m->clients_n--;
      break;
    }
  buf_free(&h->in);
  buf_free(&h->out);
  free(h);
}

static void close_client(http_client *h) {
  if (!uv_is_closing((uv_handle_t *)&h->tcp)) uv_close((uv_handle_t *)&h->tcp, on_closed);
}

static void on_written(uv_write_t *request, int rc) { close_client(request->data); }

static void on_allocate(uv_handle_t *handle, size_t wanted, uv_buf_t *b) {
  http_client *h = handle->data;
  uint8_t *p = buf_reserve(&h->in, REQUEST_MAX);
  *b = uv_buf_init((char *)p, p ? REQUEST_MAX : 0);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b) {
  http_client *h = stream->data;
  if (n == 0) return;
  if (n > 0) h->in.n += (size_t)n;
  if (n < 0 || h->in.n > REQUEST_MAX || h->answered) {
    close_client(h);
    return;
  }
  bool whole = memmem(h->in.p, h->in.n, "\r\n\r\n", 4) || memmem(h->in.p, h->in.n, "\n\n", 2);
  if (!whole) return;
  h->answered = true;
  answer(h);
  uv_buf_t out = uv_buf_init((char *)h->out.p, (unsigned)h->out.n);
  h->write.data = h;
  if (buf_failed(&h->out) || uv_write(&h->write, stream, &out, 1, on_written) < 0) close_client(h);
}

static void on_connection(uv_stream_t *listener, int rc) {
  server *s = listener->data;
  struct metrics *m = s->metrics;
  http_client *h = rc < 0 ? NULL : calloc(1, sizeof *h);
  if (!h) return;
  h->server = s;
  h->since = now_ns();
  uv_tcp_init(&s->loop, &h->tcp);
  h->tcp.data = h;
  h->next = m->clients;
  m->clients = h;
  m->clients_n++;
  if (uv_accept(listener, (uv_stream_t *)&h->tcp) < 0 || m->clients_n > CLIENTS_MAX ||
      uv_read_start((uv_stream_t *)&h->tcp, on_allocate, on_read) < 0)
    close_client(h);
  if (!uv_is_active((uv_handle_t *)&m->timer)) uv_timer_again(&m->timer);
}

/* H1 */
static void on_second(uv_timer_t *timer) {
  server *s = timer->data;
  struct metrics *m = s->metrics;
  for (http_client *h = m->clients; h; h = h->next)
    if (now_ns() > h->since + REQUEST_SECONDS * 1000000000ull) close_client(h);
  if (!m->clients) uv_timer_stop(timer);
}

/* ---- its life ---- */

int metrics_listen(server *s, int port, char **why) {
  struct sockaddr_storage address;
  struct metrics *m = s->metrics = calloc(1, sizeof *m);
  if (!m) return UV_ENOMEM;
  int rc = uv_ip4_addr(s->listen, port, (struct sockaddr_in *)&address);
  if (rc < 0) rc = uv_ip6_addr(s->listen, port, (struct sockaddr_in6 *)&address);
  uv_tcp_init(&s->loop, &m->tcp);
  uv_timer_init(&s->loop, &m->timer);
  m->tcp.data = m->timer.data = s;
  uv_timer_start(&m->timer, on_second, 1000, 1000);
  uv_timer_stop(&m->timer);
  if (rc == 0) rc = uv_tcp_bind(&m->tcp, (struct sockaddr *)&address, 0);
  if (rc == 0) rc = uv_listen((uv_stream_t *)&m->tcp, 64, on_connection);
  int length = sizeof address;
  if (rc == 0) rc = uv_tcp_getsockname(&m->tcp, (struct sockaddr *)&address, &length);
  if (rc < 0) {
    if (asprintf(why, "cannot listen on %s port %d: %s", s->listen, port, uv_strerror(rc)) < 0) *why = NULL;
    return rc;
  }
  return s->metrics_port = ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                                                 : ((struct sockaddr_in *)&address)->sin_port);
}

void metrics_close(server *s) {
  struct metrics *m = s->metrics;
  if (!m || m->closing) return;
  m->closing = true;
  uv_close((uv_handle_t *)&m->tcp, NULL);
  uv_close((uv_handle_t *)&m->timer, NULL);
  for (http_client *h = m->clients; h; h = h->next) close_client(h);
}

void metrics_fork_child(server *s) {
  uv_os_fd_t fd;
  struct metrics *m = s->metrics;
  if (!m || m->closing) return;
  if (uv_fileno((uv_handle_t *)&m->tcp, &fd) == 0) close(fd);
  for (http_client *h = m->clients; h; h = h->next)
    if (uv_fileno((uv_handle_t *)&h->tcp, &fd) == 0) close(fd);
}
