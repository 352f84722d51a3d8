/* Status texts and error messages.
 *
 * An error owns its message. When there is no memory for the message the code alone is kept: callers show
 * status_text(code) then, so a failure is never lost for want of its words.
 */
#include "kv/base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char explanation[160];

void status_explain(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(explanation, sizeof explanation, format, arguments);
  va_end(arguments);
}

void status_explain_nothing(void) { explanation[0] = 0; }

/* The bare text of HDB_BUSY with what it is about. */
static void explain(error *e) {
  if (e->code != HDB_BUSY || !e->message || strcmp(e->message, status_text(HDB_BUSY)) != 0) return;
  size_t n = strlen(e->message), more = strlen(explanation);
  char *text = realloc(e->message, n + more + 3);
  if (text) {
    memcpy(text + n, ": ", 2);
    memcpy(text + n + 2, explanation, more + 1);
    e->message = text;
  }
  explanation[0] = 0;
}

status error_setv(error *e, status code, const char *format, va_list arguments) {
  if (!e) return code;
  /* The arguments may point into the old message, so it is freed last. */
  char *old = e->message;
  va_list copy;
  va_copy(copy, arguments);
  int n = vsnprintf(NULL, 0, format, copy);
  va_end(copy);
  char *text = n < 0 ? NULL : malloc((size_t)n + 1);
  if (text) vsnprintf(text, (size_t)n + 1, format, arguments);
  free(old);
  e->message = text;
  e->code = code;
  e->offset = -1;
  if (explanation[0]) explain(e);
  return code;
}

status error_set(error *e, status code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  error_setv(e, code, format, arguments);
  va_end(arguments);
  return code;
}

void error_clear(error *e) {
  if (!e) return;
  free(e->message);
  e->message = NULL;
  e->code = HDB_OK;
  e->offset = -1;
}

static const char *const texts[] = {
    [HDB_OK] = "not an error",
    [HDB_ERROR] = "SQL logic error",
    [HDB_PERM] = "access permission denied",
    [HDB_ABORT] = "query aborted",
    [HDB_BUSY] = "database is locked",
    [HDB_LOCKED] = "database table is locked",
    [HDB_NOMEM] = "out of memory",
    [HDB_READONLY] = "attempt to write a readonly database",
    [HDB_INTERRUPT] = "interrupted",
    [HDB_IOERR] = "disk I/O error",
    [HDB_CORRUPT] = "database disk image is malformed",
    [HDB_NOTFOUND] = "unknown operation",
    [HDB_FULL] = "database or disk is full",
    [HDB_CANTOPEN] = "unable to open database file",
    [HDB_PROTOCOL] = "locking protocol",
    [HDB_SCHEMA] = "database schema has changed",
    [HDB_TOOBIG] = "string or blob too big",
    [HDB_CONSTRAINT] = "constraint failed",
    [HDB_MISMATCH] = "datatype mismatch",
    [HDB_MISUSE] = "bad parameter or other API misuse",
    [HDB_NOLFS] = "large file support is disabled",
    [HDB_AUTH] = "authorization denied",
    [HDB_RANGE] = "column index out of range",
    [HDB_NOTADB] = "file is not a database",
    [HDB_NOTICE] = "notification message",
    [HDB_WARNING] = "warning message",
};

const char *status_text(status code) {
  switch (code) {
  case HDB_ABORT_ROLLBACK: return "abort due to ROLLBACK";
  case HDB_ROW: return "another row available";
  case HDB_DONE: return "no more rows available";
  default: break;
  }
  unsigned primary = (unsigned)code & 0xff;
  if (primary < sizeof texts / sizeof texts[0] && texts[primary]) return texts[primary];
  return "unknown error";
}
