/* The parts of the simulation: seed to plan, plan against engine, and making a failing plan shorter. */
#ifndef HDB_TESTS_SIM_SIM_H
#define HDB_TESTS_SIM_SIM_H

#include "tests/sim/model/model.h"

enum { OPERATIONS = 2000 };
typedef struct sim_options {
  bool disk;
  int operations, crashes;
  bool loud; /* every operation is printed as it runs */
  const char *folder;
} sim_options;
typedef struct plan {
  int n, crashes;
  op at[OPERATIONS];
} plan;

void random_seed(uint64_t seed);
unsigned random_below(unsigned n);
void generate(uint64_t seed, const sim_options *options, plan *p);

typedef struct failure {
  bool failed;
  int at; /* operation */
  char text[1000];
} failure;
/* The variant must be set. */
void sim_run(const plan *p, const sim_options *options, failure *f);

#endif
