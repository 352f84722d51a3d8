/* Tables of pg_catalog and information_schema (pg_catalog.h).
 *
 * A table is a line of `definitions`: its columns with their types, and a builder that makes all its rows from the
 * catalog; many have none and are empty. A cursor's rows are made at its first filter and again when the schema has
 * moved. Numbers: a table's or index's is 16384 + its tree, a view's a hash of its name; a constraint's and a default's
 * derive from its table's. Cost: all rows of the table for a scan; catalogs are small.
 */
#include "sql/pg_catalog.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "sql/describe.h"
#include "sql/internal.h"
#include "sql/number.h"
#include "sql/pg_enum.h"
#include "sql/pg_objects.h"

/* ---- rows ---- */

static void row_put(rowset *r, value v) {
  if (r->failed || r->fill >= r->columns) return;
  if (r->n == r->capacity) {
    int64_t wanted = r->capacity ? r->capacity * 2 : 32;
    value *more = realloc(r->cells, (size_t)(wanted * r->columns) * sizeof *more);
    if (!more) {
      r->failed = true;
      return;
    }
    r->cells = more;
    r->capacity = wanted;
  }
  r->cells[r->n * r->columns + r->fill++] = v;
}
void row_end(rowset *r) {
  while (r->fill < r->columns && !r->failed) row_put(r, value_null());
  if (!r->failed) r->n++;
  r->fill = 0;
}
void row_int(rowset *r, int64_t v) { row_put(r, value_int(v)); }
void row_null(rowset *r) { row_put(r, value_null()); }
void row_text(rowset *r, const char *text) {
  if (!text) {
    row_null(r);
    return;
  }
  char *copy = arena_strdup(&r->memory, text);
  if (!copy) r->failed = true;
  else row_put(r, value_text(copy, strlen(copy)));
}

/* ---- the catalog's objects ---- */

static schema *schema_of(hdb *db, int database) {
  schema *found = NULL;
  if (database == DB_TEMP && !db->databases[DB_TEMP].engine) return NULL;
  return catalog_schema(db, database, &found) == HDB_OK ? found : NULL;
}

static bool is_shown(const table *t) { return strncasecmp(t->name, "sqlite_", 7) != 0 && strncasecmp(t->name, "_heliosdb", 9) != 0; }

void pg_each_table(rowset *r, table_visitor visit) {
  for (int database = 0; database < 2; database++) {
    schema *x = schema_of(r->db, database);
    for (int k = 0; x && k < x->tables_n; k++)
      if (is_shown(x->in_order[k]) && !pg_is_sequence(x->in_order[k]) && !x->in_order[k]->enumeration) visit(r, x->in_order[k], database == DB_TEMP);
  }
}

static uint32_t index_oid(const index_ *x) { return x->is_primary ? 16384 + x->owner->tree + 500000000 : 16384 + x->tree; }

static bool is_primary(const table *t, const index_ *x) { return x->origin == 'p' || x->is_primary || t->primary == x || pg_index_added_as(x) == 'p'; }

static const char *key_name(rowset *r, const table *t) { return pg_index_name(&r->memory, t, NULL); }
static const char *index_name(rowset *r, const table *t, const index_ *x) { return pg_index_name(&r->memory, t, x); }

const pg_type *pg_column_type(rowset *r, const table *t, const column *c, int32_t *modifier) {
  const char *declared = pg_column_override(&r->memory, t->sql, c->name);
  const pg_type *type = pg_type_of_declared(r->db, declared ? declared : c->type, pg_table_is_postgres(t->sql), modifier);
  return type ? type : pg_type_by_oid(PG_TEXT);
}

/* A view's columns as described. */
description pg_view_columns(rowset *r, const table *t) {
  description d = {0};
  char *sql = arena_printf(&r->memory, "SELECT * FROM \"%s\"", t->name);
  if (sql) (void)hdb_describe(r->db, sql, NULL, 0, &r->memory, &d);
  return d;
}

bool pg_has_row_id_key(const table *t) { return t->rowid_column >= 0; }
bool pg_not_null(const table *t, int k) { return t->columns[k].not_null || k == t->rowid_column || (t->without_rowid && t->columns[k].primary_key); }
uint32_t pg_row_id_index(const table *t) { return pg_table_oid(t) + 600000000; }

/* ---- pg_class ---- */

static int64_t triggers_of(const table *t) {
  int64_t n = 0;
  for (const trigger *g = t->triggers; g; g = g->next) n++;
  return n;
}

/* PostgreSQL keeps keys by triggers: psql looks for them where relhastriggers is set. */
static bool is_referenced(rowset *r, const table *t) {
  schema *x = schema_of(r->db, 0);
  for (const foreign_key *k = x ? x->foreign_keys : NULL; k; k = k->next_parent)
    if (strcasecmp(k->parent, t->name) == 0) return true;
  return false;
}

static void class_row(rowset *r, uint32_t oid, const char *name, char kind, bool temp, uint32_t am, int columns, bool has_index, const table *t) {
  char kind_text[2] = {kind, 0};
  row_int(r, oid), row_text(r, name), row_int(r, temp ? PG_TEMP : PUBLIC), row_int(r, 0), row_int(r, 0), row_int(r, OWNER), row_int(r, am), row_int(r, oid), row_int(r, 0), row_int(r, 0);
  row_int(r, -1), row_int(r, 0), row_int(r, 0), row_int(r, has_index), row_int(r, 0), row_text(r, temp ? "t" : "p"), row_text(r, kind_text), row_int(r, columns);
  row_int(r, kind == 'r' && t ? t->checks_n : 0), row_int(r, 0), row_int(r, kind == 'r' && t && (triggers_of(t) > 0 || t->foreign_keys || is_referenced(r, t))), row_int(r, 0), row_int(r, 0), row_int(r, 0), row_int(r, 1), row_text(r, kind == 'r' ? "d" : "n");
  row_int(r, 0), row_int(r, 0), row_int(r, 0), row_int(r, 0), row_null(r), row_null(r), row_null(r);
  row_end(r);
}

static void visit_class(rowset *r, const table *t, bool temp) {
  if (t->kind == TABLE_VIEW) {
    class_row(r, pg_table_oid(t), t->name, 'v', temp, 0, pg_view_columns(r, t).columns_n, false, t);
    return;
  }
  class_row(r, pg_table_oid(t), t->name, 'r', temp, HEAP, t->columns_n, t->indexes || pg_has_row_id_key(t), t);
  if (pg_has_row_id_key(t)) class_row(r, pg_row_id_index(t), key_name(r, t), 'i', temp, BTREE, 1, false, t);
  for (const index_ *x = t->indexes; x; x = x->next) class_row(r, index_oid(x), index_name(r, t, x), 'i', temp, BTREE, x->key_columns_n, false, t);
}
static void visit_class_sequence(rowset *r, const sequence_view *q) { class_row(r, q->oid, q->name, 'S', q->temp, 0, 3, false, NULL); }
static void build_class(rowset *r) {
  pg_each_table(r, visit_class);
  pg_each_sequence(r, visit_class_sequence);
}

/* ---- pg_attribute, pg_attrdef ---- */

static void attribute_row(rowset *r, uint32_t relation, const char *name, int number, const pg_type *type, int32_t modifier, bool required, bool has_default, const char *identity, const char *generated) {
  bool collatable = type->category == 'S';
  row_int(r, relation), row_text(r, name), row_int(r, type->oid), row_int(r, -1), row_int(r, type->size), row_int(r, number), row_int(r, 0), row_int(r, -1), row_int(r, modifier), row_int(r, type->size > 0 && type->size <= 8);
  row_text(r, type->size > 0 && type->size <= 8 && type->size != 12 ? "p" : "x"), row_text(r, type->size == 8 ? "d" : "i"), row_text(r, ""), row_int(r, required), row_int(r, has_default), row_int(r, 0), row_text(r, identity), row_text(r, generated), row_int(r, 0), row_int(r, 1), row_int(r, 0), row_int(r, collatable ? 100 : 0);
  row_null(r), row_null(r), row_null(r), row_null(r);
  row_end(r);
}

static void index_attributes(rowset *r, const table *t, const index_ *x) {
  for (int k = 0; k < x->key_columns_n; k++) {
    int c = x->columns[k].column;
    int32_t modifier = -1;
    const pg_type *type = c >= 0 ? pg_column_type(r, t, &t->columns[c], &modifier) : pg_type_by_oid(c == -1 ? PG_INT8 : PG_TEXT);
    attribute_row(r, index_oid(x), c >= 0 ? t->columns[c].name : "expr", k + 1, type, modifier, false, false, "", "");
  }
}

static void visit_attribute(rowset *r, const table *t, bool temp) {
  (void)temp;
  if (t->kind == TABLE_VIEW) {
    description d = pg_view_columns(r, t);
    for (int k = 0; k < d.columns_n; k++) {
      const pg_type *type = pg_type_numbered(r->db, d.columns[k].type);
      attribute_row(r, pg_table_oid(t), d.columns[k].label, k + 1, type ? type : pg_type_by_oid(PG_TEXT), d.columns[k].modifier, false, false, "", "");
    }
    return;
  }
  for (int k = 0; k < t->columns_n; k++) {
    const column *c = &t->columns[k];
    int32_t modifier;
    const pg_type *type = pg_column_type(r, t, c, &modifier);
    bool serial = k == t->rowid_column && t->autoincrement;
    attribute_row(r, pg_table_oid(t), c->name, k + 1, type, modifier, pg_not_null(t, k), c->default_value || c->generated || serial, "", c->generated ? "s" : "");
  }
  if (pg_has_row_id_key(t)) {
    int32_t modifier;
    const pg_type *type = pg_column_type(r, t, &t->columns[t->rowid_column], &modifier);
    attribute_row(r, pg_row_id_index(t), t->columns[t->rowid_column].name, 1, type, modifier, false, false, "", "");
  }
  for (const index_ *x = t->indexes; x; x = x->next) index_attributes(r, t, x);
}
static void build_attribute(rowset *r) { pg_each_table(r, visit_attribute); }

const char *pg_default_text(rowset *r, const table *t, int k) {
  const column *c = &t->columns[k];
  if (k == t->rowid_column && t->autoincrement) return arena_printf(&r->memory, "nextval('%s_%s_seq'::regclass)", t->name, c->name);
  const char *text = c->default_text.n ? arena_strndup(&r->memory, (const char *)c->default_text.p, c->default_text.n) : NULL;
  if (text && strcasecmp(text, "CURRENT_TIMESTAMP") == 0) return "CURRENT_TIMESTAMP";
  if (text && strncasecmp(text, "nextval('", 9) == 0 && !strstr(text, "::")) return arena_printf(&r->memory, "%.*s::regclass)", (int)strlen(text) - 1, text);
  if (text && c->default_value && c->default_value->op == EX_TEXT) {
    int32_t modifier;
    const pg_type *type = pg_column_type(r, t, c, &modifier);
    return arena_printf(&r->memory, "%s::%s", text, type->sql);
  }
  return text;
}

static void visit_attrdef(rowset *r, const table *t, bool temp) {
  (void)temp;
  for (int k = 0; t->kind == TABLE_ORDINARY && k < t->columns_n; k++) {
    const char *text = pg_default_text(r, t, k);
    if (!text) continue;
    row_int(r, (int64_t)pg_table_oid(t) * 100 % 2000000000 + k), row_int(r, pg_table_oid(t)), row_int(r, k + 1), row_text(r, text);
    row_end(r);
  }
}
static void build_attrdef(rowset *r) { pg_each_table(r, visit_attrdef); }

/* ---- pg_index, pg_constraint ---- */

static void index_row(rowset *r, uint32_t oid, const table *t, const char *key, int n, bool unique, bool primary, const char *predicate) {
  row_int(r, oid), row_int(r, pg_table_oid(t)), row_int(r, n), row_int(r, n), row_int(r, unique), row_int(r, 0), row_int(r, primary), row_int(r, 0), row_int(r, 1), row_int(r, 0), row_int(r, 1), row_int(r, 0), row_int(r, 1), row_int(r, 1), row_int(r, 0);
  row_text(r, key), row_text(r, "0"), row_text(r, "0"), row_text(r, "0"), row_null(r), row_text(r, predicate);
  row_end(r);
}

static const char *key_numbers(rowset *r, const index_ *x, char separator) {
  buf b = BUF_INIT;
  for (int k = 0; k < x->key_columns_n; k++) {
    if (k) buf_byte(&b, (uint8_t)separator);
    buf_printf(&b, "%d", x->columns[k].column >= 0 ? x->columns[k].column + 1 : 0);
  }
  const char *text = arena_strndup(&r->memory, b.p ? (char *)b.p : "", b.n);
  buf_free(&b);
  return text;
}

static void visit_index(rowset *r, const table *t, bool temp) {
  (void)temp;
  if (t->kind != TABLE_ORDINARY) return;
  if (pg_has_row_id_key(t)) index_row(r, pg_row_id_index(t), t, arena_printf(&r->memory, "%d", t->rowid_column + 1), 1, true, true, NULL);
  for (const index_ *x = t->indexes; x; x = x->next) {
    const char *where = NULL;
    if (x->where && x->sql) {
      where = strcasestr(x->sql, " where ");
      if (where) where += 7;
    }
    index_row(r, index_oid(x), t, key_numbers(r, x, ' '), x->key_columns_n, x->unique, is_primary(t, x), where);
  }
}
static void build_index(rowset *r) { pg_each_table(r, visit_index); }

static const char *column_names(rowset *r, const table *t, const int *columns, int n) {
  buf b = BUF_INIT;
  for (int k = 0; k < n; k++) buf_printf(&b, "%s%s", k ? ", " : "", columns[k] >= 0 && columns[k] < t->columns_n ? t->columns[columns[k]].name : "?");
  const char *text = arena_strndup(&r->memory, b.p ? (char *)b.p : "", b.n);
  buf_free(&b);
  return text;
}

static char action_letter(uint8_t action) {
  static const char letters[] = {'a', 'r', 'n', 'd', 'c'};
  return action < sizeof letters ? letters[action] : 'a';
}
static const char *action_words(uint8_t action) {
  static const char *const words[] = {"", " RESTRICT", " SET NULL", " SET DEFAULT", " CASCADE"};
  return action < 5 ? words[action] : "";
}

/* The parent's index that a foreign key refers to. */
static uint32_t referenced_index(const table *parent, const foreign_key *f) {
  const char *first = f->parent_columns[0];
  int column = first ? table_column(parent, first) : parent->rowid_column;
  if (f->n == 1 && parent->rowid_column >= 0 && column == parent->rowid_column) return pg_row_id_index(parent);
  for (const index_ *x = parent->indexes; x; x = x->next) {
    bool same = x->unique && !x->where && x->key_columns_n == f->n && (first || is_primary(parent, x));
    for (int k = 0; same && first && k < f->n; k++) same = x->columns[k].column >= 0 && f->parent_columns[k] && x->columns[k].column == table_column(parent, f->parent_columns[k]);
    if (same) return index_oid(x);
  }
  return 0;
}

void pg_each_constraint(rowset *r, const table *t, constraint_visitor visit) {
  uint32_t base = (uint32_t)((uint64_t)pg_table_oid(t) * 64 % 1500000000 + 500000000);
  int number = 0;
  if (pg_has_row_id_key(t)) {
    constraint_view c = {.oid = base + (uint32_t)number++, .kind = 'p', .name = key_name(r, t), .index = pg_row_id_index(t),
                         .key = arena_printf(&r->memory, "[%d]", t->rowid_column + 1), .on_update = ' ', .on_delete = ' ',
                         .definition = arena_printf(&r->memory, "PRIMARY KEY (%s)", t->columns[t->rowid_column].name)};
    visit(r, t, &c);
  }
  for (const index_ *x = t->indexes; x; x = x->next) {
    if (x->origin != 'u' && x->origin != 'p' && !x->is_primary && !pg_index_added_as(x)) continue;
    int columns[64], n = 0;
    for (int k = 0; k < x->key_columns_n && n < 64; k++) columns[n++] = x->columns[k].column;
    bool primary = is_primary(t, x);
    constraint_view c = {.oid = base + (uint32_t)number++, .kind = primary ? 'p' : 'u', .name = index_name(r, t, x), .index = index_oid(x), .x = x,
                         .key = arena_printf(&r->memory, "[%s]", key_numbers(r, x, ',')), .on_update = ' ', .on_delete = ' ',
                         .definition = arena_printf(&r->memory, "%s (%s)", primary ? "PRIMARY KEY" : "UNIQUE", column_names(r, t, columns, n))};
    visit(r, t, &c);
  }
  for (const foreign_key *f = t->foreign_keys; f; f = f->next) {
    int database;
    table *parent = catalog_table(r->db, NULL, f->parent, &database);
    buf key = BUF_INIT, other = BUF_INIT, definition = BUF_INIT;
    buf_printf(&definition, "FOREIGN KEY (%s) REFERENCES %s(", column_names(r, t, f->child_columns, f->n), f->parent);
    for (int k = 0; k < f->n; k++) {
      const char *column = f->parent_columns ? f->parent_columns[k] : NULL;
      int at = parent && column ? table_column(parent, column) : -1;
      for (int m = 0; parent && !column && m < parent->columns_n; m++)
        if (parent->columns[m].primary_key_position == k + 1) at = m;
      buf_printf(&key, "%s%d", k ? "," : "[", f->child_columns[k] + 1);
      buf_printf(&other, "%s%d", k ? "," : "[", at + 1);
      buf_printf(&definition, "%s%s", k ? ", " : "", parent && at >= 0 ? parent->columns[at].name : column ? column : "?");
    }
    buf_printf(&definition, ")%s%s%s%s", f->on_update ? " ON UPDATE" : "", action_words(f->on_update), f->on_delete ? " ON DELETE" : "", action_words(f->on_delete));
    if (f->deferrable) buf_text(&definition, f->deferred ? " DEFERRABLE INITIALLY DEFERRED" : " DEFERRABLE");
    buf_byte(&key, ']'), buf_byte(&other, ']');
    constraint_view c = {.oid = base + (uint32_t)number++, .kind = 'f', .f = f, .index = parent ? referenced_index(parent, f) : 0, .foreign = parent ? pg_table_oid(parent) : 0,
                         .name = pg_foreign_key_name(&r->memory, f), .key = arena_strndup(&r->memory, (char *)key.p, key.n),
                         .foreign_key = arena_strndup(&r->memory, (char *)other.p, other.n), .definition = arena_strndup(&r->memory, (char *)definition.p, definition.n),
                         .on_update = action_letter(f->on_update), .on_delete = action_letter(f->on_delete)};
    buf_free(&key), buf_free(&other), buf_free(&definition);
    visit(r, t, &c);
  }
  for (int k = 0; k < t->checks_n; k++) {
    const check *x = &t->checks[k];
    const char *name = pg_check_name(&r->memory, t, k);
    constraint_view c = {.oid = base + (uint32_t)number++, .kind = 'c', .name = name, .on_update = ' ', .on_delete = ' ',
                         .definition = arena_printf(&r->memory, "CHECK (%.*s)", (int)x->text.n, (const char *)x->text.p)};
    visit(r, t, &c);
  }
}

static void constraint_row(rowset *r, const table *t, const constraint_view *c) {
  char kind[2] = {c->kind, 0}, update[2] = {c->on_update, 0}, delete[2] = {c->on_delete, 0};
  row_int(r, c->oid), row_text(r, c->name), row_int(r, PUBLIC), row_text(r, kind), row_int(r, c->f && c->f->deferrable), row_int(r, c->f && c->f->deferred), row_int(r, 1), row_int(r, pg_table_oid(t)), row_int(r, 0), row_int(r, c->index), row_int(r, 0), row_int(r, c->foreign);
  row_text(r, update), row_text(r, delete), row_text(r, c->kind == 'f' ? "s" : " "), row_int(r, 1), row_int(r, 0), row_int(r, c->kind != 'c'), row_text(r, c->key), row_text(r, c->foreign_key), row_text(r, c->definition);
  row_end(r);
}
static void visit_constraint(rowset *r, const table *t, bool temp) {
  (void)temp;
  if (t->kind == TABLE_ORDINARY) pg_each_constraint(r, t, constraint_row);
}
static void build_constraint(rowset *r) { pg_each_table(r, visit_constraint); }

/* ---- fixed tables ---- */

static void build_namespace(rowset *r) {
  static const struct { int oid; const char *name; } all[] = {{PG_CATALOG, "pg_catalog"}, {PUBLIC, "public"}, {INFORMATION_SCHEMA, "information_schema"}, {PG_TEMP, "pg_temp_1"}};
  for (size_t k = 0; k < 4; k++) {
    row_int(r, all[k].oid), row_text(r, all[k].name), row_int(r, OWNER), row_null(r);
    row_end(r);
  }
}
static void type_row(rowset *r, const pg_type *t) {
  char category[2] = {t->category, 0};
  bool own = pg_is_own_type(t->oid);
  row_int(r, t->oid), row_text(r, t->name), row_int(r, own ? PUBLIC : PG_CATALOG), row_int(r, OWNER), row_int(r, t->size), row_int(r, t->size > 0 && t->size <= 8);
  row_text(r, t->category == 'P' ? "p" : t->category == 'E' ? "e" : "b"), row_text(r, category), row_int(r, 0), row_int(r, 1), row_text(r, ",");
  row_int(r, 0), row_int(r, t->element), row_int(r, t->array), row_int(r, 0), row_int(r, -1), row_int(r, 0), row_int(r, 0), row_int(r, t->category == 'S' ? 100 : 0), row_null(r), row_text(r, "i"), row_text(r, "x"), row_int(r, t->category == 'A' ? 750 : 0), row_int(r, t->category == 'A' ? 750 : 0), row_null(r);
  row_end(r);
}
static void own_type_rows(void *context, const pg_enum *e) {
  type_row(context, &e->type);
  type_row(context, &e->array);
}
static void build_type(rowset *r) {
  for (int k = 0; k < pg_types_n; k++) type_row(r, &pg_types[k]);
  pg_enum_each(r->db, own_type_rows, r);
}
static void enum_rows(void *context, const pg_enum *e) {
  rowset *r = context;
  for (int i = 0; i < e->n; i++) {
    row_int(r, (int64_t)e->type.oid * 1000 % 2000000000 + i), row_int(r, e->type.oid), row_int(r, i + 1), row_text(r, e->labels[i]);
    row_end(r);
  }
}
static void build_enum(rowset *r) { pg_enum_each(r->db, enum_rows, r); }
static void build_database(rowset *r) {
  const char *path = r->db->databases[0].filename, *slash = path ? strrchr(path, '/') : NULL;
  char name[128];
  snprintf(name, sizeof name, "%s", slash ? slash + 1 : path ? path : "main");
  char *dot = strrchr(name, '.');
  if (dot && dot > name) *dot = 0;
  row_int(r, DATABASE), row_text(r, name), row_int(r, OWNER), row_int(r, 6), row_text(r, "c"), row_int(r, 0), row_int(r, 1), row_int(r, -1), row_int(r, 1663), row_text(r, "C.UTF-8"), row_text(r, "C.UTF-8"), row_null(r), row_null(r), row_null(r);
  row_end(r);
}
static void zone_row(void *context, const char *name, const pg_zone *zone) {
  rowset *r = context;
  bool is_dst;
  const char *abbreviation;
  int offset = pg_zone_offset(zone, time(NULL), &is_dst, &abbreviation), size = offset < 0 ? -offset : offset;
  row_text(r, name), row_text(r, abbreviation), row_text(r, arena_printf(&r->memory, "%s%02d:%02d:%02d", offset < 0 ? "-" : "", size / 3600, size / 60 % 60, size % 60)), row_int(r, is_dst);
  row_end(r);
}
static void build_zones(rowset *r) { pg_zone_each(zone_row, r); }
static void build_am(rowset *r) {
  row_int(r, HEAP), row_text(r, "heap"), row_text(r, "heap_tableam_handler"), row_text(r, "t");
  row_end(r);
  row_int(r, BTREE), row_text(r, "btree"), row_text(r, "bthandler"), row_text(r, "i");
  row_end(r);
}
static void build_tablespace(rowset *r) {
  row_int(r, 1663), row_text(r, "pg_default"), row_int(r, OWNER), row_null(r), row_null(r);
  row_end(r);
  row_int(r, 1664), row_text(r, "pg_global"), row_int(r, OWNER), row_null(r), row_null(r);
  row_end(r);
}
static void build_collation(rowset *r) {
  static const struct { int oid; const char *name, *collate; } all[] = {{100, "default", NULL}, {950, "C", "C"}, {951, "POSIX", "POSIX"}};
  for (size_t k = 0; k < 3; k++) {
    row_int(r, all[k].oid), row_text(r, all[k].name), row_int(r, PG_CATALOG), row_int(r, OWNER), row_text(r, k ? "c" : "d"), row_int(r, 1), row_int(r, -1), row_text(r, all[k].collate), row_text(r, all[k].collate), row_null(r), row_null(r);
    row_end(r);
  }
}
static void build_language(rowset *r) {
  static const char *const names[] = {"internal", "c", "sql"};
  for (int k = 0; k < 3; k++) {
    row_int(r, 12 + k), row_text(r, names[k]), row_int(r, OWNER), row_int(r, 0), row_int(r, k == 2);
    row_end(r);
  }
}

static void visit_trigger(rowset *r, const table *t, bool temp) {
  (void)temp;
  for (const trigger *g = t->triggers; g; g = g->next) {
    row_int(r, (int64_t)pg_table_oid(t) + 700000000), row_int(r, pg_table_oid(t)), row_int(r, 0), row_text(r, g->name), row_int(r, 0), row_int(r, 0), row_text(r, "O"), row_int(r, 0), row_int(r, 0), row_int(r, 0), row_int(r, 0), row_text(r, g->sql);
    row_end(r);
  }
}
static void build_trigger(rowset *r) { pg_each_table(r, visit_trigger); }

/* ---- views of PostgreSQL's over the above ---- */

static void visit_tables(rowset *r, const table *t, bool temp) {
  if (t->kind != TABLE_ORDINARY) return;
  row_text(r, temp ? "pg_temp_1" : "public"), row_text(r, t->name), row_text(r, pg_owner(r->db)), row_null(r), row_int(r, t->indexes || pg_has_row_id_key(t)), row_int(r, 0), row_int(r, t->triggers != NULL), row_int(r, 0);
  row_end(r);
}
static void build_tables(rowset *r) { pg_each_table(r, visit_tables); }
const char *pg_view_text(rowset *r, const table *t) {
  const char *as = t->sql ? strcasestr(t->sql, " as ") : NULL;
  return as ? arena_printf(&r->memory, " %s;", as + 4) : NULL;
}
static void visit_views(rowset *r, const table *t, bool temp) {
  if (t->kind != TABLE_VIEW) return;
  row_text(r, temp ? "pg_temp_1" : "public"), row_text(r, t->name), row_text(r, pg_owner(r->db)), row_text(r, pg_view_text(r, t));
  row_end(r);
}
static void build_views(rowset *r) { pg_each_table(r, visit_views); }

static const char *index_definition(rowset *r, const table *t, const index_ *x, uint32_t oid) {
  buf b = BUF_INIT;
  (void)oid;
  if (!x) buf_printf(&b, "CREATE UNIQUE INDEX %s_pkey ON public.%s USING btree (%s)", t->name, t->name, t->columns[t->rowid_column].name);
  else {
    buf_printf(&b, "CREATE %sINDEX %s ON public.%s USING btree (", x->unique ? "UNIQUE " : "", index_name(r, t, x), t->name);
    for (int k = 0; k < x->key_columns_n; k++) {
      const index_column *c = &x->columns[k];
      if (k) buf_text(&b, ", ");
      if (c->column >= 0) buf_text(&b, t->columns[c->column].name);
      else if (c->e && c->e->span.n) buf_printf(&b, "%.*s", (int)c->e->span.n, (const char *)c->e->span.p);
      if (c->descending) buf_text(&b, " DESC");
    }
    buf_byte(&b, ')');
    const char *where = x->sql && x->where ? strcasestr(x->sql, " where ") : NULL;
    if (where) buf_printf(&b, " WHERE (%s)", where + 7);
  }
  const char *text = arena_strndup(&r->memory, (char *)b.p, b.n);
  buf_free(&b);
  return text;
}
static void visit_indexes(rowset *r, const table *t, bool temp) {
  if (t->kind != TABLE_ORDINARY) return;
  if (pg_has_row_id_key(t)) {
    row_text(r, "public"), row_text(r, t->name), row_text(r, key_name(r, t)), row_null(r), row_text(r, index_definition(r, t, NULL, 0));
    row_end(r);
  }
  for (const index_ *x = t->indexes; x; x = x->next) {
    row_text(r, temp ? "pg_temp_1" : "public"), row_text(r, t->name), row_text(r, index_name(r, t, x)), row_null(r), row_text(r, index_definition(r, t, x, 0));
    row_end(r);
  }
}
static void build_indexes(rowset *r) { pg_each_table(r, visit_indexes); }

/* ---- definitions ---- */

static const struct definition {
  const char *name, *columns; /* "name type name type ..." */
  void (*build)(rowset *);       /* NULL: empty, or the session's */
} definitions[] = {
    {"pg_namespace", "oid oid nspname name nspowner oid nspacl _text", build_namespace},
    {"pg_class", "oid oid relname name relnamespace oid reltype oid reloftype oid relowner oid relam oid relfilenode oid reltablespace oid relpages int4 reltuples float4 relallvisible int4 reltoastrelid oid relhasindex bool relisshared bool relpersistence char relkind char relnatts int2 relchecks int2 relhasrules bool relhastriggers bool relhassubclass bool relrowsecurity bool relforcerowsecurity bool relispopulated bool relreplident char relispartition bool relrewrite oid relfrozenxid oid relminmxid oid relacl _text reloptions _text relpartbound text", build_class},
    {"pg_attribute", "attrelid oid attname name atttypid oid attstattarget int4 attlen int2 attnum int2 attndims int4 attcacheoff int4 atttypmod int4 attbyval bool attstorage char attalign char attcompression char attnotnull bool atthasdef bool atthasmissing bool attidentity char attgenerated char attisdropped bool attislocal bool attinhcount int4 attcollation oid attacl _text attoptions _text attfdwoptions _text attmissingval _text", build_attribute},
    {"pg_attrdef", "oid oid adrelid oid adnum int2 adbin text", build_attrdef},
    {"pg_type", "oid oid typname name typnamespace oid typowner oid typlen int2 typbyval bool typtype char typcategory char typispreferred bool typisdefined bool typdelim char typrelid oid typelem oid typarray oid typbasetype oid typtypmod int4 typndims int4 typnotnull bool typcollation oid typdefault text typalign char typstorage char typinput int4 typsubscript int4 typacl _text typoutput oid typreceive oid typsend oid typmodin oid typmodout oid typanalyze oid typdefaultbin text", build_type},
    {"pg_index", "indexrelid oid indrelid oid indnatts int2 indnkeyatts int2 indisunique bool indnullsnotdistinct bool indisprimary bool indisexclusion bool indimmediate bool indisclustered bool indisvalid bool indcheckxmin bool indisready bool indislive bool indisreplident bool indkey int2vector indcollation oidvector indclass oidvector indoption int2vector indexprs text indpred text", build_index},
    {"pg_constraint", "oid oid conname name connamespace oid contype char condeferrable bool condeferred bool convalidated bool conrelid oid contypid oid conindid oid conparentid oid confrelid oid confupdtype char confdeltype char confmatchtype char conislocal bool coninhcount int4 connoinherit bool conkey _int2 confkey _int2 conbin text conpfeqop _oid conppeqop _oid conffeqop _oid confdelsetcols _int2 conexclop _oid", build_constraint},
    {"pg_database", "oid oid datname name datdba oid encoding int4 datlocprovider char datistemplate bool datallowconn bool datconnlimit int4 dattablespace oid datcollate text datctype text daticulocale text datcollversion text datacl _text datfrozenxid int8 datminmxid int8", build_database},
    {"pg_roles", "rolname name rolsuper bool rolinherit bool rolcreaterole bool rolcreatedb bool rolcanlogin bool rolreplication bool rolconnlimit int4 rolpassword text rolvaliduntil timestamptz rolbypassrls bool rolconfig _text oid oid", NULL},
    {"pg_authid", "rolname name rolsuper bool rolinherit bool rolcreaterole bool rolcreatedb bool rolcanlogin bool rolreplication bool rolconnlimit int4 rolpassword text rolvaliduntil timestamptz rolbypassrls bool rolconfig _text oid oid", NULL},
    {"pg_am", "oid oid amname name amhandler text amtype char", build_am},
    {"pg_tablespace", "oid oid spcname name spcowner oid spcacl _text spcoptions _text", build_tablespace},
    {"pg_collation", "oid oid collname name collnamespace oid collowner oid collprovider char collisdeterministic bool collencoding int4 collcollate text collctype text colliculocale text collversion text", build_collation},
    {"pg_language", "oid oid lanname name lanowner oid lanispl bool lanpltrusted bool lanplcallfoid oid laninline oid lanvalidator oid lanacl _text", build_language},
    {"pg_trigger", "oid oid tgrelid oid tgparentid oid tgname name tgfoid oid tgtype int2 tgenabled char tgisinternal bool tgconstrrelid oid tgconstrindid oid tgconstraint oid tgqual text tgdeferrable bool tginitdeferred bool tgnargs int2 tgattr int2vector tgargs bytea tgoldtable name tgnewtable name", build_trigger},
    {"pg_tables", "schemaname name tablename name tableowner name tablespace name hasindexes bool hasrules bool hastriggers bool rowsecurity bool", build_tables},
    {"pg_views", "schemaname name viewname name viewowner name definition text", build_views},
    {"pg_indexes", "schemaname name tablename name indexname name tablespace name indexdef text", build_indexes},
    {"pg_proc", "oid oid proname name pronamespace oid proowner oid prolang oid procost float4 prorows float4 provariadic oid prosupport oid prokind char prosecdef bool proleakproof bool proisstrict bool proretset bool provolatile char proparallel char pronargs int2 pronargdefaults int2 prorettype oid proargtypes oidvector proallargtypes _oid proargmodes _text proargnames _text proargdefaults text protrftypes _oid prosrc text probin text prosqlbody text proconfig _text proacl _text", pg_build_procedures},
    {"pg_description", "objoid oid classoid oid objsubid int4 description text", pg_build_description},
    {"pg_shdescription", "objoid oid classoid oid description text", NULL},
    {"pg_inherits", "inhrelid oid inhparent oid inhseqno int4 inhdetachpending bool", NULL},
    {"pg_policy", "oid oid polname name polrelid oid polcmd char polpermissive bool polroles _oid polqual text polwithcheck text", NULL},
    {"pg_statistic_ext", "oid oid stxrelid oid stxname name stxnamespace oid stxowner oid stxstattarget int4 stxkeys int2vector stxkind _text stxexprs text", NULL},
    {"pg_publication", "oid oid pubname name pubowner oid puballtables bool pubinsert bool pubupdate bool pubdelete bool pubtruncate bool pubviaroot bool", NULL},
    {"pg_publication_rel", "oid oid prpubid oid prrelid oid prqual text prattrs int2vector", NULL},
    {"pg_publication_namespace", "oid oid pnpubid oid pnnspid oid", NULL},
    {"pg_subscription", "oid oid subdbid oid subskiplsn text subname name subowner oid subenabled bool subbinary bool substream bool subtwophasestate char subdisableonerr bool subconninfo text subslotname name subsynccommit text subpublications _text", NULL},
    {"pg_rewrite", "oid oid rulename name ev_class oid ev_type char ev_enabled char is_instead bool ev_qual text ev_action text", NULL},
    {"pg_enum", "oid oid enumtypid oid enumsortorder float4 enumlabel name", build_enum},
    {"pg_range", "rngtypid oid rngsubtype oid rngmultitypid oid rngcollation oid rngsubopc oid rngcanonical oid rngsubdiff oid", NULL},
    {"pg_extension", "oid oid extname name extowner oid extnamespace oid extrelocatable bool extversion text extconfig _oid extcondition _text", NULL},
    {"pg_event_trigger", "oid oid evtname name evtevent name evtowner oid evtfoid oid evtenabled char evttags _text", NULL},
    {"pg_foreign_table", "ftrelid oid ftserver oid ftoptions _text", NULL},
    {"pg_foreign_server", "oid oid srvname name srvowner oid srvfdw oid srvtype text srvversion text srvacl _text srvoptions _text", NULL},
    {"pg_foreign_data_wrapper", "oid oid fdwname name fdwowner oid fdwhandler oid fdwvalidator oid fdwacl _text fdwoptions _text", NULL},
    {"pg_user_mappings", "umid oid srvid oid srvname name umuser oid usename name umoptions _text", NULL},
    {"pg_ts_dict", "oid oid dictname name dictnamespace oid dictowner oid dicttemplate oid dictinitoption text", NULL},
    {"pg_ts_config", "oid oid cfgname name cfgnamespace oid cfgowner oid cfgparser oid", NULL},
    {"pg_ts_parser", "oid oid prsname name prsnamespace oid prsstart oid prstoken oid prsend oid prsheadline oid prslextype oid", NULL},
    {"pg_ts_template", "oid oid tmplname name tmplnamespace oid tmplinit oid tmpllexize oid", NULL},
    {"pg_operator", "oid oid oprname name oprnamespace oid oprowner oid oprkind char oprcanmerge bool oprcanhash bool oprleft oid oprright oid oprresult oid oprcom oid oprnegate oid oprcode oid oprrest oid oprjoin oid", NULL},
    {"pg_opclass", "oid oid opcmethod oid opcname name opcnamespace oid opcowner oid opcfamily oid opcintype oid opcdefault bool opckeytype oid", NULL},
    {"pg_opfamily", "oid oid opfmethod oid opfname name opfnamespace oid opfowner oid", NULL},
    {"pg_amop", "oid oid amopfamily oid amoplefttype oid amoprighttype oid amopstrategy int2 amoppurpose char amopopr oid amopmethod oid amopsortfamily oid", NULL},
    {"pg_amproc", "oid oid amprocfamily oid amproclefttype oid amprocrighttype oid amprocnum int2 amproc oid", NULL},
    {"pg_conversion", "oid oid conname name connamespace oid conowner oid conforencoding int4 contoencoding int4 conproc oid condefault bool", NULL},
    {"pg_cast", "oid oid castsource oid casttarget oid castfunc oid castcontext char castmethod char", NULL},
    {"pg_default_acl", "oid oid defaclrole oid defaclnamespace oid defaclobjtype char defaclacl _text", NULL},
    {"pg_db_role_setting", "setdatabase oid setrole oid setconfig _text", NULL},
    {"pg_largeobject_metadata", "oid oid lomowner oid lomacl _text", NULL},
    {"pg_auth_members", "roleid oid member oid grantor oid admin_option bool", NULL},
    {"pg_depend", "classid oid objid oid objsubid int4 refclassid oid refobjid oid refobjsubid int4 deptype char", pg_build_depend},
    {"pg_partitioned_table", "partrelid oid partstrat char partnatts int2 partdefid oid partattrs int2vector partclass oidvector partcollation oidvector partexprs text", NULL},
    {"pg_sequence", "seqrelid oid seqtypid oid seqstart int8 seqincrement int8 seqmax int8 seqmin int8 seqcache int8 seqcycle bool", pg_build_sequence},
    {"pg_sequences", "schemaname name sequencename name sequenceowner name data_type text start_value int8 min_value int8 max_value int8 increment_by int8 cycle bool cache_size int8 last_value int8", pg_build_sequences},
    {"pg_matviews", "schemaname name matviewname name matviewowner name tablespace name hasindexes bool ispopulated bool definition text", NULL},
    {"pg_stat_activity", "datid oid datname name pid int4 leader_pid int4 usesysid oid usename name application_name text client_addr text client_hostname text client_port int4 backend_start timestamptz xact_start timestamptz query_start timestamptz state_change timestamptz wait_event_type text wait_event text state text backend_xid int8 backend_xmin int8 query_id int8 query text backend_type text", NULL},
    {"pg_locks", "locktype text database oid relation oid page int4 tuple int2 virtualxid text transactionid int8 classid oid objid oid objsubid int2 virtualtransaction text pid int4 mode text granted bool fastpath bool waitstart timestamptz", NULL},
    {"pg_aggregate", "aggfnoid oid aggkind char aggnumdirectargs int2 aggtransfn oid aggfinalfn oid aggcombinefn oid aggserialfn oid aggdeserialfn oid aggmtransfn oid aggminvtransfn oid aggmfinalfn oid aggfinalextra bool aggmfinalextra bool aggfinalmodify char aggmfinalmodify char aggsortop oid aggtranstype oid aggtransspace int4 aggmtranstype oid aggmtransspace int4 agginitval text aggminitval text", NULL},
    {"pg_prepared_statements", "name text statement text prepare_time timestamptz parameter_types _text result_types _text from_sql bool generic_plans int8 custom_plans int8", NULL},
    {"pg_cursors", "name text statement text is_holdable bool is_binary bool is_scrollable bool creation_time timestamptz", NULL},
    {"pg_settings", "name text setting text unit text category text short_desc text extra_desc text context text vartype text source text min_val text max_val text enumvals _text boot_val text reset_val text sourcefile text sourceline int4 pending_restart bool", NULL},
    {"pg_user", "usename name usesysid oid usecreatedb bool usesuper bool userepl bool usebypassrls bool passwd text valuntil timestamptz useconfig _text", NULL},
    {"pg_shadow", "usename name usesysid oid usecreatedb bool usesuper bool userepl bool usebypassrls bool passwd text valuntil timestamptz useconfig _text", NULL},
    {"pg_group", "groname name grosysid oid grolist _oid", NULL},
    {"pg_timezone_names", "name text abbrev text utc_offset interval is_dst bool", build_zones},
    {"pg_timezone_abbrevs", "abbrev text utc_offset interval is_dst bool", NULL},
    {"pg_shseclabel", "objoid oid classoid oid provider text label text", NULL},
    {"pg_seclabel", "objoid oid classoid oid objsubid int4 provider text label text", NULL},
    {"pg_seclabels", "objoid oid classoid oid objsubid int4 objtype text objnamespace oid objname text provider text label text", NULL},
    {"pg_init_privs", "objoid oid classoid oid objsubid int4 privtype char initprivs _text", NULL},
    {"pg_transform", "oid oid trftype oid trflang oid trffromsql oid trftosql oid", NULL},
    {"pg_rules", "schemaname name tablename name rulename name definition text", NULL},
    {"pg_stats", "schemaname name tablename name attname name inherited bool null_frac float4 avg_width int4 n_distinct float4 most_common_vals text most_common_freqs _text histogram_bounds text correlation float4 most_common_elems text most_common_elem_freqs _text elem_count_histogram _text", NULL},
    {"pg_statistic", "starelid oid staattnum int2 stainherit bool stanullfrac float4 stawidth int4 stadistinct float4 stakind1 int2 stakind2 int2 stakind3 int2 stakind4 int2 stakind5 int2 staop1 oid staop2 oid staop3 oid staop4 oid staop5 oid stacoll1 oid stacoll2 oid stacoll3 oid stacoll4 oid stacoll5 oid stanumbers1 _text stanumbers2 _text stanumbers3 _text stanumbers4 _text stanumbers5 _text stavalues1 text stavalues2 text stavalues3 text stavalues4 text stavalues5 text", NULL},
    {"pg_policies", "schemaname name tablename name policyname name permissive text roles _text cmd text qual text with_check text", NULL},
    {"pg_subscription_rel", "srsubid oid srrelid oid srsubstate char srsublsn text", NULL},
    {"pg_statistic_ext_data", "stxoid oid stxdinherit bool stxdndistinct text stxddependencies text stxdmcv text stxdexpr _pg_statistic", NULL},
    {"pg_largeobject", "loid oid pageno int4 data bytea", NULL},
    {"pg_shdepend", "dbid oid classid oid objid oid objsubid int4 refclassid oid refobjid oid deptype char", NULL},
    {"pg_user_mapping", "oid oid umuser oid umserver oid umoptions _text", NULL},
    {"pg_publication_tables", "pubname name schemaname name tablename name attnames _text rowfilter text", NULL},
    {"pg_parameter_acl", "oid oid parname text paracl _text", NULL},
    {"information_schema_tables", "table_catalog name table_schema name table_name name table_type text self_referencing_column_name name reference_generation text user_defined_type_catalog name user_defined_type_schema name user_defined_type_name name is_insertable_into text is_typed text commit_action text", pg_build_is_tables},
    {"information_schema_columns", "table_catalog name table_schema name table_name name column_name name ordinal_position int4 column_default text is_nullable text data_type text character_maximum_length int4 character_octet_length int4 numeric_precision int4 numeric_precision_radix int4 numeric_scale int4 datetime_precision int4 udt_catalog name udt_schema name udt_name name is_identity text identity_generation text is_generated text generation_expression text is_updatable text", pg_build_is_columns},
    {"information_schema_schemata", "catalog_name name schema_name name schema_owner name default_character_set_catalog name default_character_set_schema name default_character_set_name name sql_path text", pg_build_schemata},
    {"information_schema_table_constraints", "constraint_catalog name constraint_schema name constraint_name name table_catalog name table_schema name table_name name constraint_type text is_deferrable text initially_deferred text enforced text", pg_build_is_constraints},
    {"information_schema_key_column_usage", "constraint_catalog name constraint_schema name constraint_name name table_catalog name table_schema name table_name name column_name name ordinal_position int4 position_in_unique_constraint int4", pg_build_key_columns},
    {"information_schema_views", "table_catalog name table_schema name table_name name view_definition text check_option text is_updatable text is_insertable_into text", pg_build_is_views},
    {"information_schema_sequences", "sequence_catalog name sequence_schema name sequence_name name data_type text numeric_precision int4 numeric_precision_radix int4 numeric_scale int4 start_value text minimum_value text maximum_value text increment text cycle_option text", pg_build_is_sequences},
    {"information_schema_routines", "specific_catalog name specific_schema name specific_name name routine_schema name routine_name name routine_type text data_type text", NULL},
};
enum { DEFINITIONS = sizeof definitions / sizeof *definitions };

/* Numbers of the catalogs that are tables of their own in PostgreSQL; they have a hidden column tableoid. */
static const struct {
  const char *name;
  int number;
} classes[] = {{"pg_class", 1259}, {"pg_attribute", 1249}, {"pg_type", 1247}, {"pg_proc", 1255}, {"pg_namespace", 2615}, {"pg_constraint", 2606},
               {"pg_attrdef", 2604}, {"pg_index", 2610}, {"pg_description", 2609}, {"pg_database", 1262}, {"pg_authid", 1260}, {"pg_am", 2601},
               {"pg_language", 2612}, {"pg_trigger", 2620}, {"pg_operator", 2617}, {"pg_opclass", 2616}, {"pg_opfamily", 2753}, {"pg_collation", 3456},
               {"pg_cast", 2605}, {"pg_conversion", 2607}, {"pg_rewrite", 2618}, {"pg_policy", 3256}, {"pg_enum", 3501}, {"pg_extension", 3079},
               {"pg_tablespace", 1213}, {"pg_depend", 2608}, {"pg_inherits", 2611}, {"pg_foreign_data_wrapper", 2328}, {"pg_foreign_server", 1417},
               {"pg_publication", 6104}, {"pg_publication_rel", 6106}, {"pg_publication_namespace", 6237}, {"pg_subscription", 6100}, {"pg_event_trigger", 3466},
               {"pg_statistic_ext", 3381}, {"pg_ts_dict", 3600}, {"pg_ts_config", 3602}, {"pg_ts_parser", 3601}, {"pg_ts_template", 3764},
               {"pg_default_acl", 826}, {"pg_largeobject_metadata", 2995}, {"pg_transform", 3576}, {"pg_sequence", 2224}, {"pg_user_mapping", 1418}};
static int class_number(const char *name) {
  for (size_t k = 0; k < sizeof classes / sizeof *classes; k++)
    if (strcmp(classes[k].name, name) == 0) return classes[k].number;
  return 0;
}

static virtual_module modules[DEFINITIONS];
static pthread_mutex_t modules_lock = PTHREAD_MUTEX_INITIALIZER;

static const struct definition *definition_of(const table *t) {
  for (int k = 0; k < DEFINITIONS; k++)
    if (t->module == &modules[k]) return &definitions[k];
  return NULL;
}

typedef struct catalog_cursor {
  rowset r;
  const struct definition *d;
  int class; /* tableoid, 0: there is none */
} catalog_cursor;

/* Nothing is looked up: every constraint is tested on the rows. */
static status catalog_best(hdb *db, virtual_plan *p, arena *memory) {
  (void)db, (void)memory;
  p->rows = 200;
  p->cost = 400;
  return HDB_OK;
}

static status catalog_open(exec *x, const table *t, void **out) {
  catalog_cursor *c = calloc(1, sizeof *c);
  if (!c) return error_set(x->err, HDB_NOMEM, "out of memory");
  c->d = definition_of(t);
  c->r.db = x->db;
  c->class = c->d ? class_number(c->d->name) : 0;
  c->r.columns = t->columns_n - (c->class != 0);
  *out = c;
  return HDB_OK;
}

static bool is_fresh(rowset *r) {
  bool fresh = r->built;
  for (int k = 0; k < 2; k++) {
    schema *x = schema_of(r->db, k);
    schema_stamp now = x ? x->stamp : (schema_stamp){0};
    fresh = fresh && now.time == r->stamps[k].time && now.local == r->stamps[k].local;
    r->stamps[k] = now;
  }
  return fresh;
}

static status catalog_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  catalog_cursor *c = cursor;
  c->r.at = 0;
  bool of_session = c->d && !c->d->build;
  if (is_fresh(&c->r) && !of_session) return HDB_OK;
  c->r.n = 0;
  c->r.built = true;
  arena_clear(&c->r.memory);
  if (of_session) pg_build_session(&c->r, c->d->name);
  else if (c->d) c->d->build(&c->r);
  return c->r.failed || c->r.memory.failed ? error_set(x->err, HDB_NOMEM, "out of memory") : HDB_OK;
}
static bool catalog_at_end(void *cursor) { return ((catalog_cursor *)cursor)->r.at >= ((catalog_cursor *)cursor)->r.n; }
static status catalog_next(exec *x, void *cursor) {
  ((catalog_cursor *)cursor)->r.at++;
  return HDB_OK;
}
static status catalog_column(exec *x, void *cursor, int column, value *out) {
  const catalog_cursor *c = cursor;
  const rowset *r = &c->r;
  if (column == r->columns) *out = value_int(c->class);
  else *out = r->cells[r->at * r->columns + column];
  return HDB_OK;
}
static int64_t catalog_rowid(void *cursor) { return ((catalog_cursor *)cursor)->r.at + 1; }
static void rowset_clear(rowset *r) {
  free(r->cells);
  arena_clear(&r->memory);
}
static void catalog_close(void *cursor) {
  rowset_clear(&((catalog_cursor *)cursor)->r);
  free(cursor);
}

static bool make_module(int k) {
  int n = 1;
  for (const char *p = definitions[k].columns; *p; p++) n += *p == ' ';
  n /= 2;
  virtual_column *columns = calloc((size_t)n + 1, sizeof *columns);
  char *text = strdup(definitions[k].columns), *rest = NULL;
  if (!columns || !text) {
    free(columns);
    free(text);
    return false;
  }
  char *word = strtok_r(text, " ", &rest); /* the text stays: the columns point into it */
  for (int c = 0; c < n && word; c++) {
    columns[c].name = word;
    columns[c].type = strtok_r(NULL, " ", &rest);
    word = strtok_r(NULL, " ", &rest);
  }
  if (class_number(definitions[k].name)) columns[n++] = (virtual_column){.name = "tableoid", .type = "oid", .hidden = true};
  modules[k] = (virtual_module){definitions[k].name, columns, n, catalog_best, catalog_open, catalog_filter, catalog_at_end, catalog_next, catalog_column, catalog_rowid, catalog_close};
  return true;
}

/* json_each and generate_series under names that no column has: what functions that give rows in a SELECT list become
 * (server/translate_srf.c). */
static const virtual_column element_columns[] = {{"pg_key", "", false}, {"pg_value", "", false}, {"pg_kind", "", false}, {"pg_atom", "", false}, {"pg_id", "", false},
                                                 {"pg_parent", "", false}, {"pg_fullkey", "", false}, {"pg_path", "", false}, {"pg_json", "", true}, {"pg_root", "", true}};
static const virtual_column series_columns[] = {{"pg_value", "", false}, {"pg_start", "", true}, {"pg_stop", "", true}, {"pg_step", "", true}};
static virtual_module elements_module, series_module;

static const virtual_module *renamed(virtual_module *to, const virtual_module *of, const char *name, const virtual_column *columns) {
  pthread_mutex_lock(&modules_lock);
  if (!to->name) *to = *of, to->columns = columns, to->name = name;
  pthread_mutex_unlock(&modules_lock);
  return to;
}

const virtual_module *pg_catalog_find(const char *name) {
  const virtual_module *found = NULL;
  if (strcasecmp(name, "pg_elements") == 0) return renamed(&elements_module, &virtual_json_each, "pg_elements", element_columns);
  if (strcasecmp(name, "pg_series") == 0) return renamed(&series_module, &virtual_series, "pg_series", series_columns);
  if (strncasecmp(name, "pg_", 3) != 0 && strncasecmp(name, "information_schema_", 19) != 0) return NULL;
  pthread_mutex_lock(&modules_lock);
  for (int k = 0; k < DEFINITIONS && !found; k++)
    if (strcasecmp(definitions[k].name, name) == 0 && (modules[k].name || make_module(k))) found = &modules[k];
  pthread_mutex_unlock(&modules_lock);
  return found;
}

/* ---- regclass and its like; definitions by number ---- */

typedef struct lookup {
  rowset r; /* first: visitors get it */
  int64_t number, column;
  buf *out;
  int what; /* 'c' class, 'i' index, 'k' constraint, 'v' view, 't' trigger */
  bool found, pretty;
} lookup;

static void found_text(lookup *l, const char *text) {
  if (l->found || !text) return;
  l->found = true;
  buf_text(l->out, text);
}

static void lookup_constraint(rowset *r, const table *t, const constraint_view *c) {
  lookup *l = (lookup *)r;
  (void)t;
  if ((int64_t)c->oid == l->number) found_text(l, c->definition);
}

static void lookup_index(lookup *l, const table *t, const index_ *x) {
  if (l->column > 0) {
    if (!x) found_text(l, t->columns[t->rowid_column].name);
    else if (l->column <= x->key_columns_n) {
      const index_column *c = &x->columns[l->column - 1];
      if (c->column >= 0) found_text(l, t->columns[c->column].name);
      else if (c->e) found_text(l, arena_strndup(&l->r.memory, (const char *)c->e->span.p, c->e->span.n));
    }
    return;
  }
  const char *text = index_definition(&l->r, t, x, 0), *at = l->pretty && text ? strstr(text, "public.") : NULL;
  if (at) text = arena_printf(&l->r.memory, "%.*s%s", (int)(at - text), text, at + 7);
  found_text(l, text);
}

static void lookup_visit(rowset *r, const table *t, bool temp) {
  lookup *l = (lookup *)r;
  (void)temp;
  if (l->what == 'k') {
    if (t->kind == TABLE_ORDINARY) pg_each_constraint(r, t, lookup_constraint);
    return;
  }
  if (l->what == 'v') {
    if (t->kind == TABLE_VIEW && pg_table_oid(t) == l->number) found_text(l, pg_view_text(r, t));
    return;
  }
  if (l->what == 'c' && pg_table_oid(t) == l->number) found_text(l, t->name);
  if (t->kind != TABLE_ORDINARY) return;
  if (pg_has_row_id_key(t) && pg_row_id_index(t) == l->number) {
    if (l->what == 'c') found_text(l, key_name(r, t));
    else lookup_index(l, t, NULL);
  }
  for (const index_ *x = t->indexes; x; x = x->next)
    if (index_oid(x) == l->number) {
      if (l->what == 'c') found_text(l, index_name(r, t, x));
      else lookup_index(l, t, x);
    }
}

static void lookup_sequence(rowset *r, const sequence_view *q) {
  lookup *l = (lookup *)r;
  if ((int64_t)q->oid == l->number) found_text(l, q->name);
}

static bool look_up(hdb *db, int what, int64_t number, int64_t column, bool pretty, buf *out) {
  lookup l = {.r = {.db = db}, .number = number, .column = column, .out = out, .what = what, .pretty = pretty};
  hdb_lock(db);
  pg_each_table(&l.r, lookup_visit);
  if (what == 'c' && !l.found) pg_each_sequence(&l.r, lookup_sequence);
  hdb_unlock(db);
  rowset_clear(&l.r);
  return l.found;
}

bool pg_definition(hdb *db, int what, int64_t number, int64_t column, bool pretty, buf *out) { return look_up(db, what, number, column, pretty, out); }

bool pg_reg_text(hdb *db, uint32_t reg_type, int64_t number, buf *out) {
  if (reg_type == PG_REGTYPE) {
    hdb_lock(db);
    const pg_type *t = pg_type_numbered(db, (uint32_t)number);
    if (t) buf_text(out, t->sql);
    hdb_unlock(db);
    return t != NULL;
  }
  if (reg_type == PG_REGNAMESPACE) {
    buf_text(out, number == PUBLIC ? "public" : number == PG_CATALOG ? "pg_catalog" : number == INFORMATION_SCHEMA ? "information_schema" : "pg_temp_1");
    return true;
  }
  if (reg_type == PG_REGROLE) return buf_text(out, pg_owner(db)), true;
  if (reg_type == PG_REGPROC) return pg_procedure_name(number, out);
  if (reg_type != PG_REGCLASS) return false;
  if (look_up(db, 'c', number, 0, false, out)) return true;
  int64_t own;
  for (int k = 0; k < DEFINITIONS; k++)
    if (pg_reg_number(db, PG_REGCLASS, definitions[k].name, &own) && own == number) return buf_text(out, definitions[k].name), true;
  return false;
}

bool pg_reg_number(hdb *db, uint32_t reg_type, const char *name, int64_t *number) {
  int32_t modifier;
  if (*name >= '0' && *name <= '9') return *number = strtoll(name, NULL, 10), true;
  if (reg_type == PG_REGTYPE) {
    hdb_lock(db);
    const pg_type *t = pg_type_named(db, name, &modifier);
    if (t) *number = t->oid;
    hdb_unlock(db);
    return t != NULL;
  }
  if (reg_type == PG_REGNAMESPACE) return *number = strcmp(name, "public") == 0 ? PUBLIC : PG_CATALOG, true;
  if (reg_type == PG_REGROLE) return *number = OWNER, true;
  if (reg_type == PG_REGPROC) return (*number = pg_procedure_number(name)) != 0;
  if (reg_type != PG_REGCLASS) return false;
  char plain[200];
  if (strncmp(name, "public.", 7) == 0) name += 7;
  if (strncmp(name, "pg_catalog.", 11) == 0) name += 11;
  snprintf(plain, sizeof plain, "%s", *name == '"' ? name + 1 : name);
  if (*name == '"' && *plain) plain[strlen(plain) - 1] = 0;
  hdb_lock(db);
  int database;
  table *t = catalog_table(db, NULL, plain, &database);
  index_ *x = t ? NULL : catalog_index(db, NULL, plain, &database);
  if (t) *number = pg_table_oid(t);
  else if (x) *number = index_oid(x);
  hdb_unlock(db);
  if (t || x) return true;
  if (pg_sequence_number(db, plain, number)) return true;
  for (int k = 0; k < DEFINITIONS; k++)
    if (strcasecmp(definitions[k].name, plain) == 0) return *number = class_number(plain) ? class_number(plain) : 12000 + k, true;
  return false;
}
