/* The postgres dialect's types: numbers (OIDs), names, and the one place where a value takes a type's form.
 *
 * A stored value has the canonical form of its type: bool 0/1; int2, int4, int8 integers; float4, float8 reals;
 * numeric a number; date YYYY-MM-DD, time HH:MM:SS[.f], timestamp and timestamptz (in UTC) YYYY-MM-DD HH:MM:SS[.f];
 * uuid lower case; bytea a blob; arrays JSON text; all others text.
 * G1  A table made in the postgres dialect says so behind its name in its schema text: a comment that begins with
 *     "postgres" and lists the columns whose declared type had to be written in SQLite's way ("id bigint").
 */
#ifndef HDB_SQL_PG_H
#define HDB_SQL_PG_H

#include "sql/hdb.h"
#include "sql/pg_zone.h"
#include "sql/value.h"

enum pg_oid {
  PG_BOOL = 16, PG_BYTEA = 17, PG_CHAR = 18, PG_NAME = 19, PG_INT8 = 20, PG_INT2 = 21, PG_INT2VECTOR = 22, PG_INT4 = 23,
  PG_REGPROC = 24, PG_TEXT = 25, PG_OID = 26, PG_OIDVECTOR = 30, PG_JSON = 114, PG_FLOAT4 = 700, PG_FLOAT8 = 701,
  PG_UNKNOWN = 705, PG_BPCHAR = 1042, PG_VARCHAR = 1043, PG_DATE = 1082, PG_TIME = 1083, PG_TIMESTAMP = 1114,
  PG_TIMESTAMPTZ = 1184, PG_INTERVAL = 1186, PG_TIMETZ = 1266, PG_NUMERIC = 1700, PG_REGCLASS = 2205, PG_REGTYPE = 2206,
  PG_RECORD = 2249, PG_VOID = 2278, PG_UUID = 2950, PG_JSONB = 3802, PG_REGNAMESPACE = 4089, PG_REGROLE = 4096,
  PG_INT4_ARRAY = 1007, PG_INT8_ARRAY = 1016, PG_TEXT_ARRAY = 1009, PG_VECTOR = 16390
};

typedef struct pg_type {
  uint32_t oid;
  const char *name;    /* pg_type.typname */
  const char *sql;     /* as format_type writes it */
  int16_t size;
  char category;       /* pg_type.typcategory */
  uint32_t element;    /* of an array, 0 */
  uint32_t array;      /* the array type over it, 0 */
} pg_type;

extern const pg_type pg_types[];
extern const int pg_types_n;
const pg_type *pg_type_by_oid(uint32_t oid);          /* NULL: none */
uint32_t pg_array_element(uint32_t oid);               /* also of arrays of enumerated types (pg_enum.h); 0: it is no array */
/* By any spelling, with modifiers and [] ("character varying(10)", "int[]", "timestamp with time zone"); *modifier -1
 * when there is none. NULL: no such type. */
const pg_type *pg_type_by_name(const char *name, int32_t *modifier);
/* What a column's declared type is on the wire; postgres: the table was made in that dialect. */
const pg_type *pg_type_of_column(const char *declared, bool postgres, int32_t *modifier);
/* "integer", "character varying(10)"; in the arena. */
const char *pg_format_type(arena *memory, uint32_t oid, int32_t modifier);
/* G1. *overridden: the type the comment gives the column, in the arena; NULL: none. */
bool pg_table_is_postgres(const char *sql);
const char *pg_column_override(arena *memory, const char *sql, const char *column);

/* pg_text.c. The COMMENT ON that a schema text carries for a column ("": for the object itself), in the arena; NULL: none. */
const char *pg_comment_get(arena *memory, const char *sql, const char *column);
/* The text with another comment, text NULL: without; appended to out and ended. false: out of memory. */
bool pg_comment_put(const char *sql, const char *column, const char *text, buf *out);
/* The text with another type in its list (G1); type NULL: none. false: it has no list, or out of memory. */
bool pg_override_put(const char *sql, const char *column, const char *type, buf *out);
/* The schema text of a table, view, index or trigger; schema NULL: temp, then main. *sql NULL: no such object. */
int hdb_schema_text(hdb *db, const char *schema, const char *name, arena *memory, const char **type, const char **sql);
/* Beyond SQLite's own limit (HDB_LIMIT_EXPR_DEPTH): whoever raises it vouches for the thread's stack. */
void hdb_set_expression_depth(hdb *db, int depth);
/* From now on ATTACH and VACUUM INTO name no files: over the network they would reach all that the process may. */
void hdb_confine(hdb *db);
/* Foreign keys that were put off to the commit are broken just now. */
bool hdb_deferred_violations(hdb *db);
/* The key that this connection's last insert into an AUTOINCREMENT table took; table NULL: the last of any. */
bool hdb_last_serial(hdb *db, const char *table, int64_t *rowid);
/* Puts another in its place, inside of an open transaction; undone alone when the schema does not load with it. */
int hdb_schema_text_set(hdb *db, const char *schema, const char *name, const char *sql);

/* Makes the value the type's canonical form. cast: explicit, also between unlike types (2.5::int).
 * Errors in PostgreSQL's words ("invalid input syntax for type integer: \"x\""). NULL stays NULL. */
status pg_convert(uint32_t oid, int32_t modifier, bool cast, value *v, arena *memory, error *err);
/* The same where a timestamptz that names no zone is of this one, and is shown in it; without: UTC, as it is stored. */
status pg_convert_in(const pg_zone *zone, uint32_t oid, int32_t modifier, bool cast, value *v, arena *memory, error *err);
status pg_output_in(const pg_zone *zone, uint32_t oid, int32_t modifier, const value *v, buf *out, error *err);
/* Microseconds since 2000: a moment as a zone's clock shows it, and back. */
int64_t pg_local_us(int64_t us, const pg_zone *zone);
int64_t pg_utc_us(int64_t local_us, const pg_zone *zone);
void pg_offset_text(int seconds, buf *out); /* +02, -03:30 */
/* The zone that the connection's statements speak in; NULL: UTC. */
void hdb_set_zone(hdb *db, const pg_zone *zone);
/* Canonical value to text as PostgreSQL prints it, appended to out. */
status pg_output(uint32_t oid, int32_t modifier, const value *v, buf *out, error *err);

/* A text must be JSON; canonical_form: it becomes jsonb's own text. */
status pg_json_convert(bool canonical_form, value *v, arena *memory, error *err);
/* For a parameter of an own type: is the value one of it? Other types take all. */
status hdb_type_accepts(hdb *db, uint32_t oid, const value *v, arena *memory, error *err);
/* Dates: days since 1970-01-01 and back; microseconds. */
int64_t pg_days(int year, int month, int day);
void pg_civil(int64_t days, int *year, int *month, int *day);
/* Canonical text to its number: date days since 2000-01-01, time and timestamp microseconds (since 2000-01-01). */
bool pg_date_number(const char *p, size_t n, uint32_t oid, int64_t *out);
void pg_date_text(int64_t number, uint32_t oid, buf *out);
bool pg_interval_parse(const char *p, size_t n, int32_t *months, int32_t *days, int64_t *microseconds);
void pg_interval_text(int32_t months, int32_t days, int64_t microseconds, buf *out);
/* The shortest text that reads back as the same number; float4 when single. */
void pg_real_text(double r, bool single, buf *out);
/* '{a,"b c",NULL}' to JSON text and back. */
status pg_array_to_json(uint32_t element, const char *p, size_t n, buf *out, arena *memory, error *err);

#endif
