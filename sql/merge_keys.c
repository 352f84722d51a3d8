/* Which keys of a table a merge looks at: a few more than the source has otherwise than the base, never one less.
 *
 * A branch's state is main's at a time, and over it what lies in its delta and in those of the branches between. So the
 * source and the base differ at most in the keys that main changed between their two times (the feed), and in those of the
 * deltas on both ways to main. Where the feed does not reach back or was told of the whole tree, or the table lies in another
 * tree than it did, all rows of both.
 * Cost: the feed is read once a merge; then 100 ns a key.
 */
#include <stdlib.h>

#include "sql/merge.h"

static int compare_keys(const void *a, const void *b) { return slice_compare(*(const slice *)a, *(const slice *)b); }

static status add_key(void *context, slice key) {
  merge *m = context;
  if (m->keys_n == m->keys_capacity) {
    size_t capacity = m->keys_capacity ? 2 * m->keys_capacity : 256;
    slice *keys = realloc(m->keys, capacity * sizeof *keys);
    if (!keys) return HDB_NOMEM;
    m->keys = keys, m->keys_capacity = capacity;
  }
  uint8_t *copy = arena_copy(&m->key_memory, key.n ? key.p : (const uint8_t *)"", key.n);
  if (!copy) return HDB_NOMEM;
  m->keys[m->keys_n++] = slice_of(copy, key.n);
  return HDB_OK;
}

static status all_keys(merge *m, merge_side *s, uint32_t tree) {
  cursor *c;
  TRY(cursor_open(s->t, tree, s->as_of, &c));
  status rc = HDB_OK;
  for (cursor_first(c); c->valid && rc == HDB_OK; cursor_next(c)) rc = add_key(m, c->key);
  if (rc == HDB_OK) rc = c->error;
  cursor_close(c);
  return rc;
}

static status keys_of_both(merge *m, const table *source, const table *base) {
  TRY(all_keys(m, &m->source, source->tree));
  return base ? all_keys(m, &m->source_base, base->tree) : HDB_OK;
}

/* ---- the feed ---- */

static status add_fed(void *context, uint32_t tree, slice key, bool whole) {
  merge *m = context;
  if (m->fed_n == m->fed_capacity) {
    size_t capacity = m->fed_capacity ? 2 * m->fed_capacity : 256;
    fed_key *fed = realloc(m->fed, capacity * sizeof *fed);
    if (!fed) return HDB_NOMEM;
    m->fed = fed, m->fed_capacity = capacity;
  }
  uint8_t *copy = arena_copy(&m->fed_memory, key.n ? key.p : (const uint8_t *)"", key.n);
  if (!copy) return HDB_NOMEM;
  m->fed[m->fed_n++] = (fed_key){tree, whole, slice_of(copy, key.n)};
  return HDB_OK;
}

/* The time of main that a branch sees, as it was at `time` (0: now). */
static int64_t time_of_main(const merge *m, const family *f, uint32_t id, int64_t time) {
  if (!time) time = txn_view_time(m->source.t);
  for (; id != BRANCH_MAIN; id = merge_member(f, id)->parent)
    if (merge_member(f, id)->point < time) time = merge_member(f, id)->point;
  return time;
}

static status read_feed(merge *m, const family *f) {
  if (m->fed_state != FED_UNREAD) return HDB_OK;
  int64_t a = time_of_main(m, f, m->source.branch, 0), b = time_of_main(m, f, m->source_base.branch, m->source_base.as_of);
  status rc = a == b ? HDB_OK : feed_changes(m->db->databases[DB_MAIN].engine, a < b ? a : b, a < b ? b : a, add_fed, m);
  m->fed_state = rc == HDB_NOTFOUND ? FED_LOST : FED_KNOWN;
  return rc == HDB_NOTFOUND ? HDB_OK : rc;
}

/* *whole: it says too little. */
static status fed_keys(merge *m, uint32_t tree, bool *whole) {
  size_t low = 0, high = m->fed_n;
  *whole = m->fed_state == FED_LOST;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (m->fed[middle].tree < tree) low = middle + 1;
    else high = middle;
  }
  for (; low < m->fed_n && m->fed[low].tree == tree && !*whole; low++) {
    *whole = m->fed[low].whole;
    if (!*whole) TRY(add_key(m, m->fed[low].key));
  }
  return HDB_OK;
}

/* ---- together ---- */

static status delta_keys(merge *m, const family *f, uint32_t id, uint32_t tree) {
  for (; id != BRANCH_MAIN; id = merge_member(f, id)->parent) TRY(branch_keys(m->source.t, id, tree, add_key, m));
  return HDB_OK;
}

static status collect(merge *m, const family *f, const table *source, const table *base) {
  bool whole;
  TRY(read_feed(m, f));
  TRY(fed_keys(m, source->tree, &whole));
  if (!base || whole || base->tree != source->tree) return keys_of_both(m, source, base);
  TRY(delta_keys(m, f, m->source.branch, source->tree));
  return m->source_base.branch == m->source.branch ? HDB_OK : delta_keys(m, f, m->source_base.branch, source->tree);
}

status merge_keys(merge *m, const family *f, const table *source, const table *base) {
  m->keys_n = 0;
  arena_clear(&m->key_memory);
  m->key_memory = (arena)ARENA_INIT;
  TRY(collect(m, f, source, base));
  if (m->keys_n > 1) qsort(m->keys, m->keys_n, sizeof *m->keys, compare_keys);
  size_t kept = 0;
  for (size_t i = 0; i < m->keys_n; i++)
    if (kept == 0 || compare_keys(&m->keys[kept - 1], &m->keys[i]) != 0) m->keys[kept++] = m->keys[i];
  m->keys_n = kept;
  return HDB_OK;
}

void merge_keys_free(merge *m) {
  arena_clear(&m->key_memory);
  arena_clear(&m->fed_memory);
  free(m->keys);
  free(m->fed);
}
