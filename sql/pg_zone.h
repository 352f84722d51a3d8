/* Time zones of the postgres dialect: the system's tzdata (TZif files), fixed offsets, abbreviations.
 *
 * A zone is loaded once a process and lives as long; NULL is UTC everywhere. Seconds count from 1970-01-01.
 */
#ifndef HDB_SQL_PG_ZONE_H
#define HDB_SQL_PG_ZONE_H

#include "kv/base/bytes.h"

typedef struct pg_zone pg_zone;

/* An IANA name in any case, "UTC", "+02:00" and "UTC-2" (POSIX: west is positive), "EST5EDT". false: there is no such zone. */
bool pg_zone_find(const char *name, const pg_zone **out);
/* Also abbreviations ("CEST") and offsets as ISO 8601 has them, behind a moment in text. */
bool pg_zone_behind(const char *text, size_t n, const pg_zone **out);
const pg_zone *pg_zone_fixed(int seconds_east); /* NULL: UTC, or no memory */
const char *pg_zone_name(const pg_zone *z);     /* as SHOW writes it */
/* Seconds east of UTC at a moment; *abbreviation may be NULL. */
int pg_zone_offset(const pg_zone *z, int64_t utc, bool *is_dst, const char **abbreviation);
/* A local time's moment. In a gap the offset before it holds, in an hour that comes twice the one behind. */
int64_t pg_zone_to_utc(const pg_zone *z, int64_t local);
bool pg_zone_available(void); /* false: the system has no tzdata */
/* Every name of the system's tzdata. */
void pg_zone_each(void (*visit)(void *context, const char *name, const pg_zone *z), void *context);

#endif
