/* Worker threads: a queue, and a thread more whenever a task comes while all are busy (up to a bound, one a session at
 * most). A thread that had nothing to do for ten seconds ends, but for the last two. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "server/internal.h"

typedef struct task {
  struct task *next;
  void (*run)(void *);
  void *data;
} task;

struct pool {
  pthread_mutex_t mutex;
  pthread_cond_t work, ended;
  task *first, **last;
  int threads, idle, queued, most;
  bool closing;
};

pool *pool_new(int most) {
  pool *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  pthread_mutex_init(&p->mutex, NULL);
  pthread_cond_init(&p->work, NULL);
  pthread_cond_init(&p->ended, NULL);
  p->last = &p->first;
  p->most = most < 1 ? 1 : most;
  return p;
}

static void *worker(void *data) {
  pool *p = data;
  pthread_mutex_lock(&p->mutex);
  for (;;) {
    while (!p->first && !p->closing) {
      struct timespec until;
      clock_gettime(CLOCK_REALTIME, &until);
      until.tv_sec += 10;
      p->idle++;
      int rc = pthread_cond_timedwait(&p->work, &p->mutex, &until);
      p->idle--;
      if (rc == ETIMEDOUT && !p->first && p->threads > 2) goto out;
    }
    if (!p->first) break;
    task *t = p->first;
    p->first = t->next;
    if (!p->first) p->last = &p->first;
    p->queued--;
    pthread_mutex_unlock(&p->mutex);
    t->run(t->data);
    free(t);
    pthread_mutex_lock(&p->mutex);
  }
out:
  p->threads--;
  pthread_cond_broadcast(&p->ended);
  pthread_mutex_unlock(&p->mutex);
  return NULL;
}

bool pool_submit(pool *p, void (*run)(void *), void *data) {
  task *t = malloc(sizeof *t);
  if (!t) return false;
  *t = (task){NULL, run, data};
  pthread_mutex_lock(&p->mutex);
  *p->last = t;
  p->last = &t->next;
  p->queued++;
  if (p->queued > p->idle && p->threads < p->most) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 8 << 20);
    if (pthread_create(&thread, &attributes, worker, p) == 0) p->threads++;
    pthread_attr_destroy(&attributes);
  }
  bool served = p->threads > 0;
  pthread_cond_signal(&p->work);
  pthread_mutex_unlock(&p->mutex);
  return served;
}

void pool_free(pool *p) {
  if (!p) return;
  pthread_mutex_lock(&p->mutex);
  p->closing = true;
  pthread_cond_broadcast(&p->work);
  while (p->threads > 0) pthread_cond_wait(&p->ended, &p->mutex);
  pthread_mutex_unlock(&p->mutex);
  pthread_cond_destroy(&p->work);
  pthread_cond_destroy(&p->ended);
  pthread_mutex_destroy(&p->mutex);
  free(p);
}
