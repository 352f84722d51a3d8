/* The types' names and numbers. Numbers, names and categories are PostgreSQL's own; clients know them by heart. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "sql/pg_enum.h"

const pg_type pg_types[] = {
    {PG_BOOL, "bool", "boolean", 1, 'B', 0, 1000},
    {PG_BYTEA, "bytea", "bytea", -1, 'U', 0, 1001},
    {PG_CHAR, "char", "\"char\"", 1, 'Z', 0, 1002},
    {PG_NAME, "name", "name", 64, 'S', 0, 1003},
    {PG_INT8, "int8", "bigint", 8, 'N', 0, 1016},
    {PG_INT2, "int2", "smallint", 2, 'N', 0, 1005},
    {PG_INT2VECTOR, "int2vector", "int2vector", -1, 'A', PG_INT2, 0},
    {PG_INT4, "int4", "integer", 4, 'N', 0, 1007},
    {PG_REGPROC, "regproc", "regproc", 4, 'N', 0, 1008},
    {PG_TEXT, "text", "text", -1, 'S', 0, 1009},
    {PG_OID, "oid", "oid", 4, 'N', 0, 1028},
    {PG_OIDVECTOR, "oidvector", "oidvector", -1, 'A', PG_OID, 0},
    {PG_JSON, "json", "json", -1, 'U', 0, 199},
    {PG_FLOAT4, "float4", "real", 4, 'N', 0, 1021},
    {PG_FLOAT8, "float8", "double precision", 8, 'N', 0, 1022},
    {PG_UNKNOWN, "unknown", "unknown", -2, 'X', 0, 0},
    {PG_BPCHAR, "bpchar", "character", -1, 'S', 0, 1014},
    {PG_VARCHAR, "varchar", "character varying", -1, 'S', 0, 1015},
    {PG_DATE, "date", "date", 4, 'D', 0, 1182},
    {PG_TIME, "time", "time without time zone", 8, 'D', 0, 1183},
    {PG_TIMESTAMP, "timestamp", "timestamp without time zone", 8, 'D', 0, 1115},
    {PG_TIMESTAMPTZ, "timestamptz", "timestamp with time zone", 8, 'D', 0, 1185},
    {PG_INTERVAL, "interval", "interval", 16, 'T', 0, 1187},
    {PG_TIMETZ, "timetz", "time with time zone", 12, 'D', 0, 1270},
    {PG_NUMERIC, "numeric", "numeric", -1, 'N', 0, 1231},
    {PG_REGCLASS, "regclass", "regclass", 4, 'N', 0, 2210},
    {PG_REGTYPE, "regtype", "regtype", 4, 'N', 0, 2211},
    {PG_RECORD, "record", "record", -1, 'P', 0, 0},
    {PG_VOID, "void", "void", 4, 'P', 0, 0},
    {PG_UUID, "uuid", "uuid", 16, 'U', 0, 2951},
    {PG_JSONB, "jsonb", "jsonb", -1, 'U', 0, 3807},
    {PG_REGNAMESPACE, "regnamespace", "regnamespace", 4, 'N', 0, 4090},
    {PG_REGROLE, "regrole", "regrole", 4, 'N', 0, 4097},
    {PG_VECTOR, "vector", "vector", -1, 'U', 0, 0},
    {1000, "_bool", "boolean[]", -1, 'A', PG_BOOL, 0},
    {1001, "_bytea", "bytea[]", -1, 'A', PG_BYTEA, 0},
    {1002, "_char", "\"char\"[]", -1, 'A', PG_CHAR, 0},
    {1003, "_name", "name[]", -1, 'A', PG_NAME, 0},
    {1005, "_int2", "smallint[]", -1, 'A', PG_INT2, 0},
    {1007, "_int4", "integer[]", -1, 'A', PG_INT4, 0},
    {1009, "_text", "text[]", -1, 'A', PG_TEXT, 0},
    {1014, "_bpchar", "character[]", -1, 'A', PG_BPCHAR, 0},
    {1015, "_varchar", "character varying[]", -1, 'A', PG_VARCHAR, 0},
    {1016, "_int8", "bigint[]", -1, 'A', PG_INT8, 0},
    {1021, "_float4", "real[]", -1, 'A', PG_FLOAT4, 0},
    {1022, "_float8", "double precision[]", -1, 'A', PG_FLOAT8, 0},
    {1028, "_oid", "oid[]", -1, 'A', PG_OID, 0},
    {1115, "_timestamp", "timestamp without time zone[]", -1, 'A', PG_TIMESTAMP, 0},
    {1182, "_date", "date[]", -1, 'A', PG_DATE, 0},
    {1183, "_time", "time without time zone[]", -1, 'A', PG_TIME, 0},
    {1185, "_timestamptz", "timestamp with time zone[]", -1, 'A', PG_TIMESTAMPTZ, 0},
    {1187, "_interval", "interval[]", -1, 'A', PG_INTERVAL, 0},
    {1231, "_numeric", "numeric[]", -1, 'A', PG_NUMERIC, 0},
    {2951, "_uuid", "uuid[]", -1, 'A', PG_UUID, 0},
    {199, "_json", "json[]", -1, 'A', PG_JSON, 0},
    {3807, "_jsonb", "jsonb[]", -1, 'A', PG_JSONB, 0},
};
const int pg_types_n = sizeof pg_types / sizeof *pg_types;

static const struct {
  const char *spelling;
  uint32_t oid;
} spellings[] = {
    {"int", PG_INT4}, {"integer", PG_INT4}, {"smallint", PG_INT2}, {"bigint", PG_INT8}, {"serial", PG_INT4},
    {"serial4", PG_INT4}, {"bigserial", PG_INT8}, {"serial8", PG_INT8}, {"smallserial", PG_INT2}, {"serial2", PG_INT2},
    {"boolean", PG_BOOL}, {"real", PG_FLOAT4}, {"double precision", PG_FLOAT8}, {"float", PG_FLOAT8},
    {"decimal", PG_NUMERIC}, {"dec", PG_NUMERIC}, {"character varying", PG_VARCHAR}, {"character", PG_BPCHAR},
    {"char", PG_BPCHAR}, {"nchar", PG_BPCHAR}, {"timestamp without time zone", PG_TIMESTAMP},
    {"timestamp with time zone", PG_TIMESTAMPTZ}, {"time without time zone", PG_TIME},
    {"time with time zone", PG_TIMETZ}, {"national character varying", PG_VARCHAR}, {"citext", PG_TEXT},
    {"regprocedure", PG_REGPROC}, {"regoper", PG_REGPROC}, {"xid", PG_OID}, {"cstring", PG_TEXT},
};

const pg_type *pg_type_by_oid(uint32_t oid) {
  for (int i = 0; i < pg_types_n; i++)
    if (pg_types[i].oid == oid) return &pg_types[i];
  return NULL;
}

uint32_t pg_array_element(uint32_t oid) {
  const pg_type *t = pg_type_by_oid(oid);
  if (t) return t->category == 'A' ? t->element : 0;
  return oid >= PG_ENUM_ARRAYS + PG_ENUMS && oid < 1000000000 ? oid - PG_ENUM_ARRAYS : 0;
}

static const pg_type *plain_type(const char *name) {
  for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++)
    if (strcasecmp(spellings[i].spelling, name) == 0) return pg_type_by_oid(spellings[i].oid);
  for (int i = 0; i < pg_types_n; i++)
    if (strcasecmp(pg_types[i].name, name) == 0 || strcasecmp(pg_types[i].sql, name) == 0) return &pg_types[i];
  return NULL;
}

/* "varchar ( 10 )" -> "varchar", 10; numeric(p, s) -> p << 16 | s, both plus 4 as PostgreSQL counts them. */
static int32_t modifier_of(const pg_type *t, int count, const int *numbers) {
  uint32_t oid = t->element ? t->element : t->oid;
  if (count == 0) return oid == PG_BPCHAR ? 1 + 4 : -1;
  if (oid == PG_NUMERIC) return (numbers[0] << 16 | (count > 1 ? numbers[1] & 0xffff : 0)) + 4;
  if (oid == PG_VARCHAR || oid == PG_BPCHAR) return numbers[0] + 4;
  return numbers[0];
}

const pg_type *pg_type_by_name(const char *name, int32_t *modifier) {
  char plain[80];
  size_t n = 0;
  int numbers[2] = {0, 0}, count = 0, arrays = 0;
  *modifier = -1;
  for (const char *p = name; *p; p++) {
    if (*p == '(') {
      for (p++; *p && *p != ')'; p++)
        if (isdigit((unsigned char)*p) && count < 2) {
          numbers[count++] = atoi(p);
          while (isdigit((unsigned char)p[1])) p++;
        }
      if (!*p) return NULL;
      continue;
    }
    if (*p == '[') {
      arrays++;
      while (p[1] && *p != ']') p++;
      continue;
    }
    if (*p == '"') continue;
    bool space = isspace((unsigned char)*p);
    if (space && (n == 0 || plain[n - 1] == ' ')) continue;
    if (n + 1 >= sizeof plain) return NULL;
    plain[n++] = space ? ' ' : (char)tolower((unsigned char)*p);
  }
  while (n && plain[n - 1] == ' ') n--;
  plain[n] = 0;
  if (strncmp(plain, "pg_catalog.", 11) == 0) memmove(plain, plain + 11, n - 10);
  const pg_type *t = plain_type(plain);
  if (t && strcmp(name, "\"char\"") == 0) t = pg_type_by_oid(PG_CHAR);
  if (!t) return NULL;
  if (t->oid == PG_BPCHAR && count == 0 && strcmp(plain, "bpchar") == 0) *modifier = -1;
  else *modifier = modifier_of(t, count, numbers);
  if (t->oid == PG_FLOAT8 && strcmp(plain, "float") == 0 && count == 1 && numbers[0] <= 24) t = pg_type_by_oid(PG_FLOAT4);
  if (t->oid == PG_FLOAT8 || t->oid == PG_FLOAT4) *modifier = -1;
  if (arrays && t->array) t = pg_type_by_oid(t->array);
  return t;
}

/* SQLite's tables: by word, then by affinity. */
static const pg_type *sqlite_type(const char *declared, int32_t *modifier) {
  const pg_type *t = *declared ? pg_type_by_name(declared, modifier) : NULL;
  uint8_t affinity = affinity_of_type(declared);
  if (strncasecmp(declared, "vector", 6) == 0) return pg_type_by_oid(PG_VECTOR);
  *modifier = -1;
  if (strncasecmp(declared, "datetime", 8) == 0) return pg_type_by_oid(PG_TIMESTAMP);
  if (t) switch (t->oid) {
    case PG_BOOL: case PG_NUMERIC: case PG_DATE: case PG_TIME: case PG_TIMESTAMP: case PG_TIMESTAMPTZ: case PG_JSON:
    case PG_JSONB: case PG_UUID: case PG_BYTEA: case PG_NAME: return t;
    default: break;
    }
  switch (affinity) {
  case AFF_INTEGER: return pg_type_by_oid(PG_INT8);
  case AFF_REAL: return pg_type_by_oid(PG_FLOAT8);
  case AFF_BLOB: return pg_type_by_oid(strncasecmp(declared, "blob", 4) == 0 ? PG_BYTEA : PG_TEXT);
  default: return pg_type_by_oid(PG_TEXT);
  }
}

const pg_type *pg_type_of_column(const char *declared, bool postgres, int32_t *modifier) {
  *modifier = -1;
  if (!declared) declared = "";
  if (!postgres) return sqlite_type(declared, modifier);
  const pg_type *t = pg_type_by_name(declared, modifier);
  return t ? t : sqlite_type(declared, modifier);
}

const char *pg_format_type(arena *memory, uint32_t oid, int32_t modifier) {
  const pg_type *t = pg_type_by_oid(oid);
  if (!t) return "???";
  if (t->element && t->category == 'A' && oid != PG_INT2VECTOR && oid != PG_OIDVECTOR) {
    const char *inner = pg_format_type(memory, t->element, modifier);
    return arena_printf(memory, "%s[]", inner ? inner : "???");
  }
  if (modifier < 0) return t->sql;
  switch (oid) {
  case PG_VARCHAR: case PG_BPCHAR: return arena_printf(memory, "%s(%d)", t->sql, (int)modifier - 4);
  case PG_NUMERIC: return arena_printf(memory, "numeric(%d,%d)", (int)((modifier - 4) >> 16), (int)((modifier - 4) & 0xffff));
  case PG_VECTOR: return arena_printf(memory, "vector(%d)", (int)modifier);
  case PG_TIMESTAMP: return arena_printf(memory, "timestamp(%d) without time zone", (int)modifier);
  case PG_TIMESTAMPTZ: return arena_printf(memory, "timestamp(%d) with time zone", (int)modifier);
  case PG_TIME: return arena_printf(memory, "time(%d) without time zone", (int)modifier);
  default: return t->sql;
  }
}

static const char *comment_of(const char *sql) {
  const char *at = sql ? strstr(sql, "/*postgres") : NULL, *open = sql ? strchr(sql, '(') : NULL;
  return at && (!open || at < open) ? at + 10 : NULL;
}

bool pg_table_is_postgres(const char *sql) { return comment_of(sql) != NULL; }

/* postgres;name type;name type: names are folded and hold no ; or blank there (others are not listed). */
const char *pg_column_override(arena *memory, const char *sql, const char *column) {
  const char *at = comment_of(sql), *end = at ? strstr(at, "*/") : NULL;
  size_t n = strlen(column);
  while (at && end && at < end && *at == ';') {
    at++;
    const char *next = at;
    while (next < end && *next != ';') next++;
    if ((size_t)(next - at) > n + 1 && strncasecmp(at, column, n) == 0 && at[n] == ' ')
      return arena_strndup(memory, at + n + 1, (size_t)(next - at) - n - 1);
    at = next;
  }
  return NULL;
}
