/* mvcc: rows in time.
 *
 * Above: sql sees ordered trees of (key, value) in a transaction's view. Below: kv sees bytes.
 * A tree is a table (key = encoded row id, or the encoded PRIMARY KEY of a WITHOUT ROWID table; value =
 * a record, kv/base/record.h) or an index (key = encoded columns + row key; value = empty, or a record of
 * the original columns when the key lost something). Groups, versions, feed and branches stay in here.
 *
 * M1  A view is fixed at its first read: branch + time + the transaction's own writes. It never moves.
 * M2  A commit is one batch in the queue's order; its time is above every earlier commit's; either all of it
 *     is visible or none, also after a crash.
 * M3  A commit that returned OK under TXN_SYNC_FULL is on stable storage.
 * M4  A failed commit has written nothing; its transaction is doomed until txn_rollback.
 * M5  Facts (txn_expect) hold on the committed state that results, under any interleaving.
 *
 * Threads: an engine may be used from any number of threads; a txn and its cursors by one at a time.
 * Tree 1 is the schema; TREE_SETTINGS holds the settings that are transactional (user_version ...). The first table gets 2,
 * as its root page in SQLite is 2.
 */
#ifndef HDB_MVCC_H
#define HDB_MVCC_H

#include "kv/base/bytes.h"
#include "kv/base/status.h"

typedef struct engine engine;
typedef struct txn txn;
typedef struct cursor cursor;

enum { TREE_SCHEMA = 1, TREE_FIRST = 2, TREE_SETTINGS = 0x7ffffff0, BRANCH_MAIN = 0 };

/* ---- engine: one a directory a process, counted, lingering after the last close ---- */
typedef struct engine_options {
  bool create;          /* a directory that is not there is made */
  bool read_only;
  double retention;     /* seconds of history kept; negative: the stored setting (new on disk: 7 days, memory: 0) */
  int linger_ms;        /* how long it stays open after its last close */
  struct crypt_key *key; /* the data key of an encrypted directory (kv/base/crypt.h), NULL: a plain one */
  unsigned mode;        /* of a directory that is made; 0: 0755 */
  bool network;         /* also on a network file system */
  bool settles;         /* another process must wait until engine_ready: the opener still fills it */
} engine_options;

/* path: the directory; NULL: a private engine in memory (opens in well under 0.1 ms). */
status engine_open(const char *path, const engine_options *options, engine **out, error *err);
/* One more reference to an engine that is open. */
engine *engine_hold(engine *e);
/* The engine of the directory, if this process has one that somebody has open; a reference more. NULL: none. */
engine *engine_in_use(const char *path);
/* Gives the reference back; the last one starts the linger. Open transactions must be gone. */
void engine_close(engine *e);
/* Closes every lingering engine now, flushed (atexit; before the directory is removed). */
void engine_close_lingering(void);
status engine_checkpoint(engine *e); /* flush; everything durable */
int64_t engine_newest(engine *e);    /* time of the newest visible commit, 0: none */
int64_t engine_durable(engine *e);   /* ... of the newest durable one */
/* AS OF reaches back to this time, and the feed to the commits after it; INT64_MAX: no history is kept. */
int64_t engine_oldest(engine *e);
/* Seconds of history kept; 0 none, INFINITY all. Set: stored with the database. From 0 on: history begins now; to 0:
 * what there is goes. HDB_READONLY; HDB_BUSY: it must switch, and somebody has the turn. */
double engine_retention(engine *e);
status engine_set_retention(engine *e, double seconds, int timeout_ms);
/* Removes history and feed beyond the retention now; it also happens by itself. */
status engine_collect(engine *e);
int engine_references(engine *e); /* who has it open */
bool engine_is_memory(const engine *e);

/* ---- several processes: one owns a directory, the engines of the others reach the storage through it ---- */
/* Is the storage in this process? It may become so whenever the owner's process goes. Memory engines: true. */
bool engine_is_owner(const engine *e);
void engine_ready(engine *e);
/* Calls it when the process ends, in a forked child too; the last one that was given is called first. A few at most. */
void engine_at_exit(void (*call)(void));
/* How often this process is a child of the one that loaded this code. A transaction that was open when it forked is not
 * open in the child. */
unsigned engine_forks(void);
/* What the owner's process does for all (app.db). Set by every process; called only where the storage is. */
typedef struct engine_duty {
  status (*settle)(void *context, engine *e); /* bring app.db up to date now; on any thread, no lock of the engine's held */
  void (*taken_over)(void *context); /* the storage is in this process from now on; must be quick; may be NULL */
  void *context;
} engine_duty;
void engine_set_duty(engine *e, const engine_duty *d); /* NULL: none from now on; waits until a call at work has ended */
/* Runs settle in the owner's process and waits for it; HDB_OK where that has no duty. HDB_BUSY_RECOVERY: this process is the
 * owner (or has just become it): then the caller does it himself. */
status engine_run_duty(engine *e);
/* The processes that this one, the owner, serves now. */
size_t engine_clients(engine *e);
/* Non-transactional settings under text names (mirror stamps, database id): read, and written with one sync. */
status engine_setting_get(engine *e, const char *name, buf *out); /* HDB_NOTFOUND */
status engine_setting_put(engine *e, const char *name, slice value);
status engine_setting_note(engine *e, const char *name, slice value); /* ... without the sync: power loss may undo it */
/* Commits up to this time are on stable storage when it returns HDB_OK. */
status engine_make_durable(engine *e, int64_t time);
/* Rings once, at the next commit, on the thread that commits and after everybody can see it; must be quick. One alarm an
 * engine; ring NULL: none. A commit of before may ring late. */
void engine_alarm(engine *e, void (*ring)(void *), void *context);
status engine_settings_forget(engine *e, const char *prefix); /* all whose name begins so */
/* The store as it is now, history and all, into a new directory while others go on: by hard links, under the same key; or
 * written anew under another one (NULL: plain). The first is the owner's alone (HDB_BUSY). kv's words are not kept: HDB_IOERR, HDB_FULL, HDB_CANTOPEN. */
status engine_copy(engine *e, const char *path);
status engine_copy_as(engine *e, const char *path, struct crypt_key *key);

/* ---- looking into it ---- */
/* Every stored key of a family (engine_family; -1: all) with what it means in words, as of one moment. */
typedef struct stored stored;
int engine_family(const char *name); /* meta, commits, rows, index, versions, branches, hnsw; -1: none of them */
status stored_open(engine *e, int family, stored **out);
status stored_next(stored *s, bool *there);
const char *stored_family(const stored *s); /* of the key at hand; its slices live until the next step */
slice stored_key(const stored *s);
slice stored_value(const stored *s);
slice stored_words(const stored *s);
void stored_close(stored *s);
/* Checks everything below SQL (check.c): a call for each problem, in words. */
typedef status (*problem_visitor)(void *context, const char *words);
status engine_check(engine *e, problem_visitor visit, void *context);

/* ---- transactions: one object a connection, used again and again ---- */
enum txn_sync { TXN_SYNC_OFF, TXN_SYNC_NORMAL, TXN_SYNC_FULL };
enum txn_policy { TXN_LAST_COMMIT_WINS, TXN_FIRST_COMMIT_WINS, TXN_SERIALIZABLE };
enum txn_mode {
  TXN_READ,     /* the view is taken now; writing it later is allowed (it becomes a writer) */
  TXN_IMMEDIATE /* holds the writer's turn from now on: nothing else commits in between */
};

status txn_new(engine *e, txn **out);
void txn_free(txn *t); /* rolls back what is open */
void txn_set_sync(txn *t, enum txn_sync sync);
/* For the next transaction on; reads are watched by cursors that are opened under TXN_SERIALIZABLE. */
void txn_set_policy(txn *t, enum txn_policy policy);
void txn_keep_reads(txn *t); /* what watching cursors have walked is validated at the commit, whatever the policy then */
/* Everything is read as of this time, and writes are HDB_READONLY; before its first transaction. */
void txn_set_as_of(txn *t, int64_t time);

/* Takes the newest view; cheap (no allocation, no kv call) when nothing was committed since the last one.
 * HDB_BUSY: TXN_IMMEDIATE waited timeout_ms for the turn. */
status txn_begin(txn *t, enum txn_mode mode, int timeout_ms);
bool txn_is_open(const txn *t);
bool txn_has_turn(const txn *t);
bool txn_has_writes(const txn *t);
bool txn_reads_own_writes(const txn *t); /* a cursor stands in a tree that it has written */
bool txn_is_alone(const txn *t); /* no other transaction is open just now */
size_t txn_write_bytes(const txn *t); /* memory its private writes take, about */
/* Doomed: a failed commit; everything but txn_rollback fails with the same status. */
bool txn_is_doomed(const txn *t);
/* Validates, folds, writes. HDB_BUSY_SNAPSHOT: a conflict; HDB_CONSTRAINT_UNIQUE / _FOREIGNKEY: a fact failed
 * (both: txn_conflict tells which tree and key); HDB_BUSY: somebody holds the turn, transaction intact.
 * commit_time: the time given, 0 when nothing was written. */
status txn_commit(txn *t, int timeout_ms, int64_t *commit_time);
void txn_rollback(txn *t);
/* Before a rollback that the application asks for: what became of a commit that another process had begun with when it ceased
 * to answer. HDB_OK: nothing, it may be rolled back; HDB_ABORT: it was made, the transaction is over; HDB_BUSY: it cannot be
 * told yet. */
status txn_settle_doubt(txn *t);
void txn_conflict(const txn *t, uint32_t *tree, slice *key);
int64_t txn_view_time(const txn *t);

/* Savepoints are marks in the write set; also used around every statement, so they cost nothing. */
typedef struct txn_mark {
  size_t position;
} txn_mark;
txn_mark txn_save(const txn *t);
void txn_rollback_to(txn *t, txn_mark mark);

/* Which parsed schema fits this view: equal stamps, equal schema. */
typedef struct schema_stamp {
  int64_t time;   /* newest commit in the view that touched TREE_SCHEMA */
  uint64_t local; /* changed by each write of this transaction to TREE_SCHEMA and each rollback of one */
} schema_stamp;
schema_stamp txn_schema_stamp(txn *t);

/* ---- reading ---- */
struct cursor {
  bool valid;
  slice key, value; /* borrowed until the cursor moves or its transaction writes to this tree */
  status error;     /* HDB_OK, or why valid became false */
  bool layered;     /* of a branch (branch.c) */
  /* Moves; all leave valid/key/value/error. A cursor survives writes of its transaction: the next move goes on
   * from its last key over what is there then. */
  void (*next)(cursor *c);
  void (*prev)(cursor *c);
};
/* as_of 0: the transaction's view with its own writes; otherwise committed rows as of that time
 * (HDB_ERROR_SNAPSHOT: before engine_oldest). */
status cursor_open(txn *t, uint32_t tree, int64_t as_of, cursor **out);
void cursor_close(cursor *c);
/* Drops what it holds and is ready for the next execution of its statement (and the next view). */
void cursor_reset(cursor *c);
void cursor_first(cursor *c);
void cursor_last(cursor *c);
void cursor_seek(cursor *c, slice key);          /* first key >= key */
void cursor_seek_for_prev(cursor *c, slice key); /* last key <= key */
bool cursor_find(cursor *c, slice key);          /* that very key: the point read, by the hot cache where it can */
/* cursor_find will be asked for these soon: a hint, so that their waits for memory overlap. At most 16. */
void cursor_expect(cursor *c, const slice *keys, int n);
static inline void cursor_next(cursor *c) { c->next(c); }
static inline void cursor_prev(cursor *c) { c->prev(c); }

/* Every version of a tree's rows that was current at some time in [from, to], and every deletion in it; in order of
 * (key, from). A committed view: own writes are not in it. HDB_ERROR_SNAPSHOT: from is before engine_oldest. */
enum version_op { VERSION_INSERT, VERSION_UPDATE, VERSION_DELETE };
typedef struct row_version {
  slice key, value; /* VERSION_DELETE: the last value */
  int64_t from, to; /* current in [from, to); to INT64_MAX: still. VERSION_DELETE: gone in [from, to) */
  enum version_op op;
} row_version;
typedef status (*version_visitor)(void *context, const row_version *v);
status versions_between(txn *t, uint32_t tree, int64_t from, int64_t to, version_visitor visit, void *context);

/* Rows of a tree in this view; HDB_NOTFOUND when not known without a scan. */
status txn_count(txn *t, uint32_t tree, int64_t *rows);
/* An estimate for the planner, any age: rows and bytes; never fails. */
void txn_estimate(txn *t, uint32_t tree, int64_t *rows, int64_t *bytes);

/* ---- writing ---- */
enum put_kind {
  PUT_INSERT, /* the caller has seen that the key is absent */
  PUT_UPDATE, /* ... that it is present */
  PUT_UPSERT, /* not known */
  PUT_NEW     /* as PUT_INSERT, and when the key is there at the commit that is HDB_CONSTRAINT_UNIQUE, no conflict */
};
status txn_put(txn *t, uint32_t tree, slice key, slice value, enum put_kind kind);
/* A value that only ever rises (a counter of ids): two transactions that put it do not conflict, the higher stays. */
typedef bool (*value_rises)(slice from, slice to); /* is `to` above `from`? one function a transaction */
/* A setting (engine_setting_put) that the commit writes too, in its batch: both are there or neither. One a transaction. */
status txn_put_setting(txn *t, const char *name, slice value);
status txn_put_rising(txn *t, uint32_t tree, slice key, slice value, value_rises rises);
status txn_delete(txn *t, uint32_t tree, slice key); /* the caller has seen that it is present */
/* Every row of a tree; a new id is never needed. */
status txn_clear(txn *t, uint32_t tree);
/* A new tree's id, never given again, also not after rollback. */
status txn_new_tree(txn *t, uint32_t *tree);
/* Row ids as SQLite gives them: max+1 of what the transaction sees, ids given to open transactions skipped; and larger
 * than `above` (INT64_MIN: any). HDB_FULL: the largest is 2^63-1 (SQLite then tries random ones). */
status txn_new_rowid(txn *t, uint32_t tree, int64_t above, int64_t *rowid);
/* While on, row ids given stay given when the transaction ends: it will be run again and give the same ones. */
void txn_keep_claims(txn *t, bool keep);

/* What must hold on the committed result (M5). The caller has already seen it hold in its own view. */
enum fact {
  FACT_UNIQUE, /* at most one key of the tree starts with `prefix` */
  FACT_EXISTS, /* at least one does */
  FACT_NONE,   /* none does */
  FACT_SINGLE  /* as FACT_UNIQUE, but its failing is a conflict: somebody would handle it */
};
status txn_expect(txn *t, enum fact fact, uint32_t tree, slice prefix);
/* FACT_NONE, unless a key of the other tree starts with `other` (children without a parent). */
status txn_expect_none_unless(txn *t, uint32_t tree, slice prefix, uint32_t other_tree, slice other);
/* For what no fact can say: nobody else has changed the tree when this commits, else HDB_BUSY_SNAPSHOT. */
status txn_expect_unchanged(txn *t, uint32_t tree);
/* Reads that are not the application's (false) do not count under TXN_SERIALIZABLE. */
void txn_watch_reads(txn *t, bool on);

/* Bulk: keys in ascending order into a tree that is empty in this view and that no other transaction knows
 * (import, CREATE INDEX, rebuild). Written in chunks outside the write set, published by the commit. */
typedef struct bulk bulk;
status bulk_open(txn *t, uint32_t tree, bulk **out);
status bulk_add(bulk *b, slice key, slice value); /* HDB_CONSTRAINT_UNIQUE when not above the last key */
status bulk_finish(bulk *b);                      /* frees it, also on failure */
void bulk_abandon(bulk *b); /* then go back to a mark from before bulk_open */

/* ---- branches: a name for main, or another branch, as it was at a time, and what was changed since ---- */
typedef struct branch_info {
  uint32_t id, parent;
  const char *name, *parent_name;
  int64_t point, created; /* microseconds; main: 0 */
} branch_info;
/* as_of 0: now. HDB_CONSTRAINT_UNIQUE: there is one of this name; HDB_NOTFOUND: no such parent. From now on history back
 * to the branch point is kept. */
status branch_create(engine *e, const char *name, uint32_t parent, int64_t as_of, uint32_t *id);
status branch_find(engine *e, const char *name, uint32_t *id); /* HDB_NOTFOUND */
/* HDB_BUSY: it has children, or a transaction object is set to it. Its space is given back. */
status branch_drop(engine *e, uint32_t id);
typedef status (*branch_visitor)(void *context, const branch_info *b); /* must not call branch_* */
status branch_each(engine *e, branch_visitor visit, void *context); /* main first */
/* What the transaction reads and writes from its next begin on. No cursor of it may be there. HDB_NOTFOUND */
status txn_set_branch(txn *t, uint32_t id);
uint32_t txn_branch(const txn *t);
bool txn_is_past(const txn *t); /* txn_set_as_of */
bool txn_is_main_now(const txn *t); /* neither on a branch nor on the past */
/* Every key of the tree that the branch itself wrote or deleted since it was made, in order. */
typedef status (*branch_key_visitor)(void *context, slice key);
status branch_keys(txn *t, uint32_t id, uint32_t tree, branch_key_visitor visit, void *context);

/* ---- erasing: as if it had never been there ---- */
/* How the keys of a tree name rows: */
enum erase_kind {
  ERASE_KEY,   /* they are the rows' keys */
  ERASE_LAST8, /* their last eight bytes are */
  ERASE_PARTS  /* parts of them, put together, are: part `at` of columns_n encoded ones (kv/base/key.h), complemented or not */
};
typedef struct erase_key_part {
  int at;
  bool flipped;
} erase_key_part;
typedef struct erase_rule {
  uint32_t tree;
  bool rebuild; /* keys that are not all row ids: groups are cut anew, since their bounds tell of keys */
  enum erase_kind kind;
  int columns_n, parts_n; /* ERASE_PARTS */
  const bool *descending; /* by column */
  const erase_key_part *parts;
} erase_rule;
typedef struct erase_report {
  int64_t rows; /* of the first tree, in main and in branches' parts of it */
  int64_t versions, feed_keys;
  int views; /* views from before that others hold: what they see is in the files until the engine closes */
} erase_report;
/* Takes the rows with these keys (sorted) out of the trees, of main and of all branches, with their history and what the
 * feed says of them, and compacts. The caller's transaction is not open, and gives its view back. HDB_BUSY: somebody has
 * the turn. The setting `erase`, if there is one, goes in the same write. */
status engine_erase_rows(txn *caller, const slice *keys, size_t n, const erase_rule *rules, size_t rules_n, int timeout_ms,
                         erase_report *report);

/* ---- for operators: what the engine is doing (report.c) ---- */
typedef struct engine_report {
  int64_t format;
  int64_t bytes_rows, bytes_versions, bytes_feed, bytes_redo, bytes_vectors, bytes_meta; /* about, on disk and in memory */
  int64_t cache_bytes, cache_bytes_max;
  int open_transactions, transaction_objects;
  int64_t oldest_view;   /* of an open transaction; 0: none is open */
  int64_t branch_pin;    /* history back to here is kept for branches; 0: no branch */
  bool turn_held;        /* BEGIN IMMEDIATE, DDL, MERGE: by this thread (as gettid says) for so long */
  int turn_thread;
  int64_t turn_ms;
  int waiting_in_line;
  bool collecting;       /* retention is at work */
  int64_t packing_waiting; /* places of history to be packed */
  bool broken;
} engine_report;
void engine_tell(engine *e, engine_report *out);
int64_t engine_group_bytes(void); /* about, of a group of rows */

/* ---- the feed: what changed since a time ---- */
/* Called for each key of main that commits in (since, upto] touched, in order of (tree, key), once;
 * whole = true: the whole tree must be looked at. Stops at the first status other than HDB_OK. */
typedef status (*feed_visitor)(void *context, uint32_t tree, slice key, bool whole);
/* HDB_NOTFOUND: the feed does not reach back to `since` any more. */
status feed_changes(engine *e, int64_t since, int64_t upto, feed_visitor visit, void *context);
/* The feed holds the commits after this time; INT64_MAX: there is none. */
int64_t feed_oldest(engine *e);
/* Each commit in (since, upto], in order of time. */
typedef struct commit_info {
  int64_t time;
  uint32_t branch;
  int64_t trees, keys; /* touched; keys: without those of trees that were touched as a whole */
  bool whole;          /* there are such */
  const struct commit_tree { uint32_t tree; bool whole; int64_t keys; } *each; /* trees of them */
} commit_info;
typedef status (*commit_visitor)(void *context, const commit_info *c);
status feed_commits(engine *e, int64_t since, int64_t upto, commit_visitor visit, void *context);

/* ---- beside the rows: what can be made again from a tree's rows (aside.c); no time, no branch; gone when the tree is cleared ---- */
typedef struct aside aside; /* a batch; keys are within the tree */
status aside_open(engine *e, uint32_t tree, aside **out); /* HDB_READONLY */
void aside_put(aside *a, slice key, slice value);
void aside_delete(aside *a, slice key);
void aside_clear(aside *a, slice prefix); /* every key that begins so */
size_t aside_bytes(const aside *a);
status aside_write(aside *a); /* all or nothing; the batch is empty then. An engine in memory keeps nothing. */
void aside_close(aside *a);
typedef struct aside_cursor {
  bool valid;
  slice key, value; /* borrowed until it moves */
  status error;
} aside_cursor;
status aside_cursor_open(engine *e, uint32_t tree, slice prefix, aside_cursor **out); /* on the first key; as of now */
void aside_cursor_next(aside_cursor *c);
void aside_cursor_seek(aside_cursor *c, slice key); /* the first key >= key */
void aside_cursor_close(aside_cursor *c);

/* ---- watching: what commits touch, told while they commit (also where there is no feed) ---- */
/* Called by the committing thread before anybody can see the commit; must be quick. A commit that fails afterwards was
 * told too. whole: the tree was cleared or filled, no key. */
typedef struct engine_watcher {
  bool (*wants)(void *context, uint32_t tree);
  void (*touched)(void *context, uint32_t tree, int64_t time, slice key, bool whole);
  void (*release)(void *context); /* the engine closes; its trees can still be read in here */
  void *context;
} engine_watcher;
/* One watcher an engine, for its life: *w is kept unless there is one already. Returns the kept one's context (NULL: out of
 * memory); then the caller frees what it brought if that is another. */
void *engine_watch(engine *e, const engine_watcher *w);
void *engine_watched(engine *e); /* its context, NULL: none */
/* Waits for the commits at work now: later ones ask `wants` anew. */
void engine_settle(engine *e);
/* Each key that the transaction has written in a tree; whole: it cleared or filled it, no key. */
typedef void (*write_visitor)(void *context, slice key, bool whole);
void txn_each_write(txn *t, uint32_t tree, write_visitor visit, void *context);

#endif
