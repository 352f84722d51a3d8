/* Is what lies in the store what it should be? Everything below SQL: groups, counts, history, feed, branches.
 *
 *   groups    each opens; a tree's first bound is the lowest; keys ascend, lie between their group's bound and the next one's,
 *             and no row is newer than its group, no group newer than the newest commit; values are records; the rows are as
 *             many as the count says
 *   history   each record and block decodes; its keys lie behind its bound; records under one bound do not overlap in time; a
 *             group knows of the newest record under its bound; every version of every row can be made and is a record
 *   feed      each part decodes; times ascend; the commit that changed a group last is in it, as far as it reaches back
 *   branches  each has a name and a parent that is there; the branch point is not behind its making; its trees are its own
 *
 * All of it is read under one view, so others may write meanwhile. Cost: every byte is read, history is undone.
 * A problem is a sentence for the visitor; what cannot be read at all ends the check with a status.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "mvcc/internal.h"
#include "mvcc/undo.h"

typedef struct checking {
  engine *e;
  txn *t;
  const view *v;
  problem_visitor visit;
  void *context;
  buf key, last, bound;
  uint32_t tree; /* of the group at hand */
  bool any;      /* it had a group before */
  int64_t rows;
  int64_t checked_time; /* of the commit last looked for in the feed */
} checking;

static status problem(checking *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static status problem(checking *c, const char *format, ...) {
  va_list arguments;
  char *text;
  va_start(arguments, format);
  int n = vasprintf(&text, format, arguments);
  va_end(arguments);
  if (n < 0) return HDB_NOMEM;
  status rc = c->visit(c->context, text);
  free(text);
  return rc;
}

static bool is_record(slice value) { return value.n == 0 || record_check(value) == HDB_OK; }

/* ---- history of one group's bound, and the feed of its last commit ---- */

static status check_history_known(checking *c, const group *g) {
  group_history h = {0};
  kv_iter *it;
  if (g->flags & GROUP_HISTORY && group_history_get(g, &h) != HDB_OK) return problem(c, "tree %u: what a group says of its history is damaged", c->tree);
  buf_clear(&c->key);
  version_bound(&c->key, c->tree, buf_slice(&c->bound));
  TRY(kv_iter_open(c->v->store, c->v->snapshot, KV_VERSIONS, buf_slice(&c->key), slice_of(NULL, 0), &it));
  it->seek(it, buf_slice(&c->key));
  int64_t newest = 0;
  if (it->valid && it->key.n == c->key.n + 8 && memcmp(it->key.p, c->key.p, c->key.n) == 0) newest = (int64_t)~get_be64(it->key.p + c->key.n);
  status rc = it->error;
  it->close(it);
  TRY(rc);
  if (newest <= h.newest || newest <= atomic_load(&c->e->history_floor)) return HDB_OK;
  return problem(c, "tree %u: a group knows of history up to %" PRId64 " and has a record of %" PRId64, c->tree, h.newest, newest);
}

static status check_in_feed(checking *c, int64_t time) {
  uint8_t key[8];
  kv_value value;
  if (!c->e->feed || time <= feed_oldest(c->e) || time == c->checked_time) return HDB_OK;
  c->checked_time = time;
  put_be64(key, (uint64_t)time);
  status rc = kv_get(c->v->store, c->v->snapshot, KV_COMMITS, slice_of(key, 8), &value);
  if (rc == HDB_OK) kv_release(&value);
  return rc == HDB_NOTFOUND ? problem(c, "tree %u was changed by commit %" PRId64 ", which is not in the feed", c->tree, time) : rc;
}

/* ---- groups ---- */

static status tree_ends(checking *c) {
  int64_t count;
  if (!c->any) return HDB_OK;
  status rc = txn_count(c->t, c->tree, &count);
  if (rc == HDB_NOTFOUND) return HDB_OK;
  TRY(rc);
  bool unpublished = false;
  if (count != c->rows) TRY(bulk_is_unpublished(c->e, c->v->snapshot, c->tree, &unpublished));
  return count == c->rows || unpublished ? HDB_OK : problem(c, "tree %u holds %" PRId64 " rows and is counted as %" PRId64, c->tree, c->rows, count);
}

static status check_rows_of(checking *c, const group *g) {
  for (size_t i = 0; i < g->count; i++) {
    slice suffix, value;
    int64_t time;
    bool fresh;
    if (!group_row(g, i, &suffix, &value)) return problem(c, "tree %u: row %zu of a group is damaged", c->tree, i);
    buf_clear(&c->key);
    buf_append(&c->key, g->prefix, g->prefix_n);
    buf_append(&c->key, suffix.p, suffix.n);
    slice key = buf_slice(&c->key);
    if (c->rows && slice_compare(key, buf_slice(&c->last)) <= 0) TRY(problem(c, "tree %u: the key of row %zu of a group is not above the one before", c->tree, i));
    if (slice_compare(key, buf_slice(&c->bound)) < 0) TRY(problem(c, "tree %u: a key lies before its group's bound", c->tree));
    if (!is_record(value)) TRY(problem(c, "tree %u: row %zu of a group is no record", c->tree, i));
    if (g->flags & GROUP_TIMES && group_time(g, i, &time, &fresh) != HDB_OK) return problem(c, "tree %u: the times of a group are damaged", c->tree);
    if (g->flags & GROUP_TIMES && time > g->newest) TRY(problem(c, "tree %u: a row is newer than its group says", c->tree));
    buf_clear(&c->last);
    buf_append(&c->last, key.p, key.n);
    c->rows++;
  }
  return HDB_OK;
}

static status check_group(checking *c, slice key, slice value) {
  group g;
  if (key.n < 4) return problem(c, "a group has a key that is too short");
  uint32_t tree = get_be32(key.p);
  if (!c->any || tree != c->tree) {
    TRY(tree_ends(c));
    c->tree = tree, c->any = true, c->rows = 0;
    if (key.n != 4) TRY(problem(c, "tree %u: its first group does not begin with the lowest key", tree));
  }
  buf_clear(&c->bound);
  buf_append(&c->bound, key.p + 4, key.n - 4);
  if (c->rows && slice_compare(buf_slice(&c->last), buf_slice(&c->bound)) >= 0) TRY(problem(c, "tree %u: a row lies behind the bound of the next group", tree));
  if (group_open(&g, value) != HDB_OK) return problem(c, "tree %u: a group is damaged", tree);
  if (g.newest > c->v->time) TRY(problem(c, "tree %u: a group is newer (%" PRId64 ") than the newest commit (%" PRId64 ")", tree, g.newest, c->v->time));
  TRY(check_rows_of(c, &g));
  TRY(check_in_feed(c, g.newest));
  return check_history_known(c, &g);
}

/* ---- history ---- */

typedef struct record_check_state {
  checking *c;
  slice bound;
  int64_t time, oldest;
  bool before; /* a key before the bound */
  bool future, unordered, no_record;
} record_check_state;

static status look_at_version(void *context, slice key, const undo_version *v, bool *skip) {
  record_check_state *s = context;
  (void)skip;
  s->before |= slice_compare(key, s->bound) < 0;
  s->future |= v->time > s->time;
  s->unordered |= v->own_time > v->time;
  s->no_record |= v->kind == VERSION_FULL && !is_record(v->bytes);
  if (v->time < s->oldest) s->oldest = v->time;
  return HDB_OK;
}

/* A chapter names rows as of times that it covers. */
static status check_chapter(checking *c, uint32_t tree, int64_t time, const block_head *h) {
  record_check_state s = {.c = c, .bound = buf_slice(&c->bound), .time = time, .oldest = time};
  if (!h->chapter.p) return HDB_OK;
  bool damaged = chapter_each(&c->key, time, h->chapter, look_at_version, &s) != HDB_OK;
  if (damaged || s.before || s.future || s.unordered || s.no_record || h->covers > h->oldest || s.oldest < h->covers)
    return problem(c, "tree %u: a chapter of history (%" PRId64 ") is damaged", tree, time);
  return HDB_OK;
}

static status check_record(checking *c, slice key, slice value, buf *place, int64_t *oldest) {
  uint32_t tree;
  int64_t time;
  block_head h;
  buf_clear(&c->bound);
  if (!version_place_get(key, &tree, &c->bound, &time)) return problem(c, "a record of history has a damaged key");
  bool same = place->n == key.n - 8 && memcmp(place->p, key.p, place->n) == 0;
  if (same && time >= *oldest) TRY(problem(c, "tree %u: records of history overlap at %" PRId64, tree, time));
  buf_clear(place);
  buf_append(place, key.p, key.n - 8);
  if (time > c->v->time) TRY(problem(c, "tree %u: history of %" PRId64 " is newer than the newest commit", tree, time));
  record_check_state s = {.c = c, .bound = buf_slice(&c->bound), .time = time, .oldest = time};
  if (version_each(&c->key, time, value, look_at_version, &s) != HDB_OK) TRY(problem(c, "tree %u: a record of history (%" PRId64 ") is damaged", tree, time));
  if (s.before) TRY(problem(c, "tree %u: a record of history (%" PRId64 ") has a key before its group's bound", tree, time));
  if (s.future || s.unordered) TRY(problem(c, "tree %u: the times in a record of history (%" PRId64 ") are not in order", tree, time));
  if (s.no_record) TRY(problem(c, "tree %u: a record of history (%" PRId64 ") holds a row that is no record", tree, time));
  *oldest = s.oldest;
  if (!version_block_head(value, time, &h)) return HDB_OK;
  *oldest = h.oldest;
  if (h.oldest > s.oldest) TRY(problem(c, "tree %u: a block of history (%" PRId64 ") reaches further back than it says", tree, time));
  return check_chapter(c, tree, time, &h);
}

typedef struct undone {
  checking *c;
  uint32_t tree;
  bool damaged, unordered;
} undone;

static status look_at_row(void *context, const row_version *v) {
  undone *u = context;
  u->damaged |= !is_record(v->value);
  u->unordered |= v->from >= v->to;
  return HDB_OK;
}

static status check_undoing(checking *c, uint32_t tree) {
  undone u = {.c = c, .tree = tree};
  int64_t oldest = engine_oldest(c->e);
  if (oldest == INT64_MAX || oldest > c->v->time) return HDB_OK;
  if (oldest < 2) oldest = 2; /* 0 is the present, and what lies before `from` is read as of the microsecond before */
  status rc = versions_between(c->t, tree, oldest, c->v->time, look_at_row, &u);
  if (rc == HDB_ERROR_SNAPSHOT || rc == HDB_NOTFOUND) return HDB_OK; /* retention has moved on */
  if (rc == HDB_CORRUPT) return problem(c, "tree %u: its rows of the past cannot be made", tree);
  TRY(rc);
  if (u.damaged) TRY(problem(c, "tree %u: a row of the past is no record", tree));
  return u.unordered ? problem(c, "tree %u: versions of a row overlap", tree) : HDB_OK;
}

/* ---- feed ---- */

static status take_any(void *context, uint32_t tree, slice key, bool whole) {
  (void)context, (void)tree, (void)key, (void)whole;
  return HDB_OK;
}

static status check_part(checking *c, slice key, slice value, int64_t *last) {
  uint64_t branch;
  if (key.n != 8 && key.n != 12) return problem(c, "the feed has a damaged key");
  int64_t time = (int64_t)get_be64(key.p);
  if (key.n == 8 ? time <= *last : time != *last) TRY(problem(c, "the feed: the parts of commit %" PRId64 " are not in order", time));
  *last = time;
  if (time > c->v->time) TRY(problem(c, "the feed has commit %" PRId64 ", which is newer than the newest", time));
  return feed_read(value, &c->key, &branch, take_any, c) == HDB_OK ? HDB_OK : problem(c, "the feed: commit %" PRId64 " is damaged", time);
}

/* ---- branches ---- */

static bool branch_is_there(checking *c, uint64_t id) {
  kv_value value;
  char name[32];
  if (id == BRANCH_MAIN) return true;
  snprintf(name, sizeof name, "branch/%" PRIu64, id);
  if (kv_get(c->v->store, c->v->snapshot, KV_META, slice_str(name), &value) != HDB_OK) return false;
  kv_release(&value);
  return true;
}

static status check_meta(checking *c, slice key, slice value) {
  uint64_t parent = 0, point = 0, made = 0;
  const uint8_t *end = value.p + value.n, *p = value.p;
  if (slice_starts(key, slice_str("branch/"))) {
    p = varint_get(p, end, &parent);
    if (p) p = varint_get(p, end, &point);
    if (p) p = varint_get(p, end, &made);
    if (!p || p == end) return problem(c, "the description of %.*s is damaged", (int)key.n, (const char *)key.p);
    if (!branch_is_there(c, parent)) TRY(problem(c, "branch %.*s has a parent that is not there (%" PRIu64 ")", (int)(end - p), (const char *)p, parent));
    if (point > made) TRY(problem(c, "branch %.*s begins after it was made", (int)(end - p), (const char *)p));
  } else if (slice_starts(key, slice_str("delta/"))) {
    uint64_t own;
    if (!varint_get(p, end, &own)) return problem(c, "%.*s is damaged", (int)key.n, (const char *)key.p);
    uint64_t id = 0;
    for (size_t i = strlen("delta/"); i < key.n && key.p[i] >= '0' && key.p[i] <= '9'; i++) id = id * 10 + (key.p[i] - '0');
    if (!branch_is_there(c, id)) return problem(c, "%.*s belongs to a branch that is not there", (int)key.n, (const char *)key.p);
  }
  return HDB_OK;
}

/* ---- all of it ---- */

typedef struct tree_list {
  uint32_t *list;
  size_t n, capacity;
} tree_list;

static status note_tree(tree_list *l, uint32_t tree) {
  if (l->n && l->list[l->n - 1] == tree) return HDB_OK;
  if (l->n == l->capacity) {
    size_t capacity = l->capacity ? 2 * l->capacity : 64;
    uint32_t *list = realloc(l->list, capacity * sizeof *list);
    if (!list) return HDB_NOMEM;
    l->list = list, l->capacity = capacity;
  }
  l->list[l->n++] = tree;
  return HDB_OK;
}

static status check_family(checking *c, enum kv_family family, tree_list *trees) {
  kv_iter *it;
  buf place = BUF_INIT;
  int64_t last = 0;
  TRY(kv_iter_open(c->v->store, c->v->snapshot, family, slice_of(NULL, 0), slice_of(NULL, 0), &it));
  status rc = HDB_OK;
  for (it->seek(it, slice_of(NULL, 0)); it->valid && rc == HDB_OK; it->next(it)) {
    switch (family) {
    case KV_META: rc = check_meta(c, it->key, it->value); break;
    case KV_COMMITS: rc = check_part(c, it->key, it->value, &last); break;
    case KV_VERSIONS: rc = check_record(c, it->key, it->value, &place, &last); break;
    default:
      if (it->key.n >= 4) rc = note_tree(trees, get_be32(it->key.p));
      if (rc == HDB_OK) rc = check_group(c, it->key, it->value);
    }
  }
  if (rc == HDB_OK) rc = it->error;
  if (rc == HDB_OK && family == KV_ROWS) rc = tree_ends(c);
  it->close(it);
  buf_free(&place);
  return rc;
}

status engine_check(engine *e, problem_visitor visit, void *context) {
  checking c = {.e = e, .visit = visit, .context = context};
  tree_list trees = {0};
  TRY(txn_new(e, &c.t));
  leave_before_wait();
  status rc = txn_begin(c.t, TXN_READ, 0);
  if (rc != HDB_OK) goto out;
  c.v = c.t->view;
  CHECK(check_family(&c, KV_META, NULL));
  CHECK(check_family(&c, KV_COMMITS, NULL));
  CHECK(check_family(&c, KV_ROWS, &trees));
  CHECK(check_family(&c, KV_VERSIONS, NULL));
  for (size_t i = 0; i < trees.n; i++) CHECK(check_undoing(&c, trees.list[i]));
  if (buf_failed(&c.key) || buf_failed(&c.last) || buf_failed(&c.bound)) rc = HDB_NOMEM;
out:
  txn_free(c.t);
  free(trees.list);
  buf_free(&c.key);
  buf_free(&c.last);
  buf_free(&c.bound);
  return rc;
}
