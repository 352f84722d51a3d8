/* Records: what is written is read; damaged ones are found before a fast reader sees them. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include "kv/base/record.h"

static uint64_t seed = 0x9e3779b97f4a7c15ull;
static uint64_t rnd(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return seed;
}

typedef struct value {
  int klass; /* 0 null 1 int 2 real 3 text 4 blob 5 large */
  int64_t i;
  double r;
  size_t n;
} value;
static uint8_t content[70000];

static value random_value(void) {
  value v = {.klass = (int)(rnd() % 6)};
  if (v.klass == 1) v.i = (int64_t)(rnd() >> rnd() % 64) * (rnd() % 2 ? 1 : -1);
  if (v.klass == 2) v.r = rnd() % 2 ? (double)(int32_t)rnd() : (double)(int64_t)rnd() / 1000.0;
  if (v.klass == 2 && rnd() % 10 == 0) v.r = rnd() % 2 ? -0.0 : INFINITY;
  if (v.klass >= 3) v.n = rnd() % (rnd() % 20 == 0 ? 66000 : rnd() % 2 ? 300 : 10);
  return v;
}

static void write_value(record_writer *w, const value *v) {
  switch (v->klass) {
  case 0: record_null(w); break;
  case 1: record_int(w, v->i); break;
  case 2: record_real(w, v->r); break;
  case 3: record_text(w, content + v->n % 100, v->n); break;
  case 4: record_blob(w, content + v->n % 100, v->n); break;
  default: record_large(w, v->n * 7, v->n, v->n % 2);
  }
}

static void check_value(const value *v, uint8_t type, const uint8_t *p) {
  if (v->klass == 0) ck_assert_uint_eq(type, REC_NULL);
  if (v->klass == 1) {
    ck_assert(record_is_int(type));
    ck_assert_int_eq(record_get_int(type, p), v->i);
  }
  if (v->klass == 2) {
    ck_assert(record_is_real(type));
    double r = record_get_real(type, p);
    ck_assert_int_eq(memcmp(&r, &v->r, 8), 0);
  }
  if (v->klass == 3 || v->klass == 4) {
    ck_assert(v->klass == 3 ? record_is_text(type) : record_is_blob(type));
    ck_assert(slice_equal(record_get_bytes(type, p), slice_of(content + v->n % 100, v->n)));
  }
  if (v->klass == 5) {
    record_large_ref ref = record_get_large(p);
    ck_assert_uint_eq(type, REC_LARGE);
    ck_assert_uint_eq(ref.id, v->n * 7);
    ck_assert_uint_eq(ref.length, v->n);
    ck_assert_int_eq(ref.is_blob, v->n % 2);
  }
}

START_TEST(what_is_written_is_read) {
  record_writer w = RECORD_WRITER_INIT, copy = RECORD_WRITER_INIT;
  for (size_t i = 0; i < sizeof content; i++) content[i] = (uint8_t)rnd();
  for (int round = 0; round < 5000; round++) {
    value values[600];
    uint32_t n = (uint32_t)(rnd() % (round % 50 == 0 ? 600 : 20));
    record_begin(&w);
    for (uint32_t k = 0; k < n; k++) {
      values[k] = random_value();
      write_value(&w, &values[k]);
    }
    slice r = record_end(&w);
    ck_assert_ptr_nonnull(r.p);
    ck_assert_int_eq(record_check(r), HDB_OK);
    record_walk walk;
    record_begin(&copy);
    uint32_t k = 0;
    for (record_walk_start(&walk, r); walk.left; record_walk_next(&walk), k++) {
      uint8_t type;
      slice payload;
      check_value(&values[k], record_walk_type(&walk), walk.payload);
      ck_assert(record_column(r, k, &type, &payload));
      ck_assert_ptr_eq(payload.p, walk.payload);
      record_raw(&copy, type, payload);
    }
    ck_assert_uint_eq(k, n);
    uint8_t type;
    slice payload;
    ck_assert(!record_column(r, n, &type, &payload));
    ck_assert(slice_equal(record_end(&copy), r));
  }
  record_writer_free(&w), record_writer_free(&copy);
}
END_TEST

START_TEST(every_integer_width_is_kept) {
  record_writer w = RECORD_WRITER_INIT;
  for (unsigned shift = 0; shift < 64; shift++) {
    for (int d = -2; d <= 2; d++) {
      for (int negative = 0; negative < 2; negative++) {
        uint64_t u = (1ull << shift) + (uint64_t)(int64_t)d;
        int64_t v = (int64_t)(negative ? 0 - u : u);
        uint8_t type;
        slice payload;
        record_begin(&w);
        record_int(&w, v);
        ck_assert(record_column(record_end(&w), 0, &type, &payload));
        ck_assert_int_eq(record_get_int(type, payload.p), v);
      }
    }
  }
  record_begin(&w);
  record_real(&w, NAN);
  ck_assert_uint_eq(record_end(&w).p[1], REC_NULL);
  record_writer_free(&w);
}
END_TEST

static void walk_all(slice r) {
  record_walk walk;
  volatile uint64_t sum = 0;
  for (record_walk_start(&walk, r); walk.left; record_walk_next(&walk)) {
    uint8_t type = record_walk_type(&walk);
    if (record_is_int(type)) sum += (uint64_t)record_get_int(type, walk.payload);
    else if (record_is_real(type)) sum += record_get_real(type, walk.payload) > 0;
    else if (record_is_text(type) || record_is_blob(type)) {
      slice s = record_get_bytes(type, walk.payload);
      if (s.n) sum += s.p[s.n - 1];
    } else if (type == REC_LARGE) sum += record_get_large(walk.payload).length;
  }
}

START_TEST(damaged_records_never_lead_outside) {
  record_writer w = RECORD_WRITER_INIT;
  int refused = 0, rounds = 200000;
  for (int round = 0; round < rounds; round++) {
    record_begin(&w);
    uint32_t n = (uint32_t)(rnd() % 8);
    for (uint32_t k = 0; k < n; k++) {
      value v = random_value();
      v.n %= 200;
      write_value(&w, &v);
    }
    slice r = record_end(&w);
    size_t size = rnd() % 2 ? r.n : rnd() % (r.n + 1);
    uint8_t *exact = malloc(size + !size);
    memcpy(exact, r.p, size);
    for (uint64_t hits = rnd() % 4; hits && size; hits--) exact[rnd() % (rnd() % 2 && size > 8 ? 8 : size)] = (uint8_t)rnd();
    if (record_check(slice_of(exact, size)) == HDB_OK) walk_all(slice_of(exact, size));
    else refused++;
    free(exact);
  }
  ck_assert_int_gt(refused, rounds / 10);
  ck_assert_int_eq(record_check(slice_of(NULL, 0)), HDB_CORRUPT);
  record_writer_free(&w);
}
END_TEST

int main(void) {
  Suite *s = suite_create("record");
  TCase *t = tcase_create("record");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, what_is_written_is_read);
  tcase_add_test(t, every_integer_width_is_kept);
  tcase_add_test(t, damaged_records_never_lead_outside);
  suite_add_tcase(s, t);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
