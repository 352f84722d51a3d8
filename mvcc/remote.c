/* A client's questions to the owner (process.h has the rules, serve.c the answers).
 *
 * Each function that stands in for a local one says HDB_BUSY_RECOVERY when the storage has come into this process: then
 * the caller does it here. When the owner went and another process has the storage now, the question is asked again there.
 */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "mvcc/images.h"
#include "mvcc/process.h"

enum { BLOCK_MAX = 1024, ESTIMATE_AGE = 16 };

/* ---- asking ---- */

static status ask_at(kv *far, uint32_t ask, const buf *request, buf *reply) {
  buf nothing = BUF_INIT;
  if (request && buf_failed(request)) return HDB_NOMEM;
  if (reply) buf_clear(reply);
  status_explain_nothing();
  status rc =
      remote_call(far, ask, request ? buf_slice(request) : slice_of(NULL, 0), reply ? reply : &nothing);
  buf_free(&nothing);
  return rc;
}

static status ask_once(engine *e, uint32_t ask, const buf *request, buf *reply) {
  return ask_at(atomic_load(&e->processes->far), ask, request, reply);
}

status remote_ask(engine *e, uint32_t ask, const buf *request, buf *reply) {
  for (;;) {
    uint32_t generation = atomic_load(&e->generation);
    if (!is_remote(e)) return HDB_BUSY_RECOVERY;
    status rc = ask_once(e, ask, request, reply);
    if (rc != HDB_BUSY_RECOVERY) return rc;
    TRY(process_recover(e, generation));
  }
}

static status ask_and_free(engine *e, uint32_t ask, buf *request, buf *reply) {
  status rc = remote_ask(e, ask, request, reply);
  buf_free(request);
  return rc;
}

/* ---- views ---- */

static void forget_touched(engine *e, reader *r, int64_t since, int64_t time) {
  bool known = r->p < r->end && *r->p++ == 1;
  uint64_t n = read_number(r);
  if (!known || since < 0) {
    cache_drop(e->cache, time);
    return;
  }
  cache_commit_begin(e->cache);
  for (; n && !r->failed; n--) {
    int64_t at = since + (int64_t)read_number(r);
    uint64_t tree = read_number(r);
    slice lower = read_bytes(r);
    if (r->failed) break;
    if (tree & 1)
      cache_commit_tree(e->cache, (uint32_t)(tree >> 1), at), images_drop(e->images, at); /* perhaps erased */
    else
      cache_commit_delete(e->cache, (uint32_t)(tree >> 1), lower, at);
  }
  cache_commit_end(e->cache);
  if (r->failed) cache_drop(e->cache, time);
}

/* The answer to ASK_VIEW: the newest view from now on. Under refresh. */
static status take_view(engine *e, kv *far, uint32_t generation, int64_t since, slice reply) {
  processes *p = e->processes;
  reader r = reader_of(reply);
  uint64_t id = read_number(&r);
  int64_t time = read_signed(&r), schema_time = read_signed(&r);
  if (r.failed) return HDB_CORRUPT;
  kv_snapshot *snapshot = remote_snapshot(far, id, ASK_DROP);
  view *v = view_make(e, far, time, schema_time, snapshot);
  if (!v) return HDB_NOMEM;
  if (v->generation != generation) { /* the owner changed in between */
    view_release(v);
    return HDB_BUSY_RECOVERY;
  }
  forget_touched(e, &r, since, time); /* A2 */
  p->synced = time, p->synced_generation = generation;
  if (atomic_load(&e->watcher) && p->watched < time) feed_tell_watcher(e, p->watched, time);
  p->watched = time;
  pthread_mutex_lock(&e->view_lock);
  view *old = e->newest;
  e->newest = v;
  atomic_store(&e->schema_time, schema_time);
  atomic_store(&e->visible, time);
  pthread_mutex_unlock(&e->view_lock);
  view_release(old);
  return HDB_OK;
}

static status ask_view(engine *e) {
  processes *p = e->processes;
  buf request = BUF_INIT, reply = BUF_INIT;
  kv *far = atomic_load(&p->far);
  uint32_t generation = atomic_load(&e->generation);
  int64_t since = p->synced_generation == generation ? p->synced : -1;
  put_signed(&request, since);
  status rc = ask_at(far, ASK_VIEW, &request, &reply);
  if (rc == HDB_OK) rc = take_view(e, far, generation, since, buf_slice(&reply));
  buf_free(&request);
  buf_free(&reply);
  return rc;
}

/* A1: the view in hand is the newest. */
static bool is_newest(engine *e, uint32_t generation) {
  pthread_mutex_lock(&e->view_lock);
  view *v = e->newest;
  bool newest = v && v->generation == generation && v->time >= atomic_load(&process_page(e)->visible);
  pthread_mutex_unlock(&e->view_lock);
  return newest && !remote_is_lost(atomic_load(&e->processes->far));
}

status remote_view_newest(engine *e, view **out) {
  processes *p = e->processes;
  for (;;) {
    uint32_t generation = atomic_load(&e->generation);
    if (!is_remote(e)) return HDB_BUSY_RECOVERY;
    status rc = HDB_OK;
    if (!is_newest(e, generation)) {
      leave_before_wait();
      pthread_mutex_lock(&p->refresh);
      if (!is_newest(e, generation)) rc = ask_view(e);
      pthread_mutex_unlock(&p->refresh);
    }
    if (rc == HDB_BUSY_RECOVERY) {
      TRY(process_recover(e, generation));
      continue;
    }
    TRY(rc);
    TRY(process_look(e));
    pthread_mutex_lock(&e->view_lock);
    view *v = e->newest && e->newest->generation == generation ? view_hold(e->newest) : NULL;
    pthread_mutex_unlock(&e->view_lock);
    if (v) {
      *out = v;
      return HDB_OK;
    }
  }
}

/* ---- turns, commits ---- */

static void name_transaction(txn *t) {
  if (!t->number) t->number = atomic_fetch_add(&t->engine->processes->numbers, 1) + 1;
}

status remote_begin_turn(txn *t, int timeout_ms) {
  buf request = BUF_INIT;
  engine *e = t->engine;
  name_transaction(t);
  buf_varint(&request, t->number);
  buf_varint(&request, timeout_ms > 0 ? (uint64_t)timeout_ms : 0);
  status rc;
  for (;;) {
    uint32_t generation = atomic_load(&e->generation);
    rc = is_remote(e) ? ask_once(e, ASK_TURN, &request, NULL) : HDB_BUSY_RECOVERY;
    if (rc == HDB_OK) t->known = true, t->turn_generation = generation;
    if (rc != HDB_BUSY_RECOVERY || !is_remote(e)) break;
    rc = process_recover(e, generation);
    if (rc != HDB_OK) break;
  }
  buf_free(&request);
  return rc;
}

static void put_writes(txn *t, buf *b) {
  writeset *w = &t->writes;
  buf_varint(b, w->trees_n);
  for (size_t i = 0; i < w->trees_n; i++) {
    const write_tree *tree = w->trees[i];
    write_position p;
    uint64_t n = 0;
    for (write_first(tree, &p); p.entry; write_next(&p)) n++;
    buf_varint(b, tree->tree);
    buf_varint(b, tree->root.cleared ? TREE_CLEARED : 0);
    buf_varint(b, n);
    for (write_first(tree, &p); p.entry; write_next(&p)) {
      bool put = p.entry->now->state == WRITE_PUT;
      buf_varint(b, (uint64_t)p.entry->base << 1 | put);
      put_bytes(b, write_key(p.entry));
      if (put) put_bytes(b, write_value(p.entry));
    }
  }
  uint64_t facts = 0;
  for (const write_fact *f = w->facts; f; f = f->older) facts++;
  buf_varint(b, facts);
  for (const write_fact *f = w->facts; f; f = f->older) {
    buf_varint(b, f->kind), buf_varint(b, f->tree), buf_varint(b, f->unless_tree);
    put_bytes(b, f->prefix), put_bytes(b, f->unless);
  }
  buf_varint(b, t->reads.n);
  for (size_t i = 0; i < t->reads.n; i++) {
    const read_range *range = &t->reads.ranges[i];
    buf_varint(b, range->tree), buf_varint(b, range->high.p != NULL);
    put_bytes(b, range->low);
    if (range->high.p) put_bytes(b, range->high);
  }
}

static void put_commit(txn *t, permit p, buf *b, int timeout_ms, bool again) {
  bool turn_lost = t->turn_generation && t->turn_generation != atomic_load(&t->engine->generation);
  buf_clear(b);
  buf_varint(b, t->number);
  buf_varint(b, (again ? COMMIT_AGAIN : 0) | (turn_lost ? COMMIT_EXCLUSIVE : 0) |
                    (t->sync == TXN_SYNC_FULL ? COMMIT_FULL : 0) | (t->setting_name.n ? COMMIT_SETTING : 0));
  buf_varint(b, timeout_ms > 0 ? (uint64_t)timeout_ms : 0);
  buf_varint(b, txn_branch(t));
  buf_varint(b, t->policy);
  put_signed(b, t->view_time);
  buf_varint(b, p.place), buf_varint(b, p.number);
  put_writes(t, b);
  if (t->setting_name.n) put_bytes(b, buf_slice(&t->setting_name)), put_bytes(b, buf_slice(&t->setting_value));
}

/* A4: the storage has come here, and the commit was in doubt. */
static status resolve_here(txn *t, int64_t *time) {
  engine *e = t->engine;
  status rc = feed_find_request(e, t->view_time, e->processes->client, t->number, time);
  if (rc == HDB_NOTFOUND) return HDB_BUSY_SNAPSHOT;
  if (rc == HDB_OK && *time) return t->sync == TXN_SYNC_FULL ? engine_sync_to(e, *time) : HDB_OK;
  return rc == HDB_OK ? HDB_BUSY_RECOVERY : rc;
}

/* One request for it. It is in doubt only if the owner had begun with it, and then went or was stopped. */
static status ask_commit(txn *t, int timeout_ms, buf *request, buf *reply) {
  kv *far = atomic_load(&t->engine->processes->far);
  permit p = remote_permit(far);
  put_commit(t, p, request, timeout_ms, t->in_doubt);
  buf_clear(reply);
  status_explain_nothing();
  status rc = buf_failed(request) ? HDB_NOMEM : remote_call_permitted(far, ASK_COMMIT, buf_slice(request), p, reply);
  bool unanswered = rc == HDB_BUSY_RECOVERY || (rc == HDB_BUSY && reply->n == 0);
  if (unanswered && !remote_withdraw(far, p)) t->in_doubt = true;
  remote_permit_done(far, p);
  return rc;
}

status remote_commit(txn *t, int timeout_ms, int64_t *time) {
  engine *e = t->engine;
  buf request = BUF_INIT, reply = BUF_INIT;
  status rc;
  name_transaction(t);
  *time = 0;
  for (;;) {
    uint32_t generation = atomic_load(&e->generation);
    if (!is_remote(e)) {
      rc = t->in_doubt ? resolve_here(t, time) : HDB_BUSY_RECOVERY;
      break;
    }
    t->known = true;
    rc = ask_commit(t, timeout_ms, &request, &reply);
    if (rc != HDB_BUSY_RECOVERY) break;
    rc = process_recover(e, generation);
    if (rc != HDB_OK) break;
  }
  reader r = reader_of(buf_slice(&reply));
  if (reply.n) {
    *time = read_signed(&r);
    uint64_t tree = read_number(&r);
    slice key = read_bytes(&r);
    t->in_doubt = false;
    if (rc != HDB_OK && !r.failed) txn_set_conflict(t, (uint32_t)tree, key);
    if (rc == HDB_OK) t->known = false, t->number = 0; /* the owner has let go of it; numbers are used once */
  }
  buf_free(&request);
  buf_free(&reply);
  return rc;
}

/* The request once more under a permit that was withdrawn before: it tells what became of it, and never commits. */
status remote_settle_doubt(txn *t) {
  engine *e = t->engine;
  buf request = BUF_INIT, reply = BUF_INIT;
  int64_t time;
  status rc;
  for (;;) {
    uint32_t generation = atomic_load(&e->generation);
    if (!is_remote(e)) {
      rc = resolve_here(t, &time);
      break;
    }
    kv *far = atomic_load(&e->processes->far);
    permit p = remote_permit(far);
    rc = HDB_BUSY_SNAPSHOT; /* no permits: it stays as it is */
    if (!remote_withdraw(far, p)) break;
    put_commit(t, p, &request, 0, true);
    buf_clear(&reply);
    rc = buf_failed(&request) ? HDB_NOMEM : remote_call_permitted(far, ASK_COMMIT, buf_slice(&request), p, &reply);
    remote_permit_done(far, p);
    if (rc != HDB_BUSY_RECOVERY) break;
    rc = process_recover(e, generation);
    if (rc != HDB_OK) break;
  }
  bool unknown = (rc == HDB_BUSY && reply.n == 0) || rc == HDB_NOMEM;
  buf_free(&request);
  buf_free(&reply);
  if (unknown) return rc;
  t->in_doubt = false;
  return rc == HDB_OK ? HDB_ABORT : HDB_OK;
}

void remote_end(txn *t) {
  buf request = BUF_INIT;
  t->known = false;
  if (is_remote(t->engine)) {
    buf_varint(&request, t->number);
    if (!buf_failed(&request))
      remote_tell(atomic_load(&t->engine->processes->far), ASK_END, buf_slice(&request));
  }
  buf_free(&request);
}

/* ---- ids ---- */

/* Blocks of 1, 2, 4 .. of them: with nobody else at work the ids have no holes whatever the block. */
status remote_new_rowid(txn *t, uint32_t tree, write_tree *w, int64_t above, int64_t *rowid) {
  engine *e = t->engine;
  TRY(txn_rowid_floor(t, tree, w));
  if (above < w->rowid_max) above = w->rowid_max;
  int64_t wanted = above == INT64_MAX ? INT64_MAX : above + 1;
  if (wanted < w->block_first) wanted = w->block_first;
  if (wanted < w->block_end) {
    *rowid = wanted;
    return HDB_OK;
  }
  buf request = BUF_INIT, reply = BUF_INIT;
  int64_t count = w->block_size ? 2 * w->block_size : 1;
  if (count > BLOCK_MAX) count = BLOCK_MAX;
  name_transaction(t);
  buf_varint(&request, t->number), buf_varint(&request, tree), buf_varint(&request, txn_branch(t)),
      buf_varint(&request, (uint64_t)count);
  put_signed(&request, above), put_signed(&request, t->view_time);
  t->known = true;
  if (!t->claims_generation) t->claims_generation = atomic_load(&e->generation);
  status rc = ask_and_free(e, ASK_ROWIDS, &request, &reply);
  reader r = reader_of(buf_slice(&reply));
  if (rc == HDB_OK) {
    *rowid = read_signed(&r);
    w->block_first = *rowid;
    w->block_end = *rowid > INT64_MAX - count ? *rowid + 1 : *rowid + count;
    w->block_size = count;
  }
  buf_free(&reply);
  return rc;
}

status remote_new_tree(engine *e, uint32_t *tree) {
  buf reply = BUF_INIT;
  status rc = remote_ask(e, ASK_TREE, NULL, &reply);
  reader r = reader_of(buf_slice(&reply));
  if (rc == HDB_OK) *tree = (uint32_t)read_number(&r);
  buf_free(&reply);
  return rc;
}

/* ---- counts ---- */

static status read_count(kv *store, const kv_snapshot *snapshot, uint32_t tree, int64_t *rows,
                         int64_t *bytes) {
  buf key = BUF_INIT;
  kv_value value;
  uint64_t v[2] = {0};
  tree_count_key(tree, &key);
  status rc = buf_failed(&key) ? HDB_NOMEM : kv_get(store, snapshot, KV_META, buf_slice(&key), &value);
  buf_free(&key);
  *rows = *bytes = 0;
  if (rc == HDB_NOTFOUND) return HDB_OK;
  TRY(rc);
  const uint8_t *p = value.data.p, *end = p + value.data.n;
  for (int k = 0; k < 2 && p; k++) p = varint_get(p, end, &v[k]);
  *rows = (int64_t)v[0], *bytes = (int64_t)v[1];
  kv_release(&value);
  return p ? HDB_OK : HDB_CORRUPT;
}

status remote_count(txn *t, uint32_t tree, int64_t *rows) {
  int64_t bytes;
  view *v = t->view;
  if (!v || v->generation != atomic_load(&t->engine->generation)) return HDB_NOTFOUND;
  status rc = read_count(v->store, v->snapshot, tree, rows, &bytes);
  return rc == HDB_BUSY_RECOVERY ? HDB_NOTFOUND : rc;
}

/* Asked for at first, and when the tree seems to have changed much: every so many commits. */
void remote_estimate(engine *e, tree_info *i) {
  int64_t rows, bytes, now = engine_ticks_ms();
  pthread_mutex_lock(&i->lock);
  bool fresh = i->count_known && now - i->asked_ms < 1000;
  i->asked_ms = now;
  pthread_mutex_unlock(&i->lock);
  if (fresh || read_count(e->store, NULL, i->tree, &rows, &bytes) != HDB_OK) return;
  pthread_mutex_lock(&i->lock);
  i->rows = rows, i->bytes = bytes;
  i->count_known = true;
  pthread_mutex_unlock(&i->lock);
}

int64_t remote_changed_time(engine *e, uint32_t tree) {
  buf request = BUF_INIT, reply = BUF_INIT;
  buf_varint(&request, tree);
  status rc = ask_and_free(e, ASK_CHANGED, &request, &reply);
  reader r = reader_of(buf_slice(&reply));
  int64_t time = rc == HDB_OK ? read_signed(&r) : 0;
  buf_free(&reply);
  return time;
}

/* ---- the rest ---- */

status remote_copy(engine *e, const char *path) {
  buf request = BUF_INIT;
  char *folder = path[0] == '/' ? NULL : getcwd(NULL, 0); /* the owner's may be another */
  if (path[0] != '/' && !folder) return HDB_NOMEM;
  buf_varint(&request, (folder ? strlen(folder) + 1 : 0) + strlen(path));
  if (folder) buf_text(&request, folder), buf_byte(&request, '/');
  buf_text(&request, path);
  free(folder);
  return ask_and_free(e, ASK_COPY, &request, NULL);
}

status remote_report(engine *e, engine_report *out) {
  buf reply = BUF_INIT;
  status rc = remote_ask(e, ASK_TELL, NULL, &reply);
  if (rc == HDB_OK && reply.n == sizeof *out) memcpy(out, reply.p, sizeof *out);
  buf_free(&reply);
  return rc;
}

status remote_setting_put(engine *e, const char *name, slice value) {
  buf request = BUF_INIT;
  put_bytes(&request, slice_str(name));
  put_bytes(&request, value);
  return ask_and_free(e, ASK_SETTING, &request, NULL);
}

status remote_set_retention(engine *e, double seconds, int timeout_ms) {
  buf request = BUF_INIT;
  put_bytes(&request, slice_of(&seconds, sizeof seconds));
  buf_varint(&request, timeout_ms > 0 ? (uint64_t)timeout_ms : 0);
  status rc = remote_ask(e, ASK_RETENTION, &request, NULL);
  buf_free(&request);
  return rc;
}

status remote_branch_create(engine *e, const char *name, uint32_t parent, int64_t as_of, uint32_t *id) {
  buf request = BUF_INIT, reply = BUF_INIT;
  put_bytes(&request, slice_str(name));
  buf_varint(&request, parent);
  put_signed(&request, as_of);
  status rc = ask_and_free(e, ASK_BRANCH_CREATE, &request, &reply);
  reader r = reader_of(buf_slice(&reply));
  if (rc == HDB_OK) *id = (uint32_t)read_number(&r);
  buf_free(&reply);
  if (rc == HDB_OK) rc = process_look(e);
  return rc;
}

status remote_branch_drop(engine *e, uint32_t id) {
  buf request = BUF_INIT;
  buf_varint(&request, id);
  status rc = ask_and_free(e, ASK_BRANCH_DROP, &request, NULL);
  if (rc == HDB_OK) rc = process_look(e);
  return rc;
}

status remote_branch_delta(engine *e, uint32_t branch, uint32_t tree, uint32_t *own) {
  buf request = BUF_INIT, reply = BUF_INIT;
  buf_varint(&request, branch);
  buf_varint(&request, tree);
  status rc = ask_and_free(e, ASK_BRANCH_DELTA, &request, &reply);
  reader r = reader_of(buf_slice(&reply));
  if (rc == HDB_OK) *own = (uint32_t)read_number(&r);
  buf_free(&reply);
  if (rc == HDB_OK) rc = process_look(e);
  return rc;
}

status remote_branch_use(engine *e, uint32_t former, uint32_t now) {
  TRY(process_look(e));
  if (former == now) return HDB_OK;
  buf request = BUF_INIT;
  buf_varint(&request, former);
  buf_varint(&request, now);
  status rc = ask_and_free(e, ASK_BRANCH_USE, &request, NULL);
  return rc == HDB_BUSY_RECOVERY ? HDB_OK : rc;
}
