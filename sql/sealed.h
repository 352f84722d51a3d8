/* Encrypted databases: app.db is only a header that wraps the data key (kv/base/crypt.h), everything else lies sealed in
 * the directory. There is no mirror: mirror.c hands such a database over here before it looks at the file.
 */
#ifndef HDB_SQL_SEALED_H
#define HDB_SQL_SEALED_H

#include "kv/base/crypt.h"
#include "sql/internal.h"

/* Opens db->databases[number] when it is an encrypted database, or is to become one. *handled false: it is a plain one,
 * nothing was done. path: absolute, links resolved. settings NULL: an attached
 * database, which takes main's key when it is encrypted or new.
 * HDB_AUTH: a wrong key or none; HDB_ERROR: a key for a plain file, a foreign file in the header's place; or as mirror_open. */
status sealed_open(hdb *db, int number, const char *path, unsigned flags, bool immutable, const hdb_settings *settings, bool *handled);
/* The connection lets go of it. */
void sealed_close(database *d);
/* A copy under the same keys: header and directory (VACUUM INTO). */
status sealed_copy(hdb *db, int number, const char *path);

/* The same of a plain database; app.db beside it is written anew. */
status plain_copy(hdb *db, int number, const char *path);
/* Another key or passphrase for the same data: a new header. */
status sealed_rekey(hdb *db, int number, const crypt_secret *secret);
/* Encrypts (to given) or decrypts (to empty) the database in place; no other connection may have it. The connection has no
 * database afterwards and is good for being closed only. */
status sealed_convert(hdb *db, int number, const crypt_secret *to);

/* ---- between sealed*.c ---- */
static inline status sealed_fail(hdb *db, status rc) { return error_set(&db->err, rc, "%s", status_text(rc)); }
status sealed_io_status(void); /* of errno */
typedef struct sealed_names {
  char directory[4096], key[4112], fresh[4112], marker[4128]; /* dir, dir/KEY, dir.new, dir/CONVERTING */
} sealed_names;
bool sealed_names_of(const char *path, sealed_names *out); /* false: too long */
/* Ends a conversion that was cut short behind its turning point. */
status sealed_finish(hdb *db, const char *path, const sealed_names *names);
status sealed_write_file(const char *path, const void *p, size_t n); /* whole or not at all, lasting */
status sealed_sync_folder(const char *path);                        /* of the folder that holds path */
void sealed_remove(const char *directory);

#endif
