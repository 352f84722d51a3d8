/* Functions over pg_catalog: definitions, names behind numbers, visibility, privileges (one user may do everything),
 * sizes, arrays as the catalog's queries use them. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "sql/pg_enum.h"
#include "sql/func.h"
#include "sql/func_text.h"
#include "sql/internal.h"
#include "sql/pg_catalog.h"
#include "sql/pg_objects.h"

static status give_text(function_call *call, const char *text, value *result) {
  if (!text) return *result = value_null(), HDB_OK;
  return function_result_text(call, text, strlen(text), result);
}

static status f_format_type(function_call *call, int n, const value *a, value *result) {
  if (a[0].type == VAL_NULL) return *result = value_null(), HDB_OK;
  uint32_t oid = (uint32_t)value_to_int(&a[0]);
  if (pg_is_own_type(oid) && call->db) {
    buf b = BUF_INIT;
    if (pg_reg_text(call->db, PG_REGTYPE, oid, &b)) return function_result_buf(call, &b, VAL_TEXT, result);
    buf_free(&b);
  }
  return give_text(call, pg_format_type(call->memory, (uint32_t)value_to_int(&a[0]), a[1].type == VAL_NULL ? -1 : (int32_t)value_to_int(&a[1])), result);
}

static status definition(function_call *call, int what, int64_t number, int64_t column, bool pretty, value *result) {
  buf b = BUF_INIT;
  if (call->db && pg_definition(call->db, what, number, column, pretty, &b)) return function_result_buf(call, &b, VAL_TEXT, result);
  buf_free(&b);
  *result = value_null();
  return HDB_OK;
}
static int64_t class_number(function_call *call, const value *v) {
  int64_t number = 0;
  if (v->type != VAL_TEXT) return value_to_int(v);
  char name[200];
  snprintf(name, sizeof name, "%.*s", (int)v->n, v->p);
  return call->db && pg_reg_number(call->db, PG_REGCLASS, name, &number) ? number : 0;
}
static status f_indexdef(function_call *call, int n, const value *a, value *result) {
  return definition(call, 'i', class_number(call, &a[0]), n > 1 ? value_to_int(&a[1]) : 0, n > 2 && value_to_int(&a[2]), result);
}
static status f_constraintdef(function_call *call, int n, const value *a, value *result) {
  return definition(call, 'k', value_to_int(&a[0]), 0, false, result);
}
static status f_viewdef(function_call *call, int n, const value *a, value *result) {
  return definition(call, 'v', class_number(call, &a[0]), 0, false, result);
}
static status f_first(function_call *call, int n, const value *a, value *result) { return *result = a[0], HDB_OK; }
static status f_null(function_call *call, int n, const value *a, value *result) { return *result = value_null(), HDB_OK; }
static status f_true(function_call *call, int n, const value *a, value *result) { return *result = value_int(1), HDB_OK; }
static status f_false(function_call *call, int n, const value *a, value *result) { return *result = value_int(0), HDB_OK; }
static status f_zero(function_call *call, int n, const value *a, value *result) { return *result = value_int(0), HDB_OK; }
static status f_owner(function_call *call, int n, const value *a, value *result) { return give_text(call, pg_owner(call->db), result); }
static status f_encoding(function_call *call, int n, const value *a, value *result) { return give_text(call, "UTF8", result); }
static status f_schema(function_call *call, int n, const value *a, value *result) { return give_text(call, "public", result); }
static status f_schemas(function_call *call, int n, const value *a, value *result) {
  return give_text(call, value_truth(&a[0]) == 1 ? "[\"pg_catalog\",\"public\"]" : "[\"public\"]", result);
}
static status f_version(function_call *call, int n, const value *a, value *result) {
  return give_text(call, "PostgreSQL 15.8 (HeliosDB Nano " "0.1.0) on x86_64-linux-gnu, 64-bit", result);
}
static status f_to_reg(function_call *call, uint32_t type, const value *a, value *result) {
  char name[200];
  int64_t number;
  *result = value_null();
  if (a[0].type != VAL_TEXT || !call->db) return HDB_OK;
  snprintf(name, sizeof name, "%.*s", (int)a[0].n, a[0].p);
  if (pg_reg_number(call->db, type, name, &number)) *result = value_int(number);
  return HDB_OK;
}
static status f_to_regclass(function_call *call, int n, const value *a, value *result) { return f_to_reg(call, PG_REGCLASS, a, result); }
static status f_to_regtype(function_call *call, int n, const value *a, value *result) { return f_to_reg(call, PG_REGTYPE, a, result); }

static status f_size_pretty(function_call *call, int n, const value *a, value *result) {
  static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
  int64_t v = value_to_int(&a[0]);
  int unit = 0;
  while (v >= 10240 && unit < 4) v = (v + 512) / 1024, unit++;
  char text[40];
  snprintf(text, sizeof text, "%lld %s", (long long)v, units[unit]);
  return give_text(call, text, result);
}

static status f_obj_description(function_call *call, int n, const value *a, value *result) {
  buf b = BUF_INIT;
  bool other = n > 1 && a[1].type == VAL_TEXT && !(a[1].n == 8 && memcmp(a[1].p, "pg_class", 8) == 0);
  if (!other && call->db && a[0].type != VAL_NULL && pg_comment_of(call->db, class_number(call, &a[0]), 0, &b)) return function_result_buf(call, &b, VAL_TEXT, result);
  buf_free(&b);
  return *result = value_null(), HDB_OK;
}
static status f_col_description(function_call *call, int n, const value *a, value *result) {
  buf b = BUF_INIT;
  int64_t column = value_to_int(&a[1]);
  if (call->db && column > 0 && pg_comment_of(call->db, class_number(call, &a[0]), column, &b)) return function_result_buf(call, &b, VAL_TEXT, result);
  buf_free(&b);
  return *result = value_null(), HDB_OK;
}
static status procedure_text(function_call *call, const value *a, bool of_result, value *result) {
  buf b = BUF_INIT;
  if (a[0].type != VAL_NULL && pg_procedure_text(value_to_int(&a[0]), of_result, &b)) return function_result_buf(call, &b, VAL_TEXT, result);
  buf_free(&b);
  return *result = value_null(), HDB_OK;
}
static status f_function_result(function_call *call, int n, const value *a, value *result) { return procedure_text(call, a, true, result); }
static status f_function_arguments(function_call *call, int n, const value *a, value *result) { return procedure_text(call, a, false, result); }

static status size_of(function_call *call, const value *a, int what, value *result) {
  *result = value_null();
  if (a[0].type == VAL_NULL || !call->db) return HDB_OK;
  int64_t number = what == PG_SIZE_DATABASE ? 1 : class_number(call, &a[0]);
  if (number == 0 && a[0].type == VAL_TEXT) return error_set(call->err, HDB_ERROR, "relation \"%.*s\" does not exist", (int)a[0].n, a[0].p);
  *result = value_int(pg_size(call->db, number, what));
  return HDB_OK;
}
static status f_relation_size(function_call *call, int n, const value *a, value *result) { return size_of(call, a, PG_SIZE_RELATION, result); }
static status f_total_size(function_call *call, int n, const value *a, value *result) { return size_of(call, a, PG_SIZE_TOTAL, result); }
static status f_indexes_size(function_call *call, int n, const value *a, value *result) { return size_of(call, a, PG_SIZE_INDEXES, result); }
static status f_database_size(function_call *call, int n, const value *a, value *result) { return size_of(call, a, PG_SIZE_DATABASE, result); }

static status f_serial_sequence(function_call *call, int n, const value *a, value *result) {
  int database;
  char name[200];
  *result = value_null();
  if (a[0].type != VAL_TEXT || a[1].type != VAL_TEXT || !call->db) return HDB_OK;
  snprintf(name, sizeof name, "%.*s", (int)a[0].n, a[0].p);
  table *t = catalog_table(call->db, NULL, strncmp(name, "public.", 7) == 0 ? name + 7 : name, &database);
  if (!t) return error_set(call->err, HDB_ERROR, "relation \"%s\" does not exist", name);
  buf b = BUF_INIT;
  char column_name[200];
  snprintf(column_name, sizeof column_name, "%.*s", (int)a[1].n, a[1].p);
  int k = table_column(t, column_name);
  if (k < 0) return error_set(call->err, HDB_ERROR, "column \"%s\" of relation \"%s\" does not exist", column_name, t->name);
  if (pg_sequence_of(call->db, t, k + 1, &b)) return function_result_buf(call, &b, VAL_TEXT, result);
  buf_free(&b);
  return HDB_OK;
}

/* ---- arrays: JSON text ---- */

/* Element k from 1 of [..], or their number when k is 0. */
static int64_t element(const value *v, int64_t k, slice *out) {
  const char *p = v->type == VAL_TEXT ? v->p : "", *end = p + (v->type == VAL_TEXT ? v->n : 0);
  int64_t count = 0;
  bool vector = p < end && *p != '[';
  if (!vector && p < end) p++, end--;
  while (p < end) {
    const char *from = p;
    if (*p == '"') {
      for (p++; p < end && *p != '"'; p++)
        if (*p == '\\') p++;
      p++;
    } else {
      int depth = 0;
      for (; p < end && (depth || (*p != ',' && !(vector && *p == ' '))); p++) depth += *p == '[' ? 1 : *p == ']' ? -1 : 0;
    }
    count++;
    if (count == k) *out = *from == '"' && p - from >= 2 ? slice_of(from + 1, (size_t)(p - from) - 2) : slice_of(from, (size_t)(p - from));
    while (p < end && (*p == ',' || *p == ' ')) p++;
  }
  return count;
}
static status f_subscript(function_call *call, int n, const value *a, value *result) {
  slice out = {NULL, 0};
  int64_t at = value_to_int(&a[1]) + (a[0].type == VAL_TEXT && a[0].n && a[0].p[0] != '[' && a[0].p[0] != '{'); /* vectors begin at 0 */
  *result = value_null();
  if (a[0].type == VAL_TEXT && a[0].n && (isalpha((unsigned char)a[0].p[0]) || a[0].p[0] == '_')) { /* a name's bytes, from 0 */
    int64_t byte = value_to_int(&a[1]);
    return byte >= 0 && byte < a[0].n ? function_result_text(call, a[0].p + byte, 1, result) : HDB_OK;
  }
  if (a[0].type != VAL_TEXT || at < 1) return HDB_OK;
  element(&a[0], at, &out);
  if (!out.p || (out.n == 4 && memcmp(out.p, "null", 4) == 0)) return HDB_OK;
  int64_t i;
  double r;
  if (out.p[-1] != '"' && text_to_number((const char *)out.p, out.n, &i, &r) == 1) return *result = value_int(i), HDB_OK;
  return function_result_text(call, out.p, out.n, result);
}
/* The subscript of element `key` (from 0): vectors begin at 0, arrays at 1. */
static status f_subscript_at(function_call *call, int n, const value *a, value *result) {
  bool array = a[0].type == VAL_TEXT && a[0].n && (a[0].p[0] == '[' || a[0].p[0] == '{');
  return *result = value_int(value_to_int(&a[1]) + array), HDB_OK;
}
static status f_array_length(function_call *call, int n, const value *a, value *result) {
  slice out;
  *result = value_null();
  if (a[0].type != VAL_TEXT) return HDB_OK;
  int64_t count = element(&a[0], 0, &out);
  if (count || n == 1) *result = value_int(count);
  return HDB_OK;
}
static status f_array_to_string(function_call *call, int n, const value *a, value *result) {
  slice separator, out, none = {NULL, 0};
  if (a[0].type != VAL_TEXT) return *result = value_null(), HDB_OK;
  TRY(function_text(call, &a[1], &separator));
  if (n > 2) TRY(function_text(call, &a[2], &none));
  int64_t count = element(&a[0], 0, &out);
  buf b = BUF_INIT;
  for (int64_t k = 1; k <= count; k++) {
    element(&a[0], k, &out);
    bool null = out.n == 4 && memcmp(out.p, "null", 4) == 0 && out.p[-1] != '"';
    if (null && !none.p) continue;
    if (b.n) buf_append(&b, separator.p, separator.n);
    buf_append(&b, null ? none.p : out.p, null ? none.n : out.n);
  }
  return function_result_buf(call, &b, VAL_TEXT, result);
}
static status f_array_position(function_call *call, int n, const value *a, value *result) {
  slice out, wanted;
  *result = value_null();
  if (a[0].type != VAL_TEXT) return HDB_OK;
  TRY(function_text(call, &a[1], &wanted));
  int64_t count = element(&a[0], 0, &out);
  for (int64_t k = 1; k <= count; k++) {
    element(&a[0], k, &out);
    if (wanted.p && slice_equal(out, wanted)) return *result = value_int(k), HDB_OK;
  }
  return HDB_OK;
}

#define F(name, n, least, f) {name, n, least, FUNC_INNOCUOUS, 0, f, NULL, NULL, NULL, NULL, NULL, NULL}
static const function functions[] = {
    F("format_type", 2, 2, f_format_type), F("pg_get_indexdef", -1, 1, f_indexdef), F("pg_get_constraintdef", -1, 1, f_constraintdef),
    F("pg_get_viewdef", -1, 1, f_viewdef), F("pg_get_expr", -1, 2, f_first), F("pg_get_triggerdef", -1, 1, f_null),
    F("pg_get_ruledef", -1, 1, f_null), F("pg_get_function_sqlbody", 1, 1, f_null), F("pg_get_functiondef", 1, 1, f_null), F("pg_get_function_result", 1, 1, f_function_result),
    F("pg_get_function_arguments", 1, 1, f_function_arguments), F("pg_get_function_identity_arguments", 1, 1, f_function_arguments),
    F("pg_get_partkeydef", 1, 1, f_null), F("pg_get_statisticsobjdef_columns", 1, 1, f_null), F("pg_get_userbyid", 1, 1, f_owner),
    F("pg_table_is_visible", 1, 1, f_true), F("pg_type_is_visible", 1, 1, f_true), F("pg_function_is_visible", 1, 1, f_true),
    F("pg_operator_is_visible", 1, 1, f_true), F("pg_collation_is_visible", 1, 1, f_true), F("pg_conversion_is_visible", 1, 1, f_true),
    F("pg_statistics_obj_is_visible", 1, 1, f_true), F("pg_ts_config_is_visible", 1, 1, f_true), F("pg_ts_dict_is_visible", 1, 1, f_true),
    F("pg_opclass_is_visible", 1, 1, f_true), F("pg_opfamily_is_visible", 1, 1, f_true), F("pg_ts_parser_is_visible", 1, 1, f_true), F("pg_ts_template_is_visible", 1, 1, f_true),
    F("pg_relation_is_publishable", 1, 1, f_true), F("pg_partition_ancestors", 1, 1, f_first), F("pg_is_in_recovery", 0, 0, f_false),
    F("pg_is_other_temp_schema", 1, 1, f_false), F("pg_my_temp_schema", 0, 0, f_zero), F("pg_encoding_to_char", 1, 1, f_encoding),
    F("pg_char_to_encoding", 1, 1, f_zero), F("pg_table_size", 1, 1, f_relation_size), F("pg_total_relation_size", 1, 1, f_total_size), F("pg_relation_size", -1, 1, f_relation_size),
    F("pg_indexes_size", 1, 1, f_indexes_size), F("pg_database_size", 1, 1, f_database_size), F("pg_tablespace_size", 1, 1, f_database_size), F("getdatabaseencoding", 0, 0, f_encoding), F("pg_size_pretty", 1, 1, f_size_pretty),
    F("pg_tablespace_location", 1, 1, f_null), F("pg_get_serial_sequence", 2, 2, f_serial_sequence), F("pg_subscript", 2, 2, f_subscript), F("pg_subscript_at", 2, 2, f_subscript_at),
    F("obj_description", -1, 1, f_obj_description), F("col_description", 2, 2, f_col_description), F("shobj_description", 2, 2, f_null),
    F("has_table_privilege", -1, 2, f_true), F("has_schema_privilege", -1, 2, f_true), F("has_database_privilege", -1, 2, f_true),
    F("has_column_privilege", -1, 3, f_true), F("has_sequence_privilege", -1, 2, f_true), F("has_function_privilege", -1, 2, f_true), F("pg_has_role", -1, 2, f_true),
    F("to_regclass", 1, 1, f_to_regclass), F("to_regtype", 1, 1, f_to_regtype), F("current_schema", 0, 0, f_schema), F("current_schemas", 1, 1, f_schemas),
    F("version", 0, 0, f_version), F("array_length", 2, 2, f_array_length), F("array_upper", 2, 2, f_array_length), F("cardinality", 1, 1, f_array_length),
    F("array_to_string", -1, 2, f_array_to_string), F("array_position", 2, 2, f_array_position), F("array_remove", 2, 2, f_first),
    F("row_security_active", 1, 1, f_false), F("acldefault", 2, 2, f_null), F("aclexplode", 1, 1, f_null),
};
const function_table functions_pg_catalog = {functions, COUNT(functions)};
