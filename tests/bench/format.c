/* How should rows and index entries lie under keys? A prototype over kv.h beside SQLite, one JSON line a figure.
 *
 *   bench_format [rows] [directory]      default 1000000, /tmp/helios_format
 *
 * Layouts of a table (tree id, then):
 *   row        row id -> record: a row a key
 *   shift      row id >> 4 -> group of up to 16 rows; found by a get
 *   range      lower bound -> group of about 1.5 KB; found by seek_for_prev; split at twice, joined with a neighbour
 *              when small. The first group's bound is empty; a bound stays when its first row goes.
 *   range_mem  the same with the bounds kept in memory: found by binary search and a get
 * Layouts of an index: single (an entry a key), packed (blocks of about 64 prefix-compressed entries, cut by range),
 * packed_mem (the blocks' bounds in memory).
 * History: a record a version, or neighbours in time packed into blocks of up to 4 KB.
 *
 * ns is CPU time of the thread (the machine may be shared), wall_ns the clock; both an operation or a row. It measures
 * the formats and kv, not the engine: no transactions, no SQL on our side.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kv/base/key.h"
#include "kv/base/record.h"
#include "kv/kv.h"

enum { GROUP_AIM = 1500, SHIFT = 4, INDEX_AIM = 64, GROUP_ROWS_MAX = 512, VERSIONS = 10, HISTORY_BLOCK = 4096 };
enum layout { ROW, BY_SHIFT, RANGE, RANGE_MEM, LAYOUTS };
static const char *const layout_names[] = {"row", "shift", "range", "range_mem"};

static int64_t rows = 1000000;
static char directory[200] = "/tmp/helios_format";
static kv *store;
static kv_batch *batch;
static uint64_t seed = 88172645463325252ull;
static volatile uint64_t sink;

static uint64_t rnd(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return seed;
}

static void must(bool ok, const char *what) {
  if (ok) return;
  fprintf(stderr, "failed: %s (%s)\n", what, kv_message());
  exit(1);
}

/* ---- time ---- */

typedef struct stopwatch {
  struct timespec cpu, wall;
} stopwatch;
static double seconds(struct timespec a, struct timespec b) {
  return (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
}
static stopwatch start(void) {
  stopwatch s;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &s.cpu);
  clock_gettime(CLOCK_MONOTONIC, &s.wall);
  return s;
}
static void report(stopwatch s, const char *what, const char *how, double operations) {
  stopwatch e = start();
  printf("{\"bench\":\"format\",\"case\":\"%s\",\"layout\":\"%s\",\"ns\":%.1f,\"wall_ns\":%.1f,\"n\":%.0f}\n", what, how,
         seconds(s.cpu, e.cpu) / operations * 1e9, seconds(s.wall, e.wall) / operations * 1e9, operations);
  fflush(stdout);
}
static void report_bytes(const char *what, const char *how, uint64_t bytes, double n) {
  printf("{\"bench\":\"format\",\"case\":\"%s\",\"layout\":\"%s\",\"bytes\":%.1f}\n", what, how, (double)bytes / n);
  fflush(stdout);
}

/* ---- rows ---- */

static record_writer writer = RECORD_WRITER_INIT;

/* About 100 bytes: a, b integers, c text of 60, d real. */
static slice make_row(int64_t id, int64_t a) {
  char text[64];
  memset(text, 'a' + (int)(a % 26), 60);
  record_begin(&writer);
  record_int(&writer, a);
  record_int(&writer, id * 7);
  record_text(&writer, text, 60);
  record_real(&writer, (double)id / 3);
  return record_end(&writer);
}
static int64_t column_a(slice record) {
  uint8_t type;
  slice payload;
  return record_column(record, 0, &type, &payload) ? record_get_int(type, payload.p) : 0;
}

/* ---- groups: time 8, n 2, n x (key end 4, value end 4), bytes ---- */

typedef struct group {
  int n;
  size_t bytes;
  slice key[GROUP_ROWS_MAX], value[GROUP_ROWS_MAX];
} group;
static group scratch_group;

static inline int group_count(slice g) { return g.p[8] | g.p[9] << 8; }
static inline void group_entry(slice g, int n, int i, slice *key, slice *value) {
  const uint8_t *ends = g.p + 10, *data = ends + 8 * (size_t)n;
  uint32_t from = 0, middle, end;
  if (i) memcpy(&from, ends + 8 * (size_t)i - 4, 4);
  memcpy(&middle, ends + 8 * (size_t)i, 4);
  memcpy(&end, ends + 8 * (size_t)i + 4, 4);
  *key = slice_of(data + from, middle - from);
  *value = slice_of(data + middle, end - middle);
}
static bool group_find(slice g, slice key, int *at, slice *value) {
  int n = group_count(g), low = 0, high = n;
  slice k;
  while (low < high) {
    int middle = (low + high) / 2;
    group_entry(g, n, middle, &k, value);
    int c = slice_compare(k, key);
    if (c == 0) {
      *at = middle;
      return true;
    }
    if (c < 0) low = middle + 1;
    else high = middle;
  }
  *at = low;
  return false;
}
static void group_open(slice g, group *out) {
  out->n = g.n ? group_count(g) : 0;
  out->bytes = 0;
  for (int i = 0; i < out->n; i++) {
    group_entry(g, out->n, i, &out->key[i], &out->value[i]);
    out->bytes += out->key[i].n + out->value[i].n + 8;
  }
}
static slice group_close(const group *g, int from, int to, buf *b) {
  buf_clear(b);
  uint8_t head[10] = {0};
  int n = to - from;
  head[8] = (uint8_t)n, head[9] = (uint8_t)(n >> 8);
  buf_append(b, head, 10);
  uint32_t at = 0;
  for (int i = from; i < to; i++) {
    uint32_t ends[2] = {at + (uint32_t)g->key[i].n, at + (uint32_t)(g->key[i].n + g->value[i].n)};
    at = ends[1];
    buf_append(b, ends, 8);
  }
  for (int i = from; i < to; i++) {
    buf_append(b, g->key[i].p, g->key[i].n);
    buf_append(b, g->value[i].p, g->value[i].n);
  }
  return buf_slice(b);
}
static void group_put(group *g, int at, bool found, slice key, slice value) {
  if (found) {
    g->bytes += value.n - g->value[at].n;
    g->value[at] = value;
    return;
  }
  memmove(g->key + at + 1, g->key + at, (size_t)(g->n - at) * sizeof *g->key);
  memmove(g->value + at + 1, g->value + at, (size_t)(g->n - at) * sizeof *g->value);
  g->key[at] = key, g->value[at] = value;
  g->bytes += key.n + value.n + 8;
  g->n++;
}
static void group_remove(group *g, int at) {
  g->bytes -= g->key[at].n + g->value[at].n + 8;
  g->n--;
  memmove(g->key + at, g->key + at + 1, (size_t)(g->n - at) * sizeof *g->key);
  memmove(g->value + at, g->value + at + 1, (size_t)(g->n - at) * sizeof *g->value);
}

/* ---- a table in one of the layouts ---- */

typedef struct table {
  enum layout layout;
  uint8_t prefix[4];
  buf *first; /* RANGE_MEM: first keys, in order */
  size_t firsts, capacity;
  kv_iter *it; /* reads: one iterator over one snapshot */
  kv_snapshot *snapshot;
  kv_value value;
} table;

static buf key_buf = BUF_INIT, close_buf = BUF_INIT, close_buf2 = BUF_INIT;

static slice full_key(const table *t, slice key) {
  buf_clear(&key_buf);
  buf_append(&key_buf, t->prefix, 4);
  if (t->layout == BY_SHIFT) buf_be64(&key_buf, get_be64(key.p) >> SHIFT);
  else buf_append(&key_buf, key.p, key.n);
  return buf_slice(&key_buf);
}
static void bounds(const table *t, uint8_t upper[4]) { put_be32(upper, get_be32(t->prefix) + 1); }

static kv_iter *open_iter(const table *t, const kv_snapshot *s) {
  uint8_t upper[4];
  kv_iter *it;
  bounds(t, upper);
  must(kv_iter_open(store, s, KV_ROWS, slice_of(t->prefix, 4), slice_of(upper, 4), &it) == HDB_OK, "iterator");
  return it;
}
static void reader_open(table *t) {
  t->snapshot = kv_snapshot_open(store);
  t->it = open_iter(t, t->snapshot);
}
static void reader_close(table *t) {
  t->it->close(t->it);
  kv_snapshot_close(store, t->snapshot);
}

/* RANGE_MEM: index of the last first key <= key, -1: none. */
static long firsts_find(const table *t, slice full) {
  long low = 0, high = (long)t->firsts;
  while (low < high) {
    long middle = (low + high) / 2;
    if (slice_compare(buf_slice(&t->first[middle]), full) <= 0) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
static void firsts_add(table *t, slice full) {
  long at = firsts_find(t, full) + 1;
  if (at && slice_equal(buf_slice(&t->first[at - 1]), full)) return;
  if (t->firsts == t->capacity) {
    t->capacity = t->capacity ? t->capacity * 2 : 1024;
    t->first = realloc(t->first, t->capacity * sizeof *t->first);
  }
  memmove(t->first + at + 1, t->first + at, (t->firsts - (size_t)at) * sizeof *t->first);
  t->first[at] = (buf)BUF_INIT;
  buf_append(&t->first[at], full.p, full.n);
  t->firsts++;
}
static void firsts_remove(table *t, slice full) {
  long at = firsts_find(t, full);
  if (at < 0 || !slice_equal(buf_slice(&t->first[at]), full)) return;
  buf_free(&t->first[at]);
  t->firsts--;
  memmove(t->first + at, t->first + at + 1, (t->firsts - (size_t)at) * sizeof *t->first);
}

/* A point read from the reader's snapshot. */
static bool table_read(table *t, slice key, slice *row) {
  slice full = full_key(t, key);
  int at;
  if (t->layout == RANGE) {
    t->it->seek_for_prev(t->it, full);
    return t->it->valid && group_find(t->it->value, key, &at, row);
  }
  kv_release(&t->value);
  if (t->layout == RANGE_MEM) {
    long i = firsts_find(t, full);
    if (i < 0) return false;
    full = buf_slice(&t->first[i]);
  }
  if (kv_get(store, t->snapshot, KV_ROWS, full, &t->value) != HDB_OK) return false;
  if (t->layout == ROW) *row = t->value.data;
  return t->layout == ROW || group_find(t->value.data, key, &at, row);
}

/* Finds the group that key belongs to, in the newest state: its full key (in `where`) and its bytes. */
static slice locate(table *t, slice key, buf *where, kv_iter **it, kv_value *v) {
  slice full = full_key(t, key), content = {0};
  *it = NULL;
  v->pin = NULL;
  buf_clear(where);
  buf_append(where, full.p, full.n);
  if (t->layout == RANGE) {
    *it = open_iter(t, NULL);
    (*it)->seek_for_prev(*it, full);
    if (!(*it)->valid) (*it)->seek(*it, slice_of(NULL, 0));
    if ((*it)->valid) {
      buf_clear(where);
      buf_append(where, (*it)->key.p, (*it)->key.n);
      content = (*it)->value;
    }
    return content;
  }
  if (t->layout == RANGE_MEM && t->firsts) {
    long i = firsts_find(t, full);
    if (i < 0) i = 0;
    buf_clear(where);
    buf_append(where, t->first[i].p, t->first[i].n);
  }
  if (kv_get(store, NULL, KV_ROWS, buf_slice(where), v) == HDB_OK) content = v->data;
  return content;
}

static void store_group(table *t, const buf *where, const group *g) {
  slice old = buf_slice(where);
  if (t->layout == BY_SHIFT) {
    if (g->n) kv_batch_put(batch, KV_ROWS, old, group_close(g, 0, g->n, &close_buf));
    else kv_batch_delete(batch, KV_ROWS, old);
    return;
  }
  bool first = old.n == 4;
  if (g->n == 0 && !first) {
    kv_batch_delete(batch, KV_ROWS, old);
    firsts_remove(t, old);
    return;
  }
  int cut = g->n;
  if (g->bytes > 2 * GROUP_AIM && g->n > 1) {
    size_t bytes = 0;
    for (cut = 0; bytes < g->bytes / 2; cut++) bytes += g->key[cut].n + g->value[cut].n + 8;
    if (cut == g->n) cut--;
    slice full = full_key(t, g->key[cut]);
    kv_batch_put(batch, KV_ROWS, full, group_close(g, cut, g->n, &close_buf2));
    if (t->layout == RANGE_MEM) firsts_add(t, full);
  }
  kv_batch_put(batch, KV_ROWS, old, group_close(g, 0, cut, &close_buf));
}

/* The group is small: takes in the next one, or goes into the one before, when that is small too. */
static void join(table *t, buf *where, group *g) {
  static buf left = BUF_INIT, right = BUF_INIT;
  if (g->bytes > GROUP_AIM / 4) return;
  uint8_t keys[64];
  kv_iter *it = open_iter(t, NULL);
  for (int side = 0; side < 2; side++) {
    it->seek(it, buf_slice(where));
    if (it->valid) side == 0 ? it->next(it) : it->prev(it);
    if (!it->valid || it->value.n + g->bytes > GROUP_AIM) continue;
    buf *copy = side == 0 ? &right : &left; /* g's slices stay where they are */
    buf_clear(copy);
    buf_append(copy, it->value.p, it->value.n);
    static group joined;
    if (side == 0) {
      group other;
      group_open(buf_slice(copy), &other);
      for (int i = 0; i < other.n; i++) group_put(g, g->n, false, other.key[i], other.value[i]);
      kv_batch_delete(batch, KV_ROWS, it->key);
      firsts_remove(t, it->key);
    } else {
      group_open(buf_slice(copy), &joined);
      for (int i = 0; i < g->n; i++) group_put(&joined, joined.n, false, g->key[i], g->value[i]);
      *g = joined;
      kv_batch_delete(batch, KV_ROWS, buf_slice(where));
      firsts_remove(t, buf_slice(where));
      memcpy(keys, it->key.p, it->key.n);
      slice k = slice_of(keys, it->key.n);
      buf_clear(where);
      buf_append(where, k.p, k.n);
    }
    break;
  }
  it->close(it);
}

/* One row changes (value.p NULL: goes); into the batch. history: the former row becomes a record. */
static void table_write(table *t, slice key, slice value, bool history) {
  static buf where = BUF_INIT, old = BUF_INIT;
  static uint64_t now = 1;
  kv_iter *it;
  kv_value v;
  if (t->layout == ROW) {
    slice full = full_key(t, key);
    if (history && kv_get(store, NULL, KV_ROWS, full, &v) == HDB_OK) {
      buf_clear(&old);
      buf_append(&old, full.p, full.n);
      buf_be64(&old, ~now++);
      kv_batch_put(batch, KV_VERSIONS, buf_slice(&old), v.data);
      kv_release(&v);
    }
    if (value.p) kv_batch_put(batch, KV_ROWS, full, value);
    else kv_batch_delete(batch, KV_ROWS, full);
    return;
  }
  slice content = locate(t, key, &where, &it, &v), before;
  int at = 0;
  bool found = content.n && group_find(content, key, &at, &before);
  if (history && found) {
    buf_clear(&old);
    buf_append(&old, where.p, where.n);
    buf_be64(&old, ~now++);
    buf_clear(&close_buf);
    buf_append(&close_buf, key.p, key.n);
    buf_append(&close_buf, before.p, before.n);
    kv_batch_put(batch, KV_VERSIONS, buf_slice(&old), buf_slice(&close_buf));
  }
  group_open(content, &scratch_group);
  if (value.p) group_put(&scratch_group, at, found, key, value);
  else if (found) group_remove(&scratch_group, at);
  if (!value.p && t->layout != BY_SHIFT) join(t, &where, &scratch_group);
  store_group(t, &where, &scratch_group);
  if (it) it->close(it);
  kv_release(&v);
}

static void commit(void) { must(kv_write(store, batch, false) == HDB_OK, "write"); }

/* Keys in order, groups built without a lookup. */
static void table_load(table *t, int64_t n, slice (*key_of)(int64_t i), int64_t (*id_of)(int64_t i)) {
  static uint8_t arena[1 << 20];
  group *g = &scratch_group;
  size_t used = 0;
  g->n = 0, g->bytes = 0;
  uint64_t shift_of = 0;
  bool first_group = true;
  for (int64_t i = 0; i <= n; i++) {
    slice key = i < n ? key_of(i) : slice_of(NULL, 0);
    bool flush = g->n && (i == n || (t->layout == BY_SHIFT ? get_be64(key.p) >> SHIFT != shift_of : g->bytes >= GROUP_AIM));
    if (flush) {
      slice full = full_key(t, g->key[0]);
      if (t->layout != BY_SHIFT && first_group) full = slice_of(t->prefix, 4);
      first_group = false;
      kv_batch_put(batch, KV_ROWS, full, group_close(g, 0, g->n, &close_buf));
      if (t->layout == RANGE_MEM) firsts_add(t, full);
      g->n = 0, g->bytes = 0, used = 0;
      if (kv_batch_bytes(batch) > 256 << 10) commit();
    }
    if (i == n) break;
    slice row = make_row(id_of(i), id_of(i) % 1000003);
    if (t->layout == ROW) {
      kv_batch_put(batch, KV_ROWS, full_key(t, key), row);
      if (kv_batch_bytes(batch) > 256 << 10) commit();
      continue;
    }
    if (t->layout == BY_SHIFT) shift_of = get_be64(key.p) >> SHIFT;
    memcpy(arena + used, key.p, key.n);
    memcpy(arena + used + key.n, row.p, row.n);
    group_put(g, g->n, false, slice_of(arena + used, key.n), slice_of(arena + used + key.n, row.n));
    used += key.n + row.n;
  }
  commit();
}

static int64_t table_scan(table *t) {
  int64_t n = 0;
  uint64_t sum = 0;
  kv_iter *it = open_iter(t, NULL);
  for (it->seek(it, slice_of(NULL, 0)); it->valid; it->next(it)) {
    if (t->layout == ROW) {
      sum += (uint64_t)column_a(it->value);
      n++;
      continue;
    }
    int count = group_count(it->value);
    for (int i = 0; i < count; i++) {
      slice key, row;
      group_entry(it->value, count, i, &key, &row);
      sum += (uint64_t)column_a(row);
    }
    n += count;
  }
  must(it->error == HDB_OK, "scan");
  it->close(it);
  sink += sum;
  return n;
}

/* ---- keys ---- */

static uint8_t key_bytes[32];
static slice dense_key(int64_t i) {
  rowid_encode(key_bytes, i + 1);
  return slice_of(key_bytes, 8);
}
static int64_t dense_id(int64_t i) { return i + 1; }
static int64_t *sparse;
static slice sparse_key(int64_t i) {
  rowid_encode(key_bytes, sparse[i]);
  return slice_of(key_bytes, 8);
}
static int64_t sparse_id(int64_t i) { return sparse[i] & 0xffffff; }
/* Texts of 20 bytes in order. */
static slice text_key(int64_t i) {
  char text[40];
  buf b = BUF_INIT;
  snprintf(text, sizeof text, "customer-%011lld", (long long)i * 37);
  key_put_text(&b, text, 20, KEY_BINARY, false);
  memcpy(key_bytes, b.p, b.n);
  slice s = slice_of(key_bytes, b.n);
  buf_free(&b);
  return s;
}
static int compare_ids(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* ---- indexes ---- */

enum index_layout { SINGLE, PACKED, PACKED_MEM };
static const char *const index_names[] = {"single", "packed", "packed_mem"};

/* Block: n 2, then entries: shared 1, rest 1, rest's bytes. Changed by splicing: only the neighbour is encoded anew. */
static const uint8_t index_prefix[4] = {0, 0, 0, 9}, index_end[4] = {0, 0, 0, 10};
static table index_bounds = {.layout = RANGE_MEM}; /* PACKED_MEM */

static slice entry_key(int64_t a, int64_t rowid, buf *b) {
  buf_clear(b);
  buf_append(b, index_prefix, 4);
  key_put_int(b, a, false);
  key_put_rowid(b, rowid);
  return buf_slice(b);
}
static kv_iter *index_iter(const kv_snapshot *s) {
  kv_iter *it;
  must(kv_iter_open(store, s, KV_INDEX, slice_of(index_prefix, 4), slice_of(index_end, 4), &it) == HDB_OK, "iterator");
  return it;
}

static void put_entry(buf *out, slice before, slice e) {
  size_t n = before.n < e.n ? before.n : e.n, shared = 0;
  while (shared < n && before.p[shared] == e.p[shared]) shared++;
  buf_byte(out, (uint8_t)shared), buf_byte(out, (uint8_t)(e.n - shared));
  buf_append(out, e.p + shared, e.n - shared);
}
/* Decodes the entry at p over `entry`, which holds the one before. */
static const uint8_t *next_entry(const uint8_t *p, uint8_t entry[256], size_t *n) {
  memcpy(entry + p[0], p + 2, p[1]);
  *n = (size_t)p[0] + p[1];
  return p + 2 + p[1];
}

static void splice(slice block, slice e, bool add, buf *out) {
  const uint8_t *p = block.p + 2, *end = block.p + block.n;
  uint8_t before[256], entry[256];
  size_t before_n = 0, entry_n = 0;
  int count = block.n ? block.p[0] | block.p[1] << 8 : 0, c = 1;
  const uint8_t *next = p;
  while (block.n && p < end) {
    next = next_entry(p, entry, &entry_n);
    if ((c = slice_compare(slice_of(entry, entry_n), e)) >= 0) break;
    memcpy(before, entry, entry_n);
    before_n = entry_n;
    p = next;
  }
  bool more = block.n && p < end;
  buf_clear(out);
  if (add == (more && c == 0)) { /* nothing to do: there already, or not there */
    buf_append(out, block.p, block.n);
    return;
  }
  count += add ? 1 : -1;
  buf_byte(out, (uint8_t)count), buf_byte(out, (uint8_t)(count >> 8));
  if (block.n) buf_append(out, block.p + 2, (size_t)(p - block.p) - 2);
  slice left = slice_of(before, before_n);
  if (add) {
    put_entry(out, left, e);
    left = e;
  } else { /* the entry at p goes; the one behind it is encoded anew */
    p = next;
    more = p < end;
    if (more) next = next_entry(p, entry, &entry_n);
  }
  if (more) {
    put_entry(out, left, slice_of(entry, entry_n));
    buf_append(out, next, (size_t)(end - next));
  }
}

/* Stores a block, cut in two when large. */
static void put_block(enum index_layout layout, slice bound, slice block) {
  static buf half = BUF_INIT, key = BUF_INIT;
  int count = block.p[0] | block.p[1] << 8;
  if (count == 0 && bound.n > 4) {
    kv_batch_delete(batch, KV_INDEX, bound);
    if (layout == PACKED_MEM) firsts_remove(&index_bounds, bound);
    return;
  }
  if (count <= 2 * INDEX_AIM) {
    kv_batch_put(batch, KV_INDEX, bound, block);
    return;
  }
  const uint8_t *p = block.p + 2, *end = block.p + block.n;
  uint8_t entry[256];
  size_t n = 0;
  for (int i = 0; i < count / 2; i++) p = next_entry(p, entry, &n);
  size_t left = (size_t)(p - block.p);
  p = next_entry(p, entry, &n);
  buf_clear(&half);
  buf_byte(&half, (uint8_t)(count - count / 2)), buf_byte(&half, 0);
  put_entry(&half, slice_of(NULL, 0), slice_of(entry, n));
  buf_append(&half, p, (size_t)(end - p));
  buf_clear(&key);
  buf_append(&key, index_prefix, 4);
  buf_append(&key, entry, n);
  kv_batch_put(batch, KV_INDEX, buf_slice(&key), buf_slice(&half));
  if (layout == PACKED_MEM) firsts_add(&index_bounds, buf_slice(&key));
  uint8_t *head = (uint8_t *)(uintptr_t)block.p;
  head[0] = (uint8_t)(count / 2), head[1] = 0;
  kv_batch_put(batch, KV_INDEX, bound, slice_of(block.p, left));
}

static void packed_change(enum index_layout layout, slice entry, bool add) {
  static buf out = BUF_INIT, bound = BUF_INIT;
  kv_iter *it = NULL;
  kv_value v = {.pin = NULL};
  slice block = {0};
  buf_clear(&bound);
  if (layout == PACKED) {
    it = index_iter(NULL);
    it->seek_for_prev(it, entry);
    must(it->valid, "a block");
    buf_append(&bound, it->key.p, it->key.n);
    block = it->value;
  } else {
    const buf *b = &index_bounds.first[firsts_find(&index_bounds, entry)];
    buf_append(&bound, b->p, b->n);
    must(kv_get(store, NULL, KV_INDEX, buf_slice(&bound), &v) == HDB_OK, "a block");
    block = v.data;
  }
  splice(block, slice_of(entry.p + 4, entry.n - 4), add, &out);
  put_block(layout, buf_slice(&bound), buf_slice(&out));
  if (it) it->close(it);
  kv_release(&v);
}
static void index_change(enum index_layout layout, slice entry, bool add) {
  if (layout != SINGLE) packed_change(layout, entry, add);
  else if (add) kv_batch_put(batch, KV_INDEX, entry, slice_of(NULL, 0));
  else kv_batch_delete(batch, KV_INDEX, entry);
}

static void index_load(enum index_layout layout, int64_t n) {
  static buf key = BUF_INIT, out = BUF_INIT, first = BUF_INIT, last = BUF_INIT;
  int count = 0;
  buf_clear(&first);
  buf_append(&first, index_prefix, 4);
  for (int64_t i = 0; i < n; i++) { /* a = i / 3: three rows a value */
    slice e = entry_key(i / 3, i + 1, &key), bare = slice_of(e.p + 4, e.n - 4);
    if (layout == SINGLE) {
      kv_batch_put(batch, KV_INDEX, e, slice_of(NULL, 0));
    } else {
      if (count == 0) {
        buf_clear(&out), buf_clear(&last);
        buf_append(&out, "\0\0", 2);
        if (i) buf_clear(&first), buf_append(&first, e.p, e.n);
        if (layout == PACKED_MEM) firsts_add(&index_bounds, buf_slice(&first));
      }
      put_entry(&out, buf_slice(&last), bare);
      buf_clear(&last);
      buf_append(&last, bare.p, bare.n);
      if (++count == INDEX_AIM || i + 1 == n) {
        out.p[0] = (uint8_t)count;
        kv_batch_put(batch, KV_INDEX, buf_slice(&first), buf_slice(&out));
        count = 0;
      }
    }
    if (kv_batch_bytes(batch) > 256 << 10) commit();
  }
  commit();
}

/* Entries with lower <= key < upper; decodes each entry's bytes. */
static int64_t index_count(enum index_layout layout, kv_iter *it, slice lower, slice upper) {
  int64_t n = 0;
  uint8_t entry[40];
  if (layout == SINGLE) {
    for (it->seek(it, lower); it->valid && (!upper.n || slice_compare(it->key, upper) < 0); it->next(it)) {
      sink += it->key.p[it->key.n - 1];
      n++;
    }
    return n;
  }
  if (lower.n) it->seek_for_prev(it, lower);
  if (!lower.n || !it->valid) it->seek(it, slice_of(NULL, 0));
  slice low = lower.n ? slice_of(lower.p + 4, lower.n - 4) : lower, high = upper.n ? slice_of(upper.p + 4, upper.n - 4) : upper;
  for (; it->valid; it->next(it)) {
    const uint8_t *p = it->value.p + 2;
    int count = it->value.p[0] | it->value.p[1] << 8;
    for (int i = 0; i < count; i++) {
      size_t length = (size_t)p[0] + p[1];
      memcpy(entry + p[0], p + 2, p[1]);
      p += 2 + p[1];
      if (low.n && slice_compare(slice_of(entry, length), low) < 0) continue;
      if (high.n && slice_compare(slice_of(entry, length), high) >= 0) return n;
      sink += entry[length - 1];
      n++;
    }
  }
  return n;
}

/* ---- the store ---- */

static void remove_store(void) {
  char command[300];
  snprintf(command, sizeof command, "rm -rf '%s'", directory);
  must(system(command) == 0, "rm");
}
static void open_store(void) {
  remove_store();
  mkdir(directory, 0777);
  char path[300];
  snprintf(path, sizeof path, "%s/kv", directory);
  kv_options o = {.create = true, .cache_bytes = 256 << 20};
  must(kv_open(path, &o, &store, NULL) == HDB_OK, "open");
  batch = kv_batch_new(store);
}
static void close_store(void) {
  kv_batch_free(batch);
  must(kv_close(store) == HDB_OK, "close");
  remove_store();
}
static void settle(void) {
  must(kv_flush(store) == HDB_OK, "flush");
  for (int f = KV_ROWS; f <= KV_VERSIONS; f++) kv_compact(store, (enum kv_family)f, slice_of(NULL, 0), slice_of(NULL, 0));
}

static void point_reads(table *t, const char *what, int64_t n, slice (*key_of)(int64_t), int64_t operations) {
  slice row = {0};
  reader_open(t);
  for (int pass = 0; pass < 2; pass++) { /* the first fills the block cache */
    stopwatch s = start();
    for (int64_t i = 0; i < operations; i++) {
      must(table_read(t, key_of((int64_t)(rnd() % (uint64_t)n)), &row), "point read");
      sink += (uint64_t)column_a(row);
    }
    if (pass) report(s, what, layout_names[t->layout], (double)operations);
  }
  kv_release(&t->value);
  reader_close(t);
}

static void single_commits(table *t, const char *what, int64_t n, bool history, int index, int64_t operations) {
  static buf old = BUF_INIT, new = BUF_INIT;
  int64_t *moved = NULL;
  if (index >= 0) {
    moved = malloc((size_t)n * sizeof *moved);
    for (int64_t i = 0; i < n; i++) moved[i] = -1;
  }
  stopwatch s = start();
  for (int64_t i = 0; i < operations; i++) {
    int64_t id = (int64_t)(rnd() % (uint64_t)n);
    slice key = dense_key(id);
    table_write(t, key, make_row(id + 1, (int64_t)(rnd() % 1000003)), history);
    if (index >= 0) { /* the entry moves */
      int64_t a = (int64_t)(rnd() % (uint64_t)n) / 3;
      index_change((enum index_layout)index, entry_key(moved[id] < 0 ? id / 3 : moved[id], id + 1, &old), false);
      index_change((enum index_layout)index, entry_key(a, id + 1, &new), true);
      moved[id] = a;
    }
    commit();
  }
  report(s, what, layout_names[t->layout], (double)operations);
  free(moved);
}

static void dense_table(enum layout layout) {
  open_store();
  table t = {.layout = layout, .prefix = {0, 0, 0, 16}};
  const char *name = layout_names[layout];
  stopwatch s = start();
  table_load(&t, rows, dense_key, dense_id);
  report(s, "bulk_load", name, (double)rows);
  settle();
  report_bytes("bytes_a_row", name, kv_bytes(store, KV_ROWS), (double)rows);
  for (int pass = 0; pass < 2; pass++) {
    s = start();
    must(table_scan(&t) == rows, "scan");
    if (pass) report(s, "scan", name, (double)rows);
  }
  point_reads(&t, "point_read", rows, dense_key, rows / 5);
  single_commits(&t, "commit_update", rows, false, -1, rows / 20);
  single_commits(&t, "commit_update_history", rows, true, -1, rows / 20);
  s = start();
  table_scan(&t);
  report(s, "scan_after_scattered_updates", name, (double)rows);
  uint64_t state = seed;
  s = start();
  int64_t left = 0;
  for (int64_t i = 0; i < rows; i++) {
    if (rnd() % 10 == 0) {
      left++;
      continue;
    }
    table_write(&t, dense_key(i), slice_of(NULL, 0), false);
    commit();
  }
  report(s, "delete_nine_of_ten_single", name, (double)(rows - left));
  seed = state;
  settle();
  s = start();
  must(table_scan(&t) == left, "scan of the rest");
  report(s, "scan_nine_of_ten_deleted", name, (double)left);
  report_bytes("bytes_a_row_nine_of_ten_deleted", name, kv_bytes(store, KV_ROWS), (double)left);
  for (size_t i = 0; i < t.firsts; i++) buf_free(&t.first[i]);
  free(t.first);
  close_store();
}

static void sparse_table(enum layout layout) {
  open_store();
  int64_t n = rows / 4;
  sparse = malloc((size_t)n * sizeof *sparse);
  for (int64_t i = 0; i < n; i++) sparse[i] = (int64_t)(rnd() >> 1);
  qsort(sparse, (size_t)n, sizeof *sparse, compare_ids);
  table t = {.layout = layout, .prefix = {0, 0, 0, 16}};
  stopwatch s = start();
  table_load(&t, n, sparse_key, sparse_id);
  report(s, "random_ids_bulk_load", layout_names[layout], (double)n);
  settle();
  report_bytes("random_ids_bytes_a_row", layout_names[layout], kv_bytes(store, KV_ROWS), (double)n);
  for (int pass = 0; pass < 2; pass++) {
    s = start();
    must(table_scan(&t) == n, "scan");
    if (pass) report(s, "random_ids_scan", layout_names[layout], (double)n);
  }
  point_reads(&t, "random_ids_point_read", n, sparse_key, n / 2);
  s = start();
  for (int64_t i = 0; i < n / 10; i++) {
    rowid_encode(key_bytes, (int64_t)(rnd() >> 1));
    table_write(&t, slice_of(key_bytes, 8), make_row(i, i), false);
    commit();
  }
  report(s, "random_ids_commit_insert", layout_names[layout], (double)(n / 10));
  for (size_t i = 0; i < t.firsts; i++) buf_free(&t.first[i]);
  free(t.first);
  free(sparse);
  close_store();
}

static void text_table(enum layout layout) {
  open_store();
  int64_t n = rows / 4;
  table t = {.layout = layout, .prefix = {0, 0, 0, 16}};
  stopwatch s = start();
  table_load(&t, n, text_key, dense_id);
  report(s, "text_key_bulk_load", layout_names[layout], (double)n);
  settle();
  for (int pass = 0; pass < 2; pass++) {
    s = start();
    must(table_scan(&t) == n, "scan");
    if (pass) report(s, "text_key_scan", layout_names[layout], (double)n);
  }
  point_reads(&t, "text_key_point_read", n, text_key, n / 2);
  s = start();
  for (int64_t i = 0; i < n / 10; i++) {
    table_write(&t, text_key((int64_t)(rnd() % (uint64_t)n)), make_row(i, i), false);
    commit();
  }
  report(s, "text_key_commit_update", layout_names[layout], (double)(n / 10));
  for (size_t i = 0; i < t.firsts; i++) buf_free(&t.first[i]);
  free(t.first);
  close_store();
}

static void index_cases(enum index_layout layout) {
  open_store();
  const char *name = index_names[layout];
  static buf low = BUF_INIT, high = BUF_INIT;
  stopwatch s = start();
  index_load(layout, rows);
  report(s, "index_bulk_load", name, (double)rows);
  settle();
  report_bytes("index_bytes_an_entry", name, kv_bytes(store, KV_INDEX), (double)rows);
  kv_snapshot *snapshot = kv_snapshot_open(store);
  kv_iter *it = index_iter(snapshot);
  for (int pass = 0; pass < 2; pass++) {
    s = start();
    must(index_count(layout, it, slice_of(NULL, 0), slice_of(NULL, 0)) == rows, "count");
    if (pass) report(s, "index_covering_count", name, (double)rows);
  }
  static const int widths[] = {1, 100};
  for (int w = 0; w < 2; w++) {
    int64_t operations = rows / (widths[w] == 1 ? 10 : 200);
    s = start();
    for (int64_t i = 0; i < operations; i++) {
      int64_t a = (int64_t)(rnd() % (uint64_t)(rows / 3 - widths[w]));
      slice lower = entry_key(a, INT64_MIN, &low), upper = entry_key(a + widths[w], INT64_MIN, &high);
      must(index_count(layout, it, lower, upper) == 3 * widths[w], "range");
    }
    report(s, widths[w] == 1 ? "index_range_3_entries" : "index_range_300_entries", name, (double)operations);
  }
  it->close(it);
  kv_snapshot_close(store, snapshot);
  table t = {.layout = layout == PACKED_MEM ? RANGE_MEM : RANGE, .prefix = {0, 0, 0, 16}};
  table_load(&t, rows, dense_key, dense_id);
  settle();
  static const char *const names[] = {"commit_update_index_single", "commit_update_index_packed",
                                      "commit_update_index_packed_mem"};
  single_commits(&t, names[layout], rows, false, layout, rows / 20);
  for (size_t i = 0; i < index_bounds.firsts; i++) buf_free(&index_bounds.first[i]);
  index_bounds.firsts = 0;
  for (size_t i = 0; i < t.firsts; i++) buf_free(&t.first[i]);
  free(t.first);
  close_store();
}

/* ---- AS OF: every row has VERSIONS versions; read the oldest ---- */

/* Packs each group's records into blocks of up to HISTORY_BLOCK bytes: key of the newest in it; value: n x (length 2,
 * key 8 + row), newest first. */
static void pack_history(void) {
  static buf block_key = BUF_INIT, block_bytes = BUF_INIT;
  kv_iter *it;
  must(kv_iter_open(store, NULL, KV_VERSIONS, slice_of(NULL, 0), slice_of(NULL, 0), &it) == HDB_OK, "iterator");
  buf_clear(&block_bytes);
  for (it->seek(it, slice_of(NULL, 0));; it->next(it)) {
    bool same = it->valid && block_bytes.n && it->key.n == block_key.n && memcmp(it->key.p, block_key.p, it->key.n - 8) == 0;
    if (block_bytes.n && (!same || block_bytes.n + it->value.n > HISTORY_BLOCK)) {
      kv_batch_put(batch, KV_HNSW, buf_slice(&block_key), buf_slice(&block_bytes));
      if (kv_batch_bytes(batch) > 256 << 10) commit();
      buf_clear(&block_bytes);
    }
    if (!it->valid) break;
    if (block_bytes.n == 0) buf_clear(&block_key), buf_append(&block_key, it->key.p, it->key.n);
    uint8_t length[2] = {(uint8_t)it->value.n, (uint8_t)(it->value.n >> 8)};
    buf_append(&block_bytes, length, 2);
    buf_append(&block_bytes, it->value.p, it->value.n);
  }
  it->close(it);
  commit();
}

static void undo(slice change, group *g, slice shown[], const slice keys[]) {
  slice id = slice_of(change.p, 8);
  int low = 0, high = g->n;
  while (low < high) {
    int middle = (low + high) / 2;
    if (slice_compare(keys[middle], id) < 0) low = middle + 1;
    else high = middle;
  }
  shown[low] = slice_of(change.p + 8, change.n - 8);
}

static int64_t scan_as_of(table *t, bool packed) {
  static uint8_t history[1 << 20];
  kv_iter *it = open_iter(t, NULL), *past;
  int64_t n = 0;
  must(kv_iter_open(store, NULL, packed ? KV_HNSW : KV_VERSIONS, slice_of(NULL, 0), slice_of(NULL, 0), &past) == HDB_OK, "");
  past->seek(past, slice_of(NULL, 0));
  for (it->seek(it, slice_of(NULL, 0)); it->valid; it->next(it)) {
    group *g = &scratch_group;
    size_t used = 0;
    group_open(it->value, g);
    while (past->valid && past->key.n == it->key.n + 8 && memcmp(past->key.p, it->key.p, it->key.n) == 0) {
      memcpy(history + used, past->value.p, past->value.n);
      slice v = slice_of(history + used, past->value.n);
      used += v.n;
      if (!packed) {
        undo(v, g, g->value, g->key);
      } else {
        for (const uint8_t *p = v.p; p < v.p + v.n;) {
          size_t length = p[0] | (size_t)p[1] << 8;
          undo(slice_of(p + 2, length), g, g->value, g->key);
          p += 2 + length;
        }
      }
      past->next(past);
    }
    for (int i = 0; i < g->n; i++) sink += (uint64_t)column_a(g->value[i]);
    n += g->n;
  }
  it->close(it);
  past->close(past);
  return n;
}

static void history_cases(void) {
  open_store();
  int64_t n = rows / 20;
  table t = {.layout = BY_SHIFT, .prefix = {0, 0, 0, 16}};
  table_load(&t, n, dense_key, dense_id);
  for (int64_t i = 0; i < n * VERSIONS; i++) {
    int64_t id = (int64_t)(rnd() % (uint64_t)n);
    table_write(&t, dense_key(id), make_row(id + 1, (int64_t)(rnd() % 1000003)), true);
    commit();
  }
  settle();
  stopwatch s = start();
  must(table_scan(&t) == n, "scan");
  report(s, "scan_now_10_versions", "groups", (double)n);
  for (int pass = 0; pass < 2; pass++) {
    s = start();
    must(scan_as_of(&t, false) == n, "as of");
    if (pass) report(s, "scan_as_of_10_versions", "record_a_version", (double)n);
  }
  report_bytes("history_bytes_a_version", "record_a_version", kv_bytes(store, KV_VERSIONS), (double)(n * VERSIONS));
  s = start();
  pack_history();
  report(s, "pack_history", "packed", (double)(n * VERSIONS));
  settle();
  kv_compact(store, KV_HNSW, slice_of(NULL, 0), slice_of(NULL, 0));
  for (int pass = 0; pass < 2; pass++) {
    s = start();
    must(scan_as_of(&t, true) == n, "as of");
    if (pass) report(s, "scan_as_of_10_versions", "packed", (double)n);
  }
  report_bytes("history_bytes_a_version", "packed", kv_bytes(store, KV_HNSW), (double)(n * VERSIONS));
  close_store();
}

#include "tests/bench/format_sqlite.h"

int main(int argc, char **argv) {
  if (argc > 1) rows = atoll(argv[1]);
  if (argc > 2) snprintf(directory, sizeof directory, "%s/helios_format", argv[2]);
  must(rows >= 10000, "at least 10000 rows");
  for (enum layout l = 0; l < LAYOUTS; l++) dense_table(l);
  for (enum layout l = 0; l < LAYOUTS; l++) sparse_table(l);
  for (enum layout l = 0; l < LAYOUTS; l++)
    if (l != BY_SHIFT) text_table(l);
  index_cases(SINGLE);
  index_cases(PACKED);
  index_cases(PACKED_MEM);
  history_cases();
  sqlite_integer_table();
  sqlite_text_table();
  return 0;
}
