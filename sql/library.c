/* What needs no connection: versions, memory, texts of codes. */
#include <stdlib.h>

#include "kv/base/version.h"
#include "sql/internal.h"

const char *hdb_libversion(void) { return HDB_SQLITE_VERSION; }
const char *hdb_product_version(void) { return HDB_VERSION; }
int hdb_complete(const char *sql) { return sql ? grammar_complete(sql) : 0; }
const char *hdb_errstr(int code) { return status_text((status)code); }
void *hdb_malloc(size_t bytes) { return bytes ? malloc(bytes) : NULL; }
void hdb_free(void *p) { free(p); }
