/* auth: who may come in. SCRAM-SHA-256 (RFC 5802, RFC 7677, PostgreSQL's verifier format), md5 and cleartext passwords.
 * Pure: messages in, messages out; no socket, no session.
 *
 * A verifier is what is stored instead of a password:
 *   SCRAM-SHA-256$<iterations>:<salt, base64>$<StoredKey, base64>:<ServerKey, base64>
 *   md5<md5 hex of password and user name>
 * A1  An empty password never matches, and no verifier matches by being absent: an unknown user gets the same exchange
 *     as a known one (a mock verifier) and fails at its end.
 * A2  Comparisons of secrets take the same time whatever differs.
 * A3  Passwords are prepared by SASLprep (RFC 4013) where they are valid UTF-8 that it accepts, else taken as bytes.
 */
#ifndef HDB_SERVER_AUTH_H
#define HDB_SERVER_AUTH_H

#include "kv/base/bytes.h"
#include "kv/base/status.h"

/* Appends a new verifier for the password to out. HDB_ERROR: empty password or no random bytes. */
status auth_make_scram(const char *password, buf *out);
status auth_make_md5(const char *user, const char *password, buf *out);
/* Does the cleartext password fit the verifier (either kind)? */
bool auth_password_fits(const char *user, const char *verifier, const char *password);
/* The md5 method's answer: "md5" + md5(hex of the md5 verifier, 4 bytes of salt). Only with an md5 verifier. */
bool auth_md5_fits(const char *verifier, const uint8_t salt[4], const char *answer);

/* One SCRAM exchange on the server's side. verifier NULL (no such user, or one without a SCRAM verifier): it goes on
 * to its end and fails there; `mock` (32 secret bytes of the server) and the user's name make its salt stable. */
typedef struct scram scram;
scram *scram_new(const char *user, const char *verifier, const uint8_t mock[32]);
void scram_free(scram *s);
/* client-first-message -> server-first-message. HDB_ERROR: malformed, *why says it. */
status scram_first(scram *s, slice client_first, buf *server_first, const char **why);
/* Before scram_first: the hash of the server's certificate (tls-server-end-point), offered as SCRAM-SHA-256-PLUS; chosen:
 * the client has taken that mechanism. Borrowed. */
void scram_bind(scram *s, slice end_point, bool chosen);
/* A verifier in either form, as ALTER ROLE takes it. */
bool auth_is_verifier(const char *text);
/* client-final-message -> server-final-message. HDB_AUTH: wrong password (or no such user). */
status scram_final(scram *s, slice client_final, buf *server_final, const char **why);

/* The password file: one `user:verifier` a line, # comments. Looks a user up; false: not there. */
bool auth_file_find(const char *text, const char *user, buf *verifier);

#endif
