/* Wire messages: what is well-formed is read, what is not is refused, and no byte beyond the input is looked at. */
#include <check.h>
#include <stdlib.h>

#include "server/proto.h"

static uint64_t state = 11;
static unsigned random_below(unsigned n) {
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return (unsigned)(state >> 33) % n;
}

START_TEST(a_startup_message_is_read) {
  buf b = BUF_INIT;
  const char *why, *name, *value;
  startup_message m;
  size_t at = 0;
  buf_be32(&b, 0);
  buf_be32(&b, 196608);
  put_text(&b, "user");
  put_text(&b, "helios");
  put_text(&b, "database");
  put_text(&b, "");
  buf_byte(&b, 0);
  put_be32(b.p, (uint32_t)b.n);
  for (size_t n = 0; n < b.n; n++) ck_assert_int_eq(proto_startup(slice_of(b.p, n), &m, &why), PROTO_MORE);
  ck_assert_int_eq(proto_startup(buf_slice(&b), &m, &why), PROTO_OK);
  ck_assert_int_eq(m.kind, STARTUP_NORMAL);
  ck_assert(proto_parameter(m.parameters, &at, &name, &value));
  ck_assert_str_eq(name, "user");
  ck_assert_str_eq(value, "helios");
  ck_assert(proto_parameter(m.parameters, &at, &name, &value));
  ck_assert_str_eq(value, "");
  ck_assert(!proto_parameter(m.parameters, &at, &name, &value));
  b.p[b.n - 1] = 'x'; /* no terminator */
  ck_assert_int_eq(proto_startup(buf_slice(&b), &m, &why), PROTO_BAD);
  put_be32(b.p, 20000);
  ck_assert_int_eq(proto_startup(buf_slice(&b), &m, &why), PROTO_BAD);
  put_be32(b.p, 3);
  ck_assert_int_eq(proto_startup(buf_slice(&b), &m, &why), PROTO_BAD);
  buf_free(&b);
}
END_TEST

START_TEST(cancel_and_ssl_have_exact_lengths) {
  uint8_t cancel[16];
  const char *why;
  startup_message m;
  put_be32(cancel, 16), put_be32(cancel + 4, 80877102), put_be32(cancel + 8, 7), put_be32(cancel + 12, 9);
  ck_assert_int_eq(proto_startup(slice_of(cancel, 16), &m, &why), PROTO_OK);
  ck_assert(m.kind == STARTUP_CANCEL && m.process == 7 && m.secret == 9);
  put_be32(cancel + 4, 80877103);
  ck_assert_int_eq(proto_startup(slice_of(cancel, 16), &m, &why), PROTO_BAD);
  put_be32(cancel, 8);
  ck_assert_int_eq(proto_startup(slice_of(cancel, 8), &m, &why), PROTO_OK);
  ck_assert(m.kind == STARTUP_SSL);
}
END_TEST

static void bind_body(buf *b, unsigned formats) {
  put_text(b, "portal");
  put_text(b, "statement");
  put_u16(b, (uint16_t)formats);
  for (unsigned i = 0; i < formats; i++) put_u16(b, (uint16_t)(i & 1));
  put_u16(b, 3);
  buf_be32(b, 2);
  buf_append(b, "ab", 2);
  buf_be32(b, UINT32_MAX);
  buf_be32(b, 0);
  put_u16(b, 1);
  put_u16(b, 1);
}

START_TEST(bind_gives_its_parameters) {
  buf b = BUF_INIT;
  bind_message m;
  size_t at = 0;
  bool is_null;
  bind_body(&b, 3);
  ck_assert(proto_bind(buf_slice(&b), &m));
  ck_assert_str_eq(m.portal, "portal");
  slice v = proto_bind_value(&m, &at, &is_null);
  ck_assert(!is_null && v.n == 2 && v.p[0] == 'a');
  proto_bind_value(&m, &at, &is_null);
  ck_assert(is_null);
  v = proto_bind_value(&m, &at, &is_null);
  ck_assert(!is_null && v.n == 0);
  ck_assert_uint_eq(proto_format(m.formats, m.formats_n, 1), 1);
  ck_assert_uint_eq(proto_format(m.result_formats, m.result_formats_n, 5), 1);
  for (size_t n = 0; n < b.n; n++) ck_assert(!proto_bind(slice_of(b.p, n), &m));
  buf_clear(&b);
  bind_body(&b, 2); /* neither none, one nor all */
  ck_assert(!proto_bind(buf_slice(&b), &m));
  buf_free(&b);
}
END_TEST

START_TEST(what_is_written_is_read_back) {
  buf b = BUF_INIT;
  message m;
  const char *why;
  field_description f = {"id", 16384, 23, 1, 4, -1, 0};
  proto_row_description(&b, &f, 1);
  proto_error(&b, &(error_fields){.severity = "ERROR", .sqlstate = "42P01", .message = "no such table: x", .position = 15});
  proto_ready(&b, 'I');
  size_t at = 0;
  const char *types = "TEZ";
  for (int i = 0; i < 3; i++) {
    ck_assert_int_eq(proto_message(slice_of(b.p + at, b.n - at), 1000, &m, &why), PROTO_OK);
    ck_assert_int_eq(m.type, types[i]);
    at += m.length;
  }
  ck_assert_uint_eq(at, b.n);
  ck_assert_int_eq(proto_message(buf_slice(&b), 10, &m, &why), PROTO_BAD);
  buf_free(&b);
}
END_TEST

START_TEST(random_bytes_are_refused_without_looking_past_the_end) {
  for (int round = 0; round < 200000; round++) {
    size_t n = random_below(60);
    uint8_t *exact = malloc(n + 1); /* its own allocation, so that a sanitizer sees one byte too far */
    for (size_t i = 0; i < n; i++) exact[i] = (uint8_t)(random_below(3) ? random_below(4) : random_below(256));
    startup_message s;
    message m;
    parse_message p;
    bind_message b;
    describe_message d;
    execute_message e;
    const char *why;
    uint8_t *copy = malloc(n ? n : 1);
    memcpy(copy, exact, n);
    slice in = slice_of(copy, n);
    proto_startup(in, &s, &why);
    proto_message(in, 40, &m, &why);
    proto_parse(in, &p);
    if (proto_bind(in, &b)) {
      size_t at = 0;
      bool is_null;
      for (unsigned i = 0; i < b.parameters_n; i++) proto_bind_value(&b, &at, &is_null);
      ck_assert_uint_eq(at, b.parameters.n);
    }
    proto_describe(in, &d);
    proto_execute(in, &e);
    free(copy);
    free(exact);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("server proto");
  TCase *t = tcase_create("proto");
  tcase_add_test(t, a_startup_message_is_read);
  tcase_add_test(t, cancel_and_ssl_have_exact_lengths);
  tcase_add_test(t, bind_gives_its_parameters);
  tcase_add_test(t, what_is_written_is_read_back);
  tcase_add_test(t, random_bytes_are_refused_without_looking_past_the_end);
  suite_add_tcase(suite, t);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_NORMAL);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed ? 1 : 0;
}
