/* Versions out of records and into blocks; pack.c and erase.c. Private to mvcc. */
#ifndef HDB_MVCC_PACK_H
#define HDB_MVCC_PACK_H

#include "mvcc/internal.h"
#include "mvcc/undo.h"

struct pack_entry {
  slice key;
  undo_version v;
};

typedef struct pack_work {
  engine *e;
  kv_batch *batch;
  arena memory;
  pack_entry *entries;
  size_t n, capacity;
  size_t records, bytes; /* pack.c: read since the last block was written */
  /* pack.c's blocks may get chapters: bytes of blocks since the last one, and the versions in those that are there */
  bool chapters;
  uint64_t open;
  size_t covered, covered_end,
      covered_from; /* entries [covered, covered_end), and what is packed, from covered_from on */
  buf value, chain, columns, key, chapter;
} pack_work;

/* Appends the versions of a record or block whose newest commit is at `time`; copied. */
status pack_take(pack_work *w, int64_t time, slice value);
/* entries [from, to) into blocks under the place (tree . bound in chunks), into the batch; sorts them. */
status pack_blocks(pack_work *w, slice place, size_t from, size_t to);
void pack_free(pack_work *w); /* but for the batch */

/* The commit time in the key of a record. */
static inline int64_t version_time(slice key) {
  return (int64_t)~get_be64(key.p + key.n - 8);
}

#endif
