/* Folding: the leader's workspace, where commit requests become groups.
 *
 * Within a batch every touched group is loaded once, decoded into an array of rows, changed by the requests in their
 * order (so each sees the result of those before it), and encoded once at the end, cut or merged to the right size.
 * Only the leader of the queue is in here, so the newest state of kv stands still meanwhile.
 *
 * F1  groups[] is ordered by (tree, lower) and the ranges [lower, upper) are disjoint; within a batch no range moves.
 * F2  rows of a group ascend; row.key is what follows group.prefix; bytes lie in the arena, in kv's bytes copied
 *     there, or in the write sets of the requests, which all stand still until the batch is done.
 * F3  A request that is alone in its batch (large, or with a clear) writes groups out as it passes them, so memory
 *     does not grow with its size.
 * F4  With history a group that became empty stays as an empty group: its newest time tells AS OF to look for
 *     versions records there (retention removes it later). Without, it is deleted.
 * Cost: a single-row commit decodes and encodes one group: about 1 us for 1 KB.
 */
#include "mvcc/fold.h"
#include "mvcc/images.h"

#include <assert.h>
#include <stdlib.h>

#include "kv/base/key.h"

enum {
  ALONE_WRITES = 4096,  /* requests with more are folded alone */
  RUN_MAX = 4096,       /* writes merged into a group at a time */
  KEEP_BYTES = 1 << 20,
  KEEP_ROWS = 4,         /* an image is kept when so many rows change at once, half of the group */
  STEPS_MAX = 8,         /* groups stepped over before a seek: as many cost as much */
  RECENT_KEYS_MAX = 8192 /* a larger request counts as 'the whole tree' when nobody else is open */
};

/* ---- life ---- */

status fold_new(engine *e, fold **out) {
  fold *f = calloc(1, sizeof *f);
  *out = f;
  if (!f) return HDB_NOMEM;
  f->engine = e;
  f->random = 2463534242u;
  f->empty = arena_save(&f->memory);
  f->batch = kv_batch_new(e->store);
  version_begin(&f->version);
  if (e->cache) cache_add_reader(e->cache, &f->reader);
  return f->batch ? HDB_OK : HDB_NOMEM;
}

void fold_free(fold *f) {
  if (!f) return;
  if (f->it) f->it->close(f->it);
  if (f->engine->cache) cache_remove_reader(f->engine->cache, &f->reader);
  arena_clear(&f->memory);
  kv_batch_free(f->batch);
  version_free(&f->version);
  feed_free(&f->feed);
  buf_free(&f->wanted);
  buf_free(&f->encoded);
  free(f->groups);
  free(f->trees);
  free(f->run);
  free(f);
}

kv_batch *fold_batch(fold *f) { return f->batch; }
int64_t fold_schema_time(const fold *f) { return f->schema_time; }

status fold_begin(fold *f) {
  f->groups_n = f->trees_n = 0;
  f->steps = STEPS_MAX;
  f->schema_time = atomic_load(&f->engine->schema_time);
  kv_batch_clear(f->batch);
  return HDB_OK;
}

void fold_end(fold *f) {
  if (f->it) f->it->close(f->it);
  f->it = NULL;
  f->groups_n = f->trees_n = 0;
  f->memory.failed = false;
  if (f->batch_bytes <= KEEP_BYTES) {
    arena_rewind(&f->memory, f->empty);
  } else { /* a large one gives its memory back */
    arena_clear(&f->memory);
    kv_batch *fresh = kv_batch_new(f->engine->store);
    if (fresh) {
      kv_batch_free(f->batch);
      f->batch = fresh;
    }
  }
  kv_batch_clear(f->batch);
}

bool fold_wants_alone(const txn *t) {
  if (t->exclusive) return true;
  if (t->sweep || t->erase) return true;
  if (t->writes.log_n > ALONE_WRITES) return true;
  for (size_t i = 0; i < t->writes.trees_n; i++) {
    if (t->writes.trees[i]->root.cleared || t->writes.trees[i]->bulk) return true;
  }
  return false;
}

status fold_tree_of(fold *f, uint32_t tree, fold_tree **out) {
  for (size_t i = f->trees_n; i-- > 0;) {
    if (f->trees[i].info->tree == tree) {
      *out = &f->trees[i];
      return HDB_OK;
    }
  }
  if (f->trees_n == f->trees_capacity) {
    size_t capacity = f->trees_capacity ? 2 * f->trees_capacity : 16;
    fold_tree *trees = realloc(f->trees, capacity * sizeof *trees);
    if (!trees) return HDB_NOMEM;
    f->trees = trees, f->trees_capacity = capacity;
  }
  fold_tree *t = &f->trees[f->trees_n];
  memset(t, 0, sizeof *t);
  TRY(tree_get(f->engine, tree, &t->info));
  f->trees_n++;
  *out = t;
  return HDB_OK;
}

/* ---- finding and loading groups ---- */

/* Index of the last group of the workspace with (tree, lower) <= (tree, key), SIZE_MAX: none. */
static size_t group_index(const fold *f, uint32_t tree, slice key) {
  size_t low = 0, high = f->groups_n;
  while (low < high) {
    size_t middle = (low + high) / 2;
    const fold_group *g = f->groups[middle];
    int c = g->tree != tree ? (g->tree < tree ? -1 : 1) : slice_compare(g->lower, key);
    if (c <= 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low - 1;
}

static bool covers(const fold_group *g, uint32_t tree, slice key) {
  return g->tree == tree && slice_compare(g->lower, key) <= 0 && (!g->upper.p || slice_compare(key, g->upper) < 0);
}

status fold_insert_group(fold *f, fold_group *g) {
  if (f->groups_n == f->groups_capacity) {
    size_t capacity = f->groups_capacity ? 2 * f->groups_capacity : 64;
    fold_group **groups = realloc(f->groups, capacity * sizeof *groups);
    if (!groups) return HDB_NOMEM;
    f->groups = groups, f->groups_capacity = capacity;
  }
  size_t at = group_index(f, g->tree, g->lower) + 1;
  const fold_group *left = at ? f->groups[at - 1] : NULL; /* F1: two of one bound would overwrite each other */
  if (left && left->tree == g->tree && slice_equal(left->lower, g->lower)) return HDB_CORRUPT;
  memmove(f->groups + at + 1, f->groups + at, (f->groups_n - at) * sizeof *f->groups);
  f->groups[at] = g;
  f->groups_n++;
  return HDB_OK;
}

static slice arena_slice(arena *a, slice s) {
  /* never NULL, so that an empty bound differs from none; 8 bytes more, for copies of short suffixes */
  uint8_t *p = arena_alloc(a, s.n + 8);
  if (!p) return slice_of(NULL, 0);
  if (s.n) memcpy(p, s.p, s.n);
  return slice_of(p, s.n);
}

static bool same_tree(const fold *f, uint32_t tree) {
  return f->it->valid && f->it->key.n >= 4 && get_be32(f->it->key.p) == tree;
}

static slice bound_of(const fold *f) { return slice_of(f->it->key.p + 4, f->it->key.n - 4); }

/* Takes the group's bytes as they are. */
static status take_bytes(fold *f, fold_group *g, slice bytes) {
  TRY(group_open(&g->in, bytes));
  g->bytes = bytes;
  g->newest = g->in.newest;
  TRY(group_history_get(&g->in, &g->history));
  if (g->history.newest <= engine_oldest(f->engine)) memset(&g->history, 0, sizeof g->history); /* X2 */
  return HDB_OK;
}

size_t fold_rows(const fold_group *g) { return g->decoded || !g->bytes.p ? g->n : g->in.count; }

/* Rows point into the bytes. */
status fold_decode(fold *f, fold_group *g) {
  if (g->decoded) return HDB_OK;
  g->decoded = true;
  if (!g->bytes.p) return HDB_OK; /* a new one */
  const group *in = &g->in;
  g->prefix = slice_of(in->prefix, in->prefix_n);
  g->n = in->count;
  g->rows = arena_alloc(&f->memory, (g->n ? g->n : 1) * sizeof *g->rows);
  if (!g->rows) return HDB_NOMEM;
  for (size_t i = 0; i < g->n; i++) {
    if (!group_row(in, i, &g->rows[i].key, &g->rows[i].value)) return HDB_CORRUPT;
  }
  return group_times(in, g->rows);
}

static status open_iterator(fold *f) {
  if (f->it) return HDB_OK;
  return kv_iter_open(f->engine->store, NULL, KV_ROWS, slice_of(NULL, 0), slice_of(NULL, 0), &f->it);
}

/* The same from the cache; *found: it was there. */
static status load_cached(fold *f, slice key, fold_group *g, bool *found) {
  cache *c = f->engine->cache;
  cached *hot = c ? cache_get(c, &f->reader, g->tree, key, INT64_MAX) : NULL;
  *found = hot != NULL;
  if (!hot) return HDB_OK;
  g->existed = true;
  g->lower = arena_slice(&f->memory, hot->lower);
  if (hot->upper.p) g->upper = arena_slice(&f->memory, hot->upper);
  slice bytes = arena_slice(&f->memory, hot->bytes);
  cached_release(hot);
  return f->memory.failed ? HDB_NOMEM : take_bytes(f, g, bytes);
}

static status take_under_iterator(fold *f, fold_group *g) {
  g->existed = true;
  g->lower = arena_slice(&f->memory, bound_of(f));
  slice bytes = arena_slice(&f->memory, f->it->value);
  if (!bytes.p || !g->lower.p) return HDB_NOMEM;
  TRY(take_bytes(f, g, bytes));
  f->it->next(f->it);
  return f->it->error;
}

/* Requests go through their trees in order, and the iterator stands behind the group before: often at the wanted one or
 * shortly before, which steps find for a fraction of what a seek costs. Where they did not, fewer are tried next time. */
static status load_by_steps(fold *f, slice key, fold_group *g, bool *found) {
  arena_mark mark = arena_save(&f->memory);
  for (int steps = 0; steps < f->steps && !*found; steps++) {
    if (!same_tree(f, g->tree) || slice_compare(bound_of(f), key) > 0) return HDB_OK;
    if (steps) arena_rewind(&f->memory, mark);
    TRY(take_under_iterator(f, g));
    *found = !same_tree(f, g->tree) || slice_compare(bound_of(f), key) > 0;
  }
  f->steps = *found ? STEPS_MAX : f->steps > 1 ? f->steps / 2 : 1;
  return HDB_OK;
}

static status load_by_seek(fold *f, slice key, fold_group *g) {
  g->existed = false;
  g->lower = arena_slice(&f->memory, slice_of(NULL, 0));
  buf_clear(&f->wanted);
  group_key(&f->wanted, g->tree, key);
  if (buf_failed(&f->wanted)) return HDB_NOMEM;
  f->it->seek_for_prev(f->it, buf_slice(&f->wanted));
  TRY(f->it->error);
  if (same_tree(f, g->tree)) return take_under_iterator(f, g);
  put_be32(f->wanted.p, g->tree);
  f->it->seek(f->it, slice_of(f->wanted.p, 4));
  return f->it->error;
}

/* The group that covers the key, from kv; a new one where there is none. Not yet in groups[]. */
static status load(fold *f, uint32_t tree, slice key, fold_group **out) {
  fold_group *g = arena_zero(&f->memory, sizeof *g);
  bool found;
  if (!g) return HDB_NOMEM;
  *out = g;
  g->tree = tree;
  TRY(load_cached(f, key, g, &found));
  if (found) return HDB_OK;
  bool stands = f->it != NULL;
  TRY(open_iterator(f));
  if (stands) TRY(load_by_steps(f, key, g, &found));
  if (!found) TRY(load_by_seek(f, key, g));
  if (same_tree(f, tree)) g->upper = arena_slice(&f->memory, bound_of(f));
  return f->memory.failed ? HDB_NOMEM : HDB_OK;
}

void fold_remove_group(fold *f, const fold_group *g) {
  size_t at = group_index(f, g->tree, g->lower);
  if (at == SIZE_MAX || f->groups[at] != g) return;
  memmove(f->groups + at, f->groups + at + 1, (f->groups_n - at - 1) * sizeof *f->groups);
  f->groups_n--;
}

status fold_locate(fold *f, uint32_t tree, slice key, fold_group **out) {
  size_t at = group_index(f, tree, key);
  if (at != SIZE_MAX && covers(f->groups[at], tree, key)) {
    *out = f->groups[at];
    return HDB_OK;
  }
  TRY(load(f, tree, key, out));
  return fold_insert_group(f, *out);
}

status fold_bound_before(fold *f, const fold_group *g, slice *bound) {
  *bound = slice_of(NULL, 0);
  TRY(open_iterator(f));
  buf_clear(&f->wanted);
  group_key(&f->wanted, g->tree, g->lower);
  if (buf_failed(&f->wanted)) return HDB_NOMEM;
  f->it->seek_for_prev(f->it, buf_slice(&f->wanted));
  if (same_tree(f, g->tree) && slice_equal(bound_of(f), g->lower)) f->it->prev(f->it);
  TRY(f->it->error);
  if (!same_tree(f, g->tree)) return HDB_OK;
  *bound = arena_slice(&f->memory, bound_of(f));
  return bound->p ? HDB_OK : HDB_NOMEM;
}

/* The group before g; NULL: there is none, or somebody in this batch has it in hand. Only while no group of the batch
 * has been left behind: kv has the old state of those. */
status fold_load_before(fold *f, const fold_group *g, fold_group **out) {
  slice bound;
  *out = NULL;
  TRY(fold_bound_before(f, g, &bound));
  if (!bound.p) return HDB_OK;
  size_t known = f->groups_n, at = group_index(f, g->tree, g->lower);
  while (at != SIZE_MAX && f->groups[at] == g) at = at ? at - 1 : SIZE_MAX;
  /* one in hand that begins there or later may have been cut: its pieces are in the batch, not in kv */
  if (at != SIZE_MAX && f->groups[at]->tree == g->tree && slice_compare(f->groups[at]->lower, bound) >= 0) return HDB_OK;
  fold_group *left;
  TRY(fold_locate(f, g->tree, bound, &left));
  if (f->groups_n == known) return HDB_OK;
  fold_remove_group(f, left);
  *out = left;
  return HDB_OK;
}

/* ---- applying a run of writes to a group ---- */

static status run_add(fold *f, write_entry *e) {
  if (f->run_n == f->run_capacity) {
    size_t capacity = f->run_capacity ? 2 * f->run_capacity : 64;
    write_entry **run = realloc(f->run, capacity * sizeof *run);
    if (!run) return HDB_NOMEM;
    f->run = run, f->run_capacity = capacity;
  }
  f->run[f->run_n++] = e;
  return HDB_OK;
}

/* Makes the prefix short enough for these keys. */
static status shorten_prefix(fold *f, fold_group *g, size_t n) {
  if (n >= g->prefix.n) return HDB_OK;
  slice moved = slice_of(g->prefix.p + n, g->prefix.n - n);
  for (size_t i = 0; i < g->n; i++) {
    row *r = &g->rows[i];
    uint8_t *p = arena_alloc(&f->memory, moved.n + r->key.n);
    if (!p) return HDB_NOMEM;
    memcpy(p, moved.p, moved.n);
    if (r->key.n) memcpy(p + moved.n, r->key.p, r->key.n);
    r->key = slice_of(p, moved.n + r->key.n);
  }
  g->prefix.n = n;
  return HDB_OK;
}

/* First row >= key (which follows the prefix), from `from` on. */
static size_t row_search(const fold_group *g, size_t from, slice key, bool *exact) {
  size_t low = from, high = g->n;
  *exact = false;
  while (low < high) {
    size_t middle = (low + high) / 2;
    int c = slice_compare(g->rows[middle].key, key);
    if (c == 0) {
      *exact = true;
      return middle;
    }
    if (c < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static int64_t entry_bytes(const fold_group *g, const row *r) { return (int64_t)(g->prefix.n + row_bytes(r)); }

static void note_insert(fold_tree *t, slice key) {
  if (key.n != 8) return;
  int64_t rowid = rowid_decode(key.p);
  if (!t->inserted || rowid > t->rowid_max) t->rowid_max = rowid;
  t->inserted = true;
}

static void note_delete(fold_tree *t, slice key) {
  if (key.n != 8) return;
  int64_t rowid = rowid_decode(key.p);
  if (!t->deleted || rowid > t->deleted_max) t->deleted_max = rowid;
  t->deleted = true;
}

/* What the commits of this batch do to the largest row id; under the tree's lock. */
static void move_floor(const fold_tree *t, tree_info *i) {
  if (!i->floor_known) return;
  i->floor_known = !t->rebuilt && !(t->deleted && t->deleted_max >= i->floor_max);
  if (t->inserted && (!i->floor_any || t->rowid_max > i->floor_max)) i->floor_max = t->rowid_max, i->floor_any = true;
}

/* One write against the rows at `at`; appends to out[] what takes its place. */
static void apply_one(fold *f, fold_group *g, fold_tree *t, write_entry *e, const row *old, row *out, size_t *n) {
  bool history = f->engine->history;
  slice value = write_value(e);
  bool put = e->now->state == WRITE_PUT;
  if (old) {
    if (history && !(PLANTED(PLANT_INDEX_HISTORY_DROPPED) && e->key_n != 8)) version_add(&f->version, g->prefix, old, put ? &value : NULL, f->time);
    if (!put) t->rows--, note_delete(t, write_key(e));
    t->bytes -= entry_bytes(g, old);
    f->shrunk = f->shrunk || !put;
  }
  if (put) {
    row *r = &out[(*n)++];
    r->key = slice_of(e->key + g->prefix.n, e->key_n - g->prefix.n);
    r->value = value;
    r->time = f->time;
    r->fresh = !old;
    t->bytes += entry_bytes(g, r);
    if (!old) {
      t->rows++;
      note_insert(t, write_key(e));
    }
  }
}

/* A run of one write on a group that is not decoded: the bytes around it are copied. *done: it was possible. */
static status apply_splice(fold *f, fold_group *g, fold_tree *t, bool *done) {
  write_entry *e = f->run[0];
  slice prefix = slice_of(g->in.prefix, g->in.prefix_n), value = write_value(e);
  splice s = {.time = f->time, .with_times = f->engine->history};
  *done = false;
  if (g->decoded || !g->bytes.p || f->run_n != 1 || !slice_starts(write_key(e), prefix)) return HDB_OK;
  s.at = group_seek(&g->in, write_key(e), &s.exact);
  if (s.at == SIZE_MAX) return HDB_CORRUPT;
  s.suffix = slice_of(e->key + prefix.n, e->key_n - prefix.n);
  if (e->now->state == WRITE_PUT) s.value = &value;
  buf_clear(&f->encoded);
  if ((!s.value && !s.exact) || !group_splice(&f->encoded, &g->in, &s)) return HDB_OK;
  row old = {.key = s.suffix}, out[1];
  size_t n = 0;
  if (s.exact) {
    slice suffix;
    if (!group_row(&g->in, s.at, &suffix, &old.value)) return HDB_CORRUPT;
    if (f->engine->history) TRY(group_time(&g->in, s.at, &old.time, &old.fresh));
  }
  f->shrunk = false;
  g->appended = s.at == g->in.count && !g->upper.p;
  g->prefix = prefix;
  apply_one(f, g, t, e, s.exact ? &old : NULL, out, &n);
  g->shrunk = g->shrunk || f->shrunk;
  slice bytes = arena_slice(&f->memory, buf_slice(&f->encoded));
  if (!bytes.p) return HDB_NOMEM;
  TRY(group_open(&g->in, bytes));
  g->bytes = bytes;
  g->newest = f->time;
  g->dirty = true;
  *done = true;
  return HDB_OK;
}

/* Merges f->run into the group. */
static status apply_run(fold *f, fold_group *g, fold_tree *t) {
  bool done;
  TRY(apply_splice(f, g, t, &done));
  if (done) return HDB_OK;
  TRY(fold_decode(f, g));
  slice first = write_key(f->run[0]), last = write_key(f->run[f->run_n - 1]);
  size_t a = slice_common(g->prefix, first), b = slice_common(g->prefix, last);
  TRY(shorten_prefix(f, g, a < b ? a : b));
  row *out = arena_alloc(&f->memory, (g->n + f->run_n) * sizeof *out);
  if (!out) return HDB_NOMEM;
  size_t from = 0, n = 0;
  f->shrunk = false;
  for (size_t k = 0; k < f->run_n; k++) {
    write_entry *e = f->run[k];
    bool exact;
    slice key = slice_of(e->key + g->prefix.n, e->key_n - g->prefix.n);
    size_t at = row_search(g, from, key, &exact);
    if (at > from) memcpy(out + n, g->rows + from, (at - from) * sizeof *out);
    n += at - from;
    apply_one(f, g, t, e, exact ? &g->rows[at] : NULL, out, &n);
    from = exact ? at + 1 : at;
  }
  g->applied = n;
  g->appended = from == g->n && !g->upper.p && !f->shrunk;
  g->shrunk = g->shrunk || f->shrunk;
  if (g->n > from) memcpy(out + n, g->rows + from, (g->n - from) * sizeof *out);
  n += g->n - from;
  g->rows = out, g->n = n;
  g->newest = f->time;
  g->dirty = true;
  return f->memory.failed ? HDB_NOMEM : HDB_OK;
}

static status ask_for_packing(fold *f, const fold_group *g) {
  buf_clear(&f->wanted);
  version_bound(&f->wanted, g->tree, g->lower);
  if (buf_failed(&f->wanted)) return HDB_NOMEM;
  pack_request(f->engine, buf_slice(&f->wanted), 1);
  return HDB_OK;
}

/* The record of what the runs since the last one changed in the group: one for its bound and this commit. */
static status put_record(fold *f, fold_group *g) {
  if (!f->version.count) return HDB_OK;
  TRY(version_put(&f->version, f->batch, g->tree, g->lower, f->time));
  size_t weight = g->history.weight + f->version.bytes.n;
  if (weight / PACK_WEIGHT != g->history.weight / PACK_WEIGHT) TRY(ask_for_packing(f, g));
  g->history.newest = f->time;
  g->history.weight = weight;
  version_begin(&f->version);
  return HDB_OK;
}

/* A write that cannot change anything: made and taken back within the transaction. */
static bool comes_to_nothing(const write_entry *e) {
  return e->now->state == WRITE_DELETE && e->base == BASE_ABSENT;
}

static status note_changed(fold *f, write_tree *w, write_entry *e, bool recent) {
  if (recent) TRY(recent_add(&f->engine->recent, w->tree, write_key(e)));
  if (f->engine->feed) feed_key(&f->feed, f->batch, w->tree, write_key(e));
  return HDB_OK;
}

/* Takes the writes that fall into the group at the position, up to RUN_MAX. */
static status collect_run(fold *f, const fold_group *g, write_tree *w, write_position *p, bool recent) {
  f->run_n = 0;
  while (p->entry && f->run_n < RUN_MAX) {
    write_entry *e = p->entry;
    if (g->upper.p && slice_compare(write_key(e), g->upper) >= 0) break;
    if (!comes_to_nothing(e)) {
      TRY(run_add(f, e));
      TRY(note_changed(f, w, e, recent));
    }
    write_next(p);
  }
  return HDB_OK;
}

/* F3: a group that is done, in a request that is alone: out of the workspace and into the batch, but for a small one,
 * which waits (as *pending) for what becomes of its right neighbour. */
static status leave_group(fold *f, fold_group *g, fold_group **pending) {
  fold_remove_group(f, g);
  if (*pending) {
    bool merged = false;
    TRY(fold_merge(f, *pending, g, &merged));
    if (merged) {
      g = *pending;
    } else {
      TRY(fold_write_group(f, *pending, false));
    }
  }
  *pending = fold_is_small(g, GROUP_AIM) ? g : NULL;
  return *pending ? HDB_OK : fold_write_group(f, g, false);
}

/* What a group was before the run changes it, for readers of the past, who are spared undoing it: what a branch sees (its first
 * change since the branch point), and what lasted for a while and is changed by half or more at once. There undoing costs most,
 * and the copy is little beside the commit's other work; with single rows it would be a fifth of it. */
static void keep_image(fold *f, const fold_group *g) {
  if (!f->engine->history || g->dirty || g->decoded || !g->bytes.p) return;
  int64_t point = atomic_load_explicit(&f->engine->branches_newest, memory_order_relaxed), since = g->in.newest;
  bool much = f->time - since >= f->engine->image_lasted && 2 * f->run_n >= g->in.count && f->run_n >= KEEP_ROWS;
  if (since > point && !much) return;
  image_wanted w = {.tree = g->tree, .lower = g->lower, .upper = &g->upper, .time = since > point ? since : point, .view = f->time};
  images_keep(f->engine->images, &w, since, f->time, g->bytes);
}

static status apply_writes(fold *f, write_tree *w, bool alone, bool recent, bool *changed) {
  fold_tree *t;
  write_position p;
  fold_group *pending = NULL;
  arena_mark mark = arena_save(&f->memory);
  version_begin(&f->version);
  write_first(w, &p);
  while (p.entry) {
    fold_group *g;
    if (comes_to_nothing(p.entry)) {
      write_next(&p);
      continue;
    }
    TRY(fold_locate(f, w->tree, write_key(p.entry), &g));
    do {
      TRY(collect_run(f, g, w, &p, recent));
      TRY(fold_tree_of(f, w->tree, &t));
      if (f->run_n) keep_image(f, g);
      if (f->run_n) TRY(apply_run(f, g, t));
      *changed = *changed || f->run_n;
      if (alone && g->applied > RUN_MAX) {
        TRY(put_record(f, g));
        TRY(fold_write_head(f, g));
      }
    } while (p.entry && covers(g, w->tree, write_key(p.entry)));
    TRY(put_record(f, g));
    if (!alone || w->root.cleared) continue;
    TRY(leave_group(f, g, &pending));
    if (!pending) arena_rewind(&f->memory, mark);
  }
  return pending ? fold_write_group(f, pending, true) : HDB_OK;
}

static status apply_tree(fold *f, write_tree *w, bool alone, bool recent, bool *changed) {
  fold_tree *t;
  TRY(fold_tree_of(f, w->tree, &t));
  t->rebuilt = t->rebuilt || w->root.cleared || w->bulk;
  if (w->root.cleared) {
    TRY(fold_clear(f, w->tree, t));
    aside_forget(f->engine, f->batch, w->tree);
    if (f->engine->feed) feed_whole(&f->feed, f->batch, w->tree);
    TRY(recent_add_whole(&f->engine->recent, w->tree));
    *changed = true;
  }
  if (w->bulk) {
    bulk_publish(f->engine, f->batch, w->tree);
    if (f->engine->feed) feed_whole(&f->feed, f->batch, w->tree);
    TRY(recent_add_whole(&f->engine->recent, w->tree));
    if (!w->root.cleared) t->rows += w->bulk_rows, t->bytes += w->bulk_bytes;
    *changed = true;
  }
  return apply_writes(f, w, alone, recent, changed);
}

/* ---- validation ---- */

static bool changed_since(fold *f, uint32_t tree, int64_t time, status *rc) {
  tree_info *i;
  *rc = tree_get(f->engine, tree, &i);
  if (*rc == HDB_OK && time < f->engine->opened_time && time < f->engine->recent.floor) return true; /* not known any more */
  return *rc == HDB_OK && atomic_load_explicit(&i->changed_time, memory_order_relaxed) > time;
}

static status conflict(txn *t, uint32_t tree, slice key, status rc, status *outcome) {
  txn_set_conflict(t, tree, key);
  *outcome = rc;
  return HDB_OK;
}

/* Somebody has written the key since the view. A value that rises is no conflict: the higher of the two stays. A row that
 * was to be new and is there now is a key given twice, not a row changed twice. */
static status validate_write(fold *f, txn *t, uint32_t tree, write_entry *e, status *outcome) {
  fold_group *g;
  bool there = false;
  size_t at = 0;
  bool adds = e->base == BASE_ABSENT && e->now->is_new;
  if (e->now->rising || adds) {
    TRY(fold_locate(f, tree, write_key(e), &g));
    TRY(fold_decode(f, g));
    if (slice_starts(write_key(e), g->prefix)) at = row_search(g, 0, slice_of(e->key + g->prefix.n, e->key_n - g->prefix.n), &there);
  }
  if (!e->now->rising || !there) return conflict(t, tree, write_key(e), adds && there ? HDB_CONSTRAINT_UNIQUE : HDB_BUSY_SNAPSHOT, outcome);
  if (t->rises(g->rows[at].value, write_value(e))) return HDB_OK;
  e->now->value = g->rows[at].value.p, e->now->value_n = (uint32_t)g->rows[at].value.n; /* F2 */
  return HDB_OK;
}

static status validate_writes(fold *f, txn *t, status *outcome) {
  for (size_t i = 0; i < t->writes.trees_n; i++) {
    write_tree *w = t->writes.trees[i];
    status rc;
    if (!changed_since(f, w->tree, t->view_time, &rc)) {
      TRY(rc);
      continue;
    }
    write_position p;
    write_first(w, &p);
    if (!p.entry && !w->root.cleared) continue;
    /* The keys committed since the view are not all known any more, or they are all wanted. */
    if (t->view_time < f->engine->recent.floor || w->root.cleared || w->bulk) {
      return conflict(t, w->tree, p.entry ? write_key(p.entry) : slice_of(NULL, 0), HDB_BUSY_SNAPSHOT, outcome);
    }
    for (; p.entry; write_next(&p)) {
      if (comes_to_nothing(p.entry)) continue;
      if (recent_time(&f->engine->recent, w->tree, write_key(p.entry)) <= t->view_time) continue;
      TRY(validate_write(f, t, w->tree, p.entry, outcome));
      if (*outcome != HDB_OK) return HDB_OK;
    }
  }
  return HDB_OK;
}

static status validate_reads(fold *f, txn *t, status *outcome) {
  bool holds;
  uint32_t tree;
  slice key;
  TRY(reads_validate(&t->reads, f->engine, t->view_time, &holds, &tree, &key));
  return holds ? HDB_OK : conflict(t, tree, key, HDB_BUSY_SNAPSHOT, outcome);
}

/* Own writes decide for their keys; the rest is what is committed. */
static bool own_write(const write_tree *w, slice prefix, slice suffix, buf *key) {
  if (!w) return false;
  buf_clear(key);
  buf_append(key, prefix.p, prefix.n);
  buf_append(key, suffix.p, suffix.n);
  write_entry *e = write_find(w, buf_slice(key));
  return e && e->now->state != WRITE_NONE;
}

/* Keys of the tree that start with prefix once the request is applied; stops counting at two. */
static status count_prefix(fold *f, txn *t, uint32_t tree, slice prefix, int *count) {
  write_tree *w = writeset_find(&t->writes, tree);
  buf key = BUF_INIT;
  status rc = HDB_OK;
  *count = 0;
  slice from = prefix;
  while (!(w && w->root.cleared) && *count < 2) {
    fold_group *g;
    CHECK(fold_locate(f, tree, from, &g));
    CHECK(fold_decode(f, g));
    size_t i = 0;
    for (; i < g->n && *count < 2; i++) {
      buf_clear(&key);
      buf_append(&key, g->prefix.p, g->prefix.n);
      buf_append(&key, g->rows[i].key.p, g->rows[i].key.n);
      if (slice_compare(buf_slice(&key), prefix) < 0) continue;
      if (!slice_starts(buf_slice(&key), prefix)) break;
      if (!own_write(w, g->prefix, g->rows[i].key, &key)) ++*count;
    }
    if (i < g->n || !g->upper.p) break;
    if (slice_compare(g->upper, prefix) > 0 && !slice_starts(g->upper, prefix)) break;
    from = g->upper;
  }
  if (w) {
    write_position p;
    for (write_seek(w, prefix, &p); p.entry && *count < 2; write_next(&p)) {
      if (!slice_starts(write_key(p.entry), prefix)) break;
      if (p.entry->now->state == WRITE_PUT) ++*count;
    }
  }
out:
  if (buf_failed(&key)) rc = HDB_NOMEM;
  buf_free(&key);
  return rc;
}

static status validate_facts(fold *f, txn *t, status *outcome) {
  for (const write_fact *fact = t->writes.facts; fact; fact = fact->older) {
    status rc;
    if (!changed_since(f, fact->tree, t->view_time, &rc)) {
      TRY(rc);
      continue;
    }
    int count;
    TRY(count_prefix(f, t, fact->tree, fact->prefix, &count));
    bool holds = fact->kind == FACT_UNIQUE || fact->kind == FACT_SINGLE ? count <= 1 : fact->kind == FACT_EXISTS ? count >= 1 : count == 0;
    if (!holds && fact->unless_tree) {
      TRY(count_prefix(f, t, fact->unless_tree, fact->unless, &count));
      holds = count >= 1;
    }
    if (holds) continue;
    status failed = fact->kind == FACT_UNIQUE ? HDB_CONSTRAINT_UNIQUE : fact->kind == FACT_SINGLE ? HDB_BUSY_SNAPSHOT : HDB_CONSTRAINT_FOREIGNKEY;
    return conflict(t, fact->tree, fact->prefix, failed, outcome);
  }
  return HDB_OK;
}

/* ---- a request ---- */

/* Retention's: groups that are empty and too old to be asked about. The range falls to the left neighbour, who has no
 * row there either, so no view can tell. */
static status sweep(fold *f, const txn *t, bool *changed) {
  for (size_t i = 0; i < t->sweep_n; i++) {
    const sweep_item *item = &t->sweep[i];
    fold_group *g;
    TRY(fold_locate(f, item->tree, item->bound, &g));
    if (!g->existed || fold_rows(g) || g->newest > engine_oldest(f->engine) || !slice_equal(g->lower, item->bound)) continue;
    memset(&g->history, 0, sizeof g->history);
    g->newest = f->time; /* nobody whose view is older may offer it to the cache again */
    g->dirty = true;     /* fold_write_group deletes it */
    *changed = true;
  }
  return HDB_OK;
}

/* Was a definition committed after the view? When the store was opened, the time of the last one was not known. */
static bool note_definition(void *context, int64_t time, slice key, bool whole) {
  *(bool *)context = true;
  return (void)time, (void)key, (void)whole, false;
}

static bool schema_moved(const fold *f, const txn *t) {
  const engine *e = f->engine;
  bool moved = false;
  if (t->view_time >= f->schema_time) return false;
  if (f->schema_time > e->opened_time || t->view_time < e->recent.floor) return true;
  recent_each(&e->recent, TREE_SCHEMA, t->view_time, note_definition, &moved);
  return moved;
}

/* txn_put_setting's */
static status put_setting(fold *f, txn *t) {
  buf key = BUF_INIT;
  const char *name = buf_cstr(&t->setting_name);
  if (name) setting_key(&key, name);
  status rc = !name || buf_failed(&key) ? HDB_NOMEM : HDB_OK;
  if (rc == HDB_OK) kv_batch_put(f->batch, KV_META, buf_slice(&key), buf_slice(&t->setting_value));
  buf_free(&key);
  return rc;
}

status fold_request(fold *f, txn *t, int64_t time, bool alone, status *outcome, bool *changed) {
  engine *e = f->engine;
  *outcome = HDB_OK;
  *changed = false;
  f->time = time, f->alone = alone;
  if (t->sweep) {
    TRY(sweep(f, t, changed));
    if (!*changed || !e->feed) return HDB_OK;
    feed_begin(&f->feed, time, BRANCH_MAIN, 0, 0); /* its time is a commit's like any other; it changed no row */
    return feed_end(&f->feed, f->batch);
  }
  if (t->erase) return erase_fold(f, t, changed);
  if (t->exclusive && t->view_time != atomic_load(&e->visible)) return conflict(t, 0, slice_of(NULL, 0), HDB_BUSY_SNAPSHOT, outcome);
  if (!t->branch && schema_moved(f, t)) { /* a branch's own: watch_schema */
    /* The schema moved under it: an index or table that it does not know would be left out. */
    *outcome = HDB_BUSY_SNAPSHOT;
    txn_set_conflict(t, TREE_SCHEMA, slice_of(NULL, 0));
    return HDB_OK;
  }
  if (t->view_time < e->last_time) {
    /* A unique fact that fails says more than the conflict of the very same key. */
    if (!PLANTED(PLANT_FACTS_NOT_VALIDATED)) TRY(validate_facts(f, t, outcome));
    if (*outcome == HDB_OK && !PLANTED(PLANT_WRITES_NOT_VALIDATED)) TRY(validate_writes(f, t, outcome));
    if (*outcome == HDB_OK && t->reads.n && !PLANTED(PLANT_READS_NOT_VALIDATED)) TRY(validate_reads(f, t, outcome));
    if (*outcome != HDB_OK) return HDB_OK;
    if (alone) f->groups_n = 0; /* loaded to be looked at; not changed */
  }
  bool others = atomic_load(&e->open_count) > 1;
  bool recent = others || t->writes.log_n <= RECENT_KEYS_MAX;
  TRY(recent_begin(&e->recent, time));
  if (e->feed) feed_begin(&f->feed, time, txn_branch(t), t->guest ? t->client : 0, t->guest ? t->number : 0);
  for (size_t i = 0; i < t->writes.trees_n; i++) {
    bool tree_changed = false;
    write_tree *w = t->writes.trees[i];
    TRY(apply_tree(f, w, alone, recent, &tree_changed));
    if (!tree_changed) continue;
    *changed = true;
    watch_tell(e, w, time);
    if (!recent) TRY(recent_add_whole(&e->recent, w->tree));
    fold_tree *ft;
    TRY(fold_tree_of(f, w->tree, &ft));
    ft->time = time;
    atomic_store_explicit(&ft->info->changed_time, time, memory_order_relaxed);
    if (w->tree == TREE_SCHEMA) f->schema_time = time;
  }
  if (*changed && t->setting_name.n) TRY(put_setting(f, t));
  if (e->feed && *changed) TRY(feed_end(&f->feed, f->batch));
  return HDB_OK;
}

/* The batch is complete but for the counts: nothing fails from here on but kv's write. */
static status publish_counts(fold *f) {
  buf key = BUF_INIT, value = BUF_INIT;
  if (!buf_reserve(&key, 64) || !buf_reserve(&value, 64)) {
    buf_free(&key);
    return HDB_NOMEM;
  }
  for (size_t k = 0; k < f->trees_n; k++) {
    fold_tree *t = &f->trees[k];
    tree_info *i = t->info;
    pthread_mutex_lock(&i->lock);
    if (t->time && (t->rows || t->bytes)) {
      i->rows += t->rows, i->bytes += t->bytes;
      if (i->bytes < 0) i->bytes = 0;
      i->count_time = t->time;
      buf_clear(&key), buf_clear(&value);
      /* bytes are an estimate: alone they are not worth a write */
      if (!f->engine->memory && t->rows) tree_count_key(i->tree, &key), tree_count_value(i, &value);
    }
    move_floor(t, i);
    if (t->inserted) {
      if (t->rowid_max > i->rowid_max || !i->rowid_time) i->rowid_max = t->rowid_max;
      i->rowid_time = t->time;
    }
    pthread_mutex_unlock(&i->lock);
    if (key.n) kv_batch_put(f->batch, KV_META, buf_slice(&key), buf_slice(&value));
    key.n = 0;
  }
  buf_free(&key);
  buf_free(&value);
  return HDB_OK;
}

status fold_finish(fold *f) {
  for (size_t i = 0; i < f->groups_n; i++) {
    fold_group *g = f->groups[i];
    bool merged = false;
    if (i + 1 < f->groups_n && g->dirty && fold_is_small(g, GROUP_AIM)) TRY(fold_merge(f, g, f->groups[i + 1], &merged));
    if (merged) f->groups[i + 1] = g;
    else TRY(fold_write_group(f, g, true));
  }
  if (f->it) f->it->close(f->it);
  f->it = NULL;
  f->batch_bytes = kv_batch_bytes(f->batch);
  return publish_counts(f);
}
