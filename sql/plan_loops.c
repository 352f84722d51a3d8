/* Loops: every way to read a source that its search terms and indexes offer, with its cost.
 *
 * The figures are those that SQLite's planner works with when nothing was analysed (a table of about a million rows,
 * an equality on an index's first column leaves ten, ...), because the choice of loops decides the order of rows;
 * sqlite_stat1 replaces them when it is there.
 * L1  Of two loops of a source where one needs no more sources, costs no more and gives no more rows, the other goes.
 */
#include <strings.h>

#include "sql/plan_where.h"

typedef struct loop_builder {
  where_plan *w;
  where_item *item;
  int at;
  const index_ *index;  /* NULL: the table by row id */
  int columns_n, key_columns_n;
  log_estimate *rows;   /* per equal columns: [0] all */
  log_estimate index_width, table_width;
  expr **expressions;   /* of expression columns */
  where_loop loop;
  search_term *terms[LOOP_TERMS];
} loop_builder;

static log_estimate table_rows(const table *t) { return t->statistic_rows >= 0 ? log_of((uint64_t)t->statistic_rows) : 200; }

static int type_width(const column *c) {
  if (c->affinity >= AFF_NUMERIC || !c->type || !*c->type) return 1;
  int v = 16;
  for (const char *p = c->type; *p; p++)
    if (*p >= '0' && *p <= '9') {
      for (v = 0; *p >= '0' && *p <= '9' && v < 10000; p++) v = v * 10 + (*p - '0');
      break;
    }
  v = v / 4 + 1;
  return v > 255 ? 255 : v;
}
static log_estimate table_width(const table *t) {
  int n = t->rowid_column < 0 ? 1 : 0;
  for (int i = 0; i < t->columns_n; i++) n += type_width(&t->columns[i]);
  return log_of((uint64_t)n * 4);
}
static log_estimate index_width(const index_ *i) {
  int n = i->owner->without_rowid ? 0 : 1;
  if (i->is_primary) { /* its entries are the rows */
    for (int c = 0; c < i->owner->columns_n; c++) n += type_width(&i->owner->columns[c]);
    return log_of((uint64_t)n * 4);
  }
  for (int k = 0; k < i->columns_n; k++)
    n += i->columns[k].column < 0 ? 1 : type_width(&i->owner->columns[i->columns[k].column]);
  return log_of((uint64_t)n * 4);
}

static log_estimate *index_rows(where_plan *w, const index_ *i, log_estimate table) {
  static const log_estimate usual[] = {33, 32, 30, 28, 27};
  log_estimate *rows = plan_alloc(w->c, (size_t)(i->columns_n + 2) * sizeof *rows);
  if (!rows) return NULL;
  rows[0] = table < 99 && !i->statistics ? 99 : table;
  if (i->where) rows[0] -= 10;
  for (int k = 1; k <= i->key_columns_n; k++) rows[k] = k <= 5 ? usual[k - 1] : 23;
  if (i->unique) rows[i->key_columns_n] = 0;
  for (int k = 0; i->statistics && k < i->statistics_n && k <= i->key_columns_n; k++)
    rows[k] = log_of((uint64_t)i->statistics[k]);
  return rows;
}

/* ---- the set of loops ---- */
static bool cheaper_subset(const where_loop *x, const where_loop *y) {
  if (x->terms_n >= y->terms_n) return false;
  if (x->run >= y->run && (x->run > y->run || x->out > y->out)) return false;
  for (int i = 0; i < x->terms_n; i++) {
    bool found = false;
    for (int k = 0; k < y->terms_n && !found; k++) found = y->terms[k] == x->terms[i];
    if (x->terms[i] && !found) return false;
  }
  if ((x->flags & LOOP_COVERING) && !(y->flags & LOOP_COVERING)) return false;
  return true;
}

static void adjust_cost(where_plan *w, where_loop *t) {
  if (!(t->flags & LOOP_INDEXED)) return;
  for (where_loop *p = w->item_loops ? *w->item_loops : w->loops; p; p = p->next) {
    if (p->item != t->item || !(p->flags & LOOP_INDEXED)) continue;
    if (cheaper_subset(p, t)) {
      if (p->run < t->run) t->run = p->run;
      if (p->out - 1 < t->out) t->out = p->out - 1;
    } else if (cheaper_subset(t, p)) {
      if (p->run > t->run) t->run = p->run;
      if (p->out + 1 > t->out) t->out = p->out + 1;
    }
  }
}

static bool keeps_off(const where_loop *old, const where_loop *t) {
  return (old->needs & t->needs) == old->needs && old->setup <= t->setup && old->run <= t->run && old->out <= t->out;
}
static bool replaces(const where_loop *t, const where_loop *old) {
  if ((old->flags & LOOP_AUTO) && (t->flags & LOOP_INDEXED) && (t->flags & LOOP_EQ) && (old->needs & t->needs) == t->needs)
    return true;
  return (old->needs & t->needs) == t->needs && old->run >= t->run && old->out >= t->out;
}

status where_insert_loop(where_plan *w, const where_loop *t) {
  where_loop template = *t;
  adjust_cost(w, &template);
  where_loop **at = w->item_loops ? w->item_loops : &w->loops;
  bool placed = false;
  while (*at) { /* L1 */
    where_loop *p = *at;
    if (p->item != t->item || p->sortable != t->sortable || (p->sortable && p->index != t->index)) {
      at = &p->next;
      continue;
    }
    if (!placed && replaces(&template, p) && (p->flags & LOOP_AUTO) && !(t->flags & LOOP_AUTO)) {
      /* falls through to the removal below */
    } else if (!placed && keeps_off(p, &template)) {
      return HDB_OK;
    }
    if (replaces(&template, p)) {
      if (placed) { /* a second one that is worse */
        *at = p->next;
        continue;
      }
      where_loop *next = p->next;
      search_term **terms = plan_alloc(w->c, (size_t)(template.terms_n + 1) * sizeof *terms);
      if (!terms) return plan_no_memory(w->c);
      memcpy(terms, template.terms, (size_t)template.terms_n * sizeof *terms);
      *p = template;
      p->terms = terms;
      p->next = next;
      placed = true;
    }
    at = &p->next;
  }
  if (placed) return HDB_OK;
  where_loop *fresh = plan_alloc(w->c, sizeof *fresh);
  search_term **terms = plan_alloc(w->c, (size_t)(template.terms_n + 1) * sizeof *terms);
  if (!fresh || !terms) return plan_no_memory(w->c);
  memcpy(terms, template.terms, (size_t)template.terms_n * sizeof *terms);
  *fresh = template;
  fresh->terms = terms;
  fresh->next = NULL;
  *at = fresh;
  w->loops_n++;
  return HDB_OK;
}

/* Conditions that the loop does not use but that can be tested on its rows leave fewer of them. */
static void adjust_output(where_plan *w, where_loop *l, log_estimate rows) {
  source_mask others = ~(l->needs | l->self);
  log_estimate reduce = 0;
  for (int i = 0; i < w->conditions_n; i++) {
    where_condition *k = &w->conditions[i];
    if ((k->all & others) || !(k->all & l->self) || k->is_virtual) continue;
    bool used = false;
    for (int t = 0; t < l->terms_n && !used; t++) used = l->terms[t] && l->terms[t]->condition == i;
    if (used) continue;
    if (k->truth <= 0) {
      l->out += k->truth;
      continue;
    }
    l->out--;
    if (k->operators & (SEARCH_EQ | SEARCH_IS)) {
      const expr *right = k->e->right;
      int by = right && right->op == EX_INT && right->i >= -1 && right->i <= 1 ? 10 : 20;
      if (reduce < by) reduce = (log_estimate)by;
    }
  }
  if (l->out > rows - reduce) l->out = rows - reduce;
}

/* ---- searching an index or the row ids ---- */
static bool term_fits_column(const loop_builder *b, const search_term *t, int k) {
  if (t->slot != b->item->slot) return false;
  if (!b->index) return t->column == -1;
  if (k == b->index->columns_n) return t->column == -1; /* the row id behind the columns */
  const index_column *ic = &b->index->columns[k];
  if (ic->column == -2) {
    if (t->column != -2 && t->column >= 0) return false;
    if (!b->expressions[k] || !ast_equal(t->e, b->expressions[k])) return false;
  } else if (t->column != where_index_column(b->item->table, ic)) {
    return false;
  }
  if (t->op == SEARCH_NULL || t->column == -1) return true;
  const collation *c = t->collation ? t->collation : &collation_binary;
  if (!c->builtin) return false;
  const char *name = ic->collation ? ic->collation : "BINARY";
  return strcasecmp(c->name, name) == 0;
}

static bool outer_join_allows(const loop_builder *b, const search_term *t) {
  if (!b->item->left && !b->item->right && !b->item->before_right) return !b->w->conditions[t->condition].outer_on ||
                                                                          b->w->conditions[t->condition].join == b->at;
  return b->w->conditions[t->condition].join == b->at; /* W1 */
}

static bool column_not_null(const loop_builder *b, int k) {
  if (!b->index || k >= b->index->columns_n) return true;
  int column = b->index->columns[k].column;
  if (column == -2) return false;
  return column < 0 || b->item->table->columns[column].not_null != 0;
}

static void range_estimate(const where_plan *w, const search_term *low, const search_term *high, where_loop *l) {
  log_estimate out = l->out, fresh = out;
  const search_term *both[2] = {low, high};
  bool unknown = low && high;
  for (int i = 0; i < 2; i++) {
    if (!both[i]) continue;
    log_estimate truth = w->conditions[both[i]->condition].truth;
    if (truth <= 0) {
      fresh += truth;
      unknown = false;
    } else {
      fresh -= 20;
    }
  }
  if (unknown) fresh -= 20;
  out -= (low != NULL) + (high != NULL);
  if (fresh < 10) fresh = 10;
  l->out = fresh < out ? fresh : out;
}

static bool all_not_null(const index_ *i) {
  for (int k = 0; k < i->key_columns_n; k++)
    if (i->columns[k].column < 0 || i->owner->columns[i->columns[k].column].not_null == 0) return false;
  return true;
}

static status search_from(loop_builder *b, log_estimate in_factor);

static status search_with(loop_builder *b, search_term *t, log_estimate in_factor, log_estimate saved_out) {
  where_plan *w = b->w;
  where_loop *l = &b->loop;
  int k = l->equal_n;
  log_estimate log_rows = log_of_log(b->rows[0]), in_rows = 0;
  search_term *low = NULL, *high = NULL;
  bool is_rowid = !b->index || k == b->index->columns_n;
  l->terms = b->terms;
  b->terms[l->terms_n++] = t;
  l->needs = (l->needs | t->right) & ~l->self;
  if (t->op == SEARCH_IN) {
    in_rows = t->in->select ? 46 : log_of((uint64_t)(t->in->list->n ? t->in->list->n : 1));
    if (b->index && b->index->statistics && log_rows >= 10) {
      log_estimate x = (log_estimate)(b->rows[k] + log_of_log(in_rows) + 10 - (in_rows + log_rows));
      if (x < 0 && in_factor >= 20) return HDB_OK;
    }
    l->flags |= LOOP_IN;
  } else if (t->op & (SEARCH_EQ | SEARCH_IS)) {
    l->flags |= LOOP_EQ;
    bool last = b->index && in_factor == 0 && k == b->key_columns_n - 1;
    if (is_rowid || last) {
      const index_ *i = b->index;
      if (is_rowid || (i->unique && (all_not_null(i) || i->is_primary || (i->key_columns_n == 1 && t->op == SEARCH_EQ))))
        l->flags |= LOOP_ONE_ROW;
      else l->flags |= LOOP_UNIQUE_WANTED;
    }
  } else if (t->op == SEARCH_NULL) {
    l->flags |= LOOP_NULL;
  } else if (t->op & (SEARCH_GT | SEARCH_GE)) {
    l->flags |= LOOP_RANGE | LOOP_BOTTOM;
    low = t;
    if (t->like) {
      for (int i = 0; i + 1 < w->terms_n; i++)
        if (w->terms[i] == t) high = w->terms[i + 1];
      b->terms[l->terms_n++] = high;
      l->flags |= LOOP_TOP;
    }
  } else {
    if (l->flags & LOOP_BOTTOM) low = b->terms[l->terms_n - 2];
    l->flags |= LOOP_RANGE | LOOP_TOP;
    high = t;
  }
  if (l->flags & LOOP_RANGE) {
    range_estimate(w, low, high, l);
  } else {
    int equal = ++l->equal_n;
    log_estimate truth = w->conditions[t->condition].truth;
    if (truth <= 0 && !is_rowid && b->index->columns[k].column >= 0) {
      l->out += truth;
      l->out -= in_rows;
    } else {
      l->out += (equal <= b->key_columns_n ? b->rows[equal] : 0) - (equal - 1 <= b->key_columns_n ? b->rows[equal - 1] : 0);
      if (t->op == SEARCH_NULL) l->out += 10;
    }
  }
  log_estimate cost = (log_estimate)(l->out + 1 + (15 * b->index_width) / (b->table_width ? b->table_width : 1));
  l->run = log_add(log_rows, cost);
  if (!(l->flags & (LOOP_COVERING | LOOP_ROWID))) l->run = log_add(l->run, (log_estimate)(l->out + 16));
  log_estimate unadjusted = l->out;
  l->run += in_factor + in_rows;
  l->out += in_factor + in_rows;
  adjust_output(w, l, b->rows[0]);
  l->terms = b->terms;
  TRY(where_insert_loop(w, l));
  l->out = l->flags & LOOP_RANGE ? saved_out : unadjusted;
  if (!(l->flags & LOOP_TOP) && l->equal_n < b->columns_n) return search_from(b, (log_estimate)(in_factor + in_rows));
  return HDB_OK;
}

/* Adds the loops that use one more term for the next column (or bound the range from above). */
static status search_from(loop_builder *b, log_estimate in_factor) {
  where_plan *w = b->w;
  where_loop saved = b->loop;
  int k = saved.equal_n;
  if (saved.terms_n + 3 > LOOP_TERMS) return HDB_OK;
  unsigned ops = saved.flags & LOOP_BOTTOM ? SEARCH_LT | SEARCH_LE : ~0u;
  for (int i = 0; i < w->terms_n; i++) {
    search_term *t = w->terms[i];
    if (!(t->op & ops) || !term_fits_column(b, t, k)) continue;
    if (t->op == SEARCH_NULL && column_not_null(b, k)) continue;
    if (t->op == SEARCH_IN && b->index && k == b->index->columns_n) continue;
    if (t->right & saved.self) continue;
    if (t->like && (t->op & (SEARCH_LT | SEARCH_LE))) continue;
    if (!outer_join_allows(b, t)) continue;
    b->loop = saved;
    b->loop.setup = 0;
    TRY(search_with(b, t, in_factor, saved.out));
  }
  b->loop = saved;
  return HDB_OK;
}

/* ---- whole sources ---- */
static bool has_expression_columns(const index_ *i) {
  for (int k = 0; k < i->columns_n; k++)
    if (i->columns[k].column == -2) return true;
  return false;
}

static bool column_orders(const where_plan *w, const where_item *item, const index_ *i) {
  const where_order *o = w->order;
  for (int k = 0; o && k < o->n; k++) {
    const expr *e = o->e[k];
    while (e->op == EX_COLLATE) e = e->left;
    if (e->op == EX_COLUMN && e->slot == item->slot) {
      if (plan_is_rowid(e)) return true; /* any index has it */
      for (int c = 0; i && c < i->key_columns_n; c++)
        if (i->columns[c].column == e->column) return true;
    } else if (i && has_expression_columns(i)) {
      return true;
    }
  }
  return false;
}

static bool index_covers(const where_item *item, const index_ *i) {
  const table *t = item->table;
  uint64_t used = item->s->columns_used;
  if (i->is_primary) return true;
  for (int c = 0; c < t->columns_n; c++) {
    if (!(used >> (c < 63 ? c : 63) & 1)) continue;
    if (c == t->rowid_column) continue;
    bool found = false;
    for (int k = 0; k < i->columns_n && !found; k++) found = i->columns[k].column == c;
    if (!found) return false;
  }
  return true;
}

static bool index_usable(const index_ *i) {
  for (int k = 0; k < i->columns_n; k++) {
    const char *c = i->columns[k].collation;
    if (c && strcasecmp(c, "BINARY") && strcasecmp(c, "NOCASE") && strcasecmp(c, "RTRIM")) return false;
  }
  return true;
}

static status index_loops(loop_builder *b, const index_ *i, source_mask needs, log_estimate rows) {
  where_plan *w = b->w;
  where_item *item = b->item;
  const table *t = item->table;
  bool covering = index_covers(item, i);
  b->index = i;
  b->rows = index_rows(w, i, rows);
  b->expressions = plan_alloc(w->c, (size_t)(i->columns_n + 1) * sizeof(expr *));
  if (!b->rows || !b->expressions) return plan_no_memory(w->c);
  for (int k = 0; k < i->columns_n; k++)
    if (i->columns[k].column == -2) b->expressions[k] = where_index_expr(w, item, &i->columns[k]);
  b->columns_n = i->columns_n + !t->without_rowid; /* the row id stands behind the columns */
  b->key_columns_n = i->key_columns_n;
  b->index_width = index_width(i);
  b->loop = (where_loop){.item = b->at, .self = item->self, .needs = needs, .index = i};
  b->loop.out = b->rows[0];
  b->loop.flags = LOOP_INDEXED | (covering ? LOOP_COVERING : 0);
  bool orders = column_orders(w, item, i);
  bool scan = !w->search_only && (orders || t->without_rowid || i->where || item->s->indexed_by ||
              (covering && b->index_width < b->table_width && !w->no_covering_scan));
  if (scan) {
    where_loop l = b->loop;
    l.sortable = orders;
    l.run = (log_estimate)(b->rows[0] + 1 + (15 * b->index_width) / (b->table_width ? b->table_width : 1));
    if (!covering) l.run = log_add(l.run, (log_estimate)(b->rows[0] + 16));
    l.terms = b->terms;
    adjust_output(w, &l, b->rows[0]);
    TRY(where_insert_loop(w, &l));
  }
  b->loop.sortable = orders;
  return search_from(b, 0);
}

static status auto_loops(loop_builder *b, source_mask needs, log_estimate rows) {
  where_plan *w = b->w;
  where_item *item = b->item;
  if (!w->c->db->pragmas.automatic_index || item->right || item->nested || item->s->indexed_by || item->s->not_indexed) return HDB_OK;
  if (item->table && item->table->without_rowid) return HDB_OK;
  if (item->s->correlated || item->s->is_recursive || item->module) return HDB_OK;
  for (int i = 0; i < w->terms_n; i++) {
    search_term *t = w->terms[i];
    if (t->slot != item->slot || !(t->op & (SEARCH_EQ | SEARCH_IS)) || t->column < 0 || t->derived) continue;
    if ((t->right & item->self) || !outer_join_allows(b, t)) continue;
    if (t->collation && !t->collation->builtin) continue;
    where_loop l = {.item = b->at, .self = item->self, .needs = needs | t->right, .equal_n = 1, .terms_n = 1, .flags = LOOP_AUTO};
    b->terms[0] = t;
    l.terms = b->terms;
    log_estimate log_rows = log_of_log(rows);
    l.setup = (log_estimate)(log_rows + rows + (item->table ? 28 : -25));
    if (l.setup < 0) l.setup = 0;
    l.out = 43;
    l.run = log_add(log_rows, l.out);
    TRY(where_insert_loop(w, &l));
  }
  return HDB_OK;
}

static status whole_loop(loop_builder *b, source_mask needs, log_estimate rows, unsigned flags, bool sortable) {
  where_loop l = {.item = b->at, .self = b->item->self, .needs = needs, .flags = flags, .sortable = sortable};
  l.out = rows;
  l.run = (log_estimate)(rows + 16);
  l.terms = b->terms;
  adjust_output(b->w, &l, rows);
  return where_insert_loop(b->w, &l);
}

static status try_index(loop_builder *b, const index_ *i, source_mask needs, log_estimate rows) {
  const source *s = b->item->s;
  if (s->indexed_by && strcasecmp(s->indexed_by, i->name) != 0) return HDB_OK;
  if (s->not_indexed && !i->is_primary) return HDB_OK;
  if (!index_usable(i) || (i->where && !where_partial_index_holds(b->w, b->item, i))) return HDB_OK;
  return index_loops(b, i, needs, rows);
}

static status item_loops(where_plan *w, int at, source_mask needs) {
  where_item *item = &w->items[at];
  loop_builder b = {.w = w, .item = item, .at = at};
  const table *t = item->table;
  needs |= item->needs;
  if (!t || item->node || item->shared || item->module) {
    if (item->module) return where_virtual_loops(w, at, needs);
    TRY(auto_loops(&b, needs, item->rows));
    return whole_loop(&b, needs, item->rows, item->module ? LOOP_VIRTUAL : LOOP_VIEW, false);
  }
  log_estimate rows = table_rows(t);
  b.table_width = table_width(t);
  const char *wanted = item->s->indexed_by;
  if (!w->search_only) TRY(auto_loops(&b, needs, rows));
  if (!t->without_rowid && !wanted) {
    log_estimate by_rowid[3] = {rows, 0, 0};
    bool orders = column_orders(w, item, NULL);
    if (!w->search_only) TRY(whole_loop(&b, needs, rows, LOOP_ROWID, orders));
    b.index = NULL;
    b.rows = by_rowid;
    b.columns_n = b.key_columns_n = 1;
    b.index_width = 3;
    b.loop = (where_loop){.item = at, .self = item->self, .needs = needs, .flags = LOOP_ROWID, .out = rows, .sortable = orders};
    TRY(search_from(&b, 0));
  }
  const index_ *primary = t->without_rowid ? t->primary : NULL; /* stands first in the list; its place is by age */
  for (const index_ *i = t->indexes; i; i = i->next) { /* SQLite's order; the first of equals wins */
    if (i->is_primary) continue;
    if (primary && index_comes_before(primary, i)) {
      TRY(try_index(&b, primary, needs, rows));
      primary = NULL;
    }
    TRY(try_index(&b, i, needs, rows));
  }
  return primary ? try_index(&b, primary, needs, rows) : HDB_OK;
}

status where_search_loops(where_plan *w, int at, source_mask needs) {
  w->search_only = true;
  return item_loops(w, at, needs);
}

status where_loops(where_plan *w) {
  source_mask prior = 0, needs = 0;
  bool past_right = false, has_right = false;
  for (int i = 0; i < w->items_n; i++) {
    where_item *item = &w->items[i];
    if (past_right || item->left || item->right || item->cross || item->before_right) {
      if (item->before_right) has_right = true;
      needs |= prior;
      past_right = item->right;
    } else if (!has_right) {
      needs = 0;
    }
    w->item_loops = w->loops_end ? w->loops_end : &w->loops; /* this source's loops follow all before */
    TRY(item_loops(w, i, needs));
    TRY(where_or_loops(w, i, needs));
    where_loop **end = w->item_loops;
    while (*end) end = &(*end)->next;
    w->loops_end = end;
    prior |= item->self;
  }
  return HDB_OK;
}
