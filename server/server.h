/* server: one database served over the PostgreSQL wire protocol 3.0, from a thread of this process.
 *
 * server_start returns when the socket listens; the rest happens on the server's own threads: one loop thread does all
 * input and output, statements run on a pool of worker threads that grows while all of them are busy.
 * Any thread may call server_stop and server_wait; server_free after server_wait.
 */
#ifndef HDB_SERVER_SERVER_H
#define HDB_SERVER_SERVER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct server server;

typedef struct server_options {
  const char *database;      /* path of app.db */
  const char *listen;        /* NULL: 127.0.0.1 */
  int port;                  /* 0: any free one */
  const char *socket_dir;    /* NULL: no Unix socket */
  const char *auth;          /* NULL: scram-sha-256; md5, password, trust */
  const char *user;          /* NULL: helios */
  const char *password;      /* NULL: a random one is made and written to a file beside the database */
  const char *password_file; /* user:verifier lines */
  const char *tls_cert, *tls_key;
  int max_connections;       /* 0: 1000 */
  int statement_timeout_ms;  /* 0: none */
  int memory_limit_mb;       /* what a statement may take, about; 0: half the machine's memory, -1: no limit */
  int idle_timeout_ms;
  int metrics_port;          /* -1: none, 0: any free one */
  bool log_json;
  bool quiet;                /* no log lines at all */
  const char *branch;
  const void *encryption_key; /* 32 bytes or NULL */
  const char *passphrase;
  const char *conflict_policy;
  bool uri;                  /* database is a URI filename */
  bool has_retention;
  double retention;          /* seconds, when has_retention */
  int mirror;                /* 0 the stored setting, 1 on, -1 off */
} server_options;

/* NULL: *why (malloc'ed) says why not. Strings are copied. */
server *server_start(const server_options *options, char **why);
int server_port(const server *s);
int server_metrics_port(const server *s); /* -1: none */
const char *server_host(const server *s);
const char *server_user(const server *s);
/* The password clients need; NULL when a password file or trust was asked for. */
const char *server_password(const server *s);
const char *server_password_path(const server *s); /* the 0600 file it was written to, NULL: it was given */
const char *server_database(const server *s);      /* the name clients ask for: the file's stem */
/* The users are read again from their file; false: they stay as they were, *why (malloc'ed, or NULL) says why. */
bool server_reload(server *s, char **why);
void server_stop(server *s);                 /* refuse new, finish or cancel running; returns at once */
void server_wait(server *s);                 /* until all is closed and the database is checkpointed */
bool server_wait_ms(server *s, long milliseconds); /* false: not yet */
/* A forked child has none of the server's threads: its copy is closed at the fork, and these calls do nothing. */
void server_free(server *s);

/* helios-server passwd: the program's exit code. */
int password_tool(int argc, char **argv);

#endif
