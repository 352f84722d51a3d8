/* calls.h: the table of py/backend.h for connections to a server. */
#ifndef HDB_PY_WIRE_CALLS_H
#define HDB_PY_WIRE_CALLS_H

#include "py/wire/link.h"

extern const backend wire_backend;

#endif
