/* The log of an open transaction's statements, and running it again when the COMMIT meets a conflict (replay.c). */
#ifndef HDB_SQL_REPLAY_H
#define HDB_SQL_REPLAY_H

#include "kv/base/key.h"
#include "sql/internal.h"

/* Around a statement's run, in statement.c. */
void replay_before(hdb_stmt *s);
void replay_after(hdb_stmt *s, status code);
uint64_t replay_rows_hash(const exec *x, const program *p);
/* This transaction cannot be run again (a blob was written ...). */
void replay_refuse(hdb *db);
bool replay_is_running(const hdb *db);
typedef struct replay_position {
  size_t statements; /* bytes of the log */
  bool refused;
} replay_position;
replay_position replay_mark(const hdb *db);
void replay_cut(hdb *db, replay_position to);
void replay_clear(hdb *db);
void replay_forget(hdb *db); /* a database goes, or another branch comes: the programs that were kept */
void replay_free(hdb *db);
/* After a failed commit of an explicit transaction: HDB_OK when it was run again and committed; else the error. */
status replay_commit(hdb *db, status first);
/* statement.c */
status sql_statement_new(hdb *db, slice text, hdb_stmt **out, size_t *tail);
status sql_statement_step(hdb_stmt *s);
void sql_statement_discard(hdb_stmt *s);
void sql_statement_hide(hdb_stmt *s); /* out of the connection's list: it is ours to discard before its databases go */

#endif
