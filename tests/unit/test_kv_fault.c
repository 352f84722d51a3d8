/* The rocks backend on a false disk: every fault of kv/fault.h, power loss at every point, damaged directories. */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "kv/base/crypt.h"
#include "kv/fault.h"
#include "kv/kv.h"

static char directory[128];
static crypt_key *key; /* NULL: a plain store */
static kv *store;
static kv_batch *batch;

static void remove_directory(const char *path) {
  DIR *d = opendir(path);
  if (!d) return;
  for (struct dirent *e; (e = readdir(d));) {
    char name[512];
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    snprintf(name, sizeof name, "%s/%s", path, e->d_name);
    if (unlink(name) != 0) remove_directory(name);
  }
  closedir(d);
  rmdir(path);
}

static void make_directory(void) {
  const char *root = getenv("TMPDIR");
  snprintf(directory, sizeof directory, "%s/helios_fault_XXXXXX", root ? root : "/tmp");
  ck_assert_ptr_nonnull(mkdtemp(directory));
}

static status try_open(bool create) {
  kv_options options = {.create = create, .cache_bytes = 64 << 10, .log_bytes = 64 << 10, .key = key};
  status rc = kv_open(directory, &options, &store, NULL);
  batch = rc == HDB_OK ? kv_batch_new(store) : NULL;
  return rc;
}

static void must_open(void) {
  status rc = try_open(true);
  ck_assert_msg(rc == HDB_OK, "%d %s", rc, kv_message());
}

static status close_store(void) {
  kv_batch_free(batch);
  status rc = kv_close(store);
  store = NULL;
  return rc;
}

static void setup(void) {
  crypt_key_release(key);
  key = NULL;
  kv_fault_track(true); /* also spares the real syncs */
  make_directory();
  must_open();
}
static void setup_sealed(void) {
  setup();
  close_store();
  remove_directory(directory);
  make_directory();
  key = crypt_key_new();
  ck_assert_ptr_nonnull(key);
  must_open();
}
static void teardown(void) {
  kv_fault_clear();
  kv_fault_track(false);
  if (store) close_store();
  remove_directory(directory);
}

static slice number(uint8_t out[4], uint32_t n) {
  put_be32(out, n);
  return slice_of(out, 4);
}

/* Batch n: key n in rows and index, the number in meta. */
static status write_batch(uint32_t n, bool sync) {
  uint8_t k[4], value[300];
  memset(value, (int)n, sizeof value);
  kv_batch_put(batch, KV_ROWS, number(k, n), slice_of(value, 100 + n % 200));
  kv_batch_put(batch, KV_INDEX, number(k, n), slice_of(NULL, 0));
  kv_batch_put(batch, KV_META, slice_str("newest"), number(k, n));
  if (n % 7 == 0) {
    uint8_t old[4];
    kv_batch_delete(batch, KV_INDEX, number(old, n / 2));
  }
  return kv_write(store, batch, sync);
}

static bool has(enum kv_family family, uint32_t n) {
  uint8_t k[4];
  kv_value v;
  status rc = kv_get(store, NULL, family, number(k, n), &v);
  kv_release(&v);
  ck_assert(rc == HDB_OK || rc == HDB_NOTFOUND);
  return rc == HDB_OK;
}

static uint32_t newest(void) {
  kv_value v;
  status rc = kv_get(store, NULL, KV_META, slice_str("newest"), &v);
  ck_assert(rc == HDB_OK || rc == HDB_NOTFOUND);
  uint32_t n = rc == HDB_OK ? get_be32(v.data.p) : 0;
  kv_release(&v);
  return n;
}

/* The store holds batches 1..n and nothing of later ones. */
static void check_prefix(uint32_t n, uint32_t written) {
  ck_assert_uint_eq(newest(), n);
  for (uint32_t i = 1; i <= written; i++) {
    ck_assert_int_eq(has(KV_ROWS, i), i <= n);
    bool deleted = 0;
    for (uint32_t d = 2 * i; d <= 2 * i + 1; d++) deleted |= d % 7 == 0 && d <= n;
    ck_assert_int_eq(has(KV_INDEX, i), i <= n && !deleted);
  }
}

static void check_refused_until_reopened(status wanted, uint32_t good) {
  ck_assert_int_eq(write_batch(1000, false), wanted);
  ck_assert(strstr(kv_message(), "refuses writes"));
  ck_assert_int_eq(kv_sync(store), wanted);
  ck_assert_int_eq(kv_flush(store), wanted);
  ck_assert(has(KV_ROWS, good));
  kv_fault_clear();
  ck_assert_int_eq(write_batch(1000, false), wanted);
  close_store();
  must_open();
  ck_assert_int_eq(write_batch(good + 1, true), HDB_OK);
}

START_TEST(a_failed_write_closes_the_store_for_writes) {
  for (uint32_t i = 1; i <= 10; i++) ck_assert_int_eq(write_batch(i, false), HDB_OK);
  kv_fault_set(KV_FAULT_WRITE, ".log", 1);
  ck_assert_int_eq(write_batch(11, true), HDB_IOERR);
  ck_assert_int_eq(kv_fault_hits(), 1);
  check_refused_until_reopened(HDB_IOERR, 10);
  check_prefix(11, 11);
}
END_TEST

START_TEST(a_half_written_batch_is_not_there_after_recovery) {
  for (uint32_t i = 1; i <= 10; i++) ck_assert_int_eq(write_batch(i, false), HDB_OK);
  kv_fault_set(KV_FAULT_HALF_WRITE, ".log", 1);
  ck_assert_int_eq(write_batch(11, true), HDB_IOERR);
  close_store();
  must_open();
  check_prefix(10, 11);
}
END_TEST

/* The ring is what a crash of the process leaves; a disk that does not take it costs speed, no batch. */
START_TEST(a_ring_that_cannot_be_written_is_done_without) {
  static const enum kv_fault faults[] = {KV_FAULT_WRITE, KV_FAULT_HALF_WRITE};
  kv_fault_set(faults[_i % 2], "front.ring", 1 + _i / 2 * 5);
  for (uint32_t i = 1; i <= 20; i++) ck_assert_int_eq(write_batch(i, false), HDB_OK);
  ck_assert_int_eq(kv_fault_hits(), key ? 0 : 1);
  kv_fault_power_cut(); /* as a crash of the process: what was written is there */
  close_store();
  kv_fault_track(false);
  must_open();
  check_prefix(20, 20);
}
END_TEST

START_TEST(a_full_disk_is_said_to_be_full) {
  for (uint32_t i = 1; i <= 10; i++) ck_assert_int_eq(write_batch(i, false), HDB_OK);
  kv_fault_set(KV_FAULT_NO_SPACE, "", 1);
  ck_assert_int_eq(write_batch(11, false), HDB_FULL);
  check_refused_until_reopened(HDB_FULL, 10);
}
END_TEST

START_TEST(a_full_disk_at_flush_loses_nothing) {
  for (uint32_t i = 1; i <= 10; i++) ck_assert_int_eq(write_batch(i, false), HDB_OK);
  kv_fault_set(KV_FAULT_NO_SPACE, ".sst", 1);
  ck_assert_int_eq(kv_flush(store), HDB_FULL);
  check_refused_until_reopened(HDB_FULL, 10);
  check_prefix(11, 11);
}
END_TEST

START_TEST(a_failed_sync_closes_the_store_for_writes) {
  for (uint32_t i = 1; i <= 10; i++) ck_assert_int_eq(write_batch(i, false), HDB_OK);
  kv_fault_set(KV_FAULT_SYNC, ".log", 1);
  ck_assert_int_eq(kv_sync(store), HDB_IOERR);
  check_refused_until_reopened(HDB_IOERR, 10);
}
END_TEST

START_TEST(a_failed_sync_within_a_write_tells_nobody_success) {
  ck_assert_int_eq(write_batch(1, true), HDB_OK);
  kv_fault_set(KV_FAULT_SYNC, ".log", 1);
  ck_assert_int_eq(write_batch(2, true), HDB_IOERR);
  ck_assert_int_eq(write_batch(3, true), HDB_IOERR);
  close_store();
  must_open();
  ck_assert_uint_le(newest(), 2); /* in doubt, but whole */
  check_prefix(newest(), 3);
}
END_TEST

static void many_then_reopen(void) {
  for (uint32_t i = 1; i <= 2000; i++) {
    status rc = write_batch(i, false);
    ck_assert_msg(rc == HDB_OK, "batch %u: %d %s", i, rc, kv_message());
  }
  ck_assert_int_eq(close_store(), HDB_OK);
  must_open();
}

static status read_all(int *seen) {
  kv_iter *it;
  ck_assert_int_eq(kv_iter_open(store, NULL, KV_ROWS, slice_of(NULL, 0), slice_of(NULL, 0), &it), HDB_OK);
  *seen = 0;
  for (it->seek(it, slice_of(NULL, 0)); it->valid; it->next(it)) ++*seen;
  status rc = it->error;
  it->close(it);
  return rc;
}

START_TEST(false_reads_are_errors_not_answers) {
  static const struct {
    enum kv_fault fault;
    status wanted;
  } cases[] = {{KV_FAULT_READ, HDB_IOERR}, {KV_FAULT_SHORT_READ, HDB_CORRUPT}, {KV_FAULT_FLIP, HDB_CORRUPT}};
  many_then_reopen();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    for (int nth = 1; nth < 30; nth += 3) {
      int seen;
      kv_fault_set(cases[i].fault, ".sst", nth);
      status rc = read_all(&seen);
      ck_assert_msg(rc == HDB_OK ? seen == 2000 : rc == cases[i].wanted, "fault %d nth %d hits %d: %d after %d, %s",
                    cases[i].fault, nth, kv_fault_hits(), rc, seen, kv_message());
      kv_fault_clear();
      ck_assert_int_eq(read_all(&seen), HDB_OK);
      ck_assert_int_eq(seen, 2000);
    }
    close_store();
    must_open();
    uint8_t k[4];
    kv_value v;
    kv_fault_set(cases[i].fault, ".sst", 1);
    status rc = kv_get(store, NULL, KV_ROWS, number(k, 1500), &v);
    if (kv_fault_hits()) ck_assert(rc == cases[i].wanted || rc == HDB_OK);
    kv_release(&v);
    kv_fault_clear();
  }
}
END_TEST

START_TEST(a_false_read_during_compaction_loses_nothing) {
  static const enum kv_fault faults[] = {KV_FAULT_READ, KV_FAULT_SHORT_READ, KV_FAULT_FLIP};
  many_then_reopen();
  int hits = 0, seen;
  for (int i = 0; i < 24; i++) {
    ck_assert_int_eq(kv_flush(store), HDB_OK);
    kv_fault_set(faults[i % 3], ".sst", 1 + i / 3 * 4);
    kv_compact(store, KV_ROWS, slice_of(NULL, 0), slice_of(NULL, 0));
    hits += kv_fault_hits();
    close_store();
    kv_fault_clear();
    must_open();
    ck_assert_int_eq(read_all(&seen), HDB_OK);
    ck_assert_int_eq(seen, 2000);
    for (uint32_t k = 1; k <= 200; k++) ck_assert_int_eq(write_batch(k, false), HDB_OK); /* something to compact */
  }
  ck_assert_int_gt(hits, 5);
}
END_TEST

/* ---- power ---- */

START_TEST(what_was_synced_survives_a_power_cut_and_only_that) {
  close_store();
  remove_directory(directory);
  make_directory();
  kv_fault_track(true);
  must_open();
  for (uint32_t i = 1; i <= 50; i++) ck_assert_int_eq(write_batch(i, false), HDB_OK);
  ck_assert_int_eq(kv_sync(store), HDB_OK);
  for (uint32_t i = 51; i <= 90; i++) ck_assert_int_eq(write_batch(i, false), HDB_OK);
  kv_fault_power_cut();
  ck_assert_int_eq(write_batch(91, true), HDB_IOERR);
  close_store();
  kv_fault_power_back(0);
  must_open();
  check_prefix(50, 91);
}
END_TEST

static uint32_t random_below(uint64_t *seed, uint32_t n) {
  *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
  return (uint32_t)(*seed >> 33) % n;
}

/* _i is the seed: a workload with syncs, flushes and (automatic) compactions, the power cut at a random write; then again on what
 * is left. The survivors are a prefix that holds everything acknowledged as synced. */
START_TEST(any_power_cut_leaves_a_prefix_with_all_that_was_synced) {
  uint64_t seed = (uint64_t)_i * 7919 + 1;
  close_store();
  remove_directory(directory);
  make_directory();
  uint32_t at_least = 0, written = 0;
  kv_fault_merge_after(_i % 4 ? 1 + _i * 7 % 60 : 0);
  for (int life = 0; life < 4; life++) {
    kv_fault_track(true);
    bool cut_early = life == 0 && random_below(&seed, 2); /* within the creation */
    if (cut_early) kv_fault_power_cut_at(1 + (int)random_below(&seed, 80));
    status rc = try_open(true);
    if (rc == HDB_OK) {
      uint32_t n = newest();
      ck_assert_msg(n >= at_least && n <= written, "seed %d life %d: %u of %u, synced %u", _i, life, n, written, at_least);
      check_prefix(n, written);
      written = at_least = n;
      if (!cut_early) kv_fault_power_cut_at(1 + (int)random_below(&seed, 1500));
      for (uint32_t i = 0; i < 1000 && !kv_fault_power_is_cut(); i++) {
        bool sync = random_below(&seed, 20) == 0;
        if (write_batch(written + 1, sync) != HDB_OK) {
          written++; /* in doubt */
          break;
        }
        written++;
        if (sync || (random_below(&seed, 30) == 0 && kv_sync(store) == HDB_OK)) at_least = written;
        if (random_below(&seed, 150) == 0 && kv_flush(store) == HDB_OK) at_least = written;
      }
      kv_fault_power_cut();
      close_store();
    } else {
      ck_assert_msg(cut_early, "seed %d life %d: %d %s", _i, life, rc, kv_message());
      kv_fault_power_cut();
    }
    kv_fault_power_back(_i % 3 ? seed | 1 : 0);
  }
  must_open();
  uint32_t n = newest();
  ck_assert_msg(n >= at_least && n <= written, "seed %d: %u of %u, synced %u", _i, n, written, at_least);
  check_prefix(n, written);
}
END_TEST

static int logs_in_directory(void) {
  int n = 0;
  DIR *d = opendir(directory);
  for (struct dirent *e; (e = readdir(d));) n += strlen(e->d_name) > 4 && strcmp(e->d_name + strlen(e->d_name) - 4, ".log") == 0;
  closedir(d);
  return n;
}

static void start_anew(void) {
  if (store) close_store();
  kv_fault_track(false);
  remove_directory(directory);
  make_directory();
  kv_fault_track(true);
  must_open();
}

/* Two logs begin while nothing is synced and no flush syncs the directory either: the second never outlives the first. */
START_TEST(a_later_log_never_survives_without_an_earlier_one) {
  for (uint64_t seed = 0; seed < 12; seed++) {
    start_anew();
    for (uint32_t i = 1; i <= 10; i++) ck_assert_int_eq(write_batch(i, false), HDB_OK);
    int before = logs_in_directory();
    ck_assert_int_eq(kv_settle(store), HDB_OK); /* the background rests from here on */
    uint32_t n = 10;
    while (logs_in_directory() < before + 2) ck_assert_int_eq(write_batch(++n, false), HDB_OK);
    for (uint32_t more = n + 5; n < more;) ck_assert_int_eq(write_batch(++n, false), HDB_OK);
    kv_fault_power_cut();
    close_store();
    kv_fault_power_back(seed);
    must_open();
    ck_assert_uint_ge(newest(), 10);
    check_prefix(newest(), n);
  }
}
END_TEST

/* A log with a successor is durable, so its sync cannot fail: RocksDB asserts where a flush comes to sync it after a writer's
 * sync of it failed. */
START_TEST(a_log_with_a_successor_is_not_synced_again) {
  start_anew();
  char first[64] = "";
  DIR *d = opendir(directory);
  for (struct dirent *e; (e = readdir(d));)
    if (strstr(e->d_name, ".log")) snprintf(first, sizeof first, "%.60s", e->d_name);
  closedir(d);
  ck_assert_int_eq(write_batch(1, true), HDB_OK);
  ck_assert_int_eq(kv_settle(store), HDB_OK); /* no flush comes between */
  uint32_t n = 1;
  for (int before = logs_in_directory(); logs_in_directory() == before;) ck_assert_int_eq(write_batch(++n, false), HDB_OK);
  kv_fault_set(KV_FAULT_SYNC, first, 1);
  ck_assert_int_eq(write_batch(++n, true), HDB_OK);
  ck_assert_int_eq(kv_fault_hits(), 0);
  kv_fault_clear();
  kv_wake(store);
  ck_assert_int_eq(kv_flush(store), HDB_OK);
  check_prefix(n, n);
}
END_TEST

/* The files of `from` are those of `to`. */
static void copy_directory(const char *from, const char *to) {
  remove_directory(to);
  ck_assert_int_eq(mkdir(to, 0700), 0);
  DIR *d = opendir(from);
  for (struct dirent *e; (e = readdir(d));) {
    char source[512], target[512], block[4096];
    if (e->d_name[0] == '.') continue;
    snprintf(source, sizeof source, "%s/%s", from, e->d_name);
    snprintf(target, sizeof target, "%s/%s", to, e->d_name);
    FILE *in = fopen(source, "rb"), *out = fopen(target, "wb");
    for (size_t n; (n = fread(block, 1, sizeof block, in)) > 0;) ck_assert_uint_eq(fwrite(block, 1, n, out), n);
    fclose(in);
    ck_assert_int_eq(fclose(out), 0);
  }
  closedir(d);
}

/* What was synced before it is there after an opening that was cut short anywhere, and all names it made or not. */
START_TEST(an_opening_cut_short_loses_nothing) {
  char kept[160];
  start_anew();
  for (uint32_t i = 1; i <= 400; i++) ck_assert_int_eq(write_batch(i, false), HDB_OK);
  ck_assert_int_eq(kv_flush(store), HDB_OK);
  for (uint32_t i = 401; i <= 450; i++) ck_assert_int_eq(write_batch(i, i == 450), HDB_OK);
  close_store();
  kv_fault_track(false);
  snprintf(kept, sizeof kept, "%s.kept", directory);
  copy_directory(directory, kept);
  bool done = false;
  for (int nth = 1; !done; nth++)
    for (uint64_t seed = 0; seed < 6; seed++) {
      copy_directory(kept, directory);
      kv_fault_track(true);
      kv_fault_power_cut_at(nth);
      status rc = try_open(false);
      done = rc == HDB_OK && !kv_fault_power_is_cut();
      kv_fault_power_cut();
      if (rc == HDB_OK) close_store();
      kv_fault_power_back(seed ? seed * 7919 + (uint64_t)nth : 0);
      rc = try_open(false);
      ck_assert_msg(rc == HDB_OK, "cut at %d, seed %d: %d %s", nth, (int)seed, rc, kv_message());
      check_prefix(450, 450);
      close_store();
    }
  remove_directory(kept);
  must_open();
}
END_TEST

/* A creation cut short anywhere: opening again gives a working store, or says that it is damaged; no data existed. */
START_TEST(a_creation_cut_short_can_be_done_again) {
  for (int nth = 1; nth < 150; nth++) {
    close_store();
    remove_directory(directory);
    make_directory();
    kv_fault_track(true);
    kv_fault_power_cut_at(nth);
    status rc = try_open(true);
    bool done = rc == HDB_OK && !kv_fault_power_is_cut();
    if (rc == HDB_OK) close_store();
    kv_fault_power_cut();
    kv_fault_power_back(nth % 2 ? (uint64_t)nth : 0);
    kv_fault_track(false);
    rc = try_open(true);
    ck_assert_msg(rc == HDB_OK, "cut at %d: %d %s", nth, rc, kv_message());
    ck_assert_int_eq(write_batch(1, false), HDB_OK);
    if (done) break;
  }
}
END_TEST

/* ---- damaged directories ---- */

/* Removes, empties or scribbles over the files whose name starts or ends so; returns how many. */
enum harm { REMOVE, EMPTY, SCRIBBLE };
static int harm_files(const char *start, const char *end, enum harm harm) {
  int n = 0;
  DIR *d = opendir(directory);
  for (struct dirent *e; (e = readdir(d));) {
    size_t length = strlen(e->d_name);
    if (strncmp(e->d_name, start, strlen(start)) != 0 || length < strlen(end) ||
        strcmp(e->d_name + length - strlen(end), end) != 0)
      continue;
    char name[512];
    snprintf(name, sizeof name, "%s/%s", directory, e->d_name);
    if (harm == REMOVE) unlink(name);
    if (harm == EMPTY) ck_assert_int_eq(truncate(name, 0), 0);
    if (harm == SCRIBBLE) {
      struct stat st;
      stat(name, &st);
      int fd = open(name, O_WRONLY);
      for (off_t at = 0; at < st.st_size; at += 7) ck_assert_int_eq(pwrite(fd, "\x5a", 1, at), 1);
      close(fd);
    }
    n++;
  }
  closedir(d);
  return n;
}

static void check_corrupt(const char *start, const char *end, enum harm harm) {
  close_store();
  remove_directory(directory);
  make_directory();
  must_open();
  many_then_reopen();
  close_store();
  ck_assert_int_gt(harm_files(start, end, harm), 0);
  for (int create = 0; create < 2; create++) {
    status rc = try_open(create);
    int seen = 0;
    if (rc == HDB_OK) rc = read_all(&seen);
    ck_assert_msg(rc == HDB_CORRUPT, "%s %s %d: %d after %d keys, %s", start, end, harm, rc, seen, kv_message());
    if (store) close_store();
  }
  make_directory();
  must_open();
}

START_TEST(damage_is_found_and_never_taken_for_a_new_store) {
  check_corrupt("CURRENT", "", REMOVE);
  check_corrupt("CURRENT", "", EMPTY);
  check_corrupt("CURRENT", "", SCRIBBLE);
  check_corrupt("MANIFEST", "", REMOVE);
  check_corrupt("MANIFEST", "", EMPTY);
  check_corrupt("MANIFEST", "", SCRIBBLE);
  check_corrupt("", ".sst", REMOVE);
  check_corrupt("", ".sst", EMPTY);
  check_corrupt("", ".sst", SCRIBBLE);
}
END_TEST

START_TEST(what_cannot_be_opened_says_why) {
  kv *second;
  kv_options options = {.create = true, .key = key};
  error err = ERROR_INIT;
  ck_assert_int_eq(kv_open(directory, &options, &second, &err), HDB_BUSY);
  ck_assert_ptr_nonnull(strstr(err.message, directory));
  close_store();
  remove_directory(directory);
  ck_assert_int_eq(try_open(false), HDB_CANTOPEN);
  ck_assert_int_ne(access(directory, F_OK), 0);
  options = (kv_options){.create = true, .read_only = true, .key = key};
  ck_assert_int_eq(kv_open(directory, &options, &second, &err), HDB_CANTOPEN);
  FILE *f = fopen(directory, "w");
  fputs("a file", f);
  fclose(f);
  ck_assert_int_eq(try_open(true), HDB_CANTOPEN);
  unlink(directory);
  char parent[128];
  snprintf(parent, sizeof parent, "%s", directory);
  strcat(directory, "/a/b");
  status rc = try_open(true);
  ck_assert_msg(rc == HDB_CANTOPEN || rc == HDB_IOERR, "%d %s", rc, kv_message());
  strcpy(directory, parent);
  error_clear(&err);
}
END_TEST

START_TEST(a_read_only_store_reads_and_refuses_writes) {
  for (uint32_t i = 1; i <= 10; i++) ck_assert_int_eq(write_batch(i, true), HDB_OK);
  close_store();
  kv_options options = {.read_only = true, .key = key};
  ck_assert_int_eq(kv_open(directory, &options, &store, NULL), HDB_OK);
  batch = kv_batch_new(store);
  check_prefix(10, 10);
  ck_assert_int_eq(write_batch(11, false), HDB_READONLY);
  ck_assert_int_eq(kv_sync(store), HDB_READONLY);
}
END_TEST

/* The log alone holds everything (no close): a killed process loses nothing it wrote. */
START_TEST(an_unsynced_write_survives_the_process) {
  close_store();
  pid_t child = fork();
  if (child == 0) {
    must_open();
    for (uint32_t i = 1; i <= 500; i++)
      if (write_batch(i, false) != HDB_OK) _exit(1);
    _exit(0);
  }
  int result;
  waitpid(child, &result, 0);
  ck_assert_int_eq(result, 0);
  must_open();
  check_prefix(500, 500);
}
END_TEST

/* Some in every run, 30 in `make soak`, others by hand: HELIOS_CUT_SEEDS=from-to. */
static void cut_seeds(bool sealed, int *from, int *to) {
  const char *asked = getenv("HELIOS_CUT_SEEDS");
  *from = 0;
  *to = sealed && !getenv("HELIOS_THOROUGH") ? 12 : 30;
  if (asked) sscanf(asked, "%d-%d", from, to);
}

static TCase *cases(const char *name, void (*begin)(void)) {
  TCase *t = tcase_create(name);
  tcase_set_timeout(t, 120);
  tcase_add_checked_fixture(t, begin, teardown);
  tcase_add_test(t, a_failed_write_closes_the_store_for_writes);
  tcase_add_test(t, a_half_written_batch_is_not_there_after_recovery);
  tcase_add_loop_test(t, a_ring_that_cannot_be_written_is_done_without, 0, 4);
  tcase_add_test(t, a_full_disk_is_said_to_be_full);
  tcase_add_test(t, a_full_disk_at_flush_loses_nothing);
  tcase_add_test(t, a_failed_sync_closes_the_store_for_writes);
  tcase_add_test(t, a_failed_sync_within_a_write_tells_nobody_success);
  tcase_add_test(t, false_reads_are_errors_not_answers);
  tcase_add_test(t, a_false_read_during_compaction_loses_nothing);
  tcase_add_test(t, what_was_synced_survives_a_power_cut_and_only_that);
  tcase_add_test(t, a_later_log_never_survives_without_an_earlier_one);
  tcase_add_test(t, a_log_with_a_successor_is_not_synced_again);
  tcase_add_test(t, an_opening_cut_short_loses_nothing);
  tcase_add_test(t, a_creation_cut_short_can_be_done_again);
  tcase_add_test(t, damage_is_found_and_never_taken_for_a_new_store);
  tcase_add_test(t, what_cannot_be_opened_says_why);
  tcase_add_test(t, a_read_only_store_reads_and_refuses_writes);
  tcase_add_test(t, an_unsynced_write_survives_the_process);
  return t;
}

/* Cases of their own: CK_RUN_CASE=sealed-power runs nothing else. */
static TCase *power_case(const char *name, void (*begin)(void)) {
  TCase *t = tcase_create(name);
  int from, to;
  cut_seeds(begin == setup_sealed, &from, &to);
  tcase_set_timeout(t, 120);
  tcase_add_checked_fixture(t, begin, teardown);
  tcase_add_loop_test(t, any_power_cut_leaves_a_prefix_with_all_that_was_synced, from, to);
  return t;
}

int main(void) {
  Suite *suite = suite_create("fault");
  suite_add_tcase(suite, cases("plain", setup));
  suite_add_tcase(suite, cases("sealed", setup_sealed));
  suite_add_tcase(suite, power_case("power", setup));
  suite_add_tcase(suite, power_case("sealed-power", setup_sealed));
  SRunner *r = srunner_create(suite);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
