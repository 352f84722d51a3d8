/* ORDER BY distance LIMIT k: recognised after the join is planned, when its first source is a scan of the table (or a range of its row ids)
 * whose VECTOR column is measured. The scan becomes ACCESS_VECTOR, the sort goes.
 *
 * A search by another index stays: it reads the few rows that qualify, and the sort orders them. Conditions on the
 * table alone go into the walk, but not those that run queries or the user's code: these are tested behind it, and the
 * walk goes on until enough rows have passed.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "sql/func.h"
#include "sql/vector_access.h"

/* falls: the function falls with the distance, so it is asked for descending. */
static bool distance_metric(const expr *e, enum hnsw_metric *metric, bool *falls) {
  static const struct {
    const char *name;
    enum hnsw_metric metric;
    bool falls;
  } names[] = {{"cosine_distance", HNSW_COSINE, false}, {"l2_distance", HNSW_L2, false},      {"negative_inner_product", HNSW_IP, false},
               {"l1_distance", HNSW_L1, false},         {"cosine_similarity", HNSW_COSINE, true}, {"inner_product", HNSW_IP, true}};
  *falls = false;
  const function *f = e->object;
  if (e->op != EX_FUNCTION || !f || !e->list || e->list->n < 2 || e->filter || e->over) return false;
  if (f < functions_vector.functions || f >= functions_vector.functions + functions_vector.n) return false; /* the user's */
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (strcasecmp(f->name, names[i].name) != 0) continue;
    *metric = names[i].metric;
    *falls = names[i].falls;
    return true;
  }
  if (strcasecmp(f->name, "vector_distance") != 0 || e->list->n > 3) return false;
  *metric = HNSW_COSINE;
  if (e->list->n == 2) return true;
  const expr *named = e->list->items[2].e;
  return named->op == EX_TEXT && vector_metric_named(named->text, named->text_n, metric);
}

typedef struct outside {
  const join_node *j;
  bool yes;
} outside;
static bool outside_visit(void *context, expr *e) {
  outside *o = context;
  if ((e->select && (e->op != EX_SUBQUERY || e->correlated)) || e->op == EX_REGISTER || e->op == EX_AGG_COLUMN) o->yes = false;
  if (e->op == EX_COLUMN) {
    for (int i = 0; i < o->j->levels_n; i++) {
      const access *a = &o->j->levels[i].a;
      if (a->slot == e->slot) o->yes = false;
      for (int k = 0; k < a->nested_slots_n; k++)
        if (a->nested_slots[k] == e->slot) o->yes = false;
    }
  }
  return o->yes;
}
/* One value for the whole join: no column of its sources. */
static bool is_outside(const join_node *j, expr *e) {
  outside o = {j, true};
  ast_walk(e, true, outside_visit, &o);
  return o.yes && plan_deterministic(e);
}

static bool is_measured(const access *a, const expr *e) {
  const table *t = a->table;
  if (e->op != EX_COLUMN || e->slot != a->slot || e->column < 0 || e->column >= t->columns_n) return false;
  const column *c = &t->columns[e->column];
  return c->vector_dimensions && !c->generated && !c->default_value && c->stored >= 0;
}

static bool has_select(void *context, expr *e) {
  if (e->select || e->source) *(bool *)context = true;
  return !*(bool *)context;
}
static bool filters_fit(const compile *c, const select *s) {
  bool found = c->db->user_code;
  if (s->where && !found) ast_walk(s->where, true, has_select, &found);
  for (int i = 0; s->from && i < s->from->n && !found; i++)
    if (s->from->items[i].on) ast_walk(s->from->items[i].on, true, has_select, &found);
  return !found;
}

static bool is_line_of(const char *detail, const char *name) {
  size_t verb = strncmp(detail, "SCAN ", 5) == 0 ? 5 : strncmp(detail, "SEARCH ", 7) == 0 ? 7 : 0, n = strlen(name);
  return verb && strncmp(detail + verb, name, n) == 0 && (detail[verb + n] == 0 || detail[verb + n] == ' ');
}

static const char *metric_name(const vector_access *v) {
  static const char *const metrics[] = {[HNSW_L2] = "l2", [HNSW_COSINE] = "cosine", [HNSW_IP] = "ip", [HNSW_L1] = "l1"};
  return metrics[v->key.metric];
}

static const char *search_line(arena *memory, const vector_line *line, const char *filter) {
  const vector_access *v = line->a->vector;
  return arena_printf(memory, "SEARCH %s USING VECTOR INDEX %s%s(%s %s)%s%s", line->name, v->name ? v->name : "", v->name ? " " : "",
                      line->column, metric_name(v), filter, line->continues ? " WALK AND CONTINUE" : "");
}

static const char *scan_line(arena *memory, const vector_line *line, const char *why) {
  return arena_printf(memory, "SCAN %s BY EXACT DISTANCE (%s %s)%s", line->name, line->column, metric_name(line->a->vector), why);
}

static bool has_filter(const access *a) { return a->filters_n || a->low.present || a->high.present; }

status vector_explain(exec *x, const vector_line *line, const char **detail) {
  enum vector_choice choice;
  arena *memory = &x->lifetime;
  TRY(vector_choose(x, line->a, &choice));
  switch (choice) {
  case VECTOR_WALKS: *detail = search_line(memory, line, has_filter(line->a) ? " FILTER IN WALK" : ""); break;
  case VECTOR_SCANS: *detail = scan_line(memory, line, ""); break;
  case VECTOR_SCANS_FEW: *detail = scan_line(memory, line, " FEW ROWS QUALIFY"); break;
  case VECTOR_SCANS_UNBUILT: *detail = scan_line(memory, line, " UNTIL THE INDEX IS BUILT"); break;
  case VECTOR_SCANS_OVER: *detail = scan_line(memory, line, " NO ROOM UNDER heliosdb_vector_memory"); break;
  case VECTOR_UNKNOWN: break;
  }
  return HDB_OK;
}

/* Can the choice be made without rows of an outer query? */
static bool inside_visit(void *context, expr *e) {
  outside *o = context;
  bool found = false;
  if (e->select || e->source || e->op == EX_REGISTER || e->op == EX_AGG_COLUMN) return o->yes = false;
  if (e->op != EX_COLUMN) return true;
  for (int i = 0; i < o->j->levels_n; i++) found = found || o->j->levels[i].a.slot == e->slot;
  return o->yes = found;
}
static bool stands_alone(const join_node *j, const select *s, expr *query) {
  outside o = {j, true};
  ast_walk(query, true, inside_visit, &o);
  if (s->where && o.yes) ast_walk(s->where, true, inside_visit, &o);
  if (o.yes) ast_walk(s->limit, true, inside_visit, &o);
  if (s->offset && o.yes) ast_walk(s->offset, true, inside_visit, &o);
  for (int i = 0; s->from && i < s->from->n && o.yes; i++)
    if (s->from->items[i].on) ast_walk(s->from->items[i].on, true, inside_visit, &o);
  return o.yes;
}

/* The line that said SCAN now says what is done. */
static status explain_vector(compile *c, const select *s, const join_node *j, const access *a, expr *query, bool continues) {
  explain_list *l = c->explain;
  const char *name = a->table->name;
  for (int i = 0; s->from && i < s->from->n; i++)
    if (s->from->items[i].slot == a->slot && s->from->items[i].alias) name = s->from->items[i].alias;
  for (int i = l ? l->n - 1 : -1; i >= 0; i--) {
    struct explain_entry *e = &l->entries[i];
    if (!e->detail || e->parent != l->parent || !is_line_of(e->detail, name)) continue;
    vector_line *line = plan_alloc(c, sizeof *line);
    if (!line) return plan_no_memory(c);
    *line = (vector_line){.a = a, .name = name, .column = a->table->columns[a->vector->column].name, .continues = continues};
    e->detail = search_line(c->memory, line, has_filter(a) ? " FILTER IN WALK OR SCAN" : "");
    if (!c->parent && !c->in_trigger && stands_alone(j, s, query)) e->vector = line;
    break;
  }
  return HDB_OK;
}

static status vector_access_make(compile *c, const select *s, const access *a, expr *distance, bool swapped, enum hnsw_metric metric,
                                 bool all_rows_count, vector_access **out) {
  vector_access *v = plan_alloc(c, sizeof *v);
  if (!v) return plan_no_memory(c);
  const column *measured = &a->table->columns[distance->list->items[swapped].e->column];
  v->column = (int)(measured - a->table->columns);
  v->swapped = swapped;
  v->key = (vector_key){.tree = a->table->tree, .column = measured->stored, .dimensions = measured->vector_dimensions, .metric = (uint8_t)metric};
  v->name = vector_index_declared(a->table, v->column, &v->key);
  v->label = v->name ? v->name : arena_printf(c->memory, "%s.%s", a->table->name, measured->name);
  if (!v->label) return plan_no_memory(c);
  TRY(expr_compile(c, distance->list->items[!swapped].e, &v->query));
  if (all_rows_count && expr_is_constant(s->limit)) {
    TRY(expr_compile(c, s->limit, &v->limit));
    if (s->offset && expr_is_constant(s->offset)) TRY(expr_compile(c, s->offset, &v->offset));
  }
  *out = v;
  return HDB_OK;
}

status plan_vector(compile *c, select *s, const expr_list *order_by, join_node *j, bool *done) {
  enum hnsw_metric metric;
  bool falls;
  *done = false;
  if (!s->limit || s->for_change || s->distinct || s->has_window || order_by->n != 1 || j->levels_n < 1 || j->has_right) return HDB_OK;
  const struct expr_item *item = &order_by->items[0];
  level *first = &j->levels[0];
  access *a = &first->a;
  if (first->left || (a->kind != ACCESS_SCAN && a->kind != ACCESS_RANGE) || !a->table || a->table->kind != TABLE_ORDINARY ||
      a->table->without_rowid)
    return HDB_OK;
  /* a connection on the past is measured exactly */
  const txn *reads = c->db->databases[a->database].txn;
  if (reads && txn_is_past(reads)) return HDB_OK;
  expr *e = item->e;
  if (!distance_metric(e, &metric, &falls) || item->descending != falls) return HDB_OK;
  bool swapped = !is_measured(a, e->list->items[0].e);
  if (swapped && !is_measured(a, e->list->items[1].e)) return HDB_OK;
  if (!is_outside(j, e->list->items[!swapped].e)) return HDB_OK;
  bool inside = filters_fit(c, s);
  bool continues = j->levels_n > 1 || (first->where_n && !inside);
  vector_access *v = NULL;
  TRY(vector_access_make(c, s, a, e, swapped, metric, !continues, &v));
  v->nulls_last = item->nulls ? item->nulls == 2 : item->descending;
  v->not_null = s->where && s->where->op == EX_NOTNULL && is_measured(a, s->where->left) && j->levels_n == 1 && first->where_n == 1;
  if (v->not_null) first->where_n = 0;
  if (inside) {
    a->filters = first->where;
    a->filters_n = first->where_n;
    first->where_n = 0;
  }
  a->vector = v;
  a->reverse = false;
  a->may_map = false;
  TRY(explain_vector(c, s, j, a, e->list->items[!swapped].e, continues));
  a->kind = ACCESS_VECTOR;
  *done = true;
  return HDB_OK;
}
