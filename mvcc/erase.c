/* Erasing: rows are taken out of everything that the directory holds: groups, history, the feed, of main and of all branches.
 *
 * A request of its own in the commit queue, alone in its batch: everything is one write, so a crash leaves all or nothing.
 * What matches is told by key, tree by tree (sql knows which index entries belong to a row).
 * A tree of row ids is changed where it lies: groups and records without the keys. A tree of other keys is cut anew, since
 * the bounds of its groups, which are also the places of its history, are beginnings of keys that were there once.
 *
 * E1  Afterwards the keys were never there, at any time and on any branch; other rows are at any time what they were.
 * E2  The feed says `whole` of main's trees at the time of the erasing: whoever follows it compares them.
 * E3  Open transactions that wrote such a tree conflict. Images and cached groups are dropped.
 * E4  The bytes are gone from the files when no view from before is left: then the log is flushed and the ranges are
 *     compacted; if one is held, that happens again at the last close (meta: `erased`).
 * Cost: a walk over the trees and their history; memory for what is written anew (of trees of other keys: all of it).
 */
#include <stdlib.h>

#include "mvcc/fold.h"
#include "mvcc/images.h"
#include "mvcc/pack.h"

typedef struct erasing {
  fold *f;
  engine *e;
  const erase_request *request;
  const erase_tree *spec; /* of the tree in hand */
  uint32_t tree;          /* itself or a branch's part of it */
  int64_t floor, removed, removed_bytes;
  pack_work w;
  row *rows; /* whole keys */
  size_t rows_n, rows_capacity;
  buf key, bytes;
} erasing;

static bool matches(const erasing *x, slice key) {
  return x->spec->matches(x->spec->context, key);
}

static status open_tree(const erasing *x, enum kv_family family, kv_iter **it) {
  uint8_t from[4], to[4];
  put_be32(from, x->tree), put_be32(to, x->tree + 1);
  TRY(kv_iter_open(x->e->store, NULL, family, slice_of(from, 4), slice_of(to, 4), it));
  (*it)->seek(*it, slice_of(from, 4));
  return HDB_OK;
}

/* ---- rows ---- */

static status add_row(erasing *x, row r) {
  if (x->rows_n == x->rows_capacity) {
    size_t capacity = x->rows_capacity ? 2 * x->rows_capacity : 256;
    row *rows = realloc(x->rows, capacity * sizeof *rows);
    if (!rows) return HDB_NOMEM;
    x->rows = rows, x->rows_capacity = capacity;
  }
  x->rows[x->rows_n++] = r;
  return HDB_OK;
}

/* The rows of a group that stay, appended to x->rows with whole keys. bytes: stand still. */
static status take_rows(erasing *x, const group *g) {
  row *times = arena_alloc(&x->w.memory, ((size_t)g->count + 1) * sizeof *times);
  if (!times) return HDB_NOMEM;
  TRY(group_times(g, times));
  for (size_t i = 0; i < g->count; i++) {
    row r = times[i];
    slice suffix;
    if (!group_row(g, i, &suffix, &r.value)) return HDB_CORRUPT;
    uint8_t *key = arena_alloc(&x->w.memory, g->prefix_n + suffix.n + 8);
    if (!key) return HDB_NOMEM;
    memcpy(key, g->prefix, g->prefix_n);
    if (suffix.n) memcpy(key + g->prefix_n, suffix.p, suffix.n);
    r.key = slice_of(key, g->prefix_n + suffix.n);
    if (matches(x, r.key)) {
      x->removed++;
      x->removed_bytes += (int64_t)row_bytes(&r);
      continue;
    }
    TRY(add_row(x, r));
  }
  return HDB_OK;
}

static status put_rows(erasing *x, slice bound, const row *rows, size_t n, const group_history *h) {
  buf_clear(&x->bytes), buf_clear(&x->key);
  group_encode(&x->bytes, slice_of(NULL, 0), rows, n, x->e->history, x->f->time, h);
  group_key(&x->key, x->tree, bound);
  if (buf_failed(&x->bytes) || buf_failed(&x->key)) return HDB_NOMEM;
  kv_batch_put(x->f->batch, KV_ROWS, buf_slice(&x->key), buf_slice(&x->bytes));
  return HDB_OK;
}

/* ---- history ---- */

/* Of the entries from `from` on only those that stay; *removed: how many did not. */
static size_t filter(erasing *x, size_t from) {
  pack_work *w = &x->w;
  size_t n = from;
  for (size_t i = from; i < w->n; i++) {
    bool gone = matches(x, w->entries[i].key);
    if (gone) x->request->report->versions++;
    if (!gone && w->entries[i].v.time > x->floor) w->entries[n++] = w->entries[i];
  }
  size_t removed = w->n - n;
  w->n = n;
  return removed;
}

static status look_for_erased(void *context, slice key, const undo_version *v, bool *skip) {
  const erasing *x = context;
  (void)v, (void)skip;
  return matches(x, key) ? HDB_CONSTRAINT : HDB_OK;
}

/* A chapter names a row that goes (C2 of chapter.c). */
static status in_chapter(erasing *x, slice key, slice value, bool *is) {
  block_head h;
  *is = false;
  if (!version_block_head(value, version_time(key), &h) || !h.chapter.p) return HDB_OK;
  status rc = chapter_each(&x->w.key, version_time(key), h.chapter, look_for_erased, x);
  *is = rc == HDB_CONSTRAINT;
  return *is ? HDB_OK : rc;
}

static status check_version_key(slice key) {
  return key.n < 4 + 9 + 8 ? HDB_CORRUPT : HDB_OK;
}

/* ---- a tree of row ids: where it lies ---- */

static status groups_in_place(erasing *x) {
  kv_iter *it;
  arena_mark mark = arena_save(&x->w.memory);
  TRY(open_tree(x, KV_ROWS, &it));
  status rc = HDB_OK;
  for (; it->valid; it->next(it)) {
    group g;
    group_history h;
    int64_t before = x->removed;
    CHECK(group_open(&g, it->value));
    x->rows_n = 0;
    CHECK(take_rows(x, &g));
    if (x->removed != before) {
      CHECK(group_history_get(&g, &h));
      CHECK(put_rows(x, slice_of(it->key.p + 4, it->key.n - 4), x->rows, x->rows_n, &h));
    }
    arena_rewind(&x->w.memory, mark);
  }
  rc = it->error;
out:
  it->close(it);
  return rc;
}

static status history_in_place(erasing *x) {
  kv_iter *it;
  arena_mark mark = arena_save(&x->w.memory);
  TRY(open_tree(x, KV_VERSIONS, &it));
  status rc = HDB_OK;
  for (; it->valid; it->next(it)) {
    CHECK(check_version_key(it->key));
    bool named;
    x->w.n = 0;
    CHECK(in_chapter(x, it->key, it->value, &named));
    CHECK(pack_take(&x->w, version_time(it->key), it->value));
    if (filter(x, 0) || named) {
      kv_batch_delete(x->f->batch, KV_VERSIONS, it->key);
      x->w.open = 0;
      CHECK(pack_blocks(&x->w, slice_of(it->key.p, it->key.n - 8), 0, x->w.n));
    }
    arena_rewind(&x->w.memory, mark);
  }
  rc = it->error;
out:
  it->close(it);
  return rc;
}

/* ---- a tree of other keys: cut anew ---- */

static status load_rows(erasing *x) {
  kv_iter *it;
  TRY(open_tree(x, KV_ROWS, &it));
  status rc = HDB_OK;
  x->rows_n = 0;
  for (; it->valid; it->next(it)) {
    group g;
    uint8_t *bytes = arena_copy(&x->w.memory, it->value.p, it->value.n);
    if (!bytes) rc = HDB_NOMEM;
    CHECK(rc);
    CHECK(group_open(&g, slice_of(bytes, it->value.n)));
    CHECK(take_rows(x, &g));
    kv_batch_delete(x->f->batch, KV_ROWS, it->key);
  }
  rc = it->error;
out:
  it->close(it);
  return rc;
}

static status load_history(erasing *x) {
  kv_iter *it;
  TRY(open_tree(x, KV_VERSIONS, &it));
  status rc = HDB_OK;
  x->w.n = 0;
  for (; it->valid; it->next(it)) {
    size_t from = x->w.n;
    CHECK(check_version_key(it->key));
    CHECK(pack_take(&x->w, version_time(it->key), it->value));
    filter(x, from);
    kv_batch_delete(x->f->batch, KV_VERSIONS, it->key);
  }
  rc = it->error;
out:
  it->close(it);
  return rc;
}

static int by_key(const void *a, const void *b) {
  const pack_entry *x = a, *y = b;
  return slice_compare(x->key, y->key);
}

/* A new group: rows [row, row_end) and what history says of the keys from entry to entry_end. upper.p NULL: the last. */
static status put_new_group(erasing *x, slice bound, slice upper, size_t row, size_t row_end, size_t entry,
                            size_t entry_end) {
  group_history h = {.upper = upper};
  for (size_t i = entry; i < entry_end; i++) {
    const undo_version *v = &x->w.entries[i].v;
    if (v->time > h.newest) h.newest = v->time;
    h.weight += v->bytes.n + 8;
  }
  buf place = BUF_INIT;
  version_bound(&place, x->tree, bound);
  x->w.open = 0;
  status rc = buf_failed(&place) ? HDB_NOMEM : pack_blocks(&x->w, buf_slice(&place), entry, entry_end);
  buf_free(&place);
  TRY(rc);
  return put_rows(x, bound, x->rows + row, row_end - row, &h);
}

/* All keys in order, of rows and of history, cut where enough came together. */
static status cut_anew(erasing *x) {
  const pack_entry *entries = x->w.entries;
  size_t row = 0, entry = 0, first_row = 0, first_entry = 0, bytes = 0, weight = 0;
  slice bound = slice_of("", 0), last = bound;
  if (x->w.n) qsort(x->w.entries, x->w.n, sizeof *entries, by_key);
  while (row < x->rows_n || entry < x->w.n) {
    bool of_row =
        entry == x->w.n || (row < x->rows_n && slice_compare(x->rows[row].key, entries[entry].key) <= 0);
    slice key = of_row ? x->rows[row].key : entries[entry].key;
    if ((bytes > GROUP_AIM || weight > GROUP_WEIGHT / 4) && !slice_equal(key, last)) {
      slice next = slice_of(key.p, slice_common(last, key) + 1); /* the shortest that parts them */
      TRY(put_new_group(x, bound, next, first_row, row, first_entry, entry));
      bound = next, first_row = row, first_entry = entry, bytes = weight = 0;
    }
    if (of_row)
      bytes += row_bytes(&x->rows[row++]);
    else
      weight += entries[entry++].v.bytes.n + 8;
    last = key;
  }
  if (!x->rows_n && !x->w.n) return HDB_OK; /* nothing is left of the tree */
  return put_new_group(x, bound, slice_of(NULL, 0), first_row, row, first_entry, entry);
}

/* ---- a tree ---- */

static status tell_others(erasing *x) {
  engine *e = x->e;
  aside_forget(e, x->f->batch, x->tree); /* graphs are made again from the rows */
  if (e->feed && x->tree == x->spec->tree) feed_whole(&x->f->feed, x->f->batch, x->tree); /* E2 */
  TRY(recent_add_whole(&e->recent, x->tree));                 /* E3 */
  if (e->cache) {
    cache_commit_begin(e->cache);
    cache_commit_tree(e->cache, x->tree, x->f->time);
    cache_commit_end(e->cache);
    process_touched(e, x->tree, slice_of(NULL, 0), x->f->time, true);
  }
  engine_watcher *watcher = atomic_load(&e->watcher);
  if (watcher && watcher->wants(watcher->context, x->tree))
    watcher->touched(watcher->context, x->tree, x->f->time, slice_of(NULL, 0), true);
  return HDB_OK;
}

static status erase_tree_of(erasing *x) {
  arena_mark mark = arena_save(&x->w.memory);
  x->removed = x->removed_bytes = 0;
  if (x->spec->rebuild) {
    TRY(load_rows(x));
    TRY(load_history(x));
    TRY(cut_anew(x));
  } else {
    TRY(groups_in_place(x));
    TRY(history_in_place(x));
  }
  arena_rewind(&x->w.memory, mark);
  if (x->spec == x->request->counted) x->request->report->rows += x->removed;
  fold_tree *t;
  TRY(fold_tree_of(x->f, x->tree, &t));
  t->rows -= x->removed, t->bytes -= x->removed_bytes;
  t->time = x->f->time;
  t->rebuilt = true;
  atomic_store_explicit(&t->info->changed_time, x->f->time, memory_order_relaxed);
  return tell_others(x);
}

/* The tree itself and what branches have of it; ascending by tree, as the feed wants them. */
static status erase_all(erasing *x) {
  const erase_request *r = x->request;
  for (size_t i = 0; i < r->parts_n; i++) {
    x->spec = r->parts[i].spec, x->tree = r->parts[i].tree;
    TRY(erase_tree_of(x));
  }
  return HDB_OK;
}

/* ---- the feed ---- */

static const erase_tree *spec_of(const erase_request *r, uint32_t tree) {
  for (size_t i = 0; i < r->parts_n; i++)
    if (r->parts[i].tree == tree) return r->parts[i].spec;
  return NULL;
}

static bool forgets(void *context, uint32_t tree, slice key) {
  const erasing *x = context;
  const erase_tree *spec = spec_of(x->request, tree);
  if (!spec || !spec->matches(spec->context, key)) return false;
  x->request->report->feed_keys++;
  return true;
}

static status erase_feed(erasing *x) {
  kv_iter *it;
  TRY(kv_iter_open(x->e->store, NULL, KV_COMMITS, slice_of(NULL, 0), slice_of(NULL, 0), &it));
  status rc = HDB_OK;
  for (it->seek(it, slice_of("", 0)); it->valid && rc == HDB_OK; it->next(it)) {
    bool changed;
    rc = feed_without(it->value, forgets, x, &x->bytes, &x->key, &changed);
    if (rc == HDB_OK && changed) kv_batch_put(x->f->batch, KV_COMMITS, it->key, buf_slice(&x->bytes));
  }
  if (rc == HDB_OK) rc = it->error;
  it->close(it);
  return rc;
}

status erase_fold(fold *f, const txn *t, bool *changed) {
  engine *e = f->engine;
  erasing x = {.f = f, .e = e, .request = t->erase, .floor = atomic_load(&e->history_floor)};
  x.w.e = e, x.w.batch = f->batch;
  if (!e->history) x.floor = INT64_MAX;
  TRY(recent_begin(&e->recent, f->time));
  status rc = e->feed ? erase_feed(&x) : HDB_OK;
  if (rc == HDB_OK && e->feed) feed_begin(&f->feed, f->time, BRANCH_MAIN, 0, 0);
  if (rc == HDB_OK) rc = erase_all(&x);
  if (rc == HDB_OK && e->feed) rc = feed_end(&f->feed, f->batch);
  if (rc == HDB_OK && !e->memory)
    kv_batch_put(f->batch, KV_META, slice_str("erased"), slice_of("1", 1)); /* E4 */
  if (rc == HDB_OK) kv_batch_delete(f->batch, KV_META, slice_str("setting/erase"));
  pack_free(&x.w);
  free(x.rows);
  buf_free(&x.key), buf_free(&x.bytes);
  *changed = true;
  return rc;
}

/* ---- from outside ---- */

static status compact(engine *e, const erase_request *r) {
  for (size_t i = 0; i < r->parts_n; i++) {
    uint8_t from[4], to[4];
    put_be32(from, r->parts[i].tree), put_be32(to, r->parts[i].tree + 1);
    TRY(kv_compact(e->store, KV_ROWS, slice_of(from, 4), slice_of(to, 4)));
    TRY(kv_compact(e->store, KV_VERSIONS, slice_of(from, 4), slice_of(to, 4)));
    TRY(kv_compact(e->store, KV_HNSW, slice_of(from, 4), slice_of(to, 4)));
  }
  TRY(kv_compact(e->store, KV_META, slice_of(NULL, 0), slice_of(NULL, 0)));
  return kv_compact(e->store, KV_COMMITS, slice_of(NULL, 0), slice_of(NULL, 0));
}

/* Views from before the flush keep what is below them in kv: the engine's own goes, the others are counted. */
static int other_views(engine *e) {
  pthread_mutex_lock(&e->view_lock);
  view_release(e->newest);
  e->newest = NULL;
  pthread_mutex_unlock(&e->view_lock);
  return atomic_load(&e->views);
}

static status forget_erased(engine *e) {
  kv_batch *batch = kv_batch_new(e->store);
  if (!batch) return HDB_NOMEM;
  kv_batch_delete(batch, KV_META, slice_str("erased"));
  status rc = kv_write(e->store, batch, false);
  kv_batch_free(batch);
  return rc;
}

void erase_finish(engine *e) {
  kv_value value;
  if (e->memory || e->read_only || atomic_load(&e->broken)) return;
  if (kv_get(e->store, NULL, KV_META, slice_str("erased"), &value) != HDB_OK) return;
  kv_release(&value);
  kv_wake(e->store); /* a flush would wait for ever for one that rests */
  if (kv_flush(e->store) != HDB_OK) return; /* the next close tries again */
  bool kept = other_views(e) > 0 || kv_snapshots(e->store) > 0;
  static const enum kv_family families[] = {KV_META, KV_ROWS, KV_VERSIONS, KV_COMMITS, KV_HNSW};
  for (int i = 0; i < 5; i++)
    if (kv_compact(e->store, families[i], slice_of(NULL, 0), slice_of(NULL, 0)) != HDB_OK) return;
  if (!kept) forget_erased(e);
}

static int by_tree(const void *a, const void *b) {
  const erase_part *x = a, *y = b;
  return (x->tree > y->tree) - (x->tree < y->tree);
}

static status add_part(void *context, uint32_t own, const erase_tree *spec) {
  erase_request *r = context;
  if (r->parts_n == r->parts_capacity) {
    size_t capacity = r->parts_capacity ? 2 * r->parts_capacity : 16;
    erase_part *parts = realloc(r->parts, capacity * sizeof *parts);
    if (!parts) return HDB_NOMEM;
    r->parts = parts, r->parts_capacity = capacity;
  }
  r->parts[r->parts_n++] = (erase_part){own, spec};
  return HDB_OK;
}

static status commit(engine *e, erase_request *r, int timeout_ms) {
  txn *t;
  TRY(txn_new(e, &t));
  status rc = txn_begin(t, TXN_READ, 0);
  if (rc == HDB_OK) {
    t->erase = r;
    pack_hold(e);
    rc = queue_commit(e, t, timeout_ms);
    int64_t time = t->request.time;
    pack_let(e);
    if (rc == HDB_OK) images_drop(e->images, time);
    if (rc == HDB_OK) rc = engine_sync_to(e, time);
  }
  txn_free(t);
  return rc;
}

status engine_erase(txn *caller, const erase_tree *trees, size_t n, int timeout_ms, erase_report *report) {
  engine *e = caller->engine;
  erase_request r = {.counted = trees, .report = report};
  status rc = HDB_OK;
  memset(report, 0, sizeof *report);
  if (e->read_only) return HDB_READONLY;
  if (caller->open) return HDB_MISUSE;
  for (size_t i = 0; i < n && rc == HDB_OK; i++) {
    rc = add_part(&r, trees[i].tree, &trees[i]);
    if (rc == HDB_OK) rc = branch_each_delta(e, &trees[i], add_part, &r);
  }
  if (rc == HDB_OK) qsort(r.parts, r.parts_n, sizeof *r.parts, by_tree);
  if (rc == HDB_OK) rc = commit(e, &r, timeout_ms);
  view_release(caller->view);
  caller->view = NULL;
  if (caller->holding) scan_view_changed(caller);
  if (rc == HDB_OK && !e->memory) {
    rc = kv_flush(e->store);
    report->views = other_views(e);
    bool kept = kv_snapshots(e->store) > 0; /* somebody's who has no view: the packer's, a copy's */
    if (rc == HDB_OK) rc = compact(e, &r);
    if (rc == HDB_OK && report->views <= 0 && !kept) rc = forget_erased(e);
  }
  free(r.parts);
  return rc;
}
