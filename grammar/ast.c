/* Trees: builders for code outside the parser, deep copies, comparison, walking.
 *
 * A copy shares the texts that its source borrows (spans) and copies everything else, names too, so that it may
 * outlive the source's arena as long as the SQL text lives. Recursion is bounded by G1. Out of memory shows in the
 * arena; a copy is then NULL or cut, and must not be used.
 */
#include "grammar/ast.h"

expr *ast_expr(arena *memory, enum expr_op op, expr *left, expr *right) {
  expr *e = arena_zero(memory, sizeof *e);
  if (!e) return NULL;
  e->op = (uint8_t)op;
  e->left = left, e->right = right;
  e->offset = left ? left->offset : -1;
  int32_t l = left ? left->height : 0, r = right ? right->height : 0;
  e->height = (l > r ? l : r) + 1;
  return e;
}

expr_list *ast_list_add(arena *memory, expr_list *list, expr *e) {
  if (!list && !(list = arena_zero(memory, sizeof *list))) return NULL;
  if (list->n == list->capacity) {
    int capacity = list->capacity ? list->capacity * 2 : 4;
    struct expr_item *items = arena_zero(memory, sizeof *items * (size_t)capacity);
    if (!items) return list->n ? list : NULL;
    if (list->n) memcpy(items, list->items, sizeof *items * (size_t)list->n);
    list->items = items;
    list->capacity = capacity;
  }
  list->items[list->n++] = (struct expr_item){.e = e};
  return list;
}

/* ---- copies ---- */
static const char *copy_text(arena *m, const char *text) { return text ? arena_strdup(m, text) : NULL; }
static name_list *copy_names(arena *m, const name_list *list);
static source_list *copy_sources(arena *m, const source_list *list);
static with *copy_with(arena *m, const with *w);
static window *copy_window(arena *m, const window *w);

#define SHALLOW(memory, from) ((from) ? arena_copy(memory, from, sizeof *(from)) : NULL)

expr *ast_copy_expr(arena *m, const expr *e) {
  expr *c = SHALLOW(m, e);
  if (!c) return NULL;
  if (e->text) c->text = arena_strndup(m, e->text, e->text_n > strlen(e->text) ? e->text_n : strlen(e->text));
  if (e->op == EX_BLOB && e->text) c->text = arena_strndup(m, e->text, e->text_n);
  c->schema = copy_text(m, e->schema);
  c->table = copy_text(m, e->table);
  c->left = ast_copy_expr(m, e->left);
  c->right = ast_copy_expr(m, e->right);
  c->list = ast_copy_list(m, e->list);
  c->select = ast_copy_select(m, e->select);
  c->source = copy_sources(m, e->source);
  c->filter = ast_copy_expr(m, e->filter);
  c->order_by = ast_copy_list(m, e->order_by);
  c->over = copy_window(m, e->over);
  return c;
}

expr_list *ast_copy_list(arena *m, const expr_list *list) {
  expr_list *c = SHALLOW(m, list);
  if (!c) return NULL;
  c->capacity = list->n;
  c->items = list->n ? arena_copy(m, list->items, sizeof *list->items * (size_t)list->n) : NULL;
  for (int i = 0; c->items && i < c->n; i++) {
    c->items[i].e = ast_copy_expr(m, list->items[i].e);
    c->items[i].name = copy_text(m, list->items[i].name);
  }
  return c;
}

static name_list *copy_names(arena *m, const name_list *list) {
  name_list *c = SHALLOW(m, list);
  if (!c) return NULL;
  c->capacity = list->n;
  c->items = list->n ? arena_copy(m, list->items, sizeof *list->items * (size_t)list->n) : NULL;
  for (int i = 0; c->items && i < c->n; i++) c->items[i].name = copy_text(m, list->items[i].name);
  return c;
}

static source_list *copy_sources(arena *m, const source_list *list) {
  source_list *c = SHALLOW(m, list);
  if (!c) return NULL;
  c->capacity = list->n;
  c->items = list->n ? arena_copy(m, list->items, sizeof *list->items * (size_t)list->n) : NULL;
  for (int i = 0; c->items && i < c->n; i++) {
    const source *from = &list->items[i];
    source *s = &c->items[i];
    s->schema = copy_text(m, from->schema);
    s->name = copy_text(m, from->name);
    s->alias = copy_text(m, from->alias);
    s->indexed_by = copy_text(m, from->indexed_by);
    s->select = ast_copy_select(m, from->select);
    s->nested = copy_sources(m, from->nested);
    s->arguments = ast_copy_list(m, from->arguments);
    s->on = ast_copy_expr(m, from->on);
    s->using_names = copy_names(m, from->using_names);
    s->time_from = ast_copy_expr(m, from->time_from);
    s->time_to = ast_copy_expr(m, from->time_to);
  }
  return c;
}

static with *copy_with(arena *m, const with *w) {
  with *c = SHALLOW(m, w);
  if (!c) return NULL;
  c->capacity = w->n;
  c->items = w->n ? arena_copy(m, w->items, sizeof *w->items * (size_t)w->n) : NULL;
  for (int i = 0; c->items && i < c->n; i++) {
    c->items[i].name = copy_text(m, w->items[i].name);
    c->items[i].columns = copy_names(m, w->items[i].columns);
    c->items[i].select = ast_copy_select(m, w->items[i].select);
  }
  return c;
}

static window *copy_window(arena *m, const window *w) {
  window *first = NULL, **tail = &first;
  for (; w; w = w->next) {
    window *c = SHALLOW(m, w);
    if (!c) break;
    c->name = copy_text(m, w->name);
    c->base = copy_text(m, w->base);
    c->partition_by = ast_copy_list(m, w->partition_by);
    c->order_by = ast_copy_list(m, w->order_by);
    c->start_value = ast_copy_expr(m, w->start_value);
    c->end_value = ast_copy_expr(m, w->end_value);
    *tail = c;
    tail = &c->next;
  }
  *tail = NULL;
  return first;
}

static void copy_select_parts(arena *m, select *c, const select *s) {
  c->columns = ast_copy_list(m, s->columns);
  c->from = copy_sources(m, s->from);
  c->where = ast_copy_expr(m, s->where);
  c->group_by = ast_copy_list(m, s->group_by);
  c->having = ast_copy_expr(m, s->having);
  c->windows = copy_window(m, s->windows);
  c->order_by = ast_copy_list(m, s->order_by);
  c->limit = ast_copy_expr(m, s->limit);
  c->offset = ast_copy_expr(m, s->offset);
  c->with = copy_with(m, s->with);
  if (!s->values_n) return;
  c->values = arena_alloc(m, sizeof *c->values * (size_t)s->values_n);
  for (int i = 0; c->values && i < s->values_n; i++) c->values[i] = i ? ast_copy_list(m, s->values[i]) : c->columns;
}

select *ast_copy_select(arena *m, const select *s) {
  select *head = NULL, **tail = &head;
  for (; s; s = s->prior) {
    select *c = SHALLOW(m, s);
    if (!c) break;
    copy_select_parts(m, c, s);
    *tail = c;
    tail = &c->prior;
  }
  *tail = NULL;
  return head;
}

static qualified_name copy_qualified(arena *m, qualified_name q) {
  q.schema = copy_text(m, q.schema);
  q.name = copy_text(m, q.name);
  q.alias = copy_text(m, q.alias);
  q.indexed_by = copy_text(m, q.indexed_by);
  return q;
}

static set_list *copy_set(arena *m, const set_list *list) {
  set_list *c = SHALLOW(m, list);
  if (!c) return NULL;
  c->capacity = list->n;
  c->items = arena_copy(m, list->items, sizeof *list->items * (size_t)list->n);
  for (int i = 0; c->items && i < c->n; i++) {
    c->items[i].columns = copy_names(m, list->items[i].columns);
    c->items[i].value = ast_copy_expr(m, list->items[i].value);
  }
  return c;
}

static upsert *copy_upserts(arena *m, const upsert *u) {
  upsert *first = NULL, **tail = &first;
  for (; u; u = u->next) {
    upsert *c = SHALLOW(m, u);
    if (!c) break;
    c->target = ast_copy_list(m, u->target);
    c->target_where = ast_copy_expr(m, u->target_where);
    c->set = copy_set(m, u->set);
    c->where = ast_copy_expr(m, u->where);
    *tail = c;
    tail = &c->next;
  }
  *tail = NULL;
  return first;
}

static insert_statement *copy_insert(arena *m, const insert_statement *i) {
  insert_statement *c = SHALLOW(m, i);
  if (!c) return NULL;
  c->with = copy_with(m, i->with);
  c->table = copy_qualified(m, i->table);
  c->columns = copy_names(m, i->columns);
  c->select = ast_copy_select(m, i->select);
  c->upserts = copy_upserts(m, i->upserts);
  c->returning = ast_copy_list(m, i->returning);
  return c;
}

static update_statement *copy_update(arena *m, const update_statement *u) {
  update_statement *c = SHALLOW(m, u);
  if (!c) return NULL;
  c->with = copy_with(m, u->with);
  c->table = copy_qualified(m, u->table);
  c->set = copy_set(m, u->set);
  c->from = copy_sources(m, u->from);
  c->where = ast_copy_expr(m, u->where);
  c->returning = ast_copy_list(m, u->returning);
  c->order_by = ast_copy_list(m, u->order_by);
  c->limit = ast_copy_expr(m, u->limit);
  c->offset = ast_copy_expr(m, u->offset);
  return c;
}

static delete_statement *copy_delete(arena *m, const delete_statement *d) {
  delete_statement *c = SHALLOW(m, d);
  if (!c) return NULL;
  c->with = copy_with(m, d->with);
  c->table = copy_qualified(m, d->table);
  c->where = ast_copy_expr(m, d->where);
  c->returning = ast_copy_list(m, d->returning);
  c->order_by = ast_copy_list(m, d->order_by);
  c->limit = ast_copy_expr(m, d->limit);
  c->offset = ast_copy_expr(m, d->offset);
  return c;
}

statement *ast_copy_statement(arena *m, const statement *s) {
  statement *c = SHALLOW(m, s);
  if (!c) return NULL;
  switch (s->kind) {
  case ST_SELECT: c->select = ast_copy_select(m, s->select); break;
  case ST_INSERT: c->insert = copy_insert(m, s->insert); break;
  case ST_UPDATE: c->update = copy_update(m, s->update); break;
  case ST_DELETE: c->delete_ = copy_delete(m, s->delete_); break;
  default: break; /* shared: no other kind is resolved in place */
  }
  return c;
}

/* ---- comparison ---- */
static bool same_name(const char *a, const char *b) {
  if (!a || !b) return a == b;
  for (; *a && *b; a++, b++) {
    char x = *a >= 'A' && *a <= 'Z' ? (char)(*a + 32) : *a, y = *b >= 'A' && *b <= 'Z' ? (char)(*b + 32) : *b;
    if (x != y) return false;
  }
  return *a == *b;
}

static bool same_list(const expr_list *a, const expr_list *b) {
  int n = a ? a->n : 0;
  if (n != (b ? b->n : 0)) return false;
  for (int i = 0; i < n; i++)
    if (a->items[i].descending != b->items[i].descending || a->items[i].nulls != b->items[i].nulls ||
        !ast_equal(a->items[i].e, b->items[i].e))
      return false;
  return true;
}

static bool same_window(const window *a, const window *b) {
  if (!a || !b) return a == b;
  return a->frame == b->frame && a->start == b->start && a->end == b->end && a->exclude == b->exclude &&
         same_name(a->base, b->base) && same_list(a->partition_by, b->partition_by) &&
         same_list(a->order_by, b->order_by) && ast_equal(a->start_value, b->start_value) &&
         ast_equal(a->end_value, b->end_value);
}

static bool same_leaf(const expr *a, const expr *b) {
  switch (a->op) {
  case EX_INT: case EX_PARAM: return a->i == b->i;
  case EX_REAL: return memcmp(&a->r, &b->r, sizeof a->r) == 0;
  case EX_TEXT: case EX_BLOB: return a->text_n == b->text_n && memcmp(a->text, b->text, a->text_n) == 0;
  case EX_COLUMN: case EX_AGG_COLUMN: case EX_REGISTER: return a->slot == b->slot && a->column == b->column;
  case EX_RAISE: return a->i == b->i;
  default:
    return same_name(a->text, b->text) && same_name(a->table, b->table) && same_name(a->schema, b->schema);
  }
}

bool ast_equal(const expr *a, const expr *b) {
  if (!a || !b) return a == b;
  if (a->op != b->op || a->negated != b->negated || a->distinct != b->distinct || a->star != b->star ||
      a->has_else != b->has_else)
    return false;
  if (a->select || b->select || a->source || b->source) return a == b; /* two queries are never taken for one */
  return same_leaf(a, b) && ast_equal(a->left, b->left) && ast_equal(a->right, b->right) &&
         same_list(a->list, b->list) && ast_equal(a->filter, b->filter) && same_list(a->order_by, b->order_by) &&
         same_window(a->over, b->over);
}

/* ---- walking ---- */
typedef struct walk {
  ast_visitor visit;
  void *context;
  bool into_selects;
} walk;
static bool walk_expr(const walk *w, expr *e);
static bool walk_select(const walk *w, select *s);

static bool walk_list(const walk *w, expr_list *list) {
  for (int i = 0; list && i < list->n; i++)
    if (!walk_expr(w, list->items[i].e)) return false;
  return true;
}

static bool walk_window(const walk *w, window *o) {
  for (; o; o = o->next)
    if (!walk_list(w, o->partition_by) || !walk_list(w, o->order_by) || !walk_expr(w, o->start_value) ||
        !walk_expr(w, o->end_value))
      return false;
  return true;
}

static bool walk_sources(const walk *w, source_list *list) {
  for (int i = 0; list && i < list->n; i++) {
    source *s = &list->items[i];
    if (!walk_select(w, s->select) || !walk_sources(w, s->nested) || !walk_list(w, s->arguments) ||
        !walk_expr(w, s->on) || !walk_expr(w, s->time_from) || !walk_expr(w, s->time_to))
      return false;
  }
  return true;
}

static bool walk_select(const walk *w, select *s) {
  for (; s; s = s->prior) {
    for (int i = 0; s->with && i < s->with->n; i++)
      if (!walk_select(w, s->with->items[i].select)) return false;
    if (!walk_list(w, s->columns) || !walk_sources(w, s->from) || !walk_expr(w, s->where) ||
        !walk_list(w, s->group_by) || !walk_expr(w, s->having) || !walk_window(w, s->windows) ||
        !walk_list(w, s->order_by) || !walk_expr(w, s->limit) || !walk_expr(w, s->offset))
      return false;
    for (int i = 1; i < s->values_n; i++)
      if (!walk_list(w, s->values[i])) return false;
  }
  return true;
}

static bool walk_expr(const walk *w, expr *e) {
  if (!e) return true;
  if (!w->visit(w->context, e)) return false;
  if (!walk_expr(w, e->left) || !walk_expr(w, e->right) || !walk_list(w, e->list) || !walk_expr(w, e->filter) ||
      !walk_list(w, e->order_by) || !walk_window(w, e->over))
    return false;
  if (!w->into_selects) return true;
  return walk_select(w, e->select) && walk_sources(w, e->source);
}

bool ast_walk(expr *e, bool into_selects, ast_visitor visit, void *context) {
  walk w = {visit, context, into_selects};
  return walk_expr(&w, e);
}

bool ast_walk_select(select *s, ast_visitor visit, void *context) {
  walk w = {visit, context, true};
  return walk_select(&w, s);
}
