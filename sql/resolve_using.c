/* NATURAL and USING become equalities in the right source's ON.
 *
 * The left side is the leftmost source that has the column; where a RIGHT or FULL join is in the list, the coalesce of
 * all of them, since any may be the null row. source.using_names then holds the common columns, also for NATURAL, for
 * what * shows and for the lookup of the bare name.
 */
#include "sql/resolve.h"

typedef struct holder { /* sources that have the column */
  const char *name;
  source *sources[MATCH_PARTS];
  int columns[MATCH_PARTS];
  int n;
} holder;

static status collect(void *context, source *s) {
  holder *h = context;
  int column = source_column(s, h->name);
  if (column >= 0 && h->n < MATCH_PARTS) h->sources[h->n] = s, h->columns[h->n++] = column;
  return HDB_OK;
}

static bool list_has_right(const source_list *list) {
  for (int i = 0; i < list->n; i++) {
    if (list->items[i].join & JOIN_RIGHT) return true;
    if (list->items[i].nested && list_has_right(list->items[i].nested)) return true;
  }
  return false;
}

static expr *column_node(compile *c, source *s, int column, int32_t offset) {
  expr *e = ast_expr(c->memory, EX_COLUMN, NULL, NULL);
  if (!e) return NULL;
  e->offset = offset;
  return bind_column(c, s, column, e) == HDB_OK ? e : NULL;
}

static status left_side(compile *c, source_list *from, int i, const char *name, int32_t offset, expr **out) {
  holder h = {.name = name};
  source_list before = {i, i, from->items};
  TRY(each_source(&before, collect, &h));
  *out = NULL;
  if (!h.n) return HDB_OK;
  if (!list_has_right(from) || h.n == 1) {
    *out = column_node(c, h.sources[0], h.columns[0], offset);
    return *out ? HDB_OK : resolve_no_memory(c);
  }
  for (int k = 1; k < h.n; k++) {
    const name_list *names = h.sources[k]->using_names;
    bool named = false;
    for (int j = 0; names && j < names->n; j++) named = named || same_word(names->items[j].name, name);
    if (!named && h.sources[k] >= from->items && h.sources[k] < from->items + i)
      return resolve_error(c, -1, "ambiguous reference to %s in USING()", name);
  }
  column_match m = {.count = 1, .parts_n = h.n};
  for (int k = 0; k < h.n; k++) m.parts[k].source = h.sources[k], m.parts[k].column = h.columns[k];
  if (!(*out = ast_expr(c->memory, EX_ID, NULL, NULL))) return resolve_no_memory(c);
  (*out)->offset = offset;
  return match_expr(c, &m, *out);
}

static status add_equality(compile *c, source_list *from, int i, struct name_item *name) {
  source *s = &from->items[i];
  expr *left;
  TRY(left_side(c, from, i, name->name, name->offset, &left));
  column_match m;
  source_list right = {1, 1, s};
  match_column(&right, 1, c, NULL, NULL, name->name, &m);
  if (!left || !m.count)
    return resolve_error(c, -1, "cannot join using column %s - column not present in both tables", name->name);
  expr *e = ast_expr(c->memory, EX_ID, NULL, NULL);
  if (!e) return resolve_no_memory(c);
  TRY(match_expr(c, &m, e));
  expr *equal = ast_expr(c->memory, EX_EQ, left, e);
  if (!equal) return resolve_no_memory(c);
  equal->offset = name->offset;
  s->on = s->on ? ast_expr(c->memory, EX_AND, s->on, equal) : equal;
  return s->on ? HDB_OK : resolve_no_memory(c);
}

typedef struct common {
  compile *c;
  source_list *before;
  name_list *out;
} common;

static status add_common(void *context, source *s) {
  common *x = context;
  const table *t = s->table;
  for (int k = 0; k < t->columns_n; k++) {
    if (t->columns[k].hidden) continue;
    holder h = {.name = t->columns[k].name};
    TRY(each_source(x->before, collect, &h));
    bool known = false;
    for (int j = 0; j < x->out->n; j++) known = known || same_word(x->out->items[j].name, h.name);
    if (!h.n || known) continue;
    if (h.sources[0]->table && ((const table *)h.sources[0]->table)->columns[h.columns[0]].hidden) continue;
    if (x->out->n == x->out->capacity) {
      int capacity = x->out->capacity ? x->out->capacity * 2 : 8;
      struct name_item *items = arena_zero(x->c->memory, (size_t)capacity * sizeof *items);
      if (!items) return resolve_no_memory(x->c);
      if (x->out->n) memcpy(items, x->out->items, (size_t)x->out->n * sizeof *items);
      x->out->items = items;
      x->out->capacity = capacity;
    }
    x->out->items[x->out->n++] = (struct name_item){.name = h.name, .offset = s->offset, .column = k};
  }
  return HDB_OK;
}

static status natural_names(compile *c, source_list *from, int i) {
  source *s = &from->items[i];
  if (s->on || s->using_names) return resolve_error(c, -1, "a NATURAL join may not have an ON or USING clause");
  source_list before = {i, i, from->items}, right = {1, 1, s};
  common x = {c, &before, arena_zero(c->memory, sizeof(name_list))};
  if (!x.out) return resolve_no_memory(c);
  TRY(each_source(&right, add_common, &x));
  s->using_names = x.out->n ? x.out : NULL;
  return HDB_OK;
}

status open_using(compile *c, source_list *from) {
  for (int i = 1; i < from->n; i++) {
    source *s = &from->items[i];
    if (s->join & JOIN_NATURAL) TRY(natural_names(c, from, i));
    for (int k = 0; s->using_names && k < s->using_names->n; k++) TRY(add_equality(c, from, i, &s->using_names->items[k]));
  }
  return HDB_OK;
}

/* ---- a parenthesised join: SQLite makes a SELECT * of it, whose names must be clear ---- */
static const char *visible_name(const source *s) { return s->alias ? s->alias : s->table ? ((const table *)s->table)->name : ""; }

static status check_twins(compile *c, const source *a, const source *b) {
  const table *t = a->table;
  if (!t || !b->table || !*visible_name(a) || !same_word(visible_name(a), visible_name(b))) return HDB_OK;
  if (!a->alias && !b->alias && a->database != b->database) return HDB_OK;
  for (int k = 0; k < t->columns_n; k++)
    if (!t->columns[k].hidden && source_column(b, t->columns[k].name) >= 0)
      return resolve_error(c, -1, "ambiguous column name: %s.%s", visible_name(a), t->columns[k].name);
  return HDB_OK;
}

status check_parenthesised(compile *c, source_list *list) {
  for (int i = 1; i < list->n; i++) {
    for (int k = 0; k < i; k++) TRY(check_twins(c, &list->items[k], &list->items[i]));
    const name_list *names = list->items[i].using_names;
    for (int k = 0; names && k < names->n; k++) {
      column_match m;
      match_column(list, list->n, c, NULL, NULL, names->items[k].name, &m);
      if (m.count > 1) return resolve_error(c, -1, "ambiguous column name: %s", names->items[k].name);
    }
  }
  return HDB_OK;
}
