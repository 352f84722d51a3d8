// Files of an encrypted store, between RocksDB and the files of filesystem.cc: what RocksDB reads and writes is plain,
// what lies on the disk is sealed (kv/base/crypt.h has the formats). C++; private to this folder.
#ifndef HDB_KV_FILESYSTEM_CRYPT_H
#define HDB_KV_FILESYSTEM_CRYPT_H

#include <functional>
#include <memory>
#include <string>

#include <rocksdb/file_system.h>

struct crypt_key;

// In the text of an error that means damage, whatever RocksDB's kind of it is.
#define FILESYSTEM_DAMAGED "was damaged or changed from outside"

// What the header of a new log says of the one before it (S3); asked before the older ones are synced.
uint64_t crypt_link(const std::string &path);
// How many frames the log or MANIFEST at `path` must have by the first (CRYPT_FILE_HEADER) and last (CRYPT_END_BYTES) bytes
// of a log beside it.
enum { CRYPT_END_BYTES = 32 };
uint64_t crypt_frames_known(const crypt_key *key, const std::string &path, const std::string &log, const rocksdb::Slice &header, const rocksdb::Slice &tail);
// Takes over `t`, an empty new file. is_lasting: everything appended to t has been synced.
rocksdb::IOStatus crypt_writable(const crypt_key *key, const std::string &path, std::unique_ptr<rocksdb::FSWritableFile> t,
                                 uint64_t link, std::function<bool()> is_lasting, const rocksdb::IOOptions &o, rocksdb::IODebugContext *d,
                                 std::unique_ptr<rocksdb::FSWritableFile> *r);
rocksdb::IOStatus crypt_random_access(const crypt_key *key, const std::string &path, uint64_t physical,
                                      std::unique_ptr<rocksdb::FSRandomAccessFile> t,
                                      std::unique_ptr<rocksdb::FSRandomAccessFile> *r);
// `again` is the file once more (a log's end is looked at first); frames: how many it must have.
rocksdb::IOStatus crypt_sequential(const crypt_key *key, const std::string &path, uint64_t physical, uint64_t frames,
                                   std::unique_ptr<rocksdb::FSSequentialFile> t, std::unique_ptr<rocksdb::FSSequentialFile> again,
                                   std::unique_ptr<rocksdb::FSSequentialFile> *r);
// The size as RocksDB knows it; a log's is found by walking its frames. An open log answers for itself (t may be null then).
rocksdb::IOStatus crypt_size(const std::string &path, uint64_t physical,
                             const std::function<rocksdb::IOStatus(std::unique_ptr<rocksdb::FSSequentialFile> *)> &open,
                             uint64_t *size);

void crypt_before_fork(); // its mutex is held over a fork
void crypt_after_fork(bool child);

#endif
