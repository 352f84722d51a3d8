/* What was written last, before RocksDB has it in place (front.c). Private to this folder. */
#ifndef HDB_KV_FRONT_H
#define HDB_KV_FRONT_H

#include "kv/backend.h"

/* Takes the store behind, which is at `path` and was opened with these options; closes it when this fails. */
status front_open(kv *behind, const char *path, const kv_options *options, kv **out);

#endif
