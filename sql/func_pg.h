/* What the files of the postgres dialect's functions share. */
#ifndef HDB_SQL_FUNC_PG_H
#define HDB_SQL_FUNC_PG_H

#include "sql/func.h"

/* EXTRACT(unit FROM local time or interval) */
status pg_extract_part(function_call *call, int n, const value *a, value *result);
/* to_char of a local time; TZ and OF are what is given. */
status pg_to_char(function_call *call, slice text, slice format, const char *abbreviation, int offset, value *result);
status pg_to_char_number(function_call *call, const value *v, slice format, value *result);
/* A cast to an enumerated type, or an array of it. */
status pg_enum_cast(function_call *call, const char *name, value *v);
/* Microseconds since 2000 plus months (the day at most the month's last) and days. */
int64_t pg_add_months(int64_t us, int64_t months, int64_t days);

#endif
