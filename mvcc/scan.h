/* The inside of a cursor; scan.c and version.c. Private to mvcc. */
#ifndef HDB_MVCC_SCAN_H
#define HDB_MVCC_SCAN_H

#include "mvcc/images.h"
#include "mvcc/internal.h"

typedef struct past past;

struct scan {
  cursor pub; /* first: a cursor is a scan */
  txn *t;
  uint32_t tree;
  int64_t as_of;
  uint8_t tree_key[4];

  /* the transaction's lists: cursors that stand somewhere; cursors that hold an iterator */
  bool active;
  scan *active_next, **active_previous;
  scan *holding_next, **holding_previous;

  /* the committed side: the group in hand, from the cache or under an iterator over groups; the row in it */
  view *v;
  kv_iter *it;   /* opened when the cache does not have it */
  cached *expected[CACHE_TOGETHER]; /* by cursor_expect, at this view: of the rows to be found soon */
  int expected_n, expected_at;
  cached *hot;   /* the group in hand is this one; NULL: it is under the iterator */
  bool fresh;    /* a tree that the transaction fills in bulk: its iterator shows kv's newest state */
  bool it_ahead; /* with hot: the iterator stands on the next group */
  buf copy;
  group g;
  size_t at;
  bool base_valid;
  slice base_key, base_value;
  uint8_t *key; /* prefix + suffix of the row */
  size_t key_capacity;
  buf wanted; /* tree + key of the last seek */

  /* a serializable transaction's: the range being walked (reads.c) */
  bool watched, whole_low, whole_high; /* whole_*: it reaches to that end */
  buf low, high;                       /* where it was put, and the furthest it came */
  buf asked;
  void (*real_next)(cursor *), (*real_prev)(cursor *);

  /* the private side */
  write_tree *w;
  write_position p;
  uint64_t generation;
  bool cleared, on_base, on_writes;
  int direction;
  past *past; /* as_of: what it takes to undo a group */
  buf saved; /* a key that outlives what it was borrowed from */
};

/* The past that is read: the cursor's, or a restored view's (view_restore); 0: none. */
static inline int64_t scan_time(const scan *s) { return s->as_of ? s->as_of : s->v && s->v->under ? s->v->time : 0; }
/* past.c: the group in hand as it was at scan_time(s); valid until the next one. */
status scan_past_group(scan *s);
void past_free(past *p);
void past_forget_store(past *p); /* a forked child */
void past_drop(past *p); /* what it holds of the view */

#endif
