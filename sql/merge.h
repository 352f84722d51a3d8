/* What the files of MERGE BRANCH share. Private to sql/merge*.c. */
#ifndef HDB_SQL_MERGE_H
#define HDB_SQL_MERGE_H

#include "sql/branch.h"
#include "sql/replay.h"

typedef struct merge_side {
  txn *t;
  uint32_t branch;
  int64_t as_of; /* 0: now */
  schema *schema;
} merge_side;

typedef struct family { /* all branches, main first */
  branch_info *list;
  int n, capacity;
} family;

typedef struct fed_key { /* what main changed: a key, or the whole tree */
  uint32_t tree;
  bool whole;
  slice key;
} fed_key;

enum { MERGE_INSERT, MERGE_UPDATE, MERGE_DELETE, MERGE_STATEMENTS };
typedef struct merge {
  hdb *db;
  const merge_options *options;
  merge_result *result;
  merge_side source, source_base, target_base;
  merge_side target; /* the connection's own transaction; no schema */
  slice *keys; /* of the table at work, ascending */
  size_t keys_n, keys_capacity;
  fed_key *fed; /* merge_keys.c: by tree */
  size_t fed_n, fed_capacity;
  enum { FED_UNREAD, FED_KNOWN, FED_LOST } fed_state;
  arena key_memory, fed_memory, memory;
  hdb_stmt *statements[MERGE_STATEMENTS];
} merge;

/* merge_schema.c: definitions that the source made, changed or dropped since its base. */
status merge_schemas(merge *m);
/* merge.c */
const branch_info *merge_member(const family *f, uint32_t id);
/* merge_keys.c: m->keys of one table: every key that the source may have otherwise than its base. */
status merge_keys(merge *m, const family *f, const table *source, const table *base);
void merge_keys_free(merge *m);
/* merge_rows.c: m->keys of one table. The bases are NULL where the table was not there. */
status merge_rows(merge *m, const table *source, const table *source_base, const table *target, const table *target_base);
/* merge_conflicts.c: kept by the connection for heliosdb_conflicts. column NULL: the row as a whole. */
status conflict_add(hdb *db, const char *table, const value *key, const char *column, const value *base, const value *source, const value *target);
void conflicts_clear(hdb *db);

#endif
