/* Table-valued functions and virtual tables as sources. */
#include "sql/exec_access.h"

status function_open(access_state *s) { return error_set(s->x->err, HDB_ERROR, "not supported yet: virtual tables"); }
status function_step(access_state *s) { return function_open(s); }
void function_release(access_state *s) { (void)s; }
