/* Reading one source of a join: positions, search keys, the slot it fills. Used by exec_join.c. */
#ifndef HDB_SQL_EXEC_ACCESS_H
#define HDB_SQL_EXEC_ACCESS_H

#include "kv/base/key.h"
#include "sql/plan_internal.h"

typedef struct key_list { /* encoded keys of one IN, ascending, each once */
  buf bytes;
  struct key_range { uint32_t at, n; } *keys;
  int n, capacity, at;
  bool loaded;
} key_list;

typedef struct row_map row_map;
typedef struct vector_run vector_run;

typedef struct access_state {
  exec *x;
  const access *a;
  slot *slot;
  cursor *c, *t;         /* main cursor; the table's for rows found through an index */
  bool started, done, has_in, found_table_row;
  int64_t rowid_low, rowid_high;
  buf prefix, low, high, low_bound, high_bound, scratch, row_key;
  bool has_low, has_high;
  key_list *lists;       /* one a part */
  arena memory;          /* conversions of search values; rewound at each open */
  spool *spool;   /* ACCESS_QUERY, materialised */
  const spool *shared_spool; /* shared rows, owned by their node */
  int64_t row_at;
  bool filled;
  struct hash_rows *hash;
  struct or_state *or_;
  void *function;        /* ACCESS_FUNCTION */
  struct vector_run *vector; /* ACCESS_VECTOR */
  status error;          /* of a fetch, which has no way to say it */
  status (*step)(struct access_state *s);
  bool has_rowid;
  int64_t probes, map_at; /* row id lookups so far; when a map is worth it (0: not known yet) */
  row_map *map;
} access_state;

/* Made once an execution. */
status access_prepare(exec *x, const access *a, access_state *s);
/* Positions before the first row for the current outer rows. */
status access_open(access_state *s);
status access_halt(access_state *s); /* done, or a fetch failed */
/* HDB_ROW (slot set), HDB_DONE or an error. */
static inline status access_step(access_state *s) {
  if (__builtin_expect(s->done | (s->error != HDB_OK), 0)) return access_halt(s);
  return s->step(s);
}
void access_null_row(access_state *s);
void access_release(access_state *s);
/* Bytes that name the current row among the source's rows. */
slice access_row_key(access_state *s);

/* exec_rowmap.c: *out stays NULL until it is worth it. */
status row_map_consider(access_state *s, cursor *c, row_map **out);
bool row_map_find(const row_map *m, int64_t rowid, slice *record);
void row_map_free(row_map *m);
/* exec_hash.c */
status hash_open(access_state *s);
status hash_step(access_state *s);
void hash_release(access_state *s);
/* exec_or.c */
status or_open(access_state *s);
status or_step(access_state *s);
void or_release(access_state *s);
/* exec_function.c */
status function_open(access_state *s);
status function_step(access_state *s);
void function_release(access_state *s);
/* exec_access.c: the range of row ids an access is bounded to; none: done */
status rowid_bounds(access_state *s);
/* exec_vector.c: within these bounds */
status vector_open(access_state *s);
status vector_step(access_state *s);
void vector_release(access_state *s);

const value *spool_row(const spool *s, int64_t row);
void spool_clear(spool *s);

#endif
