/* Result codes, and the one place an error message is written.
 *
 * The numbers are SQLite's result codes, so that Python's sqlite_errorcode, SQLite's texts and
 * PostgreSQL's SQLSTATE come from one table. A caller's mistake is a status; our own is an assert.
 *
 *   TRY(call)    nothing is held: return the status when it is not OK
 *   CHECK(call)  something is held: keep the status in `rc` and go to the one label `out:`
 */
#ifndef HDB_KV_BASE_STATUS_H
#define HDB_KV_BASE_STATUS_H

#include <stdarg.h>

typedef enum status {
  HDB_OK = 0,
  HDB_ERROR = 1,
  HDB_INTERNAL = 2,
  HDB_PERM = 3,
  HDB_ABORT = 4,
  HDB_BUSY = 5,
  HDB_LOCKED = 6,
  HDB_NOMEM = 7,
  HDB_READONLY = 8,
  HDB_INTERRUPT = 9,
  HDB_IOERR = 10,
  HDB_CORRUPT = 11,
  HDB_NOTFOUND = 12,
  HDB_FULL = 13,
  HDB_CANTOPEN = 14,
  HDB_PROTOCOL = 15,
  HDB_EMPTY = 16,
  HDB_SCHEMA = 17,
  HDB_TOOBIG = 18,
  HDB_CONSTRAINT = 19,
  HDB_MISMATCH = 20,
  HDB_MISUSE = 21,
  HDB_NOLFS = 22,
  HDB_AUTH = 23,
  HDB_FORMAT = 24,
  HDB_RANGE = 25,
  HDB_NOTADB = 26,
  HDB_NOTICE = 27,
  HDB_WARNING = 28,
  HDB_ROW = 100,
  HDB_DONE = 101,

  HDB_ERROR_MISSING_COLLSEQ = HDB_ERROR | (1 << 8),
  HDB_ERROR_SNAPSHOT = HDB_ERROR | (3 << 8),
  HDB_ABORT_ROLLBACK = HDB_ABORT | (2 << 8),
  HDB_BUSY_RECOVERY = HDB_BUSY | (1 << 8),
  HDB_BUSY_SNAPSHOT = HDB_BUSY | (2 << 8),
  HDB_BUSY_TIMEOUT = HDB_BUSY | (3 << 8),
  HDB_LOCKED_SHAREDCACHE = HDB_LOCKED | (1 << 8),
  HDB_READONLY_DIRECTORY = HDB_READONLY | (6 << 8),
  HDB_READONLY_DBMOVED = HDB_READONLY | (4 << 8),
  HDB_IOERR_READ = HDB_IOERR | (1 << 8),
  HDB_IOERR_SHORT_READ = HDB_IOERR | (2 << 8),
  HDB_IOERR_WRITE = HDB_IOERR | (3 << 8),
  HDB_IOERR_FSYNC = HDB_IOERR | (4 << 8),
  HDB_CORRUPT_INDEX = HDB_CORRUPT | (3 << 8),
  HDB_CANTOPEN_ISDIR = HDB_CANTOPEN | (2 << 8),
  HDB_CANTOPEN_FULLPATH = HDB_CANTOPEN | (3 << 8),
  HDB_CONSTRAINT_CHECK = HDB_CONSTRAINT | (1 << 8),
  HDB_CONSTRAINT_COMMITHOOK = HDB_CONSTRAINT | (2 << 8),
  HDB_CONSTRAINT_FOREIGNKEY = HDB_CONSTRAINT | (3 << 8),
  HDB_CONSTRAINT_FUNCTION = HDB_CONSTRAINT | (4 << 8),
  HDB_CONSTRAINT_NOTNULL = HDB_CONSTRAINT | (5 << 8),
  HDB_CONSTRAINT_PRIMARYKEY = HDB_CONSTRAINT | (6 << 8),
  HDB_CONSTRAINT_TRIGGER = HDB_CONSTRAINT | (7 << 8),
  HDB_CONSTRAINT_UNIQUE = HDB_CONSTRAINT | (8 << 8),
  HDB_CONSTRAINT_VTAB = HDB_CONSTRAINT | (9 << 8),
  HDB_CONSTRAINT_ROWID = HDB_CONSTRAINT | (10 << 8),
  HDB_CONSTRAINT_PINNED = HDB_CONSTRAINT | (11 << 8),
  HDB_CONSTRAINT_DATATYPE = HDB_CONSTRAINT | (12 << 8),
  HDB_AUTH_USER = HDB_AUTH | (1 << 8)
} status;

/* A failure with its words. `offset` is the byte offset in the SQL text, -1 where there is none.
 * The message is owned by the struct; error_clear frees it. Not thread-safe. */
typedef struct error {
  status code;
  int offset;
  char *message;
} error;

#define ERROR_INIT {HDB_OK, -1, 0}

/* Set code and message (printf-like), free the former message, return code. `e` may be NULL. */
status error_set(error *e, status code, const char *format, ...) __attribute__((format(printf, 3, 4)));
status error_setv(error *e, status code, const char *format, va_list arguments);
void error_clear(error *e);
/* SQLite's English text of a code ("SQL logic error", "database is locked", ...); static. */
const char *status_text(status code);

/* What the next HDB_BUSY on this thread is about: added by error_set to the bare text of the code, once. */
void status_explain(const char *format, ...) __attribute__((format(printf, 1, 2)));
void status_explain_nothing(void);

#define TRY(call)                                                                                                      \
  do {                                                                                                                 \
    status try_rc_ = (call);                                                                                           \
    if (try_rc_ != HDB_OK) return try_rc_;                                                                             \
  } while (0)
#define CHECK(call)                                                                                                    \
  do {                                                                                                                 \
    rc = (call);                                                                                                       \
    if (rc != HDB_OK) goto out;                                                                                        \
  } while (0)

#endif
