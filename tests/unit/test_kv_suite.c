/* One suite for every backend: what kv.h promises, checked against a model (a sorted array, snapshots are copies).
 * _i chooses the backend: 0 memory, 1 rocks. */
#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "kv/base/crypt.h"
#include "kv/fault.h"
#include "kv/kv.h"

enum { MEMORY, ROCKS, SEALED, BACKENDS };

/* An assertion for inner loops: Check's own writes to a pipe each time. */
#define must(condition)                                                                                                \
  do {                                                                                                                 \
    if (!(condition)) ck_abort_msg("%s", #condition);                                                                  \
  } while (0)

static uint64_t seed = 0x2545f4914f6cdd1dull;
static uint64_t rnd(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return seed;
}

/* ---- the store under test, in a directory that goes away ---- */

static char directory[128];
static crypt_key *key; /* of SEALED */

static void remove_directory(const char *path) {
  DIR *d = opendir(path);
  if (!d) return;
  for (struct dirent *e; (e = readdir(d));) {
    char name[512];
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    snprintf(name, sizeof name, "%s/%s", path, e->d_name);
    if (unlink(name) != 0) remove_directory(name);
  }
  closedir(d);
  rmdir(path);
}

static kv *open_again(int backend) {
  kv *store;
  error err = ERROR_INIT;
  if (backend == SEALED && !key) key = crypt_key_new();
  /* a small cache: iterators leave it alone after a kilobyte (R8 in rocks.c) */
  kv_options options = {.create = true, .log_bytes = 1 << 20, .cache_bytes = 8192, .key = backend == SEALED ? key : NULL};
  status rc = kv_open(backend == MEMORY ? NULL : directory, &options, &store, &err);
  ck_assert_msg(rc == HDB_OK, "%d %s", rc, err.message ? err.message : "");
  return store;
}

static kv *open_new(int backend) {
  seed = 0x2545f4914f6cdd1dull;
  const char *root = getenv("TMPDIR");
  snprintf(directory, sizeof directory, "%s/helios_kv_%d_XXXXXX", root ? root : "/tmp", (int)getpid());
  ck_assert_ptr_nonnull(mkdtemp(directory));
  return open_again(backend);
}

static void close_last(kv *store) {
  ck_assert_int_eq(kv_close(store), HDB_OK);
  remove_directory(directory);
}

/* ---- the model ---- */

typedef struct pair {
  uint8_t key[40], value[200];
  size_t key_n, value_n;
} pair;
typedef struct model {
  pair *pair;
  size_t n, capacity;
} model;

static slice pair_key(const pair *p) { return slice_of(p->key, p->key_n); }
static slice pair_value(const pair *p) { return slice_of(p->value, p->value_n); }

static size_t model_find(const model *m, slice key, bool *equal) {
  size_t low = 0, high = m->n;
  *equal = false;
  while (low < high) {
    size_t middle = (low + high) / 2;
    int c = slice_compare(pair_key(&m->pair[middle]), key);
    if (c == 0) *equal = true;
    if (c < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

static void model_put(model *m, slice key, slice value) {
  bool equal;
  size_t i = model_find(m, key, &equal);
  if (!equal) {
    if (m->n == m->capacity) {
      m->capacity = m->capacity ? m->capacity * 2 : 64;
      m->pair = realloc(m->pair, m->capacity * sizeof *m->pair);
    }
    memmove(m->pair + i + 1, m->pair + i, (m->n - i) * sizeof *m->pair);
    m->n++;
  }
  pair *p = &m->pair[i];
  p->key_n = key.n, p->value_n = value.n;
  if (key.n) memcpy(p->key, key.p, key.n);
  if (value.n) memcpy(p->value, value.p, value.n);
}

static void model_delete_range(model *m, slice from, slice to) {
  bool equal;
  size_t i = model_find(m, from, &equal), j = model_find(m, to, &equal);
  if (j <= i) return;
  memmove(m->pair + i, m->pair + j, (m->n - j) * sizeof *m->pair);
  m->n -= j - i;
}

static void model_delete(model *m, slice key) {
  bool equal;
  size_t i = model_find(m, key, &equal);
  if (!equal) return;
  memmove(m->pair + i, m->pair + i + 1, (m->n - i - 1) * sizeof *m->pair);
  m->n--;
}

static model model_copy(const model *m) {
  model c = {malloc((m->n + 1) * sizeof(pair)), m->n, m->n + 1};
  if (m->n) memcpy(c.pair, m->pair, m->n * sizeof(pair));
  return c;
}

/* Keys of three kinds: short with NULs and ff, long shared prefixes, and dense numbers. */
static slice random_key(uint8_t out[40]) {
  size_t n = 0;
  switch (rnd() % 4) {
  case 0:
    n = rnd() % 4;
    for (size_t i = 0; i < n; i++) out[i] = (uint8_t)("\0\x01" "a\xff"[rnd() % 4]);
    return slice_of(out, n);
  case 1:
    memcpy(out, "a prefix longer than any head, ", 31);
    n = 31 + rnd() % 4;
    for (size_t i = 31; i < n; i++) out[i] = (uint8_t)(rnd() % 5);
    return slice_of(out, n);
  default:
    put_be32(out, (uint32_t)(rnd() % 3));
    put_be64(out + 4, rnd() % 2000);
    return slice_of(out, 12);
  }
}

static slice random_value(uint8_t out[200]) {
  size_t n = rnd() % 200;
  for (size_t i = 0; i < n; i++) out[i] = (uint8_t)(n + i);
  return slice_of(out, n);
}

static void check_get(kv *store, const kv_snapshot *snapshot, enum kv_family family, const model *m, slice key) {
  kv_value v;
  bool equal;
  size_t i = model_find(m, key, &equal);
  status rc = kv_get(store, snapshot, family, key, &v);
  must((rc) == (equal ? HDB_OK : HDB_NOTFOUND));
  if (equal) must(slice_equal(v.data, pair_value(&m->pair[i])));
  kv_release(&v);
}

/* A random walk of an iterator with random bounds beside the model. */
static void check_walk(kv *store, const kv_snapshot *snapshot, enum kv_family family, const model *m, int steps) {
  uint8_t a[40], b[40], k[40];
  slice lower = rnd() % 2 ? random_key(a) : slice_of(NULL, 0), upper = rnd() % 2 ? random_key(b) : slice_of(NULL, 0);
  bool equal;
  size_t first = model_find(m, lower, &equal), end = upper.n ? model_find(m, upper, &equal) : m->n;
  if (end < first) end = first;
  kv_iter *it;
  must((kv_iter_open(store, snapshot, family, lower, upper, &it)) == (HDB_OK));
  must(!it->valid);
  size_t at = end;
  bool valid = false;
  while (steps-- > 0) {
    slice key = random_key(k);
    switch (rnd() % 8) {
    case 0:
      it->seek(it, key);
      at = model_find(m, key, &equal);
      if (at < first) at = first;
      valid = at < end;
      break;
    case 1:
      it->seek_for_prev(it, key);
      at = model_find(m, key, &equal) + equal;
      if (at > end) at = end;
      valid = at > first;
      at -= valid;
      break;
    case 2:
      if (rnd() % 2) {
        it->seek_last(it);
        valid = end > first;
        at = end - valid;
      } else {
        it->seek(it, slice_of(NULL, 0));
        valid = end > first;
        at = first;
      }
      break;
    case 3:
    case 4:
    case 5:
      it->next(it);
      if (valid) valid = ++at < end;
      break;
    default:
      it->prev(it);
      if (valid) valid = at-- > first;
    }
    must((it->error) == (HDB_OK));
    must((it->valid) == (valid));
    if (!valid) continue;
    must(slice_equal(it->key, pair_key(&m->pair[at])));
    must(slice_equal(it->value, pair_value(&m->pair[at])));
  }
  it->close(it);
}

static void check_all(kv *store, const kv_snapshot *snapshot, enum kv_family family, const model *m) {
  kv_iter *it;
  size_t i = 0;
  must((kv_iter_open(store, snapshot, family, slice_of(NULL, 0), slice_of(NULL, 0), &it)) == (HDB_OK));
  for (it->seek(it, slice_of(NULL, 0)); it->valid; it->next(it), i++) {
    must((i) < (m->n));
    must(slice_equal(it->key, pair_key(&m->pair[i])));
    must(slice_equal(it->value, pair_value(&m->pair[i])));
  }
  must((i) == (m->n));
  for (it->seek_last(it); it->valid; it->prev(it)) must(slice_equal(it->key, pair_key(&m->pair[--i])));
  must((i) == (0));
  it->close(it);
}

static enum kv_family some_family(void) {
  enum kv_family f = rnd() % 2 ? KV_ROWS : (enum kv_family)(rnd() % KV_FAMILIES);
  return f == KV_REDO ? KV_ROWS : f;
}

static void random_batch(kv_batch *batch, model *models, size_t operations) {
  uint8_t a[40], b[40], v[200];
  while (operations--) {
    enum kv_family family = some_family();
    model *m = &models[family];
    slice key = random_key(a), value = random_value(v);
    uint64_t what = rnd() % 100;
    if (what < 70) {
      kv_batch_put(batch, family, key, value);
      model_put(m, key, value);
    } else if (what < 99 || m->n == 0) {
      kv_batch_delete(batch, family, key);
      model_delete(m, key);
    } else {
      slice to = random_key(b);
      if (rnd() % 4) { /* mostly narrow ranges */
        key = pair_key(&m->pair[rnd() % m->n]);
        memcpy(b, key.p, key.n), b[key.n] = 0xff;
        to = slice_of(b, key.n + 1);
        memcpy(a, key.p, key.n), key.p = a;
      }
      if (to.n == 0) continue;
      kv_batch_delete_range(batch, family, key, to);
      model_delete_range(m, key, to);
    }
  }
}

enum { SNAPSHOTS = 5 };
typedef struct kept {
  kv_snapshot *snapshot;
  model models[KV_FAMILIES];
} kept;

static void kept_close(kv *store, kept *k) {
  if (!k->snapshot) return;
  for (int f = 0; f < KV_FAMILIES; f++) {
    check_all(store, k->snapshot, (enum kv_family)f, &k->models[f]);
    free(k->models[f].pair);
  }
  kv_snapshot_close(store, k->snapshot);
  k->snapshot = NULL;
}

START_TEST(random_operations_match_the_model) {
  kv *store = open_new(_i);
  kv_batch *batch = kv_batch_new(store);
  model models[KV_FAMILIES] = {0};
  kept snapshots[SNAPSHOTS] = {0};
  uint8_t k[40];
  for (int round = 0; round < (_i == MEMORY ? 6000 : 2000); round++) {
    if (round % 50 == 0) kv_fault_merge_after(round / 50 % 3 ? 1 + (int)(rnd() % 40) : 0);
    random_batch(batch, models, rnd() % 10 ? rnd() % 6 : rnd() % 120);
    ck_assert_int_eq(kv_write(store, batch, round % 100 == 0), HDB_OK);
    enum kv_family family = some_family();
    kept *s = &snapshots[rnd() % SNAPSHOTS];
    switch (rnd() % 12) {
    case 0:
      kept_close(store, s);
      s->snapshot = kv_snapshot_open(store);
      for (int f = 0; f < KV_FAMILIES; f++) s->models[f] = model_copy(&models[f]);
      break;
    case 1: kept_close(store, s); break;
    case 2: check_walk(store, NULL, family, &models[family], 60); break;
    case 3:
      if (s->snapshot) check_walk(store, s->snapshot, family, &s->models[family], 60);
      break;
    case 4:
      if (round % 5 == 0) check_all(store, NULL, family, &models[family]);
      break;
    case 5:
      if (round % 17 == 0 && _i != MEMORY) ck_assert_int_eq(kv_flush(store), HDB_OK);
      if (round % 31 == 0) ck_assert_int_eq(kv_compact(store, family, slice_of(NULL, 0), slice_of(NULL, 0)), HDB_OK);
      break;
    default:
      for (int i = 0; i < 4; i++) {
        check_get(store, NULL, family, &models[family], random_key(k));
        if (s->snapshot) check_get(store, s->snapshot, family, &s->models[family], random_key(k));
      }
    }
  }
  for (int i = 0; i < SNAPSHOTS; i++) kept_close(store, &snapshots[i]);
  kv_batch_free(batch);
  if (_i != MEMORY) {
    for (int again = 0; again < 2; again++) {
      ck_assert_int_eq(kv_close(store), HDB_OK);
      store = open_again(_i);
      for (int f = 0; f < KV_FAMILIES; f++) check_all(store, NULL, (enum kv_family)f, &models[f]);
    }
  }
  for (int f = 0; f < KV_FAMILIES; f++) free(models[f].pair);
  close_last(store);
}
END_TEST

START_TEST(many_keys_in_order_and_back_to_none) {
  kv *store = open_new(_i);
  kv_batch *batch = kv_batch_new(store);
  enum { KEYS = 50000 };
  uint8_t k[8], to[8];
  for (uint32_t pass = 0; pass < 3; pass++) {
    for (uint32_t i = 0; i < KEYS; i++) { /* ascending, descending, scattered */
      uint32_t n = pass == 0 ? i : pass == 1 ? KEYS - 1 - i : i * 48271u % KEYS;
      put_be64(k, n);
      kv_batch_put(batch, KV_INDEX, slice_of(k, 8), slice_of(k, n % 8));
      if (i % 1000 == 999) ck_assert_int_eq(kv_write(store, batch, false), HDB_OK);
    }
    kv_iter *it;
    uint32_t n = 0;
    ck_assert_int_eq(kv_iter_open(store, NULL, KV_INDEX, slice_of(NULL, 0), slice_of(NULL, 0), &it), HDB_OK);
    for (it->seek(it, slice_of(NULL, 0)); it->valid; it->next(it), n++) {
      if (pass < 2) must(get_be64(it->key.p) == n);
    }
    if (pass < 2) ck_assert_uint_eq(n, KEYS);
    it->close(it);
    ck_assert_uint_gt(kv_bytes(store, KV_INDEX), KEYS * 4);
    put_be64(k, 0), put_be64(to, KEYS);
    if (pass == 1) {
      for (uint32_t i = 0; i < KEYS; i++) {
        put_be64(k, i * 48271u % KEYS);
        kv_batch_delete(batch, KV_INDEX, slice_of(k, 8));
      }
    } else {
      kv_batch_delete_range(batch, KV_INDEX, slice_of(k, 8), slice_of(to, 8));
    }
    ck_assert_int_eq(kv_write(store, batch, false), HDB_OK);
    ck_assert_int_eq(kv_iter_open(store, NULL, KV_INDEX, slice_of(NULL, 0), slice_of(NULL, 0), &it), HDB_OK);
    it->seek(it, slice_of(NULL, 0));
    if (pass == 0) ck_assert(!it->valid);
    it->close(it);
    put_be64(to, UINT64_MAX);
    kv_batch_delete_range(batch, KV_INDEX, slice_of(k, 0), slice_of(to, 8));
    ck_assert_int_eq(kv_write(store, batch, false), HDB_OK);
  }
  kv_batch_free(batch);
  close_last(store);
}
END_TEST

START_TEST(a_pinned_value_outlives_its_key_and_snapshot) {
  kv *store = open_new(_i);
  kv_batch *batch = kv_batch_new(store);
  slice key = slice_str("k");
  kv_batch_put(batch, KV_ROWS, key, slice_str("first"));
  ck_assert_int_eq(kv_write(store, batch, false), HDB_OK);
  kv_snapshot *s = kv_snapshot_open(store);
  kv_value a, b;
  ck_assert_int_eq(kv_get(store, s, KV_ROWS, key, &a), HDB_OK);
  ck_assert_int_eq(kv_get(store, NULL, KV_ROWS, key, &b), HDB_OK);
  kv_batch_put(batch, KV_ROWS, key, slice_str("second"));
  ck_assert_int_eq(kv_write(store, batch, false), HDB_OK);
  kv_batch_delete(batch, KV_ROWS, key);
  ck_assert_int_eq(kv_write(store, batch, false), HDB_OK);
  kv_snapshot_close(store, s);
  ck_assert(slice_equal(a.data, slice_str("first")));
  ck_assert(slice_equal(b.data, slice_str("first")));
  kv_release(&a), kv_release(&b);
  kv_release(&b); /* again does nothing */
  kv_batch_free(batch);
  close_last(store);
}
END_TEST

START_TEST(an_iterator_over_the_newest_does_not_move_with_writes) {
  kv *store = open_new(_i);
  kv_batch *batch = kv_batch_new(store);
  char key[16];
  for (int i = 0; i < 500; i++) {
    snprintf(key, sizeof key, "%05d", i);
    kv_batch_put(batch, KV_META, slice_str(key), slice_str("old"));
  }
  ck_assert_int_eq(kv_write(store, batch, false), HDB_OK);
  kv_iter *it;
  ck_assert_int_eq(kv_iter_open(store, NULL, KV_META, slice_of(NULL, 0), slice_of(NULL, 0), &it), HDB_OK);
  it->seek(it, slice_of(NULL, 0));
  for (int i = 0; i < 500; i++) {
    ck_assert(it->valid);
    snprintf(key, sizeof key, "%05d", i);
    ck_assert(slice_equal(it->key, slice_str(key)));
    ck_assert(slice_equal(it->value, slice_str("old")));
    it->next(it);
    snprintf(key, sizeof key, "%05d", (i * 7 + 3) % 500);
    if (i % 3 == 0) kv_batch_delete(batch, KV_META, slice_str(key));
    else kv_batch_put(batch, KV_META, slice_str(key), slice_str("new"));
    snprintf(key, sizeof key, "%05dx", i);
    kv_batch_put(batch, KV_META, slice_str(key), slice_str("new"));
    ck_assert_int_eq(kv_write(store, batch, false), HDB_OK);
  }
  ck_assert(!it->valid);
  it->close(it);
  kv_batch_free(batch);
  close_last(store);
}
END_TEST

START_TEST(a_checkpoint_holds_what_the_store_held) {
  kv *store = open_new(_i);
  kv_batch *batch = kv_batch_new(store);
  model models[KV_FAMILIES] = {0};
  for (int i = 0; i < 50; i++) {
    random_batch(batch, models, 50);
    ck_assert_int_eq(kv_write(store, batch, false), HDB_OK);
  }
  char path[200];
  snprintf(path, sizeof path, "%s/copy", directory);
  ck_assert_int_eq(kv_checkpoint(store, path), HDB_OK);
  kv_batch_put(batch, KV_META, slice_str("later"), slice_str("x"));
  ck_assert_int_eq(kv_write(store, batch, false), HDB_OK);
  kv *copy;
  kv_options options = {.key = _i == SEALED ? key : NULL};
  ck_assert_int_eq(kv_open(path, &options, &copy, NULL), HDB_OK);
  for (int f = 0; f < KV_FAMILIES; f++) {
    check_all(copy, NULL, (enum kv_family)f, &models[f]);
    free(models[f].pair);
  }
  ck_assert_int_eq(kv_close(copy), HDB_OK);
  kv_batch_free(batch);
  close_last(store);
}
END_TEST

/* ---- threads ---- */

typedef struct shared {
  kv *store;
  int rounds;
  volatile bool done;
} shared;
enum { ACCOUNTS = 300 };

/* Every batch keeps the sum over all accounts: money moves between two of them. */
static void *move_money(void *argument) {
  shared *s = argument;
  kv_batch *batch = kv_batch_new(s->store);
  uint64_t x = 12345;
  for (int i = 0; i < s->rounds; i++) {
    x = x * 6364136223846793005ull + 1442695040888963407ull;
    uint32_t from = (uint32_t)(x >> 33) % ACCOUNTS, to = (uint32_t)(x >> 13) % ACCOUNTS;
    if (from == to) continue;
    uint8_t a[4], b[4], va[8], vb[8];
    kv_value v;
    put_be32(a, from), put_be32(b, to);
    uint64_t amounts[2] = {0, 0};
    if (kv_get(s->store, NULL, KV_ROWS, slice_of(a, 4), &v) == HDB_OK) amounts[0] = get_be64(v.data.p);
    kv_release(&v);
    if (kv_get(s->store, NULL, KV_ROWS, slice_of(b, 4), &v) == HDB_OK) amounts[1] = get_be64(v.data.p);
    kv_release(&v);
    put_be64(va, amounts[0] - 1), put_be64(vb, amounts[1] + 1);
    if (amounts[0] - 1 == 0) kv_batch_delete(batch, KV_ROWS, slice_of(a, 4));
    else kv_batch_put(batch, KV_ROWS, slice_of(a, 4), slice_of(va, 8));
    if (amounts[1] + 1 == 0) kv_batch_delete(batch, KV_ROWS, slice_of(b, 4));
    else kv_batch_put(batch, KV_ROWS, slice_of(b, 4), slice_of(vb, 8));
    if (kv_write(s->store, batch, false) != HDB_OK) abort();
  }
  kv_batch_free(batch);
  s->done = true;
  return NULL;
}

static uint64_t sum_of(kv *store, const kv_snapshot *snapshot) {
  uint64_t sum = 0;
  kv_iter *it;
  if (kv_iter_open(store, snapshot, KV_ROWS, slice_of(NULL, 0), slice_of(NULL, 0), &it) != HDB_OK) abort();
  for (it->seek(it, slice_of(NULL, 0)); it->valid; it->next(it)) sum += get_be64(it->value.p);
  it->close(it);
  return sum;
}

static void *read_sums(void *argument) {
  shared *s = argument;
  uintptr_t wrong = 0;
  for (int i = 0; i < s->rounds / 20 + 1; i++) {
    kv_snapshot *snapshot = kv_snapshot_open(s->store);
    uint64_t first = sum_of(s->store, snapshot);
    if (first != 0 || sum_of(s->store, snapshot) != first || sum_of(s->store, NULL) != 0) wrong++;
    kv_snapshot_close(s->store, snapshot);
  }
  return (void *)wrong;
}

START_TEST(readers_see_whole_batches_beside_a_writer) {
  kv *store = open_new(_i);
  shared s = {store, _i == MEMORY ? 20000 : 3000, false};
  pthread_t writer, readers[3];
  pthread_create(&writer, NULL, move_money, &s);
  for (int i = 0; i < 3; i++) pthread_create(&readers[i], NULL, read_sums, &s);
  for (int i = 0; i < 3; i++) {
    void *wrong;
    pthread_join(readers[i], &wrong);
    ck_assert_ptr_null(wrong);
  }
  pthread_join(writer, NULL);
  ck_assert_uint_eq(sum_of(store, NULL), 0);
  close_last(store);
}
END_TEST

static void *put_own_keys(void *argument) {
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  static uint32_t thread;
  shared *s = argument;
  pthread_mutex_lock(&mutex);
  uint32_t mine = thread++;
  pthread_mutex_unlock(&mutex);
  kv_batch *batch = kv_batch_new(s->store);
  for (int i = 0; i < s->rounds; i++) {
    uint8_t k[8];
    put_be32(k, (uint32_t)i), put_be32(k + 4, mine % 4);
    kv_batch_put(batch, KV_ROWS, slice_of(k, 8), slice_of(k, 8));
    if (kv_write(s->store, batch, false) != HDB_OK) abort();
  }
  kv_batch_free(batch);
  return NULL;
}

START_TEST(writers_from_several_threads_all_count) {
  kv *store = open_new(_i);
  shared s = {store, 2000, false};
  pthread_t writers[4];
  for (int i = 0; i < 4; i++) pthread_create(&writers[i], NULL, put_own_keys, &s);
  for (int i = 0; i < 4; i++) pthread_join(writers[i], NULL);
  kv_iter *it;
  int n = 0;
  ck_assert_int_eq(kv_iter_open(store, NULL, KV_ROWS, slice_of(NULL, 0), slice_of(NULL, 0), &it), HDB_OK);
  for (it->seek(it, slice_of(NULL, 0)); it->valid; it->next(it)) n++;
  it->close(it);
  ck_assert_int_eq(n, 8000);
  close_last(store);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("kv");
  TCase *t = tcase_create("kv");
  tcase_set_timeout(t, 300);
  tcase_add_loop_test(t, random_operations_match_the_model, 0, BACKENDS);
  tcase_add_loop_test(t, many_keys_in_order_and_back_to_none, 0, BACKENDS);
  tcase_add_loop_test(t, a_pinned_value_outlives_its_key_and_snapshot, 0, BACKENDS);
  tcase_add_loop_test(t, an_iterator_over_the_newest_does_not_move_with_writes, 0, BACKENDS);
  tcase_add_loop_test(t, a_checkpoint_holds_what_the_store_held, 0, BACKENDS);
  tcase_add_loop_test(t, readers_see_whole_batches_beside_a_writer, 0, BACKENDS);
  tcase_add_loop_test(t, writers_from_several_threads_all_count, 0, BACKENDS);
  suite_add_tcase(suite, t);
  SRunner *r = srunner_create(suite);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
