/* Sealed files: every bit flipped and every cut of small files gives an error or the right bytes; keys and headers. */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "kv/base/crypt.h"
#include "kv/kv.h"

static char directory[128];
static crypt_key *key;

static void remove_files(const char *path) {
  DIR *d = opendir(path);
  if (!d) return;
  for (struct dirent *e; (e = readdir(d));) {
    char name[600];
    snprintf(name, sizeof name, "%s/%s", path, e->d_name);
    if (e->d_name[0] != '.') unlink(name);
  }
  closedir(d);
  rmdir(path);
}

static void setup(void) {
  const char *root = getenv("TMPDIR");
  snprintf(directory, sizeof directory, "%s/helios_crypt_XXXXXX", root ? root : "/tmp");
  ck_assert_ptr_nonnull(mkdtemp(directory));
  key = crypt_key_new();
}
static void teardown(void) {
  remove_files(directory);
  crypt_key_release(key);
}

/* ---- keys and headers ---- */

START_TEST(a_header_opens_with_its_secret_alone_and_not_with_a_flipped_bit) {
  uint8_t header[CRYPT_HEADER];
  crypt_secret secret, other;
  crypt_key *got;
  uint8_t bytes[CRYPT_KEY] = {7}, wrong[CRYPT_KEY] = {8};
  crypt_secret_set(&secret, bytes, NULL);
  crypt_secret_set(&other, wrong, NULL);
  ck_assert_int_eq(crypt_wrap(key, &secret, header), HDB_OK);
  ck_assert_int_eq(crypt_unwrap(header, &secret, &got), HDB_OK);
  ck_assert(crypt_key_equal(key, got));
  crypt_key_release(got);
  ck_assert_int_eq(crypt_unwrap(header, &other, &got), HDB_AUTH);
  ck_assert_ptr_null(got);
  for (int bit = 0; bit < CRYPT_HEADER * 8; bit++) {
    header[bit / 8] ^= (uint8_t)(1 << bit % 8);
    ck_assert_int_ne(crypt_unwrap(header, &secret, &got), HDB_OK);
    header[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
  crypt_secret_clear(&secret);
  crypt_secret_clear(&other);
}
END_TEST

START_TEST(a_passphrase_wraps_the_same_key_and_is_not_a_raw_key) {
  uint8_t header[CRYPT_HEADER], again[CRYPT_HEADER], bytes[CRYPT_KEY] = "0123456789012345678901234567890";
  crypt_secret phrase, raw, other;
  crypt_key *got;
  crypt_secret_set(&phrase, NULL, "correct horse");
  crypt_secret_set(&other, NULL, "correct horse ");
  crypt_secret_set(&raw, bytes, NULL);
  ck_assert_int_eq(crypt_wrap(key, &phrase, header), HDB_OK);
  ck_assert_int_eq(crypt_wrap(key, &phrase, again), HDB_OK);
  ck_assert_int_ne(memcmp(header + 68, again + 68, 44), 0); /* nonce and wrapped key */
  ck_assert_int_eq(memcmp(crypt_header_id(header), crypt_header_id(again), CRYPT_ID), 0);
  ck_assert_int_eq(crypt_unwrap(header, &phrase, &got), HDB_OK);
  ck_assert(crypt_key_equal(key, got));
  crypt_key_release(got);
  ck_assert_int_eq(crypt_unwrap(header, &other, &got), HDB_AUTH);
  ck_assert_int_eq(crypt_unwrap(header, &raw, &got), HDB_AUTH);
  header[27] = 63; /* scrypt would ask for all memory */
  ck_assert_int_eq(crypt_unwrap(header, &phrase, &got), HDB_AUTH);
  crypt_secret_clear(&phrase);
  crypt_secret_clear(&other);
  crypt_secret_clear(&raw);
}
END_TEST

START_TEST(a_proof_is_of_one_key_one_challenge_and_one_role) {
  uint8_t challenge[32], proof[32];
  crypt_key *other = crypt_key_new();
  ck_assert(crypt_random(challenge, sizeof challenge));
  crypt_prove(key, "client", challenge, proof);
  ck_assert(crypt_verify(key, "client", challenge, proof));
  ck_assert(!crypt_verify(key, "server", challenge, proof));
  ck_assert(!crypt_verify(other, "client", challenge, proof));
  challenge[5] ^= 1;
  ck_assert(!crypt_verify(key, "client", challenge, proof));
  crypt_key_release(other);
}
END_TEST

/* ---- a store ---- */

enum { ROWS = 60 };

static size_t row(uint32_t n, uint8_t k[4], uint8_t value[200]) {
  put_be32(k, n);
  size_t length = 40 + n % 150;
  for (size_t i = 0; i < length; i++) value[i] = (uint8_t)(n * 31 + i * 7);
  return length;
}

static status open_store(kv **store) {
  kv_options options = {.cache_bytes = 1 << 16, .log_bytes = 1 << 16, .key = key};
  return kv_open(directory, &options, store, NULL);
}

static void write_rows(kv *store, uint32_t from, uint32_t to) {
  kv_batch *batch = kv_batch_new(store);
  for (uint32_t n = from; n < to; n++) {
    uint8_t k[4], value[200];
    size_t length = row(n, k, value);
    kv_batch_put(batch, KV_ROWS, slice_of(k, 4), slice_of(value, length));
    ck_assert_int_eq(kv_write(store, batch, true), HDB_OK);
  }
  kv_batch_free(batch);
}

static void make_store(bool flushed) {
  kv_options options = {.create = true, .key = key};
  kv *store;
  ck_assert_int_eq(kv_open(directory, &options, &store, NULL), HDB_OK);
  write_rows(store, 0, ROWS / 2);
  if (flushed) ck_assert_int_eq(kv_flush(store), HDB_OK);
  write_rows(store, ROWS / 2, ROWS);
  ck_assert_int_eq(kv_close(store), HDB_OK);
}

/* How many rows there are, all right, 0..n-1 without a gap; -1: an error, -2: wrong bytes. */
static int look(void) {
  kv *store;
  kv_iter *it;
  if (open_store(&store) != HDB_OK) return -1;
  int found = -1;
  if (kv_iter_open(store, NULL, KV_ROWS, slice_of(NULL, 0), slice_of(NULL, 0), &it) == HDB_OK) {
    uint32_t n = 0;
    for (it->seek(it, slice_of(NULL, 0)); it->valid; it->next(it), n++) {
      uint8_t k[4], value[200];
      size_t length = row(n, k, value);
      if (!slice_equal(it->key, slice_of(k, 4)) || !slice_equal(it->value, slice_of(value, length))) break;
    }
    found = it->valid ? -2 : it->error != HDB_OK ? -1 : (int)n;
    it->close(it);
  }
  kv_close(store);
  return found;
}

static uint8_t *read_file(const char *name, size_t *n) {
  struct stat st;
  int fd = open(name, O_RDONLY);
  ck_assert_int_ge(fd, 0);
  fstat(fd, &st);
  *n = (size_t)st.st_size;
  uint8_t *p = malloc(*n + 1);
  ck_assert_int_eq(read(fd, p, *n), (ssize_t)*n);
  close(fd);
  return p;
}
static void write_file(const char *name, const uint8_t *p, size_t n) {
  int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  ck_assert_int_eq(write(fd, p, n), (ssize_t)n);
  close(fd);
}

typedef struct kept {
  char name[600]; /* its path */
  uint8_t *p;
  size_t n;
} kept;
static kept files[64];
static int files_n;

static void keep_all(void) {
  DIR *d = opendir(directory);
  files_n = 0;
  for (struct dirent *e; (e = readdir(d));) {
    if (e->d_name[0] == '.') continue;
    kept *f = &files[files_n++];
    snprintf(f->name, sizeof f->name, "%s/%s", directory, e->d_name);
    f->p = read_file(f->name, &f->n);
  }
  closedir(d);
}
static void put_back(void) {
  remove_files(directory);
  ck_assert_int_eq(mkdir(directory, 0755), 0);
  for (int i = 0; i < files_n; i++) write_file(files[i].name, files[i].p, files[i].n);
}
static bool is_log(const kept *f) { return strstr(f->name, ".log") != NULL; }

/* Each place of a file is an opening of a store. Some of them in every run (another set each time the file's length
 * differs); all of the small files and much of the others with HELIOS_THOROUGH set, as `make soak` does. */
static size_t step_through(size_t bytes) {
  if (getenv("HELIOS_THOROUGH")) return bytes > 1500 ? bytes / 700 : 1;
  return bytes > 60 ? bytes / 60 | 1 : 1;
}

/* A closed store: every byte of every file, one bit of it. _i: whether there are table files. */
START_TEST(every_flipped_bit_of_a_closed_store_is_an_error_or_does_no_harm) {
  make_store(_i);
  keep_all();
  int errors = 0, tried = 0;
  for (int f = 0; f < files_n; f++) {
    size_t step = step_through(files[f].n);
    for (size_t at = 0; at < files[f].n; at += step) {
      files[f].p[at] ^= (uint8_t)(1 << at % 8);
      put_back();
      files[f].p[at] ^= (uint8_t)(1 << at % 8);
      int found = look();
      tried++, errors += found == -1;
      ck_assert_msg(found == -1 || found == ROWS, "%s byte %zu of %zu: %d", files[f].name, at, files[f].n, found);
    }
  }
  ck_assert_int_gt(errors, tried / 2);
  put_back();
  ck_assert_int_eq(look(), ROWS);
}
END_TEST

/* The same after the process was killed: a log without its end mark may lose its tail, nothing else. */
START_TEST(a_flipped_bit_after_a_kill_is_an_error_or_a_prefix) {
  pid_t child = fork();
  if (child == 0) {
    kv_options options = {.create = true, .key = key};
    kv *store;
    if (kv_open(directory, &options, &store, NULL) != HDB_OK) _exit(1);
    write_rows(store, 0, ROWS);
    _exit(0);
  }
  int state;
  waitpid(child, &state, 0);
  ck_assert_int_eq(state, 0);
  keep_all();
  int prefixes = 0;
  for (int f = 0; f < files_n; f++) {
    size_t end = files[f].n; /* of what is not zeros */
    while (end && files[f].p[end - 1] == 0) end--;
    size_t step = step_through(end);
    for (size_t at = 0; at < end; at += step) {
      files[f].p[at] ^= (uint8_t)(1 << at % 8);
      put_back();
      files[f].p[at] ^= (uint8_t)(1 << at % 8);
      int found = look();
      prefixes += found >= 0 && found < ROWS;
      ck_assert_msg(found == -1 || (found >= (is_log(&files[f]) ? 0 : ROWS) && found <= ROWS), "%s byte %zu: %d", files[f].name, at, found);
    }
  }
  ck_assert_int_gt(prefixes, 0);
}
END_TEST

START_TEST(every_cut_is_an_error_or_a_prefix) {
  make_store(_i);
  keep_all();
  for (int f = 0; f < files_n; f++) {
    size_t whole = files[f].n, step = step_through(whole);
    for (size_t n = 0; n < whole; n += step) {
      files[f].n = n;
      put_back();
      files[f].n = whole;
      int found = look();
      ck_assert_msg(found == -1 || found == ROWS || (is_log(&files[f]) && found >= 0), "%s cut to %zu of %zu: %d", files[f].name, n, whole, found);
    }
  }
}
END_TEST

START_TEST(files_do_not_change_places_and_no_two_share_an_id) {
  make_store(true);
  keep_all();
  for (int a = 0; a < files_n; a++) {
    if (files[a].n < CRYPT_FILE_HEADER) continue;
    for (int b = 0; b < a; b++)
      if (files[b].n >= CRYPT_FILE_HEADER) ck_assert_int_ne(memcmp(files[a].p + 24, files[b].p + 24, CRYPT_ID), 0);
  }
  for (int a = 0; a < files_n; a++)
    for (int b = 0; b < a; b++) {
      if (files[a].n < CRYPT_FILE_HEADER || files[b].n < CRYPT_FILE_HEADER) continue;
      if (strstr(files[a].name, "IDENTITY") || strstr(files[b].name, "IDENTITY")) continue; /* of no use to RocksDB */
      kept keep = files[a];
      files[a].p = files[b].p, files[a].n = files[b].n;
      put_back();
      files[a] = keep;
      int found = look();
      ck_assert_msg(found == -1, "%s in place of %s: %d", files[b].name, files[a].name, found);
    }
}
END_TEST

START_TEST(another_key_and_no_key_open_nothing_and_change_nothing) {
  make_store(true);
  keep_all();
  crypt_key *right = key;
  key = crypt_key_new();
  ck_assert_int_eq(look(), -1);
  crypt_key_release(key);
  key = NULL;
  ck_assert_int_eq(look(), -1);
  key = right;
  ck_assert_int_eq(look(), ROWS);
}
END_TEST

START_TEST(a_copy_under_another_key_holds_the_same) {
  make_store(true);
  kv *store;
  char path[sizeof directory + 8];
  ck_assert_int_eq(open_store(&store), HDB_OK);
  snprintf(path, sizeof path, "%s.copy", directory);
  crypt_key *other = crypt_key_new();
  ck_assert_int_eq(kv_copy(store, NULL, path, other), HDB_OK);
  ck_assert_int_eq(kv_close(store), HDB_OK);
  remove_files(directory);
  ck_assert_int_eq(rename(path, directory), 0);
  ck_assert_int_eq(look(), -1);
  crypt_key_release(key);
  key = other;
  ck_assert_int_eq(look(), ROWS);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("crypt");
  TCase *t = tcase_create("crypt");
  tcase_set_timeout(t, 300);
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, a_header_opens_with_its_secret_alone_and_not_with_a_flipped_bit);
  tcase_add_test(t, a_passphrase_wraps_the_same_key_and_is_not_a_raw_key);
  tcase_add_test(t, a_proof_is_of_one_key_one_challenge_and_one_role);
  tcase_add_loop_test(t, every_flipped_bit_of_a_closed_store_is_an_error_or_does_no_harm, 0, 2);
  tcase_add_test(t, a_flipped_bit_after_a_kill_is_an_error_or_a_prefix);
  tcase_add_loop_test(t, every_cut_is_an_error_or_a_prefix, 0, 2);
  tcase_add_test(t, files_do_not_change_places_and_no_two_share_an_id);
  tcase_add_test(t, another_key_and_no_key_open_nothing_and_change_nothing);
  tcase_add_test(t, a_copy_under_another_key_holds_the_same);
  suite_add_tcase(suite, t);
  SRunner *r = srunner_create(suite);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
