/* Changing tables: the one place where a row goes in, changes or goes out, with everything that hangs on it. */
#ifndef HDB_SQL_WRITE_H
#define HDB_SQL_WRITE_H

#include "sql/plan.h"

/* INSERT, UPDATE, DELETE as programs (insert.c, update.c, delete.c). c->program is filled. */
status compile_insert(compile *c, insert_statement *s);
status compile_update(compile *c, update_statement *s);
status compile_delete(compile *c, delete_statement *s);

/* The writer of one table, compiled into a statement: dml.h. */
typedef struct writer writer;
enum writer_use { WRITER_INSERT = 1, WRITER_UPDATE = 2, WRITER_DELETE = 4 };

/* SQLite's order of a table's indexes: newest first, those of ON CONFLICT REPLACE last. */
bool index_comes_before(const index_ *a, const index_ *b);

/* Plain entry points for DDL, import and sqlite_schema itself: no triggers, no checks beyond uniqueness. */
status table_put_row(hdb *db, int database, const table *t, int64_t rowid, const value *values);
status table_put_rising(hdb *db, int database, const table *t, int64_t rowid, const value *values, value_rises rises); /* mvcc.h */
status table_delete_row(hdb *db, int database, const table *t, int64_t rowid);
/* Fills a new index from its table (CREATE INDEX, REINDEX): sorts, bulk-loads; UNIQUE violation as SQLite words it. */
status index_build(exec *x, int database, index_ *i);
/* Encodes an index entry for a row in a slot; appends to key, value. *included false: partial index, row not in it. */
struct index_encoder;
/* Deferred foreign keys still violated? (COMMIT, RELEASE of the outermost): "FOREIGN KEY constraint failed" */
status foreign_key_check_commit(hdb *db);

#endif
