/* A word that is set is seen, whatever the order, and by a sleeper too. */
#include <check.h>
#include <pthread.h>

#include "kv/base/wait.h"

enum { ROUNDS = 20000, PAIRS = 3 };

typedef struct pair {
  wait_word there, back;
  uint32_t wrong;
} pair;

/* Answers each word with its successor. */
static void *answer(void *context) {
  pair *p = context;
  for (uint32_t i = 0; i < ROUNDS; i++) {
    uint32_t value = wait_word_wait(&p->there);
    if (value != i + 2) p->wrong++;
    wait_word_init(&p->there);
    wait_word_set(&p->back, value + 1);
  }
  return NULL;
}

static void *ask(void *context) {
  pair *p = context;
  for (uint32_t i = 0; i < ROUNDS; i++) {
    wait_word_init(&p->back);
    wait_word_set(&p->there, i + 2);
    if (wait_word_wait(&p->back) != i + 3) p->wrong++;
  }
  return NULL;
}

START_TEST(a_set_word_is_seen_by_who_looks_and_who_sleeps) {
  static pair pairs[PAIRS]; /* more threads than cores: some of them sleep */
  pthread_t threads[2 * PAIRS];
  for (int i = 0; i < PAIRS; i++) {
    wait_word_init(&pairs[i].there);
    pthread_create(&threads[2 * i], NULL, answer, &pairs[i]);
    pthread_create(&threads[2 * i + 1], NULL, ask, &pairs[i]);
  }
  for (int i = 0; i < 2 * PAIRS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < PAIRS; i++) ck_assert_uint_eq(pairs[i].wrong, 0);
}
END_TEST

START_TEST(one_that_was_set_before_is_not_waited_for) {
  wait_word w;
  wait_word_init(&w);
  wait_word_set(&w, 7);
  ck_assert_uint_eq(wait_word_wait(&w), 7);
}
END_TEST

int main(void) {
  Suite *s = suite_create("base_wait");
  TCase *c = tcase_create("all");
  tcase_set_timeout(c, 60);
  tcase_add_test(c, a_set_word_is_seen_by_who_looks_and_who_sleeps);
  tcase_add_test(c, one_that_was_set_before_is_not_waited_for);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
