/* Running a MATCH: every row's text is cut into tokens, those that the query names are noted, the tree decides.
 *
 * The words of a table are not kept apart from its rows: a MATCH reads the table once, and the same pass gives what
 * bm25() and matchinfo() need to know about all rows. Cost: the table's text, whatever the query.
 *
 * M1  A spot is column << 32 | token number, so spots in order are in reading order.
 * M2  Every node is evaluated for every row, also where the answer is known: counts over all rows depend on it.
 */
#include <stdlib.h>

#include "sql/fts.h"

typedef struct spots {
  uint64_t *p;
  int n, capacity;
} spots;

typedef struct run {
  exec *x;
  const fts_config *f;
  const fts_query *q;
  arena *memory;
  fts_result *out;
  int terms_n;
  const fts_term **terms;
  spots *term_spots;         /* by term */
  int *first_term;           /* by phrase */
  spots *phrase_spots;       /* by phrase: where it stands, as its node lets it */
  spots scratch;
  int column, token;         /* while tokenizing */
  int *sizes;
  fts_hit *hits;
  int hits_n, hits_capacity;
  bool failed;
} run;

static void add(run *r, spots *s, uint64_t spot) {
  if (s->n == s->capacity) {
    int capacity = s->capacity ? s->capacity * 2 : 16;
    uint64_t *p = realloc(s->p, (size_t)capacity * sizeof *p);
    if (!p) {
      r->failed = true;
      return;
    }
    s->p = p, s->capacity = capacity;
  }
  s->p[s->n++] = spot;
}

static status take_token(void *context, const char *token, size_t n, size_t from, size_t to) {
  run *r = context;
  (void)from, (void)to;
  for (int i = 0; i < r->terms_n; i++) {
    const fts_term *t = r->terms[i];
    if (t->prefix ? n < t->n : n != t->n) continue;
    if (memcmp(token, t->p, t->n) != 0) continue;
    if (t->first && r->token) continue;
    add(r, &r->term_spots[i], (uint64_t)r->column << 32 | (uint32_t)r->token);
  }
  r->token++;
  return r->failed ? HDB_NOMEM : HDB_OK;
}

static bool has(const spots *s, uint64_t spot) {
  int low = 0, high = s->n;
  while (low < high) {
    int middle = (low + high) / 2;
    if (s->p[middle] < spot) low = middle + 1;
    else high = middle;
  }
  return low < s->n && s->p[low] == spot;
}

static void find_phrase(run *r, const fts_phrase *phrase, const fts_node *x) {
  const spots *terms = &r->term_spots[r->first_term[phrase->number]];
  spots *out = &r->phrase_spots[phrase->number];
  out->n = 0;
  for (int i = 0; i < terms->n; i++) {
    uint64_t at = terms->p[i];
    if ((x->columns && !x->columns[at >> 32]) || (x->first && (uint32_t)at)) continue;
    bool all = true;
    for (int k = 1; k < phrase->n && all; k++) all = has(&terms[k], at + (uint64_t)k);
    if (all) add(r, out, at);
  }
}

static int64_t column_of(uint64_t spot) { return (int64_t)(spot >> 32); }

/* FTS5: places where each phrase has a spot no further than `distance` before the last one's begin. */
static bool near5(run *r, const fts_node *x) {
  int n = x->phrases_n;
  int at[FTS_NEAR_MAX] = {0};
  spots kept[FTS_NEAR_MAX] = {{0}};
  bool any = false, more = n <= FTS_NEAR_MAX;
  while (more) {
    uint64_t most = 0;
    bool moved;
    for (int i = 0; i < n && more; i++) {
      const spots *s = &r->phrase_spots[x->phrases[i].number];
      if (at[i] >= s->n) more = false;
      else if (s->p[at[i]] > most) most = s->p[at[i]];
    }
    do {
      moved = false;
      for (int i = 0; i < n && more; i++) {
        const spots *s = &r->phrase_spots[x->phrases[i].number];
        int64_t reach = x->phrases[i].n + (int64_t)x->distance;
        while (at[i] < s->n && (int64_t)s->p[at[i]] < (int64_t)most - reach) at[i]++, moved = true;
        if (at[i] >= s->n) more = false;
        else if (s->p[at[i]] > most) most = s->p[at[i]], moved = true;
      }
    } while (moved && more);
    if (!more) break;
    any = true;
    int next = 0;
    uint64_t least = UINT64_MAX; /* the one whose next spot comes first goes on */
    for (int i = 0; i < n; i++) {
      const spots *s = &r->phrase_spots[x->phrases[i].number];
      if (!kept[i].n || kept[i].p[kept[i].n - 1] != s->p[at[i]]) add(r, &kept[i], s->p[at[i]]);
      if (at[i] + 1 < s->n && s->p[at[i] + 1] < least) least = s->p[at[i] + 1], next = i;
    }
    if (least == UINT64_MAX) break;
    at[next]++;
  }
  for (int i = 0; i < n && i < FTS_NEAR_MAX; i++) {
    spots *s = &r->phrase_spots[x->phrases[i].number], was = *s;
    *s = kept[i];
    kept[i] = was;
    free(kept[i].p);
  }
  return any;
}

/* FTS3/4: neighbours in the chain stand near each other, whichever comes first. */
static bool pair_near3(const fts_node *x, int i, uint64_t a, uint64_t b) {
  if (column_of(a) != column_of(b)) return false;
  int64_t end_a = (int64_t)(uint32_t)a + x->phrases[i].n - 1, end_b = (int64_t)(uint32_t)b + x->phrases[i + 1].n - 1;
  if (end_b > end_a) return end_b - end_a <= x->distance + x->phrases[i + 1].n;
  return end_a > end_b && end_a - end_b <= x->distance + x->phrases[i].n;
}

static void trim3(run *r, const fts_node *x, int i, bool left) {
  spots *s = &r->phrase_spots[x->phrases[left ? i : i + 1].number];
  const spots *other = &r->phrase_spots[x->phrases[left ? i + 1 : i].number];
  int n = 0;
  for (int k = 0; k < s->n; k++) {
    bool keep = false;
    for (int j = 0; j < other->n && !keep; j++)
      keep = left ? pair_near3(x, i, s->p[k], other->p[j]) : pair_near3(x, i, other->p[j], s->p[k]);
    if (keep) s->p[n++] = s->p[k];
  }
  s->n = n;
}

static bool near3(run *r, const fts_node *x) {
  for (int i = 0; i + 1 < x->phrases_n; i++) {
    trim3(r, x, i, false);
    trim3(r, x, i, true);
  }
  for (int i = x->phrases_n - 2; i >= 0; i--) {
    trim3(r, x, i, true);
    trim3(r, x, i, false);
  }
  for (int i = 0; i < x->phrases_n; i++)
    if (!r->phrase_spots[x->phrases[i].number].n) return false;
  return true;
}

static void count_columns(run *r, int phrase) {
  const spots *s = &r->phrase_spots[phrase];
  int64_t *hits = r->out->column_hits + (size_t)phrase * (size_t)r->f->columns_n;
  int64_t *rows = r->out->column_rows + (size_t)phrase * (size_t)r->f->columns_n;
  for (int i = 0; i < s->n; i++) {
    int64_t column = column_of(s->p[i]);
    hits[column]++;
    if (i == 0 || column_of(s->p[i - 1]) != column) rows[column]++;
  }
}

static bool match_near(run *r, fts_node *x) {
  bool all = true;
  for (int i = 0; i < x->phrases_n; i++) {
    find_phrase(r, &x->phrases[i], x);
    if (!r->phrase_spots[x->phrases[i].number].n) all = false;
    else r->out->phrase_rows[x->phrases[i].number]++;
  }
  if (all && x->phrases_n > 1) all = r->f->version == 5 ? near5(r, x) : near3(r, x);
  for (int i = 0; i < x->phrases_n; i++) {
    if (!all && x->phrases_n > 1) r->phrase_spots[x->phrases[i].number].n = 0;
    count_columns(r, x->phrases[i].number);
  }
  return all;
}

static bool evaluate(run *r, fts_node *x) {
  bool left, right;
  switch (x->op) {
  case FTS_NEAR: return x->matched = match_near(r, x);
  case FTS_NOTHING: return x->matched = false;
  default:
    left = evaluate(r, x->left);
    right = evaluate(r, x->right);
    return x->matched = x->op == FTS_AND ? left && right : x->op == FTS_OR ? left || right : left && !right;
  }
}

static void add_hits(run *r, const fts_node *x) {
  if (!x->matched && (x->op == FTS_NEAR || r->f->version == 5)) return;
  if (x->op != FTS_NEAR) {
    if (x->left) add_hits(r, x->left);
    if (x->right && x->op != FTS_NOT) add_hits(r, x->right);
    return;
  }
  for (int i = 0; i < x->phrases_n; i++) {
    const spots *s = &r->phrase_spots[x->phrases[i].number];
    for (int k = 0; k < s->n; k++) {
      if (r->hits_n == r->hits_capacity) {
        int capacity = r->hits_capacity ? r->hits_capacity * 2 : 64;
        fts_hit *hits = realloc(r->hits, (size_t)capacity * sizeof *hits);
        if (!hits) {
          r->failed = true;
          return;
        }
        r->hits = hits, r->hits_capacity = capacity;
      }
      r->hits[r->hits_n++] = (fts_hit){x->phrases[i].number, (int)(s->p[k] >> 32), (int)(uint32_t)s->p[k], 0};
    }
  }
}

static int hit_order(const void *a, const void *b) {
  const fts_hit *x = a, *y = b;
  if (x->column != y->column) return x->column < y->column ? -1 : 1;
  if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
  return (x->phrase > y->phrase) - (x->phrase < y->phrase);
}

static status keep_match(run *r, int64_t rowid) {
  fts_result *out = r->out;
  r->hits_n = 0;
  add_hits(r, r->q->root);
  if (r->failed) return HDB_NOMEM;
  if (r->hits_n) qsort(r->hits, (size_t)r->hits_n, sizeof *r->hits, hit_order);
  if (out->n == out->capacity) {
    int64_t capacity = out->capacity ? out->capacity * 2 : 64;
    fts_match *list = arena_alloc(r->memory, (size_t)capacity * sizeof *list);
    if (!list) return HDB_NOMEM;
    if (out->n) memcpy(list, out->matches, (size_t)out->n * sizeof *list);
    out->matches = list, out->capacity = capacity;
  }
  fts_match *m = &out->matches[out->n++];
  *m = (fts_match){.rowid = rowid, .hits_n = r->hits_n};
  m->hits = arena_copy(r->memory, r->hits ? (const void *)r->hits : "", (size_t)r->hits_n * sizeof *r->hits + !r->hits_n);
  m->sizes = arena_copy(r->memory, r->sizes, (size_t)r->f->columns_n * sizeof *r->sizes + 1);
  return m->hits && m->sizes ? HDB_OK : HDB_NOMEM;
}

static status visit_row(void *context, int64_t rowid, const value *values) {
  run *r = context;
  TRY(exec_tick(r->x));
  for (int i = 0; i < r->terms_n; i++) r->term_spots[i].n = 0;
  for (int c = 0; c < r->f->columns_n; c++) {
    slice text = {0, 0};
    r->sizes[c] = 0;
    if (r->f->unindexed[c] || values[c].type == VAL_NULL) continue;
    arena_mark mark = arena_save(&r->x->memory);
    TRY(value_to_text(&values[c], &r->x->memory, &text));
    r->column = c, r->token = 0;
    TRY(fts_tokenize(&r->f->tokenizer, text, take_token, r));
    arena_rewind(&r->x->memory, mark);
    r->sizes[c] = r->token;
    r->out->tokens[c] += r->token;
  }
  r->out->rows++;
  if (!r->q->root || !evaluate(r, r->q->root)) return r->failed ? HDB_NOMEM : HDB_OK;
  return keep_match(r, rowid);
}

static status prepare(run *r) {
  int phrases = r->q->phrases_n, columns = r->f->columns_n;
  for (int i = 0; i < phrases; i++) r->terms_n += r->q->phrases[i]->n;
  r->terms = arena_zero(r->memory, ((size_t)r->terms_n + 1) * sizeof *r->terms);
  r->first_term = arena_zero(r->memory, ((size_t)phrases + 1) * sizeof *r->first_term);
  r->sizes = arena_zero(r->memory, ((size_t)columns + 1) * sizeof *r->sizes);
  r->term_spots = calloc((size_t)r->terms_n + 1, sizeof *r->term_spots);
  r->phrase_spots = calloc((size_t)phrases + 1, sizeof *r->phrase_spots);
  r->out->tokens = arena_zero(r->memory, ((size_t)columns + 1) * sizeof(int64_t));
  r->out->phrase_rows = arena_zero(r->memory, ((size_t)phrases + 1) * sizeof(int64_t));
  r->out->column_hits = arena_zero(r->memory, ((size_t)phrases * (size_t)columns + 1) * sizeof(int64_t));
  r->out->column_rows = arena_zero(r->memory, ((size_t)phrases * (size_t)columns + 1) * sizeof(int64_t));
  if (!r->terms || !r->first_term || !r->sizes || !r->term_spots || !r->phrase_spots || r->memory->failed) return HDB_NOMEM;
  int n = 0;
  for (int i = 0; i < phrases; i++) {
    r->first_term[i] = n;
    for (int k = 0; k < r->q->phrases[i]->n; k++) r->terms[n++] = &r->q->phrases[i]->terms[k];
  }
  return HDB_OK;
}

status fts_run(exec *x, const fts_config *f, const table *t, const fts_query *q, arena *memory, fts_result *out) {
  run r = {.x = x, .f = f, .q = q, .memory = memory, .out = out};
  *out = (fts_result){0};
  status rc = prepare(&r);
  if (rc == HDB_OK) rc = fts_each_row(x, f, t, visit_row, &r);
  for (int i = 0; r.term_spots && i < r.terms_n; i++) free(r.term_spots[i].p);
  for (int i = 0; r.phrase_spots && i < q->phrases_n; i++) free(r.phrase_spots[i].p);
  free(r.term_spots);
  free(r.phrase_spots);
  free(r.hits);
  if (rc == HDB_NOMEM && x->err->code != rc) error_set(x->err, rc, "out of memory");
  return rc;
}
