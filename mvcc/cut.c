/* Cutting groups: what a folded group becomes in kv.
 *
 * Up to GROUP_SPLIT bytes it stays one group. Above, it is cut into pieces of about GROUP_AIM; where rows were
 * appended at the end of the tree the pieces left behind are filled to GROUP_TAIL, because nothing will be added to
 * them, and the last piece starts small. A row larger than the aim is a piece of its own. A piece's bound is the
 * shortest string that parts it from the piece before. A group that shrank below GROUP_MERGE takes in its right
 * neighbour when both fit, or goes into its left one (rows deleted in order leave the small groups on the left), unless too much history would come together under one group: AS OF undoes a group whole.
 * C2  A commit rewrites its groups, so a small group makes it cheap and a large one makes scans and bulk changes cheap. What
 *     is loaded and changed in bulk has large groups; one that a small commit changes is cut small with a chance of one in
 *     GROUP_HOT_CHANCE, so that groups changed again and again become small without a counter.
 * C1  The first piece keeps the group's own bound. Later pieces may have history under the bounds before them:
 *     their history.low says from where.
 */
#include <stdlib.h>

#include "mvcc/fold.h"

/* What readers may find in the cache from this commit on. A large request empties its ranges rather than fill them. */
static status note_put(fold *f, const fold_group *g, slice upper) {
  cache *c = f->engine->cache;
  if (!c) return HDB_OK;
  cached *hot = NULL;
  if (!f->alone && f->encoded.n <= CACHED_MAX) {
    hot = cached_new(g->tree, g->lower, upper, buf_slice(&f->encoded), g->newest);
    if (!hot) return HDB_NOMEM;
  }
  cache_commit_begin(c);
  if (hot) {
    cache_commit_put(c, hot, g->newest, true);
  } else {
    cache_commit_delete(c, g->tree, g->lower, g->newest);
  }
  cache_commit_end(c);
  cached_release(hot);
  process_touched(f->engine, g->tree, g->lower, g->newest, false);
  return HDB_OK;
}

/* f->encoded becomes the group, under its bound. */
static status put_encoded(fold *f, const fold_group *g, slice upper) {
  buf_clear(&f->wanted);
  group_key(&f->wanted, g->tree, g->lower);
  if (buf_failed(&f->wanted) || buf_failed(&f->encoded)) return HDB_NOMEM;
  kv_batch_put(f->batch, KV_ROWS, buf_slice(&f->wanted), buf_slice(&f->encoded));
  return note_put(f, g, upper);
}

/* Rows [from, to) of the group. */
static status put_group(fold *f, const fold_group *g, size_t from, size_t to, slice upper) {
  buf_clear(&f->encoded);
  group_encode(&f->encoded, g->prefix, g->rows + from, to - from, f->engine->history, g->newest, &g->history);
  return put_encoded(f, g, upper);
}

/* As it was spliced. */
static status put_spliced(fold *f, fold_group *g) {
  buf_clear(&f->encoded);
  buf_append(&f->encoded, g->bytes.p, g->bytes.n);
  g->history.upper = g->upper;
  if (!buf_failed(&f->encoded)) group_add_history(&f->encoded, 0, &g->history);
  return put_encoded(f, g, g->upper);
}
static status delete_group(fold *f, uint32_t tree, slice bound, int64_t time) {
  buf_clear(&f->wanted);
  group_key(&f->wanted, tree, bound);
  if (buf_failed(&f->wanted)) return HDB_NOMEM;
  kv_batch_delete(f->batch, KV_ROWS, buf_slice(&f->wanted));
  cache *c = f->engine->cache;
  if (!c) return HDB_OK;
  cache_commit_begin(c);
  cache_commit_delete(c, tree, bound, time);
  cache_commit_end(c);
  process_touched(f->engine, tree, bound, time, false);
  return HDB_OK;
}

/* A group without a row and without a past: the range falls to the left neighbour, which is not rewritten. What the cache
 * has of it, or is offered by a view that still saw the bound, would end too early: the fold would then load it twice. */
static status delete_empty(fold *f, const fold_group *g) {
  cache *c = f->engine->cache;
  TRY(delete_group(f, g->tree, g->lower, g->newest));
  if (!c || !g->lower.n) return HDB_OK;
  slice left;
  TRY(fold_bound_before(f, g, &left));
  if (!left.p) return HDB_OK;
  cache_commit_begin(c);
  cache_commit_delete(c, g->tree, left, g->newest);
  cache_commit_end(c);
  process_touched(f->engine, g->tree, left, g->newest, false);
  return HDB_OK;
}

/* The shortest bound above row `left` and not above row `right`. */
static slice separator(fold *f, const fold_group *g, const row *left, const row *right) {
  size_t n = slice_common(left->key, right->key) + 1; /* strictly ascending: right has that byte */
  uint8_t *p = arena_alloc(&f->memory, g->prefix.n + n);
  if (!p) return slice_of(NULL, 0);
  if (g->prefix.n) memcpy(p, g->prefix.p, g->prefix.n);
  memcpy(p + g->prefix.n, right->key.p, n);
  return slice_of(p, g->prefix.n + n);
}

/* Rows [from, to) under the group's bound; the group goes on behind them, from a new bound. */
static status put_piece(fold *f, fold_group *g, size_t from, size_t to) {
  slice next = g->upper;
  if (to < g->n) {
    next = separator(f, g, &g->rows[to - 1], &g->rows[to]);
    if (!next.p) return HDB_NOMEM;
  }
  g->history.upper = next;
  TRY(put_group(f, g, from, to, next));
  if (to == g->n) return HDB_OK; /* F1: it stays in the workspace where it was */
  if (g->history.newest && !g->history.low.p) g->history.low = g->lower; /* C1 */
  g->lower = next;
  return HDB_OK;
}

/* End of the piece that starts at `from`, filled up to about `fill` bytes. */
static size_t piece_end(const fold_group *g, size_t from, size_t end, size_t fill) {
  size_t bytes = row_bytes(&g->rows[from]), i = from + 1;
  while (i < end && bytes + row_bytes(&g->rows[i]) <= fill) bytes += row_bytes(&g->rows[i++]);
  return i;
}

static size_t rows_bytes(const fold_group *g) {
  size_t bytes = 0;
  for (size_t i = 0; i < g->n; i++) bytes += row_bytes(&g->rows[i]);
  return bytes;
}

/* The same, decoded or not. */
static size_t group_bytes(const fold_group *g) {
  return g->decoded || !g->bytes.p ? rows_bytes(g) : g->in.entries_n + (size_t)g->in.count * 3;
}

status fold_write_head(fold *f, fold_group *g) {
  size_t from = 0;
  for (;;) {
    size_t to = piece_end(g, from, g->applied, GROUP_TAIL);
    if (to >= g->applied) break;
    TRY(put_piece(f, g, from, to));
    g->existed = false; /* goes on under another bound */
    from = to;
  }
  g->rows += from, g->n -= from, g->applied -= from;
  return HDB_OK;
}

/* Lengthens row keys by the end of their prefix, so that the prefix is n bytes. */
static status cut_prefix(fold *f, slice prefix, size_t n, row *rows, size_t rows_n) {
  size_t more = prefix.n - n;
  for (size_t i = 0; i < rows_n && more; i++) {
    uint8_t *p = arena_alloc(&f->memory, more + rows[i].key.n);
    if (!p) return HDB_NOMEM;
    memcpy(p, prefix.p + n, more);
    if (rows[i].key.n) memcpy(p + more, rows[i].key.p, rows[i].key.n);
    rows[i].key = slice_of(p, more + rows[i].key.n);
  }
  return HDB_OK;
}

bool fold_is_small(const fold_group *g, size_t limit) {
  return g->shrunk && group_bytes(g) < limit && g->history.weight < GROUP_WEIGHT;
}

static slice smaller_low(const fold_group *left, const fold_group *right) {
  slice low = left->history.low, other = right->history.low;
  if (!other.p || slice_compare(other, left->lower) >= 0) return low;
  return !low.p || slice_compare(other, low) < 0 ? other : low;
}

status fold_merge(fold *f, fold_group *left, fold_group *right, bool *merged) {
  *merged = false;
  if (left->tree != right->tree || !left->upper.p || !slice_equal(left->upper, right->lower)) return HDB_OK;
  if (group_bytes(left) + group_bytes(right) > GROUP_MERGED) return HDB_OK;
  if (left->history.weight + right->history.weight > GROUP_WEIGHT) return HDB_OK;
  TRY(fold_decode(f, left));
  TRY(fold_decode(f, right));
  size_t common = slice_common(left->prefix, right->prefix);
  if (left->n == 0) common = right->prefix.n;
  if (right->n == 0) common = left->prefix.n;
  row *rows = arena_alloc(&f->memory, (left->n + right->n + 1) * sizeof *rows);
  if (!rows) return HDB_NOMEM;
  if (left->n) TRY(cut_prefix(f, left->prefix, common, left->rows, left->n));
  if (right->n) TRY(cut_prefix(f, right->prefix, common, right->rows, right->n));
  if (left->n) memcpy(rows, left->rows, left->n * sizeof *rows);
  if (right->n) memcpy(rows + left->n, right->rows, right->n * sizeof *rows);
  if (left->n == 0) left->prefix = right->prefix;
  left->rows = rows, left->n += right->n;
  left->prefix.n = common;
  left->upper = right->upper;
  if (right->history.newest > left->history.newest) left->history.newest = right->history.newest;
  if (right->newest > left->newest) left->newest = right->newest;
  left->history.low = smaller_low(left, right);
  left->history.weight += right->history.weight;
  left->dirty = true;
  left->appended = false;
  *merged = true;
  return right->existed ? delete_group(f, right->tree, right->lower, left->newest) : HDB_OK;
}

/* Takes in the group behind, unless somebody in this batch has it in hand. */
static status merge_right(fold *f, fold_group *g) {
  fold_group *right;
  size_t known = f->groups_n;
  bool merged;
  TRY(fold_locate(f, g->tree, g->upper, &right));
  if (f->groups_n == known) return HDB_OK;
  fold_remove_group(f, right);
  return fold_merge(f, g, right, &merged);
}

/* Goes into the group before, unless somebody in this batch has that in hand. */
static status merge_left(fold *f, fold_group *g, bool *gone) {
  fold_group *left;
  TRY(fold_load_before(f, g, &left));
  if (left) TRY(fold_merge(f, left, g, gone));
  if (!*gone) return HDB_OK;
  g->dirty = false;
  return fold_write_group(f, left, false);
}

static status merge_small(fold *f, fold_group *g, bool *gone) {
  if (g->upper.p && fold_is_small(g, GROUP_MERGE)) TRY(merge_right(f, g));
  return !f->alone && g->lower.n && fold_is_small(g, GROUP_MERGE) ? merge_left(f, g, gone) : HDB_OK;
}

/* How a group is cut: from which size on, and into what. C2 */
typedef struct cut {
  size_t from, aim;
} cut;

static cut cut_of(fold *f, const fold_group *g) {
  if (f->alone) return g->appended ? (cut){GROUP_TAIL, GROUP_TAIL} : (cut){GROUP_SPLIT, GROUP_AIM};
  if (g->appended) return (cut){GROUP_HOT_TAIL, GROUP_HOT_TAIL};
  f->random ^= f->random << 13, f->random ^= f->random >> 17, f->random ^= f->random << 5;
  return f->random % GROUP_HOT_CHANCE ? (cut){GROUP_SPLIT, GROUP_AIM} : (cut){GROUP_HOT, GROUP_HOT_AIM};
}

status fold_write_group(fold *f, fold_group *g, bool may_merge) {
  if (!g->dirty) return HDB_OK;
  bool past = f->engine->history && (g->history.newest || g->history.low.p), gone = false;
  if (may_merge && (fold_rows(g) || past)) TRY(merge_small(f, g, &gone));
  if (gone) return HDB_OK;
  g->dirty = false;
  cut how = cut_of(f, g);
  if (!g->decoded && g->bytes.p && group_bytes(g) <= how.from && fold_rows(g)) return put_spliced(f, g);
  TRY(fold_decode(f, g));
  past = f->engine->history && (g->history.newest || g->history.low.p);
  size_t bytes = rows_bytes(g);
  if (g->n == 0) {
    if (past) return put_piece(f, g, 0, 0); /* F4 */
    return g->existed ? delete_empty(f, g) : HDB_OK;
  }
  if (bytes <= how.from || g->n == 1) return put_piece(f, g, 0, g->n);
  size_t fill = how.aim;
  if (!g->appended) {
    size_t pieces = (bytes + how.aim / 2) / how.aim;
    fill = bytes / (pieces ? pieces : 1) + 1;
  }
  for (size_t from = 0; from < g->n;) {
    size_t to = piece_end(g, from, g->n, fill);
    TRY(put_piece(f, g, from, to));
    from = to;
  }
  return HDB_OK;
}

/* ---- clearing a tree ---- */

/* A record of all the group's rows. */
static status record_group(fold *f, uint32_t tree, slice bound, const group *in, size_t *weight) {
  arena_mark mark = arena_save(&f->memory);
  row *rows = arena_alloc(&f->memory, (in->count + 1) * sizeof *rows);
  if (!rows) return HDB_NOMEM;
  TRY(group_times(in, rows));
  version_begin(&f->version);
  for (size_t i = 0; i < in->count; i++) {
    if (!group_row(in, i, &rows[i].key, &rows[i].value)) return HDB_CORRUPT;
    version_add(&f->version, slice_of(in->prefix, in->prefix_n), &rows[i], NULL, f->time);
  }
  if (in->count) TRY(version_put(&f->version, f->batch, tree, bound, f->time));
  *weight = in->count ? f->version.bytes.n : 0;
  arena_rewind(&f->memory, mark);
  return HDB_OK;
}

static status empty_group(fold *f, uint32_t tree, slice bound, fold_group **out) {
  fold_group *g = arena_zero(&f->memory, sizeof *g);
  uint8_t *lower = arena_alloc(&f->memory, bound.n + 1);
  if (!g || !lower) return HDB_NOMEM;
  if (bound.n) memcpy(lower, bound.p, bound.n);
  g->tree = tree, g->lower = slice_of(lower, bound.n);
  g->newest = f->time;
  *out = g;
  return fold_insert_group(f, g);
}

/* With history a cleared group leaves a record, and an empty group stays for every GROUP_WEIGHT bytes of history. */
static status clear_group(fold *f, uint32_t tree, fold_group **kept) {
  group in;
  group_history past;
  TRY(group_open(&in, f->it->value));
  TRY(group_history_get(&in, &past));
  slice bound = slice_of(f->it->key.p + 4, f->it->key.n - 4);
  size_t weight = 0;
  TRY(record_group(f, tree, bound, &in, &weight));
  weight += past.weight;
  if ((*kept)->history.weight + weight > GROUP_WEIGHT && !slice_equal((*kept)->lower, bound)) {
    fold_group *g;
    TRY(empty_group(f, tree, bound, &g));
    (*kept)->upper = g->lower;
    *kept = g;
  }
  fold_group *g = *kept;
  g->dirty = true;
  g->history.newest = f->time;
  g->history.weight += weight;
  if (past.low.p && slice_compare(past.low, g->lower) < 0 &&
      (!g->history.low.p || slice_compare(past.low, g->history.low) < 0)) {
    uint8_t *low = arena_alloc(&f->memory, past.low.n + 1);
    if (!low) return HDB_NOMEM;
    if (past.low.n) memcpy(low, past.low.p, past.low.n);
    g->history.low = slice_of(low, past.low.n);
  }
  return HDB_OK;
}

status fold_clear(fold *f, uint32_t tree, fold_tree *t) {
  uint8_t from[4], to[4];
  put_be32(from, tree), put_be32(to, tree + 1);
  if (f->it) f->it->close(f->it);
  f->it = NULL;
  fold_group *kept = NULL, *first;
  /* the range from the beginning is covered by this one, so that nothing in kv is looked at any more */
  TRY(empty_group(f, tree, slice_of(NULL, 0), &first));
  if (f->engine->history) {
    kept = first;
    TRY(kv_iter_open(f->engine->store, NULL, KV_ROWS, slice_of(from, 4), slice_of(to, 4), &f->it));
    status rc = HDB_OK;
    for (f->it->seek(f->it, slice_of(from, 4)); f->it->valid && rc == HDB_OK; f->it->next(f->it))
      rc = clear_group(f, tree, &kept);
    if (rc == HDB_OK) rc = f->it->error;
    f->it->close(f->it);
    f->it = NULL;
    TRY(rc);
  }
  kv_batch_delete_range(f->batch, KV_ROWS, slice_of(from, 4), slice_of(to, 4));
  if (f->engine->cache) {
    cache_commit_begin(f->engine->cache);
    cache_commit_tree(f->engine->cache, tree, f->time);
    cache_commit_end(f->engine->cache);
    process_touched(f->engine, tree, slice_of(NULL, 0), f->time, true);
  }
  pthread_mutex_lock(&t->info->lock);
  t->rows = -t->info->rows, t->bytes = -t->info->bytes;
  pthread_mutex_unlock(&t->info->lock);
  return HDB_OK;
}
