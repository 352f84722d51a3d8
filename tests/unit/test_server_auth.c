/* Authentication: the right password comes in, nothing else does. The client's half is written out here from the RFC. */
#include <check.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/auth.h"

static const uint8_t mock[32] = {1, 2, 3};

static void hmac_of(const uint8_t *key, size_t key_n, const char *text, uint8_t out[32]) {
  unsigned n = 32;
  HMAC(EVP_sha256(), key, (int)key_n, (const uint8_t *)text, strlen(text), out, &n);
}

/* A client that knows `password` and speaks by the book; spoil changes one thing. */
enum spoil { NOTHING, NONCE, BINDING, PROOF, EMPTY_PROOF, REPLAY };
static status exchange(const char *verifier, const char *password, enum spoil spoil, bool *server_proved) {
  buf first = BUF_INIT, final = BUF_INIT, message = BUF_INIT, out = BUF_INIT;
  const char *why, *bare = "n=,r=abcdefghijkl";
  scram *s = scram_new("helios", verifier, mock);
  char nonce[128], salt64[128], without[256], auth[1024];
  int iterations;
  buf_printf(&message, "n,,%s", bare);
  ck_assert_int_eq(scram_first(s, buf_slice(&message), &first, &why), HDB_OK);
  ck_assert_int_eq(sscanf(buf_cstr(&first), "r=%127[^,],s=%127[^,],i=%d", nonce, salt64, &iterations), 3);
  ck_assert_int_eq(strncmp(nonce, "abcdefghijkl", 12), 0);
  uint8_t salt[96], salted[32], client[32], stored[32], signature[32], server[32], proof[33];
  int salt_n = EVP_DecodeBlock(salt, (uint8_t *)salt64, (int)strlen(salt64)) - (salt64[strlen(salt64) - 1] == '=') - (salt64[strlen(salt64) - 2] == '=');
  PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, salt_n, iterations, EVP_sha256(), 32, salted);
  hmac_of(salted, 32, "Client Key", client);
  EVP_Digest(client, 32, stored, NULL, EVP_sha256(), NULL);
  if (spoil == NONCE) nonce[14] ^= 1;
  snprintf(without, sizeof without, "c=%s,r=%s", spoil == BINDING ? "eSws" : "biws", nonce);
  snprintf(auth, sizeof auth, "%s,%s,%s", bare, buf_cstr(&first), without);
  hmac_of(stored, 32, auth, signature);
  for (int i = 0; i < 32; i++) proof[i] = client[i] ^ signature[i];
  if (spoil == PROOF) proof[5] ^= 4;
  char proof64[64] = "";
  EVP_EncodeBlock((uint8_t *)proof64, proof, 32);
  buf_clear(&message);
  buf_printf(&message, "%s,p=%s", without, spoil == EMPTY_PROOF ? "" : proof64);
  status rc = scram_final(s, buf_slice(&message), &out, &why);
  if (spoil == REPLAY) rc = scram_final(s, buf_slice(&message), &out, &why);
  hmac_of(salted, 32, "Server Key", server);
  hmac_of(server, 32, auth, signature);
  EVP_EncodeBlock((uint8_t *)proof64, signature, 32);
  buf_printf(&final, "v=%s", proof64);
  *server_proved = out.n == final.n && memcmp(out.p, final.p, out.n) == 0;
  scram_free(s);
  buf_free(&first), buf_free(&final), buf_free(&message), buf_free(&out);
  return rc;
}

START_TEST(scram_lets_the_right_password_in_and_proves_itself) {
  buf v = BUF_INIT;
  bool proved;
  ck_assert_int_eq(auth_make_scram("s3cret", &v), HDB_OK);
  ck_assert_int_eq(exchange(buf_cstr(&v), "s3cret", NOTHING, &proved), HDB_OK);
  ck_assert(proved);
  buf_free(&v);
  /* a verifier made by PostgreSQL's algorithm elsewhere (RFC 7677's example: user "user", password "pencil") */
  const char *known = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
  ck_assert_int_eq(exchange(known, "pencil", NOTHING, &proved), HDB_OK);
  ck_assert(proved);
}
END_TEST

START_TEST(scram_refuses_everything_else) {
  buf v = BUF_INIT;
  bool proved;
  ck_assert_int_eq(auth_make_scram("s3cret", &v), HDB_OK);
  const char *wrong[] = {"", "S3cret", "s3cret ", "s3cre"};
  for (int i = 0; i < 4; i++) ck_assert_int_eq(exchange(buf_cstr(&v), wrong[i], NOTHING, &proved), HDB_AUTH);
  for (enum spoil spoil = NONCE; spoil <= REPLAY; spoil++) ck_assert_int_ne(exchange(buf_cstr(&v), "s3cret", spoil, &proved), HDB_OK);
  ck_assert_int_eq(exchange(NULL, "s3cret", NOTHING, &proved), HDB_AUTH); /* no such user */
  ck_assert_int_eq(exchange(NULL, "", NOTHING, &proved), HDB_AUTH);
  ck_assert_int_eq(exchange("", "", NOTHING, &proved), HDB_AUTH);
  ck_assert_int_eq(auth_make_scram("", &v), HDB_ERROR);
  buf_free(&v);
}
END_TEST

START_TEST(an_unknown_user_looks_like_a_known_one) {
  buf a = BUF_INIT, b = BUF_INIT;
  const char *why;
  for (int i = 0; i < 2; i++) {
    scram *s = scram_new("nobody", NULL, mock);
    ck_assert_int_eq(scram_first(s, slice_str("n,,n=,r=abc"), i ? &b : &a, &why), HDB_OK);
    scram_free(s);
  }
  ck_assert_str_eq(strstr(buf_cstr(&a), ",s="), strstr(buf_cstr(&b), ",s=")); /* the same salt each time */
  buf_free(&a), buf_free(&b);
}
END_TEST

START_TEST(passwords_and_md5) {
  buf scram_v = BUF_INIT, md5_v = BUF_INIT, found = BUF_INIT;
  auth_make_scram("pw", &scram_v);
  auth_make_md5("helios", "pw", &md5_v);
  const char *verifiers[] = {buf_cstr(&scram_v), buf_cstr(&md5_v)};
  for (int i = 0; i < 2; i++) {
    ck_assert(auth_password_fits("helios", verifiers[i], "pw"));
    ck_assert(!auth_password_fits("helios", verifiers[i], ""));
    ck_assert(!auth_password_fits("helios", verifiers[i], "pw2"));
  }
  ck_assert(!auth_password_fits("other", buf_cstr(&md5_v), "pw"));
  ck_assert(!auth_password_fits("helios", NULL, ""));
  ck_assert(!auth_password_fits("helios", "", ""));
  const uint8_t salt[4] = {1, 2, 3, 4};
  char both[37], hex[33];
  uint8_t digest[16];
  snprintf(both, sizeof both, "%s", buf_cstr(&md5_v) + 3);
  memcpy(both + 32, salt, 4);
  EVP_Digest(both, 36, digest, NULL, EVP_md5(), NULL);
  for (int i = 0; i < 16; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
  char answer[40];
  snprintf(answer, sizeof answer, "md5%s", hex);
  ck_assert(auth_md5_fits(buf_cstr(&md5_v), salt, answer));
  answer[10] ^= 1;
  ck_assert(!auth_md5_fits(buf_cstr(&md5_v), salt, answer));
  ck_assert(!auth_md5_fits(buf_cstr(&md5_v), salt, ""));
  ck_assert(!auth_md5_fits(NULL, salt, "md5"));
  ck_assert(auth_file_find("# users\nhel:x\nhelios:abc\n", "helios", &found));
  ck_assert_str_eq(buf_cstr(&found), "abc");
  ck_assert(!auth_file_find("helios:\n", "helios", &found));
  ck_assert(!auth_file_find("", "", &found));
  buf_free(&scram_v), buf_free(&md5_v), buf_free(&found);
}
END_TEST

START_TEST(damaged_messages_and_verifiers_are_refused) {
  uint64_t state = 5;
  const char *texts[] = {"n,,n=,r=abc", "c=biws,r=abc,p=AAAA", "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$AAAA:AAAA"};
  for (int round = 0; round < 30000; round++) {
    char text[80];
    snprintf(text, sizeof text, "%s", texts[round % 3]);
    for (int k = 0; k < 3; k++) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      text[(state >> 40) % strlen(texts[round % 3])] = (char)(state >> 20);
    }
    const char *why;
    buf out = BUF_INIT;
    scram *s = scram_new("u", text, mock);
    scram_first(s, slice_of(text, strlen(text)), &out, &why);
    ck_assert_int_ne(scram_final(s, slice_of(text, strlen(text)), &out, &why), HDB_OK);
    scram_free(s);
    if (round % 100 == 0) ck_assert(!auth_password_fits("u", text, "pw"));
    buf_free(&out);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("server auth");
  TCase *t = tcase_create("auth");
  tcase_set_timeout(t, 60);
  tcase_add_test(t, scram_lets_the_right_password_in_and_proves_itself);
  tcase_add_test(t, scram_refuses_everything_else);
  tcase_add_test(t, an_unknown_user_looks_like_a_known_one);
  tcase_add_test(t, passwords_and_md5);
  tcase_add_test(t, damaged_messages_and_verifiers_are_refused);
  suite_add_tcase(suite, t);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_NORMAL);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed ? 1 : 0;
}
