/* Settings that live in the database: one row of TREE_SETTINGS each, key = the name, value = a record of one column.
 * They are rows like others, so they are transactional, have a past, and belong to a branch. */
#include "sql/internal.h"

status database_get_number(hdb *db, int number, const char *name, int64_t otherwise, int64_t *out) {
  cursor *c = NULL;
  *out = otherwise;
  status rc = cursor_open(db->databases[number].txn, TREE_SETTINGS, 0, &c);
  if (rc != HDB_OK) return error_set(&db->err, rc, "%s", status_text(rc));
  uint8_t type;
  slice payload;
  if (cursor_find(c, slice_str(name))) {
    rc = record_check(c->value);
    if (rc == HDB_OK && record_column(c->value, 0, &type, &payload)) {
      value v = value_read(type, payload.p, payload.n);
      *out = value_to_int(&v);
    }
  } else {
    rc = c->error;
  }
  cursor_close(c);
  return rc == HDB_OK ? HDB_OK : error_set(&db->err, rc, "%s", status_text(rc));
}

status database_set_number(hdb *db, int number, const char *name, int64_t v) {
  record_writer w = {0};
  record_begin(&w);
  record_int(&w, v);
  slice record = record_end(&w);
  status rc = record.p ? txn_put(db->databases[number].txn, TREE_SETTINGS, slice_str(name), record, PUT_UPSERT) : HDB_NOMEM;
  record_writer_free(&w);
  return rc == HDB_OK ? HDB_OK : error_set(&db->err, rc, "%s", status_text(rc));
}
