/* No mirror yet: app.db stays the empty file that open made. Whoever writes mirror.c deletes this file. */
#include "sql/mirror.h"

const bool mirror_is_built_in = false;

status mirror_open(hdb *db, database *d, error *err) { return HDB_OK; }
void mirror_close(hdb *db, database *d) {}
status mirror_checkpoint(hdb *db, database *d, error *err) { return HDB_OK; }
void mirror_pages(const database *d, int64_t *page_count, int64_t *freelist_count, int64_t *page_size) {
  *page_count = *freelist_count = 0;
  *page_size = 4096;
}
status mirror_serialize(hdb *db, int database, unsigned char **out, int64_t *bytes, error *err) {
  return error_set(err, HDB_ERROR, "not supported yet: serialize");
}
status mirror_deserialize(hdb *db, int database, const void *data, int64_t bytes, error *err) {
  return error_set(err, HDB_ERROR, "not supported yet: deserialize");
}
status mirror_vacuum_into(hdb *db, int database, const char *file, error *err) {
  return error_set(err, HDB_ERROR, "not supported yet: VACUUM INTO");
}
