/* Packing: the records that commits leave under a group's bound become blocks (version.c has their bytes).
 *
 * A commit writes one small record a group, as cheap as it gets. Read one by one they cost an iterator's step each, and
 * most of their bytes say what the record before said too. So now and then a bound's records are read, sorted by row, and
 * written as blocks of about 4 KB: each row's key once, its versions behind it, newest first.
 * A bound is asked for by the commit whose record makes the group's history pass a multiple of PACK_WEIGHT, and by
 * readers who had to step over many records. A thread of its own does it, started when there is enough to do.
 *
 * K1  A batch puts the blocks and deletes what they replace: whoever looks sees the ones or the others.
 * K2  Commit times of one bound's blocks do not overlap; records of commits later than the packing lie above them.
 * K3  The newest block is taken in again while it is small, so a version is rewritten about twice.
 * K4  A request that is lost (the queue is full, the process ends) costs speed only: the next one does the work.
 * K5  work_lock is held while a bound is packed: who removes a range of history for good takes it (engine_erase).
 * K6  A block's `open` is more than that of the one before it in time, or it begins a new stretch: what a chapter covers is
 *     blocks in a row. Every so many bytes the newest one gets a chapter (chapter.c).
 * Cost: about 1 us a version, in the background.
 */
#include <stdlib.h>

#include "kv/base/record.h"
#include "mvcc/internal.h"
#include "mvcc/pack.h"

enum {
  QUEUE_MAX = 8192, /* bounds that wait */
  START_AT = 16,    /* ... before a thread is started for them */
  BLOCK_AIM = 4096,
  RECORDS_MIN = 4,       /* fewer are not worth it */
  CHUNK_BYTES = 1 << 20, /* read at a time */
  CHAPTER_BYTES = 32768, /* of blocks, after which one gets a chapter */
  FORMAT_BLOCKS = 2      /* meta's `format` from the first block on */
};

typedef struct item {
  struct item *next;
  size_t n;
  uint8_t place[]; /* tree . bound in chunks */
} item;

struct packing {
  pthread_mutex_t lock, work_lock;
  pthread_cond_t idle;
  item *first, **last;
  size_t waiting, wanted;
  size_t block_aim, chapter_bytes; /* tests make them smaller */
  bool running, closing, resting;
  atomic_int
      told; /* (not a byte: the compiler reads those above together) meta knows that there are blocks, and that they have chapters */
};

status packing_new(packing **out) {
  packing *p = *out = calloc(1, sizeof *p);
  if (!p) return HDB_NOMEM;
  pthread_mutex_init(&p->lock, NULL);
  pthread_mutex_init(&p->work_lock, NULL);
  pthread_cond_init(&p->idle, NULL);
  p->last = &p->first;
  p->block_aim = BLOCK_AIM, p->chapter_bytes = CHAPTER_BYTES;
  return HDB_OK;
}

void packing_free(packing *p) {
  if (!p) return;
  for (item *i = p->first, *next; i; i = next) next = i->next, free(i);
  pthread_mutex_destroy(&p->lock);
  pthread_mutex_destroy(&p->work_lock);
  pthread_cond_destroy(&p->idle);
  free(p);
}

/* ---- reading what there is ---- */

static status take_version(void *context, slice key, const undo_version *v, bool *skip) {
  pack_work *w = context;
  if (w->n == w->capacity) {
    size_t capacity = w->capacity ? 2 * w->capacity : 256;
    pack_entry *entries = realloc(w->entries, capacity * sizeof *entries);
    if (!entries) return HDB_NOMEM;
    w->entries = entries, w->capacity = capacity;
  }
  uint8_t *copy = arena_copy(&w->memory, key.n ? key.p : (const uint8_t *)"", key.n);
  if (!copy) return HDB_NOMEM;
  w->entries[w->n++] = (pack_entry){slice_of(copy, key.n), *v};
  return HDB_OK;
}

status pack_take(pack_work *w, int64_t time, slice value) {
  uint8_t *copy = arena_alloc(&w->memory, value.n + 1);
  if (!copy) return HDB_NOMEM;
  if (value.n) memcpy(copy, value.p, value.n);
  return version_each(&w->key, time, slice_of(copy, value.n), take_version, w);
}

static status take_record(pack_work *w, const kv_iter *it) {
  w->records++, w->bytes += it->value.n;
  kv_batch_delete(w->batch, KV_VERSIONS, it->key);
  return pack_take(w, version_time(it->key), it->value);
}

/* ---- writing blocks ---- */

static int by_time(const void *a, const void *b) {
  const pack_entry *x = a, *y = b;
  if (x->v.time != y->v.time) return x->v.time < y->v.time ? -1 : 1;
  return slice_compare(x->key, y->key);
}

static int by_key_newest_first(const void *a, const void *b) {
  const pack_entry *x = a, *y = b;
  int c = slice_compare(x->key, y->key);
  return c ? c : (x->v.time < y->v.time) - (x->v.time > y->v.time);
}

/* The chapter for the block of entries [from, to), bytes long, when it is due. */
static status put_chapter(pack_work *w, size_t from, size_t to, size_t bytes, block_head *h) {
  int64_t newest = w->entries[to - 1].v.time;
  size_t n = 0, all = w->covered_end - w->covered + to - w->covered_from;
  bool done;
  h->open = w->open += bytes;
  if (!w->chapters || h->open < w->e->packing->chapter_bytes) return HDB_OK;
  pack_entry **list = malloc(all * sizeof *list);
  if (!list) return HDB_NOMEM;
  for (size_t i = w->covered; i < w->covered_end; i++) list[n++] = &w->entries[i];
  for (size_t i = w->covered_from; i < to; i++) list[n++] = &w->entries[i];
  h->covers = newest;
  for (size_t i = 0; i < n; i++)
    if (list[i]->v.time < h->covers) h->covers = list[i]->v.time;
  status rc = chapter_make(list, n, newest, &w->chapter, &done);
  free(list);
  TRY(rc);
  w->covered = w->covered_end, w->covered_from = done ? to : from;
  w->open = done ? 0 : bytes;
  h->open = bytes;
  if (done) h->chapter = buf_slice(&w->chapter);
  return HDB_OK;
}

/* The block of entries [from, to), ascending in time, under the bound's key with the newest of their times. */
static status put_block(pack_work *w, slice place, size_t from, size_t to, size_t bytes) {
  int64_t newest = w->entries[to - 1].v.time;
  block_head h = {.oldest = w->entries[from].v.time, .commits = 1};
  for (size_t i = from + 1; i < to; i++) h.commits += w->entries[i].v.time != w->entries[i - 1].v.time;
  TRY(put_chapter(w, from, to, bytes, &h));
  qsort(w->entries + from, to - from, sizeof *w->entries, by_key_newest_first);
  const pack_entry *first = &w->entries[from], *last = &w->entries[to - 1];
  slice prefix = slice_of(first->key.p, slice_common(first->key, last->key));
  buf_clear(&w->value);
  version_block_begin(&w->value, prefix, &h, newest);
  for (size_t i = from, end; i < to; i = end) {
    buf_clear(&w->chain);
    int64_t above = newest;
    for (end = i; end < to && slice_equal(w->entries[end].key, w->entries[i].key); end++) {
      const undo_version *older = end + 1 < to && slice_equal(w->entries[end + 1].key, w->entries[i].key)
                                      ? &w->entries[end + 1].v
                                      : NULL;
      TRY(version_block_add(&w->chain, &w->columns, above, &w->entries[end].v, older));
      above = w->entries[end].v.own_time;
    }
    slice suffix = slice_of(w->entries[i].key.p + prefix.n, w->entries[i].key.n - prefix.n);
    version_block_row(&w->value, suffix, &w->chain);
  }
  buf_clear(&w->key);
  buf_append(&w->key, place.p, place.n);
  buf_be64(&w->key, ~(uint64_t)newest);
  if (buf_failed(&w->key) || buf_failed(&w->value)) return HDB_NOMEM;
  kv_batch_put(w->batch, KV_VERSIONS, buf_slice(&w->key), buf_slice(&w->value));
  return HDB_OK;
}

static size_t entry_bytes(const pack_entry *x) {
  return x->v.bytes.n + 8;
}

static status tell_format(pack_work *w) {
  packing *p = w->e->packing;
  if (p->told || w->e->memory) return HDB_OK;
  uint8_t format = FORMAT_BLOCKS;
  kv_batch_put(w->batch, KV_META, slice_str("format"), slice_of(&format, 1));
  TRY(format_need(w->e, w->batch, FEATURE_CHAPTERS));
  p->told = true;
  return HDB_OK;
}

/* Filled from the oldest on. */
status pack_blocks(pack_work *w, slice place, size_t from, size_t end) {
  if (from < end) qsort(w->entries + from, end - from, sizeof *w->entries, by_time);
  while (from < end) {
    size_t to = from, bytes = 0, whole = 0; /* whole: end of the last commit that fits */
    for (; to < end; to++) {
      if (to > from && w->entries[to].v.time != w->entries[to - 1].v.time) whole = to;
      bytes += entry_bytes(&w->entries[to]);
      if (bytes > w->e->packing->block_aim && whole) break;
    }
    if (to < end) to = whole;
    TRY(put_block(w, place, from, to, bytes));
    from = to;
  }
  TRY(tell_format(w));
  return w->memory.failed ? HDB_NOMEM : HDB_OK;
}

/* The first n that were read become blocks. */
static status write_blocks(pack_work *w, slice place, size_t n) {
  w->covered = n, w->covered_end = w->n, w->covered_from = 0;
  status rc = pack_blocks(w, place, 0, n);
  if (rc == HDB_OK) rc = kv_write(w->e->store, w->batch, false);
  kv_batch_clear(w->batch);
  return rc;
}

static void begin_chunk(pack_work *w) {
  arena_clear(&w->memory);
  kv_batch_clear(w->batch);
  w->n = w->records = w->bytes = 0;
  w->open = 0, w->chapters = true;
}

static bool is_block(slice value) {
  return value.n && value.p[0] == 0;
}

/* To the bound's block before the one that ends at `oldest`: what they replaced may lie between, deleted. */
static void to_older(pack_work *w, kv_iter *it, int64_t oldest) {
  buf_clear(&w->key);
  buf_append(&w->key, it->key.p, it->key.n - 8);
  buf_be64(&w->key, ~(uint64_t)(oldest - 1));
  if (!buf_failed(&w->key)) it->seek(it, buf_slice(&w->key));
}

/* The block under the iterator begins what is left. When a chapter is about to be due, its versions and those of the blocks
 * before it, back to the last chapter, behind the entries. */
static status read_covered(pack_work *w, kv_iter *it) {
  block_head h;
  uint64_t open = UINT64_MAX;
  if (!version_block_head(it->value, version_time(it->key), &h)) return HDB_CORRUPT;
  if (h.chapter.p) return HDB_OK;
  w->open = h.open;
  w->chapters = w->open + w->bytes >= w->e->packing->chapter_bytes;
  while (w->chapters && it->valid && version_block_head(it->value, version_time(it->key), &h) &&
         !h.chapter.p && h.open < open) {
    open = h.open;
    TRY(pack_take(w, version_time(it->key), it->value));
    to_older(w, it, h.oldest);
    if (buf_failed(&w->key)) return HDB_NOMEM;
  }
  return it->error;
}

/* The iterator came to a block; what lies behind it is packed. K3 */
static status join_blocks(pack_work *w, kv_iter *it) {
  block_head h;
  if (w->records < RECORDS_MIN) return HDB_OK;
  if (it->value.n < w->e->packing->block_aim / 2 &&
      version_block_head(it->value, version_time(it->key), &h)) {
    TRY(take_record(w, it));
    to_older(w, it, h.oldest);
    if (buf_failed(&w->key)) return HDB_NOMEM;
  }
  return HDB_OK;
}

/* All records under one bound. */
static status pack_place(pack_work *w, slice place) {
  kv_iter *it;
  buf end = BUF_INIT;
  buf_append(&end, place.p, place.n);
  buf_be64(&end, UINT64_MAX);
  buf_byte(&end, 0xff);
  if (buf_failed(&end)) return HDB_NOMEM;
  status rc = kv_iter_open(w->e->store, NULL, KV_VERSIONS, place, buf_slice(&end), &it);
  if (rc != HDB_OK) {
    buf_free(&end);
    return rc;
  }
  begin_chunk(w);
  for (it->seek(it, place); it->valid && !is_block(it->value); it->next(it)) {
    if (it->key.n != place.n + 8) CHECK(HDB_CORRUPT);
    CHECK(take_record(w, it));
    if (w->bytes < CHUNK_BYTES) continue;
    CHECK(write_blocks(w, place, w->n));
    begin_chunk(w);
  }
  CHECK(it->error);
  if (it->valid && it->key.n != place.n + 8) CHECK(HDB_CORRUPT);
  if (it->valid) CHECK(join_blocks(w, it));
  size_t n = w->n;
  if (it->valid && w->records >= RECORDS_MIN) CHECK(read_covered(w, it));
  if (w->records >= RECORDS_MIN) rc = write_blocks(w, place, n);
out:
  it->close(it);
  buf_free(&end);
  return rc;
}

void pack_free(pack_work *w) {
  arena_clear(&w->memory);
  free(w->entries);
  buf_free(&w->value), buf_free(&w->chain), buf_free(&w->columns), buf_free(&w->key), buf_free(&w->chapter);
}

/* ---- the queue and its thread ---- */

static item *next_item(packing *p) {
  pthread_mutex_lock(&p->lock);
  item *i = p->closing || p->resting ? NULL : p->first;
  if (i) {
    p->first = i->next, p->waiting--;
    if (!p->first) p->last = &p->first;
  }
  pthread_mutex_unlock(&p->lock);
  return i;
}

static void pack_items(engine *e) {
  packing *p = e->packing;
  pack_work w = {.e = e, .batch = kv_batch_new(e->store)};
  for (item *i; (i = next_item(p)); free(i)) {
    pthread_mutex_lock(&p->work_lock); /* K5 */
    if (w.batch && !atomic_load(&e->broken))
      pack_place(&w, slice_of(i->place, i->n)); /* K4; damage shows when it is read */
    pthread_mutex_unlock(&p->work_lock);
  }
  kv_batch_free(w.batch);
  pack_free(&w);
}

static void *packer(void *argument) {
  packing *p = ((engine *)argument)->packing;
  bool more = true;
  while (more) {
    pack_items(argument);
    pthread_mutex_lock(&p->lock);
    more = p->first && !p->closing && !p->resting;
    if (!more) {
      p->wanted = 0;
      p->running = false;
      pthread_cond_broadcast(&p->idle);
    }
    pthread_mutex_unlock(&p->lock);
  }
  return NULL;
}

/* Under the lock. */
static void start(engine *e) {
  packing *p = e->packing;
  pthread_t thread;
  if (p->running || p->closing || p->resting || !p->first || pthread_create(&thread, NULL, packer, e) != 0)
    return;
  pthread_detach(thread);
  p->running = true;
}

void pack_request(engine *e, slice place, size_t urgency) {
  packing *p = e->packing;
  if (e->read_only || is_remote(e)) return;
  item *i = malloc(sizeof *i + place.n);
  if (!i) return; /* K4 */
  i->next = NULL, i->n = place.n;
  memcpy(i->place, place.p, place.n);
  pthread_mutex_lock(&p->lock);
  if (p->waiting < QUEUE_MAX && !p->closing) {
    *p->last = i, p->last = &i->next;
    p->waiting++, p->wanted += urgency;
    i = NULL;
    if (p->wanted >= START_AT) start(e);
  }
  pthread_mutex_unlock(&p->lock);
  free(i);
}

void pack_settle(engine *e) {
  if (is_remote(e)) return;
  packing *p = e->packing;
  pthread_mutex_lock(&p->lock);
  start(e);
  while (p->running) pthread_cond_wait(&p->idle, &p->lock);
  pthread_mutex_unlock(&p->lock);
}

status pack_all(engine *e) {
  kv_iter *it;
  buf last = BUF_INIT;
  if (is_remote(e)) return HDB_OK;
  TRY(kv_iter_open(e->store, NULL, KV_VERSIONS, slice_of(NULL, 0), slice_of(NULL, 0), &it));
  for (it->seek(it, slice_of("", 0)); it->valid && it->key.n > 8 && !buf_failed(&last); it->next(it)) {
    slice place = slice_of(it->key.p, it->key.n - 8);
    if (slice_equal(place, buf_slice(&last))) continue;
    buf_clear(&last);
    buf_append(&last, place.p, place.n);
    pack_request(e, place, 1);
  }
  status rc = buf_failed(&last) ? HDB_NOMEM : it->error;
  it->close(it);
  buf_free(&last);
  pack_settle(e);
  return rc;
}

void pack_rest(engine *e, bool resting) {
  packing *p = e->packing;
  if (!p) return;
  pthread_mutex_lock(&p->lock);
  p->resting = resting;
  while (resting && p->running) pthread_cond_wait(&p->idle, &p->lock);
  pthread_mutex_unlock(&p->lock);
}

size_t pack_waiting(engine *e) {
  packing *p = e->packing;
  if (!p) return 0;
  pthread_mutex_lock(&p->lock);
  size_t n = p->waiting;
  pthread_mutex_unlock(&p->lock);
  return n;
}

void pack_stop(engine *e) {
  packing *p = e->packing;
  if (!p) return;
  pthread_mutex_lock(&p->lock);
  p->closing = true;
  while (p->running) pthread_cond_wait(&p->idle, &p->lock);
  pthread_mutex_unlock(&p->lock);
}

void pack_sizes(engine *e, size_t block, size_t chapter) {
  e->packing->block_aim = block, e->packing->chapter_bytes = chapter;
}

void pack_hold(engine *e) {
  pthread_mutex_lock(&e->packing->work_lock);
}
void pack_let(engine *e) {
  pthread_mutex_unlock(&e->packing->work_lock);
}

/* The format of the directory: 1 as long as nothing says more. */
status pack_check_format(engine *e, error *err) {
  kv_value value;
  uint64_t format = 1;
  status rc = kv_get(e->store, NULL, KV_META, slice_str("format"), &value);
  if (rc == HDB_NOTFOUND) return HDB_OK;
  TRY(rc);
  bool damaged = !varint_get(value.data.p, value.data.p + value.data.n, &format);
  kv_release(&value);
  if (damaged) return HDB_CORRUPT;
  e->packing->told = format >= FORMAT_BLOCKS && format_has(e, FEATURE_CHAPTERS);
  if (format <= FORMAT_BLOCKS) return HDB_OK;
  return error_set(err, HDB_CANTOPEN, "the database has format %d, this version reads up to %d", (int)format,
                   FORMAT_BLOCKS);
}
