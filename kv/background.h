/* Threads for RocksDB's flushes and compactions (background.cc). C++, private to this folder. */
#ifndef HDB_KV_BACKGROUND_H
#define HDB_KV_BACKGROUND_H

#include <rocksdb/env.h>

// An Env whose background jobs run in threads of this process: RocksDB's own pool keeps counting threads that a fork
// has not taken along, so a store that is opened in a forked child would wait for its first flush for ever.
class background_env : public rocksdb::EnvWrapper {
public:
  using EnvWrapper::EnvWrapper;
  void Schedule(void (*function)(void *), void *argument, Priority priority, void *tag, void (*unscheduled)(void *)) override;
  int UnSchedule(void *tag, Priority priority) override;
  unsigned int GetThreadPoolQueueLen(Priority priority) const override;
  void SetBackgroundThreads(int number, Priority priority) override;
  int GetBackgroundThreads(Priority priority) override;
  void IncBackgroundThreadsIfNeeded(int number, Priority priority) override;
  int ReserveThreads(int, Priority) override { return 0; }
  int ReleaseThreads(int, Priority) override { return 0; }
  void LowerThreadPoolIOPriority(Priority) override {}
  void LowerThreadPoolCPUPriority(Priority) override {}
  rocksdb::Status LowerThreadPoolCPUPriority(Priority, rocksdb::CpuPriority) override { return rocksdb::Status::OK(); }
};

#endif
