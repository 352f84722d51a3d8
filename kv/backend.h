/* What a backend gives to kv.c: one table of functions; private to this folder.
 *
 * The opaque structs of kv.h begin with these; a backend puts its own fields behind them.
 */
#ifndef HDB_KV_BACKEND_H
#define HDB_KV_BACKEND_H

#include "kv/kv.h"

typedef struct kv_backend {
  status (*close)(kv *store);
  status (*get)(kv *store, const kv_snapshot *snapshot, enum kv_family family, slice key, kv_value *out);
  void (*release)(void *pin);
  kv_snapshot *(*snapshot_open)(kv *store);
  void (*snapshot_close)(kv *store, kv_snapshot *snapshot);
  status (*iter_open)(kv *store, const kv_snapshot *snapshot, enum kv_family family, slice lower, slice upper,
                      kv_iter **out);
  kv_batch *(*batch_new)(kv *store);
  void (*batch_free)(kv_batch *batch);
  void (*batch_clear)(kv_batch *batch);
  void (*batch_put)(kv_batch *batch, enum kv_family family, slice key, slice value);
  void (*batch_delete)(kv_batch *batch, enum kv_family family, slice key);
  void (*batch_delete_range)(kv_batch *batch, enum kv_family family, slice from, slice to);
  size_t (*batch_bytes)(const kv_batch *batch);
  status (*write)(kv *store, kv_batch *batch, bool sync);
  status (*write_shown)(kv *store, kv_batch *batch, const kv_moment *moment); /* NULL: write, between the calls */
  status (*place)(kv *store, kv_batch *batch); /* NULL: as write */
  status (*note)(kv *store, kv_batch *batch); /* NULL: as write */
  status (*sync)(kv *store);
  status (*flush)(kv *store);
  status (*settle)(kv *store);
  void (*wake)(kv *store); /* NULL: nothing to do */
  status (*compact)(kv *store, enum kv_family family, slice from, slice to);
  status (*checkpoint)(kv *store, const char *path); /* NULL: kv.c copies key by key */
  uint64_t (*snapshots)(kv *store); /* NULL: none that matters */
  uint64_t (*bytes)(kv *store, enum kv_family family);
} kv_backend;

struct kv {
  const kv_backend *backend;
};
struct kv_batch {
  const kv_backend *backend;
};

/* Keeps the words for kv_message and returns code. */
status kv_fail(status code, const char *format, ...) __attribute__((format(printf, 2, 3)));

kv *memory_open(void); /* NULL: out of memory */
/* The range takes no room any more, sooner or later; until then its keys may still be seen. */
void rocks_batch_forget(kv_batch *batch, enum kv_family family, slice from, slice to);
/* Before a batch with so many bytes for the family: it must not be the batch that fills the family's memory (R8). */
status rocks_make_room(kv *store, enum kv_family family, size_t bytes);
size_t rocks_log_bytes(const kv_options *options);
status rocks_open(const char *path, const kv_options *options, kv **out);

#endif
