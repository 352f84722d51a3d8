/* Vectors as bytes: every kernel that this processor can run ranks as the plain one does, one by one and many at once. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "hnsw/internal.h"

enum { MANY = 11, WIDEST = 400 };

static float uniform(uint64_t *state) {
  *state = *state * 6364136223846793005ull + 1442695040888963407ull;
  return (float)((double)(*state >> 11) / 9007199254740992.0 * 2 - 1);
}

/* Vectors of n elements behind each other, some of them extreme. */
static void make_vectors(const hnsw *g, char *out, int n, uint64_t *state) {
  float in[WIDEST];
  for (int i = 0; i < MANY; i++) {
    for (int k = 0; k < n; k++)
      in[k] = i == 1 ? 0 : i == 2 ? 1 : i == 3 ? (k % 2 ? -1.0f : 1.0f) : uniform(state);
    prepare_vector(g, in, out + (size_t)i * g->stride);
  }
}

START_TEST(kernels_agree_for_every_width_and_count) {
  byte_kernel kernels[BYTE_KERNELS];
  int kernels_n = byte_kernels_here(kernels);
  uint64_t state = 3;
  distance_function plain = kernels[kernels_n - 1].one;
  for (int n = 1; n <= WIDEST; n += n < 150 ? 1 : 13) {
    hnsw *g = hnsw_new(&(hnsw_options){.dimensions = n, .metric = n % 2 ? HNSW_L2 : HNSW_IP, .copy8 = true});
    char *vectors = aligned_alloc(64, (MANY * g->stride + 63) / 64 * 64);
    make_vectors(g, vectors, n, &state);
    for (int k = 0; k < kernels_n; k++) {
      for (uint32_t count = 0; count <= MANY; count++) {
        uint32_t places[MANY];
        float ranks[MANY + 1], want;
        for (uint32_t i = 0; i < count; i++) places[i] = (i * 7 + count) % MANY;
        ranks[count] = 77;
        const char *from = vectors + (size_t)(count % MANY) * g->stride;
        if (kernels[k].many) kernels[k].many(from, vectors, g->stride, places, count, g->width, ranks);
        for (uint32_t i = 0; i < count; i++) {
          const char *to = vectors + places[i] * g->stride;
          want = plain(from, to, g->width);
          float near =
              1e-5f * (1 + fabsf(want) + ((const byte_vector *)from)->norm * ((const byte_vector *)to)->norm);
          ck_assert_msg(fabsf(kernels[k].one(from, to, g->width) - want) <= near, "kernel %d, width %d", k,
                        n);
          if (kernels[k].many)
            ck_assert_msg(fabsf(ranks[i] - want) <= near, "many by kernel %d, width %d, %u of %u", k, n, i,
                          count);
        }
        ck_assert(ranks[count] == 77); /* nothing behind them is written */
      }
    }
    free(vectors);
    hnsw_free(g);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("hnsw bytes");
  TCase *t = tcase_create("bytes");
  tcase_set_timeout(t, 60);
  tcase_add_test(t, kernels_agree_for_every_width_and_count);
  suite_add_tcase(suite, t);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_NORMAL);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed ? 1 : 0;
}
