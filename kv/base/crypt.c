#include "kv/base/crypt.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "kv/base/key.h"

enum {
  NONCE = 12,
  VERSION = 1,
  WITH_KEY = 1,
  WITH_PASSPHRASE = 2,
  SCRYPT_LOG_N = 15, /* 32 MB, about 0.1 s */
  SCRYPT_R = 8,
  SCRYPT_P = 1,
  SCRYPT_LOG_N_MAX = 18, /* of a header that is read: a hostile one must not ask for all memory */
  SCRYPT_RP_MAX = 16
};
/* places in the key header */
enum { H_VERSION = 16, H_KIND = 20, H_LOG_N = 24, H_R = 28, H_P = 32, H_ID = 36, H_SALT = 52, H_NONCE = 68, H_WRAPPED = 80, H_TAG = 112, H_END = 128 };
/* places in a file's header */
enum { F_VERSION = 8, F_KIND = 12, F_NUMBER = 16, F_ID = 24, F_LINK = 40, F_TAG = 48 };

static const char key_magic[17] = "HeliosDB sealed\n", file_magic[9] = "HelioFil";

struct crypt_key {
  atomic_int references;
  uint8_t key[CRYPT_KEY];
};

bool crypt_random(void *p, size_t n) { return RAND_bytes(p, (int)n) == 1; }
void crypt_wipe(void *p, size_t n) { OPENSSL_cleanse(p, n); }

/* ---- deriving ---- */

static bool hkdf(const uint8_t *key, slice salt, const char *info, uint8_t *out, size_t n) {
  EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
  bool good = c && EVP_PKEY_derive_init(c) > 0 && EVP_PKEY_CTX_set_hkdf_md(c, EVP_sha256()) > 0 &&
              EVP_PKEY_CTX_set1_hkdf_salt(c, salt.p, (int)salt.n) > 0 && EVP_PKEY_CTX_set1_hkdf_key(c, key, CRYPT_KEY) > 0 &&
              EVP_PKEY_CTX_add1_hkdf_info(c, (const unsigned char *)info, (int)strlen(info)) > 0 && EVP_PKEY_derive(c, out, &n) > 0;
  EVP_PKEY_CTX_free(c);
  return good;
}

static void hmac(const uint8_t *key, slice a, slice b, uint8_t out[32]) {
  uint8_t text[256];
  unsigned n = 32;
  if (a.n + b.n + 1 > sizeof text) abort(); /* callers' own lengths */
  memcpy(text, a.p, a.n);
  text[a.n] = 0;
  memcpy(text + a.n + 1, b.p, b.n);
  HMAC(EVP_sha256(), key, CRYPT_KEY, text, a.n + 1 + b.n, out, &n);
  crypt_wipe(text, sizeof text);
}

/* One whole message under AES-256-GCM; a context for it alone. */
static bool gcm(bool seal, const uint8_t *key, const uint8_t *nonce, slice beside, const uint8_t *in, size_t n, uint8_t *out, uint8_t *tag) {
  EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
  int m;
  bool good = c && EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce, seal) == 1 &&
              (!beside.n || EVP_CipherUpdate(c, NULL, &m, beside.p, (int)beside.n) == 1) && (!n || EVP_CipherUpdate(c, out, &m, in, (int)n) == 1);
  if (good && !seal) good = EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, CRYPT_TAG, tag) == 1;
  uint8_t rest[16];
  if (good) good = EVP_CipherFinal_ex(c, rest, &m) == 1;
  if (good && seal) good = EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, CRYPT_TAG, tag) == 1;
  EVP_CIPHER_CTX_free(c);
  return good;
}

/* ---- data keys ---- */

static crypt_key *key_of(const uint8_t *bytes) {
  crypt_key *k = malloc(sizeof *k);
  if (!k) return NULL;
  atomic_init(&k->references, 1);
  if (bytes) memcpy(k->key, bytes, CRYPT_KEY);
  else if (!crypt_random(k->key, CRYPT_KEY)) {
    free(k);
    return NULL;
  }
  return k;
}

crypt_key *crypt_key_new(void) { return key_of(NULL); }

crypt_key *crypt_key_hold(crypt_key *key) {
  if (key) atomic_fetch_add(&key->references, 1);
  return key;
}

void crypt_key_release(crypt_key *key) {
  if (!key || atomic_fetch_sub(&key->references, 1) != 1) return;
  crypt_wipe(key, sizeof *key); /* C3 */
  free(key);
}

bool crypt_key_equal(const crypt_key *a, const crypt_key *b) { return CRYPTO_memcmp(a->key, b->key, CRYPT_KEY) == 0; }

/* ---- secrets ---- */

bool crypt_secret_given(const crypt_secret *s) { return s->has_key || s->passphrase; }

bool crypt_secret_set(crypt_secret *s, const void *key, const char *passphrase) {
  *s = (crypt_secret){.has_key = key != NULL};
  if (key) memcpy(s->key, key, CRYPT_KEY);
  else if (passphrase && !(s->passphrase = strdup(passphrase))) return false;
  return true;
}

bool crypt_secret_copy(crypt_secret *to, const crypt_secret *from) {
  return crypt_secret_set(to, from->has_key ? from->key : NULL, from->passphrase);
}

void crypt_secret_clear(crypt_secret *s) {
  if (s->passphrase) crypt_wipe(s->passphrase, strlen(s->passphrase));
  free(s->passphrase);
  crypt_wipe(s, sizeof *s);
  s->passphrase = NULL;
  s->has_key = false;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool crypt_key_from_hex(const char *text, size_t n, uint8_t key[CRYPT_KEY]) {
  if (n != 2 * CRYPT_KEY) return false;
  for (size_t i = 0; i < CRYPT_KEY; i++) {
    int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    key[i] = (uint8_t)(high << 4 | low);
  }
  return true;
}

static uint8_t process_key[CRYPT_KEY];
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;
static void make_process_key(void) {
  if (!crypt_random(process_key, sizeof process_key)) abort(); /* marks would be guessable */
}

void crypt_secret_mark(const crypt_secret *s, uint8_t mark[32]) {
  unsigned n = 32;
  pthread_once(&process_key_once, make_process_key);
  if (s->has_key) {
    hmac(process_key, slice_str("key"), slice_of(s->key, CRYPT_KEY), mark);
  } else {
    uint8_t inner[32];
    HMAC(EVP_sha256(), process_key, CRYPT_KEY, (const uint8_t *)s->passphrase, strlen(s->passphrase), inner, &n);
    hmac(process_key, slice_str("passphrase"), slice_of(inner, 32), mark);
    crypt_wipe(inner, sizeof inner);
  }
}

/* ---- the header ---- */

bool crypt_is_header(const void *p, size_t n) { return n >= H_VERSION && memcmp(p, key_magic, H_VERSION) == 0; }
const uint8_t *crypt_header_id(const uint8_t header[CRYPT_HEADER]) { return header + H_ID; }

/* The key that wraps, from the secret and what the header says of it. */
static status wrapping_key(const uint8_t *header, const crypt_secret *secret, uint8_t out[CRYPT_KEY]) {
  slice salt = slice_of(header + H_SALT, 16);
  uint32_t kind = get_be32(header + H_KIND);
  if (kind != (secret->has_key ? WITH_KEY : WITH_PASSPHRASE)) return HDB_AUTH;
  if (kind == WITH_KEY) return hkdf(secret->key, salt, "heliosdb wrap", out, CRYPT_KEY) ? HDB_OK : HDB_NOMEM;
  uint32_t log_n = get_be32(header + H_LOG_N), r = get_be32(header + H_R), p = get_be32(header + H_P);
  if (log_n < 1 || log_n > SCRYPT_LOG_N_MAX || !r || r > SCRYPT_RP_MAX || !p || p > SCRYPT_RP_MAX) return HDB_AUTH;
  uint64_t n = 1ull << log_n, memory = 128 * n * r + 128ull * r * p + (1 << 20);
  return EVP_PBE_scrypt(secret->passphrase, strlen(secret->passphrase), salt.p, salt.n, n, r, p, memory, out, CRYPT_KEY) == 1 ? HDB_OK
                                                                                                                              : HDB_NOMEM;
}

status crypt_wrap(const crypt_key *key, const crypt_secret *secret, uint8_t header[CRYPT_HEADER]) {
  uint8_t wrapping[CRYPT_KEY], id[32];
  memset(header, 0, CRYPT_HEADER);
  memcpy(header, key_magic, H_VERSION);
  put_be32(header + H_VERSION, VERSION);
  put_be32(header + H_KIND, secret->has_key ? WITH_KEY : WITH_PASSPHRASE);
  if (!secret->has_key) {
    put_be32(header + H_LOG_N, SCRYPT_LOG_N);
    put_be32(header + H_R, SCRYPT_R);
    put_be32(header + H_P, SCRYPT_P);
  }
  hmac(key->key, slice_str("database id"), slice_of("", 0), id);
  memcpy(header + H_ID, id, CRYPT_ID);
  if (!crypt_random(header + H_SALT, 16) || !crypt_random(header + H_NONCE, NONCE)) return HDB_INTERNAL;
  TRY(wrapping_key(header, secret, wrapping));
  bool good = gcm(true, wrapping, header + H_NONCE, slice_of(header, H_WRAPPED), key->key, CRYPT_KEY, header + H_WRAPPED, header + H_TAG);
  crypt_wipe(wrapping, sizeof wrapping);
  return good ? HDB_OK : HDB_NOMEM;
}

status crypt_unwrap(const uint8_t header[CRYPT_HEADER], const crypt_secret *secret, crypt_key **out) {
  uint8_t wrapping[CRYPT_KEY], bytes[CRYPT_KEY], tag[CRYPT_TAG];
  *out = NULL;
  if (!crypt_is_header(header, CRYPT_HEADER)) return HDB_NOTADB;
  if (get_be32(header + H_VERSION) > VERSION) return HDB_FORMAT;
  for (int i = H_END; i < CRYPT_HEADER; i++)
    if (header[i]) return HDB_AUTH;
  TRY(wrapping_key(header, secret, wrapping));
  memcpy(tag, header + H_TAG, CRYPT_TAG);
  bool good = gcm(false, wrapping, header + H_NONCE, slice_of(header, H_WRAPPED), header + H_WRAPPED, CRYPT_KEY, bytes, tag);
  if (good) *out = key_of(bytes);
  crypt_wipe(wrapping, sizeof wrapping);
  crypt_wipe(bytes, sizeof bytes);
  if (!good) return HDB_AUTH;
  return *out ? HDB_OK : HDB_NOMEM;
}

/* ---- proofs ---- */

void crypt_prove(const crypt_key *key, const char *role, const uint8_t challenge[32], uint8_t proof[32]) {
  uint8_t derived[CRYPT_KEY];
  hmac(key->key, slice_str("proof of the key"), slice_str(role), derived);
  hmac(derived, slice_str(role), slice_of(challenge, 32), proof);
  crypt_wipe(derived, sizeof derived);
}

bool crypt_verify(const crypt_key *key, const char *role, const uint8_t challenge[32], const uint8_t proof[32]) {
  uint8_t right[32];
  crypt_prove(key, role, challenge, right);
  bool good = CRYPTO_memcmp(right, proof, sizeof right) == 0;
  crypt_wipe(right, sizeof right);
  return good;
}

/* ---- files ---- */

/* Contexts hold the expanded key and are cleansed by OpenSSL when freed. A thread takes the spare one or copies the first. */
struct crypt_file {
  EVP_CIPHER_CTX *first; /* never used itself */
  _Atomic(EVP_CIPHER_CTX *) spare;
};

static EVP_CIPHER_CTX *context_take(crypt_file *f) {
  EVP_CIPHER_CTX *c = atomic_exchange_explicit(&f->spare, NULL, memory_order_acquire);
  if (c) return c;
  c = EVP_CIPHER_CTX_new();
  if (c && EVP_CIPHER_CTX_copy(c, f->first) == 1) return c;
  EVP_CIPHER_CTX_free(c);
  return NULL;
}

static void context_give(crypt_file *f, EVP_CIPHER_CTX *c) {
  EVP_CIPHER_CTX *other = atomic_exchange_explicit(&f->spare, c, memory_order_acq_rel);
  EVP_CIPHER_CTX_free(other);
}

static void nonce_of(uint8_t nonce[NONCE], unsigned flag, uint64_t counter) {
  put_be32(nonce, flag);
  put_be64(nonce + 4, counter);
}

static bool file_run(crypt_file *f, bool seal, unsigned flag, uint64_t counter, slice beside, const uint8_t *in, size_t n, uint8_t *out, uint8_t *tag) {
  EVP_CIPHER_CTX *c = context_take(f);
  uint8_t nonce[NONCE], rest[16];
  int m;
  if (!c) return false;
  nonce_of(nonce, flag, counter);
  bool good = n <= INT32_MAX && EVP_CipherInit_ex(c, NULL, NULL, NULL, nonce, seal) == 1 && (!beside.n || EVP_CipherUpdate(c, NULL, &m, beside.p, (int)beside.n) == 1) &&
              (!n || EVP_CipherUpdate(c, out, &m, in, (int)n) == 1);
  if (good && !seal) good = EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, CRYPT_TAG, tag) == 1;
  if (good) good = EVP_CipherFinal_ex(c, rest, &m) == 1;
  if (good && seal) good = EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, CRYPT_TAG, tag) == 1;
  context_give(f, c);
  return good;
}

bool crypt_seal(crypt_file *f, enum crypt_flag flag, uint64_t counter, slice beside, const uint8_t *in, size_t n, uint8_t *out) {
  return file_run(f, true, flag, counter, beside, in, n, out, out + n);
}

bool crypt_open(crypt_file *f, enum crypt_flag flag, uint64_t counter, slice beside, const uint8_t *in, size_t n, uint8_t *out) {
  uint8_t tag[CRYPT_TAG];
  memcpy(tag, in + n, CRYPT_TAG);
  return file_run(f, false, flag, counter, beside, in, n, out, tag);
}

static crypt_file *file_new(const crypt_key *key, const uint8_t *header) {
  uint8_t derived[CRYPT_KEY];
  crypt_file *f = calloc(1, sizeof *f);
  if (!f) return NULL;
  f->first = EVP_CIPHER_CTX_new();
  bool good = f->first && hkdf(key->key, slice_of(header + F_ID, CRYPT_ID), "heliosdb file", derived, sizeof derived) &&
              EVP_CipherInit_ex(f->first, EVP_aes_256_gcm(), NULL, derived, NULL, 1) == 1;
  crypt_wipe(derived, sizeof derived);
  if (good) return f;
  crypt_file_free(f);
  return NULL;
}

void crypt_file_free(crypt_file *f) {
  if (!f) return;
  EVP_CIPHER_CTX_free(f->first);
  EVP_CIPHER_CTX_free(atomic_load(&f->spare));
  free(f);
}

enum { FLAG_HEADER = 0xff };

static void header_fill(uint8_t header[CRYPT_FILE_HEADER], enum crypt_kind kind, uint64_t number) {
  memset(header, 0, CRYPT_FILE_HEADER);
  memcpy(header, file_magic, F_VERSION);
  put_be32(header + F_VERSION, VERSION);
  put_be32(header + F_KIND, kind);
  put_be64(header + F_NUMBER, number);
}

status crypt_file_new(const crypt_key *key, enum crypt_kind kind, uint64_t number, uint64_t link, uint8_t header[CRYPT_FILE_HEADER], crypt_file **out) {
  header_fill(header, kind, number);
  put_be64(header + F_LINK, link);
  if (!crypt_random(header + F_ID, CRYPT_ID)) return HDB_INTERNAL;
  crypt_file *f = file_new(key, header);
  if (!f || !file_run(f, true, FLAG_HEADER, 0, slice_of(header, F_TAG), NULL, 0, NULL, header + F_TAG)) {
    crypt_file_free(f);
    return HDB_NOMEM;
  }
  *out = f;
  return HDB_OK;
}

uint64_t crypt_file_link(const uint8_t header[CRYPT_FILE_HEADER]) { return get_be64(header + F_LINK); }

/* The tag is asked about the header as it should be, so that one flipped bit never makes a header look like none. */
status crypt_file_open(const crypt_key *key, enum crypt_kind kind, uint64_t number, const uint8_t header[CRYPT_FILE_HEADER], crypt_file **out) {
  uint8_t right[CRYPT_FILE_HEADER], tag[CRYPT_TAG];
  *out = NULL;
  header_fill(right, kind, number);
  memcpy(right + F_ID, header + F_ID, F_TAG - F_ID);
  crypt_file *f = file_new(key, right);
  if (!f) return HDB_NOMEM;
  memcpy(tag, header + F_TAG, CRYPT_TAG);
  bool sealed = file_run(f, false, FLAG_HEADER, 0, slice_of(right, F_TAG), NULL, 0, NULL, tag);
  if (sealed && memcmp(header, right, F_TAG) == 0) {
    *out = f;
    return HDB_OK;
  }
  crypt_file_free(f);
  return sealed || memcmp(header, right, F_VERSION) == 0 ? HDB_CORRUPT : HDB_NOTADB;
}

/* ---- frames of a log ---- */

static uint32_t get_le32(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }
static void put_le32(uint8_t *p, uint32_t v) {
  for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> 8 * i);
}

void crypt_record_put(uint8_t record[CRYPT_RECORD], uint32_t length) {
  put_le32(record, length);
  put_le32(record + 4, ~length);
}

enum crypt_record crypt_record_get(const uint8_t record[CRYPT_RECORD], uint32_t *length) {
  static const uint8_t zeros[CRYPT_RECORD];
  *length = get_le32(record);
  if (memcmp(record, zeros, CRYPT_RECORD) == 0) return CRYPT_RECORD_ZERO;
  return *length == ~get_le32(record + 4) && *length && *length <= INT32_MAX ? CRYPT_RECORD_OK : CRYPT_RECORD_BAD;
}
