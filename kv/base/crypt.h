/* Encryption at rest: the data key of a database, the header that wraps it, and the sealing of files. All of it is
 * OpenSSL's: AES-256-GCM, HKDF-SHA256, HMAC-SHA256, scrypt.
 *
 * A database has one random data key. The user's key (32 bytes, or a passphrase through scrypt) only wraps it, in a
 * header of CRYPT_HEADER bytes; so another user's key costs a new header and no rewriting. Each file of the database
 * has a random id and a key of its own, HKDF(data key, file id); no two files share one, so the nonces within a file are
 * simply counted.
 *
 * Key header (480 bytes):  "HeliosDB sealed\n" · version (4) · 1 key, 2 passphrase (4) · log2 N, r, p of scrypt (4 each)
 *   · database id (16: the same in all headers of one data key) · salt (16) · nonce (12) · wrapped data key (32)
 *   · tag (16, over all before) · zeros
 * File header (64 bytes):  "HelioFil" · version (4) · kind (4) · number (8) · file id (16) · link (8) · tag (16)
 *
 * C1  A nonce of a file is (flag, counter); what was sealed once is never sealed again with other bytes.
 * C2  Nothing of an opened frame is used unless its tag was right.
 * C3  Keys are wiped when they are let go of (OPENSSL_cleanse).
 * What can fail: memory; a tag that is wrong, which says damage, tampering and a wrong key alike. Cost: sealing or
 * opening 4 KB about 1 us, 256 bytes about 0.3 us; scrypt about 0.1 s.
 *
 * Two processes. Whoever wants to be served proves that he has the key, without showing it:
 *   the server sends 32 random bytes (crypt_random); the client answers crypt_prove(key, "client", challenge, proof); the
 *   server asks crypt_verify(key, "client", challenge, proof) before it sends anything else. The other way round with
 *   role "server" and a challenge of the client's. Roles keep an answer from being sent back as one's own.
 */
#ifndef HDB_KV_BASE_CRYPT_H
#define HDB_KV_BASE_CRYPT_H

#include "kv/base/bytes.h"
#include "kv/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  CRYPT_KEY = 32,
  CRYPT_TAG = 16,
  CRYPT_ID = 16,
  CRYPT_HEADER = 480,      /* of the key; no SQLite file is that long */
  CRYPT_FILE_HEADER = 64,
  CRYPT_FRAME = 4096       /* bytes of a table file in one frame */
};

/* ---- keys ---- */
typedef struct crypt_key crypt_key; /* a data key; counted, from any thread */
crypt_key *crypt_key_new(void);     /* a random one; NULL: no memory, no randomness */
crypt_key *crypt_key_hold(crypt_key *key);
void crypt_key_release(crypt_key *key);
bool crypt_key_equal(const crypt_key *a, const crypt_key *b);
bool crypt_random(void *p, size_t n);
void crypt_wipe(void *p, size_t n);

/* What a user gives: one of the two. Copies own their bytes and are wiped by crypt_secret_clear. */
typedef struct crypt_secret {
  bool has_key;
  uint8_t key[CRYPT_KEY];
  char *passphrase; /* NULL: none */
} crypt_secret;
bool crypt_secret_given(const crypt_secret *s);
bool crypt_secret_set(crypt_secret *s, const void *key, const char *passphrase); /* false: out of memory */
bool crypt_secret_copy(crypt_secret *to, const crypt_secret *from);
void crypt_secret_clear(crypt_secret *s);
/* 64 hex digits; false: it is something else. */
bool crypt_key_from_hex(const char *text, size_t n, uint8_t key[CRYPT_KEY]);
/* Tells whether a later secret is the one seen before, without keeping it: never written anywhere. */
void crypt_secret_mark(const crypt_secret *s, uint8_t mark[32]);

/* ---- the header ---- */
bool crypt_is_header(const void *p, size_t n);
status crypt_wrap(const crypt_key *key, const crypt_secret *secret, uint8_t header[CRYPT_HEADER]);
/* HDB_AUTH: the secret is wrong or the header damaged; HDB_FORMAT: of a newer format. */
status crypt_unwrap(const uint8_t header[CRYPT_HEADER], const crypt_secret *secret, crypt_key **out);
const uint8_t *crypt_header_id(const uint8_t header[CRYPT_HEADER]); /* CRYPT_ID bytes */

/* ---- proofs ---- */
void crypt_prove(const crypt_key *key, const char *role, const uint8_t challenge[32], uint8_t proof[32]);
bool crypt_verify(const crypt_key *key, const char *role, const uint8_t challenge[32], const uint8_t proof[32]);

/* ---- files ---- */
enum crypt_kind { CRYPT_LOG = 1, CRYPT_MANIFEST, CRYPT_TABLE, CRYPT_BLOB, CRYPT_SMALL };
enum crypt_flag { CRYPT_MORE, CRYPT_LAST, CRYPT_END };
typedef struct crypt_file crypt_file; /* the key of one file; crypt_seal and crypt_open from any thread */
/* A new file's key and header. link: eight bytes of the caller's, authenticated (crypt_file_link reads them back). */
status crypt_file_new(const crypt_key *key, enum crypt_kind kind, uint64_t number, uint64_t link,
                      uint8_t header[CRYPT_FILE_HEADER], crypt_file **out);
uint64_t crypt_file_link(const uint8_t header[CRYPT_FILE_HEADER]);
/* HDB_CORRUPT: a damaged header, or another file's; HDB_NOTADB: nothing of it looks like this file's header. */
status crypt_file_open(const crypt_key *key, enum crypt_kind kind, uint64_t number,
                       const uint8_t header[CRYPT_FILE_HEADER], crypt_file **out);
void crypt_file_free(crypt_file *file);
/* out: n bytes and CRYPT_TAG more. `beside` is authenticated, not encrypted. False: OpenSSL failed. */
bool crypt_seal(crypt_file *file, enum crypt_flag flag, uint64_t counter, slice beside, const uint8_t *in, size_t n,
                uint8_t *out);
/* in: n bytes and the tag. False: damaged; out may hold anything (C2). in and out may be the same. */
bool crypt_open(crypt_file *file, enum crypt_flag flag, uint64_t counter, slice beside, const uint8_t *in, size_t n,
                uint8_t *out);

/* A frame of a log: length (4, little-endian) · the same inverted (4) · ciphertext · tag; never all zeros at the front,
 * so that zeros mean the end. The eight bytes are `beside`. */
enum { CRYPT_RECORD = 8 };
void crypt_record_put(uint8_t record[CRYPT_RECORD], uint32_t length);
enum crypt_record { CRYPT_RECORD_OK, CRYPT_RECORD_ZERO, CRYPT_RECORD_BAD };
enum crypt_record crypt_record_get(const uint8_t record[CRYPT_RECORD], uint32_t *length);

/* A table file: header, frames of CRYPT_FRAME bytes and a tag each, the last one shorter and flagged CRYPT_LAST. */
static inline uint64_t crypt_table_frames(uint64_t physical) {
  uint64_t body = physical < CRYPT_FILE_HEADER ? 0 : physical - CRYPT_FILE_HEADER;
  return (body + CRYPT_FRAME + CRYPT_TAG - 1) / (CRYPT_FRAME + CRYPT_TAG);
}
static inline uint64_t crypt_table_size(uint64_t physical) { /* logical */
  uint64_t body = physical < CRYPT_FILE_HEADER ? 0 : physical - CRYPT_FILE_HEADER, tags = crypt_table_frames(physical) * CRYPT_TAG;
  return body < tags ? 0 : body - tags;
}
static inline uint64_t crypt_table_at(uint64_t frame) { return CRYPT_FILE_HEADER + frame * (CRYPT_FRAME + CRYPT_TAG); }

#ifdef __cplusplus
}
#endif
#endif
