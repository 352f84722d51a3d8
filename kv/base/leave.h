/* leave.h: what a calling thread gives up before this code waits or works long.
 *
 * A caller that holds something others need (Python's interpreter lock) and does not want to pay for giving it up
 * around every short call registers a function; it is called once, on the same thread, before the first wait for
 * another thread, the first touch of files, or when a statement has gone through many rows. Whoever registered
 * looks afterwards whether it was called. Without a registration the check is one read of a thread's variable.
 *
 * Rule: before waiting for another thread, and before any file operation, call leave_before_wait(). Short mutexes
 * whose holders never call a user's function need none.
 */
#ifndef HDB_KV_BASE_LEAVE_H
#define HDB_KV_BASE_LEAVE_H

#include <stddef.h>

typedef struct leave {
  void (*give_up)(void *);
  void *data;
} leave;

extern _Thread_local leave leave_registered __attribute__((tls_model("initial-exec")));

static inline void leave_before_wait(void) {
  void (*give_up)(void *) = leave_registered.give_up;
  if (!give_up) return;
  leave_registered.give_up = NULL;
  give_up(leave_registered.data);
}

/* Returns the registration before, to be put back by leave_restore: calls nest (a user's function may call in). */
static inline leave leave_register(void (*give_up)(void *), void *data) {
  leave former = leave_registered;
  leave_registered = (leave){give_up, data};
  return former;
}
static inline void leave_restore(leave former) { leave_registered = former; }
static inline int leave_is_registered(void) { return leave_registered.give_up != NULL; }

#endif
