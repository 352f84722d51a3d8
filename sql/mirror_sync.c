/* Who is ahead, app.db or the directory, and what follows: the one place that decides it.
 *
 *   verdict    the file ...                                          what follows
 *   BLANK      is empty and was never written                        it is written whole
 *   CURRENT    equals main as of a time that we know                 what changed since is written
 *   SEEN       was taken in or merged, but not written since         it is written whole
 *   EDITED     is ours, and somebody committed to it                 three-way merge, then as CURRENT
 *   FIRST      is somebody's, and the directory holds nothing        it is taken in; written with the first change
 *   REPLACED   was put in our file's place (a copy, another one)     main becomes what it holds; the past stays
 *
 * F1  The truth is the directory; the file equals main as of its stamp's time and is never ahead of what is durable.
 * F2  A file that is not CURRENT is never written before it was taken in.
 * F3  Judgement and action are under one SQLite lock: a read transaction for taking in, RESERVED for writing.
 * F4  What was taken in is marked in the very transaction that does it (mirror_seen_*), so that a crash before the file
 *     is written never takes it in again over commits made since.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sql/mirror_internal.h"

enum verdict { BLANK, CURRENT, SEEN, EDITED, FIRST, REPLACED };

typedef struct sync {
  struct mirror *m;
  hdb *own;
  engine *e;
  sqlite3 *file;
  file_look look; /* from before it was read */
  file_facts facts;
  enum verdict verdict;
  int64_t base; /* CURRENT, EDITED: main as of then */
  int busy_ms;
  bool wrote, forgets; /* forgets: no journal of it is to stay */
} sync_;

static status fail(hdb *db, status rc) { return error_set(&db->err, rc, "%s", status_text(rc)); }

/* ---- judging ---- */

static status stop_at_first(void *context, const commit_info *c) {
  *(bool *)context = true;
  (void)c;
  return HDB_ABORT;
}

/* Did we commit at this time? Unknown times are somebody else's history (a directory that was copied). */
static bool is_commit(engine *e, int64_t time) {
  bool found = false;
  status rc = feed_commits(e, time - 1, time, stop_at_first, &found);
  return found || rc == HDB_NOTFOUND; /* the feed does not reach back so far: believe it */
}

/* F4 */
static status was_seen(sync_ *k, bool *yes) {
  hdb *own = k->own;
  int64_t stamp, signature, after;
  *yes = false;
  status rc = txn_begin(own->databases[DB_MAIN].txn, TXN_READ, 0);
  if (rc != HDB_OK) return fail(own, rc);
  rc = database_get_number(own, DB_MAIN, "mirror_seen_stamp", -1, &stamp);
  if (rc == HDB_OK) rc = database_get_number(own, DB_MAIN, "mirror_seen_signature", -1, &signature);
  if (rc == HDB_OK) rc = database_get_number(own, DB_MAIN, "mirror_seen_after", -1, &after);
  txn_rollback(own->databases[DB_MAIN].txn);
  if (rc == HDB_OK) *yes = after >= 0 && k->m->note.time <= after && stamp == (int64_t)k->facts.stamp && signature == k->facts.signature;
  return rc;
}

static status judge_ours(sync_ *k) {
  const mirror_note *n = &k->m->note;
  const file_facts *f = &k->facts;
  int64_t newest = engine_newest(k->e);
  bool ours = f->id == n->id && (f->stamp == mirror_stamp(k->m, f->time) || (n->legacy && f->stamp == n->legacy));
  k->verdict = newest == 0 ? FIRST : REPLACED;
  if (!ours) return HDB_OK;
  if (f->time != 0) { /* 0: our header, which sets nothing back */
    if (f->time > newest || f->time < n->time || n->header) return HDB_OK;
    if (f->time > n->time && !is_commit(k->e, f->time)) return HDB_OK;
  }
  k->base = f->time;
  k->verdict = (!f->wal && f->counter == f->signature) || (f->time == n->time && f->signature == n->signature) ? CURRENT : EDITED;
  return HDB_OK;
}

static status judge(sync_ *k) {
  const mirror_note *n = &k->m->note;
  const file_facts *f = &k->facts;
  bool seen;
  TRY(file_read_again(k->own, k->m->path, k->file, &k->m->read_stamp, &k->facts));
  k->base = 0;
  if (k->look.size == 0 && k->look.wal_size == 0 && n->look.size == 0) {
    k->verdict = BLANK;
    return HDB_OK;
  }
  if (n->foreign && f->stamp == n->legacy) {
    k->base = n->time;
    k->verdict = f->signature == n->signature ? CURRENT : EDITED;
  } else if (f->stamp == 0) {
    k->verdict = engine_newest(k->e) == 0 && n->time == 0 ? FIRST : REPLACED;
  } else {
    TRY(judge_ours(k));
  }
  if (k->verdict == CURRENT || k->verdict == FIRST) return HDB_OK;
  TRY(was_seen(k, &seen));
  if (seen) k->verdict = SEEN;
  return HDB_OK;
}

/* ---- taking in ---- */

static status note_taken(sync_ *k) {
  mirror_note *n = &k->m->note;
  n->foreign = 1, n->header = 0;
  n->legacy = k->facts.stamp;
  n->time = engine_newest(k->e);
  n->signature = k->facts.signature;
  n->look = k->look;
  return mirror_note_store(k->m, k->own);
}

/* Where no history is kept, what was there before a restore stays as a branch. */
static status keep_state_before(sync_ *k, char *words, size_t room) {
  time_t now = time(NULL);
  struct tm t;
  uint32_t id;
  char name[64];
  gmtime_r(&now, &t);
  int64_t before = engine_newest(k->e);
  if (engine_oldest(k->e) <= before) {
    snprintf(words, room, "the state before: AS OF SCN %lld", (long long)before);
    return HDB_OK;
  }
  for (int i = 0; i < 100; i++) {
    snprintf(name, sizeof name, "before_restore_%04d%02d%02d_%02d%02d%02d", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec);
    if (i) snprintf(name + strlen(name), 8, "_%d", i);
    status rc = branch_create(k->e, name, BRANCH_MAIN, 0, &id);
    if (rc == HDB_CONSTRAINT_UNIQUE) continue;
    snprintf(words, room, "the state before: branch %s", name);
    return rc == HDB_OK ? rc : fail(k->own, rc);
  }
  return fail(k->own, HDB_ERROR);
}

/* In the read transaction that judged. */
static status take_in(sync_ *k) {
  mirror_mark mark = {(int64_t)k->facts.stamp, k->facts.signature, k->busy_ms};
  mirror_outcome nothing = {0};
  char words[160] = "";
  bool restore = k->verdict == REPLACED;
  if (restore) TRY(keep_state_before(k, words, sizeof words));
  TRY(mirror_import(k->own, DB_MAIN, k->file, &mark));
  TRY(mirror_objects_note(k->own));
  TRY(note_taken(k));
  k->m->rewrite = false;
  return restore ? mirror_log_add(k->own, MIRROR_RESTORED, &nothing, words) : HDB_OK;
}

/* Under RESERVED, or (a file that cannot be written) in a read transaction. */
static status merge_in(sync_ *k) {
  mirror_outcome o = {0};
  status rc = mirror_merge(k->m, k->file, k->base, &k->facts, &o);
  if (rc == HDB_OK && o.discarded) k->m->rewrite = true;
  if (rc == HDB_OK && (o.any || o.conflicts)) rc = mirror_log_add(k->own, MIRROR_MERGED, &o, "");
  buf_free(&o.details);
  return rc;
}

/* ---- writing ---- */

/* The file is as we left it, and how it looks then. No lock is needed for that: who commits after us moves the counter with
 * the first page he writes, and the looks with each. So a counter that is still ours, read after the looks, vouches for them. */
static status note_written(sync_ *k, int64_t time, int64_t counter) {
  mirror_note *n = &k->m->note;
  file_look look = {0};
  n->time = time, n->foreign = 0, n->legacy = 0, n->header = k->m->off;
  n->look = (file_look){.size = -1};
  if (!k->facts.wal && file_look_at(k->m->path, &look) && file_counter(k->file) == counter)
    n->look = look, n->signature = counter;
  return mirror_note_store(k->m, k->own);
}

/* In WAL mode the file's head says nothing: as it is seen while nobody can commit to it. */
static status note_written_ahead(sync_ *k, int64_t time, uint64_t stamp) {
  mirror_note *n = &k->m->note;
  file_facts f;
  n->time = time, n->foreign = 0, n->legacy = 0, n->header = k->m->off;
  n->look = (file_look){.size = -1};
  TRY(file_run(k->own, k->file, "BEGIN"));
  status rc = file_read(k->own, k->m->path, k->file, &f);
  if (rc == HDB_OK && f.stamp == stamp) n->signature = f.signature;
  sqlite3_exec(k->file, "ROLLBACK", NULL, NULL, NULL);
  TRY(rc);
  return mirror_note_store(k->m, k->own);
}

static status export_to(sync_ *k) {
  struct mirror *m = k->m;
  bool whole = m->rewrite || k->verdict == BLANK || k->verdict == SEEN || k->base == 0;
  if (m->off) return mirror_export_nothing(k->own, k->file);
  if (whole || m->note.foreign) TRY(mirror_objects_seed(k->own, k->file, whole));
  return mirror_export_after(m, whole ? 0 : k->base);
}

/* From a header to a file of rows: whoever finds rows must not take them for a copy put over the header. */
static status leave_header(sync_ *k) {
  mirror_note *n = &k->m->note;
  if (!n->header || k->m->off) return HDB_OK;
  n->header = 0, n->time = 0;
  status rc = engine_setting_put(k->e, "mirror.note", slice_of(n, sizeof *n));
  return rc == HDB_OK ? rc : fail(k->own, rc);
}

static status commit_stamped(sync_ *k, int64_t time, uint64_t stamp, int64_t *counter) {
  *counter = k->facts.wal ? -1 : (int64_t)((uint32_t)file_counter(k->file) + 1);
  TRY(file_put_stamp(k->own, k->file, k->m->note.id, time, stamp, *counter));
  return file_run(k->own, k->file, "COMMIT");
}

/* Something was erased that the file may have had. */
static bool was_erased(const sync_ *k) {
  buf b = BUF_INIT;
  int64_t time = 0;
  if (engine_setting_get(k->e, "mirror.erased", &b) == HDB_OK && b.n == sizeof time) memcpy(&time, b.p, sizeof time);
  buf_free(&b);
  return k->verdict != BLANK && k->base < time;
}

/* In a transaction of the file under RESERVED, which it ends. */
static status write_forward(sync_ *k) {
  struct mirror *m = k->m;
  TRY(leave_header(k));
  txn *t = k->own->databases[DB_MAIN].txn;
  status rc = txn_begin(t, TXN_READ, 0);
  if (rc != HDB_OK) return fail(k->own, rc);
  int64_t time = m->off ? 0 : txn_view_time(t);
  uint64_t stamp = mirror_stamp(m, time);
  rc = engine_make_durable(k->e, txn_view_time(t)); /* F1 */
  if (rc != HDB_OK) fail(k->own, rc);
  if (rc == HDB_OK) rc = export_to(k);
  txn_rollback(t);
  TRY(rc);
  int64_t counter;
  TRY(commit_stamped(k, time, stamp, &counter));
  if (m->off || was_erased(k)) { /* the header alone takes three pages; what was erased is not to stay in free ones */
    k->forgets = true;
    TRY(file_run(k->own, k->file, "VACUUM; BEGIN IMMEDIATE"));
    TRY(commit_stamped(k, time, stamp, &counter));
  }
  k->wrote = true;
  m->rewrite = false;
  m->written_at = mirror_ticks(), m->writes++;
  return k->facts.wal ? note_written_ahead(k, time, stamp) : note_written(k, time, counter);
}

/* Is there something of main that the file lacks? */
static status stop_at_change(void *context, uint32_t tree, slice key, bool whole) {
  (void)tree, (void)key, (void)whole;
  *(bool *)context = true;
  return HDB_ABORT;
}
static status count_branch(void *context, const branch_info *b) {
  (void)b;
  ++*(int *)context;
  return HDB_OK;
}

static bool needs_writing(sync_ *k) {
  struct mirror *m = k->m;
  int64_t newest = engine_newest(k->e);
  if (m->off) return !(k->verdict == CURRENT && m->note.header && k->base == 0) && !(k->verdict == BLANK && newest == 0);
  if (k->verdict == BLANK) return newest > 0;
  if (k->verdict == SEEN || m->rewrite || (k->base == 0 && newest > 0)) return true;
  if (newest <= k->base) return false;
  int branches = 0;
  bool changed = false;
  if (branch_each(k->e, count_branch, &branches) != HDB_OK || branches <= 1) return true;
  status rc = feed_changes(k->e, k->base, newest, stop_at_change, &changed); /* perhaps only branches were written */
  return changed || rc != HDB_OK;
}

/* ---- one go ---- */

static const status AGAIN = HDB_ROW; /* somebody came in between: judge anew */

static status begin_immediate(sync_ *k) {
  TRY(file_run(k->own, k->file, "ROLLBACK; PRAGMA synchronous = FULL"));
  if (k->facts.wal) TRY(file_leave_wal(k->own, k->file));
  TRY(file_make_ready(k->m));
  TRY(file_run(k->own, k->file, "BEGIN IMMEDIATE"));
  enum verdict before = k->verdict;
  if (!file_look_at(k->m->path, &k->look)) return HDB_OK;
  TRY(judge(k));
  return k->verdict == before ? HDB_OK : AGAIN;
}

static status act(sync_ *k, bool write) {
  if (k->verdict == FIRST || k->verdict == REPLACED) {
    TRY(take_in(k));
    return write || k->m->off ? AGAIN : HDB_OK;
  }
  if (k->verdict == EDITED) {
    bool writable = sqlite3_db_readonly(k->file, "main") == 0;
    if (writable) TRY(begin_immediate(k));
    TRY(merge_in(k));
    if (writable) return write_forward(k);
    k->m->note.look = k->look; /* marked as seen: not looked at again until it changes */
    return mirror_note_store(k->m, k->own);
  }
  if (!write || !needs_writing(k)) {
    if (!k->facts.wal && k->verdict == CURRENT && !file_look_same(&k->m->note.look, &k->look)) {
      k->m->note.look = k->look; /* only its time moved, or the note was lost */
      if (!k->m->note.foreign) k->m->note.time = k->base, k->m->note.header = k->base == 0, k->m->note.signature = k->facts.signature;
      return mirror_note_store(k->m, k->own);
    }
    return HDB_OK;
  }
  TRY(begin_immediate(k));
  return write_forward(k);
}

static int is_interrupted(void *own) { return atomic_load(&((hdb *)own)->interrupted); }

static status sync_once(struct mirror *m, bool write, int busy_ms) {
  sync_ k = {.m = m, .own = m->own, .e = mirror_engine(m), .busy_ms = busy_ms};
  if (!file_look_at(m->path, &k.look)) return HDB_OK; /* deleted: it stays deleted */
  status rc = HDB_OK;
  TRY(file_take(m, &k.look, busy_ms, &k.file));
  sqlite3_progress_handler(k.file, 10000, is_interrupted, k.own);
  if (write && file_look_same(&k.look, &m->note.look)) { /* most likely it is as we left it */
    CHECK(file_make_ready(m));
    CHECK(file_run(k.own, k.file, "BEGIN IMMEDIATE"));
    CHECK(judge(&k));
    if (k.verdict == CURRENT && !k.facts.wal) {
      if (needs_writing(&k)) rc = write_forward(&k);
      goto out;
    }
    CHECK(file_run(k.own, k.file, "ROLLBACK"));
  }
  CHECK(file_run(k.own, k.file, "BEGIN"));
  CHECK(judge(&k));
  rc = act(&k, write);
out:
  file_give(m, rc == HDB_OK && !k.facts.wal && !k.forgets, k.wrote);
  return rc;
}

bool mirror_is_current(struct mirror *m) {
  if (!engine_is_owner(mirror_engine(m)) || atomic_load(&m->outdated)) return false;
  int64_t newest = engine_newest(mirror_engine(m));
  if (m->off) return m->note.header || newest == 0;
  return newest == 0 || (newest == m->note.time && !m->rewrite);
}

status mirror_sync(struct mirror *m, bool write, int busy_ms) {
  status rc = AGAIN;
  if (m->orphan || !m->own) return HDB_OK;
  atomic_store(&m->own->interrupted, false);
  if (atomic_load(&m->outdated)) {
    TRY(mirror_note_load(m, m->own));
    TRY(mirror_setting(m->own, mirror_engine(m), -1, &m->off));
    atomic_store(&m->outdated, false);
  }
  m->own->busy_timeout_ms = busy_ms;
  for (int tries = 0; rc == AGAIN && tries < 8; tries++) rc = sync_once(m, write, busy_ms);
  if (rc == AGAIN) rc = error_set(&m->own->err, HDB_BUSY, "%s is being changed by another program", m->path);
  m->behind = write && rc != HDB_OK;
  free(m->trouble);
  m->trouble = rc == HDB_OK ? NULL : strdup(m->own->err.message ? m->own->err.message : status_text(rc));
  return rc;
}
