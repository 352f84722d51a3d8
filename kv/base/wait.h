/* wait.h: a word that one thread waits on and another sets, once.
 *
 * The waiter looks for a while before it sleeps, when a core is likely to be free for that: what it waits for takes
 * microseconds, going to sleep and being woken takes longer. The setter makes a system call only when the waiter
 * sleeps, and takes no lock, so that a woken thread has nothing to wait for again.
 * After wait_word_set the setter does not touch the word any more: its owner may have freed it.
 */
#ifndef HDB_KV_BASE_WAIT_H
#define HDB_KV_BASE_WAIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { WAIT_PENDING = 0, WAIT_SLEEPING = 1 }; /* what is set must be larger */

typedef struct wait_word {
  _Atomic uint32_t value;
} wait_word;

static inline void wait_word_init(wait_word *w) { atomic_store_explicit(&w->value, WAIT_PENDING, memory_order_relaxed); }
void wait_word_set(wait_word *w, uint32_t value);
/* Sets it without waking; true: the waiter sleeps, wait_word_wake is still to be called. */
bool wait_word_set_only(wait_word *w, uint32_t value);
void wait_word_wake(wait_word *w);
/* Until it is set; returns to what. */
uint32_t wait_word_wait(wait_word *w);
uint32_t wait_word_sleep(wait_word *w); /* without looking first: it will take long */

#endif
