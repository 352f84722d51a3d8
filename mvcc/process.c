/* Several processes on one directory: who owns it, what is shown to clients, taking over, forks (process.h has the rules). */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kv/base/crypt.h"
#include "mvcc/images.h"
#include "mvcc/process.h"

enum {
  PAGE_MAGIC = 0x48444250,
  PAGE_VERSION = 1,
  PATIENCE_MS = 5000,
  TOUCHED_MAX = 1 << 16,
  PAGE_BYTES = 4096
};
enum { PAUSE_FIRST_US = 500, PAUSE_MAX_US = 10000 };

unsigned process_forks;
unsigned engine_forks(void) {
  return process_forks;
}

/* ---- life ---- */

static processes *make(const char *path) {
  processes *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->path = realpath(path, NULL);
  if (!p->path) p->path = strdup(path);
  if (!p->path || getrandom(&p->client, sizeof p->client, 0) != sizeof p->client) {
    free(p->path);
    free(p);
    return NULL;
  }
  p->client |= 1; /* 0 is nobody's */
  p->page_fd = -1;
  p->synced = -1;
  atomic_init(&p->patience_ms, PATIENCE_MS);
  pthread_mutex_init(&p->recovery, NULL);
  pthread_mutex_init(&p->refresh, NULL);
  pthread_mutex_init(&p->sessions_lock, NULL);
  pthread_mutex_init(&p->touched_lock, NULL);
  cond_init_monotonic(&p->is_ready);
  return p;
}

status process_new(engine *e, const char *path, struct crypt_key *key) {
  e->processes = make(path);
  if (!e->processes) return HDB_NOMEM;
  e->processes->key = key ? crypt_key_hold(key) : NULL;
  serve_calls_init(&e->processes->calls, e);
  atomic_store(&e->generation, 1); /* 0 is no turn's */
  return HDB_OK;
}

void process_init(engine *e) {
  pthread_mutex_init(&e->duty_lock, NULL);
  pthread_cond_init(&e->duty_done, NULL);
}

void process_free(engine *e) {
  pthread_mutex_destroy(&e->duty_lock);
  pthread_cond_destroy(&e->duty_done);
  processes *p = e->processes;
  if (!p) return;
  for (size_t i = 0; i < p->former_n; i++) {
    if (p->stores[i]) kv_close(p->stores[i]);
    if (p->pages[i]) munmap(p->pages[i], PAGE_BYTES);
  }
  if (p->theirs) munmap(p->theirs, PAGE_BYTES);
  pthread_mutex_destroy(&p->recovery);
  pthread_mutex_destroy(&p->refresh);
  pthread_mutex_destroy(&p->sessions_lock);
  pthread_mutex_destroy(&p->touched_lock);
  pthread_cond_destroy(&p->is_ready);
  buf_free(&p->touched_bytes);
  free(p->touched);
  free(p->pages);
  free(p->stores);
  if (p->key) crypt_key_release(p->key);
  free(p->path);
  free(p);
}

void process_patience(engine *e, int timeout_ms) {
  if (timeout_ms <= 0) return; /* no wait for others' transactions; but an answer takes its time */
  if (timeout_ms < 100) timeout_ms = 100;
  if (atomic_exchange(&e->processes->patience_ms, timeout_ms) != timeout_ms)
    remote_patience(e->processes->far, timeout_ms);
}

/* ---- what the owner shows ---- */

static int64_t bits_of(double d) {
  int64_t bits;
  memcpy(&bits, &d, sizeof bits);
  return bits;
}

void process_show(engine *e) {
  engine_page *page = e->processes ? e->processes->page : NULL;
  if (!page) return;
  atomic_store_explicit(&page->history_floor, atomic_load(&e->history_floor), memory_order_relaxed);
  atomic_store_explicit(&page->feed_floor, atomic_load(&e->feed_floor), memory_order_relaxed);
  atomic_store_explicit(&page->history, e->history, memory_order_relaxed);
  atomic_store_explicit(&page->feed, e->feed, memory_order_relaxed);
  atomic_store_explicit(&page->retention, bits_of(e->retention), memory_order_relaxed);
  atomic_store_explicit(&page->branches, atomic_load(&e->processes->branches), memory_order_relaxed);
  atomic_store_explicit(&page->durable, atomic_load(&e->durable), memory_order_relaxed);
  atomic_store_explicit(&page->visible, atomic_load(&e->visible), memory_order_release);
}

void process_branches_moved(engine *e) {
  if (!e->processes || is_remote(e)) return;
  atomic_fetch_add(&e->processes->branches, 1);
  process_show(e);
}

void process_touched(engine *e, uint32_t tree, slice lower, int64_t time, bool whole) {
  processes *p = e->processes;
  if (!p || !atomic_load_explicit(&p->noting, memory_order_relaxed)) return;
  pthread_mutex_lock(&p->touched_lock);
  if (!p->touched) p->touched = malloc(TOUCHED_MAX * sizeof *p->touched);
  if (p->touched && p->touched_n == TOUCHED_MAX) { /* the older half is forgotten */
    size_t half = TOUCHED_MAX / 2, from = p->touched[half].at;
    for (size_t i = 0; i < half; i++) {
      if (p->touched[i].time > p->touched_floor) p->touched_floor = p->touched[i].time;
      p->touched[i] = p->touched[half + i];
      p->touched[i].at -= from;
    }
    memmove(p->touched_bytes.p, p->touched_bytes.p + from, p->touched_bytes.n - from);
    p->touched_bytes.n -= from;
    p->touched_n = half;
  }
  size_t at = p->touched_bytes.n;
  if (p->touched) buf_append(&p->touched_bytes, lower.p, lower.n);
  if (!p->touched || buf_failed(&p->touched_bytes)) {
    p->touched_n = 0, p->touched_floor = time;
    buf_free(&p->touched_bytes);
  } else {
    p->touched[p->touched_n++] = (touched_group){time, tree, (uint32_t)lower.n, at, whole};
  }
  pthread_mutex_unlock(&p->touched_lock);
}

/* ---- owning ---- */

void process_serve(engine *e) {
  processes *p = e->processes;
  if (!p || !p->lock || p->server) return;
  p->page_fd = memfd_create("heliosdb", MFD_CLOEXEC);
  void *page = MAP_FAILED;
  if (p->page_fd >= 0 && ftruncate(p->page_fd, PAGE_BYTES) == 0)
    page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, p->page_fd, 0);
  if (page == MAP_FAILED) return;
  p->page = page;
  p->page->magic = PAGE_MAGIC, p->page->version = PAGE_VERSION;
  process_show(e);
  if (serve_start(p->lock, e->store, p->key, p->page_fd, &p->calls, &p->server) != HDB_OK) p->server = NULL;
}

void process_close(engine *e) {
  processes *p = e->processes;
  if (!p) return;
  pthread_mutex_lock(&p->sessions_lock);
  p->closing = true;
  pthread_cond_broadcast(&p->is_ready);
  pthread_mutex_unlock(&p->sessions_lock);
  serve_stop(p->server);
}

void process_closed(engine *e) {
  processes *p = e->processes;
  if (!p) return;
  owner_unlock(p->lock);
  p->lock = NULL;
  serve_free(p->server);
  p->server = NULL;
  if (p->page) munmap(p->page, PAGE_BYTES);
  p->page = NULL;
  if (p->page_fd >= 0) close(p->page_fd);
  p->page_fd = -1;
}

void engine_ready(engine *e) {
  processes *p = e->processes;
  if (!p) return;
  pthread_mutex_lock(&p->sessions_lock);
  p->ready = true;
  pthread_cond_broadcast(&p->is_ready);
  pthread_mutex_unlock(&p->sessions_lock);
}

bool engine_is_owner(const engine *e) {
  return !is_remote(e);
}

size_t engine_clients(engine *e) {
  return e->processes ? serve_clients(e->processes->server) : 0;
}

/* ---- a client's side of the page ---- */

static engine_page *map_page(int fd) {
  struct stat st;
  if (fd < 0) return NULL;
  void *page = fstat(fd, &st) == 0 && st.st_size >= PAGE_BYTES
                   ? mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0)
                   : MAP_FAILED;
  close(fd);
  if (page == MAP_FAILED) return NULL;
  engine_page *p = page;
  if (p->magic == PAGE_MAGIC && p->version == PAGE_VERSION) return p;
  munmap(page, PAGE_BYTES);
  return NULL;
}

double process_page_retention(const engine *e) {
  int64_t bits = atomic_load(&process_page(e)->retention);
  double d;
  memcpy(&d, &bits, sizeof d);
  return d;
}

status process_look(engine *e) {
  processes *p = e->processes;
  engine_page *page = process_page(e);
  if (!page || !is_remote(e)) return HDB_OK;
  atomic_store(&e->history_floor, atomic_load(&page->history_floor));
  atomic_store(&e->feed_floor, atomic_load(&page->feed_floor));
  atomic_store(&e->history, atomic_load(&page->history) != 0);
  atomic_store(&e->feed, atomic_load(&page->feed) != 0);
  e->retention = process_page_retention(e);
  uint32_t branches = atomic_load(&page->branches);
  if (branches == p->branches_seen) return HDB_OK;
  TRY(branches_sync(e));
  p->branches_seen = branches;
  return HDB_OK;
}

void process_settle(engine *e) {
  pthread_mutex_lock(&e->processes->refresh);
  pthread_mutex_unlock(&e->processes->refresh);
}

status process_get(engine *e, enum kv_family family, slice key, kv_value *out) {
  for (;;) {
    uint32_t generation = atomic_load(&e->generation);
    status rc = kv_get(e->store, NULL, family, key, out);
    if (rc != HDB_BUSY_RECOVERY) return rc;
    TRY(process_recover(e, generation));
  }
}

/* ---- opening ---- */

static void pause_for(int pid, int64_t *us) {
  owner_wait(pid, *us);
  if (*us < PAUSE_MAX_US) *us *= 2;
}

static status say_who(const owner_who *who) {
  if (who->pid) status_explain("process %d (%s), which has it open, does not answer", who->pid, who->program);
  return HDB_BUSY;
}

/* The lock, or a connection to who has it; neither when the directory takes no lock file. */
static status find_owner(processes *p, owner **lock, kv **store, engine_page **page) {
  owner_who who;
  int64_t until = engine_ticks_ms() + atomic_load(&p->patience_ms), us = PAUSE_FIRST_US;
  *lock = NULL, *store = NULL, *page = NULL;
  for (;;) {
    status rc = owner_lock(p->path, lock, &who);
    if (rc != HDB_BUSY) return rc;
    int64_t left = until - engine_ticks_ms();
    if (left < 1) return who.ours ? HDB_BUSY : say_who(&who);
    if (who.ours) { /* an engine of ours that is closing */
      pause_for(who.pid, &us);
      continue;
    }
    remote_greeting greeting = {.page = -1};
    rc = remote_open(p->path, p->client, p->key, (int)left, &greeting, store);
    buf_free(&greeting.bytes);
    if (rc == HDB_OK && !(*page = map_page(greeting.page))) {
      kv_close(*store);
      *store = NULL;
      return HDB_CANTOPEN;
    }
    if (rc == HDB_OK) remote_patience(*store, atomic_load(&p->patience_ms));
    if (rc == HDB_BUSY) return say_who(&who);
    if (rc != HDB_CANTOPEN && rc != HDB_BUSY_RECOVERY) return rc;
    pause_for(who.pid, &us); /* it is opening, or going */
  }
}

/* Neither locks nor memory are shared over a network as they are on one machine. */
static status refuse_network(const char *path, error *err) {
  const char *kind = owner_network(path);
  if (!kind) return HDB_OK;
  return error_set(
      err, HDB_CANTOPEN,
      "unable to open database file: %s is on a network file system (%s), where locks cannot be relied on; "
      "the URI parameter heliosdb_network=1 opens it all the same",
      path, kind);
}

status process_open(engine *e, const char *path, const engine_options *asked, const kv_options *options,
                    kv **store, error *err) {
  processes *p = e->processes;
  engine_page *page;
  mode_t mode = asked->mode ? asked->mode : 0755;
  bool made = options->create && mkdir(path, mode) == 0; /* what is wrong with it kv_open says */
  if (made) chmod(path, mode);
  status rc = asked->network ? HDB_OK : refuse_network(path, err);
  if (rc != HDB_OK && made) rmdir(path);
  TRY(rc);
  char *real = realpath(path, NULL);
  if (real) {
    free(p->path);
    p->path = real;
  }
  rc = find_owner(p, &p->lock, store, &page);
  if (rc == HDB_BUSY) return error_set(err, rc, "%s", status_text(rc));
  if (rc == HDB_CANTOPEN_FULLPATH)
    return error_set(err, HDB_CANTOPEN, "%s", status_text(HDB_CANTOPEN)); /* not ours to use */
  if (*store) {
    p->theirs = page;
    p->far = *store;
    atomic_store(&e->remote, true);
    atomic_store(&e->visible, atomic_load(&page->visible));
    return process_look(e);
  }
  return kv_open(path, options, store, err);
}

/* ---- taking over ---- */

static bool keep_former(processes *p, kv *store, engine_page *page) {
  kv **stores = realloc(p->stores, (p->former_n + 1) * sizeof *stores);
  if (stores) p->stores = stores;
  engine_page **pages = stores ? realloc(p->pages, (p->former_n + 1) * sizeof *pages) : NULL;
  if (!pages) return false;
  p->pages = pages;
  p->stores[p->former_n] = store, p->pages[p->former_n++] = page;
  return true;
}

static void forget_views(engine *e) {
  pthread_mutex_lock(&e->view_lock);
  view *old = e->newest;
  e->newest = NULL;
  pthread_mutex_unlock(&e->view_lock);
  view_release(old);
  cache_drop(e->cache, atomic_load(&e->visible));
}

static status become_owner(engine *e, owner *lock) {
  processes *p = e->processes;
  kv_options o = {.create = false, .key = p->key};
  kv *store = NULL, *former = e->store;
  status rc = kv_open(p->path, &o, &store, NULL);
  if (rc == HDB_OK && !keep_former(p, former, p->theirs)) rc = HDB_NOMEM;
  if (rc != HDB_OK) {
    kv_close(store);
    owner_unlock(lock);
    return rc;
  }
  p->lock = lock;
  e->store = store;
  CHECK(format_check(e, NULL));
  CHECK(engine_load(e, -1));
  CHECK(branches_sync(e));
  CHECK(trees_load(e));
  fold_free(e->fold);
  e->fold = NULL;
  CHECK(fold_new(e, &e->fold));
  p->theirs = NULL;
  p->ready = true;
  forget_views(e);
  atomic_fetch_add(&e->generation, 1);
  atomic_store_explicit(&e->remote, false, memory_order_release);
  process_serve(e);
out:
  if (rc != HDB_OK) { /* as if the former owner had not gone yet: the next one who asks tries again */
    p->former_n--;
    e->store = former;
    fold_free(e->fold);
    e->fold = NULL;
    kv_close(store);
    owner_unlock(lock);
    p->lock = NULL;
    return rc;
  }
  pthread_mutex_lock(&e->duty_lock);
  engine_duty d = e->duty;
  pthread_mutex_unlock(&e->duty_lock);
  if (d.taken_over) d.taken_over(d.context);
  return HDB_OK;
}

static status adopt(engine *e, kv *store, engine_page *page) {
  processes *p = e->processes;
  if (!keep_former(p, e->store, p->theirs)) {
    kv_close(store);
    munmap(page, PAGE_BYTES);
    return HDB_NOMEM;
  }
  p->far = store;
  e->store = store;
  p->theirs = page;
  p->branches_seen = UINT32_MAX;
  forget_views(e);
  atomic_fetch_add(&e->generation, 1);
  return HDB_OK;
}

/* The directory may have been removed, or another put in its place. */
static bool still_there(const engine *e) {
  struct stat st;
  return stat(e->processes->path, &st) == 0 &&
         (!e->inode || (st.st_dev == e->device && st.st_ino == e->inode));
}

status process_recover(engine *e, uint32_t generation) {
  processes *p = e->processes;
  owner *lock;
  kv *store;
  engine_page *page;
  leave_before_wait();
  pthread_mutex_lock(&p->recovery);
  status rc = HDB_OK;
  if (atomic_load(&e->generation) == generation && remote_was_stale(p->far)) { /* S5 of serve.c */
    forget_views(e);
    atomic_fetch_add(&e->generation, 1);
  } else if (atomic_load(&e->generation) == generation) {
    rc = still_there(e) ? find_owner(p, &lock, &store, &page) : HDB_READONLY_DBMOVED;
    if (rc == HDB_OK) rc = lock ? become_owner(e, lock) : adopt(e, store, page);
  }
  pthread_mutex_unlock(&p->recovery);
  return rc;
}

/* ---- forks ---- */

static void locks_anew(engine *e) {
  pthread_mutex_init(&e->view_lock, NULL);
  pthread_mutex_init(&e->rest_lock, NULL);
  e->resting = false;
  pthread_mutex_init(&e->queue_lock, NULL);
  pthread_mutex_init(&e->sync_lock, NULL);
  pthread_mutex_init(&e->trees_lock, NULL);
  pthread_mutex_init(&e->branches_lock, NULL);
  pthread_mutex_init(&e->txns_lock, NULL);
  pthread_mutex_init(&e->collect_lock, NULL);
  pthread_mutex_init(&e->duty_lock, NULL);
  pthread_cond_init(&e->duty_done, NULL);
  cond_init_monotonic(&e->collected);
  cond_init_monotonic(&e->idle);
  cond_init_monotonic(&e->settled);
  e->sync_first = NULL, e->sync_tail = &e->sync_first;
  for (int b = 0; b < TREE_BUCKETS; b++)
    for (tree_info *i = e->trees[b]; i; i = i->chain) {
      pthread_mutex_init(&i->lock, NULL);
      i->claims_n = 0;
    }
  e->waiting = NULL, e->waiting_tail = &e->waiting;
  e->line = NULL, e->line_tail = &e->line;
  e->leading = e->syncing = e->collecting = false;
  e->turn = NULL;
  e->duty_calls = 0;
  atomic_store(&e->open_count, 0);
}

/* A transaction as it was at its last end, with a view that is over. A thread that is not here may have been writing in it when
 * the process forked: what it holds is left where it is, and not looked at. */
static void forget_transaction(engine *e, txn *t, kv *dead) {
  cache_add_reader(e->cache, &t->reader);
  scan_forget_store(t, dead);
  if (t->view) t->view->store = dead, t->view->snapshot = NULL, t->view->under = NULL;
  t->has_turn = t->known = t->claims = t->guest = false;
  t->turn_generation = 0;
  if (!t->open) return;
  writeset_init(&t->writes);
  t->reads = (reads){0};
  atomic_fetch_add(&e->open_count, 1);
  txn_finish(t, true);
}

bool process_forked(engine *e) {
  processes *fresh = make(e->path), *old = e->processes;
  kv *dead = fresh ? remote_dead(fresh->path) : NULL;
  cache *c = NULL;
  images *i = NULL;
  if (!dead || cache_new(96 << 20, &c) != HDB_OK || images_new(32 << 20, &i) != HDB_OK ||
      packing_new(&e->packing) != HDB_OK)
    return false; /* leaks a little, once */
  serve_calls_init(&fresh->calls, e);
  fresh->key = old->key;
  fresh->far = dead;
  if (is_remote(e)) remote_abandon(old->far);
  fresh->theirs = old->theirs ? old->theirs : old->page;
  if (!fresh->theirs) fresh->theirs = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  locks_anew(e);
  /* the parent's: its store, workspace, caches, sessions stay where they are and are not touched */
  if (e->newest) e->newest->store = dead, e->newest->snapshot = NULL, e->newest->under = NULL;
  e->pid = getpid();
  e->store = dead;
  e->fold = NULL;
  e->cache = c, e->images = i;
  e->processes = fresh;
  recent_init(&e->recent, 0);
  atomic_store(&e->watcher, NULL);
  atomic_store(&e->remote, true);
  atomic_fetch_add(&e->generation, 1);
  for (txn *t = e->txns; t; t = t->next) forget_transaction(e, t, dead);
  return true;
}

/* ---- what the owner does for all ---- */

void engine_set_duty(engine *e, const engine_duty *d) {
  pthread_mutex_lock(&e->duty_lock);
  e->duty = d ? *d : (engine_duty){0};
  if (e->duty_calls) leave_before_wait();
  while (e->duty_calls) pthread_cond_wait(&e->duty_done, &e->duty_lock);
  pthread_mutex_unlock(&e->duty_lock);
}

status engine_run_duty(engine *e) {
  return is_remote(e) ? remote_ask(e, ASK_DUTY, NULL, NULL) : HDB_BUSY_RECOVERY;
}

status process_do_duty(engine *e) {
  pthread_mutex_lock(&e->duty_lock);
  engine_duty d = e->duty;
  e->duty_calls++;
  pthread_mutex_unlock(&e->duty_lock);
  status rc = d.settle ? d.settle(d.context, e) : HDB_OK;
  pthread_mutex_lock(&e->duty_lock);
  if (--e->duty_calls == 0) pthread_cond_broadcast(&e->duty_done);
  pthread_mutex_unlock(&e->duty_lock);
  return rc;
}
