/* AS OF: a group as it was at a time.
 *
 * A group whose newest change is not after the time is what it was. Otherwise an image of it may be at hand, undone by
 * somebody before (images.c). Otherwise its rows are taken as they are now, and the versions that later commits replaced,
 * from KV_VERSIONS, are put back (undo.c). The result is encoded as a group again, walked like any other, and becomes an
 * image.
 *
 * P1  All records that concern keys in [bound, history.upper) lie under bounds in [history.low or bound, upper).
 * P2  The iterator over versions reads the same snapshot as the one over groups.
 * P3  Walking forward, it stands behind the records of the group before: then no seek is needed.
 * Cost: 50 ns with an image. Without: a seek in versions (5 us on disk) for the first group, then what undo.c costs.
 */
#include <stdlib.h>

#include "mvcc/scan.h"
#include "mvcc/undo.h"

enum {
  STEPS_BEFORE_SEEK = 4,
  PACK_RECORDS = 16, /* so many to step over: worth packing */
  SEEK_COMMITS = 48  /* a block of more: a seek is cheaper than to step over the records that it replaced */
};

struct past {
  kv_iter *it; /* over the tree's versions */
  buf from, to, key, behind, encoded;
  image *image; /* the group in hand is this one */
  undoing u;
};

void past_free(past *p) {
  if (!p) return;
  past_drop(p);
  undo_free(&p->u);
  buf_free(&p->from), buf_free(&p->to), buf_free(&p->key);
  buf_free(&p->behind), buf_free(&p->encoded);
  free(p);
}

void past_forget_store(past *p) {
  if (p) p->it = NULL;
}

void past_drop(past *p) {
  if (!p) return;
  if (p->it) p->it->close(p->it), p->it = NULL;
  image_release(p->image);
  p->image = NULL;
}

static status past_make(scan *s) {
  if (s->past) return HDB_OK;
  s->past = calloc(1, sizeof *s->past);
  if (!s->past) return HDB_NOMEM;
  undo_init(&s->past->u);
  return HDB_OK;
}

static status open_iterator(scan *s) {
  past *p = s->past;
  if (p->it) return HDB_OK;
  uint8_t upper[4];
  put_be32(upper, s->tree + 1);
  return kv_iter_open(s->v->store, s->v->snapshot, KV_VERSIONS, slice_of(s->tree_key, 4), slice_of(upper, 4),
                      &p->it);
}

/* To what this bound has from before `oldest`: records that blocks replaced may still lie between, deleted, until compaction. */
static status seek_older(past *p, int64_t oldest) {
  buf_clear(&p->key);
  buf_append(&p->key, p->it->key.p, p->it->key.n - 8);
  buf_be64(&p->key, ~(uint64_t)(oldest - 1));
  if (buf_failed(&p->key)) return HDB_NOMEM;
  p->it->seek(p->it, buf_slice(&p->key));
  return HDB_OK;
}

/* To the first record of the next bound: a few steps are cheaper than a seek. p->key: behind all of this one. */
static status leave_bound(past *p) {
  kv_iter *it = p->it;
  for (int i = 0; i < STEPS_BEFORE_SEEK; i++) {
    it->next(it);
    if (!it->valid || slice_compare(it->key, buf_slice(&p->key)) >= 0) return it->error;
  }
  it->seek(it, buf_slice(&p->key));
  return it->error;
}

/* The record or block under the iterator, all of it after the time or the newest of it; and past it. */
static status take_under_iterator(scan *s, past *p, int64_t time) {
  kv_iter *it = p->it;
  block_head h;
  bool block = version_block_head(it->value, time, &h);
  if (block && h.chapter.p && h.covers > scan_time(s) && !p->u.gathers) {
    slice chapter = undo_keep(&p->u, h.chapter);
    if (!chapter.p) return HDB_NOMEM;
    TRY(undo_chapter(&p->u, time, chapter));
    return seek_older(p, h.covers);
  }
  slice value = undo_keep(&p->u, it->value);
  if (!value.p) return HDB_NOMEM;
  TRY(undo_record(&p->u, time, value));
  if (block && h.commits >= SEEK_COMMITS) return seek_older(p, h.oldest);
  it->next(it);
  return HDB_OK;
}

/* The records after the time under all bounds in [from, to). */
static status collect(scan *s, past *p) {
  kv_iter *it = p->it;
  size_t singles = 0; /* records in a row that no block holds */
  slice from = buf_slice(&p->from), to = buf_slice(&p->to);
  bool here =
      it->valid && slice_compare(it->key, from) >= 0 && slice_equal(buf_slice(&p->behind), from); /* P3 */
  if (!here) it->seek(it, from);
  while (it->valid && (to.n == 0 || slice_compare(it->key, to) < 0)) {
    if (it->key.n < 4 + 9 + 8) return HDB_CORRUPT;
    int64_t time = (int64_t)~get_be64(it->key.p + it->key.n - 8);
    if (time > scan_time(s)) {
      if (it->value.n && it->value.p[0] && ++singles == PACK_RECORDS)
        pack_request(s->v->engine, slice_of(it->key.p, it->key.n - 8), PACK_RECORDS / 4);
      TRY(take_under_iterator(s, p, time));
      continue;
    }
    if (time > p->u.from) p->u.from = time;
    singles = 0;
    /* the rest under this bound is older: on to the next bound */
    buf_clear(&p->key);
    buf_append(&p->key, it->key.p, it->key.n - 8);
    buf_be64(&p->key, UINT64_MAX);
    buf_byte(&p->key, 0xff);
    if (buf_failed(&p->key)) return HDB_NOMEM;
    TRY(leave_bound(p));
  }
  return it->error;
}

/* Everything that there is about the group in hand, into p->u. */
static status read_past(scan *s, const group_history *h) {
  past *p = s->past;
  slice lower = s->hot ? s->hot->lower : slice_of(s->it->key.p + 4, s->it->key.n - 4);
  TRY(undo_begin(&p->u, &s->g, lower, h->upper, scan_time(s)));
  if (h->newest <= scan_time(s)) {
    s->past->u.from = h->newest;
    return HDB_OK;
  }
  TRY(open_iterator(s));
  buf_clear(&p->from), buf_clear(&p->to);
  version_bound(&p->from, s->tree, h->low.p ? h->low : lower);
  if (h->upper.p) version_bound(&p->to, s->tree, h->upper);
  if (buf_failed(&p->from) || buf_failed(&p->to)) return HDB_NOMEM;
  TRY(collect(s, p));
  buf_clear(&p->behind);
  buf_append(&p->behind, p->to.p, p->to.n);
  return buf_failed(&p->behind) ? HDB_NOMEM : HDB_OK;
}

static status find_image(scan *s, image_wanted *w) {
  past *p = s->past;
  image *old = p->image;
  p->image = images_get(s->v->engine->images, w);
  image_release(old);
  return p->image ? group_open(&s->g, p->image->bytes) : HDB_OK;
}

status scan_past_group(scan *s) {
  if (s->g.newest <= scan_time(s)) return HDB_OK;
  TRY(past_make(s));
  past *p = s->past;
  image_wanted w = {.tree = s->tree, .newest = s->g.newest, .time = scan_time(s), .view = s->v->time};
  w.lower = s->hot ? s->hot->lower : slice_of(s->it->key.p + 4, s->it->key.n - 4);
  if (s->hot) w.upper = &s->hot->upper;
  TRY(find_image(s, &w));
  if (p->image) return HDB_OK;
  group_history h;
  TRY(group_history_get(&s->g, &h));
  if (!w.upper && s->g.flags & GROUP_HISTORY) { /* the group was changed, but its range may be what it was */
    w.upper = &h.upper;
    TRY(find_image(s, &w));
    if (p->image) return HDB_OK;
  }
  TRY(read_past(s, &h));
  TRY(undo_finish(&p->u));
  buf_clear(&p->encoded);
  group_encode(&p->encoded, slice_of(NULL, 0), p->u.result, p->u.result_n, false, scan_time(s), NULL);
  if (buf_failed(&p->encoded)) return HDB_NOMEM;
  int64_t to = p->u.to <= s->v->time ? p->u.to : s->v->time + 1; /* I1 of images.c */
  p->image = images_put(s->v->engine->images, &w, p->u.from, to, buf_slice(&p->encoded));
  return group_open(&s->g, p->image ? p->image->bytes : buf_slice(&p->encoded));
}

/* ---- versions ---- */

static int by_key_and_time(const void *a, const void *b) {
  const row_version *x = a, *y = b;
  int c = slice_compare(x->key, y->key);
  return c ? c : (x->from > y->from) - (x->from < y->from);
}

static status tell_versions(undoing *p, int64_t from, int64_t to, version_visitor visit, void *context) {
  if (p->versions_n > 1) qsort(p->versions, p->versions_n, sizeof *p->versions, by_key_and_time);
  for (size_t i = 0; i < p->versions_n; i++) {
    row_version *v = &p->versions[i];
    bool next = i + 1 < p->versions_n && slice_equal(v->key, v[1].key);
    if (next) v->to = v[1].from;
    bool inside = v->from <= to && (v->op == VERSION_DELETE ? v->from >= from : v->to > from);
    if (inside) TRY(visit(context, v));
  }
  return HDB_OK;
}

static status versions_of_group(scan *s, int64_t from, int64_t to, version_visitor visit, void *context) {
  group_history h;
  TRY(group_open(&s->g, s->it->value));
  TRY(group_history_get(&s->g, &h));
  TRY(past_make(s));
  undoing *u = &s->past->u;
  u->gathers = true;
  TRY(read_past(s, &h));
  TRY(undo_gather(u));
  return tell_versions(u, from, to, visit, context);
}

static status versions_of_tree(txn *t, uint32_t tree, int64_t from, int64_t to, version_visitor visit,
                               void *context) {
  cursor *c;
  TRY(scan_open(t, tree, from, &c));
  scan *s = (scan *)c;
  status rc = HDB_OK;
  /* puts the iterator on the first group: as of INT64_MAX no group needs to be undone for that */
  s->as_of = INT64_MAX;
  cursor_first(c);
  rc = c->error;
  s->as_of = from > 1 ? from - 1 : -1; /* records at or after `from`; 0 would be no time at all */
  if (rc == HDB_OK && from < engine_oldest(t->engine)) rc = HDB_ERROR_SNAPSHOT;
  if (rc == HDB_OK) {
    s->it->seek(s->it, slice_of(s->tree_key, 4));
    for (; s->it->valid && rc == HDB_OK; s->it->next(s->it))
      rc = versions_of_group(s, from, to, visit, context);
    if (rc == HDB_OK) rc = s->it->error;
  }
  cursor_close(c);
  return rc;
}

status versions_between(txn *t, uint32_t tree, int64_t from, int64_t to, version_visitor visit,
                        void *context) {
  return branch_versions(t, t->branch, tree, from, to, versions_of_tree, visit, context);
}
