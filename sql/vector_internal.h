/* What vector_index.c (indexes, their logs, readers), vector_build.c (the builder) and vector_store.c (graphs on disk)
 * share. */
#ifndef HDB_SQL_VECTOR_INTERNAL_H
#define HDB_SQL_VECTOR_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "sql/vector_index.h"

typedef struct touch {
  int64_t time, id;
} touch;

typedef struct vector_graph {
  atomic_int references;
  hnsw *g;
  row_ids unplaced;               /* sorted; under the set's lock */
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
  bool parked;         /* left memory for others: comes back when somebody searches */
  bool over;           /* no room for it under the limit, */
  int64_t over_ms;     /* at that time */
  int64_t asked_ms;    /* the last search */
  touch *log;
  size_t log_n, log_capacity;
  uint64_t log_first; /* number of log[0] */
  int64_t floor;      /* every later commit is in the log */
  size_t unread;      /* logged since the builder looked */
  bool waiting;       /* made by a writer: for enough rows, or a search */
  bool unasked;       /* ... and nobody has searched in it */
  bool unwanted;      /* ... and somebody searches by another metric: it goes */
  bool making;        /* the builder is at it, from its rows or the store */
  bool wanted;        /* somebody asked for it to be built anew (REINDEX) */
  /* progress of building, and figures */
  _Atomic int64_t done, total, loaded;
  _Atomic int64_t walks, scans;
  /* of the builder alone */
  row_ids gone;   /* in the store, no longer in the graph */
  size_t unsaved; /* changes since the graph was stored */
  int64_t saved_ms;
  size_t uncalibrated; /* changes since recall was measured */
  size_t unmended;     /* changes since hnsw_mend */
  bool floats;         /* bytes were too coarse for its vectors */
  bool no_store;       /* the store failed, or is read-only */
};

struct vector_set {
  engine *e;
  pid_t pid;
  pthread_mutex_t lock;
  pthread_cond_t ended, wake;
  bool running, work;
  _Atomic int64_t limit; /* bytes of all graphs; 0: the default */
  int scanning; /* searches that go through the rows for want of a graph */
  atomic_bool stop;
  atomic_int indexes_n;
  vector_index *first;
  vector_set *next; /* of the process's */
};

/* vector_index.c */
void graph_release(vector_graph *g);
void log_forget(vector_index *i);
size_t log_after(const vector_index *i, int64_t time);
void log_shorten(vector_index *i);
/* Gives the graph up; the next search begins anew. Under the lock. */
void index_reset(vector_index *i);
/* Something to do for this index? Under the lock. */
static inline bool index_has_work(const vector_index *i) {
  if (i->unwanted) return i->graph || i->logging;
  return !i->failed && !i->waiting && !i->parked && !i->over && ((!i->graph && !i->logging) || (i->graph && (i->unread || i->wanted)));
}

vector_set *vector_set_of(engine *e); /* made when it is not there; NULL: out of memory, or a forked child */

/* vector_memory.c */
enum { VECTOR_BYTES_FROM = 64 }; /* dimensions; below, bytes are coarse and floats small */
int64_t vector_now_ms(void);
int64_t memory_limit(vector_set *s);
/* Before a graph of so many rows is made; false: there is none, its searches scan. */
bool memory_make_room(vector_index *i, int64_t rows);
void memory_keep(vector_set *s);     /* under the lock, which it may leave meanwhile */
void memory_asked(vector_index *i);  /* a search; under the lock */

/* vector_build.c */
/* Stores what changed, now or when it is time. */
status index_save(vector_index *i, bool now);
void builder_start(vector_set *s); /* under the lock */
/* The builder has ended: what is not stored yet is stored. */
void builder_leave(vector_set *s);

/* vector_store.c: nodes of the graph under the tree's number in the store beside the rows */
void store_prefix(const vector_key *k, buf *out);
/* The graph's nodes whose rows are as they were, from the cursor's view; fresh: rows that have to be added; i->gone: nodes
 * without a row. HDB_CORRUPT: begin anew, which looks at nothing stored. calibration: as stored, rows 0 when there is none. */
status store_load(vector_index *i, vector_graph *g, cursor *c, float *floats, row_ids *fresh, bool anew);
/* The nodes that changed, and those gone. */
status store_save(vector_index *i, vector_graph *g);
status store_clear(vector_index *i);

#endif
