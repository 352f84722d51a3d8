#ifndef HDB_KV_BASE_VERSION_H
#define HDB_KV_BASE_VERSION_H
#define HDB_VERSION "0.1.0"
#define HDB_SQLITE_VERSION "3.45.0"
#define HDB_SQLITE_VERSION_NUMBER 3045000
extern const char hdb_version_text[];
#endif
