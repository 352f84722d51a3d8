/* Foreign keys, by SQLite's counting: every row that goes or comes adds or takes away violations, and what counts is
 * that none is left at the statement's end (immediate) or the transaction's (deferred).
 *
 *   child row comes   its parent is missing: +1        child row goes    its parent is missing: -1
 *   parent row goes   +1 for each child                parent row comes  -1 for each child that waited for it
 *
 * Children are found by a query over the parent's OLD or NEW, planned as any query; actions are statements, run like
 * a trigger's steps, and take away what was counted.
 * F1  A row that refers to itself is its own parent; when it goes it does not count as its own child.
 * F2  A parent key is compared under the parent's affinity and collation.
 * F3  What was seen is told to the transaction as a fact: the parent exists at commit, the child does not; of a child table
 *     without an index on the key, that nobody else has changed it.
 */
#include "sql/dml.h"
#include "sql/violation.h"

#include <strings.h>

#include "kv/base/key.h"

typedef struct child_key {   /* this table's row needs a parent */
  const foreign_key *k;
  const table *parent;       /* NULL: there is none (DROP TABLE only) */
  const index_ *index;       /* NULL: the row id */
  int *from;                 /* by index column: our column */
  int *parent_columns;
  const collation **collations;
  expr_program **own_parent; /* a table that refers to itself: virtual generated columns of its key, of the new row */
  expr_program **virtual_old, **virtual_new; /* by key column: virtual generated ones of ours; NULL: there are none */
  bool self;
} child_key;

typedef struct parent_key {  /* other tables' rows need this one */
  const foreign_key *k;
  int *columns;              /* of this table, by key column */
  trigger_program *count_old, *count_new, *count_all, *action;
  expr_program **virtual_old, **virtual_new; /* by key column: virtual generated ones; NULL: there are none */
  uint8_t what;              /* enum foreign_action */
  const index_ *index;       /* of the child, led by the key's columns; NULL: none */
  int *order;                /* its columns: key column numbers */
  const collation **collations;
  const index_ *own;         /* this table's index of the key; NULL: the row id */
  int *own_order;            /* its columns: key column numbers */
  const collation **own_collations;
} parent_key;

struct fkey_set {
  const table *t;
  int database;
  bool is_update, self, at_once;
  int children_n, parents_n;
  child_key *children;
  parent_key *parents;
};

void fkey_fail_at_once(fkey_set *set) { set->at_once = true; }
bool fkey_is_self_referencing(const fkey_set *set) { return set->self; }

/* ---- compile: which key of the parent ---- */
static bool same_name(const char *a, const char *b) { return strcasecmp(a, b) == 0; }

static bool index_fits(const table *parent, const index_ *i, const foreign_key *k, int *from, int *columns) {
  if (!i->unique || i->where || i->key_columns_n != k->n) return false;
  if (!k->parent_columns[0]) {
    if (i->origin != 'p') return false;
    for (int n = 0; n < k->n; n++) from[n] = n, columns[n] = i->columns[n].column;
    return true;
  }
  for (int n = 0; n < k->n; n++) {
    int column_number = i->columns[n].column, at = 0;
    if (column_number < 0) return false;
    const column *c = &parent->columns[column_number];
    if (!same_name(i->columns[n].collation, c->collation ? c->collation : "BINARY")) return false;
    while (at < k->n && !same_name(k->parent_columns[at], c->name)) at++;
    if (at == k->n) return false;
    from[n] = at;
    columns[n] = column_number;
  }
  return true;
}

/* from: by column of the parent's index, the number of the key column. */
static bool locate_parent_key(const table *parent, const foreign_key *k, const index_ **index, int *from, int *columns) {
  *index = NULL;
  if (parent->kind != TABLE_ORDINARY) return false;
  if (k->n == 1 && parent->rowid_column >= 0 &&
      (!k->parent_columns[0] || same_name(k->parent_columns[0], parent->columns[parent->rowid_column].name))) {
    from[0] = 0;
    columns[0] = parent->rowid_column;
    return true;
  }
  for (const index_ *i = parent->indexes; i; i = i->next)
    if (index_fits(parent, i, k, from, columns)) {
      *index = i;
      return true;
    }
  return false;
}

static status mismatch(compile *c, const foreign_key *k) {
  return error_set(c->err, HDB_ERROR, "foreign key mismatch - \"%s\" referencing \"%s\"", k->child->name, k->parent);
}

static bool any_of(const bool *changed, const int *columns, int n) {
  for (int i = 0; i < n; i++)
    if (changed[columns[i]]) return true;
  return false;
}

/* ---- compile: the child's side ---- */
static status virtual_columns(compile *c, const table *t, const foreign_key *k, int slot, expr_program ***out) {
  *out = NULL;
  for (int i = 0; i < k->n && slot >= 0; i++) {
    if (t->columns[k->child_columns[i]].generated != 1) continue;
    if (!*out) *out = arena_zero(c->memory, (size_t)k->n * sizeof **out);
    if (!*out) return dml_no_memory(c->err);
    TRY(dml_column_program(c, t, slot, k->child_columns[i], &(*out)[i]));
  }
  return HDB_OK;
}

static status child_key_compile(compile *c, fkey_set *set, const foreign_key *k, child_key *out) {
  const char *schema_name = c->db->databases[set->database].name;
  size_t n = (size_t)k->n;
  *out = (child_key){.k = k};
  out->parent = catalog_table(c->db, schema_name, k->parent, NULL);
  if (!out->parent && c->db->dropping) return HDB_OK;
  if (!out->parent) return error_set(c->err, HDB_ERROR, "no such table: %s.%s", schema_name, k->parent);
  out->from = arena_zero(c->memory, n * sizeof *out->from);
  out->parent_columns = arena_zero(c->memory, n * sizeof *out->parent_columns);
  out->collations = arena_zero(c->memory, n * sizeof *out->collations);
  if (!out->from || !out->parent_columns || !out->collations) return dml_no_memory(c->err);
  if (!locate_parent_key(out->parent, k, &out->index, out->from, out->parent_columns)) {
    if (!c->db->dropping) return mismatch(c, k);
    out->parent = NULL;
    return HDB_OK;
  }
  for (int i = 0; i < k->n && out->index; i++)
    TRY(find_collation(c->db, out->index->columns[i].collation, &out->collations[i], c->err));
  out->self = out->parent == set->t;
  set->self = set->self || out->self;
  return HDB_OK;
}

static status own_parent_columns(compile *c, const table *t, int n, int slot, child_key *child) {
  child->own_parent = arena_zero(c->memory, (size_t)n * sizeof *child->own_parent);
  if (!child->own_parent) return dml_no_memory(c->err);
  for (int i = 0; i < n; i++)
    if (t->columns[child->parent_columns[i]].generated == 1)
      TRY(dml_column_program(c, t, slot, child->parent_columns[i], &child->own_parent[i]));
  return HDB_OK;
}

static status children_compile(compile *c, fkey_set *set, const fkey_request *r) {
  const bool *changed = r->changed;
  int n = 0;
  for (const foreign_key *k = set->t->foreign_keys; k; k = k->next) n++;
  set->children = arena_zero(c->memory, ((size_t)n + 1) * sizeof *set->children);
  if (!set->children) return dml_no_memory(c->err);
  for (const foreign_key *k = set->t->foreign_keys; k; k = k->next) {
    bool self = same_name(k->parent, set->t->name);
    bool is_virtual = false;
    for (int i = 0; i < k->n; i++) is_virtual = is_virtual || set->t->columns[k->child_columns[i]].generated;
    if (changed && !self && !is_virtual && !any_of(changed, k->child_columns, k->n)) continue;
    child_key *child = &set->children[set->children_n++];
    TRY(child_key_compile(c, set, k, child));
    TRY(virtual_columns(c, set->t, k, r->old_slot, &child->virtual_old));
    TRY(virtual_columns(c, set->t, k, r->new_slot, &child->virtual_new));
    if (child->self && r->new_slot >= 0) TRY(own_parent_columns(c, set->t, k->n, r->new_slot, child));
  }
  return HDB_OK;
}

/* ---- compile: the parent's side ---- */
static expr *conjunction(arena *m, expr *a, expr *b) { return a ? ast_expr(m, EX_AND, a, b) : b; }

/* row.key = child.key for all columns */
static expr *match_children(arena *m, const fkey_set *set, const parent_key *p, const char *row, const char *child) {
  expr *all = NULL;
  for (int i = 0; i < p->k->n; i++) {
    expr *left = dml_name(m, row, set->t->columns[p->columns[i]].name);
    expr *right = dml_name(m, child, p->k->child->columns[p->k->child_columns[i]].name);
    all = conjunction(m, all, ast_expr(m, EX_EQ, left, right));
  }
  return all;
}

/* Not the row itself (F1). */
static expr *not_itself(arena *m, const table *t, const char *row, const char *child) {
  if (!t->without_rowid) {
    const char *name = table_rowid_name(t);
    if (!name && t->rowid_column >= 0) name = t->columns[t->rowid_column].name;
    return ast_expr(m, EX_ISNOT, dml_name(m, child, name ? name : "rowid"), dml_name(m, row, name ? name : "rowid"));
  }
  expr *same = NULL;
  for (int i = 0; i < t->primary->key_columns_n; i++) {
    const char *name = t->columns[t->primary->columns[i].column].name;
    same = conjunction(m, same, ast_expr(m, EX_IS, dml_name(m, child, name), dml_name(m, row, name)));
  }
  return ast_expr(m, EX_NOT, same, NULL);
}

static status count_query(compile *c, const fkey_set *set, const parent_key *p, const char *row, bool but_itself,
                          trigger_program **out) {
  arena *m = c->memory;
  select *s = arena_zero(m, sizeof *s);
  source_list *from = arena_zero(m, sizeof *from);
  source *child = arena_zero(m, sizeof *child);
  expr *count = ast_expr(m, EX_FUNCTION, NULL, NULL);
  if (!s || !from || !child || !count) return dml_no_memory(c->err);
  count->text = "count", count->text_n = 5, count->star = true;
  child->schema = c->db->databases[set->database].name;
  child->name = p->k->child->name;
  child->alias = "child row";
  from->n = from->capacity = 1;
  from->items = child;
  s->columns = ast_list_add(m, NULL, count);
  s->from = from;
  s->where = match_children(m, set, p, row, child->alias);
  if (but_itself) s->where = conjunction(m, s->where, not_itself(m, set->t, row, child->alias));
  if (m->failed) return dml_no_memory(c->err);
  return trigger_query_make(c, set->t, set->database, s, out);
}

static expr *action_value(arena *m, const fkey_set *set, const parent_key *p, int i) {
  const column *child = &p->k->child->columns[p->k->child_columns[i]];
  if (p->what == FK_CASCADE) return dml_name(m, "new", set->t->columns[p->columns[i]].name);
  if (p->what == FK_SET_DEFAULT && child->default_value) {
    expr *e = ast_copy_expr(m, child->default_value);
    if (e && e->op == EX_ID) e->op = EX_TEXT, e->text_n = (uint32_t)strlen(e->text);
    return e;
  }
  return ast_expr(m, EX_NULL, NULL, NULL);
}

static status action_statement(compile *c, const fkey_set *set, const parent_key *p, statement *s) {
  arena *m = c->memory;
  const char *child = p->k->child->name;
  qualified_name name = {.name = child, .offset = -1, .name_offset = -1};
  expr *where = match_children(m, set, p, "old", child);
  if (p->what == FK_CASCADE && !set->is_update) {
    s->kind = ST_DELETE;
    s->delete_ = arena_zero(m, sizeof *s->delete_);
    if (!s->delete_) return dml_no_memory(c->err);
    s->delete_->table = name;
    s->delete_->where = where;
    return HDB_OK;
  }
  s->kind = ST_UPDATE;
  s->update = arena_zero(m, sizeof *s->update);
  set_list *list = arena_zero(m, sizeof *list);
  set_item *items = arena_zero(m, (size_t)p->k->n * sizeof *items);
  name_list *names = arena_zero(m, (size_t)p->k->n * sizeof *names);
  struct name_item *columns = arena_zero(m, (size_t)p->k->n * sizeof *columns);
  if (!s->update || !list || !items || !names || !columns) return dml_no_memory(c->err);
  for (int i = 0; i < p->k->n; i++) {
    columns[i] = (struct name_item){.name = p->k->child->columns[p->k->child_columns[i]].name, .offset = -1};
    names[i] = (name_list){1, 1, &columns[i]};
    items[i] = (set_item){&names[i], action_value(m, set, p, i)};
  }
  *list = (set_list){p->k->n, p->k->n, items};
  s->update->table = name;
  s->update->set = list;
  s->update->where = where;
  return HDB_OK;
}

/* The child's index that begins with the key's columns, for F3. */
static status locate_child_index(compile *c, parent_key *p) {
  const foreign_key *k = p->k;
  p->order = arena_zero(c->memory, (size_t)k->n * sizeof *p->order);
  p->collations = arena_zero(c->memory, (size_t)k->n * sizeof *p->collations);
  if (!p->order || !p->collations) return dml_no_memory(c->err);
  for (const index_ *i = k->child->indexes; i && !p->index; i = i->next) {
    if (i->where || i->key_columns_n < k->n) continue;
    int n = 0;
    for (; n < k->n; n++) {
      int at = 0;
      while (at < k->n && k->child_columns[at] != i->columns[n].column) at++;
      if (at == k->n) break;
      p->order[n] = at;
      TRY(find_collation(c->db, i->columns[n].collation, &p->collations[n], c->err));
      if (!p->collations[n]->builtin) break;
    }
    if (n == k->n) p->index = i;
  }
  return HDB_OK;
}

static status parent_key_compile(compile *c, fkey_set *set, unsigned use, parent_key *p) {
  const foreign_key *k = p->k;
  bool self = k->child == set->t;
  set->self = set->self || self;
  if (use != WRITER_DELETE) TRY(count_query(c, set, p, "new", self && use == WRITER_UPDATE, &p->count_new));
  if (use == WRITER_INSERT) return HDB_OK;
  TRY(locate_child_index(c, p));
  TRY(count_query(c, set, p, "old", self, &p->count_old));
  p->what = use == WRITER_UPDATE ? k->on_update : k->on_delete;
  if (c->db->merging) p->what = FK_NO_ACTION;
  if (p->what == FK_NO_ACTION) return HDB_OK;
  p->count_all = p->count_old;
  if (p->what == FK_RESTRICT) return self ? count_query(c, set, p, "old", false, &p->count_all) : HDB_OK;
  statement *s = arena_zero(c->memory, sizeof *s);
  if (!s) return dml_no_memory(c->err);
  TRY(action_statement(c, set, p, s));
  if (c->memory->failed) return dml_no_memory(c->err);
  /* a chain of actions compiles as deep as the tables refer to each other; one that closes a circle is found again */
  return trigger_program_make(c, set->t, set->database, set->is_update ? ST_UPDATE : ST_DELETE, k, s, &p->action);
}

static status parent_columns(compile *c, const table *t, const parent_key *p, int slot, expr_program ***out) {
  *out = NULL;
  for (int i = 0; i < p->k->n && slot >= 0; i++) {
    if (t->columns[p->columns[i]].generated != 1) continue;
    if (!*out) *out = arena_zero(c->memory, (size_t)p->k->n * sizeof **out);
    if (!*out) return dml_no_memory(c->err);
    TRY(dml_column_program(c, t, slot, p->columns[i], &(*out)[i]));
  }
  return HDB_OK;
}

/* Does the UPDATE set a column of the key? By name: the key need not be one. */
static bool key_changes(const table *t, const bool *changed, const foreign_key *k) {
  for (int c = 0; c < t->columns_n; c++) {
    if (!changed[c] && !t->columns[c].generated) continue;
    for (int i = 0; i < k->n; i++)
      if (k->parent_columns[i] ? same_name(k->parent_columns[i], t->columns[c].name) : t->columns[c].primary_key) return true;
  }
  return false;
}

/* Keys that refer to this table but to no key of it. SQLite stumbles over them when it thinks of any key, and says the
 * last thing it said: of those with an action the oldest, else of those concerned the newest, else the oldest. */
enum mismatch_pass { PASS_ACTIONS, PASS_CONCERNED, PASS_ALL };

static bool is_looked_at(compile *c, const fkey_set *set, const fkey_request *r, const foreign_key *k, enum mismatch_pass pass) {
  if (r->use == WRITER_INSERT && r->single_row && !k->deferred && !c->db->pragmas.defer_foreign_keys) return false;
  if (pass == PASS_ALL) return true;
  if (r->changed && !key_changes(set->t, r->changed, k)) return false;
  if (pass == PASS_CONCERNED) return true;
  return r->use != WRITER_INSERT && (r->use == WRITER_UPDATE ? k->on_update : k->on_delete) != FK_NO_ACTION;
}

static status refuse_mismatched(compile *c, const fkey_set *set, const fkey_request *r, const schema *s, enum mismatch_pass pass) {
  const foreign_key *bad = NULL;
  const index_ *index;
  for (const foreign_key *k = s->foreign_keys; k; k = k->next_parent) {
    if (!same_name(k->parent, set->t->name) || !is_looked_at(c, set, r, k, pass)) continue;
    int *numbers = arena_zero(c->memory, (size_t)k->n * 2 * sizeof *numbers);
    if (!numbers) return dml_no_memory(c->err);
    if (locate_parent_key(set->t, k, &index, numbers, numbers + k->n)) continue;
    if (pass != PASS_CONCERNED || !bad) bad = k;
  }
  return bad ? mismatch(c, bad) : HDB_OK;
}

static status parents_compile(compile *c, fkey_set *set, const fkey_request *r, const schema *s) {
  unsigned use = r->use;
  int n = 0;
  for (const foreign_key *k = s->foreign_keys; k; k = k->next_parent) n += same_name(k->parent, set->t->name);
  set->parents = arena_zero(c->memory, ((size_t)n + 1) * sizeof *set->parents);
  if (!set->parents) return dml_no_memory(c->err);
  for (const foreign_key *k = s->foreign_keys; k; k = k->next_parent) {
    if (!same_name(k->parent, set->t->name) || (r->changed && !key_changes(set->t, r->changed, k))) continue;
    parent_key *p = &set->parents[set->parents_n];
    const index_ *index;
    int *from = arena_zero(c->memory, (size_t)k->n * sizeof *from);
    int *located = arena_zero(c->memory, (size_t)k->n * sizeof *located);
    *p = (parent_key){.k = k, .columns = arena_zero(c->memory, (size_t)k->n * sizeof *p->columns)};
    if (!from || !located || !p->columns) return dml_no_memory(c->err);
    if (!locate_parent_key(set->t, k, &index, from, located)) continue; /* refuse_mismatched has let it pass */
    for (int i = 0; i < k->n; i++) p->columns[from[i]] = located[i];
    p->own = index, p->own_order = from;
    p->own_collations = arena_zero(c->memory, (size_t)k->n * sizeof *p->own_collations);
    if (!p->own_collations) return dml_no_memory(c->err);
    for (int i = 0; i < k->n && index; i++) TRY(find_collation(c->db, index->columns[i].collation, &p->own_collations[i], c->err));
    set->parents_n++;
    TRY(parent_columns(c, set->t, p, r->old_slot, &p->virtual_old));
    TRY(parent_columns(c, set->t, p, r->new_slot, &p->virtual_new));
    TRY(parent_key_compile(c, set, use, p));
  }
  return HDB_OK;
}

/* Does the change concern any key at all? */
static bool is_required(const fkey_set *set, const fkey_request *r, const schema *s) {
  if (!r->changed) return true;
  for (const foreign_key *k = set->t->foreign_keys; k; k = k->next)
    if (any_of(r->changed, k->child_columns, k->n)) return true;
  for (const foreign_key *k = s->foreign_keys; k; k = k->next_parent)
    if (same_name(k->parent, set->t->name) && key_changes(set->t, r->changed, k)) return true;
  return false;
}

status fkey_compile(compile *c, const table *t, int database, const fkey_request *r, fkey_set **out) {
  schema *s;
  unsigned use = r->use;
  *out = NULL;
  if (!c->db->pragmas.foreign_keys || t->kind != TABLE_ORDINARY) return HDB_OK;
  TRY(catalog_schema(c->db, database, &s));
  if (!s->foreign_keys && !t->foreign_keys) return HDB_OK;
  fkey_set *set = arena_zero(c->memory, sizeof *set);
  if (!set) return dml_no_memory(c->err);
  set->t = t, set->database = database, set->is_update = use == WRITER_UPDATE;
  status rc = children_compile(c, set, r);
  if (rc != HDB_OK) {
    status also = refuse_mismatched(c, set, r, s, PASS_ACTIONS);
    return also != HDB_OK ? also : rc;
  }
  for (int pass = PASS_ACTIONS; pass <= PASS_ALL && !c->db->dropping && is_required(set, r, s); pass++)
    TRY(refuse_mismatched(c, set, r, s, (enum mismatch_pass)pass));
  TRY(parents_compile(c, set, r, s));
  if (set->children_n || set->parents_n) *out = set;
  return HDB_OK;
}

/* ---- run: counters ---- */
static bool is_deferred(const exec *x, const foreign_key *k) { return k->deferred || x->db->pragmas.defer_foreign_keys; }

static int64_t *counter(exec *x, dml_run *run, const foreign_key *k) {
  return is_deferred(x, k) ? &x->db->deferred_violations : &run->violations;
}

static txn *txn_of(exec *x, const fkey_set *set) { return x->db->databases[set->database].txn; }

/* ---- run: is there a parent? ---- */
typedef struct child_row {   /* a row of ours and which of the two it is */
  exec *x;
  slot *s;
  bool is_new;
} child_row;

static status child_value(const child_row *row, const child_key *c, int i, value *out) {
  expr_program **programs = row->is_new ? c->virtual_new : c->virtual_old;
  const value *v;
  if (programs && programs[i]) TRY(expr_eval(row->x, programs[i], &v));
  else v = slot_column(row->s, c->k->child_columns[i]);
  *out = *v;
  return HDB_OK;
}

/* F1: the new row's own key is what it refers to. */
static status is_own_parent(const child_row *row, const child_key *c, bool *own) {
  exec *x = row->x;
  *own = true;
  for (int i = 0; i < c->k->n && *own; i++) {
    const value *parent;
    value v;
    if (c->own_parent[i]) TRY(expr_eval(x, c->own_parent[i], &parent));
    else parent = slot_column(row->s, c->parent_columns[i]);
    TRY(child_value(row, c, c->from[i], &v));
    if (!c->index) TRY(dml_failed(x, value_apply_affinity(&v, AFF_INTEGER, &x->memory)));
    *own = value_compare(&v, parent, NULL) == 0; /* as SQLite: the bare values */
  }
  return HDB_OK;
}

/* The parent's key as bytes (F2); *possible false: no parent can have it. */
static status parent_prefix(const child_row *row, const child_key *c, buf *out, bool *possible) {
  exec *x = row->x;
  *possible = true;
  for (int i = 0; i < c->k->n; i++) {
    value v;
    TRY(child_value(row, c, c->from[i], &v));
    const column *parent = &c->parent->columns[c->parent_columns[i]];
    TRY(dml_failed(x, value_apply_affinity(&v, c->index ? parent->affinity : AFF_INTEGER, &x->memory)));
    if (c->index) {
      value_write_key(out, &v, c->collations[i], c->index->columns[i].descending);
    } else if (v.type == VAL_INTEGER) {
      key_put_rowid(out, v.i);
    } else {
      *possible = false;
    }
  }
  return buf_failed(out) ? dml_no_memory(x->err) : HDB_OK;
}

static status find_parent(const child_row *row, const fkey_set *set, const child_key *c, bool expected, bool *found) {
  exec *x = row->x;
  buf prefix = BUF_INIT;
  cursor *at = NULL;
  bool possible;
  status rc = HDB_OK;
  uint32_t tree = c->index ? c->index->tree : c->parent->tree;
  *found = false;
  CHECK(parent_prefix(row, c, &prefix, &possible));
  if (!possible) goto out;
  CHECK(dml_failed(x, cursor_open(txn_of(x, set), tree, 0, &at)));
  cursor_seek(at, buf_slice(&prefix));
  CHECK(dml_failed(x, at->error));
  *found = at->valid && slice_starts(at->key, buf_slice(&prefix));
  if (*found && expected) CHECK(dml_failed(x, txn_expect(txn_of(x, set), FACT_EXISTS, tree, buf_slice(&prefix)))); /* F3 */
out:
  if (at) cursor_close(at);
  buf_free(&prefix);
  return rc;
}

static status note_missing(const child_row *row, const child_key *c) {
  value *values = arena_zero(&row->x->memory, (size_t)c->k->n * sizeof *values);
  if (!values) return dml_no_memory(row->x->err);
  for (int i = 0; i < c->k->n; i++) TRY(child_value(row, c, i, &values[i]));
  violation_no_parent(row->x, c->k, values);
  return HDB_OK;
}

static status check_child(exec *x, dml_run *run, const fkey_set *set, const child_key *c, slot *s, int step) {
  int64_t *count = counter(x, run, c->k);
  bool found = false;
  if (step < 0 && *count <= 0) return HDB_OK;
  child_row row = {x, s, step > 0};
  for (int i = 0; i < c->k->n; i++) {
    value v;
    TRY(child_value(&row, c, i, &v));
    if (v.type == VAL_NULL) return HDB_OK;
  }
  if (step > 0 && c->self) TRY(is_own_parent(&row, c, &found));
  if (!found && c->parent) TRY(find_parent(&row, set, c, step > 0, &found));
  if (found) return HDB_OK;
  if (step > 0 && x->db->pragmas.dialect == DIALECT_POSTGRES) TRY(note_missing(&row, c));
  if (set->at_once && step > 0 && !is_deferred(x, c->k))
    return dml_constraint(x, CONFLICT_ABORT, HDB_CONSTRAINT_FOREIGNKEY, "FOREIGN KEY constraint failed");
  *count += step;
  if (*count == 0) violation_forget(x->db);
  return HDB_OK;
}

/* ---- run: are there children? ---- */
static status parent_value(exec *x, const parent_key *p, slot *s, bool is_new, int i, value *out) {
  expr_program **programs = is_new ? p->virtual_new : p->virtual_old;
  const value *v;
  if (programs && programs[i]) TRY(expr_eval(x, programs[i], &v));
  else v = slot_column(s, p->columns[i]);
  *out = *v;
  return HDB_OK;
}

/* The row's own key, as its index has it. */
static status own_prefix(exec *x, const parent_key *p, slot *s, buf *out) {
  for (int i = 0; i < p->k->n; i++) {
    value v;
    TRY(parent_value(x, p, s, false, p->own_order[i], &v));
    if (p->own) value_write_key(out, &v, p->own_collations[i], p->own->columns[i].descending);
    else key_put_rowid(out, v.i);
  }
  return buf_failed(out) ? dml_no_memory(x->err) : HDB_OK;
}

/* F3: at the commit there is no child, unless the parent is there again. A child table without an index on the key must
 * not have changed at all. */
static status expect_no_children(exec *x, const fkey_set *set, const parent_key *p, slot *s) {
  if (!p->index) return dml_failed(x, txn_expect_unchanged(txn_of(x, set), p->k->child->tree));
  buf prefix = BUF_INIT, own = BUF_INIT;
  status rc = HDB_OK;
  for (int i = 0; i < p->k->n; i++) {
    value v;
    CHECK(parent_value(x, p, s, false, p->order[i], &v));
    uint8_t affinity = p->k->child->columns[p->k->child_columns[p->order[i]]].affinity;
    CHECK(dml_failed(x, value_apply_affinity(&v, affinity, &x->memory)));
    if (v.type == VAL_NULL) goto out;
    value_write_key(&prefix, &v, p->collations[i], p->index->columns[i].descending);
  }
  CHECK(buf_failed(&prefix) ? dml_no_memory(x->err) : HDB_OK);
  CHECK(own_prefix(x, p, s, &own));
  uint32_t own_tree = p->own ? p->own->tree : set->t->tree;
  CHECK(dml_failed(x, txn_expect_none_unless(txn_of(x, set), p->index->tree, buf_slice(&prefix), own_tree, buf_slice(&own))));
out:
  buf_free(&own);
  buf_free(&prefix);
  return rc;
}

static status key_has_null(exec *x, const parent_key *p, slot *s, bool is_new, bool *null) {
  *null = false;
  for (int i = 0; i < p->k->n && !*null; i++) {
    value v;
    TRY(parent_value(x, p, s, is_new, i, &v));
    *null = v.type == VAL_NULL;
  }
  return HDB_OK;
}

static status note_children(exec *x, const fkey_set *set, const parent_key *p, slot *old) {
  if (x->db->pragmas.dialect != DIALECT_POSTGRES) return HDB_OK;
  value *values = arena_zero(&x->memory, (size_t)p->k->n * sizeof *values);
  if (!values) return dml_no_memory(x->err);
  for (int i = 0; i < p->k->n; i++) TRY(parent_value(x, p, old, false, i, &values[i]));
  violation_children(x, p->k, set->t, p->columns, values);
  return HDB_OK;
}

static status check_parent(exec *x, const dml_root *root, dml_run *run, const fkey_set *set, const parent_key *p, slot *old,
                           slot *new_row) {
  int64_t *count = counter(x, run, p->k), n;
  bool null = true;
  if (new_row && *count > 0 && p->count_new) TRY(key_has_null(x, p, new_row, true, &null));
  if (!null) {
    TRY(trigger_query(x, root, p->count_new, NULL, new_row, &n));
    *count -= n;
    if (*count == 0) violation_forget(x->db);
  }
  null = true;
  if (old && p->count_old) TRY(key_has_null(x, p, old, false, &null));
  if (!null) {
    TRY(trigger_query(x, root, p->count_old, old, NULL, &n));
    *count += n;
    if (n > 0 && (p->what == FK_NO_ACTION || p->what == FK_RESTRICT)) TRY(note_children(x, set, p, old));
    TRY(expect_no_children(x, set, p, old));
  }
  return HDB_OK;
}

status fkey_check(exec *x, const dml_root *root, const fkey_set *set, slot *old, slot *new_row) {
  dml_run *run = dml_run_of(x, root);
  if (!run) return HDB_NOMEM;
  for (int i = 0; i < set->children_n; i++) {
    if (old) TRY(check_child(x, run, set, &set->children[i], old, -1));
    if (new_row) TRY(check_child(x, run, set, &set->children[i], new_row, 1));
  }
  for (int i = 0; i < set->parents_n; i++) TRY(check_parent(x, root, run, set, &set->parents[i], old, new_row));
  return HDB_OK;
}

/* ---- run: actions ---- */
static status same_key(exec *x, const fkey_set *set, const parent_key *p, slot *old, slot *new_row, bool *same) {
  *same = true;
  for (int i = 0; i < p->k->n && *same; i++) {
    const collation *c = &collation_binary;
    const char *name = set->t->columns[p->columns[i]].collation;
    if (name) TRY(find_collation(x->db, name, &c, x->err));
    value a, b;
    TRY(parent_value(x, p, old, false, i, &a));
    TRY(parent_value(x, p, new_row, true, i, &b));
    *same = value_compare(&a, &b, c) == 0;
  }
  return HDB_OK;
}

status fkey_actions(exec *x, const dml_root *root, const fkey_set *set, slot *old, slot *new_row) {
  for (int i = 0; i < set->parents_n; i++) {
    const parent_key *p = &set->parents[i];
    if (p->what == FK_NO_ACTION || !old) continue;
    bool same = false;
    bool null;
    if (new_row) TRY(same_key(x, set, p, old, new_row, &same));
    TRY(key_has_null(x, p, old, false, &null));
    if (same || null) continue;
    if (p->what != FK_RESTRICT) {
      TRY(trigger_fire_one(x, root, p->action, old, new_row));
      continue;
    }
    int64_t n;
    if (x->db->pragmas.defer_foreign_keys) continue;
    TRY(trigger_query(x, root, p->count_all, old, NULL, &n));
    if (n == 0) continue;
    TRY(note_children(x, set, p, old));
    return dml_constraint(x, CONFLICT_ABORT, HDB_CONSTRAINT_TRIGGER, "FOREIGN KEY constraint failed");
  }
  return HDB_OK;
}

status foreign_key_check_commit(hdb *db) {
  if (db->deferred_violations <= 0) return HDB_OK;
  return error_set(&db->err, HDB_CONSTRAINT_FOREIGNKEY, "FOREIGN KEY constraint failed");
}
