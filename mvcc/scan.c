/* Cursors: the transaction's writes merged over the walk of committed groups.
 *
 * A cursor is in one of three modes, told by its next/prev functions:
 *   bare    no private write to the tree: a step is an index into the group in hand (the hot path, no copy but the
 *           key's suffix into the key buffer)
 *   merge   two sides, committed and private, each standing at its next candidate in the direction of travel
 *   resume  the cursor has a key and no position (found by the private side alone, or its transaction ended
 *           meanwhile): the next move seeks from that key
 *
 * S1  bare: group row `at` is the public row. S2  merge, direction +1: both sides stand at the first row >= the
 * public key; direction -1: at the last <=. on_base / on_writes say which of them are at that very key.
 * S3  The writes' side is sought again whenever the tree's generation moved.
 * S4  A cursor that stands somewhere is in its transaction's active list, so that the first write to its tree can
 * switch it to merge and the end of the transaction can switch it to resume.
 * What can fail: HDB_NOMEM, HDB_IOERR, HDB_CORRUPT; they end up in cursor.error with valid = false.
 */
#include "mvcc/process.h"
#include "mvcc/scan.h"

#include <assert.h>
#include <stdlib.h>

static void bare_next(cursor *c);
static void bare_prev(cursor *c);
static void merge_next(cursor *c);
static void merge_prev(cursor *c);
static void resume_next(cursor *c);
static void resume_prev(cursor *c);
static void watched_next(cursor *c);
static void resume(scan *s, int direction);
static void watched_prev(cursor *c);

/* ---- life ---- */

status cursor_open(txn *t, uint32_t tree, int64_t as_of, cursor **out) {
  *out = NULL;
  if (!as_of) as_of = t->as_of;
  return t->branch ? branch_cursor_open(t, tree, as_of, out) : scan_open(t, tree, as_of, out);
}

status scan_open(txn *t, uint32_t tree, int64_t as_of, cursor **out) {
  *out = NULL;
  if (as_of && as_of < engine_oldest(t->engine)) return HDB_ERROR_SNAPSHOT;
  scan *s = calloc(1, sizeof *s);
  if (!s) return HDB_NOMEM;
  s->t = t, s->tree = tree, s->as_of = as_of;
  put_be32(s->tree_key, tree);
  s->pub.next = resume_next, s->pub.prev = resume_prev;
  *out = &s->pub;
  return HDB_OK;
}

static void deactivate(scan *s) {
  if (!s->active) return;
  s->active = false;
  *s->active_previous = s->active_next;
  if (s->active_next) s->active_next->active_previous = s->active_previous;
}

static void activate(scan *s) {
  if (s->active) return;
  s->active = true;
  s->active_next = s->t->active, s->active_previous = &s->t->active;
  if (s->active_next) s->active_next->active_previous = &s->active_next;
  s->t->active = s;
}

static void drop_hot(scan *s) {
  cached_release(s->hot);
  s->hot = NULL, s->it_ahead = false;
}

static void drop_expected(scan *s) {
  for (int i = 0; i < s->expected_n; i++) cached_release(s->expected[i]);
  s->expected_n = s->expected_at = 0;
}

static void drop_view(scan *s) {
  drop_hot(s);
  drop_expected(s);
  if (s->it) s->it->close(s->it);
  s->it = NULL;
  past_drop(s->past);
  if (s->v) {
    view_release(s->v);
    s->v = NULL;
    *s->holding_previous = s->holding_next;
    if (s->holding_next) s->holding_next->holding_previous = s->holding_previous;
  }
}

/* The view, in the transaction's list of cursors that hold one. */
static void hold_view(scan *s, view *v) {
  if (s->v == v) return;
  drop_view(s);
  s->v = view_hold(v);
  s->holding_next = s->t->holding, s->holding_previous = &s->t->holding;
  if (s->holding_next) s->holding_next->holding_previous = &s->holding_next;
  s->t->holding = s;
}

static void fail(scan *s, status rc) {
  s->pub.valid = false, s->base_valid = false;
  s->pub.error = rc;
}

static bool open_iterator(scan *s) {
  if (s->it) return true;
  uint8_t upper[4];
  put_be32(upper, s->tree + 1);
  const kv_snapshot *snapshot = s->fresh ? NULL : s->v->snapshot;
  status rc = kv_iter_open(s->v->store, snapshot, KV_ROWS, slice_of(s->tree_key, 4), slice_of(upper, 4),
                           &s->it);
  if (rc != HDB_OK) {
    s->it = NULL;
    fail(s, rc);
  }
  return rc == HDB_OK;
}

static inline cache *usable_cache(const scan *s) { return s->fresh ? NULL : s->t->engine->cache; }

/* ---- what a serializable transaction reads ---- */

/* The range that was walked goes to the transaction. */
static void hand_over(scan *s) {
  if (!s->watched) return;
  s->watched = false;
  if (!s->t->open) return;
  slice low = s->whole_low ? slice_of(NULL, 0) : buf_slice(&s->low), high = buf_slice(&s->high);
  status rc = reads_add(&s->t->reads, s->tree, low, s->whole_high ? NULL : &high);
  if (buf_failed(&s->low) || buf_failed(&s->high)) rc = HDB_NOMEM;
  if (rc != HDB_OK) s->t->doomed = rc; /* a read that is not remembered cannot be validated */
}

void scan_hand_over_reads(txn *t) {
  for (scan *s = t->active; s; s = s->active_next) {
    bool watched = s->watched;
    hand_over(s);
    s->watched = watched; /* it may walk on: what is handed over twice does not matter */
  }
}

void txn_keep_reads(txn *t) { scan_hand_over_reads(t); }

/* The owner of a client's store went in the middle of a positioning: the same again, over the store that there is now. */
static bool again(scan *s) {
  if (__builtin_expect(s->pub.error != HDB_BUSY_RECOVERY, 1)) return false;
  status rc = process_recover(s->t->engine, s->v->generation);
  s->pub.error = rc;
  return rc == HDB_OK;
}

static void set_bound(buf *b, slice key) {
  buf_clear(b);
  buf_append(b, key.p, key.n);
}

/* The cursor moved in this direction: the range reaches to where it is, or to the end. */
static void widen(scan *s, int direction) {
  if (!s->watched) return;
  if (direction > 0) {
    s->whole_high = !s->pub.valid;
    if (s->pub.valid) set_bound(&s->high, s->pub.key);
  } else {
    s->whole_low = !s->pub.valid;
    if (s->pub.valid) set_bound(&s->low, s->pub.key);
  }
}

static void watched_move(cursor *c, int direction) {
  scan *s = (scan *)c;
  if (!c->valid) return;
  /* turned: what was walked is handed over, and the range begins anew from here */
  bool turned = slice_compare(c->key, buf_slice(direction > 0 ? &s->high : &s->low)) != 0;
  if (turned) {
    hand_over(s);
    s->watched = true, s->whole_low = s->whole_high = false;
    set_bound(&s->low, c->key), set_bound(&s->high, c->key);
  }
  c->next = s->real_next, c->prev = s->real_prev;
  if (direction > 0) {
    c->next(c);
  } else {
    c->prev(c);
  }
  widen(s, direction);
  if (c->next != watched_next) s->real_next = c->next, s->real_prev = c->prev;
  c->next = watched_next, c->prev = watched_prev;
}

static void watched_next(cursor *c) { watched_move(c, 1); }
static void watched_prev(cursor *c) { watched_move(c, -1); }

/* After a positioning: key and bound say what was asked for. NULL: the end of the tree in that direction. */
static bool watches(const scan *s) {
  return s->t->policy == TXN_SERIALIZABLE && !s->as_of && !s->t->unwatched && s->t->open;
}

/* A copy of the key that was asked for: the caller's may lie where the cursor puts its own. */
static slice asked_key(scan *s, slice key) {
  set_bound(&s->asked, key);
  return buf_slice(&s->asked);
}

/* direction 0: that very key. */
static void watch(scan *s, const slice *key, int direction) {
  if (!watches(s)) return;
  s->watched = true;
  s->whole_low = direction > 0 && !key, s->whole_high = direction < 0 && !key;
  if (key) set_bound(&s->low, *key), set_bound(&s->high, *key);
  if (direction) widen(s, direction);
  if (!key) { /* the other side of the range is where it stands, or the whole tree was empty */
    if (!s->pub.valid) s->whole_low = s->whole_high = true;
    else if (direction > 0) set_bound(&s->low, s->pub.key);
    else set_bound(&s->high, s->pub.key);
  }
  s->real_next = s->pub.next, s->real_prev = s->pub.prev;
  s->pub.next = watched_next, s->pub.prev = watched_prev;
}

void cursor_reset(cursor *c) {
  if (c->layered) return layered_reset(c);
  scan *s = (scan *)c;
  hand_over(s);
  deactivate(s);
  c->valid = false;
  c->next = resume_next, c->prev = resume_prev;
  s->w = NULL, s->base_valid = false;
  drop_hot(s);
  if (s->t->engine->memory || (s->v && s->v != s->t->view)) drop_view(s);
}

void cursor_close(cursor *c) {
  if (!c) return;
  if (c->layered) return layered_close(c);
  scan *s = (scan *)c;
  cursor_reset(c);
  drop_view(s);
  free(s->key);
  past_free(s->past);
  buf_free(&s->saved);
  buf_free(&s->wanted);
  buf_free(&s->copy);
  buf_free(&s->low);
  buf_free(&s->asked);
  buf_free(&s->high);
  free(s);
}

/* ---- the committed side ---- */

static bool key_room(scan *s, size_t n) {
  if (n <= s->key_capacity) return true;
  size_t capacity = n + n / 2 + 64;
  uint8_t *key = realloc(s->key, capacity);
  if (!key) return false;
  s->key = key, s->key_capacity = capacity;
  return true;
}

/* Row s->at of the group in hand. The key is prefix (already in place) + suffix. */
static inline bool load_row(scan *s, slice *key, slice *value) {
  slice suffix;
  if (__builtin_expect(!group_row(&s->g, s->at, &suffix, value), 0)) return false;
  size_t prefix_n = s->g.prefix_n, n = prefix_n + suffix.n;
  if (__builtin_expect(n + 8 > s->key_capacity, 0) && !key_room(s, n + 8)) return false;
  uint8_t *to = s->key + prefix_n;
  if (suffix.n <= 8 && (size_t)(s->g.end - suffix.p) >= 8) {
    memcpy(to, suffix.p, 8);
  } else {
    memcpy(to, suffix.p, suffix.n);
  }
  key->p = s->key, key->n = n;
  return true;
}

static void base_load(scan *s) {
  s->base_valid = load_row(s, &s->base_key, &s->base_value);
  if (!s->base_valid) fail(s, HDB_CORRUPT);
}

/* The group in hand from now on. */
static bool take_bytes(scan *s, slice bytes) {
  status rc = group_open(&s->g, bytes);
  if (rc == HDB_OK && scan_time(s)) rc = scan_past_group(s);
  if (rc == HDB_OK && !key_room(s, (size_t)s->g.prefix_n + 64)) rc = HDB_NOMEM;
  if (rc != HDB_OK) {
    fail(s, rc);
    return false;
  }
  memcpy(s->key, s->g.prefix, s->g.prefix_n);
  return true;
}

static bool take_group(scan *s) {
  drop_hot(s);
  return take_bytes(s, s->it->value);
}

static bool take_hot(scan *s, cached *g) {
  cached_release(s->hot);
  s->hot = g, s->it_ahead = false;
  return take_bytes(s, g->bytes);
}

/* The iterator was moved: to the first (last) row of that group or of the next that has one. */
static void enter_forward(scan *s) {
  for (; s->it->valid; s->it->next(s->it)) {
    if (!take_group(s)) return;
    if (s->g.count == 0) continue;
    s->at = 0;
    base_load(s);
    return;
  }
  s->base_valid = false;
  if (s->it->error != HDB_OK) fail(s, s->it->error);
}

static void enter_backward(scan *s) {
  for (; s->it->valid; s->it->prev(s->it)) {
    if (!take_group(s)) return;
    if (s->g.count == 0) continue;
    s->at = s->g.count - 1;
    base_load(s);
    return;
  }
  s->base_valid = false;
  if (s->it->error != HDB_OK) fail(s, s->it->error);
}

static slice group_wanted(scan *s, slice bound) {
  buf_clear(&s->wanted);
  group_key(&s->wanted, s->tree, bound);
  if (buf_failed(&s->wanted)) fail(s, HDB_NOMEM);
  return buf_slice(&s->wanted);
}

/* Past the last (first) row of the group in hand. */
static void next_group(scan *s) {
  while (s->hot && !s->it_ahead) {
    cached *hot = s->hot;
    if (!hot->upper.p) {
      s->base_valid = false;
      return;
    }
    cached *next = cache_get(usable_cache(s), &s->t->reader, s->tree, hot->upper, s->v->time);
    if (!next || !slice_equal(next->lower, hot->upper)) {
      cached_release(next);
      slice wanted = group_wanted(s, hot->upper);
      if (s->pub.error != HDB_OK || !open_iterator(s)) return;
      s->it->seek(s->it, wanted);
      enter_forward(s);
      return;
    }
    if (!take_hot(s, next)) return;
    if (s->g.count == 0) continue;
    s->at = 0;
    base_load(s);
    return;
  }
  if (!s->hot) s->it->next(s->it);
  enter_forward(s);
}

static void previous_group(scan *s) {
  while (s->hot) {
    cached *hot = s->hot;
    if (hot->lower.n == 0) {
      s->base_valid = false;
      return;
    }
    cached *previous = cache_before(usable_cache(s), &s->t->reader, s->tree, hot->lower, s->v->time);
    if (!previous) {
      slice wanted = group_wanted(s, hot->lower);
      if (s->pub.error != HDB_OK || !open_iterator(s)) return;
      s->it->seek_for_prev(s->it, wanted);
      break;
    }
    if (!take_hot(s, previous)) return;
    if (s->g.count == 0) continue;
    s->at = s->g.count - 1;
    base_load(s);
    return;
  }
  if (s->it->valid) s->it->prev(s->it);
  enter_backward(s);
}

static void base_first(scan *s) {
  if (!open_iterator(s)) return;
  s->it->seek(s->it, slice_of(s->tree_key, 4));
  enter_forward(s);
}

static void base_last(scan *s) {
  cached *hot = usable_cache(s) ? cache_last(usable_cache(s), &s->t->reader, s->tree, s->v->time) : NULL;
  if (hot) {
    if (!take_hot(s, hot)) return;
    if (s->g.count == 0) {
      previous_group(s);
      return;
    }
    s->at = s->g.count - 1;
    base_load(s);
    return;
  }
  uint8_t upper[4];
  put_be32(upper, s->tree + 1);
  if (!open_iterator(s)) return;
  s->it->seek_for_prev(s->it, slice_of(upper, 4));
  enter_backward(s);
}

/* The group under the iterator into the cache, if it is worth it: a copy is in hand then, and the iterator, which had
 * to look where the group ends, one ahead. */
static bool take_group_and_offer(scan *s) {
  if (!usable_cache(s) || s->it->value.n > CACHED_MAX || !cache_wants(usable_cache(s), &s->t->reader)) return take_group(s);
  buf_clear(&s->copy);
  buf_append(&s->copy, s->it->key.p, s->it->key.n);
  buf_append(&s->copy, s->it->value.p, s->it->value.n);
  size_t key_n = s->it->key.n;
  s->it->next(s->it);
  slice upper = slice_of(NULL, 0);
  if (s->it->valid) upper = slice_of(s->it->key.p + 4, s->it->key.n - 4);
  slice lower = slice_of(s->copy.p + 4, key_n - 4), bytes = slice_of(s->copy.p + key_n, s->copy.n - key_n);
  int64_t since = s->v->time;
  group g;
  if (s->t->engine->history && !buf_failed(&s->copy) && group_open(&g, bytes) == HDB_OK) since = g.newest;
  cached *hot = buf_failed(&s->copy) ? NULL : cached_new(s->tree, lower, upper, bytes, since);
  if (!hot || s->it->error != HDB_OK) {
    cached_release(hot);
    fail(s, hot ? s->it->error : HDB_NOMEM);
    return false;
  }
  cache_offer(usable_cache(s), hot, s->v->time);
  if (!take_hot(s, hot)) return false;
  s->it_ahead = true;
  return true;
}

/* One of the groups that cursor_expect found, most likely the next. What the cache gave for a view holds for it. */
static cached *take_expected(scan *s, slice key) {
  for (int k = 0; k < s->expected_n; k++) {
    int at = (s->expected_at + k) % s->expected_n;
    cached *g = s->expected[at];
    if (!g || !cached_covers(g, key)) continue;
    s->expected[at] = NULL;
    s->expected_at = at + 1;
    return g;
  }
  return NULL;
}

/* To the group that covers the key, `wanted` keeps the key; false: there is none (or it failed). */
static bool seek_group(scan *s, slice key) {
  s->base_valid = false;
  slice wanted = group_wanted(s, key);
  if (s->pub.error != HDB_OK) return false;
  cached *hot = NULL;
  if (usable_cache(s)) {
    hot = take_expected(s, key);
    if (!hot) hot = cache_get(usable_cache(s), &s->t->reader, s->tree, key, s->v->time);
  }
  if (hot) return take_hot(s, hot);
  if (!open_iterator(s)) return false;
  s->it->seek_for_prev(s->it, wanted);
  if (!s->it->valid) {
    drop_hot(s);
    if (s->it->error != HDB_OK) fail(s, s->it->error);
    return false;
  }
  return take_group_and_offer(s);
}

static slice wanted_key(const scan *s) { return slice_of(s->wanted.p + 4, s->wanted.n - 4); }

static void base_seek(scan *s, slice key) {
  if (!seek_group(s, key)) {
    if (s->pub.error == HDB_OK) base_first(s);
    return;
  }
  bool exact;
  size_t at = group_seek(&s->g, wanted_key(s), &exact);
  if (at == SIZE_MAX) {
    fail(s, HDB_CORRUPT);
  } else if (at < s->g.count) {
    s->at = at;
    base_load(s);
  } else {
    next_group(s);
  }
}

static void base_seek_for_prev(scan *s, slice key) {
  if (!seek_group(s, key)) return;
  bool exact;
  size_t at = group_seek(&s->g, wanted_key(s), &exact);
  if (at == SIZE_MAX) {
    fail(s, HDB_CORRUPT);
    return;
  }
  if (exact) at++;
  if (at > 0) {
    s->at = at - 1;
    base_load(s);
  } else {
    previous_group(s);
  }
}

static void base_find(scan *s, slice key) {
  const uint8_t *before = s->g.entries;
  if (!seek_group(s, key)) return;
  bool same = s->g.entries == before; /* often the next row: a statement goes through what it found */
  bool exact = same && group_is_at(&s->g, s->at + 1, wanted_key(s));
  size_t at = exact ? s->at + 1 : group_seek(&s->g, wanted_key(s), &exact);
  if (at == SIZE_MAX) {
    fail(s, HDB_CORRUPT);
  } else if (exact) {
    s->at = at;
    base_load(s);
  }
}

static void base_next(scan *s) {
  if (s->at + 1 < s->g.count) {
    s->at++;
    base_load(s);
    return;
  }
  next_group(s);
}

static void base_prev(scan *s) {
  if (s->at > 0) {
    s->at--;
    base_load(s);
    return;
  }
  previous_group(s);
}

/* ---- bare ---- */

static inline void show_base(scan *s) {
  s->pub.valid = s->base_valid;
  s->pub.key = s->base_key, s->pub.value = s->base_value;
}

/* ... in the middle of a move: on from the key that was saved before. */
static void move_again(scan *s, int direction) {
  if (!again(s)) return;
  s->pub.valid = true;
  s->pub.key = buf_slice(&s->saved);
  resume(s, direction);
}

static slice save_key(scan *s, slice key) {
  if (key.n && key.p == s->saved.p) return key; /* already there */
  buf_clear(&s->saved);
  buf_append(&s->saved, key.p, key.n);
  if (buf_failed(&s->saved)) fail(s, HDB_NOMEM);
  return buf_slice(&s->saved);
}

static __attribute__((noinline)) void bare_next_group(scan *s) {
  if (!s->pub.valid) return;
  if (s->v->remote) save_key(s, s->pub.key);
  next_group(s);
  show_base(s);
  if (s->v->remote) move_again(s, 1);
}

static void bare_next(cursor *c) {
  scan *s = (scan *)c;
  if (__builtin_expect(s->at + 1 < s->g.count && c->valid, 1)) {
    s->at++;
    if (__builtin_expect(load_row(s, &c->key, &c->value), 1)) return;
    fail(s, HDB_CORRUPT);
    return;
  }
  bare_next_group(s);
}

static void bare_prev(cursor *c) {
  scan *s = (scan *)c;
  if (!c->valid) return;
  if (s->v->remote) save_key(s, c->key);
  base_prev(s);
  show_base(s);
  if (s->v->remote) move_again(s, -1);
}

/* ---- merge ---- */

static inline bool base_shows(const scan *s) { return s->base_valid && !s->w->root.cleared; }

static void show_writes(scan *s) {
  s->pub.valid = true;
  s->pub.key = write_key(s->p.entry), s->pub.value = write_value(s->p.entry);
}

/* Both sides stand at candidates: shows the nearest in the direction that is not deleted. */
static void resolve(scan *s, int direction) {
  s->direction = direction;
  for (;;) {
    if (s->pub.error != HDB_OK) return;
    bool base = base_shows(s);
    write_entry *e = s->p.entry;
    if (!base && !e) {
      s->pub.valid = false;
      return;
    }
    int c = !e ? -1 : !base ? 1 : slice_compare(s->base_key, write_key(e)) * direction;
    s->on_base = c <= 0, s->on_writes = c >= 0;
    if (c < 0) {
      show_base(s);
      return;
    }
    if (e->now->state == WRITE_PUT) {
      show_writes(s);
      return;
    }
    if (direction > 0) {
      write_next(&s->p);
      if (c == 0) base_next(s);
    } else {
      write_prev(&s->p);
      if (c == 0) base_prev(s);
    }
  }
}

static void merge_seek(scan *s, slice key, int direction) {
  s->generation = s->w->generation, s->cleared = s->w->root.cleared;
  if (direction > 0) {
    write_seek(s->w, key, &s->p);
    if (!s->cleared) base_seek(s, key);
  } else {
    write_seek_for_prev(s->w, key, &s->p);
    if (!s->cleared) base_seek_for_prev(s, key);
  }
}

/* Past the public key from scratch: after a turn, or when the tree was cleared under us. */
static void merge_again(scan *s, int direction) {
  slice key = save_key(s, s->pub.key);
  if (s->pub.error != HDB_OK) return;
  merge_seek(s, key, direction);
  if (s->pub.error != HDB_OK) return;
  if (s->p.entry && slice_equal(write_key(s->p.entry), key)) {
    if (direction > 0) {
      write_next(&s->p);
    } else {
      write_prev(&s->p);
    }
  }
  if (base_shows(s) && slice_equal(s->base_key, key)) {
    if (direction > 0) {
      base_next(s);
    } else {
      base_prev(s);
    }
  }
  resolve(s, direction);
}

static void merge_step(scan *s, int direction) {
  if (s->direction != direction || s->cleared != s->w->root.cleared) {
    merge_again(s, direction);
    return;
  }
  if (s->generation != s->w->generation) { /* S3 */
    slice key = s->pub.key;
    s->generation = s->w->generation;
    if (direction > 0) {
      write_seek(s->w, key, &s->p);
    } else {
      write_seek_for_prev(s->w, key, &s->p);
    }
    s->on_writes = s->p.entry && slice_equal(write_key(s->p.entry), key);
  }
  if (direction > 0) {
    if (s->on_writes) write_next(&s->p);
    if (s->on_base) base_next(s);
  } else {
    if (s->on_writes) write_prev(&s->p);
    if (s->on_base) base_prev(s);
  }
  resolve(s, direction);
}

static void merge_move(scan *s, int direction) {
  if (!s->pub.valid) return;
  if (s->v->remote) save_key(s, s->pub.key);
  merge_step(s, direction);
  if (s->v->remote) move_again(s, direction);
}

static void merge_next(cursor *c) { merge_move((scan *)c, 1); }
static void merge_prev(cursor *c) { merge_move((scan *)c, -1); }

/* ---- modes ---- */

static void set_mode(scan *s) {
  if (s->w) {
    s->pub.next = merge_next, s->pub.prev = merge_prev;
  } else {
    s->pub.next = bare_next, s->pub.prev = bare_prev;
  }
}

/* Before every positioning: the view, the iterator over it, the private side. */
static bool prepare(scan *s) {
  txn *t = s->t;
  hand_over(s);
  s->pub.valid = false, s->base_valid = false, s->pub.error = HDB_OK;
  status rc = t->doomed;
  if (rc == HDB_OK && !t->open) rc = txn_refresh_view(t);
  else if (rc == HDB_OK && t->view->generation != atomic_load_explicit(&t->engine->generation, memory_order_relaxed)) rc = txn_restore_view(t);
  if (rc != HDB_OK) {
    fail(s, rc);
    return false;
  }
  hold_view(s, t->view);
  if (s->as_of && s->as_of < engine_oldest(t->engine)) { /* X1: looked at after the view */
    fail(s, HDB_ERROR_SNAPSHOT);
    return false;
  }
  write_tree *w = s->as_of || !t->open ? NULL : writeset_find(&t->writes, s->tree);
  s->w = w;
  if (s->fresh || (w && w->bulk)) { /* its groups lie in kv's newest state only, or lay there */
    drop_hot(s);
    if (s->it) s->it->close(s->it);
    s->it = NULL;
    s->fresh = w && w->bulk;
  }
  set_mode(s);
  activate(s);
  return true;
}

static void resume(scan *s, int direction) {
  if (!s->pub.valid) return;
  slice key = save_key(s, s->pub.key);
  if (s->pub.error != HDB_OK) return;
  if (direction > 0) {
    cursor_seek(&s->pub, key);
  } else {
    cursor_seek_for_prev(&s->pub, key);
  }
  if (s->pub.valid && slice_equal(s->pub.key, buf_slice(&s->saved))) {
    if (direction > 0) {
      s->pub.next(&s->pub);
    } else {
      s->pub.prev(&s->pub);
    }
  }
}

static void resume_next(cursor *c) { resume((scan *)c, 1); }
static void resume_prev(cursor *c) { resume((scan *)c, -1); }

bool txn_reads_own_writes(const txn *t) {
  for (const scan *s = t->active; s; s = s->active_next)
    if (!s->as_of && writeset_find((writeset *)&t->writes, s->tree)) return true;
  return false;
}

void scan_detach_all(txn *t) {
  for (scan *s = t->active; s; s = s->active_next) {
    if (s->pub.valid && s->w) s->pub.key = save_key(s, s->pub.key);
    s->pub.next = resume_next, s->pub.prev = resume_prev;
    s->w = NULL, s->watched = false;
  }
}

void scan_attach_writes(txn *t, write_tree *w) {
  for (scan *s = t->active; s; s = s->active_next) {
    bool watched = s->pub.next == watched_next;
    if (s->tree != w->tree || s->as_of || s->w || (watched ? s->real_next : s->pub.next) == resume_next) continue;
    s->w = w;
    s->generation = 0, s->cleared = false;
    s->direction = 1;
    s->p = (write_position){NULL, 0, NULL};
    s->base_key = s->pub.key, s->base_value = s->pub.value, s->base_valid = s->pub.valid;
    s->on_base = s->pub.valid, s->on_writes = false;
    set_mode(s);
    if (!watched) continue;
    s->real_next = s->pub.next, s->real_prev = s->pub.prev;
    s->pub.next = watched_next, s->pub.prev = watched_prev;
  }
}

void scan_forget_store(txn *t, kv *dead) {
  for (scan *s = t->holding; s; s = s->holding_next) {
    s->it = NULL;
    past_forget_store(s->past);
    s->v->store = dead, s->v->snapshot = NULL, s->v->under = NULL;
  }
}

void scan_view_changed(txn *t) {
  scan *next;
  for (scan *s = t->holding; s; s = next) {
    next = s->holding_next;
    if (!s->active && s->v != t->view) drop_view(s);
  }
}

/* ---- positioning ---- */

static void go_first(scan *s) {
  if (!s->w) {
    base_first(s);
    show_base(s);
    return;
  }
  s->generation = s->w->generation, s->cleared = s->w->root.cleared;
  write_first(s->w, &s->p);
  if (!s->cleared) base_first(s);
  resolve(s, 1);
}

static void go_last(scan *s) {
  if (!s->w) {
    base_last(s);
    show_base(s);
    return;
  }
  s->generation = s->w->generation, s->cleared = s->w->root.cleared;
  write_last(s->w, &s->p);
  if (!s->cleared) base_last(s);
  resolve(s, -1);
}

static void go_seek(scan *s, slice key) {
  if (!s->w) {
    base_seek(s, key);
    show_base(s);
    return;
  }
  merge_seek(s, key, 1);
  resolve(s, 1);
}

static void go_seek_for_prev(scan *s, slice key) {
  if (!s->w) {
    base_seek_for_prev(s, key);
    show_base(s);
    return;
  }
  merge_seek(s, key, -1);
  resolve(s, -1);
}

static void go_find(scan *s, slice key) {
  cursor *c = &s->pub;
  if (s->w) {
    write_entry *e = write_find(s->w, key);
    bool own = e && e->now->state != WRITE_NONE;
    if (own && e->now->state == WRITE_PUT) {
      c->key = write_key(e), c->value = write_value(e);
      c->valid = true;
    } else if (!own && !s->w->root.cleared) {
      base_find(s, key);
      show_base(s);
    }
    c->next = resume_next, c->prev = resume_prev;
    return;
  }
  base_find(s, key);
  show_base(s);
}

void cursor_first(cursor *c) {
  if (c->layered) return layered_first(c);
  scan *s = (scan *)c;
  do {
    if (!prepare(s)) return;
    go_first(s);
  } while (again(s));
  watch(s, NULL, 1);
}

void cursor_last(cursor *c) {
  if (c->layered) return layered_last(c);
  scan *s = (scan *)c;
  do {
    if (!prepare(s)) return;
    go_last(s);
  } while (again(s));
  watch(s, NULL, -1);
}

void cursor_seek(cursor *c, slice key) {
  if (c->layered) return layered_seek(c, key);
  scan *s = (scan *)c;
  bool kept = false;
  do {
    if (!prepare(s)) return;
    if (!kept && (watches(s) || s->v->remote)) key = asked_key(s, key), kept = true;
    go_seek(s, key);
  } while (again(s));
  watch(s, &key, 1);
}

void cursor_seek_for_prev(cursor *c, slice key) {
  if (c->layered) return layered_seek_for_prev(c, key);
  scan *s = (scan *)c;
  bool kept = false;
  do {
    if (!prepare(s)) return;
    if (!kept && (watches(s) || s->v->remote)) key = asked_key(s, key), kept = true;
    go_seek_for_prev(s, key);
  } while (again(s));
  watch(s, &key, -1);
}

void cursor_expect(cursor *c, const slice *keys, int n) {
  enum { EXPECTED_BYTES = 1024 }; /* the processor sees the rest coming */
  scan *s = (scan *)c;
  if (c->layered || !prepare(s)) return; /* an error shows at the find */
  cache *hot = usable_cache(s);
  drop_expected(s);
  if (!hot) return;
  s->expected_n = n < CACHE_TOGETHER ? n : CACHE_TOGETHER;
  cache_get_many(hot, &s->t->reader, s->tree, keys, s->expected_n, s->v->time, s->expected);
  for (int i = 0; i < s->expected_n; i++) {
    group g;
    slice suffix, row;
    bool exact;
    if (!s->expected[i] || group_open(&g, s->expected[i]->bytes) != HDB_OK) continue;
    size_t at = group_seek(&g, keys[i], &exact);
    if (!exact || !group_row(&g, at, &suffix, &row)) continue;
    for (size_t k = 0; k < row.n && k < EXPECTED_BYTES; k += 64) __builtin_prefetch(row.p + k);
  }
}

bool cursor_find(cursor *c, slice key) {
  if (c->layered) return layered_find(c, key);
  scan *s = (scan *)c;
  bool kept = false;
  do {
    if (!prepare(s)) return false;
    if (!kept && (watches(s) || s->v->remote)) key = asked_key(s, key), kept = true;
    go_find(s, key);
  } while (again(s));
  watch(s, &key, 0);
  return c->valid;
}
