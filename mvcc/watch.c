/* Watching: an engine's watcher learns the keys of the trees it wants from the thread that commits them.
 *
 * It is told after the fold and before the commit can be seen, so whoever sees a commit finds it noted. A watcher that
 * begins to want a tree calls engine_settle and then begins its transaction: a batch that was folded before it asked is
 * either in its view, or was told. Cost: one load a tree for engines without a watcher.
 */
#include <stdlib.h>

#include "mvcc/internal.h"
#include "mvcc/process.h"

void *engine_watch(engine *e, const engine_watcher *w) {
  engine_watcher *kept = malloc(sizeof *kept), *none = NULL;
  if (!kept) return NULL;
  *kept = *w;
  if (!atomic_compare_exchange_strong(&e->watcher, &none, kept)) {
    free(kept);
    kept = none;
  }
  return kept->context;
}

void *engine_watched(engine *e) {
  engine_watcher *w = atomic_load(&e->watcher);
  return w ? w->context : NULL;
}

void watch_release(engine *e) {
  engine_watcher *w = atomic_exchange(&e->watcher, NULL);
  if (!w) return;
  w->release(w->context);
  free(w);
}

void engine_settle(engine *e) {
  if (is_remote(e)) { /* what this process saw of others' commits was told; the next view tells the rest */
    process_settle(e);
    return;
  }
  uint64_t begun = atomic_load(&e->batches_begun);
  if (atomic_load(&e->batches_done) >= begun) return;
  leave_before_wait();
  pthread_mutex_lock(&e->queue_lock);
  while (atomic_load(&e->batches_done) < begun) pthread_cond_wait(&e->settled, &e->queue_lock);
  pthread_mutex_unlock(&e->queue_lock);
}

void watch_tell(engine *e, const write_tree *w, int64_t time) {
  engine_watcher *watcher = atomic_load(&e->watcher);
  if (!watcher || !watcher->wants(watcher->context, w->tree)) return;
  if (w->root.cleared || w->bulk) watcher->touched(watcher->context, w->tree, time, slice_of(NULL, 0), true);
  write_position p;
  for (write_first(w, &p); p.entry; write_next(&p))
    watcher->touched(watcher->context, w->tree, time, write_key(p.entry), false);
}

void txn_each_write(txn *t, uint32_t tree, write_visitor visit, void *context) {
  write_tree *w = t->open ? writeset_find(&t->writes, tree) : NULL;
  if (!w) return;
  if (w->root.cleared || w->bulk || w->bulk_undone) visit(context, slice_of(NULL, 0), true);
  write_position p;
  for (write_first(w, &p); p.entry; write_next(&p)) visit(context, write_key(p.entry), false);
}
