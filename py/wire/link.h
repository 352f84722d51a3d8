/* link.h: connecting to a server, and calls of it. */
#ifndef HDB_PY_WIRE_LINK_H
#define HDB_PY_WIRE_LINK_H

#include "py/wire/wire.h"

/* An answer's bytes; after a failure `bad` stays set and everything is zero. */
typedef struct reader {
  const uint8_t *p, *end;
  bool bad;
} reader;
unsigned take_byte(reader *r);
uint32_t take_be32(reader *r);
int64_t take_be64(reader *r);
const uint8_t *take_bytes(reader *r, size_t n);
char *take_text(reader *r); /* malloc'd; NULL for NULL */

void link_set_leave(void (*f)(void));
void link_leave(void); /* W3 */
/* Sets the connection's error; returns the code. */
int link_error(wire_db *db, int code, const char *text);
/* db is zeroed. Not HDB_OK: the error is set, and link_close still due. */
int link_open(const backend_address *a, wire_db *db);
void link_close(wire_db *db);
/* Sends db->body with what is to be let go, waits. NULL: the error is set. The answer points into the result. */
PGresult *link_call(wire_db *db, const char *command, reader *answer);
int link_config(wire_db *db, int which, int a, int b, int *now);
int link_info(wire_db *db);
bool link_is_lost(wire_db *db);
void link_interrupt(wire_db *db); /* from any thread */

#endif
