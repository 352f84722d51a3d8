/* What stands behind a FROM item: a table, a view or CTE (copied and opened), a subquery, a table-valued function, a
 * parenthesised join. Each with rows of its own gets a slot.
 *
 * CTEs are looked up innermost WITH first, before any table; a CTE's body sees the WITH it stands in. cte.extra holds,
 * while a CTE is being opened, the complaint that a further reference to it earns. A view's body sees no CTE of its
 * user, and (outside of temp) only tables of its own schema.
 */
#include "sql/describe.h"
#include "sql/resolve.h"
#include "sql/time.h"

enum { EXPANSIONS_MAX = 65535, NESTING_MAX = 2000 };

struct view_chain {
  const table *view;
  struct view_chain *outer;
};

status resolve_no_memory(compile *c) { return error_set(c->err, HDB_NOMEM, "out of memory"); }

status resolve_error(compile *c, int32_t offset, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  status rc = error_setv(c->err, HDB_ERROR, format, arguments);
  va_end(arguments);
  if (c->err && c->depth == 0) c->err->offset = offset;
  return rc;
}

/* ---- a query's columns as a table ---- */
static uint32_t name_hash(const char *name) {
  uint32_t h = 2166136261u;
  for (; *name; name++) h = (h ^ (uint32_t)(*name >= 'A' && *name <= 'Z' ? *name + 32 : *name)) * 16777619u;
  return h;
}

typedef struct name_set {
  const char **names;
  uint32_t mask;
} name_set;

static const char **name_place(name_set *set, const char *name) {
  uint32_t at = name_hash(name) & set->mask;
  while (set->names[at] && !same_word(set->names[at], name)) at = (at + 1) & set->mask;
  return &set->names[at];
}

/* A second "a" is "a:1", as SQLite has it. */
static const char *unique_name(compile *c, name_set *set, const char *name) {
  for (int count = 1; *name_place(set, name); count++) {
    size_t n = strlen(name), j = n ? n - 1 : 0;
    while (j > 0 && name[j] >= '0' && name[j] <= '9') j--;
    if (n && name[j] == ':') n = j;
    name = arena_printf(c->memory, "%.*s:%d", (int)n, name, count);
    if (!name) return NULL;
  }
  *name_place(set, name) = name;
  return name;
}

/* A text that is this word, in parentheses perhaps. */
static bool only_word(slice text, const char *word) {
  size_t n = strlen(word), k = 0;
  for (size_t i = 0; i < text.n; i++) {
    uint8_t b = text.p[i];
    if (b == '(' || b == ')' || b <= ' ') continue;
    if (k == n || (b | 32) != (word[k] | 32)) return false;
    k++;
  }
  return k == n || !text.n;
}

static const char *written_name(compile *c, const select *s, const struct expr_item *item, int number) {
  const char *name = item->name;
  const expr *e = expr_skip_collate(item->e);
  if (!name && e && (e->op == EX_ID || e->op == EX_DOT || e->op == EX_COLUMN)) name = e->text;
  if (!name && item->span.n && !s->is_values) return arena_strndup(c->memory, (const char *)item->span.p, item->span.n);
  bool truth = name && !item->name && (same_word(name, "true") || same_word(name, "false"));
  if (truth && !only_word(item->span, name)) /* x IN () */
    return arena_strndup(c->memory, (const char *)item->span.p, item->span.n);
  if (!name || truth) return arena_printf(c->memory, "column%d", number);
  return name;
}

static select *leftmost_arm(select *s) {
  while (s->prior) s = s->prior;
  return s;
}

static status table_fill(compile *c, table *t, select *s, const name_list *names) {
  select *left = leftmost_arm(s);
  int n = names ? names->n : left->columns->n;
  t->columns_n = t->stored_n = n;
  t->columns = arena_zero(c->memory, (size_t)(n ? n : 1) * sizeof *t->columns);
  name_set set = {NULL, 15};
  while (set.mask < (uint32_t)n * 2) set.mask = set.mask * 2 + 1;
  set.names = arena_zero(c->memory, ((size_t)set.mask + 1) * sizeof *set.names);
  if (!t->columns || !set.names) return resolve_no_memory(c);
  for (int i = 0; i < n; i++) {
    column *k = &t->columns[i];
    k->name = names ? names->items[i].name : written_name(c, left, &left->columns->items[i], i + 1);
    if (k->name && !s->is_join) k->name = unique_name(c, &set, k->name);
    if (!k->name) return resolve_no_memory(c);
    k->type = "";
    k->affinity = AFF_NONE;
    k->stored = i;
  }
  return HDB_OK;
}

static table *table_empty(compile *c, const char *name) {
  table *t = arena_zero(c->memory, sizeof *t);
  if (!t) return NULL;
  t->name = name ? name : "";
  t->kind = TABLE_VIEW;
  t->rowid_column = -1;
  t->statistic_rows = -1;
  return t;
}

status query_table(compile *c, const char *name, select *s, const name_list *names, table **out) {
  if (!(*out = table_empty(c, name))) return resolve_no_memory(c);
  return table_fill(c, *out, s, names);
}

/* Which storage classes may come out: 1 numbers, 2 text, 4 blobs. */
static int possible_classes(const expr *e) {
  for (;;) {
    if (!e) return 0;
    switch (e->op) {
    case EX_COLLATE:
    case EX_PLUS: e = e->left; continue;
    case EX_NULL: return 0;
    case EX_TEXT: return 2;
    case EX_BLOB: return 4;
    case EX_CONCAT: return 6;
    case EX_PARAM:
    case EX_FUNCTION:
    case EX_AGGREGATE:
    case EX_WINDOW:
    case EX_ARROW:
    case EX_ARROW2: return 7;
    case EX_COLUMN:
    case EX_AGG_COLUMN:
    case EX_SUBQUERY:
    case EX_CAST:
    case EX_ROW: {
      uint8_t affinity = expr_affinity(e);
      return affinity >= AFF_NUMERIC ? 5 : affinity == AFF_TEXT ? 6 : 7;
    }
    case EX_CASE: {
      int all = 0;
      for (int i = 0; i < e->list->n; i++)
        if (i % 2 == 1 || (e->has_else && i == e->list->n - 1)) all |= possible_classes(e->list->items[i].e);
      return all;
    }
    default: return 1;
    }
  }
}

static int later_classes(select *head, const select *left, int column) {
  int all = 0;
  for (select *a = head; a != left; a = a->prior)
    if (column < a->columns->n) all |= possible_classes(a->columns->items[column].e);
  return all;
}

void query_table_types(compile *c, table *t, select *s) {
  select *left = leftmost_arm(s);
  for (int i = 0; i < t->columns_n && i < left->columns->n; i++) {
    const expr *e = left->columns->items[i].e;
    column *k = &t->columns[i];
    k->affinity = expr_affinity(e);
    if (k->affinity >= AFF_TEXT && s != left) {
      int classes = later_classes(s, left, i);
      if (k->affinity == AFF_TEXT ? classes & 1 : classes & 2) k->affinity = AFF_BLOB;
    }
    const expr *origin = e;
    while (origin && origin->op == EX_SUBQUERY && origin->select) origin = origin->select->columns->items[0].e;
    if (origin && origin->op == EX_COLUMN && origin->object) {
      const table *from = origin->object;
      if (origin->column >= 0) k->type = from->columns[origin->column].type;
      else k->type = from->rowid_column >= 0 ? from->columns[from->rowid_column].type : "INTEGER";
    }
    const collation *found = NULL;
    error ignored = ERROR_INIT, *real = c->err;
    c->err = &ignored;
    if (expr_collation(c, e, &found) == HDB_OK && found) k->collation = found->name;
    c->err = real;
    error_clear(&ignored);
  }
}

/* ---- subqueries ---- */
static status open_subquery(compile *c, source *s, const char *name, const name_list *names) {
  TRY(open_select(c, s->select));
  table *t;
  TRY(query_table(c, name, s->select, names, &t));
  s->table = t;
  s->database = -1;
  s->slot = compile_slot(c, t->columns_n);
  return HDB_OK;
}

/* SELECT * FROM list */
static select *star_select(compile *c, source_list *list, int32_t offset) {
  select *s = arena_zero(c->memory, sizeof *s);
  expr *star = ast_expr(c->memory, EX_STAR, NULL, NULL);
  if (!s || !star) return NULL;
  star->offset = offset;
  s->columns = ast_list_add(c->memory, NULL, star);
  s->from = list;
  s->text_offset = offset;
  return s->columns ? s : NULL;
}

/* ---- CTEs ---- */
static cte *find_cte(compile *c, const char *name, with **in) {
  for (with *w = c->with; w; w = w->outer)
    for (int i = 0; i < w->n; i++)
      if (same_word(w->items[i].name, name)) {
        *in = w;
        return &w->items[i];
      }
  return NULL;
}

/* The references that a recursive arm makes to its own CTE; at most one. */
static status find_recursive(compile *c, source_list *from, cte *k, table *t, int *found) {
  for (int i = 0; from && i < from->n; i++) {
    source *s = &from->items[i];
    if (s->nested && !s->alias) TRY(find_recursive(c, s->nested, k, t, found));
    if (s->schema || !s->name || s->select || !same_word(s->name, k->name)) continue;
    if (*found) return resolve_error(c, -1, "multiple references to recursive table: %s", k->name);
    *found = 1;
    s->table = t;
    s->cte = k;
    s->is_recursive = true;
    s->database = -1;
  }
  return HDB_OK;
}

static status cte_columns(compile *c, cte *k, table *t, select *body) {
  select *left = leftmost_arm(body);
  if (k->columns && k->columns->n != left->columns->n)
    return resolve_error(c, -1, "table %s has %d values for %d columns", k->name, left->columns->n, k->columns->n);
  return table_fill(c, t, body, k->columns);
}

static status open_arms(compile *c, select *head, select *first);

static status open_cte_body(compile *c, source *s, cte *k, table *t) {
  select *body = s->select, *first_plain = body;
  bool may = body->compound == COMPOUND_UNION_ALL || body->compound == COMPOUND_UNION;
  bool recursive = false;
  for (select *a = body; may && a && a->compound == body->compound; a = a->prior) {
    int found = 0;
    TRY(find_recursive(c, a->from, k, t, &found));
    if (!found) break;
    a->is_recursive = recursive = true;
    first_plain = a->prior;
  }
  k->extra = (void *)"circular reference";
  if (recursive) {
    k->recursive = true;
    TRY(open_arms(c, body, first_plain));
  } else {
    TRY(open_select(c, body));
  }
  TRY(cte_columns(c, k, t, body));
  if (!may) return HDB_OK;
  for (select *a = body; recursive && a != first_plain; a = a->prior)
    for (int i = 0; i < a->from->n; i++)
      if (a->from->items[i].is_recursive) a->from->items[i].slot = compile_slot(c, t->columns_n);
  k->extra = recursive ? (void *)"multiple recursive references" : (void *)"recursive reference in a subquery";
  return open_select(c, body);
}

static status open_cte(compile *c, source *s, cte *k, with *in) {
  if (k->extra) return resolve_error(c, -1, "%s: %s", (const char *)k->extra, k->name);
  if (s->is_call) return resolve_error(c, -1, "'%s' is not a function", s->name);
  if (s->indexed_by) return resolve_error(c, -1, "no such index: %s", s->indexed_by);
  if (++c->expansions > EXPANSIONS_MAX) return resolve_error(c, -1, "too many references to \"%s\": max 65535", k->name);
  table *t = table_empty(c, k->name);
  if (t) t->without_rowid = true; /* unlike a subquery's or view's, whose row id is NULL */
  s->select = ast_copy_select(c->memory, k->select);
  if (!t || !s->select) return resolve_no_memory(c);
  k->uses++;
  s->cte = k;
  with *saved = c->with;
  int default_time = c->default_time;
  c->with = in;
  if (s->time_at) c->default_time = s->time_at;
  status rc = s->is_versions ? resolve_error(c, -1, "VERSIONS BETWEEN is for tables: %s", s->name) : open_cte_body(c, s, k, t);
  c->with = saved;
  c->default_time = default_time;
  k->extra = NULL;
  if (rc != HDB_OK) return rc;
  s->table = t;
  s->database = -1;
  s->slot = compile_slot(c, t->columns_n);
  return HDB_OK;
}

/* ---- views ---- */
static status open_view_body(compile *c, source *s, const table *view) {
  s->select = ast_copy_select(c->memory, view->view);
  if (s->select && pg_table_is_postgres(view->sql)) TRY(pg_coerce_select(c->db, c->memory, s->select, c->err));
  if (!s->select) return resolve_no_memory(c);
  s->select->is_view = true;
  int default_time = c->default_time;
  c->default_time = s->time_at;
  status rc = open_select(c, s->select);
  c->default_time = default_time;
  TRY(rc);
  int n = leftmost_arm(s->select)->columns->n;
  if (view->view_columns && view->view_columns->n != n)
    return resolve_error(c, -1, "expected %d columns for '%s' but got %d", view->view_columns->n, view->name, n);
  table *t;
  TRY(query_table(c, view->name, s->select, view->view_columns, &t));
  t->schema = view->schema;
  s->table = t;
  s->slot = compile_slot(c, t->columns_n);
  return HDB_OK;
}

static status open_view(compile *c, source *s, const table *view) {
  for (struct view_chain *v = c->views; v; v = v->outer)
    if (v->view == view) return resolve_error(c, -1, "view %s is circularly defined", view->name);
  if (++c->expansions > EXPANSIONS_MAX) return resolve_error(c, -1, "too many references to \"%s\": max 65535", view->name);
  if (!view->view) return resolve_error(c, -1, "malformed database schema (%s)", view->name);
  struct view_chain link = {view, c->views};
  const char *fixed = c->fixed_schema;
  with *saved = c->with;
  c->views = &link;
  c->depth++;
  c->with = NULL;
  c->fixed_schema = s->database == DB_TEMP ? NULL : c->db->databases[s->database].name;
  status rc = open_view_body(c, s, view);
  c->views = link.outer;
  c->depth--;
  c->with = saved;
  c->fixed_schema = fixed;
  return rc;
}

/* Columns that outlive the statement they were found in. */
static status keep_columns(table *view, const table *found) {
  arena *memory = &view->schema->memory;
  column *columns = arena_zero(memory, (size_t)(found->columns_n + 1) * sizeof *columns);
  if (!columns) return HDB_NOMEM;
  for (int i = 0; i < found->columns_n; i++) {
    const column *from = &found->columns[i];
    columns[i] = (column){.affinity = from->affinity, .stored = i};
    columns[i].name = arena_strdup(memory, from->name);
    columns[i].type = arena_strdup(memory, from->type);
    columns[i].collation = from->collation ? arena_strdup(memory, from->collation) : NULL;
    if (!columns[i].name || !columns[i].type) return HDB_NOMEM;
  }
  view->columns = columns;
  view->columns_n = view->stored_n = found->columns_n;
  return HDB_OK;
}

status resolve_view_columns(hdb *db, table *view, int database, error *err) {
  if (view->columns_n || view->kind != TABLE_VIEW) return HDB_OK;
  program scratch = {0};
  compile c = compile_begin(db, &scratch);
  c.err = err;
  c.depth = 1; /* offsets are the view's own */
  int (*authorize)(void *, int, const char *, const char *, const char *, const char *) = db->authorize;
  db->authorize = NULL;
  source s = {.name = view->name, .database = database};
  source_list one = {1, 1, &s};
  status rc = open_view(&c, &s, view);
  if (rc == HDB_OK) rc = resolve_from(&c, &one, NULL);
  if (rc == HDB_OK && keep_columns(view, s.table) != HDB_OK) rc = resolve_no_memory(&c);
  db->authorize = authorize;
  buf_free(&c.slot_columns);
  times_free(&scratch);
  arena_clear(&scratch.memory);
  return rc;
}

/* ---- names ---- */
static status no_such_table(compile *c, const char *schema, const char *name) {
  if (c->db->schema_failure.code) return error_set(c->err, c->db->schema_failure.code, "%s", c->db->schema_failure.message);
  if (schema) return resolve_error(c, -1, "no such table: %s.%s", schema, name);
  return resolve_error(c, -1, "no such table: %s", name);
}

static status check_index_hint(compile *c, const source *s, const table *t) {
  if (!s->indexed_by) return HDB_OK;
  for (const index_ *i = t->indexes; i; i = i->next)
    if (i->name && same_word(i->name, s->indexed_by)) return HDB_OK;
  return resolve_error(c, -1, "no such index: %s", s->indexed_by);
}

static status open_named(compile *c, source *s) {
  with *in = NULL;
  cte *k = s->schema ? NULL : find_cte(c, s->name, &in);
  TRY(time_source(c, s));
  if (k) return open_cte(c, s, k, in);
  const char *schema = s->schema ? s->schema : c->fixed_schema;
  int database = -1;
  table *t = NULL;
  if (s->time_at > 0) TRY(time_table(c, s, schema, s->name, &t, &database));
  else t = catalog_table(c->db, schema, s->name, &database);
  if (!t && s->time_at > 0) { /* a view that is younger: its tables as of then */
    t = catalog_table(c->db, schema, s->name, &database);
    if (t && t->kind != TABLE_VIEW) t = NULL;
  }
  if (!t && !s->schema) t = catalog_eponymous(c->db, s->name);
  if (!t) return no_such_table(c, schema, s->name);
  s->database = database;
  if (t->kind == TABLE_VIRTUAL) s->time_at = 0;
  if (s->is_versions) return time_versions(c, s, t, database);
  if (s->is_call && t->kind != TABLE_VIRTUAL) return resolve_error(c, -1, "'%s' is not a function", s->name);
  if (t->kind == TABLE_VIEW) {
    if (s->indexed_by) return resolve_error(c, -1, "no such index: %s", s->indexed_by);
    compile_reads(c, database);
    return open_view(c, s, t);
  }
  TRY(check_index_hint(c, s, t));
  if (database >= 0) compile_reads(c, database);
  s->table = t;
  s->slot = compile_slot(c, t->columns_n);
  return HDB_OK;
}

/* LATERAL (query), as the server writes it: pg_lateral((query)). The query sees what stands left of it. */
select *source_lateral(const source *s) {
  bool is = s->is_call && !s->schema && s->name && strcmp(s->name, "pg_lateral") == 0 && s->arguments && s->arguments->n == 1;
  const expr *e = is ? s->arguments->items[0].e : NULL;
  return e && e->op == EX_SUBQUERY ? e->select : NULL;
}

status open_source(compile *c, select *query, source *s) {
  (void)query;
  if (s->table) return HDB_OK; /* opened by whoever built it, or a recursive reference */
  select *lateral = source_lateral(s);
  if (lateral) {
    s->select = lateral;
    s->lateral = true;
    s->is_call = false;
    s->name = NULL;
    s->arguments = NULL;
  }
  if (s->nested && s->alias) {
    if (!(s->select = star_select(c, s->nested, s->offset))) return resolve_no_memory(c);
    s->select->is_join = true;
    s->nested = NULL;
  }
  if (s->nested) {
    TRY(open_from(c, s->nested));
    return check_parenthesised(c, s->nested);
  }
  if (s->select) return open_subquery(c, s, s->alias, NULL);
  return open_named(c, s);
}

status open_from(compile *c, source_list *from) {
  for (int i = 0; from && i < from->n; i++) TRY(open_source(c, NULL, &from->items[i]));
  return from ? open_using(c, from) : HDB_OK;
}

/* ---- VALUES with aggregates or window calls: a compound of SELECTs ---- */
typedef struct call_search {
  hdb *db;
  bool found;
} call_search;

static bool find_grouping(void *context, expr *e) {
  call_search *x = context;
  if (e->op != EX_FUNCTION) return !x->found;
  bool exists;
  const function *f = function_find(x->db, e->text, e->list ? e->list->n : 0, &exists);
  x->found = x->found || e->over || (f && f->flags & (FUNC_AGGREGATE | FUNC_WINDOW_ONLY));
  return !x->found;
}

bool values_need_query(hdb *db, const select *s) {
  call_search x = {db, false};
  for (int i = 0; s->is_values && i < s->values_n && !x.found; i++)
    for (int k = 0; k < s->values[i]->n && !x.found; k++) ast_walk(s->values[i]->items[k].e, false, find_grouping, &x);
  return x.found;
}

static status split_values(compile *c, select *s) {
  if (!values_need_query(c->db, s)) return HDB_OK;
  select *prior = s->prior;
  uint8_t compound = s->compound;
  for (int i = 0; i < s->values_n; i++) {
    bool last = i + 1 == s->values_n;
    select *arm = last ? s : arena_zero(c->memory, sizeof *arm);
    if (!arm) return resolve_no_memory(c);
    arm->text_offset = s->text_offset;
    arm->columns = s->values[i];
    arm->compound = i ? COMPOUND_UNION_ALL : compound;
    arm->prior = prior;
    prior = arm;
    for (int k = 0; k < arm->columns->n; k++) {
      struct expr_item *item = &arm->columns->items[k];
      if (!item->name && !(item->name = arena_printf(c->memory, "column%d", k + 1))) return resolve_no_memory(c);
    }
  }
  s->is_values = false;
  s->values = NULL;
  s->values_n = 0;
  return HDB_OK;
}

/* ---- whole selects ---- */
typedef struct opening {
  compile *c;
  status rc;
} opening;

static bool open_node(void *context, expr *e) {
  opening *o = context;
  if (e->op == EX_IN && e->source && !e->select) { /* x IN table */
    e->select = star_select(o->c, e->source, e->offset);
    if (!e->select) o->rc = resolve_no_memory(o->c);
    e->source = NULL;
  }
  if (e->select && o->rc == HDB_OK) o->rc = open_select(o->c, e->select);
  return o->rc == HDB_OK;
}

status open_expr(compile *c, expr *e) {
  opening o = {c, HDB_OK};
  if (e) ast_walk(e, false, open_node, &o);
  return o.rc;
}

status open_list(compile *c, expr_list *list) {
  for (int i = 0; list && i < list->n; i++) TRY(open_expr(c, list->items[i].e));
  return HDB_OK;
}

static status open_conditions(compile *c, source_list *from) {
  for (int i = 0; from && i < from->n; i++) {
    source *s = &from->items[i];
    if (s->nested) TRY(open_conditions(c, s->nested));
    TRY(open_expr(c, s->on));
    TRY(open_list(c, s->arguments));
    TRY(open_expr(c, s->time_from));
    TRY(open_expr(c, s->time_to));
  }
  return HDB_OK;
}

static status check_lengths(compile *c, const select *s) {
  int limit = c->db->limits[HDB_LIMIT_COLUMN];
  const char *what = s->columns->n > limit                   ? "columns in result set"
                     : s->group_by && s->group_by->n > limit ? "terms in GROUP BY clause"
                     : s->order_by && s->order_by->n > limit ? "terms in ORDER BY clause"
                                                             : NULL;
  return what && limit > 0 ? resolve_error(c, -1, "too many %s", what) : HDB_OK;
}

static status open_arm(compile *c, select *s) {
  if (s->opened) return HDB_OK;
  s->opened = true;
  if (s->is_values) TRY(split_values(c, s));
  TRY(open_from(c, s->from));
  TRY(expand_stars(c, s));
  TRY(check_lengths(c, s));
  TRY(open_list(c, s->columns));
  for (int i = 1; i < s->values_n; i++) TRY(open_list(c, s->values[i]));
  TRY(open_conditions(c, s->from));
  TRY(open_expr(c, s->where));
  TRY(open_list(c, s->group_by));
  TRY(open_expr(c, s->having));
  TRY(open_list(c, s->order_by));
  TRY(open_expr(c, s->limit));
  TRY(open_expr(c, s->offset));
  for (window *w = s->windows; w; w = w->next) {
    TRY(open_list(c, w->partition_by));
    TRY(open_list(c, w->order_by));
  }
  return HDB_OK;
}

/* The arms from `first` to the leftmost, under the WITH of the head. */
static status open_arms(compile *c, select *head, select *first) {
  with *saved = c->with;
  if (head->with) {
    if (head->with != c->with) head->with->outer = c->with;
    c->with = head->with;
  }
  status rc = ++c->nesting > NESTING_MAX ? resolve_error(c, -1, "parser stack overflow") : HDB_OK;
  for (select *a = first; a && rc == HDB_OK; a = a->prior) rc = open_arm(c, a);
  c->nesting--;
  c->with = saved;
  return rc;
}

status open_select(compile *c, select *s) { return open_arms(c, s, s); }
