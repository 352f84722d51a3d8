/* Recursive CTEs: a queue of rows; each row is given out, then the recursive arms run with it as their source.
 *
 * Without ORDER BY the queue is first in, first out: two spools that change places. With ORDER BY it is a heap by
 * (keys, arrival). UNION drops rows that were seen before.
 * What can fail: memory, the arms. A row costs one copy.
 */
#include <stdlib.h>

#include "sql/exec_access.h"

typedef struct heap_row {
  uint64_t order;
  value values[];
} heap_row;

typedef struct recursive_state {
  node_state head;
  spool *in, *out;   /* read from, written to */
  key_map seen;
  bool seen_ready, started, expanded;
  heap_row **heap;
  size_t heap_n, heap_capacity;
  uint64_t order;
  heap_row *popped;
  const value *current;
  int64_t left, skip;
} recursive_state;

static void free_queue(recursive_state *s) {
  spool_free(s->in);
  spool_free(s->out);
  s->in = s->out = NULL;
  for (size_t i = 0; i < s->heap_n; i++) free(s->heap[i]);
  free(s->heap);
  free(s->popped);
  s->heap = NULL;
  s->popped = NULL;
  s->heap_n = s->heap_capacity = 0;
  s->current = NULL;
}

static void recursive_close(exec *x, const plan_node *n) {
  const recursive_node *r = (const recursive_node *)n;
  recursive_state *s = node_state_get(x, n);
  free_queue(s);
  key_map_clear(&s->seen);
  node_close(x, r->initial);
  for (int i = 0; i < r->steps_n; i++) node_close(x, r->steps[i]);
}

static status recursive_open(exec *x, const plan_node *n) {
  const recursive_node *r = (const recursive_node *)n;
  recursive_state *s = node_state_get(x, n);
  if (!s && !(s = (recursive_state *)node_state_make(x, n))) return node_no_memory(x);
  free_queue(s);
  if (s->seen_ready) key_map_clear(&s->seen);
  key_map_init(&s->seen, x, n->columns_n, r->specs, 0, false);
  s->seen_ready = true;
  s->started = s->expanded = false;
  s->in = spool_new(x, n->columns_n);
  s->out = spool_new(x, n->columns_n);
  if (!s->in || !s->out) return node_no_memory(x);
  return limit_values(x, r->limit, r->offset, &s->left, &s->skip);
}

status recursive_current(exec *x, int state, const value **row) {
  recursive_state *s = x->states[state];
  if (!s || !s->current) return error_set(x->err, HDB_INTERNAL, "recursive reference without a row");
  *row = s->current;
  return HDB_OK;
}

static bool heap_less(const recursive_node *r, const heap_row *a, const heap_row *b) {
  for (int i = 0; i < r->keys_n; i++) {
    int column = r->keys[i].column;
    int c = key_spec_compare(&a->values[column], &b->values[column], &r->keys[i].spec);
    if (c) return c < 0;
  }
  return a->order < b->order;
}

static status heap_push(exec *x, const recursive_node *r, recursive_state *s, const value *row) {
  int columns_n = r->node.columns_n;
  size_t bytes = sizeof(heap_row) + (size_t)columns_n * sizeof *row;
  for (int i = 0; i < columns_n; i++)
    if (row[i].type == VAL_TEXT || row[i].type == VAL_BLOB) bytes += row[i].n;
  if (s->heap_n == s->heap_capacity) {
    size_t capacity = s->heap_capacity ? s->heap_capacity * 2 : 32;
    heap_row **heap = realloc(s->heap, capacity * sizeof *heap);
    if (!heap) return node_no_memory(x);
    s->heap = heap;
    s->heap_capacity = capacity;
  }
  heap_row *h = malloc(bytes);
  if (!h) return node_no_memory(x);
  h->order = s->order++;
  char *p = (char *)(h->values + columns_n);
  for (int i = 0; i < columns_n; i++) {
    h->values[i] = row[i];
    if (row[i].type != VAL_TEXT && row[i].type != VAL_BLOB) continue;
    if (row[i].n) memcpy(p, row[i].p, row[i].n);
    h->values[i].p = p;
    p += row[i].n;
  }
  size_t at = s->heap_n++;
  for (; at; at = (at - 1) / 2) {
    heap_row *up = s->heap[(at - 1) / 2];
    if (!heap_less(r, h, up)) break;
    s->heap[at] = up;
  }
  s->heap[at] = h;
  return HDB_OK;
}

static heap_row *heap_pop(const recursive_node *r, recursive_state *s) {
  heap_row *top = s->heap[0], *last = s->heap[--s->heap_n];
  size_t at = 0;
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= s->heap_n) break;
    if (child + 1 < s->heap_n && heap_less(r, s->heap[child + 1], s->heap[child])) child++;
    if (!heap_less(r, s->heap[child], last)) break;
    s->heap[at] = s->heap[child];
    at = child;
  }
  if (s->heap_n) s->heap[at] = last;
  return top;
}

static status enqueue(exec *x, const recursive_node *r, recursive_state *s, const plan_node *from) {
  const value *row;
  status rc;
  TRY(node_open(x, from));
  while ((rc = node_next(x, from, &row)) == HDB_ROW) {
    if (r->distinct) {
      bool added;
      key_entry *e;
      TRY(key_map_find(&s->seen, row, true, &added, &e));
      if (!added) continue;
    }
    if (r->keys_n) TRY(heap_push(x, r, s, row));
    else TRY(spool_add(s->out, row));
  }
  if (rc != HDB_DONE) return rc;
  return HDB_OK;
}

/* The queue's next row into s->current; HDB_DONE when it is empty. */
static status dequeue(exec *x, const recursive_node *r, recursive_state *s) {
  if (r->keys_n) {
    free(s->popped);
    s->popped = NULL;
    s->current = NULL;
    if (!s->heap_n) return HDB_DONE;
    s->popped = heap_pop(r, s);
    s->current = s->popped->values;
    return HDB_OK;
  }
  if (spool_next(s->in, &s->current) == HDB_ROW) return HDB_OK;
  s->current = NULL;
  spool_clear(s->in);
  spool *swap = s->in;
  s->in = s->out;
  s->out = swap;
  return spool_next(s->in, &s->current) == HDB_ROW ? HDB_OK : HDB_DONE;
}

static status recursive_next(exec *x, const plan_node *n, const value **row) {
  const recursive_node *r = (const recursive_node *)n;
  recursive_state *s = node_state_get(x, n);
  if (s->left == 0) return HDB_DONE;
  if (!s->started) {
    TRY(enqueue(x, r, s, r->initial));
    node_close(x, r->initial);
    s->started = s->expanded = true;
  }
  for (;;) {
    if (s->left == 0) return HDB_DONE;
    TRY(exec_tick(x));
    for (int i = 0; !s->expanded && i < r->steps_n; i++) TRY(enqueue(x, r, s, r->steps[i]));
    status rc = dequeue(x, r, s);
    if (rc == HDB_DONE) s->left = 0;
    if (rc != HDB_OK) return rc;
    s->expanded = false;
    if (s->skip > 0) {
      s->skip--;
      continue;
    }
    if (s->left > 0) s->left--;
    *row = s->current;
    return HDB_ROW;
  }
}
const node_class recursive_class = {"recursive", sizeof(recursive_state), recursive_open, recursive_next, recursive_close};
