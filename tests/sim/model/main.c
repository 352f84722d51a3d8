/* sim_model [-plant FAULT] [-disk] [-crashes N] [-n OPERATIONS] [-v] FIRST [LAST]: seeds against the model.
 *
 * Seeds run in children, so that a crash is a failing seed too. A failing plan is made shorter by leaving out operations
 * as long as it fails, and printed with what went wrong; the seed alone brings it back. Exit 1 when one failed.
 * sim_planted takes a fault of mvcc/plant.h: then the first seed that finds it is printed, and exit 1 when none does.
 */
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mvcc/plant.h"
#include "tests/sim/model/sim.h"

enum { CHILD_SEEDS = 50 };
#ifdef HDB_PLANTED
int hdb_planted;
#else
static int hdb_planted;
#endif
static sim_options options;
static struct shared {
  failure f;
  uint64_t seed;
  bool running;
} *shared;
/* in memory where it can be: the disk that may fail is the fault layer, and a real one is only slow */
static char folder[64] = "/dev/shm/helios-sim-XXXXXX";

static int remove_entry(const char *name, const struct stat *st, int flag, struct FTW *ftw) {
  return ftw->level ? remove(name) : 0;
}

static void run_plan(const plan *p) {
  alarm(20);
  sim_run(p, &options, &shared->f);
  if (options.disk) nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* In a child; true: it failed. */
static bool plan_fails(const plan *p) {
  int state;
  fflush(stdout);
  memset(&shared->f, 0, sizeof shared->f);
  pid_t child = fork();
  if (child == 0) {
    if (!options.loud && !freopen("/dev/null", "w", stderr)) _exit(2);
    run_plan(p);
    fflush(stdout);
    _exit(shared->f.failed);
  }
  waitpid(child, &state, 0);
  if (WIFSIGNALED(state)) {
    snprintf(shared->f.text, sizeof shared->f.text, "it died of signal %d", WTERMSIG(state));
    shared->f.failed = true;
  }
  if (WIFEXITED(state) && WEXITSTATUS(state) && !shared->f.failed) { /* a sanitizer ended it */
    snprintf(shared->f.text, sizeof shared->f.text, "it ended with status %d", WEXITSTATUS(state));
    shared->f.failed = true;
  }
  return shared->f.failed;
}

static bool without(plan *p, int from, int n, plan *kept) {
  *kept = *p;
  memmove(&p->at[from], &p->at[from + n], (size_t)(p->n - from - n) * sizeof(op));
  p->n -= n;
  return plan_fails(p);
}

static void shrink(plan *p) {
  static plan kept;
  int tries = 0;
  for (int n = p->n / 2; n >= 1; n /= 2)
    for (int from = p->n - n; from >= 0; from -= n) {
      if (from + n > p->n) continue;
      if (++tries > 1500) return;
      if (!without(p, from, n, &kept)) *p = kept;
    }
}

static void report(uint64_t seed) {
  static plan p, full;
  static char first[sizeof shared->f.text];
  memcpy(first, shared->f.text, sizeof first);
  generate(seed, &options, &p);
  printf("seed %llu fails:\n", (unsigned long long)seed);
  if (!plan_fails(&p)) {
    printf("  not again when it runs alone; it said: %s\n", first);
    return;
  }
  full = p;
  shrink(&p);
  if (!plan_fails(&p)) p = full;
  options.loud = true;
  printf("trigger %d, keys deferred %d indexed %d on delete %d cascading updates %d\n", vary.trigger, vary.fk_deferred, vary.fk_indexed,
         (int)vary.on_delete, vary.fk_update_cascades);
  plan_fails(&p);
  options.loud = false;
  printf("%s\n", shared->f.text);
}

static void run_seeds(uint64_t first, uint64_t last) {
  static plan p;
  for (uint64_t seed = first; seed <= last; seed++) {
    shared->seed = seed;
    shared->running = true;
    generate(seed, &options, &p);
    run_plan(&p);
    shared->running = false;
    if (shared->f.failed) _exit(1);
  }
  _exit(0);
}

/* The first seed that fails, 0: none. */
static uint64_t find_failing(uint64_t first, uint64_t last) {
  while (first <= last) {
    uint64_t end = first + CHILD_SEEDS - 1 < last ? first + CHILD_SEEDS - 1 : last;
    int state;
    memset(shared, 0, sizeof *shared);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
      if (!options.loud && !freopen("/dev/null", "w", stderr)) _exit(2);
      run_seeds(first, end);
    }
    waitpid(child, &state, 0);
    if (!WIFEXITED(state) || WEXITSTATUS(state)) return shared->seed;
    first = end + 1;
  }
  return 0;
}

static bool make_folder(void) {
  if (mkdtemp(folder)) return true;
  snprintf(folder, sizeof folder, "/tmp/helios-sim-XXXXXX");
  return mkdtemp(folder) != NULL;
}

static int planted_is_found(uint64_t first, uint64_t last) {
  static const char *const names[PLANTS] = {"nothing", "writes are not validated", "facts are not validated", "reads are not validated",
                                            "history of indexes is dropped", "acknowledged before fsync", "branch points are not pinned", "views are not pinned"};
  uint64_t seed = find_failing(first, last);
  printf("%s: ", names[hdb_planted % PLANTS]);
  if (seed) printf("found by seed %llu: %.70s\n", (unsigned long long)seed, shared->f.text);
  else printf("NOT FOUND by %llu seeds\n", (unsigned long long)(last - first + 1));
  nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
  rmdir(folder);
  return seed == 0;
}

int main(int argc, char **argv) {
  int at = 1, failed = 0, most = 1;
  options.operations = 250;
  for (; at < argc && argv[at][0] == '-'; at++) {
    if (!strcmp(argv[at], "-disk")) options.disk = true;
    else if (!strcmp(argv[at], "-v")) options.loud = true;
    else if (!strcmp(argv[at], "-crashes") && at + 1 < argc) options.crashes = atoi(argv[++at]);
    else if (!strcmp(argv[at], "-n") && at + 1 < argc) options.operations = atoi(argv[++at]);
    else if (!strcmp(argv[at], "-most") && at + 1 < argc) most = atoi(argv[++at]);
    else if (!strcmp(argv[at], "-plant") && at + 1 < argc) hdb_planted = atoi(argv[++at]);
    else at = argc;
  }
  if (at >= argc || options.operations > OPERATIONS || !make_folder()) {
    fprintf(stderr, "usage: sim_model [-disk] [-crashes N] [-n OPERATIONS] [-most FAILURES] [-v] FIRST [LAST]\n");
    return 2;
  }
  options.folder = folder;
  uint64_t first = strtoull(argv[at], NULL, 10), last = at + 1 < argc ? strtoull(argv[at + 1], NULL, 10) : first, from = first;
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 2;
  if (hdb_planted) return planted_is_found(first, last);
  struct timespec begun, ended;
  clock_gettime(CLOCK_MONOTONIC, &begun);
  for (uint64_t seed; failed < most && from <= last && (seed = find_failing(from, last)) != 0; from = seed + 1) {
    report(seed);
    failed++;
  }
  clock_gettime(CLOCK_MONOTONIC, &ended);
  nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
  rmdir(folder);
  double seconds = (double)(ended.tv_sec - begun.tv_sec) + 1e-9 * (double)(ended.tv_nsec - begun.tv_nsec);
  printf("seeds %llu to %llu%s, %d operations, %d crashes: %d failed; %.1f s, %.1f ms a seed\n", (unsigned long long)first, (unsigned long long)last,
         options.disk ? " on disk" : " in memory", options.operations, options.crashes, failed, seconds, 1000 * seconds / (double)(last - first + 1));
  return failed != 0;
}
