/* app.db: the SQLite file beside the engine's directory. The truth is the directory; the file is derived from it,
 * and taken in when it is somebody else's. Only the files mirror*.c use libsqlite3.
 *
 * hdb.c calls mirror_open for every database with a file name (main and attached), mirror_close when it lets go.
 */
#ifndef HDB_SQL_MIRROR_H
#define HDB_SQL_MIRROR_H

#include "sql/internal.h"

/* Opens the database `path` (a file name as the user gave it, URI already taken apart) into db->databases[number]:
 * finds or makes the directory, opens the shared engine, makes the txn, takes in an SQLite file that is new to us,
 * and fills filename (absolute, symlinks resolved), engine, txn, mirror, read_only. flags: HDB_OPEN_READONLY,
 * _READWRITE, _CREATE. Read-only media, HDB_OPEN_READONLY and immutable read the file into a private engine.
 * HDB_CANTOPEN ("unable to open database file"), HDB_NOTADB ("file is not a database"), HDB_CORRUPT, HDB_READONLY,
 * HDB_FULL, HDB_IOERR: db->err says why, and the place in db->databases is untouched. */
status mirror_open(hdb *db, int number, const char *path, unsigned flags, bool immutable, const hdb_settings *settings);
/* Lets go of the database's txn, engine and file name; the last connection of the process first brings app.db up to
 * date. A file that cannot be written now (locked, full) is no error: the next open or checkpoint writes it. */
void mirror_close(hdb *db, int number);
/* Lets go of it without a look at app.db. */
void mirror_detach(hdb *db, int number);
/* sealed_rekey, under the lock that guards the files. */
struct crypt_secret;
status mirror_rekey(hdb *db, int number, const struct crypt_secret *secret);
/* Before the directory is exchanged (sealed_convert.c): nothing looks at the file any more; HDB_BUSY: other connections do.
 * Then: lets go of the database without a word to the file. */
status mirror_leave_alone(hdb *db, int number);
void mirror_detach(hdb *db, int number);
/* app.db equals main when this returns HDB_OK. No transaction may be open on the database. */
status mirror_checkpoint(hdb *db, int number);

/* Before a transaction begins: a file that a tool has changed is noticed here, at most once a second, and merged in.
 * d->mirror is not NULL. */
void mirror_look_when_due(hdb *db, int number);

/* For the operators' views. */
typedef struct mirror_facts {
  bool file;           /* there is one */
  bool off, current, foreign, kept_elsewhere;
  int64_t time;        /* the file equals main as of then */
  int64_t file_bytes, writes, cost_us;
  char trouble[160];   /* why the last try failed, "" */
} mirror_facts;
void mirror_tell(hdb *db, int number, mirror_facts *out);

/* The database as the bytes of an SQLite file (malloc'd), and back: its content replaces the database's. */
status mirror_serialize(hdb *db, int number, unsigned char **out, int64_t *bytes);
status mirror_deserialize(hdb *db, int number, const void *data, int64_t bytes);
/* VACUUM INTO: a new SQLite file. HDB_ERROR "output file already exists". */
status mirror_write_file(hdb *db, int number, const char *path);

/* ---- between mirror*.c ---- */
struct sqlite3;
/* Which file was taken in (mirror_sync.c, F4). */
typedef struct mirror_mark {
  int64_t stamp, signature;
  int turn_ms; /* how long to wait for the writer's turn */
} mirror_mark;
/* Everything in the SQLite database replaces what the database held; one transaction. mark: NULL for copies. */
status mirror_import(hdb *db, int number, struct sqlite3 *from, const mirror_mark *mark);
/* Writes what changed in (since, the newest commit] into the open SQLite database, as part of the caller's SQLite
 * transaction; since 0: everything. */
status mirror_export(hdb *db, int number, struct sqlite3 *to, int64_t since);
status mirror_sqlite_error(hdb *db, struct sqlite3 *from, int code);

#endif
