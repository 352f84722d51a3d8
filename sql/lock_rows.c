/* SELECT .. FOR UPDATE without locks: what such a statement reads is validated when its transaction commits.
 *
 * While it runs, its transaction watches reads as a serializable one does (mvcc/reads.c): a point read by key is that
 * key, a walk is its range, so also rows that came into it count. The transaction is not replayed (replay.h): the answer
 * that the application was told stands or the commit fails. Without writes nothing is validated.
 */
#include "sql/describe.h"
#include "sql/internal.h"
#include "sql/replay.h"

static void set_policy(hdb *db, enum txn_policy policy) {
  db->pragmas.policy = (uint8_t)policy;
  for (int i = 0; i < db->databases_n; i++)
    if (db->databases[i].txn) txn_set_policy(db->databases[i].txn, policy);
}

int hdb_watch_reads(hdb *db) {
  hdb_lock(db);
  int before = db->pragmas.policy;
  set_policy(db, TXN_SERIALIZABLE);
  replay_refuse(db);
  hdb_unlock(db);
  return before;
}

void hdb_unwatch_reads(hdb *db, int before) {
  hdb_lock(db);
  for (int i = 0; i < db->databases_n; i++)
    if (db->databases[i].txn && txn_is_open(db->databases[i].txn)) txn_keep_reads(db->databases[i].txn);
  set_policy(db, (enum txn_policy)before);
  hdb_unlock(db);
}
