/* Faults that the simulation must find, planted on purpose. Only in the library that `make sim-faults` builds for itself
 * (HDB_PLANTED): elsewhere PLANTED is 0 and nothing of it is compiled. */
#ifndef HDB_MVCC_PLANT_H
#define HDB_MVCC_PLANT_H

enum plant {
  PLANT_NOTHING,
  PLANT_WRITES_NOT_VALIDATED,
  PLANT_FACTS_NOT_VALIDATED,
  PLANT_READS_NOT_VALIDATED,
  PLANT_INDEX_HISTORY_DROPPED,  /* of trees that are not keyed by row ids */
  PLANT_ACKNOWLEDGED_UNSYNCED,
  PLANT_BRANCH_PIN_LOST,        /* retention does not look at branch points */
  PLANT_VIEW_PIN_LOST,          /* ... at open views */
  PLANTS
};
#ifdef HDB_PLANTED
extern int hdb_planted;
#define PLANTED(fault) (hdb_planted == (fault))
#else
#define PLANTED(fault) 0
#endif

#endif
