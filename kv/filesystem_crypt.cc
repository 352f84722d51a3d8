// Two shapes of sealed files.
//
// Tables (SST, blob, CURRENT and other small ones): frames of 4,096 bytes, written once from front to back; the frame
// is written when more follows, the last one, flagged, at the first Sync or at Close.
// Logs (WAL, MANIFEST): a frame an append. A WAL that is closed with all of it synced gets an end mark (count of frames ·
// link to the MANIFEST · tag): then damage anywhere before it is an error, not the end.
//
// S1  A frame's number is its nonce and is used once: after a failed append, and after the last frame, a file takes
//     nothing more. Files are never opened again for writing (filesystem.cc refuses).
// S2  Zeros where a frame's head should be are the end of a log: the space written ahead (F4 of filesystem.cc).
// S3  In a WAL without an end mark (the process was killed, the power went) a frame that does not open ends what is valid.
//     But a new WAL begins only when those before it are durable (F5), and its header says which one that was and how many
//     frames it had: a log that ends before what its successor knew of is damaged. So only the newest log can lose a tail.
// S4  In a MANIFEST a frame that does not open is the end if no later one does: power went while it was written. Damage with
//     a frame behind it is an error, and so is an end before what an end mark knew of (number of the MANIFEST, frames of
//     it that were durable).
// What cannot be told apart from a crash: the newest log, or the MANIFEST without any end mark, cut off at a frame.
// Cost: per frame about 0.3 us and 0.2 us a KB; reading at random opens each frame it touches.
#include "kv/filesystem_crypt.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "kv/base/crypt.h"

using rocksdb::DataVerificationInfo;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

namespace {

const size_t SEALED_FRAME = CRYPT_FRAME + CRYPT_TAG, READ_FRAMES = 64, READ_AHEAD = 64 << 10;
const size_t TORN_MAX = 1 << 20; // bytes behind the last frame of a MANIFEST that a lost power may explain
const uint64_t FRAMES_TORN_MAX = 8; // ... and frames
const size_t END_BYTES = CRYPT_END_BYTES; // 8, 8, tag

struct file_name {
  crypt_kind kind;
  uint64_t number;
  bool is_stream() const { return kind == CRYPT_LOG || kind == CRYPT_MANIFEST; }
};

// A file that is written under another name first (CURRENT, IDENTITY) is a small one under both.
file_name name_of(const std::string &path) {
  const char *base = path.c_str() + path.find_last_of('/') + 1;
  if (strncmp(base, "MANIFEST-", 9) == 0) return {CRYPT_MANIFEST, strtoull(base + 9, nullptr, 10)};
  char *tail;
  uint64_t number = strtoull(base, &tail, 10);
  if (tail != base && strcmp(tail, ".log") == 0) return {CRYPT_LOG, number};
  if (tail != base && strcmp(tail, ".sst") == 0) return {CRYPT_TABLE, number};
  if (tail != base && strcmp(tail, ".blob") == 0) return {CRYPT_BLOB, number};
  return {CRYPT_SMALL, 0};
}

// Of IDENTITY RocksDB expects only I/O errors.
IOStatus damaged(const std::string &path) {
  return name_of(path).kind == CRYPT_SMALL ? IOStatus::IOError("an encrypted file " FILESYSTEM_DAMAGED, path)
                                           : IOStatus::Corruption("an encrypted file " FILESYSTEM_DAMAGED, path);
}
// RocksDB takes corruption in a log for its end.
IOStatus log_damaged(const std::string &path) { return IOStatus::IOError("an encrypted log " FILESYSTEM_DAMAGED, path); }
IOStatus sealing_failed(const std::string &path) { return IOStatus::IOError("sealing failed", path); }

uint8_t *bytes(std::string &s) { return reinterpret_cast<uint8_t *>(&s[0]); }
const uint8_t *bytes(const Slice &s) { return reinterpret_cast<const uint8_t *>(s.data()); }

struct file_deleter {
  void operator()(crypt_file *f) const { crypt_file_free(f); }
};
using file_key = std::unique_ptr<crypt_file, file_deleter>;

// ---- writing ----

class sealed_writable : public rocksdb::FSWritableFileOwnerWrapper {
public:
  sealed_writable(std::unique_ptr<rocksdb::FSWritableFile> &&t, const std::string &path, file_key key)
      : FSWritableFileOwnerWrapper(std::move(t)), path_(path), key_(std::move(key)) {}
  IOStatus Append(const Slice &data, const IOOptions &o, const DataVerificationInfo &, IODebugContext *d) override {
    return Append(data, o, d);
  }
  using rocksdb::FSWritableFileOwnerWrapper::Append;
  IOStatus PositionedAppend(const Slice &, uint64_t, const IOOptions &, IODebugContext *) override {
    return IOStatus::NotSupported("sealed files are appended to");
  }
  IOStatus PositionedAppend(const Slice &, uint64_t, const IOOptions &, const DataVerificationInfo &, IODebugContext *) override {
    return IOStatus::NotSupported("sealed files are appended to");
  }
  IOStatus Truncate(uint64_t size, const IOOptions &, IODebugContext *) override {
    return size == size_.load() ? IOStatus::OK() : IOStatus::NotSupported("sealed files are not cut");
  }
  uint64_t GetFileSize(const IOOptions &, IODebugContext *) override { return size_.load(); }
  IOStatus InvalidateCache(size_t, size_t) override { return IOStatus::OK(); }
  IOStatus RangeSync(uint64_t offset, uint64_t n, const IOOptions &o, IODebugContext *d) override {
    return target()->RangeSync(offset, n, o, d); // only a hint; the frames' tags make it a little short
  }

protected:
  const std::string path_;
  file_key key_;
  std::atomic<uint64_t> size_{0}; // logical
  std::string out_;
  bool over_ = false; // S1

  IOStatus put(const IOOptions &o, IODebugContext *d) {
    IOStatus s = target()->Append(out_, o, d);
    if (!s.ok()) over_ = true;
    return s;
  }
  IOStatus refuse() { return IOStatus::IOError("nothing more can be written to a sealed file", path_); }
};

class sealed_table : public sealed_writable {
public:
  using sealed_writable::sealed_writable;
  using sealed_writable::Append;
  IOStatus Append(const Slice &data, const IOOptions &o, IODebugContext *d) override {
    if (over_) return refuse();
    const uint8_t *p = bytes(data);
    size_t n = data.size();
    out_.clear();
    while (n) { // a full frame waits until it is known not to be the last
      if (waiting_.size() == CRYPT_FRAME && !seal(CRYPT_MORE)) return sealing_failed(path_);
      size_t part = CRYPT_FRAME - waiting_.size() < n ? CRYPT_FRAME - waiting_.size() : n;
      waiting_.append(reinterpret_cast<const char *>(p), part);
      p += part, n -= part;
    }
    IOStatus s = out_.empty() ? IOStatus::OK() : put(o, d);
    if (s.ok()) size_ += data.size();
    return s;
  }
  IOStatus Sync(const IOOptions &o, IODebugContext *d) override {
    IOStatus s = finish(o, d);
    return s.ok() ? target()->Sync(o, d) : s;
  }
  IOStatus Fsync(const IOOptions &o, IODebugContext *d) override {
    IOStatus s = finish(o, d);
    return s.ok() ? target()->Fsync(o, d) : s;
  }
  IOStatus Close(const IOOptions &o, IODebugContext *d) override {
    IOStatus s = finish(o, d), closed = target()->Close(o, d);
    return s.ok() ? closed : s;
  }

private:
  std::string waiting_;
  uint64_t frames_ = 0;
  bool finished_ = false;

  bool seal(crypt_flag flag) {
    size_t at = out_.size();
    out_.resize(at + waiting_.size() + CRYPT_TAG);
    bool good = crypt_seal(key_.get(), flag, frames_++, slice{nullptr, 0}, bytes(waiting_), waiting_.size(), bytes(out_) + at);
    waiting_.clear();
    if (!good) over_ = true;
    return good;
  }
  IOStatus finish(const IOOptions &o, IODebugContext *d) {
    if (finished_) return IOStatus::OK();
    if (over_) return refuse();
    out_.clear();
    if (!seal(CRYPT_LAST)) return sealing_failed(path_);
    IOStatus s = put(o, d);
    over_ = finished_ = true;
    if (!s.ok()) finished_ = false;
    return s;
  }
};

class sealed_log;
std::mutex logs_mutex;
// Never destroyed: logs may be closed while the process ends.
std::map<std::string, sealed_log *> &open_logs = *new std::map<std::string, sealed_log *>; // those being written, for crypt_size and S3
std::map<std::string, uint64_t> &read_logs = *new std::map<std::string, uint64_t>; // frames of those that were read to their end, until a new one begins

uint64_t link_of(uint64_t number, uint64_t frames) { return number << 32 | (frames & UINT32_MAX); }

class sealed_log : public sealed_writable {
public:
  sealed_log(std::unique_ptr<rocksdb::FSWritableFile> &&t, const std::string &path, file_key key, std::function<bool()> is_lasting)
      : sealed_writable(std::move(t), path, std::move(key)), is_lasting_(is_lasting) {
    std::lock_guard<std::mutex> lock(logs_mutex);
    open_logs[path_] = this;
  }
  ~sealed_log() override { forget(); }
  uint64_t frames() const { return frames_.load(); }
  using sealed_writable::Append;
  IOStatus Append(const Slice &data, const IOOptions &o, IODebugContext *d) override {
    if (over_) return refuse();
    if (data.empty()) return IOStatus::OK();
    out_.resize(CRYPT_RECORD + data.size() + CRYPT_TAG);
    crypt_record_put(bytes(out_), (uint32_t)data.size());
    if (data.size() > INT32_MAX || !crypt_seal(key_.get(), CRYPT_MORE, frames_, slice{bytes(out_), CRYPT_RECORD}, bytes(data), data.size(), bytes(out_) + CRYPT_RECORD)) {
      over_ = true;
      return sealing_failed(path_);
    }
    IOStatus s = put(o, d); // a failure is the last use of this number (S1)
    if (s.ok()) size_ += data.size(), frames_++;
    if (out_.capacity() > 1 << 20) std::string().swap(out_);
    return s;
  }
  IOStatus Close(const IOOptions &o, IODebugContext *d) override {
    if (!over_ && is_lasting_ && is_lasting_()) {
      out_.assign(END_BYTES, 0);
      put_be64(bytes(out_), frames());
      put_be64(bytes(out_) + 8, manifest_link());
      if (crypt_seal(key_.get(), CRYPT_END, frames(), slice{bytes(out_), 16}, nullptr, 0, bytes(out_) + 16)) put(o, d); // no loss without it
    }
    over_ = true;
    forget();
    return target()->Close(o, d);
  }

  IOStatus Sync(const IOOptions &o, IODebugContext *d) override {
    uint64_t upto = frames();
    IOStatus s = target()->Sync(o, d);
    if (s.ok()) lasting_ = upto;
    return s;
  }
  IOStatus Fsync(const IOOptions &o, IODebugContext *d) override {
    uint64_t upto = frames();
    IOStatus s = target()->Fsync(o, d);
    if (s.ok()) lasting_ = upto;
    return s;
  }

private:
  std::function<bool()> is_lasting_;
  std::atomic<uint64_t> frames_{0}, lasting_{0};

  // The newest MANIFEST that is being written beside this log.
  uint64_t manifest_link() {
    size_t folder = path_.find_last_of('/') + 1;
    uint64_t number = 0, durable = 0;
    std::lock_guard<std::mutex> lock(logs_mutex);
    for (auto &log : open_logs)
      if (log.first.compare(0, folder, path_, 0, folder) == 0 && name_of(log.first).kind == CRYPT_MANIFEST && name_of(log.first).number >= number)
        number = name_of(log.first).number, durable = log.second->lasting_;
    return link_of(number, durable);
  }

  void forget() {
    std::lock_guard<std::mutex> lock(logs_mutex);
    auto it = open_logs.find(path_);
    if (it != open_logs.end() && it->second == this) open_logs.erase(it);
  }
};

// ---- reading tables ----

class sealed_random : public rocksdb::FSRandomAccessFile {
public:
  sealed_random(std::unique_ptr<rocksdb::FSRandomAccessFile> t, const std::string &path, file_key key, uint64_t physical)
      : target_(std::move(t)), path_(path), key_(std::move(key)), physical_(physical), frames_(crypt_table_frames(physical)),
        size_(crypt_table_size(physical)) {}

  IOStatus Read(uint64_t offset, size_t n, const IOOptions &o, Slice *result, char *scratch, IODebugContext *d) const override {
    if (offset >= size_) n = 0;
    else if (n > size_ - offset) n = size_ - offset;
    for (size_t done = 0; done < n;) {
      IOStatus s = read_frames(offset, n, &done, o, reinterpret_cast<uint8_t *>(scratch), d);
      if (!s.ok()) return s;
    }
    *result = Slice(scratch, n);
    return IOStatus::OK();
  }
  size_t GetUniqueId(char *id, size_t max) const override { return target_->GetUniqueId(id, max); }
  IOStatus InvalidateCache(size_t, size_t) override { return IOStatus::OK(); }

private:
  std::unique_ptr<rocksdb::FSRandomAccessFile> target_;
  const std::string path_;
  file_key key_;
  const uint64_t physical_, frames_, size_;

  // Up to READ_FRAMES frames of [offset, offset + n) behind what is done.
  IOStatus read_frames(uint64_t offset, size_t n, size_t *done, const IOOptions &o, uint8_t *out, IODebugContext *d) const {
    static thread_local std::vector<char> sealed(SEALED_FRAME * 4);
    uint64_t first = (offset + *done) / CRYPT_FRAME, end = (offset + n - 1) / CRYPT_FRAME + 1;
    if (end > first + READ_FRAMES) end = first + READ_FRAMES;
    uint64_t at = crypt_table_at(first), upto = crypt_table_at(end) < physical_ ? crypt_table_at(end) : physical_;
    if (sealed.size() < upto - at) sealed.resize(upto - at);
    Slice got;
    IOStatus s = target_->Read(at, upto - at, o, &got, sealed.data(), d);
    if (!s.ok()) return s;
    if (got.size() != upto - at) return damaged(path_);
    for (uint64_t f = first; f < end; f++) {
      uint64_t from = crypt_table_at(f) - at, length = (crypt_table_at(f + 1) < upto ? crypt_table_at(f + 1) : upto) - at - from;
      if (length < CRYPT_TAG || !open_frame(f, bytes(got) + from, length - CRYPT_TAG, offset, n, out)) return damaged(path_);
    }
    *done = end * CRYPT_FRAME - offset < n ? end * CRYPT_FRAME - offset : n;
    return s;
  }
  // The part of frame f that lies in [offset, offset + n) goes to its place in out.
  bool open_frame(uint64_t f, const uint8_t *in, size_t length, uint64_t offset, size_t n, uint8_t *out) const {
    crypt_flag flag = f + 1 == frames_ ? CRYPT_LAST : CRYPT_MORE;
    uint64_t start = f * CRYPT_FRAME;
    if (start >= offset && start + length <= offset + n)
      return crypt_open(key_.get(), flag, f, slice{nullptr, 0}, in, length, out + (start - offset));
    uint8_t plain[CRYPT_FRAME];
    if (!crypt_open(key_.get(), flag, f, slice{nullptr, 0}, in, length, plain)) return false;
    uint64_t from = start > offset ? start : offset, to = start + length < offset + n ? start + length : offset + n;
    memcpy(out + (from - offset), plain + (from - start), to - from);
    return true;
  }
};

// ---- reading in order ----

// Bytes of the file below, through a buffer.
class raw_reader {
public:
  explicit raw_reader(std::unique_ptr<rocksdb::FSSequentialFile> t) : target_(std::move(t)), buffer_(READ_AHEAD) {}
  // Exactly n bytes unless the file ends: *got says.
  IOStatus read(uint8_t *out, size_t n, size_t *got) {
    *got = 0;
    while (*got < n) {
      if (at_ == end_) {
        Slice part;
        IOStatus s = target_->Read(buffer_.size(), IOOptions(), &part, buffer_.data(), nullptr);
        if (!s.ok()) return s;
        if (part.empty()) return s;
        if (part.data() != buffer_.data()) memmove(buffer_.data(), part.data(), part.size());
        at_ = 0, end_ = part.size();
      }
      size_t part = end_ - at_ < n - *got ? end_ - at_ : n - *got;
      memcpy(out + *got, buffer_.data() + at_, part);
      at_ += part, *got += part;
    }
    return IOStatus::OK();
  }
  IOStatus skip(uint64_t n) {
    uint64_t here = end_ - at_ < n ? end_ - at_ : n;
    at_ += here;
    return here < n ? target_->Skip(n - here) : IOStatus::OK();
  }

private:
  std::unique_ptr<rocksdb::FSSequentialFile> target_;
  std::vector<char> buffer_;
  size_t at_ = 0, end_ = 0;
};

class sealed_sequential : public rocksdb::FSSequentialFile {
public:
  sealed_sequential(std::unique_ptr<raw_reader> raw, const std::string &path, file_key key)
      : path_(path), raw_(std::move(raw)), key_(std::move(key)) {}

  IOStatus Read(size_t n, const IOOptions &, Slice *result, char *scratch, IODebugContext *) override {
    size_t done = 0;
    while (done < n) {
      if (at_ == plain_.size()) {
        at_ = 0;
        plain_.clear();
        IOStatus s = next_frame();
        if (!s.ok()) return s;
        if (plain_.empty()) break;
      }
      size_t part = plain_.size() - at_ < n - done ? plain_.size() - at_ : n - done;
      memcpy(scratch + done, plain_.data() + at_, part);
      at_ += part, done += part, position_ += part;
    }
    *result = Slice(scratch, done);
    return IOStatus::OK();
  }
  IOStatus Skip(uint64_t n) override {
    char bin[4096];
    for (Slice part; n; n -= part.size()) {
      IOStatus s = Read(n < sizeof bin ? n : sizeof bin, IOOptions(), &part, bin, nullptr);
      if (!s.ok() || part.empty()) return s;
    }
    return IOStatus::OK();
  }
  IOStatus InvalidateCache(size_t, size_t) override { return IOStatus::OK(); }

protected:
  const std::string path_;
  std::unique_ptr<raw_reader> raw_;
  file_key key_;
  std::string plain_;
  size_t at_ = 0;
  uint64_t position_ = 0, frames_ = 0;

  virtual IOStatus next_frame() = 0; // fills plain_; empty: the end
};

class sealed_table_sequential : public sealed_sequential {
public:
  sealed_table_sequential(std::unique_ptr<raw_reader> raw, const std::string &path, file_key key, uint64_t physical)
      : sealed_sequential(std::move(raw), path, std::move(key)), total_(crypt_table_frames(physical)) {}

protected:
  IOStatus next_frame() override {
    if (frames_ >= total_) return total_ ? IOStatus::OK() : damaged(path_); // not even the last frame is there
    uint8_t sealed[SEALED_FRAME];
    size_t n;
    IOStatus s = raw_->read(sealed, sizeof sealed, &n);
    if (!s.ok()) return s;
    bool last = frames_ + 1 == total_;
    if (n < CRYPT_TAG || (!last && n != sizeof sealed)) return damaged(path_);
    plain_.resize(n - CRYPT_TAG);
    if (!crypt_open(key_.get(), last ? CRYPT_LAST : CRYPT_MORE, frames_++, slice{nullptr, 0}, sealed, n - CRYPT_TAG, bytes(plain_)))
      return damaged(path_);
    return IOStatus::OK();
  }

private:
  uint64_t total_;
};

class sealed_log_sequential : public sealed_sequential {
public:
  // marked: an end mark stands behind the frames and says that there are `expected`; otherwise there are at least so many.
  sealed_log_sequential(std::unique_ptr<raw_reader> raw, const std::string &path, file_key key, uint64_t physical, bool marked, uint64_t expected)
      : sealed_sequential(std::move(raw), path, std::move(key)), left_(physical - CRYPT_FILE_HEADER - (marked ? END_BYTES : 0)), marked_(marked),
        expected_(expected), is_manifest_(name_of(path).kind == CRYPT_MANIFEST) {}

protected:
  IOStatus next_frame() override {
    if (ended_) return IOStatus::OK();
    if (marked_ && frames_ == expected_) return end(left_ == 0);
    uint8_t record[CRYPT_RECORD];
    size_t n;
    IOStatus s = raw_->read(record, sizeof record, &n);
    if (!s.ok()) return s;
    uint32_t length;
    enum crypt_record what = crypt_record_get(record, &length);
    if (n < sizeof record) return end(n == 0 || is_manifest_);
    if (what == CRYPT_RECORD_ZERO && !is_manifest_) return end(true); // S2
    if (what != CRYPT_RECORD_OK) return torn(std::string((const char *)record, sizeof record));
    if (length + (uint64_t)CRYPT_TAG > left_ - CRYPT_RECORD) return end(is_manifest_ && !marked_); // S4
    std::string sealed(length + CRYPT_TAG, 0);
    s = raw_->read(bytes(sealed), sealed.size(), &n);
    if (!s.ok()) return s;
    if (n < sealed.size()) return end(is_manifest_);
    plain_.resize(length);
    if (!crypt_open(key_.get(), CRYPT_MORE, frames_, slice{record, CRYPT_RECORD}, bytes(sealed), length, bytes(plain_))) {
      plain_.clear();
      return torn(std::string((const char *)record, sizeof record) + sealed);
    }
    frames_++;
    left_ -= CRYPT_RECORD + sealed.size();
    return IOStatus::OK();
  }

private:
  uint64_t left_;
  bool marked_, ended_ = false;
  uint64_t expected_;
  bool is_manifest_;

  // A frame that does not open, with `rest` read of it.
  IOStatus torn(std::string rest) {
    if (!is_manifest_ || marked_) return end(false);
    for (uint8_t part[4096]; rest.size() < TORN_MAX;) {
      size_t n;
      IOStatus s = raw_->read(part, sizeof part, &n);
      if (!s.ok()) return s;
      rest.append((const char *)part, n);
      if (n < sizeof part) return end(!opens_later(rest));
    }
    return end(false); // no write of a MANIFEST is so long
  }

  bool opens_later(const std::string &rest) {
    std::string plain;
    for (size_t at = 1; at + CRYPT_RECORD + CRYPT_TAG <= rest.size(); at++) {
      slice record{(const uint8_t *)rest.data() + at, CRYPT_RECORD};
      uint32_t length;
      if (crypt_record_get(record.p, &length) != CRYPT_RECORD_OK || length + (uint64_t)CRYPT_TAG > rest.size() - at - CRYPT_RECORD) continue;
      for (uint64_t frame = frames_ + 1; frame <= frames_ + FRAMES_TORN_MAX; frame++) {
        std::string sealed = rest.substr(at + CRYPT_RECORD, length + CRYPT_TAG);
        plain.resize(length);
        if (crypt_open(key_.get(), CRYPT_MORE, frame, record, bytes(sealed), length, bytes(plain))) return true;
      }
    }
    return false;
  }

  IOStatus end(bool proper) {
    ended_ = true;
    if (is_manifest_) return proper && frames_ >= expected_ ? IOStatus::OK() : damaged(path_);
    if (frames_ < expected_ || (marked_ && !proper)) return log_damaged(path_);
    std::lock_guard<std::mutex> lock(logs_mutex);
    read_logs[path_] = frames_;
    return IOStatus::OK();
  }
};

// ---- opening ----

IOStatus open_key(const crypt_key *key, const std::string &path, const uint8_t *header, size_t n, file_key *out, bool *headless = nullptr) {
  file_name name = name_of(path);
  crypt_file *f = nullptr;
  if (n != CRYPT_FILE_HEADER) return damaged(path);
  status rc = crypt_file_open(key, name.kind, name.number, header, &f);
  out->reset(f);
  if (headless) *headless = rc == HDB_NOTADB;
  if (rc == HDB_NOMEM) return IOStatus::IOError("out of memory", path);
  return rc == HDB_OK ? IOStatus::OK() : damaged(path);
}

// A log whose header never reached the disk: its creation was interrupted. Reads as empty.
class headless_log : public rocksdb::FSSequentialFile {
public:
  IOStatus Read(size_t, const IOOptions &, Slice *result, char *scratch, IODebugContext *) override {
    *result = Slice(scratch, 0);
    return IOStatus::OK();
  }
  IOStatus Skip(uint64_t) override { return IOStatus::OK(); }
};

bool opens_end(crypt_file *f, const Slice &mark) {
  return mark.size() == END_BYTES && crypt_open(f, CRYPT_END, get_be64(bytes(mark)), slice{bytes(mark), 16}, bytes(mark) + 16, 0, nullptr);
}

bool all_zeros(const uint8_t *p, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (p[i]) return false;
  return true;
}

} // namespace

void crypt_before_fork() { logs_mutex.lock(); }
void crypt_after_fork(bool child) {
  if (child) open_logs.clear(), read_logs.clear(); // the parent's
  logs_mutex.unlock();
}

uint64_t crypt_link(const std::string &path) {
  std::string directory = path.substr(0, path.find_last_of('/') + 1);
  uint64_t number = name_of(path).number, before = 0, frames = 0;
  auto consider = [&](const std::string &other, uint64_t n) {
    uint64_t its = name_of(other).number;
    if (name_of(other).kind == CRYPT_LOG && other.compare(0, directory.size(), directory) == 0 && its < number && its >= before)
      before = its, frames = n;
  };
  std::lock_guard<std::mutex> lock(logs_mutex);
  for (auto &log : open_logs) consider(log.first, log.second->frames());
  for (auto it = read_logs.begin(); it != read_logs.end();) {
    consider(it->first, it->second);
    if (it->first.compare(0, directory.size(), directory) == 0) it = read_logs.erase(it);
    else ++it;
  }
  return link_of(before, frames);
}

uint64_t crypt_frames_known(const crypt_key *key, const std::string &path, const std::string &log, const Slice &header, const Slice &tail) {
  crypt_file *f = nullptr;
  file_name name = name_of(log), of = name_of(path);
  if (name.kind != CRYPT_LOG || header.size() != CRYPT_FILE_HEADER) return 0;
  if (crypt_file_open(key, name.kind, name.number, bytes(header), &f) != HDB_OK) return 0;
  file_key holder(f);
  uint64_t link = crypt_file_link(bytes(header));
  if (of.kind == CRYPT_MANIFEST) link = opens_end(f, tail) ? get_be64(bytes(tail) + 8) : 0;
  else if (name.number <= of.number) return 0;
  return link >> 32 == of.number ? link & UINT32_MAX : 0;
}

IOStatus crypt_writable(const crypt_key *key, const std::string &path, std::unique_ptr<rocksdb::FSWritableFile> t,
                        uint64_t link, std::function<bool()> is_lasting, const IOOptions &o, IODebugContext *d, std::unique_ptr<rocksdb::FSWritableFile> *r) {
  file_name name = name_of(path);
  uint8_t header[CRYPT_FILE_HEADER];
  crypt_file *f = nullptr;
  if (crypt_file_new(key, name.kind, name.number, link, header, &f) != HDB_OK) return sealing_failed(path);
  file_key holder(f);
  IOStatus s = t->Append(Slice(reinterpret_cast<char *>(header), sizeof header), o, d);
  if (!s.ok()) return s;
  if (name.is_stream()) r->reset(new sealed_log(std::move(t), path, std::move(holder), name.kind == CRYPT_LOG ? is_lasting : nullptr));
  else r->reset(new sealed_table(std::move(t), path, std::move(holder)));
  return s;
}

IOStatus crypt_random_access(const crypt_key *key, const std::string &path, uint64_t physical, std::unique_ptr<rocksdb::FSRandomAccessFile> t,
                             std::unique_ptr<rocksdb::FSRandomAccessFile> *r) {
  char header[CRYPT_FILE_HEADER];
  Slice got;
  file_key holder;
  if (name_of(path).is_stream()) return IOStatus::NotSupported("a sealed log is read in order", path);
  IOStatus s = t->Read(0, sizeof header, IOOptions(), &got, header, nullptr);
  if (s.ok()) s = open_key(key, path, bytes(got), got.size(), &holder);
  if (s.ok()) r->reset(new sealed_random(std::move(t), path, std::move(holder), physical));
  return s;
}

IOStatus crypt_sequential(const crypt_key *key, const std::string &path, uint64_t physical, uint64_t frames, std::unique_ptr<rocksdb::FSSequentialFile> t,
                          std::unique_ptr<rocksdb::FSSequentialFile> again, std::unique_ptr<rocksdb::FSSequentialFile> *r) {
  file_name name = name_of(path);
  uint8_t header[CRYPT_FILE_HEADER], mark[END_BYTES];
  size_t n;
  file_key holder;
  std::unique_ptr<raw_reader> raw(new raw_reader(std::move(t)));
  IOStatus s = raw->read(header, sizeof header, &n);
  if (!s.ok()) return s;
  bool headless = n < sizeof header || all_zeros(header, sizeof header);
  if (!headless || name.kind != CRYPT_LOG) s = open_key(key, path, header, n, &holder, &headless);
  if (name.kind == CRYPT_LOG && headless) {
    r->reset(new headless_log());
    return frames ? log_damaged(path) : IOStatus::OK();
  }
  if (!s.ok()) return s;
  if (!name.is_stream()) {
    r->reset(new sealed_table_sequential(std::move(raw), path, std::move(holder), physical));
    return s;
  }
  bool marked = false;
  uint64_t expected = frames;
  if (name.kind == CRYPT_LOG && physical >= CRYPT_FILE_HEADER + END_BYTES) {
    raw_reader tail(std::move(again));
    s = tail.skip(physical - END_BYTES);
    if (s.ok()) s = tail.read(mark, sizeof mark, &n);
    if (!s.ok()) return s;
    marked = opens_end(holder.get(), Slice(reinterpret_cast<char *>(mark), n));
    if (marked) expected = get_be64(mark);
  }
  r->reset(new sealed_log_sequential(std::move(raw), path, std::move(holder), physical, marked, expected));
  return s;
}

IOStatus crypt_size(const std::string &path, uint64_t physical, const std::function<IOStatus(std::unique_ptr<rocksdb::FSSequentialFile> *)> &open,
                    uint64_t *size) {
  if (!name_of(path).is_stream()) {
    *size = crypt_table_size(physical);
    return IOStatus::OK();
  }
  {
    std::lock_guard<std::mutex> lock(logs_mutex);
    auto it = open_logs.find(path);
    if (it != open_logs.end()) {
      *size = it->second->GetFileSize(IOOptions(), nullptr);
      return IOStatus::OK();
    }
  }
  std::unique_ptr<rocksdb::FSSequentialFile> t;
  IOStatus s = open(&t);
  if (!s.ok()) return s;
  raw_reader raw(std::move(t));
  s = raw.skip(CRYPT_FILE_HEADER);
  *size = 0;
  for (uint64_t at = CRYPT_FILE_HEADER; s.ok() && at + CRYPT_RECORD + CRYPT_TAG <= physical;) {
    uint8_t record[CRYPT_RECORD];
    uint32_t length;
    size_t n;
    s = raw.read(record, sizeof record, &n);
    if (!s.ok() || n < sizeof record || crypt_record_get(record, &length) != CRYPT_RECORD_OK) break;
    at += CRYPT_RECORD + (uint64_t)length + CRYPT_TAG;
    if (at > physical) break;
    *size += length;
    s = raw.skip((uint64_t)length + CRYPT_TAG);
  }
  return s;
}
