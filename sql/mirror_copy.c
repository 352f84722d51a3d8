/* Whole databases as SQLite files: serialize, VACUUM INTO, deserialize. */
#include <sqlite3.h>
#include <stdlib.h>
#include <unistd.h>

#include "sql/mirror_internal.h"
#include "sql/sealed.h"

static status fail(hdb *db, status rc) { return error_set(&db->err, rc, "%s", status_text(rc)); }

/* Our notes do not belong into a copy that is handed out. */
static status export_copy(hdb *db, int number, sqlite3 *to) {
  txn *t = db->databases[number].txn;
  bool opened = !txn_is_open(t);
  if (opened) {
    status rc = txn_begin(t, TXN_READ, 0);
    if (rc != HDB_OK) return fail(db, rc);
  }
  status rc = mirror_sqlite_error(db, to, sqlite3_exec(to, "BEGIN", NULL, NULL, NULL));
  if (rc == HDB_OK) rc = mirror_export(db, number, to, 0);
  if (opened) txn_rollback(t);
  if (rc == HDB_OK) rc = mirror_sqlite_error(db, to, sqlite3_exec(to, "DROP TABLE _heliosdb_objects; COMMIT", NULL, NULL, NULL));
  return rc;
}

status mirror_serialize(hdb *db, int number, unsigned char **out, int64_t *bytes) {
  sqlite3 *copy = NULL;
  sqlite3_int64 n = 0;
  *out = NULL, *bytes = 0;
  TRY(file_open(db, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 0, &copy));
  status rc = export_copy(db, number, copy);
  if (rc == HDB_OK) {
    unsigned char *p = sqlite3_serialize(copy, "main", &n, 0);
    *out = p ? malloc((size_t)n + 1) : NULL;
    if (*out) memcpy(*out, p, (size_t)n);
    else rc = fail(db, HDB_NOMEM);
    sqlite3_free(p);
    *bytes = n;
  }
  sqlite3_close(copy);
  return rc;
}

status mirror_deserialize(hdb *db, int number, const void *data, int64_t bytes) {
  sqlite3 *copy = NULL;
  file_facts facts;
  TRY(file_open(db, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 0, &copy));
  status rc = HDB_OK;
  unsigned char *p = sqlite3_malloc64((sqlite3_uint64)bytes + 1);
  if (!p) CHECK(fail(db, HDB_NOMEM));
  memcpy(p, data, (size_t)bytes);
  CHECK(mirror_sqlite_error(db, copy, sqlite3_deserialize(copy, "main", p, bytes, bytes, SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_READONLY)));
  CHECK(file_read(db, "", copy, &facts));
  rc = mirror_import(db, number, copy, NULL);
out:
  sqlite3_close(copy);
  return rc;
}

status mirror_write_file(hdb *db, int number, const char *path) {
  sqlite3 *file = NULL;
  struct stat st;
  if (stat(path, &st) == 0 && st.st_size > 0) return error_set(&db->err, HDB_ERROR, "output file already exists");
  if (db->databases[number].sealed) return sealed_copy(db, number, path);
  TRY(file_open(db, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 2000, &file));
  status rc = export_copy(db, number, file);
  sqlite3_close(file);
  if (rc != HDB_OK) unlink(path);
  return rc;
}
