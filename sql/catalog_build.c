/* A CREATE TABLE's tree becomes a table: columns, keys, automatic indexes, checks, foreign keys.
 *
 * The order of SQLite is kept everywhere, since names, numbers and error texts hang on it:
 * B1  UNIQUE and PRIMARY KEY make their indexes in the order of the text, named sqlite_autoindex_T_N with N counting
 *     all of the table's indexes; one that says the same as an earlier one makes none.
 * B2  An INTEGER PRIMARY KEY (the type being that very word, not DESC at the column) is the row id: no index, but in
 *     a WITHOUT ROWID table, whose key then comes last.
 * B3  A table's index list is newest first, those ON CONFLICT REPLACE last. Foreign keys are newest first.
 * strict_type: 0 in other tables and for ANY; AFF_INTEGER (INT, INTEGER), AFF_REAL, AFF_TEXT, AFF_BLOB.
 * What can fail: every mistake of a definition, with SQLite's words.
 */
#include "sql/vector.h"
#include "sql/catalog_build.h"

#include <stdlib.h>
#include <strings.h>

bool name_equal(const char *a, const char *b) { return strcasecmp(a, b) == 0; }

int table_column(const table *t, const char *name) {
  for (int i = 0; i < t->columns_n; i++)
    if (name_equal(t->columns[i].name, name)) return i;
  return -1;
}

bool is_rowid_name(const char *name) {
  return name_equal(name, "rowid") || name_equal(name, "oid") || name_equal(name, "_rowid_");
}

const char *table_rowid_name(const table *t) {
  static const char *const names[] = {"rowid", "_rowid_", "oid"};
  for (int i = 0; i < 3; i++)
    if (table_column(t, names[i]) < 0) return names[i];
  return NULL;
}

/* ---- DEFAULT ---- */

static bool not_constant(void *context, expr *e) {
  bool *constant = context;
  switch (e->op) {
  case EX_ID:
    if (!e->quoted && (name_equal(e->text, "true") || name_equal(e->text, "false"))) return true;
    *constant = false;
    return false;
  case EX_DOT:
  case EX_COLUMN:
  case EX_PARAM:
  case EX_SUBQUERY:
  case EX_EXISTS:
  case EX_RAISE: *constant = false; return false;
  case EX_IN:
    if (e->select || e->source) *constant = false;
    return *constant;
  default: return true;
  }
}

bool expr_is_default_constant(expr *e) {
  bool constant = true;
  ast_walk(e, false, not_constant, &constant);
  return constant;
}

/* DEFAULT word (not in parentheses) is the word as a text. */
static void default_word(const constraint *k) {
  expr *e = k->value;
  if (e->op != EX_ID || (!e->quoted && (name_equal(e->text, "true") || name_equal(e->text, "false")))) return;
  const uint8_t *p = k->span.p - 1; /* the text begins with CREATE or a column's name, so there is something before */
  while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r' || *p == '\f') p--;
  if (*p == '(') return;
  e->op = EX_TEXT;
  e->text_n = (uint32_t)strlen(e->text);
}

static status column_default(build *b, table *t, column *c, const constraint *k) {
  if (c->generated) {
    if (!b->loading) return error_set(b->err, HDB_ERROR, "cannot use DEFAULT on a generated column");
    return HDB_OK;
  }
  default_word(k);
  if (!b->loading && !expr_is_default_constant(k->value))
    return error_set(b->err, HDB_ERROR, "default value of column [%s] is not constant", c->name);
  c->default_value = k->value;
  c->default_text = k->span;
  return HDB_OK;
}

/* ---- indexes ---- */

void table_add_index(table *t, index_ *i) {
  index_ **at = &t->indexes;
  if (i->on_conflict == CONFLICT_REPLACE) /* B3 */
    while (*at && (*at)->on_conflict != CONFLICT_REPLACE) at = &(*at)->next;
  i->next = *at;
  *at = i;
}

/* An index that has become one with REPLACE goes behind the others (B3). */
static void table_replace_last(table *t, index_ *i) {
  if (i->on_conflict != CONFLICT_REPLACE) return;
  index_ **at = &t->indexes;
  while (*at != i) at = &(*at)->next;
  *at = i->next;
  table_add_index(t, i);
}

static int index_count(const table *t) {
  int n = 0;
  for (const index_ *i = t->indexes; i; i = i->next) n++;
  return n;
}

static index_ *index_new(build *b, table *t, int columns) {
  index_ *i = arena_zero(b->memory, sizeof *i);
  if (!i) return NULL;
  i->columns = arena_zero(b->memory, ((size_t)columns + 1) * sizeof *i->columns);
  if (!i->columns) return NULL;
  i->owner = t;
  i->columns_n = i->key_columns_n = columns;
  return i;
}

/* One term of an index or key: a column name, COLLATE around it, or (indexes only) an expression. */
static status index_term(build *b, table *t, const struct expr_item *item, bool expressions, index_column *out) {
  expr *e = item->e;
  const char *collation_name = NULL;
  if (item->nulls) return error_set(b->err, HDB_ERROR, "unsupported use of NULLS %s", item->nulls == 1 ? "FIRST" : "LAST");
  while (e->op == EX_COLLATE) {
    if (!collation_name) collation_name = e->text;
    e = e->left;
  }
  out->descending = item->descending;
  out->key = true;
  out->column = -2;
  if (e->op == EX_ID || (e->op == EX_TEXT && !e->parenthesised)) {
    int k = table_column(t, e->text);
    if (k >= 0) {
      out->column = k;
      out->collation = t->columns[k].collation;
    } else if (!expressions && (e->quoted || e->op == EX_TEXT)) { /* "word" may be a string */
      return error_set(b->err, HDB_ERROR, "expressions prohibited in PRIMARY KEY and UNIQUE constraints");
    } else if (!expressions) {
      error_set(b->err, HDB_ERROR, "no such column: %s", e->text);
      if (b->err) b->err->offset = e->offset;
      return HDB_ERROR;
    } else if (!e->quoted && e->op == EX_ID && is_rowid_name(e->text) && !t->without_rowid) {
      out->column = t->rowid_column >= 0 ? t->rowid_column : -1;
    }
  } else if (!expressions) {
    return error_set(b->err, HDB_ERROR, "expressions prohibited in PRIMARY KEY and UNIQUE constraints");
  }
  if (out->column == -2 && e->op == EX_TEXT && !e->parenthesised) { /* 'word' here is a name, as "word" is */
    e->op = EX_ID;
    e->quoted = true;
  }
  if (out->column == -2) out->e = item->e;
  if (collation_name) out->collation = collation_name;
  if (!out->collation) out->collation = "BINARY";
  if (!b->loading) {
    const collation *found;
    TRY(find_collation(b->db, out->collation, &found, b->err));
  }
  return HDB_OK;
}

static bool same_columns(const index_ *a, const index_ *b) {
  if (a->key_columns_n != b->key_columns_n) return false;
  for (int i = 0; i < a->key_columns_n; i++) {
    if (a->columns[i].column != b->columns[i].column) return false;
    if (!name_equal(a->columns[i].collation, b->columns[i].collation)) return false;
  }
  return true;
}

/* UNIQUE or PRIMARY KEY: a new automatic index unless one says it already (B1). */
static status table_unique(build *b, table *t, const expr_list *list, int column_number, bool descending, uint8_t conflict,
                           uint8_t origin) {
  int n = list ? list->n : 1;
  index_ *i = index_new(b, t, n);
  if (!i) return sql_nomem(b->err);
  if (list) {
    for (int k = 0; k < n; k++) TRY(index_term(b, t, &list->items[k], false, &i->columns[k]));
  } else {
    const column *c = &t->columns[column_number];
    i->columns[0] = (index_column){.column = column_number, .collation = c->collation ? c->collation : "BINARY",
                                   .descending = descending, .key = true};
  }
  i->origin = origin;
  i->unique = true;
  i->on_conflict = conflict;
  for (index_ *other = t->indexes; other; other = other->next) {
    if (!same_columns(other, i)) continue;
    if (other->on_conflict != i->on_conflict) {
      if (other->on_conflict && i->on_conflict)
        return error_set(b->err, HDB_ERROR, "conflicting ON CONFLICT clauses specified");
      if (!other->on_conflict) {
        other->on_conflict = i->on_conflict;
        table_replace_last(t, other);
      }
    }
    if (origin == 'p') {
      other->origin = 'p';
      t->primary = other;
    }
    return HDB_OK;
  }
  i->name = arena_printf(b->memory, "sqlite_autoindex_%s_%d", t->name, index_count(t) + 1);
  if (!i->name) return sql_nomem(b->err);
  if (origin == 'p') t->primary = i;
  table_add_index(t, i);
  return HDB_OK;
}

/* ---- PRIMARY KEY ---- */

typedef struct key_clause { /* INTEGER PRIMARY KEY of a table that turns out to be WITHOUT ROWID */
  bool descending;
  uint8_t conflict;
} key_clause;

static status mark_primary(build *b, table *t, int k, int position) {
  column *c = &t->columns[k];
  c->primary_key = true;
  if (!c->primary_key_position) c->primary_key_position = position;
  if (c->generated) return error_set(b->err, HDB_ERROR, "generated columns cannot be part of the PRIMARY KEY");
  return HDB_OK;
}

static const char *term_name(const expr *e) {
  while (e->op == EX_COLLATE) e = e->left;
  return e->op == EX_ID || e->op == EX_TEXT ? e->text : NULL;
}

static status table_primary_key(build *b, table *t, const constraint *k, int column_number, key_clause *clause) {
  if (t->has_primary_key) return error_set(b->err, HDB_ERROR, "table \"%s\" has more than one primary key", t->name);
  t->has_primary_key = true;
  t->primary_key_name = k->name;
  const expr_list *list = k->columns;
  int n = list ? list->n : 1, alias = -1;
  if (list) {
    for (int i = 0; i < n; i++) {
      const char *name = term_name(list->items[i].e);
      int c = name ? table_column(t, name) : -1;
      if (c < 0) continue; /* index_term words it */
      TRY(mark_primary(b, t, c, i + 1));
      if (n == 1) alias = c;
    }
  } else {
    TRY(mark_primary(b, t, column_number, 1));
    alias = column_number;
  }
  /* DESC counts at the column only */
  if (alias >= 0 && name_equal(t->columns[alias].type, "INTEGER") && !(k->descending && !list)) {
    t->rowid_column = alias;
    t->primary_key_conflict = k->conflict;
    t->autoincrement = k->autoincrement;
    clause->conflict = k->conflict;
    clause->descending = list && list->items[0].descending;
    if (list && list->items[0].nulls)
      return error_set(b->err, HDB_ERROR, "unsupported use of NULLS %s", list->items[0].nulls == 1 ? "FIRST" : "LAST");
    return HDB_OK;
  }
  if (k->autoincrement) return error_set(b->err, HDB_ERROR, "AUTOINCREMENT is only allowed on an INTEGER PRIMARY KEY");
  return table_unique(b, t, list, column_number, k->descending, k->conflict, 'p');
}

/* ---- foreign keys ---- */

static status table_foreign_key(build *b, table *t, const foreign_key_clause *f, int column_number) {
  int n = f->columns ? f->columns->n : 1;
  if (!f->columns && f->parent_columns && f->parent_columns->n != 1)
    return error_set(b->err, HDB_ERROR, "foreign key on %s should reference only one column of table %s",
                     t->columns[column_number].name, f->parent);
  if (f->columns && f->parent_columns && f->parent_columns->n != n)
    return error_set(b->err, HDB_ERROR,
                     "number of columns in foreign key does not match the number of columns in the referenced table");
  foreign_key *k = arena_zero(b->memory, sizeof *k);
  if (!k) return sql_nomem(b->err);
  k->child = t;
  k->n = n;
  k->child_columns = arena_zero(b->memory, (size_t)n * sizeof *k->child_columns);
  k->parent_columns = arena_zero(b->memory, (size_t)n * sizeof *k->parent_columns);
  if (!k->child_columns || !k->parent_columns) return sql_nomem(b->err);
  for (int i = 0; i < n; i++) {
    int c = f->columns ? table_column(t, f->columns->items[i].name) : column_number;
    if (c < 0)
      return error_set(b->err, HDB_ERROR, "unknown column \"%s\" in foreign key definition", f->columns->items[i].name);
    k->child_columns[i] = c;
    if (f->parent_columns) k->parent_columns[i] = f->parent_columns->items[i].name;
  }
  k->parent = f->parent;
  k->on_delete = f->on_delete;
  k->on_update = f->on_update;
  k->deferred = f->initially_deferred;
  k->deferrable = f->deferrable;
  k->name = f->constraint_name;
  k->match = f->match ? f->match : "NONE";
  k->next = t->foreign_keys;
  t->foreign_keys = k;
  return HDB_OK;
}

/* ---- constraints ---- */

/* A CHECK without a name is called by its text; one that begins with a quoted word, by that word alone, as in SQLite. */
static const char *check_name(build *b, slice text) {
  char *name = arena_strndup(b->memory, (const char *)text.p, text.n);
  if (!name || !strchr("\"'`[", name[0]) || !name[0]) return name;
  char close = name[0] == '[' ? ']' : name[0];
  size_t n = 0;
  for (const char *p = name + 1; *p; p++) {
    if (*p == close) {
      if (p[1] != close) break;
      p++;
    }
    name[n++] = *p;
  }
  name[n] = 0;
  return name;
}

static status table_check(build *b, table *t, const constraint *k, int *capacity) {
  if (t->checks_n == *capacity) {
    int grown = *capacity ? *capacity * 2 : 4;
    check *checks = arena_zero(b->memory, (size_t)grown * sizeof *checks);
    if (!checks) return sql_nomem(b->err);
    if (t->checks_n) memcpy(checks, t->checks, (size_t)t->checks_n * sizeof *checks);
    t->checks = checks;
    *capacity = grown;
  }
  const char *name = k->name ? k->name : check_name(b, k->span);
  if (!name) return sql_nomem(b->err);
  t->checks[t->checks_n++] = (check){name, k->value, k->span, k->conflict};
  return HDB_OK;
}

typedef struct table_build {
  build *b;
  table *t;
  int checks_capacity;
  key_clause clause;
} table_build;

static status column_generated(table_build *w, column *c, const constraint *k) {
  if (c->generated || c->default_value) return error_set(w->b->err, HDB_ERROR, "error in generated column \"%s\"", c->name);
  if (c->primary_key) return error_set(w->b->err, HDB_ERROR, "generated columns cannot be part of the PRIMARY KEY");
  c->generated = k->stored ? 2 : 1;
  c->generation = k->value;
  c->default_text = k->span;
  w->t->has_generated = true;
  return HDB_OK;
}

/* The index that UNIQUE has made, or found, keeps the constraint's name. */
static void index_named(table *t, const expr_list *list, int column_number, const char *name) {
  for (index_ *i = t->indexes; i; i = i->next) {
    bool same = i->origin == 'u' && !i->constraint && i->key_columns_n == (list ? list->n : 1);
    for (int k = 0; same && k < i->key_columns_n; k++) {
      const char *column = list ? term_name(list->items[k].e) : NULL;
      same = i->columns[k].column == (list ? (column ? table_column(t, column) : -1) : column_number);
    }
    if (same) i->constraint = name;
  }
}

static status apply_constraint(table_build *w, const constraint *k, int column_number) {
  column *c = column_number >= 0 ? &w->t->columns[column_number] : NULL;
  switch (k->kind) {
  case CON_PRIMARY_KEY: return table_primary_key(w->b, w->t, k, column_number, &w->clause);
  case CON_UNIQUE:
    TRY(table_unique(w->b, w->t, k->columns, column_number, k->descending, k->conflict, 'u'));
    if (k->name) index_named(w->t, k->columns, column_number, k->name);
    return HDB_OK;
  case CON_NOT_NULL: c->not_null = k->conflict ? k->conflict : CONFLICT_ABORT; return HDB_OK;
  case CON_NULL: return HDB_OK;
  case CON_CHECK: return table_check(w->b, w->t, k, &w->checks_capacity);
  case CON_DEFAULT: return column_default(w->b, w->t, c, k);
  case CON_COLLATE: {
    const collation *found;
    if (!w->b->loading) TRY(find_collation(w->b->db, k->collation, &found, w->b->err));
    c->collation = k->collation;
    /* an index made for this column before the COLLATE follows it */
    for (index_ *i = w->t->indexes; i; i = i->next)
      if (i->key_columns_n == 1 && i->columns[0].column == column_number) i->columns[0].collation = k->collation;
    return HDB_OK;
  }
  case CON_GENERATED: return column_generated(w, c, k);
  default: return table_foreign_key(w->b, w->t, k->foreign_key, column_number);
  }
}

static status strict_column(build *b, table *t, column *c) {
  static const struct {
    const char *name;
    uint8_t affinity;
  } types[] = {{"ANY", 0}, {"INT", AFF_INTEGER}, {"INTEGER", AFF_INTEGER}, {"REAL", AFF_REAL}, {"TEXT", AFF_TEXT}, {"BLOB", AFF_BLOB}};
  if (!c->type[0]) return error_set(b->err, HDB_ERROR, "missing datatype for %s.%s", t->name, c->name);
  if (c->vector_dimensions) return HDB_OK;
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    if (!name_equal(types[i].name, c->type)) continue;
    c->strict_type = types[i].affinity;
    if (i == 0) c->affinity = AFF_BLOB;
    if (c->primary_key && t->rowid_column != (int)(c - t->columns) && !c->not_null) c->not_null = CONFLICT_ABORT;
    return HDB_OK;
  }
  return error_set(b->err, HDB_ERROR, "unknown datatype for %s.%s: \"%s\"", t->name, c->name, c->type);
}

static status add_column(table_build *w, const column_definition *d) {
  build *b = w->b;
  table *t = w->t;
  if (table_column(t, d->name) >= 0) return error_set(b->err, HDB_ERROR, "duplicate column name: %s", d->name);
  if (t->columns_n >= b->db->limits[HDB_LIMIT_COLUMN]) return error_set(b->err, HDB_ERROR, "too many columns on %s", t->name);
  column *c = &t->columns[t->columns_n++];
  *c = (column){.name = d->name, .type = d->type ? d->type : "", .stored = -1};
  c->vector_dimensions = vector_dimensions_of_type(c->type);
  c->affinity = c->vector_dimensions ? AFF_BLOB : affinity_of_type(c->type);
  for (const constraint *k = d->constraints; k; k = k->next) TRY(apply_constraint(w, k, t->columns_n - 1));
  return HDB_OK;
}

/* ---- WITHOUT ROWID ---- */

static void remove_repeated(index_ *i) {
  int n = 0;
  for (int k = 0; k < i->key_columns_n; k++) {
    bool repeated = false;
    for (int j = 0; j < n; j++)
      repeated = repeated || (i->columns[j].column == i->columns[k].column && name_equal(i->columns[j].collation, i->columns[k].collation));
    if (!repeated) i->columns[n++] = i->columns[k];
  }
  i->key_columns_n = i->columns_n = n;
}

static status make_without_rowid(table_build *w) {
  build *b = w->b;
  table *t = w->t;
  if (t->autoincrement) return error_set(b->err, HDB_ERROR, "AUTOINCREMENT not allowed on WITHOUT ROWID tables");
  if (!t->has_primary_key) return error_set(b->err, HDB_ERROR, "PRIMARY KEY missing on table %s", t->name);
  if (t->rowid_column >= 0) {
    int k = t->rowid_column;
    t->rowid_column = -1;
    TRY(table_unique(b, t, NULL, k, w->clause.descending, w->clause.conflict, 'p'));
  }
  for (int i = 0; i < t->columns_n; i++)
    if (t->columns[i].primary_key && !t->columns[i].not_null) t->columns[i].not_null = CONFLICT_ABORT;
  index_ *primary = t->primary;
  primary->is_primary = true;
  t->primary_key_conflict = primary->on_conflict;
  remove_repeated(primary);
  /* to the front of the list */
  index_ **at = &t->indexes;
  while (*at != primary) at = &(*at)->next;
  *at = primary->next;
  primary->next = t->indexes;
  t->indexes = primary;
  return HDB_OK;
}

status index_append_key(build *b, index_ *i) {
  const table *t = i->owner;
  if (!t->without_rowid || i->is_primary) return HDB_OK;
  const index_ *primary = t->primary;
  int n = i->key_columns_n;
  index_column *columns = arena_zero(b->memory, (size_t)(n + primary->key_columns_n) * sizeof *columns);
  if (!columns) return sql_nomem(b->err);
  memcpy(columns, i->columns, (size_t)n * sizeof *columns);
  for (int k = 0; k < primary->key_columns_n; k++) {
    const index_column *p = &primary->columns[k];
    bool present = false;
    for (int j = 0; j < n; j++)
      present = present || (columns[j].column == p->column && name_equal(columns[j].collation, p->collation));
    if (present) continue;
    columns[n] = *p;
    columns[n].key = false;
    columns[n++].descending = false;
  }
  i->columns = columns;
  i->columns_n = n;
  return HDB_OK;
}

/* In SQLite's order: newest first. A WITHOUT ROWID table's own key comes where its making put it. */
int table_index_order(const table *t, const index_ **list) {
  int n = 0;
  const index_ *primary = t->indexes && t->indexes->is_primary ? t->indexes : NULL;
  for (const index_ *i = t->indexes; i; i = i->next)
    if (!i->is_primary) list[n++] = i;
  if (!primary) return n;
  int number = atoi(strrchr(primary->name, '_') + 1), at = n;
  for (int i = 0; i < n; i++) {
    if (list[i]->origin == 'c' || atoi(strrchr(list[i]->name, '_') + 1) > number) continue;
    at = i;
    break;
  }
  memmove(list + at + 1, list + at, (size_t)(n - at) * sizeof *list);
  list[at] = primary;
  return n + 1;
}

/* ---- the table ---- */

static status finish_columns(build *b, table *t) {
  bool any = false;
  for (int i = 0; i < t->columns_n; i++) {
    column *c = &t->columns[i];
    any = any || !c->generated;
    if (t->strict) TRY(strict_column(b, t, c));
    if (c->generated != 1) c->stored = t->stored_n++;
  }
  if (!any) return error_set(b->err, HDB_ERROR, "must have at least one non-generated column");
  return HDB_OK;
}

status catalog_build_table(build *b, const create_table_statement *s, table **out) {
  table *t = arena_zero(b->memory, sizeof *t);
  if (!t) return sql_nomem(b->err);
  table_build w = {.b = b, .t = t};
  t->name = s->table.name;
  t->kind = TABLE_ORDINARY;
  t->rowid_column = -1;
  t->statistic_rows = -1;
  t->schema = b->schema;
  t->strict = s->strict;
  t->columns = arena_zero(b->memory, ((size_t)s->columns_n + 1) * sizeof *t->columns);
  if (!t->columns) return sql_nomem(b->err);
  for (int i = 0; i < s->columns_n; i++) TRY(add_column(&w, &s->columns[i]));
  for (const constraint *k = s->constraints; k; k = k->next) TRY(apply_constraint(&w, k, -1));
  if (t->autoincrement && t->rowid_column < 0)
    return error_set(b->err, HDB_ERROR, "AUTOINCREMENT is only allowed on an INTEGER PRIMARY KEY");
  TRY(finish_columns(b, t));
  t->without_rowid = s->without_rowid;
  if (s->without_rowid) TRY(make_without_rowid(&w));
  for (index_ *i = t->indexes; i; i = i->next) TRY(index_append_key(b, i));
  int id = 0;
  for (foreign_key *k = t->foreign_keys; k; k = k->next) k->id = id++;
  *out = t;
  return b->memory->failed ? sql_nomem(b->err) : HDB_OK;
}

/* ---- CREATE INDEX ---- */

status build_index(build *b, table *t, const create_index_statement *s, index_ **out) {
  index_ *i = index_new(b, t, s->columns->n);
  if (!i) return sql_nomem(b->err);
  i->name = s->index.name;
  i->origin = 'c';
  i->unique = s->unique;
  i->on_conflict = s->unique ? CONFLICT_ABORT : CONFLICT_NONE;
  i->where = s->where;
  for (int k = 0; k < s->columns->n; k++) TRY(index_term(b, t, &s->columns->items[k], true, &i->columns[k]));
  TRY(index_append_key(b, i));
  *out = i;
  return HDB_OK;
}

status index_resolve(build *b, index_ *i) {
  bool any = i->where != NULL;
  for (int k = 0; k < i->key_columns_n; k++) any = any || i->columns[k].e;
  if (!any) return HDB_OK;
  program scratch = {0};
  compile c = compile_begin(b->db, &scratch);
  c.memory = b->memory;
  c.err = b->err;
  compile_slot(&c, i->owner->columns_n); /* slot 0 */
  scope sc = {.allow = b->db->pragmas.dqs_ddl ? ALLOW_DQS : 0, .place = "index expressions", .table = i->owner, .slot = 0,
              .excluded_slot = -1};
  status rc = HDB_OK;
  for (int k = 0; k < i->key_columns_n; k++) {
    index_column *column = &i->columns[k];
    if (!column->e) continue;
    CHECK(resolve_expr(&c, &sc, &column->e));
    const collation *found = NULL;
    if (expr_collation(&c, column->e, &found) == HDB_OK && found) column->collation = arena_strdup(b->memory, found->name);
  }
  sc.place = "partial index WHERE clauses";
  if (i->where) CHECK(resolve_expr(&c, &sc, &i->where));
out:
  buf_free(&c.slot_columns);
  return rc;
}

/* ---- sqlite_schema ---- */

status build_schema_table(build *b, int database, table **out) {
  static const char *const names[] = {"type", "name", "tbl_name", "rootpage", "sql"};
  static const char *const types[] = {"TEXT", "TEXT", "TEXT", "INT", "TEXT"};
  table *t = arena_zero(b->memory, sizeof *t);
  if (!t || !(t->columns = arena_zero(b->memory, 5 * sizeof *t->columns))) return sql_nomem(b->err);
  t->name = database == DB_TEMP ? "sqlite_temp_master" : "sqlite_master";
  t->kind = TABLE_SCHEMA;
  t->tree = TREE_SCHEMA;
  t->columns_n = t->stored_n = 5;
  t->rowid_column = -1;
  t->statistic_rows = -1;
  t->schema = b->schema;
  t->sql = database == DB_TEMP ? "CREATE TABLE x(type text,name text,tbl_name text,rootpage int,sql text)"
                               : "CREATE TABLE x(type text,name text,tbl_name text,rootpage int,sql text)";
  for (int i = 0; i < 5; i++)
    t->columns[i] = (column){.name = names[i], .type = types[i], .affinity = i == 3 ? AFF_INTEGER : AFF_TEXT, .stored = i};
  *out = t;
  return HDB_OK;
}
