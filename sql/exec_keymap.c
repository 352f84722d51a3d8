/* Key maps: tuples of values to payloads, hashed by their normalised bytes.
 *
 * DISTINCT, GROUP BY, UNION, IN and hash joins rest on it. A tuple's bytes (key.h) are equal exactly when the values
 * are equal under their collations, and their memcmp order is the sort order, so that one encoding serves for
 * hashing and for sorting afterwards. With a user's collation the entries are kept in a sorted array instead.
 * What can fail: memory. Cost: one encoding and one probe a row; no allocation for a key that is there.
 */
#include <stdlib.h>

#include "sql/exec_store.h"

uint64_t bytes_hash(const void *p, size_t n) {
  const uint8_t *q = p;
  uint64_t h = 0x9e3779b97f4a7c15ull ^ (n * 0xff51afd7ed558ccdull);
  while (n >= 8) {
    uint64_t v;
    memcpy(&v, q, 8);
    h = (h ^ v) * 0xd6e8feb86659fd93ull;
    h ^= h >> 32;
    q += 8, n -= 8;
  }
  if (n) {
    uint64_t v = 0;
    memcpy(&v, q, n);
    h = (h ^ v) * 0xd6e8feb86659fd93ull;
    h ^= h >> 32;
  }
  h *= 0x94d049bb133111ebull;
  return h ^ (h >> 29);
}

bool key_spec_write(buf *out, const value *v, const key_spec *spec) {
  if (spec->nulls) { /* one byte decides where NULLs stand */
    bool is_null = v->type == VAL_NULL;
    buf_byte(out, spec->nulls == 1 ? !is_null : is_null);
  }
  value_write_key(out, v, spec->c, spec->descending);
  return !buf_failed(out);
}

int key_spec_compare(const value *a, const value *b, const key_spec *spec) {
  bool a_null = a->type == VAL_NULL, b_null = b->type == VAL_NULL;
  if (spec->nulls && a_null != b_null) return (spec->nulls == 1) == a_null ? -1 : 1;
  int c = value_compare(a, b, spec->c);
  return spec->descending ? -c : c;
}

bool key_specs_builtin(const key_spec *specs, int n) {
  for (int i = 0; i < n; i++)
    if (specs[i].c && !specs[i].c->builtin) return false;
  return true;
}

void key_map_init(key_map *m, exec *x, int n, const key_spec *specs, size_t payload, bool keep_values) {
  memset(m, 0, sizeof *m);
  m->x = x;
  m->n = n;
  m->specs = specs;
  m->by_value = !key_specs_builtin(specs, n);
  m->keep_values = keep_values || m->by_value;
  m->payload = payload;
}

void key_map_clear(key_map *m) {
  arena_clear(&m->memory);
  buf_free(&m->scratch);
  free(m->buckets);
  free(m->entries);
  m->buckets = m->entries = NULL;
  m->buckets_n = m->entries_n = m->capacity = 0;
}

static status no_memory(key_map *m) { return error_set(m->x->err, HDB_NOMEM, "out of memory"); }

static bool grow_entries(key_map *m) {
  if (m->entries_n < m->capacity) return true;
  size_t capacity = m->capacity ? m->capacity * 2 : 64;
  key_entry **entries = realloc(m->entries, capacity * sizeof *entries);
  if (!entries) return false;
  m->entries = entries;
  m->capacity = capacity;
  return true;
}

static bool grow_buckets(key_map *m) {
  if (m->entries_n < m->buckets_n) return true;
  size_t n = m->buckets_n ? m->buckets_n * 4 : 64;
  key_entry **buckets = calloc(n, sizeof *buckets);
  if (!buckets) return false;
  for (size_t i = 0; i < m->entries_n; i++) {
    key_entry *e = m->entries[i], **b = &buckets[e->hash & (n - 1)];
    e->chain = *b;
    *b = e;
  }
  free(m->buckets);
  m->buckets = buckets;
  m->buckets_n = n;
  return true;
}

static key_entry *new_entry(key_map *m, const value *values, const uint8_t *key, size_t key_n) {
  key_entry *e = arena_alloc(&m->memory, sizeof *e + m->payload);
  if (!e) return NULL;
  memset(e, 0, sizeof *e + m->payload);
  if (key) {
    uint8_t *p = arena_alloc(&m->memory, key_n ? key_n : 1);
    if (!p) return NULL;
    memcpy(p, key, key_n);
    e->key = p;
    e->key_n = (uint32_t)key_n;
  }
  if (m->keep_values) {
    e->values = arena_alloc(&m->memory, (size_t)(m->n ? m->n : 1) * sizeof *e->values);
    if (!e->values) return NULL;
    for (int i = 0; i < m->n; i++)
      if (value_copy(&m->memory, &values[i], &e->values[i]) != HDB_OK) return NULL;
  }
  e->order = (uint32_t)m->entries_n;
  return e;
}

static int compare_values(const key_map *m, const value *a, const value *b) {
  for (int i = 0; i < m->n; i++) {
    int c = key_spec_compare(&a[i], &b[i], &m->specs[i]);
    if (c) return c;
  }
  return 0;
}

static status find_by_value(key_map *m, const value *values, bool add, bool *added, key_entry **out) {
  size_t low = 0, high = m->entries_n;
  while (low < high) {
    size_t middle = (low + high) / 2;
    int c = compare_values(m, values, m->entries[middle]->values);
    if (c == 0) {
      *out = m->entries[middle];
      return HDB_OK;
    }
    if (c < 0) high = middle;
    else low = middle + 1;
  }
  if (!add) return HDB_OK;
  key_entry *e = new_entry(m, values, NULL, 0);
  if (!e || !grow_entries(m)) return no_memory(m);
  memmove(m->entries + low + 1, m->entries + low, (m->entries_n - low) * sizeof *m->entries);
  m->entries[low] = e;
  m->entries_n++;
  *added = true;
  *out = e;
  return HDB_OK;
}

status key_map_find(key_map *m, const value *values, bool add, bool *added, key_entry **out) {
  *out = NULL;
  if (added) *added = false;
  bool dummy;
  if (!added) added = &dummy;
  if (m->by_value) return find_by_value(m, values, add, added, out);
  buf_clear(&m->scratch);
  for (int i = 0; i < m->n; i++)
    if (!key_spec_write(&m->scratch, &values[i], &m->specs[i])) return no_memory(m);
  size_t n = m->scratch.n;
  uint64_t hash = bytes_hash(m->scratch.p, n);
  if (m->buckets_n)
    for (key_entry *e = m->buckets[hash & (m->buckets_n - 1)]; e; e = e->chain)
      if (e->hash == hash && e->key_n == n && (n == 0 || memcmp(e->key, m->scratch.p, n) == 0)) {
        *out = e;
        return HDB_OK;
      }
  if (!add) return HDB_OK;
  static const uint8_t nothing[1] = {0};
  key_entry *e = new_entry(m, values, m->scratch.p ? m->scratch.p : nothing, n);
  if (!e || !grow_entries(m) || !grow_buckets(m)) return no_memory(m);
  e->hash = hash;
  key_entry **b = &m->buckets[hash & (m->buckets_n - 1)];
  e->chain = *b;
  *b = e;
  m->entries[m->entries_n++] = e;
  *added = true;
  *out = e;
  return HDB_OK;
}

static int compare_entries(const void *a, const void *b) {
  const key_entry *p = *(key_entry *const *)a, *q = *(key_entry *const *)b;
  size_t n = p->key_n < q->key_n ? p->key_n : q->key_n;
  int c = n ? memcmp(p->key, q->key, n) : 0;
  if (c) return c;
  return (p->key_n > q->key_n) - (p->key_n < q->key_n);
}

status key_map_sort(key_map *m) {
  if (!m->by_value && m->entries_n > 1) qsort(m->entries, m->entries_n, sizeof *m->entries, compare_entries);
  return HDB_OK;
}
