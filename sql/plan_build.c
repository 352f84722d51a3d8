/* From the chosen path to a join node: accesses with their search keys, conditions at their places.
 *
 * B1  A condition is tested as early as its sources are there, but: an outer join's ON at that join, before the row
 *     counts as matched; everything else after it, and not before the last RIGHT JOIN that it stands behind.
 * B2  A condition that an access fulfils exactly is not tested again.
 */
#include <strings.h>

#include "sql/plan_where.h"

static void mark_used(where_plan *w, const search_term *t) {
  where_condition *k = &w->conditions[t->condition];
  if (t->derived) return;
  if (++k->children_done >= k->children) k->done = true; /* B2 */
}

static status build_part(where_plan *w, const search_term *t, const index_column *ic, key_part *part) {
  part->affinity = t->affinity;
  part->descending = ic ? ic->descending : false;
  part->e = t->e;
  part->null_matches = t->op == SEARCH_IS || t->op == SEARCH_NULL;
  if (ic) TRY(find_collation(w->c->db, ic->collation ? ic->collation : "BINARY", &part->collation, w->c->err));
  if (t->op == SEARCH_NULL) {
    expr *null = ast_expr(w->c->memory, EX_NULL, NULL, NULL);
    return null ? plan_operand(w->c, null, &part->o) : plan_no_memory(w->c);
  }
  if (t->op != SEARCH_IN) return plan_operand(w->c, t->value, &part->o);
  part->is_in = true;
  if (t->in->select) {
    if (!t->in->subplan) TRY(plan_subquery(w->c, t->in));
    part->subplan = t->in->subplan;
    part->list_constant = !t->in->correlated;
    return HDB_OK;
  }
  part->list_n = t->in->list->n;
  part->list_constant = true;
  part->list = plan_alloc(w->c, (size_t)(part->list_n + 1) * sizeof *part->list);
  if (!part->list) return plan_no_memory(w->c);
  for (int i = 0; i < part->list_n; i++) {
    expr *e = t->in->list->items[i].e;
    if (!expr_is_constant(e)) part->list_constant = false;
    TRY(plan_operand(w->c, e, &part->list[i]));
  }
  return HDB_OK;
}

static status build_bound(where_plan *w, const search_term *t, access *a) {
  range_bound *b = t->op & (SEARCH_GT | SEARCH_GE) ? &a->low : &a->high;
  b->present = true;
  b->inclusive = (t->op & (SEARCH_GE | SEARCH_LE)) != 0;
  b->affinity = t->affinity;
  return plan_operand(w->c, t->value, &b->o);
}

/* Which entry columns a covering index decodes, and to which slot columns. */
static status build_map(where_plan *w, const where_item *item, access *a) {
  const index_ *i = a->index;
  uint64_t used = item->s->columns_used;
  a->map = plan_alloc(w->c, (size_t)(i->columns_n + 1) * sizeof *a->map);
  if (!a->map) return plan_no_memory(w->c);
  for (int k = 0; k < i->columns_n; k++) {
    int c = i->columns[k].column;
    bool wanted = c >= 0 && (used >> (c < 63 ? c : 63) & 1);
    for (int before = 0; before < k && wanted; before++)
      if (a->map[before].column == c) wanted = false;
    a->map[k] = (index_map){wanted ? c : -1, i->columns[k].descending};
    if (wanted) a->map_n = k + 1;
  }
  return HDB_OK;
}

/* Secondary index of a WITHOUT ROWID table: where its entries hold the table's key columns. */
static status build_primary_from(where_plan *w, access *a) {
  const index_ *i = a->index, *primary = a->table->primary;
  a->primary_from = plan_alloc(w->c, (size_t)(primary->key_columns_n + 1) * sizeof(int));
  if (!a->primary_from) return plan_no_memory(w->c);
  for (int p = 0; p < primary->key_columns_n; p++) {
    const index_column *pc = &primary->columns[p];
    int found = -1;
    for (int k = 0; k < i->columns_n && found < 0; k++) {
      const index_column *ic = &i->columns[k];
      if (ic->column == pc->column && strcasecmp(ic->collation ? ic->collation : "BINARY", pc->collation ? pc->collation : "BINARY") == 0)
        found = k;
    }
    if (found < 0) return error_set(w->c->err, HDB_CORRUPT_INDEX, "index %s lacks a key column", i->name);
    a->primary_from[p] = found;
  }
  return HDB_OK;
}

static status build_index_access(where_plan *w, const where_item *item, const where_loop *l, access *a) {
  a->kind = ACCESS_INDEX;
  a->index = l->index;
  a->covering = (l->flags & LOOP_COVERING) && !l->index->is_primary;
  for (int k = 0; k < l->equal_n; k++) {
    bool is_rowid = k == l->index->columns_n;
    TRY(build_part(w, l->terms[k], is_rowid ? NULL : &l->index->columns[k], &a->parts[k]));
    a->parts[k].is_rowid = is_rowid;
    mark_used(w, l->terms[k]);
  }
  a->parts_n = l->equal_n;
  if (l->terms_n > l->equal_n && l->equal_n == l->index->columns_n) {
    a->rowid_range = true;
  } else if (l->terms_n > l->equal_n) {
    const index_column *ic = &l->index->columns[l->equal_n];
    a->not_null_range = true;
    a->range_descending = ic->descending;
    TRY(find_collation(w->c->db, ic->collation ? ic->collation : "BINARY", &a->range_collation, w->c->err));
  }
  for (int k = l->equal_n; k < l->terms_n; k++) {
    TRY(build_bound(w, l->terms[k], a));
    mark_used(w, l->terms[k]);
  }
  if (a->covering) TRY(build_map(w, item, a));
  if (a->table->without_rowid && !l->index->is_primary) TRY(build_primary_from(w, a));
  return HDB_OK;
}

static status build_rowid_access(where_plan *w, const where_loop *l, access *a) {
  a->kind = l->equal_n ? ACCESS_ROWID : l->terms_n ? ACCESS_RANGE : ACCESS_SCAN;
  for (int k = 0; k < l->terms_n; k++) {
    if (k < l->equal_n) TRY(build_part(w, l->terms[k], NULL, &a->parts[k]));
    else TRY(build_bound(w, l->terms[k], a));
    mark_used(w, l->terms[k]);
  }
  a->parts_n = l->equal_n;
  if (l->equal_n) a->parts[0].affinity = AFF_NUMERIC;
  return HDB_OK;
}

/* Columns that a SELECT never reads (columns_used is exact there). Bit 63 stands for all from there on. */
static uint64_t unwanted_columns(const compile *c, const where_item *item) {
  if (!c->explain || !c->exact_usage) return 0;
  uint64_t used = item->s->columns_used;
  return used >> 63 ? ~used & ~(1ull << 63) : ~used;
}

static void plain_access(const compile *c, const where_item *item, access *a) {
  a->unwanted = unwanted_columns(c, item);
  a->may_map = c->exact_usage && item->table && !item->table->without_rowid;
  a->slot = item->nested ? -1 : item->slot;
  a->table = item->table;
  a->database = item->s->database;
  a->time = item->s->time_at;
  if (item->node || item->shared) {
    a->kind = item->nested ? ACCESS_NESTED : ACCESS_QUERY;
    a->node = (plan_node *)item->node;
    a->node_columns = item->query ? item->query->columns_n : 0;
    a->shared = item->shared;
    a->affinities = item->affinities;
    a->nested_slots = item->slots;
    a->nested_slots_n = item->slots_n;
  } else if (item->s->is_recursive) {
    a->kind = ACCESS_QUEUE;
    a->queue_state = *(int *)item->s->cte->extra;
  } else {
    a->kind = ACCESS_SCAN;
  }
}

static status add_test(where_plan *w, condition **list, int *n, expr *e) {
  condition *grown = plan_alloc(w->c, (size_t)(*n + 1) * sizeof *grown);
  if (!grown) return plan_no_memory(w->c);
  if (*n) memcpy(grown, *list, (size_t)*n * sizeof *grown);
  *list = grown;
  return expr_compile_filter(w->c, e, &grown[(*n)++].program);
}

static int last_right_before(const where_plan *w, const where_condition *k) {
  int last = -1;
  for (int i = 0; i < w->items_n; i++)
    if (w->items[i].right && (k->join < 0 || i < k->join)) last = i;
  return last;
}

/* Does the expression read rows of an enclosing query, or run a subquery? Then it may change from open to open. */
static bool outer_visit(void *context, expr *e) {
  struct { where_plan *w; bool found; } *o = context;
  if (e->select || ((e->op == EX_COLUMN || e->op == EX_AGG_COLUMN) && !where_mask(o->w, e))) o->found = true;
  return !o->found;
}
static bool reads_outer(where_plan *w, expr *e) {
  struct { where_plan *w; bool found; } o = {w, false};
  ast_walk(e, false, outer_visit, &o);
  return o.found;
}

/* Conditions on the source alone keep rows out of the table: they need no test later. */
static status build_hash_filters(where_plan *w, int at, access *source) {
  const where_item *item = &w->items[at];
  bool outer = item->left || item->right || item->before_right;
  for (int i = 0; i < w->conditions_n; i++) {
    where_condition *k = &w->conditions[i];
    if (k->done || k->is_virtual || k->all != item->self) continue;
    if (outer ? k->join != at : k->outer_on || last_right_before(w, k) >= 0) continue;
    if (!plan_deterministic(k->e) || reads_outer(w, k->e)) continue;
    TRY(add_test(w, &source->filters, &source->filters_n, k->e));
    k->done = true;
  }
  return HDB_OK;
}

/* An automatic index of SQLite holds the key, then every other column that is read, then the row id. */
static status build_hash_order(where_plan *w, const where_item *item, access *a) {
  const table *t = item->s->table;
  int n = t ? t->columns_n : 0;
  uint64_t used = item->s->columns_used;
  a->hash_order = plan_alloc(w->c, (size_t)(n + 1) * sizeof(int));
  if (!a->hash_order) return plan_no_memory(w->c);
  for (int c = 0; c < n; c++) {
    if (!(used >> (c < 63 ? c : 63) & 1) || (item->table && c == t->rowid_column)) continue;
    bool is_key = false;
    for (int k = 0; k < a->parts_n && !is_key; k++) is_key = a->parts[k].e->op == EX_COLUMN && a->parts[k].e->column == c;
    if (!is_key && !(item->table && t->columns[c].generated == 1)) a->hash_order[a->hash_order_n++] = c;
  }
  return HDB_OK;
}

/* A source read into a hash table by the columns that are compared with what stands before it. */
static status build_hash_access(where_plan *w, int at, const where_loop *l, source_mask ready, access *a) {
  where_item *item = &w->items[at];
  access *source = plan_alloc(w->c, sizeof *source);
  if (!source) return plan_no_memory(w->c);
  plain_access(w->c, item, source);
  source->materialize = false;
  *a = (access){.kind = ACCESS_HASH, .slot = source->slot, .table = source->table, .database = source->database,
                .alternatives = source, .alternatives_n = 1, .node = source->node, .node_columns = source->node_columns,
                .affinities = source->affinities};
  int most = w->terms_n + 1;
  a->parts = plan_alloc(w->c, (size_t)most * sizeof *a->parts);
  a->hash_build = plan_alloc(w->c, (size_t)most * sizeof *a->hash_build);
  a->hash_specs = plan_alloc(w->c, (size_t)most * sizeof *a->hash_specs);
  if (!a->parts || !a->hash_build || !a->hash_specs) return plan_no_memory(w->c);
  for (int i = 0; i < w->terms_n; i++) {
    search_term *t = w->terms[i];
    where_condition *k = &w->conditions[t->condition];
    if (t->slot != item->slot || !(t->op & (SEARCH_EQ | SEARCH_IS)) || (t->right & ~ready) || k->done || t->derived) continue;
    if (t->column < -1 || (t->collation && !t->collation->builtin)) continue;
    bool outer = item->left || item->right || item->before_right;
    if (outer ? k->join != at : k->outer_on && k->join != at) continue;
    key_part *part = &a->parts[a->parts_n];
    TRY(build_part(w, t, NULL, part));
    part->collation = t->collation;
    a->hash_specs[a->parts_n] = (key_spec){.c = t->collation};
    TRY(plan_operand(w->c, t->e, &a->hash_build[a->parts_n]));
    a->parts_n++;
    mark_used(w, t);
  }
  TRY(build_hash_filters(w, at, source));
  return build_hash_order(w, item, a);
}

static status build_search(where_plan *w, const where_item *item, const where_loop *l, access *a) {
  a->parts = plan_alloc(w->c, (size_t)(l->equal_n + 1) * sizeof *a->parts);
  if (!a->parts) return plan_no_memory(w->c);
  return l->index ? build_index_access(w, item, l, a) : build_rowid_access(w, l, a);
}

/* One access for each side of the OR, with what is left of that side to test now: what reads sources that come later
 * waits for the whole OR's own test. */
static status build_or_access(where_plan *w, const where_item *item, const where_loop *l, source_mask ready, access *a) {
  a->kind = ACCESS_OR;
  a->alternatives_n = l->arms_n;
  a->alternatives = plan_alloc(w->c, (size_t)l->arms_n * sizeof *a->alternatives);
  if (!a->alternatives) return plan_no_memory(w->c);
  for (int i = 0; i < l->arms_n; i++) {
    where_plan *arm = l->arms[i].w;
    access *one = &a->alternatives[i];
    plain_access(w->c, item, one);
    TRY(build_search(arm, item, l->arms[i].loop, one));
    for (int k = 0; k < arm->conditions_n; k++) {
      const where_condition *test = &arm->conditions[k];
      if (!test->done && !(test->all & ~ready)) TRY(add_test(w, &one->filters, &one->filters_n, test->e));
    }
  }
  return HDB_OK;
}

static status build_access(where_plan *w, int level, source_mask ready, access *a) {
  const where_loop *l = w->path.loops[level];
  const where_item *item = &w->items[l->item];
  if (l->flags & LOOP_AUTO) return build_hash_access(w, l->item, l, ready, a);
  plain_access(w->c, item, a);
  if (item->node || item->shared || item->s->is_recursive) {
    a->materialize = !item->shared && item->node && !item->nested && !item->s->correlated && (level > 0 || item->right);
    return HDB_OK;
  }
  if (item->module) return where_build_virtual(w, item, l, a);
  if (l->flags & LOOP_OR) return build_or_access(w, item, l, ready | l->self, a);
  a->reverse = (w->path.reversed & l->self) != 0;
  a->one_row = (l->flags & LOOP_ONE_ROW) != 0;
  return build_search(w, item, l, a);
}

/* ---- EXPLAIN QUERY PLAN ---- */
static const char *column_name(const where_plan *w, const where_item *item, const index_ *i, int k) {
  int c = i && k < i->columns_n ? i->columns[k].column : -1;
  if (c == -1) return "rowid";
  if (c == -2) return "<expr>";
  return item->table->columns[c].name;
}

static void explain_terms(const where_plan *w, const where_item *item, const where_loop *l, buf *out) {
  int n = 0;
  if (l->terms_n == 0) return;
  buf_text(out, " (");
  for (int k = 0; k < l->equal_n; k++) buf_printf(out, "%s%s=?", n++ ? " AND " : "", column_name(w, item, l->index, k));
  for (int k = l->equal_n; k < l->terms_n; k++)
    buf_printf(out, "%s%s%s?", n++ ? " AND " : "", column_name(w, item, l->index, l->equal_n),
               l->terms[k]->op & (SEARCH_GT | SEARCH_GE) ? ">" : "<");
  buf_text(out, ")");
}

static void explain_level(where_plan *w, const where_loop *l, const access *a) {
  const where_item *item = &w->items[l->item];
  if (l->flags & LOOP_OR) {
    int outer = explain_push(w->c, "MULTI-INDEX OR");
    for (int i = 0; i < l->arms_n; i++) {
      int former = explain_push(w->c, "INDEX %d", i + 1);
      explain_level(l->arms[i].w, l->arms[i].loop, &a->alternatives[i]);
      explain_pop(w->c, former);
    }
    explain_pop(w->c, outer);
    return;
  }
  buf out = BUF_INIT;
  bool search = l->terms_n > 0 && !item->module;
  const char *name = item->s->alias ? item->s->alias : item->s->name;
  buf_printf(&out, "%s %s", search ? "SEARCH" : "SCAN", name ? name : item->nested ? "(join)" : "(subquery)");
  if (l->flags & LOOP_AUTO) {
    buf_printf(&out, " USING AUTOMATIC %sCOVERING INDEX (", a->alternatives->filters_n ? "PARTIAL " : "");
    for (int k = 0; k < a->parts_n; k++) {
      const expr *e = a->parts[k].e;
      const char *column = item->table && e->column >= 0 ? item->table->columns[e->column].name : e->text;
      buf_printf(&out, "%s%s=?", k ? " AND " : "", column ? column : "rowid");
    }
    buf_text(&out, ")");
  } else if (l->index) {
    if (l->index->is_primary) {
      if (search) buf_text(&out, " USING PRIMARY KEY");
    } else if (l->flags & LOOP_COVERING) {
      buf_printf(&out, " USING COVERING INDEX %s", l->index->name);
    } else {
      buf_printf(&out, " USING INDEX %s", l->index->name);
    }
    explain_terms(w, item, l, &out);
  } else if (search) {
    buf_text(&out, " USING INTEGER PRIMARY KEY");
    explain_terms(w, item, l, &out);
  }
  if (item->module) buf_printf(&out, " VIRTUAL TABLE INDEX %d:%s", a->plan_number, a->plan_text ? a->plan_text : "");
  if (item->left) buf_text(&out, " LEFT-JOIN");
  else if (item->right) buf_text(&out, " RIGHT-JOIN");
  explain_add(w->c, "%.*s", (int)out.n, out.p ? (const char *)out.p : "");
  buf_free(&out);
}

/* ---- conditions ---- */
static status place_conditions(where_plan *w, join_node *j) {
  int level_of[64];
  for (int i = 0; i < w->items_n; i++) level_of[w->path.loops[i]->item] = i;
  for (int i = 0; i < w->conditions_n; i++) {
    where_condition *k = &w->conditions[i];
    if (k->done || k->is_virtual) continue;
    if (k->outer_on) {
      level *l = &j->levels[level_of[k->join]];
      TRY(add_test(w, &l->on, &l->on_n, k->e));
      continue;
    }
    if (expr_is_constant(k->e) || w->items_n == 0) {
      TRY(add_test(w, &j->constant, &j->constant_n, k->e));
      continue;
    }
    int at = 0;
    for (int m = 0; m < w->items_n; m++)
      if ((k->all & w->items[m].self) && level_of[m] > at) at = level_of[m];
    int right = last_right_before(w, k);
    if (right >= 0 && level_of[right] > at) at = level_of[right];
    TRY(add_test(w, &j->levels[at].where, &j->levels[at].where_n, k->e));
  }
  return HDB_OK;
}

status where_build(where_plan *w, join_node **out) {
  join_node *j = plan_node_new(w->c, &join_class, sizeof *j, 0);
  if (!j) return plan_no_memory(w->c);
  j->levels_n = w->items_n;
  j->levels = plan_alloc(w->c, (size_t)(w->items_n + 1) * sizeof *j->levels);
  if (!j->levels) return plan_no_memory(w->c);
  source_mask ready = 0;
  for (int i = 0; i < w->items_n; i++) {
    const where_loop *l = w->path.loops[i];
    const where_item *item = &w->items[l->item];
    level *v = &j->levels[i];
    TRY(build_access(w, i, ready, &v->a));
    explain_level(w, l, &v->a);
    v->left = item->left;
    v->right = item->right;
    if (v->right) {
      j->has_right = true;
      v->full = plan_alloc(w->c, sizeof *v->full);
      if (!v->full) return plan_no_memory(w->c);
      plain_access(w->c, item, v->full);
      if (item->module) {
        where_loop all = {.item = l->item};
        TRY(where_build_virtual(w, item, &all, v->full));
      }
      if (item->query && !item->shared) { /* one materialisation for both */
        struct shared_rows *shared = plan_node_new(w->c, &shared_class, sizeof *shared, item->query->columns_n);
        if (!shared) return plan_no_memory(w->c);
        shared->source = item->node;
        shared->affinities = item->affinities;
        v->a.shared = v->full->shared = shared;
      }
    }
    ready |= l->self;
  }
  TRY(place_conditions(w, j));
  if (j->levels_n == 1 && !j->levels[0].left && !j->levels[0].right) j->node.k = &single_class;
  *out = j;
  return HDB_OK;
}
