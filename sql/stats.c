/* Statement statistics: a table of texts a process, fed by statements when they go.
 *
 * Q1  A living statement counts in itself, without a lock: only its connection touches it. Another connection sees its
 *     executions when it is finalized or when the statement has counted some thousands (stats_keep).
 * Q2  At most TEXTS_MAX texts are kept; then the one with the least time gives its place, those of other databases first,
 *     and what it took is counted under "(others)". Texts are cut at TEXT_MAX bytes. The next VICTIMS to go are looked for
 *     at once: a text that came since with less time stays a little longer than it should.
 * Q3  A text belongs to a database: by its file's name, or to the connection's engine in memory.
 * Time is from the first step to the reset or the last row, in ticks of the CPU's clock; what a tick is worth is measured
 * against the system's clock when somebody asks.
 */
#include "sql/stats.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "sql/internal.h"

enum { TEXTS_MAX = 500, TEXT_MAX = 300, SLOW_KEPT = 50, SLOW_MS = 100, BUCKETS = 1024, VICTIMS = 32 };

typedef struct text {
  struct text *next; /* of its bucket */
  uint64_t database, hash;
  int64_t calls, ticks, longest, rows;
  char sql[TEXT_MAX + 1];
} text;
typedef struct slow {
  uint64_t database;
  int64_t at, rows;
  uint64_t ticks;
  char sql[TEXT_MAX + 1];
} slow;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static text *buckets[BUCKETS];
static int texts_n;
static struct victim {
  text *t;
  int64_t ticks; /* when it was chosen: one that has worked since is none */
} victims[VICTIMS];
static int victims_n;
static uint64_t victims_database;
static text others = {.sql = "(others)"};
static slow slow_ones[SLOW_KEPT];
static unsigned slow_n;
static uint64_t first_ticks;
static struct timespec first_clock;
uint64_t stats_slow_ticks = UINT64_MAX;

static double elapsed_ns(const struct timespec *from) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)(now.tv_sec - from->tv_sec) * 1e9 + (double)(now.tv_nsec - from->tv_nsec);
}

/* Measured over the library's life; in its first milliseconds a guess that is good enough. */
static double ms_per_tick(void) {
  uint64_t ticks = stats_ticks() - first_ticks;
  double ns = elapsed_ns(&first_clock);
  return ticks > 1000000 ? ns / (double)ticks / 1e6 : 0.5e-6;
}

__attribute__((constructor)) static void start(void) {
  clock_gettime(CLOCK_MONOTONIC, &first_clock);
  first_ticks = stats_ticks();
#if defined(__aarch64__)
  uint64_t hertz;
  __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hertz));
  stats_slow_ticks = hertz / 1000 * SLOW_MS;
#else
  stats_slow_ticks = 2000000ull * SLOW_MS; /* at 2 GHz; the exact time decides (stats_slow) */
#endif
}
static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }
static void watch_forks(void) { pthread_atfork(before_fork, after_fork, after_fork); }
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint64_t hash_bytes(const char *p, size_t n, uint64_t h) {
  for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)p[i]) * 0x100000001b3ull;
  return h;
}

/* Q3 */
static uint64_t database_of(const hdb *db) {
  const database *d = &db->databases[DB_MAIN];
  if (d->filename && *d->filename) return hash_bytes(d->filename, strlen(d->filename), 14695981039346656037ull);
  return (uint64_t)(uintptr_t)d->engine | 1;
}

static void copy_text(char *to, const char *sql, size_t n) {
  if (n > TEXT_MAX) n = TEXT_MAX;
  while (n && n == TEXT_MAX && ((uint8_t)sql[n] & 0xc0) == 0x80) n--; /* a character stays whole */
  memcpy(to, sql, n);
  to[n] = 0;
}

static void add(text *to, const statement_stats *k) {
  to->calls += k->calls, to->ticks += k->ticks, to->rows += k->rows;
  if (k->longest > to->longest) to->longest = k->longest;
}

static bool gives_way_before(const text *a, const text *b, uint64_t database) {
  bool other_a = a->database != database, other_b = b->database != database;
  return other_a != other_b ? other_a : a->ticks < b->ticks;
}

/* The last in the list is the first to go. */
static void find_victims(uint64_t database) {
  victims_n = 0;
  victims_database = database;
  for (int i = 0; i < BUCKETS; i++)
    for (text *t = buckets[i]; t; t = t->next) {
      if (victims_n == VICTIMS && !gives_way_before(t, victims[0].t, database)) continue;
      int at = 0;
      if (victims_n == VICTIMS) {
        for (; at + 1 < VICTIMS && gives_way_before(t, victims[at + 1].t, database); at++) victims[at] = victims[at + 1];
      } else {
        for (at = victims_n++; at > 0 && gives_way_before(victims[at - 1].t, t, database); at--) victims[at] = victims[at - 1];
      }
      victims[at] = (struct victim){t, t->ticks};
    }
}

static text *next_victim(uint64_t database) {
  for (int tries = 0; tries < 2; tries++) {
    if (victims_database != database) victims_n = 0;
    while (victims_n > 0) {
      struct victim *v = &victims[--victims_n];
      if (v->t->ticks == v->ticks) return v->t;
    }
    find_victims(database);
  }
  return victims_n > 0 ? victims[--victims_n].t : NULL;
}

/* Q2 */
static text *place_for(uint64_t database, const char *sql, size_t n) {
  uint64_t hash = hash_bytes(sql, n, database);
  text **bucket = &buckets[hash % BUCKETS];
  for (text *t = *bucket; t; t = t->next)
    if (t->hash == hash && t->database == database) return t;
  text *t;
  if (texts_n < TEXTS_MAX) {
    t = calloc(1, sizeof *t);
    if (!t) return &others;
    texts_n++;
  } else {
    t = next_victim(database);
    if (!t) return &others;
    text **at = &buckets[t->hash % BUCKETS];
    while (*at != t) at = &(*at)->next;
    *at = t->next;
    add(&others, &(statement_stats){.calls = t->calls, .ticks = t->ticks, .longest = t->longest, .rows = t->rows});
    *t = (text){0};
  }
  t->database = database, t->hash = hash;
  copy_text(t->sql, sql, n);
  bucket = &buckets[hash % BUCKETS];
  t->next = *bucket;
  *bucket = t;
  return t;
}

/* Of a statement with a key in it only the first word is kept. */
static size_t shown_n(const hdb_stmt *s) {
  size_t n = 0;
  if (!s->program || !s->program->holds_secret) return s->sql_n;
  while (n < s->sql_n && s->sql[n] > ' ') n++;
  return n;
}

void stats_keep(hdb_stmt *s) {
  statement_stats *k = &s->stats;
  if (k->calls == 0) return;
  pthread_once(&once, watch_forks);
  uint64_t database = database_of(s->db);
  pthread_mutex_lock(&lock);
  add(place_for(database, s->sql, shown_n(s)), k);
  pthread_mutex_unlock(&lock);
  *k = (statement_stats){.started = k->started};
}

void stats_slow(hdb_stmt *s, uint64_t ticks) {
  if ((double)ticks * ms_per_tick() < SLOW_MS) return;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  pthread_once(&once, watch_forks);
  pthread_mutex_lock(&lock);
  slow *at = &slow_ones[slow_n++ % SLOW_KEPT];
  *at = (slow){.database = database_of(s->db), .at = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000, .rows = s->stats.rows, .ticks = ticks};
  copy_text(at->sql, s->sql, shown_n(s));
  pthread_mutex_unlock(&lock);
}

/* ---- reading ---- */

static int by_time(const void *a, const void *b) {
  const text *x = a, *y = b;
  return x->ticks != y->ticks ? (x->ticks < y->ticks ? 1 : -1) : strcmp(x->sql, y->sql);
}

status stats_each(hdb *db, status (*visit)(void *context, const stats_row *r), void *context) {
  uint64_t database = database_of(db);
  double ms = ms_per_tick();
  status rc = HDB_OK;
  int n = 0;
  for (hdb_stmt *s = db->statements; s; s = s->next) stats_keep(s);
  pthread_mutex_lock(&lock);
  text *copy = calloc((size_t)texts_n + 1, sizeof *copy);
  for (int i = 0; copy && i < BUCKETS; i++)
    for (text *t = buckets[i]; t; t = t->next)
      if (t->database == database) copy[n++] = *t;
  if (copy && others.calls) copy[n++] = others;
  pthread_mutex_unlock(&lock);
  if (!copy) return sql_nomem(&db->err);
  if (n > 1) qsort(copy, (size_t)n, sizeof *copy, by_time);
  for (int i = 0; i < n && rc == HDB_OK; i++)
    rc = visit(context, &(stats_row){copy[i].sql, copy[i].calls, copy[i].rows, (double)copy[i].ticks * ms, (double)copy[i].longest * ms});
  free(copy);
  return rc;
}

status stats_each_slow(hdb *db, status (*visit)(void *context, const slow_row *r), void *context) {
  uint64_t database = database_of(db);
  double ms = ms_per_tick();
  status rc = HDB_OK;
  slow *copy = malloc(sizeof slow_ones);
  if (!copy) return sql_nomem(&db->err);
  pthread_mutex_lock(&lock);
  memcpy(copy, slow_ones, sizeof slow_ones);
  unsigned end = slow_n;
  pthread_mutex_unlock(&lock);
  for (unsigned i = end > SLOW_KEPT ? end - SLOW_KEPT : 0; i < end && rc == HDB_OK; i++) {
    const slow *s = &copy[i % SLOW_KEPT];
    if (s->database == database) rc = visit(context, &(slow_row){s->sql, s->at, s->rows, (double)s->ticks * ms});
  }
  free(copy);
  return rc;
}
