/* PostgreSQL's operators on jsonb and arrays: @> <@ && ? ?| ?& #> #>>. Arrays are JSON texts, too (pg.h), so that both are
 * one: containment of documents, an array's elements in any order. Both sides are parsed once a call. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "sql/func_pg.h"
#include "sql/json.h"
#include "sql/pg.h"

static bool is_text_node(const json_node *n) { return n->kind >= JSON_TEXT && n->kind <= JSON_TEXTRAW; }
static bool is_number_node(const json_node *n) { return n->kind >= JSON_INT && n->kind <= JSON_FLOAT5; }

static void text_of(slice blob, const json_node *n, buf *out) {
  if (n->kind == JSON_TEXTRAW || n->kind == JSON_TEXT) buf_append(out, blob.p + n->start, n->n);
  else json_unescape(blob.p + n->start, n->n, out);
}

static bool same_text(slice a, const json_node *x, slice b, const json_node *y) {
  buf l = BUF_INIT, r = BUF_INIT;
  text_of(a, x, &l);
  text_of(b, y, &r);
  bool same = l.n == r.n && (l.n == 0 || memcmp(l.p, r.p, l.n) == 0);
  buf_free(&l);
  buf_free(&r);
  return same;
}

static bool same_scalar(slice a, const json_node *x, slice b, const json_node *y) {
  if (is_text_node(x) && is_text_node(y)) return same_text(a, x, b, y);
  if (is_number_node(x) && is_number_node(y)) {
    char l[64], r[64];
    snprintf(l, sizeof l, "%.*s", (int)(x->n < 63 ? x->n : 63), (const char *)a.p + x->start);
    snprintf(r, sizeof r, "%.*s", (int)(y->n < 63 ? y->n : 63), (const char *)b.p + y->start);
    return strcmp(l, r) == 0 || strtod(l, NULL) == strtod(r, NULL);
  }
  return x->kind == y->kind && x->kind <= JSON_FALSE;
}

static bool contains(slice a, const json_node *x, slice b, const json_node *y, bool top, int depth);

static bool some_element(slice a, const json_node *array, slice b, const json_node *y, int depth) {
  json_node e;
  for (size_t at = array->start; at < json_node_end(array) && json_node_read(a, at, json_node_end(array), &e); at = json_node_end(&e))
    if (contains(a, &e, b, y, false, depth + 1)) return true;
  return false;
}

/* The value behind a label; false: there is none. */
static bool member(slice a, const json_node *object, slice b, const json_node *label, json_node *found) {
  json_node key;
  for (size_t at = object->start; at < json_node_end(object) && json_node_read(a, at, json_node_end(object), &key); at = json_node_end(found)) {
    if (!json_node_read(a, json_node_end(&key), json_node_end(object), found)) return false;
    if (same_text(a, &key, b, label)) return true;
  }
  return false;
}

/* Does x contain y? An array contains a scalar only as the whole document does. */
static bool contains(slice a, const json_node *x, slice b, const json_node *y, bool top, int depth) {
  json_node e, v, mine;
  if (depth > JSON_DEPTH_MAX) return false;
  if (x->kind == JSON_OBJECT && y->kind == JSON_OBJECT) {
    for (size_t at = y->start; at < json_node_end(y) && json_node_read(b, at, json_node_end(y), &e); at = json_node_end(&v))
      if (!json_node_read(b, json_node_end(&e), json_node_end(y), &v) || !member(a, x, b, &e, &mine) || !contains(a, &mine, b, &v, false, depth + 1)) return false;
    return true;
  }
  if (x->kind == JSON_ARRAY && y->kind == JSON_ARRAY) {
    for (size_t at = y->start; at < json_node_end(y) && json_node_read(b, at, json_node_end(y), &e); at = json_node_end(&e))
      if (!some_element(a, x, b, &e, depth)) return false;
    return true;
  }
  if (top && x->kind == JSON_ARRAY && y->kind < JSON_ARRAY) return some_element(a, x, b, y, depth);
  return x->kind < JSON_ARRAY && y->kind < JSON_ARRAY && same_scalar(a, x, b, y);
}

typedef struct pair {
  json_document l, r;
  json_node x, y;
} pair;

/* An array may come as its literal. */
static status canonical(function_call *call, const value *v, value *out) {
  *out = *v;
  bool braces = v->type == VAL_TEXT && v->n >= 2 && v->p[0] == '{' && v->p[v->n - 1] == '}' && (v->n == 2 || (v->p[1] != '"' || !memchr(v->p, ':', v->n)));
  if (!braces || v->n == 2) return HDB_OK;
  buf b = BUF_INIT;
  error ignored = ERROR_INIT;
  if (pg_array_to_json(PG_TEXT, v->p, v->n, &b, call->memory, &ignored) == HDB_OK) *out = value_text(arena_strndup(call->memory, (const char *)b.p, b.n), b.n);
  error_clear(&ignored);
  buf_free(&b);
  return out->p ? HDB_OK : function_nomem(call);
}

static status read_pair(function_call *call, const value *a, pair *p) {
  memset(p, 0, sizeof *p);
  TRY(json_document_read(call, &a[0], &p->l));
  if (!json_node_read(p->l.blob, 0, p->l.blob.n, &p->x)) return error_set(call->err, HDB_ERROR, "malformed JSON");
  buf own = BUF_INIT; /* the thread's parsed texts may be dropped by the next */
  buf_append(&own, p->l.blob.p, p->l.blob.n);
  buf_free(&p->l.own);
  p->l.own = own;
  p->l.blob = buf_slice(&own);
  if (own.failed) return function_nomem(call);
  TRY(json_document_read(call, &a[1], &p->r));
  return json_node_read(p->r.blob, 0, p->r.blob.n, &p->y) ? HDB_OK : error_set(call->err, HDB_ERROR, "malformed JSON");
}

static void free_pair(pair *p) {
  buf_free(&p->l.own);
  buf_free(&p->r.own);
}

static status containment(function_call *call, const value *a, bool swapped, bool any, value *result) {
  value both[2];
  pair p;
  *result = value_null();
  if (a[0].type == VAL_NULL || a[1].type == VAL_NULL) return HDB_OK;
  TRY(canonical(call, &a[swapped ? 1 : 0], &both[0]));
  TRY(canonical(call, &a[swapped ? 0 : 1], &both[1]));
  status rc = read_pair(call, both, &p);
  if (rc == HDB_OK && any) { /* && */
    json_node e;
    bool found = false;
    for (size_t at = p.y.start; !found && p.y.kind == JSON_ARRAY && p.x.kind == JSON_ARRAY && at < json_node_end(&p.y) && json_node_read(p.r.blob, at, json_node_end(&p.y), &e); at = json_node_end(&e))
      found = e.kind != JSON_NULL && some_element(p.l.blob, &p.x, p.r.blob, &e, 0);
    *result = value_int(found);
  } else if (rc == HDB_OK) {
    *result = value_int(contains(p.l.blob, &p.x, p.r.blob, &p.y, true, 0));
  }
  free_pair(&p);
  return rc;
}

static status f_contains(function_call *call, int n, const value *a, value *result) { return containment(call, a, false, false, result); }
static status f_contained(function_call *call, int n, const value *a, value *result) { return containment(call, a, true, false, result); }
static status f_overlaps(function_call *call, int n, const value *a, value *result) { return containment(call, a, false, true, result); }

/* A key of an object, a text in an array, the text itself. */
static bool has_key(slice a, const json_node *x, slice key) {
  json_node e, v;
  buf text = BUF_INIT;
  bool found = false;
  for (size_t at = x->start; x->kind >= JSON_ARRAY && !found && at < json_node_end(x) && json_node_read(a, at, json_node_end(x), &e);) {
    at = json_node_end(&e);
    if (x->kind == JSON_OBJECT && json_node_read(a, at, json_node_end(x), &v)) at = json_node_end(&v);
    if (!is_text_node(&e)) continue;
    buf_clear(&text);
    text_of(a, &e, &text);
    found = text.n == key.n && (key.n == 0 || memcmp(text.p, key.p, key.n) == 0);
  }
  if (is_text_node(x)) {
    text_of(a, x, &text);
    found = text.n == key.n && (key.n == 0 || memcmp(text.p, key.p, key.n) == 0);
  }
  buf_free(&text);
  return found;
}

static status f_has(function_call *call, int n, const value *a, value *result) {
  json_document d = {0};
  json_node x;
  slice key;
  *result = value_null();
  if (a[0].type == VAL_NULL || a[1].type == VAL_NULL) return HDB_OK;
  TRY(function_text(call, &a[1], &key));
  status rc = json_document_read(call, &a[0], &d);
  if (rc == HDB_OK && !json_node_read(d.blob, 0, d.blob.n, &x)) rc = error_set(call->err, HDB_ERROR, "malformed JSON");
  if (rc == HDB_OK) *result = value_int(has_key(d.blob, &x, key));
  buf_free(&d.own);
  return rc;
}

static status has_several(function_call *call, const value *a, bool all, value *result) {
  value both[2] = {a[0], a[1]};
  pair p;
  *result = value_null();
  if (a[0].type == VAL_NULL || a[1].type == VAL_NULL) return HDB_OK;
  TRY(canonical(call, &a[1], &both[1]));
  status rc = read_pair(call, both, &p);
  if (rc == HDB_OK) {
    bool holds = all;
    json_node e;
    buf text = BUF_INIT;
    for (size_t at = p.y.start; p.y.kind == JSON_ARRAY && at < json_node_end(&p.y) && json_node_read(p.r.blob, at, json_node_end(&p.y), &e); at = json_node_end(&e)) {
      if (!is_text_node(&e)) continue;
      buf_clear(&text);
      text_of(p.r.blob, &e, &text);
      bool has = has_key(p.l.blob, &p.x, buf_slice(&text));
      holds = all ? holds && has : holds || has;
    }
    buf_free(&text);
    *result = value_int(holds);
  }
  free_pair(&p);
  return rc;
}
static status f_has_any(function_call *call, int n, const value *a, value *result) { return has_several(call, a, false, result); }
static status f_has_all(function_call *call, int n, const value *a, value *result) { return has_several(call, a, true, result); }

/* ---- the canonical text of jsonb: keys by length and bytes, the last of equal ones, a blank behind : and , ---- */

typedef struct labelled {
  buf key;
  json_node value;
  int order;
} labelled;

static int by_key(const void *x, const void *y) {
  const labelled *a = x, *b = y;
  if (a->key.n != b->key.n) return a->key.n < b->key.n ? -1 : 1;
  int c = a->key.n ? memcmp(a->key.p, b->key.p, a->key.n) : 0;
  return c ? c : a->order - b->order;
}

static bool put_canonical(slice blob, const json_node *x, buf *out, int depth);

static bool put_object(slice blob, const json_node *x, buf *out, int depth) {
  labelled *all = NULL;
  int n = 0, capacity = 0;
  bool good = true, first = true;
  json_node key, v;
  for (size_t at = x->start; good && at < json_node_end(x); at = json_node_end(&v)) {
    if (n == capacity) {
      labelled *more = realloc(all, (size_t)(capacity = capacity ? capacity * 2 : 16) * sizeof *all);
      if (!more) {
        good = false;
        break;
      }
      all = more;
    }
    good = json_node_read(blob, at, json_node_end(x), &key) && json_node_read(blob, json_node_end(&key), json_node_end(x), &v);
    if (!good) break;
    all[n] = (labelled){.key = BUF_INIT, .value = v, .order = n};
    text_of(blob, &key, &all[n++].key);
  }
  if (n) qsort(all, (size_t)n, sizeof *all, by_key);
  buf_byte(out, '{');
  for (int i = 0; i < n && good; i++) {
    bool again = i + 1 < n && all[i].key.n == all[i + 1].key.n && (all[i].key.n == 0 || memcmp(all[i].key.p, all[i + 1].key.p, all[i].key.n) == 0);
    if (again) continue;
    if (!first) buf_text(out, ", ");
    first = false;
    json_quote(buf_slice(&all[i].key), out);
    buf_text(out, ": ");
    good = put_canonical(blob, &all[i].value, out, depth + 1);
  }
  buf_byte(out, '}');
  for (int i = 0; i < n; i++) buf_free(&all[i].key);
  free(all);
  return good;
}

static bool put_canonical(slice blob, const json_node *x, buf *out, int depth) {
  json_node e;
  if (depth > JSON_DEPTH_MAX) return false;
  if (x->kind == JSON_OBJECT) return put_object(blob, x, out, depth);
  if (x->kind != JSON_ARRAY) {
    if (!is_text_node(x)) return json_to_text(blob, x->at, out);
    buf text = BUF_INIT;
    text_of(blob, x, &text);
    json_quote(buf_slice(&text), out);
    buf_free(&text);
    return true;
  }
  buf_byte(out, '[');
  for (size_t at = x->start; at < json_node_end(x); at = json_node_end(&e)) {
    if (!json_node_read(blob, at, json_node_end(x), &e)) return false;
    if (at > x->start) buf_text(out, ", ");
    if (!put_canonical(blob, &e, out, depth + 1)) return false;
  }
  buf_byte(out, ']');
  return true;
}

status pg_json_convert(bool canonical_form, value *v, arena *memory, error *err) {
  slice text;
  if (v->type == VAL_BLOB) return HDB_OK;
  TRY(value_to_text(v, memory, &text));
  const char *own = arena_strndup(memory, text.n ? (const char *)text.p : "", text.n); /* a NUL behind it */
  buf blob = BUF_INIT, out = BUF_INIT;
  bool json5 = false;
  size_t at;
  json_node x;
  status rc = HDB_OK;
  if (!own) return error_set(err, HDB_NOMEM, "out of memory");
  if (memchr(own, 0, text.n) || !json_parse(own, text.n, &blob, &json5, &at) || json5) CHECK(error_set(err, HDB_MISMATCH, "invalid input syntax for type json"));
  if (!canonical_form) goto out;
  if (!json_node_read(buf_slice(&blob), 0, blob.n, &x) || !put_canonical(buf_slice(&blob), &x, &out, 0)) CHECK(error_set(err, HDB_MISMATCH, "invalid input syntax for type json"));
  const char *made = out.failed ? NULL : arena_strndup(memory, (const char *)out.p, out.n);
  if (!made) CHECK(error_set(err, HDB_NOMEM, "out of memory"));
  *v = value_text(made, out.n);
out:
  buf_free(&blob);
  buf_free(&out);
  return rc;
}

/* One step of a path: a label, or an array's number, from behind when negative. */
static bool step(slice blob, json_node *x, slice name) {
  json_node e, v;
  char text[24], *end;
  if (x->kind == JSON_OBJECT) {
    for (size_t at = x->start; at < json_node_end(x) && json_node_read(blob, at, json_node_end(x), &e); at = json_node_end(&v)) {
      if (!json_node_read(blob, json_node_end(&e), json_node_end(x), &v)) return false;
      buf label = BUF_INIT;
      text_of(blob, &e, &label);
      bool same = label.n == name.n && (name.n == 0 || memcmp(label.p, name.p, name.n) == 0);
      buf_free(&label);
      if (same) return *x = v, true;
    }
    return false;
  }
  if (x->kind != JSON_ARRAY || name.n == 0 || name.n >= sizeof text) return false;
  snprintf(text, sizeof text, "%.*s", (int)name.n, (const char *)name.p);
  long long wanted = strtoll(text, &end, 10), k = 0;
  if (*end) return false;
  if (wanted < 0) wanted += json_array_count(blob, x);
  for (size_t at = x->start; at < json_node_end(x) && json_node_read(blob, at, json_node_end(x), &e); at = json_node_end(&e), k++)
    if (k == wanted) return *x = e, true;
  return false;
}

static status walk_path(function_call *call, const value *a, bool as_text, value *result) {
  value both[2] = {a[0], a[1]};
  pair p;
  *result = value_null();
  if (a[0].type == VAL_NULL || a[1].type == VAL_NULL) return HDB_OK;
  TRY(canonical(call, &a[1], &both[1]));
  if (both[1].n == 2 && both[1].p[0] == '{') both[1] = value_text("[]", 2);
  status rc = read_pair(call, both, &p);
  json_node e, x = p.x;
  bool found = rc == HDB_OK;
  buf text = BUF_INIT;
  for (size_t at = p.y.start; found && at < json_node_end(&p.y) && json_node_read(p.r.blob, at, json_node_end(&p.y), &e); at = json_node_end(&e)) {
    buf_clear(&text);
    if (is_text_node(&e)) text_of(p.r.blob, &e, &text);
    else buf_append(&text, p.r.blob.p + e.start, e.n);
    found = step(p.l.blob, &x, buf_slice(&text));
  }
  buf_clear(&text);
  if (found && as_text && is_text_node(&x)) text_of(p.l.blob, &x, &text);
  else if (found && !(as_text && x.kind == JSON_NULL)) found = put_canonical(p.l.blob, &x, &text, 0);
  else found = false;
  free_pair(&p);
  if (found) return function_result_buf(call, &text, VAL_TEXT, result);
  buf_free(&text);
  return rc;
}
static status f_path(function_call *call, int n, const value *a, value *result) { return walk_path(call, a, false, result); }
static status f_path_text(function_call *call, int n, const value *a, value *result) { return walk_path(call, a, true, result); }

#define F(name, n, f) {name, n, n, FUNC_DETERMINISTIC | FUNC_INNOCUOUS, 0, f, NULL, NULL, NULL, NULL, NULL, NULL}
static const function functions[] = {F("pg_op_contains", 2, f_contains), F("pg_op_contained", 2, f_contained), F("pg_op_overlaps", 2, f_overlaps), F("pg_op_has", 2, f_has), F("pg_op_hasany", 2, f_has_any),
                                     F("pg_op_hasall", 2, f_has_all), F("pg_op_path", 2, f_path), F("pg_op_pathtext", 2, f_path_text), F("jsonb_exists", 2, f_has)};
const function_table functions_pg_json = {functions, COUNT(functions)};
