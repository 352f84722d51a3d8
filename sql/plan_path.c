/* Paths: the order of the loops.
 *
 * Level by level the best few partial paths are kept, one for each (set of sources, in order or not). The cost of
 * sorting is added where the rows do not come in the wanted order, so a dearer loop that saves the sort may win.
 * With two rounds as SQLite: first without the order, to learn how many rows a sort would see.
 */
#include <strings.h>

#include "sql/plan_where.h"
#include "sql/virtual.h"

typedef struct order_state {
  where_plan *w;
  uint64_t done;      /* ORDER BY terms satisfied */
  source_mask ready;  /* sources of the loops so far */
  bool distinct;      /* every row so far differs in the satisfied terms */
} order_state;

static const expr *order_column(const expr *e) {
  while (e->op == EX_COLLATE) e = e->left;
  return e;
}

/* Is the column fixed to one value by an equality with what is outside of the loop? */
static bool fixed_by_equality(const where_plan *w, const where_loop *l, int slot, int column, const collation *c,
                              source_mask ready) {
  for (int i = 0; i < w->terms_n; i++) {
    const search_term *t = w->terms[i];
    if (t->slot != slot || t->column != column) continue;
    if (!(t->op & (SEARCH_EQ | SEARCH_IS | SEARCH_NULL))) continue;
    if (t->right & ~ready) continue;
    if (w->conditions[t->condition].outer_on) continue;
    const collation *tc = t->collation ? t->collation : &collation_binary;
    if (t->op != SEARCH_NULL && strcasecmp(tc->name, c ? c->name : "BINARY") != 0) continue;
    return true;
  }
  return false;
}

static void mark_fixed(order_state *s, const where_loop *l) {
  const where_order *o = s->w->order;
  int slot = s->w->items[l->item].slot;
  for (int i = 0; i < o->n; i++) {
    if (s->done >> i & 1) continue;
    const expr *e = order_column(o->e[i]);
    if (e->op != EX_COLUMN || e->slot != slot) continue;
    int column = plan_is_rowid(e) ? -1 : e->column;
    if (fixed_by_equality(s->w, l, slot, column, o->specs[i].c, s->ready)) s->done |= 1ull << i;
  }
}

static bool term_is_index_column(order_state *s, const where_loop *l, int term, int k, bool *descending) {
  const where_order *o = s->w->order;
  const where_item *item = &s->w->items[l->item];
  const expr *e = order_column(o->e[term]);
  *descending = false;
  if (!l->index || k == l->index->columns_n) {
    if (item->table && item->table->without_rowid && !l->index) return false;
    return e->op == EX_COLUMN && e->slot == item->slot && plan_is_rowid(e);
  }
  const index_column *ic = &l->index->columns[k];
  *descending = ic->descending;
  if (ic->column == -2) {
    expr *index_expression = where_index_expr(s->w, item, ic);
    if (!index_expression || !ast_equal(index_expression, e)) return false;
  } else {
    if (e->op != EX_COLUMN || e->slot != item->slot) return false;
    int column = plan_is_rowid(e) ? -1 : e->column;
    if (column != where_index_column(item->table, ic)) return false;
    if (column == -1) return true;
  }
  const collation *c = o->specs[term].c ? o->specs[term].c : &collation_binary;
  return strcasecmp(c->name, ic->collation ? ic->collation : "BINARY") == 0;
}

/* Is column k of the loop's index held to one value by the loop's own equality? 2: by IN (many values, each a run). */
static int loop_fixes(const where_loop *l, int k) {
  if (k >= l->equal_n) return 0;
  return l->terms[k]->op == SEARCH_IN ? 2 : 1;
}

static bool column_can_be_null(const where_item *item, const index_ *i, int k) {
  if (!i || k >= i->columns_n) return false;
  int column = i->columns[k].column;
  if (column == -2) return true;
  return column >= 0 && !item->table->columns[column].not_null;
}

/* One loop runs in one direction; NULLs must stand where the index has them. */
static bool direction_fits(const where_order *o, int i, bool descending, bool nullable, bool *set, bool *reverse) {
  bool wants = o->specs[i].descending, first = o->specs[i].nulls == 1;
  if (o->any_order && !o->exact_direction) return true;
  if (o->specs[i].nulls && nullable && first == wants) return false; /* by default first when ascending */
  if (*set) return (wants != descending) == *reverse;
  *reverse = wants != descending;
  *set = true;
  return true;
}

/* Walks the loop's columns; every one must be fixed or be the next wanted term. */
static void loop_order(order_state *s, where_loop *l, source_mask *reversed) {
  const where_plan *w = s->w;
  const where_order *o = w->order;
  const where_item *item = &w->items[l->item];
  bool rev_set = false, reverse = false;
  if (l->flags & (LOOP_VIEW | LOOP_AUTO | LOOP_OR | LOOP_VIRTUAL) || item->node || !item->table) {
    s->distinct = false;
    return;
  }
  int columns_n = l->index ? l->index->columns_n + !item->table->without_rowid : 1;
  bool unique = !l->index || l->index->unique, by_rowid = false;
  for (int k = 0; k < columns_n; k++) {
    int fixed = loop_fixes(l, k);
    if (fixed == 1) {
      if (l->terms[k]->op == SEARCH_NULL) unique = false;
      continue;
    }
    if (column_can_be_null(item, l->index, k)) unique = false;
    bool matched = false, descending = false;
    for (int i = 0; i < o->n && !matched; i++) {
      if (s->done >> i & 1) continue;
      if (term_is_index_column(s, l, i, k, &descending)) {
        if (!direction_fits(o, i, descending, column_can_be_null(item, l->index, k), &rev_set, &reverse)) break;
        s->done |= 1ull << i;
        matched = true;
      }
      if (!o->any_order) break; /* terms in their order only */
    }
    if (!matched) {
      if (k == 0 || (l->index && k < l->index->key_columns_n)) unique = false;
      break;
    }
    if (!l->index || k == l->index->columns_n) by_rowid = true;
  }
  if (!unique && !by_rowid) s->distinct = false;
  if (rev_set && reverse) *reversed |= l->self;
}

int where_path_order(where_plan *w, where_loop **loops, int n, where_loop *last, source_mask *reversed) {
  const where_order *o = w->order;
  order_state s = {.w = w, .distinct = true};
  *reversed = 0;
  if (!o || o->n == 0) return 0;
  if (o->n > 62) return 0;
  if (w->items_n == 1 && last && last->virtual_plan && last->virtual_plan->order_done) return o->n;
  uint64_t all = (1ull << o->n) - 1;
  for (int i = 0; i < o->n; i++)
    if (where_mask(w, o->e[i]) == 0 && expr_is_constant(o->e[i])) s.done |= 1ull << i;
  for (int i = 0; i <= n && s.distinct; i++) {
    where_loop *l = i < n ? loops[i] : last;
    if (!l) break;
    s.ready |= i ? (i - 1 < n ? loops[i - 1]->self : 0) : 0;
    mark_fixed(&s, l);
    if (!(l->flags & LOOP_ONE_ROW)) {
      loop_order(&s, l, reversed);
    }
    s.ready |= l->self;
    if (l->flags & LOOP_ONE_ROW || s.distinct) { /* terms that read only the sources so far are fixed with them */
      for (int k = 0; k < o->n; k++) {
        if (s.done >> k & 1) continue;
        source_mask m = where_mask(w, o->e[k]);
        if (s.distinct && m && !(m & ~s.ready)) s.done |= 1ull << k;
      }
    }
    if (s.done == all) return o->n;
  }
  if (s.done == all) return o->n;
  if (!s.distinct) {
    int k = 0;
    while (k < o->n && s.done >> k & 1) k++;
    return k;
  }
  return -1;
}

/* N log M, three times; less when the rows come in order of the first terms. */
static log_estimate sort_cost(const where_plan *w, log_estimate rows, int terms, int sorted) {
  log_estimate scale = (log_estimate)(log_of((uint64_t)((terms - sorted) * 100 / terms)) - 66);
  log_estimate cost = (log_estimate)(rows + scale + 16);
  if (w->limit >= 0 && log_of((uint64_t)w->limit) < rows) rows = log_of((uint64_t)w->limit);
  else if (w->want_distinct && w->limit < 0 && rows > 10) rows -= 10;
  return (log_estimate)(cost + log_of_log(rows));
}

typedef struct solver {
  where_plan *w;
  int order_n;
  log_estimate sorted_rows;
  int keep;
  where_path paths[2][16];
} solver;

static bool better(log_estimate cost, log_estimate rows, log_estimate unsorted, const where_path *p) {
  if (cost != p->cost) return cost < p->cost;
  if (rows != p->rows) return rows < p->rows;
  return unsorted < p->unsorted;
}

/* Where the candidate goes among those kept: its equal in kind, a free place, the worst. NULL: it is not wanted. */
static where_path *place_for(solver *s, where_path *to, int *to_n, const where_path *t) {
  for (int i = 0; i < *to_n; i++)
    if (to[i].mask == t->mask && (to[i].ordered < 0) == (t->ordered < 0))
      return better(t->cost, t->rows, t->unsorted, &to[i]) ? &to[i] : NULL;
  if (*to_n < s->keep) return &to[(*to_n)++];
  int worst = 0;
  for (int i = 1; i < *to_n; i++)
    if (to[i].cost > to[worst].cost || (to[i].cost == to[worst].cost && to[i].unsorted > to[worst].unsorted)) worst = i;
  if (t->cost > to[worst].cost || (t->cost == to[worst].cost && t->unsorted >= to[worst].unsorted)) return NULL;
  return &to[worst];
}

static void extend(solver *s, const where_path *from, where_path *to, int *to_n, int level) {
  where_plan *w = s->w;
  for (where_loop *l = w->loops; l; l = l->next) {
    if ((l->needs & ~from->mask) || (l->self & from->mask)) continue;
    if ((l->flags & LOOP_AUTO) && from->rows < 3) continue;
    where_path t = {.mask = from->mask | l->self, .ordered = from->ordered, .reversed = from->reversed};
    log_estimate unsorted = log_add(l->setup, (log_estimate)(l->run + from->rows));
    unsorted = log_add(unsorted, from->unsorted);
    t.rows = (log_estimate)(from->rows + l->out);
    if (t.ordered < 0) t.ordered = where_path_order(w, (where_loop **)from->loops, level, l, &t.reversed);
    if (t.ordered >= 0 && t.ordered < s->order_n) {
      t.cost = (log_estimate)(log_add(unsorted, sort_cost(w, s->sorted_rows, s->order_n, t.ordered)) + 3);
    } else {
      t.cost = unsorted;
      unsorted -= 2;
    }
    if (level == 0 && (l->flags & LOOP_VIEW)) {
      t.cost -= 10;
      t.rows -= 30;
    }
    t.unsorted = unsorted;
    where_path *p = place_for(s, to, to_n, &t);
    if (!p) continue;
    memcpy(t.loops, from->loops, (size_t)level * sizeof *t.loops);
    t.loops[level] = l;
    *p = t;
  }
}

static status solve_once(solver *s, bool with_order, log_estimate sorted_rows) {
  where_plan *w = s->w;
  int n = w->items_n, from_n = 1;
  s->keep = n <= 1 ? 1 : n == 2 ? 5 : 12;
  s->order_n = with_order && w->order ? w->order->n : 0;
  s->sorted_rows = sorted_rows;
  where_path *from = s->paths[0], *to = s->paths[1];
  from[0] = (where_path){.rows = 0, .ordered = s->order_n ? (n > 0 ? -1 : s->order_n) : 0};
  for (int level = 0; level < n; level++) {
    int to_n = 0;
    for (int i = 0; i < from_n; i++) extend(s, &from[i], to, &to_n, level);
    if (to_n == 0) return error_set(w->c->err, HDB_ERROR, "no query solution");
    where_path *swap = from;
    from = to;
    to = swap;
    from_n = to_n;
  }
  int best = 0;
  for (int i = 1; i < from_n; i++)
    if (from[i].cost < from[best].cost) best = i;
  w->path = from[best];
  return HDB_OK;
}

status where_solve(where_plan *w) {
  solver *s = plan_alloc(w->c, sizeof *s);
  if (!s) return plan_no_memory(w->c);
  s->w = w;
  TRY(solve_once(s, false, 0));
  if (w->order && w->order->n && w->items_n)
    TRY(solve_once(s, true, (log_estimate)(w->path.rows < 0 ? 1 : w->path.rows + 1)));
  if (!w->order || !w->order->n) w->path.ordered = 0;
  else if (w->path.ordered < 0) { /* all loops give one row a set of fixed terms: decide at the end */
    source_mask reversed = 0;
    int ordered = where_path_order(w, w->path.loops, w->items_n, NULL, &reversed);
    w->path.ordered = ordered < 0 ? 0 : ordered;
  }
  if (!(w->order && w->order->n) && w->c->db->pragmas.reverse_unordered_selects) w->path.reversed = ~(source_mask)0;
  w->ordered = w->path.ordered;
  w->rows = w->path.rows;
  return HDB_OK;
}
