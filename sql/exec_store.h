/* Stores of rows inside plan nodes: key maps, sorters. (Spools are in plan.h.)
 *
 * S1  Keys are compared as bytes (key.h) when every collation is builtin; otherwise by calling the collation.
 *     Both ways equal keys are equal under SQLite's comparison, and the order is the same.
 * S2  Sorting is stable: rows with equal keys come out as they went in.
 * S3  A store owns what it keeps; rows it hands out stay valid until its next call.
 */
#ifndef HDB_SQL_EXEC_STORE_H
#define HDB_SQL_EXEC_STORE_H

#include "sql/plan.h"

typedef struct key_spec {
  const collation *c; /* NULL: BINARY */
  bool descending;
  uint8_t nulls;      /* 0 default (first when ascending), 1 first, 2 last */
} key_spec;

/* Appends a normalised key; false when out of memory or the collation is the user's. */
bool key_spec_write(buf *out, const value *v, const key_spec *spec);
int key_spec_compare(const value *a, const value *b, const key_spec *spec);
bool key_specs_builtin(const key_spec *specs, int n);
status node_no_memory(exec *x);
uint64_t bytes_hash(const void *p, size_t n);

/* ---- a map from key tuples to payloads ---- */
typedef struct key_entry key_entry;
struct key_entry {
  uint64_t hash;
  key_entry *chain;
  const uint8_t *key; /* normalised bytes; NULL when compared by value */
  uint32_t key_n;
  uint32_t order;     /* of insertion */
  value *values;      /* the key as it came first; NULL when not kept */
  /* payload behind */
};
static inline void *key_entry_payload(key_entry *e) { return e + 1; }

typedef struct key_map {
  exec *x;
  int n;
  const key_spec *specs;
  bool by_value;
  bool keep_values;
  size_t payload;
  arena memory;
  buf scratch;
  key_entry **buckets;
  size_t buckets_n;
  key_entry **entries; /* insertion order; by_value: key order */
  size_t entries_n, capacity;
} key_map;
void key_map_init(key_map *m, exec *x, int n, const key_spec *specs, size_t payload, bool keep_values);
/* NULL: not there (add false). HDB_NOMEM. */
status key_map_find(key_map *m, const value *values, bool add, bool *added, key_entry **out);
/* entries[] in key order afterwards; no key_map_find after it. */
status key_map_sort(key_map *m);
void key_map_clear(key_map *m);

/* ---- a sorter ---- */
typedef struct sort_key {
  int column;
  key_spec spec;
} sort_key;
typedef struct sorter sorter;
/* limit < 0: all; else only the first `limit` rows are kept. */
sorter *sorter_new(exec *x, int columns_n, int keys_n, const sort_key *keys, int64_t limit);
/* true: a row whose first key is this is not among the best; it need not be made. */
bool sorter_refuses(const sorter *s, const value *first_key);
status sorter_add(sorter *s, const value *row);
status sorter_finish(sorter *s);
/* Rows handed out stay where they are until the sorter goes (nothing was spilled); else only until the next call. */
bool sorter_rows_stay(const sorter *s);
void sorter_budget(size_t bytes); /* of memory for one sorter; for tests */
status sorter_next(sorter *s, const value **row); /* HDB_ROW, HDB_DONE */
void sorter_reset(sorter *s); /* empty again, for the next rows */
void sorter_free(sorter *s);

#endif
