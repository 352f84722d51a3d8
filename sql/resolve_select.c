/* Names of a whole query: its clauses in SQLite's order, ordinals, compounds; and the entry points of the resolver.
 *
 * Order (it decides which error is told): LIMIT, subqueries of FROM, result columns, HAVING, ON and WHERE, arguments
 * of table functions, ORDER BY, GROUP BY. ORDER BY and GROUP BY see nothing of outer queries. The arms of a compound
 * from the last to the first, but of a recursive CTE first the arms that are not recursive: they give the types.
 */
#include <stdio.h>

#include "sql/resolve.h"

const char *english_ordinal(int n, char *out) {
  static const char *const ends[] = {"th", "st", "nd", "rd"};
  int last = n % 10;
  if (last > 3 || n / 10 % 10 == 1) last = 0;
  snprintf(out, 16, "%d%s", n, ends[last]);
  return out;
}

status alias_copy(compile *c, expr_list *columns, int k, const expr *over, expr **out) {
  expr *copy = ast_copy_expr(c->memory, columns->items[k].e);
  if (!copy) return resolve_no_memory(c);
  if (over && over->op == EX_COLLATE) {
    expr *collate = ast_expr(c->memory, EX_COLLATE, copy, NULL);
    if (!collate) return resolve_no_memory(c);
    collate->text = over->text;
    collate->text_n = over->text_n;
    collate->collation_explicit = true;
    copy = collate;
  }
  *out = copy;
  return HDB_OK;
}

/* ---- ORDER BY and GROUP BY ---- */
static bool integer_term(const expr *e, int64_t *value) {
  if (!e) return false;
  switch (e->op) {
  case EX_INT: *value = e->i; return e->i >= INT32_MIN && e->i <= INT32_MAX;
  case EX_PLUS: return integer_term(e->left, value);
  case EX_NEG:
    if (!integer_term(e->left, value)) return false;
    *value = -*value;
    return true;
  default: return false;
  }
}

static int alias_number(const expr_list *columns, const expr *e) {
  if (e->op != EX_ID) return 0;
  for (int i = 0; i < columns->n; i++)
    if (columns->items[i].name && same_word(columns->items[i].name, e->text)) return i + 1;
  return 0;
}

static status out_of_range(compile *c, int term, const char *clause, int columns, int32_t offset) {
  char ordinal[16];
  return resolve_error(c, offset, "%s %s BY term out of range - should be between 1 and %d",
                       english_ordinal(term + 1, ordinal), clause, columns);
}

static bool find_aggregate(void *context, expr *e) {
  if (e->op == EX_AGGREGATE) *(bool *)context = true;
  return !*(bool *)context;
}

status name_order_by(compile *c, scope *s, select *q, expr_list *list, const char *clause) {
  int beyond = -1;
  for (int i = 0; i < list->n; i++) {
    struct expr_item *item = &list->items[i];
    expr *e = expr_skip_collate(item->e);
    int64_t number;
    int found = clause[0] == 'G' ? 0 : alias_number(q->columns, e);
    if (!found && integer_term(e, &number)) {
      if (number < 1 || number > 0xffff) return out_of_range(c, i, clause, q->columns->n, e->offset);
      found = (int)number;
    }
    if (found > q->columns->n) { /* told when the other terms are right */
      if (beyond < 0) beyond = i;
    } else if (found) {
      TRY(alias_copy(c, q->columns, found - 1, item->e, &item->e));
    } else {
      TRY(name_whole(c, s, &item->e));
      for (int k = 0; k < q->columns->n && !found; k++)
        if (ast_equal(item->e, q->columns->items[k].e)) found = k + 1;
    }
    item->ordinal = found;
    if (clause[0] != 'G') continue;
    bool aggregate = false;
    ast_walk(item->e, false, find_aggregate, &aggregate);
    if (aggregate) return resolve_error(c, e->offset, "aggregate functions are not allowed in the GROUP BY clause");
  }
  if (beyond >= 0) return out_of_range(c, beyond, clause, q->columns->n, expr_skip_collate(list->items[beyond].e)->offset);
  return HDB_OK;
}

/* The number of the arm's column that an ORDER BY term of a compound means, 0: none. */
static int compound_term(compile *c, select *arm, const expr *term) {
  int found = alias_number(arm->columns, term);
  if (found) return found;
  expr *copy = ast_copy_expr(c->memory, term);
  if (!copy) return 0;
  error ignored = ERROR_INIT, *real = c->err;
  int (*authorize)(void *, int, const char *, const char *, const char *, const char *) = c->db->authorize;
  c->err = &ignored;
  c->db->authorize = NULL;
  scope s = {.from = arm->from, .allow = ALLOW_ALL, .excluded_slot = -1};
  status rc = open_expr(c, copy);
  if (rc == HDB_OK) rc = name_whole(c, &s, &copy);
  c->err = real;
  c->db->authorize = authorize;
  error_clear(&ignored);
  for (int k = 0; rc == HDB_OK && k < arm->columns->n; k++)
    if (ast_equal(copy, arm->columns->items[k].e)) return k + 1;
  return 0;
}

static select *arm_after(select *head, const select *before) { /* the arm whose prior is `before` */
  select *a = head;
  while (a && a->prior != before) a = a->prior;
  return a;
}

status name_compound_order_by(compile *c, select *head) {
  expr_list *list = head->order_by;
  select *left = head;
  while (left->prior) left = left->prior;
  int columns = left->columns->n;
  for (int i = 0; i < list->n; i++) {
    struct expr_item *item = &list->items[i];
    expr *e = expr_skip_collate(item->e);
    int64_t number;
    int found = 0;
    if (integer_term(e, &number)) {
      if (number < 1 || number > columns) return out_of_range(c, i, "ORDER", columns, e->offset);
      found = (int)number;
    }
    for (select *a = left; a && !found; a = a == head ? NULL : arm_after(head, a)) found = compound_term(c, a, e);
    if (!found) {
      char ordinal[16];
      return resolve_error(c, e->offset, "%s ORDER BY term does not match any column in the result set",
                           english_ordinal(i + 1, ordinal));
    }
    item->ordinal = found;
    TRY(alias_copy(c, left->columns, found - 1, item->e, &item->e));
  }
  return HDB_OK;
}

/* ---- one arm ---- */
static status name_from_select(compile *c, source *s, scope *q) {
  const char *context = c->auth_context;
  bool is_view = s->select->is_view;
  if (is_view) c->auth_context = ((const table *)s->table)->name, c->depth++;
  int references = 0;
  status rc = name_select(c, s->select, s->lateral ? q : q->outer, &references);
  c->auth_context = context;
  if (is_view) c->depth--;
  if (rc != HDB_OK) return rc;
  s->correlated = references > 0;
  int beyond = s->lateral ? references - 1 : references;
  s->lateral = s->lateral && s->correlated;
  if (beyond > q->references_outer) q->references_outer = beyond;
  query_table_types(c, (table *)s->table, s->select); /* made by the resolver: ours to fill */
  return HDB_OK;
}

static status name_from(compile *c, source_list *from, scope *q) {
  for (int i = 0; from && i < from->n; i++) {
    source *s = &from->items[i];
    if (s->nested && !s->table) TRY(name_from(c, s->nested, q));
    if (s->select && s->table) TRY(name_from_select(c, s, q));
    scope constant = {.allow = ALLOW_PARAM | ALLOW_SUBQUERY | ALLOW_NONDETERMINISTIC, .excluded_slot = -1};
    if (s->time_from) TRY(name_whole(c, &constant, &s->time_from));
    if (s->time_to) TRY(name_whole(c, &constant, &s->time_to));
  }
  return HDB_OK;
}

typedef struct join_mark {
  int slot;
  bool outer;
} join_mark;
static bool mark_join(void *context, expr *e) {
  const join_mark *m = context;
  e->from_join = true;
  e->join_slot = m->slot;
  e->outer_on = m->outer;
  return true;
}

/* ---- an ON that looks to its right ---- */
typedef struct slot_range { /* slots of the sources behind the one whose ON it is */
  const source_list *from;
  int after;
  bool found;
} slot_range;

static bool holds_slot(const source *s, int slot) {
  if (s->table) return s->slot == slot;
  for (int i = 0; s->nested && i < s->nested->n; i++)
    if (holds_slot(&s->nested->items[i], slot)) return true;
  return false;
}

static bool find_right(void *context, expr *e) {
  slot_range *r = context;
  if (e->op == EX_COLUMN)
    for (int i = r->after + 1; i < r->from->n; i++) r->found = r->found || holds_slot(&r->from->items[i], e->slot);
  return !r->found;
}

static bool right_join_after(const source_list *from, int i) {
  for (; i < from->n; i++)
    if (from->items[i].join & JOIN_RIGHT) return true;
  return false;
}

/* SQLite lets an inner join's ON name later tables, unless a RIGHT or FULL join is there. */
static status check_on(compile *c, source_list *from, int i) {
  source *s = &from->items[i];
  if (!(s->join & (JOIN_LEFT | JOIN_RIGHT)) && !right_join_after(from, 1)) return HDB_OK;
  slot_range r = {from, i, false};
  ast_walk(s->on, true, find_right, &r);
  return r.found ? resolve_error(c, -1, "ON clause references tables to its right") : HDB_OK;
}

static int first_slot(const source *s) {
  while (!s->table && s->nested && s->nested->n) s = &s->nested->items[0];
  return s->slot;
}

static status name_on(compile *c, source_list *from, scope *q) {
  for (int i = 0; from && i < from->n; i++) {
    source *s = &from->items[i];
    if (s->nested && !s->table) { /* sees nothing beside itself, as the subquery that SQLite makes of it */
      scope inner = {.outer = q->outer, .from = s->nested, .allow = q->allow, .excluded_slot = -1, .clause = q->clause};
      TRY(name_on(c, s->nested, &inner));
      if (inner.references_outer > q->references_outer) q->references_outer = inner.references_outer;
    }
    if (!s->on) continue;
    TRY(name_whole(c, q, &s->on));
    TRY(check_on(c, from, i));
    join_mark m = {first_slot(s), (s->join & (JOIN_LEFT | JOIN_RIGHT)) != 0};
    ast_walk(s->on, false, mark_join, &m);
  }
  return HDB_OK;
}

static status name_arguments(compile *c, source_list *from, scope *q) {
  for (int i = 0; from && i < from->n; i++) {
    source *s = &from->items[i];
    if (s->nested && !s->table) TRY(name_arguments(c, s->nested, q));
    if (!s->arguments) continue;
    const table *t = s->table;
    int hidden = 0;
    for (int k = 0; t && k < t->columns_n; k++) hidden += t->columns[k].hidden;
    if (s->arguments->n > hidden)
      return resolve_error(c, -1, "too many arguments on %s() - max %d", s->name, hidden);
    TRY(name_whole_list(c, q, s->arguments));
    for (int k = 0; k < s->arguments->n; k++)
      if (!expr_is_constant(s->arguments->items[k].e)) s->correlated = true;
  }
  return HDB_OK;
}

static status name_limit(compile *c, select *s) {
  scope none = {.allow = ALLOW_PARAM | ALLOW_SUBQUERY | ALLOW_NONDETERMINISTIC | ALLOW_DQS, .excluded_slot = -1};
  if (s->limit) TRY(name_whole(c, &none, &s->limit));
  if (s->offset) TRY(name_whole(c, &none, &s->offset));
  return HDB_OK;
}

static status name_sorting(compile *c, select *s, scope *q, bool compound) {
  scope *outer = q->outer;
  unsigned allow = q->allow;
  q->outer = NULL;
  status rc = HDB_OK;
  if (s->order_by && !compound) {
    bool before = s->is_aggregate;
    q->clause = CLAUSE_ORDER_BY;
    q->allow |= ALLOW_AGGREGATE | ALLOW_WINDOW;
    rc = name_order_by(c, q, s, s->order_by, "ORDER");
    if (rc == HDB_OK && s->is_aggregate && !before) {
      for (int i = 0; i < s->order_by->n && rc == HDB_OK; i++) {
        bool aggregate = false;
        expr *e = s->order_by->items[i].e;
        ast_walk(e, false, find_aggregate, &aggregate);
        while (aggregate && e->op != EX_AGGREGATE && e->left) e = e->left;
        if (aggregate) rc = resolve_error(c, e->offset, "misuse of aggregate: %s()", e->text ? e->text : "");
      }
    }
  }
  if (rc == HDB_OK && s->group_by) {
    q->clause = CLAUSE_GROUP_BY;
    q->allow = (allow | ALLOW_AGGREGATE) & ~(unsigned)ALLOW_WINDOW;
    rc = name_order_by(c, q, s, s->group_by, "GROUP");
  }
  q->clause = CLAUSE_NONE;
  q->outer = outer;
  q->allow = allow;
  return rc;
}

static status name_arm(compile *c, select *s, scope *outer, bool compound, int *references) {
  scope q = {.outer = outer, .from = s->from, .query = s, .allow = ALLOW_ALL, .excluded_slot = -1};
  TRY(name_limit(c, s));
  TRY(name_from(c, s->from, &q));
  TRY(name_whole_list(c, &q, s->columns));
  for (int i = 1; i < s->values_n; i++) TRY(name_whole_list(c, &q, s->values[i]));
  q.allow &= ~(unsigned)ALLOW_WINDOW;
  if (s->group_by && !s->is_aggregate) {
    s->is_aggregate = q.has_aggregate = true;
    s->agg_slot = compile_slot(c, 0);
  }
  if (!s->is_aggregate) q.allow &= ~(unsigned)ALLOW_AGGREGATE;
  q.aliases = s->columns;
  if (s->having) {
    if (!s->is_aggregate) return resolve_error(c, -1, "HAVING clause on a non-aggregate query");
    TRY(name_whole(c, &q, &s->having));
  }
  q.clause = CLAUSE_WHERE;
  TRY(name_on(c, s->from, &q));
  if (s->where) TRY(name_whole(c, &q, &s->where));
  TRY(name_arguments(c, s->from, &q));
  q.clause = CLAUSE_NONE;
  TRY(name_sorting(c, s, &q, compound));
  s->correlated = q.references_outer > 0;
  if (q.references_outer > *references) *references = q.references_outer;
  if (!s->is_recursive) return HDB_OK;
  if (s->is_aggregate) return resolve_error(c, -1, "recursive aggregate queries not supported");
  if (s->has_window) return resolve_error(c, -1, "cannot use window functions in recursive queries");
  return HDB_OK;
}

/* ---- whole queries ---- */
static const char *compound_word(uint8_t op) {
  return op == COMPOUND_UNION_ALL   ? "UNION ALL"
         : op == COMPOUND_INTERSECT ? "INTERSECT"
         : op == COMPOUND_EXCEPT    ? "EXCEPT"
                                    : "UNION";
}

static status check_widths(compile *c, select *head) {
  for (select *a = head; a->prior; a = a->prior) {
    if (a->columns->n == a->prior->columns->n) continue;
    if (a->is_values && a->prior->is_values)
      return resolve_error(c, -1, "all VALUES must have the same number of terms");
    return resolve_error(c, -1, "SELECTs to the left and right of %s do not have the same number of result columns",
                         compound_word(a->compound));
  }
  return HDB_OK;
}

/* The table that stands for the recursive CTE inside it. */
static table *recursive_table(select *arm) {
  for (int i = 0; arm->from && i < arm->from->n; i++)
    if (arm->from->items[i].is_recursive) return (table *)arm->from->items[i].table;
  return NULL;
}

static status name_recursive(compile *c, select *head, scope *outer, int *references) {
  select *plain = head;
  while (plain && plain->is_recursive) plain = plain->prior;
  for (select *a = plain; a; a = a->prior) TRY(name_arm(c, a, outer, true, references));
  table *t = recursive_table(head);
  if (t && plain) query_table_types(c, t, plain);
  for (select *a = head; a != plain; a = a->prior) TRY(name_arm(c, a, outer, true, references));
  return HDB_OK;
}

status name_select(compile *c, select *s, scope *outer, int *references) {
  if (s->resolved) return HDB_OK; /* inside a copy of something resolved */
  s->resolved = true;
  bool compound = s->prior != NULL;
  if (s->is_recursive) TRY(name_recursive(c, s, outer, references));
  else
    for (select *a = s; a; a = a->prior) {
      a->resolved = true;
      TRY(name_arm(c, a, outer, compound, references));
    }
  if (!compound) return HDB_OK;
  TRY(check_widths(c, s));
  for (select *a = s->prior; a; a = a->prior) s->correlated = s->correlated || a->correlated;
  return s->order_by ? name_compound_order_by(c, s) : HDB_OK;
}

/* ---- the authorizer's SELECT calls: in the order the queries run ---- */
static status authorize_select(compile *c, select *s);

static bool authorize_node(void *context, expr *e) {
  void **x = context;
  status *rc = x[1];
  if (e->select && *rc == HDB_OK) *rc = authorize_select(x[0], e->select);
  return *rc == HDB_OK;
}

static status authorize_expr(compile *c, expr *e) {
  status rc = HDB_OK;
  void *context[2] = {c, &rc};
  if (e) ast_walk(e, false, authorize_node, context);
  return rc;
}

static status authorize_from(compile *c, source_list *from) {
  for (int i = 0; from && i < from->n; i++) {
    source *s = &from->items[i];
    const table *t = s->table;
    bool ignore;
    if (s->nested && !t) TRY(authorize_from(c, s->nested));
    if (t && !s->columns_used && t->schema)
      TRY(compile_authorize(c, HDB_READ, t->name, "", s->schema ? t->schema->database : -1, &ignore));
    if (!s->select) continue;
    const char *context = c->auth_context;
    if (s->select->is_view) c->auth_context = t->name;
    status rc = authorize_select(c, s->select);
    c->auth_context = context;
    if (rc != HDB_OK) return rc;
  }
  return HDB_OK;
}

static status authorize_arm(compile *c, select *s) {
  TRY(authorize_from(c, s->from));
  for (int i = 0; i < s->columns->n; i++) TRY(authorize_expr(c, s->columns->items[i].e));
  TRY(authorize_expr(c, s->where));
  return authorize_expr(c, s->having);
}

static status authorize_select(compile *c, select *s) {
  bool ignore;
  for (select *a = s; a; a = a->prior) {
    TRY(compile_authorize(c, HDB_SELECT, NULL, NULL, -1, &ignore));
    if (a->is_recursive) TRY(compile_authorize(c, HDB_RECURSIVE, NULL, NULL, -1, &ignore));
  }
  for (select *a = s; a; a = a->prior) TRY(authorize_arm(c, a));
  return HDB_OK;
}

/* ---- labels: before a planner rewrites the expressions ---- */
static void label_column(compile *c, const select *s, struct expr_item *item, int number) {
  const expr *e = item->e, *origin = e;
  while (origin->op == EX_SUBQUERY && origin->select) origin = origin->select->columns->items[0].e;
  if (origin->op == EX_COLUMN && origin->object) {
    item->origin = origin->object;
    item->origin_column = origin->column;
  }
  if (item->name) return;
  bool full = c->db->pragmas.full_column_names && !c->db->pragmas.short_column_names;
  if (s->is_values) item->name = arena_printf(c->memory, "column%d", number);
  else if (e->op != EX_COLUMN || !e->text || !(full || c->db->pragmas.short_column_names)) return;
  else if (full && e->object) item->name = arena_printf(c->memory, "%s.%s", ((const table *)e->object)->name, e->text);
  else item->name = e->text;
}

static void label_columns(compile *c, select *s) {
  while (s->prior) s = s->prior;
  for (int i = 0; i < s->columns->n; i++) label_column(c, s, &s->columns->items[i], i + 1);
}

/* ---- entry points ---- */
status resolve_select(compile *c, select *s, scope *outer) {
  if (s->resolved) return HDB_OK;
  bool ignore;
  TRY(compile_authorize(c, HDB_SELECT, NULL, NULL, -1, &ignore));
  TRY(open_select(c, s));
  int references = 0;
  TRY(name_select(c, s, outer, &references));
  if (outer && references - 1 > outer->references_outer) outer->references_outer = references - 1;
  label_columns(c, s);
  if (!c->db->authorize) return HDB_OK;
  for (select *a = s; a; a = a->prior) TRY(authorize_arm(c, a));
  return HDB_OK;
}

status resolve_expr(compile *c, scope *s, expr **e) {
  if (!*e) return HDB_OK;
  TRY(open_expr(c, *e));
  TRY(name_whole(c, s, e));
  return c->db->authorize ? authorize_expr(c, *e) : HDB_OK;
}

status resolve_list(compile *c, scope *s, expr_list *list) {
  if (!list) return HDB_OK;
  TRY(expand_returning(c, s, list));
  for (int i = 0; i < list->n; i++) TRY(resolve_expr(c, s, &list->items[i].e));
  return HDB_OK;
}

status resolve_from(compile *c, source_list *from, scope *outer) {
  TRY(open_from(c, from));
  scope q = {.outer = outer, .from = from, .allow = ALLOW_ALL & ~(ALLOW_AGGREGATE | ALLOW_WINDOW), .excluded_slot = -1};
  TRY(name_from(c, from, &q));
  q.clause = CLAUSE_WHERE;
  TRY(name_on(c, from, &q));
  TRY(name_arguments(c, from, &q));
  if (outer && q.references_outer - 1 > outer->references_outer) outer->references_outer = q.references_outer - 1;
  return HDB_OK;
}
