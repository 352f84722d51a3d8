/* The private writes of one transaction: a B+tree in memory for each tree it wrote, and one undo log.
 *
 * Everything lies in one arena that lives as long as the transaction. An entry is a key with a chain of
 * versions, newest first; the undo log holds, for each write, the entry whose newest version it made.
 * A savepoint is a position in the log; going back pops versions. An entry whose last version is popped stays
 * in its tree in state NONE and is stepped over: so nothing is ever taken out of a B+tree, and keys that
 * cursors borrowed live until the transaction ends. Appending (row ids going up) fills leaves to the brim and
 * needs no search.
 *
 * W1  Entries of a tree ascend strictly; all of a leaf's entries are below those of the next leaf.
 * W2  Inner nodes: keys of child i are >= its separator i (separator 0 is not looked at).
 * W3  A write is in the tree and in the log. After HDB_NOMEM the tree may be bent: the transaction is doomed.
 * Cost: append about 50 ns, insert elsewhere 100-200 ns, undo 5 ns a write.
 */
#include "mvcc/writeset.h"

#include <assert.h>
#include <stdlib.h>

typedef struct write_inner {
  uint32_t n; /* children */
  uint64_t head[INNER_FAN];
  write_entry *low[INNER_FAN]; /* the separator: an entry of the child (its first when it was made) */
  void *child[INNER_FAN];
} write_inner;

enum { KEEP_BYTES = 32768 }; /* a larger transaction's memory is given back at its end */

void writeset_init(writeset *w) {
  memset(w, 0, sizeof *w);
  w->empty = arena_save(&w->memory);
}

static void free_trees(writeset *w) {
  for (size_t i = 0; i < w->trees_n; i++) free(w->trees[i]);
  w->trees_n = 0;
  w->recent = NULL;
}

void writeset_free(writeset *w) {
  free_trees(w);
  arena_clear(&w->memory);
  free(w->trees);
  free(w->log);
  memset(w, 0, sizeof *w);
}

void writeset_clear(writeset *w) {
  free_trees(w);
  if (w->bytes > KEEP_BYTES) {
    arena_clear(&w->memory);
  } else {
    arena_rewind(&w->memory, w->empty);
  }
  w->memory.failed = false;
  w->bytes = 0;
  w->log_n = 0;
  w->facts = NULL, w->schema_writes = 0;
  if (w->log_capacity > 1024) {
    free(w->log);
    w->log = NULL, w->log_capacity = 0;
  }
}

write_tree *writeset_find(writeset *w, uint32_t tree) {
  if (w->recent && w->recent->tree == tree) return w->recent;
  for (size_t i = 0; i < w->trees_n; i++) {
    if (w->trees[i]->tree == tree) return w->recent = w->trees[i];
  }
  return NULL;
}

status writeset_tree(writeset *w, uint32_t tree, write_tree **out) {
  *out = writeset_find(w, tree);
  if (*out) return HDB_OK;
  if (w->trees_n == w->trees_capacity) {
    size_t capacity = w->trees_capacity ? 2 * w->trees_capacity : 8;
    write_tree **trees = realloc(w->trees, capacity * sizeof *trees);
    if (!trees) return HDB_NOMEM;
    w->trees = trees, w->trees_capacity = capacity;
  }
  write_tree *t = calloc(1, sizeof *t);
  if (!t) return HDB_NOMEM;
  t->tree = tree;
  t->generation = 1;
  t->schema = tree == WRITE_SCHEMA_TREE;
  size_t at = w->trees_n++;
  while (at > 0 && w->trees[at - 1]->tree > tree) w->trees[at] = w->trees[at - 1], at--;
  w->trees[at] = t;
  w->recent = *out = t;
  return HDB_OK;
}

static uint64_t key_head(slice key) {
  if (key.n >= 8) return get_be64(key.p);
  uint64_t h = 0;
  for (size_t i = 0; i < key.n; i++) h |= (uint64_t)key.p[i] << (56 - 8 * i);
  return h;
}

static inline int compare(uint64_t head, slice key, uint64_t other_head, const write_entry *other) {
  if (head != other_head) return head < other_head ? -1 : 1;
  if (key.n == 8 && other->key_n == 8) return 0;
  return slice_compare(key, write_key(other));
}

/* First of n ascending heads that is >= head, without a branch; *ties: behind the last that is equal. */
static inline uint32_t head_bound(const uint64_t *heads, uint32_t n, uint64_t head, uint32_t *ties) {
  uint32_t low = 0, length = n;
  while (length > 1) {
    uint32_t half = length / 2;
    low += heads[low + half - 1] < head ? half : 0;
    length -= half;
  }
  if (n) low += heads[low] < head;
  *ties = low;
  while (*ties < n && heads[*ties] == head) ++*ties;
  return low;
}

/* First index in the leaf whose entry is >= key. */
static uint32_t leaf_search(const write_leaf *leaf, uint64_t head, slice key, bool *exact) {
  uint32_t high, low = head_bound(leaf->head, leaf->n, head, &high);
  *exact = false;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    int c = compare(head, key, leaf->head[middle], leaf->entry[middle]);
    if (c == 0) {
      *exact = true;
      return middle;
    }
    if (c > 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/* The child that holds the key: the last whose separator is <= key. */
static uint32_t inner_search(const write_inner *inner, uint64_t head, slice key) {
  uint32_t high, low = head_bound(inner->head + 1, inner->n - 1, head, &high) + 1;
  high++;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (compare(head, key, inner->head[middle], inner->low[middle]) >= 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low - 1;
}

typedef struct path {
  write_inner *inner[WRITE_DEPTH];
  uint32_t index[WRITE_DEPTH];
  int depth;
} path;

static write_leaf *descend(const write_root *root, uint64_t head, slice key, path *way) {
  void *node = root->node;
  way->depth = root->depth;
  for (int i = 0; i < root->depth; i++) {
    write_inner *inner = node;
    uint32_t at = inner_search(inner, head, key);
    way->inner[i] = inner, way->index[i] = at;
    node = inner->child[at];
  }
  return node;
}

static void descend_last(const write_root *root, path *way) {
  void *node = root->node;
  way->depth = root->depth;
  for (int i = 0; i < root->depth; i++) {
    write_inner *inner = node;
    way->inner[i] = inner, way->index[i] = inner->n - 1;
    node = inner->child[inner->n - 1];
  }
}

/* Hangs `child` (first entry `low`) behind the way's child on level way->depth - 1, splitting upward. */
static bool hang(writeset *w, write_root *root, path *way, write_entry *low, void *child) {
  for (int level = way->depth - 1; level >= 0; level--) {
    write_inner *inner = way->inner[level];
    uint32_t at = way->index[level] + 1;
    if (inner->n < INNER_FAN) {
      uint32_t move = inner->n - at;
      memmove(inner->head + at + 1, inner->head + at, move * sizeof *inner->head);
      memmove(inner->low + at + 1, inner->low + at, move * sizeof *inner->low);
      memmove(inner->child + at + 1, inner->child + at, move * sizeof *inner->child);
      inner->head[at] = low->head, inner->low[at] = low, inner->child[at] = child;
      inner->n++;
      return true;
    }
    write_inner *right = arena_zero(&w->memory, sizeof *right);
    if (!right) return false;
    if (at == INNER_FAN) { /* appended: leave the left one full */
      right->n = 1;
      right->head[0] = low->head, right->low[0] = low, right->child[0] = child;
    } else {
      uint32_t half = INNER_FAN / 2;
      right->n = INNER_FAN - half;
      memcpy(right->head, inner->head + half, right->n * sizeof *right->head);
      memcpy(right->low, inner->low + half, right->n * sizeof *right->low);
      memcpy(right->child, inner->child + half, right->n * sizeof *right->child);
      inner->n = half;
      write_inner *into = at <= half ? inner : right;
      uint32_t place = at <= half ? at : at - half;
      uint32_t move = into->n - place;
      memmove(into->head + place + 1, into->head + place, move * sizeof *into->head);
      memmove(into->low + place + 1, into->low + place, move * sizeof *into->low);
      memmove(into->child + place + 1, into->child + place, move * sizeof *into->child);
      into->head[place] = low->head, into->low[place] = low, into->child[place] = child;
      into->n++;
    }
    low = right->low[0], child = right;
  }
  write_inner *top = arena_zero(&w->memory, sizeof *top);
  if (!top || root->depth + 1 >= WRITE_DEPTH) return false;
  top->n = 2;
  top->child[0] = root->node;
  top->head[1] = low->head, top->low[1] = low, top->child[1] = child;
  root->node = top;
  root->depth++;
  return true;
}

static write_leaf *new_leaf(writeset *w) {
  write_leaf *leaf = arena_alloc(&w->memory, sizeof *leaf);
  if (leaf) leaf->next = leaf->prev = NULL, leaf->n = 0;
  return leaf;
}

/* A leaf behind `leaf`, in the chain and in the tree; takes over the entries from `from` on. */
static write_leaf *split_leaf(writeset *w, write_root *root, path *way, write_leaf *leaf, uint32_t from,
                              write_entry *first) {
  write_leaf *right = new_leaf(w);
  if (!right) return NULL;
  if (!hang(w, root, way, first ? first : leaf->entry[from], right)) return NULL;
  right->n = leaf->n - from;
  memcpy(right->head, leaf->head + from, right->n * sizeof *right->head);
  memcpy(right->entry, leaf->entry + from, right->n * sizeof *right->entry);
  leaf->n = from;
  right->next = leaf->next, right->prev = leaf;
  if (right->next) {
    right->next->prev = right;
  } else {
    root->last = right;
  }
  leaf->next = right;
  return right;
}

static status place(writeset *w, write_root *root, path *way, write_leaf *leaf, uint32_t at, write_entry *e) {
  if (leaf->n == LEAF_FAN) {
    if (at == LEAF_FAN && !leaf->next) {
      leaf = split_leaf(w, root, way, leaf, LEAF_FAN, e);
      at = 0;
    } else {
      write_leaf *right = split_leaf(w, root, way, leaf, LEAF_FAN / 2, NULL);
      if (!right) return HDB_NOMEM;
      if (at > LEAF_FAN / 2) leaf = right, at -= LEAF_FAN / 2;
    }
    if (!leaf) return HDB_NOMEM;
  }
  uint32_t move = leaf->n - at;
  if (move) {
    memmove(leaf->head + at + 1, leaf->head + at, move * sizeof *leaf->head);
    memmove(leaf->entry + at + 1, leaf->entry + at, move * sizeof *leaf->entry);
  }
  leaf->head[at] = e->head, leaf->entry[at] = e;
  leaf->n++;
  root->entries++;
  return HDB_OK;
}

static status log_room(writeset *w) {
  if (w->log_n < w->log_capacity) return HDB_OK;
  size_t capacity = w->log_capacity ? 2 * w->log_capacity : 64;
  undo *log = realloc(w->log, capacity * sizeof *log);
  if (!log) return HDB_NOMEM;
  w->log = log, w->log_capacity = capacity;
  return HDB_OK;
}

static int balance_of(uint8_t base, uint8_t state) {
  if (state == WRITE_PUT) return base == BASE_ABSENT;
  if (state == WRITE_DELETE) return base == BASE_PRESENT ? -1 : 0;
  return 0;
}

/* One more version of an entry that is there. */
static status add_version(writeset *w, write_tree *t, write_entry *e, slice value, uint8_t state, uint8_t base) {
  write_version *v = arena_alloc(&w->memory, sizeof *v + value.n);
  if (!v) return HDB_NOMEM;
  uint8_t was = e->now->state;
  if (was == WRITE_NONE) {
    e->base = base;
    t->root.unknown += base == BASE_UNKNOWN;
  }
  uint8_t *bytes = (uint8_t *)(v + 1);
  if (value.n) memcpy(bytes, value.p, value.n);
  v->older = e->now, v->value = bytes, v->value_n = (uint32_t)value.n, v->state = state, v->rising = false, v->is_new = state == WRITE_PUT && e->now->is_new;
  t->root.balance += balance_of(e->base, state) - balance_of(e->base, was);
  e->now = v;
  return HDB_OK;
}

static write_entry *new_entry(writeset *w, slice key, uint64_t head, slice value, uint8_t state, uint8_t base) {
  write_entry *e = arena_alloc(&w->memory, sizeof *e + key.n + value.n + sizeof(write_version));
  if (!e) return NULL;
  e->head = head, e->key_n = (uint32_t)key.n, e->base = base;
  if (key.n) memcpy(e->key, key.p, key.n);
  uint8_t *bytes = e->key + key.n;
  if (value.n) memcpy(bytes, value.p, value.n);
  e->first = (write_version){NULL, bytes, (uint32_t)value.n, state, false, false};
  e->now = &e->first;
  return e;
}

status writeset_write(writeset *w, write_tree *t, slice key, slice value, enum write_state state, enum write_base base) {
  if (key.n >= UINT32_MAX || value.n >= UINT32_MAX) return HDB_TOOBIG;
  TRY(log_room(w));
  write_root *root = &t->root;
  if (root->cleared && base == BASE_UNKNOWN) base = BASE_ABSENT;
  if (!root->node) {
    write_leaf *leaf = new_leaf(w);
    if (!leaf) return HDB_NOMEM;
    root->node = root->first = root->last = leaf;
  }
  uint64_t head = key_head(key);
  write_leaf *leaf = root->last;
  path way;
  uint32_t at;
  bool exact = false;
  if (leaf->n && compare(head, key, leaf->head[leaf->n - 1], leaf->entry[leaf->n - 1]) > 0) {
    at = leaf->n;
    if (leaf->n == LEAF_FAN) descend_last(root, &way);
  } else {
    leaf = descend(root, head, key, &way);
    at = leaf_search(leaf, head, key, &exact);
  }
  write_entry *e;
  if (exact) {
    e = leaf->entry[at];
    TRY(add_version(w, t, e, value, (uint8_t)state, (uint8_t)base));
  } else {
    e = new_entry(w, key, head, value, (uint8_t)state, (uint8_t)base);
    if (!e) return HDB_NOMEM;
    TRY(place(w, root, &way, leaf, at, e));
    root->balance += balance_of(e->base, e->first.state);
    root->unknown += base == BASE_UNKNOWN;
  }
  w->bytes += sizeof *e + key.n + value.n;
  w->log[w->log_n++] = (undo){e, t, NULL};
  w->schema_writes += t->schema;
  t->generation++;
  return HDB_OK;
}

status writeset_clear_tree(writeset *w, write_tree *t) {
  TRY(log_room(w));
  write_root *old = arena_alloc(&w->memory, sizeof *old);
  if (!old) return HDB_NOMEM;
  *old = t->root;
  memset(&t->root, 0, sizeof t->root);
  t->root.cleared = true;
  w->log[w->log_n++] = (undo){NULL, t, old};
  w->schema_writes += t->schema;
  t->generation++;
  t->rowid_known = false;
  return HDB_OK;
}

status writeset_bulk(writeset *w, write_tree *t) {
  TRY(log_room(w));
  w->log[w->log_n++] = (undo){NULL, t, NULL};
  w->schema_writes += t->schema;
  t->bulk = true;
  return HDB_OK;
}

status writeset_fact(writeset *w, uint8_t kind, uint32_t tree, slice prefix, uint32_t unless_tree, slice unless) {
  TRY(log_room(w));
  write_fact *f = arena_alloc(&w->memory, sizeof *f + prefix.n + unless.n);
  if (!f) return HDB_NOMEM;
  uint8_t *bytes = (uint8_t *)(f + 1);
  if (prefix.n) memcpy(bytes, prefix.p, prefix.n);
  if (unless.n) memcpy(bytes + prefix.n, unless.p, unless.n);
  *f = (write_fact){w->facts, kind, tree, slice_of(bytes, prefix.n), unless_tree, slice_of(bytes + prefix.n, unless.n)};
  w->facts = f;
  w->log[w->log_n++] = (undo){NULL, NULL, NULL};
  return HDB_OK;
}

void writeset_undo(writeset *w, size_t position) {
  assert(position <= w->log_n);
  while (w->log_n > position) {
    undo *u = &w->log[--w->log_n];
    write_tree *t = u->tree;
    if (!t) {
      w->facts = w->facts->older;
      continue;
    }
    w->schema_writes -= t->schema;
    t->generation++;
    t->rowid_known = false;
    if (!u->entry && !u->old) {
      t->bulk = false, t->bulk_undone = true;
      t->bulk_rows = t->bulk_bytes = 0;
      continue;
    }
    if (!u->entry) {
      t->root = *u->old;
      continue;
    }
    write_entry *e = u->entry;
    uint8_t was = e->now->state;
    if (e->now->older) {
      e->now = e->now->older;
    } else {
      e->first.state = WRITE_NONE;
    }
    t->root.balance += balance_of(e->base, e->now->state) - balance_of(e->base, was);
    if (e->now->state == WRITE_NONE) t->root.unknown -= e->base == BASE_UNKNOWN;
  }
}

/* ---- positions ---- */

static void settle_forward(write_position *p) {
  while (p->leaf) {
    for (; p->index < p->leaf->n; p->index++) {
      p->entry = p->leaf->entry[p->index];
      if (p->entry->now->state != WRITE_NONE) return;
    }
    p->leaf = p->leaf->next, p->index = 0;
  }
  p->entry = NULL;
}

/* index is one past the wanted entry */
static void settle_backward(write_position *p) {
  while (p->leaf) {
    while (p->index > 0) {
      p->entry = p->leaf->entry[--p->index];
      if (p->entry->now->state != WRITE_NONE) return;
    }
    p->leaf = p->leaf->prev, p->index = p->leaf ? p->leaf->n : 0;
  }
  p->entry = NULL;
}

void write_seek(const write_tree *t, slice key, write_position *p) {
  path way;
  bool exact;
  p->entry = NULL, p->leaf = NULL;
  if (!t->root.node) return;
  uint64_t head = key_head(key);
  p->leaf = descend(&t->root, head, key, &way);
  p->index = leaf_search(p->leaf, head, key, &exact);
  settle_forward(p);
}

void write_seek_for_prev(const write_tree *t, slice key, write_position *p) {
  path way;
  bool exact;
  p->entry = NULL, p->leaf = NULL;
  if (!t->root.node) return;
  uint64_t head = key_head(key);
  p->leaf = descend(&t->root, head, key, &way);
  p->index = leaf_search(p->leaf, head, key, &exact);
  if (exact) p->index++;
  settle_backward(p);
}

void write_first(const write_tree *t, write_position *p) {
  p->leaf = t->root.first, p->index = 0;
  settle_forward(p);
}

void write_last(const write_tree *t, write_position *p) {
  p->leaf = t->root.last, p->index = p->leaf ? p->leaf->n : 0;
  settle_backward(p);
}

void write_next(write_position *p) {
  p->index++;
  settle_forward(p);
}

void write_prev(write_position *p) { settle_backward(p); }

write_entry *write_find(const write_tree *t, slice key) {
  if (!t->root.node) return NULL;
  path way;
  bool exact;
  uint64_t head = key_head(key);
  write_leaf *leaf = descend(&t->root, head, key, &way);
  uint32_t at = leaf_search(leaf, head, key, &exact);
  return exact ? leaf->entry[at] : NULL;
}
