/* AS OF and the feed: every state that was committed is kept in the model and looked at again later. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kv/base/record.h"
#include "mvcc/images.h"
#include "mvcc/internal.h"
#include "mvcc/undo.h"
#include "tests/unit/mvcc_model.h"

enum { STATES = 40, TREE = 20 };

typedef struct state {
  int64_t time;
  model rows;
} state;

static record_writer writer;

/* A row of six columns, of which an update changes one or two: `value` and `extra` say which row it is. */
static slice row_value(item it) {
  record_begin(&writer);
  record_int(&writer, it.key);
  record_text(&writer, "a name that stays", 17);
  record_int(&writer, it.value % 7);
  record_real(&writer, it.extra * 0.5);
  if (it.extra % 5 == 0)
    record_null(&writer);
  else
    record_blob(&writer, "0123456789012345678901234567890", it.extra % 31);
  if (it.value % 11 < 10) record_int(&writer, it.value);
  return record_end(&writer);
}

static status put_item(txn *t, item it, bool has) {
  uint8_t key[300];
  return txn_put(t, TREE, make_key(it.key, key), row_value(it), has ? PUT_UPDATE : PUT_INSERT);
}

static void expect_row(cursor *c, const model *m, size_t at) {
  ck_assert_int_eq(c->error, HDB_OK);
  if (at >= m->n) {
    ck_assert(!c->valid);
    return;
  }
  uint8_t key[300];
  ck_assert(c->valid);
  ck_assert(slice_equal(c->key, make_key(m->items[at].key, key)));
  ck_assert(slice_equal(c->value, row_value(m->items[at])));
}

static void check_state(txn *t, const state *s, uint32_t keys) {
  cursor *c;
  ck_assert_int_eq(cursor_open(t, TREE, s->time, &c), HDB_OK);
  size_t i = 0;
  for (cursor_first(c); c->valid; cursor_next(c)) expect_row(c, &s->rows, i++);
  ck_assert_int_eq(c->error, HDB_OK);
  ck_assert_uint_eq(i, s->rows.n);
  for (cursor_last(c); c->valid; cursor_prev(c)) expect_row(c, &s->rows, --i);
  ck_assert_int_eq(c->error, HDB_OK);
  ck_assert_uint_eq(i, 0);
  uint8_t bytes[300];
  for (int k = 0; k < 20; k++) {
    uint32_t key = rnd(keys);
    ck_assert(cursor_find(c, make_key(key, bytes)) == model_has(&s->rows, key));
    ck_assert_int_eq(c->error, HDB_OK);
    cursor_seek(c, make_key(key, bytes));
    expect_row(c, &s->rows, model_at(&s->rows, key));
  }
  cursor_close(c);
}

/* One transaction: a few rows here and there, or a stretch, or many, or all away. */
static void change(txn *t, model *m, uint32_t keys) {
  uint32_t what = rnd(20), from = rnd(keys), n = what < 12 ? 1 + rnd(6) : what < 18 ? rnd(keys / 4) : keys;
  if (what == 19 && rnd(2)) {
    ck_assert_int_eq(txn_clear(t, TREE), HDB_OK);
    m->n = 0;
    n = rnd(4);
  }
  uint32_t deletes = rnd(4);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t key = what < 12 ? rnd(keys) : (from + i) % keys;
    uint8_t bytes[300];
    bool has = model_has(m, key);
    if (has && rnd(4) < deletes) {
      ck_assert_int_eq(txn_delete(t, TREE, make_key(key, bytes)), HDB_OK);
      model_delete(m, key);
      continue;
    }
    item it = {key, rnd(1000), rnd(100)};
    if (has && rnd(3)) it.extra = m->items[model_at(m, key)].extra; /* one column differs */
    ck_assert_int_eq(put_item(t, it, has), HDB_OK);
    model_put(m, it);
  }
}

/* Every bound's records into blocks, as far as they are worth it. */
static void pack(engine *e) {
  ck_assert_int_eq(pack_all(e), HDB_OK);
  images_drop(e->images, 0); /* so that the blocks are read */
}

static int count_blocks(engine *e, int *chapters) {
  kv_iter *it;
  block_head h;
  int n = 0;
  *chapters = 0;
  ck_assert_int_eq(kv_iter_open(e->store, NULL, KV_VERSIONS, slice_of(NULL, 0), slice_of(NULL, 0), &it),
                   HDB_OK);
  for (it->seek(it, slice_of("", 0)); it->valid; it->next(it)) {
    bool block = version_block_head(it->value, (int64_t)~get_be64(it->key.p + it->key.n - 8), &h);
    n += block;
    *chapters += block && h.chapter.p;
    ck_assert(block || it->value.p[0]);
  }
  it->close(it);
  return n;
}

static status look_at_bytes(void *context, slice key, const undo_version *v, bool *skip) {
  size_t *sum = context;
  for (size_t i = 0; i < key.n; i++) *sum += key.p[i];
  for (size_t i = 0; i < v->bytes.n; i++) *sum += v->bytes.p[i];
  return (void)skip, HDB_OK;
}

/* Records and blocks with bytes that are wrong: refused, or other versions; never a look beyond them, never a way back in time. */
static void damage_history(engine *e) {
  kv_iter *it;
  buf key = BUF_INIT;
  size_t sum = 0;
  ck_assert_int_eq(kv_iter_open(e->store, NULL, KV_VERSIONS, slice_of(NULL, 0), slice_of(NULL, 0), &it),
                   HDB_OK);
  for (it->seek(it, slice_of("", 0)); it->valid; it->next(it)) {
    int64_t time = (int64_t)~get_be64(it->key.p + it->key.n - 8);
    for (int i = 0; i < 30; i++) {
      size_t n = rnd(4) ? it->value.n : rnd((uint32_t)it->value.n);
      uint8_t *bytes = malloc(n ? n : 1); /* of its own, so that a look beyond is seen */
      memcpy(bytes, it->value.p, n);
      for (uint32_t flips = rnd(4); flips && n; flips--)
        bytes[rnd(2) ? rnd((uint32_t)n) : rnd(n < 16 ? (uint32_t)n : 16)] = (uint8_t)rnd(256);
      slice value = slice_of(bytes, n);
      block_head h;
      status rc = version_each(&key, time, value, look_at_bytes, &sum);
      ck_assert(rc == HDB_OK || rc == HDB_CORRUPT);
      if (version_block_head(value, time, &h)) {
        ck_assert(h.oldest > 0 && h.oldest <= time);
        if (h.chapter.p) {
          ck_assert(h.covers > 0 && h.covers <= h.oldest);
          rc = chapter_each(&key, time, h.chapter, look_at_bytes, &sum);
          ck_assert(rc == HDB_OK || rc == HDB_CORRUPT);
        }
      }
      free(bytes);
    }
  }
  it->close(it);
  buf_free(&key);
}

/* packs: one in so many commits; 0: never */
static void past_work(engine *e, uint32_t keys, int commits, uint32_t packs, bool small) {
  if (small) pack_sizes(e, 256, 700), e->image_lasted = 0;
  static state states[STATES];
  model now = {0};
  txn *t;
  int n = 0;
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  txn_set_sync(t, TXN_SYNC_OFF);
  for (int i = 0; i < commits; i++) {
    ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
    change(t, &now, keys);
    ck_assert_int_eq(txn_commit(t, 0, NULL), HDB_OK);
    state *s = &states[n < STATES ? n++ : (int)rnd(STATES)];
    s->time = engine_newest(e);
    model_copy(&s->rows, &now);
    if (packs && rnd(packs) == 0) pack(e);
    if (i % 7 == 0) {
      txn_begin(t, TXN_READ, 0);
      check_state(t, &states[rnd((uint32_t)n)], keys);
      txn_rollback(t);
    }
  }
  txn_begin(t, TXN_READ, 0);
  for (int i = 0; i < n; i++) check_state(t, &states[i], keys);
  int chapters;
  if (packs && commits > 16) ck_assert_int_gt(count_blocks(e, &chapters), 0);
  if (packs && commits > 100 && small) ck_assert_int_gt(chapters, 0);
  txn_free(t);
  for (int i = 0; i < n; i++) free(states[i].rows.items);
  memset(states, 0, sizeof states);
  free(now.items);
}

START_TEST(every_committed_state_can_be_seen_again) {
  shape = _i % 3;
  seed = (uint64_t)_i + 1;
  engine *e;
  engine_options o = {.create = true, .retention = 3600};
  ck_assert_int_eq(engine_open(NULL, &o, &e, NULL), HDB_OK);
  past_work(e,
            _i % 9 < 3   ? 60
            : _i % 9 < 6 ? 600
                         : 5000,
            _i % 9 < 3   ? 120
            : _i % 9 < 6 ? 70
                         : 16,
            _i < 9 ? 0 : 3, _i >= 18);
  engine_close(e);
  record_writer_free(&writer);
}
END_TEST

START_TEST(the_past_survives_on_disk) {
  char directory[] = "/tmp/helios-past-XXXXXX", path[64], command[64];
  ck_assert_ptr_nonnull(mkdtemp(directory));
  snprintf(path, sizeof path, "%s/db", directory);
  shape = _i % 3;
  seed = (uint64_t)_i + 99;
  engine *e;
  engine_options o = {.create = true, .retention = -1};
  ck_assert_int_eq(engine_open(path, &o, &e, NULL), HDB_OK);
  past_work(e, 400, 30, _i < 3 ? 0 : 4, _i > 3);
  engine_close(e);
  record_writer_free(&writer);
  snprintf(command, sizeof command, "rm -rf %s", directory);
  ck_assert_int_eq(system(command), 0);
}
END_TEST

/* Blocks of many commits, which readers jump over. */
START_TEST(a_row_with_a_long_past) {
  enum { COMMITS = 600 };
  static state states[COMMITS];
  engine *e;
  txn *t;
  model now = {0};
  engine_options o = {.create = true, .retention = 3600};
  shape = _i % 3;
  seed = (uint64_t)_i + 5;
  ck_assert_int_eq(engine_open(NULL, &o, &e, NULL), HDB_OK);
  if (_i >= 3) pack_sizes(e, 512, _i < 6 ? 1024 : 4096);
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  for (int i = 0; i < COMMITS; i++) {
    ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
    uint32_t key = i % 9 ? 3 : rnd(8);
    uint8_t bytes[300];
    bool has = model_has(&now, key);
    if (i % 50 == 49 && has) {
      ck_assert_int_eq(txn_delete(t, TREE, make_key(key, bytes)), HDB_OK);
      model_delete(&now, key);
    } else {
      item it = {key, rnd(1000), 7};
      ck_assert_int_eq(put_item(t, it, has), HDB_OK);
      model_put(&now, it);
    }
    ck_assert_int_eq(txn_commit(t, 0, NULL), HDB_OK);
    states[i].time = engine_newest(e);
    model_copy(&states[i].rows, &now);
    if (i == 190 || i == 200 || i == 500 || (_i >= 3 && i % 20 == 0)) pack(e);
  }
  int chapters;
  ck_assert_int_ge(count_blocks(e, &chapters), 2);
  if (_i >= 3) ck_assert_int_ge(chapters, 1);
  damage_history(e);
  txn_begin(t, TXN_READ, 0);
  for (int i = 0; i < COMMITS; i++) {
    images_drop(e->images, 0);
    check_state(t, &states[COMMITS - 1 - i], 8);
  }
  txn_free(t);
  engine_close(e);
  for (int i = 0; i < COMMITS; i++) free(states[i].rows.items);
  memset(states, 0, sizeof states);
  free(now.items);
  record_writer_free(&writer);
}
END_TEST

START_TEST(a_directory_of_a_later_format_is_refused) {
  char directory[] = "/tmp/helios-past-XXXXXX", path[64], command[64];
  ck_assert_ptr_nonnull(mkdtemp(directory));
  snprintf(path, sizeof path, "%s/db", directory);
  engine *e;
  engine_options o = {.create = true, .retention = -1};
  error err = {0};
  for (uint8_t format = 2; format <= 3; format++) {
    ck_assert_int_eq(engine_open(path, &o, &e, NULL),
                     HDB_OK); /* as it is, then with the 2 that blocks bring */
    kv_batch *batch = kv_batch_new(e->store);
    kv_batch_put(batch, KV_META, slice_str("format"), slice_of(&format, 1));
    ck_assert_int_eq(kv_write(e->store, batch, true), HDB_OK);
    kv_batch_free(batch);
    engine_close(e);
    engine_close_lingering();
  }
  ck_assert_int_eq(engine_open(path, &o, &e, &err), HDB_CANTOPEN);
  ck_assert_str_eq(err.message, "the database has format 3, this version reads up to 2");
  error_clear(&err);
  snprintf(command, sizeof command, "rm -rf %s", directory);
  ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(without_history_there_is_no_past) {
  engine *e;
  txn *t;
  cursor *c;
  ck_assert_int_eq(engine_open(NULL, NULL, &e, NULL), HDB_OK);
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
  ck_assert_int_eq(cursor_open(t, TREE, 12345, &c), HDB_ERROR_SNAPSHOT);
  ck_assert_int_eq(feed_changes(e, 0, 1, NULL, NULL), HDB_NOTFOUND);
  txn_free(t);
  engine_close(e);
}
END_TEST

/* ---- versions ---- */

typedef struct walked {
  const state *states; /* ascending in time */
  int n, at_least;
  int64_t from, to;
  buf last;
  int64_t last_from, last_to;
  int seen[STATES]; /* rows that were current at that state */
} walked;

static status look_at(void *context, const row_version *v) {
  walked *w = context;
  int order = slice_compare(v->key, buf_slice(&w->last));
  ck_assert(order > 0 || (order == 0 && v->from >= w->last_to && v->from > w->last_from));
  buf_clear(&w->last);
  buf_append(&w->last, v->key.p, v->key.n);
  w->last_from = v->from, w->last_to = v->to;
  ck_assert(v->from < v->to && v->from <= w->to);
  if (v->op == VERSION_DELETE) ck_assert(v->from >= w->from);
  for (int i = 0; i < w->n; i++) {
    int64_t time = w->states[i].time;
    if (time < w->from || time > w->to) continue;
    const model *m = &w->states[i].rows;
    /* the key at that state */
    size_t low = 0, high = m->n;
    uint8_t key[300];
    while (low < high) {
      size_t middle = (low + high) / 2;
      if (slice_compare(make_key(m->items[middle].key, key), v->key) < 0)
        low = middle + 1;
      else
        high = middle;
    }
    bool there = low < m->n && slice_equal(make_key(m->items[low].key, key), v->key);
    if (v->from <= time && time < v->to) {
      ck_assert(there == (v->op != VERSION_DELETE));
      if (there) ck_assert(slice_equal(row_value(m->items[low]), v->value));
      w->seen[i] += there;
    }
    if (time == v->from - 1 && v->op == VERSION_INSERT) ck_assert(!there);
  }
  return HDB_OK;
}

START_TEST(versions_tell_every_state_in_between) {
  engine *e;
  txn *t;
  model now = {0};
  static state states[STATES];
  engine_options o = {.create = true, .retention = 3600};
  shape = _i % 3;
  seed = (uint64_t)_i + 11;
  ck_assert_int_eq(engine_open(NULL, &o, &e, NULL), HDB_OK);
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  for (int i = 0; i < STATES; i++) {
    ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
    change(t, &now, 300);
    ck_assert_int_eq(txn_commit(t, 0, NULL), HDB_OK);
    states[i].time = engine_newest(e);
    model_copy(&states[i].rows, &now);
    if (_i >= 3 && rnd(5) == 0) pack(e);
  }
  txn_begin(t, TXN_READ, 0);
  for (int round = 0; round < 20; round++) {
    int a = (int)rnd(STATES), b = a + (int)rnd((uint32_t)(STATES - a));
    walked w = {.states = states, .n = STATES, .from = states[a].time, .to = states[b].time};
    if (round < 3) a = 0, w.from = round; /* from before everything */
    ck_assert_int_eq(versions_between(t, TREE, w.from, w.to, look_at, &w), HDB_OK);
    for (int i = a; i <= b; i++) ck_assert_int_eq(w.seen[i], (int)states[i].rows.n);
    buf_free(&w.last);
  }
  txn_free(t);
  engine_close(e);
  for (int i = 0; i < STATES; i++) free(states[i].rows.items);
  memset(states, 0, sizeof states);
  free(now.items);
  record_writer_free(&writer);
}
END_TEST

/* ---- retention ---- */

static int count_keys(engine *e, enum kv_family family) {
  kv_iter *it;
  int n = 0;
  ck_assert_int_eq(kv_iter_open(e->store, NULL, family, slice_of(NULL, 0), slice_of(NULL, 0), &it), HDB_OK);
  for (it->seek(it, slice_str("")); it->valid; it->next(it)) n++;
  it->close(it);
  return n;
}

START_TEST(history_beyond_the_retention_goes) {
  engine *e;
  txn *t;
  model now = {0};
  static state states[8];
  engine_options o = {.create = true, .retention = 3600};
  shape = _i % 3;
  seed = (uint64_t)_i + 3;
  ck_assert_int_eq(engine_open(NULL, &o, &e, NULL), HDB_OK);
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  for (int i = 0; i < 8; i++) {
    for (int k = 0; k < 20; k++) {
      ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
      change(t, &now, 300);
      if (k == 10 && i == 3) { /* nearly all rows go: empty groups stay behind */
        ck_assert_int_eq(txn_clear(t, TREE), HDB_OK);
        now.n = 0;
      }
      ck_assert_int_eq(txn_commit(t, 0, NULL), HDB_OK);
    }
    states[i].time = engine_newest(e);
    model_copy(&states[i].rows, &now);
    if (_i >= 3) pack(e);
  }
  int versions = count_keys(e, KV_VERSIONS), feed = count_keys(e, KV_COMMITS);
  ck_assert_int_gt(versions, 8);
  /* an open transaction keeps what is after its view; then only the last two states are kept */
  e->retention = (double)(engine_now() - states[5].time) / 1e6;
  ck_assert_int_eq(engine_collect(e), HDB_OK);
  ck_assert_int_lt(count_keys(e, KV_VERSIONS), versions);
  ck_assert_int_eq(count_keys(e, KV_COMMITS), feed);
  ck_assert_int_ge(engine_oldest(e), states[4].time);
  ck_assert_int_le(engine_oldest(e), states[6].time);
  cursor *c;
  ck_assert_int_eq(cursor_open(t, TREE, states[2].time, &c), HDB_ERROR_SNAPSHOT);
  txn_begin(t, TXN_READ, 0);
  check_state(t, &states[6], 300);
  check_state(t, &states[7], 300);
  txn_rollback(t);
  for (int k = 0; k < 50; k++) { /* life goes on */
    ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
    change(t, &now, 300);
    ck_assert_int_eq(txn_commit(t, 0, NULL), HDB_OK);
  }
  states[0].time = engine_newest(e);
  model_copy(&states[0].rows, &now);
  txn_begin(t, TXN_READ, 0);
  check_state(t, &states[6], 300);
  check_state(t, &states[7], 300);
  check_state(t, &states[0], 300);
  e->retention = 0.0001; /* held back by the open view */
  ck_assert_int_eq(engine_collect(e), HDB_OK);
  ck_assert_int_le(engine_oldest(e), txn_view_time(t));
  ck_assert_int_eq(txn_clear(t, TREE), HDB_OK);
  ck_assert_int_eq(txn_commit(t, 0, NULL), HDB_OK);
  usleep(1000); /* longer than the retention */
  ck_assert_int_eq(engine_collect(e), HDB_OK);
  ck_assert_int_eq(count_keys(e, KV_VERSIONS), 0);
  ck_assert_int_eq(count_keys(e, KV_ROWS), 0);
  txn_free(t);
  engine_close(e);
  for (int i = 0; i < 8; i++) free(states[i].rows.items);
  memset(states, 0, sizeof states);
  free(now.items);
  record_writer_free(&writer);
}
END_TEST

/* ---- the feed ---- */

typedef struct told {
  uint32_t tree;
  bool whole;
  uint8_t key[16];
  size_t n;
} told;
static told list[100];
static int list_n;
static status take(void *context, uint32_t tree, slice key, bool whole) {
  ck_assert_ptr_eq(context, &list_n);
  ck_assert(list_n < 100 && key.n <= 16);
  told *x = &list[list_n++];
  x->tree = tree, x->whole = whole, x->n = key.n;
  if (key.n) memcpy(x->key, key.p, key.n);
  return HDB_OK;
}
static void expect_told(int i, uint32_t tree, const char *key) {
  ck_assert_uint_eq(list[i].tree, tree);
  ck_assert(list[i].whole == (key == NULL));
  if (key) ck_assert(slice_equal(slice_of(list[i].key, list[i].n), slice_str(key)));
}
static int64_t commit_keys(engine *e, uint32_t tree, const char *keys, bool clear) {
  txn *t;
  int64_t time;
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  txn_begin(t, TXN_READ, 0);
  if (clear) ck_assert_int_eq(txn_clear(t, tree), HDB_OK);
  for (; *keys; keys += 2)
    ck_assert_int_eq(txn_put(t, tree, slice_of(keys, 2), slice_of(NULL, 0), PUT_UPSERT), HDB_OK);
  ck_assert_int_eq(txn_commit(t, 0, &time), HDB_OK);
  txn_free(t);
  return time;
}

static status take_commit(void *context, const commit_info *c) {
  commit_info **next = context;
  *(*next)++ = *c;
  return HDB_OK;
}

START_TEST(the_feed_tells_each_changed_key_once) {
  engine *e;
  engine_options o = {.create = true, .retention = 3600};
  ck_assert_int_eq(engine_open(NULL, &o, &e, NULL), HDB_OK);
  int64_t t1 = commit_keys(e, 17, "abacba", false);
  int64_t t2 = commit_keys(e, 16, "zzac", false);
  int64_t t3 = commit_keys(e, 17, "aczz", false);
  int64_t t4 = commit_keys(e, 17, "qq", true);
  list_n = 0;
  ck_assert_int_eq(feed_changes(e, 0, t3, take, &list_n), HDB_OK);
  ck_assert_int_eq(list_n, 6);
  expect_told(0, 16, "ac"), expect_told(1, 16, "zz"), expect_told(2, 17, "ab"), expect_told(3, 17, "ac");
  expect_told(4, 17, "ba"), expect_told(5, 17, "zz");
  list_n = 0;
  ck_assert_int_eq(feed_changes(e, t1, t2, take, &list_n), HDB_OK);
  ck_assert_int_eq(list_n, 2);
  list_n = 0;
  ck_assert_int_eq(feed_changes(e, t2, t4, take, &list_n), HDB_OK);
  ck_assert_int_eq(list_n, 1);
  expect_told(0, 17, NULL);
  commit_info commits[8], *next = commits;
  ck_assert_int_eq(feed_commits(e, t1, t4, take_commit, &next), HDB_OK);
  ck_assert_int_eq(next - commits, 3);
  ck_assert(commits[0].time == t2 && commits[0].keys == 2 && commits[0].trees == 1 && !commits[0].whole);
  ck_assert(commits[1].time == t3 && commits[2].time == t4 && commits[2].whole);
  list_n = 0;
  ck_assert_int_eq(feed_changes(e, t4, t4, take, &list_n), HDB_OK);
  ck_assert_int_eq(list_n, 0);
  engine_close(e);
}
END_TEST

int main(void) {
  Suite *s = suite_create("mvcc_past");
  TCase *c = tcase_create("all");
  tcase_set_timeout(c, 120);
  tcase_add_loop_test(c, every_committed_state_can_be_seen_again, getenv("ONE") ? atoi(getenv("ONE")) : 0,
                      getenv("ONE") ? atoi(getenv("ONE")) + 1 : 27);
  tcase_add_loop_test(c, a_row_with_a_long_past, 0, 9);
  tcase_add_test(c, a_directory_of_a_later_format_is_refused);
  tcase_add_loop_test(c, the_past_survives_on_disk, 0, 6);
  tcase_add_loop_test(c, versions_tell_every_state_in_between, 0, 6);
  tcase_add_loop_test(c, history_beyond_the_retention_goes, 0, 6);
  tcase_add_test(c, without_history_there_is_no_past);
  tcase_add_test(c, the_feed_tells_each_changed_key_once);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
