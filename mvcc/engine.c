/* The engine: one a directory a process, counted, lingering after the last close; its views; its settings.
 *
 * Directories are told apart by device and inode, so that two spellings of a path are one engine. An engine whose
 * last reference went lingers in the registry for linger_ms (connect-per-request programs), flushed and quiet; the
 * reaper thread closes it, or the next engine_open takes it back. An engine whose directory was deleted under it
 * is never taken back: its path leads to another inode or none.
 *
 * E1  A view is made while nothing is between the moment from which on kv shows the batch and the move of `visible`: by
 *     the first reader who wants one, under view_lock, which the leader holds for that moment (a microsecond). Making them
 *     late, when the requests' own views are gone, lets kv change the nodes of its tree in memory in place.
 * E2  A snapshot never leaves its view; the last reference closes it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "mvcc/images.h"
#include "mvcc/internal.h"
#include "mvcc/process.h"

enum { CACHE_BYTES = 96 << 20, IMAGES_BYTES = 32 << 20, IMAGE_LASTED = 20000 };

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t registry_changed = PTHREAD_COND_INITIALIZER;
static engine *registry;
static bool reaper_runs;

/* ---- the end of the process ---- */

enum { EXIT_CALLS = 8 };
static void (*exit_calls[EXIT_CALLS])(void);
static int exit_calls_n;

static void at_exit(void) {
  while (exit_calls_n) exit_calls[--exit_calls_n]();
}

void engine_at_exit(void (*call)(void)) {
  pthread_mutex_lock(&registry_lock);
  if (exit_calls_n == 0) atexit(at_exit);
  if (exit_calls_n < EXIT_CALLS) exit_calls[exit_calls_n++] = call;
  pthread_mutex_unlock(&registry_lock);
}

/* A forked child has no threads but one, and RocksDB's static objects wait at exit for those that they had. So what was
 * registered before the fork, destructors above all, is not run in the child; what was registered since has run by now. */
static void end_of_child(int code, void *unused) {
  at_exit();
  fflush(NULL);
  _exit(code);
}

/* ---- fork: the child has none of the parent's threads and may not touch his stores ---- */

static void before_fork(void) {
  pthread_mutex_lock(&registry_lock);
  kv_before_fork();
}
static void after_fork_parent(void) {
  kv_after_fork(false);
  pthread_mutex_unlock(&registry_lock);
}
static void after_fork_child(void) {
  kv_after_fork(true);
  pthread_mutex_init(&registry_lock, NULL);
  pthread_cond_init(&registry_changed, NULL);
  reaper_runs = false;
  on_exit(end_of_child, NULL);
  process_forks++;
  owner_forget_forked();
  for (engine **p = &registry; *p;) {
    engine *e = *p;
    if (e->references && process_forked(e)) {
      p = &e->registry_next;
    } else { /* nobody in the child has it: the parent's, left where it is */
      *p = e->registry_next;
    }
  }
}
static void watch_forks(void) { pthread_atfork(before_fork, after_fork_parent, after_fork_child); }
static pthread_once_t forks_watched = PTHREAD_ONCE_INIT;

/* ---- clocks ---- */

int64_t engine_now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t engine_ticks_ms(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void engine_deadline(struct timespec *ts, int timeout_ms) {
  clock_gettime(CLOCK_MONOTONIC, ts);
  ts->tv_sec += timeout_ms / 1000;
  ts->tv_nsec += (long)(timeout_ms % 1000) * 1000000;
  if (ts->tv_nsec >= 1000000000) ts->tv_sec++, ts->tv_nsec -= 1000000000;
}

void cond_init_monotonic(pthread_cond_t *c) {
  pthread_condattr_t a;
  pthread_condattr_init(&a);
  pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
  pthread_cond_init(c, &a);
  pthread_condattr_destroy(&a);
}

/* ---- views ---- */

view *view_make(engine *e, kv *store, int64_t time, int64_t schema_time, kv_snapshot *snapshot) {
  view *v = malloc(sizeof *v);
  if (v && snapshot) {
    atomic_init(&v->references, 1);
    v->branch = BRANCH_MAIN, v->time = time, v->schema_time = schema_time, v->engine = e;
    v->generation = atomic_load(&e->generation), v->store = store, v->under = NULL;
    v->remote = e->processes && store == atomic_load(&e->processes->far);
    v->snapshot = snapshot;
    atomic_fetch_add_explicit(&e->views, 1, memory_order_relaxed);
    return v;
  }
  kv_snapshot_close(store, snapshot);
  free(v);
  return NULL;
}

void view_release(view *v) {
  if (!v || atomic_fetch_sub_explicit(&v->references, 1, memory_order_acq_rel) != 1) return;
  if (v->under) view_release(v->under);
  else kv_snapshot_close(v->store, v->snapshot);
  atomic_fetch_sub_explicit(&v->engine->views, 1, memory_order_relaxed);
  free(v);
}

status view_newest(engine *e, view **out) {
  if (is_remote(e)) {
    status rc = remote_view_newest(e, out);
    if (rc != HDB_BUSY_RECOVERY) return rc;
  }
  pthread_mutex_lock(&e->view_lock);
  if (!e->newest) e->newest = view_make(e, e->store, atomic_load(&e->visible), atomic_load(&e->schema_time), kv_snapshot_open(e->store));
  *out = e->newest ? view_hold(e->newest) : NULL;
  pthread_mutex_unlock(&e->view_lock);
  return *out ? HDB_OK : HDB_NOMEM;
}

status view_restore(engine *e, const view *old, view **out) {
  view *now;
  TRY(view_newest(e, &now));
  if (now->time == old->time) {
    *out = now;
    return HDB_OK;
  }
  if (now->time < old->time || old->time < engine_oldest(e)) { /* what was seen is lost, or cannot be told any more */
    view_release(now);
    return HDB_BUSY_SNAPSHOT;
  }
  view *v = malloc(sizeof *v);
  if (v) {
    *v = *now;
    atomic_init(&v->references, 1);
    v->time = old->time, v->schema_time = old->schema_time;
    v->under = now;
    atomic_fetch_add_explicit(&e->views, 1, memory_order_relaxed);
  } else {
    view_release(now);
  }
  *out = v;
  return v ? HDB_OK : HDB_NOMEM;
}

typedef struct publication {
  engine *e;
  int64_t time, schema_time;
} publication;

static void publish_begin(void *context) {
  engine *e = ((publication *)context)->e;
  pthread_mutex_lock(&e->view_lock);
  view_release(e->newest);
  e->newest = NULL;
}

static void publish_end(void *context, status rc) {
  const publication *p = context;
  engine *e = p->e;
  if (rc == HDB_OK) {
    atomic_store(&e->schema_time, p->schema_time);
    atomic_store(&e->visible, p->time);
    if (e->memory) atomic_store(&e->durable, p->time);
  }
  pthread_mutex_unlock(&e->view_lock);
}

status engine_publish(engine *e, kv_batch *batch, int64_t time, int64_t schema_time) {
  publication p = {e, time, schema_time};
  kv_moment moment = {publish_begin, publish_end, &p};
  TRY(kv_write_shown(e->store, batch, &moment));
  if (!e->memory) process_show(e);
  return HDB_OK;
}

/* ---- durability: one fsync for all that wait ---- */

enum { SYNC_TOLD = 2, SYNC_LEADS = 3 };

struct sync_waiter {
  int64_t time;
  wait_word word;
  struct sync_waiter *next;
};
typedef struct sync_waiter sync_waiter;

/* After a sync, with the lock: who was reached is told, and the first of the others syncs next. */
static void sync_done(engine *e, status rc, int64_t reaches) {
  sync_waiter *told = NULL, *next = NULL, *rest = NULL, **tail = &rest;
  for (sync_waiter *w = e->sync_first, *after; w; w = after) {
    after = w->next;
    w->next = NULL;
    if (rc != HDB_OK || w->time <= reaches) w->next = told, told = w;
    else if (!next) next = w;
    else *tail = w, tail = &w->next;
  }
  e->sync_first = rest;
  e->sync_tail = rest ? tail : &e->sync_first;
  e->syncing = next != NULL;
  pthread_mutex_unlock(&e->sync_lock);
  if (next) wait_word_set(&next->word, SYNC_LEADS);
  for (sync_waiter *w = told, *after; w; w = after) {
    after = w->next; /* it is its owner's again once it is set */
    wait_word_set(&w->word, SYNC_TOLD);
  }
}

static status sync_lead(engine *e) {
  int64_t reaches = atomic_load(&e->visible);
  status rc = kv_sync(e->store);
  pthread_mutex_lock(&e->sync_lock);
  if (rc != HDB_OK) atomic_store(&e->broken, rc);
  else if (atomic_load(&e->durable) < reaches) atomic_store(&e->durable, reaches);
  sync_done(e, rc, reaches);
  return rc;
}

status engine_sync_to(engine *e, int64_t time) {
  if (e->memory || is_remote(e) || atomic_load(&e->durable) >= time) return HDB_OK;
  leave_before_wait();
  pthread_mutex_lock(&e->sync_lock);
  status rc = (status)atomic_load(&e->broken);
  bool leads = rc == HDB_OK && atomic_load(&e->durable) < time && !e->syncing;
  if (rc != HDB_OK || (!leads && atomic_load(&e->durable) >= time)) {
    pthread_mutex_unlock(&e->sync_lock);
    return rc;
  }
  sync_waiter w = {.time = time};
  wait_word_init(&w.word);
  if (leads) {
    e->syncing = true;
  } else {
    *e->sync_tail = &w;
    e->sync_tail = &w.next;
  }
  pthread_mutex_unlock(&e->sync_lock);
  if (!leads) leads = wait_word_sleep(&w.word) == SYNC_LEADS;
  if (leads) return sync_lead(e);
  return atomic_load(&e->durable) >= time ? HDB_OK : (status)atomic_load(&e->broken);
}

/* ---- opening ---- */

static void engine_free(engine *e) {
  if (!e) return;
  watch_release(e);
  retain_stop(e);
  process_close(e);
  pack_stop(e);
  view_release(e->newest);
  e->newest = NULL;
  fold_free(e->fold);
  cache_free(e->cache);
  images_free(e->images);
  packing_free(e->packing);
  recent_free(&e->recent);
  if (e->store) {
    if (!is_remote(e)) erase_finish(e);
    kv_close(e->store);
  }
  process_closed(e);
  trees_free(e);
  branches_free(e);
  pthread_mutex_destroy(&e->branches_lock);
  pthread_mutex_destroy(&e->rest_lock);
  pthread_mutex_destroy(&e->view_lock);
  pthread_mutex_destroy(&e->queue_lock);
  pthread_mutex_destroy(&e->sync_lock);
  pthread_mutex_destroy(&e->trees_lock);
  pthread_mutex_destroy(&e->txns_lock);
  pthread_mutex_destroy(&e->collect_lock);
  pthread_cond_destroy(&e->collected);
  pthread_cond_destroy(&e->idle);
  pthread_cond_destroy(&e->settled);
  process_free(e);
  free(e->path);
  free(e);
}

static engine *engine_new(const engine_options *options) {
  engine *e = calloc(1, sizeof *e);
  if (!e) return NULL;
  e->references = 1;
  e->pid = getpid();
  e->read_only = options->read_only;
  e->linger_ms = options->linger_ms;
  pthread_mutex_init(&e->view_lock, NULL);
  pthread_mutex_init(&e->branches_lock, NULL);
  pthread_mutex_init(&e->rest_lock, NULL);
  pthread_mutex_init(&e->queue_lock, NULL);
  pthread_mutex_init(&e->sync_lock, NULL);
  pthread_mutex_init(&e->trees_lock, NULL);
  pthread_mutex_init(&e->txns_lock, NULL);
  pthread_mutex_init(&e->collect_lock, NULL);
  cond_init_monotonic(&e->collected);
  cond_init_monotonic(&e->idle);
  cond_init_monotonic(&e->settled);
  e->sync_tail = &e->sync_first;
  e->waiting_tail = &e->waiting;
  e->line_tail = &e->line;
  process_init(e);
  return e;
}

/* The newest commit's time: the last key of the feed, or what `newest` in meta says. */
static status load_newest(engine *e) {
  kv_iter *it;
  int64_t time = 0;
  uint8_t last[9];
  memset(last, 0xff, sizeof last);
  TRY(kv_iter_open(e->store, NULL, KV_COMMITS, slice_of(NULL, 0), slice_of(NULL, 0), &it));
  it->seek_for_prev(it, slice_of(last, sizeof last));
  status rc = it->error;
  if (rc == HDB_OK && it->valid) {
    if (it->key.n < 8) rc = HDB_CORRUPT;
    else time = (int64_t)get_be64(it->key.p);
  }
  it->close(it);
  TRY(rc);
  atomic_store(&e->visible, time);
  atomic_store(&e->durable, time);
  atomic_store(&e->schema_time, time);
  e->last_time = e->opened_time = time;
  recent_init(&e->recent, time);
  return HDB_OK;
}

static status setting_put_here(engine *e, const char *name, slice value, bool sync);

static status load_retention(engine *e, double asked) {
  buf stored = BUF_INIT;
  double kept = e->memory ? 0 : 7 * 86400.0;
  status rc = e->memory ? HDB_NOTFOUND : engine_setting_get(e, "retention", &stored);
  if (rc == HDB_OK && buf_cstr(&stored)) kept = strtod(buf_cstr(&stored), NULL);
  bool known = rc == HDB_OK;
  if (rc == HDB_NOTFOUND) rc = HDB_OK;
  buf_free(&stored);
  TRY(rc);
  e->retention = asked >= 0 ? asked : kept;
  e->history = e->retention > 0 || e->branches;
  e->feed = e->history || !e->memory;
  if (e->memory || e->read_only || (known && e->retention == kept)) return HDB_OK;
  char text[64];
  snprintf(text, sizeof text, "%.17g", e->retention);
  return setting_put_here(e, "retention", slice_str(text), true);
}

/* From when on history is whole: kept in meta under `history_floor`, INT64_MAX while none is written. */
static status load_history_floor(engine *e) {
  kv_value value;
  slice name = slice_str("history_floor");
  uint64_t stored = 0, newest = (uint64_t)e->last_time;
  status rc = kv_get(e->store, NULL, KV_META, name, &value);
  bool known = rc == HDB_OK;
  if (known) {
    if (!varint_get(value.data.p, value.data.p + value.data.n, &stored)) rc = HDB_CORRUPT;
    kv_release(&value);
  } else if (rc == HDB_NOTFOUND) {
    rc = HDB_OK;
    stored = newest;
  }
  TRY(rc);
  uint64_t floor = !e->history ? INT64_MAX : stored == INT64_MAX ? newest : stored;
  atomic_store(&e->history_floor, (int64_t)floor);
  if (e->memory || e->read_only || (known && floor == stored)) return HDB_OK;
  buf text = BUF_INIT;
  buf_varint(&text, floor);
  kv_batch *batch = kv_batch_new(e->store);
  rc = batch && !buf_failed(&text) ? HDB_OK : HDB_NOMEM;
  if (rc == HDB_OK) {
    kv_batch_put(batch, KV_META, name, buf_slice(&text));
    rc = kv_write(e->store, batch, false);
  }
  kv_batch_free(batch);
  buf_free(&text);
  return rc;
}

static status load_feed_floor(engine *e) {
  kv_value value;
  uint64_t floor = 0;
  status rc = kv_get(e->store, NULL, KV_META, slice_str("feed_floor"), &value);
  if (rc == HDB_NOTFOUND) return HDB_OK;
  TRY(rc);
  bool damaged = !varint_get(value.data.p, value.data.p + value.data.n, &floor);
  kv_release(&value);
  atomic_store(&e->feed_floor, (int64_t)floor);
  return damaged ? HDB_CORRUPT : HDB_OK;
}

status engine_load(engine *e, double retention) {
  TRY(load_newest(e));
  TRY(branches_load(e));
  TRY(load_retention(e, retention));
  TRY(bulk_remove_unpublished(e));
  TRY(load_history_floor(e));
  return load_feed_floor(e);
}

static status engine_start(engine *e, const char *path, const engine_options *options, error *err) {
  kv_options o = {.create = options->create, .read_only = options->read_only, .key = options->key};
  kv *store = NULL;
  e->memory = path == NULL;
  TRY(e->processes ? process_open(e, path, options, &o, &store, err) : kv_open(path, &o, &store, err));
  e->store = store;
  status rc = HDB_OK;
  CHECK(packing_new(&e->packing));
  rc = is_remote(e) ? HDB_OK : format_check(e, err);
  if (rc != HDB_OK) return rc;
  if (!is_remote(e)) CHECK(engine_load(e, options->retention));
  if (!e->memory) CHECK(cache_new(CACHE_BYTES, &e->cache));
  CHECK(images_new(IMAGES_BYTES, &e->images));
  e->image_lasted = IMAGE_LASTED;
  if (!is_remote(e)) CHECK(fold_new(e, &e->fold));
  else if (options->retention >= 0 && options->retention != engine_retention(e)) CHECK(engine_set_retention(e, options->retention, 5000));
  if (!options->settles) engine_ready(e);
out:
  return rc == HDB_OK ? rc : error_set(err, rc, "%s", status_text(rc));
}

static engine **registry_find(dev_t device, ino_t inode) {
  engine **p = &registry;
  while (*p && ((*p)->device != device || (*p)->inode != inode)) p = &(*p)->registry_next;
  return p;
}

/* Out of the registry, to be freed by the caller without its lock: what clients still ask takes the lock too. Whoever
 * opens the directory meanwhile waits for its owner lock. */
static void registry_take(engine **p, engine **taken) {
  engine *e = *p;
  *p = e->registry_next;
  e->leaving = true;
  e->registry_next = *taken, *taken = e;
}

static void free_taken(engine *taken) {
  while (taken) {
    engine *e = taken;
    taken = e->registry_next;
    engine_free(e);
  }
}

/* Lingering engines whose directory is no longer where it was: their path may be wanted for a new one. */
static engine *take_displaced(void) {
  struct stat st;
  engine *taken = NULL;
  for (engine **p = &registry; *p;) {
    engine *e = *p;
    bool there = stat(e->path, &st) == 0 && st.st_dev == e->device && st.st_ino == e->inode;
    if (e->references || there) p = &e->registry_next;
    else registry_take(p, &taken);
  }
  return taken;
}

status engine_open(const char *path, const engine_options *options, engine **out, error *err) {
  static const engine_options plain = {.create = true, .retention = -1};
  struct stat st;
  status rc = HDB_OK;
  pthread_once(&forks_watched, watch_forks);
  if (!options) options = &plain;
  *out = NULL;
  if (path) {
    pthread_mutex_lock(&registry_lock);
    for (engine *taken; (taken = take_displaced());) {
      pthread_mutex_unlock(&registry_lock);
      free_taken(taken);
      pthread_mutex_lock(&registry_lock);
    }
    if (stat(path, &st) == 0) {
      engine *e = *registry_find(st.st_dev, st.st_ino);
      if (e && e->read_only && !options->read_only) {
        pthread_mutex_unlock(&registry_lock);
        return error_set(err, HDB_READONLY, "the database is open read-only in this process");
      }
      if (e) {
        if (e->references++ == 0) engine_wake(e);
        if (options->linger_ms > e->linger_ms) e->linger_ms = options->linger_ms;
        pthread_mutex_unlock(&registry_lock);
        *out = e;
        return HDB_OK;
      }
    }
  }
  engine *e = engine_new(options);
  rc = e && path && !options->read_only ? process_new(e, path, options->key) : e ? HDB_OK : HDB_NOMEM;
  if (rc == HDB_OK) rc = engine_start(e, path, options, err);
  if (rc == HDB_OK && path) {
    if (stat(path, &st) == 0) {
      e->device = st.st_dev, e->inode = st.st_ino;
      e->path = realpath(path, NULL);
      if (!e->path) e->path = strdup(path);
      e->registry_next = registry, registry = e;
      process_serve(e); /* alone, when it cannot */
    } else {
      rc = error_set(err, HDB_CANTOPEN, "unable to open database file");
    }
  }
  if (path) pthread_mutex_unlock(&registry_lock);
  if (rc != HDB_OK) {
    engine_free(e);
    return rc;
  }
  *out = e;
  return HDB_OK;
}

/* ---- closing ---- */

static engine **registry_place(engine *e) {
  engine **p = &registry;
  while (*p && *p != e) p = &(*p)->registry_next;
  return p;
}

/* Closes what has lingered long enough; sleeps until the next is due; ends when nothing lingers then. A close that is due
 * later than what it waits for does not wake it: a connection a request costs no thread and no wake-up. */
static int64_t reaper_sleeps_until;
static void *reaper(void *unused) {
  pthread_mutex_lock(&registry_lock);
  for (;;) {
    int64_t now = engine_ticks_ms(), next = INT64_MAX;
    engine *due = NULL;
    for (engine *e = registry; e && !due; e = e->registry_next) {
      if (e->references) continue;
      if (e->linger_until_ms <= now) due = e;
      else if (e->linger_until_ms < next) next = e->linger_until_ms;
    }
    if (due) {
      engine *taken = NULL;
      registry_take(registry_place(due), &taken);
      pthread_mutex_unlock(&registry_lock);
      free_taken(taken);
      pthread_mutex_lock(&registry_lock);
      continue;
    }
    if (next == INT64_MAX) break;
    struct timespec ts;
    reaper_sleeps_until = next;
    clock_gettime(CLOCK_REALTIME, &ts);
    int64_t wait_ms = next - now + 1;
    ts.tv_sec += wait_ms / 1000, ts.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (ts.tv_nsec >= 1000000000) ts.tv_sec++, ts.tv_nsec -= 1000000000;
    pthread_cond_timedwait(&registry_changed, &registry_lock, &ts);
  }
  reaper_runs = false;
  pthread_mutex_unlock(&registry_lock);
  return NULL;
}

static bool start_reaper(int64_t due_ms) {
  pthread_t thread;
  if (reaper_runs) {
    if (due_ms < reaper_sleeps_until) pthread_cond_signal(&registry_changed);
    return true;
  }
  reaper_sleeps_until = due_ms;
  if (pthread_create(&thread, NULL, reaper, NULL) != 0) return false;
  pthread_detach(thread);
  return reaper_runs = true;
}

engine *engine_hold(engine *e) {
  pthread_mutex_lock(&registry_lock);
  e->references++;
  pthread_mutex_unlock(&registry_lock);
  return e;
}

engine *engine_in_use(const char *path) {
  struct stat st;
  pthread_mutex_lock(&registry_lock);
  engine *e = stat(path, &st) == 0 ? *registry_find(st.st_dev, st.st_ino) : NULL;
  if (e && e->references) e->references++;
  else e = NULL;
  pthread_mutex_unlock(&registry_lock);
  return e;
}

/* Quiet, while it lingers and serves nobody; a failure shows at the close. */
static void engine_rest(engine *e) {
  if (is_remote(e)) return;
  pthread_mutex_lock(&e->rest_lock);
  if (process_is_used(e)) {
    kv_sync(e->store);
  } else {
    erase_finish(e);
    pack_rest(e, true);
    e->resting = !retain_is_running(e); /* else it writes much, perhaps */
    if (e->resting) kv_settle(e->store);
    else kv_sync(e->store);
  }
  pthread_mutex_unlock(&e->rest_lock);
}

void engine_wake(engine *e) {
  pthread_mutex_lock(&e->rest_lock);
  if (e->resting) kv_wake(e->store);
  e->resting = false;
  pack_rest(e, false);
  pthread_mutex_unlock(&e->rest_lock);
}

void engine_close(engine *e) {
  if (!e) return;
  leave_before_wait();
  if (!e->path) {
    engine_free(e);
    return;
  }
  if (e->pid != getpid()) return; /* the parent's: left alone */
  engine *taken = NULL;
  pthread_mutex_lock(&registry_lock);
  if (--e->references == 0 && !e->leaving) {
    e->linger_until_ms = engine_ticks_ms() + e->linger_ms;
    if (e->linger_ms <= 0 || atomic_load(&e->broken) || !start_reaper(e->linger_until_ms)) {
      registry_take(registry_place(e), &taken);
    } else {
      engine_rest(e);
    }
  }
  pthread_mutex_unlock(&registry_lock);
  free_taken(taken);
}

void engine_close_lingering(void) {
  engine *taken = NULL;
  pthread_mutex_lock(&registry_lock);
  for (engine **p = &registry; *p;) {
    if ((*p)->references) p = &(*p)->registry_next;
    else registry_take(p, &taken);
  }
  pthread_cond_signal(&registry_changed);
  pthread_mutex_unlock(&registry_lock);
  free_taken(taken);
}

/* ---- small things ---- */

status engine_checkpoint(engine *e) {
  if (is_remote(e)) {
    status rc = remote_ask(e, ASK_CHECKPOINT, NULL, NULL);
    if (rc != HDB_BUSY_RECOVERY) return rc;
  }
  int64_t time = atomic_load(&e->visible);
  TRY(kv_flush(e->store));
  return engine_sync_to(e, time);
}

int64_t engine_newest(engine *e) { return is_remote(e) ? atomic_load(&process_page(e)->visible) : atomic_load(&e->visible); }
int64_t engine_oldest(engine *e) {
  return is_remote(e) ? atomic_load(&process_page(e)->history_floor) : atomic_load(&e->history_floor);
}
int64_t engine_durable(engine *e) { return is_remote(e) ? atomic_load(&process_page(e)->durable) : atomic_load(&e->durable); }
status engine_make_durable(engine *e, int64_t time) {
  return is_remote(e) ? engine_checkpoint(e) : engine_sync_to(e, time);
}
bool engine_is_memory(const engine *e) { return e->memory; }

void setting_key(buf *key, const char *name) {
  buf_text(key, "setting/");
  buf_text(key, name);
}

status engine_setting_get(engine *e, const char *name, buf *out) {
  buf key = BUF_INIT;
  kv_value value;
  setting_key(&key, name);
  status rc = buf_failed(&key) ? HDB_NOMEM : process_get(e, KV_META, buf_slice(&key), &value);
  buf_free(&key);
  TRY(rc);
  buf_append(out, value.data.p, value.data.n);
  kv_release(&value);
  return buf_failed(out) ? HDB_NOMEM : HDB_OK;
}

static status setting_put_here(engine *e, const char *name, slice value, bool sync) {
  buf key = BUF_INIT;
  kv_batch *batch = kv_batch_new(e->store);
  setting_key(&key, name);
  status rc = batch && !buf_failed(&key) ? HDB_OK : HDB_NOMEM;
  if (rc == HDB_OK) {
    kv_batch_put(batch, KV_META, buf_slice(&key), value);
    rc = sync ? kv_write(e->store, batch, !e->memory) : kv_note(e->store, batch);
  }
  kv_batch_free(batch);
  buf_free(&key);
  return rc;
}

static status setting_put(engine *e, const char *name, slice value, bool sync) {
  if (e->read_only) return HDB_READONLY;
  status rc = is_remote(e) ? remote_setting_put(e, name, value) : HDB_BUSY_RECOVERY;
  return rc == HDB_BUSY_RECOVERY ? setting_put_here(e, name, value, sync) : rc;
}

status engine_setting_put(engine *e, const char *name, slice value) { return setting_put(e, name, value, true); }
status engine_setting_note(engine *e, const char *name, slice value) { return setting_put(e, name, value, false); }

void engine_alarm(engine *e, void (*ring)(void *), void *context) {
  atomic_store(&e->alarm_set, false);
  e->alarm = ring, e->alarm_context = context;
  atomic_store(&e->alarm_set, ring != NULL);
}

void alarm_ring(engine *e) {
  if (atomic_load_explicit(&e->alarm_set, memory_order_relaxed) && atomic_exchange(&e->alarm_set, false)) e->alarm(e->alarm_context);
}

int engine_references(engine *e) {
  pthread_mutex_lock(&registry_lock);
  int n = e->references;
  pthread_mutex_unlock(&registry_lock);
  return n;
}
