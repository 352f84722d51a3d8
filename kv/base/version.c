/* The product's version, one place. */
#include "kv/base/version.h"
const char hdb_version_text[] = HDB_VERSION;
