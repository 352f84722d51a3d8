/* Chapters: what a stretch of a bound's history comes to, so that who wants what lies before it need not read it.
 *
 * The newest block of a stretch of about CHAPTER_BYTES (pack.c) carries, for each row that has versions in the stretch, one
 * version that undoes all of them: the columns that any of them names, each with the oldest naming's value, or a full value
 * where one of them was. Whoever reads a time before the stretch takes that and goes on behind it. So a row 10,000 versions
 * ago costs a look at one block in eight, and the versions of one stretch. Who reads within it, or wants every version,
 * reads the blocks. (Bytes: version.c.)
 *
 * C1  A row's versions may lie under several bounds, when groups were cut and merged again. What lies in between must not be
 *     passed by: each version must begin where the next older one was replaced, or with the row itself (fresh). A stretch in
 *     which that is not so gets no chapter.
 * C2  No commit comes later into a stretch: times under a bound only rise, and blocks are packed in their order (K2). Who takes
 *     keys out of history takes chapters with them along (erase.c); who lets go of old blocks need not, for no time before
 *     them is read any more.
 * Cost: a copy and a sort of the stretch's versions, once a stretch, in the background.
 */
#include <stdlib.h>

#include "mvcc/pack.h"

static int by_key_newest_first(const void *a, const void *b) {
  const pack_entry *x = *(pack_entry *const *)a, *y = *(pack_entry *const *)b;
  int c = slice_compare(x->key, y->key);
  return c ? c : (x->v.time < y->v.time) - (x->v.time > y->v.time);
}

/* Links the versions of the row that begins at entries[0]; their number, 0: C1. */
static size_t link_row(pack_entry **entries, size_t n) {
  size_t end = 1;
  for (; end < n && slice_equal(entries[end]->key, entries[0]->key); end++) {
    undo_version *newer = &entries[end - 1]->v, *v = &entries[end]->v;
    if (!newer->fresh && newer->own_time != v->time) return 0;
    if (newer->fresh && v->kind != VERSION_FULL) return 0;
    newer->older = v;
  }
  entries[end - 1]->v.older = NULL;
  return end;
}

static status put_row(buf *out, slice before, slice key, int64_t newest, const undo_version *v) {
  size_t shared = slice_common(before, key);
  buf_varint(out, shared);
  buf_varint(out, key.n - shared);
  buf_append(out, key.p + shared, key.n - shared);
  buf_varint(out, (uint64_t)(newest - v->time));
  buf_varint(out,
             (uint64_t)(v->time - v->own_time) << 2 | (v->kind == VERSION_FULL ? 2 : 0) | (v->fresh ? 1 : 0));
  buf_varint(out, v->bytes.n);
  buf_append(out, v->bytes.p, v->bytes.n);
  return buf_failed(out) ? HDB_NOMEM : HDB_OK;
}

status chapter_make(pack_entry **entries, size_t n, int64_t newest, buf *out, bool *done) {
  undoing u;
  slice before = slice_of("", 0);
  status rc = HDB_OK;
  undo_init(&u);
  buf_clear(out);
  *done = false;
  if (n > 1) qsort(entries, n, sizeof *entries, by_key_newest_first);
  for (size_t i = 0, row_n; i < n; i += row_n) {
    undo_version all;
    row_n = link_row(entries + i, n - i);
    if (!row_n) goto out;
    CHECK(undo_compose(&u, &entries[i]->v, &all));
    CHECK(put_row(out, before, entries[i]->key, newest, &all));
    before = entries[i]->key;
  }
  *done = true;
out:
  undo_free(&u);
  return rc;
}

status chapter_each(buf *key, int64_t newest, slice chapter, undo_visitor visit, void *context) {
  const uint8_t *in = chapter.p, *end = in + chapter.n;
  uint64_t shared, rest, back, head, n;
  buf_clear(key);
  while (in < end) {
    bool skip = false;
    in = varint_get(in, end, &shared);
    if (in) in = varint_get(in, end, &rest);
    if (!in || shared > key->n || rest > (uint64_t)(end - in)) return HDB_CORRUPT;
    key->n = shared;
    buf_append(key, in, rest);
    if (buf_failed(key)) return HDB_NOMEM;
    in = varint_get(in + rest, end, &back);
    if (in) in = varint_get(in, end, &head);
    if (in) in = varint_get(in, end, &n);
    if (!in || n > (uint64_t)(end - in)) return HDB_CORRUPT;
    undo_version v = {.time = newest - (int64_t)back,
                      .fresh = head & 1,
                      .kind = head & 2 ? VERSION_FULL : VERSION_PACKED,
                      .bytes = slice_of(in, n)};
    v.own_time = v.time - (int64_t)(head >> 2);
    in += n;
    TRY(visit(context, buf_slice(key), &v, &skip));
  }
  return HDB_OK;
}
