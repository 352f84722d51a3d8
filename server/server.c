/* A server's life: its options checked and copied, the database opened, the password made, the loop started.
 * trust is for loopback alone and only when asked for; an empty password is refused. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kv/base/crypt.h"
#include "server/internal.h"

enum { MEMORY_LEAST = 256 << 20 };

static char *copy(const char *text) { return text ? strdup(text) : NULL; }

static bool is_loopback(const char *host) {
  return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 || strcasecmp(host, "localhost") == 0;
}

static char *stem_of(const char *path) {
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
  return dot && dot > name ? strndup(name, (size_t)(dot - name)) : strdup(name);
}

/* A random password, kept in a file of mode 0600 in the database's directory, named by the port: a database may have
 * several servers. */
static bool make_password(server *s, char **why) {
  static const char letters[] = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
  uint8_t random[24];
  char text[sizeof random + 1];
  if (getrandom(random, sizeof random, 0) != sizeof random) return false;
  for (size_t i = 0; i < sizeof random; i++) text[i] = letters[random[i] % (sizeof letters - 1)];
  text[sizeof random] = 0;
  s->password = strdup(text);
  char path[4200];
  const char *file = hdb_db_filename(s->keeper, "main");
  if (!file || !*file) return true; /* in memory: who started it knows it */
  snprintf(path, sizeof path, "%s-helios", file);
  struct stat st;
  bool directory = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
  snprintf(path, sizeof path, directory ? "%s-helios/password-%d" : "%s-password-%d", file, s->port);
  unlink(path);
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 || dprintf(fd, "%s\n", text) < 0) {
    if (asprintf(why, "cannot write the password file %s: %s", path, strerror(errno)) < 0) *why = NULL;
    if (fd >= 0) close(fd);
    return false;
  }
  close(fd);
  s->password_path = strdup(path);
  return true;
}

static bool say(char **why, const char *text) {
  *why = strdup(text);
  return false;
}

static bool check_method(server *s, const server_options *o, char **why) {
  static const char *const methods[] = {"scram-sha-256", "md5", "password", "trust"};
  bool known = false;
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) known = known || strcasecmp(s->auth, methods[i]) == 0;
  if (!known) return say(why, "unknown authentication method: one of scram-sha-256, md5, password, trust");
  if (strcasecmp(s->auth, "trust") == 0)
    return is_loopback(s->listen) ? true : say(why, "trust is allowed on a loopback address only");
  if (o->password && !*o->password) return say(why, "an empty password is not allowed");
  return true;
}

/* The port is known. */
static bool make_verifiers(server *s, const server_options *o, char **why) {
  if (strcasecmp(s->auth, "trust") == 0) return true;
  if (o->password_file) {
    s->has_password_file = true;
    s->roles_path = strdup(o->password_file);
  } else {
    char path[4200];
    const char *file = hdb_db_filename(s->keeper, "main");
    if (!s->password && !make_password(s, why)) return false;
    struct stat st;
    snprintf(path, sizeof path, "%s-helios", file ? file : "");
    if (file && *file && stat(path, &st) == 0 && S_ISDIR(st.st_mode) && asprintf(&s->roles_path, "%s/users", path) < 0) s->roles_path = NULL;
  }
  return roles_load(s, why);
}

bool server_reload(server *s, char **why) {
  *why = NULL;
  return s->abandoned || strcasecmp(s->auth, "trust") == 0 || roles_load(s, why);
}

hdb_settings server_settings(const server *s, const char *branch) {
  return (hdb_settings){.branch = branch ? branch : s->branch, .retention = s->retention, .mirror = s->mirror,
                        .conflict_policy = s->policy, .encryption_key = s->has_key ? s->key : NULL, .passphrase = s->passphrase};
}
int server_open_flags(const server *s) { return HDB_OPEN_READWRITE | HDB_OPEN_CREATE | (s->uri ? HDB_OPEN_URI : 0); }

static bool open_keeper(server *s, char **why) {
  hdb_settings settings = server_settings(s, NULL);
  if (hdb_open_with(s->database, &s->keeper, server_open_flags(s), &settings) == HDB_OK) {
    if (hdb_exec(s->keeper, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL) == HDB_OK) {
      const char *file = hdb_db_filename(s->keeper, "main");
      s->stem = stem_of(file && *file ? file : s->database);
      return s->stem != NULL;
    }
  }
  const char *words = s->keeper ? hdb_errmsg(s->keeper) : "out of memory";
  if (asprintf(why, "cannot open %s: %s", s->database, words) < 0) *why = NULL;
  return false;
}

/* ---- forks ---- */

static pthread_mutex_t living_lock = PTHREAD_MUTEX_INITIALIZER;
static server *living;

static void before_fork(void) {
  pthread_mutex_lock(&living_lock);
  for (server *s = living; s; s = s->next_living) pthread_mutex_lock(&s->mutex);
}
static void after_fork_parent(void) {
  for (server *s = living; s; s = s->next_living) pthread_mutex_unlock(&s->mutex);
  pthread_mutex_unlock(&living_lock);
}
/* Sockets that stayed open here would keep the parent's clients and port alive after he has closed them. */
static void after_fork_child(void) {
  for (server *s = living; s; s = s->next_living) {
    pthread_mutex_init(&s->mutex, NULL);
    pthread_mutex_init(&s->sequences_mutex, NULL);
  pthread_mutex_init(&s->roles_mutex, NULL);
    s->abandoned = true;
    server_fork_child(s);
  }
  living = NULL;
  pthread_mutex_init(&living_lock, NULL);
}
static void watch_forks(void) { pthread_atfork(before_fork, after_fork_parent, after_fork_child); }
static pthread_once_t forks_watched = PTHREAD_ONCE_INIT;

static void live(server *s) {
  pthread_once(&forks_watched, watch_forks);
  pthread_mutex_lock(&living_lock);
  s->next_living = living;
  living = s;
  pthread_mutex_unlock(&living_lock);
}
static void die(server *s) {
  pthread_mutex_lock(&living_lock);
  for (server **at = &living; *at; at = &(*at)->next_living)
    if (*at == s) {
      *at = s->next_living;
      break;
    }
  pthread_mutex_unlock(&living_lock);
}

static bool is_in_memory(const char *name) { return !*name || strcmp(name, ":memory:") == 0; }

/* ---- a server's life ---- */

static void copy_options(server *s, const server_options *o) {
  s->database = copy(o->database);
  s->listen = copy(o->listen && *o->listen ? (strcasecmp(o->listen, "localhost") == 0 ? "127.0.0.1" : o->listen) : "127.0.0.1");
  s->socket_dir = copy(o->socket_dir);
  s->auth = copy(o->auth ? o->auth : "scram-sha-256");
  s->user = copy(o->user ? o->user : "helios");
  s->password = o->password && *o->password ? strdup(o->password) : NULL;
  s->branch = copy(o->branch);
  s->passphrase = copy(o->passphrase);
  s->policy = copy(o->conflict_policy);
  s->has_key = o->encryption_key != NULL;
  if (s->has_key) memcpy(s->key, o->encryption_key, sizeof s->key);
  s->port = o->port;
  s->max_connections = o->max_connections > 0 ? o->max_connections : 1000;
  s->statement_timeout_ms = o->statement_timeout_ms;
  s->idle_timeout_ms = o->idle_timeout_ms;
  int64_t half = (int64_t)sysconf(_SC_PHYS_PAGES) / 2 * sysconf(_SC_PAGESIZE);
  s->memory_limit = o->memory_limit_mb < 0 ? INT64_MAX : o->memory_limit_mb ? (int64_t)o->memory_limit_mb << 20 : half > MEMORY_LEAST ? half : MEMORY_LEAST;
  s->quiet = o->quiet;
  s->log_json = o->log_json;
  s->uri = o->uri;
  s->metrics_port = -1;
  s->started_ns = now_ns();
  s->retention = o->has_retention ? o->retention : NAN;
  s->mirror = o->mirror > 0 ? 1 : o->mirror < 0 ? 0 : -1;
}

server *server_start(const server_options *o, char **why) {
  *why = NULL;
  if (o->database && is_in_memory(o->database)) {
    say(why, "a database in memory cannot be served");
    return NULL;
  }
  server *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  pthread_mutex_init(&s->mutex, NULL);
  pthread_mutex_init(&s->sequences_mutex, NULL);
  pthread_mutex_init(&s->roles_mutex, NULL);
  pthread_cond_init(&s->ended, NULL);
  copy_options(s, o);
  if (getrandom(&s->next_process, sizeof s->next_process, 0) < 0) s->next_process = 1;
  s->next_process = s->next_process % 900000 + 1000;
  bool ok = s->database && s->listen && s->auth && s->user && getrandom(s->mock, sizeof s->mock, 0) == sizeof s->mock;
  ok = ok && check_method(s, o, why) && open_keeper(s, why);
  if (ok && o->tls_cert && !(s->tls = tls_context(o->tls_cert, o->tls_key ? o->tls_key : o->tls_cert, why))) ok = false;
  if (s->tls) s->end_point_n = tls_end_point(s->tls, s->end_point);
  bool listened = false;
  if (ok) {
    listened = true;
    ok = server_listen(s, why) == 0 && (o->metrics_port < 0 || metrics_listen(s, o->metrics_port, why) >= 0) && make_verifiers(s, o, why);
  }
  if (ok && !(s->workers = pool_new(s->max_connections + 2))) ok = false;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before); /* signals are the host program's */
  if (ok) live(s);
  if (ok && pthread_create(&s->thread, NULL, server_loop, s) != 0) {
    ok = say(why, "cannot start a thread");
    die(s);
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (ok) {
    char port[16];
    snprintf(port, sizeof port, "%d", s->port);
    server_log(s, "info", "listening", "address", s->listen, "port", port, "database", s->stem, "auth", s->auth, NULL);
    return s;
  }
  if (listened) server_unlisten(s);
  s->over = true;
  pool_free(s->workers);
  s->workers = NULL;
  hdb_close_v2(s->sequences);
  hdb_close_v2(s->keeper);
  s->keeper = NULL;
  s->thread = 0;
  server_free(s);
  if (!*why) *why = strdup("out of memory");
  return NULL;
}

int server_port(const server *s) { return s->port; }
int server_metrics_port(const server *s) { return s->metrics_port; }
const char *server_host(const server *s) { return s->listen; }
const char *server_user(const server *s) { return s->user; }
const char *server_password(const server *s) { return s->password; }
const char *server_password_path(const server *s) { return s->password_path; }
const char *server_database(const server *s) { return s->stem; }

void server_stop(server *s) {
  if (s->abandoned) return;
  pthread_mutex_lock(&s->mutex);
  atomic_store(&s->stopping, true);
  if (!s->wake_closed) uv_async_send(&s->wake);
  pthread_mutex_unlock(&s->mutex);
}

bool server_wait_ms(server *s, long milliseconds) {
  if (s->abandoned) return true;
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += milliseconds / 1000;
  until.tv_nsec += milliseconds % 1000 * 1000000;
  if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
  pthread_mutex_lock(&s->mutex);
  int rc = 0;
  while (!s->over && rc == 0)
    rc = milliseconds < 0 ? pthread_cond_wait(&s->ended, &s->mutex) : pthread_cond_timedwait(&s->ended, &s->mutex, &until);
  bool over = s->over;
  pthread_t thread = over ? s->thread : 0;
  if (over) s->thread = 0;
  pthread_mutex_unlock(&s->mutex);
  if (thread) {
    pthread_join(thread, NULL);
    die(s);
  }
  return over;
}

void server_wait(server *s) { server_wait_ms(s, -1); }

void server_free(server *s) {
  if (!s || s->abandoned) return;
  if (s->password_path) unlink(s->password_path);
  tls_context_free(s->tls);
  free(s->read_buffer);
  free(s->metrics);
  char *texts[] = {s->database, s->listen, s->socket_dir, s->auth, s->user, s->password, s->password_path, s->stem,
                   s->branch, s->passphrase, s->policy, s->verifiers, s->roles_path};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    if (texts[i]) crypt_wipe(texts[i], strlen(texts[i])); /* some are secrets */
    free(texts[i]);
  }
  crypt_wipe(s->key, sizeof s->key);
  pthread_mutex_destroy(&s->mutex);
  pthread_cond_destroy(&s->ended);
  free(s);
}
