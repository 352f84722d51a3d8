/* Several processes on one directory: what the owner's process does for all of them. */
#include "mvcc/internal.h"

void process_init(engine *e) {
  pthread_mutex_init(&e->duty_lock, NULL);
  pthread_cond_init(&e->duty_done, NULL);
}

void process_free(engine *e) {
  pthread_mutex_destroy(&e->duty_lock);
  pthread_cond_destroy(&e->duty_done);
}

bool engine_is_owner(const engine *e) { return e != NULL; }

size_t engine_clients(engine *e) { return e ? 0 : 0; }

void engine_set_duty(engine *e, const engine_duty *d) {
  pthread_mutex_lock(&e->duty_lock);
  e->duty = d ? *d : (engine_duty){0};
  if (e->duty_calls) leave_before_wait();
  while (e->duty_calls) pthread_cond_wait(&e->duty_done, &e->duty_lock);
  pthread_mutex_unlock(&e->duty_lock);
}

status engine_run_duty(engine *e) {
  pthread_mutex_lock(&e->duty_lock);
  engine_duty d = e->duty;
  e->duty_calls++;
  pthread_mutex_unlock(&e->duty_lock);
  status rc = d.settle ? d.settle(d.context) : HDB_OK;
  pthread_mutex_lock(&e->duty_lock);
  if (--e->duty_calls == 0) pthread_cond_broadcast(&e->duty_done);
  pthread_mutex_unlock(&e->duty_lock);
  return rc;
}
