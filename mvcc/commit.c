/* The queue: one line for commits and for the writer's turn.
 *
 * A commit is a request in the transaction object. Whoever finds no leader leads: takes what waits, folds it in
 * order into one kv batch (fold.c), publishes it, tells the others, and does the same with those who came meanwhile, a
 * few times; then the first of them leads. So time order = queue order = batch order. (Handing over after each batch
 * costs a wake-up with nobody at work: with 4 threads on 2 cores half of the commits.) Those who sleep he wakes when he has
 * handed over, unless they are to sync: who is woken takes the core of who wakes him, and then nobody leads (16 threads that do
 * not sync: 55,000 commits a second became 75,000).
 *
 * Q1  While somebody holds the turn, only his requests enter the queue; the others stand in line, first come first
 *     served, each until its own deadline.
 * Q2  A turn begins when all commits that entered before it are published.
 * Q3  Commit times ascend strictly: the wall clock, or the last time plus one.
 * Q4  When a batch fails, none of its requests succeeds. When it was kv's write that failed, the engine writes no more
 *     until it is opened again.
 */
#include <errno.h>
#include <unistd.h>

#include "kv/base/budget.h"
#include "mvcc/process.h"

enum { BATCH_MAX = 256, BATCHES_LED_MAX = 16, BATCHES_LED_LATE = 64, WAKES_MAX = 64 };

/* ---- the line of those who wait for the turn's end ---- */

static void line_join(engine *e, waiter *w) {
  w->next = NULL;
  *e->line_tail = w;
  e->line_tail = &w->next;
}

static void line_leave(engine *e, waiter *w) {
  for (waiter **p = &e->line; *p; p = &(*p)->next) {
    if (*p != w) continue;
    *p = w->next;
    if (e->line_tail == &w->next) e->line_tail = p;
    return;
  }
}

static void enqueue(engine *e, request *r) {
  r->next = NULL;
  *e->waiting_tail = r;
  e->waiting_tail = &r->next;
}

/* The turn is free: those in line go on, up to and including the next who wants it. */
static void serve_line(engine *e) {
  while (e->line && !e->turn) {
    waiter *w = e->line;
    line_leave(e, w);
    w->granted = true;
    if (w->wants_turn) {
      e->turn = w->owner;
      e->turn_thread = w->thread, e->turn_since_ms = engine_ticks_ms();
    } else {
      enqueue(e, &w->owner->request);
      if (!e->leading) {
        e->leading = true;
        wait_word_set(&w->owner->request.state, REQUEST_LEADS);
      }
    }
    pthread_cond_signal(&w->owner->request.wake);
  }
}

static int this_thread(void) {
  static _Thread_local int id;
  if (!id) id = (int)gettid();
  return id;
}

/* Waits in line; false: the deadline passed. */
static bool wait_in_line(engine *e, txn *t, bool wants_turn, int timeout_ms) {
  waiter w = {.owner = t, .wants_turn = wants_turn, .thread = this_thread()};
  struct timespec until;
  if (timeout_ms <= 0) return false;
  engine_deadline(&until, timeout_ms);
  line_join(e, &w);
  leave_before_wait();
  while (!w.granted) {
    int rc = pthread_cond_timedwait(&t->request.wake, &e->queue_lock, &until);
    if (rc != ETIMEDOUT || w.granted) continue;
    line_leave(e, &w);
    return false;
  }
  return true;
}

status queue_take_turn(engine *e, txn *t, int timeout_ms) {
  status rc = HDB_OK;
  pthread_mutex_lock(&e->queue_lock);
  if (!e->turn) {
    e->turn = t;
    e->turn_thread = this_thread(), e->turn_since_ms = engine_ticks_ms();
  } else if (!wait_in_line(e, t, true, timeout_ms)) {
    rc = HDB_BUSY;
  }
  if (rc == HDB_OK) {
    if (e->leading || e->waiting) leave_before_wait();
    while (e->leading || e->waiting) pthread_cond_wait(&e->idle, &e->queue_lock); /* Q2 */
    t->has_turn = true;
  }
  pthread_mutex_unlock(&e->queue_lock);
  return rc;
}

void queue_leave_turn(engine *e, txn *t) {
  pthread_mutex_lock(&e->queue_lock);
  t->has_turn = false;
  e->turn = NULL;
  serve_line(e);
  pthread_mutex_unlock(&e->queue_lock);
}

/* ---- leading ---- */

/* Cuts one batch off the queue: a large request comes alone. */
static request *take_batch(engine *e, size_t *n, bool *alone) {
  request *first = e->waiting, *last = first;
  *n = 1;
  *alone = fold_wants_alone(first->owner);
  while (!*alone && last->next && *n < BATCH_MAX && !fold_wants_alone(last->next->owner)) last = last->next, ++*n;
  e->waiting = last->next;
  if (!e->waiting) e->waiting_tail = &e->waiting;
  last->next = NULL;
  return first;
}

static int64_t next_time(engine *e) {
  int64_t now = engine_now();
  return e->last_time = now > e->last_time ? now : e->last_time + 1; /* Q3 */
}

/* A write in place needs no snapshot of the old state to be about; the requests' own views are done. */
static void drop_views(request *batch) {
  for (request *r = batch; r; r = r->next) {
    txn *t = r->owner;
    if (t->active || r->result != HDB_OK) continue;
    view_release(t->view);
    t->view = NULL;
    if (t->holding) scan_view_changed(t);
  }
}

/* What no open transaction can need for validation is forgotten (T1). */
static void prune_recent(engine *e, size_t batch_n) {
  if ((size_t)atomic_load(&e->open_count) <= batch_n) {
    recent_forget(&e->recent, e->last_time);
    return;
  }
  if (e->recent.bytes < 1 << 20) return;
  sessions_drop_idle(e, SESSION_IDLE_MS);
  recent_forget(&e->recent, txn_oldest_view(e, e->last_time));
  while (e->recent.bytes > RECENT_BYTES_MAX) recent_forget_oldest(&e->recent);
}

/* Another process's transaction may be older than what is kept for validation: then it is read again. */
static status recall(engine *e, const request *batch) {
  int64_t since = INT64_MAX;
  for (const request *r = batch; r; r = r->next)
    if (r->owner->guest && r->owner->view_time < since) since = r->owner->view_time;
  return since < e->recent.floor ? feed_recall(e, since) : HDB_OK;
}

static status fold_batch_of(engine *e, request *batch, bool alone, bool *any) {
  TRY(recall(e, batch));
  TRY(fold_begin(e->fold));
  for (request *r = batch; r; r = r->next) {
    bool changed;
    int64_t time = next_time(e);
    if (r->owner->permit && !permit_change(r->owner->permit, r->owner->permit_number, PERMIT_TAKEN)) {
      r->result = HDB_BUSY_SNAPSHOT; /* nobody waits for it any more */
      r->time = 0;
      continue;
    }
    TRY(fold_request(e->fold, r->owner, time, alone, &r->result, &changed));
    r->time = r->result == HDB_OK && changed ? time : 0;
    *any = *any || r->time;
  }
  return fold_finish(e->fold);
}

static void process(engine *e, request *batch, size_t n, bool alone) {
  bool any = false;
  status rc = (status)atomic_load(&e->broken);
  atomic_fetch_add(&e->batches_begun, 1);
  if (rc == HDB_OK) {
    int64_t before = e->last_time;
    rc = fold_batch_of(e, batch, alone, &any);
    if (rc == HDB_OK && any) {
      drop_views(batch);
      rc = engine_publish(e, fold_batch(e->fold), e->last_time, fold_schema_time(e->fold));
      if (rc != HDB_OK) atomic_store(&e->broken, rc); /* Q4 */
    } else if (rc == HDB_OK) {
      e->last_time = before; /* nothing was written: the times were not given */
    }
    fold_end(e->fold);
    if (rc != HDB_OK && e->cache) cache_drop(e->cache, e->last_time);
    prune_recent(e, n);
    if (any) retain_when_due(e);
    if (any) alarm_ring(e);
  }
  atomic_fetch_add(&e->batches_done, 1);
  for (request *r = batch; rc != HDB_OK && r; r = r->next) r->result = rc;
}

/* Those to be woken when the leader has handed over: whoever is woken tends to take the core of who wakes him, and the others
 * would wait for a leader who does not run. */
typedef struct wakes {
  bool late; /* false: at once, since those who sync wait for each other anyway */
  wait_word *at[WAKES_MAX];
  size_t n;
} wakes;

static void wake_all(wakes *w) {
  for (size_t i = 0; i < w->n; i++) wait_word_wake(w->at[i]);
  w->n = 0;
}

static void done(request *r, wakes *w) {
  wait_word *state = &r->state; /* r is its owner's again once it is set */
  if (!wait_word_set_only(state, REQUEST_DONE)) return;
  if (!w->late) {
    wait_word_wake(state);
    return;
  }
  if (w->n == WAKES_MAX) wake_all(w);
  w->at[w->n++] = state;
}

/* With the queue's lock held; those in w are to be woken without it. */
static void lead(engine *e, wakes *w) {
  for (int led = 0, most = w->late ? BATCHES_LED_LATE : BATCHES_LED_MAX; e->waiting && led < most; led++) {
    size_t n;
    bool alone;
    request *batch = take_batch(e, &n, &alone);
    pthread_mutex_unlock(&e->queue_lock);
    process(e, batch, n, alone);
    for (request *r = batch, *next; r; r = next) {
      next = r->next;
      done(r, w);
    }
    pthread_mutex_lock(&e->queue_lock);
    pthread_cond_broadcast(&e->settled);
  }
  if (e->waiting) {
    wait_word_set(&e->waiting->state, REQUEST_LEADS);
  } else {
    e->leading = false;
    pthread_cond_broadcast(&e->idle);
  }
}

status queue_commit(engine *e, txn *t, int timeout_ms) {
  request *r = &t->request;
  status rc = (status)atomic_load(&e->broken);
  if (rc != HDB_OK) return rc;
  r->owner = t;
  wait_word_init(&r->state);
  r->result = HDB_OK, r->time = 0;
  pthread_mutex_lock(&e->queue_lock);
  if (e->turn && e->turn != t) {
    if (!wait_in_line(e, t, false, timeout_ms)) {
      pthread_mutex_unlock(&e->queue_lock);
      return HDB_BUSY;
    }
  } else {
    enqueue(e, r);
    if (!e->leading) {
      e->leading = true;
      wait_word_set(&r->state, REQUEST_LEADS);
    }
  }
  pthread_mutex_unlock(&e->queue_lock);
  if (atomic_load(&r->state.value) == WAIT_PENDING) leave_before_wait();
  if (wait_word_wait(&r->state) == REQUEST_LEADS) {
    memory_budget *mine = memory_budget_suspend();
    wakes w = {.late = t->sync != TXN_SYNC_FULL};
    pthread_mutex_lock(&e->queue_lock);
    lead(e, &w);
    pthread_mutex_unlock(&e->queue_lock);
    wake_all(&w);
    memory_budget_resume(mine);
  }
  return r->result;
}
