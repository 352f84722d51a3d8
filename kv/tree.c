/* The copy-on-write B+tree (idea and invariants: tree.h).
 *
 * Searching a node: all its keys share `skip` bytes, so the 8 bytes after them nearly always decide, and they lie
 * in one array: a branch-free binary search over 6 cache lines, then one comparison with a cell. Sorted keys share
 * what the first and the last share, so skip is recomputed in O(1) at a split; an insertion can only lower it.
 *
 * Splitting: where the insertions of a leaf form a run (ascending or descending) it is cut at the insertion, so
 * loads in key order leave full leaves; otherwise in the middle. A node below a quarter is merged with a
 * neighbour when both fit into three quarters.
 *
 * Cost, a million entries warm: find about 100 ns, put about 200, one malloc a put.
 */
#include "kv/tree.h"

#include <assert.h>
#include <stdlib.h>

enum { KIND_CELL, KIND_LEAF, KIND_INNER };
enum { MERGE_BELOW = TREE_FANOUT / 4, MERGE_MAX = TREE_FANOUT * 3 / 4, POOL_MAX = 256 };

/* ---- allocation ---- */

static atomic_long failing_allocation;

long tree_fail_allocation(long nth) { return atomic_exchange(&failing_allocation, nth); }

static void *allocate(size_t n) {
  if (atomic_load_explicit(&failing_allocation, memory_order_relaxed) > 0 && atomic_fetch_sub(&failing_allocation, 1) == 1)
    return NULL;
  return malloc(n);
}

static size_t node_size(unsigned level) {
  return sizeof(tree_node) + (level ? TREE_FANOUT * sizeof(tree_node *) : 0);
}

static tree_cell *cell_room(size_t key_n, size_t value_n) {
  if (key_n > UINT32_MAX || value_n > SIZE_MAX / 2) return NULL;
  tree_cell *c = allocate(sizeof *c + key_n + value_n);
  if (!c) return NULL;
  c->object.kind = KIND_CELL;
  c->object.born = 0;
  atomic_init(&c->references, 1);
  c->key_n = (uint32_t)key_n;
  c->value_n = value_n;
  return c;
}

tree_cell *tree_cell_new(slice key, slice value) {
  tree_cell *c = cell_room(key.n, value.n);
  if (!c) return NULL;
  if (key.n) memcpy(c->data, key.p, key.n);
  if (value.n) memcpy(c->data + key.n, value.p, value.n);
  return c;
}

void tree_cell_release(tree_cell *c) {
  if (atomic_fetch_sub_explicit(&c->references, 1, memory_order_acq_rel) == 1) free(c);
}

static void object_free(tree_object *o) {
  if (o->kind == KIND_CELL) tree_cell_release((tree_cell *)o);
  else free(o);
}

void tree_free_list(tree_object *list) {
  while (list) {
    tree_object *next = list->dead;
    object_free(list);
    list = next;
  }
}

static void pool_push(tree_pool *pool, tree_object *o) {
  o->dead = pool->first;
  pool->first = o;
  pool->n++;
}

static tree_object *pool_pop(tree_pool *pool) {
  tree_object *o = pool->first;
  assert(o); /* T4 */
  pool->first = o->dead;
  pool->n--;
  return o;
}

static bool pool_fill(tree_pool *pool, size_t n, size_t size) {
  while (pool->n < n) {
    tree_object *o = allocate(size);
    if (!o) return false;
    o->kind = KIND_LEAF; /* whatever free() takes */
    pool_push(pool, o);
  }
  return true;
}

void tree_heap_init(tree_heap *heap) {
  memset(heap, 0, sizeof *heap);
  heap->epoch = 1;
  heap->separator_size = 64;
}

void tree_heap_free(tree_heap *heap) {
  tree_free_list(heap->leaves.first);
  tree_free_list(heap->inners.first);
  tree_free_list(heap->separators.first);
}

/* An operation copies and splits each level at most once, adds one root and one separator; a deletion copies one
 * neighbour a level instead of splitting. */
bool tree_reserve(tree_heap *heap, size_t operations) {
  if (heap->key_max > heap->separator_size) {
    tree_free_list(heap->separators.first);
    heap->separators = (tree_pool){0};
    heap->separator_size = heap->key_max * 2;
  }
  return pool_fill(&heap->leaves, 2 * operations, node_size(0)) &&
         pool_fill(&heap->inners, operations * (2 * heap->levels + 1), node_size(1)) &&
         pool_fill(&heap->separators, operations, sizeof(tree_cell) + heap->separator_size);
}

static tree_node *node_new(tree_heap *heap, unsigned level) {
  tree_node *x = (tree_node *)pool_pop(level ? &heap->inners : &heap->leaves);
  x->object.kind = level ? KIND_INNER : KIND_LEAF;
  x->object.born = heap->epoch;
  x->n = 0;
  x->level = (uint8_t)level;
  x->skip = 0;
  x->last = TREE_FANOUT;
  return x;
}

/* T2: the object has left the newest tree. */
static void retire(tree_heap *heap, tree_object *o) {
  tree_snapshot *s = heap->newest;
  if (s && s->epoch >= o->born) {
    o->dead = s->dead;
    s->dead = o;
    return;
  }
  if (o->kind == KIND_LEAF && heap->leaves.n < POOL_MAX) pool_push(&heap->leaves, o);
  else if (o->kind == KIND_INNER && heap->inners.n < POOL_MAX) pool_push(&heap->inners, o);
  else object_free(o);
}

/* ---- snapshots ---- */

void tree_snapshot_link(tree_heap *heap, tree_snapshot *s, tree_node *const *roots) {
  s->epoch = heap->epoch++;
  s->references = 1;
  memcpy(s->root, roots, sizeof s->root);
  s->dead = NULL;
  s->newer = NULL;
  s->older = heap->newest;
  if (s->older) s->older->newer = s;
  heap->newest = s;
}

tree_object *tree_snapshot_unlink(tree_heap *heap, tree_snapshot *s) {
  tree_snapshot *older = s->older;
  if (s->newer) s->newer->older = older;
  else heap->newest = older;
  if (older) older->newer = s->newer;
  if (!older) return s->dead;
  tree_object *garbage = NULL;
  for (tree_object *o = s->dead, *next; o; o = next) {
    next = o->dead;
    tree_object **list = older->epoch >= o->born ? &older->dead : &garbage;
    o->dead = *list;
    *list = o;
  }
  return garbage;
}

void tree_free_since(tree_node *x, uint64_t epoch) {
  if (!x || x->object.born <= epoch) return;
  unsigned cells = x->level ? x->n - 1u : x->n;
  if (x->level)
    for (unsigned i = 0; i < x->n; i++) tree_free_since(x->child[i], epoch);
  for (unsigned i = 0; i < cells; i++)
    if (x->cell[i]->object.born > epoch) tree_cell_release(x->cell[i]);
  free(x);
}

/* ---- searching a node ---- */

static inline unsigned node_cells(const tree_node *x) { return x->level ? x->n - 1u : x->n; }

static inline uint64_t head_of(slice key, unsigned skip) {
  if (key.n >= skip + 8u) return get_be64(key.p + skip);
  uint8_t bytes[8] = {0};
  if (key.n > skip) memcpy(bytes, key.p + skip, key.n - skip);
  return get_be64(bytes);
}

/* First of `count` cells that is >= key. */
static inline unsigned lower_bound(const tree_node *x, unsigned count, slice key, bool *equal) {
  *equal = false;
  if (count == 0) return 0;
  if (x->skip) {
    size_t n = key.n < x->skip ? key.n : x->skip;
    int c = n ? memcmp(key.p, x->prefix, n) : 0;
    if (c < 0 || (c == 0 && key.n < x->skip)) return 0;
    if (c > 0) return count;
  }
  uint64_t wanted = head_of(key, x->skip);
  unsigned low = 0, length = count;
  while (length > 1) {
    unsigned half = length / 2;
    low += x->head[low + half - 1] < wanted ? half : 0;
    length -= half;
  }
  low += x->head[low] < wanted;
  unsigned high = count;
  while (low < high && x->head[low] == wanted) { /* equal heads: the cells decide, by halves */
    unsigned middle = low;
    if (high - low > 1 && x->head[low + 1] == wanted) middle = low + (high - low) / 2;
    int c = x->head[middle] > wanted ? 1 : slice_compare(tree_key(x->cell[middle]), key);
    if (c == 0) {
      *equal = true;
      return middle;
    }
    if (c < 0) low = middle + 1;
    else if (middle == low) return low;
    else high = middle;
  }
  return low;
}

unsigned tree_leaf_below(const tree_node *leaf, slice key) {
  bool equal;
  return lower_bound(leaf, leaf->n, key, &equal);
}

static inline unsigned child_for(const tree_node *x, slice key) {
  bool equal;
  unsigned i = lower_bound(x, x->n - 1u, key, &equal);
  return i + equal;
}

tree_cell *tree_find(tree_node *x, slice key) {
  if (!x) return NULL;
  while (x->level) x = x->child[child_for(x, key)];
  bool equal;
  unsigned i = lower_bound(x, x->n, key, &equal);
  return equal ? x->cell[i] : NULL;
}

bool tree_seek(tree_path *path, tree_node *x, slice key) {
  struct tree_step *s = path->step;
  for (; x->level; s++) {
    s->node = x;
    s->index = child_for(x, key);
    x = x->child[s->index];
  }
  bool equal;
  s->node = x;
  s->index = lower_bound(x, x->n, key, &equal);
  path->depth = (unsigned)(s - path->step) + 1;
  return equal;
}

bool tree_next_leaf(tree_path *path) {
  unsigned k = path->depth - 1;
  do {
    if (k-- == 0) return false;
  } while (path->step[k].index + 1 >= path->step[k].node->n);
  path->step[k].index++;
  for (; k + 1 < path->depth; k++) {
    path->step[k + 1].node = path->step[k].node->child[path->step[k].index];
    path->step[k + 1].index = 0;
  }
  return true;
}

bool tree_prev_leaf(tree_path *path) {
  unsigned k = path->depth - 1;
  do {
    if (k-- == 0) return false;
  } while (path->step[k].index == 0);
  path->step[k].index--;
  for (; k + 1 < path->depth; k++) {
    path->step[k + 1].node = path->step[k].node->child[path->step[k].index];
    path->step[k + 1].index = path->step[k + 1].node->n - 1u;
  }
  return true;
}

/* ---- changing a node (which is writable) ---- */

static unsigned shared(const uint8_t *a, const uint8_t *b, size_t n) {
  unsigned i = 0;
  while (i < n && a[i] == b[i]) i++;
  return i;
}

static void fill_heads(tree_node *x, unsigned cells) {
  for (unsigned i = 0; i < cells; i++) x->head[i] = head_of(tree_key(x->cell[i]), x->skip);
}

/* The longest prefix possible, after cells were moved in or out. */
static void reindex(tree_node *x) {
  unsigned cells = node_cells(x);
  x->skip = 0;
  if (cells) {
    slice a = tree_key(x->cell[0]), b = tree_key(x->cell[cells - 1]);
    size_t n = a.n < b.n ? a.n : b.n;
    x->skip = (uint8_t)shared(a.p, b.p, n < TREE_PREFIX_MAX ? n : TREE_PREFIX_MAX);
    if (x->skip) memcpy(x->prefix, a.p, x->skip);
  }
  fill_heads(x, cells);
}

/* Puts a cell at i among `cells` of them; does not touch n and the children. */
static void insert_cell(tree_node *x, unsigned cells, unsigned i, tree_cell *c) {
  slice key = tree_key(c);
  if (cells == 0) {
    x->skip = (uint8_t)(key.n < TREE_PREFIX_MAX ? key.n : TREE_PREFIX_MAX);
    if (x->skip) memcpy(x->prefix, key.p, x->skip);
  } else if (x->skip) {
    unsigned common = shared(key.p, x->prefix, key.n < x->skip ? key.n : x->skip);
    if (common < x->skip) {
      x->skip = (uint8_t)common;
      fill_heads(x, cells);
    }
  }
  memmove(x->head + i + 1, x->head + i, (cells - i) * sizeof *x->head);
  memmove(x->cell + i + 1, x->cell + i, (cells - i) * sizeof *x->cell);
  x->head[i] = head_of(key, x->skip);
  x->cell[i] = c;
}

static void remove_cells(tree_node *x, unsigned cells, unsigned i, unsigned n) {
  memmove(x->head + i, x->head + i + n, (cells - i - n) * sizeof *x->head);
  memmove(x->cell + i, x->cell + i + n, (cells - i - n) * sizeof *x->cell);
}

/* Child and separator at i (the separator left of child i + 1) leave: child i + 1 is dropped. */
static tree_cell *remove_right_child(tree_node *x, unsigned i) {
  tree_cell *separator = x->cell[i];
  remove_cells(x, x->n - 1u, i, 1);
  memmove(x->child + i + 1, x->child + i + 2, (x->n - i - 2u) * sizeof *x->child);
  x->n--;
  return separator;
}

/* T1: the node at *slot may be changed afterwards. */
static tree_node *writable(tree_heap *heap, tree_node **slot) {
  tree_node *x = *slot;
  if (!heap->newest || x->object.born > heap->newest->epoch) return x;
  tree_node *copy = node_new(heap, x->level);
  tree_object object = copy->object;
  memcpy(copy, x, node_size(x->level));
  copy->object = object;
  retire(heap, &x->object);
  return *slot = copy;
}

static void writable_path(tree_heap *heap, tree_node **root, tree_path *path) {
  tree_node **slot = root;
  for (unsigned k = 0; k < path->depth; k++) {
    tree_node *x = path->step[k].node = writable(heap, slot);
    if (x->level) slot = &x->child[path->step[k].index];
  }
}

/* ---- insertion ---- */

/* The shortest key that is > left and <= right. */
static tree_cell *separator_new(tree_heap *heap, slice left, slice right) {
  size_t n = shared(left.p, right.p, left.n < right.n ? left.n : right.n) + 1u;
  assert(n <= right.n);
  tree_cell *c = allocate(sizeof *c + n);
  if (!c) c = (tree_cell *)pool_pop(&heap->separators);
  c->object.kind = KIND_CELL;
  c->object.born = heap->epoch;
  atomic_init(&c->references, 1);
  c->key_n = (uint32_t)n;
  c->value_n = 0;
  memcpy(c->data, right.p, n);
  return c;
}

/* Hangs `right` behind the child at the path's step k, splitting upwards. */
static void insert_child(tree_heap *heap, tree_node **root, tree_path *path, unsigned k, tree_cell *separator,
                         tree_node *right) {
  while (k-- > 0) {
    tree_node *x = path->step[k].node;
    unsigned i = path->step[k].index;
    tree_node *target = x, *y = NULL;
    tree_cell *up = NULL;
    if (x->n == TREE_FANOUT) {
      unsigned m = i + 1u == x->n ? x->n - 1u : x->n / 2u;
      y = node_new(heap, x->level);
      y->n = (uint16_t)(x->n - m);
      memcpy(y->child, x->child + m, y->n * sizeof *y->child);
      memcpy(y->cell, x->cell + m, (y->n - 1u) * sizeof *y->cell);
      up = x->cell[m - 1];
      x->n = (uint16_t)m;
      reindex(x);
      reindex(y);
      if (i >= m) target = y, i -= m;
    }
    insert_cell(target, target->n - 1u, i, separator);
    memmove(target->child + i + 2, target->child + i + 1, (target->n - i - 1u) * sizeof *target->child);
    target->child[i + 1] = right;
    target->n++;
    if (!y) return;
    separator = up, right = y;
  }
  tree_node *top = node_new(heap, (*root)->level + 1u);
  top->n = 2;
  top->child[0] = *root;
  top->child[1] = right;
  insert_cell(top, 0, 0, separator);
  *root = top;
  if (top->level + 1u > heap->levels) heap->levels = top->level + 1u;
  assert(heap->levels <= TREE_DEPTH_MAX);
}

static void split_leaf(tree_heap *heap, tree_node **root, tree_path *path, tree_cell *c) {
  tree_node *x = path->step[path->depth - 1].node;
  unsigned i = path->step[path->depth - 1].index, cut = TREE_FANOUT / 2;
  bool to_right = i >= cut;
  if (i && (i == x->last + 1u || i == x->n)) cut = i, to_right = true; /* ascending run */
  else if (i == x->last && i < x->n && i) cut = i, to_right = false;   /* descending run */
  tree_node *y = node_new(heap, 0);
  y->n = (uint16_t)(x->n - cut);
  memcpy(y->cell, x->cell + cut, y->n * sizeof *y->cell);
  x->n = (uint16_t)cut;
  reindex(x);
  reindex(y);
  tree_node *target = to_right ? y : x;
  if (to_right) i -= cut;
  insert_cell(target, target->n, i, c);
  target->n++;
  target->last = (uint16_t)i;
  tree_cell *separator = separator_new(heap, tree_key(x->cell[x->n - 1]), tree_key(y->cell[0]));
  insert_child(heap, root, path, path->depth - 1, separator, y);
}

static int64_t cell_bytes(const tree_cell *c) { return (int64_t)(c->key_n + c->value_n); }

void tree_put(tree_heap *heap, tree_node **root, tree_cell *c, int64_t *growth) {
  c->object.born = heap->epoch;
  *growth += cell_bytes(c);
  if (!*root) {
    *root = node_new(heap, 0);
    if (heap->levels == 0) heap->levels = 1;
  }
  tree_path path;
  bool equal = tree_seek(&path, *root, tree_key(c));
  writable_path(heap, root, &path);
  tree_node *leaf = path.step[path.depth - 1].node;
  unsigned i = path.step[path.depth - 1].index;
  if (equal) {
    tree_cell *old = leaf->cell[i];
    leaf->cell[i] = c;
    *growth -= cell_bytes(old);
    retire(heap, &old->object);
  } else if (leaf->n < TREE_FANOUT) {
    insert_cell(leaf, leaf->n, i, c);
    leaf->n++;
    leaf->last = (uint16_t)i;
  } else {
    split_leaf(heap, root, &path, c);
  }
}

/* ---- deletion ---- */

/* Joins children i and i + 1 of parent, which is writable, when they are small enough. */
static bool merge(tree_heap *heap, tree_node *parent, unsigned i) {
  tree_node *b = parent->child[i + 1];
  if (parent->child[i]->n + b->n > MERGE_MAX) return false;
  tree_node *a = writable(heap, &parent->child[i]);
  tree_cell *separator = remove_right_child(parent, i);
  if (a->level) {
    a->cell[a->n - 1] = separator; /* comes down */
    memcpy(a->cell + a->n, b->cell, (b->n - 1u) * sizeof *a->cell);
    memcpy(a->child + a->n, b->child, b->n * sizeof *a->child);
  } else {
    memcpy(a->cell + a->n, b->cell, b->n * sizeof *a->cell);
    retire(heap, &separator->object);
  }
  a->n = (uint16_t)(a->n + b->n);
  a->last = TREE_FANOUT;
  reindex(a);
  retire(heap, &b->object);
  return true;
}

/* The leaf of the (writable) path lost cells: removes it when empty, merges it when small, and so upwards. */
static void shrink(tree_heap *heap, tree_node **root, tree_path *path) {
  for (unsigned k = path->depth - 1; k > 0; k--) {
    tree_node *x = path->step[k].node, *parent = path->step[k - 1].node;
    unsigned i = path->step[k - 1].index;
    if (x->n >= MERGE_BELOW) return;
    if (x->n == 0 && parent->n > 1) { /* only a leaf can be empty: inner nodes merge or keep one child */
      tree_cell *separator;
      if (i > 0) {
        separator = remove_right_child(parent, i - 1);
      } else {
        parent->child[0] = parent->child[1];
        separator = remove_right_child(parent, 0);
      }
      retire(heap, &separator->object);
      retire(heap, &x->object);
      continue;
    }
    if (x->n == 0) { /* the last child of its parent: the parent is empty too */
      retire(heap, &x->object);
      parent->n = 0;
      continue;
    }
    if (i + 1u < parent->n && merge(heap, parent, i)) continue;
    if (i > 0 && merge(heap, parent, i - 1)) continue;
    if (parent->n > 1) return;
  }
  while (*root && ((*root)->n == 0 || ((*root)->level && (*root)->n == 1))) {
    tree_node *x = *root;
    *root = x->n ? x->child[0] : NULL;
    retire(heap, &x->object);
  }
}

static void remove_run(tree_heap *heap, tree_node **root, tree_path *path, unsigned n, int64_t *growth) {
  writable_path(heap, root, path);
  tree_node *leaf = path->step[path->depth - 1].node;
  unsigned i = path->step[path->depth - 1].index;
  for (unsigned k = i; k < i + n; k++) {
    *growth -= cell_bytes(leaf->cell[k]);
    retire(heap, &leaf->cell[k]->object);
  }
  remove_cells(leaf, leaf->n, i, n);
  leaf->n = (uint16_t)(leaf->n - n);
  leaf->last = TREE_FANOUT;
  if (leaf->n < MERGE_BELOW) shrink(heap, root, path);
}

bool tree_delete(tree_heap *heap, tree_node **root, slice key, int64_t *growth) {
  tree_path path;
  if (!*root || !tree_seek(&path, *root, key)) return false;
  remove_run(heap, root, &path, 1, growth);
  return true;
}

bool tree_delete_some(tree_heap *heap, tree_node **root, slice from, slice to, int64_t *growth) {
  tree_path path;
  if (!*root) return false;
  tree_seek(&path, *root, from);
  struct tree_step *leaf = &path.step[path.depth - 1];
  if (leaf->index == leaf->node->n && !tree_next_leaf(&path)) return false;
  unsigned end = to.n ? tree_leaf_below(leaf->node, to) : leaf->node->n;
  if (end <= leaf->index) return false;
  remove_run(heap, root, &path, end - leaf->index, growth);
  return true;
}

/* ---- for tests ---- */

static void check_node(const tree_node *x, slice low, slice high, bool bounded) {
  unsigned cells = node_cells(x);
  assert(x->n > 0 && x->n <= TREE_FANOUT);
  for (unsigned i = 0; i < cells; i++) {
    slice key = tree_key(x->cell[i]);
    assert(slice_compare(key, low) >= 0 && (!bounded || slice_compare(key, high) < 0));
    assert(i == 0 || slice_compare(tree_key(x->cell[i - 1]), key) < 0);
    assert(slice_starts(key, slice_of(x->prefix, x->skip)));
    assert(x->head[i] == head_of(key, x->skip));
  }
  for (unsigned i = 0; x->level && i < x->n; i++) {
    assert(x->child[i]->level + 1 == x->level);
    check_node(x->child[i], i ? tree_key(x->cell[i - 1]) : low, i < cells ? tree_key(x->cell[i]) : high,
               i < cells || bounded);
  }
}

void tree_check(const tree_node *root) {
  if (root) check_node(root, slice_of(NULL, 0), slice_of(NULL, 0), false);
}
