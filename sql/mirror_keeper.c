/* The keeper: one thread a process that writes files in the background.
 *
 * A mirror whose file is current waits for nothing but the engine's alarm: the next commit rings, once, and the mirror
 * is due a second later. Due, it is written if nothing was committed for a second, or if it has been behind for long
 * enough: a minute at most, and not before ten times the CPU time that the last write took have passed. Then the alarm
 * is set again. So a quiet database costs nothing, a busy one a wake-up a second.
 *
 * K1  The thread works under m->lock alone, and only if it gets it at once; nobody waits for it but on that lock.
 * K2  SQLite's lock held by somebody, or a failed write: tried again after a second (trouble: every ten seconds).
 * K3  Before a fork and at exit it is interrupted between two rows, and stands still: the child never inherits a lock
 *     of libsqlite3's that is held, and no journal is left behind.
 */
#include <stdlib.h>
#include <time.h>

#include "sql/mirror_internal.h"

enum { REST_MS = 1000, TROUBLE_MS = 10000, LOADED_MIN_MS = 20000, LOADED_MAX_MS = 50000, TIMES_COST = 10 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* due dates */
static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER; /* held while it works (K3) */
static pthread_cond_t changed;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool runs;
static int64_t sleeps_until; /* INT64_MAX: until it is woken */
static hdb *_Atomic working;
static struct mirror **watched;
static size_t watched_n, watched_capacity;

static int64_t ticks(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- fork and exit ---- */

static void stand_still(void) {
  hdb *w = atomic_load(&working);
  if (w) atomic_store(&w->interrupted, true);
  pthread_mutex_lock(&busy);
  pthread_mutex_lock(&lock);
}
static void go_on(void) {
  pthread_mutex_unlock(&lock);
  pthread_mutex_unlock(&busy);
}
static void make_condition(void) {
  pthread_condattr_t a;
  pthread_condattr_init(&a);
  pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
  pthread_cond_init(&changed, &a);
  pthread_condattr_destroy(&a);
}
static void start_anew(void) { /* in the child: no thread, nothing to keep */
  pthread_mutex_init(&lock, NULL);
  pthread_mutex_init(&busy, NULL);
  make_condition();
  runs = false;
  sleeps_until = 0;
  watched_n = 0;
  atomic_store(&working, NULL);
}
static void at_exit(void) {
  hdb *w = atomic_load(&working);
  if (w) atomic_store(&w->interrupted, true);
  pthread_mutex_lock(&busy); /* for good */
  mirror_write_all();
}
static void prepare(void) {
  make_condition();
  pthread_atfork(stand_still, go_on, start_anew);
  engine_at_exit(at_exit);
}

/* ---- the work ---- */

static int64_t cpu_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t wall_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* In how many ms to come back; 0: written, or nothing to write. */
static int64_t wait_for(struct mirror *m, int64_t now) {
  int64_t cost_ms = m->cost_us / 1000, since_write = m->written_at ? now - m->written_at : INT64_MAX;
  int64_t pause = TIMES_COST * cost_ms < LOADED_MAX_MS ? TIMES_COST * cost_ms : LOADED_MAX_MS;
  int64_t rested = (wall_us() - engine_newest(mirror_engine(m))) / 1000;
  if (rested < 0) rested = 0; /* commit times may be ahead of the clock */
  if (rested >= REST_MS) return since_write >= pause ? 0 : pause - since_write;
  int64_t loaded = pause > LOADED_MIN_MS ? pause : LOADED_MIN_MS;
  if (m->behind_since && now - m->behind_since >= loaded && since_write >= pause) return 0;
  return REST_MS - rested;
}

/* m->lock is held. Returns in how many ms to come back, 0: at the next commit. */
static int64_t keep_file(struct mirror *m, int64_t now) {
  if (!mirror_inherit(m) || m->orphan) return 0;
  bool stays = !mirror_release_own(m); /* it is kept for other processes alone: looked after every second */
  if (!m->own || !engine_is_owner(mirror_engine(m))) return stays ? REST_MS : 0;
  if (!mirror_is_current(m)) {
    int64_t wait = wait_for(m, now);
    if (wait > 0) return wait;
    int64_t before = cpu_us();
    atomic_store(&working, m->own);
    status rc = mirror_sync(m, true, 0);
    atomic_store(&working, NULL);
    m->cost_us = cpu_us() - before;
    if (rc != HDB_OK) return (rc & 0xff) == HDB_BUSY || (rc & 0xff) == HDB_INTERRUPT ? REST_MS : TROUBLE_MS;
  }
  m->behind_since = 0;
  mirror_keeper_watch(m);
  return stays ? REST_MS : 0;
}

static int64_t keep(struct mirror *m, int64_t now) {
  int64_t wait = keep_file(m, now), held = file_let_go_when_due(m, mirror_ticks());
  return wait && (!held || wait < held) ? wait : held;
}

static void set_due(struct mirror *m, int64_t due) {
  for (size_t i = 0; i < watched_n; i++)
    if (watched[i] == m) {
      if (!m->due || due < m->due) m->due = due;
      return;
    }
  if (watched_n == watched_capacity) {
    size_t capacity = watched_capacity ? 2 * watched_capacity : 8;
    struct mirror **list = realloc(watched, capacity * sizeof *list);
    if (!list) return; /* the next commit, or the close, writes it */
    watched = list, watched_capacity = capacity;
  }
  m->due = due;
  watched[watched_n++] = m;
}

/* Takes the one that is due out of the list; *next: when another will be, 0 none. */
static struct mirror *take_due(int64_t now, int64_t *next) {
  size_t first = SIZE_MAX;
  *next = 0;
  for (size_t i = 0; i < watched_n; i++)
    if (first == SIZE_MAX || watched[i]->due < watched[first]->due) first = i;
  if (first == SIZE_MAX) return NULL;
  struct mirror *m = watched[first];
  if (m->due > now) {
    *next = m->due;
    return NULL;
  }
  watched[first] = watched[--watched_n];
  m->due = 0;
  return m;
}

static void *keeper(void *unused) {
  (void)unused;
  pthread_mutex_lock(&lock);
  for (;;) {
    int64_t next, now = ticks();
    struct mirror *m = take_due(now, &next);
    sleeps_until = next ? next : INT64_MAX;
    if (!m && !next) {
      pthread_cond_wait(&changed, &lock);
      continue;
    }
    if (!m) {
      struct timespec until = {.tv_sec = next / 1000, .tv_nsec = (long)(next % 1000) * 1000000};
      pthread_cond_timedwait(&changed, &lock, &until);
      continue;
    }
    pthread_mutex_unlock(&lock);
    pthread_mutex_lock(&busy);
    int64_t wait = REST_MS / 5; /* K1 */
    if (pthread_mutex_trylock(&m->lock) == 0) {
      wait = keep(m, now);
      pthread_mutex_unlock(&m->lock);
    }
    pthread_mutex_unlock(&busy);
    pthread_mutex_lock(&lock);
    if (wait > 0) set_due(m, ticks() + wait);
  }
  return NULL;
}

static void come_in(struct mirror *m, int64_t in_ms, bool behind) {
  pthread_once(&once, prepare);
  pthread_mutex_lock(&lock);
  int64_t now = ticks();
  if (behind && !m->behind_since) m->behind_since = now;
  set_due(m, now + in_ms);
  pthread_t thread;
  if (!runs && pthread_create(&thread, NULL, keeper, NULL) == 0) {
    pthread_detach(thread);
    runs = true;
  }
  if (now + in_ms < sleeps_until)
    pthread_cond_signal(&changed); /* a connection a request wakes it once a second */
  pthread_mutex_unlock(&lock);
}

void mirror_keeper_wake(struct mirror *m, int64_t in_ms) {
  come_in(m, in_ms, true);
}
void mirror_keeper_visit(struct mirror *m, int64_t in_ms) {
  come_in(m, in_ms, false);
}

/* On the committing thread. */
static void ring(void *context) { mirror_keeper_wake(context, REST_MS); }

void mirror_keeper_watch(struct mirror *m) {
  if (!engine_is_owner(mirror_engine(m))) return; /* taking over will wake it */
  engine_alarm(mirror_engine(m), ring, m);
  if (!mirror_is_current(m)) mirror_keeper_wake(m, REST_MS); /* a commit in between may not have rung */
}

void mirror_keeper_forget(struct mirror *m) {
  if (m->own) engine_alarm(mirror_engine(m), NULL, NULL);
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < watched_n; i++)
    if (watched[i] == m) watched[i--] = watched[--watched_n];
  m->due = m->behind_since = 0;
  pthread_mutex_unlock(&lock);
}
