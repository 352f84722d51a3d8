/* Logarithmic estimates: 10 * log2(x), as SQLite counts rows and costs. */
#include "sql/plan_where.h"

log_estimate log_of(uint64_t x) {
  static const log_estimate fraction[8] = {0, 2, 3, 5, 6, 7, 8, 9};
  log_estimate y = 40;
  if (x < 2) return 0;
  while (x < 8) {
    y -= 10;
    x <<= 1;
  }
  while (x > 15) {
    y += 10;
    x >>= 1;
  }
  return (log_estimate)(fraction[x & 7] + y - 10);
}

/* The estimate of the sum. */
log_estimate log_add(log_estimate a, log_estimate b) {
  static const uint8_t more[32] = {10, 10, 9, 9, 8, 8, 7, 7, 7, 6, 6, 6, 5, 5, 5, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2};
  if (a < b) {
    log_estimate t = a;
    a = b;
    b = t;
  }
  if (a > b + 49) return a;
  if (a > b + 31) return (log_estimate)(a + 1);
  return (log_estimate)(a + more[a - b]);
}

log_estimate log_of_log(log_estimate n) { return n <= 10 ? 0 : (log_estimate)(log_of((uint64_t)n) - 33); }
