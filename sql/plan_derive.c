/* Search terms that are not written: through equal columns, from LIKE and GLOB prefixes, by the sides of an OR; and
 * LEFT JOINs whose NULL rows WHERE would throw away.
 */
#include <ctype.h>
#include <strings.h>

#include "sql/plan_where.h"

/* ---- a = b AND b = 5: also a = 5 ---- */
typedef struct equal_column {
  int slot, column, class_;
  expr *e;
  source_mask self;
} equal_column;

typedef struct equal_columns {
  equal_column *items;
  int n, capacity, classes;
} equal_columns;

static int find_column(where_plan *w, equal_columns *l, expr *e) {
  int column = plan_is_rowid(e) ? -1 : e->column;
  for (int i = 0; i < l->n; i++)
    if (l->items[i].slot == e->slot && l->items[i].column == column) return i;
  if (l->n == l->capacity) {
    int capacity = l->capacity ? l->capacity * 2 : 16;
    equal_column *grown = plan_alloc(w->c, (size_t)capacity * sizeof *grown);
    if (!grown) return -1;
    if (l->n) memcpy(grown, l->items, (size_t)l->n * sizeof *grown);
    l->items = grown;
    l->capacity = capacity;
  }
  l->items[l->n] = (equal_column){e->slot, column, l->classes++, e, where_mask(w, e)};
  return l->n++;
}

/* Both columns, compared alike from either side: then what holds for one holds for the other. */
static bool is_equivalence(where_plan *w, const where_condition *k) {
  const expr *e = k->e;
  if (e->op != EX_EQ || k->outer_on || e->left->op != EX_COLUMN || e->right->op != EX_COLUMN) return false;
  if (!where_mask(w, e->left) || !where_mask(w, e->right)) return false;
  uint8_t a = expr_affinity(e->left), b = expr_affinity(e->right);
  if (a != b && (a < AFF_NUMERIC || b < AFF_NUMERIC)) return false;
  const collation *ca = NULL, *cb = NULL;
  if (expr_collation(w->c, e->left, &ca) != HDB_OK || expr_collation(w->c, e->right, &cb) != HDB_OK) return false;
  return (!ca || ca->builtin == 1) && (!cb || cb->builtin == 1);
}

/* Only a search can use a derived term: is there an index (or the row id) to search? */
static bool is_searchable(const where_plan *w, const equal_column *to) {
  const where_item *item = &w->items[__builtin_ctzll(to->self)];
  if (to->column == -1) return true;
  for (const index_ *i = item->table ? item->table->indexes : NULL; i; i = i->next)
    for (int k = 0; k < i->columns_n; k++)
      if (i->columns[k].column == to->column) return true;
  return false;
}

static status derive_for(where_plan *w, const equal_columns *l, int from, search_term *t) {
  for (int i = 0; i < l->n; i++) {
    const equal_column *to = &l->items[i];
    if (i == from || to->class_ != l->items[from].class_ || (t->right & to->self)) continue;
    if (!is_searchable(w, to)) continue;
    if (t->value && t->value->op == EX_COLUMN && t->value->slot == to->slot) continue;
    search_term *d = where_add_term(w, t->condition, t->op, to->e, t->value);
    if (!d) continue;
    d->in = t->in;
    d->right = t->right;
    d->affinity = t->affinity;
    d->collation = t->collation;
    d->derived = true;
  }
  return HDB_OK;
}

status where_derive(where_plan *w) {
  equal_columns l = {0};
  for (int i = 0; i < w->conditions_n; i++) {
    if (!is_equivalence(w, &w->conditions[i])) continue;
    const expr *e = w->conditions[i].e;
    int a = find_column(w, &l, e->left), b = find_column(w, &l, e->right);
    if (a < 0 || b < 0) return plan_no_memory(w->c);
    int from = l.items[b].class_, to = l.items[a].class_;
    for (int k = 0; k < l.n; k++)
      if (l.items[k].class_ == from) l.items[k].class_ = to;
  }
  int terms_n = w->terms_n;
  for (int i = 0; l.n && i < terms_n; i++) {
    search_term *t = w->terms[i];
    if (w->conditions[t->condition].outer_on || t->like || (t->collation && t->collation->builtin != 1)) continue;
    for (int k = 0; k < l.n; k++)
      if (l.items[k].slot == t->slot && l.items[k].column == t->column) TRY(derive_for(w, &l, k, t));
  }
  return HDB_OK;
}

/* ---- x LIKE 'abc%', x GLOB 'abc*' ---- */
static expr *text_expr(where_plan *w, const char *p, size_t n) {
  expr *e = ast_expr(w->c->memory, EX_TEXT, NULL, NULL);
  if (!e) return NULL;
  e->text = arena_strndup(w->c->memory, p, n);
  e->text_n = (uint32_t)n;
  return e->text ? e : NULL;
}

status where_like(where_plan *w, int condition) {
  where_condition *k = &w->conditions[condition];
  const expr *e = k->e;
  bool glob = e->op == EX_GLOB, no_case = !glob && !w->c->db->pragmas.case_sensitive_like;
  k->children = 1000; /* the pattern itself is always tested */
  if (e->negated || (e->list && e->list->n) || e->left->op != EX_COLUMN || e->right->op != EX_TEXT) return HDB_OK;
  if (expr_affinity(e->left) != AFF_TEXT) return HDB_OK;
  const char *pattern = e->right->text;
  size_t n = 0;
  while (n < e->right->text_n && pattern[n] && !strchr(glob ? "*?[" : "%_", pattern[n])) n++;
  if (n == 0 || (uint8_t)pattern[n - 1] == 0xff || (no_case && pattern[n - 1] == '@')) return HDB_OK;
  expr *low = text_expr(w, pattern, n), *high = text_expr(w, pattern, n);
  if (!low || !high) return plan_no_memory(w->c);
  if (no_case)
    for (size_t i = 0; i < n; i++) {
      ((char *)low->text)[i] = (char)toupper((uint8_t)pattern[i]);
      ((char *)high->text)[i] = (char)tolower((uint8_t)pattern[i]);
    }
  ((char *)high->text)[n - 1]++;
  const collation *c = no_case ? &collation_nocase : &collation_binary;
  search_term *a = where_add_term(w, condition, SEARCH_GE, e->left, low);
  if (!a) return HDB_OK;
  search_term *b = where_add_term(w, condition, SEARCH_LT, e->left, high);
  if (!b) return plan_no_memory(w->c);
  a->collation = b->collation = c;
  a->affinity = b->affinity = AFF_NONE;
  a->like = b->like = true;
  return HDB_OK;
}

/* ---- OR: each side by a search of its own ---- */
static int count_arms(const expr *e) {
  int n = 1;
  for (; e->op == EX_OR; e = e->left) n++;
  return n;
}

/* The cheapest search of the item for one side; NULL: that side has none. */
static status plan_or_arm(where_plan *w, int at, source_mask needs, expr *side, or_arm *out) {
  where_plan *arm = plan_alloc(w->c, sizeof *arm);
  if (!arm) return plan_no_memory(w->c);
  *arm = (where_plan){.c = w->c, .select = w->select, .items_n = w->items_n, .items = w->items, .limit = -1};
  TRY(where_analyze(arm, side));
  TRY(where_search_loops(arm, at, needs));
  where_loop *best = NULL;
  for (where_loop *l = arm->loops; l; l = l->next)
    if (l->terms_n && (!best || l->run < best->run)) best = l;
  *out = (or_arm){arm, best};
  return HDB_OK;
}

static status or_loop(where_plan *w, int at, source_mask needs, expr *e) {
  int n = count_arms(e);
  if (n > 256) return HDB_OK;
  or_arm *arms = plan_alloc(w->c, (size_t)n * sizeof *arms);
  search_term *no_terms[1] = {NULL};
  if (!arms) return plan_no_memory(w->c);
  int i = n;
  for (expr *o = e;; o = o->left) {
    TRY(plan_or_arm(w, at, needs, o->op == EX_OR ? o->right : o, &arms[--i]));
    if (!arms[i].loop) return HDB_OK;
    if (o->op != EX_OR) break;
  }
  where_loop l = {.item = at, .self = w->items[at].self, .needs = needs, .flags = LOOP_OR, .arms = arms, .arms_n = n, .terms = no_terms};
  for (i = 0; i < n; i++) {
    l.run = i ? log_add(l.run, arms[i].loop->run) : arms[i].loop->run;
    l.out = i ? log_add(l.out, arms[i].loop->out) : arms[i].loop->out;
    l.needs |= arms[i].loop->needs;
  }
  l.run++;
  return where_insert_loop(w, &l);
}

status where_or_loops(where_plan *w, int at, source_mask needs) {
  const where_item *item = &w->items[at];
  if (!item->table || item->node || item->module) return HDB_OK;
  if (item->right || item->s->indexed_by) return HDB_OK;
  for (int i = 0; i < w->conditions_n; i++) {
    const where_condition *k = &w->conditions[i];
    bool outer = item->left || item->before_right;
    if (k->e->op != EX_OR || !(k->all & item->self)) continue;
    if (outer ? k->join != at : k->outer_on) continue;
    TRY(or_loop(w, at, needs, k->e));
  }
  return HDB_OK;
}

/* ---- LEFT JOIN that might as well be inner ---- */
static bool strict_column(const where_plan *w, const expr *e, source_mask item) {
  if (!e) return false;
  switch (e->op) {
  case EX_COLUMN: return (where_mask((where_plan *)w, e) & item) != 0;
  case EX_NEG: case EX_PLUS: case EX_BITNOT: case EX_COLLATE: case EX_NOT: case EX_CAST: return strict_column(w, e->left, item);
  case EX_ADD: case EX_SUB: case EX_MUL: case EX_DIV: case EX_MOD: case EX_CONCAT: case EX_BITAND: case EX_BITOR:
  case EX_SHL: case EX_SHR: case EX_EQ: case EX_NE: case EX_LT: case EX_LE: case EX_GT: case EX_GE:
    return strict_column(w, e->left, item) || strict_column(w, e->right, item);
  case EX_BETWEEN:
    return strict_column(w, e->left, item) ||
           (strict_column(w, e->list->items[0].e, item) && strict_column(w, e->list->items[1].e, item));
  case EX_IN: return e->list && e->list->n > 0 && strict_column(w, e->left, item);
  case EX_AND:
  case EX_OR: return strict_column(w, e->left, item) && strict_column(w, e->right, item);
  default: return false;
  }
}
static bool rejects_null_row(const where_plan *w, const expr *e, source_mask item) {
  if (!e) return false;
  for (; e->op == EX_AND; e = e->left)
    if (rejects_null_row(w, e->right, item)) return true;
  return strict_column(w, e, item);
}

void where_reduce_joins(where_plan *w, const expr *where) {
  for (int i = 0; i < w->items_n; i++) {
    where_item *item = &w->items[i];
    if (!item->left || item->right || item->before_right || item->nested) continue;
    bool rejected = rejects_null_row(w, where, item->self);
    for (int k = 0; k < w->items_n && !rejected; k++)
      if (!w->items[k].left && !w->items[k].right) rejected = rejects_null_row(w, w->items[k].s->on, item->self);
    if (rejected) item->left = false;
  }
}
