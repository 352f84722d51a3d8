#include "kv/backend.h"
status rocks_open(const char *path, const kv_options *options, kv **out) {
  return kv_fail(HDB_ERROR, "not supported yet: stores on disk");
}
