/* The connection's schemas: kept for the view's stamp, looked up in SQLite's order (temp, main, attached).
 *
 * Expressions of indexes are resolved when the schema is new and everything in it is known; one that does not resolve
 * (a function that is not there yet) stays as it is, and whoever needs it resolves it again and reports.
 */
#include <strings.h>

#include "sql/catalog_build.h"

int catalog_database(hdb *db, const char *name) {
  if (!name) return -1;
  for (int i = db->databases_n - 1; i >= 0; i--)
    if (db->databases[i].name && name_equal(db->databases[i].name, name)) return i;
  return name_equal(name, "main") ? DB_MAIN : -1;
}

void schema_resolve_indexes(hdb *db, schema *s) {
  error ignored = ERROR_INIT;
  build b = {db, &s->memory, &ignored, s, true};
  for (int i = 0; i < s->indexes_n; i++) {
    index_ *index = s->indexes[i];
    if (index_resolve(&b, index) != HDB_OK) index->unresolved = true;
  }
  error_clear(&ignored);
}

status catalog_schema(hdb *db, int number, schema **out) {
  database *d = &db->databases[number];
  if (!d->engine && number == DB_TEMP) {
    if (!d->schema) TRY(schema_load(db, number, 0, &d->schema));
    *out = d->schema;
    return HDB_OK;
  }
  status rc = database_begin(db, number);
  if (rc == HDB_OK && d->schema) {
    schema_stamp now = txn_schema_stamp(d->txn);
    if (d->schema->stamp.time == now.time && d->schema->stamp.local == now.local) {
      *out = d->schema;
      return HDB_OK;
    }
  }
  schema *fresh = NULL;
  if (rc == HDB_OK) rc = schema_load(db, number, 0, &fresh);
  if (rc != HDB_OK) {
    error_set(&db->schema_failure, rc, "%s", db->err.message ? db->err.message : status_text(rc));
    return rc;
  }
  schema_release(d->schema);
  d->schema = fresh;
  schema_resolve_indexes(db, fresh);
  *out = fresh;
  return HDB_OK;
}

/* Databases in the order names are looked up in. */
static int lookup_order(int i) { return i < 2 ? i ^ 1 : i; }

static bool is_schema_name(const char *name) {
  return strncasecmp(name, "sqlite_", 7) == 0 && (name_equal(name + 7, "schema") || name_equal(name + 7, "master"));
}
static bool is_temp_schema_name(const char *name) {
  return strncasecmp(name, "sqlite_", 7) == 0 && (name_equal(name + 7, "temp_schema") || name_equal(name + 7, "temp_master"));
}

table *catalog_table(hdb *db, const char *schema_name, const char *name, int *number) {
  schema *s;
  int at = 0;
  if (!number) number = &at;
  if (schema_name) {
    *number = catalog_database(db, schema_name);
    if (*number < 0 || catalog_schema(db, *number, &s) != HDB_OK) return NULL;
    if (is_schema_name(name) || (*number == DB_TEMP && is_temp_schema_name(name))) return s->own;
    return schema_table(s, name);
  }
  if (is_schema_name(name) || is_temp_schema_name(name)) {
    *number = is_schema_name(name) ? DB_MAIN : DB_TEMP;
    return catalog_schema(db, *number, &s) == HDB_OK ? s->own : NULL;
  }
  for (int i = 0; i < db->databases_n; i++) {
    *number = lookup_order(i);
    if (!db->databases[*number].name) continue;
    if (*number == DB_TEMP && !db->databases[DB_TEMP].engine) continue;
    if (catalog_schema(db, *number, &s) != HDB_OK) return NULL;
    table *t = schema_table(s, name);
    if (t) return t;
  }
  *number = -1;
  return NULL;
}

index_ *schema_index(const schema *s, const char *name) {
  for (int i = 0; i < s->indexes_n; i++)
    if (name_equal(s->indexes[i]->name, name)) return s->indexes[i];
  return NULL;
}

trigger *schema_trigger(const schema *s, const char *name) {
  for (int i = 0; i < s->triggers_n; i++)
    if (name_equal(s->triggers[i]->name, name)) return s->triggers[i];
  return NULL;
}

index_ *catalog_index(hdb *db, const char *schema_name, const char *name, int *number) {
  schema *s;
  int wanted = schema_name ? catalog_database(db, schema_name) : -1;
  if (schema_name && wanted < 0) return NULL;
  for (int i = 0; i < db->databases_n; i++) {
    int k = lookup_order(i);
    if ((schema_name && k != wanted) || !db->databases[k].name || catalog_schema(db, k, &s) != HDB_OK) continue;
    index_ *found = schema_index(s, name);
    if (number) *number = k;
    if (found) return found;
  }
  return NULL;
}

trigger *catalog_trigger(hdb *db, const char *schema_name, const char *name, int *number) {
  schema *s;
  int wanted = schema_name ? catalog_database(db, schema_name) : -1;
  if (schema_name && wanted < 0) return NULL;
  for (int i = 0; i < db->databases_n; i++) {
    int k = lookup_order(i);
    if ((schema_name && k != wanted) || !db->databases[k].name || catalog_schema(db, k, &s) != HDB_OK) continue;
    trigger *found = schema_trigger(s, name);
    if (number) *number = k;
    if (found) return found;
  }
  return NULL;
}

/* A TEMP trigger's table is looked for as any name is: its schema, or temp, main, attached. */
static bool temp_trigger_is_on(hdb *db, const trigger *g, const table *t, int number) {
  if (!name_equal(g->table_name, t->name)) return false;
  if (g->table_schema) return catalog_database(db, g->table_schema) == number;
  int found;
  return catalog_table(db, NULL, g->table_name, &found) == t;
}

status catalog_triggers(hdb *db, const table *t, int number, arena *memory, const trigger ***out, int *n) {
  int count = 0;
  schema *temp = NULL;
  for (const trigger *g = t->triggers; g; g = g->next) count++;
  if (number != DB_TEMP && db->databases[DB_TEMP].engine) TRY(catalog_schema(db, DB_TEMP, &temp));
  const trigger **list = arena_alloc(memory, (size_t)(count + (temp ? temp->triggers_n : 0) + 1) * sizeof *list);
  if (!list) return sql_nomem(&db->err);
  *n = 0;
  for (int i = 0; temp && i < temp->triggers_n; i++)
    if (temp_trigger_is_on(db, temp->triggers[i], t, number)) list[(*n)++] = temp->triggers[i];
  for (const trigger *g = t->triggers; g; g = g->next) list[(*n)++] = g;
  *out = list;
  return HDB_OK;
}
