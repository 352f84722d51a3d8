/* Core scalar functions, as SQLite's "Built-In Scalar SQL Functions" page lists them (the text ones: func_text.c).
 *
 * coalesce, ifnull and iif are made lazy by the expression compiler; here they get their arguments ready.
 * What can fail: memory, length limits, "integer overflow" of abs(). Cost: a call and a few compares.
 */
#include "sql/func_text.h"
#include "sql/internal.h"
#include "kv/base/version.h"

#include <math.h>
#include <strings.h>

static status f_abs(function_call *call, int n, const value *a, value *result) {
  switch (a->type) {
  case VAL_NULL: *result = value_null(); return HDB_OK;
  case VAL_INTEGER:
    if (a->i == INT64_MIN) return error_set(call->err, HDB_ERROR, "integer overflow");
    *result = value_int(a->i < 0 ? -a->i : a->i);
    return HDB_OK;
  default: {
    double r = value_to_real(a);
    *result = value_real(r < 0 ? -r : r);
    return HDB_OK;
  }
  }
}

static status f_changes(function_call *call, int n, const value *a, value *result) {
  *result = value_int(call->db ? call->db->changes : 0);
  return HDB_OK;
}
static status f_total_changes(function_call *call, int n, const value *a, value *result) {
  *result = value_int(call->db ? call->db->total_changes : 0);
  return HDB_OK;
}
static status f_last_insert_rowid(function_call *call, int n, const value *a, value *result) {
  *result = value_int(call->db ? call->db->last_insert_rowid : 0);
  return HDB_OK;
}

static status f_coalesce(function_call *call, int n, const value *a, value *result) {
  int i = 0;
  while (i < n - 1 && a[i].type == VAL_NULL) i++;
  *result = a[i];
  return HDB_OK;
}
static status f_iif(function_call *call, int n, const value *a, value *result) {
  *result = value_truth(&a[0]) == 1 ? a[1] : a[2];
  return HDB_OK;
}
static status f_nullif(function_call *call, int n, const value *a, value *result) {
  *result = value_compare(&a[0], &a[1], call->collation) != 0 ? a[0] : value_null();
  return HDB_OK;
}
static status f_first(function_call *call, int n, const value *a, value *result) { /* likely, unlikely, likelihood */
  *result = a[0];
  return HDB_OK;
}

static status best(function_call *call, int n, const value *a, int sign, value *result) {
  *result = value_null();
  int chosen = 0;
  for (int i = 0; i < n; i++) {
    if (a[i].type == VAL_NULL) return HDB_OK;
    int c = i ? value_compare(&a[chosen], &a[i], call->collation) : 0;
    if (sign < 0 ? c >= 0 : c < 0) chosen = i; /* among equals min() takes the last, max() the first */
  }
  *result = a[chosen];
  return HDB_OK;
}
static status f_min(function_call *call, int n, const value *a, value *result) { return best(call, n, a, -1, result); }
static status f_max(function_call *call, int n, const value *a, value *result) { return best(call, n, a, 1, result); }

static status f_random(function_call *call, int n, const value *a, value *result) {
  int64_t r = (int64_t)function_random(call);
  *result = value_int(r < 0 ? -(r & INT64_MAX) : r); /* never INT64_MIN: abs(random()) must not fail */
  return HDB_OK;
}

static status f_randomblob(function_call *call, int n, const value *a, value *result) {
  int64_t size = value_to_int(a);
  if (size < 1) size = 1;
  char *p = function_room(call, size);
  if (!p) return call->err->code;
  for (int64_t i = 0; i < size; i += 8) {
    uint64_t r = function_random(call);
    memcpy(p + i, &r, size - i < 8 ? (size_t)(size - i) : 8);
  }
  *result = value_blob(p, (size_t)size);
  return HDB_OK;
}

static status f_zeroblob(function_call *call, int n, const value *a, value *result) {
  int64_t size = value_to_int(a);
  if (size < 0) size = 0;
  char *p = function_room(call, size);
  if (!p) return call->err->code;
  memset(p, 0, (size_t)size);
  *result = value_blob(p, (size_t)size);
  return HDB_OK;
}

static status f_round(function_call *call, int n, const value *a, value *result) {
  *result = value_null();
  int digits = 0;
  if (n == 2) {
    if (a[1].type == VAL_NULL) return HDB_OK;
    digits = value_to_int32(&a[1]);
    digits = digits > 30 ? 30 : digits < 0 ? 0 : digits;
  }
  if (a[0].type == VAL_NULL) return HDB_OK;
  double r = value_to_real(&a[0]);
  if (r >= -4503599627370496.0 && r <= 4503599627370496.0) { /* beyond 2^52 there is no fraction */
    if (digits == 0) {
      r = (double)(int64_t)(r + (r < 0 ? -0.5 : 0.5));
    } else {
      char text[80];
      r = text_to_real(text, real_to_fixed(r, digits, text));
    }
  }
  *result = value_real(r);
  return HDB_OK;
}

static status f_sign(function_call *call, int n, const value *a, value *result) {
  value v = function_numeric(a);
  *result = value_null();
  if (v.type == VAL_INTEGER) *result = value_int((v.i > 0) - (v.i < 0));
  else if (v.type == VAL_REAL) *result = value_int((v.r > 0) - (v.r < 0));
  return HDB_OK;
}

static status f_typeof(function_call *call, int n, const value *a, value *result) {
  static const char *const names[] = {"", "integer", "real", "text", "blob", "null"};
  *result = value_text(names[a->type], strlen(names[a->type]));
  return HDB_OK;
}

static status f_subtype(function_call *call, int n, const value *a, value *result) {
  *result = value_int(a->subtype);
  return HDB_OK;
}

/* ---- about the library ---- */

static status f_version(function_call *call, int n, const value *a, value *result) {
  *result = value_text(HDB_SQLITE_VERSION, strlen(HDB_SQLITE_VERSION));
  return HDB_OK;
}
static status f_source_id(function_call *call, int n, const value *a, value *result) {
  static const char id[] = "2024-01-15 17:01:13 1066602b2b1976fe58b5150777cced894af17c803e068f5918390d6915b46e1d";
  *result = value_text(id, sizeof id - 1);
  return HDB_OK;
}

const char *const compile_options[] = {
    "ATOMIC_INTRINSICS=1", "COMPILER=gcc-12.2.0", "DEFAULT_AUTOVACUUM", "DEFAULT_CACHE_SIZE=-2000",
    "DEFAULT_FILE_FORMAT=4", "DEFAULT_JOURNAL_SIZE_LIMIT=-1", "DEFAULT_MMAP_SIZE=0", "DEFAULT_PAGE_SIZE=4096",
    "DEFAULT_PCACHE_INITSZ=20", "DEFAULT_RECURSIVE_TRIGGERS", "DEFAULT_SECTOR_SIZE=4096", "DEFAULT_SYNCHRONOUS=2",
    "DEFAULT_WAL_AUTOCHECKPOINT=1000", "DEFAULT_WAL_SYNCHRONOUS=2", "DEFAULT_WORKER_THREADS=0",
    "ENABLE_COLUMN_METADATA", "ENABLE_DBSTAT_VTAB", "ENABLE_FTS3", "ENABLE_FTS3_PARENTHESIS", "ENABLE_FTS3_TOKENIZER",
    "ENABLE_FTS4", "ENABLE_FTS5", "ENABLE_LOAD_EXTENSION", "ENABLE_MATH_FUNCTIONS", "ENABLE_PREUPDATE_HOOK",
    "ENABLE_RTREE", "ENABLE_SESSION", "ENABLE_STMTVTAB", "ENABLE_UNLOCK_NOTIFY", "ENABLE_UPDATE_DELETE_LIMIT",
    "HAVE_ISNAN", "LIKE_DOESNT_MATCH_BLOBS", "MALLOC_SOFT_LIMIT=1024", "MAX_ATTACHED=10", "MAX_COLUMN=2000",
    "MAX_COMPOUND_SELECT=500", "MAX_DEFAULT_PAGE_SIZE=32768", "MAX_EXPR_DEPTH=1000", "MAX_FUNCTION_ARG=127",
    "MAX_LENGTH=1000000000", "MAX_LIKE_PATTERN_LENGTH=50000", "MAX_MMAP_SIZE=0x7fff0000", "MAX_PAGE_COUNT=1073741823",
    "MAX_PAGE_SIZE=65536", "MAX_SCHEMA_RETRY=25", "MAX_SQL_LENGTH=1000000000", "MAX_TRIGGER_DEPTH=1000",
    "MAX_VARIABLE_NUMBER=250000", "MAX_VDBE_OP=250000000", "MAX_WORKER_THREADS=8", "MUTEX_PTHREADS", "OMIT_LOOKASIDE",
    "SECURE_DELETE", "SOUNDEX", "SYSTEM_MALLOC", "TEMP_STORE=1", "THREADSAFE=1", "USE_URI"};
const int compile_options_n = COUNT(compile_options);

static status f_compileoption_get(function_call *call, int n, const value *a, value *result) {
  int32_t i = value_to_int32(a);
  *result = i >= 0 && i < compile_options_n ? value_text(compile_options[i], strlen(compile_options[i])) : value_null();
  return HDB_OK;
}

static status f_compileoption_used(function_call *call, int n, const value *a, value *result) {
  slice name;
  TRY(function_text(call, a, &name));
  *result = value_null();
  if (!name.p) return HDB_OK;
  name = text_until_nul(name);
  if (name.n >= 7 && strncasecmp((const char *)name.p, "SQLITE_", 7) == 0) name = slice_of(name.p + 7, name.n - 7);
  *result = value_int(0);
  for (int i = 0; i < compile_options_n; i++) {
    if (strncasecmp(compile_options[i], (const char *)name.p, name.n) != 0) continue;
    unsigned char next = (unsigned char)compile_options[i][name.n]; /* the whole word must be there */
    if (!ascii_alpha(next) && !ascii_digit(next) && next != '_') *result = value_int(1);
  }
  return HDB_OK;
}

static status f_load_extension(function_call *call, int n, const value *a, value *result) {
  return error_set(call->err, HDB_ERROR, "not authorized");
}
static status f_log(function_call *call, int n, const value *a, value *result) {
  *result = value_null();
  return HDB_OK;
}
static status f_match(function_call *call, int n, const value *a, value *result) {
  return error_set(call->err, HDB_ERROR, "unable to use function MATCH in the requested context");
}

enum { PURE = FUNC_DETERMINISTIC | FUNC_INNOCUOUS };
#define F(name, arguments, least, flags, function) {name, arguments, least, flags, .scalar = function}

static const function functions[] = {
    F("abs", 1, 1, PURE, f_abs),
    F("changes", 0, 0, FUNC_INNOCUOUS, f_changes),
    F("char", -1, 0, PURE, text_char),
    F("coalesce", -1, 2, PURE, f_coalesce),
    F("concat", -1, 1, PURE, text_concat),
    F("concat_ws", -1, 2, PURE, text_concat_ws),
    F("format", -1, 0, PURE, text_printf),
    F("glob", 2, 2, PURE, text_glob),
    F("hex", 1, 1, PURE, text_hex),
    F("ifnull", 2, 2, PURE, f_coalesce),
    F("iif", 3, 3, PURE, f_iif),
    F("instr", 2, 2, PURE, text_instr),
    F("last_insert_rowid", 0, 0, FUNC_INNOCUOUS, f_last_insert_rowid),
    F("length", 1, 1, PURE, text_length),
    F("like", 2, 2, PURE, text_like),
    F("like", 3, 3, PURE, text_like),
    F("likelihood", 2, 2, PURE, f_first),
    F("likely", 1, 1, PURE, f_first),
    F("load_extension", 1, 1, FUNC_DIRECTONLY, f_load_extension),
    F("load_extension", 2, 2, FUNC_DIRECTONLY, f_load_extension),
    F("lower", 1, 1, PURE, text_lower),
    F("ltrim", 1, 1, PURE, text_ltrim),
    F("ltrim", 2, 2, PURE, text_ltrim),
    F("match", 2, 2, 0, f_match),
    F("max", -1, 2, PURE | FUNC_NEEDS_COLLATION, f_max),
    F("min", -1, 2, PURE | FUNC_NEEDS_COLLATION, f_min),
    F("nullif", 2, 2, PURE | FUNC_NEEDS_COLLATION, f_nullif),
    F("octet_length", 1, 1, PURE, text_octet_length),
    F("printf", -1, 0, PURE, text_printf),
    F("quote", 1, 1, PURE, text_quote),
    F("random", 0, 0, FUNC_INNOCUOUS, f_random),
    F("randomblob", 1, 1, FUNC_INNOCUOUS, f_randomblob),
    F("replace", 3, 3, PURE, text_replace),
    F("round", 1, 1, PURE, f_round),
    F("round", 2, 2, PURE, f_round),
    F("rtrim", 1, 1, PURE, text_rtrim),
    F("rtrim", 2, 2, PURE, text_rtrim),
    F("sign", 1, 1, PURE, f_sign),
    F("soundex", 1, 1, PURE, text_soundex),
    F("sqlite_compileoption_get", 1, 1, FUNC_INNOCUOUS, f_compileoption_get),
    F("sqlite_compileoption_used", 1, 1, FUNC_INNOCUOUS, f_compileoption_used),
    F("sqlite_log", 2, 2, PURE, f_log),
    F("sqlite_source_id", 0, 0, FUNC_INNOCUOUS, f_source_id),
    F("sqlite_version", 0, 0, FUNC_INNOCUOUS, f_version),
    F("substr", 2, 2, PURE, text_substr),
    F("substr", 3, 3, PURE, text_substr),
    F("substring", 2, 2, PURE, text_substr),
    F("substring", 3, 3, PURE, text_substr),
    F("subtype", 1, 1, PURE, f_subtype),
    F("total_changes", 0, 0, FUNC_INNOCUOUS, f_total_changes),
    F("trim", 1, 1, PURE, text_trim),
    F("trim", 2, 2, PURE, text_trim),
    F("typeof", 1, 1, PURE, f_typeof),
    F("unhex", 1, 1, PURE, text_unhex),
    F("unhex", 2, 2, PURE, text_unhex),
    F("unicode", 1, 1, PURE, text_unicode),
    F("unlikely", 1, 1, PURE, f_first),
    F("upper", 1, 1, PURE, text_upper),
    F("zeroblob", 1, 1, PURE, f_zeroblob),
};
const function_table functions_core = {functions, COUNT(functions)};
