/* A seed becomes a variant and a list of operations: data that does not depend on what they meet, so that a failing list
 * can be made shorter by leaving out any of them. */
#include "kv/fault.h"
#include <string.h>

#include "tests/sim/model/sim.h"

static uint64_t random_state;
void random_seed(uint64_t seed) { random_state = seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du; }
unsigned random_below(unsigned n) {
  random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
  return (unsigned)((random_state * 0x9e3779b97f4a7c15u) >> 33) % n;
}
static bool one_in(unsigned n) { return random_below(n) == 0; }
static int16_t small(void) { return (int16_t)(1 + random_below(7)); }
static int16_t small_or_null(unsigned n) { return one_in(n) ? OP_NIL : small(); }

static void choose_where(op *o) {
  static const uint8_t choices[] = {W_KEY, W_KEY, W_KEY, W_KEY, W_RANGE, W_RANGE, W_V, W_V, W_U, W_ALL, W_MOD, W_PID, W_SUB, W_NULL};
  const shape *h = &shapes[o->table];
  o->where = choices[random_below(sizeof choices)];
  if ((o->where == W_U && h->u < 0) || (o->where == W_PID && h->pid < 0)) o->where = W_KEY;
  if (o->where == W_SUB && o->table != TABLE_P && o->table != TABLE_A) o->where = W_RANGE;
  o->x = small(), o->y = small();
  if (o->where == W_RANGE) o->y = (int16_t)(o->x + random_below(3));
}

static void choose_table(op *o) {
  static const uint8_t choices[] = {TABLE_A, TABLE_A, TABLE_A, TABLE_P, TABLE_P, TABLE_C, TABLE_C, TABLE_Q, TABLE_L, TABLE_D};
  o->table = choices[random_below(sizeof choices)];
}

static void choose_insert(op *o) {
  static const uint8_t on[] = {ON_ABORT, ON_ABORT, ON_ABORT, ON_ABORT, ON_IGNORE, ON_REPLACE, ON_UPSERT, ON_NOTHING, ON_ROLLBACK};
  o->on = on[random_below(sizeof on)];
  o->x = shapes[o->table].keys_n == 1 && one_in(2) ? OP_NIL : small();
  o->y = o->table == TABLE_C ? (int16_t)(1 + random_below(3)) : small_or_null(4);
  o->z = small_or_null(4), o->w = small_or_null(5);
  if (one_in(8)) {
    o->kind = OP_INSERT_SELECT, o->on = ON_ABORT, o->x = small();
    if (o->table == TABLE_C || o->table == TABLE_P) o->table = TABLE_Q;
  }
  if (o->table == TABLE_L && o->on == ON_UPSERT) o->on = ON_ABORT;
}

static void choose_update(op *o) {
  const shape *h = &shapes[o->table];
  choose_where(o);
  o->set = (uint8_t)random_below(SETS);
  if ((o->set == SET_U && h->u < 0) || (o->set == SET_PID && h->pid < 0) || ((o->set == SET_N || o->set == SET_TWO) && h->n < 0)) o->set = SET_ADD;
  if (o->set == SET_KEY) o->where = o->table == TABLE_A && one_in(3) ? W_U : W_KEY;
  if (o->table == TABLE_C && o->set == SET_KEY) o->y = (int16_t)(1 + random_below(3));
  o->k = o->set == SET_V || o->set == SET_U || o->set == SET_PID ? small_or_null(6) : small();
  if (o->where == W_KEY && o->table != TABLE_P && one_in(6)) o->on = one_in(2) ? ON_IGNORE : ON_REPLACE;
}

static void choose_rows(op *o) {
  unsigned which = random_below(100);
  choose_table(o);
  o->returning = one_in(6);
  if (which < 30) {
    o->kind = OP_INSERT;
    choose_insert(o);
  } else if (which < 62) {
    o->kind = OP_UPDATE;
    choose_update(o);
  } else if (which < 76) {
    o->kind = OP_DELETE;
    choose_where(o);
    if (o->where == W_ALL && !one_in(4)) o->where = W_KEY;
  } else {
    o->kind = OP_SELECT, o->returning = false;
    choose_where(o);
    o->show = (uint8_t)random_below(SHOWS);
  }
}

/* Transactions are kept open for a while: `inside` guesses, the engine knows. */
static void choose_transaction(op *o, int *inside) {
  unsigned which = random_below(100);
  if (*inside == 0) {
    o->kind = one_in(8) ? OP_SAVE : OP_BEGIN;
    static const uint8_t modes[] = {0, 0, 0, 4, 3, 3, 1, 2};
    o->x = o->kind == OP_SAVE ? (int16_t)random_below(2) : modes[random_below(sizeof modes)];
    *inside = 1;
  } else if (which < 58) {
    o->kind = OP_COMMIT, *inside = 0;
  } else if (which < 72) {
    o->kind = OP_ROLLBACK, *inside = 0;
  } else {
    o->kind = which < 84 ? OP_SAVE : which < 93 ? OP_BACK : OP_RELEASE;
    o->x = (int16_t)random_below(2);
  }
}

static void choose_branching(op *o) {
  unsigned which = random_below(100);
  o->x = (int16_t)random_below(4), o->y = (int16_t)random_below(4), o->z = (int16_t)random_below(1000);
  o->kind = which < 25 ? OP_BRANCH : which < 60 ? OP_SWITCH : which < 85 ? OP_MERGE : OP_DROP_BRANCH;
}

static void choose_other(op *o) {
  unsigned which = random_below(100);
  o->x = (int16_t)random_below(1000), o->y = (int16_t)random_below(1000), o->z = (int16_t)random_below(1000);
  if (which < 50) {
    choose_table(o);
    choose_where(o);
    o->kind = OP_PAST, o->k = (int16_t)random_below(1000);
    o->show = one_in(2) ? SHOW_ROWS : SHOW_ORDER;
  } else if (which < 62) {
    choose_table(o);
    o->kind = OP_VERSIONS;
  } else if (which < 80) {
    o->kind = OP_POLICY, o->x = (int16_t)random_below(3);
  } else if (which < 86) {
    o->kind = OP_REOPEN;
  } else if (which < 93) {
    o->kind = OP_CHECK;
  } else {
    o->kind = OP_COLLECT;
  }
}

void generate(uint64_t seed, const sim_options *options, plan *p) {
  int inside[CONNECTIONS] = {0};
  random_seed(seed);
  kv_fault_merge_after(seed % 4 ? 1 + (int)(seed % 29) : 0);
  for (int i = 0; i < 8; i++) random_below(2);
  vary = (variant){.trigger = one_in(3), .fk_deferred = one_in(3), .fk_indexed = !one_in(4), .fk_update_cascades = one_in(3),
                   .on_delete = (enum fk_action)random_below(3), .connections = 3 + (int)random_below(2), .disk = options->disk};
  bool branching = one_in(2);
  vary.no_ddl = branching || one_in(2);
  p->n = 0;
  p->crashes = options->disk ? options->crashes : 0;
  unsigned transactions = 18 + random_below(10);
  for (int i = 0; i < options->operations; i++) {
    op *o = &p->at[p->n++];
    memset(o, 0, sizeof *o);
    o->conn = (uint8_t)random_below((unsigned)vary.connections);
    unsigned which = random_below(100);
    o->look = (uint8_t)(i % 16 == 15 ? 1 + i / 16 % vary.connections : 0);
    if (p->crashes && one_in((unsigned)(options->operations / p->crashes))) {
      o->kind = one_in(3) ? OP_FAULT : OP_CRASH;
      o->x = (int16_t)random_below(1000), o->y = (int16_t)random_below(1000), o->z = (int16_t)random_below(1000);
    } else if (which < transactions) {
      choose_transaction(o, &inside[o->conn]);
    } else if (which < transactions + 4 && branching) {
      choose_branching(o);
    } else if (which < transactions + 12) {
      choose_other(o);
    } else if (which < transactions + 15 && !vary.no_ddl) {
      o->kind = OP_DDL, o->x = (int16_t)random_below(6), o->table = TABLE_D;
    } else {
      choose_rows(o);
    }
  }
}
