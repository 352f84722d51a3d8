/* Nodes of queries: FROM terms and joins, select cores, compounds, WITH, windows.
 *
 * A compound leans left: build_compound makes the newest arm the head. Rules that SQLite checks when the whole query
 * has been read (ORDER BY before UNION, too many arms) are checked in finish_select. Fails by parse_fail only (P1).
 */
#include "grammar/parser.h"
#include "parse.h"
#include <stdlib.h>

enum { MAX_SOURCES = 200 };

/* ---- FROM ---- */
uint8_t build_join_kind(parser *p, token a, token b, token c) {
  static const struct {
    const char *word;
    uint8_t kind;
  } words[] = {{"natural", JOIN_NATURAL},
               {"left", JOIN_LEFT | JOIN_OUTER},
               {"outer", JOIN_OUTER},
               {"right", JOIN_RIGHT | JOIN_OUTER},
               {"full", JOIN_LEFT | JOIN_RIGHT | JOIN_OUTER},
               {"inner", JOIN_INNER},
               {"cross", JOIN_INNER | JOIN_CROSS}};
  token all[3] = {a, b, c};
  unsigned kind = 0;
  bool bad = false;
  for (int i = 0; i < 3 && all[i].p; i++) {
    size_t k = 0;
    while (k < sizeof words / sizeof words[0] && !token_is(all[i], words[k].word)) k++;
    if (k < sizeof words / sizeof words[0])
      kind |= words[k].kind;
    else
      bad = true;
  }
  if ((kind & (JOIN_INNER | JOIN_OUTER)) == (JOIN_INNER | JOIN_OUTER)) bad = true;
  if ((kind & (JOIN_OUTER | JOIN_LEFT | JOIN_RIGHT)) == JOIN_OUTER) bad = true;
  if (bad) {
    parse_fail(p, NULL, "unknown join type: %.*s%s%.*s%s%.*s", (int)a.n, (const char *)a.p, b.p ? " " : "", (int)b.n,
               b.p ? (const char *)b.p : "", c.p ? " " : "", (int)c.n, c.p ? (const char *)c.p : "");
    return JOIN_INNER;
  }
  return (uint8_t)(kind ? kind : JOIN_INNER);
}

/* A new term at the end of the list; prefix->list is replaced by the list that holds it. */
source *build_source(parser *p, struct join_prefix *prefix, token start, token as, struct on_using on) {
  source_list *list = prefix->list;
  if (!list && (on.on || on.names)) {
    parse_fail(p, NULL, "a JOIN clause is required before %s", on.on ? "ON" : "USING");
    return NULL;
  }
  if (!list && !(list = arena_zero(p->memory, sizeof *list))) return NULL;
  prefix->list = list;
  if (list->n == list->capacity) {
    if (list->n >= MAX_SOURCES) {
      parse_fail(p, NULL, "too many FROM clause terms, max: %d", MAX_SOURCES);
      return NULL;
    }
    int capacity = list->capacity ? list->capacity * 2 : 1;
    source *items = arena_zero(p->memory, sizeof *items * (size_t)capacity);
    if (!items) return NULL;
    if (list->n) memcpy(items, list->items, sizeof *items * (size_t)list->n);
    list->items = items;
    list->capacity = capacity;
  }
  source *s = &list->items[list->n++];
  s->offset = offset_of(p, start.p);
  s->join = prefix->join;
  s->on = on.on;
  s->using_names = on.names;
  if (as.p) s->alias = token_name(p, as);
  return s;
}

source_list *build_table(parser *p, struct join_prefix prefix, token schema, token name, token as,
                         struct index_hint hint, struct table_time time, struct on_using on) {
  source *s = build_source(p, &prefix, name, as, on);
  if (!s) return prefix.list;
  if (schema.p) s->schema = token_name(p, schema);
  s->name = token_name(p, name);
  if (hint.by.p) s->indexed_by = token_name(p, hint.by);
  s->not_indexed = hint.not_indexed;
  s->time = time.kind, s->time_from = time.from, s->time_to = time.to;
  return prefix.list;
}

source_list *build_call_source(parser *p, struct join_prefix prefix, token schema, token name, expr_list *arguments,
                               token as, struct on_using on) {
  source *s = build_source(p, &prefix, name, as, on);
  if (!s) return prefix.list;
  if (schema.p) s->schema = token_name(p, schema);
  s->name = token_name(p, name);
  s->arguments = arguments;
  s->is_call = true;
  return prefix.list;
}

source_list *build_query_source(parser *p, struct join_prefix prefix, token first, select *query, token as,
                                struct on_using on) {
  source *s = build_source(p, &prefix, first, as, on);
  if (s) s->select = query;
  return prefix.list;
}

/* ( a join b ). Where it changes nothing the parentheses go: at the start without a name, and around one term, whose
 * own alias gives way to the outer one, present or not. */
source_list *build_nested_source(parser *p, struct join_prefix prefix, token first, source_list *nested, token as,
                                 struct on_using on) {
  if (!nested) return prefix.list;
  if (!prefix.list && !as.p && !on.on && !on.names) return nested;
  source *s = build_source(p, &prefix, first, as, on);
  if (!s) return prefix.list;
  if (nested->n > 1) {
    s->nested = nested;
    return prefix.list;
  }
  source inner = nested->items[0];
  inner.alias = s->alias, inner.join = s->join, inner.on = s->on, inner.using_names = s->using_names;
  *s = inner;
  return prefix.list;
}

source_list *build_lone_source(parser *p, token schema, token name, expr_list *arguments, bool is_call) {
  struct join_prefix prefix = {NULL, 0};
  source *s = build_source(p, &prefix, name, (token){0, 0}, (struct on_using){0, 0});
  if (!s) return NULL;
  if (schema.p) s->schema = token_name(p, schema);
  s->name = token_name(p, name);
  s->arguments = arguments;
  s->is_call = is_call;
  return prefix.list;
}

/* ---- select ---- */
select *build_select(parser *p, token first, bool distinct, expr_list *columns, source_list *from, expr *where,
                     expr_list *group_by, expr *having, window *windows, expr_list *order_by, struct limit_clause limit) {
  select *s = arena_zero(p->memory, sizeof *s);
  if (!s) return NULL;
  s->text_offset = offset_of(p, first.p);
  s->distinct = distinct, s->columns = columns, s->from = from, s->where = where, s->group_by = group_by;
  s->having = having, s->windows = windows, s->order_by = order_by, s->limit = limit.limit, s->offset = limit.offset;
  return s;
}

select *build_values(parser *p, token first, select *values, expr_list *row) {
  if (!row) return values;
  if (!values) {
    if (!(values = arena_zero(p->memory, sizeof *values))) return NULL;
    values->is_values = true;
    values->text_offset = offset_of(p, first.p);
    values->columns = row;
  }
  int n = values->values_n;
  if ((n & (n - 1)) == 0) { /* 0, 1, 2, 4, ...: full */
    expr_list **rows = arena_alloc(p->memory, sizeof *rows * (size_t)(n ? n * 2 : 1));
    if (!rows) return values;
    if (n) memcpy(rows, values->values, sizeof *rows * (size_t)n);
    values->values = rows;
  }
  values->values[values->values_n++] = row;
  if (row->n != values->columns->n)
    parse_fail_late(p, NULL, "all VALUES must have the same number of terms");
  return values;
}

select *build_compound(parser *p, select *prior, enum compound_op op, select *arm) {
  if (!prior || !arm) return NULL;
  arm->prior = prior;
  arm->compound = (uint8_t)op;
  return arm;
}

static const char *compound_name(uint8_t op) {
  switch (op) {
  case COMPOUND_UNION_ALL: return "UNION ALL";
  case COMPOUND_INTERSECT: return "INTERSECT";
  case COMPOUND_EXCEPT: return "EXCEPT";
  default: return "UNION";
  }
}

select *finish_select(parser *p, with *with, select *s) {
  if (!s) return NULL;
  if (with) s->with = with;
  int arms = 1, limit = p->options->max_compound > 0 ? p->options->max_compound : 500;
  for (const select *a = s; a->prior; a = a->prior, arms++) {
    if (!a->prior->order_by && !a->prior->limit) continue;
    parse_fail(p, NULL, "%s clause should come after %s not before", a->prior->order_by ? "ORDER BY" : "LIMIT",
               compound_name(a->compound));
    return s;
  }
  if (arms > limit) parse_fail(p, NULL, "too many terms in compound SELECT");
  return s;
}

static int32_t tall_list(int32_t h, const expr_list *list) {
  if (list)
    for (int i = 0; i < list->n; i++)
      if (list->items[i].e && list->items[i].e->height > h) h = list->items[i].e->height;
  return h;
}
static int32_t tall(int32_t h, const expr *e) { return e && e->height > h ? e->height : h; }

/* The height of the tallest expression in a query, subqueries in FROM not counted (the parser's stack bounds them). */
int32_t select_height(const select *s) {
  int32_t h = 0;
  for (; s; s = s->prior) {
    h = tall_list(h, s->columns), h = tall_list(h, s->group_by), h = tall_list(h, s->order_by);
    h = tall(h, s->where), h = tall(h, s->having), h = tall(h, s->limit), h = tall(h, s->offset);
    for (int i = 1; i < s->values_n; i++) h = tall_list(h, s->values[i]);
  }
  return h;
}

/* ---- WITH ---- */
with *build_with(parser *p, with *list, token name, name_list *columns, uint8_t materialized, select *query) {
  if (!list && !(list = arena_zero(p->memory, sizeof *list))) return NULL;
  const char *text = token_name(p, name);
  if (!text) return list;
  for (int i = 0; i < list->n; i++) {
    token other = {(const uint8_t *)list->items[i].name, (uint32_t)strlen(list->items[i].name)};
    if (token_is(other, text)) {
      parse_fail(p, NULL, "duplicate WITH table name: %s", text);
      return list;
    }
  }
  if (list->n == list->capacity) {
    int capacity = list->capacity ? list->capacity * 2 : 2;
    cte *items = arena_zero(p->memory, sizeof *items * (size_t)capacity);
    if (!items) return list;
    if (list->n) memcpy(items, list->items, sizeof *items * (size_t)list->n);
    list->items = items;
    list->capacity = capacity;
  }
  cte *c = &list->items[list->n++];
  c->name = text, c->columns = columns, c->materialized = materialized, c->select = query;
  c->offset = offset_of(p, name.p);
  return list;
}

/* ---- windows ---- */
window *build_window(parser *p, token first, token base, expr_list *partition_by, expr_list *order_by, window *frame) {
  window *w = frame ? frame : arena_zero(p->memory, sizeof *w);
  if (!w) return NULL;
  w->offset = offset_of(p, first.p);
  if (base.p) w->base = token_name(p, base);
  w->partition_by = partition_by, w->order_by = order_by;
  if (!frame) w->frame = FRAME_RANGE, w->start = BOUND_UNBOUNDED_PRECEDING, w->end = BOUND_CURRENT;
  return w;
}

window *build_frame(parser *p, uint8_t kind, struct frame_side start, struct frame_side end, uint8_t exclude) {
  bool backward = (start.kind == BOUND_CURRENT && end.kind == BOUND_PRECEDING) ||
                  (start.kind == BOUND_FOLLOWING && (end.kind == BOUND_PRECEDING || end.kind == BOUND_CURRENT));
  if (backward) parse_fail(p, NULL, "unsupported frame specification");
  window *w = arena_zero(p->memory, sizeof *w);
  if (!w) return NULL;
  w->has_frame = true;
  w->frame = kind, w->start = start.kind, w->end = end.kind, w->exclude = exclude;
  w->start_value = start.value, w->end_value = end.value;
  return w;
}
