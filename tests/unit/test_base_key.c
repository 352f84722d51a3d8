/* Keys: their byte order against a comparison of the values written independently (long double has 64 bits
 * of mantissa on x86-64, so it holds every int64 and double exactly). */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include "kv/base/key.h"

typedef struct value {
  int klass; /* 0 null 1 int 2 real 3 text 4 blob */
  int64_t i;
  double r;
  uint8_t bytes[12];
  size_t n;
} value;

static uint64_t seed = 88172645463325252ull;
static uint64_t rnd(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return seed;
}

static const int64_t ints[] = {0, 1, -1, 127, 128, 255, 256, -128, -129, INT32_MAX, INT32_MIN, (1ll << 53) - 1,
                               1ll << 53, (1ll << 53) + 1, (1ll << 53) + 2, (1ll << 53) + 3, -(1ll << 53),
                               -(1ll << 53) - 1, -(1ll << 53) - 2, INT64_MAX, INT64_MAX - 1, INT64_MAX - 1023,
                               INT64_MAX - 1024, INT64_MIN, INT64_MIN + 1, 1ll << 62, -(1ll << 62) - 1};
static const double reals[] = {0.0, -0.0, 0.5, -0.5, 1, -1, 1.5, 9007199254740992.0, 9007199254740994.0,
                               -9007199254740992.0, -9007199254740994.0, 9223372036854775808.0,
                               -9223372036854775808.0, 9223372036854774784.0, -9223372036854777856.0, 1e300, -1e300,
                               INFINITY, -INFINITY, 5e-324, -5e-324, 4503599627370497.5};

static value random_value(void) {
  value v = {0};
  v.klass = (int)(rnd() % 5);
  if (v.klass == 1) {
    v.i = rnd() % 2 ? ints[rnd() % (sizeof ints / sizeof *ints)] : (int64_t)(rnd() >> rnd() % 64);
    if (rnd() % 3 == 0) v.i = (int64_t)((uint64_t)v.i + rnd() % 5 - 2);
  } else if (v.klass == 2) {
    if (rnd() % 2) v.r = reals[rnd() % (sizeof reals / sizeof *reals)];
    else if (rnd() % 2) v.r = (double)(int64_t)(rnd() >> rnd() % 64);
    else {
      uint64_t bits = rnd();
      memcpy(&v.r, &bits, 8);
      if (v.r != v.r) v.r = 3.25;
    }
  } else if (v.klass >= 3) {
    static const uint8_t alphabet[] = {0, 0, 1, ' ', 'a', 'A', 'b', 'B', '_', 0xfe, 0xff, 'Z'};
    v.n = rnd() % 6;
    for (size_t k = 0; k < v.n; k++) v.bytes[k] = alphabet[rnd() % sizeof alphabet];
  }
  return v;
}

static int fold(int c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }

static int compare_text(const value *a, const value *b, enum key_collation collation) {
  size_t an = a->n, bn = b->n;
  if (collation == KEY_NOCASE) { /* SQLite's: stops at a NUL, then lengths */
    size_t n = an < bn ? an : bn;
    for (size_t k = 0; k < n; k++) {
      int d = fold(a->bytes[k]) - fold(b->bytes[k]);
      if (d) return d;
      if (a->bytes[k] == 0) break;
    }
    return (an > bn) - (an < bn);
  }
  if (collation == KEY_RTRIM) {
    while (an && a->bytes[an - 1] == ' ') an--;
    while (bn && b->bytes[bn - 1] == ' ') bn--;
  }
  return slice_compare(slice_of(a->bytes, an), slice_of(b->bytes, bn));
}

static int compare(const value *a, const value *b, enum key_collation collation) {
  static const int rank[] = {0, 1, 1, 2, 3};
  int d = rank[a->klass] - rank[b->klass];
  if (d || a->klass == 0) return d;
  if (rank[a->klass] == 1) {
    long double x = a->klass == 1 ? (long double)a->i : (long double)a->r;
    long double y = b->klass == 1 ? (long double)b->i : (long double)b->r;
    return (x > y) - (x < y);
  }
  if (a->klass == 3) return compare_text(a, b, collation);
  return slice_compare(slice_of(a->bytes, a->n), slice_of(b->bytes, b->n));
}

static bool put(buf *b, const value *v, enum key_collation collation, bool descending) {
  switch (v->klass) {
  case 0: key_put_null(b, descending); return true;
  case 1: return key_put_int(b, v->i, descending);
  case 2: return key_put_real(b, v->r, descending);
  case 3: return key_put_text(b, v->bytes, v->n, collation, descending);
  default: return key_put_blob(b, v->bytes, v->n, descending);
  }
}

static int sign(int x) { return (x > 0) - (x < 0); }

START_TEST(byte_order_is_value_order) {
  buf x = BUF_INIT, y = BUF_INIT;
  for (int round = 0; round < 300000; round++) {
    enum key_collation collation = (enum key_collation)(rnd() % 3);
    bool descending = rnd() % 2;
    value a = random_value(), b = random_value();
    buf_clear(&x), buf_clear(&y);
    put(&x, &a, collation, descending);
    put(&y, &b, collation, descending);
    int wanted = sign(compare(&a, &b, collation));
    if (descending) wanted = -wanted;
    ck_assert_msg(sign(slice_compare(buf_slice(&x), buf_slice(&y))) == wanted,
                  "round %d classes %d %d ints %lld %lld reals %.17g %.17g", round, a.klass, b.klass, (long long)a.i,
                  (long long)b.i, a.r, b.r);
  }
  buf_free(&x), buf_free(&y);
}
END_TEST

START_TEST(keys_of_several_columns_are_ordered_column_by_column) {
  buf x = BUF_INIT, y = BUF_INIT;
  for (int round = 0; round < 100000; round++) {
    int wanted = 0;
    buf_clear(&x), buf_clear(&y);
    for (int column = 0; column < 3; column++) {
      bool descending = rnd() % 2;
      value a = random_value(), b = rnd() % 2 ? a : random_value();
      put(&x, &a, KEY_BINARY, descending);
      put(&y, &b, KEY_BINARY, descending);
      if (!wanted) wanted = descending ? -sign(compare(&a, &b, KEY_BINARY)) : sign(compare(&a, &b, KEY_BINARY));
    }
    ck_assert_int_eq(sign(slice_compare(buf_slice(&x), buf_slice(&y))), wanted);
  }
  buf_free(&x), buf_free(&y);
}
END_TEST

static void check_same(const value *v, const key_value *got) {
  switch (v->klass) {
  case 0: ck_assert_int_eq(got->klass, KEY_CLASS_NULL); break;
  case 1:
    ck_assert(got->is_int);
    ck_assert_int_eq(got->i, v->i);
    break;
  case 2:
    ck_assert(!got->is_int);
    ck_assert_int_eq(memcmp(&got->r, &v->r, 8), 0);
    break;
  default:
    ck_assert_int_eq(got->klass, v->klass == 3 ? KEY_CLASS_TEXT : KEY_CLASS_BLOB);
    ck_assert(slice_equal(got->bytes, slice_of(v->bytes, v->n)));
  }
}

START_TEST(a_lossless_key_decodes_to_its_values) {
  buf x = BUF_INIT, scratch = BUF_INIT;
  for (int round = 0; round < 100000; round++) {
    value values[4];
    bool lossless[4], descending[4];
    buf_clear(&x), buf_clear(&scratch);
    for (int k = 0; k < 4; k++) {
      values[k] = random_value();
      descending[k] = rnd() % 2;
      lossless[k] = put(&x, &values[k], (enum key_collation)(rnd() % 3), descending[k]);
    }
    buf_reserve(&scratch, x.n);
    const uint8_t *p = x.p, *end = x.p + x.n;
    key_value got[4];
    for (int k = 0; k < 4; k++) {
      const uint8_t *next = key_get(p, end, descending[k], &got[k], &scratch);
      ck_assert_ptr_nonnull(next);
      ck_assert_ptr_eq(key_skip(p, end, descending[k]), next);
      p = next;
    }
    ck_assert_ptr_eq(p, end);
    for (int k = 0; k < 4; k++)
      if (lossless[k]) check_same(&values[k], &got[k]);
  }
  buf_free(&x), buf_free(&scratch);
}
END_TEST

START_TEST(lossy_keys_say_so) {
  buf x = BUF_INIT;
  ck_assert(!key_put_real(&x, 1.0, false));
  ck_assert(!key_put_real(&x, -0.0, false));
  ck_assert(key_put_real(&x, 1.5, false));
  ck_assert(key_put_real(&x, 9223372036854775808.0, false));
  ck_assert(!key_put_real(&x, NAN, false));
  ck_assert(!key_put_text(&x, "aB", 2, KEY_NOCASE, false));
  ck_assert(!key_put_text(&x, "a\0b", 3, KEY_NOCASE, false));
  ck_assert(key_put_text(&x, "ab", 2, KEY_NOCASE, true));
  ck_assert(!key_put_text(&x, "ab ", 3, KEY_RTRIM, false));
  ck_assert(key_put_text(&x, "ab ", 3, KEY_BINARY, false));
  buf_free(&x);
}
END_TEST

START_TEST(damaged_keys_are_refused_or_stay_inside) {
  buf x = BUF_INIT, scratch = BUF_INIT;
  for (int round = 0; round < 200000; round++) {
    buf_clear(&x), buf_clear(&scratch);
    for (int k = 0; k < 3; k++) {
      value v = random_value();
      put(&x, &v, KEY_BINARY, rnd() % 2);
    }
    if (x.n > 1) buf_reserve(&x, 1), x.n = 1 + rnd() % (x.n - 1);
    x.p[rnd() % x.n] = (uint8_t)rnd();
    uint8_t *exact = malloc(x.n); /* so that a sanitizer sees the end */
    memcpy(exact, x.p, x.n);
    const uint8_t *p = exact, *end = exact + x.n;
    while (p && p < end) {
      key_value got;
      const uint8_t *skipped = key_skip(p, end, round % 2);
      const uint8_t *next = key_get(p, end, round % 2, &got, &scratch);
      ck_assert_ptr_eq(next, skipped);
      ck_assert(!next || (next > p && next <= end));
      p = next;
    }
    free(exact);
  }
  buf_free(&x), buf_free(&scratch);
}
END_TEST

START_TEST(row_ids_and_successors) {
  static const int64_t ids[] = {INT64_MIN, -5, -1, 0, 1, 255, 256, INT64_MAX};
  uint8_t a[8], b[8];
  for (size_t i = 0; i + 1 < sizeof ids / sizeof *ids; i++) {
    rowid_encode(a, ids[i]), rowid_encode(b, ids[i + 1]);
    ck_assert_int_lt(memcmp(a, b, 8), 0);
    ck_assert_int_eq(rowid_decode(a), ids[i]);
  }
  buf k = BUF_INIT;
  buf_append(&k, "a\xff\xff", 3);
  ck_assert(key_successor(&k));
  ck_assert(slice_equal(buf_slice(&k), slice_str("b")));
  buf_clear(&k);
  buf_append(&k, "\xff", 1);
  ck_assert(!key_successor(&k));
  buf_free(&k);
}
END_TEST

int main(void) {
  Suite *s = suite_create("key");
  TCase *t = tcase_create("key");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, byte_order_is_value_order);
  tcase_add_test(t, keys_of_several_columns_are_ordered_column_by_column);
  tcase_add_test(t, a_lossless_key_decodes_to_its_values);
  tcase_add_test(t, lossy_keys_say_so);
  tcase_add_test(t, damaged_keys_are_refused_or_stay_inside);
  tcase_add_test(t, row_ids_and_successors);
  suite_add_tcase(s, t);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
