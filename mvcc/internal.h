/* What the files of mvcc share. Private to the folder.
 *
 * Lock order (outer first): registry -> turn/queue -> trees -> view -> sync. No lock is held while a user's
 * thread is in kv, but for the leader of the queue, who alone folds and writes.
 */
#ifndef HDB_MVCC_INTERNAL_H
#define HDB_MVCC_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "kv/base/key.h"
#include "kv/base/leave.h"
#include "kv/base/record.h"
#include "kv/base/wait.h"
#include "kv/kv.h"
#include "mvcc/cache.h"
#include "mvcc/group.h"
#include "mvcc/mvcc.h"
#include "mvcc/plant.h"
#include "mvcc/writeset.h"

/* ---- views: a branch at a time, with the kv snapshot that shows it (engine.c) ---- */
typedef struct view {
  atomic_int references;
  uint32_t branch;
  uint32_t generation; /* of the engine's store */
  kv *store;
  bool remote; /* ... which is another process's */
  struct view *under; /* restored: what is read AS OF time; then snapshot is that view's */
  int64_t time;
  int64_t schema_time; /* newest commit <= time that touched TREE_SCHEMA */
  engine *engine;
  kv_snapshot *snapshot;
} view;

/* ---- what is known of a tree, shared by all transactions (tree.c) ---- */
typedef struct rowid_claim {
  const txn *owner;
  int64_t max;
} rowid_claim;
typedef struct branch branch;
typedef struct processes processes;
typedef struct tree_info {
  uint32_t tree;
  struct tree_info *chain;      /* hash chain; entries live as long as the engine */
  _Atomic int64_t changed_time; /* newest commit that touched the tree (since the engine opened) */
  /* under lock: */
  pthread_mutex_t lock;
  bool count_known;
  int64_t rows, bytes; /* as of count_time */
  int64_t count_time;
  int64_t asked_ms; /* a client: when the owner was last asked */
  int64_t rowid_max, rowid_time; /* the largest key that was inserted last, and when */
  bool floor_known, floor_any;   /* the largest row id there is is known (any: there is a row) to views from floor_time on: */
  int64_t floor_max, floor_time; /* commits since have raised it; one that takes the largest away makes it unknown */
  int64_t branch_max;            /* the largest that was given on any branch, once there are branches */
  atomic_bool branch_rowids;     /* branch_max knows what the branches hold */
  rowid_claim *claims;           /* row ids given to open transactions */
  size_t claims_n, claims_capacity;
} tree_info;

/* ---- commit requests ---- */
typedef struct sweep_item {
  uint32_t tree;
  slice bound;
} sweep_item;

enum { REQUEST_LEADS = 2, REQUEST_DONE = 3 };
/* erase.c */
typedef struct erase_tree {
  uint32_t tree;
  bool rebuild; /* as erase_rule's */
  bool (*matches)(void *context, slice key);
  void *context;
} erase_tree;
typedef struct erase_part {
  uint32_t tree; /* itself, or a branch's part of it */
  const erase_tree *spec;
} erase_part;
typedef struct erase_request {
  erase_part *parts; /* ascending by tree */
  size_t parts_n, parts_capacity;
  const erase_tree *counted; /* whose rows the report counts */
  erase_report *report;
} erase_request;

typedef struct request {
  struct request *next;
  txn *owner;
  pthread_cond_t wake; /* in line */
  wait_word state;     /* in the queue: set to one of the above */
  status result;
  int64_t time; /* given by the leader; 0: the writes came to nothing */
} request;

typedef struct waiter { /* in line while somebody holds the turn */
  struct waiter *next;
  txn *owner;
  bool wants_turn, granted;
  int thread;
} waiter;

/* ---- recently committed keys (recent.c) ---- */
typedef struct recent_commit recent_commit;
typedef struct recent {
  struct recent_slot *slots; /* open addressing: hash of (tree, key) -> newest commit time */
  size_t slots_n, used;      /* slots_n is 0 or a power of two */
  recent_commit *oldest, *newest;
  struct recent_whole *wholes; /* trees cleared or filled as a whole */
  size_t wholes_n, wholes_capacity;
  size_t bytes;
  int64_t floor; /* every commit above it is in here */
} recent;
enum { RECENT_BYTES_MAX = 64 << 20 };
void recent_init(recent *r, int64_t time);
void recent_free(recent *r);
/* Forgets the commits up to and including this time. */
void recent_forget(recent *r, int64_t time);
void recent_forget_oldest(recent *r);
status recent_begin(recent *r, int64_t time);
status recent_add(recent *r, uint32_t tree, slice key);
/* Every key of the tree counts as written. */
status recent_add_whole(recent *r, uint32_t tree);
/* Newest known time that wrote the key or the whole tree; 0: none. */
int64_t recent_time(const recent *r, uint32_t tree, slice key);
/* Keys of the tree that were committed after `since`, in no order; false from visit ends it. whole: no key. */
typedef bool (*recent_visitor)(void *context, int64_t time, slice key, bool whole);
void recent_each(const recent *r, uint32_t tree, int64_t since, recent_visitor visit, void *context);

/* ---- what a serializable transaction has read (reads.c) ---- */
typedef struct read_range {
  uint32_t tree;
  slice low, high; /* inclusive; high.p NULL: to the end of the tree */
} read_range;
typedef struct reads {
  read_range *ranges;
  size_t n, capacity, join_at;
  arena memory;
} reads;
void reads_clear(reads *r);
void reads_free(reads *r);
status reads_add(reads *r, uint32_t tree, slice low, const slice *high); /* high NULL: to the end */
/* The leader: was a key of it committed after the view? Then *holds is false and tree and key say which. */
status reads_validate(reads *r, engine *e, int64_t view_time, bool *holds, uint32_t *tree, slice *key);

/* ---- engine ---- */
enum { TREE_BUCKETS = 1024 };
struct engine {
  /* registry */
  struct engine *registry_next;
  int references;
  bool leaving; /* out of the registry, being closed */
  pid_t pid; /* who opened it */
  dev_t device;
  ino_t inode;
  char *path;
  int64_t linger_until_ms;
  int linger_ms;

  pthread_mutex_t rest_lock; /* outside of kv; resting: the store does nothing by itself while nobody uses it */
  bool resting;
  kv *_Atomic store;
  _Atomic uint32_t generation; /* moves when the store becomes another: what was read through the old one is over */
  atomic_bool remote;          /* the store is another process's (process.h) */
  processes *processes;        /* NULL: memory */
  int64_t opened_time;         /* the newest commit when the store was opened */
  bool memory, read_only;
  atomic_bool history, feed;
  _Atomic int64_t feed_floor;    /* the feed holds every commit after it */
  _Atomic int64_t history_floor; /* AS OF reaches back to here */
  double retention; /* under collect_lock once the engine is open */
  _Atomic int64_t visible, durable;
  _Atomic int64_t schema_time;
  atomic_int broken; /* a status: the store failed, nothing more is written */
  atomic_int open_count; /* transactions open now */

  pthread_mutex_t view_lock;
  atomic_int views; /* that hold a snapshot */
  view *newest; /* NULL: made by the next reader */

  /* the queue: one lock for turn and commits */
  pthread_mutex_t queue_lock;
  request *waiting, **waiting_tail;
  bool leading;
  pthread_cond_t idle; /* no leader any more */
  pthread_cond_t settled; /* a batch is done */
  const txn *turn;     /* who holds the writer's turn */
  int turn_thread;     /* ... and since when, for engine_tell */
  int64_t turn_since_ms;
  waiter *line, **line_tail;

  pthread_mutex_t sync_lock;
  bool syncing;
  struct sync_waiter *sync_first, **sync_tail; /* wait for the next one */

  /* only the leader touches these */
  struct fold *fold;
  cache *cache; /* NULL: kv is fast enough (memory) */
  struct images *images;
  int64_t image_lasted; /* microseconds: a state of a group that lasted so long is worth an image; 0 in tests */
  struct packing *packing;
  recent recent;
  int64_t last_time;

  pthread_mutex_t trees_lock;
  tree_info *trees[TREE_BUCKETS];
  uint32_t next_tree, next_tree_end;

  pthread_mutex_t collect_lock;
  pthread_cond_t collected;
  bool collecting, closing;
  int64_t collect_at_ms; /* the leader's */

  pthread_mutex_t branches_lock; /* outside of trees and txns */
  _Atomic int64_t branches_newest; /* the newest branch point; 0: no branches */
  branch *branches;              /* in order of making; they live as long as the engine */

  pthread_mutex_t txns_lock;
  txn *txns;
  atomic_int txns_n;

  engine_watcher *_Atomic watcher; /* watch.c */
  atomic_bool alarm_set;           /* engine_alarm */
  void (*alarm)(void *);
  void *alarm_context;

  pthread_mutex_t duty_lock; /* process.c */
  pthread_cond_t duty_done;
  engine_duty duty;
  int duty_calls;
  _Atomic uint64_t batches_begun, batches_done;
};

/* aside.c: the leader, for each tree that a request clears */
void aside_forget(engine *e, kv_batch *batch, uint32_t tree);

/* watch.c: the leader, for each tree that a request changed */
void watch_tell(engine *e, const write_tree *w, int64_t time);
void watch_release(engine *e);

void setting_key(buf *key, const char *name); /* of a setting in KV_META */
status view_newest(engine *e, view **out); /* a reference */
view *view_make(engine *e, kv *store, int64_t time, int64_t schema_time, kv_snapshot *snapshot); /* takes the snapshot */
/* An open transaction's view whose store is gone: the same, read AS OF its time through the new store. */
status view_restore(engine *e, const view *old, view **out);
void view_release(view *v);
static inline view *view_hold(view *v) {
  atomic_fetch_add_explicit(&v->references, 1, memory_order_relaxed);
  return v;
}
/* The leader: writes the batch and makes time `time` visible, as one step for readers. */
status engine_publish(engine *e, kv_batch *batch, int64_t time, int64_t schema_time);
status engine_sync_to(engine *e, int64_t time);
/* What is kept in kv, for the owner who has just opened it. */
status engine_load(engine *e, double retention);
status engine_load_again(engine *e); /* ... after it was a client */
int64_t engine_now(void); /* wall clock, microseconds since 1970 */
int64_t engine_ticks_ms(void);
void engine_deadline(struct timespec *ts, int timeout_ms);
void cond_init_monotonic(pthread_cond_t *c);

/* ---- trees (tree.c) ---- */
status tree_get(engine *e, uint32_t tree, tree_info **out);
void trees_free(engine *e);
status trees_load(engine *e); /* those known already, for an owner who was a client */
status tree_new_id(engine *e, uint32_t *tree);
/* The leader: rows and bytes added by the commit at `time`; put into the batch. */
void tree_count_key(uint32_t tree, buf *key);
void tree_count_value(const tree_info *i, buf *value);
void tree_release_claims(tree_info *i, const txn *owner);
void trees_release_claims(engine *e, const txn *owner); /* in all of them */

/* ---- transactions ---- */
typedef struct scan scan;
struct txn {
  engine *engine;
  txn *next, **previous; /* the engine's list */
  _Atomic int64_t open_view_time; /* 0: not open */
  cache_reader reader;
  view *view;            /* kept after the end, for the next begin */
  int64_t as_of;     /* txn_set_as_of; 0: the present */
  branch *branch, *last_branch; /* NULL: main */
  uint32_t last_tree, last_delta; /* branch_tree's memory */
  uint64_t ended; /* how often it did */
  int64_t view_time; /* of the open transaction; outlives its view in a memory engine's commit */
  uint64_t schema_local;
  bool open, has_turn;
  bool exclusive;      /* the commit must find nothing committed since the view: the turn was lost with its owner */
  uint32_t claims_generation; /* a client's: the owner who gave it row ids; 0: none. They are lost with him */
  uint32_t turn_generation; /* a client's turn: of which owner; 0: none */
  bool guest;          /* another process's, here for its commit (serve.c) */
  _Atomic uint64_t *permit; /* a guest's: whether its commit may begin (kv/process.h); NULL: it may */
  uint64_t permit_number;
  uint64_t number;     /* the client's: with it names a commit request; a guest's: it as the feed shows it */
  uint64_t client;
  bool in_doubt;       /* a client's commit that may have been made */
  bool known;          /* the owner knows it: claims, the turn, a commit whose reply did not come */
  status doomed;
  enum txn_sync sync;
  enum txn_policy policy;
  writeset writes;
  scan *active;  /* cursors that stand somewhere */
  scan *holding; /* cursors that hold an iterator */
  request request;
  uint32_t conflict_tree;
  buf conflict_key;
  const struct sweep_item *sweep; /* retention's request: groups to delete if they are empty */
  size_t sweep_n;
  const erase_request *erase; /* a request to erase */
  reads reads;    /* TXN_SERIALIZABLE */
  bool unwatched; /* ... but not now: a read of our own */
  value_rises rises; /* of txn_put_rising */
  bool claims;    /* row ids were given */
  bool keeps_claims; /* ... and stay given beyond the end (txn_keep_claims) */
  buf setting_name, setting_value; /* txn_put_setting; no name: none */
  uint32_t *made; /* trees made since the begin */
  size_t made_n, made_capacity;
};
status txn_write_tree(txn *t, uint32_t tree, write_tree **out); /* its write set, made at the first write */
/* The oldest view of an open transaction, `newest` when none is older. */
int64_t txn_oldest_view(engine *e, int64_t newest);
status txn_check_open(txn *t);
void txn_set_conflict(txn *t, uint32_t tree, slice key);
/* scan.c: the transaction ended (its cursors go on over what it shows next), or wrote a tree for the first time */
void scan_detach_all(txn *t);
void scan_hand_over_reads(txn *t); /* the ranges that active cursors are walking, into t->reads */
void scan_attach_writes(txn *t, write_tree *w);
void scan_view_changed(txn *t); /* idle cursors give back iterators over other views */
status txn_refresh_view(txn *t);
status txn_restore_view(txn *t); /* where the open transaction's view is over */
void txn_finish(txn *t, bool committed);
/* Row ids for t in a row, above `floor` and what others have been given: *first and at least one. */
status txn_rowid_floor(txn *t, uint32_t tree, write_tree *w); /* w->rowid_max is what the transaction sees */
status txn_claim_rowids(txn *t, tree_info *i, int64_t floor, int64_t count, int64_t *first);

/* ---- keys of groups and of their history ---- */
enum { GROUP_KEY_TREE = 4 };
static inline void group_key(buf *b, uint32_t tree, slice bound) {
  buf_be32(b, tree);
  buf_append(b, bound.p, bound.n);
}

/* tree . bound in chunks (version.c); the commit time goes behind it */
void version_bound(buf *b, uint32_t tree, slice bound);
/* A key of KV_VERSIONS taken apart (inspect.c); false: damaged. The bound is appended. */
bool version_place_get(slice key, uint32_t *tree, buf *bound, int64_t *time);

/* ---- folding (fold.c) ---- */
typedef struct fold fold;
status fold_new(engine *e, fold **out);
void fold_free(fold *f);
/* A batch: fold_begin, fold_request for each in the queue's order, fold_finish, engine_publish, fold_end. */
status fold_begin(fold *f);
/* A request that must be the only one of its batch: it is large, or clears a tree. */
bool fold_wants_alone(const txn *t);
/* Validates and applies one request at its commit time. What is wrong with the request alone is *outcome (and then
 * nothing of it was applied); the returned status is the whole batch's. *changed: it wrote something. */
status fold_request(fold *f, txn *t, int64_t time, bool alone, status *outcome, bool *changed);
/* Every touched group goes into the batch; counts become known (before anybody can see the commit). */
status fold_finish(fold *f);
kv_batch *fold_batch(fold *f);
int64_t fold_schema_time(const fold *f);
void fold_end(fold *f);

/* ---- history records (version.c) ---- */
typedef struct version_record {
  buf bytes;
  uint32_t count;
  buf previous; /* the last key added, for the common beginning */
  buf columns;
} version_record;
void version_begin(version_record *r);
/* How `key` was before: old NULL: absent (only where no fresh flag can say so). now: its new value, NULL: deleted. */
void version_add(version_record *r, slice prefix, const row *old, const slice *now, int64_t time);
status version_put(version_record *r, kv_batch *batch, uint32_t tree, slice bound, int64_t time);
void version_free(version_record *r);

/* ---- packing of history in the background (pack.c) ---- */
typedef struct packing packing;
enum { PACK_WEIGHT = 2048 }; /* bytes of records after which a bound is packed */
status packing_new(packing **out);
void packing_free(packing *p);
/* The records under this place (tree . bound in chunks) are to be packed; the thread starts when enough of it came together. */
void pack_request(engine *e, slice place, size_t urgency);
void pack_settle(engine *e); /* until all that was asked for is done */
size_t pack_waiting(engine *e);
status pack_all(engine *e); /* every bound; and waits for it */
void pack_sizes(engine *e, size_t block, size_t chapter); /* tests: smaller ones, before anything is packed */
void pack_stop(engine *e);   /* before the engine goes */
void pack_rest(engine *e, bool resting); /* true: stops behind the place at hand; false: may go on */
void pack_hold(engine *e);   /* nothing is packed until pack_let */
void pack_let(engine *e);
status pack_check_format(engine *e, error *err); /* format_check's */
status format_check(engine *e, error *err);      /* at open (format.c) */
#define FEATURE_CHAPTERS "chapters"
#define FEATURE_REDO "redo"
bool format_has(engine *e, const char *feature);
status format_need(engine *e, kv_batch *batch, const char *feature); /* what follows in the batch needs it */

/* ---- the feed (feed.c) ---- */
typedef struct feed_record {
  buf bytes, previous;
  uint32_t tree, part, branch;
  uint64_t client, number;
  bool any, open; /* open: a list of keys is being written */
  int64_t time;
} feed_record;
void feed_begin(feed_record *r, int64_t time, uint32_t branch, uint64_t client, uint64_t number);
/* When the client's request of that number committed after `since`; 0: it did not. HDB_NOTFOUND: cannot be told. */
status feed_find_request(engine *e, int64_t since, uint64_t client, uint64_t number, int64_t *time);
/* The leader, between batches: recent knows the commits after `since` again, as far as there is room. */
status feed_recall(engine *e, int64_t since);
void feed_key(feed_record *r, kv_batch *batch, uint32_t tree, slice key);
void feed_whole(feed_record *r, kv_batch *batch, uint32_t tree);
status feed_end(feed_record *r, kv_batch *batch);
void feed_free(feed_record *r);
/* A part of the feed without the keys that are to be forgotten: into out, when *changed. key: room for keys. */
typedef bool (*feed_forgets)(void *context, uint32_t tree, slice key);
/* Calls take for every key of a part. */
typedef status (*feed_part_visitor)(void *context, uint32_t tree, slice key, bool whole);
status feed_read(slice part, buf *key, uint64_t *branch, feed_part_visitor take, void *context);
status feed_without(slice part, feed_forgets forgets, void *context, buf *out, buf *key, bool *changed);

/* ---- bulk (bulk.c) ---- */
void bulk_publish(engine *e, kv_batch *batch, uint32_t tree);
void bulk_remove(engine *e, uint32_t tree);
status bulk_is_unpublished(engine *e, const kv_snapshot *snapshot, uint32_t tree, bool *is);
status bulk_remove_unpublished(engine *e); /* at open */

/* ---- erasing (erase.c) ---- */
status engine_erase(txn *caller, const erase_tree *trees, size_t n, int timeout_ms, erase_report *report);
status erase_fold(struct fold *f, const txn *t, bool *changed); /* the leader's */
void erase_finish(engine *e); /* before the store closes: what an erasing could not compact away is */

/* ---- retention (retain.c) ---- */
void retain_when_due(engine *e); /* the leader, after a batch */
bool retain_is_running(engine *e);
void alarm_ring(engine *e);
void retain_stop(engine *e);     /* before the engine goes */

/* ---- branches (branch.c) ---- */
status branches_load(engine *e);
status branches_sync(engine *e); /* a client: what others did to the branches */
void branches_free(engine *e);
int64_t branches_oldest(engine *e); /* the oldest live branch point; INT64_MAX */
status retain_for_branches(engine *e); /* history is kept from now on */
/* The tree that holds what the transaction's branch has of `tree`; made when it is not there. */
status branch_tree(txn *t, uint32_t tree, uint32_t *own);
/* Each part that a branch has of the tree. */
typedef status (*branch_delta_visitor)(void *context, uint32_t own, const erase_tree *spec);
status branch_each_delta(engine *e, const erase_tree *spec, branch_delta_visitor visit, void *context);
uint32_t branch_tree_behind(txn *t, uint32_t own);
status branch_expect(txn *t, uint32_t tree, slice prefix);
int64_t branch_schema_time(txn *t);
typedef status (*branch_versions_of)(txn *t, uint32_t tree, int64_t from, int64_t to, version_visitor visit, void *context);
/* branch_versions.c: b NULL is main */
status branch_versions(txn *t, const branch *b, uint32_t tree, int64_t from, int64_t to, branch_versions_of read,
                       version_visitor visit, void *context);
const branch *branch_parent(const branch *b);
int64_t branch_point(const branch *b);
uint32_t branch_part(engine *e, const branch *b, uint32_t tree); /* its own tree for what it wrote; 0: nothing */
status branch_rowid_floor(txn *t, tree_info *i);
slice branch_tombstone(void);
status branch_clear(txn *t, uint32_t tree);
status branch_cursor_open(txn *t, uint32_t tree, int64_t as_of, cursor **out);
void layered_close(cursor *c);
void layered_reset(cursor *c);
void layered_first(cursor *c);
void layered_last(cursor *c);
void layered_seek(cursor *c, slice key);
void layered_seek_for_prev(cursor *c, slice key);
bool layered_find(cursor *c, slice key);
/* scan.c: a cursor over the tree itself, whatever the transaction's branch */
status scan_open(txn *t, uint32_t tree, int64_t as_of, cursor **out);

/* ---- several processes (process.h) ---- */
void process_init(engine *e);
void engine_wake(engine *e); /* somebody uses it again */
void process_free(engine *e);
static inline bool is_remote(const engine *e) { return __builtin_expect(atomic_load_explicit(&e->remote, memory_order_acquire), 0); }
/* The leader: a group that the commit at `time` puts or deletes; whole: all of the tree. */
void process_touched(engine *e, uint32_t tree, slice lower, int64_t time, bool whole);
/* What clients are shown of the engine's state has changed. */
void process_show(engine *e);

/* ---- what a client does instead (remote.c) ---- */
status remote_view_newest(engine *e, view **out);
status remote_begin_turn(txn *t, int timeout_ms);
status remote_commit(txn *t, int timeout_ms, int64_t *time); /* HDB_BUSY_RECOVERY: the storage is here now: commit here */
status remote_settle_doubt(txn *t); /* HDB_ABORT: it was made */
void remote_end(txn *t);                                     /* what the owner keeps for it */
status remote_new_rowid(txn *t, uint32_t tree, write_tree *w, int64_t above, int64_t *rowid);
status remote_new_tree(engine *e, uint32_t *tree);
status remote_count(txn *t, uint32_t tree, int64_t *rows);
void remote_estimate(engine *e, tree_info *i);
int64_t remote_changed_time(engine *e, uint32_t tree);

/* ---- the queue (commit.c) ---- */
status queue_take_turn(engine *e, txn *t, int timeout_ms);
void queue_leave_turn(engine *e, txn *t);
status queue_commit(engine *e, txn *t, int timeout_ms);

#endif
