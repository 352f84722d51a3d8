/* The tree of the memory backend: a B+tree whose old versions stay readable.
 *
 * A leaf points to cells (key and value in one allocation), so replacing a 2 KB value moves one pointer. Every
 * object (node, cell) carries the epoch it was born in; opening a snapshot keeps the roots and starts a new epoch.
 *
 * T1  What a live snapshot can reach (born <= its epoch) is never changed: a writer copies such nodes, top down.
 * T2  An object that leaves the newest tree goes to the dead list of the newest snapshot that can reach it, or is
 *     freed at once when none can. A closing snapshot hands each dead object to the next older snapshot that can
 *     reach it, and frees the others. So memory holds exactly what somebody can read; nothing is counted per copy.
 * T3  Changes happen under the store's mutex; reads of a snapshot take no lock at all.
 * T4  Room for an operation is reserved before it starts (tree_reserve), so it cannot fail half way.
 */
#ifndef HDB_KV_TREE_H
#define HDB_KV_TREE_H

#include <stdatomic.h>
#include "kv/kv.h"

enum { TREE_FANOUT = 48, TREE_DEPTH_MAX = 16, TREE_PREFIX_MAX = 24 };

typedef struct tree_object tree_object;
struct tree_object {
  tree_object *dead; /* next in a dead list or pool */
  uint64_t born : 56, kind : 8;
};

typedef struct tree_cell {
  tree_object object;
  atomic_uint references; /* the tree's own, and pins */
  uint32_t key_n;
  size_t value_n;
  uint8_t data[]; /* key, then value */
} tree_cell;

typedef struct tree_node tree_node;
struct tree_node {
  tree_object object;
  uint16_t n;     /* cells of a leaf; children of an inner node, which has n - 1 separator cells */
  uint8_t level;  /* 0: leaf */
  uint8_t skip;   /* bytes shared by all keys here, kept in prefix */
  uint16_t last;  /* where the last insertion went: runs split unevenly */
  uint8_t prefix[TREE_PREFIX_MAX];
  uint64_t head[TREE_FANOUT]; /* the 8 key bytes after skip, big-endian, zero-padded */
  tree_cell *cell[TREE_FANOUT];
  tree_node *child[]; /* inner: child[i] holds keys < cell[i], child[i + 1] those >= */
};

typedef struct tree_snapshot tree_snapshot;
struct tree_snapshot {
  uint64_t epoch;
  unsigned references;
  tree_node *root[KV_FAMILIES];
  tree_object *dead;
  tree_snapshot *older, *newer;
};

typedef struct tree_pool {
  tree_object *first;
  size_t n;
} tree_pool;

typedef struct tree_heap {
  uint64_t epoch;
  tree_snapshot *newest;
  tree_pool leaves, inners, separators;
  size_t separator_size; /* key bytes that each pooled separator has room for */
  size_t key_max;        /* the longest key ever put */
  unsigned levels;       /* of the deepest tree */
} tree_heap;

typedef struct tree_path {
  unsigned depth; /* steps; the last is the leaf */
  struct tree_step {
    tree_node *node;
    unsigned index;
  } step[TREE_DEPTH_MAX];
} tree_path;

static inline slice tree_key(const tree_cell *c) { return slice_of(c->data, c->key_n); }
static inline slice tree_value(const tree_cell *c) { return slice_of(c->data + c->key_n, c->value_n); }

tree_cell *tree_cell_new(slice key, slice value); /* NULL: out of memory */
void tree_cell_release(tree_cell *cell);

void tree_heap_init(tree_heap *heap);
void tree_heap_free(tree_heap *heap);
/* Room for `operations` changes; false: out of memory, nothing changed. */
bool tree_reserve(tree_heap *heap, size_t operations);
/* Takes the cell. `growth` gets the change in bytes of keys and values. */
void tree_put(tree_heap *heap, tree_node **root, tree_cell *cell, int64_t *growth);
bool tree_delete(tree_heap *heap, tree_node **root, slice key, int64_t *growth);
/* Deletes at most one leaf's share of [from, to); false: nothing (more) was there. to empty: no bound. */
bool tree_delete_some(tree_heap *heap, tree_node **root, slice from, slice to, int64_t *growth);
/* Frees what is reachable from root and was born after `epoch` (0: everything). */
void tree_free_since(tree_node *root, uint64_t epoch);

void tree_snapshot_link(tree_heap *heap, tree_snapshot *s, tree_node *const *roots);
/* Unlinks; returns the objects that nobody can reach any more, for tree_free_list outside the mutex. */
tree_object *tree_snapshot_unlink(tree_heap *heap, tree_snapshot *s);
void tree_free_list(tree_object *list);

/* The cell with that key, NULL when absent. */
tree_cell *tree_find(tree_node *root, slice key);
/* Positions at the first key >= key (perhaps one past the leaf's end); true: equal. root is not NULL. */
bool tree_seek(tree_path *path, tree_node *root, slice key);
/* To the first cell of the next leaf, the last of the one before; false: there is none, path unchanged. */
bool tree_next_leaf(tree_path *path);
bool tree_prev_leaf(tree_path *path);
/* Number of cells of a leaf that are < key. */
unsigned tree_leaf_below(const tree_node *leaf, slice key);

/* For tests: the nth allocation from now on fails (0: none); returns what was left of the last setting. */
long tree_fail_allocation(long nth);
/* For tests: asserts the structure of a tree. */
void tree_check(const tree_node *root);

#endif
