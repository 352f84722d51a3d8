/* The memory that an engine's graphs may take together: PRAGMA heliosdb_vector_memory.
 *
 * A graph that is to be built or loaded makes room first: graphs that nobody asked for a while are stored and leave memory,
 * the one that waits longest first, and come back from the store when somebody searches by them. When there is no room, its
 * searches scan the rows, and it is tried again later. Graphs in use that outgrow the limit, or a limit that was lowered, put
 * the ones asked for least recently out as well. Only the builder's thread calls what is here, but for the setting.
 * What it costs: a look at each index before a graph is made and after it grew.
 */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "sql/vector_internal.h"

enum { RECENT_MS = 3000, AGAIN_MS = 1000 };

int64_t vector_now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Half of the machine's. */
static int64_t default_limit(void) {
  long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? (int64_t)pages * size / 2 : INT64_MAX;
}

int64_t memory_limit(vector_set *s) {
  int64_t limit = atomic_load(&s->limit);
  return limit ? limit : default_limit();
}

/* hnsw.h, in bytes a node */
static int64_t expected_bytes(const vector_index *i, int64_t rows) {
  int64_t n = (i->key.dimensions + 15) / 16 * 16, m = i->key.m ? i->key.m : 16;
  int64_t vector = i->key.metric == HNSW_L1 || i->floats || i->key.dimensions < VECTOR_BYTES_FROM ? 4 * n : n + 16;
  return rows * (vector + 4 * (2 * m + 1) + 4 * (m + 1) / (m - 1) + 44);
}

static int64_t bytes_of(const vector_index *i) { return i->graph ? (int64_t)hnsw_bytes(i->graph->g) : 0; }

static int64_t bytes_beside(const vector_set *s, const vector_index *one) {
  int64_t sum = 0;
  for (const vector_index *i = s->first; i; i = i->next)
    if (i != one) sum += bytes_of(i);
  return sum;
}

/* Whose turn it is to go: of those not asked since `before`. */
static vector_index *oldest(const vector_set *s, const vector_index *but, int64_t before) {
  vector_index *found = NULL;
  for (vector_index *i = s->first; i; i = i->next)
    if (i != but && i->graph && !i->making && i->asked_ms < before && (!found || i->asked_ms < found->asked_ms)) found = i;
  return found;
}

/* Under the lock, which it leaves meanwhile. A failure to store is compared at the next load. */
static void put_out(vector_index *i) {
  pthread_mutex_unlock(&i->set->lock);
  index_save(i, true);
  pthread_mutex_lock(&i->set->lock);
  index_reset(i);
  i->unsaved = 0;
  i->parked = true;
}

bool memory_make_room(vector_index *i, int64_t rows) {
  vector_set *s = i->set;
  int64_t wanted = expected_bytes(i, rows), limit = memory_limit(s), before = vector_now_ms() - RECENT_MS;
  pthread_mutex_lock(&s->lock);
  for (vector_index *old; wanted <= limit && bytes_beside(s, i) + wanted > limit && (old = oldest(s, i, before));) put_out(old);
  bool room = bytes_beside(s, i) + wanted <= limit;
  if (!room) {
    index_reset(i);
    i->over = true;
    i->over_ms = vector_now_ms();
  }
  pthread_mutex_unlock(&s->lock);
  return room;
}

void memory_keep(vector_set *s) {
  int64_t limit = memory_limit(s);
  for (vector_index *old; bytes_beside(s, NULL) > limit && (old = oldest(s, NULL, INT64_MAX));) put_out(old);
}

void memory_asked(vector_index *i) {
  i->asked_ms = vector_now_ms();
  i->parked = false;
  if (i->over && i->asked_ms - i->over_ms >= AGAIN_MS) i->over = false;
}

int64_t vector_memory_limit(engine *e, const int64_t *wanted) {
  vector_set *s = vector_set_of(e);
  if (!s) return 0;
  if (wanted) {
    pthread_mutex_lock(&s->lock);
    atomic_store(&s->limit, *wanted);
    for (vector_index *i = s->first; i; i = i->next) i->over = false;
    if (bytes_beside(s, NULL) > memory_limit(s)) builder_start(s);
    pthread_mutex_unlock(&s->lock);
  }
  return memory_limit(s);
}
