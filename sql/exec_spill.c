#include "sql/exec_spill.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <unistd.h>

struct spill {
  exec *x;
  int file;
  EVP_CIPHER_CTX *cipher;
  uint8_t key[32];
  uint64_t chunks;  /* written */
  uint64_t first;   /* of the run being written */
  uint64_t bytes;
  size_t n;         /* in the chunk at hand */
  uint8_t chunk[SPILL_CHUNK], sealed[SPILL_CHUNK];
};
struct spill_reader {
  spill *s;
  uint64_t next, left; /* chunk to read next; bytes not yet given out */
  size_t at, n;
  uint8_t chunk[SPILL_CHUNK];
};

static status io_failed(exec *x, status rc) {
  return errno == ENOSPC ? error_set(x->err, HDB_FULL, "database or disk is full") : error_set(x->err, rc, "disk I/O error");
}

static int unlinked_file(void) {
  const char *folder = getenv("SQLITE_TMPDIR");
  if (!folder) folder = getenv("TMPDIR");
  if (!folder) folder = "/tmp";
  int file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file >= 0) return file;
  char path[4096];
  if (snprintf(path, sizeof path, "%s/heliosdb-XXXXXX", folder) >= (int)sizeof path) return -1;
  file = mkostemp(path, O_CLOEXEC);
  if (file >= 0) unlink(path);
  return file;
}

status spill_new(exec *x, spill **out) {
  spill *s = calloc(1, sizeof *s);
  if (!s) return node_no_memory(x);
  s->x = x;
  s->file = -1;
  s->cipher = EVP_CIPHER_CTX_new();
  if (!s->cipher || RAND_bytes(s->key, sizeof s->key) != 1) {
    spill_free(s);
    return node_no_memory(x);
  }
  s->file = unlinked_file();
  if (s->file < 0) {
    spill_free(s);
    return error_set(x->err, HDB_CANTOPEN, "unable to open database file");
  }
  *out = s;
  return HDB_OK;
}

void spill_free(spill *s) {
  if (!s) return;
  if (s->file >= 0) close(s->file);
  EVP_CIPHER_CTX_free(s->cipher);
  OPENSSL_cleanse(s->key, sizeof s->key);
  free(s);
}

/* Counter mode: the same call seals and opens; the chunk's number is the nonce. */
static bool crypt_chunk(spill *s, uint64_t number, const uint8_t *from, uint8_t *to) {
  uint8_t nonce[16] = {0};
  int n = 0;
  put_be64(nonce, number);
  return EVP_EncryptInit_ex(s->cipher, EVP_aes_256_ctr(), NULL, s->key, nonce) == 1 &&
         EVP_EncryptUpdate(s->cipher, to, &n, from, SPILL_CHUNK) == 1 && n == SPILL_CHUNK;
}

static status write_chunk(spill *s) {
  if (!crypt_chunk(s, s->chunks, s->chunk, s->sealed)) return error_set(s->x->err, HDB_INTERNAL, "encryption failed");
  for (size_t done = 0; done < SPILL_CHUNK;) {
    ssize_t n = pwrite(s->file, s->sealed + done, SPILL_CHUNK - done, (off_t)(s->chunks * SPILL_CHUNK + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return io_failed(s->x, HDB_IOERR_WRITE);
    done += (size_t)n;
  }
  s->chunks++;
  s->n = 0;
  return HDB_OK;
}

void spill_begin(spill *s) {
  s->first = s->chunks;
  s->bytes = 0;
  s->n = 0;
}

status spill_put(spill *s, const void *p, size_t n) {
  const uint8_t *from = p;
  s->bytes += n;
  while (n) {
    size_t room = SPILL_CHUNK - s->n, part = n < room ? n : room;
    memcpy(s->chunk + s->n, from, part);
    s->n += part;
    from += part;
    n -= part;
    if (s->n == SPILL_CHUNK) TRY(write_chunk(s));
  }
  return HDB_OK;
}

status spill_end(spill *s, spill_run *out) {
  *out = (spill_run){s->first, s->bytes};
  if (s->n == 0) return HDB_OK;
  memset(s->chunk + s->n, 0, SPILL_CHUNK - s->n);
  return write_chunk(s);
}

status spill_open(spill *s, const spill_run *run, spill_reader **out) {
  spill_reader *r = malloc(sizeof *r);
  if (!r) return node_no_memory(s->x);
  r->s = s;
  r->next = run->chunk;
  r->left = run->bytes;
  r->at = r->n = 0;
  *out = r;
  return HDB_OK;
}

uint64_t spill_left(const spill_reader *r) { return r->left; }
void spill_close(spill_reader *r) { free(r); }

static status read_chunk(spill_reader *r) {
  spill *s = r->s;
  for (size_t done = 0; done < SPILL_CHUNK;) {
    ssize_t n = pread(s->file, s->sealed + done, SPILL_CHUNK - done, (off_t)(r->next * SPILL_CHUNK + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return io_failed(s->x, HDB_IOERR_READ);
    done += (size_t)n;
  }
  if (!crypt_chunk(s, r->next, s->sealed, r->chunk)) return error_set(s->x->err, HDB_INTERNAL, "decryption failed");
  r->next++;
  r->at = 0;
  r->n = SPILL_CHUNK;
  return HDB_OK;
}

status spill_get(spill_reader *r, void *p, size_t n) {
  uint8_t *to = p;
  if (n > r->left) return error_set(r->s->x->err, HDB_IOERR_SHORT_READ, "disk I/O error");
  r->left -= n;
  while (n) {
    if (r->at == r->n) TRY(read_chunk(r));
    size_t part = n < r->n - r->at ? n : r->n - r->at;
    memcpy(to, r->chunk + r->at, part);
    r->at += part;
    to += part;
    n -= part;
  }
  return HDB_OK;
}
