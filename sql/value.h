/* Values: SQLite's five storage classes, its comparison, affinity and conversion rules.
 *
 * V1  A value never owns its bytes. They live in a record (until the cursor moves), in an arena (until it is
 *     rewound), in the statement (constants, bound parameters) or in a node's own store. Whoever keeps a value
 *     longer copies the bytes (value_copy).
 * V2  Text is UTF-8 that may be broken and may hold NULs; n is its length in bytes; not NUL-terminated.
 * V3  No value is NaN: a NaN becomes NULL where it arises.
 */
#ifndef HDB_SQL_VALUE_H
#define HDB_SQL_VALUE_H

#include "grammar/ast.h"
#include "kv/base/bytes.h"
#include "kv/base/record.h"

enum value_type { VAL_INTEGER = 1, VAL_REAL = 2, VAL_TEXT = 3, VAL_BLOB = 4, VAL_NULL = 5 };
enum { SUBTYPE_JSON = 74 };

typedef struct value {
  uint8_t type;    /* enum value_type */
  uint8_t subtype; /* passed from function to function only */
  uint16_t spare;
  uint32_t n;      /* bytes of text or blob */
  union {
    int64_t i;
    double r;
    const char *p; /* may be NULL when n == 0 */
  };
} value;

static inline value value_null(void) { return (value){.type = VAL_NULL, .i = 0}; }
static inline value value_int(int64_t i) { return (value){.type = VAL_INTEGER, .i = i}; }
static inline value value_real(double r) { return r == r ? (value){.type = VAL_REAL, .r = r} : value_null(); }
static inline value value_text(const char *p, size_t n) { return (value){.type = VAL_TEXT, .n = (uint32_t)n, .p = p}; }
static inline value value_blob(const void *p, size_t n) {
  return (value){.type = VAL_BLOB, .n = (uint32_t)n, .p = (const char *)p};
}
/* Bytes copied into the arena (text also gets a NUL behind it). HDB_NOMEM. */
status value_copy(arena *a, const value *from, value *to);

/* A collation: BINARY, NOCASE, RTRIM are builtin; others call the user's function. */
typedef struct collation {
  const char *name;
  int builtin;     /* 0 user's, 1 BINARY, 2 NOCASE, 3 RTRIM */
  void *data;
  int (*compare)(void *data, int n1, const void *p1, int n2, const void *p2);
  void (*destroy)(void *data);
} collation;
extern const collation collation_binary, collation_nocase, collation_rtrim;

/* SQLite's total order: NULL < numbers < text < blob; int64 against double exact. c NULL: BINARY. */
int value_compare(const value *a, const value *b, const collation *c);
int compare_int_real(int64_t i, double r);

/* Affinity, in place. Text that looks like a number becomes one under NUMERIC, INTEGER, REAL; numbers become text
 * (bytes in the arena) under TEXT. */
status value_apply_affinity(value *v, uint8_t affinity, arena *a);
/* The affinity of a declared type (substring rules); "" or NULL: BLOB. */
uint8_t affinity_of_type(const char *type);
/* CAST(v AS affinity of type). */
status value_cast(value *v, uint8_t affinity, arena *a);
/* CAST between TEXT and BLOB in a database whose encoding is UTF-16: the blob's bytes are UTF-16 then. */
status value_cast_utf16(value *v, uint8_t affinity, bool big_endian, arena *a);

/* Conversions as SQLite's column_int64, column_double, column_text. */
int64_t value_to_int(const value *v);
double value_to_real(const value *v);
/* The text of any value but NULL ("" then): numbers formatted in the arena. */
status value_to_text(const value *v, arena *a, slice *out);
/* Number of a value for arithmetic: integer or real; NULL stays NULL. */
value value_to_number(const value *v);
/* Truth: 1, 0, or -1 for NULL. */
int value_truth(const value *v);

/* Text to number. Returns 0: not a number at all (prefix value still stored), 1: the whole text is an integer,
 * 2: the whole text is a real (or an integer too large), -1/-2: as 1/2 but only a prefix was numeric. */
int text_to_number(const char *p, size_t n, int64_t *i, double *r);
/* Correctly rounded decimal to double. */
double text_to_real(const char *p, size_t n);
/* "%!.15g" as SQLite: 1.0, 1.0e+100, Inf, -Inf. Returns the length; out needs 32 bytes. */
size_t real_to_text(double r, char *out);
size_t int_to_text(int64_t i, char *out);

/* Records: a row's columns. */
void value_write(record_writer *w, const value *v);
/* Decodes one column; the value borrows the payload. */
value value_read(uint8_t type, const uint8_t *payload, size_t payload_n);
/* Index key column under a collation; returns false when decoding the key cannot give the value back. */
bool value_write_key(buf *key, const value *v, const collation *c, bool descending);

#endif
