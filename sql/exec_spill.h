/* Rows that do not fit in memory: runs in an unlinked temporary file, written once, read once, in order.
 *
 * The file is encrypted under a key that lives in this process only (a database may be encrypted, its rows must not
 * lie in /tmp). It is made of chunks; a run begins at a chunk's start. Errors: HDB_IOERR_*, HDB_FULL, HDB_NOMEM.
 */
#ifndef HDB_SQL_EXEC_SPILL_H
#define HDB_SQL_EXEC_SPILL_H

#include "sql/exec_store.h"

enum { SPILL_CHUNK = 64 * 1024 };
typedef struct spill spill;
typedef struct spill_run {
  uint64_t chunk; /* its first */
  uint64_t bytes;
} spill_run;
typedef struct spill_reader spill_reader;

status spill_new(exec *x, spill **out);
void spill_free(spill *s);
void spill_begin(spill *s);
status spill_put(spill *s, const void *p, size_t n);
status spill_end(spill *s, spill_run *out);

status spill_open(spill *s, const spill_run *run, spill_reader **out);
uint64_t spill_left(const spill_reader *r);
status spill_get(spill_reader *r, void *p, size_t n); /* not beyond spill_left */
void spill_close(spill_reader *r);

#endif
