/* Authentication (auth.h). All cryptography is OpenSSL's; SASLprep is GNU libidn's. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <stringprep.h>

#include "server/auth.h"

enum { KEY = 32, SALT = 16, ITERATIONS = 4096, ITERATIONS_MAX = 10000000 };

/* ---- small tools ---- */
static void base64_put(buf *out, const uint8_t *p, size_t n) {
  uint8_t *at = buf_reserve(out, 4 * ((n + 2) / 3) + 1);
  if (at) out->n += (size_t)EVP_EncodeBlock(at, p, (int)n);
}

/* Exactly `want` bytes, else false. */
static bool base64_get(const char *text, size_t n, uint8_t *out, size_t want) {
  uint8_t bytes[192];
  if (n % 4 || n > 256 || n == 0) return false;
  int got = EVP_DecodeBlock(bytes, (const uint8_t *)text, (int)n);
  if (got < 0) return false;
  size_t padding = (text[n - 1] == '=') + (size_t)(n > 1 && text[n - 2] == '=');
  if ((size_t)got - padding != want) return false;
  memcpy(out, bytes, want);
  return true;
}

static bool hmac(const uint8_t key[KEY], const void *p, size_t n, uint8_t out[KEY]) {
  unsigned length = KEY;
  return HMAC(EVP_sha256(), key, KEY, p, n, out, &length) && length == KEY;
}
static bool sha256(const void *p, size_t n, uint8_t out[KEY]) {
  unsigned length = KEY;
  return EVP_Digest(p, n, out, &length, EVP_sha256(), NULL) == 1;
}
static bool md5_hex(const void *p, size_t n, char out[33]) {
  uint8_t digest[16];
  unsigned length = 16;
  if (EVP_Digest(p, n, digest, &length, EVP_md5(), NULL) != 1) return false;
  for (int i = 0; i < 16; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
  return true;
}

/* A3. malloc'd. */
static char *prepared(const char *password) {
  char *out = NULL;
  int rc = stringprep_profile(password, &out, "SASLprep", 0);
  return rc == STRINGPREP_OK && out && *out ? out : (free(out), strdup(password));
}

static bool salted_password(const char *password, const uint8_t *salt, size_t salt_n, int iterations, uint8_t out[KEY]) {
  char *p = prepared(password);
  bool ok = p && PKCS5_PBKDF2_HMAC(p, (int)strlen(p), salt, (int)salt_n, iterations, EVP_sha256(), KEY, out) == 1;
  if (p) OPENSSL_cleanse(p, strlen(p));
  free(p);
  return ok;
}

/* ---- verifiers ---- */
typedef struct verifier {
  int iterations;
  uint8_t salt[64];
  size_t salt_n;
  uint8_t stored[KEY], server[KEY];
} verifier;

static bool keys_of(const char *password, verifier *v) {
  uint8_t salted[KEY], client[KEY];
  bool ok = salted_password(password, v->salt, v->salt_n, v->iterations, salted) && hmac(salted, "Client Key", 10, client) &&
            sha256(client, KEY, v->stored) && hmac(salted, "Server Key", 10, v->server);
  OPENSSL_cleanse(salted, KEY);
  OPENSSL_cleanse(client, KEY);
  return ok;
}

status auth_make_scram(const char *password, buf *out) {
  verifier v = {.iterations = ITERATIONS, .salt_n = SALT};
  if (!*password || RAND_bytes(v.salt, SALT) != 1 || !keys_of(password, &v)) return HDB_ERROR;
  buf_printf(out, "SCRAM-SHA-256$%d:", v.iterations);
  base64_put(out, v.salt, v.salt_n);
  buf_byte(out, '$');
  base64_put(out, v.stored, KEY);
  buf_byte(out, ':');
  base64_put(out, v.server, KEY);
  return buf_failed(out) ? HDB_NOMEM : HDB_OK;
}

status auth_make_md5(const char *user, const char *password, buf *out) {
  char hex[33];
  buf both = BUF_INIT;
  if (!*password) return HDB_ERROR;
  buf_text(&both, password);
  buf_text(&both, user);
  bool ok = !buf_failed(&both) && md5_hex(both.p, both.n, hex);
  if (both.p) OPENSSL_cleanse(both.p, both.n);
  buf_free(&both);
  if (!ok) return HDB_ERROR;
  buf_text(out, "md5");
  buf_text(out, hex);
  return buf_failed(out) ? HDB_NOMEM : HDB_OK;
}

static bool parse_verifier(const char *text, verifier *v) {
  char *end;
  if (!text || strncmp(text, "SCRAM-SHA-256$", 14) != 0) return false;
  long iterations = strtol(text + 14, &end, 10);
  if (iterations < 1 || iterations > ITERATIONS_MAX || *end != ':') return false;
  v->iterations = (int)iterations;
  const char *salt = end + 1, *stored = strchr(salt, '$');
  const char *server = stored ? strchr(stored, ':') : NULL;
  if (!server) return false;
  size_t salt_text = (size_t)(stored - salt);
  for (v->salt_n = 1; v->salt_n <= sizeof v->salt; v->salt_n++)
    if (base64_get(salt, salt_text, v->salt, v->salt_n)) break;
  return v->salt_n <= sizeof v->salt && base64_get(stored + 1, (size_t)(server - stored - 1), v->stored, KEY) &&
         base64_get(server + 1, strlen(server + 1), v->server, KEY);
}

bool auth_is_verifier(const char *text) {
  verifier v;
  if (parse_verifier(text, &v)) return true;
  return strncmp(text, "md5", 3) == 0 && strlen(text) == 35 && strspn(text + 3, "0123456789abcdef") == 32;
}

bool auth_password_fits(const char *user, const char *text, const char *password) {
  verifier v, tried;
  if (!text || !*password) return false; /* A1 */
  if (parse_verifier(text, &v)) {
    tried = v;
    return keys_of(password, &tried) && CRYPTO_memcmp(tried.stored, v.stored, KEY) == 0;
  }
  buf b = BUF_INIT;
  bool fits = strlen(text) == 35 && strncmp(text, "md5", 3) == 0 && auth_make_md5(user, password, &b) == HDB_OK && b.n == 35 &&
              CRYPTO_memcmp(b.p, text, 35) == 0;
  buf_free(&b);
  return fits;
}

bool auth_md5_fits(const char *text, const uint8_t salt[4], const char *answer) {
  char both[36], hex[33];
  if (!text || strlen(text) != 35 || strncmp(text, "md5", 3) != 0) return false;
  memcpy(both, text + 3, 32);
  memcpy(both + 32, salt, 4);
  return md5_hex(both, 36, hex) && strlen(answer) == 35 && strncmp(answer, "md5", 3) == 0 && CRYPTO_memcmp(hex, answer + 3, 32) == 0;
}

/* ---- SCRAM ---- */
struct scram {
  verifier v;
  bool mock, done;
  char *first_bare, *server_first, *nonce;
  char gs2;
  slice end_point;   /* of the certificate; empty: binding was not offered */
  bool plus;
};

scram *scram_new(const char *user, const char *text, const uint8_t mock[32]) {
  scram *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  if (text && parse_verifier(text, &s->v)) return s;
  /* nobody: a salt that is the same each time for the same name, and keys that nothing fits */
  uint8_t digest[KEY];
  s->mock = true;
  s->v.iterations = ITERATIONS;
  s->v.salt_n = SALT;
  if (!hmac(mock, user, strlen(user), digest) || RAND_bytes(s->v.stored, KEY) != 1 || RAND_bytes(s->v.server, KEY) != 1) {
    free(s);
    return NULL;
  }
  memcpy(s->v.salt, digest, SALT);
  return s;
}

void scram_free(scram *s) {
  if (!s) return;
  free(s->first_bare);
  free(s->server_first);
  free(s->nonce);
  OPENSSL_cleanse(&s->v, sizeof s->v);
  free(s);
}

/* The value of attribute `name` at *p ("n=..."), NUL-terminated in place; *p moves behind the comma. NULL: not there. */
static char *attribute(char **p, char name) {
  char *at = *p;
  if (!at || at[0] != name || at[1] != '=') return NULL;
  char *end = strchr(at, ',');
  if (end) *end = 0;
  *p = end ? end + 1 : NULL;
  return at + 2;
}

static const char gs2_bound[] = "p=tls-server-end-point,,";

void scram_bind(scram *s, slice end_point, bool chosen) {
  s->end_point = end_point;
  s->plus = chosen && end_point.n > 0;
}

/* c= of the last message: the header of the first one, and behind it the certificate's hash. */
static bool binding_fits(const scram *s, const char *given) {
  if (!s->plus) return strcmp(given, s->gs2 == 'n' ? "biws" : "eSws") == 0;
  buf expected = BUF_INIT, text = BUF_INIT;
  buf_text(&expected, gs2_bound);
  buf_append(&expected, s->end_point.p, s->end_point.n);
  base64_put(&text, expected.p, expected.n);
  bool fits = buf_cstr(&text) && !expected.failed && strcmp((const char *)text.p, given) == 0;
  buf_free(&expected);
  buf_free(&text);
  return fits;
}

static bool printable(const char *text) {
  if (!*text) return false;
  for (; *text; text++)
    if (*text < 0x21 || *text > 0x7e || *text == ',') return false;
  return true;
}

status scram_first(scram *s, slice client_first, buf *out, const char **why) {
  char *text = client_first.n && !memchr(client_first.p, 0, client_first.n) ? strndup((const char *)client_first.p, client_first.n) : NULL;
  *why = "malformed SCRAM message";
  status rc = HDB_ERROR;
  if (!text || s->nonce) goto out;
  s->gs2 = text[0];
  if (s->gs2 == 'p' && !s->plus) {
    *why = "client selected SCRAM-SHA-256 without channel binding, but the message has it";
    goto out;
  }
  if (s->gs2 != 'p' && s->plus) {
    *why = "client selected SCRAM-SHA-256-PLUS, but the message has no channel binding data";
    goto out;
  }
  if (s->gs2 == 'y' && s->end_point.n) { /* somebody between took the offer away */
    *why = "SCRAM channel binding negotiation error";
    goto out;
  }
  size_t kind = s->plus ? sizeof gs2_bound - 3 : 1; /* what stands before the two commas */
  if (s->plus && strncmp(text, gs2_bound, kind) != 0) {
    *why = "unsupported SCRAM channel-binding type";
    goto out;
  }
  if ((s->gs2 != 'n' && s->gs2 != 'y' && !s->plus) || text[kind] != ',' || text[kind + 1] != ',') goto out; /* an authzid is refused */
  s->first_bare = strdup(text + kind + 2);
  char *p = text + kind + 2;
  if (*p == 'm') {
    *why = "client requires an unsupported SCRAM extension";
    goto out;
  }
  char *name = attribute(&p, 'n'), *nonce = attribute(&p, 'r');
  if (!name || !nonce || !printable(nonce) || !s->first_bare) goto out;
  uint8_t random[18];
  if (RAND_bytes(random, sizeof random) != 1) goto out;
  buf b = BUF_INIT;
  buf_text(&b, nonce);
  base64_put(&b, random, sizeof random);
  s->nonce = buf_cstr(&b) ? strdup(buf_cstr(&b)) : NULL;
  buf_clear(&b);
  buf_printf(&b, "r=%s,s=", s->nonce ? s->nonce : "");
  base64_put(&b, s->v.salt, s->v.salt_n);
  buf_printf(&b, ",i=%d", s->v.iterations);
  s->server_first = buf_cstr(&b) ? strdup(buf_cstr(&b)) : NULL;
  buf_append(out, b.p, b.n);
  buf_free(&b);
  rc = s->nonce && s->server_first ? HDB_OK : HDB_NOMEM;
out:
  free(text);
  return rc;
}

static bool proof_fits(scram *s, const char *message, const uint8_t proof[KEY]) {
  uint8_t signature[KEY], client[KEY], stored[KEY];
  if (!hmac(s->v.stored, message, strlen(message), signature)) return false;
  for (int i = 0; i < KEY; i++) client[i] = proof[i] ^ signature[i];
  bool fits = sha256(client, KEY, stored) && CRYPTO_memcmp(stored, s->v.stored, KEY) == 0;
  OPENSSL_cleanse(client, KEY);
  return fits && !s->mock;
}

status scram_final(scram *s, slice client_final, buf *out, const char **why) {
  char *text = client_final.n && !memchr(client_final.p, 0, client_final.n) ? strndup((const char *)client_final.p, client_final.n) : NULL;
  char *whole = text ? strdup(text) : NULL, *message = NULL;
  uint8_t proof[KEY], signature[KEY];
  status rc = HDB_ERROR;
  *why = "malformed SCRAM message";
  if (!text || !whole || !s->server_first || s->done) goto out;
  s->done = true;
  char *p = text, *binding = attribute(&p, 'c'), *nonce = attribute(&p, 'r');
  char *last = strstr(whole, ",p=");
  if (!binding || !nonce || !last || strstr(last + 1, ",p=")) goto out;
  if (!binding_fits(s, binding)) {
    *why = "SCRAM channel binding check failed";
    goto out;
  }
  if (strcmp(nonce, s->nonce) != 0) goto out;
  if (!base64_get(last + 3, strlen(last + 3), proof, KEY)) goto out;
  *last = 0;
  if (asprintf(&message, "%s,%s,%s", s->first_bare, s->server_first, whole) < 0) {
    message = NULL;
    rc = HDB_NOMEM;
    goto out;
  }
  rc = HDB_AUTH;
  *why = "password authentication failed";
  if (!proof_fits(s, message, proof)) goto out;
  if (!hmac(s->v.server, message, strlen(message), signature)) goto out;
  buf_text(out, "v=");
  base64_put(out, signature, KEY);
  rc = buf_failed(out) ? HDB_NOMEM : HDB_OK;
out:
  free(text);
  free(whole);
  free(message);
  return rc;
}

bool auth_file_find(const char *text, const char *user, buf *out) {
  size_t n = strlen(user);
  for (const char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
    if (*line == '#' || strncmp(line, user, n) != 0 || line[n] != ':') continue;
    size_t length = strcspn(line + n + 1, "\r\n");
    buf_append(out, line + n + 1, length);
    return length > 0 && !buf_failed(out);
  }
  return false;
}
