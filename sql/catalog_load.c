/* Loading a schema: the rows of TREE_SCHEMA, parsed in their order, linked to each other, with statistics.
 *
 * L1  An index follows its table, a trigger its table: rows are in the order of their making.
 * L2  A text that does not parse makes the schema "malformed": SQLite's words, HDB_CORRUPT. With writable_schema on
 *     the object is left out.
 * Costs: a parse for each object, once for each change of the schema in a connection.
 */
#include <stdlib.h>
#include <strings.h>

#include "kv/base/key.h"
#include "sql/describe.h"
#include "sql/pg_enum.h"
#include "sql/catalog_build.h"
#include "sql/virtual.h"

typedef struct schema_row {
  const char *type, *name, *tbl_name, *sql;
  int64_t root;
} schema_row;

typedef struct load {
  build b;
  hdb *db;
  schema *s;
  int indexes_capacity, triggers_capacity, tables_capacity;
} load;

static uint32_t name_hash(const char *name) {
  uint32_t h = 2166136261u;
  for (; *name; name++) {
    uint8_t c = (uint8_t)*name;
    if (c >= 'A' && c <= 'Z') c += 32;
    h = (h ^ c) * 16777619u;
  }
  return h;
}

table *schema_table(const schema *s, const char *name) {
  for (table *t = s->tables[name_hash(name) & (s->buckets - 1)]; t; t = t->next_in_hash)
    if (name_equal(t->name, name)) return t;
  return NULL;
}

void schema_hash_add(schema *s, table *t) {
  table **at = &s->tables[name_hash(t->name) & (s->buckets - 1)];
  t->next_in_hash = *at;
  *at = t;
}

/* Room for one more pointer in an array of the schema. */
static bool grow(load *l, void ***items, int n, int *capacity) {
  if (n < *capacity) return true;
  int grown = *capacity ? *capacity * 2 : 16;
  void **p = arena_alloc(&l->s->memory, (size_t)grown * sizeof *p);
  if (!p) return false;
  if (n) memcpy(p, *items, (size_t)n * sizeof *p);
  *items = p;
  *capacity = grown;
  return true;
}

static status malformed(load *l, const schema_row *row, const char *why) {
  if (why && *why)
    return error_set(&l->db->err, HDB_CORRUPT, "malformed database schema (%s) - %s", row->name ? row->name : "?", why);
  return error_set(&l->db->err, HDB_CORRUPT, "malformed database schema (%s)", row->name ? row->name : "?");
}

static status parse_text(load *l, const schema_row *row, statement **out) {
  parse_options options = hdb_parse_options(l->db);
  options.schema_text = true;
  options.dialect = pg_table_is_postgres(row->sql) ? DIALECT_POSTGRES : DIALECT_SQLITE;
  size_t tail;
  status rc = grammar_parse(slice_str(row->sql), &options, &l->s->memory, out, &tail, l->b.err);
  if (rc == HDB_OK && !*out) rc = error_set(l->b.err, HDB_CORRUPT, "incomplete input");
  return rc;
}

static status add_table(load *l, table *t, const schema_row *row) {
  schema *s = l->s;
  t->sql = row->sql;
  t->name = row->name;
  for (int k = 0; k < t->columns_n && t->kind == TABLE_ORDINARY && pg_table_is_postgres(t->sql); k++) {
    const char *key = k == t->rowid_column ? pg_column_override(&l->s->memory, t->sql, t->columns[k].name) : NULL;
    const pg_type *type = pg_type_of_column(key ? key : t->columns[k].type, true, &t->columns[k].pg_modifier);
    if (type && type->oid != PG_VECTOR) t->columns[k].pg_type = type->oid;
    char name[64];
    if (pg_enum_declared(t->columns[k].type, name, &t->columns[k].enum_array)) {
      t->columns[k].enum_name = arena_strdup(&l->s->memory, name);
      t->columns[k].pg_type = t->columns[k].enum_array ? PG_TEXT_ARRAY : PG_TEXT;
    }
  }
  t->tree = (uint32_t)row->root;
  if (t->kind == TABLE_ORDINARY) t->enumeration = pg_enum_of_text(&l->s->memory, t->name, PG_ENUMS + t->tree, t->sql);
  t->schema = s;
  for (index_ *i = t->indexes; i; i = i->next)
    if (i->is_primary) i->tree = t->tree;
  if (!grow(l, (void ***)&s->in_order, s->tables_n, &l->tables_capacity)) return sql_nomem(l->b.err);
  s->in_order[s->tables_n++] = t;
  schema_hash_add(s, t);
  return HDB_OK;
}

static status add_index(load *l, index_ *i) {
  schema *s = l->s;
  if (!grow(l, (void ***)&s->indexes, s->indexes_n, &l->indexes_capacity)) return sql_nomem(l->b.err);
  s->indexes[s->indexes_n++] = i;
  return HDB_OK;
}

static status load_view(load *l, const schema_row *row, const create_view_statement *v) {
  table *t = arena_zero(&l->s->memory, sizeof *t);
  if (!t) return sql_nomem(l->b.err);
  t->kind = TABLE_VIEW;
  t->rowid_column = -1;
  t->statistic_rows = -1;
  t->view = v->select;
  t->view_columns = v->columns;
  return add_table(l, t, row);
}

static status load_virtual(load *l, const schema_row *row, create_virtual_table_statement *v) {
  table *t = arena_zero(&l->s->memory, sizeof *t);
  if (!t) return sql_nomem(l->b.err);
  error ignored = ERROR_INIT; /* using the table says why (V2 of virtual_table.c) */
  t->kind = TABLE_VIRTUAL;
  t->rowid_column = -1;
  t->statistic_rows = -1;
  t->name = row->name;
  status rc = virtual_declare(l->db, &l->s->memory, v, t, &ignored);
  if (rc != HDB_OK) t->declaration_error = arena_strdup(&l->s->memory, ignored.message);
  error_clear(&ignored);
  if (rc == HDB_NOMEM) return sql_nomem(l->b.err);
  if (rc != HDB_OK) t->module = NULL, t->virtual_data = NULL, t->columns = NULL, t->columns_n = t->stored_n = 0;
  t->declaration = v;
  return add_table(l, t, row);
}

static status load_table(load *l, const schema_row *row) {
  statement *tree;
  table *t;
  TRY(parse_text(l, row, &tree));
  switch (tree->kind) {
  case ST_CREATE_TABLE:
    tree->create_table->table.name = row->name;
    TRY(catalog_build_table(&l->b, tree->create_table, &t));
    TRY(add_table(l, t, row));
    if (table_missing_values(t, &l->s->memory) != HDB_OK) return sql_nomem(l->b.err);
    for (index_ *i = t->indexes; i; i = i->next)
      if (i->is_primary) TRY(add_index(l, i));
    return HDB_OK;
  case ST_CREATE_VIRTUAL_TABLE: return load_virtual(l, row, tree->create_virtual_table);
  case ST_CREATE_VIEW: return load_view(l, row, tree->create_view);
  default: return error_set(l->b.err, HDB_CORRUPT, "%s", "");
  }
}

static status load_index(load *l, const schema_row *row) {
  table *t = row->tbl_name ? schema_table(l->s, row->tbl_name) : NULL;
  if (!row->sql || !*row->sql) {
    index_ *i = t ? t->indexes : NULL;
    while (i && !name_equal(i->name, row->name)) i = i->next;
    if (!i) return error_set(l->b.err, HDB_CORRUPT, "orphan index");
    i->tree = (uint32_t)row->root;
    return add_index(l, i);
  }
  statement *tree;
  index_ *i;
  TRY(parse_text(l, row, &tree));
  if (tree->kind != ST_CREATE_INDEX) return error_set(l->b.err, HDB_CORRUPT, "%s", "");
  if (!t) t = schema_table(l->s, tree->create_index->table);
  if (!t) return error_set(l->b.err, HDB_CORRUPT, "no such table: %s", tree->create_index->table);
  TRY(build_index(&l->b, t, tree->create_index, &i));
  i->name = row->name;
  i->sql = row->sql;
  i->tree = (uint32_t)row->root;
  i->create = tree->create_index;
  if (index_is_vector(i)) return add_index(l, i); /* it has no tree: nothing reads or writes it as an index */
  table_add_index(t, i);
  if (t->without_rowid) { /* the primary one stays first */
    index_ *primary = t->primary, **at = &t->indexes;
    while (*at != primary) at = &(*at)->next;
    *at = primary->next;
    primary->next = t->indexes;
    t->indexes = primary;
  }
  return add_index(l, i);
}

/* A TEMP trigger's table, when no schema is written: the one a name means now, and as long as this schema is kept. */
static const char *temp_trigger_schema(load *l, const char *name) {
  if (l->s->database != DB_TEMP || schema_table(l->s, name)) return NULL;
  for (int i = 0; i < l->db->databases_n; i++) {
    schema *other;
    const database *d = &l->db->databases[i];
    if (i == DB_TEMP || !d->name || !d->engine || catalog_schema(l->db, i, &other) != HDB_OK) continue;
    if (schema_table(other, name)) return arena_strdup(&l->s->memory, d->name);
  }
  return NULL;
}

static status load_trigger(load *l, const schema_row *row) {
  schema *s = l->s;
  statement *tree;
  TRY(parse_text(l, row, &tree));
  if (tree->kind != ST_CREATE_TRIGGER) return error_set(l->b.err, HDB_CORRUPT, "%s", "");
  trigger *g = arena_zero(&s->memory, sizeof *g);
  if (!g || !grow(l, (void ***)&s->triggers, s->triggers_n, &l->triggers_capacity)) return sql_nomem(l->b.err);
  *g = (trigger){.name = row->name, .table_name = tree->create_trigger->table.name, .database = s->database,
                 .table_schema = tree->create_trigger->table.schema, .sql = row->sql, .tree = tree->create_trigger};
  s->triggers[s->triggers_n++] = g;
  if (!g->table_schema) g->table_schema = temp_trigger_schema(l, g->table_name);
  table *t = schema_table(s, g->table_name);
  if (!t || (g->table_schema && catalog_database(l->db, g->table_schema) != s->database)) return HDB_OK;
  g->next = t->triggers;
  t->triggers = g;
  return HDB_OK;
}

static status load_object(load *l, const schema_row *row) {
  if (!row->type || !row->name) return error_set(l->b.err, HDB_CORRUPT, "%s", "");
  if (strcmp(row->type, "index") == 0) return load_index(l, row);
  if (!row->sql) return error_set(l->b.err, HDB_CORRUPT, "%s", "");
  if (strcmp(row->type, "table") == 0 || strcmp(row->type, "view") == 0) return load_table(l, row);
  if (strcmp(row->type, "trigger") == 0) return load_trigger(l, row);
  return error_set(l->b.err, HDB_CORRUPT, "%s", "");
}

static const char *row_text(arena *memory, slice record, uint32_t k) {
  uint8_t type;
  slice payload;
  if (!record_column(record, k, &type, &payload)) return NULL;
  value v = value_read(type, payload.p, payload.n);
  if (v.type != VAL_TEXT && v.type != VAL_BLOB) return NULL;
  return arena_strndup(memory, v.n ? v.p : "", v.n);
}

status schema_row_read(arena *memory, slice record, const char *texts[4], int64_t *root) {
  TRY(record_check(record));
  uint8_t type;
  slice payload;
  texts[0] = row_text(memory, record, 0);
  texts[1] = row_text(memory, record, 1);
  texts[2] = row_text(memory, record, 2);
  texts[3] = row_text(memory, record, 4);
  *root = 0;
  if (record_column(record, 3, &type, &payload)) {
    value v = value_read(type, payload.p, payload.n);
    *root = value_to_int(&v);
  }
  return memory->failed ? HDB_NOMEM : HDB_OK;
}

static status load_rows(load *l, txn *t, int64_t as_of) {
  cursor *c;
  error why = ERROR_INIT;
  status rc = cursor_open(t, TREE_SCHEMA, as_of, &c);
  if (rc != HDB_OK) return error_set(&l->db->err, rc, "%s", status_text(rc));
  l->b.err = &why;
  for (cursor_first(c); c->valid; cursor_next(c)) {
    const char *texts[4];
    schema_row row = {0};
    rc = schema_row_read(&l->s->memory, c->value, texts, &row.root);
    row.type = texts[0], row.name = texts[1], row.tbl_name = texts[2], row.sql = texts[3];
    if (rc == HDB_OK) rc = load_object(l, &row);
    if (rc == HDB_NOMEM) CHECK(sql_nomem(&l->db->err));
    if (rc != HDB_OK && !l->db->pragmas.writable_schema) CHECK(malformed(l, &row, why.message));
  }
  rc = c->error;
  if (rc != HDB_OK) error_set(&l->db->err, rc, "%s", status_text(rc));
out:
  cursor_close(c);
  error_clear(&why);
  l->b.err = &l->db->err;
  return rc;
}

/* ---- sqlite_stat1 ---- */

static void apply_statistic(load *l, slice record) {
  uint8_t type;
  slice payload;
  const char *owner = row_text(&l->s->memory, record, 0), *index = row_text(&l->s->memory, record, 1);
  if (!owner || !record_column(record, 2, &type, &payload)) return;
  const char *text = row_text(&l->s->memory, record, 2);
  table *t = schema_table(l->s, owner);
  if (!t || !text) return;
  index_ *i = t->indexes;
  while (i && index && !name_equal(i->name, index)) i = i->next;
  if (index && !i && t->primary && t->primary->is_primary && name_equal(index, t->name)) i = t->primary;
  int64_t numbers[64];
  int n = 0;
  for (const char *p = text; n < 64 && *p >= '0' && *p <= '9';) {
    char *end;
    numbers[n++] = strtoll(p, &end, 10);
    p = *end == ' ' ? end + 1 : end;
  }
  if (n == 0) return;
  if (!index || !i || !i->where) t->statistic_rows = numbers[0];
  if (!index || !i) return;
  i->statistics = arena_copy(&l->s->memory, numbers, (size_t)n * sizeof *numbers);
  i->statistics_n = i->statistics ? n : 0;
}

static status load_statistics(load *l, txn *t, int64_t as_of) {
  const table *stat = schema_table(l->s, "sqlite_stat1");
  if (!stat || stat->kind != TABLE_ORDINARY) return HDB_OK;
  cursor *c;
  status rc = cursor_open(t, stat->tree, as_of, &c);
  if (rc != HDB_OK) return error_set(&l->db->err, rc, "%s", status_text(rc));
  for (cursor_first(c); c->valid; cursor_next(c))
    if (record_check(c->value) == HDB_OK) apply_statistic(l, c->value);
  rc = c->error;
  cursor_close(c);
  return rc == HDB_OK ? HDB_OK : error_set(&l->db->err, rc, "%s", status_text(rc));
}

/* ---- the whole ---- */

status schema_load(hdb *db, int database, int64_t as_of, schema **out) {
  schema *s = calloc(1, sizeof *s);
  if (!s) return sql_nomem(&db->err);
  load l = {.b = {db, &s->memory, &db->err, s, true}, .db = db, .s = s};
  status rc = HDB_OK;
  txn *t = db->databases[database].txn;
  table *own;
  s->references = 1;
  s->database = database;
  s->buckets = 64;
  if (t) s->stamp = txn_schema_stamp(t);
  s->tables = arena_zero(&s->memory, s->buckets * sizeof *s->tables);
  if (!s->tables) CHECK(sql_nomem(&db->err));
  CHECK(build_schema_table(&l.b, database, &own));
  schema_hash_add(s, own);
  s->own = own;
  if (t) {
    CHECK(load_rows(&l, t, as_of));
    CHECK(load_statistics(&l, t, as_of));
  }
  for (int i = 0; i < s->tables_n; i++) {
    /* the newest first, within a table too */
    foreign_key *older = s->foreign_keys, **tail = &s->foreign_keys;
    for (foreign_key *k = s->in_order[i]->foreign_keys; k; k = k->next) {
      *tail = k;
      tail = &k->next_parent;
    }
    *tail = older;
  }
  *out = s;
out:
  if (rc != HDB_OK) schema_release(s);
  return rc;
}

void schema_release(schema *s) {
  if (!s || --s->references > 0) return;
  arena_clear(&s->memory);
  free(s);
}
