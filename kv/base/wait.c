/* wait.c: see wait.h. One thread fewer than there are cores may look at a time; each for 20 us at most. */
#include "kv/base/wait.h"

#include <linux/futex.h>
#include <limits.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_NS = 20000, LOOKS_A_CLOCK = 16 };

static atomic_int looking;
static atomic_int may_look = -1; /* -1: not known yet */

static int look_limit(void) {
  int n = atomic_load_explicit(&may_look, memory_order_relaxed);
  if (n >= 0) return n;
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  n = cores > 1 ? (int)cores - 1 : 0;
  atomic_store_explicit(&may_look, n, memory_order_relaxed);
  return n;
}

static inline void pause_a_little(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static int64_t ticks_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint32_t look(wait_word *w) {
  uint32_t value = WAIT_PENDING;
  int64_t until = ticks_ns() + LOOK_NS;
  do {
    for (int i = 0; i < LOOKS_A_CLOCK && value == WAIT_PENDING; i++) {
      pause_a_little();
      value = atomic_load_explicit(&w->value, memory_order_acquire);
    }
  } while (value == WAIT_PENDING && ticks_ns() < until);
  return value;
}

uint32_t wait_word_wait(wait_word *w) {
  uint32_t value = atomic_load_explicit(&w->value, memory_order_acquire);
  if (value > WAIT_SLEEPING) return value;
  if (atomic_fetch_add_explicit(&looking, 1, memory_order_relaxed) < look_limit()) value = look(w);
  atomic_fetch_sub_explicit(&looking, 1, memory_order_relaxed);
  return value > WAIT_SLEEPING ? value : wait_word_sleep(w);
}

uint32_t wait_word_sleep(wait_word *w) {
  uint32_t value = WAIT_PENDING;
  if (!atomic_compare_exchange_strong_explicit(&w->value, &value, WAIT_SLEEPING, memory_order_acquire, memory_order_acquire)) return value;
  do {
    syscall(SYS_futex, &w->value, FUTEX_WAIT_PRIVATE, WAIT_SLEEPING, NULL, NULL, 0);
    value = atomic_load_explicit(&w->value, memory_order_acquire);
  } while (value == WAIT_SLEEPING);
  return value;
}

bool wait_word_set_only(wait_word *w, uint32_t value) {
  return atomic_exchange_explicit(&w->value, value, memory_order_acq_rel) == WAIT_SLEEPING;
}

/* The address may have been freed meanwhile: nobody waits there, or somebody who looks again. */
void wait_word_wake(wait_word *w) { syscall(SYS_futex, &w->value, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0); }

void wait_word_set(wait_word *w, uint32_t value) {
  if (wait_word_set_only(w, value)) wait_word_wake(w);
}
