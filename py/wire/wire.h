/* wire.h: a connection and its statements behind a server, by calls over libpq (the commands are server/remote.c's).
 *
 * W1  Handles that leave this folder carry their lowest bit (py/backend.h); DB() and STMT() take it off.
 * W2  One call at a time: the caller holds the connection's turn. Only interrupt comes from other threads; it touches
 *     the atomics and, under `cancel_lock`, the cancel handle.
 * W3  Before a call waits, the caller's GIL is let go (leave).
 * W4  What a statement's finalize or a reader's reset leaves open on the server goes with the next call (`let_go`);
 *     the reset of a statement that writes is a call of its own, for it may end a transaction.
 * W5  A forked child never speaks on its parent's socket: it connects anew and prepares its statements anew.
 * W6  A connection whose server has gone stays an error, as psycopg's does: what it had set (pragmas, a branch, temporary
 *     tables, an open transaction) would be gone, and nobody would hear of it. Pools replace it (is_lost).
 */
#ifndef HDB_PY_WIRE_H
#define HDB_PY_WIRE_H

#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>

#include "kv/base/bytes.h"
#include "py/backend.h"

typedef struct wire_stmt wire_stmt;

typedef struct wire_db {
  PGconn *link;
  int pid;               /* whose socket it is */
  unsigned generation;   /* of the link; statements of an earlier one are prepared anew */
  char *words[14];       /* libpq's keywords and values, to connect anew; NULL-terminated lists */
  const char *keywords[15], *values[15];
  int busy_ms;
  buf let_go;            /* W4 */
  buf body;              /* the next call's argument */
  /* what the last answer said */
  bool autocommit, stale; /* stale: an error came since */
  int64_t changes, total_changes, last_rowid, last_commit;
  char *file, *branch;
  int limits[HDB_LIMITS];
  /* the last error */
  int code, offset;
  char *message, *table, *key;
  int statements;        /* that live; close waits for them when it must (close_v2) */
  bool zombie;
  int active;            /* statements between their first row and their end */
  atomic_bool interrupted, calling;
  pthread_mutex_t cancel_lock;
  PGcancel *cancel;
} wire_db;

typedef struct wire_column {
  int type;
  int64_t n, integer;
  double real;
  const uint8_t *p;
} wire_column;

struct wire_stmt {
  wire_db *db;
  uint32_t id;
  unsigned generation, flags, compiled;
  char *sql;
  bool readonly, dml;
  int parameters_n, columns_n;
  char **parameters;     /* names or NULL */
  char **names, **types; /* of the columns */
  buf *bound;            /* a value each, as it travels */
  bool changed;          /* bound since the last run */
  buf many;              /* sets that wait to be sent */
  uint32_t many_n;
  bool running, done, has_row;
  int failed;            /* the code of the step that failed, for reset */
  uint32_t batch_rows, rows_left;
  PGresult *batch;
  const uint8_t *at, *end;
  wire_column *row;
  char number[40];       /* column_blob of a number */
};

static inline wire_db *DB(hdb *db) { return (wire_db *)((uintptr_t)db & ~(uintptr_t)1); }
static inline wire_stmt *STMT(hdb_stmt *s) { return (wire_stmt *)((uintptr_t)s & ~(uintptr_t)1); }

#endif
