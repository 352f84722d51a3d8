/* The feed: one record a commit in KV_COMMITS, from which mirrors, merges and vector builders learn what changed.
 *
 * Key: commit time (8, big-endian), from the second part on . part (4, big-endian). Value of each part:
 *
 *   bytes    meaning
 *   1        version, 1
 *   varint   branch
 *   varint   client, varint number: the request's identity (0 0: none)
 *   then, tree after tree:
 *   varint   tree
 *   keys     varint shared + 1 (bytes in common with the key before, in this list), varint rest length, rest; 0 ends;
 *            or one varint 1 with rest length 0 first in the list: the whole tree
 *
 * A part is closed at 64 KB; a tree goes on in the next part as a new list.
 */
#include <stdlib.h>

#include "mvcc/internal.h"
#include "mvcc/process.h"

enum { FEED_PART = 64 * 1024, FEED_VERSION = 1 };

static void header(feed_record *r) {
  buf_clear(&r->bytes);
  buf_byte(&r->bytes, FEED_VERSION);
  buf_varint(&r->bytes, r->branch);
  buf_varint(&r->bytes, r->client);
  buf_varint(&r->bytes, r->number);
  r->open = false;
}

void feed_begin(feed_record *r, int64_t time, uint32_t branch, uint64_t client, uint64_t number) {
  r->time = time, r->part = 0, r->any = false, r->branch = branch;
  r->client = client, r->number = number;
  header(r);
}

static void close_list(feed_record *r) {
  if (r->open) buf_varint(&r->bytes, 0);
  r->open = false;
}

static void open_list(feed_record *r, uint32_t tree) {
  if (r->open && r->tree == tree) return;
  close_list(r);
  buf_varint(&r->bytes, tree);
  buf_clear(&r->previous);
  r->tree = tree, r->open = true;
}

static void put_part(feed_record *r, kv_batch *batch) {
  uint8_t key[12];
  close_list(r);
  put_be64(key, (uint64_t)r->time);
  put_be32(key + 8, r->part);
  if (!buf_failed(&r->bytes)) kv_batch_put(batch, KV_COMMITS, slice_of(key, r->part ? 12 : 8), buf_slice(&r->bytes));
  r->part++;
}

static void append_key(feed_record *r, uint32_t tree, slice key) {
  open_list(r, tree);
  size_t shared = slice_common(buf_slice(&r->previous), key);
  buf_varint(&r->bytes, shared + 1);
  buf_varint(&r->bytes, key.n - shared);
  buf_append(&r->bytes, key.p + shared, key.n - shared);
  r->previous.n = shared;
  buf_append(&r->previous, key.p + shared, key.n - shared);
  r->any = true;
}

void feed_key(feed_record *r, kv_batch *batch, uint32_t tree, slice key) {
  if (r->bytes.n > FEED_PART) {
    put_part(r, batch);
    header(r);
  }
  append_key(r, tree, key);
}

void feed_whole(feed_record *r, kv_batch *batch, uint32_t tree) {
  (void)batch;
  open_list(r, tree);
  buf_varint(&r->bytes, 1);
  buf_varint(&r->bytes, 0);
  close_list(r);
  r->any = true;
}

status feed_end(feed_record *r, kv_batch *batch) {
  put_part(r, batch);
  return buf_failed(&r->bytes) || buf_failed(&r->previous) ? HDB_NOMEM : HDB_OK;
}

void feed_free(feed_record *r) {
  buf_free(&r->bytes);
  buf_free(&r->previous);
}

/* ---- reading ---- */

typedef struct change {
  uint32_t tree;
  bool whole;
  slice key;
} change;
typedef struct changes {
  arena memory;
  change *list;
  size_t n, capacity;
  bool sorted;
} changes;

static int by_key(const void *a, const void *b) {
  const change *x = a, *y = b;
  if (x->tree != y->tree) return x->tree < y->tree ? -1 : 1;
  if (x->whole != y->whole) return x->whole ? -1 : 1;
  return slice_compare(x->key, y->key);
}

static status add_change(changes *c, uint32_t tree, slice key, bool whole) {
  if (c->n == c->capacity) {
    size_t capacity = c->capacity ? 2 * c->capacity : 256;
    change *list = realloc(c->list, capacity * sizeof *list);
    if (!list) return HDB_NOMEM;
    c->list = list, c->capacity = capacity;
  }
  change *now = &c->list[c->n++];
  *now = (change){tree, whole, slice_of(arena_copy(&c->memory, key.n ? key.p : (const uint8_t *)"", key.n), key.n)};
  if (c->sorted && c->n > 1 && by_key(now - 1, now) >= 0) c->sorted = false;
  return c->memory.failed ? HDB_NOMEM : HDB_OK;
}

/* Calls take for every key of one part; *branch comes first. */
status feed_read(slice part, buf *key, uint64_t *branch, feed_part_visitor take, void *context) {
  const uint8_t *p = part.p, *end = p + part.n;
  uint64_t skipped, tree, shared, rest;
  if (part.n < 1 || *p++ != FEED_VERSION) return HDB_CORRUPT;
  p = varint_get(p, end, branch);
  if (p) p = varint_get(p, end, &skipped);
  if (p) p = varint_get(p, end, &skipped);
  if (!p) return HDB_CORRUPT;
  while (p < end) {
    p = varint_get(p, end, &tree);
    if (!p || tree > UINT32_MAX) return HDB_CORRUPT;
    buf_clear(key);
    for (;;) {
      p = varint_get(p, end, &shared);
      if (!p) return HDB_CORRUPT;
      if (shared == 0) break;
      p = varint_get(p, end, &rest);
      if (!p || shared - 1 > key->n || rest > (uint64_t)(end - p)) return HDB_CORRUPT;
      key->n = shared - 1;
      buf_append(key, p, rest);
      p += rest;
      if (buf_failed(key)) return HDB_NOMEM;
      TRY(take(context, (uint32_t)tree, buf_slice(key), key->n == 0));
    }
  }
  return HDB_OK;
}

/* Every part in (since, upto]. */
typedef status (*record_visitor)(void *context, int64_t time, slice part, buf *key);
static status each_part(engine *e, int64_t since, int64_t upto, record_visitor visit, void *context) {
  uint8_t from[8], to[8];
  kv_iter *it;
  buf key = BUF_INIT;
  put_be64(from, (uint64_t)since + 1), put_be64(to, (uint64_t)upto + 1);
  TRY(kv_iter_open(e->store, NULL, KV_COMMITS, slice_of(from, 8), slice_of(to, 8), &it));
  status rc = HDB_OK;
  for (it->seek(it, slice_of(from, 8)); it->valid && rc == HDB_OK; it->next(it))
    rc = it->key.n < 8 ? HDB_CORRUPT : visit(context, (int64_t)get_be64(it->key.p), it->value, &key);
  if (rc == HDB_OK) rc = it->error;
  it->close(it);
  buf_free(&key);
  return rc;
}

static status take_change(void *context, uint32_t tree, slice key, bool whole) {
  return add_change(context, tree, key, whole);
}

static status take_part(void *context, int64_t time, slice part, buf *key) {
  uint64_t branch = 0;
  if (part.n > 1 && varint_get(part.p + 1, part.p + part.n, &branch) && branch != BRANCH_MAIN) return HDB_OK;
  return feed_read(part, key, &branch, take_change, context);
}

/* (since, *upto] as far as it can be told. */
static status feed_range(engine *e, int64_t since, int64_t *upto) {
  if (is_remote(e)) process_look(e);
  if (!e->feed || since < atomic_load(&e->feed_floor)) return HDB_NOTFOUND;
  int64_t visible = engine_newest(e);
  if (*upto > visible) *upto = visible;
  return HDB_OK;
}

status feed_changes(engine *e, int64_t since, int64_t upto, feed_visitor visit, void *context) {
  TRY(feed_range(e, since, &upto));
  if (since >= upto) return HDB_OK;
  changes c = {.memory = ARENA_INIT, .sorted = true};
  status rc = each_part(e, since, upto, take_part, &c);
  if (rc == HDB_OK && !c.sorted) qsort(c.list, c.n, sizeof *c.list, by_key);
  for (size_t i = 0; i < c.n && rc == HDB_OK; i++) {
    const change *now = &c.list[i];
    if (i && (by_key(&c.list[i - 1], now) == 0 || (c.list[i - 1].whole && c.list[i - 1].tree == now->tree))) {
      c.list[i].whole = c.list[i - 1].whole; /* a whole tree hides its keys */
      continue;
    }
    rc = visit(context, now->tree, now->key, now->whole);
  }
  arena_clear(&c.memory);
  free(c.list);
  return rc;
}

/* ---- forgetting ---- */

typedef struct copy {
  feed_record out;
  feed_forgets forgets;
  void *context;
  bool changed;
} copy;

static status copy_key(void *context, uint32_t tree, slice key, bool whole) {
  copy *c = context;
  if (whole) {
    feed_whole(&c->out, NULL, tree);
  } else if (c->forgets(c->context, tree, key)) {
    c->changed = true;
  } else {
    append_key(&c->out, tree, key);
  }
  return HDB_OK;
}

status feed_without(slice part, feed_forgets forgets, void *context, buf *out, buf *key, bool *changed) {
  copy c = {.forgets = forgets, .context = context};
  uint64_t branch, client, number;
  const uint8_t *p = part.p + 1, *end = part.p + part.n;
  if (part.n < 1 || !(p = varint_get(p, end, &branch)) || !(p = varint_get(p, end, &client)) ||
      !varint_get(p, end, &number))
    return HDB_CORRUPT;
  feed_begin(&c.out, 0, (uint32_t)branch, client, number);
  status rc = feed_read(part, key, &branch, copy_key, &c);
  close_list(&c.out);
  *changed = c.changed;
  buf_clear(out);
  buf_append(out, c.out.bytes.p, c.out.bytes.n);
  if (rc == HDB_OK && (buf_failed(&c.out.bytes) || buf_failed(&c.out.previous) || buf_failed(out))) rc = HDB_NOMEM;
  feed_free(&c.out);
  return rc;
}

/* ---- a client's request ---- */

typedef struct wanted {
  uint64_t client, number;
  int64_t time;
} wanted;

static status look_for(void *context, int64_t time, slice part, buf *key) {
  wanted *w = context;
  uint64_t branch, client = 0, number = 0;
  const uint8_t *p = part.p + 1, *end = part.p + part.n;
  (void)key;
  if (part.n < 1 || !(p = varint_get(p, end, &branch)) || !(p = varint_get(p, end, &client)) || !varint_get(p, end, &number)) return HDB_CORRUPT;
  if (client == w->client && number == w->number && !w->time) w->time = time;
  return HDB_OK;
}

status feed_find_request(engine *e, int64_t since, uint64_t client, uint64_t number, int64_t *time) {
  wanted w = {client, number, 0};
  *time = 0;
  if (!e->feed || since < atomic_load(&e->feed_floor)) return HDB_NOTFOUND;
  TRY(each_part(e, since, INT64_MAX - 1, look_for, &w));
  *time = w.time;
  return HDB_OK;
}

/* ---- for validation: the commits after `since`, as if the leader had just made them ---- */

typedef struct again {
  engine *e;
  int64_t time;
} again;

static status recent_key(void *context, uint32_t tree, slice key, bool whole) {
  again *a = context;
  tree_info *i;
  TRY(tree_get(a->e, tree, &i));
  if (atomic_load(&i->changed_time) < a->time) atomic_store(&i->changed_time, a->time);
  return whole ? recent_add_whole(&a->e->recent, tree) : recent_add(&a->e->recent, tree, key);
}

static status recent_part(void *context, int64_t time, slice part, buf *key) {
  again *a = context;
  uint64_t branch;
  if (time != a->time) TRY(recent_begin(&a->e->recent, time));
  a->time = time;
  return a->e->recent.bytes > RECENT_BYTES_MAX ? HDB_FULL : feed_read(part, key, &branch, recent_key, a);
}

status feed_recall(engine *e, int64_t since) {
  again a = {e, 0};
  if (!e->feed || since < atomic_load(&e->feed_floor)) return HDB_OK;
  recent_free(&e->recent);
  recent_init(&e->recent, since);
  status rc = each_part(e, since, INT64_MAX - 1, recent_part, &a);
  if (rc == HDB_OK) return HDB_OK;
  recent_free(&e->recent); /* too much: who began before now cannot be validated */
  recent_init(&e->recent, e->last_time);
  return rc == HDB_FULL ? HDB_OK : rc;
}

/* ---- the watcher of a client ---- */

static status tell_key(void *context, uint32_t tree, slice key, bool whole) {
  again *a = context;
  engine_watcher *w = atomic_load(&a->e->watcher);
  if (w && w->wants(w->context, tree)) w->touched(w->context, tree, a->time, key, whole);
  return HDB_OK;
}

static status tell_part(void *context, int64_t time, slice part, buf *key) {
  again *a = context;
  uint64_t branch;
  a->time = time;
  return feed_read(part, key, &branch, tell_key, a);
}

status feed_tell_watcher(engine *e, int64_t since, int64_t upto) {
  again a = {e, 0};
  return each_part(e, since, upto, tell_part, &a);
}

/* ---- commits ---- */

typedef struct summary {
  commit_info now; /* time 0: none yet */
  struct commit_tree *each;
  size_t capacity;
  commit_visitor visit;
  void *context;
} summary;

static status count_key(void *context, uint32_t tree, slice key, bool whole) {
  summary *s = context;
  struct commit_tree *last = s->now.trees ? &s->each[s->now.trees - 1] : NULL;
  if (!last || last->tree != tree) { /* trees ascend, also from part to part */
    if ((size_t)s->now.trees == s->capacity) {
      size_t capacity = s->capacity ? 2 * s->capacity : 16;
      struct commit_tree *each = realloc(s->each, capacity * sizeof *each);
      if (!each) return HDB_NOMEM;
      s->each = each, s->capacity = capacity;
    }
    last = &s->each[s->now.trees++];
    *last = (struct commit_tree){.tree = tree};
  }
  last->keys += !whole, last->whole = last->whole || whole;
  s->now.keys += !whole;
  s->now.whole = s->now.whole || whole;
  return HDB_OK;
}

static status tell(summary *s) {
  s->now.each = s->each;
  return s->now.time ? s->visit(s->context, &s->now) : HDB_OK;
}

static status count_part(void *context, int64_t time, slice part, buf *key) {
  summary *s = context;
  if (s->now.time != time) {
    TRY(tell(s));
    s->now = (commit_info){.time = time};
  }
  uint64_t branch;
  TRY(feed_read(part, key, &branch, count_key, s));
  s->now.branch = (uint32_t)branch;
  return HDB_OK;
}

int64_t feed_oldest(engine *e) {
  if (is_remote(e)) process_look(e);
  return e->feed ? atomic_load(&e->feed_floor) : INT64_MAX;
}

status feed_commits(engine *e, int64_t since, int64_t upto, commit_visitor visit, void *context) {
  TRY(feed_range(e, since, &upto));
  if (since >= upto) return HDB_OK;
  summary s = {.visit = visit, .context = context};
  status rc = each_part(e, since, upto, count_part, &s);
  if (rc == HDB_OK) rc = tell(&s);
  free(s.each);
  return rc;
}
