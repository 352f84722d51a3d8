/* Calls: scalar functions, aggregates with the query they belong to, window calls with their complete window.
 *
 * An aggregate belongs to the innermost query that its arguments refer to (to the one it stands in when they refer to
 * none), so it may belong to an outer query of the subquery that it is written in: e->slot is the owner's agg_slot.
 */
#include "sql/resolve.h"

enum { KIND_AGGREGATE = FUNC_AGGREGATE | FUNC_WINDOW_ONLY };

/* ---- which query an aggregate belongs to ---- */
typedef struct ownership {
  scope *innermost;
  int best; /* level of the innermost scope referred to, -1 none */
} ownership;

typedef struct slot_search {
  int slot;
  bool found;
} slot_search;
static status has_slot(void *context, source *s) {
  slot_search *x = context;
  if (s->slot == x->slot) x->found = true;
  return HDB_OK;
}

static bool note_owner(void *context, expr *e) {
  ownership *o = context;
  if (e->op != EX_COLUMN) return true;
  int level = 0;
  for (scope *s = o->innermost; s; s = s->outer, level++) {
    slot_search x = {e->slot, s->table && s->slot == e->slot};
    if (s->from) (void)each_source(s->from, has_slot, &x);
    if (!x.found) continue;
    if (o->best < 0 || level < o->best) o->best = level;
    break;
  }
  return true;
}

static scope *aggregate_owner(scope *s, expr *e) {
  ownership o = {s, -1};
  for (int i = 0; e->list && i < e->list->n; i++) ast_walk(e->list->items[i].e, true, note_owner, &o);
  if (e->filter) ast_walk(e->filter, true, note_owner, &o);
  for (int i = 0; e->order_by && i < e->order_by->n; i++) ast_walk(e->order_by->items[i].e, true, note_owner, &o);
  scope *owner = s;
  for (int i = 0; i < o.best; i++) owner = owner->outer;
  return owner;
}

/* ---- windows ---- */
static window *find_window(const select *q, const char *name, const window *except) {
  for (window *w = q ? q->windows : NULL; w; w = w->next)
    if (w != except && w->name && same_word(w->name, name)) return w;
  return NULL;
}

/* Takes over what the base window says; w is complete then. */
static status complete_window(compile *c, const select *q, window *w, int depth) {
  if (!w->base) return HDB_OK;
  window *base = find_window(q, w->base, w);
  if (!base || depth > 100) return resolve_error(c, -1, "no such window: %s", w->base);
  TRY(complete_window(c, q, base, depth + 1));
  if (w->is_reference) {
    w->frame = base->frame, w->start = base->start, w->end = base->end, w->exclude = base->exclude;
    w->has_frame = base->has_frame;
    w->start_value = ast_copy_expr(c->memory, base->start_value);
    w->end_value = ast_copy_expr(c->memory, base->end_value);
  } else {
    const char *what = w->partition_by                  ? "PARTITION clause"
                       : base->order_by && w->order_by  ? "ORDER BY clause"
                       : base->has_frame                ? "frame specification"
                                                        : NULL;
    if (what) return resolve_error(c, -1, "cannot override %s of window: %s", what, w->base);
  }
  w->partition_by = base->partition_by ? ast_copy_list(c->memory, base->partition_by) : NULL;
  if (w->is_reference || base->order_by) w->order_by = base->order_by ? ast_copy_list(c->memory, base->order_by) : NULL;
  w->base = NULL;
  w->is_reference = false;
  return HDB_OK;
}

static status check_window(compile *c, const expr *e, const function *f) {
  const window *w = e->over;
  bool offset = w->start == BOUND_PRECEDING || w->start == BOUND_FOLLOWING || w->end == BOUND_PRECEDING ||
                w->end == BOUND_FOLLOWING;
  if (w->has_frame && w->frame == FRAME_RANGE && offset && (!w->order_by || w->order_by->n != 1))
    return resolve_error(c, -1, "RANGE with offset PRECEDING/FOLLOWING requires one ORDER BY expression");
  if (e->filter && f->flags & FUNC_WINDOW_ONLY)
    return resolve_error(c, -1, "FILTER clause may only be used with aggregate window functions");
  if (e->distinct) return resolve_error(c, -1, "DISTINCT is not supported for window functions");
  return HDB_OK;
}

/* An offset that is no constant, as it is written, is NULL: the query fails when it runs. */
static status name_frame_offset(compile *c, scope *s, expr **offset) {
  if (!*offset) return HDB_OK;
  const expr *e = *offset;
  bool word = e->op == EX_ID && !e->quoted && !e->quoted_name && (same_word(e->text, "true") || same_word(e->text, "false"));
  if (word || expr_is_constant(e)) return name_expr(c, s, offset);
  expr *null = ast_expr(c->memory, EX_NULL, NULL, NULL);
  if (!null) return resolve_no_memory(c);
  *offset = null;
  return HDB_OK;
}

static status name_window(compile *c, scope *s, expr *e, const function *f) {
  scope *at = s;
  while (at && !at->query) at = at->outer;
  status rc = complete_window(c, at ? at->query : NULL, e->over, 0);
  if (rc == HDB_OK) rc = check_window(c, e, f);
  if (rc != HDB_OK) TRY(soft(c, rc));
  TRY(name_list_exprs(c, s, e->over->partition_by));
  TRY(name_list_exprs(c, s, e->over->order_by));
  if (e->filter) TRY(name_expr(c, s, &e->filter));
  TRY(name_frame_offset(c, s, &e->over->start_value));
  TRY(name_frame_offset(c, s, &e->over->end_value));
  e->op = EX_WINDOW;
  s->has_window = true;
  if (s->query && !s->query->has_window) {
    s->query->has_window = true;
    s->query->window_id = compile_slot(c, 0);
  }
  if (s->query) e->slot = s->query->window_id;
  return HDB_OK;
}

static status name_aggregate(compile *c, scope *s, expr *e, const function *f) {
  if (e->distinct && (!e->list || e->list->n != 1))
    return resolve_error(c, -1, "DISTINCT aggregates must have exactly one argument");
  if (e->filter) TRY(name_expr(c, s, &e->filter));
  TRY(name_list_exprs(c, s, e->order_by));
  scope *owner = aggregate_owner(s, e);
  if (owner->clause == CLAUSE_WHERE) return resolve_error(c, e->offset, "misuse of aggregate: %s()", e->text);
  e->op = EX_AGGREGATE;
  (void)f;
  if (!owner->has_aggregate && owner->query && !owner->query->is_aggregate) {
    owner->query->agg_slot = compile_slot(c, 0);
    owner->query->is_aggregate = true;
  }
  owner->has_aggregate = true;
  if (owner->query) e->slot = owner->query->agg_slot;
  return HDB_OK;
}

/* What fails inside a call's arguments ends them, not what stands beside the call. */
static status name_arguments(compile *c, scope *s, expr *e) {
  status rc = name_list_exprs(c, s, e->list);
  return rc == HDB_OK ? HDB_OK : soft(c, rc);
}

/* An aggregate or window function: what may stand inside, then its kind. */
static status name_grouping(compile *c, scope *s, expr *e, const function *f) {
  bool pure_window = f->flags & FUNC_WINDOW_ONLY;
  status misuse = HDB_OK;
  if (e->over && !(f->flags & FUNC_WINDOW))
    misuse = resolve_error(c, e->offset, "%s() may not be used as a window function", e->text);
  else if ((!e->over && !(s->allow & ALLOW_AGGREGATE)) || (pure_window && !e->over) || (e->over && !(s->allow & ALLOW_WINDOW)))
    misuse = resolve_error(c, e->offset, "misuse of %s function %s()", pure_window || e->over ? "window" : "aggregate", e->text);
  if (misuse != HDB_OK) {
    TRY(soft(c, misuse));
    return name_arguments(c, s, e);
  }
  unsigned allow = s->allow;
  s->allow &= ~(unsigned)(ALLOW_WINDOW | (e->over ? 0 : ALLOW_AGGREGATE));
  status rc = name_list_exprs(c, s, e->list);
  if (rc == HDB_OK && !c->soft_error) rc = e->over ? name_window(c, s, e, f) : name_aggregate(c, s, e, f);
  s->allow = allow;
  return rc == HDB_OK ? HDB_OK : soft(c, rc);
}

/* ---- scalar functions ---- */
/* likely(x) and its kin are x, but without x's affinity. */
static status name_likely(compile *c, scope *s, expr **pe) {
  expr *e = *pe, *x = e->list->items[0].e;
  if (e->list->n == 2) {
    const expr *p = e->list->items[1].e;
    if (p->op != EX_REAL || !(p->r >= 0.0 && p->r <= 1.0))
      TRY(soft(c, resolve_error(c, e->offset, "second argument to likelihood() must be a constant between 0.0 and 1.0")));
  }
  TRY(name_expr(c, s, &x));
  if (x->op == EX_ROW) return resolve_error(c, -1, "row value misused");
  *pe = x;
  if (x->op != EX_COLUMN && expr_affinity(x) == AFF_NONE && !x->collation) return HDB_OK;
  expr *plus = ast_expr(c->memory, EX_PLUS, x, NULL);
  if (!plus) return resolve_no_memory(c);
  plus->offset = e->offset;
  *pe = plus;
  return HDB_OK;
}

static bool is_likely(const function *f) {
  return !(f->flags & FUNC_USER) &&
         (same_word(f->name, "likely") || same_word(f->name, "unlikely") || same_word(f->name, "likelihood"));
}

static status check_use(compile *c, scope *s, const expr *e, const function *f) {
  bool from_schema = c->depth > 0 || c->in_trigger || s->place;
  if (from_schema && (f->flags & FUNC_DIRECTONLY || (f->flags & FUNC_USER && !(f->flags & FUNC_INNOCUOUS) &&
                                                     !c->db->pragmas.trusted_schema)))
    return resolve_error(c, e->offset, "unsafe use of %s()", e->text);
  if (!(f->flags & FUNC_DETERMINISTIC) && !(s->allow & ALLOW_NONDETERMINISTIC))
    return prohibited(c, s, "non-deterministic functions", e->offset);
  return HDB_OK;
}

/* "CHECK constraints", "generated columns", and what else may hold expressions: indexes. */
static uint8_t place_of(const scope *s) {
  if (!s->place) return PLACE_ANYWHERE;
  if (strncmp(s->place, "CHECK", 5) == 0) return PLACE_CHECK;
  if (strncmp(s->place, "generated", 9) == 0) return PLACE_GENERATED;
  return strstr(s->place, "index") ? PLACE_INDEX : PLACE_ANYWHERE;
}

status authorize_function(compile *c, expr *e, const char *name, bool *ignore) {
  status rc = compile_authorize(c, HDB_FUNCTION, NULL, name, -1, ignore);
  if (rc == HDB_AUTH) return soft(c, error_set(c->err, HDB_AUTH, "not authorized to use function: %s", e->text ? e->text : name));
  TRY(rc);
  if (*ignore) e->op = EX_NULL;
  return HDB_OK;
}

/* What a scalar call must not carry. */
static status check_scalar(compile *c, const expr *e) {
  if (e->over) return resolve_error(c, e->offset, "%s() may not be used as a window function", e->text);
  if (e->filter) return resolve_error(c, e->offset, "FILTER may not be used with non-aggregate %s()", e->text);
  if (e->order_by) return resolve_error(c, e->offset, "ORDER BY may not be used with non-aggregate %s()", e->text);
  return HDB_OK;
}

/* No function takes so many arguments; or there is none of that name at all. */
static status no_match(compile *c, const expr *e, bool exists) {
  if (!exists) return resolve_error(c, e->offset, "no such function: %s", e->text);
  for (int n = 0; e->over && n < 8; n++) {
    const function *other = function_find(c->db, e->text, n, &exists);
    if (!other) continue;
    if (other->flags & FUNC_WINDOW) break;
    return resolve_error(c, e->offset, "%s() may not be used as a window function", e->text);
  }
  return resolve_error(c, e->offset, "wrong number of arguments to function %s()", e->text);
}

/* Errors of the call itself are soft: one inside its arguments is told instead. */
status name_function(compile *c, scope *s, expr **pe) {
  expr *e = *pe;
  int n = e->list ? e->list->n : 0;
  bool exists = false, ignore = false;
  const function *f = e->object ? e->object : function_find(c->db, e->text, n, &exists);
  if (!f) {
    TRY(soft(c, no_match(c, e, exists)));
    return name_arguments(c, s, e);
  }
  if (is_likely(f)) return name_likely(c, s, pe);
  TRY(authorize_function(c, e, f->name, &ignore));
  if (ignore) return HDB_OK;
  e->object = f;
  bool grouping = f->flags & KIND_AGGREGATE;
  status rc = grouping && !(f->flags & (FUNC_DIRECTONLY | FUNC_USER)) ? HDB_OK : check_use(c, s, e, f);
  if (rc != HDB_OK) TRY(soft(c, rc));
  if (grouping) return name_grouping(c, s, e, f);
  e->place = place_of(s);
  rc = check_scalar(c, e);
  if (rc != HDB_OK) TRY(soft(c, rc));
  return name_arguments(c, s, e);
}
