/* TLS by OpenSSL over memory BIOs: bytes in, bytes out; no socket. TLS 1.2 and later. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/internal.h"

void *tls_context(const char *certificate, const char *key, char **why) {
  SSL_CTX *context = SSL_CTX_new(TLS_server_method());
  bool ok = context && SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
            SSL_CTX_use_certificate_chain_file(context, certificate) == 1 &&
            SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1 && SSL_CTX_check_private_key(context) == 1;
  if (ok) {
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    return context;
  }
  char text[200];
  ERR_error_string_n(ERR_get_error(), text, sizeof text);
  if (asprintf(why, "cannot use the TLS certificate %s with key %s: %s", certificate, key, text) < 0) *why = NULL;
  SSL_CTX_free(context);
  return NULL;
}

/* RFC 5929: the certificate's hash by its own signature's function, SHA-256 for the weak ones. 0: it has none. */
size_t tls_end_point(void *context, uint8_t out[64]) {
  X509 *certificate = SSL_CTX_get0_certificate(context);
  int kind = NID_undef, ignored;
  if (!certificate || !X509_get_signature_info(certificate, &kind, &ignored, NULL, NULL) || kind == NID_undef) return 0;
  if (kind == NID_md5 || kind == NID_sha1) kind = NID_sha256;
  const EVP_MD *hash = EVP_get_digestbynid(kind);
  unsigned n = 0;
  return hash && EVP_MD_get_size(hash) <= 64 && X509_digest(certificate, hash, out, &n) == 1 ? n : 0;
}

void tls_context_free(void *context) { SSL_CTX_free(context); }

void *tls_new(void *context) {
  SSL *ssl = SSL_new(context);
  BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
  if (!ssl || !in || !out) {
    SSL_free(ssl);
    BIO_free(in);
    BIO_free(out);
    return NULL;
  }
  SSL_set_bio(ssl, in, out);
  SSL_set_accept_state(ssl);
  return ssl;
}

void tls_free(void *ssl) { SSL_free(ssl); }

static bool take_output(SSL *ssl, buf *cipher) {
  BIO *out = SSL_get_wbio(ssl);
  size_t pending;
  while ((pending = BIO_ctrl_pending(out)) > 0) {
    uint8_t *p = buf_reserve(cipher, pending);
    if (!p) return false;
    int n = BIO_read(out, p, (int)(pending > INT32_MAX ? INT32_MAX : pending));
    if (n <= 0) return false;
    cipher->n += (size_t)n;
  }
  return true;
}

bool tls_read(void *data, slice from_socket, buf *plain, buf *cipher) {
  SSL *ssl = data;
  if (from_socket.n && BIO_write(SSL_get_rbio(ssl), from_socket.p, (int)from_socket.n) != (int)from_socket.n) return false;
  for (;;) {
    uint8_t *p = buf_reserve(plain, 16384);
    if (!p) return false;
    ERR_clear_error();
    int n = SSL_read(ssl, p, 16384);
    if (n > 0) {
      plain->n += (size_t)n;
      continue;
    }
    int why = SSL_get_error(ssl, n);
    bool sent = take_output(ssl, cipher);
    return sent && (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE);
  }
}

bool tls_write(void *data, slice plain, buf *cipher) {
  SSL *ssl = data;
  while (plain.n) {
    ERR_clear_error();
    int n = SSL_write(ssl, plain.p, (int)(plain.n > 1 << 20 ? 1 << 20 : plain.n));
    if (n <= 0) return false;
    plain = slice_of(plain.p + n, plain.n - (size_t)n);
    if (!take_output(ssl, cipher)) return false;
  }
  return true;
}
