/* What statements have cost, a process: kept with the statement while it lives, folded into a table of texts when it
 * goes (stats.c). Two reads of the CPU's clock an execution, no lock. */
#ifndef HDB_SQL_STATS_H
#define HDB_SQL_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "sql/hdb.h"

typedef struct statement_stats {
  int64_t calls, ticks, longest, rows;
  uint64_t started; /* ticks; 0: not running */
} statement_stats;

static inline uint64_t stats_ticks(void) {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t t;
  __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
  return t;
#else
#error "no cycle counter is known for this machine"
#endif
}

extern uint64_t stats_slow_ticks; /* from here on an execution is written down as slow */
void stats_slow(hdb_stmt *s, uint64_t ticks);

static inline void stats_begin(statement_stats *k) { k->started = stats_ticks(); }
static inline uint64_t stats_end(statement_stats *k) {
  uint64_t ticks = stats_ticks() - k->started;
  k->calls++;
  k->ticks += (int64_t)ticks;
  if ((int64_t)ticks > k->longest) k->longest = (int64_t)ticks;
  return ticks;
}
/* The statement goes, or changes its text: what it has counted stays. */
void stats_keep(hdb_stmt *s);

typedef struct stats_row {
  const char *sql;
  int64_t calls, rows;
  double total_ms, longest_ms;
} stats_row;
typedef struct slow_row {
  const char *sql;
  int64_t at; /* microseconds since 1970 */
  int64_t rows;
  double ms;
} slow_row;
/* Texts by the time they took, those of the connection's database and its process; the connection's living statements are
 * counted in. Stops at the first status other than HDB_OK. */
status stats_each(hdb *db, status (*visit)(void *context, const stats_row *r), void *context);
status stats_each_slow(hdb *db, status (*visit)(void *context, const slow_row *r), void *context);

#endif
