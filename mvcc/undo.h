/* Undoing: rows of a group and what history says of them. undo.c; private to mvcc. */
#ifndef HDB_MVCC_UNDO_H
#define HDB_MVCC_UNDO_H

#include "kv/base/bytes.h"
#include "kv/base/record.h"
#include "kv/base/status.h"
#include "mvcc/group.h"
#include "mvcc/mvcc.h"

/* The version that a commit at `time` replaced. */
enum version_kind {
  VERSION_FULL = 1,    /* bytes: the value */
  VERSION_COLUMNS = 2, /* the columns that differed, as a record has them */
  VERSION_PACKED = 3   /* ... as a block has them */
};
typedef struct undo_version {
  struct undo_version *older;
  int64_t time, own_time;
  bool fresh;
  uint8_t kind;
  slice bytes;
} undo_version;

/* ---- the bytes of records and blocks (version.c) ---- */
/* Each version in a value of KV_VERSIONS whose newest commit is at `time`; row by row, of a row newest first. *skip: the
 * row's older ones are not wanted. `key` is room for keys; what the visitor gets as key lives until he returns. */
typedef status (*undo_visitor)(void *context, slice key, const undo_version *v, bool *skip);
status version_each(buf *key, int64_t time, slice value, undo_visitor visit, void *context);
/* The columns that a version names, ascending; *n: how many the record had. c starts at bytes.p, and is moved on. */
typedef struct version_column {
  uint64_t at;
  uint8_t type;
  slice payload;
} version_column;
const uint8_t *version_payload_end(uint8_t type, const uint8_t *p, const uint8_t *end);
static inline status version_columns_begin(const undo_version *v, const uint8_t **c, uint64_t *n) {
  *c = varint_get(v->bytes.p, v->bytes.p + v->bytes.n, n);
  return *c && *n <= 1u << 24 ? HDB_OK : HDB_CORRUPT;
}
/* While *c is not the end. */
static inline status version_columns_next(const undo_version *v, const uint8_t **c, version_column *column) {
  const uint8_t *p = *c, *end = v->bytes.p + v->bytes.n;
  uint64_t size;
  p = varint_get(p, end, &column->at);
  if (!p || p >= end) return HDB_CORRUPT;
  column->type = *p++;
  if (v->kind != VERSION_PACKED) {
    p = varint_get(p, end, &size);
  } else if ((size = record_payload_size[column->type]) == 255) {
    const uint8_t *stop = version_payload_end(column->type, p, end);
    if (!stop) return HDB_CORRUPT;
    size = (uint64_t)(stop - p);
  }
  if (!p || size > (uint64_t)(end - p)) return HDB_CORRUPT;
  column->payload = slice_of(p, size);
  *c = p + size;
  return HDB_OK;
}
/* A block: begin, and for each row in order its versions into a chain (above: the block's newest time, then the own time
 * of the version before; older: the next one), then the row. */
typedef struct block_head {
  int64_t oldest; /* of its commits */
  uint64_t commits;
  uint64_t
      open; /* bytes of blocks since the last chapter, with this one; of a block that does not say: its own */
  slice chapter;  /* p NULL: it has none */
  int64_t covers; /* ... the oldest commit that it covers */
  const uint8_t *rest;
} block_head;
void version_block_begin(buf *out, slice prefix, const block_head *h, int64_t newest);
status version_block_add(buf *chain, buf *columns, int64_t above, const undo_version *v,
                         const undo_version *older);
void version_block_row(buf *out, slice suffix, const buf *chain);
bool version_block_head(slice value, int64_t newest, block_head *h); /* false: no block, or damaged */

/* ---- chapters (chapter.c) ---- */
typedef struct pack_entry pack_entry;
/* What the entries come to, row by row, as a chapter under a block of this newest time. *done false: a row has versions elsewhere
 * in between, so there is none. Sorts the entries. */
status chapter_make(pack_entry **entries, size_t n, int64_t newest, buf *out, bool *done);
status chapter_each(buf *key, int64_t newest, slice chapter, undo_visitor visit, void *context);

typedef struct undo_row {
  slice key, value;
  int64_t time;
  bool fresh, there; /* there: with `value`, before any version is applied */
  bool sorted;
  undo_version *newest, *oldest;
} undo_row;

typedef struct undo_column {
  uint32_t delta; /* who set it last, 0: none */
  uint8_t type;
  slice payload;
} undo_column;

typedef struct undoing {
  arena memory;
  arena_mark empty;
  slice lower, upper; /* keys in [lower, upper) count; upper.p NULL: all behind */
  int64_t as_of;
  int64_t from, to; /* between these times nothing of it changed */
  bool gathers;     /* every version is wanted, not only the last */
  undo_row *rows;
  size_t rows_n, rows_capacity, at;
  row *result; /* undo_finish's */
  size_t result_n, result_capacity;
  undo_column *columns;
  size_t columns_capacity;
  buf key, record;
  /* gathers */
  row_version *versions;
  size_t versions_n, versions_capacity;
} undoing;

void undo_init(undoing *u);
void undo_free(undoing *u);
/* The rows of the group as they are; the group's bytes stay where they are until undo_finish is done. */
status undo_begin(undoing *u, const group *g, slice lower, slice upper, int64_t as_of);
/* A record or a block of KV_VERSIONS (version.c), whose newest commit is at `time`; its bytes stay. In any order. */
status undo_record(undoing *u, int64_t time, slice value);
/* A block's chapter instead of all that it covers, which must be after u->as_of. */
status undo_chapter(undoing *u, int64_t newest, slice chapter);
/* Versions of one row, each replaced where the next begins, as one: what undoes all of them. Its bytes are in u->memory. */
status undo_compose(undoing *u, const undo_version *newest, undo_version *out);
/* result[]: the rows as of the time. HDB_CORRUPT: a version is missing. */
status undo_finish(undoing *u);
/* versions[]: every one after u->as_of, and the one before each of those, as versions_between tells them; `to` not set. */
status undo_gather(undoing *u);
slice undo_keep(undoing *u, slice s);

#endif
