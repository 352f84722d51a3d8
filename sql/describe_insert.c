/* INSERT and UPDATE as PostgreSQL has them and the engine's SQL has not: fewer values than columns, DEFAULT among values
 * (the server writes pg_default()). On the tree, before it is compiled (describe.h). */
#include <strings.h>

#include "sql/describe_tree.h"

static bool is_default(const expr *e) { return e && e->op == EX_FUNCTION && strcmp(e->text, "pg_default") == 0; }

static const column *column_named(const table *t, const char *name) {
  int k = name ? table_column(t, name) : -1;
  return k >= 0 ? &t->columns[k] : NULL;
}

/* DEFAULT becomes what the column's text says; NULL without one, which a row id key takes for the next. */
static void take_default(describe *d, const table *t, const char *name, expr *e) {
  const column *c = column_named(t, name);
  expr *made = c && c->default_value ? ast_copy_expr(d->memory, c->default_value) : NULL;
  if (c && c->default_value && !made) {
    d->failed = true;
    return;
  }
  slice span = e->span;
  if (made && made->op == EX_ID) { /* DEFAULT word */
    bool yes = strcasecmp(made->text, "true") == 0, no = strcasecmp(made->text, "false") == 0;
    if (yes || no) made->op = EX_INT, made->i = yes;
    else made->op = EX_TEXT, made->text_n = (uint32_t)strlen(made->text);
  }
  *e = made ? *made : (expr){.op = EX_NULL};
  e->span = span;
}

/* The column GENERATED ALWAYS AS IDENTITY: what stands before the mark in the table's text; -1: none. */
static int identity_always(const table *t) {
  const char *mark = t->sql ? strstr(t->sql, "/*identity always*/") : NULL, *p = mark;
  int depth = 0;
  if (!mark) return -1;
  for (; p > t->sql; p--) {
    if (p[-1] == ')') depth++;
    if ((p[-1] == '(' && depth-- == 0) || (p[-1] == ',' && depth == 0)) break;
  }
  while (*p == ' ' || *p == '\n') p++;
  char name[128];
  bool quoted = *p == '"';
  size_t n = quoted ? strcspn(++p, "\"") : strcspn(p, " \n\t");
  if (n >= sizeof name) return -1;
  memcpy(name, p, n);
  name[n] = 0;
  return table_column(t, name);
}

/* A value for it needs OVERRIDING SYSTEM VALUE, which comes as OR ABORT. */
static void refuse_identity(describe *d, const table *t, const insert_statement *s) {
  int at = s->conflict ? -1 : identity_always(t), place = -1;
  const select *q = s->select;
  if (at < 0) return;
  for (int i = 0; s->columns && i < s->columns->n; i++)
    if (strcasecmp(s->columns->items[i].name, t->columns[at].name) == 0) place = i;
  if (!s->columns) place = at;
  if (place < 0) return;
  bool given = !q->is_values;
  for (int row = 0; q->is_values && row < (q->values_n ? q->values_n : 1); row++) {
    const expr_list *list = row ? q->values[row] : q->columns;
    given = given || (place < list->n && !is_default(list->items[place].e));
  }
  if (given && d->rc == HDB_OK) d->rc = error_set(d->err, HDB_ERROR, "cannot insert a non-DEFAULT value into column \"%s\"", t->columns[at].name);
}

void coerce_insert(describe *d, insert_statement *s) {
  int database;
  const table *t = d->coerce ? catalog_table(d->db, s->table.schema, s->table.name, &database) : NULL;
  select *q = s->select;
  if (!t || t->kind != TABLE_ORDINARY || !q) return;
  refuse_identity(d, t, s);
  int given = q->is_values && q->columns ? q->columns->n : 0;
  if (!s->columns && given && given < t->columns_n && !t->has_generated) { /* the first ones */
    name_list *names = arena_zero(d->memory, sizeof *names);
    if (names) names->items = arena_zero(d->memory, (size_t)given * sizeof *names->items);
    if (!names || !names->items) {
      d->failed = true;
      return;
    }
    for (; names->n < given; names->n++) names->items[names->n].name = t->columns[names->n].name;
    s->columns = names;
  }
  for (int row = 0; q->is_values && row < (q->values_n ? q->values_n : 1); row++) {
    expr_list *list = row ? q->values[row] : q->columns;
    for (int i = 0; list && i < list->n; i++)
      if (is_default(list->items[i].e)) take_default(d, t, s->columns ? i < s->columns->n ? s->columns->items[i].name : NULL : i < t->columns_n ? t->columns[i].name : NULL, list->items[i].e);
  }
}

void coerce_set(describe *d, const qualified_name *name, set_list *set) {
  int database;
  const table *t = d->coerce ? catalog_table(d->db, name->schema, name->name, &database) : NULL;
  int always = t ? identity_always(t) : -1;
  for (int i = 0; t && set && i < set->n; i++) {
    set_item *item = &set->items[i];
    bool own = always >= 0 && item->columns && item->columns->n == 1 && strcasecmp(item->columns->items[0].name, t->columns[always].name) == 0;
    if (own && !is_default(item->value) && d->rc == HDB_OK) d->rc = error_set(d->err, HDB_ERROR, "column \"%s\" can only be updated to DEFAULT", t->columns[always].name);
    expr_list *row = item->value && item->value->op == EX_ROW ? item->value->list : NULL;
    if (is_default(item->value) && item->columns && item->columns->n == 1) take_default(d, t, item->columns->items[0].name, item->value);
    for (int k = 0; row && item->columns && k < row->n && k < item->columns->n; k++)
      if (is_default(row->items[k].e)) take_default(d, t, item->columns->items[k].name, row->items[k].e);
  }
}
