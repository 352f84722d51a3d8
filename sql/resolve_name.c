/* A name becomes a column.
 *
 * Scopes are tried from the inside out. In each: the sources of FROM (or the lone table), the NEW, OLD and excluded
 * rows, the row id's names when exactly one table could be meant, then result aliases. What is found nowhere may be a
 * string ("x"), TRUE or FALSE. Cost: sources times columns a name, at compile time only.
 */
#include "sql/resolve.h"

int source_column(const source *s, const char *name) {
  const table *t = s->table;
  return t ? table_column(t, name) : -1;
}

status each_source(source_list *list, source_visitor visit, void *context) {
  for (int i = 0; i < list->n; i++) {
    source *s = &list->items[i];
    if (s->nested && !s->table) TRY(each_source(s->nested, visit, context));
    else if (s->table) TRY(visit(context, s));
  }
  return HDB_OK;
}

static bool is_schema_table_name(const char *name) {
  return same_word(name, "sqlite_master") || same_word(name, "sqlite_schema") || same_word(name, "sqlite_temp_master") ||
         same_word(name, "sqlite_temp_schema");
}

bool source_is_named(compile *c, const source *s, const char *schema, const char *name) {
  const table *t = s->table;
  if (schema && (s->database < 0 || catalog_database(c->db, schema) != s->database)) return false;
  if (!name) return true;
  if (s->alias) return same_word(s->alias, name);
  if (same_word(t->name, name)) return true;
  return t->kind == TABLE_SCHEMA && is_schema_table_name(name);
}

/* ---- matching ---- */
static bool using_names(const source *s, const char *name) {
  for (int i = 0; s->using_names && i < s->using_names->n; i++)
    if (same_word(s->using_names->items[i].name, name)) return true;
  return false;
}

static bool has_rowid_name(const table *t) { return !t->without_rowid; }

/* ( a JOIN b ) AS x: a.c and c, each perhaps several times (x.c is the first). */
static void match_join(source *s, const char *table_name, const char *name, column_match *m) {
  const table *t = s->table;
  const expr_list *columns = s->select->columns;
  for (int i = 0; i < t->columns_n && i < columns->n; i++) {
    const expr *e = columns->items[i].e;
    if (table_name && !(e->table && same_word(e->table, table_name))) continue;
    if (!same_word(t->columns[i].name, name)) continue;
    m->count++;
    m->parts_n = 1;
    m->parts[0].source = s;
    m->parts[0].column = i;
  }
}

static void match_one(compile *c, source *s, const char *schema, const char *table_name, const char *name, column_match *m) {
  memset(m, 0, offsetof(column_match, parts));
  m->tables = 0;
  m->last = NULL;
  if (s->select && s->select->is_join && !schema) {
    match_join(s, table_name, name, m);
    if (m->count || !table_name) return;
  }
  if (!source_is_named(c, s, schema, table_name)) return;
  int column = source_column(s, name);
  if (column >= 0) {
    m->count = m->parts_n = 1;
    m->parts[0].source = s;
    m->parts[0].column = column;
  } else if (has_rowid_name(s->table)) {
    m->tables = 1;
    m->last = s;
  }
}

static void take(column_match *m, const column_match *found) {
  m->count = found->count;
  m->parts_n = found->parts_n;
  memcpy(m->parts, found->parts, sizeof m->parts[0] * (size_t)found->parts_n);
}

void match_column(source_list *list, int n, compile *c, const char *schema, const char *table_name, const char *name,
                  column_match *m) {
  m->count = m->parts_n = m->tables = 0;
  m->last = NULL;
  for (int i = 0; i < n; i++) {
    source *s = &list->items[i];
    column_match found;
    if (s->table) match_one(c, s, schema, table_name, name, &found);
    else if (s->nested) match_column(s->nested, s->nested->n, c, schema, table_name, name, &found);
    else continue;
    if (!m->count) m->tables += found.tables;
    if (found.last) m->last = found.last;
    if (!found.count) continue;
    if (!m->count) {
      take(m, &found);
    } else if (!using_names(s, name)) {
      int count = m->count + found.count;
      take(m, &found);
      m->count = count;
    } else if (s->join & JOIN_RIGHT) {
      if (!(s->join & JOIN_LEFT)) take(m, &found);
      else
        for (int k = 0; k < found.parts_n && m->parts_n < MATCH_PARTS; k++) m->parts[m->parts_n++] = found.parts[k];
    }
  }
}

/* ---- binding ---- */
static void bind_table_column(const table *t, int slot, int column, expr *e) {
  if (column >= 0 && column == t->rowid_column && !t->without_rowid) column = -1;
  e->op = EX_COLUMN;
  e->slot = slot;
  e->column = column;
  e->object = t;
  e->quoted = false;
  if (column >= 0) {
    e->text = t->columns[column].name;
    e->affinity = t->columns[column].affinity;
    e->collation = t->columns[column].collation;
  } else {
    e->text = t->rowid_column >= 0 ? t->columns[t->rowid_column].name : "rowid";
    e->affinity = AFF_INTEGER;
    e->collation = NULL;
  }
  e->text_n = (uint32_t)strlen(e->text);
}

static void use_column(source *s, int column) {
  const table *t = s->table;
  if (column < 0) return;
  if (t && t->columns[column].generated == 1) s->columns_used = UINT64_MAX; /* its expression may read any */
  s->columns_used |= (uint64_t)1 << (column < 63 ? column : 63);
}

status bind_column(compile *c, source *s, int column, expr *e) {
  const table *t = s->table;
  bind_table_column(t, s->slot, column, e);
  e->table = s->alias ? s->alias : t->name;
  use_column(s, e->column);
  (void)c;
  return HDB_OK;
}

status match_expr(compile *c, const column_match *m, expr *e) {
  if (m->parts_n == 1) return bind_column(c, m->parts[0].source, m->parts[0].column, e);
  expr_list *list = NULL;
  for (int i = 0; i < m->parts_n; i++) {
    expr *part = ast_expr(c->memory, EX_COLUMN, NULL, NULL);
    if (!part) return resolve_no_memory(c);
    part->offset = e->offset;
    TRY(bind_column(c, m->parts[i].source, m->parts[i].column, part));
    if (!(list = ast_list_add(c->memory, list, part))) return resolve_no_memory(c);
  }
  e->op = EX_FUNCTION;
  e->text = "coalesce";
  e->text_n = 8;
  e->list = list;
  bool exists;
  e->object = function_find(c->db, "coalesce", m->parts_n, &exists);
  return HDB_OK;
}

/* ---- the authorizer ---- */
status note_column(compile *c, scope *s, expr *e) {
  const table *t = e->object;
  (void)s;
  if (!c->db->authorize || !t || !t->schema) return HDB_OK;
  const char *name = e->column >= 0 ? t->columns[e->column].name
                     : t->rowid_column >= 0 ? t->columns[t->rowid_column].name
                                            : "ROWID";
  bool ignore;
  TRY(compile_authorize(c, HDB_READ, t->name, name, t->schema->database, &ignore));
  if (!ignore) return HDB_OK;
  e->op = EX_NULL;
  e->affinity = AFF_NONE;
  e->collation = NULL;
  e->object = NULL;
  return HDB_OK;
}

/* ---- lookup ---- */
typedef struct lookup {
  compile *c;
  scope *scope; /* innermost */
  expr *e;
  const char *schema, *table, *name;
  int count;
} lookup;

static status bind_lone(lookup *l, const table *t, int slot, bool rowid_allowed, bool *found) {
  int column = table_column(t, l->name);
  if (column < 0) {
    if (!rowid_allowed || !is_rowid_name(l->name) || t->without_rowid) return HDB_OK;
    column = -1;
  }
  *found = true;
  const char *as = l->table;
  bind_table_column(t, slot, column, l->e);
  l->e->table = as ? as : t->name;
  return HDB_OK;
}

static bool rowid_place(const scope *s) {
  return !s->place || (strcmp(s->place, "index expressions") != 0 && strcmp(s->place, "generated columns") != 0);
}

static status bind_image(lookup *l, const table *t, int slot, bool *found) {
  TRY(bind_lone(l, t, slot, true, found));
  if (!*found || l->e->column < 0) return HDB_OK;
  l->e->row_image = true;
  l->e->affinity = AFF_NONE;
  return HDB_OK;
}

/* OLD and NEW of the trigger being compiled; the excluded row of an upsert. */
static status bind_special(lookup *l, scope *s, bool *found) {
  compile *c = l->c;
  if (l->schema || !l->table) return HDB_OK;
  if (c->trigger_table && c->new_slot >= 0 && c->trigger_event != ST_DELETE && same_word(l->table, "new"))
    return bind_image(l, c->trigger_table, c->new_slot, found);
  if (c->trigger_table && c->old_slot >= 0 && c->trigger_event != ST_INSERT && same_word(l->table, "old"))
    return bind_image(l, c->trigger_table, c->old_slot, found);
  if (s->excluded_slot >= 0 && same_word(l->table, "excluded")) {
    const table *t = s->table ? s->table : s->from && s->from->n ? s->from->items[0].table : NULL;
    if (t) return bind_image(l, t, s->excluded_slot, found);
  }
  return HDB_OK;
}

static bool lone_is_named(const lookup *l, const scope *s) {
  const table *t = s->table;
  if (l->schema && t->schema && catalog_database(l->c->db, l->schema) != t->schema->database) return false;
  return !l->table || same_word(l->table, t->name);
}

static status bind_in_scope(lookup *l, scope *s, bool *found) {
  column_match m;
  m.count = m.tables = 0;
  if (s->from) {
    match_column(s->from, s->from->n, l->c, l->schema, l->table, l->name, &m);
    if (m.count == 1) {
      *found = true;
      return match_expr(l->c, &m, l->e);
    }
    l->count = m.count;
    if (m.count > 1) return HDB_OK;
  }
  if (s->table && lone_is_named(l, s)) TRY(bind_lone(l, s->table, s->slot, rowid_place(s), found));
  if (!*found) TRY(bind_special(l, s, found));
  if (*found || m.tables != 1 || !is_rowid_name(l->name) || !rowid_place(s)) return HDB_OK;
  *found = true;
  if (m.last->select || m.last->is_recursive) { /* SQLite compiled with ROWID_IN_VIEW: NULL */
    l->e->op = EX_NULL;
    return HDB_OK;
  }
  return bind_column(l->c, m.last, -1, l->e);
}

typedef struct has_calls {
  expr *aggregate, *window;
} has_calls;
static bool find_calls(void *context, expr *e) {
  has_calls *h = context;
  if (e->op == EX_AGGREGATE) h->aggregate = e;
  if (e->op == EX_WINDOW) h->window = e;
  return true;
}

static status bind_alias(lookup *l, scope *s, expr **out, bool *found) {
  for (int i = 0; i < s->aliases->n; i++) {
    struct expr_item *item = &s->aliases->items[i];
    if (!item->name || !same_word(item->name, l->name)) continue;
    has_calls h = {NULL, NULL};
    ast_walk(item->e, false, find_calls, &h);
    if (h.aggregate && !(s->allow & ALLOW_AGGREGATE))
      return resolve_error(l->c, -1, "misuse of aliased aggregate %s", item->name);
    if (h.aggregate && s->clause == CLAUSE_WHERE)
      return resolve_error(l->c, l->e->offset, "misuse of aggregate: %s()", h.aggregate->text);
    if (h.window && (!(s->allow & ALLOW_WINDOW) || s != l->scope))
      return resolve_error(l->c, -1, "misuse of aliased window function %s", item->name);
    if (expr_vector_size(item->e) != 1) return resolve_error(l->c, -1, "row value misused");
    *found = true;
    return alias_copy(l->c, s->aliases, i, NULL, out);
  }
  return HDB_OK;
}

static status not_found(lookup *l) {
  const char *what = l->count > 1 ? "ambiguous column name" : "no such column";
  if (l->schema) return resolve_error(l->c, l->e->offset, "%s: %s.%s.%s", what, l->schema, l->table, l->name);
  if (l->table) return resolve_error(l->c, l->e->offset, "%s: %s.%s", what, l->table, l->name);
  return resolve_error(l->c, l->e->offset, "%s: %s", what, l->name);
}

static bool string_allowed(const lookup *l) {
  const scope *s = l->scope;
  if (!l->e->quoted || !(s->allow & ALLOW_DQS)) return false;
  return s->place ? l->c->db->pragmas.dqs_ddl : l->c->db->pragmas.dqs_dml;
}

/* No column has the name: a string, or one of the two words. */
static bool becomes_literal(lookup *l) {
  expr *e = l->e;
  if (l->table || l->count) return false;
  if (string_allowed(l)) {
    e->op = EX_TEXT;
    e->text_n = (uint32_t)strlen(e->text);
    return true;
  }
  if (e->quoted || e->quoted_name) return false;
  bool is_true = same_word(e->text, "true");
  if (!is_true && !same_word(e->text, "false")) return false;
  e->op = EX_INT;
  e->i = is_true;
  return true;
}

status resolve_name(compile *c, scope *s, expr **pe) {
  expr *e = *pe;
  lookup l = {c, s, e, e->op == EX_DOT ? e->schema : NULL, e->op == EX_DOT ? e->table : NULL, e->text, 0};
  bool found = false;
  int level = 0;
  for (scope *at = s; at && !found && l.count < 2; at = at->outer, level++) {
    TRY(bind_in_scope(&l, at, &found));
    if (!found && l.count < 2 && at->aliases && !l.table) TRY(bind_alias(&l, at, pe, &found));
    if (found) break;
  }
  if (!found) return becomes_literal(&l) ? HDB_OK : not_found(&l);
  if (level > s->references_outer) s->references_outer = level;
  e = *pe;
  if (e->op == EX_COLUMN) return note_column(c, s, e);
  return HDB_OK;
}
