/* Encrypting and decrypting in place.
 *
 * The new directory is built beside the old one, whole and synced, with a marker in it (CONVERTING) as the last thing. Then
 * the two change places in one rename; from that moment the new one counts, and whoever opens the database next brings
 * the file beside it in line (sealed_finish) if we do not come to it. Before that moment nothing has changed.
 * The old directory is removed, its bytes are not overwritten: what a disk keeps of them is its own affair.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sql/mirror.h"
#include "sql/sealed.h"

static status sync_folder_itself(const char *directory) {
  char inside[4200];
  snprintf(inside, sizeof inside, "%s/x", directory);
  return sealed_sync_folder(inside);
}

/* What is told of a file that will not be there any more must not be in the copy. */
static status build(hdb *db, engine *from, const sealed_names *names, const crypt_secret *to) {
  uint8_t header[CRYPT_HEADER];
  char name[4200];
  crypt_key *key = NULL;
  engine *copy = NULL;
  status rc = HDB_OK;
  sealed_remove(names->fresh);
  if (crypt_secret_given(to)) {
    if (!(key = crypt_key_new())) return sealed_fail(db, HDB_NOMEM);
    CHECK(crypt_wrap(key, to, header));
  }
  CHECK(engine_copy_as(from, names->fresh, key));
  engine_options options = {.create = false, .retention = -1, .key = key};
  CHECK(engine_open(names->fresh, &options, &copy, NULL));
  rc = engine_settings_forget(copy, "mirror.");
  engine_close(copy);
  if (rc != HDB_OK) goto out;
  snprintf(name, sizeof name, "%s/KEY", names->fresh);
  if (key) CHECK(sealed_write_file(name, header, CRYPT_HEADER));
  CHECK(sync_folder_itself(names->fresh));
  snprintf(name, sizeof name, "%s/CONVERTING", names->fresh);
  CHECK(sealed_write_file(name, "", 0));
out:
  crypt_key_release(key);
  if (rc == HDB_OK) return rc;
  sealed_remove(names->fresh);
  return sealed_fail(db, rc);
}

/* The turning point. */
static status change_places(hdb *db, const sealed_names *names) {
  char old[4112];
  snprintf(old, sizeof old, "%s.old", names->directory);
  if (renameat2(AT_FDCWD, names->fresh, AT_FDCWD, names->directory, RENAME_EXCHANGE) != 0) {
    if (errno != EINVAL && errno != ENOSYS) return sealed_fail(db, sealed_io_status());
    sealed_remove(old);
    if (rename(names->directory, old) != 0 || rename(names->fresh, names->directory) != 0) return sealed_fail(db, sealed_io_status());
  }
  status rc = sealed_sync_folder(names->directory);
  return rc == HDB_OK ? rc : sealed_fail(db, rc);
}

status sealed_convert(hdb *db, int number, const crypt_secret *to) {
  database *d = &db->databases[number];
  sealed_names names;
  char *path = strdup(d->filename ? d->filename : "");
  status rc = HDB_OK;
  if (!path) return sealed_fail(db, HDB_NOMEM);
  if (!*path || d->is_memory || !sealed_names_of(path, &names)) CHECK(error_set(&db->err, HDB_ERROR, "only a database in a file can be converted"));
  if (d->read_only) CHECK(sealed_fail(db, HDB_READONLY));
  if (mirror_leave_alone(db, number) != HDB_OK || engine_references(d->engine) > 1 || !engine_is_owner(d->engine) || engine_clients(d->engine) > 0) CHECK(error_set(&db->err, HDB_BUSY, "database is locked: other connections have it open"));
  transaction_rollback(db);
  rc = engine_checkpoint(d->engine);
  if (rc != HDB_OK) CHECK(sealed_fail(db, rc));
  CHECK(build(db, d->engine, &names, to));
  database_let_go(db, d);
  mirror_detach(db, number);
  engine_close_lingering();
  CHECK(change_places(db, &names));
  rc = sealed_finish(db, path, &names);
out:
  free(path);
  return rc;
}

/* ---- a copy of a plain database ---- */

status plain_copy(hdb *db, int number, const char *path) {
  database *d = &db->databases[number];
  sealed_names names;
  struct stat st;
  engine *copy = NULL;
  hdb *opened = NULL;
  if (d->is_memory) return error_set(&db->err, HDB_ERROR, "only a database in a file can be copied so");
  if (!sealed_names_of(path, &names)) return sealed_fail(db, HDB_CANTOPEN);
  if (stat(path, &st) == 0 || stat(names.directory, &st) == 0) return error_set(&db->err, HDB_ERROR, "output file already exists");
  status rc = engine_is_owner(d->engine) ? engine_copy(d->engine, names.directory) : engine_copy_as(d->engine, names.directory, NULL);
  engine_options options = {.retention = -1};
  if (rc == HDB_OK) rc = engine_open(names.directory, &options, &copy, NULL);
  if (rc == HDB_OK) rc = engine_settings_forget(copy, "mirror.");
  engine_close(copy);
  if (rc == HDB_OK) rc = sealed_write_file(path, "", 0);
  if (rc == HDB_OK) rc = hdb_open(path, &opened, HDB_OPEN_READWRITE) == HDB_OK ? HDB_OK : HDB_CANTOPEN;
  if (rc == HDB_OK) rc = hdb_checkpoint(opened);
  hdb_close(opened);
  if (rc == HDB_OK) return rc;
  engine_close_lingering();
  sealed_remove(names.directory);
  unlink(path);
  return sealed_fail(db, rc);
}

/* ---- the C interface ---- */

int hdb_copy(hdb *db, const char *path) {
  hdb_lock(db);
  status rc;
  if (db->databases[DB_MAIN].sealed) rc = sealed_copy(db, DB_MAIN, path);
  else rc = plain_copy(db, DB_MAIN, path);
  int code = hdb_result(db, rc);
  hdb_unlock(db);
  return code;
}

int hdb_rekey(hdb *db, const void *key, const char *passphrase) {
  crypt_secret secret;
  hdb_lock(db);
  status rc = crypt_secret_set(&secret, key, passphrase) ? HDB_OK : sealed_fail(db, HDB_NOMEM);
  if (rc == HDB_OK) rc = sealed_rekey(db, DB_MAIN, &secret);
  crypt_secret_clear(&secret);
  int code = hdb_result(db, rc);
  hdb_unlock(db);
  return code;
}

int hdb_convert(hdb *db, const void *key, const char *passphrase) {
  crypt_secret secret;
  hdb_lock(db);
  status rc = crypt_secret_set(&secret, key, passphrase) ? HDB_OK : sealed_fail(db, HDB_NOMEM);
  if (rc == HDB_OK && (!db->autocommit || atomic_load(&db->active) > 0)) rc = error_set(&db->err, HDB_ERROR, "cannot convert the database from within a transaction");
  if (rc == HDB_OK) rc = sealed_convert(db, DB_MAIN, &secret);
  crypt_secret_clear(&secret);
  int code = hdb_result(db, rc);
  hdb_unlock(db);
  return code;
}

bool hdb_secret(hdb *db, unsigned char key[32], bool *has_key, const char **passphrase) {
  hdb_lock(db);
  *has_key = db->secret.has_key;
  if (*has_key) memcpy(key, db->secret.key, CRYPT_KEY);
  *passphrase = db->secret.passphrase;
  hdb_unlock(db);
  return *has_key || *passphrase;
}
