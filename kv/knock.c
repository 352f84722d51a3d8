/* Connections between network namespaces: two containers that share a volume do not see each other's abstract sockets.
 *
 * The one that comes makes a socket of its own in the directory, KNOCK-<random>, and the owner, who watches the directory,
 * connects to it; from then on the connection is as any other. The file is there for that moment alone: nothing lies in the
 * directory that a program which copies it would stumble over, and nothing is left by an owner that was killed.
 *
 * K1  The file appears under its name when it listens already (rename). Its maker takes it away; the owner, one that nobody
 *     listens on any more.
 * K2  Whoever may write in the directory may do both ends of it, as he may connect to the owner's socket.
 * K3  Names are reached through a descriptor of the directory: a path of any length is short enough for a socket.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "kv/process.h"

static const char prefix[] = "KNOCK-";

static void address_in(int folder, const char *name, struct sockaddr_un *address) { /* K3 */
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%.60s", folder, name);
}

void knock_namespace(char out[KNOCK_NAMESPACE]) {
  ssize_t n = readlink("/proc/self/ns/net", out, KNOCK_NAMESPACE - 1);
  out[n > 0 ? n : 0] = 0;
}

/* A listening socket in the directory; -1 and errno. */
static int listen_in(int folder, const char *name) {
  struct sockaddr_un address;
  struct stat st;
  char made[KNOCK_NAMESPACE];
  snprintf(made, sizeof made, "knock%s", name + strlen(prefix));
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  address_in(folder, made, &address);
  bool bound = bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
  mode_t writers = fstat(folder, &st) == 0 ? st.st_mode & 0222 : 0200;
  if (bound && listen(fd, 1) == 0 && fchmodat(folder, made, writers | writers << 1 | 0600, 0) == 0 && renameat(folder, made, folder, name) == 0)
    return fd;
  int why = errno;
  if (bound) unlinkat(folder, made, 0);
  close(fd);
  errno = why;
  return -1;
}

int knock(const char *directory, int timeout_ms) {
  uint64_t random;
  char name[KNOCK_NAMESPACE];
  if (getrandom(&random, sizeof random, 0) != sizeof random) return -1;
  snprintf(name, sizeof name, "%s%016llx", prefix, (unsigned long long)random);
  int folder = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1, why;
  if (folder < 0) return -1;
  int door = listen_in(folder, name);
  why = errno;
  if (door >= 0) {
    struct pollfd one = {.fd = door, .events = POLLIN};
    int ready;
    while ((ready = poll(&one, 1, timeout_ms > 0 ? timeout_ms : 1)) < 0 && errno == EINTR) {
    }
    fd = ready == 1 ? accept4(door, NULL, NULL, SOCK_CLOEXEC) : -1;
    why = ready == 0 ? EAGAIN : errno;
    unlinkat(folder, name, 0);
    close(door);
  }
  close(folder);
  errno = why;
  return fd;
}

int knock_watch(const char *directory) {
  int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (fd >= 0 && inotify_add_watch(fd, directory, IN_MOVED_TO | IN_ONLYDIR) < 0) {
    close(fd);
    fd = -1;
  }
  return fd;
}

/* -1: it was none, or nobody is there. */
static int go_to(int folder, const char *name) {
  struct sockaddr_un address;
  struct stat st;
  if (strncmp(name, prefix, strlen(prefix)) != 0 || fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISSOCK(st.st_mode)) return -1;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  address_in(folder, name, &address);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 && fcntl(fd, F_SETFL, 0) == 0) return fd;
  if (errno == ECONNREFUSED) unlinkat(folder, name, 0); /* K1 */
  close(fd);
  return -1;
}

void knock_answer(int watch, const char *directory, bool all, void (*let_in)(void *, int), void *context) {
  _Alignas(struct inotify_event) char events[4096];
  int folder = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC), fd;
  if (folder < 0) return;
  DIR *d = all ? opendir(directory) : NULL;
  for (struct dirent *e; d && (e = readdir(d));)
    if ((fd = go_to(folder, e->d_name)) >= 0) let_in(context, fd);
  if (d) closedir(d);
  for (ssize_t n; (n = read(watch, events, sizeof events)) > 0;) {
    for (char *p = events; p < events + n;) {
      const struct inotify_event *e = (const struct inotify_event *)p;
      if (e->len && (fd = go_to(folder, e->name)) >= 0) let_in(context, fd);
      p += sizeof *e + e->len;
    }
  }
  close(folder);
}
