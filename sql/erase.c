/* ERASE FROM t WHERE ...: rows go together with their history, on all branches, as if they had never been there.
 *
 * First a DELETE with the same WHERE runs, as an ordinary transaction: triggers fire, foreign keys hold. The keys of the
 * rows that it took away itself are noted. Then the engine takes these keys out of the table and of every index that the
 * table has or had, on any branch, with history and feed (mvcc/erase.c); and app.db is written and compacted.
 * The result says how much was erased, and which copies were not reached.
 *
 * E1  Which entries of an index belong to a key is told by the entry's end (row ids), or by the index's definition
 *     (WITHOUT ROWID: definitions of indexes that were dropped are not known any more; said in the result).
 * E2  What the DELETE's triggers and cascades wrote is deleted or changed, not erased: these are other rows.
 * E3  Between the DELETE's commit and the erasing the keys are kept under the setting `erase`, so that a crash there is
 *     made good by the next ERASE of the database.
 * What can fail: the DELETE, as it would; the storage; a transaction that is open.
 */
#include "sql/erase.h"

#include <stddef.h>
#include <stdlib.h>

#include "kv/base/key.h"
#include "sql/dml.h"
#include "sql/mirror.h"
#include "sql/replay.h"

enum { COLUMNS = 3, TREES_MAX = 512 };

typedef struct erase_call {
  int database;
  const char *table;
} erase_call;

typedef struct erase {
  hdb *db;
  database *d;
  int number;
  const table *t;
  erase_keys keys;
  erase_rule rules[TREES_MAX];
  int rules_n;
  uint32_t unknown_trees[TREES_MAX]; /* indexes that could not be looked through */
  int unknown;
  const char **names; /* the table had */
  int names_n, names_capacity;
  arena memory;
} erase;

/* ---- the keys ---- */

status erase_note(erase_keys *k, slice key) {
  if (k->n == k->capacity) {
    size_t capacity = k->capacity ? 2 * k->capacity : 64;
    slice *list = realloc(k->list, capacity * sizeof *list);
    if (!list) return HDB_NOMEM;
    k->list = list, k->capacity = capacity;
  }
  uint8_t *copy = arena_alloc(&k->memory, key.n + 1);
  if (!copy) return HDB_NOMEM;
  if (key.n) memcpy(copy, key.p, key.n);
  k->list[k->n++] = slice_of(copy, key.n);
  return HDB_OK;
}

static int by_bytes(const void *a, const void *b) {
  return slice_compare(*(const slice *)a, *(const slice *)b);
}

/* ---- the trees ---- */

static bool has_tree(const erase *e, uint32_t tree) {
  for (int k = 0; k < e->rules_n; k++)
    if (e->rules[k].tree == tree) return true;
  return false;
}

static void add_unknown(erase *e, uint32_t tree) {
  for (int k = 0; k < e->unknown; k++)
    if (e->unknown_trees[k] == tree) return;
  if (e->unknown < TREES_MAX) e->unknown_trees[e->unknown++] = tree;
}

static status add_rule(erase *e, erase_rule rule) {
  if (has_tree(e, rule.tree)) return HDB_OK;
  if (e->rules_n == TREES_MAX) return error_set(&e->db->err, HDB_FULL, "%s has too many indexes", e->t->name);
  e->rules[e->rules_n++] = rule;
  return HDB_OK;
}

/* Where an entry has the columns of the table's own key (as entry_row_key takes them). */
static status add_parts(erase *e, const index_ *i) {
  const index_ *key = e->t->primary;
  erase_rule rule = {.tree = i->tree,
                     .rebuild = true,
                     .kind = ERASE_PARTS,
                     .columns_n = i->columns_n,
                     .parts_n = key->key_columns_n};
  bool *descending = arena_alloc(&e->memory, (size_t)i->columns_n + 1);
  erase_key_part *parts = arena_zero(&e->memory, ((size_t)key->key_columns_n + 1) * sizeof *parts);
  if (!descending || !parts) return sql_nomem(&e->db->err);
  for (int j = 0; j < i->columns_n; j++) descending[j] = i->columns[j].descending;
  for (int k = 0; k < key->key_columns_n; k++) {
    const index_column *wanted = &key->columns[k];
    int j = 0;
    while (j < i->columns_n && (i->columns[j].column != wanted->column ||
                                strcmp(i->columns[j].collation, wanted->collation) != 0))
      j++;
    if (j == i->columns_n) {
      add_unknown(e, i->tree);
      return HDB_OK;
    }
    parts[k] = (erase_key_part){j, i->columns[j].descending != wanted->descending};
  }
  rule.descending = descending, rule.parts = parts;
  return add_rule(e, rule);
}

static status add_indexes(erase *e, const table *t) {
  for (const index_ *i = t->indexes; i; i = i->next) {
    if (i->is_primary || !i->tree) continue;
    if (t->without_rowid)
      TRY(add_parts(e, i));
    else
      TRY(add_rule(e, (erase_rule){.tree = i->tree, .rebuild = true, .kind = ERASE_LAST8}));
  }
  return HDB_OK;
}

static bool has_name(const erase *e, const char *name) {
  for (int i = 0; i < e->names_n; i++)
    if (name && strcasecmp(e->names[i], name) == 0) return true;
  return false;
}

static status add_name(erase *e, const char *name) {
  if (!name || has_name(e, name)) return HDB_OK;
  if (e->names_n == e->names_capacity) {
    int capacity = e->names_capacity ? 2 * e->names_capacity : 8;
    const char **names = arena_alloc(&e->memory, (size_t)capacity * sizeof *names);
    if (!names) return sql_nomem(&e->db->err);
    if (e->names_n) memcpy(names, e->names, (size_t)e->names_n * sizeof *names);
    e->names = names, e->names_capacity = capacity;
  }
  e->names[e->names_n] = arena_strdup(&e->memory, name);
  return e->names[e->names_n++] ? HDB_OK : sql_nomem(&e->db->err);
}

/* A row of sqlite_schema at some time: the table's names, then the indexes of those names. */
static status see_schema(void *context, const row_version *v) {
  erase *e = context;
  const char *texts[4];
  int64_t root;
  if (schema_row_read(&e->memory, v->value, texts, &root) != HDB_OK || !texts[0])
    return HDB_OK; /* a branch's tombstone */
  if (strcmp(texts[0], "table") == 0 && root == e->t->tree) return add_name(e, texts[1]);
  if (strcmp(texts[0], "index") != 0 || root <= 0 || !has_name(e, texts[2])) return HDB_OK;
  if (!e->t->without_rowid)
    return add_rule(e, (erase_rule){.tree = (uint32_t)root, .rebuild = true, .kind = ERASE_LAST8});
  if (!has_tree(e, (uint32_t)root)) add_unknown(e, (uint32_t)root);
  return HDB_OK;
}

/* The schema's whole history on one branch, twice: an index may come before a name. */
static status see_branch(erase *e, uint32_t id) {
  txn *t;
  status rc = txn_new(e->d->engine, &t);
  if (rc == HDB_OK) rc = txn_set_branch(t, id);
  if (rc == HDB_OK) rc = txn_begin(t, TXN_READ, 0);
  int64_t now = rc == HDB_OK ? txn_view_time(t) : 0, oldest = engine_oldest(e->d->engine);
  for (int i = 0; i < 2 && rc == HDB_OK && oldest <= now; i++)
    rc = versions_between(t, TREE_SCHEMA, oldest, now, see_schema, e);
  if (t) txn_free(t);
  return rc == HDB_OK ? rc : error_set(&e->db->err, rc, "%s", status_text(rc));
}

typedef struct branch_ids {
  uint32_t list[4096];
  int n;
} branch_ids;
static status take_branch(void *context, const branch_info *b) {
  branch_ids *ids = context;
  if (ids->n == (int)(sizeof ids->list / sizeof *ids->list)) return HDB_FULL;
  ids->list[ids->n++] = b->id;
  return HDB_OK;
}

/* Every tree that has, or had, something of the table. */
static status find_trees(erase *e) {
  TRY(add_rule(e, (erase_rule){.tree = e->t->tree, .rebuild = e->t->without_rowid, .kind = ERASE_KEY}));
  TRY(add_indexes(e, e->t));
  TRY(add_name(e, e->t->name));
  branch_ids *ids = arena_zero(&e->memory, sizeof *ids);
  if (!ids) return sql_nomem(&e->db->err);
  status rc = branch_each(e->d->engine, take_branch, ids);
  if (rc != HDB_OK) return error_set(&e->db->err, rc, "%s", status_text(rc));
  for (int i = 0; i < ids->n; i++) TRY(see_branch(e, ids->list[i]));
  return HDB_OK;
}

/* ---- E3 ---- */

static status remember(erase *e) {
  buf b = BUF_INIT;
  buf_varint(&b, e->t->tree);
  for (size_t i = 0; i < e->keys.n; i++) {
    buf_varint(&b, e->keys.list[i].n);
    buf_append(&b, e->keys.list[i].p, e->keys.list[i].n);
  }
  status rc = buf_failed(&b) ? HDB_NOMEM : engine_setting_put(e->d->engine, "erase", buf_slice(&b));
  buf_free(&b);
  return rc == HDB_OK ? rc : error_set(&e->db->err, rc, "%s", status_text(rc));
}

static bool is_table(const schema *s, uint64_t tree) {
  for (int i = 0; i < s->tables_n; i++)
    if (s->in_order[i]->tree == tree) return true;
  return false;
}

/* What a crash cut short, if it was of this table: those of its keys that are gone now (the others' DELETE was lost). */
static status recall(erase *e, const schema *s) {
  buf b = BUF_INIT;
  uint64_t tree = 0, n;
  cursor *c = NULL;
  status rc = engine_setting_get(e->d->engine, "erase", &b);
  const uint8_t *p = b.p, *end = b.p + b.n;
  bool other = false;
  if (rc == HDB_OK) {
    p = varint_get(p, end, &tree);
    other = p && tree != e->t->tree && is_table(s, tree);
    if (p && tree == e->t->tree) rc = cursor_open(e->d->txn, e->t->tree, 0, &c);
    while (rc == HDB_OK && c && p && p < end) {
      p = varint_get(p, end, &n);
      if (!p || n > (uint64_t)(end - p)) break;
      if (!cursor_find(c, slice_of(p, n)))
        rc = c->error != HDB_OK ? c->error : erase_note(&e->keys, slice_of(p, n));
      p += n;
    }
    cursor_close(c);
  }
  buf_free(&b);
  if (other)
    return error_set(&e->db->err, HDB_ERROR,
                     "an ERASE of another table was cut short by a crash: repeat that one first");
  if (rc == HDB_NOTFOUND) rc = HDB_OK;
  return rc == HDB_OK ? rc : error_set(&e->db->err, rc, "%s", status_text(rc));
}

/* ---- the DELETE ---- */

/* The statement's text with DELETE in the place of ERASE: the same parameters, the same words. */
static status delete_text(erase *e, const hdb_stmt *s, buf *text) {
  const char *p = s->sql, *end = s->sql + s->sql_n;
  while (p < end) {
    if (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r' || *p == '\f' || *p == ';') {
      p++;
    } else if (p + 1 < end && p[0] == '-' && p[1] == '-') {
      while (p < end && *p != '\n') p++;
    } else if (p + 1 < end && p[0] == '/' && p[1] == '*') {
      for (p += 2; p + 1 < end && !(p[0] == '*' && p[1] == '/'); p++) {
      }
      p = p + 1 < end ? p + 2 : end;
    } else {
      break;
    }
  }
  if (end - p < 5 || strncasecmp(p, "erase", 5) != 0)
    return error_set(&e->db->err, HDB_ERROR, "not supported yet: this way to write ERASE");
  buf_text(text, "DELETE");
  buf_append(text, p + 5, (size_t)(end - p) - 5);
  return buf_failed(text) ? sql_nomem(&e->db->err) : HDB_OK;
}

static status run_delete(erase *e, const exec *x) {
  const hdb_stmt *outer = (const hdb_stmt *)((const char *)x - offsetof(hdb_stmt, exec));
  buf text = BUF_INIT;
  hdb_stmt *s = NULL;
  size_t tail;
  status rc = delete_text(e, outer, &text);
  if (rc == HDB_OK) rc = sql_statement_new(e->db, buf_slice(&text), &s, &tail);
  if (rc == HDB_OK) {
    for (int i = 0; i < x->parameters_n && i < s->program->tree->parameters; i++)
      s->parameters[i] = x->parameters[i];
    e->db->erasing = &e->keys;
    while ((rc = sql_statement_step(s)) == HDB_ROW) {
    }
    e->db->erasing = NULL;
    if (rc == HDB_DONE) rc = HDB_OK;
  }
  if (s) sql_statement_discard(s);
  buf_free(&text);
  return rc;
}

static void give_up(erase *e) {
  error kept = e->db->err;
  e->db->err = (error)ERROR_INIT;
  if (!e->db->autocommit) transaction_rollback(e->db);
  error_clear(&e->db->err);
  e->db->err = kept;
}

/* ---- the result ---- */

static status say(exec *x, const char *item, int64_t n, const char *note) {
  value row[COLUMNS] = {value_text(item, strlen(item)), n < 0 ? value_null() : value_int(n),
                        note ? value_text(note, strlen(note)) : value_null()};
  return rows_add(x, row, COLUMNS);
}

static status say_what_is_left(erase *e, exec *x, const erase_report *r, bool mirrored) {
  static const char not_reached[] = "not reached";
  TRY(say(
      x, not_reached, -1,
      "backups, checkpoints and copies made before, and blocks of deleted files that the disk still holds"));
  TRY(say(x, not_reached, -1,
          "other rows, tables and files that the values were copied to, heliosdb_conflicts and "
          "heliosdb_mirror_log"));
  if (r->views > 0)
    TRY(say(x, not_reached, r->views,
            "views from before that others hold: in the files until the database is closed"));
  if (e->unknown)
    TRY(say(x, not_reached, e->unknown,
            "indexes of a WITHOUT ROWID table that were dropped or are a branch's: until retention passes"));
  if (!mirrored) TRY(say(x, not_reached, -1, "the SQLite file, until it is written the next time"));
  return HDB_OK;
}

/* ---- all of it ---- */

static void let_go(database *d) {
  if (d->txn && txn_is_open(d->txn)) txn_rollback(d->txn);
}

/* The ordinary transaction; *deleted: by this DELETE. */
static status delete_rows(erase *e, exec *x, const schema *s, int64_t *deleted) {
  let_go(e->d);
  TRY(sql_run(e->db, "BEGIN IMMEDIATE"));
  status rc = database_begin(e->db, e->number);
  if (rc == HDB_OK) rc = recall(e, s);
  size_t recalled = e->keys.n;
  if (rc == HDB_OK) rc = run_delete(e, x);
  *deleted = (int64_t)(e->keys.n - recalled);
  if (rc == HDB_OK && e->keys.n) rc = remember(e);
  if (rc == HDB_OK) rc = sql_run(e->db, "COMMIT");
  if (rc != HDB_OK) give_up(e);
  let_go(e->d);
  return rc;
}

static status erase_rows(erase *e, exec *x, const schema *s) {
  int64_t deleted;
  erase_report r = {0};
  bool mirrored = true;
  TRY(delete_rows(e, x, s, &deleted));
  if (e->keys.n) {
    TRY(find_trees(e));
    qsort(e->keys.list, e->keys.n, sizeof *e->keys.list, by_bytes);
    status rc = engine_erase_rows(e->d->txn, e->keys.list, e->keys.n, e->rules, (size_t)e->rules_n,
                                  e->db->busy_timeout_ms, &r);
    int64_t newest = engine_newest(e->d->engine);
    if (rc == HDB_OK)
      rc = engine_setting_put(e->d->engine, "mirror.erased", slice_of(&newest, sizeof newest));
    if (rc != HDB_OK) return error_set(&e->db->err, rc, "%s", status_text(rc));
    mirrored = mirror_checkpoint(e->db, e->number) == HDB_OK;
    error_clear(&e->db->err);
  }
  e->db->changes = deleted;
  TRY(say(x, "rows", deleted, NULL));
  TRY(say(x, "versions", r.versions, NULL));
  TRY(say(x, "feed entries", r.feed_keys, NULL));
  return say_what_is_left(e, x, &r, mirrored);
}

static status erase_start(exec *x) {
  const erase_call *call = x->program->data;
  hdb *db = x->db;
  schema *s;
  if (!db->autocommit) return error_set(x->err, HDB_ERROR, "cannot erase within a transaction");
  if (atomic_load(&db->active) > 1 || db->blobs || db->backups)
    return error_set(x->err, HDB_BUSY, "cannot erase - SQL statements in progress");
  erase *e = calloc(1, sizeof *e);
  if (!e) return sql_nomem(x->err);
  e->db = db, e->number = call->database, e->d = &db->databases[call->database];
  status rc = catalog_schema(db, call->database, &s);
  if (rc == HDB_OK) {
    e->t = schema_table(s, call->table);
    if (!e->t || e->t->kind != TABLE_ORDINARY)
      rc = error_set(x->err, HDB_SCHEMA, "database schema has changed");
  }
  if (rc == HDB_OK) {
    s->references++; /* the DELETE may bring another */
    rc = erase_rows(e, x, s);
    schema_release(s);
  }
  arena_clear(&e->keys.memory);
  arena_clear(&e->memory);
  free(e->keys.list);
  free(e);
  return rc;
}

status compile_erase(compile *c, statement *s) {
  static const char *const names[COLUMNS] = {"item", "count", "note"};
  dml_target target;
  erase_call *call = arena_zero(c->memory, sizeof *call);
  bool ignore;
  if (!call) return sql_nomem(c->err);
  TRY(dml_find_target(c, &s->erase->table, ST_DELETE, NULL, &target));
  if (target.t->kind != TABLE_ORDINARY)
    return error_set(c->err, HDB_ERROR, "cannot erase from %s because it is not an ordinary table",
                     target.t->name);
  TRY(compile_authorize(c, HDB_DELETE, target.t->name, NULL, target.database, &ignore));
  call->database = target.database;
  call->table = arena_strdup(c->memory, target.t->name);
  if (!call->table) return sql_nomem(c->err);
  TRY(rows_program(c, erase_start, call, names, COLUMNS));
  c->program->needs_no_transaction = true;
  return HDB_OK;
}
