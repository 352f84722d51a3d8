/* Recently committed keys, for validation: the exact keys of each commit that an open transaction may not have seen.
 *
 * A list of commits, oldest first, each with its keys in one buffer; and a hash table from (tree, key) to the newest
 * time, by the 64-bit hash alone: two keys with one hash would be a needless conflict, never a missed one.
 * N1  Every commit with time > floor is in the list; its keys are in the table with that time or a later one.
 * Only the leader of the queue touches it. Cost: 30-60 ns a key to add, 10-20 ns to look up.
 */
#include <stdlib.h>

#include "mvcc/internal.h"

typedef struct recent_slot {
  uint64_t hash; /* 0: free */
  int64_t time;
} recent_slot;

typedef struct recent_whole {
  uint32_t tree;
  int64_t time;
} recent_whole;

struct recent_commit {
  recent_commit *next;
  int64_t time;
  buf keys; /* tree (4), varint length + 1 (0: the whole tree), key */
};

static uint64_t mix(uint64_t a, uint64_t b) {
  __extension__ typedef unsigned __int128 wide;
  wide product = (wide)(a ^ 0x9e3779b97f4a7c15u) * (b ^ 0xd6e8feb86659fd93u);
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_key(uint32_t tree, slice key) {
  uint64_t h = mix(tree, key.n), word;
  const uint8_t *p = key.p;
  size_t n = key.n;
  for (; n >= 8; p += 8, n -= 8) {
    memcpy(&word, p, 8);
    h = mix(h, word);
  }
  if (n) {
    word = 0;
    memcpy(&word, p, n);
    h = mix(h, word);
  }
  h = mix(h, 0x2545f4914f6cdd1du);
  return h ? h : 1;
}

void recent_init(recent *r, int64_t time) {
  memset(r, 0, sizeof *r);
  r->floor = time;
}

static void free_oldest(recent *r) {
  recent_commit *c = r->oldest;
  r->oldest = c->next;
  if (!r->oldest) r->newest = NULL;
  r->floor = c->time;
  r->bytes -= c->keys.capacity + sizeof *c;
  buf_free(&c->keys);
  free(c);
}

void recent_free(recent *r) {
  while (r->oldest) free_oldest(r);
  free(r->slots);
  free(r->wholes);
  recent_init(r, 0);
}

static recent_slot *slot_of(const recent *r, uint64_t hash) {
  size_t mask = r->slots_n - 1;
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    if (r->slots[i].hash == hash || r->slots[i].hash == 0) return &r->slots[i];
  }
}

/* Takes a slot out and moves up what probed past it. */
static void remove_slot(recent *r, recent_slot *s) {
  size_t mask = r->slots_n - 1, hole = (size_t)(s - r->slots);
  for (size_t i = (hole + 1) & mask; r->slots[i].hash; i = (i + 1) & mask) {
    size_t home = r->slots[i].hash & mask;
    if (((i - home) & mask) < ((i - hole) & mask)) continue;
    r->slots[hole] = r->slots[i];
    hole = i;
  }
  r->slots[hole].hash = 0;
  r->used--;
}

static status grow(recent *r) {
  size_t n = r->slots_n ? 2 * r->slots_n : 256;
  recent_slot *old = r->slots, *slots = calloc(n, sizeof *slots);
  size_t old_n = r->slots_n;
  if (!slots) return HDB_NOMEM;
  r->slots = slots, r->slots_n = n;
  for (size_t i = 0; i < old_n; i++) {
    if (old[i].hash) *slot_of(r, old[i].hash) = old[i];
  }
  free(old);
  return HDB_OK;
}

/* Reads one key of a commit's buffer; p NULL when there is none. */
static const uint8_t *next_key(const recent_commit *c, const uint8_t *p, uint32_t *tree, slice *key, bool *whole) {
  const uint8_t *end = c->keys.p + c->keys.n;
  if (p >= end) return NULL;
  uint64_t n;
  *tree = get_be32(p);
  p = varint_get(p + 4, end, &n);
  *whole = n == 0;
  *key = slice_of(p, n ? n - 1 : 0);
  return p + key->n;
}

static void forget_keys(recent *r, const recent_commit *c) {
  uint32_t tree;
  slice key;
  bool whole;
  const uint8_t *p = c->keys.p;
  while (p && (p = next_key(c, p, &tree, &key, &whole))) {
    if (whole) continue;
    recent_slot *s = slot_of(r, hash_key(tree, key));
    if (s->hash && s->time <= c->time) remove_slot(r, s);
  }
}

void recent_forget(recent *r, int64_t time) {
  bool all = (!r->newest || r->newest->time <= time) && 8 * r->used > r->slots_n; /* else key by key is cheaper */
  while (r->oldest && r->oldest->time <= time) {
    if (!all) forget_keys(r, r->oldest);
    free_oldest(r);
  }
  if (all && r->used) {
    if (r->slots_n > 4096) {
      free(r->slots);
      r->slots = NULL, r->slots_n = 0;
    } else {
      memset(r->slots, 0, r->slots_n * sizeof *r->slots);
    }
    r->used = 0;
  }
  if (r->floor < time) r->floor = time;
  size_t kept = 0;
  for (size_t i = 0; i < r->wholes_n; i++) {
    if (r->wholes[i].time > time) r->wholes[kept++] = r->wholes[i];
  }
  r->wholes_n = kept;
}

void recent_forget_oldest(recent *r) {
  if (r->oldest) recent_forget(r, r->oldest->time);
}

status recent_begin(recent *r, int64_t time) {
  recent_commit *c = calloc(1, sizeof *c);
  if (!c) return HDB_NOMEM;
  c->time = time;
  if (r->newest) {
    r->newest->next = c;
  } else {
    r->oldest = c;
  }
  r->newest = c;
  r->bytes += sizeof *c;
  return HDB_OK;
}

static status add(recent *r, uint32_t tree, slice key, bool whole) {
  recent_commit *c = r->newest;
  size_t before = c->keys.capacity;
  buf_be32(&c->keys, tree);
  buf_varint(&c->keys, whole ? 0 : key.n + 1);
  if (!whole) buf_append(&c->keys, key.p, key.n);
  r->bytes += c->keys.capacity - before;
  return buf_failed(&c->keys) ? HDB_NOMEM : HDB_OK;
}

status recent_add(recent *r, uint32_t tree, slice key) {
  if (2 * r->used >= r->slots_n) TRY(grow(r));
  TRY(add(r, tree, key, false));
  uint64_t hash = hash_key(tree, key);
  recent_slot *s = slot_of(r, hash);
  r->used += s->hash == 0;
  s->hash = hash, s->time = r->newest->time;
  return HDB_OK;
}

status recent_add_whole(recent *r, uint32_t tree) {
  TRY(add(r, tree, slice_of(NULL, 0), true));
  for (size_t i = 0; i < r->wholes_n; i++) {
    if (r->wholes[i].tree != tree) continue;
    r->wholes[i].time = r->newest->time;
    return HDB_OK;
  }
  if (r->wholes_n == r->wholes_capacity) {
    size_t capacity = r->wholes_capacity ? 2 * r->wholes_capacity : 8;
    recent_whole *wholes = realloc(r->wholes, capacity * sizeof *wholes);
    if (!wholes) return HDB_NOMEM;
    r->wholes = wholes, r->wholes_capacity = capacity;
  }
  r->wholes[r->wholes_n++] = (recent_whole){tree, r->newest->time};
  return HDB_OK;
}

int64_t recent_time(const recent *r, uint32_t tree, slice key) {
  int64_t time = 0;
  if (r->used) {
    const recent_slot *s = slot_of(r, hash_key(tree, key));
    if (s->hash) time = s->time;
  }
  for (size_t i = 0; i < r->wholes_n; i++) {
    if (r->wholes[i].tree == tree && r->wholes[i].time > time) time = r->wholes[i].time;
  }
  return time;
}

void recent_each(const recent *r, uint32_t tree, int64_t since, recent_visitor visit, void *context) {
  for (const recent_commit *c = r->oldest; c; c = c->next) {
    if (c->time <= since) continue;
    uint32_t of;
    slice key;
    bool whole;
    const uint8_t *p = c->keys.p;
    while (p && (p = next_key(c, p, &of, &key, &whole))) {
      if (of == tree && !visit(context, c->time, key, whole)) return;
    }
  }
}
