/* Backup between our connections; serialize and deserialize.
 *
 * K1  Pages are a measure only: a step counts them down, the step that reaches none copies the whole source, as it is
 *     then, in one transaction of the destination. A source that changed in between starts the count anew.
 * K2  The destination gets trees of its own; schema rows keep their order and texts.
 * Costs: one pass over every tree, rows as they are stored.
 */
#include <stdlib.h>

#include "kv/base/key.h"
#include "sql/ddl.h"
#include "sql/mirror.h"

struct hdb_backup {
  hdb *to, *from;
  int to_database, from_database;
  int64_t remaining, total, seen;
  bool started, done;
  status rc;
};

static status fail(hdb *db, status rc) { return rc == HDB_OK ? rc : error_set(&db->err, rc, "%s", status_text(rc)); }

/* ---- copying ---- */

static status copy_tree(txn *from, uint32_t from_tree, txn *to, uint32_t to_tree) {
  cursor *c;
  bulk *out;
  TRY(cursor_open(from, from_tree, 0, &c));
  status rc = bulk_open(to, to_tree, &out);
  if (rc == HDB_OK) {
    for (cursor_first(c); c->valid && rc == HDB_OK; cursor_next(c)) rc = bulk_add(out, c->key, c->value);
    if (rc == HDB_OK) rc = c->error;
    if (rc == HDB_OK) rc = bulk_finish(out);
    else bulk_abandon(out);
  }
  cursor_close(c);
  return rc;
}

static status visit_clear(void *context, const schema_object *o) {
  hdb_backup *b = context;
  txn *to = b->to->databases[b->to_database].txn;
  if (o->root > 0) TRY(fail(b->to, txn_clear(to, (uint32_t)o->root)));
  return schema_delete(b->to, b->to_database, o->rowid);
}

static status visit_copy(void *context, const schema_object *o) {
  hdb_backup *b = context;
  txn *to = b->to->databases[b->to_database].txn, *from = b->from->databases[b->from_database].txn;
  uint32_t tree = 0;
  if (o->root > 0) {
    TRY(fail(b->to, txn_new_tree(to, &tree)));
    TRY(fail(b->to, copy_tree(from, (uint32_t)o->root, to, tree)));
  }
  return schema_insert(b->to, b->to_database, o->type, o->name, o->tbl_name, tree, o->sql);
}

static status copy_settings(hdb_backup *b) {
  static const char *const names[] = {"user_version", "application_id", "encoding"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    int64_t v, now;
    TRY(database_get_number(b->from, b->from_database, names[i], i == 2, &v));
    TRY(database_get_number(b->to, b->to_database, names[i], i == 2, &now));
    if (v != now) TRY(database_set_number(b->to, b->to_database, names[i], v));
  }
  return HDB_OK;
}

static status copy_all(hdb_backup *b) {
  TRY(schema_each(b->to, b->to_database, visit_clear, b));
  if (b->from->databases[b->from_database].engine) {
    status rc = schema_each(b->from, b->from_database, visit_copy, b);
    if (rc != HDB_OK) return rc;
    TRY(copy_settings(b));
  }
  return schema_changed(b->to, b->to_database);
}

static status copy_database(hdb_backup *b) {
  database *to = &b->to->databases[b->to_database];
  if (to->read_only) return error_set(&b->to->err, HDB_READONLY, "attempt to write a readonly database");
  if (!b->to->autocommit) return error_set(&b->to->err, HDB_LOCKED, "database table is locked");
  if (to->engine && txn_is_open(to->txn)) return error_set(&b->to->err, HDB_LOCKED, "database table is locked");
  TRY(database_begin(b->to, b->to_database));
  if (b->from->databases[b->from_database].engine) {
    status rc = database_begin(b->from, b->from_database);
    if (rc != HDB_OK) {
      transaction_rollback(b->to);
      return error_set(&b->to->err, rc, "%s", status_text(rc));
    }
  }
  status rc = copy_all(b);
  if (rc == HDB_OK) rc = transaction_commit(b->to);
  if (rc != HDB_OK) {
    error kept = b->to->err;
    b->to->err = (error)ERROR_INIT;
    transaction_rollback(b->to);
    error_clear(&b->to->err);
    b->to->err = kept;
  }
  b->to->generation++;
  transaction_release(b->from);
  return rc;
}

/* ---- the interface ---- */

static int find_database(hdb *report, hdb *db, const char *name) {
  int number = catalog_database(db, name);
  if (number < 0) error_set(&report->err, HDB_ERROR, "unknown database %s", name);
  return number;
}

hdb_backup *hdb_backup_init(hdb *to, const char *to_schema, hdb *from, const char *from_schema) {
  hdb_backup *b = NULL;
  hdb_lock(from);
  hdb_lock(to);
  int source = -1, destination = -1;
  if (to == from) {
    error_set(&to->err, HDB_ERROR, "source and destination must be distinct");
  } else {
    source = find_database(to, from, from_schema);
    destination = source < 0 ? -1 : find_database(to, to, to_schema);
  }
  if (destination >= 0 && to->databases[destination].txn && txn_is_open(to->databases[destination].txn)) {
    error_set(&to->err, HDB_ERROR, "destination database is in use");
    destination = -1;
  }
  if (destination >= 0 && (b = calloc(1, sizeof *b))) {
    *b = (hdb_backup){.to = to, .from = from, .to_database = destination, .from_database = source};
    to->backups++;
    from->backups++;
    from->databases[source].backups++;
  }
  hdb_unlock(to);
  hdb_unlock(from);
  return b;
}

static int64_t source_state(const hdb_backup *b) {
  const database *d = &b->from->databases[b->from_database];
  return d->engine ? engine_newest(d->engine) : 0;
}

static status backup_step(hdb_backup *b, int pages) {
  if (!b->started || source_state(b) != b->seen) { /* K1 */
    b->seen = source_state(b);
    status rc = database_page_count(b->from, b->from_database, &b->total);
    transaction_release(b->from);
    if (rc != HDB_OK) return error_set(&b->to->err, rc, "%s", status_text(rc));
    b->remaining = b->total;
    b->started = true;
  }
  if (pages >= 0 && pages < b->remaining) {
    b->remaining -= pages;
    return HDB_OK;
  }
  TRY(copy_database(b));
  b->remaining = 0;
  b->done = true;
  return HDB_DONE;
}

int hdb_backup_step(hdb_backup *b, int pages) {
  if (!b) return HDB_MISUSE;
  hdb_lock(b->from);
  hdb_lock(b->to);
  status rc = b->done ? HDB_DONE : backup_step(b, pages);
  if (rc != HDB_OK && rc != HDB_DONE && rc != HDB_BUSY && rc != HDB_LOCKED) b->rc = rc;
  if (rc != HDB_OK && rc != HDB_DONE) hdb_result(b->to, rc);
  hdb_unlock(b->to);
  hdb_unlock(b->from);
  return (int)rc;
}

int hdb_backup_finish(hdb_backup *b) {
  if (!b) return HDB_OK;
  hdb *to = b->to, *from = b->from;
  hdb_lock(from);
  hdb_lock(to);
  int code = hdb_result(to, b->rc);
  from->databases[b->from_database].backups--;
  from->backups--;
  to->backups--;
  free(b);
  hdb_free_if_zombie(to);
  hdb_free_if_zombie(from);
  return code;
}

int hdb_backup_remaining(hdb_backup *b) { return (int)b->remaining; }
int hdb_backup_pagecount(hdb_backup *b) { return (int)b->total; }

unsigned char *hdb_serialize(hdb *db, const char *schema, int64_t *bytes) {
  unsigned char *out = NULL;
  int64_t n = 0;
  hdb_lock(db);
  int number = schema ? catalog_database(db, schema) : DB_MAIN;
  if (number < 0) {
    hdb_result(db, error_set(&db->err, HDB_ERROR, "unknown database %s", schema));
  } else {
    status rc = database_begin(db, number);
    if (rc == HDB_OK) rc = mirror_serialize(db, number, &out, &n);
    transaction_release(db);
    hdb_result(db, rc);
  }
  if (bytes) *bytes = n;
  hdb_unlock(db);
  return out;
}

/* The database becomes a private one in memory with that content, as in SQLite. */
static status deserialize(hdb *db, int number, const void *data, int64_t bytes) {
  database *d = &db->databases[number];
  if (number == DB_TEMP) return error_set(&db->err, HDB_ERROR, "SQL logic error");
  if (!db->autocommit || atomic_load(&db->active) > 0) return error_set(&db->err, HDB_ERROR, "cannot ATTACH database within transaction");
  if (d->backups > 0) return error_set(&db->err, HDB_BUSY, "database is locked");
  open_request request = {.path = (char *)"", .memory = true, .create = true};
  database_close(db, d);
  TRY(database_open(db, d, &request, NULL));
  db->generation++;
  return bytes ? mirror_deserialize(db, number, data, bytes) : HDB_OK;
}

int hdb_deserialize(hdb *db, const char *schema, const void *data, int64_t bytes) {
  hdb_lock(db);
  int number = schema ? catalog_database(db, schema) : DB_MAIN;
  status rc = number < 0 ? error_set(&db->err, HDB_ERROR, "unknown database %s", schema) : deserialize(db, number, data, bytes);
  transaction_release(db);
  int code = hdb_result(db, rc);
  hdb_unlock(db);
  return code;
}
