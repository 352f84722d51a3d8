/* The builder: the engine's thread that makes graphs equal the rows, and stores them.
 *
 * An index begins to log a tree's commits, waits until those at work are done (engine_settle), reads the tree in a view
 * of its own, takes from the store what still fits, adds the rest (with a helper a core), and is published with that
 * view's time. To advance, the builder takes a newer view, reads the row ids logged up to it, and changes the graph:
 * until its time is moved, every row it changes is still in the log above every entered reader's base (V1).
 * The thread waits a moment for more, then ends; the next search or commit starts it again. It runs at a lower priority
 * than those who write. Graphs are stored while a large one grows, after so many changes, and when the thread or the
 * engine ends.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kv/base/key.h"
#include "sql/vector_internal.h"

enum {
  CHUNK = 1024,          /* rows added at once while nobody searches */
  SAVE_BUILDING = 32768, /* rows after which a growing graph is stored */
  SAVE_CHANGES = 4096,   /* changes after which a graph in use is stored, */
  SAVE_MS = 5000,        /* or so long after the last time */
  GATHER = 128,
  GATHER_MS = 20, /* few changes wait a moment for more */
  LINGER_MS = 500,
  SCANS_MS = 200,
  SAMPLE = 256
};

static int cores(void) {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
#endif
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? (int)n : 1;
}

static vector_graph *graph_new(const vector_index *i) {
  const vector_key *k = &i->key;
  vector_graph *g = calloc(1, sizeof *g);
  if (!g) return NULL;
  atomic_store(&g->references, 1);
  g->g = hnsw_new(&(hnsw_options){.dimensions = k->dimensions,
                                  .metric = k->metric,
                                  .m = k->m,
                                  .ef_construction = k->ef_construction,
                                  .copy8 = !i->floats && k->dimensions >= VECTOR_BYTES_FROM});
  if (g->g) return g;
  free(g);
  return NULL;
}

/* ---- the builder's own view ---- */
typedef struct reading {
  txn *t;
  cursor *c;
  float *floats;
} reading;

static void reading_end(reading *r) {
  if (r->c) cursor_close(r->c);
  if (r->t) {
    txn_rollback(r->t);
    txn_free(r->t);
  }
  free(r->floats);
}

static status reading_begin(vector_index *i, reading *r) {
  *r = (reading){0};
  r->floats = malloc((size_t)i->key.dimensions * sizeof(float));
  if (!r->floats) return HDB_NOMEM;
  TRY(txn_new(i->set->e, &r->t));
  TRY(txn_begin(r->t, TXN_READ, 0));
  return cursor_open(r->t, i->key.tree, 0, &r->c);
}

/* The row's vector in this view. */
static status find_vector(const vector_index *i, cursor *c, int64_t id, float *floats, bool *row,
                          bool *placed) {
  uint8_t key[8];
  rowid_encode(key, id);
  *row = cursor_find(c, slice_of(key, 8));
  if (!*row && c->error != HDB_NOTFOUND) TRY(c->error);
  *placed = *row && vector_of_row(&i->key, c->value, floats);
  return HDB_OK;
}

/* ---- building ---- */
/* The mean of some rows, spread over the row ids. */
static status choose_centre(const vector_index *i, vector_graph *g, cursor *c, float *floats) {
  size_t n = (size_t)i->key.dimensions, taken = 0;
  double *sum = calloc(n, sizeof *sum);
  if (!sum) return HDB_NOMEM;
  cursor_last(c);
  int64_t last = c->valid ? rowid_decode(c->key.p) : 0;
  cursor_first(c);
  int64_t first = c->valid ? rowid_decode(c->key.p) : 0;
  double step = ((double)last - (double)first) / SAMPLE;
  for (int k = 0; k < SAMPLE && c->valid; k++) {
    uint8_t key[8];
    rowid_encode(key, first + (int64_t)(step * k));
    cursor_seek(c, slice_of(key, 8));
    if (!c->valid || !vector_of_row(&i->key, c->value, floats)) continue;
    double norm2 = vector_norm2_of(floats, n), scale = i->key.metric != HNSW_COSINE ? 1
                                                       : norm2 > 0                  ? 1 / sqrt(norm2)
                                                                                    : 0;
    for (size_t d = 0; d < n; d++) sum[d] += (double)floats[d] * scale;
    taken++;
  }
  for (size_t d = 0; d < n; d++) floats[d] = taken ? (float)(sum[d] / (double)taken) : 0;
  free(sum);
  TRY(c->error);
  return hnsw_set_centre(g->g, floats);
}

/* Some of many rows that are about to be added, spread over them: they are left out of `ids`. */
static status hold_back(row_ids *ids, row_ids *held) {
  size_t kept = 0, step = ids->n / CALIBRATION_QUERIES;
  if (step < 2) return HDB_OK;
  for (size_t k = 0; k < ids->n; k++) {
    if (k % step != step / 2 || held->n == CALIBRATION_QUERIES)
      ids->ids[kept++] = ids->ids[k];
    else if (!row_ids_add(held, ids->ids[k]))
      return HDB_NOMEM;
  }
  ids->n = kept;
  return HDB_OK;
}

static status add_fresh(vector_index *i, vector_graph *g, cursor *c, const row_ids *fresh) {
  size_t n = (size_t)i->key.dimensions, since = 0;
  if (!fresh->n) return HDB_OK;
  int threads = cores();
  int64_t *labels = malloc(CHUNK * sizeof *labels);
  float *vectors = malloc(CHUNK * n * sizeof *vectors);
  status rc = labels && vectors ? HDB_OK : HDB_NOMEM;
  atomic_store(&i->total, (int64_t)fresh->n);
  for (size_t at = 0; at < fresh->n && rc == HDB_OK;) {
    size_t taken = 0;
    if (atomic_load(&i->set->stop)) { /* what there is counts at the next load */
      CHECK(store_save(i, g));
      CHECK(HDB_INTERRUPT);
    }
    for (; at < fresh->n && taken < CHUNK; at++) {
      bool row, placed;
      CHECK(find_vector(i, c, fresh->ids[at], vectors + taken * n, &row, &placed));
      if (placed) labels[taken++] = fresh->ids[at];
    }
    CHECK(hnsw_add_many(g->g, labels, vectors, taken, threads));
    atomic_store(&i->done, (int64_t)at);
    since += taken;
    if (since < SAVE_BUILDING || at == fresh->n) continue;
    since = 0;
    rc = store_save(i, g);
  }
out:
  free(labels);
  free(vectors);
  return rc;
}

/* From the store and the rows; at a damaged store from the rows alone. */
static status graph_make(vector_index *i, cursor *c, float *floats, bool anew, vector_graph **out) {
  row_ids fresh = {0}, held = {0};
  status rc = HDB_OK;
  vector_graph *g = NULL;
  for (;;) {
    atomic_store(&i->loaded, 0);
    atomic_store(&i->done, 0);
    fresh.n = 0;
    if (anew) CHECK(store_clear(i));
    g = graph_new(i);
    if (!g) CHECK(HDB_NOMEM);
    bool floats_before = i->floats;
    CHECK(choose_centre(i, g, c, floats));
    rc = store_load(i, g, c, floats, &fresh, anew);
    if (rc == HDB_OK && floats_before == i->floats) break;
    if (rc != HDB_CORRUPT) CHECK(rc);
    graph_release(g); /* damaged, or of the other kind */
    g = NULL;
    anew = anew || rc == HDB_CORRUPT;
    i->gone.n = 0;
  }
  row_ids_sort(&g->unplaced);
  bool measure = !g->calibration.rows || fresh.n > hnsw_count(g->g) / 4;
  if (measure) CHECK(hold_back(&fresh, &held));
  CHECK(add_fresh(i, g, c, &fresh));
  if (measure)
    CHECK(vector_calibrate(g->g, &i->key, c, held.n ? &held : NULL, &i->set->stop, &g->calibration));
  CHECK(add_fresh(i, g, c, &held));
  if (fresh.n || i->gone.n) CHECK(hnsw_mend(g->g));
  i->unsaved = fresh.n + held.n + i->gone.n;
out:
  free(fresh.ids);
  free(held.ids);
  if (rc == HDB_OK)
    *out = g;
  else
    graph_release(g);
  return rc;
}

/* Bytes rank so coarsely that no ef is enough. */
static bool too_coarse(const vector_index *i, const vector_graph *g) {
  return !i->floats && i->key.dimensions >= VECTOR_BYTES_FROM && g->calibration.rows &&
         g->calibration.recall[CALIBRATION_STEPS - 1] < 0.98;
}

/* A writer's wish, too early: it waits on. */
static bool too_few(vector_index *i, txn *t) {
  int64_t rows, bytes;
  txn_estimate(t, i->key.tree, &rows, &bytes);
  if (!i->unasked || rows >= VECTOR_ROWS_MIN) return false;
  pthread_mutex_lock(&i->set->lock);
  index_reset(i);
  i->waiting = i->unasked; /* unless a search came */
  pthread_mutex_unlock(&i->set->lock);
  return true;
}

static status index_drop(vector_index *i) {
  pthread_mutex_lock(&i->set->lock);
  index_reset(i);
  pthread_mutex_unlock(&i->set->lock);
  i->unsaved = 0;
  return store_clear(i);
}

/* Waits for the wake-up, at most so long; false: none came. Under the lock. */
static bool wait_for(vector_set *s, int ms) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += (long)ms * 1000000;
  until.tv_sec += until.tv_nsec / 1000000000;
  until.tv_nsec %= 1000000000;
  return pthread_cond_timedwait(&s->wake, &s->lock, &until) != ETIMEDOUT;
}

/* Whoever came first after a start scans the rows: reading them all beside him would only slow him down. Under the lock. */
static void let_scans_go_first(vector_set *s) {
  int64_t until = vector_now_ms() + SCANS_MS;
  for (int64_t now; s->scanning && !atomic_load(&s->stop) && (now = vector_now_ms()) < until;)
    wait_for(s, (int)(until - now));
}

static status index_fill(vector_index *i, bool anew) {
  vector_set *s = i->set;
  reading r = {0};
  vector_graph *g = NULL;
  status rc = HDB_OK;
  pthread_mutex_lock(&s->lock);
  i->wanted = false;
  i->making = true;
  if (!i->graph) let_scans_go_first(s);
  if (!i->graph) {
    log_forget(i);
    i->logging = true;
  }
  i->stale = false;
  pthread_mutex_unlock(&s->lock);
  engine_settle(s->e);
  CHECK(reading_begin(i, &r));
  if (too_few(i, r.t)) goto out;
  int64_t rows, bytes;
  txn_estimate(r.t, i->key.tree, &rows, &bytes);
  if (!i->graph && !memory_make_room(i, rows)) goto out;
  CHECK(graph_make(i, r.c, r.floats, anew, &g));
  if (too_coarse(i, g)) {
    graph_release(g);
    g = NULL;
    i->floats = true;
    CHECK(graph_make(i, r.c, r.floats, true, &g));
  }
  i->uncalibrated = 0;
  int64_t time = txn_view_time(r.t);
  pthread_mutex_lock(&s->lock);
  if (!i->stale && (!i->graph || time >= i->time)) { /* not cleared meanwhile */
    vector_graph *former = i->graph;
    if (!former) i->floor = time;
    i->graph = g;
    i->time = time;
    i->unread = i->log_n - log_after(i, time);
    g = former;
  }
  pthread_mutex_unlock(&s->lock);
out:
  pthread_mutex_lock(&s->lock);
  i->making = false;
  pthread_mutex_unlock(&s->lock);
  reading_end(&r);
  graph_release(g);
  return rc;
}

/* ---- advancing ---- */
static status graph_change(vector_index *i, vector_graph *g, cursor *c, float *floats, const row_ids *ids) {
  row_ids unplaced = {0};
  status rc = HDB_OK;
  for (size_t k = 0; k < ids->n && rc == HDB_OK; k++) {
    bool row, placed;
    if (atomic_load(&i->set->stop)) CHECK(HDB_INTERRUPT);
    CHECK(find_vector(i, c, ids->ids[k], floats, &row, &placed));
    if (placed) {
      CHECK(hnsw_add(g->g, ids->ids[k], floats));
      continue;
    }
    status removed = hnsw_remove(g->g, ids->ids[k]);
    if (removed != HDB_NOTFOUND) CHECK(removed);
    if (removed == HDB_OK && !row_ids_add(&i->gone, ids->ids[k])) CHECK(HDB_NOMEM);
    if (row && !row_ids_add(&unplaced, ids->ids[k])) CHECK(HDB_NOMEM);
  }
  pthread_mutex_lock(&i->set->lock); /* those touched are no longer what they were */
  for (size_t k = 0; k < g->unplaced.n; k++) {
    int64_t id = g->unplaced.ids[k];
    if (row_ids_has(ids, id)) continue;
    if (!row_ids_add(&unplaced, id)) rc = HDB_NOMEM;
  }
  row_ids_sort(&unplaced);
  row_ids former = g->unplaced;
  g->unplaced = unplaced;
  unplaced = former;
  pthread_mutex_unlock(&i->set->lock);
out:
  free(unplaced.ids);
  return rc;
}

static bool is_due(const vector_index *i, const vector_graph *g) {
  return i->uncalibrated >= 1000 && i->uncalibrated >= hnsw_count(g->g) / 4;
}

/* What many changes call for: new links around removed nodes, recall measured again. */
static status graph_tend(vector_index *i, vector_graph *g, cursor *c, const row_ids *held) {
  size_t removed = hnsw_removed(g->g), live = hnsw_count(g->g);
  bool repair = removed > 256 && removed > live / 8;
  if (repair) TRY(hnsw_repair(g->g));
  if (repair || i->unmended > 64 + live / 16) {
    TRY(hnsw_mend(g->g));
    i->unmended = 0;
  }
  if (!is_due(i, g)) return HDB_OK;
  vector_calibration calibration = g->calibration; /* only this thread writes it */
  TRY(vector_calibrate(g->g, &i->key, c, held->n ? held : NULL, &i->set->stop, &calibration));
  pthread_mutex_lock(&i->set->lock);
  g->calibration = calibration;
  pthread_mutex_unlock(&i->set->lock);
  i->uncalibrated = 0;
  return HDB_OK;
}

static status index_advance(vector_index *i) {
  vector_set *s = i->set;
  reading r = {0};
  row_ids ids = {0}, held = {0};
  status rc = HDB_OK;
  CHECK(reading_begin(i, &r));
  int64_t now = txn_view_time(r.t);
  pthread_mutex_lock(&s->lock);
  vector_graph *g = i->graph;
  if (g) {
    atomic_fetch_add(&g->references, 1);
    size_t to = log_after(i, now);
    for (size_t k = log_after(i, i->time); k < to && rc == HDB_OK; k++)
      if (!row_ids_add(&ids, i->log[k].id)) rc = HDB_NOMEM;
    i->unread = i->log_n - to;
  }
  pthread_mutex_unlock(&s->lock);
  if (!g || rc != HDB_OK) goto out;
  row_ids_sort(&ids);
  i->unsaved += ids.n;
  i->uncalibrated += ids.n;
  i->unmended += ids.n;
  if (is_due(i, g))
    rc = hold_back(&ids, &held); /* until its time moves, searches look at these rows themselves */
  if (rc == HDB_OK) rc = graph_change(i, g, r.c, r.floats, &ids);
  for (size_t k = 0; k < held.n && rc == HDB_OK; k++) {
    rc = hnsw_remove(g->g, held.ids[k]);
    if (rc == HDB_NOTFOUND) rc = HDB_OK;
  }
  if (rc == HDB_OK) rc = graph_tend(i, g, r.c, &held);
  if (rc == HDB_OK && held.n) rc = graph_change(i, g, r.c, r.floats, &held);
  pthread_mutex_lock(&s->lock);
  if (rc == HDB_OK && i->graph == g) {
    i->time = now;
    log_shorten(i);
  }
  pthread_mutex_unlock(&s->lock);
  graph_release(g);
out:
  reading_end(&r);
  free(held.ids);
  free(ids.ids);
  return rc;
}

/* ---- the thread ---- */
status index_save(vector_index *i, bool now) {
  if (!i->unsaved) return HDB_OK;
  if (!now && i->unsaved < SAVE_CHANGES && vector_now_ms() - i->saved_ms < SAVE_MS) return HDB_OK;
  pthread_mutex_lock(&i->set->lock);
  vector_graph *g = i->graph;
  if (g) atomic_fetch_add(&g->references, 1);
  pthread_mutex_unlock(&i->set->lock);
  if (!g) return HDB_OK;
  status rc = store_save(i, g);
  graph_release(g);
  i->saved_ms = vector_now_ms();
  return rc;
}

static void index_work(vector_index *i) { /* under the lock, which it leaves meanwhile */
  vector_set *s = i->set;
  bool anew = i->wanted, build = !i->graph || anew, drop = i->unwanted;
  pthread_mutex_unlock(&s->lock);
  status rc = drop ? index_drop(i) : build ? index_fill(i, anew) : index_advance(i);
  if (rc == HDB_OK && !drop) rc = index_save(i, build);
  pthread_mutex_lock(&s->lock);
  if (rc == HDB_OK) return;
  index_reset(i);
  i->failed = rc != HDB_INTERRUPT;
}

static bool few_changes(const vector_set *s) {
  size_t unread = 0;
  for (const vector_index *i = s->first; i; i = i->next) {
    if (i->wanted || (index_has_work(i) && !i->graph)) return false;
    unread += i->unread;
  }
  return unread && unread < GATHER;
}

static void save_all(vector_set *s) { /* under the lock, which it leaves meanwhile */
  for (vector_index *i = s->first; i && !atomic_load(&s->stop); i = i->next) {
    pthread_mutex_unlock(&s->lock);
    status rc = index_save(i, true);
    pthread_mutex_lock(&s->lock);
    if (rc != HDB_OK) i->unsaved = 0; /* compared at the next load */
  }
}

static void *builder(void *context) {
  vector_set *s = context;
#ifdef __linux__
  setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10); /* of this thread; helpers inherit it */
#endif
  pthread_mutex_lock(&s->lock);
  while (!atomic_load(&s->stop)) {
    if (few_changes(s)) wait_for(s, GATHER_MS);
    s->work = false;
    memory_keep(s);
    for (vector_index *i = s->first; i && !atomic_load(&s->stop); i = i->next) {
      if (index_has_work(i)) index_work(i);
      s->work = s->work || index_has_work(i);
    }
    if (s->work || atomic_load(&s->stop)) continue;
    if (wait_for(s, LINGER_MS) || s->work) continue;
    save_all(s);
    if (!s->work) break;
  }
  s->running = false;
  pthread_cond_broadcast(&s->ended);
  pthread_mutex_unlock(&s->lock);
  return NULL;
}

void builder_start(vector_set *s) {
  pthread_t thread;
  sigset_t all, former;
  s->work = true;
  if (s->running) pthread_cond_signal(&s->wake);
  if (s->running || atomic_load(&s->stop)) return;
  sigfillset(&all); /* signals are for the threads that wait for them */
  pthread_sigmask(SIG_SETMASK, &all, &former);
  s->running = pthread_create(&thread, NULL, builder, s) == 0;
  pthread_sigmask(SIG_SETMASK, &former, NULL);
  if (s->running) pthread_detach(thread);
}

void builder_leave(vector_set *s) {
  for (vector_index *i = s->first; i; i = i->next)
    if (i->graph) index_save(i, true); /* a failure is compared at the next load */
}
