/* Aggregation: with GROUP BY a hash table of groups given out in key order, without it one group.
 *
 * SQLite sorts its input by the group key; a stable sort keeps the rows of a group in the order they came, so hashing
 * the groups and sorting them at the end gives the same rows in the same order. When the input is already in key
 * order (in_order) a group is given out as soon as the next begins.
 * G1  A group's payload: its bare columns' values, then each call's state (function state, set of DISTINCT values,
 *     sorter of ORDER BY). States not finished are released at close.
 * G2  Bare columns come from the group's first row; beside min() or max() from the row that decided the last of
 *     these (SQLite's way).
 * What can fail: memory, the functions. Cost a row: one probe, one step a call.
 */
#include <stdlib.h>

#include "sql/func_aggregate.h"
#include "sql/plan_internal.h"

typedef struct call_state {
  key_map *distinct;
  sorter *ordered;
  value last;          /* DISTINCT of values in order: the one before */
  buf last_bytes;
  bool has_last;
} call_state;          /* the function's own state follows */

typedef struct aggregate_state {
  node_state head;
  key_map groups;
  bool ready, collected;
  size_t at;           /* groups given out */
  function_call *calls;
  value *keys, *arguments, *output;
  const value **key_pointers;
  bool child_done;
  bool stay;           /* the last min or max that ran was not decided by its row */
  arena results;       /* of the group just given out */
  arena *bare_memory;  /* where bare columns are kept */
  struct ordered_group { /* in_order: the group at hand and the one given out */
    key_entry *entry;
    value *keys;
    arena memory;
    bool live;
  } ordered[2];
  int turn;
} aggregate_state;

static inline value *group_bare(key_entry *e) { return key_entry_payload(e); }
static inline call_state *group_call(key_entry *e, const aggregate_call *c) {
  return (call_state *)((uint8_t *)key_entry_payload(e) + c->state_at);
}

static void release_group(exec *x, const aggregate_node *a, aggregate_state *s, key_entry *e) {
  for (int i = 0; i < a->calls_n; i++) {
    const aggregate_call *c = &a->calls[i];
    call_state *cs = group_call(e, c);
    if (cs->distinct) {
      key_map_clear(cs->distinct);
      free(cs->distinct);
      cs->distinct = NULL;
    }
    sorter_free(cs->ordered);
    cs->ordered = NULL;
    buf_free(&cs->last_bytes);
    s->calls[i].state = cs + 1;
    if (c->f->release) c->f->release(&s->calls[i]);
  }
}

static void drop_groups(exec *x, const aggregate_node *a, aggregate_state *s) {
  for (int i = 0; i < 2; i++) {
    if (s->ordered[i].live) release_group(x, a, s, s->ordered[i].entry);
    s->ordered[i].live = false;
  }
  if (!s->ready) return;
  for (size_t i = s->at; i < s->groups.entries_n; i++) release_group(x, a, s, s->groups.entries[i]);
  key_map_clear(&s->groups);
  s->ready = false;
}

static void aggregate_close(exec *x, const plan_node *n) {
  const aggregate_node *a = (const aggregate_node *)n;
  aggregate_state *s = node_state_get(x, n);
  drop_groups(x, a, s);
  arena_clear(&s->results);
  arena_clear(&s->ordered[0].memory);
  arena_clear(&s->ordered[1].memory);
  node_close(x, a->child);
}

static status prepare(exec *x, const aggregate_node *a, aggregate_state *s) {
  int most = 1;
  for (int i = 0; i < a->calls_n; i++) {
    int n = a->calls[i].arguments_n + a->calls[i].order_n;
    if (n > most) most = n;
  }
  int width = a->keys_n + a->bare_n + a->calls_n;
  s->calls = arena_zero(&x->lifetime, (size_t)(a->calls_n + 1) * sizeof *s->calls);
  s->keys = arena_zero(&x->lifetime, (size_t)(a->keys_n + 1) * sizeof(value));
  s->arguments = arena_zero(&x->lifetime, (size_t)most * sizeof(value));
  s->output = arena_zero(&x->lifetime, (size_t)(width + 1) * sizeof(value));
  if (!s->calls || !s->keys || !s->arguments || !s->output) return node_no_memory(x);
  for (int i = 0; i < a->calls_n; i++)
    s->calls[i] = (function_call){x->db, a->calls[i].f, &x->memory, x->err, a->calls[i].collation, NULL, x, PLACE_ANYWHERE};
  return HDB_OK;
}

static status aggregate_open(exec *x, const plan_node *n) {
  const aggregate_node *a = (const aggregate_node *)n;
  aggregate_state *s = node_state_get(x, n);
  if (!s) {
    if (!(s = (aggregate_state *)node_state_make(x, n))) return node_no_memory(x);
    TRY(prepare(x, a, s));
  }
  drop_groups(x, a, s);
  key_map_init(&s->groups, x, a->keys_n, a->specs, a->payload, true);
  s->ready = true;
  s->bare_memory = &s->groups.memory;
  s->collected = s->stay = s->child_done = false;
  s->at = 0;
  return node_open(x, a->child);
}

static status eval_all(exec *x, const operand *o, int n, value *out) {
  for (int i = 0; i < n; i++) {
    const value *v;
    TRY(operand_eval(x, &o[i], &v));
    out[i] = *v;
    if (!o[i].program) out[i].subtype = 0; /* a column passes none on */
  }
  return HDB_OK;
}

static status set_bare(exec *x, const aggregate_node *a, aggregate_state *s, key_entry *e) {
  value *bare = group_bare(e);
  for (int i = 0; i < a->bare_n; i++) {
    const value *v;
    TRY(operand_eval(x, &a->bare[i], &v));
    if ((bare[i].type == VAL_TEXT || bare[i].type == VAL_BLOB) && (v->type == VAL_TEXT || v->type == VAL_BLOB) &&
        v->n <= bare[i].n && v->n) { /* reuse the room of the value before */
      memcpy((char *)bare[i].p, v->p, v->n);
      bare[i].type = v->type;
      bare[i].subtype = v->subtype;
      bare[i].n = v->n;
    } else {
      TRY(value_copy(s->bare_memory, v, &bare[i]));
    }
  }
  return HDB_OK;
}

/* DISTINCT and ORDER BY inside an aggregate; *take: step now. */
static status before_step(exec *x, const aggregate_call *c, call_state *cs, value *arguments, bool *take) {
  *take = true;
  if (c->distinct && c->distinct_in_order) {
    const value *v = &arguments[0];
    if (cs->has_last && value_compare(v, &cs->last, c->distinct_specs[0].c) == 0) {
      *take = false;
      return HDB_OK;
    }
    cs->has_last = true;
    cs->last = *v;
    if (v->type == VAL_TEXT || v->type == VAL_BLOB) {
      buf_clear(&cs->last_bytes);
      buf_append(&cs->last_bytes, v->p, v->n);
      if (buf_failed(&cs->last_bytes)) return node_no_memory(x);
      cs->last.p = (const char *)cs->last_bytes.p;
    }
  } else if (c->distinct) {
    if (!cs->distinct) {
      if (!(cs->distinct = malloc(sizeof *cs->distinct))) return node_no_memory(x);
      key_map_init(cs->distinct, x, c->arguments_n, c->distinct_specs, 0, false);
    }
    bool added;
    key_entry *e;
    TRY(key_map_find(cs->distinct, arguments, true, &added, &e));
    if (!added) {
      *take = false;
      return HDB_OK;
    }
  }
  if (c->order_n) {
    TRY(eval_all(x, c->order, c->order_n, arguments + c->arguments_n));
    if (!cs->ordered && !(cs->ordered = sorter_new(x, c->arguments_n + c->order_n, c->order_n, c->order_keys, -1)))
      return node_no_memory(x);
    *take = false;
    return sorter_add(cs->ordered, arguments);
  }
  return HDB_OK;
}

static status step_group(exec *x, const aggregate_node *a, aggregate_state *s, key_entry *e, bool added) {
  bool take_bare = added;
  for (int i = 0; i < a->calls_n; i++) {
    const aggregate_call *c = &a->calls[i];
    call_state *cs = group_call(e, c);
    if (c->filter) {
      int truth;
      if (c->minmax && a->filter_resets) s->stay = !added;
      TRY(expr_test(x, c->filter, &truth));
      if (truth != 1) continue;
    }
    TRY(eval_all(x, c->arguments, c->arguments_n, s->arguments));
    if (c->distinct || c->order_n) {
      bool take;
      TRY(before_step(x, c, cs, s->arguments, &take));
      if (!take) continue;
    }
    function_call *call = &s->calls[i];
    call->state = cs + 1;
    status rc = c->f->step(call, c->arguments_n, s->arguments);
    if (rc != HDB_OK) return rc;
    if (c->minmax) s->stay = !function_minmax_taken(call->state);
  }
  if (a->minmax >= 0) take_bare = !s->stay;
  return take_bare && a->bare_n ? set_bare(x, a, s, e) : HDB_OK;
}

/* Nothing but steps, the usual ones without a call. */
static status step_plain(exec *x, const aggregate_node *a, aggregate_state *s, key_entry *e) {
  for (int i = 0; i < a->calls_n; i++) {
    const aggregate_call *c = &a->calls[i];
    void *state = group_call(e, c) + 1;
    const value *v = s->arguments;
    if (c->arguments_n == 1) {
      TRY(operand_eval(x, &c->arguments[0], &v));
      bool done = false;
      switch (c->fast) {
      case FAST_SUM: done = sum_add(state, v); break;
      case FAST_COUNT: *(int64_t *)state += v->type != VAL_NULL; done = true; break;
      case FAST_MIN: done = best_add(state, v, -1); break;
      case FAST_MAX: done = best_add(state, v, 1); break;
      default: break;
      }
      if (done) continue;
    } else if (c->fast == FAST_COUNT) {
      ++*(int64_t *)state;
      continue;
    } else {
      TRY(eval_all(x, c->arguments, c->arguments_n, s->arguments));
    }
    s->calls[i].state = state;
    status rc = c->f->step(&s->calls[i], c->arguments_n, v);
    if (rc != HDB_OK) return rc;
  }
  return HDB_OK;
}

/* count(DISTINCT x) and the like over values in order: only the first of equals is stepped. */
static status step_neighbour(exec *x, const aggregate_node *a, aggregate_state *s, key_entry *e) {
  const aggregate_call *c = &a->calls[0];
  call_state *cs = group_call(e, c);
  const value *v;
  TRY(operand_eval(x, &c->arguments[0], &v));
  if (cs->has_last && v->type == VAL_INTEGER && cs->last.type == VAL_INTEGER && v->i == cs->last.i) return HDB_OK;
  bool take;
  s->arguments[0] = *v;
  TRY(before_step(x, c, cs, s->arguments, &take));
  if (!take) return HDB_OK;
  s->calls[0].state = cs + 1;
  return c->f->step(&s->calls[0], 1, s->arguments);
}

static status new_group(exec *x, const aggregate_node *a, key_entry *e) {
  value *bare = group_bare(e);
  for (int i = 0; i < a->bare_n; i++) bare[i] = value_null();
  return HDB_OK;
}

static status add_row(exec *x, const aggregate_node *a, aggregate_state *s) {
  key_entry *e;
  bool added;
  TRY(eval_all(x, a->keys, a->keys_n, s->keys));
  TRY(key_map_find(&s->groups, s->keys, true, &added, &e));
  if (a->plain) return step_plain(x, a, s, e);
  if (added) TRY(new_group(x, a, e));
  return step_group(x, a, s, e, added);
}

static status collect(exec *x, const aggregate_node *a, aggregate_state *s) {
  const value *ignored;
  status rc;
  key_entry *only = NULL;
  bool added = false;
  if (!a->grouped) {
    TRY(key_map_find(&s->groups, s->keys, true, &added, &only));
    TRY(new_group(x, a, only));
  }
  while ((rc = node_next(x, a->child, &ignored)) == HDB_ROW) {
    if (only && a->plain && !a->stop_after_first) {
      TRY(step_plain(x, a, s, only));
    } else if (only && a->neighbours) {
      TRY(step_neighbour(x, a, s, only));
    } else if (only) {
      TRY(step_group(x, a, s, only, added));
      added = false;
      if (a->stop_after_first) {
        const value *v;
        TRY(operand_eval(x, &a->calls[0].arguments[0], &v));
        if (v->type != VAL_NULL) break;
      }
    } else {
      TRY(add_row(x, a, s));
    }
  }
  if (rc != HDB_DONE && rc != HDB_ROW) return rc;
  node_close(x, a->child);
  if (a->grouped) TRY(key_map_sort(&s->groups));
  s->collected = true;
  return HDB_OK;
}

static status finish_call(exec *x, const aggregate_call *c, function_call *call, call_state *cs, value *out) {
  call->state = cs + 1;
  if (cs->ordered) {
    const value *row;
    TRY(sorter_finish(cs->ordered));
    status rc;
    while ((rc = sorter_next(cs->ordered, &row)) == HDB_ROW) TRY(c->f->step(call, c->arguments_n, row));
    if (rc != HDB_DONE) return rc;
  }
  *out = value_null();
  status rc = c->f->final(call, out);
  if (rc != HDB_OK) return rc;
  if (cs->distinct) {
    key_map_clear(cs->distinct);
    free(cs->distinct);
    cs->distinct = NULL;
  }
  sorter_free(cs->ordered);
  cs->ordered = NULL;
  buf_free(&cs->last_bytes);
  return HDB_OK;
}

static status give_out(exec *x, const aggregate_node *a, aggregate_state *s, key_entry *e) {
  value *out = s->output;
  if (s->results.block) arena_rewind(&s->results, (arena_mark){0, 0});
  for (int i = 0; i < a->keys_n; i++) out[i] = e->values[i];
  for (int i = 0; i < a->bare_n; i++) out[a->bare_out[i]] = group_bare(e)[i];
  for (int i = 0; i < a->calls_n; i++) {
    function_call *call = &s->calls[i];
    call->memory = &s->results;
    status rc = finish_call(x, &a->calls[i], call, group_call(e, &a->calls[i]), &out[a->calls[i].out]);
    call->memory = &x->memory;
    if (rc != HDB_OK) return rc;
  }
  slot_set_values(&x->slots[a->slot], s->output, false, 0);
  return HDB_ROW;
}

/* ---- groups that come one after the other ---- */
static bool same_group(const aggregate_node *a, const value *x, const value *y) {
  for (int i = 0; i < a->keys_n; i++) {
    if (x[i].type == VAL_INTEGER && y[i].type == VAL_INTEGER ? x[i].i != y[i].i : value_compare(&x[i], &y[i], a->specs[i].c) != 0)
      return false;
  }
  return true;
}

/* Makes the row at hand the first of a group in the other of the two places. */
static status begin_ordered(exec *x, const aggregate_node *a, aggregate_state *s) {
  struct ordered_group *g = &s->ordered[s->turn ^= 1];
  if (!g->entry) {
    g->entry = arena_zero(&x->lifetime, sizeof *g->entry + a->payload);
    g->keys = arena_zero(&x->lifetime, (size_t)(a->keys_n + 1) * sizeof(value));
    if (!g->entry || !g->keys) return node_no_memory(x);
    g->entry->values = g->keys;
  } else {
    memset(key_entry_payload(g->entry), 0, a->payload);
  }
  if (g->memory.block) arena_rewind(&g->memory, (arena_mark){0, 0});
  for (int i = 0; i < a->keys_n; i++) TRY(value_copy(&g->memory, &s->keys[i], &g->keys[i]));
  g->live = true;
  TRY(new_group(x, a, g->entry));
  return HDB_OK;
}

static status step_ordered(exec *x, const aggregate_node *a, aggregate_state *s, bool added) {
  struct ordered_group *g = &s->ordered[s->turn];
  s->bare_memory = &g->memory;
  return a->plain ? step_plain(x, a, s, g->entry) : step_group(x, a, s, g->entry, added);
}

static status next_in_order(exec *x, const aggregate_node *a, aggregate_state *s) {
  const value *ignored;
  if (s->child_done) return HDB_DONE;
  for (;;) {
    struct ordered_group *now = &s->ordered[s->turn];
    status rc = node_next(x, a->child, &ignored);
    if (rc == HDB_DONE) {
      s->child_done = true;
      if (!now->live) return HDB_DONE;
      now->live = false;
      return give_out(x, a, s, now->entry);
    }
    if (rc != HDB_ROW) return rc;
    TRY(eval_all(x, a->keys, a->keys_n, s->keys));
    if (now->live && same_group(a, s->keys, now->keys)) {
      TRY(step_ordered(x, a, s, false));
      continue;
    }
    bool first = !now->live;
    TRY(begin_ordered(x, a, s));
    TRY(step_ordered(x, a, s, true));
    if (first) continue;
    now->live = false;
    return give_out(x, a, s, now->entry);
  }
}

static status aggregate_next(exec *x, const plan_node *n, const value **row) {
  const aggregate_node *a = (const aggregate_node *)n;
  aggregate_state *s = node_state_get(x, n);
  if (a->in_order && a->grouped) return next_in_order(x, a, s);
  if (!s->collected) TRY(collect(x, a, s));
  if (s->at >= s->groups.entries_n) return HDB_DONE;
  return give_out(x, a, s, s->groups.entries[s->at++]);
}
const node_class aggregate_class = {"aggregate", sizeof(aggregate_state), aggregate_open, aggregate_next, aggregate_close};

/* ---- count(*) of a whole table ---- */
typedef struct count_state {
  node_state head;
  bool done, counted;
  value n;
} count_state;
static status count_open(exec *x, const plan_node *n) {
  const count_node *c = (const count_node *)n;
  count_state *s = node_state_get(x, n);
  if (!s && !(s = (count_state *)node_state_make(x, n))) return node_no_memory(x);
  s->done = s->counted = false;
  int64_t rows;
  TRY(database_begin(x->db, c->database));
  status rc = txn_count(x->db->databases[c->database].txn, c->table->tree, &rows);
  if (rc == HDB_NOTFOUND) return node_open(x, c->fallback);
  if (rc != HDB_OK) return error_set(x->err, rc, "%s", status_text(rc));
  s->counted = true;
  s->n = value_int(rows);
  return HDB_OK;
}
static status count_next(exec *x, const plan_node *n, const value **row) {
  const count_node *c = (const count_node *)n;
  count_state *s = node_state_get(x, n);
  if (!s->counted) return node_next(x, c->fallback, row);
  if (s->done) return HDB_DONE;
  s->done = true;
  slot_set_values(&x->slots[c->slot], &s->n, false, 0);
  return HDB_ROW;
}
static void count_close(exec *x, const plan_node *n) { node_close(x, ((const count_node *)n)->fallback); }
const node_class count_class = {"count", sizeof(count_state), count_open, count_next, count_close};

size_t aggregate_call_head(void) { return sizeof(call_state); }
