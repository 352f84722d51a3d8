/* What filesystem.cc gives to rocks.c: the environment all stores live in, and calls that RocksDB's C interface lacks.
 * Pointers are RocksDB's C handles; private to this folder. */
#ifndef HDB_KV_FILESYSTEM_H
#define HDB_KV_FILESYSTEM_H

#ifdef __cplusplus
extern "C" {
#endif

struct rocksdb_env_t;
/* One for the process, never destroyed. */
struct rocksdb_env_t *kv_filesystem_env(void);
struct rocksdb_logger_t;
/* Takes RocksDB's messages from warnings up, into LOG in the directory. The options keep their own reference. */
struct rocksdb_logger_t *kv_filesystem_logger(const char *directory);
void kv_filesystem_logger_free(struct rocksdb_logger_t *logger);
/* Flushes several families as one; NULL, or the error's text as malloc'ed by RocksDB's own. */
char *kv_filesystem_flush(void *db, void **families, int n);

#ifdef __cplusplus
}
#endif
#endif
