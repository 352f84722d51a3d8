/* What a connection tells and what can be set on it: errors, counters, limits, callbacks.
 *
 * N1  hdb.err holds code, words and offset of the latest call; words are missing when they are the code's own text.
 */
#include <stdlib.h>
#include <strings.h>

#include "sql/internal.h"

int hdb_result(hdb *db, status rc) {
  if (rc == HDB_OK || rc == HDB_ROW || rc == HDB_DONE) {
    if (db->err.message || db->err.code != rc) {
      error_clear(&db->err);
      db->err.code = rc;
    }
  } else if (db->err.code != rc || !db->err.message) {
    error_set(&db->err, rc, "%s", status_text(rc));
  }
  return db->extended_codes ? (int)rc : (int)rc & 0xff;
}

int hdb_errcode(hdb *db) { return db ? (db->extended_codes ? (int)db->err.code : (int)db->err.code & 0xff) : HDB_NOMEM; }
int hdb_extended_errcode(hdb *db) { return db ? (int)db->err.code : HDB_NOMEM; }

int hdb_extended_result_codes(hdb *db, int on) {
  db->extended_codes = on != 0;
  return HDB_OK;
}

const char *hdb_errmsg(hdb *db) {
  if (!db) return status_text(HDB_NOMEM);
  return db->err.message ? db->err.message : status_text(db->err.code);
}

int hdb_error_offset(hdb *db) { return db && db->err.code != HDB_OK ? db->err.offset : -1; }

int hdb_busy_timeout(hdb *db, int milliseconds) {
  db->busy_timeout_ms = milliseconds > 0 ? milliseconds : 0;
  db->pragmas.busy_timeout = db->busy_timeout_ms;
  return HDB_OK;
}

int hdb_get_autocommit(hdb *db) {
  if (db->forks != engine_forks()) {
    hdb_lock(db);
    hdb_unlock(db);
  }
  return db->autocommit;
}
int64_t hdb_changes(hdb *db) { return db->changes; }
int64_t hdb_total_changes(hdb *db) { return db->total_changes; }
int64_t hdb_last_insert_rowid(hdb *db) { return db->last_insert_rowid; }
void hdb_set_last_insert_rowid(hdb *db, int64_t rowid) { db->last_insert_rowid = rowid; }
void hdb_interrupt(hdb *db) { atomic_store(&db->interrupted, true); }
int hdb_is_interrupted(hdb *db) { return atomic_load(&db->interrupted); }
int64_t hdb_last_commit_timestamp(hdb *db) { return db->last_commit; }

void hdb_conflict(hdb *db, const char **table, const char **key) {
  *table = db->conflict_table;
  *key = db->conflict_key;
}

int hdb_limit(hdb *db, int id, int value) {
  static const int hard[HDB_LIMITS] = {1000000000, 1000000000, 2000, 1000, 500, 250000000,
                                       127,        10,         50000, 250000, 1000, 8};
  if (id < 0 || id >= HDB_LIMITS) return -1;
  int former = db->limits[id];
  if (value < 0) return former;
  if (value > hard[id]) value = hard[id];
  if (id == HDB_LIMIT_LENGTH && value < 1) value = 1;
  db->limits[id] = value;
  return former;
}

const char *hdb_db_filename(hdb *db, const char *schema) {
  int number = schema ? catalog_database(db, schema) : DB_MAIN;
  return number < 0 ? NULL : db->databases[number].filename;
}

int hdb_db_readonly(hdb *db, const char *schema) {
  int number = schema ? catalog_database(db, schema) : DB_MAIN;
  return number < 0 ? -1 : db->databases[number].read_only;
}

hdb_stmt *hdb_next_stmt(hdb *db, hdb_stmt *after) { return after ? after->next : db->statements; }

/* SQLite's SQLITE_DBCONFIG_ numbers. */
static bool *config_flag(hdb *db, int option) {
  switch (option) {
  case 1002: return &db->pragmas.foreign_keys;
  case 1003: return &db->pragmas.enable_triggers;
  case 1010: return &db->pragmas.defensive;
  case 1011: return &db->pragmas.writable_schema;
  case 1012: return &db->pragmas.legacy_alter_table;
  case 1013: return &db->pragmas.dqs_dml;
  case 1014: return &db->pragmas.dqs_ddl;
  case 1015: return &db->pragmas.enable_views;
  case 1016: return &db->pragmas.legacy_file_format;
  case 1017: return &db->pragmas.trusted_schema;
  case 1004: return &db->config.fts3_tokenizer;
  case 1005: return &db->config.load_extension;
  case 1006: return &db->config.no_checkpoint_on_close;
  case 1007: return &db->config.enable_qpsg;
  case 1008: return &db->config.trigger_eqp;
  case 1009: return &db->config.reset_database;
  case 1018: return &db->config.stmt_scanstatus;
  case 1019: return &db->config.reverse_scanorder;
  default: return NULL;
  }
}

int hdb_db_config(hdb *db, int option, int value, int *now) {
  hdb_lock(db);
  bool *flag = config_flag(db, option);
  status rc = HDB_OK;
  if (!flag) {
    rc = HDB_ERROR;
  } else {
    if (value >= 0 && *flag != (value != 0)) {
      *flag = value != 0;
      db->generation++;
    }
    if (now) *now = *flag;
  }
  int code = hdb_result(db, rc);
  hdb_unlock(db);
  return code;
}

int hdb_table_column_metadata(hdb *db, const char *schema, const char *table_name, const char *column_name,
                              const char **type, const char **collation, int *not_null, int *primary_key,
                              int *autoincrement) {
  hdb_lock(db);
  int number = 0;
  status rc = HDB_OK;
  table *t = catalog_table(db, schema, table_name, &number);
  const column *c = NULL;
  bool is_rowid = false;
  if (t && t->kind == TABLE_VIEW) t = NULL;
  if (t && column_name) {
    int k = table_column(t, column_name);
    if (k < 0 && is_rowid_name(column_name) && !t->without_rowid) {
      k = t->rowid_column;
      is_rowid = k < 0;
    }
    if (k >= 0) c = &t->columns[k];
    if (!c && !is_rowid) t = NULL;
  }
  if (!t) {
    rc = column_name ? error_set(&db->err, HDB_ERROR, "no such table column: %s.%s", table_name, column_name)
                     : error_set(&db->err, HDB_ERROR, "no such table: %s", table_name);
  } else if (column_name) {
    if (type) *type = c ? (c->type[0] ? c->type : NULL) : "INTEGER";
    if (collation) *collation = c && c->collation ? c->collation : "BINARY";
    if (not_null) *not_null = c ? c->not_null != 0 : 0;
    if (primary_key) *primary_key = c ? c->primary_key : 1;
    if (autoincrement) *autoincrement = c && t->autoincrement && t->rowid_column == (int)(c - t->columns);
  }
  int code = hdb_result(db, rc);
  transaction_release(db);
  hdb_unlock(db);
  return code;
}

/* ---- callbacks ---- */

int hdb_set_authorizer(hdb *db, int (*authorize)(void *, int, const char *, const char *, const char *, const char *),
                       void *data) {
  hdb_lock(db);
  db->authorize = authorize;
  db->authorize_data = data;
  db->generation++;
  hdb_unlock(db);
  return HDB_OK;
}

void hdb_progress_handler(hdb *db, int steps, int (*progress)(void *), void *data) {
  hdb_lock(db);
  db->progress = steps > 0 ? progress : NULL;
  db->progress_steps = steps > 0 ? steps : 0;
  db->progress_data = data;
  hdb_unlock(db);
}

int hdb_trace_v2(hdb *db, unsigned mask, int (*trace)(unsigned, void *, void *p, void *x), void *data) {
  hdb_lock(db);
  db->trace_mask = trace ? mask : 0;
  db->trace = mask ? trace : NULL;
  db->trace_data = data;
  hdb_unlock(db);
  return HDB_OK;
}

void *hdb_commit_hook(hdb *db, int (*hook)(void *), void *data) {
  hdb_lock(db);
  void *former = db->commit_hook_data;
  db->commit_hook = hook;
  db->commit_hook_data = data;
  hdb_unlock(db);
  return former;
}

void *hdb_rollback_hook(hdb *db, void (*hook)(void *), void *data) {
  hdb_lock(db);
  void *former = db->rollback_hook_data;
  db->rollback_hook = hook;
  db->rollback_hook_data = data;
  hdb_unlock(db);
  return former;
}

void *hdb_update_hook(hdb *db, void (*hook)(void *, int, const char *, const char *, int64_t), void *data) {
  hdb_lock(db);
  void *former = db->update_hook_data;
  db->update_hook = hook;
  db->update_hook_data = data;
  hdb_unlock(db);
  return former;
}
