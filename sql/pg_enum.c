/* Enumerated types (pg_enum.h). */
#include "sql/pg_enum.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "sql/func.h"
#include "sql/func_pg.h"
#include "sql/internal.h"

static const char mark[] = "/*postgres enum ";

/* ---- texts ---- */

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

static void encode(const char *p, size_t n, buf *out) {
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)p[i];
    if (c <= 32 || strchr("%,;*/\"'()", c)) buf_printf(out, "%%%02x", c);
    else buf_byte(out, c);
  }
}

bool pg_enum_put(const char *const *labels, int n, buf *out) {
  buf_text(out, mark);
  for (int i = 0; i < n; i++) {
    if (i) buf_byte(out, ',');
    encode(labels[i], strlen(labels[i]), out);
  }
  buf_text(out, "*/");
  return !out->failed;
}

static const char *decoded(arena *memory, const char *p, size_t n) {
  char *text = arena_alloc(memory, n + 1);
  size_t k = 0;
  for (size_t i = 0; text && i < n; i++) {
    bool coded = p[i] == '%' && i + 2 < n + 0 && hex(p[i + 1]) >= 0 && hex(p[i + 2]) >= 0;
    text[k++] = coded ? (char)(hex(p[i + 1]) << 4 | hex(p[i + 2])) : p[i];
    if (coded) i += 2;
  }
  if (text) text[k] = 0;
  return text;
}

const pg_enum *pg_enum_of_text(arena *memory, const char *name, uint32_t oid, const char *sql) {
  const char *at = sql ? strstr(sql, mark) : NULL, *open = sql ? strchr(sql, '(') : NULL;
  if (!at || (open && open < at)) return NULL;
  at += sizeof mark - 1;
  const char *end = strstr(at, "*/");
  pg_enum *e = end ? arena_zero(memory, sizeof *e) : NULL;
  if (!e) return NULL;
  int n = end > at;
  for (const char *p = at; p < end; p++) n += *p == ',';
  e->labels = arena_zero(memory, (size_t)(n + 1) * sizeof *e->labels);
  for (const char *p = at; e->labels && p < end;) {
    const char *comma = memchr(p, ',', (size_t)(end - p)), *stop = comma ? comma : end;
    e->labels[e->n] = decoded(memory, p, (size_t)(stop - p));
    if (!e->labels[e->n++]) return NULL;
    p = stop + 1;
  }
  const char *array = arena_printf(memory, "_%s", name), *array_sql = arena_printf(memory, "%s[]", name);
  if (!e->labels || !array || !array_sql) return NULL;
  e->type = (pg_type){oid, name, name, 4, 'E', 0, oid + PG_ENUM_ARRAYS};
  e->array = (pg_type){oid + PG_ENUM_ARRAYS, array, array_sql, -1, 'A', oid, 0};
  return e;
}

void pg_enum_declare(const char *name, bool array, buf *out) {
  buf_text(out, array ? "enumarray " : "enum ");
  for (const char *p = name; *p; p++) {
    buf_byte(out, (uint8_t)*p);
    if ((*p == 'i' || *p == 'I') && strncasecmp(p, "int", 3) == 0) buf_byte(out, ' '); /* SQLite would make an integer of it */
  }
  buf_text(out, " text");
}

bool pg_enum_declared(const char *declared, char name[64], bool *array) {
  size_t n = declared ? strlen(declared) : 0, k = 0;
  if (n < 11 || strncasecmp(declared, "enum", 4) != 0 || strcasecmp(declared + n - 5, " text") != 0) return false;
  *array = strncasecmp(declared, "enumarray ", 10) == 0;
  if (!*array && declared[4] != ' ') return false;
  for (const char *p = declared + (*array ? 10 : 5); p < declared + n - 5 && k < 63; p++)
    if (*p != ' ' && *p != '"') name[k++] = *p;
  name[k] = 0;
  return k > 0;
}

/* ---- look-ups ---- */

void pg_enum_each(hdb *db, void (*visit)(void *context, const pg_enum *e), void *context) {
  for (int database = 0; database < 2; database++) {
    schema *s;
    if ((database == DB_TEMP && !db->databases[DB_TEMP].engine) || catalog_schema(db, database, &s) != HDB_OK) continue;
    for (int k = 0; k < s->tables_n; k++)
      if (s->in_order[k]->enumeration) visit(context, s->in_order[k]->enumeration);
  }
}

const pg_enum *pg_enum_by_name(hdb *db, const char *name) {
  char plain[64];
  if (strncasecmp(name, "public.", 7) == 0) name += 7;
  size_t n = strlen(name);
  bool quoted = n > 2 && *name == '"' && name[n - 1] == '"';
  if (n == 0 || n >= sizeof plain) return NULL;
  snprintf(plain, sizeof plain, "%.*s", (int)(quoted ? n - 2 : n), name + quoted);
  int database;
  table *t = catalog_table(db, NULL, plain, &database);
  return t ? t->enumeration : NULL;
}

typedef struct numbered {
  uint32_t oid;
  const pg_enum *found;
} numbered;
static void visit_number(void *context, const pg_enum *e) {
  numbered *w = context;
  if (e->type.oid == w->oid || e->array.oid == w->oid) w->found = e;
}
const pg_enum *pg_enum_by_oid(hdb *db, uint32_t oid) {
  numbered w = {.oid = oid};
  if (pg_is_own_type(oid)) pg_enum_each(db, visit_number, &w);
  return w.found;
}

const pg_type *pg_type_named(hdb *db, const char *name, int32_t *modifier) {
  const pg_type *t = pg_type_by_name(name, modifier);
  if (t || !db) return t;
  char plain[80];
  snprintf(plain, sizeof plain, "%s", name);
  size_t n = strlen(plain);
  bool array = n > 2 && strcmp(plain + n - 2, "[]") == 0;
  if (array) plain[n - 2] = 0;
  const pg_enum *e = pg_enum_by_name(db, plain);
  if (!e && *plain == '_') { /* as pg_type calls arrays */
    e = pg_enum_by_name(db, plain + 1);
    array = e != NULL;
  }
  *modifier = -1;
  return e ? array ? &e->array : &e->type : NULL;
}

const pg_type *pg_type_numbered(hdb *db, uint32_t oid) {
  const pg_type *t = pg_type_by_oid(oid);
  const pg_enum *e = t || !db ? NULL : pg_enum_by_oid(db, oid);
  return t ? t : !e ? NULL : e->type.oid == oid ? &e->type : &e->array;
}

const pg_type *pg_type_of_declared(hdb *db, const char *declared, bool postgres, int32_t *modifier) {
  char name[64];
  bool array;
  if (postgres && pg_enum_declared(declared, name, &array)) {
    const pg_enum *e = pg_enum_by_name(db, name);
    *modifier = -1;
    return e ? array ? &e->array : &e->type : pg_type_by_oid(PG_TEXT);
  }
  return pg_type_of_column(declared, postgres, modifier);
}

status pg_enum_must_exist(hdb *db, const char *declared, error *err) {
  char name[64];
  bool array;
  if (!pg_enum_declared(declared, name, &array) || pg_enum_by_name(db, name)) return HDB_OK;
  return error_set(err, HDB_ERROR, "type \"%s%s\" does not exist", name, array ? "[]" : "");
}

/* ---- values ---- */

int pg_enum_place(const pg_enum *e, const char *label, size_t n) {
  for (int i = 0; i < e->n; i++)
    if (strlen(e->labels[i]) == n && memcmp(e->labels[i], label, n) == 0) return i;
  return -1;
}

static status none_of(const pg_enum *e, const char *label, size_t n, error *err) {
  return error_set(err, HDB_MISMATCH, "invalid input value for enum %s: \"%.*s\"", e->type.name, (int)(n > 200 ? 200 : n), label);
}

/* The elements of the canonical form, JSON's strings and nulls. */
static status check_elements(const pg_enum *e, const char *p, size_t n, error *err) {
  const char *end = p + n;
  buf text = BUF_INIT;
  status rc = HDB_OK;
  while (p < end && rc == HDB_OK) {
    if (*p++ != '"') continue;
    buf_clear(&text);
    for (; p < end && *p != '"'; p++) {
      if (*p == '\\' && p + 1 < end) p++;
      buf_byte(&text, (uint8_t)*p);
    }
    p++;
    if (pg_enum_place(e, text.p ? (const char *)text.p : "", text.n) < 0) rc = none_of(e, text.p ? (const char *)text.p : "", text.n, err);
  }
  buf_free(&text);
  return rc;
}

status pg_enum_check(const pg_enum *e, bool array, const value *v, arena *memory, error *err) {
  if (v->type == VAL_NULL) return HDB_OK;
  slice text;
  TRY(value_to_text(v, memory, &text));
  const char *p = text.n ? (const char *)text.p : "";
  if (array) return check_elements(e, p, text.n, err);
  return pg_enum_place(e, p, text.n) >= 0 ? HDB_OK : none_of(e, p, text.n, err);
}

const char *pg_enum_list(arena *memory, const pg_enum *e) {
  buf b = BUF_INIT;
  for (int i = 0; i < e->n; i++) buf_printf(&b, "%s%c", e->labels[i], 1);
  const char *text = arena_strndup(memory, b.p ? (const char *)b.p : "", b.n);
  buf_free(&b);
  return text;
}

status hdb_type_accepts(hdb *db, uint32_t oid, const value *v, arena *memory, error *err) {
  if (!pg_is_own_type(oid)) return HDB_OK;
  hdb_lock(db);
  const pg_enum *e = pg_enum_by_oid(db, oid);
  status rc = e ? pg_enum_check(e, e->array.oid == oid, v, memory, err) : HDB_OK;
  transaction_release(db);
  hdb_unlock(db);
  return rc;
}

bool hdb_type_name(hdb *db, uint32_t oid, char name[64], bool *array) {
  hdb_lock(db);
  const pg_enum *e = pg_enum_by_oid(db, oid);
  if (e) snprintf(name, 64, "%s", e->type.name), *array = e->array.oid == oid;
  transaction_release(db);
  hdb_unlock(db);
  return e != NULL;
}

uint32_t hdb_type_number(hdb *db, const char *name) {
  int32_t modifier;
  hdb_lock(db);
  const pg_type *t = pg_type_named(db, name, &modifier);
  uint32_t number = t ? t->oid : 0;
  transaction_release(db);
  hdb_unlock(db);
  return number;
}

bool hdb_type_exists(hdb *db, const char *name) {
  hdb_lock(db);
  bool found = pg_enum_by_name(db, name) != NULL;
  transaction_release(db);
  hdb_unlock(db);
  return found;
}

/* ---- functions that the rewritten tree calls ---- */

/* (label, list) -> its place, NULL for none */
static status f_order(function_call *call, int n, const value *a, value *result) {
  *result = value_null();
  if (a[0].type != VAL_TEXT || a[1].type != VAL_TEXT) return HDB_OK;
  const char *p = a[1].p, *end = p + a[1].n;
  for (int64_t i = 1; p < end; i++) {
    const char *stop = memchr(p, 1, (size_t)(end - p));
    if (!stop) break;
    if ((size_t)(stop - p) == a[0].n && memcmp(p, a[0].p, a[0].n) == 0) return *result = value_int(i), HDB_OK;
    p = stop + 1;
  }
  return HDB_OK;
}

static status f_label(function_call *call, int n, const value *a, value *result) {
  *result = value_null();
  if (a[0].type != VAL_INTEGER || a[1].type != VAL_TEXT) return HDB_OK;
  const char *p = a[1].p, *end = p + a[1].n;
  for (int64_t i = 1; p < end; i++) {
    const char *stop = memchr(p, 1, (size_t)(end - p));
    if (!stop) break;
    if (i == a[0].i) return function_result_text(call, p, (size_t)(stop - p), result);
    p = stop + 1;
  }
  return HDB_OK;
}

status pg_enum_cast(function_call *call, const char *name, value *v) {
  int32_t modifier;
  if (!call->db) return error_set(call->err, HDB_ERROR, "type \"%s\" does not exist", name);
  hdb_lock(call->db);
  const pg_type *t = pg_type_named(call->db, name, &modifier);
  const pg_enum *e = t ? pg_enum_by_oid(call->db, t->oid) : NULL;
  status rc = !e ? error_set(call->err, HDB_ERROR, "type \"%s\" does not exist", name) : HDB_OK;
  if (rc == HDB_OK && v->type != VAL_NULL && t->category == 'A') rc = pg_convert(PG_TEXT_ARRAY, -1, true, v, call->memory, call->err);
  if (rc == HDB_OK) rc = pg_enum_check(e, t->category == 'A', v, call->memory, call->err);
  hdb_unlock(call->db);
  return rc;
}

static void put_label(buf *b, const char *label) {
  buf_byte(b, '"');
  for (const char *p = label; *p; p++) {
    if (*p == '"' || *p == '\\') buf_byte(b, '\\');
    buf_byte(b, (uint8_t)*p);
  }
  buf_byte(b, '"');
}

/* enum_range, enum_first, enum_last: (0, -1 or 1, a list) */
static status f_range(function_call *call, int n, const value *a, value *result) {
  *result = value_null();
  if (a[0].type != VAL_INTEGER || a[1].type != VAL_TEXT) return HDB_OK;
  const char *p = a[1].p, *end = p + a[1].n, *last = p;
  buf b = BUF_INIT;
  buf_byte(&b, '[');
  for (const char *stop; p < end && (stop = memchr(p, 1, (size_t)(end - p))); p = stop + 1) {
    if (a[0].i < 0) {
      buf_free(&b);
      return function_result_text(call, p, (size_t)(stop - p), result);
    }
    last = p;
    if (b.n > 1) buf_byte(&b, ',');
    const char *label = arena_strndup(call->memory, p, (size_t)(stop - p));
    if (label) put_label(&b, label);
  }
  if (a[0].i > 0) {
    buf_free(&b);
    return function_result_text(call, last, last < end ? strcspn(last, "\1") : 0, result);
  }
  buf_byte(&b, ']');
  return function_result_buf(call, &b, VAL_TEXT, result);
}

#define F(name, n, flags, f) {name, n, n, flags, 0, f, NULL, NULL, NULL, NULL, NULL, NULL}
static const function functions[] = {F("pg_enum_order", 2, FUNC_DETERMINISTIC | FUNC_INNOCUOUS, f_order), F("pg_enum_label", 2, FUNC_DETERMINISTIC | FUNC_INNOCUOUS, f_label),
                                     F("pg_enum_range", 2, FUNC_DETERMINISTIC | FUNC_INNOCUOUS, f_range)};
const function_table functions_pg_enum = {functions, COUNT(functions)};
