/* The JSON functions, text (json_*) and binary (jsonb_*) variants from one implementation: function.data tells.
 *
 * Documents come as text (JSON5 allowed) or as JSONB blobs; a blob that is no JSONB is taken for text. Whatever
 * gives JSON text marks it with SUBTYPE_JSON, which makes it a document instead of a string when it is an argument.
 * What can fail: "malformed JSON", "bad JSON path: 'x'", "JSON cannot hold BLOB values", argument counts and labels.
 * Cost: parsing the document (json_parse.c) unless it is one of the last four that this thread parsed, then the edit.
 */
#include <pthread.h>
#include <stdlib.h>

#include "sql/json.h"

static bool as_blob(const function_call *call) { return call->f && call->f->data != NULL; }
static status malformed(function_call *call) { return error_set(call->err, HDB_ERROR, "malformed JSON"); }
static status no_blobs(function_call *call) { return error_set(call->err, HDB_ERROR, "JSON cannot hold BLOB values"); }

static status bad_path(function_call *call, const char *path) {
  buf b = BUF_INIT;
  value v = value_text(path, strlen(path));
  value_quote(&v, &b);
  const char *quoted = buf_cstr(&b);
  status rc = quoted ? error_set(call->err, HDB_ERROR, "bad JSON path: %s", quoted) : function_nomem(call);
  buf_free(&b);
  return rc;
}
static status path_error(function_call *call, enum json_found found, const char *path) {
  return found == JSON_DAMAGED ? malformed(call) : bad_path(call, path);
}

/* An argument's text with a NUL behind it, up to its first NUL; NULL for NULL. */
static status c_text(function_call *call, const value *v, const char **out, size_t *n) {
  slice s;
  TRY(function_text(call, v, &s));
  *out = NULL;
  if (!s.p) return HDB_OK;
  s = text_until_nul(s);
  *out = arena_strndup(call->memory, (const char *)s.p, s.n);
  if (n) *n = s.n;
  return *out ? HDB_OK : function_nomem(call);
}

/* ---- documents ---- */

/* The last documents parsed by this thread: json_extract(j, '$.a'), json_extract(j, '$.b') parse j once, and a document
 * a row reuses the same two buffers. An entry stays put while the next three are read. */
typedef struct parsed {
  buf text, blob;
  size_t n;      /* of the text without the NUL behind it; SIZE_MAX: nothing valid */
  bool json5;
} parsed;
enum { CACHE_ENTRIES = 4, CACHE_BYTES_MAX = 1 << 20 };
typedef struct parsed_cache {
  parsed entries[CACHE_ENTRIES];
  int next;
} parsed_cache;

static pthread_key_t cache_key;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;
static _Thread_local parsed_cache *cache;

static void cache_free(void *p) {
  parsed_cache *c = p;
  for (int i = 0; i < CACHE_ENTRIES; i++) {
    buf_free(&c->entries[i].text);
    buf_free(&c->entries[i].blob);
  }
  free(c);
  cache = NULL;
}
static void cache_make_key(void) { pthread_key_create(&cache_key, cache_free); }

/* The entry for a text, *found; else the one to parse it into. NULL: out of memory. */
static parsed *cache_entry(slice text, bool *found) {
  *found = false;
  if (!cache) {
    pthread_once(&cache_once, cache_make_key);
    parsed_cache *fresh = calloc(1, sizeof *fresh);
    if (!fresh || pthread_setspecific(cache_key, fresh) != 0) {
      free(fresh);
      return NULL;
    }
    for (int i = 0; i < CACHE_ENTRIES; i++) fresh->entries[i].n = SIZE_MAX;
    cache = fresh;
  }
  for (int i = 0; i < CACHE_ENTRIES; i++) {
    parsed *p = &cache->entries[i];
    *found = p->n == text.n && memcmp(p->text.p, text.p, text.n) == 0;
    if (*found) return p;
  }
  parsed *p = &cache->entries[cache->next];
  cache->next = (cache->next + 1) % CACHE_ENTRIES;
  p->n = SIZE_MAX;
  if (p->blob.failed || p->text.failed || p->blob.capacity > CACHE_BYTES_MAX || p->text.capacity > CACHE_BYTES_MAX) {
    buf_free(&p->text);
    buf_free(&p->blob);
  }
  buf_clear(&p->text);
  buf_clear(&p->blob);
  return p;
}

status json_document_read(function_call *call, const value *v, json_document *d) {
  *d = (json_document){0};
  if (json_is_blob(v)) {
    d->blob = slice_of(v->p, v->n);
    return HDB_OK;
  }
  slice text;
  bool found;
  TRY(function_text(call, v, &text));
  text = text_until_nul(text);
  parsed *p = cache_entry(text, &found);
  if (p && !found) {
    buf_append(&p->text, text.p, text.n);
    const char *z = buf_cstr(&p->text);
    bool ok = z && json_parse(z, text.n, &p->blob, &p->json5, NULL);
    if (!ok && z && !p->blob.failed) return malformed(call);
    if (ok) p->n = text.n;
    else p = NULL;
  }
  if (!p) return function_nomem(call);
  d->blob = buf_slice(&p->blob);
  d->json5 = p->json5;
  return HDB_OK;
}

/* The document as bytes of its own, to be changed. */
static status document_for_change(function_call *call, const value *v, buf *out) {
  json_document d;
  status rc = json_document_read(call, v, &d);
  if (rc == HDB_OK && !d.own.p) buf_append(&d.own, d.blob.p, d.blob.n);
  *out = d.own;
  if (rc == HDB_OK && out->failed) rc = function_nomem(call);
  return rc;
}

/* ---- results ---- */

/* JSON text in b (freed) as the result. */
static status result_text(function_call *call, buf *b, bool blob, value *result) {
  status rc = HDB_OK;
  if (blob) {
    buf parsed = BUF_INIT;
    const char *text = buf_cstr(b);
    if (!text || !json_parse(text, b->n, &parsed, NULL, NULL)) {
      rc = !text || parsed.failed ? function_nomem(call) : malformed(call);
      buf_free(&parsed);
      buf_free(b);
      return rc;
    }
    buf_free(b);
    return function_result_buf(call, &parsed, VAL_BLOB, result);
  }
  rc = function_result_buf(call, b, VAL_TEXT, result);
  if (rc == HDB_OK) result->subtype = SUBTYPE_JSON;
  return rc;
}

static status node_as_text(function_call *call, slice blob, size_t at, value *result) {
  buf b = BUF_INIT;
  if (json_to_text(blob, at, &b)) return result_text(call, &b, false, result);
  buf_free(&b);
  return malformed(call);
}

/* A whole document as the result. */
static status result_document(function_call *call, slice blob, value *result) {
  if (!as_blob(call)) return node_as_text(call, blob, 0, result);
  status rc = function_result_text(call, blob.p, blob.n, result);
  if (rc == HDB_OK) result->type = VAL_BLOB;
  return rc;
}

static status hex_value(function_call *call, const char *p, size_t n, bool negative, value *result) {
  uint64_t u = 0;
  size_t k = 2;
  while (k < n && p[k] == '0') k++;
  if (n < 3 || n - k > 16) return malformed(call);
  for (; k < n; k++) {
    int digit = hex_digit((unsigned char)p[k]);
    if (digit < 0) return malformed(call);
    u = u << 4 | (unsigned)digit;
  }
  *result = value_int((int64_t)(negative ? -u : u));
  return HDB_OK;
}

static status number_value(function_call *call, const json_node *node, const char *p, value *result) {
  bool negative = node->n && *p == '-', whole = node->kind == JSON_INT || node->kind == JSON_INT5;
  if (node->kind == JSON_INT5 && node->n > 2) return hex_value(call, p + negative, node->n - negative, negative, result);
  int64_t i;
  double r;
  int kind = text_to_number(p, node->n, &i, &r);
  if (kind <= 0) return malformed(call);
  *result = kind == 1 && whole ? value_int(i) : value_real(kind == 1 ? (double)i : r);
  return HDB_OK;
}

status json_node_value(function_call *call, slice blob, size_t at, bool blob_wanted, value *result) {
  json_node node;
  if (!json_node_read(blob, at, blob.n, &node)) return malformed(call);
  const uint8_t *p = blob.p + node.start;
  switch (node.kind) {
  case JSON_NULL: *result = value_null(); return HDB_OK;
  case JSON_TRUE:
  case JSON_FALSE: *result = value_int(node.kind == JSON_TRUE); return HDB_OK;
  case JSON_INT: case JSON_INT5: case JSON_FLOAT: case JSON_FLOAT5: return number_value(call, &node, (const char *)p, result);
  case JSON_TEXT:
  case JSON_TEXTRAW: return function_result_text(call, p, node.n, result);
  case JSON_TEXTJ:
  case JSON_TEXT5: {
    buf b = BUF_INIT;
    json_unescape(p, node.n, &b);
    return function_result_buf(call, &b, VAL_TEXT, result);
  }
  default: break;
  }
  if (!blob_wanted) return node_as_text(call, blob, at, result);
  status rc = function_result_text(call, blob.p + at, json_node_end(&node) - at, result);
  if (rc == HDB_OK) result->type = VAL_BLOB;
  return rc;
}

/* ---- values into documents ---- */

static void put_real(double r, buf *out) {
  char text[40];
  if (r - r != 0) buf_text(out, r < 0 ? "-9.0e+999" : "9.0e+999");
  else buf_append(out, text, real_to_text(r, text));
}

/* A value as JSON text. */
static status put_value(function_call *call, const value *v, buf *out) {
  char text[24];
  switch (v->type) {
  case VAL_NULL: buf_append(out, "null", 4); return HDB_OK;
  case VAL_INTEGER: buf_append(out, text, int_to_text(v->i, text)); return HDB_OK;
  case VAL_REAL: put_real(v->r, out); return HDB_OK;
  case VAL_TEXT:
    if (v->subtype == SUBTYPE_JSON) buf_append(out, v->p, v->n);
    else json_quote(slice_of(v->p, v->n), out);
    return HDB_OK;
  default:
    if (!json_is_blob(v)) return no_blobs(call);
    return json_to_text(slice_of(v->p, v->n), 0, out) ? HDB_OK : malformed(call);
  }
}

/* A value as a JSONB node. */
static status put_value_node(function_call *call, const value *v, buf *out) {
  char text[40];
  switch (v->type) {
  case VAL_NULL: buf_byte(out, JSON_NULL); return HDB_OK;
  case VAL_INTEGER: json_put_node(out, JSON_INT, text, int_to_text(v->i, text)); return HDB_OK;
  case VAL_REAL:
    if (v->r - v->r != 0) json_put_node(out, JSON_FLOAT, v->r < 0 ? "-9e999" : "9e999", v->r < 0 ? 6 : 5);
    else json_put_node(out, JSON_FLOAT, text, real_to_text(v->r, text));
    return HDB_OK;
  case VAL_TEXT: {
    if (v->subtype != SUBTYPE_JSON) {
      json_put_node(out, JSON_TEXTRAW, v->p, v->n);
      return HDB_OK;
    }
    json_document d;
    status rc = json_document_read(call, v, &d);
    if (rc == HDB_OK) buf_append(out, d.blob.p, d.blob.n);
    buf_free(&d.own);
    return rc;
  }
  default:
    if (!json_is_blob(v)) return no_blobs(call);
    buf_append(out, v->p, v->n);
    return HDB_OK;
  }
}

/* ---- functions ---- */

static status f_json(function_call *call, int n, const value *a, value *result) {
  *result = value_null();
  if (a->type == VAL_NULL) return HDB_OK;
  json_document d;
  status rc = json_document_read(call, a, &d);
  if (rc == HDB_OK) rc = result_document(call, d.blob, result);
  buf_free(&d.own);
  return rc;
}

static status f_array(function_call *call, int n, const value *a, value *result) {
  buf b = BUF_INIT;
  status rc = HDB_OK;
  buf_byte(&b, '[');
  for (int i = 0; i < n; i++) {
    if (i) buf_byte(&b, ',');
    CHECK(put_value(call, &a[i], &b));
  }
  buf_byte(&b, ']');
  return result_text(call, &b, as_blob(call), result);
out:
  buf_free(&b);
  return rc;
}

static status f_object(function_call *call, int n, const value *a, value *result) {
  if (n % 2) return error_set(call->err, HDB_ERROR, "json_object() requires an even number of arguments");
  buf b = BUF_INIT;
  status rc = HDB_OK;
  buf_byte(&b, '{');
  for (int i = 0; i < n; i += 2) {
    if (a[i].type != VAL_TEXT) {
      rc = error_set(call->err, HDB_ERROR, "json_object() labels must be TEXT");
      goto out;
    }
    if (i) buf_byte(&b, ',');
    json_quote(slice_of(a[i].p, a[i].n), &b);
    buf_byte(&b, ':');
    CHECK(put_value(call, &a[i + 1], &b));
  }
  buf_byte(&b, '}');
  return result_text(call, &b, as_blob(call), result);
out:
  buf_free(&b);
  return rc;
}

static status f_quote(function_call *call, int n, const value *a, value *result) {
  buf b = BUF_INIT;
  status rc = put_value(call, a, &b);
  if (rc == HDB_OK) return result_text(call, &b, false, result);
  buf_free(&b);
  return rc;
}

/* The node that a '$' path leads to. *found JSON_NOT_FOUND is no error. */
static status find(function_call *call, slice blob, const char *path, size_t *at, enum json_found *found) {
  *found = *path == '$' ? json_lookup(blob, path + 1, at) : JSON_BAD_PATH;
  return *found <= JSON_NOT_FOUND ? HDB_OK : path_error(call, *found, path);
}

/* json_array_length and json_type: of the document or of a path in it. */
static status about_node(function_call *call, int n, const value *a, bool type, value *result) {
  *result = value_null();
  if (a->type == VAL_NULL) return HDB_OK;
  json_document d;
  const char *path = NULL;
  size_t at = 0;
  enum json_found found = JSON_FOUND;
  json_node node;
  status rc = HDB_OK;
  CHECK(json_document_read(call, a, &d));
  if (n == 2) {
    CHECK(c_text(call, &a[1], &path, NULL));
    if (!path) goto out;
    CHECK(find(call, d.blob, path, &at, &found));
    if (found == JSON_NOT_FOUND) goto out;
  }
  if (!json_node_read(d.blob, at, d.blob.n, &node)) {
    rc = malformed(call);
  } else if (type) {
    const char *name = json_type_name(node.kind);
    *result = value_text(name, strlen(name));
  } else {
    int64_t count = node.kind == JSON_ARRAY ? json_array_count(d.blob, &node) : 0;
    *result = value_int(count);
    if (count < 0) rc = malformed(call);
  }
out:
  buf_free(&d.own);
  return rc;
}
static status f_array_length(function_call *call, int n, const value *a, value *result) { return about_node(call, n, a, false, result); }
static status f_type(function_call *call, int n, const value *a, value *result) { return about_node(call, n, a, true, result); }

/* Several paths: an array of what they lead to. */
static status extract_many(function_call *call, slice blob, int n, const value *paths, value *result) {
  buf b = BUF_INIT;
  status rc = HDB_OK;
  buf_byte(&b, '[');
  for (int i = 0; i < n; i++) {
    const char *path;
    size_t at;
    enum json_found found;
    CHECK(c_text(call, &paths[i], &path, NULL));
    if (!path) goto out; /* NULL */
    CHECK(find(call, blob, path, &at, &found));
    if (i) buf_byte(&b, ',');
    if (found == JSON_NOT_FOUND) {
      buf_append(&b, "null", 4);
    } else if (!json_to_text(blob, at, &b)) {
      rc = malformed(call);
      goto out;
    }
  }
  buf_byte(&b, ']');
  return result_text(call, &b, as_blob(call), result);
out:
  buf_free(&b);
  return rc;
}

static status f_extract(function_call *call, int n, const value *a, value *result) {
  *result = value_null();
  if (n < 2 || a[0].type == VAL_NULL) return HDB_OK;
  json_document d;
  status rc = HDB_OK;
  const char *path;
  size_t at;
  enum json_found found;
  CHECK(json_document_read(call, a, &d));
  if (n > 2) {
    rc = extract_many(call, d.blob, n - 1, a + 1, result);
    goto out;
  }
  CHECK(c_text(call, &a[1], &path, NULL));
  if (!path) goto out;
  CHECK(find(call, d.blob, path, &at, &found));
  if (found == JSON_FOUND) rc = json_node_value(call, d.blob, at, as_blob(call), result);
out:
  buf_free(&d.own);
  return rc;
}

/* The right side of -> and ->>: a path, an index, or a label. Without the '$'. */
static char *arrow_path(function_call *call, const char *text, size_t n) {
  bool digits = true, letters = true;
  for (size_t i = 0; i < n; i++) {
    digits &= ascii_digit((unsigned char)text[i]);
    letters &= ascii_digit((unsigned char)text[i]) || ascii_alpha((unsigned char)text[i]);
  }
  if (n && digits) return arena_printf(call->memory, "[%s]", text);
  if (n && letters) return arena_printf(call->memory, ".%s", text);
  if (n >= 3 && text[0] == '[' && text[n - 1] == ']') return arena_strdup(call->memory, text);
  return arena_printf(call->memory, ".\"%s\"", text);
}

status json_arrow(function_call *call, const value *json, const value *path, bool as_text, value *result) {
  *result = value_null();
  if (json->type == VAL_NULL) return HDB_OK;
  json_document d;
  const char *text, *steps;
  size_t n = 0, at;
  status rc = HDB_OK;
  CHECK(json_document_read(call, json, &d));
  CHECK(c_text(call, path, &text, &n));
  if (!text) goto out;
  steps = text[0] == '$' ? text + 1 : arrow_path(call, text, n);
  if (!steps) {
    rc = function_nomem(call);
    goto out;
  }
  enum json_found found = json_lookup(d.blob, steps, &at);
  if (found == JSON_FOUND) {
    rc = as_text ? json_node_value(call, d.blob, at, false, result) : node_as_text(call, d.blob, at, result);
    if (as_text) result->subtype = 0;
  } else if (found != JSON_NOT_FOUND) {
    rc = path_error(call, found, text);
  }
out:
  buf_free(&d.own);
  return rc;
}
static status f_arrow(function_call *call, int n, const value *a, value *result) { return json_arrow(call, &a[0], &a[1], false, result); }
static status f_arrow2(function_call *call, int n, const value *a, value *result) { return json_arrow(call, &a[0], &a[1], true, result); }

static status change(function_call *call, int n, const value *a, enum json_edit edit, const char *name, value *result) {
  *result = value_null();
  if (n % 2 == 0) return error_set(call->err, HDB_ERROR, "json_%s() needs an odd number of arguments", name);
  if (a[0].type == VAL_NULL) return HDB_OK;
  buf document = BUF_INIT, insert = BUF_INIT;
  status rc = HDB_OK;
  CHECK(document_for_change(call, a, &document));
  for (int i = 1; i < n; i += 2) {
    const char *path;
    if (a[i].type == VAL_NULL) continue;
    CHECK(c_text(call, &a[i], &path, NULL));
    if (*path != '$') {
      rc = bad_path(call, path);
      goto out;
    }
    buf_clear(&insert);
    CHECK(put_value_node(call, &a[i + 1], &insert));
    enum json_found found = json_change(&document, path + 1, edit, buf_slice(&insert));
    if (document.failed || insert.failed) {
      rc = function_nomem(call);
      goto out;
    }
    if (found > JSON_NOT_FOUND) {
      rc = path_error(call, found, path);
      goto out;
    }
  }
  rc = result_document(call, buf_slice(&document), result);
out:
  buf_free(&document);
  buf_free(&insert);
  return rc;
}
static status f_insert(function_call *call, int n, const value *a, value *result) { return change(call, n, a, JSON_INSERT, "insert", result); }
static status f_replace(function_call *call, int n, const value *a, value *result) { return change(call, n, a, JSON_REPLACE, "replace", result); }
static status f_set(function_call *call, int n, const value *a, value *result) { return change(call, n, a, JSON_SET, "set", result); }

static status f_remove(function_call *call, int n, const value *a, value *result) {
  *result = value_null();
  if (n == 0 || a[0].type == VAL_NULL) return HDB_OK;
  buf document = BUF_INIT;
  status rc = HDB_OK;
  CHECK(document_for_change(call, a, &document));
  for (int i = 1; i < n; i++) {
    const char *path;
    CHECK(c_text(call, &a[i], &path, NULL));
    if (!path) goto out;
    if (*path != '$') {
      rc = bad_path(call, path);
      goto out;
    }
    if (path[1] == 0) goto out; /* nothing is left: NULL */
    enum json_found found = json_change(&document, path + 1, JSON_DELETE, slice_of("", 0));
    if (document.failed) {
      rc = function_nomem(call);
      goto out;
    }
    if (found > JSON_NOT_FOUND) {
      rc = path_error(call, found, path);
      goto out;
    }
  }
  rc = result_document(call, buf_slice(&document), result);
out:
  buf_free(&document);
  return rc;
}

static status f_patch(function_call *call, int n, const value *a, value *result) {
  *result = value_null();
  if (a[0].type == VAL_NULL || a[1].type == VAL_NULL) return HDB_OK;
  buf target = BUF_INIT;
  json_document patch = {0};
  status rc = HDB_OK;
  CHECK(document_for_change(call, &a[0], &target));
  CHECK(json_document_read(call, &a[1], &patch));
  rc = json_merge_patch(&target, patch.blob) ? result_document(call, buf_slice(&target), result) : malformed(call);
out:
  buf_free(&target);
  buf_free(&patch.own);
  return rc;
}

static status f_valid(function_call *call, int n, const value *a, value *result) {
  int64_t flags = n == 2 ? value_to_int(&a[1]) : 1;
  *result = value_null();
  if (flags < 1 || flags > 15)
    return error_set(call->err, HDB_ERROR, "FLAGS parameter to json_valid() must be between 1 and 15");
  if (a->type == VAL_NULL) return HDB_OK;
  bool valid = false;
  if (json_is_blob(a)) {
    valid = (flags & 4) || ((flags & 8) && json_blob_check(slice_of(a->p, a->n)) == 0);
  } else if (flags & 3) {
    json_document d;
    status rc = json_document_read(call, a, &d);
    buf_free(&d.own);
    if (rc == HDB_NOMEM) return rc;
    if (rc != HDB_OK && call->err) error_clear(call->err);
    valid = rc == HDB_OK && ((flags & 2) || !d.json5);
  }
  *result = value_int(valid);
  return HDB_OK;
}

static status f_error_position(function_call *call, int n, const value *a, value *result) {
  *result = value_null();
  if (a->type == VAL_NULL) return HDB_OK;
  if (json_is_blob(a)) {
    *result = value_int((int64_t)json_blob_check(slice_of(a->p, a->n)));
    return HDB_OK;
  }
  const char *text;
  size_t bytes = 0, at = 0;
  TRY(c_text(call, a, &text, &bytes));
  buf b = BUF_INIT;
  bool ok = json_parse(text, bytes, &b, NULL, &at), failed = b.failed;
  buf_free(&b);
  if (failed) return function_nomem(call);
  int64_t position = ok ? 0 : 1; /* in characters */
  for (size_t i = 0; !ok && i < at && i < bytes; i++) position += (text[i] & 0xc0) != 0x80;
  *result = value_int(position);
  return HDB_OK;
}

/* ---- aggregates: the text so far, without its closing bracket ---- */

typedef struct group_state {
  buf text;
} group_state;

static status group_step(function_call *call, int n, const value *a) {
  group_state *s = call->state;
  if (s->text.n > 1) buf_byte(&s->text, ',');
  else if (s->text.n == 0) buf_byte(&s->text, n == 2 ? '{' : '[');
  if (n == 2) {
    slice label;
    TRY(function_text(call, a, &label));
    if (label.p) json_quote(label, &s->text); /* SQLite prints nothing for NULL */
    buf_byte(&s->text, ':');
  }
  TRY(put_value(call, &a[n - 1], &s->text));
  if ((int64_t)s->text.n > function_limit(call, HDB_LIMIT_LENGTH)) return function_too_big(call);
  return s->text.failed ? function_nomem(call) : HDB_OK;
}

/* Takes the first element away: up to the first comma that is in no text and no inner container. */
static status group_inverse(function_call *call, int n, const value *a) {
  group_state *s = call->state;
  bool inside = false;
  int depth = 0;
  size_t i = 1;
  for (; i < s->text.n; i++) {
    uint8_t c = s->text.p[i];
    if (c == ',' && !inside && depth == 0) break;
    if (c == '"') inside = !inside;
    else if (c == '\\') i++;
    else if (!inside && (c == '{' || c == '[')) depth++;
    else if (!inside && (c == '}' || c == ']')) depth--;
  }
  if (i < s->text.n) {
    memmove(s->text.p + 1, s->text.p + i + 1, s->text.n - i - 1);
    s->text.n -= i;
  } else {
    s->text.n = 1;
  }
  return HDB_OK;
}

static status group_value(function_call *call, value *result) {
  group_state *s = call->state;
  bool object = call->f->arguments == 2;
  buf b = BUF_INIT;
  if (s->text.n) buf_append(&b, s->text.p, s->text.n);
  else buf_byte(&b, object ? '{' : '[');
  buf_byte(&b, object ? '}' : ']');
  return result_text(call, &b, as_blob(call), result);
}
static void group_release(function_call *call) { buf_free(&((group_state *)call->state)->text); }
static status group_final(function_call *call, value *result) {
  status rc = group_value(call, result);
  group_release(call);
  return rc;
}

/* ---- table ---- */

/* TAKES_JSON: looks at the subtype of its arguments. */
enum { PURE = FUNC_DETERMINISTIC | FUNC_INNOCUOUS, TAKES_JSON = PURE | FUNC_SUBTYPE };
static char blob_mark; /* function.data of the jsonb_ variants */
#define F(name, arguments, least, flags, f) {name, arguments, least, flags, .scalar = f}
#define BOTH(name, arguments, least, flags, f)                                                                         \
  {"json" name, arguments, least, flags, .scalar = f}, {                                                               \
    "jsonb" name, arguments, least, flags, .scalar = f, .data = &blob_mark                                             \
  }
#define GROUP(name, n, mark)                                                                                           \
  {name, n, n, TAKES_JSON | FUNC_AGGREGATE | FUNC_WINDOW, sizeof(group_state), .step = group_step, .final = group_final,     \
   .value = group_value, .inverse = group_inverse, .release = group_release, .data = mark}

static const function functions[] = {
    F("->", 2, 2, PURE, f_arrow),
    F("->>", 2, 2, PURE, f_arrow2),
    BOTH("", 1, 1, PURE, f_json),
    BOTH("_array", -1, 0, TAKES_JSON, f_array),
    F("json_array_length", 1, 1, PURE, f_array_length),
    F("json_array_length", 2, 2, PURE, f_array_length),
    F("json_error_position", 1, 1, PURE, f_error_position),
    BOTH("_extract", -1, 0, PURE, f_extract),
    BOTH("_insert", -1, 0, TAKES_JSON, f_insert),
    BOTH("_object", -1, 0, TAKES_JSON, f_object),
    BOTH("_patch", 2, 2, PURE, f_patch),
    F("json_quote", 1, 1, TAKES_JSON, f_quote),
    BOTH("_remove", -1, 0, PURE, f_remove),
    BOTH("_replace", -1, 0, TAKES_JSON, f_replace),
    BOTH("_set", -1, 0, TAKES_JSON, f_set),
    F("json_type", 1, 1, PURE, f_type),
    F("json_type", 2, 2, PURE, f_type),
    F("json_valid", 1, 1, PURE, f_valid),
    F("json_valid", 2, 2, PURE, f_valid),
    GROUP("json_group_array", 1, NULL),
    GROUP("jsonb_group_array", 1, &blob_mark),
    GROUP("json_group_object", 2, NULL),
    GROUP("jsonb_group_object", 2, &blob_mark),
};
const function_table functions_json = {functions, COUNT(functions)};
