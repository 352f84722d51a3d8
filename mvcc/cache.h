/* The hot cache of groups (cache.c has its rules). Private to mvcc. */
#ifndef HDB_MVCC_CACHE_H
#define HDB_MVCC_CACHE_H

#include <pthread.h>
#include <stdatomic.h>

#include "kv/base/bytes.h"
#include "kv/base/status.h"

/* A group as it is now, shared by reference. */
typedef struct cached {
  atomic_int references;
  uint32_t tree;
  int64_t since; /* a view at or after this time sees this group with this range */
  slice lower, upper, bytes; /* upper.p NULL: to the end of the tree */
} cached;

typedef struct cache cache;
/* Whoever looks into the cache has one: it says from when on he may hold what was taken out. */
typedef struct cache_reader {
  struct cache_reader *next, **previous;
  _Atomic uint64_t epoch; /* 0: not looking */
  uint32_t random;
} cache_reader;

status cache_new(size_t bytes_max, cache **out);
void cache_free(cache *c); /* no reader may be left */
void cache_size(cache *c, size_t *bytes, size_t *bytes_max);
void cache_add_reader(cache *c, cache_reader *r);
void cache_remove_reader(cache *c, cache_reader *r);

/* The group that covers the key, if it is here and the view sees it so; NULL otherwise. */
cached *cache_get(cache *c, cache_reader *r, uint32_t tree, slice key, int64_t view_time);
/* The same for some keys of one tree that are about to be asked for: the searches are made side by side, so that they wait
 * for memory together, and what was found is on its way to the processor. */
enum { CACHE_TOGETHER = 16 };
void cache_get_many(cache *c, cache_reader *r, uint32_t tree, const slice *keys, int n, int64_t view_time, cached **out);
/* Does the group cover this key (of its tree)? */
static inline bool cached_covers(const cached *g, slice key) {
  return slice_compare(key, g->lower) >= 0 && (!g->upper.p || slice_compare(key, g->upper) < 0);
}
/* Is a group that was not here to be offered? Of a full cache only one in four: where every key is as likely as the others
 * the offers are the dearest part of a miss, and what is asked for again and again still comes in. */
bool cache_wants(const cache *c, cache_reader *r);
/* The group right before the one with this bound; the tree's last group. */
cached *cache_before(cache *c, cache_reader *r, uint32_t tree, slice lower, int64_t view_time);
cached *cache_last(cache *c, cache_reader *r, uint32_t tree, int64_t view_time);
/* A copy of a group to be shared; NULL: out of memory. One reference. */
cached *cached_new(uint32_t tree, slice lower, slice upper, slice bytes, int64_t since);
void cached_release(cached *g);
static inline cached *cached_hold(cached *g) {
  atomic_fetch_add_explicit(&g->references, 1, memory_order_relaxed);
  return g;
}
/* What a reader found in kv at his view; taken in unless the group was changed since. */
void cache_offer(cache *c, cached *g, int64_t view_time);

/* The committer, before he writes: each group that the commit at `time` puts or deletes (cached_new's result, or NULL
 * bytes). keep: worth having even when it was not here. */
void cache_commit_begin(cache *c);
void cache_commit_put(cache *c, cached *g, int64_t time, bool keep);
void cache_commit_delete(cache *c, uint32_t tree, slice lower, int64_t time);
void cache_commit_tree(cache *c, uint32_t tree, int64_t time); /* all groups of a tree are gone */
void cache_commit_end(cache *c);
/* After a commit that failed: what is in here may be what it wanted. Offers count from views at `time` on. */
void cache_drop(cache *c, int64_t time);

enum { CACHED_MAX = 32 * 1024 }; /* larger groups are not worth it */

#endif
