/* The check below SQL: clean stores are clean after any work, and each kind of planted damage is named. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kv/base/record.h"
#include "mvcc/internal.h"
#include "tests/unit/mvcc_model.h"

enum { TREE = 20, KEYS = 400 };

static char path[64];
static engine *e;
static char found[8192];

static void setup(void) {
  snprintf(path, sizeof path, "/tmp/helios_check_XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(path));
  engine_options options = {.create = true, .retention = 1e6};
  ck_assert_int_eq(engine_open(path, &options, &e, NULL), HDB_OK);
}

static void teardown(void) {
  engine_close(e);
  DIR *d = opendir(path);
  for (struct dirent *f; (f = readdir(d));) {
    char name[512];
    snprintf(name, sizeof name, "%s/%s", path, f->d_name);
    unlink(name);
  }
  closedir(d);
  rmdir(path);
}

static status collect(void *context, const char *words) {
  (void)context;
  size_t n = strlen(found);
  snprintf(found + n, sizeof found - n, "%s\n", words);
  return HDB_OK;
}

static const char *check(void) {
  found[0] = 0;
  status rc = engine_check(e, collect, NULL);
  ck_assert_msg(rc == HDB_OK, "%d", rc);
  return found;
}

static void clean(void) { ck_assert_str_eq(check(), ""); }

static slice record_of(uint32_t key, uint32_t v) {
  static record_writer w;
  record_begin(&w);
  record_int(&w, key);
  record_text(&w, "a text that stays the same", 26);
  record_int(&w, v);
  return record_end(&w);
}

static void commit_some(txn *t, model *m, int rows, uint32_t tree) {
  uint8_t key[300];
  ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
  for (int i = 0; i < rows; i++) {
    uint32_t k = rnd(KEYS);
    bool has = model_has(m, k);
    if (has && rnd(5) == 0) {
      ck_assert_int_eq(txn_delete(t, tree, make_key(k, key)), HDB_OK);
      model_delete(m, k);
    } else {
      ck_assert_int_eq(txn_put(t, tree, make_key(k, key), record_of(k, rnd(1000)), has ? PUT_UPDATE : PUT_INSERT), HDB_OK);
      model_put(m, (item){k, 0, 0});
    }
  }
  ck_assert_int_eq(txn_commit(t, 0, NULL), HDB_OK);
}

static void work(int commits) {
  model m = {0};
  txn *t;
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  for (int i = 0; i < commits; i++) commit_some(t, &m, 1 + (int)rnd(40), TREE);
  txn_free(t);
  free(m.items);
}

START_TEST(a_store_is_clean_after_any_work) {
  work(5 + _i * 40);
  clean();
  uint32_t id;
  txn *t;
  ck_assert_int_eq(branch_create(e, "side", BRANCH_MAIN, 0, &id), HDB_OK);
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  ck_assert_int_eq(txn_set_branch(t, id), HDB_OK);
  for (int i = 0; i < 5; i++) {
    uint8_t key[300];
    ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
    ck_assert_int_eq(txn_put(t, TREE, make_key(rnd(KEYS), key), record_of(1, rnd(1000)), PUT_UPSERT), HDB_OK);
    ck_assert_int_eq(txn_commit(t, 0, NULL), HDB_OK);
  }
  txn_free(t);
  clean();
  ck_assert_int_eq(engine_collect(e), HDB_OK);
  clean();
  engine_close(e);
  engine_options options = {.retention = -1};
  ck_assert_int_eq(engine_open(path, &options, &e, NULL), HDB_OK);
  clean();
}
END_TEST

/* ---- damage ---- */

/* Work, and nobody in the background who takes the damage for history to be packed. */
static void work_then_rest(int commits) {
  work(commits);
  pack_rest(e, true);
}

/* The nth key of a family that belongs to TREE (or any). */
static void nth(enum kv_family family, int n, buf *key, buf *value) {
  uint8_t from[4], to[4];
  kv_iter *it;
  put_be32(from, TREE), put_be32(to, TREE + 1);
  bool of_tree = family == KV_ROWS || family == KV_VERSIONS;
  ck_assert_int_eq(kv_iter_open(e->store, NULL, family, slice_of(from, of_tree ? 4 : 0), slice_of(to, of_tree ? 4 : 0), &it), HDB_OK);
  it->seek(it, slice_of(NULL, 0));
  for (int i = 0; i < n && it->valid; i++) it->next(it);
  ck_assert(it->valid);
  buf_append(key, it->key.p, it->key.n);
  buf_append(value, it->value.p, it->value.n);
  it->close(it);
}

static void put(enum kv_family family, slice key, slice value) {
  kv_batch *b = kv_batch_new(e->store);
  if (value.p) kv_batch_put(b, family, key, value);
  else kv_batch_delete(b, family, key);
  ck_assert_int_eq(kv_write(e->store, b, false), HDB_OK);
  kv_batch_free(b);
  view_release(e->newest); /* so that the next view sees it */
  e->newest = NULL;
}

static void expect(const char *words) { ck_assert_msg(strstr(check(), words), "wanted \"%s\", got:\n%s", words, found); }

/* Plants, expects the words, and takes the damage out again. */
static void plant(enum kv_family family, slice key, slice right, slice wrong, const char *words) {
  put(family, key, wrong);
  expect(words);
  put(family, key, right);
  clean();
}

START_TEST(damage_of_groups_is_named) {
  buf key = BUF_INIT, value = BUF_INIT, other = BUF_INIT, other_value = BUF_INIT;
  group g;
  work_then_rest(60);
  int at = 0;
  do { /* one of several rows with times, and the next one */
    buf_clear(&key), buf_clear(&value);
    nth(KV_ROWS, ++at, &key, &value);
    ck_assert_int_eq(group_open(&g, buf_slice(&value)), HDB_OK);
  } while (g.count < 5 || !(g.flags & GROUP_TIMES));
  nth(KV_ROWS, at + 1, &other, &other_value);
  slice k = buf_slice(&key), v = buf_slice(&value);
  plant(KV_ROWS, k, v, slice_of(NULL, 0), "rows and is counted as");
  plant(KV_ROWS, k, v, slice_of(v.p, v.n / 2), "is damaged");
  plant(KV_ROWS, k, v, buf_slice(&other_value), "a row lies behind the bound of the next group");
  plant(KV_ROWS, buf_slice(&other), buf_slice(&other_value), v, "a key lies before its group's bound");
  uint8_t *copy = malloc(v.n);
  memcpy(copy, v.p, v.n);
  memset(copy + 8, 0x7f, 8); /* newest */
  plant(KV_ROWS, k, v, slice_of(copy, v.n), "is newer");
  memcpy(copy, v.p, v.n);
  memset(copy + 8, 0, 8);
  plant(KV_ROWS, k, v, slice_of(copy, v.n), "a row is newer than its group says");
  memcpy(copy, v.p, v.n);
  slice suffix, row;
  ck_assert_int_eq(group_open(&g, slice_of(copy, v.n)), HDB_OK);
  ck_assert(group_row(&g, 3, &suffix, &row));
  ((uint8_t *)row.p)[1] = 15; /* no such type */
  plant(KV_ROWS, k, v, slice_of(copy, v.n), "is no record");
  memcpy(copy, v.p, v.n);
  ck_assert(group_row(&g, 3, &suffix, &row));
  memset((uint8_t *)suffix.p, 0, suffix.n);
  plant(KV_ROWS, k, v, slice_of(copy, v.n), "is not above the one before");
  free(copy);
  buf_free(&key), buf_free(&value), buf_free(&other), buf_free(&other_value);
}
END_TEST

START_TEST(damage_of_history_is_named) {
  buf key = BUF_INIT, value = BUF_INIT;
  work_then_rest(60);
  nth(KV_VERSIONS, 3, &key, &value);
  slice k = buf_slice(&key), v = buf_slice(&value);
  plant(KV_VERSIONS, k, v, slice_of(v.p, v.n - 1), "is damaged");
  plant(KV_VERSIONS, k, v, slice_of("\x05", 1), "is damaged");
  uint8_t *copy = malloc(k.n);
  memcpy(copy, k.p, k.n);
  put_be64(copy + k.n - 8, ~(uint64_t)(INT64_MAX / 2));
  plant(KV_VERSIONS, slice_of(copy, k.n), slice_of(NULL, 0), v, "newer than the newest commit");
  memcpy(copy, k.p, k.n);
  copy[12] = 77; /* length of a bound's chunk */
  plant(KV_VERSIONS, slice_of(copy, k.n), slice_of(NULL, 0), v, "damaged key");
  free(copy);
  /* a group that does not know of its newest record */
  buf group_key = BUF_INIT, group_value = BUF_INIT, bound = BUF_INIT;
  uint32_t tree;
  int64_t time;
  kv_value stored_group = {0};
  for (int n = 0; !stored_group.data.p; n++) {
    buf_clear(&key), buf_clear(&value), buf_clear(&bound), buf_clear(&group_key);
    nth(KV_VERSIONS, n, &key, &value);
    ck_assert(version_place_get(buf_slice(&key), &tree, &bound, &time));
    buf_be32(&group_key, tree);
    buf_append(&group_key, bound.p, bound.n);
    kv_get(e->store, NULL, KV_ROWS, buf_slice(&group_key), &stored_group);
  }
  buf_append(&group_value, stored_group.data.p, stored_group.data.n);
  kv_release(&stored_group);
  uint8_t *bytes = malloc(group_value.n);
  memcpy(bytes, group_value.p, group_value.n);
  bytes[0] &= (uint8_t)~GROUP_HISTORY;
  plant(KV_ROWS, buf_slice(&group_key), buf_slice(&group_value), slice_of(bytes, group_value.n), "a group knows of history up to 0");
  free(bytes);
  buf_free(&key), buf_free(&value), buf_free(&group_key), buf_free(&group_value), buf_free(&bound);
}
END_TEST

START_TEST(damage_of_the_feed_is_named) {
  buf key = BUF_INIT, value = BUF_INIT;
  work_then_rest(60);
  nth(KV_COMMITS, 59, &key, &value); /* the newest: a group is of its time */
  plant(KV_COMMITS, buf_slice(&key), buf_slice(&value), slice_of(NULL, 0), "which is not in the feed");
  plant(KV_COMMITS, buf_slice(&key), buf_slice(&value), slice_of(value.p, value.n - 1), "is damaged");
  uint8_t later[8];
  put_be64(later, INT64_MAX / 2);
  plant(KV_COMMITS, slice_of(later, 8), slice_of(NULL, 0), buf_slice(&value), "newer than the newest");
  plant(KV_COMMITS, slice_of(later, 3), slice_of(NULL, 0), buf_slice(&value), "damaged key");
  buf_free(&key), buf_free(&value);
}
END_TEST

START_TEST(damage_of_branches_is_named) {
  uint32_t id, child;
  work_then_rest(5);
  ck_assert_int_eq(branch_create(e, "a", BRANCH_MAIN, 0, &id), HDB_OK);
  ck_assert_int_eq(branch_create(e, "b", id, 0, &child), HDB_OK);
  clean();
  kv_value v;
  char name[32];
  snprintf(name, sizeof name, "branch/%u", id);
  ck_assert_int_eq(kv_get(e->store, NULL, KV_META, slice_str(name), &v), HDB_OK);
  plant(KV_META, slice_str(name), v.data, slice_of(NULL, 0), "branch b has a parent that is not there");
  plant(KV_META, slice_str(name), v.data, slice_of("\x00", 1), "is damaged");
  plant(KV_META, slice_str(name), v.data, slice_of("\x00\x7f\x01zzz", 6), "begins after it was made");
  plant(KV_META, slice_str("delta/99/20"), slice_of(NULL, 0), slice_of("\x05", 1), "belongs to a branch that is not there");
  kv_release(&v);
}
END_TEST

START_TEST(every_stored_key_has_words) {
  stored *s;
  bool there;
  int n[KV_FAMILIES] = {0};
  work(60);
  ck_assert_int_eq(stored_open(e, -1, &s), HDB_OK);
  while (stored_next(s, &there) == HDB_OK && there) {
    n[engine_family(stored_family(s))]++;
    slice w = stored_words(s);
    ck_assert_uint_gt(w.n, 5);
    ck_assert_ptr_null(memmem(w.p, w.n, "damaged", 7));
  }
  stored_close(s);
  ck_assert_int_eq(n[KV_COMMITS], 60);
  ck_assert_int_gt(n[KV_ROWS], 3);
  ck_assert_int_gt(n[KV_VERSIONS], 10);
  ck_assert_int_gt(n[KV_META], 1);
  ck_assert_int_eq(engine_family("rows"), KV_ROWS);
  ck_assert_int_eq(engine_family("nosuch"), -1);
}
END_TEST

static void expect_refused(const char *name, slice value, const char *words) {
  error err = ERROR_INIT;
  engine_options options = {.retention = -1};
  put(KV_META, slice_str(name), value);
  engine_close(e);
  status rc = engine_open(path, &options, &e, &err);
  ck_assert_int_eq(rc, HDB_CANTOPEN);
  ck_assert_msg(strstr(err.message, words), "%s", err.message);
  error_clear(&err);
  kv_options o = {0};
  kv *store; /* nothing was written: the damage is still what it was */
  ck_assert_int_eq(kv_open(path, &o, &store, NULL), HDB_OK);
  kv_batch *b = kv_batch_new(store);
  kv_batch_delete(b, KV_META, slice_str(name));
  ck_assert_int_eq(kv_write(store, b, true), HDB_OK);
  kv_batch_free(b);
  ck_assert_int_eq(kv_close(store), HDB_OK);
  ck_assert_int_eq(engine_open(path, &options, &e, NULL), HDB_OK);
  clean();
}

START_TEST(a_newer_format_and_an_unknown_feature_are_refused) {
  work(10);
  expect_refused("format", slice_of("\x09", 1), "the database has format 9, this version reads up to");
  expect_refused("features", slice_str("time-machine"), "the database needs \"time-machine\", which this version does not know");
  put(KV_META, slice_str("features"), slice_str(""));
}
END_TEST

int main(void) {
  Suite *suite = suite_create("check");
  TCase *t = tcase_create("check");
  tcase_set_timeout(t, 120);
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_loop_test(t, a_store_is_clean_after_any_work, 0, 4);
  tcase_add_test(t, damage_of_groups_is_named);
  tcase_add_test(t, damage_of_history_is_named);
  tcase_add_test(t, damage_of_the_feed_is_named);
  tcase_add_test(t, damage_of_branches_is_named);
  tcase_add_test(t, every_stored_key_has_words);
  tcase_add_test(t, a_newer_format_and_an_unknown_feature_are_refused);
  suite_add_tcase(suite, t);
  SRunner *r = srunner_create(suite);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
