/* types: canonical values (sql/pg.h) to the wire's two formats and back. */
#ifndef HDB_SERVER_TYPES_H
#define HDB_SERVER_TYPES_H

#include "sql/pg.h"

/* Appends a value's bytes (without length) in the format (0 text, 1 binary). HDB_MISMATCH: it cannot be expressed so. */
status wire_put(const pg_zone *zone, uint32_t oid, int32_t modifier, int format, const value *v, buf *out, error *err);
/* Bytes from the client to a canonical value in the arena. Text format: PostgreSQL's input rules. */
status wire_get(const pg_zone *zone, uint32_t oid, int format, slice bytes, arena *memory, value *out, error *err);

#endif
