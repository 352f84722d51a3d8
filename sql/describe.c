/* Static types over the tree as parsed (describe.h).
 *
 * One walk: sources of a query first (tables, views, CTEs, subqueries become lists of typed columns), then its
 * expressions with what is expected of them. An operand without a type of its own (a parameter, a quoted literal, NULL)
 * is visited again with its neighbour's type. Nothing of the tree is changed. Views are parsed trees of the catalog.
 * Recursion is bounded by the parser's depth limit and by VIEW_DEPTH.
 */
#include "sql/describe_tree.h"

#include <stdlib.h>
#include <strings.h>

#include "sql/number.h"
#include "sql/resolve.h"

enum { VIEW_DEPTH = 20 };

typedef struct columns {
  int n;
  described_column *list;
} columns;

typedef struct named {   /* a source in scope, or a CTE */
  const char *name;
  columns c;
  struct named *next;
} named;

typedef struct frame {
  named *sources;
  named *ctes;
  struct frame *outer;
} frame;

static void name_columns(describe *d, select *s);
static columns infer_select(describe *d, select *s, frame *outer, const typed *expected, int expected_n);
static typed infer(describe *d, frame *f, expr *e, uint32_t expected);
static const typed no_type = {0, -1};

/* ---- sources ---- */

static uint32_t hash_oid(const char *name) {
  uint32_t h = 2166136261u;
  for (; *name; name++) h = (h ^ (uint8_t)ascii_lower((unsigned char)*name)) * 16777619u;
  return 1000000000u + h % 1000000000u;
}

uint32_t pg_table_oid(const table *t) { return t->tree ? 16384 + t->tree : hash_oid(t->name); }

static columns columns_new(describe *d, int n) {
  columns c = {n, arena_zero(d->memory, (size_t)(n + 1) * sizeof(described_column))};
  if (!c.list) c.n = 0, d->failed = true;
  return c;
}

static columns table_columns(describe *d, const table *t) {
  int n = 0;
  if (t->kind == TABLE_VIEW && t->view && d->depth < VIEW_DEPTH) {
    d->depth++;
    bool coerce = d->coerce;
    d->coerce = false; /* the catalog's own tree */
    columns c = infer_select(d, t->view, NULL, NULL, 0);
    d->coerce = coerce;
    d->depth--;
    for (int i = 0; i < c.n; i++) {
      if (t->view_columns && i < t->view_columns->n) c.list[i].label = t->view_columns->items[i].name;
      c.list[i].table = pg_table_oid(t);
      c.list[i].column = (uint16_t)(i + 1);
    }
    return c;
  }
  bool postgres = t->kind == TABLE_VIRTUAL ? t->module && strncmp(t->name, "pragma_", 7) != 0 : pg_table_is_postgres(t->sql);
  columns c = columns_new(d, t->columns_n);
  for (int i = 0; i < t->columns_n && c.n; i++) {
    if (t->columns[i].hidden) continue;
    const char *declared = pg_column_override(d->memory, t->sql, t->columns[i].name);
    int32_t modifier;
    const pg_type *type = pg_type_of_declared(d->db, declared ? declared : t->columns[i].type, postgres, &modifier);
    if (t->kind == TABLE_VIRTUAL && postgres && strcmp(t->columns[i].type, "char") == 0) type = pg_type_by_oid(PG_CHAR), modifier = -1; /* pg_catalog's "char" */
    c.list[n++] = (described_column){.label = arena_strdup(d->memory, t->columns[i].name), .type = type ? type->oid : PG_TEXT,
                                     .modifier = modifier, .table = t->kind == TABLE_VIRTUAL ? 0 : pg_table_oid(t), .column = (uint16_t)(i + 1)};
  }
  c.n = n;
  return c;
}

static const named *find_cte(const frame *f, const char *name) {
  for (; f; f = f->outer)
    for (const named *x = f->ctes; x; x = x->next)
      if (strcasecmp(x->name, name) == 0) return x;
  return NULL;
}

static void add_source(describe *d, frame *f, const char *name, columns c) {
  named *x = arena_zero(d->memory, sizeof *x);
  if (!x) {
    d->failed = true;
    return;
  }
  x->name = name ? name : "";
  x->c = c;
  named **at = &f->sources;
  while (*at) at = &(*at)->next;
  *at = x;
}

/* json_each(pg_any_array(array)) gives the array's elements. */
static void element_type(describe *d, frame *f, const source *s, columns *c) {
  expr *a = s->arguments && s->arguments->n == 1 ? s->arguments->items[0].e : NULL;
  if (!a || a->op != EX_FUNCTION || strcmp(a->text, "pg_any_array") != 0 || !a->list || a->list->n != 1) return;
  uint32_t element = pg_array_element(infer(d, f, a->list->items[0].e, PG_TEXT_ARRAY).type);
  for (int i = 0; element && i < c->n; i++)
    if (strcmp(c->list[i].label, "value") == 0 || strcmp(c->list[i].label, "pg_value") == 0) c->list[i].type = element;
}

static void open_sources(describe *d, frame *f, source_list *list) {
  for (int i = 0; list && i < list->n; i++) {
    source *s = &list->items[i];
    const char *name = s->alias ? s->alias : s->name;
    if (s->nested && !s->name) {
      open_sources(d, f, s->nested);
    } else if (s->select && !s->name) {
      name_columns(d, s->select);
      add_source(d, f, name, infer_select(d, s->select, f, NULL, 0));
    } else if (s->name) {
      const named *cte = s->schema || s->is_call ? NULL : find_cte(f, s->name);
      if (source_lateral(s)) {
        name_columns(d, source_lateral(s));
        add_source(d, f, name, infer_select(d, source_lateral(s), f, NULL, 0));
        continue;
      }
      if (s->arguments)
        for (int k = 0; k < s->arguments->n; k++) infer(d, f, s->arguments->items[k].e, strcasecmp(s->name, "generate_series") == 0 ? PG_INT8 : PG_TEXT);
      int database;
      table *t = cte ? NULL : catalog_table(d->db, s->schema, s->name, &database);
      if (!t && !cte) t = catalog_eponymous(d->db, s->name);
      if (cte) {
        add_source(d, f, name, cte->c);
      } else if (t) {
        columns c = table_columns(d, t);
        if (strcasecmp(t->name, "generate_series") == 0 && c.n) c.list[0].type = PG_INT8;
        if (strcasecmp(t->name, "json_each") == 0 || strcasecmp(t->name, "pg_elements") == 0) element_type(d, f, s, &c);
        if (strcasecmp(t->name, "pg_series") == 0 && c.n) c.list[0].type = PG_INT8;
        add_source(d, f, name, c);
      }
    }
  }
  for (int i = 0; list && i < list->n; i++)
    if (list->items[i].on) infer(d, f, list->items[i].on, PG_BOOL);
}

/* ---- names ---- */

static const described_column *find_column(const frame *f, const char *source_name, const char *column) {
  for (; f; f = f->outer)
    for (const named *x = f->sources; x; x = x->next) {
      if (source_name && strcasecmp(source_name, x->name) != 0) continue;
      for (int i = 0; i < x->c.n; i++)
        if (x->c.list[i].label && strcasecmp(x->c.list[i].label, column) == 0) return &x->c.list[i];
    }
  return NULL;
}

static bool is_row_id(const char *name) { return is_rowid_name(name); }

/* ---- operators ---- */

static int rank_of(uint32_t type) {
  switch (type) {
  case PG_INT2: return 1;
  case PG_INT4: return 2;
  case PG_INT8: case PG_OID: return 3;
  case PG_NUMERIC: return 4;
  case PG_FLOAT4: return 5;
  case PG_FLOAT8: return 6;
  default: return 0;
  }
}

static uint32_t wider(uint32_t a, uint32_t b) { return rank_of(a) >= rank_of(b) ? a : b; }

/* Of two branches (CASE, UNION, coalesce). */
static typed unify(typed a, typed b) {
  if (a.type == 0 || (a.type == PG_UNKNOWN)) return b.type ? b : a;
  if (b.type == 0 || b.type == PG_UNKNOWN) return a;
  if (a.type == b.type) return a.modifier == b.modifier ? a : typed_of(a.type);
  if (rank_of(a.type) && rank_of(b.type)) return typed_of(wider(a.type, b.type));
  if (a.type == PG_DATE && (b.type == PG_TIMESTAMP || b.type == PG_TIMESTAMPTZ)) return b;
  if (a.type == PG_TIMESTAMP && b.type == PG_TIMESTAMPTZ) return b;
  return a;
}

/* Both operands, each learning from the other. */
static void infer_pair(describe *d, frame *f, expr *left, expr *right, typed *l, typed *r) {
  *l = infer(d, f, left, 0);
  *r = infer(d, f, right, l->type);
  if (l->type == 0 && r->type) *l = infer(d, f, left, r->type);
}

static void compare_pair(describe *d, frame *f, expr *left, expr *right, typed *l, typed *r) {
  infer_pair(d, f, left, right, l, r);
  coerce_pair(d, left, right, *l, *r);
}

static typed infer_call(describe *d, frame *f, expr *e, uint32_t expected);

/* e: the whole, which may become another call. */
static typed arithmetic(describe *d, frame *f, expr *e, expr *left, expr *right, int op, uint32_t expected) {
  typed l = infer(d, f, left, 0), r = infer(d, f, right, 0);
  bool l_moment = l.type == PG_DATE || l.type == PG_TIMESTAMP || l.type == PG_TIMESTAMPTZ;
  bool r_moment = r.type == PG_DATE || r.type == PG_TIMESTAMP || r.type == PG_TIMESTAMPTZ;
  if (l.type == 0 && r.type) l = infer(d, f, left, r.type == PG_INTERVAL ? PG_TIMESTAMPTZ : r.type);
  if (r.type == 0 && l.type) r = infer(d, f, right, l_moment ? PG_INTERVAL : l.type);
  if (coerce_zoned_arithmetic(d, e, left, right, l, r, op)) return infer_call(d, f, e, expected);
  if (l.type == 0 && r.type == 0) {
    uint32_t wanted = rank_of(expected) ? expected : PG_INT4;
    l = infer(d, f, left, wanted);
    r = infer(d, f, right, wanted);
  }
  if (l_moment && r_moment && op == EX_SUB) return typed_of(l.type == PG_DATE && r.type == PG_DATE ? PG_INT4 : PG_INTERVAL);
  if (l_moment) return typed_of(l.type == PG_DATE && r.type == PG_INTERVAL ? PG_TIMESTAMP : l.type);
  if (r_moment) return typed_of(r.type);
  if (l.type == PG_INTERVAL || r.type == PG_INTERVAL) return typed_of(PG_INTERVAL);
  if (!rank_of(l.type) || !rank_of(r.type)) return typed_of(rank_of(l.type) ? l.type : rank_of(r.type) ? r.type : PG_NUMERIC);
  uint32_t type = wider(l.type, r.type);
  return typed_of(type == PG_OID ? PG_INT8 : type == PG_FLOAT4 && l.type != r.type ? PG_FLOAT8 : type);
}

/* ---- functions ---- */

enum { FIRST = 1, SAME = 2 }; /* result codes that are no type number: the first argument's type; all arguments alike */
static const struct known_function {
  const char *name;
  uint32_t result, arguments; /* arguments: expected of untyped ones, 0: text */
} known_functions[] = {
    {"abs", FIRST, PG_INT4}, {"age", PG_INTERVAL, PG_TIMESTAMPTZ}, {"pg_enum_order", PG_INT4, 0}, {"pg_interval_sum", PG_INTERVAL, PG_INTERVAL}, {"pg_interval_avg", PG_INTERVAL, PG_INTERVAL}, {"corr", PG_FLOAT8, PG_FLOAT8}, {"covar_pop", PG_FLOAT8, PG_FLOAT8}, {"covar_samp", PG_FLOAT8, PG_FLOAT8}, {"jsonb_exists", PG_BOOL, 0}, {"pg_vector_text", PG_TEXT, 0}, {"pg_percentile_cont", PG_FLOAT8, PG_FLOAT8}, {"pg_percentile_disc", FIRST, PG_FLOAT8}, {"pg_mode", FIRST, 0}, {"pg_local", PG_TIMESTAMP, PG_TIMESTAMPTZ}, {"pg_utc", PG_TIMESTAMPTZ, PG_TIMESTAMP}, {"pg_local_in", PG_TIMESTAMP, 0}, {"pg_utc_in", PG_TIMESTAMPTZ, 0}, {"pg_zoned_text", PG_TEXT, PG_TIMESTAMPTZ}, {"pg_zoned_add", PG_TIMESTAMPTZ, 0}, {"pg_zoned_extract", PG_NUMERIC, 0}, {"pg_zoned_char", PG_TEXT, 0}, {"current_timestamp", PG_TIMESTAMPTZ, 0}, {"current_date", PG_DATE, 0}, {"current_time", PG_TIME, 0},
    {"any_value", FIRST, 0}, {"array_length", PG_INT4, 0},
    {"array_to_string", PG_TEXT, 0}, {"ascii", PG_INT4, 0}, {"bool_and", PG_BOOL, PG_BOOL}, {"bool_or", PG_BOOL, PG_BOOL},
    {"btrim", PG_TEXT, 0}, {"cardinality", PG_INT4, 0}, {"ceil", FIRST, PG_FLOAT8}, {"ceiling", FIRST, PG_FLOAT8},
    {"changes", PG_INT8, 0}, {"char_length", PG_INT4, 0}, {"character_length", PG_INT4, 0}, {"chr", PG_TEXT, PG_INT4},
    {"clock_timestamp", PG_TIMESTAMPTZ, 0}, {"coalesce", SAME, 0}, {"col_description", PG_TEXT, 0}, {"concat", PG_TEXT, 0},
    {"count", PG_INT8, 0}, {"cume_dist", PG_FLOAT8, 0}, {"current_catalog", PG_NAME, 0}, {"current_database", PG_NAME, 0},
    {"current_role", PG_NAME, 0}, {"current_schema", PG_NAME, 0}, {"current_schemas", 1003, PG_BOOL},
    {"current_setting", PG_TEXT, 0}, {"current_user", PG_NAME, 0}, {"currval", PG_INT8, 0}, {"date", PG_DATE, 0},
    {"date_part", PG_FLOAT8, PG_TIMESTAMP}, {"dense_rank", PG_INT8, 0}, {"every", PG_BOOL, PG_BOOL}, {"exp", PG_FLOAT8, PG_FLOAT8},
    {"first_value", FIRST, 0}, {"floor", FIRST, PG_FLOAT8}, {"format_type", PG_TEXT, PG_INT4}, {"gen_random_uuid", PG_UUID, 0},
    {"greatest", SAME, 0}, {"group_concat", PG_TEXT, 0}, {"has_schema_privilege", PG_BOOL, 0}, {"has_table_privilege", PG_BOOL, 0},
    {"has_column_privilege", PG_BOOL, 0}, {"has_database_privilege", PG_BOOL, 0}, {"ifnull", SAME, 0}, {"iif", PG_TEXT, 0}, {"initcap", PG_TEXT, 0},
    {"inet_server_port", PG_INT4, 0}, {"instr", PG_INT4, 0}, {"justify_interval", PG_INTERVAL, PG_INTERVAL}, {"lag", FIRST, 0}, {"last_insert_rowid", PG_INT8, 0},
    {"last_value", FIRST, 0}, {"lastval", PG_INT8, 0}, {"lead", FIRST, 0}, {"least", SAME, 0}, {"left", PG_TEXT, PG_INT4},
    {"length", PG_INT4, 0}, {"ln", PG_FLOAT8, PG_FLOAT8}, {"localtimestamp", PG_TIMESTAMP, 0}, {"log", PG_FLOAT8, PG_FLOAT8},
    {"lower", PG_TEXT, 0}, {"make_date", PG_DATE, PG_INT4}, {"max", FIRST, 0}, {"min", FIRST, 0}, {"mod", SAME, PG_INT4}, {"nextval", PG_INT8, 0},
    {"now", PG_TIMESTAMPTZ, 0}, {"nth_value", FIRST, 0}, {"ntile", PG_INT4, PG_INT4}, {"nullif", SAME, 0},
    {"num_nonnulls", PG_INT4, 0}, {"obj_description", PG_TEXT, 0}, {"octet_length", PG_INT4, 0}, {"percent_rank", PG_FLOAT8, 0},
    {"pg_advisory_lock", PG_VOID, PG_INT8}, {"pg_advisory_unlock", PG_BOOL, PG_INT8}, {"pg_advisory_unlock_all", PG_VOID, 0}, {"pg_backend_pid", PG_INT4, 0},
    {"pg_blocking_pids", 1007, 0}, {"pg_cancel_backend", PG_BOOL, PG_INT4}, {"pg_current_date", PG_DATE, 0}, {"pg_current_time", PG_TIME, 0},
    {"pg_database_size", PG_INT8, 0}, {"pg_encoding_to_char", PG_NAME, PG_INT4}, {"pg_extract", PG_NUMERIC, PG_TIMESTAMP},
    {"pg_function_is_visible", PG_BOOL, 0}, {"pg_get_constraintdef", PG_TEXT, 0}, {"pg_get_expr", PG_TEXT, 0},
    {"pg_get_indexdef", PG_TEXT, 0}, {"pg_get_serial_sequence", PG_TEXT, 0}, {"pg_get_userbyid", PG_NAME, 0},
    {"pg_get_viewdef", PG_TEXT, 0}, {"pg_index_column_has_property", PG_BOOL, 0}, {"pg_indexam_has_property", PG_BOOL, 0},
    {"pg_is_in_recovery", PG_BOOL, 0}, {"pg_is_other_temp_schema", PG_BOOL, 0}, {"pg_my_temp_schema", PG_OID, 0}, {"pg_subscript_at", PG_INT4, 0}, {"pg_notify", PG_VOID, 0}, {"pg_relation_is_publishable", PG_BOOL, 0},
    {"pg_relation_size", PG_INT8, 0}, {"pg_size_pretty", PG_TEXT, PG_INT8}, {"pg_sleep", PG_VOID, PG_FLOAT8},
    {"pg_table_is_visible", PG_BOOL, 0}, {"pg_table_size", PG_INT8, 0}, {"pg_terminate_backend", PG_BOOL, PG_INT4},
    {"pg_total_relation_size", PG_INT8, 0}, {"pg_try_advisory_lock", PG_BOOL, PG_INT8}, {"pg_type_is_visible", PG_BOOL, 0},
    {"pg_typeof", PG_REGTYPE, 0}, {"pi", PG_FLOAT8, 0}, {"position", PG_INT4, 0}, {"pow", PG_FLOAT8, PG_FLOAT8}, {"power", PG_FLOAT8, PG_FLOAT8},
    {"quote_ident", PG_TEXT, 0}, {"quote_literal", PG_TEXT, 0}, {"random", PG_FLOAT8, 0}, {"rank", PG_INT8, 0}, {"round", PG_NUMERIC, PG_NUMERIC}, {"row_number", PG_INT8, 0},
    {"session_user", PG_NAME, 0}, {"set_config", PG_TEXT, 0}, {"setval", PG_INT8, PG_INT8}, {"sign", FIRST, PG_FLOAT8},
    {"sqrt", PG_FLOAT8, PG_FLOAT8}, {"statement_timestamp", PG_TIMESTAMPTZ, 0}, {"strpos", PG_INT4, 0},
    {"substr", PG_TEXT, PG_INT4}, {"substring", PG_TEXT, PG_INT4}, {"to_date", PG_DATE, 0}, {"to_timestamp", PG_TIMESTAMPTZ, 0}, {"total", PG_FLOAT8, 0}, {"transaction_timestamp", PG_TIMESTAMPTZ, 0},
    {"trunc", FIRST, PG_NUMERIC}, {"txid_current", PG_INT8, 0}, {"vector_distance", PG_FLOAT8, 0}, {"vector_dims", PG_INT4, 0},
    {"regexp_like", PG_BOOL, 0}, {"pg_regexp", PG_BOOL, 0}, {"pg_iregexp", PG_BOOL, 0}, {"pg_ilike", PG_BOOL, 0}, {"ilike", PG_BOOL, 0}, {"json_valid", PG_BOOL, 0}, {"to_json", PG_JSON, 0}, {"to_jsonb", PG_JSONB, 0}, {"json_object", PG_JSON, 0}, {"json_array", PG_JSON, 0}, {"json_group_array", PG_JSON, 0}, {"json_group_object", PG_JSON, 0},
    {"jsonb_build_object", PG_JSONB, 0}, {"json_agg", PG_JSON, 0}, {"jsonb_agg", PG_JSONB, 0}, {"row_to_json", PG_JSON, 0}, {"lo_get", PG_BYTEA, 0}, {"decode", PG_BYTEA, 0}, {"encode", PG_TEXT, 0}, {"regexp_replace", PG_TEXT, 0}, {"regexp_match", PG_TEXT_ARRAY, 0}, {"translate", PG_TEXT, 0}, {"to_hex", PG_TEXT, PG_INT4}, {"to_char", PG_TEXT, 0},
};

static const struct known_function *known_function(const char *name) {
  for (size_t i = 0; i < sizeof known_functions / sizeof *known_functions; i++)
    if (strcasecmp(known_functions[i].name, name) == 0) return &known_functions[i];
  return NULL;
}

static typed infer_all_alike(describe *d, frame *f, expr_list *list, uint32_t expected) {
  typed t = no_type;
  for (int i = 0; list && i < list->n; i++) t = unify(t, infer(d, f, list->items[i].e, 0));
  if (!t.type) t.type = expected;
  for (int i = 0; list && i < list->n; i++) {
    typed one = infer(d, f, list->items[i].e, t.type);
    coerce_literal(d, list->items[i].e, t);
    coerce_to(d, list->items[i].e, one, t);
  }
  return t;
}

static bool is_array(uint32_t type);
static uint32_t array_of(uint32_t element) {
  const pg_type *t = pg_type_by_oid(element ? element : PG_TEXT);
  if (!t && pg_is_own_type(element)) return element + PG_ENUM_ARRAYS;
  return t && t->array ? t->array : PG_TEXT_ARRAY;
}

static typed infer_call(describe *d, frame *f, expr *e, uint32_t expected) {
  const char *name = e->text;
  expr_list *list = e->list;
  if (e->filter) infer(d, f, e->filter, PG_BOOL);
  for (int i = 0; e->order_by && i < e->order_by->n; i++) coerce_enum_order(d, e->order_by->items[i].e, infer(d, f, e->order_by->items[i].e, 0), no_type);
  if (e->over) {
    for (int i = 0; e->over->partition_by && i < e->over->partition_by->n; i++) infer(d, f, e->over->partition_by->items[i].e, 0);
    for (int i = 0; e->over->order_by && i < e->over->order_by->n; i++) coerce_enum_order(d, e->over->order_by->items[i].e, infer(d, f, e->over->order_by->items[i].e, 0), no_type);
  }
  if (strcmp(name, "pg_cast") == 0 && list && list->n == 2 && list->items[1].e->op == EX_TEXT) {
    int32_t modifier;
    const pg_type *t = pg_type_named(d->db, list->items[1].e->text, &modifier);
    typed of = infer(d, f, list->items[0].e, t ? t->oid : PG_TEXT);
    coerce_cast(d, e, list->items[0].e, of, t ? t->oid : PG_TEXT);
    return (typed){t ? t->oid : PG_TEXT, modifier};
  }
  if ((strcmp(name, "pg_div") == 0 || strcmp(name, "pg_mod") == 0) && list && list->n == 2)
    return arithmetic(d, f, e, list->items[0].e, list->items[1].e, EX_DIV, expected);
  if (strcmp(name, "pg_subscript") == 0 && list && list->n == 2) {
    typed a = infer(d, f, list->items[0].e, PG_TEXT_ARRAY);
    infer(d, f, list->items[1].e, PG_INT4);
    return typed_of(pg_array_element(a.type) ? pg_array_element(a.type) : PG_TEXT);
  }
  if (strcmp(name, "pg_mul") == 0 && list && list->n == 2) return arithmetic(d, f, e, list->items[0].e, list->items[1].e, EX_MUL, expected);
  if (strcmp(name, "pg_neg") == 0 && list && list->n == 1) return infer(d, f, list->items[0].e, expected);
  if (strcmp(name, "pg_power") == 0 && list && list->n == 2) {
    arithmetic(d, f, e, list->items[0].e, list->items[1].e, EX_MUL, PG_FLOAT8);
    return typed_of(PG_FLOAT8);
  }
  if ((strcmp(name, "pg_add") == 0 || strcmp(name, "pg_sub") == 0) && list && list->n == 2)
    return arithmetic(d, f, e, list->items[0].e, list->items[1].e, name[3] == 'a' ? EX_ADD : EX_SUB, expected);
  if (strncmp(name, "pg_op_", 6) == 0 && list && list->n == 2) {
    typed l = infer(d, f, list->items[0].e, 0), r = infer(d, f, list->items[1].e, 0);
    bool path = strncmp(name + 6, "path", 4) == 0, has = strncmp(name + 6, "has", 3) == 0, many = strncmp(name + 6, "hasa", 4) == 0;
    typed to_right = path || many ? typed_of(PG_TEXT_ARRAY) : has ? typed_of(PG_TEXT) : l, to_left = path || has ? l : r;
    if (!r.type) r = infer(d, f, list->items[1].e, to_right.type);
    if (!l.type) l = infer(d, f, list->items[0].e, to_left.type);
    coerce_literal(d, list->items[1].e, to_right);
    coerce_literal(d, list->items[0].e, to_left);
    return typed_of(!path ? PG_BOOL : strcmp(name + 6, "pathtext") == 0 ? PG_TEXT : l.type == PG_JSON ? PG_JSON : PG_JSONB);
  }
  if (strcmp(name, "pg_typeof") == 0 && list && list->n == 1) return coerce_typeof(d, e, infer(d, f, list->items[0].e, 0));
  if (strcmp(name, "pg_array") == 0) return typed_of(array_of(infer_all_alike(d, f, list, PG_TEXT).type));
  if (strcmp(name, "pg_any_array") == 0 && list && list->n == 1) {
    typed t = infer(d, f, list->items[0].e, expected ? array_of(expected) : PG_TEXT_ARRAY);
    return typed_of(pg_array_element(t.type) ? pg_array_element(t.type) : PG_TEXT);
  }
  if (strcmp(name, "date_trunc") == 0 && list && list->n >= 2) {
    typed t[3] = {infer(d, f, list->items[0].e, PG_TEXT), infer(d, f, list->items[1].e, PG_TIMESTAMPTZ), no_type}, zoned;
    if (list->n == 3) t[2] = infer(d, f, list->items[2].e, PG_TEXT);
    if (coerce_zoned_call(d, e, t, list->n, &zoned)) return zoned;
    return t[1].type == PG_DATE ? typed_of(PG_TIMESTAMPTZ) : t[1];
  }
  const struct known_function *k = known_function(name);
  if (k && k->result == SAME) {
    typed t = infer_all_alike(d, f, list, expected ? expected : PG_TEXT);
    if (strcmp(name, "greatest") == 0 || strcmp(name, "least") == 0) coerce_enum_choice(d, e, t);
    return t;
  }
  typed first = no_type, all[4] = {no_type, no_type, no_type, no_type}, zoned;
  for (int i = 0; list && i < list->n; i++) {
    uint32_t wanted = k && k->arguments ? k->arguments : PG_TEXT;
    if (k && wanted == PG_INT4 && i == 0 && k->result == PG_TEXT && strcmp(name, "chr") != 0) wanted = PG_TEXT; /* substr(text, int ...) */
    typed t = infer(d, f, list->items[i].e, wanted);
    if (i == 0) first = t;
    if (i < 4) all[i] = t;
  }
  if ((strcmp(name, "min") == 0 || strcmp(name, "max") == 0) && list && list->n == 1 && coerce_enum_choice(d, e, first)) return first;
  if (strncmp(name, "enum_", 5) == 0 && list && list->n == 1) return coerce_enum_call(d, e, first);
  if (list && list->n <= 4 && coerce_zoned_call(d, e, all, list->n, &zoned)) return zoned;
  if (d->coerce && first.type == PG_INTERVAL && (strcmp(name, "sum") == 0 || strcmp(name, "avg") == 0)) {
    e->text = name[0] == 's' ? "pg_interval_sum" : "pg_interval_avg", e->text_n = 15;
    return first;
  }
  if (first.type == PG_INTERVAL && strcmp(name, "avg") == 0) return first;
  if (strcmp(name, "sum") == 0) return typed_of(first.type == PG_INT2 || first.type == PG_INT4 ? PG_INT8 : first.type == PG_INT8 ? PG_NUMERIC : first.type == PG_TEXT ? PG_NUMERIC : first.type);
  if (strcmp(name, "avg") == 0) return typed_of(first.type == PG_FLOAT4 || first.type == PG_FLOAT8 ? PG_FLOAT8 : PG_NUMERIC);
  if (strncmp(name, "stddev", 6) == 0 || strncmp(name, "var_", 4) == 0 || strcmp(name, "variance") == 0) return typed_of(first.type == PG_FLOAT4 || first.type == PG_FLOAT8 ? PG_FLOAT8 : PG_NUMERIC);
  if (strcmp(name, "array_agg") == 0) return typed_of(array_of(first.type));
  if (strcmp(name, "round") == 0 && first.type == PG_FLOAT8) return first;
  if (strcmp(name, "timezone") == 0 && list && list->n == 2) {
    typed of = infer(d, f, list->items[1].e, PG_TIMESTAMPTZ);
    return typed_of(of.type == PG_TIMESTAMPTZ || of.type == PG_DATE ? PG_TIMESTAMP : PG_TIMESTAMPTZ);
  }
  if (strcmp(name, "pg_array_concat") == 0) return is_array(first.type) ? first : typed_of(PG_TEXT_ARRAY);
  if (!k) return typed_of(PG_TEXT);
  if (k->result != FIRST) return typed_of(k->result);
  if (first.type == PG_INT4 || first.type == PG_INT2 || first.type == PG_INT8) {
    bool real = strcmp(name, "ceil") == 0 || strcmp(name, "ceiling") == 0 || strcmp(name, "floor") == 0 || strcmp(name, "sign") == 0;
    return real ? typed_of(PG_FLOAT8) : typed_of(first.type);
  }
  return first.type ? first : typed_of(PG_TEXT);
}

/* ---- expressions ---- */

static typed parameter(describe *d, const expr *e, uint32_t expected) {
  int64_t i = e->i - 1;
  if (i < 0 || i >= d->parameters_n) return no_type;
  if (!d->parameters[i] && expected && expected != PG_UNKNOWN) d->parameters[i] = expected;
  return typed_of(d->parameters[i]);
}

static bool is_boolean_word(const expr *e) {
  return e->op == EX_ID && !e->quoted && (strcasecmp(e->text, "true") == 0 || strcasecmp(e->text, "false") == 0);
}

static typed name_type(describe *d, frame *f, const expr *e) {
  const described_column *c = find_column(f, e->op == EX_DOT ? e->table : NULL, e->text);
  (void)d;
  if (c) return (typed){c->type, c->modifier};
  if (is_boolean_word(e)) return typed_of(PG_BOOL);
  if (is_row_id(e->text)) return typed_of(PG_INT8);
  return no_type;
}

static typed infer_in(describe *d, frame *f, expr *e) {
  typed l = infer(d, f, e->left, 0);
  if (e->list) {
    for (int i = 0; i < e->list->n; i++) {
      typed r = infer(d, f, e->list->items[i].e, l.type);
      if (!l.type && r.type) l = infer(d, f, e->left, r.type);
    }
    for (int i = 0; i < e->list->n && e->left->op != EX_TEXT; i++) coerce_pair(d, e->left, e->list->items[i].e, l, l);
  }
  if (e->select) {
    select *s = e->select; /* x = ANY(array): IN (SELECT value FROM json_each(pg_any_array(array))) */
    source *from = s->from && s->from->n == 1 ? &s->from->items[0] : NULL;
    expr *argument = from && from->is_call && from->arguments && from->arguments->n == 1 ? from->arguments->items[0].e : NULL;
    if (argument && argument->op == EX_FUNCTION && strcmp(argument->text, "pg_any_array") == 0) {
      typed element = infer_call(d, f, argument, l.type);
      if (!l.type) infer(d, f, e->left, element.type);
    } else {
      columns c = infer_select(d, s, f, &l, 1);
      if (!l.type && c.n) infer(d, f, e->left, c.list[0].type);
    }
  }
  return typed_of(PG_BOOL);
}

static typed infer_case(describe *d, frame *f, expr *e, uint32_t expected) {
  typed operand = e->left ? infer(d, f, e->left, 0) : typed_of(PG_BOOL), result = no_type;
  int n = e->list ? e->list->n : 0;
  for (int pass = 0; pass < 2; pass++) {
    for (int i = 0; i < n; i++) {
      bool is_else = e->has_else && i == n - 1, is_when = !is_else && i % 2 == 0;
      typed t = infer(d, f, e->list->items[i].e, is_when ? operand.type : pass ? result.type : 0);
      if (is_when && e->left && pass) coerce_pair(d, e->left, e->list->items[i].e, operand, t);
      if (!is_when && pass == 0) result = unify(result, t);
      if (!is_when && pass) coerce_to(d, e->list->items[i].e, t, result);
    }
    if (!result.type) result = typed_of(expected ? expected : PG_TEXT);
  }
  return result;
}

static bool is_array(uint32_t type) {
  return pg_array_element(type) != 0;
}

/* array || array, array || element, element || array */
static typed array_concat(describe *d, expr *e, uint32_t type) {
  if (!d->coerce) return typed_of(type);
  expr_list *list = ast_list_add(d->memory, ast_list_add(d->memory, NULL, e->left), e->right);
  if (list) *e = (expr){.op = EX_FUNCTION, .text = "pg_array_concat", .text_n = 15, .list = list, .span = e->span};
  else d->failed = true;
  return typed_of(type);
}

static typed infer_literal(const expr *e, uint32_t expected) {
  switch (e->op) {
  case EX_INT: return typed_of(e->i >= INT32_MIN && e->i <= INT32_MAX ? PG_INT4 : PG_INT8);
  case EX_REAL: return typed_of(PG_NUMERIC);
  case EX_BLOB: return typed_of(PG_BYTEA);
  default: return typed_of(expected);
  }
}

static typed infer(describe *d, frame *f, expr *e, uint32_t expected) {
  typed l, r;
  if (!e) return no_type;
  switch (e->op) {
  case EX_NULL: case EX_INT: case EX_REAL: case EX_TEXT: case EX_BLOB: return infer_literal(e, expected);
  case EX_PARAM: return parameter(d, e, expected);
  case EX_ID: case EX_DOT: return name_type(d, f, e);
  case EX_NEG: case EX_PLUS: case EX_BITNOT: {
    typed t = infer(d, f, e->left, expected);
    return t;
  }
  case EX_NOT: case EX_IS_TRUE: case EX_IS_FALSE: case EX_IS_NOT_TRUE: case EX_IS_NOT_FALSE:
    infer(d, f, e->left, PG_BOOL);
    return typed_of(PG_BOOL);
  case EX_ISNULL: case EX_NOTNULL:
    infer(d, f, e->left, PG_TEXT);
    return typed_of(PG_BOOL);
  case EX_COLLATE: return infer(d, f, e->left, expected);
  case EX_CAST: {
    int32_t modifier;
    const pg_type *t = pg_type_named(d->db, e->text, &modifier);
    typed of = infer(d, f, e->left, t ? t->oid : PG_TEXT);
    coerce_cast(d, e, e->left, of, t ? t->oid : PG_TEXT);
    return (typed){t ? t->oid : PG_TEXT, modifier};
  }
  case EX_ADD: case EX_SUB: case EX_MUL: case EX_DIV: case EX_MOD:
    return arithmetic(d, f, e, e->left, e->right, e->op, expected);
  case EX_BITAND: case EX_BITOR: case EX_SHL: case EX_SHR:
    infer_pair(d, f, e->left, e->right, &l, &r);
    return typed_of(rank_of(l.type) ? wider(l.type, r.type) : PG_INT4);
  case EX_CONCAT:
    l = infer(d, f, e->left, PG_TEXT);
    r = infer(d, f, e->right, PG_TEXT);
    if (!is_array(l.type) && !is_array(r.type)) coerce_to(d, e->left, l, typed_of(PG_TEXT)), coerce_to(d, e->right, r, typed_of(PG_TEXT));
    if (is_array(l.type) || is_array(r.type)) return array_concat(d, e, is_array(l.type) ? l.type : r.type);
    return typed_of(l.type == PG_BYTEA && r.type == PG_BYTEA ? PG_BYTEA : l.type == PG_JSONB ? PG_JSONB : PG_TEXT);
  case EX_EQ: case EX_NE: case EX_LT: case EX_LE: case EX_GT: case EX_GE: case EX_IS: case EX_ISNOT:
    if (e->left->op == EX_ROW && e->right->op == EX_ROW && e->left->list && e->right->list) {
      for (int i = 0; i < e->left->list->n && i < e->right->list->n; i++)
        compare_pair(d, f, e->left->list->items[i].e, e->right->list->items[i].e, &l, &r);
      return typed_of(PG_BOOL);
    }
    compare_pair(d, f, e->left, e->right, &l, &r);
    if (e->op == EX_LT || e->op == EX_LE || e->op == EX_GT || e->op == EX_GE) coerce_enum_order(d, e->left, l, r), coerce_enum_order(d, e->right, r, l);
    if (!l.type && !r.type) {
      infer(d, f, e->left, PG_TEXT);
      infer(d, f, e->right, PG_TEXT);
    }
    return typed_of(PG_BOOL);
  case EX_AND: case EX_OR:
    infer(d, f, e->left, PG_BOOL);
    infer(d, f, e->right, PG_BOOL);
    return typed_of(PG_BOOL);
  case EX_ARROW: case EX_ARROW2:
    l = infer(d, f, e->left, PG_JSON);
    infer(d, f, e->right, PG_TEXT);
    return typed_of(e->op == EX_ARROW2 ? PG_TEXT : l.type == PG_JSONB ? PG_JSONB : PG_JSON);
  case EX_VEC_L2: case EX_VEC_COS: case EX_VEC_IP: case EX_VEC_L1:
    infer(d, f, e->left, PG_TEXT);
    infer(d, f, e->right, PG_TEXT);
    return typed_of(PG_FLOAT8);
  case EX_LIKE: case EX_GLOB: case EX_REGEXP: case EX_MATCH:
    infer(d, f, e->left, PG_TEXT);
    infer(d, f, e->right, PG_TEXT);
    if (e->list && e->list->n) infer(d, f, e->list->items[0].e, PG_TEXT);
    return typed_of(PG_BOOL);
  case EX_BETWEEN:
    l = infer(d, f, e->left, 0);
    for (int i = 0; i < 2 && e->list && i < e->list->n; i++) {
      r = infer(d, f, e->list->items[i].e, l.type);
      if (!l.type && r.type) l = infer(d, f, e->left, r.type);
      coerce_pair(d, e->left, e->list->items[i].e, l, r);
      coerce_enum_order(d, e->list->items[i].e, r, l);
    }
    coerce_enum_order(d, e->left, l, no_type);
    return typed_of(PG_BOOL);
  case EX_IN: return infer_in(d, f, e);
  case EX_CASE: return infer_case(d, f, e, expected);
  case EX_FUNCTION: case EX_AGGREGATE: case EX_WINDOW: return infer_call(d, f, e, expected);
  case EX_ROW:
    for (int i = 0; e->list && i < e->list->n; i++) infer(d, f, e->list->items[i].e, 0);
    return typed_of(PG_RECORD);
  case EX_SUBQUERY: {
    typed wanted = typed_of(expected);
    columns c = infer_select(d, e->select, f, &wanted, expected ? 1 : 0);
    return c.n ? (typed){c.list[0].type, c.list[0].modifier} : no_type;
  }
  case EX_EXISTS:
    infer_select(d, e->select, f, NULL, 0);
    return typed_of(PG_BOOL);
  default: return no_type;
  }
}

/* ---- labels ---- */

static const char *label_of(describe *d, const expr *e);

/* The label of what is cast, when that is a column's or a function's; else the type's name. */
static const char *cast_label(describe *d, const expr *of, const char *type) {
  bool again = of->op == EX_CAST || (of->op == EX_FUNCTION && strcmp(of->text, "pg_cast") == 0 && of->list && of->list->n == 2);
  const expr *inner = of;
  while (again) {
    inner = inner->op == EX_CAST ? inner->left : inner->list->items[0].e;
    again = inner->op == EX_CAST || (inner->op == EX_FUNCTION && strcmp(inner->text, "pg_cast") == 0 && inner->list && inner->list->n == 2);
  }
  int32_t modifier;
  const pg_type *t = pg_type_named(d->db, type, &modifier);
  bool weak = inner->op == EX_CASE || is_boolean_word(inner);
  const char *label = weak ? "?column?" : label_of(d, inner);
  return strcmp(label, "?column?") != 0 ? label : t ? t->name + (t->category == 'A' && *t->name == '_') : type;
}

static const char *label_of(describe *d, const expr *e) {
  switch (e->op) {
  case EX_ID: return is_boolean_word(e) ? "bool" : e->text;
  case EX_DOT: return e->text;
  case EX_COLLATE: return label_of(d, e->left);
  case EX_CAST: return cast_label(d, e->left, e->text);
  case EX_CASE: {
    const char *inner = e->has_else && e->list->n ? label_of(d, e->list->items[e->list->n - 1].e) : "?column?";
    return strcmp(inner, "?column?") != 0 ? inner : "case";
  }
  case EX_EXISTS: return "exists";
  case EX_ROW: return "row";
  case EX_SUBQUERY: {
    const select *s = e->select;
    while (s->prior) s = s->prior;
    if (!s->columns || s->columns->n == 0) return "?column?";
    return s->columns->items[0].name ? s->columns->items[0].name : label_of(d, s->columns->items[0].e);
  }
  case EX_FUNCTION:
    if (strcmp(e->text, "pg_cast") == 0 && e->list && e->list->n == 2) return cast_label(d, e->list->items[0].e, e->list->items[1].e->text);
    if (strncmp(e->text, "pg_op_", 6) == 0 || strcmp(e->text, "pg_mul") == 0 || strcmp(e->text, "pg_neg") == 0 || strcmp(e->text, "pg_power") == 0 || strcmp(e->text, "pg_div") == 0 || strcmp(e->text, "pg_mod") == 0 || strcmp(e->text, "pg_add") == 0 || strcmp(e->text, "pg_sub") == 0 || strcmp(e->text, "ilike") == 0 || strcmp(e->text, "pg_regexp") == 0 || strcmp(e->text, "pg_iregexp") == 0) return "?column?";
    if (strcmp(e->text, "pg_array") == 0) return "array";
    if (strcmp(e->text, "pg_extract") == 0) return "extract";
    static const char *const json[][2] = {{"pg_interval_sum", "sum"}, {"pg_interval_avg", "avg"}, {"pg_percentile_cont", "percentile_cont"}, {"pg_percentile_disc", "percentile_disc"}, {"pg_mode", "mode"}, {"json_object", "json_build_object"}, {"json_array", "json_build_array"}, {"json_group_array", "json_agg"}, {"json_group_object", "json_object_agg"}};
    for (size_t i = 0; i < sizeof json / sizeof *json; i++)
      if (strcmp(e->text, json[i][0]) == 0) return json[i][1];
    if (strcmp(e->text, "pg_array_concat") == 0) return "?column?";
    if (strcmp(e->text, "pg_subscript") == 0 && e->list && e->list->n) return label_of(d, e->list->items[0].e);
    if (strcmp(e->text, "pg_current_date") == 0) return "current_date";
    if (strcmp(e->text, "trim") == 0) return "btrim";
    return e->text;
  default: return "?column?";
  }
}

/* A subquery's columns are called as PostgreSQL calls them: sum(x) is "sum". */
static void name_columns(describe *d, select *s) {
  while (s && s->prior) s = s->prior;
  for (int i = 0; d->coerce && s && !s->is_values && s->columns && i < s->columns->n; i++) {
    struct expr_item *item = &s->columns->items[i];
    if (item->name || !item->e || item->e->op == EX_ID || item->e->op == EX_DOT || item->e->op == EX_STAR) continue;
    const char *label = label_of(d, item->e);
    if (strcmp(label, "?column?") != 0) item->name = label;
  }
}

/* ---- queries ---- */

static void push_column(columns *c, described_column x, int *capacity, describe *d) {
  if (c->n == *capacity) {
    int wanted = *capacity ? *capacity * 2 : 16;
    described_column *more = arena_alloc(d->memory, (size_t)wanted * sizeof *more);
    if (!more) {
      d->failed = true;
      return;
    }
    if (c->n) memcpy(more, c->list, (size_t)c->n * sizeof *more);
    c->list = more;
    *capacity = wanted;
  }
  c->list[c->n++] = x;
}

/* Is the column already shown by a source to the left that USING or NATURAL joins it with? */
static bool hidden_by_using(const source_list *from, int at, const frame *f, const char *label) {
  const source *s = &from->items[at];
  if (s->using_names)
    for (int i = 0; i < s->using_names->n; i++)
      if (strcasecmp(s->using_names->items[i].name, label) == 0) return true;
  if (!(s->join & JOIN_NATURAL)) return false;
  int k = 0;
  for (const named *x = f->sources; x && k < at; x = x->next, k++)
    for (int i = 0; i < x->c.n; i++)
      if (strcasecmp(x->c.list[i].label, label) == 0) return true;
  return false;
}

static void star_columns(describe *d, const frame *f, const select *s, const char *of, columns *out, int *capacity) {
  int k = 0;
  bool flat = true;
  for (int i = 0; s && s->from && i < s->from->n; i++) flat = flat && !(s->from->items[i].nested && !s->from->items[i].name);
  for (const named *x = f->sources; x; x = x->next, k++) {
    if (of && strcasecmp(of, x->name) != 0) continue;
    for (int i = 0; i < x->c.n; i++)
      if (of || !s || !s->from || !flat || k >= s->from->n || !hidden_by_using(s->from, k, f, x->c.list[i].label))
        push_column(out, x->c.list[i], capacity, d);
    if (of) return;
  }
}

static described_column one_column(describe *d, frame *f, const struct expr_item *item, typed wanted) {
  typed t = infer(d, f, item->e, 0);
  if (!t.type) t = infer(d, f, item->e, wanted.type ? wanted.type : PG_TEXT);
  if (wanted.type) t = coerce_to(d, item->e, t, wanted);
  described_column c = {.label = item->name ? item->name : label_of(d, item->e), .type = t.type ? t.type : PG_TEXT, .modifier = t.modifier};
  if (item->e->op == EX_ID || item->e->op == EX_DOT) {
    const described_column *o = find_column(f, item->e->op == EX_DOT ? item->e->table : NULL, item->e->text);
    if (o) {
      c.table = o->table, c.column = o->column;
      if (!item->name) c.label = o->label;
    }
  }
  return c;
}

static columns result_columns(describe *d, frame *f, const select *s, expr_list *list, const typed *expected, int expected_n) {
  columns out = {0, NULL};
  int capacity = 0;
  for (int i = 0; list && i < list->n; i++) {
    const struct expr_item *item = &list->items[i];
    if (item->e && item->e->op == EX_STAR) star_columns(d, f, s, item->e->table, &out, &capacity);
    else if (item->e) push_column(&out, one_column(d, f, item, out.n < expected_n ? expected[out.n] : no_type), &capacity, d);
  }
  return out;
}

static void open_with(describe *d, frame *f, with *w) {
  for (int i = 0; w && i < w->n; i++) {
    cte *c = &w->items[i];
    named *x = arena_zero(d->memory, sizeof *x);
    if (!x) {
      d->failed = true;
      return;
    }
    x->name = c->name;
    select *first = c->select;
    while (first && first->prior) first = first->prior;
    bool recursive = w->recursive && first != c->select;
    if (!c->columns) name_columns(d, c->select);
    x->c = infer_select(d, recursive ? first : c->select, f, NULL, 0);
    for (int k = 0; k < x->c.n && c->columns && k < c->columns->n; k++) x->c.list[k].label = c->columns->items[k].name;
    for (int k = 0; k < x->c.n; k++) x->c.list[k].table = 0, x->c.list[k].column = 0;
    x->next = f->ctes;
    f->ctes = x;
    if (recursive) infer_select(d, c->select, f, NULL, 0);
  }
}

static void infer_list(describe *d, frame *f, expr_list *list) {
  for (int i = 0; list && i < list->n; i++) infer(d, f, list->items[i].e, 0);
}

static columns infer_arm(describe *d, select *s, frame *outer, const typed *expected, int expected_n, frame *f) {
  *f = (frame){.outer = outer};
  open_sources(d, f, s->from);
  columns c = result_columns(d, f, s, s->columns, expected, expected_n);
  for (int row = 1; s->is_values && row < s->values_n; row++) {
    columns more = result_columns(d, f, s, s->values[row], expected, expected_n);
    for (int i = 0; i < c.n && i < more.n; i++) {
      typed t = unify((typed){c.list[i].type, c.list[i].modifier}, (typed){more.list[i].type, more.list[i].modifier});
      c.list[i].type = t.type, c.list[i].modifier = t.modifier;
    }
  }
  for (int row = 0; s->is_values && expected_n == 0 && row < (s->values_n ? s->values_n : 1); row++) {
    expr_list *list = row ? s->values[row] : s->columns;
    for (int i = 0; list && i < list->n && i < c.n; i++) coerce_literal(d, list->items[i].e, (typed){c.list[i].type, c.list[i].modifier});
  }
  if (s->is_values)
    for (int i = 0; i < c.n; i++) c.list[i].label = arena_printf(d->memory, "column%d", i + 1);
  if (s->where) infer(d, f, s->where, PG_BOOL);
  infer_list(d, f, s->group_by);
  if (s->having) infer(d, f, s->having, PG_BOOL);
  return c;
}

static columns infer_select(describe *d, select *s, frame *outer, const typed *expected, int expected_n) {
  frame own = {.outer = outer}, f = {0};
  if (!s || d->failed) return (columns){0, NULL};
  if (s->with) open_with(d, &own, s->with);
  select *arms[64];
  int n = 0;
  for (select *arm = s; arm && n < 64; arm = arm->prior) arms[n++] = arm;
  columns c = infer_arm(d, arms[n - 1], &own, expected, expected_n, &f);
  for (int i = n - 2; i >= 0; i--) {
    typed *wanted = arena_zero(d->memory, (size_t)(c.n + 1) * sizeof *wanted);
    for (int k = 0; wanted && k < c.n; k++) wanted[k] = (typed){c.list[k].type, c.list[k].modifier};
    frame arm_frame;
    columns more = infer_arm(d, arms[i], &own, wanted, wanted ? c.n : 0, &arm_frame);
    for (int k = 0; k < c.n && k < more.n; k++) {
      typed t = unify((typed){c.list[k].type, c.list[k].modifier}, (typed){more.list[k].type, more.list[k].modifier});
      c.list[k].type = t.type, c.list[k].modifier = t.modifier;
      c.list[k].table = 0, c.list[k].column = 0;
    }
  }
  for (int i = 0; s->order_by && i < s->order_by->n; i++) {
    expr *o = s->order_by->items[i].e;
    typed t = infer(d, &f, o, 0);
    for (int k = 0; k < c.n; k++) { /* a column's number or name */
      bool named = o->op == EX_ID && c.list[k].label && strcasecmp(o->text, c.list[k].label) == 0, numbered = o->op == EX_INT && o->i == k + 1;
      if (named || numbered) t = (typed){c.list[k].type, c.list[k].modifier};
      if (numbered && coerce_is_enum(d, t) && n == 1) *o = (expr){.op = EX_ID, .text = c.list[k].label, .text_n = (uint32_t)strlen(c.list[k].label), .quoted = true, .span = o->span};
    }
    if (n > 1 && coerce_is_enum(d, t)) d->rc = error_set(d->err, HDB_ERROR, "not supported yet: ORDER BY of an enumerated type behind UNION, INTERSECT and EXCEPT");
    coerce_enum_order(d, o, t, no_type);
    if (d->coerce && t.type == PG_INTERVAL) coerce_interval(d, s->order_by->items[i].e);
  }
  frame none = {.outer = &own};
  if (s->limit) infer(d, &none, s->limit, PG_INT8);
  if (s->offset) infer(d, &none, s->offset, PG_INT8);
  return c;
}

/* ---- changes ---- */

static columns target_columns(describe *d, frame *f, const qualified_name *name) {
  int database;
  table *t = catalog_table(d->db, name->schema, name->name, &database);
  columns c = t ? table_columns(d, t) : (columns){0, NULL};
  add_source(d, f, name->alias ? name->alias : name->name, c);
  return c;
}

static void infer_set(describe *d, frame *f, const columns *target, set_list *set) {
  for (int i = 0; set && i < set->n; i++) {
    set_item *item = &set->items[i];
    for (int k = 0; item->columns && k < item->columns->n; k++) {
      uint32_t type = 0;
      for (int m = 0; m < target->n; m++)
        if (strcasecmp(target->list[m].label, item->columns->items[k].name) == 0) type = target->list[m].type;
      expr *v = item->value;
      if (item->columns->n > 1 && v && v->op == EX_ROW && v->list && k < v->list->n) coerce_to(d, v->list->items[k].e, infer(d, f, v->list->items[k].e, type), typed_of(type));
      else if (k == 0 && item->columns->n == 1) coerce_to(d, v, infer(d, f, v, type), typed_of(type));
      else if (k == 0) infer(d, f, v, type);
    }
  }
}

static columns describe_insert(describe *d, insert_statement *s) {
  frame outer = {0}, f = {.outer = &outer};
  if (s->with) open_with(d, &outer, s->with);
  coerce_insert(d, s);
  columns target = target_columns(d, &f, &s->table);
  int n = s->columns ? s->columns->n : target.n;
  typed *wanted = arena_zero(d->memory, (size_t)(n + 1) * sizeof *wanted);
  for (int i = 0; wanted && i < n; i++) {
    wanted[i] = no_type;
    for (int k = 0; k < target.n; k++)
      if (s->columns ? strcasecmp(target.list[k].label, s->columns->items[i].name) == 0 : k == i)
        wanted[i] = (typed){target.list[k].type, target.list[k].modifier};
  }
  if (s->select) infer_select(d, s->select, &outer, wanted, wanted ? n : 0);
  frame excluded = {.outer = &f};
  add_source(d, &excluded, "excluded", target);
  for (upsert *u = s->upserts; u; u = u->next) {
    coerce_set(d, &s->table, u->set);
    infer_set(d, &excluded, &target, u->set);
    if (u->where) infer(d, &excluded, u->where, PG_BOOL);
  }
  return result_columns(d, &f, NULL, s->returning, NULL, 0);
}

static columns describe_update(describe *d, update_statement *s) {
  frame outer = {0}, f = {.outer = &outer};
  if (s->with) open_with(d, &outer, s->with);
  coerce_set(d, &s->table, s->set);
  columns target = target_columns(d, &f, &s->table);
  frame only = {.outer = &outer};
  add_source(d, &only, s->table.alias ? s->table.alias : s->table.name, target);
  open_sources(d, &f, s->from);
  infer_set(d, &f, &target, s->set);
  if (s->where) infer(d, &f, s->where, PG_BOOL);
  if (s->limit) infer(d, &f, s->limit, PG_INT8);
  return result_columns(d, &only, NULL, s->returning, NULL, 0);
}

static columns describe_delete(describe *d, delete_statement *s) {
  frame outer = {0}, f = {.outer = &outer};
  if (s->with) open_with(d, &outer, s->with);
  target_columns(d, &f, &s->table);
  if (s->where) infer(d, &f, s->where, PG_BOOL);
  if (s->limit) infer(d, &f, s->limit, PG_INT8);
  return result_columns(d, &f, NULL, s->returning, NULL, 0);
}

static columns describe_tree(describe *d, statement *tree) {
  switch (tree->kind) {
  case ST_SELECT: return infer_select(d, tree->select, NULL, NULL, 0);
  case ST_INSERT: return describe_insert(d, tree->insert);
  case ST_UPDATE: return describe_update(d, tree->update);
  case ST_DELETE: return describe_delete(d, tree->delete_);
  default: return (columns){0, NULL};
  }
}

static status coerce(hdb *db, arena *memory, statement *tree, select *s, int parameters, const uint8_t *text, error *err) {
  describe d = {.db = db, .memory = memory, .parameters_n = parameters, .coerce = true, .err = err, .text = text};
  d.parameters = arena_zero(memory, (size_t)(parameters + 1) * sizeof *d.parameters);
  if (!d.parameters) return sql_nomem(err);
  if (s) name_columns(&d, s);
  if (tree) describe_tree(&d, tree);
  else infer_select(&d, s, NULL, NULL, 0);
  return d.rc != HDB_OK ? d.rc : d.failed ? sql_nomem(err) : HDB_OK;
}

status pg_coerce_statement(hdb *db, arena *memory, statement *tree, slice text, error *err) {
  return coerce(db, memory, tree, NULL, tree->parameters, text.p, err);
}

/* A column's DEFAULT, a copy, in a form that the column can take. */
status pg_coerce_default(hdb *db, arena *memory, expr *e, uint32_t type, error *err) {
  describe d = {.db = db, .memory = memory, .coerce = true, .err = err};
  frame f = {0};
  coerce_to(&d, e, infer(&d, &f, e, type), typed_of(type));
  return d.rc != HDB_OK ? d.rc : d.failed ? sql_nomem(err) : HDB_OK;
}

status pg_coerce_select(hdb *db, arena *memory, select *s, error *err) { return coerce(db, memory, NULL, s, 0, NULL, err); }

status hdb_describe(hdb *db, const char *sql, const uint32_t *given, int given_n, arena *memory, description *out) {
  *out = (description){0};
  hdb_lock(db);
  parse_options options = hdb_parse_options(db);
  statement *tree = NULL;
  size_t tail;
  error ignored = ERROR_INIT;
  status rc = grammar_parse(slice_str(sql), &options, memory, &tree, &tail, &ignored);
  error_clear(&ignored);
  if (rc != HDB_OK || !tree) {
    hdb_unlock(db);
    return rc == HDB_NOMEM ? rc : HDB_OK;
  }
  describe d = {.db = db, .memory = memory, .parameters_n = tree->parameters};
  d.parameters = arena_zero(memory, (size_t)(d.parameters_n + 1) * sizeof *d.parameters);
  for (int i = 0; d.parameters && i < d.parameters_n && i < given_n; i++) d.parameters[i] = given[i] == PG_UNKNOWN ? 0 : given[i];
  columns c = {0, NULL};
  if (d.parameters && !tree->explain) c = describe_tree(&d, tree);
  for (int i = 0; d.parameters && i < d.parameters_n; i++)
    if (!d.parameters[i]) d.parameters[i] = PG_TEXT;
  for (int i = 0; i < c.n; i++) {
    if (c.list[i].label) c.list[i].label = arena_strdup(memory, c.list[i].label);
    if (!c.list[i].label) d.failed = true;
    if (c.list[i].type == PG_UNKNOWN) c.list[i].type = PG_TEXT;
  }
  transaction_release(db);
  hdb_unlock(db);
  *out = (description){.columns_n = c.n, .columns = c.list, .parameters_n = d.parameters_n, .parameters = d.parameters};
  return d.failed || memory->failed ? HDB_NOMEM : HDB_OK;
}
