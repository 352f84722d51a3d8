/* Vector indexes in memory, and the thread that keeps them (vector_index.h).
 *
 * An index begins to log a tree's commits, waits until those at work are done (engine_settle), reads the tree in a view
 * of its own and builds; then it is published with that view's time. To advance, the builder takes a newer view, reads
 * the row ids logged up to it, and changes the graph: until its time is moved, every row it changes is still in the log
 * above every entered reader's base (V1). Without work the thread ends; the next search or commit starts it again.
 * The log is shortened from its old end; what is cut off raises the floor below which no view is served.
 * Locks: one mutex an engine, held for copying row ids at most; the graph has its own. Cost of a commit: one append a
 * row of an indexed tree. Memory: the graph (hnsw.h), 16 bytes a logged row, 8 a row without a vector.
 * A graph is not stored: after reopening the first search builds it anew, in the background.
 */
#include "sql/vector_index.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kv/base/key.h"
#include "kv/base/record.h"

enum { LOG_KEPT = 1 << 15, LOG_MAX = 1 << 22, WAKE_AFTER = 128, INDEXES_MAX = 256 };

typedef struct touch {
  int64_t time, id;
} touch;

typedef struct vector_graph {
  atomic_int references;
  hnsw *g;
  row_ids unplaced; /* sorted; under the set's lock */
  vector_calibration calibration; /* under the set's lock */
} vector_graph;

typedef struct vector_set vector_set;
struct vector_index {
  vector_index *next;
  vector_set *set;
  vector_key key;
  char *label;
  /* under the set's lock */
  vector_graph *graph; /* NULL: not built */
  int64_t time;        /* what it equals */
  bool logging, stale; /* stale: to be built anew */
  bool failed;         /* out of memory: not tried again */
  touch *log;
  size_t log_n, log_capacity;
  uint64_t log_first;  /* number of log[0] */
  int64_t floor;       /* every later commit is in the log */
  size_t unread;       /* logged since the builder looked */
};

struct vector_set {
  engine *e;
  pid_t pid;
  pthread_mutex_t lock;
  pthread_cond_t ended;
  bool running, work;
  atomic_bool stop;
  atomic_int indexes_n;
  vector_index *first;
};

/* ---- row ids ---- */
bool row_ids_add(row_ids *r, int64_t id) {
  if (r->n == r->capacity) {
    size_t capacity = r->capacity ? 2 * r->capacity : 64;
    int64_t *ids = realloc(r->ids, capacity * sizeof *ids);
    if (!ids) return false;
    r->ids = ids, r->capacity = capacity;
  }
  r->ids[r->n++] = id;
  return true;
}

static int compare_ids(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? -1 : x > y;
}

void row_ids_sort(row_ids *r) {
  if (r->n < 2) return;
  qsort(r->ids, r->n, sizeof *r->ids, compare_ids);
  size_t kept = 1;
  for (size_t i = 1; i < r->n; i++)
    if (r->ids[i] != r->ids[kept - 1]) r->ids[kept++] = r->ids[i];
  r->n = kept;
}

/* ---- graphs ---- */
static void graph_release(vector_graph *g) {
  if (!g || atomic_fetch_sub(&g->references, 1) != 1) return;
  hnsw_free(g->g);
  free(g->unplaced.ids);
  free(g);
}

static vector_graph *graph_new(const vector_key *k) {
  vector_graph *g = calloc(1, sizeof *g);
  if (!g) return NULL;
  atomic_store(&g->references, 1);
  g->g = hnsw_new(&(hnsw_options){.dimensions = k->dimensions, .metric = k->metric, .m = k->m, .ef_construction = k->ef_construction});
  if (g->g) return g;
  free(g);
  return NULL;
}

/* ---- the log ---- */
static void log_forget(vector_index *i) {
  free(i->log);
  i->log = NULL;
  i->log_first += i->log_n;
  i->log_n = i->log_capacity = 0;
  i->unread = 0;
}

/* Gives the graph up; the next search begins anew. */
static void index_reset(vector_index *i) {
  graph_release(i->graph);
  i->graph = NULL;
  i->logging = false;
  i->stale = true;
  log_forget(i);
}

static void log_append(vector_index *i, int64_t time, int64_t id) {
  if (i->log_n == i->log_capacity) {
    size_t capacity = i->log_capacity ? 2 * i->log_capacity : 256;
    touch *log = capacity <= LOG_MAX ? realloc(i->log, capacity * sizeof *log) : NULL;
    if (!log) {
      index_reset(i);
      return;
    }
    i->log = log, i->log_capacity = capacity;
  }
  i->log[i->log_n++] = (touch){time, id};
  i->unread++;
}

/* Times ascend: the first entry after `time`. */
static size_t log_after(const vector_index *i, int64_t time) {
  size_t low = 0, high = i->log_n;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (i->log[middle].time <= time) low = middle + 1;
    else high = middle;
  }
  return low;
}

static void log_shorten(vector_index *i) {
  size_t done = log_after(i, i->time);
  if (done < 2 * LOG_KEPT) return;
  size_t drop = done - LOG_KEPT;
  int64_t floor = i->log[drop - 1].time;
  drop = log_after(i, floor); /* whole commits */
  i->floor = floor;
  i->log_first += drop;
  i->log_n -= drop;
  memmove(i->log, i->log + drop, i->log_n * sizeof *i->log);
}

/* ---- told by commits ---- */
static void builder_start(vector_set *s);

static bool set_wants(void *context, uint32_t tree) {
  vector_set *s = context;
  bool wants = false;
  if (!atomic_load_explicit(&s->indexes_n, memory_order_acquire) || s->pid != getpid()) return false; /* in a forked child the lock may be held for ever */
  pthread_mutex_lock(&s->lock);
  for (vector_index *i = s->first; i && !wants; i = i->next) wants = i->logging && i->key.tree == tree;
  pthread_mutex_unlock(&s->lock);
  return wants;
}

static void set_touched(void *context, uint32_t tree, int64_t time, slice key, bool whole) {
  vector_set *s = context;
  pthread_mutex_lock(&s->lock);
  for (vector_index *i = s->first; i; i = i->next) {
    if (!i->logging || i->key.tree != tree) continue;
    if (whole || key.n != 8) index_reset(i);
    else log_append(i, time, rowid_decode(key.p));
    if (i->graph && i->unread >= WAKE_AFTER) builder_start(s);
  }
  pthread_mutex_unlock(&s->lock);
}

/* ---- the builder ---- */
bool vector_of_row(const vector_key *k, slice record, float *floats) {
  uint8_t type;
  slice payload;
  if (!record_column(record, (uint32_t)k->column, &type, &payload) || !record_is_blob(type)) return false;
  slice bytes = record_get_bytes(type, payload.p);
  if (bytes.n != (size_t)k->dimensions * sizeof(float)) return false;
  memcpy(floats, bytes.p, bytes.n);
  for (int i = 0; i < k->dimensions; i++)
    if (!isfinite(floats[i])) return false;
  return true;
}

static status graph_fill(vector_index *i, vector_graph *g, cursor *c, float *floats) {
  for (cursor_first(c); c->valid; cursor_next(c)) {
    if (atomic_load(&i->set->stop)) return HDB_INTERRUPT;
    int64_t id = rowid_decode(c->key.p);
    if (vector_of_row(&i->key, c->value, floats)) TRY(hnsw_add(g->g, id, floats));
    else if (!row_ids_add(&g->unplaced, id)) return HDB_NOMEM;
  }
  return c->error;
}

static status graph_change(vector_index *i, vector_graph *g, cursor *c, float *floats, const row_ids *ids) {
  row_ids unplaced = {0};
  status rc = HDB_OK;
  for (size_t k = 0; k < ids->n && rc == HDB_OK; k++) {
    uint8_t key[8];
    if (atomic_load(&i->set->stop)) CHECK(HDB_INTERRUPT);
    rowid_encode(key, ids->ids[k]);
    bool found = cursor_find(c, slice_of(key, 8));
    if (!found) CHECK(c->error);
    if (found && vector_of_row(&i->key, c->value, floats)) {
      CHECK(hnsw_add(g->g, ids->ids[k], floats));
      continue;
    }
    status removed = hnsw_remove(g->g, ids->ids[k]);
    if (removed != HDB_NOTFOUND) CHECK(removed);
    if (found && !row_ids_add(&unplaced, ids->ids[k])) CHECK(HDB_NOMEM);
  }
  pthread_mutex_lock(&i->set->lock); /* those touched are no longer what they were */
  for (size_t k = 0; k < g->unplaced.n; k++) {
    int64_t id = g->unplaced.ids[k];
    if (bsearch(&id, ids->ids, ids->n, sizeof id, compare_ids)) continue;
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

typedef struct reading { /* the builder's own view */
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

static status index_fill(vector_index *i) {
  vector_set *s = i->set;
  reading r = {0};
  vector_graph *g = graph_new(&i->key);
  status rc = HDB_OK;
  if (!g) return HDB_NOMEM;
  pthread_mutex_lock(&s->lock);
  log_forget(i);
  i->logging = true;
  i->stale = false;
  pthread_mutex_unlock(&s->lock);
  engine_settle(s->e);
  CHECK(reading_begin(i, &r));
  CHECK(graph_fill(i, g, r.c, r.floats));
  row_ids_sort(&g->unplaced);
  CHECK(vector_calibrate(g->g, &i->key, r.c, &s->stop, &g->calibration));
  pthread_mutex_lock(&s->lock);
  if (!i->stale) { /* cleared meanwhile */
    i->graph = g;
    i->time = i->floor = txn_view_time(r.t);
    g = NULL;
  }
  pthread_mutex_unlock(&s->lock);
out:
  reading_end(&r);
  graph_release(g);
  return rc;
}

static status index_advance(vector_index *i) {
  vector_set *s = i->set;
  reading r = {0};
  row_ids ids = {0};
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
  rc = graph_change(i, g, r.c, r.floats, &ids);
  if (rc == HDB_OK && hnsw_removed(g->g) > 1000 && hnsw_removed(g->g) > hnsw_count(g->g) / 4) rc = hnsw_repair(g->g);
  vector_calibration calibration = g->calibration; /* only this thread writes it */
  if (rc == HDB_OK && (int64_t)hnsw_count(g->g) > 2 * calibration.rows) rc = vector_calibrate(g->g, &i->key, r.c, &s->stop, &calibration);
  pthread_mutex_lock(&s->lock);
  g->calibration = calibration;
  if (rc == HDB_OK && i->graph == g) {
    i->time = now;
    log_shorten(i);
  }
  pthread_mutex_unlock(&s->lock);
  graph_release(g);
out:
  reading_end(&r);
  free(ids.ids);
  return rc;
}

/* Something to do for this index? Under the lock. */
static bool has_work(const vector_index *i) { return !i->failed && ((!i->graph && !i->logging) || (i->graph && i->unread)); }

static void *builder(void *context) {
  vector_set *s = context;
  pthread_mutex_lock(&s->lock);
  while (s->work && !atomic_load(&s->stop)) {
    s->work = false;
    for (vector_index *i = s->first; i && !atomic_load(&s->stop); i = i->next) {
      if (!has_work(i)) continue;
      bool build = !i->graph;
      pthread_mutex_unlock(&s->lock);
      status rc = build ? index_fill(i) : index_advance(i);
      pthread_mutex_lock(&s->lock);
      if (rc != HDB_OK) {
        index_reset(i);
        i->failed = rc != HDB_INTERRUPT;
      }
      s->work = s->work || has_work(i);
    }
  }
  s->running = false;
  pthread_cond_broadcast(&s->ended);
  pthread_mutex_unlock(&s->lock);
  return NULL;
}

/* Under the lock. */
static void builder_start(vector_set *s) {
  pthread_t thread;
  sigset_t all, former;
  s->work = true;
  if (s->running || atomic_load(&s->stop)) return;
  sigfillset(&all); /* signals are for the threads that wait for them */
  pthread_sigmask(SIG_SETMASK, &all, &former);
  s->running = pthread_create(&thread, NULL, builder, s) == 0;
  pthread_sigmask(SIG_SETMASK, &former, NULL);
  if (s->running) pthread_detach(thread);
}

/* ---- the set of an engine ---- */
static void set_free(vector_set *s) {
  for (vector_index *i = s->first, *next; i; i = next) {
    next = i->next;
    graph_release(i->graph);
    free(i->log);
    free(i->label);
    free(i);
  }
  pthread_mutex_destroy(&s->lock);
  pthread_cond_destroy(&s->ended);
  free(s);
}

static void set_release(void *context) {
  vector_set *s = context;
  if (s->pid != getpid()) return; /* the parent's */
  atomic_store(&s->stop, true);
  pthread_mutex_lock(&s->lock);
  while (s->running) pthread_cond_wait(&s->ended, &s->lock);
  pthread_mutex_unlock(&s->lock);
  set_free(s);
}

static vector_set *set_get(engine *e) {
  vector_set *s = engine_watched(e);
  if (s) return s;
  s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->e = e;
  s->pid = getpid();
  pthread_mutex_init(&s->lock, NULL);
  pthread_cond_init(&s->ended, NULL);
  vector_set *kept = engine_watch(e, &(engine_watcher){set_wants, set_touched, set_release, s});
  if (kept != s) set_free(s);
  return kept;
}

static bool same_key(const vector_key *a, const vector_key *b) {
  return a->tree == b->tree && a->column == b->column && a->dimensions == b->dimensions && a->metric == b->metric && a->m == b->m &&
         a->ef_construction == b->ef_construction;
}

static vector_index *index_new(vector_set *s, const vector_key *key, const char *label) {
  if (atomic_load(&s->indexes_n) >= INDEXES_MAX) return NULL;
  vector_index *i = calloc(1, sizeof *i);
  if (!i) return NULL;
  i->set = s;
  i->key = *key;
  i->label = strdup(label);
  if (!i->label) {
    free(i);
    return NULL;
  }
  i->next = s->first;
  s->first = i;
  atomic_fetch_add(&s->indexes_n, 1);
  return i;
}

vector_index *vector_index_get(engine *e, const vector_key *key, const char *label) {
  vector_set *s = set_get(e);
  if (!s || s->pid != getpid()) return NULL; /* a forked child: its builder stayed behind */
  pthread_mutex_lock(&s->lock);
  vector_index *i = s->first;
  while (i && !same_key(&i->key, key)) i = i->next;
  if (!i) i = index_new(s, key, label);
  if (i && has_work(i)) builder_start(s);
  pthread_mutex_unlock(&s->lock);
  return i;
}

/* ---- readers ---- */
bool vector_view_enter(vector_index *i, int64_t view_time, vector_view *v) {
  *v = (vector_view){.index = i};
  pthread_mutex_lock(&i->set->lock);
  v->base = view_time < i->time ? view_time : i->time;
  if (i->graph && v->base >= i->floor) {
    v->graph = i->graph;
    atomic_fetch_add(&v->graph->references, 1);
    v->at = i->log_first + log_after(i, v->base);
  }
  pthread_mutex_unlock(&i->set->lock);
  return v->graph != NULL;
}

void vector_view_leave(vector_view *v) {
  graph_release(v->graph);
  v->graph = NULL;
}

hnsw *vector_view_graph(const vector_view *v) { return v->graph->g; }

int vector_view_ef(const vector_view *v, double target) {
  pthread_mutex_lock(&v->index->set->lock);
  int ef = vector_calibration_ef(&v->graph->calibration, target);
  pthread_mutex_unlock(&v->index->set->lock);
  return ef;
}

status vector_view_touched(vector_view *v, row_ids *out) {
  vector_index *i = v->index;
  status rc = HDB_OK;
  pthread_mutex_lock(&i->set->lock);
  if (i->graph != v->graph || v->at < i->log_first) rc = HDB_NOTFOUND;
  for (; rc == HDB_OK && v->at < i->log_first + i->log_n; v->at++)
    if (!row_ids_add(out, i->log[v->at - i->log_first].id)) rc = HDB_NOMEM;
  pthread_mutex_unlock(&i->set->lock);
  return rc;
}

status vector_view_unplaced(const vector_view *v, row_ids *out) {
  status rc = HDB_OK;
  pthread_mutex_lock(&v->index->set->lock);
  for (size_t k = 0; k < v->graph->unplaced.n && rc == HDB_OK; k++)
    if (!row_ids_add(out, v->graph->unplaced.ids[k])) rc = HDB_NOMEM;
  pthread_mutex_unlock(&v->index->set->lock);
  return rc;
}

/* ---- for operators ---- */
status vector_indexes_each(engine *e, vector_visitor visit, void *context) {
  vector_set *s = engine_watched(e);
  status rc = HDB_OK;
  if (!s || s->pid != getpid()) return HDB_OK;
  pthread_mutex_lock(&s->lock);
  for (vector_index *i = s->first; i && rc == HDB_OK; i = i->next) {
    vector_info info = {.key = i->key, .label = i->label, .built = i->graph != NULL};
    if (i->graph) {
      info.calibration = i->graph->calibration;
      info.count = (int64_t)hnsw_count(i->graph->g);
      info.removed = (int64_t)hnsw_removed(i->graph->g);
      info.bytes = (int64_t)hnsw_bytes(i->graph->g);
      info.pending = (int64_t)(i->log_n - log_after(i, i->time));
    }
    rc = visit(context, &info);
  }
  pthread_mutex_unlock(&s->lock);
  return rc;
}
