// RocksDB's C++ side, where its C interface does not reach: the only C++ file.
//
// All stores live in one environment: RocksDB's own file system, wrapped. The wrapper injects the faults of fault.h
// and keeps what a power cut would leave. When neither is asked for, a call costs one relaxed load more.
//
// F1  A tracked file's `synced` is what the last successful sync covered; after a power cut nothing changes.
// F2  A creation, deletion or rename may be undone by power_back, each for itself, unless its directory was synced afterwards.
// F3  OPTIONS files are not written: RocksDB never reads them at open, its tools do without, and writing and checking
//     one costs a third of an open (and of a creation, which would write eight, two thirds).
// F4  A log that is being synced is extended by written zeros ahead of the data (64 KB, then doubling to 4 MB), so that a
//     sync has neither a size nor an extent to write: about a third less time. RocksDB takes zeros for the end of a log;
//     but data behind zeros (pages reach the disk in any order) must not be read, so a reader sees the log only up to
//     the first zero record header.
// F5  A new log begins only when the logs before it are durable, bytes and names: a later log never survives without an
//     earlier one. What was synced and what has a lasting name is counted here, under RocksDB, which syncs the directory of
//     its logs at the next synced write or flush only: of two logs begun in between the older could be lost alone.
// F7  An encrypted store has a file system of its own, whose files are sealed above all of this (filesystem_crypt.h):
//     faults, extension and power cuts see what lies on the disk. It refuses to open a file for writing twice. Its log of
//     messages is off: RocksDB's words may hold keys.
// F9  What is durable is not synced again. So no sync of a log with a successor fails (F5): RocksDB has two threads that may sync
//     such a log, and asserts when the second comes to a file whose sync failed for the first.
// F8  CURRENT is renamed only when the name of the MANIFEST in it is lasting.
// F6  The log of messages (LOG) is opened at its first warning only: most opens write none.
//
// The C handles are structs whose first member is `rep` (rocksdb/c.cc, 7.8 to 10.x).
#include "kv/filesystem.h"
#include "kv/base/crypt.h"
#include "kv/background.h"
#include "kv/fault.h"
#include "kv/filesystem_crypt.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/system_clock.h>

using rocksdb::DataVerificationInfo;
using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

namespace {

// ---- the state of faults ----

struct tracked_file {
  uint64_t written = 0, synced = 0;
  bool entry_lasting = false; // its name survives a power cut
};
struct undo { // of a rename over, or deletion of, `path` that its directory's sync has not made lasting
  std::string path, content;
  bool existed;
};

std::atomic<bool> active{false}; // any of what follows is in use
std::mutex mutex;
kv_fault fault = KV_FAULT_NONE;
std::string fault_name;
int fault_countdown, fault_hits, cut_countdown;
std::atomic<bool> tracking{false};
bool power_is_cut;
std::map<std::string, tracked_file> files;
std::vector<undo> undos;
std::set<std::string> in_place; // files whose pages a power cut keeps or not, one by one

std::string directory_of(const std::string &path) { return path.substr(0, path.find_last_of('/')); }
bool is_kept_anyway(const std::string &path) { // not part of what is stored
  std::string name = path.substr(path.find_last_of('/') + 1);
  return name.compare(0, 3, "LOG") == 0 || name == "LOCK";
}

const char UNWANTED[] = "not wanted"; // F3, and how the log of messages knows it

IOStatus power_error() { return IOStatus::IOError("power is cut"); }

void update_active() { active.store(fault != KV_FAULT_NONE || tracking || power_is_cut || cut_countdown); }

// The mutex is held. True when the fault strikes this operation.
bool strikes(kv_fault kind, const std::string &path) {
  if (fault != kind || path.find(fault_name) == std::string::npos) return false;
  if (fault_countdown > 1) {
    fault_countdown--;
    return false;
  }
  fault_hits++;
  if (kind != KV_FAULT_NO_SPACE) fault = KV_FAULT_NONE;
  return true;
}

// A change of files begins (mutex held): counts towards a planned cut. False: there is no power.
bool has_power() {
  if (cut_countdown && --cut_countdown == 0) power_is_cut = true;
  return !power_is_cut;
}

bool read_whole(const std::string &path, std::string *content) {
  FILE *f = fopen(path.c_str(), "rb");
  if (!f) return false;
  char block[4096];
  for (size_t n; (n = fread(block, 1, sizeof block, f)) > 0;) content->append(block, n);
  fclose(f);
  return true;
}

bool write_whole(const std::string &path, const std::string &content) {
  FILE *f = fopen(path.c_str(), "wb");
  if (!f) return false;
  bool ok = fwrite(content.data(), 1, content.size(), f) == content.size();
  return fclose(f) == 0 && ok;
}

// Before `path` is deleted or overwritten by a rename (mutex held).
void remember(const std::string &path) {
  if (!tracking || is_kept_anyway(path)) return;
  undo u;
  u.path = path;
  u.existed = read_whole(path, &u.content);
  auto it = files.find(path);
  if (it != files.end()) {
    if (!it->second.entry_lasting) u.existed = false;
    else if (u.content.size() > it->second.synced) u.content.resize(it->second.synced);
    files.erase(it);
  }
  undos.push_back(u);
}

// ---- files ----

class faulty_writable : public rocksdb::FSWritableFileOwnerWrapper {
public:
  faulty_writable(std::unique_ptr<rocksdb::FSWritableFile> &&t, const std::string &path)
      : FSWritableFileOwnerWrapper(std::move(t)), path_(path) {}

  IOStatus Append(const Slice &data, const IOOptions &o, IODebugContext *d) override {
    IOStatus s = before_write(data, o, d);
    if (!s.ok()) return s;
    s = put(data, o, d);
    if (s.ok()) wrote(data.size());
    if (s.ok()) done(data.size());
    return s;
  }
  IOStatus Append(const Slice &data, const IOOptions &o, const DataVerificationInfo &, IODebugContext *d) override {
    return Append(data, o, d);
  }
  IOStatus Truncate(uint64_t size, const IOOptions &o, IODebugContext *d) override {
    if (active.load(std::memory_order_relaxed)) {
      std::lock_guard<std::mutex> lock(mutex);
      if (power_is_cut) return power_error();
    }
    return target()->Truncate(size, o, d);
  }
  IOStatus Sync(const IOOptions &o, IODebugContext *d) override {
    return synced([&] { return target()->Sync(o, d); });
  }
  IOStatus Fsync(const IOOptions &o, IODebugContext *d) override {
    return synced([&] { return target()->Fsync(o, d); });
  }
  virtual void done(size_t) {} // so much is in the file, and counted: a sync from now on covers it

protected:
  const std::string path_;
  virtual IOStatus put(const Slice &data, const IOOptions &o, IODebugContext *d) { return target()->Append(data, o, d); }

private:
  IOStatus before_write(const Slice &data, const IOOptions &o, IODebugContext *d) {
    if (!active.load(std::memory_order_relaxed)) return IOStatus::OK();
    std::lock_guard<std::mutex> lock(mutex);
    if (!has_power()) return power_error();
    if (strikes(KV_FAULT_WRITE, path_)) return IOStatus::IOError("write failed on request", path_);
    if (strikes(KV_FAULT_NO_SPACE, path_)) {
      IOStatus s = IOStatus::NoSpace("No space left on device (on request)", path_);
      return s;
    }
    if (strikes(KV_FAULT_HALF_WRITE, path_)) {
      size_t half = data.size() / 2;
      if (put(Slice(data.data(), half), o, d).ok()) {
        if (tracking) files[path_].written += half;
        done(half);
      }
      return IOStatus::IOError("half of a write failed on request", path_);
    }
    return IOStatus::OK();
  }

  void wrote(size_t n) {
    if (!active.load(std::memory_order_relaxed)) return;
    std::lock_guard<std::mutex> lock(mutex);
    if (tracking) files[path_].written += n;
  }

  template <class call> IOStatus synced(call sync) {
    if (!active.load(std::memory_order_relaxed)) return sync();
    uint64_t upto;
    {
      std::lock_guard<std::mutex> lock(mutex);
      if (!has_power()) return power_error();
      if (strikes(KV_FAULT_SYNC, path_)) return IOStatus::IOError("fsync failed on request", path_);
      upto = tracking ? files[path_].written : 0;
    }
    IOStatus s = tracking ? IOStatus::OK() : sync(); // under simulated power a real sync only costs time
    std::lock_guard<std::mutex> lock(mutex);
    if (power_is_cut) return power_error(); // cut meanwhile: whoever waits is told nothing good
    if (s.ok() && tracking) files[path_].synced = upto; // F1
    return s;
  }
};

// ---- logs ----

const uint64_t EXTEND_MIN = 64 << 10, EXTEND_MAX = 4 << 20;
const size_t LOG_BLOCK = 32768, LOG_HEADER = 7, LOG_HEADER_RECYCLED = 11; // db/log_format.h
const char zeros[64 << 10] = {0};

class log_writable;
std::mutex logs_mutex;
std::set<log_writable *> open_logs; // F5
uint64_t logs_created;
std::map<std::string, uint64_t> unnamed_logs; // directory: its newest log (counted by logs_created) that may lose its name

bool is_log(const std::string &path) { return path.size() > 4 && path.compare(path.size() - 4, 4, ".log") == 0; }

class log_writable : public faulty_writable {
public:
  log_writable(std::unique_ptr<rocksdb::FSWritableFile> &&t, const std::string &path)
      : faulty_writable(std::move(t), path) {
    std::lock_guard<std::mutex> lock(logs_mutex);
    open_logs.insert(this);
    unnamed_logs[directory_of(path)] = ++logs_created;
  }
  ~log_writable() override {
    std::lock_guard<std::mutex> lock(logs_mutex);
    open_logs.erase(this);
  }
  IOStatus Sync(const IOOptions &o, IODebugContext *d) override {
    uint64_t upto = appended_.load();
    sync_seen_.store(true, std::memory_order_relaxed);
    if (lasting_.load() == upto) return IOStatus::OK(); // F9
    if (sync_failed_) return IOStatus::IOError("an earlier sync failed", path_); // and may have dropped what a later one would not miss
    IOStatus s = faulty_writable::Sync(o, d);
    if (s.ok()) lasting_.store(upto);
    else sync_failed_ = true;
    return s;
  }
  IOStatus Close(const IOOptions &o, IODebugContext *d) override {
    if (zeroed_ > appended_.load() && has_power_now()) target()->Truncate(appended_.load(), o, d);
    zeroed_ = 0;
    std::lock_guard<std::mutex> lock(logs_mutex);
    open_logs.erase(this);
    return faulty_writable::Close(o, d);
  }
  const std::string &path() const { return path_; }
  uint64_t appended() const { return appended_.load(); }
  bool is_lasting() const { return lasting_.load() == appended_.load(); }

protected:
  // Called by one thread at a time; Sync may run beside it.
  IOStatus put(const Slice &data, const IOOptions &o, IODebugContext *d) override {
    uint64_t at = appended_.load(), end = at + data.size();
    IOStatus s;
    if (!positioned_ && !sync_seen_.load(std::memory_order_relaxed)) {
      s = target()->Append(data, o, d);
    } else {
      positioned_ = true;
      s = target()->PositionedAppend(data, at, o, d);
      if (s.ok() && end > zeroed_) extend(end, o, d);
    }
    return s;
  }
  void done(size_t n) override { appended_ += n; }

private:
  std::atomic<uint64_t> appended_{0}, lasting_{0};
  std::atomic<bool> sync_seen_{false}, sync_failed_{false};
  bool positioned_ = false;
  uint64_t zeroed_ = 0; // the file's size; what is behind appended_ is zeros

  static bool has_power_now() {
    if (!active.load(std::memory_order_relaxed)) return true;
    std::lock_guard<std::mutex> lock(mutex);
    return !power_is_cut;
  }
  // A disk that is too full for zeros is none of the caller's business.
  void extend(uint64_t from, const IOOptions &o, IODebugContext *d) {
    uint64_t step = from < EXTEND_MIN ? EXTEND_MIN : from > EXTEND_MAX ? EXTEND_MAX : from;
    for (uint64_t at = from; at < from + step; at += sizeof zeros)
      if (!target()->PositionedAppend(Slice(zeros, sizeof zeros), at, o, d).ok()) break;
      else zeroed_ = at + sizeof zeros;
  }
};

// Without the zeros: who copies a log that is being written (a checkpoint) reads so much and finds it.
bool open_log_size(const std::string &path, uint64_t *size) {
  std::lock_guard<std::mutex> lock(logs_mutex);
  for (log_writable *log : open_logs)
    if (log->path() == path) {
      *size = log->appended();
      return true;
    }
  return false;
}

// F5, but for the names: whether the directory is to be synced.
IOStatus sync_open_logs(const std::string &directory, bool *names, const IOOptions &o, IODebugContext *d) {
  std::lock_guard<std::mutex> lock(logs_mutex);
  *names = unnamed_logs.count(directory);
  for (log_writable *log : open_logs)
    if (directory_of(log->path()) == directory && !log->is_lasting()) {
      IOStatus s = log->Sync(o, d);
      if (!s.ok()) return s;
    }
  return IOStatus::OK();
}

// F4: where a log ends: at the first zero header, UINT64_MAX when there is none.
uint64_t log_end(rocksdb::FSSequentialFile *file) {
  std::vector<char> block(LOG_BLOCK);
  for (uint64_t base = 0;; base += LOG_BLOCK) {
    size_t n = 0;
    while (n < LOG_BLOCK) {
      Slice part;
      if (!file->Read(LOG_BLOCK - n, IOOptions(), &part, block.data() + n, nullptr).ok() || part.empty()) break;
      if (part.data() != block.data() + n) memmove(block.data() + n, part.data(), part.size());
      n += part.size();
    }
    for (size_t at = 0; at + LOG_HEADER <= n;) {
      const unsigned char *h = reinterpret_cast<unsigned char *>(block.data()) + at;
      size_t length = h[4] | (size_t)h[5] << 8;
      unsigned type = h[6];
      if (type == 0 && length == 0) return base + at;
      at += (type >= 5 && type <= 8 ? LOG_HEADER_RECYCLED : LOG_HEADER) + length;
    }
    if (n < LOG_BLOCK) return UINT64_MAX;
  }
}

IOStatus before_read(const std::string &path) {
  std::lock_guard<std::mutex> lock(mutex);
  return strikes(KV_FAULT_READ, path) ? IOStatus::IOError("read failed on request", path) : IOStatus::OK();
}

void after_read(const std::string &path, Slice *result, char *scratch) {
  std::lock_guard<std::mutex> lock(mutex);
  if (result->empty()) return;
  if (strikes(KV_FAULT_SHORT_READ, path)) {
    *result = Slice(result->data(), result->size() / 2);
  } else if (strikes(KV_FAULT_FLIP, path)) {
    if (result->data() != scratch) memcpy(scratch, result->data(), result->size());
    scratch[result->size() / 2] ^= 0x10;
    *result = Slice(scratch, result->size());
  }
}

class faulty_random : public rocksdb::FSRandomAccessFileOwnerWrapper {
public:
  faulty_random(std::unique_ptr<rocksdb::FSRandomAccessFile> &&t, const std::string &path)
      : FSRandomAccessFileOwnerWrapper(std::move(t)), path_(path) {}
  IOStatus Read(uint64_t offset, size_t n, const IOOptions &o, Slice *result, char *scratch,
                IODebugContext *d) const override {
    if (!active.load(std::memory_order_relaxed)) return target()->Read(offset, n, o, result, scratch, d);
    IOStatus s = before_read(path_);
    if (s.ok()) s = target()->Read(offset, n, o, result, scratch, d);
    if (s.ok()) after_read(path_, result, scratch);
    return s;
  }

private:
  std::string path_;
};

class faulty_sequential : public rocksdb::FSSequentialFileOwnerWrapper {
public:
  faulty_sequential(std::unique_ptr<rocksdb::FSSequentialFile> &&t, const std::string &path, uint64_t end)
      : FSSequentialFileOwnerWrapper(std::move(t)), path_(path), end_(end) {}
  IOStatus Read(size_t n, const IOOptions &o, Slice *result, char *scratch, IODebugContext *d) override {
    if (n > end_ - at_) n = end_ - at_;
    bool faults = active.load(std::memory_order_relaxed);
    IOStatus s = faults ? before_read(path_) : IOStatus::OK();
    if (s.ok()) s = target()->Read(n, o, result, scratch, d);
    if (!s.ok()) return s;
    at_ += result->size();
    if (faults) after_read(path_, result, scratch);
    return s;
  }
  IOStatus Skip(uint64_t n) override {
    if (n > end_ - at_) n = end_ - at_;
    at_ += n;
    return target()->Skip(n);
  }

private:
  std::string path_;
  uint64_t at_ = 0, end_;
};

class faulty_directory : public rocksdb::FSDirectoryWrapper {
public:
  faulty_directory(std::unique_ptr<rocksdb::FSDirectory> &&t, const std::string &path)
      : FSDirectoryWrapper(std::move(t)), path_(path) {
    while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
  }
  IOStatus Fsync(const IOOptions &o, IODebugContext *d) override {
    return synced([&] { return FSDirectoryWrapper::Fsync(o, d); });
  }
  IOStatus FsyncWithDirOptions(const IOOptions &o, IODebugContext *d, const rocksdb::DirFsyncOptions &more) override {
    return synced([&] { return FSDirectoryWrapper::FsyncWithDirOptions(o, d, more); });
  }

private:
  std::string path_;

  template <class call> IOStatus synced(call sync) {
    IOStatus s = before();
    uint64_t created;
    {
      std::lock_guard<std::mutex> lock(logs_mutex);
      created = logs_created;
    }
    if (s.ok() && !tracking) s = sync();
    if (s.ok()) s = after();
    if (!s.ok()) return s;
    std::lock_guard<std::mutex> lock(logs_mutex);
    auto newest = unnamed_logs.find(path_);
    if (newest != unnamed_logs.end() && newest->second <= created) unnamed_logs.erase(newest);
    return s;
  }
  IOStatus before() {
    if (!active.load(std::memory_order_relaxed)) return IOStatus::OK();
    std::lock_guard<std::mutex> lock(mutex);
    if (!has_power()) return power_error();
    return strikes(KV_FAULT_SYNC, path_ + "/") ? IOStatus::IOError("fsync failed on request", path_) : IOStatus::OK();
  }
  IOStatus after() { // F2
    if (!active.load(std::memory_order_relaxed)) return IOStatus::OK();
    std::lock_guard<std::mutex> lock(mutex);
    if (power_is_cut) return power_error();
    if (!tracking) return IOStatus::OK();
    for (auto &f : files)
      if (directory_of(f.first) == path_) f.second.entry_lasting = true;
    std::vector<undo> left;
    for (auto &u : undos)
      if (directory_of(u.path) != path_) left.push_back(u);
    undos.swap(left);
    return IOStatus::OK();
  }
};

// ---- the lock of a directory ----

// RocksDB's own goes by file name, so a directory that was moved aside under an open store would keep its name locked.
// Ours goes by what the file is: one table a process of (device, inode), and a POSIX record lock towards others.
struct file_identity {
  dev_t device;
  ino_t inode;
  bool operator<(const file_identity &o) const { return device != o.device ? device < o.device : inode < o.inode; }
};
std::mutex locks_mutex;
std::set<file_identity> locks;
pid_t locks_owner; // a forked child holds none of its parent's

class directory_lock : public rocksdb::FileLock {
public:
  directory_lock(int f, file_identity i) : fd(f), identity(i) {}
  int fd;
  file_identity identity;
};

IOStatus lock_directory(const std::string &f, rocksdb::FileLock **out) {
  std::lock_guard<std::mutex> guard(locks_mutex);
  struct stat st;
  if (locks_owner != getpid()) locks.clear();
  locks_owner = getpid();
  // Looked up before it is opened: closing a second descriptor of a file drops the process's record lock on it.
  if (stat(f.c_str(), &st) == 0 && locks.count({st.st_dev, st.st_ino}))
    return IOStatus::IOError("lock hold by current process", f);
  int fd = open(f.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  struct flock whole = {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (fd < 0 || fstat(fd, &st) != 0 || fcntl(fd, F_SETLK, &whole) != 0) {
    std::string why = strerror(errno);
    if (fd >= 0) close(fd);
    return IOStatus::IOError("While lock file: " + f, why);
  }
  locks.insert({st.st_dev, st.st_ino});
  *out = new directory_lock(fd, {st.st_dev, st.st_ino});
  return IOStatus::OK();
}

IOStatus unlock_directory(rocksdb::FileLock *lock) {
  std::lock_guard<std::mutex> guard(locks_mutex);
  directory_lock *l = static_cast<directory_lock *>(lock);
  locks.erase(l->identity);
  close(l->fd);
  delete l;
  return IOStatus::OK();
}

// ---- the file system ----

class helios_filesystem : public rocksdb::FileSystemWrapper {
public:
  explicit helios_filesystem(const std::shared_ptr<rocksdb::FileSystem> &t) : FileSystemWrapper(t) {}
  const char *Name() const override { return "HeliosFileSystem"; }
  // F7; NULL: plain. While no store uses it.
  void set_key(crypt_key *key) {
    crypt_key_release(key_);
    key_ = crypt_key_hold(key);
  }

  IOStatus NewWritableFile(const std::string &f, const FileOptions &o, std::unique_ptr<rocksdb::FSWritableFile> *r,
                           IODebugContext *d) override {
    if (f.find("/OPTIONS-") != std::string::npos) return IOStatus::NotSupported(UNWANTED); // F3
    uint64_t link = key_ && is_log(f) ? crypt_link(f) : 0;
    if (is_log(f)) {
      bool names;
      IOStatus s = sync_open_logs(directory_of(f), &names, o.io_options, d);
      if (s.ok() && names) s = sync_directory(directory_of(f), o.io_options, d);
      if (!s.ok()) return s;
    }
    if (active.load(std::memory_order_relaxed)) {
      std::lock_guard<std::mutex> lock(mutex);
      if (!has_power()) return power_error();
      if (strikes(KV_FAULT_NO_SPACE, f)) return IOStatus::NoSpace("No space left on device (on request)", f);
      if (tracking) files[f] = tracked_file();
    }
    std::unique_ptr<rocksdb::FSWritableFile> t;
    IOStatus s = target()->NewWritableFile(f, o, &t, d);
    if (!s.ok()) return s;
    std::function<bool()> is_lasting;
    if (is_log(f)) {
      log_writable *log = new log_writable(std::move(t), f);
      is_lasting = [log] { return log->is_lasting(); };
      r->reset(log);
    } else {
      r->reset(new faulty_writable(std::move(t), f));
    }
    if (!key_) return s;
    std::unique_ptr<rocksdb::FSWritableFile> raw = std::move(*r);
    return crypt_writable(key_, f, std::move(raw), link, is_lasting, o.io_options, d, r);
  }
  IOStatus NewRandomAccessFile(const std::string &f, const FileOptions &o,
                               std::unique_ptr<rocksdb::FSRandomAccessFile> *r, IODebugContext *d) override {
    std::unique_ptr<rocksdb::FSRandomAccessFile> t;
    IOStatus s = target()->NewRandomAccessFile(f, o, &t, d);
    if (s.ok()) r->reset(new faulty_random(std::move(t), f));
    if (!key_ || !s.ok()) return s;
    uint64_t physical;
    s = target()->GetFileSize(f, o.io_options, &physical, d);
    std::unique_ptr<rocksdb::FSRandomAccessFile> raw = std::move(*r);
    return s.ok() ? crypt_random_access(key_, f, physical, std::move(raw), r) : s;
  }
  IOStatus NewSequentialFile(const std::string &f, const FileOptions &o, std::unique_ptr<rocksdb::FSSequentialFile> *r,
                             IODebugContext *d) override {
    if (key_) return sealed_sequential(f, o, r, d);
    std::unique_ptr<rocksdb::FSSequentialFile> t;
    uint64_t end = UINT64_MAX;
    IOStatus s = target()->NewSequentialFile(f, o, &t, d);
    if (s.ok() && is_log(f)) {
      end = log_end(t.get());
      s = target()->NewSequentialFile(f, o, &t, d);
    }
    if (s.ok()) r->reset(new faulty_sequential(std::move(t), f, end));
    return s;
  }
  IOStatus ReopenWritableFile(const std::string &f, const FileOptions &o, std::unique_ptr<rocksdb::FSWritableFile> *r,
                              IODebugContext *d) override {
    return key_ ? IOStatus::NotSupported("a sealed file is written once") : target()->ReopenWritableFile(f, o, r, d);
  }
  IOStatus ReuseWritableFile(const std::string &f, const std::string &old, const FileOptions &o,
                             std::unique_ptr<rocksdb::FSWritableFile> *r, IODebugContext *d) override {
    return key_ ? IOStatus::NotSupported("a sealed file is written once") : target()->ReuseWritableFile(f, old, o, r, d);
  }
  IOStatus NewRandomRWFile(const std::string &f, const FileOptions &o, std::unique_ptr<rocksdb::FSRandomRWFile> *r,
                           IODebugContext *d) override {
    return key_ ? IOStatus::NotSupported("a sealed file is written once") : target()->NewRandomRWFile(f, o, r, d);
  }
  IOStatus NewMemoryMappedFileBuffer(const std::string &f, std::unique_ptr<rocksdb::MemoryMappedFileBuffer> *r) override {
    return key_ ? IOStatus::NotSupported("a sealed file is not mapped") : target()->NewMemoryMappedFileBuffer(f, r);
  }
  IOStatus GetFileSize(const std::string &f, const IOOptions &o, uint64_t *size, IODebugContext *d) override {
    if (!key_ && is_log(f) && open_log_size(f, size)) return IOStatus::OK();
    IOStatus s = target()->GetFileSize(f, o, size, d);
    if (!key_ || !s.ok()) return s;
    return crypt_size(f, *size, [&](std::unique_ptr<rocksdb::FSSequentialFile> *t) { return target()->NewSequentialFile(f, FileOptions(), t, d); }, size);
  }
  IOStatus GetChildrenFileAttributes(const std::string &f, const IOOptions &o, std::vector<rocksdb::FileAttributes> *r,
                                     IODebugContext *d) override {
    if (!key_) return target()->GetChildrenFileAttributes(f, o, r, d);
    return FileSystem::GetChildrenFileAttributes(f, o, r, d); // by GetFileSize
  }
  IOStatus LockFile(const std::string &f, const IOOptions &, rocksdb::FileLock **r, IODebugContext *) override {
    return lock_directory(f, r);
  }
  IOStatus UnlockFile(rocksdb::FileLock *lock, const IOOptions &, IODebugContext *) override {
    return unlock_directory(lock);
  }
  IOStatus NewDirectory(const std::string &f, const IOOptions &o, std::unique_ptr<rocksdb::FSDirectory> *r,
                        IODebugContext *d) override {
    std::unique_ptr<rocksdb::FSDirectory> t;
    IOStatus s = target()->NewDirectory(f, o, &t, d);
    if (s.ok()) r->reset(new faulty_directory(std::move(t), f));
    return s;
  }
  IOStatus DeleteFile(const std::string &f, const IOOptions &o, IODebugContext *d) override {
    if (active.load(std::memory_order_relaxed)) {
      std::lock_guard<std::mutex> lock(mutex);
      if (!has_power()) return power_error();
      remember(f);
    }
    return target()->DeleteFile(f, o, d);
  }
  IOStatus RenameFile(const std::string &from, const std::string &to, const IOOptions &o, IODebugContext *d) override {
    if (to.size() > 8 && to.compare(to.size() - 8, 8, "/CURRENT") == 0) { // F8
      IOStatus s = sync_directory(directory_of(to), o, d);
      if (!s.ok()) return s;
    }
    if (active.load(std::memory_order_relaxed)) {
      std::lock_guard<std::mutex> lock(mutex);
      if (!has_power()) return power_error();
      tracked_file moved;
      auto it = files.find(from);
      if (it != files.end()) moved = it->second;
      remember(to);
      if (tracking && it != files.end()) {
        files.erase(from);
        moved.entry_lasting = false;
        files[to] = moved;
      }
    }
    return target()->RenameFile(from, to, o, d);
  }
  IOStatus Truncate(const std::string &f, size_t size, const IOOptions &o, IODebugContext *d) override {
    if (active.load(std::memory_order_relaxed)) {
      std::lock_guard<std::mutex> lock(mutex);
      if (!has_power()) return power_error();
    }
    if (key_) return IOStatus::NotSupported("a sealed file is not cut");
    return target()->Truncate(f, size, o, d);
  }

private:
  crypt_key *key_ = nullptr;

  IOStatus sync_directory(const std::string &path, const IOOptions &o, IODebugContext *d) {
    std::unique_ptr<rocksdb::FSDirectory> directory;
    IOStatus s = NewDirectory(path, o, &directory, d);
    return s.ok() ? directory->FsyncWithDirOptions(o, d, rocksdb::DirFsyncOptions()) : s;
  }
  IOStatus sealed_sequential(const std::string &f, const FileOptions &o, std::unique_ptr<rocksdb::FSSequentialFile> *r, IODebugContext *d) {
    std::unique_ptr<rocksdb::FSSequentialFile> t[2];
    uint64_t physical;
    IOStatus s = target()->GetFileSize(f, o.io_options, &physical, d);
    for (int i = 0; i < (is_log(f) ? 2 : 1) && s.ok(); i++) {
      std::unique_ptr<rocksdb::FSSequentialFile> raw;
      s = target()->NewSequentialFile(f, o, &raw, d);
      if (s.ok()) t[i].reset(new faulty_sequential(std::move(raw), f, UINT64_MAX));
    }
    uint64_t frames = 0;
    if (s.ok() && (is_log(f) || f.find("/MANIFEST-") != std::string::npos)) s = frames_known(f, &frames, o.io_options, d);
    return s.ok() ? crypt_sequential(key_, f, physical, frames, std::move(t[0]), std::move(t[1]), r) : s;
  }
  // What the logs beside it know of this one.
  IOStatus frames_known(const std::string &f, uint64_t *frames, const IOOptions &o, IODebugContext *d) {
    std::vector<std::string> names;
    std::string directory = directory_of(f) + "/";
    IOStatus s = target()->GetChildren(directory, o, &names, d);
    for (size_t i = 0; i < names.size() && s.ok(); i++) {
      std::string log = directory + names[i];
      std::unique_ptr<rocksdb::FSRandomAccessFile> file;
      char header[CRYPT_FILE_HEADER], tail[CRYPT_END_BYTES];
      Slice head, end;
      uint64_t size;
      if (!is_log(log) || log == f || !target()->GetFileSize(log, o, &size, d).ok() || size < sizeof header) continue;
      s = target()->NewRandomAccessFile(log, FileOptions(), &file, d);
      if (s.ok()) s = file->Read(0, sizeof header, o, &head, header, d);
      if (s.ok()) s = file->Read(size - sizeof tail, sizeof tail, o, &end, tail, d);
      if (!s.ok()) break;
      uint64_t n = crypt_frames_known(key_, f, log, head, end);
      if (n > *frames) *frames = n;
    }
    return s;
  }
};

// ---- power ----

uint64_t random_next(uint64_t *seed) {
  *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
  return *seed >> 33;
}

const uint64_t SECTOR = 512;

// Behind what was synced a log may hold its zeros, with some of the pages written later among them.
void scatter_log(std::string *content, const tracked_file &f, uint64_t *seed) {
  for (uint64_t at = f.synced; at < content->size();) {
    uint64_t end = (at / SECTOR + 1) * SECTOR;
    if (end > content->size()) end = content->size();
    if (random_next(seed) % 3) memset(&(*content)[at], 0, end - at);
    at = end;
  }
}

void lose_unsynced(const std::string &path, const tracked_file &f, uint64_t *seed) {
  std::string content;
  if (!read_whole(path, &content)) return;
  if (*seed && is_log(path) && content.size() > f.synced && random_next(seed) % 2) {
    scatter_log(&content, f, seed);
    write_whole(path, content);
    return;
  }
  uint64_t keep = f.synced;
  bool damage = false;
  if (*seed && f.written > f.synced) {
    keep += random_next(seed) % (f.written - f.synced + 1);
    damage = random_next(seed) % 3 == 0 && keep > f.synced;
  }
  if (content.size() > keep) content.resize(keep);
  uint64_t sector = (keep - 1) / SECTOR * SECTOR; // a disk writes whole ones
  if (damage)
    for (uint64_t i = sector > f.synced ? sector : f.synced; i < content.size(); i++)
      content[i] = (char)random_next(seed);
  write_whole(path, content);
}

// One time in four the newest log is the only one of those without a lasting name that is there (F5).
bool name_survives(std::map<std::string, tracked_file>::iterator f, bool only_newest_log, uint64_t *seed) {
  if (f->second.entry_lasting) return true;
  if (!*seed || !only_newest_log || !is_log(f->first)) return *seed && random_next(seed) % 2;
  std::string directory = directory_of(f->first);
  while (++f != files.end())
    if (is_log(f->first) && directory_of(f->first) == directory) return false;
  return true;
}

// ---- messages ----

class quiet_logger : public rocksdb::Logger {
public:
  explicit quiet_logger(const std::string &directory) // empty: nothing is written
      : Logger(rocksdb::InfoLogLevel::WARN_LEVEL), path_(directory.empty() ? directory : directory + "/LOG") {}
  ~quiet_logger() override {
    if (file_) fclose(file_);
  }
  using Logger::Logv;
  void LogHeader(const char *, va_list) override {}
  void Logv(const rocksdb::InfoLogLevel level, const char *format, va_list ap) override {
    if (level < rocksdb::InfoLogLevel::WARN_LEVEL || level == rocksdb::InfoLogLevel::HEADER_LEVEL) return;
    Logv(format, ap);
  }
  void Logv(const char *format, va_list ap) override {
    char text[1024];
    vsnprintf(text, sizeof text, format, ap);
    if (strstr(text, UNWANTED) || path_.empty()) return;
    std::lock_guard<std::mutex> lock(mutex_);
    if (!file_ && !(file_ = fopen(path_.c_str(), "a"))) return;
    if (ftell(file_) > LOG_BYTES_MAX && (!freopen(path_.c_str(), "w", file_))) {
      file_ = nullptr;
      return;
    }
    time_t now = time(nullptr);
    struct tm t;
    char stamp[32];
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ ", gmtime_r(&now, &t));
    fprintf(file_, "%s%s\n", stamp, text);
    fflush(file_);
  }
  rocksdb::Status Close() override { return rocksdb::Status::OK(); }

private:
  enum { LOG_BYTES_MAX = 1 << 20 };
  std::string path_;
  std::mutex mutex_;
  FILE *file_ = nullptr;
};

// ---- the environment ----

// RocksDB sleeps a second after an error in the background; a test of faults need not.
class impatient_clock : public rocksdb::SystemClockWrapper {
public:
  explicit impatient_clock(const std::shared_ptr<rocksdb::SystemClock> &t) : SystemClockWrapper(t) {}
  const char *Name() const override { return "HeliosClock"; }
  void SleepForMicroseconds(int us) override {
    target_->SleepForMicroseconds(active.load() && us > 1000 ? 1000 : us);
  }
};

class helios_env : public background_env {
public:
  explicit helios_env(std::unique_ptr<rocksdb::Env> &&t) : background_env(std::move(t)) {
    file_system_ = this->target()->GetFileSystem();
    system_clock_ = std::make_shared<impatient_clock>(target()->GetSystemClock());
  }
};

// ---- the C handles ----

template <class T> T *rep_of(void *handle) { return *static_cast<T **>(handle); }

struct env_handle { // rocksdb_env_t
  rocksdb::Env *rep;
  bool is_default;
};
// Never destroyed, since background threads may outlive static destructors; those of closed stores are used again.
struct sealed_env {
  env_handle handle; // first: its address is this
  std::shared_ptr<helios_filesystem> fs;
  sealed_env() : fs(std::make_shared<helios_filesystem>(rocksdb::FileSystem::Default())) {
    handle = {new helios_env(rocksdb::NewCompositeEnv(fs)), false};
  }
};
std::vector<sealed_env *> &free_envs = *new std::vector<sealed_env *>; // guarded by mutex
struct logger_handle { // rocksdb_logger_t
  std::shared_ptr<rocksdb::Logger> rep;
};

} // namespace

extern "C" {

struct rocksdb_env_t *kv_filesystem_env(struct crypt_key *key) {
  if (!key) {
    static sealed_env *plain = new sealed_env();
    return reinterpret_cast<struct rocksdb_env_t *>(&plain->handle);
  }
  std::lock_guard<std::mutex> lock(mutex);
  sealed_env *e;
  if (free_envs.empty()) e = new sealed_env();
  else e = free_envs.back(), free_envs.pop_back();
  e->fs->set_key(key);
  return reinterpret_cast<struct rocksdb_env_t *>(&e->handle);
}

void kv_filesystem_env_free(struct rocksdb_env_t *env) {
  sealed_env *e = reinterpret_cast<sealed_env *>(env);
  std::lock_guard<std::mutex> lock(mutex);
  e->fs->set_key(nullptr);
  free_envs.push_back(e);
}

long kv_filesystem_read(struct rocksdb_env_t *env, const char *path, char *out, size_t n) {
  std::unique_ptr<rocksdb::FSSequentialFile> file;
  Slice got;
  IOStatus s = reinterpret_cast<sealed_env *>(env)->fs->NewSequentialFile(path, FileOptions(), &file, nullptr);
  if (s.ok()) s = file->Read(n, IOOptions(), &got, out, nullptr);
  if (!s.ok()) return -1;
  if (got.data() != out) memmove(out, got.data(), got.size());
  return (long)got.size();
}

struct rocksdb_logger_t *kv_filesystem_logger(const char *directory) {
  return reinterpret_cast<struct rocksdb_logger_t *>(new logger_handle{std::make_shared<quiet_logger>(directory ? directory : "")});
}

void kv_filesystem_logger_free(struct rocksdb_logger_t *logger) { delete reinterpret_cast<logger_handle *>(logger); }

char *kv_filesystem_flush(void *db, void **families, int n) {
  std::vector<rocksdb::ColumnFamilyHandle *> handles;
  for (int i = 0; i < n; i++) handles.push_back(rep_of<rocksdb::ColumnFamilyHandle>(families[i]));
  rocksdb::Status s = rep_of<rocksdb::DB>(db)->Flush(rocksdb::FlushOptions(), handles);
  return s.ok() ? nullptr : strdup(s.ToString().c_str());
}

char *kv_filesystem_begin_flush(void *db, void *family) {
  rocksdb::FlushOptions o;
  o.wait = false, o.allow_write_stall = true;
  rocksdb::Status s = rep_of<rocksdb::DB>(db)->Flush(o, rep_of<rocksdb::ColumnFamilyHandle>(family));
  return s.ok() || s.IsTryAgain() /* flushes are behind: the write will wait */ ? nullptr : strdup(s.ToString().c_str());
}

void kv_filesystem_pause(void *db) { rep_of<rocksdb::DB>(db)->PauseBackgroundWork(); }
void kv_filesystem_continue(void *db) { rep_of<rocksdb::DB>(db)->ContinueBackgroundWork(); }

void kv_filesystem_before_fork(void) {
  logs_mutex.lock(); // in the order in which they nest
  mutex.lock();
  crypt_before_fork();
}
void kv_filesystem_after_fork(bool child) {
  if (child) open_logs.clear(), unnamed_logs.clear(); // the parent's: it writes on
  crypt_after_fork(child);
  mutex.unlock();
  logs_mutex.unlock();
}

void kv_fault_set(enum kv_fault kind, const char *name, int nth) {
  std::lock_guard<std::mutex> lock(mutex);
  fault = kind;
  fault_name = name;
  fault_countdown = nth;
  fault_hits = 0;
  update_active();
}

void kv_fault_clear(void) {
  std::lock_guard<std::mutex> lock(mutex);
  fault = KV_FAULT_NONE;
  update_active();
}

int kv_fault_hits(void) {
  std::lock_guard<std::mutex> lock(mutex);
  return fault_hits;
}

void kv_fault_track(bool on) {
  std::lock_guard<std::mutex> lock(mutex);
  tracking = on;
  power_is_cut = false;
  cut_countdown = 0;
  files.clear();
  undos.clear();
  in_place.clear();
  update_active();
}

void kv_fault_power_cut(void) {
  std::lock_guard<std::mutex> lock(mutex);
  power_is_cut = true;
  update_active();
}

void kv_fault_power_cut_at(int nth) {
  std::lock_guard<std::mutex> lock(mutex);
  cut_countdown = nth;
  update_active();
}

bool kv_fault_power_is_cut(void) {
  std::lock_guard<std::mutex> lock(mutex);
  return power_is_cut;
}

int kv_filesystem_in_place(const char *path, size_t *n) {
  if (!active.load(std::memory_order_relaxed)) return 0;
  std::lock_guard<std::mutex> lock(mutex);
  size_t wanted = *n;
  *n = 0;
  if (!has_power()) return EIO;
  if (strikes(KV_FAULT_WRITE, path)) return EIO;
  if (strikes(KV_FAULT_NO_SPACE, path)) return ENOSPC;
  if (tracking) in_place.insert(path);
  if (strikes(KV_FAULT_HALF_WRITE, path)) return *n = wanted / 2, EIO;
  *n = wanted;
  return 0;
}

int kv_filesystem_sync_found(const char *path) {
  if (active.load(std::memory_order_relaxed)) {
    std::lock_guard<std::mutex> lock(mutex);
    if (!has_power()) return EIO;
    auto known = tracking ? files.find(path) : files.end();
    if (known != files.end()) known->second.synced = known->second.written, known->second.entry_lasting = true;
  }
  int fd = open(path, O_RDONLY | O_CLOEXEC), failed = 0;
  if (fd < 0) return 0; /* who reads it will say so */
  if (fdatasync(fd) != 0) failed = errno;
  close(fd);
  return failed;
}

// Without a seed no page was written back.
static void lose_pages(const std::string &path, uint64_t *seed) {
  const size_t PAGE = 4096;
  std::string content;
  if (!read_whole(path, &content)) return;
  for (size_t at = 0; at < content.size(); at += PAGE)
    if (!*seed || random_next(seed) % 2) content.replace(at, PAGE, std::string(std::min(PAGE, content.size() - at), '\0'));
  write_whole(path, content);
}

void kv_fault_power_back(uint64_t seed) {
  std::lock_guard<std::mutex> lock(mutex);
  std::set<std::string> done; // names whose last change lasted
  bool only_newest_log = seed && random_next(&seed) % 4 == 0;
  for (auto f = files.begin(); f != files.end(); f++) {
    if (is_kept_anyway(f->first)) continue;
    if (name_survives(f, only_newest_log, &seed)) {
      lose_unsynced(f->first, f->second, &seed);
      done.insert(f->first);
    } else {
      unlink(f->first.c_str());
    }
  }
  for (auto &path : in_place) lose_pages(path, &seed);
  in_place.clear();
  for (; !undos.empty(); undos.pop_back()) { // newest first, so that the oldest content wins
    const undo &u = undos.back();
    if (done.count(u.path)) continue;
    if (seed && !files.count(u.path) && random_next(&seed) % 2) done.insert(u.path); // a deletion that lasted
    else if (u.existed) write_whole(u.path, u.content);
  }
  for (auto &f : files) f.second = tracked_file();
  files.clear();
  power_is_cut = false;
  cut_countdown = 0;
  update_active();
}
}
