/* Sorting rows: normalised keys, a stable radix sort by their first 16 bytes and a merge sort for what these leave
 * undecided, a heap when few are wanted.
 *
 * A kept row is one block in the sorter's arena: its values, then its key bytes, then the bytes of its texts. With
 * `limit` only the best `limit` rows live; a row that is not among them costs its key's encoding and one comparison.
 * When dead rows fill the arena the live ones are copied into a new one.
 * Past its budget the sorter writes what it has as a sorted run to a temporary file and starts anew; at the end the
 * runs are merged, the earlier run first on a tie (S2).
 * What can fail: memory, the file. Cost a row: one arena block; a few moves of 24 bytes, memcmp on a tie of 16.
 */
#include <stdlib.h>

#include "sql/exec_spill.h"

typedef struct sort_row {
  const uint8_t *key;
  uint32_t key_n;
  uint32_t bytes;   /* of the whole block */
  uint64_t order;
  value values[];
} sort_row;
typedef struct sort_entry {
  uint64_t prefix, second; /* the key's first 16 bytes */
  sort_row *row;
} sort_entry;

struct sorter {
  exec *x;
  int columns_n, keys_n;
  const sort_key *keys;
  bool by_value;
  int64_t limit;
  arena memory;
  size_t memory_bytes, live_bytes;
  buf scratch;
  sort_entry *entries;
  size_t n, capacity, at;
  uint64_t order;
  spill *file;         /* runs */
  struct merge_run {
    spill_run run;
    spill_reader *reader;
    sort_row *row;     /* its next; NULL: at its end */
    size_t room;
  } *runs;
  int runs_n;
  sort_row *shown;     /* the row handed out last, freed by the next call */
};
enum { AHEAD = 12 }; /* rows lie in the order they came: those handed out next are fetched ahead */
static size_t budget = (size_t)256 << 20;
void sorter_budget(size_t bytes) { budget = bytes; }
bool sorter_rows_stay(const sorter *s) { return s->runs_n == 0; }

static status spill_rows(sorter *s);
static status no_memory(sorter *s) { return error_set(s->x->err, HDB_NOMEM, "out of memory"); }

sorter *sorter_new(exec *x, int columns_n, int keys_n, const sort_key *keys, int64_t limit) {
  sorter *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->x = x;
  s->columns_n = columns_n;
  s->keys_n = keys_n;
  s->keys = keys;
  s->limit = limit;
  for (int i = 0; i < keys_n; i++)
    if (keys[i].spec.c && !keys[i].spec.c->builtin) s->by_value = true;
  return s;
}

void sorter_free(sorter *s) {
  if (!s) return;
  arena_clear(&s->memory);
  buf_free(&s->scratch);
  for (int i = 0; i < s->runs_n; i++) {
    spill_close(s->runs[i].reader);
    free(s->runs[i].row);
  }
  free(s->runs);
  free(s->shown);
  spill_free(s->file);
  free(s->entries);
  free(s);
}

void sorter_reset(sorter *s) {
  for (int i = 0; i < s->runs_n; i++) {
    spill_close(s->runs[i].reader);
    free(s->runs[i].row);
  }
  s->runs_n = 0;
  if (s->memory.block) arena_rewind(&s->memory, (arena_mark){0, 0});
  s->memory_bytes = s->live_bytes = 0;
  s->n = s->at = 0;
}

static uint64_t key_prefix(const uint8_t *key, size_t n) {
  if (n >= 8) return get_be64(key);
  uint8_t p[8] = {0};
  if (n) memcpy(p, key, n);
  return get_be64(p);
}

/* Order of two entries; never 0 because insertion order decides at last. */
static int compare_by_value(const sorter *s, const value *a, const value *b) {
  for (int i = 0; i < s->keys_n; i++) {
    int c = key_spec_compare(&a[s->keys[i].column], &b[s->keys[i].column], &s->keys[i].spec);
    if (c) return c;
  }
  return 0;
}
static inline int compare_keys(const uint8_t *a, size_t an, const uint8_t *b, size_t bn) {
  size_t n = an < bn ? an : bn;
  int c = n ? memcmp(a, b, n) : 0;
  return c ? c : (an > bn) - (an < bn);
}
static inline bool entry_less_equal(const sorter *s, const sort_entry *a, const sort_entry *b) {
  if (s->by_value) return compare_by_value(s, a->row->values, b->row->values) <= 0;
  if (a->prefix != b->prefix) return a->prefix < b->prefix;
  if (a->second != b->second) return a->second < b->second;
  if (a->row->key_n <= 16 && b->row->key_n <= 16) return a->row->key_n <= b->row->key_n;
  return compare_keys(a->row->key, a->row->key_n, b->row->key, b->row->key_n) <= 0;
}
/* a after b, insertion order included: for the heap */
static bool entry_after(const sorter *s, const sort_entry *a, const sort_entry *b) {
  if (!entry_less_equal(s, a, b)) return true;
  return entry_less_equal(s, b, a) && a->row->order > b->row->order;
}

static status encode_key(sorter *s, const value *row) {
  buf_clear(&s->scratch);
  for (int i = 0; i < s->keys_n; i++)
    if (!key_spec_write(&s->scratch, &row[s->keys[i].column], &s->keys[i].spec)) return no_memory(s);
  return HDB_OK;
}

static sort_row *copy_row(sorter *s, arena *a, const value *row, const uint8_t *key, size_t key_n, uint64_t order) {
  size_t bytes = sizeof(sort_row) + (size_t)s->columns_n * sizeof(value) + key_n;
  for (int i = 0; i < s->columns_n; i++)
    if (row[i].type == VAL_TEXT || row[i].type == VAL_BLOB) bytes += row[i].n;
  sort_row *r = arena_alloc(a, bytes);
  if (!r) return NULL;
  uint8_t *p = (uint8_t *)(r->values + s->columns_n);
  r->key = p;
  r->key_n = (uint32_t)key_n;
  r->bytes = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
  r->order = order;
  if (key_n) memcpy(p, key, key_n);
  p += key_n;
  for (int i = 0; i < s->columns_n; i++) {
    r->values[i] = row[i];
    if (row[i].type != VAL_TEXT && row[i].type != VAL_BLOB) continue;
    if (row[i].n) memcpy(p, row[i].p, row[i].n);
    r->values[i].p = (const char *)p;
    p += row[i].n;
  }
  return r;
}

static void heap_down(sorter *s, size_t at) {
  for (;;) {
    size_t worst = at, left = 2 * at + 1, right = left + 1;
    if (left < s->n && entry_after(s, &s->entries[left], &s->entries[worst])) worst = left;
    if (right < s->n && entry_after(s, &s->entries[right], &s->entries[worst])) worst = right;
    if (worst == at) return;
    sort_entry e = s->entries[at];
    s->entries[at] = s->entries[worst];
    s->entries[worst] = e;
    at = worst;
  }
}
static void heap_up(sorter *s, size_t at) {
  while (at) {
    size_t up = (at - 1) / 2;
    if (!entry_after(s, &s->entries[at], &s->entries[up])) return;
    sort_entry e = s->entries[at];
    s->entries[at] = s->entries[up];
    s->entries[up] = e;
    at = up;
  }
}

static status compact(sorter *s) {
  arena fresh = ARENA_INIT;
  for (size_t i = 0; i < s->n; i++) {
    sort_row *r = s->entries[i].row;
    r = copy_row(s, &fresh, r->values, r->key, r->key_n, r->order);
    if (!r) {
      arena_clear(&fresh);
      return no_memory(s);
    }
    s->entries[i].row = r;
  }
  arena_clear(&s->memory);
  s->memory = fresh;
  s->memory_bytes = s->live_bytes;
  return HDB_OK;
}

/* The heap is full: does the row belong among the best? Its key is in scratch. */
static bool beats_worst(const sorter *s, const value *row) {
  const sort_entry *worst = &s->entries[0];
  if (s->by_value) return compare_by_value(s, row, worst->row->values) < 0;
  return compare_keys(s->scratch.p, s->scratch.n, worst->row->key, worst->row->key_n) < 0;
}

bool sorter_refuses(const sorter *s, const value *first_key) {
  if (s->limit <= 0 || (int64_t)s->n < s->limit) return false;
  const value *worst = &s->entries[0].row->values[s->keys[0].column];
  return key_spec_compare(first_key, worst, &s->keys[0].spec) > 0;
}

status sorter_add(sorter *s, const value *row) {
  if (s->limit == 0) return HDB_OK;
  if (!s->by_value) TRY(encode_key(s, row));
  bool full = s->limit > 0 && (int64_t)s->n == s->limit;
  if (full && !beats_worst(s, row)) return HDB_OK;
  if (!full && s->n == s->capacity) {
    size_t capacity = s->capacity ? s->capacity * 2 : 32;
    sort_entry *entries = realloc(s->entries, capacity * sizeof *entries);
    if (!entries) return no_memory(s);
    s->entries = entries;
    s->capacity = capacity;
  }
  sort_row *r = copy_row(s, &s->memory, row, s->scratch.p, s->scratch.n, s->order++);
  if (!r) return no_memory(s);
  s->memory_bytes += r->bytes;
  s->live_bytes += r->bytes;
  sort_entry e = {0, 0, r};
  if (!s->by_value) {
    e.prefix = key_prefix(r->key, r->key_n);
    e.second = r->key_n > 8 ? key_prefix(r->key + 8, r->key_n - 8) : 0;
  }
  if (full) {
    s->live_bytes -= s->entries[0].row->bytes;
    s->entries[0] = e;
    heap_down(s, 0);
    if (s->memory_bytes > (1u << 20) && s->memory_bytes > 4 * s->live_bytes) return compact(s);
    return HDB_OK;
  }
  s->entries[s->n++] = e;
  if (s->limit > 0) heap_up(s, s->n - 1);
  return s->limit < 0 && s->memory_bytes + s->n * sizeof e > budget ? spill_rows(s) : HDB_OK;
}

static void merge_runs(const sorter *s, const sort_entry *a, size_t an, const sort_entry *b, size_t bn, sort_entry *out) {
  size_t i = 0, j = 0, k = 0;
  while (i < an && j < bn) {
    if (entry_less_equal(s, &a[i], &b[j])) out[k++] = a[i++];
    else out[k++] = b[j++];
  }
  if (i < an) memcpy(out + k, a + i, (an - i) * sizeof *a);
  if (j < bn) memcpy(out + k, b + j, (bn - j) * sizeof *b);
}
static void insertion_sort(const sorter *s, sort_entry *e, size_t n) {
  for (size_t i = 1; i < n; i++) {
    sort_entry v = e[i];
    size_t j = i;
    while (j && !entry_less_equal(s, &e[j - 1], &v)) {
      e[j] = e[j - 1];
      j--;
    }
    e[j] = v;
  }
}
static int compare_order(const void *a, const void *b) {
  uint64_t p = ((const sort_entry *)a)->row->order, q = ((const sort_entry *)b)->row->order;
  return (p > q) - (p < q);
}

static uint8_t key_byte(const sort_entry *e, int depth) {
  return (uint8_t)((depth < 8 ? e->prefix : e->second) >> (56 - 8 * (depth & 7)));
}

/* The first of the 16 bytes, from `depth` on, in which the entries differ; 16: none. */
static int first_difference(const sort_entry *e, size_t n, int depth) {
  uint64_t prefix = 0, second = 0;
  for (size_t i = 1; i < n; i++) prefix |= e[i].prefix ^ e[0].prefix, second |= e[i].second ^ e[0].second;
  if (depth < 8 && prefix) return __builtin_clzll(prefix) / 8;
  return second ? 8 + __builtin_clzll(second) / 8 : 16;
}

/* Few, or equal in all 16 bytes: by comparing. Their bytes before the 16 are equal, so nothing is lost by it. */
static void merge_sort(const sorter *s, sort_entry *e, size_t n, sort_entry *other) {
  enum { RUN = 12 };
  sort_entry *from = e, *to = other;
  for (size_t i = 0; i < n; i += RUN) insertion_sort(s, e + i, n - i < RUN ? n - i : RUN);
  for (size_t width = RUN; width < n; width *= 2) {
    for (size_t i = 0; i < n; i += 2 * width) {
      size_t left = n - i < width ? n - i : width;
      size_t right = n - i - left < width ? n - i - left : width;
      if (right == 0 || entry_less_equal(s, &from[i + left - 1], &from[i + left]))
        memcpy(to + i, from + i, (left + right) * sizeof *to); /* in order already */
      else
        merge_runs(s, from + i, left, from + i + left, right, to + i);
    }
    sort_entry *swap = from;
    from = to;
    to = swap;
  }
  if (from != e) memcpy(e, from, n * sizeof *e);
}

/* By one byte into `other` and back, stable, then each byte's entries by their next ones. At most 16 deep. */
static void radix_sort(const sorter *s, sort_entry *e, size_t n, sort_entry *other, int depth) {
  enum { FEW = 96 };
  size_t starts[257] = {0}, at[256];
  if (n > FEW) depth = first_difference(e, n, depth);
  if (n <= FEW || depth == 16) {
    merge_sort(s, e, n, other);
    return;
  }
  for (size_t i = 0; i < n; i++) starts[key_byte(&e[i], depth) + 1]++;
  for (int b = 0; b < 256; b++) {
    starts[b + 1] += starts[b];
    at[b] = starts[b];
  }
  for (size_t i = 0; i < n; i++) other[at[key_byte(&e[i], depth)]++] = e[i];
  memcpy(e, other, n * sizeof *e);
  for (int b = 0; b < 256; b++) {
    size_t count = starts[b + 1] - starts[b];
    if (count > 1) radix_sort(s, e + starts[b], count, other + starts[b], depth + 1);
  }
}

static bool is_sorted(const sorter *s) {
  for (size_t i = 1; i < s->n; i++)
    if (!entry_less_equal(s, &s->entries[i - 1], &s->entries[i])) return false;
  return true;
}

static status sort_entries(sorter *s) {
  if (s->n < 2) return HDB_OK;
  if (s->limit > 0) qsort(s->entries, s->n, sizeof *s->entries, compare_order); /* S2: undo the heap's order */
  if (is_sorted(s)) return HDB_OK;
  sort_entry *other = malloc(s->n * sizeof *other);
  if (!other) return no_memory(s);
  if (s->by_value) merge_sort(s, s->entries, s->n, other);
  else radix_sort(s, s->entries, s->n, other, 0);
  free(other);
  return HDB_OK;
}

/* ---- runs in a file: key bytes, then each value: type, number or length, bytes ---- */
static status put_row(sorter *s, const sort_row *r) {
  uint32_t head[2] = {r->bytes, r->key_n};
  TRY(spill_put(s->file, head, sizeof head));
  TRY(spill_put(s->file, r->key, r->key_n));
  for (int i = 0; i < s->columns_n; i++) {
    const value *v = &r->values[i];
    bool bytes = v->type == VAL_TEXT || v->type == VAL_BLOB;
    uint8_t type[2] = {v->type, v->subtype};
    TRY(spill_put(s->file, type, 2));
    TRY(spill_put(s->file, bytes ? (const void *)&v->n : (const void *)&v->i, bytes ? 4 : 8));
    if (bytes) TRY(spill_put(s->file, v->p, v->n));
  }
  return HDB_OK;
}

static status spill_rows(sorter *s) {
  if (s->n == 0) return HDB_OK;
  if (!s->file) TRY(spill_new(s->x, &s->file));
  struct merge_run *runs = realloc(s->runs, ((size_t)s->runs_n + 1) * sizeof *runs);
  if (!runs) return no_memory(s);
  s->runs = runs;
  TRY(sort_entries(s));
  spill_begin(s->file);
  for (size_t i = 0; i < s->n; i++) TRY(put_row(s, s->entries[i].row));
  struct merge_run run = {0};
  TRY(spill_end(s->file, &run.run));
  s->runs[s->runs_n++] = run;
  arena_clear(&s->memory);
  s->memory_bytes = s->live_bytes = 0;
  s->n = 0;
  return HDB_OK;
}

/* The run's next row into run->row. */
static status get_row(sorter *s, struct merge_run *m) {
  uint32_t head[2];
  if (spill_left(m->reader) == 0) {
    free(m->row);
    m->row = NULL;
    return HDB_OK;
  }
  TRY(spill_get(m->reader, head, sizeof head));
  if (!m->row || m->room < head[0]) {
    free(m->row);
    if (!(m->row = malloc(head[0]))) return no_memory(s);
    m->room = head[0];
  }
  sort_row *r = m->row;
  uint8_t *p = (uint8_t *)(r->values + s->columns_n);
  r->bytes = head[0];
  r->key = p;
  r->key_n = head[1];
  TRY(spill_get(m->reader, p, r->key_n));
  p += r->key_n;
  for (int i = 0; i < s->columns_n; i++) {
    uint8_t type[2];
    value *v = &r->values[i];
    TRY(spill_get(m->reader, type, 2));
    *v = (value){.type = type[0], .subtype = type[1]};
    if (type[0] != VAL_TEXT && type[0] != VAL_BLOB) {
      TRY(spill_get(m->reader, &v->i, 8));
      continue;
    }
    TRY(spill_get(m->reader, &v->n, 4));
    v->p = (const char *)p;
    TRY(spill_get(m->reader, p, v->n));
    p += v->n;
  }
  return HDB_OK;
}

static bool row_before(const sorter *s, const sort_row *a, const sort_row *b) {
  return s->by_value ? compare_by_value(s, a->values, b->values) < 0 : compare_keys(a->key, a->key_n, b->key, b->key_n) < 0;
}

static status merge_next(sorter *s, const value **row) {
  struct merge_run *best = NULL;
  for (int i = 0; i < s->runs_n; i++)
    if (s->runs[i].row && (!best || row_before(s, s->runs[i].row, best->row))) best = &s->runs[i];
  if (!best) return HDB_DONE;
  free(s->shown);
  s->shown = best->row;
  best->row = NULL;
  TRY(get_row(s, best));
  *row = s->shown->values;
  return HDB_ROW;
}

status sorter_finish(sorter *s) {
  s->at = 0;
  if (!s->runs_n) return sort_entries(s);
  TRY(spill_rows(s));
  for (int i = 0; i < s->runs_n; i++) {
    TRY(spill_open(s->file, &s->runs[i].run, &s->runs[i].reader));
    TRY(get_row(s, &s->runs[i]));
  }
  return HDB_OK;
}

status sorter_next(sorter *s, const value **row) {
  if (s->runs_n) return merge_next(s, row);
  if (s->at >= s->n) return HDB_DONE;
  if (s->at + AHEAD < s->n) {
    const char *soon = (const char *)s->entries[s->at + AHEAD].row;
    __builtin_prefetch(soon), __builtin_prefetch(soon + 64);
  }
  *row = s->entries[s->at++].row->values;
  return HDB_ROW;
}
