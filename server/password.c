/* helios-server passwd FILE USER: writes a user's verifier into a password file. The password comes from the terminal,
 * without echo, or is the first line of what is piped in. The file is replaced whole, with mode 0600. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "server/internal.h"

static bool read_line(const char *prompt, char *out, size_t size) {
  struct termios before, silent;
  bool terminal = tcgetattr(STDIN_FILENO, &before) == 0;
  if (terminal) {
    silent = before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    fprintf(stderr, "%s: ", prompt);
  }
  char *line = fgets(out, (int)size, stdin);
  if (terminal) {
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    fputc('\n', stderr);
  }
  if (!line) return false;
  out[strcspn(out, "\r\n")] = 0;
  return true;
}

static bool name_is_fit(const char *user) { return *user && *user != '#' && !strpbrk(user, ":\r\n"); }

/* The other lines as they are, this user's replaced or added. */
static void merge(FILE *old, const char *user, const char *verifier, buf *out) {
  char *line = NULL;
  size_t capacity = 0, n = strlen(user);
  bool done = !verifier;
  while (old && getline(&line, &capacity, old) > 0) {
    line[strcspn(line, "\r\n")] = 0;
    bool mine = strncmp(line, user, n) == 0 && line[n] == ':';
    if (!mine) buf_printf(out, "%s\n", line);
    else if (!done) buf_printf(out, "%s:%s\n", user, verifier);
    done = done || mine;
  }
  if (!done) buf_printf(out, "%s:%s\n", user, verifier);
  free(line);
}

static int write_file(const char *path, const buf *text) {
  char name[4200];
  if ((size_t)snprintf(name, sizeof name, "%s.XXXXXX", path) >= sizeof name) return ENAMETOOLONG;
  int fd = mkstemp(name); /* mode 0600 */
  if (fd < 0) return errno;
  bool written = write(fd, text->p, text->n) == (ssize_t)text->n && fsync(fd) == 0;
  int code = written ? 0 : errno;
  if (close(fd) != 0 && !code) code = errno;
  if (!code && rename(name, path) != 0) code = errno;
  if (code) unlink(name);
  return code;
}

int password_file_put(const char *path, const char *user, const char *verifier) {
  buf text = BUF_INIT;
  FILE *old = fopen(path, "re");
  int code = old || errno == ENOENT ? 0 : errno;
  if (!code && (old || verifier)) {
    merge(old, user, verifier, &text);
    code = buf_failed(&text) ? ENOMEM : write_file(path, &text);
  }
  if (old) fclose(old);
  buf_free(&text);
  return code;
}

int password_tool(int argc, char **argv) {
  bool md5 = false, drop = false;
  int at = 1;
  for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
    if (strcmp(argv[at], "--md5") == 0) md5 = true;
    else if (strcmp(argv[at], "--delete") == 0) drop = true;
    else break;
  }
  if (at + 2 != argc || !name_is_fit(argv[at + 1])) {
    fprintf(stderr, "usage: helios-server passwd [--md5 | --delete] FILE USER\n");
    return 2;
  }
  const char *path = argv[at], *user = argv[at + 1];
  char first[1024] = "", second[1024] = "";
  buf verifier = BUF_INIT, text = BUF_INIT;
  int code = 1;
  FILE *old = NULL;
  if (!drop) {
    if (!read_line("Password", first, sizeof first) || !*first) {
      fprintf(stderr, "helios-server: an empty password is not allowed\n");
      goto out;
    }
    if (isatty(STDIN_FILENO) && (!read_line("The same again", second, sizeof second) || strcmp(first, second) != 0)) {
      fprintf(stderr, "helios-server: the two differ\n");
      goto out;
    }
    status rc = md5 ? auth_make_md5(user, first, &verifier) : auth_make_scram(first, &verifier);
    if (rc != HDB_OK || !buf_cstr(&verifier)) {
      fprintf(stderr, "helios-server: cannot make the verifier\n");
      goto out;
    }
  }
  old = fopen(path, "re");
  if (!old && errno != ENOENT) {
    fprintf(stderr, "helios-server: cannot read %s: %s\n", path, strerror(errno));
    goto out;
  }
  merge(old, user, drop ? NULL : buf_cstr(&verifier), &text);
  code = buf_failed(&text) ? ENOMEM : write_file(path, &text);
  if (code) fprintf(stderr, "helios-server: cannot write %s: %s\n", path, strerror(code));
  code = code ? 1 : 0;
out:
  if (old) fclose(old);
  explicit_bzero(first, sizeof first);
  explicit_bzero(second, sizeof second);
  buf_free(&verifier);
  buf_free(&text);
  return code;
}
