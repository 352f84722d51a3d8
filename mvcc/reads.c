/* What a serializable transaction has read: ranges of keys, by tree; and their validation.
 *
 * A cursor keeps the range it is walking: where it was put, and the furthest it came (scan.c). It hands the range over
 * when it is put elsewhere or reset, and at the commit. A point read is a range of one key. Ranges are sorted and
 * joined when there are many of them; past READS_MAX everything read counts as whole trees.
 *
 * D1  A commit is serializable at its place in the queue when no key that was committed since its view, old or new,
 *     lies in what it read. Index entries are keys too, so phantoms are seen.
 * D2  Internal reads (the largest row id; facts) are no reads of the application's and not in here.
 */
#include <stdlib.h>

#include "mvcc/internal.h"

enum { READS_JOIN = 4096, READS_MAX = 100000 };

void reads_clear(reads *r) {
  r->n = 0;
  r->join_at = READS_JOIN;
  arena_clear(&r->memory);
}

void reads_free(reads *r) {
  arena_clear(&r->memory);
  free(r->ranges);
  memset(r, 0, sizeof *r);
}

static int by_low(const void *a, const void *b) {
  const read_range *x = a, *y = b;
  if (x->tree != y->tree) return x->tree < y->tree ? -1 : 1;
  return slice_compare(x->low, y->low);
}

/* Is high (inclusive, p NULL: the end) at or behind the key? */
static bool reaches(const read_range *r, slice key) { return !r->high.p || slice_compare(r->high, key) >= 0; }

static void join(reads *r) {
  size_t kept = 0;
  if (r->n == 0) return;
  qsort(r->ranges, r->n, sizeof *r->ranges, by_low);
  for (size_t i = 1; i < r->n; i++) {
    read_range *last = &r->ranges[kept], *now = &r->ranges[i];
    if (last->tree != now->tree || !reaches(last, now->low)) {
      r->ranges[++kept] = *now;
    } else if (last->high.p && (!now->high.p || slice_compare(now->high, last->high) > 0)) {
      last->high = now->high;
    }
  }
  r->n = kept + 1;
}

/* Too many: whole trees. */
static void widen(reads *r) {
  for (size_t i = 0; i < r->n; i++) r->ranges[i].low = slice_of(NULL, 0), r->ranges[i].high = slice_of(NULL, 0);
  join(r);
}

static slice keep(reads *r, slice s) {
  uint8_t *p = arena_alloc(&r->memory, s.n + 1);
  if (!p) return slice_of(NULL, 0);
  if (s.n) memcpy(p, s.p, s.n);
  return slice_of(p, s.n);
}

status reads_add(reads *r, uint32_t tree, slice low, const slice *high) {
  if (r->n >= r->join_at) {
    join(r);
    if (r->n > READS_MAX) widen(r);
    r->join_at = 2 * r->n > READS_JOIN ? 2 * r->n : READS_JOIN;
  }
  if (r->n == r->capacity) {
    size_t capacity = r->capacity ? 2 * r->capacity : 64;
    read_range *ranges = realloc(r->ranges, capacity * sizeof *ranges);
    if (!ranges) return HDB_NOMEM;
    r->ranges = ranges, r->capacity = capacity;
  }
  read_range *now = &r->ranges[r->n];
  now->tree = tree;
  now->low = keep(r, low);
  now->high = !high ? slice_of(NULL, 0) : slice_equal(low, *high) ? now->low : keep(r, *high);
  if (r->memory.failed) return HDB_NOMEM;
  r->n++;
  return HDB_OK;
}

typedef struct check {
  const read_range *ranges; /* of one tree, joined */
  size_t n;
  bool hit;
  slice key;
} check;

static bool look(void *context, int64_t time, slice key, bool whole) {
  check *c = context;
  size_t low = 0, high = c->n;
  while (low < high) { /* the last range that begins at or before the key */
    size_t middle = (low + high) / 2;
    if (slice_compare(c->ranges[middle].low, key) <= 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  c->hit = whole || (low > 0 && reaches(&c->ranges[low - 1], key));
  c->key = key;
  return !c->hit;
}

status reads_validate(reads *r, engine *e, int64_t view_time, bool *holds, uint32_t *tree, slice *key) {
  *holds = true;
  join(r);
  for (size_t from = 0, to; from < r->n && *holds; from = to) {
    for (to = from + 1; to < r->n && r->ranges[to].tree == r->ranges[from].tree; to++) {}
    *tree = r->ranges[from].tree;
    tree_info *i;
    TRY(tree_get(e, *tree, &i));
    bool known = view_time >= e->opened_time || view_time >= e->recent.floor;
    if (known && atomic_load_explicit(&i->changed_time, memory_order_relaxed) <= view_time) continue;
    check c = {r->ranges + from, to - from, view_time < e->recent.floor, slice_of(NULL, 0)};
    if (!c.hit) recent_each(&e->recent, *tree, view_time, look, &c);
    *holds = !c.hit;
    *key = c.key;
  }
  return HDB_OK;
}
