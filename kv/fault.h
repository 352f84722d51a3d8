/* Faults on request in the file system under the rocks backend, for tests: real RocksDB, real files, false disk.
 *
 *   kv_fault_set(KV_FAULT_SYNC, ".log", 3)     the third sync of a log from now on fails, once
 *   kv_fault_set(KV_FAULT_NO_SPACE, "", 1)     from the first write on every write fails with "no space"
 *
 * Power loss. While tracking is on, the layer knows of every file how much of it has been synced, and which creations,
 * renames and deletions a sync of the directory has made lasting. kv_fault_power_cut: from now on no byte is written
 * any more (every change fails with an I/O error). Then close the store (its status does not matter), then
 * kv_fault_power_back brings the files to what a disk may hold: with seed 0 exactly what was synced; otherwise each
 * file keeps a random part of what was written after its last sync, sometimes with a damaged last sector, and each
 * creation, rename and deletion that no sync of the directory made lasting has happened or not, in no order.
 *
 * One set of faults for the process; calls may come from any thread.
 */
#ifndef HDB_KV_FAULT_H
#define HDB_KV_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum kv_fault {
  KV_FAULT_NONE,
  KV_FAULT_WRITE,      /* the nth write fails, nothing of it is written */
  KV_FAULT_HALF_WRITE, /* the nth write fails after half of its bytes */
  KV_FAULT_NO_SPACE,   /* from the nth write on all fail: no space left */
  KV_FAULT_SYNC,       /* the nth fsync (a directory's name ends with '/') fails; what was written since the last one is lost at a power cut */
  KV_FAULT_READ,       /* the nth read fails */
  KV_FAULT_SHORT_READ, /* the nth read gives half of its bytes */
  KV_FAULT_FLIP        /* the nth read gives one bit wrong */
};

/* Replaces the fault before it. Only files whose path contains `name` count; nth counts from 1. */
void kv_fault_set(enum kv_fault fault, const char *name, int nth);
void kv_fault_clear(void);
int kv_fault_hits(void); /* how often the fault struck since it was set */

/* Before the stores are opened. Turning it off forgets everything. */
void kv_fault_track(bool on);
void kv_fault_power_cut(void);
/* Cuts the power at the nth write or sync from now on: a crash in the middle of anything. 0: not. */
void kv_fault_power_cut_at(int nth);
bool kv_fault_power_is_cut(void);
void kv_fault_power_back(uint64_t seed);

/* Not a fault: stores merge their level after so many batches (0: as always), so that short tests see it happen. */
void kv_fault_merge_after(int batches);

#ifdef __cplusplus
}
#endif
#endif
