/* The ring alone: what is read back is a run of the records from the asked number on, whatever happened to the file. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "kv/base/key.h"
#include "kv/ring.h"

static uint64_t seed;
static uint64_t rnd(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return seed;
}

static char directory[64], file[96];
static void setup(void) {
  snprintf(directory, sizeof directory, "/tmp/helios_ring_%d_XXXXXX", (int)getpid());
  ck_assert_ptr_nonnull(mkdtemp(directory));
  snprintf(file, sizeof file, "%s/front.ring", directory);
}
static void teardown(void) {
  unlink(file);
  rmdir(directory);
}

/* Record n of a life: its bytes say both. */
static slice content(uint8_t *to, uint64_t life, uint64_t n) {
  size_t bytes = 12 + (size_t)(n * 2654435761u % 3000);
  memset(to, (int)(n + life), bytes);
  put_be64(to, n);
  put_be32(to + 8, (uint32_t)life);
  return slice_of(to, bytes);
}

typedef struct reading {
  uint64_t next, life;
} reading;
static status see(void *context, uint64_t number, slice operations) {
  reading *r = context;
  uint8_t wanted[4000];
  ck_assert_uint_eq(number, r->next++);
  ck_assert(slice_equal(operations, content(wanted, r->life, number)));
  return HDB_OK;
}
static uint64_t read_from(uint64_t next, uint64_t life) {
  ring *r = ring_new(directory);
  reading seen = {next, life};
  ck_assert_int_eq(ring_read(r, next, see, &seen), HDB_OK);
  ring_close(r, false);
  return seen.next;
}

static void harm(void) {
  int f = open(file, O_RDWR);
  uint8_t page[4096];
  int n = 1 + (int)(rnd() % 20);
  while (n--) {
    off_t at = (off_t)(rnd() % 256) * 4096;
    if (rnd() % 2) {
      memset(page, 0, sizeof page);
      ck_assert_int_eq(pwrite(f, page, sizeof page, at), sizeof page);
    } else {
      ck_assert_int_eq(pwrite(f, &n, 1, at + (off_t)(rnd() % 4096)), 1);
    }
  }
  close(f);
}

/* _i: harm, or none. Several lives over one file; the numbers of the next go on where what was found ends, so the same
 * number is given again to something else. */
START_TEST(what_is_found_is_a_run_of_this_life) {
  uint8_t bytes[4000];
  seed = 0x1234567 + (uint64_t)_i;
  uint64_t next = 1, life = 0;
  for (; life < 40; life++) {
    ring *r = ring_new(directory);
    uint64_t first = next; /* the oldest that the ring must have */
    size_t n = rnd() % 1500;
    for (size_t i = 0; i < n; i++) {
      slice s = content(bytes, life, next);
      if (!ring_has_room(r, s.n)) {
        ck_assert_int_eq(ring_append(r, next, s), HDB_FULL);
        ring_reset(r);
        first = next;
      }
      ck_assert_int_eq(ring_append(r, next, s), HDB_OK);
      next++;
    }
    ring_close(r, false);
    uint64_t from = n ? first + rnd() % (next - first + 1) : next;
    if (n) ck_assert_uint_eq(read_from(from, life), next);
    if (n && first > 1) ck_assert_uint_eq(read_from(first - 1, life), first - 1); /* one is missing before them */
    if (_i && n) {
      harm();
      uint64_t found = read_from(from, life);
      ck_assert_uint_ge(found, from);
      ck_assert_uint_le(found, next);
      next = found;
    }
  }
}
END_TEST

START_TEST(nothing_is_left_after_a_wipe) {
  uint8_t bytes[4000];
  ring *r = ring_new(directory);
  for (uint64_t n = 1; n < 100; n++) ck_assert_int_eq(ring_append(r, n, content(bytes, 7, n)), HDB_OK);
  if (_i) { /* what another process has left */
    ring_close(r, false);
    r = ring_new(directory);
  }
  ck_assert_int_eq(ring_wipe(r), HDB_OK);
  int f = open(file, O_RDONLY), left = 0;
  for (ssize_t n; (n = read(f, bytes, sizeof bytes)) > 0;)
    for (ssize_t i = 0; i < n; i++) left += bytes[i] != 0;
  close(f);
  ck_assert_int_eq(left, 0);
  ck_assert_int_eq(ring_append(r, 100, content(bytes, 7, 100)), HDB_OK);
  ck_assert_uint_eq(read_from(100, 7), 101);
  ring_close(r, true);
  ck_assert_int_ne(access(file, F_OK), 0);
}
END_TEST

START_TEST(without_a_file_there_is_nothing) {
  ck_assert_uint_eq(read_from(5, 0), 5);
  ring *r = ring_new("/nowhere/at/all");
  uint8_t bytes[4000];
  ck_assert_int_eq(ring_append(r, 1, content(bytes, 0, 1)), HDB_FULL);
  ck_assert_int_eq(ring_append(r, 1, content(bytes, 0, 1)), HDB_FULL);
  ck_assert_int_eq(ring_wipe(r), HDB_OK);
  ring_close(r, true);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("ring");
  TCase *t = tcase_create("ring");
  tcase_set_timeout(t, 60);
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_loop_test(t, what_is_found_is_a_run_of_this_life, 0, 12);
  tcase_add_loop_test(t, nothing_is_left_after_a_wipe, 0, 2);
  tcase_add_test(t, without_a_file_there_is_nothing);
  suite_add_tcase(suite, t);
  SRunner *r = srunner_create(suite);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
