/* The join: nested loops over the levels of a FROM clause, in the order the planner chose.
 *
 * Level i is opened once for every combination of rows of the levels before it. Its `on` conditions decide whether
 * a row matches, its `where` conditions whether it passes; a LEFT level without a match yields one row of NULLs.
 * RIGHT levels remember their matched rows; when all loops are done, one more pass a RIGHT level goes over its
 * unmatched rows with everything before it NULL, running the levels behind it as always.
 * J1  Row memory is rewound to where it stood when the level was opened, at each of its steps (X2); over a query that
 *     runs as it is read, to where it stood after its last row, since what lies below is the query's own.
 * J2  One loop, no recursion: cost a row is one step, one tick and its conditions.
 * What can fail: whatever the accesses and conditions can.
 */
#include <stdlib.h>

#include "sql/exec_access.h"

typedef struct level_run {
  access_state a, full;
  bool matched, exhausted;
  arena_mark mark;
  key_map seen; /* RIGHT: keys of matched rows */
} level_run;

typedef struct join_state {
  node_state head;
  int at;    /* level to step next; -1: nothing opened yet */
  int first; /* level where this pass began: 0, or the RIGHT level whose unmatched rows are shown */
  bool empty, finished;
  level_run *levels;
} join_state;

static const key_spec seen_spec = {0};

static status join_prepare(exec *x, const join_node *j, join_state *s) {
  s->levels = arena_zero(&x->lifetime, (size_t)(j->levels_n + 1) * sizeof *s->levels);
  if (!s->levels) return node_no_memory(x);
  for (int i = 0; i < j->levels_n; i++) {
    TRY(access_prepare(x, &j->levels[i].a, &s->levels[i].a));
    if (!j->levels[i].right) continue;
    TRY(access_prepare(x, j->levels[i].full, &s->levels[i].full));
    key_map_init(&s->levels[i].seen, x, 1, &seen_spec, 0, false);
  }
  return HDB_OK;
}

static status test_all(exec *x, const condition *c, int n, bool *pass) {
  *pass = true;
  for (int i = 0; i < n; i++) {
    int truth;
    TRY(expr_test(x, c[i].program, &truth));
    if (truth != 1) {
      *pass = false;
      return HDB_OK;
    }
  }
  return HDB_OK;
}

static status join_open(exec *x, const plan_node *node) {
  const join_node *j = (const join_node *)node;
  join_state *s = node_state_get(x, node);
  if (!s) {
    s = (join_state *)node_state_make(x, node);
    if (!s) return node_no_memory(x);
    TRY(join_prepare(x, j, s));
  }
  s->at = -1;
  s->first = 0;
  s->finished = false;
  for (int i = 0; j->has_right && i < j->levels_n; i++)
    if (j->levels[i].right) key_map_clear(&s->levels[i].seen);
  bool pass;
  TRY(test_all(x, j->constant, j->constant_n, &pass));
  s->empty = !pass;
  return HDB_OK;
}

static inline void rewind_memory(exec *x, arena_mark mark) {
  if (x->memory.next != mark.next) arena_rewind(&x->memory, mark);
}

static status level_open(exec *x, level_run *r) {
  TRY(access_open(&r->a));
  r->matched = r->exhausted = false;
  r->mark = arena_save(&x->memory);
  return HDB_OK;
}

/* Does the access run nodes of its own between rows? */
static inline bool is_streaming(const access *a) {
  return a->kind == ACCESS_NESTED || (a->kind == ACCESS_QUERY && !a->materialize && !a->shared);
}

static status remember(level_run *r, access_state *a) {
  slice key = access_row_key(a);
  value v = value_blob(key.p, key.n);
  key_entry *e;
  return key_map_find(&r->seen, &v, true, NULL, &e);
}

static status level_step(exec *x, const level *l, level_run *r) {
  bool pass;
  if (r->exhausted) return HDB_DONE;
  for (;;) {
    rewind_memory(x, r->mark); /* J1 */
    status rc = access_step(&r->a);
    if (rc != HDB_ROW) {
      if (rc != HDB_DONE) return rc;
      break;
    }
    if (is_streaming(&l->a)) r->mark = arena_save(&x->memory);
    TRY(exec_tick(x));
    if (l->on_n) {
      TRY(test_all(x, l->on, l->on_n, &pass));
      if (!pass) continue;
    }
    r->matched = true;
    if (l->right) TRY(remember(r, &r->a));
    if (l->where_n) {
      TRY(test_all(x, l->where, l->where_n, &pass));
      if (!pass) continue;
    }
    return HDB_ROW;
  }
  r->exhausted = true;
  if (!l->left || r->matched) return HDB_DONE;
  access_null_row(&r->a);
  TRY(test_all(x, l->where, l->where_n, &pass));
  return pass ? HDB_ROW : HDB_DONE;
}

/* A RIGHT level's rows that matched nothing. */
static status unmatched_step(exec *x, const level *l, level_run *r) {
  bool pass;
  for (;;) {
    rewind_memory(x, r->mark);
    status rc = access_step(&r->full);
    if (rc != HDB_ROW) return rc;
    if (is_streaming(l->full)) r->mark = arena_save(&x->memory);
    TRY(exec_tick(x));
    slice key = access_row_key(&r->full);
    value v = value_blob(key.p, key.n);
    key_entry *e;
    TRY(key_map_find(&r->seen, &v, false, NULL, &e));
    if (e) continue;
    TRY(test_all(x, l->where, l->where_n, &pass));
    if (pass) return HDB_ROW;
  }
}

/* The next RIGHT level's pass; false: there is none. */
static status next_pass(exec *x, const join_node *j, join_state *s, bool *more) {
  *more = false;
  for (int i = s->finished ? s->first + 1 : 0; i < j->levels_n; i++) {
    if (!j->levels[i].right) continue;
    s->first = i;
    s->finished = true; /* the main pass is over */
    for (int k = 0; k < i; k++) access_null_row(&s->levels[k].a);
    TRY(access_open(&s->levels[i].full));
    s->levels[i].mark = arena_save(&x->memory);
    *more = true;
    return HDB_OK;
  }
  return HDB_OK;
}

static status join_next(exec *x, const plan_node *node, const value **row) {
  const join_node *j = (const join_node *)node;
  join_state *s = node_state_get(x, node);
  int i = s->at, last = j->levels_n - 1;
  if (s->empty) return HDB_DONE;
  if (i < 0) {
    if (last < 0) {
      s->empty = true; /* no source: one row */
      return HDB_ROW;
    }
    TRY(level_open(x, &s->levels[i = 0]));
  }
  for (;;) {
    const level *l = &j->levels[i];
    level_run *r = &s->levels[i];
    bool unmatched = s->finished && i == s->first;
    status rc = unmatched ? unmatched_step(x, l, r) : level_step(x, l, r);
    if (rc == HDB_DONE) {
      if (i > s->first) {
        i--;
        continue;
      }
      bool more = false;
      if (j->has_right) TRY(next_pass(x, j, s, &more));
      if (!more) {
        s->empty = true;
        return HDB_DONE;
      }
      i = s->first;
      continue;
    }
    if (rc != HDB_ROW) return rc;
    if (i == last) {
      s->at = i;
      return HDB_ROW;
    }
    TRY(level_open(x, &s->levels[++i]));
  }
}

/* One plain level: the most frequent join. */
static status single_next(exec *x, const plan_node *node, const value **row) {
  const join_node *j = (const join_node *)node;
  join_state *s = node_state_get(x, node);
  const level *l = &j->levels[0];
  level_run *r = &s->levels[0];
  if (s->at < 0) {
    if (s->empty) return HDB_DONE;
    s->at = 0;
    TRY(level_open(x, r));
  }
  for (;;) {
    rewind_memory(x, r->mark); /* J1 */
    status rc = access_step(&r->a);
    if (rc != HDB_ROW) return rc;
    if (is_streaming(&l->a)) r->mark = arena_save(&x->memory);
    TRY(exec_tick(x));
    bool pass = true;
    for (int i = 0; i < l->where_n && pass; i++) {
      int truth;
      TRY(expr_test(x, l->where[i].program, &truth));
      pass = truth == 1;
    }
    if (pass) return HDB_ROW;
  }
}

static void join_close(exec *x, const plan_node *node) {
  const join_node *j = (const join_node *)node;
  join_state *s = node_state_get(x, node);
  if (!s || !s->levels) return;
  for (int i = 0; i < j->levels_n; i++) {
    if (s->levels[i].a.a) access_release(&s->levels[i].a);
    if (s->levels[i].full.a) access_release(&s->levels[i].full);
    if (j->levels[i].right) key_map_clear(&s->levels[i].seen);
    if (j->levels[i].a.node) node_close(x, j->levels[i].a.node);
  }
}

const node_class join_class = {"join", sizeof(join_state), join_open, join_next, join_close};
const node_class single_class = {"scan", sizeof(join_state), join_open, single_next, join_close};
