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
 *   flag 2        8 bytes: oldest, little-endian, not above any row's time; a varint a row: (time - oldest) << 1 | fresh
 *   flag 8        varint newest - history.newest; varint history.weight; then history.low and history.upper, each:
 *                 varint length + 1, 0 when absent; its bytes
 *
 * G1  Keys ascend strictly. G2  Offsets ascend and end inside the entries; every reader checks that for the
 * row it takes, so a damaged group is HDB_CORRUPT and never a wild read.
 * Cost: a step of a walk is two loads and a copy of the suffix; a search is log2(rows) comparisons, one or
 * two where row ids have no gaps.
 */
#include "mvcc/group.h"

#include <assert.h>

static int64_t load_i64(const uint8_t *p) { return (int64_t)((uint64_t)load_u32(p + 4) << 32 | load_u32(p)); }
static void store_u16(uint8_t *p, uint32_t v) { p[0] = (uint8_t)v, p[1] = (uint8_t)(v >> 8); }
static void store_u32(uint8_t *p, uint32_t v) { store_u16(p, v), store_u16(p + 2, v >> 16); }
static void store_u64(uint8_t *p, uint64_t v) {
  if (p) store_u32(p, (uint32_t)v), store_u32(p + 4, (uint32_t)(v >> 32));
}

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

bool group_is_at(const group *g, size_t at, slice key) {
  slice suffix, value;
  return at < g->count && key.n >= g->prefix_n && memcmp(key.p, g->prefix, g->prefix_n) == 0 && group_row(g, at, &suffix, &value) &&
         slice_equal(suffix, slice_of(key.p + g->prefix_n, key.n - g->prefix_n));
}

static inline uint64_t short_number(const uint8_t *p, size_t n) {
  uint64_t v = 0;
  for (size_t i = 0; i < n; i++) v = v << 8 | p[i];
  return v;
}

/* Suffixes that are numbers of up to eight bytes, as row ids are. They ascend strictly (G1): the wanted one is not
 * behind the place it has when none is missing, and mostly there. */
static size_t seek_number(const group *g, slice want, bool *exact) {
  uint64_t wanted = short_number(want.p, want.n);
  size_t low = 0, high = g->count, at = 0;
  slice suffix, value;
  while (low < high) {
    if (!group_row(g, at, &suffix, &value)) return SIZE_MAX;
    uint64_t found = short_number(suffix.p, want.n);
    if (found == wanted) {
      *exact = true;
      return at;
    }
    if (found < wanted) {
      low = at + 1;
    } else {
      high = at;
    }
    bool guess = at == 0 && low == 1 && wanted - found < high;
    at = guess ? (size_t)(wanted - found) : (low + high) / 2;
  }
  return low;
}

/* The first eight bytes, zeros behind the end; `end` bounds what may be read. */
static inline uint64_t head_of(slice s, const uint8_t *end) {
  if (s.n >= 8) return get_be64(s.p);
  if (end - s.p < 8) return short_number(s.p, s.n) << (s.n ? 64 - 8 * s.n : 0);
  return s.n ? get_be64(s.p) & ~(uint64_t)0 << (64 - 8 * s.n) : 0;
}

size_t group_seek(const group *g, slice key, bool *exact) {
  *exact = false;
  size_t n = key.n < g->prefix_n ? key.n : g->prefix_n;
  int c = slice_compare(slice_of(key.p, n), slice_of(g->prefix, n));
  if (c < 0 || (c == 0 && key.n < g->prefix_n)) return 0;
  if (c > 0) return g->count;
  slice want = slice_of(key.p + n, key.n - n);
  if (want.n == g->suffix_n && want.n <= 8) return seek_number(g, want, exact);
  uint64_t wanted = head_of(want, want.p + want.n);
  size_t low = 0, high = g->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    slice suffix, value;
    if (!group_row(g, middle, &suffix, &value)) return SIZE_MAX;
    uint64_t head = head_of(suffix, g->end);
    c = head != wanted ? (head < wanted ? -1 : 1) : slice_compare(suffix, want);
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
  if (g->end - p < 8) return NULL;
  p += 8;
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
  if (g->end - g->tail < 8) return HDB_CORRUPT;
  int64_t oldest = load_i64(g->tail);
  const uint8_t *p = g->tail + 8;
  for (uint32_t i = 0; i < g->count; i++) {
    uint64_t v;
    p = varint_get(p, g->end, &v);
    if (!p) return HDB_CORRUPT;
    rows[i].time = oldest + (int64_t)(v >> 1);
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
  int64_t oldest;
} layout;

static size_t varint_bytes(uint64_t v) {
  size_t n = 1;
  while (v >= 128) v >>= 7, n++;
  return n;
}

static layout lay_out(slice prefix, const row *rows, size_t n, bool with_times, int64_t newest) {
  layout l = {.oldest = newest};
  if (n == 0) return l;
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
    if (!with_times) continue;
    if (rows[i].time != newest || rows[i].fresh != rows[0].fresh) l.times = true;
    if (rows[i].time < l.oldest) l.oldest = rows[i].time;
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
  size_t width = l.wide ? 4 : 2, prefix_n = prefix.n + l.cut;
  size_t fixed = GROUP_HEADER + prefix_n + (n + 1) * width + l.entries_n;
  if (n == 0) prefix_n = 0, fixed = GROUP_HEADER + width;
  uint8_t *p = buf_reserve(out, fixed);
  if (!p) return;
  if (l.entries_n > UINT32_MAX) { /* over 4 GB in one row: nothing that sql lets through */
    out->failed = true;
    return;
  }
  p[0] = (uint8_t)((l.wide ? GROUP_WIDE : 0) | (l.times ? GROUP_TIMES : 0) | (l.fresh ? GROUP_FRESH : 0));
  p[1] = l.suffix_n, p[2] = (uint8_t)prefix_n, p[3] = 0;
  store_u32(p + 4, (uint32_t)n);
  store_u64(p + 8, (uint64_t)newest);
  store_u32(p + 16, (uint32_t)l.entries_n);
  uint8_t *at = p + GROUP_HEADER;
  if (n) {
    at = put_bytes(at, prefix.p, prefix.n);
    at = put_bytes(at, rows[0].key.p, l.cut);
  }
  put_entries(&l, at, at + (n + 1) * width, rows, n);
  size_t start = out->n;
  out->n += fixed;
  if (l.times) {
    store_u64(buf_reserve(out, 8 + n), (uint64_t)l.oldest);
    if (!buf_failed(out)) out->n += 8;
    for (size_t i = 0; i < n; i++) buf_varint(out, (uint64_t)(rows[i].time - l.oldest) << 1 | rows[i].fresh);
  }
  if (history) group_add_history(out, start, history);
}

void group_add_history(buf *out, size_t start, const group_history *history) {
  if ((!history->newest && !history->low.p) || buf_failed(out)) return;
  int64_t newest = load_i64(out->p + start + 8);
  out->p[start] |= GROUP_HISTORY;
  buf_varint(out, (uint64_t)(newest - history->newest));
  buf_varint(out, history->weight);
  put_optional(out, history->low);
  put_optional(out, history->upper);
}

/* ---- splicing ---- */

status group_time(const group *g, size_t i, int64_t *time, bool *fresh) {
  *time = g->newest, *fresh = g->flags & GROUP_FRESH;
  if (!(g->flags & GROUP_TIMES)) return HDB_OK;
  if (g->end - g->tail < 8) return HDB_CORRUPT;
  const uint8_t *p = g->tail + 8;
  uint64_t v;
  for (; i && p < g->end; p++) i -= *p < 128;
  p = varint_get(p, g->end, &v);
  if (!p) return HDB_CORRUPT;
  *time = load_i64(g->tail) + (int64_t)(v >> 1);
  *fresh = v & 1;
  return HDB_OK;
}

/* The times of the spliced group: those of the others as they are, the new row's at its place. */
static bool splice_times(buf *out, const group *g, const splice *s) {
  const uint8_t *from = g->tail + 8, *end = g->end;
  uint64_t fresh = !s->exact;
  if (!(g->flags & GROUP_TIMES)) { /* all have one time: now that is the oldest */
    store_u64(buf_reserve(out, 8 + g->count + 16), (uint64_t)g->newest);
    if (buf_failed(out)) return false;
    out->n += 8;
    uint8_t same = g->flags & GROUP_FRESH ? 1 : 0;
    size_t after = s->at + s->exact;
    memset(out->p + out->n, same, s->at);
    out->n += s->at;
    if (s->value) buf_varint(out, (uint64_t)(s->time - g->newest) << 1 | fresh);
    memset(buf_reserve(out, g->count), same, g->count - after);
    out->n += g->count - after;
    return true;
  }
  if (end - g->tail < 8) return false;
  const uint8_t *at = from, *next, *stop;
  for (size_t left = s->at; left && at < end; at++) left -= *at < 128;
  next = at;
  if (s->exact) {
    while (next < end && *next >= 128) next++;
    next++;
  }
  stop = next;
  for (size_t left = g->count - s->at - s->exact; left && stop < end; stop++) left -= *stop < 128;
  if (next > end || stop > end) return false;
  buf_append(out, g->tail, (size_t)(at - g->tail));
  if (s->value) buf_varint(out, (uint64_t)(s->time - load_i64(g->tail)) << 1 | fresh);
  buf_append(out, next, (size_t)(stop - next));
  return !buf_failed(out);
}

static void splice_offsets(uint8_t *to, const group *g, const splice *s, size_t count, int change) {
  size_t same = s->at + 1, skipped = s->exact ? 1 : 0, from = s->at + skipped;
  memcpy(to, g->offsets, 2 * same);
  /* behind the place: offset k of the old ones, moved; the old one at `from` starts what follows */
  size_t k = s->value ? s->at + 1 : s->at;
  for (; k <= count; k++, from++) store_u16(to + 2 * k, (uint32_t)((int)load_u16(g->offsets + 2 * from) + change));
}

bool group_splice(buf *out, const group *g, const splice *s) {
  bool fixed = g->suffix_n != GROUP_VARIABLE;
  if (g->count == 0 || g->flags & GROUP_WIDE || (fixed && s->suffix.n != g->suffix_n)) return false;
  if (!s->with_times && g->flags & GROUP_TIMES) return false;
  size_t count = g->count + (s->value && !s->exact) - (!s->value && s->exact);
  size_t before = load_u16(g->offsets + 2 * s->at), after = s->exact ? load_u16(g->offsets + 2 * s->at + 2) : before;
  size_t entry = s->value ? s->suffix.n + s->value->n + (fixed ? 0 : varint_bytes(s->suffix.n)) : 0;
  if (count == 0 || before > after || after > g->entries_n) return false;
  size_t entries_n = g->entries_n - (after - before) + entry;
  if (entries_n > UINT16_MAX) return false;
  size_t bytes = GROUP_HEADER + g->prefix_n + 2 * (count + 1) + entries_n, start = out->n;
  uint8_t *p = buf_reserve(out, bytes);
  if (!p) return false;
  memcpy(p, g->prefix - GROUP_HEADER, (size_t)GROUP_HEADER + g->prefix_n);
  p[0] = (uint8_t)(s->with_times ? GROUP_TIMES : 0);
  store_u32(p + 4, (uint32_t)count);
  store_u64(p + 8, (uint64_t)s->time);
  store_u32(p + 16, (uint32_t)entries_n);
  p += GROUP_HEADER + g->prefix_n;
  splice_offsets(p, g, s, count, (int)entry - (int)(after - before));
  p += 2 * (count + 1);
  p = put_bytes(p, g->entries, before);
  if (s->value) {
    if (!fixed) p = put_varint(p, s->suffix.n);
    p = put_bytes(p, s->suffix.p, s->suffix.n);
    p = put_bytes(p, s->value->p, s->value->n);
  }
  put_bytes(p, g->entries + after, g->entries_n - after);
  out->n += bytes;
  if (!s->with_times || splice_times(out, g, s)) return true;
  out->n = start;
  return false;
}
