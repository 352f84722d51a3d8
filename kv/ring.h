/* Batches that a crash of the process must not lose, before they are in RocksDB's log (ring.c). Private to this folder. */
#ifndef HDB_KV_RING_H
#define HDB_KV_RING_H

#include "kv/backend.h"

typedef struct ring ring;

/* directory: the store's. Nothing is made before the first append. NULL: out of memory. */
ring *ring_new(const char *directory);
/* HDB_FULL: there is no room (any more): put it elsewhere. Appending goes on after a reset. */
status ring_append(ring *r, uint64_t number, slice operations);
bool ring_has_room(const ring *r, size_t operations_n);
/* What was appended is elsewhere now: the room is free again. Costs nothing. */
void ring_reset(ring *r);
/* The records numbered `next` and on, in order, as far as they are whole. A status of visit ends it. */
typedef status (*ring_visitor)(void *context, uint64_t number, slice operations);
status ring_read(const ring *r, uint64_t next, ring_visitor visit, void *context);
/* Nothing that was ever appended is in the file any more. */
status ring_wipe(ring *r);
/* done: the file goes, too. */
void ring_close(ring *r, bool done);

#endif
