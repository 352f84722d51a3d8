/* Every version of a branch's rows: the parent's up to the branch point, then what the branch itself wrote.
 *
 * The branch's own tree says `value` or `deleted` of the keys that it touched, whatever the parent had. So for each key
 * the parent's versions come first, as they were up to the branch point; the last of them stays until the branch's
 * first word on the key. What that word is, an insertion, an update or a deletion, depends on whether a row was there.
 * Both lists are kept in memory, in order of (key, from).
 */
#include <stdlib.h>

#include "mvcc/internal.h"

typedef struct versions {
  arena memory;
  row_version *list;
  size_t n, capacity;
} versions;

static slice copy(arena *memory, slice s) {
  uint8_t *p = arena_alloc(memory, s.n + 1);
  if (p && s.n) memcpy(p, s.p, s.n);
  return slice_of(p, p ? s.n : 0);
}

static status take(void *context, const row_version *v) {
  versions *l = context;
  if (l->n == l->capacity) {
    size_t capacity = l->capacity ? 2 * l->capacity : 64;
    row_version *list = realloc(l->list, capacity * sizeof *list);
    if (!list) return HDB_NOMEM;
    l->list = list, l->capacity = capacity;
  }
  row_version *to = &l->list[l->n++];
  *to = *v;
  to->key = copy(&l->memory, v->key), to->value = copy(&l->memory, v->value);
  return l->memory.failed ? HDB_NOMEM : HDB_OK;
}

static void versions_free(versions *l) {
  arena_clear(&l->memory);
  free(l->list);
}

/* One key's life on the branch. */
typedef struct life {
  int64_t from, to;
  version_visitor visit;
  void *context;
  row_version last; /* told when its end is known */
  bool any;
} life;

static status tell_last(life *l, int64_t until) {
  if (!l->any) return HDB_OK;
  row_version *v = &l->last;
  v->to = until;
  l->any = false;
  bool inside = v->from <= l->to && (v->op == VERSION_DELETE ? v->from >= l->from : v->to > l->from);
  return inside && v->from < v->to ? l->visit(l->context, v) : HDB_OK;
}

static status add(life *l, const row_version *v) {
  TRY(tell_last(l, v->from));
  l->last = *v, l->any = true;
  return HDB_OK;
}

/* What the branch said of the key at v->from. */
static status add_own(life *l, const row_version *v) {
  row_version now = *v;
  bool there = l->any && l->last.op != VERSION_DELETE;
  if (slice_equal(v->value, branch_tombstone()) || v->op == VERSION_DELETE) {
    if (!there) return HDB_OK;
    now.op = VERSION_DELETE;
    now.value = l->last.value;
  } else {
    now.op = there ? VERSION_UPDATE : VERSION_INSERT;
  }
  return add(l, &now);
}

static status merge(const versions *parent, const versions *own, int64_t point, life *l) {
  size_t p = 0, o = 0;
  while (p < parent->n || o < own->n) {
    slice key = p == parent->n ? own->list[o].key : parent->list[p].key;
    if (p < parent->n && o < own->n && slice_compare(own->list[o].key, key) < 0) key = own->list[o].key;
    for (; p < parent->n && slice_equal(parent->list[p].key, key); p++)
      if (parent->list[p].from <= point) TRY(add(l, &parent->list[p]));
    for (; o < own->n && slice_equal(own->list[o].key, key); o++) TRY(add_own(l, &own->list[o]));
    TRY(tell_last(l, INT64_MAX));
  }
  return HDB_OK;
}

status branch_versions(txn *t, const branch *b, uint32_t tree, int64_t from, int64_t to, branch_versions_of read,
                       version_visitor visit, void *context) {
  while (b && to < branch_point(b)) b = branch_parent(b);
  if (!b) return read(t, tree, from, to, visit, context);
  int64_t point = branch_point(b);
  versions parent = {0}, own = {0};
  life l = {.from = from, .to = to, .visit = visit, .context = context};
  uint32_t delta = branch_part(t->engine, b, tree);
  status rc = branch_versions(t, branch_parent(b), tree, from < point ? from : point, point, read, take, &parent);
  if (rc == HDB_OK && delta) rc = read(t, delta, point, to, take, &own);
  if (rc == HDB_OK) rc = merge(&parent, &own, point, &l);
  versions_free(&parent);
  versions_free(&own);
  return rc;
}
