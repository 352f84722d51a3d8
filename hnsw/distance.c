/* Distances. One loop a metric, written on vectors of 16 floats (GCC's vector extension) and compiled for several
 * instruction sets: AVX-512, AVX2 with FMA, and what every processor of the kind has (SSE2, NEON); the processor
 * decides once. Four sums run side by side, so that additions do not wait for each other.
 *
 * Ranks are float32, for the walk: they may differ in the last bits between processors. What SQL shows is computed by
 * vector_distance_of in double, in an order of additions that no instruction set changes: the same everywhere.
 */
#include <math.h>

#include "hnsw/internal.h"

/* The thread sanitizer is not there yet when the loader chooses among clones. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define VARIANTS                                                                                             \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3", "fast-math")))
#define EXACT_VARIANTS                                                                                       \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"),                               \
                 optimize("O3", "fp-contract=off")))
#else
#define VARIANTS       __attribute__((optimize("O3", "fast-math")))
#define EXACT_VARIANTS __attribute__((optimize("O3", "fp-contract=off")))
#endif

typedef float lanes __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t lane_bits __attribute__((vector_size(64)));

/* n is a multiple of 16 (the graph's stride) */
#define RANK(NAME, STEP, RESULT)                                                                             \
  VARIANTS static float NAME(const void *a, const void *b, size_t n) {                                       \
    lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};                                                            \
    const lanes *x = a, *y = b;                                                                              \
    size_t i = 0, count = n / 16;                                                                            \
    for (; i + 4 <= count; i += 4) {                                                                         \
      STEP(s0, x[i], y[i]);                                                                                  \
      STEP(s1, x[i + 1], y[i + 1]);                                                                          \
      STEP(s2, x[i + 2], y[i + 2]);                                                                          \
      STEP(s3, x[i + 3], y[i + 3]);                                                                          \
    }                                                                                                        \
    for (; i < count; i++) STEP(s0, x[i], y[i]);                                                             \
    s0 += s1 + (s2 + s3);                                                                                    \
    float sum = 0;                                                                                           \
    for (int k = 0; k < 16; k++) sum += s0[k];                                                               \
    return RESULT;                                                                                           \
  }
#define STEP_L2(sum, x, y)                                                                                   \
  do {                                                                                                       \
    lanes d = (x) - (y);                                                                                     \
    (sum) += d * d;                                                                                          \
  } while (0)
#define STEP_DOT(sum, x, y) (sum) += (x) * (y)
#define STEP_L1(sum, x, y)                                                                                   \
  do {                                                                                                       \
    lanes d = (x) - (y);                                                                                     \
    (sum) += (lanes)((lane_bits)d & 0x7fffffff);                                                             \
  } while (0)
RANK(rank_l2, STEP_L2, sum)
RANK(rank_dot, STEP_DOT, -sum)
RANK(rank_l1, STEP_L1, sum)

distance_function distance_rank(enum hnsw_metric metric) {
  switch (metric) {
  case HNSW_L2: return rank_l2;
  case HNSW_L1: return rank_l1;
  default: return rank_dot; /* cosine: vectors are kept at unit length */
  }
}

double distance_from_rank(enum hnsw_metric metric, double rank) {
  switch (metric) {
  case HNSW_L2: return rank > 0 ? sqrt(rank) : 0;
  case HNSW_COSINE: return 1.0 + rank;
  default: return rank;
  }
}

/* ---- in double ---- */
/* Four times eight sums side by side, added up in one order. */
/* a vector in a row may begin anywhere */
typedef float floats8 __attribute__((vector_size(32), aligned(1), may_alias));
typedef float float_anywhere __attribute__((aligned(1), may_alias));
typedef double doubles8 __attribute__((vector_size(64)));
enum { WIDE = 8, ROUND = 4 * WIDE };

#define EXACT(NAME, STEP, STEP_ONE)                                                                          \
  EXACT_VARIANTS static double NAME(const float *a, const float *b, size_t n) {                              \
    doubles8 s[4] = {{0}, {0}, {0}, {0}};                                                                    \
    size_t i = 0;                                                                                            \
    for (; i + ROUND <= n; i += ROUND)                                                                       \
      for (int k = 0; k < 4; k++) {                                                                          \
        doubles8 x = __builtin_convertvector(((const floats8 *)(const void *)((const char *)a + i * 4))[k],  \
                                             doubles8);                                                      \
        doubles8 y = __builtin_convertvector(((const floats8 *)(const void *)((const char *)b + i * 4))[k],  \
                                             doubles8);                                                      \
        STEP(s[k], x, y);                                                                                    \
      }                                                                                                      \
    for (int k = 0; i < n; i++, k++) {                                                                       \
      double x = (double)((const float_anywhere *)a)[i], y = (double)((const float_anywhere *)b)[i];         \
      s[k / WIDE][k % WIDE] += STEP_ONE(x, y);                                                               \
    }                                                                                                        \
    doubles8 t = (s[0] + s[1]) + (s[2] + s[3]);                                                              \
    return ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));                                \
  }
typedef int64_t double_bits __attribute__((vector_size(64)));
#define EXACT_DOT(s, x, y)  (s) += (x) * (y)
#define EXACT_DOT_ONE(x, y) ((x) * (y))
#define EXACT_L2(s, x, y)   (s) += ((x) - (y)) * ((x) - (y))
#define EXACT_L2_ONE(x, y)  (((x) - (y)) * ((x) - (y)))
#define EXACT_L1(s, x, y)   (s) += (doubles8)((double_bits)((x) - (y)) & INT64_MAX)
#define EXACT_L1_ONE(x, y)  fabs((x) - (y))
EXACT(exact_dot, EXACT_DOT, EXACT_DOT_ONE)
EXACT(exact_l2, EXACT_L2, EXACT_L2_ONE)
EXACT(exact_l1, EXACT_L1, EXACT_L1_ONE)

double vector_inner_product_of(const float *a, const float *b, size_t n) {
  return exact_dot(a, b, n);
}
double vector_norm2_of(const float *a, size_t n) {
  return exact_dot(a, a, n);
}

/* a.b and a.a in one pass, each added up as exact_dot does it. */
EXACT_VARIANTS static void exact_dot_and_norm(const float *a, const float *b, size_t n, double out[2]) {
  doubles8 s[4] = {{0}, {0}, {0}, {0}}, q[4] = {{0}, {0}, {0}, {0}};
  size_t i = 0;
  for (; i + ROUND <= n; i += ROUND)
    for (int k = 0; k < 4; k++) {
      doubles8 x =
          __builtin_convertvector(((const floats8 *)(const void *)((const char *)a + i * 4))[k], doubles8);
      doubles8 y =
          __builtin_convertvector(((const floats8 *)(const void *)((const char *)b + i * 4))[k], doubles8);
      EXACT_DOT(s[k], x, y);
      EXACT_DOT(q[k], x, x);
    }
  for (int k = 0; i < n; i++, k++) {
    double x = (double)((const float_anywhere *)a)[i], y = (double)((const float_anywhere *)b)[i];
    s[k / WIDE][k % WIDE] += EXACT_DOT_ONE(x, y);
    q[k / WIDE][k % WIDE] += EXACT_DOT_ONE(x, x);
  }
  doubles8 t = (s[0] + s[1]) + (s[2] + s[3]), u = (q[0] + q[1]) + (q[2] + q[3]);
  out[0] = ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));
  out[1] = ((u[0] + u[4]) + (u[2] + u[6])) + ((u[1] + u[5]) + (u[3] + u[7]));
}

double vector_cosine_of(const float *a, const float *b, double b_norm2, size_t n) {
  double sums[2];
  exact_dot_and_norm(a, b, n, sums);
  if (sums[1] == 0 || b_norm2 == 0) return 1.0;
  double cosine = sums[0] / (sqrt(sums[1]) * sqrt(b_norm2));
  return 1.0 - (cosine > 1 ? 1 : cosine < -1 ? -1 : cosine);
}

double vector_distance_of(enum hnsw_metric metric, const float *a, const float *b, size_t n) {
  switch (metric) {
  case HNSW_L2: return sqrt(exact_l2(a, b, n));
  case HNSW_L1: return exact_l1(a, b, n);
  case HNSW_IP: return -exact_dot(a, b, n);
  default: return vector_cosine_of(a, b, exact_dot(b, b, n), n);
  }
}
