/* PRAGMAs that describe: tables, indexes, foreign keys, databases, functions, modules, options. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "sql/func_user.h"
#include "sql/pragma.h"

/* The table named by the argument: in the named database, or wherever a query would find it. */
static table *argument_table(pragma_call *p, int *number) {
  const char *schema = p->qualified ? p->db->databases[p->database].name : NULL;
  return catalog_table(p->db, schema, p->argument, number);
}

static status found_or_failed(pragma_call *p) {
  /* a schema that could not be loaded is an error, a missing name is not */
  if (p->db->schema_failure.code == HDB_OK) return HDB_OK;
  status rc = error_set(p->err, p->db->schema_failure.code, "%s", p->db->schema_failure.message);
  error_clear(&p->db->schema_failure);
  return rc;
}

/* ---- table_info, table_xinfo ---- */

static status view_columns(pragma_call *p, const table *t, int number) {
  buf text = BUF_INIT;
  buf_text(&text, "SELECT * FROM ");
  buf_quoted_name(&text, p->db->databases[number].name);
  buf_byte(&text, '.');
  buf_quoted_name(&text, t->name);
  program *q = NULL;
  size_t tail;
  int (*authorize)(void *, int, const char *, const char *, const char *, const char *) = p->db->authorize;
  p->db->authorize = NULL;
  status rc = buf_failed(&text) ? sql_nomem(p->err) : program_compile(p->db, buf_slice(&text), &q, &tail);
  p->db->authorize = authorize;
  for (int i = 0; rc == HDB_OK && q && i < q->columns_n; i++) {
    const char *type = q->columns[i].decltype_;
    value row[7] = {value_int(i), pragma_text(q->columns[i].name), pragma_text(type ? type : ""), value_int(0),
                    value_null(), value_int(0), value_int(0)};
    rc = pragma_emit(p, row, p->definition->columns_n);
  }
  program_free(q);
  buf_free(&text);
  return rc;
}

status pragma_table_info(pragma_call *p) {
  bool hidden_too = p->definition->data;
  int number;
  if (!p->argument) return HDB_OK;
  table *t = argument_table(p, &number);
  if (!t && !p->qualified) t = catalog_eponymous(p->db, p->argument);
  if (!t) return found_or_failed(p);
  if (t->kind == TABLE_VIEW) return view_columns(p, t, number);
  int left_out = 0;
  for (int i = 0; i < t->columns_n; i++) {
    const column *c = &t->columns[i];
    int hidden = c->hidden ? 1 : c->generated ? c->generated + 1 : 0;
    if (hidden && !hidden_too) {
      left_out++;
      continue;
    }
    value text = c->default_value && !c->generated ? value_text((const char *)c->default_text.p, c->default_text.n) : value_null();
    value row[7] = {value_int(i - left_out), pragma_text(c->name), pragma_text(c->type), value_int(c->not_null != 0), text,
                    value_int(c->primary_key_position), value_int(hidden)};
    TRY(pragma_emit(p, row, p->definition->columns_n));
  }
  return HDB_OK;
}

/* ---- table_list ---- */

static status view_width(pragma_call *p, const table *t, int number, int *n) {
  buf text = BUF_INIT;
  buf_text(&text, "SELECT * FROM ");
  buf_quoted_name(&text, p->db->databases[number].name);
  buf_byte(&text, '.');
  buf_quoted_name(&text, t->name);
  program *q = NULL;
  size_t tail;
  *n = 0;
  if (!buf_failed(&text) && program_compile(p->db, buf_slice(&text), &q, &tail) == HDB_OK && q) *n = q->columns_n;
  else error_clear(&p->db->err);
  program_free(q);
  buf_free(&text);
  return HDB_OK;
}

static status list_table(pragma_call *p, int number, const table *t, const char *name) {
  static const char *const kinds[] = {"table", "view", "virtual", "table"};
  int columns = t->columns_n;
  if (p->argument && !name_equal(p->argument, name)) return HDB_OK;
  if (t->kind == TABLE_VIEW) TRY(view_width(p, t, number, &columns));
  value row[6] = {pragma_text(p->db->databases[number].name), pragma_text(name), pragma_text(kinds[t->kind]),
                  value_int(columns), value_int(t->without_rowid), value_int(t->strict)};
  return pragma_emit(p, row, 6);
}

status pragma_table_list(pragma_call *p) {
  for (int k = 0; k < p->db->databases_n; k++) {
    schema *s;
    if (!p->db->databases[k].name || (p->qualified && k != p->database)) continue;
    TRY(catalog_schema(p->db, k, &s));
    s->references++; /* compiling a view may load it anew */
    table **tables;
    int n = 0;
    status rc = schema_walk_order(s, p->memory, &tables, &n);
    for (int i = 0; i < n && rc == HDB_OK; i++)
      rc = list_table(p, k, tables[i], tables[i] != s->own ? tables[i]->name : k == DB_TEMP ? "sqlite_temp_schema" : "sqlite_schema");
    schema_release(s);
    TRY(rc);
  }
  return HDB_OK;
}

/* ---- indexes ---- */

status pragma_index_list(pragma_call *p) {
  int number, n = 0;
  if (!p->argument) return HDB_OK;
  table *t = argument_table(p, &number);
  if (!t) return found_or_failed(p);
  for (const index_ *i = t->indexes; i; i = i->next) n++;
  const index_ **list = arena_alloc(p->memory, ((size_t)n + 1) * sizeof *list);
  if (!list) return sql_nomem(p->err);
  n = table_index_order(t, list);
  for (int i = 0; i < n; i++) {
    const char *origin = list[i]->origin == 'c' ? "c" : list[i]->origin == 'u' ? "u" : "pk";
    value row[5] = {value_int(i), pragma_text(list[i]->name), value_int(list[i]->unique), pragma_text(origin),
                    value_int(list[i]->where != NULL)};
    TRY(pragma_emit(p, row, 5));
  }
  return HDB_OK;
}

static status index_row(pragma_call *p, int seqno, int cid, const char *name, bool descending, const char *collation, bool key) {
  value row[6] = {value_int(seqno), value_int(cid), pragma_text(name), value_int(descending), pragma_text(collation), value_int(key)};
  return pragma_emit(p, row, p->definition->columns_n);
}

/* The columns that a WITHOUT ROWID table's key carries behind it. */
static status primary_rest(pragma_call *p, const index_ *i, int seqno) {
  const table *t = i->owner;
  for (int k = 0; k < t->columns_n; k++) {
    bool in_key = false;
    for (int j = 0; j < i->key_columns_n; j++) in_key = in_key || i->columns[j].column == k;
    if (in_key || t->columns[k].generated == 1) continue;
    TRY(index_row(p, seqno++, k, t->columns[k].name, false, "BINARY", false));
  }
  return HDB_OK;
}

status pragma_index_info(pragma_call *p) {
  bool extended = p->definition->data;
  int number;
  if (!p->argument) return HDB_OK;
  const index_ *i = catalog_index(p->db, p->qualified ? p->db->databases[p->database].name : NULL, p->argument, &number);
  if (!i) {
    table *t = argument_table(p, &number);
    if (!t || !t->without_rowid) return found_or_failed(p);
    i = t->primary;
  }
  const table *t = i->owner;
  int n = extended ? i->columns_n : i->key_columns_n;
  for (int k = 0; k < n; k++) {
    const index_column *c = &i->columns[k];
    TRY(index_row(p, k, c->column, c->column >= 0 ? t->columns[c->column].name : NULL, c->descending, c->collation, c->key));
  }
  if (!extended) return HDB_OK;
  if (i->is_primary) return primary_rest(p, i, n);
  return t->without_rowid ? HDB_OK : index_row(p, n, -1, NULL, false, "BINARY", false);
}

/* ---- databases, keys ---- */

status pragma_database_list(pragma_call *p) {
  for (int i = 0; i < p->db->databases_n; i++) {
    const database *d = &p->db->databases[i];
    if (!d->name || !d->engine) continue;
    value row[3] = {value_int(i), pragma_text(d->name), pragma_text(d->filename)};
    TRY(pragma_emit(p, row, 3));
  }
  return HDB_OK;
}

static const char *action_name(uint8_t action) {
  switch (action) {
  case FK_SET_NULL: return "SET NULL";
  case FK_SET_DEFAULT: return "SET DEFAULT";
  case FK_CASCADE: return "CASCADE";
  case FK_RESTRICT: return "RESTRICT";
  default: return "NO ACTION";
  }
}

status pragma_foreign_key_list(pragma_call *p) {
  int number;
  if (!p->argument) return HDB_OK;
  table *t = argument_table(p, &number);
  if (!t) return found_or_failed(p);
  for (const foreign_key *k = t->foreign_keys; k; k = k->next)
    for (int i = 0; i < k->n; i++) {
      value row[8] = {value_int(k->id), value_int(i), pragma_text(k->parent), pragma_text(t->columns[k->child_columns[i]].name),
                      pragma_text(k->parent_columns[i]), pragma_text(action_name(k->on_update)),
                      pragma_text(action_name(k->on_delete)), pragma_text("NONE")};
      TRY(pragma_emit(p, row, 8));
    }
  return HDB_OK;
}

/* ---- lists ---- */

typedef struct list_call {
  pragma_call *p;
  int n;
  status rc;
} list_call;

static void visit_collation(void *context, const collation *c) {
  list_call *l = context;
  value row[2] = {value_int(l->n++), pragma_text(c->name)};
  if (l->rc == HDB_OK) l->rc = pragma_emit(l->p, row, 2);
}

status pragma_collation_list(pragma_call *p) {
  list_call l = {p, 0, HDB_OK};
  user_collation_each(p->db, visit_collation, &l);
  visit_collation(&l, &collation_rtrim);
  visit_collation(&l, &collation_nocase);
  visit_collation(&l, &collation_binary);
  return l.rc;
}

static void visit_function(void *context, const function *f) {
  list_call *l = context;
  if (l->rc != HDB_OK) return;
  const char *type = f->flags & FUNC_WINDOW ? "w" : f->flags & FUNC_AGGREGATE ? "a" : "s";
  int64_t flags = (f->flags & FUNC_DETERMINISTIC ? 0x800 : 0) | (f->flags & FUNC_DIRECTONLY ? 0x80000 : 0) |
                  (f->flags & FUNC_SUBTYPE ? 0x100000 : 0) | (f->flags & FUNC_INNOCUOUS ? 0x200000 : 0);
  if (f->flags & FUNC_WINDOW_ONLY) type = "w";
  value row[6] = {pragma_text(f->name), value_int(!(f->flags & FUNC_USER)), pragma_text(type), pragma_text("utf8"),
                  value_int(f->arguments), value_int(flags)};
  l->rc = pragma_emit(l->p, row, 6);
}

status pragma_function_list(pragma_call *p) {
  list_call l = {p, 0, HDB_OK};
  function_each(p->db, visit_function, &l);
  return l.rc;
}

status pragma_pragma_list(pragma_call *p) {
  for (int i = 0; i < pragma_definitions_n; i++) TRY(pragma_emit_text(p, pragma_definitions[i].name));
  return HDB_OK;
}

status pragma_module_list(pragma_call *p) {
  static const char *const modules[] = {"json_tree", "json_each"};
  for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) TRY(pragma_emit_text(p, modules[i]));
  return HDB_OK;
}

status pragma_compile_options(pragma_call *p) {
  for (int i = 0; i < compile_options_n; i++) TRY(pragma_emit_text(p, compile_options[i]));
  return HDB_OK;
}
