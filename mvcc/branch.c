/* Branches: what a branch changed lies in trees of its own, over the parent as it was at the branch point.
 *
 * The first write of a branch to a tree makes a *delta* tree: an ordinary tree under an id of its own, whose keys are
 * those of the tree and whose values are the branch's rows, or TOMBSTONE where the branch deleted the key. So groups,
 * history, the queue, conflicts, the feed and the cache serve branches as they serve main, and AS OF on a branch is AS
 * OF on its delta. A cursor of a branch (layered, below) merges the delta over a cursor of the parent AS OF the branch
 * point, which for a branch of a branch is layered again.
 *
 *   meta key              value
 *   next_branch           varint: the next branch's id; ids are never given again
 *   branch/<id>           varints: parent, branch point, when it was made; then the name
 *   delta/<id>/<tree>     varint: the delta tree
 *
 * B1  The parent at the branch point never changes: history back to every live branch point is kept (retain.c).
 * B2  TOMBSTONE is a record without columns; no row and no index entry is one.
 * B3  What was said to hold on a branch (txn_expect) does when nobody committed a key of that beginning since the view:
 *     the prefix counts as read. That is more than needed, never less.
 * B4  Which delta a tree has never changes while the branch lives, and is in the log before the first commit to it.
 * B5  Layered: both sides stand at the first key >= the public one (direction +1; -1: the last <=). A write of the
 *     transaction moves the delta's generation, its end `ended`; then both are sought again.
 * Cost: making a branch is one write; a row read costs a comparison with the delta's next key.
 */
#include <stdlib.h>

#include "kv/base/key.h"
#include "mvcc/internal.h"
#include "mvcc/process.h"

struct delta {
  uint32_t tree, own;
};
struct branch {
  branch *next, *parent; /* parent NULL: main */
  uint32_t id;
  int64_t point, created;
  bool dropped;
  bool there; /* branches_sync: meta has it */
  struct delta *deltas; /* under branches_lock */
  size_t deltas_n, deltas_capacity;
  _Atomic uint32_t generation; /* moves with every new delta */
  char *name;
};
static const uint8_t tombstone[1] = {0};

static bool is_tombstone(slice value) { return value.n == 1 && value.p[0] == 0; }

/* ---- meta ---- */

static status write_meta(engine *e, slice key, slice value, bool sync) {
  kv_batch *batch = kv_batch_new(e->store);
  if (!batch) return HDB_NOMEM;
  kv_batch_put(batch, KV_META, key, value);
  status rc = kv_write(e->store, batch, sync && !e->memory);
  kv_batch_free(batch);
  return rc;
}

/* Under the lock: the newest point of all, 0 without branches. */
static void note_newest(engine *e) {
  int64_t newest = 0;
  for (const branch *b = e->branches; b; b = b->next)
    if (!b->dropped && b->point > newest) newest = b->point;
  atomic_store(&e->branches_newest, newest);
}

static branch *find_id(engine *e, uint32_t id) {
  branch *b = e->branches;
  while (b && b->id != id) b = b->next;
  return b;
}

static branch *find_name(engine *e, const char *name) {
  branch *b = e->branches;
  while (b && (b->dropped || strcmp(b->name, name) != 0)) b = b->next;
  return b;
}

static status add_delta(branch *b, uint32_t tree, uint32_t own) {
  if (b->deltas_n == b->deltas_capacity) {
    size_t capacity = b->deltas_capacity ? 2 * b->deltas_capacity : 8;
    struct delta *deltas = realloc(b->deltas, capacity * sizeof *deltas);
    if (!deltas) return HDB_NOMEM;
    b->deltas = deltas, b->deltas_capacity = capacity;
  }
  size_t k = b->deltas_n++;
  for (; k > 0 && b->deltas[k - 1].tree > tree; k--) b->deltas[k] = b->deltas[k - 1];
  b->deltas[k] = (struct delta){tree, own};
  atomic_fetch_add(&b->generation, 1);
  return HDB_OK;
}

static uint32_t find_delta(const branch *b, uint32_t tree) {
  size_t low = 0, high = b->deltas_n;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (b->deltas[middle].tree < tree) low = middle + 1;
    else high = middle;
  }
  return low < b->deltas_n && b->deltas[low].tree == tree ? b->deltas[low].own : 0;
}

static void branch_free(branch *b) {
  if (!b) return;
  free(b->deltas);
  free(b->name);
  free(b);
}

static branch *branch_make(engine *e, uint32_t id, uint32_t parent, int64_t point, int64_t created, slice name) {
  branch *b = calloc(1, sizeof *b);
  if (!b || !(b->name = strndup((const char *)name.p, name.n))) {
    branch_free(b);
    return NULL;
  }
  b->id = id, b->point = point, b->created = created, b->there = true;
  b->parent = find_id(e, parent);
  branch **end = &e->branches;
  while (*end) end = &(*end)->next;
  *end = b;
  return b;
}

/* A key "name/12" or "name/12/34". */
static uint32_t number_at(slice key, size_t at, size_t *end) {
  uint32_t n = 0;
  while (at < key.n && key.p[at] >= '0' && key.p[at] <= '9') n = n * 10 + (uint32_t)(key.p[at++] - '0');
  *end = at;
  return n;
}

static status load_branch(engine *e, slice key, slice value) {
  size_t end;
  uint64_t v[3];
  uint32_t id = number_at(key, strlen("branch/"), &end);
  const uint8_t *p = value.p, *stop = value.p + value.n;
  for (int k = 0; k < 3 && p; k++) p = varint_get(p, stop, &v[k]);
  if (!p) return HDB_CORRUPT;
  slice name = slice_of(p, (size_t)(stop - p));
  branch *known = find_id(e, id);
  if (known) {
    known->there = true;
    return HDB_OK;
  }
  return branch_make(e, id, (uint32_t)v[0], (int64_t)v[1], (int64_t)v[2], name) ? HDB_OK : HDB_NOMEM;
}

static status load_delta(engine *e, slice key, slice value) {
  size_t end;
  uint64_t own;
  branch *b = find_id(e, number_at(key, strlen("delta/"), &end));
  uint32_t tree = number_at(key, end + 1, &end);
  if (!b) return HDB_OK; /* of a branch that is being dropped */
  if (!varint_get(value.p, value.p + value.n, &own)) return HDB_CORRUPT;
  return find_delta(b, tree) ? HDB_OK : add_delta(b, tree, (uint32_t)own);
}

static status load_all_once(engine *e, const char *from, const char *to, status (*load)(engine *, slice, slice)) {
  kv_iter *it;
  TRY(kv_iter_open(e->store, NULL, KV_META, slice_str(from), slice_str(to), &it));
  status rc = HDB_OK;
  for (it->seek(it, slice_str(from)); it->valid && rc == HDB_OK; it->next(it)) rc = load(e, it->key, it->value);
  if (rc == HDB_OK) rc = it->error;
  it->close(it);
  return rc;
}

static status load_all(engine *e, const char *from, const char *to, status (*load)(engine *, slice, slice)) {
  for (;;) {
    uint32_t generation = atomic_load(&e->generation);
    status rc = load_all_once(e, from, to, load);
    if (rc != HDB_BUSY_RECOVERY) return rc;
    TRY(process_recover(e, generation));
  }
}

static status relink(engine *e, slice key, slice value) { /* names sort 10 before 9: parents may have come later */
  size_t end;
  uint64_t parent;
  branch *b = find_id(e, number_at(key, strlen("branch/"), &end));
  if (b && varint_get(value.p, value.p + value.n, &parent)) b->parent = find_id(e, (uint32_t)parent);
  return HDB_OK;
}

status branches_load(engine *e) {
  if (e->memory) return HDB_OK;
  TRY(load_all(e, "branch/", "branch0", load_branch));
  TRY(load_all(e, "branch/", "branch0", relink));
  note_newest(e);
  return load_all(e, "delta/", "delta0", load_delta);
}

static status sync_locked(engine *e) {
  for (branch *b = e->branches; b; b = b->next) b->there = false;
  TRY(load_all(e, "branch/", "branch0", load_branch));
  TRY(load_all(e, "branch/", "branch0", relink));
  TRY(load_all(e, "delta/", "delta0", load_delta));
  for (branch *b = e->branches; b; b = b->next) b->dropped = !b->there;
  note_newest(e);
  return HDB_OK;
}

status branches_sync(engine *e) {
  pthread_mutex_lock(&e->branches_lock);
  status rc = sync_locked(e);
  pthread_mutex_unlock(&e->branches_lock);
  return rc;
}

void branches_free(engine *e) {
  while (e->branches) {
    branch *b = e->branches;
    e->branches = b->next;
    branch_free(b);
  }
}

int64_t branches_oldest(engine *e) {
  int64_t oldest = INT64_MAX;
  pthread_mutex_lock(&e->branches_lock);
  for (branch *b = e->branches; b; b = b->next)
    if (!b->dropped && b->point < oldest) oldest = b->point;
  pthread_mutex_unlock(&e->branches_lock);
  return oldest;
}

/* ---- making, finding, dropping ---- */

static status next_id(engine *e, uint32_t *id) {
  kv_value value;
  uint64_t next = 1;
  status rc = kv_get(e->store, NULL, KV_META, slice_str("next_branch"), &value);
  if (rc == HDB_OK) {
    if (!varint_get(value.data.p, value.data.p + value.data.n, &next)) rc = HDB_CORRUPT;
    kv_release(&value);
  } else if (rc == HDB_NOTFOUND) {
    rc = HDB_OK;
  }
  TRY(rc);
  buf text = BUF_INIT;
  buf_varint(&text, next + 1);
  rc = buf_failed(&text) ? HDB_NOMEM : write_meta(e, slice_str("next_branch"), buf_slice(&text), false);
  buf_free(&text);
  *id = (uint32_t)next;
  return rc;
}

static status create_locked(engine *e, const char *name, uint32_t parent, int64_t point, uint32_t *id) {
  if (find_name(e, name)) return HDB_CONSTRAINT_UNIQUE;
  branch *from = find_id(e, parent);
  if (parent != BRANCH_MAIN && (!from || from->dropped)) return HDB_NOTFOUND;
  TRY(next_id(e, id));
  buf key = BUF_INIT, value = BUF_INIT;
  int64_t created = engine_now();
  buf_printf(&key, "branch/%u", (unsigned)*id);
  buf_varint(&value, parent), buf_varint(&value, (uint64_t)point), buf_varint(&value, (uint64_t)created);
  buf_text(&value, name);
  status rc = buf_failed(&key) || buf_failed(&value) ? HDB_NOMEM : write_meta(e, buf_slice(&key), buf_slice(&value), true);
  buf_free(&key);
  buf_free(&value);
  TRY(rc);
  if (!branch_make(e, *id, parent, point, created, slice_str(name))) return HDB_NOMEM;
  note_newest(e);
  return HDB_OK;
}

status branch_create(engine *e, const char *name, uint32_t parent, int64_t as_of, uint32_t *id) {
  if (e->read_only) return HDB_READONLY;
  if (is_remote(e)) {
    status rc = remote_branch_create(e, name, parent, as_of, id);
    if (rc != HDB_BUSY_RECOVERY) return rc;
  }
  TRY(retain_for_branches(e));
  int64_t point = as_of ? as_of : engine_newest(e);
  if (point < engine_oldest(e)) return HDB_ERROR_SNAPSHOT;
  pthread_mutex_lock(&e->branches_lock);
  status rc = create_locked(e, name, parent, point ? point : 1, id);
  pthread_mutex_unlock(&e->branches_lock);
  process_branches_moved(e);
  return rc;
}

status branch_find(engine *e, const char *name, uint32_t *id) {
  *id = BRANCH_MAIN;
  if (strcmp(name, "main") == 0) return HDB_OK;
  if (is_remote(e)) TRY(process_look(e));
  pthread_mutex_lock(&e->branches_lock);
  branch *b = find_name(e, name);
  if (b) *id = b->id;
  pthread_mutex_unlock(&e->branches_lock);
  return b ? HDB_OK : HDB_NOTFOUND;
}

status branch_each(engine *e, branch_visitor visit, void *context) {
  status rc = HDB_OK;
  branch_info main = {.name = "main"};
  if (is_remote(e)) TRY(process_look(e));
  TRY(visit(context, &main));
  pthread_mutex_lock(&e->branches_lock);
  for (branch *b = e->branches; b && rc == HDB_OK; b = b->next) {
    branch_info i = {.id = b->id, .parent = b->parent ? b->parent->id : BRANCH_MAIN, .parent_name = b->parent ? b->parent->name : "main",
                     .name = b->name, .point = b->point, .created = b->created};
    if (!b->dropped) rc = visit(context, &i);
  }
  pthread_mutex_unlock(&e->branches_lock);
  return rc;
}

static void remove_range(kv_batch *batch, enum kv_family family, uint32_t tree) {
  uint8_t from[4], to[4];
  put_be32(from, tree), put_be32(to, tree + 1);
  kv_batch_delete_range(batch, family, slice_of(from, 4), slice_of(to, 4));
}

static status remove_branch(engine *e, branch *b) {
  kv_batch *batch = kv_batch_new(e->store);
  buf key = BUF_INIT;
  if (!batch) return HDB_NOMEM;
  buf_printf(&key, "branch/%u", (unsigned)b->id);
  kv_batch_delete(batch, KV_META, buf_slice(&key));
  for (size_t k = 0; k < b->deltas_n && !buf_failed(&key); k++) {
    remove_range(batch, KV_ROWS, b->deltas[k].own);
    remove_range(batch, KV_VERSIONS, b->deltas[k].own);
    buf_clear(&key), tree_count_key(b->deltas[k].own, &key);
    kv_batch_delete(batch, KV_META, buf_slice(&key));
    buf_clear(&key), buf_printf(&key, "delta/%u/%u", (unsigned)b->id, (unsigned)b->deltas[k].tree);
    kv_batch_delete(batch, KV_META, buf_slice(&key));
  }
  status rc = buf_failed(&key) ? HDB_NOMEM : kv_write(e->store, batch, !e->memory);
  kv_batch_free(batch);
  buf_free(&key);
  if (rc == HDB_OK) b->dropped = true, note_newest(e);
  return rc;
}

static bool is_used(engine *e, const branch *b) {
  bool used = false;
  for (branch *c = e->branches; c; c = c->next) used = used || (c->parent == b && !c->dropped);
  used = used || process_branch_used(e, b->id);
  pthread_mutex_lock(&e->txns_lock);
  for (txn *t = e->txns; t; t = t->next) used = used || t->branch == b;
  pthread_mutex_unlock(&e->txns_lock);
  return used;
}

status branch_drop(engine *e, uint32_t id) {
  if (e->read_only) return HDB_READONLY;
  if (is_remote(e)) {
    status rc = remote_branch_drop(e, id);
    if (rc != HDB_BUSY_RECOVERY) return rc;
  }
  pthread_mutex_lock(&e->branches_lock);
  branch *b = find_id(e, id);
  status rc = !b || b->dropped ? HDB_NOTFOUND : is_used(e, b) ? HDB_BUSY : remove_branch(e, b);
  pthread_mutex_unlock(&e->branches_lock);
  process_branches_moved(e);
  return rc;
}

/* ---- transactions on a branch ---- */

status txn_set_branch(txn *t, uint32_t id) {
  if (t->open || t->holding) return HDB_MISUSE;
  branch *b = NULL;
  if (is_remote(t->engine)) TRY(remote_branch_use(t->engine, txn_branch(t), id));
  pthread_mutex_lock(&t->engine->branches_lock);
  if (id != BRANCH_MAIN) b = find_id(t->engine, id);
  bool there = id == BRANCH_MAIN || (b && !b->dropped);
  if (there) {
    pthread_mutex_lock(&t->engine->txns_lock);
    t->branch = b;
    pthread_mutex_unlock(&t->engine->txns_lock);
  }
  pthread_mutex_unlock(&t->engine->branches_lock);
  return there ? HDB_OK : HDB_NOTFOUND;
}

bool txn_is_past(const txn *t) { return t->as_of != 0; }

bool txn_is_main_now(const txn *t) { return !t->branch && !t->as_of; }

uint32_t txn_branch(const txn *t) { return t->branch ? t->branch->id : BRANCH_MAIN; }

static status make_delta(engine *e, branch *b, uint32_t tree, uint32_t *own);

static uint32_t delta_of(engine *e, branch *b, uint32_t tree) {
  pthread_mutex_lock(&e->branches_lock);
  uint32_t own = find_delta(b, tree);
  pthread_mutex_unlock(&e->branches_lock);
  return own;
}

status branch_delta(engine *e, uint32_t id, uint32_t tree, uint32_t *own) {
  pthread_mutex_lock(&e->branches_lock);
  branch *b = find_id(e, id);
  *own = b ? find_delta(b, tree) : 0;
  pthread_mutex_unlock(&e->branches_lock);
  return !b || b->dropped ? HDB_NOTFOUND : *own ? HDB_OK : make_delta(e, b, tree, own);
}

static status make_delta(engine *e, branch *b, uint32_t tree, uint32_t *own) {
  buf key = BUF_INIT, value = BUF_INIT;
  status rc = HDB_OK;
  uint32_t fresh;
  if (is_remote(e)) {
    rc = remote_branch_delta(e, b->id, tree, own);
    if (rc != HDB_BUSY_RECOVERY) return rc;
  }
  TRY(tree_new_id(e, &fresh));
  pthread_mutex_lock(&e->branches_lock);
  *own = find_delta(b, tree);
  if (!*own) {
    buf_printf(&key, "delta/%u/%u", (unsigned)b->id, (unsigned)tree);
    buf_varint(&value, fresh);
    rc = buf_failed(&key) || buf_failed(&value) ? HDB_NOMEM : write_meta(e, buf_slice(&key), buf_slice(&value), false); /* B4 */
    if (rc == HDB_OK) rc = add_delta(b, tree, fresh);
    if (rc == HDB_OK) *own = fresh;
  }
  pthread_mutex_unlock(&e->branches_lock);
  if (*own == fresh) process_branches_moved(e);
  buf_free(&key);
  buf_free(&value);
  return rc;
}

/* A branch's schema that moved under the transaction is a conflict, as main's is. */
static status watch_schema(txn *t) {
  uint32_t schema = delta_of(t->engine, t->branch, TREE_SCHEMA);
  return schema ? reads_add(&t->reads, schema, slice_of(NULL, 0), NULL) : HDB_OK;
}

status branch_tree(txn *t, uint32_t tree, uint32_t *own) {
  if (t->last_tree != tree || t->last_branch != t->branch) {
    uint32_t found = delta_of(t->engine, t->branch, tree);
    if (!found) TRY(make_delta(t->engine, t->branch, tree, &found));
    t->last_tree = tree, t->last_delta = found, t->last_branch = t->branch;
  }
  *own = t->last_delta;
  if (t->writes.trees_n == 0) TRY(watch_schema(t));
  return HDB_OK;
}

status branch_each_delta(engine *e, const erase_tree *spec, branch_delta_visitor visit, void *context) {
  status rc = HDB_OK;
  pthread_mutex_lock(&e->branches_lock);
  for (branch *b = e->branches; b && rc == HDB_OK; b = b->next) {
    uint32_t own = b->dropped ? 0 : find_delta(b, spec->tree);
    if (own) rc = visit(context, own, spec);
  }
  pthread_mutex_unlock(&e->branches_lock);
  return rc;
}

uint32_t branch_tree_behind(txn *t, uint32_t own) {
  uint32_t tree = own;
  pthread_mutex_lock(&t->engine->branches_lock);
  for (size_t k = 0; k < t->branch->deltas_n; k++)
    if (t->branch->deltas[k].own == own) tree = t->branch->deltas[k].tree;
  pthread_mutex_unlock(&t->engine->branches_lock);
  return tree;
}

status branch_expect(txn *t, uint32_t tree, slice prefix) { /* B3 */
  uint32_t own;
  TRY(branch_tree(t, tree, &own));
  buf high = BUF_INIT;
  buf_append(&high, prefix.p, prefix.n);
  bool bounded = key_successor(&high);
  slice end = buf_slice(&high);
  status rc = buf_failed(&high) ? HDB_NOMEM : reads_add(&t->reads, own, prefix, bounded ? &end : NULL);
  buf_free(&high);
  return rc;
}

int64_t branch_schema_time(txn *t) {
  uint32_t own = delta_of(t->engine, t->branch, TREE_SCHEMA);
  tree_info *i;
  if (!own || tree_get(t->engine, own, &i) != HDB_OK) return t->branch->point;
  int64_t changed = is_remote(t->engine) ? remote_changed_time(t->engine, own) : atomic_load(&i->changed_time);
  if (changed == 0) return t->branch->point;
  return changed <= t->view_time ? changed : -t->view_time; /* newer than the view: like no other */
}

const branch *branch_parent(const branch *b) { return b->parent; }
int64_t branch_point(const branch *b) { return b->point; }
uint32_t branch_part(engine *e, const branch *b, uint32_t tree) { return delta_of(e, (branch *)b, tree); }

/* The largest row id that any branch or main has in the tree; then kept in tree_info. */
static status largest_in(txn *t, uint32_t tree, int64_t *max) {
  cursor *c;
  TRY(scan_open(t, tree, 0, &c));
  bool unwatched = t->unwatched;
  t->unwatched = true;
  cursor_last(c);
  t->unwatched = unwatched;
  status rc = c->error;
  if (c->valid && c->key.n == 8 && rowid_decode(c->key.p) > *max) *max = rowid_decode(c->key.p);
  cursor_close(c);
  return rc;
}

status branch_rowid_floor(txn *t, tree_info *i) {
  if (atomic_load(&i->branch_rowids)) return HDB_OK;
  engine *e = t->engine;
  uint32_t own[64];
  size_t n = 0;
  int64_t max = 0;
  pthread_mutex_lock(&e->branches_lock);
  for (branch *b = e->branches; b; b = b->next) {
    uint32_t delta = b->dropped ? 0 : find_delta(b, i->tree);
    if (delta && n < sizeof own / sizeof *own) own[n++] = delta;
  }
  pthread_mutex_unlock(&e->branches_lock);
  TRY(largest_in(t, i->tree, &max));
  for (size_t k = 0; k < n; k++) TRY(largest_in(t, own[k], &max));
  pthread_mutex_lock(&i->lock);
  if (max > i->branch_max) i->branch_max = max;
  pthread_mutex_unlock(&i->lock);
  atomic_store(&i->branch_rowids, true);
  return HDB_OK;
}

/* Every key that the branch itself has changed since it was made (also back to what it was), in order. */
status branch_keys(txn *t, uint32_t id, uint32_t tree, branch_key_visitor visit, void *context) {
  pthread_mutex_lock(&t->engine->branches_lock);
  branch *b = find_id(t->engine, id);
  uint32_t own = b ? find_delta(b, tree) : 0;
  pthread_mutex_unlock(&t->engine->branches_lock);
  if (!own) return HDB_OK;
  cursor *c;
  TRY(scan_open(t, own, 0, &c));
  status rc = HDB_OK;
  for (cursor_first(c); c->valid && rc == HDB_OK; cursor_next(c)) rc = visit(context, c->key);
  if (rc == HDB_OK) rc = c->error;
  cursor_close(c);
  return rc;
}

/* ---- cursors ---- */

typedef struct layered {
  cursor pub; /* first: a cursor may be layered */
  txn *t;
  branch *b;
  uint32_t tree, own;
  int64_t as_of;   /* of the delta; 0: the transaction's view */
  cursor *delta;   /* NULL: the branch never wrote to the tree */
  cursor *base;
  const cursor *from; /* of the two: what is shown */
  uint32_t branch_generation;
  uint64_t write_generation, ended;
  int direction;
  bool on_delta, on_base, placed;
  buf saved;
} layered;

static void layered_next(cursor *c);
static void layered_prev(cursor *c);

static status open_on(txn *t, branch *b, uint32_t tree, int64_t as_of, cursor **out);

static status open_layered(txn *t, branch *b, uint32_t tree, int64_t as_of, cursor **out) {
  layered *l = calloc(1, sizeof *l);
  if (!l) return HDB_NOMEM;
  l->t = t, l->b = b, l->tree = tree, l->as_of = as_of;
  l->pub.layered = true;
  l->pub.next = layered_next, l->pub.prev = layered_prev;
  l->branch_generation = UINT32_MAX;
  status rc = open_on(t, b->parent, tree, b->point, &l->base);
  if (rc != HDB_OK) {
    free(l);
    return rc;
  }
  *out = &l->pub;
  return HDB_OK;
}

/* As of a time before the branch point the branch is its parent. */
static status open_on(txn *t, branch *b, uint32_t tree, int64_t as_of, cursor **out) {
  while (b && as_of && as_of < b->point) b = b->parent;
  return b ? open_layered(t, b, tree, as_of, out) : scan_open(t, tree, as_of, out);
}

status branch_cursor_open(txn *t, uint32_t tree, int64_t as_of, cursor **out) { return open_on(t, t->branch, tree, as_of, out); }

void layered_close(cursor *c) {
  layered *l = (layered *)c;
  cursor_close(l->delta);
  cursor_close(l->base);
  buf_free(&l->saved);
  free(l);
}

void layered_reset(cursor *c) {
  layered *l = (layered *)c;
  if (l->delta) cursor_reset(l->delta);
  cursor_reset(l->base);
  c->valid = false;
  l->placed = false;
}

static uint64_t write_generation(layered *l) {
  if (l->as_of || !l->own || !l->t->open) return 0;
  write_tree *w = writeset_find(&l->t->writes, l->own);
  return w ? w->generation : 0;
}

static bool fail(layered *l, status rc) {
  l->pub.valid = false;
  l->pub.error = rc;
  return false;
}

/* Before every positioning. */
static bool prepare(layered *l) {
  l->pub.valid = false, l->pub.error = HDB_OK;
  uint32_t generation = atomic_load(&l->b->generation);
  if (!l->delta && generation != l->branch_generation) {
    l->own = delta_of(l->t->engine, l->b, l->tree);
    l->branch_generation = generation;
    status rc = l->own ? scan_open(l->t, l->own, l->as_of, &l->delta) : HDB_OK;
    if (rc != HDB_OK) return fail(l, rc);
  }
  l->write_generation = write_generation(l), l->ended = l->t->ended;
  l->placed = true;
  return true;
}

static bool moved_on(layered *l) {
  if (l->ended != l->t->ended) return true;
  if (!l->delta) return atomic_load(&l->b->generation) != l->branch_generation;
  return write_generation(l) != l->write_generation;
}

/* Both sides stand at candidates: the nearest in the direction that is not deleted. */
static void show(layered *l, int direction) {
  l->direction = direction;
  for (;;) {
    if (l->delta && l->delta->error != HDB_OK) return (void)fail(l, l->delta->error);
    if (l->base->error != HDB_OK) return (void)fail(l, l->base->error);
    bool delta = l->delta && l->delta->valid, base = l->base->valid;
    l->pub.valid = delta || base;
    if (!l->pub.valid) return;
    int order = !delta ? 1 : !base ? -1 : slice_compare(l->delta->key, l->base->key) * direction;
    l->on_delta = order <= 0, l->on_base = order >= 0;
    const cursor *from = l->from = l->on_delta ? l->delta : l->base;
    l->pub.key = from->key, l->pub.value = from->value;
    if (!l->on_delta || !is_tombstone(from->value)) return;
    if (direction > 0) {
      cursor_next(l->delta);
      if (l->on_base) cursor_next(l->base);
    } else {
      cursor_prev(l->delta);
      if (l->on_base) cursor_prev(l->base);
    }
  }
}

static void seek(layered *l, slice key, int direction) {
  if (!prepare(l)) return;
  if (direction > 0) {
    if (l->delta) cursor_seek(l->delta, key);
    cursor_seek(l->base, key);
  } else {
    if (l->delta) cursor_seek_for_prev(l->delta, key);
    cursor_seek_for_prev(l->base, key);
  }
  show(l, direction);
}

static slice shown_key(const cursor *c) {
  while (c->layered) c = ((const layered *)c)->from;
  return c->key;
}

static void move(layered *l, int direction) {
  if (!l->pub.valid) return;
  if (l->direction != direction || moved_on(l) || !l->placed) {
    slice at = shown_key(&l->pub); /* the transaction's end may have moved it */
    buf_clear(&l->saved);
    buf_append(&l->saved, at.p, at.n);
    if (buf_failed(&l->saved)) return (void)fail(l, HDB_NOMEM);
    slice key = buf_slice(&l->saved);
    seek(l, key, direction);
    if (!l->pub.valid || !slice_equal(l->pub.key, key)) return;
  }
  bool delta = l->on_delta, base = l->on_base;
  if (direction > 0) {
    if (delta) cursor_next(l->delta);
    if (base) cursor_next(l->base);
  } else {
    if (delta) cursor_prev(l->delta);
    if (base) cursor_prev(l->base);
  }
  show(l, direction);
}

static void layered_next(cursor *c) { move((layered *)c, 1); }
static void layered_prev(cursor *c) { move((layered *)c, -1); }

void layered_first(cursor *c) {
  layered *l = (layered *)c;
  if (!prepare(l)) return;
  if (l->delta) cursor_first(l->delta);
  cursor_first(l->base);
  show(l, 1);
}

void layered_last(cursor *c) {
  layered *l = (layered *)c;
  if (!prepare(l)) return;
  if (l->delta) cursor_last(l->delta);
  cursor_last(l->base);
  show(l, -1);
}

void layered_seek(cursor *c, slice key) { seek((layered *)c, key, 1); }
void layered_seek_for_prev(cursor *c, slice key) { seek((layered *)c, key, -1); }

/* The position of the other side is not known afterwards: a move seeks. */
bool layered_find(cursor *c, slice key) {
  layered *l = (layered *)c;
  if (!prepare(l)) return false;
  const cursor *from = NULL;
  l->placed = false, l->direction = 0;
  if (l->delta && cursor_find(l->delta, key)) {
    if (is_tombstone(l->delta->value)) return false;
    from = l->delta;
  } else if (l->delta && l->delta->error != HDB_OK) {
    return fail(l, l->delta->error);
  } else if (cursor_find(l->base, key)) {
    from = l->base;
  } else if (l->base->error != HDB_OK) {
    return fail(l, l->base->error);
  }
  if (!from) return false;
  l->from = from;
  l->pub.key = from->key, l->pub.value = from->value;
  return l->pub.valid = true;
}

/* ---- writing ---- */

slice branch_tombstone(void) { return slice_of(tombstone, sizeof tombstone); }

status branch_clear(txn *t, uint32_t tree) {
  cursor *c;
  buf key = BUF_INIT;
  TRY(cursor_open(t, tree, 0, &c));
  status rc = HDB_OK;
  for (cursor_first(c); c->valid && rc == HDB_OK; cursor_next(c)) {
    buf_clear(&key);
    buf_append(&key, c->key.p, c->key.n);
    rc = buf_failed(&key) ? HDB_NOMEM : txn_delete(t, tree, buf_slice(&key));
  }
  if (rc == HDB_OK) rc = c->error;
  cursor_close(c);
  buf_free(&key);
  return rc;
}
