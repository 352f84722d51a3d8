/* One statement on a state: what SQLite's documentation says it does, for the few statements that are made here. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/model/model.h"

enum { UNIQUE_FAILED = 2067, PRIMARY_FAILED = 1555, FOREIGN_FAILED = 787, NO_SUCH_TABLE = 1 };

const shape shapes[TABLES] = {
    [TABLE_A] = {"a", {"id", "u", "v", "n"}, 4, 1, .v = 2, .u = 1, .pid = -1, .n = 3},
    [TABLE_P] = {"p", {"id", "v"}, 2, 1, .v = 1, .u = -1, .pid = -1, .n = -1},
    [TABLE_C] = {"c", {"x", "y", "pid", "v"}, 4, 2, .v = 3, .u = -1, .pid = 2, .n = -1},
    [TABLE_Q] = {"q", {"id", "v"}, 2, 1, .v = 1, .u = -1, .pid = -1, .n = -1},
    [TABLE_L] = {"l", {"id", "what", "v"}, 3, 1, .v = 2, .u = -1, .pid = -1, .n = -1},
    [TABLE_D] = {"d", {"id", "v"}, 2, 1, .v = 1, .u = -1, .pid = -1, .n = -1},
};
variant vary;
bool model_full;

/* ---- rows ---- */

static int32_t value(int16_t v) { return v == OP_NIL ? NIL : v; }

static int compare_key(const row *r, const shape *h, int32_t k0, int32_t k1) {
  if (r->v[0] != k0) return r->v[0] < k0 ? -1 : 1;
  if (h->keys_n == 1 || r->v[1] == k1) return 0;
  return r->v[1] < k1 ? -1 : 1;
}

static int place(const rows *t, const shape *h, int32_t k0, int32_t k1) {
  int i = 0;
  while (i < t->n && compare_key(&t->at[i], h, k0, k1) < 0) i++;
  return i;
}

const row *model_find(const rows *t, const shape *h, int32_t k0, int32_t k1) {
  int i = place(t, h, k0, k1);
  return i < t->n && compare_key(&t->at[i], h, k0, k1) == 0 ? &t->at[i] : NULL;
}

void model_put(rows *t, const shape *h, const row *r) {
  int i = place(t, h, r->v[0], r->v[1]);
  if (i >= t->n || compare_key(&t->at[i], h, r->v[0], r->v[1]) != 0) {
    if (t->n == ROWS) {
      model_full = true;
      return;
    }
    memmove(&t->at[i + 1], &t->at[i], (size_t)(t->n - i) * sizeof(row));
    t->n++;
  }
  t->at[i] = *r;
}

bool model_remove(rows *t, const shape *h, int32_t k0, int32_t k1) {
  int i = place(t, h, k0, k1);
  if (i >= t->n || compare_key(&t->at[i], h, k0, k1) != 0) return false;
  memmove(&t->at[i], &t->at[i + 1], (size_t)(t->n - i - 1) * sizeof(row));
  t->n--;
  return true;
}

bool state_same(const state *a, const state *b) {
  for (int k = 0; k < TABLES; k++) {
    if (a->t[k].n != b->t[k].n) return false;
    for (int i = 0; i < a->t[k].n; i++)
      if (memcmp(a->t[k].at[i].v, b->t[k].at[i].v, (size_t)shapes[k].columns_n * 4) != 0) return false;
  }
  return (a->schema & HAS_D) == (b->schema & HAS_D);
}

void keys_add(keys *k, int table, int32_t k0, int32_t k1, bool soft) {
  if (shapes[table].keys_n == 1) k1 = 0;
  for (int i = 0; i < k->n; i++) {
    key *e = &k->at[i];
    if (e->table != table || e->k0 != k0 || e->k1 != k1) continue;
    e->soft = e->soft && soft;
    return;
  }
  if (k->n == KEYS) {
    model_full = true;
    return;
  }
  k->at[k->n++] = (key){(uint8_t)table, soft, k0, k1};
}

int model_violations(const state *s) {
  int n = 0;
  for (int i = 0; i < s->t[TABLE_C].n; i++) {
    int32_t pid = s->t[TABLE_C].at[i].v[2];
    n += pid != NIL && !model_find(&s->t[TABLE_P], &shapes[TABLE_P], pid, 0);
  }
  return n;
}

static const row *with_u(const state *s, int32_t u) {
  const rows *t = &s->t[TABLE_A];
  for (int i = 0; u != NIL && i < t->n; i++)
    if (t->at[i].v[1] == u) return &t->at[i];
  return NULL;
}

bool model_unique(const state *s) {
  const rows *t = &s->t[TABLE_A];
  for (int i = 0; i < t->n; i++)
    for (int k = 0; k < i; k++)
      if (t->at[i].v[1] != NIL && t->at[i].v[1] == t->at[k].v[1]) return false;
  return true;
}

/* ---- WHERE ---- */

static bool is_parent(const state *s, int32_t id) {
  for (int i = 0; i < s->t[TABLE_C].n; i++)
    if (s->t[TABLE_C].at[i].v[2] == id) return true;
  return false;
}

static bool matches(const state *s, const op *o, const row *r) {
  const shape *h = &shapes[o->table];
  int32_t v = h->v >= 0 ? r->v[h->v] : NIL;
  switch (o->where) {
  case W_KEY: return r->v[0] == o->x && (h->keys_n == 1 || r->v[1] == o->y);
  case W_RANGE: return r->v[0] >= o->x && r->v[0] <= o->y;
  case W_V: return v == o->x;
  case W_U: return h->u >= 0 && r->v[h->u] == o->x;
  case W_MOD: return v != NIL && v % 3 == o->x % 3;
  case W_PID: return h->pid >= 0 && r->v[h->pid] == o->x;
  case W_SUB: return o->table == TABLE_P ? !is_parent(s, r->v[0]) : is_parent(s, r->v[0]);
  case W_NULL: return v == NIL;
  default: return true;
  }
}

/* ---- what a run changes ---- */

typedef struct run {
  state *s;
  const op *o;
  ids *given;
  answer *a;
  keys *written;
  int failed; /* extended code */
} run;

static void wrote(run *k, int table, const row *before, const row *after) {
  const row *r = after ? after : before;
  bool soft = before && after && memcmp(before->v, after->v, (size_t)shapes[table].columns_n * 4) == 0;
  keys_add(k->written, table, r->v[0], r->v[1], soft);
}

static int32_t next_id(run *k, int table) {
  ids *g = k->given;
  if (g->table_used[table] >= g->table_n[table]) {
    k->failed = -1; /* the engine gave fewer ids than rows need */
    return 0;
  }
  int32_t id = g->at[table][g->table_used[table]++];
  if (model_find(&k->s->t[table], &shapes[table], id, 0)) g->taken = true;
  return id;
}

static void fire_trigger(run *k, const row *now) {
  if (!vary.trigger || k->failed) return;
  row r = {{next_id(k, TABLE_L), now->v[0], now->v[2], 0}};
  if (k->failed || k->given->taken) return;
  model_put(&k->s->t[TABLE_L], &shapes[TABLE_L], &r);
  wrote(k, TABLE_L, NULL, &r);
}

static void change_row(run *k, int table, const row *from, const row *to, bool sets_v) {
  const shape *h = &shapes[table];
  row before = *from;
  rows *t = &k->s->t[table];
  if (compare_key(&before, h, to->v[0], to->v[1]) != 0) {
    model_remove(t, h, before.v[0], before.v[1]);
    wrote(k, table, &before, NULL);
    wrote(k, table, NULL, to);
  } else {
    wrote(k, table, &before, to);
  }
  model_put(t, h, to);
  if (table == TABLE_A && sets_v) fire_trigger(k, to);
}

/* ON DELETE and ON UPDATE of c.pid. to: NULL the parent is gone, else its new id. */
static void parent_moves(run *k, int32_t id, const int32_t *to) {
  if (to ? !vary.fk_update_cascades : vary.on_delete == FK_NOTHING) return;
  rows *t = &k->s->t[TABLE_C];
  for (int i = 0; i < t->n;) {
    row r = t->at[i];
    if (r.v[2] != id) {
      i++;
    } else if (!to && vary.on_delete == FK_CASCADES) {
      model_remove(t, &shapes[TABLE_C], r.v[0], r.v[1]);
      wrote(k, TABLE_C, &r, NULL);
    } else {
      row now = r;
      now.v[2] = to ? *to : NIL;
      change_row(k, TABLE_C, &r, &now, false);
      i++;
    }
  }
}

static void delete_row(run *k, int table, const row *from) {
  row r = *from;
  model_remove(&k->s->t[table], &shapes[table], r.v[0], r.v[1]);
  wrote(k, table, &r, NULL);
  if (table == TABLE_P) parent_moves(k, r.v[0], NULL);
}

/* The row that holds the key or the u of `r`, other than `self`; *code says which. */
static const row *clash(const state *s, int table, const row *r, const row *self, int *code) {
  const shape *h = &shapes[table];
  const row *other = model_find(&s->t[table], h, r->v[0], r->v[1]);
  *code = PRIMARY_FAILED;
  if (other && (!self || compare_key(self, h, other->v[0], other->v[1]) != 0)) return other;
  *code = UNIQUE_FAILED;
  if (table != TABLE_A || !(other = with_u(s, r->v[1]))) return NULL;
  return self && self->v[0] == other->v[0] ? NULL : other;
}

static void show_row(answer *a, const row *r, int columns) {
  a->columns = columns;
  if (a->n == ANSWERS) abort();
  row *to = &a->at[a->n++];
  memset(to, 0, sizeof *to);
  memcpy(to->v, r->v, (size_t)columns * 4);
}

static void told(run *k, const row *r) {
  k->a->changes++;
  if (k->o->returning) show_row(k->a, r, shapes[k->o->table].columns_n);
}

/* ---- INSERT ---- */

static void upsert(run *k, const row *there, const row *r) {
  row now = *there;
  int v = shapes[k->o->table].v;
  now.v[v] = now.v[v] == NIL || r->v[v] == NIL ? NIL : (now.v[v] + r->v[v]) % 50;
  row before = *there;
  change_row(k, k->o->table, &before, &now, true);
  told(k, &now);
}

static void insert_row(run *k, row *r) {
  int table = k->o->table, code;
  const shape *h = &shapes[table];
  bool rowid = h->keys_n == 1;
  if (rowid && r->v[0] == NIL) r->v[0] = next_id(k, table);
  if (k->failed) return;
  const row *there = model_find(&k->s->t[table], h, r->v[0], r->v[1]);
  if (k->o->on == ON_UPSERT && there) return upsert(k, there, r);
  while ((there = clash(k->s, table, r, NULL, &code)) != NULL) {
    if (k->o->on == ON_IGNORE || k->o->on == ON_NOTHING) return;
    if (k->o->on != ON_REPLACE) {
      k->failed = code;
      return;
    }
    delete_row(k, table, there);
  }
  model_put(&k->s->t[table], h, r);
  wrote(k, table, NULL, r);
  if (rowid) k->a->rowid = r->v[0];
  if (table == TABLE_Q && r->v[0] > k->s->sequence) k->s->sequence = r->v[0];
  told(k, r);
}

static void run_insert(run *k) {
  const op *o = k->o;
  row r = {{value(o->x), value(o->y), value(o->z), value(o->w)}};
  insert_row(k, &r);
}

/* INSERT INTO t(v) SELECT v FROM p WHERE id <= x */
static void run_insert_select(run *k) {
  rows from = k->s->t[TABLE_P];
  const shape *h = &shapes[k->o->table];
  for (int i = 0; i < from.n && !k->failed; i++) {
    if (from.at[i].v[0] > k->o->x) break;
    row r = {{NIL, NIL, NIL, NIL}};
    r.v[h->v] = from.at[i].v[1];
    insert_row(k, &r);
  }
}

/* ---- UPDATE, DELETE ---- */

static int32_t sum_of_p(const state *s) {
  int32_t sum = 0;
  for (int i = 0; i < s->t[TABLE_P].n; i++)
    if (s->t[TABLE_P].at[i].v[1] != NIL) sum += s->t[TABLE_P].at[i].v[1];
  return sum % 100;
}

static bool set_row(const op *o, const shape *h, int32_t sum, row *r) {
  switch (o->set) {
  case SET_V: r->v[h->v] = value(o->k); return true;
  case SET_ADD:
    if (r->v[h->v] != NIL) r->v[h->v] += o->k;
    return true;
  case SET_SUM: r->v[h->v] = sum; return true;
  case SET_U: r->v[h->u] = value(o->k); return false;
  case SET_KEY: r->v[0] = o->k; return false;
  case SET_PID: r->v[h->pid] = value(o->k); return false;
  case SET_N:
    if (r->v[h->n] != NIL) r->v[h->n]++;
    return false;
  default:
    r->v[h->v] = value(o->k);
    if (r->v[h->n] != NIL) r->v[h->n]++;
    return true;
  }
}

static void run_update(run *k) {
  const op *o = k->o;
  const shape *h = &shapes[o->table];
  int32_t sum = sum_of_p(k->s);
  row found[ROWS];
  int n = 0, code;
  for (int i = 0; i < k->s->t[o->table].n; i++)
    if (matches(k->s, o, &k->s->t[o->table].at[i])) found[n++] = k->s->t[o->table].at[i];
  for (int i = 0; i < n && !k->failed; i++) {
    row now = found[i];
    bool sets_v = set_row(o, h, sum, &now);
    const row *other;
    bool ignored = false;
    while ((other = clash(k->s, o->table, &now, &found[i], &code)) != NULL && !ignored && !k->failed) {
      if (o->on == ON_IGNORE) ignored = true;
      else if (o->on == ON_REPLACE) delete_row(k, o->table, other);
      else k->failed = code;
    }
    if (ignored || k->failed) continue;
    int32_t old = found[i].v[0];
    change_row(k, o->table, &found[i], &now, sets_v);
    if (o->table == TABLE_P && now.v[0] != old) parent_moves(k, old, &now.v[0]);
    told(k, &now);
  }
}

static void run_delete(run *k) {
  const op *o = k->o;
  row found[ROWS];
  int n = 0;
  for (int i = 0; i < k->s->t[o->table].n; i++)
    if (matches(k->s, o, &k->s->t[o->table].at[i])) found[n++] = k->s->t[o->table].at[i];
  for (int i = 0; i < n; i++) {
    delete_row(k, o->table, &found[i]);
    told(k, &found[i]);
  }
}

/* ---- SELECT ---- */

static void run_join(run *k) {
  const rows *c = &k->s->t[TABLE_C];
  for (int i = 0; i < c->n; i++) {
    const row *p = c->at[i].v[2] == NIL ? NULL : model_find(&k->s->t[TABLE_P], &shapes[TABLE_P], c->at[i].v[2], 0);
    if (!p) continue;
    row r = {{c->at[i].v[0], c->at[i].v[1], p->v[0], p->v[1]}};
    show_row(k->a, &r, 4);
  }
}

static void run_select(run *k) {
  const op *o = k->o;
  const shape *h = &shapes[o->table];
  row total = {{0, 0, 0, 0}};
  if (o->show == SHOW_JOIN) return run_join(k);
  for (int i = 0; i < k->s->t[o->table].n; i++) {
    const row *r = &k->s->t[o->table].at[i];
    if (!matches(k->s, o, r)) continue;
    total.v[0]++;
    if (r->v[h->v] != NIL) total.v[1] += r->v[h->v];
    if (o->show == SHOW_ROWS || o->show == SHOW_ORDER) show_row(k->a, r, h->columns_n);
  }
  if (o->show == SHOW_COUNT) show_row(k->a, &total, 1);
  if (o->show == SHOW_SUM) show_row(k->a, &total, 2);
}

static void run_ddl(run *k) {
  state *s = k->s;
  switch (k->o->x) {
  case 0: s->schema |= HAS_INDEX_V; break;
  case 1: s->schema &= (uint8_t)~HAS_INDEX_V; break;
  case 2: s->schema |= HAS_INDEX_N; break;
  case 3: s->schema &= (uint8_t)~HAS_INDEX_N; break;
  case 4: s->schema |= HAS_D; break;
  default:
    s->schema &= (uint8_t)~HAS_D;
    for (int i = 0; i < s->t[TABLE_D].n; i++) wrote(k, TABLE_D, &s->t[TABLE_D].at[i], NULL);
    s->t[TABLE_D].n = 0;
  }
}

/* ---- answers ---- */

static int compare_rows(const void *a, const void *b) {
  const row *x = a, *y = b;
  for (int i = 0; i < COLUMNS; i++)
    if (x->v[i] != y->v[i]) return x->v[i] < y->v[i] ? -1 : 1;
  return 0;
}

void answer_sort(answer *a) {
  if (a->n > 1) qsort(a->at, (size_t)a->n, sizeof(row), compare_rows);
}

bool answer_same(const answer *a, const answer *b) {
  if (a->code != b->code) return false;
  if (a->code) return true;
  if (a->changes != b->changes || a->n != b->n || a->rowid != b->rowid) return false;
  return a->n == 0 || memcmp(a->at, b->at, (size_t)a->n * sizeof(row)) == 0;
}

unsigned op_tables(const op *o) {
  unsigned set = 1u << o->table;
  if (o->kind == OP_DDL) return 1u << TABLE_D;
  if (o->where == W_SUB) set |= 1u << TABLE_C;
  if (o->kind == OP_UPDATE && o->set == SET_SUM) set |= 1u << TABLE_P;
  if (o->kind == OP_INSERT_SELECT) set |= 1u << TABLE_P;
  if (o->kind == OP_SELECT && o->show == SHOW_JOIN) return 1u << TABLE_C | 1u << TABLE_P;
  if (o->kind != OP_SELECT && (o->table == TABLE_P || o->table == TABLE_C)) set |= 1u << TABLE_C | 1u << TABLE_P;
  if (o->kind != OP_SELECT && o->table == TABLE_A) set |= 1u << TABLE_L;
  return set;
}

void model_run(state *s, const op *o, ids *given, answer *a, keys *written) {
  static state before;
  static keys written_before;
  run k = {.s = s, .o = o, .given = given, .a = a, .written = written};
  before = *s, written_before = *written;
  memset(a, 0, offsetof(answer, at));
  a->rowid = NIL;
  if ((op_tables(o) & 1u << TABLE_D) && o->kind != OP_DDL && !(s->schema & HAS_D)) {
    a->code = NO_SUCH_TABLE;
    return;
  }
  switch (o->kind) {
  case OP_SELECT: run_select(&k); break;
  case OP_INSERT: run_insert(&k); break;
  case OP_INSERT_SELECT: run_insert_select(&k); break;
  case OP_UPDATE: run_update(&k); break;
  case OP_DELETE: run_delete(&k); break;
  default: run_ddl(&k);
  }
  if (!k.failed && !vary.fk_deferred && o->kind != OP_SELECT && model_violations(s) > 0) k.failed = FOREIGN_FAILED;
  if (k.failed || given->taken) {
    *s = before, *written = written_before;
    a->code = k.failed, a->n = 0, a->changes = 0;
    if (given->taken) a->code = -2;
  }
  answer_sort(a);
}
