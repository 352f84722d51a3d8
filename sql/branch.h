/* Branches in SQL: names, merging. The storage is mvcc's (mvcc/branch.c). */
#ifndef HDB_SQL_BRANCH_H
#define HDB_SQL_BRANCH_H

#include "sql/time.h"

enum merge_strategy { MERGE_FAIL, MERGE_BRANCH_WINS, MERGE_TARGET_WINS };
typedef struct merge_options {
  uint8_t strategy;
  bool dry_run, delete_after;
} merge_options;
typedef struct merge_result {
  int64_t inserted, updated, deleted, conflicts;
} merge_result;

/* HDB_ERROR "no such branch: x". */
status branch_named(hdb *db, const char *name, uint32_t *id);
status branch_remove(hdb *db, const char *name, bool if_exists);
/* What `source` has changed since the two parted, or were merged last, into `target`: one transaction. No transaction
 * may be open. Conflicts under MERGE_FAIL: HDB_ERROR, nothing is changed, heliosdb_conflicts lists them. */
status branch_merge(hdb *db, const char *source, const char *target, const merge_options *o, merge_result *r);

#endif
