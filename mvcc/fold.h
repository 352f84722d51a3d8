/* The inside of the leader's workspace; fold.c and cut.c. Private to mvcc. */
#ifndef HDB_MVCC_FOLD_H
#define HDB_MVCC_FOLD_H

#include "mvcc/internal.h"

typedef struct fold_group {
  uint32_t tree;
  slice lower, upper; /* upper.p NULL: to the end of the tree */
  bool existed;       /* kv has it under `lower` */
  bool dirty, shrunk, appended;
  slice bytes; /* as it lies in kv, or spliced: while `decoded` is not set, these count */
  group in;    /* ... opened */
  bool decoded;
  slice prefix;
  row *rows;
  size_t n, capacity;
  size_t applied; /* rows before the end of the last run */
  int64_t newest;
  group_history history;
} fold_group;

typedef struct fold_tree {
  tree_info *info;
  int64_t rows, bytes; /* what the batch adds */
  int64_t time;        /* of the newest request that changed it */
  bool inserted, deleted, rebuilt; /* rebuilt: cleared, loaded, erased: what was the largest row id is not known any more */
  int64_t rowid_max, deleted_max;
} fold_tree;

struct fold {
  engine *engine;
  arena memory;
  arena_mark empty;
  kv_batch *batch;
  size_t batch_bytes; /* when it was complete */
  cache_reader reader;
  int steps; /* that are tried before a seek */
  kv_iter *it; /* over the newest rows; closed before the batch is written */
  int64_t time, schema_time;
  bool shrunk, alone;
  uint32_t random; /* for GROUP_HOT_CHANCE */
  fold_group **groups;
  size_t groups_n, groups_capacity;
  fold_tree *trees;
  size_t trees_n, trees_capacity;
  write_entry **run;
  size_t run_n, run_capacity;
  buf wanted, encoded;
  version_record version;
  feed_record feed;
};

status fold_tree_of(fold *f, uint32_t tree, fold_tree **out);
/* Its rows as an array; before anything looks at rows, n or prefix. */
status fold_decode(fold *f, fold_group *g);
size_t fold_rows(const fold_group *g); /* how many, decoded or not */
status fold_locate(fold *f, uint32_t tree, slice key, fold_group **out);
/* The bound of the group that kv, before this batch, has left of g; p NULL: there is none. */
status fold_bound_before(fold *f, const fold_group *g, slice *bound);
status fold_load_before(fold *f, const fold_group *g, fold_group **out);
status fold_insert_group(fold *f, fold_group *g);
void fold_remove_group(fold *f, const fold_group *g);
/* cut.c */
/* Into the batch, cut or (may_merge) with its small neighbour; nothing when clean. */
status fold_write_group(fold *f, fold_group *g, bool may_merge);
/* What lies before g->applied, but for the last piece. */
status fold_write_head(fold *f, fold_group *g);
/* It lost rows and is now below the limit: GROUP_MERGE where a neighbour must be loaded, GROUP_AIM where it is at hand. */
bool fold_is_small(const fold_group *g, size_t limit);
/* The left one takes in the right one, when they are neighbours and both fit. */
status fold_merge(fold *f, fold_group *left, fold_group *right, bool *merged);
status fold_clear(fold *f, uint32_t tree, fold_tree *t);

#endif
