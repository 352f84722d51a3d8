/* Several processes on one directory, for the files of mvcc: process.c who owns it, serve.c the owner's answers, remote.c
 * a client's questions.
 *
 * A client runs its own SQL over the same cursors: its engine's store is the owner's, read through a socket (kv/process.h),
 * its views are snapshots that the owner keeps for it (leases), its write sets are its own; a commit is one request.
 *
 * A1  A page of memory shows the clients what moves: the newest visible time, floors, the branches' generation. A begin
 *     without a commit since the last one costs no message (one system call, which tells whether the owner is there).
 * A2  The client's hot cache: a new view comes with the groups that commits touched since the client's last one, which go
 *     from the cache before anybody can use the view. So H1 and H2 of cache.c hold as they do beside the leader.
 * A3  When the owner is gone whoever notices takes the lock and opens the store in its own engine, or connects to who did.
 *     The generation moves; views of before are over. An open transaction goes on AS OF its view's time (view_restore).
 * A4  A commit is named by (client, number). Its client may give it up as long as the owner has not begun with it (permits,
 *     kv/process.h): then it is not made, ever. In doubt is what was begun and not answered: it is sent again, and the owner
 *     looks in the feed, after the view's time, whether it is there; a rollback asks the same first. Numbers are never used
 *     twice.
 * A5  A turn lost with its owner: the commit then succeeds only if nothing was committed since its view.
 * A6  A child after a fork has its engines as clients of whoever owns the directory; transactions that were open are over.
 * Locks: refresh (a client's new view) and recovery are outside of all of the engine's; sessions' inside the queue's.
 */
#ifndef HDB_MVCC_PROCESS_H
#define HDB_MVCC_PROCESS_H

#include "kv/process.h"
#include "mvcc/internal.h"

enum { /* what a client asks, from ASK_MORE of kv/process.h on */
       ASK_VIEW = ASK_MORE,
       ASK_DROP,
       ASK_TURN,
       ASK_COMMIT,
       ASK_END,
       ASK_ROWIDS,
       ASK_TREE,
       ASK_SETTING,
       ASK_RETENTION,
       ASK_COLLECT,
       ASK_CHECKPOINT,
       ASK_BRANCH_CREATE,
       ASK_BRANCH_DROP,
       ASK_BRANCH_DELTA,
       ASK_BRANCH_USE,
       ASK_CHANGED,
       ASK_DUTY,
       ASK_COPY,
       ASK_TELL,
       ASK_ERASE
};
enum { COMMIT_AGAIN = 1, COMMIT_EXCLUSIVE = 2, COMMIT_FULL = 4, COMMIT_SETTING = 8 };
enum { TREE_CLEARED = 1 };

typedef struct engine_page {
  uint32_t magic, version;
  _Atomic int64_t visible, durable, history_floor, feed_floor, retention; /* retention: a double's bits */
  _Atomic uint32_t branches;                                              /* moves when they do */
  atomic_int history, feed;
} engine_page;

/* Groups that commits touched, for the clients' caches. */
typedef struct touched_group {
  int64_t time;
  uint32_t tree, lower_n;
  size_t at; /* of the bound in the ring's bytes */
  bool whole;
} touched_group;

typedef struct session session;
struct processes {
  char *path;
  struct crypt_key *key; /* NULL: plain */
  uint64_t client;       /* this engine's name as a client */
  _Atomic uint64_t numbers;
  pthread_mutex_t recovery;
  atomic_int patience_ms;

  /* the owner */
  owner *lock;
  serve *server;
  serve_calls calls;
  int page_fd;
  engine_page *page; /* what it shows, NULL: nobody looks */
  pthread_mutex_t sessions_lock;
  pthread_cond_t is_ready;
  session *sessions;
  bool ready, closing;
  _Atomic uint32_t branches; /* generation */
  pthread_mutex_t touched_lock;
  atomic_bool noting;     /* somebody may ask */
  touched_group *touched; /* a ring */
  size_t touched_first, touched_n;
  buf touched_bytes;
  int64_t touched_floor; /* every commit after it is in there */

  /* a client */
  kv *_Atomic far; /* the owner's store; what is asked goes here, whatever the engine's store is by now */
  engine_page *_Atomic theirs;
  engine_page **pages; /* all that were mapped; they stay, somebody may look */
  kv **stores;         /* ... of owners that are gone */
  size_t former_n;
  pthread_mutex_t refresh;
  int64_t synced; /* the cache knows the commits up to here; -1: nothing */
  uint32_t synced_generation, branches_seen;
  int64_t watched; /* the watcher was told up to here */
};

extern unsigned process_forks;

/* ---- process.c ---- */
status process_new(engine *e, const char *path, struct crypt_key *key);
/* The store, ours or another process's (then e->remote). */
status process_open(engine *e, const char *path, const engine_options *asked, const kv_options *options,
                    kv **store, error *err);
void process_serve(engine *e);
void process_close(engine *e);  /* no client is served any more; the store is still open */
void process_closed(engine *e); /* the store is closed: the directory is free */
bool process_forked(engine *e); /* in the child; false: out of memory, the engine is left alone */
/* The owner of this generation is gone: takes over or connects anew. HDB_BUSY: neither was possible in time. */
status process_recover(engine *e, uint32_t generation);
status process_get(engine *e, enum kv_family family, slice key, kv_value *out); /* the newest */
void process_patience(engine *e, int timeout_ms);
static inline engine_page *process_page(const engine *e) {
  return atomic_load_explicit(&e->processes->theirs, memory_order_acquire);
}
double process_page_retention(const engine *e);
status process_look(engine *e); /* a client: the engine's own fields after the page */
void process_settle(engine *e);
void process_branches_moved(engine *e);
status process_do_duty(engine *e);

/* ---- serve.c ---- */
void serve_calls_init(serve_calls *calls, engine *e);
enum { SESSION_IDLE_MS = 60000 };
void sessions_drop_idle(engine *e, int64_t idle_ms);
bool process_is_used(engine *e); /* a client is there */
bool process_branch_used(engine *e, uint32_t branch);
int64_t sessions_oldest_view(engine *e, int64_t newest);

/* ---- remote.c ---- */
/* One question; either may be NULL. HDB_BUSY_RECOVERY: the storage is in this process now. Others' ends are dealt with. */
status remote_ask(engine *e, uint32_t ask, const buf *request, buf *reply);
status remote_copy(engine *e, const char *path);
status remote_report(engine *e, engine_report *out);
status remote_setting_put(engine *e, const char *name, slice value);
status remote_set_retention(engine *e, double seconds, int timeout_ms);
status remote_branch_create(engine *e, const char *name, uint32_t parent, int64_t as_of, uint32_t *id);
status remote_branch_drop(engine *e, uint32_t id);
status remote_branch_delta(engine *e, uint32_t branch, uint32_t tree, uint32_t *own);
status remote_branch_use(engine *e, uint32_t former, uint32_t now);

/* ---- branch.c ---- */
status branch_delta(engine *e, uint32_t id, uint32_t tree, uint32_t *own);
/* ---- erase_rules.c ---- the owner's answer */
status erase_serve(engine *e, reader *r, buf *reply);
/* ---- feed.c ---- the watcher learns what main's commits in (since, upto] touched, as if they were made here */
status feed_tell_watcher(engine *e, int64_t since, int64_t upto);
/* ---- scan.c ---- a forked child: what the parent's store holds is not touched */
void scan_forget_store(txn *t, kv *dead);

#endif
