/* Random work on an engine against a model: sorted arrays, copied for each savepoint. */
#ifndef HDB_TESTS_MVCC_MODEL_H
#define HDB_TESTS_MVCC_MODEL_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "kv/base/key.h"
#include "mvcc/mvcc.h"

enum { MODEL_TREES = 2 };

/* ---- the model ---- */

typedef struct item {
  uint32_t key, value, extra; /* extra: length of the filling */
} item;
typedef struct model {
  item *items;
  size_t n, capacity;
} model;

static size_t model_at(const model *m, uint32_t key) {
  size_t i = 0, high = m->n;
  while (i < high) {
    size_t middle = (i + high) / 2;
    if (m->items[middle].key < key) i = middle + 1;
    else high = middle;
  }
  return i;
}
static bool model_has(const model *m, uint32_t key) {
  size_t i = model_at(m, key);
  return i < m->n && m->items[i].key == key;
}
static void model_put(model *m, item it) {
  size_t i = model_at(m, it.key);
  if (i < m->n && m->items[i].key == it.key) {
    m->items[i] = it;
    return;
  }
  if (m->n == m->capacity) m->items = realloc(m->items, (m->capacity = 2 * m->capacity + 16) * sizeof(item));
  memmove(m->items + i + 1, m->items + i, (m->n - i) * sizeof(item));
  m->items[i] = it;
  m->n++;
}
static void model_delete(model *m, uint32_t key) {
  size_t i = model_at(m, key);
  memmove(m->items + i, m->items + i + 1, (m->n - i - 1) * sizeof(item));
  m->n--;
}
static void model_copy(model *to, const model *from) {
  if (to->capacity < from->n) to->items = realloc(to->items, (to->capacity = from->n + 16) * sizeof(item));
  if (from->n) memcpy(to->items, from->items, from->n * sizeof(item));
  to->n = from->n;
}

/* ---- keys and values: three shapes of key, so that prefixes and lengths vary ---- */

static int shape;
static enum txn_sync model_sync = TXN_SYNC_FULL;
static uint32_t model_branch = BRANCH_MAIN;
static enum txn_policy model_policy = TXN_LAST_COMMIT_WINS;
static uint64_t seed;
static uint32_t rnd(uint32_t n) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(seed >> 33) % n;
}
static slice make_key(uint32_t k, uint8_t out[300]) {
  if (shape == 0) {
    rowid_encode(out, (int64_t)k * 7 - 1000);
    return slice_of(out, 8);
  }
  if (shape == 1) return slice_of(out, (size_t)snprintf((char *)out, 300, "%07u%.*s", k, (int)(k % 13), "abcdefghijklmnop"));
  memset(out, 'p', 260);
  put_be32(out + (k % 2 ? 3 : 3), k);
  put_be32(out + 255, k);
  return slice_of(out, 7 + (k % 3) * 126);
}
static slice make_value(item it, uint8_t *out) {
  memset(out, (int)(it.value & 255), it.extra + 4);
  put_be32(out, it.value);
  return slice_of(out, 4 + it.extra);
}
static uint8_t value_bytes[200000];
static uint32_t model_large = 4000; /* one value in forty is as large as this, at most */

static void same(cursor *c, const model *m, size_t at) {
  ck_assert_int_eq(c->error, HDB_OK);
  if (at >= m->n) {
    ck_assert(!c->valid);
    return;
  }
  uint8_t key[300];
  slice k = make_key(m->items[at].key, key);
  ck_assert(c->valid);
  ck_assert(slice_equal(c->key, k));
  ck_assert(slice_equal(c->value, make_value(m->items[at], value_bytes)));
}

static void same_all(txn *t, uint32_t tree, const model *m) {
  cursor *c;
  ck_assert_int_eq(cursor_open(t, tree, 0, &c), HDB_OK);
  size_t i = 0;
  for (cursor_first(c); c->valid; cursor_next(c)) same(c, m, i++);
  ck_assert_int_eq(c->error, HDB_OK);
  ck_assert_uint_eq(i, m->n);
  i = m->n;
  for (cursor_last(c); c->valid; cursor_prev(c)) same(c, m, --i);
  ck_assert_uint_eq(i, 0);
  cursor_close(c);
  int64_t rows;
  status rc = txn_count(t, tree, &rows);
  ck_assert(rc == HDB_OK || rc == HDB_NOTFOUND);
  if (rc == HDB_OK) ck_assert_int_eq(rows, (int64_t)m->n);
}

/* A cursor and where the model says it stands. */
typedef struct walker {
  cursor *c;
  bool stands;
  uint32_t key;
} walker;

/* Announces some keys, of which few are asked for at once. */
static void expect_keys(cursor *c, uint32_t keys) {
  static uint8_t bytes[16][300];
  slice s[16];
  int n = (int)rnd(17);
  for (int i = 0; i < n; i++) s[i] = make_key(rnd(keys), bytes[i]);
  cursor_expect(c, s, n);
}

static void move_walker(walker *w, const model *m, uint32_t keys) {
  uint8_t bytes[300];
  uint32_t key = rnd(keys);
  size_t at = m->n;
  switch (rnd(w->stands ? 9 : 5)) {
  case 0:
    cursor_first(w->c);
    at = 0;
    break;
  case 1:
    cursor_last(w->c);
    at = m->n - 1;
    break;
  case 2:
    cursor_seek(w->c, make_key(key, bytes));
    at = model_at(m, key);
    break;
  case 3:
    cursor_seek_for_prev(w->c, make_key(key, bytes));
    at = model_at(m, key);
    if (at >= m->n || m->items[at].key != key) at--;
    break;
  case 4:
    at = model_has(m, key) ? model_at(m, key) : m->n;
    if (rnd(3) == 0) expect_keys(w->c, keys);
    ck_assert(cursor_find(w->c, make_key(key, bytes)) == (at < m->n));
    break;
  case 5:
  case 6:
    cursor_next(w->c);
    at = model_at(m, w->key + 1);
    break;
  default:
    cursor_prev(w->c);
    at = model_at(m, w->key) - 1;
  }
  same(w->c, m, at);
  w->stands = at < m->n;
  if (w->stands) w->key = m->items[at].key;
}

static status write_one(txn *t, uint32_t tree, model *m, uint32_t keys, uint32_t extra_max) {
  uint8_t bytes[300];
  uint32_t key = rnd(keys);
  item it = {key, rnd(1u << 30), rnd(extra_max)};
  bool has = model_has(m, key);
  if (rnd(40) == 0) it.extra = rnd(model_large);
  if (has && rnd(5) < 2) {
    model_delete(m, key);
    return txn_delete(t, tree, make_key(key, bytes));
  }
  model_put(m, it);
  enum put_kind kind = rnd(3) == 0 ? PUT_UPSERT : has ? PUT_UPDATE : PUT_INSERT;
  return txn_put(t, tree, make_key(key, bytes), make_value(it, value_bytes), kind);
}

/* result: NULL, or where the committed contents are kept from one run to the next. */
static inline void run_model(engine *e, uint32_t keys, uint32_t extra_max, int steps, model *result) {
  enum { TREES = MODEL_TREES, WALKERS = 3, MARKS = 8 };
  txn *t;
  model committed[TREES] = {{0}}, now[TREES] = {{0}}, saved[MARKS][TREES] = {{{0}}};
  txn_mark marks[MARKS];
  walker walkers[TREES][WALKERS] = {{{0}}};
  int depth = 0;
  for (int i = 0; result && i < TREES; i++) model_copy(&committed[i], &result[i]), model_copy(&now[i], &result[i]);
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  txn_set_sync(t, model_sync);
  txn_set_policy(t, model_policy);
  ck_assert_int_eq(txn_set_branch(t, model_branch), HDB_OK);
  for (uint32_t k = 0; k < TREES; k++)
    for (int i = 0; i < WALKERS; i++) ck_assert_int_eq(cursor_open(t, 20 + k, 0, &walkers[k][i].c), HDB_OK);
  ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
  for (int step = 0; step < steps; step++) {
    uint32_t k = rnd(TREES);
    int what = (int)rnd(1000);
    if (what < 450) {
      for (int i = 0; i < 1 + (int)rnd(4); i++)
        ck_assert_int_eq(write_one(t, 20 + k, &now[k], keys, extra_max), HDB_OK);
    } else if (what < 950) {
      move_walker(&walkers[k][rnd(WALKERS)], &now[k], keys);
    } else if (what < 965 && depth < MARKS) {
      marks[depth] = txn_save(t);
      for (int i = 0; i < TREES; i++) model_copy(&saved[depth][i], &now[i]);
      depth++;
    } else if (what < 978 && depth) {
      depth = (int)rnd((uint32_t)depth);
      txn_rollback_to(t, marks[depth]);
      for (int i = 0; i < TREES; i++) model_copy(&now[i], &saved[depth][i]);
    } else if (what < 980) {
      ck_assert_int_eq(txn_clear(t, 20 + k), HDB_OK);
      now[k].n = 0;
    } else if (what < 995) {
      int64_t time, before = engine_newest(e);
      bool wrote = txn_has_writes(t);
      ck_assert_int_eq(txn_commit(t, 0, &time), HDB_OK);
      if (time) ck_assert_int_gt(time, before);
      if (!wrote) ck_assert_int_eq(time, 0);
      for (int i = 0; i < TREES; i++) model_copy(&committed[i], &now[i]);
      depth = 0;
      ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
    } else if (what < 997) {
      txn_rollback(t);
      for (int i = 0; i < TREES; i++) model_copy(&now[i], &committed[i]);
      depth = 0;
      ck_assert_int_eq(txn_begin(t, rnd(2) ? TXN_READ : TXN_IMMEDIATE, 0), HDB_OK);
    } else if (what < 998) {
      cursor_reset(walkers[k][0].c);
      walkers[k][0].stands = false;
    } else {
      same_all(t, 20 + k, &now[k]);
    }
  }
  for (uint32_t k = 0; k < TREES; k++) {
    same_all(t, 20 + k, &now[k]);
    for (int i = 0; i < WALKERS; i++) cursor_close(walkers[k][i].c);
    if (result) model_copy(&result[k], &committed[k]);
    free(committed[k].items);
    free(now[k].items);
    for (int i = 0; i < MARKS; i++) free(saved[i][k].items);
  }
  txn_free(t);
}

#endif
