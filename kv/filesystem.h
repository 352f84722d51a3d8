/* What filesystem.cc gives to rocks.c: the environment all stores live in, and calls that RocksDB's C interface lacks.
 * Pointers are RocksDB's C handles; private to this folder. */
#ifndef HDB_KV_FILESYSTEM_H
#define HDB_KV_FILESYSTEM_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct crypt_key;
struct rocksdb_env_t;
/* key NULL: the one for all plain stores, never destroyed. Otherwise one whose files are sealed under the key, which it
 * holds until it is freed, when its store is closed. */
struct rocksdb_env_t *kv_filesystem_env(struct crypt_key *key);
void kv_filesystem_env_free(struct rocksdb_env_t *env);
/* The first n bytes of a file as the store sees them; -1: not readable. */
long kv_filesystem_read(struct rocksdb_env_t *env, const char *path, char *out, size_t n);
/* Syncs a file that nobody writes any more (a log found at open; its directory is synced too). 0, or errno. */
int kv_filesystem_sync_found(const char *path);
/* Before n bytes are written in place into a file that is never synced (ring.c): 0, or the errno with which that fails once *n
 * bytes, fewer than before, are written. */
int kv_filesystem_in_place(const char *path, size_t *n);
struct rocksdb_logger_t;
/* Takes RocksDB's messages from warnings up, into LOG in the directory (NULL: nowhere). The options keep their own
 * reference. */
struct rocksdb_logger_t *kv_filesystem_logger(const char *directory);
void kv_filesystem_logger_free(struct rocksdb_logger_t *logger);
/* Flushes several families as one; NULL, or the error's text as malloc'ed by RocksDB's own. */
char *kv_filesystem_flush(void *db, void **families, int n);
/* Flushes and compactions at work end, no other begins; and they may again. */
/* The family's newest writes are to become a table file; does not wait for it. NULL, or what is wrong, to be freed. */
char *kv_filesystem_begin_flush(void *db, void *family);
void kv_filesystem_pause(void *db);
void kv_filesystem_continue(void *db);
void kv_filesystem_before_fork(void); /* kv_before_fork */
void kv_filesystem_after_fork(bool child);

#ifdef __cplusplus
}
#endif
#endif
