// RocksDB's C++ side, where its C interface does not reach: the only C++ file.
//
// The C handles are structs with one pointer, `rep`, as their first member (rocksdb/c.cc, 7.8 to 10.x).
#include "kv/filesystem.h"

#include <cstdlib>
#include <cstring>
#include <vector>

#include <rocksdb/db.h>
#include <rocksdb/env.h>

namespace {

template <class T> T *rep_of(void *handle) { return *static_cast<T **>(handle); }

struct env_handle { // rocksdb_env_t
  rocksdb::Env *rep;
  bool is_default;
};

} // namespace

extern "C" {

struct rocksdb_env_t *kv_filesystem_env(void) {
  static env_handle handle = {rocksdb::Env::Default(), true};
  return reinterpret_cast<struct rocksdb_env_t *>(&handle);
}

char *kv_filesystem_flush(void *db, void **families, int n) {
  std::vector<rocksdb::ColumnFamilyHandle *> handles;
  for (int i = 0; i < n; i++) handles.push_back(rep_of<rocksdb::ColumnFamilyHandle>(families[i]));
  rocksdb::Status s = rep_of<rocksdb::DB>(db)->Flush(rocksdb::FlushOptions(), handles);
  return s.ok() ? nullptr : strdup(s.ToString().c_str());
}
}
