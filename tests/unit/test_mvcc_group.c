/* Groups: what is encoded is read again; damaged bytes are an error and nothing worse. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "kv/base/key.h"
#include "mvcc/group.h"

static uint64_t seed;
static uint32_t rnd(uint32_t n) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(seed >> 33) % n;
}

enum { ROWS = 200 };
static row rows[ROWS];
static arena memory;

/* Ascending keys of one of three shapes behind a prefix. */
static size_t make_rows(int shape, slice *prefix) {
  size_t n = 1 + rnd(ROWS);
  static const char text[] = "prefix/prefix/";
  *prefix = slice_of(text, rnd(sizeof text));
  for (size_t i = 0; i < n; i++) {
    uint8_t *key = arena_alloc(&memory, 400);
    size_t key_n = 8;
    if (shape == 0) {
      rowid_encode(key, (int64_t)i * 3 - 50);
    } else if (shape == 1) {
      key_n = (size_t)snprintf((char *)key, 400, "%06zu%.*s", i, (int)rnd(9), "abcdefghi");
    } else {
      memset(key, 'k', 390);
      put_be32(key + 300, (uint32_t)i);
      key_n = 304 + rnd(80);
    }
    size_t value_n = shape == 2 && rnd(50) == 0 ? 70000 : rnd(60);
    uint8_t *value = arena_alloc(&memory, value_n + 1);
    memset(value, (int)rnd(256), value_n);
    rows[i] = (row){slice_of(key, key_n), slice_of(value, value_n), 1000 + rnd(50), rnd(2)};
  }
  return n;
}

static void whole_key(buf *b, slice prefix, slice rest) {
  buf_clear(b);
  buf_append(b, prefix.p, prefix.n);
  buf_append(b, rest.p, rest.n);
}

START_TEST(what_is_encoded_is_read_again) {
  seed = (uint64_t)_i;
  slice prefix;
  size_t n = make_rows(_i % 3, &prefix);
  buf out = BUF_INIT, key = BUF_INIT, other = BUF_INIT;
  group_history h = {.newest = _i % 2 ? 1040 : 0, .low = slice_of("low", _i % 4 ? 3 : 0), .weight = 77}, read;
  if (_i % 5 == 0) h.low = slice_of(NULL, 0);
  if (_i % 7) h.upper = slice_str("upper");
  group_encode(&out, prefix, rows, n, _i % 2, 1100, &h);
  ck_assert(!buf_failed(&out));
  group g;
  ck_assert_int_eq(group_open(&g, buf_slice(&out)), HDB_OK);
  ck_assert_uint_eq(g.count, n);
  ck_assert_int_eq(g.newest, 1100);
  static row again[ROWS];
  ck_assert_int_eq(group_times(&g, again), HDB_OK);
  for (size_t i = 0; i < n; i++) {
    slice suffix, value;
    bool exact;
    ck_assert(group_row(&g, i, &suffix, &value));
    whole_key(&key, prefix, rows[i].key);
    whole_key(&other, slice_of(g.prefix, g.prefix_n), suffix);
    ck_assert(slice_equal(buf_slice(&key), buf_slice(&other)));
    ck_assert(slice_equal(value, rows[i].value));
    ck_assert_uint_eq(group_seek(&g, buf_slice(&key), &exact), i);
    ck_assert(exact);
    buf_byte(&key, 0);
    ck_assert_uint_eq(group_seek(&g, buf_slice(&key), &exact), i + 1);
    ck_assert(!exact);
    if (_i % 2) ck_assert(again[i].time == rows[i].time && again[i].fresh == rows[i].fresh);
    else ck_assert(again[i].time == 1100 && !again[i].fresh);
  }
  bool exact;
  ck_assert_uint_eq(group_seek(&g, slice_str(""), &exact), 0);
  ck_assert_uint_eq(group_seek(&g, slice_str("\xff\xff"), &exact), n);
  ck_assert_int_eq(group_history_get(&g, &read), HDB_OK);
  if (h.newest || h.low.p) {
    ck_assert(read.newest == h.newest && read.weight == 77);
    ck_assert((read.low.p != NULL) == (h.low.p != NULL) && slice_equal(read.low, h.low));
    ck_assert((read.upper.p != NULL) == (h.upper.p != NULL) && slice_equal(read.upper, h.upper));
  }
  buf_free(&out), buf_free(&key), buf_free(&other);
  arena_clear(&memory);
}
END_TEST

/* One row changed in the bytes is what encoding the changed rows gives. */
START_TEST(a_splice_is_what_encoding_gives) {
  seed = (uint64_t)_i + 500;
  slice prefix;
  size_t n = make_rows(_i % 2, &prefix);
  bool times = _i % 4 < 2;
  buf out = BUF_INIT, key = BUF_INIT;
  group_encode(&out, prefix, rows, n, times, 1100, NULL);
  for (int round = 0; round < 60 && n; round++) {
    group g;
    splice s = {.time = 1101 + round, .with_times = times};
    ck_assert_int_eq(group_open(&g, buf_slice(&out)), HDB_OK);
    size_t at = rnd((uint32_t)n);
    uint8_t *fresh = arena_alloc(&memory, 100);
    whole_key(&key, prefix, rows[at].key);
    bool insert = rnd(3) == 0 && n < ROWS && _i % 2;
    if (insert) buf_append(&key, "\x00x", rnd(3));
    memset(fresh, 'a' + round % 26, 100);
    slice value = slice_of(fresh, rnd(90)), rest = slice_of(arena_copy(&memory, key.p + prefix.n, key.n - prefix.n), key.n - prefix.n);
    s.value = rnd(4) ? &value : NULL;
    s.at = group_seek(&g, buf_slice(&key), &s.exact);
    if (!s.exact && !s.value) continue;
    ck_assert(slice_starts(buf_slice(&key), slice_of(g.prefix, g.prefix_n)));
    s.suffix = slice_of(key.p + g.prefix_n, key.n - g.prefix_n);
    buf next = BUF_INIT;
    bool fits = group_splice(&next, &g, &s);
    ck_assert(fits || n == 1 || (g.suffix_n != GROUP_VARIABLE && s.suffix.n != g.suffix_n));
    if (!fits) {
      buf_free(&next);
      continue;
    }
    row now = {rest, value, s.time, !s.exact};
    if (!s.value) {
      memmove(rows + s.at, rows + s.at + 1, (n - s.at - 1) * sizeof *rows);
      n--;
    } else if (s.exact) {
      rows[s.at] = now;
    } else {
      memmove(rows + s.at + 1, rows + s.at, (n - s.at) * sizeof *rows);
      rows[s.at] = now;
      n++;
    }
    buf_free(&out);
    out = next;
    ck_assert_int_eq(group_open(&g, buf_slice(&out)), HDB_OK);
    ck_assert_uint_eq(g.count, n);
    ck_assert_int_eq(g.newest, s.time);
    static row again[ROWS];
    ck_assert_int_eq(group_times(&g, again), HDB_OK);
    for (size_t i = 0; i < n; i++) {
      slice suffix, v;
      bool exact;
      ck_assert(group_row(&g, i, &suffix, &v));
      whole_key(&key, prefix, rows[i].key);
      ck_assert_uint_eq(group_seek(&g, buf_slice(&key), &exact), i);
      ck_assert(exact && slice_equal(v, rows[i].value));
      if (!times) continue;
      ck_assert(again[i].time == rows[i].time && again[i].fresh == rows[i].fresh);
      int64_t time;
      bool is_fresh;
      ck_assert_int_eq(group_time(&g, i, &time, &is_fresh), HDB_OK);
      ck_assert(time == rows[i].time && is_fresh == rows[i].fresh);
    }
  }
  buf_free(&out), buf_free(&key);
  arena_clear(&memory);
}
END_TEST

/* Every way of reading the bytes, whatever they are. */
static void read_all(slice bytes) {
  group g;
  if (group_open(&g, bytes) != HDB_OK) return;
  volatile uint32_t sum = 0;
  bool exact;
  for (size_t i = 0; i < g.count && i < 1000; i++) {
    slice suffix, value;
    if (!group_row(&g, i, &suffix, &value)) continue;
    if (suffix.n) sum += suffix.p[0] + suffix.p[suffix.n - 1];
    if (value.n) sum += value.p[0] + value.p[value.n - 1];
    group_seek(&g, value, &exact);
  }
  group_seek(&g, slice_of("\x80\0\0\0\0\0\0\7", 8), &exact);
  slice value = slice_str("spliced");
  for (size_t i = 0; i < g.count && i < 40; i++) {
    buf out = BUF_INIT;
    splice s = {.at = i, .exact = i % 2, .suffix = slice_of("abcdefgh", g.suffix_n < 8 ? g.suffix_n : 2), .value = i % 3 ? &value : NULL, .time = 5, .with_times = i % 4 > 0};
    if (s.exact || s.value) group_splice(&out, &g, &s);
    buf_free(&out);
    int64_t time;
    bool fresh;
    group_time(&g, i, &time, &fresh);
  }
  group_history h;
  if (group_history_get(&g, &h) == HDB_OK && h.low.n) sum += h.low.p[h.low.n - 1];
  if (g.count <= ROWS) {
    static row again[ROWS];
    group_times(&g, again);
  }
}

START_TEST(damaged_bytes_are_no_wild_read) {
  seed = (uint64_t)_i + 1000;
  slice prefix;
  size_t n = make_rows(_i % 2, &prefix);
  buf out = BUF_INIT;
  group_history h = {.newest = 1040, .low = slice_str("low"), .upper = slice_str("upper")};
  group_encode(&out, prefix, rows, n, true, 1100, &h);
  for (int round = 0; round < 300; round++) {
    size_t length = rnd(4) ? out.n : rnd((uint32_t)out.n + 1);
    uint8_t *copy = malloc(length ? length : 1); /* of its very size, so that the sanitizer sees one byte beyond */
    memcpy(copy, out.p, length);
    for (uint32_t k = rnd(6); k && length; k--) copy[rnd(2) ? rnd((uint32_t)(length < 40 ? length : 40)) : rnd((uint32_t)length)] = (uint8_t)rnd(256);
    read_all(slice_of(copy, length));
    free(copy);
  }
  buf_free(&out);
  arena_clear(&memory);
}
END_TEST

int main(void) {
  Suite *s = suite_create("mvcc_group");
  TCase *c = tcase_create("all");
  tcase_add_loop_test(c, what_is_encoded_is_read_again, 0, 40);
  tcase_add_loop_test(c, a_splice_is_what_encoding_gives, 0, 40);
  tcase_add_loop_test(c, damaged_bytes_are_no_wild_read, 0, 20);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
