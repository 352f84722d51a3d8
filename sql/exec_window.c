/* Window functions: rows sorted by PARTITION BY and ORDER BY, one partition at a time, every call for all its rows.
 *
 * Peers (rows equal in ORDER BY) are numbered first; a frame is then a range [low, high) of rows by arithmetic or
 * binary search, less what EXCLUDE takes away. Aggregates slide: rows that enter are stepped, rows that leave are
 * inverted; where that cannot be (no inverse, EXCLUDE) the frame is computed again.
 * W1  Rows lie in the sorter and stay there; when it has spilled, a partition's rows are copied first.
 * W2  Results are kept in the partition's arena until the next partition.
 * What can fail: memory, the functions, a frame offset that is no number.
 */
#include <stdlib.h>

#include "sql/plan_internal.h"

typedef struct window_state {
  node_state head;
  sorter *rows;
  bool loaded, done;
  const value *ahead;     /* first row of the next partition */
  const value **partition;
  int64_t n, capacity, at;
  int32_t *group, *group_start; /* peer group of each row; first row of each group, n behind the last */
  int32_t groups_n;
  value *results;         /* calls_n for each row */
  value *output;
  arena memory;           /* results */
  arena kept;             /* rows of the partition, when the sorter does not keep them */
  value *offsets;         /* start, end of each call's frame */
} window_state;

static void window_close(exec *x, const plan_node *node) {
  window_state *s = node_state_get(x, node);
  sorter_free(s->rows);
  s->rows = NULL;
  free(s->partition);
  free(s->group);
  free(s->group_start);
  s->partition = NULL;
  s->group = s->group_start = NULL;
  s->capacity = 0;
  arena_clear(&s->memory);
  arena_clear(&s->kept);
  node_close(x, ((const window_node *)node)->child);
}

/* A frame's offset: once an open; it is a constant. */
static status frame_offset(exec *x, const window_frame *f, bool is_end, value *out) {
  const expr_program *p = is_end ? f->end_value : f->start_value;
  *out = value_null();
  if (!p) return HDB_OK;
  const value *v;
  TRY(expr_eval(x, p, &v));
  value n = *v;
  if (n.type == VAL_TEXT || n.type == VAL_BLOB) TRY(value_apply_affinity(&n, AFF_NUMERIC, &x->memory));
  bool whole = n.type == VAL_INTEGER;
  if (n.type == VAL_REAL && (double)(int64_t)n.r == n.r && f->kind != FRAME_RANGE) {
    n = value_int((int64_t)n.r);
    whole = true;
  }
  bool fits = f->kind == FRAME_RANGE ? whole || n.type == VAL_REAL : whole;
  if (fits && (n.type == VAL_INTEGER ? n.i >= 0 : n.r >= 0)) {
    *out = n;
    return HDB_OK;
  }
  return error_set(x->err, HDB_ERROR, "frame %s offset must be a non-negative %s", is_end ? "ending" : "starting",
                   f->kind == FRAME_RANGE ? "number" : "integer");
}

static status window_open(exec *x, const plan_node *node) {
  const window_node *w = (const window_node *)node;
  window_state *s = node_state_get(x, node);
  if (!s) {
    if (!(s = (window_state *)node_state_make(x, node))) return node_no_memory(x);
    s->output = arena_zero(&x->lifetime, (size_t)(w->in_columns + w->calls_n + 1) * sizeof(value));
    s->offsets = arena_zero(&x->lifetime, (size_t)(w->calls_n + 1) * 2 * sizeof(value));
    if (!s->output || !s->offsets) return node_no_memory(x);
  }
  s->loaded = s->done = false;
  s->ahead = NULL;
  s->n = s->at = 0;
  sorter_free(s->rows);
  s->rows = sorter_new(x, w->in_columns, w->keys_n, w->keys, -1);
  return s->rows ? HDB_OK : node_no_memory(x);
}

static status row_ahead(window_state *s) {
  status rc = sorter_next(s->rows, &s->ahead);
  if (rc == HDB_DONE) s->ahead = NULL;
  return rc == HDB_ROW || rc == HDB_DONE ? HDB_OK : rc;
}

static status load(exec *x, const window_node *w, window_state *s) {
  const value *ignored;
  status rc;
  TRY(node_open(x, w->child));
  while ((rc = node_next(x, w->child, &ignored)) == HDB_ROW) {
    if (w->inputs) {
      for (int i = 0; i < w->inputs_n; i++) {
        const value *v;
        TRY(operand_eval(x, &w->inputs[i], &v));
        s->output[i] = *v;
      }
      TRY(sorter_add(s->rows, s->output));
    } else {
      TRY(sorter_add(s->rows, x->slots[w->in_slot].columns));
    }
  }
  if (rc != HDB_DONE) return rc;
  node_close(x, w->child);
  TRY(sorter_finish(s->rows));
  s->loaded = true;
  TRY(row_ahead(s));
  for (int i = 0; s->ahead && i < w->calls_n; i++) {
    TRY(frame_offset(x, &w->calls[i].frame, false, &s->offsets[2 * i]));
    TRY(frame_offset(x, &w->calls[i].frame, true, &s->offsets[2 * i + 1]));
  }
  return HDB_OK;
}

static bool same_keys(const window_node *w, const value *a, const value *b, int from, int to) {
  for (int i = from; i < to; i++)
    if (key_spec_compare(&a[w->keys[i].column], &b[w->keys[i].column], &w->keys[i].spec) != 0) return false;
  return true;
}

/* The row ahead, copied: the sorter reads its rows from a file. */
static status keep_row(exec *x, const window_node *w, window_state *s) {
  value *copy = arena_alloc(&s->kept, (size_t)w->in_columns * sizeof *copy + 8);
  if (!copy) return node_no_memory(x);
  for (int i = 0; i < w->in_columns; i++)
    if (value_copy(&s->kept, &s->ahead[i], &copy[i]) != HDB_OK) return node_no_memory(x);
  s->ahead = copy;
  return HDB_OK;
}

static status read_partition(exec *x, const window_node *w, window_state *s) {
  s->n = 0;
  s->at = 0;
  s->groups_n = 0;
  if (s->kept.block) arena_rewind(&s->kept, (arena_mark){0, 0});
  while (s->ahead && (s->n == 0 || same_keys(w, s->partition[0], s->ahead, 0, w->partition_n))) {
    if (s->n == s->capacity) {
      int64_t capacity = s->capacity ? s->capacity * 2 : 64;
      const value **rows = realloc(s->partition, (size_t)capacity * sizeof *rows);
      if (rows) s->partition = rows;
      int32_t *group = realloc(s->group, (size_t)capacity * sizeof *group);
      if (group) s->group = group;
      int32_t *starts = realloc(s->group_start, ((size_t)capacity + 1) * sizeof *starts);
      if (starts) s->group_start = starts;
      if (!rows || !group || !starts) return node_no_memory(x);
      s->capacity = capacity;
    }
    if (s->n == 0 || !same_keys(w, s->partition[s->n - 1], s->ahead, w->partition_n, w->keys_n))
      s->group_start[s->groups_n++] = (int32_t)s->n;
    s->group[s->n] = s->groups_n - 1;
    if (!sorter_rows_stay(s->rows)) TRY(keep_row(x, w, s));
    s->partition[s->n++] = s->ahead;
    if (s->n == INT32_MAX) return error_set(x->err, HDB_TOOBIG, "window partition too large");
    TRY(row_ahead(s));
  }
  if (s->n) s->group_start[s->groups_n] = (int32_t)s->n;
  return HDB_OK;
}

/* ---- frames ---- */

static value shifted(value v, const value *by, bool subtract) {
  if (v.type != VAL_INTEGER && v.type != VAL_REAL) return v;
  if (v.type == VAL_INTEGER && by->type == VAL_INTEGER) {
    int64_t r;
    if (!(subtract ? __builtin_sub_overflow(v.i, by->i, &r) : __builtin_add_overflow(v.i, by->i, &r))) return value_int(r);
  }
  double a = v.type == VAL_INTEGER ? (double)v.i : v.r, b = by->type == VAL_INTEGER ? (double)by->i : by->r;
  return value_real(subtract ? a - b : a + b);
}

/* First row whose key, moved by `by` (NULL: as it is), is not before `key` (after: is behind it). */
static int64_t search_key(const window_node *w, const window_state *s, const value *key, const value *by, bool subtract, bool after) {
  const sort_key *k = &w->keys[w->partition_n];
  int64_t low = 0, high = s->n;
  while (low < high) {
    int64_t middle = (low + high) / 2;
    value at = s->partition[middle][k->column];
    if (by) at = shifted(at, by, subtract);
    int c = key_spec_compare(&at, key, &k->spec);
    if (c < 0 || (after && c == 0)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/* One edge of row i's frame: its first row (is_end false), or the row behind its last. */
static int64_t frame_edge(const window_node *w, const window_state *s, const window_frame *f, const value *offset,
                          int64_t i, bool is_end) {
  uint8_t kind = is_end ? f->end : f->start;
  if (kind == BOUND_UNBOUNDED_PRECEDING) return 0;
  if (kind == BOUND_UNBOUNDED_FOLLOWING) return s->n;
  int32_t g = s->group[i];
  if (f->kind == FRAME_ROWS) {
    if (kind == BOUND_CURRENT) return i + is_end;
    int64_t at = kind == BOUND_PRECEDING ? i - (offset->i > s->n ? s->n + 1 : offset->i)
                                         : i + (offset->i > s->n ? s->n + 1 : offset->i);
    at += is_end;
    return at < 0 ? 0 : at > s->n ? s->n : at;
  }
  if (kind == BOUND_CURRENT) return s->group_start[g + is_end];
  if (f->kind == FRAME_GROUPS) {
    int64_t d = offset->i > s->groups_n ? s->groups_n + 1 : offset->i;
    int64_t at = kind == BOUND_PRECEDING ? g - d : g + d;
    at += is_end;
    return at < 0 ? 0 : at > s->groups_n ? s->n : s->group_start[at];
  }
  const sort_key *k = &w->keys[w->partition_n];
  value key = s->partition[i][k->column];
  /* the sum is made on the earlier of the two rows, which matters at the ends of int64 */
  if (kind == BOUND_PRECEDING) return search_key(w, s, &key, offset, k->spec.descending, is_end);
  key = shifted(key, offset, k->spec.descending);
  return search_key(w, s, &key, NULL, false, is_end);
}

typedef struct frame_range {
  int64_t low, high;
} frame_range;

static frame_range frame_of(const window_node *w, const window_state *s, const window_call *c, const value *offsets, int64_t i) {
  frame_range r = {frame_edge(w, s, &c->frame, &offsets[0], i, false), frame_edge(w, s, &c->frame, &offsets[1], i, true)};
  if (r.high < r.low) r.high = r.low;
  return r;
}

static inline bool excluded(const window_state *s, const window_frame *f, int64_t i, int64_t row) {
  switch (f->exclude) {
  case EXCLUDE_CURRENT: return row == i;
  case EXCLUDE_GROUP: return s->group[row] == s->group[i];
  case EXCLUDE_TIES: return row != i && s->group[row] == s->group[i];
  default: return false;
  }
}

/* ---- aggregates over frames ---- */
typedef struct sliding {
  exec *x;
  const window_node *w;
  window_state *s;
  const window_call *c;
  function_call call;
  value *arguments;
  int64_t low, high; /* rows in the state */
} sliding;

static status feed(sliding *a, int64_t row, bool inverse) {
  const value *v = a->s->partition[row];
  if (a->c->filter >= 0 && value_truth(&v[a->c->filter]) != 1) return HDB_OK;
  for (int i = 0; i < a->c->arguments_n; i++) a->arguments[i] = v[a->c->arguments[i]];
  return inverse ? a->c->f->inverse(&a->call, a->c->arguments_n, a->arguments)
                 : a->c->f->step(&a->call, a->c->arguments_n, a->arguments);
}

static void start_over(sliding *a, int64_t at) {
  if (a->c->f->release) a->c->f->release(&a->call);
  memset(a->call.state, 0, a->c->f->state_size);
  a->low = a->high = at;
}

static status slide(sliding *a, frame_range r) {
  if (r.low < a->low || r.high < a->high) start_over(a, r.low);
  if (r.low > a->low && !a->c->f->inverse) start_over(a, r.low);
  if (a->c->frame.start != BOUND_FOLLOWING) /* SQLite's order, seen in overflows */
    for (; a->low < r.low && a->low < a->high; a->low++) TRY(feed(a, a->low, true));
  for (; a->high < r.high; a->high++) TRY(feed(a, a->high, false));
  for (; a->low < r.low; a->low++) TRY(feed(a, a->low, true));
  return HDB_OK;
}

static status keep_result(window_state *s, value *v) {
  if (v->type != VAL_TEXT && v->type != VAL_BLOB) return HDB_OK;
  value copy;
  TRY(value_copy(&s->memory, v, &copy));
  copy.subtype = v->subtype;
  *v = copy;
  return HDB_OK;
}

/* min() and max() over a frame that leaves rows behind: of equals the last one, and no FILTER, as in SQLite.
 * A queue of rows each better than all behind it: its first is the frame's best. */
static status moving_best(exec *x, const window_node *w, window_state *s, int k) {
  const window_call *c = &w->calls[k];
  bool is_max = (c->f->name[1] | 32) == 'a';
  int argument = c->arguments[0];
  value *out = s->results + k;
  int64_t *queue = arena_alloc(&s->memory, (size_t)s->n * sizeof *queue + 8);
  if (!queue) return node_no_memory(x);
  int64_t first = 0, last = 0, read = 0, before = 0;
  for (int64_t i = 0; i < s->n; i++, out += w->calls_n) {
    frame_range r = frame_of(w, s, c, &s->offsets[2 * k], i);
    if (r.low < before) first = last = 0, read = r.low; /* a frame that went back */
    before = r.low;
    if (read < r.low) read = r.low;
    for (; read < r.high; read++) {
      const value *v = &s->partition[read][argument];
      if (v->type == VAL_NULL) continue;
      while (last > first) {
        int order = value_compare(v, &s->partition[queue[last - 1]][argument], c->collation);
        if (is_max ? order < 0 : order > 0) break;
        last--;
      }
      queue[last++] = read;
    }
    while (first < last && queue[first] < r.low) first++;
    *out = first < last && queue[first] < r.high ? s->partition[queue[first]][argument] : value_null();
    TRY(exec_tick(x));
  }
  return HDB_OK;
}

static status aggregate_results(exec *x, const window_node *w, window_state *s, int k) {
  const window_call *c = &w->calls[k];
  value arguments[128], *out = s->results + k;
  if ((c->f->flags & FUNC_MINMAX) && c->arguments_n == 1 && c->frame.start != BOUND_UNBOUNDED_PRECEDING &&
      c->frame.exclude == EXCLUDE_NONE)
    return moving_best(x, w, s, k);
  if (c->arguments_n > 128) return error_set(x->err, HDB_ERROR, "too many arguments on function %s", c->f->name);
  sliding a = {.x = x, .w = w, .s = s, .c = c, .arguments = arguments};
  a.call = (function_call){x->db, c->f, &s->memory, x->err, c->collation, NULL, x, PLACE_ANYWHERE};
  a.call.state = arena_zero(&s->memory, c->f->state_size + 8);
  if (!a.call.state) return node_no_memory(x);
  frame_range before = {-1, -1};
  status rc = HDB_OK;
  for (int64_t i = 0; i < s->n; i++, out += w->calls_n) {
    frame_range r = frame_of(w, s, c, &s->offsets[2 * k], i);
    if (c->frame.exclude == EXCLUDE_NONE) {
      if (i && r.low == before.low && r.high == before.high) {
        *out = out[-w->calls_n];
        continue;
      }
      CHECK(slide(&a, r));
    } else {
      start_over(&a, r.low);
      for (int64_t row = r.low; row < r.high; row++)
        if (!excluded(s, &c->frame, i, row)) CHECK(feed(&a, row, false));
    }
    before = r;
    *out = value_null();
    CHECK(c->frame.exclude == EXCLUDE_NONE ? c->f->value(&a.call, out) : c->f->final(&a.call, out));
    CHECK(keep_result(s, out));
    CHECK(exec_tick(x));
  }
out:
  if (c->f->release) c->f->release(&a.call);
  return rc;
}

/* ---- the functions that are only window functions ---- */
static status ntile_of(exec *x, const window_state *s, const window_call *c, int64_t i, value *out) {
  int64_t n = value_to_int(&s->partition[0][c->arguments[0]]);
  if (n <= 0) return error_set(x->err, HDB_ERROR, "argument of ntile must be a positive integer");
  int64_t size = s->n / n, larger = s->n - n * size; /* that many tiles hold one more */
  if (size == 0) *out = value_int(i + 1);
  else if (i < larger * (size + 1)) *out = value_int(1 + i / (size + 1));
  else *out = value_int(1 + larger + (i - larger * (size + 1)) / size);
  return HDB_OK;
}

static void shifted_row(const window_state *s, const window_call *c, int64_t i, value *out) {
  const value *row = s->partition[i];
  value by = value_int(1);
  *out = c->arguments_n > 2 ? row[c->arguments[2]] : value_null();
  if (c->arguments_n > 1) by = value_to_number(&row[c->arguments[1]]);
  if (by.type == VAL_REAL && (double)(int64_t)by.r == by.r) by = value_int((int64_t)by.r);
  if (by.type != VAL_INTEGER || by.i > s->n || by.i < -s->n) return;
  int64_t at = c->kind == WINDOW_LAG ? i - by.i : i + by.i;
  if (c->kind == WINDOW_LAG && at > i + 1) return; /* SQLite has not read that row yet */
  if (at >= 0 && at < s->n) *out = s->partition[at][c->arguments[0]];
}

static status value_in_frame(exec *x, const window_node *w, const window_state *s, int k, int64_t i, value *out) {
  const window_call *c = &w->calls[k];
  frame_range r = frame_of(w, s, c, &s->offsets[2 * k], i);
  int64_t wanted = 1;
  if (c->kind == WINDOW_NTH_VALUE) {
    value n = value_to_number(&s->partition[i][c->arguments[1]]);
    if (n.type == VAL_REAL && (double)(int64_t)n.r == n.r) n = value_int((int64_t)n.r);
    if (n.type != VAL_INTEGER || n.i <= 0)
      return error_set(x->err, HDB_ERROR, "second argument to nth_value must be a positive integer");
    wanted = n.i;
  }
  *out = value_null();
  if (c->kind == WINDOW_LAST_VALUE) {
    for (int64_t row = r.high - 1; row >= r.low; row--)
      if (!excluded(s, &c->frame, i, row)) {
        *out = s->partition[row][c->arguments[0]];
        return HDB_OK;
      }
    return HDB_OK;
  }
  if (c->frame.exclude == EXCLUDE_NONE) {
    if (wanted <= r.high - r.low) *out = s->partition[r.low + wanted - 1][c->arguments[0]];
    return HDB_OK;
  }
  for (int64_t row = r.low; row < r.high; row++)
    if (!excluded(s, &c->frame, i, row) && --wanted == 0) {
      *out = s->partition[row][c->arguments[0]];
      return HDB_OK;
    }
  return HDB_OK;
}

static status ranking_results(exec *x, const window_node *w, window_state *s, int k) {
  const window_call *c = &w->calls[k];
  value *out = s->results + k;
  for (int64_t i = 0; i < s->n; i++, out += w->calls_n) {
    int32_t g = s->group[i];
    int64_t first = s->group_start[g], behind = s->group_start[g + 1];
    switch (c->kind) {
    case WINDOW_ROW_NUMBER: *out = value_int(i + 1); break;
    case WINDOW_RANK: *out = value_int(first + 1); break;
    case WINDOW_DENSE_RANK: *out = value_int(g + 1); break;
    case WINDOW_PERCENT_RANK: *out = value_real(s->n > 1 ? (double)first / (double)(s->n - 1) : 0.0); break;
    case WINDOW_CUME_DIST: *out = value_real((double)behind / (double)s->n); break;
    case WINDOW_NTILE: TRY(ntile_of(x, s, c, i, out)); break;
    case WINDOW_LAG:
    case WINDOW_LEAD: shifted_row(s, c, i, out); break;
    default: TRY(value_in_frame(x, w, s, k, i, out));
    }
  }
  return HDB_OK;
}

static status compute(exec *x, const window_node *w, window_state *s) {
  if (s->memory.block) arena_rewind(&s->memory, (arena_mark){0, 0}); /* W2 */
  s->results = arena_alloc(&s->memory, (size_t)s->n * (size_t)w->calls_n * sizeof(value) + 8);
  if (!s->results) return node_no_memory(x);
  for (int k = 0; k < w->calls_n; k++)
    TRY(w->calls[k].kind == WINDOW_AGGREGATE ? aggregate_results(x, w, s, k) : ranking_results(x, w, s, k));
  return HDB_OK;
}

static status window_next(exec *x, const plan_node *node, const value **row) {
  const window_node *w = (const window_node *)node;
  window_state *s = node_state_get(x, node);
  if (!s->loaded) TRY(load(x, w, s));
  if (s->at == s->n) {
    if (!s->ahead) return HDB_DONE;
    TRY(read_partition(x, w, s));
    TRY(compute(x, w, s));
  }
  memcpy(s->output, s->partition[s->at], (size_t)w->in_columns * sizeof(value));
  memcpy(s->output + w->in_columns, s->results + s->at * w->calls_n, (size_t)w->calls_n * sizeof(value));
  s->at++;
  slot_set_values(&x->slots[w->slot], s->output, false, 0);
  return HDB_ROW;
}
const node_class window_class = {"window", sizeof(window_state), window_open, window_next, window_close};
