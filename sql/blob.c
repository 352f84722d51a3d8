/* Incremental blobs: a handle on one value of one row.
 *
 * B1  The handle keeps the row's record as it last saw it. Every read and write looks the row up; when anything but
 *     the value's own bytes has changed, the handle is spent: HDB_ABORT from then on, as in SQLite.
 * B2  A write keeps the value's length. Outside of a transaction each write is committed by itself.
 * Costs: a read or write is one point read of the row (and one put).
 */
#include <stdlib.h>

#include "kv/base/key.h"
#include "sql/ddl.h"
#include "sql/replay.h"

struct hdb_blob {
  hdb *db;
  hdb_blob *next;
  int database;
  uint32_t tree;
  int stored;         /* the column's place in the record */
  int64_t rowid;
  bool writable, spent;
  buf record;         /* B1 */
  size_t at, bytes;   /* the value in it */
};

static status fail(hdb *db, status rc) { return rc == HDB_OK ? rc : error_set(&db->err, rc, "%s", status_text(rc)); }

/* Where the value lies in a checked record; false: it is neither text nor blob. */
static bool locate(slice record, int stored, size_t *at, size_t *bytes, uint8_t *type) {
  slice payload;
  *type = REC_NULL;
  if (!record_column(record, (uint32_t)stored, type, &payload)) return false;
  if (!record_is_text(*type) && !record_is_blob(*type)) return false;
  slice value = record_get_bytes(*type, payload.p);
  *at = (size_t)(value.p - record.p);
  *bytes = value.n;
  return true;
}

static status read_row(hdb_blob *b, buf *out, bool *found) {
  cursor *c;
  uint8_t key[8];
  TRY(database_begin(b->db, b->database));
  TRY(fail(b->db, cursor_open(b->db->databases[b->database].txn, b->tree, 0, &c)));
  rowid_encode(key, b->rowid);
  *found = cursor_find(c, slice_of(key, 8));
  status rc = c->error;
  buf_clear(out);
  if (*found) {
    rc = record_check(c->value);
    if (rc == HDB_OK) buf_append(out, c->value.p, c->value.n);
  }
  cursor_close(c);
  return buf_failed(out) ? sql_nomem(&b->db->err) : fail(b->db, rc);
}

static status position(hdb_blob *b) {
  bool found;
  uint8_t type;
  b->spent = true;
  TRY(read_row(b, &b->record, &found));
  if (!found) return error_set(&b->db->err, HDB_ERROR, "no such rowid: %lld", (long long)b->rowid);
  if (!locate(buf_slice(&b->record), b->stored, &b->at, &b->bytes, &type)) {
    const char *name = type == REC_NULL ? "null" : record_is_real(type) ? "real" : "integer";
    return error_set(&b->db->err, HDB_ERROR, "cannot open value of type %s", name);
  }
  b->spent = false;
  return HDB_OK;
}

static status check_writable(hdb *db, const table *t, int column) {
  for (const foreign_key *k = db->pragmas.foreign_keys ? t->foreign_keys : NULL; k; k = k->next)
    for (int i = 0; i < k->n; i++)
      if (k->child_columns[i] == column) return error_set(&db->err, HDB_ERROR, "cannot open foreign key column for writing");
  for (const index_ *i = t->indexes; i; i = i->next)
    for (int k = 0; k < i->key_columns_n; k++)
      if (i->columns[k].column == column || i->columns[k].column == -2)
        return error_set(&db->err, HDB_ERROR, "cannot open indexed column for writing");
  return HDB_OK;
}

static status blob_open(hdb *db, const char *schema, const char *table_name, const char *column_name, int64_t rowid,
                        bool writable, hdb_blob *b) {
  table *t = catalog_table(db, schema, table_name, &b->database);
  if (t && t->kind == TABLE_VIRTUAL) return error_set(&db->err, HDB_ERROR, "cannot open virtual table: %s", table_name);
  if (t && t->kind == TABLE_VIEW) return error_set(&db->err, HDB_ERROR, "cannot open view: %s", table_name);
  if (t && t->without_rowid) return error_set(&db->err, HDB_ERROR, "cannot open table without rowid: %s", table_name);
  if (!t) return error_set(&db->err, HDB_ERROR, "no such table: %s%s%s", schema ? schema : "", schema ? "." : "", table_name);
  int k = table_column(t, column_name);
  if (k < 0) return error_set(&db->err, HDB_ERROR, "no such column: \"%s\"", column_name);
  if (writable) {
    TRY(check_writable(db, t, k));
    if (db->databases[b->database].read_only || db->pragmas.query_only)
      return error_set(&db->err, HDB_READONLY, "attempt to write a readonly database");
  }
  b->tree = t->tree;
  b->stored = t->columns[k].stored;
  b->rowid = rowid;
  b->writable = writable;
  if (b->stored < 0) return error_set(&db->err, HDB_ERROR, "cannot open value of type null");
  return position(b);
}

int hdb_blob_open(hdb *db, const char *schema, const char *table_name, const char *column, int64_t rowid, int writable,
                  hdb_blob **out) {
  *out = NULL;
  if (!db || !table_name || !column) return HDB_MISUSE;
  hdb_lock(db);
  hdb_blob *b = calloc(1, sizeof *b);
  status rc = b ? HDB_OK : sql_nomem(&db->err);
  if (b) {
    b->db = db;
    rc = blob_open(db, schema, table_name, column, rowid, writable != 0, b);
  }
  transaction_release(db);
  if (rc == HDB_OK) {
    b->next = db->blobs;
    db->blobs = b;
    *out = b;
  } else if (b) {
    buf_free(&b->record);
    free(b);
  }
  int code = hdb_result(db, rc);
  hdb_unlock(db);
  return code;
}

int hdb_blob_close(hdb_blob *b) {
  if (!b) return HDB_OK;
  hdb *db = b->db;
  hdb_lock(db);
  hdb_blob **at = &db->blobs;
  while (*at != b) at = &(*at)->next;
  *at = b->next;
  buf_free(&b->record);
  free(b);
  int code = hdb_result(db, HDB_OK);
  hdb_free_if_zombie(db);
  return code;
}

int hdb_blob_bytes(hdb_blob *b) { return b && !b->spent ? (int)b->bytes : 0; }

/* B1: is the row still the one we know, but for the value's bytes? Takes those over. */
static status refresh(hdb_blob *b) {
  buf now = BUF_INIT;
  bool found;
  status rc = read_row(b, &now, &found);
  if (rc == HDB_OK) {
    size_t behind = b->at + b->bytes;
    bool same = found && now.n == b->record.n && memcmp(now.p, b->record.p, b->at) == 0 &&
                memcmp(now.p + behind, b->record.p + behind, now.n - behind) == 0;
    if (same && b->bytes) memcpy(b->record.p + b->at, now.p + b->at, b->bytes);
    b->spent = b->spent || !same;
    if (b->spent) rc = error_set(&b->db->err, HDB_ABORT, "query aborted");
  }
  buf_free(&now);
  return rc;
}

static status put_row(hdb_blob *b) {
  uint8_t key[8];
  rowid_encode(key, b->rowid);
  TRY(fail(b->db, txn_put(b->db->databases[b->database].txn, b->tree, slice_of(key, 8), buf_slice(&b->record), PUT_UPDATE)));
  if (!b->db->autocommit) replay_refuse(b->db);
  if (!b->db->autocommit || b->db->writers > 0) return HDB_OK;
  status rc = transaction_commit(b->db);
  if (rc != HDB_OK) transaction_rollback(b->db);
  return rc;
}

static int access_bytes(hdb_blob *b, void *p, int bytes, int offset, bool write) {
  if (!b) return HDB_MISUSE;
  hdb *db = b->db;
  status rc = HDB_OK;
  hdb_lock(db);
  if (bytes < 0 || offset < 0 || (int64_t)offset + bytes > (int64_t)b->bytes) {
    rc = error_set(&db->err, HDB_ERROR, "SQL logic error");
  } else if (b->spent) {
    rc = error_set(&db->err, HDB_ABORT, "query aborted");
  } else if (write && !b->writable) {
    rc = error_set(&db->err, HDB_READONLY, "attempt to write a readonly database");
  } else if ((rc = refresh(b)) == HDB_OK && bytes) {
    uint8_t *at = b->record.p + b->at + offset;
    memcpy(write ? (void *)at : p, write ? p : (void *)at, (size_t)bytes);
    if (write) rc = put_row(b);
  }
  transaction_release(db);
  int code = hdb_result(db, rc);
  hdb_unlock(db);
  return code;
}

int hdb_blob_read(hdb_blob *b, void *p, int bytes, int offset) { return access_bytes(b, p, bytes, offset, false); }
int hdb_blob_write(hdb_blob *b, const void *p, int bytes, int offset) { return access_bytes(b, (void *)p, bytes, offset, true); }

int hdb_blob_reopen(hdb_blob *b, int64_t rowid) {
  if (!b) return HDB_MISUSE;
  hdb_lock(b->db);
  b->rowid = rowid;
  status rc = position(b);
  transaction_release(b->db);
  int code = hdb_result(b->db, rc);
  hdb_unlock(b->db);
  return code;
}
