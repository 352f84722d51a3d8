/* OR by several accesses: each row once, in the order of the alternatives. */
#include "sql/exec_access.h"

status or_open(access_state *s) { return error_set(s->x->err, HDB_ERROR, "not supported yet: OR by several indexes"); }
status or_step(access_state *s) { return or_open(s); }
void or_release(access_state *s) { (void)s; }
