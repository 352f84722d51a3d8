/* Groups: 16 to a few hundred neighbouring rows (or index entries) of a tree under one key of kv.
 *
 * Key: tree (4, big-endian) . lower bound. A group holds the keys from its lower bound up to the next group's
 * bound; the bound need not be a key that exists. The first group of a tree has an empty bound.
 * Value:
 *
 *   bytes         meaning
 *   1             flags: 1 wide offsets, 2 each row has its own time, 4 all rows fresh (when not 2), 8 history
 *   1             suffix length when it is the same in all rows; 255: each entry starts with a varint length
 *   1             prefix length
 *   1             0
 *   4             number of rows, little-endian
 *   8             newest: commit time of the last change, little-endian
 *   4             length of the entries, little-endian
 *   prefix        what all keys begin with
 *   2|4 a row     offset of each entry in the entries, and one more for the end, little-endian
 *   entries       [varint suffix length] suffix value
 *   flag 2        a varint a row: (newest - time) << 1 | fresh
 *   flag 8        varint newest - history.newest; varint history.weight; then history.low and history.upper, each:
 *                 varint length + 1, 0 when absent; its bytes
 *
 * G1  Keys ascend strictly. G2  Offsets ascend and end inside the entries; every reader checks that for the
 * row it takes, so a damaged group is HDB_CORRUPT and never a wild read.
 * Cost: a step of a walk is two loads and a copy of the suffix; a search is log2(rows) comparisons.
 */
#include "mvcc/group.h"

#include <assert.h>

static int64_t load_i64(const uint8_t *p) { return (int64_t)((uint64_t)load_u32(p + 4) << 32 | load_u32(p)); }
static void store_u16(uint8_t *p, uint32_t v) { p[0] = (uint8_t)v, p[1] = (uint8_t)(v >> 8); }
static void store_u32(uint8_t *p, uint32_t v) { store_u16(p, v), store_u16(p + 2, v >> 16); }

status group_open(group *g, slice bytes) {
  if (bytes.n < GROUP_HEADER) return HDB_CORRUPT;
  const uint8_t *p = bytes.p;
  g->flags = p[0], g->suffix_n = p[1], g->prefix_n = p[2];
  g->count = load_u32(p + 4);
  g->newest = load_i64(p + 8);
  g->entries_n = load_u32(p + 16);
  g->end = p + bytes.n;
  size_t width = g->flags & GROUP_WIDE ? 4 : 2;
  size_t room = bytes.n - GROUP_HEADER;
  if (g->prefix_n > room || g->prefix_n > GROUP_PREFIX_MAX) return HDB_CORRUPT;
  room -= g->prefix_n;
  if (((uint64_t)g->count + 1) * width > room) return HDB_CORRUPT;
  room -= ((size_t)g->count + 1) * width;
  if (g->entries_n > room) return HDB_CORRUPT;
  g->prefix = p + GROUP_HEADER;
  g->offsets = g->prefix + g->prefix_n;
  g->entries = g->offsets + ((size_t)g->count + 1) * width;
  g->tail = g->entries + g->entries_n;
  return HDB_OK;
}

size_t slice_common(slice a, slice b) {
  size_t n = a.n < b.n ? a.n : b.n, i = 0;
  while (i < n && a.p[i] == b.p[i]) i++;
  return i;
}

size_t group_seek(const group *g, slice key, bool *exact) {
  *exact = false;
  size_t n = key.n < g->prefix_n ? key.n : g->prefix_n;
  int c = n ? memcmp(key.p, g->prefix, n) : 0;
  if (c < 0 || (c == 0 && key.n < g->prefix_n)) return 0;
  if (c > 0) return g->count;
  slice want = slice_of(key.p + n, key.n - n);
  size_t low = 0, high = g->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    slice suffix, value;
    if (!group_row(g, middle, &suffix, &value)) return SIZE_MAX;
    c = slice_compare(suffix, want);
    if (c == 0) {
      *exact = true;
      return middle;
    }
    if (c < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/* Reads past the times, which only a sequential reader can do. */
static const uint8_t *skip_times(const group *g) {
  const uint8_t *p = g->tail;
  if (!(g->flags & GROUP_TIMES)) return p;
  for (uint32_t left = g->count; left; p++) {
    if (p >= g->end) return NULL;
    left -= *p < 128;
  }
  return p;
}

static const uint8_t *get_optional(const uint8_t *p, const uint8_t *end, slice *out) {
  uint64_t n;
  p = varint_get(p, end, &n);
  if (!p || n == 0) return p;
  if (n - 1 > (uint64_t)(end - p)) return NULL;
  *out = slice_of(p, n - 1);
  return p + n - 1;
}

static void put_optional(buf *out, slice s) {
  buf_varint(out, s.p ? s.n + 1 : 0);
  if (s.n) buf_append(out, s.p, s.n);
}

status group_history_get(const group *g, group_history *h) {
  memset(h, 0, sizeof *h);
  if (!(g->flags & GROUP_HISTORY)) return HDB_OK;
  const uint8_t *p = skip_times(g);
  uint64_t back, weight;
  if (p) p = varint_get(p, g->end, &back);
  if (p) p = varint_get(p, g->end, &weight);
  if (p) p = get_optional(p, g->end, &h->low);
  if (p) p = get_optional(p, g->end, &h->upper);
  if (!p) return HDB_CORRUPT;
  h->newest = g->newest - (int64_t)back;
  h->weight = (size_t)weight;
  return HDB_OK;
}

status group_times(const group *g, row *rows) {
  if (!(g->flags & GROUP_TIMES)) {
    for (uint32_t i = 0; i < g->count; i++) rows[i].time = g->newest, rows[i].fresh = g->flags & GROUP_FRESH;
    return HDB_OK;
  }
  const uint8_t *p = g->tail;
  for (uint32_t i = 0; i < g->count; i++) {
    uint64_t v;
    p = varint_get(p, g->end, &v);
    if (!p) return HDB_CORRUPT;
    rows[i].time = g->newest - (int64_t)(v >> 1);
    rows[i].fresh = v & 1;
  }
  return HDB_OK;
}

/* What the rows have in common decides the layout. */
typedef struct layout {
  size_t cut;          /* bytes of each row's key that go into the prefix */
  uint8_t suffix_n;    /* or GROUP_VARIABLE */
  size_t entries_n;
  bool wide, times, fresh;
} layout;

static size_t varint_bytes(uint64_t v) {
  size_t n = 1;
  while (v >= 128) v >>= 7, n++;
  return n;
}

static layout lay_out(slice prefix, const row *rows, size_t n, bool with_times, int64_t newest) {
  layout l = {0, 0, 0, false, false, with_times};
  if (n == 0) {
    l.fresh = false;
    return l;
  }
  assert(prefix.n <= GROUP_PREFIX_MAX);
  l.cut = slice_common(rows[0].key, rows[n - 1].key);
  if (l.cut > GROUP_PREFIX_MAX - prefix.n) l.cut = GROUP_PREFIX_MAX - prefix.n;
  size_t first = rows[0].key.n - l.cut;
  bool same = first < GROUP_VARIABLE;
  size_t bytes = 0, lengths = 0;
  for (size_t i = 0; i < n; i++) {
    size_t suffix = rows[i].key.n - l.cut;
    same = same && suffix == first;
    bytes += suffix + rows[i].value.n;
    lengths += varint_bytes(suffix);
    if (with_times && (rows[i].time != newest || rows[i].fresh != rows[0].fresh)) l.times = true;
  }
  l.suffix_n = same ? (uint8_t)first : GROUP_VARIABLE;
  l.entries_n = same ? bytes : bytes + lengths;
  l.wide = l.entries_n > UINT16_MAX;
  l.fresh = with_times && !l.times && rows[0].fresh;
  return l;
}

static uint8_t *put_varint(uint8_t *p, uint64_t v) {
  for (; v >= 128; v >>= 7) *p++ = (uint8_t)(v | 128);
  *p++ = (uint8_t)v;
  return p;
}

/* Short copies inline: most suffixes have one or two bytes. */
static inline uint8_t *put_bytes(uint8_t *to, const uint8_t *from, size_t n) {
  if (n == 1) {
    *to = *from;
  } else if (n) {
    memcpy(to, from, n);
  }
  return to + n;
}

static void put_entries(const layout *l, uint8_t *offsets, uint8_t *entries, const row *rows, size_t n) {
  uint8_t *p = entries;
  size_t width = l->wide ? 4 : 2;
  for (size_t i = 0; i <= n; i++, offsets += width) {
    uint32_t at = (uint32_t)(p - entries);
    if (l->wide) {
      store_u32(offsets, at);
    } else {
      store_u16(offsets, at);
    }
    if (i == n) break;
    size_t suffix = rows[i].key.n - l->cut;
    if (l->suffix_n == GROUP_VARIABLE) p = put_varint(p, suffix);
    p = put_bytes(p, rows[i].key.p + l->cut, suffix);
    p = put_bytes(p, rows[i].value.p, rows[i].value.n);
  }
  assert((size_t)(p - entries) == l->entries_n);
}

void group_encode(buf *out, slice prefix, const row *rows, size_t n, bool with_times, int64_t newest,
                  const group_history *history) {
  layout l = lay_out(prefix, rows, n, with_times, newest);
  bool past = history && (history->newest || history->low.p);
  size_t width = l.wide ? 4 : 2, prefix_n = prefix.n + l.cut;
  size_t fixed = GROUP_HEADER + prefix_n + (n + 1) * width + l.entries_n;
  if (n == 0) prefix_n = 0, fixed = GROUP_HEADER + width;
  uint8_t *p = buf_reserve(out, fixed);
  if (!p) return;
  if (l.entries_n > UINT32_MAX) { /* over 4 GB in one row: nothing that sql lets through */
    out->failed = true;
    return;
  }
  p[0] = (uint8_t)((l.wide ? GROUP_WIDE : 0) | (l.times ? GROUP_TIMES : 0) | (l.fresh ? GROUP_FRESH : 0) |
                   (past ? GROUP_HISTORY : 0));
  p[1] = l.suffix_n, p[2] = (uint8_t)prefix_n, p[3] = 0;
  store_u32(p + 4, (uint32_t)n);
  store_u32(p + 8, (uint32_t)newest), store_u32(p + 12, (uint32_t)((uint64_t)newest >> 32));
  store_u32(p + 16, (uint32_t)l.entries_n);
  uint8_t *at = p + GROUP_HEADER;
  if (n) {
    at = put_bytes(at, prefix.p, prefix.n);
    at = put_bytes(at, rows[0].key.p, l.cut);
  }
  put_entries(&l, at, at + (n + 1) * width, rows, n);
  out->n += fixed;
  if (l.times) {
    for (size_t i = 0; i < n; i++) buf_varint(out, (uint64_t)(newest - rows[i].time) << 1 | rows[i].fresh);
  }
  if (past) {
    buf_varint(out, (uint64_t)(newest - history->newest));
    buf_varint(out, history->weight);
    put_optional(out, history->low);
    put_optional(out, history->upper);
  }
}
