/* `*` and `t.*` in result lists become one column node each.
 *
 * Left to right through the sources, into parenthesised joins. Without a table name a column that a USING (or NATURAL)
 * of its own or an enclosing join names is left out: it has been shown by the table further left. A column left of a
 * RIGHT or FULL join that a later USING names stays a bare name, so that the lookup makes the coalesce of it.
 */
#include "sql/resolve.h"

typedef struct frame { /* where we are in nested FROM lists */
  source_list *list;
  int i;
  struct frame *outer;
} frame;

typedef struct star {
  compile *c;
  source_list *from;
  expr *e;
  expr_list *out;
  int found; /* tables that t.* fits */
} star;

static bool names_have(const name_list *names, const char *name) {
  for (int i = 0; names && i < names->n; i++)
    if (same_word(names->items[i].name, name)) return true;
  return false;
}

static bool hidden_by_using(const frame *f, const char *name) {
  for (; f; f = f->outer)
    if (f->i > 0 && names_have(f->list->items[f->i].using_names, name)) return true;
  return false;
}

static bool joined_later(const frame *f, const char *name) {
  bool right = false, named = false;
  for (; f; f = f->outer)
    for (int j = f->i + 1; j < f->list->n; j++) {
      right = right || f->list->items[j].join & JOIN_RIGHT;
      named = named || names_have(f->list->items[j].using_names, name);
    }
  return right && named;
}

static status check_same_names(star *x, const source *s, const char *name) {
  const char *table_name = s->alias ? s->alias : ((const table *)s->table)->name;
  column_match m;
  const char *schema = s->database >= 0 ? x->c->db->databases[s->database].name : NULL;
  match_column(x->from, x->from->n, x->c, schema, table_name, name, &m);
  if (m.count < 2) return HDB_OK;
  if (!schema) schema = "*";
  return resolve_error(x->c, x->e->offset, "ambiguous column name: %s.%s.%s", schema, table_name, name);
}

static status add_column(star *x, const frame *f, source *s, int column) {
  compile *c = x->c;
  const table *t = s->table;
  const char *name = t->columns[column].name;
  bool bare = joined_later(f, name);
  expr *e = ast_expr(c->memory, bare ? EX_ID : EX_COLUMN, NULL, NULL);
  if (!e) return resolve_no_memory(c);
  e->offset = x->e->offset;
  if (bare) {
    e->text = name;
    e->text_n = (uint32_t)strlen(name);
    e->quoted_name = true;
  } else {
    TRY(bind_column(c, s, column, e));
  }
  x->out = ast_list_add(c->memory, x->out, e);
  if (!x->out) return resolve_no_memory(c);
  struct expr_item *item = &x->out->items[x->out->n - 1];
  item->name = name;
  if (c->db->pragmas.full_column_names && !c->db->pragmas.short_column_names)
    item->name = arena_printf(c->memory, "%s.%s", s->alias ? s->alias : t->name, name);
  item->span = slice_str(name);
  return HDB_OK;
}

static status check_once(star *x, const table *t, int column) {
  for (int i = 0; i < column; i++)
    if (same_word(t->columns[i].name, t->columns[column].name))
      return resolve_error(x->c, -1, "ambiguous column name: %s", t->columns[column].name);
  return HDB_OK;
}

static bool shares_name(const star *x, const source *s) {
  const char *name = s->alias ? s->alias : ((const table *)s->table)->name;
  int same = 0;
  for (int i = 0; i < x->from->n; i++) {
    const source *o = &x->from->items[i];
    if (o->table) same += same_word(o->alias ? o->alias : ((const table *)o->table)->name, name);
  }
  return *name && same > 1;
}

static status star_source(star *x, const frame *f, source *s) {
  const table *t = s->table;
  if (x->e->table && !source_is_named(x->c, s, x->e->schema, x->e->table)) return HDB_OK;
  x->found++;
  bool twice = shares_name(x, s);
  for (int i = 0; i < t->columns_n; i++) {
    if (t->columns[i].hidden) continue;
    if (!x->e->table && hidden_by_using(f, t->columns[i].name)) continue;
    if (twice) TRY(check_same_names(x, s, t->columns[i].name));
    if (s->select && s->select->is_join) TRY(check_once(x, t, i));
    TRY(add_column(x, f, s, i));
  }
  return HDB_OK;
}

static status star_list(star *x, source_list *list, frame *outer) {
  for (int i = 0; i < list->n; i++) {
    frame f = {list, i, outer};
    source *s = &list->items[i];
    if (!s->table && s->nested) TRY(star_list(x, s->nested, &f));
    else TRY(star_source(x, &f, s));
  }
  return HDB_OK;
}

static bool has_star(const expr_list *list) {
  for (int i = 0; list && i < list->n; i++)
    if (list->items[i].e && list->items[i].e->op == EX_STAR) return true;
  return false;
}

static status expand_list(compile *c, expr_list *list, source_list *from, expr_list *out) {
  star x = {c, from, NULL, out, 0};
  for (int i = 0; i < list->n; i++) {
    expr *e = list->items[i].e;
    if (e->op != EX_STAR) {
      if (!(x.out = ast_list_add(c->memory, x.out, e))) return resolve_no_memory(c);
      x.out->items[x.out->n - 1] = list->items[i];
      continue;
    }
    if (!from || !from->n) {
      if (e->table) return resolve_error(c, -1, "no such table: %s", e->table);
      return resolve_error(c, -1, "no tables specified");
    }
    x.e = e;
    x.found = 0;
    TRY(star_list(&x, from, NULL));
    if (!x.found && e->table) return resolve_error(c, -1, "no such table: %s", e->table);
  }
  if (x.out->n > c->db->limits[HDB_LIMIT_COLUMN] && c->db->limits[HDB_LIMIT_COLUMN] > 0)
    return resolve_error(c, -1, "too many columns in result set");
  *list = *x.out;
  return HDB_OK;
}

static expr_list *empty_list(compile *c) { return arena_zero(c->memory, sizeof(expr_list)); }

status expand_stars(compile *c, select *s) {
  if (s->is_values || !has_star(s->columns)) return HDB_OK;
  expr_list *out = empty_list(c);
  if (!out) return resolve_no_memory(c);
  return expand_list(c, s->columns, s->from, out);
}

/* RETURNING *: the changed table's own columns. */
status expand_returning(compile *c, scope *s, expr_list *list) {
  if (!has_star(list)) return HDB_OK;
  const table *t = s->table;
  source one = {.slot = s->slot, .table = t, .database = t && t->schema ? t->schema->database : -1};
  source_list alone = {1, 1, &one};
  for (int i = 0; i < list->n; i++)
    if (list->items[i].e->op == EX_STAR && list->items[i].e->table)
      return resolve_error(c, -1, "RETURNING may not use \"TABLE.*\" wildcards");
  expr_list *out = empty_list(c);
  if (!out) return resolve_no_memory(c);
  source_list *from = &alone;
  source_list first = {1, 1, NULL};
  if (!t && s->from && s->from->n) {
    first.items = s->from->items;
    from = &first;
  }
  return expand_list(c, list, from, out);
}
