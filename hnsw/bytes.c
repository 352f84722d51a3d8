/* Vectors as bytes: each with a scale of its own, so that its largest element becomes 127.
 *
 * First the centre is taken off: data that lies to one side would waste its range on what all have in common. Then, with
 * x = centre + x' and x' about scale * q,
 *   l2:  |x - y|^2 = |x'|^2 + |y'|^2 - 2 x'.y'           bias = |x'|^2 (of what q stands for), scale times sqrt 2
 *   dot: -x.y = -x'.y' - centre.x' - centre.y' - |centre|^2   bias = -centre.x' - |centre|^2 / 2
 * so that one loop over bytes ranks by both. Its sums are whole numbers: the same on every processor.
 *
 * Chosen at run time: AVX-512 VNNI, AVX2, plain C (which the compiler makes NEON of on ARM).
 */
#include <math.h>
#include <stdlib.h>

#include "hnsw/internal.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static float rank_of(const byte_vector *x, const byte_vector *y, int32_t dot) {
  return x->bias + y->bias - x->scale * y->scale * (float)dot;
}

static float rank_plain(const void *a, const void *b, size_t n) {
  const byte_vector *x = a, *y = b;
  int32_t dot = 0;
  for (size_t i = 0; i < n; i++) dot += (int32_t)x->q[i] * y->q[i];
  return rank_of(x, y, dot);
}

#if defined(__x86_64__)
/* |a| * (b with a's sign): 127 * 127 * 2 fits 16 bits, so nothing saturates. */
__attribute__((target("avx2"))) static float rank_avx2(const void *a, const void *b, size_t n) {
  const byte_vector *x = a, *y = b;
  __m256i sum = _mm256_setzero_si256();
  const __m256i ones = _mm256_set1_epi16(1);
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    __m256i p = _mm256_loadu_si256((const void *)(x->q + i)),
            q = _mm256_loadu_si256((const void *)(y->q + i));
    sum = _mm256_add_epi32(
        sum, _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(p), _mm256_sign_epi8(q, p)), ones));
  }
  __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  for (; i < n; i += 16) {
    __m128i p = _mm_loadu_si128((const void *)(x->q + i)), q = _mm_loadu_si128((const void *)(y->q + i));
    half = _mm_add_epi32(
        half, _mm_madd_epi16(_mm_maddubs_epi16(_mm_abs_epi8(p), _mm_sign_epi8(q, p)), _mm_set1_epi16(1)));
  }
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1));
  return rank_of(x, y, _mm_cvtsi128_si32(half));
}

/* a + 128 is unsigned; 128 times the sum of b is taken off behind. */
__attribute__((target("avx512f,avx512bw,avx512vnni"))) static float rank_vnni(const void *a, const void *b,
                                                                              size_t n) {
  const byte_vector *x = a, *y = b;
  const __m512i high = _mm512_set1_epi8((char)0x80);
  __m512i s0 = _mm512_setzero_si512(), s1 = s0;
  size_t i = 0;
  for (; i + 128 <= n; i += 128) {
    s0 = _mm512_dpbusd_epi32(s0, _mm512_xor_si512(_mm512_loadu_si512(x->q + i), high),
                             _mm512_loadu_si512(y->q + i));
    s1 = _mm512_dpbusd_epi32(s1, _mm512_xor_si512(_mm512_loadu_si512(x->q + i + 64), high),
                             _mm512_loadu_si512(y->q + i + 64));
  }
  for (; i < n; i += 64) {
    __mmask64 some = n - i >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (n - i)) - 1;
    s0 = _mm512_dpbusd_epi32(s0, _mm512_xor_si512(_mm512_maskz_loadu_epi8(some, x->q + i), high),
                             _mm512_maskz_loadu_epi8(some, y->q + i));
  }
  return rank_of(x, y, _mm512_reduce_add_epi32(_mm512_add_epi32(s0, s1)) - 128 * y->sum);
}

/* ---- four at a time: one query in registers, four sums added up across together ---- */
typedef struct four {
  const byte_vector *y[4];
} four;

/* The last ones stand in for those that are missing. */
static inline four next_four(const char *vectors, size_t stride, const uint32_t *places, size_t left) {
  four f;
  for (size_t k = 0; k < 4; k++) f.y[k] = (const void *)(vectors + places[k < left ? k : left - 1] * stride);
  return f;
}

__attribute__((target("avx2"))) static inline __m128i add_across(__m256i a, __m256i b, __m256i c, __m256i d) {
  __m256i sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
  return _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
}

/* rank_of, four times; raised: what each dot has too much of, in sums of y. */
__attribute__((target("avx2"))) static inline void
put_ranks(const byte_vector *x, const four *f, __m128i dots, int raised, size_t left, float *ranks) {
  __m128 scale = _mm_loadu_ps(&f->y[0]->scale), bias = _mm_loadu_ps(&f->y[1]->scale),
         sum = _mm_loadu_ps(&f->y[2]->scale), norm = _mm_loadu_ps(&f->y[3]->scale);
  _MM_TRANSPOSE4_PS(scale, bias, sum, norm);
  if (raised) dots = _mm_sub_epi32(dots, _mm_slli_epi32(_mm_castps_si128(sum), 7));
  __m128 rank = _mm_sub_ps(_mm_add_ps(_mm_set1_ps(x->bias), bias),
                           _mm_mul_ps(_mm_mul_ps(_mm_set1_ps(x->scale), scale), _mm_cvtepi32_ps(dots)));
  if (left >= 4) {
    _mm_storeu_ps(ranks, rank);
    return;
  }
  float some[4];
  _mm_storeu_ps(some, rank);
  for (size_t k = 0; k < left; k++) ranks[k] = some[k];
}

__attribute__((target("avx2"))) static void ranks_avx2(const void *from, const char *vectors, size_t stride,
                                                       const uint32_t *places, size_t count, size_t n,
                                                       float *ranks) {
  const byte_vector *x = from;
  const __m256i ones = _mm256_set1_epi16(1);
  for (size_t at = 0; at < count; at += 4) {
    four f = next_four(vectors, stride, places + at, count - at);
    __m256i s[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                    _mm256_setzero_si256()};
    for (size_t i = 0; i < n; i += 32) { /* the last 16 may be half of it */
      bool half = n - i < 32;
      __m256i p = half ? _mm256_zextsi128_si256(_mm_loadu_si128((const void *)(x->q + i)))
                       : _mm256_loadu_si256((const void *)(x->q + i)),
              size = _mm256_abs_epi8(p);
      for (int k = 0; k < 4; k++) {
        __m256i q = half ? _mm256_zextsi128_si256(_mm_loadu_si128((const void *)(f.y[k]->q + i)))
                         : _mm256_loadu_si256((const void *)(f.y[k]->q + i));
        s[k] = _mm256_add_epi32(s[k],
                                _mm256_madd_epi16(_mm256_maddubs_epi16(size, _mm256_sign_epi8(q, p)), ones));
      }
    }
    put_ranks(x, &f, add_across(s[0], s[1], s[2], s[3]), false, count - at, ranks + at);
  }
}

__attribute__((target("avx512f,avx512bw,avx512vnni,avx2"))) static inline __m256i halves(__m512i s) {
  return _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));
}

__attribute__((target("avx512f,avx512bw,avx512vnni,avx2"))) static void
ranks_vnni(const void *from, const char *vectors, size_t stride, const uint32_t *places, size_t count,
           size_t n, float *ranks) {
  const byte_vector *x = from;
  const __m512i high = _mm512_set1_epi8((char)0x80);
  for (size_t at = 0; at < count; at += 4) {
    four f = next_four(vectors, stride, places + at, count - at);
    __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
      __m512i p = _mm512_xor_si512(_mm512_loadu_si512(x->q + i), high);
      s0 = _mm512_dpbusd_epi32(s0, p, _mm512_loadu_si512(f.y[0]->q + i));
      s1 = _mm512_dpbusd_epi32(s1, p, _mm512_loadu_si512(f.y[1]->q + i));
      s2 = _mm512_dpbusd_epi32(s2, p, _mm512_loadu_si512(f.y[2]->q + i));
      s3 = _mm512_dpbusd_epi32(s3, p, _mm512_loadu_si512(f.y[3]->q + i));
    }
    if (i < n) {
      __mmask64 some = ((__mmask64)1 << (n - i)) - 1;
      __m512i p = _mm512_xor_si512(_mm512_maskz_loadu_epi8(some, x->q + i), high);
      s0 = _mm512_dpbusd_epi32(s0, p, _mm512_maskz_loadu_epi8(some, f.y[0]->q + i));
      s1 = _mm512_dpbusd_epi32(s1, p, _mm512_maskz_loadu_epi8(some, f.y[1]->q + i));
      s2 = _mm512_dpbusd_epi32(s2, p, _mm512_maskz_loadu_epi8(some, f.y[2]->q + i));
      s3 = _mm512_dpbusd_epi32(s3, p, _mm512_maskz_loadu_epi8(some, f.y[3]->q + i));
    }
    put_ranks(x, &f, add_across(halves(s0), halves(s1), halves(s2), halves(s3)), true, count - at,
              ranks + at);
  }
}
#endif

int byte_kernels_here(byte_kernel *out) {
  int n = 0;
#if defined(__x86_64__)
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vnni"))
    out[n++] = (byte_kernel){rank_vnni, ranks_vnni};
  if (avx2) out[n++] = (byte_kernel){rank_avx2, ranks_avx2};
#endif
  out[n++] = (byte_kernel){rank_plain, NULL};
  return n;
}

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define WIDE_LOOPS                                                                                           \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3", "fast-math")))
#else
#define WIDE_LOOPS __attribute__((optimize("O3", "fast-math")))
#endif

status hnsw_set_centre(hnsw *g, const float *centre) {
  size_t n = (size_t)g->options.dimensions;
  if (!g->bytes || g->used) return HDB_OK;
  if (!g->centre) g->centre = malloc(n * sizeof *g->centre);
  if (!g->centre) return HDB_NOMEM;
  memcpy(g->centre, centre, n * sizeof *centre);
  return HDB_OK;
}

WIDE_LOOPS static float largest(const float *in, size_t n) {
  float most = 0;
  for (size_t i = 0; i < n; i++) {
    float size = fabsf(in[i]);
    most = size > most ? size : most;
  }
  return most;
}

/* Rounded to nearest; the sums are whole numbers. */
WIDE_LOOPS static void to_bytes(const float *in, float inverse, int8_t *out, size_t n, int32_t *sum,
                                int64_t *squares) {
  int32_t s = 0, s2 = 0;
  for (size_t i = 0; i < n; i++) {
    float scaled = in[i] * inverse;
    int32_t q = (int32_t)(scaled + (scaled < 0 ? -0.5f : 0.5f));
    out[i] = (int8_t)q;
    s += q, s2 += q * q; /* 65,535 * 127 * 127 fits */
  }
  *sum = s, *squares = s2;
}

void prepare_bytes(const hnsw *g, float *in, byte_vector *out) {
  size_t n = (size_t)g->options.dimensions;
  double middle = 0, centre2 = 0;
  int64_t squares;
  if (g->centre) {
    for (size_t i = 0; i < n; i++) in[i] -= g->centre[i];
    middle = vector_inner_product_of(g->centre, in, n);
    centre2 = vector_norm2_of(g->centre, n);
  }
  float most = largest(in, n), scale = most / 127;
  to_bytes(in, most > 0 ? 127 / most : 0, out->q, n, &out->sum, &squares);
  memset(out->q + n, 0, g->width - n);
  double norm2 = (double)squares * ((double)scale * (double)scale);
  out->norm = (float)sqrt(norm2);
  bool l2 = g->options.metric == HNSW_L2;
  out->scale = l2 ? scale * (float)M_SQRT2 : scale;
  out->bias = l2 ? (float)norm2 : (float)(-middle - centre2 / 2);
}
