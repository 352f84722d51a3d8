/* turn.c: whose turn it is on a connection (objects.h has the rules).
 *
 * depth, owner and waiting are read and written under the GIL alone. Only the sleeping itself needs a mutex:
 * a thread that gives up its turn while others wait leaves one wake behind, and whoever takes the wake looks
 * again under the GIL.
 */
#include <unistd.h>

#include "py/objects.h"

void gil_give_up(void *p) { ((gil *)p)->saved = PyEval_SaveThread(); }

void turn_init(turn *t) {
  memset(t, 0, sizeof *t);
  t->process = (int)getpid();
  pthread_mutex_init(&t->mutex, NULL);
  pthread_cond_init(&t->wake, NULL);
}

void turn_destroy(turn *t) {
  pthread_mutex_destroy(&t->mutex);
  pthread_cond_destroy(&t->wake);
}

void turn_wait(connection *c) {
  turn *t = &c->turn;
  if (t->process != (int)getpid()) { /* whoever had it is a thread of our parent */
    turn_init(t);
    turn_take(c);
    return;
  }
  Py_INCREF(c); /* whoever has the turn may drop the last other reference */
  t->waiting++;
  while (t->depth) {
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&t->mutex);
    while (!t->wakes) pthread_cond_wait(&t->wake, &t->mutex);
    t->wakes--;
    pthread_mutex_unlock(&t->mutex);
    Py_END_ALLOW_THREADS
  }
  t->waiting--;
  t->owner = PyThread_get_thread_ident();
  t->depth = 1;
  Py_DECREF(c);
}

static void wake_one(turn *t) {
  pthread_mutex_lock(&t->mutex);
  t->wakes++;
  pthread_cond_signal(&t->wake);
  pthread_mutex_unlock(&t->mutex);
}

/* Nobody has the turn any more: do what had to wait for that. */
void turn_release_slow(connection *c) {
  if (c->closing) {
    c->turn.depth = 1;
    connection_close_now(c);
    c->turn.depth = 0;
  }
  if (c->turn.waiting) wake_one(&c->turn);
}

int turn_pause(connection *c) {
  int depth = c->turn.depth;
  c->turn.depth = 0;
  if (c->turn.waiting) wake_one(&c->turn);
  return depth;
}

void turn_resume(connection *c, int depth) {
  turn_take(c);
  c->turn.depth = depth;
}
