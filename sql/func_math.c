/* Math functions (SQLITE_ENABLE_MATH_FUNCTIONS): NULL for what is no number and outside of the domain; a text counts
 * when all of it is a number. Nothing fails. Cost: the C library's function.
 */
#include <math.h>

#include "sql/func.h"

/* The argument as a double; false: no number. */
static bool number(const value *a, double *out) {
  value v = function_numeric(a);
  if (v.type != VAL_INTEGER && v.type != VAL_REAL) return false;
  *out = v.type == VAL_INTEGER ? (double)v.i : v.r;
  return true;
}

static double to_radians(double x) { return x * (M_PI / 180.0); }
static double to_degrees(double x) { return x * (180.0 / M_PI); }

#define ONE(name, f)                                                                                                   \
  static status name(function_call *call, int n, const value *a, value *result) {                                      \
    double x;                                                                                                          \
    *result = number(a, &x) ? value_real(f(x)) : value_null();                                                         \
    return HDB_OK;                                                                                                     \
  }
#define TWO(name, f)                                                                                                   \
  static status name(function_call *call, int n, const value *a, value *result) {                                      \
    double x, y;                                                                                                       \
    *result = number(&a[0], &x) && number(&a[1], &y) ? value_real(f(x, y)) : value_null();                             \
    return HDB_OK;                                                                                                     \
  }
/* Integers stay integers. */
#define ROUNDING(name, f)                                                                                              \
  static status name(function_call *call, int n, const value *a, value *result) {                                      \
    value v = function_numeric(a);                                                                                     \
    *result = v.type == VAL_INTEGER ? v : v.type == VAL_REAL ? value_real(f(v.r)) : value_null();                      \
    return HDB_OK;                                                                                                     \
  }
ONE(m_acos, acos)
ONE(m_acosh, acosh)
ONE(m_asin, asin)
ONE(m_asinh, asinh)
ONE(m_atan, atan)
ONE(m_atanh, atanh)
ONE(m_cos, cos)
ONE(m_cosh, cosh)
ONE(m_degrees, to_degrees)
ONE(m_exp, exp)
ONE(m_radians, to_radians)
ONE(m_sin, sin)
ONE(m_sinh, sinh)
ONE(m_sqrt, sqrt)
ONE(m_tan, tan)
ONE(m_tanh, tanh)
TWO(m_atan2, atan2)
TWO(m_mod, fmod)
TWO(m_pow, pow)
ROUNDING(m_ceil, ceil)
ROUNDING(m_floor, floor)
ROUNDING(m_trunc, trunc)

static status m_pi(function_call *call, int n, const value *a, value *result) {
  *result = value_real(M_PI);
  return HDB_OK;
}

static double positive(double (*f)(double), double x) { return x > 0 ? f(x) : NAN; } /* NaN becomes NULL */
static double ln(double x) { return positive(log, x); }
static double lb(double x) { return positive(log2, x); }
static double lg(double x) { return positive(log10, x); }
ONE(m_ln, ln)
ONE(m_log2, lb)
ONE(m_log10, lg)

static status m_log(function_call *call, int n, const value *a, value *result) { /* log(B, X) */
  double base;
  *result = value_null();
  if (!number(&a[0], &base) || base <= 0 || log(base) <= 0) return HDB_OK;
  double x = value_to_real(&a[1]); /* as SQLite: only the base has to be a number, of X a prefix does */
  if (x > 0) *result = value_real(log(x) / log(base));
  return HDB_OK;
}

#define F(name, arguments, function) {name, arguments, arguments, FUNC_DETERMINISTIC | FUNC_INNOCUOUS, .scalar = function}
static const function functions[] = {
    F("acos", 1, m_acos),     F("acosh", 1, m_acosh), F("asin", 1, m_asin),   F("asinh", 1, m_asinh),
    F("atan", 1, m_atan),     F("atan2", 2, m_atan2), F("atanh", 1, m_atanh), F("ceil", 1, m_ceil),
    F("ceiling", 1, m_ceil),  F("cos", 1, m_cos),     F("cosh", 1, m_cosh),   F("degrees", 1, m_degrees),
    F("exp", 1, m_exp),       F("floor", 1, m_floor), F("ln", 1, m_ln),       F("log", 1, m_log10),
    F("log", 2, m_log),       F("log10", 1, m_log10), F("log2", 1, m_log2),   F("mod", 2, m_mod),
    F("pi", 0, m_pi),         F("pow", 2, m_pow),     F("power", 2, m_pow),   F("radians", 1, m_radians),
    F("sin", 1, m_sin),       F("sinh", 1, m_sinh),   F("sqrt", 1, m_sqrt),   F("tan", 1, m_tan),
    F("tanh", 1, m_tanh),     F("trunc", 1, m_trunc),
};
const function_table functions_math = {functions, COUNT(functions)};
