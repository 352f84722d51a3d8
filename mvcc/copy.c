/* Copies of a whole store: a checkpoint by hard links, and one key by key under another data key.
 *
 * Both are of one point in time, taken while others write. A copy must not believe that the file beside it is the one
 * the original knew, so what the settings say about it is left out (engine_settings_forget).
 * What can fail: what writing files can; the directory may not exist before.
 */
#include "kv/base/crypt.h"
#include "mvcc/process.h"

status engine_copy(engine *e, const char *path) {
  if (is_remote(e)) {
    status rc = remote_copy(e, path);
    if (rc != HDB_BUSY_RECOVERY) return rc;
  }
  leave_before_wait();
  TRY(engine_sync_to(e, engine_newest(e)));
  return kv_checkpoint(e->store, path);
}

status engine_copy_as(engine *e, const char *path, crypt_key *key) {
  txn *t;
  TRY(txn_new(e, &t));
  leave_before_wait();
  status rc = txn_begin(t, TXN_READ, 0); /* the snapshot of a view is there in every process */
  if (rc == HDB_OK) rc = kv_copy(t->view->store, t->view->snapshot, path, key);
  txn_free(t);
  return rc;
}

status engine_settings_forget(engine *e, const char *prefix) {
  if (e->read_only) return HDB_READONLY;
  buf from = BUF_INIT, to = BUF_INIT;
  kv_batch *batch = kv_batch_new(e->store);
  setting_key(&from, prefix);
  setting_key(&to, prefix);
  status rc = batch && !buf_failed(&from) && !buf_failed(&to) && to.n ? HDB_OK : HDB_NOMEM;
  if (rc == HDB_OK) {
    to.p[to.n - 1]++; /* prefixes are text */
    kv_batch_delete_range(batch, KV_META, buf_slice(&from), buf_slice(&to));
    rc = kv_write(e->store, batch, !e->memory);
  }
  kv_batch_free(batch);
  buf_free(&from);
  buf_free(&to);
  return rc;
}
