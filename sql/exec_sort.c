/* ORDER BY and DISTINCT over rows.
 *
 * Rows that come in order of the first keys are sorted in blocks of equal ones, so that a LIMIT stops the reading early.
 * Otherwise sort reads its whole child on the first next (with LIMIT only the best rows are kept); DISTINCT hands a row out
 * when its key is new, so rows keep the order in which they came, as SQLite's do.
 */
#include "sql/plan_internal.h"

typedef struct sort_state {
  node_state head;
  sorter *rows;
  bool sorted;
  /* blocks */
  value *first;     /* the first row of the block at hand */
  arena memory[2];  /* of first; of the row that was handed out */
  int turn;
  bool has_first, in_sorter, giving, child_done;
} sort_state;

static void sort_close(exec *x, const plan_node *n) {
  sort_state *s = node_state_get(x, n);
  sorter_free(s->rows);
  s->rows = NULL;
  arena_clear(&s->memory[0]);
  arena_clear(&s->memory[1]);
  node_close(x, ((const sort_node *)n)->child);
}
static status sort_open(exec *x, const plan_node *n) {
  const sort_node *o = (const sort_node *)n;
  sort_state *s = node_state_get(x, n);
  if (!s && !(s = (sort_state *)node_state_make(x, n))) return node_no_memory(x);
  int64_t limit = -1, offset = 0;
  if (o->limit) TRY(limit_values(x, o->limit->limit, o->limit->offset, &limit, &offset));
  if (limit >= 0) limit = limit > INT64_MAX - offset ? -1 : limit + offset;
  sorter_free(s->rows);
  s->rows = sorter_new(x, o->child->columns_n, o->keys_n, o->keys, limit);
  if (!s->rows) return node_no_memory(x);
  s->sorted = false;
  s->has_first = s->in_sorter = s->giving = s->child_done = false;
  return o->ordered_n ? node_open(x, o->child) : HDB_OK;
}
static status read_all(exec *x, const sort_node *o, sort_state *s) {
  const value *row;
  status rc;
  while ((rc = node_next(x, o->child, &row)) == HDB_ROW) TRY(sorter_add(s->rows, row));
  return rc == HDB_DONE ? HDB_OK : rc;
}

/* With LIMIT: most rows are refused by their first key, before their columns are computed. */
static status read_best(exec *x, const sort_node *o, sort_state *s) {
  const project_node *p = o->project;
  const value *key, *ignored;
  status rc;
  while ((rc = node_next(x, p->child, &ignored)) == HDB_ROW) {
    TRY(operand_eval(x, &o->first_key, &key));
    if (sorter_refuses(s->rows, key)) continue;
    TRY(expr_eval_list(x, p->program));
    TRY(sorter_add(s->rows, x->registers + p->first));
  }
  return rc == HDB_DONE ? HDB_OK : rc;
}

/* ---- blocks ---- */
static status keep_first(exec *x, const sort_node *o, sort_state *s, const value *row) {
  int n = o->child->columns_n;
  arena *a = &s->memory[s->turn ^= 1];
  if (a->block) arena_rewind(a, (arena_mark){0, 0});
  s->first = arena_alloc(a, ((size_t)n + 1) * sizeof *s->first);
  if (!s->first) return node_no_memory(x);
  for (int i = 0; i < n; i++) TRY(value_copy(a, &row[i], &s->first[i]));
  s->has_first = true;
  s->in_sorter = false;
  return HDB_OK;
}

static bool same_block(const sort_node *o, const value *a, const value *b) {
  for (int i = 0; i < o->ordered_n; i++)
    if (key_spec_compare(&a[o->keys[i].column], &b[o->keys[i].column], &o->keys[i].spec) != 0) return false;
  return true;
}

/* Reads to the end of a block. *single: it was one row, which is *row; else the sorter has it. */
static status read_block(exec *x, const sort_node *o, sort_state *s, const value **row, bool *single) {
  const value *next;
  for (;;) {
    status rc = node_next(x, o->child, &next);
    if (rc != HDB_ROW && rc != HDB_DONE) return rc;
    s->child_done = rc == HDB_DONE;
    if (!s->child_done && !s->has_first) {
      TRY(keep_first(x, o, s, next));
      continue;
    }
    if (s->child_done || !same_block(o, s->first, next)) break;
    if (!s->in_sorter) {
      sorter_reset(s->rows);
      TRY(sorter_add(s->rows, s->first));
    }
    s->in_sorter = true;
    TRY(sorter_add(s->rows, next));
  }
  *single = s->has_first && !s->in_sorter;
  *row = s->first;
  s->giving = s->in_sorter;
  s->has_first = false;
  if (s->giving) TRY(sorter_finish(s->rows));
  return s->child_done ? HDB_OK : keep_first(x, o, s, next);
}

static status next_in_blocks(exec *x, const sort_node *o, sort_state *s, const value **row) {
  for (;;) {
    if (s->giving) {
      status rc = sorter_next(s->rows, row);
      if (rc != HDB_DONE) return rc;
      s->giving = false;
    }
    if (s->child_done && !s->has_first) return HDB_DONE;
    bool single = false;
    TRY(read_block(x, o, s, row, &single));
    if (single) return HDB_ROW;
  }
}

static status sort_next(exec *x, const plan_node *n, const value **row) {
  const sort_node *o = (const sort_node *)n;
  sort_state *s = node_state_get(x, n);
  if (o->ordered_n) return next_in_blocks(x, o, s, row);
  if (!s->sorted) {
    TRY(node_open(x, o->child));
    TRY(o->project && o->limit ? read_best(x, o, s) : read_all(x, o, s));
    node_close(x, o->child);
    TRY(sorter_finish(s->rows));
    s->sorted = true;
  }
  return sorter_next(s->rows, row);
}
const node_class sort_class = {"sort", sizeof(sort_state), sort_open, sort_next, sort_close};

typedef struct distinct_state {
  node_state head;
  key_map seen;
  bool ready, has_last;
  value *last;     /* in_order: the row before */
  arena memory;
} distinct_state;
static void distinct_close(exec *x, const plan_node *n) {
  distinct_state *s = node_state_get(x, n);
  key_map_clear(&s->seen);
  arena_clear(&s->memory);
  node_close(x, ((const distinct_node *)n)->child);
}
static status distinct_open(exec *x, const plan_node *n) {
  const distinct_node *d = (const distinct_node *)n;
  distinct_state *s = node_state_get(x, n);
  if (!s && !(s = (distinct_state *)node_state_make(x, n))) return node_no_memory(x);
  if (s->ready) key_map_clear(&s->seen);
  key_map_init(&s->seen, x, d->keys_n, d->specs, 0, false);
  s->ready = true;
  s->has_last = false;
  if (d->in_order && !s->last && !(s->last = arena_zero(&x->lifetime, (size_t)(d->keys_n + 1) * sizeof(value))))
    return node_no_memory(x);
  return node_open(x, d->child);
}
static status next_of_neighbours(exec *x, const distinct_node *d, distinct_state *s, const value **row) {
  for (;;) {
    status rc = node_next(x, d->child, row);
    if (rc != HDB_ROW) return rc;
    bool same = s->has_last;
    for (int i = 0; i < d->keys_n && same; i++) {
      const value *a = &(*row)[i], *b = &s->last[i];
      same = a->type == VAL_INTEGER && b->type == VAL_INTEGER ? a->i == b->i : value_compare(a, b, d->specs[i].c) == 0;
    }
    if (same) continue;
    if (s->memory.block) arena_rewind(&s->memory, (arena_mark){0, 0});
    for (int i = 0; i < d->keys_n; i++) TRY(value_copy(&s->memory, &(*row)[i], &s->last[i]));
    s->has_last = true;
    return HDB_ROW;
  }
}

static status distinct_next(exec *x, const plan_node *n, const value **row) {
  const distinct_node *d = (const distinct_node *)n;
  distinct_state *s = node_state_get(x, n);
  if (d->in_order) return next_of_neighbours(x, d, s, row);
  for (;;) {
    bool added;
    key_entry *e;
    status rc = node_next(x, d->child, row);
    if (rc != HDB_ROW) return rc;
    TRY(key_map_find(&s->seen, *row, true, &added, &e));
    if (added) return HDB_ROW;
  }
}
const node_class distinct_class = {"distinct", sizeof(distinct_state), distinct_open, distinct_next, distinct_close};
