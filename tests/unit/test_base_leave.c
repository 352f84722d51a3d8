/* Giving up what others need before waiting: once, nested, only on the thread that registered. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>

#include "kv/base/leave.h"

static void count(void *p) { ++*(int *)p; }

START_TEST(it_is_called_once) {
  int calls = 0;
  leave_before_wait();
  leave former = leave_register(count, &calls);
  ck_assert_int_eq(calls, 0);
  leave_before_wait();
  leave_before_wait();
  ck_assert_int_eq(calls, 1);
  leave_restore(former);
  leave_before_wait();
  ck_assert_int_eq(calls, 1);
}
END_TEST

START_TEST(registrations_nest) {
  int outer = 0, inner = 0;
  leave before = leave_register(count, &outer);
  leave former = leave_register(count, &inner);
  leave_before_wait();
  leave_restore(former);
  ck_assert(leave_is_registered());
  leave_before_wait();
  ck_assert(!leave_is_registered());
  ck_assert_int_eq(outer, 1);
  ck_assert_int_eq(inner, 1);
  leave_restore(before);
}
END_TEST

static void *other_thread(void *unused) {
  leave_before_wait();
  return NULL;
}

START_TEST(another_thread_has_none) {
  int calls = 0;
  pthread_t thread;
  leave former = leave_register(count, &calls);
  ck_assert_int_eq(pthread_create(&thread, NULL, other_thread, NULL), 0);
  pthread_join(thread, NULL);
  ck_assert_int_eq(calls, 0);
  leave_restore(former);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("leave");
  TCase *tcase = tcase_create("leave");
  tcase_add_test(tcase, it_is_called_once);
  tcase_add_test(tcase, registrations_nest);
  tcase_add_test(tcase, another_thread_has_none);
  suite_add_tcase(suite, tcase);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_NORMAL);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
