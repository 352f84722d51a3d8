// Background threads that know which process they are in.
//
// B1  A pool belongs to the process that made it. In another one (after a fork) there is a new pool, with no job and no
//     thread; the old one, whose mutex may be locked for ever, is never looked at again.
// B2  Threads are started when a job finds none idle, up to the pool's limit, and stay; they are detached, and pools are
//     never destroyed, since jobs may outlive static destructors.
// B3  No thread to be had: the job waits until one of the others is free, or the next job can start one.
#include "kv/background.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <pthread.h>
#include <unistd.h>

namespace {

struct job {
  void (*function)(void *);
  void *argument, *tag;
  void (*unscheduled)(void *);
};

class pool {
public:
  void schedule(const job &j) {
    std::lock_guard<std::mutex> lock(mutex_);
    jobs_.push_back(j);
    if (idle_ >= jobs_.size()) wake_.notify_one();
    else if (threads_ < limit_ && start()) threads_++;
  }
  int unschedule(void *tag) {
    std::deque<job> taken;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      std::deque<job> kept;
      for (const job &j : jobs_) (j.tag == tag ? taken : kept).push_back(j);
      jobs_.swap(kept);
    }
    for (const job &j : taken)
      if (j.unscheduled) j.unscheduled(j.argument);
    return (int)taken.size();
  }
  size_t waiting() {
    std::lock_guard<std::mutex> lock(mutex_);
    return jobs_.size();
  }
  void set_limit(int n, bool only_more) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (n > limit_ || !only_more) limit_ = n > 0 ? n : 1;
    while (idle_ < jobs_.size() && threads_ < limit_ && start()) threads_++;
  }
  int limit() {
    std::lock_guard<std::mutex> lock(mutex_);
    return limit_;
  }

private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<job> jobs_;
  size_t idle_ = 0;
  int threads_ = 0, limit_ = 1;

  bool start() {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, run, this) != 0) return false;
    pthread_setname_np(thread, "helios-kv");
    pthread_detach(thread);
    return true;
  }
  static void *run(void *self) {
    static_cast<pool *>(self)->work();
    return nullptr;
  }
  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      while (jobs_.empty()) {
        idle_++;
        wake_.wait(lock);
        idle_--;
      }
      job j = jobs_.front();
      jobs_.pop_front();
      lock.unlock();
      j.function(j.argument);
      lock.lock();
    }
  }
};

struct pools {
  const pid_t process = getpid();
  pool of[rocksdb::Env::TOTAL];
};
std::atomic<pools *> current;

pool &pool_of(rocksdb::Env::Priority priority) { // B1
  pools *p = current.load();
  while (!p || p->process != getpid()) {
    pools *fresh = new pools();
    if (current.compare_exchange_strong(p, fresh)) p = fresh;
    else delete fresh;
  }
  return p->of[priority];
}

} // namespace

void background_env::Schedule(void (*function)(void *), void *argument, Priority priority, void *tag, void (*unscheduled)(void *)) {
  pool_of(priority).schedule({function, argument, tag, unscheduled});
}
int background_env::UnSchedule(void *tag, Priority priority) { return pool_of(priority).unschedule(tag); }
unsigned int background_env::GetThreadPoolQueueLen(Priority priority) const { return (unsigned)pool_of(priority).waiting(); }
void background_env::SetBackgroundThreads(int number, Priority priority) { pool_of(priority).set_limit(number, false); }
int background_env::GetBackgroundThreads(Priority priority) { return pool_of(priority).limit(); }
void background_env::IncBackgroundThreadsIfNeeded(int number, Priority priority) { pool_of(priority).set_limit(number, true); }
