/* leave.c: the variable of leave.h. */
#include "kv/base/leave.h"

_Thread_local leave leave_registered __attribute__((tls_model("initial-exec")));
