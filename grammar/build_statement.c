/* Nodes of statements that are not queries, and the texts that sqlite_schema keeps of them.
 *
 * S1: a CREATE's span begins at the object's unqualified name. It ends where SQLite ends it: a table at its ')' (with
 *     options: at the ';', white space included), an index at the ';', a view there too but trimmed, a trigger at END,
 *     a virtual table at its last token.
 * S2: CONSTRAINT x names every constraint up to the next comma, as in SQLite.
 * Fails by parse_fail only (P1).
 */
#include "grammar/parser.h"
#include "parse.h"

statement *build_statement(parser *p, enum statement_kind kind) {
  statement *s = arena_zero(p->memory, sizeof *s);
  if (s) s->kind = (uint8_t)kind;
  p->statement = s;
  return s;
}

/* Called when the token behind the statement is seen. */
void finish_statement(parser *p) {
  statement *s = p->statement;
  p->done = true;
  if (!s) return;
  s->explain = p->explain;
  s->parameters = p->parameters;
  s->names = p->names;
  s->names_n = p->names_n;
  if (p->first) s->text = slice_of(p->first, (size_t)(p->end - p->first));
  if (p->late && !(p->late_when_run && s->kind >= ST_CREATE_TABLE && s->kind <= ST_ALTER_DROP_COLUMN)) parse_fail(p, p->late_offset < 0 ? NULL : p->text.p + p->late_offset, "%s", p->late);
}

qualified_name build_qualified(parser *p, token a, token b) {
  qualified_name q = {0};
  q.offset = offset_of(p, a.p);
  q.name_offset = offset_of(p, b.p ? b.p : a.p);
  if (b.p) q.schema = token_name(p, a);
  q.name = token_name(p, b.p ? b : a);
  return q;
}

static const uint8_t *name_start(token a, token b) { return b.p ? b.p : a.p; }

static void set_hint(parser *p, qualified_name *name, struct index_hint hint) {
  if (hint.by.p) name->indexed_by = token_name(p, hint.by);
  name->not_indexed = hint.not_indexed;
}

/* ---- INSERT, UPDATE, DELETE ---- */
void add_returning(parser *p, expr_list *list) {
  if (p->in_trigger)
    parse_fail(p, NULL, "cannot use RETURNING in a trigger");
  else
    p->returning = list;
}

expr_list *take_returning(parser *p) {
  expr_list *list = p->returning;
  p->returning = NULL;
  return list;
}

void build_insert(parser *p, with *with, uint8_t conflict, qualified_name table, name_list *columns, select *query,
                  upsert *upserts) {
  statement *s = build_statement(p, ST_INSERT);
  insert_statement *i = s ? arena_zero(p->memory, sizeof *i) : NULL;
  if (!i) return;
  s->insert = i;
  i->with = with, i->conflict = conflict, i->table = table, i->columns = columns, i->select = query;
  i->default_values = query == NULL, i->upserts = upserts, i->returning = take_returning(p);
}

void build_update(parser *p, with *with, uint8_t conflict, qualified_name table, struct index_hint hint, set_list *set,
                  source_list *from, expr *where, struct order_limit order) {
  statement *s = build_statement(p, ST_UPDATE);
  update_statement *u = s ? arena_zero(p->memory, sizeof *u) : NULL;
  if (!u) return;
  s->update = u;
  set_hint(p, &table, hint);
  u->with = with, u->conflict = conflict, u->table = table, u->set = set, u->from = from, u->where = where;
  u->returning = take_returning(p), u->order_by = order.order_by;
  u->limit = order.limit.limit, u->offset = order.limit.offset;
  int columns = 0, limit = p->options->max_columns > 0 ? p->options->max_columns : 2000;
  for (int k = 0; set && k < set->n; k++) columns += set->items[k].columns ? set->items[k].columns->n : 0;
  if (columns > limit) parse_fail(p, NULL, "too many columns in set list");
}

void build_delete(parser *p, with *with, qualified_name table, struct index_hint hint, expr *where,
                  struct order_limit order) {
  statement *s = build_statement(p, ST_DELETE);
  delete_statement *d = s ? arena_zero(p->memory, sizeof *d) : NULL;
  if (!d) return;
  s->delete_ = d;
  set_hint(p, &table, hint);
  d->with = with, d->table = table, d->where = where, d->returning = take_returning(p);
  d->order_by = order.order_by, d->limit = order.limit.limit, d->offset = order.limit.offset;
}

set_list *build_set(parser *p, set_list *list, name_list *names, bool is_row, expr *value) {
  if (!list && !(list = arena_zero(p->memory, sizeof *list))) return NULL;
  if (is_row && names && value && value->op != EX_SUBQUERY) {
    int values = value->op == EX_ROW && value->list ? value->list->n : 1;
    if (values != names->n) parse_fail(p, NULL, "%d columns assigned %d values", names->n, values);
  }
  if (list->n == list->capacity) {
    int capacity = list->capacity ? list->capacity * 2 : 4;
    set_item *items = arena_zero(p->memory, sizeof *items * (size_t)capacity);
    if (!items) return list;
    if (list->n) memcpy(items, list->items, sizeof *items * (size_t)list->n);
    list->items = items;
    list->capacity = capacity;
  }
  list->items[list->n++] = (set_item){names, value};
  return list;
}

upsert *build_upsert(parser *p, expr_list *target, expr *target_where, bool nothing, set_list *set, expr *where,
                     upsert *next) {
  upsert *u = arena_zero(p->memory, sizeof *u);
  if (!u) return next;
  u->target = target, u->target_where = target_where, u->do_nothing = nothing, u->set = set, u->where = where;
  u->next = next;
  return u;
}

/* ---- CREATE TABLE ---- */
void begin_create_table(parser *p, bool temp, bool if_not_exists, token a, token b) {
  statement *s = build_statement(p, ST_CREATE_TABLE);
  create_table_statement *c = s ? arena_zero(p->memory, sizeof *c) : NULL;
  p->create = c;
  if (!c) return;
  s->create_table = c;
  c->temp = temp, c->if_not_exists = if_not_exists, c->table = build_qualified(p, a, b);
  c->span = slice_of(name_start(a, b), 0);
  p->table_tail = &c->constraints;
  p->constraint_tail = NULL;
  p->foreign_key = NULL;
  p->constraint_name = (token){0, 0};
}

void end_create_table(parser *p, const uint8_t *end, uint8_t options, select *query) {
  create_table_statement *c = p->create;
  if (!c) return;
  c->select = query;
  c->without_rowid = options & 1;
  c->strict = (options & 2) != 0;
  if (!end) end = p->last.p;
  c->span.n = (size_t)(end - c->span.p);
}

uint8_t table_option(parser *p, token without, token name) {
  if (without.p && token_is(name, "rowid")) return 1;
  if (!without.p && token_is(name, "strict")) return 2;
  parse_fail(p, NULL, "unknown table option: %.*s", (int)name.n, (const char *)name.p);
  return 0;
}

static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_quote(uint8_t c) { return c == '"' || c == '\'' || c == '`' || c == '['; }

/* Takes a word off the end of a type, with the white space before it. */
static bool drop_last_word(token *type, const char *word) {
  uint32_t n = (uint32_t)strlen(word);
  if (type->n < n || !token_is((token){type->p + type->n - n, n}, word)) return false;
  type->n -= n;
  while (type->n && is_space(type->p[type->n - 1])) type->n--;
  return true;
}

/* The type as SQLite reports it: the text verbatim, quotes around it off, the six standard names in capitals, and
 * without the GENERATED ALWAYS that the grammar takes for a part of it. */
static const char *type_text(parser *p, token type) {
  static const char *const standard[] = {"ANY", "BLOB", "INT", "INTEGER", "REAL", "TEXT"};
  if (!type.p) return "";
  if (type.n >= 16) {
    token shorter = type;
    if (drop_last_word(&shorter, "always")) {
      type = shorter;
      drop_last_word(&type, "generated");
    }
  }
  for (size_t k = 0; k < sizeof standard / sizeof standard[0]; k++)
    if (token_is(type, standard[k])) return standard[k];
  if (type.n >= 2 && is_quote(type.p[0])) {
    bool inner = false;
    for (uint32_t i = 1; i < type.n - 1; i++) inner |= is_quote(type.p[i]);
    if (inner) return token_name(p, type);
    type.p++, type.n -= 2;
  }
  return arena_strndup(p->memory, (const char *)type.p, type.n);
}

static column_definition *append_column(parser *p, create_table_statement *c) {
  if (c->columns_n == c->columns_capacity) {
    int capacity = c->columns_capacity ? c->columns_capacity * 2 : 8;
    column_definition *columns = arena_zero(p->memory, sizeof *columns * (size_t)capacity);
    if (!columns) return NULL;
    if (c->columns_n) memcpy(columns, c->columns, sizeof *columns * (size_t)c->columns_n);
    c->columns = columns;
    c->columns_capacity = capacity;
  }
  return &c->columns[c->columns_n++];
}

void begin_column(parser *p, token name, token type) {
  column_definition *d;
  if (p->create) {
    d = append_column(p, p->create);
  } else {
    d = arena_zero(p->memory, sizeof *d);
    if (p->statement && p->statement->alter) p->statement->alter->definition = d;
  }
  p->column = d;
  p->constraint_tail = d ? &d->constraints : NULL;
  p->constraint_name = (token){0, 0};
  if (!d) return;
  d->name = token_name(p, name);
  d->type = type_text(p, type);
  d->offset = offset_of(p, name.p);
  d->span = slice_of(name.p, 0);
}

void end_column(parser *p) {
  if (!p->column) return;
  const uint8_t *from = p->column->span.p;
  p->column->span = p->create ? slice_of(from, (size_t)(p->end - from)) : trimmed(from, p->last.p);
}

constraint *add_constraint(parser *p, bool of_table, enum constraint_kind kind) {
  constraint ***tail = of_table ? &p->table_tail : &p->constraint_tail;
  if (!*tail) return NULL;
  constraint *c = arena_zero(p->memory, sizeof *c);
  if (!c) return NULL;
  c->kind = (uint8_t)kind;
  if (p->constraint_name.p) c->name = token_name(p, p->constraint_name); /* S2 */
  **tail = c;
  *tail = &c->next;
  return c;
}

void add_generated(parser *p, token open, expr *value, token close, token kind) {
  constraint *c = add_constraint(p, false, CON_GENERATED);
  if (!c) return;
  c->value = value;
  c->span = trimmed(open.p + 1, close.p);
  c->stored = kind.p && token_is(kind, "stored");
  if (kind.p && !c->stored && !token_is(kind, "virtual"))
    parse_fail(p, NULL, "error in generated column \"%s\"", p->column ? p->column->name : "");
}

foreign_key_clause *build_foreign_key(parser *p, token parent, name_list *parent_columns) {
  foreign_key_clause *f = arena_zero(p->memory, sizeof *f);
  p->foreign_key = f;
  if (!f) return NULL;
  f->parent = token_name(p, parent);
  f->parent_columns = parent_columns;
  return f;
}

/* ---- CREATE INDEX, VIEW, TRIGGER, VIRTUAL TABLE ---- */
void build_create_index(parser *p, bool unique, bool if_not_exists, token a, token b, token table, expr_list *columns,
                        expr *where, token method, expr_list *options) {
  statement *s = build_statement(p, ST_CREATE_INDEX);
  create_index_statement *c = s ? arena_zero(p->memory, sizeof *c) : NULL;
  if (!c) return;
  s->create_index = c;
  c->unique = unique, c->if_not_exists = if_not_exists, c->index = build_qualified(p, a, b);
  c->table = token_name(p, table), c->table_offset = offset_of(p, table.p);
  c->columns = columns, c->where = where, c->options = options;
  const uint8_t *from = name_start(a, b);
  c->span = slice_of(from, (size_t)(p->last.p - from));
  check_list_length(p, columns, "index");
  reject_nulls_order(p, columns);
  if (!method.p || !columns) return;
  c->method = token_name(p, method);
  c->op_classes = arena_zero(p->memory, sizeof *c->op_classes * (size_t)columns->n);
  for (int i = 0; c->op_classes && i < columns->n; i++) {
    c->op_classes[i] = columns->items[i].name;
    columns->items[i].name = NULL;
  }
}

void build_create_view(parser *p, bool temp, bool if_not_exists, token a, token b, name_list *columns, select *query) {
  statement *s = build_statement(p, ST_CREATE_VIEW);
  create_view_statement *c = s ? arena_zero(p->memory, sizeof *c) : NULL;
  if (!c) return;
  s->create_view = c;
  c->temp = temp, c->if_not_exists = if_not_exists, c->view = build_qualified(p, a, b);
  c->columns = columns, c->select = query;
  c->span = trimmed(name_start(a, b), p->last.p);
}

create_trigger_statement *begin_trigger(parser *p, bool temp, bool if_not_exists, token a, token b) {
  statement *s = build_statement(p, ST_CREATE_TRIGGER);
  create_trigger_statement *t = s ? arena_zero(p->memory, sizeof *t) : NULL;
  p->trigger = s;
  p->in_trigger = true;
  if (!t) return NULL;
  s->create_trigger = t;
  t->temp = temp, t->if_not_exists = if_not_exists, t->trigger = build_qualified(p, a, b);
  t->span = slice_of(name_start(a, b), 0);
  return t;
}

void add_trigger_step(parser *p, statement *step) {
  create_trigger_statement *t = p->trigger ? p->trigger->create_trigger : NULL;
  if (!t || !step) return;
  if (t->steps_n == t->steps_capacity) {
    int capacity = t->steps_capacity ? t->steps_capacity * 2 : 4;
    statement **steps = arena_alloc(p->memory, sizeof *steps * (size_t)capacity);
    if (!steps) return;
    if (t->steps_n) memcpy(steps, t->steps, sizeof *steps * (size_t)t->steps_n);
    t->steps = steps;
    t->steps_capacity = capacity;
  }
  t->steps[t->steps_n++] = step;
}

void end_trigger(parser *p, const uint8_t *end) {
  p->in_trigger = false;
  p->statement = p->trigger;
  create_trigger_statement *t = p->trigger ? p->trigger->create_trigger : NULL;
  if (t) t->span.n = (size_t)(end - t->span.p);
}

void begin_virtual_table(parser *p, bool if_not_exists, token a, token b, token module) {
  statement *s = build_statement(p, ST_CREATE_VIRTUAL_TABLE);
  create_virtual_table_statement *c = s ? arena_zero(p->memory, sizeof *c) : NULL;
  p->argument = (token){0, 0};
  if (!c) return;
  s->create_virtual_table = c;
  c->if_not_exists = if_not_exists, c->table = build_qualified(p, a, b), c->module = token_name(p, module);
  const uint8_t *from = name_start(a, b);
  c->span = slice_of(from, (size_t)(module.p + module.n - from));
}

/* An argument is verbatim text; an empty one does not count. */
void end_virtual_argument(parser *p) {
  token t = p->argument;
  p->argument = (token){0, 0};
  create_virtual_table_statement *c = p->statement ? p->statement->create_virtual_table : NULL;
  if (!t.p || !c) return;
  int before = c->arguments ? c->arguments->n : 0;
  c->arguments = build_names(p, c->arguments, t);
  if (c->arguments && c->arguments->n > before)
    c->arguments->items[before].name = arena_strndup(p->memory, (const char *)t.p, t.n);
}

void end_virtual_table(parser *p, const uint8_t *end) {
  end_virtual_argument(p);
  create_virtual_table_statement *c = p->statement ? p->statement->create_virtual_table : NULL;
  if (c && end) c->span.n = (size_t)(end - c->span.p);
}

/* ---- the rest ---- */
void build_drop(parser *p, enum statement_kind kind, bool if_exists, qualified_name name) {
  statement *s = build_statement(p, kind);
  if (s) s->drop.name = name, s->drop.if_exists = if_exists;
}

alter_statement *build_alter(parser *p, enum statement_kind kind, qualified_name table) {
  statement *s = build_statement(p, kind);
  alter_statement *a = s ? arena_zero(p->memory, sizeof *a) : NULL;
  p->create = NULL;
  p->foreign_key = NULL;
  if (!a) return NULL;
  s->alter = a;
  a->table = table;
  return a;
}

void build_pragma(parser *p, token a, token b, expr *value, bool parenthesised, bool negative) {
  statement *s = build_statement(p, ST_PRAGMA);
  pragma_statement *g = s ? arena_zero(p->memory, sizeof *g) : NULL;
  if (!g) return;
  s->pragma = g;
  if (b.p) g->schema = token_name(p, a);
  g->name = token_name(p, b.p ? b : a);
  g->has_value = value != NULL, g->value = value, g->parenthesised = parenthesised, g->negative = negative;
}

void build_named(parser *p, enum statement_kind kind, token name) {
  statement *s = build_statement(p, kind);
  if (s) s->savepoint.name = token_name(p, name);
}

branch_statement *build_branch(parser *p, enum statement_kind kind, token name) {
  statement *s = build_statement(p, kind);
  branch_statement *b = s ? arena_zero(p->memory, sizeof *b) : NULL;
  if (!b) return NULL;
  s->branch = b;
  b->name = token_name(p, name);
  return b;
}
