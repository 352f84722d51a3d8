/* What the files of builtin functions share: results, texts of arguments, limits, UTF-8. Private to sql/func_*.c.
 *
 * F1  Arguments are not NUL-terminated. Where SQLite reads a C string (length, LIKE, substr, printf, quote ...) the
 *     text ends at its first NUL: text_until_nul. Where it takes the byte count (upper, replace, instr ...) it does not.
 * F2  Every result longer than HDB_LIMIT_LENGTH is "string or blob too big"; sizes are computed in 64 bits first.
 */
#ifndef HDB_SQL_FUNC_H
#define HDB_SQL_FUNC_H

#include "sql/function.h"
#include "sql/number.h"
#include "sql/utf8.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* The connection's limit; SQLite's default when there is no connection. */
int64_t function_limit(const function_call *call, int id);
status function_nomem(function_call *call);
status function_too_big(function_call *call);

/* Room for n bytes (and a NUL behind them) in the row memory; NULL: out of memory, or too big (error set). */
char *function_room(function_call *call, int64_t n);
/* Result of n bytes copied; of a buffer's bytes, which it frees. */
status function_result_text(function_call *call, const void *p, size_t n, value *result);
status function_result_buf(function_call *call, buf *b, uint8_t type, value *result);

/* The text of an argument: p NULL for NULL; a blob's bytes as they are. */
static inline status function_text(function_call *call, const value *v, slice *out) {
  if (v->type == VAL_TEXT || v->type == VAL_BLOB) {
    *out = slice_of(v->n ? v->p : "", v->n);
    return HDB_OK;
  }
  if (v->type == VAL_NULL) {
    *out = slice_of(NULL, 0);
    return HDB_OK;
  }
  return value_to_text(v, call->memory, out) == HDB_OK ? HDB_OK : function_nomem(call);
}
static inline slice text_until_nul(slice s) {
  const uint8_t *nul = s.n ? memchr(s.p, 0, s.n) : NULL;
  return nul ? slice_of(s.p, (size_t)(nul - s.p)) : s;
}
/* sqlite3_value_int: the low 32 bits. */
static inline int32_t value_to_int32(const value *v) { return (int32_t)(uint32_t)(uint64_t)value_to_int(v); }
/* The argument as a number when it is one or a text that is one; else it stays what it is. */
value function_numeric(const value *v);

/* The compile-time options that we answer as SQLite would ("ENABLE_FTS5", "MAX_COLUMN=2000"). */
extern const char *const compile_options[];
extern const int compile_options_n;

#endif
