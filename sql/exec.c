/* An execution's memory: slots, registers, states, cursors; interrupt and progress checks.
 *
 * E1  The frame (slots with their own value arrays, registers, states) is allocated once for a program and kept
 *     over resets: executing a prepared statement again allocates nothing here.
 * E2  Cursors belong to the exec. exec_cursor gives a pooled one for the same tree when there is one at rest;
 *     exec_rewind puts all of them to rest (cursor_reset), exec_close frees them.
 * E3  Every exec_tick that runs out asks: interrupted? what does the progress handler say?
 * What can fail: memory, opening a cursor (the database's status). Cost per row: one decrement.
 */
#include <stdlib.h>
#include <time.h>

#include "kv/base/leave.h"
#include "sql/internal.h"

typedef struct pooled_cursor {
  cursor *c;
  int64_t as_of;
  uint32_t tree;
  int database;
  bool in_use;
} pooled_cursor;

struct exec_cursors {
  int n, capacity;
  pooled_cursor *items;
};

enum { TICKS_DEFAULT = 256 };

status exec_open(exec *x, hdb *db, const program *p, exec *parent) {
  memset(x, 0, sizeof *x);
  x->db = db;
  x->program = p;
  x->err = &db->err;
  x->parent = parent;
  x->depth = parent ? parent->depth + 1 : 0;
  x->ticks = 1;
  if (p->slots_n) {
    x->slots = arena_zero(&x->frame, (size_t)p->slots_n * sizeof *x->slots);
    if (!x->slots) goto nomem;
    for (int i = 0; i < p->slots_n; i++) {
      slot *s = &x->slots[i];
      s->columns_n = p->slot_columns[i];
      /* one more than asked for: a source without columns still has an array */
      s->own = arena_zero(&x->frame, ((size_t)s->columns_n + 1) * sizeof *s->own);
      if (!s->own) goto nomem;
      slot_set_null(s);
    }
  }
  if (p->registers_n && !(x->registers = arena_zero(&x->frame, (size_t)p->registers_n * sizeof *x->registers))) goto nomem;
  for (int i = 0; i < p->registers_n; i++) x->registers[i] = value_null();
  if (p->states_n && !(x->states = arena_zero(&x->frame, (size_t)p->states_n * sizeof *x->states))) goto nomem;
  return HDB_OK;
nomem:
  arena_clear(&x->frame);
  return error_set(x->err, HDB_NOMEM, "out of memory");
}

void exec_rewind(exec *x) {
  node_states_release(x);
  struct exec_cursors *pool = x->cursors;
  for (int i = 0; pool && i < pool->n; i++) {
    if (pool->items[i].in_use) cursor_reset(pool->items[i].c);
    pool->items[i].in_use = false;
  }
  if (x->program && x->states) memset(x->states, 0, (size_t)x->program->states_n * sizeof *x->states);
  arena_rewind(&x->memory, (arena_mark){0, 0});
  arena_rewind(&x->lifetime, (arena_mark){0, 0});
  x->memory.failed = x->lifetime.failed = false;
  x->run = NULL;
  x->now_ms = 0;
  x->times_known = false;
  x->changes = x->trigger_changes = 0;
  x->error_action = 0;
  x->started = false;
  x->ticks = 1;
}

void exec_forget_database(exec *x, int database) {
  for (exec_kept *k = x->kept; k; k = k->next)
    if (k->forget) k->forget(k, database);
  struct exec_cursors *pool = x->cursors;
  for (int i = 0; pool && i < pool->n;) {
    if (database >= 0 && pool->items[i].database != database) {
      i++;
      continue;
    }
    cursor_close(pool->items[i].c);
    pool->items[i] = pool->items[--pool->n];
  }
}

void exec_close(exec *x) {
  node_states_release(x);
  exec_forget_database(x, -1);
  while (x->kept) {
    exec_kept *k = x->kept;
    x->kept = k->next;
    k->release(k);
  }
  if (x->cursors) free(x->cursors->items);
  free(x->cursors);
  arena_clear(&x->memory);
  arena_clear(&x->lifetime);
  arena_clear(&x->frame);
  memset(x, 0, sizeof *x);
}

static pooled_cursor *pool_add(exec *x) {
  if (!x->cursors && !(x->cursors = calloc(1, sizeof *x->cursors))) return NULL;
  struct exec_cursors *pool = x->cursors;
  if (pool->n == pool->capacity) {
    int capacity = pool->capacity ? pool->capacity * 2 : 4;
    pooled_cursor *items = realloc(pool->items, (size_t)capacity * sizeof *items);
    if (!items) return NULL;
    pool->items = items;
    pool->capacity = capacity;
  }
  return &pool->items[pool->n];
}

/* Cursors at rest on other times of the database: the next execution's time is another again. */
static void forget_past(exec *x, int database) {
  struct exec_cursors *pool = x->cursors;
  for (int i = 0; pool && i < pool->n;) {
    if (pool->items[i].in_use || !pool->items[i].as_of || pool->items[i].database != database) {
      i++;
      continue;
    }
    cursor_close(pool->items[i].c);
    pool->items[i] = pool->items[--pool->n];
  }
}

status exec_cursor(exec *x, int database, uint32_t tree, int64_t as_of, cursor **out) {
  struct exec_cursors *pool = x->cursors;
  for (int i = 0; pool && i < pool->n; i++) {
    pooled_cursor *p = &pool->items[i];
    if (p->in_use || p->tree != tree || p->database != database || p->as_of != as_of) continue;
    p->in_use = true;
    *out = p->c;
    return HDB_OK;
  }
  TRY(database_begin(x->db, database));
  if (as_of) forget_past(x, database);
  pooled_cursor *p = pool_add(x);
  if (!p) return error_set(x->err, HDB_NOMEM, "out of memory");
  cursor *c;
  status rc = cursor_open(x->db->databases[database].txn, tree, as_of, &c);
  if (rc != HDB_OK) return error_set(x->err, rc, "%s", status_text(rc));
  *p = (pooled_cursor){c, as_of, tree, database, true};
  x->cursors->n++;
  *out = c;
  return HDB_OK;
}

/* E3. A progress handler that answers other than 0 interrupts, as sqlite3_interrupt does. */
status exec_check(exec *x) {
  hdb *db = x->db;
  leave_before_wait();
  x->ticks = TICKS_DEFAULT;
  if (db->progress) {
    if (db->progress_steps < TICKS_DEFAULT) x->ticks = (uint32_t)db->progress_steps;
    if (db->progress(db->progress_data)) return error_set(x->err, HDB_INTERRUPT, "interrupted");
  }
  if (atomic_load_explicit(&db->interrupted, memory_order_relaxed))
    return error_set(x->err, HDB_INTERRUPT, "interrupted");
  return HDB_OK;
}

int64_t exec_now(exec *x) {
  while (x->parent) x = x->parent;
  if (x->now_ms == 0) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    /* 1970-01-01 is julian day 2440587.5 */
    x->now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + 210866760000000;
  }
  return x->now_ms;
}
