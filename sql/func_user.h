/* The connection's own functions and collations (func_user.c); the interface for programs is in hdb.h. */
#ifndef HDB_SQL_FUNC_USER_H
#define HDB_SQL_FUNC_USER_H

#include "sql/function.h"

const function *user_function_find(hdb *db, const char *name, int arguments, bool *name_exists);
void user_function_each(hdb *db, void (*visit)(void *, const function *), void *context);
/* For pragma_collation_list: the user's collations, newest first. */
void user_collation_each(hdb *db, void (*visit)(void *, const collation *), void *context);
/* hdb_close: every destructor once. */
void user_functions_close(hdb *db);

#endif
