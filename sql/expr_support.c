/* The evaluator's slow paths: mixed comparisons, numbers out of text, concatenation, prepared LIKE patterns, the sets
 * of IN lists. Bytes they make lie in the arena they are given.
 */
#include <stdlib.h>

#include "sql/expr_program.h"

/* ---- comparison under an affinity; neither side is NULL ---- */
int compare_under(const step *s, const value *a, const value *b, arena *memory) {
  if (a->type == VAL_TEXT && b->type == VAL_TEXT && s->affinity < AFF_NUMERIC) return value_compare(a, b, s->collation);
  value left = *a, right = *b;
  if (s->affinity >= AFF_NUMERIC) {
    if (left.type == VAL_TEXT) (void)value_apply_affinity(&left, AFF_NUMERIC, memory);
    if (right.type == VAL_TEXT) (void)value_apply_affinity(&right, AFF_NUMERIC, memory);
  } else if (s->affinity == AFF_TEXT && (left.type == VAL_TEXT || right.type == VAL_TEXT)) {
    if (left.type != VAL_BLOB) (void)value_apply_affinity(&left, AFF_TEXT, memory); /* no memory: sticky in the arena */
    if (right.type != VAL_BLOB) (void)value_apply_affinity(&right, AFF_TEXT, memory);
  }
  return value_compare(&left, &right, s->collation);
}

/* ---- arithmetic ---- */
static int64_t int_divide(int64_t a, int64_t b, uint16_t op) { /* b is neither 0 nor -1 */
  return op == STEP_DIV ? a / b : a % b;
}

static double as_real(const value *v) { return v->type == VAL_REAL ? v->r : (double)v->i; }

/* The integers come from the operands themselves: '1e2' is 1 here. */
static void modulo(value *out, int64_t a, int64_t b, const value *v, const value *w) {
  bool real = v->type == VAL_REAL || w->type == VAL_REAL;
  if (b == 0) {
    *out = value_null();
    return;
  }
  int64_t rest = b == -1 ? 0 : a % b;
  *out = real ? value_real((double)rest) : value_int(rest);
}

void arithmetic_step(uint16_t op, value *out, const value *a, const value *b) {
  if (a->type == VAL_NULL || b->type == VAL_NULL) {
    *out = value_null();
    return;
  }
  value v = value_to_number(a), w = value_to_number(b);
  if (op == STEP_MOD) {
    modulo(out, value_to_int(a), value_to_int(b), &v, &w);
    return;
  }
  if (v.type == VAL_INTEGER && w.type == VAL_INTEGER) {
    int64_t i;
    bool overflow = true;
    switch (op) {
    case STEP_ADD: overflow = __builtin_add_overflow(v.i, w.i, &i); break;
    case STEP_SUB: overflow = __builtin_sub_overflow(v.i, w.i, &i); break;
    case STEP_MUL: overflow = __builtin_mul_overflow(v.i, w.i, &i); break;
    default:
      if (w.i == 0) {
        *out = value_null();
        return;
      }
      overflow = w.i == -1 && v.i == INT64_MIN;
      if (!overflow) i = w.i == -1 ? -v.i : int_divide(v.i, w.i, op);
    }
    if (!overflow) {
      *out = value_int(i);
      return;
    }
  }
  double x = as_real(&v), y = as_real(&w);
  switch (op) {
  case STEP_ADD: *out = value_real(x + y); return;
  case STEP_SUB: *out = value_real(x - y); return;
  case STEP_MUL: *out = value_real(x * y); return;
  default: *out = y == 0.0 ? value_null() : value_real(x / y); return;
  }
}

static int64_t shifted(int64_t a, int64_t by, bool left) {
  if (by < 0) {
    left = !left;
    by = by == INT64_MIN ? INT64_MAX : -by;
  }
  if (by >= 64) return left || a >= 0 ? 0 : -1;
  if (left) return (int64_t)((uint64_t)a << by);
  return a >= 0 ? a >> by : ~(~a >> by);
}

void bits_step(uint16_t op, value *out, const value *a, const value *b) {
  if (a->type == VAL_NULL || b->type == VAL_NULL) {
    *out = value_null();
    return;
  }
  int64_t x = value_to_int(a), y = value_to_int(b);
  switch (op) {
  case STEP_BITAND: *out = value_int(x & y); return;
  case STEP_BITOR: *out = value_int(x | y); return;
  default: *out = value_int(shifted(x, y, op == STEP_SHL)); return;
  }
}

/* ---- || ---- */
status concat_step(exec *x, value *out, const value *a, const value *b, arena *memory) {
  if (a->type == VAL_NULL || b->type == VAL_NULL) {
    *out = value_null();
    return HDB_OK;
  }
  char digits[2][32];
  const value *sides[2] = {a, b};
  slice parts[2];
  for (int i = 0; i < 2; i++) {
    const value *v = sides[i];
    if (v->type == VAL_INTEGER) parts[i] = slice_of(digits[i], int_to_text(v->i, digits[i]));
    else if (v->type == VAL_REAL) parts[i] = slice_of(digits[i], real_to_text(v->r, digits[i]));
    else parts[i] = slice_of(v->p, v->n);
  }
  size_t n = parts[0].n + parts[1].n;
  int limit = x->db->limits[HDB_LIMIT_LENGTH];
  if (n > UINT32_MAX || (limit > 0 && n > (size_t)limit)) return error_set(x->err, HDB_TOOBIG, "string or blob too big");
  char *p = arena_alloc(memory, n + 1);
  if (!p) return error_set(x->err, HDB_NOMEM, "out of memory");
  if (parts[0].n) memcpy(p, parts[0].p, parts[0].n);
  if (parts[1].n) memcpy(p + parts[0].n, parts[1].p, parts[1].n);
  p[n] = 0;
  *out = value_text(p, n);
  return HDB_OK;
}

/* ---- LIKE and GLOB with a pattern that stays the same ---- */
enum like_kind { LIKE_GENERAL, LIKE_EQUAL, LIKE_PREFIX, LIKE_SUFFIX, LIKE_CONTAINS };

struct like_pattern {
  uint8_t kind;
  bool fold;
  uint32_t n;
  char *text; /* lower case when folding */
};

static uint8_t lower_ascii(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c; }

static bool special(uint8_t c, bool glob) {
  if (c == 0 || c >= 0x80) return true;
  return glob ? c == '?' || c == '[' || c == '*' : c == '_' || c == '%';
}

static struct like_pattern *like_prepare(exec *x, const step *s, const value *pattern) {
  struct like_pattern *k = arena_zero(&x->lifetime, sizeof *k);
  if (!k) return NULL;
  bool glob = s->flags & STEP_GLOB;
  char all = glob ? '*' : '%';
  k->fold = !(s->flags & STEP_CASE_SENSITIVE);
  const char *p = pattern->p, *end = p + pattern->n;
  bool open_start = p < end && *p == all, open_end = false;
  while (p < end && *p == all) p++;
  while (end > p && end[-1] == all) end--, open_end = true;
  if (open_start && p == end) open_end = true; /* "%" alone */
  for (const char *q = p; q < end; q++)
    if (special((uint8_t)*q, glob)) return k;
  if (pattern->n > 1000) return k;
  k->n = (uint32_t)(end - p);
  if (!(k->text = arena_alloc(&x->lifetime, k->n + 1))) return NULL;
  for (uint32_t i = 0; i < k->n; i++) k->text[i] = k->fold ? (char)lower_ascii((uint8_t)p[i]) : p[i];
  k->kind = open_start ? (open_end ? LIKE_CONTAINS : LIKE_SUFFIX) : open_end ? LIKE_PREFIX : LIKE_EQUAL;
  return k;
}

static bool same_bytes(const struct like_pattern *k, const char *text) {
  if (!k->fold) return memcmp(text, k->text, k->n) == 0;
  for (uint32_t i = 0; i < k->n; i++)
    if (lower_ascii((uint8_t)text[i]) != (uint8_t)k->text[i]) return false;
  return true;
}

static bool contains(const struct like_pattern *k, const char *text, size_t n) {
  if (k->n == 0) return true;
  if (!k->fold) return memmem(text, n, k->text, k->n) != NULL;
  if (n < k->n) return false;
  const char *last = text + (n - k->n);
  uint8_t lead = (uint8_t)k->text[0];
  bool letter = lead >= 'a' && lead <= 'z';
  for (const char *p = text; p <= last; p++) {
    if (!letter) {
      p = memchr(p, lead, (size_t)(last - p) + 1);
      if (!p) return false;
    } else if (((uint8_t)*p | 32) != lead) {
      continue;
    }
    if (same_bytes(k, p)) return true;
  }
  return false;
}

static bool like_fast(const struct like_pattern *k, const value *text) {
  const char *p = text->p;
  size_t n = text->n ? strnlen(p, text->n) : 0; /* a NUL ends the text for LIKE */
  switch (k->kind) {
  case LIKE_EQUAL: return n == k->n && same_bytes(k, p);
  case LIKE_PREFIX: return n >= k->n && same_bytes(k, p);
  case LIKE_SUFFIX: return n >= k->n && same_bytes(k, p + (n - k->n));
  default: return contains(k, p, n);
  }
}

static status like_general(exec *x, const step *s, value *r, arena *memory) {
  value arguments[3] = {r[s->c], r[s->b], value_null()};
  if (s->e >= 0) arguments[2] = r[s->e];
  function_call call = {x->db, s->f, memory, x->err, NULL, NULL, x, PLACE_ANYWHERE};
  return s->f->scalar(&call, s->e >= 0 ? 3 : 2, arguments, &r[s->a]);
}

status like_step(exec *x, const step *s, value *r, arena *memory) {
  const value *text = &r[s->b], *pattern = &r[s->c];
  if (s->d < 0 || text->type != VAL_TEXT || pattern->type != VAL_TEXT) return like_general(x, s, r, memory);
  struct like_pattern *k = x->states[s->d];
  if (!k) {
    k = x->states[s->d] = like_prepare(x, s, pattern);
    if (!k) return error_set(x->err, HDB_NOMEM, "out of memory");
  }
  if (k->kind == LIKE_GENERAL) return like_general(x, s, r, memory);
  r[s->a] = value_int(like_fast(k, text));
  return HDB_OK;
}

/* ---- sets ---- */
/* Integers alone: an open-addressed table; otherwise the values in order. */
struct value_set {
  bool has_null;
  uint32_t n;
  const collation *order;
  const value *sorted; /* NULL: integers */
  int64_t *slots;
  uint32_t mask;
  bool has_zero;       /* 0 marks an empty place */
};

static int compare_in_set(const void *a, const void *b, void *context) { return value_compare(a, b, context); }

static uint32_t hash_int(int64_t i) {
  uint64_t h = (uint64_t)i * 0x9E3779B97F4A7C15u;
  return (uint32_t)(h >> 32);
}

static status integer_set(exec *x, struct value_set *set, const value *v, int n) {
  uint32_t size = 8;
  while (size < (uint32_t)n * 2) size *= 2;
  set->mask = size - 1;
  set->slots = arena_zero(&x->lifetime, size * sizeof *set->slots);
  if (!set->slots) return error_set(x->err, HDB_NOMEM, "out of memory");
  for (int i = 0; i < n; i++) {
    if (v[i].type == VAL_NULL) continue;
    if (v[i].i == 0) {
      set->has_zero = true;
      continue;
    }
    uint32_t at = hash_int(v[i].i) & set->mask;
    while (set->slots[at] && set->slots[at] != v[i].i) at = (at + 1) & set->mask;
    set->slots[at] = v[i].i;
  }
  return HDB_OK;
}

status set_step(exec *x, const step *s, value *r) {
  struct value_set *set = arena_zero(&x->lifetime, sizeof *set);
  value *copy = arena_alloc(&x->lifetime, (size_t)s->c * sizeof *copy);
  if (!set || !copy) return error_set(x->err, HDB_NOMEM, "out of memory");
  bool integers = true;
  uint32_t n = 0;
  for (int i = 0; i < s->c; i++) {
    value v = r[s->b + i];
    if (s->affinity > AFF_BLOB) TRY(value_apply_affinity(&v, s->affinity, &x->lifetime));
    if (v.type == VAL_NULL) {
      set->has_null = true;
      continue;
    }
    integers = integers && v.type == VAL_INTEGER;
    copy[n++] = v;
  }
  set->n = n;
  set->order = s->collation;
  x->states[s->d] = set;
  if (integers) return integer_set(x, set, copy, (int)n);
  qsort_r(copy, n, sizeof *copy, compare_in_set, (void *)s->collation);
  set->sorted = copy;
  return HDB_OK;
}

static bool find_integer(const struct value_set *set, int64_t i) {
  if (i == 0) return set->has_zero;
  uint32_t at = hash_int(i) & set->mask;
  while (set->slots[at] && set->slots[at] != i) at = (at + 1) & set->mask;
  return set->slots[at] != 0;
}

static bool find_sorted(const struct value_set *set, const value *v) {
  uint32_t low = 0, high = set->n;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    int c = value_compare(&set->sorted[middle], v, set->order);
    if (c == 0) return true;
    if (c < 0) low = middle + 1;
    else high = middle;
  }
  return false;
}

int set_find(const struct value_set *set, const value *v) {
  bool found;
  if (set->sorted) {
    found = find_sorted(set, v);
  } else if (v->type == VAL_INTEGER) {
    found = find_integer(set, v->i);
  } else if (v->type == VAL_REAL && v->r >= -9223372036854775808.0 && v->r < 9223372036854775808.0) {
    int64_t i = (int64_t)v->r;
    found = compare_int_real(i, v->r) == 0 && find_integer(set, i);
  } else {
    found = false;
  }
  return found ? 1 : set->has_null ? -1 : 0;
}
