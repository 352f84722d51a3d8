/* Finding what a stored text means by a name.
 *
 * The text is parsed; a walk over its tree keeps the scopes (FROM lists, NEW and OLD, WITH) and decides for each name
 * whether it is the table (or the column) in question. What is found is an offset in the text; at the end the tokens
 * there are exchanged, from the last to the first.
 *
 * R1  Only a token that reads as the old name is ever exchanged, so a wrong guess about an offset changes nothing.
 * R2  A name belongs to the innermost scope with a source that has such a column.
 * R3  The new name is written as given where the old one was bare (unless it must be quoted), quoted where it was.
 * What is not looked at: names in strings.
 */
#include "sql/rename.h"

#include <stdlib.h>
#include <strings.h>

typedef struct rscope rscope;
struct rscope {
  rscope *outer;
  const source_list *from;
  const select *query;      /* for aliases in ORDER BY */
  with *with;
  bool trigger;             /* NEW and OLD are the trigger's table */
  const qualified_name *target; /* of an UPDATE, DELETE or INSERT */
  bool excluded;
};

typedef struct finder {
  rename_ *r;
  slice text;
  int database;          /* where the object lives */
  int *offsets;
  int n, capacity;
  const table *own;      /* of a table's or index's text, when strings are looked for */
  bool on_table;         /* NEW and OLD are the table in question */
  int depth;
  status rc;
} finder;

/* ---- tokens ---- */

static size_t skip_space(slice text, size_t at) {
  for (;;) {
    enum token_kind kind;
    size_t n = grammar_token(text, at, DIALECT_SQLITE, &kind);
    if (kind != TOK_SPACE || n == 0) return at;
    at += n;
  }
}

/* The name that a token is, unquoted; false: no name. */
static bool token_name(slice text, size_t at, char *out, size_t size, size_t *length) {
  enum token_kind kind;
  size_t n = grammar_token(text, at, DIALECT_SQLITE, &kind), k = 0;
  *length = n;
  if (n == 0 || (kind != TOK_WORD && kind != TOK_QUOTED && kind != TOK_STRING)) return false;
  const char *p = (const char *)text.p + at;
  if (kind == TOK_WORD) {
    if (n >= size) return false;
    memcpy(out, p, n);
    out[n] = 0;
    return true;
  }
  char close = p[0] == '[' ? ']' : p[0];
  for (size_t i = 1; i + 1 < n && k + 1 < size; i++) {
    if (p[i] == close && p[i + 1] == close) i++;
    out[k++] = p[i];
  }
  out[k] = 0;
  return true;
}

static void add(finder *f, size_t at, const char *old) {
  char name[1024];
  size_t length;
  while (at < f->text.n && f->text.p[at] == '(') at = skip_space(f->text, at + 1); /* a name in parentheses begins at them */
  if (at >= f->text.n || !token_name(f->text, at, name, sizeof name, &length) || strcasecmp(name, old) != 0) return; /* R1 */
  for (int i = 0; i < f->n; i++)
    if (f->offsets[i] == (int)at) return;
  if (f->n == f->capacity) {
    int capacity = f->capacity ? f->capacity * 2 : 16;
    int *grown = arena_alloc(f->r->memory, (size_t)capacity * sizeof *grown);
    if (!grown) {
      f->rc = HDB_NOMEM;
      return;
    }
    if (f->n) memcpy(grown, f->offsets, (size_t)f->n * sizeof *grown);
    f->offsets = grown;
    f->capacity = capacity;
  }
  f->offsets[f->n++] = (int)at;
}

static size_t offset_in(const finder *f, const uint8_t *p) { return (size_t)(p - f->text.p); }

/* Offsets of the parts of a dotted name that begins at `at`; returns their number (at most 3). */
static int dotted(const finder *f, size_t at, size_t parts[3]) {
  while (at < f->text.n && f->text.p[at] == '(') at = skip_space(f->text, at + 1);
  int n = 0;
  char name[1024];
  size_t length;
  while (n < 3 && token_name(f->text, at, name, sizeof name, &length)) {
    parts[n++] = at;
    at = skip_space(f->text, at + length);
    if (at >= f->text.n || f->text.p[at] != '.') break;
    at = skip_space(f->text, at + 1);
  }
  return n;
}

/* ---- what a source is ---- */

static bool is_the_table(const finder *f, const char *schema, const char *name) {
  if (!name || !name_equal(name, f->r->table->name)) return false;
  if (schema) return catalog_database(f->r->db, schema) == f->r->database;
  int number;
  if (f->database != DB_TEMP) return f->database == f->r->database;
  return catalog_table(f->r->db, NULL, name, &number) && number == f->r->database;
}

static const cte *find_cte(const rscope *s, const char *name) {
  for (; s; s = s->outer)
    for (int i = 0; s->with && i < s->with->n; i++)
      if (name_equal(s->with->items[i].name, name)) return &s->with->items[i];
  return NULL;
}

static bool select_has_column(finder *f, const rscope *s, const select *q, const char *name);

static bool view_has_column(finder *f, const table *t, int number, const char *name) {
  buf text = BUF_INIT;
  buf_text(&text, "SELECT * FROM ");
  buf_quoted_name(&text, f->r->db->databases[number].name);
  buf_byte(&text, '.');
  buf_quoted_name(&text, t->name);
  program *q = NULL;
  size_t tail;
  bool found = false;
  if (!buf_failed(&text) && program_compile(f->r->db, buf_slice(&text), &q, &tail) == HDB_OK && q)
    for (int i = 0; i < q->columns_n; i++) found = found || name_equal(q->columns[i].name, name);
  program_free(q);
  buf_free(&text);
  return found;
}

static const table *source_table(const finder *f, const char *schema, const char *name, int *number) {
  const char *where = schema;
  if (!where && f->database != DB_TEMP) where = f->r->db->databases[f->database].name;
  return catalog_table(f->r->db, where, name, number);
}

/* Does the source have a column of that name; *ours: it is the table in question. */
static bool source_has(finder *f, const rscope *s, const source *item, const char *name, bool *ours) {
  *ours = false;
  if (item->select) return select_has_column(f, s, item->select, name);
  if (item->nested) {
    for (int i = 0; i < item->nested->n; i++)
      if (source_has(f, s, &item->nested->items[i], name, ours)) return true;
    return false;
  }
  if (!item->name || item->is_call || item->arguments) return false;
  const cte *c = item->schema ? NULL : find_cte(s, item->name);
  if (c) {
    if (c->columns) {
      for (int i = 0; i < c->columns->n; i++)
        if (name_equal(c->columns->items[i].name, name)) return true;
      return false;
    }
    if (f->depth > 50) return false;
    f->depth++;
    bool found = select_has_column(f, s, c->select, name);
    f->depth--;
    return found;
  }
  if (is_the_table(f, item->schema, item->name)) {
    *ours = table_column(f->r->table, name) >= 0;
    return *ours;
  }
  int number;
  const table *t = source_table(f, item->schema, item->name, &number);
  if (!t) return false;
  return t->kind == TABLE_VIEW ? view_has_column(f, t, number, name) : table_column(t, name) >= 0;
}

static bool select_has_column(finder *f, const rscope *s, const select *q, const char *name) {
  rscope inner = {.outer = (rscope *)s, .with = q->with};
  while (q->prior) q = q->prior;
  if (f->depth > 50) return false;
  f->depth++;
  bool found = false, ours;
  for (int i = 0; q->columns && i < q->columns->n && !found; i++) {
    const struct expr_item *item = &q->columns->items[i];
    if (item->name) found = name_equal(item->name, name);
    else if (item->e->op == EX_ID || item->e->op == EX_DOT) found = name_equal(item->e->text, name);
    else if (item->e->op == EX_STAR)
      for (int k = 0; q->from && k < q->from->n && !found; k++) found = source_has(f, &inner, &q->from->items[k], name, &ours);
  }
  f->depth--;
  return found;
}

static const char *visible_name(const source *item) { return item->alias ? item->alias : item->name; }

/* The source called so; *ours: it is the table under its own name or alias. */
static const source *named_source(const source_list *from, const char *name) {
  for (int i = 0; from && i < from->n; i++) {
    const source *item = &from->items[i];
    if (item->nested && !item->alias) {
      const source *found = named_source(item->nested, name);
      if (found) return found;
    }
    if (visible_name(item) && name_equal(visible_name(item), name)) return item;
  }
  return NULL;
}

static bool source_is_ours(finder *f, const rscope *s, const source *item) {
  if (item->select || item->nested || !item->name || item->is_call) return false;
  if (!item->schema && find_cte(s, item->name)) return false;
  return is_the_table(f, item->schema, item->name);
}

/* ---- names in expressions ---- */

static bool target_is_ours(finder *f, const rscope *s) {
  return s->target && is_the_table(f, s->target->schema, s->target->name);
}

/* A bare name: is it the table's column? (R2) */
static bool bare_is_ours(finder *f, const rscope *s, const char *name) {
  for (; s; s = s->outer) {
    bool ours = false;
    if (s->target) {
      if (target_is_ours(f, s)) {
        if (table_column(f->r->table, name) >= 0) return true;
      } else {
        int number;
        const table *t = source_table(f, s->target->schema, s->target->name, &number);
        if (t && table_column(t, name) >= 0) return false;
      }
    }
    for (int i = 0; s->from && i < s->from->n; i++)
      if (source_has(f, s, &s->from->items[i], name, &ours)) return ours;
  }
  return false;
}

static bool is_alias(const select *q, const char *name) {
  for (; q; q = q->prior)
    for (int i = 0; q->columns && i < q->columns->n; i++)
      if (q->columns->items[i].name && name_equal(q->columns->items[i].name, name)) return true;
  return false;
}

/* A "word" that no source has as a column. */
static bool names_nothing(finder *f, const rscope *s, const char *name) {
  if (is_rowid_name(name)) return false;
  for (; s; s = s->outer) {
    bool ours;
    int number;
    if (s->query && is_alias(s->query, name)) return false;
    if (s->target) {
      const table *t = source_table(f, s->target->schema, s->target->name, &number);
      if (!t || table_column(t, name) >= 0 || t->kind == TABLE_VIEW) return false;
    }
    for (int i = 0; s->from && i < s->from->n; i++)
      if (source_has(f, s, &s->from->items[i], name, &ours)) return false;
  }
  return true;
}

/* A qualifier: is it the table (under whatever name)? *by_name: under its own. */
static bool qualifier_is_ours(finder *f, const rscope *s, const char *schema, const char *name, bool *by_name) {
  *by_name = false;
  for (; s; s = s->outer) {
    if (!schema && s->excluded && name_equal(name, "excluded")) return target_is_ours(f, s);
    if (s->target) {
      const char *visible = s->target->alias ? s->target->alias : s->target->name;
      if (name_equal(visible, name)) {
        *by_name = !s->target->alias;
        return target_is_ours(f, s);
      }
    }
    const source *item = named_source(s->from, name);
    if (item) {
      *by_name = !item->alias;
      return source_is_ours(f, s, item);
    }
    if (s->trigger && !schema && (name_equal(name, "new") || name_equal(name, "old"))) return f->on_table;
  }
  return false;
}

static void walk_select(finder *f, rscope *outer, select *q);
static void walk_expr(finder *f, rscope *s, expr *e);

static void walk_list(finder *f, rscope *s, expr_list *list) {
  for (int i = 0; list && i < list->n; i++) walk_expr(f, s, list->items[i].e);
}

static void walk_dotted(finder *f, rscope *s, const expr *e) {
  size_t parts[3];
  bool by_name;
  if (!e->table || !qualifier_is_ours(f, s, e->schema, e->table, &by_name)) return;
  int n = dotted(f, offset_in(f, e->span.p), parts);
  if (n < 2) return;
  if (f->r->column) {
    if (e->op == EX_DOT) add(f, parts[n - 1], f->r->column);
  } else if (by_name) {
    add(f, e->op == EX_STAR ? parts[n - 1] : parts[n - 2], f->r->table->name);
  }
}

static void walk_source(finder *f, rscope *s, source *item);

static void walk_window(finder *f, rscope *s, window *w) {
  for (; w; w = w->next) {
    walk_list(f, s, w->partition_by);
    walk_list(f, s, w->order_by);
    walk_expr(f, s, w->start_value);
    walk_expr(f, s, w->end_value);
  }
}

static void walk_expr(finder *f, rscope *s, expr *e) {
  if (!e) return;
  switch (e->op) {
  case EX_ID:
    if (f->r->strings) {
      if (e->quoted && f->text.p[offset_in(f, e->span.p)] == '"' && names_nothing(f, s, e->text)) add(f, offset_in(f, e->span.p), e->text);
      return;
    }
    if (f->r->column && name_equal(e->text, f->r->column) && bare_is_ours(f, s, e->text)) add(f, offset_in(f, e->span.p), f->r->column);
    return;
  case EX_DOT: walk_dotted(f, s, e); return;
  case EX_STAR:
    if (!f->r->column && e->table) {
      bool by_name;
      if (qualifier_is_ours(f, s, e->schema, e->table, &by_name) && by_name) add(f, offset_in(f, e->span.p), f->r->table->name);
    }
    return;
  default: break;
  }
  walk_expr(f, s, e->left);
  walk_expr(f, s, e->right);
  walk_list(f, s, e->list);
  walk_expr(f, s, e->filter);
  walk_list(f, s, e->order_by);
  if (e->over) walk_window(f, s, e->over);
  if (e->select) walk_select(f, s, e->select);
  if (e->source)
    for (int i = 0; i < e->source->n; i++) walk_source(f, s, &e->source->items[i]);
}

/* ---- queries ---- */

static void walk_sources(finder *f, rscope *s, source_list *from) {
  for (int i = 0; from && i < from->n; i++) walk_source(f, s, &from->items[i]);
}

static void walk_using(finder *f, const source_list *from, rscope *s, const name_list *names) {
  for (int i = 0; names && f->r->column && i < names->n; i++) {
    bool ours = false;
    if (!name_equal(names->items[i].name, f->r->column)) continue;
    for (int k = 0; k < from->n && !ours; k++) source_has(f, s, &from->items[k], f->r->column, &ours);
    if (ours) add(f, (size_t)names->items[i].offset, f->r->column);
  }
}

static void walk_source(finder *f, rscope *s, source *item) {
  if (item->select) walk_select(f, s, item->select);
  if (item->nested) walk_sources(f, s, item->nested);
  walk_list(f, s, item->arguments);
  walk_expr(f, s, item->on);
  walk_expr(f, s, item->time_from);
  walk_expr(f, s, item->time_to);
  if (item->using_names && s->from) walk_using(f, s->from, s, item->using_names);
  if (!f->r->column && source_is_ours(f, s, item)) {
    size_t parts[3];
    int n = dotted(f, (size_t)item->offset, parts);
    if (n) add(f, parts[item->schema && n > 1 ? 1 : 0], f->r->table->name);
  }
}

static void walk_with(finder *f, rscope *s, with *w) {
  for (int i = 0; w && i < w->n; i++) walk_select(f, s, w->items[i].select);
}

static void walk_order(finder *f, rscope *s, const select *q, expr_list *order) {
  for (int i = 0; order && i < order->n; i++) {
    expr *e = order->items[i].e;
    if (e->op == EX_ID && is_alias(q, e->text)) continue;
    walk_expr(f, s, e);
  }
}

static void walk_select(finder *f, rscope *outer, select *q) {
  rscope withs = {.outer = outer, .with = q->with};
  if (++f->depth > 200) {
    f->depth--;
    return;
  }
  walk_with(f, &withs, q->with);
  for (select *arm = q; arm; arm = arm->prior) {
    rscope s = {.outer = &withs, .from = arm->from, .query = arm};
    walk_sources(f, &s, arm->from);
    if (arm->is_values)
      for (int i = 0; i < arm->values_n; i++) walk_list(f, &s, arm->values[i]);
    else
      walk_list(f, &s, arm->columns);
    walk_expr(f, &s, arm->where);
    walk_order(f, &s, arm, arm->group_by);
    walk_expr(f, &s, arm->having);
    walk_window(f, &s, arm->windows);
    walk_order(f, &s, arm, arm->order_by);
    walk_expr(f, &s, arm->limit);
    walk_expr(f, &s, arm->offset);
    if (arm != q) {
      rscope head = {.outer = &withs, .from = arm->from};
      walk_order(f, &head, q, q->order_by);
    }
  }
  f->depth--;
}

/* ---- writing statements (the steps of triggers) ---- */

static void walk_target(finder *f, rscope *s, const qualified_name *name) {
  if (!f->r->column && is_the_table(f, name->schema, name->name)) add(f, (size_t)name->name_offset, f->r->table->name);
}

static void walk_names(finder *f, bool ours, const name_list *names) {
  if (!f->r->column || !ours) return;
  for (int i = 0; names && i < names->n; i++)
    if (name_equal(names->items[i].name, f->r->column)) add(f, (size_t)names->items[i].offset, f->r->column);
}

static void walk_set(finder *f, rscope *s, bool ours, set_list *set) {
  for (int i = 0; set && i < set->n; i++) {
    walk_names(f, ours, set->items[i].columns);
    walk_expr(f, s, set->items[i].value);
  }
}

static void walk_insert(finder *f, rscope *outer, insert_statement *i) {
  rscope withs = {.outer = outer, .with = i->with};
  rscope s = {.outer = &withs, .target = &i->table, .excluded = true};
  bool ours = is_the_table(f, i->table.schema, i->table.name);
  walk_with(f, &withs, i->with);
  walk_target(f, &withs, &i->table);
  walk_names(f, ours, i->columns);
  if (i->select) walk_select(f, &withs, i->select);
  for (upsert *u = i->upserts; u; u = u->next) {
    walk_list(f, &s, u->target);
    walk_expr(f, &s, u->target_where);
    walk_set(f, &s, ours, u->set);
    walk_expr(f, &s, u->where);
  }
  walk_list(f, &s, i->returning);
}

static void walk_update(finder *f, rscope *outer, update_statement *u) {
  rscope withs = {.outer = outer, .with = u->with};
  rscope s = {.outer = &withs, .target = &u->table, .from = u->from};
  walk_with(f, &withs, u->with);
  walk_target(f, &withs, &u->table);
  walk_sources(f, &s, u->from);
  walk_set(f, &s, is_the_table(f, u->table.schema, u->table.name), u->set);
  walk_expr(f, &s, u->where);
  walk_list(f, &s, u->returning);
  walk_list(f, &s, u->order_by);
  walk_expr(f, &s, u->limit);
  walk_expr(f, &s, u->offset);
}

static void walk_delete(finder *f, rscope *outer, delete_statement *d) {
  rscope withs = {.outer = outer, .with = d->with};
  rscope s = {.outer = &withs, .target = &d->table};
  walk_with(f, &withs, d->with);
  walk_target(f, &withs, &d->table);
  walk_expr(f, &s, d->where);
  walk_list(f, &s, d->returning);
  walk_list(f, &s, d->order_by);
}

static void walk_trigger(finder *f, create_trigger_statement *g) {
  rscope s = {.trigger = true};
  f->on_table = is_the_table(f, g->table.schema, g->table.name);
  if (!f->r->column && f->on_table) add(f, (size_t)g->table.name_offset, f->r->table->name);
  walk_names(f, f->on_table, g->update_of);
  if (!f->r->bodies) return;
  walk_expr(f, &s, g->when);
  for (int i = 0; i < g->steps_n; i++) {
    struct statement *step = g->steps[i];
    switch (step->kind) {
    case ST_SELECT: walk_select(f, &s, step->select); break;
    case ST_INSERT: walk_insert(f, &s, step->insert); break;
    case ST_UPDATE: walk_update(f, &s, step->update); break;
    case ST_DELETE: walk_delete(f, &s, step->delete_); break;
    default: break;
    }
  }
}

/* ---- tables and indexes ---- */

/* Names behind REFERENCES: the parent, and its columns in parentheses. */
static void walk_references(finder *f) {
  bool after = false;
  for (size_t at = 0; at < f->text.n;) {
    enum token_kind kind;
    size_t n = grammar_token(f->text, at, DIALECT_SQLITE, &kind);
    if (n == 0 || kind == TOK_END) break;
    if (kind == TOK_SPACE) {
      at += n;
      continue;
    }
    char name[1024];
    size_t length;
    if (after && token_name(f->text, at, name, sizeof name, &length) && name_equal(name, f->r->table->name)) {
      if (!f->r->column) {
        add(f, at, f->r->table->name);
      } else {
        size_t p = skip_space(f->text, at + n);
        while (p < f->text.n && f->text.p[p] != ')' && (f->text.p[p] == '(' || f->text.p[p] == ',')) {
          p = skip_space(f->text, p + 1);
          if (!token_name(f->text, p, name, sizeof name, &length)) break;
          add(f, p, f->r->column);
          p = skip_space(f->text, p + length);
        }
      }
    }
    after = kind == TOK_WORD && n == 10 && strncasecmp((const char *)f->text.p + at, "references", 10) == 0;
    at += n;
  }
}

/* Every name in an expression where only the table's columns can be meant. */
static bool visit_own(void *context, expr *e) {
  finder *f = context;
  size_t parts[3];
  if (f->r->strings) {
    if (e->op == EX_ID && e->quoted && f->text.p[offset_in(f, e->span.p)] == '"' && table_column(f->own, e->text) < 0 && !is_rowid_name(e->text))
      add(f, offset_in(f, e->span.p), e->text);
    return true;
  }
  if ((e->op == EX_ID || e->op == EX_TEXT) && f->r->column && e->span.p >= f->text.p && e->text && name_equal(e->text, f->r->column)) {
    if (e->op == EX_ID || e->quoted) add(f, offset_in(f, e->span.p), f->r->column);
  } else if (e->op == EX_DOT) {
    int n = dotted(f, offset_in(f, e->span.p), parts);
    if (f->r->column && n) add(f, parts[n - 1], f->r->column);
    else if (!f->r->column && n > 1) add(f, parts[n - 2], f->r->table->name);
  }
  return true;
}

static void walk_own_list(finder *f, expr_list *list) {
  for (int i = 0; list && i < list->n; i++) {
    expr *e = list->items[i].e;
    while (e->op == EX_COLLATE) e = e->left;
    if (e->op == EX_TEXT && f->r->column && e->text && name_equal(e->text, f->r->column)) add(f, offset_in(f, e->span.p), f->r->column);
    else ast_walk(list->items[i].e, false, visit_own, f);
  }
}

static void walk_constraints(finder *f, const constraint *k) {
  for (; k; k = k->next) {
    if (k->value && k->kind != CON_DEFAULT) ast_walk(k->value, false, visit_own, f);
    walk_own_list(f, k->columns);
    if (k->foreign_key) walk_names(f, true, k->foreign_key->columns);
  }
}

static const table *own_table(finder *f, const char *name) {
  int number;
  return name ? catalog_table(f->r->db, f->r->db->databases[f->database].name, name, &number) : NULL;
}

static void walk_strings(finder *f, create_table_statement *t, const char *name) {
  if (!(f->own = own_table(f, name))) return;
  for (int i = 0; i < t->columns_n; i++) walk_constraints(f, t->columns[i].constraints);
  walk_constraints(f, t->constraints);
}

static void walk_table(finder *f, create_table_statement *t, const char *name) {
  if (f->r->strings) {
    walk_strings(f, t, name);
    return;
  }
  bool own = name_equal(name, f->r->table->name) && f->database == f->r->database;
  if (own && !f->r->column) add(f, (size_t)t->table.name_offset, name);
  if (own && (f->r->column || f->r->bodies)) {
    for (int i = 0; i < t->columns_n; i++) {
      if (f->r->column) add(f, (size_t)t->columns[i].offset, f->r->column);
      walk_constraints(f, t->columns[i].constraints);
    }
    walk_constraints(f, t->constraints);
  }
  if (f->r->parents && f->database == f->r->database) walk_references(f);
}

static void walk_index(finder *f, create_index_statement *i, const char *owner) {
  if (f->r->strings) {
    if (!(f->own = own_table(f, owner))) return;
    walk_own_list(f, i->columns);
    if (i->where) ast_walk(i->where, false, visit_own, f);
    return;
  }
  if (f->database != f->r->database || !owner || !name_equal(owner, f->r->table->name)) return;
  if (!f->r->column) add(f, (size_t)i->table_offset, f->r->table->name);
  if (!f->r->column && !f->r->bodies) return;
  walk_own_list(f, i->columns);
  if (i->where) ast_walk(i->where, false, visit_own, f);
}

/* ---- the text ---- */

static int offset_compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static const char *edited(finder *f) {
  buf out = BUF_INIT;
  size_t at = 0;
  qsort(f->offsets, (size_t)f->n, sizeof *f->offsets, offset_compare);
  for (int i = 0; i < f->n; i++) {
    enum token_kind kind;
    size_t start = (size_t)f->offsets[i], n = grammar_token(f->text, start, DIALECT_SQLITE, &kind);
    buf_append(&out, f->text.p + at, start - at);
    at = start + n;
    if (f->r->strings) {
      char name[1024];
      size_t length;
      token_name(f->text, start, name, sizeof name, &length);
      buf_quoted_text(&out, name);
      if (at < f->text.n && f->text.p[at] == '\'') buf_byte(&out, ' ');
      continue;
    }
    if (kind == TOK_WORD && !f->r->quote) { /* R3 */
      buf_text(&out, f->r->new_name);
      continue;
    }
    buf_quoted_name(&out, f->r->new_name);
    if (at < f->text.n && f->text.p[at] == '"') buf_byte(&out, ' ');
  }
  buf_append(&out, f->text.p + at, f->text.n - at);
  const char *text = buf_failed(&out) ? NULL : arena_strndup(f->r->memory, (const char *)out.p, out.n);
  buf_free(&out);
  return text;
}

status rename_text(rename_ *r, int database, const schema_object *o, const char **text, bool *changed) {
  *changed = false;
  *text = o->sql;
  if (!o->sql) return HDB_OK;
  parse_options options = hdb_parse_options(r->db);
  options.schema_text = true;
  options.dialect = DIALECT_SQLITE;
  finder f = {.r = r, .text = slice_str(o->sql), .database = database};
  statement *tree;
  size_t tail;
  TRY(grammar_parse(f.text, &options, r->memory, &tree, &tail, r->err));
  if (!tree) return HDB_OK;
  switch (tree->kind) {
  case ST_CREATE_TABLE: walk_table(&f, tree->create_table, o->name); break;
  case ST_CREATE_INDEX: walk_index(&f, tree->create_index, o->tbl_name); break;
  case ST_CREATE_VIEW:
    if (r->bodies) walk_select(&f, NULL, tree->create_view->select);
    break;
  case ST_CREATE_TRIGGER: walk_trigger(&f, tree->create_trigger); break;
  case ST_CREATE_VIRTUAL_TABLE:
    if (!r->column && name_equal(o->name, r->table->name)) add(&f, (size_t)tree->create_virtual_table->table.name_offset, o->name);
    break;
  default: break;
  }
  if (f.rc != HDB_OK) return sql_nomem(r->err);
  if (f.n == 0) return HDB_OK;
  *text = edited(&f);
  *changed = true;
  return *text ? HDB_OK : sql_nomem(r->err);
}

/* ---- does everything still make sense ---- */

typedef struct test {
  hdb *db;
  int database;
  const char *when;
  arena *memory;
  bool strict; /* "words" are names in tables and indexes; views and triggers keep their ways */
  const char *skip; /* TEMP triggers on this table are not looked at */
} test;

static status in_object(test *t, const schema_object *o, status rc) {
  if (rc == HDB_OK || rc == HDB_NOMEM || rc == HDB_INTERRUPT) return rc;
  char *message = t->db->err.message ? strdup(t->db->err.message) : NULL;
  error_set(&t->db->err, HDB_ERROR, "error in %s %s%s%s: %s", o->type, o->name, t->when[0] ? " " : "", t->when, message ? message : "");
  free(message);
  return HDB_ERROR;
}

static status test_view(test *t, const schema_object *o) {
  buf text = BUF_INIT;
  buf_text(&text, "SELECT * FROM ");
  buf_quoted_name(&text, t->db->databases[t->database].name);
  buf_byte(&text, '.');
  buf_quoted_name(&text, o->name);
  program *p = NULL;
  size_t tail;
  int (*authorize)(void *, int, const char *, const char *, const char *, const char *) = t->db->authorize;
  t->db->authorize = NULL;
  status rc = buf_failed(&text) ? sql_nomem(&t->db->err) : program_compile(t->db, buf_slice(&text), &p, &tail);
  t->db->authorize = authorize;
  program_free(p);
  buf_free(&text);
  return rc;
}

static status test_table(test *t, const schema_object *o, statement *tree) {
  program scratch = {0};
  compile c = compile_begin(t->db, &scratch);
  build b = {t->db, t->memory, &t->db->err, NULL, false};
  table *made;
  c.memory = t->memory;
  status rc = catalog_build_table(&b, tree->create_table, &made);
  if (rc == HDB_OK) rc = table_check_expressions(&c, made);
  buf_free(&c.slot_columns);
  arena_clear(&scratch.memory);
  return rc;
}

static status test_index(test *t, const schema_object *o, statement *tree) {
  build b = {t->db, t->memory, &t->db->err, NULL, false};
  int number;
  index_ *i;
  table *owner = catalog_table(t->db, t->db->databases[t->database].name, tree->create_index->table, &number);
  if (!owner) return error_set(&t->db->err, HDB_ERROR, "no such table: %s", tree->create_index->table);
  TRY(build_index(&b, owner, tree->create_index, &i));
  return index_resolve(&b, i);
}

/* Tables and indexes, with strings in double quotes allowed or not. */
static status test_definition(test *t, const schema_object *o, statement *tree) {
  struct hdb_pragmas *p = &t->db->pragmas;
  bool dml = p->dqs_dml, ddl = p->dqs_ddl;
  if (t->strict) p->dqs_dml = p->dqs_ddl = false;
  status rc = tree->kind == ST_CREATE_TABLE ? test_table(t, o, tree) : test_index(t, o, tree);
  p->dqs_dml = dml, p->dqs_ddl = ddl;
  return rc;
}

static status visit_test(void *context, const schema_object *o) {
  test *t = context;
  if (!o->sql) return HDB_OK;
  parse_options options = hdb_parse_options(t->db);
  options.schema_text = true;
  options.dialect = DIALECT_SQLITE;
  statement *tree;
  size_t tail;
  status rc = grammar_parse(slice_str(o->sql), &options, t->memory, &tree, &tail, &t->db->err);
  if (rc != HDB_OK || !tree) return in_object(t, o, rc);
  switch (tree->kind) {
  case ST_CREATE_TABLE:
  case ST_CREATE_INDEX: return in_object(t, o, test_definition(t, o, tree));
  case ST_CREATE_VIEW: return t->db->pragmas.legacy_alter_table ? HDB_OK : in_object(t, o, test_view(t, o));
  case ST_CREATE_TRIGGER:
    if (t->db->pragmas.legacy_alter_table) return HDB_OK;
    if (t->skip && t->database == DB_TEMP && name_equal(tree->create_trigger->table.name, t->skip)) return HDB_OK;
    return in_object(t, o, trigger_test(t->db, t->database, tree->create_trigger));
  default: return HDB_OK;
  }
}

status schema_test(hdb *db, int database, const char *when, bool strict, const char *skip, arena *memory) {
  if (db->pragmas.writable_schema && !when[0]) return HDB_OK;
  test t = {db, database, when, memory, strict, skip};
  TRY(schema_each(db, database, visit_test, &t));
  if (database == DB_TEMP || !db->databases[DB_TEMP].engine) return HDB_OK;
  t.database = DB_TEMP;
  return schema_each(db, DB_TEMP, visit_test, &t);
}
