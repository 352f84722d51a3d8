/* The ring: a file of fixed size that small batches are written to before they are collected into RocksDB's log.
 *
 * A write to it replaces bytes that lie in the page cache: a system call of half a microsecond that allocates nothing, where
 * RocksDB's log costs three to four. It is never synced. What a killed process wrote is there; after a power failure it is
 * not looked at with trust: every record has a checksum and its number, and only those count that go on, without a gap, from
 * the number that RocksDB's log has reached (front.c, F2). So whatever pages were written back, a prefix of the batches is
 * found.
 *
 *   the file   the session (8), a number drawn at each open; records
 *   a record   checksum of the session and what follows (8); length of the operations (4, big-endian); number (8, big-endian); operations
 *
 * R1  Records are appended from the start of the file; after a reset they begin there again. Behind the last of them lie
 *     older ones, with lower numbers, or a cut one. Those of an earlier open, which may have numbers that were given anew
 *     after a power failure, are of another session.
 * R2  Room is allocated before it is written to, twice as much each time, so that a full disk shows then, and not as a write that
 *     failed later, and a store that writes little has a small file.
 * R3  A failed write is the last: RocksDB's log gets everything from then on.
 * R4  Its bytes are plain: an encrypted store has none.
 */
#include "kv/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "kv/base/key.h"
#include "kv/filesystem.h"

enum { RING_BYTES = 1 << 20, FIRST_BYTES = 32 << 10, SESSION = 8, HEAD = 20 };

struct ring {
  int file; /* -1: not made yet; -2: cannot be made, or failed */
  size_t at, allocated;
  uint64_t session;
  bool begun; /* it is in the file */
  bool used; /* since it was wiped; what an earlier process left counts */
  buf record;
  char path[];
};

static uint64_t checksum(uint64_t session, slice s) {
  uint64_t h = session * 0x9e3779b97f4a7c15u ^ s.n;
  size_t i = 0;
  for (; i + 8 <= s.n; i += 8) {
    uint64_t w;
    memcpy(&w, s.p + i, 8);
    h = (h ^ w) * 0xff51afd7ed558ccdu;
    h ^= h >> 29;
  }
  uint64_t w = 0;
  memcpy(&w, s.p + i, s.n - i);
  h = (h ^ w) * 0xff51afd7ed558ccdu;
  return h ^ h >> 32;
}

ring *ring_new(const char *directory) {
  size_t n = strlen(directory) + sizeof "/front.ring";
  ring *r = calloc(1, sizeof *r + n);
  if (!r) return NULL;
  snprintf(r->path, n, "%s/front.ring", directory);
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  r->session = checksum((uint64_t)getpid(), slice_of(&now, sizeof now));
  r->file = -1, r->used = true;
  r->at = SESSION;
  return r;
}

static void give_up(ring *r) {
  if (r->file >= 0) close(r->file);
  r->file = -2;
}

/* R2 */
static bool make(ring *r, size_t bytes) {
  if (r->file == -1 && (r->file = open(r->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666)) < 0) r->file = -2;
  if (r->file < 0 || bytes <= r->allocated) return r->file >= 0;
  size_t wanted = r->allocated ? 2 * r->allocated : FIRST_BYTES;
  while (wanted < bytes) wanted *= 2;
  r->allocated = wanted < RING_BYTES ? wanted : RING_BYTES;
  if (posix_fallocate(r->file, 0, (off_t)r->allocated) != 0) give_up(r);
  return r->file >= 0;
}

static bool put(const ring *r, const uint8_t *p, size_t n, size_t at) {
  int failed = kv_filesystem_in_place(r->path, &n);
  while (n) {
    ssize_t done = pwrite(r->file, p, n, (off_t)at);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    p += done, n -= (size_t)done, at += (size_t)done;
  }
  errno = failed;
  return !failed;
}

status ring_append(ring *r, uint64_t number, slice operations) {
  uint8_t head[HEAD];
  if (!ring_has_room(r, operations.n) || !make(r, r->at + HEAD + operations.n)) return HDB_FULL;
  put_be32(head + 8, (uint32_t)operations.n);
  put_be64(head + 12, number);
  buf_clear(&r->record);
  if (!r->begun) buf_append(&r->record, &r->session, SESSION);
  buf_append(&r->record, head, HEAD);
  buf_append(&r->record, operations.p, operations.n);
  if (buf_failed(&r->record)) return HDB_FULL;
  size_t from = r->begun ? 0 : SESSION;
  uint8_t *p = r->record.p + from;
  put_be64(p, checksum(r->session, slice_of(p + 8, r->record.n - from - 8)));
  r->used = true;
  if (!put(r, r->record.p, r->record.n, r->at - from)) { /* R3 */
    give_up(r);
    return HDB_FULL;
  }
  r->begun = true;
  r->at += r->record.n - from;
  return HDB_OK;
}

bool ring_has_room(const ring *r, size_t operations_n) { return r->at + HEAD + operations_n <= RING_BYTES; }

void ring_reset(ring *r) { r->at = SESSION; }

static status walk(uint64_t session, slice bytes, uint64_t next, ring_visitor visit, void *context) {
  for (uint64_t before = 0; bytes.n > HEAD;) {
    size_t n = get_be32(bytes.p + 8);
    uint64_t number = get_be64(bytes.p + 12);
    if (n > bytes.n - HEAD || get_be64(bytes.p) != checksum(session, slice_of(bytes.p + 8, HEAD - 8 + n))) break;
    if (number > next || (before && number != before + 1)) break; /* R1 */
    before = number;
    if (number == next) {
      TRY(visit(context, number, slice_of(bytes.p + HEAD, n)));
      next++;
    }
    bytes = slice_of(bytes.p + HEAD + n, bytes.n - HEAD - n);
  }
  return HDB_OK;
}

status ring_read(const ring *r, uint64_t next, ring_visitor visit, void *context) {
  int file = open(r->path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return errno == ENOENT ? HDB_OK : kv_fail(HDB_IOERR, "%s: %s", r->path, strerror(errno));
  uint8_t *bytes = malloc(RING_BYTES);
  size_t n = 0;
  ssize_t got = -1;
  while (bytes && n < RING_BYTES && (got = pread(file, bytes + n, RING_BYTES - n, (off_t)n)) > 0) n += (size_t)got;
  status rc = !bytes ? kv_fail(HDB_NOMEM, "out of memory") : got < 0 ? kv_fail(HDB_IOERR, "%s: %s", r->path, strerror(errno)) : HDB_OK;
  close(file);
  uint64_t session = 0;
  if (n >= SESSION) memcpy(&session, bytes, SESSION);
  if (rc == HDB_OK && n > SESSION) rc = walk(session, slice_of(bytes + SESSION, n - SESSION), next, visit, context);
  free(bytes);
  return rc;
}

status ring_wipe(ring *r) {
  ring_reset(r);
  if (!r->used) return HDB_OK;
  int file = r->file >= 0 ? r->file : open(r->path, O_RDWR | O_CLOEXEC);
  off_t size = file < 0 ? 0 : lseek(file, 0, SEEK_END);
  uint8_t *zeros = size < 0 || size > RING_BYTES ? NULL : calloc(1, (size_t)size + 1);
  int kept = r->file;
  r->file = file;
  bool done = zeros && (file < 0 || (put(r, zeros, (size_t)size, 0) && fdatasync(file) == 0));
  r->file = kept, r->begun = false;
  if (file >= 0 && file != kept) close(file);
  free(zeros);
  r->used = !done;
  return done ? HDB_OK : kv_fail(zeros ? HDB_IOERR : HDB_NOMEM, "%s: %s", r->path, strerror(errno));
}

void ring_close(ring *r, bool done) {
  if (!r) return;
  if (r->file >= 0) close(r->file);
  if (done && r->file != -1) unlink(r->path);
  buf_free(&r->record);
  free(r);
}
