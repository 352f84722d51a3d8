/* pg_catalog beyond tables: comments, functions, what the session tells, sizes. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "sql/func.h"
#include "sql/pg_objects.h"

/* ---- comments (pg_text.c) ---- */

static void description_row(rowset *r, uint32_t object, int column, const char *text) {
  row_int(r, object), row_int(r, CLASS_TABLES), row_int(r, column), row_text(r, text);
  row_end(r);
}

static void visit_description(rowset *r, const table *t, bool temp) {
  (void)temp;
  const char *text = pg_comment_get(&r->memory, t->sql, "");
  if (text) description_row(r, pg_table_oid(t), 0, text);
  description d = t->kind == TABLE_VIEW ? pg_view_columns(r, t) : (description){.columns_n = t->columns_n};
  for (int k = 0; t->sql && strstr(t->sql, "/*comments") && k < d.columns_n; k++) {
    text = pg_comment_get(&r->memory, t->sql, d.columns ? d.columns[k].label : t->columns[k].name);
    if (text) description_row(r, pg_table_oid(t), k + 1, text);
  }
  for (const index_ *x = t->indexes; x; x = x->next) {
    text = x->sql ? pg_comment_get(&r->memory, x->sql, "") : NULL;
    if (text) description_row(r, 16384 + x->tree, 0, text);
  }
}
void pg_build_description(rowset *r) { pg_each_table(r, visit_description); }

typedef struct wanted {
  rowset r; /* first: visitors get it */
  int64_t number, column;
  const char *text;
} wanted;

static void visit_wanted(rowset *r, const table *t, bool temp) {
  wanted *w = (wanted *)r;
  (void)temp;
  if (w->text) return;
  if (pg_table_oid(t) == w->number) {
    const char *name = w->column == 0 ? "" : NULL;
    if (w->column > 0 && t->kind == TABLE_VIEW) {
      description d = pg_view_columns(r, t);
      name = w->column <= d.columns_n ? d.columns[w->column - 1].label : NULL;
    } else if (w->column > 0 && w->column <= t->columns_n) {
      name = t->columns[w->column - 1].name;
    }
    if (name) w->text = pg_comment_get(&r->memory, t->sql, name);
  }
  for (const index_ *x = t->indexes; x && w->column == 0; x = x->next)
    if (x->sql && 16384 + x->tree == w->number) w->text = pg_comment_get(&r->memory, x->sql, "");
}

bool pg_comment_of(hdb *db, int64_t number, int64_t column, buf *out) {
  wanted w = {.r = {.db = db}, .number = number, .column = column};
  hdb_lock(db);
  pg_each_table(&w.r, visit_wanted);
  hdb_unlock(db);
  if (w.text) buf_text(out, w.text);
  arena_clear(&w.r.memory);
  return w.text != NULL;
}

/* ---- functions ---- */

/* name(arguments) result, as PostgreSQL has them; kinds: 'f' plain, 'a' aggregate, 'w' window. Only what is there. */
static const struct procedure {
  uint16_t oid;
  char kind;
  const char *name, *arguments, *result;
} procedures[] = {
    {1397, 'f', "abs", "int4", "int4"}, {1398, 'f', "abs", "int2", "int2"}, {1396, 'f', "abs", "int8", "int8"}, {1395, 'f', "abs", "float8", "float8"}, {1705, 'f', "abs", "numeric", "numeric"},
    {2058, 'f', "age", "timestamp timestamp", "interval"}, {2331, 'f', "unnest", "_text", "text"}, {2335, 'a', "array_agg", "text", "_text"}, {2176, 'f', "array_length", "_text int4", "int4"},
    {3277, 'f', "array_position", "_text text", "int4"}, {395, 'f', "array_to_string", "_text text", "text"}, {1620, 'f', "ascii", "text", "int4"},
    {2100, 'a', "avg", "int8", "numeric"}, {2101, 'a', "avg", "int4", "numeric"}, {2105, 'a', "avg", "float8", "float8"}, {2103, 'a', "avg", "numeric", "numeric"},
    {2517, 'a', "bool_and", "bool", "bool"}, {2518, 'a', "bool_or", "bool", "bool"}, {1811, 'f', "bit_length", "text", "int4"}, {2015, 'f', "btrim", "text text", "text"}, {885, 'f', "btrim", "text", "text"},
    {3179, 'f', "cardinality", "_text", "int4"}, {2308, 'f', "ceil", "float8", "float8"}, {1711, 'f', "ceil", "numeric", "numeric"}, {2320, 'f', "ceiling", "float8", "float8"},
    {1381, 'f', "char_length", "text", "int4"}, {1369, 'f', "character_length", "text", "int4"}, {1621, 'f', "chr", "int4", "text"}, {2649, 'f', "clock_timestamp", "", "timestamptz"},
    {3058, 'f', "concat", "text", "text"}, {3059, 'f', "concat_ws", "text text", "text"}, {2803, 'a', "count", "", "int8"}, {2147, 'a', "count", "text", "int8"},
    {861, 'f', "current_database", "", "name"}, {1402, 'f', "current_schema", "", "name"}, {2077, 'f', "current_setting", "text", "text"}, {745, 'f', "current_user", "", "name"},
    {1575, 'f', "currval", "regclass", "int8"}, {2021, 'f', "date_part", "text timestamp", "float8"}, {2020, 'f', "date_trunc", "text timestamp", "timestamp"}, {1217, 'f', "date_trunc", "text timestamptz", "timestamptz"},
    {1947, 'f', "decode", "text text", "bytea"}, {3103, 'w', "cume_dist", "", "float8"}, {3102, 'w', "dense_rank", "", "int8"}, {1946, 'f', "encode", "bytea text", "text"},
    {2519, 'a', "every", "bool", "bool"}, {1347, 'f', "exp", "float8", "float8"}, {3112, 'w', "first_value", "text", "text"}, {2309, 'f', "floor", "float8", "float8"}, {1712, 'f', "floor", "numeric", "numeric"},
    {3539, 'f', "format", "text text", "text"}, {1081, 'f', "format_type", "oid int4", "text"}, {3432, 'f', "gen_random_uuid", "", "uuid"}, {1067, 'f', "generate_series", "int4 int4", "int4"}, {1069, 'f', "generate_series", "int8 int8", "int8"},
    {872, 'f', "initcap", "text", "text"}, {3106, 'w', "lag", "text", "text"}, {3113, 'w', "last_value", "text", "text"}, {2559, 'f', "lastval", "", "int8"}, {3109, 'w', "lead", "text", "text"},
    {3060, 'f', "left", "text int4", "text"}, {1317, 'f', "length", "text", "int4"}, {2010, 'f', "length", "bytea", "int4"}, {1341, 'f', "ln", "float8", "float8"}, {1340, 'f', "log", "float8", "float8"},
    {870, 'f', "lower", "text", "text"}, {873, 'f', "lpad", "text int4 text", "text"}, {875, 'f', "ltrim", "text text", "text"}, {881, 'f', "ltrim", "text", "text"},
    {2116, 'a', "max", "int4", "int4"}, {2115, 'a', "max", "int8", "int8"}, {2129, 'a', "max", "text", "text"}, {2130, 'a', "max", "numeric", "numeric"}, {2126, 'a', "max", "timestamp", "timestamp"},
    {2311, 'f', "md5", "text", "text"}, {2132, 'a', "min", "int4", "int4"}, {2131, 'a', "min", "int8", "int8"}, {2145, 'a', "min", "text", "text"}, {2146, 'a', "min", "numeric", "numeric"}, {2142, 'a', "min", "timestamp", "timestamp"},
    {941, 'f', "mod", "int4 int4", "int4"}, {947, 'f', "mod", "int8 int8", "int8"}, {1574, 'f', "nextval", "regclass", "int8"}, {1299, 'f', "now", "", "timestamptz"}, {3114, 'w', "nth_value", "text int4", "text"}, {3105, 'w', "ntile", "int4", "int4"},
    {1215, 'f', "obj_description", "oid name", "text"}, {1374, 'f', "octet_length", "text", "int4"}, {3104, 'w', "percent_rank", "", "float8"}, {2026, 'f', "pg_backend_pid", "", "int4"},
    {1387, 'f', "pg_get_constraintdef", "oid", "text"}, {1716, 'f', "pg_get_expr", "text oid", "text"}, {1643, 'f', "pg_get_indexdef", "oid", "text"}, {1641, 'f', "pg_get_viewdef", "oid", "text"}, {2325, 'f', "pg_relation_size", "regclass", "int8"},
    {2286, 'f', "pg_total_relation_size", "regclass", "int8"}, {2288, 'f', "pg_size_pretty", "int8", "text"}, {2079, 'f', "pg_table_is_visible", "oid", "bool"}, {1619, 'f', "pg_typeof", "text", "regtype"}, {1610, 'f', "pi", "", "float8"},
    {1368, 'f', "power", "float8 float8", "float8"}, {1282, 'f', "quote_ident", "text", "text"}, {1283, 'f', "quote_literal", "text", "text"}, {1598, 'f', "random", "", "float8"}, {3101, 'w', "rank", "", "int8"},
    {2284, 'f', "regexp_replace", "text text text", "text"}, {1622, 'f', "repeat", "text int4", "text"}, {2087, 'f', "replace", "text text text", "text"}, {3062, 'f', "reverse", "text", "text"}, {3061, 'f', "right", "text int4", "text"},
    {1342, 'f', "round", "float8", "float8"}, {1707, 'f', "round", "numeric int4", "numeric"}, {1708, 'f', "round", "numeric", "numeric"}, {3100, 'w', "row_number", "", "int8"}, {874, 'f', "rpad", "text int4 text", "text"},
    {876, 'f', "rtrim", "text text", "text"}, {882, 'f', "rtrim", "text", "text"}, {746, 'f', "session_user", "", "name"}, {2078, 'f', "set_config", "text text bool", "text"}, {1576, 'f', "setval", "regclass int8", "int8"}, {1765, 'f', "setval", "regclass int8 bool", "int8"},
    {2310, 'f', "sign", "float8", "float8"}, {2088, 'f', "split_part", "text text int4", "text"}, {1344, 'f', "sqrt", "float8", "float8"}, {3538, 'a', "string_agg", "text text", "text"}, {868, 'f', "strpos", "text text", "int4"},
    {877, 'f', "substr", "text int4 int4", "text"}, {936, 'f', "substring", "text int4 int4", "text"}, {2107, 'a', "sum", "int8", "numeric"}, {2108, 'a', "sum", "int4", "int8"}, {2111, 'a', "sum", "float8", "float8"}, {2114, 'a', "sum", "numeric", "numeric"},
    {2089, 'f', "to_hex", "int4", "text"}, {878, 'f', "translate", "text text text", "text"}, {1343, 'f', "trunc", "float8", "float8"}, {871, 'f', "upper", "text", "text"}, {89, 'f', "version", "", "text"},
};
enum { PROCEDURES = sizeof procedures / sizeof *procedures };

/* "text int4" -> numbers "25 23"; their count. */
static int argument_numbers(const char *arguments, buf *out) {
  char name[20];
  int n = 0;
  for (const char *p = arguments; *p;) {
    size_t length = strcspn(p, " ");
    int32_t modifier;
    snprintf(name, sizeof name, "%.*s", (int)length, p);
    const pg_type *t = pg_type_by_name(name, &modifier);
    buf_printf(out, "%s%u", n++ ? " " : "", t ? t->oid : PG_TEXT);
    p += length + (p[length] != 0);
  }
  return n;
}

static uint32_t type_number(const char *name) {
  int32_t modifier;
  const pg_type *t = pg_type_by_name(name, &modifier);
  return t ? t->oid : PG_TEXT;
}

void pg_build_procedures(rowset *r) {
  for (int k = 0; k < PROCEDURES; k++) {
    const struct procedure *p = &procedures[k];
    char kind[2] = {p->kind, 0};
    buf numbers = BUF_INIT;
    int n = argument_numbers(p->arguments, &numbers);
    row_int(r, p->oid), row_text(r, p->name), row_int(r, PG_CATALOG), row_int(r, OWNER), row_int(r, 12), row_int(r, 1), row_int(r, 0), row_int(r, 0), row_int(r, 0);
    row_text(r, kind), row_int(r, 0), row_int(r, 0), row_int(r, 1), row_int(r, strcmp(p->name, "unnest") == 0 || strcmp(p->name, "generate_series") == 0);
    row_text(r, "i"), row_text(r, "s"), row_int(r, n), row_int(r, 0), row_int(r, type_number(p->result)), row_text(r, numbers.n && buf_cstr(&numbers) ? (const char *)numbers.p : "");
    row_null(r), row_null(r), row_null(r), row_null(r), row_null(r), row_text(r, p->name);
    row_end(r);
    buf_free(&numbers);
  }
}

static void put_types(const char *names, buf *out) {
  char name[20];
  for (const char *p = names; *p;) {
    size_t length = strcspn(p, " ");
    int32_t modifier;
    snprintf(name, sizeof name, "%.*s", (int)length, p);
    const pg_type *t = pg_type_by_name(name, &modifier);
    if (p != names) buf_text(out, ", ");
    buf_text(out, t ? t->sql : name);
    p += length + (p[length] != 0);
  }
}

bool pg_procedure_text(int64_t number, bool result, buf *out) {
  for (int k = 0; k < PROCEDURES; k++)
    if (procedures[k].oid == number) return put_types(result ? procedures[k].result : procedures[k].arguments, out), true;
  return false;
}

bool pg_procedure_name(int64_t number, buf *out) {
  for (int k = 0; k < PROCEDURES; k++)
    if (procedures[k].oid == number) return buf_text(out, procedures[k].name), true;
  return false;
}

int64_t pg_procedure_number(const char *name) {
  size_t n = strcspn(name, "(");
  for (int k = 0; k < PROCEDURES; k++)
    if (strlen(procedures[k].name) == n && strncasecmp(procedures[k].name, name, n) == 0) return procedures[k].oid;
  return 0;
}

/* ---- what the session tells ---- */

void hdb_set_pg_source(hdb *db, const pg_source *s) { db->pg_source = s; }

const char *pg_owner(const hdb *db) { return db && db->pg_source ? db->pg_source->owner : "postgres"; }

void pg_build_session(rowset *r, const char *table_name) {
  if (r->db->pg_source) r->db->pg_source->fill(r->db->pg_source->context, table_name, r);
}

/* ---- sizes ---- */

typedef struct measure {
  rowset r; /* first */
  int64_t number, total;
  int what;
} measure;

static int64_t tree_bytes(hdb *db, bool temp, uint32_t tree) {
  int64_t rows, bytes;
  struct txn *t = db->databases[temp ? DB_TEMP : DB_MAIN].txn;
  if (!t) return 0;
  txn_estimate(t, tree, &rows, &bytes);
  return bytes;
}

static void visit_size(rowset *r, const table *t, bool temp) {
  measure *m = (measure *)r;
  if (t->kind != TABLE_ORDINARY) return;
  bool all = m->what == PG_SIZE_DATABASE, whole = all || pg_table_oid(t) == m->number;
  if (whole && m->what != PG_SIZE_INDEXES) m->total += tree_bytes(r->db, temp, t->tree);
  for (const index_ *x = t->indexes; x; x = x->next) {
    if (x->tree == t->tree) continue;
    bool wanted_index = all || (whole && (m->what == PG_SIZE_TOTAL || m->what == PG_SIZE_INDEXES)) || 16384 + x->tree == m->number;
    if (wanted_index) m->total += tree_bytes(r->db, temp, x->tree);
  }
}

int64_t pg_size(hdb *db, int64_t number, int what) {
  measure m = {.r = {.db = db}, .number = number, .what = what};
  hdb_lock(db);
  pg_each_table(&m.r, visit_size);
  hdb_unlock(db);
  arena_clear(&m.r.memory);
  return m.total;
}
