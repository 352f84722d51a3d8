/* The private writes of one transaction, ordered per tree. Private to mvcc; writeset.c has the idea. */
#ifndef HDB_MVCC_WRITESET_H
#define HDB_MVCC_WRITESET_H

#include "kv/base/bytes.h"
#include "kv/base/status.h"

enum write_state {
  WRITE_NONE,  /* nothing private: what is committed shows through */
  WRITE_PUT,
  WRITE_DELETE
};
enum write_base { /* was the key there before the transaction's first write of it? */
  BASE_UNKNOWN,
  BASE_ABSENT,
  BASE_PRESENT
};

typedef struct write_version {
  struct write_version *older;
  const uint8_t *value;
  uint32_t value_n;
  uint8_t state;
  bool rising; /* txn_put_rising */
  bool is_new; /* PUT_NEW */
} write_version;

typedef struct write_entry {
  uint64_t head; /* the key's first 8 bytes, big-endian, zero padded */
  write_version *now;
  uint32_t key_n;
  uint8_t base;
  write_version first;
  uint8_t key[];
} write_entry;

enum { WRITE_SCHEMA_TREE = 1, LEAF_FAN = 32, INNER_FAN = 32, WRITE_DEPTH = 16 };
typedef struct write_leaf {
  struct write_leaf *next, *prev;
  uint32_t n;
  uint64_t head[LEAF_FAN];
  write_entry *entry[LEAF_FAN];
} write_leaf;

/* One tree's writes. A clear puts a fresh root in place and remembers the old one for its undo. */
typedef struct write_root {
  void *node; /* leaf when depth 0, else inner */
  int depth;
  write_leaf *first, *last;
  bool cleared; /* committed rows do not show through */
  int64_t balance; /* rows inserted minus deleted, as far as the base is known */
  uint64_t unknown; /* writes whose base is unknown: then balance is not the whole truth */
  uint64_t entries;
} write_root;

typedef struct write_tree {
  uint32_t tree;
  uint64_t generation; /* moves with every write and undo: a cursor re-seeks its side when it has moved */
  write_root root;
  struct tree_info *info;
  /* txn_new_rowid's memory: valid while nothing but inserts happened */
  bool rowid_known, rowid_any; /* any: there is a row at all */
  int64_t rowid_max;
  int64_t block_first, block_end, block_size; /* a client: row ids it was given ahead */
  bool schema;      /* TREE_SCHEMA, or a branch's delta of it */
  bool bulk;        /* filled by bulk_*: the commit publishes it */
  bool bulk_undone; /* ... or it was taken back: its range is to be removed */
  int64_t bulk_rows, bulk_bytes;
} write_tree;

typedef struct write_fact { /* txn_expect */
  struct write_fact *older;
  uint8_t kind; /* enum fact */
  uint32_t tree;
  slice prefix;
  uint32_t unless_tree; /* FACT_NONE; 0: no exception */
  slice unless;
} write_fact;

typedef struct undo {
  write_entry *entry; /* NULL: a clear; without `old` a bulk; without `tree` a fact */
  write_tree *tree;
  write_root *old;
} undo;

typedef struct writeset {
  arena memory;
  arena_mark empty;
  write_tree **trees; /* few; the last one used is tried first */
  size_t trees_n, trees_capacity;
  write_tree *recent;
  undo *log;
  size_t log_n, log_capacity;
  write_fact *facts; /* newest first */
  size_t schema_writes; /* of them in the log */
  size_t bytes;         /* put into memory, about */
} writeset;

void writeset_init(writeset *w);
void writeset_free(writeset *w);
/* Forgets everything; keeps a block of memory for the next transaction. */
void writeset_clear(writeset *w);
static inline bool writeset_is_empty(const writeset *w) { return w->trees_n == 0; }
write_tree *writeset_find(writeset *w, uint32_t tree);          /* NULL: no writes there */
status writeset_tree(writeset *w, uint32_t tree, write_tree **out); /* makes it */
status writeset_write(writeset *w, write_tree *t, slice key, slice value, enum write_state state, enum write_base base);
status writeset_fact(writeset *w, uint8_t kind, uint32_t tree, slice prefix, uint32_t unless_tree, slice unless);
status writeset_bulk(writeset *w, write_tree *t);
status writeset_clear_tree(writeset *w, write_tree *t);
void writeset_undo(writeset *w, size_t position);

/* Positions. entry NULL: past an end. Entries in state NONE are stepped over. */
typedef struct write_position {
  write_leaf *leaf;
  uint32_t index;
  write_entry *entry;
} write_position;
void write_seek(const write_tree *t, slice key, write_position *p);          /* first >= key */
void write_seek_for_prev(const write_tree *t, slice key, write_position *p); /* last <= key */
void write_first(const write_tree *t, write_position *p);
void write_last(const write_tree *t, write_position *p);
void write_next(write_position *p);
void write_prev(write_position *p);
write_entry *write_find(const write_tree *t, slice key); /* also one in state NONE; NULL */
static inline slice write_key(const write_entry *e) { return slice_of(e->key, e->key_n); }
static inline slice write_value(const write_entry *e) { return slice_of(e->now->value, e->now->value_n); }

#endif
