/* Vector values and functions (vector.h).
 *
 * Distances are computed in double over the float32 elements (hnsw's vector_distance_of), so that ordering by them and
 * the index agree up to float32 ranks. NULL in, NULL out; anything else that is no vector is an error: a bad query
 * vector must not silently find nothing. Cost: one pass over the elements; text is parsed each time, so bind blobs.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "sql/func.h"
#include "sql/vector.h"

int vector_dimensions_of_type(const char *type) {
  static const char word[] = "vector";
  const char *p = type ? type : "";
  for (int i = 0; i < 6; i++, p++)
    if ((*p | 0x20) != word[i]) return 0;
  while (*p == ' ') p++;
  if (*p++ != '(') return 0;
  while (*p == ' ') p++;
  long n = 0;
  if (*p < '0' || *p > '9') return 0;
  for (; *p >= '0' && *p <= '9' && n <= VECTOR_DIMENSIONS_MAX; p++) n = n * 10 + (*p - '0');
  while (*p == ' ') p++;
  return *p == ')' && p[1] == 0 && n >= 1 && n <= VECTOR_DIMENSIONS_MAX ? (int)n : 0;
}

int hdb_vector_dimensions(const char *declared) {
  return vector_dimensions_of_type(declared);
}

bool vector_metric_named(const char *name, size_t n, enum hnsw_metric *out) {
  static const struct {
    const char *name;
    enum hnsw_metric metric;
  } names[] = {{"cosine", HNSW_COSINE},    {"l2", HNSW_L2}, {"euclidean", HNSW_L2}, {"ip", HNSW_IP},
               {"inner_product", HNSW_IP}, {"l1", HNSW_L1}, {"manhattan", HNSW_L1}};
  for (int i = 0; i < COUNT(names); i++) {
    if (strlen(names[i].name) != n || strncasecmp(names[i].name, name, n) != 0) continue;
    *out = names[i].metric;
    return true;
  }
  return false;
}

/* ---- reading ---- */
static status bad(error *err, const char *why) {
  return error_set(err, HDB_ERROR, "%s", why);
}

static status check_finite(const float *f, int n, error *err) {
  for (int i = 0; i < n; i++)
    if (!isfinite(f[i])) return bad(err, "vector elements must be finite");
  return HDB_OK;
}

static const char *skip_space(const char *p, const char *end) {
  while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
  return p;
}

/* '[' number (',' number)* ']' */
static status read_text(const char *p, const char *end, arena *a, const float **out, int *n, error *err) {
  int count = 1;
  for (const char *q = p; q < end; q++) count += *q == ',';
  if (count > VECTOR_DIMENSIONS_MAX) return bad(err, "vector cannot have more than 65535 dimensions");
  float *floats = arena_alloc(a, (size_t)count * sizeof *floats);
  if (!floats) return error_set(err, HDB_NOMEM, "out of memory");
  *n = 0;
  p = skip_space(p, end);
  if (p == end || *p++ != '[') return bad(err, "malformed vector: it must be [number, ...]");
  for (;;) {
    p = skip_space(p, end);
    const char *start = p;
    while (p < end && (strchr("+-.eE", *p) ? *p != 0 : (*p >= '0' && *p <= '9'))) p++;
    int64_t i;
    double r;
    int kind = text_to_number(start, (size_t)(p - start), &i, &r);
    if (p == start || kind <= 0) return bad(err, "malformed vector: it must be [number, ...]");
    floats[(*n)++] = kind == 1 ? (float)i : (float)r;
    p = skip_space(p, end);
    if (p < end && *p == ',') {
      p++;
      continue;
    }
    if (p < end && *p == ']' && skip_space(p + 1, end) == end) break;
    return bad(err, "malformed vector: it must be [number, ...]");
  }
  *out = floats;
  return HDB_OK;
}

/* A float64 buffer where the length says that it must be one (twice the bytes wanted). */
static status read_doubles(const value *v, int want, arena *a, const float **out, int *n, error *err) {
  float *floats = arena_alloc(a, (size_t)want * sizeof *floats);
  if (!floats) return error_set(err, HDB_NOMEM, "out of memory");
  for (int i = 0; i < want; i++) {
    double d;
    memcpy(&d, v->p + 8 * (size_t)i, 8);
    floats[i] = (float)d;
  }
  *out = floats, *n = want;
  return check_finite(floats, want, err);
}

status vector_read(const value *v, int want, arena *a, const float **floats, int *n, error *err) {
  if (v->type == VAL_TEXT) {
    TRY(read_text(v->n ? v->p : "", v->n ? v->p + v->n : "", a, floats, n, err));
  } else if (v->type == VAL_BLOB) {
    if (want > 0 && v->n == 8 * (size_t)want) return read_doubles(v, want, a, floats, n, err);
    if (v->n == 0 || v->n % 4 || v->n / 4 > VECTOR_DIMENSIONS_MAX)
      return bad(err, "malformed vector: a blob must hold float32 elements");
    *n = (int)(v->n / 4);
    *floats = (uintptr_t)v->p % 4 ? arena_copy(a, v->p, v->n) : (const void *)v->p;
    if (!*floats) return error_set(err, HDB_NOMEM, "out of memory");
  } else {
    return bad(err, "malformed vector: neither text nor blob");
  }
  if (want > 0 && *n != want) return error_set(err, HDB_ERROR, "expected %d dimensions, not %d", want, *n);
  return check_finite(*floats, *n, err);
}

void vector_put_text(const void *elements, size_t n, buf *out) {
  buf_byte(out, '[');
  for (size_t i = 0; i < n; i++) {
    float f;
    char text[32];
    memcpy(&f, (const char *)elements + i * sizeof f, sizeof f);
    for (int digits = 6; digits <= 9; digits++) {
      snprintf(text, sizeof text, "%.*g", digits, (double)f);
      if (strtof(text, NULL) == f) break;
    }
    if (i) buf_byte(out, ',');
    buf_text(out, text);
  }
  buf_byte(out, ']');
}

/* ---- functions ---- */
typedef struct pair {
  const float *a, *b;
  int n;
} pair;

static status read_pair(function_call *call, const value *a, pair *out, bool *is_null) {
  int n;
  *is_null = a[0].type == VAL_NULL || a[1].type == VAL_NULL;
  if (*is_null) return HDB_OK;
  TRY(vector_read(&a[0], 0, call->memory, &out->a, &out->n, call->err));
  TRY(vector_read(&a[1], 0, call->memory, &out->b, &n, call->err));
  if (n == 2 * out->n && a[1].type == VAL_BLOB)
    return read_doubles(&a[1], out->n, call->memory, &out->b, &n, call->err);
  if (out->n == 2 * n && a[0].type == VAL_BLOB)
    return read_doubles(&a[0], n, call->memory, &out->a, &out->n, call->err);
  if (n != out->n) return error_set(call->err, HDB_ERROR, "different vector dimensions %d and %d", out->n, n);
  return HDB_OK;
}

static status distance(function_call *call, const value *a, enum hnsw_metric metric, value *result) {
  pair p;
  bool is_null;
  TRY(read_pair(call, a, &p, &is_null));
  *result = is_null ? value_null() : value_real(vector_distance_of(metric, p.a, p.b, (size_t)p.n));
  return HDB_OK;
}

#define DISTANCE(name, metric)                                                                               \
  static status name(function_call *call, int n, const value *a, value *result) {                            \
    return distance(call, a, metric, result);                                                                \
  }
DISTANCE(v_cosine, HNSW_COSINE)
DISTANCE(v_l2, HNSW_L2)
DISTANCE(v_negative_ip, HNSW_IP)
DISTANCE(v_l1, HNSW_L1)

static status v_distance(function_call *call, int n, const value *a, value *result) {
  enum hnsw_metric metric = HNSW_COSINE;
  if (n == 3 && (a[2].type != VAL_TEXT || !vector_metric_named(a[2].n ? a[2].p : "", a[2].n, &metric)))
    return error_set(call->err, HDB_ERROR, "unknown metric: it must be 'cosine', 'l2', 'ip' or 'l1'");
  return distance(call, a, metric, result);
}

static status v_similarity(function_call *call, int n, const value *a, value *result) {
  TRY(distance(call, a, HNSW_COSINE, result));
  if (result->type == VAL_REAL) result->r = 1.0 - result->r;
  return HDB_OK;
}

static status v_inner_product(function_call *call, int n, const value *a, value *result) {
  TRY(distance(call, a, HNSW_IP, result));
  if (result->type == VAL_REAL) result->r = -result->r;
  return HDB_OK;
}

static status v_vector(function_call *call, int n, const value *a, value *result) {
  const float *f;
  int dimensions;
  *result = value_null();
  if (a[0].type == VAL_NULL) return HDB_OK;
  TRY(vector_read(&a[0], 0, call->memory, &f, &dimensions, call->err));
  *result = value_blob(f, (size_t)dimensions * sizeof *f);
  return HDB_OK;
}

static status v_dims(function_call *call, int n, const value *a, value *result) {
  const float *f;
  int dimensions;
  *result = value_null();
  if (a[0].type == VAL_NULL) return HDB_OK;
  TRY(vector_read(&a[0], 0, call->memory, &f, &dimensions, call->err));
  *result = value_int(dimensions);
  return HDB_OK;
}

static status v_norm(function_call *call, int n, const value *a, value *result) {
  const float *f;
  int dimensions;
  double sum = 0;
  *result = value_null();
  if (a[0].type == VAL_NULL) return HDB_OK;
  TRY(vector_read(&a[0], 0, call->memory, &f, &dimensions, call->err));
  for (int i = 0; i < dimensions; i++) sum += (double)f[i] * f[i];
  *result = value_real(sqrt(sum));
  return HDB_OK;
}

static status v_to_text(function_call *call, int n, const value *a, value *result) {
  const float *f;
  int dimensions;
  buf b = BUF_INIT;
  *result = value_null();
  if (a[0].type == VAL_NULL) return HDB_OK;
  TRY(vector_read(&a[0], 0, call->memory, &f, &dimensions, call->err));
  vector_put_text(f, (size_t)dimensions, &b);
  return function_result_buf(call, &b, VAL_TEXT, result);
}

#define F(name, least, most, function)                                                                       \
  { name, least == most ? least : -1, least, FUNC_DETERMINISTIC | FUNC_INNOCUOUS, .scalar = function }
static status v_distance_checked(function_call *call, int n, const value *a, value *result) {
  if (n > 3)
    return error_set(call->err, HDB_ERROR, "wrong number of arguments to function vector_distance()");
  return v_distance(call, n, a, result);
}
static const function functions[] = {
    F("vector_distance", 2, 3, v_distance_checked),
    F("cosine_distance", 2, 2, v_cosine),
    F("cosine_similarity", 2, 2, v_similarity),
    F("l2_distance", 2, 2, v_l2),
    F("l1_distance", 2, 2, v_l1),
    F("inner_product", 2, 2, v_inner_product),
    F("negative_inner_product", 2, 2, v_negative_ip),
    F("vector", 1, 1, v_vector),
    F("vector_dims", 1, 1, v_dims),
    F("vector_norm", 1, 1, v_norm),
    F("vector_to_text", 1, 1, v_to_text),
};
const function_table functions_vector = {functions, COUNT(functions)};
