/* Who owns a directory: a POSIX record lock on its file OWNER, and a socket that OWNER names. And messages on sockets.
 *
 * O1  A record lock goes with the process, however it ends, and is not inherited by a child. It also goes when the
 *     process closes any descriptor of the file: so one is opened while it is held, and the table of what is held, by
 *     device and inode, is asked before.
 * O2  The socket's name is an abstract one: nothing is left of it by a killed process, and nothing lies in the directory
 *     that a program which copies it stumbles over. It serves whoever knows the token in OWNER. From another network
 *     namespace (OWNER says which it is) it cannot be reached: there one knocks (knock.c).
 * O3  OWNER may be read and written by whoever may write in the directory.
 */
#include "kv/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "kv/backend.h"
#include "kv/base/leave.h"

struct owner {
  struct owner *next;
  char *directory;
  dev_t device; /* of OWNER */
  ino_t inode;
  int fd;
  char name[OWNER_NAME]; /* the socket's */
  uint8_t token[OWNER_TOKEN];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t given_back = PTHREAD_COND_INITIALIZER;
static owner *owners; /* what this process holds */
static int *kept;     /* descriptors that are not a child's */
static size_t kept_n, kept_capacity;

/* ---- descriptors and forks ---- */

void owner_keep_from_child(int fd) {
  pthread_mutex_lock(&lock);
  if (kept_n == kept_capacity) {
    size_t capacity = kept_capacity ? 2 * kept_capacity : 64;
    int *more = realloc(kept, capacity * sizeof *more);
    if (more) kept = more, kept_capacity = capacity;
  }
  if (kept_n < kept_capacity) kept[kept_n++] = fd;
  pthread_mutex_unlock(&lock);
}

void owner_close(int fd) {
  if (fd < 0) return;
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < kept_n; i++) {
    if (kept[i] != fd) continue;
    kept[i] = kept[--kept_n];
    break;
  }
  close(fd);
  pthread_mutex_unlock(&lock);
}

void owner_forget_forked(void) {
  pthread_mutex_init(&lock, NULL); /* whoever held it is not here */
  pthread_cond_init(&given_back, NULL);
  for (size_t i = 0; i < kept_n; i++) close(kept[i]);
  kept_n = 0;
  owners = NULL;
}

/* ---- the lock ---- */

/* What to call this process: its program and the script it runs. */
static void program_name(char *out, size_t size) {
  char line[512];
  int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
  if (fd >= 0) close(fd);
  line[n > 0 ? n : 0] = 0;
  const char *program = strrchr(line, '/'), *second = n > 0 ? line + strlen(line) + 1 : line;
  program = program ? program + 1 : line;
  const char *script = second < line + n && second[0] != '-' ? strrchr(second, '/') : "";
  script = script && *script ? script + 1 : second < line + n && second[0] != '-' ? second : "";
  snprintf(out, size, "%.30s%s%.30s", *program ? program : "?", *script ? " " : "", script);
  for (char *p = out; *p; p++)
    if ((unsigned char)*p < ' ') *p = ' ';
}

static int hex_digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What OWNER says: a line of pid and program, one of the socket's name, the token, and the namespace. */
static void read_who(int fd, owner_who *who, char name[OWNER_NAME], uint8_t token[OWNER_TOKEN], char space[KNOCK_NAMESPACE]) {
  char text[320], digits[2 * OWNER_TOKEN + 1] = "";
  struct flock asked = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  *who = (owner_who){0};
  name[0] = space[0] = 0;
  memset(token, 0, OWNER_TOKEN);
  ssize_t n = pread(fd, text, sizeof text - 1, 0);
  text[n > 0 ? n : 0] = 0;
  int at = 0;
  char *second = strchr(text, '\n');
  if (second) *second++ = 0;
  if (sscanf(text, "%d %n", &who->pid, &at) == 1)
    snprintf(who->program, sizeof who->program, "%.60s", text + at);
  if (second && sscanf(second, "%39s %32s %63s", name, digits, space) >= 2)
    for (int i = 0; i < OWNER_TOKEN && hex_digit(digits[2 * i]) >= 0 && hex_digit(digits[2 * i + 1]) >= 0;
         i++)
      token[i] = (uint8_t)(hex_digit(digits[2 * i]) << 4 | hex_digit(digits[2 * i + 1]));
  if (fcntl(fd, F_GETLK, &asked) == 0 && asked.l_type != F_UNLCK && asked.l_pid > 0) who->pid = asked.l_pid;
}

static bool look(const char *directory, owner_who *who, char name[OWNER_NAME], uint8_t token[OWNER_TOKEN], char space[KNOCK_NAMESPACE]) {
  char path[4200];
  *who = (owner_who){0};
  name[0] = space[0] = 0;
  snprintf(path, sizeof path, "%s/OWNER", directory);
  pthread_mutex_lock(&lock); /* O1: not while the lock is taken */
  bool ours = false;
  struct stat st;
  if (stat(path, &st) == 0)
    for (owner *o = owners; o; o = o->next) ours = ours || (o->device == st.st_dev && o->inode == st.st_ino);
  int fd = ours ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) read_who(fd, who, name, token, space);
  if (fd >= 0) close(fd);
  pthread_mutex_unlock(&lock);
  return who->pid != 0;
}

bool owner_look(const char *directory, owner_who *who) {
  char name[OWNER_NAME];
  char space[KNOCK_NAMESPACE];
  uint8_t token[OWNER_TOKEN];
  return look(directory, who, name, token, space);
}

/* Who may write in the directory may read and write OWNER. */
static mode_t mode_of(const char *directory) {
  struct stat st;
  mode_t writers = stat(directory, &st) == 0 ? st.st_mode & 0222 : 0200;
  return writers | writers << 1 | 0600;
}

static status take_lock(const char *directory, owner *o, owner_who *who) {
  char path[4200], text[320], space[KNOCK_NAMESPACE];
  struct stat st;
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  snprintf(path, sizeof path, "%s/OWNER", directory);
  if (stat(path, &st) == 0) { /* O1 */
    for (owner *other = owners; other; other = other->next)
      if (other->device == st.st_dev && other->inode == st.st_ino) {
        who->pid = getpid(), who->ours = true;
        return kv_fail(HDB_BUSY, "%s: open in this process", directory);
      }
  }
  o->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (o->fd < 0) return kv_fail(HDB_CANTOPEN, "%s: %s", path, strerror(errno));
  if (fcntl(o->fd, F_SETLK, &whole) != 0) {
    bool held = errno == EACCES || errno == EAGAIN;
    status rc = kv_fail(held ? HDB_BUSY : HDB_IOERR, "%s: %s", path, strerror(errno));
    read_who(o->fd, who, o->name, o->token, space);
    return rc;
  }
  fstat(o->fd, &st);
  o->device = st.st_dev, o->inode = st.st_ino;
  program_name(who->program, sizeof who->program);
  who->pid = getpid();
  uint64_t random;
  if (getrandom(&random, sizeof random, 0) != sizeof random ||
      getrandom(o->token, OWNER_TOKEN, 0) != OWNER_TOKEN)
    return kv_fail(HDB_IOERR, "no random numbers");
  snprintf(o->name, sizeof o->name, "%d-%016llx", (int)getpid(), (unsigned long long)random);
  int n = snprintf(text, sizeof text, "%d %s\n%s ", (int)getpid(), who->program, o->name);
  for (int i = 0; i < OWNER_TOKEN; i++) n += snprintf(text + n, sizeof text - (size_t)n, "%02x", o->token[i]);
  knock_namespace(space);
  n += snprintf(text + n, sizeof text - (size_t)n, " %s\n", space);
  snprintf(path, sizeof path, "%s/LOCK", directory); /* RocksDB's, made by whoever was first */
  if (chmod(path, mode_of(directory)) != 0 && errno != ENOENT && errno != EPERM) return HDB_OK;
  if (fchmod(o->fd, mode_of(directory)) != 0 || ftruncate(o->fd, 0) != 0 ||
      pwrite(o->fd, text, (size_t)n, 0) != n)
    return HDB_OK; /* it only tells who we are */
  return HDB_OK;
}

status owner_lock(const char *directory, owner **out, owner_who *who) {
  owner *o = calloc(1, sizeof *o);
  *out = NULL;
  *who = (owner_who){0};
  if (!o || !(o->directory = strdup(directory))) {
    free(o);
    return kv_fail(HDB_NOMEM, "out of memory");
  }
  o->fd = -1;
  leave_before_wait();
  pthread_mutex_lock(&lock);
  status rc = take_lock(directory, o, who);
  if (rc == HDB_OK) o->next = owners, owners = o;
  pthread_mutex_unlock(&lock);
  if (rc == HDB_OK) {
    *out = o;
    return HDB_OK;
  }
  if (o->fd >= 0) close(o->fd);
  free(o->directory);
  free(o);
  return rc;
}

void owner_wait(int pid, int64_t us) {
  struct timespec span = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000}, until;
  if (pid == getpid()) {
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += span.tv_sec, until.tv_nsec += span.tv_nsec;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    pthread_mutex_lock(&lock);
    pthread_cond_timedwait(&given_back, &lock, &until);
    pthread_mutex_unlock(&lock);
    return;
  }
  struct pollfd end = {.fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1, .events = POLLIN}; /* -1 is passed over */
  ppoll(&end, 1, &span, NULL);
  if (end.fd >= 0) close(end.fd);
}

void owner_unlock(owner *o) {
  if (!o) return;
  pthread_mutex_lock(&lock);
  for (owner **p = &owners; *p; p = &(*p)->next) {
    if (*p != o) continue;
    *p = o->next;
    break;
  }
  close(o->fd);
  pthread_cond_broadcast(&given_back);
  pthread_mutex_unlock(&lock);
  free(o->directory);
  free(o);
}

/* ---- the socket ---- */

/* ---- where locks and memory are not shared ---- */

const char *owner_network_name(uint64_t magic) {
  switch (magic) {
  case 0x6969: return "NFS";
  case 0x517b:
  case 0xff534d42:
  case 0xfe534d42: return "SMB";
  case 0x564c: return "NCP";
  case 0x5346414f: return "AFS";
  case 0x73757245: return "Coda";
  case 0x00c36400: return "Ceph";
  case 0x0bd00bd0: return "Lustre";
  case 0x47504653: return "GPFS";
  default: return NULL;
  }
}

const char *owner_network(const char *path) {
  struct statfs s;
  return statfs(path, &s) == 0 ? owner_network_name((uint32_t)s.f_type) : NULL;
}

static socklen_t socket_address(const char *name, struct sockaddr_un *address) {
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  int n = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "heliosdb-%s", name);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

int owner_listen(owner *o) {
  struct sockaddr_un address;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  socklen_t n = socket_address(o->name, &address);
  if (bind(fd, (struct sockaddr *)&address, n) != 0 || listen(fd, 128) != 0) {
    close(fd);
    return -1;
  }
  owner_keep_from_child(fd);
  return fd;
}

const uint8_t *owner_token(const owner *o) {
  return o->token;
}

const char *owner_directory(const owner *o) { return o->directory; }

int owner_connect(const char *directory, uint8_t token[OWNER_TOKEN], int timeout_ms) {
  struct sockaddr_un address;
  owner_who who;
  char name[OWNER_NAME], space[KNOCK_NAMESPACE], here[KNOCK_NAMESPACE];
  int fd;
  errno = ECONNREFUSED;
  if (!look(directory, &who, name, token, space) || !name[0]) return -1;
  knock_namespace(here);
  if (space[0] && here[0] && strcmp(space, here) != 0) {
    if ((fd = knock(directory, timeout_ms)) >= 0) owner_keep_from_child(fd);
    return fd;
  }
  fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  socklen_t n = socket_address(name, &address);
  if (connect(fd, (struct sockaddr *)&address, n) != 0) {
    int why = errno;
    close(fd);
    errno = why;
    return -1;
  }
  owner_keep_from_child(fd);
  return fd;
}

/* ---- messages ---- */

bool message_send(int fd, uint32_t what, const slice *parts, int parts_n) {
  enum { PARTS = 4 };
  struct iovec io[PARTS + 1];
  uint8_t head[MESSAGE_HEAD];
  size_t n = 0, left;
  io[0] = (struct iovec){head, sizeof head};
  for (int i = 0; i < parts_n && i < PARTS; i++) {
    io[i + 1] = (struct iovec){(void *)(uintptr_t)parts[i].p, parts[i].n};
    n += parts[i].n;
  }
  if (n > MESSAGE_BYTES_MAX) {
    errno = EMSGSIZE;
    return false;
  }
  uint32_t length = (uint32_t)n;
  memcpy(head, &length, 4), memcpy(head + 4, &what, 4);
  struct msghdr m = {.msg_iov = io, .msg_iovlen = (size_t)parts_n + 1};
  for (left = n + sizeof head; left;) {
    ssize_t sent = sendmsg(fd, &m, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    left -= (size_t)sent;
    for (size_t part = (size_t)sent; left && part;) {
      size_t take = part < m.msg_iov->iov_len ? part : m.msg_iov->iov_len;
      m.msg_iov->iov_base = (uint8_t *)m.msg_iov->iov_base + take;
      m.msg_iov->iov_len -= take;
      part -= take;
      if (!m.msg_iov->iov_len) m.msg_iov++, m.msg_iovlen--;
    }
  }
  return true;
}

bool message_receive(inbox *in, uint32_t *what, slice *body) {
  enum { ROOM = 4096 };
  buf *b = &in->bytes;
  if (in->at == b->n) b->n = in->at = 0;
  for (size_t whole = MESSAGE_HEAD;;) {
    size_t have = b->n - in->at;
    if (have >= MESSAGE_HEAD) {
      uint32_t n;
      memcpy(&n, b->p + in->at, 4), memcpy(what, b->p + in->at + 4, 4);
      if (n > MESSAGE_BYTES_MAX) return errno = EMSGSIZE, false;
      whole = MESSAGE_HEAD + (size_t)n;
    }
    if (have >= whole) {
      *body = slice_of(b->p + in->at + MESSAGE_HEAD, whole - MESSAGE_HEAD);
      in->at += whole;
      return true;
    }
    if (in->at) {
      memmove(b->p, b->p + in->at, have);
      b->n = have, in->at = 0;
    }
    size_t room = whole - have > ROOM ? whole - have : ROOM;
    if (!buf_reserve(b, room)) return errno = ENOMEM, false;
    ssize_t got = recv(in->fd, b->p + b->n, b->capacity - b->n, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) errno = ECONNRESET;
    if (got <= 0) return false;
    b->n += (size_t)got;
  }
}
