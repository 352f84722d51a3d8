/* Groups: neighbouring rows under one key (group.c has the byte table). Private to mvcc. */
#ifndef HDB_MVCC_GROUP_H
#define HDB_MVCC_GROUP_H

#include "kv/base/bytes.h"
#include "kv/base/status.h"

enum {
  GROUP_AIM = 1536,       /* bytes wanted in a group */
  GROUP_SPLIT = 3072,     /* cut from here on */
  GROUP_HOT_AIM = 448,    /* ... in one that single commits change again and again */
  GROUP_HOT = 640,        /* ... that is cut, now and then, from here on */
  GROUP_HOT_CHANCE = 8,   /* one of so many such commits */
  GROUP_MERGE = 384,      /* looked at for a neighbour below this */
  GROUP_MERGED = 2048,    /* merged when both are not above this */
  GROUP_TAIL = 2048,      /* appending leaves pieces of this size behind */
  GROUP_HOT_TAIL = 960,   /* ... in single commits */
  GROUP_WEIGHT = 65536,   /* merged when the history of both is not above this */
  GROUP_PREFIX_MAX = 250, /* longest common prefix that is taken out */
  GROUP_HEADER = 20,
  GROUP_VARIABLE = 255 /* suffix length: each entry has its own */
};

enum group_flag { GROUP_WIDE = 1, GROUP_TIMES = 2, GROUP_FRESH = 4, GROUP_HISTORY = 8 };

/* A group opened: pointers into its bytes, checked once. */
typedef struct group {
  const uint8_t *prefix, *offsets, *entries, *tail, *end;
  uint32_t count, entries_n;
  uint8_t flags, suffix_n, prefix_n;
  int64_t newest; /* commit time of the last change of a row, or of the range */
} group;

/* What the tail says about the past (GROUP_HISTORY). */
typedef struct group_history {
  int64_t newest; /* time of the newest versions record that may concern these keys, 0: none */
  slice low;      /* records lie under group keys from here on; p NULL: from the group's own key on */
  slice upper;    /* the keys end here (exclusive); p NULL: with the tree */
  size_t weight;  /* bytes of records that may concern these keys, about: bounds what merging piles up */
} group_history;

/* One row while a group is being folded. The key is what follows the fold's prefix. */
typedef struct row {
  slice key, value;
  int64_t time;
  bool fresh; /* there was no such key right before `time` (and so no versions record says it) */
} row;

status group_open(group *g, slice bytes); /* HDB_CORRUPT */
/* Index of the first row >= key; *exact: it is that key. HDB_CORRUPT through the return value SIZE_MAX. */
size_t group_seek(const group *g, slice key, bool *exact);
/* Is that the key of row `at`? A guess that saves the search: at may be any number. */
bool group_is_at(const group *g, size_t at, slice key);
/* Suffix and value of row i < count; false: damaged. */
static inline bool group_row(const group *g, size_t i, slice *suffix, slice *value);
status group_history_get(const group *g, group_history *h);
/* The rows' times and fresh flags into rows[0..count). */
status group_times(const group *g, row *rows);

/* Appends one group of n rows; their keys are prefix + row.key, ascending. with_times: keep per-row times. */
void group_encode(buf *out, slice prefix, const row *rows, size_t n, bool with_times, int64_t newest,
                  const group_history *history);
/* The history section, behind a group that has none yet. */
void group_add_history(buf *out, size_t start, const group_history *history);

/* One row of a group changed without decoding the others. */
typedef struct splice {
  size_t at;          /* where group_seek found the key or its place */
  bool exact;         /* it is there: replaced, or deleted when value is NULL */
  slice suffix;       /* the key behind the group's prefix */
  const slice *value; /* the new value; NULL: the row goes */
  int64_t time;       /* the group's newest from now on, and the new row's */
  bool with_times;
} splice;
/* Appends the changed group, without its history section. false: this change needs the long way (nothing appended). */
bool group_splice(buf *out, const group *g, const splice *s);
/* Time and fresh flag of row i. */
status group_time(const group *g, size_t i, int64_t *time, bool *fresh);

/* Bytes a row takes, about. */
static inline size_t row_bytes(const row *r) {
  return r->key.n + r->value.n + 4;
}
/* Length of the common beginning. */
size_t slice_common(slice a, slice b);

static inline uint16_t load_u16(const uint8_t *p) {
  uint16_t v;
  memcpy(&v, p, 2);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  v = __builtin_bswap16(v);
#endif
  return v;
}
static inline uint32_t load_u32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  v = __builtin_bswap32(v);
#endif
  return v;
}

static inline bool group_row(const group *g, size_t i, slice *suffix, slice *value) {
  size_t a, b;
  if (!(g->flags & GROUP_WIDE)) {
    a = load_u16(g->offsets + 2 * i), b = load_u16(g->offsets + 2 * i + 2);
  } else {
    a = load_u32(g->offsets + 4 * i), b = load_u32(g->offsets + 4 * i + 4);
  }
  if (__builtin_expect(a > b || b > g->entries_n, 0)) return false;
  const uint8_t *p = g->entries + a, *end = g->entries + b;
  size_t n = g->suffix_n;
  if (n == GROUP_VARIABLE) {
    uint64_t long_n;
    if (p < end && *p < 128) {
      n = *p++;
    } else {
      p = varint_get(p, end, &long_n);
      if (!p) return false;
      if (long_n > (uint64_t)(end - p)) return false;
      n = (size_t)long_n;
    }
  }
  if (__builtin_expect((size_t)(end - p) < n, 0)) return false;
  suffix->p = p, suffix->n = n;
  value->p = p + n, value->n = (size_t)(end - p) - n;
  return true;
}

#endif
