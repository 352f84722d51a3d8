/* app.db's side of a database: the SQLite file kept equal to main.
 *
 * hdb.c calls these for databases with a file: mirror_open after the engine is open (an import happens there),
 * mirror_close before it is closed, mirror_checkpoint for hdb_checkpoint and PRAGMA wal_checkpoint.
 */
#ifndef HDB_SQL_MIRROR_H
#define HDB_SQL_MIRROR_H

#include "sql/internal.h"

/* false: no mirror is built in; existing SQLite files are refused and app.db stays an empty file. */
extern const bool mirror_is_built_in;
status mirror_open(hdb *db, database *d, error *err);
void mirror_close(hdb *db, database *d);
status mirror_checkpoint(hdb *db, database *d, error *err);
/* Pages of app.db as last written (PRAGMA page_count, freelist_count, page_size). */
void mirror_pages(const database *d, int64_t *page_count, int64_t *freelist_count, int64_t *page_size);
/* The database as SQLite's bytes (free with hdb_free), and back. */
status mirror_serialize(hdb *db, int database, unsigned char **out, int64_t *bytes, error *err);
status mirror_deserialize(hdb *db, int database, const void *data, int64_t bytes, error *err);
/* VACUUM INTO: a fresh SQLite file with the database's content. */
status mirror_vacuum_into(hdb *db, int database, const char *file, error *err);

#endif
