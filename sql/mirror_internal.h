/* What the files mirror*.c share.
 *
 * One `mirror` a database file a process, shared by its connections, kept for the process's life (a record of 300 bytes).
 * `own` is a connection of the mirror's own on main; every work on the file goes through it, under `lock`.
 * Locks, in this order: lock; then the list's (mirror.c) or the keeper's (mirror_keeper.c), each for moments only.
 */
#ifndef HDB_SQL_MIRROR_INTERNAL_H
#define HDB_SQL_MIRROR_INTERNAL_H

#include <sys/stat.h>

#include "sql/mirror.h"

struct sqlite3;

enum { HELD_MS = 500 }; /* mirror_held.c */

/* How the file looks from outside; a look that is equal needs no opening. */
typedef struct file_look {
  int64_t size, mtime_ns, inode;
  int64_t wal_size, wal_mtime_ns;
} file_look;

/* What we know of the file, in the engine's setting mirror.note. */
typedef struct mirror_note {
  uint64_t id, secret[2];
  int64_t time;      /* the file equals main as of then; 0: it was never written */
  int64_t signature; /* of the file as it was then (file_facts) */
  uint64_t legacy;   /* its stamp when it was written by an older version, which gave random ones */
  file_look look;
  uint8_t foreign;   /* it was taken in and carries no stamp of ours yet */
  uint8_t header;    /* nothing but the stamp is in it (mirror=False) */
} mirror_note;

/* What the file says, read under SQLite's lock. */
typedef struct file_facts {
  uint64_t id, stamp;     /* stamp 0: not ours */
  int64_t time, counter;  /* of the stamp: counter as it was to be after its transaction, -1 unknown */
  int64_t signature;      /* SQLite's change counter, and what lies in the -wal */
  bool wal;
} file_facts;

enum mirror_event { MIRROR_TAKEN_IN, MIRROR_MERGED, MIRROR_RESTORED };
typedef struct mirror_outcome {
  int64_t inserted, updated, deleted, conflicts;
  bool any;       /* definitions or rows were changed */
  bool discarded; /* something in the file did not go in: the file is to be written whole */
  buf details;    /* records, one a conflict (mirror_log.c) */
} mirror_outcome;

struct mirror {
  _Atomic int64_t look_at; /* ticks in ms: when the next statement looks at the file */
  char *path, *directory;
  int references;          /* the list's lock: connections, and those that are opening or closing */
  pthread_mutex_t lock;
  hdb *own;                /* NULL: nobody has it open */
  mirror_note note;
  bool off;                /* mirror=False */
  atomic_bool orphan;      /* file or directory were deleted under its connections: nothing is written any more */
  atomic_bool heir;        /* the storage is in this process since somebody else went */
  atomic_bool outdated;    /* another process has kept the file until now: the note is to be read again */
  bool behind;             /* the last try could not write the file */
  bool rewrite;            /* the next write is a whole one */
  char *trouble;           /* ... why; NULL */
  int64_t written_at;      /* ticks in ms, 0 never */
  int64_t writes, cost_us; /* how often; CPU time of the last */
  uint64_t plain_id;       /* E5 of mirror_export.c: of the database, and its schema's time; 0: not known */
  int64_t plain_time;
  /* mirror_held.c */
  struct sqlite3_stmt *read_stamp;
  schema *schema; /* of the mirror's own connection while there is none */
  struct sqlite3 *held;
  dev_t held_device;
  ino_t held_inode;
  ino_t journal, journal_made; /* H4; 0: none */
  bool held_ready;
  int held_often; /* writes one soon after the other */
  int64_t held_at; /* ticks in ms: the last write; 0 never */
  /* the keeper's */
  int64_t due;             /* ticks in ms; 0: nothing to do */
  _Atomic int64_t behind_since;
  struct mirror *next;
};

static inline engine *mirror_engine(const struct mirror *m) { return m->own->databases[DB_MAIN].engine; }
int64_t mirror_ticks(void); /* ms, monotonic, coarse */

/* ---- mirror.c ---- */
/* Nobody has it open: gives the mirror's connection back; false: other processes are served still. m->lock is held. */
bool mirror_release_own(struct mirror *m);
void mirror_write_all(void);
/* Is there a connection of the mirror's own? One is made where a forked child has taken the storage over. m->lock is held. */
bool mirror_inherit(struct mirror *m);

/* ---- mirror_note.c ---- */
status mirror_note_load(struct mirror *m, hdb *db);
status mirror_note_store(struct mirror *m, hdb *db);
/* The stamp of main as of a time. */
uint64_t mirror_stamp(const struct mirror *m, int64_t time);
/* Is mirror off for this database? The setting is stored when it is given (-1: not). */
status mirror_setting(hdb *db, engine *e, int wanted, bool *off);
/* Which tree each table of an imported file went to, until the file says it itself. */
status mirror_objects_note(hdb *own);
status mirror_objects_seed(hdb *own, struct sqlite3 *file, bool whole);

/* ---- mirror_file.c: the SQLite side ---- */
bool file_look_at(const char *path, file_look *out); /* false: it is not there */
bool file_look_same(const file_look *a, const file_look *b);
status file_open(hdb *db, const char *path, int flags, int busy_ms, struct sqlite3 **out);
status file_open_with(hdb *db, const char *path, int flags, const char *vfs, int busy_ms,
                      struct sqlite3 **out);
/* Nobody changes the file, so the URI said: no lock, and what lies beside it (a journal, a -wal) is not looked at. */
status file_open_immutable(hdb *db, const char *path, struct sqlite3 **out);
/* For writing where that is allowed, else for reading; a file that is not there is no database. */
status file_open_existing(hdb *db, const char *path, int busy_ms, struct sqlite3 **out);
status file_run(hdb *db, struct sqlite3 *file, const char *sql);
/* Reads what it is under a read transaction. A damaged file or no database says so. */
status file_read(hdb *db, const char *path, struct sqlite3 *file, file_facts *out);
/* The same with a statement that stays. */
status file_read_again(hdb *db, const char *path, struct sqlite3 *file, struct sqlite3_stmt **kept,
                       file_facts *out);
status file_put_stamp(hdb *db, struct sqlite3 *file, uint64_t id, int64_t time, uint64_t stamp,
                      int64_t counter);
int64_t file_counter(struct sqlite3 *file);
int64_t file_header_number(struct sqlite3 *file, int64_t at); /* as it lies on the disk */
/* Takes it out of WAL mode when nobody else has it open; outside of transactions. */
status file_leave_wal(hdb *db, struct sqlite3 *file);

/* ---- mirror_held.c: the connection to the file that stays for a while; m->lock is held ---- */
/* `look`: how the file looks now. */
status file_take(struct mirror *m, const file_look *look, int busy_ms, struct sqlite3 **out);
status file_make_ready(struct mirror *m); /* before a transaction that writes; not in WAL mode */
void file_give(struct mirror *m, bool keep, bool wrote);
void file_let_go(struct mirror *m);
/* In how many ms it is to be let go; 0: it was, or there is none. */
int64_t file_let_go_when_due(struct mirror *m, int64_t now);

/* ---- mirror_sync.c ---- */
/* Settles whose turn it is, the file's or the directory's, and does it: takes in, merges, restores, and with `write`
 * brings the file up to date. m->lock is held. HDB_BUSY: SQLite's lock or the writer's turn are somebody's. */
status mirror_sync(struct mirror *m, bool write, int busy_ms);
/* Whether main is what the file holds, as far as that can be told without opening it. */
bool mirror_is_current(struct mirror *m);

/* ---- mirror_export.c ---- */
/* Once a connection: triggers, foreign keys and CHECKs do not run in it (E3). Not in a transaction. */
status mirror_export_prepare(hdb *db, struct sqlite3 *to);
/* Into the connection at hand, what changed since then (0: all); see E5. */
status mirror_export_after(struct mirror *m, int64_t since);
/* Every object goes but the stamp's table. */
status mirror_export_nothing(hdb *own, struct sqlite3 *file);

/* ---- mirror_import.c ---- */
struct sqlite3_stmt;
value mirror_value(struct sqlite3_stmt *s, int column); /* SELECT of the stored columns in the table's key order; a rowid table's row id comes last (NULL: it has no name). */
void mirror_select_text(buf *b, const table *t);
/* places[i]: where the SELECT has column i. */
status mirror_primary_key(hdb *db, const table *t, struct sqlite3_stmt *s, const int *places, buf *key);

/* ---- mirror_merge.c, mirror_merge_rows.c ---- */
typedef struct mirror_merging {
  hdb *own;
  struct sqlite3 *file;
  mirror_outcome *out;
  bool theirs_win;
  bool base_is_ours;      /* what main was then cannot be read any more: it is taken from now, but for touched keys */
  txn *ours, *base;       /* main as it was before this transaction, and as of the base; base NULL: nothing */
  schema *theirs_schema, *base_schema, *ours_schema;
  engine *scratch;        /* in memory: the file's schema, rows to be written */
  txn *scratch_txn;
  struct mirror_touched *touched;
  size_t touched_n, touched_capacity;
  uint32_t *rebuilt;      /* trees of tables that were made anew and have their rows */
  int rebuilt_n, rebuilt_capacity;
  arena memory;
} mirror_merging;
bool mirror_is_touched(const mirror_merging *g, uint32_t tree, slice key);
/* Rows of one table. base, ours: it as it was, NULL: not there. target: it as it is now. */
status mirror_merge_table(mirror_merging *g, const table *theirs, const table *base, const table *ours, const table *target);

/* What the file has that main did not have as of `base` goes into main: one transaction, which also notes
 * that it was (F4 of mirror_sync.c). base 0: the file held nothing then. */
status mirror_merge(struct mirror *m, struct sqlite3 *file, int64_t base, const file_facts *facts, mirror_outcome *out);
/* Notes in the open transaction that this very content was taken in. */
status mirror_mark_seen(hdb *own, const mirror_mark *mark);

/* ---- mirror_keeper.c: the thread that writes in the background ---- */
void mirror_keeper_watch(struct mirror *m); /* main is current: the next commit wakes the keeper */
void mirror_keeper_forget(struct mirror *m);
/* Wakes it now for a mirror that is behind. */
void mirror_keeper_wake(struct mirror *m, int64_t in_ms);
/* Has it look after the connection that is kept. */
void mirror_keeper_visit(struct mirror *m, int64_t in_ms);

/* ---- mirror_text.c ---- */
typedef struct mirror_written { /* an object of the file that stands there in other words */
  struct mirror_written *next;
  const char *texts[4]; /* name, our text, the file's, why */
} mirror_written;
typedef struct mirror_texts {
  mirror_written *first;
  arena memory;
} mirror_texts;
/* The text with :: as CAST; NULL: there is none, or it cannot be told. */
const char *mirror_text_casts(arena *memory, const char *sql);
/* Columns, types and keys alone; stored generated columns are plain ones. */
const char *mirror_text_bare(arena *memory, const table *t);
/* Frees with arena_clear(&out->memory). */
status mirror_texts_load(hdb *db, struct sqlite3 *file, mirror_texts *out);
/* NULL: the file's text is the object's own. */
const mirror_written *mirror_text_find(const mirror_texts *list, const char *name, const char *sql);

/* ---- mirror_locks.c ---- */
/* Locks that do not belong to the process as a whole; for all that this copy of SQLite opens from now on. */
void mirror_lock_by_description(void);

/* ---- mirror_log.c: what happened to the file, kept in the engine ---- */
status mirror_log_add(hdb *own, enum mirror_event event, const mirror_outcome *o, const char *words);
void mirror_outcome_conflict(mirror_outcome *o, const char *table, const value *key, const char *column, const value *base,
                             const value *theirs, const value *ours, const char *kept);

#endif
