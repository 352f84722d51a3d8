/* A source read once into a hash table and probed by equality: where SQLite would build an automatic index.
 *
 * Rows of equal keys come as from SQLite's automatic index: ordered by the other columns that are read, then as the
 * source gave them. A chain is put in that order when it is first asked for. A stored row is kept as its record and row id, a subquery's as its values.
 * H1  The table lasts for the execution: what it was built from refers to no outer row.
 * What can fail: memory, the source. Cost: a row once to build, one probe an outer row.
 */
#include <stdlib.h>

#include "sql/exec_access.h"

typedef struct hash_row {
  struct hash_row *next;
  int64_t rowid;
  uint32_t n;
  uint64_t bytes[]; /* the record, or an array of values */
} hash_row;

typedef struct hash_rows {
  access_state source;
  key_map keys;
  arena memory;
  value *key;
  hash_row *at;
  bool built;
} hash_rows;

typedef struct hash_chain {
  hash_row *first, *last;
  uint32_t n;
  bool sorted;
} hash_chain;

void hash_release(access_state *s) {
  hash_rows *h = s->hash;
  access_release(&h->source);
  if (s->a->alternatives->node) node_close(s->x, s->a->alternatives->node);
  key_map_clear(&h->keys);
  arena_clear(&h->memory);
  h->built = false;
  s->hash = NULL;
}

static hash_row *keep_row(access_state *s) {
  hash_rows *h = s->hash;
  const access *source = s->a->alternatives;
  if (source->kind == ACCESS_SCAN) {
    slice record = h->source.c->value;
    hash_row *r = arena_alloc(&h->memory, sizeof *r + record.n + 8);
    if (!r) return NULL;
    r->n = (uint32_t)record.n;
    r->rowid = s->slot->rowid;
    if (record.n) memcpy(r->bytes, record.p, record.n);
    return r;
  }
  size_t n = (size_t)s->a->node_columns;
  hash_row *r = arena_alloc(&h->memory, sizeof *r + (n + 1) * sizeof(value));
  if (!r) return NULL;
  value *values = (value *)r->bytes;
  for (size_t i = 0; i < n; i++) {
    value v = *slot_column(s->slot, (int)i);
    const uint8_t *affinities = s->a->affinities;
    if (affinities && affinities[i] >= AFF_TEXT && value_apply_affinity(&v, affinities[i], &s->x->memory) != HDB_OK) return NULL;
    if (value_copy(&h->memory, &v, &values[i]) != HDB_OK) return NULL;
  }
  r->n = (uint32_t)n;
  r->rowid = 0;
  return r;
}

static status eval_key(access_state *s, const operand *o, bool probe, bool *usable) {
  const access *a = s->a;
  hash_rows *h = s->hash;
  *usable = true;
  for (int i = 0; i < a->parts_n; i++) {
    const value *v;
    TRY(operand_eval(s->x, probe ? &a->parts[i].o : &o[i], &v));
    h->key[i] = *v;
    if (a->parts[i].affinity >= AFF_TEXT) TRY(value_apply_affinity(&h->key[i], a->parts[i].affinity, &s->x->memory));
    if (h->key[i].type == VAL_NULL && !a->parts[i].null_matches) *usable = false;
  }
  return HDB_OK;
}

static status build(access_state *s) {
  hash_rows *h = s->hash;
  const access *a = s->a;
  status rc;
  arena_mark mark = arena_save(&s->x->memory);
  TRY(access_open(&h->source));
  while ((rc = access_step(&h->source)) == HDB_ROW) {
    bool usable, added;
    TRY(exec_tick(s->x));
    bool pass = true;
    for (int i = 0; i < a->alternatives->filters_n && pass; i++) {
      int truth;
      TRY(expr_test(s->x, a->alternatives->filters[i].program, &truth));
      pass = truth == 1;
    }
    if (!pass) continue;
    TRY(eval_key(s, a->hash_build, false, &usable));
    if (!usable) continue;
    key_entry *e;
    TRY(key_map_find(&h->keys, h->key, true, &added, &e));
    hash_chain *chain = key_entry_payload(e);
    hash_row *r = keep_row(s);
    if (!r) return node_no_memory(s->x);
    r->next = NULL;
    if (chain->last) chain->last->next = r;
    else chain->first = r;
    chain->last = r;
    chain->n++;
    if (a->alternatives->kind == ACCESS_SCAN) arena_rewind(&s->x->memory, mark);
  }
  if (rc != HDB_DONE) return rc;
  h->built = true;
  return HDB_OK;
}

typedef struct sorted_row {
  hash_row *row;
  uint32_t order;
  const value *values;
} sorted_row;

static int compare_rows(const void *a, const void *b, void *n) {
  const sorted_row *p = a, *q = b;
  for (int i = 0; i < *(const int *)n; i++) {
    int c = value_compare(&p->values[i], &q->values[i], NULL);
    if (c) return c;
  }
  return (p->order > q->order) - (p->order < q->order);
}

static void show_row(access_state *s, const hash_row *r) {
  if (s->a->alternatives->kind == ACCESS_SCAN) slot_point(s->slot, true, r->rowid, slice_of(r->bytes, r->n));
  else slot_set_values(s->slot, (value *)r->bytes, false, 0);
}

static status sort_chain(access_state *s, hash_chain *chain) {
  const access *a = s->a;
  int columns = a->hash_order_n;
  arena scratch = ARENA_INIT;
  sorted_row *rows = arena_alloc(&scratch, chain->n * sizeof *rows);
  value *values = arena_alloc(&scratch, ((size_t)chain->n * (size_t)columns + 1) * sizeof *values);
  if (!rows || !values) {
    arena_clear(&scratch);
    return node_no_memory(s->x);
  }
  uint32_t n = 0;
  for (hash_row *r = chain->first; r; r = r->next, n++) {
    rows[n] = (sorted_row){r, n, values + (size_t)n * (size_t)columns};
    show_row(s, r);
    for (int i = 0; i < columns; i++) values[(size_t)n * (size_t)columns + (size_t)i] = *slot_column(s->slot, a->hash_order[i]);
  }
  qsort_r(rows, n, sizeof *rows, compare_rows, &columns);
  for (uint32_t i = 0; i < n; i++) rows[i].row->next = i + 1 < n ? rows[i + 1].row : NULL;
  chain->first = rows[0].row;
  chain->last = rows[n - 1].row;
  chain->sorted = true;
  arena_clear(&scratch);
  return HDB_OK;
}

status hash_open(access_state *s) {
  hash_rows *h = s->hash;
  if (!h) {
    h = arena_zero(&s->x->lifetime, sizeof *h);
    if (!h || !(h->key = arena_zero(&s->x->lifetime, (size_t)(s->a->parts_n + 1) * sizeof(value)))) return node_no_memory(s->x);
    s->hash = h;
    key_map_init(&h->keys, s->x, s->a->parts_n, s->a->hash_specs, sizeof(hash_chain), false);
    TRY(access_prepare(s->x, s->a->alternatives, &h->source));
  }
  if (!h->built) TRY(build(s));
  bool usable;
  TRY(eval_key(s, NULL, true, &usable));
  h->at = NULL;
  if (!usable) return HDB_OK;
  key_entry *e;
  TRY(key_map_find(&h->keys, h->key, false, NULL, &e));
  if (!e) return HDB_OK;
  hash_chain *chain = key_entry_payload(e);
  if (chain->n > 1 && s->a->hash_order_n && !chain->sorted) TRY(sort_chain(s, chain));
  h->at = chain->first;
  return HDB_OK;
}

status hash_step(access_state *s) {
  hash_row *r = s->hash->at;
  if (!r) return HDB_DONE;
  s->hash->at = r->next;
  show_row(s, r);
  return HDB_ROW;
}
