/* The order in which SQLite walks its tables: that of its hash table, which is what PRAGMA table_list and
 * foreign_key_check, and ANALYZE without a name, show.
 *
 * A list with buckets pointing into it: a new name goes before its bucket's newest, or to the front. The table grows at
 * 10 names and whenever there are more than two a bucket, up to 64 buckets, and growing takes all over from the front
 * of the list; so the order depends on the names. What was dropped in between is not remembered.
 */
#include "sql/catalog_build.h"

enum { BUCKETS_MAX = 64, NONE = -1 };

typedef struct walk_order {
  table **tables;
  int *next, *previous;
  int first, count, buckets_n;
  int bucket_count[BUCKETS_MAX], bucket_newest[BUCKETS_MAX];
} walk_order;

static uint32_t name_hash(const char *name) {
  uint32_t h = 0;
  for (; *name; name++) {
    uint8_t c = (uint8_t)*name;
    if (c >= 'A' && c <= 'Z') c += 32;
    h = (h + c) * 0x9e3779b1u;
  }
  return h;
}

static void insert(walk_order *w, int k) {
  int head = NONE;
  if (w->buckets_n) {
    uint32_t b = name_hash(w->tables[k]->name) % (uint32_t)w->buckets_n;
    if (w->bucket_count[b]++) head = w->bucket_newest[b];
    w->bucket_newest[b] = k;
  }
  if (head == NONE) {
    w->next[k] = w->first, w->previous[k] = NONE;
    if (w->first != NONE) w->previous[w->first] = k;
    w->first = k;
    return;
  }
  w->next[k] = head, w->previous[k] = w->previous[head];
  if (w->previous[head] != NONE) w->next[w->previous[head]] = k;
  else w->first = k;
  w->previous[head] = k;
}

static void grow(walk_order *w, int wanted) {
  if (wanted > BUCKETS_MAX) wanted = BUCKETS_MAX;
  if (wanted == w->buckets_n) return;
  w->buckets_n = wanted;
  memset(w->bucket_count, 0, sizeof w->bucket_count);
  int k = w->first;
  w->first = NONE;
  while (k != NONE) {
    int next = w->next[k];
    insert(w, k);
    k = next;
  }
}

status schema_walk_order(const schema *s, arena *memory, table ***out, int *n) {
  int total = s->tables_n + 1, at = 0;
  walk_order w = {.first = NONE};
  w.tables = arena_alloc(memory, (size_t)total * sizeof *w.tables);
  w.next = arena_alloc(memory, (size_t)total * 2 * sizeof *w.next);
  table **sorted = arena_alloc(memory, (size_t)total * sizeof *sorted);
  if (!w.tables || !w.next || !sorted) return HDB_NOMEM;
  w.previous = w.next + total;
  w.tables[0] = s->own; /* sqlite_schema is there first */
  for (int i = 0; i < s->tables_n; i++) w.tables[i + 1] = s->in_order[i];
  for (int k = 0; k < total; k++) {
    w.count++;
    if (w.count >= 10 && w.count > 2 * w.buckets_n) grow(&w, w.count * 2);
    insert(&w, k);
  }
  for (int k = w.first; k != NONE; k = w.next[k]) sorted[at++] = w.tables[k];
  *out = sorted;
  *n = at;
  return HDB_OK;
}
