/* Buffers, varints, arenas, errors. */
#include <check.h>
#include <limits.h>
#include <stdlib.h>
#include "kv/base/bytes.h"
#include "kv/base/status.h"

START_TEST(a_buffer_keeps_what_is_appended) {
  buf b = BUF_INIT;
  for (int i = 0; i < 1000; i++) buf_printf(&b, "%d,", i);
  buf_text(&b, "end");
  buf_byte(&b, '!');
  buf_append(&b, NULL, 0);
  ck_assert_str_eq(strstr(buf_cstr(&b), "998,"), "998,999,end!");
  size_t n = b.n;
  buf_be32(&b, 0x01020304);
  buf_be64(&b, 0x0102030405060708);
  ck_assert_uint_eq(get_be32(b.p + n), 0x01020304);
  ck_assert_uint_eq(b.p[n], 1);
  ck_assert_uint_eq(get_be64(b.p + n + 4), 0x0102030405060708);
  ck_assert(!buf_failed(&b));
  buf_free(&b);
}
END_TEST

START_TEST(a_buffer_too_large_fails_for_good) {
  buf b = BUF_INIT;
  buf_text(&b, "abc");
  ck_assert_ptr_null(buf_reserve(&b, SIZE_MAX - 1));
  ck_assert(buf_failed(&b));
  buf_text(&b, "more");
  ck_assert_uint_eq(b.n, 3);
  buf_free(&b);
}
END_TEST

START_TEST(varints_come_back_and_cut_ones_are_refused) {
  for (unsigned shift = 0; shift < 64; shift++) {
    for (int delta = -1; delta <= 1; delta++) {
      uint64_t v = (1ull << shift) + (uint64_t)(int64_t)delta, got = 0;
      buf b = BUF_INIT;
      buf_varint(&b, v);
      ck_assert_ptr_eq(varint_get(b.p, b.p + b.n, &got), b.p + b.n);
      ck_assert_uint_eq(got, v);
      for (size_t cut = 0; cut < b.n; cut++) ck_assert_ptr_null(varint_get(b.p, b.p + cut, &got));
      buf_free(&b);
    }
  }
  uint8_t over[11];
  uint64_t v;
  memset(over, 0xff, sizeof over);
  over[10] = 0;
  ck_assert_ptr_null(varint_get(over, over + 11, &v));
  over[9] = 2;
  ck_assert_ptr_null(varint_get(over, over + 11, &v));
}
END_TEST

START_TEST(an_arena_rewinds_to_its_mark) {
  arena a = ARENA_INIT;
  char *kept = arena_printf(&a, "kept %d", 7);
  arena_mark mark = arena_save(&a);
  for (int round = 0; round < 50; round++) {
    for (int i = 1; i < 200; i++) {
      uint8_t *p = arena_zero(&a, (size_t)i * 37);
      ck_assert_ptr_nonnull(p);
      ck_assert_uint_eq((uintptr_t)p % 8, 0);
      ck_assert_uint_eq(p[i * 37 - 1], 0);
      memset(p, 0xaa, (size_t)i * 37);
    }
    arena_rewind(&a, mark);
  }
  ck_assert_str_eq(kept, "kept 7");
  ck_assert_str_eq(arena_strndup(&a, "abcdef", 3), "abc");
  ck_assert_ptr_nonnull(arena_alloc(&a, 0));
  ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX - 3));
  ck_assert(a.failed);
  arena_clear(&a);
  ck_assert(!a.failed);
  ck_assert_ptr_nonnull(arena_alloc(&a, 100));
  arena_clear(&a);
}
END_TEST

START_TEST(an_arena_rewound_to_empty_starts_anew) {
  arena a = ARENA_INIT;
  arena_mark mark = arena_save(&a);
  for (int i = 0; i < 100; i++) {
    memset(arena_alloc(&a, 3000), i, 3000);
    memset(arena_alloc(&a, 3000), i, 3000);
    arena_rewind(&a, mark);
  }
  arena_clear(&a);
}
END_TEST

START_TEST(an_error_holds_its_code_and_words) {
  error e = ERROR_INIT;
  ck_assert_int_eq(error_set(&e, HDB_CONSTRAINT_UNIQUE, "UNIQUE constraint failed: %s.%s", "t", "a"), 2067);
  ck_assert_str_eq(e.message, "UNIQUE constraint failed: t.a");
  error_set(&e, HDB_ERROR, "again: %s", e.message); /* its own old words as an argument */
  ck_assert_str_eq(e.message, "again: UNIQUE constraint failed: t.a");
  ck_assert_int_eq(error_set(NULL, HDB_BUSY, "nobody listens"), HDB_BUSY);
  error_clear(&e);
  ck_assert_ptr_null(e.message);
  ck_assert_str_eq(status_text(HDB_CONSTRAINT_UNIQUE), "constraint failed");
  ck_assert_str_eq(status_text(HDB_CORRUPT), "database disk image is malformed");
  ck_assert_str_eq(status_text((status)77), "unknown error");
}
END_TEST

START_TEST(slices_are_ordered_by_bytes_then_length) {
  ck_assert_int_lt(slice_compare(slice_str("a"), slice_str("ab")), 0);
  ck_assert_int_gt(slice_compare(slice_str("b"), slice_str("ab")), 0);
  ck_assert_int_eq(slice_compare(slice_of(NULL, 0), slice_str("")), 0);
  ck_assert(slice_equal(slice_of(NULL, 0), slice_str("")));
  ck_assert(slice_starts(slice_str("abc"), slice_str("ab")));
  ck_assert(!slice_starts(slice_str("a"), slice_str("ab")));
}
END_TEST

int main(void) {
  Suite *s = suite_create("bytes");
  TCase *t = tcase_create("bytes");
  tcase_add_test(t, a_buffer_keeps_what_is_appended);
  tcase_add_test(t, a_buffer_too_large_fails_for_good);
  tcase_add_test(t, varints_come_back_and_cut_ones_are_refused);
  tcase_add_test(t, an_arena_rewinds_to_its_mark);
  tcase_add_test(t, an_arena_rewound_to_empty_starts_anew);
  tcase_add_test(t, an_error_holds_its_code_and_words);
  tcase_add_test(t, slices_are_ordered_by_bytes_then_length);
  suite_add_tcase(s, t);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
