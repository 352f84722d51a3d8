/* ERASE: which rows (erase.c). */
#ifndef HDB_SQL_ERASE_H
#define HDB_SQL_ERASE_H

#include "sql/internal.h"

/* The keys that the DELETE inside an ERASE takes away. */
struct erase_keys {
  arena memory;
  slice *list; /* sorted before it is asked */
  size_t n, capacity;
};
typedef struct erase_keys erase_keys;
status erase_note(erase_keys *k, slice key);
status compile_erase(compile *c, statement *s);

#endif
