/* Vector indexes in memory: their logs and their readers (vector_index.h). The builder is in vector_build.c, graphs on disk
 * are in vector_store.c.
 *
 * The log is shortened from its old end; what is cut off raises the floor below which no view is served.
 * Locks: one mutex an engine, held for copying row ids at most; the graph has its own. Cost of a commit: one append a
 * row of an indexed tree. Memory: the graph (hnsw.h), 16 bytes a logged row, 8 a row without a vector.
 */
#include "sql/vector_internal.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kv/base/key.h"
#include "kv/base/record.h"

enum {
  LOG_KEPT = 1 << 15,
  LOG_MAX = 1 << 22,
  INDEXES_MAX = 1024,
  ENOUGH = 500 /* rows written, before the builder looks */
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

bool row_ids_has(const row_ids *r, int64_t id) {
  return r->n && bsearch(&id, r->ids, r->n, sizeof id, compare_ids);
}

/* ---- graphs ---- */
void graph_release(vector_graph *g) {
  if (!g || atomic_fetch_sub(&g->references, 1) != 1) return;
  hnsw_free(g->g);
  free(g->unplaced.ids);
  free(g);
}

/* ---- the log ---- */
void log_forget(vector_index *i) {
  free(i->log);
  i->log = NULL;
  i->log_first += i->log_n;
  i->log_n = i->log_capacity = 0;
  i->unread = 0;
}

/* Gives the graph up; the next search begins anew. What is stored is compared with the rows then. */
void index_reset(vector_index *i) {
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
size_t log_after(const vector_index *i, int64_t time) {
  size_t low = 0, high = i->log_n;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (i->log[middle].time <= time)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

void log_shorten(vector_index *i) {
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
static bool set_wants(void *context, uint32_t tree) {
  vector_set *s = context;
  bool wants = false;
  if (!atomic_load_explicit(&s->indexes_n, memory_order_acquire) || s->pid != getpid())
    return false; /* in a forked child the lock may be held for ever */
  pthread_mutex_lock(&s->lock);
  for (vector_index *i = s->first; i && !wants; i = i->next)
    wants = (i->logging || i->waiting) && i->key.tree == tree;
  pthread_mutex_unlock(&s->lock);
  return wants;
}

static void set_touched(void *context, uint32_t tree, int64_t time, slice key, bool whole) {
  vector_set *s = context;
  pthread_mutex_lock(&s->lock);
  for (vector_index *i = s->first; i; i = i->next) {
    if (i->key.tree == tree && i->waiting && (whole || ++i->unread >= ENOUGH)) {
      i->waiting = false;
      i->unread = 0;
      builder_start(s);
    }
    if (!i->logging || i->key.tree != tree) continue;
    if (whole || key.n != 8)
      index_reset(i);
    else
      log_append(i, time, rowid_decode(key.p));
    if (i->graph && i->unread) builder_start(s);
  }
  pthread_mutex_unlock(&s->lock);
}

/* Squares and sums of larger elements leave a float's range: such rows are measured one by one. */
bool vector_fits_graph(const float *floats, int n) {
  for (int i = 0; i < n; i++)
    if (!(fabsf(floats[i]) <= 1e15f)) return false;
  return true;
}

bool vector_of_row(const vector_key *k, slice record, float *floats) {
  uint8_t type;
  slice payload;
  if (!record_column(record, (uint32_t)k->column, &type, &payload) || !record_is_blob(type)) return false;
  slice bytes = record_get_bytes(type, payload.p);
  if (bytes.n != (size_t)k->dimensions * sizeof(float)) return false;
  memcpy(floats, bytes.p, bytes.n);
  return vector_fits_graph(floats, k->dimensions);
}

/* ---- the set of an engine ---- */
static void set_free(vector_set *s) {
  for (vector_index *i = s->first, *next; i; i = next) {
    next = i->next;
    graph_release(i->graph);
    free(i->log);
    free(i->gone.ids);
    free(i->label);
    free(i);
  }
  pthread_mutex_destroy(&s->lock);
  pthread_cond_destroy(&s->ended);
  pthread_cond_destroy(&s->wake);
  free(s);
}

/* Sets of this process: at its end builders are stopped, and what they have is stored. */
static pthread_mutex_t sets_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t sets_once = PTHREAD_ONCE_INIT;
static vector_set *sets;

static void set_stop(vector_set *s) {
  if (s->pid != getpid()) return; /* the parent's */
  atomic_store(&s->stop, true);
  pthread_mutex_lock(&s->lock);
  pthread_cond_broadcast(&s->wake);
  while (s->running) pthread_cond_wait(&s->ended, &s->lock);
  pthread_mutex_unlock(&s->lock);
  builder_leave(s);
}
static void at_exit(void) {
  pthread_mutex_lock(&sets_lock);
  for (vector_set *s = sets; s; s = s->next) set_stop(s);
  pthread_mutex_unlock(&sets_lock);
}
static void before_fork(void) {
  pthread_mutex_lock(&sets_lock);
}
static void in_parent(void) {
  pthread_mutex_unlock(&sets_lock);
}
static void in_child(void) {
  pthread_mutex_init(&sets_lock, NULL);
  sets = NULL;
}
static void sets_prepare(void) {
  pthread_atfork(before_fork, in_parent, in_child);
  engine_at_exit(at_exit);
}
static void sets_add(vector_set *s) {
  pthread_once(&sets_once, sets_prepare);
  pthread_mutex_lock(&sets_lock);
  s->next = sets;
  sets = s;
  pthread_mutex_unlock(&sets_lock);
}
static void sets_remove(const vector_set *s) {
  pthread_mutex_lock(&sets_lock);
  vector_set **p = &sets;
  while (*p && *p != s) p = &(*p)->next;
  if (*p) *p = s->next;
  pthread_mutex_unlock(&sets_lock);
}

static void set_release(void *context) {
  vector_set *s = context;
  if (s->pid != getpid()) return;
  sets_remove(s);
  set_stop(s);
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
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&s->wake, &monotonic);
  pthread_condattr_destroy(&monotonic);
  vector_set *kept = engine_watch(e, &(engine_watcher){set_wants, set_touched, set_release, s});
  if (kept != s)
    set_free(s);
  else
    sets_add(s);
  return kept;
}

static bool same_key(const vector_key *a, const vector_key *b) {
  return a->tree == b->tree && a->column == b->column && a->dimensions == b->dimensions &&
         a->metric == b->metric && a->m == b->m && a->ef_construction == b->ef_construction;
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

static vector_index *find_index(vector_set *s, const vector_key *key) {
  vector_index *i = s->first;
  while (i && !same_key(&i->key, key)) i = i->next;
  return i;
}

/* A search by this metric: what was built for another on suspicion, and never asked, is not kept. */
static void drop_unasked(vector_set *s, const vector_index *found) {
  for (vector_index *i = s->first; i; i = i->next) {
    if (i == found || !i->unasked || i->unwanted || i->key.tree != found->key.tree ||
        i->key.column != found->key.column)
      continue;
    i->unwanted = true;
    i->waiting = false;
    builder_start(s);
  }
}

vector_set *vector_set_of(engine *e) {
  vector_set *s = set_get(e);
  return s && s->pid == getpid() ? s : NULL; /* a forked child: its builder stayed behind */
}

vector_index *vector_index_get(engine *e, const vector_key *key, const char *label) {
  vector_set *s = vector_set_of(e);
  if (!s) return NULL;
  pthread_mutex_lock(&s->lock);
  vector_index *i = find_index(s, key);
  bool fresh = !i;
  if (fresh) i = index_new(s, key, label);
  if (i) {
    if (fresh) drop_unasked(s, i);
    if (i->waiting) i->unread = 0;
    i->waiting = i->unasked = i->unwanted = false;
    memory_asked(i);
    if (index_has_work(i)) builder_start(s);
  }
  pthread_mutex_unlock(&s->lock);
  return i;
}

bool vector_index_await(engine *e, const vector_key *key, const char *label) {
  vector_set *s = vector_set_of(e);
  if (!s) return false;
  pthread_mutex_lock(&s->lock);
  vector_index *i = find_index(s, key);
  if (!i && (i = index_new(s, key, label))) i->waiting = i->unasked = true;
  pthread_mutex_unlock(&s->lock);
  return i != NULL;
}

bool vector_index_is_known(engine *e, const vector_key *key) {
  vector_set *s = engine_watched(e);
  bool known = false;
  if (!s || s->pid != getpid()) return s != NULL;
  pthread_mutex_lock(&s->lock);
  for (const vector_index *i = s->first; i && !known; i = i->next)
    known = i->key.tree == key->tree && i->key.column == key->column;
  pthread_mutex_unlock(&s->lock);
  return known;
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

hnsw *vector_view_graph(const vector_view *v) {
  return v->graph->g;
}

bool vector_index_is_over(vector_index *i) {
  pthread_mutex_lock(&i->set->lock);
  bool over = i->over;
  pthread_mutex_unlock(&i->set->lock);
  return over;
}

void vector_index_scanning(vector_index *i, bool begins) {
  pthread_mutex_lock(&i->set->lock);
  i->set->scanning += begins ? 1 : -1;
  if (!i->set->scanning) pthread_cond_signal(&i->set->wake);
  pthread_mutex_unlock(&i->set->lock);
}

void vector_view_count(const vector_view *v, bool scanned) {
  atomic_fetch_add(scanned ? &v->index->scans : &v->index->walks, 1);
}

vector_calibration vector_view_calibration(const vector_view *v) {
  pthread_mutex_lock(&v->index->set->lock);
  vector_calibration c = v->graph->calibration;
  pthread_mutex_unlock(&v->index->set->lock);
  return c;
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
status vector_index_rebuild(engine *e, uint32_t tree) {
  vector_set *s = engine_watched(e);
  bool any = false;
  if (s && s->pid != getpid()) return HDB_OK;
  if (s) {
    pthread_mutex_lock(&s->lock);
    for (vector_index *i = s->first; i; i = i->next) {
      if (i->key.tree != tree) continue;
      i->wanted = any = true;
      i->failed = i->parked = i->over = false;
      builder_start(s);
    }
    pthread_mutex_unlock(&s->lock);
  }
  if (any) return HDB_OK;
  aside *a; /* what is stored of them goes; the next search builds */
  TRY(aside_open(e, tree, &a));
  aside_clear(a, slice_of(NULL, 0));
  status rc = aside_write(a);
  aside_close(a);
  return rc;
}

status vector_indexes_each(engine *e, vector_visitor visit, void *context) {
  vector_set *s = engine_watched(e);
  status rc = HDB_OK;
  if (!s || s->pid != getpid()) return HDB_OK;
  pthread_mutex_lock(&s->lock);
  for (vector_index *i = s->first; i && rc == HDB_OK; i = i->next) {
    if (i->unwanted) continue;
    vector_info info = {.key = i->key,
                        .label = i->label,
                        .built = i->graph != NULL,
                        .waiting = i->waiting,
                        .parked = i->parked,
                        .over = i->over,
                        .limit = memory_limit(s),
                        .rebuilding = i->graph && (i->making || i->wanted)};
    info.done = atomic_load(&i->done);
    info.total = atomic_load(&i->total);
    info.loaded = atomic_load(&i->loaded);
    info.walks = atomic_load(&i->walks);
    info.scans = atomic_load(&i->scans);
    if (i->graph) {
      info.calibration = i->graph->calibration;
      info.count = (int64_t)hnsw_count(i->graph->g);
      info.removed = (int64_t)hnsw_removed(i->graph->g);
      info.bytes = (int64_t)hnsw_bytes(i->graph->g);
      info.link_bytes = (int64_t)hnsw_link_bytes(i->graph->g);
      info.pending = (int64_t)(i->log_n - log_after(i, i->time));
    }
    rc = visit(context, &info);
  }
  pthread_mutex_unlock(&s->lock);
  return rc;
}
