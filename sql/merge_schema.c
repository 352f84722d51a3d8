/* Definitions, merged before the rows: what the source made, changed or dropped since its base.
 *
 * New objects are created by their own text, in the source's order; dropped ones dropped; changed indexes, views and
 * triggers made anew; a table that has got further columns gets the source's text, one whose columns or name were changed
 * is altered in the same way. When the target has changed the
 * same object in another way the merge fails and says which.
 */
#include <strings.h>

#include "sql/catalog_build.h"
#include "sql/ddl.h"
#include "sql/merge.h"

typedef struct object {
  const char *type, *name, *sql;
  const table *t; /* tables */
} object;

enum { KINDS = 4 };
static const char *const kinds[KINDS] = {"table", "index", "view", "trigger"};

static int object_count(const schema *s, int kind) {
  return kind == 1 ? s->indexes_n : kind == 3 ? s->triggers_n : s->tables_n;
}

static bool object_at(const schema *s, int kind, int i, object *out) {
  *out = (object){.type = kinds[kind]};
  if (kind == 1) {
    out->name = s->indexes[i]->name, out->sql = s->indexes[i]->sql;
  } else if (kind == 3) {
    out->name = s->triggers[i]->name, out->sql = s->triggers[i]->sql;
  } else {
    const table *t = s->in_order[i];
    if ((t->kind == TABLE_VIEW) != (kind == 2) || t->kind == TABLE_SCHEMA) return false;
    out->name = t->name, out->sql = t->sql, out->t = t;
  }
  return out->sql && out->name && strncasecmp(out->name, "sqlite_", 7) != 0;
}

/* A table is the same one by its tree, also under another name; anything else by its name. */
static bool object_find(const schema *s, int kind, const object *like, object *out) {
  for (int i = 0; kind == 0 && i < object_count(s, kind); i++)
    if (object_at(s, kind, i, out) && out->t->tree == like->t->tree && like->t->tree) return true;
  for (int i = 0; i < object_count(s, kind); i++)
    if (object_at(s, kind, i, out) && name_equal(out->name, like->name)) return true;
  return false;
}

static bool same_definition(const object *a, const object *b) { return strcmp(a->sql, b->sql) == 0 && name_equal(a->name, b->name); }

static status both_changed(merge *m, const object *o) {
  return error_set(&m->db->err, HDB_ERROR, "merge: both branches changed the %s %s", o->type, o->name);
}

static status create(merge *m, const object *o) { return sql_run(m->db, "%s", o->sql); }

static status drop(merge *m, const object *o) {
  buf name = BUF_INIT;
  buf_quoted_name(&name, o->name);
  const char *text = buf_cstr(&name);
  status rc = text ? sql_run(m->db, "DROP %s main.%s", o->type, text) : sql_nomem(&m->db->err);
  buf_free(&name);
  return rc;
}

/* Further columns behind those that were: rows stay as they are, so the text is all that changes. */
static bool only_added_columns(const table *now, const table *base) {
  if (now->columns_n <= base->columns_n || now->without_rowid || !name_equal(now->name, base->name)) return false;
  for (int i = 0; i < base->columns_n; i++)
    if (!name_equal(now->columns[i].name, base->columns[i].name) || strcasecmp(now->columns[i].type, base->columns[i].type) != 0) return false;
  return now->primary == NULL ? base->primary == NULL : base->primary != NULL;
}

/* The row of sqlite_schema gets the source's text. */
static status replace_text(merge *m, const object *o) {
  txn *t = m->db->databases[DB_MAIN].txn;
  cursor *c;
  arena memory = ARENA_INIT;
  record_writer w = {0};
  status rc = cursor_open(t, TREE_SCHEMA, 0, &c);
  if (rc != HDB_OK) return error_set(&m->db->err, rc, "%s", status_text(rc));
  bool done = false;
  for (cursor_first(c); c->valid && !done && rc == HDB_OK; cursor_next(c)) {
    const char *texts[4];
    int64_t root;
    CHECK(schema_row_read(&memory, c->value, texts, &root));
    if (!texts[0] || !texts[1] || strcmp(texts[0], "table") != 0 || !name_equal(texts[1], o->name)) continue;
    record_begin(&w);
    record_text(&w, texts[0], strlen(texts[0]));
    record_text(&w, texts[1], strlen(texts[1]));
    record_text(&w, texts[2], strlen(texts[2]));
    record_int(&w, root);
    record_text(&w, o->sql, strlen(o->sql));
    slice record = record_end(&w);
    uint8_t *key = arena_copy(&memory, c->key.p, c->key.n);
    rc = record.p && key ? txn_put(t, TREE_SCHEMA, slice_of(key, c->key.n), record, PUT_UPDATE) : HDB_NOMEM;
    done = true;
  }
  if (rc == HDB_OK) rc = c->error;
out:
  cursor_close(c);
  record_writer_free(&w);
  arena_clear(&memory);
  return rc == HDB_OK ? rc : error_set(&m->db->err, rc, "%s", status_text(rc));
}

/* ALTER TABLE main.`table` `words` `name` [TO `to`] */
static status alter(merge *m, const char *table_name, const char *words, const char *name, const char *to) {
  buf b = BUF_INIT;
  buf_text(&b, "ALTER TABLE main.");
  buf_quoted_name(&b, table_name);
  buf_printf(&b, " %s ", words);
  buf_quoted_name(&b, name);
  if (to) buf_text(&b, " TO "), buf_quoted_name(&b, to);
  const char *text = buf_cstr(&b);
  status rc = text ? sql_run(m->db, "%s", text) : sql_nomem(&m->db->err);
  buf_free(&b);
  return rc;
}

static status cannot_alter(merge *m, const object *o) {
  return error_set(&m->db->err, HDB_ERROR, "not supported yet: merging such a change of the table %s", o->name);
}

static status rename_columns(merge *m, const object *o, const table *was) {
  const table *now = o->t;
  for (int i = 0; i < now->columns_n; i++) {
    const column *c = &now->columns[i];
    if (name_equal(c->name, was->columns[i].name)) continue;
    if (table_column(was, c->name) >= 0 || strcasecmp(c->type ? c->type : "", was->columns[i].type ? was->columns[i].type : "") != 0) return cannot_alter(m, o);
    TRY(alter(m, now->name, "RENAME COLUMN", was->columns[i].name, c->name));
  }
  return HDB_OK;
}

static status drop_columns(merge *m, const object *o, const table *was) {
  const table *now = o->t;
  int kept = 0;
  for (int i = 0; i < was->columns_n; i++) {
    if (kept < now->columns_n && name_equal(was->columns[i].name, now->columns[kept].name)) kept++;
    else TRY(alter(m, now->name, "DROP COLUMN", was->columns[i].name, NULL));
  }
  return kept == now->columns_n ? HDB_OK : cannot_alter(m, o);
}

/* Renames and drops, done again on the target, whose table is as the base's; then it has the source's columns. */
static status alter_table(merge *m, const object *o, const object *base) {
  const table *now = o->t, *was = base->t;
  schema *s;
  object done;
  if (!name_equal(now->name, was->name)) TRY(alter(m, was->name, "RENAME TO", now->name, NULL));
  if (now->columns_n == was->columns_n) TRY(rename_columns(m, o, was));
  else if (now->columns_n < was->columns_n) TRY(drop_columns(m, o, was));
  else return cannot_alter(m, o);
  TRY(catalog_schema(m->db, DB_MAIN, &s));
  bool same = object_find(s, 0, o, &done) && name_equal(done.name, now->name) && done.t->columns_n == now->columns_n;
  for (int i = 0; same && i < now->columns_n; i++) same = name_equal(done.t->columns[i].name, now->columns[i].name);
  if (!same) return cannot_alter(m, o);
  return same_definition(o, &done) ? HDB_OK : replace_text(m, o); /* names quoted otherwise */
}

static status change(merge *m, int kind, const object *o, const object *base, const object *target) {
  if (kind == 0) return only_added_columns(o->t, base->t) ? replace_text(m, o) : alter_table(m, o, base);
  TRY(drop(m, target));
  return create(m, o);
}

static status take_definition(merge *m, int kind, const object *o) {
  object base, target;
  schema *now;
  bool had = object_find(m->source_base.schema, kind, o, &base);
  if (had && same_definition(o, &base)) return HDB_OK;
  TRY(catalog_schema(m->db, DB_MAIN, &now));
  now->references++;
  status rc = HDB_OK;
  bool has = object_find(now, kind, o, &target);
  if (has && same_definition(o, &target)) rc = HDB_OK;
  else if (!had) rc = has ? both_changed(m, o) : create(m, o);
  else if (!has || !same_definition(&base, &target)) rc = both_changed(m, o);
  else rc = change(m, kind, o, &base, &target);
  schema_release(now);
  return rc;
}

static status drop_definition(merge *m, int kind, const object *base) {
  object source, target;
  schema *now;
  if (object_find(m->source.schema, kind, base, &source)) return HDB_OK;
  TRY(catalog_schema(m->db, DB_MAIN, &now));
  now->references++;
  status rc = HDB_OK;
  if (object_find(now, kind, base, &target)) rc = same_definition(base, &target) ? drop(m, &target) : both_changed(m, base);
  schema_release(now);
  return rc;
}

status merge_schemas(merge *m) {
  object o;
  for (int kind = KINDS - 1; kind >= 0; kind--)
    for (int i = 0; i < object_count(m->source_base.schema, kind); i++)
      if (object_at(m->source_base.schema, kind, i, &o)) TRY(drop_definition(m, kind, &o));
  for (int kind = 0; kind < KINDS; kind++)
    for (int i = 0; i < object_count(m->source.schema, kind); i++)
      if (object_at(m->source.schema, kind, i, &o)) TRY(take_definition(m, kind, &o));
  return HDB_OK;
}
