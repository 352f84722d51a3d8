/* Branches in SQL: CREATE, DROP, USE, SHOW, and which one a connection is on; heliosdb_branches.
 *
 * A connection's main database is on one branch; attached databases and TEMP are not branched. Switching drops what
 * was parsed and compiled for the branch before. The statements stand outside of transactions.
 * What can fail: no such branch, one of this name, one in use, a statement at work, a time that cannot be reached.
 */
#include <stdlib.h>
#include <strings.h>

#include "sql/branch.h"
#include "sql/replay.h"

static engine *engine_of(hdb *db) { return db->databases[DB_MAIN].engine; }

const char *hdb_branch(hdb *db) { return db->branch ? db->branch : "main"; }

status branch_named(hdb *db, const char *name, uint32_t *id) {
  status rc = branch_find(engine_of(db), name, id);
  if (rc == HDB_NOTFOUND) return error_set(&db->err, HDB_ERROR, "no such branch: %s", name);
  return rc == HDB_OK ? rc : error_set(&db->err, rc, "%s", status_text(rc));
}

static status outside_of_transactions(hdb *db, const char *what) {
  if (!db->autocommit) return error_set(&db->err, HDB_ERROR, "cannot %s within a transaction", what);
  return HDB_OK;
}

status branch_switch(hdb *db, const char *name) {
  database *d = &db->databases[DB_MAIN];
  uint32_t id;
  TRY(branch_named(db, name, &id));
  char *copy = strdup(name);
  if (!copy) return sql_nomem(&db->err);
  if (txn_is_open(d->txn)) txn_rollback(d->txn);
  replay_forget(db);
  for (hdb_stmt *s = db->statements; s; s = s->next)
    if (s->has_exec) exec_forget_database(&s->exec, DB_MAIN);
  schema_release(d->schema);
  d->schema = NULL;
  past_schemas_free(d);
  status rc = txn_set_branch(d->txn, id);
  db->generation++;
  if (rc != HDB_OK) {
    free(copy);
    return error_set(&db->err, rc == HDB_NOTFOUND ? HDB_ERROR : rc, "no such branch: %s", name);
  }
  free(db->branch);
  db->branch = copy;
  return HDB_OK;
}

/* `running`: statements that may be: the USE BRANCH itself. */
static status switch_checked(hdb *db, const char *name, int running) {
  TRY(outside_of_transactions(db, "change the branch"));
  if (atomic_load(&db->active) > running || db->blobs || db->backups)
    return error_set(&db->err, HDB_BUSY, "cannot change the branch - SQL statements in progress");
  return branch_switch(db, name);
}

int hdb_switch_branch(hdb *db, const char *name) {
  hdb_lock(db);
  int code = hdb_result(db, switch_checked(db, name, 0));
  hdb_unlock(db);
  return code;
}

/* ---- statements ---- */

typedef struct branch_call {
  const branch_statement *s;
  int time; /* place of AS OF's value */
  merge_options merge;
} branch_call;

static status create_start(exec *x) {
  const branch_call *k = x->program->data;
  hdb *db = x->db;
  uint32_t parent, id;
  int64_t time;
  const char *from = k->s->from ? k->s->from : hdb_branch(db);
  if (db->databases[DB_MAIN].read_only) return error_set(x->err, HDB_READONLY, "attempt to write a readonly database");
  if (!*k->s->name) return error_set(x->err, HDB_ERROR, "a branch needs a name");
  if (branch_find(engine_of(db), k->s->name, &id) == HDB_OK) {
    if (k->s->if_exists) return HDB_OK;
    return error_set(x->err, HDB_ERROR, "branch %s already exists", k->s->name);
  }
  TRY(branch_named(db, from, &parent));
  TRY(exec_time(x, k->time, &time));
  if (time) TRY(time_reachable(db, DB_MAIN, time, x->err));
  status rc = branch_create(engine_of(db), k->s->name, parent, time, &id);
  return rc == HDB_OK ? rc : error_set(x->err, rc, "%s", status_text(rc));
}

static status drop_start(exec *x) {
  const branch_call *k = x->program->data;
  hdb *db = x->db;
  TRY(outside_of_transactions(db, "drop a branch"));
  return branch_remove(db, k->s->name, k->s->if_exists);
}

status branch_remove(hdb *db, const char *name, bool if_exists) {
  uint32_t id;
  if (db->databases[DB_MAIN].read_only) return error_set(&db->err, HDB_READONLY, "attempt to write a readonly database");
  if (strcmp(name, "main") == 0) return error_set(&db->err, HDB_ERROR, "branch main cannot be dropped");
  if (if_exists && branch_find(engine_of(db), name, &id) == HDB_NOTFOUND) return HDB_OK;
  TRY(branch_named(db, name, &id));
  status rc = branch_drop(engine_of(db), id);
  if (rc == HDB_BUSY) return error_set(&db->err, HDB_ERROR, "branch %s is in use: a connection is on it, or it has branches", name);
  return rc == HDB_OK ? rc : error_set(&db->err, rc, "%s", status_text(rc));
}

static status use_start(exec *x) {
  const branch_call *k = x->program->data;
  return switch_checked(x->db, k->s->name, 1);
}

enum { SHOWN = 5 };
static const char *const shown_names[SHOWN] = {"name", "parent", "branch_point", "created_at", "current"};

static status branch_row(hdb *db, const branch_info *b, arena *memory, value *row) {
  char created[TIME_TEXT];
  time_text(b->created, created);
  row[0] = value_text(b->name, strlen(b->name));
  row[1] = b->id == BRANCH_MAIN ? value_null() : value_text(b->parent_name, strlen(b->parent_name));
  row[2] = b->id == BRANCH_MAIN ? value_null() : value_int(b->point);
  row[3] = value_null();
  value text = value_text(created, strlen(created));
  if (b->id != BRANCH_MAIN) TRY(value_copy(memory, &text, &row[3]));
  row[4] = value_int(strcmp(b->name, hdb_branch(db)) == 0);
  return HDB_OK;
}

static status show_row(void *context, const branch_info *b) {
  exec *x = context;
  value row[SHOWN];
  TRY(branch_row(x->db, b, &x->lifetime, row));
  return rows_add(x, row, SHOWN);
}

static status show_start(exec *x) { return branch_each(engine_of(x->db), show_row, x); }

static status merge_start(exec *x) {
  branch_call *k = x->program->data;
  merge_result r = {0};
  TRY(outside_of_transactions(x->db, "merge a branch"));
  if (atomic_load(&x->db->active) > 1 || x->db->blobs || x->db->backups)
    return error_set(x->err, HDB_BUSY, "cannot merge a branch - SQL statements in progress");
  TRY(branch_merge(x->db, k->s->name, k->s->from, &k->merge, &r));
  value row[4] = {value_int(r.inserted), value_int(r.updated), value_int(r.deleted), value_int(r.conflicts)};
  return rows_add(x, row, 4);
}

static bool option_text(const expr *e, const char **out) {
  if (!e || (e->op != EX_TEXT && e->op != EX_ID && e->op != EX_INT)) return false;
  *out = e->op == EX_INT ? (e->i ? "true" : "false") : e->text;
  return true;
}

static status option_flag(compile *c, const char *name, const char *text, bool *out) {
  *out = strcasecmp(text, "true") == 0 || strcasecmp(text, "on") == 0;
  if (*out || strcasecmp(text, "false") == 0 || strcasecmp(text, "off") == 0) return HDB_OK;
  return error_set(c->err, HDB_ERROR, "%s is true or false, not %s", name, text);
}

static status merge_option(compile *c, const struct expr_item *item, merge_options *o) {
  const char *text, *name = item->name ? item->name : "";
  if (!option_text(item->e, &text)) return error_set(c->err, HDB_ERROR, "MERGE BRANCH: %s needs a value", name);
  if (strcasecmp(name, "dry_run") == 0) return option_flag(c, name, text, &o->dry_run);
  if (strcasecmp(name, "delete_branch_after") == 0) return option_flag(c, name, text, &o->delete_after);
  if (strcasecmp(name, "conflict_resolution") != 0) return error_set(c->err, HDB_ERROR, "MERGE BRANCH: no such option: %s", name);
  if (strcasecmp(text, "fail") == 0) o->strategy = MERGE_FAIL;
  else if (strcasecmp(text, "branch_wins") == 0) o->strategy = MERGE_BRANCH_WINS;
  else if (strcasecmp(text, "target_wins") == 0) o->strategy = MERGE_TARGET_WINS;
  else return error_set(c->err, HDB_ERROR, "MERGE BRANCH: no such conflict_resolution: %s", text);
  return HDB_OK;
}

status compile_branch(compile *c, statement *s) {
  static const char *const merged_names[] = {"inserted", "updated", "deleted", "conflicts"};
  branch_call *k = arena_zero(c->memory, sizeof *k);
  if (!k) return sql_nomem(c->err);
  c->program->needs_no_transaction = true;
  c->program->read_only = s->kind == ST_SHOW_BRANCHES || s->kind == ST_USE_BRANCH;
  if (s->kind != ST_SHOW_BRANCHES) k->s = s->branch;
  switch (s->kind) {
  case ST_CREATE_BRANCH:
    if (k->s->time == TIME_TIMESTAMP || k->s->time == TIME_TRANSACTION || k->s->time == TIME_SCN)
      TRY(time_add_value(c, k->s->time, k->s->time_value, &k->time));
    return rows_program(c, create_start, k, NULL, 0);
  case ST_DROP_BRANCH: return rows_program(c, drop_start, k, NULL, 0);
  case ST_USE_BRANCH: return rows_program(c, use_start, k, NULL, 0);
  case ST_SHOW_BRANCHES: return rows_program(c, show_start, k, shown_names, SHOWN);
  default:
    for (int i = 0; k->s->options && i < k->s->options->n; i++) TRY(merge_option(c, &k->s->options->items[i], &k->merge));
    return rows_program(c, merge_start, k, merged_names, 4);
  }
}

/* ---- heliosdb_branches ---- */

static const virtual_column columns[] = {{"name", "TEXT", false}, {"parent", "TEXT", false}, {"branch_point", "INTEGER", false},
                                         {"created_at", "TEXT", false}, {"current", "INTEGER", false}};
typedef struct branches_cursor {
  exec *x;
  arena memory;
  value *rows;
  int n, capacity, at;
} branches_cursor;

static status branches_open(exec *x, const table *t, void **cursor) {
  (void)t;
  branches_cursor *k = calloc(1, sizeof *k);
  if (!k) return error_set(x->err, HDB_NOMEM, "out of memory");
  k->x = x;
  *cursor = k;
  return HDB_OK;
}

static status take_branch(void *context, const branch_info *b) {
  branches_cursor *k = context;
  if (k->n == k->capacity) {
    int capacity = k->capacity ? k->capacity * 2 : 16;
    value *rows = realloc(k->rows, (size_t)(capacity * SHOWN) * sizeof *rows);
    if (!rows) return HDB_NOMEM;
    k->rows = rows, k->capacity = capacity;
  }
  value row[SHOWN];
  TRY(branch_row(k->x->db, b, &k->memory, row));
  for (int i = 0; i < SHOWN; i++) TRY(value_copy(&k->memory, &row[i], &k->rows[k->n * SHOWN + i]));
  k->n++;
  return HDB_OK;
}

static status branches_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  branches_cursor *k = cursor;
  (void)number, (void)text, (void)given, (void)arguments, (void)n;
  k->n = k->at = 0;
  arena_clear(&k->memory);
  k->memory = (arena)ARENA_INIT;
  status rc = branch_each(engine_of(x->db), take_branch, k);
  return rc == HDB_OK ? rc : error_set(x->err, rc, "%s", status_text(rc));
}
static bool branches_at_end(void *cursor) { return ((branches_cursor *)cursor)->at >= ((branches_cursor *)cursor)->n; }
static status branches_next(exec *x, void *cursor) {
  (void)x;
  ((branches_cursor *)cursor)->at++;
  return HDB_OK;
}
static status branches_column(exec *x, void *cursor, int column, value *out) {
  const branches_cursor *k = cursor;
  (void)x;
  *out = k->rows[k->at * SHOWN + column];
  return HDB_OK;
}
static void branches_close(void *cursor) {
  branches_cursor *k = cursor;
  arena_clear(&k->memory);
  free(k->rows);
  free(k);
}

const virtual_module virtual_branches = {"heliosdb_branches", columns, SHOWN, NULL, branches_open, branches_filter, branches_at_end,
                                         branches_next, branches_column, NULL, branches_close};
