/* helios-server app.db: flags, signals, exit codes. 0: ended by SIGTERM or SIGINT; 1: could not start; 2: wrong usage. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kv/base/crypt.h"
#include "server/server.h"
#include "sql/hdb.h"

static const char usage[] =
    "usage: helios-server [flags] app.db\n"
    "       helios-server passwd [--md5 | --delete] FILE USER     writes a password file\n"
    "  --listen ADDRESS        127.0.0.1\n"
    "  --port N                5432; 0 any free one\n"
    "  --socket-dir DIR        a Unix socket as well\n"
    "  --auth METHOD           scram-sha-256, md5, password, trust (loopback only)\n"
    "  --user NAME             helios\n"
    "  --password TEXT         made at random when left out, and written to a file only you can read\n"
    "  --password-file FILE    lines of user:verifier\n"
    "  --tls-cert FILE --tls-key FILE\n"
    "  --max-connections N     1000\n"
    "  --statement-timeout MS  0: none\n"
    "  --idle-timeout MS       0: none\n"
    "  --memory-limit MB       what a statement may take: half the machine's; 0: no limit\n"
    "  --encryption-key-file FILE   32 bytes or 64 hex digits\n"
    "  --branch NAME           main\n"
    "  --metrics-port N        /metrics for Prometheus, and /health, by HTTP on the same address\n"
    "  --log-format json|text\n";

static bool read_key(const char *path, uint8_t key[32]) {
  FILE *f = fopen(path, "re");
  if (!f) return false;
  char text[80];
  size_t n = fread(text, 1, sizeof text, f);
  fclose(f);
  if (n == 32) {
    memcpy(key, text, 32);
    return true;
  }
  if (n < 64) return false;
  for (int i = 0; i < 32; i++) {
    char pair[3] = {text[2 * i], text[2 * i + 1], 0}, *end;
    key[i] = (uint8_t)strtoul(pair, &end, 16);
    if (*end) return false;
  }
  return true;
}

static bool number(const char *text, int *out) {
  char *end;
  long v = strtol(text, &end, 10);
  if (!*text || *end || v < 0 || v > 2000000000) return false;
  *out = (int)v;
  return true;
}

enum { LISTEN = 1, PORT, SOCKET_DIR, AUTH, USER, PASSWORD, PASSWORD_FILE, TLS_CERT, TLS_KEY, MAX_CONNECTIONS,
       STATEMENT_TIMEOUT, IDLE_TIMEOUT, MEMORY_LIMIT, KEY_FILE, BRANCH, METRICS_PORT, LOG_FORMAT, HELP, VERSION };

static int parse(int argc, char **argv, server_options *o, uint8_t key[32]) {
  static const struct option flags[] = {
      {"listen", 1, 0, LISTEN}, {"port", 1, 0, PORT}, {"socket-dir", 1, 0, SOCKET_DIR}, {"auth", 1, 0, AUTH},
      {"user", 1, 0, USER}, {"password", 1, 0, PASSWORD}, {"password-file", 1, 0, PASSWORD_FILE},
      {"tls-cert", 1, 0, TLS_CERT}, {"tls-key", 1, 0, TLS_KEY}, {"max-connections", 1, 0, MAX_CONNECTIONS},
      {"statement-timeout", 1, 0, STATEMENT_TIMEOUT}, {"idle-timeout", 1, 0, IDLE_TIMEOUT}, {"memory-limit", 1, 0, MEMORY_LIMIT},
      {"encryption-key-file", 1, 0, KEY_FILE}, {"branch", 1, 0, BRANCH}, {"metrics-port", 1, 0, METRICS_PORT},
      {"log-format", 1, 0, LOG_FORMAT}, {"help", 0, 0, HELP}, {"version", 0, 0, VERSION}, {0, 0, 0, 0}};
  for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
    bool ok = true;
    switch (flag) {
    case LISTEN: o->listen = optarg; break;
    case PORT: ok = number(optarg, &o->port) && o->port < 65536; break;
    case SOCKET_DIR: o->socket_dir = optarg; break;
    case AUTH: o->auth = optarg; break;
    case USER: o->user = optarg; break;
    case PASSWORD: o->password = optarg; break;
    case PASSWORD_FILE: o->password_file = optarg; break;
    case TLS_CERT: o->tls_cert = optarg; break;
    case TLS_KEY: o->tls_key = optarg; break;
    case MAX_CONNECTIONS: ok = number(optarg, &o->max_connections); break;
    case STATEMENT_TIMEOUT: ok = number(optarg, &o->statement_timeout_ms); break;
    case IDLE_TIMEOUT: ok = number(optarg, &o->idle_timeout_ms); break;
    case MEMORY_LIMIT:
      ok = number(optarg, &o->memory_limit_mb);
      if (!o->memory_limit_mb) o->memory_limit_mb = -1;
      break;
    case KEY_FILE:
      if (!read_key(optarg, key)) {
        fprintf(stderr, "helios-server: %s does not hold 32 bytes or 64 hex digits\n", optarg);
        return 2;
      }
      o->encryption_key = key;
      break;
    case BRANCH: o->branch = optarg; break;
    case METRICS_PORT: ok = number(optarg, &o->metrics_port) && o->metrics_port < 65536; break;
    case LOG_FORMAT: ok = strcmp(optarg, "json") == 0 || strcmp(optarg, "text") == 0; o->log_json = optarg[0] == 'j'; break;
    case HELP: fputs(usage, stdout); exit(0);
    case VERSION: printf("helios-server %s\n", hdb_product_version()); exit(0);
    default: return 2;
    }
    if (!ok) {
      fprintf(stderr, "helios-server: unusable value: %s\n", optarg);
      return 2;
    }
  }
  if (optind + 1 != argc) return 2;
  o->database = argv[optind];
  return 0;
}

int main(int argc, char **argv) {
  server_options o = {.port = 5432, .metrics_port = -1};
  if (argc > 1 && strcmp(argv[1], "passwd") == 0) return password_tool(argc - 1, argv + 1);
  uint8_t key[32];
  if (parse(argc, argv, &o, key) != 0) {
    fputs(usage, stderr);
    return 2;
  }
  const char *stored = getenv("HELIOSDB_ENCRYPTION_KEY");
  if (!o.encryption_key && stored && *stored) {
    if (!crypt_key_from_hex(stored, strlen(stored), key)) {
      fprintf(stderr, "helios-server: HELIOSDB_ENCRYPTION_KEY must be 64 hex digits\n");
      return 2;
    }
    o.encryption_key = key;
  }
  if (!o.encryption_key) o.passphrase = getenv("HELIOSDB_PASSPHRASE");
  signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  char *why;
  server *s = server_start(&o, &why);
  crypt_wipe(key, sizeof key);
  if (!s) {
    fprintf(stderr, "helios-server: %s\n", why ? why : "out of memory");
    free(why);
    return 1;
  }
  printf("helios-server: %s on %s:%d\n", server_database(s), server_host(s), server_port(s));
  if (server_metrics_port(s) >= 0) printf("helios-server: metrics on http://%s:%d/metrics\n", server_host(s), server_metrics_port(s));
  if (server_password_path(s)) printf("helios-server: password of %s is in %s\n", server_user(s), server_password_path(s));
  fflush(stdout);
  int signal_number;
  while (sigwait(&signals, &signal_number) == 0 && signal_number == SIGHUP) {
    bool done = server_reload(s, &why);
    if (!done) fprintf(stderr, "helios-server: %s\n", why ? why : "out of memory");
    free(why);
  }
  server_stop(s);
  server_wait(s);
  server_free(s);
  return 0;
}
