/* The tree made to fit its types (describe.h): literals in the form of what they are compared with, dates beside moments,
 * and a timestamptz, kept in UTC, in the session's zone wherever its clock is looked at. A session in UTC needs none of
 * the last but its text, and gets none of it.
 */
#include "sql/describe_tree.h"

#include <stdlib.h>
#include <strings.h>

#include "sql/number.h"

/* ---- coercion: 'x' beside a column of another type than text ---- */

void coerce_literal(describe *d, expr *e, typed t) {
  const pg_type *type = d->coerce && e && e->op == EX_TEXT ? pg_type_numbered(d->db, t.type) : NULL;
  if (!d->coerce || d->rc != HDB_OK || !e || e->op != EX_TEXT || !type || (type->category == 'S' && type->oid != PG_BPCHAR)) return;
  bool reg = type->oid == PG_REGCLASS || type->oid == PG_REGTYPE || type->oid == PG_REGPROC || type->oid == PG_REGNAMESPACE || type->oid == PG_REGROLE || type->oid == PG_OID;
  if (reg || type->oid == PG_CHAR || type->oid == PG_JSON || type->oid == PG_VECTOR || type->category == 'P' || type->oid == PG_UNKNOWN) return;
  value v = value_text(e->text, e->text_n);
  error why = ERROR_INIT;
  const pg_enum *own = type->category == 'E' || pg_is_own_type(type->oid) ? pg_enum_by_oid(d->db, type->oid) : NULL;
  bool padded = type->oid == PG_BPCHAR;
  if (padded && t.modifier < 4) return;
  status rc = own && type->category == 'E' ? pg_enum_check(own, false, &v, d->memory, &why)
              : pg_convert_in(d->db->pragmas.zone, own ? PG_TEXT_ARRAY : type->oid, padded ? t.modifier : -1, false, &v, d->memory, &why);
  if (rc != HDB_OK && !padded) {
    d->rc = error_set(d->err, rc, "%s", why.message ? why.message : "");
    if (d->text && e->span.p) d->err->offset = (int)(e->span.p - d->text);
  }
  error_clear(&why);
  if (rc != HDB_OK) return;
  switch (v.type) {
  case VAL_INTEGER: e->op = EX_INT, e->i = v.i; break;
  case VAL_REAL: e->op = EX_REAL, e->r = v.r; break;
  case VAL_BLOB: e->op = EX_BLOB, e->text = v.p, e->text_n = v.n; break;
  default: e->text = v.p, e->text_n = v.n;
  }
}

/* A date beside a timestamp is its midnight. */
static void coerce_date(describe *d, expr *e) {
  if (!d->coerce || !e) return;
  expr *inner = arena_zero(d->memory, sizeof *inner), *name = arena_zero(d->memory, sizeof *name);
  expr_list *list = NULL;
  if (inner && name) {
    *inner = *e;
    name->op = EX_TEXT, name->text = "timestamp", name->text_n = (uint32_t)strlen(name->text), name->span = e->span;
    list = ast_list_add(d->memory, ast_list_add(d->memory, NULL, inner), name);
  }
  if (!list) {
    d->failed = true;
    return;
  }
  *e = (expr){.op = EX_FUNCTION, .text = "pg_cast", .text_n = 7, .list = list, .span = inner->span};
}

/* Intervals compare by their length, a month being 30 days; their texts do not. */
void coerce_interval(describe *d, expr *e) {
  expr *inner = arena_zero(d->memory, sizeof *inner);
  expr_list *list = NULL;
  if (inner) {
    *inner = *e;
    list = ast_list_add(d->memory, NULL, inner);
  }
  if (list) *e = (expr){.op = EX_FUNCTION, .text = "pg_interval_length", .text_n = 18, .list = list, .span = inner->span};
  else d->failed = true;
}

void coerce_pair(describe *d, expr *left, expr *right, typed l, typed r) {
  if (!d->coerce) return;
  if (l.type == PG_INTERVAL && r.type == PG_INTERVAL) {
    coerce_interval(d, left);
    coerce_interval(d, right);
    return;
  }
  if (left->op == EX_TEXT && right->op != EX_TEXT) coerce_literal(d, left, r);
  else if (right->op == EX_TEXT && left->op != EX_TEXT) coerce_literal(d, right, l);
  else if (l.type == PG_DATE && is_moment(r.type) && right->op != EX_PARAM) coerce_date(d, left), coerce_to(d, left, typed_of(PG_TIMESTAMP), r);
  else if (r.type == PG_DATE && is_moment(l.type) && left->op != EX_PARAM) coerce_date(d, right), coerce_to(d, right, typed_of(PG_TIMESTAMP), l);
  else if (l.type == PG_TIMESTAMP && r.type == PG_TIMESTAMPTZ) coerce_to(d, left, l, r);
  else if (r.type == PG_TIMESTAMP && l.type == PG_TIMESTAMPTZ) coerce_to(d, right, r, l);
}

/* ---- the session's zone ---- */

/* e becomes name(e), or name(first, e). */
static void wrap(describe *d, expr *e, const char *name, expr *first) {
  expr *inner = arena_zero(d->memory, sizeof *inner);
  expr_list *list = NULL;
  if (inner) {
    *inner = *e;
    if (first) list = ast_list_add(d->memory, NULL, first);
    list = ast_list_add(d->memory, list, inner);
  }
  if (list) *e = (expr){.op = EX_FUNCTION, .text = name, .text_n = (uint32_t)strlen(name), .list = list, .span = inner->span};
  else d->failed = true;
}

static void rename_call(expr *e, const char *name) { e->text = name, e->text_n = (uint32_t)strlen(name); }

static bool is_text(uint32_t type) { return type == PG_TEXT || type == PG_VARCHAR || type == PG_BPCHAR || type == PG_NAME; }

typed coerce_to(describe *d, expr *e, typed from, typed to) {
  if (!d->coerce || !e || e->op == EX_PARAM || e->op == EX_STAR || from.type == to.type) {
    if (d->coerce && e && e->op == EX_TEXT && to.type == PG_TIMESTAMPTZ && d->db->pragmas.zone) coerce_literal(d, e, to);
    return from;
  }
  if (from.type == PG_TIMESTAMPTZ && is_text(to.type)) {
    wrap(d, e, "pg_zoned_text", NULL);
    return typed_of(PG_TEXT);
  }
  if (from.type == PG_VECTOR && is_text(to.type)) {
    wrap(d, e, "pg_vector_text", NULL);
    return typed_of(PG_TEXT);
  }
  if (!d->db->pragmas.zone) return from;
  if (to.type == PG_TIMESTAMPTZ && e->op == EX_TEXT) {
    coerce_literal(d, e, to);
    return to;
  }
  if (from.type == PG_TIMESTAMPTZ && (to.type == PG_TIMESTAMP || to.type == PG_DATE || to.type == PG_TIME)) {
    wrap(d, e, "pg_local", NULL);
    return typed_of(PG_TIMESTAMP);
  }
  if ((from.type == PG_TIMESTAMP || from.type == PG_DATE) && to.type == PG_TIMESTAMPTZ) {
    wrap(d, e, "pg_utc", NULL);
    return to;
  }
  return from;
}

void coerce_cast(describe *d, expr *e, expr *operand, typed from, uint32_t to) {
  if (operand->op == EX_TEXT) return; /* the cast reads it, in the zone */
  typed now = coerce_to(d, operand, from, typed_of(to));
  if (d->coerce && to == PG_TIMESTAMPTZ && now.type == to && operand->op != EX_PARAM) *e = *operand; /* nothing is left to do; the cast would read it as local */
}

static bool one_of(const char *name, const char *const *names) {
  for (; *names; names++)
    if (strcmp(name, *names) == 0) return true;
  return false;
}

/* timezone(zone, x): which way by the type of x. */
static bool zone_call(describe *d, expr *e, const typed *arguments, typed *result) {
  expr *x = e->list->items[1].e;
  bool to_local = arguments[1].type != PG_TIMESTAMP;
  if (arguments[0].type == PG_INTERVAL) wrap(d, e->list->items[0].e, "pg_interval_zone", NULL);
  if (arguments[1].type == PG_DATE) wrap(d, x, "pg_utc", NULL);
  else if (x->op == EX_TEXT) coerce_literal(d, x, typed_of(PG_TIMESTAMPTZ));
  rename_call(e, to_local ? "pg_local_in" : "pg_utc_in");
  *result = typed_of(to_local ? PG_TIMESTAMP : PG_TIMESTAMPTZ);
  return true;
}

bool coerce_zoned_call(describe *d, expr *e, const typed *arguments, int n, typed *result) {
  static const char *const texts[] = {"concat", "concat_ws", "string_agg", "quote_literal", "quote_nullable", "format", "length", NULL};
  const char *name = e->text;
  bool zone = d->coerce && d->db->pragmas.zone;
  if (!d->coerce || n == 0) return false;
  if (strcmp(name, "timezone") == 0 && n == 2) return zone_call(d, e, arguments, result);
  if (one_of(name, texts))
    for (int i = 0; i < n; i++)
      if (arguments[i].type == PG_TIMESTAMPTZ) coerce_to(d, e->list->items[i].e, arguments[i], typed_of(PG_TEXT));
  bool second = n >= 2 && arguments[1].type == PG_TIMESTAMPTZ, first = arguments[0].type == PG_TIMESTAMPTZ;
  if (strcmp(name, "to_char") == 0 && first) {
    rename_call(e, "pg_zoned_char");
    *result = typed_of(PG_TEXT);
    return true;
  }
  if ((strcmp(name, "pg_extract") == 0 || strcmp(name, "date_part") == 0) && second) {
    *result = typed_of(name[0] == 'p' ? PG_NUMERIC : PG_FLOAT8);
    rename_call(e, "pg_zoned_extract");
    return true;
  }
  if (strcmp(name, "date_trunc") == 0 && n == 3 && second) {
    expr *in = e->list->items[2].e;
    wrap(d, e->list->items[1].e, "pg_local_in", in);
    wrap(d, e, "pg_utc_in", in);
    *result = typed_of(PG_TIMESTAMPTZ);
    return true;
  }
  if (!zone) return false;
  if (strcmp(name, "date_trunc") == 0 && (second || arguments[1].type == PG_DATE)) {
    if (second) wrap(d, e->list->items[1].e, "pg_local", NULL);
    wrap(d, e, "pg_utc", NULL);
    *result = typed_of(PG_TIMESTAMPTZ);
    return true;
  }
  if (strcmp(name, "age") == 0 || (strcmp(name, "date") == 0 && n == 1))
    for (int i = 0; i < n; i++) coerce_to(d, e->list->items[i].e, arguments[i], typed_of(PG_TIMESTAMP));
  if (strcmp(name, "to_timestamp") == 0 && n == 2) {
    wrap(d, e, "pg_utc", NULL);
    *result = typed_of(PG_TIMESTAMPTZ);
    return true;
  }
  return false;
}

bool coerce_zoned_arithmetic(describe *d, expr *e, expr *left, expr *right, typed l, typed r, int op) {
  if (!d->coerce || !d->db->pragmas.zone || (op != EX_ADD && op != EX_SUB) || (l.type != PG_TIMESTAMPTZ && r.type != PG_TIMESTAMPTZ)) return false;
  if (op == EX_SUB && l.type != r.type && (l.type == PG_TIMESTAMP || l.type == PG_DATE)) coerce_to(d, left, l, r);
  if (op == EX_SUB && l.type != r.type && (r.type == PG_TIMESTAMP || r.type == PG_DATE)) coerce_to(d, right, r, l);
  bool forward = l.type == PG_TIMESTAMPTZ && (r.type == PG_INTERVAL || right->op == EX_TEXT);
  bool backward = r.type == PG_TIMESTAMPTZ && op == EX_ADD && l.type == PG_INTERVAL;
  if (!forward && !backward) return false;
  expr *sign = arena_zero(d->memory, sizeof *sign);
  expr_list *list = ast_list_add(d->memory, ast_list_add(d->memory, NULL, forward ? left : right), forward ? right : left);
  if (sign) sign->op = EX_INT, sign->i = op == EX_ADD ? 1 : -1, sign->span = e->span, list = ast_list_add(d->memory, list, sign);
  if (!sign || !list) return d->failed = true, false;
  *e = (expr){.op = EX_FUNCTION, .text = "pg_zoned_add", .text_n = 12, .list = list, .span = e->span};
  return true;
}

/* ---- enumerated types ---- */

bool coerce_is_enum(describe *d, typed t) { return d->coerce && d->rc == HDB_OK && pg_is_own_type(t.type) && t.type < PG_ENUM_ARRAYS + PG_ENUMS && pg_enum_by_oid(d->db, t.type); }

/* e becomes name(e, labels). */
static void with_list(describe *d, expr *e, const char *name, const pg_enum *of) {
  expr *inner = arena_zero(d->memory, sizeof *inner), *list = arena_zero(d->memory, sizeof *list);
  const char *labels = pg_enum_list(d->memory, of);
  expr_list *both = NULL;
  if (inner && list && labels) {
    *inner = *e;
    *list = (expr){.op = EX_TEXT, .text = labels, .text_n = (uint32_t)strlen(labels), .span = e->span};
    both = ast_list_add(d->memory, ast_list_add(d->memory, NULL, inner), list);
  }
  if (both) *e = (expr){.op = EX_FUNCTION, .text = name, .text_n = (uint32_t)strlen(name), .list = both, .span = inner->span};
  else d->failed = true;
}

void coerce_enum_order(describe *d, expr *e, typed t, typed other) {
  typed of = coerce_is_enum(d, t) ? t : coerce_is_enum(d, other) ? other : (typed){0, -1};
  bool done = e->op == EX_FUNCTION && strcmp(e->text, "pg_enum_order") == 0;
  if (of.type && !done) with_list(d, e, "pg_enum_order", pg_enum_by_oid(d->db, of.type));
}

bool coerce_enum_choice(describe *d, expr *e, typed t) {
  if (!coerce_is_enum(d, t)) return false;
  for (int i = 0; i < e->list->n; i++) coerce_enum_order(d, e->list->items[i].e, t, t);
  with_list(d, e, "pg_enum_label", pg_enum_by_oid(d->db, t.type));
  return true;
}

typed coerce_enum_call(describe *d, expr *e, typed t) {
  bool range = strcmp(e->text, "enum_range") == 0;
  expr *which = d->coerce && coerce_is_enum(d, t) ? arena_zero(d->memory, sizeof *which) : NULL;
  if (which) {
    *which = (expr){.op = EX_INT, .i = range ? 0 : strcmp(e->text, "enum_first") == 0 ? -1 : 1, .span = e->span};
    *e = *which;
    with_list(d, e, "pg_enum_range", pg_enum_by_oid(d->db, t.type));
  }
  return typed_of(range ? t.type + PG_ENUM_ARRAYS : t.type);
}

typed coerce_typeof(describe *d, expr *e, typed t) {
  const pg_type *type = d->coerce ? pg_type_numbered(d->db, t.type ? t.type : PG_UNKNOWN) : NULL;
  if (type) *e = (expr){.op = EX_TEXT, .text = type->sql, .text_n = (uint32_t)strlen(type->sql), .span = e->span};
  return typed_of(PG_REGTYPE);
}
