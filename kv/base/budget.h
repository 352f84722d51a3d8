/* budget.h: a limit on what a thread's arenas and buffers take from malloc (kv/base/bytes.c). */
#ifndef HDB_KV_BASE_BUDGET_H
#define HDB_KV_BASE_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The memory that a query of the server may take; NULL: no limit. Past it an allocation fails as if memory were out;
 * what is given back on this thread counts as left again. */
typedef struct memory_budget {
  int64_t left;
  bool exceeded;
} memory_budget;
extern _Thread_local memory_budget *memory_budget_now __attribute__((tls_model("initial-exec")));
/* Work for others on this thread (a batch of commits) is not counted. */
static inline memory_budget *memory_budget_suspend(void) {
  memory_budget *before = memory_budget_now;
  memory_budget_now = NULL;
  return before;
}
static inline void memory_budget_resume(memory_budget *before) { memory_budget_now = before; }
/* Memory that another thread will free. */
static inline void memory_budget_give(size_t bytes) {
  if (memory_budget_now) memory_budget_now->left += (int64_t)bytes;
}

#endif
