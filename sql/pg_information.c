/* information_schema over the real catalog (pg_catalog.c). */
#include <stdlib.h>
#include <strings.h>

#include "sql/pg_enum.h"
#include "sql/pg_rows.h"

const char *pg_catalog_name(rowset *r) {
  const char *path = r->db->databases[0].filename, *slash = path ? strrchr(path, '/') : NULL, *name = slash ? slash + 1 : path ? path : "main";
  const char *dot = strrchr(name, '.');
  return dot && dot > name ? arena_strndup(&r->memory, name, (size_t)(dot - name)) : name;
}
static void visit_is_tables(rowset *r, const table *t, bool temp) {
  row_text(r, pg_catalog_name(r)), row_text(r, temp ? "pg_temp_1" : "public"), row_text(r, t->name), row_text(r, t->kind == TABLE_VIEW ? "VIEW" : temp ? "LOCAL TEMPORARY" : "BASE TABLE"), row_null(r), row_null(r), row_null(r), row_null(r), row_null(r), row_text(r, t->kind == TABLE_VIEW ? "NO" : "YES"), row_text(r, "NO"), row_null(r);
  row_end(r);
}
void pg_build_is_tables(rowset *r) { pg_each_table(r, visit_is_tables); }
static void is_column(rowset *r, const char *table_name, const char *schema_name, const char *name, int number, const char *default_, bool nullable, const pg_type *t, int32_t modifier) {
  bool text = t->oid == PG_VARCHAR || t->oid == PG_BPCHAR;
  int precision = t->oid == PG_INT2 ? 16 : t->oid == PG_INT4 ? 32 : t->oid == PG_INT8 ? 64 : t->oid == PG_FLOAT4 ? 24 : t->oid == PG_FLOAT8 ? 53 : 0;
  row_text(r, pg_catalog_name(r)), row_text(r, schema_name), row_text(r, table_name), row_text(r, name), row_int(r, number), row_text(r, default_), row_text(r, nullable ? "YES" : "NO"), row_text(r, t->category == 'A' ? "ARRAY" : t->category == 'E' ? "USER-DEFINED" : t->sql);
  if (text && modifier >= 4) row_int(r, modifier - 4), row_int(r, (modifier - 4) * 4);
  else if (t->category == 'S') row_null(r), row_int(r, 1073741824);
  else row_null(r), row_null(r);
  if (t->oid == PG_NUMERIC && modifier >= 4) row_int(r, (modifier - 4) >> 16), row_int(r, 10), row_int(r, (modifier - 4) & 0xffff);
  else if (precision) row_int(r, precision), row_int(r, 2), precision > 20 && t->oid != PG_INT4 && t->oid != PG_INT8 ? row_null(r) : row_int(r, 0);
  else if (t->oid == PG_NUMERIC) row_null(r), row_int(r, 10), row_null(r);
  else row_null(r), row_null(r), row_null(r);
  if (t->category == 'D') row_int(r, t->oid == PG_DATE ? 0 : 6);
  else row_null(r);
  row_text(r, pg_catalog_name(r)), row_text(r, pg_is_own_type(t->oid) ? "public" : "pg_catalog"), row_text(r, t->name), row_text(r, "NO"), row_null(r), row_text(r, "NEVER"), row_null(r), row_text(r, "YES");
  row_end(r);
}
static void visit_is_columns(rowset *r, const table *t, bool temp) {
  const char *schema_name = temp ? "pg_temp_1" : "public";
  if (t->kind == TABLE_VIEW) {
    description d = pg_view_columns(r, t);
    for (int k = 0; k < d.columns_n; k++) {
      const pg_type *type = pg_type_numbered(r->db, d.columns[k].type);
      if (type) is_column(r, t->name, schema_name, d.columns[k].label, k + 1, NULL, true, type, d.columns[k].modifier);
    }
    return;
  }
  for (int k = 0; k < t->columns_n; k++) {
    int32_t modifier;
    const pg_type *type = pg_column_type(r, t, &t->columns[k], &modifier);
    is_column(r, t->name, schema_name, t->columns[k].name, k + 1, pg_default_text(r, t, k), !pg_not_null(t, k), type, modifier);
  }
}
void pg_build_is_columns(rowset *r) { pg_each_table(r, visit_is_columns); }
void pg_build_schemata(rowset *r) {
  static const char *const all[] = {"public", "pg_catalog", "information_schema"};
  for (int k = 0; k < 3; k++) {
    row_text(r, pg_catalog_name(r)), row_text(r, all[k]), row_text(r, pg_owner(r->db)), row_null(r), row_null(r), row_null(r), row_null(r);
    row_end(r);
  }
}
static void is_constraint(rowset *r, const table *t, const constraint_view *c) {
  row_text(r, pg_catalog_name(r)), row_text(r, "public"), row_text(r, c->name), row_text(r, pg_catalog_name(r)), row_text(r, "public"), row_text(r, t->name);
  row_text(r, c->kind == 'p' ? "PRIMARY KEY" : c->kind == 'u' ? "UNIQUE" : c->kind == 'f' ? "FOREIGN KEY" : "CHECK"), row_text(r, "NO"), row_text(r, "NO"), row_text(r, "YES");
  row_end(r);
}
static void visit_is_constraints(rowset *r, const table *t, bool temp) {
  (void)temp;
  if (t->kind == TABLE_ORDINARY) pg_each_constraint(r, t, is_constraint);
}
void pg_build_is_constraints(rowset *r) { pg_each_table(r, visit_is_constraints); }
static void key_columns(rowset *r, const table *t, const constraint_view *c) {
  if (c->kind == 'c' || !c->key) return;
  int place = 0;
  for (const char *p = c->key + 1; *p && *p != ']'; p += strcspn(p, ",]"), p += *p == ',') {
    int k = atoi(p) - 1;
    if (k < 0 || k >= t->columns_n) continue;
    row_text(r, pg_catalog_name(r)), row_text(r, "public"), row_text(r, c->name), row_text(r, pg_catalog_name(r)), row_text(r, "public"), row_text(r, t->name), row_text(r, t->columns[k].name), row_int(r, ++place);
    if (c->kind == 'f') row_int(r, place);
    else row_null(r);
    row_end(r);
  }
}
static void visit_key_columns(rowset *r, const table *t, bool temp) {
  (void)temp;
  if (t->kind == TABLE_ORDINARY) pg_each_constraint(r, t, key_columns);
}
void pg_build_key_columns(rowset *r) { pg_each_table(r, visit_key_columns); }
static void visit_is_views(rowset *r, const table *t, bool temp) {
  if (t->kind != TABLE_VIEW) return;
  row_text(r, pg_catalog_name(r)), row_text(r, temp ? "pg_temp_1" : "public"), row_text(r, t->name), row_text(r, pg_view_text(r, t)), row_text(r, "NONE"), row_text(r, "NO"), row_text(r, "NO");
  row_end(r);
}
void pg_build_is_views(rowset *r) { pg_each_table(r, visit_is_views); }
