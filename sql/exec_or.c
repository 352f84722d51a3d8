/* OR by several accesses of one source: side after side, each row once, as SQLite's multi-index OR gives them. */
#include "sql/exec_access.h"

typedef struct or_state {
  access_state *sides;
  key_map seen;
  int at;
  bool opened;
} or_state;

static const key_spec row_spec = {0};

status or_open(access_state *s) {
  or_state *o = (or_state *)s->or_;
  if (!o) {
    int n = s->a->alternatives_n;
    o = arena_zero(&s->x->lifetime, sizeof *o);
    if (!o || !(o->sides = arena_zero(&s->x->lifetime, (size_t)n * sizeof *o->sides))) return node_no_memory(s->x);
    s->or_ = o;
    for (int i = 0; i < n; i++) TRY(access_prepare(s->x, &s->a->alternatives[i], &o->sides[i]));
    key_map_init(&o->seen, s->x, 1, &row_spec, 0, false);
  }
  key_map_clear(&o->seen);
  o->at = 0;
  o->opened = false;
  return HDB_OK;
}

static status passes(access_state *s, const access *a, bool *pass) {
  *pass = true;
  for (int i = 0; i < a->filters_n && *pass; i++) {
    int truth;
    TRY(expr_test(s->x, a->filters[i].program, &truth));
    *pass = truth == 1;
  }
  return HDB_OK;
}

status or_step(access_state *s) {
  or_state *o = (or_state *)s->or_;
  while (o->at < s->a->alternatives_n) {
    access_state *side = &o->sides[o->at];
    if (!o->opened) TRY(access_open(side));
    o->opened = true;
    status rc = access_step(side);
    if (rc == HDB_DONE) {
      o->at++;
      o->opened = false;
      continue;
    }
    if (rc != HDB_ROW) return rc;
    bool pass, added;
    TRY(exec_tick(s->x));
    TRY(passes(s, side->a, &pass));
    if (!pass) continue;
    slice key = access_row_key(side);
    value v = value_blob(key.p, key.n);
    key_entry *e;
    TRY(key_map_find(&o->seen, &v, true, &added, &e));
    if (added) return HDB_ROW;
  }
  return HDB_DONE;
}

void or_release(access_state *s) {
  or_state *o = (or_state *)s->or_;
  for (int i = 0; i < s->a->alternatives_n; i++)
    if (o->sides[i].a) access_release(&o->sides[i]);
  key_map_clear(&o->seen);
  s->or_ = NULL;
}
