/* Distances. One loop a metric, compiled for several instruction sets; the processor decides once.
 * The wide versions let the compiler vectorise (-O3 and relaxed order of additions in this file alone): sums of
 * float32 products in another order differ in the last bits, which ranks, not results, may feel: what SQL shows is
 * computed by vector_distance_of in double.
 */
#include <math.h>

#include "hnsw/internal.h"

/* The thread sanitizer is not there yet when the loader chooses among clones. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define VARIANTS __attribute__((target_clones("avx512f", "arch=haswell", "default"), optimize("O3", "fast-math")))
#else
#define VARIANTS __attribute__((optimize("O3", "fast-math")))
#endif

VARIANTS static float rank_l2(const float *a, const float *b, size_t n) {
  float sum = 0;
  for (size_t i = 0; i < n; i++) {
    float d = a[i] - b[i];
    sum += d * d;
  }
  return sum;
}

VARIANTS static float rank_dot(const float *a, const float *b, size_t n) {
  float sum = 0;
  for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
  return -sum;
}

VARIANTS static float rank_l1(const float *a, const float *b, size_t n) {
  float sum = 0;
  for (size_t i = 0; i < n; i++) sum += fabsf(a[i] - b[i]);
  return sum;
}

distance_function distance_rank(enum hnsw_metric metric) {
  switch (metric) {
  case HNSW_L2: return rank_l2;
  case HNSW_L1: return rank_l1;
  default: return rank_dot; /* cosine: vectors are kept at unit length */
  }
}

double distance_from_rank(enum hnsw_metric metric, float rank) {
  switch (metric) {
  case HNSW_L2: return sqrt((double)rank);
  case HNSW_COSINE: return 1.0 + (double)rank;
  default: return (double)rank;
  }
}

double vector_distance_of(enum hnsw_metric metric, const float *a, const float *b, size_t n) {
  double sum = 0, aa = 0, bb = 0;
  switch (metric) {
  case HNSW_L2:
    for (size_t i = 0; i < n; i++) sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum);
  case HNSW_L1:
    for (size_t i = 0; i < n; i++) sum += fabs((double)a[i] - b[i]);
    return sum;
  case HNSW_IP:
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
    return -sum;
  default:
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * b[i], aa += (double)a[i] * a[i], bb += (double)b[i] * b[i];
    if (aa == 0 || bb == 0) return 1.0;
    double cosine = sum / (sqrt(aa) * sqrt(bb));
    return 1.0 - (cosine > 1 ? 1 : cosine < -1 ? -1 : cosine);
  }
}
